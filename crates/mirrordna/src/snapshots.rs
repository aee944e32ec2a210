//! Snapshots: the state of an agent at a signed position of its log.
//!
//! The log never forgets, so a snapshot does not copy memories: it names the
//! position and commits to the checkpoint that signs it. Comparing and
//! restoring fold the records up to that position again.

use crate::engine::Tenant;
use crate::identities::{Identities, Identity};
use crate::keyring::hex;
use crate::view::{Query, View};
use mirrordna_core::body::{Body, Media, field, schema};
use mirrordna_core::canon::check_json;
use mirrordna_core::record::Record;
use mirrordna_core::session::Session;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::note::{Checkpoint, Note};
use mirrordna_core::{Code, Error, Kind, Result, limits, time};
use mirrordna_storage::ReadTx;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Prefix of snapshot ids.
const PREFIX: &str = "snap";

const SIZE: u64 = 7;
const CHECKPOINT: u64 = 8;

/// A snapshot as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Record id.
    pub id: String,
    /// Display id of the agent.
    pub agent: String,
    /// Number of events that it covers: the leaves of the log; after a fork,
    /// plus the events of the logs before that one.
    pub size: u64,
    /// The signed checkpoint that ends there, a C2SP note; its size counts the
    /// leaves of the log alone.
    pub checkpoint: String,
    /// The document: `snapshot_id`, `timestamp`, `version`, `checksum`,
    /// `identity_state`, `continuity_state`, `vault_state`,
    /// `timeline_summary`, `metadata`.
    pub document: Value,
}

impl Snapshot {
    /// The document as JSON, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}", self.document)
    }

    /// The document as YAML in block style; all strings are quoted, so that
    /// no reader takes a `no` for a boolean.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        yaml(&self.document, 0, &mut out);
        out
    }
}

fn yaml(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let nested = |v: &Value| matches!(v, Value::Object(m) if !m.is_empty()) || matches!(v, Value::Array(a) if !a.is_empty());
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                // Writing into a string cannot fail.
                let _infallible = write!(out, "{indent}{}:", Value::from(key.as_str()));
                out.push(if nested(value) { '\n' } else { ' ' });
                yaml(value, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _infallible = write!(out, "{indent}-");
                out.push(if nested(item) { '\n' } else { ' ' });
                yaml(item, depth + 1, out);
            }
        }
        plain => {
            let _infallible = writeln!(out, "{plain}");
        }
    }
}

/// What differs between two snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Sections of the document that differ.
    pub changed_sections: Vec<String>,
    /// Memories that the second has and the first has not.
    pub added: Vec<String>,
    /// Memories that both have, in another version.
    pub changed: Vec<String>,
    /// Memories that the first has in ordinary view and the second has not.
    pub removed: Vec<String>,
}

/// What a restore wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Memories put back to their state in the snapshot.
    pub put: u64,
    /// Memories archived because the snapshot does not know them.
    pub archived: u64,
    /// Memories that were as in the snapshot.
    pub unchanged: u64,
}

/// The snapshots of a tenant.
///
/// ```
/// # use mirrordna::{Engine, IdentityType};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// agent.memories().add("Prefers trains to planes").send()?;
/// let before = engine.snapshots().capture(&agent, Some(r#"{"why":"before the upgrade"}"#))?;
///
/// let wrong = agent.memories().add("Prefers planes to trains").send()?;
/// let after = engine.snapshots().capture(&agent, None)?;
/// assert_eq!(engine.snapshots().compare(&before.id, &after.id)?.added, [wrong.id.clone()]);
///
/// let done = engine.snapshots().restore(&before.id)?;
/// assert_eq!((done.archived, done.unchanged), (1, 1));
/// assert!(agent.memories().get(&wrong.id)?.archived);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Snapshots {
    pub(crate) tenant: Tenant,
}

