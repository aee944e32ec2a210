//! Bundles under checkpoints that a quorum of witnesses has cosigned.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::peer::PeerWitness;
use mirrordna::proof::{self, Bodies, Bundled, Judgement, Policy, Under};
use mirrordna::{Basis, Code, Engine, Identity, IdentityType, Result, Tenant, Witness};

/// Three stores that witness for others.
struct Three {
    _dir: tempfile::TempDir,
    all: Vec<PeerWitness>,
}

impl Three {
    fn new(logs: &[&Tenant]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let make = |n: usize| PeerWitness::init(dir.path().join(n.to_string()), &format!("witness.example/{n}")).unwrap();
        let all: Vec<_> = (0..3).map(make).collect();
        all.iter().for_each(|w| logs.iter().for_each(|log| w.trust(&log.verifier_key()).unwrap()));
        Self { _dir: dir, all }
    }

    /// Two of them are asked for, of logs with these keys.
    fn policy(&self, logs: &[&Tenant]) -> Policy {
        let mut text: String = logs.iter().map(|log| format!("log {}\n", log.verifier_key())).collect();
        for (n, w) in self.all.iter().enumerate() {
            text += &format!("witness w{n} {}\n", w.verifier_key());
        }
        Policy::parse(&format!("{text}group two 2 w0 w1 w2\nquorum two\n")).unwrap()
    }

    /// A checkpoint with the lines of some of them.
    fn cosign(&self, log: &Tenant, note: &str, by: &[usize]) -> String {
        by.iter().fold(note.to_owned(), |note, n| {
            let witness = &self.all[*n];
            let known = Policy::default().and_witness(witness.verifier_key());
            log.cosign(&note, &by.iter().fold(known, |p, n| p.and_witness(self.all[*n].verifier_key())), &mut |request| {
                witness.add_checkpoint(request.as_bytes())
            })
            .unwrap()
        })
    }
}

