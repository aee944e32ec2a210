//! Chat turns as JSON Lines: `speaker|role`, `text|content`, `timestamp?`,
//! `session?`, `id?`, `ns?`; every other key becomes metadata.
//!
//! A namespace is a conversation: it gets an agent of its own, whose timeline
//! the turns are. Record ids are keyed tags of (namespace, id), so the same
//! turn has the same id in every run, and nobody without the key can guess it.

use super::{ImportReport, Progress};
use crate::commit::{Item, Job, Speaker};
use crate::engine::Tenant;
use crate::identities::{Identities, Identity, NewIdentity};
use crate::log::Epoch;
use crate::view::Content as Stored;
use mirrordna_core::body::field;
use mirrordna_core::canon::Value as Field;
use mirrordna_core::identity::IdentityType;
use mirrordna_core::memory::{self, Content, NewMemory, Tier};
use mirrordna_core::session::{self, NewSession};
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::json::{Json, Value};
use mirrordna_core::{Code, Error, Hash, Kind, Result, id, limits, time};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

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
}

struct Run<'a> {
    tenant: &'a Tenant,
    file: &'a Path,
    stem: String,
    source: Hash,
    bytes: u64,
    report: &'a mut ImportReport,
    agents: HashMap<String, Identity>,
    sessions: HashSet<[u8; 16]>,
    opened: Option<Hash>,
    kept: u64,
    repaired: u64,
    refused: u64,
    events: u64,
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let unreadable = |e: std::io::Error| Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e);
    let (digest, bytes) = digest(file).map_err(unreadable)?;
    let source = tenant.log.tag_key()?.tag("mdna.v1.import", &[&digest]);
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut run = Run {
        tenant,
        file,
        stem,
        source,
        bytes,
        report,
        agents: HashMap::new(),
        sessions: HashSet::new(),
        opened: None,
        kept: 0,
        repaired: 0,
        refused: 0,
        events: 0,
    };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(unreadable)?);
    let (mut line, mut done, mut batch) = (0u64, 0u64, Vec::with_capacity(BATCH));
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let read = read_line(&mut reader, &mut raw).map_err(unreadable)?;
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
    run.finish()
}

