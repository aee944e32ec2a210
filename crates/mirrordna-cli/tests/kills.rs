//! Processes that are killed or interrupted while they write, and many writers
//! that speak for one actor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use mirrordna::{AdoptOptions, Content, Engine, IdentityType, Keys, NewMemory, Witness};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Place(tempfile::TempDir);

fn builder(root: &Path) -> mirrordna::Builder {
    let builder = Engine::builder(root.join("m.db").to_str().unwrap());
    builder.keys(Keys::Folder(root.join("keys"))).witness(Witness::Folder(root.join("state")))
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let engine = builder(place.root()).open().unwrap();
        engine.identities().create(IdentityType::Agent).unwrap();
        engine.close().unwrap();
        place
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// This test binary again, as a writer of its own: `threads` that append
    /// `each` memories, printing every acknowledged one before the next.
    fn writer(&self, threads: usize, each: usize) -> Child {
        self.start("a_writer_in_a_process_of_its_own", threads, each)
    }

    fn start(&self, part: &str, threads: usize, each: usize) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]).env_clear().envs(profile());
        command.env("WRITER_ROOT", self.root()).env("WRITER_THREADS", threads.to_string()).env("WRITER_EACH", each.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
    }

    fn cli(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrordna"));
        command
            .env_clear()
            .envs(profile())
            .env("MIRRORDNA_KEYS", self.root().join("keys"))
            .env("MIRRORDNA_STATE", self.root().join("state"));
        command.env("MIRRORDNA_STORE", self.root().join("m.db")).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The same command, which ctrl-C ends also where whoever started the tests, in
/// the background perhaps, lets all that they start ignore it.
fn interruptible(command: &Command) -> Command {
    let mut through = Command::new("/usr/bin/env");
    through.arg("--default-signal=INT").arg(command.get_program()).args(command.get_args()).env_clear();
    through.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    through.stdout(Stdio::piped()).stderr(Stdio::piped());
    through
}

/// The ids in what a writer prints; a line that a kill cut short is none.
fn acknowledged(line: &str) -> Option<String> {
    line.split_once("acknowledged ").and_then(|(_, id)| id.strip_suffix(" .")).map(str::to_owned)
}

#[test]
#[ignore = "the part that runs in processes of its own"]
fn a_writer_in_a_process_of_its_own() {
    let var = |name: &str| std::env::var(name).unwrap();
    let root = PathBuf::from(var("WRITER_ROOT"));
    let (threads, each): (usize, usize) = (var("WRITER_THREADS").parse().unwrap(), var("WRITER_EACH").parse().unwrap());
    let engine = builder(&root).create(false).open().unwrap();
    let agent = engine.identities().list().unwrap().remove(0);
    std::thread::scope(|s| {
        for thread in 0..threads {
            let agent = &agent;
            s.spawn(move || {
                for i in 0..each {
                    let written =
                        agent.memories().add(format!("process {} thread {thread} memory {i}", std::process::id())).send().unwrap();
                    println!("acknowledged {} .", written.id);
                }
            });
        }
    });
    drop(agent);
    engine.close().unwrap();
}

#[test]
#[ignore = "the part that runs in processes of its own"]
fn a_creator_in_a_process_of_its_own() {
    let var = |name: &str| std::env::var(name).unwrap();
    let root = PathBuf::from(var("WRITER_ROOT"));
    let (threads, each): (usize, usize) = (var("WRITER_THREADS").parse().unwrap(), var("WRITER_EACH").parse().unwrap());
    let engine = builder(&root).create(false).open().unwrap();
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| {
                for _ in 0..each {
                    println!("acknowledged {} .", engine.identities().create(IdentityType::Agent).unwrap().id());
                }
            });
        }
    });
    engine.close().unwrap();
}

#[test]
#[ignore = "the part that runs in processes of its own"]
fn an_adopter_in_a_process_of_its_own() {
    let root = PathBuf::from(std::env::var("WRITER_ROOT").unwrap());
    let engine = builder(&root).create(false).open().unwrap();
    let mut file = BufReader::new(std::fs::File::open(root.join("other.mdna")).unwrap());
    let options = AdoptOptions::default().keys_from(Keys::Folder(root.join("other")));
    let adopted = engine.main().adopt_with(&mut file, &options, &mut |done, of| {
        // Goes on when it is told to.
        println!("acknowledged {done}/{of} .");
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    });
    println!("acknowledged {} .", adopted.unwrap().events);
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    engine.close().unwrap();
}

