//! The value tree shared by the JSON and YAML readers, and the words for what was found wrong.
//!
//! Owns: text with lone surrogates, integers of any size, floats with their source text, ordered objects, repair and
//! refusal codes. Never: interprets a record, or formats JSON (see [`crate::json`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use crate::MAX_REPAIRS;

macro_rules! codes {
    ($($name:ident = $text:literal, $doc:literal;)*) => {
        /// Machine-readable name of a repair, a note or a refusal. The texts are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $doc] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
            /// The stable snake_case text.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    TruncatedFile = "truncated_file", "The file ends before its content does.";
    UnparsableFile = "unparsable_file", "The file breaks the grammar of its format.";
    EmptyFile = "empty_file", "The file holds nothing at all.";
    NotUtf8 = "not_utf8", "The file holds bytes that are not UTF-8.";
    FileTooLarge = "file_too_large", "Over [`crate::MAX_FILE_BYTES`].";
    TooDeep = "too_deep", "Over [`crate::MAX_DEPTH`].";
    NumberTooLong = "number_too_long", "Over [`crate::MAX_INTEGER_DIGITS`].";
    TooManyDuplicates = "too_many_duplicates", "Over [`crate::MAX_DUPLICATES`].";
    AliasBomb = "alias_bomb", "YAML aliases copy more than [`crate::MAX_ALIAS_NODES`].";
    YamlTagRefused = "yaml_tag_refused", "A YAML tag that a safe loader does not construct.";
    UnknownFile = "unknown_file", "Not a file of upstream's that this module knows.";
    PrivateKeyMaterial = "private_key_material", "The file holds private keys and is never imported.";
    NotAnObject = "not_an_object", "A record or a file that should be an object is not.";
    MissingField = "missing_field", "A required field is absent.";
    UnknownField = "unknown_field", "A field the schema does not list.";
    WrongType = "wrong_type", "A field of another type than the schema says.";
    PatternMismatch = "pattern_mismatch", "A text that does not have the required form.";
    NotInEnum = "not_in_enum", "A text outside the allowed set.";
    TooShort = "too_short", "A text or list below its minimum length.";
    OutOfRange = "out_of_range", "A number outside its range.";
    ChecksumMismatch = "checksum_mismatch", "The stored checksum differs from the computed one.";
    ChecksumUncomputable = "checksum_uncomputable", "Upstream's checksum is not defined for this content.";
    ChecksumUnverified = "checksum_unverified", "There is no checksum to verify, or none this module computes.";
    EventChecksumDiffers = "event_checksum_differs", "An event's checksum is not its payload's state checksum.";
    SupersededByDuplicateKey = "superseded_by_duplicate_key", "A later member with the same key replaced this record.";
    SalvagedFromTruncatedFile = "salvaged_from_truncated_file", "A complete record found before the damage in a file.";
    ByteOrderMark = "byte_order_mark", "The file starts with a UTF-8 byte order mark.";
    DuplicateKey = "duplicate_key", "A key occurs twice in an object; the last one won.";
    NonFiniteNumber = "non_finite_number", "NaN or an infinity, replaced by null.";
    LoneSurrogate = "lone_surrogate", "A lone surrogate, replaced by U+FFFD.";
    YamlNativeValue = "yaml_native_value", "A YAML timestamp, date, binary or set, replaced by its JSON form.";
    NonTextKey = "non_text_key", "An object key that was not a text, replaced by its text.";
    KeyCollision = "key_collision", "Two keys became equal and one was marked with U+FFFD.";
    PrivateKeyRemoved = "private_key_removed", "A private key stood inside a record and was removed.";
    IdTakenFromKey = "id_taken_from_key", "The record has no id field; its key in the file is used.";
    IdDiffersFromKey = "id_differs_from_key", "The id field differs from the record's key, which is used.";
    DuplicateId = "duplicate_id", "An earlier record in the file has the same id.";
    EventCountWrong = "event_count_wrong", "event_count is not the number of events.";
    TimelineListForm = "timeline_list_form", "The timeline is a bare list without a header.";
    OutOfOrder = "out_of_order", "An event is earlier than one before it.";
    LineageCycle = "lineage_cycle", "The session is its own ancestor.";
    UnknownParent = "unknown_parent", "The parent session is not in the file.";
    TimestampWithoutZone = "timestamp_without_zone", "A time without a zone, read as UTC.";
    TimestampOddForm = "timestamp_odd_form", "A readable time in a form neither SDK writes.";
    EventGap = "event_gap", "The event numbered one lower is not in the file.";
    MoreRepairs = "more_repairs", "Over [`crate::MAX_REPAIRS`]; the rest are not listed.";
    TimestampUnreadable = "timestamp_unreadable", "A text in a time field that is no time.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What differs between the file and the record that was made of it, or what the reader should know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What kind of repair or note.
    pub code: Code,
    /// JSON Pointer (RFC 6901) inside the record, or inside the file for notes on a file.
    pub path: String,
    /// One sentence for a person.
    pub sentence: String,
    /// The original text, where something was replaced or dropped.
    pub original: Option<String>,
}

impl Repair {
    /// A repair without an original text.
    pub fn new(code: Code, path: impl Into<String>, sentence: impl Into<String>) -> Repair {
        Repair { code, path: path.into(), sentence: sentence.into(), original: None }
    }
    fn with(mut self, original: impl Into<String>) -> Repair {
        self.original = Some(original.into());
        self
    }
}

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What kind of refusal.
    pub code: Code,
    /// JSON Pointer inside the record, or inside the file where the file could not be read.
    pub path: String,
    /// One sentence for a person.
    pub sentence: String,
    /// Byte offset in the file, where the file could not be read.
    pub offset: Option<usize>,
}

