//! Large payloads: cut into parts, each an event of its own, so that every
//! byte has a leaf, a secret and a place in the tree like any other.
//!
//! A part is found again by a keyed tag over its subject and content: what was
//! stored once for a subject is named by later bodies, and a retry of an append
//! that was interrupted appends nothing twice.

use crate::engine::Inner;
use crate::keyring::hex;
use crate::log::Log;
use crate::view::Content;
use mirrordna_core::body::{Body, Media, Part, field, schema};
use mirrordna_core::canon::Value;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::{Hash, Kind, Result, id, limits};
use std::sync::Arc;

/// Prefix of the ids of parts.
const PREFIX: &str = "part";
/// Parts in one commit: they and their padding stay within a batch.
const BATCH: usize = limits::BATCH_BYTES / 2 / limits::PART;

/// Appends a payload in parts, durably, and says where they are. What is
/// appended before an error stays, and is found by the next attempt.
pub(crate) fn append(inner: &Inner, log: &Arc<Log>, actor: &Hash, subject: &str, payload: &[u8]) -> Result<Vec<Part>> {
    let mut parts = Vec::with_capacity(payload.len().div_ceil(limits::PART));
    for batch in payload.chunks(limits::PART * BATCH) {
        let pieces: Vec<&[u8]> = batch.chunks(limits::PART).collect();
        let mut drafts = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let tag = log.once_tag(&["part", subject, &hex(&sha256(&[piece]))])?;
            drafts.push((inner.draft(log, actor, Kind::PART, &body(subject, &tag, piece, true))?, Some(tag)));
        }
        let placed = inner.append(log, actor, drafts)?;
        for (piece, mut event) in pieces.into_iter().zip(placed) {
            if event.existed && is_gone(inner, log, event.index)? {
                // Erased since: this is content anew.
                let tag = mirrordna_core::random(&*inner.entropy)?;
                let draft = inner.draft(log, actor, Kind::PART, &body(subject, &tag, piece, false))?;
                event = inner.append(log, actor, vec![(draft, None)])?.pop().unwrap_or(event);
            }
            parts.push(Part { index: event.index, leaf: event.leaf });
        }
    }
    Ok(parts)
}

fn body(subject: &str, tag: &[u8; 16], piece: &[u8], shared: bool) -> Body {
    Body::new(schema::PART, &format!("{PREFIX}_{}", id::encode(tag)))
        .with(field::SUBJECT, Some(subject))
        .with(field::DEDUPE, shared.then(|| Value::Bytes(tag.to_vec())))
        .with_payload(Media::BYTES, piece)
}

fn is_gone(inner: &Inner, log: &Log, index: u64) -> Result<bool> {
    inner.view(log, &mut |view, tx| Ok(!view.bare_event(tx, log, index)?.is_some_and(|e| matches!(e.content, Content::Private(_)))))
}
