//! Calls of tools: what was asked for, what came back, and what may be cited.
//!
//! A call is two events: `tool.requested`, and `tool.completed`, whose header
//! refers to the first. Of arguments and response the events hold SHA-256
//! digests over the bytes as the caller gives them, beside what the caller
//! chooses to keep of them.

use crate::body::{Body, field, schema};
use crate::canon::{Value, check_json, check_name};
use crate::{Code, Error, Hash, Result, jcs, limits, time};
use mirrordna_verify::hash::sha256;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Prefix of the call ids that the engine makes. A caller's own may have any
/// form.
pub const PREFIX: &str = "call";
/// Type of the event that begins a call.
pub const REQUESTED: &str = "tool.requested";
/// Type of the event that ends a call.
pub const COMPLETED: &str = "tool.completed";
/// Type of the event that says that calls belong together.
pub const EVIDENCE: &str = "evidence";

const TYPE: u64 = 6;
const CALL_ID: u64 = 7;
const ENDPOINT: u64 = 8;
const ARGS_HASH: u64 = 9;
const REQUEST_ID: u64 = 10;
const ATTEMPT_OF: u64 = 11;
const RESPONSE_HASH: u64 = 12;
const STATUS: u64 = 13;
/// Field of a `tool.completed`: how long the call took, milliseconds.
pub const LATENCY: u64 = 14;
const ARGS_REDACTED: u64 = 26;
const RESPONSE_SUMMARY: u64 = 27;
const TENANT_ID: u64 = 28;
const HASH_FORM: u64 = 29;
const HASH_CHECK: u64 = 30;

const EVENT_ID: u64 = 7;
const FINDING_ID: u64 = 8;
const CALL_IDS: u64 = 9;
const CORRELATION_ID: u64 = 10;
const COMPLETE: u64 = 11;
const MISSING: u64 = 12;

/// SHA-256 over the content of a call, its arguments or its response. The
/// content itself is not kept.
///
/// The bytes are hashed as they are given: whoever wants to check them later
/// keeps them as they were. [`ContentHash::of_json`] hashes the canonical form
/// of a JSON text instead, for those who will have the value, but not its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(Hash);

impl ContentHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(sha256(&[bytes.as_ref()]))
    }

    /// Of a JSON text in the form of RFC 8785, however it is written here.
    ///
    /// # Errors
    /// `json.invalid`.
    pub fn of_json(text: &str) -> Result<Self> {
        jcs::canonical(text).map(Self::of)
    }

    /// The digest.
    #[must_use]
    pub const fn to_bytes(self) -> Hash {
        self.0
    }
}

/// Of no bytes.
impl Default for ContentHash {
    fn default() -> Self {
        Self::of([])
    }
}

impl From<Hash> for ContentHash {
    fn from(digest: Hash) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl FromStr for ContentHash {
    type Err = Error;

    /// Reads 64 hex digits.
    fn from_str(text: &str) -> Result<Self> {
        let nibble = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let (pairs, _) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[a, b]| Some(nibble(*a)? << 4 | nibble(*b)?)).collect();
        let digest = bytes.filter(|_| text.len() == 64).and_then(|b| Hash::try_from(b).ok());
        digest.map(Self).ok_or_else(|| Error::new(Code::InputInvalid, "a SHA-256 digest is 64 hex digits"))
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The tool did what it was asked for.
    Success,
    /// It said that it did not.
    Error,
    /// No answer came in time.
    Timeout,
}

impl Status {
    /// `success`, `error` or `timeout`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Success => 0,
            Self::Error => 1,
            Self::Timeout => 2,
        }
    }

    const fn from_number(n: i64) -> Option<Self> {
        match n {
            0 => Some(Self::Success),
            1 => Some(Self::Error),
            2 => Some(Self::Timeout),
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = [Self::Success, Self::Error, Self::Timeout].into_iter().find(|s| s.name() == text);
        found.ok_or_else(|| Error::new(Code::InputInvalid, format!("'{}' is not success, error or timeout", shown(text))))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// How a digest of an imported call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HashForm {
    /// Over the bytes that the caller gave.
    Bytes,
    /// Over what Python's `json.dumps(value, sort_keys=True, default=str)`
    /// prints: the older call ledger.
    Python,
}

/// Where a record of an older ledger came from, and what was found of it.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The record, strict JSON.
    pub original: Option<String>,
    /// Id of the record there.
    pub source_id: Option<String>,
    /// File or folder.
    pub source_ns: Option<String>,
    /// The content stood beside its digest, and was hashed again with the same
    /// result; otherwise it was not there.
    pub checked: bool,
}

