//! The words that the fields of entities allow.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// The word that documents use.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What a vault entry holds.
    EntryType {
        /// An identity.
        Identity = "identity",
        /// A memory.
        Memory = "memory",
        /// A configuration.
        Config = "config",
        /// A state snapshot.
        Snapshot = "snapshot",
        /// A file that an agent made.
        Artifact = "artifact",
        /// A pointer to something elsewhere.
        Reference = "reference",
    }
}

words! {
    /// How a vault entry's content is compressed.
    Compression {
        /// Not at all.
        None = "none",
        /// RFC 1952.
        Gzip = "gzip",
        /// RFC 7932.
        Brotli = "brotli",
    }
}

words! {
    /// How a vault entry's content is encrypted.
    Encryption {
        /// Not at all.
        None = "none",
        /// AES with a key of 256 bits.
        Aes256 = "aes256",
        /// XChaCha20.
        Xchacha20 = "xchacha20",
    }
}

words! {
    /// How far an agent's DNA follows its framework, by its own word.
    Compliance {
        /// Wholly.
        Full = "full",
        /// In part.
        Partial = "partial",
        /// In a way of its own.
        Custom = "custom",
    }
}

words! {
    /// How far a linked agent follows its framework, by the link's word.
    LinkCompliance {
        /// Wholly.
        Full = "full",
        /// In part.
        Partial = "partial",
        /// In a way of its own.
        Custom = "custom",
        /// Not at all.
        None = "none",
    }
}

words! {
    /// What a reflection looks at.
    ReflectionType {
        /// A decision.
        Decision = "decision",
        /// A capability and its use.
        Capability = "capability",
        /// The agent's constraints.
        Alignment = "alignment",
        /// How well something went.
        Performance = "performance",
        /// A state.
        State = "state",
        /// Other reflections.
        Meta = "meta",
    }
}

words! {
    /// What a glyph marks.
    GlyphType {
        /// A place to be seen from afar.
        Beacon = "beacon",
        /// A point on the way.
        Marker = "marker",
        /// A point to come back to.
        Anchor = "anchor",
        /// A change of phase.
        Transition = "transition",
        /// A look back.
        Reflection = "reflection",
        /// Something else.
        Custom = "custom",
    }
}

words! {
    /// The mood of an interaction.
    Sentiment {
        /// Good.
        Positive = "positive",
        /// Neither good nor bad.
        Neutral = "neutral",
        /// Bad.
        Negative = "negative",
        /// Good and bad.
        Mixed = "mixed",
    }
}

words! {
    /// Who acts.
    ActorType {
        /// A person.
        User = "user",
        /// A software agent.
        Agent = "agent",
        /// The system itself.
        System = "system",
    }
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// What a timeline event tells of: upstream's kinds, and whatever else its code lets pass.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum EventType {
            $($(#[$doc])* $variant,)*
            /// Any other: the word `custom` itself, or one that only the compat profile accepts.
            Custom(String),
        }

        impl EventType {
            /// The twelve words of the published schema; `custom` is the last.
            pub const PUBLISHED: [&'static str; 12] = [$($word,)* "custom"];

            /// The word that documents use.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Custom(word) => word,
                }
            }
        }

        impl From<String> for EventType {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Custom(word),
                }
            }
        }
    };
}

event_types! {
    /// A session started.
    SessionStart = "session_start",
    /// A session ended.
    SessionEnd = "session_end",
    /// A memory was written.
    MemoryCreated = "memory_created",
    /// A memory was read.
    MemoryAccessed = "memory_accessed",
    /// An identity was verified.
    IdentityVerified = "identity_verified",
    /// A vault was opened.
    VaultAccessed = "vault_accessed",
    /// A master citation was made.
    CitationCreated = "citation_created",
    /// A master citation was changed.
    CitationUpdated = "citation_updated",
    /// A state snapshot was taken.
    StateSnapshot = "state_snapshot",
    /// A reflection was written.
    ReflectionRecorded = "reflection_recorded",
    /// A configuration was read.
    ConfigLoaded = "config_loaded",
}

impl EventType {
    /// Whether the published schema lists the word.
    #[must_use]
    pub fn is_published(&self) -> bool {
        Self::PUBLISHED.contains(&self.as_str())
    }
}

impl From<&str> for EventType {
    fn from(word: &str) -> Self {
        word.to_owned().into()
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.as_str().to_owned()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for EventType {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for EventType {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventType".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": Self::PUBLISHED, "x-compat": {"enum": null}})
    }
}
