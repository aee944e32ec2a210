//! The conformance kit over SQLite, and what only files can do to a store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::Code;
use mirrordna_storage::{Store, kit};
use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};
use std::path::Path;

fn create(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Mode::Create, Durability::Full).unwrap()
}

#[test]
fn passes_the_kit() {
    let dir = tempfile::tempdir().unwrap();
    let mut n = 0;
    kit::run(&mut || {
        n += 1;
        Box::new(create(&dir.path().join(format!("{n}.db"))))
    });
}

#[test]
fn refuses_what_is_not_its_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let open = |mode| SqliteStore::open(&path, mode, Durability::Full).map(drop).map_err(|e| e.code());
    assert_eq!(open(Mode::Write), Err(Code::StoreNotFound));
    std::fs::write(
        &path,
        "this is a text file, and a long enough one at that; it has more than one hundred bytes, as a database header does",
    )
    .unwrap();
    assert_eq!(open(Mode::Write), Err(Code::StoreNotDatabase));
    assert_eq!(open(Mode::Create), Err(Code::StoreInUse));
    std::fs::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE t(x)").unwrap();
    assert_eq!(open(Mode::Read), Err(Code::StoreNotDatabase));
    foreign.execute_batch("PRAGMA application_id = 0x4d444e41; PRAGMA user_version = 2").unwrap();
    assert_eq!(open(Mode::Write), Err(Code::StoreNewer));
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let e = SqliteStore::open(&folder, Mode::Write, Durability::Full).unwrap_err();
    assert_eq!(e.code(), Code::StoreNotDatabase);
}

#[test]
fn a_replaced_file_is_noticed_and_ends_writing() {
    for victim in ["", "-wal"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let store = create(&path);
        store.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
        std::fs::remove_file(format!("{}{victim}", path.display())).unwrap();
        let e = store.write(&mut |tx| tx.put_event(1, 1, b"b", None, None)).unwrap_err();
        assert_eq!(e.code(), Code::StoreReplaced, "{victim}");
        let e = store.write(&mut |tx| tx.put_event(1, 2, b"c", None, None)).unwrap_err();
        assert_eq!(e.code(), Code::StorePoisoned, "{victim}");
    }
}

#[test]
fn a_reader_notices_that_its_file_was_replaced() {
    for victim in ["", "-wal"] {
        for replace in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.db");
            let writer = create(&path);
            writer.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
            let reader = SqliteStore::open(&path, Mode::Read, Durability::Full).unwrap();
            let read = |store: &SqliteStore| store.read(&mut |tx| tx.leaf(1, 0).map(drop)).map_err(|e| e.code());
            assert_eq!((read(&reader), read(&writer)), (Ok(()), Ok(())));
            let name = dir.path().join(format!("x.db{victim}"));
            let aside = dir.path().join("aside");
            std::fs::rename(&name, &aside).unwrap();
            if replace {
                std::fs::copy(&aside, &name).unwrap();
            }
            let replaced = Err(Code::StoreReplaced);
            assert_eq!((read(&reader), read(&writer)), (replaced, replaced), "{victim} {replace}");
            // Back in its place it is what was opened.
            std::fs::rename(&aside, &name).unwrap();
            assert_eq!((read(&reader), read(&writer)), (Ok(()), Ok(())), "{victim} {replace}");
        }
    }
}

#[test]
fn the_last_user_leaves_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let (one, two) = (create(&path), SqliteStore::open(&path, Mode::Write, Durability::Full).unwrap());
    one.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
    drop(one);
    assert!(dir.path().join("x.db-wal").exists());
    two.write(&mut |tx| tx.put_event(1, 1, b"b", None, None)).unwrap();
    drop(two);
    assert!(!dir.path().join("x.db-wal").exists());
    let reader = SqliteStore::open(&path, Mode::Read, Durability::Full).unwrap();
    reader
        .read(&mut |tx| {
            assert_eq!(tx.leaf(1, 1)?.unwrap(), b"b");
            Ok(())
        })
        .unwrap();
    assert_eq!(reader.write(&mut |_| Ok(())).unwrap_err().code(), Code::StoreReadOnly);
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_last_reader_leaves_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    let store = create(&path);
    store.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
    drop(store);
    let (before, bytes) = (names(dir.path()), std::fs::read(&path).unwrap());
    assert_eq!(before, ["x.db", "x.db.lock", "x.db.open"]);
    let open = || SqliteStore::open(&path, Mode::Read, Durability::Full).unwrap();
    let (one, two) = (open(), open());
    for store in [&one, &two] {
        store.read(&mut |tx| tx.leaf(1, 0).map(|leaf| assert_eq!(leaf.unwrap(), b"a"))).unwrap();
    }
    drop(one);
    two.read(&mut |tx| tx.leaf(1, 0).map(drop)).unwrap();
    assert!(dir.path().join("x.db-wal").exists(), "another reader is at work");
    drop(two);
    assert_eq!(names(dir.path()), before);
    assert!(std::fs::read(&path).unwrap() == bytes, "a reader changed the database");
    // A writer that came in between keeps its log.
    let (reader, writer) = (open(), SqliteStore::open(&path, Mode::Write, Durability::Full).unwrap());
    writer.write(&mut |tx| tx.put_event(1, 1, b"b", None, None)).unwrap();
    drop(reader);
    writer.write(&mut |tx| tx.put_event(1, 2, b"c", None, None)).unwrap();
    drop(writer);
    assert_eq!(names(dir.path()), before);
    open().read(&mut |tx| tx.leaf(1, 2).map(|leaf| assert_eq!(leaf.unwrap(), b"c"))).unwrap();
}

