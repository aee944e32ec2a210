//! Records: the fold of their events. A new entity is a schema number, not
//! code: this module knows how records change, not what they mean.

use crate::body::{Body, field};
use crate::canon::Value;
use crate::{Code, Error, Kind, Result};

/// One event that touches a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `record.put`, `record.patch` or `record.archive`.
    pub kind: Kind,
    /// Index of the leaf.
    pub index: u64,
    /// Header time, milliseconds.
    pub time: u64,
    /// What it says; `None` where the content was erased.
    pub body: Option<Body>,
}

/// The state of a record after some events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Fields and payload as they stand.
    pub body: Body,
    /// Leaf of the first event.
    pub created: u64,
    /// Header time of the first event, milliseconds.
    pub created_at: u64,
    /// Leaf of the last event.
    pub updated: u64,
    /// Header time of the last event, milliseconds.
    pub updated_at: u64,
    /// Number of events, from 1.
    pub version: u64,
    /// Put out of ordinary view.
    pub archived: bool,
}

/// The next state of a record: a pure function of its state and one event.
///
/// A put creates or replaces; a patch sets the fields it names, removes those
/// it names as null, and replaces the payload if it has one; an archive keeps
/// the content. An event whose content was erased changes the version only; if
/// it was the put, the record is gone until the next put.
///
/// # Errors
/// `log.altered` for a change to a record that was never put, or of another
/// schema than the record.
pub fn apply(state: Option<Record>, change: Change) -> Result<Option<Record>> {
    let Change { kind, index, time, body } = change;
    let Some(body) = body else {
        return Ok(state.filter(|_| kind != Kind::RECORD_PUT).map(|r| touched(r, index, time)));
    };
    match (kind, state) {
        (Kind::RECORD_PUT, None) => {
            Ok(Some(Record { body, created: index, created_at: time, updated: index, updated_at: time, version: 1, archived: false }))
        }
        (Kind::RECORD_PUT, Some(old)) => {
            same_schema(&old, &body)?;
            let mut record = touched(old, index, time);
            record.body = body;
            record.archived = false;
            Ok(Some(record))
        }
        (Kind::RECORD_PATCH, Some(old)) => {
            same_schema(&old, &body)?;
            let mut record = touched(old, index, time);
            if body.payload.is_some() {
                // The parts of the old one; the new one brings its own, if any.
                record.body.remove(field::PARTS);
                record.body.remove(field::LENGTH);
            }
            for (number, value) in body.fields() {
                match value {
                    Value::Null => record.body.remove(*number),
                    value => record.body.set(*number, value.clone()),
                }
            }
            if body.payload.is_some() {
                record.body.payload = body.payload;
            }
            Ok(Some(record))
        }
        (Kind::RECORD_ARCHIVE, Some(old)) => {
            same_schema(&old, &body)?;
            let mut record = touched(old, index, time);
            record.archived = true;
            Ok(Some(record))
        }
        // The put may have been erased: what is left describes nothing.
        (Kind::RECORD_PATCH | Kind::RECORD_ARCHIVE, None) => Ok(None),
        _ => Err(Error::new(Code::Bug, format!("leaf {index} is no change of a record"))),
    }
}

fn same_schema(old: &Record, body: &Body) -> Result<()> {
    if old.body.schema == body.schema && old.body.id() == body.id() {
        return Ok(());
    }
    Err(Error::new(Code::Altered, format!("an event changes record '{}' as if it were another", old.body.id())))
}

fn touched(mut record: Record, index: u64, time: u64) -> Record {
    record.updated = index;
    record.updated_at = time;
    record.version += 1;
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Media, schema};

    fn change(kind: Kind, index: u64, body: Option<Body>) -> Change {
        Change { kind, index, time: index * 10, body }
    }

    #[test]
    fn put_patch_archive_put_again() {
        let put = Body::new(schema::MEMORY, "mem_a").with(6, Some(1)).with(7, Some("Ada")).with_payload(Media::TEXT, *b"one");
        let patch = Body::new(schema::MEMORY, "mem_a").with(6, Some(2)).with(7, Some(Value::Null));
        let mut r = apply(None, change(Kind::RECORD_PUT, 3, Some(put.clone()))).unwrap();
        r = apply(r, change(Kind::RECORD_PATCH, 5, Some(patch))).unwrap();
        let state = r.clone().unwrap();
        assert_eq!((state.version, state.created, state.updated, state.archived), (2, 3, 5, false));
        assert_eq!((state.body.int(6), state.body.text(7), state.body.payload_text()), (Some(2), None, Some("one")));
        r = apply(r, change(Kind::RECORD_ARCHIVE, 6, Some(Body::new(schema::MEMORY, "mem_a")))).unwrap();
        assert!(r.as_ref().unwrap().archived);
        r = apply(r, change(Kind::RECORD_PUT, 7, Some(put.clone()))).unwrap();
        assert!(!r.as_ref().unwrap().archived);
        r = apply(r, change(Kind::RECORD_PUT, 8, None)).unwrap();
        assert_eq!(r, None);
        let other = Body::new(schema::SESSION, "mem_a");
        let r = apply(None, change(Kind::RECORD_PUT, 1, Some(put))).unwrap();
        assert_eq!(apply(r, change(Kind::RECORD_PUT, 2, Some(other))).unwrap_err().code(), Code::Altered);
    }
}
