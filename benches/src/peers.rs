//! Peers, as children that speak a line protocol: `benches/peers/`.

use crate::append::writers;
use crate::tools::{Bare, Child, Fallible, Sync, agent, builder, cpu, fill, median, open, text};
use mirrordna::Durability;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Python with the peers' packages.
const PYTHON: &str = "MIRRORDNA_PEERS_PYTHON";
/// A checkout of the upstream SDK.
const UPSTREAM: &str = "MIRRORDNA_UPSTREAM";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

fn named(variable: &str, what: &str) -> Option<OsString> {
    let value = std::env::var_os(variable);
    if value.is_none() {
        println!("skipped: {variable} does not name {what}");
    }
    value
}

/// 64 writers against one caller of LangGraph's saver.
pub(crate) fn langgraph() -> Fallible<()> {
    let Some(python) = named(PYTHON, "a Python with langgraph-checkpoint-sqlite 3.1.2") else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut peer = match Child::start(Command::new(python).arg(script("langgraph.py")).arg(dir.path().join("peer.db"))) {
        Ok((peer, about)) => {
            println!("B2: {about}");
            peer
        }
        Err(why) => {
            println!("skipped: {why}");
            return Ok(());
        }
    };
    let mut sync = Sync::new(dir.path())?;
    let bare = Bare::new(dir.path())?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    peer.run("200")?;
    writers(&agent, 40);
    let (mut b0, mut b1, mut b2, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut to_b2, mut one_to_b2, mut cost, mut own_cost) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..9 {
        b0.push((0..50).map(|_| sync.once()).collect::<Fallible<Vec<_>>>().map(|v| median(&v))?);
        let t = Instant::now();
        (0..300).try_for_each(|_| bare.row())?;
        b1.push(300.0 / t.elapsed().as_secs_f64());
        let (wall, used) = peer.run("300")?;
        b2.push(300.0 / wall);
        cost.push(used * 1e6 / 300.0);
        let t = Instant::now();
        (0..300).try_for_each(|i| agent.memories().add(text(i)).subject("bench").send().map(drop))?;
        one.push(300.0 / t.elapsed().as_secs_f64());
        let c = cpu();
        many.push(writers(&agent, 40).0);
        own_cost.push((cpu() - c).as_secs_f64() * 1e6 / 2560.0);
        if let (Some(many), Some(one), Some(b2)) = (many.last(), one.last(), b2.last()) {
            to_b2.push(many / b2);
            one_to_b2.push(one / b2);
        }
    }
    peer.end()?;
    println!("B0 one fdatasync, p50 us               {:8.0}", median(&b0));
    println!("B1 bare SQLite rows, one caller        {:8.0}/s", median(&b1));
    println!("B2 SqliteSaver.put, one caller         {:8.0}/s  CPU {:.0} us/put", median(&b2), median(&cost));
    println!("one caller                             {:8.0}/s", median(&one));
    println!("64 writers                             {:8.0}/s  CPU {:.1} us/event", median(&many), median(&own_cost));
    println!("64 writers / B2                        {:8.1}", median(&to_b2));
    println!("one caller / B2                        {:8.2}", median(&one_to_b2));
    Ok(())
}

/// One more memory, and one read, where many are stored already.
pub(crate) fn upstream() -> Fallible<()> {
    let Some(python) = named(PYTHON, "a Python with jsonschema") else { return Ok(()) };
    let Some(checkout) = named(UPSTREAM, "a checkout of the upstream SDK") else { return Ok(()) };
    for stored in [1_000usize, 10_000] {
        let dir = tempfile::tempdir()?;
        let mut sync = Sync::new(dir.path())?;
        let mut peer = match Child::start(Command::new(&python).arg(script("upstream.py")).arg(&checkout).arg(dir.path().join("upstream")))
        {
            Ok((peer, _)) => peer,
            Err(why) => {
                println!("skipped: {why}");
                return Ok(());
            }
        };
        peer.run(&format!("fill {stored}"))?;
        let mut sides = Vec::new();
        for (name, durability) in [("normal", Durability::Normal), ("full", Durability::Full)] {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder)?;
            let engine = builder("sqlite", &folder).durability(durability).open()?;
            let agent = agent(&engine)?;
            fill(&agent, 0..stored, 100)?;
            sides.push((name, engine, agent, [const { Vec::new() }; 4]));
        }
        let writes = 20_000 / stored;
        let (mut b0, mut theirs) = (Vec::new(), [const { Vec::new() }; 4]);
        for _ in 0..5 {
            b0.push(sync.once()?);
            let write = peer.run(&format!("write {writes}"))?;
            let read = peer.run(&format!("get {writes}"))?;
            for (list, value) in theirs.iter_mut().zip([write.0, write.1, read.0, read.1]) {
                list.push(value * 1e6 / writes as f64);
            }
            for (_, _, agent, lists) in &mut sides {
                let (t, c) = (Instant::now(), cpu());
                let ids = (0..200).map(|i| Ok(agent.memories().add(text(i)).subject("bench").send()?.id)).collect::<Fallible<Vec<_>>>()?;
                let write = (t.elapsed().as_secs_f64(), (cpu() - c).as_secs_f64());
                agent.memories().get(&ids[0])?;
                let (t, c) = (Instant::now(), cpu());
                ids.iter().try_for_each(|id| agent.memories().get(id).map(drop))?;
                let read = (t.elapsed().as_secs_f64(), (cpu() - c).as_secs_f64());
                for (list, value) in lists.iter_mut().zip([write.0, write.1, read.0, read.1]) {
                    list.push(value * 1e6 / 200.0);
                }
            }
        }
        peer.end()?;
        let theirs = theirs.map(|v| median(&v));
        println!(
            "{stored} stored: B0 {:.0} us; upstream (no fsync) write {:.0} us wall, {:.0} us CPU; get {:.0} us CPU",
            median(&b0),
            theirs[0],
            theirs[1],
            theirs[3]
        );
        for (name, engine, agent, lists) in sides {
            let own = lists.map(|v| median(&v));
            println!(
                "  {name:<6} write {:.0} us wall, {:.0} us CPU: upstream / ours {:.0} wall, {:.0} CPU; get {:.1} us CPU: {:.0}",
                own[0],
                own[1],
                theirs[0] / own[0],
                theirs[1] / own[1],
                own[3],
                theirs[3] / own[3]
            );
            drop(agent);
            engine.close()?;
        }
    }
    Ok(())
}
