//! Figures as ratios against named baselines in the same run. Wall time on a
//! shared machine is noise; CPU time, bytes and ratios are what to read.
//!
//! `cargo run --release -p mirrordna-benches --bin figures -- [append|growth|redb|all]`

use mirrordna::{Engine, Identity, IdentityType, Keys, NewIdentity, NewMemory, Witness};
use rusqlite::{Connection, OpenFlags, params};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    match std::env::args().nth(1).as_deref() {
        Some("append") => append(),
        Some("growth") => growth(),
        Some("redb") => redb(),
        _ => append().and_then(|()| growth()).and_then(|()| redb()),
    }
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of this process, MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn us(d: Duration) -> f64 {
    d.as_secs_f64() * 1e6
}

fn open(folder: &Path) -> Fallible<Engine> {
    open_as("sqlite", folder)
}

fn open_as(scheme: &str, folder: &Path) -> Fallible<Engine> {
    let url = folder.join("m.db");
    let builder = Engine::builder(format!("{scheme}:{}", url.display()));
    Ok(builder.keys(Keys::Folder(folder.join("keys"))).witness(Witness::Folder(folder.join("state"))).open()?)
}

fn agent(engine: &Engine) -> Fallible<Identity> {
    let new = NewIdentity { name: Some("bench".into()), ..NewIdentity::default() };
    Ok(engine.identities().create_with(IdentityType::Agent, new)?)
}

/// About 300 bytes of body with its fields.
fn text(i: usize) -> String {
    format!("{i:>8} {}", "the quick brown fox jumps over the lazy dog and runs on ".repeat(4))
}

fn memory(i: usize) -> NewMemory {
    NewMemory { content: mirrordna::Content::Text(text(i)), subject: Some("bench".into()), ..NewMemory::default() }
}

/// B1: a bare row of the same bytes by rusqlite in the caller's thread.
fn bare(folder: &Path) -> Fallible<Connection> {
    let db = Connection::open(folder.join("bare.db"))?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; CREATE TABLE e(pos INTEGER PRIMARY KEY, head BLOB, body BLOB)")?;
    Ok(db)
}

fn append() -> Fallible<()> {
    const ROUNDS: usize = 400;
    let dir = tempfile::tempdir()?;
    let file = File::create(dir.path().join("sync"))?;
    (&file).write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let db = bare(dir.path())?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    let (mut b0, mut b1, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..ROUNDS {
        let t = Instant::now();
        file.write_all_at(&[i as u8; 512], (i as u64 * 512) % (1 << 20))?;
        file.sync_data()?;
        b0.push(us(t.elapsed()));
        let t = Instant::now();
        db.execute("INSERT INTO e(head, body) VALUES(?1, ?2)", params![[1u8; 162], [2u8; 368]])?;
        b1.push(us(t.elapsed()));
        let t = Instant::now();
        agent.memories().add(text(i)).subject("bench").send()?;
        own.push(us(t.elapsed()));
    }
    println!("B0 one fdatasync, p50 us           {:8.0}", median(b0));
    println!("B1 one bare SQLite row, p50 us     {:8.0}", median(b1.clone()));
    println!("one durable append, p50 us         {:8.0}", median(own.clone()));
    println!("one durable append / B1            {:8.2}", median(own.iter().zip(&b1).map(|(a, b)| a / b).collect()));
    let (c, n) = (cpu(), 3000);
    for i in 0..n {
        agent.memories().add(text(i)).subject("bench").send()?;
    }
    let own_cpu = us(cpu() - c) / n as f64;
    let c = cpu();
    for _ in 0..n {
        db.execute("INSERT INTO e(head, body) VALUES(?1, ?2)", params![[1u8; 162], [2u8; 368]])?;
    }
    let bare_cpu = us(cpu() - c) / n as f64;
    println!("CPU per append, us: own {own_cpu:.0}, B1 {bare_cpu:.0}, added {:.0}", own_cpu - bare_cpu);

    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let t = Instant::now();
        std::thread::scope(|s| {
            for _ in 0..64 {
                let agent = agent.clone();
                s.spawn(move || (0..40).for_each(|i| drop(agent.memories().add(text(i)).subject("bench").send())));
            }
        });
        let grouped = 64.0 * 40.0 / t.elapsed().as_secs_f64();
        let t = Instant::now();
        for _ in 0..400 {
            db.execute("INSERT INTO e(head, body) VALUES(?1, ?2)", params![[1u8; 162], [2u8; 368]])?;
        }
        rates.push(grouped);
        ratios.push(grouped * t.elapsed().as_secs_f64() / 400.0);
    }
    println!("64 writers / B1, 9 rounds           {:8.1}  ({:.0}/s)", median(ratios), median(rates));
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for round in 0..30 {
        let batch: Vec<NewMemory> = (0..1000).map(|i| memory(round * 1000 + i)).collect();
        let c = cpu();
        for chunk in batch.chunks(100) {
            agent.memories().add_all(chunk.to_vec())?;
        }
        own.push(us(cpu() - c) / 1000.0);
        let c = cpu();
        for _ in 0..10 {
            db.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..100 {
                db.prepare_cached("INSERT INTO e(head, body) VALUES(?1, ?2)")?.execute(params![[1u8; 162], [2u8; 368]])?;
            }
            db.execute_batch("COMMIT")?;
        }
        bare.push(us(cpu() - c) / 1000.0);
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    println!("100 per batch, CPU us per event: own {:.1}, B1 {:.1}", mean(&own), mean(&bare));
    Ok(())
}

/// Verified reads of scattered events against bare reads of the same rows.
fn point_reads(engine: &Engine, folder: &Path, events: u64) -> Fallible<()> {
    let db = Connection::open_with_flags(folder.join("m.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
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
            let row =
                statement.query_row([(1i64 << 40) | leaf as i64], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, Option<Vec<u8>>>(1)?)))?;
            bare.push(us(t.elapsed()));
            std::hint::black_box(row);
        }
    }
    let (own, bare) = (median(own), median(bare));
    println!(
        "verified point read, p50 {own:.1} us; bare read of the same row {bare:.1} us; ratio {:.1}; RSS {} MiB",
        own / bare,
        resident()
    );
    Ok(())
}

