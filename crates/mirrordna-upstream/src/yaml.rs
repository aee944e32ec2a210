//! YAML 1.1 as PyYAML's `safe_load` reads it, into the same value tree as JSON.
//!
//! Owns: scalar resolution (yes/no, octal, base 60, timestamps), merge keys, aliases with a limit, tags. Never:
//! constructs an object from a tag, follows a self-reference, or scans characters itself (saphyr-parser does; it is a
//! YAML 1.2 scanner, and where it refuses a text that PyYAML accepts, the file is refused here too).

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use crate::checksum::float_repr;
use crate::json::BYTE_ORDER_MARK;
use crate::value::{Code, Document, Duplicate, Float, Key, NativeKind, ObjectBuilder, ParseError, Text, Value, escape_step};
use crate::{MAX_ALIAS_NODES, MAX_DEPTH, MAX_DUPLICATES, MAX_FILE_BYTES, MAX_INTEGER_DIGITS, time};

const CORE: &str = "tag:yaml.org,2002:";

/// Parses a file with one YAML document; an empty file is null, as in PyYAML.
///
/// # Errors
/// The first break of the grammar, of a limit, or of what a safe loader constructs, with its byte offset.
pub fn parse(bytes: &[u8]) -> Result<Document, ParseError> {
    let fail = |code, offset, sentence: &str| Err(ParseError { code, offset, path: String::new(), sentence: sentence.into() });
    if bytes.len() > MAX_FILE_BYTES {
        return fail(Code::FileTooLarge, 0, "The file is too large.");
    }
    let byte_order_mark = bytes.starts_with(BYTE_ORDER_MARK);
    let skipped = if byte_order_mark { BYTE_ORDER_MARK.len() } else { 0 };
    let text = match std::str::from_utf8(&bytes[skipped..]) {
        Ok(text) => text,
        Err(error) => return fail(Code::NotUtf8, skipped + error.valid_up_to(), "The file is not UTF-8."),
    };
    if let Some((at, _)) = text.char_indices().find(|(_, c)| !is_printable(*c)) {
        return fail(Code::UnparsableFile, skipped + at, "YAML does not allow this control character.");
    }
    if let Some((at, _)) = text.char_indices().find(|(_, c)| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')) {
        // A line break in YAML 1.1 and PyYAML, a letter like any other in YAML 1.2 and the scanner.
        return fail(Code::UnparsableFile, skipped + at, "An unescaped U+0085, U+2028 or U+2029 is not read here.");
    }
    let mut loader = Loader {
        text,
        skipped,
        parser: Parser::new_from_str(text),
        at: 0,
        end: 0,
        anchors: HashMap::new(),
        copied: 0,
        path: String::new(),
        duplicates: Vec::new(),
        quoted: Vec::new(),
        unended: (!text.ends_with(['\n', '\r'])).then(|| text.chars().count()),
    };
    let value = loader.document().and_then(|value| loader.check_tabs().map(|()| value)).map_err(|mut error| {
        error.path = loader.path.clone();
        error
    })?;
    Ok(Document { value, byte_order_mark, duplicates: loader.duplicates })
}

fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

