//! Actors: their chains, the keys that speak for them, the epochs that these
//! certify, and what ends a key or an identity.

use super::part::ActorPart;
use super::report::MAX_DISPUTED;
use super::{Fault, Ledger, fault};
use crate::body::{PublicBody, epoch_certificate};
use crate::did::DidLog;
use crate::hash::Hash;
use crate::trail::{Disputed, Trail};
use crate::{Header, Kind, Leaf, PublicKey};
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(super) const BROUGHT: &str = "an event that brings a key must be signed by it";
pub(super) const UNCHAINED: &str = "does not follow its actor's previous event";
const REVOKED: &str = "identity.revoked";

/// Whether a key still speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Term {
    Open,
    /// A rotation ended it before it had signed all that it wrote: a last word
    /// may do that.
    Late,
    Ended,
}

/// A key that speaks, or spoke, for an actor.
pub(super) struct Signer {
    /// Number of the event that brought it.
    aseq: u64,
    key: Box<PublicKey>,
    /// An epoch's key, which may leave events for a later signature. An
    /// identity's own key signs each event that names it.
    epoch: bool,
    /// Milliseconds; identity keys do not expire.
    not_after: u64,
    term: Term,
    /// Events that name this signer since its last signature.
    pub(super) unsigned: u64,
}

/// Somebody with a chain.
pub(super) struct Actor {
    pub(super) digest: Hash,
    /// Unknown only in a part.
    pub(super) did: Option<DidLog>,
    /// The number that its next event must have; unknown only in a part, before
    /// its first event.
    pub(super) next: Option<u64>,
    pub(super) last: Hash,
    /// By the number of the event that brought them. A chain brings them in that
    /// order; one that does not is broken.
    pub(super) signers: Vec<Signer>,
    pub(super) part: ActorPart,
    pub(super) trail: Trail,
    /// Its identity has ended: nothing more is valid.
    pub(super) revoked: bool,
}

impl Actor {
    fn place_of(&self, aseq: u64) -> Result<usize, usize> {
        self.signers.binary_search_by_key(&aseq, |signer| signer.aseq)
    }

    fn signer(&mut self, aseq: u64) -> Option<&mut Signer> {
        let at = self.place_of(aseq).ok()?;
        self.signers.get_mut(at)
    }

    /// Enters a key under the number of the event that brings it.
    fn enter(&mut self, aseq: u64, key: PublicKey, epoch: bool, not_after: u64) {
        let signer = Signer { aseq, key: Box::new(key), epoch, not_after, term: Term::Open, unsigned: 0 };
        let at = self.place_of(aseq);
        if let Ok(at) = at {
            self.signers.remove(at);
        }
        self.signers.insert(at.unwrap_or_else(|at| at), signer);
    }

    fn end_all(&mut self) {
        self.signers.iter_mut().for_each(|signer| signer.term = Term::Ended);
    }

    /// Ends all keys but those epochs that did not sign all they wrote; of a
    /// part nobody can tell.
    fn rotate(&mut self, whole: bool) {
        for signer in &mut self.signers {
            let late = signer.epoch && signer.term != Term::Ended && (!whole || signer.unsigned > 0);
            signer.term = if late { Term::Late } else { Term::Ended };
        }
    }

    /// Events that no later signature of their own signer covers.
    pub(super) fn unsigned(&self) -> u64 {
        self.part.unsigned + self.signers.iter().map(|signer| signer.unsigned).sum::<u64>()
    }
}

/// Whether an event says nothing but that what came before it was said.
fn is_last_word(header: &Header) -> bool {
    matches!(header.kind, Kind::SEAL | Kind::EPOCH_CLOSE) && header.refs.is_empty() && header.session == [0; 16]
}

impl Ledger {
    /// The last leaf hash of an actor's chain so far, and the number that its
    /// next event must have.
    #[must_use]
    pub fn head(&self, actor: &Hash) -> Option<(Hash, u64)> {
        let actor = self.actors.get(self.find(actor)?)?;
        Some((actor.last, actor.next?))
    }

    /// All actors seen so far.
    pub fn actors(&self) -> impl Iterator<Item = &Hash> {
        self.actors.iter().map(|actor| &actor.digest)
    }

    fn find(&self, actor: &Hash) -> Option<usize> {
        // Mostly the one whose event was the last.
        if self.actors.get(self.speaking).is_some_and(|last| last.digest == *actor) {
            return Some(self.speaking);
        }
        self.names.get(actor).map(|at| *at as usize)
    }