impl Snapshots {
    /// Captures the state of an agent as it is now, with metadata (a JSON
    /// document) where it is given. It signs a checkpoint and appends one event;
    /// memories are not copied.
    ///
    /// # Errors
    /// `json.invalid` for the metadata, `key.missing` without the agent's or
    /// the log's key, `store.*`.
    pub fn capture(&self, agent: &Identity, metadata: Option<&str>) -> Result<Snapshot> {
        let metadata = metadata.map(|m| check_json(m, "metadata")).transpose()?;
        let checkpoint = self.tenant.sign_head()?;
        let note = Note::parse(checkpoint.as_bytes())?;
        let head = Checkpoint::parse(note.text)?;
        let size = self.tenant.log.base + head.size;
        let id = self.tenant.new_id(PREFIX)?;
        let profile = serde_json::to_value(agent.profile()?).unwrap_or_default();
        let (sessions, memories) = self.tenant.view(|view, tx| {
            Ok((self.state(view, tx, agent, schema::SESSION, size)?, self.state(view, tx, agent, schema::MEMORY, size)?))
        })?;
        let open = sessions.values().map(|r| Session::from_record(r, agent.id())).filter(|s| s.ended_at.is_none());
        let open: Vec<String> = open.map(|s| s.id).take(limits::TAGS).collect();
        let mut document = json!({
            "snapshot_id": id,
            "timestamp": time::rfc3339(i64::try_from(self.tenant.inner.clock.now_ms()).unwrap_or(i64::MAX)),
            "version": "1.0.0",
            "checksum": null,
            "identity_state": profile,
            "continuity_state": {"sessions": sessions.len(), "open": open, "digest": digest(&sessions)},
            "vault_state": {"memories": memories.len(), "digest": digest(&memories)},
            "timeline_summary": {"log": hex(&self.tenant.log.id), "size": head.size, "root": hex(&head.root)},
            "metadata": metadata.and_then(|m| serde_json::from_str::<Value>(m).ok()),
        });
        let checksum = state_checksum(&document);
        if let Some(slot) = document.get_mut("checksum") {
            *slot = checksum.map_or(Value::Null, Value::from);
        }
        let body = Body::new(schema::SNAPSHOT, &id)
            .with(field::SUBJECT, Some(agent.id()))
            .with(SIZE, i64::try_from(size).ok())
            .with(CHECKPOINT, Some(checkpoint.as_str()))
            .with_payload(Media::JSON, document.to_string());
        self.tenant.append(&agent.digest, Kind::RECORD_PUT, &body, None)?;
        Ok(Snapshot { id, agent: agent.id().to_owned(), size, checkpoint: checkpoint.clone(), document })
    }

    /// Records of an agent as they stood before leaf `size`, by id, without
    /// archived ones.
    fn state(&self, view: &View, tx: &dyn ReadTx, agent: &Identity, schema: u64, size: u64) -> Result<BTreeMap<String, Record>> {
        let page = Query { actor: Some(agent.digest), session: None, archived: true, from: 0, offset: 0, limit: usize::MAX };
        let found = view.records_before(tx, &self.tenant.log, schema, &page, size)?;
        Ok(found.into_iter().filter(|(r, _)| !r.archived).map(|(r, _)| (r.body.id().to_owned(), r)).collect())
    }

