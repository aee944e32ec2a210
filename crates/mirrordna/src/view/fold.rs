//! The fold: what each event adds to the index.

use super::event::{Content, Event, decode};
use super::index::{At, FREEZE, Key, last_number, space};
use super::{Entry, Short, View, asserted_digest, key_of, short};
use crate::log::Log;
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::identity::IdentityType;
use mirrordna_core::timeline::TILE;
use mirrordna_core::tool;
use mirrordna_core::verify::body::{Adopted, PublicBody};
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::verify::{hash, leaf};
use mirrordna_core::{Code, Error, Hash, Kind, Result};
use mirrordna_storage::{LogRow, ReadTx};

/// Fields of a profile by which it is found.
const NAMES: [u64; 2] = [7, field::SOURCE_NS];

/// Prefixes of ids under which an imported record is also found.
const ALIASES: [&str; 9] = ["mem_", "sess_", "mc_", "vault_", "entry_", "dna_", "refl_", "glyph_", "link_"];

/// Whether an imported record is found by the id that it had.
pub(super) fn is_alias(id: &str) -> bool {
    ALIASES.iter().any(|prefix| id.starts_with(prefix))
}

const ASSERTED: u8 = 0x80;

/// Value of an actor's entry: type, leaf where it appeared, digest.
fn actor_value(kind: IdentityType, asserted: bool, leaf: u64, digest: &Hash) -> Vec<u8> {
    let kind = match kind {
        IdentityType::User => 0,
        IdentityType::Agent => 1,
        IdentityType::System => 2,
    };
    [&[kind | if asserted { ASSERTED } else { 0 }][..], &leaf.to_be_bytes(), digest].concat()
}

/// Reads what [`actor_value`] wrote: type, whether asserted, leaf, digest.
pub(super) fn actor_from(value: &[u8]) -> Option<(IdentityType, bool, u64, Hash)> {
    let ([kind], rest) = value.split_first_chunk()?;
    let (leaf, digest) = rest.split_first_chunk()?;
    let of = match kind & !ASSERTED {
        0 => IdentityType::User,
        1 => IdentityType::Agent,
        _ => IdentityType::System,
    };
    Some((of, kind & ASSERTED != 0, u64::from_be_bytes(*leaf), Hash::try_from(digest).ok()?))
}

impl View {
    /// Folds so many leaves, or all that the row claims, which are compared with
    /// its tree then; returns whether it was all.
    pub(super) fn advance(&mut self, tx: &dyn ReadTx, log: &Log, row: &LogRow, signed: &Frontier, leaves: u64) -> Result<bool> {
        let forked = |what: &str| Error::new(Code::Forked, format!("log {}: its leaves {what}", log.number));
        let end = row.size.min(self.frontier.size().saturating_add(leaves));
        self.partial = true;
        if self.frontier.size() == signed.size() && self.frontier != *signed {
            return Err(forked("have another root than its checkpoint signs"));
        }
        // Others may have erased subjects.
        crate::log::lock(&log.subjects).clear();
        let lacks = |leaf: u64| Error::new(Code::Altered, format!("log {} lacks leaf {leaf}", log.number));
        tx.scan(log.number, self.frontier.size()..end, &mut |row| {
            if row.index != self.frontier.size() {
                return Err(lacks(self.frontier.size()));
            }
            let event = Event { index: self.size(), ..decode(tx, log, row, leaf::hash(row.leaf))? };
            self.frontier.push(event.hash);
            self.tail.push(event.hash);
            if self.frontier.size() == signed.size() && self.frontier != *signed {
                return Err(forked("have another root than its checkpoint signs"));
            }
            self.apply(tx, log, &event)?;
            if self.frontier.size().is_multiple_of(TILE) {
                self.close_tile(At { tx, log: log.number })?;
            }
            Ok(())
        })?;
        if self.frontier.size() != end {
            return Err(lacks(self.frontier.size()));
        }
        if end < row.size {
            return Ok(false);
        }
        if row.frontier != self.frontier.to_bytes() {
            return Err(forked("do not lead to the tree its row claims"));
        }
        self.knows_keys(At { tx, log: log.number }, log)?;
        self.partial = false;
        // Who writes next is held to what was read.
        let mut seen = crate::log::lock(&log.seen);
        if row.size > seen.0 {
            *seen = (row.size, self.frontier.root());
        }
        Ok(true)
    }

