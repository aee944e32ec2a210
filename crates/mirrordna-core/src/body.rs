//! Private bodies: `{0: schema, 1: record id, 2..: typed fields, 15: payload}`
//! as deterministic CBOR, zero-padded by Padmé before encryption.
//!
//! Field and schema numbers stand in `spec/bodies.yaml`; they are never reused.
//! Fields that a version does not know are kept as they are.

use crate::canon::{Value, padme, too_long};
use crate::{Code, Error, Hash, Result, limits};
use mirrordna_verify::cbor::{Reader, Writer};
use zeroize::Zeroizing;

/// Schema numbers: which record type a body describes.
pub mod schema {
    /// `identity.profile`: name, description and metadata of an identity.
    pub const PROFILE: u64 = 1;
    /// A session.
    pub const SESSION: u64 = 2;
    /// A memory.
    pub const MEMORY: u64 = 3;
    /// An entry of the timeline by the host application.
    pub const EVENT: u64 = 4;
    /// A snapshot.
    pub const SNAPSHOT: u64 = 5;
    /// Upstream: a master citation. From here to 15 the payload is the
    /// entity's JSON document.
    pub const CITATION: u64 = 6;
    /// Upstream: a vault config.
    pub const VAULT_CONFIG: u64 = 7;
    /// Upstream: an agent's DNA.
    pub const AGENT_DNA: u64 = 8;
    /// Upstream: a reflection.
    pub const REFLECTION: u64 = 9;
    /// Upstream: an entry of a glyphtrail.
    pub const GLYPHTRAIL_ENTRY: u64 = 10;
    /// Upstream: what binds a running agent to its identity.
    pub const AGENT_LINK: u64 = 11;
    /// Upstream: an entry of a vault.
    pub const VAULT_ENTRY: u64 = 12;
    /// Upstream: a checksummed config.
    pub const CONFIG: u64 = 13;
    /// Upstream: a Standard document or its sidecar.
    pub const STANDARD: u64 = 14;
    /// Upstream: a record of another collection, or what stands around one.
    pub const OTHER: u64 = 15;
    /// A piece of a large payload.
    pub const PART: u64 = 16;
    /// A legal hold: what it names is not erased while it stands.
    pub const HOLD: u64 = 17;
    /// A retention policy: how old some kind of record may become.
    pub const RETENTION: u64 = 18;
    /// A consent that somebody gave, or withdrew.
    pub const CONSENT: u64 = 19;
    /// A call of a tool: requested, or completed.
    pub const TOOL_CALL: u64 = 20;
    /// A statement that calls belong together.
    pub const EVIDENCE: u64 = 21;

    const NAMES: [&str; 21] = [
        "identity.profile",
        "session",
        "memory",
        "event",
        "snapshot",
        "citation",
        "vault.config",
        "agent.dna",
        "reflection",
        "glyphtrail.entry",
        "agent.link",
        "vault.entry",
        "config",
        "standard.document",
        "other",
        "part",
        "hold",
        "retention",
        "consent",
        "tool.call",
        "evidence",
    ];

    /// The name of a schema, as `spec/bodies.yaml` has it; `None` for a number
    /// that this version does not know.
    #[must_use]
    pub fn name(number: u64) -> Option<&'static str> {
        NAMES.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
    }

    /// The number of a schema with a name.
    #[must_use]
    pub fn number(name: &str) -> Option<u64> {
        NAMES.iter().position(|known| *known == name).map(|at| at as u64 + 1)
    }
}

