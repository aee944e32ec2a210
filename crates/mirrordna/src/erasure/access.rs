//! Rights of access and portability: all that is about a subject, as JSON
//! Lines that people read and `import` takes in again.
//!
//! The first line says what the file is. Each further line is an event: where
//! it is in the log and its leaf hash, by which it can be proven; what it says,
//! for people; and its body, for another database. The last lines say what was
//! erased and when, each with the receipt that proves it.

use super::Receipt;
use crate::engine::{Engine, Tenant};
use crate::keyring::hex;
use crate::log::Log;
use crate::view::{Content, Event, View, What};
use mirrordna_core::body::{Body, Media, field, schema};
use mirrordna_core::erasure::Reason;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::note::base64;
use mirrordna_core::{Code, Error, Kind, Result, time};
use mirrordna_storage::ReadTx;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// What the first line begins with.
pub(crate) const MAGIC: &str = "{\"mirrordna_subject_export\":1,";

/// What a line about an erasure begins with.
pub(crate) const ERASED: &str = "{\"erased\":";

/// What an export of a subject holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Disclosed {
    /// Events.
    pub events: u64,
    /// Events that were erased, as far as that is known: where the log was folded
    /// anew, only of a subject of whom nothing was left.
    pub erased: u64,
    /// The erasures that took them, oldest first.
    pub erasures: Vec<Erasing>,
    /// Bytes written.
    pub bytes: u64,
}

/// An erasure that took events about a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Erasing {
    /// Position of the `erase` event.
    pub leaf: u64,
    /// Its leaf hash, hex.
    pub hash: String,
    /// When, RFC 3339.
    pub time: String,
    /// Why.
    pub reason: Reason,
    /// How many events it took, those about others among them.
    pub events: u64,
}

impl Tenant {
    /// Writes all that is about a subject, as JSON Lines: the events whose
    /// subject it is, in the order of the log, with their contents in clear; and
    /// of what was erased, when and why, with receipts. Of a subject of whom all
    /// was erased that is all there is to say. Where nothing goes by the name
    /// itself, the identity with that name is meant.
    ///
    /// # Errors
    /// `record.not_found` where there is nothing about it, and never was;
    /// `input.invalid` where several identities have the name; `key.missing` where
    /// contents are locked; where `out` cannot be written.
    pub fn export_subject(&self, name: &str, out: &mut dyn Write) -> Result<Disclosed> {
        self.log.readable()?;
        let log = &self.log;
        let What::Subject(meant) = self.meant(What::Subject(name.to_owned()))? else {
            return Err(Error::new(Code::Bug, "another thing than a subject was meant by a subject's name"));
        };
        let name = &*meant;
        let positions = self.view(|view, tx| view.of_subject(tx, log, name))?;
        let mut done = Disclosed::default();
        let mut write = |text: String| {
            done.bytes += text.len() as u64 + 1;
            writeln!(out, "{text}").map_err(|e| Error::new(Code::StoreIo, "cannot write the export").caused_by(e))
        };
        write(format!("{MAGIC}\"log\":\"{}\",\"subject\":{}}}", hex(&log.id), Value::from(name)))?;
        let (mut events, mut known) = (0, 0);
        let mut erasures = BTreeMap::new();
        for position in positions {
            // One at a time: a payload may be large.
            match self.view(|view, tx| line(view, tx, log, position))? {
                Line::Of(text) => {
                    write(text)?;
                    events += 1;
                }
                Line::Erased(by) => {
                    known += 1;
                    if let Some(by) = by {
                        erasures.entry(by).or_insert(None);
                    }
                }
                // What it took is not among the positions where the log was
                // folded after it.
                Line::Erasing(by) => drop(erasures.insert(position, Some(by))),
                Line::Part => {}
            }
        }
        let mut told = Vec::with_capacity(erasures.len());
        for (position, found) in erasures {
            let by = match found {
                Some(by) => by,
                None => match self.view(|view, tx| line(view, tx, log, position))? {
                    Line::Erasing(by) => by,
                    _ => continue,
                },
            };
            let receipt = Receipt::of(self, &[position])?;
            write(json!({ "erased": by, "receipt": receipt }).to_string())?;
            told.push(by);
        }
        let erased = if known > 0 { known } else { told.iter().map(|by| by.events).sum() };
        Ok(Disclosed { events, erased, erasures: told, ..done })
    }
}

enum Line {
    Of(String),
    /// By the event at this position.
    Erased(Option<u64>),
    /// An event that says what was erased.
    Erasing(Erasing),
    /// Its content is in the line of what it is part of.
    Part,
}

fn line(view: &View, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<Line> {
    let Some(event) = view.event(tx, log, position)? else { return Ok(Line::Part) };
    let body = match &event.content {
        Content::Private(_) if event.header.kind == Kind::PART => return Ok(Line::Part),
        Content::Private(body) => body,
        Content::Erased => return Ok(Line::Erased(view.eraser(tx, log, position)?)),
        Content::Public(bytes) => {
            return Ok(match PublicBody::decode(event.header.kind, bytes)? {
                Some(PublicBody::Erase { reason, count, .. }) => Line::Erasing(Erasing {
                    leaf: event.index,
                    hash: hex(&event.hash),
                    time: time::rfc3339(i64::try_from(event.header.time).unwrap_or(i64::MAX)),
                    reason: Reason::from_number(reason).unwrap_or_default(),
                    events: count,
                }),
                _ => Line::Part,
            });
        }
        _ => return Ok(Line::Part),
    };
    let actor = view.actor(tx, log, &event.header.actor)?.map_or_else(|| hex(&event.header.actor), |actor| actor.id);
    Ok(Line::Of(describe(&event, body, actor)?.to_string()))
}

fn describe(event: &Event, body: &Body, actor: String) -> Result<Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let text = |number| body.text(number).map(Value::from);
    let at = |ms: i64| Value::from(time::rfc3339(ms));
    put("leaf", Some(event.index.into()));
    put("hash", Some(hex(&event.hash).into()));
    put("time", Some(at(i64::try_from(event.header.time).unwrap_or(i64::MAX))));
    put("kind", event.header.kind.name().map(Value::from));
    put("actor", Some(actor.into()));
    put("schema", schema::name(body.schema).map(Value::from));
    put("record", Some(body.id().into()));
    put("session", text(field::SESSION));
    put("occurred_at", body.int(field::OCCURRED_AT).map(at));
    let mut bare = body.clone();
    if let Some(payload) = bare.payload.take() {
        let media = match &payload.media {
            Media::Registered(number) => json!(number),
            Media::Named(name) => json!(name),
        };
        put("media", Some(media));
        match (&payload.media, String::from_utf8(payload.bytes)) {
            (Media::Registered(0 | 50), Ok(text)) => put("text", Some(text.into())),
            (_, Ok(text)) => put("payload", Some(base64(text.as_bytes()).into())),
            (_, Err(e)) => put("payload", Some(base64(e.as_bytes()).into())),
        }
    }
    // What the names of its parts were is of no use elsewhere.
    bare.remove(field::PARTS);
    bare.remove(field::LENGTH);
    bare.remove(field::DEDUPE);
    put("body", Some(base64(&bare.encode_padded()?).into()));
    Ok(Value::Object(out))
}

impl Engine {
    /// Writes all that is about a subject of the default tenant; see
    /// [`Tenant::export_subject`].
    ///
    /// # Errors
    /// As [`Tenant::export_subject`].
    pub fn export_subject(&self, name: &str, out: &mut dyn Write) -> Result<Disclosed> {
        self.main().export_subject(name, out)
    }
}
