//! Canonical forms shared by bodies: a small CBOR value, Padmé padding and the
//! check of JSON that callers hand in.

use crate::{Code, Error, Result, limits};
use mirrordna_verify::cbor::{Reader, Type, Writer};
use mirrordna_verify::json::Json;

/// A CBOR value of the subset that bodies use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A boolean.
    Bool(bool),
    /// Nothing: in a patch, remove the field.
    Null,
}

impl Value {
    /// Writes the value.
    pub fn encode(&self, w: &mut Writer) {
        if let Self::List(items) = self {
            w.array(items.len());
            items.iter().for_each(|i| i.encode(w));
            return;
        }
        match self {
            Self::Int(v) => w.int(*v),
            Self::Bytes(v) => w.bytes(v),
            Self::Text(v) => w.text(v),
            Self::Bool(v) => w.bool(*v),
            Self::Null | Self::List(_) => w.null(),
        };
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are not of the subset.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Self::decode_within(r, 8)
    }

    fn decode_within(r: &mut Reader<'_>, depth: usize) -> Result<Self> {
        if depth == 0 {
            return Err(Error::new(Code::Altered, "body: nested too deeply"));
        }
        Ok(match r.peek()? {
            Type::Uint | Type::Nint => Self::Int(r.int()?),
            Type::Bytes => Self::Bytes(r.bytes()?.to_vec()),
            Type::Text => Self::Text(r.text()?.to_owned()),
            Type::Simple => r.simple()?.map_or(Self::Null, Self::Bool),
            Type::Array => {
                let n = r.array()?;
                Self::List((0..n).map(|_| Self::decode_within(r, depth - 1)).collect::<Result<_>>()?)
            }
            Type::Map | Type::Tag => return Err(Error::new(Code::Altered, "body: holds a map or tag inside a field")),
        })
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The integer, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(v) => Some(*v),
            _ => None,
        }
    }

    /// The bytes, if they are bytes.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(v) => Some(v),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

/// Length of a private body after Padmé padding: at most 12 % more, and the
/// length leaks only O(log log n) bits (Nikitin et al., PURBs, 2019, section 4).
#[must_use]
pub fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let e = len.ilog2();
    let s = e.ilog2() + 1;
    let mask = (1usize << (e - s.min(e))) - 1;
    (len + mask) & !mask
}

/// Checks JSON from a caller that stays in the event itself (metadata, states)
/// and gives it back as it came.
///
/// # Errors
/// `json.invalid` with the byte offset, or `limit.exceeded` beyond
/// [`limits::INLINE`].
pub fn check_json<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    check_json_within(text, what, limits::INLINE)
}

/// The same for JSON that may be stored in parts: contents and payloads.
///
/// # Errors
/// `json.invalid` with the byte offset, or `limit.exceeded` beyond
/// [`limits::JSON`].
pub fn check_document<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    check_json_within(text, what, limits::JSON)
}

fn check_json_within<'a>(text: &'a str, what: &str, limit: usize) -> Result<&'a str> {
    if text.len() > limit {
        return Err(too_long(what, text.len(), limit));
    }
    Json::check(text).map_err(|e| Error::new(Code::JsonInvalid, format!("{what}: {} at byte {}", e.why, e.at)))?;
    Ok(text)
}

/// Checks a short text (name, tag, speaker) from a caller.
///
/// # Errors
/// `input.invalid` where it is empty or holds control characters,
/// `limit.exceeded` where it is too long.
pub fn check_name<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    if text.len() > limits::NAME {
        return Err(too_long(what, text.len(), limits::NAME));
    }
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::new(Code::InputInvalid, format!("{what} is empty or holds control characters")));
    }
    Ok(text)
}

/// `limit.exceeded` for something measured in bytes.
#[must_use]
pub fn too_long(what: &str, is: usize, limit: usize) -> Error {
    Error::new(Code::LimitExceeded, format!("{what} has {is} bytes, the limit is {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padme_of_known_lengths() {
        for (len, padded) in [(0, 0), (1, 1), (2, 2), (9, 10), (100, 104), (300, 304), (1000, 1024), (70_000, 71_680)] {
            assert_eq!(padme(len), padded, "{len}");
        }
    }

    proptest! {
        #[test]
        fn padme_grows_by_at_most_an_eighth(len in 1usize..10_000_000) {
            let p = padme(len);
            prop_assert!(p >= len && p <= len + len / 8 + 1 && padme(p) == p);
        }
    }
}
