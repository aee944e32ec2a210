//! Every example runs and says what it promises.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

fn run(name: &str) -> String {
    // Examples are built beside the tests that run them.
    let here = std::env::current_exe().unwrap();
    let built: PathBuf = here.parent().unwrap().parent().unwrap().join("examples").join(name);
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(&built).current_dir(home.path()).env("HOME", home.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_assistant_remembers() {
    let said = run("assistant");
    assert!(said.contains("continues 1 session(s)") && said.contains("prefers trains to ferries"), "{said}");
    assert!(said.contains("the same memory: true") && said.contains("2 steps") && said.ends_with("intact\n"), "{said}");
}

#[test]
fn the_auditor_finds_one_byte() {
    let said = run("audit");
    assert!(said.contains("which key to trust: unproven"), "{said}");
    assert!(said.contains("with the fingerprint: intact") && said.contains("was changed: altered"), "{said}");
}

#[test]
fn checkpoints_share_their_parts() {
    let said = run("checkpoints");
    assert!(said.contains("turn 4") && said.ends_with("intact\n"), "{said}");
}

#[test]
fn a_published_log_is_recomputed() {
    let said = run("publish");
    assert!(said.contains(" events in 6 files\n") && said.contains("verifier key local.invalid/log/"), "{said}");
    assert!(said.contains("events recomputed: intact\nwitness key witness.example/publish+"), "{said}");
}

#[test]
fn the_async_twin_needs_no_runtime() {
    let said = run("executor");
    assert!(said.contains("stored once: true") && said.ends_with("intact\n"), "{said}");
}

#[test]
fn an_answer_cites_what_was_recorded() {
    let said = run("tools");
    assert!(said.contains("attempt 2: scanner/ports of call_") && said.contains("the citation holds: true"), "{said}");
    assert!(said.contains("for another request: citation.other_request") && said.contains("2 calls, complete: true, 5 events"), "{said}");
    assert!(said.ends_with("finds it intact\n"), "{said}");
}
