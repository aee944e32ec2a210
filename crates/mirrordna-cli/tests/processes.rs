//! Several processes on one database, and processes that die.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna::{Code, Engine, IdentityType, Keys, NewIdentity, Witness};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("m.db")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command.env_clear().envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.env("MIRRORDNA_KEYS", self.0.path().join("keys")).env("MIRRORDNA_STATE", self.0.path().join("state"));
        command.env("MIRRORDNA_STORE", self.path()).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn json(&self, args: &[&str]) -> Value {
        let out = self.command(&[args, &["--json"]].concat()).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    fn open(&self) -> Engine {
        let builder = Engine::builder(self.path().to_str().unwrap());
        builder.keys(Keys::Folder(self.0.path().join("keys"))).witness(Witness::Folder(self.0.path().join("state"))).open().unwrap()
    }
}

fn chat(path: &Path, turns: usize) {
    let lines: Vec<String> = (0..turns)
        .map(|i| {
            format!(
                r#"{{"speaker":"Sam","text":"turn number {i} of a long talk","id":"{i}","session":"s{}","ns":"talk{}"}}"#,
                i / 40,
                i % 3
            )
        })
        .collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

#[test]
fn eight_processes_write_as_one_actor_while_one_verifies() {
    let place = Place::new();
    place.json(&["identity", "create", "agent", "--name", "Ada"]);
    std::thread::scope(|s| {
        for process in 0..8 {
            let place = &place;
            s.spawn(move || {
                for i in 0..6 {
                    place.json(&["remember", &format!("process {process} memory {i}")]);
                }
            });
        }
        s.spawn(|| {
            for _ in 0..5 {
                let report = place.json(&["verify"]);
                assert_eq!(report["verdict"], "intact", "{report:#}");
            }
        });
    });
    let report = place.json(&["verify"]);
    assert_eq!((report["verdict"].as_str(), report["unsigned"].as_u64()), (Some("intact"), Some(0)), "{report:#}");
    assert_eq!(place.open().memories().count().unwrap(), 48);
}

#[test]
fn one_process_changes_the_key_by_which_others_write() {
    let place = Place::new();
    place.json(&["identity", "create", "agent", "--name", "Ada"]);
    // This process holds an epoch all the while.
    let engine = place.open();
    let ada = engine.identities().find("Ada").unwrap();
    std::thread::scope(|s| {
        for process in 0..3 {
            let place = &place;
            s.spawn(move || {
                for i in 0..4 {
                    place.json(&["remember", &format!("process {process} memory {i}")]);
                }
            });
        }
        let rotating = s.spawn(|| (0..3).for_each(|_| drop(place.json(&["identity", "rotate", "Ada"]))));
        let mut written = 0;
        while written < 20 || !rotating.is_finished() {
            ada.memories().add(format!("mine {written}")).send().unwrap();
            written += 1;
        }
        let log = place.json(&["identity", "log", "Ada"]);
        assert_eq!(log["versions"].as_array().unwrap().len(), 4, "{log:#}");
    });
    ada.memories().add("at last").send().unwrap();
    drop(ada);
    let count = engine.memories().count().unwrap();
    assert!(count >= 33, "{count}");
    engine.close().unwrap();
    let report = place.json(&["verify"]);
    assert_eq!((report["verdict"].as_str(), report["disputed"].as_array().map(Vec::len)), (Some("intact"), Some(0)), "{report:#}");
}

/// Files in a folder with this ending.
fn count_files(folder: &Path, ending: &str) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    names.filter(|n| n.to_string_lossy().ends_with(ending)).count()
}

