//! Adopting a log of another database, and identities that move with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna::proof::{self, Bodies, Policy};
use mirrordna::{AdoptOptions, Adoption, Code, Content, Engine, Identity, IdentityType, Keys, NewIdentity, Reason, Witness};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A database with a keyring of its own.
struct Database(tempfile::TempDir);

impl Database {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("m.db")
    }

    fn builder(&self) -> mirrordna::Builder {
        let builder = Engine::builder(self.path().to_str().unwrap());
        builder.keys(Keys::Folder(self.0.path().join("keys"))).witness(Witness::Folder(self.0.path().join("state")))
    }

    fn open(&self) -> Engine {
        self.builder().open().unwrap()
    }

    fn keys(&self) -> AdoptOptions {
        AdoptOptions::default().keys_from(Keys::Folder(self.0.path().join("keys")))
    }
}

fn export(engine: &Engine) -> Vec<u8> {
    let mut file = Vec::new();
    engine.export(&mut file).unwrap();
    file
}

fn adopt(engine: &Engine, file: &[u8], options: &AdoptOptions) -> mirrordna::Result<Adoption> {
    engine.main().adopt(&mut &file[..], options)
}

fn named(engine: &Engine, name: &str) -> Identity {
    let new = NewIdentity { name: Some(name.to_owned()), ..NewIdentity::default() };
    engine.identities().create_with(IdentityType::Agent, new).unwrap()
}

fn texts(engine: &Engine) -> Vec<String> {
    engine.memories().list(0, 100).unwrap().into_iter().map(|m| m.content).collect()
}

fn about(agent: &Identity, subject: &str, text: &str) -> String {
    agent.memories().add(text).subject(subject).send().unwrap().id
}

#[test]
fn what_was_adopted_is_read_and_its_agent_goes_on_here() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    let user = old.identities().create(IdentityType::User).unwrap();
    let session = old.sessions().start(&ada, &user).unwrap();
    let first = ada.memories().add("likes trains").send().unwrap();
    let second = session.memories().add("said in a session").send().unwrap();
    ada.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"})).unwrap();
    let file = export(&old);
    let events = old.timeline().len().unwrap();

    let new = here.open();
    let bob = named(&new, "Bob");
    bob.memories().add("was here before").send().unwrap();
    // The view is there before: it learns of the log as it goes on.
    assert_eq!(texts(&new), ["was here before"]);
    let adopted = adopt(&new, &file, &there.keys()).unwrap();
    assert_eq!((adopted.logs, adopted.events, adopted.identities, adopted.refused), (1, events, 2, 0));
    assert!(adopted.readable && !adopted.existed);

    for round in 0..2 {
        let new = here.open();
        assert_eq!(texts(&new), ["was here before", "likes trains", "said in a session"]);
        assert_eq!(new.memories().count().unwrap(), 3);
        assert_eq!(new.memories().get(&first.id).unwrap().content, "likes trains");
        assert_eq!(new.memories().search("trains").run().unwrap().len(), 1);
        assert_eq!(new.sessions().memories(session.id()).unwrap().list(0, 9).unwrap()[0].id, second.id);
        let ada = new.identities().find("Ada").unwrap();
        assert_eq!(ada.profile().unwrap().name.as_deref(), Some("Ada"));
        assert_eq!(ada.memories().list(0, 9).unwrap().len(), 2);
        let all: Vec<String> = new.identities().list().unwrap().iter().map(|i| i.id().to_owned()).collect();
        assert_eq!(all, [bob.id(), ada.id(), user.id()]);
        let pages = new.identities().list_after(Some(bob.id()), 1).unwrap();
        assert_eq!((pages.items[0].id(), pages.next.as_deref()), (ada.id(), Some(ada.id())));
        assert_eq!(new.identities().list_after(Some(user.id()), 1).unwrap().items.len(), 0);
        // Each log has its own timeline, from its first position on.
        let theirs = new.timeline().list(adopted.first_position, 100).unwrap();
        assert_eq!((theirs.len() as u64, theirs[0].kind.as_str()), (events, "log.genesis"));
        assert_eq!(new.timeline().get(adopted.named_at).unwrap().kind, "log.adopt");
        let report = new.verify().unwrap();
        assert!(report.is_intact(), "{report:#?}");
        assert_eq!((report.closed, report.identities, report.bodies.locked), (1, 3, 0), "{round}");
        assert_eq!(report.logs[0].imported, std::slice::from_ref(&adopted.log));
        let listed = new.main().adopted().unwrap();
        assert_eq!((listed.len(), &listed[0].log, listed[0].events, listed[0].readable), (1, &adopted.log, events, true));
        if round == 0 {
            drop((ada, bob.clone()));
            new.close().unwrap();
        }
    }

    let new = here.open();
    let ada = new.identities().find("Ada").unwrap();
    let before = ada.history().unwrap();
    ada.memories().add("moved").send().unwrap();
    let last = new.timeline().list(adopted.first_position, 100).unwrap().into_iter().rfind(|e| e.actor == ada.id()).unwrap();
    let entry = ada.timeline().list(0, 1).unwrap().remove(0);
    assert_eq!((entry.kind.as_str(), entry.aseq), ("identity.entry", 0));
    let mut shown = Vec::new();
    new.main().prove(&[entry.leaf]).write(&mut shown).unwrap();
    let mut refers = Vec::new();
    let policy = Policy::default().and(*new.fingerprint().as_bytes());
    proof::judge(&mut shown.as_slice(), policy, &[], &mut |event| {
        if event.index == entry.leaf {
            refers = mirrordna_core::Leaf::decode(event.leaf).unwrap().header.refs;
        }
    })
    .unwrap();
    let hexed: Vec<String> = refers.iter().map(|hash| hash.iter().map(|b| format!("{b:02x}")).collect()).collect();
    assert_eq!(hexed, [last.hash]);

    // From here on its life is here; what was in force where is told of each log.
    assert_eq!(before.versions.len(), 1);
    let rotated = ada.rotate().unwrap();
    assert_eq!((rotated.version, rotated.what), (2, "rotated"));
    let at = |position| new.identities().resolve_at(ada.id(), position).unwrap().version;
    assert_eq!((at(adopted.first_position + events - 1), at(entry.leaf), at(rotated.position), at(u64::MAX)), (1, 1, 2, 2));
    assert_eq!(new.identities().resolve_at(ada.id(), adopted.named_at - 1).unwrap_err().code(), Code::NotFound);
    ada.memories().add("by the second key").send().unwrap();
    assert_eq!(ada.memories().list(0, 9).unwrap().len(), 4);
    let history = ada.history().unwrap();
    assert_eq!((history.versions.len(), history.disputed.len()), (2, 0));
    assert!(ada.revoke("the project ended").unwrap().revoked);
    assert_eq!(ada.memories().add("too late").send().unwrap_err().code(), Code::IdentityRevoked);
    let report = new.verify().unwrap();
    assert!(report.is_intact() && report.identities == 3, "{report:#?}");
    // The database that it came from is none the wiser.
    assert!(old.verify().unwrap().is_intact());
}

