//! Following a timeline, and finding a place in it by time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Clock, IdentityType, SealPolicy};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than any machine needs; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_follower_sees_every_event_once_in_order() {
    let place = Place::new();
    let engine = place.open();
    let (ada, bob) = (engine.identities().create(IdentityType::Agent).unwrap(), engine.identities().create(IdentityType::Agent).unwrap());
    let start = engine.timeline().len().unwrap();
    let (mut all, mut adas) = (engine.timeline().follow(start), ada.timeline().follow(0));
    std::thread::scope(|s| {
        for agent in [&ada, &bob] {
            s.spawn(move || {
                for n in 0..60 {
                    agent.timeline().append("step.done", &serde_json::json!({ "n": n })).unwrap();
                }
            });
        }
        let mut leaves = Vec::new();
        let mut done = 0;
        while done < 120 {
            let events = all.wait(PATIENCE).unwrap();
            assert!(!events.is_empty(), "{done} of 120 events came");
            done += events.iter().filter(|e| e.event_type.is_some()).count();
            leaves.extend(events.iter().map(|e| e.leaf));
        }
        let expected: Vec<u64> = (start..start + leaves.len() as u64).collect();
        assert_eq!(leaves, expected);
    });
    let (mut own, mut last) = (Vec::new(), 0);
    while own.len() < 60 {
        let events = adas.wait(PATIENCE).unwrap();
        assert!(events.iter().all(|e| e.actor == ada.id() && e.leaf >= last));
        last = events.last().unwrap().leaf + 1;
        own.extend(events.into_iter().filter_map(|e| e.payload.filter(|_| e.event_type.is_some())));
    }
    let expected: Vec<String> = (0..60).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(own, expected);
}

#[test]
fn the_events_of_others_do_not_end_the_patience_of_a_scope() {
    let place = Place::new();
    let engine = place.open();
    let (ada, bob) = (engine.identities().create(IdentityType::Agent).unwrap(), engine.identities().create(IdentityType::Agent).unwrap());
    let mut adas = ada.timeline().follow(engine.timeline().len().unwrap());
    bob.memories().add("not hers").send().unwrap();
    let size = engine.timeline().len().unwrap();
    assert!(adas.wait(Duration::ZERO).unwrap().is_empty());
    // They were passed over, not left for the next look.
    assert!(adas.position() >= size);
    ada.memories().add("hers").send().unwrap();
    let events = adas.wait(PATIENCE).unwrap();
    assert!(events.iter().any(|e| e.payload.as_deref() == Some("hers")) && events.iter().all(|e| e.actor == ada.id()));
    let beyond = engine.timeline().follow(1_000).wait(Duration::ZERO).unwrap();
    assert!(beyond.is_empty());
}

struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_place_is_found_by_its_time() {
    let place = Place::new();
    // Every event signed: the service thread has nothing to seal in between.
    let clock = Arc::new(Hand(AtomicU64::new(1_000_000)));
    let engine = place.builder().clock(clock.clone()).seals(SealPolicy::EveryEvent).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let mut places = Vec::new();
    for step in 1..20 {
        clock.0.store(1_000_000 + step * 1_000, Ordering::Relaxed);
        places.push((1_000_000 + step as i64 * 1_000, engine.timeline().len().unwrap()));
        agent.timeline().append("step.done", &serde_json::json!({})).unwrap();
    }
    for (ms, leaf) in &places {
        assert_eq!((engine.timeline().first_at(*ms).unwrap(), engine.timeline().first_at(ms - 999).unwrap()), (*leaf, *leaf));
    }
    assert_eq!(engine.timeline().first_at(-5).unwrap(), 0);
    assert_eq!(engine.timeline().first_at(i64::MAX).unwrap(), engine.timeline().len().unwrap());
}