#[test]
fn processes_that_create_one_database_at_once_share_one() {
    for (round, args) in [&["init"][..], &["identity", "create", "agent"]].into_iter().cycle().take(16).enumerate() {
        let place = Place::new();
        let started: Vec<_> = (0..6).map(|_| place.command(&[args, &["--json"]].concat()).spawn().unwrap()).collect();
        let mut databases = std::collections::BTreeSet::new();
        let mut made = 0;
        for child in started {
            let out = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr }).into_owned();
            let said: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{said}"));
            if args == ["init"] && !out.status.success() {
                // Started when it was there already.
                assert_eq!(said["error"]["name"], "record.exists", "round {round}: {said:#}");
                continue;
            }
            assert!(out.status.success(), "round {round}: {said:#}");
            databases.extend(said["database"].as_str().map(str::to_owned));
            made += 1;
        }
        assert!(made > 0 && databases.len() <= 1, "round {round}: {databases:?}");
        let keys = place.0.path().join("keys");
        assert_eq!((count_files(&keys, ".keys"), count_files(&keys, ".recovery")), (1, 1), "round {round}");
        let report = place.json(&["verify"]);
        assert_eq!(report["verdict"], "intact", "round {round}: {report:#}");
        if args != ["init"] {
            assert_eq!(place.open().identities().list().unwrap().len(), made, "round {round}");
        }
    }
}

#[test]
fn commands_that_only_read_leave_only_what_was_there() {
    let place = Place::new();
    place.json(&["identity", "create", "agent", "--name", "Ada"]);
    place.json(&["remember", "the harbour closes at nine"]);
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(place.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        (names, std::fs::read(place.path()).unwrap())
    };
    let before = files();
    for args in [&["verify"][..], &["recall", "harbour"], &["timeline", "list"], &["identity", "list"], &["doctor"]] {
        place.command(args).output().unwrap();
        let after = files();
        assert_eq!(after.0, before.0, "{args:?}");
        assert!(after.1 == before.1, "{args:?} changed the database");
    }
}

#[test]
fn a_creation_that_fails_takes_no_other_with_it() {
    let mut survived = 0;
    for round in 0..20 {
        let place = Place::new();
        let no_folder = place.0.path().join("file");
        std::fs::write(&no_folder, "no folder for keys").unwrap();
        let failing = || place.command(&["init"]).env("MIRRORDNA_KEYS", no_folder.join("keys")).spawn().unwrap();
        let mut children = vec![failing(), failing()];
        let good = place.command(&["identity", "create", "agent"]).spawn().unwrap();
        children.push(failing());
        let good = good.wait_with_output().unwrap();
        for mut child in children {
            assert!(!child.wait().unwrap().success() || good.status.success());
        }
        // It may have lost the file that it was about to use, but never one
        // that holds what was acknowledged.
        if good.status.success() {
            survived += 1;
            let report = place.json(&["verify"]);
            assert_eq!((report["verdict"].as_str(), report["identities"].as_u64()), (Some("intact"), Some(1)), "round {round}: {report:#}");
        }
    }
    assert!(survived > 0);
    // Alone, a creation that fails leaves nothing.
    let place = Place::new();
    let out = place.command(&["init"]).env("MIRRORDNA_KEYS", "/dev/null/keys").output().unwrap();
    assert!(!out.status.success());
    assert_eq!(std::fs::read_dir(place.0.path()).unwrap().count(), 0);
}

