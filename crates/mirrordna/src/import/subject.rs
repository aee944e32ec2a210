//! Exports of a subject (`erasure::access`): records keep their ids, and say
//! of whom they were. They are the system actor's events here; when and by whom
//! they were written elsewhere is what the file claims.
//!
//! A file comes from anybody. What is taken is data about somebody: memories,
//! sessions, profiles, documents, application events. Whatever states something
//! of the log it was in is refused, and so is what would be read here as said by
//! an agent that has a key here, or in a session that was held here.

use super::intake::{Intake, unreadable};
use super::{ImportReport, Progress};
use crate::commit::Item;
use crate::engine::Tenant;
use crate::erasure::access::{ERASED, MAGIC};
use crate::log::Log;
use crate::view::View;
use mirrordna_core::body::{Body, Media, Payload, field, schema};
use mirrordna_core::canon::Value as Field;
use mirrordna_core::verify::note::from_base64;
use mirrordna_core::{Code, Error, Kind, Result, id, limits};
use mirrordna_storage::ReadTx;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Number of this format in `import.open`.
const FORMAT: u64 = 5;
/// Longest line, bytes: a payload in base64 and what stands around it.
const LINE: u64 = (limits::PAYLOAD as u64) * 2;
/// Records that are committed together.
const BATCH: usize = 200;

/// The first line.
#[derive(Deserialize)]
struct Head {
    log: String,
}

/// A line, as far as it is needed.
#[derive(Deserialize)]
struct Line {
    hash: String,
    kind: String,
    actor: String,
    media: Option<MediaName>,
    text: Option<String>,
    payload: Option<String>,
    body: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum MediaName {
    Number(u16),
    Name(String),
}

/// What came with this file.
#[derive(Default)]
struct Seen {
    /// Records, their schemas by their ids, which all schemas share: what
    /// changes another one is not taken. Ids without a schema are those that
    /// records had elsewhere, by which they are found too.
    records: HashMap<String, Option<u64>>,
    /// Events that were not taken, and why: what repeats one is not there.
    refused: HashMap<[u8; 16], (&'static str, &'static str)>,
}

struct Incoming {
    line: u64,
    tag: [u8; 16],
    kind: Kind,
    body: Body,
}

/// Type of an event.
const TYPE: u64 = 6;
/// Types of events by which the engine says something of its own log.
const ENGINES: [&str; 5] = ["log.adopted", "identity.revoked", "tool.requested", "tool.completed", "evidence"];

/// Whether records and events of a schema are data about somebody, which can be
/// taken along. The others say something of the log that they are in: that a
/// call was made or evidence stated there, that something was held, kept or
/// consented to there, what its state was. Nobody here has said so.
const fn is_data(of: u64) -> bool {
    matches!(of, schema::PROFILE..=schema::EVENT | schema::CITATION..=schema::OTHER)
}

/// Whether a file begins as an export of a subject does.
pub(super) fn is_export(path: &Path) -> bool {
    let mut begins = [0; MAGIC.len()];
    File::open(path).and_then(|mut f| f.read_exact(&mut begins)).is_ok() && begins == *MAGIC.as_bytes()
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let mut intake = Intake::new(tenant, file, FORMAT, report)?;
    let mut reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(|e| unreadable(file, e))?);
    let (mut number, mut done, mut text) = (0, 0, String::new());
    let mut head: Option<Head> = None;
    let mut batch = Vec::new();
    let mut seen = Seen::default();
    loop {
        text.clear();
        let read = reader.by_ref().take(LINE).read_line(&mut text).map_err(|e| unreadable(file, e))?;
        if read == 0 {
            break;
        }
        number += 1;
        done += read as u64;
        match &head {
            None => {
                let first =
                    serde_json::from_str(&text).map_err(|e| Error::new(Code::ImportFormat, "is no export of a subject").caused_by(e));
                head = Some(first?);
            }
            // Where it was erased, it is not here to be taken.
            Some(_) if text.starts_with(ERASED) => {}
            Some(head) => match incoming(tenant, head, number, &text) {
                Ok(incoming) => batch.push(incoming),
                Err(e) if matches!(e.code(), Code::KeyMissing | Code::Bug) => return Err(e),
                Err(e) => {
                    let reason = match e.code() {
                        Code::ImportRefused => "not_imported",
                        Code::AlreadyExists => "agent_conflict",
                        _ => "invalid_record",
                    };
                    intake.refuse(number, reason, e.message().to_owned());
                }
            },
        }
        if batch.len() == BATCH {
            commit(&mut intake, std::mem::take(&mut batch), &mut seen)?;
            progress(done, intake.bytes);
        }
    }
    commit(&mut intake, batch, &mut seen)?;
    progress(intake.bytes, intake.bytes);
    intake.finish()
}