    /// Checks that the log's checkpoint is by the newest key that its events
    /// bring: whoever has an older one must not sign on as if nothing had been.
    fn knows_keys(&self, from: At<'_>, log: &Log) -> Result<()> {
        let mut newest = None;
        self.index.scan(from, Key::new(space::LOG_KEY), 0, &mut |key, _| {
            newest = Some(last_number(key) - log.base);
            Ok(true)
        })?;
        if newest > log.brought_keys().last().copied() {
            return Err(Error::new(Code::Altered, format!("log {}: its checkpoint is by a key that was replaced", log.number)));
        }
        Ok(())
    }

    /// Notes a full tile, and makes a segment where enough has come together.
    fn close_tile(&mut self, from: At<'_>) -> Result<()> {
        let at = self.tail.len() - TILE as usize;
        let digest = hash::sha256(&[self.tail[at..].as_flattened()]);
        self.index.put(Key::new(space::TILE).number(self.frontier.size() / TILE - 1), digest);
        if self.frontier.size() - self.index.covered() >= FREEZE {
            self.index.freeze(from, &self.frontier)?;
            self.tail.clear();
        }
        Ok(())
    }

    fn apply(&mut self, tx: &dyn ReadTx, log: &Log, event: &Event) -> Result<()> {
        let created = match &event.content {
            Content::Public(bytes) => {
                self.apply_public(tx, log, event, bytes)?;
                None
            }
            Content::Private(body) => self.apply_private(tx, log, event, body)?,
            Content::Locked | Content::Erased | Content::None => None,
        };
        let value = created.map_or_else(Vec::new, |schema| schema.to_be_bytes().to_vec());
        let header = &event.header;
        if header.session != [0; 16] {
            self.index.put(Key::new(space::EVENT_OF_SESSION).bytes(&header.session).number(event.index), value.clone());
        }
        self.index.put(Key::new(space::EVENT_OF_ACTOR).bytes(&short(&header.actor)).number(event.index), value);
        Ok(())
    }

