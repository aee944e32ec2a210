//! Export and restore: the main job on real input, there and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Place, corpus};
use mirrordna::import::{Format, import};
use mirrordna::{Code, Content, Engine, IdentityType, Keys, NewMemory, VerifyReport, Witness};
use mirrordna_core::verify::hash::sha256;
use std::ops::Range;
use std::path::PathBuf;

fn records(engine: &Engine) -> String {
    let (memories, sessions) = (engine.memories().list(0, 10_000).unwrap(), engine.sessions().list(None).unwrap());
    let profiles: Vec<_> = engine.identities().list().unwrap().iter().map(|i| i.profile().unwrap()).collect();
    serde_json::to_string(&(memories, sessions, profiles)).unwrap()
}

#[test]
fn everything_real_comes_back_the_same() {
    let Some(corpus) = corpus() else { return };
    let place = Place::new();
    let engine = place.open();
    let sources = [corpus.join("upstream"), corpus.join("recall/locomo_dev/corpus.jsonl")];
    let report = import(&engine.main(), &sources, Format::Auto, &mut |_, _| {}).unwrap();
    assert!(report.kept > 6_000, "{report:#?}");
    engine.tenant("other").unwrap().identities().create(IdentityType::Agent).unwrap();
    let before = records(&engine);
    let mut export = Vec::new();
    engine.export(&mut export).unwrap();
    engine.close().unwrap();
    let own = place.verify();
    assert!(own.is_intact());

    let copy = place.dir.path().join("restored.db");
    let mut export = Vec::new();
    let moved = place.open().export(&mut export).unwrap();
    assert_eq!((moved.logs, moved.bytes), (2, export.len() as u64));
    place.at(&copy).restore(&mut export.as_slice()).unwrap();
    let restored = place.at(&copy).verify().unwrap();
    assert_eq!((restored.verdict, &restored.head, restored.events), ("intact", &own.head, own.events), "{restored:#?}");
    let engine = place.at(&copy).open().unwrap();
    assert_eq!(records(&engine), before);
    // It goes on as if nothing had happened.
    let agent = engine.identities().find("conv-26").unwrap();
    agent.memories().add("written after the restore").send().unwrap();
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_damaged_export_restores_nothing() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    (0..5).for_each(|i| drop(agent.memories().add(format!("memory {i}")).send().unwrap()));
    drop(agent);
    let mut export = Vec::new();
    engine.export(&mut export).unwrap();
    engine.close().unwrap();
    let copy = place.dir.path().join("restored.db");
    let try_restore = |bytes: &[u8]| {
        let e = place.at(&copy).restore(&mut &*bytes).unwrap_err();
        assert!(!copy.exists(), "{e}");
        e.code()
    };
    for at in (0..export.len()).step_by(97) {
        let mut altered = export.clone();
        altered[at] ^= 0x20;
        assert!(matches!(try_restore(&altered), Code::ExportInvalid | Code::Altered | Code::StoreIo), "byte {at}");
        assert_eq!(try_restore(&export[..at]), Code::ExportInvalid, "cut at {at}");
    }
    assert_eq!(try_restore(b"something else entirely"), Code::ExportInvalid);
    assert_eq!(place.builder().restore(&mut export.as_slice()).unwrap_err().code(), Code::StoreInUse);
}

#[test]
fn long_work_tells_how_far_it_is() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    for batch in 0..9 {
        let new = |n: usize| NewMemory { content: Content::Text(format!("memory {batch}.{n}")), ..NewMemory::default() };
        agent.memories().add_all((0..500).map(new).collect()).unwrap();
    }
    let (mut verified, mut exported) = (Vec::new(), Vec::new());
    engine.export_with(&mut std::io::sink(), &mut |done, of| exported.push((done, of))).unwrap();
    drop(agent);
    engine.close().unwrap();
    let report = place.builder().verify_with(&mut |done, of| verified.push((done, of))).unwrap();
    for told in [&verified, &exported] {
        assert!(told.is_sorted() && told.iter().any(|(done, _)| *done > 4_000), "{told:?}");
        assert!(told.iter().all(|(done, of)| done <= of && *of > 4_500 && *of <= report.events), "{told:?}");
    }
}

/// An export with two tenants, in a file, and the verification of its database.
fn an_export(place: &Place) -> (PathBuf, VerifyReport) {
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    (0..300).for_each(|i| drop(agent.memories().add(format!("memory {i}")).send().unwrap()));
    engine.tenant("other").unwrap().identities().create(IdentityType::Agent).unwrap();
    drop(agent);
    engine.close().unwrap();
    let file = place.dir.path().join("files/backup");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    place.builder().read_only().open().unwrap().export(&mut std::fs::File::create_new(&file).unwrap()).unwrap();
    (file, place.verify())
}

/// Where each frame stands, its length left out.
fn frames(export: &[u8]) -> Vec<Range<usize>> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < export.len() {
        let length = u32::from_be_bytes(export[at..at + 4].try_into().unwrap()) as usize;
        out.push(at + 4..at + 4 + length);
        at += 4 + length;
    }
    out
}

