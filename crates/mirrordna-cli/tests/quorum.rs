//! A quorum of witnesses, end to end: three stores cosign for a fourth, and
//! whoever asks for two of them gets the same answer by the command line and by
//! the verifier in Python. (`verifiers/web/test` asks the page.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../verifiers/python/mirrordna_verify.py");

struct Place(tempfile::TempDir);

impl Place {
    /// A database, three witnesses who know it and another one, and a policy that
    /// asks for two of them.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.ok(&["identity", "create", "agent", "--name", "Ada"]);
        place.ok(&["timeline", "append", "booking.requested", r#"{"to":"Lyon"}"#, "--identity", "Ada"]);
        place.ok(&["--store", "other.db", "identity", "create", "agent", "--name", "Eve"]);
        let key = place.line(&["checkpoint", "--vkey"]);
        let mut policy = format!("log {key}\n");
        for w in ["w1", "w2", "w3"] {
            let own = place.line(&["witness", "init", w, "--name", &format!("witness.example/{w}")]);
            place.ok(&["witness", "trust", w, &key]);
            place.ok(&["witness", "trust", w, &place.line(&["--store", "other.db", "checkpoint", "--vkey"])]);
            policy += &format!("witness {w} {own}\n");
        }
        place.write("policy", &(policy + "group two 2 w1 w2 w3\nquorum two\n"));
        place
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).args(args).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name == "LLVM_PROFILE_FILE" || name == "PATH"));
        command.env("HOME", self.0.path().join("home")).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(env!("CARGO_BIN_EXE_mirrordna"), args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn line(&self, args: &[&str]) -> String {
        self.ok(args).trim_end().to_owned()
    }

    fn status(&self, args: &[&str]) -> (i32, String) {
        let out = self.run(env!("CARGO_BIN_EXE_mirrordna"), args);
        (out.status.code().unwrap(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// A checkpoint with the lines of some witnesses, in a file and as text.
    fn cosigned(&self, name: &str, of: &str, by: &[&str]) -> String {
        let mut args = vec!["checkpoint", "--of", of, "--policy", "policy"];
        by.iter().for_each(|w| args.extend(["--witness", *w]));
        let note = self.ok(&args);
        self.write(name, &note);
        note
    }

    /// What both verifiers say of a bundle: they agree in every figure.
    fn judged(&self, file: &str, kept: &[&str]) -> Value {
        let mut args = vec!["verify", file, "--policy", "policy", "--json"];
        kept.iter().for_each(|k| args.extend(["--kept", *k]));
        let (status, said) = self.status(&args);
        let report: Value = serde_json::from_str(&said).unwrap();
        args[0] = PYTHON;
        let out = self.run("python3", &args);
        let other: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        assert_eq!(out.status.code(), Some(status), "{report}\n{other}");
        for key in ["verdict", "size", "quorum", "witnessed", "freshness", "times"] {
            assert_eq!(report["logs"][0][key], other["logs"][0][key], "{file} {key}");
        }
        let codes = |report: &Value| report["problems"].as_array().unwrap().iter().map(|p| p["code"].clone()).collect::<Vec<_>>();
        assert_eq!(codes(&report), codes(&other));
        report
    }

    /// Verdict, quorum, and up to which size it holds.
    fn said(&self, file: &str, kept: &[&str]) -> (String, Value, Value) {
        let report = self.judged(file, kept);
        (report["verdict"].as_str().unwrap().to_owned(), report["logs"][0]["quorum"].clone(), report["logs"][0]["witnessed"].clone())
    }
}

fn is(verdict: &str, quorum: bool, witnessed: u64) -> (String, Value, Value) {
    (verdict.to_owned(), quorum.into(), witnessed.into())
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// The last line of a note.
fn last(note: &str) -> &str {
    note.trim_end().rsplit('\n').next().unwrap()
}

#[test]
fn two_of_three_witnesses_are_seen_by_every_verifier() {
    let place = Place::new();
    place.ok(&["timeline", "append", "booking.confirmed", r#"{"seat":"12A"}"#, "--identity", "Ada"]);
    let of = place.ok(&["checkpoint"]);
    place.write("of", &of);
    let n = size(&of);
    let two = place.cosigned("two", "of", &["w1", "w3"]);
    place.cosigned("one", "of", &["w1"]);
    place.cosigned("kept", "of", &["w2"]);
    place.ok(&["remember", "Said after the witnesses had looked", "--identity", "Ada"]);
    let event = "4";

    let said = place.ok(&["prove", event, "--checkpoint", "two", "--out", "two.mdna-proof"]);
    assert!(said.contains("\nnot in it    ") && said.contains("later events, after that checkpoint\n"), "{said}");
    let said: Value = serde_json::from_str(&place.ok(&["export", "--audit", "two.kit", "--checkpoint", "two", "--json"])).unwrap();
    assert!(said["bundled"]["later"].as_u64().unwrap() >= 2 && said["bundled"]["events"] == n, "{said}");
    place.ok(&["prove", event, "--checkpoint", "one", "--out", "one.mdna-proof"]);
    place.ok(&["export", "--audit", "one.kit", "--checkpoint", "one"]);
    for end in [".mdna-proof", ".kit/history.mdna-bundle"] {
        let (two, one) = (format!("two{end}"), format!("one{end}"));
        assert_eq!(place.said(&two, &[]), is("intact", true, n));
        assert_eq!(place.said(&one, &[]), is("unproven", false, 0));
        assert_eq!(place.said(&one, &["kept"]), is("intact", true, n), "the auditor's own line counts");
        assert_eq!(place.said(&one, &["one"]), is("unproven", false, 0), "a witness is one, however often");
        let (status, said) = place.status(&["verify", &one, "--policy", "policy"]);
        let log = of.lines().next().unwrap().rsplit('/').next().unwrap().get(..8).unwrap().to_owned();
        let sentence = format!("\nThe witnesses that the policy asks for have not signed the checkpoint of log {log}….\n");
        assert!(status == 3 && said.contains(" · not witnessed\n") && said.contains(&sentence), "{said}");
        assert!(place.ok(&["verify", &two, "--policy", "policy"]).contains(" · witnessed\n"));
    }

    // A line for another log is none for this checkpoint.
    place.write("other", &place.ok(&["--store", "other.db", "checkpoint"]));
    let other = place.ok(&["--store", "other.db", "checkpoint", "--of", "other", "--policy", "policy", "--witness", "w2"]);
    place.write("other", &other);
    assert_eq!(place.said("one.mdna-proof", &["other"]), is("unproven", false, 0));
    let base = place.ok(&["checkpoint", "--of", "one", "--policy", "policy"]);
    for (name, line) in [("foreign", last(&other).to_owned()), ("retold", last(&two).replacen("w3", "w2", 1))] {
        place.write(name, &format!("{base}{line}\n"));
        place.ok(&["prove", event, "--checkpoint", name, "--out", &format!("{name}.mdna-proof")]);
    }
    let report = place.judged("foreign.mdna-proof", &[]);
    assert_eq!((&report["verdict"], &report["problems"][0]["code"]), (&"altered".into(), &"cosignature.invalid".into()), "{report}");
    // Under another witness's name the key id is nobody's.
    assert_eq!(place.said("retold.mdna-proof", &[]), is("unproven", false, 0));
    // Twice by one witness: it is one witness.
    let again = place.cosigned("again", "of", &["w1"]);
    place.write("twice", &format!("{}{}\n", std::fs::read_to_string(place.path("one")).unwrap(), last(&again)));
    place.ok(&["prove", event, "--checkpoint", "twice", "--out", "twice.mdna-proof"]);
    assert_eq!(place.said("twice.mdna-proof", &[]), is("unproven", false, 0));

    // What is no checkpoint of this log makes no bundle, and leaves nothing behind.
    assert_eq!(place.status(&["prove", event, "--checkpoint", "other"]).0, 17);
    assert_eq!(place.status(&["export", "--audit", "no.kit", "--checkpoint", "other"]).0, 17);
    assert!(!place.path("no.kit").exists());
    assert_eq!(place.status(&["export", "file", "--checkpoint", "two"]).0, 11);
    assert_eq!(place.status(&["prove", event, "--witnessed", "--checkpoint", "two"]).0, 2);
}

#[test]
fn anchored_cosignatures_serve_bundles_and_the_database() {
    let place = Place::new();
    let (status, said) = place.status(&["verify", "--policy", "policy"]);
    assert!(status == 3 && said.contains("have signed no checkpoint of it"), "{said}");
    assert_eq!(place.status(&["prove", "0", "--witnessed"]).0, 11);
    let note = place.ok(&["checkpoint", "--policy", "policy", "--witness", "w1", "--witness", "w2", "--anchor"]);
    place.ok(&["remember", "Said after the witnesses had looked", "--identity", "Ada"]);
    place.write("newest", &place.ok(&["checkpoint"]));
    let n = size(&note);

    let report: Value = serde_json::from_str(&place.ok(&["verify", "--policy", "policy", "--json"])).unwrap();
    assert_eq!((&report["verdict"], &report["witnessed"], &report["freshness"]), (&"intact".into(), &n.into(), &"current".into()));
    let after = report["events"].as_u64().unwrap() - n;
    let said = place.ok(&["verify", "--policy", "policy"]);
    assert!(after > 2 && said.contains(&format!("\n         {n} events witnessed · {after} after ")), "{said}");
    let newest = place.cosigned("newest.cosigned", "newest", &["w2", "w3"]);
    let report: Value = serde_json::from_str(&place.ok(&["verify", "--policy", "policy", "--kept", "newest.cosigned", "--json"])).unwrap();
    assert_eq!(report["witnessed"], size(&newest));

    place.ok(&["prove", "4", "--witnessed", "--policy", "policy", "--out", "w.mdna-proof"]);
    assert_eq!(place.said("w.mdna-proof", &[]), is("intact", true, n));
    place.ok(&["export", "--audit", "kit", "--witnessed"]);
    assert_eq!(place.said("kit/history.mdna-bundle", &[]), is("intact", true, n));
    // Under the newest checkpoint the quorum is seen up to the anchored one.
    place.ok(&["export", "--audit", "newest.kit"]);
    assert_eq!(place.said("newest.kit/history.mdna-bundle", &[]), is("unproven", false, n));
    let (status, said) = place.status(&["verify", "newest.kit", "--policy", "policy"]);
    assert!(status == 3 && said.contains(&format!("They have signed the first {n} of its ")), "{said}");
    assert!(said.contains(&format!(" · not witnessed after the first {n}\n")), "{said}");
}
