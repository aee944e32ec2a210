//! What several processes, and thieves, make of a log's keys. Other processes
//! are engines past the registry of this one.

use super::*;
use crate::engine::Engine;
use crate::{IdentityType, Keys, SealPolicy, Witness};
use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};
use std::sync::Barrier;
use zeroize::Zeroizing;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn process(&self) -> Engine {
        self.try_process().unwrap()
    }

    fn try_process(&self) -> Result<Engine> {
        let path = self.0.path().join("m.db");
        let mode = if path.exists() { Mode::Write } else { Mode::Create };
        let store = SqliteStore::open(&path, mode, Durability::Full).unwrap();
        let builder = Engine::builder("unused").keys(Keys::Folder(self.0.path().join("keys"))).witness(Witness::Off);
        Ok(Engine { inner: Inner::open(Arc::new(store), None, builder.seals(SealPolicy::EveryEvent))? })
    }

    fn keyring(&self) -> String {
        let entries = std::fs::read_dir(self.0.path().join("keys")).unwrap().map(|e| e.unwrap().path());
        let file = entries.into_iter().find(|p| p.extension().is_some_and(|e| e == "keys")).unwrap();
        std::fs::read_to_string(file).unwrap()
    }

    /// Slots of the role `log` in the keyring.
    fn slots(&self) -> usize {
        self.keyring().lines().filter(|line| line.starts_with("{\"role\":\"log\"")).count()
    }
}

fn say(engine: &Engine, text: &str) {
    let agents = engine.identities();
    let agent = agents.list().unwrap().pop().unwrap_or_else(|| agents.create(IdentityType::Agent).unwrap());
    agent.memories().add(text).send().unwrap();
}

fn rotate(engine: &Engine) -> LogKeyRotation {
    engine.main().rotate_log_key().unwrap()
}

#[test]
fn other_processes_go_on_with_the_new_key() {
    let place = Place::new();
    let (first, second) = (place.process(), place.process());
    say(&first, "first");
    say(&second, "second");
    let rotated = rotate(&first);
    say(&second, "signed by the new key");
    let signed = second.main().checkpoint().unwrap();
    assert_eq!(hint(&signed), rotated.key.leaf, "{signed}");
    assert_eq!(second.fingerprint(), first.fingerprint());
    // The one that was told of it rotates, and the first learns by reading only.
    let again = rotate(&second);
    assert_eq!(first.memories().count().unwrap(), 3);
    assert_eq!(first.main().log_keys().unwrap().last().unwrap().fingerprint, again.key.fingerprint);
    first.main().check_checkpoint(&second.main().checkpoint().unwrap()).unwrap();
    say(&first, "third");
    for note in [&rotated.bridge, &signed, &again.bridge] {
        second.main().check_checkpoint(note).unwrap();
    }
    assert_eq!(place.slots(), 1);
    assert!(first.verify().unwrap().is_intact() && second.verify().unwrap().is_intact());
}

#[test]
fn rotations_at_once_and_writers_meanwhile_leave_one_history() {
    const PROCESSES: usize = 3;
    let place = Place::new();
    let engines: Vec<Engine> = (0..PROCESSES).map(|_| place.process()).collect();
    say(&engines[0], "first");
    let barrier = Barrier::new(2 * PROCESSES);
    std::thread::scope(|s| {
        for engine in &engines {
            let barrier = &barrier;
            s.spawn(move || {
                barrier.wait();
                (0..3).for_each(|_| drop(rotate(engine)));
            });
            s.spawn(move || {
                barrier.wait();
                (0..10).for_each(|n| say(engine, &format!("memory {n}")));
                engine.main().checkpoint().unwrap();
            });
        }
    });
    for engine in &engines {
        assert_eq!(engine.main().log_keys().unwrap().len(), 1 + 3 * PROCESSES);
        assert_eq!(engine.memories().count().unwrap(), 1 + 10 * PROCESSES as u64);
        let report = engine.verify().unwrap();
        assert!(report.is_intact(), "{report:#?}");
    }
    assert_eq!(place.slots(), 1);
}

