//! Erase and hunt: after an erasure every byte of every file is looked through
//! for what must be gone.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Content, Engine, ErasureState, IdentityType, NewCall, NewMemory, Outcome};
use mirrordna_core::verify::{hash, leaf, merkle};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// All files of a database, as they lie on the disk. Another process reads
/// them: a plain open and close here would cancel SQLite's locks.
fn image(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place.dir.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            let read = Command::new("cat").arg(entry.path()).output().unwrap();
            assert!(read.status.success());
            files.push((entry.file_name().into_string().unwrap(), read.stdout));
        }
    }
    assert!(files.iter().any(|(name, bytes)| name == "m.db" && !bytes.is_empty()));
    files
}

/// What is looked for, by name.
type Needles = Vec<(String, Vec<u8>)>;

/// Needles that are found, each with where.
fn hunt(files: &[(String, Vec<u8>)], needles: &Needles) -> Vec<String> {
    let mut begins: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, (_, needle)) in needles.iter().enumerate() {
        begins.entry(&needle[..8]).or_default().push(at);
    }
    let mut found = Vec::new();
    for (file, bytes) in files {
        for (at, window) in bytes.windows(8).enumerate() {
            for needle in begins.get(window).into_iter().flatten() {
                let (name, needle) = &needles[*needle];
                if bytes[at..].starts_with(needle) {
                    found.push(format!("{name} in {file} at {at}"));
                }
            }
        }
    }
    found
}

fn reader(place: &Place) -> Connection {
    Connection::open_with_flags(place.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// Ciphertext and wrapped secret of some events.
fn stored(place: &Place, positions: impl IntoIterator<Item = u64>) -> Needles {
    let db = reader(place);
    let mut needles = Needles::new();
    for at in positions {
        let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, Vec<u8>>(1)?));
        let (body, secret) = db.query_row("SELECT body, secret FROM event WHERE pos = ?1", [(1i64 << 40) + at as i64], row).unwrap();
        // A row may be cut by the end of a page: several pieces of it.
        for (n, piece) in body.chunks_exact(24).enumerate() {
            needles.push((format!("body {at}, piece {n}"), piece.to_vec()));
        }
        needles.push((format!("secret {at}"), secret));
    }
    needles
}

