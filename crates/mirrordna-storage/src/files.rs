//! What adapters that keep a database in one file share: which file
//! a path names, and where it may not lie.

use crate::Mode;
use mirrordna_core::{Code, Error, Result};
use rustix::fs::StatFs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `path` with something appended to its last component.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What a path names from the working folder as it is now. A host that changes
/// the folder later must not make a store look for its files elsewhere.
///
/// # Errors
/// `store.io` where the working folder is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::new(Code::StoreIo, format!("{} is a relative path, and the working folder cannot be found", path.display()))
            .caused_by(e)
            .with_hint("Give an absolute path, or change to a folder that is there.")
    })
}

/// Which file a path names: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(u64, u64);

impl FileId {
    /// `None` if the path names nothing.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|m| Self::from(&m))
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// Translates an error of the file system.
#[must_use]
pub fn from_io(path: &Path, doing: &str, e: std::io::Error) -> Error {
    Error::new(io_code(&e), format!("{doing} {}", path.display())).caused_by(e)
}

/// The code of an error of the file system.
#[must_use]
pub fn io_code(e: &std::io::Error) -> Code {
    use std::io::ErrorKind;
    match e.kind() {
        ErrorKind::NotFound => Code::StoreNotFound,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::StoreFull,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Code::StoreReadOnly,
        _ => Code::StoreIo,
    }
}

/// Checks that a database may be opened at `path` in this way: a local file
/// that is there, or for [`Mode::Create`] is not, in a folder that is made
/// where it is missing. `engine` names who would lose data on a network.
///
/// # Errors
/// `store.not_found`, `store.not_a_database` for what is no file,
/// `store.in_use` where a new one is to be made and something is there,
/// `store.url` on a network file system, `store.*` from the file system.
pub fn prepare(path: &Path, mode: Mode, engine: &str) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    check_local(folder, engine)?;
    match std::fs::metadata(path) {
        Ok(m) if !m.is_file() => Err(Error::new(Code::StoreNotDatabase, format!("{} is not a file", path.display()))),
        Ok(_) if mode == Mode::Create => Err(Error::new(Code::StoreInUse, format!("{} exists already", path.display()))
            .with_hint("Choose another path, or open the database that is there.")),
        Err(_) if mode == Mode::Create => {
            std::fs::create_dir_all(folder).map_err(|e| from_io(folder, "cannot create the folder", e))?;
            // What the missing folder hid.
            check_local(folder, engine)
        }
        Ok(_) => Ok(()),
        Err(e) => Err(from_io(path, "there is no database at", e)),
    }
}

/// File systems on which locks and shared memory do not work as on a disk.
const NETWORK: [(i64, &str); 5] = [(0x6969, "NFS"), (0x517b, "SMB"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB2"), (0x0102_1997, "9P")];

/// Refuses folders on network file systems.
fn check_local(folder: &Path, engine: &str) -> Result<()> {
    let Ok(StatFs { f_type, .. }) = rustix::fs::statfs(folder) else { return Ok(()) };
    #[allow(clippy::unnecessary_cast)]
    let kind = f_type as i64 & 0xffff_ffff;
    match NETWORK.iter().find(|(magic, _)| *magic == kind) {
        None => Ok(()),
        Some((_, name)) => Err(Error::new(
            Code::StoreUrl,
            format!("{} is on a network file system ({name}), where {engine} can lose data", folder.display()),
        )
        .with_hint("Put the database on a local disk.")),
    }
}
