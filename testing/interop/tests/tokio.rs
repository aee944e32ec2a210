//! The async twin under tokio: the operations of `crates/mirrordna/tests/aio.rs`
//! on its two kinds of runtime. That crate's own tests never compile tokio.

#[path = "../../../crates/mirrordna/tests/common/mod.rs"]
mod common;
#[path = "../../../crates/mirrordna/tests/operations/mod.rs"]
mod operations;

use common::Place;
use mirrordna::aio::Engine;
use std::sync::mpsc;
use tokio::runtime::{Builder, Runtime};

fn current_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).build().unwrap()
}

#[test]
fn the_same_operations_on_both_runtimes() {
    current_thread().block_on(operations::everything(Place::new()));
    let runtime = multi_thread();
    // In a worker of the runtime, where blocking on another runtime panics.
    runtime.block_on(runtime.spawn(operations::everything(Place::new()))).unwrap();
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
        let (engine, agent) = operations::engine_with_a_short_queue(&place).await;
        let tasks: Vec<_> = (0..operations::TASKS).map(|i| tokio::spawn(operations::one_append(agent.clone(), i))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        operations::each_is_there_once(&engine, &agent).await;
    });
}
