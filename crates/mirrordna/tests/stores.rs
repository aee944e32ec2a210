//! The engine over each store: the same operations, the same evidence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Builder, Code, Durability, Engine, IdentityType, MemoryPatch, VerifyReport, Witness};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use std::path::{Path, PathBuf};

type Bytes = &'static [u8];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Memory,
    Sqlite,
    Redb,
}

fn file(place: &Place, kind: Kind) -> PathBuf {
    place.dir.path().join(format!("{kind:?}.db"))
}

fn at(place: &Place, kind: Kind, path: &Path) -> Builder {
    let url = match kind {
        Kind::Memory => "memory:".to_owned(),
        Kind::Sqlite => format!("sqlite://{}", path.display()),
        Kind::Redb => format!("redb://{}", path.display()),
    };
    Engine::builder(url).keys(place.keys()).witness(Witness::Folder(place.dir.path().join("state")))
}

/// Two tenants, more than a tile of events, every kind of row.
fn fill(engine: &Engine) {
    for tenant in [engine.main(), engine.tenant("other").unwrap()] {
        let agent = tenant.identities().create(IdentityType::Agent).unwrap();
        let user = tenant.identities().create(IdentityType::User).unwrap();
        let session = tenant.sessions().start(&agent, &user).unwrap();
        let first = session.memories().add("the boathouse is booked").subject("Sam").idempotency_key("k").send().unwrap();
        let again = session.memories().add("said again").idempotency_key("k").send().unwrap();
        assert_eq!((again.event.existed, again.event.index), (true, first.event.index));
        agent.memories().update(&first.id, MemoryPatch { tags: Some(vec!["venue".into()]), ..MemoryPatch::default() }).unwrap();
        session.timeline().append("thing.done", &serde_json::json!({"n": 1})).unwrap();
        std::thread::scope(|s| {
            for writer in 0..4 {
                let agent = agent.clone();
                s.spawn(move || {
                    for i in 0..65 {
                        agent.timeline().append("tick", &serde_json::json!([writer, i])).unwrap();
                    }
                });
            }
        });
        session.end().unwrap();
    }
}

fn check_contents(engine: &Engine) {
    for tenant in [engine.main(), engine.tenant("other").unwrap()] {
        let agent = tenant.identities().list().unwrap().remove(0);
        let hits = agent.memories().search("which boathouse?").limit(3).run().unwrap();
        assert_eq!(hits.len(), 1);
        assert_eq!(
            (hits[0].record.content.as_str(), hits[0].record.tags.as_slice()),
            ("the boathouse is booked", &["venue".to_owned()][..])
        );
        let events = tenant.timeline().list(0, 10_000).unwrap();
        assert_eq!(events.iter().filter(|e| e.event_type.as_deref() == Some("tick")).count(), 260);
        let signed = events.iter().filter(|e| e.signed).count();
        assert!(signed >= 4, "every 64th event is signed: {signed}");
        assert!(tenant.sessions().list(None).unwrap()[0].ended_at.is_some());
    }
}

#[test]
fn the_same_operations_on_every_store() {
    for kind in [Kind::Memory, Kind::Sqlite, Kind::Redb] {
        let place = Place::new();
        let open = || at(&place, kind, &file(&place, kind)).open().unwrap();
        let engine = open();
        fill(&engine);
        check_contents(&engine);
        let report = engine.verify().unwrap();
        assert!(report.is_intact(), "{kind:?} {report:#?}");
        engine.clone().close().unwrap();
        let closed = engine.verify().unwrap();
        assert_eq!((closed.verdict, closed.unsigned), ("intact", 0), "{kind:?}");
        drop(engine);
        if kind == Kind::Memory {
            continue;
        }
        let builder = at(&place, kind, &file(&place, kind));
        assert_eq!(builder.verify().unwrap().head, closed.head, "{kind:?}");
        let engine = open();
        check_contents(&engine);
        let agent = engine.identities().list().unwrap().remove(0);
        agent.memories().add("after reopening").send().unwrap();
        drop((agent, engine));
        let report = at(&place, kind, &file(&place, kind)).verify().unwrap();
        assert_eq!((report.verdict, report.unsigned), ("intact", 0), "{kind:?}: dropping signs as closing does");
        assert!(report.events > closed.events);
        let reader = at(&place, kind, &file(&place, kind)).read_only().open().unwrap();
        check_contents(&reader);
        let agent = reader.identities().list().unwrap().remove(0);
        assert_eq!(agent.memories().add("not here").send().unwrap_err().code(), Code::StoreReadOnly, "{kind:?}");
    }
}

