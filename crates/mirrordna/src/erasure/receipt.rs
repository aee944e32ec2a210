//! Receipts: what shows others that, when and why content was erased, and what
//! it can be erased by again.

use super::{Erasure, ErasureState};
use crate::commit::Appended;
use crate::engine::Tenant;
use crate::keyring::hex;
use crate::log::Log;
use crate::witness::StoreTiles;
use mirrordna_core::erasure::Reason;
use mirrordna_core::proof::inclusion;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::note::{self, Checkpoint, Note, base64, from_base64};
use mirrordna_core::verify::{hash, leaf, merkle};
use mirrordna_core::{Code, Error, Hash, Kind, Leaf, Result};
use serde::{Deserialize, Serialize};

const FORMAT: &str = "mirrordna-erasure-receipt";
const VERSION: u64 = 1;

/// A receipt of an erasure: the signed events that say what was erased, with
/// the proofs that they stand in the tree which a signed checkpoint names. It
/// names leaf hashes and no content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    format: String,
    version: u64,
    log: String,
    reason: String,
    state: String,
    erased: u64,
    already: u64,
    checkpoint: String,
    events: Vec<Proven>,
}

/// An `erase` event with its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Proven {
    /// Index of its leaf in the log.
    index: u64,
    /// Leaf data, base64.
    leaf: String,
    /// Its public body, base64.
    body: String,
    /// Inclusion proof in the tree of the checkpoint, base64 each.
    proof: Vec<String>,
}

/// What a receipt says, checked.
pub(super) struct Said {
    pub(super) reason: Reason,
    /// Positions and leaf hashes.
    pub(super) erased: Vec<(u64, Hash)>,
}

fn invalid(why: &str) -> Error {
    Error::new(Code::ReceiptInvalid, format!("the receipt {why}"))
}

impl Receipt {
    /// The receipt of what was just committed.
    pub(super) fn of(tenant: &Tenant, checkpoint: &str, placed: &[Appended], done: &Erasure) -> Result<Self> {
        let Tenant { inner, log } = tenant;
        let note = Note::parse(checkpoint.as_bytes())?;
        let size = Checkpoint::parse(note.text)?.size;
        let mut events = Vec::with_capacity(placed.len());
        inner.store.read(&mut |tx| {
            events.clear();
            for event in placed {
                let index = event.index - log.base;
                let gone = || Error::new(Code::Altered, format!("log {} lacks leaf {index}", log.number));
                let row = tx.event(log.number, index)?.ok_or_else(gone)?;
                let proof = inclusion(&StoreTiles { tx, log: log.number }, index, size)?;
                events.push(Proven {
                    index,
                    leaf: base64(&row.leaf),
                    body: base64(&row.body.ok_or_else(gone)?),
                    proof: proof.iter().map(|hash| base64(hash)).collect(),
                });
            }
            Ok(())
        })?;
        Ok(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            log: hex(&log.id),
            reason: done.reason.name().to_owned(),
            state: if done.state == Some(ErasureState::Done) { "done" } else { "pending" }.to_owned(),
            erased: done.events,
            already: done.already,
            checkpoint: checkpoint.to_owned(),
            events,
        })
    }

    /// The receipt as JSON, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads what [`Receipt::to_json`] wrote.
    ///
    /// # Errors
    /// `erasure.receipt` for anything else.
    pub fn from_json(text: &str) -> Result<Self> {
        let receipt: Self = serde_json::from_str(text).map_err(|e| invalid("is none of this version").caused_by(e))?;
        if receipt.format != FORMAT || receipt.version != VERSION {
            return Err(invalid("is none of this version"));
        }
        Ok(receipt)
    }

    /// Checks it against the checkpoint key of the log that it names: that of a
    /// tenant, or one that this goes on from.
    pub(super) fn verify(&self, log: &Log) -> Result<Said> {
        let log = std::iter::successors(Some(log), |log| log.before.as_deref()).find(|log| hex(&log.id) == self.log);
        let log = log.ok_or_else(|| invalid(&format!("is of log {}, which is not here", self.log)))?;
        let origin = note::origin(&log.id);
        let note = Note::parse(self.checkpoint.as_bytes()).map_err(|e| invalid("has a malformed checkpoint").caused_by(e))?;
        let head = Checkpoint::parse(note.text).map_err(|e| invalid("has a malformed checkpoint").caused_by(e))?;
        if head.origin != origin || !note.signed_by(&origin, &log.key) {
            return Err(invalid("has a checkpoint that is not signed by the log's key"));
        }
        let mut said = Said { reason: Reason::Caller, erased: Vec::new() };
        for event in &self.events {
            event.check(log, &head, &mut said)?;
        }
        if said.erased.len() as u64 != self.erased {
            return Err(invalid("counts other events than it names"));
        }
        Ok(said)
    }
}

impl Proven {
    fn check(&self, log: &Log, head: &Checkpoint<'_>, said: &mut Said) -> Result<()> {
        let bytes = |text: &str| from_base64(text).ok_or_else(|| invalid("holds what is no base64"));
        let (data, body) = (bytes(&self.leaf)?, bytes(&self.body)?);
        let hashes = self.proof.iter().map(|text| Hash::try_from(bytes(text)?).map_err(|_| invalid("holds a malformed proof")));
        let proof = hashes.collect::<Result<Vec<Hash>>>()?;
        if !merkle::includes(&head.root, head.size, self.index, &leaf::hash(&data), &proof) {
            return Err(invalid("holds an event that is not in the tree of its checkpoint"));
        }
        let header = Leaf::decode(&data).map_err(|e| invalid("holds a malformed event").caused_by(e))?.header;
        let own = header.log == log.id && header.kind == Kind::ERASE && hash::public_body(&body) == header.body;
        match PublicBody::decode(header.kind, &body).ok().flatten().filter(|_| own) {
            Some(PublicBody::Erase { reason, positions, .. }) if positions.len() == header.refs.len() => {
                said.reason = Reason::from_number(reason).unwrap_or_default();
                said.erased.extend(positions.into_iter().zip(header.refs));
                Ok(())
            }
            _ => Err(invalid("holds an event that is no erasure in the log that it names")),
        }
    }
}
