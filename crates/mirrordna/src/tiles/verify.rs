//! Recomputing a folder of tiles: every hash from the entries up to the root
//! that its checkpoint signs. A step at a time: memory does not grow with the
//! log.

use super::{CHECKPOINT, Policy, What, level_size, levels, path, root_of_edge};
use crate::input;
use crate::keyring::hex;
use crate::verify::Finding;
use mirrordna_core::timeline::TILE;
use mirrordna_core::verify::leaf;
use mirrordna_core::verify::merkle::root_of;
use mirrordna_core::verify::note::{Checkpoint, Note};
use mirrordna_core::{Code, Error, Hash, Result};
use serde::Serialize;
use std::cell::RefCell;
use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Findings that are listed.
const LISTED: usize = 256;
/// The longest bundle of entries: 256 of the longest with their lengths.
const MAX_FILE: u64 = 256 * (2 + 65_535);

/// What a folder of tiles holds, and what a policy makes of it.
#[derive(Debug, Clone, Serialize)]
pub struct TilesReport {
    /// `intact`, `altered` or `unproven`.
    pub verdict: &'static str,
    /// Origin of the log.
    pub origin: String,
    /// Leaves that the checkpoint covers.
    pub size: u64,
    /// The root that it says, hex.
    pub root: String,
    /// Whether a key that the policy names for this log signed it.
    pub signed: bool,
    /// Whether the witnesses that the policy asks for cosigned it.
    pub quorum: bool,
    /// Times of valid cosignatures, seconds since 1970.
    pub cosigned: Vec<u64>,
    /// Entries whose data leads to the root.
    pub entries: u64,
    /// Findings, at most 256.
    pub problems: Vec<Finding>,
    /// Findings beyond the listed ones, of those that were looked for.
    pub unlisted: u64,
    /// After 256 findings nothing more was looked at: there may be others.
    pub stopped: bool,
}

impl TilesReport {
    fn problem(&mut self, code: &str, place: String, message: impl Into<String>) {
        if self.problems.len() == LISTED {
            self.unlisted += 1;
        } else {
            self.problems.push(Finding { code: code.to_owned(), place, message: message.into() });
        }
    }
}

/// The files below a folder, and none that only a link leads to: a tree of links
/// can be without an end, and lead anywhere.
struct Tree<'a> {
    folder: &'a Path,
    /// The folder below it that was looked at last: the next file is often there
    /// too.
    looked: RefCell<PathBuf>,
}

impl Tree<'_> {
    /// A file, up to what a bundle can have; `None` where there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let place = self.folder.join(name);
        let failed = |e| Error::new(Code::StoreIo, format!("cannot read {}", place.display())).caused_by(e);
        if !self.is_file(Path::new(name))? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        input::open(&place, "a tile", Code::StoreIo)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Whether there is such a file, and no link on the way to it.
    fn is_file(&self, name: &Path) -> Result<bool> {
        let parent = name.parent().unwrap_or(Path::new(""));
        if *self.looked.borrow() != parent {
            let mut above: Vec<&Path> = parent.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
            above.reverse();
            for folder in above {
                if !self.meta(folder)?.is_some_and(|meta| meta.is_dir()) {
                    return Ok(false);
                }
            }
            parent.clone_into(&mut self.looked.borrow_mut());
        }
        let found = self.meta(name)?;
        Ok(found.is_some_and(|meta| !meta.is_dir()))
    }

    /// What is there under a name, which must be no link.
    fn meta(&self, name: &Path) -> Result<Option<Metadata>> {
        let place = self.folder.join(name);
        match std::fs::symlink_metadata(&place) {
            Ok(meta) if meta.file_type().is_symlink() => {
                let error = Error::new(Code::InputInvalid, format!("{} is a symbolic link: it is not followed", place.display()));
                Err(error.with_hint("A log is judged by the files of its folder alone. Copy them there (`cp -rL`), and verify the copy."))
            }
            Ok(meta) => Ok(Some(meta)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::new(Code::StoreIo, format!("cannot read {}", place.display())).caused_by(e)),
        }
    }
}

