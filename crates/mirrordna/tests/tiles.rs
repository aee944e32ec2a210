//! A log as a folder of static files: what is written, what is noticed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::{Place, corpus};
use mirrordna::tiles::{self, Policy, TilesReport};
use mirrordna::{Code, Engine, IdentityType, NewMemory, SealPolicy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn remember(engine: &Engine, count: usize) {
    let agent = match engine.identities().list().unwrap().pop() {
        Some(agent) => agent,
        None => engine.identities().create(IdentityType::Agent).unwrap(),
    };
    let new = |i: usize| NewMemory { content: mirrordna::Content::Text(format!("memory {i}")), ..NewMemory::default() };
    for batch in (0..count).collect::<Vec<_>>().chunks(1000) {
        agent.memories().add_all(batch.iter().map(|i| new(*i)).collect()).unwrap();
    }
}

fn policy(engine: &Engine) -> Policy {
    Policy::parse(&format!("log {}\n", engine.main().verifier_key())).unwrap()
}

/// Every file below a folder, by its path.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if !entry.file_name().unwrap().to_str().unwrap().starts_with('.') {
                found.insert(entry.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&entry).unwrap());
            }
        }
    }
    found
}

fn codes(report: &TilesReport) -> Vec<&str> {
    report.problems.iter().map(|p| p.code.as_str()).collect()
}

#[test]
fn a_log_is_exported_whole_and_then_only_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/tiles");
    // Each event is signed at once: the service thread adds no seal between two exports.
    let engine = Engine::builder("memory:").seals(SealPolicy::EveryEvent).open().unwrap();
    let policy = policy(&engine);
    let mut known = BTreeMap::new();
    let mut size = 0;
    for count in [0, 3, 100, 240, 600, 2000] {
        remember(&engine, count);
        let exported = engine.export_tiles(&folder).unwrap();
        assert!(exported.size > size);
        let now = files(&folder);
        let changed = now.iter().filter(|(path, bytes)| known.get(*path) != Some(*bytes)).count() as u64;
        assert_eq!(exported.files, changed, "nothing is written twice");
        let had = std::mem::replace(&mut size, exported.size) / 256;
        let (full, width) = (size / 256, size % 256);
        assert!(now.contains_key(Path::new(&format!("tile/0/{full:03}.p/{width}"))));
        assert!(now.contains_key(Path::new(&format!("tile/entries/{full:03}.p/{width}"))));
        let partials = |tiles: &str| now.keys().filter(|p| p.starts_with(tiles) && p.to_str().unwrap().contains(".p/")).count();
        if full > had {
            assert_eq!((partials("tile/0"), partials("tile/entries")), (1, 1), "those of full tiles are removed");
        }
        let report = tiles::verify(&folder, &policy).unwrap();
        assert_eq!((report.verdict, report.size, report.entries, report.problems.len()), ("intact", size, size, 0), "{report:#?}");
        assert_eq!(report.origin, exported.origin);
        let again = engine.export_tiles(&folder).unwrap();
        assert_eq!((again.size, again.files, again.bytes), (size, 0, 0));
        known = now;
    }
    assert!(known.contains_key(Path::new("tile/1/000.p/11")), "{:?}", known.keys());
    assert_eq!(tiles::verify(&folder, &Policy::default()).unwrap().verdict, "unproven");
}

#[test]
fn a_killed_export_is_taken_up_and_never_seen_half() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiles");
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, 300);
    engine.export_tiles(&folder).unwrap();
    let before = files(&folder);
    remember(&engine, 300);
    engine.export_tiles(&folder).unwrap();
    let after = files(&folder);
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    // Whoever was killed had written some of the new files, and half of one
    // beside them; the checkpoint is the old one, which still holds.
    for written in 0..=new.len() {
        let other = dir.path().join(format!("killed {written}"));
        let all = before.iter().chain(new[..written].iter().map(|path| (*path, &after[*path])));
        for (path, bytes) in all {
            std::fs::create_dir_all(other.join(path).parent().unwrap()).unwrap();
            std::fs::write(other.join(path), bytes).unwrap();
        }
        std::fs::write(other.join(".writing"), b"half").unwrap();
        assert_eq!(tiles::verify(&other, &policy(&engine)).unwrap().verdict, "intact");
        engine.export_tiles(&other).unwrap();
        assert_eq!(files(&other), after);
        assert!(!other.join(".writing").exists());
    }
}

