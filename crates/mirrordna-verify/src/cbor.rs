//! The subset of deterministic CBOR (RFC 8949 section 4.2.1) that the protocol
//! uses: integers, byte and text strings, definite arrays and maps, tags,
//! booleans and null. No floats, no indefinite lengths.
//!
//! The reader refuses every encoding that the writer would not produce, so two
//! different byte strings never decode to the same value.

use crate::Malformed;
use alloc::vec::Vec;

const WHAT: &str = "CBOR";

const fn bad(why: &'static str) -> Malformed {
    Malformed::new(WHAT, why)
}

/// Major types of RFC 8949 section 3.1.
mod major {
    pub(super) const UINT: u8 = 0;
    pub(super) const NINT: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const TEXT: u8 = 3;
    pub(super) const ARRAY: u8 = 4;
    pub(super) const MAP: u8 = 5;
    pub(super) const TAG: u8 = 6;
    pub(super) const SIMPLE: u8 = 7;
}

/// The type of the next item, from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Unsigned integer.
    Uint,
    /// Negative integer.
    Nint,
    /// Byte string.
    Bytes,
    /// Text string.
    Text,
    /// Array of definite length.
    Array,
    /// Map of definite length.
    Map,
    /// Tag.
    Tag,
    /// `false`, `true` or `null`.
    Simple,
}

/// Reads items from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The type of the next item.
    ///
    /// # Errors
    /// At the end of input.
    pub fn peek(&self) -> Result<Type, Malformed> {
        let first = self.rest.first().ok_or(bad("ends early"))?;
        Ok(match first >> 5 {
            major::UINT => Type::Uint,
            major::NINT => Type::Nint,
            major::BYTES => Type::Bytes,
            major::TEXT => Type::Text,
            major::ARRAY => Type::Array,
            major::MAP => Type::Map,
            major::TAG => Type::Tag,
            _ => Type::Simple,
        })
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(bad("ends early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Reads an item head: major type and argument, shortest form only.
    fn head(&mut self) -> Result<(u8, u64), Malformed> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let (n, least) = match info {
            0..=23 => return Ok((major, u64::from(info))),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(bad("indefinite length")),
            _ => return Err(bad("reserved length")),
        };
        let value = self.take(n)?.iter().fold(0u64, |v, b| v << 8 | u64::from(*b));
        if value < least {
            return Err(bad("integer not in its shortest form"));
        }
        Ok((major, value))
    }

    fn expect(&mut self, want: u8, why: &'static str) -> Result<u64, Malformed> {
        let (major, value) = self.head()?;
        if major == want { Ok(value) } else { Err(bad(why)) }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// If the next item is anything else or not canonical.
    pub fn uint(&mut self) -> Result<u64, Malformed> {
        self.expect(major::UINT, "expected an unsigned integer")
    }

    /// An integer that fits `i64`.
    ///
    /// # Errors
    /// If the next item is anything else, not canonical or out of range.
    pub fn int(&mut self) -> Result<i64, Malformed> {
        let (major, value) = self.head()?;
        let value = i64::try_from(value).map_err(|_| bad("integer out of range"))?;
        match major {
            major::UINT => Ok(value),
            major::NINT => Ok(-1 - value),
            _ => Err(bad("expected an integer")),
        }
    }

    /// A byte string.
    ///
    /// # Errors
    /// If the next item is anything else or longer than the input.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.expect(major::BYTES, "expected a byte string")?;
        self.take(usize::try_from(n).map_err(|_| bad("ends early"))?)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// If the next item is anything else or of another length.
    pub fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes()?.try_into().map_err(|_| bad("byte string of another length"))
    }

    /// A text string.
    ///
    /// # Errors
    /// If the next item is anything else, longer than the input or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let n = self.expect(major::TEXT, "expected a text string")?;
        let raw = self.take(usize::try_from(n).map_err(|_| bad("ends early"))?)?;
        core::str::from_utf8(raw).map_err(|_| bad("text is not UTF-8"))
    }

    /// The head of an array: its number of items.
    ///
    /// # Errors
    /// If the next item is anything else, or promises more items than bytes.
    pub fn array(&mut self) -> Result<usize, Malformed> {
        let n = self.expect(major::ARRAY, "expected an array")?;
        self.count(n)
    }

    /// The head of a map: its number of pairs.
    ///
    /// # Errors
    /// If the next item is anything else, or promises more pairs than bytes.
    pub fn map(&mut self) -> Result<usize, Malformed> {
        let n = self.expect(major::MAP, "expected a map")?;
        self.count(n)
    }

    fn count(&self, n: u64) -> Result<usize, Malformed> {
        // Every item takes at least a byte: a larger promise is a lie that
        // must not be turned into an allocation.
        usize::try_from(n).ok().filter(|n| *n <= self.rest.len()).ok_or(bad("ends early"))
    }

    /// A tag number; the tagged item follows.
    ///
    /// # Errors
    /// If the next item is anything else.
    pub fn tag(&mut self) -> Result<u64, Malformed> {
        self.expect(major::TAG, "expected a tag")
    }

    /// `Some(bool)` or, for null, `None`.
    ///
    /// # Errors
    /// If the next item is anything else.
    pub fn simple(&mut self) -> Result<Option<bool>, Malformed> {
        match self.take(1)?[0] {
            0xf4 => Ok(Some(false)),
            0xf5 => Ok(Some(true)),
            0xf6 => Ok(None),
            _ => Err(bad("expected false, true or null")),
        }
    }

    /// The next key of a map whose keys are unsigned integers in ascending
    /// order; `last` is the previous key.
    ///
    /// # Errors
    /// If the key is no unsigned integer or not greater than the previous one.
    pub fn key(&mut self, last: &mut Option<u64>) -> Result<u64, Malformed> {
        let key = self.uint()?;
        if last.is_some_and(|l| key <= l) {
            return Err(bad("map keys not in ascending order"));
        }
        *last = Some(key);
        Ok(key)
    }

    /// Passes over one item, whatever it is, checking its form.
    ///
    /// # Errors
    /// If it is malformed or nested deeper than 16.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        self.skip_within(16)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth == 0 {
            return Err(bad("nested too deeply"));
        }
        match self.peek()? {
            Type::Uint | Type::Nint => self.head().map(drop),
            Type::Bytes => self.bytes().map(drop),
            Type::Text => self.text().map(drop),
            Type::Array => (0..self.array()?).try_for_each(|_| self.skip_within(depth - 1)),
            Type::Map => (0..self.map()? * 2).try_for_each(|_| self.skip_within(depth - 1)),
            Type::Tag => {
                self.tag()?;
                self.skip_within(depth - 1)
            }
            Type::Simple => self.simple().map(drop),
        }
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(bad("bytes after the end")) }
    }
}