impl Origin {
    fn mark(self, body: Body) -> Body {
        body.with(field::SOURCE_ID, self.source_id.as_deref())
            .with(field::SOURCE_NS, self.source_ns.as_deref())
            .with(field::ORIGINAL, self.original.map(|o| Value::Bytes(o.into_bytes())))
            .with(HASH_FORM, Some(1))
            .with(HASH_CHECK, Some(i64::from(self.checked)))
    }
}

/// What a caller says when a tool is called.
#[derive(Debug, Clone, Default)]
pub struct NewCall {
    /// Its id, unique in the tenant; the engine makes one if nothing is said.
    pub call_id: Option<String>,
    /// What is called: any name of at most [`limits::NAME`] bytes.
    pub endpoint: String,
    /// The request of the host that this call serves; what is cited is cited for
    /// it.
    pub request_id: String,
    /// Digest of the arguments.
    pub args: ContentHash,
    /// What is kept of the arguments: JSON, verbatim. What must not be kept is
    /// for the caller to take out.
    pub args_redacted: Option<String>,
    /// The call that this one tries again.
    pub attempt_of: Option<String>,
    /// Who asked for it; a session's user if nothing is said.
    pub user: Option<String>,
    /// What the host calls its tenant. It is a note: the tenant is the log.
    pub tenant_id: Option<String>,
    /// Whose data this is; a session's subject, else the user, if nothing is said.
    pub subject: Option<String>,
    /// Session id.
    pub session: Option<String>,
    /// When it was called, milliseconds since 1970-01-01 UTC; the event's time
    /// if nothing is said.
    pub occurred_at: Option<i64>,
    /// What the tool does cannot be undone: the event is signed at once.
    pub irreversible: bool,
}

impl NewCall {
    /// A call of an endpoint for a request, without arguments.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, request_id: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), request_id: request_id.into(), ..Self::default() }
    }

    /// Its arguments, which are hashed as they are.
    #[must_use]
    pub fn args(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.args = ContentHash::of(bytes);
        self
    }

    /// Its arguments as JSON, hashed in the form of RFC 8785.
    ///
    /// # Errors
    /// `json.invalid`.
    pub fn args_json(mut self, json: &str) -> Result<Self> {
        self.args = ContentHash::of_json(json)?;
        Ok(self)
    }

    /// What is kept of the arguments: JSON, verbatim.
    #[must_use]
    pub fn redacted(mut self, json: impl Into<String>) -> Self {
        self.args_redacted = Some(json.into());
        self
    }

    /// An id of the caller's.
    #[must_use]
    pub fn id(mut self, call_id: impl Into<String>) -> Self {
        self.call_id = Some(call_id.into());
        self
    }

    /// Who asked for it.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The call that this one tries again.
    #[must_use]
    pub fn attempt_of(mut self, call_id: impl Into<String>) -> Self {
        self.attempt_of = Some(call_id.into());
        self
    }

    /// What the tool does cannot be undone.
    #[must_use]
    pub const fn irreversible(mut self) -> Self {
        self.irreversible = true;
        self
    }

    /// Another attempt of a call that is recorded, by its `tool.requested`.
    #[must_use]
    pub fn again(requested: &Body) -> Self {
        let text = |n| requested.text(n).map(str::to_owned);
        let json = requested.get(ARGS_REDACTED).and_then(Value::as_bytes).and_then(|b| String::from_utf8(b.to_vec()).ok());
        let digest = requested.get(ARGS_HASH).and_then(Value::as_bytes).and_then(|b| Hash::try_from(b).ok());
        Self {
            endpoint: text(ENDPOINT).unwrap_or_default(),
            request_id: text(REQUEST_ID).unwrap_or_default(),
            args: digest.map(ContentHash).unwrap_or_default(),
            args_redacted: json,
            attempt_of: text(CALL_ID),
            user: text(field::USER),
            tenant_id: text(TENANT_ID),
            subject: text(field::SUBJECT),
            session: text(field::SESSION),
            ..Self::default()
        }
    }

    /// The body of its `tool.requested`, checked.
    ///
    /// # Errors
    /// `input.invalid`, `json.invalid` or `limit.exceeded`, naming the field.
    pub fn into_body(self, id: &str, call_id: &str, origin: Option<Origin>) -> Result<Body> {
        let named = |value: Option<String>, what: &str| value.map(|v| check_name(&v, what).map(Value::from)).transpose();
        let redacted = self.args_redacted.as_deref().map(|j| check_json(j, "args_redacted")).transpose()?;
        let body = Body::new(schema::TOOL_CALL, id)
            .with(field::SUBJECT, named(self.subject.or_else(|| self.user.clone()), "the subject")?)
            .with(field::OCCURRED_AT, self.occurred_at)
            .with(field::SESSION, named(self.session, "the session")?)
            .with(TYPE, Some(REQUESTED))
            .with(CALL_ID, Some(check_name(call_id, "the call id")?))
            .with(ENDPOINT, Some(check_name(&self.endpoint, "the endpoint")?))
            .with(ARGS_HASH, Some(Value::Bytes(self.args.0.to_vec())))
            .with(REQUEST_ID, Some(check_name(&self.request_id, "the request id")?))
            .with(ATTEMPT_OF, named(self.attempt_of, "the earlier attempt")?)
            .with(field::USER, named(self.user, "the user")?)
            .with(ARGS_REDACTED, redacted.map(|j| Value::Bytes(j.into())))
            .with(TENANT_ID, named(self.tenant_id, "the tenant id")?);
        Ok(origin.into_iter().fold(body, |body, origin| origin.mark(body)))
    }
}

