//! Segments: sorted, immutable runs of keys and values that answer without
//! being believed.
//!
//! A segment is cut into blocks of about 4 KiB. What stays in memory is its
//! directory: the first key and the SHA-256 of every block, and a Bloom filter.
//! A block is read, from memory or from the store, when a key in it is asked
//! for, and its hash is compared each time it comes from the store; the few that
//! were read last are kept as they were checked. The directory itself is checked
//! once, against the manifest (see [`super::index`]).

use super::index::At;
use crate::checks::holds;
use mirrordna_core::verify::cbor::{Reader, Writer};
use mirrordna_core::verify::hash;
use mirrordna_core::{Code, Error, Hash, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

/// Bytes after which a block is closed.
const BLOCK: usize = 4_096;
/// Bits of the filter per entry, and how many of them an entry sets: 1 % of
/// the lookups of absent keys read a block for nothing.
const FILTER_BITS: u64 = 10;
const FILTER_PROBES: u64 = 7;
/// Checked blocks that a segment keeps: a listing looks up one record after the
/// other, whose entries stand in few blocks.
const KEPT: usize = 4;
/// Number of the block that holds the directory.
pub(super) const DIRECTORY: u32 = (1 << 20) - 1;
/// Keys and values are short; one byte holds their lengths.
const LONGEST: usize = 255;

/// Something stored does not have the hash it should have. `View::surely`
/// knows it by its code, and starts over.
pub(super) fn stale() -> Error {
    Error::new(Code::Altered, "a derived segment is not what its manifest says")
}

/// Which absent keys cost nothing.
#[derive(Debug, Clone, Default)]
struct Filter {
    bits: Vec<u8>,
}

/// Where a key, or the group of a key, stands in every filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64, u64);

impl Mark {
    pub(super) fn of(part: &[u8]) -> Self {
        let digest = hash::sha256(&[part]);
        let (words, _) = digest.as_chunks::<8>();
        Self(u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
    }
}

impl Filter {
    fn of(hashes: &[Mark]) -> Self {
        let mut filter = Self { bits: vec![0; (hashes.len() as u64 * FILTER_BITS).div_ceil(8).max(8) as usize] };
        for hash in hashes {
            for bit in filter.places(*hash) {
                filter.bits[(bit / 8) as usize] |= 1 << (bit % 8);
            }
        }
        filter
    }

    fn places(&self, Mark(first, step): Mark) -> impl Iterator<Item = u64> + use<> {
        let size = self.bits.len() as u64 * 8;
        (0..FILTER_PROBES).map(move |i| first.wrapping_add(step.wrapping_mul(i)) % size.max(1))
    }

    fn may_have(&self, mark: Mark) -> bool {
        self.places(mark).all(|bit| self.bits.get((bit / 8) as usize).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
    }
}

#[derive(Debug)]
struct Block {
    first: Box<[u8]>,
    hash: Hash,
}

/// A sorted run over a range of leaves.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its number in the store.
    pub(super) number: u32,
    /// How many leaves it covers.
    pub(super) leaves: u64,
    directory: Vec<Block>,
    filter: Filter,
    /// The blocks, until they are in the store.
    pub(super) memory: Option<Vec<Vec<u8>>>,
    /// Blocks from the store that were checked, by their numbers; the last one
    /// was used last.
    checked: RefCell<Vec<(usize, Vec<u8>)>>,
    /// How many parts (blocks, then the directory) are in the store.
    pub(super) stored: usize,
}

/// Writes a segment from entries in ascending order of their keys.
pub(super) struct Builder {
    directory: Vec<Block>,
    blocks: Vec<Vec<u8>>,
    block: Vec<u8>,
    first: Box<[u8]>,
    last: Vec<u8>,
    hashes: Vec<Mark>,
    part: Vec<u8>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            directory: Vec::new(),
            blocks: Vec::new(),
            block: Vec::new(),
            first: Box::default(),
            last: Vec::new(),
            hashes: Vec::new(),
            part: Vec::new(),
        }
    }

    /// Adds an entry; `part` is what the filter is to know of its key.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8], part: Option<&[u8]>) {
        debug_assert!(key.len() <= LONGEST && value.len() <= LONGEST && (self.last.is_empty() || key > self.last.as_slice()));
        if self.block.is_empty() {
            self.first = key.into();
            self.last.clear();
        }
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        self.block.extend_from_slice(&[shared as u8, (key.len() - shared) as u8, value.len() as u8]);
        self.block.extend_from_slice(&key[shared..]);
        self.block.extend_from_slice(value);
        self.last.clear();
        self.last.extend_from_slice(key);
        if let Some(part) = part.filter(|p| *p != self.part.as_slice()) {
            self.hashes.push(Mark::of(part));
            self.part.clear();
            self.part.extend_from_slice(part);
        }
        if self.block.len() >= BLOCK {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let mut block = std::mem::take(&mut self.block);
        block.shrink_to_fit();
        self.directory.push(Block { first: std::mem::take(&mut self.first), hash: hash::sha256(&[&block]) });
        self.blocks.push(block);
    }

    /// The segment. Its number follows from its content, so that two
    /// processes that fold the same leaves write the same rows.
    pub(super) fn finish(mut self, leaves: u64) -> Segment {
        self.close();
        let filter = Filter::of(&self.hashes);
        let mut segment = Segment {
            number: 0,
            leaves,
            directory: self.directory,
            filter,
            memory: Some(self.blocks),
            checked: RefCell::default(),
            stored: 0,
        };
        let [a, b, c, ..] = hash::sha256(&[&segment.directory()]);
        segment.number = u32::from_le_bytes([a, b, c & 0x7f, 0]).max(1);
        segment
    }
}