#[test]
fn readers_go_on_while_others_write() {
    for kind in [Kind::Memory, Kind::Sqlite, Kind::Redb] {
        let place = Place::new();
        let engine = at(&place, kind, &file(&place, kind)).durability(Durability::Normal).open().unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        let first = agent.memories().add("0").send().unwrap();
        let writing = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    let mut before = 0;
                    while writing.load(std::sync::atomic::Ordering::Relaxed) {
                        let now = engine.timeline().len().unwrap();
                        assert!(now >= before, "{kind:?}: it never becomes shorter");
                        before = now;
                        assert_eq!(engine.memories().get(&first.id).unwrap().content, "0");
                    }
                });
            }
            for i in 0..200 {
                agent.memories().add(format!("{i}")).send().unwrap();
            }
            writing.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(engine.memories().count().unwrap(), 201);
    }
}

/// The file of an open engine, as a killed process leaves it.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let place = Place::new();
    let (path, copy) = (file(&place, Kind::Redb), place.dir.path().join("left.db"));
    let engine = at(&place, Kind::Redb, &path).durability(Durability::Normal).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    for i in 0..20 {
        let written = agent.memories().add(format!("memory {i}")).send().unwrap();
        if i % 5 != 0 {
            continue;
        }
        std::fs::copy(&path, &copy).unwrap();
        let at_copy = || at(&place, Kind::Redb, &copy).witness(Witness::Off);
        let report = at_copy().verify().unwrap();
        assert_eq!((report.verdict, report.events > written.event.index), ("intact", true), "{report:#?}");
        let left = at_copy().open().unwrap();
        assert_eq!(left.memories().get(&written.id).unwrap().content, format!("memory {i}"));
        left.identities().list().unwrap()[0].memories().add("goes on").send().unwrap();
        drop(left);
        assert!(at_copy().verify().unwrap().is_intact());
        std::fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn an_export_moves_between_stores() {
    let place = Place::new();
    let source = file(&place, Kind::Sqlite);
    let engine = at(&place, Kind::Sqlite, &source).open().unwrap();
    fill(&engine);
    engine.close().unwrap();
    let before = at(&place, Kind::Sqlite, &source).verify().unwrap();
    let mut bytes = Vec::new();
    at(&place, Kind::Sqlite, &source).read_only().open().unwrap().export(&mut bytes).unwrap();
    for (n, kind) in [Kind::Redb, Kind::Sqlite, Kind::Redb].into_iter().enumerate() {
        let target = place.dir.path().join(format!("moved{n}"));
        at(&place, kind, &target).restore(&mut bytes.as_slice()).unwrap();
        let after = at(&place, kind, &target).verify().unwrap();
        assert_eq!((after.verdict, &after.head, after.events), ("intact", &before.head, before.events), "{kind:?} {after:#?}");
        let mut again = Vec::new();
        let engine = at(&place, kind, &target).read_only().open().unwrap();
        engine.export(&mut again).unwrap();
        check_contents(&engine);
        assert!(again == bytes, "{kind:?}: byte for byte");
        bytes = again;
    }
}

#[test]
fn a_rolled_back_database_goes_on_in_every_store() {
    for kind in [Kind::Sqlite, Kind::Redb] {
        let place = Place::new();
        let open = || at(&place, kind, &file(&place, kind));
        let say = |text: &str| {
            let engine = open().open().unwrap();
            let agent = match engine.identities().list().unwrap().pop() {
                Some(agent) => agent,
                None => engine.identities().create(IdentityType::Agent).unwrap(),
            };
            agent.memories().add(text).send().unwrap();
            drop(agent);
            engine.close().unwrap();
        };
        say("kept");
        let old = place.dir.path().join("old");
        std::fs::copy(file(&place, kind), &old).unwrap();
        say("lost");
        std::fs::copy(&old, file(&place, kind)).unwrap();
        assert_eq!(open().open().unwrap_err().code(), Code::RolledBack);
        open().fork(open().verify().unwrap().events, "the disk was lost").unwrap();
        say("new");
        let report = open().verify().unwrap();
        assert_eq!((report.verdict, report.closed, report.freshness.as_str()), ("intact", 1, "current"), "{report:#?}");
        let texts: Vec<String> = open().open().unwrap().memories().list(0, 9).unwrap().into_iter().map(|m| m.content).collect();
        assert_eq!(texts, ["kept", "new"]);
    }
}

#[test]
fn a_redb_database_has_one_user() {
    let place = Place::new();
    let path = file(&place, Kind::Redb);
    let engine = at(&place, Kind::Redb, &path).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    // In this process the engine is shared; what stands beside it is refused.
    let same = at(&place, Kind::Redb, &path).open().unwrap();
    assert_eq!(same.identities().get(agent.id()).unwrap().id(), agent.id());
    let e = at(&place, Kind::Redb, &path).verify().unwrap_err();
    assert_eq!((e.code(), e.is_retryable()), (Code::StoreInUse, true));
    assert!(engine.verify().unwrap().is_intact());
    drop((engine, same, agent));
    assert!(at(&place, Kind::Redb, &path).verify().unwrap().is_intact());
}

#[test]
fn a_store_of_another_kind_is_refused() {
    let place = Place::new();
    for (made, asked) in [(Kind::Sqlite, Kind::Redb), (Kind::Redb, Kind::Sqlite)] {
        let path = file(&place, made);
        drop(at(&place, made, &path).open().unwrap());
        assert_eq!(at(&place, asked, &path).open().unwrap_err().code(), Code::StoreNotDatabase);
        assert!(at(&place, made, &path).verify().unwrap().is_intact());
    }
}

fn definition(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

/// Verifies a copy after an edit with redb itself.
fn after(place: &Place, edit: impl FnOnce(&redb::WriteTransaction)) -> VerifyReport {
    let copy = place.dir.path().join("edited.db");
    std::fs::copy(file(place, Kind::Redb), &copy).unwrap();
    let db = redb::Database::open(&copy).unwrap();
    let tx = db.begin_write().unwrap();
    edit(&tx);
    tx.commit().unwrap();
    drop(db);
    at(place, Kind::Redb, &copy).witness(Witness::Off).verify().unwrap()
}

#[test]
fn every_row_of_redb_is_evidence() {
    let place = Place::new();
    let engine = at(&place, Kind::Redb, &file(&place, Kind::Redb)).open().unwrap();
    fill(&engine);
    engine.close().unwrap();
    assert_eq!(after(&place, |_| ()).verdict, "intact");
    let db = redb::Database::open(file(&place, Kind::Redb)).unwrap();
    let tx = db.begin_read().unwrap();
    let mut names: Vec<String> = tx.list_tables().unwrap().map(|t| t.name().to_owned()).collect();
    names.sort();
    // Saved segments are derived: tests/views.rs says what damage to them does.
    names.retain(|name| name != "cache_segment");
    assert_eq!(names, ["cache_subject_tag", "event", "head", "log", "mirrordna", "subject", "tile"]);
    let mut edits = 0;
    for name in &names {
        let table = tx.open_table(definition(name)).unwrap();
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            table.iter().unwrap().map(|r| r.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())).unwrap()).collect();
        let mut sample = vec![0, 1, rows.len() / 2, rows.len() - 1];
        sample.retain(|i| *i < rows.len());
        sample.dedup();
        for (key, value) in sample.into_iter().map(|i| &rows[i]) {
            let mut values = vec![value[..value.len() - 1].to_vec(), [value.as_slice(), &[0]].concat(), Vec::new()];
            values.extend((0..value.len()).step_by(value.len().div_ceil(9)).map(|i| {
                let mut flipped = value.clone();
                flipped[i] ^= 0x10;
                flipped
            }));
            let mut judge = |what: &str, edit: &dyn Fn(&mut redb::Table<'_, Bytes, Bytes>)| {
                let report = after(&place, |tx| edit(&mut tx.open_table(definition(name)).unwrap()));
                assert_eq!(report.verdict, "altered", "{name} {key:?}: {what}");
                edits += 1;
            };
            for value in &values {
                // The format row decides whether this is a database at all.
                if name != "mirrordna" {
                    judge("changed", &|t| drop(t.insert(key.as_slice(), value.as_slice()).unwrap()));
                }
            }
            if name != "mirrordna" {
                judge("deleted", &|t| drop(t.remove(key.as_slice()).unwrap()));
            }
            let mut elsewhere = key.clone();
            *elsewhere.last_mut().unwrap() ^= 0x80;
            judge("copied to another place", &|t| drop(t.insert(elsewhere.as_slice(), value.as_slice()).unwrap()));
        }
    }
    eprintln!("{edits} edits found");
    assert!(edits > 200, "{edits}");
}
