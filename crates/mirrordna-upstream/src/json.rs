//! The JSON that Python's `json` module and JavaScript write and accept, and strict RFC 8259 on the way out.
//!
//! Owns: the grammar (NaN and Infinity tokens, integers of any size, lone surrogates, duplicate keys), limits, salvage
//! of the complete records before damage, the strict writer. Never: guesses at other repairs (comments, trailing
//! commas, single quotes are errors), or formats upstream's canonical texts (see [`crate::checksum`]).

use crate::value::{Code, Document, Duplicate, Float, ObjectBuilder, ParseError, Repair, Text, Value, escape_step};
use crate::{MAX_DEPTH, MAX_DUPLICATES, MAX_FILE_BYTES, MAX_INTEGER_DIGITS};

/// The UTF-8 byte order mark.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses a whole file.
///
/// # Errors
/// The first break of the grammar or of a limit, with its byte offset.
pub fn parse(bytes: &[u8]) -> Result<Document, ParseError> {
    match parse_salvaging(bytes) {
        Salvage { document, error: None, .. } => Ok(document),
        Salvage { error: Some(error), .. } => Err(error),
    }
}

/// What could be read of a file.
#[derive(Debug)]
pub struct Salvage {
    /// The document; after damage only what was complete: members of the root object, items of the root array, and
    /// items of an array `events` in the root object.
    pub document: Document,
    /// The damage, if any.
    pub error: Option<ParseError>,
    /// Whether the root value is complete (damage may still follow it).
    pub complete: bool,
}

/// Parses as far as the file goes.
pub fn parse_salvaging(bytes: &[u8]) -> Salvage {
    let byte_order_mark = bytes.starts_with(BYTE_ORDER_MARK);
    let mut parser = Parser::new(bytes, if byte_order_mark { BYTE_ORDER_MARK.len() } else { 0 });
    let (value, error) = match parser.document() {
        Ok(value) => (value, None),
        Err(mut error) => {
            error.path = parser.pointer();
            (parser.partial.take().unwrap_or_default(), Some(error))
        }
    };
    let document = Document { value, byte_order_mark, duplicates: parser.duplicates };
    Salvage { document, error, complete: parser.complete }
}

