//! `conversations.json` of a ChatGPT export: one JSON array of conversations,
//! each a tree of nodes, most of them with a message.
//!
//! One agent and one user stand for all conversations of a tenant; use a tenant
//! per account. A conversation is a session: the messages from its root to
//! `current_node`. Every other branch of the tree is a session of its own whose
//! parent is the session it forked from, so nothing that was said is lost. A
//! message with a text is a memory with that text; anything else (images, tool
//! results, an empty system message) is kept as the JSON it is.
//!
//! The file is read as a stream and one conversation is held at a time. A
//! conversation that is damaged is refused as a whole: a tree with a hole says
//! nothing reliable about who answered what.

use super::intake::{Intake, unreadable};
use super::turns::{Opening, Turn, Turns, read_time, session_id};
use super::{ImportReport, Progress};
use crate::engine::Tenant;
use mirrordna_core::memory::{Content, NewMemory, Tier};
use mirrordna_core::session::NewSession;
use mirrordna_core::verify::json::{Json, Value};
use mirrordna_core::{Code, Error, Result, limits};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Number of this format in `import.open`.
const FORMAT: u64 = 3;
/// The one conversation partner.
const NS: &str = "chatgpt";
/// How much of a file is looked at to recognise it.
const SNIFF: u64 = 64 << 10;

/// Whether a file looks like an array of conversations with a `mapping` each.
pub(super) fn is_export(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|f| f.take(SNIFF).read_to_end(&mut start));
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    read.is_ok() && start.first() == Some(&b'[') && start.windows(9).any(|w| w == b"\"mapping\"")
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let intake = Intake::new(tenant, file, FORMAT, report)?;
    let bytes = intake.bytes;
    let mut turns = Turns::new(intake);
    let reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(|e| unreadable(file, e))?);
    let mut elements = Elements { reader, at: 0, number: 0, state: Where::Start };
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let (number, start) = (elements.number + 1, elements.at);
        let refused = match elements.next(&mut raw).map_err(|e| unreadable(file, e))? {
            Element::End => break,
            Element::Whole => conversation(&mut turns, number, &raw)?,
            Element::Refused(reason, why) => Some((reason, why.to_owned())),
        };
        if let Some((reason, why)) = refused {
            turns.intake.refuse(number, reason, format!("conversation {number}, from byte {start} on: {why}"));
        }
        progress(elements.at, bytes);
    }
    turns.finish()
}

/// Where in the array a reader is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    /// Before its bracket.
    Start,
    /// Before an element, or the end of an empty array.
    First,
    /// Before an element, after a comma.
    Next,
    /// After the closing bracket.
    After,
    /// Nothing more is read.
    Done,
}

/// What was found where an element belongs.
#[derive(Debug, PartialEq)]
enum Element {
    Whole,
    Refused(&'static str, &'static str),
    End,
}

/// Cuts an array into its elements without reading what is in them.
struct Elements<R> {
    reader: R,
    at: u64,
    /// Elements so far.
    number: u64,
    state: Where,
}

impl<R: BufRead> Elements<R> {
    fn next(&mut self, out: &mut Vec<u8>) -> std::io::Result<Element> {
        if self.state == Where::Start {
            let mut first = self.byte_after_space()?;
            if first == Some(0xef) {
                // A byte order mark.
                let rest = [self.byte()?, self.byte()?];
                first = if rest == [Some(0xbb), Some(0xbf)] { self.byte_after_space()? } else { None };
            }
            if first != Some(b'[') {
                self.state = Where::Done;
                return Ok(Element::Refused("not_an_array", "the file is no JSON array of conversations"));
            }
            self.state = Where::First;
        }
        match self.state {
            Where::First | Where::Next => self.element(out),
            Where::After => {
                self.state = Where::Done;
                match self.byte_after_space()? {
                    None => Ok(Element::End),
                    Some(_) => Ok(Element::Refused("text_after_end", "something follows the array; it was not read")),
                }
            }
            Where::Start | Where::Done => Ok(Element::End),
        }
    }

