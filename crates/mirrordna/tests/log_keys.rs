//! Rotation of the key of a log's checkpoints, as a host calls it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::peer::PeerWitness;
use mirrordna::proof::{Bodies, Judgement, Policy, Under, judge};
use mirrordna::tiles;
use mirrordna::{Code, Engine, Fingerprint, Identity, IdentityType, Keys, LogKeyRotation, Witness};
use std::path::Path;

fn created(engine: &Engine) -> Identity {
    engine.identities().create(IdentityType::Agent).unwrap()
}

fn say(identity: &Identity, text: &str) -> u64 {
    identity.memories().add(text).send().unwrap().event.index
}

fn rotate(engine: &Engine) -> LogKeyRotation {
    engine.main().rotate_log_key().unwrap()
}

fn whole(engine: &Engine) -> Vec<u8> {
    let mut file = Vec::new();
    engine.audit(Bodies::Sealed, &mut file, &mut |_, _| {}).unwrap();
    file
}

fn proof_of(engine: &Engine, position: u64) -> Vec<u8> {
    let mut file = Vec::new();
    engine.main().prove(&[position]).write(&mut file).unwrap();
    file
}

fn trusting(key: &Fingerprint) -> Policy {
    Policy::default().and(*key.as_bytes())
}

fn judged(file: &[u8], policy: Policy, kept: &[&str]) -> Judgement {
    let kept: Vec<Vec<u8>> = kept.iter().map(|note| note.as_bytes().to_vec()).collect();
    judge(&mut &file[..], policy, &kept, &mut |_| {}).unwrap()
}

fn verdict(file: &[u8], policy: Policy) -> &'static str {
    let found = judged(file, policy, &[]);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    found.verdict.name()
}

/// Slots of the role `log` in the keyring file.
fn log_slots(engine: &Engine) -> usize {
    let text = std::fs::read_to_string(engine.keyring_path().unwrap()).unwrap();
    text.lines().filter(|line| line.starts_with("{\"role\":\"log\"")).count()
}

fn copy(from: &Path, to: &Path) {
    for end in ["", "-wal"] {
        let (from, to) = (format!("{}{end}", from.display()), format!("{}{end}", to.display()));
        match std::path::Path::new(&from).exists() {
            true => drop(std::fs::copy(from, to).unwrap()),
            false => drop(std::fs::remove_file(to)),
        }
    }
}

#[test]
fn a_log_goes_on_with_another_key() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    let first = say(&agent, "by the first key");
    let old = engine.fingerprint();
    let before = engine.main().checkpoint().unwrap();
    let rotated = rotate(&engine);
    assert_eq!((rotated.before.clone(), log_slots(&engine)), (old.to_string(), 1), "the old key is gone");
    let new = engine.fingerprint();
    assert_eq!((rotated.key.fingerprint.clone(), rotated.key.in_force, new == old), (new.to_string(), true, false));
    let second = say(&agent, "by the second key");
    let after = engine.main().checkpoint().unwrap();
    assert!(after.lines().nth(3).is_some_and(|line| line == format!("log.key {}", rotated.key.leaf)), "{after}");

    // What the old key signed is still of this log, and so is the bridge.
    for note in [&before, &rotated.bridge, &after] {
        engine.main().check_checkpoint(note).unwrap();
    }
    let whole_file = whole(&engine);
    for file in [&whole_file, &proof_of(&engine, first), &proof_of(&engine, second)] {
        assert_eq!(verdict(file, trusting(&old)), "intact");
        assert_eq!(verdict(file, trusting(&new)), "intact");
        assert_eq!(verdict(file, Policy::default()), "unproven");
        let kept = judged(file, trusting(&new), &[&after]);
        assert_eq!((kept.verdict.name(), kept.logs[0].freshness), ("intact", mirrordna::proof::Freshness::Current));
    }
    let kept = judged(&whole_file, trusting(&new), &[&before, &rotated.bridge]);
    assert_eq!((kept.verdict.name(), kept.logs[0].freshness), ("intact", mirrordna::proof::Freshness::Current));
    drop(agent);
    engine.close().unwrap();

    // Another process finds the key that is in force, and rotates it too.
    let engine = place.open();
    assert_eq!((engine.fingerprint(), engine.freshness()), (new, "current".to_owned()));
    let agent = engine.identities().list().unwrap().remove(0);
    rotate(&engine);
    let third = say(&agent, "by the third key");
    let keys = engine.main().log_keys().unwrap();
    let since: Vec<(u64, bool)> = keys.iter().map(|key| (key.since, key.in_force)).collect();
    assert_eq!((since[0], since[1]), ((1, false), (rotated.key.since, false)));
    assert!(since.len() == 3 && since[2].0 > since[1].0 && since[2].1, "{since:?}");
    assert_eq!(log_slots(&engine), 1);
    let newest = engine.fingerprint();
    for file in [whole(&engine), proof_of(&engine, first), proof_of(&engine, third)] {
        for key in [&old, &new, &newest] {
            assert_eq!(verdict(&file, trusting(key)), "intact");
        }
    }
    // Who trusts a key only does not trust what was signed before it.
    assert_eq!(verdict(&whole_file, trusting(&newest)), "unproven");
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.freshness.as_str()), ("intact", "current"), "{report:#?}");
    assert_eq!(report.log_key, Some(newest.to_string()));
    // Nothing of this machine: only what a stranger was told.
    for key in [&old, &new, &newest] {
        let stranger = || Engine::builder(place.path().to_str().unwrap()).keys(Keys::Folder(place.dir.path().join("none")));
        let report = stranger().witness(Witness::Off).policy(trusting(key)).verify().unwrap();
        assert_eq!(report.verdict, "intact", "{report:#?}");
    }
}

