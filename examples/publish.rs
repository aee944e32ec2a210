//! A log as static files (C2SP tlog-tiles): put the folder behind any file
//! server, and strangers can watch the log, hold it to its checkpoints and make
//! proofs from it. No content is in it. The folder may be given; Go's and
//! Tessera's verifiers read it, and what a witness says, in `testing/foreign/go`.
#![allow(clippy::print_stdout)]

use mirrordna::peer::PeerWitness;
use mirrordna::proof::Policy;
use mirrordna::{Engine, IdentityType, Keys, tiles};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let home = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let engine = Engine::builder(home.join("agent.db").to_string_lossy()).keys(Keys::Folder(home.join("keys"))).open()?;
    let agent = engine.identities().create(IdentityType::Agent)?;

    let folder = home.join("tiles");
    let work = |steps: std::ops::Range<u32>| -> Result<(), mirrordna::Error> {
        for step in steps {
            agent.timeline().append("step.done", &serde_json::json!({ "step": step }))?;
        }
        Ok(())
    };
    work(0..300)?;
    let first = engine.export_tiles(&folder)?;
    println!("published {} events in {} files", first.size, first.files);
    // Whoever keeps this can tell later whether the log was rewritten.
    std::fs::copy(folder.join("checkpoint"), home.join("checkpoint.kept"))?;

    work(300..700)?;
    let more = engine.export_tiles(&folder)?;
    println!("then {} events: {} files are new", more.size, more.files);

    // A stranger's side: the folder, and the key by another way.
    let key = engine.main().verifier_key();
    println!("verifier key {key}");
    let report = tiles::verify(&folder, &tiles::Policy::parse(&format!("log {key}"))?)?;
    println!("{} events recomputed: {}", report.size, report.verdict);

    // A witness, elsewhere: it cosigns what extends what it has seen, and so
    // vouches that all see one log. One file then proves one event to anybody
    // who trusts the two keys.
    let witness = PeerWitness::init(home.join("witness"), "witness.example/publish")?;
    witness.trust(&key)?;
    let (log, policy) = (engine.main(), Policy::default().and_witness(witness.verifier_key()));
    let cosigned = log.cosign(&log.checkpoint()?, &policy, &mut |request| witness.add_checkpoint(request.as_bytes()))?;
    for leaf in [0, 1, 255, 256, 700] {
        std::fs::write(home.join(format!("{leaf}.tlog-proof")), log.tlog_proof(&cosigned, leaf)?)?;
    }
    println!("witness key {}", witness.verifier_key());
    std::fs::write(home.join("checkpoint.cosigned"), cosigned)?;
    Ok(())
}
