//! The command line as a script sees it: exit codes, JSON, and words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command.current_dir(self.0.path()).args(args).env_clear();
        // `cargo xtask coverage` counts what these processes run.
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.env("HOME", self.0.path().join("home")).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Exit status and the error that was reported as JSON.
    fn fails(&self, args: &[&str]) -> (i32, Value) {
        let out = self.run(&[args, &["--json"]].concat());
        let error: Value = serde_json::from_slice(&out.stderr).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        (out.status.code().unwrap(), error["error"].clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn the_quickstart_does_what_it_says() {
    let place = Place::new();
    let said = place.ok(&["quickstart"]);
    for part in [
        "kept 259, repaired 0, refused 0",
        "'Fair weather, Tobias, since 1946'",
        "1 September",
        "`idx_rows_station_utc`",
        "\nintact",
        "\naltered",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(place.ok(&["quickstart"]).contains("mirrordna-quickstart-2"), "a second run does not mind the first");
}

#[test]
fn a_working_day() {
    let place = Place::new();
    assert!(place.ok(&["init"]).contains("recovery"));
    let ada = place.json(&["identity", "create", "agent", "--name", "Ada"]);
    let sam = place.json(&["identity", "create", "user", "--name", "Sam"]);
    assert_eq!((ada["identity_type"].as_str(), sam["name"].as_str()), (Some("agent"), Some("Sam")));
    let session = place.ok(&["session", "start", "--agent", "Ada", "--user", "Sam"]);
    let session = session.trim();
    let memory = place.json(&["remember", "Prefers trains to planes", "--session", session, "--tag", "travel"]);
    assert_eq!((memory["tier"].as_str(), memory["subject"].as_str()), (Some("long_term"), sam["id"].as_str()));
    place.ok(&["timeline", "append", "booking.requested", "{\"to\":\"Lyon\"}", "--identity", "Ada"]);
    let hits = place.json(&["recall", "which trains?", "--identity", "Ada", "--limit", "3"]);
    let hit = &hits["hits"][0];
    assert_eq!((hit["text"].as_str(), hit["session"].as_str()), (Some("Prefers trains to planes"), Some(session)));
    for key in ["id", "score", "text", "timestamp", "session", "identity"] {
        assert!(!hit[key].is_null(), "{key}");
    }
    place.ok(&["session", "end", session, "--final-state", "{\"done\":true}"]);
    let shown = place.json(&["session", "show", session]);
    assert_eq!(shown["sessions"][0]["final_state"].as_str(), Some("{\"done\":true}"));
    let events: Vec<Value> = place.ok(&["timeline", "list", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(events.len() > 8 && events[0]["kind"] == "log.genesis");
    assert!(events.iter().any(|e| e["event_type"] == "booking.requested" && e["payload"] == "{\"to\":\"Lyon\"}"));
    let report = place.json(&["verify"]);
    assert_eq!((report["verdict"].as_str(), report["ok"].as_bool(), report["unsigned"].as_u64()), (Some("intact"), Some(true), Some(0)));
    for key in ["verdict", "ok", "events", "identities", "bodies", "unsigned", "freshness", "head", "problems"] {
        assert!(!report[key].is_null(), "{key}");
    }
    assert_eq!(report["events"].as_u64(), Some(events.len() as u64));
}

#[test]
fn import_reports_and_resumes() {
    let place = Place::new();
    std::fs::write(place.path("chat.jsonl"), "{\"speaker\":\"Sam\",\"text\":\"hello\"}\nnot json\n").unwrap();
    let report = place.json(&["import", "chat.jsonl"]);
    let counts = ["files", "kept", "repaired", "refused"].map(|k| report[k].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 0, 1]);
    assert!(report["events"].as_u64().unwrap() > 0);
    assert_eq!(place.json(&["import", "chat.jsonl"])["events"], 0);
    let (status, error) = place.fails(&["import", "chat.jsonl", "--strict"]);
    assert_eq!((status, error["name"].as_str()), (17, Some("import.refused")));
}

#[test]
fn verify_tells_by_its_exit_status() {
    let place = Place::new();
    place.ok(&["init"]);
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    place.ok(&["remember", "something"]);
    let report = place.json(&["verify"]);
    let key = report["log_key"].as_str().unwrap();
    std::fs::rename(place.path("home"), place.path("gone")).unwrap();
    let stranger = place.run(&["verify"]);
    assert_eq!(stranger.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&stranger.stdout).contains(key));
    assert_eq!(place.run(&["verify", "--key", key]).status.code(), Some(0));
    let other: String = key.chars().map(|c| if c == 'a' { 'b' } else { 'a' }).collect();
    assert_eq!(place.run(&["verify", "mirrordna.db", "--key", &other]).status.code(), Some(3));
    std::fs::write(place.path("policy"), format!("# the owner's key, by telephone\n{key}\n")).unwrap();
    assert_eq!(place.run(&["verify", "--policy", "policy"]).status.code(), Some(0));
    let mut bytes = std::fs::read(place.path("mirrordna.db")).unwrap();
    let at = bytes.windows(8).rposition(|w| w == b"mdna.ev1").unwrap() + 60;
    bytes[at] ^= 1;
    std::fs::write(place.path("mirrordna.db"), &bytes).unwrap();
    assert_eq!(place.run(&["verify", "--key", key]).status.code(), Some(1));
}

#[test]
fn errors_are_coded_and_say_what_to_do() {
    let place = Place::new();
    for (args, status, name) in [
        (vec!["verify"], 14, "store.not_found"),
        (vec!["recall", "x"], 14, "store.not_found"),
        (vec!["--store", "ftp://x", "init"], 14, "store.url"),
        (vec!["import", "missing.jsonl"], 17, "import.unreadable"),
        (vec!["verify", "--key", "abc"], 11, "input.invalid"),
    ] {
        let (code, error) = place.fails(&args);
        assert_eq!((code, error["name"].as_str()), (status, Some(name)), "{args:?}");
        assert!(!error["hint"].as_str().unwrap().is_empty() && !error["message"].as_str().unwrap().is_empty());
    }
    std::fs::write(place.path("text.db"), "hello ".repeat(100)).unwrap();
    assert_eq!(place.fails(&["--store", "text.db", "verify"]).1["name"], "store.not_a_database");
    place.ok(&["init"]);
    assert_eq!(place.fails(&["init"]).1["name"], "record.exists");
    assert_eq!(place.fails(&["remember", "x"]).1["name"], "record.not_found");
    assert_eq!(place.fails(&["session", "show", "mem_1"]).1["name"], "id.invalid");
    assert_eq!(place.run(&["bogus"]).status.code(), Some(2));
    let plain = place.run(&["recall", "x", "--identity", "nobody"]);
    assert_eq!(String::from_utf8_lossy(&plain.stderr).lines().next(), Some("MDNA-1005 record.not_found: there is no identity 'nobody'"));
}

#[test]
fn without_a_home_the_error_names_the_variable() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
    let out = command.current_dir(place.0.path()).arg("init").env_clear().envs(profile()).output().unwrap();
    assert_eq!(out.status.code(), Some(12));
    assert!(String::from_utf8_lossy(&out.stderr).contains("Set MIRRORDNA_KEYS"));
    assert!(!place.path("mirrordna.db").exists());
}

#[test]
fn completions_and_manual_are_printed() {
    let place = Place::new();
    assert!(place.ok(&["completions", "bash"]).contains("_mirrordna"));
    assert!(place.ok(&["man"]).contains(".TH mirrordna"));
    assert!(place.ok(&["recall", "--help"]).contains("Examples:"));
}

#[test]
fn the_doctor_says_what_to_mend() {
    let place = Place::new();
    place.ok(&["init"]);
    let found = place.json(&["doctor"]);
    let state = |name: &str| found["checks"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()["ok"].as_bool().unwrap();
    assert!(state("database") && state("head witness") && state("keyring") && state("keys elsewhere"));
    assert!(!state("protection") && state("file modes") && !state("recovery keys"));
    assert!(place.ok(&["doctor"]).contains("Move the file to another device"));
}

#[test]
fn a_database_goes_out_and_comes_back() {
    let place = Place::new();
    place.ok(&["init"]);
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    place.ok(&["remember", "here and there"]);
    let head = place.json(&["verify"])["head"].clone();
    place.ok(&["export", "backup.mdna"]);
    place.ok(&["--store", "new.db", "restore", "backup.mdna"]);
    assert_eq!(place.json(&["verify", "new.db"])["head"], head);
    assert_eq!(place.json(&["--store", "new.db", "recall", "there"])["hits"][0]["text"], "here and there");
    assert_eq!(place.fails(&["export", "backup.mdna"]).0, 14, "an export is never overwritten");
    assert_eq!(place.fails(&["restore", "backup.mdna"]).1["name"], "store.in_use");
    std::fs::write(place.path("half.mdna"), &std::fs::read(place.path("backup.mdna")).unwrap()[..900]).unwrap();
    assert_eq!(place.fails(&["--store", "half.db", "restore", "half.mdna"]).1["name"], "export.invalid");
    assert!(!place.path("half.db").exists());
}

#[test]
fn snapshots_from_the_command_line() {
    let place = Place::new();
    place.ok(&["init"]);
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    place.ok(&["remember", "first"]);
    let first = place.ok(&["snapshot", "capture"]).trim().to_owned();
    place.ok(&["remember", "second"]);
    let second = place.ok(&["snapshot", "capture"]).trim().to_owned();
    assert_eq!(place.json(&["snapshot", "compare", &first, &second])["added"].as_array().unwrap().len(), 1);
    assert!(place.ok(&["snapshot", "show", &first, "--yaml"]).starts_with("\"snapshot_id\": "));
    let done = place.json(&["snapshot", "restore", &first]);
    assert_eq!((done["archived"].as_u64(), done["unchanged"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn configuration_is_file_then_environment_then_argument() {
    let place = Place::new();
    let from = |args: &[&str]| place.json(&[&["config"][..], args].concat())["store"].clone();
    assert_eq!(from(&[])["from"], "default");
    std::fs::write(place.path("mirrordna.toml"), "store = \"filed.db\"\nkeys = \"filed-keys\"\n").unwrap();
    assert_eq!((from(&[])["value"].as_str(), from(&[])["from"].as_str()), (Some("filed.db"), Some("mirrordna.toml")));
    assert_eq!(from(&["--store", "typed.db"])["value"], "typed.db");
    place.ok(&["init"]);
    assert!(place.path("filed.db").exists() && place.path("filed-keys").is_dir());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
    command.current_dir(place.0.path()).args(["config", "--json"]).env_clear().envs(profile()).env("MIRRORDNA_STORE", "env.db");
    let shown: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!((shown["store"]["value"].as_str(), shown["store"]["from"].as_str()), (Some("env.db"), Some("MIRRORDNA_STORE")));
    for (text, says) in [
        ("store = 1\n", "mirrordna.toml line 1"),
        ("\n\nshop = \"x\"\n", "mirrordna.toml line 3: unknown field `shop`"),
        ("durability = \"maybe\"\n", "durability = 'maybe' (mirrordna.toml) is none of full, normal"),
    ] {
        std::fs::write(place.path("mirrordna.toml"), text).unwrap();
        let (status, error) = place.fails(&["config"]);
        assert_eq!((status, error["name"].as_str()), (11, Some("config.invalid")));
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
}

#[test]
fn logs_are_lines_of_json_whose_request_id_is_the_event() {
    let place = Place::new();
    place.ok(&["init"]);
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    let run = |level: &str, format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command.current_dir(place.0.path()).args(["remember", "logged", "--json"]).env_clear().envs(profile());
        command.env("HOME", place.0.path().join("home")).env("LOG_LEVEL", level).env("LOG_FORMAT", format).output().unwrap()
    };
    let out = run("debug", "json");
    let lines: Vec<Value> = String::from_utf8(out.stderr).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let put = lines.iter().find(|l| l["message"] == "appended" && l["kind"] == "record.put").unwrap();
    let leaf = put["leaf"].as_u64().unwrap().to_string();
    assert_eq!(put["request_id"], place.json(&["timeline", "show", &leaf])["hash"]);
    assert!(lines.iter().all(|l| !l.to_string().contains("logged")), "contents are never logged");
    assert!(run("warn", "text").stderr.is_empty());
    let wrong = run("loud", "text");
    assert_eq!(wrong.status.code(), Some(11));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("LOG_LEVEL = 'loud' is none of off, error"));
}

#[test]
fn damage_beyond_opening_is_altered_and_a_locked_keyring_still_verifies() {
    let place = Place::new();
    place.ok(&["init"]);
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    let whole = std::fs::read(place.path("mirrordna.db")).unwrap();
    std::fs::write(place.path("cut.db"), &whole[..whole.len() / 2]).unwrap();
    let out = place.run(&["verify", "cut.db", "--json"]);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), report["verdict"].as_str()), (Some(1), Some("altered")), "{report}");

    let with = |passphrase: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command.current_dir(place.0.path()).args(args).env_clear().envs(profile()).env("HOME", place.0.path().join("home"));
        command.env("MIRRORDNA_PASSPHRASE", passphrase).output().unwrap()
    };
    assert!(with("open sesame", &["--store", "p.db", "identity", "create", "agent"]).status.success());
    assert_eq!(with("open barley", &["verify", "p.db"]).status.code(), Some(12), "a wrong passphrase is an error");
    let report: Value = serde_json::from_slice(&with("", &["verify", "p.db", "--json"]).stdout).unwrap();
    assert_eq!((report["verdict"].as_str(), report["bodies"]["locked"].as_u64()), (Some("intact"), Some(1)), "{report}");
}

/// Where a measured process is to write its profile: not beside the database.
fn profile() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file))
}
