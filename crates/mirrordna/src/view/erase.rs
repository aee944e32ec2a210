//! What an erasure takes, found through the index, and what it leaves of the
//! index.

use super::event::{Content, Event};
use super::index::{Key, first_number, last_number, space};
use super::{Entry, View, short};
use crate::log::Log;
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, Hash, Kind, Result};
use mirrordna_storage::{ReadTx, WriteTx};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// All that is about a subject.
    Subject(String),
    /// All events of a session, and its own record.
    Session(String),
    /// All events of a record.
    Record(String),
    /// Events at these positions, and those of the records that they created.
    Events(Vec<u64>),
}

/// An event whose content is to be erased.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) position: u64,
    pub(crate) leaf: Hash,
    pub(crate) kind: Kind,
    /// Number of its body's schema.
    pub(crate) schema: u64,
    /// Length of its body before encryption, padding included.
    pub(crate) bytes: u64,
    pub(crate) subject: String,
    pub(crate) session: Option<String>,
    /// Record id.
    pub(crate) id: String,
    /// Keyed tags of the ids of the record that goes with it.
    pub(crate) records: Vec<[u8; 16]>,
    /// Its idempotency tag, unless that is over content.
    pub(crate) once: Option<[u8; 16]>,
    /// The one of a part.
    content: Option<[u8; 16]>,
    /// Whether it names its subject itself.
    named: bool,
    /// Keyed tag of the subject that it names, where nothing is left of that.
    pub(crate) emptied: Option<[u8; 16]>,
}

/// What an erasure takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// By position.
    pub(crate) targets: Vec<Target>,
    /// Keyed tags of subjects of whom nothing is left then.
    pub(crate) subjects: Vec<Hash>,
    /// Events that had been erased before.
    pub(crate) already: u64,
}

impl View {
    /// Takes note of what an erase event says. What was not erased by it, but is
    /// read as if it had been, stays readable by its position.
    pub(super) fn apply_erase(
        &mut self,
        tx: &dyn ReadTx,
        log: &Log,
        event: &Event,
        positions: &[u64],
        [records, once, subjects]: [&[u8]; 3],
    ) -> Result<()> {
        for (position, leaf) in positions.iter().zip(&event.header.refs) {
            self.forget(tx, log, *position, leaf)?;
        }
        let (records, _) = records.as_chunks::<16>();
        for tag in records {
            let known = self.get(tx, log, Key::new(space::ID).bytes(tag))?.as_deref().and_then(first_number);
            let known = known.map(|record| self.entry(tx, log, record)).transpose()?.flatten();
            // An id that is in use again is not erased.
            if known.is_none_or(|entry| entry.erased) {
                self.index.put(Key::new(space::ID).bytes(tag), event.index.to_be_bytes());
            }
        }
        let (once, _) = once.as_chunks::<16>();
        once.iter().for_each(|tag| self.index.put(Key::new(space::ONCE).bytes(tag), event.index.to_be_bytes()));
        let (subjects, _) = subjects.as_chunks::<16>();
        subjects.iter().for_each(|tag| self.index.put(Key::new(space::SUBJECT).bytes(tag).number(event.index), []));
        self.index.put(Key::new(space::ERASURE).number(event.index), [0]);
        Ok(())
    }

    /// Lets go of what the index knows of an event that was erased. A fold from
    /// the beginning never knew it.
    fn forget(&mut self, tx: &dyn ReadTx, log: &Log, position: u64, leaf: &Hash) -> Result<()> {
        let created = self.entry(tx, log, position)?;
        let changed = match created {
            Some(_) => None,
            None => self.get(tx, log, Key::new(space::CHANGED).number(position))?.as_deref().and_then(first_number),
        };
        // Another process has taken it out of what the store keeps.
        if let Some(tag) = self.index.take_out(Key::new(space::TAG_OF_PART).number(position)) {
            self.index.take_out(Key::new(space::ONCE).bytes(&tag));
        }
        // The position only helps; what is erased is what has the leaf hash.
        if (created.is_none() && changed.is_none()) || self.leaf_hash(tx, log, position)? != Some(*leaf) {
            return Ok(());
        }
        match (created, changed) {
            (Some(entry), _) if !entry.erased => {
                self.index.put(Key::new(space::RECORD).number(position), Entry { erased: true, ..entry }.to_bytes());
                *self.index.counts.entry(entry.schema).or_default() -= 1;
                self.recall.forget(position);
            }
            (None, Some(record)) => self.recall.changed(record),
            _ => {}
        }
        Ok(())
    }

