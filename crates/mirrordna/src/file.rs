//! Databases that are files: one engine per file per process, and what is done
//! to a file without opening an engine.

use crate::builder::{Builder, Durability};
use crate::engine::{Engine, Inner};
use crate::import::Progress;
use crate::keyring::Keyring;
use crate::log::{genesis, lock};
use crate::verify::VerifyReport;
use crate::witness;
use mirrordna_core::{Code, Result};
use mirrordna_storage::Store;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// Removes a database file that was made in vain, and what stands beside it.
pub(crate) fn remove_database(path: &Path) {
    for end in ["", "-wal", "-shm", ".lock", ".open"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let _absent = std::fs::remove_file(name);
    }
}

/// Device and inode of a database: one engine per file per process.
type FileKey = (u64, u64);

fn registry() -> &'static Mutex<HashMap<FileKey, std::sync::Weak<Inner>>> {
    static OPEN: OnceLock<Mutex<HashMap<FileKey, std::sync::Weak<Inner>>>> = OnceLock::new();
    OPEN.get_or_init(Mutex::default)
}

fn file_key(path: &Path) -> Option<FileKey> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

pub(crate) fn open(path: &Path, builder: Builder) -> Result<Engine> {
    use mirrordna_storage_sqlite::{Durability as Sync, Mode, SqliteStore};
    // One engine per file per process: SQLite's POSIX locks belong to the
    // process, and a second set of connections would be a second cache.
    let mut open = lock(registry());
    open.retain(|_, engine| engine.strong_count() > 0);
    // A closed engine may live on in handles that only get errors from it.
    if let Some(inner) = file_key(path).and_then(|key| open.get(&key)?.upgrade()).filter(|inner| !inner.is_closed()) {
        return Ok(Engine { inner });
    }
    let mode = match (path.exists(), builder.read_only) {
        (false, _) if builder.create => Mode::Create,
        (_, true) => Mode::Read,
        (_, false) => Mode::Write,
    };
    let sync = match builder.durability {
        Durability::Full => Sync::Full,
        Durability::Normal => Sync::Normal,
    };
    let store = SqliteStore::open(path, mode, sync)?;
    let inner = Inner::open(Arc::new(store), Some(witness::place_of(path)), builder).inspect_err(|_| {
        // A database that could not be given its log and keys never was one.
        if mode == Mode::Create {
            remove_database(path);
        }
    })?;
    if let Some(key) = file_key(path) {
        open.insert(key, Arc::downgrade(&inner));
    }
    Ok(Engine { inner })
}

pub(crate) fn verify(path: &Path, builder: &Builder, progress: Progress<'_>) -> Result<VerifyReport> {
    use mirrordna_storage_sqlite::{Durability as Sync, Mode, SqliteStore};
    let store = match SqliteStore::open(path, Mode::Read, Sync::Full) {
        // A file that is damaged beyond opening is a finding too.
        Err(e) if e.code() == Code::Altered => return Ok(crate::verify::unreadable(&e)),
        opened => opened?,
    };
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
    let keyring = match database {
        Some(id) => {
            let passphrase = builder.the_passphrase()?;
            match Keyring::open(&builder.keys, id, passphrase.as_deref().map(String::as_str)) {
                // Whoever names no passphrase verifies what needs no key.
                Err(e) if e.code() == Code::KeyPassphrase && passphrase.is_none() => None,
                opened => opened?,
            }
        }
        None => None,
    };
    let folder = builder.witness.folder();
    let witness = folder.as_deref().map(|f| (f, witness::place_of(path)));
    crate::verify::database(&store, keyring.as_ref(), &builder.trusted, witness, progress)
}

/// An empty store at a path where there is none.
pub(crate) fn create(path: &Path) -> Result<Box<dyn Store>> {
    use mirrordna_storage_sqlite::{Durability as Sync, Mode, SqliteStore};
    Ok(Box::new(SqliteStore::open(path, Mode::Create, Sync::Full)?))
}
