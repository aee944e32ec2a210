//! The head witness: a small file outside the database that remembers the
//! newest signed checkpoint of a log, so that an older copy of the whole
//! database is recognised.
//!
//! Two slots of 512 bytes are overwritten in place alternately, so a torn
//! write costs at most the newer one. The file may lag behind the database; it
//! never leads it. It is not synced on the append path.
//!
//! Where another log goes on from the log, its witness ends: it then names that
//! log, so that a copy in which the old one still goes on is recognised too.

use crate::input;
use crate::keyring::hex;
use crate::log::Log;
use crate::log_keys;
use mirrordna_core::proof::{Tiles, consistency};
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::leaf;
use mirrordna_core::verify::merkle::extends;
use mirrordna_core::verify::note::{self, Checkpoint, Note};
use mirrordna_core::{Code, Error, Hash, PublicKey, Result};
use mirrordna_storage::{LogNumber, LogRow, ReadTx};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where the head witness is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Witness {
    /// `$MIRRORDNA_STATE` (a folder, or `off`), else
    /// `$XDG_STATE_HOME/mirrordna/witness`, else
    /// `~/.local/state/mirrordna/witness`; without any of them, none.
    #[default]
    Default,
    /// This folder.
    Folder(PathBuf),
    /// Nowhere: an older copy of the database cannot be recognised.
    Off,
}

impl Witness {
    /// The folder, or `None` where there is none.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        match self {
            Self::Off => None,
            Self::Folder(folder) => Some(folder.clone()),
            Self::Default if env("MIRRORDNA_STATE").is_some_and(|v| v.as_os_str() == "off") => None,
            Self::Default => env("MIRRORDNA_STATE")
                .or_else(|| env("XDG_STATE_HOME").map(|p| p.join("mirrordna/witness")))
                .or_else(|| env("HOME").map(|p| p.join(".local/state/mirrordna/witness"))),
        }
    }
}

const SLOT: usize = 512;
const MAGIC: &[u8; 8] = b"mdna.wt1";
/// Begins a slot that names the log which goes on.
const ENDED: &[u8; 8] = b"mdna.we1";
/// Magic, log key, place of the database, length of the note.
const NOTE_AT: usize = 8 + 32 + 16 + 2;

/// What a witness remembers of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) key: PublicKey,
    /// The leaf that brought the key, as the checkpoint says.
    pub(crate) brought: u64,
    /// First half of SHA-256 of the path of the database it belongs to.
    pub(crate) place: [u8; 16],
}

/// Short name of the place of a database.
pub(crate) fn place_of(path: &Path) -> [u8; 16] {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let digest = sha256(&[whole.as_os_str().as_encoded_bytes()]);
    let mut out = [0; 16];
    out.copy_from_slice(&digest[..16]);
    out
}

fn file(folder: &Path, log: &[u8; 16]) -> PathBuf {
    folder.join(hex(log))
}

/// What stands in a slot that is whole and begins with `magic`.
fn whole<'a>(slot: &'a [u8], magic: &[u8; 8]) -> Option<&'a [u8]> {
    let (body, check) = slot.split_at_checked(SLOT - 16)?;
    (check == &sha256(&[body])[..16] && body.starts_with(magic)).then_some(body)
}

/// Completes a slot.
fn closed(mut slot: [u8; SLOT]) -> [u8; SLOT] {
    let digest = sha256(&[&slot[..SLOT - 16]]);
    slot[SLOT - 16..].copy_from_slice(&digest[..16]);
    slot
}

fn decode(slot: &[u8], log: &[u8; 16]) -> Option<Seen> {
    let body = whole(slot, MAGIC)?;
    let key = PublicKey::new(body[8..40].try_into().ok()?)?;
    let place = body[40..56].try_into().ok()?;
    let length = usize::from(u16::from_be_bytes([body[56], body[57]]));
    let note = Note::parse(body.get(NOTE_AT..NOTE_AT + length)?).ok()?;
    let origin = note::origin(log);
    let checkpoint = Checkpoint::parse(note.text).ok()?;
    let own = checkpoint.origin == origin && note.signed_by(&origin, &key);
    own.then(|| Seen { size: checkpoint.size, root: checkpoint.root, brought: log_keys::hint(note.text), key, place })
}

