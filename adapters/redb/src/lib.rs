//! A durable store without a C compiler: one redb database.
//!
//! This crate **owns** the tables (store format 1) and the file. It **never**
//! interprets rows. A commit is one write transaction of redb with
//! `Durability::Immediate`, that is one sync; a store whose commit failed, or
//! whose file was replaced under it, refuses further writes until reopened.
//!
//! It is for builds that can take nothing but Rust. Against the SQLite adapter
//! it lacks, in this order of weight:
//! - **One process per database.** A second one, readers included, gets
//!   `store.in_use` while it is open.
//! - **Deletion takes longer.** redb writes changed pages elsewhere; what was
//!   erased stays in free pages of the file until they are used again, and at the
//!   end of pages that were changed in place. So an erasure is followed by writing
//!   these anew, and over all that are free.
//! - **Opening reads the whole file**, because redb may panic on pages that
//!   were damaged since; every page's checksum is verified first.
//! - **One durability.** redb's cheaper one does not survive the end of the
//!   process.
//! - **More bytes written**: a commit rewrites the path to each changed page.

mod error;
mod overlay;
mod tx;

use error::from_redb;
use mirrordna_core::{Code, Error, Result};
pub use mirrordna_storage::Mode;
use mirrordna_storage::files::{FileId, absolute, from_io, prepare};
use mirrordna_storage::{LogNumber, ReadTx, Store, WriteTx};
use overlay::Overlay;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, MultimapTableHandle, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableHandle,
};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The store format.
pub const FORMAT: u64 = 1;

/// First bytes of every redb file (redb, docs/design.md, "Database header").
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// Memory for pages, bytes; redb's own default is 1 GiB.
const CACHE: usize = 64 << 20;
/// Length of a page, redb's own default.
const PAGE: u64 = 4_096;
/// Pages that are written over in one transaction.
const FILL: u64 = 4_096;
/// What free pages are written over with, for as long as that takes.
const FILLER: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("cache_filler");
/// How far a repair is when it finds that the last commit does not verify.
const LAST_COMMIT_BROKEN: f64 = 0.3;

/// A redb database as a [`Store`].
pub struct RedbStore {
    path: PathBuf,
    db: Database,
    writable: bool,
    file: Option<FileId>,
    poisoned: AtomicBool,
    /// Read transactions that are open: they keep pages that were freed since.
    readers: AtomicUsize,
    /// Sizes of the logs at opening: a writer here is always alone.
    left_behind: Vec<(LogNumber, u64)>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedbStore({})", self.path.display())
    }
}

impl RedbStore {
    /// Opens the database at `path`.
    ///
    /// # Errors
    /// `store.not_found`, `store.not_a_database`, `store.newer_format`,
    /// `store.in_use` where it is open already, here or in another process,
    /// `log.altered` where its pages do not verify, `store.read_only`,
    /// `store.url` for a network file system, `store.io`.
    pub fn open(path: &Path, mode: Mode) -> Result<Self> {
        let path = &absolute(path)?;
        prepare(path, mode, "redb")?;
        let db = match mode {
            Mode::Create => create(path)?,
            Mode::Read => look(path, true, true)?,
            Mode::Write => {
                // Looked at without a change, so that a foreign file stays as
                // it is and a damaged one is an error and not a panic.
                check_format(path, &look(path, true, true)?)?;
                let file = OpenOptions::new().read(true).write(true).open(path);
                own(path, file.map_err(|e| from_io(path, "cannot open the database at", e))?)?
            }
        };
        check_format(path, &db)?;
        let (writable, file) = (mode != Mode::Read, FileId::of(path));
        let mut store = Self {
            path: path.to_owned(),
            db,
            writable,
            file,
            poisoned: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            left_behind: Vec::new(),
        };
        if writable {
            let mut logs = Vec::new();
            store.read(&mut |tx| {
                // Damage is reported where the rows are used.
                logs = tx.logs().unwrap_or_default();
                Ok(())
            })?;
            store.left_behind = logs.into_iter().map(|row| (row.number, row.size)).collect();
        }
        Ok(store)
    }

    fn err(&self, doing: &str, e: impl Into<redb::Error>) -> Error {
        from_redb(&self.path, doing, e)
    }