impl Reason {
    /// A reason without an offset.
    pub fn new(code: Code, path: impl Into<String>, sentence: impl Into<String>) -> Reason {
        Reason { code, path: path.into(), sentence: sentence.into(), offset: None }
    }
}

/// A file that cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence} (byte {offset})")]
pub struct ParseError {
    /// What kind of damage.
    pub code: Code,
    /// Byte offset of the damage.
    pub offset: usize,
    /// JSON Pointer of the innermost place that was open.
    pub path: String,
    /// One sentence for a person.
    pub sentence: String,
}

/// A member that a later one with the same key replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Duplicate {
    /// JSON Pointer of the member.
    pub path: String,
    /// Byte offset of the later key.
    pub offset: usize,
    /// The value that lost.
    pub dropped: Value,
}

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// The root value.
    pub value: Value,
    /// Whether the file starts with a UTF-8 byte order mark.
    pub byte_order_mark: bool,
    /// Members that lost against a later one, in file order.
    pub duplicates: Vec<Duplicate>,
}

/// A string of Unicode code points that may hold lone surrogates, kept as WTF-8. Orders by code point.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// The text, unless it holds a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
    /// The bytes: UTF-8, with lone surrogates as three bytes each.
    pub fn as_wtf8(&self) -> &[u8] {
        &self.0
    }
    /// The text with U+FFFD for each lone surrogate.
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        match self.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => self.code_points().map(|c| char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER)).collect(),
        }
    }
    /// The code points, surrogates included.
    pub fn code_points(&self) -> impl Iterator<Item = u32> + '_ {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&first, tail) = rest.split_first()?;
            let (bits, extra) = match first {
                0..0x80 => (first as u32, 0),
                0x80..0xe0 => ((first & 0x1f) as u32, 1),
                0xe0..0xf0 => ((first & 0x0f) as u32, 2),
                _ => ((first & 0x07) as u32, 3),
            };
            let (more, tail) = tail.split_at(tail.len().min(extra));
            rest = tail;
            Some(more.iter().fold(bits, |bits, &b| bits << 6 | (b & 0x3f) as u32))
        })
    }
    pub(crate) fn push_str(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
    pub(crate) fn push_code_point(&mut self, code: u32) {
        match char::from_u32(code) {
            Some(c) => self.0.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {
                self.0.extend_from_slice(&[0xe0 | (code >> 12) as u8 & 0x0f, 0x80 | (code >> 6) as u8 & 0x3f, 0x80 | code as u8 & 0x3f])
            }
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}

/// What Python's and JavaScript's JSON, and YAML 1.1, can express.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of any size as canonical decimal text.
    Int(String),
    /// A number with a fraction or an exponent, or NaN and the infinities.
    Float(Float),
    /// A string.
    Text(Text),
    /// A list.
    Array(Vec<Value>),
    /// A mapping in the order of the file.
    Object(Object),
    /// A YAML value that JSON lacks.
    Native(NativeKind, Box<Value>),
}

/// A binary64 number and the text it was written as.
#[derive(Debug, Clone, PartialEq)]
pub struct Float {
    /// The source text; valid JSON unless the value is not finite.
    pub raw: String,
    /// The value.
    pub value: f64,
}

/// Which YAML value stands behind [`Value::Native`]; the boxed value is its JSON stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeKind {
    /// A date and time; stands for its source text.
    Timestamp,
    /// A date; stands for its source text.
    Date,
    /// Bytes; stands for their base64 text.
    Binary,
    /// A set; stands for the list of its members.
    Set,
}