    /// Takes the idempotency tags of parts that are erased out of what the store
    /// keeps of the index: they are over content, which whoever has the keys
    /// could go on guessing at.
    pub(crate) fn strike_parts(&mut self, tx: &mut dyn WriteTx, log: &Log, plan: &Plan) -> Result<()> {
        let parts = plan.targets.iter().filter_map(|t| Some((t.position, t.content?)));
        let of_part = |(position, tag): (u64, [u8; 16])| [Key::new(space::ONCE).bytes(&tag), Key::new(space::TAG_OF_PART).number(position)];
        let keys: Vec<Vec<u8>> = parts.flat_map(of_part).map(Key::finish).collect();
        if !keys.is_empty() && !self.is_current(tx, log)? {
            // What another process saved is what is to be made anew.
            *self = Self::default();
            self.catch_up(tx, log)?;
        }
        let (mut view, mut log) = (self, log);
        while let Some(secret) = log.tags.as_ref().filter(|_| !keys.is_empty()) {
            view.index.strike(tx, log.number, secret, &log.id, &keys)?;
            view.leans = true;
            match (view.before.as_deref_mut(), log.before.as_deref()) {
                (Some(before), Some(of_before)) => (view, log) = (before, of_before),
                _ => break,
            }
        }
        Ok(())
    }

    fn is_current(&self, tx: &dyn ReadTx, log: &Log) -> Result<bool> {
        let before = self.before.as_deref().zip(log.before.as_deref());
        Ok(self.index.is_current(Self::from(tx, log))? && before.map_or(Ok(true), |(view, log)| view.is_current(tx, log))?)
    }

    /// What erasing something takes, as the log stands.
    ///
    /// # Errors
    /// `record.not_found` where there is nothing of it and never was;
    /// `key.missing` where contents are locked.
    pub(crate) fn erasing(&self, tx: &dyn ReadTx, log: &Log, all: &[What]) -> Result<Plan> {
        let mut found = Finding::default();
        for what in all {
            let none = |name: &str| Error::new(Code::NotFound, format!("there is nothing of {name}"));
            match what {
                What::Subject(name) => {
                    let positions = self.of_subject(tx, log, name)?;
                    found.take_all(self, tx, log, positions)?.then_some(()).ok_or_else(|| none(&format!("the subject '{name}'")))?;
                }
                What::Session(id) => {
                    let of_session = Key::new(space::EVENT_OF_SESSION).bytes(&log.session_tag(id)?);
                    let positions = self.numbers(tx, log, of_session)?;
                    found.take_all(self, tx, log, positions)?.then_some(()).ok_or_else(|| none(&format!("the session {id}")))?;
                }
                What::Record(id) => match self.numbered(tx, log, id) {
                    Ok(Some((record, _))) => found.take(self, tx, log, record)?,
                    Ok(None) => return Err(none(&format!("the record {id}"))),
                    // How many events it had is not known any more.
                    Err(e) if e.code() == Code::Erased => found.already.extend([u64::MAX]),
                    Err(e) => return Err(e),
                },
                What::Events(positions) => drop(found.take_all(self, tx, log, positions.iter().copied())?),
            }
        }
        found.take_parts(self, tx, log)?;
        let emptied = self.emptied_subjects(tx, log, &found)?;
        for target in found.targets.values_mut().filter(|target| target.named) {
            target.emptied = emptied.get(&target.subject).map(|tag| short(tag));
        }
        let targets = found.targets.into_values().collect();
        Ok(Plan { targets, subjects: emptied.into_values().collect(), already: found.already.len() as u64 })
    }