#[test]
fn an_agent_that_moved_is_rotated_and_recovered_before_it_says_anything() {
    for recover in [false, true] {
        let (there, here) = (Database::new(), Database::new());
        let old = there.open();
        let ada = named(&old, "Ada");
        ada.memories().add("there").send().unwrap();
        let recovery = std::fs::read_to_string(old.recovery_path().unwrap()).unwrap();
        let new = here.open();
        adopt(&new, &export(&old), &there.keys()).unwrap();
        let ada = new.identities().get(ada.id()).unwrap();
        let version = match recover {
            false => ada.rotate().unwrap(),
            true => ada.recover(&mirrordna::RecoveryKeys::parse(&recovery).unwrap(), None).unwrap(),
        };
        // It comes with its entry, which brings the new version: no event here was
        // there to be disputed.
        assert_eq!(version.version, 2);
        ada.memories().add("here").send().unwrap();
        assert_eq!(texts(&new), ["here", "there"]);
        let report = new.verify().unwrap();
        assert!(report.is_intact() && report.disputed.is_empty(), "{report:#?}");
    }
}

#[test]
fn without_keys_it_stays_locked_until_they_are_brought() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    let memory = ada.memories().add("secret").send().unwrap();
    let file = export(&old);
    let new = here.open();
    let bob = named(&new, "Bob");
    bob.memories().add("own").send().unwrap();
    let adopted = adopt(&new, &file, &AdoptOptions::default()).unwrap();
    assert!(!adopted.readable && adopted.identities == 0);
    assert_eq!(texts(&new), ["own"]);
    assert_eq!(new.memories().get(&memory.id).unwrap_err().code(), Code::NotFound);
    // Who acted is public, what they said is not.
    let there_id = new.identities().get(ada.id()).unwrap();
    assert_eq!(there_id.memories().add("as Ada").send().unwrap_err().code(), Code::KeyMissing);
    let report = new.verify().unwrap();
    assert!(report.is_intact() && report.bodies.locked == 2, "{report:#?}");
    let event = adopted.first_position + memory.event.index;
    assert_eq!(new.timeline().get(event).unwrap().body, "locked");
    let judged = judge(&new, &[event]);
    assert_eq!((judged.0, judged.1), ("intact", 2));
    // A store key of one's own is changed without those of others.
    new.rotate_store_key().unwrap();
    assert!(new.verify().unwrap().is_intact());

    assert_eq!(adopt(&new, &file, &here.keys()).unwrap_err().code(), Code::KeyMissing);
    let opened = adopt(&new, &file, &there.keys()).unwrap();
    assert!(opened.existed && opened.readable && opened.identities == 1);
    drop((bob, there_id));
    new.close().unwrap();
    let new = here.open();
    assert_eq!(texts(&new), ["own", "secret"]);
    new.identities().get(ada.id()).unwrap().memories().add("as Ada").send().unwrap();
    let report = new.verify().unwrap();
    assert!(report.is_intact() && report.bodies.locked == 0, "{report:#?}");
    assert!(here.builder().keys(Keys::Folder(here.0.path().join("none"))).verify().unwrap().bodies.locked > 2);
}