/// SHA-256 and length of a file.
fn digest(file: &Path) -> std::io::Result<(Hash, u64)> {
    let (mut file, mut state, mut buffer, mut length) = (File::open(file)?, Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((state.finalize().into(), length)),
            n => {
                state.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
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
    fn refuse(&mut self, line: u64, reason: &'static str, message: String) {
        self.refused += 1;
        self.report.note(self.file, line, reason, message);
    }

    /// Reads one line; `None` for an empty or refused one.
    fn read(&mut self, line: u64, raw: &[u8], read: u64) -> Result<Option<Turn>> {
        if raw.len() > limits::IMPORT_LINE {
            self.refuse(line, "line_too_long", format!("the line has {read} bytes, the limit is {}", limits::IMPORT_LINE));
            return Ok(None);
        }
        let Ok(text) = std::str::from_utf8(raw) else {
            self.refuse(line, "not_utf8", "the line is not UTF-8".to_owned());
            return Ok(None);
        };
        let text = if line == 1 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        if text.trim().is_empty() {
            return Ok(None);
        }
        match Json::parse(text) {
            Err(e) => self.refuse(line, "malformed_json", e.to_string()),
            Ok(json) => match self.turn(line, &json) {
                Ok((turn, repairs)) => {
                    if repairs.is_empty() {
                        self.kept += 1;
                        self.report.assumed_utc += u64::from(turn.new.assumed_utc);
                    } else {
                        self.repaired += 1;
                    }
                    for (reason, message) in repairs {
                        self.report.note(self.file, line, reason, message);
                    }
                    return Ok(Some(turn));
                }
                Err(e) if matches!(e.code(), Code::KeyMissing | Code::Bug) => return Err(e),
                Err(e) => {
                    let reason = if e.code() == Code::LimitExceeded { "too_long" } else { "invalid_turn" };
                    self.refuse(line, reason, e.message().to_owned());
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
            Some(id) => self.tenant.log.once_tag(&["chat", &ns, id])?,
            None => self.tenant.log.once_tag(&["chat-line", &self.stem, &line.to_string()])?,
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
        Ok((Turn { line, ns, session: named("session"), tag, new }, repairs))
    }

    /// Commits the turns that are not there yet, in one atomic append.
    fn commit(&mut self, turns: Vec<Turn>) -> Result<()> {
        let turns = self.unknown(turns)?;
        if turns.is_empty() {
            return Ok(());
        }
        let Tenant { inner, log } = self.tenant;
        let mut items = Vec::with_capacity(turns.len() + 16);
        if let Some(open) = self.open()? {
            items.push(open);
        }
        for mut turn in turns {
            let agent = self.agent(&turn.ns)?;
            let speaker = Speaker::Epoch(inner.epoch(log, &agent.digest)?);
            if let Some(name) = &turn.session {
                let tag = log.once_tag(&["chat-session", &turn.ns, name])?;
                let session = format!("{}_{}", session::PREFIX, id::encode(&tag));
                if self.sessions.insert(tag) {
                    let new = NewSession {
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
        self.append(items, false)
    }

    /// Appends and counts, with the `epoch.open` events this brings about.
    fn append(&mut self, items: Vec<Item>, checkpoint: bool) -> Result<()> {
        let mut opening: Vec<Arc<Epoch>> = Vec::new();
        for item in &items {
            if let Speaker::Epoch(epoch) = &item.speaker
                && epoch.opened().is_none()
                && !opening.iter().any(|e| Arc::ptr_eq(e, epoch))
            {
                opening.push(epoch.clone());
            }
        }
        let job = Job { log: self.tenant.log.clone(), items, checkpoint };
        let placed = self.tenant.inner.committer.append(job)?;
        self.events += placed.iter().filter(|p| !p.existed).count() as u64;
        self.events += opening.iter().filter(|e| e.opened().is_some()).count() as u64;
        Ok(())
    }

    /// Drops turns that an earlier run, or an earlier line, brought already;
    /// refuses those whose id is taken by other content.
    fn unknown(&mut self, turns: Vec<Turn>) -> Result<Vec<Turn>> {
        let known: Vec<Option<String>> = self.tenant.view(|view, tx| {
            turns
                .iter()
                .map(|turn| {
                    let Some(earlier) = view.once(&turn.tag) else { return Ok(None) };
                    let event = view.event(tx, &self.tenant.log, earlier.index)?;
                    Ok(Some(match event.map(|e| e.content) {
                        Some(Stored::Private(body)) => body.payload_text().unwrap_or_default().to_owned(),
                        _ => String::new(),
                    }))
                })
                .collect()
        })?;
        let mut fresh: Vec<Turn> = Vec::new();
        let mut here: HashMap<[u8; 16], usize> = HashMap::new();
        for (turn, known) in turns.into_iter().zip(known) {
            let text = match &turn.new.content {
                Content::Text(t) | Content::Json(t) => t.as_str(),
            };
            let earlier = known.or_else(|| {
                here.get(&turn.tag).map(|at| match &fresh[*at].new.content {
                    Content::Text(t) | Content::Json(t) => t.clone(),
                })
            });
            match earlier {
                None => {
                    here.insert(turn.tag, fresh.len());
                    fresh.push(turn);
                }
                Some(earlier) if earlier == text => {}
                Some(earlier) => {
                    self.kept = self.kept.saturating_sub(1);
                    let (reason, why) = match earlier.is_empty() {
                        true => ("erased", "was imported before and its content was erased"),
                        false => ("id_conflict", "its id was imported before with other content"),
                    };
                    self.refuse(turn.line, reason, why.to_owned());
                }
            }
        }
        Ok(fresh)
    }

    /// The agent of a conversation, created at its first turn.
    fn agent(&mut self, ns: &str) -> Result<Identity> {
        if let Some(agent) = self.agents.get(ns) {
            return Ok(agent.clone());
        }
        let identities = Identities { tenant: self.tenant.clone() };
        let tag = self.tenant.log.once_tag(&["chat-agent", ns])?;
        let agent = match identities.by_once(&tag)? {
            Some(agent) => agent,
            None => {
                let new = NewIdentity { name: Some(ns.to_owned()), source_ns: Some(ns.to_owned()), ..NewIdentity::default() };
                self.events += 2;
                identities.create_once(IdentityType::Agent, &new, Some(tag))?
            }
        };
        self.agents.insert(ns.to_owned(), agent.clone());
        Ok(agent)
    }

    fn system_item(&self, body: &PublicBody<'_>) -> Result<Item> {
        let Tenant { inner, log } = self.tenant;
        let speaker = Speaker::Epoch(inner.epoch(log, &log.system)?);
        Ok(Item { actor: log.system, speaker, draft: Draft::public(body), once: None })
    }

    /// The event that says an import began; once per run.
    fn open(&mut self) -> Result<Option<Item>> {
        if self.opened.replace(self.source).is_some() {
            return Ok(None);
        }
        self.system_item(&PublicBody::ImportOpen { source: self.source, bytes: self.bytes, format: FORMAT }).map(Some)
    }

    /// The event that says it ended, if this run appended anything or an
    /// earlier run did and was stopped.
    fn finish(mut self) -> Result<()> {
        let source = self.source;
        let pending = self.tenant.view(|view, _| Ok(view.import_pending(&source)))?;
        if self.opened.is_some() || pending {
            let body = PublicBody::Import { source, kept: self.kept, repaired: self.repaired, refused: self.refused, events: self.events };
            let item = self.system_item(&body)?;
            self.append(vec![item], true)?;
        }
        self.report.kept += self.kept;
        self.report.repaired += self.repaired;
        self.report.refused += self.refused;
        self.report.events += self.events;
        Ok(())
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
