//! What an erasure takes, found through the index, and what it leaves of the
//! index.

use super::event::{Content, Event};
use super::index::{Key, first_number, last_number, space};
use super::{Entry, View, short};
use crate::log::{Log, WINDOW, lock};
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::tool;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, Hash, Kind, Result};
use mirrordna_storage::{ReadTx, WriteTx};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::atomic::Ordering;

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// All that is about a subject.
    Subject(String),
    /// The calls of tools that a user asked for.
    User(String),
    /// All events of a session, and its own record.
    Session(String),
    /// What has an id: all events of a record, an event, all events of a call.
    Id(String),
    /// Events at these positions, and those of the records that they created.
    Events(Vec<u64>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(name) => write!(f, "the subject '{name}'"),
            Self::User(name) => write!(f, "the user '{name}'"),
            Self::Session(id) => write!(f, "the session {id}"),
            Self::Id(id) => write!(f, "'{id}'"),
            Self::Events(positions) => write!(f, "{} events", positions.len()),
        }
    }
}

impl What {
    /// There is nothing of it, and never was.
    pub(crate) fn absent(&self) -> Error {
        let message = match self {
            Self::Id(id) => format!("no record, event, session, tool call or identity has the id or name '{id}'"),
            what => format!("there is nothing of {what}"),
        };
        Error::new(Code::NotFound, message)
    }
}

/// Schemas of events that are no records.
const EVENTS: [u64; 3] = [schema::EVENT, schema::TOOL_CALL, schema::EVIDENCE];

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
    /// Record id, or the event's own.
    pub(crate) id: String,
    /// Id of the call of a tool that it is of.
    pub(crate) call: Option<String>,
    /// The user who asked for that.
    pub(crate) user: Option<String>,
    /// Keyed tags of the ids of the record that goes with it, or of its own.
    pub(crate) records: Vec<[u8; 16]>,
    /// Its idempotency tag, unless that is over content.
    pub(crate) once: Option<[u8; 16]>,
    /// The one of a part.
    content: Option<[u8; 16]>,
    /// Whether it names its subject itself.
    named: bool,
    /// Whether it names the user itself.
    asks: bool,
    /// Keyed tags of the subject and the user that it names, where nothing is
    /// left of them.
    pub(crate) emptied: Vec<[u8; 16]>,
}

/// What an erasure takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// By position.
    pub(crate) targets: Vec<Target>,
    /// Keyed tags of subjects of whom nothing is left then.
    pub(crate) subjects: Vec<Hash>,
    /// The same in timelines that were adopted, by the number of the log.
    pub(crate) foreign_subjects: Vec<(u32, Hash)>,
    /// Events that had been erased before.
    pub(crate) already: u64,
}

/// Names by which an event is found that has no record: its own id, that of its
/// call, and the user who asked for that.
pub(super) fn names(body: &Body) -> impl Iterator<Item = [&str; 2]> {
    let call = tool::call_id(body, tool::REQUESTED).or_else(|| tool::call_id(body, tool::COMPLETED));
    let user = tool::call_id(body, tool::REQUESTED).and_then(|_| body.text(field::USER));
    [Some(["event id", body.id()]), call.map(|id| ["call id", id]), user.map(|user| ["user id", user])].into_iter().flatten()
}

/// The key under which events with such a name are.
pub(super) fn named(log: &Log, name: [&str; 2]) -> Result<Key> {
    Ok(Key::new(space::ERASING).bytes(&[space::NAMED]).bytes(&log.once_tag(&name)?[..8]))
}

/// Stands for a user in `erase` events, beside subjects.
fn user_tag(log: &Log, user: &str) -> Result<[u8; 16]> {
    log.once_tag(&["user id", user])
}

fn erased_by(position: u64) -> Key {
    Key::new(space::ERASING).bytes(&[space::ERASED_BY]).number(position)
}

fn erased_to(schema: u16) -> Key {
    Key::new(space::ERASING).bytes(&[space::ERASED_TO]).schema(schema)
}