    fn apply_public(&mut self, tx: &dyn ReadTx, log: &Log, event: &Event, bytes: &[u8]) -> Result<()> {
        match PublicBody::decode(event.header.kind, bytes)? {
            Some(PublicBody::EpochRevoke { .. }) => {
                self.index.put(Key::new(space::IDENTITY).bytes(&short(&event.header.actor)).number(event.index), []);
            }
            Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log } | PublicBody::Recover { did_log, .. }) => {
                // Who an actor is follows from the SCID alone, and the tree from
                // the checkpoint. The proofs are for `verify` to judge.
                let (digest, label) = DidLog::subject(did_log)?;
                let Some(kind) = IdentityType::from_label(&label).filter(|_| digest == event.header.actor) else {
                    return Err(Error::new(Code::Altered, format!("leaf {} brings the identity of another actor", event.index)));
                };
                self.appears(tx, log, (event.index, 0), kind, &digest, false)?;
                self.index.put(Key::new(space::IDENTITY).bytes(&short(&digest)).number(event.index), []);
            }
            Some(PublicBody::LogKey { .. }) => self.index.put(Key::new(space::LOG_KEY).number(event.index), []),
            Some(PublicBody::ImportOpen { source, .. }) => self.index.put(Key::new(space::IMPORT).bytes(&source), [0]),
            Some(PublicBody::Import { source, .. }) => self.index.put(Key::new(space::IMPORT).bytes(&source), [1]),
            Some(PublicBody::Erase { positions, records, once, subjects, .. }) => {
                self.apply_erase(tx, log, event, &positions, [records, once, subjects])?;
            }
            Some(PublicBody::EraseDone { positions, .. }) => {
                let positions: Vec<u64> = positions.iter().filter_map(|at| log.position_of(*at)).collect();
                self.apply_done(tx, log, event, &positions)?;
            }
            Some(PublicBody::Adopt(adopted)) if adopted.cause == Adopted::IMPORTED => {
                let value = [&adopted.log[..], &adopted.size.to_be_bytes(), &adopted.root].concat();
                self.index.put(Key::new(space::FOREIGN).number(event.index), value);
                self.settled = false;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes an actor at its first appearance.
    fn appears(&mut self, tx: &dyn ReadTx, log: &Log, at: (u64, u8), kind: IdentityType, digest: &Hash, asserted: bool) -> Result<()> {
        let (leaf, nth) = at;
        let key = || Key::new(space::ACTOR).bytes(&short(digest));
        if self.get(tx, log, key())?.is_none() {
            self.index.put(key(), actor_value(kind, asserted, leaf, digest));
            self.index.put(Key::new(space::ACTORS).number(leaf).bytes(&[nth]), short(digest));
        }
        Ok(())
    }

    /// Notes an identity that is only asserted; returns what stands for it.
    fn asserted(&mut self, tx: &dyn ReadTx, log: &Log, leaf: u64, nth: u8, id: &str) -> Result<Short> {
        let digest = asserted_digest(log, id)?;
        let kind = id.get(5..8).and_then(IdentityType::from_label).unwrap_or(IdentityType::Agent);
        self.appears(tx, log, (leaf, nth), kind, &digest, true)?;
        Ok(short(&digest))
    }

    /// Notes an event that begins a call where records are noted, and under its
    /// request.
    fn called(&mut self, tx: &dyn ReadTx, log: &Log, event: &Event, body: &Body) -> Result<Option<u16>> {
        let (leaf, schema) = (event.index, body.schema as u16);
        if let Some(call_id) = tool::call_id(body, tool::COMPLETED).filter(|_| log.tags.is_some()) {
            self.ended(tx, log, event, call_id)?;
        }
        let Some(request) = tool::request_id(body) else { return Ok(None) };
        self.index.put(Key::new(space::OPEN_CALL).number(leaf), short(&event.header.actor));
        self.index.put(Key::new(space::RECORD_OF_ACTOR).bytes(&short(&event.header.actor)).schema(schema).number(leaf), []);
        if log.tags.is_some() {
            self.index.put(Key::new(space::REQUEST).bytes(&log.once_tag(&["tool.request", request])?).number(leaf), []);
        }
        Ok(Some(schema))
    }

    /// Takes a call out of those that are open, if this event is the one that
    /// ends it: the first under its tag, by the same actor, which refers to the one
    /// that began it. Whatever else says that it ends a call leaves it open.
    fn ended(&mut self, tx: &dyn ReadTx, log: &Log, event: &Event, call_id: &str) -> Result<()> {
        let first = |event_type: &str| -> Result<Option<u64>> {
            let found = self.get(tx, log, Key::new(space::ONCE).bytes(&log.once_tag(&[event_type, call_id])?))?;
            Ok(found.as_deref().and_then(super::first_number))
        };
        if first(tool::COMPLETED)? != Some(event.index) {
            return Ok(());
        }
        let Some(begun) = first(tool::REQUESTED)? else { return Ok(()) };
        if !self.leaf_hash(tx, log, begun)?.is_some_and(|leaf| event.header.refs.contains(&leaf)) {
            return Ok(());
        }
        let key = || Key::new(space::OPEN_CALL).number(begun);
        if self.get(tx, log, key())?.as_deref() != Some(&short(&event.header.actor)) {
            return Ok(());
        }
        // Most end soon: then nothing of them is left here.
        if self.index.take_out(key()).is_none() {
            self.index.put(key(), [0]);
        }
        Ok(())
    }

    /// Returns the schema of the record that the event created, if it did.
    fn apply_private(&mut self, tx: &dyn ReadTx, log: &Log, event: &Event, body: &Body) -> Result<Option<u16>> {
        let leaf = event.index;
        if let Some(tag) = body.get(field::DEDUPE).and_then(|v| v.as_bytes()).and_then(|b| Short::try_from(b).ok()) {
            let key = || Key::new(space::ONCE).bytes(&tag);
            if self.get(tx, log, key())?.is_none() {
                self.index.put(key(), leaf.to_be_bytes());
                if body.schema == schema::PART {
                    self.index.put(Key::new(space::TAG_OF_PART).number(leaf), tag);
                }
            }
        }
        if let Some(subject) = body.text(field::SUBJECT) {
            self.index.put(Key::new(space::SUBJECT).bytes(&short(&log.subject_tag(subject)?)).number(leaf), []);
        }
        for part in body.parts()?.unwrap_or_default().iter().filter_map(|part| log.position_of(part.index)) {
            self.index.put(Key::new(space::PART).number(part).number(leaf), []);
        }
        let kind = event.header.kind;
        if kind == Kind::EVENT {
            let schema = u16::try_from(body.schema).unwrap_or(u16::MAX);
            self.index.put(Key::new(space::SCHEMA).schema(schema).number(leaf), []);
            if let Some(none @ None) = self.oldest.get_mut(&schema) {
                *none = Some(leaf);
            }
            if log.tags.is_some() {
                for name in super::erase::names(body) {
                    self.index.put(super::erase::named(log, name)?.number(leaf), []);
                }
            }
            return self.called(tx, log, event, body);
        }
        if !matches!(kind, Kind::RECORD_PUT | Kind::RECORD_PATCH | Kind::RECORD_ARCHIVE) {
            return Ok(None);
        }
        if body.schema == schema::PROFILE && body.int(field::CONTROL) == Some(1) {
            self.asserted(tx, log, leaf, 0, body.id())?;
        }
        let id = key_of(log, body.id())?;
        let id = || Key::new(space::ID).bytes(&id);
        let known = self.get(tx, log, id())?.as_deref().and_then(super::first_number);
        let entry = known.map(|record| self.entry(tx, log, record)).transpose()?.flatten();
        // An id is one record's: what is of another sort neither changes it nor
        // takes its place.
        if entry.as_ref().is_some_and(|e| !e.erased && u64::from(e.schema) != body.schema) {
            return Ok(None);
        }
        // What was erased is not there to be changed.
        let (record, created) = match known.zip(entry.filter(|e| !e.erased)) {
            Some((record, mut entry)) => {
                entry.changed = true;
                entry.archived = kind == Kind::RECORD_ARCHIVE || (entry.archived && kind == Kind::RECORD_PATCH);
                self.index.put(Key::new(space::RECORD).number(record), entry.to_bytes());
                self.index.put(Key::new(space::CHANGE).number(record).number(leaf), []);
                self.index.put(Key::new(space::CHANGED).number(leaf), record.to_be_bytes());
                (record, None)
            }
            // A change of something whose beginning was erased.
            None if kind != Kind::RECORD_PUT => return Ok(None),
            None => {
                let actor = match body.text(field::AGENT) {
                    Some(agent) => self.asserted(tx, log, leaf, 1, agent)?,
                    None => short(&event.header.actor),
                };
                let schema = u16::try_from(body.schema).unwrap_or(u16::MAX);
                let entry = Entry { schema, archived: false, changed: false, erased: false, actor, session: event.header.session };
                self.index.put(id(), leaf.to_be_bytes());
                // An imported record is also found by the id it had, unless two
                // vaults used it: then the first one is.
                if let Some(source) = body.text(field::SOURCE_ID).filter(|s| is_alias(s)) {
                    let key = key_of(log, source)?;
                    let key = || Key::new(space::ID).bytes(&key);
                    if self.get(tx, log, key())?.is_none() {
                        self.index.put(key(), leaf.to_be_bytes());
                    }
                }
                self.index.put(Key::new(space::RECORD).number(leaf), entry.to_bytes());
                self.index.put(Key::new(space::SCHEMA).schema(schema).number(leaf), []);
                self.index.put(Key::new(space::RECORD_OF_ACTOR).bytes(&actor).schema(schema).number(leaf), []);
                *self.index.counts.entry(schema).or_default() += 1;
                (leaf, Some(schema))
            }
        };
        if body.schema == schema::PROFILE && log.tags.is_some() {
            for name in NAMES.into_iter().filter_map(|n| body.text(n)) {
                self.index.put(Key::new(space::NAME).bytes(&log.once_tag(&["name", name])?).number(record), []);
            }
        }
        if body.schema == schema::MEMORY {
            self.recall.changed(record);
        }
        Ok(created)
    }
}
