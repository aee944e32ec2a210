//! A bundle of named events: each with its proof, and with what shows whose it
//! is.

use super::under::{Chosen, Under, erased};
use super::whole::{join, noted};
use super::{Bundled, Sink};
use crate::engine::Tenant;
use crate::log::Log;
use crate::log_keys::bridge_at;
use crate::view::{Content, Event, Said, View, secret_of};
use crate::witness::StoreTiles;
use mirrordna_core::proof::{consistency, inclusion};
use mirrordna_core::verify::bundle::{Builder, Item, Scope};
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::{Code, Error, Hash, Header, Kind, Result, limits};
use mirrordna_storage::{EventRow, ReadTx};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// How an event stands in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// It only joins others of its actor, whose `prev` fixes it.
    Link,
    /// It brings a key, or says what became of another one: it has a proof.
    Proven,
    /// It was asked for.
    Asked,
}

/// Events to be proven. [`Prove::write`] makes the bundle.
#[derive(Debug, Clone)]
#[must_use = "nothing is written before `write`"]
pub struct Prove {
    tenant: Tenant,
    positions: BTreeSet<u64>,
    disclose: bool,
    linked: bool,
    label: String,
    under: Under,
    erased: Vec<(String, u64)>,
}

impl Tenant {
    /// Proves events, given by their positions ([`crate::TimelineEvent::leaf`]),
    /// to somebody who has nothing but the log's fingerprint.
    pub fn prove(&self, positions: &[u64]) -> Prove {
        let positions = positions.iter().copied().collect();
        let (label, under, erased) = (String::new(), Under::Newest, Vec::new());
        Prove { tenant: self.clone(), positions, disclose: false, linked: false, label, under, erased }
    }
}

impl Prove {
    /// Also everything that was ever said of a record: of a memory, a session, an
    /// identity's profile, by its id.
    ///
    /// Of one that was erased the events are there, without content: what proves
    /// that is the event that erased it, and all that this names. Which of these
    /// were the record's nobody can tell any more; see [`Prove::erased`].
    ///
    /// # Errors
    /// `record.not_found` for an id that nothing has; `store.*`, `log.altered`.
    pub fn record(mut self, id: &str) -> Result<Self> {
        let log = &self.tenant.log;
        let found = self.tenant.view(|view, tx| view.history(tx, log, id));
        let found = match found {
            Err(e) if e.code() == Code::Erased => {
                let Some((by, mut named)) = self.tenant.view(|view, tx| view.erased_record(tx, log, id))? else { return Err(e) };
                self.erased.push((id.to_owned(), by));
                named.push(by);
                named
            }
            found => found?,
        };
        if found.is_empty() {
            return Err(Error::new(Code::NotFound, format!("nothing has the id {id}")));
        }
        self.positions.extend(found);
        Ok(self)
    }

    /// Of the records that were asked for: the ids of those whose content was
    /// erased, each with the position of the event that says so.
    #[must_use]
    pub fn erased(&self) -> &[(String, u64)] {
        &self.erased
    }

    /// Also every event of a session.
    ///
    /// # Errors
    /// `record.not_found` for a session without events, `limit.exceeded` for one
    /// of too many; `store.*`, `log.altered`.
    pub fn session(mut self, id: &str) -> Result<Self> {
        let (log, tag) = (&self.tenant.log, self.tenant.log.session_tag(id)?);
        let found = self.tenant.view(|view, tx| {
            let mut found = Vec::new();
            view.events(tx, log, (Some(tag), None), 0, &mut |event| {
                found.push(event.index);
                Ok(found.len() <= limits::PROVEN)
            })?;
            Ok(found)
        })?;
        if found.is_empty() {
            return Err(Error::new(Code::NotFound, format!("no event is of session {id}")));
        }
        self.positions.extend(found);
        Ok(self)
    }

    /// Also hands out the secrets of these events, so that whoever has the
    /// bundle reads them. Nothing else becomes readable by that.
    pub const fn disclose(mut self) -> Self {
        self.disclose = true;
        self
    }

