//! Importing a chat.

use crate::tools::{Bare, Fallible, cpu_of, median, open, text};
use mirrordna::import::{Format, import};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const TURNS: usize = 100_000;

/// A chat in JSON lines, 100 turns in each session.
fn chat(path: &Path) -> Fallible<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for i in 0..TURNS {
        let speaker = if i % 2 == 0 { "Sam" } else { "Ada" };
        writeln!(
            file,
            r#"{{"speaker":"{speaker}","text":"{}","timestamp":"2026-01-01T00:00:00Z","session":"s{}","id":"{i}"}}"#,
            text(i),
            i / 100
        )?;
    }
    Ok(file.flush()?)
}

pub(crate) fn run() -> Fallible<()> {
    let root = tempfile::tempdir()?;
    let path = root.path().join("chat.jsonl");
    chat(&path)?;
    let (mut rates, mut costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..3 {
        let folder = root.path().join(round.to_string());
        std::fs::create_dir(&folder)?;
        let engine = open(&folder)?;
        let t = Instant::now();
        let mut report = None;
        let used = cpu_of(|| {
            report = Some(import(&engine.main(), std::slice::from_ref(&path), Format::Chat, &mut |_, _| {})?);
            Ok(engine.clone().close()?)
        })?;
        let wall = t.elapsed().as_secs_f64();
        let kept = report.map_or(0, |r| r.kept);
        if kept != TURNS as u64 {
            return Err(format!("{kept} of {TURNS} turns were kept").into());
        }
        let bare = Bare::new(&folder)?;
        let t = Instant::now();
        (0..TURNS / 1_000).try_for_each(|_| bare.rows(1_000))?;
        ratios.push(wall / t.elapsed().as_secs_f64());
        rates.push(TURNS as f64 / wall);
        costs.push(used / TURNS as f64);
    }
    println!(
        "import of {TURNS} turns, durable, close included: {:.0}/s (of 3: {rates:.0?}), CPU {:.1} us/turn",
        median(&rates),
        median(&costs)
    );
    println!("  time / bare SQLite rows, 1,000 a commit  {:8.1}", median(&ratios));
    Ok(())
}
