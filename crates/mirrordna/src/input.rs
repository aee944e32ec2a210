//! Files that a caller names: what is to be read whole is looked at before it is
//! opened and never read beyond its limit.
//!
//! To open a pipe waits for whoever writes to it, to read a device may never
//! end, and a file of a gibibyte fills the memory before anybody sees that it
//! is no policy. So a path is refused unless it is a regular file. Standard
//! input (`-`, `/dev/stdin`, and what a shell hands over under `/dev/fd`) is what
//! its writer makes of it; it is read up to the limit too.
//!
//! ```
//! use mirrordna::{Code, input};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let path = dir.path().join("kept");
//! std::fs::write(&path, "four").unwrap();
//! assert_eq!(input::read(&path, "a note", 4, Code::InputInvalid)?, b"four");
//! let long = input::read(&path, "a note", 3, Code::InputInvalid).unwrap_err();
//! assert_eq!(long.code(), Code::LimitExceeded);
//! assert!(input::read(dir.path(), "a note", 4, Code::InputInvalid).unwrap_err().message().ends_with("is a folder"));
//! # Ok::<(), mirrordna::Error>(())
//! ```

use mirrordna_core::{Code, Error, Result};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

/// Longest small text file that is read: a policy, a checkpoint, a line of a
/// witness, a configuration; bytes.
pub const TEXT: u64 = 64 * 1024;

/// Whether a path stands for something that this process was handed, open.
fn is_handed(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin") || path.starts_with("/dev/fd")
}

/// What something is that is no regular file.
fn sort(meta: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let of = meta.file_type();
        if of.is_fifo() {
            return "a pipe";
        }
        if of.is_char_device() || of.is_block_device() {
            return "a device";
        }
        if of.is_socket() {
            return "a socket";
        }
    }
    if meta.is_dir() { "a folder" } else { "no file" }
}

fn unreadable(path: &Path, what: &str, code: Code, e: std::io::Error) -> Error {
    Error::new(code, format!("cannot read {what}: {}", path.display())).caused_by(e)
}

fn regular(path: &Path, what: &str, meta: &Metadata, code: Code) -> Result<()> {
    if meta.is_file() {
        return Ok(());
    }
    let error = Error::new(code, format!("cannot read {what}: {} is {}", path.display(), sort(meta)));
    Err(error.with_hint("Name a regular file; what a program writes is read from standard input where a command takes `-`."))
}

/// Opens a regular file to be read from its beginning, however long it is.
/// `what` it should be ("a policy") is for the message, `code` for the error.
///
/// # Errors
/// `code` where it cannot be opened, and where it is a folder, a pipe, a socket
/// or a device.
pub fn open(path: &Path, what: &str, code: Code) -> Result<File> {
    // Before it is opened: to open a pipe waits, to open a device may do more.
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, what, code, e))?;
    regular(path, what, &meta, code)?;
    let file = File::open(path).map_err(|e| unreadable(path, what, code, e))?;
    let meta = file.metadata().map_err(|e| unreadable(path, what, code, e))?;
    regular(path, what, &meta, code).map(|()| file)
}

/// Reads a file that may have at most `limit` bytes.
///
/// # Errors
/// `limit.exceeded` for a longer one, which is not read to its end; otherwise
/// as [`open`].
pub fn read(path: &Path, what: &str, limit: u64, code: Code) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return bounded(std::io::stdin().lock(), path, what, limit, code);
    }
    let file = match is_handed(path) {
        true => File::open(path).map_err(|e| unreadable(path, what, code, e))?,
        false => open(path, what, code)?,
    };
    // A long one is refused unread; one that grows meanwhile, at the limit.
    let length = file.metadata().ok().filter(Metadata::is_file).map_or(0, |meta| meta.len());
    if length > limit {
        return Err(too_long(path, what, limit));
    }
    // Room for all of it: where it is a secret, growing would leave copies.
    filled(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1), file, path, what, limit, code)
}

/// The same of text.
///
/// # Errors
/// As [`read`], and `code` where it is not UTF-8.
pub fn text(path: &Path, what: &str, limit: u64, code: Code) -> Result<String> {
    // Without the bytes: they may be a secret.
    let not_text = |e: std::string::FromUtf8Error| {
        Error::new(code, format!("cannot read {what}: {} is not UTF-8 text", path.display())).caused_by(e.utf8_error())
    };
    String::from_utf8(read(path, what, limit, code)?).map_err(not_text)
}

/// Reads what has at most `limit` bytes from where it is open already; `path` is
/// what it is called.
///
/// # Errors
/// `limit.exceeded` for what is longer, `code` where reading fails.
pub fn bounded(from: impl Read, path: &Path, what: &str, limit: u64, code: Code) -> Result<Vec<u8>> {
    filled(Vec::new(), from, path, what, limit, code)
}

fn filled(mut bytes: Vec<u8>, from: impl Read, path: &Path, what: &str, limit: u64, code: Code) -> Result<Vec<u8>> {
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| unreadable(path, what, code, e))?;
    if bytes.len() as u64 > limit {
        return Err(too_long(path, what, limit));
    }
    Ok(bytes)
}

fn too_long(path: &Path, what: &str, limit: u64) -> Error {
    let named = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    Error::new(Code::LimitExceeded, format!("{named} has more than {limit} bytes, the limit of {what}"))
}
