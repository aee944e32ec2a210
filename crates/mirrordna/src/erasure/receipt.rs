//! Receipts: what shows others that, when and why content was erased, and what
//! it can be erased by again.

use crate::engine::Tenant;
use crate::keyring::hex;
use crate::log::Log;
use crate::witness::StoreTiles;
use mirrordna_core::erasure::Reason;
use mirrordna_core::proof::inclusion;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::note::{self, Checkpoint, Note, base64, from_base64};
use mirrordna_core::verify::{hash, leaf, merkle};
use mirrordna_core::{Code, Error, Hash, Leaf, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};

const FORMAT: &str = "mirrordna-erasure-receipt";
const VERSION: u64 = 1;

/// A receipt of an erasure: the signed events that say what was erased, and that
/// nothing of it is left, with the proofs that they stand in the tree which a
/// signed checkpoint names. It names leaf hashes and no content, and all that it
/// says follows from these events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    format: String,
    version: u64,
    log: String,
    reason: String,
    state: String,
    erased: u64,
    checkpoint: String,
    events: Vec<Proven>,
}

/// An `erase` or `erase.done` event with its proof.
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

/// What the events of a receipt say.
#[derive(Default)]
struct Heard {
    reason: Option<u64>,
    erased: Vec<(u64, Hash)>,
    /// Leaf hashes of `erase` events.
    erasures: Vec<Hash>,
    /// Leaf hashes that `erase.done` events name.
    done: HashSet<Hash>,
}

fn invalid(why: &str) -> Error {
    Error::new(Code::ReceiptInvalid, format!("the receipt {why}"))
}

impl Receipt {
    /// The receipt of `erase` events at some positions, all of one log: the
    /// tenant's, or one that this goes on from. Without a checkpoint that covers
    /// them there is none yet.
    pub(super) fn of(tenant: &Tenant, positions: &[u64]) -> Result<Option<Self>> {
        let mut owner = &*tenant.log;
        while let Some(before) = owner.before.as_deref().filter(|_| positions.iter().any(|p| *p < owner.base)) {
            owner = before;
        }
        let gone = |at: u64| Error::new(Code::Altered, format!("log {} lacks leaf {at}", owner.number));
        tenant.view(|view, tx| {
            let row = tx.log(owner.number)?.ok_or_else(|| Error::new(Code::Altered, format!("log {} is gone", owner.number)))?;
            let size = Checkpoint::parse(Note::parse(row.checkpoint.as_bytes())?.text)?.size;
            // Where that was appended to a later log, this one does not say it.
            let own = |at: &u64| (owner.base..owner.base + size).contains(at);
            let mut all: BTreeSet<u64> = positions.iter().copied().collect();
            for position in positions {
                all.extend(view.settler(tx, &tenant.log, *position)?.filter(own));
            }
            if !all.iter().all(own) {
                return Ok(None);
            }
            let (mut heard, mut events) = (Heard::default(), Vec::with_capacity(all.len()));
            for position in all {
                let index = position - owner.base;
                let row = tx.event(owner.number, index)?.ok_or_else(|| gone(index))?;
                let body = row.body.ok_or_else(|| gone(index))?;
                heard.take(&row.leaf, &body, owner)?;
                let proof = inclusion(&StoreTiles { tx, log: owner.number }, index, size)?;
                let proof = proof.iter().map(|hash| base64(hash)).collect();
                events.push(Proven { index, leaf: base64(&row.leaf), body: base64(&body), proof });
            }
            Ok(Some(Self {
                format: FORMAT.to_owned(),
                version: VERSION,
                log: hex(&owner.id),
                reason: heard.reason().name().to_owned(),
                state: heard.state().to_owned(),
                erased: heard.erased.len() as u64,
                checkpoint: crate::pq::released(tenant.inner.keyring.as_deref(), &owner.id, row.checkpoint)?,
                events,
            }))
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
        if head.origin != origin || !log.signs(head.size, &note) {
            return Err(invalid("has a checkpoint that is not signed by the log's key"));
        }
        let mut heard = Heard::default();
        for event in &self.events {
            event.check(log, &head, &mut heard)?;
        }
        if heard.erased.len() as u64 != self.erased {
            return Err(invalid("counts other events than it names"));
        }
        if heard.state() != self.state {
            return Err(invalid(&format!("says that the erasure is '{}', which its events do not", self.state)));
        }
        if heard.reason().name() != self.reason {
            return Err(invalid(&format!("gives the reason '{}', which its events do not", self.reason)));
        }
        Ok(Said { reason: heard.reason(), erased: heard.erased })
    }
}

impl Heard {
    /// Takes note of an event.
    fn take(&mut self, data: &[u8], body: &[u8], log: &Log) -> Result<()> {
        let header = Leaf::decode(data).map_err(|e| invalid("holds a malformed event").caused_by(e))?.header;
        let own = header.log == log.id && hash::public_body(body) == header.body;
        match PublicBody::decode(header.kind, body).ok().flatten().filter(|_| own) {
            Some(PublicBody::Erase { reason, positions, .. })
                if positions.len() == header.refs.len() && self.reason.is_none_or(|earlier| earlier == reason) =>
            {
                self.reason = Some(reason);
                self.erased.extend(positions.into_iter().zip(header.refs));
                self.erasures.push(leaf::hash(data));
                Ok(())
            }
            // Only the log's own actor knows it.
            Some(PublicBody::EraseDone { .. }) if header.actor == log.system => {
                self.done.extend(header.refs);
                Ok(())
            }
            _ => Err(invalid("holds an event that is no erasure in the log that it names, or one for another reason")),
        }
    }

    fn reason(&self) -> Reason {
        self.reason.and_then(Reason::from_number).unwrap_or_default()
    }

    fn state(&self) -> &'static str {
        if !self.erasures.is_empty() && self.erasures.iter().all(|leaf| self.done.contains(leaf)) { "done" } else { "pending" }
    }
}

impl Proven {
    fn check(&self, log: &Log, head: &Checkpoint<'_>, heard: &mut Heard) -> Result<()> {
        let bytes = |text: &str| from_base64(text).ok_or_else(|| invalid("holds what is no base64"));
        let (data, body) = (bytes(&self.leaf)?, bytes(&self.body)?);
        let hashes = self.proof.iter().map(|text| Hash::try_from(bytes(text)?).map_err(|_| invalid("holds a malformed proof")));
        let proof = hashes.collect::<Result<Vec<Hash>>>()?;
        if !merkle::includes(&head.root, head.size, self.index, &leaf::hash(&data), &proof) {
            return Err(invalid("holds an event that is not in the tree of its checkpoint"));
        }
        heard.take(&data, &body, log)
    }
}
