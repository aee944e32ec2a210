//! Where the slots of a keyring file are.
//!
//! This module **owns** how a slot is found without reading all of them. It
//! **never** opens one. Beside a long keyring lies an index, `<database
//! id>.index`: sorted runs of 16,384 slots each, what came after the last run is
//! read from the keyring when a key of it is first asked for. The index is
//! derived and not believed: a slot that it names must be the one asked for, and
//! where it names none it is compared with the keyring once, run by run. An index
//! that fails is left aside for the life of this process, and written anew by the
//! next process that adds keys.

use super::{Role, io, unhex};
use crate::log::lock;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::{Hash, Result};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Slots in a run of the index; fewer in tests, which would take too long.
const RUN: usize = if cfg!(test) { 1_024 } else { 16_384 };
/// Bytes of a run: its entries, its mark and the end of what it covers.
const RUN_BYTES: u64 = (RUN as u64 + 1) * 16;
const MARK: &[u8; 8] = b"mdna.ki1";
/// After so many bytes of new slots it is time to see whether a run is full.
const WORTH: u64 = RUN as u64 * 256;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// No line of a keyring is longer.
pub(super) const LONGEST: usize = 1_024;

/// First 10 bytes of a hash of the slot's name, then its offset, big-endian.
type Entry = [u8; 16];

fn entry(role: Role, owner: &Hash, offset: u64) -> Entry {
    let mut out = [0; 16];
    out[..10].copy_from_slice(&sha256(&[b"mdna.slot", role.label().as_bytes(), owner])[..10]);
    out[10..].copy_from_slice(&offset.to_be_bytes()[2..]);
    out
}

fn offset(entry: &Entry) -> u64 {
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&entry[10..]);
    u64::from_be_bytes(bytes)
}

/// Role and owner of a slot, as its line begins.
pub(super) fn name(line: &[u8]) -> Option<(Role, Hash)> {
    let rest = line.strip_prefix(b"{\"role\":\"")?;
    let role = Role::ALL.into_iter().find(|r| rest.strip_prefix(r.label().as_bytes()).is_some_and(|r| r.starts_with(b"\"")))?;
    let owner = rest.get(role.label().len()..)?.strip_prefix(b"\",\"owner\":\"")?.get(..64)?;
    Some((role, unhex(std::str::from_utf8(owner).ok()?)?))
}

/// What this process knows of where slots are.
#[derive(Debug, Default)]
struct Known {
    /// The index, unless there is none or it failed.
    index: Option<File>,
    /// The keyring that was looked at; its index was looked for then.
    file: Option<(u64, u64)>,
    /// Whether its runs were compared with the keyring.
    checked: bool,
    /// It failed: whoever adds keys begins a new one.
    failed: bool,
    /// Runs of the index that count here.
    runs: u64,
    /// Bytes of the keyring that they cover.
    covered: u64,
    /// Bytes of the keyring whose slots are known.
    scanned: u64,
    /// Slots after what the runs cover.
    tail: BTreeSet<Entry>,
}

/// Finds the slots of one keyring file.
#[derive(Debug)]
pub(super) struct Slots {
    path: PathBuf,
    /// Slots that stand at the beginning, among them the keys of the database
    /// and of its first log: with them opening needs nothing else.
    first: BTreeSet<Entry>,
    known: Mutex<Known>,
    #[cfg(test)]
    pub(super) read: std::sync::atomic::AtomicU64,
}

/// Gives `each` the whole lines of `bytes` with their offsets, which begin at
/// `from`; returns how many bytes they are.
fn lines<'a>(bytes: &'a [u8], from: u64, each: &mut dyn FnMut(u64, &'a [u8])) -> usize {
    let mut at = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n")) {
        each(from + at as u64, line);
        at += line.len();
    }
    at
}

/// The greatest entry of a name among sorted ones, which `read` gives by number.
fn newest(count: usize, low: &Entry, read: &dyn Fn(usize) -> std::io::Result<Entry>) -> std::io::Result<Option<Entry>> {
    let mut high = *low;
    high[10..].fill(0xff);
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        if read(middle)? <= high { from = middle + 1 } else { to = middle }
    }
    match from.checked_sub(1) {
        Some(at) => Ok(Some(read(at)?).filter(|found| found[..10] == low[..10])),
        None => Ok(None),
    }
}

