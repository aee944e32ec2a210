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

/// Exit status, and what stands on standard output in JSON.
fn told(place: &Path, args: &[&str]) -> (i32, Value) {
    let out = start(place, args).wait_with_output().unwrap();
    let said = || format!("{args:?}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap(), serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", said())))
}

#[test]
fn a_citation_of_a_disputed_call_is_unproven() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let ok = |args: &[&str]| {
        let (status, said) = told(place, args);
        assert_eq!(status, 0, "{args:?}: {said}");
        said
    };
    ok(&["identity", "create", "agent", "--name", "Ada"]);
    for id in ["mine", "stolen"] {
        ok(&["tool", "request", "risk", "--request", "r", "--id", id]);
        ok(&["tool", "complete", id, "--response", "x"]);
        std::fs::write(place.join(id), ok(&["tool", "cite", id]).to_string()).unwrap();
        assert_eq!(ok(&["tool", "check", id, "--request", "r"])["ok"], true);
    }
    let trusted = ok(&["tool", "show", "mine"])["completed_leaf"].to_string();
    let keys = place.join("home/.local/share/mirrordna/keys");
    let files = std::fs::read_dir(&keys).unwrap().map(|e| e.unwrap().path());
    let recovery = files.into_iter().find(|p| p.extension().is_some_and(|e| e == "recovery")).unwrap();
    ok(&["identity", "recover", "Ada", "--recovery-file", recovery.to_str().unwrap(), "--last-trusted", &trusted]);

    ok(&["tool", "check", "mine", "--request", "r"]);
    let (status, said) = told(place, &["tool", "check", "stolen", "--request", "r"]);
    assert_eq!(
        (status, &said["ok"], &said["verdict"], &said["reason"]),
        (3, &false.into(), &"unproven".into(), &"citation.disputed".into())
    );
    let by = said["call"]["disputed_by"].as_u64().unwrap();
    let disputed = ok(&["tool", "list"])["calls"].as_array().unwrap().iter().map(|c| c["disputed_by"].clone()).collect::<Vec<_>>();
    assert_eq!(disputed, [Value::Null, by.into()]);
    // Evidence of it is complete, and says so.
    let (status, said) = told(place, &["evidence", "--call", "mine", "--call", "stolen", "--out", "e.mdna-proof"]);
    assert_eq!((status, &said["chain_complete"], &said["disputed"]), (3, &true.into(), &serde_json::json!(["stolen"])));
    let (status, said) = told(place, &["tool", "read", "e.mdna-proof"]);
    assert_eq!(status, 3);
    assert!(said["calls"].as_array().unwrap().iter().any(|c| c["call_id"] == "stolen" && c["disputed_by"].is_u64()), "{said}");
}

#[test]
fn a_proof_of_an_erased_record_names_what_erased_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    assert_eq!(told(place, &["identity", "create", "agent", "--name", "Ada"]).0, 0);
    let id = told(place, &["remember", "forget this"]).1["id"].as_str().unwrap().to_owned();
    assert_eq!(told(place, &["erase", "--id", &id]).0, 0);
    let (status, said) = told(place, &["prove", "--record", &id, "--out", "p.mdna-proof"]);
    let by = said["erased"][0]["by"].as_u64().unwrap();
    assert_eq!((status, &said["erased"][0]["id"]), (0, &Value::from(id.as_str())));
    let key = said["fingerprint"].as_str().unwrap();
    let (status, said) = told(place, &["verify", "p.mdna-proof", "--key", key, "--events"]);
    assert_eq!((status, said["events"].as_array().unwrap().last().unwrap()["leaf"].as_u64()), (0, Some(by)));
}