struct Loader<'a> {
    text: &'a str,
    /// Bytes before `text` in the file.
    skipped: usize,
    parser: Parser<'a, StrInput<'a>>,
    /// Where the current event starts, in characters.
    at: usize,
    /// Where it ends.
    end: usize,
    anchors: HashMap<usize, Value>,
    /// Nodes copied for anchors and aliases so far.
    copied: usize,
    path: String,
    duplicates: Vec<Duplicate>,
    /// Quoted and block scalars, in characters.
    quoted: Vec<(usize, usize)>,
    /// The length in characters of a text that does not end with a newline.
    unended: Option<usize>,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Loader<'a> {
    fn offset(&self) -> usize {
        self.skipped + self.text.char_indices().nth(self.at).map_or(self.text.len(), |(at, _)| at)
    }

    fn error<T>(&self, code: Code, sentence: impl Into<String>) -> Parsed<T> {
        Err(ParseError { code, offset: self.offset(), path: String::new(), sentence: sentence.into() })
    }

    fn next(&mut self) -> Parsed<Event<'a>> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                (self.at, self.end) = (span.start.index(), span.end.index());
                if !matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..)) && matches!(event, Event::Scalar(..)) {
                    self.quoted.push((self.at, self.end));
                }
                Ok(event)
            }
            Some(Err(error)) => {
                self.at = error.marker().index();
                let cut = self.offset() >= self.skipped + self.text.trim_end().len();
                let code = if cut { Code::TruncatedFile } else { Code::UnparsableFile };
                self.error(code, format!("YAML: {}.", error.info()))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn document(&mut self) -> Parsed<Value> {
        let mut value = None;
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(value.unwrap_or_default()),
                Event::DocumentStart(_) if value.is_some() => {
                    return self.error(Code::UnparsableFile, "The file holds several YAML documents.");
                }
                Event::DocumentStart(_) => {
                    let event = self.next()?;
                    value = Some(self.node(event, 0)?);
                }
                _ => {}
            }
        }
    }

    /// PyYAML allows tabs inside quoted and block scalars and in comments; the scanner allows more.
    fn check_tabs(&mut self) -> Parsed<()> {
        if !self.text.contains('\t') {
            return Ok(());
        }
        let mut scalars = self.quoted.iter().copied().peekable();
        let (mut comment, mut before) = (false, '\n');
        for (at, c) in self.text.chars().enumerate() {
            while scalars.next_if(|(_, end)| *end <= at).is_some() {}
            let quoted = scalars.peek().is_some_and(|(start, _)| *start <= at);
            match c {
                '\n' | '\r' => comment = false,
                '#' if !quoted && before.is_ascii_whitespace() => comment = true,
                '\t' if !quoted && !comment => {
                    self.at = at;
                    return self.error(Code::UnparsableFile, "YAML does not allow a tab here.");
                }
                _ => {}
            }
            before = c;
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Parsed<Value> {
        if depth > MAX_DEPTH {
            return self.error(Code::TooDeep, format!("Nesting is deeper than {MAX_DEPTH}."));
        }
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let Some(value) = self.anchors.get(&id) else {
                    return self.error(Code::UnparsableFile, "An alias refers to a node that contains it.");
                };
                let value = value.clone();
                self.charge(&value)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => (self.scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), &["seq"])?;
                (self.sequence(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let kind = self.check_collection_tag(tag.as_deref(), &["map", "set"])?;
                (self.mapping(depth, kind == Some("set"))?, anchor)
            }
            _ => return self.error(Code::UnparsableFile, "Expected a YAML node."),
        };
        if anchor != 0 {
            self.charge(&value)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn charge(&mut self, value: &Value) -> Parsed<()> {
        self.copied = self.copied.saturating_add(size(value));
        if self.copied > MAX_ALIAS_NODES {
            return self.error(Code::AliasBomb, format!("Aliases copy more than {MAX_ALIAS_NODES} nodes."));
        }
        Ok(())
    }

    fn check_collection_tag(&self, tag: Option<&Tag>, known: &[&'static str]) -> Parsed<Option<&'static str>> {
        let Some(name) = tag_name(tag) else { return Ok(None) };
        match known.iter().find(|kind| name.strip_prefix(CORE) == Some(kind)) {
            Some(kind) => Ok(Some(kind)),
            None => self.error(Code::YamlTagRefused, format!("The tag {name} is not read here.")),
        }
    }

    fn sequence(&mut self, depth: usize) -> Parsed<Value> {
        let mut items = Vec::new();
        let length = self.path.len();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Value::Array(items)),
                event => {
                    self.path.push_str(&format!("/{}", items.len()));
                    items.push(self.node(event, depth + 1)?);
                    self.path.truncate(length);
                }
            }
        }
    }

    fn mapping(&mut self, depth: usize, set: bool) -> Parsed<Value> {
        let mut own = ObjectBuilder::default();
        let mut merged: Vec<(Key, Value)> = Vec::new();
        let length = self.path.len();
        loop {
            let event = match self.next()? {
                Event::MappingEnd => break,
                event => event,
            };
            let key_at = self.at;
            if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<") {
                let event = self.next()?;
                let sources = match self.node(event, depth + 1)? {
                    // The first source wins, and later ones stand before it.
                    Value::Array(sources) => sources.into_iter().rev().collect(),
                    source => vec![source],
                };
                for source in sources {
                    let Value::Object(source) = source else {
                        return self.error(Code::UnparsableFile, "A merge key needs a mapping or a list of mappings.");
                    };
                    merged.extend(source.into_members());
                }
                continue;
            }
            let key = match event {
                Event::Scalar(text, ScalarStyle::Plain, 0, None) if text == "=" => Value::Text(Text::from("=")),
                event => self.node(event, depth + 1)?,
            };
            let key = match key {
                Value::Text(text) => Key::from(text),
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                    Key { text: Text::from(&*scalar_text(&key)), native: Some(Box::new(key)) }
                }
                other => {
                    return self.error(Code::UnparsableFile, format!("{} cannot be a key here.", other.type_name()));
                }
            };
            self.path.push_str(&format!("/{}", escape_step(&key.text)));
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if let Some(dropped) = own.insert(key, value) {
                if self.duplicates.len() == MAX_DUPLICATES {
                    return self.error(Code::TooManyDuplicates, format!("More than {MAX_DUPLICATES} keys occur twice."));
                }
                let offset = self.skipped + self.text.char_indices().nth(key_at).map_or(0, |(at, _)| at);
                self.duplicates.push(Duplicate { path: self.path.clone(), offset, dropped });
            }
            self.path.truncate(length);
        }
        let own = own.finish();
        if set {
            let member = |(key, _): (Key, Value)| key.native.map_or(Value::Text(key.text), |native| *native);
            let members = own.into_members().into_iter().map(member).collect();
            return Ok(Value::Native(NativeKind::Set, Box::new(Value::Array(members))));
        }
        if merged.is_empty() {
            return Ok(Value::Object(own));
        }
        let mut all = ObjectBuilder::default();
        for (key, value) in merged.into_iter().chain(own.into_members()) {
            all.insert(key, value);
        }
        Ok(Value::Object(all.finish()))
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Parsed<Value> {
        let tag = tag_name(tag);
        let resolved = match &tag {
            Some(name) => match name.strip_prefix(CORE) {
                Some(kind @ ("str" | "null" | "bool" | "int" | "float" | "timestamp" | "binary")) => kind,
                _ => return self.error(Code::YamlTagRefused, format!("The tag {name} is not read here.")),
            },
            None if style == ScalarStyle::Plain => resolve(text),
            None => "str",
        };
        let value = match resolved {
            "str" => {
                // The scanner ends a block scalar with a newline even where the file ends without one.
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let unended = block && self.unended.is_some_and(|length| length <= self.end);
                Some(Value::Text(Text::from(text.strip_suffix('\n').filter(|_| unended).unwrap_or(text))))
            }
            "null" => Some(Value::Null),
            "bool" => match text.to_lowercase().as_str() {
                "yes" | "true" | "on" => Some(Value::Bool(true)),
                "no" | "false" | "off" => Some(Value::Bool(false)),
                _ => None,
            },
            "int" if text.len() > MAX_INTEGER_DIGITS => {
                return self.error(Code::NumberTooLong, format!("An integer has more than {MAX_INTEGER_DIGITS} digits."));
            }
            "int" => integer(text).map(Value::Int),
            "float" => float(text).map(|value| Value::Float(Float { raw: float_repr(value), value })),
            "timestamp" => time::parse(text).map(|_| {
                let kind = if text.len() == 10 && is_date(text) { NativeKind::Date } else { NativeKind::Timestamp };
                Value::Native(kind, Box::new(Value::Text(Text::from(text))))
            }),
            "binary" => text.is_ascii().then(|| {
                let base64: String = text.split_ascii_whitespace().collect();
                Value::Native(NativeKind::Binary, Box::new(Value::Text(Text::from(&*base64))))
            }),
            // A merge or default-value mark outside a key.
            _ => None,
        };
        match value {
            Some(value) => Ok(value),
            None => self.error(Code::UnparsableFile, format!("YAML reads this scalar as {resolved}, which it is not.")),
        }
    }
}