    fn sound(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(Code::StorePoisoned, format!("{} refuses writes after an earlier failure", self.path.display())));
        }
        Ok(())
    }

    /// Whether the path still names the file that was opened.
    fn in_place(&self) -> Result<()> {
        if FileId::of(&self.path) == self.file {
            return Ok(());
        }
        self.poisoned.store(true, Ordering::Release);
        Err(self.replaced())
    }

    fn replaced(&self) -> Error {
        let what = format!("the database at {} was deleted or replaced while it was open", self.path.display());
        Error::new(Code::StoreReplaced, what)
    }

    /// Writes the pages anew in which something was erased since this was last
    /// done, by whichever process.
    fn renew_pages(&self) -> Result<()> {
        self.sound()?;
        let mut tx = self.db.begin_write().map_err(|e| self.err("cannot write to", e))?;
        self.sound()?;
        self.in_place()?;
        tx.set_durability(Durability::Immediate).map_err(|e| self.err("cannot write to", e))?;
        if let Err(e) = tx::renew_pages(&self.path, &tx) {
            let _reported_by_next_begin = tx.abort();
            return Err(e);
        }
        tx.commit().map_err(|e| {
            self.poisoned.store(true, Ordering::Release);
            self.err("cannot commit to", e)
        })
    }

    /// Fills all pages of the file that are free, and frees them again.
    fn overwrite_free_pages(&self) -> Result<()> {
        let err = |e: redb::Error| self.err("cannot write to", e);
        let begin = || {
            let mut tx = self.db.begin_write().map_err(|e| err(e.into()))?;
            tx.set_durability(Durability::Immediate).map_err(|e| err(e.into()))?;
            Ok::<_, Error>(tx)
        };
        let failed = |e: redb::CommitError| {
            self.poisoned.store(true, Ordering::Release);
            err(e.into())
        };
        let length = std::fs::metadata(&self.path).map_err(|e| from_io(&self.path, "cannot look at", e))?.len();
        let tx = begin()?;
        let used = tx.stats().map_err(|e| err(e.into()))?.allocated_pages();
        tx.abort().map_err(|e| err(e.into()))?;
        let mut free = (length / PAGE).saturating_sub(used);
        let mut at = 0u64;
        while free > 0 {
            let tx = begin()?;
            {
                let mut table = tx.open_table(FILLER).map_err(|e| err(e.into()))?;
                for _ in 0..free.min(FILL) {
                    // One row fills a page: two do not fit into one.
                    table.insert(at, &[0u8; PAGE as usize * 3 / 4][..]).map_err(|e| err(e.into()))?;
                    at += 1;
                }
            }
            free = free.saturating_sub(FILL);
            tx.commit().map_err(failed)?;
        }
        let tx = begin()?;
        tx.delete_table(FILLER).map_err(|e| err(e.into()))?;
        tx.commit().map_err(failed)
    }

    /// Tables that are not those of the format, and a derived one that does
    /// not say what it is derived from.
    fn described(db: &Database, path: &Path) -> Result<Vec<String>> {
        let err = |e: redb::Error| from_redb(path, "cannot read", e);
        let tx = db.begin_read().map_err(|e| err(e.into()))?;
        let plain = tx.list_tables().map_err(|e| err(e.into()))?.map(|t| t.name().to_owned());
        let multi = tx.list_multimap_tables().map_err(|e| err(e.into()))?.map(|t| t.name().to_owned());
        let mut names: Vec<String> = plain.chain(multi).filter(|n| !n.starts_with("cache_")).collect();
        names.sort();
        let mut findings = Vec::new();
        if names != tx::EVIDENCE {
            findings.push(format!("the tables {names:?} are not those of store format 1"));
        }
        let meta = tx.open_table(tx::META).map_err(|e| err(e.into()))?;
        let known = meta.iter().map_err(|e| err(e.into()))?.count();
        if known != 1 {
            findings.push(format!("table {} has {known} rows, it is written with one", tx::EVIDENCE[3]));
        }
        if !tx::reading(path, &tx)?.index_agrees()? {
            findings.push("table cache_subject_tag does not say what table subject says".to_owned());
        }
        Ok(findings)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn own_backend(path: &Path, backend: impl StorageBackend) -> Result<Database> {
    builder().create_with_backend(backend).map_err(|e| from_redb(path, "cannot open", e))
}

/// Opens a file for reading and writing, which locks it.
fn own(path: &Path, file: File) -> Result<Database> {
    own_backend(path, FileBackend::new(file).map_err(|e| from_redb(path, "cannot open", e))?)
}

/// Opens a file without changing it and verifies the checksum of every page.
/// `locks`: whoever has it locked already needs none. `repair`: what a crash
/// left may be taken back to the last whole commit, in memory.
fn look(path: &Path, locks: bool, repair: bool) -> Result<Database> {
    let mut file = File::open(path).map_err(|e| from_io(path, "cannot open the database at", e))?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => return Err(from_io(path, "cannot read", e)),
        Ok(()) if magic == MAGIC => {}
        _ => return Err(Error::new(Code::StoreNotDatabase, format!("{} is no redb file", path.display()))),
    }
    let overlay = Overlay::new(file, locks).map_err(|e| from_redb(path, "cannot open", e))?;
    let mut builder = builder();
    builder.set_check_integrity_on_open(true);
    if !repair {
        builder.set_repair_callback(|session| {
            // Exact: redb passes this very constant.
            if session.progress().to_bits() == LAST_COMMIT_BROKEN.to_bits() {
                session.abort();
            }
        });
    }
    builder.create_with_backend(overlay).map_err(|e| from_redb(path, "cannot open", e))
}