    fn byte(&mut self) -> std::io::Result<Option<u8>> {
        let byte = self.reader.fill_buf()?.first().copied();
        if byte.is_some() {
            self.reader.consume(1);
            self.at += 1;
        }
        Ok(byte)
    }

    fn byte_after_space(&mut self) -> std::io::Result<Option<u8>> {
        loop {
            match self.byte()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => {}
                other => return Ok(other),
            }
        }
    }

    /// Everything up to the comma or bracket that ends an element; of a too
    /// long one nothing is kept, but its end is found.
    fn element(&mut self, out: &mut Vec<u8>) -> std::io::Result<Element> {
        let (mut depth, mut string, mut escaped, mut length) = (0u64, false, false, 0usize);
        let end = 'find: loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                break None;
            }
            let mut used = 0;
            for &byte in buffer {
                used += 1;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if string => escaped = true,
                    b'"' => string = !string,
                    _ if string => {}
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth > 0 => depth -= 1,
                    b',' | b']' if depth == 0 => {
                        take(out, &buffer[..used - 1], &mut length);
                        self.reader.consume(used);
                        self.at += used as u64;
                        break 'find Some(byte);
                    }
                    _ => {}
                }
            }
            take(out, buffer, &mut length);
            self.reader.consume(used);
            self.at += used as u64;
        };
        let empty = out.trim_ascii().is_empty() && length <= limits::IMPORT_CONVERSATION;
        let first = self.state == Where::First;
        self.state = match end {
            Some(b',') => Where::Next,
            Some(_) => Where::After,
            None => Where::Done,
        };
        if empty && first && end == Some(b']') {
            return self.next(out);
        }
        self.number += 1;
        Ok(match end {
            _ if length > limits::IMPORT_CONVERSATION => Element::Refused("too_long", "the conversation is beyond the limit of 32 MiB"),
            None => Element::Refused("truncated", "the file ends in the middle of the array"),
            Some(_) if empty => Element::Refused("malformed_json", "a conversation is missing between commas"),
            Some(_) => Element::Whole,
        })
    }
}

fn take(out: &mut Vec<u8>, bytes: &[u8], length: &mut usize) {
    *length += bytes.len();
    if *length <= limits::IMPORT_CONVERSATION {
        out.extend_from_slice(bytes);
    } else {
        out.clear();
    }
}

/// Why a conversation or message was refused: stable reason and sentence.
type Refusal = (&'static str, String);

fn text_of<'j>(json: &'j Json<'_>, key: &str) -> Option<&'j str> {
    json.get(key).and_then(Json::str).filter(|s| !s.is_empty())
}

/// A node of the tree.
struct Node<'j> {
    id: &'j str,
    parent: Option<usize>,
    message: Option<&'j Json<'j>>,
    has_children: bool,
}

/// Reads the tree of a conversation and checks that it is one.
fn nodes<'j>(mapping: &'j [(std::borrow::Cow<'j, str>, Json<'j>)]) -> Result<Vec<Node<'j>>, Refusal> {
    let index: HashMap<&str, usize> = mapping.iter().enumerate().map(|(i, (id, _))| (&**id, i)).collect();
    let mut nodes = Vec::with_capacity(mapping.len());
    let mut messages = HashSet::new();
    for (id, node) in mapping {
        if !matches!(node.value, Value::Object(_)) {
            return Err(("invalid_node", format!("node '{id}' is no object")));
        }
        let parent = match node.get("parent").map(|p| &p.value) {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => match index.get(&**name) {
                Some(parent) => Some(*parent),
                None => return Err(("missing_parent", format!("node '{id}' names the parent '{name}', which is not there"))),
            },
            Some(_) => return Err(("invalid_node", format!("the parent of node '{id}' is no string"))),
        };
        let message = match node.get("message") {
            None => None,
            Some(m) if m.value == Value::Null => None,
            Some(m) if matches!(m.value, Value::Object(_)) => Some(m),
            Some(_) => return Err(("invalid_node", format!("the message of node '{id}' is no object"))),
        };
        if let Some(name) = message.and_then(|m| text_of(m, "id"))
            && !messages.insert(name)
        {
            return Err(("duplicate_id", format!("two messages have the id '{name}'")));
        }
        nodes.push(Node { id, parent, message, has_children: false });
    }
    // Each walk to a root stops where an earlier one went.
    let mut seen = vec![0; nodes.len()];
    for start in 0..nodes.len() {
        let mut at = Some(start);
        while let Some(i) = at {
            if seen[i] == start + 1 {
                return Err(("cycle", format!("node '{}' is its own ancestor", nodes[i].id)));
            }
            if seen[i] != 0 {
                break;
            }
            seen[i] = start + 1;
            at = nodes[i].parent;
        }
        if let Some(parent) = nodes[start].parent {
            nodes[parent].has_children = true;
        }
    }
    Ok(nodes)
}