/// The full name of a tag; `None` for none and for the non-specific `!`, which PyYAML resolves as if it were absent.
fn tag_name(tag: Option<&Tag>) -> Option<String> {
    let name = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix))?;
    (name != "!").then_some(name)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => 1 + text.as_wtf8().len() / 64,
        Value::Int(text) => 1 + text.len() / 64,
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(object) => 1 + object.iter().map(|(key, value)| 1 + key.text.as_wtf8().len() / 64 + size(value)).sum::<usize>(),
        Value::Native(_, inner) => 1 + size(inner),
        _ => 1,
    }
}

/// A scalar as Python's `json` writes it when it is a key.
fn scalar_text(value: &Value) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Int(digits) => digits.clone(),
        Value::Float(float) => float_repr(float.value),
        _ => "null".into(),
    }
}

/// The YAML 1.1 type of a plain scalar.
fn resolve(text: &str) -> &'static str {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return "null",
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE" | "on" | "On" | "ON"
        | "off" | "Off" | "OFF" => return "bool",
        "<<" => return "merge",
        "=" => return "value",
        _ => {}
    }
    if is_integer(text) {
        "int"
    } else if is_float(text) {
        "float"
    } else if is_date(text) || is_timestamp(text) {
        "timestamp"
    } else {
        "str"
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn is_integer(text: &str) -> bool {
    let body = unsigned(text);
    let digit_or_mark = |b: u8| b.is_ascii_digit() || b == b'_';
    if let Some(digits) = body.strip_prefix("0b") {
        return !digits.is_empty() && all(digits, |b| matches!(b, b'0' | b'1' | b'_'));
    }
    if let Some(digits) = body.strip_prefix("0x") {
        return !digits.is_empty() && all(digits, |b| b.is_ascii_hexdigit() || b == b'_');
    }
    match body.as_bytes() {
        [b'0', rest @ ..] => rest.iter().all(|b| matches!(b, b'0'..=b'7' | b'_')),
        [b'1'..=b'9', ..] => match body.split_once(':') {
            None => all(body, digit_or_mark),
            Some((first, parts)) => all(first, digit_or_mark) && parts.split(':').all(is_sixtieth),
        },
        _ => false,
    }
}

/// One or two digits below 60.
fn is_sixtieth(part: &str) -> bool {
    matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
}

fn is_float(text: &str) -> bool {
    let body = unsigned(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, fraction)) = body.split_once('.') else { return false };
    let digit_or_mark = |b: u8| b.is_ascii_digit() || b == b'_';
    let (digits, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (&fraction[..at], Some(&fraction[at + 1..])),
        None => (fraction, None),
    };
    let exponent_fits =
        exponent.is_none_or(|e| e.strip_prefix(['-', '+']).is_some_and(|digits| !digits.is_empty() && all(digits, |b| b.is_ascii_digit())));
    let starts_with_digit = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    if let Some((first, parts)) = whole.split_once(':') {
        return starts_with_digit(first) && all(first, digit_or_mark) && parts.split(':').all(is_sixtieth) && all(fraction, digit_or_mark);
    }
    if whole.is_empty() {
        return body.len() == text.len() && starts_with_digit(digits) && all(digits, digit_or_mark) && exponent_fits;
    }
    starts_with_digit(whole) && all(whole, digit_or_mark) && all(digits, digit_or_mark) && exponent_fits
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() })
}

