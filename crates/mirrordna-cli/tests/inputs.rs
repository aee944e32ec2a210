//! What the options that name a file do with something that is none, or that is
//! far too long: a pipe that nobody writes to, a folder, a device without an
//! end, and a gibibyte of nothing. Each ends by itself, soon, in little memory,
//! and says what is wrong with which file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Address space of a run, KiB: half of what the long file would take.
const MEMORY: u32 = 512 << 10;
/// After this a run is taken for one that hangs: a guard, not a figure.
const HANGS: Duration = Duration::from_secs(120);

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A database with an agent, a witness, and the things that are no files.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.ok(&["identity", "create", "agent", "--name", "Ada"]);
        place.ok(&["witness", "init", "witness", "--name", "w.example"]);
        place.ok(&["prove", "0", "--out", "good.mdna-proof"]);
        rustix::fs::mkfifoat(rustix::fs::CWD, place.path("pipe"), 0o600.into()).unwrap();
        std::fs::create_dir(place.path("folder")).unwrap();
        std::fs::File::create_new(place.path("long")).unwrap().set_len(1 << 30).unwrap();
        std::fs::set_permissions(place.path("long"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ok(&self, args: &[&str]) {
        let out = self.run(args, &[]);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Runs it with little memory; fails where it does not end.
    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_mirrordna")]).args(args);
        command.current_dir(self.dir.path()).env_clear().env("HOME", self.path("home")).envs(env.iter().copied());
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > HANGS {
                child.kill().unwrap();
                panic!("{args:?} {env:?} hangs");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().unwrap()
    }

    /// It is refused: by an error of its own, not for want of memory, and the
    /// file is named, as it was by the command or from there.
    fn refused(&self, args: &[&str], env: &[(&str, &str)], named: &Path) -> String {
        let out = self.run(args, env);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let status = out.status.code().unwrap_or_else(|| panic!("{args:?} {env:?} was killed: {said}"));
        assert!((10..20).contains(&status), "{args:?} {env:?}: {status} {said}");
        let named = named.strip_prefix(self.dir.path()).unwrap_or(named);
        assert!(said.contains(named.to_str().unwrap()), "{args:?} {env:?}: {said}");
        said
    }
}

/// The options and arguments that name a small file; `X` stands for it.
const OPTIONS: &[&[&str]] = &[
    &["verify", "--policy", "X"],
    &["verify", "good.mdna-proof", "--kept", "X"],
    &["tool", "check", "X", "--request", "r"],
    &["erase", "--replay", "X"],
    &["checkpoint", "--of", "X"],
    &["checkpoint", "--policy", "X"],
    &["checkpoint", "--lines", "X"],
    &["checkpoint", "--timestamp-request", "X", "--timestamp-response", "good.mdna-proof"],
    &["checkpoint", "--timestamp-request", "good.mdna-proof", "--timestamp-response", "X"],
    &["identity", "recover", "Ada", "--recovery-file", "X"],
    &["witness", "cosign", "witness", "X"],
];

/// Variables that name one, and a command that reads it.
const VARIABLES: &[(&str, &[&str])] = &[
    ("MIRRORDNA_PASSPHRASE_FILE", &["memory", "list"]),
    ("MIRRORDNA_NEW_PASSPHRASE_FILE", &["keys", "passphrase"]),
    ("MIRRORDNA_NEW_KEK_FILE", &["keys", "rotate", "--to", "file"]),
    ("MIRRORDNA_CONFIG", &["config"]),
];

#[test]
fn what_is_no_file_is_refused_and_named() {
    let place = Place::new();
    let sorts = [(place.path("pipe"), "is a pipe"), (place.path("folder"), "is a folder"), ("/dev/zero".into(), "is a device")];
    for (path, sort) in &sorts {
        for option in OPTIONS {
            let args: Vec<&str> = option.iter().map(|arg| if *arg == "X" { path.to_str().unwrap() } else { arg }).collect();
            let said = place.refused(&args, &[], path);
            assert!(said.contains(sort), "{args:?}: {said}");
        }
        for (variable, args) in VARIABLES {
            let said = place.refused(args, &[(variable, path.to_str().unwrap())], path);
            assert!(said.contains(sort) || said.contains("is no file"), "{variable}: {said}");
        }
        // What may be long is read in pieces, but is a file too.
        for args in [&["tool", "read"][..], &["import"], &["verify"]] {
            place.refused(&[args, &[path.to_str().unwrap()]].concat(), &[], path);
        }
    }
    // And nothing of all that was written anywhere.
    place.ok(&["verify"]);
}

#[test]
fn what_is_too_long_is_refused_in_little_memory_and_its_limit_named() {
    let place = Place::new();
    let long = place.path("long");
    for option in OPTIONS {
        let args: Vec<&str> = option.iter().map(|arg| if *arg == "X" { long.to_str().unwrap() } else { arg }).collect();
        let said = place.refused(&args, &[], &long);
        assert!(said.contains("bytes, the limit of"), "{args:?}: {said}");
    }
    for (variable, args) in VARIABLES {
        let said = place.refused(args, &[(variable, long.to_str().unwrap())], &long);
        // A key file is read as far as a key can be long, and is none.
        assert!(said.contains("bytes, the limit of") || *variable == "MIRRORDNA_NEW_KEK_FILE", "{variable}: {said}");
    }
    for args in [&["tool", "read"][..], &["verify"]] {
        let args = [args, &[long.to_str().unwrap()]].concat();
        place.refused(&args, &[], &long);
    }
    // Without a limit of its own it is standard input's.
    let said = place.run(&["witness", "cosign", "witness", "/dev/stdin"], &[]);
    assert!(!said.status.success());
}

#[test]
fn of_a_kit_the_one_bundle_in_it_is_judged_and_nothing_that_a_link_leads_to() {
    let place = Place::new();
    let kit = place.path("kit");
    std::fs::create_dir(&kit).unwrap();
    let inside = kit.join("a.mdna-proof");
    std::os::unix::fs::symlink(place.path("good.mdna-proof"), &inside).unwrap();
    let verify: &[&str] = &["verify", "kit"];
    assert!(place.refused(verify, &[], &inside).contains("a symbolic link"));
    std::fs::remove_file(&inside).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &inside, 0o600.into()).unwrap();
    assert!(place.refused(verify, &[], &inside).contains("is a pipe"));
    std::fs::remove_file(&inside).unwrap();
    std::fs::copy(place.path("good.mdna-proof"), &inside).unwrap();
    assert_eq!(place.run(verify, &[]).status.code(), Some(3), "nobody vouches for its key");
    // A link in a loop beside it is nobody's business.
    std::os::unix::fs::symlink(&kit, kit.join("loop")).unwrap();
    assert_eq!(place.run(verify, &[]).status.code(), Some(3));
    std::fs::copy(place.path("good.mdna-proof"), kit.join("b.mdna-proof")).unwrap();
    assert!(place.refused(verify, &[], "kit".as_ref()).contains("more than one bundle"));
}
