//! What a file is, from its name and its content.
//!
//! Owns: the choice of format, and the kinds of file upstream writes. Never: judges whether the content is valid, or
//! treats a file of private keys as content.

use crate::checksum::DOCUMENT_CHECKSUM_LINE;
use crate::json::{self, Salvage};
use crate::value::{Document, ParseError, Value, is_private_key_name};
use crate::yaml;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `{id: record}` of one collection.
    Collection(Collection),
    /// A timeline with its events, or a bare list of events.
    Timeline,
    /// A state snapshot.
    Snapshot,
    /// A master citation.
    MasterCitation,
    /// A vault config.
    VaultConfig,
    /// An entry of a vault.
    VaultEntry,
    /// An entry of a glyphtrail.
    GlyphtrailEntry,
    /// What binds an agent to its identity.
    AgentLink,
    /// A config that has a `.checksum.json` beside it; only [`crate::read_config`] can tell.
    ChecksummedConfig,
    /// The `.checksum.json` beside a config.
    ConfigSidecar,
    /// A Markdown document with the Standard's front matter.
    StandardMarkdown,
    /// A JSON sidecar of the Standard.
    StandardSidecar,
    /// A file of private keys: recognised so that it is never imported.
    PrivateKeys,
    /// Anything else.
    Unknown,
}

/// A collection of upstream's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Collection {
    /// `identities.json`
    Identities,
    /// `sessions.json`
    Sessions,
    /// `memories.json`
    Memories,
    /// `agent_dna.json`
    AgentDna,
    /// `reflections.json`
    Reflections,
    /// `vault_entries.json`
    VaultEntries,
    /// `glyphtrail_entries.json`
    GlyphtrailEntries,
    /// `agent_links.json`
    AgentLinks,
    /// A collection of an application's own.
    Other(String),
}

impl Collection {
    /// Those whose records name themselves by a field of their own.
    const KNOWN: [Collection; 5] = [Self::Identities, Self::Sessions, Self::Memories, Self::AgentDna, Self::Reflections];
    /// Those of the entities for which upstream publishes a schema only; its storage keeps them by `id`.
    const PUBLISHED: [Collection; 3] = [Self::VaultEntries, Self::GlyphtrailEntries, Self::AgentLinks];

    /// The name, which is the file's name without its suffix.
    pub fn name(&self) -> &str {
        match self {
            Self::Identities => "identities",
            Self::Sessions => "sessions",
            Self::Memories => "memories",
            Self::AgentDna => "agent_dna",
            Self::Reflections => "reflections",
            Self::VaultEntries => "vault_entries",
            Self::GlyphtrailEntries => "glyphtrail_entries",
            Self::AgentLinks => "agent_links",
            Self::Other(name) => name,
        }
    }
    /// The field that holds a record's id.
    pub fn id_field(&self) -> &'static str {
        match self {
            Self::Identities => "identity_id",
            Self::Sessions => "session_id",
            Self::Memories => "memory_id",
            Self::AgentDna => "agent_dna_id",
            Self::Reflections => "reflection_id",
            Self::VaultEntries | Self::GlyphtrailEntries | Self::AgentLinks | Self::Other(_) => "id",
        }
    }
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, which upstream assumes for every name that is not YAML.
    Json,
    /// YAML 1.1.
    Yaml,
    /// Markdown.
    Markdown,
    /// None of these.
    Other,
}

/// Says what a file is. The name may be a path; only its last part counts.
pub fn detect(name: &str, bytes: &[u8]) -> Kind {
    load(name, bytes).kind
}

/// The name of the checksum file that belongs to a config, such as `app.checksum.json` for `app.json`.
pub fn config_sidecar_name(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".json")?;
    (!stem.ends_with(".checksum")).then(|| format!("{stem}.checksum.json"))
}

/// A file as far as it could be read.
pub(crate) struct Loaded {
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) document: Document,
    pub(crate) error: Option<ParseError>,
    /// Whether the root value is complete although an error follows.
    pub(crate) complete: bool,
}

pub(crate) fn load(path: &str, bytes: &[u8]) -> Loaded {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path).to_ascii_lowercase();
    let format = format_of(&name, bytes);
    let bare = |kind| Loaded { kind, format, document: Document::default(), error: None, complete: true };
    if holds_keys_by_name(&name, bytes) {
        return bare(Kind::PrivateKeys);
    }
    let (document, error, complete) = match format {
        Format::Markdown => {
            let sealed = bytes.starts_with(b"---") || bytes.split(|&b| b == b'\n').any(|l| l.starts_with(DOCUMENT_CHECKSUM_LINE));
            return bare(if sealed { Kind::StandardMarkdown } else { Kind::Unknown });
        }
        Format::Other => return bare(Kind::Unknown),
        Format::Json => {
            let Salvage { document, error, complete } = json::parse_salvaging(bytes);
            (document, error, complete)
        }
        Format::Yaml => match yaml::parse(bytes) {
            Ok(document) => (document, None, true),
            Err(error) => (Document::default(), Some(error), false),
        },
    };
    Loaded { kind: classify(&name, &document.value), format, document, error, complete }
}