/// Verifies a folder of tiles, full and partial ones, against its checkpoint,
/// and that by a policy. A log key must be named by the policy as a key: its
/// fingerprint alone is not enough, since the folder does not hold the key.
///
/// Nothing outside of the folder is read. After 256 findings the rest is not
/// looked at.
///
/// # Errors
/// `store.not_found` if the folder has no checkpoint, `input.invalid` for a
/// symbolic link in it, `store.io` where a file cannot be read, or is a pipe or
/// a device. What is wrong with the evidence is in the report.
pub fn verify(folder: impl AsRef<Path>, policy: &Policy) -> Result<TilesReport> {
    let folder = folder.as_ref();
    let tree = Tree { folder, looked: RefCell::default() };
    let bytes = tree.read(CHECKPOINT)?.ok_or_else(|| {
        let error = Error::new(Code::StoreNotFound, format!("{} holds no checkpoint", folder.display()));
        error.with_hint("Name a folder that `mirrordna export --tiles` or another log of C2SP tlog-tiles wrote.")
    })?;
    let mut report = TilesReport {
        verdict: "altered",
        origin: String::new(),
        size: 0,
        root: String::new(),
        signed: false,
        quorum: false,
        cosigned: Vec::new(),
        entries: 0,
        problems: Vec::new(),
        unlisted: 0,
        stopped: false,
    };
    let note = Note::parse(&bytes).and_then(|note| Checkpoint::parse(note.text).map(|checkpoint| (checkpoint, note)));
    let (checkpoint, note) = match note {
        Ok(read) => read,
        Err(e) => {
            report.problem("checkpoint.invalid", CHECKPOINT.to_owned(), e.to_string());
            return Ok(report);
        }
    };
    let Checkpoint { origin, size, root } = checkpoint;
    (report.origin, report.size, report.root) = (origin.to_owned(), size, hex(&root));
    let signatures: Vec<bool> = policy.logs(origin).filter_map(|key| key.signs(&note)).collect();
    if signatures.contains(&false) {
        report.problem("checkpoint.invalid", CHECKPOINT.to_owned(), "a signature by a key of the policy does not verify");
    }
    let cosigned = policy.cosigned(&note);
    for witness in &cosigned.invalid {
        report.problem("cosignature.invalid", CHECKPOINT.to_owned(), format!("the cosignature of {witness} does not verify"));
    }
    report.signed = signatures.contains(&true);
    report.quorum = cosigned.quorum;
    report.cosigned = cosigned.times.iter().map(|(_, time)| *time).filter(|time| *time > 0).collect();
    let found = Walk { tree, size, edge: levels(size).map(|_| Vec::new()).collect(), report: &mut report }.run()?;
    if found != Some(root) && !report.stopped {
        let message = if found.is_some() { "the tiles lead to another root than it signs" } else { "the tiles do not lead to a root" };
        report.problem("log.forked", CHECKPOINT.to_owned(), message);
    }
    report.verdict = match (report.problems.is_empty(), report.signed && report.quorum) {
        (false, _) => "altered",
        (true, true) => "intact",
        (true, false) => "unproven",
    };
    Ok(report)
}

struct Walk<'a> {
    tree: Tree<'a>,
    size: u64,
    /// The hashes of each level since its last full tile.
    edge: Vec<Vec<Hash>>,
    report: &'a mut TilesReport,
}

