//! Importing what other systems wrote. Each format has a module; what they
//! share is the report and the way records become events: in batches that are
//! atomic, with idempotency tags, so that a killed import resumes and a second
//! run of the same file appends nothing.

mod chat;

use crate::engine::Tenant;
use mirrordna_core::{Code, Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What kind of file is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Find out.
    #[default]
    Auto,
    /// Chat turns, JSON Lines.
    Chat,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "auto" => Ok(Self::Auto),
            "chat" => Ok(Self::Chat),
            _ => Err(Error::new(Code::ImportFormat, format!("'{s}' is no import format"))),
        }
    }
}

/// A record that was not taken as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// File.
    pub file: String,
    /// Line, from 1, where the format has lines.
    pub line: u64,
    /// Stable reason.
    pub reason: &'static str,
    /// What was found.
    pub message: String,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Files read.
    pub files: u64,
    /// Records taken as they were, also by an earlier run.
    pub kept: u64,
    /// Records taken after a repair.
    pub repaired: u64,
    /// Records not taken.
    pub refused: u64,
    /// Events appended by this run.
    pub events: u64,
    /// Of the kept ones: those whose time named no zone, so that UTC was assumed.
    pub assumed_utc: u64,
    /// Repairs and refusals, at most a thousand.
    pub notes: Vec<Note>,
}

/// Notes that a report lists; more are counted only.
const MAX_NOTES: usize = 1_000;

impl ImportReport {
    fn note(&mut self, file: &Path, line: u64, reason: &'static str, message: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { file: file.display().to_string(), line, reason, message });
        }
    }
}

/// Progress of an import: bytes read, of how many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Imports files and folders into a tenant.
///
/// # Errors
/// `import.unreadable`, `import.format`, and whatever stops the engine from
/// writing. What was imported before stays and the next run goes on from there.
pub fn import(tenant: &Tenant, paths: &[PathBuf], format: Format, progress: Progress<'_>) -> Result<ImportReport> {
    let mut report = ImportReport::default();
    for file in plan(paths, format)? {
        report.files += 1;
        chat::import(tenant, &file, &mut report, progress)?;
    }
    Ok(report)
}

/// The files that an import of `paths` would read, without reading them.
///
/// # Errors
/// `import.unreadable`, `import.format`.
pub fn plan(paths: &[PathBuf], format: Format) -> Result<Vec<PathBuf>> {
    let found = paths.iter().map(|path| files(path, format)).collect::<Result<Vec<_>>>()?;
    Ok(found.concat())
}

/// The files that a path names: itself, or what a folder holds.
fn files(path: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let unreadable = |e: std::io::Error| Error::new(Code::ImportUnreadable, format!("cannot read {}", path.display())).caused_by(e);
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    let is_chat = |p: &Path| p.extension().is_some_and(|e| e == "jsonl" || e == "ndjson");
    if meta.is_file() {
        if format == Format::Auto && !is_chat(path) {
            return Err(Error::new(Code::ImportFormat, format!("{} is of no format that is recognised", path.display())));
        }
        return Ok(vec![path.to_owned()]);
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.is_file() && is_chat(&file) {
            found.push(file);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Error::new(Code::ImportFormat, format!("{} holds no .jsonl file", path.display())));
    }
    Ok(found)
}