/// What came of a call.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Digest of the response, where there is one.
    pub response: Option<ContentHash>,
    /// How long it took, milliseconds; the engine measures it from the event
    /// that began the call if nothing is said.
    pub latency_ms: Option<u64>,
    /// What is kept of the response: JSON, verbatim.
    pub response_summary: Option<String>,
    /// When it ended, milliseconds since 1970-01-01 UTC; the event's time if
    /// nothing is said.
    pub occurred_at: Option<i64>,
}

impl Outcome {
    /// An outcome without a response.
    #[must_use]
    pub const fn new(status: Status) -> Self {
        Self { status, response: None, latency_ms: None, response_summary: None, occurred_at: None }
    }

    /// The tool did what it was asked for; its response is hashed as it is.
    #[must_use]
    pub fn success(response: impl AsRef<[u8]>) -> Self {
        Self::new(Status::Success).response(response)
    }

    /// The tool said that it did not; what it said is hashed as it is.
    #[must_use]
    pub fn error(response: impl AsRef<[u8]>) -> Self {
        Self::new(Status::Error).response(response)
    }

    /// No answer came in time.
    #[must_use]
    pub const fn timeout() -> Self {
        Self::new(Status::Timeout)
    }

    /// The response, which is hashed as it is.
    #[must_use]
    pub fn response(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.response = Some(ContentHash::of(bytes));
        self
    }

    /// The response as JSON, hashed in the form of RFC 8785.
    ///
    /// # Errors
    /// `json.invalid`.
    pub fn response_json(mut self, json: &str) -> Result<Self> {
        self.response = Some(ContentHash::of_json(json)?);
        Ok(self)
    }

    /// What is kept of the response: JSON, verbatim.
    #[must_use]
    pub fn summary(mut self, json: impl Into<String>) -> Self {
        self.response_summary = Some(json.into());
        self
    }

    /// How long it took, milliseconds.
    #[must_use]
    pub const fn latency_ms(mut self, ms: u64) -> Self {
        self.latency_ms = Some(ms);
        self
    }