/// The long timestamp form; [`time::parse`] checks the numbers.
fn is_timestamp(text: &str) -> bool {
    let mut rest = text;
    let mut take = |least: usize, most: usize, allowed: &dyn Fn(char) -> bool| {
        let count = rest.chars().take(most).take_while(|c| allowed(*c)).count();
        // Only ASCII is ever allowed, so characters are bytes.
        rest = &rest[count..];
        (count >= least).then_some(rest.is_empty())
    };
    let digit = |c: char| c.is_ascii_digit();
    let blank = |c: char| c == ' ' || c == '\t';
    let mut shape = || {
        take(4, 4, &digit)?;
        for _ in 0..2 {
            take(1, 1, &|c| c == '-')?;
            take(1, 2, &digit)?;
        }
        match take(1, 1, &|c| matches!(c, 'T' | 't')) {
            Some(_) => {}
            None => drop(take(1, usize::MAX, &blank)?),
        }
        take(1, 2, &digit)?;
        for _ in 0..2 {
            take(1, 1, &|c| c == ':')?;
            take(2, 2, &digit)?;
        }
        if take(1, 1, &|c| c == '.').is_some() {
            take(0, usize::MAX, &digit)?;
        }
        let ended = take(0, usize::MAX, &blank)?;
        if ended || take(1, 1, &|c| c == 'Z').is_some() {
            return take(0, 0, &digit);
        }
        take(1, 1, &|c| c == '-' || c == '+')?;
        let ended = take(1, 2, &digit)?;
        if !ended {
            take(1, 1, &|c| c == ':')?;
            take(2, 2, &digit)?;
        }
        take(0, 0, &digit)
    };
    shape() == Some(true)
}

