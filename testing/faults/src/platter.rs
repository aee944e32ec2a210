//! What a disk holds: the durable part of a trace, and what a loss of power
//! makes of the rest.

use crate::disk::{Companions, FileNo, Op, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// What becomes of writes that no sync made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are lost.
    All,
    /// None is lost, not even the one during which power failed.
    Nothing,
    /// Some survive, in whole or some of their sectors, in any order; which
    /// ones depends on this number alone.
    Some(u64),
}

/// A file as the disk and as the running system have it.
#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    cached: Vec<u8>,
    pending: Vec<Change>,
    /// Pages that count as clean although no sync brought them to the disk.
    lost: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, FileNo),
    Delete(String),
}

/// A trace, replayed up to a point.
#[derive(Debug)]
pub struct Platter<'a> {
    trace: &'a Trace,
    point: usize,
    files: BTreeMap<FileNo, File>,
    names: BTreeMap<String, FileNo>,
    pending_names: Vec<NameChange>,
}

/// The files of a folder after power was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    files: BTreeMap<String, Vec<u8>>,
    companions: Companions,
}

impl Image {
    /// Writes the files into `folder/NAME` and what was watched beside it.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn materialise(&self, root: &Path, name: &str) -> std::io::Result<()> {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder)?;
        for (file, bytes) in &self.files {
            std::fs::write(folder.join(file), bytes)?;
        }
        for ((folder, file), bytes) in &self.companions {
            std::fs::create_dir_all(root.join(folder))?;
            std::fs::write(root.join(folder).join(file), bytes)?;
        }
        Ok(())
    }

    /// Contents of a watched file, by folder and name, in order of the names.
    pub fn companions(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.companions.iter().map(|((folder, _), bytes)| (folder.as_str(), bytes.as_slice()))
    }

    /// A number that differs between different images.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut state = DefaultHasher::new();
        (&self.files, &self.companions).hash(&mut state);
        state.finish()
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => overwrite(bytes, *at, data),
            Self::Truncate(len) => bytes.resize(*len, 0),
        }
    }

    /// Applies some of the sectors of a write.
    fn tear(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { at, data } = self else { return self.apply(bytes) };
        let end = at + data.len();
        let mut from = *at;
        while from < end {
            let to = ((from / SECTOR + 1) * SECTOR).min(end);
            if dice.percent(50) {
                overwrite(bytes, from, &data[from - at..to - at]);
            }
            from = to;
        }
    }
}

impl File {
    fn new(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), cached: bytes, ..Self::default() }
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        overwrite(&mut self.cached, at, data);
        self.pending.push(Change::Write { at, data: data.to_vec() });
        // Touching a page makes all of it dirty again.
        for page in at / PAGE..(at + data.len()).div_ceil(PAGE) {
            if self.lost.remove(&page) {
                let end = ((page + 1) * PAGE).min(self.cached.len());
                let data = self.cached[page * PAGE..end].to_vec();
                self.pending.push(Change::Write { at: page * PAGE, data });
            }
        }
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn fail_sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { at, data } => self.lost.extend(at / PAGE..(at + data.len()).div_ceil(PAGE)),
                // The length is the file system's, not the page cache's.
                Change::Truncate(_) => self.pending.push(change),
            }
        }
    }

    fn after(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let lost = |bytes: &mut Vec<u8>, dice: &mut Dice| {
            for page in &self.lost {
                let end = ((page + 1) * PAGE).min(self.cached.len());
                if page * PAGE < end && (loss == Loss::Nothing || dice.percent(50)) {
                    overwrite(bytes, page * PAGE, &self.cached[page * PAGE..end]);
                }
            }
        };
        match loss {
            Loss::All => {}
            Loss::Nothing => {
                lost(&mut bytes, dice);
                self.pending.iter().for_each(|c| c.apply(&mut bytes));
            }
            Loss::Some(_) => {
                lost(&mut bytes, dice);
                let chance = [15, 50, 90][dice.below(3) as usize];
                let mut order: Vec<&Change> = self.pending.iter().collect();
                if dice.percent(50) {
                    for i in (1..order.len()).rev() {
                        order.swap(i, dice.below(i as u64 + 1) as usize);
                    }
                }
                for change in order {
                    match (dice.percent(chance), dice.percent(30)) {
                        (true, false) => change.apply(&mut bytes),
                        (true, true) => change.tear(&mut bytes, dice),
                        (false, _) => {}
                    }
                }
            }
        }
        bytes
    }
}