fn growth() -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    let mut written = 0usize;
    for target in [10_000usize, 100_000, 1_000_000] {
        let (c, t, from) = (cpu(), Instant::now(), written);
        while written < target {
            let batch: Vec<NewMemory> = (written..written + 100).map(memory).collect();
            agent.memories().add_all(batch)?;
            written += 100;
        }
        let n = (written - from) as f64;
        println!(
            "append to {target:>8}, batches of 100: CPU {:.1} us/event, {:.0}/s wall, RSS {} MiB",
            us(cpu() - c) / n,
            n / t.elapsed().as_secs_f64(),
            resident()
        );
    }
    drop(agent);
    engine.close()?;
    let size = std::fs::metadata(dir.path().join("m.db"))?.len();
    // The body is the padded CBOR that the header's length field counts.
    println!("bytes on disk per event {:.0}", size as f64 / written as f64);
    let t = Instant::now();
    let engine = open(dir.path())?;
    println!("open at {written}: {:.1} ms, RSS {} MiB", t.elapsed().as_secs_f64() * 1e3, resident());
    let (c, t) = (cpu(), Instant::now());
    let event = engine.timeline().get(500_000)?;
    println!(
        "first fold {:.2} s wall, {:.2} s CPU ({}), RSS {} MiB",
        t.elapsed().as_secs_f64(),
        (cpu() - c).as_secs_f64(),
        event.kind,
        resident()
    );
    engine.close()?;
    let size = std::fs::metadata(dir.path().join("m.db"))?.len();
    println!("bytes on disk per event, with the saved index {:.0}", size as f64 / written as f64);
    let t = Instant::now();
    let engine = open(dir.path())?;
    engine.timeline().get(500_000)?;
    println!("open and first verified read with the saved index: {:.1} ms, RSS {} MiB", t.elapsed().as_secs_f64() * 1e3, resident());
    point_reads(&engine, dir.path(), written as u64)?;
    let (c, t) = (cpu(), Instant::now());
    let report = engine.verify()?;
    let n = report.events as f64;
    println!(
        "verify {} events: {} in {:.2} s wall, {:.2} s CPU, {:.0}/s",
        report.events,
        report.verdict,
        t.elapsed().as_secs_f64(),
        (cpu() - c).as_secs_f64(),
        n / (cpu() - c).as_secs_f64()
    );
    Ok(())
}

/// The redb adapter beside SQLite, interleaved in one run.
fn redb() -> Fallible<()> {
    const ROUNDS: usize = 400;
    const BATCHES: usize = 200;
    let root = tempfile::tempdir()?;
    let file = File::create(root.path().join("sync"))?;
    (&file).write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let mut sides = Vec::new();
    for scheme in ["sqlite", "redb"] {
        let folder = root.path().join(scheme);
        std::fs::create_dir(&folder)?;
        let engine = open_as(scheme, &folder)?;
        let agent = agent(&engine)?;
        sides.push((scheme, folder, engine, agent, Vec::new(), Vec::new()));
    }
    let mut b0 = Vec::new();
    for i in 0..ROUNDS {
        let t = Instant::now();
        file.write_all_at(&[i as u8; 512], (i as u64 * 512) % (1 << 20))?;
        file.sync_data()?;
        let sync = us(t.elapsed());
        b0.push(sync);
        for (_, _, _, agent, times, ratios) in &mut sides {
            let t = Instant::now();
            agent.memories().add(text(i)).subject("bench").send()?;
            let own = us(t.elapsed());
            times.push(own);
            ratios.push(own / sync);
        }
    }
    println!("B0 one fdatasync, p50 us           {:8.0}", median(b0));
    for (scheme, folder, engine, agent, times, ratios) in sides {
        println!("{scheme}: one durable append, p50 us {:8.0}, / B0 {:.2}", median(times), median(ratios));
        let c = cpu();
        for round in 0..BATCHES {
            agent.memories().add_all((0..100).map(|i| memory(round * 100 + i)).collect())?;
        }
        println!("{scheme}: 100 per batch, CPU us per event {:.1}", us(cpu() - c) / (BATCHES * 100) as f64);
        drop(agent);
        let events = engine.timeline().len()?;
        engine.close()?;
        let meta = std::fs::metadata(folder.join("m.db"))?;
        let blocks = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
        println!("{scheme}: {events} events, bytes per event {} (on disk {})", meta.len() / events, blocks / events);
        let t = Instant::now();
        drop(open_as(scheme, &folder)?);
        println!("{scheme}: open {:.1} ms", t.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