    /// The body of the `tool.completed` of a call, checked. It has the subject
    /// of the call, so that one erasure finds both.
    ///
    /// # Errors
    /// `json.invalid` or `limit.exceeded`, naming the field.
    pub fn into_body(self, id: &str, requested: &Body, origin: Option<Origin>) -> Result<Body> {
        let call_id = call_id(requested, REQUESTED).ok_or_else(|| Error::new(Code::Bug, "an outcome of something that is no call"))?;
        let summary = self.response_summary.as_deref().map(|j| check_json(j, "response_summary")).transpose()?;
        let latency = self.latency_ms.map(i64::try_from).transpose();
        let latency = latency.map_err(|_| Error::new(Code::InputInvalid, "latency_ms is beyond 63 bits"))?;
        let session = requested.text(field::SESSION);
        let own = || session.is_none().then(|| requested.id());
        let body = Body::new(schema::TOOL_CALL, id)
            .with(field::SUBJECT, requested.text(field::SUBJECT).or_else(own))
            .with(field::OCCURRED_AT, self.occurred_at)
            .with(field::SESSION, session)
            .with(TYPE, Some(COMPLETED))
            .with(CALL_ID, Some(call_id))
            .with(RESPONSE_HASH, self.response.map(|h| Value::Bytes(h.0.to_vec())))
            .with(STATUS, Some(self.status.number()))
            .with(LATENCY, latency)
            .with(RESPONSE_SUMMARY, summary.map(|j| Value::Bytes(j.into())));
        Ok(origin.into_iter().fold(body, |body, origin| origin.mark(body)))
    }
}

/// The call id of a body, if that is an event of this type of a call.
#[must_use]
pub fn call_id<'a>(body: &'a Body, event_type: &str) -> Option<&'a str> {
    (body.schema == schema::TOOL_CALL && body.text(TYPE) == Some(event_type)).then(|| body.text(CALL_ID)).flatten()
}

/// The request that a `tool.requested` is of.
#[must_use]
pub fn request_id(body: &Body) -> Option<&str> {
    call_id(body, REQUESTED).and_then(|_| body.text(REQUEST_ID))
}

/// Whether an event that is there says what one to be appended would say: all
/// fields are equal but the record id, and a latency that only one of them
/// names, because the engine measured it.
#[must_use]
pub fn says_the_same(there: &Body, new: &Body) -> bool {
    let own = |body: &Body| {
        let measured = new.get(LATENCY).is_none();
        body.fields().iter().filter(|(n, _)| *n != field::ID && !(measured && *n == LATENCY)).cloned().collect::<Vec<_>>()
    };
    there.schema == new.schema && own(there) == own(new) && there.payload == new.payload
}

/// One event of a call, as it is read from a log.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it says.
    pub body: Body,
    /// Its position in the tenant's timeline.
    pub leaf: u64,
    /// Its leaf hash.
    pub hash: Hash,
    /// Header time, milliseconds.
    pub time: u64,
}

impl Told {
    fn at(&self) -> String {
        let header = || i64::try_from(self.time).unwrap_or(i64::MAX);
        time::rfc3339(self.body.int(field::OCCURRED_AT).unwrap_or_else(header))
    }

    fn digest(&self, number: u64) -> Option<ContentHash> {
        Some(ContentHash(Hash::try_from(self.body.get(number)?.as_bytes()?).ok()?))
    }

    fn json(&self, number: u64) -> Option<String> {
        String::from_utf8(self.body.get(number)?.as_bytes()?.to_vec()).ok()
    }

    fn checked(&self) -> Option<bool> {
        self.body.int(HASH_CHECK).map(|n| n != 0)
    }
}

/// A call as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct ToolCall {
    /// Its id.
    pub call_id: String,
    /// What was called.
    pub endpoint: String,
    /// The request that it served.
    pub request_id: String,
    /// When it was called, RFC 3339.
    pub timestamp: String,
    /// SHA-256 of the arguments, hex.
    pub args_hash: String,
    /// What was kept of the arguments, JSON.
    pub args_redacted: Option<String>,
    /// Display id of the agent that called.
    pub agent: String,
    /// Who asked for it.
    pub user_id: Option<String>,
    /// What the host calls its tenant.
    pub tenant_id: Option<String>,
    /// Session id.
    pub session: Option<String>,
    /// Whose data this is, where that was said.
    pub subject: Option<String>,
    /// The call that this one tries again.
    pub attempt_of: Option<String>,
    /// How it ended; nothing while it is open.
    pub response_status: Option<Status>,
    /// SHA-256 of the response, hex.
    pub response_hash: Option<String>,
    /// What was kept of the response, JSON.
    pub response_summary: Option<String>,
    /// How long it took, milliseconds.
    pub latency_ms: Option<u64>,
    /// When it ended, RFC 3339.
    pub completed_at: Option<String>,
    /// Leaf of its `tool.requested`.
    pub leaf: u64,
    /// Leaf hash of that, hex.
    pub hash: String,
    /// Leaf of its `tool.completed`.
    pub completed_leaf: Option<u64>,
    /// Leaf hash of that, hex.
    pub completed_hash: Option<String>,
    /// How the digests were made.
    pub hash_form: HashForm,
    /// Of an imported call: whether the arguments stood beside their digest and
    /// were found to have it. Nothing where the engine made the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_checked: Option<bool>,
    /// The same of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_checked: Option<bool>,
    /// Leaf of the event by which its agent no longer stands by it: a recovery
    /// of the identity, or the end of an epoch. What is here is what was
    /// recorded; who recorded it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disputed_by: Option<u64>,
}

