//! What this process derives from a log: which records exist, who the actors
//! are, and the recall index.
//!
//! A view is folded from leaves whose hashes lead to the signed tree; it never
//! reads a table of derived data. Answers to "list", "not found" and "how
//! many" come from here; contents are read from their events, and checked
//! against the leaf hashes seen by the fold.

use crate::commit::Appended;
use crate::log::Log;
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::identity::{IdentityType, display_id};
use mirrordna_core::memory::Memory;
use mirrordna_core::record::{self, Change, Record};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::verify::{hash, leaf};
use mirrordna_core::{Code, Error, Hash, Header, Kind, Leaf, Result};
use mirrordna_storage::{ReadTx, Row};
use std::collections::HashMap;

/// First half of a leaf hash: 128 bits are beyond second preimages.
type Short = [u8; 16];

fn short(hash: &[u8]) -> Short {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

fn key_of(id: &str) -> Short {
    short(&hash::sha256(&[id.as_bytes()]))
}

/// Stands for the digest of an identity that is only asserted: it has no DID
/// log, and no key ever speaks for it.
fn asserted_digest(id: &str) -> Hash {
    hash::sha256(&[b"mdna.v1.asserted", id.as_bytes()])
}

/// An actor of the log, or an identity that records speak of.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) digest: Hash,
    pub(crate) id: String,
    pub(crate) kind: IdentityType,
}

/// A record: where its events are.
#[derive(Debug)]
struct Entry {
    schema: u16,
    archived: bool,
    actor: u32,
    session: Short,
    first: u64,
    /// Most records have one event; the rest is boxed to keep this small.
    #[allow(clippy::box_collection)]
    more: Option<Box<Vec<u64>>>,
}

impl Entry {
    /// Leaves of its events, oldest first.
    fn leaves(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.first).chain(self.more.iter().flat_map(|m| m.iter().copied()))
    }
}

/// A verified event with its content, as far as it can be read here.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) index: u64,
    pub(crate) hash: Hash,
    pub(crate) header: Header,
    pub(crate) signed: bool,
    pub(crate) content: Content,
}

/// What is there of an event's body.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// The event has no body.
    None,
    /// A public template, as stored.
    Public(Vec<u8>),
    /// A decrypted body.
    Private(Body),
    /// Present, but its key is not here.
    Locked,
    /// Destroyed.
    Erased,
}

#[derive(Debug, Clone, Copy)]
struct Doc {
    record: u32,
    actor: u32,
    session: Short,
}

#[derive(Debug, Default)]
struct Recall {
    index: mirrordna_recall::Index,
    docs: Vec<Doc>,
    /// Record -> its current document.
    current: HashMap<u32, u32>,
    /// How many of the view's memory changes are indexed.
    done: usize,
}

/// Filters of a search.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<String>,
}

/// The derived state of one log.
#[derive(Debug, Default)]
pub(crate) struct View {
    frontier: Frontier,
    hashes: Vec<Short>,
    pub(crate) actors: Vec<Actor>,
    actor_numbers: HashMap<Hash, u32>,
    entries: Vec<Entry>,
    by_id: HashMap<Short, u32>,
    by_session: HashMap<Short, Vec<u32>>,
    by_schema: HashMap<u64, Vec<u32>>,
    once: HashMap<Short, u64>,
    /// Keyed source tag of an import -> whether it ended.
    imports: HashMap<Hash, bool>,
    subjects: HashMap<u64, Secret>,
    memory_changes: Vec<u32>,
    recall: Recall,
    pub(crate) locked: u64,
}

