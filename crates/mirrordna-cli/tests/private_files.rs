//! What is written in clear is for its owner alone.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn run(place: &Path, args: &[&str]) -> String {
    let mut command = Command::new("sh");
    // The widest that a file could be.
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_mirrordna")]);
    command.current_dir(place).args(args).env_clear().env("HOME", place.join("home"));
    command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
    let out = command.output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn exports_proofs_evidence_and_receipts_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    run(place, &["identity", "create", "agent", "--name", "Ada"]);
    let memory = run(place, &["remember", "Sam likes trains", "--subject", "Sam"]);
    run(place, &["tool", "request", "risk", "--request", "r", "--id", "c1"]);
    run(place, &["tool", "complete", "c1"]);
    run(place, &["export", "--subject", "Sam", "sam.jsonl"]);
    run(place, &["export", "whole.mdna"]);
    run(place, &["prove", "--record", memory.trim(), "--disclose", "--out", "memory.mdna-proof"]);
    run(place, &["evidence", "--call", "c1", "--identity", "Ada", "--out", "calls.mdna-proof"]);
    run(place, &["export", "--audit", "kit", "--disclose"]);
    run(place, &["erase", "--subject", "Sam", "--receipt", "sam.json"]);
    let kit = place.join("kit");
    let bundles = std::fs::read_dir(&kit).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "mdna-bundle"));
    let files = ["sam.jsonl", "whole.mdna", "memory.mdna-proof", "calls.mdna-proof", "sam.json"].map(|name| place.join(name));
    let all: Vec<_> = files.into_iter().chain(bundles).collect();
    assert_eq!(all.len(), 6);
    for file in all {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