#[test]
fn a_reader_settles_what_a_crash_left_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, after) = (dir.path().join("x.db"), dir.path().join("after"));
    std::fs::create_dir(&after).unwrap();
    let store = create(&path);
    store.write(&mut |tx| tx.put_event(1, 0, b"a", None, None)).unwrap();
    // The files as a killed process leaves them.
    for name in ["x.db", "x.db-wal"] {
        std::fs::copy(dir.path().join(name), after.join(name)).unwrap();
    }
    let (path, wal) = (after.join("x.db"), after.join("x.db-wal"));
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let touched = || std::fs::metadata(&wal).unwrap().modified().unwrap() != long_ago;
    let bytes = std::fs::read(&wal).unwrap();
    std::fs::File::options().write(true).open(&wal).unwrap().set_modified(long_ago).unwrap();
    let open = || SqliteStore::open(&path, Mode::Read, Durability::Full).unwrap();
    let reader = open();
    reader.read(&mut |tx| tx.leaf(1, 0).map(|leaf| assert_eq!(leaf.unwrap(), b"a"))).unwrap();
    assert!(touched(), "the log was not written over itself");
    drop(reader);
    assert!(std::fs::read(&wal).unwrap() == bytes, "a reader folds nothing");
    // Who may not write the log still reads it.
    let mut read_only = std::fs::metadata(&wal).unwrap().permissions();
    read_only.set_readonly(true);
    std::fs::set_permissions(&wal, read_only).unwrap();
    open().read(&mut |tx| tx.leaf(1, 0).map(|leaf| assert_eq!(leaf.unwrap(), b"a"))).unwrap();
}

#[test]
fn the_log_is_lengthened_before_it_is_needed_and_the_zeros_are_no_frames() {
    let dir = tempfile::tempdir().unwrap();
    let (path, after) = (dir.path().join("x.db"), dir.path().join("after"));
    std::fs::create_dir(&after).unwrap();
    let wal = || std::fs::read(dir.path().join("x.db-wal")).unwrap();
    let row = [7; 3_000];
    let store = create(&path);
    let other = SqliteStore::open(&path, Mode::Write, Durability::Full).unwrap();
    let put = |store: &SqliteStore, i| store.write(&mut |tx| tx.put_event(1, i, b"leaf", Some(&row), None)).unwrap();
    put(&store, 0);
    assert!(wal().len() < 1 << 16, "who writes little pays nothing");
    let mut lengths = std::collections::BTreeSet::new();
    for i in 1..300 {
        // Another process, and a program that knows nothing of the lock file.
        match i % 3 {
            0 => put(&store, i),
            1 => put(&other, i),
            _ => {
                let foreign = rusqlite::Connection::open(&path).unwrap();
                foreign.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
                let sql = "INSERT INTO event(pos, leaf, body) VALUES((1 << 40) + ?1, x'6c656166', ?2)";
                foreign.execute(sql, rusqlite::params![i as i64, row]).unwrap();
                foreign.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
            }
        }
        let now = wal();
        if now.len() > 1 << 18 {
            lengths.insert(now.len());
        }
    }
    // Where a commit goes beyond what was lengthened, the next one lengthens.
    assert!(lengths.len() < 30 && lengths.iter().filter(|l| *l % (1 << 19) == 0).count() >= 6, "{lengths:?}");
    let bytes = wal();
    assert!(bytes.len() % (1 << 19) != 0 || bytes.ends_with(&[0; 4_096]), "zeros wait at the end");
    // The files as a killed process leaves them.
    for name in ["x.db", "x.db-wal"] {
        std::fs::copy(dir.path().join(name), after.join(name)).unwrap();
    }
    for store in [SqliteStore::open(&after.join("x.db"), Mode::Write, Durability::Full).unwrap(), store, other] {
        assert!(store.check().unwrap().is_empty());
        for i in 0..300 {
            store.read(&mut |tx| tx.event(1, i).map(|row| assert_eq!(row.unwrap().body.unwrap(), [7; 3_000]))).unwrap();
        }
    }
}

#[test]
fn a_log_that_is_not_synced_is_not_lengthened() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("x.db"), Mode::Create, Durability::Normal).unwrap();
    for i in 0..60 {
        store.write(&mut |tx| tx.put_event(1, i, b"leaf", Some(&[7; 3_000]), None)).unwrap();
    }
    let len = std::fs::metadata(dir.path().join("x.db-wal")).unwrap().len();
    assert!(len > 1 << 17 && len % 4_120 == 32, "{len} bytes are a header and frames");
}

#[test]
fn every_hot_query_is_a_key_look_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    drop(create(&path));
    let db = rusqlite::Connection::open(&path).unwrap();
    for (sql, plan) in [
        ("SELECT last FROM head WHERE log = 1 AND actor = x'00'", "SEARCH head USING PRIMARY KEY (log=? AND actor=?)"),
        ("SELECT leaf, body FROM event WHERE pos = 1", "SEARCH event USING INTEGER PRIMARY KEY (rowid=?)"),
        (
            "SELECT n FROM subject INDEXED BY subject_tag WHERE log = 1 AND tag = x'00'",
            "SEARCH subject USING COVERING INDEX subject_tag (log=? AND tag=?)",
        ),
        ("SELECT data FROM tile WHERE id = 1", "SEARCH tile USING INTEGER PRIMARY KEY (rowid=?)"),
        (
            "SELECT leaf, body, secret FROM event WHERE pos >= 1 AND pos <= 9 ORDER BY pos",
            "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        ),
    ] {
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let got: Vec<String> = statement.query_map([], |r| r.get(3)).unwrap().map(Result::unwrap).collect();
        assert_eq!(got.join("|"), plan, "{sql}");
    }
}
