//! The timeline: appending and reading events.

use crate::commit::Appended;
use crate::engine::Tenant;
use crate::keyring::hex;
use crate::view::{Content, Event};
use mirrordna_core::body::field;
use mirrordna_core::canon::Value;
use mirrordna_core::timeline::{NewEvent, PREFIX, event_type};
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits, time};
use serde::Serialize;

/// The timeline of a tenant, of an actor, or of a session, depending on where
/// the handle came from.
///
/// ```
/// # use mirrordna::{Engine, IdentityType};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// let timeline = agent.timeline();
/// let placed = timeline.append("booking.requested", &serde_json::json!({"to": "Lyon"}))?;
/// let event = timeline.get(placed.index)?;
/// assert_eq!(event.payload.as_deref(), Some(r#"{"to":"Lyon"}"#));
///
/// // A call whose outcome is unknown is made again: it is appended once.
/// let first = timeline.append_json("ticket.bought", None, Some("order 17"))?;
/// let again = timeline.append_json("ticket.bought", None, Some("order 17"))?;
/// assert_eq!((first.index, again.existed), (again.index, true));
///
/// // Everything in the log, the engine's own events too, from the genesis on.
/// assert_eq!(engine.timeline().list(0, 1)?[0].kind, "log.genesis");
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Timeline {
    pub(crate) tenant: Tenant,
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<String>,
    pub(crate) subject: Option<String>,
}

/// One event as interfaces show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct TimelineEvent {
    /// Its position: the index of the leaf in its log; after a fork, plus the
    /// events of the logs before that one.
    pub leaf: u64,
    /// Leaf hash, hex: the event's name in proofs.
    pub hash: String,
    /// Header time, RFC 3339.
    pub time: String,
    /// Kind: `record.put`, `seal`, `event`, …
    pub kind: String,
    /// Display id of the actor.
    pub actor: String,
    /// Number in the actor's chain.
    pub aseq: u64,
    /// Whether the leaf itself is signed.
    pub signed: bool,
    /// `clear`, `readable`, `locked`, `erased` or `none`.
    pub body: &'static str,
    /// Record id, where there is one and it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Type of an application event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When it happened, where that was said, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Payload as text, where it is text or JSON and can be read. A listing
    /// leaves out payloads beyond 64 KiB: [`Timeline::get`] has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Length of a payload that the listing left out, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<i64>,
}

impl Timeline {
    /// The same timeline, whose events are data about this subject: an erasure
    /// of the subject takes them.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Appends an application event with a JSON payload, durably. The type is a
    /// dotted name, such as `booking.requested`.
    ///
    /// # Errors
    /// `input.invalid`, `limit.exceeded`, `key.missing`, `store.*`.
    pub fn append(&self, event_type: &str, payload: &serde_json::Value) -> Result<Appended> {
        self.append_json(event_type, Some(&payload.to_string()), None)
    }

    /// Appends an application event whose payload, JSON, is kept byte for byte.
    /// A second append with the same idempotency key appends nothing and
    /// returns the first result.
    ///
    /// # Errors
    /// As [`Timeline::append`], and `json.invalid`; `body.erased` where the first
    /// result of the key was erased.
    pub fn append_json(&self, event_type: &str, payload: Option<&str>, idempotency_key: Option<&str>) -> Result<Appended> {
        let actor = self.actor.ok_or_else(|| {
            Error::new(Code::InputInvalid, "an event belongs to an actor")
                .with_hint("Append through an identity's or a session's timeline: agent.timeline().append(…).")
        })?;
        let once = idempotency_key.map(|key| self.tenant.log.once_tag(&["event", key])).transpose()?;
        let new = NewEvent {
            event_type: event_type.to_owned(),
            payload: payload.map(str::to_owned),
            session: self.session.clone(),
            subject: self.subject.clone(),
            occurred_at: None,
        };
        let entropy = self.tenant.inner.draw(1)?;
        let mut body = new.into_body(&self.tenant.new_id_with(PREFIX, &entropy)?)?;
        if let Some(tag) = once {
            body.set(field::DEDUPE, Value::Bytes(tag.to_vec()));
        }
        let placed = self.tenant.append_with(&actor, Kind::EVENT, &body, once, &entropy)?;
        if placed.existed {
            self.still_there(placed.index)?;
        }
        Ok(placed)
    }

