//! One write or sync fails, or the disk is full: the caller gets a typed error,
//! and what was acknowledged stays, also when power is lost after that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Claim, Head, History, Place, Run, check};
use mirrordna::{Code, Error, IdentityType, SealPolicy};
use mirrordna_testing_faults::{Disk, Fault, Loss, Platter};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A day with one failure in it, what the callers were told, and what holds
/// afterwards; returns the code and what was struck, or what does not hold.
fn day_with(point: usize, fault: Fault) -> Option<Result<(Code, String), String>> {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    disk.strike(point, fault);
    let history = Mutex::new(History::default());
    let run = Run::new(&place, &disk, &history);
    let told = run.day(1).err();
    let struck = disk.struck()?;
    let outcome = after(&run, &history, told.as_ref());
    Some(match outcome {
        Ok(()) => Ok((told.map_or(Code::Bug, |e| e.code()), struck)),
        Err(what) => Err(format!("{fault:?} at {point}, {struck}: {what}; told {told:?}; kept in {}", dir.keep().display())),
    })
}

/// What must hold after a day with a failure in it.
fn after(run: &Run<'_>, history: &Mutex<History>, told: Option<&Error>) -> Result<(), String> {
    let (place, disk) = (run.place, run.disk);
    let claims = |from: &History| -> Vec<Claim> { from.claims.iter().map(|(_, c)| c.clone()).collect() };
    let released = |from: &History| -> Vec<Head> { from.released.iter().map(|(_, h)| *h).collect() };
    if let Some(e) = told
        && !matches!(e.code(), Code::StoreFull | Code::StoreIo | Code::StorePoisoned)
    {
        return Err("an error of another sort".into());
    }
    // Reopened on the running system, life goes on, and all of it is there.
    {
        let engine = run.open(SealPolicy::Bounded).map_err(|e| format!("reopening: {e}"))?;
        let agent = match engine.identities().list().map_err(|e| format!("listing: {e}"))?.into_iter().next() {
            Some(agent) => agent,
            None => engine.identities().create(IdentityType::Agent).map_err(|e| format!("creating: {e}"))?,
        };
        for i in 0..2 {
            run.remember(&agent.memories(), format!("after the failure {i}")).map_err(|e| format!("going on: {e}"))?;
        }
    }
    let (kept, heads) = {
        let told = history.lock().unwrap();
        (claims(&told), released(&told))
    };
    check(place, &kept, &heads).map_err(|e| format!("after reopening: {e}"))?;
    // What was acknowledged after the failure also survives losing power right
    // then, although the disk may have kept nothing of what it failed to sync.
    let (trace, history) = (disk.trace(), history.lock().unwrap());
    let acknowledged = history.claims.last().map_or(0, |(at, _)| *at);
    for (at, loss) in [(acknowledged, Loss::All), (acknowledged, Loss::Some(3)), (acknowledged, Loss::Nothing), (trace.points(), Loss::All)]
    {
        let mut platter = Platter::new(&trace);
        platter.advance(at);
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = Place::new(dir.path());
        platter.image(loss).materialise(dir.path(), "db").unwrap();
        let _disk = Disk::mount(&dir.path().join("db")).unwrap();
        let kept: Vec<Claim> = history.claims.iter().filter(|(p, _)| *p <= at).map(|(_, c)| c.clone()).collect();
        let heads: Vec<Head> = history.released.iter().filter(|(p, _)| *p <= at).map(|(_, h)| *h).collect();
        check(&elsewhere, &kept, &heads).map_err(|e| format!("after losing power at {at}, {loss:?}: {e}"))?;
    }
    Ok(())
}

/// Strikes every `stride`th point with each fault, on two threads; prints what
/// was told, and fails with everything that does not hold.
fn sweep(stride: usize) -> usize {
    let told: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let mut beyond = false;
                while !beyond {
                    let point = next.fetch_add(stride, Ordering::Relaxed);
                    beyond = true;
                    for fault in [Fault::Once, Fault::FullOnce] {
                        let Some(outcome) = day_with(point, fault) else { continue };
                        beyond = false;
                        match outcome {
                            Ok((code, struck)) => {
                                let what = struck.split(' ').next().unwrap_or_default();
                                let code = if code == Code::Bug { "nothing" } else { code.name() };
                                *told.lock().unwrap().entry(format!("{fault:?} at a {what}: {code}")).or_default() += 1;
                            }
                            Err(e) => wrong.lock().unwrap().push(e),
                        }
                    }
                }
            });
        }
    });
    let (told, wrong) = (told.into_inner().unwrap(), wrong.into_inner().unwrap());
    eprintln!("{told:#?}");
    assert!(wrong.is_empty(), "{} failures:\n{}", wrong.len(), wrong.join("\n"));
    told.values().sum()
}

#[test]
fn a_failure_anywhere_is_told_and_loses_nothing() {
    assert!(sweep(23) > 30);
}

#[test]
#[ignore = "takes minutes; `cargo xtask deep` runs it"]
fn a_failure_at_every_point_is_told_and_loses_nothing() {
    let stride = std::env::var("MIRRORDNA_FAULTS_STRIDE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    sweep(stride);
}