/// Appends items to a byte vector in their only accepted form.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity) }
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let m = major << 5;
        match value {
            0..=23 => self.out.push(m | value as u8),
            24..=0xff => self.out.extend_from_slice(&[m | 24, value as u8]),
            0x100..=0xffff => {
                self.out.push(m | 25);
                self.out.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(m | 26);
                self.out.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.out.push(m | 27);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
        }
        self
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(major::UINT, value)
    }

    /// A signed integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(major::UINT, value),
            Err(_) => self.head(major::NINT, !value as u64),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(major::BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(major::TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    /// The head of an array of `n` items, which follow.
    pub fn array(&mut self, n: usize) -> &mut Self {
        self.head(major::ARRAY, n as u64)
    }

    /// The head of a map of `n` pairs, which follow in key order.
    pub fn map(&mut self, n: usize) -> &mut Self {
        self.head(major::MAP, n as u64)
    }

    /// A tag, whose item follows.
    pub fn tag(&mut self, n: u64) -> &mut Self {
        self.head(major::TAG, n)
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.head(major::SIMPLE, if value { 21 } else { 20 })
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.head(major::SIMPLE, 22)
    }

    /// Bytes that are already encoded.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.out.extend_from_slice(encoded);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_the_writer_never_produces() {
        for (bytes, why) in [
            (&[0x18, 0x17][..], "integer not in its shortest form"),
            (&[0x19, 0x00, 0xff], "integer not in its shortest form"),
            (&[0x5f], "indefinite length"),
            (&[0x1c], "reserved length"),
            (&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], "expected false, true or null"),
            (&[0x42, 0x00], "ends early"),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "ends early"),
            (&[0x62, 0xff, 0xfe], "text is not UTF-8"),
        ] {
            assert_eq!(Reader::new(bytes).skip().unwrap_err().why, why, "{bytes:02x?}");
        }
        let deep = [0x81u8; 64];
        assert_eq!(Reader::new(&deep).skip().unwrap_err().why, "nested too deeply");
    }

    proptest! {
        #[test]
        fn integers_round_trip(v in any::<i64>()) {
            let mut w = Writer::default();
            w.int(v);
            let bytes = w.into_bytes();
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(r.int().unwrap(), v);
            prop_assert!(r.end().is_ok());
        }

        #[test]
        fn reading_never_panics_and_accepts_only_one_form(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut r = Reader::new(&bytes);
            let _ = r.skip();
            if let Ok(v) = Reader::new(&bytes).uint() {
                let mut w = Writer::default();
                w.uint(v);
                prop_assert!(bytes.starts_with(&w.into_bytes()));
            }
        }
    }
}
