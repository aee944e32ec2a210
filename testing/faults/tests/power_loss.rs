//! Power fails at every write of a day's work: what was acknowledged is there,
//! verifies, and goes on, and no two signed heads of one size ever differ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Claim, Head, History, Place, Run, check, witnessed};
use mirrordna::Code;
use mirrordna_testing_faults::{Disk, Fault, Image, Loss, Platter, Trace};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn record(scale: usize) -> (Trace, History) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let history = Mutex::new(History { look: true, ..History::default() });
    Run::new(&place, &disk, &history).day(scale).unwrap();
    (disk.trace(), history.into_inner().unwrap())
}

/// One image to check, and where it comes from.
struct Case {
    point: usize,
    loss: Loss,
    image: Image,
}

impl Case {
    fn check(&self, trace: &Trace, history: &History) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        self.image.materialise(dir.path(), "db").unwrap();
        let _disk = Disk::mount(&dir.path().join("db")).unwrap();
        let claims: Vec<Claim> = history.claims.iter().filter(|(at, _)| *at <= self.point).map(|(_, c)| c.clone()).collect();
        let mut released: Vec<Head> = history.released.iter().filter(|(at, _)| *at <= self.point).map(|(_, h)| *h).collect();
        released.extend(witnessed(&self.image));
        if let Err(e) = check(&place, &claims, &released) {
            let kept = dir.keep();
            panic!(
                "point {} of {} ({}), {:?}: {e}\nkept in {}",
                self.point,
                trace.points(),
                trace.describe(self.point),
                self.loss,
                kept.display()
            );
        }
    }
}

/// Checks the images of every `stride`th point, from a point that changes with
/// the seed, on two threads.
fn sweep(trace: &Trace, history: &History, stride: usize, seeds: u64) -> usize {
    let losses: Vec<Loss> = [Loss::All, Loss::Nothing].into_iter().chain((0..seeds).map(Loss::Some)).collect();
    let next = Mutex::new((Platter::new(trace), 0usize, HashSet::new()));
    let checked = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let cases: Vec<Case> = {
                        let mut next = next.lock().unwrap();
                        let (platter, point, seen) = &mut *next;
                        if *point >= trace.points() {
                            return;
                        }
                        let at = *point;
                        *point += 1;
                        platter.advance(at);
                        let due = losses.iter().enumerate().filter(|(i, _)| (at + i * 7) % stride == 0);
                        let images = due.map(|(_, loss)| Case { point: at, loss: *loss, image: platter.image(*loss) });
                        // The same files at a later point must keep more.
                        let claims = history.claims.iter().filter(|(p, _)| *p <= at).count();
                        images.filter(|case| seen.insert((case.image.digest(), claims))).collect()
                    };
                    for case in cases {
                        case.check(trace, history);
                        checked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    checked.into_inner()
}

#[test]
fn power_lost_at_points_all_over_a_day_costs_nothing() {
    let (trace, history) = record(4);
    eprintln!("{} points: {}; {} promises", trace.points(), trace.summary(), history.claims.len());
    let checked = sweep(&trace, &history, 17, 4);
    eprintln!("{checked} images checked");
    assert!(checked > 300, "only {checked} images");
}

#[test]
fn an_engine_whose_disk_is_gone_says_so_and_has_lost_nothing() {
    let mut struck = 0;
    for point in (5..).step_by(61) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        let disk = place.mount();
        disk.strike(point, Fault::PowerLoss);
        let history = Mutex::new(History { look: true, ..History::default() });
        let told = Run::new(&place, &disk, &history).day(1);
        if disk.struck().is_none() {
            told.unwrap();
            break;
        }
        struck += 1;
        if let Err(e) = told {
            assert!(matches!(e.code(), Code::StoreIo | Code::StorePoisoned), "{point}: {e}");
        }
        let (trace, history) = (disk.trace(), history.into_inner().unwrap());
        let mut platter = Platter::new(&trace);
        let last = trace.points() - 2;
        platter.advance(last);
        for loss in [Loss::All, Loss::Nothing, Loss::Some(1)] {
            Case { point: last, loss, image: platter.image(loss) }.check(&trace, &history);
        }
    }
    assert!(struck > 4, "only {struck} points");
}

#[test]
#[ignore = "takes minutes; `cargo xtask deep` runs it"]
fn power_lost_at_every_point_of_a_day_costs_nothing() {
    let (trace, history) = record(4);
    eprintln!("{} points: {}; {} promises", trace.points(), trace.summary(), history.claims.len());
    eprintln!("{} images checked", sweep(&trace, &history, 1, 8));
}