impl Value {
    /// The string, if it is one without lone surrogates.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => text.as_str(),
            _ => None,
        }
    }
    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }
    /// Python's name of the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
            Value::Native(NativeKind::Timestamp, _) => "a YAML timestamp",
            Value::Native(NativeKind::Date, _) => "a YAML date",
            Value::Native(NativeKind::Binary, _) => "YAML binary",
            Value::Native(NativeKind::Set, _) => "a YAML set",
        }
    }
    /// Replaces YAML values that JSON lacks by their stand-ins.
    pub fn replace_natives(&mut self, path: &mut String, repairs: &mut Vec<Repair>) {
        self.walk(path, &mut |value, path| {
            let name = value.type_name();
            if let Value::Native(_, inner) = value {
                let sentence = format!("JSON has no form for {name}; it was replaced by its text.");
                list(repairs, || Repair::new(Code::YamlNativeValue, path, sentence));
                *value = std::mem::take(inner);
            }
        });
    }
    /// Removes private keys at any depth.
    pub fn remove_private_keys(&mut self, path: &mut String, repairs: &mut Vec<Repair>) {
        self.walk(path, &mut |value, path| {
            if let Value::Object(object) = value {
                object.members.retain(|(key, _)| {
                    let secret = is_private_key_name(&key.text);
                    if secret {
                        let path = format!("{path}/{}", escape_step(&key.text));
                        list(repairs, || Repair::new(Code::PrivateKeyRemoved, path, "A private key stood here and was removed."));
                    }
                    !secret
                });
            }
        });
    }
    /// Makes the value expressible in strict JSON and reports each replacement.
    pub fn make_representable(&mut self, path: &mut String, repairs: &mut Vec<Repair>) {
        self.replace_natives(path, repairs);
        self.walk(path, &mut |value, path| match value {
            Value::Float(float) if !float.value.is_finite() => {
                let sentence = "JSON has no NaN and no infinities; the number was replaced by null.";
                list(repairs, || Repair::new(Code::NonFiniteNumber, path, sentence).with(float.raw.clone()));
                *value = Value::Null;
            }
            Value::Text(text) if text.as_str().is_none() => {
                list(repairs, || lone_surrogate(text, path));
                *text = Text::from(&*text.to_str_lossy());
            }
            Value::Object(object) if object.members.iter().any(|(key, _)| !key.is_plain()) => {
                let mut builder = ObjectBuilder::default();
                for (mut key, member) in std::mem::take(&mut object.members) {
                    let path = format!("{path}/{}", escape_step(&key.text));
                    if let Some(native) = key.native.take() {
                        let sentence = format!("The key was {}; JSON keys are strings.", native.type_name());
                        list(repairs, || Repair::new(Code::NonTextKey, &path, sentence));
                    }
                    if key.text.as_str().is_none() {
                        list(repairs, || lone_surrogate(&key.text, &path));
                        key.text = Text::from(&*key.text.to_str_lossy());
                    }
                    while builder.contains(&key) {
                        list(repairs, || Repair::new(Code::KeyCollision, &path, "Another member has the same key as a string."));
                        key.text.push_code_point(0xfffd);
                    }
                    builder.insert(key, member);
                }
                *object = builder.finish();
            }
            _ => {}
        });
    }
    /// Visits a value before its children, which the visitor may have replaced.
    fn walk(&mut self, path: &mut String, visit: &mut dyn FnMut(&mut Value, &str)) {
        visit(self, path);
        let length = path.len();
        match self {
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push_str(&format!("/{index}"));
                    item.walk(path, visit);
                    path.truncate(length);
                }
            }
            Value::Object(object) => {
                for (key, member) in &mut object.members {
                    path.push('/');
                    path.push_str(&escape_step(&key.text));
                    member.walk(path, visit);
                    path.truncate(length);
                }
            }
            Value::Native(_, inner) => inner.walk(path, visit),
            _ => {}
        }
    }
}

/// Adds a repair, or says once that there are too many to list.
fn list(repairs: &mut Vec<Repair>, make: impl FnOnce() -> Repair) {
    match repairs.len() {
        0..MAX_REPAIRS => repairs.push(make()),
        MAX_REPAIRS => repairs.push(Repair::new(Code::MoreRepairs, "", "More repairs were made than are listed here.")),
        _ => {}
    }
}