/// Takes one conversation; returns why it was refused, where it was.
fn conversation(turns: &mut Turns<'_>, number: u64, raw: &[u8]) -> Result<Option<Refusal>> {
    let refuse = |reason, why: String| Ok(Some((reason, why)));
    let Ok(text) = std::str::from_utf8(raw) else { return refuse("not_utf8", "it is not UTF-8".to_owned()) };
    let json = match Json::parse(text.trim()) {
        Ok(json) => json,
        Err(e) => return refuse("malformed_json", e.to_string()),
    };
    let Value::Object(members) = &json.value else { return refuse("invalid_conversation", "it is no JSON object".to_owned()) };
    let Some(name) = text_of(&json, "conversation_id").or_else(|| text_of(&json, "id")) else {
        return refuse("no_id", "it has neither conversation_id nor id".to_owned());
    };
    let Some(Value::Object(mapping)) = json.get("mapping").map(|m| &m.value) else {
        return refuse("no_mapping", format!("'{name}' has no mapping of nodes"));
    };
    let nodes = match nodes(mapping) {
        Ok(nodes) => nodes,
        Err(refusal) => return Ok(Some(refusal)),
    };
    let last_leaf = || nodes.iter().rposition(|n| !n.has_children);
    let current = match json.get("current_node").map(|c| &c.value) {
        None | Some(Value::Null) => last_leaf(),
        Some(Value::String(id)) => match nodes.iter().position(|n| n.id == &**id) {
            Some(found) => Some(found),
            None => return refuse("missing_node", format!("its current node '{id}' is not there")),
        },
        Some(_) => return refuse("invalid_conversation", "its current_node is no string".to_owned()),
    };
    let rest: Vec<String> = members
        .iter()
        .filter(|(k, v)| !matches!(&**k, "mapping" | "conversation_id" | "id" | "create_time") && v.value != Value::Null)
        .map(|(k, v)| format!("{}:{}", serde_json::Value::from(&**k), v.raw))
        .collect();
    let metadata = format!("{{{}}}", rest.join(","));
    let fits = metadata.len() <= limits::INLINE;
    if !fits {
        turns.intake.note(
            number,
            "metadata_too_long",
            format!("what is said of '{name}' has {} bytes; only its title is kept", metadata.len()),
        );
    }
    let title =
        || text_of(&json, "title").filter(|t| t.len() <= limits::NAME).map(|t| format!("{{\"title\":{}}}", serde_json::Value::from(t)));
    let metadata = if fits { (!rest.is_empty()).then_some(metadata) } else { title() };
    let started = json.get("create_time").filter(|t| t.value != Value::Null).and_then(|t| read_time(t).ok()).map(|t| t.ms);

    // The current branch first, then the others in the order of the file;
    // each node belongs to the first branch that reaches it.
    let leaves = (0..nodes.len()).filter(|i| !nodes[*i].has_children && Some(*i) != current);
    let mut owner: Vec<Option<[u8; 16]>> = vec![None; nodes.len()];
    // Sessions that are there: one opens with its first message.
    let mut spoken: HashSet<[u8; 16]> = HashSet::new();
    let mut main = None;
    for leaf in current.into_iter().chain(leaves) {
        let mut path = Vec::new();
        let mut at = Some(leaf);
        while let Some(i) = at.filter(|i| owner[*i].is_none()) {
            path.push(i);
            at = nodes[i].parent;
        }
        let Some(first) = path.last().copied() else { continue };
        // A branch is named by the node that left the conversation: that name
        // stays when the branch grows.
        let log = &turns.intake.tenant.log;
        let (tag, source_id, parent) = match main {
            None => (log.once_tag(&["chatgpt-session", name])?, name.to_owned(), None),
            Some(main) => {
                let id = nodes[first].id;
                let from = at.and_then(|i| owner[i]).unwrap_or(main);
                let parent = spoken.contains(&from).then(|| session_id(&from));
                (log.once_tag(&["chatgpt-session", name, id])?, format!("{name}#{id}"), parent)
            }
        };
        main = main.or(Some(tag));
        for i in path.into_iter().rev() {
            owner[i] = Some(tag);
            let Some(message) = nodes[i].message else { continue };
            let session = NewSession {
                subject: Some(format!("{NS}/user")),
                parent: parent.clone(),
                metadata: metadata.clone(),
                started_at: started,
                source_id: Some(source_id.clone()),
                source_ns: Some(NS.to_owned()),
                ..NewSession::default()
            };
            if turn(turns, number, name, &nodes, i, message, Opening { tag, new: session })? {
                spoken.insert(tag);
            }
        }
    }
    Ok(None)
}