fn create(path: &Path) -> Result<Database> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let db = own(path, file.map_err(|e| from_io(path, "cannot create", e))?)?;
    initialise(path, &db)?;
    // The name of a new file is data of its folder.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| from_io(folder, "cannot sync the folder", e))?;
    Ok(db)
}

fn initialise(path: &Path, db: &Database) -> Result<()> {
    let err = |e: redb::Error| from_redb(path, "cannot create", e);
    let tx = db.begin_write().map_err(|e| err(e.into()))?;
    drop(tx::writing(path, &tx)?);
    let mut meta = tx.open_table(tx::META).map_err(|e| err(e.into()))?;
    meta.insert(&b"format"[..], &FORMAT.to_be_bytes()[..]).map_err(|e| err(e.into()))?;
    drop(meta);
    tx.commit().map_err(|e| err(e.into()))
}

fn check_format(path: &Path, db: &Database) -> Result<()> {
    let (place, err) = (path.display(), |e: redb::Error| from_redb(path, "cannot read", e));
    let tx = db.begin_read().map_err(|e| err(e.into()))?;
    let meta = match tx.open_table(tx::META) {
        Ok(meta) => meta,
        Err(redb::TableError::Storage(e)) => return Err(err(e.into())),
        Err(_) => return Err(Error::new(Code::StoreNotDatabase, format!("{place} is a redb file, but no mirrordna database"))),
    };
    let format = meta.get(&b"format"[..]).map_err(|e| err(e.into()))?;
    let format = format.and_then(|f| Some(u64::from_be_bytes(f.value().try_into().ok()?)));
    match format {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => {
            Err(Error::new(Code::StoreNewer, format!("{place} has store format {newer}, this build knows {FORMAT}")))
        }
        other => Err(Error::new(Code::Altered, format!("{place} has store format {other:?}, which never existed"))),
    }
}