/// Verdict of a proof by this database's fingerprint alone, and its sections.
fn judge(engine: &Engine, positions: &[u64]) -> (&'static str, usize, Vec<String>) {
    let mut file = Vec::new();
    engine.main().prove(positions).linked().write(&mut file).unwrap();
    judge_file(engine, &file)
}

fn judge_file(engine: &Engine, file: &[u8]) -> (&'static str, usize, Vec<String>) {
    let policy = Policy::default().and(*engine.fingerprint().as_bytes());
    let judged = proof::judge(&mut &file[..], policy, &[], &mut |_| {}).unwrap();
    let problems = judged.problems.iter().map(|p| format!("{} {} {}", p.code, p.place, p.message)).collect();
    (judged.verdict.name(), judged.logs.len(), problems)
}

#[test]
fn the_same_log_again_adds_nothing_and_another_one_of_its_name_is_refused() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    ada.memories().add("one").send().unwrap();
    let earlier = export(&old);
    ada.memories().add("two").send().unwrap();
    let file = export(&old);
    drop(ada);
    old.close().unwrap();
    let aside = there.0.path().join("aside.db");
    std::fs::copy(there.path(), &aside).unwrap();
    let old = there.open();
    old.identities().find("Ada").unwrap().memories().add("three").send().unwrap();
    let later = export(&old);
    old.close().unwrap();

    let new = here.open();
    let adopted = adopt(&new, &file, &there.keys()).unwrap();
    let size = new.timeline().len().unwrap();
    for same in [&file, &earlier] {
        let again = adopt(&new, same, &there.keys()).unwrap();
        assert!(again.existed && again.first_position == adopted.first_position);
    }
    assert_eq!(adopt(&new, &later, &there.keys()).unwrap_err().code(), Code::LogClosed);
    // The copy goes another way under the same id.
    let path = aside.to_str().unwrap();
    let copy = || Engine::builder(path).keys(Keys::Folder(there.0.path().join("keys"))).witness(Witness::Off).open().unwrap();
    for more in 0..2 {
        let engine = copy();
        engine.identities().find("Ada").unwrap().memories().add("otherwise").send().unwrap();
        if more == 1 {
            let forked = Database::new();
            let into = forked.open();
            adopt(&into, &later, &there.keys()).unwrap();
            assert_eq!(adopt(&into, &export(&engine), &there.keys()).unwrap_err().code(), Code::Forked);
        }
        engine.close().unwrap();
    }
    assert_eq!(new.timeline().len().unwrap(), size);
    // One's own, and one that another tenant has.
    let own = adopt(&new, &export(&new), &AdoptOptions::default()).unwrap_err();
    assert_eq!(own.code(), Code::InputInvalid);
    assert!(own.message().contains("this database itself"), "{own}");
    let acme = new.tenant("acme").unwrap();
    assert_eq!(acme.adopt(&mut file.as_slice(), &there.keys()).unwrap_err().code(), Code::LogClosed);
    assert!(acme.adopted().unwrap().is_empty() && acme.memories().count().unwrap() == 0);
    assert!(new.verify().unwrap().is_intact());
}

