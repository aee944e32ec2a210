//! How costs grow with the log: 1e4, 1e5, 1e6 events. Then bytes on disk and
//! verification of what has grown.

use crate::tools::{
    Fallible, SECRET, agent, anonymous, builder, cpu, fill, median, memory, myself, open, quantile, resident, text, times, us, written,
};
use mirrordna::{Builder, Engine, NewSession, SessionHandle};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Events in each window that is measured, and in the one before it: more than
/// one fold of the write-ahead log (64 MiB, about 1,100 bytes for each event).
const WINDOW: usize = 80_000;
/// Memories in each session that is queried.
const SESSION: usize = 20;

pub(crate) fn run() -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let mut first = None;
    for size in [10_000usize, 100_000, 1_000_000] {
        let found = at(dir.path(), size)?;
        let (base, sessions) = first.get_or_insert((found, Vec::new()));
        println!("at {size:>8}: append {:.2} us CPU, {:.0} bytes written", found.cpu, found.bytes);
        println!("          / at 1e4: CPU {:.2}, bytes {:.2}", found.cpu / base.cpu, found.bytes / base.bytes);
        reads(dir.path(), sessions)?;
    }
    disk(dir.path())?;
    verify(dir.path())
}

#[derive(Clone, Copy)]
struct Append {
    cpu: f64,
    bytes: f64,
}

/// Grows the log to `size` events and measures the window that follows a
/// window of warming up. Each size is measured in an engine of its own, so that
/// every round opens an epoch, warms its caches and folds alike.
fn at(folder: &Path, size: usize) -> Fallible<Append> {
    let engine = open(folder)?;
    let agent = match engine.identities().find("bench") {
        Ok(agent) => agent,
        Err(_) => agent(&engine)?,
    };
    let before = usize::try_from(engine.timeline().len()?)?;
    fill(&agent, before..size.saturating_sub(WINDOW).max(before), 1000)?;
    fill(&agent, 0..WINDOW, 100)?;
    let (c, w) = (cpu(), written());
    fill(&agent, 0..WINDOW, 100)?;
    // What the window left in the log is folded back by the last close.
    drop(agent);
    engine.close()?;
    let n = WINDOW as f64;
    Ok(Append { cpu: us(cpu() - c) / n, bytes: (written() - w) as f64 / n })
}

/// Reads, each in a process that has opened the database anew.
fn reads(folder: &Path, sessions: &mut Vec<String>) -> Fallible<()> {
    {
        let engine = open(folder)?;
        let agent = engine.identities().find("bench")?;
        for _ in 0..50 {
            let session = engine.sessions().start_with(&agent, NewSession::default())?;
            session.memories().add_all((0..SESSION).map(memory).collect())?;
            sessions.push(session.id().to_owned());
        }
        engine.close()?;
    }
    let folder = folder.to_str().ok_or("a temporary folder whose name is not UTF-8")?;
    let mut child = myself(&["child-reads", folder])?;
    child.args(sessions.iter());
    succeed(&mut child)
}

fn succeed(command: &mut Command) -> Fallible<()> {
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("a child ended with {status}").into()),
    }
}

/// The child of [`reads`].
pub(crate) fn child_reads(folder: &str, sessions: &[String]) -> Fallible<()> {
    let folder = Path::new(folder);
    let t = Instant::now();
    let engine = open(folder)?;
    let opened = t.elapsed();
    let t = Instant::now();
    let events = engine.timeline().len()?;
    println!(
        "          open {:.1} ms; saved index and tail checked {:.1} ms; RSS {} MiB, {} of it anonymous",
        opened.as_secs_f64() * 1e3,
        t.elapsed().as_secs_f64() * 1e3,
        resident(),
        anonymous()
    );
    point_reads(&engine, folder, events)?;
    let handles = sessions.iter().map(|id| Ok(engine.sessions().resume(id)?)).collect::<Fallible<Vec<SessionHandle>>>()?;
    let query = |handles: &[SessionHandle]| {
        times(400, |i| {
            let found = handles[i as usize % handles.len()].memories().list(0, SESSION)?;
            if found.len() == SESSION { Ok(()) } else { Err(format!("{} of {SESSION} memories", found.len()).into()) }
        })
    };
    query(&handles)?;
    let (old, new) = (query(&handles[..50])?, query(&handles[handles.len() - 50..])?);
    println!("          session query of {SESSION}, p50: sessions from 1e4 on {:.0} us, the newest {:.0} us", median(&old), median(&new));
    let head = times(2_000, |_| Ok(engine.timeline().len().map(|_| ())?))?;
    println!("          verified head, p50 {:.1} us", median(&head));
    let agent = engine.identities().find("bench")?;
    let t = Instant::now();
    agent.memories().add(text(0)).subject("bench").send()?;
    let first = t.elapsed();
    for new in [100usize, 1_000, 10_000] {
        fill(&agent, 0..new, 100)?;
        let (t, c) = (Instant::now(), cpu());
        engine.timeline().len()?;
        println!(
            "          catching up on {new:>5} new events, verified: {:.1} us each, CPU {:.1}",
            us(t.elapsed()) / new as f64,
            us(cpu() - c) / new as f64
        );
    }
    println!(
        "          first append after opening {:.2} ms; RSS at the end {} MiB, {} anonymous",
        first.as_secs_f64() * 1e3,
        resident(),
        anonymous()
    );
    drop((agent, handles));
    Ok(engine.close()?)
}

