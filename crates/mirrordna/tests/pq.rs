//! Second signatures, by ML-DSA-44: what has them, who can ask for them, and
//! what it costs the rest (nothing).

#![cfg(feature = "pq")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::peer::{Note, PeerWitness, VerifierKey};
use mirrordna::proof::{self, Bodies, Judgement, Policy};
use mirrordna::{Engine, IdentityType, Keys, NewProtection, Tenant, Zeroizing, tiles};
use mirrordna_core::verify::Verdict;
use mirrordna_core::verify::hash::sha256;

fn remember(engine: &Engine, text: &str) -> u64 {
    let agent = match engine.identities().list().unwrap().pop() {
        Some(agent) => agent,
        None => engine.identities().create(IdentityType::Agent).unwrap(),
    };
    agent.memories().add(text).subject("Grace").send().unwrap();
    agent.timeline().append("said", &serde_json::json!({ "text": text })).unwrap().index
}

fn lines(note: &str) -> usize {
    note.matches('\u{2014}').count()
}

fn second(log: &Tenant) -> VerifierKey {
    VerifierKey::parse(&log.pq_verifier_key().unwrap().expect("a second key")).unwrap()
}

fn signed(key: &VerifierKey, note: &str) -> Option<bool> {
    key.signs(&Note::parse(note.as_bytes()).unwrap())
}

fn audit(engine: &Engine) -> Vec<u8> {
    let mut file = Vec::new();
    engine.audit(Bodies::Sealed, &mut file, &mut |_, _| {}).unwrap();
    file
}

fn judged(file: &[u8], policy: &str) -> Judgement {
    proof::judge(&mut &*file, Policy::parse(policy).unwrap(), &[], &mut |_| {}).unwrap()
}

/// The policies that know the log by its first key, by its second one, by
/// either, and by both.
fn policies(log: &Tenant) -> [String; 4] {
    let (first, second) = (log.verifier_key(), second(log));
    [
        format!("log {first}\n"),
        format!("log {second}\n"),
        format!("log {first}\nlog {second}\n"),
        format!("log {first}\nwitness second {second}\nquorum second\n"),
    ]
}

const INTACT: Verdict = Verdict::Intact;
const UNPROVEN: Verdict = Verdict::Unproven;

#[test]
fn what_leaves_is_signed_twice_and_what_is_stored_once() {
    let place = Place::new();
    let engine = place.open();
    remember(&engine, "before");
    let log = engine.main();
    assert!(log.pq_verifier_key().unwrap().is_none());
    assert_eq!(lines(&log.checkpoint().unwrap()), 1);

    assert!(engine.add_pq_key().unwrap(), "it was made");
    assert!(!engine.add_pq_key().unwrap(), "there is one, and it stays");
    let note = log.checkpoint().unwrap();
    assert_eq!((lines(&note), signed(&second(&log), &note)), (2, Some(true)));
    assert_eq!(signed(&VerifierKey::parse(&log.verifier_key()).unwrap(), &note), Some(true));
    assert!(note.lines().nth(4).unwrap().len() < 200 && note.lines().nth(5).unwrap().len() > 3_200, "{note}");
    assert_eq!(log.checkpoint().unwrap(), note, "the same checkpoint has the same lines");
    assert_eq!(log.check_checkpoint(&note).unwrap(), note.lines().nth(1).unwrap().parse::<u64>().unwrap());

    remember(&engine, "after");
    let key = second(&log);
    drop(log);
    engine.close().unwrap();
    let stored: String =
        rusqlite::Connection::open(place.path()).unwrap().query_row("SELECT checkpoint FROM log", [], |r| r.get(0)).unwrap();
    assert!(lines(&stored) == 1 && stored.len() < 400, "{stored}");
    let ring = std::fs::read_dir(place.dir.path().join("keys")).unwrap().map(|e| e.unwrap().path());
    let ring = ring.into_iter().find(|p| p.extension().is_some_and(|e| e == "keys")).unwrap();
    assert_eq!(std::fs::read_to_string(ring).unwrap().matches("{\"role\":\"pq\"").count(), 1);

    let engine = place.open();
    assert_eq!(second(&engine.main()), key);
    assert!(engine.verify().unwrap().is_intact());
    assert_eq!(engine.freshness(), "current", "the head witness knows nothing of it");
}

