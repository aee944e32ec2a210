//! Call ledgers of the older form: one JSON record a call, whose digests are
//! SHA-256 over what Python's `json.dumps(value, sort_keys=True, default=str)`
//! prints.
//!
//! Where a record still has the content beside its digest, the digest is made
//! again; a record that fails that is not taken. Where it has not, the event
//! says so: nothing is presented as checked that was not. A record becomes the
//! two events of a call, by the system actor; the record itself is kept in the
//! first.

use super::intake::{Earlier, Intake, original};
use super::upstream::namespace;
use super::{ImportReport, Progress};
use crate::commit::Item;
use crate::engine::Tenant;
use crate::input;
use mirrordna_core::body::{Body, field};
use mirrordna_core::canon::Value as Field;
use mirrordna_core::timeline::PREFIX;
use mirrordna_core::tool::{COMPLETED, ContentHash, NewCall, Origin, Outcome, REQUESTED, Status};
use mirrordna_core::{Code, Error, Hash, Kind, Result, id, limits, time};
use mirrordna_upstream::checksum::{Form, canonical};
use mirrordna_upstream::{MAX_FILE_BYTES, ParseError, Value, json};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Number of this format in `import.open`.
const FORMAT: u64 = 4;
/// How much of a file is looked at to recognise it.
const SNIFF: u64 = 64 << 10;
/// Records that are committed together.
const BATCH: usize = 200;
/// Members under which a file may hold its records.
const LISTS: [&str; 4] = ["records", "calls", "ledger", "entries"];

/// A record on its way in: its call id, and its two events.
struct Incoming {
    line: u64,
    call_id: String,
    requested: Body,
    completed: Body,
    notes: Vec<(&'static str, String)>,
}

/// Whether a file begins like a ledger.
pub(super) fn is_ledger(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|f| f.take(SNIFF).read_to_end(&mut start));
    let names = |name: &[u8]| start.windows(name.len()).any(|w| w == name);
    read.is_ok() && names(b"\"call_id\"") && names(b"\"args_hash\"")
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let mut intake = Intake::new(tenant, file, FORMAT, report)?;
    if intake.bytes > MAX_FILE_BYTES as u64 {
        intake.refuse(0, "file_too_large", format!("the file has {} bytes, the limit is {MAX_FILE_BYTES}", intake.bytes));
        return intake.finish();
    }
    let bytes = input::read(file, "a call ledger", MAX_FILE_BYTES as u64, Code::ImportUnreadable)?;
    let records = match records(&bytes) {
        Ok(records) => records,
        Err((reason, message)) => {
            intake.refuse(0, reason, message);
            return intake.finish();
        }
    };
    drop(bytes);
    let (ns, total) = (namespace(file), records.len() as u64);
    let (mut batch, mut unchecked) = (Vec::with_capacity(BATCH), (0u64, 0u64));
    for (n, (line, record)) in records.into_iter().enumerate() {
        let judged = record.map_err(|e| Judged::Refused(e.code.as_str(), e.to_string())).and_then(|r| incoming(tenant, &ns, line, &r));
        match judged {
            Ok((incoming, (args, response))) => {
                unchecked = (unchecked.0 + u64::from(!args), unchecked.1 + u64::from(!response));
                batch.push(incoming);
            }
            Err(Judged::Refused(reason, message)) => intake.refuse(line, reason, message),
            Err(Judged::Failed(e)) => return Err(e),
        }
        if batch.len() == BATCH {
            commit(&mut intake, std::mem::take(&mut batch))?;
            progress(intake.bytes * (n as u64 + 1) / total.max(1), intake.bytes);
        }
    }
    commit(&mut intake, batch)?;
    if unchecked != (0, 0) {
        let (args, responses) = unchecked;
        let message =
            format!("{args} digests of arguments and {responses} of responses could not be checked: the content is not in the file");
        intake.note(0, "hash_unchecked", message);
    }
    intake.finish()
}

/// The records of a file with their numbers: of an array, of an object with
/// such a list, one record, or one a line.
type Records = Vec<(u64, std::result::Result<Value, ParseError>)>;

fn records(bytes: &[u8]) -> std::result::Result<Records, (&'static str, String)> {
    let numbered = |items: Vec<Value>| (1..).zip(items.into_iter().map(Ok)).collect();
    match json::parse(bytes) {
        Ok(document) => match document.value {
            Value::Array(items) => Ok(numbered(items)),
            one if one.get("call_id").is_some() => Ok(numbered(vec![one])),
            other => match LISTS.into_iter().find_map(|name| match other.get(name) {
                Some(Value::Array(items)) => Some(items.clone()),
                _ => None,
            }) {
                Some(items) => Ok(numbered(items)),
                None => Err(("unknown_file", format!("it holds no call record, and no list of them named {}", LISTS.join(", ")))),
            },
        },
        Err(whole) => {
            let lines = bytes.split(|b| *b == b'\n').zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
            let lines: Records = lines.map(|(line, n)| (n, json::parse(line).map(|d| d.value))).collect();
            match lines.first() {
                Some((_, Ok(first))) if lines.len() > 1 && first.get("call_id").is_some() => Ok(lines),
                _ => Err((whole.code.as_str(), whole.to_string())),
            }
        }
    }
}

