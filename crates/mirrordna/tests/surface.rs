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

#[test]
fn a_listing_goes_on_after_an_id_whatever_happens_in_between() {
    let engine = Engine::open("memory:").unwrap();
    let (agent, other) =
        (engine.identities().create(IdentityType::Agent).unwrap(), engine.identities().create(IdentityType::Agent).unwrap());
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let add = |i: usize| match i % 3 {
        0 => agent.memories().add(format!("{i}")).send().unwrap().id,
        1 => other.memories().add(format!("{i}")).send().unwrap().id,
        _ => session.memories().add(format!("{i}")).send().unwrap().id,
    };
    let ids: Vec<String> = (0..20).map(add).collect();
    let memories = engine.memories();
    memories.update(&ids[4], MemoryPatch { tags: Some(vec!["later".into()]), ..MemoryPatch::default() }).unwrap();
    memories.archive(&ids[6]).unwrap();

    // In each scope: page by page, the same as all at once.
    let scopes = [memories.clone(), agent.memories(), other.memories(), session.memories()];
    for (n, archived) in (0..scopes.len()).flat_map(|n| [(n, false), (n, true)]) {
        let listing = || if archived { scopes[n].listing().archived() } else { scopes[n].listing() };
        let all = listing().run().unwrap();
        // The archived one is of the first agent, outside of the session.
        assert_eq!((all.items.iter().any(|m| m.id == ids[6]), all.next), (archived && n < 2, None));
        for limit in [1, 3, 7, 100] {
            let (mut seen, mut page) = (Vec::new(), listing().limit(limit).run().unwrap());
            loop {
                assert!(page.items.len() == limit || page.next.is_none(), "a page is full where another follows");
                assert!(page.next.is_none() || page.next == page.items.last().map(|m| m.id.clone()));
                seen.append(&mut page.items);
                match page.next {
                    Some(next) => page = listing().limit(limit).after(next).run().unwrap(),
                    None => break,
                }
            }
            assert_eq!(seen, all.items, "{limit} at a time");
        }
    }
    let texts = |page: mirrordna::Page<mirrordna::Memory>| page.items.into_iter().map(|m| m.content).collect::<Vec<_>>();
    assert_eq!(texts(memories.listing().offset(18).run().unwrap()), ["19"], "one of the twenty is archived");
    assert_eq!(texts(memories.listing().after(&ids[2]).offset(2).limit(2).run().unwrap()), ["5", "7"]);

    // Archived or appended in between: nothing twice, nothing left out.
    let first = memories.listing().limit(8).run().unwrap();
    let next = first.next.unwrap();
    memories.archive(&next).unwrap();
    memories.archive(&ids[0]).unwrap();
    let last = add(20);
    let rest = memories.listing().after(&next).run().unwrap();
    assert_eq!((rest.items.len(), &rest.items[0].id, &rest.items.last().unwrap().id), (12, &ids[9], &last));

    // Sessions, and identities.
    let more: Vec<String> =
        (0..4).map(|i| engine.sessions().start(if i % 2 == 0 { &agent } else { &other }, &user).unwrap().id().to_owned()).collect();
    let page = engine.sessions().listing(Some(&agent)).after(session.id()).limit(1).run().unwrap();
    assert_eq!((page.items[0].id.as_str(), page.next.as_deref()), (more[0].as_str(), Some(more[0].as_str())));
    let page = engine.sessions().listing(Some(&agent)).after(&more[0]).run().unwrap();
    assert_eq!((page.items.len(), page.items[0].id.as_str(), page.next), (1, more[2].as_str(), None));
    let page = engine.identities().list_after(None, 2).unwrap();
    assert_eq!(page.next.as_deref(), Some(other.id()));
    let page = engine.identities().list_after(Some(other.id()), 2).unwrap();
    assert_eq!((page.items.len(), page.items[0].id(), page.next), (1, user.id(), None));

    // Where there is nothing to go on after.
    assert_eq!(memories.listing().after("sess_00000000000000000000000000").run().unwrap_err().code(), Code::IdInvalid);
    let gone = memories.listing().after("mem_00000000000000000000000000").run().unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, "there is no mem_00000000000000000000000000 to go on after"));
    assert_eq!(engine.identities().list_after(Some("mdna_agt_00"), 2).unwrap_err().code(), Code::NotFound);
}
