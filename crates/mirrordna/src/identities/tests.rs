//! What several processes, and a thief, make of an identity. Other processes
//! are engines past the registry of this one.

use super::{Identity, RecoveryKeys};
use crate::commit::{Item, Job, Speaker};
use crate::engine::{Engine, Inner};
use crate::log::lock;
use crate::{Code, IdentityType, Keys, SealPolicy, Witness};
use mirrordna_core::identity::committed;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::bundle::{Judge, Judgement};
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::json::Json;
use mirrordna_core::verify::multibase::{encode_z, multihash};
use mirrordna_core::verify::{Policy, Verdict};
use mirrordna_core::{Clock, Hash, Kind, Leaf};
use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No two events of one place are of the same time.
#[derive(Debug)]
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

struct Place(tempfile::TempDir, Arc<Ticks>);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), Arc::new(Ticks(AtomicU64::new(1_770_000_000_000))))
    }

    fn keys(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    /// An engine of a process of its own, with the keyring in a folder; every
    /// event is signed, so that no seal comes in between.
    fn process_with(&self, keys: &Path) -> Engine {
        let path = self.0.path().join("m.db");
        let mode = if path.exists() { Mode::Write } else { Mode::Create };
        let store = SqliteStore::open(&path, mode, Durability::Full).unwrap();
        let builder = Engine::builder("unused")
            .keys(Keys::Folder(keys.to_owned()))
            .witness(Witness::Off)
            .seals(SealPolicy::EveryEvent)
            .clock(self.1.clone());
        Engine { inner: Inner::open(Arc::new(store), None, builder).unwrap() }
    }

    fn process(&self) -> Engine {
        self.process_with(&self.keys())
    }
}

/// The identity as another engine has it.
fn same(engine: &Engine, identity: &Identity) -> Identity {
    engine.identities().get(identity.id()).unwrap()
}

fn say(identity: &Identity, text: &str) -> u64 {
    identity.memories().add(text).send().unwrap().event.index
}

fn intact(engine: &Engine) -> crate::VerifyReport {
    let report = engine.verify().unwrap();
    assert!(report.is_intact(), "{report:#?}");
    report
}

