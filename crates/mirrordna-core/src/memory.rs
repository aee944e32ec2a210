//! Memories: verbatim content in one of three tiers, with who said it, when,
//! in which session and about whom.

use crate::body::{Body, FLAG_ASSUMED_UTC, Media, field, schema};
use crate::canon::{Value, check_document, check_json, check_name};
use crate::record::Record;
use crate::{Code, Error, Result, limits, time};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Prefix of memory ids.
pub const PREFIX: &str = "mem";

const TIER: u64 = 6;
const SPEAKER: u64 = 7;
const ROLE: u64 = 8;
const TAGS: u64 = 9;

/// How long a memory is meant to matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// For the task at hand.
    ShortTerm,
    /// Facts to keep.
    LongTerm,
    /// What happened: conversation turns and experiences.
    #[default]
    Episodic,
}

impl Tier {
    /// The word that interfaces use, as upstream spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortTerm => "short_term",
            Self::LongTerm => "long_term",
            Self::Episodic => "episodic",
        }
    }

    const ALL: [Self; 3] = [Self::ShortTerm, Self::LongTerm, Self::Episodic];

    /// The number in bodies.
    #[must_use]
    pub fn number(self) -> i64 {
        Self::ALL.iter().position(|t| *t == self).map_or(2, |n| n as i64)
    }

    /// The tier with a number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|t| t.name() == s).ok_or_else(|| {
            let shown: String = s.chars().take(40).collect();
            Error::new(Code::InputInvalid, format!("tier '{shown}' is none of short_term, long_term, episodic"))
        })
    }
}

/// What a caller says when a memory is added.
#[derive(Debug, Clone, Default)]
pub struct NewMemory {
    /// Verbatim content.
    pub content: Content,
    /// Tier.
    pub tier: Tier,
    /// Session id.
    pub session: Option<String>,
    /// Whose data this is.
    pub subject: Option<String>,
    /// Who said it.
    pub speaker: Option<String>,
    /// Role of the speaker: `user`, `assistant`, …
    pub role: Option<String>,
    /// User id.
    pub user: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Caller's JSON, kept verbatim.
    pub metadata: Option<String>,
    /// When it happened, milliseconds since 1970-01-01 UTC.
    pub occurred_at: Option<i64>,
    /// The time named no zone and UTC was assumed.
    pub assumed_utc: bool,
    /// Id it had where it was imported from.
    pub source_id: Option<String>,
    /// Conversation it was imported from.
    pub source_ns: Option<String>,
}

/// The verbatim content of a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A JSON document.
    Json(String),
}

impl Content {
    /// The bytes that are stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(t) | Self::Json(t) => t.as_bytes(),
        }
    }
}

impl Content {
    fn checked(&self) -> Result<(Media, &str)> {
        match self {
            Self::Text(t) if t.is_empty() => Err(Error::new(Code::InputInvalid, "the content of a memory is empty")),
            Self::Text(t) => Ok((Media::TEXT, t.as_str())),
            Self::Json(j) => Ok((Media::JSON, check_document(j, "content")?)),
        }
    }
}

