//! Importing what other systems wrote. Each format has a module; what they
//! share is the report and the way records become events: in batches that are
//! atomic, with idempotency tags, so that a killed import resumes and a second
//! run of the same file appends nothing.
//!
//! ```
//! use mirrordna::Engine;
//! use mirrordna::import::{Format, import};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let chat = dir.path().join("chat.jsonl");
//! std::fs::write(&chat, "{\"speaker\":\"Sam\",\"text\":\"Which place did we book?\"}\nnot JSON\n").unwrap();
//! let engine = Engine::open("memory:")?;
//! let report = import(&engine.main(), &[chat.clone()], Format::Auto, &mut |_, _| {})?;
//! assert_eq!((report.kept, report.refused, report.notes[0].line), (1, 1, 2));
//! assert_eq!(engine.memories().search("the place").run()?[0].record.speaker.as_deref(), Some("Sam"));
//!
//! let again = import(&engine.main(), &[chat], Format::Auto, &mut |_, _| {})?;
//! assert_eq!(again.events, 0);
//! # Ok::<(), mirrordna::Error>(())
//! ```

mod chat;
mod chatgpt;
mod intake;
#[cfg(feature = "compat")]
mod ledger;
mod subject;
mod turns;
#[cfg(feature = "compat")]
mod upstream;

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
    /// A vault folder, or single files, of the upstream SDKs.
    Upstream,
    /// `conversations.json` of a ChatGPT export.
    ChatGpt,
    /// A call ledger of the older form, JSON: records with digests of what
    /// Python prints.
    Ledger,
    /// What [`Tenant::export_subject`] wrote.
    Subject,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "auto" => Ok(Self::Auto),
            "chat" => Ok(Self::Chat),
            "upstream" => Ok(Self::Upstream),
            "chatgpt" => Ok(Self::ChatGpt),
            "ledger" => Ok(Self::Ledger),
            "subject" => Ok(Self::Subject),
            _ => Err(Error::new(Code::ImportFormat, format!("'{s}' is no import format"))),
        }
    }
}

/// A record that was not taken as it was, or a file that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// File.
    pub file: String,
    /// Line, from 1; where the format has no lines, the number of the record or
    /// conversation; 0 for the whole file.
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
    /// Files in the folders searched that are of no format that is imported
    /// (a README, a picture); they are not among the files read.
    pub skipped: u64,
    /// Repairs and refusals, then the files that were skipped; at most a
    /// thousand.
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

/// Told of progress: how much is done, of how much. An import counts the bytes
/// of a file, a verification and an export count events.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Imports files and folders into a tenant.
///
/// # Errors
/// `import.unreadable`, `import.format`, and whatever stops the engine from
/// writing. What was imported before stays and the next run goes on from there.
pub fn import(tenant: &Tenant, paths: &[PathBuf], format: Format, progress: Progress<'_>) -> Result<ImportReport> {
    let mut report = ImportReport::default();
    let Plan { sources, skipped, .. } = survey(paths, format)?;
    for source in sources {
        report.files += 1;
        match source.format {
            #[cfg(feature = "compat")]
            Format::Upstream => upstream::import(tenant, &source.file, &mut report, progress)?,
            #[cfg(feature = "compat")]
            Format::Ledger => ledger::import(tenant, &source.file, &mut report, progress)?,
            Format::Subject => subject::import(tenant, &source.file, &mut report, progress)?,
            Format::ChatGpt => chatgpt::import(tenant, &source.file, &mut report, progress)?,
            _ => chat::import(tenant, &source.file, &mut report, progress)?,
        }
    }
    // Last, so that they leave room for what was refused.
    for (file, why) in skipped {
        report.skipped += 1;
        report.note(&file, 0, "skipped", why.to_owned());
    }
    Ok(report)
}

/// A file that an import would read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub file: PathBuf,
    /// How it would be read; never [`Format::Auto`].
    pub format: Format,
}

/// The files that an import of `paths` would read. In a folder those that are
/// recognised as nothing importable are left out; a file that is named itself
/// is always read.
///
/// # Errors
/// `import.unreadable`, `import.format`.
pub fn plan(paths: &[PathBuf], format: Format) -> Result<Vec<Source>> {
    survey(paths, format).map(|plan| plan.sources)
}

