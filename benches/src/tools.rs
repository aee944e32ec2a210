//! What every figure needs: clocks, counters, baselines, an engine and events.

use mirrordna::{Builder, Engine, Identity, IdentityType, Keys, NewIdentity, NewMemory, Witness};
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// CPU time of this process, user and system, all threads.
pub(crate) fn cpu() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// Runs `work`; returns its CPU time in microseconds.
pub(crate) fn cpu_of(work: impl FnOnce() -> Fallible<()>) -> Fallible<f64> {
    let start = cpu();
    work()?;
    Ok(us(cpu() - start))
}

/// A number from a `/proc/self` file, after `name`.
fn counter(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Resident memory of this process, MiB.
pub(crate) fn resident() -> u64 {
    counter("/proc/self/status", "VmRSS:") / 1024
}

/// The part of [`resident`] that is no page of a mapped file, MiB.
pub(crate) fn anonymous() -> u64 {
    counter("/proc/self/status", "RssAnon:") / 1024
}

/// Bytes that this process has handed to write calls. What reaches the disk is
/// counted per page or larger, which depends on the file system.
pub(crate) fn written() -> u64 {
    counter("/proc/self/io", "wchar:")
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * q) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub(crate) fn us(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

/// Wall times in microseconds of `count` calls.
pub(crate) fn times(count: u64, mut call: impl FnMut(u64) -> Fallible<()>) -> Fallible<Vec<f64>> {
    (0..count)
        .map(|i| {
            let t = Instant::now();
            call(i)?;
            Ok(us(t.elapsed()))
        })
        .collect()
}

pub(crate) fn builder(scheme: &str, folder: &Path) -> Builder {
    let builder = Engine::builder(format!("{scheme}:{}", folder.join("m.db").display()));
    builder.keys(Keys::Folder(folder.join("keys"))).witness(Witness::Folder(folder.join("state")))
}

pub(crate) fn open(folder: &Path) -> Fallible<Engine> {
    Ok(builder("sqlite", folder).open()?)
}

pub(crate) fn agent(engine: &Engine) -> Fallible<Identity> {
    let new = NewIdentity { name: Some("bench".into()), ..NewIdentity::default() };
    Ok(engine.identities().create_with(IdentityType::Agent, new)?)
}

/// About 230 bytes; about 300 with the fields of a memory.
pub(crate) fn text(i: usize) -> String {
    format!("{i:>8} {}", "the quick brown fox jumps over the lazy dog and runs on ".repeat(4))
}

pub(crate) fn memory(i: usize) -> NewMemory {
    NewMemory { content: mirrordna::Content::Text(text(i)), subject: Some("bench".into()), ..NewMemory::default() }
}

/// One after the other, `batch` in each commit.
pub(crate) fn fill(agent: &Identity, events: std::ops::Range<usize>, batch: usize) -> Fallible<()> {
    for start in events.clone().step_by(batch) {
        let end = events.end.min(start + batch);
        agent.memories().add_all((start..end).map(memory).collect())?;
    }
    Ok(())
}

/// Lengths of the columns of an event of [`memory`].
pub(crate) const LEAF: usize = 162;
pub(crate) const ROW: usize = 336;
pub(crate) const SECRET: usize = 40;

/// B0: one `fdatasync` of 512 bytes in a preallocated file.
pub(crate) struct Sync(File, u64);

impl Sync {
    pub(crate) fn new(folder: &Path) -> Fallible<Self> {
        let file = File::create(folder.join("sync"))?;
        (&file).write_all(&vec![0; 1 << 20])?;
        file.sync_all()?;
        Ok(Self(file, 0))
    }

    /// Does it once; returns microseconds.
    pub(crate) fn once(&mut self) -> Fallible<f64> {
        self.1 += 1;
        let t = Instant::now();
        self.0.write_all_at(&[self.1 as u8; 512], (self.1 * 512) % (1 << 20))?;
        self.0.sync_data()?;
        Ok(us(t.elapsed()))
    }
}

/// B1: the row of an event, same columns and lengths, by bare rusqlite in the
/// caller's thread, in WAL mode with `synchronous = FULL`.
pub(crate) struct Bare(Connection);

impl Bare {
    pub(crate) fn new(folder: &Path) -> Fallible<Self> {
        let db = Connection::open(folder.join("bare.db"))?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
             CREATE TABLE event(pos INTEGER PRIMARY KEY, leaf BLOB NOT NULL, body BLOB, subject INTEGER, secret BLOB) STRICT",
        )?;
        Ok(Self(db))
    }

    pub(crate) fn row(&self) -> Fallible<()> {
        let mut insert = self.0.prepare_cached("INSERT INTO event(leaf, body, subject, secret) VALUES(?1, ?2, 1, ?3)")?;
        insert.execute(params![[1u8; LEAF], [2u8; ROW], [3u8; SECRET]])?;
        Ok(())
    }

    pub(crate) fn rows(&self, count: usize) -> Fallible<()> {
        self.0.execute_batch("BEGIN IMMEDIATE")?;
        (0..count).try_for_each(|_| self.row())?;
        Ok(self.0.execute_batch("COMMIT")?)
    }
}

/// A child that answers each line on its standard input with a line: wall time
/// and CPU time in seconds.
pub(crate) struct Child {
    child: std::process::Child,
    requests: std::process::ChildStdin,
    answers: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Child {
    /// Starts it; returns its first line too.
    pub(crate) fn start(command: &mut std::process::Command) -> Fallible<(Self, String)> {
        use std::io::BufRead;
        use std::process::Stdio;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().ok_or("a child without an input")?;
        let answers = std::io::BufReader::new(child.stdout.take().ok_or("a child without an output")?).lines();
        let mut own = Self { child, requests, answers };
        let first = own.line()?;
        Ok((own, first))
    }

    fn line(&mut self) -> Fallible<String> {
        Ok(self.answers.next().ok_or("a child ended without an answer")??)
    }

    /// The answer to a request, as it stands.
    pub(crate) fn say(&mut self, request: &str) -> Fallible<String> {
        self.ask(request)?;
        self.line()
    }

    pub(crate) fn ask(&mut self, request: &str) -> Fallible<()> {
        writeln!(self.requests, "{request}")?;
        Ok(self.requests.flush()?)
    }

    /// Wall time and CPU time, seconds.
    pub(crate) fn answer(&mut self) -> Fallible<(f64, f64)> {
        let line = self.line()?;
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(wall)), Some(Ok(cpu))) => Ok((wall, cpu)),
            _ => Err(format!("a child answered '{line}'").into()),
        }
    }

    pub(crate) fn run(&mut self, request: &str) -> Fallible<(f64, f64)> {
        self.ask(request)?;
        self.answer()
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(self) -> Fallible<()> {
        let Self { mut child, requests, answers } = self;
        drop((requests, answers));
        Ok(child.wait().map(drop)?)
    }
}

/// This program again, for a part of a figure that needs a process of its own.
pub(crate) fn myself(args: &[&str]) -> Fallible<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(args);
    Ok(command)
}
