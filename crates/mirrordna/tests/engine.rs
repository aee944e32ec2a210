//! The engine through its public surface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Code, Content, Engine, IdentityManager, IdentityType, MemoryPatch, NewIdentity, NewSession, Tier, Witness};

#[test]
fn the_first_fifteen_lines() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    let written = session.memories().add("Prefers trains to planes").tier(Tier::LongTerm).tag("travel").send().unwrap();
    session.timeline().append("booking.requested", &serde_json::json!({"from": "Basel", "to": "Lyon"})).unwrap();
    let hits = agent.memories().search("does she prefer the train?").limit(5).run().unwrap();
    assert_eq!(hits.len(), 1);
    assert_eq!((hits[0].record.id.as_str(), hits[0].record.text()), (written.id.as_str(), "Prefers trains to planes"));
    assert_eq!(hits[0].record.subject.as_deref(), Some(user.id()));
    assert_eq!(hits[0].record.agent, agent.id());
    session.end().unwrap();
    let report = engine.verify().unwrap();
    assert!(report.is_intact(), "{report:#?}");
    engine.close().unwrap();
    let report = place.verify();
    assert!(report.is_intact() && report.unsigned == 0, "{report:#?}");
    assert_eq!((report.identities, report.bodies.missing, report.bodies.locked), (2, 0, 0));
}

