//! Rights of access and portability: all that is about a subject, as JSON
//! Lines that people read and `import` takes in again.
//!
//! The first line says what the file is. Each further line is an event: where
//! it is in the log and its leaf hash, by which it can be proven; what it says,
//! for people; and its body, for another database.

use crate::engine::{Engine, Tenant};
use crate::keyring::hex;
use crate::log::Log;
use crate::view::{Content, Event, View, What};
use mirrordna_core::body::{Body, Media, field, schema};
use mirrordna_core::verify::note::base64;
use mirrordna_core::{Code, Error, Kind, Result, time};
use mirrordna_storage::ReadTx;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::Write;

/// What the first line begins with.
pub(crate) const MAGIC: &str = "{\"mirrordna_subject_export\":1,";

/// What an export of a subject holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Disclosed {
    /// Events.
    pub events: u64,
    /// Events that were erased, of which nothing can be said.
    pub erased: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl Tenant {
    /// Writes all that is about a subject, as JSON Lines: the events whose
    /// subject it is, in the order of the log, with their contents in clear.
    ///
    /// # Errors
    /// `record.not_found` where there is nothing about it; `key.missing` where
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
        let (mut events, mut erased) = (0, 0);
        for position in positions {
            // One at a time: a payload may be large.
            match self.view(|view, tx| line(view, tx, log, position))? {
                Line::Of(text) => {
                    write(text)?;
                    events += 1;
                }
                Line::Erased => erased += 1,
                Line::Part => {}
            }
        }
        Ok(Disclosed { events, erased, ..done })
    }
}

enum Line {
    Of(String),
    Erased,
    /// Its content is in the line of what it is part of.
    Part,
}

fn line(view: &View, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<Line> {
    let Some(event) = view.event(tx, log, position)? else { return Ok(Line::Part) };
    let body = match &event.content {
        Content::Private(_) if event.header.kind == Kind::PART => return Ok(Line::Part),
        Content::Private(body) => body,
        Content::Erased => return Ok(Line::Erased),
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