    /// Also shows the headers of everything that their actors did between the
    /// first and the last of these events, so that it is seen whether anything
    /// was left out.
    pub const fn linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// What the bundle is about, for people: at most 512 bytes. It is evidence
    /// of nothing.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Proves them under another checkpoint of this log than its newest: one that
    /// witnesses have cosigned, with its note as it is.
    pub fn under(mut self, under: Under) -> Self {
        self.under = under;
        self
    }

    /// Writes the bundle. What is not signed yet is signed before, where this
    /// process may.
    ///
    /// # Errors
    /// `record.not_found` for a position beyond the log, `limit.exceeded` for
    /// too many, `input.invalid` for none or for events that no checkpoint covers
    /// and no key is here to sign one, or that were erased after the one chosen;
    /// `key.missing` to disclose what cannot be read here; `log.altered` where the
    /// evidence does not hold; `store.*`; what [`Engine::audit_under`] says of a
    /// checkpoint that is chosen.
    ///
    /// [`Engine::audit_under`]: crate::Engine::audit_under
    pub fn write(self, out: &mut dyn Write) -> Result<Bundled> {
        if self.positions.is_empty() {
            return Err(Error::new(Code::InputInvalid, "a proof is of at least one event"));
        }
        if self.positions.len() > limits::PROVEN {
            return Err(mirrordna_core::canon::too_long("the number of events of one proof", self.positions.len(), limits::PROVEN));
        }
        if self.disclose {
            self.tenant.log.readable()?;
        }
        if !self.tenant.inner.read_only {
            self.tenant.inner.tend()?;
        }
        let (bytes, mut bundled) = self.tenant.view(|view, tx| {
            let mut bytes = Vec::new();
            let mut sink = Sink { out: &mut bytes, bundled: Bundled::default() };
            self.bundle(view, tx, &mut sink)?;
            let bundled = sink.bundled;
            Ok((bytes, bundled))
        })?;
        let mut sink = Sink { out, bundled: Bundled::default() };
        sink.put(&bytes)?;
        bundled.bytes = sink.bundled.bytes;
        Ok(bundled)
    }

    fn bundle(&self, view: &View, tx: &dyn ReadTx, sink: &mut Sink<'_>) -> Result<()> {
        let (mut builder, begin) = Builder::new();
        sink.put(&begin)?;
        let top: &Log = &self.tenant.log;
        if let Some(beyond) = self.positions.iter().find(|at| **at >= view.end_at(top, **at)) {
            let end = view.end_at(top, *beyond);
            return Err(Error::new(Code::NotFound, format!("there is no event {beyond}: the log has {end}, from 0 on")));
        }
        // What was adopted is shown with the event that names it.
        let next = |at: &u64| top.foreign_at(*at).map(|foreign| foreign.named_at);
        let naming: BTreeSet<u64> = self.positions.iter().flat_map(|at| std::iter::successors(next(at), next)).collect();
        // The newest log of each timeline first, one that adopted another before
        // that; what was asked for is in the older ones, or here.
        let mut sections: Vec<Section<'_>> = Vec::new();
        for first in std::iter::once(top).chain(top.foreign().map(|foreign| &foreign.log)) {
            let mut end = view.end_at(top, first.origin);
            let lowest = self.positions.range(first.origin..end).chain(naming.range(first.origin..end)).min().copied();
            let mut log: Option<&Log> = Some(first);
            while let Some(one) = log.filter(|_| lowest.is_some_and(|lowest| end > lowest)) {
                let mut section = Section::new(self, one, view, tx, end)?;
                for position in naming.range(one.base..end) {
                    let event = section.read(view, tx, *position)?;
                    section.support(position - one.base);
                    section.attribute(view, tx, &event)?;
                }
                sections.push(section);
                end = one.base;
                log = one.before.as_deref();
            }
        }
        self.under.fits(sections.iter().map(|section| &section.log.id))?;
        let elsewhere: Vec<(u64, u64)> = sections.iter_mut().flat_map(|section| std::mem::take(&mut section.elsewhere)).collect();
        for (position, gone) in elsewhere {
            if let Some(section) = sections.iter_mut().find(|s| (s.log.base..s.end).contains(&position)) {
                let index = position - section.log.base;
                if index >= section.size {
                    return Err(erased(gone, section.size));
                }
                section.support(index);
            }
        }
        for section in sections.iter().rev() {
            section.write(view, tx, self, &mut builder, sink)?;
        }
        sink.put(&builder.finish())
    }
}

