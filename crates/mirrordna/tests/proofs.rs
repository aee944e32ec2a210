//! Bundles: what an auditor is given, and what becomes of one that was altered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna::proof::{self, Bodies, Freshness, Judgement, Policy, Scope};
use mirrordna::{Builder, Code, Engine, Identity, IdentityType, Keys, Witness};
use mirrordna_core::verify::Verdict;
use mirrordna_core::verify::ledger::Stored;
use std::path::Path;

fn builder(dir: &Path) -> Builder {
    Engine::builder(dir.join("m.db").to_str().unwrap()).keys(Keys::Folder(dir.join("keys"))).witness(Witness::Off)
}

fn agent(engine: &Engine) -> Identity {
    engine.identities().create(IdentityType::Agent).unwrap()
}

fn policy(engine: &Engine) -> Policy {
    Policy::default().and(*engine.fingerprint().as_bytes())
}

fn judged(file: &[u8], policy: Policy) -> Judgement {
    proof::judge(&mut &*file, policy, &[], &mut |_| {}).unwrap()
}

fn codes(judged: &Judgement) -> Vec<&'static str> {
    let mut codes: Vec<_> = judged.problems.iter().map(|p| p.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn whole(engine: &Engine, bodies: Bodies) -> Vec<u8> {
    let mut file = Vec::new();
    let bundled = engine.audit(bodies, &mut file, &mut |_, _| {}).unwrap();
    assert_eq!(bundled.bytes, file.len() as u64);
    file
}

#[test]
fn a_whole_bundle_says_what_the_database_does() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(dir.path()).open().unwrap();
    let ada = agent(&engine);
    for n in 0..200 {
        ada.memories().add(format!("remembers {n}")).send().unwrap();
    }
    engine.tenant("acme").unwrap().identities().create(IdentityType::User).unwrap();
    let file = whole(&engine, Bodies::Sealed);
    let report = engine.verify().unwrap();

    let found = judged(&file, policy(&engine));
    assert_eq!(codes(&found), [""; 0]);
    // The other tenant's log has a key of its own.
    assert_eq!(found.verdict, Verdict::Unproven);
    let key = |log: &mirrordna::LogReport| log.log_key.as_ref().unwrap().parse::<mirrordna::Fingerprint>().unwrap();
    let all = report.logs.iter().fold(Policy::default(), |p, log| p.and(*key(log).as_bytes()));
    let found = judged(&file, all);
    assert_eq!(found.verdict, Verdict::Intact);
    assert_eq!(found.logs.len(), 2);
    for (log, said) in found.logs.iter().zip(&report.logs) {
        assert_eq!((log.scope, log.verdict), (Scope::Whole, Verdict::Intact));
        assert_eq!((log.report.size, log.report.unsigned), (said.events, 0));
        let hex: String = log.report.root.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, said.head);
    }
    let present: u64 = found.logs.iter().map(|l| l.report.bodies.present).sum();
    assert_eq!(present, report.bodies.present);

    let withheld = judged(&whole(&engine, Bodies::Withheld), policy(&engine));
    assert_eq!(codes(&withheld), [""; 0]);
    assert!(withheld.logs[0].report.bodies.unread > 200);
    let disclosed = judged(&whole(&engine, Bodies::Disclosed), policy(&engine));
    assert_eq!(disclosed.logs[0].report.bodies.disclosed, withheld.logs[0].report.bodies.unread);
}

#[test]
fn a_stranger_is_told_that_nobody_vouches_for_it() {
    let engine = Engine::open("memory:").unwrap();
    agent(&engine);
    let found = judged(&whole(&engine, Bodies::Sealed), Policy::default());
    assert_eq!((found.verdict, found.problems.len()), (Verdict::Unproven, 0));
    assert_eq!(found.logs[0].report.log_key.as_ref(), Some(engine.fingerprint().as_bytes()));
}

#[test]
fn a_proof_holds_what_was_asked_for_and_what_shows_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(dir.path()).open().unwrap();
    let (ada, bob) = (agent(&engine), agent(&engine));
    let mut positions = Vec::new();
    for n in 0..150 {
        positions.push(ada.timeline().append("step.taken", &serde_json::json!({ "n": n })).unwrap().index);
        bob.timeline().append("step.taken", &serde_json::json!({ "n": -n })).unwrap();
    }
    for asked in [&positions[..1], &positions[70..71], &positions[149..], &positions[3..90]] {
        let mut file = Vec::new();
        let bundled = engine.main().prove(asked).disclose().write(&mut file).unwrap();
        assert_eq!(bundled.disclosed, asked.len() as u64);
        let mut shown = Vec::new();
        let found = proof::judge(&mut file.as_slice(), policy(&engine), &[], &mut |event| {
            if event.asked {
                assert!(matches!(event.body, Stored::Opened(..)));
                shown.push(event.index);
            }
        });
        let found = found.unwrap();
        assert_eq!(codes(&found), [""; 0]);
        assert_eq!((found.verdict, shown.as_slice()), (Verdict::Intact, asked));
        let log = &found.logs[0];
        assert_eq!(log.scope, Scope::Part);
        assert_eq!((log.report.unattributed, log.report.unsigned), (0, 0));
        assert!(log.report.missing_links.is_empty());
        assert_eq!(log.freshness, Freshness::Unproven);
        assert!(log.times.of(shown[0]).not_before.is_none() && log.times.of(shown[0]).not_after.is_none());
    }
}

