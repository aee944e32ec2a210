//! The entities: fields in the order of upstream's schemas.
//!
//! Owns: names, types and rules of the fields, as attributes that the JSON Schemas are made of. Never: checks a value;
//! the tables in [`crate::schema`] do, and a test holds the two against each other.

use serde::{Deserialize, Deserializer, Serialize};

use super::words::{
    ActorType, Compliance, Compression, Encryption, EntryType, EventType, GlyphType, LinkCompliance, ReflectionType, Sentiment,
};
use super::{Typed, sealed};
use crate::checksum::{self, Uncomputable};
use crate::schema::Schema;
use crate::value::Value;

/// Members of an object by name, in their order.
pub type Members = serde_json::Map<String, serde_json::Value>;

/// An integer, also one that is written as a float without a fraction, as JSON Schema has it.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    use serde::de::Error;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    if let Some(count) = number.as_u64() {
        return Ok(Some(count));
    }
    // 2^64 as a float is the first that does not fit.
    let whole = number.as_f64().filter(|f| f.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(f));
    whole.map(|f| Some(f as u64)).ok_or_else(|| D::Error::custom("a count is a whole number from 0 to 2^64 - 1"))
}

/// A master citation: what a vault commits an identity to, in a chain of versions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Citation {
    /// Its id, `mc_…`.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^mc_[a-z0-9_]{16,}$")))]
    pub id: String,
    /// Its version, three numbers with dots.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$")))]
    pub version: String,
    /// The vault it belongs to, `vault_…`.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^vault_[a-z0-9_]{16,}$")))]
    pub vault_id: String,
    /// The citation before it in its lineage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^mc_[a-z0-9_]{16,}$"), extend("x-null" = true)))]
    pub predecessor: Option<String>,
    /// The citation after it. It lies inside the checksum, so whoever links forward breaks the seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^mc_[a-z0-9_]{16,}$"), extend("x-null" = true)))]
    pub successor: Option<String>,
    /// When it was made, ISO 8601.
    pub created_at: String,
    /// When it was changed, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// State checksum of all other members of the document, 64 lower-case hex digits.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^[a-f0-9]{64}$")))]
    pub checksum: String,
    /// The identity it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_ref: Option<String>,
    /// The constitution it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitutional_ref: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Members>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// A vault: a named place where an agent keeps things.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(extend("required" = ["vault_id", "name", "path", "created_at"], "x-compat" = {"required": ["vault_id", "created_at"], "anyOf": [{"required": ["name", "path"]}, {"required": ["storage"]}]})))]
