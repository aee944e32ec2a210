//! Erasure: what it takes, what it leaves, who may forbid it, and that nothing
//! of it is left in any file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, Engine, ErasureState, IdentityType, NewIdentity, OnWhat, Reason, Receipt, Tier};

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
    let again = engine.erase().subject("Sam").run().unwrap();
    assert_eq!((again.events, again.already, again.state), (0, 7, None));
    assert_eq!(engine.erase().subject("Nobody").run().unwrap_err().code(), Code::NotFound);
    check(&engine);
    drop(memories);
    drop(agent);
    engine.close().unwrap();
    // A view that is folded anew, from events without content, says the same.
    let engine = place.open();
    check(&engine);
    // The name is free for who comes next.
    let agent = engine.identities().list().unwrap().remove(0);
    let id = agent.memories().add("another Sam").subject("Sam").send().unwrap().id;
    assert_eq!(engine.memories().get(&id).unwrap().content, "another Sam");
    assert_eq!(engine.erase().subject("Sam").run().unwrap().events, 1);
    assert!(engine.verify().unwrap().is_intact());
}