    /// Positions of the events about calls of tools that have a schema.
    pub(crate) fn about_calls(&self, tx: &dyn ReadTx, log: &Log, schema: u64) -> Result<BTreeSet<u64>> {
        Ok(self.numbers(tx, log, Key::new(space::SCHEMA).schema(schema as u16))?.into_iter().collect())
    }

    fn numbers(&self, tx: &dyn ReadTx, log: &Log, prefix: Key) -> Result<Vec<u64>> {
        let mut out = Vec::new();
        self.scan(tx, log, prefix, 0, &mut |key, _| {
            out.push(last_number(key));
            Ok(true)
        })?;
        Ok(out)
    }

    /// Positions of the events whose subject has this name: those that name it,
    /// and where it is a session or a record, those of it that name none.
    pub(crate) fn of_subject(&self, tx: &dyn ReadTx, log: &Log, name: &str) -> Result<BTreeSet<u64>> {
        let tag = short(&log.subject_tag(name)?);
        let mut out: BTreeSet<u64> = self.numbers(tx, log, Key::new(space::SUBJECT).bytes(&tag))?.into_iter().collect();
        // An `erase` event that names the subject is among them.
        let mut unnamed = self.numbers(tx, log, Key::new(space::EVENT_OF_SESSION).bytes(&log.session_tag(name)?))?;
        match self.numbered(tx, log, name) {
            Ok(Some((record, _))) => unnamed.extend(self.leaves(tx, log, record, true)?),
            Err(e) if e.code() != Code::Erased => return Err(e),
            _ => {}
        }
        for position in unnamed {
            let own = match self.bare_event(tx, log, position)?.map(|e| e.content) {
                Some(Content::Private(body)) => body.subject() == name,
                Some(Content::Erased) => true,
                _ => false,
            };
            if own {
                out.insert(position);
            }
        }
        Ok(out)
    }

    /// Of the subjects of what was found, those of whom there is nothing else.
    fn emptied_subjects(&self, tx: &dyn ReadTx, log: &Log, found: &Finding) -> Result<BTreeMap<String, Hash>> {
        let names: BTreeSet<&str> = found.targets.values().map(|t| t.subject.as_str()).collect();
        let mut out = BTreeMap::new();
        for name in names {
            let rest = self.of_subject(tx, log, name)?.into_iter().filter(|p| !found.targets.contains_key(p) && !found.already.contains(p));
            let mut lives = false;
            for position in rest {
                if self.bare_event(tx, log, position)?.is_some_and(|e| matches!(e.content, Content::Private(_) | Content::Locked)) {
                    lives = true;
                    break;
                }
            }
            if !lives {
                out.insert(name.to_owned(), log.subject_tag(name)?);
            }
        }
        Ok(out)
    }

    /// Positions of `erase` events, from one on.
    pub(crate) fn erasures(&self, tx: &dyn ReadTx, log: &Log, from: u64) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        self.scan(tx, log, Key::new(space::ERASURE), from, &mut |key, _| {
            found.push(last_number(key));
            Ok(true)
        })?;
        found.retain(|position| *position >= from);
        Ok(found)
    }

    /// Positions and leaf hashes of `erase` events of which something may be left
    /// somewhere.
    pub(crate) fn pending_erasures(&self, tx: &dyn ReadTx, log: &Log) -> Result<Vec<(u64, Hash)>> {
        let mut state = BTreeMap::new();
        // What a log before says may be hidden by what this one does.
        self.scan(tx, log, Key::new(space::ERASURE), 0, &mut |key, value| {
            state.insert(last_number(key), *value == [0]);
            Ok(true)
        })?;
        let pending = state.into_iter().filter(|(_, pending)| *pending);
        pending.map(|(at, _)| self.leaf_hash(tx, log, at).map(|leaf| leaf.map(|leaf| (at, leaf)))).filter_map(Result::transpose).collect()
    }
}

