//! One write or sync fails, or the disk is full: the caller gets a typed error,
//! and what was acknowledged stays, also when power is lost after that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Claim, Head, History, Place, Run, check};
use mirrordna::{Code, IdentityType, SealPolicy};
use mirrordna_testing_faults::{Disk, Fault, Loss, Platter};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A day with one failure in it, what the callers were told, and what holds
/// afterwards; returns the code and what was struck.
fn day_with(point: usize, fault: Fault) -> Option<(Code, String)> {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    disk.strike(point, fault);
    let history = Mutex::new(History::default());
    let run = Run::new(&place, &disk, &history);
    let told = run.day(1).err();
    let struck = disk.struck()?;
    let fail = |what: String| -> ! {
        let kept = dir.path().with_extension("kept");
        let _evidence = std::fs::rename(dir.path(), &kept);
        panic!("{fault:?} at {point}, {struck}: {what}; told {told:?}; kept in {}", kept.display())
    };
    let claims = |from: &History| -> Vec<Claim> { from.claims.iter().map(|(_, c)| c.clone()).collect() };
    let released = |from: &History| -> Vec<Head> { from.released.iter().map(|(_, h)| *h).collect() };
    if let Some(e) = &told
        && !matches!(e.code(), Code::StoreFull | Code::StoreIo | Code::StorePoisoned)
    {
        fail("an error of another sort".into());
    }
    // Reopened on the running system, everything is there and life goes on.
    let (kept, heads) = {
        let told = history.lock().unwrap();
        (claims(&told), released(&told))
    };
    if let Err(e) = check(&place, &kept, &heads) {
        fail(format!("after reopening: {e}"));
    }
    // And what is acknowledged after the failure survives the next power loss,
    // although a disk that failed to sync may have kept none of it.
    let before = disk.points();
    {
        let mut engine = run.open(SealPolicy::Bounded).unwrap_or_else(|e| fail(format!("reopening: {e}")));
        for i in 0..3 {
            let agent = engine.identities().list().unwrap().into_iter().find(|i| i.identity_type() == IdentityType::Agent).unwrap();
            run.remember(&agent.memories(), format!("after the failure {i}")).unwrap_or_else(|e| fail(format!("going on: {e}")));
            drop(agent);
            if i == 1 {
                drop(engine);
                engine = run.open(SealPolicy::Bounded).unwrap_or_else(|e| fail(format!("reopening again: {e}")));
            }
        }
    }
    let trace = disk.trace();
    let history = history.lock().unwrap();
    for (at, loss) in [(trace.points(), Loss::All), ((before + trace.points()) / 2, Loss::All), (trace.points(), Loss::Some(3))] {
        let mut platter = Platter::new(&trace);
        platter.advance(at);
        let image = platter.image(loss);
        let after = tempfile::tempdir().unwrap();
        let elsewhere = Place::new(after.path());
        image.materialise(after.path(), "db").unwrap();
        let _disk = Disk::mount(&after.path().join("db")).unwrap();
        let kept: Vec<Claim> = history.claims.iter().filter(|(p, _)| *p <= at).map(|(_, c)| c.clone()).collect();
        let heads: Vec<Head> = history.released.iter().filter(|(p, _)| *p <= at).map(|(_, h)| *h).collect();
        if let Err(e) = check(&elsewhere, &kept, &heads) {
            fail(format!("after losing power at {at}, {loss:?}: {e}"));
        }
    }
    Some((told.map_or(Code::Bug, |e| e.code()), struck))
}

fn sweep(stride: usize) -> BTreeMap<String, usize> {
    let counts = Mutex::new(BTreeMap::new());
    let next = Mutex::new(0usize);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let point = {
                        let mut next = next.lock().unwrap();
                        *next += stride;
                        *next - stride
                    };
                    let found: Vec<_> = [Fault::Once, Fault::FullOnce].into_iter().filter_map(|f| Some((f, day_with(point, f)?))).collect();
                    if found.is_empty() {
                        return;
                    }
                    for (fault, (code, struck)) in found {
                        let what = struck.split(' ').next().unwrap_or_default().to_owned();
                        let told = if code == Code::Bug { "nothing" } else { code.name() };
                        *counts.lock().unwrap().entry(format!("{fault:?} of a {what}: {told}")).or_default() += 1;
                    }
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

#[test]
fn a_failure_anywhere_is_told_and_loses_nothing() {
    let counts = sweep(11);
    eprintln!("{counts:#?}");
    assert!(counts.values().sum::<usize>() > 40);
}

#[test]
#[ignore = "takes minutes; `cargo xtask deep` runs it"]
fn a_failure_at_every_point_is_told_and_loses_nothing() {
    eprintln!("{:#?}", sweep(1));
}