/// What of one log goes into the bundle.
struct Section<'a> {
    log: &'a Log,
    /// The log of the tenant, whose view knows all positions.
    top: &'a Log,
    /// The position after its last event.
    end: u64,
    /// Its checkpoint.
    note: String,
    /// Leaves that the checkpoint covers.
    size: u64,
    /// Leaves that came after it.
    later: u64,
    roles: BTreeMap<u64, Role>,
    /// Further checkpoints, by size.
    checkpoints: BTreeMap<u64, String>,
    /// Positions of erase events that this section needs, in whatever log, and of
    /// what they erased.
    elsewhere: Vec<(u64, u64)>,
}

impl<'a> Section<'a> {
    fn new(prove: &'a Prove, log: &'a Log, view: &View, tx: &dyn ReadTx, end: u64) -> Result<Self> {
        let row = log.row(tx)?;
        log.learn_keys(tx, &row)?;
        let Chosen { note, size } = prove.under.choose(tx, &row, prove.tenant.inner.keyring.as_deref())?;
        let (top, later) = (&prove.tenant.log, row.size - size);
        let (roles, checkpoints, elsewhere) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut section = Self { log, top, end, note, size, later, roles, checkpoints, elsewhere };
        section.support(0);
        if log.adopted.is_some() {
            section.support(1);
        }
        section.keys(tx)?;
        let asked: Vec<u64> = prove.positions.range(log.base..end).copied().collect();
        let mut spans: BTreeMap<Hash, (u64, u64)> = BTreeMap::new();
        let mut waiting = asked.clone();
        while let Some(position) = waiting.pop() {
            let event = section.read(view, tx, position)?;
            if position - log.base >= size {
                if !matches!(prove.under, Under::Newest) {
                    let message = format!("event {position} comes after the checkpoint, which covers {size} events");
                    return Err(Error::new(Code::InputInvalid, message).with_hint("Have the log cosigned again, and take that checkpoint."));
                }
                return Err(Error::new(Code::InputInvalid, format!("event {position} is not covered by a checkpoint yet"))
                    .with_hint("Open the database where its keys are: a checkpoint is signed then, and at the latest when it is closed."));
            }
            if section.roles.insert(position - log.base, Role::Asked) == Some(Role::Asked) {
                continue;
            }
            if let Content::Private(body) = &event.content {
                // A payload in parts is proven with them.
                waiting.extend(
                    body.parts()?.unwrap_or_default().iter().filter_map(|part| log.position_of(part.index)).filter(|at| *at >= log.base),
                );
            }
            section.attribute(view, tx, &event)?;
            if matches!(event.content, Content::Erased) {
                section.erasure(view, tx, &event)?;
            }
            let span = spans.entry(event.header.actor).or_insert((position, position));
            *span = (span.0.min(position), span.1.max(position));
        }
        if prove.linked {
            for (actor, (from, to)) in spans {
                section.links(view, tx, &actor, from, |event| event.index < to)?;
            }
        }
        if !asked.is_empty() {
            section.times(view, tx, &asked)?;
        }
        Ok(section)
    }

    /// Adds what leads to the keys that came after the genesis's.
    fn keys(&mut self, tx: &dyn ReadTx) -> Result<()> {
        let size = self.size;
        for leaf in self.log.brought_keys().into_iter().filter(|leaf| leaf + 1 < size) {
            let lacks = || Error::new(Code::Altered, format!("log {} lacks the bridge at leaf {}", self.log.number, leaf + 1));
            self.checkpoints.insert(leaf + 1, bridge_at(tx, self.log.number, leaf + 1)?.ok_or_else(lacks)?);
            self.support(leaf);
            self.support(leaf + 1);
        }
        Ok(())
    }

