//! The embedded default store: one SQLite database in WAL mode.
//!
//! This crate **owns** the schema (store format 1), the connections and the
//! lock files. It **never** interprets rows. A commit is one transaction with
//! `synchronous = FULL` under an exclusive lock on `<database>.lock`, so several
//! processes on one host can write; a store whose commit failed on I/O, or
//! whose files were replaced under it, refuses further writes until reopened.
//!
//! What a reader leaves behind: nothing but the lock file `<database>.open`,
//! where it was not there before. That one is never removed, since a lock on a
//! removed file locks nothing. Readers hold it like writers, so it must be
//! there for them; where it cannot be made, the files of an empty write-ahead
//! log may stay until a writer closes.
//!
//! What a reader shows after a crash: frames of the write-ahead log that the
//! dead process may not have synced. A reader that is alone, and may write the
//! log, makes them durable first, as a writer does. One that is not alone came
//! after somebody who did. One that may not write the log, or whose disk fails,
//! can show, and export, what power loss then takes back: an export made on
//! such a machine can turn out to be longer than, or another than, the log.

mod error;
mod files;
mod tx;

use error::from_sqlite;
use files::{LockFile, lengthen, settle};
use mirrordna_core::{Code, Error, Result};
pub use mirrordna_storage::Mode;
use mirrordna_storage::files::{FileId, absolute, beside, prepare};
use mirrordna_storage::{LogNumber, ReadTx, Store, WriteTx};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tx::Tx;

/// `PRAGMA application_id`: "MDNA".
pub const APPLICATION_ID: i32 = 0x4d44_4e41;
/// `PRAGMA user_version`: the store format.
pub const FORMAT: i32 = 1;

const SCHEMA: &str = include_str!("schema.sql");
/// Idle read connections that are kept.
const POOL: usize = 4;
/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(5);
/// How long a purge waits for readers of older states; what it cannot do then
/// is tried again later.
const PURGE_WAIT: Duration = Duration::from_millis(250);
/// How much longer than at its last fold the WAL may become before a commit
/// folds it back itself, should nobody else.
const WAL_LIMIT: u64 = 64 << 20;
/// To this length SQLite cuts the WAL when it starts it anew after a fold:
/// long enough to stay warm, short enough for its length to tell how much of
/// it is in use.
const WAL_KEPT: u64 = WAL_LIMIT / 2;

/// From this length on the WAL is lengthened ahead of its use. Who writes a few
/// events and closes never pays for it.
const WAL_WARM: u64 = 1 << 16;
/// Ends of what is lengthened. SQLite's own writes end between them.
const WAL_STEP: u64 = 1 << 19;

/// When a commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After the write-ahead log was synced: survives power loss.
    #[default]
    Full,
    /// After it was written: survives a crash of the process, not power loss.
    Normal,
}

/// A SQLite database as a [`Store`].
pub struct SqliteStore {
    path: PathBuf,
    writer: Option<Mutex<Connection>>,
    readers: Mutex<Vec<Connection>>,
    /// Held exclusively during each commit.
    lock: Option<LockFile>,
    /// Held shared for the life of the store.
    open: Option<LockFile>,
    database: Option<FileId>,
    wal: Mutex<Option<FileId>>,
    /// Length of the WAL when this store last folded it because it was long.
    folded_at: AtomicU64,
    /// Lengthening the WAL ahead of its use pays: each commit syncs it, and
    /// there is room.
    warming: AtomicBool,
    poisoned: AtomicBool,
    /// On media that cannot be written SQLite can keep no locks; without a
    /// write-ahead log beside it the file is whole, and nobody changes it.
    immutable: bool,
    /// Sizes of the logs at opening, if this process was alone then.
    left_behind: Vec<(LogNumber, u64)>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteStore({})", self.path.display())
    }
}