impl<'a> Platter<'a> {
    /// The disk as it was before the first operation.
    #[must_use]
    pub fn new(trace: &'a Trace) -> Self {
        let mut platter = Self { trace, point: 0, files: BTreeMap::new(), names: BTreeMap::new(), pending_names: Vec::new() };
        for (file, (name, bytes)) in trace.base.iter().enumerate() {
            platter.names.insert(name.clone(), file);
            platter.files.insert(file, File::new(bytes.clone()));
        }
        platter
    }

    /// Completes the operations before a point, which may not lie behind.
    pub fn advance(&mut self, point: usize) {
        let trace = self.trace;
        while self.point < point.min(trace.ops.len()) {
            self.step(&trace.ops[self.point]);
            self.point += 1;
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Sync { file, folder } => {
                if let Some(f) = self.files.get_mut(file) {
                    f.sync();
                }
                if *folder {
                    self.sync_folder();
                }
            }
            Op::FailedSync { file } => {
                if let Some(f) = self.files.get_mut(file) {
                    f.fail_sync();
                }
            }
            Op::Delete { folder: true, .. } => {
                self.begin(op);
                self.sync_folder();
            }
            other => self.begin(other),
        }
    }

    /// An operation that is issued, but not durable.
    fn begin(&mut self, op: &Op) {
        match op {
            Op::Create { name, file } => {
                self.files.insert(*file, File::default());
                self.pending_names.push(NameChange::Create(name.clone(), *file));
            }
            Op::Delete { name, .. } => self.pending_names.push(NameChange::Delete(name.clone())),
            Op::Write { file, at, data } => self.files.entry(*file).or_default().write(*at as usize, data),
            Op::Truncate { file, len } => {
                let f = self.files.entry(*file).or_default();
                f.cached.resize(*len as usize, 0);
                f.pending.push(Change::Truncate(*len as usize));
            }
            Op::Sync { .. } | Op::FailedSync { .. } => {}
        }
    }

    fn sync_folder(&mut self) {
        for change in self.pending_names.drain(..) {
            rename(&mut self.names, &change);
        }
    }

    /// The files if power fails now, while the operation at this point is
    /// under way.
    #[must_use]
    pub fn image(&self, loss: Loss) -> Image {
        let seed = if let Loss::Some(seed) = loss { seed } else { 0 };
        let mut dice = Dice(seed ^ (self.point as u64).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut now = Self {
            trace: self.trace,
            point: self.point,
            files: self.files.clone(),
            names: self.names.clone(),
            pending_names: self.pending_names.clone(),
        };
        if let Some(op) = self.trace.ops.get(self.point) {
            now.begin(op);
        }
        let pending = now.pending_names.len();
        let survive = match loss {
            Loss::All => 0,
            Loss::Nothing => pending,
            // Names are journaled: they come into force in their order.
            Loss::Some(_) => dice.below(pending as u64 + 1) as usize,
        };
        now.pending_names[..survive].iter().for_each(|c| rename(&mut now.names, c));
        let files = now.names.iter().filter_map(|(name, file)| Some((name.clone(), now.files.get(file)?.after(loss, &mut dice)))).collect();
        let companions = self.trace.companions.iter().rev().find(|(at, _)| *at <= self.point).map(|(_, c)| c.clone());
        Image { files, companions: companions.unwrap_or_default() }
    }
}

fn rename(names: &mut BTreeMap<String, FileNo>, change: &NameChange) {
    match change {
        NameChange::Create(name, file) => drop(names.insert(name.clone(), *file)),
        NameChange::Delete(name) => drop(names.remove(name)),
    }
}
