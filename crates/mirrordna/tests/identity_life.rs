//! Rotation, recovery and revocation of identities, as a host calls them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, Engine, Identity, IdentityType, RecoveryKeys, SealPolicy};
use std::path::PathBuf;

fn created(engine: &Engine) -> Identity {
    engine.identities().create(IdentityType::Agent).unwrap()
}

/// Every event signed: a slow machine adds no seals of its own, so that what
/// stands where is always the same.
fn open(place: &Place) -> Engine {
    place.builder().seals(SealPolicy::EveryEvent).open().unwrap()
}

fn say(identity: &Identity, text: &str) -> u64 {
    identity.memories().add(text).send().unwrap().event.index
}

/// The recovery file, moved away: what stays here lacks it.
fn moved_away(engine: &Engine) -> RecoveryKeys {
    let file = engine.recovery_path().unwrap();
    let keys = RecoveryKeys::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    std::fs::remove_file(file).unwrap();
    keys
}

fn whats(identity: &Identity) -> Vec<(u64, &'static str)> {
    identity.history().unwrap().versions.iter().map(|v| (v.version, v.what)).collect()
}

#[test]
fn a_rotated_identity_goes_on_with_another_key() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    let first = say(&agent, "by the first key");
    let version = agent.rotate().unwrap();
    assert_eq!((version.version, version.what, version.revoked), (2, "rotated", false));
    let second = say(&agent, "by the second key");
    assert_eq!(agent.rotate().unwrap().version, 3);
    say(&agent, "by the third key");

    let history = agent.history().unwrap();
    assert_eq!(whats(&agent), [(1, "created"), (2, "rotated"), (3, "rotated")]);
    assert!(history.disputed.is_empty() && !history.revoked);
    let fingerprints: std::collections::HashSet<_> = history.versions.iter().flat_map(|v| &v.fingerprints).collect();
    assert_eq!(fingerprints.len(), 3, "a key of its own each time");
    // The log's position decides, not a time.
    for (position, version) in
        [(first, 1), (history.versions[1].position - 1, 1), (history.versions[1].position, 2), (second, 2), (u64::MAX, 3)]
    {
        assert_eq!(engine.identities().resolve_at(agent.id(), position).unwrap().version, version, "at {position}");
    }
    assert_eq!(engine.identities().resolve_at(agent.id(), 0).unwrap_err().code(), Code::NotFound);
    assert_eq!(agent.did_log().unwrap().lines().count(), 3);
    assert_eq!(agent.did_log_at(first).unwrap().lines().count(), 1);

    let report = engine.verify().unwrap();
    assert!(report.is_intact() && report.disputed.is_empty(), "{report:#?}");
    drop(agent);
    engine.close().unwrap();

    // Another process finds the key that is in force.
    let engine = place.open();
    let agent = engine.identities().list().unwrap().remove(0);
    say(&agent, "after opening again");
    assert_eq!(agent.rotate().unwrap().version, 4);
    assert_eq!(agent.memories().count().unwrap(), 4);
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.unsigned), ("intact", 0), "{report:#?}");
}

#[test]
fn a_recovered_identity_shows_exactly_what_it_does_not_stand_by() {
    let place = Place::new();
    let engine = open(&place);
    let agent = created(&engine);
    let other = created(&engine);
    let keys = moved_away(&engine);
    let trusted = say(&agent, "by its owner");
    say(&other, "in between");
    let stolen = say(&agent, "by a thief");
    say(&other, "in between again");
    let last = say(&agent, "by the thief too");
    let version = agent.recover(&keys, Some(trusted)).unwrap();
    assert_eq!((version.version, version.what), (2, "recovered"));

    let report = engine.verify().unwrap();
    assert!(report.is_intact(), "disputed is not altered: {report:#?}");
    let [disputed] = &report.disputed[..] else { panic!("{:?}", report.disputed) };
    assert_eq!((disputed.actor.as_str(), disputed.epoch), (agent.id(), None));
    assert_eq!((disputed.first_leaf, disputed.last_leaf, disputed.count, disputed.by), (stolen, last, 2, version.position));
    // entry, profile, epoch.open, the owner's, and then the thief's.
    assert_eq!((disputed.first, disputed.last), (4, 5));
    let shown = agent.history().unwrap().disputed;
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].first, shown[0].last, shown[0].first_position, shown[0].last_position), (4, 5, stolen, last));
    assert_eq!((shown[0].count, shown[0].by, shown[0].epoch), (2, version.position, None));

    // Life goes on; the key that was used is used up, the new one is in its file.
    say(&agent, "recovered");
    assert_eq!(agent.recover(&keys, None).unwrap_err().code(), Code::KeyMissing);
    agent.rotate().unwrap();
    let again = moved_away(&engine);
    assert_eq!(agent.recover(&again, None).unwrap().version, 4);
    say(&agent, "again");
    assert_eq!(whats(&agent), [(1, "created"), (2, "recovered"), (3, "rotated"), (4, "recovered")]);
    let report = engine.verify().unwrap();
    assert!(report.is_intact() && report.disputed.len() == 1 && report.unsigned == 0, "{report:#?}");
    // A position before it was known is nothing to trust.
    let keys = moved_away(&engine);
    assert_eq!(agent.recover(&keys, Some(0)).unwrap_err().code(), Code::InputInvalid);
    drop((agent, other));
    engine.close().unwrap();
    assert_eq!(place.verify().verdict, "intact");
}