/// The export with one byte changed, and the digest at its end made to match.
fn altered_and_digested(export: &[u8], at: usize) -> Vec<u8> {
    let mut altered = export.to_vec();
    altered[at] ^= 1;
    let end = frames(export).last().unwrap().clone();
    let digest = sha256(&[&altered[..end.start - 4]]);
    altered[end.end - 32..].copy_from_slice(&digest);
    altered
}

#[test]
fn an_export_is_verified_where_it_lies() {
    let place = Place::new();
    let (file, own) = an_export(&place);
    assert_eq!((own.verdict, own.freshness.as_str()), ("intact", "current"));
    assert_eq!(place.at(&file).verify().unwrap(), own);
    // Who has neither keys nor witness is told that nothing vouches for it,
    // until the owner says which key does.
    let stranger = || {
        let keys = Keys::Folder(place.dir.path().join("no keys"));
        place.at(&file).keys(keys).witness(Witness::Off)
    };
    let report = stranger().verify().unwrap();
    assert_eq!((report.verdict, &report.head, report.problems.len()), ("unproven", &own.head, 0), "{report:#?}");
    assert_eq!((report.bodies.locked > 300, report.freshness.as_str()), (true, "unproven"), "{report:#?}");
    let engine = place.builder().read_only().open().unwrap();
    let main = stranger().trust(engine.fingerprint()).verify().unwrap();
    assert_eq!(main.verdict, "unproven", "the other tenant's log has another key: {main:#?}");
    // It goes on, and the export is what it was: behind, and intact.
    drop(engine);
    place.open().identities().create(IdentityType::User).unwrap();
    let report = place.at(&file).verify().unwrap();
    assert!(report.is_intact() && report.freshness.starts_with("behind "), "{report:#?}");
    // Nothing was left beside it.
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn no_altered_export_is_intact() {
    let place = Place::new();
    let (file, own) = an_export(&place);
    let good = std::fs::read(&file).unwrap();
    let verify = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        place.at(&file).verify()
    };
    // What does not begin as an export is none.
    const BEGIN: usize = 13;
    for at in (0..good.len()).step_by(997).chain(good.len() - 50..good.len()).chain(0..BEGIN) {
        let mut altered = good.clone();
        altered[at] ^= 0x20;
        match verify(&altered) {
            Err(e) => assert_eq!((at < BEGIN, e.code()), (true, Code::StoreNotDatabase), "byte {at}: {e}"),
            Ok(report) => {
                assert!(at >= BEGIN && report.verdict == "altered" && !report.ok, "byte {at}: {report:#?}");
                assert_eq!(report.problems[0].code, "export.invalid", "byte {at}");
            }
        }
        match verify(&good[..at]) {
            Err(e) => assert_eq!((at < BEGIN, e.code()), (true, Code::StoreNotDatabase), "cut at {at}: {e}"),
            Ok(report) => assert!(at >= BEGIN && report.verdict == "altered" && report.events <= own.events, "cut at {at}: {report:#?}"),
        }
    }
    assert_eq!(verify(&[&good[..], &[0]].concat()).unwrap().verdict, "altered");
    // The digest is no signature: whoever alters the file can make it match.
    for frame in frames(&good).iter().skip(1).rev().skip(1).step_by(7) {
        for at in [frame.start + frame.len() / 3, frame.end - 1] {
            let report = verify(&altered_and_digested(&good, at)).unwrap();
            assert_eq!(report.verdict, "altered", "byte {at}: {report:#?}");
        }
    }
    assert_eq!(verify(&good).unwrap(), own);
    assert_eq!(verify(b"something else entirely").unwrap_err().code(), Code::StoreNotDatabase);
}

#[test]
fn an_export_whose_keys_were_altered_is_not_restored_where_the_keyring_is() {
    let place = Place::new();
    let (file, _) = an_export(&place);
    let good = std::fs::read(&file).unwrap();
    let keyed = |frame: &[u8]| match frame[0] {
        // A subject; an event with a wrapped secret of 40 bytes.
        0x85 => Some("subject.altered"),
        0x87 if frame[frame.len() - 42..].starts_with(&[0x58, 40]) => Some("secret.altered"),
        _ => None,
    };
    let copy = place.dir.path().join("restored.db");
    let found = frames(&good).into_iter().filter_map(|f| Some((keyed(&good[f.clone()])?, f.end - 1)));
    let mut seen = std::collections::BTreeMap::<_, u32>::new();
    for (code, at) in found {
        let count = seen.entry(code).or_default();
        *count += 1;
        if *count > 3 {
            continue;
        }
        let altered = altered_and_digested(&good, at);
        let e = place.at(&copy).restore(&mut altered.as_slice()).unwrap_err();
        assert_eq!((e.code(), e.message().contains(code)), (Code::Altered, true), "{e}");
        let beside = std::fs::read_dir(place.dir.path()).unwrap().filter_map(|f| f.unwrap().file_name().into_string().ok());
        assert_eq!(beside.filter(|name| name.starts_with("restored")).count(), 0);
        std::fs::write(&file, &altered).unwrap();
        let report = place.at(&file).verify().unwrap();
        assert!(report.verdict == "altered" && report.problems.iter().any(|p| p.code == code), "{report:#?}");
    }
    assert!(seen["subject.altered"] > 1 && seen["secret.altered"] > 300, "{seen:?}");
    place.at(&copy).restore(&mut good.as_slice()).unwrap();
}
