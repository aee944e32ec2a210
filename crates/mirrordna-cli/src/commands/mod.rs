//! What each command does, a file per subject.

mod adopt;
mod audit;
mod backup;
mod bundle;
mod checkpoint;
mod citation;
mod config;
mod doctor;
mod erase;
mod fork;
mod identity;
mod import;
mod init;
mod keys;
mod memory;
mod pages;
mod prove;
mod session;
mod snapshot;
mod tiles;
mod timeline;
mod tool;
mod verify;
mod witness;

pub(crate) use adopt::adopt;
pub(crate) use backup::{export, restore};
pub(crate) use checkpoint::{CheckpointArgs, checkpoint};
pub(crate) use citation::{CitationCommand, citation};
pub(crate) use config::config;
pub(crate) use doctor::doctor;
pub(crate) use erase::{ConsentCommand, Erase, HoldCommand, RetentionCommand, consent, erase, hold, retention};
pub(crate) use fork::fork;
pub(crate) use identity::identity;
pub(crate) use import::import;
pub(crate) use init::{describe_new, init};
pub(crate) use keys::keys;
pub(crate) use memory::{memory, recall, remember};
pub(crate) use pages::{completions, man};
pub(crate) use prove::prove;
pub(crate) use session::session;
pub(crate) use snapshot::snapshot;
pub(crate) use timeline::timeline;
pub(crate) use tool::{Evidence, ToolCommand, evidence, tool};
pub(crate) use verify::{show_report, verify, verify_store};
pub(crate) use witness::{WitnessCommand, witness};

use crate::args::Paging;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::{Code, Engine, Error, Identity, IdentityType, Page, Result};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Opens an existing database to write to it.
fn open(settings: &Settings) -> Result<Engine> {
    settings.builder_to_write()?.create(false).open()
}

/// Opens an existing database to read it: also where it cannot be written, and
/// without a trace in it, and, where that was asked for, in an old state, which
/// every answer then says.
fn open_to_read(settings: &Settings, out: &mut Output) -> Result<Engine> {
    if !settings.as_of {
        return settings.builder().read_only().open();
    }
    let engine = settings.builder().as_of().open()?;
    let freshness = engine.freshness();
    out.remark(match freshness.split_once(' ') {
        Some((_, events)) => format!("as of an older state, {events} events behind the newest this machine has seen"),
        None if freshness == "forked" => "as of a state that contradicts what this machine has seen".to_owned(),
        None if freshness == "current" => "as of the newest state this machine has seen".to_owned(),
        None => "as of the state that was found; this machine has seen nothing of it before".to_owned(),
    });
    out.mark_as_of(freshness);
    Ok(engine)
}

/// The agent that is named, or the only one there is.
fn agent(engine: &Engine, named: Option<&str>) -> Result<Identity> {
    if let Some(name) = named {
        return engine.identities().find(name).or_see("identity list");
    }
    let mut agents: Vec<Identity> = engine.identities().list()?.into_iter().filter(|i| i.identity_type() == IdentityType::Agent).collect();
    match (agents.pop(), agents.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => {
            Err(Error::new(Code::NotFound, "the database has no agent yet").with_hint("mirrordna identity create agent --name NAME"))
        }
        (Some(_), more) => Err(Error::new(Code::InputInvalid, format!("the database has {} agents", more + 1))
            .with_hint("Name one with --identity; `mirrordna identity list` shows them.")),
    }
}

/// What to do about a name that nothing has.
trait OrSee<T> {
    /// Points to the command that lists what there is.
    fn or_see(self, list: &str) -> Result<T>;
}

impl<T> OrSee<T> for Result<T> {
    fn or_see(self, list: &str) -> Self {
        self.map_err(|e| match e.code() {
            Code::NotFound | Code::IdInvalid => e.with_hint(format!("`mirrordna {list}` shows what there is.")),
            _ => e,
        })
    }
}

/// How identities are called: by name for people at a terminal, where they have
/// one; by id for everybody else.
struct Names<'a> {
    engine: &'a Engine,
    known: HashMap<String, String>,
    for_people: bool,
}

