//! What checking costs a read: the same reads by this build and by one that
//! leaves the checks out (`--cfg mirrordna_unverified`), in turn.

use crate::tools::{Child, Fallible, agent, builder, cpu, fill, median, memory, myself, open};
use mirrordna::{Engine, NewSession, VERIFIES};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The other build of this program; `cargo xtask unverified` makes it there.
const OTHER: &str = "target/unverified/release/figures";
/// Where else it may be.
const NAMED: &str = "MIRRORDNA_UNVERIFIED_FIGURES";
/// Memories in a session, and events in a range.
const RANGE: usize = 100;
const SESSIONS: usize = 200;
/// Bursts of each subject by each build.
const BURSTS: u64 = 61;
/// Single reads of a burst, and places that they go round.
const POINTS: u64 = 200;
const PLACES: u64 = 2_000;
/// Ranges of a burst.
const RANGES: u64 = 4;

/// What is read, and how often in a burst.
const SUBJECTS: [(&str, u64, &str); 6] = [
    ("an event by its position", POINTS, "1.5"),
    ("a memory by its id", POINTS, "1.5"),
    ("what vouches for an event (basis)", POINTS, ""),
    ("100 events by position", RANGES, "1.3"),
    ("100 memories of a session", RANGES, "1.3"),
    ("100 memories after one", RANGES, "1.3"),
];

pub(crate) fn run(rest: &[String]) -> Fallible<()> {
    let named = std::env::var_os(NAMED).map_or_else(|| OTHER.into(), PathBuf::from);
    if !named.is_file() {
        println!("skipped: reads with and without checks, because {} is not there", named.display());
        println!("  cargo xtask unverified, or build it: RUSTFLAGS=\"--cfg mirrordna_unverified\" cargo build --release --locked");
        println!("  -p mirrordna-benches --bin figures --target-dir target/unverified; {NAMED} names another place");
        return Ok(());
    }
    let events: usize = rest.first().map_or(Ok(200_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    fill(&agent, 0..events, 1_000)?;
    for _ in 0..SESSIONS {
        let session = engine.sessions().start_with(&agent, NewSession::default())?;
        session.memories().add_all((0..RANGE).map(memory).collect())?;
    }
    drop(agent);
    // Its view is folded, and saved by the close: the children read the saved one.
    engine.timeline().len()?;
    engine.close()?;
    let folder = dir.path().to_str().ok_or("a temporary folder whose name is not UTF-8")?;
    let start = |mut command: Command, mode: &str| {
        let (child, first) = Child::start(&mut command)?;
        if first == mode { Ok(child) } else { Err::<_, Box<dyn std::error::Error>>(format!("a child is {first}, not {mode}").into()) }
    };
    let mut other = Command::new(named);
    other.args(["child-checks", folder]);
    let (mut with, mut without) = (start(myself(&["child-checks", folder])?, "verified")?, start(other, "unverified")?);
    println!("reads of {events} events and {SESSIONS} sessions, CPU us each, least of {BURSTS} bursts; tiles warm");
    for (subject, (what, count, accepted)) in SUBJECTS.iter().enumerate() {
        let answers = format!("answers {subject}");
        if with.say(&answers)? != without.say(&answers)? {
            return Err(format!("{what}: the builds do not answer the same").into());
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let request = format!("burst {subject}");
        for _ in 0..BURSTS {
            a.push(with.run(&request)?.1 * 1e6 / *count as f64);
            b.push(without.run(&request)?.1 * 1e6 / *count as f64);
        }
        let pairs: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a / b).collect();
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "  {what:<34} {:8.1}  without checks {:8.1}  ratio {:.2}, median of pairs {:.2}  {}",
            least(&a),
            least(&b),
            least(&a) / least(&b),
            median(&pairs),
            if accepted.is_empty() { String::new() } else { format!("accepted {accepted}") }
        );
    }
    with.end()?;
    without.end()
}

/// What a child reads from.
struct Place {
    engine: Engine,
    positions: Vec<u64>,
    ids: Vec<String>,
    sessions: Vec<String>,
}

impl Place {
    fn open(folder: &Path) -> Fallible<Self> {
        let engine = builder("sqlite", folder).read_only().open()?;
        let sessions: Vec<String> = engine.sessions().list(None)?.into_iter().map(|s| s.id).collect();
        let size = engine.timeline().len()?;
        let (mut positions, mut ids) = (Vec::new(), Vec::new());
        for at in 0..size {
            if positions.len() as u64 == PLACES {
                break;
            }
            let position = at * 7_919 % size;
            if let Some(id) = engine.timeline().get(position)?.record.filter(|id| id.starts_with("mem_")) {
                positions.push(position);
                ids.push(id);
            }
        }
        Ok(Self { engine, positions, ids, sessions })
    }

    /// One read; what it answers goes to `see`.
    fn read(&self, subject: usize, at: u64, see: &mut dyn FnMut(&dyn Debug)) -> Fallible<()> {
        let at = at as usize;
        let (position, id) = (self.positions[at % self.positions.len()], &self.ids[at % self.ids.len()]);
        let (timeline, memories) = (self.engine.timeline(), self.engine.memories());
        let nameless = |mut event: mirrordna::TimelineEvent| {
            // A build without checks hashes nothing.
            event.hash.clear();
            event
        };
        match subject {
            0 => see(&nameless(timeline.get(position)?)),
            1 => see(&memories.get(id)?),
            2 => {
                std::hint::black_box(timeline.basis(position)?);
            }
            3 => see(&timeline.list(position.saturating_sub(RANGE as u64), RANGE)?.into_iter().map(nameless).collect::<Vec<_>>()),
            4 => see(&self.engine.sessions().memories(&self.sessions[at % self.sessions.len()])?.list(0, RANGE)?),
            _ => see(&self.engine.memories().listing().after(id.as_str()).limit(RANGE).run()?.items),
        }
        Ok(())
    }
}

/// Answers `burst SUBJECT` with wall and CPU time, `answers SUBJECT` with a digest
/// of what it reads.
pub(crate) fn child(folder: &str) -> Fallible<()> {
    let place = Place::open(Path::new(folder))?;
    println!("{}", if VERIFIES { "verified" } else { "unverified" });
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what, subject] = words[..] else { return Err(format!("asked for '{line}'").into()) };
        let subject: usize = subject.parse()?;
        let count = SUBJECTS.get(subject).ok_or("a subject that is not there")?.1;
        let places = if count == POINTS { PLACES } else { SESSIONS as u64 };
        match what {
            "answers" => {
                // All places: they are warm then.
                let mut digest = DefaultHasher::new();
                (0..places).try_for_each(|at| place.read(subject, at, &mut |answer| format!("{answer:?}").hash(&mut digest)))?;
                println!("{:016x}", digest.finish());
            }
            _ => {
                // The same places in each burst.
                let (t, c) = (Instant::now(), cpu());
                let see = &mut |answer: &dyn Debug| {
                    std::hint::black_box(answer);
                };
                (0..count).try_for_each(|i| place.read(subject, i * places / count, see))?;
                println!("{} {}", t.elapsed().as_secs_f64(), (cpu() - c).as_secs_f64());
            }
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