#[test]
fn an_adoption_that_is_killed_leaves_nothing_of_it() {
    let place = Place::new();
    let other = place.root().join("other");
    std::fs::create_dir(&other).unwrap();
    let engine = builder(&other).keys(Keys::Folder(other.clone())).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let new = |i: usize| NewMemory { content: Content::Text(format!("memory {i}")), ..NewMemory::default() };
    for start in (0..9_000).step_by(1_000) {
        agent.memories().add_all((start..start + 1_000).map(new).collect()).unwrap();
    }
    engine.export(&mut std::fs::File::create(place.root().join("other.mdna")).unwrap()).unwrap();
    drop(agent);
    engine.close().unwrap();

    let (mut stop, mut stopped) = (1, Vec::new());
    loop {
        let mut child = place.start("an_adopter_in_a_process_of_its_own", 1, 1);
        let mut tell = child.stdin.take().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(|line| acknowledged(&line.unwrap_or_default()).or(Some(String::new())));
        let marks = (&mut said).filter(|mark| !mark.is_empty());
        let mut last = String::new();
        for (nth, mark) in (1..).zip(marks) {
            last = mark;
            if nth == stop || !last.contains('/') {
                break;
            }
            tell.write_all(b"\n").unwrap();
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "it was not killed at work");
        let engine = builder(place.root()).open().unwrap();
        let adopted = engine.main().adopted().unwrap();
        let report = engine.verify().unwrap();
        assert!(report.is_intact(), "{report:#?}");
        if !last.contains('/') {
            // That it said so, it did.
            assert_eq!((adopted.len(), engine.memories().count().unwrap()), (1, 9_000));
            engine.close().unwrap();
            break;
        }
        assert_eq!((adopted.len(), report.logs.len(), engine.memories().count().unwrap()), (0, 1, 0), "{last}");
        engine.close().unwrap();
        stopped.push(last);
        stop += 1;
    }
    // While it verified, and while it brought events over.
    let half = |mark: &String| mark.split_once('/').is_some_and(|(done, of)| 2 * done.parse::<u64>().unwrap() > of.parse::<u64>().unwrap());
    assert!(stopped.iter().any(half) && !stopped.iter().all(half), "{stopped:?}");
    let left: Vec<_> = std::fs::read_dir(place.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("adopting")), "{left:?}");
}

/// Every identity that is there can write, whoever made it; returns their ids.
fn all_can_write(root: &Path) -> BTreeSet<String> {
    let engine = builder(root).open().unwrap();
    let all = engine.identities().list().unwrap();
    for identity in &all {
        identity.memories().add("with a key of its own").send().unwrap();
    }
    engine.close().unwrap();
    let report = builder(root).verify().unwrap();
    assert!(report.is_intact() && report.unsigned == 0, "{report:#?}");
    all.iter().map(|i| i.id().to_owned()).collect()
}

#[test]
fn creators_in_threads_and_processes_all_get_their_keys() {
    let place = Place::new();
    let children: Vec<Child> = (0..4).map(|_| place.start("a_creator_in_a_process_of_its_own", 4, 8)).collect();
    let mut made = BTreeSet::new();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        made.extend(String::from_utf8(out.stdout).unwrap().lines().filter_map(acknowledged));
    }
    let there = all_can_write(place.root());
    assert!(made.len() == 4 * 4 * 8 && made.is_subset(&there) && there.len() == made.len() + 1);
}

