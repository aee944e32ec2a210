//! States of an agent's graph, as frameworks checkpoint them: megabytes each,
//! mostly equal to the one before, wanted back after a crash.
#![allow(clippy::print_stdout)]

use mirrordna::{Engine, IdentityType, Keys};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("graph.db");
    let open = || Engine::builder(path.to_string_lossy()).keys(Keys::Folder(folder.path().join("keys"))).open();

    let engine = open()?;
    let agent = engine.identities().create(IdentityType::Agent)?;
    // A conversation that grows: 3 MiB of documents, then a turn at a time.
    let documents = "The harbour office closes at noon on Fridays. ".repeat(70_000);
    for turn in 0..5 {
        let state = format!("{documents}\nturn {turn}: and what about Saturdays?");
        // A crash between two of these costs the caller a retry, never a state.
        agent.memories().add(state).tag(format!("turn-{turn}")).subject("thread-7").idempotency_key(format!("thread-7/{turn}")).send()?;
    }
    let id = agent.id().to_owned();
    drop(agent);
    engine.close()?;
    let size = std::fs::metadata(&path)?.len();
    println!("5 states of {} KiB take {} KiB on disk: equal parts are stored once", documents.len() / 1024, size / 1024);

    let engine = open()?;
    let states = engine.identities().get(&id)?.memories().list(0, 10)?;
    let last = states.last().ok_or("no state")?;
    println!("the last one ends with: {:?}", last.content.lines().last().unwrap_or_default());
    println!("{}", engine.verify()?.verdict);
    Ok(())
}