fn format_of(name: &str, bytes: &[u8]) -> Format {
    match name.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
        "json" => Format::Json,
        "yaml" | "yml" => Format::Yaml,
        "md" | "markdown" => Format::Markdown,
        _ => {
            let bytes = bytes.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(bytes);
            let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
            if matches!(first, Some(b'{' | b'[')) { Format::Json } else { Format::Other }
        }
    }
}

fn holds_keys_by_name(name: &str, bytes: &[u8]) -> bool {
    const PEM: &[u8] = b"PRIVATE KEY-----";
    let flat = name.replace(['_', '-'], "");
    let start = &bytes[..bytes.len().min(4096)];
    flat.contains("privatekey") || name.ends_with(".key") || name.ends_with(".pem") || start.windows(PEM.len()).any(|w| w == PEM)
}

fn holds_keys(root: &Value) -> bool {
    let Some(object) = root.as_object() else { return false };
    let map = object.get("keys").and_then(Value::as_object);
    let is_key_map = map.is_some_and(|keys| {
        !keys.is_empty() && keys.iter().all(|(id, key)| id.text.as_wtf8().starts_with(b"mdna_") && matches!(key, Value::Text(_)))
    });
    is_key_map || object.iter().any(|(key, value)| is_private_key_name(&key.text) && matches!(value, Value::Text(_)))
}

fn classify(name: &str, root: &Value) -> Kind {
    if holds_keys(root) {
        return Kind::PrivateKeys;
    }
    if name.ends_with(".checksum.json") {
        return Kind::ConfigSidecar;
    }
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let known = Collection::KNOWN.into_iter().chain(Collection::PUBLISHED);
    if let Some(known) = known.into_iter().find(|known| known.name() == stem) {
        return Kind::Collection(known);
    }
    match root {
        Value::Object(_) => {
            let has = |key| root.get(key).is_some();
            let starts = |key, prefix| root.get(key).and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix));
            if has("events") || has("timeline_id") {
                Kind::Timeline
            } else if has("snapshot_id") || has("identity_state") && has("continuity_state") {
                Kind::Snapshot
            } else if has("checksum_sha256") {
                Kind::StandardSidecar
            } else if let Some(collection) = published(root) {
                match collection {
                    Collection::VaultEntries => Kind::VaultEntry,
                    Collection::GlyphtrailEntries => Kind::GlyphtrailEntry,
                    _ => Kind::AgentLink,
                }
            } else if starts("id", "mc_") || has("vault_id") && has("checksum") {
                Kind::MasterCitation
            } else if has("vault_id") {
                Kind::VaultConfig
            } else {
                collection_of(stem, root).map_or_else(|| by_name(stem), Kind::Collection)
            }
        }
        Value::Array(items) => {
            let is_event = |item: &Value| {
                item.get("event_type").is_some() || item.get("id").and_then(Value::as_str).is_some_and(|id| id.starts_with("evt_"))
            };
            if items.iter().any(is_event) { Kind::Timeline } else { by_name(stem) }
        }
        _ => by_name(stem),
    }
}

/// Which of the entities without a file form of their own a record is.
fn published(record: &Value) -> Option<Collection> {
    let starts = |prefix| record.get("id").and_then(Value::as_str).is_some_and(|id| id.starts_with(prefix));
    let has = |key| record.get(key).is_some();
    if starts("entry_") && has("vault_id") {
        Some(Collection::VaultEntries)
    } else if starts("glyph_") && has("glyph") {
        Some(Collection::GlyphtrailEntries)
    } else if has("agent_name") && has("mirrordna_identity_id") {
        Some(Collection::AgentLinks)
    } else {
        None
    }
}

/// The kind that only the name of a damaged or empty file tells.
fn by_name(stem: &str) -> Kind {
    [("timeline", Kind::Timeline), ("snapshot", Kind::Snapshot), ("citation", Kind::MasterCitation), ("vault_config", Kind::VaultConfig)]
        .into_iter()
        .find(|(word, _)| stem.contains(word))
        .map_or(Kind::Unknown, |(_, kind)| kind)
}

/// An object of objects is a collection if the records name their own keys.
fn collection_of(stem: &str, root: &Value) -> Option<Collection> {
    let object = root.as_object()?;
    let (key, first) = object.iter().next()?;
    if !object.iter().all(|(_, record)| record.as_object().is_some()) {
        return None;
    }
    let names_itself = |collection: &Collection| matches!(first.get(collection.id_field()), Some(Value::Text(id)) if *id == key.text);
    let candidates = Collection::KNOWN.into_iter().chain(published(first)).chain([Collection::Other(stem.to_owned())]);
    candidates.into_iter().find(names_itself)
}
