//! Appending: one at a time, by many writers, in batches.

use crate::tools::{Bare, Fallible, ROW, SECRET, Sync, agent, builder, cpu, cpu_of, fill, mean, median, memory, open, text, us};
use mirrordna::{Engine, Identity, SystemClock, SystemEntropy, Witness};
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::{Draft, DraftBody, Place, Tree};
use mirrordna_core::verify::note::{self, Checkpoint};
use mirrordna_core::verify::{hash, leaf};
use mirrordna_core::{Clock, Entropy, Kind};
use std::hint::black_box;
use std::time::Instant;

/// `part` is one of `one`, `many`, `batches` and `checkpoint`; none for all of them.
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
    engine.close()?;
    if asked("checkpoint") { checkpoint() } else { Ok(()) }
}

/// Events that a checkpoint covers, where its cost is shared among them.
const COVERED: usize = 1_024;

/// What a checkpoint costs each of the events that it covers.
fn checkpoint() -> Fallible<()> {
    // One that grows, and two that take a checkpoint after each event.
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?];
    let opened = |at: usize, forgetful: bool| -> Fallible<(Engine, Identity)> {
        let builder = builder("sqlite", folders[at].path());
        let engine = if forgetful { builder.witness(Witness::Off) } else { builder }.open()?;
        let agent = agent(&engine)?;
        Ok((engine, agent))
    };
    let (grows, witnessed, forgetful) = (opened(0, false)?, opened(1, false)?, opened(2, true)?);
    let [mut batched, mut single, mut shown, mut hidden, mut bare, mut empty] = [(); 6].map(|()| Vec::new());
    let key = SecretKey::generate(&SystemEntropy)?;
    let name = note::origin(&[7; 16]);
    let mut tree = Tree::default();
    (0..1_000_003u64).for_each(|i| drop(tree.push(leaf::hash(&i.to_be_bytes()))));
    let sign = || {
        let frontier = black_box(tree.frontier());
        let text = Checkpoint { origin: &name, size: frontier.size(), root: frontier.root() }.text();
        black_box((note::assemble(&text, &name, key.public(), &key.sign_bytes(text.as_bytes())), frontier.to_bytes()));
    };
    for _ in 0..60 {
        batched.push(cpu_of(|| fill(&grows.1, 0..COVERED, BATCH))? / COVERED as f64);
        single.push(cpu_of(|| (0..32).try_for_each(|i| fill(&grows.1, i..i + 1, 1)))? / 32.0);
        bare.push(
            cpu_of(|| {
                (0..32).for_each(|_| sign());
                Ok(())
            })? / 32.0,
        );
        for ((engine, agent), cost) in [(&witnessed, &mut shown), (&forgetful, &mut hidden)] {
            fill(agent, 0..1, 1)?;
            cost.push(cpu_of(|| Ok(engine.main().checkpoint().map(drop)?))?);
        }
        // Nothing is left to seal or sign: a commit, and nothing in it.
        empty.push(cpu_of(|| Ok(forgetful.0.main().checkpoint().map(drop)?))?);
    }
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let (sign, witness) = (least(&bare), (least(&shown) - least(&hidden)).max(0.0));
    let share = |cost: f64, of: &[f64]| 100.0 * cost / COVERED as f64 / least(of);
    println!("CPU us, least of 60: root, signature and note {sign:.1}, shown to the head witness {witness:.1}");
    for (what, of) in [("100 a commit", &batched), ("one a commit", &single)] {
        println!(
            "an append, {what}: {:.2} us; of 1,024 a checkpoint is {:.2} %, with the witness {:.2} %",
            least(of),
            share(sign, of),
            share(sign + witness, of)
        );
    }
    println!(
        "  a seal and a checkpoint on demand, two commits of their own: {:.0} us, {:.2} % of 1,024 in batches; an empty commit {:.0} us",
        least(&shown),
        share(least(&shown), &batched),
        least(&empty)
    );
    for (engine, agent) in [grows, witnessed, forgetful] {
        drop(agent);
        engine.close()?;
    }
    Ok(())
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
