//! The files around a database: who has it open, who writes, and whether the
//! paths still name the files that were opened.
//!
//! Nothing here opens the database file itself. A plain open and close of it
//! inside this process would cancel SQLite's POSIX locks; only SQLite touches
//! it while a connection lives.

use crate::error::from_io;
use mirrordna_core::{Code, Error, Result};
use rustix::fs::StatFs;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `path` with something appended to its last component.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Which file a path names: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// `None` if the path names nothing.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|m| Self(m.dev(), m.ino()))
    }
}

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

/// File systems on which SQLite's locks and shared memory do not work.
const NETWORK: [(i64, &str); 5] = [(0x6969, "NFS"), (0x517b, "SMB"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB2"), (0x0102_1997, "9P")];

/// Refuses folders on network file systems.
pub(crate) fn check_local(folder: &Path) -> Result<()> {
    let Ok(StatFs { f_type, .. }) = rustix::fs::statfs(folder) else { return Ok(()) };
    #[allow(clippy::unnecessary_cast)]
    let kind = f_type as i64 & 0xffff_ffff;
    match NETWORK.iter().find(|(magic, _)| *magic == kind) {
        None => Ok(()),
        Some((_, name)) => Err(Error::new(
            Code::StoreUrl,
            format!("{} is on a network file system ({name}), where SQLite can lose data", folder.display()),
        )
        .with_hint("Put the database on a local disk.")),
    }
}
