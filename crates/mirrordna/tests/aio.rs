//! The async twin under a minimal executor; `testing/interop` runs the same
//! operations under tokio.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;
mod operations;

use common::Place;
use mirrordna::aio::Engine;
use mirrordna::{Code, IdentityType};
use operations::TASKS;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;

/// Both futures on one thread, each polled whenever either may go on.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(move |cx| {
        if first.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

#[test]
fn every_operation_without_an_executor_of_its_own() {
    pollster::block_on(operations::everything(Place::new()));
}

#[test]
fn the_polling_thread_is_never_blocked() {
    let place = Place::new();
    pollster::block_on(async {
        let engine = Engine::open_with(place.builder()).await.unwrap();
        let (release, gate) = mpsc::channel();
        let waiting = engine.run(move |_| Ok(gate.recv().unwrap()));
        // The one thread gets here while the call waits.
        let releasing = async move { release.send(7).unwrap() };
        assert_eq!(both(waiting, releasing).await.0.unwrap(), 7);
    });
}

#[test]
fn an_abandoned_append_has_an_unknown_outcome_and_a_retry_the_first_result() {
    let place = Place::new();
    let (engine, agent) = pollster::block_on(operations::engine_with_a_short_queue(&place));
    // Many threads, each with an executor of its own, and several appends in each.
    std::thread::scope(|scope| {
        for first in 0..TASKS / 5 {
            let agent = &agent;
            scope.spawn(move || {
                pollster::block_on(async {
                    let append = |n: usize| operations::one_append(agent.clone(), first * 5 + n);
                    both(both(append(0), append(1)), both(both(append(2), append(3)), append(4))).await;
                });
            });
        }
    });
    pollster::block_on(operations::each_is_there_once(&engine, &agent));
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