#[test]
fn a_tail_shows_what_other_processes_append_each_event_once() {
    use std::io::BufRead;
    let place = Place::new();
    for name in ["Ada", "Bob"] {
        place.json(&["identity", "create", "agent", "--name", name]);
    }
    let mut tail = place.command(&["timeline", "tail", "--from", "0", "--json"]).spawn().unwrap();
    let mut lines = std::io::BufReader::new(tail.stdout.take().unwrap()).lines();
    std::thread::scope(|s| {
        for name in ["Ada", "Bob"] {
            let place = &place;
            s.spawn(move || {
                (0..5).for_each(|n| drop(place.json(&["timeline", "append", "step.done", &n.to_string(), "--identity", name])))
            });
        }
        let (mut leaves, mut steps) = (Vec::new(), 0);
        while steps < 10 {
            let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            leaves.push(event["leaf"].as_u64().unwrap());
            steps += usize::from(event["event_type"] == "step.done");
        }
        assert!(leaves.iter().copied().eq(0..leaves.len() as u64), "{leaves:?}");
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(place.json(&["verify"])["verdict"], "intact");
}

#[test]
fn an_import_killed_again_and_again_ends_whole() {
    let place = Place::new();
    let file = place.0.path().join("chat.jsonl");
    chat(&file, 3_000);
    place.json(&["init"]);
    let mut killed = 0;
    // Ever longer, so that each round dies at another point of the work.
    for round in 0..12u64 {
        let mut child = place.command(&["import", file.to_str().unwrap()]).spawn().unwrap();
        let mut grown = 0;
        let start = std::fs::metadata(place.path()).map_or(0, |m| m.len());
        while grown < round * 40_000 && child.try_wait().unwrap().is_none() {
            let wal = std::fs::metadata(place.path().with_extension("db-wal")).map_or(0, |m| m.len());
            grown = wal + std::fs::metadata(place.path()).map_or(0, |m| m.len()) - start.min(wal + start);
            std::thread::yield_now();
        }
        killed += i32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let report = place.json(&["verify"]);
        assert_eq!(report["verdict"], "intact", "round {round}: {report:#}");
    }
    assert!(killed > 3, "only {killed} imports were killed at work");
    let report = place.json(&["import", file.to_str().unwrap()]);
    assert_eq!((report["kept"].as_u64(), report["refused"].as_u64()), (Some(3_000), Some(0)));
    assert_eq!(place.json(&["import", file.to_str().unwrap()])["events"], 0);
    let engine = place.open();
    assert_eq!(engine.memories().count().unwrap(), 3_000);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_cancelled_posix_lock_costs_nothing() {
    let place = Place::new();
    let engine = place.open();
    let named = NewIdentity { name: Some("Ada".into()), ..NewIdentity::default() };
    let agent = engine.identities().create_with(IdentityType::Agent, named).unwrap();
    for round in 0..5 {
        agent.memories().add(format!("ours {round}")).send().unwrap();
        // What a careless host does: this cancels SQLite's locks on the file,
        // and the next process believes that it is the last one.
        drop(std::fs::File::open(place.path()).unwrap());
        place.json(&["remember", &format!("theirs {round}"), "--identity", "Ada"]);
    }
    assert_eq!(engine.memories().count().unwrap(), 10);
    drop(agent);
    engine.close().unwrap();
    assert_eq!(place.json(&["verify"])["verdict"], "intact");
}

#[test]
fn a_log_deleted_by_another_sqlite_is_noticed_before_the_next_acknowledgement() {
    let Ok(python) = Command::new("python3").args(["-c", "import sqlite3"]).status() else {
        eprintln!("skipped: no python3 with sqlite3");
        return;
    };
    if !python.success() {
        eprintln!("skipped: no python3 with sqlite3");
        return;
    }
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add("acknowledged").send().unwrap();
    drop(std::fs::File::open(place.path()).unwrap());
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('select count(*) from event').fetchone(); c.close()";
    assert!(Command::new("python3").args(["-c", script, place.path().to_str().unwrap()]).status().unwrap().success());
    let wal_gone = !place.path().with_extension("db-wal").exists();
    let next = agent.memories().add("after").send();
    match next {
        Err(e) => assert!(matches!(e.code(), Code::StoreReplaced), "{e}"),
        Ok(_) => assert!(!wal_gone, "a deleted write-ahead log was not noticed"),
    }
    drop((agent, engine));
    // What was acknowledged before is in the file that Python folded it into.
    let engine = place.open();
    assert!(engine.memories().search("acknowledged").run().unwrap().len() == 1);
    assert!(engine.verify().unwrap().is_intact());
}
