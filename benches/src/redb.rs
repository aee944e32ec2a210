//! The redb adapter beside SQLite, interleaved in one run.

use crate::tools::{Fallible, Sync, agent, builder, cpu_of, fill, median, text, us};
use std::time::Instant;

const ROUNDS: usize = 400;
const BATCHED: usize = 20_000;

pub(crate) fn run() -> Fallible<()> {
    let root = tempfile::tempdir()?;
    let mut sync = Sync::new(root.path())?;
    let mut sides = Vec::new();
    for scheme in ["sqlite", "redb"] {
        let folder = root.path().join(scheme);
        std::fs::create_dir(&folder)?;
        let engine = builder(scheme, &folder).open()?;
        let agent = agent(&engine)?;
        sides.push((scheme, folder, engine, agent, Vec::new(), Vec::new()));
    }
    let mut b0 = Vec::new();
    for i in 0..ROUNDS {
        let sync = sync.once()?;
        b0.push(sync);
        for (_, _, _, agent, times, ratios) in &mut sides {
            let t = Instant::now();
            agent.memories().add(text(i)).subject("bench").send()?;
            let own = us(t.elapsed());
            times.push(own);
            ratios.push(own / sync);
        }
    }
    println!("B0 one fdatasync, p50 us               {:8.0}", median(&b0));
    for (scheme, folder, engine, agent, times, ratios) in sides {
        println!("{scheme}: one durable append, p50 us {:8.0}, / B0 {:.2}", median(&times), median(&ratios));
        let used = cpu_of(|| fill(&agent, 0..BATCHED, 100))?;
        println!("{scheme}: 100 per batch, CPU us per event {:.1}", used / BATCHED as f64);
        drop(agent);
        let events = engine.timeline().len()?;
        engine.close()?;
        let meta = std::fs::metadata(folder.join("m.db"))?;
        let blocks = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
        println!("{scheme}: {events} events, bytes per event {} (on disk {})", meta.len() / events, blocks / events);
        let t = Instant::now();
        drop(builder(scheme, &folder).open()?);
        println!("{scheme}: open {:.1} ms", t.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