#[test]
fn a_policy_asks_for_the_second_key_by_naming_it_alone_or_as_a_quorum() {
    let engine = Engine::open("memory:").unwrap();
    let at = remember(&engine, "booked");
    let plain = audit(&engine);
    engine.add_pq_key().unwrap();
    let log = engine.main();
    let mut part = Vec::new();
    log.prove(&[at]).write(&mut part).unwrap();
    let whole = audit(&engine);
    for (file, wanted) in [
        (&plain, [INTACT, UNPROVEN, INTACT, UNPROVEN]),
        (&whole, [INTACT, INTACT, INTACT, INTACT]),
        (&part, [INTACT, INTACT, INTACT, INTACT]),
    ] {
        let found = policies(&log).map(|policy| judged(file, &policy));
        assert!(found.iter().all(|j| j.problems.is_empty()), "{found:?}");
        assert_eq!(found.map(|j| j.verdict), wanted);
    }
    // Another log's second key is none of this one's.
    let other = Engine::open("memory:").unwrap();
    other.add_pq_key().unwrap();
    let stranger = second(&other.main());
    let as_ours = VerifierKey { name: second(&log).name, ..stranger };
    assert_eq!(judged(&whole, &format!("log {as_ours}\n")).verdict, UNPROVEN);

    // A line that was tampered with is evidence of that, for who knows the key.
    let mut altered = whole.clone();
    let dashes: Vec<usize> = altered.windows(3).enumerate().filter(|(_, w)| *w == "\u{2014}".as_bytes()).map(|(i, _)| i).collect();
    let in_line = dashes[1] + 1_000;
    altered[in_line] = if altered[in_line] == b'A' { b'B' } else { b'A' };
    close_again(&mut altered, &whole);
    let found = policies(&log).map(|policy| judged(&altered, &policy));
    let codes = found.each_ref().map(|j| j.problems.iter().map(|p| p.code).collect::<Vec<_>>());
    assert_eq!(codes, [vec![], vec!["checkpoint.invalid"], vec!["checkpoint.invalid"], vec!["cosignature.invalid"]]);
    assert_eq!(found.map(|j| j.verdict), [INTACT, Verdict::Altered, Verdict::Altered, Verdict::Altered]);
}

#[test]
fn another_first_key_changes_nothing_about_the_second() {
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, "by the first key");
    engine.add_pq_key().unwrap();
    let log = engine.main();
    let (known, before) = (policies(&log), second(&log));
    log.rotate_log_key().unwrap();
    remember(&engine, "by the next one");
    assert_eq!(second(&engine.main()), before);
    let whole = audit(&engine);
    for policy in known.iter().chain(&policies(&engine.main())) {
        let found = judged(&whole, policy);
        assert_eq!((found.verdict, found.problems.len()), (INTACT, 0), "{policy} {found:?}");
    }
}

/// Sixteen lines are the limit: what has them is not handed out without the
/// second signature, as if there were no such key.
#[test]
fn a_checkpoint_without_room_is_refused() {
    let engine = Engine::open("memory:").unwrap();
    let at = remember(&engine, "crowded");
    engine.add_pq_key().unwrap();
    let log = engine.main();
    let first: String = log.checkpoint().unwrap().split_inclusive('\n').filter(|line| line.len() < 3_000).collect();
    let others = |n: usize| (0..n).map(|i| format!("\u{2014} w{i}.example AAAAAAAA\n")).collect::<String>();
    let under = |note: String| log.prove(&[at]).under(proof::Under::Checkpoints(vec![note])).write(&mut Vec::new());
    under(format!("{first}{}", others(14))).unwrap();
    assert_eq!(under(format!("{first}{}", others(15))).unwrap_err().code(), mirrordna::Code::LimitExceeded);
}

/// Puts the right digest into the last frame of a bundle that was altered.
fn close_again(altered: &mut [u8], was: &[u8]) {
    let digest_at = was.len() - 32;
    let begins = (36..48).map(|back| was.len() - 4 - back).find(|at| sha256(&[&was[..*at]]) == was[digest_at..]).unwrap();
    let digest = sha256(&[&altered[..begins]]);
    altered[digest_at..].copy_from_slice(&digest);
}

#[test]
fn a_folder_of_tiles_gets_the_line_even_where_no_leaf_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, "a leaf");
    engine.export_tiles(dir.path()).unwrap();
    let read = || std::fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    assert_eq!(lines(&read()), 1);
    engine.add_pq_key().unwrap();
    let again = engine.export_tiles(dir.path()).unwrap();
    assert_eq!((again.files, lines(&read())), (1, 2));
    assert_eq!(engine.export_tiles(dir.path()).unwrap().files, 0);
    let log = engine.main();
    let verdict = |policy: &str| tiles::verify(dir.path(), &Policy::parse(policy).unwrap()).unwrap().verdict;
    assert_eq!(policies(&log).map(|policy| verdict(&policy)), ["intact"; 4]);

    remember(&engine, "another");
    engine.export_tiles(dir.path()).unwrap();
    assert_eq!(signed(&second(&log), &read()), Some(true));
    let without: String = read().split_inclusive('\n').filter(|line| line.len() < 3_000).collect();
    std::fs::write(dir.path().join("checkpoint"), &without).unwrap();
    assert_eq!(policies(&log).map(|policy| verdict(&policy)), ["intact", "unproven", "intact", "unproven"]);
}

