//! The lock files beside a database: who has it open, who writes.
//!
//! Nothing here opens the database file itself. A plain open and close of it
//! inside this process would cancel SQLite's POSIX locks; only SQLite touches
//! it while a connection lives.

use mirrordna_core::Result;
use mirrordna_storage::files::from_io;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;

/// A lock file beside the database.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(|e| from_io(&path, "cannot open the lock file", e))?;
        Ok(Self { file, path })
    }

    pub(crate) fn exclusive(&self) -> Result<()> {
        self.file.lock().map_err(|e| from_io(&self.path, "cannot lock", e))
    }

    pub(crate) fn shared(&self) -> Result<()> {
        self.file.lock_shared().map_err(|e| from_io(&self.path, "cannot lock", e))
    }

    /// Whether nobody else holds the lock, which is ours then.
    pub(crate) fn try_exclusive(&self) -> Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(from_io(&self.path, "cannot lock", e)),
        }
    }

    pub(crate) fn unlock(&self) -> Result<()> {
        self.file.unlock().map_err(|e| from_io(&self.path, "cannot unlock", e))
    }
}
