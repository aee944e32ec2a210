//! The lock files beside a database: who has it open, who writes.
//!
//! Nothing here opens the database file itself. A plain open and close of it
//! inside this process would cancel SQLite's POSIX locks; only SQLite touches
//! it while a connection lives.

use mirrordna_core::Result;
use mirrordna_storage::files::{FileId, from_io};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

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

    /// Whether the path still names the file that was opened.
    pub(crate) fn is_in_place(&self) -> bool {
        let id = |m: std::fs::Metadata| (m.dev(), m.ino());
        self.file.metadata().ok().map(id) == std::fs::metadata(&self.path).ok().map(id)
    }

    pub(crate) fn unlock(&self) -> Result<()> {
        self.file.unlock().map_err(|e| from_io(&self.path, "cannot unlock", e))
    }
}

/// Lengthens the file at `path` with zeros to `to` bytes, if it is the one that
/// `id` names. Where they do not fit it keeps the length it had.
///
/// They are written: blocks that are only reserved would still have to be
/// entered in the file system's own log when they are first used.
pub(crate) fn lengthen(path: &Path, id: Option<FileId>, to: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let metadata = file.metadata()?;
    if Some(FileId::from(&metadata)) != id {
        return Ok(());
    }
    let zeros = [0; 1 << 16];
    let mut at = metadata.len();
    while at < to {
        let n = zeros.len().min(usize::try_from(to - at).unwrap_or(zeros.len()));
        if let Err(e) = file.write_all_at(&zeros[..n], at) {
            file.set_len(metadata.len())?;
            return Err(e);
        }
        at += n as u64;
    }
    Ok(())
}

/// Writes a file over itself and syncs it.
///
/// After a crash or a sync that failed, what is read from a write-ahead log may
/// be in memory only, in pages that count as clean: no later sync brings them
/// to the disk, yet everything committed after them depends on them. Writing
/// the same bytes again makes the pages dirty, so that the sync is one. Whatever
/// happens meanwhile, the file's content is the same.
pub(crate) fn settle(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = match options.read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(from_io(path, "cannot open", e)),
    };
    let (mut buffer, mut at) = (vec![0; 1 << 18], 0);
    let mut rewrite = || -> std::io::Result<()> {
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => break,
                n => {
                    file.write_all_at(&buffer[..n], at)?;
                    at += n as u64;
                }
            }
        }
        if at > 0 { file.sync_data() } else { Ok(()) }
    };
    rewrite().map_err(|e| from_io(path, "cannot rewrite and sync", e))
}