/// Field numbers that mean the same in every schema.
pub mod field {
    /// Record id (text).
    pub const ID: u64 = 1;
    /// Whose data this is (text).
    pub const SUBJECT: u64 = 2;
    /// When it happened, milliseconds since 1970-01-01 UTC.
    pub const OCCURRED_AT: u64 = 3;
    /// Keyed tag that makes a repeated append return the first result (bytes).
    pub const DEDUPE: u64 = 4;
    /// Session id (text).
    pub const SESSION: u64 = 5;
    /// The caller's payload.
    pub const PAYLOAD: u64 = 15;
    /// Caller's metadata: JSON, verbatim (bytes).
    pub const METADATA: u64 = 16;
    /// Id that the record had where it was imported from (text).
    pub const SOURCE_ID: u64 = 17;
    /// Conversation or vault it was imported from (text).
    pub const SOURCE_NS: u64 = 18;
    /// Flags: bit 0 = the time named no zone and UTC was assumed.
    pub const FLAGS: u64 = 19;
    /// The agent, where it is not the actor (text).
    pub const AGENT: u64 = 20;
    /// The user (text).
    pub const USER: u64 = 21;
    /// The record as it was imported: strict JSON (bytes).
    pub const ORIGINAL: u64 = 22;
    /// Who holds an identity's key: absent = this database, 1 = asserted only.
    pub const CONTROL: u64 = 23;
    /// Parts of the payload, in order: leaf index (8 bytes, big-endian) and leaf
    /// hash each. The payload's own bytes are empty then.
    pub const PARTS: u64 = 24;
    /// Length of the payload that is in parts, bytes.
    pub const LENGTH: u64 = 25;
}

/// Bit of [`field::FLAGS`]: UTC was assumed.
pub const FLAG_ASSUMED_UTC: i64 = 1;

/// Media type of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// A number of the IANA CoAP Content-Formats registry (RFC 7252 section 12.3).
    Registered(u16),
    /// Any other media type.
    Named(String),
}

impl Media {
    /// `text/plain; charset=utf-8`
    pub const TEXT: Self = Self::Registered(0);
    /// `application/octet-stream`
    pub const BYTES: Self = Self::Registered(42);
    /// `application/json`
    pub const JSON: Self = Self::Registered(50);

    /// The media type as text.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Registered(0) => "text/plain; charset=utf-8",
            Self::Registered(42) => "application/octet-stream",
            Self::Registered(50) => "application/json",
            Self::Registered(_) => "application/octet-stream",
            Self::Named(name) => name,
        }
    }
}

/// A part of a large payload: an event of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Index of its leaf.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// Bytes of the caller, kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What the bytes are.
    pub media: Media,
    /// The bytes as they came.
    pub bytes: Vec<u8>,
}

/// A private body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Record type and its version.
    pub schema: u64,
    /// Typed fields by number, ascending; without 0 and 15.
    fields: Vec<(u64, Value)>,
    /// The caller's payload.
    pub payload: Option<Payload>,
}

impl Body {
    /// A body of `schema` for the record `id`.
    #[must_use]
    pub fn new(schema: u64, id: &str) -> Self {
        Self { schema, fields: vec![(field::ID, id.into())], payload: None }
    }

    /// Sets a field; `None` leaves it away.
    #[must_use]
    pub fn with(mut self, number: u64, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.set(number, value.into());
        }
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn with_payload(mut self, media: Media, bytes: impl Into<Vec<u8>>) -> Self {
        self.payload = Some(Payload { media, bytes: bytes.into() });
        self
    }