#[test]
fn a_revoked_identity_writes_no_more_and_is_read_on() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    say(&agent, "stays");
    assert_eq!(agent.revoke(" ").unwrap_err().code(), Code::InputInvalid);
    let version = agent.revoke("the project ended").unwrap();
    assert!(version.revoked && version.what == "revoked");
    let refused = |agent: &Identity| {
        let keys = RecoveryKeys::parse("").unwrap();
        for error in [
            agent.memories().add("too late").send().unwrap_err(),
            agent.timeline().append("late", &serde_json::json!({})).unwrap_err(),
            agent.rotate().unwrap_err(),
            agent.recover(&keys, None).unwrap_err(),
            agent.revoke("again").unwrap_err(),
            agent.revoke_epoch(2, None).unwrap_err(),
        ] {
            assert_eq!(error.code(), Code::IdentityRevoked, "{error}");
        }
        assert_eq!(agent.memories().count().unwrap(), 1);
        assert!(agent.history().unwrap().revoked);
    };
    refused(&agent);
    assert!(engine.verify().unwrap().is_intact());
    drop(agent);
    engine.close().unwrap();
    let engine = place.open();
    let agent = engine.identities().list().unwrap().remove(0);
    refused(&agent);
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.unsigned), ("intact", 0), "{report:#?}");
}

#[test]
fn a_stolen_epoch_ends_and_its_process_goes_on() {
    let place = Place::new();
    let engine = open(&place);
    let agent = created(&engine);
    let trusted = say(&agent, "trusted");
    let stolen = say(&agent, "by whoever stole the epoch's key");
    // entry, profile, epoch.open at 2, then these two.
    agent.revoke_epoch(2, Some(3)).unwrap();
    assert_eq!(stolen, trusted + 1);
    say(&agent, "by another epoch");
    for (wrong, _) in [(0, "its entry"), (1, "its profile"), (5, "the revocation"), (99, "nothing")] {
        assert_eq!(agent.revoke_epoch(wrong, None).unwrap_err().code(), Code::InputInvalid);
    }
    let report = engine.verify().unwrap();
    assert!(report.is_intact(), "{report:#?}");
    let [disputed] = &report.disputed[..] else { panic!("{:?}", report.disputed) };
    assert_eq!((disputed.epoch, disputed.first, disputed.last, disputed.count), (Some(2), 4, 4, 1));
    assert_eq!((disputed.first_leaf, disputed.by), (stolen, stolen + 1));
    let shown = agent.history().unwrap();
    assert_eq!((shown.versions.len(), shown.disputed[0].first_position, shown.disputed[0].epoch), (1, stolen, Some(2)));
    // Without a last trusted event nothing of it is disputed.
    agent.revoke_epoch(6, None).unwrap();
    say(&agent, "by a third one");
    let report = engine.verify().unwrap();
    assert!(report.is_intact() && report.disputed.len() == 1, "{report:#?}");
    drop(agent);
    engine.close().unwrap();
    assert_eq!(place.verify().verdict, "intact");
}

