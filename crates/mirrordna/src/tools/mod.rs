//! The ledger of tool calls: what an agent asked of the world and what came
//! back, as events of its log.
//!
//! A call id can be used once in a tenant: the event that begins a call carries
//! an idempotency tag over it, the one that ends it another, and the commit
//! finds both in the index. So the ledger needs no state of its own, and of two
//! processes that use one id at once exactly one writes.

mod cite;
mod evidence;
mod read;

pub use evidence::{Evidence, EvidenceChain, StatedEvidence};
pub use read::{EvidenceRead, read_evidence};

use crate::commit::Appended;
use crate::engine::{Engine, Tenant};
use crate::identities::Identity;
use crate::listing::Page;
use crate::log::Log;
use crate::view::{Calls, Content, View};
use mirrordna_core::body::{Body, field};
use mirrordna_core::canon::Value;
use mirrordna_core::tool::{self, COMPLETED, NewCall, Outcome, PREFIX, REQUESTED, Told, ToolCall, says_the_same};
use mirrordna_core::{Code, Error, Hash, Header, Kind, Result, limits, timeline};
use mirrordna_storage::ReadTx;

/// Calls of tools of a tenant, of an agent, or of a session, depending on where
/// the handle came from. Recording one needs to know who calls: an agent's or a
/// session's handle does, the tenant's reads.
///
/// ```
/// use mirrordna::{Code, Engine, IdentityType, NewCall, Outcome};
///
/// let engine = Engine::open("memory:")?; // or "./mirrordna.db"
/// let agent = engine.identities().create(IdentityType::Agent)?;
/// let tools = agent.tools();
///
/// // Before the call, and after it. The log keeps digests of both contents.
/// let call = tools.requested(NewCall::new("weather/today", "req-17").args(r#"{"city":"Lyon"}"#))?;
/// call.completed(Outcome::success(r#"{"sky":"clear"}"#).summary(r#"{"count":1}"#))?;
///
/// // What an answer cites holds for the request that the call was made for.
/// let cited = tools.citation(call.id())?;
/// assert_eq!(engine.tools().verify_citation(&cited, "req-17")?.endpoint, "weather/today");
/// let wrong = engine.tools().verify_citation(&cited, "req-18").unwrap_err();
/// assert_eq!(wrong.code(), Code::CitationOtherRequest);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tools {
    pub(crate) tenant: Tenant,
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) user: Option<String>,
}

/// A call that was recorded, to be told how it ended. The handle can be cloned,
/// and another process can get one by the call's id ([`Tools::call`]).
#[derive(Debug, Clone)]
pub struct Call {
    tools: Tools,
    actor: Hash,
    requested: Told,
    existed: bool,
}

/// What the ledger has under a call id.
#[derive(Debug, Default)]
struct Found {
    requested: Option<(Told, Hash)>,
    completed: Option<Told>,
    /// One of the two was there, and its content is gone.
    erased: bool,
    /// The headers of both, and where they are.
    placed: Vec<(u64, Header)>,
}

/// An event of a call, and what its header says.
#[derive(Debug)]
struct Noted {
    told: Told,
    header: Header,
}

/// What is at a leaf that should have an event of a call.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum There {
    Noted(Noted),
    /// Its content is gone.
    Erased,
    /// Something else.
    Other,
}

impl There {
    fn noted(self) -> Option<Noted> {
        match self {
            Self::Noted(noted) => Some(noted),
            Self::Erased | Self::Other => None,
        }
    }
}

fn at(view: &View, tx: &dyn ReadTx, log: &Log, leaf: u64) -> Result<There> {
    let Some(event) = view.bare_event(tx, log, leaf)? else { return Ok(There::Other) };
    Ok(match event.content {
        Content::Private(body) if event.header.kind == Kind::EVENT => {
            let told = Told { body, leaf: event.index, hash: event.hash, time: event.header.time };
            There::Noted(Noted { told, header: event.header })
        }
        Content::Erased => There::Erased,
        // What was erased is found by its tag at the event that says so.
        _ if event.header.kind == Kind::ERASE => There::Erased,
        _ => There::Other,
    })
}