#[test]
fn a_proof_from_before_the_rotation_is_not_the_new_keys() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    let first = say(&agent, "said before");
    let (proof, bundle, old) = (proof_of(&engine, first), whole(&engine), engine.fingerprint());
    rotate(&engine);
    let new = engine.fingerprint();
    for file in [&proof, &bundle] {
        assert_eq!(verdict(file, trusting(&old)), "intact");
        assert_eq!(verdict(file, trusting(&new)), "unproven");
    }
    // A checkpoint by the new key that was kept says that more was signed since.
    let kept = engine.main().checkpoint().unwrap();
    let found = judged(&bundle, trusting(&old), &[&kept]);
    assert_eq!((found.verdict.name(), found.problems[0].code), ("altered", "log.rolled_back"));
}

#[test]
fn a_process_that_only_reads_goes_on_too() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    say(&agent, "first");
    let id = agent.id().to_owned();
    drop(agent);
    let rotated = rotate(&engine);
    engine.close().unwrap();
    let reader = place.builder().read_only().open().unwrap();
    assert_eq!((reader.fingerprint().to_string(), reader.memories().count().unwrap()), (rotated.key.fingerprint.clone(), 1));
    assert_eq!(reader.main().rotate_log_key().unwrap_err().code(), Code::StoreReadOnly);
    assert_eq!(reader.main().log_keys().unwrap().len(), 2);
    drop(reader);
    // Without any key, as a stranger.
    let stranger = Engine::builder(place.path().to_str().unwrap()).keys(Keys::Folder(place.dir.path().join("none")));
    let stranger = stranger.witness(Witness::Off).read_only().open().unwrap();
    assert_eq!(stranger.fingerprint().to_string(), rotated.key.fingerprint);
    assert_eq!(stranger.identities().list().unwrap()[0].id(), id);
}

#[test]
fn a_copy_from_before_the_rotation_is_rolled_back() {
    let place = Place::new();
    let engine = place.open();
    say(&created(&engine), "in the backup");
    let mut backup = Vec::new();
    engine.export(&mut backup).unwrap();
    engine.clone().close().unwrap();
    drop(engine);
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    let engine = place.open();
    rotate(&engine);
    let mut newer = Vec::new();
    engine.export(&mut newer).unwrap();
    engine.close().unwrap();
    copy(&old, &place.path());
    assert_eq!(place.builder().open().unwrap_err().code(), Code::RolledBack);
    let report = place.verify();
    assert_eq!((report.verdict, report.problems[0].code.as_str()), ("altered", "log.rolled_back"), "{report:#?}");

    // Where nothing was seen it opens, and is not gone on from: its key is gone.
    let restored = place.dir.path().join("restored.db");
    let at = || place.at(&restored).witness(Witness::Off);
    at().restore(&mut backup.as_slice()).unwrap();
    let engine = at().open().unwrap();
    assert_eq!(engine.memories().count().unwrap(), 1);
    let agent = engine.identities().list().unwrap().remove(0);
    assert_eq!(agent.memories().add("too late").send().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.main().rotate_log_key().unwrap_err().code(), Code::KeyMissing);
    drop(agent);
    drop(engine);
    let events = at().verify().unwrap().events;
    at().fork(events, "the newest backup is from before the rotation").unwrap();
    let engine = at().open().unwrap();
    engine.identities().list().unwrap()[0].memories().add("goes on").send().unwrap();
    rotate(&engine);
    engine.close().unwrap();
    let report = at().verify().unwrap();
    assert_eq!((report.verdict, report.closed), ("intact", 1), "{report:#?}");

    // A backup from after it is as good as any.
    let restored = place.dir.path().join("newer.db");
    let at = || place.at(&restored).witness(Witness::Off);
    at().restore(&mut newer.as_slice()).unwrap();
    let engine = at().open().unwrap();
    engine.identities().list().unwrap()[0].memories().add("goes on").send().unwrap();
    engine.close().unwrap();
    assert_eq!(at().verify().unwrap().verdict, "intact");
}

