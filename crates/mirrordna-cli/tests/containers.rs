//! Where a database and what remembers its head are not on one well-kept
//! machine: containers, other users, copied files, restored images, two hosts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Nobody's user and group.
const NOBODY: u32 = 65_534;

/// A machine: a folder for each thing that one keeps.
struct Host {
    root: PathBuf,
    uid: Option<u32>,
    env: Vec<(&'static str, PathBuf)>,
}

impl Host {
    fn new(root: &Path) -> Self {
        let env = [("MIRRORDNA_STORE", "data/m.db"), ("MIRRORDNA_KEYS", "keys"), ("MIRRORDNA_STATE", "state")];
        std::fs::create_dir_all(root.join("data")).unwrap();
        Self { root: root.to_owned(), uid: None, env: env.map(|(name, at)| (name, root.join(at))).into() }
    }

    fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.env.retain(|(n, _)| *n != name);
        self.env.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| *n != name);
        self
    }

    /// The same machine for another user.
    fn of(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program(self.uid));
        command.args(args).arg("--json").env_clear().envs(profile()).current_dir("/");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Value {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Exit status and name of the error.
    fn fails(&self, args: &[&str]) -> (i32, String, String) {
        let out = self.run(args);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let error: Value = text.lines().rev().find_map(|l| serde_json::from_str(l).ok()).unwrap_or_else(|| panic!("{args:?}: {text}"));
        (out.status.code().unwrap(), error["error"]["name"].as_str().unwrap().to_owned(), error.to_string())
    }

    /// Exit status, verdict and freshness.
    fn verify(&self) -> (i32, String, String) {
        let out = self.run(&["verify"]);
        let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
        (out.status.code().unwrap(), report["verdict"].as_str().unwrap().to_owned(), report["freshness"].as_str().unwrap().to_owned())
    }

    fn begin(&self) {
        self.ok(&["identity", "create", "agent", "--name", "Ada"]);
    }

    fn remember(&self, text: &str) {
        self.ok(&["remember", text]);
    }

    fn database(&self) -> PathBuf {
        self.env.iter().find(|(n, _)| *n == "MIRRORDNA_STORE").unwrap().1.clone()
    }
}

/// The program, where the user may run it: the build folder may be closed to others.
fn program(uid: Option<u32>) -> PathBuf {
    static COPY: std::sync::OnceLock<(tempfile::TempDir, PathBuf)> = std::sync::OnceLock::new();
    let own = PathBuf::from(env!("CARGO_BIN_EXE_mirrordna"));
    if uid.is_none() {
        return own;
    }
    let (_dir, path) = COPY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("mirrordna");
        std::fs::copy(&own, &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, path)
    });
    path.clone()
}

/// Whether the tests may become another user; only root may.
fn may_change_user() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    if !root {
        eprintln!("skipped: only root can become another user");
    }
    root
}

