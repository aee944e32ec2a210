//! Importing call ledgers of the older form.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::import::{Format, ImportReport, import};
use mirrordna::proof::Policy;
use mirrordna::{Code, ContentHash, Engine, HashForm, IdentityType, Missing, MissingLink, NewCall, Outcome, Status, ToolCitation};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn imported(engine: &Engine, place: &Place, name: &str, text: &str) -> ImportReport {
    let file = place.dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    import(&engine.main(), &[file], Format::Auto, &mut |_, _| {}).unwrap()
}

fn reasons(report: &ImportReport) -> Vec<(u64, &str)> {
    report.notes.iter().map(|n| (n.line, n.reason)).collect()
}

/// What the older ledger writes. Digests are Python's own:
/// `sha256(json.dumps(value, sort_keys=True, default=str).encode())`.
const LEDGER: &str = r#"[
 {"call_id": "9b2c", "timestamp": 1771500000.25, "endpoint": "/risk/findings",
  "args": {"finding": "é", "n": [1.0, 2, null, true], "b": {"z": 1, "a": 2}},
  "args_hash": "18c10d438921aaf4779a2356786cefa83514b037bf471451aba7ce370f22e408",
  "response": {"total": 3, "items": ["x", "y", "z"], "score": 0.1},
  "response_hash": "062b265a6af6404927b903d9fffc3e39ed80d6380998e04f7dd213e871a2506a",
  "response_status": "success", "latency_ms": 41.6, "args_redacted": {"finding": "***"},
  "response_summary": {"total": 3}, "request_id": "req-9", "user_id": "sam", "tenant_id": "acme"},
 {"call_id": "77aa", "timestamp": 1771500001, "endpoint": "/risk/details",
  "args_hash": "4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b",
  "args_redacted": {"id": "10", "limit": 5},
  "response_hash": "99518fbc036e5d7937f49fc70e801711be7a08c97ffdc102ebb9f6f78403e730",
  "response_status": "error", "latency_ms": 7, "response_summary": {"status": "error"}, "request_id": "req-9",
  "user_id": null, "tenant_id": null},
 {"call_id": "changed", "timestamp": 1771500002, "endpoint": "/risk/details", "args": {"password": "hunter3"},
  "args_hash": "0f6713a0c5bcd7d053a697e2d75f8d259a22e12e8c15328d4a42709ed2a109b0", "response_hash": null,
  "response_status": "timeout", "latency_ms": 30000, "request_id": "req-9"},
 {"call_id": "no hash", "endpoint": "/x", "response_status": "success", "request_id": "req-9"},
 {"call_id": "no status", "endpoint": "/x", "request_id": "r", "response_status": "perhaps",
  "args_hash": "4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b"},
 {"call_id": "short", "endpoint": "/x", "request_id": "r", "response_status": "success", "args_hash": "4a11"},
 {"call_id": "late", "endpoint": "/x", "request_id": "r", "response_status": "success", "latency_ms": -1,
  "args_hash": "4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b"},
 {"call_id": "undated", "timestamp": "soon", "endpoint": "/x", "request_id": "r", "response_status": "timeout",
  "args_hash": "4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b"},
 7
]"#;

