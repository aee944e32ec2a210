//! Actors: their chains, the keys that speak for them, the epochs that these
//! certify, and what ends a key or an identity.

use super::Ledger;
use super::part::{ActorPart, UNPROVEN};
use super::report::MAX_DISPUTED;
use crate::body::{PublicBody, epoch_certificate};
use crate::did::DidLog;
use crate::hash::Hash;
use crate::trail::{Disputed, Trail};
use crate::{Kind, Leaf, Malformed, Problem, PublicKey};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;

pub(super) const UNKNOWN: &str = "its signer field names no key of this actor";
pub(super) const BROUGHT: &str = "an event that brings a key must be signed by it";
pub(super) const UNCHAINED: &str = "does not follow its actor's previous event";

pub(super) struct Signer {
    pub(super) key: PublicKey,
    /// An epoch's key, which may leave events for a later signature. An
    /// identity's own key signs each event that names it.
    pub(super) epoch: bool,
    /// Milliseconds; identity keys do not expire.
    pub(super) not_after: u64,
    pub(super) ended: bool,
    /// Events that name this signer since its last signature.
    pub(super) unsigned: u64,
}

#[derive(Default)]
pub(super) struct Actor {
    /// Unknown only in a part.
    pub(super) did: Option<DidLog>,
    /// The number that its next event must have; unknown only in a part, before
    /// its first event.
    pub(super) next: Option<u64>,
    pub(super) last: Hash,
    pub(super) signers: BTreeMap<u64, Signer>,
    pub(super) part: ActorPart,
    pub(super) trail: Trail,
    /// Its identity has ended: nothing more is valid.
    pub(super) revoked: bool,
}

impl Ledger {
    /// The last leaf hash of an actor's chain so far, and the number that its
    /// next event must have.
    #[must_use]
    pub fn head(&self, actor: &Hash) -> Option<(Hash, u64)> {
        self.actors.get(actor).and_then(|a| Some((a.last, a.next?)))
    }

    /// All actors seen so far.
    pub fn actors(&self) -> impl Iterator<Item = &Hash> {
        self.actors.keys()
    }