#[test]
fn an_export_that_does_not_hold_leaves_nothing() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    ada.memories().add("one").send().unwrap();
    let file = export(&old);
    let new = here.open();
    let before = (new.timeline().len().unwrap(), new.verify().unwrap().logs.len());
    for cut in (0..file.len()).step_by(97).chain([file.len() - 1]) {
        let e = adopt(&new, &file[..cut], &there.keys()).unwrap_err();
        assert_eq!(e.code(), Code::ExportInvalid, "{cut}");
    }
    for at in (40..file.len() - 60).step_by(61) {
        let mut altered = file.clone();
        altered[at] ^= 1;
        let e = adopt(&new, &rehashed(&altered), &there.keys()).unwrap_err();
        assert!(matches!(e.code(), Code::ExportInvalid | Code::Altered | Code::KeyMissing), "{at}: {e}");
    }
    assert_eq!((new.timeline().len().unwrap(), new.verify().unwrap().logs.len()), before);
    let left: Vec<_> = std::fs::read_dir(here.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("adopting")), "{left:?}");
    // Several tenants: one must be named.
    let acme = old.tenant("acme").unwrap();
    acme.identities().create(IdentityType::Agent).unwrap().memories().add("of acme").send().unwrap();
    let both = export(&old);
    assert_eq!(adopt(&new, &both, &there.keys()).unwrap_err().code(), Code::InputInvalid);
    let ids: Vec<String> = old.verify().unwrap().logs.iter().map(|log| log.log.clone()).collect();
    let options = there.keys().log(&ids[1][..12]);
    let adopted = adopt(&new, &both, &options).unwrap();
    assert_eq!((&adopted.log, texts(&new)), (&ids[1], vec!["of acme".to_owned()]));
    assert!(new.verify().unwrap().is_intact());
}

/// Frames of an export, without their lengths.
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut out) = (file, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let n = (u32::from_be_bytes(*length) as usize).min(after.len());
        out.push(after[..n].to_vec());
        rest = &after[n..];
    }
    out
}

/// The export of some frames, with its digest.
fn joined(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let (last, rest) = frames.split_last().unwrap();
    for frame in rest {
        out.extend((frame.len() as u32).to_be_bytes());
        out.extend(frame);
    }
    let digest = Sha256::digest(&out);
    let mut last = last.clone();
    let at = last.len().saturating_sub(32);
    last[at..].copy_from_slice(&digest);
    out.extend((last.len() as u32).to_be_bytes());
    out.extend(last);
    out
}

fn rehashed(file: &[u8]) -> Vec<u8> {
    let frames = frames(file);
    match frames.last().is_some_and(|last| last.len() > 32) {
        true => joined(&frames),
        false => file.to_vec(),
    }
}

#[test]
fn what_was_erased_there_stays_erased_though_the_export_still_has_it() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    let gone = about(&ada, "carol", "carol lives in Basel");
    let kept = about(&ada, "dave", "dave lives in Bern");
    let before = frames(&export(&old));
    old.erase().record(&gone).reason(Reason::Subject).run().unwrap();
    let after = frames(&export(&old));
    // Whoever kept the rows puts them back.
    let is_event = |frame: &&Vec<u8>| frame.starts_with(&[0x87, 2]);
    let mut spliced: Vec<Vec<u8>> = Vec::new();
    let subjects = before.iter().filter(|frame| frame.starts_with(&[0x85, 1]));
    spliced
        .extend(after.iter().filter(|frame| !is_event(frame) && !frame.starts_with(&[0x85, 1]) && !frame.starts_with(&[0x83, 9])).cloned());
    spliced.extend(subjects.cloned());
    let count = before.iter().filter(is_event).count();
    spliced.extend(before.iter().filter(is_event).cloned());
    spliced.extend(after.iter().filter(is_event).skip(count).cloned());
    spliced.push(after.last().unwrap().clone());
    let file = joined(&spliced);
    assert!(file.len() > joined(&after).len());

    let new = here.open();
    let adopted = adopt(&new, &file, &there.keys()).unwrap();
    assert_eq!(adopted.refused, 1);
    assert_eq!(texts(&new), ["dave lives in Bern"]);
    assert_eq!(new.memories().get(&gone).unwrap_err().code(), Code::Erased);
    assert_eq!(new.memories().get(&kept).unwrap().content, "dave lives in Bern");
    let report = new.verify().unwrap();
    assert!(report.is_intact() && report.bodies.erased == 1, "{report:#?}");
}