    /// The snapshot with this id.
    ///
    /// # Errors
    /// `id.invalid`; `record.not_found`; `key.missing` where contents are
    /// locked, because the keyring of the database is not here.
    pub fn get(&self, id: &str) -> Result<Snapshot> {
        mirrordna_core::id::check(id, PREFIX)?;
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, schema::SNAPSHOT, id))?;
        let (record, agent) = found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no snapshot {id}")))?;
        Ok(read(&record, agent))
    }

    /// All snapshots, oldest first; of one agent where it is given.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn list(&self, agent: Option<&Identity>) -> Result<Vec<Snapshot>> {
        self.tenant.log.readable()?;
        let page = Query { actor: agent.map(|a| a.digest), session: None, archived: false, from: 0, offset: 0, limit: limits::RESULTS };
        let found = self.tenant.view(|view, tx| view.records(tx, &self.tenant.log, schema::SNAPSHOT, &page))?;
        Ok(found.into_iter().map(|(record, agent)| read(&record, agent)).collect())
    }

    /// What changed from one snapshot to another of the same agent.
    ///
    /// # Errors
    /// `record.not_found`; `input.invalid` for snapshots of different agents.
    pub fn compare(&self, first: &str, second: &str) -> Result<Comparison> {
        let (a, b) = (self.get(first)?, self.get(second)?);
        if a.agent != b.agent {
            return Err(Error::new(Code::InputInvalid, format!("{first} is of {}, {second} of {}", a.agent, b.agent)));
        }
        let agent = Identities { tenant: self.tenant.clone() }.get(&a.agent)?;
        let (old, new) = self.tenant.view(|view, tx| {
            Ok((self.state(view, tx, &agent, schema::MEMORY, a.size)?, self.state(view, tx, &agent, schema::MEMORY, b.size)?))
        })?;
        let empty = Map::new();
        let sections = a.document.as_object().unwrap_or(&empty).iter();
        let own = ["snapshot_id", "timestamp", "checksum"];
        Ok(Comparison {
            changed_sections: sections
                .filter(|(k, v)| !own.contains(&k.as_str()) && b.document.get(k) != Some(v))
                .map(|(k, _)| k.clone())
                .collect(),
            added: new.keys().filter(|id| !old.contains_key(*id)).cloned().collect(),
            changed: new.iter().filter(|(id, r)| old.get(*id).is_some_and(|o| o.updated != r.updated)).map(|(id, _)| id.clone()).collect(),
            removed: old.keys().filter(|id| !new.contains_key(*id)).cloned().collect(),
        })
    }

    /// Brings an agent's memories back to their state in a snapshot, by new
    /// events: memories are put as they were, and those the snapshot does not
    /// know are archived. Nothing is removed from the history.
    ///
    /// # Errors
    /// `record.not_found`, `key.missing`, `store.*`. What was put back before an
    /// error stays; a second run goes on from there.
    pub fn restore(&self, id: &str) -> Result<Restored> {
        let snapshot = self.get(id)?;
        let agent = Identities { tenant: self.tenant.clone() }.get(&snapshot.agent)?;
        let (old, now) = self.tenant.view(|view, tx| {
            let now = self.state(view, tx, &agent, schema::MEMORY, view.size())?;
            Ok((self.state(view, tx, &agent, schema::MEMORY, snapshot.size)?, now))
        })?;
        let mut done = Restored::default();
        let mut drafts = Vec::new();
        let Tenant { inner, log } = &self.tenant;
        for (id, record) in &old {
            let current = now.get(id);
            if current.is_some_and(|c| c.body == record.body) {
                done.unchanged += 1;
                continue;
            }
            done.put += 1;
            drafts.push((inner.draft(log, &agent.digest, Kind::RECORD_PUT, &record.body)?, None));
        }
        for (id, record) in now.iter().filter(|(id, _)| !old.contains_key(*id)) {
            done.archived += 1;
            let mut body = Body::new(schema::MEMORY, id);
            for number in [field::SUBJECT, field::SESSION] {
                if let Some(value) = record.body.get(number) {
                    body.set(number, value.clone());
                }
            }
            drafts.push((inner.draft(log, &agent.digest, Kind::RECORD_ARCHIVE, &body)?, None));
        }
        let mut rest = drafts.into_iter().peekable();
        while rest.peek().is_some() {
            inner.append(log, &agent.digest, rest.by_ref().take(limits::BATCH_EVENTS / 8).collect())?;
        }
        Ok(done)
    }
}

/// One digest over ids and the leaves of their last events.
fn digest(records: &BTreeMap<String, Record>) -> String {
    let lines: String = records.iter().map(|(id, r)| format!("{id}:{}\n", r.updated)).collect();
    hex(&sha256(&[lines.as_bytes()]))
}

/// Upstream's checksum of the document, so that its tools accept it. It is an
/// attribute for interoperability and proves nothing.
#[cfg(feature = "compat")]
fn state_checksum(document: &Value) -> Option<String> {
    let parsed = mirrordna_upstream::json::parse(document.to_string().as_bytes()).ok()?;
    mirrordna_upstream::checksum::state_checksum(&parsed.value).ok()
}

#[cfg(not(feature = "compat"))]
const fn state_checksum(_document: &Value) -> Option<String> {
    None
}

fn read(record: &Record, agent: String) -> Snapshot {
    let body = &record.body;
    Snapshot {
        id: body.id().to_owned(),
        agent,
        size: body.int(SIZE).and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        checkpoint: body.text(CHECKPOINT).unwrap_or_default().to_owned(),
        document: body.payload_text().and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default(),
    }
}