fn incoming(tenant: &Tenant, head: &Head, line: u64, text: &str) -> Result<Incoming> {
    let invalid = |why: &str| Error::new(Code::InputInvalid, why.to_owned());
    let read: Line = serde_json::from_str(text).map_err(|e| invalid("the line is no event of an export").caused_by(e))?;
    let kind = match read.kind.as_str() {
        "record.put" => Kind::RECORD_PUT,
        "record.patch" => Kind::RECORD_PATCH,
        "record.archive" => Kind::RECORD_ARCHIVE,
        "event" => Kind::EVENT,
        _ => return Err(invalid("its kind is none that is imported")),
    };
    let plain = from_base64(&read.body).ok_or_else(|| invalid("its body is no base64"))?;
    let mut body = Body::decode_padded(&plain).map_err(|e| invalid("its body is malformed").caused_by(e))?;
    let named = [field::ID, field::SUBJECT, field::SESSION, field::AGENT, field::USER];
    if body.id().is_empty()
        || named.iter().any(|n| body.text(*n).is_some_and(|t| t.len() > limits::NAME || t.chars().any(char::is_control)))
    {
        return Err(invalid("a name in its body is empty or too long"));
    }
    if !is_data(body.schema) {
        let of = schema::name(body.schema).map_or_else(|| format!("of the unknown schema {}", body.schema), |name| format!("a {name}"));
        return Err(Error::new(Code::ImportRefused, format!("it is {of}: what that says holds only where it was said")));
    }
    if kind == Kind::EVENT && body.text(TYPE).is_some_and(|of| ENGINES.contains(&of)) {
        return Err(Error::new(Code::ImportRefused, "it is an event that the engine alone states, of its own log"));
    }
    if (kind == Kind::EVENT) != (body.schema == schema::EVENT) || body.payload.is_some() || body.get(field::PARTS).is_some() {
        return Err(invalid("its body is none that is imported"));
    }
    let bytes = match (read.text, read.payload) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(encoded)) => Some(from_base64(&encoded).ok_or_else(|| invalid("its payload is no base64"))?),
        (None, None) => None,
        _ => return Err(invalid("it has two payloads")),
    };
    body.payload = match (read.media, bytes) {
        (Some(MediaName::Number(number)), Some(bytes)) => Some(Payload { media: Media::Registered(number), bytes }),
        (Some(MediaName::Name(name)), Some(bytes)) => Some(Payload { media: Media::Named(name), bytes }),
        (None, None) => None,
        _ => return Err(invalid("it has a payload without a media type, or the reverse")),
    };
    if body.schema == schema::PROFILE {
        // Its key is not here: somebody asserts that it exists.
        body.set(field::CONTROL, 1.into());
    } else if body.text(field::AGENT).is_none() && id::check(&read.actor, "mdna").is_ok() {
        body.set(field::AGENT, read.actor.as_str().into());
    }
    if let Some(agent) = body.text(field::AGENT)
        && tenant.view(|view, tx| view.actor_named(tx, &tenant.log, agent))?.is_some_and(|actor| !actor.is_asserted())
    {
        let message = "its agent has a key here, and a chain of its own: a file puts no words into its mouth";
        return Err(Error::new(Code::AlreadyExists, message));
    }
    let tag = tenant.log.once_tag(&["subject export", &head.log, &read.hash])?;
    body.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
    // What is too long is found here, before the batch.
    match body.is_large() {
        true => drop(body.clone().take_payload()?),
        false => drop(body.encode_padded()?),
    }
    Ok(Incoming { line, tag, kind, body })
}

