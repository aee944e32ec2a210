//! The index of a view: one sorted keyspace, as a small table in memory over
//! segments that may lie in the store.
//!
//! Newer entries hide older ones. Segments in the store are derived data: they
//! stand in a manifest which carries the size and the tree of the log they were
//! folded from, and a MAC under a key of the keyring. Whoever changes a segment,
//! puts back an older one or moves one here from another log gets it dropped
//! and folded again, never answered from.

use super::segment::{Builder, Cursor, DIRECTORY, Mark, Segment, Table};
use mirrordna_core::cipher::Secret;
use mirrordna_core::verify::cbor::{Reader, Writer};
use mirrordna_core::verify::hash;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::{Hash, Result};
use mirrordna_storage::{LogNumber, ReadTx, WriteTx};
use std::collections::BTreeMap;

/// Leaves after which the table in memory becomes a segment; fewer in tests,
/// which would take too long to reach the largest.
pub(super) const FREEZE: u64 = if cfg!(test) { 1_024 } else { 8_192 };
/// This many segments of one size are merged into one of the next.
const FANOUT: usize = if cfg!(test) { 4 } else { 16 };
/// Segments do not grow beyond this many leaves: what a merge takes is bounded.
pub(super) const LARGEST: u64 = FREEZE * FANOUT as u64;
/// Blocks that one transaction writes.
const STEP: usize = 1_024;
/// Version of keys, values, segments and manifest together.
const VERSION: u64 = 5;
/// Where the manifest is: segment and block.
const MANIFEST: (u32, u32) = (0, 0);
/// What the manifest's MAC is for.
const MAC: &str = "mdna.v1.view";

/// What a key begins with. The order of a namespace is that of the bytes after
/// it, numbers in big-endian.
pub(super) mod space {
    /// `actor 16` -> kind, leaf 8, digest 32.
    pub(crate) const ACTOR: u8 = b'A';
    /// `leaf 8, n 1` -> actor 16: actors in the order of their appearance.
    pub(crate) const ACTORS: u8 = b'B';
    /// `record 8, leaf 8`: later events of a record.
    pub(crate) const CHANGE: u8 = b'C';
    /// `leaf 8` -> record 8: the record that an event changed.
    pub(crate) const CHANGED: u8 = b'D';
    /// `actor 16, leaf 8`: events that brought a DID log of the actor, or revoked
    /// one of its epochs.
    pub(crate) const IDENTITY: u8 = b'J';
    /// `actor 16, leaf 8` -> schema of the record it created, if it did:
    /// events by their header's actor.
    pub(crate) const EVENT_OF_ACTOR: u8 = b'E';
    /// `tag 16` -> record 8, by the keyed tag of its id; of one that was erased
    /// the leaf that says so, which is no record.
    pub(crate) const ID: u8 = b'I';
    /// `schema 2, record 8`; of events that are no records: `schema 2, leaf 8`.
    pub(crate) const SCHEMA: u8 = b'K';
    /// `leaf 8` -> log 16, size 8, root 32: logs of other databases, by the event
    /// that names them.
    pub(crate) const FOREIGN: u8 = b'F';
    /// `leaf 8` of an adopted log -> its leaf hash 32: that it was erased here.
    pub(crate) const GONE: u8 = b'G';
    /// `source 32` -> whether the import ended.
    pub(crate) const IMPORT: u8 = b'M';
    /// `leaf 8` -> actor 16: calls of tools by the event that began them, until the
    /// fold sees how they ended; 0 instead of one that stands in an older segment,
    /// or in the log before, and ended.
    pub(crate) const OPEN_CALL: u8 = b'L';
    /// `tag 16, record 8`: profiles by the keyed tag of a name.
    pub(crate) const NAME: u8 = b'N';
    /// `tag 16` -> leaf 8: events by their idempotency tag; where that was
    /// erased, the leaf that says so.
    pub(crate) const ONCE: u8 = b'O';
    /// `tag 16, leaf 8`: events by the keyed tag of the subject that they name.
    pub(crate) const SUBJECT: u8 = b'P';
    /// `leaf 8, leaf 8`: bodies by the part of their payload.
    pub(crate) const PART: u8 = b'Q';
    /// `tag 16, leaf 8`: calls of tools by the keyed tag of their request.
    pub(crate) const REQUEST: u8 = b'Z';
    /// `record 8` -> schema 2, flags 1, actor 16, session 16.
    pub(crate) const RECORD: u8 = b'R';
    /// `session 16, leaf 8` -> schema of the record it created, if it did.
    pub(crate) const EVENT_OF_SESSION: u8 = b'S';
    /// `number 8` -> SHA-256 of the full tile of leaf hashes.
    pub(crate) const TILE: u8 = b'T';
    /// `leaf 8`: events that bring a key for the log's checkpoints.
    pub(crate) const LOG_KEY: u8 = b'U';
    /// `actor 16, schema 2, record 8`: records by whom they are of.
    pub(crate) const RECORD_OF_ACTOR: u8 = b'W';
    /// `leaf 8` -> whether nothing is left of what an erase event speaks of; then
    /// followed by `leaf 8`, the event that says so.
    pub(crate) const ERASURE: u8 = b'X';
    /// `leaf 8` -> tag 16: the idempotency tag of a part, which is over content.
    pub(crate) const TAG_OF_PART: u8 = b'Y';
    /// What erasing needs, told apart by the byte after it:
    /// [`NAMED`], [`ERASED_BY`], [`ERASED_TO`], [`SETTLED_TO`].
    pub(crate) const ERASING: u8 = b'H';

