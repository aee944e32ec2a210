//! Sessions: conversations between an agent and a user, with lineage.

use crate::body::{Body, field, schema};
use crate::canon::{Value, check_json, check_name};
use crate::record::Record;
use crate::{Result, time};
use serde::Serialize;

/// Prefix of session ids.
pub const PREFIX: &str = "sess";

const PARENT: u64 = 6;
/// Field: when it ended, milliseconds.
pub const ENDED_AT: u64 = 7;
const FINAL_STATE: u64 = 8;

/// What a caller says when a session starts.
#[derive(Debug, Clone, Default)]
pub struct NewSession {
    /// User id.
    pub user: Option<String>,
    /// Whose data this is; the user if nothing is said.
    pub subject: Option<String>,
    /// The session this one continues.
    pub parent: Option<String>,
    /// Caller's JSON, kept verbatim.
    pub metadata: Option<String>,
    /// When it started, milliseconds since 1970-01-01 UTC.
    pub started_at: Option<i64>,
    /// Id it had where it was imported from.
    pub source_id: Option<String>,
    /// Conversation it was imported from.
    pub source_ns: Option<String>,
}

impl NewSession {
    /// The body of its `record.put`, checked.
    ///
    /// # Errors
    /// `input.invalid`, `json.invalid` or `limit.exceeded`, naming the field.
    pub fn into_body(self, id: &str) -> Result<Body> {
        let named = |value: Option<String>, what: &str| value.map(|v| check_name(&v, what).map(Value::from)).transpose();
        let metadata = self.metadata.as_deref().map(|m| check_json(m, "metadata")).transpose()?;
        Ok(Body::new(schema::SESSION, id)
            .with(field::SUBJECT, named(self.subject, "the subject")?)
            .with(field::OCCURRED_AT, self.started_at)
            .with(field::SESSION, Some(id))
            .with(PARENT, named(self.parent, "the parent session")?)
            .with(field::METADATA, metadata.map(|m| Value::Bytes(m.into())))
            .with(field::SOURCE_ID, named(self.source_id, "the id")?)
            .with(field::SOURCE_NS, named(self.source_ns, "the namespace")?)
            .with(field::USER, named(self.user, "the user")?))
    }
}

/// The body of the patch that ends a session.
///
/// # Errors
/// `json.invalid` if `final_state` is not JSON.
pub fn end_body(id: &str, at: i64, final_state: Option<&str>) -> Result<Body> {
    let state = final_state.map(|s| check_json(s, "final_state")).transpose()?;
    Ok(Body::new(schema::SESSION, id)
        .with(field::SESSION, Some(id))
        .with(ENDED_AT, Some(at))
        .with(FINAL_STATE, state.map(|s| Value::Bytes(s.into()))))
}

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Session {
    /// Record id.
    pub id: String,
    /// Display id of the agent.
    pub agent: String,
    /// User id.
    pub user: Option<String>,
    /// Whose data this is.
    pub subject: Option<String>,
    /// The session this one continues.
    pub parent: Option<String>,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub ended_at: Option<String>,
    /// Caller's JSON, verbatim.
    pub metadata: Option<String>,
    /// Caller's JSON at the end, verbatim.
    pub final_state: Option<String>,
    /// Id it had where it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// Leaf of its last event.
    pub leaf: u64,
}

impl Session {
    /// Reads a session off its record; `agent` is the display id of its actor.
    #[must_use]
    pub fn from_record(record: &Record, agent: &str) -> Self {
        let b = &record.body;
        let text = |n| b.text(n).map(str::to_owned);
        let state = b.get(FINAL_STATE).and_then(Value::as_bytes).and_then(|s| String::from_utf8(s.to_vec()).ok());
        Self {
            id: b.id().to_owned(),
            agent: text(field::AGENT).unwrap_or_else(|| agent.to_owned()),
            user: text(field::USER),
            subject: text(field::SUBJECT),
            parent: text(PARENT),
            started_at: time::rfc3339(crate::memory::occurred(record)),
            ended_at: b.int(ENDED_AT).map(time::rfc3339),
            metadata: b.metadata().map(str::to_owned),
            final_state: state,
            source_id: text(field::SOURCE_ID),
            leaf: record.updated,
        }
    }
}
