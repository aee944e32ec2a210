//! Upstream's published schemas as tables, checked with the semantics its validator really has.
//!
//! Owns: required fields, types, patterns, sets and ranges of each entity, in a strict and a relaxed reading. Never:
//! checks that a date is one (upstream has no format checker), or looks outside the one value it is given.

use crate::MAX_REPAIRS;
use crate::value::{Code, Object, Text, Value, escape_step};

/// An entity with a table. The first nine are published schemas; the others follow from upstream's loaders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// `identity`
    Identity,
    /// `continuity`: sessions
    Continuity,
    /// `memory`
    Memory,
    /// `agent`: agent DNA
    Agent,
    /// `master_citation`
    MasterCitation,
    /// `timeline_event`
    TimelineEvent,
    /// `vault_entry`
    VaultEntry,
    /// `agent_link`
    AgentLink,
    /// `glyphtrail_entry`
    GlyphtrailEntry,
    /// A state snapshot, which has no published schema.
    Snapshot,
    /// A vault config, which has no published schema.
    VaultConfig,
    /// A reflection, which has no published schema.
    Reflection,
}

/// Where a value does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What kind of violation.
    pub code: Code,
    /// JSON Pointer of the place.
    pub path: String,
    /// One sentence for a person.
    pub sentence: String,
}

impl Schema {
    /// The schema with this published name.
    pub fn by_name(name: &str) -> Option<Schema> {
        Some(match name {
            "identity" => Schema::Identity,
            "continuity" => Schema::Continuity,
            "memory" => Schema::Memory,
            "agent" => Schema::Agent,
            "master_citation" => Schema::MasterCitation,
            "timeline_event" => Schema::TimelineEvent,
            "vault_entry" => Schema::VaultEntry,
            "agent_link" => Schema::AgentLink,
            "glyphtrail_entry" => Schema::GlyphtrailEntry,
            _ => return None,
        })
    }

    /// The fields a record of this entity may have, with whether each is required.
    pub fn fields(self) -> impl Iterator<Item = (&'static str, bool)> {
        self.shape().fields.iter().map(|field| (field.name, field.required))
    }

    fn shape(self) -> &'static Shape {
        match self {
            Schema::Identity => &IDENTITY,
            Schema::Continuity => &SESSION,
            Schema::Memory => &MEMORY,
            Schema::Agent => &AGENT_DNA,
            Schema::MasterCitation => &CITATION,
            Schema::TimelineEvent => &EVENT,
            Schema::VaultEntry => &VAULT_ENTRY,
            Schema::AgentLink => &AGENT_LINK,
            Schema::GlyphtrailEntry => &GLYPHTRAIL,
            Schema::Snapshot => &SNAPSHOT,
            Schema::VaultConfig => &VAULT_CONFIG,
            Schema::Reflection => &REFLECTION,
        }
    }
}

/// Every violation in the order of the schema's fields, up to [`MAX_REPAIRS`].
///
/// `relaxed` is the reading of upstream's own tests and of the TypeScript SDK: ids need one character after the prefix
/// and may hold capitals, optional fields may be null, unknown fields and event types pass, text may be empty.
pub fn check(schema: Schema, value: &Value, relaxed: bool) -> Vec<Violation> {
    let mut checker = Checker { relaxed, path: String::new(), found: Vec::new() };
    checker.rule(&Rule::Shape(schema.shape()), value);
    checker.found
}

/// Only the strict reading in one word: what upstream's `validate_schema` answers.
pub fn is_valid(schema: Schema, value: &Value) -> bool {
    check(schema, value, false).is_empty()
}