pub struct VaultConfig {
    /// Its id, `vault_…`.
    pub vault_id: String,
    /// Name for people; absent in the form that upstream's tests use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it lies; absent in the form that upstream's tests use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// When it was made, ISO 8601.
    pub created_at: String,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<serde_json::Value>,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// One thing that a vault holds: where it is and what its content hashes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct VaultEntry {
    /// Its id, `entry_…`.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^entry_[a-z0-9_]{16,}$")))]
    pub id: String,
    /// The vault it lies in.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^vault_[a-z0-9_]{16,}$")))]
    pub vault_id: String,
    /// Logical path within the vault.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub entry_type: EntryType,
    /// When it was made, ISO 8601.
    pub created_at: String,
    /// When it was changed, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// SHA-256 of its content, 64 lower-case hex digits.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^[a-f0-9]{64}$")))]
    pub checksum: String,
    /// Length of its content, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "count")]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<u64>"))]
    pub size_bytes: Option<u64>,
    /// How its content is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EntryMetadata>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Ids of related entries, or names of things elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<Vec<String>>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// How a vault entry's content is kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct EntryMetadata {
    /// Media type or name of a format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How it is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// An agent's DNA: what it is like, what it must not do and what it can do, in one version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct AgentDna {
    /// Its id, `dna_…`.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^dna_[a-z0-9_]+$")))]
    pub agent_dna_id: String,
    /// The agent.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^mdna_agt_[a-z0-9_]{12,}$")))]
    pub agent_id: String,
    /// Its version, three numbers with dots; the highest is the current one.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$")))]
    pub version: String,
    /// What the agent is like.
    pub personality_traits: PersonalityTraits,
    /// What it must keep to; one or more.
    #[cfg_attr(feature = "schemars", schemars(length(min = 1)))]
    pub behavioral_constraints: Vec<String>,
    /// What it can do; one or more.
    #[cfg_attr(feature = "schemars", schemars(length(min = 1)))]
    pub capabilities: Vec<String>,
    /// What it is aligned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitutional_alignment: Option<DnaAlignment>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// What an agent is like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct PersonalityTraits {
    /// How it sounds.
    pub tone: String,
    /// How it works.
    pub style: String,
    /// What it holds dear; one or more.
    #[cfg_attr(feature = "schemars", schemars(length(min = 1)))]
    pub values: Vec<String>,
    /// Other traits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Members>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// What an agent's DNA is aligned with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct DnaAlignment {
    /// Name of the framework.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// Rules it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_rules: Option<Vec<String>>,
    /// How far it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance_level: Option<Compliance>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// A look of an agent at itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Reflection {
    /// Its id, `refl_…`.
    pub reflection_id: String,
    /// The agent.
    pub agent_id: String,
    /// What it looks at.
    pub reflection_type: ReflectionType,
    /// When it was written, ISO 8601.
    pub timestamp: String,
    /// What it is about.
    pub context: Members,
    /// What was seen.
    pub observation: String,
    /// What to think of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub evaluation: Option<String>,
    /// What was learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub insights: Option<Vec<String>>,
    /// What was done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub actions_taken: Option<Vec<String>>,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub metadata: Option<Members>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// A mark on the trail of an interaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct GlyphtrailEntry {
    /// Its id, `glyph_…`.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^glyph_[a-z0-9_]{16,}$")))]
    pub id: String,
    /// When it was set, ISO 8601.
    pub timestamp: String,
    /// The symbol, or its name.
    pub glyph: String,
    /// What it marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glyph_type: Option<GlyphType>,
    /// What was going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<GlyphContext>,
    /// Who set it.
    pub source: GlyphSource,
    /// The vault with what belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^vault_[a-z0-9_]{16,}$")))]
    pub vault_ref: Option<String>,
    /// The mark before it on the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^glyph_[a-z0-9_]{16,}$")))]
    pub predecessor: Option<String>,
    /// The mark after it on the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^glyph_[a-z0-9_]{16,}$")))]
    pub successor: Option<String>,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Members>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// What was going on when a mark was set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct GlyphContext {
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The phase of the interaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interaction_phase: Option<String>,
    /// The mood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Sentiment>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// Who set a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct GlyphSource {
    /// Identity of the actor.
    pub actor_id: String,
    /// What the actor is.
    pub actor_type: ActorType,
    /// The system it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// What binds a running agent to its identity.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct AgentLink {
    /// The agent.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^mdna_agt_[a-z0-9_]{12,}$")))]
    pub agent_id: String,
    /// Name for people.
    #[cfg_attr(feature = "schemars", schemars(length(min = 1)))]
    pub agent_name: String,
    /// The identity it is bound to.
    pub mirrordna_identity_id: String,
    /// Where its DNA is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traits_ref: Option<String>,
    /// What it is aligned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitutional_alignment: Option<LinkAlignment>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Version of the agent, three numbers with dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$")))]
    pub version: Option<String>,
    /// When the link was made, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// What else is to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Members>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// What a linked agent is aligned with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct LinkAlignment {
    /// Name of the framework.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// How far it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance_level: Option<LinkCompliance>,
    /// When that was verified, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// Members that the schema does not name.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// An event of a timeline file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Event {
    /// Its id, `evt_…`.
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^evt_[a-z0-9_]{16,}$")))]
    pub id: String,
    /// When it happened, ISO 8601.
    pub timestamp: String,
    /// What it tells of.
    pub event_type: EventType,
    /// Who did it.
    pub actor: String,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Members>,
    /// The vault it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^vault_[a-z0-9_]{16,}$")))]
    pub related_vault_id: Option<String>,
    /// The agent it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub related_agent_id: Option<String>,
    /// The session it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^sess_[a-z0-9_]{12,}$")))]
    pub related_session_id: Option<String>,
    /// State checksum of the payload, 64 lower-case hex digits; upstream's own code never writes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(regex(pattern = r"^[a-f0-9]{64}$")))]
    pub checksum: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Members that the schema does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

/// A state snapshot, as a file of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Snapshot {
    /// Its id, of any form.
    pub snapshot_id: String,
    /// When it was taken, ISO 8601.
    pub timestamp: String,
    /// Version of the form.
    pub version: String,
    /// State checksum of all other members, nulls included; blank where it was never sealed.
    #[cfg_attr(feature = "schemars", schemars(required, extend("type" = ["string", "null"], "x-null" = true)))]
    pub checksum: Option<String>,
    /// The identity as it was.
    pub identity_state: Members,
    /// The sessions as they were.
    pub continuity_state: Members,
    /// What was kept.
    #[serde(default)]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub vault_state: Option<Members>,
    /// What had happened.
    #[serde(default)]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub timeline_summary: Option<Members>,
    /// What else is to be said.
    #[serde(default)]
    #[cfg_attr(feature = "schemars", schemars(extend("x-null" = true)))]
    pub metadata: Option<Members>,
    /// Members that the form does not name; only the compat profile accepts any.
    #[serde(flatten)]
    #[cfg_attr(feature = "schemars", schemars(skip))]
    pub extra: Members,
}

