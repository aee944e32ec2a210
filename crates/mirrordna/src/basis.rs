//! What an answer rests on.

use crate::checks::VERIFIES;
use crate::log::{Epoch, Log, lock};
use crate::timeline::Timeline;
use crate::view::Event;
use crate::witness::Freshness;
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::{Code, Error, Result};
use mirrordna_storage::ReadTx;
use std::fmt;
use std::sync::Arc;

/// What vouches for an event as it was read, the strongest first. That an event
/// is the one which its log's tree has is checked in every case; this says who
/// signed that tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Basis {
    /// This process remembers writing exactly this. It does so until its next
    /// signature, which a checkpoint follows.
    Own,
    /// A checkpoint covers it that the log records with a quorum of witnesses, for
    /// whom the policy asks that the database was opened with.
    Witnessed,
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
    /// `own`, `witnessed`, `checkpoint`, `tail` or `first_use`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Witnessed => "witnessed",
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
fn of(tx: &dyn ReadTx, log: &Log, event: &Event, policy: &Policy, witnessed: u64) -> Result<Basis> {
    let position = event.index;
    // That it names this process's epoch proves nothing: whoever can write the
    // file can write that.
    let wrote = |epoch: &Arc<Epoch>| lock(&epoch.unsigned).iter().any(|(index, hash)| log.base + index == position && *hash == event.hash);
    if lock(&log.late).iter().any(wrote) || lock(&log.epochs).get(&event.header.actor).is_some_and(wrote) {
        return Ok(Basis::Own);
    }
    let vouched = log.vouched || log.trusted_by(policy);
    if !vouched || log.freshness == Freshness::Forked {
        return Ok(Basis::FirstUse);
    }
    let row = log.row(tx)?;
    // What was adopted is covered where the event is that names it.
    let position =
        std::iter::successors(Some(position), |at| log.foreign_at(*at).map(|foreign| foreign.named_at)).last().unwrap_or(position);
    // Its second leaf, which the first checkpoint covers, names the logs before.
    let covered = position < log.base + log.signed_frontier(tx, &row)?.size();
    Ok(match (VERIFIES, covered) {
        (false, _) => Basis::FirstUse,
        (true, true) if position < witnessed => Basis::Witnessed,
        (true, true) => Basis::Checkpoint,
        (true, false) => Basis::Tail,
    })
}

impl Timeline {
    /// What vouches for the event at a leaf, whatever the scope of this handle.
    ///
    /// ```
    /// # use mirrordna::{Basis, Engine, IdentityType};
    /// # let engine = Engine::open("memory:")?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// let placed = agent.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"}))?;
    /// // Its own memory vouches for it, and within seconds a signed checkpoint.
    /// assert!(matches!(agent.timeline().basis(placed.index)?, Basis::Own | Basis::Checkpoint));
    /// assert_eq!(agent.timeline().basis(0)?, Basis::Checkpoint); // the log's genesis
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `record.not_found` beyond the end, or where its evidence does not hold.
    pub fn basis(&self, leaf: u64) -> Result<Basis> {
        let policy = &self.tenant.inner.policy;
        let witnessed = if policy.asks_for_quorum() { self.tenant.witnessed(policy)? } else { 0 };
        self.tenant.view(|view, tx| {
            let event = view.bare_event(tx, &self.tenant.log, leaf)?;
            let event = event.ok_or_else(|| Error::new(Code::NotFound, format!("there is no event {leaf}")))?;
            of(tx, &self.tenant.log, &event, policy, witnessed)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Engine, IdentityType};

    #[test]
    fn an_event_that_only_names_an_epoch_is_not_its_own() {
        let engine = Engine::open("memory:").unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        let placed = agent.timeline().append("thing.done", &serde_json::json!(1)).unwrap();
        // As if another had written it: this process does not remember it.
        let epoch = lock(&engine.main().log.epochs).values().next().unwrap().clone();
        lock(&epoch.unsigned).clear();
        assert!(matches!(engine.timeline().basis(placed.index).unwrap(), Basis::Tail | Basis::Checkpoint));
    }
}