fn open_folder(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Copies a database that nobody has open.
fn copy(from: &Host, to: &Path) {
    std::fs::copy(from.database(), to).unwrap();
}

#[test]
fn a_container_without_a_home_works_and_says_that_freshness_is_unproven() {
    let dir = tempfile::tempdir().unwrap();
    let bare = Host::new(dir.path()).without("MIRRORDNA_STATE");
    bare.begin();
    bare.remember("one");
    assert_eq!(bare.verify(), (0, "intact".into(), "unproven".into()), "the keyring vouches, nothing remembers");
    let doctor: Value = serde_json::from_slice(&bare.run(&["doctor"]).stdout).unwrap();
    let witness = doctor["checks"].as_array().unwrap().iter().find(|c| c["name"] == "head witness").unwrap().clone();
    assert!(witness["ok"] == false && witness["advice"].as_str().unwrap().contains("MIRRORDNA_STATE"), "{witness}");
    // An older copy passes, which is what unproven means.
    let old = dir.path().join("old.db");
    copy(&bare, &old);
    bare.remember("two");
    copy(&Host::new(dir.path()).with("MIRRORDNA_STORE", &old), &bare.database());
    assert_eq!(bare.verify(), (0, "intact".into(), "unproven".into()));
    // A folder that outlives the container is enough to be told.
    let kept = Host::new(dir.path());
    kept.remember("three");
    assert_eq!(kept.verify(), (0, "intact".into(), "current".into()));
    copy(&Host::new(dir.path()).with("MIRRORDNA_STORE", &old), &kept.database());
    assert_eq!((kept.verify().0, kept.fails(&["remember", "four"]).1.as_str()), (1, "log.rolled_back"));
    // Without any place for keys nothing is made, and the variable is named.
    let (status, name, text) = Host::new(&dir.path().join("none")).without("MIRRORDNA_STATE").without("MIRRORDNA_KEYS").fails(&["init"]);
    assert!(status == 12 && name == "key.missing" && text.contains("MIRRORDNA_KEYS"), "{text}");
    // What is there is verified all the same, as by a stranger.
    assert_eq!(bare.without("MIRRORDNA_KEYS").verify(), (3, "unproven".into(), "unproven".into()));
}

#[test]
fn a_container_of_another_user_with_a_closed_root_needs_two_folders() {
    if !may_change_user() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    open_folder(dir.path());
    let host = Host::new(dir.path()).of(NOBODY).with("HOME", "/").without("MIRRORDNA_STATE").without("MIRRORDNA_KEYS");
    chown(dir.path().join("data"), Some(NOBODY), Some(NOBODY)).unwrap();
    // Its home is the root, which is not its own.
    let (status, _, text) = host.fails(&["init"]);
    assert!(status == 14 && text.contains("MIRRORDNA_KEYS"), "{text}");
    assert!(!host.database().exists(), "nothing is left of a database without keys");
    let host = host.with("MIRRORDNA_KEYS", dir.path().join("data/keys"));
    host.begin();
    host.remember("one");
    // A witness that cannot be written is none, and no error.
    assert_eq!(host.verify(), (0, "intact".into(), "unproven".into()));
    let host = host.with("MIRRORDNA_STATE", dir.path().join("data/state"));
    host.remember("two");
    assert_eq!(host.verify(), (0, "intact".into(), "current".into()));
}

#[test]
fn another_user_reads_what_is_public_and_is_refused_the_rest() {
    if !may_change_user() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let owner = Host::new(dir.path());
    owner.begin();
    owner.remember("one");
    let old = dir.path().join("old.db");
    copy(&owner, &old);
    owner.remember("two");
    let before = std::fs::read(owner.database()).unwrap();
    for folder in ["", "data", "state"] {
        open_folder(&dir.path().join(folder));
    }
    let other = Host::new(dir.path()).of(NOBODY);
    let report = other.run(&["verify"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&report.stderr)));
    assert_eq!((report["verdict"].as_str(), report["bodies"]["locked"].as_u64()), (Some("unproven"), Some(3)), "{report}");
    let (status, name, text) = other.fails(&["memory", "list"]);
    assert!(status == 12 && name == "key.missing" && text.contains("may not be read"), "{text}");
    let (status, name, _) = other.fails(&["remember", "not mine"]);
    assert!((status, name.as_str()) == (14, "store.read_only") || (status, name.as_str()) == (12, "key.missing"), "{status} {name}");
    assert!(other.run(&["timeline", "list"]).status.success());
    // It left no trace.
    assert_eq!(std::fs::read(owner.database()).unwrap(), before);
    assert_eq!(
        std::fs::read_dir(dir.path().join("data")).unwrap().filter(|e| e.as_ref().unwrap().metadata().unwrap().uid() == NOBODY).count(),
        0
    );
    // A witness that it may read, though not write, warns it too.
    for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
        std::fs::set_permissions(entry.unwrap().path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(other.verify(), (0, "intact".into(), "current".into()));
    std::fs::copy(&old, owner.database()).unwrap();
    assert_eq!((other.verify().0, other.fails(&["timeline", "list"]).1.as_str()), (1, "log.rolled_back"));
}

#[test]
fn a_witness_that_cannot_be_written_lags_and_still_refuses() {
    if !may_change_user() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    open_folder(dir.path());
    let host = Host::new(dir.path())
        .of(NOBODY)
        .with("MIRRORDNA_KEYS", dir.path().join("data/keys"))
        .with("MIRRORDNA_STATE", dir.path().join("data/state"));
    chown(dir.path().join("data"), Some(NOBODY), Some(NOBODY)).unwrap();
    host.begin();
    let (old, state) = (dir.path().join("old.db"), dir.path().join("data/state"));
    copy(&host, &old);
    host.remember("seen");
    // As on a root that became read-only.
    let files: Vec<PathBuf> = std::fs::read_dir(&state).unwrap().map(|e| e.unwrap().path()).collect();
    for path in files.iter().chain([&state]) {
        chown(path, Some(0), Some(0)).unwrap();
        let mode = if path == &state { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let remembered: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).unwrap()).collect();
    host.remember("unseen");
    assert_eq!(host.verify(), (0, "intact".into(), "current".into()), "longer than what is remembered");
    assert_eq!(files.iter().map(|f| std::fs::read(f).unwrap()).collect::<Vec<_>>(), remembered);
    std::fs::copy(&old, host.database()).unwrap();
    assert_eq!(host.fails(&["remember", "again"]).1, "log.rolled_back");
}

#[test]
fn a_read_only_root_is_read_and_warned_of_an_older_copy() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path());
    host.begin();
    host.remember("one");
    let old = dir.path().join("old.db");
    copy(&host, &old);
    host.remember("two");
    // A mount of its own, seen by nobody else and gone with the shell.
    let read_only = |args: &[&str]| {
        let script = r#"mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99; shift; exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(dir.path()).arg(program(None)).args(args).arg("--json").env_clear();
        command.envs(profile()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(host.env.iter().map(|(name, value)| (name, value)));
        command.output()
    };
    let verified = match read_only(&["verify"]) {
        Ok(out) if matches!(out.status.code(), Some(0..=20)) && !String::from_utf8_lossy(&out.stderr).contains("unshare:") => out,
        _ => {
            eprintln!("skipped: no unshare, or this user may not mount");
            return;
        }
    };
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((report["verdict"].as_str(), report["freshness"].as_str()), (Some("intact"), Some("current")), "{report}");
    let listed: Value = serde_json::from_slice(&read_only(&["memory", "list"]).unwrap().stdout).unwrap();
    assert!(listed.to_string().contains("two"), "{listed}");
    let refused = |args: &[&str]| -> String {
        let error: Value = serde_json::from_slice(&read_only(args).unwrap().stderr).unwrap();
        error["error"]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused(&["remember", "nowhere"]), "store.read_only");
    std::fs::copy(&old, host.database()).unwrap();
    assert_eq!(refused(&["memory", "list"]), "log.rolled_back");
    // Where it is asked for, it is read.
    let old = read_only(&["memory", "list", "--as-of"]).unwrap();
    assert!(old.status.success() && String::from_utf8_lossy(&old.stdout).contains("one"), "{}", String::from_utf8_lossy(&old.stderr));
}

