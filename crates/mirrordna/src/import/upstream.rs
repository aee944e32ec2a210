//! Vaults of the upstream Python and TypeScript SDKs: each record kept,
//! repaired or refused, with the reason.
//!
//! Imported records are the system actor's events; the agent they speak of is
//! a field. Identities come without keys: they are asserted, until somebody
//! with the old key claims them. Nothing is presented as witnessed earlier than
//! it was imported: upstream's dates are fields of the body.

use super::intake::{Earlier, Intake, original, unreadable};
use super::{ImportReport, Progress};
use crate::commit::Item;
use crate::engine::Tenant;
use crate::input;
use crate::records::Entity as _;
use mirrordna_core::body::{Body, FLAG_ASSUMED_UTC, Media, field, schema};
use mirrordna_core::canon::Value as Field;
use mirrordna_core::memory::{self, Content, NewMemory};
use mirrordna_core::session::{self, NewSession};
use mirrordna_core::timeline::{NewEvent, PREFIX};
use mirrordna_core::{Code, Error, Kind, Result, id, limits};
use mirrordna_upstream::detect::config_sidecar_name;
use mirrordna_upstream::entities::{AgentDna, AgentLink, Citation, GlyphtrailEntry, Reflection, VaultConfig, VaultEntry};
use mirrordna_upstream::{
    Code as Reason, Entity, FileReport, ForeignRecord, MAX_FILE_BYTES, Profile, Value, Verdict, json, read_config, read_file,
};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Number of this format in `import.open`.
const FORMAT: u64 = 2;
/// How much of a file that is too long is looked at.
const LOOK: u64 = 64 << 10;
/// Records that are committed together.
const BATCH: usize = 200;

/// A record on its way in: its tag, what it becomes, and how it was judged.
struct Incoming {
    line: u64,
    tag: [u8; 16],
    kind: Kind,
    body: Body,
    repairs: Vec<(&'static str, String)>,
}

pub(super) fn import(tenant: &Tenant, file: &Path, report: &mut ImportReport, progress: Progress<'_>) -> Result<()> {
    let mut intake = Intake::new(tenant, file, FORMAT, report)?;
    if intake.bytes > MAX_FILE_BYTES as u64 {
        intake.refuse(0, "file_too_large", format!("the file has {} bytes, the limit is {MAX_FILE_BYTES}", intake.bytes));
        return intake.finish();
    }
    let parsed = read(file)?;
    for note in parsed.notes {
        intake.note(0, note.code.as_str(), note.sentence);
    }
    let ns = namespace(file);
    let mut batch = Vec::with_capacity(BATCH);
    let total = parsed.records.len() as u64;
    for (n, record) in parsed.records.into_iter().enumerate() {
        let line = n as u64 + 1;
        match incoming(tenant, &ns, file, line, record) {
            Ok(incoming) => batch.push(incoming),
            Err(Judged::Refused(reason, message)) => intake.refuse(line, reason, message),
            Err(Judged::Failed(e)) => return Err(e),
        }
        if batch.len() == BATCH {
            commit(&mut intake, std::mem::take(&mut batch))?;
            progress(intake.bytes * line / total.max(1), intake.bytes);
        }
    }
    commit(&mut intake, batch)?;
    intake.finish()
}

/// What is there of a file, up to one byte more than is accepted: the reader says
/// then that it is too long.
fn whole(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = input::open(file, "a file of a vault", Code::ImportUnreadable)?;
    opened.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| unreadable(file, e))?;
    Ok(bytes)
}

fn read(file: &Path) -> Result<FileReport> {
    let bytes = whole(file)?;
    let name = file.to_string_lossy();
    let sidecar = config_sidecar_name(&name).map(std::path::PathBuf::from).filter(|p| p.is_file());
    Ok(match sidecar {
        Some(sidecar) => {
            let beside = whole(&sidecar)?;
            read_config(&name, &bytes, &beside, Profile::Compat)
        }
        None => read_file(&name, &bytes, Profile::Compat),
    })
}