#[test]
fn whoever_is_killed_before_or_after_the_commit_leaves_one_state() {
    let place = Place::new();
    let engine = place.process();
    say(&engine, "first");
    engine.clone().close().unwrap();
    drop(engine);
    // Before: the key is in the keyring, the leaf is not in the log.
    let engine = place.process();
    let log = engine.main().log;
    let keyring = engine.inner.keyring.as_ref().unwrap();
    let mut size = 0;
    engine.inner.store.read(&mut |tx| log.row(tx).map(|row| size = row.size)).unwrap();
    let stray = NewKey { role: Role::Log, owner: owner(&log.id, size), key: Zeroizing::new([7; 32]) };
    keyring.add(vec![stray], &[], &*engine.inner.entropy).unwrap();
    drop((log, engine));
    let engine = place.process();
    let rotated = rotate(&engine);
    assert_eq!(rotated.key.leaf, size, "the place of the stray key");
    engine.clone().close().unwrap();
    drop(engine);
    let engine = place.process();
    say(&engine, "by the key that was committed");
    assert_eq!(hint(&engine.main().checkpoint().unwrap()), size);

    // After: the old key is still there, until somebody opens the log to write.
    let log = engine.main().log;
    let (force, speaker) = engine.inner.speaking(&log, &log.system).unwrap();
    let keyring = engine.inner.keyring.as_ref().unwrap();
    let make = &mut |leaf| {
        let key = Arc::new(SecretKey::generate(&*engine.inner.entropy)?);
        keyring.add(vec![NewKey { role: Role::Log, owner: owner(&log.id, leaf), key: key.seed() }], &[], &*engine.inner.entropy)?;
        Ok(key)
    };
    engine.inner.committer.rotate_log_key(&log, &Arc::new(speaker), force.aseq, make).unwrap();
    let slots = place.slots();
    drop(log);
    drop(engine);
    assert!(slots > 1);
    let engine = place.process();
    assert_eq!(place.slots(), 1);
    say(&engine, "goes on");
    assert!(engine.verify().unwrap().is_intact());
}

/// A note over the log as it is, by a key that the thief has.
fn forged(engine: &Engine, key: &SecretKey, leaf: u64) -> String {
    let log = engine.main().log;
    let mut note = String::new();
    let read = &mut |tx: &dyn ReadTx| {
        let row = log.row(tx)?;
        note = log.sign_by(key, leaf, &Frontier::from_bytes(row.size, &row.frontier)?);
        Ok(())
    };
    engine.inner.store.read(read).unwrap();
    note
}

fn put(engine: &Engine, note: &str) {
    let number = engine.main().log.number;
    let write = &mut |tx: &mut dyn mirrordna_storage::WriteTx| {
        let row = tx.log(number)?.unwrap();
        tx.put_log(&LogRow { checkpoint: note.to_owned(), signed_frontier: row.frontier.clone(), ..row })
    };
    engine.inner.store.write(write).unwrap();
}

#[test]
fn a_thief_of_one_key_gains_no_more_than_that_key() {
    let place = Place::new();
    let engine = place.process();
    say(&engine, "first");
    engine.main().checkpoint().unwrap();
    let old = engine.main().log.signing().unwrap();
    let before = forged(&engine, &old, 0);
    rotate(&engine);
    let new = engine.main().log.signing().unwrap();
    say(&engine, "second");
    let leaf = hint(&engine.main().checkpoint().unwrap());
    engine.clone().close().unwrap();
    let mut good = None;
    engine.inner.store.read(&mut |tx| tx.log(1).map(|row| good = row)).unwrap();
    let good = good.unwrap();
    let altered = |note: &str| {
        put(&engine, note);
        let read = place.try_process().and_then(|engine| engine.memories().count());
        let refused = read.is_err_and(|e| e.code() == Code::Altered);
        let report = engine.verify().unwrap();
        (refused, report.verdict, report.problems.first().map(|p| p.code.clone()).unwrap_or_default())
    };
    // The old key over a tree after the bridge, with either line, or none.
    for named in [0, leaf] {
        assert_eq!(altered(&forged(&engine, &old, named)), (true, "altered", "checkpoint.invalid".to_owned()), "{named}");
    }
    engine.inner.store.write(&mut |tx| tx.put_log(&good)).unwrap();
    assert_eq!(engine.main().check_checkpoint(&forged(&engine, &old, leaf)).unwrap_err().code(), Code::AnchorInvalid);
    // The new key over a tree from before it.
    let text = before.split("\n\n").next().unwrap();
    let origin = note::origin(&engine.main().log.id);
    let text = format!("{text}\n");
    let early = note::assemble(&text, &origin, new.public(), &new.sign_bytes(text.as_bytes()));
    assert_eq!(engine.main().check_checkpoint(&early).unwrap_err().code(), Code::AnchorInvalid);
    engine.main().check_checkpoint(&before).unwrap();
    // The new key, and a line that leads nowhere.
    assert_eq!(altered(&forged(&engine, &new, 1)), (true, "altered", "log.row".to_owned()));
}
