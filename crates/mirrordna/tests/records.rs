//! Records of upstream's entities: one manager, seven types.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::entities::{
    ActorType, AgentDna, AgentLink, Citation, EntryType, GlyphSource, GlyphtrailEntry, PersonalityTraits, Reflection, ReflectionType,
    VaultConfig, VaultEntry,
};
use mirrordna::{Code, Entity, Error, Identity, IdentityType, Records};
use serde_json::json;

const AGENT: &str = "mdna_agt_0123456789ab";
const VAULT: &str = "vault_of_the_harbour_office";

fn citation(predecessor: Option<&str>) -> Citation {
    Citation { version: "1.0.0".into(), vault_id: VAULT.into(), predecessor: predecessor.map(str::to_owned), ..Citation::default() }
}

fn code<T>(result: Result<T, Error>) -> Code {
    result.err().expect("an error").code()
}

#[test]
fn a_citation_is_filled_in_sealed_changed_and_put_away() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let citations = agent.citations();
    let id = citations.add(&citation(None)).unwrap().id;
    assert!(id.starts_with("mc_") && id.len() == 29);
    let stored = citations.get(&id).unwrap();
    let read = stored.read().unwrap();
    assert_eq!((read.id.as_str(), stored.agent.as_str(), stored.version), (id.as_str(), agent.id(), 1));
    assert!(read.created_at.ends_with('Z') && read.checksum.len() == 64);
    assert!(citations.verify(&id).unwrap().ok);

    // A stale checksum in the type is of no matter: a change is sealed anew.
    let changed = Citation { version: "1.0.1".into(), tags: Some(vec!["ops".into()]), ..read.clone() };
    citations.update(&id, &changed).unwrap();
    let now = engine.citations().get(&id).unwrap();
    assert_eq!((now.version, now.read().unwrap().version.as_str()), (2, "1.0.1"));
    assert!(engine.citations().verify(&id).unwrap().ok);
    assert_ne!(now.read().unwrap().checksum, read.checksum);
    assert_eq!(code(citations.update(&id, &Citation { id: "mc_another_0123456789".into(), ..changed })), Code::InputInvalid);

    engine.citations().archive(&id).unwrap();
    assert!(citations.list(0, 10).unwrap().is_empty() && citations.get(&id).unwrap().archived);
    assert_eq!(citations.count().unwrap(), 1);
    let kinds: Vec<_> = citations.history(&id).unwrap().into_iter().map(|s| (s.kind, s.content.is_some())).collect();
    assert_eq!(kinds, [("record.put", true), ("record.patch", true), ("record.archive", false)]);

    drop((citations, agent));
    engine.close().unwrap();
    assert!(place.verify().is_intact());
    let engine = place.open();
    assert_eq!(engine.citations().get(&id).unwrap().read().unwrap().tags.unwrap(), ["ops"]);
}

#[test]
fn lineage_is_a_chain_and_nothing_else() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let citations = agent.citations();
    let mut ids = vec![citations.add(&citation(None)).unwrap().id];
    for _ in 0..3 {
        ids.push(citations.add(&citation(ids.last().map(String::as_str))).unwrap().id);
    }
    let chain = |id: &str| citations.lineage(id).unwrap().into_iter().map(|c| c.id).collect::<Vec<_>>();
    assert_eq!((chain(&ids[3]), chain(&ids[0])), (ids.clone(), ids[..1].to_vec()));

    let before = engine.timeline().len().unwrap();
    let unknown = citations.add(&citation(Some("mc_0123456789abcdef"))).unwrap_err();
    assert_eq!(unknown.code(), Code::LineageBroken);
    assert!(unknown.message().contains("mc_0123456789abcdef"), "{unknown}");
    let own = Citation { id: "mc_its_own_father_0001".into(), ..citation(Some("mc_its_own_father_0001")) };
    assert_eq!(code(citations.add(&own)), Code::LineageBroken);
    // The first may not come to follow the last, nor one in between.
    for later in &ids[1..] {
        let first = citations.get(&ids[0]).unwrap().read().unwrap();
        let looped = citations.update(&ids[0], &Citation { predecessor: Some(later.clone()), ..first }).unwrap_err();
        assert_eq!(looped.code(), Code::LineageBroken, "{looped}");
    }
    assert_eq!(engine.timeline().list(before, 10).unwrap().iter().filter(|e| e.kind.starts_with("record")).count(), 0);
    // Another tenant's records are no predecessors.
    let other = engine.tenant("acme").unwrap();
    let stranger = other.identities().create(IdentityType::Agent).unwrap();
    assert_eq!(code(stranger.citations().add(&citation(Some(&ids[0])))), Code::LineageBroken);
}

#[test]
fn ids_are_given_once() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let citations = agent.citations();
    let own = Citation { id: "mc_chosen_by_the_caller".into(), ..citation(None) };
    assert_eq!(citations.add(&own).unwrap().id, own.id);
    assert_eq!(code(citations.add(&own)), Code::AlreadyExists);
    // Many at once: one is first.
    let racer = Citation { id: "mc_wanted_by_everybody".into(), ..citation(None) };
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| agent.citations().add(&racer).map(drop))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).map(|r| r.map_err(|e| e.code())).collect::<Vec<_>>()
    });
    assert_eq!(won.iter().filter(|r| r.is_ok()).count(), 1, "{won:?}");
    assert!(won.iter().all(|r| matches!(r, Ok(()) | Err(Code::AlreadyExists))), "{won:?}");
    assert_eq!(citations.count().unwrap(), 2);
    assert_eq!(code(citations.get("mem_chosen_by_the_caller")), Code::IdInvalid);
    assert_eq!(code(citations.get("mc_nobody")), Code::NotFound);
    assert_eq!(code(engine.citations().add(&citation(None))), Code::InputInvalid, "a record belongs to an agent");
}

