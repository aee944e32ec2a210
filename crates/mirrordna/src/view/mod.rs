//! What this process derives from a log: which records exist, who the actors
//! are, where the events of a session are, and the recall index.
//!
//! A view is folded from leaves whose hashes lead to the signed tree; what it
//! keeps of them is a sorted [`index`] of hashes, tags and leaf numbers, never
//! content. Answers to "list", "not found" and "how many" come from there;
//! contents are read from their events, and checked against the leaf hashes
//! seen by the fold ([`event`]).
//!
//! The index may lie in the store, where it is derived data under a MAC: what
//! is missing, old or changed there is folded again.
//!
//! A log that goes on from another one has a view over that one's view: its
//! positions count the events of the logs before it first, and what its own
//! index does not know is looked up in theirs.
//!
//! A log of another database that was adopted has a view of its own ([`foreign`]),
//! over positions that begin at a multiple of [`WINDOW`]. Nothing of it enters the
//! fold of the log that adopted it, so that this does not depend on keys of
//! theirs; answers are put together from both, what is one's own first.

mod erase;
mod event;
mod fold;
mod foreign;
mod index;
mod recall;
mod segment;

pub(crate) use erase::{Plan, Target, What};
#[cfg(test)]
pub(crate) use event::READ;
pub(crate) use event::{Content, Event, secret_of};
pub(crate) use recall::Scope;

use crate::commit::Appended;
use crate::log::{Foreign, Log};
use index::{At, FREEZE, Index, Key, LARGEST, Step, first_number, last_number, space};
use mirrordna_core::body::{field, schema};
use mirrordna_core::identity::{IdentityType, display_id};
use mirrordna_core::record::{self, Change, Record};
use mirrordna_core::timeline::TILE;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::{Code, Error, Hash, Header, Leaf, Result};
use mirrordna_storage::{ReadTx, WriteTx};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

/// First half of a hash: 128 bits are beyond second preimages.
pub(crate) type Short = [u8; 16];

/// Places for checked tiles, 8 KiB each; a tile's place is its number modulo this.
const TILES: u64 = 4_096;

fn short(hash: &[u8]) -> Short {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

/// What stands for a record's id. It is keyed: nobody without the keyring can
/// tell from the index whether there ever was a record with an id, also after
/// that was erased.
fn key_of(log: &Log, id: &str) -> Result<Short> {
    log.once_tag(&["id", id])
}

/// Stands for the digest of an identity that is only asserted: it has no DID
/// log, and no key ever speaks for it. Keyed like the ids of records.
fn asserted_digest(log: &Log, id: &str) -> Result<Hash> {
    Ok(log.tag_key()?.tag("mdna.v1.asserted", &[id.as_bytes()]))
}

/// An actor of the log, or an identity that records speak of.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) digest: Hash,
    pub(crate) id: String,
    pub(crate) kind: IdentityType,
    /// Without a key: records speak of it.
    asserted: bool,
}

impl Actor {
    /// Whether it has no key here.
    pub(crate) const fn is_asserted(&self) -> bool {
        self.asserted
    }

    /// Whether it is the engine's own actor of a log; an imported one may be of
    /// type system too.
    pub(crate) fn is_engine(&self) -> bool {
        self.kind == IdentityType::System && !self.asserted
    }
}

/// An event that changes what speaks for an actor.
#[derive(Debug, Clone)]
pub(crate) struct IdentityEvent {
    pub(crate) position: u64,
    pub(crate) header: Header,
    pub(crate) what: Said,
}

/// What it says.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// The DID log so far; of a recovery, up to which event the actor is still
    /// to be trusted.
    Brought { did_log: Vec<u8>, trusted: Option<u64> },
    /// An epoch ends, and up to which event it is trusted.
    Revoked { epoch: u64, trusted: u64 },
}

/// What the index says of a record.
#[derive(Debug, Clone, Copy)]
struct Entry {
    schema: u16,
    archived: bool,
    /// It has events after the first.
    changed: bool,
    /// Its first event was erased, and with it what it was.
    erased: bool,
    actor: Short,
    session: Short,
}

impl Entry {
    fn to_bytes(self) -> Vec<u8> {
        let flags = u8::from(self.archived) | u8::from(self.changed) << 1 | u8::from(self.erased) << 2;
        [&self.schema.to_be_bytes()[..], &[flags], &self.actor, &self.session].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (schema, rest) = bytes.split_first_chunk()?;
        let ([flags], rest) = rest.split_first_chunk()?;
        let (actor, session) = rest.split_first_chunk()?;
        let (archived, changed, erased) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        Some(Self { schema: u16::from_be_bytes(*schema), archived, changed, erased, actor: *actor, session: session.try_into().ok()? })
    }
}

/// Actors kept in memory before the cache starts over.
const ACTORS: usize = 4_096;

/// A tile that was checked: its number and its leaf hashes.
type CheckedTile = (u64, Box<[Hash]>);

/// The derived state of one log.
#[derive(Debug, Default)]
pub(crate) struct View {
    frontier: Frontier,
    /// Hashes of the leaves that the index's segments do not cover.
    tail: Vec<Hash>,
    index: Index,
    tiles: RefCell<HashMap<u64, CheckedTile>>,
    /// Actors that were looked up: what is known of one never changes.
    actors: RefCell<HashMap<Short, Actor>>,
    recall: recall::Recall,
    /// Some of the index is only in the store.
    leans: bool,
    /// The view of the log that this one goes on from.
    before: Option<Box<View>>,
    /// Number of events before this log's own.
    base: u64,
    /// The views of timelines that were adopted, in their order, and whether they
    /// all are there: what was adopted is closed, so this ends with the next one.
    foreign: Vec<View>,
    settled: bool,
    /// Of an adopted log without its key: none of it is saved.
    keyless: bool,
    /// More leaves are to be folded before they were compared with the tree:
    /// nothing here may answer, or be saved for others, until then.
    partial: bool,
    /// Another process saved first: the next to come begins with that.
    overtaken: bool,
    /// The oldest event of a schema that is not erased, where that was looked
    /// for; `None` where there was none.
    oldest: HashMap<u16, Option<u64>>,
}

