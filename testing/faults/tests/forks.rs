//! Power fails at every point of a fork: the database is as it was, and can
//! still be forked, or it is forked; once that was told, it stays so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Fixed, Place};
use mirrordna::{Code, Engine, IdentityType};
use mirrordna_testing_faults::{Disk, Loss, Platter};
use std::path::Path;

fn agent(engine: &Engine) -> mirrordna::Identity {
    engine.identities().list().unwrap().remove(0)
}

fn open(place: &Place, seed: u64) -> Engine {
    place.builder().clock(Fixed::new(seed)).entropy(Fixed::new(seed << 32)).open().unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Two logs, of both of which this machine has seen more.
fn rolled_back(place: &Place) -> u64 {
    let engine = open(place, 1);
    for tenant in ["default", "acme"] {
        let tenant = engine.tenant(tenant).unwrap();
        tenant.identities().create(IdentityType::Agent).unwrap().memories().add("kept").send().unwrap();
    }
    engine.close().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = Place::new(dir.path());
    for folder in ["db", "keys", "state"] {
        copy(&place.root.join(folder), &elsewhere.root.join(folder));
    }
    let engine = open(&elsewhere, 2_000_000);
    for tenant in ["default", "acme"] {
        let tenant = engine.tenant(tenant).unwrap();
        tenant.identities().list().unwrap().remove(0).memories().add("lost").send().unwrap();
    }
    engine.close().unwrap();
    copy(&elsewhere.root.join("state"), &place.root.join("state"));
    place.builder().verify().unwrap().events
}

/// What must hold of an image; returns whether it was forked.
fn check(place: &Place, events: u64) -> Result<bool, String> {
    let forked = match place.builder().open() {
        Ok(_) => true,
        Err(e) if e.code() == Code::RolledBack => {
            let report = place.builder().verify().map_err(|e| e.to_string())?;
            if report.events != events || report.closed != 0 || report.problems.iter().any(|p| p.code != "log.rolled_back") {
                return Err(format!("{report:#?}"));
            }
            let forks = place.builder().fork(events, "power was lost").map_err(|e| format!("forking: {e}"))?;
            assert_eq!(forks.len(), 2);
            false
        }
        Err(e) => return Err(format!("opening: {e}")),
    };
    let engine = place.builder().open().map_err(|e| format!("opening: {e}"))?;
    for tenant in ["default", "acme"] {
        let tenant = engine.tenant(tenant).map_err(|e| e.to_string())?;
        let texts: Vec<String> = tenant.memories().list(0, 9).unwrap().into_iter().map(|m| m.content).collect();
        if texts[0] != "kept" {
            return Err(format!("{texts:?}"));
        }
        tenant.identities().list().unwrap().remove(0).memories().add("life goes on").send().map_err(|e| format!("going on: {e}"))?;
    }
    engine.close().map_err(|e| format!("closing: {e}"))?;
    let report = place.builder().verify().map_err(|e| e.to_string())?;
    if !report.is_intact() || report.closed != 2 || report.freshness != "current" {
        return Err(format!("{report:#?}"));
    }
    Ok(forked)
}

#[test]
fn power_lost_in_a_fork_leaves_it_done_or_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let events = rolled_back(&place);
    let begun = disk.points();
    let builder = place.builder().clock(Fixed::new(1 << 33)).entropy(Fixed::new(1 << 50));
    builder.fork(events, "the disk was lost").unwrap();
    let told = disk.points();
    let engine = open(&place, 1 << 34);
    agent(&engine).memories().add("after the fork").send().unwrap();
    engine.close().unwrap();
    let trace = disk.trace();
    let mut platter = Platter::new(&trace);
    let (mut seen, mut outcomes) = (std::collections::HashSet::new(), [0, 0]);
    for point in begun..trace.points() {
        platter.advance(point);
        for loss in [Loss::All, Loss::Nothing, Loss::Some(1), Loss::Some(2)] {
            let image = platter.image(loss);
            if !seen.insert((image.digest(), point >= told)) {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let lost = Place::new(dir.path());
            image.materialise(dir.path(), "db").unwrap();
            let _disk = Disk::mount(&dir.path().join("db")).unwrap();
            match check(&lost, events) {
                Ok(forked) if forked || point < told => outcomes[usize::from(forked)] += 1,
                wrong => panic!("point {point} of {begun} to {told} ({}), {loss:?}: {wrong:?}", trace.describe(point)),
            }
        }
    }
    eprintln!("{} images of {} points: {outcomes:?} not forked and forked", seen.len(), trace.points() - begun);
    assert!(outcomes.iter().all(|n| *n > 5), "{outcomes:?}");
}
