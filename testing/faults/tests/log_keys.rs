//! Power fails at every point of a rotation of the log's key: the log goes on by
//! the key before or by the new one; once that was told, by the new one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Fixed, Place};
use mirrordna::{Engine, IdentityType};
use mirrordna_testing_faults::{Disk, Loss, Platter};

fn open(place: &Place, seed: u64) -> Engine {
    place.builder().clock(Fixed::new(seed)).entropy(Fixed::new(seed << 32)).open().unwrap()
}

fn say(engine: &Engine, text: &str) -> mirrordna::Result<()> {
    engine.identities().list()?.remove(0).memories().add(text).send().map(drop)
}

/// What must hold of an image; returns whether the new key is in force.
fn check(place: &Place, old: &str, new: &str) -> Result<bool, String> {
    let builder = || place.builder().clock(Fixed::new(1 << 35)).entropy(Fixed::new(1 << 55));
    let engine = builder().open().map_err(|e| format!("opening: {e}"))?;
    let keys = engine.main().log_keys().map_err(|e| e.to_string())?;
    let rotated = match keys.iter().map(|key| key.fingerprint.as_str()).collect::<Vec<_>>()[..] {
        [one] if one == old => false,
        [one, two] if one == old && two == new => true,
        ref other => return Err(format!("{other:?}")),
    };
    say(&engine, "life goes on").map_err(|e| format!("going on: {e}"))?;
    let newest = engine.main().checkpoint().map_err(|e| format!("signing: {e}"))?;
    let signed: u64 = newest.lines().nth(1).unwrap().parse().unwrap();
    if signed < keys.last().unwrap().since {
        return Err(format!("nothing was signed: {newest}"));
    }
    // That nothing is left of the old key is seen by rotating on.
    engine.main().rotate_log_key().map_err(|e| format!("rotating: {e}"))?;
    let keyring = std::fs::read_to_string(engine.keyring_path().unwrap()).unwrap();
    let slots = keyring.lines().filter(|line| line.starts_with("{\"role\":\"log\"")).count();
    engine.close().map_err(|e| format!("closing: {e}"))?;
    let report = builder().verify().map_err(|e| e.to_string())?;
    if !report.is_intact() || report.freshness != "current" {
        return Err(format!("{report:#?}"));
    }
    // One of a rotation that came to nothing may lie there besides.
    if slots > 2 { Err(format!("{slots} slots")) } else { Ok(rotated) }
}

#[test]
fn power_lost_in_a_rotation_leaves_one_key_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let disk = place.mount();
    let engine = open(&place, 1);
    engine.identities().create(IdentityType::Agent).unwrap();
    say(&engine, "first").unwrap();
    let old = engine.fingerprint().to_string();
    engine.main().checkpoint().unwrap();
    let begun = disk.points();
    let new = engine.main().rotate_log_key().unwrap().key.fingerprint;
    let told = disk.points();
    say(&engine, "after the rotation").unwrap();
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
            match check(&lost, &old, &new) {
                Ok(rotated) if rotated || point < told => outcomes[usize::from(rotated)] += 1,
                wrong => panic!("point {point} of {begun} to {told} ({}), {loss:?}: {wrong:?}", trace.describe(point)),
            }
        }
    }
    eprintln!("{} images of {} points: {outcomes:?} by the old key and by the new one", seen.len(), trace.points() - begun);
    assert!(outcomes.iter().all(|n| *n > 2), "{outcomes:?}");
}