impl ToolCall {
    /// Reads a call off its events; `agent` is the display id of its actor.
    ///
    /// # Errors
    /// `log.altered` where they lack what every call has.
    pub fn read(requested: &Told, completed: Option<&Told>, agent: &str) -> Result<Self> {
        let b = &requested.body;
        let text = |n| b.text(n).map(str::to_owned);
        let lacks = |what: &str| Error::new(Code::Altered, format!("the call at leaf {} has no {what}", requested.leaf));
        let status = completed.map(|c| c.body.int(STATUS).and_then(Status::from_number).ok_or_else(|| lacks("status"))).transpose()?;
        Ok(Self {
            call_id: call_id(b, REQUESTED).ok_or_else(|| lacks("id"))?.to_owned(),
            endpoint: text(ENDPOINT).ok_or_else(|| lacks("endpoint"))?,
            request_id: text(REQUEST_ID).ok_or_else(|| lacks("request id"))?,
            timestamp: requested.at(),
            args_hash: requested.digest(ARGS_HASH).ok_or_else(|| lacks("digest of its arguments"))?.to_string(),
            args_redacted: requested.json(ARGS_REDACTED),
            agent: text(field::AGENT).unwrap_or_else(|| agent.to_owned()),
            user_id: text(field::USER),
            tenant_id: text(TENANT_ID),
            session: text(field::SESSION),
            subject: text(field::SUBJECT),
            attempt_of: text(ATTEMPT_OF),
            response_status: status,
            response_hash: completed.and_then(|c| c.digest(RESPONSE_HASH)).map(|h| h.to_string()),
            response_summary: completed.and_then(|c| c.json(RESPONSE_SUMMARY)),
            latency_ms: completed.and_then(|c| c.body.int(LATENCY)).and_then(|n| u64::try_from(n).ok()),
            completed_at: completed.map(Told::at),
            leaf: requested.leaf,
            hash: ContentHash(requested.hash).to_string(),
            completed_leaf: completed.map(|c| c.leaf),
            completed_hash: completed.map(|c| ContentHash(c.hash).to_string()),
            hash_form: if b.int(HASH_FORM) == Some(1) { HashForm::Python } else { HashForm::Bytes },
            args_checked: requested.checked(),
            response_checked: completed.and_then(Told::checked),
            disputed_by: None,
        })
    }

    /// The call as something to cite; `log` is the id of the log that has its
    /// outcome.
    ///
    /// # Errors
    /// `tool.incomplete` while it is open: what has not come back cannot be
    /// cited.
    pub fn citation(&self, log: &[u8; 16]) -> Result<ToolCitation> {
        let open = || Error::new(Code::ToolIncomplete, format!("the call {} has not completed", shown(&self.call_id)));
        Ok(ToolCitation {
            call_id: self.call_id.clone(),
            endpoint: self.endpoint.clone(),
            timestamp: self.timestamp.clone(),
            args_hash: self.args_hash.clone(),
            response_hash: self.response_hash.clone(),
            status: self.response_status.ok_or_else(open)?,
            latency_ms: self.latency_ms,
            leaf: self.completed_leaf.ok_or_else(open)?,
            leaf_hash: self.completed_hash.clone().ok_or_else(open)?,
            log: log.iter().map(|b| format!("{b:02x}")).collect(),
        })
    }
}

/// What an answer of the host cites: a call that completed, and where that is
/// recorded. (Upstream's master citation is another thing.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ToolCitation {
    /// Id of the call.
    pub call_id: String,
    /// What was called.
    pub endpoint: String,
    /// When it was called, RFC 3339.
    pub timestamp: String,
    /// SHA-256 of the arguments, hex.
    pub args_hash: String,
    /// SHA-256 of the response, hex, where there was one.
    pub response_hash: Option<String>,
    /// How it ended.
    pub status: Status,
    /// How long it took, milliseconds.
    pub latency_ms: Option<u64>,
    /// Leaf of its `tool.completed`.
    pub leaf: u64,
    /// Leaf hash of that, hex: the event's name in proofs.
    pub leaf_hash: String,
    /// Id of the log, 32 hex digits.
    pub log: String,
}