impl Store for RedbStore {
    fn read(&self, work: &mut dyn FnMut(&dyn ReadTx) -> Result<()>) -> Result<()> {
        if FileId::of(&self.path) != self.file {
            return Err(self.replaced());
        }
        self.readers.fetch_add(1, Ordering::AcqRel);
        let done = (|| {
            let tx = self.db.begin_read().map_err(|e| self.err("cannot read", e))?;
            work(&tx::reading(&self.path, &tx)?)
        })();
        self.readers.fetch_sub(1, Ordering::AcqRel);
        done
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn WriteTx) -> Result<()>) -> Result<()> {
        if !self.writable {
            return Err(Error::new(Code::StoreReadOnly, format!("{} is open for reading only", self.path.display())));
        }
        self.sound()?;
        let mut tx = self.db.begin_write().map_err(|e| self.err("cannot write", e))?;
        // Again, because the writer that this one waited for may have failed.
        self.sound()?;
        self.in_place()?;
        tx.set_durability(Durability::Immediate).map_err(|e| self.err("cannot write", e))?;
        let mut tables = tx::writing(&self.path, &tx)?;
        let done = work(&mut tables);
        let erased = tables.erased();
        let done = done.and_then(|()| if erased.is_empty() { Ok(()) } else { tx::keep_erased(&self.path, &tx, &erased) });
        if let Err(e) = done {
            // What cannot be taken back is not committed either: redb then
            // refuses the next transaction, and says why.
            let _reported_by_next_begin = tx.abort();
            return Err(e);
        }
        if let Err(e) = tx.commit() {
            self.poisoned.store(true, Ordering::Release);
            let cause = self.err("cannot commit to", e);
            return Err(Error::new(Code::StorePoisoned, "a commit failed; whether it reached the disk is unknown").caused_by(cause));
        }
        self.in_place()
    }

    /// Reads the file anew, past the pages in memory; writers wait.
    fn check(&self) -> Result<Vec<String>> {
        let paused = if self.writable {
            match self.db.begin_write() {
                Ok(tx) => Some(tx),
                Err(e) => return Ok(vec![self.err("cannot check", e).to_string()]),
            }
        } else {
            None
        };
        let findings = look(&self.path, !self.writable, !self.writable).and_then(|db| Self::described(&db, &self.path));
        if let Some(tx) = paused {
            tx.abort().map_err(|e| self.err("cannot check", e))?;
        }
        Ok(findings.unwrap_or_else(|e| vec![e.to_string()]))
    }

    /// There is nothing to do: each commit was synced, and free pages are used
    /// again by the next ones.
    fn maintain(&self) -> Result<bool> {
        Ok(self.writable && !self.poisoned.load(Ordering::Acquire))
    }

    /// The pages in which something was erased are written anew. redb writes
    /// changed pages elsewhere, and what was free before a commit is free for the
    /// next but one. So after two commits all free pages are used once, for
    /// nothing.
    fn purge(&self) -> Result<bool> {
        if !self.writable {
            return Err(Error::new(Code::StoreReadOnly, format!("{} is open for reading only", self.path.display())));
        }
        if self.readers.load(Ordering::Acquire) > 0 {
            return Ok(false);
        }
        self.renew_pages()?;
        for _ in 0..2 {
            self.write(&mut |_| Ok(()))?;
        }
        self.overwrite_free_pages()?;
        Ok(true)
    }

    fn left_behind(&self) -> Vec<(LogNumber, u64)> {
        self.left_behind.clone()
    }

    fn discard(&self) -> Result<bool> {
        if !self.writable {
            return Ok(false);
        }
        // The file is locked: no other process has it open.
        let mut logs = 0;
        self.read(&mut |tx| tx.logs().map(|found| logs = found.len()))?;
        self.in_place()?;
        if logs > 0 {
            return Ok(false);
        }
        self.poisoned.store(true, Ordering::Release);
        std::fs::remove_file(&self.path).map_err(|e| from_io(&self.path, "cannot remove", e))?;
        Ok(true)
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::io::Error as IoError;
    use std::sync::Arc;
    use std::sync::atomic::AtomicI32;

    /// A disk that fails with an error number while one is set.
    #[derive(Debug)]
    struct Failing {
        file: FileBackend,
        writes: Arc<AtomicI32>,
        syncs: Arc<AtomicI32>,
    }

    fn unless(errno: &AtomicI32) -> std::io::Result<()> {
        match errno.load(Ordering::Acquire) {
            0 => Ok(()),
            n => Err(IoError::from_raw_os_error(n)),
        }
    }

    impl StorageBackend for Failing {
        fn len(&self) -> std::io::Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.file.set_len(len)
        }
        fn sync_data(&self) -> std::io::Result<()> {
            unless(&self.syncs)?;
            self.file.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            unless(&self.writes)?;
            self.file.write(offset, data)
        }
    }

    /// Linux's numbers.
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    #[test]
    fn a_full_or_broken_disk_ends_writing_and_loses_nothing() {
        for (on_sync, errno, cause) in [(false, ENOSPC, "store.full"), (false, EIO, "store.io"), (true, EIO, "store.io")] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.redb");
            drop(RedbStore::open(&path, Mode::Create).unwrap());
            let (writes, syncs) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicI32::new(0)));
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let disk = Failing { file: FileBackend::new(file).unwrap(), writes: writes.clone(), syncs: syncs.clone() };
            let db = own_backend(&path, disk).unwrap();
            let store = RedbStore {
                path: path.clone(),
                db,
                writable: true,
                file: FileId::of(&path),
                poisoned: AtomicBool::new(false),
                readers: AtomicUsize::new(0),
                left_behind: Vec::new(),
            };
            let put = |i: u64| store.write(&mut |tx| tx.put_event(1, i, &i.to_be_bytes(), None, None));
            (0..10).for_each(|i| put(i).unwrap());
            if on_sync { &syncs } else { &writes }.store(errno, Ordering::Release);
            let e = put(10).unwrap_err();
            assert_eq!(e.code(), Code::StorePoisoned);
            assert!(e.to_string().contains(cause), "{e}");
            writes.store(0, Ordering::Release);
            syncs.store(0, Ordering::Release);
            // Space alone does not mend it; whether leaf 10 is there is open.
            assert_eq!(put(11).unwrap_err().code(), Code::StorePoisoned);
            assert!(!store.maintain().unwrap());
            drop(store);
            let again = RedbStore::open(&path, Mode::Write).unwrap();
            assert!(again.check().unwrap().is_empty());
            again
                .read(&mut |tx| {
                    for i in 0..10u64 {
                        assert_eq!(tx.leaf(1, i)?.unwrap(), i.to_be_bytes());
                    }
                    assert!(tx.leaf(1, 11)?.is_none());
                    Ok(())
                })
                .unwrap();
            again.write(&mut |tx| tx.put_event(1, 20, b"on again", None, None)).unwrap();
        }
    }
}