enum Step {
    /// Offset of the key's opening quote: the text is decoded again only where a path is reported.
    Key(usize),
    Index(usize),
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<Step>,
    duplicates: Vec<Duplicate>,
    /// The innermost container whose complete part is worth keeping, set while an error passes upwards.
    partial: Option<Value>,
    /// Whether the root value has ended.
    complete: bool,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Parser<'a> {
        Parser { bytes, at, path: Vec::new(), duplicates: Vec::new(), partial: None, complete: false }
    }

    fn error<T>(&self, code: Code, offset: usize, sentence: impl Into<String>) -> Parsed<T> {
        Err(ParseError { code, offset, path: String::new(), sentence: sentence.into() })
    }

    /// An error at the current place: truncation at the end of the file, a break of the grammar elsewhere.
    fn expected<T>(&self, what: &str) -> Parsed<T> {
        match self.peek() {
            None if self.bytes.is_empty() => self.error(Code::EmptyFile, 0, "The file is empty."),
            None => self.error(Code::TruncatedFile, self.at, format!("The file ends where {what} was expected.")),
            Some(_) => self.error(Code::UnparsableFile, self.at, format!("Expected {what}.")),
        }
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in &self.path {
            pointer.push('/');
            match step {
                Step::Index(index) => pointer.push_str(&index.to_string()),
                Step::Key(at) => {
                    let key = Parser::new(self.bytes, *at).string();
                    pointer.push_str(&key.map(|key| escape_step(&key)).unwrap_or_default());
                }
            }
        }
        pointer
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, token: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn document(&mut self) -> Parsed<Value> {
        if self.bytes.len() > MAX_FILE_BYTES {
            return self.error(Code::FileTooLarge, 0, format!("The file is larger than {MAX_FILE_BYTES} bytes."));
        }
        if self.bytes.starts_with(b"\xff\xfe") || self.bytes.starts_with(b"\xfe\xff") {
            return self.error(Code::NotUtf8, 0, "The file is UTF-16; upstream writes UTF-8.");
        }
        self.skip_space();
        let value = self.value(0)?;
        self.complete = true;
        self.skip_space();
        if self.at < self.bytes.len() {
            self.partial = Some(value);
            return self.expected("nothing after the end of the value");
        }
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Parsed<Value> {
        if depth > MAX_DEPTH {
            return self.error(Code::TooDeep, self.at, format!("Nesting is deeper than {MAX_DEPTH}."));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') if self.take(b"true") => Ok(Value::Bool(true)),
            Some(b'f') if self.take(b"false") => Ok(Value::Bool(false)),
            Some(b'n') if self.take(b"null") => Ok(Value::Null),
            Some(b'N') if self.take(b"NaN") => Ok(not_finite("NaN", f64::NAN)),
            Some(b'I') if self.take(b"Infinity") => Ok(not_finite("Infinity", f64::INFINITY)),
            Some(b't' | b'f' | b'n' | b'N' | b'I') if self.is_cut_token(self.at) => {
                self.error(Code::TruncatedFile, self.at, "The file ends inside a literal.")
            }
            _ => self.expected("a value"),
        }
    }

    fn is_cut_token(&self, at: usize) -> bool {
        let rest = &self.bytes[at..];
        [&b"true"[..], b"false", b"null", b"NaN", b"Infinity", b"-Infinity"].iter().any(|token| token.starts_with(rest))
    }

    fn array(&mut self, depth: usize) -> Parsed<Value> {
        let mut items = Vec::new();
        let result = self.items(&mut items, depth);
        if result.is_err() && depth <= 1 {
            self.partial = Some(Value::Array(std::mem::take(&mut items)));
        }
        result.map(|()| Value::Array(items))
    }

    fn items(&mut self, items: &mut Vec<Value>, depth: usize) -> Parsed<()> {
        self.at += 1;
        self.skip_space();
        if self.take(b"]") {
            return Ok(());
        }
        loop {
            self.path.push(Step::Index(items.len()));
            items.push(self.value(depth + 1)?);
            self.path.pop();
            self.skip_space();
            if self.take(b"]") {
                return Ok(());
            }
            if !self.take(b",") {
                return self.expected("',' or ']' after an item");
            }
            self.skip_space();
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Value> {
        let mut members = ObjectBuilder::default();
        match self.members(&mut members, depth) {
            Ok(()) => Ok(Value::Object(members.finish())),
            Err(error) => {
                if depth == 0 {
                    if let (Some(Step::Key(at)), Some(Value::Array(events))) = (self.path.first(), self.partial.take())
                        && self.bytes[*at..].starts_with(b"\"events\"")
                    {
                        members.insert(Text::from("events").into(), Value::Array(events));
                    }
                    self.partial = Some(Value::Object(members.finish()));
                }
                Err(error)
            }
        }
    }

    fn members(&mut self, members: &mut ObjectBuilder, depth: usize) -> Parsed<()> {
        self.at += 1;
        self.skip_space();
        if self.take(b"}") {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.expected("a key in double quotes");
            }
            let key_at = self.at;
            let key = self.string()?;
            self.skip_space();
            if !self.take(b":") {
                return self.expected("':' after a key");
            }
            self.skip_space();
            self.path.push(Step::Key(key_at));
            let value = self.value(depth + 1)?;
            if let Some(dropped) = members.insert(key.into(), value) {
                if self.duplicates.len() == MAX_DUPLICATES {
                    return self.error(Code::TooManyDuplicates, key_at, format!("More than {MAX_DUPLICATES} keys occur twice."));
                }
                self.duplicates.push(Duplicate { path: self.pointer(), offset: key_at, dropped });
            }
            self.path.pop();
            self.skip_space();
            if self.take(b"}") {
                return Ok(());
            }
            if !self.take(b",") {
                return self.expected("',' or '}' after a member");
            }
            self.skip_space();
        }
    }

    fn string(&mut self) -> Parsed<Text> {
        let opened = self.at;
        let cut = |parser: &Self| parser.error(Code::TruncatedFile, opened, "The file ends inside the string that starts here.");
        self.at += 1;
        let mut text = Text::default();
        loop {
            let rest = &self.bytes[self.at..];
            let run = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
            match std::str::from_utf8(&rest[..run]) {
                Ok(run) => text.push_str(run),
                Err(error) if error.error_len().is_some() || run < rest.len() => {
                    return self.error(Code::NotUtf8, self.at + error.valid_up_to(), "A string holds bytes that are not UTF-8.");
                }
                Err(_) => return cut(self),
            }
            self.at += run;
            match self.peek() {
                None => return cut(self),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    let Some(&escape) = self.bytes.get(self.at + 1) else { return cut(self) };
                    let plain = match escape {
                        b'"' | b'\\' | b'/' => escape,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            let code = match self.unit(self.at) {
                                Some(code) => code,
                                None if self.bytes.len() < self.at + 6 => return cut(self),
                                None => {
                                    return self.error(Code::UnparsableFile, self.at, "\\u is not followed by four hex digits.");
                                }
                            };
                            self.at += 6;
                            text.push_code_point(match (code, self.unit(self.at)) {
                                (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                                    self.at += 6;
                                    0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                                }
                                _ => code,
                            });
                            continue;
                        }
                        _ => return self.error(Code::UnparsableFile, self.at, "There is no such escape in JSON."),
                    };
                    text.push_code_point(plain as u32);
                    self.at += 2;
                }
                Some(_) => {
                    return self.error(Code::UnparsableFile, self.at, "A control character stands unescaped in a string.");
                }
            }
        }
    }

    /// The UTF-16 unit of a `\uXXXX` at this offset.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, &b| Some(unit << 4 | (b as char).to_digit(16)?))
    }

    fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        if self.take(b"-Infinity") {
            return Ok(not_finite("-Infinity", f64::NEG_INFINITY));
        }
        let negative = self.take(b"-");
        let digits = self.digits();
        match self.bytes[self.at - digits..self.at].first() {
            None if negative && self.peek() == Some(b'I') && self.is_cut_token(start) => {
                return self.error(Code::TruncatedFile, start, "The file ends inside a literal.");
            }
            None => return self.expected("a digit"),
            // A leading zero ends the number, as in Python; what follows is then not a separator.
            Some(b'0') => self.at -= digits - 1,
            Some(_) => {}
        }
        let integer_end = self.at;
        if self.peek() == Some(b'.') && self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            let sign = matches!(self.bytes.get(self.at + 1), Some(b'+' | b'-')) as usize;
            if self.bytes.get(self.at + 1 + sign).is_some_and(u8::is_ascii_digit) {
                self.at += 1 + sign;
                self.digits();
            }
        }
        let raw = String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned();
        if self.at > integer_end {
            return Ok(Value::Float(Float { value: raw.parse().unwrap_or(f64::NAN), raw }));
        }
        if digits > MAX_INTEGER_DIGITS {
            return self.error(Code::NumberTooLong, start, format!("An integer has more than {MAX_INTEGER_DIGITS} digits."));
        }
        Ok(Value::Int(if raw == "-0" { "0".into() } else { raw }))
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }
}