    /// Sets or replaces a field.
    pub fn set(&mut self, number: u64, value: Value) {
        match self.fields.binary_search_by_key(&number, |(n, _)| *n) {
            Ok(at) => self.fields[at].1 = value,
            Err(at) => self.fields.insert(at, (number, value)),
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, number: u64) {
        self.fields.retain(|(n, _)| *n != number);
    }

    /// All fields, ascending.
    #[must_use]
    pub fn fields(&self) -> &[(u64, Value)] {
        &self.fields
    }

    /// A field.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Value> {
        self.fields.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| &self.fields[at].1)
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, number: u64) -> Option<&str> {
        self.get(number)?.as_text()
    }

    /// An integer field.
    #[must_use]
    pub fn int(&self, number: u64) -> Option<i64> {
        self.get(number)?.as_int()
    }

    /// The record id; empty if the body has none.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(field::ID).unwrap_or_default()
    }

    /// The payload as text, where it is text.
    #[must_use]
    pub fn payload_text(&self) -> Option<&str> {
        let payload = self.payload.as_ref().filter(|p| matches!(p.media, Media::TEXT | Media::JSON))?;
        std::str::from_utf8(&payload.bytes).ok()
    }

    /// Whose data this is: the subject that it names, else its session, else the
    /// record itself.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text(field::SUBJECT).or_else(|| self.text(field::SESSION)).unwrap_or_else(|| self.id())
    }

    /// Metadata JSON, verbatim.
    #[must_use]
    pub fn metadata(&self) -> Option<&str> {
        std::str::from_utf8(self.get(field::METADATA)?.as_bytes()?).ok()
    }

    /// Whether the payload is too long for the event itself.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.schema != schema::PART && self.payload.as_ref().is_some_and(|p| p.bytes.len() > limits::INLINE)
    }

    /// Takes the payload's bytes out, to be stored in parts of at most
    /// [`limits::PART`] bytes; the media type stays.
    ///
    /// # Errors
    /// `limit.exceeded` beyond [`limits::PAYLOAD`], or where the rest of the
    /// body is too long.
    pub fn take_payload(&mut self) -> Result<Vec<u8>> {
        let bytes = self.payload.as_mut().map(|p| std::mem::take(&mut p.bytes)).unwrap_or_default();
        if bytes.len() > limits::PAYLOAD {
            return Err(too_long("the payload", bytes.len(), limits::PAYLOAD));
        }
        // The parts' names come on top.
        let names = bytes.len().div_ceil(limits::PART) * 44;
        let rest = self.encode_padded()?.len() + names;
        if rest > limits::BODY {
            return Err(too_long("the record beside its payload", rest, limits::BODY));
        }
        Ok(bytes)
    }

    /// Names the parts that hold the payload, in order, and its length.
    pub fn set_parts(&mut self, parts: &[Part], length: usize) {
        let list = parts.iter().map(|p| Value::Bytes([&p.index.to_be_bytes()[..], &p.leaf].concat())).collect();
        self.set(field::PARTS, Value::List(list));
        self.set(field::LENGTH, Value::Int(i64::try_from(length).unwrap_or(i64::MAX)));
    }

    /// The parts that hold the payload; `None` where it is in the event itself.
    ///
    /// # Errors
    /// `log.altered` where they are named in another form.
    pub fn parts(&self) -> Result<Option<Vec<Part>>> {
        let Some(field) = self.get(field::PARTS) else { return Ok(None) };
        let part = |value: &Value| {
            let (index, leaf) = value.as_bytes()?.split_first_chunk::<8>()?;
            Some(Part { index: u64::from_be_bytes(*index), leaf: Hash::try_from(leaf).ok()? })
        };
        let parts = match field {
            Value::List(list) => list.iter().map(part).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        parts.map(Some).ok_or_else(|| Error::new(Code::Altered, "body: names its parts in another form"))
    }

    /// Puts the payload back together; `None` where a part was erased.
    ///
    /// # Errors
    /// `log.altered` where it has another length than was said.
    pub fn restore_payload(&mut self, bytes: Option<Vec<u8>>) -> Result<()> {
        let length = self.int(field::LENGTH).and_then(|n| usize::try_from(n).ok());
        self.remove(field::PARTS);
        self.remove(field::LENGTH);
        match (bytes, &mut self.payload) {
            (Some(bytes), Some(payload)) if length == Some(bytes.len()) => payload.bytes = bytes,
            (Some(_), _) => return Err(Error::new(Code::Altered, "body: its parts have another length than it says")),
            (None, payload) => *payload = None,
        }
        Ok(())
    }

    /// The bytes to encrypt: CBOR, then zeros up to the Padmé length.
    ///
    /// # Errors
    /// `limit.exceeded` for a payload or body that is too long.
    pub fn encode_padded(&self) -> Result<Zeroizing<Vec<u8>>> {
        let payload = self.payload.as_ref().map_or(0, |p| p.bytes.len());
        let part = self.schema == schema::PART;
        let limit = if part { limits::PART } else { limits::INLINE };
        if payload > limit {
            return Err(too_long("the payload of one event", payload, limit));
        }
        let mut w = Writer::with_capacity(payload + 256);
        w.map(1 + self.fields.len() + usize::from(self.payload.is_some())).uint(0).uint(self.schema);
        let split = self.fields.partition_point(|(n, _)| *n < field::PAYLOAD);
        let (low, high) = self.fields.split_at(split);
        let put = |w: &mut Writer, (n, v): &(u64, Value)| {
            w.uint(*n);
            v.encode(w);
        };
        low.iter().for_each(|f| put(&mut w, f));
        if let Some(Payload { media, bytes }) = &self.payload {
            w.uint(field::PAYLOAD).array(2);
            match media {
                Media::Registered(n) => w.uint(u64::from(*n)),
                Media::Named(name) => w.text(name),
            };
            w.bytes(bytes);
        }
        high.iter().for_each(|f| put(&mut w, f));
        let mut out = Zeroizing::new(w.into_bytes());
        let limit = if part { limits::PART + limits::INLINE } else { limits::BODY };
        if out.len() > limit {
            return Err(too_long("the record", out.len(), limit));
        }
        let padded = padme(out.len());
        out.resize(padded, 0);
        Ok(out)
    }

    /// Reads what [`Body::encode_padded`] wrote.
    ///
    /// # Errors
    /// `log.altered` if the bytes have another form.
    pub fn decode_padded(bytes: &[u8]) -> Result<Self> {
        let bad = |why: &'static str| Error::new(Code::Altered, why);
        let mut r = Reader::new(bytes);
        let pairs = r.map()?;
        let mut last = None;
        if pairs == 0 || r.key(&mut last)? != 0 {
            return Err(bad("body: has no schema"));
        }
        let mut body = Self { schema: r.uint()?, fields: Vec::with_capacity(pairs), payload: None };
        for _ in 1..pairs {
            match r.key(&mut last)? {
                field::PAYLOAD => body.payload = Some(read_payload(&mut r)?),
                n => body.fields.push((n, Value::decode(&mut r)?)),
            }
        }
        let padding = r.rest();
        if padding.iter().any(|b| *b != 0) || padme(bytes.len() - padding.len()) != bytes.len() {
            return Err(bad("body: has wrong padding"));
        }
        Ok(body)
    }
}

