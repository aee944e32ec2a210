//! Chat turns as JSON Lines: `speaker|role`, `text|content`, `timestamp?`,
//! `session?`, `id?`, `ns?`; every other key becomes metadata.
//!
//! A namespace is a conversation: it gets an agent of its own, whose timeline
//! the turns are. Record ids are keyed tags of (namespace, id), so the same
//! turn has the same id in every run, and nobody without the key can guess it.

use super::intake::{Earlier, Intake, unreadable};
use super::{ImportReport, Progress};
use crate::commit::{Item, Speaker};
use crate::engine::Tenant;
use crate::identities::{Identities, Identity, NewIdentity};
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::canon::Value as Field;
use mirrordna_core::identity::IdentityType;
use mirrordna_core::memory::{self, Content, NewMemory, Tier};
use mirrordna_core::session::{self, NewSession};
use mirrordna_core::verify::json::{Json, Value};
use mirrordna_core::{Code, Error, Kind, Result, id, limits, time};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Lines read before they are committed.
const BATCH: usize = 400;
/// Number of this format in `import.open`.
const FORMAT: u64 = 1;

/// One turn, read and checked.
struct Turn {
    line: u64,
    ns: String,
    session: Option<String>,
    tag: [u8; 16],
    new: NewMemory,
    repaired: bool,
}

struct Run<'a> {
    intake: Intake<'a>,
    stem: String,
    /// Per conversation: its agent and the id of its user.
    pairs: HashMap<String, (Identity, String)>,
    sessions: HashSet<[u8; 16]>,
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let intake = Intake::new(tenant, file, FORMAT, report)?;
    let bytes = intake.bytes;
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut run = Run { intake, stem, pairs: HashMap::new(), sessions: HashSet::new() };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(|e| unreadable(file, e))?);
    let (mut line, mut done, mut batch) = (0u64, 0u64, Vec::with_capacity(BATCH));
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let read = read_line(&mut reader, &mut raw).map_err(|e| unreadable(file, e))?;
        if read == 0 {
            break;
        }
        line += 1;
        done += read;
        if let Some(turn) = run.read(line, &raw, read)? {
            batch.push(turn);
        }
        if batch.len() >= BATCH {
            run.commit(std::mem::take(&mut batch))?;
            progress(done, bytes);
        }
    }
    run.commit(batch)?;
    progress(bytes, bytes);
    run.intake.finish()
}

/// Reads a line of at most [`limits::IMPORT_LINE`] bytes; of a longer one the
/// rest is passed over. Returns the bytes consumed.
fn read_line(reader: &mut impl BufRead, out: &mut Vec<u8>) -> std::io::Result<u64> {
    let mut read = reader.by_ref().take(limits::IMPORT_LINE as u64 + 1).read_until(b'\n', out)? as u64;
    if out.last() != Some(&b'\n') && out.len() > limits::IMPORT_LINE {
        let mut rest = Vec::new();
        loop {
            rest.clear();
            let n = reader.by_ref().take(1 << 16).read_until(b'\n', &mut rest)?;
            read += n as u64;
            if n == 0 || rest.last() == Some(&b'\n') {
                break;
            }
        }
    }
    Ok(read)
}