/// A plan that is being made.
#[derive(Default)]
struct Finding {
    targets: BTreeMap<u64, Target>,
    already: HashSet<u64>,
    /// Parts that bodies among the targets name.
    parts: BTreeSet<u64>,
}

impl Finding {
    /// Takes events; returns whether there was any.
    fn take_all(&mut self, view: &View, tx: &dyn ReadTx, log: &Log, positions: impl IntoIterator<Item = u64>) -> Result<bool> {
        let mut any = false;
        for position in positions {
            any = true;
            self.take(view, tx, log, position)?;
        }
        Ok(any)
    }

    /// Takes an event and, where it created a record, the record's others.
    fn take(&mut self, view: &View, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<()> {
        if self.take_one(view, tx, log, position)? {
            for change in view.leaves(tx, log, position, true)? {
                self.take_one(view, tx, log, change)?;
            }
        }
        Ok(())
    }

    /// Takes one event; returns whether it created a record that was changed
    /// since.
    fn take_one(&mut self, view: &View, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<bool> {
        if self.targets.contains_key(&position) {
            return Ok(false);
        }
        let Some(event) = view.bare_event(tx, log, position)? else { return Ok(false) };
        let body = match event.content {
            Content::Private(body) => body,
            Content::Erased => {
                self.already.insert(position);
                return Ok(false);
            }
            Content::Locked => return Err(crate::log::missing("the keyring of this database is not here: contents are locked")),
            // It says that what was looked for is erased.
            Content::Public(bytes) => {
                if let Some(PublicBody::Erase { positions, .. }) = PublicBody::decode(event.header.kind, &bytes)? {
                    self.already.extend(positions);
                }
                return Ok(false);
            }
            Content::None => return Ok(false),
        };
        self.parts.extend(body.parts()?.unwrap_or_default().iter().map(|part| part.index));
        let created = view.entry(tx, log, position)?;
        let once = body.get(field::DEDUPE).and_then(|v| v.as_bytes()).and_then(|b| b.try_into().ok());
        let target = Target {
            position,
            leaf: event.hash,
            kind: event.header.kind,
            schema: body.schema,
            bytes: event.header.length,
            subject: body.subject().to_owned(),
            session: body.text(field::SESSION).map(str::to_owned),
            id: body.id().to_owned(),
            records: if created.is_some() { record_tags(log, &body)? } else { Vec::new() },
            // That of a part is over its content, which must not stay guessable.
            once: once.filter(|_| body.schema != schema::PART),
            content: once.filter(|_| body.schema == schema::PART),
            named: body.text(field::SUBJECT).is_some(),
            emptied: None,
        };
        self.targets.insert(position, target);
        Ok(created.is_some_and(|entry| entry.changed))
    }

    /// Takes the parts that no other body names which is still there.
    fn take_parts(&mut self, view: &View, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        for part in std::mem::take(&mut self.parts) {
            let mut named = false;
            for body in view.numbers(tx, log, Key::new(space::PART).number(part))? {
                if !self.targets.contains_key(&body)
                    && view.bare_event(tx, log, body)?.is_some_and(|e| !matches!(e.content, Content::Erased))
                {
                    named = true;
                    break;
                }
            }
            if !named {
                self.take_one(view, tx, log, part)?;
            }
        }
        Ok(())
    }
}

/// Tags under which a record is found by its id, and by the id it had where it
/// was imported from.
fn record_tags(log: &Log, body: &Body) -> Result<Vec<[u8; 16]>> {
    let names = [Some(body.id()), body.text(field::SOURCE_ID).filter(|s| super::fold::is_alias(s))];
    names.into_iter().flatten().map(|name| super::key_of(log, name)).collect()
}