    /// `tag 8, leaf 8`: events by the keyed tag of a name that no record has:
    /// their own id, that of their call, the user who asked for it. So short a
    /// tag only says where to look.
    pub(crate) const NAMED: u8 = b'n';
    /// `leaf 8` -> leaf 8: the event that says that one was erased.
    pub(crate) const ERASED_BY: u8 = b'e';
    /// `schema 2` -> leaf 8: events of this schema before it are all erased.
    pub(crate) const ERASED_TO: u8 = b't';
    /// -> leaf 8: of erasures before it nothing is left.
    pub(crate) const SETTLED_TO: u8 = b's';
}

/// What the filters know of a key.
fn part(key: &[u8]) -> Option<&[u8]> {
    match key.first()? {
        &space::ID | &space::ONCE | &space::ACTOR | &space::IMPORT | &space::RECORD | &space::TILE | &space::CHANGED => Some(key),
        &space::EVENT_OF_ACTOR | &space::EVENT_OF_SESSION | &space::NAME | &space::SUBJECT | &space::REQUEST | &space::IDENTITY => {
            key.get(..17)
        }
        &space::ERASING if key.get(1) == Some(&space::NAMED) => key.get(..10),
        &space::ERASING => Some(key),
        &space::PART | &space::TAG_OF_PART => key.get(..9),
        &space::RECORD_OF_ACTOR => key.get(..19),
        _ => None,
    }
}

/// A key under construction.
#[derive(Clone)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(space: u8) -> Self {
        let mut bytes = Vec::with_capacity(40);
        bytes.push(space);
        Self(bytes)
    }

    pub(super) fn bytes(mut self, part: &[u8]) -> Self {
        self.0.extend_from_slice(part);
        self
    }

    pub(super) fn number(self, n: u64) -> Self {
        self.bytes(&n.to_be_bytes())
    }

    pub(super) fn schema(self, schema: u16) -> Self {
        self.bytes(&schema.to_be_bytes())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The last number in a key.
pub(super) fn last_number(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

/// A number at the start of a value.
pub(super) fn first_number(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|b| u64::from_be_bytes(*b))
}

#[derive(Debug, Default)]
pub(super) struct Index {
    table: Table,
    /// Oldest first.
    segments: Vec<Segment>,
    /// Records by schema. Of a log that goes on from another it can be less than
    /// none: records of that one were erased.
    pub(super) counts: BTreeMap<u16, i64>,
    /// The tree of the leaves that the segments cover, and the counts then.
    frozen: (Frontier, BTreeMap<u16, i64>),
    /// SHA-256 of the manifest that the segments in the store come from.
    manifest: Option<Hash>,
    /// How many leaves it covers.
    listed: u64,
}

/// What one step of saving wrote; it counts when its transaction committed.
pub(super) enum Step {
    /// So many parts of a segment are there.
    Parts(u32, usize),
    /// What is to stay as it is is there, under no manifest yet.
    Spilled,
    /// Everything is there, under a manifest with this hash over so many leaves.
    All(Hash, u64),
    /// Another process saved first.
    Overtaken,
}

/// Is given entries in order, and says whether it wants more.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// What may be read from: the segments of one log in one transaction.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) tx: &'a dyn ReadTx,
    pub(super) log: LogNumber,
}