fn encode(key: &PublicKey, place: &[u8; 16], checkpoint: &str) -> Option<[u8; SLOT]> {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..40].copy_from_slice(&key.to_bytes());
    slot[40..56].copy_from_slice(place);
    slot[56..58].copy_from_slice(&u16::try_from(checkpoint.len()).ok()?.to_be_bytes());
    slot.get_mut(NOTE_AT..NOTE_AT + checkpoint.len())?.copy_from_slice(checkpoint.as_bytes());
    if NOTE_AT + checkpoint.len() > SLOT - 16 {
        return None;
    }
    Some(closed(slot))
}

/// How a log was left whose witness ended, by a slot.
fn left_in(slot: &[u8]) -> Option<Left> {
    let (successor, rest) = whole(slot, ENDED)?.get(8..)?.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (root, rest) = rest.split_first_chunk()?;
    Some(Left { successor: *successor, size: u64::from_be_bytes(*size), root: *root, place: *rest.first_chunk()? })
}

/// How a log was left for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Id of the log that goes on.
    pub(crate) successor: [u8; 16],
    /// Its own last size and root.
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// Where the database was that was forked.
    pub(crate) place: [u8; 16],
}

/// What a machine remembers of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// Its newest head.
    Head(Box<Seen>),
    /// Another log goes on from it.
    Ended(Left),
}

impl Remembered {
    /// The newest head, unless the witness ended.
    pub(crate) fn head(&self) -> Option<&Seen> {
        match self {
            Self::Head(seen) => Some(seen),
            Self::Ended(_) => None,
        }
    }
}

/// Reads what is remembered of a log; `None` if there is nothing.
pub(crate) fn read(folder: &Path, log: &[u8; 16]) -> Option<Remembered> {
    let mut bytes = Vec::with_capacity(2 * SLOT);
    input::open(&file(folder, log), "a head witness", Code::StoreIo).ok()?.take(2 * SLOT as u64).read_to_end(&mut bytes).ok()?;
    if let Some(left) = bytes.chunks(SLOT).find_map(left_in) {
        return Some(Remembered::Ended(left));
    }
    bytes.chunks(SLOT).filter_map(|slot| decode(slot, log)).max_by_key(|seen| seen.size).map(|seen| Remembered::Head(Box::new(seen)))
}

/// A slot as this process checked or wrote it last, and the size that it speaks
/// of: the same bytes need no second look, which is two checks of keys and of
/// signatures for each checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    bytes: Vec<u8>,
    size: u64,
}

/// Opens the file of a log for overwriting.
fn open(folder: &Path, log: &[u8; 16]) -> std::io::Result<File> {
    std::fs::create_dir_all(folder)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file(folder, log))
}

/// Ends the witness of a log, durably: from now on it names its successor.
pub(crate) fn end(folder: &Path, log: &[u8; 16], left: &Left) -> std::io::Result<()> {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(ENDED);
    slot[8..80].copy_from_slice(&[&left.successor[..], &left.size.to_be_bytes(), &left.root, &left.place].concat());
    let mut file = open(folder, log)?;
    file.lock()?;
    file.write_all(&[closed(slot), closed(slot)].concat())?;
    file.sync_data()?;
    file.unlock()
}

/// Remembers a checkpoint, unless a newer one is remembered already or
/// another process is at it. Failures are not errors: a witness may lag.
pub(crate) fn remember(folder: &Path, log: &Log, place: &[u8; 16], checkpoint: &str, sync: bool) -> std::io::Result<()> {
    let mut file = open(folder, &log.id)?;
    if file.try_lock().is_err() {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(2 * SLOT);
    Read::by_ref(&mut file).take(2 * SLOT as u64).read_to_end(&mut bytes)?;
    bytes.resize(2 * SLOT, 0);
    if bytes.chunks(SLOT).any(|slot| left_in(slot).is_some()) {
        return file.unlock();
    }
    let mut known = crate::log::lock(&log.slots);
    for (slot, known) in bytes.chunks(SLOT).zip(known.iter_mut()).filter(|(slot, known)| *slot != known.bytes) {
        *known = Slot { bytes: slot.to_vec(), size: decode(slot, &log.id).map_or(0, |s| s.size) };
    }
    let sizes: Vec<u64> = known.iter().map(|slot| slot.size).collect();
    let newest = sizes.iter().max().copied().unwrap_or(0);
    let size = Note::parse(checkpoint.as_bytes()).ok().and_then(|n| Checkpoint::parse(n.text).ok().map(|c| c.size));
    if let Some(size) = size.filter(|size| *size > newest)
        && let Some(slot) = encode(&log.key_at(size), place, checkpoint)
    {
        let older = u64::from(sizes.first() > sizes.get(1));
        file.seek(SeekFrom::Start(older * SLOT as u64))?;
        file.write_all(&slot)?;
        if let Some(known) = known.get_mut(older as usize) {
            *known = Slot { bytes: slot.to_vec(), size };
        }
        if sync {
            file.sync_data()?;
        }
    }
    file.unlock()
}

/// Tiles of a log in a store.
pub(crate) struct StoreTiles<'a> {
    pub(crate) tx: &'a dyn ReadTx,
    pub(crate) log: LogNumber,
}

