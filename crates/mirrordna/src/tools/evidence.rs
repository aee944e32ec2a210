//! Evidence: a signed statement that calls belong together, and where the
//! events are that it rests on.

use super::{Found, Tools, find};
use crate::engine::{Engine, Tenant};
use crate::identities::Identity;
use crate::keyring::hex;
use crate::proof::Bundled;
use crate::sessions::SessionHandle;
use mirrordna_core::tool::{EVIDENCE, Missing, MissingLink, NewEvidence, request_id};
use mirrordna_core::verify::bundle::MAX_LABEL;
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits, timeline};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;

/// Evidence about to be stated.
///
/// ```
/// # use mirrordna::{Engine, IdentityType, NewCall, Outcome};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// let call = agent.tools().requested(NewCall::new("scan/ports", "req-1").args("10.0.0.7"))?;
/// call.completed(Outcome::success("22, 443"))?;
///
/// let chain = agent.evidence().finding("f-1").calls([call.id(), "call_nobody_made"]).build()?;
/// assert!(!chain.chain_complete);
/// assert_eq!(chain.missing_links[0].call_id, "call_nobody_made");
/// // The call's two events and the statement itself.
/// assert_eq!(chain.leaves.len(), 3);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is stated before `build`"]
pub struct Evidence {
    tools: Tools,
    new: NewEvidence,
}

/// A chain of evidence: what was named, what of it is missing, and the events
/// that prove the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct EvidenceChain {
    /// The host's id of the event that this is about.
    pub event_id: Option<String>,
    /// The host's id of what was found.
    pub finding_id: Option<String>,
    /// The calls that were named, each once.
    pub call_ids: Vec<String>,
    /// The host's id of what all of this belongs to.
    pub correlation_id: Option<String>,
    /// Every named call was requested and completed.
    pub chain_complete: bool,
    /// Those that were not.
    pub missing_links: Vec<MissingLink>,
    /// Those that their agent no longer stands by ([`ToolCall::disputed_by`]):
    /// they are there, and who recorded them is open.
    ///
    /// [`ToolCall::disputed_by`]: crate::ToolCall::disputed_by
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disputed: Vec<String>,
    /// The requests that the calls served.
    pub requests: BTreeSet<String>,
    /// Leaves to be proved, ascending: the events of the calls, and the
    /// statement, where it was made.
    pub leaves: Vec<u64>,
    /// Leaf of the statement.
    pub statement: Option<u64>,
    /// Leaf hash of the statement, hex.
    pub statement_hash: Option<String>,
}

/// A statement of evidence as it is read from a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct StatedEvidence {
    /// The host's id of the event that this is about.
    pub event_id: Option<String>,
    /// The host's id of what was found.
    pub finding_id: Option<String>,
    /// The calls that it names.
    pub call_ids: Vec<String>,
    /// The host's id of what all of this belongs to.
    pub correlation_id: Option<String>,
    /// The bundle has the request and the outcome of every call that is named,
    /// and the statement refers to them.
    pub chain_complete: bool,
    /// The calls of which that is not so.
    pub missing_links: Vec<MissingLink>,
    /// The statement itself said that nothing was missing.
    pub stated_complete: bool,
    /// Who stated it: display id.
    pub agent: String,
    /// Id of its log, hex.
    pub log: String,
    /// Index of its leaf in that log.
    pub leaf: u64,
}

impl Evidence {
    /// The host's id of the event that this is about.
    pub fn event(mut self, id: impl Into<String>) -> Self {
        self.new.event_id = Some(id.into());
        self
    }

    /// The host's id of what was found.
    pub fn finding(mut self, id: impl Into<String>) -> Self {
        self.new.finding_id = Some(id.into());
        self
    }

    /// A call that it rests on.
    pub fn call(self, id: impl Into<String>) -> Self {
        self.calls([id])
    }