#[test]
fn a_log_that_is_left_after_a_rotation_stays_readable() {
    let place = Place::new();
    let engine = place.open();
    let agent = created(&engine);
    say(&agent, "first");
    rotate(&engine);
    engine.clone().close().unwrap();
    drop((agent, engine));
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    let engine = place.open();
    say(&engine.identities().list().unwrap()[0], "lost");
    engine.close().unwrap();
    copy(&old, &place.path());
    let events = place.verify().events;
    place.builder().fork(events, "the disk was lost").unwrap();
    let engine = place.open();
    let agent = engine.identities().list().unwrap().remove(0);
    say(&agent, "goes on");
    rotate(&engine);
    assert_eq!(engine.memories().count().unwrap(), 2);
    let file = whole(&engine);
    assert_eq!(verdict(&file, trusting(&engine.fingerprint())), "intact");
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.closed), ("intact", 1), "{report:#?}");
}

#[test]
fn a_folder_of_tiles_goes_on_with_the_new_key() {
    let place = Place::new();
    let engine = place.open();
    let folder = place.dir.path().join("tiles");
    let agent = created(&engine);
    say(&agent, "first");
    engine.export_tiles(&folder).unwrap();
    let old = engine.main().verifier_key();
    rotate(&engine);
    say(&agent, "second");
    engine.export_tiles(&folder).unwrap();
    let new = engine.main().verifier_key();
    let of = |keys: &[&String]| Policy::parse(&keys.iter().map(|key| format!("log {key}\n")).collect::<String>()).unwrap();
    let verdict = |policy: Policy| tiles::verify(&folder, &policy).unwrap().verdict;
    assert_eq!(verdict(of(&[&new])), "intact");
    assert_eq!(verdict(of(&[&old, &new])), "intact");
    assert_eq!(verdict(of(&[&old])), "unproven", "no bodies, so no bridge");
}

#[test]
fn a_witness_is_told_of_the_new_key() {
    let engine = Engine::open("memory:").unwrap();
    let (dir, log) = (tempfile::tempdir().unwrap(), engine.main());
    let witness = PeerWitness::init(dir.path(), "witness.example/keys").unwrap();
    witness.trust(&log.verifier_key()).unwrap();
    let policy = Policy::default().and_witness(witness.verifier_key());
    let mut ask = |request: &str| witness.add_checkpoint(request.as_bytes());
    let agent = created(&engine);
    say(&agent, "first");
    log.cosign(&log.checkpoint().unwrap(), &policy, &mut ask).unwrap();
    let rotated = rotate(&engine);
    // The old key's line is on the bridge.
    let bridge = log.cosign(&rotated.bridge, &policy, &mut ask).unwrap();
    assert_eq!(bridge.matches('\u{2014}').count(), 3, "both keys and the witness: {bridge}");
    log.anchor(&bridge, &policy).unwrap();
    // A history that ends with the bridge would lack what it leads to.
    let under = |under: &Under| engine.audit_under(Bodies::Sealed, under, &mut Vec::new(), &mut |_, _| {}).unwrap_err().code();
    assert_eq!(under(&Under::Checkpoints(vec![bridge])), Code::InputInvalid);
    assert_eq!(under(&Under::Witnessed(policy.clone())), Code::NotFound);
    say(&agent, "second");
    let note = log.checkpoint().unwrap();
    let size = rotated.key.since - 1;
    assert_eq!(witness.add_checkpoint(log.witness_request(&note, size).unwrap().as_bytes()).unwrap().status, 403);
    assert_eq!(log.cosign(&note, &policy, &mut ask).unwrap_err().code(), Code::WitnessRefused);
    witness.trust(&rotated.key.verifier_key).unwrap();
    let cosigned = log.cosign(&note, &policy, &mut ask).unwrap();
    log.anchor(&cosigned, &policy).unwrap();
    assert!(engine.verify().unwrap().is_intact());
    // What it saw on both sides bounds times in one history.
    let policy = Policy::parse(&format!("log {}\nwitness w {}\nquorum none\n", log.verifier_key(), witness.verifier_key())).unwrap();
    let found = judged(&whole(&engine), policy, &[]);
    assert_eq!((found.verdict.name(), found.logs[0].times.not_after.len()), ("intact", 2), "{found:#?}");
}
