//! What the async twin must do under any executor: run here by a minimal one,
//! and in `testing/interop` by tokio.

use crate::common::Place;
use mirrordna::aio::{Engine, Identity, Options};
use mirrordna::{Code, IdentityType, MemoryPatch, NewSession};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Memories that are added at the same time.
pub(crate) const TASKS: usize = 120;

/// Polls a future once and drops it.
async fn abandon<F: Future>(future: F) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Every call of the twin, once, against a database of its own.
pub(crate) async fn everything(place: Place) {
    let engine = Engine::open_with(place.builder()).await.unwrap();
    let agent = engine.identities().create(IdentityType::Agent).await.unwrap();
    let user = engine.identities().create(IdentityType::User).await.unwrap();
    let session = engine.sessions().start(&agent, &user).await.unwrap();
    let first = session.memories().add_text("Prefers trains to planes", Some("k")).await.unwrap();
    let again = session.memories().add_text("said twice", Some("k")).await.unwrap();
    assert_eq!((again.id.as_str(), again.event.existed), (first.id.as_str(), true));
    let one = session.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"}), Some("e")).await.unwrap();
    let two = session.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"}), Some("e")).await.unwrap();
    assert_eq!((two.index, two.existed), (one.index, true));
    assert_eq!(engine.timeline().get(one.index).await.unwrap().event_type.as_deref(), Some("booking.requested"));
    let hits = agent.memories().search("does she prefer the train?", 5).await.unwrap();
    assert_eq!(hits[0].record.id, first.id);
    let patch = MemoryPatch { tags: Some(vec!["travel".into()]), ..MemoryPatch::default() };
    agent.memories().update(&first.id, patch).await.unwrap();
    agent.memories().archive(&first.id).await.unwrap();
    assert_eq!(agent.memories().history(&first.id).await.unwrap().len(), 3);
    assert!(agent.memories().get(&first.id).await.unwrap().archived && agent.memories().list(0, 9).await.unwrap().is_empty());
    let id = session.id().to_owned();
    session.end().await.unwrap();
    assert_eq!(engine.sessions().resume(&id).await.unwrap_err().code(), Code::SessionEnded);
    let next = engine.sessions().start_with(&agent, NewSession { parent: Some(id), ..NewSession::default() }).await.unwrap();
    assert!(engine.sessions().get(next.id()).await.unwrap().parent.is_some());
    assert_eq!(engine.identities().list().await.unwrap().len(), 2);
    assert_eq!(engine.identities().get(agent.id()).await.unwrap().id(), agent.id());
    let other = engine.tenant("other").await.unwrap();
    assert_eq!(other.run(|tenant| tenant.memories().count()).await.unwrap(), 0);
    assert_eq!(engine.memories().get("no id").await.unwrap_err().code(), Code::IdInvalid);
    assert!(engine.verify().await.unwrap().is_intact());
    engine.close().await.unwrap();
    assert!(place.verify().is_intact());
}

/// An engine and an agent for [`one_append`] to be called on.
pub(crate) async fn engine_with_a_short_queue(place: &Place) -> (Engine, Identity) {
    let options = Options { threads: 4, queue: 3 };
    let engine = Engine::open_with_options(place.builder(), options).await.unwrap();
    let agent = engine.identities().create(IdentityType::Agent).await.unwrap();
    (engine, agent)
}

/// Adds the `i`-th memory, where `i` says how often it is abandoned before.
pub(crate) async fn one_append(agent: Identity, i: usize) {
    let (memories, text, key) = (agent.memories(), format!("memory {i}"), format!("key {i}"));
    if i.is_multiple_of(2) {
        assert!(!abandon(memories.add_text(text.as_str(), Some(&key))).await, "an append takes a sync");
    }
    if i.is_multiple_of(3) {
        // Never polled: nothing happens.
        drop(memories.add_text("never", None));
    }
    let first = memories.add_text(text.as_str(), Some(&key)).await.unwrap();
    let again = memories.add_text("something else", Some(&key)).await.unwrap();
    assert_eq!((again.id, again.event.index, again.event.existed), (first.id, first.event.index, true));
}

/// All [`TASKS`] memories are there, each once.
pub(crate) async fn each_is_there_once(engine: &Engine, agent: &Identity) {
    let mut texts: Vec<String> = agent.memories().list(0, 1_000).await.unwrap().into_iter().map(|m| m.content).collect();
    texts.sort();
    let mut expected: Vec<String> = (0..TASKS).map(|i| format!("memory {i}")).collect();
    expected.sort();
    assert_eq!(texts, expected, "each once");
    assert!(engine.verify().await.unwrap().is_intact());
}