impl Slots {
    /// The slots of the keyring at `path`, which begins with these bytes.
    pub(super) fn new(path: &Path, beginning: &[u8]) -> Self {
        let mut first = BTreeSet::new();
        lines(beginning, 0, &mut |at, line| first.extend(name(line).map(|(role, owner)| entry(role, &owner, at))));
        Self {
            path: path.to_owned(),
            first,
            known: Mutex::default(),
            #[cfg(test)]
            read: Default::default(),
        }
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    /// The line at an offset, where a slot was found.
    pub(super) fn line(&self, offset: u64) -> Result<Vec<u8>> {
        let read = || -> std::io::Result<Vec<u8>> {
            let (file, mut line) = (File::open(&self.path)?, vec![0; LONGEST]);
            let n = file.read_at(&mut line, offset)?;
            #[cfg(test)]
            self.read.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
            line.truncate(n);
            line.truncate(line.iter().position(|b| *b == b'\n').unwrap_or(n));
            Ok(line)
        };
        read().map_err(|e| io(&self.path, "cannot read the keyring", e))
    }

    /// Where the newest slot of a name is.
    pub(super) fn find(&self, role: Role, owner: &Hash) -> Result<Option<u64>> {
        let low = entry(role, owner, 0);
        let newest_of = |set: &BTreeSet<Entry>| {
            let mut high = low;
            high[10..].fill(0xff);
            set.range(low..=high).next_back().map(offset)
        };
        let mut known = lock(&self.known);
        // The keys of a database, and those a log began with, are never replaced.
        let first = !matches!(role, Role::Actor | Role::Update) && (role != Role::Log || owner.ends_with(&[0; 16]));
        if first
            && !known.failed
            && let Some(found) = newest_of(&self.first)
        {
            return Ok(Some(found));
        }
        self.catch_up(&mut known)?;
        loop {
            if let Some(found) = newest_of(&known.tail) {
                return Ok(Some(found));
            }
            match self.in_runs(&known, &low) {
                Ok(Some(found)) => return Ok(Some(found)),
                // That it is nowhere must not rest on the index alone.
                Ok(None) if known.checked || known.index.is_none() => return Ok(None),
                Ok(None) if self.holds(&known)? => {
                    known.checked = true;
                    return Ok(None);
                }
                Ok(None) | Err(_) => self.leave_index(&mut known)?,
            }
        }
    }

    /// Where a slot is, as far as the index and what came after it say: that it
    /// is nowhere is not held against the whole keyring.
    pub(super) fn glance(&self, role: Role, owner: &Hash) -> Result<Option<u64>> {
        let (low, mut known) = (entry(role, owner, 0), lock(&self.known));
        self.catch_up(&mut known)?;
        let mut high = low;
        high[10..].fill(0xff);
        if let Some(found) = known.tail.range(low..=high).next_back() {
            return Ok(Some(offset(found)));
        }
        match self.in_runs(&known, &low) {
            Ok(found) => Ok(found),
            Err(_) => {
                self.leave_index(&mut known)?;
                Ok(known.tail.range(low..=high).next_back().map(offset))
            }
        }
    }

    /// Takes note that something else stood where a slot was found.
    pub(super) fn misled(&self) -> Result<()> {
        let mut known = lock(&self.known);
        if known.failed { Ok(()) } else { self.leave_index(&mut known) }
    }

    fn in_runs(&self, known: &Known, low: &Entry) -> std::io::Result<Option<u64>> {
        let Some(index) = &known.index else { return Ok(None) };
        for run in (0..known.runs).rev() {
            let read = |at: usize| {
                let mut entry = [0; 16];
                index.read_exact_at(&mut entry, run * RUN_BYTES + at as u64 * 16)?;
                Ok(entry)
            };
            if let Some(found) = newest(RUN, low, &read)? {
                return Ok(Some(offset(&found)));
            }
        }
        Ok(None)
    }

    /// Goes on without the index.
    fn leave_index(&self, known: &mut Known) -> Result<()> {
        if known.index.is_some() {
            tracing::warn!(keyring = %self.path.display(), "the index of the keyring does not hold; every slot is read instead");
        }
        *known = Known { file: known.file, failed: true, ..Known::default() };
        self.catch_up(known)
    }

    /// The index, if it has whole runs that cover no more than there is.
    fn open_index(&self, length: u64) -> Option<(File, u64, u64)> {
        let index = File::open(self.index_path()).ok()?;
        let runs = index.metadata().ok()?.len() / RUN_BYTES;
        let covered = end_of(&index, runs)?;
        (covered <= length).then_some((index, runs, covered))
    }

    /// Learns of the slots that were added since.
    fn catch_up(&self, known: &mut Known) -> Result<()> {
        let err = |e| io(&self.path, "cannot read the keyring", e);
        let file = File::open(&self.path).map_err(err)?;
        let (length, id) = file.metadata().map(|m| (m.len(), Some((m.dev(), m.ino())))).map_err(err)?;
        // Another file may stand here now.
        if known.file != id || length < known.scanned {
            *known = Known { file: id, ..Known::default() };
            if let Some((index, runs, covered)) = self.open_index(length) {
                *known = Known { index: Some(index), file: id, runs, covered, scanned: covered, ..Known::default() };
            }
        }
        let tail = &mut known.tail;
        known.scanned = self.scan(&file, known.scanned..length, &mut |e| {
            tail.insert(e);
            Ok(())
        })?;
        Ok(())
    }

    /// Gives `each` the slots of a range of the keyring in their order; returns
    /// where the last whole line ends. One that a crash cut short is no slot,
    /// and its key was never published.
    fn scan(&self, file: &File, range: std::ops::Range<u64>, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<u64> {
        let err = |e| io(&self.path, "cannot read the keyring", e);
        let (mut at, mut buffer) = (range.start, vec![0; CHUNK.min((range.end - range.start) as usize)]);
        while at < range.end {
            let wanted = buffer.len().min((range.end - at) as usize);
            let n = file.read_at(&mut buffer[..wanted], at).map_err(err)?;
            #[cfg(test)]
            self.read.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
            let mut done = Ok(());
            let whole = lines(&buffer[..n], at, &mut |at, line| {
                if let (Ok(()), Some((role, owner))) = (&done, name(line)) {
                    done = each(entry(role, &owner, at));
                }
            });
            done?;
            // What is left is the beginning of a line, or of none at all.
            match whole {
                0 if n < CHUNK => break,
                0 => at += n as u64,
                whole => at += whole as u64,
            }
        }
        Ok(at)
    }

    /// Whether the runs say what the keyring says.
    fn holds(&self, known: &Known) -> Result<bool> {
        let Some(index) = &known.index else { return Ok(true) };
        let err = |e| io(&self.path, "cannot read the keyring", e);
        let file = File::open(&self.path).map_err(err)?;
        let (mut run, mut slots, mut holds) = (0, Vec::with_capacity(RUN), true);
        self.scan(&file, 0..known.covered, &mut |entry| {
            slots.push(entry);
            if holds && slots.len() == RUN {
                slots.sort_unstable();
                let mut stored = vec![0; RUN * 16];
                holds = run < known.runs && index.read_exact_at(&mut stored, run * RUN_BYTES).is_ok() && stored == slots.as_flattened();
                slots.clear();
                run += 1;
            }
            Ok(())
        })?;
        Ok(holds && slots.is_empty() && run == known.runs)
    }

    /// Is told that the keyring has so many bytes now; writes runs of the index
    /// where there are slots for them.
    pub(super) fn grew(&self, length: u64) -> Result<()> {
        let mut known = lock(&self.known);
        if length < known.scanned.saturating_add(WORTH) {
            return Ok(());
        }
        self.catch_up(&mut known)?;
        if known.tail.len() < RUN {
            return Ok(());
        }
        let path = self.index_path();
        // An index that cannot be written only costs time and memory.
        let written = self.write_runs(&path, &mut known);
        if let Err(e) = written {
            tracing::warn!(index = %path.display(), error = %e, "the index of the keyring cannot be written");
        }
        Ok(())
    }

    fn write_runs(&self, path: &Path, known: &mut Known) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let index = options.open(path)?;
        if index.try_lock().is_err() {
            // Another process is at it.
            return Ok(());
        }
        let there = index.metadata()?.len() / RUN_BYTES;
        if known.failed || (there > 0 && end_of(&index, there).is_none_or(|end| end > known.scanned)) {
            index.set_len(0)?;
            if !known.failed {
                // It covered something else; what it covered here is not known.
                *known = Known::default();
                return Ok(());
            }
            known.failed = false;
        } else if there > 0 {
            // Others may have added runs, which nobody here has compared.
            known.checked &= known.runs == there;
            (known.runs, known.covered) = (there, end_of(&index, there).unwrap_or(0));
        }
        let mut slots: Vec<Entry> = known.tail.iter().copied().filter(|e| offset(e) >= known.covered).collect();
        slots.sort_unstable_by_key(offset);
        let mut rest = slots.as_slice();
        while let Some((run, after)) = rest.split_at_checked(RUN) {
            let end = after.first().map_or(known.scanned, offset);
            let mut run = run.to_vec();
            run.sort_unstable();
            let bytes = [run.as_flattened(), MARK, &end.to_be_bytes()].concat();
            index.write_all_at(&bytes, known.runs * RUN_BYTES)?;
            known.runs += 1;
            known.covered = end;
            rest = after;
        }
        index.sync_data()?;
        index.unlock()?;
        known.tail = rest.iter().copied().collect();
        known.index = Some(index);
        Ok(())
    }
}

/// The end of what the first `runs` runs of an index cover.
fn end_of(index: &File, runs: u64) -> Option<u64> {
    let mut last = [0; 16];
    index.read_exact_at(&mut last, (runs * RUN_BYTES).checked_sub(16)?).ok()?;
    let (mark, end) = last.split_at(8);
    (mark == MARK).then(|| end.try_into().map(u64::from_be_bytes).ok())?
}
