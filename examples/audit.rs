//! An auditor who has a copy of a database and, by another way, the
//! fingerprint of the key that signs its checkpoints. The auditor has no keys:
//! contents stay locked, yet every change of them is found.
#![allow(clippy::print_stdout)]

use mirrordna::{Engine, IdentityType, Keys, Witness};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agent.db");
    let engine = Engine::builder(path.to_string_lossy()).keys(Keys::Folder(folder.path().join("keys"))).open()?;
    let agent = engine.identities().create(IdentityType::Agent)?;
    for step in 0..50 {
        agent.timeline().append("payment.approved", &serde_json::json!({ "step": step, "amount": 100 + step }))?;
    }
    let told = engine.fingerprint().to_string();
    drop(agent);
    engine.close()?;

    // The auditor's side: another folder, no keys, no witness.
    let copy = folder.path().join("evidence.db");
    std::fs::copy(&path, &copy)?;
    let auditor = || Engine::builder(copy.to_string_lossy()).keys(Keys::Folder(folder.path().join("none"))).witness(Witness::Off);
    println!("nobody told which key to trust: {}", auditor().verify()?.verdict);
    let report = auditor().trust(told.parse()?).verify()?;
    println!("with the fingerprint: {}, {} bodies present but locked", report.verdict, report.bodies.locked);

    // One byte of one approved payment.
    let mut bytes = std::fs::read(&copy)?;
    let middle = bytes.len() / 2;
    let at = (middle..bytes.len()).find(|i| bytes.get(*i).is_some_and(|b| *b != 0)).unwrap_or(middle);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    std::fs::write(&copy, bytes)?;
    let report = auditor().trust(told.parse()?).verify()?;
    println!("after one byte was changed: {}", report.verdict);
    for problem in report.problems.iter().take(3) {
        println!("  {} at {}: {}", problem.code, problem.place, problem.message);
    }
    Ok(())
}