/// Leaves folded at once, where what comes of them can go into the store before
/// the next: whole segments of the largest size.
pub(crate) const FOLD: u64 = LARGEST;

impl View {
    /// Number of events folded, those of the logs before this one among them.
    pub(crate) fn size(&self) -> u64 {
        self.base + self.frontier.size()
    }

    /// A view of nothing over the same log before.
    fn emptied(&mut self) -> Self {
        Self { before: self.before.take(), base: self.base, foreign: std::mem::take(&mut self.foreign), ..Self::default() }
    }

    /// The view and log that have the event at a position, where that is one
    /// before this log's own.
    fn before<'a>(&'a self, log: &'a Log, position: u64) -> Option<(&'a Self, &'a Log)> {
        (position < self.base).then_some(())?;
        self.before.as_deref().zip(log.before.as_deref())
    }

    /// The newest value of a key.
    fn get(&self, tx: &dyn ReadTx, log: &Log, key: Key) -> Result<Option<Vec<u8>>> {
        match (&self.before, &log.before) {
            (Some(view), Some(before)) => match self.index.get(Self::from(tx, log), key.clone())? {
                None => view.get(tx, before, key),
                found => Ok(found),
            },
            _ => self.index.get(Self::from(tx, log), key),
        }
    }

    /// Gives `each` the entries whose keys begin with `prefix` and go on with a
    /// number of at least `start`, in order, until it returns false.
    fn scan(&self, tx: &dyn ReadTx, log: &Log, prefix: Key, start: u64, each: index::Each<'_>) -> Result<()> {
        let mut more = true;
        if let (Some(view), Some(before)) = (&self.before, &log.before) {
            // What is numbered by events of this log comes after all of theirs.
            view.scan(tx, before, prefix.clone(), start, &mut |key, value| {
                more = each(key, value)?;
                Ok(more)
            })?;
        }
        if more { self.index.scan(Self::from(tx, log), prefix, start, each) } else { Ok(()) }
    }

    /// Folds what the store has beyond this view.
    pub(crate) fn catch_up(&mut self, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        self.catch_up_by(tx, log, u64::MAX).map(drop)
    }

    /// Folds so many leaves of what the store has beyond this view; returns
    /// whether that was all. Until it is, nothing here may answer.
    pub(crate) fn catch_up_by(&mut self, tx: &dyn ReadTx, log: &Log, leaves: u64) -> Result<bool> {
        Ok(self.catch_up_own(tx, log, leaves)? && self.catch_up_foreign(tx, log, leaves)?)
    }

    fn catch_up_own(&mut self, tx: &dyn ReadTx, log: &Log, leaves: u64) -> Result<bool> {
        if self.overtaken {
            *self = self.emptied();
        }
        if let Some(before) = &log.before
            && !self.before.get_or_insert_default().catch_up_own(tx, before, leaves)?
        {
            return Ok(false);
        }
        self.base = log.base;
        let row = log.row(tx)?;
        let known = self.frontier.size();
        if row.size < known {
            return Err(Error::new(
                Code::RolledBack,
                format!("log {} has {} events in the store, this process has seen {known}", log.number, row.size),
            ));
        }
        if row.size == known && row.frontier == self.frontier.to_bytes() {
            return Ok(true);
        }
        // Where nothing is new, no reader pays for this.
        log.ends(tx, &row)?;
        let signed = log.signed_frontier(tx, &row)?;
        if known == 0 {
            if let Some(key) = log.tags.as_ref().filter(|_| log.store.is_some())
                && let Some(index) = Index::load(Self::from(tx, log), key, &log.id)?
                && index.covered() <= row.size
            {
                *self = Self { frontier: index.tree().clone(), index, leans: true, ..self.emptied() };
                if let Ok(all) = self.advance(tx, log, &row, &signed, leaves) {
                    return Ok(all);
                }
            }
            *self = self.anew(tx, log)?;
        }
        let leaned = self.leans;
        let done = self.advance(tx, log, &row, &signed, leaves);
        if done.is_err() {
            // Nothing half-folded may answer.
            *self = Self::default();
            if leaned {
                // Derived data may have gone: begin again, at last without it,
                // and in one step, so that what is wrong still is found once.
                return self.catch_up_own(tx, log, u64::MAX);
            }
        }
        done
    }

    /// Runs `work` on this view. What it reads in derived data is checked where
    /// it is read. Where that fails, another process may have saved anew: what
    /// the store keeps now is read once more, and if that fails too, the events
    /// are folded alone. What still fails then is true of the evidence.
    pub(crate) fn surely<T>(&mut self, tx: &dyn ReadTx, log: &Log, work: &mut dyn FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let misled = |view: &Self, done: &Result<T>| view.has_leaned() && done.as_ref().is_err_and(|e| e.code() == Code::Altered);
        let mut done = work(self);
        if misled(self, &done) {
            *self = Self::default();
            self.catch_up(tx, log)?;
            done = work(self);
        }
        if misled(self, &done) {
            tracing::warn!(log = log.number, "the derived data in the store is dropped and made again");
            *self = Self::alone(tx, log).inspect_err(|_| *self = Self::default())?;
            done = work(self);
        }
        done
    }

    /// Whether an answer may come from what the store kept.
    fn has_leaned(&self) -> bool {
        self.leans || self.others().any(Self::has_leaned)
    }

    /// The view of the log before, and those of logs that were adopted.
    fn others(&self) -> impl Iterator<Item = &Self> {
        self.before.as_deref().into_iter().chain(&self.foreign)
    }

    /// A view that is folded from the events alone.
    fn alone(tx: &dyn ReadTx, log: &Log) -> Result<Self> {
        let mut view = Self { base: log.base, ..Self::default() };
        if let Some(before) = &log.before {
            view.before = Some(Box::new(Self::alone(tx, before)?));
        }
        let row = log.row(tx)?;
        view = view.anew(tx, log)?;
        view.advance(tx, log, &row, &log.signed_frontier(tx, &row)?, u64::MAX)?;
        view.foreign = log.foreign().map(|foreign| Self::alone(tx, &foreign.log)).collect::<Result<_>>()?;
        Ok(view)
    }

    /// A view of nothing, to be folded from the events alone.
    fn anew(&mut self, tx: &dyn ReadTx, log: &Log) -> Result<Self> {
        Ok(Self { index: Index::anew(Self::from(tx, log))?, ..self.emptied() })
    }

    fn from<'a>(tx: &'a dyn ReadTx, log: &Log) -> At<'a> {
        At { tx, log: log.number }
    }

    /// SHA-256 of a full tile of leaf hashes.
    fn tile_digest(&self, tx: &dyn ReadTx, log: &Log, number: u64) -> Result<Option<Hash>> {
        let found = self.index.get(Self::from(tx, log), Key::new(space::TILE).number(number))?;
        Ok(found.and_then(|d| Hash::try_from(d.as_slice()).ok()))
    }

    fn entry(&self, tx: &dyn ReadTx, log: &Log, record: u64) -> Result<Option<Entry>> {
        if let Some((view, of_it)) = self.foreign_at(log, record) {
            let found = view.entry(tx, of_it, record)?;
            let gone = found.is_some_and(|entry| !entry.erased) && self.is_gone(tx, log, record)?;
            return Ok(found.map(|entry| Entry { erased: entry.erased || gone, ..entry }));
        }
        let found = self.get(tx, log, Key::new(space::RECORD).number(record))?;
        Ok(found.and_then(|bytes| Entry::from_bytes(&bytes)))
    }

    /// The record with an id.
    ///
    /// # Errors
    /// `body.erased` where there was one.
    fn numbered(&self, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<Option<(u64, Entry)>> {
        // Without the key no content was ever read, so there are no records.
        if log.tags.is_none() {
            return Ok(None);
        }
        let found = self.get(tx, log, Key::new(space::ID).bytes(&key_of(log, id)?))?;
        let mut number = found.as_deref().and_then(first_number);
        for (view, foreign) in self.adopted(log) {
            // What has the id here comes first, then the log that was adopted first.
            if number.is_none() {
                number = view.numbered(tx, &foreign.log, id)?.map(|(number, _)| number);
            }
        }
        let Some(number) = number else { return Ok(None) };
        match self.entry(tx, log, number)? {
            Some(entry) if !entry.erased => Ok(Some((number, entry))),
            _ => Err(Error::new(Code::Erased, format!("what {id} was is erased"))),
        }
    }

    /// Leaves of the events of a record, oldest first.
    fn leaves(&self, tx: &dyn ReadTx, log: &Log, record: u64, changed: bool) -> Result<Vec<u64>> {
        if let Some((view, log)) = self.foreign_at(log, record) {
            return view.leaves(tx, log, record, changed);
        }
        let mut leaves = vec![record];
        if changed {
            self.scan(tx, log, Key::new(space::CHANGE).number(record), 0, &mut |key, _| {
                leaves.push(last_number(key));
                Ok(true)
            })?;
        }
        Ok(leaves)
    }

    /// The earlier event with an idempotency tag.
    pub(crate) fn once(&self, tx: &dyn ReadTx, log: &Log, tag: &Short) -> Result<Option<Appended>> {
        let found = self.get(tx, log, Key::new(space::ONCE).bytes(tag))?;
        let Some(index) = found.as_deref().and_then(first_number) else { return Ok(None) };
        if let Some((view, log)) = self.before(log, index) {
            return view.once(tx, log, tag);
        }
        let own = index - self.base;
        let altered = || Error::new(Code::Altered, format!("log {} leaf {own} is not the one that was signed", log.number));
        let data = tx.leaf(log.number, own)?.ok_or_else(altered)?;
        let leaf = mirrordna_core::verify::leaf::hash(&data);
        if self.leaf_hash(tx, log, index)? != Some(leaf) {
            return Err(altered());
        }
        Ok(Some(Appended { index, leaf, time: Leaf::decode(&data)?.header.time, existed: true }))
    }

    /// Whether an import of this source began and did not end.
    pub(crate) fn import_pending(&self, tx: &dyn ReadTx, log: &Log, source: &Hash) -> Result<bool> {
        Ok(self.get(tx, log, Key::new(space::IMPORT).bytes(source))?.is_some_and(|ended| ended == [0]))
    }

    /// A record as its events before the leaf `end` left it.
    fn fold_record(&self, tx: &dyn ReadTx, log: &Log, record: u64, end: u64) -> Result<Option<Record>> {
        match self.entry(tx, log, record)? {
            Some(entry) => self.fold_entry(tx, log, (record, entry), end),
            None => Ok(None),
        }
    }

    /// The same, where what the index says of it is known.
    fn fold_entry(&self, tx: &dyn ReadTx, log: &Log, (record, entry): (u64, Entry), end: u64) -> Result<Option<Record>> {
        if let Some((view, log)) = self.foreign_at(log, record) {
            // It was closed before it came here.
            return view.fold_entry(tx, log, (record, entry), u64::MAX);
        }
        let mut state: Option<Record> = None;
        for index in self.leaves(tx, log, record, entry.changed)?.into_iter().take_while(|i| *i < end) {
            let Some(event) = self.bare_event(tx, log, index)? else { continue };
            let body = match event.content {
                Content::Private(body) => Some(body),
                _ => None,
            };
            state = record::apply(state, Change { kind: event.header.kind, index, time: event.header.time, body })?;
        }
        if let Some(record) = &mut state {
            self.join(tx, log, &mut record.body)?;
        }
        Ok(state)
    }

    /// A record of a schema by id, with the display id of its actor.
    pub(crate) fn record(&self, tx: &dyn ReadTx, log: &Log, schema: u64, id: &str) -> Result<Option<(Record, String)>> {
        let Some((number, entry)) = self.numbered(tx, log, id)? else { return Ok(None) };
        if u64::from(entry.schema) != schema {
            return Ok(None);
        }
        let Some(record) = self.fold_entry(tx, log, (number, entry), u64::MAX)? else { return Ok(None) };
        let agent = self.agent_of(tx, log, &record, &entry.actor)?;
        Ok(Some((record, agent)))
    }

    /// Leaves of the events of a record, oldest first.
    pub(crate) fn history(&self, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<Vec<u64>> {
        match self.numbered(tx, log, id)? {
            Some((number, _)) => self.leaves(tx, log, number, true),
            None => Ok(Vec::new()),
        }
    }

    /// Where it is said that a record was erased: the position of that event, and
    /// those of all that it names and that is gone, among which the record's are.
    /// Nobody can tell which these are: what was said of it is gone.
    pub(crate) fn erased_record(&self, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<Option<(u64, Vec<u64>)>> {
        let found = self.get(tx, log, Key::new(space::ID).bytes(&key_of(log, id)?))?;
        let Some(by) = found.as_deref().and_then(first_number) else { return Ok(None) };
        let Some(event) = self.bare_event(tx, log, by)? else { return Ok(None) };
        let Content::Public(bytes) = &event.content else { return Ok(None) };
        let Some(PublicBody::Erase { positions, .. }) = PublicBody::decode(event.header.kind, bytes)? else { return Ok(None) };
        let mut named = Vec::with_capacity(positions.len());
        for (position, leaf) in positions.into_iter().zip(&event.header.refs) {
            // The position only helps; what is erased is what has the leaf hash.
            let there = self.bare_event(tx, log, position)?;
            named.extend(there.filter(|e| e.hash == *leaf && matches!(e.content, Content::Erased)).map(|e| e.index));
        }
        Ok(Some((by, named)))
    }

    /// Records of a schema in order of creation, filtered, a page at a time.
    pub(crate) fn records(&self, tx: &dyn ReadTx, log: &Log, schema: u64, query: &Query) -> Result<Vec<(Record, String)>> {
        self.records_before(tx, log, schema, query, u64::MAX)
    }

    /// The same, as the events before a leaf left them.
    pub(crate) fn records_before(&self, tx: &dyn ReadTx, log: &Log, schema: u64, query: &Query, end: u64) -> Result<Vec<(Record, String)>> {
        let schema = schema as u16;
        let actor = query.actor.map(|digest| short(&digest));
        // The narrowest of the three orders in which records stand.
        let prefix = match (&query.session, &actor) {
            (Some(session), _) => Key::new(space::EVENT_OF_SESSION).bytes(session),
            (None, Some(actor)) => Key::new(space::RECORD_OF_ACTOR).bytes(actor).schema(schema),
            (None, None) => Key::new(space::SCHEMA).schema(schema),
        };
        let (mut skip, mut wanted) = (query.offset, Vec::new());
        let mut each = |key: &[u8], value: &[u8], end: u64| {
            let record = last_number(key);
            if record >= end || wanted.len() >= query.limit {
                return Ok(false);
            }
            // Events of a session say which of them created a record.
            if query.session.is_some() && *value != schema.to_be_bytes() {
                return Ok(true);
            }
            let Some(entry) = self.entry(tx, log, record)? else { return Ok(true) };
            if actor.is_none_or(|a| a == entry.actor) && (query.archived || !entry.archived) && !entry.erased {
                match skip.checked_sub(1) {
                    Some(left) => skip = left,
                    None => wanted.push((record, entry)),
                }
            }
            Ok(true)
        };
        self.scan(tx, log, prefix.clone(), query.from, &mut |key, value| each(key, value, end))?;
        for (view, foreign) in self.adopted(log).filter(|(_, foreign)| foreign.named_at < end) {
            view.scan(tx, &foreign.log, prefix.clone(), query.from, &mut |key, value| each(key, value, u64::MAX))?;
        }
        let mut out = Vec::with_capacity(wanted.len());
        for (record, entry) in wanted {
            if let Some(record) = self.fold_entry(tx, log, (record, entry), end)? {
                let agent = self.agent_of(tx, log, &record, &entry.actor)?;
                out.push((record, agent));
            }
        }
        Ok(out)
    }

    /// Gives `each` the records of a schema in order of creation, until it
    /// returns false.
    pub(crate) fn each_record(&self, tx: &dyn ReadTx, log: &Log, schema: u64, each: &mut dyn FnMut(Record) -> Result<bool>) -> Result<()> {
        let (all, mut more) = (Key::new(space::SCHEMA).schema(schema as u16), true);
        let mut shown = |key: &[u8], _: &[u8]| {
            let number = last_number(key);
            if let Some(entry) = self.entry(tx, log, number)?.filter(|entry| !entry.erased)
                && let Some(record) = self.fold_entry(tx, log, (number, entry), u64::MAX)?
            {
                more = each(record)?;
            }
            Ok(more)
        };
        self.scan(tx, log, all.clone(), 0, &mut shown)?;
        for (view, foreign) in self.adopted(log) {
            view.scan(tx, &foreign.log, all.clone(), 0, &mut shown)?;
        }
        Ok(())
    }

    /// Leaves of the calls of tools of a request, a session or an actor, or of the
    /// open ones, from one on, until `each` returns false.
    pub(crate) fn calls(&self, tx: &dyn ReadTx, log: &Log, of: Calls, start: u64, each: &mut dyn FnMut(u64) -> Result<bool>) -> Result<()> {
        let schema = schema::TOOL_CALL as u16;
        let prefix = match of {
            Calls::OfRequest(tag) => Key::new(space::REQUEST).bytes(&tag),
            Calls::OfSession(session) => Key::new(space::EVENT_OF_SESSION).bytes(&session),
            Calls::OfActor(actor) => Key::new(space::RECORD_OF_ACTOR).bytes(&short(&actor)).schema(schema),
            Calls::Open => Key::new(space::OPEN_CALL),
            Calls::All => Key::new(space::SCHEMA).schema(schema),
        };
        self.scan(tx, log, prefix, start, &mut |key, value| {
            let other = match of {
                Calls::OfSession(_) => *value != schema.to_be_bytes(),
                // One that ended, or is of a log before.
                Calls::Open => *value == [0],
                _ => false,
            };
            if other {
                return Ok(true);
            }
            each(last_number(key))
        })
    }

    /// Number of records of a schema.
    pub(crate) fn count(&self, tx: &dyn ReadTx, log: &Log, schema: u64) -> Result<u64> {
        let tops = std::iter::once(self).chain(&self.foreign);
        let views = tops.flat_map(|top| std::iter::successors(Some(top), |view| view.before.as_deref()));
        let counts = views.filter_map(|view| view.index.counts.get(&(schema as u16)));
        let known = u64::try_from(counts.sum::<i64>()).unwrap_or(0);
        Ok(known.saturating_sub(self.gone_records(tx, log, schema as u16)?))
    }

    /// Events of a session or, without one, of an actor, from a leaf on: of the
    /// timeline that has that leaf.
    /// Payloads in parts are not put together.
    pub(crate) fn events(
        &self,
        tx: &dyn ReadTx,
        log: &Log,
        of: (Option<Short>, Option<Hash>),
        start: u64,
        each: &mut dyn FnMut(Event) -> Result<bool>,
    ) -> Result<()> {
        if let Some((view, log)) = self.foreign_at(log, start) {
            return view.events(tx, log, of, start, each);
        }
        let prefix = match of {
            (Some(session), _) => Key::new(space::EVENT_OF_SESSION).bytes(&session),
            (None, Some(actor)) => Key::new(space::EVENT_OF_ACTOR).bytes(&short(&actor)),
            (None, None) => {
                let mut index = start;
                while let Some(event) = self.bare_event(tx, log, index)? {
                    if !each(event)? {
                        break;
                    }
                    index += 1;
                }
                return Ok(());
            }
        };
        let mut any = false;
        self.scan(tx, log, prefix, start, &mut |key, _| {
            any = true;
            match self.bare_event(tx, log, last_number(key))? {
                Some(event) if of.1.is_none_or(|a| a == event.header.actor) => each(event),
                _ => Ok(true),
            }
        })?;
        // A session that is not of this log is of one that was adopted; what an
        // actor did is asked of each log by itself, from its first position on.
        for (view, foreign) in self.adopted(log).filter(|_| of.0.is_some() && start == 0) {
            if !any {
                view.events(tx, &foreign.log, of, foreign.log.origin, &mut |event| {
                    any = true;
                    each(event)
                })?;
            }
        }
        Ok(())
    }

    /// Whether an actor has an event at a position or after it, in this log.
    pub(crate) fn has_event_from(&self, tx: &dyn ReadTx, log: &Log, actor: &Hash, position: u64) -> Result<bool> {
        let mut found = false;
        let prefix = Key::new(space::EVENT_OF_ACTOR).bytes(&short(actor));
        self.index.scan(Self::from(tx, log), prefix, position, &mut |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }

    /// An actor by digest.
    pub(crate) fn actor(&self, tx: &dyn ReadTx, log: &Log, digest: &Hash) -> Result<Option<Actor>> {
        Ok(self.actor_at(tx, log, &short(digest))?.filter(|a| a.digest == *digest))
    }

    /// An actor by its display id.
    pub(crate) fn actor_named(&self, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<Option<Actor>> {
        let own = id.rsplit('_').next().and_then(|hex| u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32));
        let asserted = log.tags.as_ref().map(|_| asserted_digest(log, id)).transpose()?;
        for key in own.map(u128::to_be_bytes).into_iter().chain(asserted.map(|digest| short(&digest))) {
            if let Some(actor) = self.actor_at(tx, log, &key)?.filter(|a| a.id == id) {
                return Ok(Some(actor));
            }
        }
        for (view, foreign) in self.adopted(log) {
            if let Some(actor) = view.actor_named(tx, &foreign.log, id)? {
                return Ok(Some(actor));
            }
        }
        Ok(None)
    }

    fn actor_at(&self, tx: &dyn ReadTx, log: &Log, key: &Short) -> Result<Option<Actor>> {
        if let Some(actor) = self.actors.borrow().get(key) {
            return Ok(Some(actor.clone()));
        }
        let found = self.get(tx, log, Key::new(space::ACTOR).bytes(key))?;
        let Some(value) = found else {
            for (view, foreign) in self.adopted(log) {
                if let Some(actor) = view.actor_at(tx, &foreign.log, key)? {
                    return Ok(Some(actor));
                }
            }
            return Ok(None);
        };
        let actor = self.read_actor(tx, log, &value)?;
        // The id of one that is only asserted is content, which can be erased.
        if !actor.asserted {
            let mut actors = self.actors.borrow_mut();
            if actors.len() >= ACTORS {
                actors.clear();
            }
            actors.insert(*key, actor.clone());
        }
        Ok(Some(actor))
    }

    /// An actor from its entry.
    fn read_actor(&self, tx: &dyn ReadTx, log: &Log, value: &[u8]) -> Result<Actor> {
        let actor = fold::actor_from(value).ok_or_else(|| Error::new(Code::Altered, "an actor's entry is malformed"))?;
        let (kind, asserted, leaf, digest) = actor;
        let id = if asserted {
            // Its id is content: it stands in the event that asserts it.
            match self.event(tx, log, leaf)?.map(|e| e.content) {
                Some(Content::Private(body)) => {
                    let mut found = String::new();
                    for name in [Some(body.id()), body.text(field::AGENT)].into_iter().flatten() {
                        if asserted_digest(log, name)? == digest {
                            name.clone_into(&mut found);
                        }
                    }
                    found
                }
                _ => String::new(),
            }
        } else {
            display_id(kind, &digest)
        };
        Ok(Actor { digest, id, kind, asserted })
    }

    /// Events before the position `end` that brought a DID log of an actor, or
    /// revoked one of its epochs; oldest first, in this log and those before it.
    ///
    /// What logs that were adopted say comes before what was said here, the
    /// shorter history before the longer: an identity that moved goes on here.
    /// Up to a position in one of them it is what that one says alone.
    pub(crate) fn identity_events(&self, tx: &dyn ReadTx, log: &Log, digest: &Hash, end: u64) -> Result<Vec<IdentityEvent>> {
        if let Some((view, log)) = self.foreign_at(log, end.saturating_sub(1)) {
            return view.identity_events(tx, log, digest, end);
        }
        let mut earlier = Vec::new();
        for (view, foreign) in self.adopted(log).filter(|(_, foreign)| foreign.named_at < end) {
            earlier.push(view.identity_events(tx, &foreign.log, digest, u64::MAX)?);
        }
        let length = |event: &IdentityEvent| match &event.what {
            Said::Brought { did_log, .. } => did_log.len(),
            Said::Revoked { .. } => 0,
        };
        earlier.sort_by_key(|events: &Vec<IdentityEvent>| events.iter().map(length).max());
        let mut found: Vec<IdentityEvent> = earlier.into_iter().flatten().collect();
        found.extend(self.identity_events_in(tx, log, digest, 0..end)?);
        Ok(found)
    }

    /// The position of the event by which an actor no longer stands by one of its
    /// own, which is at `position`; the first one, if there are several.
    pub(crate) fn disputed_by(&self, tx: &dyn ReadTx, log: &Log, header: &Header, position: u64) -> Result<Option<u64>> {
        if let Some((view, log)) = self.foreign_at(log, position) {
            return view.disputed_by(tx, log, header, position);
        }
        // What is disputed is of the chain in one log, and comes before.
        let number = log.at(position).0.number;
        for said in self.identity_events_in(tx, log, &header.actor, position + 1..u64::MAX)? {
            let (epoch, trusted) = match said.what {
                Said::Brought { trusted: Some(trusted), .. } => (None, trusted),
                Said::Brought { trusted: None, .. } => continue,
                Said::Revoked { epoch, trusted } => (Some(epoch), trusted),
            };
            let own = log.at(said.position).0.number == number && epoch.is_none_or(|epoch| epoch == header.signer);
            if own && header.aseq > trusted {
                return Ok(Some(said.position));
            }
        }
        Ok(None)
    }

    fn identity_events_in(&self, tx: &dyn ReadTx, log: &Log, digest: &Hash, range: Range<u64>) -> Result<Vec<IdentityEvent>> {
        let mut leaves = Vec::new();
        self.scan(tx, log, Key::new(space::IDENTITY).bytes(&short(digest)), range.start, &mut |key, _| {
            leaves.push(last_number(key));
            Ok(true)
        })?;
        let mut found = Vec::with_capacity(leaves.len());
        for position in leaves.into_iter().filter(|p| range.contains(p)) {
            let altered = || Error::new(Code::Altered, format!("the event at {position} is not one of the identity it was found for"));
            let event = self.bare_event(tx, log, position)?.filter(|e| e.header.actor == *digest).ok_or_else(altered)?;
            let Content::Public(bytes) = event.content else { return Err(altered()) };
            let what = match PublicBody::decode(event.header.kind, &bytes)? {
                Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log }) => {
                    Said::Brought { did_log: did_log.to_vec(), trusted: None }
                }
                Some(PublicBody::Recover { did_log, trusted }) => Said::Brought { did_log: did_log.to_vec(), trusted: Some(trusted) },
                Some(PublicBody::EpochRevoke { epoch, trusted }) => Said::Revoked { epoch, trusted },
                _ => return Err(altered()),
            };
            found.push(IdentityEvent { position, header: event.header, what });
        }
        Ok(found)
    }

    /// Positions of an actor's events, oldest first, in the timeline that has a
    /// position.
    pub(crate) fn chain(&self, tx: &dyn ReadTx, log: &Log, digest: &Hash, around: u64) -> Result<Vec<u64>> {
        if let Some((view, log)) = self.foreign_at(log, around) {
            return view.chain(tx, log, digest, around);
        }
        let mut positions = Vec::new();
        self.scan(tx, log, Key::new(space::EVENT_OF_ACTOR).bytes(&short(digest)), 0, &mut |key, _| {
            positions.push(last_number(key));
            Ok(true)
        })?;
        Ok(positions)
    }

    /// The display id of a record's agent: the record says it itself where the
    /// agent is only asserted.
    fn agent_of(&self, tx: &dyn ReadTx, log: &Log, record: &Record, key: &Short) -> Result<String> {
        match record.body.text(field::AGENT) {
            Some(agent) => Ok(agent.to_owned()),
            None => self.actor_id(tx, log, key),
        }
    }

    /// The display id of an actor; empty where it is not known.
    fn actor_id(&self, tx: &dyn ReadTx, log: &Log, key: &Short) -> Result<String> {
        Ok(self.actor_at(tx, log, key)?.map(|a| a.id).unwrap_or_default())
    }

    /// Actors in the order of their appearance, after one or from the first on,
    /// until `each` returns false.
    fn own_actors(&self, tx: &dyn ReadTx, log: &Log, after: Option<Short>, each: &mut dyn FnMut(Actor) -> Result<bool>) -> Result<()> {
        let entry = after.map(|key| self.get(tx, log, Key::new(space::ACTOR).bytes(&key))).transpose()?.flatten();
        let from = entry.as_deref().and_then(fold::actor_from).map_or(0, |(_, _, leaf, _)| leaf);
        // Two may have appeared with the same event.
        let mut passed = after.is_none();
        self.scan(tx, log, Key::new(space::ACTORS), from, &mut |_, key| {
            let Ok(key) = Short::try_from(key) else { return Ok(true) };
            if !passed {
                passed = Some(key) == after;
                return Ok(true);
            }
            // Of one that was only asserted, and erased, no id is left.
            self.actor_at(tx, log, &key)?.filter(|actor| !actor.id.is_empty()).map_or(Ok(true), &mut *each)
        })
    }

    /// Ids of the identities whose profile was ever given a name or namespace.
    pub(crate) fn named(&self, tx: &dyn ReadTx, log: &Log, name: &str) -> Result<Vec<String>> {
        let mut records = Vec::new();
        self.scan(tx, log, Key::new(space::NAME).bytes(&log.once_tag(&["name", name])?), 0, &mut |key, _| {
            records.push(last_number(key));
            Ok(true)
        })?;
        // One that was patched after a fork is in both indexes.
        records.sort_unstable();
        records.dedup();
        let mut ids = Vec::new();
        for record in records {
            let state = self.fold_record(tx, log, record, u64::MAX)?;
            ids.extend(state.filter(|r| r.body.schema == schema::PROFILE).map(|r| r.body.id().to_owned()));
        }
        for (view, foreign) in self.readable(log) {
            let more = view.named(tx, &foreign.log, name)?;
            ids.extend(more.into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        }
        Ok(ids)
    }

    /// Whether there is enough to be worth saving.
    pub(crate) fn is_worth_saving(&self) -> bool {
        let own = !self.keyless && !self.partial && !self.overtaken && self.index.unsaved() >= FREEZE;
        own || self.others().any(Self::is_worth_saving)
    }

    /// Writes some of what a fold that is under way has made to the store, as
    /// [`View::save`] does, but for this view alone.
    pub(crate) fn spill(&self, tx: &mut dyn WriteTx, log: &Log) -> Result<Saving> {
        if let (Some(view), Some(before)) = (&self.before, &log.before)
            && view.is_partial()
        {
            return view.spill(tx, before).map(Saving::of_before);
        }
        let mut adopted = self.adopted(log).enumerate().filter(|(_, (view, _))| !self.partial && view.is_partial());
        if let Some((nth, (view, foreign))) = adopted.next() {
            return Ok(Saving { foreign: Some(nth), ..view.spill(tx, &foreign.log)? });
        }
        Ok(Saving { step: self.index.spill(tx, log.number)?, depth: 0, foreign: None })
    }

    /// Writes some of the index to the store; [`View::saved`] is to be told
    /// when the transaction committed. `None` without the key for the MAC, and
    /// where what is here was not yet compared with the tree.
    pub(crate) fn save(&self, tx: &mut dyn WriteTx, log: &Log) -> Result<Option<Saving>> {
        if let (Some(view), Some(before)) = (&self.before, &log.before)
            && view.is_worth_saving()
        {
            return Ok(view.save(tx, before)?.map(Saving::of_before));
        }
        let savable = |(_, (view, foreign)): &(usize, (&Self, &Foreign))| view.is_worth_saving() && foreign.log.tags.is_some();
        if let Some((nth, (view, foreign))) = self.adopted(log).enumerate().find(savable) {
            return Ok(view.save(tx, &foreign.log)?.map(|saving| Saving { foreign: Some(nth), ..saving }));
        }
        let key = log.tags.as_ref().filter(|_| log.store.is_some() && !self.partial);
        key.map(|key| Ok(Saving { step: self.index.save(tx, log.number, key, &log.id)?, depth: 0, foreign: None })).transpose()
    }

    /// Takes note of what was saved; returns whether there is more to save.
    pub(crate) fn saved(&mut self, done: &Saving) -> bool {
        let mut view = &mut *self;
        if let Some(nth) = done.foreign {
            match view.foreign.get_mut(nth) {
                Some(foreign) => view = foreign,
                None => return false,
            }
        }
        for _ in 0..done.depth {
            match view.before.as_deref_mut() {
                Some(before) => view = before,
                None => return false,
            }
        }
        view.index.saved(&done.step);
        match done.step {
            Step::Parts(..) => true,
            Step::Spilled => {
                view.leans = true;
                false
            }
            Step::All(..) => {
                view.leans = true;
                (done.depth > 0 || done.foreign.is_some()) && self.is_worth_saving()
            }
            Step::Overtaken => {
                // What the other process saved is as good. But somebody may be
                // between catching up and asking: this is whole, and answers.
                view.overtaken = true;
                false
            }
        }
    }

    /// Whether it has folded a log, and no fold is under way.
    pub(crate) fn is_whole(&self) -> bool {
        self.size() > 0 && !self.is_partial()
    }

    /// Whether a fold is under way, here or before.
    fn is_partial(&self) -> bool {
        self.partial || self.others().any(Self::is_partial)
    }
}

/// A step of saving whose transaction is under way.
pub(crate) struct Saving {
    step: Step,
    /// How many logs before the view's own it is of.
    depth: usize,
    /// Of which of the timelines that were adopted.
    foreign: Option<usize>,
}

impl Saving {
    fn of_before(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

/// Which calls of tools are listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Calls {
    /// By the keyed tag of their request.
    OfRequest(Short),
    /// By the tag of their session.
    OfSession(Short),
    /// By the actor of their first event.
    OfActor(Hash),
    /// Those of which the fold saw no end, and few others.
    Open,
    All,
}

/// Which records a listing returns.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<Short>,
    pub(crate) archived: bool,
    /// The leaf from which they were created on.
    pub(crate) from: u64,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

const _: () = assert!(FREEZE.is_multiple_of(TILE), "segments end where tiles end");

#[cfg(test)]
#[cfg(feature = "sqlite")]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::log::lock;
    use crate::{Engine, IdentityType, Keys, NewMemory, Witness};
    use rusqlite::Connection;
    use std::path::Path;

    /// Memories of one agent: three folds of [`FOLD`] leaves and some.
    const MANY: usize = FOLD as usize * 3 + 1_000;

    fn builder(dir: &Path) -> crate::Builder {
        let builder = Engine::builder(dir.join("m.db").to_str().unwrap());
        builder.keys(Keys::Folder(dir.join("keys"))).witness(Witness::Folder(dir.join("state")))
    }

    /// A long log that nobody has folded.
    fn long(dir: &Path) {
        let engine = builder(dir).open().unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        let new = |i: usize| NewMemory { content: crate::Content::Text(format!("memory {i}")), ..NewMemory::default() };
        for start in (0..MANY).step_by(1_000) {
            agent.memories().add_all((start..MANY.min(start + 1_000)).map(new).collect()).unwrap();
        }
        drop(agent);
        engine.close().unwrap();
        assert_eq!(cached(dir), 0);
    }

    fn cached(dir: &Path) -> i64 {
        Connection::open(dir.join("m.db")).unwrap().query_row("SELECT count(*) FROM cache_segment", [], |r| r.get(0)).unwrap()
    }

    fn answers(engine: &Engine) {
        let memories = engine.memories();
        assert_eq!(memories.count().unwrap(), MANY as u64);
        for at in [0, 4_000, 8_000, 12_000, MANY - 1] {
            let found = memories.list(at, 1).unwrap().remove(0);
            assert_eq!(found.text(), format!("memory {at}"));
            assert_eq!(memories.get(&found.id).unwrap().text(), found.text());
        }
    }

    /// Folds one step and puts what it made into the store.
    fn step(engine: &Engine) -> bool {
        let (log, store) = (engine.main().log, &engine.inner.store);
        let mut all = false;
        store
            .read(&mut |tx| {
                all = lock(&log.view).catch_up_by(tx, &log, FOLD)?;
                Ok(())
            })
            .unwrap();
        assert!(all || !lock(&log.view).is_worth_saving(), "what was not compared is not for others");
        let mut more = !all;
        while more {
            let mut saving = None;
            store
                .write(&mut |tx| {
                    saving = Some(lock(&log.view).spill(tx, &log)?);
                    Ok(())
                })
                .unwrap();
            more = lock(&log.view).saved(&saving.unwrap());
        }
        all
    }

    #[test]
    fn a_long_log_is_folded_in_steps_that_leave_memory() {
        let dir = tempfile::tempdir().unwrap();
        long(dir.path());
        // Who may not write keeps it all, and answers the same.
        let reader = builder(dir.path()).read_only().open().unwrap();
        answers(&reader);
        assert!(lock(&reader.main().log.view).index.in_memory() > FOLD * 2);
        drop(reader);
        assert_eq!(cached(dir.path()), 0);

        // Killed after two steps: what it left means nothing to anybody.
        let engine = builder(dir.path()).open().unwrap();
        assert!(!step(&engine) && !step(&engine));
        assert!(lock(&engine.main().log.view).index.in_memory() < FOLD);
        let copy = tempfile::tempdir().unwrap();
        // By SQLite: a plain open and close of the file would end its locks.
        let db = Connection::open(dir.path().join("m.db")).unwrap();
        db.execute("VACUUM INTO ?1", [copy.path().join("m.db").to_str().unwrap()]).unwrap();
        drop(db);
        let left = |dir: &Path| builder(copy.path()).keys(Keys::Folder(dir.join("keys"))).open().unwrap();
        let again = left(dir.path());
        assert!(cached(copy.path()) > 0);
        again.inner.store.read(&mut |tx| tx.cache(1, 0, 0).map(|manifest| assert!(manifest.is_none()))).unwrap();
        // What this one put away is taken from it too.
        assert!(!step(&again) && !step(&again));
        again.inner.store.write(&mut |tx| tx.drop_cache(1, &[])).unwrap();
        answers(&again);
        again.close().unwrap();
        let again = left(dir.path());
        answers(&again);
        assert!(again.verify().unwrap().is_intact());

        // What it put away goes on to answer; so does what another one saved.
        answers(&engine);
        assert!(lock(&engine.main().log.view).index.in_memory() < FOLD);
        lock(&engine.main().log.view).overtaken = true;
        answers(&engine);
        engine.close().unwrap();
        assert!(cached(dir.path()) > 0);
    }

    #[test]
    fn a_log_that_does_not_lead_to_its_checkpoint_is_never_saved() {
        let dir = tempfile::tempdir().unwrap();
        long(dir.path());
        let db = Connection::open(dir.path().join("m.db")).unwrap();
        // Two leaves near the end change places.
        let (a, b) = (MANY as i64 - 10, MANY as i64 - 9);
        let swap = "UPDATE event SET pos = -1 WHERE pos & 0xFFFFFFFFFF = ?1 AND pos > 0";
        let place: i64 = db.query_row("SELECT min(pos) FROM event", [], |r| r.get(0)).unwrap();
        db.execute(swap, [a]).unwrap();
        db.execute("UPDATE event SET pos = ?1 WHERE pos = ?2", [place + a, place + b]).unwrap();
        db.execute("UPDATE event SET pos = ?1 WHERE pos = -1", [place + b]).unwrap();
        drop(db);
        let engine = builder(dir.path()).open().unwrap();
        assert!(!step(&engine) && !step(&engine));
        for _ in 0..2 {
            assert!(matches!(engine.memories().count().unwrap_err().code(), Code::Forked | Code::Altered));
        }
        engine.close().unwrap();
        let engine = builder(dir.path()).read_only().open().unwrap();
        engine.inner.store.read(&mut |tx| tx.cache(1, 0, 0).map(|manifest| assert!(manifest.is_none()))).unwrap();
    }
}
