//! What an erasure, a hold and a retention policy reach: everything that has an
//! id or a name which users see.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Clock, Code, Engine, IdentityType, NewCall, NewIdentity, OnWhat, Outcome, Reason};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn agent(engine: &Engine) -> mirrordna::Identity {
    engine.identities().create(IdentityType::Agent).unwrap()
}

/// Runs a check on the engine that wrote, and on one that folds anew.
fn now_and_later(place: &Place, engine: Engine, check: &dyn Fn(&Engine)) -> Engine {
    check(&engine);
    engine.close().unwrap();
    let engine = place.open();
    check(&engine);
    assert!(engine.verify().unwrap().is_intact());
    engine
}

#[test]
fn an_event_is_erased_by_its_own_id() {
    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let timeline = ada.timeline();
    let [kept, gone] = ["step.kept", "step.gone"].map(|kind| timeline.append_json(kind, Some("{}"), None).unwrap().index);
    let id = |at: u64| engine.timeline().get(at).unwrap().record.unwrap();
    let (kept_id, gone_id) = (id(kept), id(gone));
    assert!(gone_id.starts_with("evt_"));
    let would = engine.erase().id(&gone_id).dry_run().run().unwrap();
    assert_eq!((would.events, would.kinds["event"], would.schemas["event"]), (1, 1, 1));
    let done = engine.erase().id(&gone_id).run().unwrap();
    assert_eq!((done.events, done.subjects), (1, 1), "nobody else is spoken of: its key goes too");
    drop((timeline, ada));
    let engine = now_and_later(&place, engine, &|engine| {
        assert_eq!(engine.timeline().get(gone).unwrap().body, "erased");
        assert_eq!(engine.timeline().get(kept).unwrap().record.as_deref(), Some(kept_id.as_str()));
        let again = engine.erase().id(&gone_id).run().unwrap();
        assert_eq!((again.events, again.already), (0, 1));
        let unknown = engine.erase().id("evt_01m7yn5m709aah46zbayenk3kn").run().unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        assert!(unknown.message().contains("'evt_01m7yn5m709aah46zbayenk3kn'"), "{unknown}");
    });
    assert_eq!(engine.erase().id(&kept_id).run().unwrap().events, 1);
}

#[test]
fn a_call_is_erased_by_its_id_its_subject_and_its_user() {
    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let tools = ada.tools();
    let called = |new: NewCall| {
        let call = tools.requested(new).unwrap();
        call.completed(Outcome::success("x")).unwrap();
        call.id().to_owned()
    };
    let new = || NewCall::new("weather", "req-1");
    let alone = called(new());
    let named = called(new().id("the host's own id"));
    let sams = [called(new().user("Sam")), called(new().user("Sam"))];
    let anns = called(NewCall { subject: Some("Ann".into()), ..new().user("Sam") });
    let open = tools.requested(new().user("Sam").id("open")).unwrap().id().to_owned();

    let schemas = |n: u64| [("tool.call".to_owned(), n)].into();
    assert_eq!(engine.erase().id(&alone).dry_run().run().unwrap().schemas, schemas(2));
    assert_eq!(engine.erase().id(&named).run().unwrap().events, 2);
    // Who asked is the subject where nobody else is named.
    assert_eq!(engine.erase().subject("Sam").dry_run().run().unwrap().schemas, schemas(5));
    assert_eq!(engine.erase().user("Sam").dry_run().run().unwrap().schemas, schemas(7));
    assert_eq!(engine.erase().subject("Ann").dry_run().run().unwrap().schemas, schemas(2));
    let done = engine.erase().subject("Sam").reason(Reason::Subject).run().unwrap();
    assert_eq!((done.events, done.subjects), (5, 1));
    assert!(engine.tools().get(&anns).is_ok() && engine.tools().get(&alone).is_ok());
    let done = engine.erase().user("Sam").run().unwrap();
    assert_eq!((done.events, done.subjects), (2, 1));
    drop((tools, ada));
    let engine = now_and_later(&place, engine, &|engine| {
        for id in sams.iter().chain([&open, &anns, &named]) {
            assert_eq!(engine.tools().get(id).unwrap_err().code(), Code::Erased, "{id}");
            let again = engine.erase().id(id).run().unwrap();
            assert!(again.events == 0 && again.already > 0, "{again:?}");
        }
        let again = engine.erase().user("Sam").run().unwrap();
        assert!(again.events == 0 && again.already > 0, "{again:?}");
        assert!(engine.tools().get(&alone).is_ok());
        for unknown in [engine.erase().user("Nobody"), engine.erase().id("call_nothing")] {
            assert_eq!(unknown.run().unwrap_err().code(), Code::NotFound);
        }
    });
    // What was never named by anybody is there to be erased too.
    assert_eq!(engine.erase().id(&alone).run().unwrap().events, 2);
}