#[test]
fn everything_is_there_after_reopening() {
    let place = Place::new();
    let engine = place.open();
    let new = NewIdentity { name: Some("Ada".into()), metadata: Some(r#"{"v": 1.50}"#.into()), ..NewIdentity::default() };
    let agent = engine.identities().create_with(IdentityType::Agent, new).unwrap();
    let memory = agent.memories().add_json(r#"{"n": 1e400, "n2": 2}"#).send().unwrap();
    agent.memories().update(&memory.id, MemoryPatch { content: Some(Content::Text("now text".into())), ..Default::default() }).unwrap();
    drop((engine, agent.clone()));
    let id = agent.id().to_owned();
    drop(agent);
    let engine = place.open();
    let agent = engine.identities().find("Ada").unwrap();
    assert_eq!(agent.id(), id);
    assert_eq!(agent.profile().unwrap().metadata.as_deref(), Some(r#"{"v": 1.50}"#), "kept as it came");
    let found = engine.memories().get(&memory.id).unwrap();
    assert_eq!((found.content.as_str(), found.version), ("now text", 2));
    let history = engine.memories().history(&memory.id).unwrap();
    assert_eq!(history[0].content.as_deref(), Some(r#"{"n": 1e400, "n2": 2}"#));
    engine.memories().archive(&memory.id).unwrap();
    assert!(engine.memories().list(0, 10).unwrap().is_empty() && engine.memories().get(&memory.id).unwrap().archived);
    assert!(engine.memories().search("text").run().unwrap().is_empty());
    // The agent opened an epoch in each process.
    let kinds: Vec<String> = engine.timeline().list(0, 100).unwrap().into_iter().map(|e| e.kind).collect();
    assert_eq!(
        kinds,
        [
            "log.genesis",
            "identity.entry",
            "record.put",
            "epoch.open",
            "record.put",
            "record.patch",
            "epoch.close",
            "epoch.open",
            "record.archive"
        ]
    );
}

#[test]
fn lineage_is_checked() {
    let place = Place::new();
    let engine = place.open();
    let (agent, user) = (engine.identities().create(IdentityType::Agent).unwrap(), engine.identities().create(IdentityType::User).unwrap());
    let first = engine.sessions().start(&agent, &user).unwrap();
    let second = engine.sessions().continue_from(&first).unwrap();
    let chain = engine.sessions().lineage(second.id()).unwrap();
    assert_eq!(chain.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), [first.id(), second.id()]);
    let new = NewSession { parent: Some("sess_00000000000000000000000000".into()), ..NewSession::default() };
    assert_eq!(engine.sessions().start_with(&agent, new).unwrap_err().code(), Code::LineageInvalid);
    let other = engine.identities().create(IdentityType::Agent).unwrap();
    let new = NewSession { parent: Some(first.id().into()), ..NewSession::default() };
    assert_eq!(engine.sessions().start_with(&other, new).unwrap_err().code(), Code::LineageInvalid);
    assert_eq!(engine.sessions().start(&user, &agent).unwrap_err().code(), Code::InputInvalid);
    let id = first.id().to_owned();
    first.end().unwrap();
    assert_eq!(engine.sessions().resume(&id).unwrap_err().code(), Code::SessionEnded);
}

#[test]
fn a_repeated_append_returns_the_first_result() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let first = agent.memories().add("once").idempotency_key("k1").send().unwrap();
    let again = agent.memories().add("once, differently").idempotency_key("k1").send().unwrap();
    assert_eq!((again.id.as_str(), again.event.index, again.event.existed), (first.id.as_str(), first.event.index, true));
    drop((engine, agent));
    let engine = place.open();
    let agent = engine.identities().list().unwrap().remove(0);
    assert!(agent.memories().add("x").idempotency_key("k1").send().unwrap().event.existed);
    assert_eq!(engine.memories().count().unwrap(), 1);
}

#[test]
fn tenants_do_not_see_each_other() {
    let place = Place::new();
    let engine = place.open();
    let (acme, zeta) = (engine.tenant("acme").unwrap(), engine.tenant("zeta").unwrap());
    let (a, z) = (acme.identities().create(IdentityType::Agent).unwrap(), zeta.identities().create(IdentityType::Agent).unwrap());
    let secret = a.memories().add("the acme secret is purple").send().unwrap();
    z.memories().add("nothing to see").send().unwrap();
    assert!(zeta.memories().search("secret purple").run().unwrap().is_empty());
    assert_eq!(zeta.memories().get(&secret.id).unwrap_err().code(), Code::NotFound);
    assert_eq!(engine.memories().get(&secret.id).unwrap_err().code(), Code::NotFound);
    assert_eq!(engine.identities().list().unwrap().len(), 0);
    drop((acme, zeta, a, z, engine));
    let engine = place.open();
    assert_eq!(engine.tenant("acme").unwrap().memories().get(&secret.id).unwrap().text(), "the acme secret is purple");
    assert!(engine.verify().unwrap().is_intact());
    drop(engine);
    assert!(place.verify().is_intact());
}

#[test]
fn without_the_keyring_everything_verifies_and_nothing_is_read() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let memory = agent.memories().add("for the agent only").send().unwrap();
    let fingerprint = engine.fingerprint();
    drop((agent, engine));
    std::fs::rename(place.dir.path().join("keys"), place.dir.path().join("elsewhere")).unwrap();
    let report = place.builder().witness(Witness::Off).verify().unwrap();
    assert_eq!((report.verdict, report.bodies.locked, report.problems.len()), ("unproven", 2, 0), "{report:#?}");
    let told = fingerprint.to_string();
    let told = place.builder().witness(Witness::Off).trust(told.parse().unwrap()).verify().unwrap();
    assert_eq!(told.verdict, "intact");
    let engine = place.open();
    // Nothing that is locked passes for something that is not there.
    assert_eq!(engine.memories().get(&memory.id).unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.memories().list(0, 9).unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.memories().search("agent").run().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.memories().count().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.sessions().list(None).unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.snapshots().list(None).unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.citations().list(0, 9).unwrap_err().code(), Code::KeyMissing);
    let agent = engine.identities().list().unwrap().remove(0);
    assert_eq!(agent.memories().add("x").send().unwrap_err().code(), Code::KeyMissing);
    assert_eq!(engine.timeline().get(2).unwrap().body, "locked");
}

#[test]
fn a_passphrase_is_asked_for_and_wrong_ones_are_refused() {
    let place = Place::new();
    drop(place.builder().passphrase("open sesame").open().unwrap());
    assert_eq!(place.builder().passphrase("open barley").open().unwrap_err().code(), Code::KeyPassphrase);
    assert!(place.builder().passphrase("open sesame").open().unwrap().verify().unwrap().is_intact());
}

#[test]
fn a_store_in_memory_and_the_managers_work() {
    let engine = Engine::open("memory:").unwrap();
    let identity = IdentityManager::of(&engine).create_identity("agent").unwrap();
    assert!(identity.id().starts_with("mdna_agt_"));
    identity.memories().add("kept for now").send().unwrap();
    assert_eq!(identity.memories().search("kept").run().unwrap().len(), 1);
    assert!(engine.verify().unwrap().is_intact());
    let e = IdentityManager::of(&engine).create_identity("robot").unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::InputInvalid, "identity type 'robot' is none of user, agent, system"));
}

#[test]
fn many_writers_group_and_nothing_is_lost() {
    let place = Place::new();
    let engine = place.open();
    let agents: Vec<_> = (0..4).map(|_| engine.identities().create(IdentityType::Agent).unwrap()).collect();
    std::thread::scope(|s| {
        for n in 0..16 {
            let agent = agents[n % 4].clone();
            s.spawn(move || {
                for i in 0..20 {
                    agent.memories().add(format!("writer {n} memory {i}")).send().unwrap();
                }
            });
        }
    });
    assert_eq!(engine.memories().count().unwrap(), 320);
    let report = engine.verify().unwrap();
    assert!(report.is_intact(), "{report:#?}");
}

#[test]
fn two_engines_on_one_file_are_one() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    let agent = one.identities().create(IdentityType::Agent).unwrap();
    assert_eq!(two.identities().list().unwrap()[0].id(), agent.id());
    drop(one);
    agent.memories().add("still open").send().unwrap();
    assert_eq!(two.memories().count().unwrap(), 1);
}

#[test]
fn bad_input_is_refused_with_a_code_and_loses_nothing() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let m = agent.memories();
    let code = |r: Result<mirrordna::Written, mirrordna::Error>| r.unwrap_err().code();
    assert_eq!(code(m.add("").send()), Code::InputInvalid);
    assert_eq!(code(m.add("x").metadata(format!("\"{}\"", "x".repeat(70_000))).send()), Code::LimitExceeded);
    assert_eq!(code(m.add_json("{\"a\":1,\"a\":2}").send()), Code::JsonInvalid);
    assert_eq!(code(m.add_json("[NaN]").send()), Code::JsonInvalid);
    assert_eq!(code(m.add_json("\"\\ud800\"").send()), Code::JsonInvalid);
    assert_eq!(code(m.add_json("[".repeat(500)).send()), Code::JsonInvalid);
    assert_eq!(code(m.add("x").metadata("{").send()), Code::JsonInvalid);
    assert_eq!(code(m.add("x").speaker("\u{7}").send()), Code::InputInvalid);
    assert_eq!(code(engine.memories().add("x").send()), Code::InputInvalid);
    assert_eq!(m.get("sess_x").unwrap_err().code(), Code::IdInvalid);
    assert_eq!(engine.sessions().get("mem_x").unwrap_err().code(), Code::IdInvalid);
    assert_eq!(m.get("mem_00000000000000000000000000").unwrap_err().code(), Code::NotFound);
    assert_eq!(engine.timeline().append("x", &serde_json::json!(1)).unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.tenant("").unwrap_err().code(), Code::InputInvalid);
    assert_eq!(engine.memories().count().unwrap(), 0);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn snapshots_compare_and_restore_by_new_events() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let m = agent.memories();
    let (kept, changed, dropped) =
        (m.add("kept").send().unwrap().id, m.add("first").send().unwrap().id, m.add("dropped").send().unwrap().id);
    let before = engine.snapshots().capture(&agent, Some(r#"{"why":"before"}"#)).unwrap();
    m.update(&changed, MemoryPatch { content: Some(Content::Text("second".into())), ..Default::default() }).unwrap();
    m.archive(&dropped).unwrap();
    let added = m.add("added").send().unwrap().id;
    let after = engine.snapshots().capture(&agent, None).unwrap();
    let found = engine.snapshots().compare(&before.id, &after.id).unwrap();
    assert_eq!((found.added, found.changed, found.removed), (vec![added.clone()], vec![changed.clone()], vec![dropped.clone()]));
    assert_eq!(found.changed_sections, ["vault_state", "timeline_summary", "metadata"]);
    let done = engine.snapshots().restore(&before.id).unwrap();
    assert_eq!((done.put, done.archived, done.unchanged), (2, 1, 1));
    assert_eq!(m.get(&changed).unwrap().content, "first");
    assert_eq!(m.list(0, 9).unwrap().into_iter().map(|m| m.id).collect::<Vec<_>>(), [kept, changed.clone(), dropped]);
    assert_eq!(m.history(&changed).unwrap().len(), 3, "nothing is removed from the history");
    assert_eq!(engine.snapshots().restore(&before.id).unwrap().unchanged, 3);
    // The document is what upstream calls a state snapshot, checksum included.
    let parsed = mirrordna_upstream::read_file("s.json", before.to_json().as_bytes(), mirrordna_upstream::Profile::Strict);
    assert_eq!(parsed.counts(), (1, 0, 0), "{parsed:?}");
    let parsed = mirrordna_upstream::read_file("s.yaml", before.to_yaml().as_bytes(), mirrordna_upstream::Profile::Strict);
    assert_eq!(parsed.counts(), (1, 0, 0), "{}", before.to_yaml());
    drop((agent, m));
    drop(engine);
    let engine = place.open();
    assert_eq!(engine.snapshots().list(None).unwrap().len(), 2);
    assert_eq!(engine.snapshots().get(&before.id).unwrap(), before);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_clock_that_goes_backwards_does_not_turn_the_log_around() {
    struct Backwards(std::sync::atomic::AtomicU64);
    impl mirrordna::Clock for Backwards {
        fn now_ms(&self) -> u64 {
            self.0.fetch_sub(1_000, std::sync::atomic::Ordering::Relaxed)
        }
    }
    let place = Place::new();
    let clock = std::sync::Arc::new(Backwards(std::sync::atomic::AtomicU64::new(1_770_000_000_000)));
    let engine = place.builder().clock(clock).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    (0..5).for_each(|i| drop(agent.memories().add(format!("memory {i}")).send().unwrap()));
    let times: Vec<String> = engine.timeline().list(0, 99).unwrap().into_iter().map(|e| e.time).collect();
    assert!(times.len() > 6 && times.is_sorted(), "{times:?}");
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_closed_engine_says_so() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    engine.clone().close().unwrap();
    assert_eq!(agent.memories().add("late").send().unwrap_err().code(), Code::StoreClosed);
    assert!(place.verify().is_intact());
}

#[test]
fn every_event_is_signed_where_that_is_asked_for() {
    let place = Place::new();
    let engine = place.builder().seals(mirrordna::SealPolicy::EveryEvent).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    (0..5).for_each(|i| drop(agent.memories().add(format!("memory {i}")).send().unwrap()));
    assert!(engine.timeline().list(0, 99).unwrap().iter().all(|e| e.signed));
    let report = engine.verify().unwrap();
    assert_eq!((report.verdict, report.unsigned), ("intact", 0));
}

#[test]
fn what_is_unsealed_is_sealed_by_itself() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add("soon sealed").send().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // No sleep for luck: the state itself says when it is reached.
    while engine.verify().unwrap().unsigned > 0 {
        assert!(std::time::Instant::now() < deadline, "nothing was sealed");
        std::thread::yield_now();
    }
    assert!(engine.timeline().list(0, 99).unwrap().iter().any(|e| e.kind == "seal"));
}

struct Set(std::sync::Arc<std::sync::atomic::AtomicU64>);
impl mirrordna::Clock for Set {
    fn now_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn epochs_that_outlive_their_day_are_followed_by_new_ones() {
    use std::sync::atomic::Ordering::Relaxed;
    const HOUR: u64 = 3_600_000;
    let place = Place::new();
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_770_000_000_000));
    let open = || place.builder().clock(std::sync::Arc::new(Set(now.clone()))).open().unwrap();
    let engine = open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add("today").send().unwrap();
    now.fetch_add(25 * HOUR, Relaxed);
    agent.memories().add("tomorrow").send().unwrap();
    now.fetch_add(25 * HOUR, Relaxed);
    drop(agent);
    engine.close().unwrap();
    assert!(place.verify().is_intact(), "an epoch that is over is not closed once more");
    // A clock that was far ahead once must not spoil what comes after it.
    let engine = open();
    let agent = engine.identities().list().unwrap().remove(0);
    now.fetch_add(50 * HOUR, Relaxed);
    agent.memories().add("from the future").send().unwrap();
    drop(agent);
    engine.close().unwrap();
    now.fetch_sub(50 * HOUR, Relaxed);
    let engine = open();
    let agent = engine.identities().list().unwrap().remove(0);
    agent.memories().add("back again").send().unwrap();
    drop(agent);
    engine.close().unwrap();
    let report = place.verify();
    assert!(report.is_intact(), "{report:#?}");
}

#[test]
fn a_closed_database_opens_again_while_old_handles_live() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    engine.close().unwrap();
    assert_eq!(agent.memories().add("too late").send().unwrap_err().code(), Code::StoreClosed);
    let again = place.open();
    let same = again.identities().get(agent.id()).unwrap();
    same.memories().add("in time").send().unwrap();
    drop(agent);
    same.memories().add("still there").send().unwrap();
    drop(same);
    again.close().unwrap();
    assert!(place.verify().is_intact());
}