impl Run<'_> {
    /// Reads one line; `None` for an empty or refused one.
    fn read(&mut self, line: u64, raw: &[u8], read: u64) -> Result<Option<Turn>> {
        if raw.len() > limits::IMPORT_LINE {
            self.intake.refuse(line, "line_too_long", format!("the line has {read} bytes, the limit is {}", limits::IMPORT_LINE));
            return Ok(None);
        }
        let Ok(text) = std::str::from_utf8(raw) else {
            self.intake.refuse(line, "not_utf8", "the line is not UTF-8".to_owned());
            return Ok(None);
        };
        let text = if line == 1 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        if text.trim().is_empty() {
            return Ok(None);
        }
        match Json::parse(text) {
            Err(e) => self.intake.refuse(line, "malformed_json", e.to_string()),
            Ok(json) => match self.turn(line, &json) {
                Ok((turn, repairs)) => {
                    if repairs.is_empty() {
                        self.intake.kept += 1;
                        self.intake.report.assumed_utc += u64::from(turn.new.assumed_utc);
                    } else {
                        self.intake.repaired += 1;
                    }
                    for (reason, message) in repairs {
                        self.intake.note(line, reason, message);
                    }
                    return Ok(Some(turn));
                }
                Err(e) if matches!(e.code(), Code::KeyMissing | Code::Bug) => return Err(e),
                Err(e) => {
                    let reason = if e.code() == Code::LimitExceeded { "too_long" } else { "invalid_turn" };
                    self.intake.refuse(line, reason, e.message().to_owned());
                }
            },
        }
        Ok(None)
    }

    fn turn(&self, line: u64, json: &Json<'_>) -> Result<(Turn, Vec<(&'static str, String)>)> {
        let invalid = |why: &str| Error::new(Code::InputInvalid, why.to_owned());
        let Value::Object(members) = &json.value else { return Err(invalid("the line is no JSON object")) };
        let mut repairs = Vec::new();
        let get = |key: &str| json.get(key).filter(|v| v.value != Value::Null);
        let named = |key: &str| get(key).map(|v| v.str().unwrap_or(v.raw).to_owned()).filter(|s| !s.is_empty());
        let text = ["text", "content"].into_iter().find_map(get).ok_or_else(|| invalid("has neither text nor content"))?;
        let text = text.str().ok_or_else(|| invalid("its text is no string"))?;
        if text.is_empty() {
            return Err(invalid("its text is empty"));
        }
        if text.len() > limits::PAYLOAD {
            return Err(Error::new(Code::LimitExceeded, format!("its text has {} bytes, the limit is {}", text.len(), limits::PAYLOAD)));
        }
        let (speaker, role) = (named("speaker"), named("role"));
        if speaker.is_none() && role.is_none() {
            repairs.push(("no_speaker", "has neither speaker nor role; kept without".to_owned()));
        }
        let mut used = HashSet::from(["text", "content", "speaker", "role", "session", "id", "ns", "timestamp"]);
        let (occurred_at, assumed_utc) = match get("timestamp").map(read_time) {
            None => (None, false),
            Some(Ok(parsed)) => (Some(parsed.ms), parsed.assumed_utc),
            Some(Err(e)) => {
                // The text stays, in the metadata.
                used.remove("timestamp");
                repairs.push(("bad_timestamp", e.message().to_owned()));
                (None, false)
            }
        };
        let rest: Vec<String> = members
            .iter()
            .filter(|(k, v)| !used.contains(&**k) && v.value != Value::Null)
            .map(|(k, v)| format!("{}:{}", serde_json::Value::from(&**k), v.raw))
            .collect();
        let ns = named("ns").unwrap_or_else(|| self.stem.clone());
        let source_id = named("id");
        let tag = match &source_id {
            Some(id) => self.intake.tenant.log.once_tag(&["chat", &ns, id])?,
            None => self.intake.tenant.log.once_tag(&["chat-line", &self.stem, &line.to_string()])?,
        };
        let by_assistant = role.as_deref().is_some_and(|r| matches!(r, "assistant" | "system" | "tool"));
        let person = speaker.clone().filter(|_| !by_assistant).unwrap_or_else(|| "user".to_owned());
        let new = NewMemory {
            content: Content::Text(text.to_owned()),
            tier: Tier::Episodic,
            session: None,
            // The same name in two conversations is not the same person.
            subject: Some(match named("ns") {
                Some(ns) => format!("{ns}/{person}"),
                None => person,
            }),
            speaker: speaker.or_else(|| role.clone()),
            role,
            user: None,
            tags: Vec::new(),
            metadata: (!rest.is_empty()).then(|| format!("{{{}}}", rest.join(","))),
            occurred_at,
            assumed_utc,
            source_id,
            source_ns: Some(ns.clone()),
        };
        // Whatever is too long or malformed is found here, before the batch.
        new.clone().into_body("mem_check")?;
        Ok((Turn { line, ns, session: named("session"), tag, new, repaired: !repairs.is_empty() }, repairs))
    }

    /// Commits the turns that are not there yet, in one atomic append.
    fn commit(&mut self, turns: Vec<Turn>) -> Result<()> {
        let turns = self.unknown(turns)?;
        if turns.is_empty() {
            return Ok(());
        }
        let Tenant { inner, log } = self.intake.tenant;
        let mut items = Vec::with_capacity(turns.len() + 16);
        if let Some(open) = self.intake.open()? {
            items.push(open);
        }
        for mut turn in turns {
            let (agent, user) = self.pair(&turn.ns, &mut items)?;
            let speaker = Speaker::Epoch(inner.epoch(log, &agent.digest)?);
            turn.new.user = Some(user.clone());
            if let Some(name) = &turn.session {
                let tag = log.once_tag(&["chat-session", &turn.ns, name])?;
                let session = format!("{}_{}", session::PREFIX, id::encode(&tag));
                if self.sessions.insert(tag) {
                    let new = NewSession {
                        user: Some(user),
                        subject: turn.new.subject.clone(),
                        started_at: turn.new.occurred_at,
                        source_id: Some(name.clone()),
                        source_ns: Some(turn.ns.clone()),
                        ..NewSession::default()
                    };
                    let mut body = new.into_body(&session)?;
                    body.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
                    let draft = inner.draft(log, &agent.digest, Kind::RECORD_PUT, &body)?;
                    items.push(Item { actor: agent.digest, speaker: speaker.clone(), draft, once: Some(tag) });
                }
                turn.new.session = Some(session);
            }
            let mut body = turn.new.into_body(&format!("{}_{}", memory::PREFIX, id::encode(&turn.tag)))?;
            body.set(field::DEDUPE, Field::Bytes(turn.tag.to_vec()));
            let draft = inner.draft(log, &agent.digest, Kind::RECORD_PUT, &body)?;
            items.push(Item { actor: agent.digest, speaker, draft, once: Some(turn.tag) });
        }
        self.intake.append(items, false)
    }

    /// Drops turns that an earlier run, or an earlier line, brought already;
    /// refuses those whose id is taken by other content.
    fn unknown(&mut self, turns: Vec<Turn>) -> Result<Vec<Turn>> {
        let wanted: Vec<([u8; 16], &[u8])> = turns.iter().map(|t| (t.tag, t.new.content.as_bytes())).collect();
        let earlier = self.intake.earlier(&wanted)?;
        let mut fresh = Vec::with_capacity(turns.len());
        for (turn, earlier) in turns.into_iter().zip(earlier) {
            if matches!(earlier, Earlier::Other | Earlier::Erased) {
                let counted = if turn.repaired { &mut self.intake.repaired } else { &mut self.intake.kept };
                *counted = counted.saturating_sub(1);
            }
            if self.intake.admit(turn.line, &earlier) {
                fresh.push(turn);
            }
        }
        Ok(fresh)
    }

    /// The agent and the user of a conversation, made at its first turn. The
    /// agent has keys; the user is somebody the file speaks of, and is asserted.
    fn pair(&mut self, ns: &str, items: &mut Vec<Item>) -> Result<(Identity, String)> {
        if let Some(pair) = self.pairs.get(ns) {
            return Ok(pair.clone());
        }
        let Tenant { inner, log } = self.intake.tenant;
        let identities = Identities { tenant: self.intake.tenant.clone() };
        let tag = log.once_tag(&["chat-agent", ns])?;
        let agent = match identities.by_once(&tag)? {
            Some(agent) => agent,
            None => {
                let new = NewIdentity { name: Some(ns.to_owned()), source_ns: Some(ns.to_owned()), ..NewIdentity::default() };
                self.intake.events += 2;
                identities.create_once(IdentityType::Agent, &new, Some(tag))?
            }
        };
        let tag = log.once_tag(&["chat-user", ns])?;
        let user: String = tag.iter().map(|b| format!("{b:02x}")).collect();
        let user = format!("mdna_usr_{user}");
        let profile = Body::new(schema::PROFILE, &user)
            .with(field::SUBJECT, Some(user.as_str()))
            .with(field::DEDUPE, Some(Field::Bytes(tag.to_vec())))
            .with(field::SOURCE_NS, Some(ns))
            .with(field::CONTROL, Some(1))
            .with(6, Some(IdentityType::User.name()));
        let draft = inner.draft(log, &agent.digest, Kind::RECORD_PUT, &profile)?;
        let speaker = Speaker::Epoch(inner.epoch(log, &agent.digest)?);
        items.push(Item { actor: agent.digest, speaker, draft, once: Some(tag) });
        self.pairs.insert(ns.to_owned(), (agent.clone(), user.clone()));
        Ok((agent, user))
    }
}

/// A time as text, or as a number of seconds or milliseconds since 1970.
fn read_time(value: &Json<'_>) -> Result<time::Parsed> {
    if let Some(text) = value.str() {
        return time::parse(text);
    }
    let number: f64 = value.raw.parse().unwrap_or(f64::NAN);
    // Seconds reach 1e11 in the year 5138; milliseconds did in 1973.
    let ms = if number.abs() < 1e11 { number * 1000.0 } else { number };
    if ms.is_finite() && ms.abs() < 1e15 {
        return Ok(time::Parsed { ms: ms as i64, assumed_utc: false });
    }
    Err(Error::new(Code::InputInvalid, format!("'{}' is not a time", value.raw.chars().take(40).collect::<String>())))
}
