//! Writing a log's tiles into a folder.
//!
//! The checkpoint comes last, when everything that it covers is on the disk,
//! and every file is written beside its place and renamed into it: whoever
//! serves the folder meanwhile serves the state before or the state after, and
//! whoever is killed leaves no half file.

use super::{CHECKPOINT, What, level_size, levels, path, root_of_edge};
use crate::engine::{Engine, Tenant};
use crate::log::Log;
use crate::witness::StoreTiles;
use mirrordna_core::proof::consistency;
use mirrordna_core::timeline::TILE;
use mirrordna_core::verify::leaf;
use mirrordna_core::verify::merkle::{extends, root_of};
use mirrordna_core::verify::note::{self, Checkpoint, Note, verifier_key};
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::{ReadTx, Store};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Held by whoever writes into the folder.
const LOCK: &str = ".lock";
/// What is being written.
const WRITING: &str = ".writing";

/// What an export of tiles did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Origin of the log.
    pub origin: String,
    /// Leaves that the folder's checkpoint covers now.
    pub size: u64,
    /// Files that were written; an export that finds nothing new writes none.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Engine {
    /// Writes the default tenant's log as a folder of tiles; see
    /// [`Tenant::export_tiles`].
    ///
    /// # Errors
    /// As [`Tenant::export_tiles`].
    pub fn export_tiles(&self, folder: impl AsRef<Path>) -> Result<Exported> {
        self.main().export_tiles(folder)
    }
}

impl Tenant {
    /// The key that signs this log's checkpoints as C2SP tools want it:
    /// `<origin>+<key id>+<key>`. What an auditor's policy names.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        verifier_key(&note::origin(&self.log.id), &self.log.key())
    }

    /// Writes the tenant's log as a folder of static files (C2SP `tlog-tiles`),
    /// up to a checkpoint that is signed now; where nothing can be signed here,
    /// up to the newest one. In a folder that has an earlier state of the log
    /// only what is new is written.
    ///
    /// Of a log that goes on from another one only its own leaves are written.
    ///
    /// # Errors
    /// `input.invalid` if the folder holds another log, `log.rolled_back` and
    /// `log.forked` if what it holds is longer or contradicts the log,
    /// `log.altered` if the log's own evidence does not hold, `store.in_use`
    /// while another process writes into it, `store.*`.
    pub fn export_tiles(&self, folder: impl AsRef<Path>) -> Result<Exported> {
        self.checkpoint()?;
        let mut export = Export::begin(&*self.inner.store, &self.log, folder.as_ref())?;
        export.checkpoint = self.released(export.checkpoint)?;
        export.run()
    }
}

/// A folder that is written into.
struct Export<'a> {
    store: &'a dyn Store,
    log: &'a Log,
    folder: &'a Path,
    /// The newest checkpoint, and what it says.
    checkpoint: String,
    size: u64,
    root: Hash,
    /// Leaves that the folder's checkpoint covers already.
    covered: u64,
    /// Files and folders that must reach the disk before the checkpoint.
    dirty: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
    done: Exported,
    _lock: File,
}

