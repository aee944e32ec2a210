//! Several processes as one actor.

use crate::tools::{Child, Fallible, agent, cpu, median, myself, open, text};
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

const PROCESSES: usize = 8;
const EVENTS: usize = 400;

/// The child: appends as many memories as each line says.
pub(crate) fn child(folder: &str) -> Fallible<()> {
    let engine = open(Path::new(folder))?;
    let agent = engine.identities().find("bench")?;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let count: usize = line?.trim().parse()?;
        let (t, c) = (Instant::now(), cpu());
        for i in 0..count {
            agent.memories().add(text(i)).subject("bench").send()?;
        }
        println!("{} {}", t.elapsed().as_secs_f64(), (cpu() - c).as_secs_f64());
    }
    drop(agent);
    Ok(engine.close()?)
}

pub(crate) fn run() -> Fallible<()> {
    let (one, eight) = (tempfile::tempdir()?, tempfile::tempdir()?);
    for folder in [&one, &eight] {
        let engine = open(folder.path())?;
        agent(&engine)?;
        engine.close()?;
    }
    let start = |folder: &Path| {
        let folder = folder.to_str().ok_or("a temporary folder whose name is not UTF-8")?;
        Child::start(&mut myself(&["child-append", folder])?).map(|(child, _)| child)
    };
    let mut single = start(one.path())?;
    let mut crowd = (0..PROCESSES).map(|_| start(eight.path())).collect::<Fallible<Vec<_>>>()?;
    let (mut ratios, mut rates, mut costs) = (Vec::new(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let all = (PROCESSES * EVENTS) as f64;
    for round in 0..6 {
        let (wall, cpu) = single.run(&(PROCESSES * EVENTS).to_string())?;
        let t = Instant::now();
        crowd.iter_mut().try_for_each(|c| c.ask(&EVENTS.to_string()))?;
        let answers = crowd.iter_mut().map(Child::answer).collect::<Fallible<Vec<_>>>()?;
        let together = t.elapsed().as_secs_f64();
        // The first round opens epochs.
        if round == 0 {
            continue;
        }
        ratios.push(wall / together);
        rates[0].push(all / wall);
        rates[1].push(all / together);
        costs[0].push(cpu * 1e6 / all);
        costs[1].push(answers.iter().map(|a| a.1).sum::<f64>() * 1e6 / all);
    }
    single.end()?;
    crowd.into_iter().try_for_each(Child::end)?;
    println!("1 process, one caller                  {:8.0}/s  CPU {:.0} us/event", median(&rates[0]), median(&costs[0]));
    println!("8 processes as one actor               {:8.0}/s  CPU {:.0} us/event", median(&rates[1]), median(&costs[1]));
    println!("8 processes as one actor / 1 process   {:8.2}", median(&ratios));
    let engine = open(eight.path())?;
    let (report, expected) = (engine.verify()?, (6 * PROCESSES * EVENTS) as u64);
    println!("  verified: {}, {} memories of {expected}", report.verdict, engine.memories().count()?);
    Ok(())
}
