//! Payloads that are too large for one event.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, Content, Engine, IdentityType, Keys, MemoryPatch, Witness, limits};
use rusqlite::Connection;

/// Text that does not repeat, so that no part equals another.
fn text(length: usize, salt: u64) -> String {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = String::with_capacity(length + 16);
    while out.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.push_str(&format!("{:x} ", state >> 20));
    }
    out.truncate(length);
    out
}

fn kinds(engine: &Engine, kind: &str) -> usize {
    engine.timeline().list(0, 10_000).unwrap().iter().filter(|e| e.kind == kind).count()
}

#[test]
fn large_contents_come_back_byte_for_byte() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let lengths = [limits::INLINE, limits::INLINE + 1, limits::PART, limits::PART + 1, 5 * limits::PART + 17];
    let mut ids = Vec::new();
    for (i, length) in lengths.into_iter().enumerate() {
        ids.push(agent.memories().add(text(length, i as u64)).subject("ann").send().unwrap().id);
    }
    assert_eq!(kinds(&engine, "part"), 1 + 1 + 2 + 6);
    drop(agent);
    engine.close().unwrap();
    let engine = place.open();
    for (i, (id, length)) in ids.iter().zip(lengths).enumerate() {
        assert!(engine.memories().get(id).unwrap().content == text(length, i as u64), "{length}");
    }
    assert_eq!(engine.memories().list(0, 10).unwrap().len(), 5);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}

#[test]
fn a_patch_replaces_parts_and_the_history_keeps_them() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let (large, other) = (text(200_000, 1), text(300_000, 2));
    let id = agent.memories().add(large.as_str()).send().unwrap().id;
    let patch = |content: &str| MemoryPatch { content: Some(Content::Text(content.to_owned())), ..MemoryPatch::default() };
    for content in ["short", &other, "short again"] {
        engine.memories().update(&id, patch(content)).unwrap();
        assert!(engine.memories().get(&id).unwrap().content == content);
    }
    let tags = MemoryPatch { tags: Some(vec!["t".into()]), ..MemoryPatch::default() };
    engine.memories().update(&id, patch(&large)).unwrap();
    engine.memories().update(&id, tags).unwrap();
    assert!(engine.memories().get(&id).unwrap().content == large, "a patch without content keeps the parts");
    let history: Vec<Option<usize>> = engine.memories().history(&id).unwrap().into_iter().map(|s| s.content.map(|c| c.len())).collect();
    assert_eq!(history, [Some(200_000), Some(5), Some(300_000), Some(11), Some(200_000), None]);
}

#[test]
fn equal_parts_of_a_subject_are_stored_once() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let state = text(3 * limits::PART, 7);
    for i in 0..4 {
        // A state that grows at its end, as checkpoints of a conversation do.
        agent.memories().add(format!("{state}{i}")).subject("ann").send().unwrap();
    }
    assert_eq!(kinds(&engine, "part"), 3 + 4);
    agent.memories().add(format!("{state}0")).subject("bob").send().unwrap();
    assert_eq!(kinds(&engine, "part"), 3 + 4 + 4, "nothing is shared between subjects");
    let once = || agent.memories().add(state.as_str()).subject("ann").idempotency_key("k").send().unwrap();
    let (first, again) = (once(), once());
    assert_eq!((first.id, again.event.existed), (again.id, true));
}

#[test]
fn a_listing_names_the_length_and_one_event_has_the_payload() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let json = serde_json::json!({ "state": text(2 * limits::PART, 3) });
    let event = agent.timeline().append("graph.checkpoint", &json).unwrap();
    let listed = agent.timeline().list(event.index, 1).unwrap().remove(0);
    assert_eq!((listed.payload, listed.payload_bytes), (None, Some(json.to_string().len() as i64)));
    let got = agent.timeline().get(event.index).unwrap();
    assert!(got.payload == Some(json.to_string()) && got.payload_bytes.is_none());
}

#[test]
fn what_is_too_large_is_refused_whole() {
    let engine = Engine::open("memory:").unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let size = engine.timeline().len().unwrap();
    let e = agent.memories().add("x".repeat(limits::PAYLOAD + 1)).send().unwrap_err();
    assert_eq!(e.code(), Code::LimitExceeded);
    let e = agent.memories().add_json(format!("\"{}\"", "x".repeat(limits::JSON))).send().unwrap_err();
    assert_eq!(e.code(), Code::LimitExceeded);
    let e = agent.memories().add("x".repeat(1 << 17)).metadata(format!("\"{}\"", "x".repeat(limits::INLINE))).send().unwrap_err();
    assert_eq!(e.code(), Code::LimitExceeded);
    assert_eq!(engine.timeline().len().unwrap(), size, "nothing was appended");
}

#[test]
fn parts_are_evidence_and_travel() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let content = text(3 * limits::PART / 2, 5);
    let id = agent.memories().add(content.as_str()).send().unwrap().id;
    let mut export = Vec::new();
    engine.export(&mut export).unwrap();
    drop(agent);
    engine.close().unwrap();
    // There and back.
    let there = place.dir.path().join("restored.db");
    let builder = || Engine::builder(there.to_str().unwrap()).keys(place.keys()).witness(Witness::Off);
    builder().restore(&mut export.as_slice()).unwrap();
    let restored = builder().open().unwrap();
    assert!(restored.memories().get(&id).unwrap().content == content);
    restored.close().unwrap();
    // A byte in the middle of a part, and a part that is gone.
    let long = "(SELECT pos FROM event ORDER BY length(body) DESC LIMIT 1)";
    for damage in [
        format!("UPDATE event SET body = CAST(substr(body, 1, 5000) || x'00' || substr(body, 5002) AS BLOB) WHERE pos = {long}"),
        format!("UPDATE event SET body = NULL, subject = NULL, secret = NULL WHERE pos = {long}"),
    ] {
        let copy = place.dir.path().join("damaged.db");
        for end in ["", "-wal", "-shm"] {
            let _absent = std::fs::remove_file(format!("{}{end}", copy.display()));
        }
        std::fs::copy(place.path(), &copy).unwrap();
        Connection::open(&copy).unwrap().execute_batch(&damage).unwrap();
        let builder = || place.at(&copy).witness(Witness::Off);
        assert_eq!(builder().verify().unwrap().verdict, "altered", "{damage}");
        let engine = builder().open().unwrap();
        let read = engine.memories().get(&id).map(|m| m.content);
        assert!(read.is_err() || read.unwrap() != content, "{damage}");
    }
}

#[test]
fn a_large_turn_of_an_import_is_kept() {
    let place = Place::new();
    let file = place.dir.path().join("chat.jsonl");
    let large = text(300_000, 9);
    let lines =
        format!("{}\n{}\n", serde_json::json!({"speaker": "Ann", "text": "hello"}), serde_json::json!({"speaker": "Bob", "text": large}));
    std::fs::write(&file, lines).unwrap();
    let engine = Engine::builder(place.path().to_str().unwrap())
        .keys(Keys::Folder(place.dir.path().join("k")))
        .witness(Witness::Off)
        .open()
        .unwrap();
    let report =
        mirrordna::import::import(&engine.main(), std::slice::from_ref(&file), mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap();
    assert_eq!((report.kept, report.refused), (2, 0));
    let kept: Vec<String> = engine.memories().list(0, 10).unwrap().into_iter().map(|m| m.content).collect();
    assert!(kept[1] == large);
    let report =
        mirrordna::import::import(&engine.main(), std::slice::from_ref(&file), mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap();
    assert_eq!(report.events, 0);
}