/// Whether a file is recognised as none of upstream's. One that cannot be read
/// to its end is not: it may be one of them, damaged. Of one that is too long
/// only the beginning is looked at, which tells a film from a vault.
pub(super) fn is_foreign(file: &Path) -> Result<bool> {
    let length = std::fs::metadata(file).map_err(|e| unreadable(file, e))?.len();
    let report = if length <= MAX_FILE_BYTES as u64 {
        read(file)?
    } else {
        let mut start = Vec::new();
        let opened = File::open(file).and_then(|f| f.take(LOOK).read_to_end(&mut start));
        opened.map_err(|e| unreadable(file, e))?;
        read_file(&file.to_string_lossy(), &start, Profile::Compat)
    };
    Ok(matches!(&report.records[..], [ForeignRecord { verdict: Verdict::Refused(why), .. }] if why.code == Reason::UnknownFile))
}

/// The folder a file lies in, by its last two names: what keeps the same id in
/// two vaults apart, wherever the vaults are moved together.
pub(super) fn namespace(file: &Path) -> String {
    let folder = file.parent().map(|p| std::fs::canonicalize(p).unwrap_or_else(|_| p.to_owned())).unwrap_or_default();
    let names: Vec<String> = folder.components().rev().take(2).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    names.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Why a record does not come in.
enum Judged {
    Refused(&'static str, String),
    Failed(Error),
}

impl From<Error> for Judged {
    fn from(e: Error) -> Self {
        match e.code() {
            Code::InputInvalid | Code::JsonInvalid | Code::IdInvalid => Self::Refused("invalid_record", e.message().to_owned()),
            Code::LimitExceeded => Self::Refused("too_long", e.message().to_owned()),
            _ => Self::Failed(e),
        }
    }
}

fn incoming(tenant: &Tenant, ns: &str, file: &Path, line: u64, record: ForeignRecord) -> std::result::Result<Incoming, Judged> {
    let mut repairs: Vec<(&'static str, String)> = match &record.verdict {
        Verdict::Kept => Vec::new(),
        Verdict::Repaired(list) => list.iter().map(|r| (r.code.as_str(), format!("{} {}", r.path, r.sentence))).collect(),
        Verdict::Refused(reason) => return Err(Judged::Refused(reason.code.as_str(), reason.sentence.clone())),
    };
    let (document, _) = json::write(&record.fields);
    let stem = file.file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let own_id = record.id.clone().unwrap_or_else(|| format!("{stem}#{line}"));
    let entity = entity_name(&record.entity);
    let tag = match record.entity {
        // An identity is who it is in every vault.
        Entity::Identity => tenant.log.once_tag(&["upstream", entity, &own_id])?,
        _ => tenant.log.once_tag(&["upstream", entity, ns, &own_id])?,
    };
    let (kind, mut body) = match record.entity {
        Entity::Identity => (Kind::RECORD_PUT, identity(&record, &own_id)?),
        Entity::Session => (Kind::RECORD_PUT, new_session(&record, &tag)?),
        Entity::Memory => (Kind::RECORD_PUT, new_memory(&record, &tag, &mut repairs)?),
        Entity::Event => (Kind::EVENT, event(&record, &tag)?),
        ref other => {
            let name = format!("{}_{}", prefix_of(other), id::encode(&tag));
            (Kind::RECORD_PUT, Body::new(schema_of(other), &name).with(6, Some(entity)).with_payload(Media::JSON, document.clone()))
        }
    };
    body.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
    body.set(field::SOURCE_ID, own_id.chars().take(limits::NAME / 4).collect::<String>().as_str().into());
    body.set(field::SOURCE_NS, ns.into());
    if body.payload.as_ref().is_none_or(|p| p.bytes != document.as_bytes()) {
        body.set(field::ORIGINAL, Field::Bytes(document.into_bytes()));
    }
    // What is too long is found here, before the batch.
    match body.is_large() {
        true => drop(body.clone().take_payload()?),
        false => drop(body.encode_padded()?),
    }
    Ok(Incoming { line, tag, kind, body, repairs })
}

fn entity_name(entity: &Entity) -> &str {
    match entity {
        Entity::Identity => "identity",
        Entity::Session => "session",
        Entity::Memory => "memory",
        Entity::AgentDna => "agent_dna",
        Entity::Reflection => "reflection",
        Entity::VaultEntry => "vault_entry",
        Entity::GlyphtrailEntry => "glyphtrail_entry",
        Entity::AgentLink => "agent_link",
        Entity::Other(name) => name,
        Entity::Timeline => "timeline",
        Entity::Event => "event",
        Entity::Snapshot => "snapshot",
        Entity::Citation => "citation",
        Entity::VaultConfig => "vault_config",
        Entity::Config => "config",
        Entity::ConfigSidecar => "config_sidecar",
        Entity::StandardDocument => "standard_document",
        Entity::StandardSidecar => "standard_sidecar",
        _ => "unknown",
    }
}

const fn schema_of(entity: &Entity) -> u64 {
    match entity {
        Entity::AgentDna => schema::AGENT_DNA,
        Entity::Reflection => schema::REFLECTION,
        Entity::Snapshot => schema::SNAPSHOT,
        Entity::Citation => schema::CITATION,
        Entity::VaultConfig => schema::VAULT_CONFIG,
        Entity::VaultEntry => schema::VAULT_ENTRY,
        Entity::GlyphtrailEntry => schema::GLYPHTRAIL_ENTRY,
        Entity::AgentLink => schema::AGENT_LINK,
        Entity::Config | Entity::ConfigSidecar => schema::CONFIG,
        Entity::StandardDocument | Entity::StandardSidecar => schema::STANDARD,
        _ => schema::OTHER,
    }
}

/// Prefix of the record ids, the one that the SDK's manager of the entity knows.
const fn prefix_of(entity: &Entity) -> &'static str {
    match entity {
        Entity::Snapshot => "snap",
        Entity::Citation => Citation::PREFIX,
        Entity::VaultConfig => VaultConfig::PREFIX,
        Entity::VaultEntry => VaultEntry::PREFIX,
        Entity::AgentDna => AgentDna::PREFIX,
        Entity::Reflection => Reflection::PREFIX,
        Entity::GlyphtrailEntry => GlyphtrailEntry::PREFIX,
        Entity::AgentLink => AgentLink::PREFIX,
        _ => "rec",
    }
}

fn text(of: &Value, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(of, |v, key| v.get(key))?;
    found.as_str().filter(|t| !t.is_empty() && t.len() <= limits::NAME && !t.chars().any(char::is_control)).map(str::to_owned)
}

/// A member as strict JSON, unless it is absent or null.
fn member(of: &Value, key: &str) -> Option<String> {
    of.get(key).filter(|v| **v != Value::Null).map(|v| json::write(v).0)
}

/// The time at a pointer, and the flag for an assumed zone.
fn time(record: &ForeignRecord, pointer: &str) -> (Option<i64>, bool) {
    let found = record.times.iter().find(|(p, _)| p == pointer);
    (found.map(|(_, t)| t.millis), found.is_some_and(|(_, t)| !t.zone))
}

/// The profile of an identity without keys.
fn identity(record: &ForeignRecord, own_id: &str) -> std::result::Result<Body, Judged> {
    if !own_id.starts_with("mdna_") || own_id.len() > limits::NAME {
        return Err(Judged::Refused("bad_id", format!("'{}' is no identity id", own_id.chars().take(40).collect::<String>())));
    }
    let f = &record.fields;
    let (created, assumed) = time(record, "/created_at");
    let name = |key| text(f, &["metadata", key]).map(|t| Field::from(t.as_str()));
    Ok(Body::new(schema::PROFILE, own_id)
        .with(field::SUBJECT, Some(own_id))
        .with(field::OCCURRED_AT, created)
        .with(field::FLAGS, assumed.then_some(FLAG_ASSUMED_UTC))
        .with(field::CONTROL, Some(1))
        .with(6, text(f, &["identity_type"]).as_deref())
        .with(7, name("name"))
        .with(8, name("description"))
        .with(field::METADATA, member(f, "metadata").map(|m| Field::Bytes(m.into_bytes()))))
}

fn new_session(record: &ForeignRecord, tag: &[u8; 16]) -> Result<Body> {
    let f = &record.fields;
    let (started_at, _) = time(record, "/started_at");
    let new = NewSession {
        user: text(f, &["user_id"]),
        subject: text(f, &["user_id"]),
        parent: text(f, &["parent_session_id"]),
        metadata: member(f, "context_metadata"),
        started_at,
        ..NewSession::default()
    };
    let mut body = new.into_body(&format!("{}_{}", session::PREFIX, id::encode(tag)))?;
    if let (Some(ended), _) = time(record, "/ended_at") {
        body.set(session::ENDED_AT, ended.into());
    }
    Ok(body.with(field::AGENT, text(f, &["agent_id"]).as_deref()))
}

fn new_memory(record: &ForeignRecord, tag: &[u8; 16], repairs: &mut Vec<(&'static str, String)>) -> Result<Body> {
    let f = &record.fields;
    let content = match f.get("content") {
        Some(value) if value.as_str().is_some_and(|t| !t.is_empty()) => Content::Text(value.as_str().unwrap_or_default().to_owned()),
        Some(value) => Content::Json(json::write(value).0),
        None => Content::Json("null".to_owned()),
    };
    let tier = text(f, &["tier"]).and_then(|t| t.parse().ok());
    if tier.is_none() {
        repairs.push(("unknown_tier", "its tier is none of the three; kept as episodic".to_owned()));
    }
    let (occurred_at, assumed_utc) = time(record, "/source/timestamp");
    let tags = match f.get("metadata").and_then(|m| m.get("tags")) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    // Labels that our rules refuse stay in the metadata, where they came from.
    let tags: Vec<String> =
        tags.into_iter().filter(|t: &String| mirrordna_core::canon::check_name(t, "a tag").is_ok()).take(limits::TAGS).collect();
    let new = NewMemory {
        content,
        tier: tier.unwrap_or_default(),
        session: text(f, &["source", "session_id"]),
        subject: text(f, &["source", "user_id"]),
        user: text(f, &["source", "user_id"]),
        tags,
        metadata: member(f, "metadata"),
        occurred_at,
        assumed_utc,
        ..NewMemory::default()
    };
    let body = new.into_body(&format!("{}_{}", memory::PREFIX, id::encode(tag)))?;
    Ok(body.with(field::AGENT, text(f, &["source", "agent_id"]).as_deref()))
}

fn event(record: &ForeignRecord, tag: &[u8; 16]) -> Result<Body> {
    let f = &record.fields;
    let new = NewEvent {
        event_type: text(f, &["event_type"]).unwrap_or_else(|| "custom".to_owned()),
        payload: member(f, "payload"),
        session: text(f, &["related_session_id"]),
        subject: text(f, &["actor"]),
        occurred_at: time(record, "/timestamp").0,
    };
    let body = new.into_body(&format!("{PREFIX}_{}", id::encode(tag)))?;
    Ok(body.with(field::AGENT, text(f, &["related_agent_id"]).as_deref()))
}

/// Appends what is not there yet, in one atomic commit.
fn commit(intake: &mut Intake<'_>, batch: Vec<Incoming>) -> Result<()> {
    let wanted: Vec<([u8; 16], &[u8])> = batch.iter().map(|i| (i.tag, original(&i.body))).collect();
    let earlier = intake.earlier(&wanted)?;
    let mut items: Vec<Item> = Vec::new();
    let mut refused_tags = HashSet::new();
    for (incoming, earlier) in batch.into_iter().zip(earlier) {
        // Other records get ids of their own. Of an identity that is here a file
        // only claims to know more.
        if incoming.body.schema == schema::PROFILE && (matches!(earlier, Earlier::None) || refused_tags.contains(&incoming.tag)) {
            let log = &intake.tenant.log;
            match intake.tenant.view(|view, tx| view.history(tx, log, incoming.body.id())) {
                Ok(leaves) if leaves.is_empty() => {}
                Err(e) if e.code() != Code::Erased => return Err(e),
                _ => {
                    refused_tags.insert(incoming.tag);
                    intake.refuse(incoming.line, "id_conflict", "there is an identity with its id here".to_owned());
                    continue;
                }
            }
        }
        let refused = intake.refused;
        let fresh = intake.admit(incoming.line, &earlier);
        if intake.refused > refused {
            continue;
        }
        if incoming.repairs.is_empty() {
            intake.kept += 1;
        } else {
            intake.repaired += 1;
        }
        for (code, message) in incoming.repairs {
            intake.note(incoming.line, code, message);
        }
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
