//! The conformance kit over redb, and what only files can do to a store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::Code;
use mirrordna_storage::{LogRow, Store, SubjectRow, kit};
use mirrordna_storage_redb::{Mode, RedbStore};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

type Bytes = &'static [u8];

fn create(path: &Path) -> RedbStore {
    RedbStore::open(path, Mode::Create).unwrap()
}

fn table(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

/// Edits a closed database with redb itself.
fn edit(path: &Path, work: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::open(path).unwrap();
    let tx = db.begin_write().unwrap();
    work(&tx);
    tx.commit().unwrap();
}

fn put(tx: &redb::WriteTransaction, name: &str, key: &[u8], value: &[u8]) {
    let mut table = tx.open_table(table(name)).unwrap();
    table.insert(key, value).unwrap();
}

#[test]
fn passes_the_kit() {
    let dir = tempfile::tempdir().unwrap();
    let mut n = 0;
    kit::run(&mut || {
        n += 1;
        Box::new(create(&dir.path().join(format!("{n}.redb"))))
    });
}

#[test]
fn refuses_what_is_not_its_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    let open = |mode| RedbStore::open(&path, mode).map(drop).map_err(|e| e.code());
    assert_eq!(open(Mode::Write), Err(Code::StoreNotFound));
    for other in ["", "text", "SQLite format 3\0 and so on, and so on, and so on"] {
        std::fs::write(&path, other).unwrap();
        assert_eq!(open(Mode::Write), Err(Code::StoreNotDatabase));
        assert_eq!(open(Mode::Read), Err(Code::StoreNotDatabase));
        assert!(std::fs::read(&path).unwrap() == other.as_bytes(), "left as it was");
    }
    assert_eq!(open(Mode::Create), Err(Code::StoreInUse));
    std::fs::remove_file(&path).unwrap();
    // A redb database of somebody else's is not changed by a look at it.
    drop(Database::create(&path).unwrap());
    edit(&path, |tx| put(tx, "theirs", b"k", b"v"));
    let before = std::fs::read(&path).unwrap();
    assert_eq!(open(Mode::Read), Err(Code::StoreNotDatabase));
    assert!(std::fs::read(&path).unwrap() == before, "changed by a look");
    assert_eq!(open(Mode::Write), Err(Code::StoreNotDatabase));
    assert!(std::fs::read(&path).unwrap() == before, "changed by a look");
    for (format, code) in [(2u64, Code::StoreNewer), (0, Code::Altered)] {
        edit(&path, |tx| put(tx, "mirrordna", b"format", &format.to_be_bytes()));
        assert_eq!(open(Mode::Write), Err(code));
        assert_eq!(open(Mode::Read), Err(code));
    }
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(RedbStore::open(&folder, Mode::Write).unwrap_err().code(), Code::StoreNotDatabase);
}

#[test]
fn one_user_at_a_time_and_any_number_of_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    let store = create(&path);
    store.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
    for mode in [Mode::Write, Mode::Read] {
        let e = RedbStore::open(&path, mode).unwrap_err();
        assert_eq!((e.code(), e.is_retryable()), (Code::StoreInUse, true), "{mode:?}");
    }
    drop(store);
    let (one, two) = (RedbStore::open(&path, Mode::Read).unwrap(), RedbStore::open(&path, Mode::Read).unwrap());
    assert_eq!(RedbStore::open(&path, Mode::Write).unwrap_err().code(), Code::StoreInUse);
    for reader in [&one, &two] {
        reader
            .read(&mut |tx| {
                assert_eq!(tx.leaf(1, 0)?.unwrap(), b"a");
                Ok(())
            })
            .unwrap();
        assert_eq!(reader.write(&mut |_| Ok(())).unwrap_err().code(), Code::StoreReadOnly);
        assert!(reader.check().unwrap().is_empty() && !reader.maintain().unwrap());
    }
    drop((one, two));
    let again = RedbStore::open(&path, Mode::Write).unwrap();
    again.write(&mut |tx| tx.put_event(1, 1, b"b", None, None)).unwrap();
    assert!(again.maintain().unwrap());
}

#[test]
fn a_reader_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    create(&path).write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
    let before = std::fs::read(&path).unwrap();
    drop(RedbStore::open(&path, Mode::Read).unwrap());
    assert!(std::fs::read(&path).unwrap() == before, "changed by a look");
    // Nor does it need to be able to.
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    drop(RedbStore::open(&path, Mode::Read).unwrap());
}

#[test]
fn a_replaced_file_is_noticed_and_ends_writing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    let store = create(&path);
    store.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(store.read(&mut |_| Ok(())).unwrap_err().code(), Code::StoreReplaced);
    let codes = [1, 2].map(|i| store.write(&mut |tx| tx.put_event(1, i, b"b", None, None)).unwrap_err().code());
    assert_eq!(codes, [Code::StoreReplaced, Code::StorePoisoned]);
    assert!(!store.maintain().unwrap());
}

/// What a process leaves that is killed: the file as it is while it is open.
#[test]
fn every_commit_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("x.redb"), dir.path().join("copy.redb"));
    let store = create(&path);
    for i in 0..50u64 {
        store.write(&mut |tx| tx.put_event(1, i, &i.to_be_bytes(), Some(&[7; 3000]), None)).unwrap();
        if i % 7 != 0 {
            continue;
        }
        for mode in [Mode::Read, Mode::Write] {
            std::fs::copy(&path, &copy).unwrap();
            let left = RedbStore::open(&copy, mode).unwrap();
            assert!(left.check().unwrap().is_empty());
            left.read(&mut |tx| {
                assert_eq!(tx.leaf(1, i)?.unwrap(), i.to_be_bytes());
                assert!(tx.leaf(1, i + 1)?.is_none());
                Ok(())
            })
            .unwrap();
        }
    }
}

