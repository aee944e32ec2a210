//! Databases that are files: one engine per file per process, and what is done
//! to a file without opening an engine.

use crate::builder::{Builder, Durability};
use crate::engine::{Engine, Inner, Open};
use crate::import::Progress;
use crate::keyring::provider::Unlock;
use crate::keyring::{Found, Keyring, NewProtection};
use crate::log::{genesis, lock};
use crate::url::StoreUrl;
use crate::verify::{Outside, Scope, VerifyReport};
use crate::witness;
use mirrordna_core::verify::note::{Checkpoint, Note};
use mirrordna_core::{Code, Error, Result};
use mirrordna_storage::{Mode, Store};
use std::collections::HashMap;
use std::fs::{File, Metadata, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// Removes a database file that was made in vain, and what stands beside it.
fn remove_database(path: &Path) {
    for end in ["", "-wal", "-shm", ".lock", ".open"] {
        let _absent = std::fs::remove_file(with_end(path, end));
    }
}

/// Device and inode of a database: one engine per file per process.
type FileKey = (u64, u64);

fn registry() -> &'static Mutex<HashMap<FileKey, std::sync::Weak<Open>>> {
    static OPEN: OnceLock<Mutex<HashMap<FileKey, std::sync::Weak<Open>>>> = OnceLock::new();
    OPEN.get_or_init(Mutex::default)
}

fn file_key(path: &Path) -> Option<FileKey> {
    std::fs::metadata(path).ok().as_ref().map(key_of)
}

