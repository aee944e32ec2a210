//! Export and restore: the main job on real input, there and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Place, corpus};
use mirrordna::import::{Format, import};
use mirrordna::{Code, Content, Engine, IdentityType, NewMemory};

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