#[test]
fn killed_creators_leave_no_identity_without_its_keys() {
    let place = Place::new();
    let mut known = BTreeSet::new();
    for round in 0..20usize {
        let mut child = place.start("a_creator_in_a_process_of_its_own", 1 + round % 4, 10_000);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = round * 5 % 13;
        while left > 0 {
            if let Some(id) = acknowledged(&lines.next().expect("the creator ended by itself").unwrap()) {
                known.insert(id);
                left -= 1;
            }
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "round {round}: the creator was not killed at work");
        known.extend(lines.filter_map(|l| acknowledged(&l.unwrap_or_default())));
        let there = all_can_write(place.root());
        assert!(known.is_subset(&there), "round {round}: {:?}", known.difference(&there).collect::<Vec<_>>());
    }
    assert!(known.len() > 80);
    // Keys whose commit never came are all that may be left over.
    let keyring = std::fs::read_dir(place.root().join("keys")).unwrap().map(|e| e.unwrap().path());
    let keyring = keyring.into_iter().find(|p| p.extension().is_some_and(|e| e == "keys")).unwrap();
    let slots = std::fs::read_to_string(keyring).unwrap().matches(r#""role":"actor""#).count();
    assert!(slots > all_can_write(place.root()).len());
}

#[test]
fn fifty_killed_writers_lose_nothing_they_acknowledged() {
    let place = Place::new();
    let mut known = BTreeSet::new();
    for round in 0..50usize {
        let mut child = place.writer(1 + round % 4, 10_000);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Another moment of its work in each round, some before the first event.
        let mut left = round * 7 % 23;
        while left > 0 {
            let line = lines.next().expect("the writer ended by itself").unwrap();
            if let Some(id) = acknowledged(&line) {
                known.insert(id);
                left -= 1;
            }
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "round {round}: the writer was not killed at work");
        known.extend(lines.filter_map(|l| acknowledged(&l.unwrap_or_default())));
        let engine = builder(place.root()).open().unwrap();
        assert!(engine.memories().count().unwrap() >= known.len() as u64, "round {round}");
        let there: BTreeSet<String> = engine.memories().list(0, 10_000).unwrap().into_iter().map(|m| m.id).collect();
        assert!(known.is_subset(&there), "round {round}: {:?}", known.difference(&there).collect::<Vec<_>>());
        let report = engine.verify().unwrap();
        assert!(report.is_intact(), "round {round}: {report:#?}");
    }
    eprintln!("{} events were acknowledged", known.len());
    assert!(known.len() > 400);
    assert!(builder(place.root()).verify().unwrap().is_intact());
}

#[test]
fn threads_and_processes_write_as_one_actor_while_one_verifies() {
    const THREADS: u64 = 64;
    const EACH: u64 = 4;
    const PROCESSES: usize = 8;
    let place = Place::new();
    let engine = builder(place.root()).open().unwrap();
    let agent = engine.identities().list().unwrap().remove(0);
    let writers: Vec<Child> = (0..PROCESSES).map(|_| place.writer(2, 6)).collect();
    std::thread::scope(|s| {
        for thread in 0..THREADS {
            let agent = &agent;
            s.spawn(move || (0..EACH).for_each(|i| drop(agent.memories().add(format!("thread {thread} memory {i}")).send().unwrap())));
        }
        s.spawn(|| {
            for _ in 0..4 {
                let out = place.cli(&["verify"]).output().unwrap();
                assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            }
        });
    });
    let mut known = 0;
    for mut writer in writers {
        known += BufReader::new(writer.stdout.take().unwrap()).lines().filter_map(|l| acknowledged(&l.unwrap())).count();
        assert!(writer.wait().unwrap().success());
    }
    assert_eq!(known, PROCESSES * 12);
    assert_eq!(engine.memories().count().unwrap(), THREADS * EACH + known as u64);
    drop(agent);
    engine.close().unwrap();
    let report = builder(place.root()).verify().unwrap();
    assert!(report.is_intact() && report.unsigned == 0, "{report:#?}");
}

#[test]
fn an_interrupted_import_goes_on_where_it_was() {
    // Seconds of work, of which the first tenth is waited for.
    const TURNS: u64 = 16_000;
    let place = Place::new();
    let file = place.root().join("chat.jsonl");
    let lines: Vec<String> = (0..TURNS).map(|i| format!(r#"{{"speaker":"Sam","text":"turn {i} of a long talk","id":"{i}"}}"#)).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let wal = place.root().join("m.db-wal");
    let mut child = interruptible(&place.cli(&["import", file.to_str().unwrap()])).spawn().unwrap();
    // The first batches are there, the last are not.
    while std::fs::metadata(&wal).map_or(0, |m| m.len()) < 300_000 {
        assert!(child.try_wait().unwrap().is_none(), "the import was over before it could be interrupted");
        std::thread::yield_now();
    }
    // What a terminal sends for ctrl-C, to this process alone.
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success());
    let interrupted = child.wait().unwrap().signal() == Some(2);
    assert!(interrupted, "the import was not interrupted");
    let before = builder(place.root()).open().unwrap().memories().count().unwrap();
    assert!(before > 0 && before < TURNS, "{before} turns before the interruption");
    let out = place.cli(&["import", file.to_str().unwrap(), "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((report["kept"].as_u64(), report["refused"].as_u64()), (Some(TURNS), Some(0)), "{report}");
    let engine = builder(place.root()).open().unwrap();
    assert_eq!(engine.memories().count().unwrap(), TURNS);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_killed_restore_leaves_no_database_and_the_next_one_makes_it() {
    let place = Place::new();
    let (chat, export) = (place.root().join("chat.jsonl"), place.root().join("export.mdna"));
    let lines: Vec<String> = (0..3_000).map(|i| format!(r#"{{"speaker":"Sam","text":"turn {i} of a long talk","id":"{i}"}}"#)).collect();
    std::fs::write(&chat, lines.join("\n")).unwrap();
    for args in [["import", chat.to_str().unwrap()], ["export", export.to_str().unwrap()]] {
        let out = place.cli(&args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let folder = place.root().join("restored");
    std::fs::create_dir(&folder).unwrap();
    let target = folder.join("m.db");
    let at = || Engine::builder(target.to_str().unwrap()).keys(Keys::Folder(place.root().join("keys"))).witness(Witness::Off);
    let start = || place.cli(&["--store", target.to_str().unwrap(), "restore", export.to_str().unwrap()]).spawn().unwrap();
    // How much there is of it before it is put in its place.
    let loaded = || {
        let size = |end: &str| std::fs::metadata(folder.join(format!("m.db.restoring{end}"))).map_or(0, |m| m.len());
        size("") + size("-wal")
    };
    let whole = {
        let (mut child, mut most) = (start(), 0);
        while child.try_wait().unwrap().is_none() {
            most = most.max(loaded());
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
        most
    };
    assert!(whole > 500_000, "only {whole} bytes were seen");
    let events = at().verify().unwrap().events;
    let mut killed = 0;
    for part in 0..=10 {
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let mut child = start();
        // From its first byte to the moment when all is loaded and is verified.
        while loaded() < (whole * part / 10).max(1) && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        if child.wait().unwrap().signal() == Some(9) && !target.exists() {
            killed += 1;
            assert_eq!(at().create(false).open().unwrap_err().code(), mirrordna::Code::StoreNotFound, "part {part}");
            let mut again = start();
            assert!(again.wait().unwrap().success(), "part {part}");
            let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, ["m.db"], "part {part}");
        }
        let report = at().verify().unwrap();
        assert!(report.is_intact() && report.events == events, "part {part}: {report:#?}");
    }
    eprintln!("{killed} of 11 were killed at work");
    assert!(killed > 7, "only {killed} were killed at work");
}

#[test]
fn a_read_only_file_system_is_read_and_refused_for_writing() {
    let place = Place::new();
    // A mount of its own, seen by nobody else and gone with the shell.
    let script = r#"mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99; shift; exec "$@""#;
    let on_read_only = |args: &[&str]| {
        let cli = place.cli(&[]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(place.root()).arg(cli.get_program()).args(args).arg("--json");
        command.env_clear().envs(profile()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        cli.get_envs().for_each(|(k, v)| {
            if let Some(v) = v {
                command.env(k, v);
            }
        });
        command.output()
    };
    let Ok(verified) = on_read_only(&["verify"]) else {
        eprintln!("skipped: no unshare");
        return;
    };
    if !matches!(verified.status.code(), Some(0..=20)) || String::from_utf8_lossy(&verified.stderr).contains("unshare:") {
        eprintln!("skipped: this user may not mount: {}", String::from_utf8_lossy(&verified.stderr));
        return;
    }
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["verdict"], "intact", "{report}");
    let refused = on_read_only(&["remember", "nowhere to write"]).unwrap();
    let error: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((refused.status.code(), error["error"]["name"].as_str()), (Some(14), Some("store.read_only")), "{error}");
    assert!(builder(place.root()).verify().unwrap().is_intact());
}

/// Where a measured process is to write its profile: not beside the database.
fn profile() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file))
}