/// An entry of a block: where its parts are.
struct Lengths {
    start: usize,
    shared: usize,
    suffix: usize,
    value: usize,
}

impl Lengths {
    /// The entry that begins at `at`; `None` at the end of the block.
    fn at(block: &[u8], at: usize) -> Option<Self> {
        let (lengths, rest) = block.get(at..)?.split_first_chunk::<3>()?;
        let [shared, suffix, value] = lengths.map(usize::from);
        (suffix + value <= rest.len()).then_some(Self { start: at + 3, shared, suffix, value })
    }

    /// Completes the key, of which the entry keeps what differs from the last;
    /// returns where the value is.
    fn take(&self, block: &[u8], key: &mut Vec<u8>) -> Range<usize> {
        let end = self.start + self.suffix;
        key.truncate(self.shared);
        key.extend_from_slice(block.get(self.start..end).unwrap_or_default());
        end..end + self.value
    }
}

impl Segment {
    /// Whether a key, or any of its group, can be here.
    pub(super) fn may_have(&self, mark: Mark) -> bool {
        self.filter.may_have(mark)
    }

    /// The bytes that the manifest commits to.
    pub(super) fn directory(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(self.directory.len() * 64 + self.filter.bits.len() + 64);
        w.array(3).uint(self.leaves).bytes(&self.filter.bits).array(self.directory.len() * 2);
        for block in &self.directory {
            w.bytes(&block.first).bytes(&block.hash);
        }
        w.into_bytes()
    }