/// Looks a call up by its id.
fn find(view: &View, tx: &dyn ReadTx, log: &Log, call_id: &str) -> Result<Found> {
    let mut found = Found::default();
    let mut read = |event_type: &str| -> Result<Option<Noted>> {
        let Some(placed) = view.once(tx, log, &log.once_tag(&[event_type, call_id])?)? else { return Ok(None) };
        let there = at(view, tx, log, placed.index)?;
        found.erased |= matches!(there, There::Erased);
        Ok(there.noted().filter(|n| tool::call_id(&n.told.body, event_type) == Some(call_id)))
    };
    let requested = read(REQUESTED)?;
    let completed = read(COMPLETED)?;
    // What ends a call says which event began it, and is its agent's.
    let of = |first: &Noted, last: &Noted| last.header.actor == first.header.actor && last.header.refs.contains(&first.told.hash);
    let ends = |completed: &Noted| requested.as_ref().is_none_or(|first| of(first, completed));
    let completed = completed.filter(ends);
    found.requested = requested.map(|n| (found.place(n.told.leaf, n.header), n.told)).map(|(actor, told)| (told, actor));
    found.completed = completed.map(|n| (found.place(n.told.leaf, n.header), n.told).1);
    Ok(found)
}

impl Found {
    /// Takes note of where an event is; returns whose it is.
    fn place(&mut self, leaf: u64, header: Header) -> Hash {
        let actor = header.actor;
        self.placed.push((leaf, header));
        actor
    }

    /// Whether it was imported: then the log's own actor says that a file said so,
    /// and nobody that a call was made.
    fn is_imported(&self, log: &Log) -> bool {
        self.placed.iter().any(|(leaf, header)| header.actor == log.at(*leaf).0.system)
    }

    /// The first event by which its agent no longer stands by what is there of it.
    fn disputed_by(&self, view: &View, tx: &dyn ReadTx, log: &Log) -> Result<Option<u64>> {
        let by = self.placed.iter().map(|(leaf, header)| view.disputed_by(tx, log, header, *leaf));
        Ok(by.collect::<Result<Vec<_>>>()?.into_iter().flatten().min())
    }

    /// The call itself.
    fn read(&self, view: &View, tx: &dyn ReadTx, log: &Log, call_id: &str) -> Result<ToolCall> {
        match &self.requested {
            Some((requested, actor)) => {
                let agent = view.actor(tx, log, actor)?.map(|a| a.id).unwrap_or_default();
                let call = ToolCall::read(requested, self.completed.as_ref(), &agent)?;
                Ok(ToolCall { disputed_by: self.disputed_by(view, tx, log)?, ..call })
            }
            None if self.erased => Err(erased(call_id)),
            None => Err(Error::new(Code::NotFound, format!("there is no call {}", shown(call_id)))
                .with_hint("Check the id and the tenant; `mirrordna tool list` shows what exists.")),
        }
    }
}

/// What was imported cannot be cited.
fn imported(call_id: &str) -> Error {
    let message = format!("the call {} was imported: this log records that a file says so, not that the call was made", shown(call_id));
    Error::new(Code::CitationUnknown, message).with_hint("Show the ledger that it came from, or have the call made and recorded here.")
}