#[test]
fn every_log_of_the_database_has_a_key_of_its_own_from_one_secret() {
    let place = Place::new();
    let engine = place.open();
    remember(&engine, "ours");
    engine.tenant("before").unwrap();
    engine.add_pq_key().unwrap();
    let keys = ["default", "before", "after"].map(|name| {
        let log = engine.tenant(name).unwrap();
        let key = second(&log);
        assert_eq!(signed(&key, &log.checkpoint().unwrap()), Some(true), "{name}");
        assert_eq!(key.name, log.checkpoint().unwrap().lines().next().unwrap());
        key
    });
    assert!(keys[0].key != keys[1].key && keys[1].key != keys[2].key);
    engine.close().unwrap();

    // The keyring under another key has the same secret in it.
    let phrase = || Zeroizing::new("correct horse".to_owned());
    place.builder().rotate_keys(&NewProtection::Passphrase(phrase())).unwrap();
    let engine = place.builder().passphrase("correct horse").open().unwrap();
    assert_eq!(["default", "before", "after"].map(|name| second(&engine.tenant(name).unwrap())), keys);
    engine.close().unwrap();

    // Without the keys what leaves is what is stored.
    let away = tempfile::tempdir().unwrap();
    let engine = place.builder().keys(Keys::Folder(away.path().to_owned())).read_only().open().unwrap();
    assert!(engine.main().pq_verifier_key().unwrap().is_none());
    assert_eq!(lines(&engine.main().checkpoint().unwrap()), 1);
    assert!(engine.add_pq_key().is_err());
}

#[test]
fn witnesses_anchors_and_receipts_go_on_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, "a secret");
    engine.add_pq_key().unwrap();
    let log = engine.main();
    let witness = PeerWitness::init(dir.path().join("w"), "witness.example/ada").unwrap();
    witness.trust(&log.verifier_key()).unwrap();
    let policy = Policy::default().and_witness(witness.verifier_key());
    let cosigned = log.cosign(&log.checkpoint().unwrap(), &policy, &mut |request| witness.add_checkpoint(request.as_bytes())).unwrap();
    assert_eq!((lines(&cosigned), signed(&second(&log), &cosigned)), (3, Some(true)), "{cosigned}");
    log.anchor(&cosigned, &policy).unwrap();
    let mut file = Vec::new();
    log.prove(&[2]).under(proof::Under::Witnessed(policy.clone())).write(&mut file).unwrap();
    let (second_key, its_key) = (second(&log), witness.verifier_key());
    let asked = format!("log {second_key}\nwitness ada {its_key}\nquorum ada\n");
    assert_eq!(judged(&file, &asked).verdict, INTACT, "the anchored checkpoint leaves with a second line, too");
    remember(&engine, "later");
    assert!(engine.verify().unwrap().is_intact());
    let whole = audit(&engine);
    let text = String::from_utf8_lossy(&whole);
    assert_eq!(text.matches('\u{2014}').count(), 2 + 2 + 2, "the section's, the anchor's, and that again as its checkpoint");
    assert!(policies(&log).iter().all(|policy| judged(&whole, policy).verdict == INTACT));
    // A witness that knows the second key alone takes the log by that.
    let other = PeerWitness::init(dir.path().join("v"), "witness.example/bob").unwrap();
    other.trust(&second(&log).to_string()).unwrap();
    let policy = Policy::default().and_witness(other.verifier_key());
    let ask = &mut |request: &str| other.add_checkpoint(request.as_bytes());
    assert_eq!(lines(&log.cosign(&log.checkpoint().unwrap(), &policy, ask).unwrap()), 3);
    assert!(other.seen().unwrap()[0].note.lines().any(|line| line.len() > 3_200), "it keeps the line that it judged by");

    let erased = engine.erase().subject("Grace").run().unwrap();
    let receipt = erased.receipt.unwrap().to_json();
    assert_eq!(lines(&receipt), 2);
    mirrordna::Receipt::from_json(&receipt).unwrap();
}