/// Why a record does not come in.
enum Judged {
    Refused(&'static str, String),
    Failed(Error),
}

impl From<Error> for Judged {
    fn from(e: Error) -> Self {
        match e.code() {
            Code::InputInvalid | Code::JsonInvalid => Self::Refused("invalid_record", e.message().to_owned()),
            Code::LimitExceeded => Self::Refused("too_long", e.message().to_owned()),
            _ => Self::Failed(e),
        }
    }
}

/// A member, unless it is absent or null.
fn member<'a>(of: &'a Value, name: &str) -> Option<&'a Value> {
    of.get(name).filter(|v| **v != Value::Null)
}

fn text(of: &Value, name: &str) -> std::result::Result<Option<String>, Judged> {
    match member(of, name) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(Judged::Refused("wrong_type", format!("{name} is no text"))),
        },
    }
}

fn required(of: &Value, name: &str) -> std::result::Result<String, Judged> {
    text(of, name)?.filter(|t| !t.is_empty()).ok_or_else(|| Judged::Refused("missing_field", format!("it has no {name}")))
}

fn digest(of: &Value, name: &str) -> std::result::Result<Option<ContentHash>, Judged> {
    let Some(hex) = text(of, name)? else { return Ok(None) };
    let lower = hex.to_ascii_lowercase();
    lower.parse().map(Some).map_err(|_| Judged::Refused("pattern_mismatch", format!("{name} is not 64 hex digits")))
}

/// SHA-256 over what Python prints of a value; nothing where Python raises.
fn python(value: &Value) -> Option<ContentHash> {
    canonical(value, Form::Spaced).ok().map(ContentHash::of)
}

/// Whether a digest was checked: against the content itself, or against what was
/// kept of it, which is all of it where nothing was taken out.
fn checked(of: &Value, name: &str, kept: &str, stated: Option<ContentHash>) -> std::result::Result<bool, Judged> {
    let Some(stated) = stated else { return Ok(false) };
    match of.get(name).and_then(python) {
        Some(found) if found == stated => Ok(true),
        Some(found) => {
            Err(Judged::Refused("hash_differs", format!("its {name} have the digest {found}, the record says {stated}; it was changed")))
        }
        None => Ok(member(of, kept).and_then(python) == Some(stated)),
    }
}

/// A number as far as it is one: seconds, milliseconds.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(digits) => digits.parse().ok(),
        Value::Float(float) => Some(float.value),
        _ => None,
    }
    .filter(|n: &f64| n.is_finite())
}