    /// Checks the actor's chain, the signer and the signature.
    pub(super) fn chain(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, public: Option<&PublicBody<'_>>, asked: bool) -> Result<(), Problem> {
        let header = &leaf.header;
        match public {
            Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log }) => self.identity(header, did_log)?,
            // A recovery is of somebody who is known, or it recovers nothing.
            Some(PublicBody::Recover { did_log, .. }) if self.part.is_some() || self.actors.contains_key(&header.actor) => {
                self.identity(header, did_log)?
            }
            _ => {}
        }
        let index = self.here;
        let fail = |code, message: &str| Err(Problem { code, place: format!("leaf {index}"), message: message.to_owned() });
        if self.part.is_some() {
            self.actors.entry(header.actor).or_default();
        }
        let Some(actor) = self.actors.get_mut(&header.actor) else {
            return fail("chain.unknown_actor", "its actor has no identity entry in this log");
        };
        let alone = actor.part.chained.take().filter(|_| actor.next.is_some_and(|next| header.aseq > next));
        let in_place = match (actor.next, &self.part) {
            (None, _) => true,
            (Some(next), Some(_)) => actor.follows(next, header),
            (Some(next), None) => header.aseq == next && header.prev == actor.last,
        };
        // In a part, what else is wrong with it does not hide that.
        let broken = !in_place && self.part.is_some();
        let in_place = in_place || broken;
        // Go on from what is there: one break is one finding.
        actor.next = Some(header.aseq.saturating_add(1));
        actor.last = *leaf_hash;
        let mut unproven = alone;
        if let Some(part) = &mut self.part {
            actor.note(header, asked, part);
            if part.chained && header.kind.brings_key() {
                unproven = Some(index);
            } else if part.chained {
                actor.part.chained = Some(index);
            }
        }
        if broken {
            self.problem("chain.broken", format!("leaf {index}"), UNCHAINED.to_owned());
        }
        if let Some(at) = unproven {
            self.problem("proof.invalid", format!("leaf {at}"), UNPROVEN.to_owned());
        }
        let Some(actor) = self.actors.get_mut(&header.actor) else { return Ok(()) };
        if actor.revoked {
            return fail("identity.revoked", "its actor's identity was revoked before");
        }
        if let Some(PublicBody::EpochOpen { key, version, not_after, certificate, ends }) = public {
            let message = epoch_certificate(&header.log, &header.actor, key, *version, *not_after);
            let current = actor.did.as_ref().and_then(DidLog::latest);
            if current.is_none() && self.part.is_some() {
                return self.unattributed(header, asked, in_place);
            }
            let current = current.filter(|v| v.number == *version);
            let certified = current.is_some_and(|v| v.actor_keys.iter().any(|k| k.verifies(&message, certificate)));
            let key = PublicKey::new(key).filter(|_| certified);
            let Some(key) = key else {
                return fail("epoch.uncertified", "no actor key in force has certified this epoch key");
            };
            for ended in ends {
                if let Some(s) = actor.signers.get_mut(ended).filter(|s| s.epoch) {
                    s.ended = true;
                }
            }
            actor.signers.insert(header.aseq, Signer { key, epoch: true, not_after: *not_after, ended: false, unsigned: 0 });
        }
        let Some(signer) = actor.signers.get_mut(&header.signer) else {
            if self.part.is_some() && !actor.part.keyless.contains(&header.signer) {
                return self.unattributed(header, asked, in_place);
            }
            return fail("signer.unknown", UNKNOWN);
        };
        signer.unsigned += u64::from(asked);
        if signer.ended || header.time > signer.not_after {
            return fail("signer.ended", "its signer's epoch was over");
        }
        match &leaf.signature {
            None if header.kind.must_be_signed() || !signer.epoch => {
                return fail("signature.missing", "an event of this kind, or by this signer, must be signed");
            }
            None => {}
            Some((id, signature)) => {
                let valid = *id == signer.key.id() && signer.key.verifies(&crate::leaf::signed_bytes(leaf.header_bytes, id), signature);
                if !valid {
                    return fail("signature.invalid", "its signature does not verify under the key of its signer");
                }
                signer.unsigned = 0;
            }
        }
        if header.kind == Kind::EPOCH_CLOSE {
            signer.ended = true;
        }
        if header.kind.brings_key() && header.signer != header.aseq {
            return fail("signer.unknown", BROUGHT);
        }
        let by_epoch = signer.epoch;
        let disputed = match public {
            Some(PublicBody::Recover { trusted, .. }) => Some((None, *trusted)),
            Some(PublicBody::EpochRevoke { epoch, trusted }) => {
                if by_epoch {
                    return fail("signer.unknown", "an epoch is revoked by the actor's own key, not by another epoch");
                }
                match actor.signers.get_mut(epoch) {
                    Some(ended) if ended.epoch => ended.ended = true,
                    // A part need not show it.
                    None if self.part.is_some() && !actor.part.keyless.contains(epoch) => {}
                    _ => return fail("epoch.unknown", "revokes something that is no epoch of its actor"),
                }
                Some((Some(*epoch), *trusted))
            }
            _ => None,
        };
        if let Some((epoch, trusted)) = disputed {
            if trusted >= header.aseq {
                return fail("dispute.invalid", "trusts an event that does not come before it");
            }
            if self.disputed.len() >= MAX_DISPUTED {
                self.unlisted_disputes += 1;
            } else if let Some(span) = actor.disputed(trusted, epoch) {
                self.disputed.push(Disputed {
                    actor: header.actor,
                    label: actor.did.as_ref().map(|did| did.label.clone()).unwrap_or_default(),
                    epoch,
                    first: span.first,
                    last: span.last,
                    first_leaf: span.first_leaf,
                    last_leaf: span.last_leaf,
                    count: span.count,
                    by: index,
                });
            }
        }
        if matches!(header.kind, Kind::IDENTITY_ENTRY | Kind::IDENTITY_RECOVER)
            && actor.did.as_ref().and_then(DidLog::latest).is_some_and(|v| v.deactivated)
        {
            actor.revoked = true;
            actor.signers.values_mut().for_each(|s| s.ended = true);
        }
        if !in_place {
            return fail("chain.broken", UNCHAINED);
        }
        Ok(())
    }

    /// Registers an actor, or a new version of its identity.
    fn identity(&mut self, header: &crate::Header, did_log: &[u8]) -> Result<(), Problem> {
        let did = DidLog::verify(did_log).map_err(|e: Malformed| self.at("identity.invalid", &e.to_string()))?;
        if did.digest != header.actor {
            return Err(self.at("identity.invalid", "the DID log is of another identity than the header names"));
        }
        if (header.kind == Kind::LOG_GENESIS) != (did.label == "sys") {
            return Err(self.at("identity.invalid", "the genesis, and nothing else, is by a system identity"));
        }
        let Some(latest) = did.latest() else { return Ok(()) };
        let ended =
            self.actors.get(&header.actor).map_or(latest.deactivated && (self.part.is_none() || header.aseq == 0), |known| known.revoked);
        if ended {
            return Err(self.at("identity.revoked", "the identity was revoked before"));
        }
        let Some(key) = latest.actor_keys.first().cloned() else {
            return Err(self.at("identity.invalid", "the identity names no actor key"));
        };
        let signer = Signer { key, epoch: false, not_after: u64::MAX, ended: false, unsigned: 0 };
        let first = latest.line;
        let actor = self.actors.entry(header.actor).or_default();
        match &actor.did {
            // A chain begins with its identity; a part may show a later entry only.
            None if actor.next.is_none() && (self.part.is_none() || header.aseq == 0) => {
                actor.next = Some(0);
                actor.last = first;
            }
            None => {}
            Some(known) => {
                if !did.versions.starts_with(&known.versions) || did.versions.len() == known.versions.len() {
                    return Err(self.at("identity.forked", "the DID log does not continue the one known before"));
                }
                // A new version ends what the older keys may still say.
                actor.signers.values_mut().for_each(|s| s.ended = true);
            }
        }
        actor.signers.insert(header.aseq, signer);
        actor.did = Some(did);
        Ok(())
    }
}