fn settled_to() -> Key {
    Key::new(space::ERASING).bytes(&[space::SETTLED_TO])
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
        let mut erased = Vec::with_capacity(positions.len());
        for (said, leaf) in positions.iter().zip(&event.header.refs) {
            let Some(position) = log.position_of(*said) else { continue };
            if log.origin == 0 && position >= WINDOW {
                // Of an adopted log. Whether its index knows the record depends on
                // when it was folded; this says the same either way.
                self.index.put(Key::new(space::GONE).number(position), leaf);
                self.recall.forget(position);
                // Its subject may be gone with it.
                lock(&log.at(position).0.subjects).clear();
            } else {
                self.forget(tx, log, position, leaf)?;
            }
            self.index.put(erased_by(position), event.index.to_be_bytes());
            erased.push(position);
        }
        for schema in EVENTS {
            self.pass_erased(tx, log, schema as u16, &erased)?;
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
        log.erased.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes note of what an event says that nothing is left of. Moves the place
    /// up to which that is so of all erasures; each is passed once.
    pub(super) fn apply_done(&mut self, tx: &dyn ReadTx, log: &Log, event: &Event, positions: &[u64]) -> Result<()> {
        let done = [&[1][..], &event.index.to_be_bytes()].concat();
        positions.iter().for_each(|at| self.index.put(Key::new(space::ERASURE).number(*at), done.as_slice()));
        let from = self.settled_up_to(tx, log)?;
        let mut to = from;
        self.scan(tx, log, Key::new(space::ERASURE), from, &mut |key, _| {
            let position = last_number(key);
            // What a log before says may be hidden by what this one does.
            let done = self.get(tx, log, Key::new(space::ERASURE).number(position))?.is_some_and(|s| s != [0]);
            to = if done { to.max(position + 1) } else { to };
            Ok(done)
        })?;
        if to > from {
            self.index.put(settled_to(), to.to_be_bytes());
        }
        Ok(())
    }

    fn settled_up_to(&self, tx: &dyn ReadTx, log: &Log) -> Result<u64> {
        Ok(self.get(tx, log, settled_to())?.as_deref().and_then(first_number).unwrap_or(0))
    }

    /// Moves the place up to which all events of a schema are erased. Each event
    /// is passed once, however often something is erased.
    fn pass_erased(&mut self, tx: &dyn ReadTx, log: &Log, schema: u16, positions: &[u64]) -> Result<()> {
        match self.oldest.get(&schema) {
            Some(Some(oldest)) if positions.contains(oldest) => {}
            Some(_) => return Ok(()),
            None => {}
        }
        let from = self.erased_up_to(tx, log, schema)?;
        let (mut to, mut oldest) = (from, None);
        self.scan(tx, log, Key::new(space::SCHEMA).schema(schema), from, &mut |key, _| {
            let position = last_number(key);
            let erased = self.get(tx, log, erased_by(position))?.is_some();
            match erased {
                true => to = position + 1,
                false => oldest = Some(position),
            }
            Ok(erased)
        })?;
        self.oldest.insert(schema, oldest);
        if to > from {
            self.index.put(erased_to(schema), to.to_be_bytes());
        }
        Ok(())
    }

    fn erased_up_to(&self, tx: &dyn ReadTx, log: &Log, schema: u16) -> Result<u64> {
        Ok(self.get(tx, log, erased_to(schema))?.as_deref().and_then(first_number).unwrap_or(0))
    }

    /// Positions of the events of a schema that happened before a time and are
    /// not erased. Times in a log do not decrease, so what is read besides is
    /// the first event that is younger.
    pub(crate) fn events_before(&self, tx: &dyn ReadTx, log: &Log, schema: u64, before: u64) -> Result<Vec<u64>> {
        let schema = schema as u16;
        let mut out = Vec::new();
        self.scan(tx, log, Key::new(space::SCHEMA).schema(schema), self.erased_up_to(tx, log, schema)?, &mut |key, _| {
            let position = last_number(key);
            if self.get(tx, log, erased_by(position))?.is_some() {
                return Ok(true);
            }
            let Some(event) = self.bare_event(tx, log, position)? else { return Ok(true) };
            let due = event.header.time < before;
            if due && matches!(event.content, Content::Private(_)) {
                out.push(position);
            }
            Ok(due)
        })?;
        Ok(out)
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
        if keys.is_empty() {
            return Ok(());
        }
        for (view, foreign) in self.foreign.iter_mut().zip(log.foreign()) {
            view.strike(tx, &foreign.log, &keys)?;
        }
        self.strike(tx, log, &keys)
    }

    fn strike(&mut self, tx: &mut dyn WriteTx, log: &Log, keys: &[Vec<u8>]) -> Result<()> {
        let (mut view, mut log) = (self, log);
        while let Some(secret) = log.tags.as_ref() {
            view.index.strike(tx, log.number, secret, &log.id, keys)?;
            view.leans = true;
            match (view.before.as_deref_mut(), log.before.as_deref()) {
                (Some(before), Some(of_before)) => (view, log) = (before, of_before),
                _ => break,
            }
        }
        Ok(())
    }

    fn is_current(&self, tx: &dyn ReadTx, log: &Log) -> Result<bool> {
        for (view, foreign) in self.adopted(log) {
            if !view.is_current(tx, &foreign.log)? {
                return Ok(false);
            }
        }
        let before = self.before.as_deref().zip(log.before.as_deref());
        Ok(self.index.is_current(Self::from(tx, log))? && before.map_or(Ok(true), |(view, log)| view.is_current(tx, log))?)
    }

    /// What erasing something takes, as the log stands.
    ///
    /// # Errors
    /// `record.not_found` where there is nothing of it and never was;
    /// `key.missing` where contents are locked.
    pub(crate) fn erasing(&self, tx: &dyn ReadTx, log: &Log, all: &[What]) -> Result<Plan> {
        let mut found = self.finding(tx, log, all)?;
        found.take_parts(self, tx, log)?;
        let emptied = self.emptied_subjects(tx, log, &found)?;
        for target in found.targets.values_mut().filter(|target| target.named) {
            target.emptied.extend(emptied.get(&target.subject).map(|tag| short(tag)));
        }
        let users: BTreeSet<String> = found.targets.values().filter(|t| t.asks).filter_map(|t| t.user.clone()).collect();
        for user in users {
            if !self.asks_for_more(tx, log, &found, &user)? {
                let tag = user_tag(log, &user)?;
                let asking = found.targets.values_mut().filter(|t| t.asks && t.user.as_ref() == Some(&user));
                asking.for_each(|target| target.emptied.push(tag));
            }
        }
        let mut foreign_subjects = Vec::new();
        for (_, foreign) in self.readable(log) {
            for name in emptied.keys() {
                foreign_subjects.push((foreign.log.number, foreign.log.subject_tag(name)?));
            }
        }
        let targets = found.targets.into_values().collect();
        Ok(Plan { targets, subjects: emptied.into_values().collect(), foreign_subjects, already: found.already.len() as u64 })
    }

    /// Positions and bodies of the events that have such a name and can be read;
    /// of those that were erased, positions alone.
    fn named_events(&self, tx: &dyn ReadTx, log: &Log, name: [&str; 2]) -> Result<Vec<(u64, Option<Body>)>> {
        let mut out = Vec::new();
        for position in self.numbers(tx, log, named(log, name)?)? {
            match self.bare_event(tx, log, position)?.map(|e| e.content) {
                Some(Content::Private(body)) if names(&body).any(|n| n == name) => out.push((position, Some(body))),
                Some(Content::Erased) => out.push((position, None)),
                _ => {}
            }
        }
        for (view, foreign) in self.readable(log) {
            out.extend(view.named_events(tx, &foreign.log, name)?);
        }
        Ok(out)
    }

    /// Positions of the events of the calls that a user asked for; of those only
    /// that name nobody else as their subject, or nobody at all.
    fn of_user(&self, tx: &dyn ReadTx, log: &Log, user: &str, unnamed: bool) -> Result<BTreeSet<u64>> {
        let mut out = BTreeSet::new();
        for (position, body) in self.named_events(tx, log, ["user id", user])? {
            let Some(body) = body else {
                out.insert(position);
                continue;
            };
            if unnamed && body.text(field::SUBJECT).is_some() {
                continue;
            }
            out.insert(position);
            let Some(call) = tool::call_id(&body, tool::REQUESTED) else { continue };
            for (other, said) in self.named_events(tx, log, ["call id", call])? {
                // What ends a call without a subject names the event that began it.
                let own = |said: &Body| said.text(field::SUBJECT).is_none_or(|s| s == body.id());
                if !unnamed || said.as_ref().is_none_or(own) {
                    out.insert(other);
                }
            }
        }
        Ok(out)
    }

    /// Whether there is something else that a user asked for.
    fn asks_for_more(&self, tx: &dyn ReadTx, log: &Log, found: &Finding, user: &str) -> Result<bool> {
        for position in self.numbers(tx, log, named(log, ["user id", user])?)? {
            if !found.targets.contains_key(&position)
                && !found.already.contains(&position)
                && self.bare_event(tx, log, position)?.is_some_and(|e| matches!(e.content, Content::Private(_) | Content::Locked))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Positions of the events of a session.
    fn of_session(&self, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<Vec<u64>> {
        let mut out = self.numbers(tx, log, Key::new(space::EVENT_OF_SESSION).bytes(&log.session_tag(id)?))?;
        for (view, foreign) in self.readable(log) {
            out.extend(view.of_session(tx, &foreign.log, id)?);
        }
        Ok(out)
    }

    /// Events that are named, without parts.
    fn finding(&self, tx: &dyn ReadTx, log: &Log, all: &[What]) -> Result<Finding> {
        let mut found = Finding::default();
        for what in all {
            let any = match what {
                What::Subject(name) => found.take_all(self, tx, log, self.of_subject(tx, log, name)?)?,
                What::User(name) => {
                    let mut positions = self.of_user(tx, log, name, false)?;
                    positions.extend(self.gone(tx, log, &user_tag(log, name)?)?);
                    found.take_all(self, tx, log, positions)?
                }
                What::Session(id) => found.take_all(self, tx, log, self.of_session(tx, log, id)?)?,
                What::Id(id) => found.take_id(self, tx, log, id)?,
                What::Events(positions) => {
                    found.take_all(self, tx, log, positions.iter().copied())?;
                    true
                }
            };
            if !any {
                return Err(what.absent());
            }
        }
        Ok(found)
    }

    /// Whether there is anything of it that is not erased.
    ///
    /// # Errors
    /// `record.not_found` where there never was; `key.missing` where contents
    /// are locked.
    pub(crate) fn lives(&self, tx: &dyn ReadTx, log: &Log, what: What) -> Result<bool> {
        let positions = match &what {
            What::Subject(name) => self.of_subject(tx, log, name)?.into_iter().collect(),
            What::Session(id) => self.of_session(tx, log, id)?,
            _ => return Ok(!self.finding(tx, log, &[what])?.targets.is_empty()),
        };
        if positions.is_empty() {
            return Err(what.absent());
        }
        // As a rule the first one says it.
        for position in positions {
            if self.bare_event(tx, log, position)?.is_some_and(|e| matches!(e.content, Content::Private(_) | Content::Locked)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Positions of the `erase` events with a tag of a subject or a user of whom
    /// nothing was left then, and of the events that name such a subject.
    fn gone(&self, tx: &dyn ReadTx, log: &Log, tag: &[u8; 16]) -> Result<Vec<u64>> {
        self.numbers(tx, log, Key::new(space::SUBJECT).bytes(tag))
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
    /// and those that name none, where it is the session, the record or the
    /// event, or the user who asked for a call.
    pub(crate) fn of_subject(&self, tx: &dyn ReadTx, log: &Log, name: &str) -> Result<BTreeSet<u64>> {
        // `erase` events that name the subject are among them.
        let mut out: BTreeSet<u64> = self.gone(tx, log, &short(&log.subject_tag(name)?))?.into_iter().collect();
        out.extend(self.gone(tx, log, &user_tag(log, name)?)?);
        out.extend(self.of_user(tx, log, name, true)?);
        let mut unnamed = self.numbers(tx, log, Key::new(space::EVENT_OF_SESSION).bytes(&log.session_tag(name)?))?;
        match self.numbered(tx, log, name) {
            Ok(Some((record, _))) => unnamed.extend(self.leaves(tx, log, record, true)?),
            Err(e) if e.code() != Code::Erased => return Err(e),
            _ => {}
        }
        unnamed.extend(self.numbers(tx, log, named(log, ["event id", name])?)?);
        for (view, foreign) in self.readable(log) {
            out.extend(view.of_subject(tx, &foreign.log, name)?);
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
        // What an adopted log has may be erased by it, or by any that adopted it.
        let (adopted, mut from) = (self.foreign_at(log, from), from);
        if let Some((view, log)) = adopted {
            found = view.erasures(tx, log, from)?;
            from = 0;
        }
        let mut own = Vec::new();
        self.scan(tx, log, Key::new(space::ERASURE), from, &mut |key, _| {
            own.push(last_number(key));
            Ok(true)
        })?;
        own.retain(|position| *position >= from);
        found.extend(own);
        Ok(found)
    }

    /// The `erase` event that names an event, if there is one: its position.
    pub(crate) fn eraser(&self, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<Option<u64>> {
        match self.get(tx, log, erased_by(position))?.as_deref().and_then(first_number) {
            // What was erased before its log was adopted that one says.
            None => self.foreign_at(log, position).map_or(Ok(None), |(view, log)| view.eraser(tx, log, position)),
            here => Ok(here),
        }
    }

    /// The `erase.done` event that names an `erase` event, if there is one: its
    /// position.
    pub(crate) fn settler(&self, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<Option<u64>> {
        let state = self.get(tx, log, Key::new(space::ERASURE).number(position))?;
        Ok(state.and_then(|s| first_number(s.get(1..)?)))
    }

    /// Positions and leaf hashes of `erase` events of which something may be left
    /// somewhere.
    pub(crate) fn pending_erasures(&self, tx: &dyn ReadTx, log: &Log) -> Result<Vec<(u64, Hash)>> {
        let mut state = BTreeMap::new();
        // What a log before says may be hidden by what this one does.
        self.scan(tx, log, Key::new(space::ERASURE), self.settled_up_to(tx, log)?, &mut |key, value| {
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

    /// Takes what has an id; returns whether there is anything or ever was.
    fn take_id(&mut self, view: &View, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<bool> {
        let (mut any, mut erased) = (false, false);
        match view.numbered(tx, log, id) {
            Ok(Some((record, _))) => {
                self.take(view, tx, log, record)?;
                any = true;
            }
            Ok(None) => {}
            Err(e) if e.code() == Code::Erased => erased = true,
            Err(e) => return Err(e),
        }
        for label in ["event id", "call id"] {
            for (position, _) in view.named_events(tx, log, [label, id])? {
                self.take_one(view, tx, log, position)?;
                any = true;
            }
        }
        // Where that was folded anew, the tag of a call leads to its erasure.
        for event_type in [tool::REQUESTED, tool::COMPLETED] {
            erased = erased || !any && view.once(tx, log, &log.once_tag(&[event_type, id])?)?.is_some();
        }
        if erased && !any {
            // How many events it had is not known any more.
            self.already.insert(u64::MAX);
        }
        Ok(any || erased)
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
        let of_it = log.at(position).0;
        self.parts.extend(body.parts()?.unwrap_or_default().iter().filter_map(|part| of_it.position_of(part.index)));
        let created = view.entry(tx, log, position)?;
        let call = tool::call_id(&body, tool::REQUESTED).or_else(|| tool::call_id(&body, tool::COMPLETED)).map(str::to_owned);
        let asks = tool::call_id(&body, tool::REQUESTED).is_some();
        let user = match &call {
            Some(_) if asks => body.text(field::USER).map(str::to_owned),
            Some(call) => {
                let all = view.named_events(tx, log, ["call id", call])?;
                all.into_iter().find_map(|(_, said)| Some(said?.text(field::USER)?.to_owned()))
            }
            None => None,
        };
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
            call,
            user,
            asks,
            records: match created {
                Some(_) => record_tags(log, &body)?,
                None if event.header.kind == Kind::EVENT => vec![super::key_of(log, body.id())?],
                None => Vec::new(),
            },
            // That of a part is over its content, which must not stay guessable.
            // One of an adopted log is of another key: nobody here asks for it.
            once: once.filter(|_| body.schema != schema::PART && of_it.origin == 0),
            content: once.filter(|_| body.schema == schema::PART),
            named: body.text(field::SUBJECT).is_some(),
            emptied: Vec::new(),
        };
        self.targets.insert(position, target);
        Ok(created.is_some_and(|entry| entry.changed))
    }

    /// Takes the parts that no other body names which is still there.
    fn take_parts(&mut self, view: &View, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        for part in std::mem::take(&mut self.parts) {
            let mut named = false;
            let (of_it, top) = view.foreign_at(log, part).unwrap_or((view, log));
            for body in of_it.numbers(tx, top, Key::new(space::PART).number(part))? {
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