fn erased(call_id: &str) -> Error {
    Error::new(Code::Erased, format!("the content of the call {} was erased", shown(call_id)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

impl Tools {
    /// Records that a tool is called, durably: before the call, so that nothing
    /// happens without a record of it. The same call again, all fields equal,
    /// is the first one.
    ///
    /// # Errors
    /// `tool.exists` where the id is taken by another call; `record.not_found`
    /// and `input.invalid` where the attempt before does not exist or served
    /// another request; `input.invalid`, `json.invalid`, `limit.exceeded`,
    /// `key.missing`, `store.*`.
    pub fn requested(&self, mut new: NewCall) -> Result<Call> {
        let actor = self.actor.ok_or_else(|| {
            Error::new(Code::InputInvalid, "a call is an agent's")
                .with_hint("Record it through an agent's or a session's tools: agent.tools().requested(…).")
        })?;
        new.session = new.session.or_else(|| self.session.clone());
        new.subject = new.subject.or_else(|| self.subject.clone());
        new.user = new.user.or_else(|| self.user.clone());
        let refs = match &new.attempt_of {
            Some(earlier) => vec![self.attempted(earlier, &new.request_id)?],
            None => Vec::new(),
        };
        let call_id = match new.call_id.take() {
            Some(id) => id,
            None => self.tenant.new_id(PREFIX)?,
        };
        let irreversible = new.irreversible;
        let body = new.into_body(&self.tenant.new_id(timeline::PREFIX)?, &call_id, None)?;
        let (placed, body) = self.append(&actor, body, &call_id, REQUESTED, refs, irreversible)?;
        let requested = Told { body, leaf: placed.index, hash: placed.leaf, time: placed.time };
        if !placed.existed {
            return Ok(Call { tools: self.clone(), actor, requested, existed: false });
        }
        let taken = |why: &str| Error::new(Code::ToolExists, format!("the call id {} is taken by {why}", shown(&call_id)));
        match self.tenant.view(|view, tx| at(view, tx, &self.tenant.log, placed.index))? {
            There::Noted(there) if there.header.actor != actor => Err(taken("a call of another agent")),
            There::Noted(there) if says_the_same(&there.told.body, &requested.body) => {
                Ok(Call { tools: self.clone(), actor, requested: there.told, existed: true })
            }
            There::Noted(_) => Err(taken("another call")),
            There::Erased => Err(taken("a call whose content was erased")),
            There::Other => Err(Error::new(Code::Locked, "the call of this id cannot be read here")),
        }
    }

    /// The leaf of the attempt before, which must be of the same request.
    fn attempted(&self, call_id: &str, request_id: &str) -> Result<Hash> {
        self.tenant.log.readable()?;
        self.tenant.view(|view, tx| {
            let found = find(view, tx, &self.tenant.log, call_id)?;
            let (earlier, _) = match &found.requested {
                Some(earlier) => earlier,
                None if found.erased => return Err(erased(call_id)),
                None => return Err(Error::new(Code::NotFound, format!("there is no call {} to try again", shown(call_id)))),
            };
            if tool::request_id(&earlier.body) != Some(request_id) {
                let message = format!("the call {} served another request: this is no attempt of it", shown(call_id));
                return Err(Error::new(Code::InputInvalid, message));
            }
            Ok(earlier.hash)
        })
    }

    /// Appends an event of a call, unless the call has one of this type; returns
    /// the body with its tag.
    fn append(
        &self,
        actor: &Hash,
        mut body: Body,
        call_id: &str,
        event_type: &str,
        refs: Vec<Hash>,
        signed: bool,
    ) -> Result<(Appended, Body)> {
        let Tenant { inner, log } = &self.tenant;
        let tag = log.once_tag(&[event_type, call_id])?;
        body.set(field::DEDUPE, Value::Bytes(tag.to_vec()));
        let mut draft = inner.draft(log, actor, Kind::EVENT, &body)?.referring_to(refs)?;
        draft.signed = signed;
        let placed = inner.append(log, actor, vec![(draft, Some(tag))])?.pop();
        Ok((placed.ok_or_else(|| Error::new(Code::Bug, "an append returned nothing"))?, body))
    }

    /// A call by its id, to be told how it ended.
    ///
    /// # Errors
    /// `record.not_found`, `body.erased`, `key.missing`.
    pub fn call(&self, call_id: &str) -> Result<Call> {
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| {
            let found = find(view, tx, &self.tenant.log, call_id)?;
            found.read(view, tx, &self.tenant.log, call_id).map(|_| found)
        })?;
        let (requested, actor) = found.requested.ok_or_else(|| Error::new(Code::Bug, "a call was read that is not there"))?;
        Ok(Call { tools: Self { actor: Some(actor), ..self.clone() }, actor, requested, existed: true })
    }

    /// A call as it stands, whatever the scope of this handle.
    ///
    /// # Errors
    /// `record.not_found`; `body.erased`; `key.missing` where contents are
    /// locked; `log.altered` where its evidence does not hold.
    pub fn get(&self, call_id: &str) -> Result<ToolCall> {
        self.tenant.log.readable()?;
        self.tenant.view(|view, tx| find(view, tx, &self.tenant.log, call_id)?.read(view, tx, &self.tenant.log, call_id))
    }

    /// The calls of this scope, oldest first.
    pub fn listing(&self) -> CallListing {
        CallListing { tools: self.clone(), request: None, open: false, after: None, leaves: 0..u64::MAX, limit: limits::RESULTS }
    }
}

impl Call {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        tool::call_id(&self.requested.body, REQUESTED).unwrap_or_default()
    }

    /// Where the event is that began it.
    #[must_use]
    pub const fn event(&self) -> Appended {
        Appended { index: self.requested.leaf, leaf: self.requested.hash, time: self.requested.time, existed: self.existed }
    }

    /// Records how it ended, durably. The same outcome again is the first one.
    ///
    /// # Errors
    /// `tool.completed` where another outcome is recorded; `json.invalid`,
    /// `limit.exceeded`, `key.missing` without the key of the agent that called,
    /// `store.*`.
    pub fn completed(&self, outcome: Outcome) -> Result<ToolCall> {
        let Tenant { inner, log } = &self.tools.tenant;
        let measured = outcome.latency_ms.is_none();
        let said = outcome.clone().into_body(&self.tools.tenant.new_id(timeline::PREFIX)?, &self.requested.body, None)?;
        let body = if measured {
            let latency_ms = Some(inner.clock.now_ms().saturating_sub(self.requested.time));
            Outcome { latency_ms, ..outcome }.into_body(said.id(), &self.requested.body, None)?
        } else {
            said.clone()
        };
        let (placed, mut body) = self.tools.append(&self.actor, body, self.id(), COMPLETED, vec![self.requested.hash], false)?;
        if placed.existed {
            if measured {
                body.remove(tool::LATENCY);
            }
            match self.tools.tenant.view(|view, tx| at(view, tx, log, placed.index))? {
                There::Noted(there)
                    if there.header.actor == self.actor
                        && there.header.refs.contains(&self.requested.hash)
                        && says_the_same(&there.told.body, &body) => {}
                There::Erased => return Err(erased(self.id())),
                _ => return Err(Error::new(Code::ToolCompleted, format!("the call {} has another outcome", shown(self.id())))),
            }
        }
        self.tools.get(self.id())
    }

    /// Records that the tool said it failed; what it said is hashed as it is.
    ///
    /// # Errors
    /// As [`Call::completed`].
    pub fn failed(&self, response: impl AsRef<[u8]>) -> Result<ToolCall> {
        self.completed(Outcome::error(response))
    }

    /// Records that no answer came in time.
    ///
    /// # Errors
    /// As [`Call::completed`].
    pub fn timed_out(&self) -> Result<ToolCall> {
        self.completed(Outcome::timeout())
    }

    /// Records another attempt: a call of its own with the same endpoint,
    /// arguments and request, that names this one.
    ///
    /// # Errors
    /// As [`Tools::requested`].
    pub fn retry(&self) -> Result<Call> {
        self.tools.requested(NewCall::again(&self.requested.body))
    }
}

/// A listing of calls about to run, oldest first. What is listed is what the
/// scope of the handle has: a session's, an agent's or a tenant's calls.
#[derive(Debug, Clone)]
#[must_use = "nothing is listed before `run`"]
pub struct CallListing {
    tools: Tools,
    request: Option<String>,
    open: bool,
    after: Option<String>,
    leaves: std::ops::Range<u64>,
    limit: usize,
}

impl CallListing {
    /// Only those of a request.
    pub fn request(mut self, request_id: impl Into<String>) -> Self {
        self.request = Some(request_id.into());
        self
    }

    /// Only those that have not completed.
    pub const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Only those that were requested after the call with this id.
    pub fn after(mut self, call_id: impl Into<String>) -> Self {
        self.after = Some(call_id.into());
        self
    }

    /// Only those that were requested at these leaves. [`crate::Timeline::first_at`]
    /// gives the leaf of a time.
    pub const fn leaves(mut self, range: std::ops::Range<u64>) -> Self {
        self.leaves = range;
        self
    }

    /// At most this many, and never more than [`limits::RESULTS`], which is also
    /// what holds if nothing is said.
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = if limit < limits::RESULTS { limit } else { limits::RESULTS };
        self
    }

    /// The page; `next` is the call id to go on after.
    ///
    /// # Errors
    /// `record.not_found` for the call to go on after; `key.missing` where
    /// contents are locked; `store.*`, `log.altered`.
    pub fn run(self) -> Result<Page<ToolCall>> {
        let Tools { tenant, actor, session, .. } = &self.tools;
        let log = &tenant.log;
        log.readable()?;
        let session = session.as_deref().map(|s| log.session_tag(s)).transpose()?;
        let of = match (&self.request, session, actor) {
            (Some(request), ..) => Calls::OfRequest(log.once_tag(&["tool.request", request])?),
            // Fewer than any agent's or session's, but for those who never end one.
            _ if self.open => Calls::Open,
            (None, Some(session), _) => Calls::OfSession(session),
            (None, None, Some(actor)) => Calls::OfActor(*actor),
            (None, None, None) => Calls::All,
        };
        // One more, to see whether anything follows.
        let wanted = self.limit + 1;
        let mut found = tenant.view(|view, tx| {
            let start = match &self.after {
                Some(id) => find(view, tx, log, id)?.read(view, tx, log, id)?.leaf + 1,
                None => 0,
            };
            let mut calls = Vec::new();
            view.calls(tx, log, of, start.max(self.leaves.start), &mut |leaf| {
                if leaf >= self.leaves.end {
                    return Ok(false);
                }
                let Some(Noted { told: event, header: Header { actor: by, .. } }) = at(view, tx, log, leaf)?.noted() else {
                    return Ok(true);
                };
                let Some(id) = tool::call_id(&event.body, REQUESTED) else { return Ok(true) };
                let call = find(view, tx, log, id)?;
                // A second event with the id of a call is not that call.
                if call.requested.as_ref().is_none_or(|(first, _)| first.leaf != leaf)
                    || self.open && (call.completed.is_some() || call.erased)
                {
                    return Ok(true);
                }
                let others = actor.is_some_and(|a| a != by)
                    || session.is_some() && event.body.text(field::SESSION) != self.tools.session.as_deref()
                    || self.request.is_some() && tool::request_id(&event.body) != self.request.as_deref();
                if !others {
                    calls.push(call.read(view, tx, log, id)?);
                }
                Ok(calls.len() < wanted)
            })?;
            Ok(calls)
        })?;
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let last = found.last().map(|call| call.call_id.clone());
        Ok(Page { next: if more { last.or(self.after) } else { None }, items: found })
    }
}

impl Tenant {
    /// Calls of tools.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools { tenant: self.clone(), actor: None, session: None, subject: None, user: None }
    }
}

impl Engine {
    /// Calls of tools of the default tenant.
    #[must_use]
    pub fn tools(&self) -> Tools {
        self.main().tools()
    }
}

impl Identity {
    /// Calls of tools by this agent.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools { actor: Some(self.digest), ..self.tenant.tools() }
    }
}