#[test]
fn a_damaged_page_is_an_error_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("x.redb"), dir.path().join("copy.redb"));
    let store = create(&path);
    store.write(&mut |tx| (0..200u64).try_for_each(|i| tx.put_event(1, i, &[i as u8; 162], Some(&[7; 300]), None))).unwrap();
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    let (mut found, mut dead) = (0, 0);
    for at in (0..bytes.len()).step_by(997) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x24;
        std::fs::write(&copy, &altered).unwrap();
        match RedbStore::open(&copy, Mode::Write) {
            Err(e) => {
                assert!(matches!(e.code(), Code::Altered | Code::StoreNotDatabase | Code::StoreIo), "byte {at}: {e}");
                found += 1;
            }
            // A byte of a page that nothing refers to.
            Ok(store) => {
                let mut leaves = 0;
                store
                    .read(&mut |tx| {
                        tx.scan(1, 0..999, &mut |row| {
                            assert_eq!((row.leaf, row.body), (&[row.index as u8; 162][..], Some(&[7; 300][..])));
                            leaves += 1;
                            Ok(())
                        })
                    })
                    .unwrap();
                assert_eq!(leaves, 200);
                dead += 1;
            }
        }
    }
    eprintln!("{} bytes: {found} damages found, {dead} in dead pages", bytes.len());
    assert!(found > 50);
    for cut in [1, 4096, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&copy, &bytes[..cut]).unwrap();
        assert!(RedbStore::open(&copy, Mode::Write).is_err(), "cut at {cut}");
        assert!(RedbStore::open(&copy, Mode::Read).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_check_sees_the_file_and_not_the_pages_in_memory() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    let store = create(&path);
    let marked = [0xa7; 300];
    store.write(&mut |tx| tx.put_event(1, 0, b"leaf", Some(&marked), None)).unwrap();
    assert!(store.check().unwrap().is_empty());
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for at in bytes.windows(300).enumerate().filter(|(_, w)| *w == marked).map(|(at, _)| at) {
        file.write_all_at(&[0], at as u64 + 9).unwrap();
    }
    let findings = store.check().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn rows_that_nobody_wrote_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("x.redb"), dir.path().join("copy.redb"));
    let store = create(&path);
    store
        .write(&mut |tx| {
            let frontier = vec![1; 32];
            tx.put_log(&LogRow {
                number: 1,
                id: [1; 16],
                size: 1,
                time: 1,
                frontier: frontier.clone(),
                checkpoint: "c".into(),
                signed_frontier: frontier,
                successor: None,
            })?;
            tx.put_event(1, 0, b"leaf", None, None)?;
            tx.put_subject(&SubjectRow { number: 0, log: 1, tag: vec![9; 32], key: vec![8; 40] }).map(drop)
        })
        .unwrap();
    drop(store);
    let after = |work: &dyn Fn(&redb::WriteTransaction)| {
        std::fs::copy(&path, &copy).unwrap();
        edit(&copy, |tx| work(tx));
        let store = RedbStore::open(&copy, Mode::Write).unwrap();
        let mut strays = Vec::new();
        let read = store.read(&mut |tx| {
            strays = tx.strays()?;
            Ok(())
        });
        (store.check().unwrap().len(), strays.len(), read.is_ok())
    };
    let put = |name: &'static str, key: &'static [u8], value: &'static [u8]| move |tx: &redb::WriteTransaction| put(tx, name, key, value);
    assert_eq!(after(&|_| ()), (0, 0, true));
    assert_eq!(after(&put("notes", b"k", b"v")), (1, 0, true));
    assert_eq!(after(&put("cache_notes", b"k", b"v")), (0, 0, true), "derived tables may be anything");
    assert_eq!(after(&put("mirrordna", b"more", b"v")), (1, 0, true));
    assert_eq!(after(&put("cache_subject_tag", b"k", b"v")), (1, 0, true));
    assert_eq!(after(&put("event", b"k", b"v")), (0, 1, true));
    assert_eq!(after(&put("event", &[0xff; 12], b"v")), (0, 1, true));
    assert_eq!(after(&put("head", b"k", b"v")), (0, 1, true));
    assert_eq!(after(&put("tile", b"k", b"v")), (0, 1, true));
    assert_eq!(after(&put("log", b"k", b"v")), (0, 0, false), "a row that cannot be read is an error");
    let unindexed = |tx: &redb::WriteTransaction| {
        let mut tags = tx.open_table(table("cache_subject_tag")).unwrap();
        let key = tags.first().unwrap().unwrap().0.value().to_vec();
        tags.remove(key.as_slice()).unwrap();
    };
    assert_eq!(after(&unindexed).0, 1);
}

#[test]
fn the_file_is_plain_redb() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    create(&path).write(&mut |tx| tx.put_event(3, 5, b"leaf", None, None)).unwrap();
    let db = Database::open(&path).unwrap();
    let tx = db.begin_read().unwrap();
    let key: Vec<u8> = [&3u32.to_be_bytes()[..], &5u64.to_be_bytes()].concat();
    let value = tx.open_table(table("event")).unwrap().get(key.as_slice()).unwrap().unwrap().value().to_vec();
    assert_eq!(value, b"\x84\x44leaf\xf6\xf6\xf6", "[leaf, null, null, null]");
}