#[test]
fn a_copied_file_is_a_copy_that_lags_until_somebody_writes_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path());
    host.begin();
    let (same, lagging) = (dir.path().join("same.db"), dir.path().join("lagging.db"));
    copy(&host, &lagging);
    host.remember("one");
    copy(&host, &same);
    let of = |path: &Path| Host::new(dir.path()).with("MIRRORDNA_STORE", path);
    assert_eq!(of(&same).verify(), (0, "intact".into(), "current".into()));
    let (status, verdict, freshness) = of(&lagging).verify();
    assert_eq!((status, verdict.as_str()), (0, "intact"), "a copy is not accused");
    assert!(freshness.starts_with("behind "), "{freshness}");
    // But nobody takes it for the newest.
    assert_eq!(of(&lagging).fails(&["memory", "list"]).1, "log.rolled_back");
    assert_eq!(of(&lagging).fails(&["remember", "two"]).1, "log.rolled_back");
    // Both go on: the second to do so is told.
    host.remember("in the first");
    assert_eq!(of(&same).fails(&["remember", "in the second"]).1, "log.rolled_back");
    of(&same).with("MIRRORDNA_STATE", "off").remember("in the second, unseen, and some more to be longer");
    (0..4).for_each(|n| of(&same).with("MIRRORDNA_STATE", "off").remember(&format!("more {n}")));
    assert_eq!(of(&same).fails(&["memory", "list"]).1, "log.forked");
    assert_eq!((of(&same).verify().0, of(&same).verify().2.as_str()), (1, "forked"));
    assert_eq!(host.verify(), (0, "intact".into(), "current".into()));
}