/// Takes one message; whether it was not refused.
fn turn(
    turns: &mut Turns<'_>,
    number: u64,
    name: &str,
    nodes: &[Node<'_>],
    at: usize,
    message: &Json<'_>,
    session: Opening,
) -> Result<bool> {
    let node = &nodes[at];
    let id = text_of(message, "id").unwrap_or(node.id);
    let tag = turns.intake.tenant.log.once_tag(&["chatgpt", name, id])?;
    let mut repairs: Vec<Refusal> = Vec::new();
    match read(message, id, node, node.parent.map(|p| nodes[p].id), &mut repairs) {
        Ok(new) => {
            for (reason, why) in &repairs {
                turns.intake.note(number, reason, format!("conversation '{name}', message '{id}': {why}"));
            }
            let repaired = !repairs.is_empty();
            *(if repaired { &mut turns.intake.repaired } else { &mut turns.intake.kept }) += 1;
            turns.push(Turn { line: number, ns: NS.to_owned(), session: Some(session), tag, new, repaired })?;
            Ok(true)
        }
        Err(e) if matches!(e.code(), Code::KeyMissing | Code::Bug) => Err(e),
        Err(e) => {
            let reason = if e.code() == Code::LimitExceeded { "too_long" } else { "invalid_message" };
            turns.intake.refuse(number, reason, format!("conversation '{name}', message '{id}': {}", e.message()));
            Ok(false)
        }
    }
}

fn read(message: &Json<'_>, id: &str, node: &Node<'_>, parent: Option<&str>, repairs: &mut Vec<Refusal>) -> Result<NewMemory> {
    let invalid = |why: &str| Error::new(Code::InputInvalid, why.to_owned());
    let Value::Object(members) = &message.value else { return Err(invalid("is no object")) };
    let author = message.get("author").ok_or_else(|| invalid("has no author"))?;
    let role = text_of(author, "role").ok_or_else(|| invalid("its author has no role"))?.to_owned();
    let content = message.get("content").ok_or_else(|| invalid("has no content"))?;
    let Value::Object(fields) = &content.value else { return Err(invalid("its content is no object")) };
    let parts = content.get("parts").and_then(Json::items).unwrap_or_default();
    let texts: Option<Vec<&str>> = parts.iter().map(Json::str).collect();
    let joined = texts.map(|t| t.join("\n")).filter(|t| !t.is_empty());
    let text = joined.or_else(|| text_of(content, "text").filter(|_| parts.is_empty()).map(str::to_owned));
    let mut used = HashSet::from(["id", "content", "create_time"]);
    let occurred_at = match message.get("create_time").filter(|t| t.value != Value::Null).map(read_time) {
        None => None,
        Some(Ok(parsed)) => Some(parsed.ms),
        Some(Err(e)) => {
            // The text stays, in the metadata.
            used.remove("create_time");
            repairs.push(("bad_timestamp", e.message().to_owned()));
            None
        }
    };
    let quoted = |key: &str, raw: &str| format!("{}:{raw}", serde_json::Value::from(key));
    let mut rest: Vec<String> =
        members.iter().filter(|(k, v)| !used.contains(&**k) && v.value != Value::Null).map(|(k, v)| quoted(k, v.raw)).collect();
    let content = match text {
        Some(text) => {
            let said: Vec<String> =
                fields.iter().filter(|(k, _)| !matches!(&**k, "parts" | "text")).map(|(k, v)| quoted(k, v.raw)).collect();
            rest.push(format!("\"content\":{{{}}}", said.join(",")));
            Content::Text(text)
        }
        None => Content::Json(content.raw.to_owned()),
    };
    if content.as_bytes().len() > limits::PAYLOAD {
        let length = content.as_bytes().len();
        return Err(Error::new(Code::LimitExceeded, format!("its content has {length} bytes, the limit is {}", limits::PAYLOAD)));
    }
    // The message's own place in the tree.
    let mut place = vec![quoted("id", &serde_json::Value::from(node.id).to_string())];
    place.extend(parent.map(|p| quoted("parent", &serde_json::Value::from(p).to_string())));
    if message.get("node").is_none() {
        rest.push(format!("\"node\":{{{}}}", place.join(",")));
    }
    let mut metadata = format!("{{{}}}", rest.join(","));
    // Content and metadata share one body with the names.
    let room = (limits::BODY - 8 * limits::NAME - content.as_bytes().len().min(limits::INLINE)).min(limits::INLINE);
    if metadata.len() > room {
        repairs.push((
            "metadata_too_long",
            format!("its metadata has {} bytes, there is room for {room}; only its place is kept", metadata.len()),
        ));
        metadata = format!("{{\"node\":{{{}}}}}", place.join(","));
    }
    let new = NewMemory {
        content,
        tier: Tier::Episodic,
        subject: Some(format!("{NS}/user")),
        speaker: Some(text_of(author, "name").unwrap_or(&role).to_owned()),
        role: Some(role),
        metadata: Some(metadata),
        occurred_at,
        source_id: Some(id.to_owned()),
        source_ns: Some(NS.to_owned()),
        ..NewMemory::default()
    };
    // Whatever is malformed is found here, before the batch.
    new.clone().into_body("mem_check")?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cut(text: &[u8], buffer: usize) -> Vec<String> {
        let mut elements = Elements { reader: BufReader::with_capacity(buffer, text), at: 0, number: 0, state: Where::Start };
        let (mut out, mut raw) = (Vec::new(), Vec::new());
        loop {
            raw.clear();
            match elements.next(&mut raw).unwrap() {
                Element::End => return out,
                Element::Whole => out.push(String::from_utf8_lossy(&raw).trim().to_owned()),
                Element::Refused(reason, _) => out.push(format!("!{reason}")),
            }
        }
    }

    #[test]
    fn an_array_is_cut_at_its_own_commas() {
        for (text, expected) in [
            ("[]", &[][..]),
            (" [ ] \n", &[]),
            ("[1,[2,3],{\"a\":[4,5]}]", &["1", "[2,3]", "{\"a\":[4,5]}"]),
            (r#"["a]\",[\\", "}"]"#, &[r#""a]\",[\\""#, "\"}\""]),
            ("\u{feff}[7]", &["7"]),
            ("[1,,2]", &["1", "!malformed_json", "2"]),
            ("[1,]", &["1", "!malformed_json"]),
            ("[1,{\"a\":", &["1", "!truncated"]),
            ("[1,", &["1", "!truncated"]),
            ("[", &["!truncated"]),
            ("", &["!not_an_array"]),
            ("{\"mapping\":1}", &["!not_an_array"]),
            ("[1] x", &["1", "!text_after_end"]),
            ("[1}]", &["1}"]),
        ] {
            for buffer in [1, 3, 64] {
                assert_eq!(cut(text.as_bytes(), buffer), expected, "{text}");
            }
        }
        // What begins as a byte order mark and is none hides nothing.
        assert_eq!(cut(b"\xef[\"]\n", 64), ["!not_an_array"]);
    }
}