/// What an import would read, and what it found and would not.
#[derive(Default)]
struct Plan {
    sources: Vec<Source>,
    skipped: Vec<(PathBuf, &'static str)>,
    /// What was found in folders so far.
    entries: usize,
}

/// Why something in a folder is not read.
const NOTHING: &str = "it is no chat, no ChatGPT export and no file of a vault";
const LINK: &str = "it is a symbolic link: only what lies in the folder itself is read";

fn survey(paths: &[PathBuf], format: Format) -> Result<Plan> {
    let mut plan = Plan::default();
    for path in paths {
        let before = (plan.sources.len(), plan.skipped.len());
        let meta = std::fs::metadata(path).map_err(|e| intake::unreadable(path, e))?;
        if meta.is_file() {
            plan.sources.push(Source { file: path.clone(), format: read_as(path, format) });
        } else {
            walk(path, format, &mut plan, 0)?;
        }
        if plan.sources.len() == before.0 {
            return Err(nothing_in(path, format, plan.skipped.len() - before.1));
        }
    }
    if cfg!(not(feature = "compat")) && plan.sources.iter().any(|s| matches!(s.format, Format::Upstream | Format::Ledger)) {
        return Err(Error::new(Code::ImportFormat, "this build reads neither vaults of the upstream SDKs nor call ledgers")
            .with_hint("Build with feature `compat`."));
    }
    Ok(plan)
}

/// A folder in which there is nothing to import, and what to do about it.
fn nothing_in(folder: &Path, format: Format, skipped: usize) -> Error {
    let (what, hint) = match format {
        Format::Auto | Format::Upstream if skipped > 0 => {
            let files = if skipped == 1 { "the one file in it".to_owned() } else { format!("none of the {skipped} files in it") };
            let is = if skipped == 1 {
                "is no chat, no ChatGPT export and no file of a vault"
            } else {
                "is a chat, a ChatGPT export or a file of a vault"
            };
            let message = format!("there is nothing to import in {}: {files} {is}", folder.display());
            return Error::new(Code::ImportFormat, message)
                .with_hint("Give another folder, or a file itself to be told what is wrong with it.");
        }
        Format::Auto | Format::Upstream => ("file", "It is empty: give the file, or the folder that holds it."),
        Format::Chat => ("*.jsonl or *.ndjson file", "Give the file itself if it has another name, or leave --format away."),
        Format::Ledger => ("call ledger", "Give the JSON file of the ledger."),
        Format::Subject => ("export of a subject", "Give the file that `mirrordna export --subject` wrote."),
        Format::ChatGpt => ("ChatGPT export", "Unpack the export and give its conversations.json."),
    };
    Error::new(Code::ImportFormat, format!("there is nothing to import in {}: it holds no {what}", folder.display())).with_hint(hint)
}

/// Folders deeper than this are a mistake or a loop of links.
const MAX_FOLDERS: usize = 32;
/// Files and folders in what is imported at once; more are a mistake.
const MAX_ENTRIES: usize = 1_000_000;

fn walk(folder: &Path, format: Format, plan: &mut Plan, depth: usize) -> Result<()> {
    if depth > MAX_FOLDERS {
        return Err(Error::new(Code::ImportUnreadable, format!("{} is nested too deeply", folder.display())));
    }
    let room = MAX_ENTRIES - plan.entries;
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.take(room + 1).collect::<std::io::Result<Vec<_>>>());
    let mut paths: Vec<PathBuf> = entries.map_err(|e| intake::unreadable(folder, e))?.into_iter().map(|e| e.path()).collect();
    if paths.len() > room {
        let error = Error::new(Code::LimitExceeded, format!("there are more than {MAX_ENTRIES} files up to {}", folder.display()));
        return Err(error.with_hint("Name the folders that are to be imported, one after the other."));
    }
    plan.entries += paths.len();
    paths.sort();
    // Who is spoken of comes before what is said of them.
    paths.sort_by_key(|p| p.file_name().is_none_or(|n| n != "identities.json"));
    paths.sort_by_key(|p| p.is_dir());
    for path in paths {
        if path.is_symlink() {
            // It may lead back, or to what nobody meant to import.
            plan.skipped.push((path, LINK));
        } else if path.is_dir() {
            walk(&path, format, plan, depth + 1)?;
        } else if !path.is_file() {
            // A socket, a pipe that nobody writes to.
            plan.skipped.push((path, NOTHING));
        } else {
            let read = read_as(&path, format);
            // A checksum file is read with the config it belongs to.
            let beside =
                path.to_string_lossy().strip_suffix(".checksum.json").is_some_and(|stem| Path::new(&format!("{stem}.json")).exists());
            let wanted = match format {
                Format::Chat => is_lines(&path),
                Format::ChatGpt => chatgpt::is_export(&path),
                Format::Ledger => is_ledger(&path),
                Format::Subject => subject::is_export(&path),
                Format::Auto | Format::Upstream => true,
            };
            if !wanted || beside && read == Format::Upstream {
                continue;
            }
            if read == Format::Upstream && is_nothing(&path)? {
                plan.skipped.push((path, NOTHING));
            } else {
                plan.sources.push(Source { file: path, format: read });
            }
        }
    }
    Ok(())
}

/// Whether a file can be recognised as none that is imported. One that is
/// damaged is not: why it is refused is to be told.
#[cfg(feature = "compat")]
fn is_nothing(path: &Path) -> Result<bool> {
    upstream::is_foreign(path)
}

#[cfg(not(feature = "compat"))]
#[allow(clippy::unnecessary_wraps)]
fn is_nothing(_: &Path) -> Result<bool> {
    Ok(false)
}

#[cfg(feature = "compat")]
fn is_ledger(path: &Path) -> bool {
    ledger::is_ledger(path)
}

#[cfg(not(feature = "compat"))]
fn is_ledger(_: &Path) -> bool {
    false
}

fn is_lines(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson")
}

fn read_as(path: &Path, format: Format) -> Format {
    match format {
        Format::Auto if subject::is_export(path) => Format::Subject,
        Format::Auto if is_lines(path) => Format::Chat,
        Format::Auto if chatgpt::is_export(path) => Format::ChatGpt,
        Format::Auto if is_ledger(path) => Format::Ledger,
        Format::Auto => Format::Upstream,
        other => other,
    }
}