impl View {
    /// Number of leaves folded.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Folds what the store has beyond this view.
    pub(crate) fn catch_up(&mut self, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        let row = tx.log(log.number)?.ok_or_else(|| Error::new(Code::Altered, format!("log {} is gone", log.number)))?;
        if row.size < self.size() {
            return Err(Error::new(
                Code::RolledBack,
                format!("log {} has {} events in the store, this process has seen {}", log.number, row.size, self.size()),
            ));
        }
        if row.size == self.size() && row.frontier == self.frontier.to_bytes() {
            return Ok(());
        }
        let folded = self.fold(tx, log, row.size, &log.signed_frontier(&row)?).and_then(|()| {
            if row.frontier == self.frontier.to_bytes() {
                return Ok(());
            }
            Err(Error::new(Code::Forked, format!("log {}: its leaves do not lead to the tree its row claims", log.number)))
        });
        if folded.is_err() {
            // Nothing half-folded may answer.
            *self = Self::default();
        }
        folded
    }

    fn fold(&mut self, tx: &dyn ReadTx, log: &Log, size: u64, signed: &Frontier) -> Result<()> {
        let forked = || Error::new(Code::Forked, format!("log {}: its leaves have another root than its checkpoint signs", log.number));
        let from = self.size();
        // Doubling would leave half of the largest table empty.
        let coming = usize::try_from(size - from).unwrap_or(0);
        if coming > 4_096 {
            self.hashes.reserve_exact(coming);
            self.entries.reserve_exact(coming);
        }
        self.load_subjects(tx, log)?;
        tx.scan(log.number, from..size, &mut |row| {
            if row.index != self.size() {
                return Err(Error::new(Code::Altered, format!("log {} lacks leaf {}", log.number, self.size())));
            }
            let event = self.decode(log, row)?;
            self.frontier.push(event.hash);
            self.hashes.push(short(&event.hash));
            if self.size() == signed.size() && self.frontier != *signed {
                return Err(forked());
            }
            self.apply(&event)
        })?;
        if self.size() != size {
            return Err(Error::new(Code::Altered, format!("log {} lacks leaf {}", log.number, self.size())));
        }
        Ok(())
    }

    fn load_subjects(&mut self, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        let Some(store) = &log.store else { return Ok(()) };
        self.subjects.clear();
        tx.subjects(&mut |row| {
            let tag = Hash::try_from(row.tag.as_slice()).ok().filter(|_| row.log == log.number);
            if let Some(key) = tag.and_then(|t| store.subject_wrapping(&log.id, &t).unwrap(&row.key)) {
                self.subjects.insert(row.number, key);
            }
            Ok(())
        })
    }

    /// Decodes a row, checking the body against its commitment.
    fn decode(&self, log: &Log, row: Row<'_>) -> Result<Event> {
        let bad = |why: &str| Error::new(Code::Altered, format!("log {} leaf {}: {why}", log.number, row.index));
        let leaf = Leaf::decode(row.leaf).map_err(|e| bad("is malformed").caused_by(e))?;
        let header = leaf.header;
        if header.log != log.id {
            return Err(bad("belongs to another log"));
        }
        let content = match row.body {
            None if header.body == hash::NONE => Content::None,
            None if header.kind.is_public() => return Err(bad("lacks its public body")),
            None => Content::Erased,
            Some(bytes) if header.kind.is_public() => {
                if hash::public_body(bytes) != header.body {
                    return Err(bad("has another body than it commits to"));
                }
                Content::Public(bytes.to_vec())
            }
            Some(bytes) => {
                if hash::private_body(bytes) != header.body {
                    return Err(bad("has another body than it commits to"));
                }
                self.decrypt(log, &header, row, bytes)?
            }
        };
        Ok(Event { index: row.index, hash: leaf::hash(row.leaf), header, signed: leaf.signature.is_some(), content })
    }

