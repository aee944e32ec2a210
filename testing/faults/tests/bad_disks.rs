//! A disk that is full for a while, files that are not what they should be, and
//! files that vanish: a typed error, and nothing lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, Engine, Identity, IdentityType};
use mirrordna_testing_faults::Fault;
use rusqlite::Connection;

fn begun(place: &Place) -> (Engine, Identity) {
    let engine = place.builder().open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    (0..5).for_each(|i| drop(agent.memories().add(format!("before {i}")).send().unwrap()));
    (engine, agent)
}

#[test]
fn a_full_disk_refuses_whole_events_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let (engine, agent) = begun(&place);
    disk.strike(0, Fault::Full);
    for i in 0..3 {
        let e = agent.memories().add(format!("refused {i}")).send().unwrap_err();
        assert_eq!(e.code(), Code::StoreFull, "{e}");
        assert!(e.is_retryable() && !e.hint().is_empty());
        let new = (0..9).map(|i| mirrordna::NewMemory { content: mirrordna::Content::Text(format!("{i}")), ..Default::default() });
        assert_eq!(agent.memories().add_all(new.collect()).unwrap_err().code(), Code::StoreFull);
        assert_eq!(engine.memories().count().unwrap(), 5, "reading goes on");
    }
    assert!(engine.verify().unwrap().is_intact());
    disk.heal();
    agent.memories().add("there is space again").send().unwrap();
    assert_eq!(engine.memories().count().unwrap(), 6, "nothing of what was refused is there");
    drop(agent);
    engine.close().unwrap();
    let report = place.builder().verify().unwrap();
    assert!(report.is_intact() && report.unsigned == 0, "{report:#?}");
}

#[test]
fn a_disk_that_is_full_at_the_end_costs_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let (engine, agent) = begun(&place);
    disk.strike(0, Fault::Full);
    drop(agent);
    // The last signatures find no space; that is told, and costs no event.
    assert_eq!(engine.close().unwrap_err().code(), Code::StoreFull);
    disk.heal();
    let engine = place.builder().open().unwrap();
    assert_eq!(engine.memories().count().unwrap(), 5);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_write_ahead_log_that_cannot_be_folded_back_ends_writing_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let (engine, agent) = begun(&place);
    // The first sync from here on is that of the close's commit, the second
    // that of the fold.
    let e = {
        let before = disk.points();
        agent.memories().add("one commit").send().unwrap();
        let commit = disk.points() - before;
        disk.strike(disk.points() + commit + 4, Fault::Once);
        drop(agent);
        engine.clone().close().err()
    };
    let struck = disk.struck().expect("nothing was struck");
    assert!(e.is_none_or(|e| matches!(e.code(), Code::StoreIo | Code::StorePoisoned)), "{struck}");
    drop(engine);
    let engine = place.builder().open().unwrap();
    assert_eq!(engine.memories().count().unwrap(), 6, "{struck}");
    assert!(engine.verify().unwrap().is_intact(), "{struck}");
}

#[test]
fn a_database_that_vanishes_or_is_replaced_under_an_open_engine_is_noticed() {
    for victim in ["m.db", "m.db-wal"] {
        for replace in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path());
            let (engine, agent) = begun(&place);
            let path = place.root.join("db").join(victim);
            let kept = std::fs::read(&path).unwrap();
            let aside = place.root.join("aside");
            std::fs::rename(&path, &aside).unwrap();
            if replace {
                std::fs::write(&path, &kept).unwrap();
            }
            let e = engine.memories().count().unwrap_err();
            assert_eq!(e.code(), Code::StoreReplaced, "{victim} {replace}: {e}");
            let e = agent.memories().add("into the void").send().unwrap_err();
            assert_eq!(e.code(), Code::StoreReplaced, "{victim} {replace}: {e}");
            let e = agent.memories().add("once more").send().unwrap_err();
            assert_eq!(e.code(), Code::StorePoisoned, "{victim} {replace}: {e}");
            drop((agent, engine));
            std::fs::rename(&aside, &path).unwrap();
            let engine = place.builder().open().unwrap();
            assert_eq!(engine.memories().count().unwrap(), 5, "{victim} {replace}");
            assert!(engine.verify().unwrap().is_intact(), "{victim} {replace}");
        }
    }
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    drop(begun(&place));
    let set = |n: u32| Connection::open(place.path()).unwrap().pragma_update(None, "user_version", n).unwrap();
    set(2);
    let bytes = std::fs::read(place.path()).unwrap();
    for e in [place.builder().open().unwrap_err(), place.builder().read_only().open().unwrap_err(), place.builder().verify().unwrap_err()] {
        assert_eq!(e.code(), Code::StoreNewer, "{e}");
        assert!(e.message().contains("store format 2"), "{e}");
    }
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
    set(1);
    assert!(place.builder().verify().unwrap().is_intact());
    assert_eq!(place.builder().open().unwrap().memories().count().unwrap(), 5);
}

#[test]
fn a_file_of_somebody_else_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let text = "no database, but a text of more than a hundred bytes, ".repeat(9);
    std::fs::write(place.path(), &text).unwrap();
    assert_eq!(place.builder().open().unwrap_err().code(), Code::StoreNotDatabase);
    assert_eq!(std::fs::read_to_string(place.path()).unwrap(), text);
    std::fs::remove_file(place.path()).unwrap();
    Connection::open(place.path()).unwrap().execute_batch("CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)").unwrap();
    let bytes = std::fs::read(place.path()).unwrap();
    assert_eq!(place.builder().open().unwrap_err().code(), Code::StoreNotDatabase);
    assert_eq!(std::fs::read(place.path()).unwrap(), bytes);
}

#[test]
fn a_database_that_left_wal_mode_returns_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    drop(begun(&place));
    let mode = |sql: &str| Connection::open(place.path()).unwrap().query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(mode("PRAGMA journal_mode = DELETE"), "delete");
    let engine = place.builder().open().unwrap();
    assert_eq!(engine.memories().count().unwrap(), 5);
    drop(engine);
    assert_eq!(mode("PRAGMA journal_mode"), "wal");
}
