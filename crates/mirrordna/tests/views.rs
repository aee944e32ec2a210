//! What a view answers does not depend on whether it was folded by this
//! process, read from what another one saved, or folded again because that was
//! tampered with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Engine, IdentityType, MemoryPatch, NewIdentity, NewMemory};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Rounds of 512 events: a segment of 8,192 leaves and a tail.
const ROUNDS: usize = 17;

/// Two agents, a session, and enough memories for a saved segment.
fn fixture(rounds: usize) -> Place {
    let place = Place::new();
    let engine = place.open();
    for name in ["ann", "bob"] {
        let new = NewIdentity { name: Some(name.to_owned()), ..NewIdentity::default() };
        engine.identities().create_with(IdentityType::Agent, new).unwrap();
    }
    let (ann, bob) = (engine.identities().find("ann").unwrap(), engine.identities().find("bob").unwrap());
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&bob, &user).unwrap();
    let first = session.memories().add("the very first memory").send().unwrap();
    for round in 0..rounds {
        let batch = |n: usize| {
            (0..n).map(|i| NewMemory { content: mirrordna::Content::Text(format!("memory {round}.{i}")), ..NewMemory::default() })
        };
        ann.memories().add_all(batch(500).collect()).unwrap();
        session.memories().add_all(batch(12).collect()).unwrap();
    }
    engine
        .memories()
        .update(&first.id, MemoryPatch { content: Some(mirrordna::Content::Text("changed late".into())), ..MemoryPatch::default() })
        .unwrap();
    let late = bob.memories().add("archived late").idempotency_key("late").send().unwrap();
    engine.memories().archive(&late.id).unwrap();
    drop((ann, bob, session));
    engine.close().unwrap();
    place
}

/// Everything that is answered from a view.
fn answers(engine: &Engine) -> BTreeMap<&'static str, String> {
    let mut out = BTreeMap::new();
    let (ann, bob) = (engine.identities().find("ann").unwrap(), engine.identities().find("bob").unwrap());
    let session = engine.sessions().list(Some(&bob)).unwrap().remove(0);
    let handle = engine.sessions().resume(&session.id).unwrap();
    let in_session = handle.memories().list(0, 1000).unwrap();
    out.insert("identities", format!("{:?}", engine.identities().list().unwrap().iter().map(|i| i.id().to_owned()).collect::<Vec<_>>()));
    out.insert("count", format!("{}", engine.memories().count().unwrap()));
    out.insert("session", format!("{in_session:?}"));
    out.insert("history", format!("{:?}", engine.memories().history(&in_session[0].id).unwrap()));
    out.insert("page of ann", format!("{:?}", ann.memories().list(490, 20).unwrap()));
    out.insert("page of all", format!("{:?}", engine.memories().list(1000, 20).unwrap()));
    out.insert("bob", format!("{:?}", bob.memories().list(0, 1000).unwrap()));
    out.insert("timeline of session", format!("{:?}", handle.timeline().list(0, 1000).unwrap()));
    out.insert("timeline of bob", format!("{:?}", bob.timeline().list(3, 40).unwrap()));
    out.insert("timeline", format!("{:?}", engine.timeline().list(1000, 40).unwrap()));
    out.insert("search", format!("{:?}", bob.memories().search("changed late").run().unwrap()));
    out.insert("once", format!("{:?}", bob.memories().add("other").idempotency_key("late").send().unwrap().id));
    out
}

fn cached(place: &Place) -> i64 {
    Connection::open(place.path()).unwrap().query_row("SELECT count(*) FROM cache_segment", [], |r| r.get(0)).unwrap()
}