impl sealed::Sealed for Citation {}
impl Typed for Citation {
    const NAME: &'static str = "master_citation";
    const SCHEMA: Schema = Schema::MasterCitation;

    fn checksum(document: &Value) -> Option<Result<String, Uncomputable>> {
        Some(checksum::state_checksum(document))
    }
}

impl sealed::Sealed for VaultConfig {}
impl Typed for VaultConfig {
    const NAME: &'static str = "vault_config";
    const SCHEMA: Schema = Schema::VaultConfig;
    const ID_FIELD: Option<&'static str> = Some("vault_id");
}

impl sealed::Sealed for VaultEntry {}
impl Typed for VaultEntry {
    const NAME: &'static str = "vault_entry";
    const SCHEMA: Schema = Schema::VaultEntry;
}

impl sealed::Sealed for AgentDna {}
impl Typed for AgentDna {
    const NAME: &'static str = "agent";
    const SCHEMA: Schema = Schema::Agent;
    const ID_FIELD: Option<&'static str> = Some("agent_dna_id");
    const TIME_FIELD: Option<&'static str> = None;
}

impl sealed::Sealed for Reflection {}
impl Typed for Reflection {
    const NAME: &'static str = "reflection";
    const SCHEMA: Schema = Schema::Reflection;
    const ID_FIELD: Option<&'static str> = Some("reflection_id");
    const TIME_FIELD: Option<&'static str> = Some("timestamp");
}

impl sealed::Sealed for GlyphtrailEntry {}
impl Typed for GlyphtrailEntry {
    const NAME: &'static str = "glyphtrail_entry";
    const SCHEMA: Schema = Schema::GlyphtrailEntry;
    const TIME_FIELD: Option<&'static str> = Some("timestamp");
}

impl sealed::Sealed for AgentLink {}
impl Typed for AgentLink {
    const NAME: &'static str = "agent_link";
    const SCHEMA: Schema = Schema::AgentLink;
    const ID_FIELD: Option<&'static str> = None;
}

impl sealed::Sealed for Event {}
impl Typed for Event {
    const NAME: &'static str = "timeline_event";
    const SCHEMA: Schema = Schema::TimelineEvent;
    const TIME_FIELD: Option<&'static str> = Some("timestamp");
}

impl sealed::Sealed for Snapshot {}
impl Typed for Snapshot {
    const NAME: &'static str = "state_snapshot";
    const SCHEMA: Schema = Schema::Snapshot;
    const ID_FIELD: Option<&'static str> = Some("snapshot_id");
    const TIME_FIELD: Option<&'static str> = Some("timestamp");

    fn checksum(document: &Value) -> Option<Result<String, Uncomputable>> {
        Some(checksum::state_checksum(document))
    }
}

impl VaultEntry {
    /// Whether its checksum is that of this content: SHA-256 of the bytes as they are.
    #[must_use]
    pub fn matches(&self, content: &[u8]) -> bool {
        self.checksum == checksum::sha256_hex(content)
    }
}