impl Walk<'_> {
    /// The root that the files lead to; `None` where that cannot be known.
    fn run(mut self) -> Result<Option<Hash>> {
        for number in 0..self.size.div_ceil(TILE) {
            if self.report.problems.len() == LISTED {
                self.report.stopped = true;
                return Ok(None);
            }
            let width = TILE.min(self.size - number * TILE);
            let Some(leaves) = self.leaves(number, width)? else { return Ok(None) };
            self.edge[0] = leaves;
            let mut level = 0;
            let mut number = number;
            while self.edge[usize::from(level)].len() as u64 == TILE {
                let root = root_of(&std::mem::take(&mut self.edge[usize::from(level)]));
                level += 1;
                let above = &mut self.edge[usize::from(level)];
                above.push(root);
                let ends = number + 1 == level_size(self.size, level);
                number /= TILE;
                if above.len() as u64 == TILE || ends {
                    self.compare(level, number)?;
                }
            }
        }
        Ok(Some(root_of_edge(&self.edge)))
    }

    /// The leaf hashes of a tile, which its entries must have. Without either,
    /// or where both are there but say different things, the tile decides: it
    /// is held against the root.
    fn leaves(&mut self, number: u64, width: u64) -> Result<Option<Vec<Hash>>> {
        let tile = self.tile(0, number, width)?;
        let entries = self.entries(number, width)?;
        let place = path(What::Entries, number, width);
        match (tile, entries) {
            (Some(tile), Some(entries)) => {
                let other = tile.iter().zip(&entries).position(|(a, b)| a != b);
                match other {
                    None => self.report.entries += width,
                    Some(at) => self.report.problem(
                        "entries.altered",
                        place,
                        format!("leaf {} is not what the tile says", number * TILE + at as u64),
                    ),
                }
                Ok(Some(tile))
            }
            (tile, entries) => Ok(tile.or(entries)),
        }
    }

    /// Holds the tile of a level against what the tiles below lead to.
    fn compare(&mut self, level: u8, number: u64) -> Result<()> {
        let width = self.edge[usize::from(level)].len() as u64;
        let tile = self.tile(level, number, width)?;
        if tile.is_some_and(|tile| tile != self.edge[usize::from(level)]) {
            self.report.problem("tile.altered", path(What::Hashes(level), number, width), "is not what the tiles below lead to");
        }
        Ok(())
    }

    /// The hashes of a tile; a finding and `None` where they are not there.
    fn tile(&mut self, level: u8, number: u64, width: u64) -> Result<Option<Vec<Hash>>> {
        let (what, place) = (What::Hashes(level), path(What::Hashes(level), number, width));
        let Some((bytes, full)) = self.file(what, number, width)? else {
            self.report.problem("tile.altered", place, "is not there");
            return Ok(None);
        };
        let (hashes, rest) = bytes.as_chunks::<32>();
        let expected = if full { TILE } else { width };
        if !rest.is_empty() || hashes.len() as u64 != expected {
            self.report.problem("tile.altered", place, format!("is not {expected} hashes"));
            return Ok(None);
        }
        Ok(Some(hashes[..width as usize].to_vec()))
    }

    /// The leaf hashes of a bundle of entries.
    fn entries(&mut self, number: u64, width: u64) -> Result<Option<Vec<Hash>>> {
        let place = path(What::Entries, number, width);
        let Some((bytes, full)) = self.file(What::Entries, number, width)? else {
            self.report.problem("entries.altered", place, "is not there");
            return Ok(None);
        };
        let mut hashes = Vec::with_capacity(width as usize);
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let Some((entry, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
            hashes.push(leaf::hash(entry));
            rest = after;
        }
        let expected = if full { TILE } else { width };
        if !rest.is_empty() || hashes.len() as u64 != expected {
            self.report.problem("entries.altered", place, format!("is not {expected} entries"));
            return Ok(None);
        }
        hashes.truncate(width as usize);
        Ok(Some(hashes))
    }

    /// A file, and whether it is the full one: a log may remove a partial tile
    /// once the full one is there.
    fn file(&self, what: What, number: u64, width: u64) -> Result<Option<(Vec<u8>, bool)>> {
        if let Some(bytes) = self.tree.read(&path(what, number, width))? {
            return Ok(Some((bytes, width == TILE)));
        }
        if width == TILE {
            return Ok(None);
        }
        Ok(self.tree.read(&path(what, number, TILE))?.map(|bytes| (bytes, true)))
    }
}