    /// `body.erased` where the first result of an idempotency key was erased.
    fn still_there(&self, position: u64) -> Result<()> {
        let found = self.tenant.view(|view, tx| view.bare_event(tx, &self.tenant.log, position))?;
        match found.map(|event| event.content) {
            Some(Content::Private(_) | Content::Locked) => Ok(()),
            _ => Err(Error::new(Code::Erased, "the first result of this idempotency key was erased")),
        }
    }

    /// Number of events in the log, whatever the scope of this handle.
    ///
    /// # Errors
    /// `store.*` where the log cannot be read, `log.altered` where its evidence
    /// does not hold.
    pub fn len(&self) -> Result<u64> {
        self.tenant.view(|view, _| Ok(view.size()))
    }

    /// Whether the log is empty; it never is, it begins with its genesis.
    ///
    /// # Errors
    /// As [`Timeline::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// One event.
    ///
    /// # Errors
    /// `record.not_found` beyond the end, or where its evidence does not hold.
    pub fn get(&self, leaf: u64) -> Result<TimelineEvent> {
        let found = self.list(leaf, 1)?.into_iter().find(|e| e.leaf == leaf);
        match found {
            Some(event) if event.payload_bytes.is_some() => self.tenant.view(|view, tx| {
                let whole = view.event(tx, &self.tenant.log, leaf)?;
                Ok(whole.map_or_else(|| event.clone(), |whole| describe(&whole, event.actor.clone())))
            }),
            Some(event) => Ok(event),
            None if leaf < self.len()? => Err(Error::new(Code::NotFound, format!("event {leaf} is not of this timeline"))),
            None => Err(Error::new(Code::NotFound, format!("there is no event {leaf}: the log has {}, from 0 on", self.len()?))),
        }
    }

    /// Events of this scope from a leaf on, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `store.*` where the log cannot be read, `log.altered` where its evidence
    /// does not hold.
    pub fn list(&self, from: u64, limit: usize) -> Result<Vec<TimelineEvent>> {
        let session = self.session.as_deref().map(|s| self.tenant.log.session_tag(s)).transpose()?;
        let (log, limit) = (&self.tenant.log, limit.min(limits::RESULTS));
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.tenant.view(|view, tx| {
            let mut out = Vec::new();
            view.events(tx, log, (session, self.actor), from, &mut |event| {
                let actor = view.actor(tx, log, &event.header.actor)?.map_or_else(|| hex(&event.header.actor), |a| a.id);
                out.push(describe(&event, actor));
                Ok(out.len() < limit)
            })?;
            Ok(out)
        })
    }
}

pub(crate) fn describe(event: &Event, actor: String) -> TimelineEvent {
    let (state, body) = match &event.content {
        Content::None => ("none", None),
        Content::Public(_) => ("clear", None),
        Content::Private(body) => ("readable", Some(body)),
        Content::Locked => ("locked", None),
        Content::Erased => ("erased", None),
    };
    let text = |n| body.and_then(|b| b.text(n)).map(str::to_owned);
    let kind = event.header.kind;
    TimelineEvent {
        leaf: event.index,
        hash: hex(&event.hash),
        time: time::rfc3339(i64::try_from(event.header.time).unwrap_or(i64::MAX)),
        kind: kind.name().map_or_else(|| format!("kind-{}", kind.0), str::to_owned),
        actor,
        aseq: event.header.aseq,
        signed: event.signed,
        body: state,
        record: text(field::ID),
        event_type: body.and_then(event_type).map(str::to_owned),
        session: text(field::SESSION),
        occurred_at: body.and_then(|b| b.int(field::OCCURRED_AT)).map(time::rfc3339),
        payload: body.filter(|b| b.get(field::PARTS).is_none()).and_then(|b| b.payload_text()).map(str::to_owned),
        payload_bytes: body.and_then(|b| b.int(field::LENGTH)),
    }
}
