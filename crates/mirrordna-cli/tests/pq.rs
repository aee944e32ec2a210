//! Second signatures as a script and an auditor use them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::process::{Command, Output};

struct Place(tempfile::TempDir);

impl Place {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command.current_dir(self.0.path()).args(args).env_clear();
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.env("HOME", self.0.path().join("home")).env("MIRRORDNA_STATE", "off").output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }

    /// The exit status of `verify` by a policy of these lines.
    fn verify(&self, target: &str, policy: &[String]) -> i32 {
        std::fs::write(self.0.path().join("policy"), policy.join("\n")).unwrap();
        self.run(&["verify", target, "--policy", "policy"]).status.code().unwrap()
    }
}

#[test]
fn an_auditor_asks_for_the_second_line_by_its_key() {
    let place = Place(tempfile::tempdir().unwrap());
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    place.ok(&["remember", "Prefers trains"]);
    let refused = place.run(&["checkpoint", "--pq-vkey"]);
    assert!(refused.status.code() == Some(12) && String::from_utf8_lossy(&refused.stderr).contains("keys pq"), "{refused:?}");
    place.ok(&["export", "--audit", "before"]);

    let second = place.ok(&["keys", "pq"]);
    assert_eq!(place.ok(&["keys", "pq"]), second, "it is made once");
    assert_eq!(place.ok(&["checkpoint", "--pq-vkey"]), second);
    let first = place.ok(&["checkpoint", "--vkey"]);
    assert!(!first.contains('\n') && first != second && second.len() > 1_750);
    let keys: Value = serde_json::from_str(&place.ok(&["checkpoint", "--vkey", "--json", "--store", "mirrordna.db"])).unwrap();
    assert_eq!((&keys["verifier_key"], &keys["pq_verifier_key"]), (&first.as_str().into(), &second.as_str().into()));
    let both = place.run(&["checkpoint", "--vkey", "--anchor"]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");

    let note = place.ok(&["checkpoint"]);
    assert_eq!(note.matches('\u{2014}').count(), 2, "{note}");
    std::fs::write(place.0.path().join("it.checkpoint"), format!("{note}\n")).unwrap();
    place.ok(&["verify", "it.checkpoint", "--key", &second]);
    place.ok(&["verify", "it.checkpoint", "--key", &first]);

    place.ok(&["export", "--audit", "after"]);
    place.ok(&["export", "--tiles", "tiles"]);
    let (first, second) = (format!("log {first}"), format!("log {second}"));
    let strict = [first.clone(), second.replacen("log", "witness second", 1), "quorum second".to_owned()];
    let both = [first, second.clone()];
    for (policy, before, after) in [(&both[..1], 0, 0), (&both[1..], 3, 0), (&both, 0, 0), (&strict, 3, 0)] {
        let found = (place.verify("before", policy), place.verify("after", policy), place.verify("tiles", policy));
        assert_eq!(found, (before, after, after), "{policy:?}");
    }
    // A key with another id is none, and is named as what is wrong.
    let broken = second.replacen("local", "lokal", 1);
    assert_eq!(place.verify("after", std::slice::from_ref(&broken)), 11);
    let said = place.run(&["verify", "after", "--key", &broken["log ".len()..]]);
    assert!(said.status.code() == Some(11) && String::from_utf8_lossy(&said.stderr).contains("no key of a log"), "{said:?}");
}