fn key_of(file: &Metadata) -> FileKey {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// Opens the store that a URL names, with the adapter for it.
fn connect(url: &StoreUrl, mode: Mode, durability: Durability) -> Result<Arc<dyn Store>> {
    if mode != Mode::Read {
        crate::checks::may_write()?;
    }
    match url {
        #[cfg(feature = "sqlite")]
        StoreUrl::Sqlite(path) => {
            use mirrordna_storage_sqlite as sqlite;
            let sync = match durability {
                Durability::Full => sqlite::Durability::Full,
                Durability::Normal => sqlite::Durability::Normal,
            };
            Ok(Arc::new(sqlite::SqliteStore::open(path, mode, sync)?))
        }
        #[cfg(feature = "redb")]
        StoreUrl::Redb(path) => {
            use mirrordna_storage_redb as redb;
            // What is asked for is the least; redb always gives the most.
            let _at_least = durability;
            Ok(Arc::new(redb::RedbStore::open(path, mode)?))
        }
        #[allow(unreachable_patterns)]
        other => {
            let _unused = (mode, durability);
            let have = [("a path or sqlite:PATH", cfg!(feature = "sqlite")), ("redb:PATH", cfg!(feature = "redb")), ("memory:", true)];
            let have: Vec<&str> = have.into_iter().filter(|(_, built)| *built).map(|(spelling, _)| spelling).collect();
            let named = other.path().unwrap_or(Path::new("memory:")).display();
            Err(Error::new(Code::StoreUrl, format!("{named}: this build has no store of this kind"))
                .with_hint(format!("This build opens {}; others need feature `sqlite` or `redb`.", have.join(", "))))
        }
    }
}

fn file_of(url: &StoreUrl) -> Result<&Path> {
    url.path().ok_or_else(|| Error::new(Code::Bug, "a store in memory was taken for a file"))
}

pub(crate) fn open(url: &StoreUrl, builder: Builder) -> Result<Engine> {
    let path = file_of(url)?;
    // One engine per file per process: the locks of a file belong to the
    // process, and a second set of connections would be a second cache.
    let mut open = lock(registry());
    open.retain(|_, engine| engine.strong_count() > 0);
    // A closed engine may live on in handles that only get errors from it.
    if let Some(inner) = file_key(path).and_then(|key| open.get(&key)?.upgrade()).filter(|inner| !inner.is_closed()) {
        if inner.as_of && !builder.as_of {
            let message = format!("{} is open in this process as of the state in which it was found", path.display());
            return Err(Error::new(Code::StoreInUse, message).with_hint("Close that engine first."));
        }
        if inner.locked.is_some() && !(builder.read_only && builder.the_unlock()?.is_empty()) {
            let message = format!("{} is open in this process without its keys", path.display());
            return Err(Error::new(Code::StoreInUse, message).with_hint("Close that engine first."));
        }
        return Ok(Engine { inner });
    }
    let mut mode = match (path.exists(), builder.read_only) {
        (false, _) if builder.create => Mode::Create,
        (_, true) => Mode::Read,
        (_, false) => Mode::Write,
    };
    let store = match connect(url, mode, builder.durability) {
        // Another process made it since we looked.
        Err(e) if mode == Mode::Create && e.code() == Code::StoreInUse => {
            mode = Mode::Write;
            connect(url, mode, builder.durability)?
        }
        opened => opened?,
    };
    let inner = Inner::open(store.clone(), Some(witness::place_of(path)), builder).inspect_err(|_| {
        // A database that could not be given its log and keys never was one;
        // but another process may have given it both.
        if mode == Mode::Create {
            let _stays = store.discard();
        }
    })?;
    if let Some(key) = file_key(path) {
        open.insert(key, Arc::downgrade(&inner));
    }
    Ok(Engine { inner })
}

/// Opens a database as of the state in which it is found, for `work` to go on
/// from there; what does not verify is refused.
pub(crate) fn fork<T>(url: &StoreUrl, builder: Builder, progress: Progress<'_>, work: &mut dyn FnMut(&Inner) -> Result<T>) -> Result<T> {
    let path = file_of(url)?;
    let refuse_if_open = |open: &HashMap<FileKey, std::sync::Weak<Open>>| {
        if file_key(path).and_then(|key| open.get(&key)?.upgrade()).is_none_or(|inner| inner.is_closed()) {
            return Ok(());
        }
        let message = format!("{} is open in this process", path.display());
        Err(Error::new(Code::StoreInUse, message).with_hint("Close that engine first."))
    };
    refuse_if_open(&lock(registry()))?;
    let builder = Builder { scope: Scope::Everything, ..builder };
    let report = verify(url, &builder, progress)?;
    let expected = [Code::RolledBack.name(), Code::Forked.name()];
    if let Some(other) = report.problems.iter().find(|problem| !expected.contains(&problem.code.as_str())) {
        let message =
            format!("{} was altered, nothing can go on from it: {} at {}: {}", path.display(), other.code, other.place, other.message);
        return Err(Error::new(Code::Altered, message));
    }
    // Not before: that took its time, in which others may be opened. What is
    // appended meanwhile is not what was accepted.
    let open = lock(registry());
    refuse_if_open(&open)?;
    let store = connect(url, Mode::Write, Durability::Full)?;
    let inner = Inner::open(store, Some(witness::place_of(path)), Builder { as_of: true, read_only: false, create: false, ..builder })?;
    work(&inner)
}

pub(crate) fn verify(url: &StoreUrl, builder: &Builder, progress: Progress<'_>) -> Result<VerifyReport> {
    let path = file_of(url)?;
    match connect(url, Mode::Read, Durability::Full) {
        Ok(store) => verify_store(&*store, path, builder, progress),
        // A file that is damaged beyond opening is a finding too.
        Err(e) if e.code() == Code::Altered => Ok(crate::verify::unreadable(&e)),
        // Nothing here has it open as a database: it is none, or this build or
        // its file system has no store for it.
        Err(e) if matches!(e.code(), Code::StoreNotDatabase | Code::StoreUrl) => match crate::backup::recognise(path) {
            Some(export) => crate::backup::verify(export, path, builder, progress),
            None => Err(e),
        },
        Err(e) => Err(e),
    }
}

/// Verifies what a store holds, by the keyring and the head witness of this
/// machine and what the builder trusts. `path` is where it was found.
pub(crate) fn verify_store(store: &dyn Store, path: &Path, builder: &Builder, progress: Progress<'_>) -> Result<VerifyReport> {
    let keyring = keyring(store, builder)?;
    let folder = builder.witness.folder();
    let witness = folder.as_deref().map(|f| (f, witness::place_of(path)));
    for note in &builder.kept {
        let read = Note::parse(note.as_bytes()).and_then(|n| Checkpoint::parse(n.text).map(drop));
        read.map_err(|e| Error::new(Code::PolicyInvalid, "what was kept is no checkpoint").caused_by(e))?;
    }
    let outside = Outside { policy: &builder.policy, kept: &builder.kept };
    crate::verify::database(store, keyring.as_deref(), outside, witness, builder.scope, progress)
}

/// The keyring of the database in a store, where it is here and opens.
pub(crate) fn keyring(store: &dyn Store, builder: &Builder) -> Result<Option<Arc<Keyring>>> {
    let mut database = None;
    let named = store.read(&mut |tx| {
        database = tx.logs()?.first().and_then(|row| genesis(tx, row).ok()).map(|g| g.database);
        Ok(())
    });
    // Rows that cannot be read are what a verification is to report.
    if let Err(e) = named
        && e.code() != Code::Altered
    {
        return Err(e);
    }
    let Some(id) = database else { return Ok(None) };
    let unlock = builder.the_unlock()?;
    match Keyring::open(&builder.keys, id, &unlock)? {
        Found::Open(keyring) => Ok(Some(keyring)),
        // Whoever brings nothing that opens it verifies what needs no key.
        Found::Locked(_) | Found::Absent => Ok(None),
    }
}

/// Makes a new key for the keyring of a database that nobody has open.
pub(crate) fn rotate_keys(url: &StoreUrl, builder: &Builder, to: &NewProtection) -> Result<()> {
    let path = file_of(url)?;
    let in_use = || {
        let message = format!("{} is open: whoever has it open would go on writing keys under the old key", path.display());
        Error::new(Code::StoreInUse, message).with_hint("Close it, in this process and in others, and try again then.")
    };
    let mut open = lock(registry());
    open.retain(|_, engine| engine.strong_count() > 0);
    if file_key(path).is_some_and(|key| open.contains_key(&key)) {
        return Err(in_use());
    }
    let store = connect(url, Mode::Write, Durability::Full)?;
    let unlock = builder.the_unlock()?;
    let keyring = keyring_named(&*store, builder, &unlock)?;
    // Until this is done nobody opens it: a store of redb has one user anyway,
    // one of SQLite no new one while this lock is held.
    let (_store, users) = match url {
        StoreUrl::Sqlite(_) => {
            drop(store);
            let users = with_end(path, ".open");
            (None, Some(File::options().read(true).write(true).open(&users).map_err(|e| io(&users, "cannot open the lock file", e))?))
        }
        _ => (Some(store), None),
    };
    match users.as_ref().map(File::try_lock) {
        Some(Err(TryLockError::WouldBlock)) => return Err(in_use()),
        Some(Err(TryLockError::Error(e))) => return Err(io(path, "cannot lock", e)),
        _ => {}
    }
    keyring.reseal(&unlock, to, &*builder.entropy)
}

/// The keyring of the database in a store.
fn keyring_named(store: &dyn Store, builder: &Builder, unlock: &Unlock) -> Result<Arc<Keyring>> {
    let mut database = None;
    store.read(&mut |tx| {
        database = tx.logs()?.first().map(|row| genesis(tx, row)).transpose()?.map(|g| g.database);
        Ok(())
    })?;
    let id = database.ok_or_else(|| Error::new(Code::StoreNotDatabase, format!("{} holds no log yet", store.location())))?;
    match Keyring::open(&builder.keys, id, unlock)? {
        Found::Open(keyring) => Ok(keyring),
        Found::Locked(e) => Err(e),
        Found::Absent => Err(crate::log::missing("the keyring of this database is not on this machine")),
    }
}

/// A database that is made beside the place where it is to be, and put there
/// whole: whoever is killed before that leaves nothing that could be opened for
/// it. What was left is removed by the next who makes one for that place.
pub(crate) struct Making {
    target: PathBuf,
    temporary: PathBuf,
    url: StoreUrl,
    /// Held exclusively, so that nobody else makes one for this place.
    _lock: File,
    lock_path: PathBuf,
}

impl Making {
    /// Begins one where `url` names a file that is not there.
    pub(crate) fn begin(url: &StoreUrl) -> Result<Self> {
        let named = file_of(url)?;
        let target = std::path::absolute(named).map_err(|e| io(named, "cannot tell the folder of", e))?;
        let temporary = with_end(&target, ".restoring");
        let url = match url {
            StoreUrl::Redb(_) => StoreUrl::Redb(temporary.clone()),
            _ => StoreUrl::Sqlite(temporary.clone()),
        };
        if target.exists() {
            return Err(taken(&target));
        }
        // Of a database that was removed: SQLite would take it for the log of
        // the one that is to come.
        let stray = with_end(&target, "-wal");
        if stray.exists() {
            let message = format!("{} is left of another database that stood there", stray.display());
            return Err(Error::new(Code::StoreInUse, message).with_hint("Move it to the database it belongs to, or choose another path."));
        }
        let folder = target.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(|e| io(folder, "cannot create the folder", e))?;
        let lock_path = with_end(&temporary, ".making");
        let lock = loop {
            let opened = File::options().create(true).truncate(false).write(true).open(&lock_path);
            let file = opened.map_err(|e| io(&lock_path, "cannot open the lock file", e))?;
            match file.try_lock() {
                // A lock on a file that was removed meanwhile locks nothing.
                Ok(()) if file.metadata().is_ok_and(|m| file_key(&lock_path) == Some(key_of(&m))) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let message = format!("another process is restoring into {}", target.display());
                    return Err(Error::new(Code::StoreInUse, message).with_hint("Wait until it is done, or choose another path."));
                }
                Err(TryLockError::Error(e)) => return Err(io(&lock_path, "cannot lock", e)),
            }
        };
        remove_database(&temporary);
        Ok(Self { target, temporary, url, _lock: lock, lock_path })
    }

    /// The store to be filled, empty.
    pub(crate) fn store(&self) -> Result<Arc<dyn Store>> {
        connect(&self.url, Mode::Create, Durability::Full)
    }

    /// Puts the database in its place. Nobody may have it open any more.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { target, temporary, .. } = &self;
        if std::fs::metadata(with_end(temporary, "-wal")).is_ok_and(|m| m.len() > 0) {
            let message = format!("the write-ahead log of {} could not be folded back", temporary.display());
            return Err(Error::new(Code::StoreIo, message).with_hint("Look whether the disk is full, or fails; then restore again."));
        }
        File::open(temporary).and_then(|f| f.sync_all()).map_err(|e| io(temporary, "cannot sync", e))?;
        // Unlike a rename, a link never takes the place of what came meanwhile.
        match std::fs::hard_link(temporary, target) {
            Ok(()) => {}
            Err(_) if target.exists() => return Err(taken(target)),
            // There are file systems without links.
            Err(_) => std::fs::rename(temporary, target).map_err(|e| io(target, "cannot put the database in its place at", e))?,
        }
        let folder = target.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io(folder, "cannot sync the folder", e))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        remove_database(&self.temporary);
        // Still locked: whoever waits for it looks whether it is in place.
        let _stays = std::fs::remove_file(&self.lock_path);
    }
}

fn taken(target: &Path) -> Error {
    Error::new(Code::StoreInUse, format!("{} exists already", target.display()))
        .with_hint("Choose another path, or open the database that is there.")
}

fn io(path: &Path, doing: &str, e: std::io::Error) -> Error {
    use std::io::ErrorKind;
    let code = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::StoreFull,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Code::StoreReadOnly,
        _ => Code::StoreIo,
    };
    Error::new(code, format!("{doing} {}", path.display())).caused_by(e)
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}