#[test]
fn without_its_keys_an_identity_is_not_changed() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    let keyring = engine.keyring_path().unwrap();
    let early: PathBuf = keyring.with_extension("early");
    std::fs::copy(&keyring, &early).unwrap();
    let keys = moved_away(&engine);
    agent.rotate().unwrap();
    say(&agent, "by the second key");
    drop(agent);
    engine.close().unwrap();

    // An older copy of the keyring has neither the key in force nor the next.
    std::fs::copy(&early, &keyring).unwrap();
    let engine = place.open();
    let agent = engine.identities().list().unwrap().remove(0);
    for error in [
        agent.memories().add("without the key").send().unwrap_err(),
        agent.rotate().unwrap_err(),
        agent.revoke("no").unwrap_err(),
        agent.revoke_epoch(2, None).unwrap_err(),
        agent.recover(&RecoveryKeys::parse("").unwrap(), None).unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::KeyMissing, "{error}");
    }
    assert_eq!(agent.memories().list(0, 9).unwrap().len(), 1);
    // The recovery key needs none of the others.
    agent.recover(&keys, None).unwrap();
    say(&agent, "recovered");
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.disputed.len()), ("intact", 0), "{report:#?}");
}

#[test]
fn who_may_not_write_changes_nothing() {
    let place = Place::new();
    let engine = place.open();
    let closed = created(&engine);
    let keyring = engine.keyring_path().unwrap();
    let length = || std::fs::metadata(&keyring).unwrap().len();
    let before = length();
    engine.close().unwrap();
    assert_eq!(closed.rotate().unwrap_err().code(), Code::StoreClosed);
    drop(closed);
    let reader = place.builder().read_only().open().unwrap();
    let agent = reader.identities().list().unwrap().remove(0);
    assert_eq!(agent.rotate().unwrap_err().code(), Code::StoreReadOnly);
    assert_eq!(agent.revoke("no").unwrap_err().code(), Code::StoreReadOnly);
    assert_eq!(agent.revoke_epoch(2, None).unwrap_err().code(), Code::StoreReadOnly);
    assert_eq!(length(), before, "no keys for nothing");
}

/// Puts the state back that `path` had, after something was written to it, and
/// goes on from there.
fn forked(place: &Place, write: impl FnOnce(&Engine)) {
    let (path, old) = (place.path(), place.dir.path().join("old.db"));
    std::fs::copy(&path, &old).unwrap();
    let engine = place.open();
    write(&engine);
    engine.close().unwrap();
    for end in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    std::fs::copy(&old, &path).unwrap();
    assert_eq!(place.builder().open().unwrap_err().code(), Code::RolledBack);
    place.builder().fork(place.verify().events, "the disk was lost").unwrap();
}

/// The agent of the default tenant and of another.
fn both(engine: &Engine) -> [Identity; 2] {
    let acme = engine.tenant("acme").unwrap().identities();
    [engine.identities(), acme].map(|i| i.list().unwrap().remove(0))
}

fn say_both(engine: &Engine, text: &str) {
    both(engine).iter().for_each(|identity| _ = say(identity, text));
}

