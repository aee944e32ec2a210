//! Erasure: what it takes, what it leaves, who may forbid it, and that nothing
//! of it is left in any file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{
    Clock, Code, Content, Engine, Erasure, ErasureState, IdentityType, MemoryPatch, NewIdentity, NewMemory, NewSession, OnWhat, Reason,
    Receipt, Tier, limits,
};
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::verify::note::base64;
use serde_json::json;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn agent(engine: &Engine) -> mirrordna::Identity {
    engine.identities().create(IdentityType::Agent).unwrap()
}

#[test]
fn a_subject_goes_as_a_whole_and_nothing_else_does() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let memories = agent.memories();
    let about = |who: &str, text: &str| memories.add(text).subject(who).send().unwrap().id;
    let sam: Vec<String> = (0..5).map(|i| about("Sam", &format!("Sam likes number {i}"))).collect();
    let ann = about("Ann", "Ann likes trains");
    let none = memories.add("the boathouse is booked").send().unwrap().id;
    let patch = mirrordna::MemoryPatch { tags: Some(vec!["x".into()]), ..Default::default() };
    memories.update(&sam[0], patch).unwrap();
    memories.archive(&sam[1]).unwrap();
    assert_eq!(engine.memories().search("number").run().unwrap().len(), 4);

    let would = engine.erase().subject("Sam").dry_run().run().unwrap();
    assert_eq!((would.events, would.state, would.already), (7, None, 0));
    assert_eq!(engine.memories().count().unwrap(), 7);
    let done = engine.erase().subject("Sam").reason(Reason::Subject).run().unwrap();
    assert_eq!((done.events, done.bodies, done.parts, done.subjects), (7, 7, 0, 1));
    assert_eq!(done.state, Some(ErasureState::Done));
    assert_eq!(done.kinds, [("record.archive", 1), ("record.patch", 1), ("record.put", 5)].map(|(k, n)| (k.to_owned(), n)).into());
    assert_eq!(done.schemas, [("memory".to_owned(), 7)].into());
    assert_eq!((would.bytes, would.kinds), (done.bytes, done.kinds));

    let check = |engine: &Engine| {
        for id in &sam {
            assert_eq!(engine.memories().get(id).unwrap_err().code(), Code::Erased);
            assert_eq!(engine.memories().history(id).unwrap_err().code(), Code::Erased);
            assert_eq!(engine.memories().update(id, Default::default()).unwrap_err().code(), Code::Erased);
        }
        let listed: Vec<String> = engine.memories().listing().archived().run().unwrap().items.into_iter().map(|m| m.id).collect();
        assert_eq!(listed, [ann.clone(), none.clone()]);
        assert_eq!(engine.memories().count().unwrap(), 2);
        assert!(engine.memories().search("number").run().unwrap().is_empty());
        assert_eq!(engine.memories().search("trains").run().unwrap().len(), 1);
        let report = engine.verify().unwrap();
        assert!(report.is_intact(), "{report:#?}");
        assert_eq!((report.bodies.erased, report.bodies.missing), (7, 0));
        let kinds = engine.timeline().list(0, 1_000).unwrap();
        assert_eq!(kinds.iter().filter(|e| e.body == "erased").count(), 7);
        assert_eq!(kinds.iter().filter(|e| e.kind == "erase" && e.signed).count(), 1);
        assert_eq!(kinds.iter().filter(|e| e.kind == "erase.done" && e.signed).count(), 1);
    };
    check(&engine);
    // Again: it is passed over. Somebody who never was is not found.
    let again = |engine: &Engine| {
        let again = engine.erase().subject("Sam").run().unwrap();
        assert_eq!((again.events, again.already, again.state), (0, 7, None));
        assert_eq!(engine.erase().subject("Nobody").run().unwrap_err().code(), Code::NotFound);
    };
    again(&engine);
    check(&engine);
    drop(memories);
    drop(agent);
    engine.close().unwrap();
    // A view that is folded anew, from events without content, says the same.
    let engine = place.open();
    check(&engine);
    again(&engine);
    // The name is free for who comes next.
    let agent = engine.identities().list().unwrap().remove(0);
    let id = agent.memories().add("another Sam").subject("Sam").send().unwrap().id;
    assert_eq!(engine.memories().get(&id).unwrap().content, "another Sam");
    assert_eq!(engine.erase().subject("Sam").run().unwrap().events, 1);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_session_goes_with_everything_in_it() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let id = session.id().to_owned();
    let memory = session.memories().add("in the session").send().unwrap().id;
    let event = session.timeline().append("step.taken", &json!({"n": 1})).unwrap();
    session.end().unwrap();
    let later = engine.sessions().start(&agent, &user).unwrap();
    later.memories().add("in another one").send().unwrap();
    let done = engine.erase().session(&id).run().unwrap();
    // Its start and end, the memory, the event.
    assert_eq!((done.events, done.subjects), (4, 0), "the user's key stays: there is more about them");
    assert_eq!(engine.sessions().get(&id).unwrap_err().code(), Code::Erased);
    assert_eq!(engine.sessions().resume(&id).map(drop).unwrap_err().code(), Code::Erased);
    assert_eq!(engine.memories().get(&memory).unwrap_err().code(), Code::Erased);
    assert_eq!(engine.timeline().get(event.index).unwrap().body, "erased");
    let sessions = engine.sessions().list(None).unwrap();
    assert_eq!(sessions.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), [later.id()]);
    assert_eq!(engine.erase().session("sess_01m7yn5m709aah46zbayenk3kn").run().unwrap_err().code(), Code::NotFound);
    // Of a session without a user, the session is the subject: its key goes too.
    let alone = engine.sessions().start_with(&agent, Default::default()).unwrap();
    alone.memories().add("nobody's").send().unwrap();
    let done = engine.erase().session(alone.id()).run().unwrap();
    assert_eq!((done.events, done.subjects), (2, 1));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_record_goes_with_its_history_and_the_parts_that_nobody_else_names() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let text = |salt: u64| -> String { (0..200_000u64).map(|i| char::from(b'a' + (i.wrapping_mul(salt) >> 7) as u8 % 26)).collect() };
    let shared = text(2_654_435_761);
    let own = text(40_503_191);
    let add = |text: &str| agent.memories().add(text).subject("ann").send().unwrap().id;
    let (first, second) = (add(&shared), add(&shared));
    let patch = MemoryPatch { content: Some(Content::Text(own.clone())), ..MemoryPatch::default() };
    engine.memories().update(&first, patch).unwrap();
    let done = engine.erase().record(&first).run().unwrap();
    assert_eq!((done.bodies, done.parts, done.events), (2, 1, 3), "the shared part stays");
    assert_eq!(engine.memories().get(&first).unwrap_err().code(), Code::Erased);
    assert!(engine.memories().get(&second).unwrap().content == shared);
    let done = engine.erase().record(&second).run().unwrap();
    assert_eq!((done.bodies, done.parts, done.subjects), (1, 1, 1), "now it goes, and with it the subject");
    // What comes again is stored anew.
    let third = add(&shared);
    assert!(engine.memories().get(&third).unwrap().content == shared);
    assert_eq!(engine.erase().record("mem_01m7yn5m709aah46zbayenk3kn").run().unwrap_err().code(), Code::NotFound);
    let again = engine.erase().record(&first).run().unwrap();
    assert_eq!((again.events, again.already), (0, 1));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn an_identity_is_only_erased_if_it_is_asked_for_as_one() {
    let place = Place::new();
    let engine = place.open();
    let new = NewIdentity { name: Some("Sam".into()), ..NewIdentity::default() };
    let user = engine.identities().create_with(IdentityType::User, new).unwrap();
    let agent = agent(&engine);
    let session = engine.sessions().start(&agent, &user).unwrap();
    session.memories().add("Sam prefers trains").send().unwrap();
    assert_eq!(engine.erase().subject(user.id()).run().unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.erase().actor("mdna_usr_0123456789abcdef0123456789abcdef").run().unwrap_err().code(), Code::NotFound);
    assert_eq!(engine.erase().run().unwrap_err().code(), Code::InputInvalid);
    let done = engine.erase().actor(user.id()).reason(Reason::Subject).run().unwrap();
    assert_eq!((done.events, done.subjects), (3, 1), "profile, session, memory");
    let again = engine.identities().get(user.id()).unwrap();
    assert_eq!(again.profile().unwrap().name, None, "who it is stays, what it was called is gone");
    assert_eq!(engine.identities().find("Sam").map(drop).unwrap_err().code(), Code::NotFound);
    assert!(engine.sessions().list(None).unwrap().is_empty());
    // It can still speak.
    again.timeline().append("still.here", &json!({})).unwrap();
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_key_of_something_erased_says_so() {
    let place = Place::new();
    let check = |engine: &Engine| {
        let agent = engine.identities().list().unwrap().remove(0);
        let add = || agent.memories().add("once").subject("Sam").idempotency_key("k1").send();
        let session = engine.sessions().start_with(&agent, Default::default()).unwrap();
        let append = || session.timeline().append_json("once.said", Some("{}"), Some("k2"));
        (add().map(drop).map_err(|e| e.code()), append().map(drop).map_err(|e| e.code()))
    };
    let engine = place.open();
    drop(agent(&engine));
    for _ in 0..2 {
        assert_eq!(check(&engine), (Ok(()), Ok(())));
    }
    let first = engine.sessions().list(None).unwrap().remove(0).id;
    engine.erase().subject("Sam").session(first).run().unwrap();
    assert_eq!(check(&engine), (Err(Code::Erased), Err(Code::Erased)));
    engine.close().unwrap();
    let engine = place.open();
    assert_eq!(check(&engine), (Err(Code::Erased), Err(Code::Erased)), "also where the log is folded anew");
}

#[test]
fn what_was_erased_is_not_imported_again() {
    let place = Place::new();
    let chat = place.dir.path().join("chat.jsonl");
    let lines: Vec<String> =
        (0..4).map(|i| json!({"id": format!("t{i}"), "speaker": "Sam", "text": format!("turn {i}")}).to_string()).collect();
    std::fs::write(&chat, lines.join("\n")).unwrap();
    let engine = place.open();
    let import = |engine: &Engine| {
        mirrordna::import::import(&engine.main(), std::slice::from_ref(&chat), mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap()
    };
    assert_eq!(import(&engine).kept, 4);
    let gone = engine.memories().list(1, 1).unwrap().remove(0).id;
    engine.erase().record(&gone).run().unwrap();
    for round in 0..2 {
        let engine = if round == 0 { engine.clone() } else { place.open() };
        let report = import(&engine);
        assert_eq!((report.kept, report.refused), (3, 1), "{report:#?}");
        assert_eq!((report.notes[0].line, report.notes[0].reason), (2, "erased"));
        assert_eq!(engine.memories().count().unwrap(), 3);
    }
    drop(engine);
    let engine = place.open();
    assert_eq!(import(&engine).refused, 1, "also where the log is folded anew");
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn holds_forbid_and_are_released() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let memory = session.memories().add("in question").subject("Sam").send().unwrap().id;
    for on in [OnWhat::Subject("Sam".into()), OnWhat::Session(session.id().into()), OnWhat::Record(memory.clone())] {
        let hold = engine.holds().place(on.clone(), "case 17").unwrap();
        assert_eq!((&hold.on, hold.released_at.is_none()), (&on, true));
        for erase in [engine.erase().subject("Sam"), engine.erase().session(session.id()), engine.erase().record(&memory)] {
            for erase in [erase.clone(), erase.dry_run()] {
                let refused = erase.run().unwrap_err();
                assert_eq!(refused.code(), Code::ErasureHeld);
                assert!(refused.message().contains(&hold.id) && refused.message().contains("case 17"), "{refused}");
            }
        }
        // A hold cannot be erased from under what it is on.
        assert_eq!(engine.erase().record(&hold.id).run().unwrap_err().code(), Code::ErasureHeld);
        engine.holds().release(&hold.id).unwrap();
        assert_eq!(engine.holds().release(&hold.id).unwrap_err().code(), Code::InputInvalid);
        assert!(engine.holds().get(&hold.id).unwrap().released_at.is_some());
    }
    assert_eq!((engine.holds().list(false).unwrap().len(), engine.holds().list(true).unwrap().len()), (0, 3));
    assert_eq!(engine.erase().record(&memory).run().unwrap().events, 1);
    assert_eq!(engine.holds().place(OnWhat::Subject(String::new()), "why").unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.holds().release("hold_01m7yn5m709aah46zbayenk3kn").unwrap_err().code(), Code::NotFound);
    assert!(engine.verify().unwrap().is_intact());
}

/// A clock that is set.
struct Set(AtomicU64);

impl Clock for Set {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const DAY: u64 = 86_400_000;

#[test]
fn what_is_older_than_its_policy_goes_and_holds_win() {
    let place = Place::new();
    let clock = Arc::new(Set(AtomicU64::new(1_770_000_000_000)));
    let later = |days: u64| clock.0.fetch_add(days * DAY, Ordering::Relaxed);
    let engine = place.builder().clock(clock.clone()).open().unwrap();
    let agent = agent(&engine);
    let add = |text: &str, tier: Tier| agent.memories().add(text).tier(tier).subject(text).send().unwrap().id;
    let (old, held, changed) = (add("old", Tier::ShortTerm), add("held", Tier::ShortTerm), add("changed", Tier::ShortTerm));
    let long = add("long", Tier::LongTerm);
    let event = agent.timeline().append("old.event", &json!({})).unwrap();
    let call = agent.tools().requested(mirrordna::NewCall::new("e", "r").id("old")).unwrap();
    call.completed(mirrordna::Outcome::success("x")).unwrap();
    agent.evidence().call("old").build().unwrap();
    later(20);
    let patch = MemoryPatch { tags: Some(vec!["kept".into()]), ..MemoryPatch::default() };
    engine.memories().update(&changed, patch).unwrap();
    let new = add("new", Tier::ShortTerm);
    later(20);
    let retention = engine.retention();
    let first = retention.set("memory", Some(Tier::ShortTerm), Duration::from_secs(99 * 86_400)).unwrap();
    let policy = retention.set("memory", Some(Tier::ShortTerm), Duration::from_secs(30 * 86_400)).unwrap();
    assert_eq!((retention.list().unwrap(), &first.id), (vec![policy.clone()], &policy.id), "one policy about one thing");
    let hold = engine.holds().place(OnWhat::Subject("held".into()), "audit").unwrap();
    let would = retention.apply(true).unwrap();
    assert_eq!((would.policies[0].erased.events, would.held), (1, 1));
    assert_eq!(engine.memories().count().unwrap(), 5);
    let done = retention.apply(false).unwrap();
    assert_eq!((done.policies.len(), done.policies[0].erased.events, done.held), (1, 1, 1));
    assert_eq!(done.policies[0].erased.reason, Reason::Ttl);
    let left: HashSet<String> = engine.memories().list(0, 10).unwrap().into_iter().map(|m| m.id).collect();
    assert_eq!(left, HashSet::from([held.clone(), changed, long, new]));
    assert_eq!(engine.memories().get(&old).unwrap_err().code(), Code::Erased);
    engine.holds().release(&hold.id).unwrap();
    assert_eq!(retention.apply(false).unwrap().policies[0].erased.events, 1);
    assert_eq!(engine.memories().get(&held).unwrap_err().code(), Code::Erased);
    assert_eq!(retention.apply(false).unwrap().policies[0].erased.events, 0);
    retention.set("event", None, Duration::from_secs(30 * 86_400)).unwrap();
    assert_eq!(retention.apply(false).unwrap().policies[1].erased.kinds, [("event".to_owned(), 1)].into());
    assert_eq!(engine.timeline().get(event.index).unwrap().body, "erased");
    // Calls are events with policies of their own.
    assert!(engine.tools().get("old").is_ok());
    retention.set("tool.call", None, Duration::from_secs(30 * 86_400)).unwrap();
    assert_eq!(retention.apply(false).unwrap().policies[2].erased.schemas, [("tool.call".to_owned(), 2)].into());
    assert_eq!(engine.tools().get("old").unwrap_err().code(), Code::Erased);
    retention.set("evidence", None, Duration::from_secs(30 * 86_400)).unwrap();
    assert_eq!(retention.apply(false).unwrap().policies[3].erased.schemas, [("evidence".to_owned(), 1)].into());
    retention.remove(&policy.id).unwrap();
    assert_eq!(retention.remove(&policy.id).unwrap_err().code(), Code::NotFound);
    assert_eq!(retention.list().unwrap().len(), 3);
    for (schema, tier) in [("part", None), ("hold", None), ("nothing", None), ("session", Some(Tier::LongTerm))] {
        assert_eq!(retention.set(schema, tier, Duration::from_secs(1)).unwrap_err().code(), Code::InputInvalid, "{schema}");
    }
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn consents_are_recorded_and_go_with_the_person() {
    let place = Place::new();
    let engine = place.open();
    let consents = engine.consents();
    let given = consents.give("Sam", "remember preferences", Some("settings page")).unwrap();
    let other = consents.give("Ann", "remember preferences", None).unwrap();
    assert!(consents.stands("Sam", "remember preferences").unwrap() && !consents.stands("Sam", "train a model").unwrap());
    consents.withdraw(&given.id).unwrap();
    assert_eq!(consents.withdraw(&given.id).unwrap_err().code(), Code::InputInvalid);
    let read = consents.get(&given.id).unwrap();
    assert!(read.withdrawn_at.is_some() && read.basis.as_deref() == Some("settings page"));
    assert!(!consents.stands("Sam", "remember preferences").unwrap());
    assert_eq!(consents.list(Some("Sam")).unwrap(), [read]);
    assert_eq!(engine.erase().subject("Sam").run().unwrap().schemas, [("consent".to_owned(), 2)].into());
    assert_eq!(consents.get(&given.id).unwrap_err().code(), Code::Erased);
    assert_eq!(consents.list(None).unwrap().len(), 1);
    assert!(consents.stands("Ann", "remember preferences").unwrap() && consents.get(&other.id).is_ok());
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn a_receipt_proves_an_erasure_and_does_it_again_in_an_older_copy() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let about_sam: Vec<NewMemory> = (0..1_100)
        .map(|i| NewMemory { content: Content::Text(format!("Sam {i}")), subject: Some("Sam".into()), ..NewMemory::default() })
        .collect();
    for some in about_sam.chunks(limits::BATCH_EVENTS) {
        agent.memories().add_all(some.to_vec()).unwrap();
    }
    // Calls that Sam asked for, and events about Sam, in sessions or outside.
    let call = agent.tools().requested(mirrordna::NewCall::new("e", "r").user("Sam").id("c1")).unwrap();
    call.completed(mirrordna::Outcome::success("x")).unwrap();
    let visit = agent.timeline().about("Sam").append("visit.made", &json!({})).unwrap().index;
    let id = agent.id().to_owned();
    drop((call, agent));
    engine.close().unwrap();
    let backup = place.dir.path().join("backup.db");
    copy(&place.path(), &backup);
    let engine = place.open();
    let done = engine.erase().subject("Sam").reason(Reason::Subject).run().unwrap();
    assert_eq!((done.events, done.erase_events.len()), (1_103, 2));
    let receipt = done.receipt.unwrap();
    let text = receipt.to_json();
    assert!(Receipt::from_json(&text).unwrap() == receipt);
    let again = engine.erase().replay(&receipt).unwrap();
    assert_eq!((again.events, again.already), (0, 1_103));
    engine.close().unwrap();

    // An older copy is a rollback here; whoever goes on from it erases again.
    copy(&backup, &place.path());
    assert_eq!(place.builder().open().unwrap_err().code(), Code::RolledBack);
    let events = place.verify().events;
    place.builder().fork(events, "the disk was lost").unwrap();
    let engine = place.open();
    assert_eq!(engine.memories().count().unwrap(), 1_100);
    assert!(engine.tools().get("c1").is_ok() && engine.timeline().get(visit).unwrap().body == "readable");
    let done: Erasure = engine.erase().replay(&receipt).unwrap();
    assert_eq!((done.events, done.reason, done.state), (1_103, Reason::Subject, Some(ErasureState::Done)));
    assert_eq!((engine.memories().count().unwrap(), done.subjects), (0, 1));
    let report = engine.verify().unwrap();
    assert!(report.is_intact() && report.bodies.erased == 1_103, "{report:#?}");
    engine.close().unwrap();
    let engine = place.open();
    assert_eq!(engine.memories().count().unwrap(), 0, "also where both logs are folded anew");
    assert_eq!(engine.tools().get("c1").unwrap_err().code(), Code::Erased);
    assert_eq!(engine.timeline().get(visit).unwrap().body, "erased");
    assert!(engine.identities().get(&id).is_ok());
    engine.close().unwrap();
    assert!(place.verify().is_intact());

    // What is not as it was signed does nothing.
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let wrong = |value: &serde_json::Value| {
        let receipt = Receipt::from_json(&value.to_string());
        receipt.and_then(|receipt| place.open().erase().replay(&receipt)).map(drop).map_err(|e| e.code())
    };
    for (member, with) in [
        ("format", json!("another")),
        ("version", json!(2)),
        ("log", json!("00112233445566778899aabbccddeeff")),
        ("erased", json!(1)),
        ("reason", json!("ttl")),
        ("state", json!("pending")),
        ("state", json!("finished")),
        ("checkpoint", json!("nothing")),
        ("events", json!([])),
    ] {
        let old = std::mem::replace(&mut value[member], with);
        assert_eq!(wrong(&value), Err(Code::ReceiptInvalid), "{member}");
        value[member] = old;
    }
    // It is done because an event says so, and is not without that one.
    let events = value["events"].as_array().unwrap().clone();
    assert_eq!((events.len(), value["state"].as_str()), (3, Some("done")));
    value["events"].as_array_mut().unwrap().pop();
    assert_eq!(wrong(&value), Err(Code::ReceiptInvalid));
    value["state"] = json!("pending");
    assert_eq!(wrong(&value), Ok(()), "that is what the others say");
    (value["state"], value["events"]) = (json!("done"), events.into());
    for member in ["leaf", "body"] {
        let old = std::mem::replace(&mut value["events"][0][member], json!("AAAA"));
        assert_eq!(wrong(&value), Err(Code::ReceiptInvalid), "{member}");
        value["events"][0][member] = old;
    }
    value["events"][0]["proof"][0] = json!("AAAA");
    assert_eq!(wrong(&value), Err(Code::ReceiptInvalid));
}

#[test]
fn all_that_is_about_a_subject_is_read_and_taken_along() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let large: String = (0..200_000u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 20) as u8 % 26)).collect();
    let add = |text: &str, who: &str| agent.memories().add(text).subject(who).tag("t").send().unwrap().id;
    let (short, long) = (add("Sam prefers trains", "Sam"), add(&large, "Sam"));
    add("Ann prefers planes", "Ann");
    let patch = MemoryPatch { content: Some(Content::Text("Sam prefers night trains".into())), ..MemoryPatch::default() };
    engine.memories().update(&short, patch).unwrap();
    let gone = add("forget this", "Sam");
    engine.erase().record(&gone).run().unwrap();
    engine.consents().give("Sam", "remember", None).unwrap();
    let mut export = Vec::new();
    let done = engine.export_subject("Sam", &mut export).unwrap();
    assert_eq!((done.events, done.erased, done.bytes), (4, 1, export.len() as u64));
    let text = String::from_utf8(export).unwrap();
    assert!(text.contains("Sam prefers night trains") && !text.contains("Ann") && !text.contains("forget this"));
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines[5]["erased"].is_object() && lines.len() == 6);
    for line in &lines[1..5] {
        let event = engine.timeline().get(line["leaf"].as_u64().unwrap()).unwrap();
        assert_eq!((line["hash"].as_str(), line["kind"].as_str()), (Some(event.hash.as_str()), Some(event.kind.as_str())));
    }
    let mut none = Vec::new();
    assert_eq!(engine.export_subject("Nobody", &mut none).unwrap_err().code(), Code::NotFound);

    let file = place.dir.path().join("sam.jsonl");
    std::fs::write(&file, &text).unwrap();
    let import = |engine: &Engine| {
        mirrordna::import::import(&engine.main(), std::slice::from_ref(&file), mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap()
    };
    // Where it came from it is there already.
    let report = import(&engine);
    assert_eq!((report.kept, report.refused, report.events), (0, 4, 0), "{report:#?}");
    let other = Place::new();
    let there = other.open();
    let report = import(&there);
    // A consent was given to whoever runs the other one.
    let refused: Vec<_> = report.notes.iter().map(|n| n.reason).collect();
    assert_eq!((report.kept, refused), (3, vec!["not_imported"]), "{report:#?}");
    let memory = there.memories().get(&short).unwrap();
    assert_eq!((memory.content.as_str(), memory.subject.as_deref(), memory.version), ("Sam prefers night trains", Some("Sam"), 2));
    assert_eq!((memory.agent.as_str(), memory.tags.as_slice()), (agent.id(), &["t".to_owned()][..]));
    assert!(there.memories().get(&long).unwrap().content == large);
    assert!(!there.consents().stands("Sam", "remember").unwrap());
    let again = import(&there);
    assert_eq!((again.kept, again.events), (3, 0), "{again:#?}");
    // And it is erased there like anything else.
    let erased = there.erase().subject("Sam").run().unwrap();
    assert_eq!((erased.events, erased.parts), (4, 1));
    let report = import(&there);
    assert_eq!((report.kept, report.refused, report.events), (0, 4, 0), "{report:#?}");
    assert_eq!(report.notes.iter().filter(|n| n.reason == "erased").count(), 3, "{report:#?}");
    assert!(there.verify().unwrap().is_intact());
}

/// Anybody writes such a file, with bodies as they like.
#[test]
fn a_file_about_a_subject_states_nothing_of_this_log() {
    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let session = engine.sessions().start_with(&ada, NewSession::default()).unwrap();
    session.memories().add("said here").send().unwrap();
    let of = |schema: u64, id: &str| Body::new(schema, id).with(field::SUBJECT, Some("Sam"));
    let call =
        |of_type: &str| of(schema::TOOL_CALL, "evt_a").with(6, Some(of_type)).with(7, Some("c1")).with(8, Some("pay")).with(10, Some("r"));
    let mut lines = vec![
        ("event", call("tool.requested"), "not_imported"),
        ("record.put", call("tool.requested"), "not_imported"),
        ("event", call("tool.completed"), "not_imported"),
        ("event", of(schema::EVIDENCE, "evt_b").with(6, Some("evidence")), "not_imported"),
        ("record.put", of(schema::CONSENT, "cons_a").with(6, Some("train a model")).with(7, Some(0_i64)), "not_imported"),
        ("record.put", of(schema::HOLD, "hold_a").with(6, Some(0_i64)).with(7, Some("Sam")).with(8, Some("x")), "not_imported"),
        ("record.put", of(schema::RETENTION, "ret_a").with(6, Some(3_i64)).with(8, Some(1_i64)), "not_imported"),
        ("record.put", of(schema::SNAPSHOT, "snap_a").with(7, Some(1_i64)), "not_imported"),
        ("record.put", of(schema::PART, "part_a"), "not_imported"),
        ("record.put", of(22, "new_a"), "not_imported"),
        ("record.put", of(0, "new_b"), "not_imported"),
        ("event", of(schema::EVENT, "evt_c").with(6, Some("log.adopted")), "not_imported"),
        ("event", of(schema::EVENT, "evt_d").with(6, Some("tool.requested")), "not_imported"),
        ("record.put", of(schema::MEMORY, "mem_a").with(field::AGENT, Some(ada.id())), "agent_conflict"),
        ("record.put", of(schema::MEMORY, "mem_b").with(field::SESSION, Some(session.id())), "session_conflict"),
        ("event", of(schema::EVENT, "evt_e").with(6, Some("x")).with(field::SESSION, Some(session.id())), "session_conflict"),
        ("log.genesis", of(schema::EVENT, "evt_f"), "invalid_record"),
        ("erase", of(schema::EVENT, "evt_g"), "invalid_record"),
    ];
    // And what is data comes in all the same, sessions of its own too.
    lines.push(("record.put", of(schema::SESSION, "sess_z"), ""));
    lines.push(("record.put", of(schema::MEMORY, "mem_z").with(field::SESSION, Some("sess_z")), ""));
    let text = lines.iter().enumerate().map(|(n, (kind, body, _))| {
        let body = base64(&body.encode_padded().unwrap());
        format!("{}\n", json!({"hash": format!("{n:064}"), "kind": kind, "actor": "somebody", "body": body}))
    });
    let head = "{\"mirrordna_subject_export\":1,\"log\":\"00\",\"subject\":\"Sam\"}\n";
    let file = place.dir.path().join("hostile.jsonl");
    std::fs::write(&file, head.to_owned() + &text.collect::<String>()).unwrap();
    let files = std::slice::from_ref(&file);
    let listed = || [session.memories(), ada.memories()].map(|of| of.list(0, 99).unwrap().len());
    let before = listed();
    for _ in 0..2 {
        let report = mirrordna::import::import(&engine.main(), files, mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap();
        let mut reasons: Vec<(u64, &str)> = report.notes.iter().map(|n| (n.line, n.reason)).collect();
        reasons.sort_unstable();
        let expected = (2..).zip(&lines).filter(|(_, line)| !line.2.is_empty()).map(|(n, line)| (n, line.2));
        assert_eq!((report.kept, reasons), (2, expected.collect()), "{report:#?}");
    }
    let tools = engine.tools();
    assert_eq!(tools.get("c1").unwrap_err().code(), Code::NotFound);
    assert!(tools.listing().run().unwrap().items.is_empty() && tools.listing().open().run().unwrap().items.is_empty());
    assert!(!engine.consents().stands("Sam", "train a model").unwrap() && engine.holds().list(true).unwrap().is_empty());
    assert!(engine.retention().list().unwrap().is_empty());
    assert_eq!((before, listed()), ([1, 1], [1, 1]));
    ada.tools().requested(mirrordna::NewCall::new("pay", "r").id("c1")).unwrap();
    assert!(engine.verify().unwrap().is_intact());
}

/// What a file says must not change what is here: not under another sort, not
/// after an event that bears the same id.
#[test]
fn a_file_about_a_subject_changes_nothing_that_did_not_come_with_it() {
    use mirrordna_core::body::{Body, field};
    use mirrordna_core::canon::Value;
    use mirrordna_core::verify::note::{base64, from_base64};

    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let mine = ada.memories().add("Tom keeps this").subject("Tom").send().unwrap().id;
    let hold = engine.holds().place(OnWhat::Subject("Tom".into()), "case 17").unwrap();
    let other = Place::new();
    let there = other.open();
    let their = agent(&there);
    let memory = their.memories().add("from elsewhere").subject("Sam").send().unwrap().id;
    their.memories().archive(&memory).unwrap();
    let mut export = Vec::new();
    there.export_subject("Sam", &mut export).unwrap();
    let text = String::from_utf8(export).unwrap();
    for id in [mine.as_str(), hold.id.as_str(), ada.id()] {
        let lines = text.lines().enumerate().map(|(n, line)| {
            if n == 0 {
                return line.to_owned();
            }
            let mut read: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut body = Body::decode_padded(&from_base64(read["body"].as_str().unwrap()).unwrap()).unwrap();
            body.set(field::ID, Value::Text(id.to_owned()));
            read["body"] = base64(&body.encode_padded().unwrap()).into();
            read["hash"] = format!("{n:064x}").replace('0', &id.len().to_string()[..1]).into();
            read.to_string()
        });
        let file = place.dir.path().join("evil.jsonl");
        std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let report = mirrordna::import::import(&engine.main(), &[file], mirrordna::import::Format::Subject, &mut |_, _| {}).unwrap();
        assert_eq!((report.kept, report.refused), (0, 2), "{id}: {report:#?}");
    }
    assert_eq!(engine.memories().get(&mine).unwrap().content, "Tom keeps this");
    assert_eq!(engine.erase().subject("Tom").run().unwrap_err().code(), Code::ErasureHeld);
    assert_eq!(engine.identities().list().unwrap().len(), 1);
    assert!(ada.profile().is_ok() && engine.verify().unwrap().is_intact());
}

#[test]
fn what_repeats_a_refused_line_of_an_export_is_refused_too() {
    let place = Place::new();
    let engine = place.open();
    let agent = agent(&engine);
    let id = agent.memories().add("Sam prefers trains").subject("Sam").send().unwrap().id;
    agent.memories().archive(&id).unwrap();
    let mut export = Vec::new();
    engine.export_subject("Sam", &mut export).unwrap();
    let text = String::from_utf8(export).unwrap();
    let [head, put, archive] = text.split_inclusive('\n').collect::<Vec<_>>()[..] else { panic!("{text}") };

    // The archiving comes before there is anything, and once more after it.
    let file = place.dir.path().join("turned.jsonl");
    std::fs::write(&file, [head, archive, put, archive].concat()).unwrap();
    let there = Place::new();
    let there = there.open();
    let import = || {
        let files = std::slice::from_ref(&file);
        mirrordna::import::import(&there.main(), files, mirrordna::import::Format::Subject, &mut |_, _| {}).unwrap()
    };
    let report = import();
    let reasons: Vec<(u64, &str)> = report.notes.iter().map(|n| (n.line, n.reason)).collect();
    assert_eq!((report.kept, report.refused), (1, 2), "{report:#?}");
    assert_eq!(reasons, [(2, "no_record"), (4, "no_record")]);
    assert!(!there.memories().get(&id).unwrap().archived, "nothing is said to be kept that is not there");
    assert_eq!(import().events, 0);
}

#[test]
fn an_export_changes_no_record_that_did_not_come_with_it() {
    let place = Place::new();
    let engine = place.open();
    let session = engine.sessions().start_with(&agent(&engine), NewSession::default()).unwrap().id().to_owned();
    let line = |n: u8, kind: &str, body: &Body| {
        let body = base64(&body.encode_padded().unwrap());
        format!("{}\n", json!({"hash": format!("{n:064}"), "kind": kind, "actor": "somebody", "body": body}))
    };
    // Ids are of one space: a record of another schema with the id of a session
    // here would be in its way for ever, and an event with it is none of it.
    let of = |schema: u64, id: &str| Body::new(schema, id);
    let lines = [
        line(1, "record.put", &of(schema::MEMORY, &session)),
        line(2, "event", &of(schema::EVENT, &session)),
        line(3, "record.archive", &of(schema::SESSION, &session)),
        line(4, "record.put", &of(schema::MEMORY, "mem_x")),
        line(5, "record.put", &of(schema::SESSION, "mem_x")),
        // What was imported once is found by the id that it had, too.
        line(6, "record.put", &of(schema::MEMORY, "mem_y").with(field::SOURCE_ID, Some("sess_y"))),
        line(7, "record.put", &of(schema::SESSION, "sess_y")),
    ];
    let head = "{\"mirrordna_subject_export\":1,\"log\":\"00\",\"subject\":\"Sam\"}\n";
    let file = place.dir.path().join("other.jsonl");
    std::fs::write(&file, head.to_owned() + &lines.concat()).unwrap();
    let before = engine.sessions().get(&session).unwrap();
    let files = std::slice::from_ref(&file);
    let report = mirrordna::import::import(&engine.main(), files, mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap();
    let reasons: Vec<(u64, &str)> = report.notes.iter().map(|n| (n.line, n.reason)).collect();
    assert_eq!((report.kept, reasons), (3, [2, 4, 6, 8].map(|line| (line, "id_conflict")).into()), "{report:#?}");
    assert_eq!(engine.sessions().get(&session).unwrap(), before);
    assert_eq!(engine.memories().list(0, 9).unwrap().len(), 2);
}