fn read_payload(r: &mut Reader<'_>) -> Result<Payload> {
    use mirrordna_verify::cbor::Type;
    if r.array()? != 2 {
        return Err(Error::new(Code::Altered, "body: has a malformed payload"));
    }
    let media = if r.peek()? == Type::Text {
        Media::Named(r.text()?.to_owned())
    } else {
        let n = u16::try_from(r.uint()?).map_err(|_| Error::new(Code::Altered, "body: has an unknown media type"))?;
        Media::Registered(n)
    };
    Ok(Payload { media, bytes: r.bytes()?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
            ".{0,20}".prop_map(Value::Text),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::List))
    }

    proptest! {
        #[test]
        fn bodies_round_trip(schema in 0u64..300, fields in prop::collection::btree_map(2u64..40, value(), 0..8),
                             payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), named in any::<bool>()) {
            let mut body = Body::new(schema, "mem_x");
            fields.into_iter().filter(|(n, _)| *n != field::PAYLOAD).for_each(|(n, v)| body.set(n, v));
            if let Some(bytes) = payload {
                let media = if named { Media::Named("image/png".into()) } else { Media::JSON };
                body = body.with_payload(media, bytes);
            }
            let bytes = body.encode_padded().unwrap();
            prop_assert_eq!(Body::decode_padded(&bytes).unwrap(), body);
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Body::decode_padded(&bytes);
        }
    }
}
