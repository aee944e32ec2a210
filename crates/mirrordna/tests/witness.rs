//! The head witness: older and other copies of the whole database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Basis, Code, IdentityType, Witness};
use std::path::Path;

fn write(place: &Place, text: &str) {
    let engine = place.open();
    let agent = match engine.identities().list().unwrap().pop() {
        Some(agent) => agent,
        None => engine.identities().create(IdentityType::Agent).unwrap(),
    };
    agent.memories().add(text).send().unwrap();
    drop(agent);
    engine.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn a_current_database_says_so() {
    let place = Place::new();
    write(&place, "one");
    let report = place.verify();
    assert_eq!((report.verdict, report.freshness.as_str()), ("intact", "current"), "{report:#?}");
}

#[test]
fn an_older_copy_in_its_place_is_refused_and_elsewhere_is_behind() {
    let place = Place::new();
    write(&place, "one");
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    let before = place.verify().events;
    write(&place, "two");
    let lost = place.verify().events - before;
    let report = place.at(&old).verify().unwrap();
    assert_eq!((report.verdict, report.freshness), ("intact", format!("behind {lost}")));
    copy(&old, &place.path());
    let report = place.verify();
    assert_eq!((report.verdict, report.freshness), ("altered", format!("behind {lost}")));
    assert_eq!(report.problems[0].code, "log.rolled_back");
    let error = place.builder().open().unwrap_err();
    assert_eq!(error.code(), Code::RolledBack);
    assert!(error.message().contains(&format!("is {lost} events behind")), "{error}");
    // Without the witness nobody can tell, and nobody claims to.
    let report = place.builder().witness(Witness::Off).verify().unwrap();
    assert_eq!((report.verdict, report.freshness.as_str()), ("intact", "unproven"));
}

#[test]
fn a_history_that_went_another_way_is_a_fork() {
    let place = Place::new();
    write(&place, "one");
    let base = place.dir.path().join("base.db");
    copy(&place.path(), &base);
    write(&place, "two");
    // The same base goes on where the witness does not see it.
    copy(&base, &place.path());
    {
        let engine = place.builder().witness(Witness::Off).open().unwrap();
        let agent = engine.identities().list().unwrap().pop().unwrap();
        (0..9).for_each(|i| drop(agent.memories().add(format!("other {i}")).send().unwrap()));
    }
    assert_eq!(place.builder().open().unwrap_err().code(), Code::Forked);
    let report = place.verify();
    assert_eq!((report.verdict, report.freshness.as_str()), ("altered", "forked"));
    assert_eq!(report.problems[0].code, "log.forked");
}

#[test]
fn the_witness_never_goes_backwards_and_survives_a_torn_slot() {
    let place = Place::new();
    write(&place, "one");
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    write(&place, "two");
    let file = std::fs::read_dir(place.dir.path().join("state")).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    assert_eq!(good.len(), 1024);
    // Another machine's copy writes on; it must not replace what was seen.
    copy(&old, &place.path());
    assert!(place.builder().open().is_err());
    assert_eq!(std::fs::read(&file).unwrap(), good);
    // Whichever slot is torn, the other one still stands.
    for slot in 0..2 {
        let mut torn = good.clone();
        torn[slot * 512 + 100] ^= 0xff;
        std::fs::write(&file, &torn).unwrap();
        let freshness = place.at(&old).verify().unwrap().freshness;
        assert!(freshness == "current" || freshness.starts_with("behind"), "{freshness}");
    }
    std::fs::write(&file, b"rubbish").unwrap();
    assert_eq!(place.verify().freshness, "unproven");
}

#[test]
fn a_crash_without_a_last_checkpoint_is_no_rollback() {
    let place = Place::new();
    write(&place, "one");
    let engine = place.open();
    let agent = engine.identities().list().unwrap().pop().unwrap();
    (0..300).for_each(|i| drop(agent.memories().add(format!("unsealed {i}")).send().unwrap()));
    // The copy is what a crash would leave: no seal, no checkpoint of the end.
    let crashed = place.dir.path().join("crashed.db");
    copy(&place.path(), &crashed);
    copy(&place.path().with_extension("db-wal"), &crashed.with_extension("db-wal"));
    let report = place.at(&crashed).verify().unwrap();
    assert_eq!((report.verdict, report.freshness.as_str()), ("intact", "current"), "{report:#?}");
    assert!(report.unsigned < 64);
    assert_eq!(place.at(&crashed).open().unwrap().memories().count().unwrap(), 301);
}

#[test]
fn an_older_copy_is_read_where_that_is_asked_for_and_says_so() {
    let place = Place::new();
    write(&place, "one");
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    let before = place.verify().events;
    write(&place, "two");
    let lost = place.verify().events - before;
    copy(&old, &place.path());
    let remembered = || std::fs::read(std::fs::read_dir(place.dir.path().join("state")).unwrap().next().unwrap().unwrap().path()).unwrap();
    let seen = remembered();
    assert_eq!(place.builder().read_only().open().unwrap_err().code(), Code::RolledBack);

    let engine = place.builder().as_of().open().unwrap();
    assert_eq!(engine.freshness(), format!("behind {lost}"));
    let texts: Vec<_> = engine.memories().list(0, 9).unwrap().into_iter().map(|m| m.content).collect();
    assert_eq!(texts, ["one"]);
    let agent = engine.identities().list().unwrap().pop().unwrap();
    assert_eq!(agent.memories().add("three").send().unwrap_err().code(), Code::StoreReadOnly);
    // Nobody gets an old state by this way who did not ask for it.
    for other in [place.builder(), place.builder().read_only()] {
        assert_eq!(other.open().unwrap_err().code(), Code::StoreInUse);
    }
    assert_eq!(place.builder().as_of().open().unwrap().freshness(), engine.freshness());
    drop(agent);
    engine.close().unwrap();
    assert_eq!(place.builder().open().unwrap_err().code(), Code::RolledBack);
    assert_eq!((remembered(), place.verify().events), (seen, before));
    // Elsewhere it is a copy that lags; that is said too.
    assert_eq!(place.at(&old).as_of().open().unwrap().freshness(), format!("behind {lost}"));
    assert_eq!(place.at(&old).witness(Witness::Off).as_of().open().unwrap().freshness(), "unproven");
}

#[test]
fn a_fork_is_read_where_that_is_asked_for_and_says_so() {
    let place = Place::new();
    write(&place, "one");
    let base = place.dir.path().join("base.db");
    copy(&place.path(), &base);
    write(&place, "two");
    copy(&base, &place.path());
    {
        let engine = place.builder().witness(Witness::Off).open().unwrap();
        let agent = engine.identities().list().unwrap().pop().unwrap();
        (0..9).for_each(|i| drop(agent.memories().add(format!("other {i}")).send().unwrap()));
    }
    assert_eq!(place.builder().open().unwrap_err().code(), Code::Forked);
    let engine = place.builder().as_of().open().unwrap();
    assert_eq!((engine.freshness().as_str(), engine.memories().count().unwrap()), ("forked", 10));
    assert_eq!(engine.memories().search("other").limit(20).run().unwrap().len(), 9);
}

#[test]
fn tenants_are_old_each_for_itself() {
    let place = Place::new();
    write(&place, "one");
    place.open().tenant("other").unwrap().identities().create(IdentityType::Agent).unwrap();
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    place.open().tenant("other").unwrap().identities().create(IdentityType::User).unwrap();
    copy(&old, &place.path());
    // Only one of the logs went on: the other one is what it was.
    let engine = place.builder().read_only().open().unwrap();
    assert_eq!((engine.freshness().as_str(), engine.tenant("other").unwrap_err().code()), ("current", Code::RolledBack));
    drop(engine);
    let engine = place.builder().as_of().open().unwrap();
    let other = engine.tenant("other").unwrap();
    assert!(other.freshness().starts_with("behind "), "{}", other.freshness());
    assert_eq!((engine.freshness().as_str(), other.identities().list().unwrap().len()), ("current", 1));
}

#[test]
fn an_answer_says_what_it_rests_on() {
    let place = Place::new();
    write(&place, "one");
    let engine = place.open();
    let timeline = engine.timeline();
    let agent = engine.identities().list().unwrap().pop().unwrap();
    let signed = timeline.len().unwrap();
    assert!((0..signed).all(|leaf| timeline.basis(leaf).unwrap() == Basis::Checkpoint));
    let placed = agent.timeline().append("thing.done", &serde_json::json!(1)).unwrap();
    // The service thread may have signed for it meanwhile.
    assert!(matches!(timeline.basis(placed.index).unwrap(), Basis::Own | Basis::Checkpoint));
    assert_eq!(timeline.basis(placed.index + 100).unwrap_err().code(), Code::NotFound);
    // What a crash leaves: events after the newest checkpoint.
    let crashed = place.dir.path().join("crashed.db");
    copy(&place.path(), &crashed);
    copy(&place.path().with_extension("db-wal"), &crashed.with_extension("db-wal"));
    let left = place.at(&crashed).read_only().open().unwrap().timeline();
    assert_eq!((left.basis(0).unwrap(), left.basis(placed.index).unwrap()), (Basis::Checkpoint, Basis::Tail));
    drop((agent, timeline, left));
    engine.close().unwrap();
    // A stranger has nothing to hold the key against.
    let stranger = || place.at(&crashed).keys(mirrordna::Keys::Folder("/nowhere".into())).witness(Witness::Off).read_only();
    assert_eq!(stranger().open().unwrap().timeline().basis(0).unwrap(), Basis::FirstUse);
}

/// Puts the rows of an older copy in the place of those that are there, in one
/// transaction, under whoever has the database open.
fn roll_back_in_place(path: &Path, old: &Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute("ATTACH ?1 AS old", [old.to_str().unwrap()]).unwrap();
    let tables = ["log", "head", "event", "subject", "tile", "cache_segment"];
    let swap: String = tables.map(|t| format!("DELETE FROM main.{t}; INSERT INTO main.{t} SELECT * FROM old.{t};")).concat();
    db.execute_batch(&format!("BEGIN IMMEDIATE; {swap} COMMIT")).unwrap();
}

#[test]
fn a_rollback_under_an_open_engine_is_refused_by_its_reads_and_writes() {
    let place = Place::new();
    write(&place, "one");
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    write(&place, "two");
    for reads_first in [true, false] {
        let now = place.dir.path().join("now.db");
        copy(&place.path(), &now);
        // The witness is off: what this process has seen is enough.
        let engine = place.builder().witness(Witness::Off).open().unwrap();
        let agent = engine.identities().list().unwrap().pop().unwrap();
        let memory = engine.memories().list(0, 1).unwrap().pop().unwrap().id;
        roll_back_in_place(&place.path(), &old);
        if reads_first {
            let reads = [
                engine.memories().count().map(drop),
                engine.memories().list(0, 9).map(drop),
                engine.memories().get(&memory).map(drop),
                engine.memories().search("one").run().map(drop),
                engine.timeline().len().map(drop),
                engine.timeline().get(0).map(drop),
            ];
            for read in reads {
                assert_eq!(read.unwrap_err().code(), Code::RolledBack);
            }
        }
        let refused = agent.memories().add("three").send().unwrap_err();
        assert!(matches!(refused.code(), Code::RolledBack | Code::Altered), "{refused}");
        drop(agent);
        let _refused = engine.close();
        roll_back_in_place(&place.path(), &now);
        assert!(place.verify().is_intact());
    }
}