#[test]
fn an_older_ledger_is_checked_again_and_says_what_could_not_be() {
    let place = Place::new();
    let engine = place.open();
    let report = imported(&engine, &place, "ledger.json", LEDGER);
    assert_eq!((report.files, report.kept, report.repaired, report.refused), (1, 2, 1, 6), "{report:#?}");
    let expected = [
        (3, "hash_differs"),
        (4, "missing_field"),
        (5, "invalid_record"),
        (6, "pattern_mismatch"),
        (7, "out_of_range"),
        (9, "not_an_object"),
        (8, "timestamp_unreadable"),
        (0, "hash_unchecked"),
    ];
    assert_eq!(reasons(&report), expected);
    let first = engine.tools().get("9b2c").unwrap();
    assert_eq!((first.args_checked, first.response_checked, first.hash_form), (Some(true), Some(true), HashForm::Python));
    assert_eq!((first.timestamp.as_str(), first.latency_ms), ("2026-02-19T11:20:00.250Z", Some(42)));
    assert_eq!((first.user_id.as_deref(), first.tenant_id.as_deref(), first.subject.as_deref()), (Some("sam"), Some("acme"), Some("sam")));
    assert_eq!(first.args_redacted.as_deref(), Some(r#"{"finding":"***"}"#));
    assert!(first.agent.starts_with("mdna_sys_"), "nothing is presented as witnessed by an agent");
    let second = engine.tools().get("77aa").unwrap();
    assert_eq!((second.args_checked, second.response_checked), (Some(true), Some(false)), "nothing was taken out of its arguments");
    assert_eq!(second.response_status, Some(Status::Error));
    assert_eq!(engine.tools().get("changed").unwrap_err().code(), Code::NotFound);
    let ids: Vec<String> = engine.tools().listing().run().unwrap().items.into_iter().map(|c| c.call_id).collect();
    assert_eq!(ids, ["9b2c", "77aa", "undated"]);
    // Ids are theirs, but nothing here records that they were made: they are not
    // cited, and no evidence rests on them.
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    assert_eq!(engine.tools().citation("9b2c").unwrap_err().code(), Code::CitationUnknown);
    let made = agent.tools().requested(NewCall::new("e", "req-9").id("made")).unwrap();
    made.completed(Outcome::success("x")).unwrap();
    let forged = ToolCitation {
        call_id: "9b2c".into(),
        leaf: first.completed_leaf.unwrap(),
        leaf_hash: first.completed_hash.clone().unwrap(),
        endpoint: first.endpoint.clone(),
        timestamp: first.timestamp.clone(),
        args_hash: first.args_hash.clone(),
        response_hash: first.response_hash.clone(),
        status: first.response_status.unwrap(),
        latency_ms: first.latency_ms,
        ..engine.tools().citation("made").unwrap()
    };
    assert_eq!(engine.tools().verify_citation(&forged, "req-9").unwrap_err().code(), Code::CitationUnknown);
    let mut file = Vec::new();
    let (chain, _) = agent.evidence().calls(["9b2c", "made"]).write(&mut file).unwrap();
    let link = [MissingLink { call_id: "9b2c".into(), why: Missing::Imported }];
    assert_eq!((chain.chain_complete, chain.missing_links.as_slice()), (false, &link[..]));
    let read = mirrordna::read_evidence(&mut file.as_slice(), Policy::default().and(*engine.fingerprint().as_bytes())).unwrap();
    assert_eq!((read.statements[0].chain_complete, read.statements[0].missing_links.as_slice()), (false, &link[..]));
    assert_eq!(agent.tools().requested(NewCall::new("e", "r").id("9b2c")).unwrap_err().code(), Code::ToolExists);

    let again = imported(&engine, &place, "ledger.json", LEDGER);
    assert_eq!((again.kept, again.repaired, again.refused, again.events), (2, 1, 6, 0));
    let other = imported(&engine, &place, "other.json", &LEDGER.replace("41.6", "40"));
    assert_eq!((other.kept, other.events), (1, 0));
    assert!(reasons(&other).contains(&(1, "id_conflict")), "{other:#?}");
    drop(agent);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}

#[test]
fn a_ledger_may_be_a_list_inside_an_object_or_lines() {
    let record = |id: &str| {
        format!(
            r#"{{"call_id":"{id}","endpoint":"/x","request_id":"r","response_status":"timeout","args_hash":"{}"}}"#,
            ContentHash::of("").to_string().to_uppercase()
        )
    };
    let place = Place::new();
    let engine = place.open();
    let text = format!(r#"{{"version": 1, "records": [{}]}}"#, record("a"));
    assert_eq!(imported(&engine, &place, "one.json", &text).kept, 1);
    assert_eq!(imported(&engine, &place, "two.json", &record("b")).kept, 1);
    let lines = format!("{}\n\n{{torn\n{}\n", record("c"), record("d"));
    let report = imported(&engine, &place, "three.txt", &lines);
    assert_eq!((report.kept, report.refused, reasons(&report)[0].0), (2, 1, 3), "{report:#?}");
    let torn = imported(&engine, &place, "four.json", &text[..text.len() - 9]);
    assert_eq!((torn.kept, torn.refused), (0, 1), "{torn:#?}");
    let other = imported(&engine, &place, "five.json", r#"{"call_id": null, "args_hash": 1}"#);
    assert_eq!((other.refused, other.notes[0].reason), (1, "missing_field"));
    let none = imported(&engine, &place, "six.json", r#"{"also": [{"call_id": "x", "args_hash": "y"}]}"#);
    assert_eq!((none.refused, none.notes[0].reason), (1, "unknown_file"));
    assert_eq!(engine.tools().listing().run().unwrap().items.len(), 4);
}

#[test]
fn a_damaged_ledger_is_read_as_far_as_it_is_one() {
    let place = Place::new();
    let engine = Engine::open("memory:").unwrap();
    let file = place.dir.path().join("damaged.json");
    let damage = (any::<prop::sample::Index>(), prop::sample::select(&b"\0\"{}[]:,0-eE.\\\xc3\xff "[..]), any::<bool>());
    let whole = LEDGER.as_bytes();
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&prop::collection::vec(damage, 1..4), |damage| {
        let mut bytes = whole.to_vec();
        for (at, byte, cut) in damage {
            let at = at.index(bytes.len());
            match cut {
                true => drop(bytes.remove(at)),
                false => bytes[at] = byte,
            }
        }
        std::fs::write(&file, &bytes).unwrap();
        let report = import(&engine.main(), std::slice::from_ref(&file), Format::Ledger, &mut |_, _| {}).unwrap();
        let records = report.kept + report.repaired + report.refused;
        prop_assert!((1..=9).contains(&records) && report.refused as usize <= report.notes.len(), "{report:#?}");
        Ok(())
    });
    checked.unwrap();
    // What came in of all that can be read, and was checked where it says so.
    for call in engine.tools().listing().run().unwrap().items {
        assert_eq!(engine.tools().get(&call.call_id).unwrap(), call);
        assert!(call.response_status.is_some(), "both events or none");
    }
    assert!(engine.verify().unwrap().is_intact());
}