/// The epochs that the `epoch.open` events of a database end.
fn ended(path: &std::path::Path) -> Vec<Vec<u64>> {
    use mirrordna_core::verify::body::PublicBody;
    use mirrordna_core::{Kind, Leaf};
    let db = rusqlite::Connection::open(path).unwrap();
    let mut rows = db.prepare("SELECT leaf, body FROM event ORDER BY pos").unwrap();
    let rows = rows.query_map([], |r| Ok((r.get::<_, Vec<u8>>(0)?, r.get::<_, Option<Vec<u8>>>(1)?))).unwrap();
    let mut out = Vec::new();
    for (leaf, body) in rows.map(Result::unwrap) {
        let kind = Leaf::decode(&leaf).unwrap().header.kind;
        if kind == Kind::EPOCH_OPEN
            && let Some(PublicBody::EpochOpen { ends, .. }) = PublicBody::decode(kind, &body.unwrap()).unwrap()
        {
            out.push(ends);
        }
    }
    out
}

#[test]
fn the_epochs_of_processes_that_are_gone_are_ended() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add("one").send().unwrap();
    // A copy of an open database is what a kill leaves behind.
    let crashed = place.dir.path().join("crashed.db");
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", place.path().display()), format!("{}{end}", crashed.display())).unwrap();
    }
    let open = || place.at(&crashed).witness(mirrordna::Witness::Off).open().unwrap();
    let heir = open();
    heir.identities().get(agent.id()).unwrap().memories().add("two").send().unwrap();
    heir.close().unwrap();
    // What was closed needs no ending, and what another process may still hold
    // is left alone.
    let next = open();
    next.identities().get(agent.id()).unwrap().memories().add("three").send().unwrap();
    next.close().unwrap();
    assert_eq!(ended(&crashed), [vec![], vec![2], vec![]]);
    assert!(place.at(&crashed).witness(mirrordna::Witness::Off).verify().unwrap().is_intact());
}
