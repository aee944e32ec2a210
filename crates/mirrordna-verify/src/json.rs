//! A strict JSON reader (RFC 8259) that keeps the bytes of every value, and
//! the check that a text is in the canonical form of RFC 8785 as the protocol
//! uses it (ASCII keys, integers only).
//!
//! It never rewrites anything: a digest "without the proof" is taken over
//! slices of the original text. It refuses duplicate keys, lone surrogates,
//! `NaN` and anything after the value.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How deep values may be nested.
pub const MAX_DEPTH: usize = 128;

/// Why a text was refused, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Offset of the offending byte.
    pub at: usize,
    /// The rule that was broken.
    pub why: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON at byte {}: {}", self.at, self.why)
    }
}

impl core::error::Error for JsonError {}

/// A value and the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Json<'a> {
    /// The bytes of the value, without surrounding white space.
    pub raw: &'a str,
    /// What the value is.
    pub value: Value<'a>,
}

/// What a JSON value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, kept as text in [`Json::raw`].
    Number,
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object, members in the order of the text.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads one JSON value that fills `text`.
    ///
    /// # Errors
    /// With the first rule broken and its offset.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        Self::read(text, false, true)
    }

    /// Checks that `text` is one JSON value as [`Json::parse`] reads it, without
    /// keeping the values: what it needs beside the text is at most the keys of
    /// the objects that are open.
    ///
    /// # Errors
    /// With the first rule broken and its offset.
    pub fn check(text: &'a str) -> Result<(), JsonError> {
        Self::read(text, false, false).map(drop)
    }

    /// Reads one value and checks that `text` is its canonical form: no white
    /// space, ASCII keys in order, minimal escapes, integers within 2^53.
    ///
    /// # Errors
    /// With the first rule broken and its offset.
    pub fn parse_canonical(text: &'a str) -> Result<Self, JsonError> {
        Self::read(text, true, true)
    }

    fn read(text: &'a str, canonical: bool, keep: bool) -> Result<Self, JsonError> {
        let mut p = Parser { text, at: 0, canonical, keep };
        let value = p.value(MAX_DEPTH)?;
        p.space()?;
        if p.at != text.len() {
            return p.fail("text after the value");
        }
        Ok(value)
    }

    /// The member `key` of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn str(&self) -> Option<&str> {
        match &self.value {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The items of an array.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    canonical: bool,
    /// Whether the values are wanted, or only that they are well formed.
    keep: bool,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, why: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, why })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.canonical && self.at != start {
            self.at = start;
            return self.fail("white space in canonical form");
        }
        Ok(())
    }

    fn eat(&mut self, word: &str, why: &'static str) -> Result<(), JsonError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.fail(if self.at == self.text.len() { "ends early" } else { why })
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.space()?;
        if depth == 0 {
            return self.fail("nested deeper than 128 levels");
        }
        let start = self.at;
        let value = match self.peek() {
            None => return self.fail("ends early"),
            Some(b'n') => self.eat("null", "unknown word").map(|()| Value::Null)?,
            Some(b't') => self.eat("true", "unknown word").map(|()| Value::Bool(true))?,
            Some(b'f') => self.eat("false", "unknown word").map(|()| Value::Bool(false))?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'[') => Value::Array(self.array(depth)?),
            Some(b'{') => Value::Object(self.object(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'N' | b'I') => return self.fail("NaN and Infinity are not JSON"),
            Some(_) => return self.fail("expected a value"),
        };
        Ok(Json { raw: &self.text[start..self.at], value })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Json<'a>>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            let item = self.value(depth - 1)?;
            if self.keep {
                items.push(item);
            }
            self.space()?;
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(items);
            }
            self.eat(",", "expected ',' or ']'")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Vec<(Cow<'a, str>, Json<'a>)>, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut members: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        self.space()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.space()?;
            if self.peek() != Some(b'"') {
                return self.fail(if self.peek().is_none() { "ends early" } else { "expected a key in double quotes" });
            }
            let key_at = self.at;
            let key = self.string()?;
            if self.canonical {
                let ordered = members.last().is_none_or(|(last, _)| **last < *key);
                if !key.is_ascii() || !ordered {
                    self.at = key_at;
                    return self.fail("key not ASCII or not in canonical order");
                }
            }
            self.space()?;
            self.eat(":", "expected ':'")?;
            let value = self.value(depth - 1)?;
            let kept = if self.keep { value } else { Json { raw: "", value: Value::Null } };
            members.push((key, kept));
            self.space()?;
            if self.peek() == Some(b'}') {
                self.at += 1;
                break;
            }
            self.eat(",", "expected ',' or '}'")?;
        }
        let mut keys: Vec<&str> = members.iter().map(|(k, _)| &**k).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|w| w[0] == w[1]) {
            self.at = start;
            return self.fail("object with a duplicate key");
        }
        Ok(members)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.fail("expected a digit");
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
            if self.peek() == Some(b'I') {
                return self.fail("NaN and Infinity are not JSON");
            }
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if self.peek().is_some_and(|b| b.is_ascii_digit()) {
                return self.fail("number with a leading zero");
            }
        } else {
            self.digits()?;
        }
        let integer_end = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.canonical {
            let text = &self.text[start..self.at];
            let small = text.parse::<i64>().is_ok_and(|v| v.unsigned_abs() < 1 << 53);
            if integer_end != self.at || !small || text == "-0" {
                self.at = start;
                return self.fail("number that is no integer within 2^53");
            }
        }
        Ok(Value::Number)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        loop {
            let rest = &self.text[self.at..];
            let stop = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20);
            let Some(stop) = stop else {
                self.at = self.text.len();
                return self.fail("string without an end");
            };
            if let Some(out) = &mut owned {
                out.push_str(&rest[..stop]);
            }
            self.at += stop;
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(owned.map_or(Cow::Borrowed(&self.text[start..end]), Cow::Owned));
                }
                Some(b'\\') => {
                    let mut out = owned.take().unwrap_or_else(|| String::from(&self.text[start..self.at]));
                    out.push(self.escape()?);
                    owned = Some(out);
                }
                _ => return self.fail("control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        self.at += 1;
        let kind = self.peek();
        self.at += 1;
        let c = match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => self.unicode(start)?,
            _ => {
                self.at = start;
                return self.fail("unknown escape");
            }
        };
        if self.canonical {
            let raw = &self.text[start..self.at];
            let needed = match c {
                '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => raw.len() == 2,
                c => c < ' ' && !raw.bytes().any(|b| b.is_ascii_uppercase()),
            };
            if !needed {
                self.at = start;
                return self.fail("escape that canonical form does not use");
            }
        }
        Ok(c)
    }

    fn unicode(&mut self, start: usize) -> Result<char, JsonError> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                let low = self.text[self.at..].starts_with("\\u").then(|| {
                    self.at += 2;
                    self.hex4()
                });
                match low {
                    Some(Ok(low @ 0xdc00..=0xdfff)) => 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00),
                    Some(Err(e)) => return Err(e),
                    _ => 0xd800,
                }
            }
            other => other,
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => {
                self.at = start;
                self.fail("half of a surrogate pair")
            }
        }
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let value = digits
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit))
            .map(|d| d.iter().fold(0, |v, b| v << 4 | char::from(*b).to_digit(16).unwrap_or(0)));
        match value {
            Some(v) => {
                self.at += 4;
                Ok(v)
            }
            None => self.fail("\\u without four hexadecimal digits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn refusals_name_the_rule_and_the_place() {
        for (text, at, why) in [
            ("", 0, "ends early"),
            ("{\"a\":1,\"a\":2}", 0, "object with a duplicate key"),
            ("{\"a\":1,\"\\u0061\":2}", 0, "object with a duplicate key"),
            ("[NaN]", 1, "NaN and Infinity are not JSON"),
            ("[-Infinity]", 2, "NaN and Infinity are not JSON"),
            ("\"\\ud800\"", 1, "half of a surrogate pair"),
            ("\"\\udc00\"", 1, "half of a surrogate pair"),
            ("[1,]", 3, "expected a value"),
            ("01", 1, "number with a leading zero"),
            ("1 2", 2, "text after the value"),
            ("\"a", 2, "string without an end"),
            ("\"\n\"", 1, "control character in a string"),
            ("{a:1}", 1, "expected a key in double quotes"),
        ] {
            assert_eq!(Json::parse(text).unwrap_err(), JsonError { at, why }, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Json::parse(&deep).unwrap_err().why, "nested deeper than 128 levels");
    }

    #[test]
    fn canonical_form_is_one_form() {
        for good in [r#"{"a":1,"b":[true,null,"é\n"]}"#, r#""\u001f""#, "-1", "{}"] {
            assert!(Json::parse_canonical(good).is_ok(), "{good}");
        }
        for bad in [r#"{"b":1,"a":2}"#, "[ 1]", "1.0", "-0", "1e3", r#""\u0041""#, r#""\/""#, r#""\u001F""#, "9007199254740992"] {
            assert!(Json::parse_canonical(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}",:0-9a-z\\ .\-tfnu+eE]{0,24}"#) {
            let ours = Json::parse(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // serde_json keeps the last of duplicate keys and overflows numbers; we are stricter, never laxer.
            let number_overflow = serde_json::from_str::<serde_json::Value>(&text)
                .err().is_some_and(|e| e.to_string().contains("out of range"));
            prop_assert!(!ours || theirs || number_overflow, "{text}");
        }
    }
}