#[test]
fn after_a_fork_an_identity_changes_in_every_log_that_goes_on() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    engine.tenant("acme").unwrap().identities().adopt(&agent).unwrap();
    let keys = moved_away(&engine);
    say_both(&engine, "first");
    agent.rotate().unwrap();
    say_both(&engine, "second");
    drop(agent);
    engine.close().unwrap();

    // A rotation that is lost with the disk was none; its keys are in nobody's way.
    forked(&place, |engine| {
        say_both(engine, "lost");
        both(engine)[0].rotate().unwrap();
        say_both(engine, "lost too");
    });
    let engine = place.open();
    let [home, there] = both(&engine);
    assert_eq!((whats(&home).len(), whats(&there).len()), (2, 2));
    let before = home.history().unwrap();
    // One that has said nothing since the fork is in no open log yet.
    assert_eq!(there.rotate().unwrap().version, 3);
    for identity in [&home, &there] {
        assert_eq!(whats(identity), [(1, "created"), (2, "rotated"), (3, "rotated")]);
        assert_eq!(identity.history().unwrap().versions[..2].len(), 2);
    }
    assert_eq!(home.history().unwrap().versions[..2], before.versions, "as it stands in the log before");
    say_both(&engine, "third");
    let report = engine.verify().unwrap();
    assert!(report.is_intact() && report.closed == 2 && report.disputed.is_empty(), "{report:#?}");
    let texts = |of: &Identity| of.memories().list(0, 9).unwrap().into_iter().map(|m| m.content).collect::<Vec<_>>();
    assert_eq!((texts(&home), texts(&there)), (vec!["first".into(), "second".into(), "third".into()], texts(&home)));
    let trusted = say(&home, "trusted");
    drop((home, there));
    engine.close().unwrap();

    // Recovered where it has not entered: nothing there is by anybody else.
    forked(&place, |engine| say_both(engine, "lost"));
    let engine = place.open();
    let [home, there] = both(&engine);
    let thief = say(&home, "by a thief");
    assert_eq!(home.recover(&keys, Some(trusted)).unwrap().version, 4);
    let report = engine.verify().unwrap();
    assert!(report.is_intact() && report.closed == 4, "{report:#?}");
    // All that it said since the fork: its epoch and the memory, after its entry.
    let [range] = &home.history().unwrap().disputed[..] else { panic!("one range") };
    assert_eq!((range.first, range.last, range.last_position, range.count), (1, 2, thief, 2));
    assert!(there.history().unwrap().disputed.is_empty());
    assert_eq!((report.disputed.len(), report.disputed[0].count), (1, 2));
    say_both(&engine, "fourth");
    drop((home, there));
    engine.close().unwrap();

    // Ended where it has not entered.
    forked(&place, |engine| say_both(engine, "lost"));
    let engine = place.open();
    assert!(both(&engine)[0].revoke("the project ended").unwrap().revoked);
    for identity in both(&engine) {
        assert!(identity.history().unwrap().revoked);
        assert_eq!(identity.memories().add("late").send().unwrap_err().code(), Code::IdentityRevoked);
    }
    engine.close().unwrap();
    forked_away(&place);
}

/// An identity that has ended stays ended in the logs that go on.
fn forked_away(place: &Place) {
    forked(place, |engine| {
        let other = created(engine);
        engine.tenant("acme").unwrap().identities().adopt(&other).unwrap();
    });
    let engine = place.open();
    for identity in both(&engine) {
        assert_eq!(identity.memories().add("later still").send().unwrap_err().code(), Code::IdentityRevoked);
        assert!(identity.history().unwrap().revoked);
    }
    assert!(engine.verify().unwrap().is_intact());
    engine.close().unwrap();
    assert_eq!(place.verify().verdict, "intact");
}

/// A clock that stands still until it is set.
#[derive(Debug)]
struct Still(std::sync::atomic::AtomicU64);

impl mirrordna::Clock for Still {
    fn now_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn rotations_run_ahead_of_the_clock_by_a_little_only() {
    let place = Place::new();
    let clock = std::sync::Arc::new(Still(std::sync::atomic::AtomicU64::new(1_790_000_000_000)));
    let engine = place.builder().clock(clock.clone()).open().unwrap();
    let agent = created(&engine);
    let times = |agent: &Identity| -> Vec<String> {
        let log = agent.did_log().unwrap();
        log.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["versionTime"].as_str().unwrap().to_owned()).collect()
    };
    for version in 2..=11 {
        assert_eq!(agent.rotate().unwrap().version, version);
    }
    let refused = agent.rotate().unwrap_err();
    assert_eq!(refused.code(), Code::LimitExceeded, "{refused}");
    assert!(refused.to_string().contains("11 s ahead of the clock, the limit is 10 s"), "{refused}");
    assert_eq!(times(&agent).len(), 11, "nothing was written");
    // A second later there is room for one more.
    clock.0.fetch_add(1_000, std::sync::atomic::Ordering::Relaxed);
    agent.rotate().unwrap();
    assert_eq!(agent.rotate().unwrap_err().code(), Code::LimitExceeded);
    // A clock that went back by a year stops no recovery, and no revocation.
    clock.0.fetch_sub(365 * 86_400_000, std::sync::atomic::Ordering::Relaxed);
    agent.recover(&moved_away(&engine), None).unwrap();
    agent.revoke("the clock is wrong, the keys are gone").unwrap();
    let times = times(&agent);
    assert!(times.len() == 14 && times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(engine.verify().unwrap().is_intact());
}