/// The decimal text of a YAML 1.1 integer; `None` where Python's `int` raises.
fn integer(text: &str) -> Option<String> {
    let plain = text.replace('_', "");
    let body = unsigned(&plain);
    let mut big = Decimal::default();
    if body == "0" {
    } else if let Some(digits) = body.strip_prefix("0b") {
        big.push_digits(digits, 2)?;
    } else if let Some(digits) = body.strip_prefix("0x") {
        big.push_digits(digits, 16)?;
    } else if let Some(digits) = body.strip_prefix('0') {
        big.push_digits(digits, 8)?;
    } else {
        for (index, part) in body.split(':').enumerate() {
            if index == 0 {
                big.push_digits(part, 10)?;
            } else {
                big.push(60, part.parse().ok()?);
            }
        }
    }
    let digits = big.text();
    Some(if plain.starts_with('-') && digits != "0" { format!("-{digits}") } else { digits })
}

/// A growing natural number in limbs of nine decimal digits, least first.
#[derive(Default)]
struct Decimal(Vec<u32>);

impl Decimal {
    fn push_digits(&mut self, digits: &str, radix: u32) -> Option<()> {
        if digits.is_empty() {
            return None;
        }
        digits.chars().try_for_each(|c| {
            self.push(radix, c.to_digit(radix)?);
            Some(())
        })
    }
    /// Multiplies by `factor` and adds `digit`.
    fn push(&mut self, factor: u32, digit: u32) {
        let mut carry = digit as u64;
        for limb in &mut self.0 {
            let product = *limb as u64 * factor as u64 + carry;
            *limb = (product % 1_000_000_000) as u32;
            carry = product / 1_000_000_000;
        }
        while carry > 0 {
            self.0.push((carry % 1_000_000_000) as u32);
            carry /= 1_000_000_000;
        }
    }
    fn text(&self) -> String {
        match self.0.split_last() {
            None => "0".into(),
            Some((top, rest)) => rest.iter().rev().fold(top.to_string(), |text, limb| text + &format!("{limb:09}")),
        }
    }
}

fn float(text: &str) -> Option<f64> {
    let plain = text.replace('_', "").to_lowercase();
    let body = unsigned(&plain);
    let sign = if plain.starts_with('-') { -1.0 } else { 1.0 };
    let magnitude = match body {
        ".inf" => f64::INFINITY,
        ".nan" => return Some(f64::NAN),
        _ if body.contains(':') => {
            let mut value = 0.0;
            let mut base = 1.0;
            for part in body.split(':').rev() {
                value += part.parse::<f64>().ok()? * base;
                base *= 60.0;
            }
            value
        }
        _ => body.parse::<f64>().ok()?,
    };
    Some(sign * magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::state_text;

    fn text(yaml: &str) -> String {
        parse(yaml.as_bytes()).map_or_else(|e| e.code.to_string(), |d| state_text(&d.value).unwrap_or_else(|e| e.to_string()))
    }

    #[test]
    fn merges_duplicates_and_aliases() {
        assert_eq!(text("b: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}"), r#"{"b":{"x":1,"y":2},"c":{"x":1,"y":3}}"#);
        assert_eq!(text("c: {<<: [{x: 1}, {x: 2, z: 3}]}"), r#"{"c":{"x":1,"z":3}}"#);
        let document = parse(b"a: {k: 1, k: 2}").expect("valid");
        assert_eq!((document.duplicates[0].path.as_str(), document.duplicates[0].offset), ("/a/k", 10));
        assert_eq!(text("a: &a [*a]"), "unparsable_file");
        assert_eq!(text("a: |\n  x"), r#"{"a":"x"}"#);
        assert_eq!(text("a: |\n  x\nb: 'y'"), r#"{"a":"x\n","b":"y"}"#);
        assert_eq!(text("a: 'x\ty' #\t"), r#"{"a":"x\ty"}"#);
        assert_eq!(text("a:\t1"), "unparsable_file");
        assert_eq!(text("a: !!python/tuple [1]"), "yaml_tag_refused");
        assert_eq!(text("a: !x 1"), "yaml_tag_refused");
        assert_eq!(text("a: \u{1}"), "unparsable_file");
    }

    #[test]
    fn alias_bombs_and_deep_nesting_are_refused() {
        let mut bomb = String::from("a0: &a0 [x]\n");
        for level in 1..40 {
            bomb += &format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1);
        }
        assert_eq!(text(&bomb), "alias_bomb");
        assert_eq!(text(&"[".repeat(MAX_DEPTH + 10)), "too_deep");
        assert_eq!(text(&"[".repeat(100_000)), "unparsable_file", "the scanner has a limit of its own");
        assert_eq!(text(&"- ".repeat(100_000)), "too_deep");
    }
}
