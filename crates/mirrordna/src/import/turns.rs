//! Turns of conversations on their way in: batches that are atomic, the
//! agent and the user of a conversation, its sessions.
//!
//! A file tells of conversations that are over: each session ends at the time
//! of its last message. One whose messages name no time stays open, since no
//! end of it is known. When a later file brings more of it, the end moves.

use super::intake::{Earlier, Intake};
use crate::commit::{Item, Speaker};
use crate::engine::Tenant;
use crate::identities::{Identities, Identity, NewIdentity};
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::canon::Value as Field;
use mirrordna_core::identity::IdentityType;
use mirrordna_core::memory::{self, NewMemory};
use mirrordna_core::session::{self, NewSession};
use mirrordna_core::verify::json::Json;
use mirrordna_core::{Code, Error, Kind, Result, id, limits, time};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Turns that are committed together; each may open a session and a
/// conversation, which is four events at most.
const BATCH: usize = limits::BATCH_EVENTS / 4 - 4;
/// The same in bytes of text and metadata; the other half is for names and
/// padding.
const BATCH_BYTES: usize = limits::BATCH_BYTES / 2 - 2 * limits::BODY;

/// A session as it is opened by its first turn.
pub(super) struct Opening {
    pub(super) tag: [u8; 16],
    pub(super) new: NewSession,
}

/// One turn, read and checked.
pub(super) struct Turn {
    pub(super) line: u64,
    pub(super) ns: String,
    pub(super) session: Option<Opening>,
    pub(super) tag: [u8; 16],
    pub(super) new: NewMemory,
    pub(super) repaired: bool,
}

impl Turn {
    fn bytes(&self) -> usize {
        let session = self.session.as_ref().and_then(|s| s.new.metadata.as_ref());
        self.new.content.as_bytes().len() + self.new.metadata.as_ref().map_or(0, String::len) + session.map_or(0, String::len)
    }
}

/// Record id of the session with this tag.
pub(super) fn session_id(tag: &[u8; 16]) -> String {
    format!("{}_{}", session::PREFIX, id::encode(tag))
}

/// When a session ended, as far as was read, and whose it is.
struct Ending {
    ns: Rc<str>,
    subject: Option<Rc<str>>,
    last: i64,
}

/// The turns of one file.
pub(super) struct Turns<'a> {
    pub(super) intake: Intake<'a>,
    /// Per conversation: its agent and the id of its user.
    pairs: HashMap<String, (Identity, String)>,
    sessions: HashSet<[u8; 16]>,
    ends: HashMap<[u8; 16], Ending>,
    /// Names that many endings share.
    names: HashSet<Rc<str>>,
    waiting: Vec<Turn>,
    bytes: usize,
}

