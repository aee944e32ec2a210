//! `mirrordna citation`, as a script sees it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn run(place: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
    command.current_dir(place).args(args).env_clear().envs(profile()).env("HOME", place.join("home")).output().unwrap()
}

fn ok(place: &Path, args: &[&str]) -> String {
    let out = run(place, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

fn value(place: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(place, &[args, &["--json"]].concat())).unwrap()
}

fn fails(place: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let out = run(place, &[args, &["--json"]].concat());
    let error: Value = serde_json::from_slice(&out.stderr).unwrap();
    let text = |key: &str| error["error"][key].as_str().unwrap().to_owned();
    (out.status.code(), text("name"), text("message"))
}

#[test]
fn citations_from_the_first_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let ada = value(place, &["identity", "create", "agent", "--name", "Ada"]);
    let first = ok(place, &["citation", "create", "1.0.0"]);
    assert!(first.starts_with("mc_"), "{first}");
    let metadata = r#"{"board":"harbour"}"#;
    let second = value(
        place,
        &["citation", "create", "1.1.0", "--predecessor", &first, "--tag", "a", "--tag", "b", "--metadata", metadata, "--identity", "Ada"],
    );
    let document = &second["document"];
    assert_eq!(document["predecessor"], first.as_str());
    assert_eq!((&document["identity_ref"], &second["agent"]), (&ada["id"], &ada["id"]));
    assert_eq!((document["tags"].to_string().as_str(), document["metadata"].to_string().as_str()), (r#"["a","b"]"#, metadata));
    let id = second["id"].as_str().unwrap();
    assert_eq!(value(place, &["citation", "show", id]), second);
    assert!(ok(place, &["citation", "show", id]).contains("\"version\": \"1.1.0\""));

    let lineage = value(place, &["citation", "lineage", id]);
    let ids: Vec<_> = lineage["citations"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [first.as_str(), id]);
    assert_eq!(ok(place, &["citation", "lineage", id]).lines().count(), 2);
    assert_eq!(value(place, &["citation", "list", "--identity", "Ada"])["citations"], lineage["citations"]);
    assert_eq!(ok(place, &["citation", "list"]).lines().map(|l| &l[..29]).collect::<Vec<_>>(), ids);

    let checked = value(place, &["citation", "verify"]);
    assert_eq!((&checked["ok"], checked["citations"].as_array().unwrap().len()), (&Value::Bool(true), 2));
    assert_eq!(checked["citations"][1]["stated"], document["checksum"]);
    assert!(ok(place, &["citation", "verify", id]).contains("\tfits\t"));
    assert_eq!(value(place, &["verify"])["verdict"], "intact");
}

#[test]
fn what_cannot_be_cited_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    ok(place, &["identity", "create", "agent", "--name", "Ada"]);
    let (status, name, message) = fails(place, &["citation", "create", "1.0"]);
    assert_eq!((status, name.as_str()), (Some(11), "input.invalid"));
    assert!(message.contains("/version (pattern_mismatch)"), "{message}");
    let (_, name, message) = fails(place, &["citation", "create", "1.0.0", "--vault", "office"]);
    assert!(name == "input.invalid" && message.contains("/vault_id"), "{message}");
    let (status, name, _) = fails(place, &["citation", "create", "1.0.0", "--predecessor", "mc_0123456789abcdef"]);
    assert_eq!((status, name.as_str()), (Some(11), "record.lineage"));
    assert_eq!(fails(place, &["citation", "create", "1.0.0", "--metadata", "[1]"]).1, "json.invalid");
    assert_eq!(fails(place, &["citation", "show", "mc_nobody"]).1, "record.not_found");
    assert_eq!(fails(place, &["citation", "show", "mem_nobody"]).1, "id.invalid");
    assert_eq!(ok(place, &["citation", "list"]), "", "nothing was written");
    for command in ["create", "show", "list", "lineage", "verify"] {
        assert!(ok(place, &["citation", command, "--help"]).contains("mirrordna citation "), "{command} has an example");
    }
}

/// Where a measured process is to write its profile: not beside the database.
fn profile() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file))
}