enum Rule {
    Any,
    Text,
    TextMin(usize),
    /// One of the prefixes, then at least so many of `[a-z0-9_]`.
    Id(&'static [&'static str], usize),
    Version,
    Hex64,
    OneOf(&'static [&'static str]),
    /// A set that upstream's code never enforces.
    LooseOneOf(&'static [&'static str]),
    Count,
    Score,
    Number,
    Map,
    Content,
    List(&'static Rule, usize),
    OrNull(&'static Rule),
    Shape(&'static Shape),
}

struct Shape {
    open: bool,
    fields: &'static [Field],
}

struct Field {
    name: &'static str,
    required: bool,
    rule: Rule,
}

const fn required(name: &'static str, rule: Rule) -> Field {
    Field { name, required: true, rule }
}
const fn optional(name: &'static str, rule: Rule) -> Field {
    Field { name, required: false, rule }
}
const fn closed(fields: &'static [Field]) -> Shape {
    Shape { open: false, fields }
}
const fn open(fields: &'static [Field]) -> Shape {
    Shape { open: true, fields }
}

const TEXTS: Rule = Rule::List(&Rule::Text, 0);
const SOME_TEXTS: Rule = Rule::List(&Rule::Text, 1);
const IDENTITY_ID: Rule = Rule::Id(&["mdna_usr_", "mdna_agt_", "mdna_sys_"], 12);
const AGENT_ID: Rule = Rule::Id(&["mdna_agt_"], 12);
const USER_ID: Rule = Rule::Id(&["mdna_usr_"], 12);
const SESSION_ID: Rule = Rule::Id(&["sess_"], 12);
const CITATION_ID: Rule = Rule::Id(&["mc_"], 16);
const VAULT_ID: Rule = Rule::Id(&["vault_"], 16);
const GLYPH_ID: Rule = Rule::Id(&["glyph_"], 16);

static IDENTITY: Shape = closed(&[
    required("identity_id", IDENTITY_ID),
    required("identity_type", Rule::OneOf(&["user", "agent", "system"])),
    required("created_at", Rule::Text),
    required("public_key", Rule::TextMin(20)),
    optional("metadata", Rule::Shape(&IDENTITY_METADATA)),
]);
static IDENTITY_METADATA: Shape = open(&[
    optional("name", Rule::Text),
    optional("description", Rule::Text),
    optional("version", Rule::Version),
    optional("custom", Rule::Map),
]);
static SESSION: Shape = closed(&[
    required("session_id", SESSION_ID),
    optional("parent_session_id", Rule::OrNull(&SESSION_ID)),
    required("agent_id", AGENT_ID),
    required("user_id", USER_ID),
    required("started_at", Rule::Text),
    optional("ended_at", Rule::OrNull(&Rule::Text)),
    optional("context_metadata", Rule::Shape(&SESSION_CONTEXT)),
]);
static SESSION_CONTEXT: Shape = open(&[
    optional("restored_from", Rule::Text),
    optional("topic", Rule::Text),
    optional("tags", TEXTS),
    optional("prior_memories_count", Rule::Count),
    optional("custom", Rule::Map),
]);
static MEMORY: Shape = closed(&[
    required("memory_id", Rule::Id(&["mem_"], 12)),
    required("tier", Rule::OneOf(&["short_term", "long_term", "episodic"])),
    required("content", Rule::Content),
    required("source", Rule::Shape(&MEMORY_SOURCE)),
    optional("metadata", Rule::Shape(&MEMORY_METADATA)),
]);
static MEMORY_SOURCE: Shape = closed(&[
    required("session_id", SESSION_ID),
    required("timestamp", Rule::Text),
    required("agent_id", AGENT_ID),
    required("user_id", USER_ID),
]);
static MEMORY_METADATA: Shape = open(&[
    optional("tags", TEXTS),
    optional("relevance_score", Rule::Score),
    optional("access_count", Rule::Count),
    optional("last_accessed", Rule::Text),
    optional("embedding_vector", Rule::List(&Rule::Number, 0)),
    optional("custom", Rule::Map),
]);
static AGENT_DNA: Shape = closed(&[
    required("agent_dna_id", Rule::Id(&["dna_"], 1)),
    required("agent_id", AGENT_ID),
    required("version", Rule::Version),
    required("personality_traits", Rule::Shape(&TRAITS)),
    required("behavioral_constraints", SOME_TEXTS),
    required("capabilities", SOME_TEXTS),
    optional("constitutional_alignment", Rule::Shape(&DNA_ALIGNMENT)),
]);
static TRAITS: Shape =
    closed(&[required("tone", Rule::Text), required("style", Rule::Text), required("values", SOME_TEXTS), optional("custom", Rule::Map)]);
static DNA_ALIGNMENT: Shape = open(&[
    optional("framework", Rule::Text),
    optional("safety_rules", TEXTS),
    optional("compliance_level", Rule::OneOf(&["full", "partial", "custom"])),
]);
static CITATION: Shape = closed(&[
    required("id", CITATION_ID),
    required("version", Rule::Version),
    required("vault_id", VAULT_ID),
    optional("predecessor", Rule::OrNull(&CITATION_ID)),
    optional("successor", Rule::OrNull(&CITATION_ID)),
    required("created_at", Rule::Text),
    optional("updated_at", Rule::Text),
    required("checksum", Rule::Hex64),
    optional("identity_ref", Rule::Text),
    optional("constitutional_ref", Rule::Text),
    optional("tags", TEXTS),
    optional("metadata", Rule::Map),
]);
const EVENT_TYPES: &[&str] = &[
    "session_start",
    "session_end",
    "memory_created",
    "memory_accessed",
    "identity_verified",
    "vault_accessed",
    "citation_created",
    "citation_updated",
    "state_snapshot",
    "reflection_recorded",
    "config_loaded",
    "custom",
];
static EVENT: Shape = closed(&[
    required("id", Rule::Id(&["evt_"], 16)),
    required("timestamp", Rule::Text),
    required("event_type", Rule::LooseOneOf(EVENT_TYPES)),
    required("actor", Rule::Text),
    optional("payload", Rule::Map),
    optional("related_vault_id", VAULT_ID),
    optional("related_agent_id", Rule::Text),
    optional("related_session_id", SESSION_ID),
    optional("checksum", Rule::Hex64),
    optional("tags", TEXTS),
]);
static VAULT_ENTRY: Shape = closed(&[
    required("id", Rule::Id(&["entry_"], 16)),
    required("vault_id", VAULT_ID),
    required("path", Rule::Text),
    required("type", Rule::OneOf(&["identity", "memory", "config", "snapshot", "artifact", "reference"])),
    required("created_at", Rule::Text),
    optional("updated_at", Rule::Text),
    required("checksum", Rule::Hex64),
    optional("size_bytes", Rule::Count),
    optional("metadata", Rule::Shape(&ENTRY_METADATA)),
    optional("tags", TEXTS),
    optional("references", TEXTS),
]);
static ENTRY_METADATA: Shape = open(&[
    optional("content_type", Rule::Text),
    optional("compression", Rule::OneOf(&["none", "gzip", "brotli"])),
    optional("encryption", Rule::OneOf(&["none", "aes256", "xchacha20"])),
]);
static AGENT_LINK: Shape = closed(&[
    required("agent_id", AGENT_ID),
    required("agent_name", Rule::TextMin(1)),
    required("mirrordna_identity_id", Rule::Text),
    optional("traits_ref", Rule::Text),
    optional("constitutional_alignment", Rule::Shape(&LINK_ALIGNMENT)),
    optional("capabilities", TEXTS),
    optional("version", Rule::Version),
    optional("created_at", Rule::Text),
    optional("metadata", Rule::Map),
]);
static LINK_ALIGNMENT: Shape = open(&[
    optional("framework", Rule::Text),
    optional("compliance_level", Rule::OneOf(&["full", "partial", "custom", "none"])),
    optional("verified_at", Rule::Text),
]);
static GLYPHTRAIL: Shape = closed(&[
    required("id", GLYPH_ID),
    required("timestamp", Rule::Text),
    required("glyph", Rule::Text),
    optional("glyph_type", Rule::OneOf(&["beacon", "marker", "anchor", "transition", "reflection", "custom"])),
    optional("context", Rule::Shape(&GLYPH_CONTEXT)),
    required("source", Rule::Shape(&GLYPH_SOURCE)),
    optional("vault_ref", VAULT_ID),
    optional("predecessor", GLYPH_ID),
    optional("successor", GLYPH_ID),
    optional("metadata", Rule::Map),
]);
static GLYPH_CONTEXT: Shape = open(&[
    optional("session_id", Rule::Text),
    optional("interaction_phase", Rule::Text),
    optional("sentiment", Rule::OneOf(&["positive", "neutral", "negative", "mixed"])),
]);
static GLYPH_SOURCE: Shape = open(&[
    required("actor_id", Rule::Text),
    required("actor_type", Rule::OneOf(&["user", "agent", "system"])),
    optional("origin", Rule::Text),
]);
static SNAPSHOT: Shape = closed(&[
    required("snapshot_id", Rule::Any),
    required("timestamp", Rule::Any),
    required("version", Rule::Any),
    required("checksum", Rule::Any),
    required("identity_state", Rule::Any),
    required("continuity_state", Rule::Any),
    optional("vault_state", Rule::Any),
    optional("timeline_summary", Rule::Any),
    optional("metadata", Rule::Any),
]);
static VAULT_CONFIG: Shape =
    open(&[required("vault_id", Rule::Any), required("name", Rule::Any), required("path", Rule::Any), required("created_at", Rule::Any)]);
static REFLECTION: Shape = open(&[
    required("reflection_id", Rule::Text),
    required("agent_id", Rule::Text),
    required("reflection_type", Rule::OneOf(&["decision", "capability", "alignment", "performance", "state", "meta"])),
    required("timestamp", Rule::Text),
    required("context", Rule::Map),
    required("observation", Rule::Text),
    optional("evaluation", Rule::OrNull(&Rule::Text)),
    optional("insights", Rule::OrNull(&TEXTS)),
    optional("actions_taken", Rule::OrNull(&TEXTS)),
    optional("metadata", Rule::OrNull(&Rule::Map)),
]);

struct Checker {
    relaxed: bool,
    path: String,
    found: Vec<Violation>,
}

impl Checker {
    fn fail(&mut self, code: Code, sentence: String) {
        if self.found.len() < MAX_REPAIRS {
            self.found.push(Violation { code, path: self.path.clone(), sentence });
        }
    }

    fn rule(&mut self, rule: &Rule, value: &Value) {
        match (rule, value) {
            (Rule::Any, _) | (Rule::Text, Value::Text(_)) | (Rule::Map, Value::Object(_)) => {}
            (Rule::OrNull(_), Value::Null) => {}
            (Rule::OrNull(rule), _) => self.rule(rule, value),
            (Rule::Content, Value::Object(_)) => {}
            (Rule::Content, Value::Text(text)) => self.length(text, 1),
            (Rule::TextMin(least), Value::Text(text)) => self.length(text, *least),
            (Rule::Id(prefixes, least), Value::Text(text)) => {
                let least = if self.relaxed { 1 } else { *least };
                if !is_id(text, prefixes, least, self.relaxed) {
                    let sentence =
                        format!("An id here starts with {} and goes on for {least} or more of a-z, 0-9 and _.", prefixes.join(" or "));
                    self.fail(Code::PatternMismatch, sentence);
                }
            }
            (Rule::Version, Value::Text(text)) => {
                if !is_version(text) {
                    self.fail(Code::PatternMismatch, "A version is three numbers with dots.".into());
                }
            }
            (Rule::Hex64, Value::Text(text)) => {
                let hex = without_newline(text);
                if hex.len() != 64 || !hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    self.fail(Code::PatternMismatch, "A checksum is 64 lower-case hex digits.".into());
                }
            }
            (Rule::LooseOneOf(_), Value::Text(_)) if self.relaxed => {}
            (Rule::OneOf(set) | Rule::LooseOneOf(set), Value::Text(text)) => {
                if !text.as_str().is_some_and(|text| set.contains(&text)) {
                    self.fail(Code::NotInEnum, format!("The text is none of {}.", set.join(", ")));
                }
            }
            (Rule::Number, Value::Int(_) | Value::Float(_)) => {}
            (Rule::Count, Value::Int(digits)) => self.range(!digits.starts_with('-')),
            (Rule::Count, Value::Float(float)) if float.value.fract() == 0.0 => self.range(float.value >= 0.0),
            (Rule::Score, Value::Int(digits)) => self.range(digits == "0" || digits == "1"),
            // NaN is on neither side of a bound.
            (Rule::Score, Value::Float(float)) => self.range(!(float.value < 0.0 || float.value > 1.0)),
            (Rule::List(rule, least), Value::Array(items)) => {
                if items.len() < *least && !self.relaxed {
                    self.fail(Code::TooShort, "The list is empty.".into());
                }
                for (index, item) in items.iter().enumerate() {
                    self.at(&index.to_string(), |checker| checker.rule(rule, item));
                }
            }
            (Rule::Shape(shape), Value::Object(object)) => self.shape(shape, object),
            (rule, value) => {
                let sentence = format!("Expected {}, found {}.", rule.describe(), value.type_name());
                self.fail(if self.path.is_empty() { Code::NotAnObject } else { Code::WrongType }, sentence);
            }
        }
    }

    fn at(&mut self, step: &str, check: impl FnOnce(&mut Checker)) {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        check(self);
        self.path.truncate(length);
    }

    fn shape(&mut self, shape: &Shape, object: &Object) {
        for field in shape.fields {
            match object.get(field.name) {
                None if field.required => {
                    self.at(field.name, |checker| checker.fail(Code::MissingField, format!("The field {} is absent.", field.name)));
                }
                None => {}
                Some(Value::Null) if self.relaxed && !field.required => {}
                Some(value) => self.at(field.name, |checker| checker.rule(&field.rule, value)),
            }
        }
        if shape.open || self.relaxed {
            return;
        }
        for (key, _) in object.iter() {
            if !shape.fields.iter().any(|field| key.native.is_none() && key.text.as_str() == Some(field.name)) {
                let sentence = format!("The schema has no field {}.", key.text.to_str_lossy());
                self.at(&escape_step(&key.text), |checker| checker.fail(Code::UnknownField, sentence));
            }
        }
    }

    fn length(&mut self, text: &Text, least: usize) {
        if !self.relaxed && text.code_points().count() < least {
            self.fail(Code::TooShort, format!("The text needs {least} or more characters."));
        }
    }

    fn range(&mut self, inside: bool) {
        if !inside {
            self.fail(Code::OutOfRange, "The number is out of its range.".into());
        }
    }
}

impl Rule {
    fn describe(&self) -> &'static str {
        match self {
            Rule::Any => "anything",
            Rule::Count => "an integer",
            Rule::Score | Rule::Number => "a number",
            Rule::Map | Rule::Shape(_) => "an object",
            Rule::Content => "a string or an object",
            Rule::List(..) => "a list",
            Rule::OrNull(rule) => rule.describe(),
            _ => "a string",
        }
    }
}

/// Python's `$` also matches before a newline that ends the text.
fn without_newline(text: &Text) -> &[u8] {
    let bytes = text.as_wtf8();
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

fn is_id(text: &Text, prefixes: &[&str], least: usize, capitals: bool) -> bool {
    let bytes = without_newline(text);
    prefixes.iter().any(|prefix| {
        bytes.strip_prefix(prefix.as_bytes()).is_some_and(|suffix| {
            suffix.len() >= least
                && suffix.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_') || capitals && b.is_ascii_uppercase())
        })
    })
}

/// Three runs of decimal digits of any script, with dots between.
fn is_version(text: &Text) -> bool {
    let Ok(text) = std::str::from_utf8(without_newline(text)) else { return false };
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.chars().all(is_decimal_digit))
}

/// General category Nd, as `\d` has it in Python 3.11 (Unicode 14).
fn is_decimal_digit(c: char) -> bool {
    let code = c as u32;
    DIGIT_ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&code))
}

/// Code points of the digit zero; the other nine follow.
const DIGIT_ZEROS: &[u32] = &[
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090,
    0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0,
    0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950,
    0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];