/// A URI by which SQLite reads a file without locks (sqlite.org/uri.html).
fn immutable_uri(path: &Path) -> String {
    let plain = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{plain}?immutable=1")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the shared lock that says: here is a user of the database. Who is
/// the only one first settles what a crash left, and a writer who is keeps
/// the lock exclusive for now: that is the second value. `None` for a reader
/// who may not use the lock file.
fn join(path: &Path, mode: Mode) -> Result<(Option<LockFile>, bool)> {
    loop {
        let open = match LockFile::open(beside(path, ".open")) {
            Err(_) if mode == Mode::Read => return Ok((None, false)),
            opened => opened?,
        };
        // Alone: what a crash left in the write-ahead log is all there is.
        // Only the log is opened here, on which SQLite holds no locks.
        // Readers do it too: what they show or export must not be undone by
        // power loss. Those that may not write the log, or find a disk that
        // fails, still read what is there.
        let mut alone = false;
        if mode != Mode::Create && open.try_exclusive()? {
            let settled = settle(&beside(path, "-wal"));
            if mode == Mode::Write {
                settled?;
                alone = true;
            }
        }
        if !alone {
            open.shared()?;
        }
        // A lock on a file that was removed meanwhile locks nothing.
        if open.is_in_place() {
            return Ok((Some(open), alone));
        }
    }
}

impl SqliteStore {
    /// Opens the database at `path`.
    ///
    /// # Errors
    /// `store.not_found`, `store.not_a_database`, `store.newer_format`,
    /// `store.read_only`, `store.url` for a network file system, `store.io`.
    pub fn open(path: &Path, mode: Mode, durability: Durability) -> Result<Self> {
        let path = &absolute(path)?;
        prepare(path, mode, "SQLite")?;
        let beside_it = beside(path, ".open");
        let was_there = beside_it.exists();
        Self::open_at(path, mode, durability).inspect_err(|e| {
            // Who asked whether a file is a database leaves nothing beside it.
            if mode == Mode::Read && e.code() == Code::StoreNotDatabase && !was_there {
                let _absent = std::fs::remove_file(&beside_it);
            }
        })
    }

    fn open_at(path: &Path, mode: Mode, durability: Durability) -> Result<Self> {
        let (open, alone) = join(path, mode)?;
        let lock = if mode == Mode::Read { None } else { Some(LockFile::open(beside(path, ".lock"))?) };
        let mut store = Self {
            path: path.to_owned(),
            writer: None,
            readers: Mutex::new(Vec::new()),
            lock,
            open,
            database: None,
            wal: Mutex::new(None),
            folded_at: AtomicU64::new(0),
            warming: AtomicBool::new(durability == Durability::Full),
            poisoned: AtomicBool::new(false),
            immutable: false,
            left_behind: Vec::new(),
        };
        if mode == Mode::Read {
            let checked = |store: &Self| {
                let connection = store.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                store.check_format(&connection).map(|()| connection)
            };
            let connection = match checked(&store) {
                Err(e) if matches!(e.code(), Code::StoreReadOnly | Code::StoreIo) && store.wal_len() == 0 => {
                    store.immutable = true;
                    checked(&store)?
                }
                done => done?,
            };
            locked(&store.readers).push(connection);
        } else {
            let create = if mode == Mode::Create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
            let connection = store.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | create)?;
            // Empty too where power was lost while the database was made.
            if store.is_empty(&connection)? {
                store.initialise(&connection)?;
            }
            store.check_format(&connection)?;
            store.write_ahead(&connection)?;
            let sync = if durability == Durability::Full { "FULL" } else { "NORMAL" };
            store.sql(
                &connection,
                &format!(
                    "PRAGMA synchronous = {sync}; PRAGMA secure_delete = ON;
                     PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {WAL_KEPT};"
                ),
            )?;
            if alone {
                // Read while nobody else can be here. Damage is reported where
                // the rows are used.
                let logs = Tx::new(&connection, path).logs().unwrap_or_default();
                // What a crash left of an erasure goes now. A failure is one of
                // the next commit too, which tells of it.
                let _told_by_the_next_write = if store.wal_len() > 0 { store.empty_wal(&connection, PURGE_WAIT) } else { Ok(true) };
                store.left_behind = logs.into_iter().map(|row| (row.number, row.size)).collect();
            }
            store.writer = Some(Mutex::new(connection));
            if let Some(open) = store.open.as_ref().filter(|_| alone) {
                open.shared()?;
            }
        }
        store.database = FileId::of(path);
        *locked(&store.wal) = FileId::of(&store.wal_path());
        Ok(store)
    }

    fn wal_path(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }

    fn err(&self, doing: &str, e: rusqlite::Error) -> Error {
        from_sqlite(&self.path, doing, e)
    }

    fn sql(&self, connection: &Connection, sql: &str) -> Result<()> {
        connection.execute_batch(sql).map_err(|e| self.err("cannot set up", e))
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = if self.immutable {
            Connection::open_with_flags(immutable_uri(&self.path), flags | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(&self.path, flags)
        };
        let connection = opened.map_err(|e| self.err("cannot open", e))?;
        let set = || -> rusqlite::Result<()> {
            connection.busy_timeout(BUSY)?;
            connection.set_prepared_statement_cache_capacity(64);
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.execute_batch("PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;")
        };
        set().map_err(|e| self.err("cannot open", e))?;
        Ok(connection)
    }

    /// Whether nothing was ever made in the file, by us or by anybody else.
    fn is_empty(&self, connection: &Connection) -> Result<bool> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema) AND (SELECT application_id FROM pragma_application_id) = 0";
        connection.query_row(sql, [], |r| r.get(0)).map_err(|e| self.err("cannot read", e))
    }

    /// Puts the file into WAL mode, where a commit is durable with its one
    /// sync. Where SQLite cannot, it says so by the mode it stays in, not by an
    /// error; and a rollback journal's deletion may not survive power loss.
    fn write_ahead(&self, connection: &Connection) -> Result<()> {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get::<_, String>(0));
        match mode.map_err(|e| self.err("cannot set up", e))?.as_str() {
            "wal" => Ok(()),
            other => Err(Error::new(Code::StoreIo, format!("{} stays in journal mode '{other}', wal is needed", self.path.display()))),
        }
    }

    /// Makes the tables, unless another process just did.
    fn initialise(&self, connection: &Connection) -> Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        lock.exclusive()?;
        let made = self.is_empty(connection).and_then(|empty| {
            if !empty {
                return Ok(());
            }
            self.sql(connection, "PRAGMA page_size = 4096; PRAGMA synchronous = FULL;")?;
            self.write_ahead(connection)?;
            self.sql(
                connection,
                &format!("BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"),
            )
        });
        lock.unlock()?;
        made
    }

    fn check_format(&self, connection: &Connection) -> Result<()> {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |r| r.get::<_, i32>(0));
        let application = pragma("application_id").map_err(|e| self.err("cannot read", e))?;
        let format = pragma("user_version").map_err(|e| self.err("cannot read", e))?;
        let place = self.path.display();
        if application != APPLICATION_ID {
            return Err(Error::new(Code::StoreNotDatabase, format!("{place} is a SQLite file, but no mirrordna database")));
        }
        if format > FORMAT {
            return Err(Error::new(Code::StoreNewer, format!("{place} has store format {format}, this build knows {FORMAT}")));
        }
        if format != FORMAT {
            return Err(Error::new(Code::Altered, format!("{place} has store format {format}, which never existed")));
        }
        Ok(())
    }

    /// Checks that the paths still name the files that were opened; returns the
    /// length of the WAL.
    fn in_place(&self) -> Result<u64> {
        let mut wal = locked(&self.wal);
        let metadata = std::fs::metadata(self.wal_path()).ok();
        let now = metadata.as_ref().map(FileId::from);
        let same_wal = match (*wal, now) {
            // The WAL comes into being with the first use of the database.
            (None, now) => {
                *wal = now;
                true
            }
            (opened, now) => opened == now,
        };
        if same_wal && FileId::of(&self.path) == self.database {
            return Ok(metadata.map_or(0, |m| m.len()));
        }
        let what = if same_wal { "the database" } else { "the write-ahead log" };
        Err(Error::new(Code::StoreReplaced, format!("{what} at {} was deleted or replaced while it was open", self.path.display())))
    }

    /// Lets the WAL, which has `len` bytes, have blocks to write to before it
    /// needs them. A sync then writes what a commit wrote, and not the file's
    /// new length and blocks too, which costs as much again.
    ///
    /// Zeros are no frames (sqlite.org/fileformat2.html, section 4.1): whoever
    /// recovers the log stops at them. The caller holds SQLite's write lock, so
    /// nobody, mirrordna or not, writes frames to where they go; SQLite holds
    /// no locks on this file which closing it could cancel. They are synced
    /// with the frames that come to stand there.
    fn warm_wal(&self, len: u64) {
        // A length that is a multiple was lengthened, by whichever process.
        if len.is_multiple_of(WAL_STEP) || !(WAL_WARM..WAL_KEPT).contains(&len) || !self.warming.load(Ordering::Relaxed) {
            return;
        }
        let to = (len + WAL_STEP / 2).next_multiple_of(WAL_STEP);
        if lengthen(&self.wal_path(), *locked(&self.wal), to).is_err() {
            self.warming.store(false, Ordering::Relaxed);
        }
    }

    /// Commits what `work` does; returns the length of the WAL after it.
    fn commit(&self, connection: &Connection, work: &mut dyn FnMut(&mut dyn WriteTx) -> Result<()>) -> Result<u64> {
        // Whatever comes to stand there next, what this store knows is not it.
        let in_place = || self.in_place().inspect_err(|_| self.poisoned.store(true, Ordering::Release));
        let len = in_place()?;
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.err("cannot write", e))?;
        self.warm_wal(len);
        let done = work(&mut Tx::new(connection, &self.path));
        if let Err(e) = done {
            // If even the rollback fails, the next BEGIN does, and says why.
            let _reported_by_next_begin = connection.execute_batch("ROLLBACK");
            return Err(e);
        }
        if let Err(e) = connection.execute_batch("COMMIT") {
            let still_open = !connection.is_autocommit();
            // Of a full disk SQLite may have taken the transaction back itself.
            let rolled_back = !still_open || connection.execute_batch("ROLLBACK").is_ok();
            let error = self.err("cannot commit to", e);
            // A full disk is refused before anything is synced; any other
            // failure may have come from the sync itself, which is never retried.
            if error.code() == Code::StoreFull && rolled_back {
                return Err(error);
            }
            self.poisoned.store(true, Ordering::Release);
            return Err(Error::new(Code::StorePoisoned, "a commit failed; whether it reached the disk is unknown").caused_by(error));
        }
        in_place()
    }

    /// Folds the write-ahead log back without waiting for readers; returns
    /// whether all of it was folded, and so synced.
    fn fold_wal(&self, connection: &Connection) -> Result<bool> {
        let folded = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |r| {
            let (busy, frames, done): (i64, i64, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            Ok(busy == 0 && frames == done)
        });
        folded.map_err(|e| {
            let error = self.err("cannot fold the write-ahead log into", e);
            // It may have been a sync that failed.
            if error.code() == Code::StoreIo {
                self.poisoned.store(true, Ordering::Release);
            }
            error
        })
    }

    /// Whether the WAL grew by [`WAL_LIMIT`] since it was last folded for that
    /// or started anew. While readers keep it from starting anew it grows on,
    /// and folding it again at each commit would cost two syncs for little.
    fn is_wal_long(&self, now: u64) -> bool {
        let last = self.folded_at.load(Ordering::Relaxed);
        // Shorter than it was: it started anew since.
        let last = if now < last { 0 } else { last };
        let long = now > last + WAL_LIMIT;
        self.folded_at.store(if long { now } else { last }, Ordering::Relaxed);
        long
    }

    /// Folds all of the write-ahead log back and empties it; returns whether
    /// that was possible. A reader of an older state, here or in another
    /// process, stands in the way.
    fn empty_wal(&self, connection: &Connection, patience: Duration) -> Result<bool> {
        let wait = |time| connection.busy_timeout(time).map_err(|e| self.err("cannot set up", e));
        wait(patience)?;
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, i64>(0).map(|busy| busy == 0));
        wait(BUSY)?;
        match emptied.map_err(|e| self.err("cannot fold the write-ahead log into", e)) {
            Err(e) if e.code() == Code::StoreInUse => Ok(false),
            Err(e) => {
                // It may have been a sync that failed.
                if e.code() == Code::StoreIo {
                    self.poisoned.store(true, Ordering::Release);
                }
                Err(e)
            }
            emptied => emptied,
        }
    }

    /// Gives an emptied write-ahead log the blocks back that it had, so that the
    /// next commits do not pay for them. SQLite's write lock is held meanwhile,
    /// as [`Self::warm_wal`] asks.
    fn rewarm_wal(&self, connection: &Connection, before: u64) {
        if before < WAL_WARM || self.in_place().is_err() || connection.execute_batch("BEGIN IMMEDIATE").is_err() {
            return;
        }
        if self.wal_len() == 0 && lengthen(&self.wal_path(), *locked(&self.wal), WAL_STEP).is_err() {
            self.warming.store(false, Ordering::Relaxed);
        }
        // If even the rollback fails, the next BEGIN does, and says why.
        let _reported_by_next_begin = connection.execute_batch("ROLLBACK");
    }

    /// Empties the write-ahead log, unless readers stand in the way for so long.
    fn purge_within(&self, patience: Duration) -> Result<bool> {
        let Some(writer) = &self.writer else {
            return Err(Error::new(Code::StoreReadOnly, format!("{} is open for reading only", self.path.display())));
        };
        let connection = locked(writer);
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(Code::StorePoisoned, format!("{} refuses writes after an earlier failure", self.path.display())));
        }
        let before = self.in_place()?;
        if before == 0 {
            return Ok(true);
        }
        let emptied = self.empty_wal(&connection, patience)?;
        if emptied {
            self.rewarm_wal(&connection, before);
        }
        Ok(emptied)
    }

    fn wal_len(&self) -> u64 {
        std::fs::metadata(self.wal_path()).map_or(0, |m| m.len())
    }
}

