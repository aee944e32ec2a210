//! The entities of upstream's protocol as Rust types, read from and written to JSON.
//!
//! Owns: the types a host works with (citations, vaults and their entries, agent DNA, reflections, glyphtrail entries,
//! agent links, timeline events, snapshots), their validation in both profiles, their checksums and their JSON Schemas. Never:
//! gives out an id or a time, or takes a checksum for more than an attribute.
//!
//! [`validate`] says what is wrong and where; [`parse`] only needs the types to fit, so that a record which was once
//! imported with reservations can still be read.
//!
//! ```
//! use mirrordna_upstream::{Profile, entities};
//!
//! let json = r#"{"id": "mc_1", "version": "1.0", "vault_id": "vault_main", "created_at": "2026-01-01T00:00:00Z"}"#;
//! let invalid = entities::validate::<entities::Citation>(json, Profile::Strict).unwrap_err();
//! assert_eq!((invalid.violations[0].path.as_str(), invalid.violations[0].code.as_str()), ("/id", "pattern_mismatch"));
//! ```

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checksum::Uncomputable;
use crate::json;
use crate::record::Profile;
use crate::schema::{self, Schema, Violation};
use crate::value::{Code, Value};

#[cfg(feature = "schemars")]
mod json_schema;
mod types;
mod words;

#[cfg(feature = "schemars")]
pub use json_schema::json_schema;
pub use types::{
    AgentDna, AgentLink, Citation, DnaAlignment, EntryMetadata, Event, GlyphContext, GlyphSource, GlyphtrailEntry, LinkAlignment, Members,
    PersonalityTraits, Reflection, Snapshot, VaultConfig, VaultEntry,
};
pub use words::{
    ActorType, Compliance, Compression, Encryption, EntryType, EventType, GlyphType, LinkCompliance, ReflectionType, Sentiment,
};

mod sealed {
    pub trait Sealed {}
}

/// An entity of upstream's protocol; the types of this module are the only ones.
///
/// In a type an absent field and a null are the same. In a checksum they are not: it is computed of the document.
pub trait Typed: Serialize + DeserializeOwned + sealed::Sealed {
    /// Name of the entity: that of its published schema, where it has one.
    const NAME: &'static str;
    /// The table of its fields.
    const SCHEMA: Schema;
    /// The field with its id, where it has one.
    const ID_FIELD: Option<&'static str> = Some("id");
    /// The field that says when it came to be, where it has one.
    const TIME_FIELD: Option<&'static str> = Some("created_at");

    /// The checksum that upstream computes of such a document; `None` for an entity of which it computes none.
    #[must_use]
    fn checksum(_document: &Value) -> Option<Result<String, Uncomputable>> {
        None
    }
}

/// Why a document is no such entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Name of the entity.
    pub entity: &'static str,
    /// Everything that is wrong, with the JSON Pointer of the place; the decisive one first, never empty.
    pub violations: Vec<Violation>,
}

impl Invalid {
    fn one<T: Typed>(code: Code, path: impl Into<String>, sentence: impl Into<String>) -> Invalid {
        Invalid { entity: T::NAME, violations: vec![Violation { code, path: path.into(), sentence: sentence.into() }] }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        write!(f, "{}:", self.entity)?;
        for Violation { code, path, sentence } in self.violations.iter().take(SHOWN) {
            let place = if path.is_empty() { "the document" } else { path };
            write!(f, " {place} ({code}): {sentence}")?;
        }
        match self.violations.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " And {more} more."),
        }
    }
}

impl std::error::Error for Invalid {}

/// What a document's checksum says, and what its content gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The checksum as the document states it, where it states a text.
    pub stated: Option<String>,
    /// The checksum of its content.
    pub computed: Result<String, Uncomputable>,
}

impl Seal {
    /// Whether the two are the same text: upstream compares lower case only.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.computed.as_ref().is_ok_and(|computed| self.stated.as_ref() == Some(computed))
    }
}

/// The seal of a document; `None` for an entity of which upstream computes no checksum.
///
/// # Errors
/// Where the text is no JSON.
pub fn seal<T: Typed>(json: &str) -> Result<Option<Seal>, Invalid> {
    read::<T>(json).map(|document| seal_of::<T>(&document))
}

fn seal_of<T: Typed>(document: &Value) -> Option<Seal> {
    let stated = document.get("checksum").and_then(Value::as_str).map(str::to_owned);
    T::checksum(document).map(|computed| Seal { stated, computed })
}

/// Reads a document whose types fit, whatever else may be wrong with it.
///
/// # Errors
/// Where the text is no JSON, or a field has another type than the entity's.
pub fn parse<T: Typed>(json: &str) -> Result<T, Invalid> {
    typed(&read::<T>(json)?)
}

/// Reads a document that is what the profile asks for: `Strict` what upstream's schemas say, `Compat` what its code and
/// tests accept (short ids, nulls in optional fields, unknown fields). A checksum, where there is one, must fit in both.
///
/// # Errors
/// Everything that is wrong. In `Compat` a checksum that does not fit comes before what the schema says, in `Strict`
/// after it, as in upstream's tests and in its loader.
pub fn validate<T: Typed>(json: &str, profile: Profile) -> Result<T, Invalid> {
    let document = read::<T>(json)?;
    let relaxed = profile == Profile::Compat;
    let mut violations = schema::check(T::SCHEMA, &document, relaxed);
    // The form that upstream's tests load has `storage` instead of a name and a path.
    if relaxed && T::SCHEMA == Schema::VaultConfig && document.get("storage").is_some() {
        violations.retain(|v| !(v.code == Code::MissingField && matches!(v.path.as_str(), "/name" | "/path")));
    }
    let broken = seal_of::<T>(&document).filter(|seal| {
        // Upstream skips the check of a snapshot whose checksum is blank.
        let open = T::SCHEMA == Schema::Snapshot && seal.stated.as_ref().is_some_and(String::is_empty);
        seal.stated.is_some() && !open && !seal.fits()
    });
    let broken = broken.map(|seal| {
        let stated = seal.stated.unwrap_or_default();
        let (code, sentence) = match seal.computed {
            Ok(computed) => (Code::ChecksumMismatch, format!("Checksum mismatch: it says {stated}, its content gives {computed}.")),
            Err(error) => (Code::ChecksumUncomputable, format!("The checksum cannot be verified: {error}.")),
        };
        Violation { code, path: "/checksum".into(), sentence }
    });
    violations.splice(if relaxed { 0..0 } else { violations.len()..violations.len() }, broken);
    if violations.is_empty() { typed(&document) } else { Err(Invalid { entity: T::NAME, violations }) }
}

fn read<T: Typed>(json: &str) -> Result<Value, Invalid> {
    let document = json::parse(json.as_bytes()).map_err(|e| Invalid::one::<T>(e.code, e.path.clone(), e.to_string()))?;
    if document.byte_order_mark {
        return Err(Invalid::one::<T>(Code::ByteOrderMark, "", "The text starts with a byte order mark."));
    }
    Ok(document.value)
}

fn typed<T: Typed>(document: &Value) -> Result<T, Invalid> {
    let (text, replaced) = json::write(document);
    if let Some(repair) = replaced.into_iter().next() {
        return Err(Invalid::one::<T>(repair.code, repair.path, repair.sentence));
    }
    serde_json::from_str(&text).map_err(|e| Invalid::one::<T>(Code::WrongType, "", format!("Its fields do not fit: {e}.")))
}
