//! A write-ahead log that nobody folds back until a commit does it itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::Code;
use mirrordna_storage::Store;
use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};
use mirrordna_testing_faults::{Disk, Fault, install};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIB: usize = 1 << 20;
/// Length of the write-ahead log at which a commit folds it.
const LIMIT: u64 = 64 * MIB as u64;

fn mounted(root: &Path) -> (Arc<Disk>, PathBuf) {
    install();
    (Disk::mount(root).unwrap(), root.join("x.db"))
}

fn create(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Mode::Create, Durability::Full).unwrap()
}

fn put(store: &SqliteStore, index: u64, size: usize) -> mirrordna_core::Result<()> {
    store.write(&mut |tx| tx.put_event(1, index, &index.to_be_bytes(), Some(&vec![index as u8; size]), None))
}

fn wal(path: &Path) -> u64 {
    std::fs::metadata(path.with_extension("db-wal")).unwrap().len()
}

/// Commits until the log is just short of the limit; the next 4 MiB fold it.
fn fill(store: &SqliteStore, path: &Path) -> u64 {
    let mut next = 0;
    while wal(path) + 5 * (MIB as u64) < LIMIT {
        put(store, next, 4 * MIB).unwrap();
        next += 1;
    }
    while wal(path) + 2 * (MIB as u64) < LIMIT {
        put(store, next, MIB).unwrap();
        next += 1;
    }
    next
}

/// Syncs of `commits` small commits.
fn syncs_of(disk: &Disk, store: &SqliteStore, from: u64, commits: u64) -> usize {
    let before = disk.syncs();
    (from..from + commits).for_each(|i| put(store, i, 100).unwrap());
    disk.syncs() - before
}

#[test]
fn a_log_that_was_long_once_costs_later_commits_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, path) = mounted(dir.path());
    let store = create(&path);
    let next = fill(&store, &path);
    let before = disk.syncs();
    put(&store, next, 4 * MIB).unwrap();
    assert!(disk.syncs() - before >= 3, "the commit beyond the limit folds the log");
    // One sync each, and one for the log's new header.
    let syncs = syncs_of(&disk, &store, 1_000, 50);
    assert!((50..=52).contains(&syncs), "{syncs} syncs for 50 commits");
    assert!(wal(&path) <= LIMIT / 2, "the log stays {} bytes long", wal(&path));
    // It grows and is folded again.
    let again = 2_000 + next;
    let before = disk.syncs();
    (2_000..=again).for_each(|i| put(&store, i, 4 * MIB).unwrap());
    assert!(disk.syncs() - before > (again - 2_000) as usize + 2 && wal(&path) < LIMIT + 9 * MIB as u64);
}

#[test]
fn readers_that_keep_the_log_from_starting_anew_cost_a_fold_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, path) = mounted(dir.path());
    let store = create(&path);
    let next = fill(&store, &path);
    // At every moment one of them reads, of a state that is soon an old one:
    // what came before it can be folded, but the log cannot start anew.
    let readers = [Connection::open(&path).unwrap(), Connection::open(&path).unwrap()];
    let begin = |reader: &Connection| reader.execute_batch("BEGIN; SELECT count(*) FROM event").unwrap();
    begin(&readers[1]);
    put(&store, next, 4 * MIB).unwrap();
    let mut syncs = 0;
    for i in 0..50 {
        let (one, other) = (&readers[i % 2], &readers[(i + 1) % 2]);
        begin(one);
        other.execute_batch("COMMIT").unwrap();
        syncs += syncs_of(&disk, &store, 1_000 + i as u64, 1);
    }
    assert!(wal(&path) > LIMIT, "the log started anew");
    assert!(syncs <= 52, "{syncs} syncs for 50 commits");
}

#[test]
fn a_fold_that_fails_after_a_commit_does_not_take_the_commit_back() {
    // What the folding commit does, one operation after the other.
    let (from, committed, to) = {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = mounted(dir.path());
        let store = create(&path);
        let next = fill(&store, &path);
        let (from, syncs) = (disk.points(), disk.syncs());
        put(&store, next, 4 * MIB).unwrap();
        assert!(disk.syncs() - syncs >= 3);
        let trace = disk.trace();
        let committed = (from..trace.points()).find(|p| trace.describe(*p).starts_with("Sync")).unwrap() + 1;
        (from, committed, disk.points())
    };
    assert!(from < committed && committed + 2 < to);
    // The fold's first sync, its first and some later write, its last sync.
    for (at, fault) in [
        (committed, Fault::Once),
        (committed + 1, Fault::Once),
        (committed + 1, Fault::FullOnce),
        ((committed + to) / 2, Fault::Once),
        (to - 1, Fault::Once),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = mounted(dir.path());
        let store = create(&path);
        let next = fill(&store, &path);
        disk.strike(at, fault);
        put(&store, next, 4 * MIB).unwrap_or_else(|e| panic!("{fault:?} at {at}: the commit stands, but {e}"));
        let struck = disk.struck().expect("nothing was struck");
        let then = put(&store, next + 1, 100);
        if fault == Fault::FullOnce {
            then.unwrap();
        } else {
            // A sync may be what failed: nothing more is acknowledged.
            assert_eq!(then.unwrap_err().code(), Code::StorePoisoned, "{struck}");
            assert!(!store.maintain().unwrap(), "{struck}");
        }
        drop(store);
        let store = SqliteStore::open(&path, Mode::Write, Durability::Full).unwrap();
        put(&store, next + 2, 100).unwrap();
        assert!(store.check().unwrap().is_empty(), "{struck}");
        store
            .read(&mut |tx| {
                for i in 0..=next {
                    let event = tx.event(1, i)?.unwrap_or_else(|| panic!("{struck}: event {i} is gone"));
                    assert!(event.body.unwrap().iter().all(|b| *b == i as u8), "{struck}: event {i}");
                }
                Ok(())
            })
            .unwrap();
    }
}
