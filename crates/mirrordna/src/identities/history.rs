//! What an identity was at each position of its log.

use super::{Identities, Identity};
use crate::engine::Inner;
use crate::keyring::hex;
use crate::log::Log;
use crate::view::{IdentityEvent, Said, View};
use mirrordna_core::verify::did::{DidLog, Version};
use mirrordna_core::{Code, Error, Hash, Result, time};
use mirrordna_storage::ReadTx;
use serde::Serialize;
use std::sync::Arc;

/// A version of an identity, and where the log took it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct IdentityVersion {
    /// Number, from 1.
    pub version: u64,
    /// `created`, `rotated`, `recovered` or `revoked`.
    pub what: &'static str,
    /// Position in the timeline of the event that brought it. This decides which
    /// key was in force, not a time that anybody claims.
    pub position: u64,
    /// Time of that event, RFC 3339.
    pub time: String,
    /// Keys of its document, as multikeys: the first speaks for the actor.
    pub keys: Vec<String>,
    /// Fingerprints of the same keys (SHA-256), hex.
    pub fingerprints: Vec<String>,
    /// Whether the identity ended with it.
    pub revoked: bool,
}

/// Events that their actor no longer stands by: they may be by a thief of its
/// keys. Nothing of them was altered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct DisputedRange {
    /// Only those of this epoch (by number in the actor's chain); all of the
    /// actor's in the range where there is none.
    pub epoch: Option<u64>,
    /// Number of the first one in the actor's chain, from 0.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Position of the first one.
    pub first_position: u64,
    /// Position of the last one.
    pub last_position: u64,
    /// How many there are.
    pub count: u64,
    /// Position of the event that disputes them.
    pub by: u64,
}

/// The versions of an identity, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct IdentityHistory {
    /// Display id.
    pub id: String,
    /// What it was, from when on.
    pub versions: Vec<IdentityVersion>,
    /// What it no longer stands by.
    pub disputed: Vec<DisputedRange>,
    /// Whether it has ended.
    pub revoked: bool,
}

impl Identities {
    /// The version of an identity that was in force for the event at a position:
    /// the newest that the log had taken in by then, that event included.
    ///
    /// ```
    /// # use mirrordna::{Engine, IdentityType};
    /// # let engine = Engine::open("memory:")?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// let before = agent.memories().add("by the first key").send()?;
    /// agent.rotate()?;
    /// let at = |position| engine.identities().resolve_at(agent.id(), position);
    /// assert_eq!(at(before.event.index)?.version, 1);
    /// assert_eq!(at(u64::MAX)?.version, 2);
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `record.not_found` where the log did not know the identity at that
    /// position; `log.altered` where what it holds of it does not verify.
    pub fn resolve_at(&self, id: &str, position: u64) -> Result<IdentityVersion> {
        let history = self.get(id)?.history_at(position)?;
        let found = history.versions.into_iter().next_back();
        found.ok_or_else(|| Error::new(Code::NotFound, format!("at position {position} the log does not know identity {id}")))
    }
}

impl Identity {
    /// Its versions, oldest first, and what it no longer stands by.
    ///
    /// # Errors
    /// `log.altered` where what the log holds of it does not verify.
    pub fn history(&self) -> Result<IdentityHistory> {
        self.history_at(u64::MAX)
    }

    /// The same, as the events up to a position left it.
    ///
    /// # Errors
    /// As [`Identity::history`].
    pub fn history_at(&self, position: u64) -> Result<IdentityHistory> {
        history(&self.tenant.inner, &self.tenant.log, &self.digest, &self.id, position.saturating_add(1))
    }

    /// Its DID log (did:webvh 1.0, JSON Lines): what other resolvers read. Empty
    /// for an identity that was imported without keys.
    ///
    /// # Errors
    /// `log.altered` where what the log holds of it does not verify.
    pub fn did_log(&self) -> Result<String> {
        self.did_log_at(u64::MAX)
    }

