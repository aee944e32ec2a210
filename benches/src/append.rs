//! Appending: one at a time, by many writers, in batches.

use crate::tools::{Bare, Fallible, ROW, SECRET, Sync, agent, cpu, cpu_of, fill, mean, median, memory, open, text, us};
use mirrordna::{Identity, SystemClock, SystemEntropy};
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::{Draft, DraftBody, Place, Tree};
use mirrordna_core::verify::{hash, leaf};
use mirrordna_core::{Clock, Entropy, Kind};
use std::hint::black_box;
use std::time::Instant;

/// `part` is one of `one`, `many` and `batches`; none for all of them.
pub(crate) fn run(part: Option<&str>) -> Fallible<()> {
    let asked = |name| part.is_none_or(|part| part == name);
    let dir = tempfile::tempdir()?;
    let mut sync = Sync::new(dir.path())?;
    let bare = Bare::new(dir.path())?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    if asked("one") {
        one(&agent, &bare, &mut sync)?;
    }
    if asked("many") {
        many(&agent, &bare)?;
    }
    if asked("batches") {
        batches(&agent, &bare)?;
    }
    drop(agent);
    Ok(engine.close()?)
}

fn one(agent: &Identity, bare: &Bare, sync: &mut Sync) -> Fallible<()> {
    let (mut b0, mut b1, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..400 {
        b0.push(sync.once()?);
        let t = Instant::now();
        bare.row()?;
        b1.push(us(t.elapsed()));
        let t = Instant::now();
        agent.memories().add(text(i)).subject("bench").send()?;
        own.push(us(t.elapsed()));
    }
    println!("B0 one fdatasync, p50 us               {:8.0}", median(&b0));
    println!("B1 one bare SQLite row, p50 us         {:8.0}", median(&b1));
    println!("one durable append, p50 us             {:8.0}", median(&own));
    let ratios: Vec<f64> = own.iter().zip(&b1).map(|(a, b)| a / b).collect();
    println!("one durable append / B1                {:8.2}", median(&ratios));
    let (mut own, mut b1) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        own.push(cpu_of(|| (0..300).try_for_each(|i| Ok(agent.memories().add(text(i)).subject("bench").send().map(drop)?)))? / 300.0);
        b1.push(cpu_of(|| (0..300).try_for_each(|_| bare.row()))? / 300.0);
    }
    let (own, b1) = (median(&own), median(&b1));
    println!("CPU per append, us                     {own:8.1}  B1 {b1:.1}, added {:.1}", own - b1);
    Ok(())
}

/// 64 threads that are there already append one by one; events per second and
/// CPU per event, microseconds.
pub(crate) fn writers(agent: &Identity, each: usize) -> (f64, f64) {
    let barrier = std::sync::Barrier::new(65);
    let (t, c) = std::thread::scope(|s| {
        for _ in 0..64 {
            let (agent, barrier) = (agent.clone(), &barrier);
            s.spawn(move || {
                barrier.wait();
                barrier.wait();
                (0..each).for_each(|i| drop(agent.memories().add(text(i)).subject("bench").send()));
                barrier.wait();
            });
        }
        barrier.wait();
        let start = (Instant::now(), cpu());
        barrier.wait();
        barrier.wait();
        (start.0.elapsed(), cpu() - start.1)
    });
    let events = (64 * each) as f64;
    (events / t.as_secs_f64(), us(c) / events)
}

fn many(agent: &Identity, bare: &Bare) -> Fallible<()> {
    let (mut ratios, mut rates, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        let (rate, cost) = writers(agent, 40);
        costs.push(cost);
        let t = Instant::now();
        (0..400).try_for_each(|_| bare.row())?;
        rates.push(rate);
        ratios.push(rate * t.elapsed().as_secs_f64() / 400.0);
    }
    println!("64 writers / B1, median of 9 rounds    {:8.1}  {:.0}/s, CPU {:.1} us/event", median(&ratios), median(&rates), median(&costs));
    Ok(())
}

/// What the engine computes for each event besides bytes to store, called bare
/// on the same sizes.
struct Crypto {
    name: &'static str,
    us: Vec<f64>,
}

/// Events in a batch.
const BATCH: usize = 100;