#[test]
fn documents_are_kept_verbatim_and_judged_by_profile() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    // As upstream's tests write vaults: spaces, an unknown member, a number that no float holds.
    let storage = r#"{ "vault_id":"vault_test", "created_at":"2025-11-14T10:00:00Z","storage": {"size":10000000000000000000000000001} }"#;
    let vaults = agent.records::<VaultConfig>();
    let refused = vaults.add_json(storage).unwrap_err();
    assert_eq!(refused.code(), Code::InputInvalid);
    assert!(refused.message().contains("/name (missing_field)"), "{refused}");
    let id = vaults.clone().compat().add_json(storage).unwrap().id;
    assert_eq!((id.as_str(), vaults.get(&id).unwrap().document.as_str()), ("vault_test", storage));
    assert_eq!(code(vaults.verify(&id)), Code::InputInvalid, "a vault has no checksum");

    // Nulls count in a checksum: this one is of the document, not of the type.
    let mut document = json!({"id": "mc_0123456789abcdef", "version": "1.0.0", "vault_id": VAULT, "predecessor": null, "created_at": "t"});
    let sum = mirrordna_upstream::json::parse(document.to_string().as_bytes()).unwrap().value;
    let sum = mirrordna_upstream::checksum::state_checksum(&sum).unwrap();
    document["checksum"] = sum.clone().into();
    let citations = agent.citations();
    let id = citations.add_json(&document.to_string()).unwrap().id;
    let report = citations.verify(&id).unwrap();
    assert_eq!((report.ok, report.stated, report.computed), (true, Some(sum.clone()), Some(sum)));
    document["id"] = "mc_0123456789abcdee".into();
    for citations in [citations.clone(), citations.clone().compat()] {
        let wrong = citations.add_json(&document.to_string()).unwrap_err();
        assert!(wrong.message().contains("/checksum (checksum_mismatch): Checksum mismatch"), "{wrong}");
    }
    assert_eq!(code(citations.add_json("{\"id\":1,\"id\":2}")), Code::JsonInvalid);
    let huge = json!({"metadata": {"x": "y".repeat(mirrordna::limits::JSON)}});
    assert_eq!(code(citations.add_json(&huge.to_string())), Code::LimitExceeded);
}

#[test]
fn every_entity_has_its_records() {
    fn both<T: Entity + PartialEq + std::fmt::Debug + Clone>(agent: &Identity, entity: &T) -> Records<T> {
        let records = agent.records::<T>().about("mdna_usr_somebody");
        let id = records.add(entity).unwrap().id;
        assert!(id.starts_with(T::PREFIX), "{id}");
        let stored = records.get(&id).unwrap();
        assert_eq!(stored.subject.as_deref(), Some("mdna_usr_somebody"));
        let read = stored.read().unwrap();
        records.update(&id, &read).unwrap();
        let listed = records.list(0, 10).unwrap();
        assert_eq!((listed.len(), listed[0].version, listed[0].read().unwrap()), (1, 2, read));
        assert_eq!(records.lineage(&id).unwrap().len(), 1);
        records
    }
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let vault = VaultConfig { name: Some("Harbour".into()), path: Some("./vault".into()), ..VaultConfig::default() };
    let vault = both(&agent, &vault).list(0, 1).unwrap().remove(0).id;
    let entry = VaultEntry {
        id: String::new(),
        vault_id: vault,
        path: "a/b".into(),
        entry_type: EntryType::Artifact,
        created_at: String::new(),
        updated_at: None,
        checksum: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
        size_bytes: Some(3),
        metadata: None,
        tags: None,
        references: None,
        extra: Default::default(),
    };
    let entries = both(&agent, &entry);
    assert!(entries.list(0, 1).unwrap()[0].read().unwrap().matches(b"abc"), "its checksum is its content's, and stays");
    let traits = PersonalityTraits { tone: "dry".into(), style: "short".into(), values: vec!["care".into()], ..Default::default() };
    both(
        &agent,
        &AgentDna {
            agent_id: AGENT.into(),
            version: "1.0.0".into(),
            personality_traits: traits,
            behavioral_constraints: vec!["no lies".into()],
            capabilities: vec!["talk".into()],
            ..AgentDna::default()
        },
    );
    both(
        &agent,
        &Reflection {
            reflection_id: String::new(),
            agent_id: AGENT.into(),
            reflection_type: ReflectionType::Decision,
            timestamp: String::new(),
            context: Default::default(),
            observation: "it rained".into(),
            evaluation: None,
            insights: None,
            actions_taken: None,
            metadata: None,
            extra: Default::default(),
        },
    );
    let source = GlyphSource { actor_id: AGENT.into(), actor_type: ActorType::Agent, origin: None, extra: Default::default() };
    let glyph = GlyphtrailEntry {
        id: String::new(),
        timestamp: String::new(),
        glyph: "⟡".into(),
        glyph_type: None,
        context: None,
        source,
        vault_ref: None,
        predecessor: None,
        successor: None,
        metadata: None,
        extra: Default::default(),
    };
    let trail = both(&agent, &glyph);
    let first = trail.list(0, 1).unwrap().remove(0).id;
    let second = trail.add(&GlyphtrailEntry { predecessor: Some(first.clone()), ..glyph }).unwrap().id;
    assert_eq!(trail.lineage(&second).unwrap().iter().map(|g| g.id.clone()).collect::<Vec<_>>(), [first, second]);
    let link = AgentLink { agent_id: AGENT.into(), agent_name: "Ada".into(), mirrordna_identity_id: AGENT.into(), ..AgentLink::default() };
    both(&agent, &link);
    engine.close().unwrap();
    assert!(place.verify().is_intact());
}
