//! `mirrordna tool`, as several processes at once see it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn start(place: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
    command.current_dir(place).args(args).arg("--json").env_clear().env("HOME", place.join("home"));
    command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Exit status, and what was said in JSON: the result, or the error.
fn end(child: Child) -> (i32, Value) {
    let out = child.wait_with_output().unwrap();
    let said = if out.status.success() { &out.stdout } else { &out.stderr };
    (out.status.code().unwrap(), serde_json::from_slice(said).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(said))))
}

/// One of them did it; the others are told why not. Returns what it did.
fn one_of(children: Vec<Child>, refused: &str) -> Value {
    let (won, lost): (Vec<_>, Vec<_>) = children.into_iter().map(end).partition(|(status, _)| *status == 0);
    assert_eq!(won.len(), 1, "{won:?} {lost:?}");
    assert!(lost.iter().all(|(status, said)| *status == 15 && said["error"]["name"] == refused), "{lost:?}");
    won.into_iter().next().unwrap().1
}

#[test]
fn of_processes_that_use_one_call_id_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    assert_eq!(end(start(place, &["identity", "create", "agent", "--name", "Ada"])).0, 0);
    for round in 0..3 {
        let id = format!("c{round}");
        let request = |n: usize| start(place, &["tool", "request", "risk", "--request", "r", "--id", &id, "--args", &n.to_string()]);
        let call = one_of((0..4).map(request).collect(), "tool.exists");
        // The same again, by any number of them, is the same.
        let hash = call["args_hash"].as_str().unwrap();
        let again = |_| start(place, &["tool", "request", "risk", "--request", "r", "--id", &id, "--args-hash", hash]);
        for (status, said) in (0..3).map(again).collect::<Vec<_>>().into_iter().map(end) {
            assert_eq!((status, &said["leaf"]), (0, &call["leaf"]), "{said}");
        }
        let complete = |n: usize| start(place, &["tool", "complete", &id, "--response", &n.to_string()]);
        let ended = one_of((0..4).map(complete).collect(), "tool.completed");
        assert_eq!((&ended["leaf"], &ended["response_status"]), (&call["leaf"], &Value::from("success")));
    }
    assert_eq!(end(start(place, &["tool", "list", "--open"])).1["calls"], Value::Array(Vec::new()));
    assert_eq!(end(start(place, &["verify"])).0, 0);
}