impl<'a> Turns<'a> {
    pub(super) fn new(intake: Intake<'a>) -> Self {
        Self {
            intake,
            pairs: HashMap::new(),
            sessions: HashSet::new(),
            ends: HashMap::new(),
            names: HashSet::new(),
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a turn; returns whether this completed a batch.
    pub(super) fn push(&mut self, turn: Turn) -> Result<bool> {
        self.bytes += turn.bytes();
        self.waiting.push(turn);
        let full = self.waiting.len() >= BATCH || self.bytes >= BATCH_BYTES;
        if full {
            self.commit()?;
        }
        Ok(full)
    }

    /// Commits what waits, ends the sessions, and says that the import ended.
    pub(super) fn finish(mut self) -> Result<()> {
        self.commit()?;
        self.end_sessions()?;
        self.intake.finish()
    }

    /// Commits the turns that are not there yet, in one atomic append.
    fn commit(&mut self) -> Result<()> {
        self.bytes = 0;
        let turns = std::mem::take(&mut self.waiting);
        let turns = self.unknown(turns)?;
        if turns.is_empty() {
            return Ok(());
        }
        let Tenant { inner, log } = self.intake.tenant;
        let entropy = inner.draw(turns.len())?;
        let mut items = Vec::with_capacity(turns.len() + 16);
        if let Some(open) = self.intake.open()? {
            items.push(open);
        }
        for mut turn in turns {
            let (agent, user) = self.pair(&turn.ns, &mut items)?;
            let speaker = Speaker::Epoch(inner.epoch(log, &agent.digest)?);
            turn.new.user = Some(user.clone());
            if let Some(Opening { tag, new }) = turn.session.take() {
                let session = session_id(&tag);
                if self.sessions.insert(tag) {
                    let mut body = NewSession { user: Some(user), ..new }.into_body(&session)?;
                    body.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
                    let draft = inner.draft(log, &agent.digest, Kind::RECORD_PUT, &body)?;
                    items.push(Item { actor: agent.digest, speaker: speaker.clone(), draft, once: Some(tag) });
                }
                turn.new.session = Some(session);
            }
            // The parts of a large text are its agent's events: the agent must
            // have its entry before them.
            if turn.new.content.as_bytes().len() > limits::INLINE && !items.is_empty() {
                self.intake.append(std::mem::take(&mut items), false)?;
            }
            let mut body = turn.new.into_body(&format!("{}_{}", memory::PREFIX, id::encode(&turn.tag)))?;
            body.set(field::DEDUPE, Field::Bytes(turn.tag.to_vec()));
            let draft = inner.draft_with(log, &agent.digest, Kind::RECORD_PUT, &body, &entropy)?;
            items.push(Item { actor: agent.digest, speaker, draft, once: Some(turn.tag) });
        }
        self.intake.append(items, false)
    }

    /// Drops turns that an earlier run, or an earlier line, brought already;
    /// refuses those whose id is taken by other content.
    fn unknown(&mut self, turns: Vec<Turn>) -> Result<Vec<Turn>> {
        let wanted: Vec<([u8; 16], &[u8])> = turns.iter().map(|t| (t.tag, t.new.content.as_bytes())).collect();
        let earlier = self.intake.earlier(&wanted)?;
        let mut fresh = Vec::with_capacity(turns.len());
        for (turn, earlier) in turns.into_iter().zip(earlier) {
            if matches!(earlier, Earlier::Other | Earlier::Erased) {
                let counted = if turn.repaired { &mut self.intake.repaired } else { &mut self.intake.kept };
                *counted = counted.saturating_sub(1);
            }
            if matches!(earlier, Earlier::None | Earlier::Same) {
                self.note_end(&turn);
            }
            if self.intake.admit(turn.line, &earlier) {
                fresh.push(turn);
            }
        }
        Ok(fresh)
    }

    fn name(&mut self, name: &str) -> Rc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let new: Rc<str> = name.into();
        self.names.insert(new.clone());
        new
    }

    /// Remembers when a turn was said, as its session's end so far.
    fn note_end(&mut self, turn: &Turn) {
        let (Some(opening), Some(at)) = (&turn.session, turn.new.occurred_at) else { return };
        if let Some(end) = self.ends.get_mut(&opening.tag) {
            end.last = end.last.max(at);
            return;
        }
        let (ns, subject) = (self.name(&turn.ns), opening.new.subject.as_deref().map(|s| self.name(s)));
        self.ends.insert(opening.tag, Ending { ns, subject, last: at });
    }

    /// Ends the sessions of this file that are not known to have ended then.
    fn end_sessions(&mut self) -> Result<()> {
        let mut ends: Vec<([u8; 16], Ending)> = std::mem::take(&mut self.ends).into_iter().collect();
        ends.sort_unstable_by_key(|(tag, end)| (end.last, *tag));
        let Tenant { inner, log } = self.intake.tenant;
        let mut items: Vec<Item> = Vec::new();
        for (tag, Ending { ns, subject, last }) in ends {
            let id = session_id(&tag);
            let found = self.intake.tenant.view(|view, tx| view.record(tx, log, schema::SESSION, &id))?;
            // What was erased is not spoken of again.
            let Some((record, _)) = found else { continue };
            let end = record.body.int(field::OCCURRED_AT).map_or(last, |started| last.max(started));
            if record.body.int(session::ENDED_AT).is_some_and(|at| at >= end) {
                continue;
            }
            if items.len() >= BATCH {
                self.intake.append(std::mem::take(&mut items), false)?;
            }
            items.extend(self.intake.open()?);
            let (agent, _) = self.pair(&ns, &mut items)?;
            let mut body = session::end_body(&id, end, None)?;
            if let Some(subject) = &subject {
                body.set(field::SUBJECT, (&**subject).into());
            }
            let draft = inner.draft(log, &agent.digest, Kind::RECORD_PATCH, &body)?;
            let speaker = Speaker::Epoch(inner.epoch(log, &agent.digest)?);
            items.push(Item { actor: agent.digest, speaker, draft, once: None });
        }
        if items.is_empty() { Ok(()) } else { self.intake.append(items, false) }
    }

    /// The agent and the user of a conversation, made at its first turn. The
    /// agent has keys; the user is somebody the file speaks of, and is asserted.
    fn pair(&mut self, ns: &str, items: &mut Vec<Item>) -> Result<(Identity, String)> {
        if let Some(pair) = self.pairs.get(ns) {
            return Ok(pair.clone());
        }
        let Tenant { inner, log } = self.intake.tenant;
        let identities = Identities { tenant: self.intake.tenant.clone() };
        let tag = log.once_tag(&["chat-agent", ns])?;
        let agent = match identities.by_once(&tag)? {
            Some(agent) => agent,
            None => {
                let new = NewIdentity { name: Some(ns.to_owned()), source_ns: Some(ns.to_owned()), ..NewIdentity::default() };
                self.intake.events += 2;
                identities.create_once(IdentityType::Agent, &new, Some(tag))?
            }
        };
        let tag = log.once_tag(&["chat-user", ns])?;
        let user: String = tag.iter().map(|b| format!("{b:02x}")).collect();
        let user = format!("mdna_usr_{user}");
        let profile = Body::new(schema::PROFILE, &user)
            .with(field::SUBJECT, Some(user.as_str()))
            .with(field::DEDUPE, Some(Field::Bytes(tag.to_vec())))
            .with(field::SOURCE_NS, Some(ns))
            .with(field::CONTROL, Some(1))
            .with(6, Some(IdentityType::User.name()));
        let draft = inner.draft(log, &agent.digest, Kind::RECORD_PUT, &profile)?;
        let speaker = Speaker::Epoch(inner.epoch(log, &agent.digest)?);
        items.push(Item { actor: agent.digest, speaker, draft, once: Some(tag) });
        self.pairs.insert(ns.to_owned(), (agent.clone(), user.clone()));
        Ok((agent, user))
    }
}

/// A time as text, or as a number of seconds or milliseconds since 1970.
pub(super) fn read_time(value: &Json<'_>) -> Result<time::Parsed> {
    if let Some(text) = value.str() {
        return time::parse(text);
    }
    let number: f64 = value.raw.parse().unwrap_or(f64::NAN);
    // Seconds reach 1e11 in the year 5138; milliseconds did in 1973.
    let ms = if number.abs() < 1e11 { number * 1000.0 } else { number };
    if ms.is_finite() && ms.abs() < 1e15 {
        return Ok(time::Parsed { ms: ms.round() as i64, assumed_utc: false });
    }
    Err(Error::new(Code::InputInvalid, format!("'{}' is not a time", value.raw.chars().take(40).collect::<String>())))
}