fn not_finite(raw: &str, value: f64) -> Value {
    Value::Float(Float { raw: raw.into(), value })
}

/// Writes strict RFC 8259 JSON without white space: members in order, numbers verbatim, text as UTF-8.
///
/// What JSON cannot express is replaced (see [`Value::make_representable`]) and each replacement is returned.
pub fn write(value: &Value) -> (String, Vec<Repair>) {
    let mut value = value.clone();
    let mut repairs = Vec::new();
    value.make_representable(&mut String::new(), &mut repairs);
    let mut out = String::new();
    write_value(&value, &mut out);
    (out, repairs)
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(digits) => out.push_str(digits),
        Value::Float(float) => out.push_str(&float.raw),
        Value::Text(text) => write_string(&text.to_str_lossy(), out),
        Value::Native(_, inner) => write_value(inner, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (index, (key, member)) in object.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_string(&key.text.to_str_lossy(), out);
                out.push(':');
                write_value(member, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        escape(c as u32, out).unwrap_or_else(|| out.push(c));
    }
    out.push('"');
}

/// Writes the escape of a code point that no JSON string may hold bare; both SDKs and this module use the same ones.
pub(crate) fn escape(code: u32, out: &mut String) -> Option<()> {
    match code {
        0x22 => out.push_str("\\\""),
        0x5c => out.push_str("\\\\"),
        0x08 => out.push_str("\\b"),
        0x0c => out.push_str("\\f"),
        0x0a => out.push_str("\\n"),
        0x0d => out.push_str("\\r"),
        0x09 => out.push_str("\\t"),
        0..0x20 => out.push_str(&format!("\\u{code:04x}")),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Object;

    fn value(text: &str) -> Value {
        parse(text.as_bytes()).expect(text).value
    }

    fn failure(bytes: &[u8]) -> (Code, usize) {
        let error = parse(bytes).expect_err("must fail");
        (error.code, error.offset)
    }

    #[test]
    fn numbers_keep_their_text() {
        let text = "[1e400,-0,-0.0,1.50,1E5,123456789012345678901234567890]";
        assert_eq!(write(&value(text)).0, "[null,0,-0.0,1.50,1E5,123456789012345678901234567890]");
        for bad in ["01", "1.", "1e", "-", "+1", ".5", "0x1", "--1", "1.e5", "Infinit", "-Infinit", "nan"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(failure("9".repeat(MAX_INTEGER_DIGITS + 1).as_bytes()).0, Code::NumberTooLong);
    }

    #[test]
    fn surrogates_pair_up_or_stay_alone() {
        assert_eq!(value(r#""\ud83c\udf0d""#).as_str(), Some("\u{1f30d}"));
        let lone = value(r#""\ud83c\ud83c\udf0d\udf0d""#);
        let Value::Text(text) = &lone else { panic!("not a text") };
        assert_eq!(text.as_str(), None);
        assert_eq!(text.code_points().collect::<Vec<_>>(), [0xd83c, 0x1f30d, 0xdf0d]);
        let (json, repairs) = write(&lone);
        assert_eq!(json, "\"\u{fffd}\u{1f30d}\u{fffd}\"");
        assert_eq!((repairs[0].code, repairs[0].original.as_deref()), (Code::LoneSurrogate, Some("\\ud83c\u{1f30d}\\udf0d")));
    }

    #[test]
    fn replacements_are_reported_with_their_paths() {
        let (json, repairs) = write(&value(r#"{"a~/b":[1,NaN,-Infinity],"\ud800":1,"\ud801":2}"#));
        assert_eq!(json, "{\"a~/b\":[1,null,null],\"\u{fffd}\":1,\"\u{fffd}\u{fffd}\":2}");
        let found: Vec<_> = repairs.iter().map(|r| (r.code.as_str(), r.path.as_str())).collect();
        assert_eq!(found[0], ("lone_surrogate", "/\u{fffd}"));
        assert_eq!(found[2], ("key_collision", "/\u{fffd}"));
        assert_eq!(found[3..], [("non_finite_number", "/a~0~1b/1"), ("non_finite_number", "/a~0~1b/2")]);
    }

    #[test]
    fn duplicates_keep_the_first_place_and_the_last_value() {
        let document = parse(br#"{"a":{"x":1,"y":2,"x":3},"b":0,"a":4}"#).expect("valid");
        assert_eq!(write(&document.value).0, r#"{"a":4,"b":0}"#);
        let found: Vec<_> = document.duplicates.iter().map(|d| (d.path.as_str(), d.offset, write(&d.dropped).0)).collect();
        assert_eq!(found, [("/a/x", 18, "1".into()), ("/a", 31, r#"{"x":3,"y":2}"#.into())]);
        let many: String = (0..100).map(|n| format!("\"k{}\":{n},", n % 50)).collect();
        let document = parse(format!("{{{many}\"k0\":7}}").as_bytes()).expect("valid");
        assert_eq!((document.value.as_object().map(Object::len), document.duplicates.len()), (Some(50), 51));
    }

    #[test]
    fn errors_tell_code_and_offset() {
        assert_eq!(failure(b""), (Code::EmptyFile, 0));
        assert_eq!(failure(b"  "), (Code::TruncatedFile, 2));
        assert_eq!(failure(b"{\"a\":tr"), (Code::TruncatedFile, 5));
        assert_eq!(failure(b"{\"a\":\"x"), (Code::TruncatedFile, 5));
        assert_eq!(failure(b"{\"id\":1,}"), (Code::UnparsableFile, 8));
        assert_eq!(failure(b"[1] x"), (Code::UnparsableFile, 4));
        assert_eq!(failure(b"\"\xff\""), (Code::NotUtf8, 1));
        assert_eq!(failure(b"\"a\nb\""), (Code::UnparsableFile, 2));
        assert_eq!(failure(b"\xff\xfe{\0"), (Code::NotUtf8, 0));
        assert_eq!(failure("[".repeat(1_000_000).as_bytes()), (Code::TooDeep, MAX_DEPTH + 1));
        assert_eq!(parse(b"{\"a\":[1,{\"b\":x}]}").expect_err("bad").path, "/a/1/b");
        assert!(parse(b"\xef\xbb\xbf[]").expect("valid").byte_order_mark);
    }

    #[test]
    fn salvage_keeps_what_is_complete() {
        let salvage = |text: &str| {
            let found = parse_salvaging(text.as_bytes());
            (write(&found.document.value).0, found.complete)
        };
        assert_eq!(salvage(r#"{"a":{"x":1},"b":{"x":[2"#), (r#"{"a":{"x":1}}"#.into(), false));
        assert_eq!(salvage(r#"{"a":{"x":1},"b":{"x":2}"#), (r#"{"a":{"x":1},"b":{"x":2}}"#.into(), false));
        assert_eq!(salvage(r#"{"t":"x","events":[{"id":1},{"id":[3"#), (r#"{"t":"x","events":[{"id":1}]}"#.into(), false));
        assert_eq!(salvage(r#"[{"id":1},{"id":2},"#), (r#"[{"id":1},{"id":2}]"#.into(), false));
        assert_eq!(salvage(r#"{"a":{}}}"#), (r#"{"a":{}}"#.into(), true));
    }
}
