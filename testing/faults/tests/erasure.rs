//! Power fails at every point of an erasure: it is done, with the events that
//! say so, or not begun; once it was answered, nothing of it comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Fixed, Place};
use mirrordna::{Code, Engine, ErasureState, IdentityType, NewMemory};
use mirrordna_testing_faults::{Disk, Loss, Platter};

fn open(place: &Place, seed: u64) -> Engine {
    place.builder().clock(Fixed::new(seed)).entropy(Fixed::new(seed << 32)).open().unwrap()
}

const EVENTS: usize = 1_030;

fn about(who: &str, i: usize) -> NewMemory {
    NewMemory { content: mirrordna::Content::Text(format!("{who} {i}")), subject: Some(who.to_owned()), ..NewMemory::default() }
}

/// Somebody with more events than one erase event names, and somebody else.
fn fill(engine: &Engine) -> (String, String) {
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let sam: Vec<NewMemory> = (0..EVENTS).map(|i| about("Sam", i)).collect();
    let mut first = None;
    for some in sam.chunks(mirrordna::limits::BATCH_EVENTS) {
        first = first.or(agent.memories().add_all(some.to_vec()).unwrap().into_iter().next());
    }
    let ann = agent.memories().add("Ann stays").subject("Ann").send().unwrap().id;
    (first.unwrap().id, ann)
}

/// What must hold of an image; returns whether the erasure is done in it.
fn check(place: &Place, sam: &str, ann: &str) -> Result<bool, String> {
    let engine = place.builder().clock(Fixed::new(1 << 40)).open().map_err(|e| format!("opening: {e}"))?;
    let done = match engine.memories().get(sam) {
        Ok(memory) if memory.content == "Sam 0" => false,
        Err(e) if e.code() == Code::Erased => true,
        other => return Err(format!("{other:?}")),
    };
    let report = engine.verify().map_err(|e| e.to_string())?;
    let (erased, count) = if done { (EVENTS, 1) } else { (0, EVENTS + 1) };
    let counted = engine.memories().count().map_err(|e| e.to_string())?;
    if !report.is_intact() || report.bodies.erased != erased as u64 || counted != count as u64 {
        return Err(format!("{done} {counted} {report:#?}"));
    }
    if engine.memories().get(ann).map_err(|e| e.to_string())?.content != "Ann stays" {
        return Err("Ann does not stay".to_owned());
    }
    // It can be asked for, once more or at last.
    let again = engine.erase().subject("Sam").run().map_err(|e| format!("erasing: {e}"))?;
    let expected = if done { (0, EVENTS as u64) } else { (EVENTS as u64, 0) };
    if (again.events, again.already) != expected {
        return Err(format!("{again:?}"));
    }
    // A key that was destroyed is not used for what comes next.
    let agent = engine.identities().list().unwrap().remove(0);
    let new = agent.memories().add("Sam is back").subject("Sam").send().map_err(|e| format!("going on: {e}"))?;
    if engine.memories().get(&new.id).map_err(|e| e.to_string())?.content != "Sam is back" {
        return Err("what is new cannot be read".to_owned());
    }
    drop(agent);
    // Who was stopped before it could say that nothing is left says it now.
    engine.export(&mut std::io::sink()).map_err(|e| e.to_string())?;
    let kinds: Vec<String> = engine.timeline().list(0, 10_000).unwrap().into_iter().map(|e| e.kind).collect();
    let of = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    if of("erase") != 2 || of("erase.done") == 0 {
        return Err(format!("{} and {}", of("erase"), of("erase.done")));
    }
    engine.close().map_err(|e| format!("closing: {e}"))?;
    let report = place.builder().verify().map_err(|e| e.to_string())?;
    if !report.is_intact() || report.bodies.erased != EVENTS as u64 {
        return Err(format!("{report:#?}"));
    }
    Ok(done)
}

#[test]
fn power_lost_in_an_erasure_leaves_it_done_or_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let engine = open(&place, 1);
    let (sam, ann) = fill(&engine);
    let begun = disk.points();
    let done = engine.erase().subject("Sam").run().unwrap();
    let told = disk.points();
    assert_eq!((done.events, done.state, done.erase_events.len()), (EVENTS as u64, Some(ErasureState::Done), 2));
    engine.close().unwrap();
    let trace = disk.trace();
    let mut platter = Platter::new(&trace);
    let (mut seen, mut outcomes) = (std::collections::HashSet::new(), [0, 0]);
    // Every point would take minutes; where the commit, the purge and the end
    // are, nothing is left out.
    let stride = (trace.points() - begun).div_ceil(40).max(1);
    for point in begun..trace.points() {
        platter.advance(point);
        let near = [told, trace.points()].iter().any(|at| point.abs_diff(*at) < 8);
        if !near && point % stride != 0 {
            continue;
        }
        for loss in [Loss::All, Loss::Nothing, Loss::Some(1)] {
            let image = platter.image(loss);
            if !seen.insert((image.digest(), point >= told)) {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let lost = Place::new(dir.path());
            image.materialise(dir.path(), "db").unwrap();
            let _disk = Disk::mount(&dir.path().join("db")).unwrap();
            match check(&lost, &sam, &ann) {
                Ok(done) if done || point < told => outcomes[usize::from(done)] += 1,
                wrong => panic!("point {point} of {begun} to {told} ({}), {loss:?}: {wrong:?}", trace.describe(point)),
            }
        }
    }
    eprintln!("{} images of {} points: {outcomes:?} not erased and erased", seen.len(), trace.points() - begun);
    assert!(outcomes.iter().all(|n| *n > 5), "{outcomes:?}");
}