#[test]
fn a_restored_image_cannot_be_told_from_within_and_is_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let (machine, image, outside) = (dir.path().join("machine"), dir.path().join("image"), dir.path().join("outside"));
    let host = Host::new(&machine);
    let watched = || Host::new(&machine).with("MIRRORDNA_STATE", &outside);
    host.begin();
    host.remember("one");
    assert!(Command::new("cp").arg("-a").args([&machine, &image]).status().unwrap().success());
    host.remember("two");
    watched().remember("three");
    std::fs::remove_dir_all(&machine).unwrap();
    assert!(Command::new("cp").arg("-a").args([&image, &machine]).status().unwrap().success());
    // The stated limit: database, keys and witness are older together.
    assert_eq!(host.verify(), (0, "intact".into(), "current".into()));
    // A folder outside of the image remembers.
    assert_eq!((watched().verify().0, watched().fails(&["remember", "four"]).1.as_str()), (1, "log.rolled_back"));
    // Gone on from unawares, it contradicts what was seen outside.
    (0..6).for_each(|n| host.remember(&format!("after the restore {n}")));
    assert_eq!((watched().verify().2.as_str(), watched().fails(&["memory", "list"]).1.as_str()), ("forked", "log.forked"));
}

#[test]
fn two_hosts_with_one_file_are_told_when_they_meet() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Host::new(&dir.path().join("a")), Host::new(&dir.path().join("b")));
    a.begin();
    a.remember("one");
    // The file and the keys go to another host, which has seen nothing.
    copy(&a, &b.database());
    assert!(Command::new("cp").arg("-a").args([a.root.join("keys"), b.root.join("keys")]).status().unwrap().success());
    assert_eq!(b.verify(), (0, "intact".into(), "unproven".into()));
    // It goes on there: so far this is a move.
    b.remember("two, on the second host");
    assert_eq!(b.verify(), (0, "intact".into(), "current".into()));
    copy(&b, &a.database());
    assert_eq!(a.verify(), (0, "intact".into(), "current".into()), "the first takes what extends what it has seen");
    // Both go on, each by itself: nobody can tell until one sees the other's.
    a.remember("three, on the first");
    (0..4).for_each(|n| b.remember(&format!("three, on the second {n}")));
    assert_eq!((a.verify().0, b.verify().0), (0, 0));
    copy(&b, &a.database());
    assert_eq!((a.verify().2.as_str(), a.fails(&["memory", "list"]).1.as_str()), ("forked", "log.forked"));
    // The way on is to say so.
    let fork = a.run(&["fork", "--help"]);
    assert!(fork.status.success());
}

#[test]
fn the_witness_is_kept_where_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let base = || Host::new(dir.path()).without("MIRRORDNA_STATE");
    let (xdg, home, named, configured) =
        (dir.path().join("xdg"), dir.path().join("home"), dir.path().join("named"), dir.path().join("configured"));
    let config = dir.path().join("config.toml");
    std::fs::write(&config, format!("state = \"{}\"\n", configured.display())).unwrap();
    let count = |folder: &Path| std::fs::read_dir(folder).map_or(0, Iterator::count);
    base().begin();
    let places = [
        (base().with("HOME", &home), home.join(".local/state/mirrordna/witness")),
        (base().with("HOME", &home).with("XDG_STATE_HOME", &xdg), xdg.join("mirrordna/witness")),
        (base().with("HOME", &home).with("XDG_STATE_HOME", &xdg).with("MIRRORDNA_STATE", &named), named),
        (base().with("HOME", &home).with("MIRRORDNA_CONFIG", &config), configured),
    ];
    for (host, folder) in &places {
        assert_eq!((host.verify().2.as_str(), count(folder)), ("unproven", 0), "{}", folder.display());
        host.remember("seen here");
        assert_eq!((host.verify().2.as_str(), count(folder)), ("current", 1), "{}", folder.display());
    }
    let before = std::fs::read(std::fs::read_dir(&places[0].1).unwrap().next().unwrap().unwrap().path()).unwrap();
    let off = base().with("HOME", &home).with("MIRRORDNA_STATE", "off");
    off.remember("unseen");
    assert_eq!(off.verify().2, "unproven");
    assert_eq!(std::fs::read(std::fs::read_dir(&places[0].1).unwrap().next().unwrap().unwrap().path()).unwrap(), before);
}

/// Where a measured process is to write its profile: not beside the database.
fn profile() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file))
}