#[test]
fn events_about_a_subject_outside_sessions_go_with_it() {
    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let about = ada.timeline().about("Sam").append("visit.made", &json!({"at": "noon"})).unwrap().index;
    ada.timeline().append("visit.made", &json!({})).unwrap();
    let done = engine.erase().subject("Sam").run().unwrap();
    assert_eq!((done.events, done.subjects), (1, 1));
    assert_eq!(engine.timeline().get(about).unwrap().body, "erased");
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn identities_and_sessions_are_found_by_what_people_call_them() {
    let place = Place::new();
    let engine = place.open();
    let new = |name: &str| NewIdentity { name: Some(name.into()), ..NewIdentity::default() };
    let user = engine.identities().create_with(IdentityType::User, new("Sam Miller")).unwrap();
    let ada = engine.identities().create_with(IdentityType::Agent, new("Ada")).unwrap();
    let session = engine.sessions().start(&ada, &user).unwrap();
    session.memories().add("Sam prefers trains").send().unwrap();
    let session_id = session.id().to_owned();

    // By name, an identity is not erased unless it is asked for as one.
    let refused = engine.erase().subject("Sam Miller").run().unwrap_err();
    assert_eq!(refused.code(), Code::InputInvalid);
    assert!(refused.message().contains(user.id()), "{refused}");
    assert_eq!(engine.erase().actor("Sam Miller").dry_run().run().unwrap().events, 3);
    assert_eq!(engine.erase().id("Ada").dry_run().run().unwrap().schemas, [("identity.profile".to_owned(), 1)].into());
    assert_eq!(engine.erase().id(&session_id).dry_run().run().unwrap().schemas, [("session".to_owned(), 1)].into());
    for nobody in [engine.erase().actor("Nobody"), engine.erase().session("sess_01m7yn5m709aah46zbayenk3kn"), engine.erase().id("Nobody")] {
        let unknown = nobody.run().unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        assert!(unknown.message().contains("Nobody") || unknown.message().contains("sess_01m7"), "{unknown}");
    }
    // The same for holds, consents and access.
    let hold = engine.holds().place(OnWhat::Subject("Sam Miller".into()), "case 17").unwrap();
    assert_eq!(hold.on, OnWhat::Subject(user.id().to_owned()));
    assert_eq!(engine.erase().actor(user.id()).run().unwrap_err().code(), Code::ErasureHeld);
    engine.holds().release(&hold.id).unwrap();
    let consent = engine.consents().give("Sam Miller", "remember", None).unwrap();
    assert_eq!(consent.subject, user.id());
    assert_eq!(engine.consents().list(Some("Sam Miller")).unwrap(), [consent]);
    assert!(engine.consents().stands("Sam Miller", "remember").unwrap());
    let mut export = Vec::new();
    assert_eq!(engine.export_subject("Sam Miller", &mut export).unwrap().events, 4);
    assert!(String::from_utf8(export).unwrap().contains("Sam prefers trains"));
    // Two of one name: nobody guesses.
    engine.identities().create_with(IdentityType::User, new("Ada")).unwrap();
    assert_eq!(engine.erase().id("Ada").run().unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.erase().actor("Sam Miller").run().unwrap().events, 4);
}

#[test]
fn a_hold_is_on_what_is_there_unless_it_is_for_later() {
    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let hold = |on: OnWhat| engine.holds().place(on, "case 17");
    let nothing = [
        OnWhat::Subject("Sam".into()),
        OnWhat::Session("sess_01m7yn5m709aah46zbayenk3kn".into()),
        OnWhat::Record("mem_01m7yn5m709aah46zbayenk3kn".into()),
        OnWhat::Record("call_x".into()),
    ];
    for on in nothing {
        let refused = hold(on.clone()).unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{on:?}");
        assert!(engine.holds().list(true).unwrap().is_empty());
    }
    // For later: whoever comes is held at once.
    let later = engine.holds().place_future("Sam", "case 17").unwrap();
    assert_eq!(later.on, OnWhat::Subject("Sam".into()));
    let memory = ada.memories().add("in question").subject("Sam").send().unwrap().id;
    assert_eq!(engine.erase().subject("Sam").run().unwrap_err().code(), Code::ErasureHeld);
    engine.holds().release(&later.id).unwrap();
    engine.erase().subject("Sam").run().unwrap();
    // Of what is erased nothing can be held any more.
    assert_eq!(hold(OnWhat::Subject("Sam".into())).unwrap_err().code(), Code::Erased);
    assert_eq!(hold(OnWhat::Record(memory)).unwrap_err().code(), Code::Erased);

    // A call is held by its id, by who asked for it, and as a subject's.
    let call = ada.tools().requested(NewCall { subject: Some("Ann".into()), ..NewCall::new("e", "r").user("Tom").id("c1") }).unwrap();
    let completed = call.completed(Outcome::success("x")).unwrap().completed_leaf.unwrap();
    let outcome = engine.timeline().get(completed).unwrap().record.unwrap();
    let event = ada.timeline().append("step.taken", &json!({})).unwrap().index;
    let event = engine.timeline().get(event).unwrap().record.unwrap();
    for on in [OnWhat::Record("c1".into()), OnWhat::Subject("Tom".into()), OnWhat::Subject("Ann".into())] {
        let hold = hold(on.clone()).unwrap();
        for erase in [engine.erase().id("c1"), engine.erase().id(&outcome), engine.erase().subject("Ann"), engine.erase().user("Tom")] {
            assert_eq!(erase.run().unwrap_err().code(), Code::ErasureHeld, "{on:?}");
        }
        engine.holds().release(&hold.id).unwrap();
    }
    let hold = hold(OnWhat::Record(event.clone())).unwrap();
    assert_eq!(engine.erase().id(&event).run().unwrap_err().code(), Code::ErasureHeld);
    engine.holds().release(&hold.id).unwrap();
    assert_eq!(engine.erase().id(&event).id("c1").run().unwrap().events, 3);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn an_export_says_what_was_erased_and_when() {
    let place = Place::new();
    let engine = place.open();
    let ada = agent(&engine);
    let add = |text: &str| ada.memories().add(text).subject("Sam").send().unwrap().id;
    let first = add("Sam likes tea");
    add("Sam likes trains");
    let call = ada.tools().requested(NewCall::new("e", "r").user("Sam").id("c1")).unwrap();
    call.completed(Outcome::success("x")).unwrap();
    drop((call, ada));
    engine.erase().id(&first).run().unwrap();
    let export = |engine: &Engine| {
        let mut out = Vec::new();
        let done = engine.export_subject("Sam", &mut out).unwrap();
        (done, String::from_utf8(out).unwrap())
    };
    let (done, text) = export(&engine);
    assert_eq!((done.events, done.erased, done.erasures.len()), (3, 1, 1));
    assert_eq!(text.lines().count(), 1 + 3 + 1);
    let rest = engine.erase().subject("Sam").reason(Reason::Subject).run().unwrap();
    assert_eq!(rest.events, 3);
    let leaf = engine.timeline().list(0, 100).unwrap().iter().rfind(|e| e.kind == "erase").unwrap().leaf;

    let engine = now_and_later(&place, engine, &|engine| {
        let (done, text) = export(engine);
        assert_eq!(done.events, 0);
        let last = done.erasures.last().unwrap();
        assert_eq!((last.leaf, last.reason, last.events), (leaf, Reason::Subject, 3));
        assert_eq!(last.time, engine.timeline().get(leaf).unwrap().time);
        // Each with a receipt that holds.
        let lines: Vec<serde_json::Value> = text.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), done.erasures.len());
        for line in &lines {
            assert_eq!(line["receipt"]["state"], "done");
            let receipt = mirrordna::Receipt::from_json(&line["receipt"].to_string()).unwrap();
            assert_eq!(engine.erase().replay(&receipt).unwrap().events, 0);
        }
        // There is nothing in it for another database, and nothing wrong with it.
        let file = place.dir.path().join("sam.jsonl");
        std::fs::write(&file, &text).unwrap();
        let there = Place::new();
        let there = there.open();
        let report = mirrordna::import::import(&there.main(), &[file], mirrordna::import::Format::Auto, &mut |_, _| {}).unwrap();
        assert_eq!((report.kept, report.refused, report.events), (0, 0, 0), "{report:#?}");
    });
    assert_eq!(engine.export_subject("Nobody", &mut Vec::new()).unwrap_err().code(), Code::NotFound);
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
fn retention_of_events_takes_those_that_are_due_and_no_others() {
    let place = Place::new();
    let clock = Arc::new(Set(AtomicU64::new(1_770_000_000_000)));
    let open = || place.builder().clock(clock.clone()).open().unwrap();
    let engine = open();
    let ada = agent(&engine);
    let mut leaves = Vec::new();
    for day in 0..40 {
        let who = if day == 3 { "held" } else { "Sam" };
        leaves.push(ada.timeline().about(who).append("tick", &json!({"day": day})).unwrap().index);
        ada.memories().add(format!("memory of day {day}")).send().unwrap();
        clock.0.fetch_add(DAY, Ordering::Relaxed);
    }
    let name = ada.id().to_owned();
    drop(ada);
    engine.retention().set("event", None, Duration::from_millis(30 * DAY)).unwrap();
    engine.holds().place(OnWhat::Subject("held".into()), "audit").unwrap();
    let applied = engine.retention().apply(false).unwrap();
    assert_eq!((applied.policies[0].erased.events, applied.held), (9, 1));
    let engine = now_and_later(&place, engine, &|engine| {
        let bodies: Vec<&str> = leaves.iter().map(|at| engine.timeline().get(*at).unwrap().body).collect();
        assert_eq!(bodies.iter().filter(|b| **b == "erased").count(), 9);
        assert_eq!(bodies[3], "readable");
    });
    drop(engine);
    let engine = open();
    let again = engine.retention().apply(false).unwrap();
    assert_eq!((again.policies[0].erased.events, again.held), (0, 1));
    clock.0.fetch_add(2 * DAY, Ordering::Relaxed);
    assert_eq!(engine.retention().apply(false).unwrap().policies[0].erased.events, 2);
    for hold in engine.holds().list(false).unwrap() {
        engine.holds().release(&hold.id).unwrap();
    }
    assert_eq!(engine.retention().apply(false).unwrap().policies[0].erased.events, 1);
    assert_eq!(engine.retention().apply(false).unwrap().policies[0].erased.events, 0);
    let ada = engine.identities().get(&name).unwrap();
    ada.timeline().append("tick", &json!({})).unwrap();
    clock.0.fetch_add(31 * DAY, Ordering::Relaxed);
    assert_eq!(engine.retention().apply(false).unwrap().policies[0].erased.events, 29);
    assert_eq!(engine.memories().count().unwrap(), 40);
    assert!(engine.verify().unwrap().is_intact());
}