/// Whether a session was held here: one that was imported is what files say.
fn is_lived(view: &View, tx: &dyn ReadTx, log: &Log, session: &str) -> Result<bool> {
    let first = match view.history(tx, log, session) {
        Err(e) if e.code() == Code::Erased => return Ok(true),
        found => found?.into_iter().next(),
    };
    let event = first.map(|leaf| view.bare_event(tx, log, leaf)).transpose()?.flatten();
    Ok(event.is_some_and(|e| e.header.actor != log.at(e.index).0.system))
}

/// Appends what is not there yet, in one atomic commit.
fn commit(intake: &mut Intake<'_>, batch: Vec<Incoming>, seen: &mut Seen) -> Result<()> {
    let wanted: Vec<([u8; 16], &[u8])> = batch.iter().map(|i| (i.tag, super::intake::original(&i.body))).collect();
    let earlier = intake.earlier(&wanted)?;
    let mut items: Vec<Item> = Vec::new();
    for (incoming, earlier) in batch.into_iter().zip(earlier) {
        if let Some((reason, why)) = seen.refused.get(&incoming.tag) {
            intake.refuse(incoming.line, reason, (*why).to_owned());
            continue;
        }
        let refused = intake.refused;
        let fresh = intake.admit(incoming.line, &earlier);
        if intake.refused > refused {
            continue;
        }
        let (id, schema) = (incoming.body.id().to_owned(), incoming.body.schema);
        let own = seen.records.get(&id);
        if fresh
            && let Some(session) = incoming.body.text(field::SESSION)
            && seen.records.get(session) != Some(&Some(schema::SESSION))
            && intake.tenant.view(|view, tx| is_lived(view, tx, &intake.tenant.log, session))?
        {
            let (reason, why) = ("session_conflict", "there is a session with the id of its session here");
            intake.refuse(incoming.line, reason, why.to_owned());
            seen.refused.insert(incoming.tag, (reason, why));
            continue;
        }
        if fresh && incoming.kind != Kind::EVENT && own != Some(&Some(schema)) {
            let log = &intake.tenant.log;
            let here = intake.tenant.view(|view, tx| view.history(tx, log, &id));
            let (reason, why) = match (here, incoming.kind) {
                _ if own.is_some() => ("id_conflict", "another record came with its id"),
                (Err(e), _) if e.code() == Code::Erased => ("erased", "it was here before and its content was erased"),
                (Err(e), _) => return Err(e),
                (Ok(leaves), _) if !leaves.is_empty() => ("id_conflict", "there is a record with its id here"),
                (Ok(_), Kind::RECORD_PUT) => ("", ""),
                (Ok(_), _) => ("no_record", "it changes a record that did not come with it"),
            };
            if !reason.is_empty() {
                intake.refuse(incoming.line, reason, why.to_owned());
                seen.refused.insert(incoming.tag, (reason, why));
                continue;
            }
        }
        if incoming.kind != Kind::EVENT {
            seen.records.insert(id, Some(schema));
            if let Some(source) = incoming.body.text(field::SOURCE_ID) {
                seen.records.entry(source.to_owned()).or_insert(None);
            }
        }
        intake.kept += 1;
        if !fresh {
            continue;
        }
        if items.is_empty() {
            items.extend(intake.open()?);
        }
        let Tenant { inner, log } = intake.tenant;
        let draft = inner.draft(log, &log.system, incoming.kind, &incoming.body)?;
        items.push(Item { once: Some(incoming.tag), ..intake.system_item(draft)? });
    }
    if items.is_empty() { Ok(()) } else { intake.append(items, false) }
}