/// Gives `each` the entries of all cursors in order, the newest of those that
/// share a key; stops when it returns false. Cursors stand oldest first.
fn merge(cursors: &mut [Cursor<'_>], from: At<'_>, each: Each<'_>) -> Result<()> {
    loop {
        // The newest of the cursors with the least key, and the least key of
        // the others: up to there no other cursor has anything to say.
        let (mut least, mut bound): (Option<usize>, Option<usize>) = (None, None);
        for (i, cursor) in cursors.iter().enumerate() {
            let Some(key) = cursor.key() else { continue };
            match least.and_then(|l| cursors[l].key()) {
                Some(old) if key > old => {
                    if bound.and_then(|b| cursors[b].key()).is_none_or(|b| key < b) {
                        bound = Some(i);
                    }
                }
                _ => {
                    bound = least;
                    least = Some(i);
                }
            }
        }
        let Some(least) = least else { return Ok(()) };
        let bound = bound.and_then(|b| cursors[b].key()).map(<[u8]>::to_vec);
        let shared = bound.is_some() && cursors[least].key() == bound.as_deref();
        while let Some(key) = cursors[least].key().filter(|k| shared || bound.as_deref().is_none_or(|b| *k < b)) {
            if !each(key, cursors[least].value())? {
                return Ok(());
            }
            if shared {
                let key = key.to_vec();
                for cursor in cursors.iter_mut().filter(|c| c.key() == Some(&key)) {
                    cursor.advance(from)?;
                }
                break;
            }
            cursors[least].advance(from)?;
        }
    }
}

impl Index {
    pub(super) fn put(&mut self, key: Key, value: impl Into<Vec<u8>>) {
        self.table.insert(key.finish(), value.into());
    }

    /// How many leaves the segments cover.
    pub(super) const fn covered(&self) -> u64 {
        self.frozen.0.size()
    }

    /// The tree of those leaves.
    pub(super) const fn tree(&self) -> &Frontier {
        &self.frozen.0
    }

    /// The newest value of a key.
    pub(super) fn get(&self, from: At<'_>, key: Key) -> Result<Option<Vec<u8>>> {
        let key = key.finish();
        if let Some(value) = self.table.get(&key) {
            return Ok(Some(value.clone()));
        }
        if self.segments.is_empty() {
            return Ok(None);
        }
        let mark = part(&key).map(Mark::of);
        for segment in self.segments.iter().rev().filter(|s| mark.is_none_or(|m| s.may_have(m))) {
            if let Some(value) = segment.get(from, &key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Gives `each` the entries whose keys begin with `prefix`, from the number
    /// `start` behind it on, in order, until it returns false.
    pub(super) fn scan(&self, from: At<'_>, prefix: Key, start: u64, each: Each<'_>) -> Result<()> {
        let prefix = prefix.finish();
        let low = [&prefix[..], &start.to_be_bytes()].concat();
        // What the filters know must be in the prefix, not in the start.
        let mark = part(&low).filter(|p| p.len() <= prefix.len()).map(Mark::of);
        let segments = self.segments.iter().filter(|s| mark.is_none_or(|m| s.may_have(m)));
        let mut cursors = segments.map(|s| Cursor::of_segment(s, from, &low)).collect::<Result<Vec<_>>>()?;
        cursors.push(Cursor::of_table(&self.table, &low));
        merge(&mut cursors, from, &mut |key, value| if key.starts_with(&prefix) { each(key, value) } else { Ok(false) })
    }

    /// Makes a segment of the table, and one of several where they have grown
    /// numerous. `tree` is that of all leaves whose entries were put.
    pub(super) fn freeze(&mut self, from: At<'_>, tree: &Frontier) -> Result<()> {
        let mut builder = Builder::new();
        for (key, value) in std::mem::take(&mut self.table) {
            builder.push(&key, &value, part(&key));
        }
        self.segments.push(builder.finish(tree.size() - self.covered()));
        self.frozen = (tree.clone(), self.counts.clone());
        while let Some(run) = self.due() {
            let at = self.segments.len() - run;
            let old = &self.segments[at..];
            let leaves = old.iter().map(|s| s.leaves).sum();
            let mut cursors = old.iter().map(|s| Cursor::of_segment(s, from, &[])).collect::<Result<Vec<_>>>()?;
            let mut builder = Builder::new();
            merge(&mut cursors, from, &mut |key, value| {
                builder.push(key, value, part(key));
                Ok(true)
            })?;
            self.segments.truncate(at);
            self.segments.push(builder.finish(leaves));
        }
        Ok(())
    }

    /// How many of the newest segments are to be merged.
    fn due(&self) -> Option<usize> {
        let newest = self.segments.last()?.leaves;
        let run = self.segments.iter().rev().take_while(|s| s.leaves <= newest).count();
        (run >= FANOUT && newest * FANOUT as u64 <= LARGEST).then_some(run)
    }

    /// Leaves in segments that no manifest in the store lists.
    pub(super) const fn unsaved(&self) -> u64 {
        self.covered() - self.listed
    }

    /// Writes a part of the segments that will not be merged any more, so that
    /// they need no memory. Without a manifest the rows mean nothing to anybody
    /// else: they stay for whoever folds the same leaves, or are dropped.
    pub(super) fn spill(&self, tx: &mut dyn WriteTx, log: LogNumber) -> Result<Step> {
        Ok(self.save_parts(tx, log, LARGEST)?.unwrap_or(Step::Spilled))
    }

    /// Writes a part of what is unsaved; the manifest once all else is there.
    pub(super) fn save(&self, tx: &mut dyn WriteTx, log: LogNumber, key: &Secret, id: &[u8; 16]) -> Result<Step> {
        if let Some(step) = self.save_parts(tx, log, 0)? {
            return Ok(step);
        }
        let manifest = self.manifest_bytes(key, id);
        tx.put_cache(log, MANIFEST.0, MANIFEST.1, &manifest)?;
        let keep: Vec<u32> = std::iter::once(MANIFEST.0).chain(self.segments.iter().map(|s| s.number)).collect();
        tx.drop_cache(log, &keep)?;
        Ok(Step::All(hash::sha256(&[&manifest]), self.covered()))
    }

    /// Writes a part of a segment over at least so many leaves; `None` where
    /// they all are in the store.
    fn save_parts(&self, tx: &mut dyn WriteTx, log: LogNumber, least: u64) -> Result<Option<Step>> {
        let there = tx.cache(log, MANIFEST.0, MANIFEST.1)?.map(|m| hash::sha256(&[&m]));
        if there.is_some() && there != self.manifest {
            return Ok(Some(Step::Overtaken));
        }
        for segment in self.segments.iter().filter(|s| s.leaves >= least) {
            let Some(blocks) = segment.memory.as_ref().filter(|b| segment.stored <= b.len()) else { continue };
            let end = (segment.stored + STEP).min(blocks.len());
            for (at, block) in blocks.iter().enumerate().take(end).skip(segment.stored) {
                tx.put_cache(log, segment.number, at as u32, block)?;
            }
            if end < blocks.len() {
                return Ok(Some(Step::Parts(segment.number, end)));
            }
            tx.put_cache(log, segment.number, DIRECTORY, &segment.directory())?;
            return Ok(Some(Step::Parts(segment.number, end + 1)));
        }
        Ok(None)
    }

    /// Takes entries out that are not in a segment yet.
    pub(super) fn take_out(&mut self, key: Key) -> Option<Vec<u8>> {
        self.table.remove(&key.finish())
    }

    /// Whether the segments in the store, if there are any, are those here.
    pub(super) fn is_current(&self, from: At<'_>) -> Result<bool> {
        let there = from.tx.cache(from.log, MANIFEST.0, MANIFEST.1)?.map(|m| hash::sha256(&[&m]));
        Ok(there.is_none() || there == self.manifest)
    }

    /// Makes anew the segments that have any of some keys, without these, and
    /// writes them, so that no trace of the keys stays in the store: not in
    /// blocks, and not in a filter. If the transaction does not commit, what is
    /// here is found to be stale where it is next used, and read again.
    pub(super) fn strike(&mut self, tx: &mut dyn WriteTx, log: LogNumber, secret: &Secret, id: &[u8; 16], keys: &[Vec<u8>]) -> Result<()> {
        let mut struck = false;
        keys.iter().for_each(|key| drop(self.table.remove(key)));
        for at in 0..self.segments.len() {
            let segment = &self.segments[at];
            let from = At { tx: &*tx, log };
            let mut here = false;
            for key in keys {
                here = here || (segment.may_have(Mark::of(part(key).unwrap_or(key))) && segment.get(from, key)?.is_some());
            }
            if !here {
                continue;
            }
            let mut builder = Builder::new();
            let mut cursor = Cursor::of_segment(segment, from, &[])?;
            while let Some(key) = cursor.key() {
                if !keys.iter().any(|struck| struck == key) {
                    builder.push(key, cursor.value(), part(key));
                }
                cursor.advance(from)?;
            }
            let leaves = segment.leaves;
            drop(cursor);
            self.segments[at] = builder.finish(leaves);
            struck = true;
        }
        while struck {
            let step = self.save(tx, log, secret, id)?;
            struck = matches!(step, Step::Parts(..));
            self.saved(&step);
        }
        Ok(())
    }

    /// Takes note of a step whose transaction committed.
    pub(super) fn saved(&mut self, step: &Step) {
        match step {
            Step::Parts(number, parts) => {
                self.segments.iter_mut().filter(|s| s.number == *number).for_each(|s| s.stored = s.stored.max(*parts));
            }
            Step::All(hash, leaves) => {
                (self.manifest, self.listed) = (Some(*hash), *leaves);
                self.forget_stored();
            }
            Step::Spilled => self.forget_stored(),
            Step::Overtaken => {}
        }
    }

    /// From now on, reads segments that are in the store there.
    fn forget_stored(&mut self) {
        let complete = |s: &&mut Segment| s.memory.as_ref().is_some_and(|b| s.stored > b.len());
        self.segments.iter_mut().filter(complete).for_each(|s| s.memory = None);
    }

    /// Leaves in segments whose blocks are in memory.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> u64 {
        self.segments.iter().filter(|s| s.memory.is_some()).map(|s| s.leaves).sum()
    }

    fn manifest_bytes(&self, key: &Secret, id: &[u8; 16]) -> Vec<u8> {
        let (tree, counts) = &self.frozen;
        let mut w = Writer::with_capacity(1_024);
        w.array(5).uint(VERSION).uint(tree.size()).bytes(&tree.to_bytes()).array(counts.len() * 2);
        for (schema, count) in counts {
            w.uint(u64::from(*schema)).int(*count);
        }
        w.array(self.segments.len() * 2);
        for segment in &self.segments {
            w.uint(u64::from(segment.number)).bytes(&hash::sha256(&[&segment.directory()]));
        }
        let mut bytes = w.into_bytes();
        let mac = key.tag(MAC, &[id, &bytes]);
        bytes.extend_from_slice(&mac);
        bytes
    }

    /// An empty index that may replace what the store keeps.
    pub(super) fn anew(from: At<'_>) -> Result<Self> {
        let there = from.tx.cache(from.log, MANIFEST.0, MANIFEST.1)?;
        Ok(Self { manifest: there.map(|m| hash::sha256(&[&m])), ..Self::default() })
    }

    /// The index that the store keeps for a log, if its manifest is one of this
    /// keyring and all its directories are there.
    pub(super) fn load(from: At<'_>, key: &Secret, id: &[u8; 16]) -> Result<Option<Self>> {
        let Some(bytes) = from.tx.cache(from.log, MANIFEST.0, MANIFEST.1)? else { return Ok(None) };
        let Some((signed, mac)) = bytes.split_last_chunk::<32>() else { return Ok(None) };
        if !key.tagged(MAC, &[id, signed], mac) {
            return Ok(None);
        }
        let mut index = Self { manifest: Some(hash::sha256(&[&bytes])), ..Self::default() };
        let mut r = Reader::new(signed);
        if r.array()? != 5 || r.uint()? != VERSION {
            return Ok(None);
        }
        let size = r.uint()?;
        let tree = Frontier::from_bytes(size, r.bytes()?)?;
        for _ in 0..r.array()? / 2 {
            index.counts.insert(u16::try_from(r.uint()?).unwrap_or(u16::MAX), r.int()?);
        }
        for _ in 0..r.array()? / 2 {
            let (number, expected) = (u32::try_from(r.uint()?).unwrap_or(0), r.array_of()?);
            let Some(directory) = from.tx.cache(from.log, number, DIRECTORY)? else { return Ok(None) };
            if hash::sha256(&[&directory]) != expected {
                return Ok(None);
            }
            index.segments.push(Segment::from_directory(number, &directory)?);
        }
        r.end()?;
        index.listed = tree.size();
        index.frozen = (tree, index.counts.clone());
        Ok(Some(index))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mirrordna_storage::{MemoryStore, Store};
    use proptest::prelude::*;

    /// Leaves a frozen table stands for here: enough rounds reach all sizes.
    const LEAVES: usize = 256;

    #[derive(Debug, Clone)]
    enum Act {
        Put(u8, u8, u16, Vec<u8>),
        Freeze,
        Save,
        Reopen,
    }

    fn act() -> impl Strategy<Value = Act> {
        let spaces = prop::sample::select(vec![space::ID, space::SCHEMA, space::EVENT_OF_ACTOR, space::RECORD]);
        prop_oneof![
            60 => (spaces, 0u8..6, 0u16..400, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(s, g, n, v)| Act::Put(s, g, n, v)),
            3 => Just(Act::Freeze),
            1 => Just(Act::Save),
            1 => Just(Act::Reopen),
        ]
    }

    fn key(space: u8, group: u8, number: u16) -> Key {
        Key::new(space).bytes(&[group; 16]).number(u64::from(number))
    }

    fn save(store: &MemoryStore, index: &mut Index, secret: &Secret) {
        loop {
            let mut step = None;
            store
                .write(&mut |tx| {
                    step = Some(index.save(tx, 1, secret, &[7; 16])?);
                    Ok(())
                })
                .unwrap();
            let step = step.unwrap();
            index.saved(&step);
            if !matches!(step, Step::Parts(..)) {
                return;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn answers_like_a_sorted_map(acts in prop::collection::vec(act(), 1..1_500)) {
            let (store, secret) = (MemoryStore::new(), Secret::from_bytes([3; 32]));
            let (mut index, mut model, mut tree) = (Index::default(), BTreeMap::new(), Frontier::new());
            // What was put since is lost with the process; the fold puts it again.
            let mut since: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            for act in acts {
                match act {
                    Act::Put(space, group, number, value) => {
                        index.put(key(space, group, number), value.clone());
                        since.push((key(space, group, number).finish(), value.clone()));
                        model.insert(key(space, group, number).finish(), value);
                    }
                    Act::Freeze => {
                        (0..LEAVES).for_each(|_| tree.push([1; 32]));
                        store.read(&mut |tx| index.freeze(At { tx, log: 1 }, &tree)).unwrap();
                    }
                    Act::Save => {
                        save(&store, &mut index, &secret);
                        prop_assert_eq!(index.unsaved(), 0);
                        since.retain(|(k, _)| index.table.contains_key(k));
                    }
                    Act::Reopen => {
                        let mut loaded = None;
                        store.read(&mut |tx| {
                            loaded = Index::load(At { tx, log: 1 }, &secret, &[7; 16])?;
                            Ok(())
                        }).unwrap();
                        index = loaded.unwrap_or_default();
                        tree = index.tree().clone();
                        since.iter().for_each(|(k, v)| index.put(Key(k.clone()), v.clone()));
                    }
                }
            }
            store.read(&mut |tx| {
                let from = At { tx, log: 1 };
                for space in [space::ID, space::SCHEMA, space::EVENT_OF_ACTOR, space::RECORD] {
                    for group in 0..6 {
                        let mut found = Vec::new();
                        index.scan(from, Key::new(space).bytes(&[group; 16]), 13, &mut |k, v| {
                            found.push((k.to_vec(), v.to_vec()));
                            Ok(true)
                        })?;
                        let (low, high) = (key(space, group, 13).finish(), key(space, group, u16::MAX).finish());
                        let expected: Vec<_> = model.range(low..high).map(|(k, v)| (k.clone(), v.clone())).collect();
                        assert_eq!(found, expected);
                        for number in (0..400).step_by(7) {
                            assert_eq!(index.get(from, key(space, group, number))?, model.get(&key(space, group, number).finish()).cloned());
                        }
                    }
                }
                Ok(())
            }).unwrap();
        }
    }

    #[test]
    fn a_manifest_is_bound_to_its_key_and_log() {
        let (store, secret) = (MemoryStore::new(), Secret::from_bytes([3; 32]));
        let (mut index, mut tree) = (Index::default(), Frontier::new());
        index.put(key(space::ID, 1, 1), [1]);
        (0..FREEZE).for_each(|_| tree.push([1; 32]));
        store.read(&mut |tx| index.freeze(At { tx, log: 1 }, &tree)).unwrap();
        save(&store, &mut index, &secret);
        store
            .read(&mut |tx| {
                let from = At { tx, log: 1 };
                assert!(Index::load(from, &secret, &[7; 16])?.is_some());
                assert!(Index::load(from, &secret, &[8; 16])?.is_none());
                assert!(Index::load(from, &Secret::from_bytes([4; 32]), &[7; 16])?.is_none());
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn what_is_struck_leaves_no_trace_in_the_store() {
        let (store, secret) = (MemoryStore::new(), Secret::from_bytes([3; 32]));
        let (mut index, mut tree) = (Index::default(), Frontier::new());
        for round in 0..3u8 {
            for number in 0..2_000 {
                index.put(key(space::ONCE, round, number), [round, 1]);
            }
            (0..FREEZE).for_each(|_| tree.push([1; 32]));
            store.read(&mut |tx| index.freeze(At { tx, log: 1 }, &tree)).unwrap();
        }
        save(&store, &mut index, &secret);
        index.put(key(space::ONCE, 9, 9), [9]);
        let struck = [key(space::ONCE, 1, 700), key(space::ONCE, 9, 9), key(space::ONCE, 5, 5)].map(Key::finish);
        let needle = &struck[0][..];
        // Whole, keys stand at the beginning of a block at least.
        let traces = |index: &Index| {
            let mut found = 0;
            store
                .read(&mut |tx| {
                    let from = At { tx, log: 1 };
                    for segment in &index.segments {
                        let mut cursor = Cursor::of_segment(segment, from, &[])?;
                        while let Some(key) = cursor.key() {
                            found += usize::from(key == needle);
                            cursor.advance(from)?;
                        }
                        found += usize::from(segment.may_have(Mark::of(needle)));
                    }
                    Ok(())
                })
                .unwrap();
            found
        };
        assert_eq!(traces(&index), 2);
        store.write(&mut |tx| index.strike(tx, 1, &secret, &[7; 16], &struck)).unwrap();
        assert_eq!((traces(&index), index.unsaved()), (0, 0));
        // Whoever opens it finds the rest, and those only.
        store
            .read(&mut |tx| {
                let from = At { tx, log: 1 };
                let loaded = Index::load(from, &secret, &[7; 16])?.unwrap();
                assert!(loaded.segments.iter().all(|s| !s.may_have(Mark::of(needle))));
                assert_eq!(loaded.get(from, key(space::ONCE, 1, 700))?, None);
                assert_eq!(loaded.get(from, key(space::ONCE, 1, 701))?, Some(vec![1, 1]));
                assert_eq!(loaded.get(from, key(space::ONCE, 2, 700))?, Some(vec![2, 1]));
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn who_comes_second_does_not_overwrite() {
        let (store, secret) = (MemoryStore::new(), Secret::from_bytes([3; 32]));
        let made = |value: u8| {
            let (mut index, mut tree) = (Index::default(), Frontier::new());
            index.put(key(space::ID, 1, 1), [value]);
            (0..FREEZE).for_each(|_| tree.push([1; 32]));
            store.read(&mut |tx| index.freeze(At { tx, log: 1 }, &tree)).unwrap();
            index
        };
        let (mut one, mut two) = (made(1), made(2));
        save(&store, &mut one, &secret);
        save(&store, &mut two, &secret);
        assert_eq!((one.unsaved(), two.unsaved()), (0, FREEZE));
    }
}