#[test]
fn every_changed_byte_and_missing_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiles");
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, 255);
    let size = engine.export_tiles(&folder).unwrap().size;
    assert!(size > 256);
    let policy = policy(&engine);
    let original = files(&folder);
    assert_eq!(original.len(), 6, "checkpoint, two tiles and bundles of level 0, one tile of level 1");
    for (path, bytes) in &original {
        let place = folder.join(path);
        // Every byte of what is short; of the rest, in steps that hit each part.
        let step = bytes.len() / 400 + 1;
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&place, &flipped).unwrap();
            let report = tiles::verify(&folder, &policy).unwrap();
            // A line of an unknown key or another log is nobody's word.
            let expected = if path == Path::new("checkpoint") { &["altered", "unproven"][..] } else { &["altered"] };
            assert!(expected.contains(&report.verdict), "{} byte {at}: {report:#?}", path.display());
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&place, &bytes[..length]).unwrap();
            assert_eq!(tiles::verify(&folder, &policy).unwrap().verdict, "altered", "{} cut to {length}", path.display());
        }
        std::fs::write(&place, [&bytes[..], &[0]].concat()).unwrap();
        assert_ne!(tiles::verify(&folder, &policy).unwrap().verdict, "intact", "{} and a byte", path.display());
        std::fs::remove_file(&place).unwrap();
        match tiles::verify(&folder, &policy) {
            Ok(report) => assert_eq!(report.verdict, "altered", "without {}", path.display()),
            Err(e) => assert_eq!((e.code(), path.as_path()), (Code::StoreNotFound, Path::new("checkpoint"))),
        }
        std::fs::write(&place, bytes).unwrap();
    }
    assert_eq!(tiles::verify(&folder, &policy).unwrap().verdict, "intact");
}

#[test]
fn a_full_tile_may_stand_in_for_a_partial_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiles");
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, 100);
    engine.export_tiles(&folder).unwrap();
    let early = std::fs::read(folder.join("checkpoint")).unwrap();
    remember(&engine, 300);
    engine.export_tiles(&folder).unwrap();
    std::fs::write(folder.join("checkpoint"), early).unwrap();
    let report = tiles::verify(&folder, &policy(&engine)).unwrap();
    assert_eq!((report.verdict, report.problems.len()), ("intact", 0), "{report:#?}");
}

#[test]
fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiles");
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, 600);
    engine.export_tiles(&folder).unwrap();
    let policy = policy(&engine);
    let original = files(&folder);
    let judged = |path: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = original[Path::new(path)].clone();
        change(&mut bytes);
        std::fs::write(folder.join(path), bytes).unwrap();
        let report = tiles::verify(&folder, &policy).unwrap();
        std::fs::write(folder.join(path), &original[Path::new(path)]).unwrap();
        codes(&report).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(judged("tile/entries/000", &|b| b[40] ^= 1), ["entries.altered"]);
    assert_eq!(judged("tile/entries/000", &|b| b[0] = 0xff), ["entries.altered"]);
    assert_eq!(judged("tile/0/001", &|b| b[40] ^= 1), ["entries.altered", "tile.altered", "log.forked"]);
    assert_eq!(judged("tile/1/000.p/2", &|b| b[40] ^= 1), ["tile.altered"], "the root is of what stands below");
    // The root and the signature of the checkpoint.
    assert_eq!(judged("checkpoint", &|b| b.reverse()), ["checkpoint.invalid"]);
    let root = String::from_utf8(original[Path::new("checkpoint")].clone()).unwrap().find("\n6").unwrap() + 10;
    assert_eq!(judged("checkpoint", &|b| b[root] = if b[root] == b'A' { b'B' } else { b'A' }), ["checkpoint.invalid", "log.forked"]);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiles");
    let (one, two) = (Engine::open("memory:").unwrap(), Engine::open("memory:").unwrap());
    one.export_tiles(&folder).unwrap();
    let before = files(&folder);
    let error = two.export_tiles(&folder).unwrap_err();
    assert_eq!(error.code(), Code::InputInvalid);
    assert!(error.message().contains("another log"), "{error}");
    std::fs::write(folder.join("checkpoint"), "anything").unwrap();
    assert_eq!(one.export_tiles(&folder).unwrap_err().code(), Code::InputInvalid);
    std::fs::write(folder.join("checkpoint"), &before[Path::new("checkpoint")]).unwrap();
    assert_eq!(files(&folder), before);
    assert_eq!(tiles::verify(dir.path(), &Policy::default()).unwrap_err().code(), Code::StoreNotFound);
}

#[test]
fn an_older_or_other_state_does_not_replace_what_was_published() {
    let place = Place::new();
    let folder = place.dir.path().join("tiles");
    let early = place.dir.path().join("early.db");
    let write = |count| {
        let engine = place.builder().witness(mirrordna::Witness::Off).open().unwrap();
        remember(&engine, count);
        engine.close().unwrap();
    };
    write(1);
    std::fs::copy(place.path(), &early).unwrap();
    write(5);
    let open = || place.builder().witness(mirrordna::Witness::Off).read_only().open().unwrap();
    open().export_tiles(&folder).unwrap();
    let before = files(&folder);
    std::fs::copy(&early, place.path()).unwrap();
    assert_eq!(open().export_tiles(&folder).unwrap_err().code(), Code::RolledBack);
    write(20);
    assert_eq!(open().export_tiles(&folder).unwrap_err().code(), Code::Forked);
    assert_eq!(files(&folder), before);
}