    /// Calls that it rests on; one that is named twice counts once.
    pub fn calls<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.new.call_ids.extend(ids.into_iter().map(Into::into));
        self
    }

    /// The host's id of what all of this belongs to.
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.new.correlation_id = Some(id.into());
        self
    }

    /// Looks for the calls without stating anything.
    ///
    /// # Errors
    /// `input.invalid` and `limit.exceeded` for what is named; `key.missing`
    /// where contents are locked; `store.*`, `log.altered`.
    pub fn check(mut self) -> Result<EvidenceChain> {
        self.look().map(|(chain, _)| chain)
    }

    /// States it: appends a signed event that names the calls, what is missing
    /// of them, and the leaves of the others. It is stated although links are
    /// missing; whether they may be is for who reads it.
    ///
    /// # Errors
    /// As [`Evidence::check`], and `input.invalid` where the handle has no
    /// agent, `key.missing` without the agent's key.
    pub fn build(mut self) -> Result<EvidenceChain> {
        let actor = self.tools.actor.ok_or_else(|| {
            Error::new(Code::InputInvalid, "evidence is an agent's statement")
                .with_hint("State it through an agent or a session: agent.evidence().")
        })?;
        let (mut chain, refs) = self.look()?;
        let Tenant { inner, log } = &self.tools.tenant;
        let body = self.new.into_body(&self.tools.tenant.new_id(timeline::PREFIX)?, &chain.missing_links)?;
        let draft = inner.draft(log, &actor, Kind::EVENT, &body)?.referring_to(refs)?.signed();
        let placed = inner.append(log, &actor, vec![(draft, None)])?.pop();
        let placed = placed.ok_or_else(|| Error::new(Code::Bug, "an append returned nothing"))?;
        chain.leaves.push(placed.index);
        chain.statement = Some(placed.index);
        chain.statement_hash = Some(hex(&placed.leaf));
        Ok(chain)
    }

    /// States it, and writes the bundle that proves it: the events of the calls
    /// and the statement, readable, and the headers of all that their actors did
    /// between them. [`crate::proof::judge`] judges it, with nothing but the
    /// log's fingerprint.
    ///
    /// # Errors
    /// As [`Evidence::build`] and [`crate::proof::Prove::write`]. What was stated
    /// stays stated where the bundle cannot be written.
    pub fn write(self, out: &mut dyn Write) -> Result<(EvidenceChain, Bundled)> {
        let tenant = self.tools.tenant.clone();
        let label = self
            .new
            .finding_id
            .as_ref()
            .or(self.new.event_id.as_ref())
            .map_or_else(|| EVIDENCE.to_owned(), |of| format!("{EVIDENCE}: {of}"));
        let chain = self.build()?;
        let mut end = label.len().min(MAX_LABEL);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        let bundled = tenant.prove(&chain.leaves).disclose().linked().label(&label[..end]).write(out)?;
        Ok((chain, bundled))
    }

    /// What is there of the calls, and the hashes of the leaves that are.
    fn look(&mut self) -> Result<(EvidenceChain, Vec<Hash>)> {
        let mut seen = HashSet::new();
        self.new.call_ids.retain(|id| seen.insert(id.clone()));
        // What cannot be stated is not looked for.
        self.new.clone().into_body("", &[])?;
        debug_assert!(self.new.call_ids.len() * 2 <= limits::REFS);
        let log = &self.tools.tenant.log;
        log.readable()?;
        let (leaves, missing_links, disputed, requests) = self.tools.tenant.view(|view, tx| {
            let mut leaves = BTreeMap::new();
            let (mut missing, mut disputed, mut requests) = (Vec::new(), Vec::new(), BTreeSet::new());
            for id in &self.new.call_ids {
                let found = find(view, tx, log, id)?;
                if found.disputed_by(view, tx, log)?.is_some() {
                    disputed.push(id.clone());
                }
                let imported = found.is_imported(log);
                let Found { requested, completed, erased, .. } = found;
                let why = match (&requested, &completed) {
                    _ if imported => Some(Missing::Imported),
                    (Some(_), Some(_)) => None,
                    _ if erased => Some(Missing::Erased),
                    (Some(_), None) => Some(Missing::NotCompleted),
                    (None, Some(_)) => Some(Missing::NotRequested),
                    (None, None) => Some(Missing::Unknown),
                };
                missing.extend(why.map(|why| MissingLink { call_id: id.clone(), why }));
                requests.extend(requested.as_ref().and_then(|(r, _)| request_id(&r.body)).map(str::to_owned));
                let events = requested.iter().map(|(r, _)| r).chain(&completed);
                leaves.extend(events.map(|e| (e.leaf, e.hash)));
            }
            Ok((leaves, missing, disputed, requests))
        })?;
        let (leaves, refs) = leaves.into_iter().unzip();
        let NewEvidence { event_id, finding_id, call_ids, correlation_id, .. } = self.new.clone();
        let chain_complete = missing_links.is_empty();
        let chain = EvidenceChain {
            event_id,
            finding_id,
            call_ids,
            correlation_id,
            chain_complete,
            missing_links,
            disputed,
            requests,
            leaves,
            statement: None,
            statement_hash: None,
        };
        Ok((chain, refs))
    }
}

impl Tools {
    /// Evidence that calls make; see [`Evidence`].
    pub fn evidence(&self) -> Evidence {
        let new = NewEvidence { session: self.session.clone(), subject: self.subject.clone(), ..NewEvidence::default() };
        Evidence { tools: self.clone(), new }
    }
}

impl Tenant {
    /// Evidence among the calls of this tenant, to be checked; an agent states
    /// it.
    pub fn evidence(&self) -> Evidence {
        self.tools().evidence()
    }
}

impl Engine {
    /// Evidence among the calls of the default tenant, to be checked; an agent
    /// states it.
    pub fn evidence(&self) -> Evidence {
        self.tools().evidence()
    }
}

impl Identity {
    /// Evidence that this agent states.
    pub fn evidence(&self) -> Evidence {
        self.tools().evidence()
    }
}

impl SessionHandle {
    /// Evidence that the agent states in this session.
    pub fn evidence(&self) -> Evidence {
        self.tools().evidence()
    }
}
