//! What proofs cost: their sizes, making them, and judging them offline, beside
//! what judging cannot do without: one signature and the hashes.

use crate::tools::{Fallible, agent, cpu, fill, median, myself, open, resident, times, us};
use mirrordna::SystemEntropy;
use mirrordna::proof::{self, Bodies, Policy};
use mirrordna_core::keys::SecretKey;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::Command;

/// Events that are proven one by one.
const PROVEN: u64 = 200;

pub(crate) fn run(args: &[String]) -> Fallible<()> {
    let events = args.first().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    {
        let engine = open(dir.path())?;
        let agent = agent(&engine)?;
        fill(&agent, 0..events, 1000)?;
        engine.close()?;
    }
    let folder = dir.path().to_str().ok_or("a temporary folder whose name is not UTF-8")?;
    for child in ["child-prove", "child-judge"] {
        succeed(&mut myself(&[child, folder])?)?;
    }
    Ok(())
}

fn succeed(command: &mut Command) -> Fallible<()> {
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("a part of the figures failed: {status}").into()),
    }
}

/// Makes proofs and the whole bundle.
pub(crate) fn child_prove(folder: &str) -> Fallible<()> {
    let folder = Path::new(folder);
    let engine = open(folder)?;
    let size = engine.timeline().len()?;
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    let took = times(PROVEN, |n| {
        let position = 10 + n * ((size - 200) / PROVEN);
        let mut file = Vec::new();
        let bundled = engine.main().prove(&[position]).write(&mut file)?;
        bytes.push(bundled.bytes as f64);
        events.push(bundled.events as f64);
        std::fs::write(folder.join(format!("{n}.mdna-proof")), file)?;
        Ok(())
    })?;
    println!("one event of {size}: made in {:.0} us, {:.0} bytes, {:.0} leaves shown", median(&took), median(&bytes), median(&events));
    let began = cpu();
    let mut out = BufWriter::new(File::create(folder.join("whole.mdna-bundle"))?);
    let bundled = engine.audit(Bodies::Sealed, &mut out, &mut |_, _| {})?;
    drop(out);
    let each = us(cpu() - began) / bundled.events as f64;
    println!("whole: {each:.2} us CPU and {:.0} bytes an event", bundled.bytes as f64 / bundled.events as f64);
    Ok(())
}

/// Judges them, in a process that has opened no database.
pub(crate) fn child_judge(folder: &str) -> Fallible<()> {
    let folder = Path::new(folder);
    let (key, message) = (SecretKey::generate(&SystemEntropy)?, [1u8; 200]);
    let (public, signature) = (key.public(), key.sign_bytes(&message));
    let strict = median(&times(PROVEN, |_| if public.verifies(&message, &signature) { Ok(()) } else { Err("a signature".into()) })?);
    let judge = |name: &str| -> Fallible<(u64, f64)> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(folder.join(name))?);
        let began = cpu();
        let judged = proof::judge(&mut file, Policy::default(), &[], &mut |_| {})?;
        let took = us(cpu() - began);
        if !judged.problems.is_empty() {
            return Err(format!("{name}: {:?}", judged.problems.first()).into());
        }
        Ok((judged.logs.iter().map(|log| log.report.taken).sum(), took))
    };
    let mut each = Vec::new();
    let mut files = Vec::new();
    for n in 0..PROVEN {
        let (events, took) = judge(&format!("{n}.mdna-proof"))?;
        each.push(took / events as f64);
        files.push(took);
    }
    println!(
        "judged offline: {:.1} us CPU an event shown, {:.0} us a file; one strict signature {strict:.1} us",
        median(&each),
        median(&files)
    );
    let before = resident();
    let (events, took) = judge("whole.mdna-bundle")?;
    let grown = resident().saturating_sub(before) >> 20;
    println!("whole bundle of {events}: {:.2} us CPU an event, {grown} MiB more resident", took / events as f64);
    Ok(())
}