impl<'a> Names<'a> {
    fn new(engine: &'a Engine, out: &Output) -> Self {
        Self { engine, known: HashMap::new(), for_people: out.terminal().is_some() }
    }

    fn of(&mut self, id: &str) -> String {
        if !self.for_people {
            return id.to_owned();
        }
        if let Some(name) = self.known.get(id) {
            return name.clone();
        }
        let named = self.engine.identities().get(id).and_then(|i| i.profile()).ok().and_then(|p| p.name);
        // The log's own actor signs what the engine does itself.
        let system = || id.starts_with("mdna_sys_").then(|| "(engine)".to_owned());
        let name = named.or_else(system).unwrap_or_else(|| id.chars().take(17).collect());
        self.known.insert(id.to_owned(), name.clone());
        name
    }
}

/// Records that are held at a time where they are shown one by one.
const PAGE: usize = 1_000;

/// Reads a list page by page, from `page(after, limit)`, up to the limit that
/// was asked for or until `each` returns false; returns the id to go on after,
/// where more follows.
fn pages<T>(
    paging: Paging,
    mut page: impl FnMut(Option<String>, usize) -> Result<Page<T>>,
    mut each: impl FnMut(Vec<T>) -> bool,
) -> Result<Option<String>> {
    let (mut after, mut left) = (paging.after, paging.limit.unwrap_or(usize::MAX));
    loop {
        let Page { items, next } = page(after, left.min(PAGE))?;
        left -= items.len();
        if !each(items) || next.is_none() || left == 0 {
            return Ok(next);
        }
        after = next;
    }
}

/// The same, all at once.
fn paged<T>(paging: Paging, page: impl FnMut(Option<String>, usize) -> Result<Page<T>>) -> Result<(Vec<T>, Option<String>)> {
    let mut all = Vec::new();
    let next = pages(paging, page, |mut items| {
        all.append(&mut items);
        true
    })?;
    Ok((all, next))
}

/// Says to people that a list goes on, and how.
fn tell_more(next: Option<&str>, out: &mut Output) {
    if let Some(next) = next {
        out.remark(format!("there are more: go on with --after {next}"));
    }
}

/// A time for people: minutes, UTC. The whole of it is in pipes and JSON.
fn short_time(rfc3339: &str, out: &Output) -> String {
    match (out.terminal(), rfc3339.get(..10), rfc3339.get(11..16)) {
        (Some(_), Some(day), Some(time)) => format!("{day} {time}"),
        _ => rfc3339.to_owned(),
    }
}

/// `1 event`, `2 events`.
fn count(n: u64, singular: &str, plural: &str) -> String {
    format!("{n} {}", if n == 1 { singular } else { plural })
}

/// `leaf 7`, `leaves 7 to 9`.
fn span(noun: &str, first: u64, last: u64) -> String {
    match noun {
        _ if first == last => format!("{noun} {first}"),
        "leaf" => format!("leaves {first} to {last}"),
        _ => format!("{noun}s {first} to {last}"),
    }
}

/// Makes a new file that only its owner reads: what is exported may be content in
/// clear, or lead to it.
fn create_new(file: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// Writes a new file, synced, that only its owner reads; what could not be
/// written whole is removed.
fn write_new<T>(file: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let failed = |e: std::io::Error| Error::new(Code::StoreIo, format!("cannot write {}", file.display())).caused_by(e);
    let target = create_new(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::new(Code::StoreIo, format!("{} exists already", file.display()))
            .with_hint("Name another file, or move that one away: an export overwrites nothing."),
        _ => failed(e),
    })?;
    let mut writer = BufWriter::with_capacity(1 << 20, target);
    let done = write(&mut writer).and_then(|value| {
        let target = writer.into_inner().map_err(|e| failed(e.into_error()))?;
        target.sync_all().map_err(failed).map(|()| value)
    });
    done.inspect_err(|_| drop(std::fs::remove_file(file)))
}