/// Why a named call does not complete a chain of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The ledger has nothing under its id.
    Unknown,
    /// It was requested and never completed.
    NotCompleted,
    /// It completed, but nothing says that it was requested.
    NotRequested,
    /// Its content was erased.
    Erased,
    /// It was imported: the log records that a file says so, not the call.
    Imported,
}

impl Missing {
    /// `unknown`, `not_completed`, `not_requested`, `erased` or `imported`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotCompleted => "not_completed",
            Self::NotRequested => "not_requested",
            Self::Erased => "erased",
            Self::Imported => "imported",
        }
    }
}

/// A call that a statement of evidence names, and that is not there as it
/// should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MissingLink {
    /// Id of the call.
    pub call_id: String,
    /// What is wrong with it.
    pub why: Missing,
}

/// What a statement of evidence says: these calls belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewEvidence {
    /// The host's id of the event that this is about.
    pub event_id: Option<String>,
    /// The host's id of what was found.
    pub finding_id: Option<String>,
    /// The calls that it rests on, each once.
    pub call_ids: Vec<String>,
    /// The host's id of what all of this belongs to.
    pub correlation_id: Option<String>,
    /// Session id.
    pub session: Option<String>,
    /// Whose data this is.
    pub subject: Option<String>,
}

/// Whether a statement of evidence says that nothing is missing.
#[must_use]
pub fn says_complete(body: &Body) -> bool {
    body.schema == schema::EVIDENCE && body.get(COMPLETE) == Some(&Value::Bool(true))
}

impl NewEvidence {
    /// What a statement said, if the body is one.
    #[must_use]
    pub fn read(body: &Body) -> Option<Self> {
        (body.schema == schema::EVIDENCE && body.text(TYPE) == Some(EVIDENCE)).then_some(())?;
        let Some(Value::List(calls)) = body.get(CALL_IDS) else { return None };
        let text = |n| body.text(n).map(str::to_owned);
        Some(Self {
            event_id: text(EVENT_ID),
            finding_id: text(FINDING_ID),
            call_ids: calls.iter().map(|c| c.as_text().map(str::to_owned)).collect::<Option<_>>()?,
            correlation_id: text(CORRELATION_ID),
            session: text(field::SESSION),
            subject: text(field::SUBJECT),
        })
    }

    /// The body of its event, checked, with what was found of the calls.
    ///
    /// # Errors
    /// `input.invalid` or `limit.exceeded`, naming the field.
    pub fn into_body(self, id: &str, missing: &[MissingLink]) -> Result<Body> {
        let named = |value: Option<String>, what: &str| value.map(|v| check_name(&v, what).map(Value::from)).transpose();
        if self.call_ids.is_empty() {
            return Err(Error::new(Code::InputInvalid, "evidence names at least one call"));
        }
        if self.call_ids.len() > limits::EVIDENCE_CALLS {
            let message = format!("{} calls in one statement, the limit is {}", self.call_ids.len(), limits::EVIDENCE_CALLS);
            return Err(Error::new(Code::LimitExceeded, message));
        }
        let calls = self.call_ids.iter().map(|c| check_name(c, "a call id").map(Value::from)).collect::<Result<_>>()?;
        let link = |link: &MissingLink| Value::List(vec![link.call_id.as_str().into(), link.why.name().into()]);
        let missing: Vec<Value> = missing.iter().map(link).collect();
        Ok(Body::new(schema::EVIDENCE, id)
            .with(field::SUBJECT, named(self.subject, "the subject")?)
            .with(field::SESSION, named(self.session, "the session")?)
            .with(TYPE, Some(EVIDENCE))
            .with(EVENT_ID, named(self.event_id, "the event id")?)
            .with(FINDING_ID, named(self.finding_id, "the finding id")?)
            .with(CALL_IDS, Some(Value::List(calls)))
            .with(CORRELATION_ID, named(self.correlation_id, "the correlation id")?)
            .with(COMPLETE, Some(Value::Bool(missing.is_empty())))
            .with(MISSING, (!missing.is_empty()).then_some(Value::List(missing))))
    }
}