impl<'a> Export<'a> {
    fn begin(store: &'a dyn Store, log: &'a Log, folder: &'a Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| io("make the folder", folder, e))?;
        let lock_path = folder.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|e| io("open the lock file", &lock_path, e))?;
        lock.try_lock().map_err(|e| match e {
            std::fs::TryLockError::WouldBlock => {
                Error::new(Code::StoreInUse, format!("another process is writing tiles into {}", folder.display()))
            }
            std::fs::TryLockError::Error(e) => io("lock", &lock_path, e),
        })?;
        let mut found = None;
        store.read(&mut |tx| {
            let row = log.row(tx)?;
            let signed = log.signed_frontier(tx, &row)?;
            let covered = covered(tx, log, folder, signed.size(), &signed.root())?;
            found = Some((row.checkpoint, signed.size(), signed.root(), covered));
            Ok(())
        })?;
        let (checkpoint, size, root, covered) = found.ok_or_else(|| Error::new(Code::Bug, "a read returned nothing"))?;
        let done = Exported { origin: note::origin(&log.id), size, files: 0, bytes: 0 };
        let (dirty, folders) = (Vec::new(), BTreeSet::new());
        Ok(Self { store, log, folder, checkpoint, size, root, covered, dirty, folders, done, _lock: lock })
    }

    fn run(mut self) -> Result<Exported> {
        if self.covered == self.size {
            return self.sign_again();
        }
        let edge = levels(self.size)
            .map(|level| self.hashes(level, level_size(self.size, level) / TILE, level_size(self.size, level) % TILE))
            .collect::<Result<Vec<_>>>()?;
        if root_of_edge(&edge) != self.root {
            return Err(self.altered("its tiles do not lead to the root that it signed"));
        }
        for (level, partial) in levels(self.size).zip(&edge) {
            for number in level_size(self.covered, level) / TILE..level_size(self.size, level) / TILE {
                let hashes = self.hashes(level, number, TILE)?;
                self.tile(level, number, &hashes)?;
            }
            if !partial.is_empty() {
                self.tile(level, level_size(self.size, level) / TILE, partial)?;
            }
        }
        // All of it was handed to the disk before: one journal serves many.
        for path in self.dirty.iter().chain(&self.folders) {
            File::open(path).and_then(|f| f.sync_all()).map_err(|e| io("sync", path, e))?;
        }
        self.put(CHECKPOINT, self.checkpoint.clone().as_bytes())?;
        File::open(self.folder).and_then(|f| f.sync_all()).map_err(|e| io("sync", self.folder, e))?;
        self.sweep()?;
        Ok(self.done)
    }

    /// Adds to the checkpoint of a folder that lacks no leaf the lines that it
    /// lacks, as after a key that signs it, too, was made.
    fn sign_again(mut self) -> Result<Exported> {
        let place = self.folder.join(CHECKPOINT);
        let mut there = std::fs::read_to_string(&place).map_err(|e| io("read", &place, e))?;
        let lines = self.checkpoint.split_once("\n\n").map_or("", |(_, lines)| lines);
        let lacking: String = lines.split_inclusive('\n').filter(|line| !there.contains(*line)).collect();
        if !lacking.is_empty() {
            there += &lacking;
            self.put(CHECKPOINT, there.as_bytes())?;
            File::open(self.folder).and_then(|f| f.sync_all()).map_err(|e| io("sync", self.folder, e))?;
        }
        Ok(self.done)
    }

    /// Writes a tile and, of level 0, the entries below it.
    fn tile(&mut self, level: u8, number: u64, hashes: &[Hash]) -> Result<()> {
        let width = hashes.len() as u64;
        if level == 0 {
            let entries = self.entries(number, hashes)?;
            self.put(&path(What::Entries, number, width), &entries)?;
        }
        self.put(&path(What::Hashes(level), number, width), &hashes.concat())
    }

    /// The hashes of a tile: those of leaves, or roots of the tiles below. What
    /// the store keeps of it is held against that.
    fn hashes(&self, level: u8, number: u64, width: u64) -> Result<Vec<Hash>> {
        let mut hashes: Vec<Hash> = Vec::with_capacity(width as usize);
        let first = number * TILE;
        let mut kept = None;
        self.store.read(&mut |tx| {
            hashes.clear();
            if width == TILE {
                kept = tx.tile(self.log.number, level, number)?;
            }
            let Some(below) = level.checked_sub(1) else {
                return tx.scan(self.log.number, first..first + width, &mut |row| {
                    hashes.push(leaf::hash(row.leaf));
                    Ok(())
                });
            };
            for child in first..first + width {
                let tile = tx.tile(self.log.number, below, child)?;
                let tile = tile.ok_or_else(|| self.altered(&format!("it lacks tile {below}/{child}")))?;
                hashes.push(root_of(tile.as_chunks::<32>().0));
            }
            Ok(())
        })?;
        if hashes.len() as u64 != width || (width == TILE && kept.is_none_or(|kept| kept != hashes.concat())) {
            return Err(self.altered(&format!("tile {level}/{number} is not what its leaves lead to")));
        }
        Ok(hashes)
    }

    /// The leaf data below a tile of level 0.
    fn entries(&self, number: u64, hashes: &[Hash]) -> Result<Vec<u8>> {
        let first = number * TILE;
        let mut bundle = Vec::new();
        self.store.read(&mut |tx| {
            bundle.clear();
            tx.scan(self.log.number, first..first + hashes.len() as u64, &mut |row| {
                if hashes.get((row.index - first) as usize) != Some(&leaf::hash(row.leaf)) {
                    return Err(self.altered(&format!("leaf {} changed while it was read", row.index)));
                }
                let length = u16::try_from(row.leaf.len()).map_err(|_| self.altered(&format!("leaf {} is too long", row.index)))?;
                bundle.extend_from_slice(&length.to_be_bytes());
                bundle.extend_from_slice(row.leaf);
                Ok(())
            })
        })?;
        Ok(bundle)
    }

    /// Puts a file in its place, whole.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (temporary, target) = (self.folder.join(WRITING), self.folder.join(name));
        let parent = target.parent().unwrap_or(self.folder);
        let mut made = parent;
        while !self.folders.contains(made) && made.starts_with(self.folder) {
            self.folders.insert(made.to_owned());
            made = made.parent().unwrap_or(self.folder);
        }
        std::fs::create_dir_all(parent).map_err(|e| io("make the folder", parent, e))?;
        let is_checkpoint = name == CHECKPOINT;
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            // Before it is renamed: a served checkpoint never goes backwards.
            if is_checkpoint { file.sync_all() } else { Ok(()) }
        });
        written.and_then(|()| std::fs::rename(&temporary, &target)).map_err(|e| io("write", &target, e))?;
        self.done.files += 1;
        self.done.bytes += bytes.len() as u64;
        self.dirty.push(target);
        Ok(())
    }

    /// Removes partial tiles whose full tile is there now.
    fn sweep(&self) -> Result<()> {
        for level in levels(self.covered) {
            let number = level_size(self.covered, level) / TILE;
            if level_size(self.size, level) / TILE == number {
                continue;
            }
            for what in [Some(What::Hashes(level)), (level == 0).then_some(What::Entries)].into_iter().flatten() {
                let partials = self.folder.join(path(what, number, TILE) + ".p");
                match std::fs::remove_dir_all(&partials) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(io("remove", &partials, e)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn altered(&self, why: &str) -> Error {
        Error::new(Code::Altered, format!("log {}: {why}", self.log.number))
    }
}

/// How many leaves the folder covers already, which must be an earlier state of
/// the same log.
fn covered(tx: &dyn ReadTx, log: &Log, folder: &Path, size: u64, root: &Hash) -> Result<u64> {
    let place = folder.join(CHECKPOINT);
    let mut bytes = Vec::new();
    match File::open(&place) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        file => file.and_then(|f| f.take(1 << 17).read_to_end(&mut bytes)).map_err(|e| io("read", &place, e))?,
    };
    let other = |why: &str| {
        let error = Error::new(Code::InputInvalid, format!("{} {why}", place.display()));
        error.with_hint("Choose an empty folder, or the one that this log was exported to before.")
    };
    let note = Note::parse(&bytes).map_err(|e| other("is no checkpoint").caused_by(e))?;
    let checkpoint = Checkpoint::parse(note.text).map_err(|e| other("is no checkpoint").caused_by(e))?;
    let origin = note::origin(&log.id);
    if checkpoint.origin != origin {
        return Err(other("is of another log"));
    }
    if !log.signs(checkpoint.size, &note) {
        return Err(other("is not signed by the log's key"));
    }
    if checkpoint.size > size {
        let message = format!("{} covers {} leaves, the log's newest checkpoint {size}", place.display(), checkpoint.size);
        return Err(Error::new(Code::RolledBack, message));
    }
    let proof = consistency(&StoreTiles { tx, log: log.number }, checkpoint.size, size)?;
    if !extends(checkpoint.size, &checkpoint.root, size, root, &proof) {
        return Err(Error::new(Code::Forked, format!("{} contradicts the log: its key signed two histories", place.display())));
    }
    Ok(checkpoint.size)
}

fn io(doing: &str, path: &Path, e: std::io::Error) -> Error {
    let code = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::StoreFull,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Code::StoreReadOnly,
        _ => Code::StoreIo,
    };
    Error::new(code, format!("cannot {doing} {}", path.display())).caused_by(e)
}