#[test]
fn an_erasure_reaches_what_was_adopted() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    about(&ada, "carol", "carol likes trains");
    let large = about(&ada, "carol", &"carol wrote this. ".repeat(6_000));
    let kept = about(&ada, "dave", "dave likes trains");
    let file = export(&old);
    let new = here.open();
    let bob = named(&new, "Bob");
    about(&bob, "carol", "carol called");
    let adopted = adopt(&new, &file, &there.keys()).unwrap();
    assert_eq!(new.memories().count().unwrap(), 4);
    assert_eq!(new.memories().search("trains").run().unwrap().len(), 2);
    assert!(new.memories().get(&large).unwrap().content.len() > 65_536);
    let would = new.erase().subject("carol").dry_run().run().unwrap();
    assert!(would.events >= 4, "{would:?}");
    let erased = new.erase().subject("carol").reason(Reason::Subject).run().unwrap();
    assert_eq!(erased.bodies, would.bodies);
    for round in 0..2 {
        let new = here.open();
        assert_eq!(texts(&new), ["dave likes trains"], "{round}");
        assert_eq!(new.memories().count().unwrap(), 1);
        assert_eq!(new.memories().search("trains").run().unwrap().len(), 1);
        assert_eq!(new.memories().get(&large).unwrap_err().code(), Code::Erased);
        let report = new.verify().unwrap();
        assert!(report.is_intact() && report.bodies.missing == 0, "{report:#?}");
        if round == 0 {
            drop(bob.clone());
        }
    }
    drop(bob);
    new.close().unwrap();
    let new = here.open();
    assert_eq!(new.memories().count().unwrap(), 1);
    // Erasing one record of it, and what shows that.
    new.erase().record(&kept).run().unwrap();
    assert_eq!(new.memories().count().unwrap(), 0);
    let first = adopted.first_position;
    let gone: Vec<u64> = new.timeline().list(first, 100).unwrap().iter().filter(|e| e.body == "erased").map(|e| e.leaf).collect();
    assert!(gone.len() >= 4);
    assert_eq!(judge(&new, &gone), ("intact", 2, vec![]));
    let mut audit = Vec::new();
    new.audit(Bodies::Sealed, &mut audit, &mut |_, _| {}).unwrap();
    assert_eq!(judge_file(&new, &audit), ("intact", 2, vec![]));
    // None of it is brought back by the same export.
    assert!(adopt(&new, &file, &there.keys()).unwrap().existed);
    assert_eq!(new.memories().count().unwrap(), 0);
    assert!(new.verify().unwrap().is_intact());
    assert!(!Path::new(&format!("{}.adopting", here.path().display())).exists());
}

#[test]
fn what_was_adopted_stays_as_it_is() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    let memory = ada.memories().add("as it was").send().unwrap();
    let file = export(&old);
    let new = here.open();
    adopt(&new, &file, &there.keys()).unwrap();
    let ada = new.identities().get(ada.id()).unwrap();
    let patch = mirrordna::MemoryPatch { content: Some(Content::Text("otherwise".into())), ..mirrordna::MemoryPatch::default() };
    assert_eq!(ada.memories().update(&memory.id, patch).unwrap_err().code(), Code::LogClosed);
    assert_eq!(new.memories().get(&memory.id).unwrap().content, "as it was");
    // What has a name here comes first, what has it there stays there.
    let other = named(&new, "Ada");
    assert_eq!(new.identities().find("Ada").unwrap_err().code(), Code::InputInvalid);
    assert_ne!(other.id(), ada.id());
    assert!(new.verify().unwrap().is_intact());
}