fn agent(engine: &Engine) -> Identity {
    engine.identities().create(IdentityType::Agent).unwrap()
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

fn whole(engine: &Engine, under: &Under) -> Result<(Bundled, Vec<u8>)> {
    let mut file = Vec::new();
    let bundled = engine.audit_under(Bodies::Sealed, under, &mut file, &mut |_, _| {})?;
    Ok((bundled, file))
}

fn part(log: &Tenant, leaf: u64, under: Under) -> Result<(Bundled, Vec<u8>)> {
    let mut file = Vec::new();
    let bundled = log.prove(&[leaf]).under(under).write(&mut file)?;
    Ok((bundled, file))
}

fn judged(file: &[u8], policy: &Policy, kept: &[&str]) -> Judgement {
    let kept: Vec<Vec<u8>> = kept.iter().map(|note| note.as_bytes().to_vec()).collect();
    proof::judge(&mut &*file, policy.clone(), &kept, &mut |_| {}).unwrap()
}

/// Verdict, quorum, and up to which size it holds, of the last section.
fn said(found: &Judgement) -> (&'static str, Option<bool>, Option<u64>) {
    assert!(found.problems.is_empty(), "{found:#?}");
    let log = found.logs.last().unwrap();
    (found.verdict.name(), log.quorum, log.witnessed)
}

#[test]
fn a_bundle_under_a_cosigned_checkpoint_has_its_quorum() {
    let engine = Engine::open("memory:").unwrap();
    let log = engine.main();
    let ada = agent(&engine);
    let booked = ada.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"})).unwrap().index;
    let three = Three::new(&[&log]);
    let policy = three.policy(&[&log]);
    let newest = log.checkpoint().unwrap();
    let (one, two) = (three.cosign(&log, &newest, &[0]), three.cosign(&log, &newest, &[0, 2]));
    let n = size(&newest);
    for i in 0..5 {
        ada.memories().add(format!("later {i}")).send().unwrap();
    }
    let under = |note: &str| Under::Checkpoints(vec![note.to_owned()]);
    let later = engine.timeline().len().unwrap() - n;
    for (bundled, file) in [whole(&engine, &under(&two)).unwrap(), part(&log, booked, under(&two)).unwrap()] {
        assert!(bundled.later >= later && later > 4, "{bundled:?}");
        assert!(file.windows(two.len()).any(|w| w == two.as_bytes()), "the note is taken as it is");
        let found = judged(&file, &policy, &[]);
        assert_eq!(said(&found), ("intact", Some(true), Some(n)));
        assert_eq!(found.logs[0].report.size, n);
    }
    for (_, file) in [whole(&engine, &under(&one)).unwrap(), part(&log, booked, under(&one)).unwrap()] {
        assert_eq!(said(&judged(&file, &policy, &[])), ("unproven", Some(false), Some(0)));
        // What the auditor kept counts beside it, but nobody twice.
        assert_eq!(said(&judged(&file, &policy, &[&three.cosign(&log, &newest, &[1])])), ("intact", Some(true), Some(n)));
        assert_eq!(said(&judged(&file, &policy, &[&one, &one])), ("unproven", Some(false), Some(0)));
    }
    // The newest checkpoint has nobody's line; what was kept says up to where.
    let (bundled, file) = whole(&engine, &Under::Newest).unwrap();
    assert_eq!(bundled.later, 0);
    assert_eq!(said(&judged(&file, &policy, &[&two])), ("unproven", Some(false), Some(n)));
}

#[test]
fn anchors_bring_back_what_a_bundle_is_made_under() {
    let engine = Engine::open("memory:").unwrap();
    let log = engine.main();
    let ada = agent(&engine);
    let three = Three::new(&[&log]);
    let policy = three.policy(&[&log]);
    let witnessed = || Under::Witnessed(policy.clone());
    let booked = ada.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"})).unwrap().index;
    assert_eq!(whole(&engine, &witnessed()).unwrap_err().code(), Code::NotFound);
    // Each comes back by itself: two anchors of one checkpoint are its quorum.
    let first = log.checkpoint().unwrap();
    for by in [0, 1] {
        log.anchor(&three.cosign(&log, &first, &[by]), &policy).unwrap();
    }
    ada.memories().add("between").send().unwrap();
    let second = log.checkpoint().unwrap();
    log.anchor(&three.cosign(&log, &second, &[2]), &policy).unwrap();
    ada.memories().add("after").send().unwrap();

    for (bundled, file) in [whole(&engine, &witnessed()).unwrap(), part(&log, booked, witnessed()).unwrap()] {
        assert!(bundled.later > 4, "{bundled:?}");
        assert_eq!(said(&judged(&file, &policy, &[])), ("intact", Some(true), Some(size(&first))));
    }
    // Whoever asks for no quorum gets the newest that anybody has seen.
    let (_, file) = whole(&engine, &Under::Witnessed(Policy::default())).unwrap();
    let found = judged(&file, &policy, &[]);
    assert_eq!((said(&found), found.logs[0].report.size), (("unproven", Some(false), Some(size(&first))), size(&second)));
    // A whole history shows the checkpoints on the way, and up to which the quorum goes.
    let (_, file) = whole(&engine, &Under::Newest).unwrap();
    assert_eq!(said(&judged(&file, &policy, &[])), ("unproven", Some(false), Some(size(&first))));
    let after = part(&log, engine.timeline().len().unwrap() - 1, witnessed()).unwrap_err();
    assert!(after.code() == Code::InputInvalid && after.to_string().contains("comes after the checkpoint"), "{after}");
}

#[test]
fn a_checkpoint_that_is_not_the_logs_is_refused() {
    let place = Place::new();
    let open = || place.builder().witness(Witness::Off).open().unwrap();
    let engine = open();
    let ada = agent(&engine);
    ada.memories().add("shared").send().unwrap();
    let shared = engine.main().checkpoint().unwrap();
    engine.close().unwrap();
    let copy = place.dir.path().join("copy.db");
    std::fs::copy(place.path(), &copy).unwrap();
    let other = place.at(&copy).witness(Witness::Off).open().unwrap();
    other.identities().list().unwrap().pop().unwrap().memories().add("elsewhere").send().unwrap();
    let (forked, stranger) = (other.main().checkpoint().unwrap(), Engine::open("memory:").unwrap().main().checkpoint().unwrap());
    let engine = open();
    let code = |notes: &[&str]| {
        let under = Under::Checkpoints(notes.iter().map(|n| (*n).to_owned()).collect());
        let (a, b) = (whole(&engine, &under).unwrap_err().code(), part(&engine.main(), 0, under).unwrap_err().code());
        assert_eq!(a, b);
        a
    };
    assert_eq!(code(&[&stranger]), Code::AnchorInvalid);
    assert_eq!(code(&["nothing\n"]), Code::AnchorInvalid);
    assert_eq!(code(&[&forked]), Code::RolledBack);
    engine.identities().list().unwrap().pop().unwrap().memories().add("here").send().unwrap();
    engine.main().checkpoint().unwrap();
    assert_eq!(code(&[&forked]), Code::Forked);
    assert_eq!(code(&[&shared, &shared]), Code::InputInvalid);
    let forged = shared.replacen(&format!("\n{}\n", size(&shared)), &format!("\n{}\n", size(&shared) - 1), 1);
    assert_eq!(code(&[&forged]), Code::AnchorInvalid);
}

#[test]
fn what_was_erased_after_a_checkpoint_is_not_said_to_be_missing_under_it() {
    let engine = Engine::open("memory:").unwrap();
    let log = engine.main();
    let ada = agent(&engine);
    let say = |text: &str| {
        let id = ada.memories().add(text).send().unwrap().id;
        (engine.timeline().len().unwrap() - 1, id)
    };
    let ((early_leaf, early), (late_leaf, late)) = (say("erased early"), say("erased late"));
    engine.erase().record(&early).run().unwrap();
    let before = Under::Checkpoints(vec![log.checkpoint().unwrap()]);
    let policy = Policy::default().and(*engine.fingerprint().as_bytes());
    let intact = |under: &Under, leaf| {
        for (_, file) in [whole(&engine, under).unwrap(), part(&log, leaf, under.clone()).unwrap()] {
            assert_eq!(judged(&file, &policy, &[]).verdict.name(), "intact");
        }
    };
    intact(&before, early_leaf);
    engine.erase().record(&late).run().unwrap();
    intact(&Under::Newest, late_leaf);
    for error in [whole(&engine, &before).unwrap_err(), part(&log, late_leaf, before.clone()).unwrap_err()] {
        assert!(
            error.code() == Code::InputInvalid && error.to_string().contains(&format!("event {late_leaf} was erased after")),
            "{error}"
        );
    }
    // What is not asked for is not needed.
    let (_, file) = part(&log, early_leaf, before).unwrap();
    assert_eq!(judged(&file, &policy, &[]).verdict.name(), "intact");
}

#[test]
fn a_log_that_was_left_has_the_quorum_of_the_one_that_goes_on_from_it() {
    let place = Place::new();
    let engine = place.open();
    agent(&engine);
    engine.close().unwrap();
    let old = place.dir.path().join("old.db");
    std::fs::copy(place.path(), &old).unwrap();
    let engine = place.open();
    engine.identities().list().unwrap().pop().unwrap().memories().add("lost").send().unwrap();
    engine.close().unwrap();
    std::fs::copy(&old, place.path()).unwrap();
    let events = place.verify().events;
    place.builder().fork(events, "the disk was lost").unwrap();

    let engine = place.open();
    let log = engine.main();
    let three = Three::new(&[&log]);
    let policy = three.policy(&[&log]);
    let under = |by| Under::Checkpoints(vec![three.cosign(&log, &log.checkpoint().unwrap(), by)]);
    let (_, file) = whole(&engine, &under(&[0, 1])).unwrap();
    let found = judged(&file, &policy, &[]);
    assert_eq!((found.verdict.name(), found.logs.len()), ("intact", 2), "{found:#?}");
    assert!(found.logs.iter().all(|l| l.quorum == Some(true) && l.witnessed == Some(l.report.size)), "{found:#?}");
    let (_, file) = whole(&engine, &under(&[2])).unwrap();
    let found = judged(&file, &policy, &[]);
    assert!(found.verdict.name() == "unproven" && found.logs.iter().all(|l| l.quorum == Some(false)), "{found:#?}");

    // The database says the same of both.
    let seen = three.cosign(&log, &log.checkpoint().unwrap(), &[0, 1]);
    engine.close().unwrap();
    let report = place.builder().policy(policy.clone()).keep(seen.clone()).verify().unwrap();
    let witnessed: Vec<_> = report.logs.iter().map(|l| l.witnessed).collect();
    assert_eq!((report.verdict, witnessed), ("intact", vec![Some(report.logs[0].events), Some(size(&seen))]));
    let report = place.builder().policy(policy).verify().unwrap();
    assert_eq!((report.verdict, report.witnessed), ("unproven", Some(0)));
}

#[test]
fn a_database_is_witnessed_up_to_what_anchors_or_kept_checkpoints_show() {
    let place = Place::new();
    let engine = place.open();
    let log = engine.main();
    let ada = agent(&engine);
    let three = Three::new(&[&log]);
    let policy = three.policy(&[&log]);
    let first = log.checkpoint().unwrap();
    log.anchor(&three.cosign(&log, &first, &[0]), &policy).unwrap();
    ada.memories().add("between").send().unwrap();
    let second = log.checkpoint().unwrap();
    let key = engine.fingerprint();
    engine.close().unwrap();
    let verify = |kept: &[&str]| {
        let builder = kept.iter().fold(place.builder().policy(policy.clone()), |b, note| b.keep(*note));
        let report = builder.verify().unwrap();
        let codes: Vec<_> = report.problems.iter().map(|p| p.code.clone()).collect();
        (report.verdict, report.witnessed, report.freshness, codes.join(" "))
    };
    let said = |verdict, witnessed, freshness: &str, codes: &str| (verdict, Some(witnessed), freshness.to_owned(), codes.to_owned());
    assert_eq!(verify(&[]), said("unproven", 0, "current", ""));
    assert_eq!(place.verify().witnessed, None);
    // An anchor's line and a kept one are a quorum, a witness twice is none.
    assert_eq!(verify(&[&three.cosign(&log, &first, &[1])]), said("intact", size(&first), "current", ""));
    assert_eq!(verify(&[&three.cosign(&log, &first, &[0])]), said("unproven", 0, "current", ""));
    assert_eq!(verify(&[&three.cosign(&log, &second, &[1, 2])]), said("intact", size(&second), "current", ""));
    // Lines that were made for another text count for nothing in a kept one.
    let moved = three.cosign(&log, &second, &[2]).replacen(second.trim_end(), first.trim_end(), 1);
    assert_eq!(verify(&[&moved]), said("unproven", 0, "current", ""));

    let engine = place.open();
    let log = engine.main();
    log.anchor(&three.cosign(&log, &second, &[1, 2]), &policy).unwrap();
    ada_of(&engine).memories().add("after").send().unwrap();
    let newest = log.checkpoint().unwrap();
    let events = engine.timeline().len().unwrap();
    assert_eq!((log.witnessed(&policy).unwrap(), log.witnessed(&Policy::default()).unwrap()), (size(&second), 0));
    assert_eq!(engine.timeline().basis(0).unwrap(), Basis::Checkpoint);
    engine.close().unwrap();
    // Whoever opens it with the policy reads everything, and is told what of it
    // has been seen.
    let engine = place.builder().policy(policy.clone()).open().unwrap();
    let basis = |leaf| engine.timeline().basis(leaf).unwrap();
    assert_eq!((basis(0), basis(size(&second) - 1), basis(size(&second))), (Basis::Witnessed, Basis::Witnessed, Basis::Checkpoint));
    engine.close().unwrap();
    assert!(events > size(&second));
    assert_eq!(verify(&[]), said("intact", size(&second), "current", ""));
    // Without keys and head witness it is the policy that vouches, and what was
    // kept that says how new it is.
    let stranger =
        || Engine::builder(place.path().to_str().unwrap()).keys(mirrordna::Keys::Folder("/nowhere".into())).witness(Witness::Off);
    let report = stranger().policy(policy.clone()).keep(newest.clone()).verify().unwrap();
    assert_eq!((report.verdict, report.witnessed, report.freshness.as_str()), ("intact", Some(size(&second)), "current"));
    assert_eq!(report.logs[0].witnessed, Some(size(&second)));
    let report = stranger().trust(key).verify().unwrap();
    assert_eq!((report.verdict, report.witnessed, report.freshness.as_str()), ("intact", None, "unproven"));

    // Set back, it is shorter than what was kept; of another way it contradicts it.
    let copy = place.dir.path().join("copy.db");
    std::fs::copy(place.path(), &copy).unwrap();
    let engine = place.open();
    ada_of(&engine).memories().add("newer").send().unwrap();
    let newer = engine.main().checkpoint().unwrap();
    engine.close().unwrap();
    let of_copy = |kept: &str| {
        let report = place.at(&copy).witness(Witness::Off).policy(policy.clone()).keep(kept).verify().unwrap();
        (report.verdict, report.freshness, report.problems.iter().map(|p| p.code.clone()).collect::<Vec<_>>().join(" "))
    };
    let behind = format!("behind {}", size(&newer) - place.at(&copy).witness(Witness::Off).verify().unwrap().events);
    assert_eq!(of_copy(&newer), ("altered", behind, "log.rolled_back".to_owned()));
    let engine = place.at(&copy).witness(Witness::Off).open().unwrap();
    (0..9).for_each(|i| drop(ada_of(&engine).memories().add(format!("otherwise {i}")).send().unwrap()));
    engine.close().unwrap();
    assert_eq!(of_copy(&newer), ("altered", "forked".to_owned(), "log.forked".to_owned()));
    let error = place.builder().keep("nothing").verify().unwrap_err();
    assert_eq!(error.code(), Code::PolicyInvalid);
}

fn ada_of(engine: &Engine) -> Identity {
    engine.identities().list().unwrap().into_iter().find(|i| i.id().starts_with("mdna_agt_")).unwrap()
}