impl Tiles for StoreTiles<'_> {
    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>> {
        Ok(self.tx.tile(self.log, level, number)?.map(|t| t.as_chunks::<32>().0.to_vec()))
    }

    fn leaves(&self, from: u64, to: u64) -> Result<Vec<Hash>> {
        let mut out = Vec::new();
        self.tx.scan(self.log, from..to, &mut |row| {
            out.push(leaf::hash(row.leaf));
            Ok(())
        })?;
        Ok(out)
    }
}

/// How a log stands to what was remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It extends what was remembered.
    Current,
    /// It is a prefix of what was remembered, this many events shorter.
    Behind(u64),
    /// Nothing was remembered.
    Unproven,
    /// It contradicts what was remembered.
    Forked,
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("current"),
            Self::Behind(events) => write!(f, "behind {events}"),
            Self::Unproven => f.write_str("unproven"),
            Self::Forked => f.write_str("forked"),
        }
    }
}

/// Compares a log's row with what was remembered. The row's checkpoint must be
/// checked already; `signed_root` is what it signs.
pub(crate) fn compare(tx: &dyn ReadTx, row: &LogRow, log: &Log, signed: (u64, Hash), seen: &Remembered) -> Result<Freshness> {
    let Remembered::Head(seen) = seen else { return Ok(Freshness::Forked) };
    // A copy that lags may lack the bridge to the key that was seen.
    let bridged = seen.brought.saturating_add(2) <= row.size;
    if log.key_at(seen.size) != seen.key && (bridged || seen.brought == 0) {
        return Ok(Freshness::Forked);
    }
    if row.size < seen.size {
        return Ok(Freshness::Behind(seen.size - row.size));
    }
    let (size, root) = signed;
    if size < seen.size {
        // A crash lost the checkpoint, not the events: the leaves decide.
        let proof = consistency(&StoreTiles { tx, log: row.number }, size, seen.size)?;
        return Ok(if extends(size, &root, seen.size, &seen.root, &proof) { Freshness::Current } else { Freshness::Forked });
    }
    let proof = consistency(&StoreTiles { tx, log: row.number }, seen.size, size)?;
    Ok(if extends(seen.size, &seen.root, size, &root, &proof) { Freshness::Current } else { Freshness::Forked })
}

/// The error for a log that this machine has seen longer or otherwise.
pub(crate) fn refuse(freshness: Freshness, location: &str, row: &LogRow, seen: &Remembered) -> Option<Error> {
    let seen = match seen {
        Remembered::Head(seen) => seen.size,
        Remembered::Ended(left) => {
            let message = format!(
                "the database at {location} ends at a fork, by what this machine has seen: log {} goes on from its log {}, in another copy",
                hex(&left.successor),
                row.number
            );
            let hint = "Use the copy in which it goes on. If this one is right after all, `mirrordna fork` goes on from it instead.";
            return Some(Error::new(Code::Forked, message).with_hint(hint));
        }
    };
    match freshness {
        Freshness::Current | Freshness::Unproven => None,
        Freshness::Behind(k) => Some(Error::new(
            Code::RolledBack,
            format!(
                "the database at {location} is {k} events behind the last head this machine has seen (log {}, size {seen})",
                row.number
            ),
        )),
        Freshness::Forked => Some(Error::new(
            Code::Forked,
            format!("the database at {location} contradicts the head this machine has seen (log {}, size {seen})", row.number),
        )),
    }
}