#[test]
fn proofs_name_the_log_and_tampering_is_seen() {
    let (there, here) = (Database::new(), Database::new());
    let old = there.open();
    let ada = named(&old, "Ada");
    let memory = ada.memories().add("provable").send().unwrap();
    let file = export(&old);
    let new = here.open();
    let adopted = adopt(&new, &file, &there.keys()).unwrap();
    let at = adopted.first_position + memory.event.index;
    let mut proof_file = Vec::new();
    new.main().prove(&[at]).disclose().write(&mut proof_file).unwrap();
    let policy = Policy::default().and(*new.fingerprint().as_bytes());
    let mut seen = Vec::new();
    let judged = proof::judge(&mut proof_file.as_slice(), policy, &[], &mut |event| seen.push((*event.log, event.index))).unwrap();
    assert_eq!(judged.verdict.name(), "intact", "{:?}", judged.problems);
    let hexed = |id: &[u8; 16]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert!(seen.iter().any(|(log, index)| hexed(log) == adopted.log && *index == memory.event.index));
    assert_eq!(judged.logs[1].report.imported.len(), 1);
    // A stranger who trusts neither key learns that much.
    let judged = proof::judge(&mut proof_file.as_slice(), Policy::default(), &[], &mut |_| {}).unwrap();
    assert_eq!(judged.verdict.name(), "unproven");
    // An export of all of it is a database again, adopted log and all.
    let copy = Database::new();
    let path = copy.path();
    let builder = || Engine::builder(path.to_str().unwrap()).keys(Keys::Folder(here.0.path().join("keys"))).witness(Witness::Off);
    builder().restore(&mut export(&new).as_slice()).unwrap();
    let restored = builder().open().unwrap();
    assert_eq!(texts(&restored), ["provable"]);
    restored.close().unwrap();
    new.close().unwrap();

    let db = rusqlite::Connection::open(&path).unwrap();
    let edits = [
        "UPDATE event SET leaf = zeroblob(length(leaf)) WHERE pos = (SELECT max(pos) FROM event)",
        "DELETE FROM event WHERE pos >= 2 * 1099511627776",
        "DELETE FROM log WHERE n = 2",
        "UPDATE log SET successor = NULL WHERE n = 2",
        "UPDATE log SET size = size - 1 WHERE n = 2",
        "UPDATE event SET body = NULL, subject = NULL, secret = NULL WHERE pos >= 2 * 1099511627776 AND secret IS NOT NULL",
    ];
    drop(db);
    let whole = std::fs::read(&path).unwrap();
    for edit in edits {
        let db = rusqlite::Connection::open(&path).unwrap();
        assert!(db.execute(edit, []).unwrap() > 0, "{edit}");
        drop(db);
        let report = builder().verify().unwrap();
        assert_eq!(report.verdict, "altered", "{edit}");
        if edit.contains("secret = NULL") {
            // What is gone reads as erased; that nobody erased it verification says.
            assert!(report.problems.iter().all(|p| p.code == "body.missing"), "{report:#?}");
            continue;
        }
        let read = builder().read_only().open().and_then(|engine| engine.memories().list(0, 9).map(|m| m.len()));
        assert!(read.is_err(), "{edit}: {read:?}");
        for end in ["-wal", "-shm"] {
            let _absent = std::fs::remove_file(format!("{}{end}", path.display()));
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_log_that_adopted_others_brings_them_along() {
    let (first, second, third) = (Database::new(), Database::new(), Database::new());
    let one = first.open();
    let ada = named(&one, "Ada");
    let id = ada.id().to_owned();
    ada.memories().add("in the first").send().unwrap();
    let two = second.open();
    adopt(&two, &export(&one), &first.keys()).unwrap();
    let ada = two.identities().get(&id).unwrap();
    ada.memories().add("in the second").send().unwrap();
    ada.rotate().unwrap();
    two.erase().record(about(&ada, "x", "gone in the second")).run().unwrap();
    let three = third.open();
    named(&three, "Bob").memories().add("own").send().unwrap();
    let adopted = adopt(&three, &export(&two), &second.keys()).unwrap();
    assert_eq!((adopted.logs, adopted.readable), (2, true));
    for _ in 0..2 {
        let three = third.open();
        assert_eq!(texts(&three), ["own", "in the second", "in the first"]);
        let ada = three.identities().get(&id).unwrap();
        assert_eq!(ada.history().unwrap().versions.len(), 2);
        assert_eq!(three.main().adopted().unwrap().len(), 2);
    }
    let ada = three.identities().get(&id).unwrap();
    ada.memories().add("in the third").send().unwrap();
    assert_eq!(ada.rotate().unwrap().version, 3);
    let report = three.verify().unwrap();
    assert!(report.is_intact() && report.closed == 2, "{report:#?}");
    let nested = three.main().adopted().unwrap()[1].clone();
    assert_eq!(judge(&three, &[nested.first_position + 1]), ("intact", 3, vec![]));
    let mut audit = Vec::new();
    three.audit(Bodies::Disclosed, &mut audit, &mut |_, _| {}).unwrap();
    assert_eq!(judge_file(&three, &audit), ("intact", 3, vec![]));
    // The first one by itself is here already.
    assert!(adopt(&three, &export(&one), &first.keys()).unwrap().existed);
}
