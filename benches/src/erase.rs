//! Erasing one subject of 10,000 records, among 1e5 and 1e6 events: the cost is
//! that of the records, not of the log.

use crate::tools::{Fallible, agent, cpu, memory, open, us, written};
use mirrordna::{ErasureState, NewMemory};
use std::time::Instant;

/// Records of the subject that is erased.
const RECORDS: usize = 10_000;
/// Appends in one batch.
const BATCH: usize = 1_000;

pub(crate) fn run() -> Fallible<()> {
    let mut first = None;
    for size in [100_000usize, 1_000_000] {
        let cost = at(size)?;
        let base = *first.get_or_insert(cost);
        println!("          / at 1e5: {:.2} seconds, {:.2} CPU", cost.seconds / base.seconds, cost.cpu / base.cpu);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu: f64,
}

fn at(size: usize) -> Fallible<Cost> {
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    let every = size / RECORDS;
    for start in (0..size).step_by(BATCH) {
        let some = (start..size.min(start + BATCH)).map(|i| {
            let subject = if i % every == 0 { "the subject" } else { "another" };
            NewMemory { subject: Some(subject.to_owned()), ..memory(i) }
        });
        agent.memories().add_all(some.collect())?;
    }
    drop(agent);
    engine.memories().count()?;
    engine.close()?;
    // As another process finds it.
    let engine = open(dir.path())?;
    let events = engine.timeline().len()?;
    let (t, c) = (Instant::now(), cpu());
    let would = engine.erase().subject("the subject").dry_run().run()?;
    println!("at {events:>8} events: dry run {:.2} s, {:.2} s CPU", t.elapsed().as_secs_f64(), us(cpu() - c) / 1e6);
    let (t, c, w) = (Instant::now(), cpu(), written());
    let done = engine.erase().subject("the subject").run()?;
    let cost = Cost { seconds: t.elapsed().as_secs_f64(), cpu: us(cpu() - c) / 1e6 };
    if (done.events, would.events, done.state) != (RECORDS as u64, RECORDS as u64, Some(ErasureState::Done)) {
        return Err(format!("{} erased, {:?}", done.events, done.state).into());
    }
    let bytes = (written() - w) as f64 / RECORDS as f64;
    println!(
        "          erased {RECORDS} records, purged, receipt made: {:.2} s, {:.2} s CPU, {bytes:.0} bytes written for each",
        cost.seconds, cost.cpu
    );
    engine.close()?;
    Ok(cost)
}
