//! Keys from the command line: providers by the environment, rotations that are
//! killed at every system call that matters, and others that work meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Place {
    dir: tempfile::TempDir,
    env: Vec<(&'static str, PathBuf)>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = [("MIRRORDNA_STORE", "m.db"), ("MIRRORDNA_KEYS", "keys"), ("MIRRORDNA_STATE", "state")];
        let env = env.map(|(name, at)| (name, dir.path().join(at))).into();
        Self { dir, env }
    }

    fn set(&mut self, name: &'static str, value: impl Into<PathBuf>) {
        self.env.retain(|(n, _)| *n != name);
        self.env.push((name, value.into()));
    }

    fn unset(&mut self, name: &str) {
        self.env.retain(|(n, _)| *n != name);
    }

    /// `before` begins the command line, as `strace …` does.
    fn command(&self, before: &[&str], args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_mirrordna");
        let mut line = before.iter().copied().chain([program]).chain(args.iter().copied()).chain(["--json"]);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(&[], args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Value {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    fn fails(&self, args: &[&str]) -> (i32, String) {
        let out = self.run(args);
        let error: Value = serde_json::from_slice(&out.stderr).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        (out.status.code().unwrap(), format!("{} {} {}", error["error"]["name"], error["error"]["message"], error["error"]["hint"]))
    }

    fn kek(&self, name: &str, byte: u8) -> PathBuf {
        let path = self.dir.path().join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        std::io::Write::write_all(&mut file, &[byte; 32]).unwrap();
        path
    }

    fn keyring(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.dir.path().join("keys")).unwrap().map(|e| e.unwrap().path());
        entries.into_iter().find(|p| p.extension().is_some_and(|e| e == "keys")).unwrap()
    }

    /// A check of the doctor: whether all is well, and what is said.
    fn check(&self, name: &str) -> (bool, String) {
        let report: Value = serde_json::from_slice(&self.run(&["doctor"]).stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
        (check["ok"].as_bool().unwrap(), format!("{} {}", check["says"], check["advice"]))
    }
}

fn head(keyring: &Path) -> Value {
    serde_json::from_str(std::fs::read_to_string(keyring).unwrap().lines().next().unwrap()).unwrap()
}

#[test]
fn a_key_file_named_by_the_environment_protects_and_is_changed() {
    let mut place = Place::new();
    let (first, second) = (place.kek("first", 1), place.kek("second", 2));
    place.set("MIRRORDNA_KEK_FILE", &first);
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    place.ok(&["remember", "one"]);
    assert_eq!(head(&place.keyring())["provider"]["name"], "file");
    assert_eq!(place.check("protection"), (true, "\"file\" null".into()));
    place.set("MIRRORDNA_NEW_KEK_FILE", &second);
    place.ok(&["keys", "rotate", "--to", "file"]);
    let (status, said) = place.fails(&["remember", "by the old one"]);
    assert!(status == 12 && said.contains("key.provider"), "{said}");
    place.set("MIRRORDNA_KEK_FILE", &second);
    place.ok(&["remember", "two"]);
    // Without it: facts yes, contents no, and the hint says what to set.
    place.unset("MIRRORDNA_KEK_FILE");
    assert_eq!(place.ok(&["verify"])["bodies"]["locked"], 3);
    let export = place.dir.path().join("export.mdna");
    place.ok(&["export", export.to_str().unwrap()]);
    assert_eq!(place.ok(&["verify", export.to_str().unwrap()])["bodies"]["locked"], 3);
    assert!(place.run(&["timeline", "list"]).status.success());
    let (status, said) = place.fails(&["memory", "list"]);
    assert!(status == 12 && said.contains("key.provider") && said.contains("MIRRORDNA_KEK_FILE"), "{said}");
    let (ok, said) = place.check("keyring");
    assert!(!ok && said.contains("MIRRORDNA_KEK_FILE"), "{said}");
    // From there to a passphrase.
    place.set("MIRRORDNA_KEK_FILE", &second);
    place.set("MIRRORDNA_NEW_PASSPHRASE", "sesame");
    place.ok(&["keys", "rotate", "--to", "passphrase"]);
    place.unset("MIRRORDNA_KEK_FILE");
    place.set("MIRRORDNA_PASSPHRASE", "sesame");
    assert_eq!(place.check("protection"), (true, "\"passphrase\" null".into()));
    assert_eq!(place.ok(&["memory", "list"])["memories"].as_array().map(Vec::len), Some(2));
    for (name, value, says) in [("MIRRORDNA_KEY_PROVIDER", "abacus", "file"), ("MIRRORDNA_KEY_PROVIDER", "file", "MIRRORDNA_KEK_FILE")] {
        place.set(name, value);
        let (status, said) = place.fails(&["remember", "no"]);
        assert!(status == 11 && said.contains(says), "{said}");
        place.unset(name);
    }
}

#[test]
fn production_says_what_to_set_until_it_starts() {
    let mut place = Place::new();
    place.set("MIRRORDNA_PROFILE", "production");
    let (status, said) = place.fails(&["init"]);
    assert!(status == 11 && said.contains("MIRRORDNA_KEK_FILE"), "{said}");
    place.set("MIRRORDNA_KEK_FILE", place.kek("kek", 1));
    place.set("MIRRORDNA_STATE", "off");
    let (status, said) = place.fails(&["init"]);
    assert!(status == 11 && said.contains("MIRRORDNA_STATE"), "{said}");
    place.set("MIRRORDNA_STATE", place.dir.path().join("state"));
    place.ok(&["init"]);
    std::fs::set_permissions(place.keyring(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (status, said) = place.fails(&["identity", "create", "agent"]);
    assert!(status == 11 && said.contains("chmod 600"), "{said}");
    place.unset("MIRRORDNA_PROFILE");
    let (ok, said) = place.check("file modes");
    assert!(!ok && said.contains("644"), "{said}");
    std::fs::set_permissions(place.keyring(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    // By the file of the configuration, too.
    let config = place.dir.path().join("config.toml");
    std::fs::write(&config, "profile = \"production\"\n").unwrap();
    place.set("MIRRORDNA_CONFIG", &config);
    place.ok(&["identity", "create", "agent"]);
    place.set("MIRRORDNA_STATE", "off");
    assert_eq!(place.fails(&["remember", "no"]).0, 11);
    place.set("MIRRORDNA_PROFILE", "staging");
    let (status, said) = place.fails(&["remember", "no"]);
    assert!(status == 11 && said.contains("development, production"), "{said}");
}

/// Kills a command at each of its calls of `call`, one after the other, until a
/// run comes to its end; `check` looks at what it left. Returns the number of
/// killed runs, or `None` where nothing can be traced.
fn kill_at_each(place: &Place, call: &str, args: &[&str], check: &dyn Fn(&str)) -> Option<u32> {
    for nth in 1.. {
        let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
        let before = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
        let out = place.command(&before, args).output().ok()?;
        let killed = out.status.signal() == Some(9) || out.status.code() == Some(137);
        if !killed {
            let text = String::from_utf8_lossy(&out.stderr);
            if text.contains("strace:") || text.contains("ptrace") {
                return None;
            }
            assert!(out.status.success(), "{call} {nth}: {text}");
            check(&format!("after {call}, whole"));
            return Some(nth - 1);
        }
        check(&format!("killed at {call} {nth}"));
    }
    None
}

#[test]
fn rotations_that_are_killed_at_any_call_leave_keys_that_open() {
    let mut place = Place::new();
    place.set("MIRRORDNA_KEK_FILE", place.kek("kek", 1));
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    for n in 0..5 {
        place.ok(&["remember", &format!("memory {n}"), "--subject", &format!("person {n}")]);
    }
    let root = place.ok(&["verify"])["head"].clone();
    let whole = |at: &str| {
        assert_eq!(place.ok(&["memory", "list"])["memories"].as_array().map(Vec::len), Some(5), "{at}");
        let report = place.ok(&["verify"]);
        assert!(report["verdict"] == "intact" && report["head"] == root, "{at}: {report}");
        let folder = std::fs::read_dir(place.dir.path().join("keys")).unwrap().count();
        assert!(folder <= 3, "{at}: a keyring, its recovery file, and at most one that was not finished");
    };
    let mut killed = 0;
    for call in ["write", "fsync", "rename"] {
        let Some(times) = kill_at_each(&place, call, &["keys", "rotate"], &whole) else {
            eprintln!("skipped: no strace, or it may not trace");
            return;
        };
        killed += times;
    }
    assert!(killed >= 4, "its write, sync, rename and the sync of the folder: {killed}");
    let before = std::fs::read_to_string(place.keyring()).unwrap();
    let mut killed = 0;
    for call in ["write", "fdatasync", "pwrite64"] {
        killed += kill_at_each(&place, call, &["keys", "rotate", "--store-key"], &whole).unwrap();
    }
    assert!(killed >= 4, "{killed}");
    let after = std::fs::read_to_string(place.keyring()).unwrap();
    assert!(
        after.lines().filter(|l| l.starts_with("{\"role\":\"store\"")).count()
            > before.lines().filter(|l| l.starts_with("{\"role\":\"store\"")).count()
    );
    let done = place.ok(&["keys", "rotate", "--store-key"]);
    assert!(done["rewrapped"].as_u64() > Some(0), "{done}");
    whole("at the end");
}

#[test]
fn others_write_and_read_while_the_store_key_is_rotated() {
    let place = Place::new();
    place.ok(&["identity", "create", "agent", "--name", "Ada"]);
    let (writers, each) = (3, 8);
    std::thread::scope(|s| {
        for writer in 0..writers {
            let place = &place;
            s.spawn(move || {
                for n in 0..each {
                    // Each for a subject of its own, whose key is made by whatever store key is the newest.
                    place.ok(&["remember", &format!("writer {writer} memory {n}"), "--subject", &format!("person {writer} {n}")]);
                    place.ok(&["memory", "list"]);
                }
            });
        }
        for _ in 0..2 {
            s.spawn(|| (0..3).for_each(|_| drop(place.ok(&["keys", "rotate", "--store-key"]))));
        }
    });
    let report = place.ok(&["verify"]);
    assert_eq!((report["verdict"].as_str(), report["bodies"]["locked"].as_u64()), (Some("intact"), Some(0)), "{report:#}");
    assert_eq!(place.ok(&["memory", "list"])["memories"].as_array().map(Vec::len), Some(writers * each));
    let done = place.ok(&["keys", "rotate", "--store-key"]);
    // Nothing was left under an older key: the last one begins anew. Two that
    // met may have made one key for both.
    let (key, rewrapped) = (done["store_key"].as_u64().unwrap(), done["rewrapped"].as_u64().unwrap());
    assert!((3..=7).contains(&key) && rewrapped as usize > writers * each && done["completed"] == false, "{done}");
}