fn check_tags(tags: &[String]) -> Result<Vec<Value>> {
    if tags.len() > limits::TAGS {
        return Err(Error::new(Code::LimitExceeded, format!("{} tags, the limit is {}", tags.len(), limits::TAGS)));
    }
    tags.iter().map(|t| check_name(t, "a tag").map(Value::from)).collect()
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl NewMemory {
    /// The body of its `record.put`, checked.
    ///
    /// # Errors
    /// `input.invalid`, `json.invalid` or `limit.exceeded`, naming the field.
    pub fn into_body(self, id: &str) -> Result<Body> {
        let named = |value: Option<String>, what: &str| value.map(|v| check_name(&v, what).map(Value::from)).transpose();
        let tags = check_tags(&self.tags)?;
        let metadata = self.metadata.as_deref().map(|m| check_json(m, "metadata")).transpose()?;
        let (media, content) = self.content.checked()?;
        Ok(Body::new(schema::MEMORY, id)
            .with(field::SUBJECT, named(self.subject, "the subject")?)
            .with(field::OCCURRED_AT, self.occurred_at)
            .with(field::SESSION, named(self.session, "the session")?)
            .with(TIER, Some(self.tier.number()))
            .with(SPEAKER, named(self.speaker, "the speaker")?)
            .with(ROLE, named(self.role, "the role")?)
            .with(TAGS, (!tags.is_empty()).then_some(Value::List(tags)))
            .with(field::METADATA, metadata.map(|m| Value::Bytes(m.into())))
            .with(field::SOURCE_ID, named(self.source_id, "the id")?)
            .with(field::SOURCE_NS, named(self.source_ns, "the namespace")?)
            .with(field::FLAGS, self.assumed_utc.then_some(FLAG_ASSUMED_UTC))
            .with(field::USER, named(self.user, "the user")?)
            .with_payload(media, content.as_bytes()))
    }
}

/// A memory as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Memory {
    /// Record id.
    pub id: String,
    /// Tier.
    pub tier: Tier,
    /// Verbatim content: the text, or the JSON document as text.
    pub content: String,
    /// Whether the content is a JSON document.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_json: bool,
    /// Session id.
    pub session: Option<String>,
    /// Display id of the agent whose memory this is.
    pub agent: String,
    /// User id.
    pub user: Option<String>,
    /// Whose data this is.
    pub subject: Option<String>,
    /// Who said it.
    pub speaker: Option<String>,
    /// Role of the speaker.
    pub role: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Caller's JSON, verbatim.
    pub metadata: Option<String>,
    /// When it happened (or was written, where that was not said), RFC 3339.
    pub timestamp: String,
    /// Id it had where it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// Conversation it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ns: Option<String>,
    /// Put out of ordinary view.
    pub archived: bool,
    /// Number of its events.
    pub version: u64,
    /// Leaf of its last event.
    pub leaf: u64,
}

impl Memory {
    /// Reads a memory off its record; `agent` is the display id of its actor.
    #[must_use]
    pub fn from_record(record: &Record, agent: &str) -> Self {
        let b = &record.body;
        let text = |n| b.text(n).map(str::to_owned);
        let tier = b.int(TIER).and_then(Tier::from_number);
        let tags = match b.get(TAGS) {
            Some(Value::List(items)) => items.iter().filter_map(Value::as_text).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Self {
            id: b.id().to_owned(),
            tier: tier.unwrap_or_default(),
            content: b.payload_text().unwrap_or_default().to_owned(),
            is_json: b.payload.as_ref().is_some_and(|p| p.media == Media::JSON),
            session: text(field::SESSION),
            agent: text(field::AGENT).unwrap_or_else(|| agent.to_owned()),
            user: text(field::USER),
            subject: text(field::SUBJECT),
            speaker: text(SPEAKER),
            role: text(ROLE),
            tags,
            metadata: b.metadata().map(str::to_owned),
            timestamp: time::rfc3339(occurred(record)),
            source_id: text(field::SOURCE_ID),
            source_ns: text(field::SOURCE_NS),
            archived: record.archived,
            version: record.version,
            leaf: record.updated,
        }
    }

    /// The content and who said it, as recall indexes it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.content
    }
}

/// When what a record tells happened: said by the caller, else when it was written.
#[must_use]
pub fn occurred(record: &Record) -> i64 {
    record.body.int(field::OCCURRED_AT).unwrap_or_else(|| i64::try_from(record.created_at).unwrap_or(i64::MAX))
}

/// The body of a patch that changes content, tier, tags or metadata.
#[derive(Debug, Clone, Default)]
pub struct MemoryPatch {
    /// New content.
    pub content: Option<Content>,
    /// New tier.
    pub tier: Option<Tier>,
    /// New labels.
    pub tags: Option<Vec<String>>,
    /// New metadata.
    pub metadata: Option<String>,
}

impl MemoryPatch {
    /// The body of the `record.patch`, checked.
    ///
    /// # Errors
    /// As [`NewMemory::into_body`].
    pub fn into_body(self, id: &str) -> Result<Body> {
        let mut body = Body::new(schema::MEMORY, id).with(TIER, self.tier.map(Tier::number));
        if let Some(tags) = self.tags {
            body.set(TAGS, Value::List(check_tags(&tags)?));
        }
        if let Some(metadata) = &self.metadata {
            body.set(field::METADATA, Value::Bytes(check_json(metadata, "metadata")?.into()));
        }
        Ok(match &self.content {
            Some(content) => {
                let (media, content) = content.checked()?;
                body.with_payload(media, content)
            }
            None => body,
        })
    }
}