/// When it was called, milliseconds: seconds since 1970, or a text.
fn called_at(of: &Value, notes: &mut Vec<(&'static str, String)>) -> Option<i64> {
    let stamp = member(of, "timestamp")?;
    // Within the years 0 to 9999.
    let seconds = number(stamp).filter(|s| (-62_167_219_200.0..253_402_300_800.0).contains(s));
    let read = match seconds {
        Some(seconds) => Some((seconds * 1000.0).round() as i64),
        None => stamp.as_str().and_then(|t| time::parse(t).ok()).map(|t| t.ms),
    };
    if read.is_none() {
        notes.push(("timestamp_unreadable", "its timestamp is no time; the event has the time of the import only".to_owned()));
    }
    read
}

fn incoming(tenant: &Tenant, ns: &str, line: u64, record: &Value) -> std::result::Result<(Incoming, (bool, bool)), Judged> {
    if record.as_object().is_none() {
        return Err(Judged::Refused("not_an_object", format!("it is {}, not an object", record.type_name())));
    }
    let mut notes = Vec::new();
    let call_id = required(record, "call_id")?;
    let (document, repairs) = json::write(record);
    notes.extend(repairs.into_iter().map(|r| (r.code.as_str(), format!("{} {}", r.path, r.sentence))));
    let args = digest(record, "args_hash")?.ok_or_else(|| Judged::Refused("missing_field", "it has no args_hash".to_owned()))?;
    let response = digest(record, "response_hash")?;
    let args_checked = checked(record, "args", "args_redacted", Some(args))?;
    let response_checked = checked(record, "response", "response_summary", response)?;
    let latency_ms = match member(record, "latency_ms") {
        None => None,
        Some(value) => match number(value).map(f64::round).filter(|ms| (0.0..9e15).contains(ms)) {
            Some(ms) => Some(ms as u64),
            None => return Err(Judged::Refused("out_of_range", "latency_ms is no number of milliseconds".to_owned())),
        },
    };
    let kept = |name: &str| member(record, name).map(|v| json::write(v).0);
    let user = text(record, "user_id")?.filter(|t| !t.is_empty());
    let tag = tenant.log.once_tag(&[REQUESTED, &call_id])?;
    let new = NewCall {
        args,
        args_redacted: kept("args_redacted"),
        subject: user.clone(),
        user,
        tenant_id: text(record, "tenant_id")?.filter(|t| !t.is_empty()),
        attempt_of: text(record, "attempt_of")?.filter(|t| !t.is_empty()),
        occurred_at: called_at(record, &mut notes),
        ..NewCall::new(required(record, "endpoint")?, required(record, "request_id")?)
    };
    let source_id: Option<String> = Some(call_id.chars().take(limits::NAME / 4).collect());
    let origin = |original, checked| Origin { original, source_id: source_id.clone(), source_ns: Some(ns.to_owned()), checked };
    let mut requested = new.into_body(&format!("{PREFIX}_{}", id::encode(&tag)), &call_id, Some(origin(Some(document), args_checked)))?;
    requested.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
    let tag = tenant.log.once_tag(&[COMPLETED, &call_id])?;
    let status: Status = required(record, "response_status")?.parse()?;
    let outcome = Outcome { response, latency_ms, response_summary: kept("response_summary"), ..Outcome::new(status) };
    let name = format!("{PREFIX}_{}", id::encode(&tag));
    let mut completed = outcome.into_body(&name, &requested, Some(origin(None, response_checked)))?;
    completed.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
    // What is too long is found here, before the batch.
    requested.encode_padded()?;
    completed.encode_padded()?;
    Ok((Incoming { line, call_id, requested, completed, notes }, (args_checked, response_checked || response.is_none())))
}

/// Appends what is not there yet: first all that was requested, then how it
/// ended, which names the leaf of the first. An import that was killed between
/// the two goes on with the second.
fn commit(intake: &mut Intake<'_>, batch: Vec<Incoming>) -> Result<()> {
    let Tenant { inner, log } = intake.tenant;
    let tag = |event_type: &str, call_id: &str| log.once_tag(&[event_type, call_id]);
    let tags = batch.iter().map(|i| tag(REQUESTED, &i.call_id)).collect::<Result<Vec<_>>>()?;
    let wanted: Vec<([u8; 16], &[u8])> = tags.iter().zip(&batch).map(|(tag, i)| (*tag, original(&i.requested))).collect();
    let earlier = intake.earlier(&wanted)?;
    let mut items: Vec<Item> = Vec::new();
    let mut taken = Vec::new();
    for ((incoming, earlier), once) in batch.into_iter().zip(earlier).zip(tags) {
        let fresh = intake.admit(incoming.line, &earlier);
        if !fresh && !matches!(earlier, Earlier::Same) {
            continue;
        }
        if incoming.notes.is_empty() {
            intake.kept += 1;
        } else {
            intake.repaired += 1;
        }
        for (code, message) in &incoming.notes {
            intake.note(incoming.line, code, message.clone());
        }
        if fresh {
            if items.is_empty() {
                items.extend(intake.open()?);
            }
            let draft = inner.draft(log, &log.system, Kind::EVENT, &incoming.requested)?;
            items.push(Item { once: Some(once), ..intake.system_item(draft)? });
        }
        taken.push((once, incoming));
    }
    if !items.is_empty() {
        intake.append(items, false)?;
    }
    let ends = taken.iter().map(|(_, i)| tag(COMPLETED, &i.call_id)).collect::<Result<Vec<_>>>()?;
    let begun: Vec<Option<Hash>> = intake.tenant.view(|view, tx| {
        let pairs = taken.iter().zip(&ends);
        let open = |((begin, _), end): (&([u8; 16], Incoming), &[u8; 16])| match view.once(tx, log, end)? {
            Some(_) => Ok(None),
            None => {
                let Some(placed) = view.once(tx, log, begin)? else { return Ok(None) };
                // One that was made here at the same moment is ended by who made it.
                let event = view.bare_event(tx, log, placed.index)?;
                Ok(event.filter(|e| e.header.actor == log.at(placed.index).0.system).map(|_| placed.leaf))
            }
        };
        pairs.map(open).collect()
    })?;
    let mut items: Vec<Item> = Vec::new();
    for (((_, incoming), once), leaf) in taken.into_iter().zip(ends).zip(begun) {
        let Some(leaf) = leaf else { continue };
        if items.is_empty() {
            items.extend(intake.open()?);
        }
        let draft = inner.draft(log, &log.system, Kind::EVENT, &incoming.completed)?.referring_to(vec![leaf])?;
        items.push(Item { once: Some(once), ..intake.system_item(draft)? });
    }
    if items.is_empty() { Ok(()) } else { intake.append(items, false) }
}