    fn decrypt(&self, log: &Log, header: &Header, row: Row<'_>, bytes: &[u8]) -> Result<Content> {
        let bad = |why: &str| Error::new(Code::Altered, format!("log {} leaf {}: {why}", log.number, row.index));
        if log.store.is_none() {
            return Ok(Content::Locked);
        }
        let (subject, wrapped) = row.secret.ok_or_else(|| bad("has a body, but not its secret"))?;
        let key = self.subjects.get(&subject).ok_or_else(|| bad("names a subject whose key is not stored"))?;
        let secret = key.unwrap(wrapped).ok_or_else(|| bad("has a secret that does not unwrap"))?;
        let binding = Binding { log: &log.id, actor: &header.actor, kind: header.kind };
        let plain = cipher::open(&secret, binding, bytes)?;
        Ok(Content::Private(Body::decode_padded(&plain)?))
    }

    fn apply(&mut self, event: &Event) -> Result<()> {
        match &event.content {
            Content::Public(bytes) => self.apply_public(event, bytes),
            Content::Private(body) => {
                self.apply_private(event, body);
                Ok(())
            }
            Content::Locked => {
                self.locked += 1;
                Ok(())
            }
            Content::Erased | Content::None => Ok(()),
        }
    }

    fn apply_public(&mut self, event: &Event, bytes: &[u8]) -> Result<()> {
        match PublicBody::decode(event.header.kind, bytes)? {
            Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log }) => {
                let did = DidLog::verify(did_log)?;
                let Some(kind) = IdentityType::from_label(&did.label).filter(|_| did.digest == event.header.actor) else {
                    return Err(Error::new(Code::Altered, format!("leaf {} brings the identity of another actor", event.index)));
                };
                if !self.actor_numbers.contains_key(&did.digest) {
                    self.actor_numbers.insert(did.digest, self.actors.len() as u32);
                    self.actors.push(Actor { digest: did.digest, id: display_id(kind, &did.digest), kind });
                }
            }
            Some(PublicBody::ImportOpen { source, .. }) => drop(self.imports.insert(source, false)),
            Some(PublicBody::Import { source, .. }) => drop(self.imports.insert(source, true)),
            _ => {}
        }
        Ok(())
    }

    fn apply_private(&mut self, event: &Event, body: &Body) {
        if let Some(tag) = body.get(field::DEDUPE).and_then(|v| v.as_bytes()).and_then(|b| Short::try_from(b).ok()) {
            self.once.entry(tag).or_insert(event.index);
        }
        let kind = event.header.kind;
        if !matches!(kind, Kind::RECORD_PUT | Kind::RECORD_PATCH | Kind::RECORD_ARCHIVE) {
            return;
        }
        if body.schema == schema::PROFILE && body.int(field::CONTROL) == Some(1) {
            self.asserted(body.id());
        }
        let key = key_of(body.id());
        let number = match self.by_id.get(&key) {
            Some(number) => {
                let entry = &mut self.entries[*number as usize];
                entry.more.get_or_insert_default().push(event.index);
                entry.archived = kind == Kind::RECORD_ARCHIVE || (entry.archived && kind == Kind::RECORD_PATCH);
                *number
            }
            None => {
                let number = self.entries.len() as u32;
                let actor = match body.text(field::AGENT) {
                    Some(agent) => self.asserted(agent),
                    None => self.actor_numbers.get(&event.header.actor).copied().unwrap_or(u32::MAX),
                };
                let session = event.header.session;
                let schema = u16::try_from(body.schema).unwrap_or(u16::MAX);
                self.entries.push(Entry { schema, archived: false, actor, session, first: event.index, more: None });
                self.by_id.insert(key, number);
                // An imported record is also found by the id it had, unless two
                // vaults used it: then the first one is.
                if let Some(source) = body.text(field::SOURCE_ID).filter(|s| s.starts_with("mem_") || s.starts_with("sess_")) {
                    self.by_id.entry(key_of(source)).or_insert(number);
                }
                self.by_schema.entry(body.schema).or_default().push(number);
                if session != [0; 16] {
                    self.by_session.entry(session).or_default().push(number);
                }
                number
            }
        };
        if body.schema == schema::MEMORY {
            self.memory_changes.push(number);
        }
    }

    /// The number of an identity that is only asserted.
    fn asserted(&mut self, id: &str) -> u32 {
        let digest = asserted_digest(id);
        *self.actor_numbers.entry(digest).or_insert_with(|| {
            let kind = id.get(5..8).and_then(IdentityType::from_label).unwrap_or(IdentityType::Agent);
            self.actors.push(Actor { digest, id: id.to_owned(), kind });
            self.actors.len() as u32 - 1
        })
    }

    /// The earlier event with an idempotency tag.
    pub(crate) fn once(&self, tag: &Short) -> Option<Appended> {
        let index = *self.once.get(tag)?;
        // Only the first half of the leaf hash is kept; callers of a repeated
        // append read the event itself where they need its whole hash.
        let mut leaf = [0; 32];
        leaf[..16].copy_from_slice(self.hashes.get(usize::try_from(index).ok()?)?);
        Some(Appended { index, leaf, time: 0, existed: true })
    }

    /// Whether an import of this source began and did not end.
    pub(crate) fn import_pending(&self, source: &Hash) -> bool {
        self.imports.get(source) == Some(&false)
    }

    /// Reads and checks one event.
    pub(crate) fn event(&self, tx: &dyn ReadTx, log: &Log, index: u64) -> Result<Option<Event>> {
        let Some(expected) = usize::try_from(index).ok().and_then(|i| self.hashes.get(i)) else { return Ok(None) };
        let altered = || Error::new(Code::Altered, format!("log {} leaf {index} is not the one that was signed", log.number));
        let row = tx.event(log.number, index)?.ok_or_else(altered)?;
        if short(&leaf::hash(&row.leaf)) != *expected {
            return Err(altered());
        }
        let secret = row.secret.as_ref().map(|(subject, wrapped)| (*subject, wrapped.as_slice()));
        self.decode(log, Row { index, leaf: &row.leaf, body: row.body.as_deref(), secret }).map(Some)
    }

    fn fold_record(&self, tx: &dyn ReadTx, log: &Log, number: u32) -> Result<Option<Record>> {
        self.fold_before(tx, log, number, u64::MAX)
    }

    /// A record as its events before a leaf left it.
    fn fold_before(&self, tx: &dyn ReadTx, log: &Log, number: u32, end: u64) -> Result<Option<Record>> {
        let Some(entry) = self.entries.get(number as usize) else { return Ok(None) };
        let mut state = None;
        for index in entry.leaves().take_while(|i| *i < end) {
            let Some(event) = self.event(tx, log, index)? else { continue };
            let body = match event.content {
                Content::Private(body) => Some(body),
                _ => None,
            };
            state = record::apply(state, Change { kind: event.header.kind, index, time: event.header.time, body })?;
        }
        Ok(state)
    }

    fn actor_id(&self, number: u32) -> &str {
        self.actors.get(number as usize).map_or("", |a| a.id.as_str())
    }

    /// A record of a schema by id, with the display id of its actor.
    pub(crate) fn record(&self, tx: &dyn ReadTx, log: &Log, schema: u64, id: &str) -> Result<Option<(Record, String)>> {
        let Some(number) = self.by_id.get(&key_of(id)) else { return Ok(None) };
        let entry = &self.entries[*number as usize];
        if u64::from(entry.schema) != schema {
            return Ok(None);
        }
        Ok(self.fold_record(tx, log, *number)?.map(|r| (r, self.actor_id(entry.actor).to_owned())))
    }

    /// Leaves of the events of a record, oldest first.
    pub(crate) fn history(&self, id: &str) -> Vec<u64> {
        let entry = self.by_id.get(&key_of(id)).and_then(|n| self.entries.get(*n as usize));
        entry.map_or_else(Vec::new, |e| e.leaves().collect())
    }

    /// Records of a schema in order of creation, filtered, a page at a time.
    pub(crate) fn records(&self, tx: &dyn ReadTx, log: &Log, schema: u64, page: &Page) -> Result<Vec<(Record, String)>> {
        self.records_before(tx, log, schema, page, u64::MAX)
    }

    /// The same, as the events before a leaf left them.
    pub(crate) fn records_before(&self, tx: &dyn ReadTx, log: &Log, schema: u64, page: &Page, end: u64) -> Result<Vec<(Record, String)>> {
        let none = Vec::new();
        let all = self.by_schema.get(&schema).unwrap_or(&none);
        let in_session = page.session.map(|s| self.by_session.get(&s).unwrap_or(&none));
        let actor = match &page.actor {
            Some(digest) => match self.actor_numbers.get(digest) {
                Some(n) => Some(*n),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let wanted = in_session.unwrap_or(all).iter().filter(|n| {
            let entry = &self.entries[**n as usize];
            u64::from(entry.schema) == schema && actor.is_none_or(|a| entry.actor == a) && (page.archived || !entry.archived)
        });
        let mut out = Vec::new();
        for number in wanted.skip(page.offset).take(page.limit) {
            if let Some(record) = self.fold_before(tx, log, *number, end)? {
                out.push((record, self.actor_id(self.entries[*number as usize].actor).to_owned()));
            }
        }
        Ok(out)
    }

    /// Number of records of a schema.
    pub(crate) fn count(&self, schema: u64) -> u64 {
        self.by_schema.get(&schema).map_or(0, |l| l.len() as u64)
    }

    /// An actor by digest.
    pub(crate) fn actor(&self, digest: &Hash) -> Option<&Actor> {
        self.actors.get(*self.actor_numbers.get(digest)? as usize)
    }

    /// Indexes what changed since the last search.
    fn index_memories(&mut self, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        while let Some(number) = self.memory_changes.get(self.recall.done).copied() {
            self.recall.done += 1;
            // Only its newest state counts; an older change may come first.
            if let Some(old) = self.recall.current.remove(&number) {
                self.recall.index.remove(old);
            }
            let Some(record) = self.fold_record(tx, log, number)?.filter(|r| !r.archived) else { continue };
            let entry = &self.entries[number as usize];
            let memory = Memory::from_record(&record, "");
            let doc = self.recall.docs.len() as u32;
            let text = match &memory.speaker {
                Some(speaker) => format!("{speaker}: {}", memory.content),
                None => memory.content,
            };
            self.recall.index.add(doc, &text);
            self.recall.docs.push(Doc { record: number, actor: entry.actor, session: entry.session });
            self.recall.current.insert(number, doc);
        }
        Ok(())
    }

    /// The best memories for a query, best first, with their scores.
    pub(crate) fn search(&mut self, tx: &dyn ReadTx, log: &Log, query: &str, limit: usize, scope: &Scope) -> Result<Vec<(Memory, f64)>> {
        self.index_memories(tx, log)?;
        let actor = match &scope.actor {
            Some(digest) => Some(self.actor_numbers.get(digest).copied().unwrap_or(u32::MAX)),
            None => None,
        };
        let session = scope.session.as_deref().map(|s| log.session_tag(s)).transpose()?;
        let docs = &self.recall.docs;
        let in_scope = |d: u32| {
            let doc = &docs[d as usize];
            actor.is_none_or(|a| doc.actor == a) && session.is_none_or(|s| doc.session == s)
        };
        let hits = self.recall.index.search(query, limit, &in_scope);
        let mut out = Vec::with_capacity(hits.len());
        for hit in hits {
            let doc = docs[hit.doc as usize];
            if let Some(record) = self.fold_record(tx, log, doc.record)? {
                out.push((Memory::from_record(&record, self.actor_id(doc.actor)), hit.score));
            }
        }
        Ok(out)
    }
}

/// Which records a listing returns.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<Short>,
    pub(crate) archived: bool,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}