    /// An actor's place; a new one, where it has none.
    fn register(&mut self, digest: Hash) -> usize {
        if let Some(at) = self.find(&digest) {
            return at;
        }
        let at = self.actors.len();
        self.names.insert(digest, at as u64);
        self.actors.push(Actor {
            digest,
            did: None,
            next: None,
            last: [0; 32],
            signers: Vec::new(),
            part: ActorPart::default(),
            trail: Trail::default(),
            revoked: false,
        });
        at
    }

    /// Checks the actor's chain, the signer and the signature.
    pub(super) fn chain(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, public: Option<&PublicBody<'_>>, asked: bool) -> Result<(), Fault> {
        let (header, whole) = (&leaf.header, self.part.is_none());
        let brought = match public {
            Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log }) => Some(*did_log),
            // A recovery is of somebody who is known, or it recovers nothing.
            Some(PublicBody::Recover { did_log, .. }) if !whole || self.find(&header.actor).is_some() => Some(*did_log),
            _ => None,
        };
        if let Some(did_log) = brought {
            self.identity(header, did_log).inspect_err(|f| {
                // An event of an identity that has ended is refused for that.
                if f.code != REVOKED && !self.has_ended(&header.actor) {
                    self.count_unattributed(asked);
                }
            })?;
        }
        let at = match self.find(&header.actor) {
            Some(at) => at,
            None if whole => return Err(fault("chain.unknown_actor", "its actor has no identity entry in this log")),
            None => self.register(header.actor),
        };
        self.speaking = at;
        let in_place = self.takes_its_place(at, header, leaf_hash, asked);
        let Some(actor) = self.actors.get_mut(at) else { return Ok(()) };
        if actor.revoked {
            return Err(fault(REVOKED, "its actor's identity was revoked before"));
        }
        if let Some(PublicBody::EpochOpen { key, version, not_after, certificate, ends }) = public {
            let current = actor.did.as_ref().and_then(DidLog::latest);
            if current.is_none() && !whole {
                return self.unattributed(header, asked);
            }
            let message = epoch_certificate(&header.log, &header.actor, key, *version, *not_after);
            let current = current.filter(|v| v.number == *version);
            let certified = current.is_some_and(|v| v.actor_keys.iter().any(|k| k.verifies(&message, certificate)));
            let Some(key) = PublicKey::new(key).filter(|_| certified) else {
                self.count_unattributed(asked);
                return Err(fault("epoch.uncertified", "no actor key in force has certified this epoch key"));
            };
            for ended in ends {
                if let Some(s) = actor.signer(*ended).filter(|s| s.epoch) {
                    s.term = Term::Ended;
                }
            }
            actor.enter(header.aseq, key, true, *not_after);
        }
        let Some(signer) = actor.signer(header.signer) else {
            if !whole && !self.brings_no_key(at, header.signer) {
                return self.unattributed(header, asked);
            }
            self.count_unattributed(asked);
            return Err(fault("signer.unknown", "its signer field names no key of this actor"));
        };
        signer.unsigned += u64::from(asked);
        let over = match signer.term {
            Term::Open => false,
            Term::Late => !is_last_word(header),
            Term::Ended => true,
        };
        if over || header.time > signer.not_after {
            return Err(fault("signer.ended", "its signer's epoch was over"));
        }
        match &leaf.signature {
            None if header.kind.must_be_signed() || !signer.epoch => {
                return Err(fault("signature.missing", "an event of this kind, or by this signer, must be signed"));
            }
            None => {}
            Some((id, signature)) => {
                let valid = *id == signer.key.id() && signer.key.verifies(&crate::leaf::signed_bytes(leaf.header_bytes, id), signature);
                if !valid {
                    return Err(fault("signature.invalid", "its signature does not verify under the key of its signer"));
                }
                signer.unsigned = 0;
            }
        }
        if header.kind == Kind::EPOCH_CLOSE || signer.term == Term::Late {
            signer.term = Term::Ended;
        }
        if header.kind.brings_key() && header.signer != header.aseq {
            return Err(fault("signer.unknown", BROUGHT));
        }
        let by_epoch = signer.epoch;
        match public {
            Some(PublicBody::Recover { trusted, .. }) => self.dispute(at, header, None, *trusted)?,
            Some(PublicBody::EpochRevoke { epoch, trusted }) => {
                if by_epoch {
                    return Err(fault("signer.unknown", "an epoch is revoked by the actor's own key, not by another epoch"));
                }
                // A part need not show it.
                let hidden = !whole && !self.brings_no_key(at, *epoch);
                match self.actors.get_mut(at).and_then(|actor| actor.signer(*epoch)) {
                    Some(ended) if ended.epoch => ended.term = Term::Ended,
                    None if hidden => {}
                    _ => return Err(fault("epoch.unknown", "revokes something that is no epoch of its actor")),
                }
                self.dispute(at, header, Some(*epoch), *trusted)?;
            }
            _ => {}
        }
        if brought.is_some()
            && let Some(actor) = self.actors.get_mut(at)
            && actor.did.as_ref().and_then(DidLog::latest).is_some_and(|v| v.deactivated)
        {
            actor.revoked = true;
            actor.end_all();
        }
        if in_place { Ok(()) } else { Err(fault("chain.broken", UNCHAINED)) }
    }

    /// Whether an event follows its actor's last one, which it now is: to go on
    /// from what is there makes one break one finding. In a part, what else is
    /// wrong with an event does not hide that, so it is said at once.
    fn takes_its_place(&mut self, at: usize, header: &Header, leaf_hash: &Hash, asked: bool) -> bool {
        let whole = self.part.is_none();
        if !whole {
            self.link(at, header, asked);
        }
        let Some(actor) = self.actors.get_mut(at) else { return true };
        let next = actor.next.replace(header.aseq.saturating_add(1));
        let last = core::mem::replace(&mut actor.last, *leaf_hash);
        !whole || (next == Some(header.aseq) && header.prev == last)
    }

    /// Notes an event, whatever was found of it.
    pub(super) fn note(&mut self, header: &Header, asked: bool) {
        let Some(at) = self.find(&header.actor) else { return };
        if self.part.is_none() {
            let index = self.here;
            self.actors.get_mut(at).into_iter().for_each(|actor| actor.trail.push(index, header.signer));
        } else if asked {
            self.note_asked(at, header);
        }
    }

    /// Whether the signer that an event names was read.
    pub(super) fn speaks(&self, header: &Header) -> bool {
        self.find(&header.actor).and_then(|at| self.actors.get(at)).is_some_and(|actor| actor.place_of(header.signer).is_ok())
    }

    fn has_ended(&self, actor: &Hash) -> bool {
        self.find(actor).and_then(|at| self.actors.get(at)).is_some_and(|actor| actor.revoked)
    }

    /// Notes that an actor no longer stands by its events after one of them.
    fn dispute(&mut self, at: usize, header: &Header, epoch: Option<u64>, trusted: u64) -> Result<(), Fault> {
        if trusted >= header.aseq {
            return Err(fault("dispute.invalid", "trusts an event that does not come before it"));
        }
        let Some(actor) = self.actors.get(at) else { return Ok(()) };
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
                by: self.here,
            });
        }
        Ok(())
    }

    /// Registers an actor, or a new version of its identity.
    fn identity(&mut self, header: &Header, did_log: &[u8]) -> Result<(), Fault> {
        let invalid = |why| fault("identity.invalid", why);
        let did = DidLog::verify(did_log).map_err(|why| Fault { code: "identity.invalid", why })?;
        if did.digest != header.actor {
            return Err(invalid("the DID log is of another identity than the header names"));
        }
        if (header.kind == Kind::LOG_GENESIS) != (did.label == "sys") {
            return Err(invalid("the genesis, and nothing else, is by a system identity"));
        }
        let Some(latest) = did.latest() else { return Ok(()) };
        let whole = self.part.is_none();
        let begins = whole || header.aseq == 0;
        let known = self.find(&header.actor);
        if known.and_then(|at| self.actors.get(at)).map_or(latest.deactivated && begins, |known| known.revoked) {
            return Err(fault(REVOKED, "the identity was revoked before"));
        }
        let Some(key) = latest.actor_keys.first().cloned() else {
            return Err(invalid("the identity names no actor key"));
        };
        let first = latest.line;
        let at = self.register(header.actor);
        let Some(actor) = self.actors.get_mut(at) else { return Ok(()) };
        match &actor.did {
            // A chain begins with its identity; a part may show a later entry only.
            None if actor.next.is_none() && begins => {
                actor.next = Some(0);
                actor.last = first;
            }
            None => {}
            Some(known) => {
                if !did.versions.starts_with(&known.versions) || did.versions.len() == known.versions.len() {
                    return Err(fault("identity.forked", "the DID log does not continue the one known before"));
                }
                // A new version ends what the older keys may still say.
                if header.kind == Kind::IDENTITY_ENTRY { actor.rotate(whole) } else { actor.end_all() }
            }
        }
        actor.enter(header.aseq, key, false, u64::MAX);
        actor.did = Some(did);
        Ok(())
    }
}
