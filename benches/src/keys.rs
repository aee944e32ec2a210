//! What keys cost: an append under a protected keyring, the wrapping alone, a
//! rotation of the store key, and the keyed tags of derived data.

use crate::tools::{Fallible, agent, builder, cpu, cpu_of, fill, median, memory, text, us};
use mirrordna::{Builder, Identity, MemoryKey, NewMemory, SystemEntropy};
use mirrordna_core::cipher::Secret;
use mirrordna_core::verify::hash::sha256;
use std::hint::black_box;
use std::time::Instant;

/// Appends in one measured round.
const ROUND: usize = 400;
/// Subjects whose keys a rotation wraps anew.
const SUBJECTS: usize = 20_000;

pub(crate) fn run() -> Fallible<()> {
    let (single, batch) = appends()?;
    wrapping(single, batch)?;
    rotation()
}

type Protect = fn(Builder) -> Builder;

/// CPU of one append and of one event in a batch, by what protects the keyring;
/// returns those under a keyring in clear, microseconds.
fn appends() -> Fallible<(f64, f64)> {
    let kinds: [(&str, Protect); 3] = [
        ("in clear", |b| b),
        ("passphrase", |b| b.passphrase("open sesame")),
        ("key provider", |b| b.key_provider(MemoryKey::new([7; 32]))),
    ];
    let mut open = Vec::new();
    for (name, protect) in kinds {
        let dir = tempfile::tempdir()?;
        protect(builder("sqlite", dir.path())).open()?.close()?;
        let start = Instant::now();
        let engine = protect(builder("sqlite", dir.path())).open()?;
        println!("open, keyring {name:<13}              {:8.1} ms", us(start.elapsed()) / 1e3);
        let agent = agent(&engine)?;
        agent.memories().add("warm").subject("bench").send()?;
        open.push((name, dir, engine, agent, Vec::new(), Vec::new()));
    }
    // In turn, so that a noisy moment is noise for all.
    let one =
        |agent: &Identity| cpu_of(|| (0..ROUND).try_for_each(|i| Ok(agent.memories().add(text(i)).subject("bench").send().map(drop)?)));
    for _ in 0..12 {
        for (.., agent, single, batch) in &mut open {
            single.push(one(agent)? / ROUND as f64);
            batch.push(cpu_of(|| fill(agent, 0..2_000, 500))? / 2_000.0);
        }
    }
    let (clear, clear_batch) = open.first().map_or((f64::NAN, f64::NAN), |(.., s, b)| (median(s), median(b)));
    for (name, .., single, batch) in &open {
        let (single, batch) = (median(single), median(batch));
        println!(
            "CPU per append, keyring {name:<13}    {single:8.2} us, {:5.2}x; in a batch {batch:6.2} us, {:5.2}x",
            single / clear,
            batch / clear_batch
        );
    }
    for (_, _dir, engine, agent, ..) in open {
        drop(agent);
        engine.close()?;
    }
    Ok((clear, clear_batch))
}

/// Nanoseconds of CPU that one call takes.
fn each<T>(mut call: impl FnMut() -> T) -> f64 {
    const CALLS: u32 = 50_000;
    let rounds: Vec<f64> = (0..7)
        .map(|_| {
            let start = cpu();
            (0..CALLS).for_each(|_| {
                black_box(call());
            });
            (cpu() - start).as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    median(&rounds)
}

/// What of an append the key of its subject takes: bodies are always encrypted,
/// so there is no append without it to compare with.
fn wrapping(single: f64, batch: f64) -> Fallible<()> {
    let (subject, secret) = (Secret::generate(&SystemEntropy)?, Secret::generate(&SystemEntropy)?);
    let wrap = each(|| subject.wrap(black_box(&secret)));
    let with = |append: f64| append / (append - wrap / 1e3);
    println!(
        "wrapping of one secret                     {wrap:8.0} ns: appends {:.3}x of one without it, in a batch {:.2}x",
        with(single),
        with(batch)
    );
    let id = "mem_01kfznakw70000000000000000";
    let keyed = each(|| subject.tag("mdna.v1.index", &[b"record", black_box(id).as_bytes()]));
    let plain = each(|| sha256(&[black_box(id).as_bytes()]));
    println!("keyed tag of an id in the index            {keyed:8.0} ns, unkeyed {plain:.0} ns");
    Ok(())
}

/// A rotation of the store key, by the subject.
fn rotation() -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let engine = builder("sqlite", dir.path()).open()?;
    let agent = agent(&engine)?;
    for start in (0..SUBJECTS).step_by(500) {
        let about = |i: usize| NewMemory { subject: Some(format!("person {i}")), ..memory(i) };
        agent.memories().add_all((start..start + 500).map(about).collect())?;
    }
    for _ in 0..3 {
        let start = Instant::now();
        let mut done = None;
        let cpu = cpu_of(|| {
            done = Some(engine.rotate_store_key()?);
            Ok(())
        })?;
        let subjects = done.map_or(1, |d| d.rewrapped) as f64;
        println!(
            "rotation of the store key, per subject     {:8.1} us CPU, {:.1} us; {subjects} subjects",
            cpu / subjects,
            us(start.elapsed()) / subjects
        );
    }
    drop(agent);
    Ok(engine.close()?)
}