    fn support(&mut self, index: u64) {
        if index < self.size {
            self.roles.entry(index).and_modify(|role| *role = (*role).max(Role::Proven)).or_insert(Role::Proven);
        }
    }

    fn link(&mut self, index: u64, header: &Header) {
        if header.kind.brings_key() {
            self.support(index);
        } else if index < self.size {
            self.roles.entry(index).or_insert(Role::Link);
        }
    }

    fn read(&self, view: &View, tx: &dyn ReadTx, position: u64) -> Result<Event> {
        view.bare_event(tx, self.top, position)?
            .ok_or_else(|| Error::new(Code::Altered, format!("log {} lacks leaf {}", self.log.number, position - self.log.base)))
    }

    /// The first event of an actor in this log at a position or after it.
    fn first_of(&self, view: &View, tx: &dyn ReadTx, actor: &Hash, from: u64) -> Result<Option<Event>> {
        let mut found = None;
        view.events(tx, self.top, (None, Some(*actor)), from, &mut |event| {
            found = Some(event);
            Ok(false)
        })?;
        Ok(found.filter(|event| event.index < self.end))
    }

    /// An actor's event by its number in the chain: the numbers ascend with the
    /// positions.
    fn numbered(&self, view: &View, tx: &dyn ReadTx, actor: &Hash, aseq: u64) -> Result<Event> {
        let (mut low, mut high) = (self.log.base, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_of(view, tx, actor, middle)? {
                Some(event) if event.header.aseq == aseq => return Ok(event),
                Some(event) if event.header.aseq < aseq => low = event.index + 1,
                _ => high = middle,
            }
        }
        Err(Error::new(Code::Altered, format!("log {}: an actor's chain lacks its event {aseq}", self.log.number)))
    }

    /// Adds what shows whose an event is: the key that speaks for it, what
    /// vouches for that key, and the signature that covers the event.
    fn attribute(&mut self, view: &View, tx: &dyn ReadTx, event: &Event) -> Result<()> {
        let header = &event.header;
        let signer = if header.signer == header.aseq { event.clone() } else { self.numbered(view, tx, &header.actor, header.signer)? };
        self.support(signer.index - self.log.base);
        // What brought the key itself, where it was no epoch.
        let after = if signer.header.kind == Kind::EPOCH_OPEN { signer.index } else { signer.index + 1 };
        self.identity(view, tx, &header.actor, after)?;
        if event.signed {
            return Ok(());
        }
        let (mut signature, size) = (None, self.log.base + self.size);
        view.events(tx, self.top, (None, Some(header.actor)), event.index + 1, &mut |next| {
            if next.index < size && next.signed && next.header.signer == header.signer {
                signature = Some(next.index);
            }
            Ok(signature.is_none() && next.index < size)
        })?;
        // Without one the event stays what it is: in the log, and unsigned.
        let Some(signature) = signature else { return Ok(()) };
        self.links(view, tx, &header.actor, event.index, |next| next.index < signature)?;
        self.support(signature - self.log.base);
        Ok(())
    }

    /// Adds what vouches for an epoch's key, the newest version of its actor's
    /// identity before it, and all that was said of the identity later: it may
    /// end the key, or dispute what it signed.
    fn identity(&mut self, view: &View, tx: &dyn ReadTx, actor: &Hash, epoch: u64) -> Result<()> {
        let mut before = None;
        let own = self.log.base..self.end;
        for said in view.identity_events(tx, self.top, actor, self.end)?.iter().filter(|said| own.contains(&said.position)) {
            match (&said.what, said.position < epoch) {
                (Said::Brought { .. }, true) => before = Some(said.position),
                (Said::Revoked { .. }, true) => {}
                (_, false) => self.support(said.position - self.log.base),
            }
        }
        let before = before.ok_or_else(|| Error::new(Code::Altered, format!("log {}: an actor has no identity entry", self.log.number)))?;
        self.support(before - self.log.base);
        Ok(())
    }

