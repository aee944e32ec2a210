//! The async twin under several executors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::aio::{Engine, Options};
use mirrordna::{Code, IdentityType, MemoryPatch, NewSession};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;

/// Polls a future once and drops it.
async fn abandon<F: Future>(future: F) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

async fn operations(place: Place) {
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

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap()
}

#[test]
fn the_same_operations_under_every_executor() {
    current_thread().block_on(operations(Place::new()));
    let runtime = multi_thread();
    // In a worker of the runtime, where blocking on another runtime panics.
    runtime.block_on(runtime.spawn(operations(Place::new()))).unwrap();
    pollster::block_on(operations(Place::new()));
}

#[test]
fn the_executor_is_never_blocked() {
    let place = Place::new();
    current_thread().block_on(async {
        let engine = Engine::open_with(place.builder()).await.unwrap();
        let (release, gate) = mpsc::channel();
        let waiting = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run(move |_| Ok(gate.recv().unwrap())).await.unwrap() }
        });
        // The one thread of the runtime gets here while the call waits.
        let released = tokio::spawn(async move { release.send(7).unwrap() });
        released.await.unwrap();
        assert_eq!(waiting.await.unwrap(), 7);
    });
}

#[test]
fn an_abandoned_append_has_an_unknown_outcome_and_a_retry_the_first_result() {
    let place = Place::new();
    multi_thread().block_on(async {
        let options = Options { threads: 4, queue: 3 };
        let engine = Engine::open_with_options(place.builder(), options).await.unwrap();
        let agent = engine.identities().create(IdentityType::Agent).await.unwrap();
        let tasks: Vec<_> = (0..120)
            .map(|i| {
                let memories = agent.memories();
                tokio::spawn(async move {
                    let (text, key) = (format!("memory {i}"), format!("key {i}"));
                    if i % 2 == 0 {
                        assert!(!abandon(memories.add_text(text.as_str(), Some(&key))).await, "an append takes a sync");
                    }
                    if i % 3 == 0 {
                        // Never polled: nothing happens.
                        drop(memories.add_text("never", None));
                    }
                    let first = memories.add_text(text.as_str(), Some(&key)).await.unwrap();
                    let again = memories.add_text("something else", Some(&key)).await.unwrap();
                    assert_eq!((again.id, again.event.index, again.event.existed), (first.id, first.event.index, true));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut texts: Vec<String> = agent.memories().list(0, 1_000).await.unwrap().into_iter().map(|m| m.content).collect();
        texts.sort();
        let mut expected: Vec<String> = (0..120).map(|i| format!("memory {i}")).collect();
        expected.sort();
        assert_eq!(texts, expected, "each once");
        assert!(engine.verify().await.unwrap().is_intact());
    });
}

#[test]
fn a_closed_or_missing_database_is_a_typed_error() {
    let place = Place::new();
    pollster::block_on(async {
        let e = Engine::open_with(place.builder().create(false)).await.unwrap_err();
        assert_eq!(e.code(), Code::StoreNotFound);
        assert_eq!(Engine::open("postgres://host/db").await.unwrap_err().code(), Code::StoreUrl);
        let engine = Engine::open_with(place.builder()).await.unwrap();
        let agent = engine.identities().create(IdentityType::Agent).await.unwrap();
        engine.close().await.unwrap();
        assert_eq!(agent.memories().add_text("too late", None).await.unwrap_err().code(), Code::StoreClosed);
    });
}