/// Verified reads of scattered events against bare reads of the same rows.
pub(crate) fn point_reads(engine: &Engine, folder: &Path, events: u64) -> Fallible<()> {
    let db = readable(folder)?;
    let mut statement = db.prepare("SELECT leaf, body, secret FROM event WHERE pos = ?1")?;
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for round in 0..2 {
        (own, bare) = (Vec::new(), Vec::new());
        for i in 0..20_000u64 {
            let leaf = (i * 7919 + round) % events;
            let t = Instant::now();
            engine.timeline().get(leaf)?;
            own.push(us(t.elapsed()));
            let t = Instant::now();
            let row = statement.query_row([(1i64 << 40) | leaf as i64], |r| {
                Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, Option<Vec<u8>>>(1)?, r.get::<_, Option<Vec<u8>>>(2)?))
            })?;
            bare.push(us(t.elapsed()));
            std::hint::black_box(row);
        }
    }
    let (middle, base) = (median(&own), median(&bare));
    println!(
        "          verified point read, p50 {middle:.1} us, p99 {:.1}; bare read of the same row {base:.1}; ratio {:.1}",
        quantile(&own, 0.99),
        middle / base
    );
    Ok(())
}

fn readable(folder: &Path) -> Fallible<Connection> {
    Ok(Connection::open_with_flags(folder.join("m.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// Where the bytes are.
pub(crate) fn disk(folder: &Path) -> Fallible<()> {
    let db = readable(folder)?;
    let one = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).map(|n| n as f64);
    let events = one("SELECT count(*) FROM event")?;
    let pages = |table: &str| one(&format!("SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = '{table}'"));
    let file = std::fs::metadata(folder.join("m.db"))?.len() as f64;
    let (cache, tiles, rows) = (pages("cache_segment")?, pages("tile")?, pages("event")?);
    // A row has the AEAD's commitment and tag around the padded body.
    let padded = one("SELECT sum(length(body)) - 48 * sum(subject IS NOT NULL) FROM event")? / events;
    let leaves = one("SELECT sum(length(leaf)) FROM event")? / events;
    let edges = one("SELECT sum(length(frontier) + length(signed_frontier) + length(checkpoint)) FROM log")?;
    let plain = memory(1).into_body("mem_00000000000000000000000000")?.encode_padded()?;
    let unpadded = plain.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1) as f64;
    let per = |bytes: f64| bytes / events;
    println!("bytes on disk per event, {events:.0} events, encrypted, no recall: whole file {:.0}", per(file));
    println!("  without the saved index              {:8.0}", per(file - cache));
    println!("  / (body + 162), body as padded: {padded:.0}   {:8.2}", per(file - cache) / (padded + 162.0));
    println!("  / (body + 162), body as written: {unpadded:.0}  {:8.2}", per(file - cache) / (unpadded + 162.0));
    println!(
        "  table event                          {:8.0}  of it bodies {:.0}, commitment and tag 48, secret {SECRET}",
        per(rows),
        padded
    );
    println!(
        "  proof: leaves {leaves:.0}, tiles {:.1}, both edges and checkpoint {edges:.0} in all: {:.0}",
        per(tiles),
        leaves + per(tiles + edges)
    );
    println!("  saved index (cache_segment)          {:8.0}", per(cache));
    println!("  heads, subjects, the rest            {:8.2}", per(file - cache - tiles - rows));
    Ok(())
}

/// What verification and verified reads cost, without the growth before them.
pub(crate) fn verification(rest: &[String]) -> Fallible<()> {
    let events = rest.first().map_or(Ok(300_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    fill(&agent(&engine)?, 0..events, 1000)?;
    engine.close()?;
    let folder = dir.path().to_str().ok_or("a temporary folder whose name is not UTF-8")?;
    for _ in 0..3 {
        succeed(&mut myself(&["child-points", folder])?)?;
    }
    verify(dir.path())
}

/// The child of [`verification`] that reads single events.
pub(crate) fn child_points(folder: &str) -> Fallible<()> {
    let folder = Path::new(folder);
    let engine = open(folder)?;
    let events = engine.timeline().len()?;
    point_reads(&engine, folder, events)?;
    Ok(engine.close()?)
}

/// Verification in cold processes, each on one core.
fn verify(folder: &Path) -> Fallible<()> {
    let folder = folder.to_str().ok_or("a temporary folder whose name is not UTF-8")?;
    for part in ["child-verify", "child-headers"] {
        for _ in 0..3 {
            succeed(&mut myself(&[part, folder])?)?;
        }
    }
    Ok(())
}

fn one_core() -> Fallible<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(rustix::thread::sched_getcpu());
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The child that verifies everything.
pub(crate) fn child_verify(folder: &str) -> Fallible<()> {
    verified("verify with bodies and secrets", builder("sqlite", Path::new(folder)))
}

/// The child that verifies headers, tree and seals, and reads no private body.
pub(crate) fn child_headers(folder: &str) -> Fallible<()> {
    verified("headers, tree and seals only", builder("sqlite", Path::new(folder)).headers_only())
}

fn verified(what: &str, builder: Builder) -> Fallible<()> {
    one_core()?;
    let t = Instant::now();
    let report = builder.verify()?;
    let n = report.events as f64;
    println!(
        "{what}, one core, cold process: {} events, {}; {:.0}/s wall, {:.0}/s CPU, RSS {} MiB, {} of it anonymous",
        report.events,
        report.verdict,
        n / t.elapsed().as_secs_f64(),
        n / cpu().as_secs_f64(),
        resident(),
        anonymous()
    );
    Ok(())
}
