//! What an answer rests on.

use crate::log::{Log, lock};
use crate::timeline::Timeline;
use crate::witness::Freshness;
use mirrordna_core::{Code, Error, Header, Result};
use mirrordna_storage::ReadTx;
use std::fmt;

/// What vouches for an event as it was read, the strongest first. That an event
/// is the one which its log's tree has is checked in every case; this says who
/// signed that tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Basis {
    /// This process wrote it.
    Own,
    /// A checkpoint covers it, signed by the log key that the keyring of this
    /// machine or its head witness knows.
    Checkpoint,
    /// It comes after such a checkpoint, and is chained to what that covers: the
    /// next checkpoint will cover it, unless its writer was stopped.
    Tail,
    /// Nothing on this machine knows the log's key.
    FirstUse,
}

impl Basis {
    /// `own`, `checkpoint`, `tail` or `first_use`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Checkpoint => "checkpoint",
            Self::Tail => "tail",
            Self::FirstUse => "first_use",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The basis of an event that was read from a log or from one before it.
fn of(tx: &dyn ReadTx, log: &Log, position: u64, header: &Header) -> Result<Basis> {
    let own = lock(&log.epochs).get(&header.actor).is_some_and(|epoch| epoch.opened() == Some(header.signer));
    if own && header.log == log.id {
        return Ok(Basis::Own);
    }
    if !log.vouched || log.freshness == Freshness::Forked {
        return Ok(Basis::FirstUse);
    }
    let row = log.row(tx)?;
    // Its second leaf, which the first checkpoint covers, names the logs before.
    let covered = position < log.base + log.signed_frontier(&row)?.size();
    Ok(if covered { Basis::Checkpoint } else { Basis::Tail })
}

impl Timeline {
    /// What vouches for the event at a leaf, whatever the scope of this handle.
    ///
    /// ```
    /// # use mirrordna::{Basis, Engine, IdentityType};
    /// # let engine = Engine::open("memory:")?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// let placed = agent.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"}))?;
    /// assert_eq!(agent.timeline().basis(placed.index)?, Basis::Own);
    /// assert_eq!(agent.timeline().basis(0)?, Basis::Checkpoint); // the log's genesis
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `record.not_found` beyond the end, or where its evidence does not hold.
    pub fn basis(&self, leaf: u64) -> Result<Basis> {
        self.tenant.view(|view, tx| {
            let event = view.bare_event(tx, &self.tenant.log, leaf)?;
            let event = event.ok_or_else(|| Error::new(Code::NotFound, format!("there is no event {leaf}")))?;
            of(tx, &self.tenant.log, leaf, &event.header)
        })
    }
}