fn subject_keys(place: &Place) -> HashMap<i64, (Vec<u8>, Vec<u8>)> {
    let db = reader(place);
    let mut statement = db.prepare("SELECT n, tag, key FROM subject").unwrap();
    let rows = statement.query_map([], |r| Ok((r.get(0)?, (r.get(1)?, r.get(2)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn leaves(place: &Place) -> Vec<[u8; 32]> {
    let db = reader(place);
    let mut statement = db.prepare("SELECT leaf FROM event ORDER BY pos").unwrap();
    let rows = statement.query_map([], |r| r.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|l| leaf::hash(&l.unwrap())).collect()
}

fn none(place: &Place, needles: &Needles, when: &str) {
    let found = hunt(&image(place), needles);
    assert!(found.is_empty(), "{when}: {} of {}, such as {:?}", found.len(), needles.len(), &found[..found.len().min(5)]);
}

const SECRET: &str = "the code of the harbour office is 4711-harlequin";

#[test]
fn nothing_of_what_was_erased_is_left_in_any_file() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    // Enough for the view to be saved; every tenth is about Sam.
    let new = |i: usize| NewMemory {
        content: Content::Text(format!("memory number {i} of many")),
        subject: Some(if i.is_multiple_of(10) { "Sam of the harbour" } else { "Ann" }.to_owned()),
        ..NewMemory::default()
    };
    let mut sam = Vec::new();
    let mut ids = Vec::new();
    for start in (0..9_000).step_by(1_000) {
        for (i, written) in agent.memories().add_all((start..start + 1_000).map(new).collect()).unwrap().into_iter().enumerate() {
            if i % 10 == 0 {
                sam.push(written.event.index);
                ids.push(written.id);
            }
        }
    }
    let large: String = (0..150_000u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 20) as u8 % 26)).collect();
    let agent_id = agent.id().to_owned();
    drop(agent);
    engine.close().unwrap();
    let engine = place.open();
    let agent = engine.identities().get(&agent_id).unwrap();
    engine.memories().search("many").run().unwrap();
    let record = agent.memories().add(SECRET).subject("Ann").send().unwrap();
    // In the write-ahead log, and large enough for pages of its own.
    let parts = agent.memories().add(large.as_str()).subject("Sam of the harbour").send().unwrap();
    let user = agent.memories().add(SECRET).subject("Sam of the harbour").send().unwrap();
    sam.extend([parts.event.index - 1, parts.event.index, user.event.index]);
    // Calls, single events and consents.
    let called = NewCall::new("harbour/code", "req-1").user("Sam of the harbour").redacted(json!({"asked": SECRET}).to_string());
    let call = agent.tools().requested(called).unwrap();
    let ended = call.completed(Outcome::success(SECRET).summary(json!({"said": SECRET}).to_string())).unwrap();
    let visit = agent.timeline().about("Sam of the harbour").append("visit.made", &json!({"said": SECRET})).unwrap();
    engine.consents().give("Sam of the harbour", SECRET, None).unwrap();
    let consent = engine.timeline().len().unwrap() - 1;
    sam.extend([ended.leaf, ended.completed_leaf.unwrap(), visit.index, consent]);
    drop(call);
    assert!(reader(&place).query_row("SELECT count(*) > 1 FROM cache_segment", [], |r| r.get::<_, bool>(0)).unwrap());

    let before = leaves(&place);
    let keys = subject_keys(&place);
    let mut one = stored(&place, [record.event.index]);
    let mut person = stored(&place, sam.iter().copied());
    assert_eq!(person.iter().filter(|(name, _)| name.starts_with("secret")).count(), 907);
    // It is there, and found, before it is erased.
    let found = hunt(&image(&place), &one);
    assert!(found.len() >= one.len(), "{found:?}");
    for (kept, text) in [("the text", SECRET.as_bytes()), ("the large text", &large.as_bytes()[1_000..1_200])] {
        one.push((kept.to_owned(), text.to_vec()));
    }
    // What would confirm a guess: a hash of the words, or of an id.
    for guess in [SECRET, "Sam of the harbour", &record.id, &ids[0], &ended.call_id] {
        one.push((format!("SHA-256 of {guess}"), hash::sha256(&[guess.as_bytes()])[..16].to_vec()));
        one.push((format!("leaf hash of {guess}"), hash::leaf(guess.as_bytes())[..16].to_vec()));
    }

    let done = engine.erase().record(&record.id).run().unwrap();
    assert_eq!((done.events, done.state), (1, Some(ErasureState::Done)));
    none(&place, &one, "a record, while the database is open");
    let done = engine.erase().subject("Sam of the harbour").run().unwrap();
    assert_eq!((done.events, done.parts, done.subjects, done.state), (907, 1, 1, Some(ErasureState::Done)));
    let left = subject_keys(&place);
    let gone: Vec<_> = keys.iter().filter(|(n, _)| !left.contains_key(n)).collect();
    assert_eq!(gone.len(), 1);
    for (n, (tag, key)) in gone {
        person.push((format!("tag of subject {n}"), tag.clone()));
        person.push((format!("key of subject {n}"), key.clone()));
    }
    none(&place, &person, "a person, while the database is open");
    let mut export = Vec::new();
    engine.export(&mut export).unwrap();
    let needles: Needles = one.iter().chain(&person).cloned().collect();
    assert_eq!(hunt(&[("export".to_owned(), export)], &needles), [""; 0]);
    assert_eq!(engine.memories().search("harlequin").run().unwrap().len(), 0);
    agent.memories().add("life goes on").send().unwrap();
    drop(agent);
    engine.close().unwrap();
    none(&place, &needles, "after the database was closed");

    // Every leaf is where it was: what was proven stays proven.
    let after = leaves(&place);
    assert!(after.starts_with(&before) && merkle::root_of(&after[..before.len()]) == merkle::root_of(&before));
    let report = place.verify();
    assert!(report.is_intact(), "{:#?}", report.problems);
    assert_eq!((report.bodies.erased, report.bodies.missing), (908, 0));

    // Without an event, it is an alteration, and exactly one.
    let kept: i64 = user.event.index as i64 - 3_000;
    let db = Connection::open(place.path()).unwrap();
    let sql = "UPDATE event SET body = NULL, subject = NULL, secret = NULL WHERE pos = ?1 AND body IS NOT NULL";
    assert_eq!(db.execute(sql, [(1i64 << 40) + kept]).unwrap(), 1);
    drop(db);
    let report = place.verify();
    assert_eq!((report.verdict, report.bodies.erased, report.bodies.missing), ("altered", 908, 1));
    let problems: Vec<&str> = report.problems.iter().map(|p| p.code.as_str()).collect();
    assert_eq!(problems, ["body.missing"]);
}

#[test]
fn while_somebody_reads_an_older_state_it_is_pending() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let written = agent.memories().add(SECRET).subject("Sam").send().unwrap();
    let needles = stored(&place, [written.event.index]);
    let db = reader(&place);
    db.execute_batch("BEGIN").unwrap();
    db.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap();
    let done = engine.erase().subject("Sam").run().unwrap();
    assert_eq!(done.state, Some(ErasureState::Pending));
    assert!(done.receipt.unwrap().to_json().contains("\"pending\""));
    let says = |engine: &Engine| engine.timeline().list(0, 100).unwrap().iter().filter(|e| e.kind == "erase.done").count();
    assert_eq!((engine.memories().count().unwrap(), says(&engine)), (0, 0));
    assert!(!hunt(&image(&place), &needles).is_empty(), "else there is nothing to test");
    // The reader goes; who makes a backup comes first to try again, unless the
    // service thread did.
    db.execute_batch("COMMIT").unwrap();
    drop(db);
    engine.export(&mut std::io::sink()).unwrap();
    assert_eq!(says(&engine), 1);
    none(&place, &needles, "when the reader was gone");
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn what_a_crash_left_goes_when_the_database_is_opened() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let written = agent.memories().add(SECRET).subject("Sam").send().unwrap();
    let needles = stored(&place, [written.event.index]);
    let db = reader(&place);
    db.execute_batch("BEGIN").unwrap();
    db.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(engine.erase().subject("Sam").run().unwrap().state, Some(ErasureState::Pending));
    // The files as a killed process leaves them.
    let crashed = Place::new();
    for (name, bytes) in image(&place) {
        std::fs::write(crashed.dir.path().join(name), bytes).unwrap();
    }
    copy_folder(&place.dir.path().join("keys"), &crashed.dir.path().join("keys"));
    drop((db, agent));
    assert!(!hunt(&image(&crashed), &needles).is_empty(), "else there is nothing to test");
    let engine = crashed.open();
    none(&crashed, &needles, "after it was opened");
    // Who opened it alone could say so at once.
    assert_eq!(engine.timeline().list(0, 100).unwrap().iter().filter(|e| e.kind == "erase.done").count(), 1);
    assert_eq!(engine.memories().count().unwrap(), 0);
    assert!(engine.verify().unwrap().is_intact());
}

/// How often the log says that nothing is left.
fn dones(engine: &Engine) -> usize {
    engine.timeline().list(0, 1_000).unwrap().iter().filter(|e| e.kind == "erase.done").count()
}

#[test]
fn who_writes_next_settles_what_is_pending() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let written = agent.memories().add(SECRET).subject("Sam").send().unwrap();
    let needles = stored(&place, [written.event.index]);
    let db = reader(&place);
    db.execute_batch("BEGIN").unwrap();
    db.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(engine.erase().subject("Sam").run().unwrap().state, Some(ErasureState::Pending));
    assert_eq!(engine.settle_erasures().unwrap(), ErasureState::Pending);
    // Writing goes on meanwhile.
    agent.memories().add("life goes on").send().unwrap();
    assert_eq!(dones(&engine), 0);
    db.execute_batch("COMMIT").unwrap();
    drop(db);
    agent.memories().add("and on").send().unwrap();
    assert_eq!(dones(&engine), 1);
    none(&place, &needles, "after the next write");
    assert_eq!(engine.settle_erasures().unwrap(), ErasureState::Done);
    assert_eq!(dones(&engine), 1);
    let receipt = engine.erase().subject("Sam").run().unwrap();
    assert_eq!((receipt.events, receipt.already), (0, 1));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn what_is_pending_in_any_tenant_is_settled_by_whoever_opens_or_asks() {
    let place = Place::new();
    let engine = place.open();
    let acme = engine.tenant("acme").unwrap();
    let agent = acme.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add(SECRET).subject("Sam").send().unwrap();
    let db = reader(&place);
    db.execute_batch("BEGIN").unwrap();
    db.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(acme.erase().subject("Sam").run().unwrap().state, Some(ErasureState::Pending));
    drop((agent, acme));
    engine.close().unwrap();
    let says = |engine: &Engine| {
        let acme = engine.tenant("acme").unwrap();
        acme.timeline().list(0, 100).unwrap().iter().filter(|e| e.kind == "erase.done").count()
    };
    // While the reader stays, it stays pending; the note of it stays as well.
    let engine = place.open();
    assert_eq!(says(&engine), 0);
    engine.close().unwrap();
    db.execute_batch("COMMIT").unwrap();
    drop(db);
    let engine = place.open();
    assert_eq!(says(&engine), 1);
    let noted: i64 = reader(&place).query_row("SELECT length(data) FROM cache_segment WHERE id = 1 << 43 | 1", [], |r| r.get(0)).unwrap();
    assert_eq!((engine.settle_erasures().unwrap(), says(&engine), noted), (ErasureState::Done, 1, 0));
    assert!(engine.verify().unwrap().is_intact());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