#[test]
fn real_tiles_of_another_log_are_read() {
    let Some(corpus) = corpus() else { return };
    let data = corpus.join("vectors/tlog-tiles-sunlight/cmd/skylight/testdata");
    let mirror = data.join("witness/mirror/000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706");
    let config = std::fs::read_to_string(data.join("witness/mirror/mirror.v0.json")).unwrap();
    let key = config.split('"').find(|word| word.starts_with("mirror.example.org+")).unwrap();
    let policy = Policy::parse(&format!("witness mirror {key}\nquorum mirror\n")).unwrap();
    let report = tiles::verify(mirror, &policy).unwrap();
    assert_eq!((report.size, report.quorum, report.cosigned.len(), report.signed), (300, true, 1, false));
    // Hashes of 300 leaves in three tiles lead to the root; the entries that
    // lie beside them are placeholders.
    assert_eq!(codes(&report), ["entries.altered", "entries.altered"], "{report:#?}");

    // A log of static-ct: its tiles are placeholders, and found to be.
    let report = tiles::verify(data.join("tree"), &Policy::default()).unwrap();
    assert_eq!((report.verdict, report.entries), ("altered", 0));
    assert!(codes(&report).contains(&"tile.altered"));
}

#[test]
#[cfg(unix)]
fn links_and_pipes_in_a_folder_are_refused_and_nothing_outside_is_read() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    remember(&engine, 700);
    let folder = dir.path().join("tiles");
    engine.export_tiles(&folder).unwrap();
    let policy = policy(&engine);
    let refused = |folder: &Path, what: &str| {
        let e = tiles::verify(folder, &policy).unwrap_err();
        assert_eq!(e.code(), Code::InputInvalid, "{what}: {e}");
        assert!(e.message().ends_with("is a symbolic link: it is not followed"), "{what}: {e}");
    };
    let copied = |name: &str| {
        let copy = dir.path().join(name);
        for (path, bytes) in files(&folder) {
            std::fs::create_dir_all(copy.join(&path).parent().unwrap()).unwrap();
            std::fs::write(copy.join(&path), bytes).unwrap();
        }
        copy
    };
    // Every file, and every folder on the way, in turn: what it leads to is the
    // right one each time.
    for (n, name) in ["checkpoint", "tile", "tile/0", "tile/0/001", "tile/entries", "tile/entries/000"].into_iter().enumerate() {
        let copy = copied(&format!("linked {n}"));
        let (here, there) = (copy.join(name), dir.path().join(format!("outside {n}")));
        std::fs::rename(&here, &there).unwrap();
        symlink(&there, &here).unwrap();
        refused(&copy, name);
    }
    // A checkpoint over more leaves than anybody has, and links that make the
    // tiles of all of them one: a walk without an end.
    let copy = copied("endless");
    let text = std::fs::read_to_string(copy.join("checkpoint")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = "9223372036854775807";
    std::fs::write(copy.join("checkpoint"), lines.join("\n") + "\n").unwrap();
    for tiles in ["tile/0", "tile/entries"] {
        let tiles = copy.join(tiles);
        for n in 1..1000 {
            let tile = tiles.join(format!("{n:03}"));
            if !tile.exists() {
                std::fs::hard_link(tiles.join("000"), tile).unwrap();
            }
        }
        for n in 0..10 {
            symlink(&tiles, tiles.join(format!("x{n:03}"))).unwrap();
        }
    }
    refused(&copy, "a loop");
    // A folder that itself is reached by a link is the one that was named.
    symlink(&folder, dir.path().join("named")).unwrap();
    assert_eq!(tiles::verify(dir.path().join("named"), &policy).unwrap().verdict, "intact");
}

#[test]
fn after_many_findings_nothing_more_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    let folder = dir.path().join("tiles");
    remember(&engine, 3);
    engine.export_tiles(&folder).unwrap();
    // As if it had a million leaves, and all its tiles but none of their entries.
    let text = std::fs::read_to_string(folder.join("checkpoint")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = "1000000";
    std::fs::write(folder.join("checkpoint"), lines.join("\n") + "\n").unwrap();
    std::fs::write(folder.join("tile/0/000"), [7; 8192]).unwrap();
    for n in 1..1000 {
        std::fs::hard_link(folder.join("tile/0/000"), folder.join(format!("tile/0/{n:03}"))).unwrap();
    }
    let report = tiles::verify(&folder, &policy(&engine)).unwrap();
    assert_eq!((report.verdict, report.problems.len(), report.stopped), ("altered", 256, true));
    assert!(report.unlisted < 4, "{}", report.unlisted);
}