fn recovery_of(engine: &Engine) -> RecoveryKeys {
    RecoveryKeys::parse(&std::fs::read_to_string(engine.recovery_path().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_process_goes_on_by_the_key_that_another_one_made() {
    let place = Place::new();
    let (a, b) = (place.process(), place.process());
    let mine = a.identities().create(IdentityType::Agent).unwrap();
    let theirs = same(&b, &mine);
    for round in 2..5 {
        say(&mine, "a");
        say(&theirs, "b");
        // Now this one, then that one.
        let version = if round % 2 == 0 { mine.rotate() } else { theirs.rotate() };
        assert_eq!(version.unwrap().version, round);
        say(&theirs, "b by another key");
        say(&mine, "a by another key");
    }
    assert_eq!(mine.history().unwrap(), theirs.history().unwrap());
    let report = intact(&a);
    assert_eq!((report.unsigned, report.disputed.len(), a.memories().count().unwrap()), (0, 0, 12));
    // Whose epoch was ended elsewhere has nothing to close.
    say(&theirs, "again");
    mine.rotate().unwrap();
    drop((mine, theirs));
    b.close().unwrap();
    intact(&a);
    a.close().unwrap();
}

#[test]
fn writers_of_several_processes_lose_nothing_while_keys_change() {
    let place = Place::new();
    let engines = [place.process(), place.process(), place.process()];
    let agent = engines[0].identities().create(IdentityType::Agent).unwrap();
    let handles: Vec<Identity> = engines.iter().map(|e| same(e, &agent)).collect();
    std::thread::scope(|s| {
        for handle in &handles {
            for _ in 0..2 {
                s.spawn(|| (0..20).for_each(|i| _ = say(handle, &format!("memory {i}"))));
            }
            s.spawn(|| (0..3).for_each(|_| drop(handle.rotate().unwrap())));
        }
    });
    assert_eq!(agent.history().unwrap().versions.len(), 10);
    assert_eq!(engines[0].memories().count().unwrap(), 120);
    let report = intact(&engines[1]);
    assert_eq!((report.disputed.len(), report.unsigned), (0, 0));
}

#[test]
fn a_process_whose_epoch_is_revoked_opens_another_one() {
    let place = Place::new();
    let (a, b) = (place.process(), place.process());
    let mine = a.identities().create(IdentityType::Agent).unwrap();
    let theirs = same(&b, &mine);
    say(&mine, "a");
    let stolen = say(&theirs, "b");
    // entry, profile, a's epoch and memory, b's epoch at 4.
    mine.revoke_epoch(4, Some(4)).unwrap();
    say(&theirs, "b again");
    say(&mine, "a goes on by the epoch it had");
    let report = intact(&a);
    assert_eq!(report.disputed.len(), 1);
    let found = &report.disputed[0];
    assert_eq!((found.epoch, found.first, found.last, found.first_leaf, found.last_leaf), (Some(4), 5, 5, stolen, stolen));
    let opened = |engine: &Engine| lock(&engine.main().log.epochs).values().map(|e| e.opened().unwrap()).collect::<Vec<_>>();
    assert_eq!((opened(&a), opened(&b)), (vec![2], vec![7]));
}

#[test]
fn a_process_without_the_new_keys_reads_and_writes_no_more() {
    let place = Place::new();
    let a = place.process();
    let mine = a.identities().create(IdentityType::Agent).unwrap();
    say(&mine, "before");
    let elsewhere = place.0.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let keyring = a.keyring_path().unwrap();
    std::fs::copy(&keyring, elsewhere.join(keyring.file_name().unwrap())).unwrap();
    let b = place.process_with(&elsewhere);
    let theirs = same(&b, &mine);
    say(&theirs, "with the same keys");
    mine.rotate().unwrap();
    let size = intact(&a).events;
    assert_eq!(theirs.memories().add("with keys of before").send().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(theirs.rotate().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(b.memories().list(0, 9).unwrap().len(), 2);
    assert_eq!(intact(&a).events, size, "nothing was written");
    drop(theirs);
    b.close().unwrap();
    intact(&a);
}

#[test]
fn keys_of_a_version_that_never_came_are_in_nobodys_way() {
    let place = Place::new();
    let a = place.process();
    let agent = a.identities().create(IdentityType::Agent).unwrap();
    let keys = recovery_of(&a);
    say(&agent, "before");
    let length = |file: PathBuf| std::fs::metadata(file).unwrap().len();
    let (keyring, recovery) = (a.keyring_path().unwrap(), a.recovery_path().unwrap());
    let before = (length(keyring.clone()), length(recovery.clone()));
    // The keys are synced, and then the commit is refused.
    a.main().log.poisoned.store(true, Ordering::Release);
    assert_eq!(agent.rotate().unwrap_err().code(), Code::Altered);
    assert_eq!(agent.recover(&keys, None).unwrap_err().code(), Code::Altered);
    assert!(length(keyring) > before.0 && length(recovery) > before.1, "on disk before the commit");
    drop(agent);
    assert!(a.clone().close().is_err());
    drop(a);
    let a = place.process();
    let agent = a.identities().list().unwrap().remove(0);
    say(&agent, "by the key that is in force");
    assert_eq!(agent.rotate().unwrap().version, 2);
    say(&agent, "by the next");
    // The recovery key that counts is the one that was committed to.
    assert_eq!(agent.recover(&recovery_of(&a), None).unwrap().version, 3);
    say(&agent, "recovered");
    assert_eq!(intact(&a).disputed.len(), 0);
}

#[test]
fn one_identity_in_several_tenants_changes_in_all_of_them_at_once() {
    let place = Place::new();
    let a = place.process();
    let home = a.identities().create(IdentityType::Agent).unwrap();
    let keys = recovery_of(&a);
    let other = a.identities().create(IdentityType::Agent).unwrap();
    let (acme, empty) = (a.tenant("acme").unwrap(), a.tenant("empty").unwrap());
    let there = acme.identities().adopt(&home).unwrap();
    acme.identities().adopt(&home).unwrap();
    assert_eq!((acme.identities().list().unwrap().len(), empty.identities().list().unwrap().len()), (1, 0));
    let trusted = say(&home, "at home");
    say(&there, "at acme");
    say(&other, "somebody else");
    // Another process holds epochs in both.
    let b = place.process();
    let (theirs, theirs_there) = (same(&b, &home), b.tenant("acme").unwrap().identities().get(home.id()).unwrap());
    say(&theirs, "b at home");
    say(&theirs_there, "b at acme");
    assert_eq!(there.rotate().unwrap().version, 2);
    for handle in [&home, &there, &theirs, &theirs_there] {
        say(handle, "by the second key");
        let versions: Vec<_> = handle.history().unwrap().versions.iter().map(|v| (v.version, v.what)).collect();
        // In acme it came with what it was then.
        assert_eq!(versions, [(1, "created"), (2, "rotated")]);
    }
    intact(&a);
    // What is disputed in the other tenant goes by the time: all but its entry.
    let version = home.recover(&keys, Some(trusted)).unwrap();
    let report = intact(&a);
    let of = |d: &crate::DisputedEvents| (d.actor == home.id(), d.epoch, d.first, d.last, d.count);
    assert_eq!(report.disputed.iter().map(of).collect::<Vec<_>>(), [(true, None, 4, 11, 8), (true, None, 1, 10, 10)]);
    // Somebody else's epoch and memory stand in between.
    let at_home = &report.disputed[0];
    assert_eq!((at_home.first_leaf, at_home.last_leaf, at_home.by), (trusted + 3, version.position - 1, version.position));
    for handle in [&home, &there, &theirs, &theirs_there] {
        say(handle, "recovered");
    }
    // It ends everywhere, also for who had not asked for it here.
    theirs.revoke("it was stolen").unwrap();
    for handle in [&home, &there, &theirs, &theirs_there] {
        assert_eq!(handle.memories().add("late").send().unwrap_err().code(), Code::IdentityRevoked);
    }
    assert_eq!(empty.identities().adopt(&home).unwrap_err().code(), Code::IdentityRevoked);
    say(&other, "lives");
    intact(&b);
    let stranger = Engine::open("memory:").unwrap();
    assert_eq!(stranger.identities().adopt(&other).unwrap_err().code(), Code::InputInvalid);
}

/// A next version by a key that nobody committed to, whole but for that.
fn forged(did_log: &str, update: &SecretKey, actor: &SecretKey) -> Vec<u8> {
    let known = DidLog::verify(did_log.as_bytes()).unwrap();
    let latest = known.latest().unwrap();
    let json = Json::parse_canonical(did_log.lines().last().unwrap()).unwrap();
    let state = json.get("state").unwrap().raw.replace(&latest.actor_keys[0].multikey(), &actor.public().multikey());
    let (key, next, when) = (update.public().multikey(), committed(update.public()).0, "2999-01-01T00:00:00Z");
    let parameters = format!(r#"{{"nextKeyHashes":["{next}"],"updateKeys":["{key}"]}}"#);
    let entry = |proof: &str, id: &str| {
        format!(r#"{{"parameters":{parameters},{proof}"state":{state},"versionId":"{id}","versionTime":"{when}"}}"#)
    };
    let id = format!("{}-{}", latest.number + 1, multihash(&sha256(&[entry("", &latest.id).as_bytes()])));
    let config = |value: &str| {
        format!(
            r##"{{"created":"{when}","cryptosuite":"eddsa-jcs-2022","proofPurpose":"assertionMethod",{value}"type":"DataIntegrityProof","verificationMethod":"did:key:{key}#{key}"}}"##
        )
    };
    let message = [sha256(&[config("").as_bytes()]), sha256(&[entry("", &id).as_bytes()])].concat();
    let proof = config(&format!(r#""proofValue":"{}","#, encode_z(&update.sign_bytes(&message))));
    format!("{did_log}{}\n", entry(&format!(r#""proof":[{proof}],"#), &id)).into_bytes()
}

/// Writes as an actor whatever somebody with its keys can write.
fn write(engine: &Engine, actor: Hash, speaker: Speaker, body: &PublicBody<'_>) {
    let log = engine.main().log;
    let made = engine.inner.committer.append_made(std::slice::from_ref(&log), &mut |_| {
        let item = Item { actor, speaker: speaker.clone(), draft: Draft::public(body), once: None };
        Ok(vec![Job { log: log.clone(), items: vec![item], checkpoint: true }])
    });
    made.unwrap();
}

fn codes(engine: &Engine) -> Vec<String> {
    engine.verify().unwrap().problems.into_iter().map(|p| p.code).collect()
}

/// The drill of a key theft: the tester has the actor key, the epoch's key and
/// the log key, by having the machine, and the recovery key is elsewhere.
#[test]
fn a_thief_cannot_rotate_and_is_disputed_exactly_after_a_recovery() {
    // To rotate fails for whoever verifies, and nothing is written on top of it.
    for kind in [Kind::IDENTITY_ENTRY, Kind::IDENTITY_RECOVER] {
        let place = Place::new();
        let engine = place.process();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        say(&agent, "by its owner");
        let thief = Arc::new(SecretKey::from_seed(&[66; 32]));
        let did_log = forged(&agent.did_log().unwrap(), &SecretKey::from_seed(&[67; 32]), &thief);
        let body = match kind {
            Kind::IDENTITY_ENTRY => PublicBody::Entry { did_log: &did_log },
            _ => PublicBody::Recover { did_log: &did_log, trusted: 1 },
        };
        assert_eq!(
            DidLog::verify(&did_log).unwrap_err().why,
            "uses an update key that the version before did not commit to",
            "and nothing else is wrong with it"
        );
        write(&engine, agent.digest, Speaker::Version(thief), &body);
        assert_eq!(codes(&engine)[0], "identity.invalid");
        assert_eq!(agent.memories().add("on top").send().unwrap_err().code(), Code::Altered);
        assert_eq!(agent.rotate().unwrap_err().code(), Code::Altered);
        assert_eq!(engine.identities().resolve_at(agent.id(), u64::MAX).unwrap_err().code(), Code::Altered);
    }

    // To write as the agent works, until its owner takes it back.
    let place = Place::new();
    let owner = place.process();
    let agent = owner.identities().create(IdentityType::Agent).unwrap();
    let stick = recovery_of(&owner);
    std::fs::remove_file(owner.recovery_path().unwrap()).unwrap();
    let trusted = say(&agent, "by its owner");
    let thief = place.process();
    let stolen = same(&thief, &agent);
    let first = say(&stolen, "by the thief") - 1;
    let (force, actor_key) = thief.inner.speaking(&thief.main().log, &agent.digest).unwrap();
    let epoch = lock(&thief.main().log.epochs).get(&agent.digest).unwrap().opened().unwrap();
    // A thief of the actor key can disturb: end epochs, which is seen.
    write(&thief, agent.digest, Speaker::Actor(Arc::new(actor_key), force.aseq), &PublicBody::EpochRevoke { epoch: 2, trusted: epoch - 1 });
    let last = say(&stolen, "by the thief again");
    let version = agent.recover(&stick, Some(trusted)).unwrap();
    let report = intact(&owner);
    let range: Vec<_> = report.disputed.iter().map(|d| (d.epoch, d.first_leaf, d.last_leaf, d.count, d.by)).collect();
    assert_eq!(range, [(None, first, last, last - first + 1, version.position)]);
    // What the thief has is worth nothing now: not in the engine, and not by hand.
    say(&agent, "by its owner again");
    let old = SecretKey::from_seed(
        &thief.inner.keyring.as_ref().unwrap().signing(crate::keyring::Role::Actor, &agent.digest).unwrap().unwrap().seed(),
    );
    let size = intact(&owner).events;
    write(&thief, agent.digest, Speaker::Actor(Arc::new(old), 0), &PublicBody::EpochRevoke { epoch: 2, trusted: 2 });
    let report = owner.verify().unwrap();
    assert_eq!(codes(&owner), ["signer.ended"], "{report:#?}");
    assert_eq!(report.events, size + 1);
}

impl Place {
    /// An engine of a process of its own that leaves events to a later seal, and
    /// whose service thread, which would write that, stands still.
    fn slow_process(&self) -> Engine {
        let path = self.0.path().join("m.db");
        let mode = if path.exists() { Mode::Write } else { Mode::Create };
        let store = SqliteStore::open(&path, mode, Durability::Full).unwrap();
        let builder = Engine::builder("unused").keys(Keys::Folder(self.keys())).witness(Witness::Off).clock(self.1.clone());
        let engine = Engine { inner: Inner::open(Arc::new(store), None, builder).unwrap() };
        engine.inner.end_service();
        engine
    }
}

/// Kind, number and signer of the events of an actor, from a leaf on.
fn kinds(engine: &Engine, actor: &Hash, from: u64) -> Vec<(Kind, u64, u64)> {
    let mut found = Vec::new();
    let log = &engine.main().log;
    engine
        .inner
        .store
        .read(&mut |tx| {
            tx.scan(log.number, from..u64::MAX, &mut |event| {
                let header = Leaf::decode(event.leaf)?.header;
                if header.actor == *actor {
                    found.push((header.kind, header.aseq, header.signer));
                }
                Ok(())
            })
        })
        .unwrap();
    found
}

/// What a stranger finds of a proof of one event.
fn proven(engine: &Engine, position: u64) -> Judgement {
    let mut bundle = Vec::new();
    engine.main().prove(&[position]).write(&mut bundle).unwrap();
    let mut judge = Judge::new(Policy::default().and(engine.main().log.key().fingerprint()));
    judge.feed(&bundle, &mut |_| ()).unwrap();
    judge.finish().unwrap()
}

#[test]
fn what_a_process_had_not_sealed_when_another_one_rotated_it_seals_first() {
    let place = Place::new();
    let (a, b) = (place.slow_process(), place.slow_process());
    let mine = a.identities().create(IdentityType::Agent).unwrap();
    let theirs = same(&b, &mine);
    // The old epoch's aseq, and what became of it, in each of four ways.
    let mut positions = Vec::new();
    for round in 0..4u64 {
        let first = say(&theirs, "before");
        positions.extend([first, say(&theirs, "before, too")]);
        let epoch = lock(&b.main().log.epochs)[&mine.digest].opened().unwrap();
        mine.rotate().unwrap();
        if round == 3 {
            say(&mine, "by the new key");
            mine.rotate().unwrap();
        }
        assert_eq!(intact(&a).unsigned, 2, "nobody else can sign it");
        let from = a.timeline().len().unwrap();
        match round {
            // At the next write, before the new epoch.
            0 | 3 => {
                positions.push(say(&theirs, "after"));
                let said = kinds(&b, &mine.digest, from);
                let seal = said[0].1;
                let expected = [(Kind::SEAL, seal, epoch), (Kind::EPOCH_OPEN, seal + 1, seal + 1), (Kind::RECORD_PUT, seal + 2, seal + 1)];
                assert_eq!(said, expected);
            }
            // By the service thread, which has nothing else to say then.
            1 => {
                b.inner.tend().unwrap();
                b.inner.tend().unwrap();
                assert_eq!(kinds(&b, &mine.digest, from).iter().map(|k| (k.0, k.2)).collect::<Vec<_>>(), [(Kind::SEAL, epoch)]);
                say(&theirs, "after");
                assert_eq!(kinds(&b, &mine.digest, from)[1].0, Kind::EPOCH_OPEN);
            }
            // By the rotation of its own that comes next.
            _ => {
                theirs.rotate().unwrap();
                let said = kinds(&b, &mine.digest, from);
                assert_eq!((said[0].0, said[0].2, said[1].0), (Kind::EPOCH_CLOSE, epoch, Kind::IDENTITY_ENTRY));
            }
        }
        b.inner.tend().unwrap();
        assert_eq!(intact(&a).unsigned, 0);
    }
    // Or when it is closed.
    positions.push(say(&theirs, "the last"));
    let epoch = lock(&b.main().log.epochs)[&mine.digest].opened().unwrap();
    mine.rotate().unwrap();
    let from = a.timeline().len().unwrap();
    drop(theirs);
    b.close().unwrap();
    let said = kinds(&a, &mine.digest, from);
    assert_eq!((said.len(), said[0].0, said[0].2), (1, Kind::EPOCH_CLOSE, epoch));
    assert_eq!(intact(&a).unsigned, 0);
    for position in positions {
        let judged = proven(&a, position);
        let report = &judged.logs[0].report;
        assert_eq!((judged.verdict, report.unsigned, report.unattributed), (Verdict::Intact, 0, 0), "{:?}", judged.problems);
    }
    a.close().unwrap();
}

#[test]
fn after_a_recovery_or_the_end_nobody_seals_what_was_left() {
    for end in [false, true] {
        let place = Place::new();
        let (a, b) = (place.slow_process(), place.slow_process());
        let mine = a.identities().create(IdentityType::Agent).unwrap();
        let theirs = same(&b, &mine);
        let at = say(&theirs, "before");
        mine.rotate().unwrap();
        if end {
            mine.revoke("it is over").unwrap();
            assert_eq!(theirs.memories().add("too late").send().unwrap_err().code(), Code::IdentityRevoked);
        } else {
            mine.recover(&recovery_of(&a), None).unwrap();
            say(&theirs, "after");
        }
        b.inner.tend().unwrap();
        b.close().unwrap();
        assert_eq!(intact(&a).unsigned, 1);
        assert_eq!((proven(&a, at).verdict, proven(&a, at).logs[0].report.unsigned), (Verdict::Unproven, 1));
        a.close().unwrap();
    }
}