fn edit(place: &Place, sql: &str) {
    Connection::open(place.path()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn saved_and_folded_views_answer_the_same() {
    let place = fixture(ROUNDS);
    edit(&place, "DELETE FROM cache_segment");
    let engine = place.open();
    let folded = answers(&engine);
    assert_eq!(engine.memories().count().unwrap() as usize, ROUNDS * 512 + 2);
    engine.close().unwrap();
    assert!(cached(&place) > 100, "what was folded is saved");

    let engine = place.open();
    assert_eq!(answers(&engine), folded);
    engine.close().unwrap();
    // Whatever is done to derived data changes no answer.
    for damage in [
        "UPDATE cache_segment SET data = CAST(substr(data, 1, 100) || x'55' || substr(data, 102) AS BLOB) WHERE id & 0xFFFFF < 0xFFFFF AND (id >> 20) & 0x7FFFFF <> 0",
        "UPDATE cache_segment SET data = CAST(substr(data, 1, 100) || x'55' || substr(data, 102) AS BLOB) WHERE id & 0xFFFFF = 0xFFFFF",
        "UPDATE cache_segment SET data = zeroblob(length(data)) WHERE (id >> 20) & 0x7FFFFF = 0",
        "DELETE FROM cache_segment WHERE id & 1 = 1",
        "DROP TABLE cache_segment",
    ] {
        edit(&place, damage);
        let engine = place.open();
        assert_eq!(answers(&engine), folded, "after {damage}");
        engine.close().unwrap();
        assert!(cached(&place) > 100, "it is saved again after {damage}");
    }
    assert!(place.verify().is_intact());
}

#[test]
fn a_saved_view_of_another_database_is_no_view() {
    let (one, two) = (fixture(ROUNDS), fixture(ROUNDS));
    for place in [&one, &two] {
        let engine = place.open();
        answers(&engine);
        engine.close().unwrap();
    }
    let engine = two.open();
    let before = answers(&engine);
    engine.close().unwrap();
    let sql = format!(
        "ATTACH '{}' AS other; DELETE FROM cache_segment; INSERT INTO cache_segment SELECT * FROM other.cache_segment",
        one.path().display()
    );
    edit(&two, &sql);
    let engine = two.open();
    assert_eq!(answers(&engine), before);
}

#[test]
fn saved_data_may_go_away_under_an_open_engine() {
    let place = fixture(ROUNDS);
    let engine = place.open();
    let folded = answers(&engine);
    let id = engine.memories().list(0, 1).unwrap().remove(0).id;
    engine.close().unwrap();
    // As when another process merges segments and drops the old ones, first
    // before a read, then before the events that came since are folded.
    let engine = place.open();
    assert_eq!(engine.memories().count().unwrap() as usize, ROUNDS * 512 + 2);
    edit(&place, "DELETE FROM cache_segment");
    assert_eq!(answers(&engine), folded);
    engine.close().unwrap();
    let engine = place.open();
    engine.memories().update(&id, MemoryPatch { tags: Some(vec!["late".into()]), ..MemoryPatch::default() }).unwrap();
    edit(&place, "DELETE FROM cache_segment");
    assert_eq!(engine.memories().get(&id).unwrap().tags, ["late"]);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}

#[test]
fn a_view_over_a_log_that_was_left_is_saved_too() {
    let place = fixture(ROUNDS);
    let mut export = Vec::new();
    let engine = place.open();
    engine.export(&mut export).unwrap();
    engine.memories().list(0, 1).unwrap();
    engine.identities().find("ann").unwrap().memories().add("lost").send().unwrap();
    engine.close().unwrap();
    // An export holds no derived data; what goes on from it has a long log before.
    std::fs::remove_file(place.path()).unwrap();
    for end in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{end}", place.path().display()));
    }
    place.builder().restore(&mut export.as_slice()).unwrap();
    assert_eq!(cached(&place), 0);
    place.builder().fork(place.verify().events, "restored from an export").unwrap();
    let engine = place.open();
    let folded = answers(&engine);
    engine.close().unwrap();
    assert!(cached(&place) > 100, "what was folded of the log before is saved");
    let engine = place.open();
    assert_eq!(answers(&engine), folded);
    engine.close().unwrap();
    edit(&place, "UPDATE cache_segment SET data = zeroblob(length(data)) WHERE (id >> 20) & 0x7FFFFF = 0");
    let engine = place.open();
    assert_eq!(answers(&engine), folded);
    engine.close().unwrap();
    assert!(cached(&place) > 100, "it is saved again");
    // Under an open engine, as another process would.
    let engine = place.open();
    assert_eq!(engine.memories().count().unwrap() as usize, ROUNDS * 512 + 2);
    edit(&place, "DELETE FROM cache_segment");
    assert_eq!(answers(&engine), folded);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}

#[test]
fn two_engines_may_save_one_after_the_other() {
    let place = fixture(ROUNDS);
    let engine = place.open();
    let folded = answers(&engine);
    // A second process in the middle: a copy of its effect.
    let saved = {
        engine.close().unwrap();
        let db = Connection::open(place.path()).unwrap();
        db.execute_batch("CREATE TABLE keep AS SELECT * FROM cache_segment; DELETE FROM cache_segment").unwrap();
        cached(&place)
    };
    assert_eq!(saved, 0);
    let engine = place.open();
    assert_eq!(answers(&engine), folded);
    edit(&place, "INSERT OR REPLACE INTO cache_segment SELECT * FROM keep; DROP TABLE keep");
    engine.close().unwrap();
    let engine = place.open();
    assert_eq!(answers(&engine), folded);
}