    /// The same, as the events up to a position left it.
    ///
    /// # Errors
    /// As [`Identity::did_log`].
    pub fn did_log_at(&self, position: u64) -> Result<String> {
        let end = position.saturating_add(1);
        let events = self.tenant.view(|view, tx| view.identity_events(tx, &self.tenant.log, &self.digest, end))?;
        Ok(match super::newest(&events)? {
            Some((IdentityEvent { what: Said::Brought { did_log, .. }, .. }, _)) => String::from_utf8_lossy(did_log).into_owned(),
            _ => String::new(),
        })
    }
}

fn history(inner: &Inner, log: &Arc<Log>, actor: &Hash, id: &str, end: u64) -> Result<IdentityHistory> {
    inner.view(log, &mut |view, tx| {
        let events = view.identity_events(tx, log, actor, end)?;
        let mut out = IdentityHistory { id: id.to_owned(), versions: Vec::new(), disputed: Vec::new(), revoked: false };
        let Some((_, did)) = super::newest(&events)? else { return Ok(out) };
        for event in &events {
            let (epoch, trusted) = match &event.what {
                Said::Revoked { epoch, trusted } => (Some(*epoch), Some(*trusted)),
                Said::Brought { did_log, trusted } => {
                    // Each continues the one before; after a fork it may bring nothing new.
                    let known = did_log.iter().filter(|b| **b == b'\n').count();
                    let new = did.versions.get(out.versions.len()..known).unwrap_or_default();
                    out.versions.extend(new.iter().map(|version| described(version, event, trusted.is_some())));
                    (None, *trusted)
                }
            };
            if let Some(trusted) = trusted {
                out.disputed.extend(disputed(view, tx, log, actor, event, epoch, trusted)?);
            }
        }
        out.revoked = out.versions.last().is_some_and(|v| v.revoked);
        Ok(out)
    })
}

fn described(version: &Version, event: &IdentityEvent, recovered: bool) -> IdentityVersion {
    let what = match version.number {
        1 => "created",
        _ if version.deactivated => "revoked",
        _ if recovered => "recovered",
        _ => "rotated",
    };
    IdentityVersion {
        version: version.number,
        what,
        position: event.position,
        time: time::rfc3339(i64::try_from(event.header.time).unwrap_or(i64::MAX)),
        keys: version.actor_keys.iter().map(|key| key.multikey()).collect(),
        fingerprints: version.actor_keys.iter().map(|key| hex(&key.fingerprint())).collect(),
        revoked: version.deactivated,
    }
}

/// What an event disputes, as the ledger of a verification says it.
fn disputed(
    view: &View,
    tx: &dyn ReadTx,
    log: &Log,
    actor: &Hash,
    event: &IdentityEvent,
    epoch: Option<u64>,
    trusted: u64,
) -> Result<Option<DisputedRange>> {
    let mut range: Option<DisputedRange> = None;
    // A chain is of one log: those before this one have theirs.
    let base = log.at(event.position).0.base;
    let chain = view.chain(tx, log, actor, event.position)?;
    let own = chain.into_iter().filter(|p| (base..event.position).contains(p));
    for (aseq, position) in (0u64..).zip(own).skip_while(|(aseq, _)| *aseq <= trusted) {
        let counts = match epoch {
            None => true,
            Some(epoch) => view.bare_event(tx, log, position)?.is_some_and(|e| e.header.signer == epoch),
        };
        if counts {
            let by = event.position;
            let found = range.get_or_insert(DisputedRange {
                epoch,
                first: aseq,
                last: aseq,
                first_position: position,
                last_position: position,
                count: 0,
                by,
            });
            (found.last, found.last_position, found.count) = (aseq, position, found.count + 1);
        }
    }
    Ok(range)
}

/// The newest version of a DID log.
pub(super) fn latest(did: &DidLog) -> Result<&Version> {
    did.latest().ok_or_else(|| Error::new(Code::Altered, "a DID log without versions"))
}
