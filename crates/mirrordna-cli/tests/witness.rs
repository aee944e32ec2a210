//! Tiles, checkpoints and witnesses as a script uses them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with a database of one agent and a memory.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.ok(&["identity", "create", "agent", "--name", "Ada"]);
        place.ok(&["remember", "Prefers trains"]);
        place
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command.current_dir(self.0.path()).args(args).env_clear();
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.env("HOME", self.0.path().join("home")).env("MIRRORDNA_STATE", "off");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Exit status and what both streams say.
    fn status(&self, args: &[&str]) -> (i32, String) {
        let out = self.run(args);
        (out.status.code().unwrap(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn key(&self) -> String {
        self.ok(&["checkpoint", "--vkey"]).trim_end().to_owned()
    }

    /// A witness in `./w` that knows the log; returns its key.
    fn witness(&self) -> String {
        let key = self.ok(&["witness", "init", "w", "--name", "witness.example/ada"]);
        self.ok(&["witness", "trust", "w", &self.key()]);
        key.trim_end().to_owned()
    }
}

#[test]
fn tiles_are_exported_and_verified() {
    let place = Place::new();
    let said = place.ok(&["export", "--tiles", "public/log"]);
    assert!(said.contains(" of local.invalid/log/") && said.contains("3 files written"), "{said}");
    assert!(place.ok(&["export", "--tiles", "public/log"]).contains("0 files written"));
    let key = place.key();
    let (status, said) = place.status(&["verify", "public/log", "--key", &key]);
    assert_eq!((status, said.starts_with("intact ")), (0, true), "{said}");
    let fingerprint = "0".repeat(64);
    let (status, said) = place.status(&["verify", "public/log", "--key", &fingerprint]);
    assert_eq!((status, said.contains("checkpoint --vkey")), (3, true), "{said}");
    let report: Value = serde_json::from_str(&place.ok(&["verify", "public/log", "--key", &key, "--json"])).unwrap();
    assert_eq!((&report["verdict"], report["size"] == report["entries"]), (&Value::from("intact"), true), "{report}");

    place.ok(&["remember", "Prefers night trains"]);
    place.ok(&["export", "--tiles", "public/log"]);
    let entries = place.path("public/log/tile/entries/000.p");
    let newest = std::fs::read_dir(entries).unwrap().map(|e| e.unwrap().path()).max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let (status, said) = place.status(&["verify", "public/log", "--key", &key]);
    assert_eq!((status, said.contains("entries.altered")), (1, true), "{said}");
    assert_eq!(place.status(&["verify", "public", "--key", &key]).0, 14, "no log there");
    assert_eq!(place.status(&["export", "--tiles", "public/log", "file"]).0, 2);
}

#[test]
fn a_witness_in_a_folder_cosigns_and_the_log_keeps_it() {
    let place = Place::new();
    let witness = place.witness();
    let note = place.ok(&["checkpoint", "--witness", "w", "--anchor"]);
    assert!(note.contains("\u{2014} witness.example/ada "), "{note}");
    place.write("kept.checkpoint", &note);
    place.write("policy", &format!("log {}\nwitness w {witness}\nquorum w\n", place.key()));
    assert_eq!(place.status(&["verify", "kept.checkpoint", "--policy", "policy"]).0, 0);
    assert_eq!(place.status(&["verify", "kept.checkpoint"]).0, 3);
    assert_eq!(place.status(&["verify"]).0, 0);
    let kinds = place.ok(&["timeline", "list", "--json"]);
    assert!(kinds.contains("\"anchor\""), "{kinds}");

    // By files, as where the two cannot reach each other.
    let request = place.ok(&["checkpoint", "--request", "0"]);
    place.write("request", &request);
    let (status, size) = place.status(&["witness", "cosign", "w", "request"]);
    assert_eq!(status, 1, "{size}");
    let of = place.ok(&["checkpoint"]);
    place.write("of", &of);
    place.write("request", &place.ok(&["checkpoint", "--of", "of", "--request", size.trim_end()]));
    place.write("lines", &place.ok(&["witness", "cosign", "w", "request"]));
    place.ok(&["remember", "Meanwhile the log goes on"]);
    let json = place.ok(&["checkpoint", "--of", "of", "--lines", "lines", "--witness-key", &witness, "--anchor", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["cosigned"][0]["witness"], json["anchors"].as_array().unwrap().len()), (&"witness.example/ada".into(), 1), "{json}");
    assert_eq!(place.status(&["verify"]).0, 0);

    assert_eq!(place.status(&["witness", "cosign", "w", "lines"]).0, 11);
    assert_eq!(place.status(&["witness", "cosign", "nowhere", "request"]).0, 14);
    let other = Place::new();
    other.write("request", &other.ok(&["checkpoint", "--request", "0"]));
    let theirs = other.path("request");
    assert_eq!(place.status(&["witness", "cosign", "w", theirs.to_str().unwrap()]).0, 3);
    let shown: Value = serde_json::from_str(&place.ok(&["witness", "show", "w", "--json"])).unwrap();
    assert_eq!(
        (shown["verifier_key"].as_str().unwrap(), &shown["seen"][0]["size"]),
        (witness.as_str(), &of.lines().nth(1).unwrap().parse::<u64>().unwrap().into())
    );
}

/// A witness over HTTP, ended with the test.
struct Serving(Child, String);

impl Serving {
    fn start(place: &Place) -> Self {
        let mut child = place.command(&["witness", "serve", "w", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self(child, url.trim_end().to_owned())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_witness_over_http_cosigns_what_extends_and_nothing_else() {
    let place = Place::new();
    let witness = place.witness();
    std::fs::copy(place.path("mirrordna.db"), place.path("copy.db")).unwrap();
    let serving = Serving::start(&place);
    let url = serving.1.as_str();
    place.ok(&["remember", "shown to the witness"]);
    let shown = place.ok(&["checkpoint", "--witness", url, "--witness-key", &witness]);
    assert!(shown.contains("\u{2014} witness.example/ada "), "{shown}");
    place.write("shown", &shown);

    // Another history of the same log.
    place.ok(&["--store", "copy.db", "remember", "kept from the witness"]);
    let (status, said) = place.status(&["--store", "copy.db", "checkpoint", "--witness", url, "--witness-key", &witness]);
    assert_eq!((status, said.contains("another history")), (13, true), "{said}");
    place.write("hidden", &place.ok(&["--store", "copy.db", "checkpoint"]));
    let (status, said) = place.status(&["verify", "hidden", "--kept", "shown", "--key", &place.key()]);
    assert_eq!((status, said.contains("log.forked") && said.contains("two histories")), (1, true), "{said}");
    assert_eq!(place.status(&["verify", "shown", "--kept", "shown", "--key", &place.key()]).0, 0);
    assert_eq!(place.status(&["verify", "hidden", "--kept", "shown"]).0, 11, "whose checkpoints?");

    let raw = |request: &str| {
        let mut stream = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        let head = format!("POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", request.len());
        stream.write_all(format!("{head}{request}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let conflict = raw(&place.ok(&["checkpoint", "--request", "0"]));
    assert!(conflict.starts_with("HTTP/1.1 409 ") && conflict.contains("Content-Type: text/x.tlog.size\r\n"), "{conflict}");
    assert!(raw("old 0\n").starts_with("HTTP/1.1 400 "));

    // Nobody whom the policy knows: nothing is taken. Nobody there: said so.
    assert_eq!(place.status(&["checkpoint", "--witness", url, "--anchor"]).0, 17);
    drop(serving);
}

#[test]
fn a_killed_witness_never_contradicts_itself() {
    let place = Place::new();
    place.witness();
    // Six histories of one log, each as long.
    let requests: Vec<String> = (0..6)
        .map(|i| {
            let copy = format!("{i}.db");
            std::fs::copy(place.path("mirrordna.db"), place.path(&copy)).unwrap();
            place.ok(&["--store", &copy, "remember", &format!("history {i}")]);
            place.ok(&["--store", &copy, "checkpoint", "--request", "0"])
        })
        .collect();
    let mut cosigned = BTreeSet::new();
    for round in 0..8 {
        let mut children: Vec<(usize, Child)> = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let mut command = place.command(&["witness", "cosign", "w"]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            // It may have been killed, or have refused, before it read.
            let _gone = child.stdin.take().unwrap().write_all(request.as_bytes());
            children.push((i, child));
            // Some of them at once, some while the next ones run, some not.
            let at = (round + i) % children.len();
            if round < 7 {
                children[at].1.kill().unwrap();
            }
        }
        for (i, child) in children {
            if child.wait_with_output().unwrap().stdout.starts_with("\u{2014} ".as_bytes()) {
                cosigned.insert(i);
            }
        }
        // Whatever happened, the state is whole.
        place.ok(&["witness", "show", "w"]);
    }
    let seen: Value = serde_json::from_str(&place.ok(&["witness", "show", "w", "--json"])).unwrap();
    let note = seen["seen"][0]["note"].as_str().unwrap();
    let kept: BTreeSet<usize> = (0..6).filter(|i| note.starts_with(requests[*i].split("\n\n").nth(1).unwrap())).collect();
    assert_eq!(kept.len(), 1, "{seen}");
    // Who was killed may have kept one, and not come to say so.
    assert!(cosigned.is_subset(&kept), "of six histories it cosigned {cosigned:?}, and kept {kept:?}");
}

#[test]
fn a_time_stamp_is_asked_for_by_a_file() {
    let place = Place::new();
    let note = place.ok(&["checkpoint", "--timestamp-request", "it.tsq"]);
    assert!(std::fs::read(place.path("it.tsq")).unwrap().starts_with(&[0x30]));
    place.write("it.checkpoint", &note);
    assert_eq!(place.status(&["checkpoint", "--timestamp-request", "it.tsq"]).0, 14, "nothing is overwritten");
    place.write("it.tsr", "no time-stamp");
    let args = ["checkpoint", "--of", "it.checkpoint", "--timestamp-request", "it.tsq", "--timestamp-response", "it.tsr"];
    let (status, said) = place.status(&args);
    assert_eq!((status, said.contains("anchor.invalid") || said.contains("MDNA-7013")), (17, true), "{said}");
    assert_eq!(place.status(&["checkpoint", "--timestamp-response", "it.tsr"]).0, 2);
}
