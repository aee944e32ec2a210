//! Time-stamps of a checkpoint (RFC 3161), from a local authority made with openssl.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Output};

const AUTHORITY: &str = "[ req ]
distinguished_name = name
x509_extensions = tsa
prompt = no
[ name ]
CN = Time stamps of a test
[ tsa ]
basicConstraints = critical,CA:true
extendedKeyUsage = critical,timeStamping
[ tsa_config ]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = no
";

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
    command.current_dir(folder).args(args).env_clear();
    command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
    command.env("HOME", folder.join("home")).env("MIRRORDNA_STATE", "off").output().unwrap()
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let out = run(folder, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs openssl; `None` where there is none, which is an error in continuous integration.
fn openssl(folder: &Path, args: &[&str]) -> Option<()> {
    match Command::new("openssl").args(args).current_dir(folder).output() {
        Ok(done) => {
            assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
            Some(())
        }
        Err(e) => {
            assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI needs openssl: {e}");
            eprintln!("skipped: no openssl ({e})");
            None
        }
    }
}

#[test]
fn a_time_stamp_is_asked_for_answered_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("tsa.cnf"), AUTHORITY).unwrap();
    std::fs::write(folder.join("serial"), "01\n").unwrap();
    let certificate =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-config", "tsa.cnf"];
    if openssl(folder, &certificate).is_none() {
        return;
    }
    ok(folder, &["identity", "create", "agent", "--name", "Ada"]);
    ok(folder, &["remember", "Prefers trains"]);
    let note = ok(folder, &["checkpoint", "--timestamp-request", "request.tsq"]);
    std::fs::write(folder.join("checkpoint"), &note).unwrap();
    // A request that is there is not written over: its nonce is asked for once.
    let again = run(folder, &["checkpoint", "--timestamp-request", "request.tsq"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("request.tsq"), "{said}");
    let reply = ["ts", "-reply", "-config", "tsa.cnf", "-section", "tsa_config", "-queryfile", "request.tsq", "-inkey", "key.pem"];
    openssl(folder, &[&reply[..], &["-signer", "cert.pem", "-out", "response.tsr"]].concat()).unwrap();

    let record = |of: &str, response: &str| {
        run(folder, &["checkpoint", "--of", of, "--timestamp-request", "request.tsq", "--timestamp-response", response])
    };
    // What is no answer, and an answer that is about another checkpoint, leave nothing.
    let events = || ok(folder, &["timeline", "list"]).lines().count();
    let before = events();
    ok(folder, &["remember", "Likes tea"]);
    std::fs::write(folder.join("later"), ok(folder, &["checkpoint"])).unwrap();
    let between = events();
    assert!(between > before);
    for (of, response) in [("checkpoint", "request.tsq"), ("later", "response.tsr")] {
        let refused = record(of, response);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("anchor.invalid"), "{of} {response}: {said}");
    }
    assert_eq!(events(), between);
    let done = record("checkpoint", "response.tsr");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.contains("recorded as event"), "{said}");
    assert!(ok(folder, &["timeline", "list"]).lines().any(|line| line.split('\t').nth(2) == Some("anchor")));
    assert!(ok(folder, &["verify"]).starts_with("intact"));
    // Anybody checks the answer against the checkpoint's text.
    std::fs::write(folder.join("text"), &note[..note.find("\n\n").unwrap() + 1]).unwrap();
    openssl(folder, &["ts", "-verify", "-data", "text", "-in", "response.tsr", "-CAfile", "cert.pem"]).unwrap();
}