fn lone_surrogate(text: &Text, path: &str) -> Repair {
    let escaped: String = text.code_points().map(|c| char::from_u32(c).map_or_else(|| format!("\\u{c:04x}"), String::from)).collect();
    Repair::new(Code::LoneSurrogate, path, "A lone surrogate is not Unicode text; it was replaced by U+FFFD.").with(escaped)
}

/// Whether upstream gives this name to a private key inside a record.
pub fn is_private_key_name(name: &Text) -> bool {
    matches!(name.as_str(), Some("_private_key" | "_privateKey" | "private_key" | "privateKey"))
}

/// One step of a JSON Pointer. A very long key is cut and its length in bytes added, as paths are kept for each repair.
pub fn escape_step(key: &Text) -> String {
    let text = key.to_str_lossy();
    let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
    if text.len() <= LONGEST_STEP {
        return escaped(&text);
    }
    let start: String = text.chars().take(LONGEST_STEP / 4).collect();
    format!("{}...({})", escaped(&start), text.len())
}

const LONGEST_STEP: usize = 256;

/// A key of an object: a text, or in YAML also a scalar of another type.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key as JSON writes it.
    pub text: Text,
    /// The scalar it was, if not a text: null, a boolean, an integer or a float.
    pub native: Option<Box<Value>>,
}

impl Key {
    fn is_plain(&self) -> bool {
        self.native.is_none() && self.text.as_str().is_some()
    }
    /// Equal for keys that are one key in a Python dict, where 1, 1.0 and True are.
    fn identity(&self) -> (u8, Cow<'_, [u8]>) {
        match self.native.as_deref() {
            None => (0, Cow::Borrowed(&self.text.0)),
            Some(Value::Bool(b)) => (1, Cow::Borrowed(if *b { b"1" } else { b"0" })),
            Some(Value::Float(f)) if f.value.fract() == 0.0 && f.value.abs() < 9e15 => {
                (1, Cow::Owned((f.value as i64).to_string().into_bytes()))
            }
            Some(Value::Null) => (2, Cow::Borrowed(b"")),
            Some(_) => (1, Cow::Borrowed(&self.text.0)),
        }
    }
}

impl From<Text> for Key {
    fn from(text: Text) -> Key {
        Key { text, native: None }
    }
}

/// An object in the order of the file, each key once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    members: Vec<(Key, Value)>,
}

impl Object {
    /// The member with this string key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.members.iter().find(|(k, _)| k.native.is_none() && k.text.0 == key.as_bytes());
        found.map(|(_, value)| value)
    }
    /// Removes and returns the member with this string key.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.members.iter().position(|(k, _)| k.native.is_none() && k.text.0 == key.as_bytes())?;
        Some(self.members.remove(at).1)
    }
    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.members.iter().map(|(key, value)| (key, value))
    }
    /// The number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
    pub(crate) fn into_members(self) -> Vec<(Key, Value)> {
        self.members
    }
}

impl FromIterator<(Text, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(members: I) -> Object {
        let mut builder = ObjectBuilder::default();
        members.into_iter().for_each(|(key, value)| drop(builder.insert(key.into(), value)));
        builder.finish()
    }
}

/// Builds an object as both SDKs do: the last of equal keys wins and keeps the place of the first.
#[derive(Default)]
pub(crate) struct ObjectBuilder {
    object: Object,
    /// Filled once a linear search would be slow.
    index: HashMap<(u8, Vec<u8>), usize>,
}

impl ObjectBuilder {
    const LINEAR: usize = 16;

    fn find(&self, key: &Key) -> Option<usize> {
        let (class, bytes) = key.identity();
        if self.index.is_empty() {
            self.object.members.iter().position(|(k, _)| k.identity() == (class, Cow::Borrowed(&*bytes)))
        } else {
            self.index.get(&(class, bytes.into_owned())).copied()
        }
    }
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.find(key).is_some()
    }
    /// Returns the value that lost.
    pub(crate) fn insert(&mut self, key: Key, value: Value) -> Option<Value> {
        if let Some(at) = self.find(&key) {
            return Some(std::mem::replace(&mut self.object.members[at].1, value));
        }
        self.object.members.push((key, value));
        let indexed = if self.index.is_empty() { 0 } else { self.object.len() - 1 };
        if self.object.len() > Self::LINEAR {
            for (at, (key, _)) in self.object.members.iter().enumerate().skip(indexed) {
                let (class, bytes) = key.identity();
                self.index.insert((class, bytes.into_owned()), at);
            }
        }
        None
    }
    pub(crate) fn finish(self) -> Object {
        self.object
    }
}
