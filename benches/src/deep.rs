//! What is too long for every day: many identities, many events.
//! `figures deep [identities [events]]`.

use crate::tools::{Fallible, agent, anonymous, cpu, fill, median, myself, open, quantile, resident, times, us};
use mirrordna::IdentityType;
use std::path::Path;
use std::time::Instant;

const IDENTITIES: usize = 1_000_000;
const EVENTS: usize = 10_000_000;
/// Threads that create identities, so that their commits share a sync.
const THREADS: usize = 16;

pub(crate) fn run(args: &[String]) -> Fallible<()> {
    let number = |at: usize, default: usize| args.get(at).map_or(Ok(default), |n| n.parse::<usize>());
    let (many, events) = (number(0, IDENTITIES)?, number(1, EVENTS)?);
    if many > 0 {
        identities(many)?;
    }
    if events > 0 {
        grown(events)?;
    }
    Ok(())
}

fn identities(count: usize) -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let (t, c) = (Instant::now(), cpu());
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let engine = &engine;
                s.spawn(move || {
                    (thread..count).step_by(THREADS).try_for_each(|_| engine.identities().create(IdentityType::Agent).map(drop))
                })
            })
            .collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| Ok(())))
    })?;
    println!(
        "{count} identities created by {THREADS} threads: {:.0}/s, CPU {:.0} us each, RSS {} MiB",
        count as f64 / t.elapsed().as_secs_f64(),
        us(cpu() - c) / count as f64,
        resident()
    );
    let t = Instant::now();
    engine.timeline().len()?;
    println!("  first fold {:.1} s", t.elapsed().as_secs_f64());
    let t = Instant::now();
    engine.close()?;
    let size = |name: &str| std::fs::metadata(dir.path().join(name)).map_or(0, |m| m.len());
    println!("  close {:.1} s; {} bytes of database for each", t.elapsed().as_secs_f64(), size("m.db") / count as u64);
    child("child-identities", dir.path())
}

fn child(part: &str, folder: &Path) -> Fallible<()> {
    let folder = folder.to_str().ok_or("a temporary folder whose name is not UTF-8")?;
    match myself(&[part, folder])?.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("a child ended with {status}").into()),
    }
}

fn opened(folder: &str) -> Fallible<mirrordna::Engine> {
    let t = Instant::now();
    let engine = open(Path::new(folder))?;
    println!("  open {:.1} ms, RSS {} MiB, {} anonymous", t.elapsed().as_secs_f64() * 1e3, resident(), anonymous());
    let t = Instant::now();
    engine.timeline().len()?;
    println!("  saved index and tail checked {:.1} ms", t.elapsed().as_secs_f64() * 1e3);
    Ok(engine)
}

/// The child that looks identities up.
pub(crate) fn child_identities(folder: &str) -> Fallible<()> {
    let engine = opened(folder)?;
    // Their ids, from entries all over the log.
    let events = engine.timeline().len()?;
    let mut ids = Vec::new();
    for i in 0..4_000u64 {
        let event = engine.timeline().get(i * 7919 % events)?;
        if event.actor.starts_with("mdna_agt_") {
            ids.push(event.actor);
        }
    }
    let found = times(20_000, |i| Ok(engine.identities().get(&ids[i as usize * 31 % ids.len()]).map(drop)?))?;
    println!(
        "  identity by id: p50 {:.1} us, p99 {:.1} us; RSS {} MiB, {} anonymous",
        median(&found),
        quantile(&found, 0.99),
        resident(),
        anonymous()
    );
    // The first event of an actor in a process needs its key from the keyring.
    let t = Instant::now();
    engine.identities().get(&ids[0])?.memories().add("first").send()?;
    let first = t.elapsed().as_secs_f64() * 1e3;
    let writing = times(500, |i| {
        let id = &ids[(i as usize + 1) * 5 % ids.len()];
        Ok(engine.identities().get(id)?.memories().add("another").send().map(drop)?)
    })?;
    println!(
        "  first event as an identity {first:.1} ms; as 500 others, each its first: p50 {:.0} us, p99 {:.0} us; RSS {} MiB, {} anonymous",
        median(&writing),
        quantile(&writing, 0.99),
        resident(),
        anonymous()
    );
    Ok(())
}

fn grown(events: usize) -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    let (t, c) = (Instant::now(), cpu());
    fill(&agent, 0..events, 1_000)?;
    println!(
        "{events} events, 1,000 per batch: {:.0}/s, CPU {:.1} us each, RSS {} MiB",
        events as f64 / t.elapsed().as_secs_f64(),
        us(cpu() - c) / events as f64,
        resident()
    );
    drop(agent);
    let t = Instant::now();
    engine.timeline().len()?;
    println!("  first fold {:.1} s, RSS {} MiB, {} anonymous", t.elapsed().as_secs_f64(), resident(), anonymous());
    let t = Instant::now();
    engine.close()?;
    println!("  close, which saves the index, {:.1} s", t.elapsed().as_secs_f64());
    crate::growth::disk(dir.path())?;
    child("child-events", dir.path())
}

/// The child that looks events and memories up.
pub(crate) fn child_events(folder: &str) -> Fallible<()> {
    let engine = opened(folder)?;
    let events = engine.timeline().len()?;
    let mut ids = Vec::new();
    let found = times(20_000, |i| {
        let event = engine.timeline().get(i * 7_919_777 % events)?;
        ids.extend(event.record.filter(|id| id.starts_with("mem_")));
        Ok(())
    })?;
    println!("  event by leaf: p50 {:.1} us, p99 {:.1} us", median(&found), quantile(&found, 0.99));
    let found = times(20_000, |i| Ok(engine.memories().get(&ids[i as usize * 31 % ids.len()]).map(drop)?))?;
    println!(
        "  memory by id: p50 {:.1} us, p99 {:.1} us; RSS {} MiB, {} anonymous",
        median(&found),
        quantile(&found, 0.99),
        resident(),
        anonymous()
    );
    Ok(())
}