fn batches(agent: &Identity, bare: &Bare) -> Fallible<()> {
    const EVENTS: usize = 2_000;
    let (mut own, mut b1) = (Vec::new(), Vec::new());
    let mut parts =
        ["hashes", "AEAD and its keys", "seals", "key wrap", "subject tags", "randomness"].map(|name| Crypto { name, us: Vec::new() });
    fill(agent, 0..EVENTS, BATCH)?;
    for _ in 0..25 {
        own.push(cpu_of(|| fill(agent, 0..EVENTS, BATCH))? / EVENTS as f64);
        b1.push(cpu_of(|| (0..EVENTS / BATCH).try_for_each(|_| bare.rows(BATCH)))? / EVENTS as f64);
        for (part, cost) in parts.iter_mut().zip(bare_crypto(EVENTS)?) {
            part.us.push(cost);
        }
    }
    let whole = mean(&own);
    let crypto: f64 = parts.iter().map(|p| mean(&p.us)).sum();
    let named: f64 = parts.iter().take(3).map(|p| mean(&p.us)).sum();
    println!("100 per batch, CPU us per event        {whole:8.2}  B1 {:.2}", mean(&b1));
    for part in &parts {
        println!("  bare {:<32}  {:8.2}", part.name, mean(&part.us));
    }
    println!("  without crypto                       {:8.2}  of that beyond B1 {:.2}", whole - crypto, whole - crypto - mean(&b1));
    println!("whole / bare hashes, AEAD, seals       {:8.2}", whole / named);
    println!("whole / all bare crypto                {:8.2}", whole / crypto);
    Ok(())
}

/// CPU per event, microseconds, of each kind of computation by itself: hashes,
/// AEAD, seals, key wrap, tags, randomness.
fn bare_crypto(events: usize) -> Fallible<[f64; 6]> {
    let entropy = SystemEntropy;
    let (log, actor) = ([7u8; 16], [8u8; 32]);
    let plain = memory(1).into_body(&mirrordna_core::id::fresh("mem", SystemClock.now_ms(), &entropy)?)?.encode_padded()?;
    let secret = Secret::generate(&entropy)?;
    let subject = Secret::generate(&entropy)?;
    let key = SecretKey::generate(&entropy)?;
    let binding = Binding { log: &log, actor: &actor, kind: Kind::RECORD_PUT };
    let row = cipher::seal(&secret, binding, &plain)?;
    if (row.len(), subject.wrap(&secret).len()) != (ROW, SECRET) {
        return Err(format!("an event's row has {} bytes now: B1 must follow", row.len()).into());
    }
    let sealed = mirrordna_core::timeline::Sealed {
        row: row.clone(),
        commitment: hash::private_body(&row),
        length: plain.len() as u64,
        secret: secret.clone(),
        subject: [9; 32],
    };
    let draft =
        Draft { kind: Kind::RECORD_PUT, session: [0; 16], body: DraftBody::Private(Box::new(sealed)), refs: Vec::new(), signed: false };
    let place = Place { log, actor, aseq: 4711, prev: [1; 32], signer: 1, time: SystemClock.now_ms() };
    let header = draft.place(&place).encode();
    let per = |us: f64| us / events as f64;
    let hashes = cpu_of(|| {
        let mut tree = Tree::default();
        for _ in 0..events {
            black_box(hash::private_body(black_box(&row)));
            tree.push(leaf::hash(black_box(&header)));
        }
        black_box(tree.frontier().root());
        Ok(())
    })?;
    let aead =
        cpu_of(|| (0..events).try_for_each(|_| Ok(cipher::seal(&secret, binding, black_box(&plain)).map(|row| drop(black_box(row)))?)))?;
    // One event of 64 is signed.
    let seals = cpu_of(|| {
        let id = key.public().id();
        for _ in 0..events / 64 {
            black_box(key.sign_bytes(&leaf::signed_bytes(black_box(&header), &id)));
        }
        Ok(())
    })?;
    let wrap = cpu_of(|| {
        for _ in 0..events {
            black_box(subject.wrap(black_box(&secret)));
        }
        Ok(())
    })?;
    let tags = cpu_of(|| {
        for _ in 0..events {
            black_box(secret.tag("mdna.v1.subject", &[black_box(b"bench")]));
        }
        Ok(())
    })?;
    // A secret and an id for each event, drawn once for each batch.
    let random = cpu_of(|| {
        let mut drawn = [0; BATCH * (32 + 10)];
        (0..events / BATCH).try_for_each(|_| Ok(entropy.fill(black_box(&mut drawn))?))
    })?;
    Ok([hashes, aead, seals, wrap, tags, random].map(per))
}
