//! Chat turns as JSON Lines: `speaker|role`, `text|content`, `timestamp?`,
//! `session?`, `id?`, `ns?`; every other key becomes metadata.
//!
//! A namespace is a conversation: it gets an agent of its own, whose timeline
//! the turns are. Record ids are keyed tags of (namespace, id), so the same
//! turn has the same id in every run, and nobody without the key can guess it.

use super::intake::{Intake, unreadable};
use super::turns::{Opening, Turn, Turns, read_time};
use super::{ImportReport, Progress};
use crate::engine::Tenant;
use mirrordna_core::memory::{Content, NewMemory, Tier};
use mirrordna_core::session::NewSession;
use mirrordna_core::verify::json::{Json, Value};
use mirrordna_core::{Code, Error, Result, limits};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Number of this format in `import.open`.
const FORMAT: u64 = 1;

struct Run<'a> {
    turns: Turns<'a>,
    stem: String,
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let intake = Intake::new(tenant, file, FORMAT, report)?;
    let bytes = intake.bytes;
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mut run = Run { turns: Turns::new(intake), stem };
    let mut reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(|e| unreadable(file, e))?);
    let (mut line, mut done) = (0u64, 0u64);
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let read = read_line(&mut reader, &mut raw).map_err(|e| unreadable(file, e))?;
        if read == 0 {
            break;
        }
        line += 1;
        done += read;
        if let Some(turn) = run.read(line, &raw, read)?
            && run.turns.push(turn)?
        {
            progress(done, bytes);
        }
    }
    progress(bytes, bytes);
    run.turns.finish()
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
            self.turns.intake.refuse(line, "line_too_long", format!("the line has {read} bytes, the limit is {}", limits::IMPORT_LINE));
            return Ok(None);
        }
        let Ok(text) = std::str::from_utf8(raw) else {
            self.turns.intake.refuse(line, "not_utf8", "the line is not UTF-8".to_owned());
            return Ok(None);
        };
        let text = if line == 1 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        if text.trim().is_empty() {
            return Ok(None);
        }
        match Json::parse(text) {
            Err(e) => self.turns.intake.refuse(line, "malformed_json", e.to_string()),
            Ok(json) => match self.turn(line, &json) {
                Ok((turn, repairs)) => {
                    if repairs.is_empty() {
                        self.turns.intake.kept += 1;
                        self.turns.intake.report.assumed_utc += u64::from(turn.new.assumed_utc);
                    } else {
                        self.turns.intake.repaired += 1;
                    }
                    for (reason, message) in repairs {
                        self.turns.intake.note(line, reason, message);
                    }
                    return Ok(Some(turn));
                }
                Err(e) if matches!(e.code(), Code::KeyMissing | Code::Bug) => return Err(e),
                Err(e) => {
                    let reason = if e.code() == Code::LimitExceeded { "too_long" } else { "invalid_turn" };
                    self.turns.intake.refuse(line, reason, e.message().to_owned());
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
            Some(id) => self.turns.intake.tenant.log.once_tag(&["chat", &ns, id])?,
            None => self.turns.intake.tenant.log.once_tag(&["chat-line", &self.stem, &line.to_string()])?,
        };
        let by_assistant = role.as_deref().is_some_and(|r| matches!(r, "assistant" | "system" | "tool"));
        let person = speaker.clone().filter(|_| !by_assistant).unwrap_or_else(|| "user".to_owned());
        let source_ns = named("ns");
        // The same name in two conversations is not the same person.
        let subject = match &source_ns {
            Some(ns) => format!("{ns}/{person}"),
            None => person,
        };
        let session = named("session").map(|name| -> Result<Opening> {
            let tag = self.turns.intake.tenant.log.once_tag(&["chat-session", &ns, &name])?;
            let new = NewSession {
                subject: Some(subject.clone()),
                started_at: occurred_at,
                source_id: Some(name),
                source_ns: Some(ns.clone()),
                ..NewSession::default()
            };
            Ok(Opening { tag, new })
        });
        let session = session.transpose()?;
        let new = NewMemory {
            content: Content::Text(text.to_owned()),
            tier: Tier::Episodic,
            session: None,
            subject: Some(subject),
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
        Ok((Turn { line, ns, session, tag, new, repaired: !repairs.is_empty() }, repairs))
    }
}