impl Store for SqliteStore {
    fn read(&self, work: &mut dyn FnMut(&dyn ReadTx) -> Result<()>) -> Result<()> {
        // Else a reader that lives long would answer from the old file for ever.
        self.in_place()?;
        let idle = locked(&self.readers).pop();
        let connection = match idle {
            Some(c) => c,
            None => self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        // Prepared once for each connection: a read may be a few microseconds.
        let run = |sql: &str| connection.prepare_cached(sql)?.execute([]);
        run("BEGIN").map_err(|e| self.err("cannot read", e))?;
        let done = work(&Tx::new(&connection, &self.path));
        run("COMMIT").map_err(|e| self.err("cannot read", e))?;
        let mut pool = locked(&self.readers);
        if pool.len() < POOL {
            pool.push(connection);
        }
        done
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn WriteTx) -> Result<()>) -> Result<()> {
        let (Some(writer), Some(lock)) = (&self.writer, &self.lock) else {
            return Err(Error::new(Code::StoreReadOnly, format!("{} is open for reading only", self.path.display())));
        };
        let connection = locked(writer);
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(Code::StorePoisoned, format!("{} refuses writes after an earlier failure", self.path.display())));
        }
        lock.exclusive()?;
        let outcome = self.commit(&connection, work);
        lock.unlock()?;
        let len = outcome?;
        if self.is_wal_long(len) {
            // The commit stands whatever comes of this; a failure poisons the
            // store, and so is told to whoever writes next.
            let _told_by_the_next_write = self.fold_wal(&connection);
        }
        Ok(())
    }

    fn check(&self) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut check = || -> rusqlite::Result<()> {
            let mut statement = connection.prepare("PRAGMA integrity_check(50)")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let line: String = row.get(0)?;
                if line != "ok" {
                    findings.push(line);
                }
            }
            let expected = Connection::open_in_memory()?;
            expected.execute_batch(SCHEMA)?;
            if described(&connection)? != described(&expected)? {
                findings.push("the tables, indexes and views are not those of store format 1".to_owned());
            }
            Ok(())
        };
        match check() {
            Ok(()) => Ok(findings),
            Err(e) => {
                findings.push(e.to_string());
                Ok(findings)
            }
        }
    }

    fn maintain(&self) -> Result<bool> {
        match &self.writer {
            Some(writer) if !self.poisoned.load(Ordering::Acquire) => {
                let connection = locked(writer);
                if self.wal_len() == 0 { Ok(true) } else { self.fold_wal(&connection) }
            }
            _ => Ok(false),
        }
    }

    /// Rows are overwritten where they are deleted (`secure_delete`), but frames
    /// of the write-ahead log keep what they held until the log is emptied.
    fn purge(&self) -> Result<bool> {
        self.purge_within(PURGE_WAIT)
    }

    fn purge_now(&self) -> Result<bool> {
        self.purge_within(Duration::ZERO)
    }

    fn left_behind(&self) -> Vec<(LogNumber, u64)> {
        self.left_behind.clone()
    }

    fn discard(&self) -> Result<bool> {
        let (Some(writer), Some(open)) = (&self.writer, &self.open) else { return Ok(false) };
        let connection = locked(writer);
        let alone = open.try_exclusive()?;
        let empty = "SELECT NOT EXISTS (SELECT 1 FROM log) AND NOT EXISTS (SELECT 1 FROM event)";
        let empty = alone && connection.query_row(empty, [], |r| r.get(0)).map_err(|e| self.err("cannot read", e))?;
        if !empty || self.in_place().is_err() {
            open.shared()?;
            return Ok(false);
        }
        self.poisoned.store(true, Ordering::Release);
        // The lock files last: until then whoever opens the database waits.
        for end in ["-wal", "-shm", "", ".lock", ".open"] {
            // What cannot be removed stays as an empty database.
            let _stays = std::fs::remove_file(beside(&self.path, end));
        }
        Ok(true)
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

/// Names and definitions of everything in a schema, without `cache_*`, with what
/// each is of: nobody reads that of a view, but it is not what was written.
fn described(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let sql = "SELECT name, type || ' of ' || typeof(tbl_name) || ' ' || tbl_name || ': ' || coalesce(sql, '') FROM sqlite_schema
         WHERE tbl_name NOT LIKE 'cache!_%' ESCAPE '!' ORDER BY name";
    connection.prepare(sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
}

impl SqliteStore {
    /// Lets SQLite remove the empty write-ahead log, and its index, that a
    /// reader's connection made and may not remove: that takes a connection
    /// which can write. A log that holds something stays for the next writer.
    /// Nobody else has the database open, so no lock of SQLite's is lost.
    fn remove_empty_wal(&self) {
        if self.immutable || self.wal_len() != 0 || !self.wal_path().exists() {
            return;
        }
        let Ok(connection) = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE) else { return };
        // A failure leaves two files that the next writer removes.
        let _files_stay = self.check_format(&connection);
        let _files_stay = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    }
}

impl Drop for SqliteStore {
    /// The last user of the database folds the write-ahead log back and lets
    /// SQLite remove it; a reader only removes an empty one. Anybody else only
    /// lets go.
    fn drop(&mut self) {
        locked(&self.readers).clear();
        let Some(open) = &self.open else { return };
        let alone = open.try_exclusive().unwrap_or(false) && !self.poisoned.load(Ordering::Acquire);
        match self.writer.take() {
            Some(writer) if alone => {
                let connection = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
                // A failure here loses nothing: the WAL stays and is replayed.
                let _wal_is_kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
            }
            None if alone && self.in_place().is_ok() => self.remove_empty_wal(),
            _ => {}
        }
    }
}