    /// Adds the events of an actor after a position, as long as `more` says so.
    fn links(&mut self, view: &View, tx: &dyn ReadTx, actor: &Hash, after: u64, more: impl Fn(&Event) -> bool) -> Result<()> {
        let base = self.log.base;
        view.events(tx, self.top, (None, Some(*actor)), after + 1, &mut |event| {
            if more(&event) {
                self.link(event.index - base, &event.header);
                return Ok(true);
            }
            Ok(false)
        })
    }

    /// Finds the event that says that another one was erased, in this log or in
    /// one that goes on from it.
    fn erasure(&mut self, view: &View, tx: &dyn ReadTx, erased: &Event) -> Result<()> {
        for position in view.erasures(tx, self.top, erased.index + 1)? {
            let event = self.read(view, tx, position)?;
            if event.header.kind == Kind::ERASE && event.header.refs.contains(&erased.hash) {
                self.elsewhere.push((position, erased.index));
                break;
            }
        }
        Ok(())
    }

    /// Adds what bounds the time of what was asked for: the anchor before it,
    /// and the cosigned checkpoint after it.
    fn times(&mut self, view: &View, tx: &dyn ReadTx, asked: &[u64]) -> Result<()> {
        // Leaf, size and note of each.
        let mut anchors: Vec<(u64, u64, String)> = Vec::new();
        let base = self.log.base;
        view.events(tx, self.top, (None, Some(self.log.system)), base, &mut |event| {
            if let (Kind::ANCHOR, Content::Public(bytes)) = (event.header.kind, &event.content)
                && event.index < self.end
                && let Some((size, note)) = noted(bytes)
            {
                anchors.push((event.index - base, size, note));
            }
            Ok(event.index < self.end)
        })?;
        for index in asked.iter().map(|position| position - base) {
            let before = anchors.iter().rev().find(|(leaf, ..)| *leaf < index);
            let after = anchors.iter().find(|(_, size, _)| *size > index);
            for (leaf, size, note) in before.into_iter().chain(after).filter(|(_, size, _)| *size < self.size) {
                join(&mut self.checkpoints, *size, note.clone());
                if *leaf < index {
                    self.roles.entry(*leaf).or_insert(Role::Proven);
                }
            }
        }
        Ok(())
    }

    fn write(&self, view: &View, tx: &dyn ReadTx, prove: &Prove, builder: &mut Builder, sink: &mut Sink<'_>) -> Result<()> {
        let log = self.log;
        let tiles = StoreTiles { tx, log: log.number };
        sink.put(&builder.section(&log.id, Scope::Part, &self.note, &prove.label)?)?;
        sink.bundled.logs += 1;
        sink.bundled.later += self.later;
        for (size, note) in &self.checkpoints {
            sink.put(&builder.checkpoint(note, Some(&consistency(&tiles, *size, self.size)?))?)?;
        }
        for (&index, &role) in &self.roles {
            // Checked against the tree that the view has folded.
            let event = self.read(view, tx, log.base + index)?;
            let gone = || Error::new(Code::Altered, format!("log {} lacks leaf {index}", log.number));
            let EventRow { leaf, body, secret } = tx.event(log.number, index)?.ok_or_else(gone)?;
            let asked = role == Role::Asked;
            let opened = match &secret {
                Some((subject, wrapped)) if asked && prove.disclose => secret_of(tx, log, index, *subject, wrapped)?,
                _ => None,
            };
            let stored = match (&body, &opened) {
                (None, _) => Stored::Nothing,
                (Some(row), Some(secret)) => Stored::Opened(row, secret.expose()),
                (Some(row), None) if asked || event.header.kind.is_public() => Stored::Bytes(row),
                (Some(row), None) => Stored::Unread(row.len() as u64),
            };
            let path = if role == Role::Link { None } else { Some(inclusion(&tiles, index, self.size)?) };
            sink.bundled.events += 1;
            sink.bundled.disclosed += u64::from(opened.is_some());
            sink.put(&builder.event(Item { index, asked, leaf: &leaf, body: stored, path: path.as_deref() })?)?;
        }
        Ok(())
    }
}
