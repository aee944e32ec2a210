//! The managers' less travelled ways: batches, patches, names, and a log long
//! enough for tiles of tiles.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, Content, Durability, Engine, IdentityManager, IdentityType, MemoryPatch, NewIdentity, NewMemory, Tier, limits};

fn text(text: impl Into<String>) -> NewMemory {
    NewMemory { content: Content::Text(text.into()), ..NewMemory::default() }
}

#[test]
fn a_batch_is_kept_whole_or_not_at_all() {
    let engine = Engine::open("memory:").unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let memories = session.memories();
    let own = NewMemory { subject: Some("somebody else".into()), ..text("of another") };
    let written = memories.add_all(vec![text("first"), own, text("third")]).unwrap();
    assert_eq!(written.len(), 3);
    let read: Vec<_> = written.iter().map(|w| memories.get(&w.id).unwrap()).collect();
    assert_eq!(read.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["first", "of another", "third"]);
    assert!(read.iter().all(|m| m.session.is_some() && m.session == read[0].session && m.user.as_deref() == Some(user.id())));
    assert_eq!(read.iter().map(|m| m.subject.as_deref()).collect::<Vec<_>>(), [Some(user.id()), Some("somebody else"), Some(user.id())]);
    // One that is refused refuses them all, and so does a batch that is too long.
    let (before, length) = (memories.count().unwrap(), engine.timeline().len().unwrap());
    let refused = memories.add_all(vec![text("good"), text("")]).unwrap_err();
    assert_eq!(refused.code(), Code::InputInvalid);
    let long = (0..=limits::BATCH_EVENTS).map(|i| text(i.to_string())).collect();
    assert_eq!(memories.add_all(long).unwrap_err().code(), Code::LimitExceeded);
    assert_eq!(memories.add_all(Vec::new()).unwrap().len(), 0);
    assert_eq!((memories.count().unwrap(), engine.timeline().len().unwrap()), (before, length));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn what_is_said_of_a_memory_is_kept_and_patched_field_by_field() {
    let engine = Engine::open("memory:").unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let memories = agent.memories();
    let add = memories.add("Prefers trains").role("user").speaker("Ada").subject("ada").metadata(r#"{"k": 1.50}"#).occurred_at(-1);
    let id = add.tier(Tier::Episodic).tag("travel").send().unwrap().id;
    let read = memories.get(&id).unwrap();
    assert_eq!((read.role.as_deref(), read.speaker.as_deref(), read.subject.as_deref()), (Some("user"), Some("Ada"), Some("ada")));
    assert_eq!((read.metadata.as_deref(), read.timestamp.as_str()), (Some(r#"{"k": 1.50}"#), "1969-12-31T23:59:59.999Z"));

    let json = Content::Json(r#"{"mode":"train"}"#.into());
    let patch = MemoryPatch { content: Some(json), tags: Some(vec!["rail".into()]), metadata: Some("[]".into()), ..MemoryPatch::default() };
    memories.update(&id, patch).unwrap();
    let read = memories.get(&id).unwrap();
    assert_eq!((read.content.as_str(), read.is_json, read.version, read.tier), (r#"{"mode":"train"}"#, true, 2, Tier::Episodic));
    assert_eq!((read.tags.as_slice(), read.metadata.as_deref()), (&["rail".to_owned()][..], Some("[]")));
    for wrong in [
        MemoryPatch { content: Some(Content::Json("{".into())), ..MemoryPatch::default() },
        MemoryPatch { metadata: Some("NaN".into()), ..MemoryPatch::default() },
    ] {
        assert_eq!(memories.update(&id, wrong).unwrap_err().code(), Code::JsonInvalid);
    }
    let many = (0..=limits::TAGS).map(|i| i.to_string()).collect();
    for (wrong, code) in [
        (MemoryPatch { content: Some(Content::Text(String::new())), ..MemoryPatch::default() }, Code::InputInvalid),
        (MemoryPatch { tags: Some(many), ..MemoryPatch::default() }, Code::LimitExceeded),
    ] {
        assert_eq!(memories.update(&id, wrong).unwrap_err().code(), code, "what cannot be added cannot be put there later");
    }
    assert_eq!(memories.update("mem_unknown", MemoryPatch::default()).unwrap_err().code(), Code::NotFound);
    let steps = memories.history(&id).unwrap();
    assert_eq!(steps.iter().map(|s| s.kind).collect::<Vec<_>>(), ["record.put", "record.patch"]);
}

#[test]
fn memories_of_a_session_that_ended_can_be_read_and_corrected() {
    let engine = Engine::open("memory:").unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let id = session.memories().add("Prefers trains").send().unwrap().id;
    agent.memories().add("outside of it").send().unwrap();
    let session_id = session.id().to_owned();
    session.end().unwrap();
    let memories = engine.sessions().memories(&session_id).unwrap();
    assert_eq!(memories.list(0, 9).unwrap().iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    assert_eq!(memories.search("trains").run().unwrap().len(), 1);
    let patch = MemoryPatch { content: Some(Content::Text("Prefers night trains".into())), ..MemoryPatch::default() };
    memories.update(&id, patch).unwrap();
    assert_eq!(memories.get(&id).unwrap().content, "Prefers night trains");
    assert_eq!(memories.add("too late").send().unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.sessions().memories("sess_00000000000000000000000000").unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_manager_of_an_engine_finds_what_it_made() {
    let engine = Engine::open("memory:").unwrap();
    let manager = IdentityManager::of(&engine);
    let agent = manager.create_identity("agent").unwrap();
    assert_eq!(manager.get_identity(agent.id()).unwrap().id(), agent.id());
    assert_eq!(manager.create_identity("robot").unwrap_err().code(), Code::InputInvalid);
    assert_eq!(manager.get_identity("mdna_agt_00000000000000000000000000000000").unwrap_err().code(), Code::NotFound);
    let twin = || NewIdentity { name: Some("Twin".into()), ..NewIdentity::default() };
    (0..2).for_each(|_| drop(engine.identities().create_with(IdentityType::Agent, twin()).unwrap()));
    let ambiguous = engine.identities().find("Twin").unwrap_err();
    assert_eq!((ambiguous.code(), ambiguous.message()), (Code::InputInvalid, "'Twin' fits 2 identities"));
    assert_eq!(manager.list_identities().unwrap().len(), 3);
    assert!(!engine.timeline().is_empty().unwrap());
}

#[test]
fn a_log_beyond_a_tile_of_tiles_opens_and_verifies() {
    // 256 * 256 leaves fill the first tile of the level above.
    const BATCHES: usize = 65;
    let place = Place::new();
    let engine = place.builder().durability(Durability::Normal).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    for batch in 0..BATCHES {
        let new = (0..limits::BATCH_EVENTS).map(|i| text(format!("{batch}/{i}"))).collect();
        agent.memories().add_all(new).unwrap();
    }
    let length = engine.timeline().len().unwrap();
    assert!(length > 65_536);
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert!(report.is_intact() && report.events >= length, "{report:#?}");
    // What is appended after opening again goes on from the same edge.
    let engine = place.open();
    let all = engine.identities().list().unwrap();
    all[0].memories().add("after").send().unwrap();
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}