#[test]
fn what_is_left_out_between_is_named_unless_it_is_shown() {
    let engine = Engine::open("memory:").unwrap();
    let ada = agent(&engine);
    let steps: Vec<u64> = (0..5).map(|n| ada.timeline().append("step.taken", &serde_json::json!({ "n": n })).unwrap().index).collect();
    let events: Vec<u64> = steps.iter().map(|at| engine.timeline().get(*at).unwrap().aseq).collect();
    let asked = [steps[0], steps[4]];
    let mut file = Vec::new();
    engine.main().prove(&asked).write(&mut file).unwrap();
    // All five stand between the first and the signature that covers it.
    let found = judged(&file, policy(&engine));
    assert_eq!((found.verdict, found.logs[0].report.missing_links.len()), (Verdict::Intact, 0));

    // A seal each second, or the end of a process, stands between.
    let dir = tempfile::tempdir().unwrap();
    let mut positions = Vec::new();
    for n in 0..3 {
        let engine = builder(dir.path()).open().unwrap();
        let ada = engine
            .identities()
            .list()
            .unwrap()
            .into_iter()
            .find(|i| i.identity_type() == IdentityType::Agent)
            .unwrap_or_else(|| agent(&engine));
        positions.push(ada.timeline().append("step.taken", &serde_json::json!({ "n": n })).unwrap().index);
        engine.close().unwrap();
    }
    let engine = builder(dir.path()).open().unwrap();
    let prove = || engine.main().prove(&[positions[0], positions[2]]);
    let mut file = Vec::new();
    prove().write(&mut file).unwrap();
    let found = judged(&file, policy(&engine));
    assert_eq!((found.verdict, found.logs[0].report.missing_links.len()), (Verdict::Intact, 1), "{found:?}");
    let mut linked = Vec::new();
    prove().linked().write(&mut linked).unwrap();
    let found = judged(&linked, policy(&engine));
    assert_eq!((found.verdict, found.logs[0].report.missing_links.len()), (Verdict::Intact, 0), "{found:?}");
    assert!(linked.len() > file.len());
    assert_eq!(events.len(), 5);
}

#[test]
fn every_altered_byte_of_a_bundle_is_found() {
    let engine = Engine::open("memory:").unwrap();
    let ada = agent(&engine);
    let at = ada.timeline().append("step.taken", &serde_json::json!({"to": "Lyon"})).unwrap().index;
    let mut part = Vec::new();
    engine.main().prove(&[at]).disclose().label("a trip").write(&mut part).unwrap();
    let all = whole(&engine, Bodies::Disclosed);
    for file in [part, all] {
        assert_eq!(judged(&file, policy(&engine)).verdict, Verdict::Intact);
        let mut altered = file.clone();
        for at in 0..file.len() {
            altered[at] ^= 1 << (at % 8);
            match proof::judge(&mut altered.as_slice(), policy(&engine), &[], &mut |_| {}) {
                Ok(found) => assert_eq!(found.verdict, Verdict::Altered, "byte {at} of {}", file.len()),
                Err(e) => assert!(e.code() == Code::BundleUnknown && at < proof::MAGIC.len(), "{e}"),
            }
            altered[at] = file[at];
        }
        for cut in 0..file.len() {
            match proof::judge(&mut &file[..cut], policy(&engine), &[], &mut |_| {}) {
                Ok(found) => assert_eq!(found.verdict, Verdict::Altered, "cut at {cut}"),
                Err(e) => assert!(e.code() == Code::BundleUnknown && cut < proof::MAGIC.len()),
            }
        }
        let mut longer = file.clone();
        longer.push(0);
        assert_eq!(codes(&judged(&longer, policy(&engine))), ["bundle.trailing"]);
    }
}

#[test]
fn checkpoints_that_were_kept_tell_how_new_a_bundle_is() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(dir.path()).open().unwrap();
    let ada = agent(&engine);
    let step = |n: u64| ada.timeline().append("step.taken", &serde_json::json!({ "n": n })).unwrap().index;
    let first = step(1);
    let (older, early) = (engine.main().checkpoint().unwrap(), whole(&engine, Bodies::Sealed));
    step(2);
    let newer = engine.main().checkpoint().unwrap();
    let late = whole(&engine, Bodies::Sealed);
    let against = |file: &[u8], kept: &str| proof::judge(&mut &*file, policy(&engine), &[kept.into()], &mut |_| {}).unwrap();
    for (file, kept) in [(&early, &older), (&late, &older), (&late, &newer)] {
        let found = against(file, kept);
        assert_eq!((found.verdict, found.logs[0].freshness), (Verdict::Intact, Freshness::Current));
    }
    let found = against(&early, &newer);
    assert_eq!((found.verdict, codes(&found)), (Verdict::Altered, vec!["log.rolled_back"]));
    assert!(matches!(found.logs[0].freshness, Freshness::Behind(n) if n > 0));

    let mut part = Vec::new();
    engine.main().prove(&[first]).write(&mut part).unwrap();
    let last = engine.main().checkpoint().unwrap();
    let found = against(&part, &last);
    assert_eq!((found.verdict, found.logs[0].freshness), (Verdict::Intact, Freshness::Current));
    let other = Engine::open("memory:").unwrap();
    let found = against(&part, &other.main().checkpoint().unwrap());
    assert_eq!(found.logs[0].freshness, Freshness::Unproven);
}