    /// Reads what [`Self::directory`] wrote.
    pub(super) fn from_directory(number: u32, bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes);
        if r.array()? != 3 {
            return Err(stale());
        }
        let leaves = r.uint()?;
        let filter = Filter { bits: r.bytes()?.to_vec() };
        let count = r.array()? / 2;
        let mut directory = Vec::with_capacity(count);
        for _ in 0..count {
            directory.push(Block { first: r.bytes()?.into(), hash: r.array_of()? });
        }
        r.end()?;
        Ok(Self { number, leaves, directory, filter, memory: None, checked: RefCell::default(), stored: count + 1 })
    }

    /// Gives `work` one block, checked.
    fn with_block<T>(&self, from: At<'_>, at: usize, work: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let entry = self.directory.get(at).ok_or_else(stale)?;
        if let Some(block) = self.memory.as_ref().and_then(|m| m.get(at)) {
            return Ok(work(block));
        }
        let mut checked = self.checked.borrow_mut();
        let kept = match checked.iter().position(|(number, _)| *number == at) {
            Some(place) => checked.remove(place),
            None => {
                let block = from.tx.cache(from.log, self.number, at as u32)?.ok_or_else(stale)?;
                if !holds(|| hash::sha256(&[&block]) == entry.hash) {
                    return Err(stale());
                }
                if checked.len() >= KEPT {
                    checked.remove(0);
                }
                (at, block)
            }
        };
        let done = work(&kept.1);
        checked.push(kept);
        Ok(done)
    }

    /// The block that would hold a key.
    fn block_of(&self, key: &[u8]) -> Option<usize> {
        self.directory.partition_point(|b| &*b.first <= key).checked_sub(1)
    }

    /// The value of a key.
    pub(super) fn get(&self, from: At<'_>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(at) = self.block_of(key) else { return Ok(None) };
        self.with_block(from, at, |block| {
            let (mut here, mut at) = (Vec::with_capacity(64), 0);
            while let Some(entry) = Lengths::at(block, at) {
                let value = entry.take(block, &mut here);
                at = value.end;
                if here == key {
                    return block.get(value).map(<[u8]>::to_vec);
                }
                if here.as_slice() > key {
                    break;
                }
            }
            None
        })
    }
}

/// Entries that are not yet in a segment.
pub(super) type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// A place among the entries of a segment or a table, moving forward.
pub(super) enum Cursor<'a> {
    /// In a segment: its next block, the rest of this one, the entry.
    Segment { segment: &'a Segment, next: usize, block: Vec<u8>, at: usize, key: Vec<u8>, value: Range<usize>, ended: bool },
    /// In a table.
    Table { entries: btree_map::Range<'a, Vec<u8>, Vec<u8>>, entry: Option<(&'a [u8], &'a [u8])> },
}

impl<'a> Cursor<'a> {
    /// At the first entry of a segment that is not below `low`.
    pub(super) fn of_segment(segment: &'a Segment, from: At<'_>, low: &[u8]) -> Result<Self> {
        let next = segment.block_of(low).unwrap_or(0);
        let mut cursor = Self::Segment { segment, next, block: Vec::new(), at: 0, key: Vec::new(), value: 0..0, ended: false };
        cursor.advance(from)?;
        while cursor.key().is_some_and(|k| k < low) {
            cursor.advance(from)?;
        }
        Ok(cursor)
    }

    /// At the first entry of a table that is not below `low`.
    pub(super) fn of_table(table: &'a Table, low: &[u8]) -> Self {
        let mut entries = table.range::<[u8], _>((Bound::Included(low), Bound::Unbounded));
        let entry = entries.next().map(|(k, v)| (k.as_slice(), v.as_slice()));
        Self::Table { entries, entry }
    }

    /// The key here; `None` at the end.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Segment { key, ended, .. } => (!ended).then_some(key),
            Self::Table { entry, .. } => entry.map(|(key, _)| key),
        }
    }

    /// The value here; empty at the end.
    pub(super) fn value(&self) -> &[u8] {
        match self {
            Self::Segment { block, value, .. } => block.get(value.clone()).unwrap_or_default(),
            Self::Table { entry, .. } => entry.map_or(&[], |(_, value)| value),
        }
    }

    /// Moves on.
    pub(super) fn advance(&mut self, from: At<'_>) -> Result<()> {
        match self {
            Self::Table { entries, entry } => *entry = entries.next().map(|(k, v)| (k.as_slice(), v.as_slice())),
            Self::Segment { segment, next, block, at, key, value, ended } => loop {
                if let Some(entry) = Lengths::at(block, *at) {
                    *value = entry.take(block, key);
                    *at = value.end;
                    return Ok(());
                }
                if *next >= segment.directory.len() {
                    *ended = true;
                    return Ok(());
                }
                segment.with_block(from, *next, |bytes| {
                    block.clear();
                    block.extend_from_slice(bytes);
                })?;
                key.clear();
                *at = 0;
                *next += 1;
            },
        }
        Ok(())
    }
}
