//! What only a part of a history needs: leaves that come with proofs, gaps
//! between them, and events whose key or signature is not in the part.

use super::actors::{Actor, BROUGHT, UNCHAINED};
use super::bodies::Stored;
use super::report::{MissingLink, Trust};
use super::{Fault, Ledger, fault};
use crate::hash::{self, Hash};
use crate::trail::Span;
use crate::{Header, Kind, Leaf, merkle};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

const UNPROVEN: Fault = fault("proof.invalid", "has no proof, and no event after it that names it");

/// What a part needs to know of an actor besides.
#[derive(Default)]
pub(super) struct ActorPart {
    /// The events that were asked for, as they came.
    asked: Vec<Asked>,
    /// Gaps after the last event that was asked for.
    gaps: Vec<(u64, u64)>,
    /// Events that were asked for, and that no signature can reach any more.
    pub(super) unsigned: u64,
    /// The last event, if it has no proof but the one after it.
    chained: Option<u64>,
}

/// An event that was asked for.
struct Asked {
    aseq: u64,
    leaf: u64,
    signer: u64,
}

/// What a ledger of a part knows besides.
pub(super) struct Part {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// The index after that of the last leaf taken.
    next: u64,
    /// The leaf that is looked at has no proof but the one after it.
    chained: bool,
    pub(super) taken: u64,
    pub(super) unattributed: u64,
    pub(super) missing_links: Vec<MissingLink>,
    /// Events shown that bring no key, by [`name`].
    keyless: BTreeMap<Hash, u64>,
}

/// An event of an actor as a key of a map of hashes: one kind of map is enough.
fn name(actor: usize, aseq: u64) -> Hash {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&(actor as u64).to_be_bytes());
    name[8..16].copy_from_slice(&aseq.to_be_bytes());
    name
}

impl Actor {
    /// Whether an event of a part may stand after the last one that was shown;
    /// what lies between is noted as a gap, which no signature reaches across.
    fn follows(&mut self, header: &Header) -> bool {
        let Some(next) = self.next else { return true };
        if header.aseq <= next {
            return header.aseq == next && header.prev == self.last;
        }
        if !self.part.asked.is_empty() {
            self.part.gaps.push((next, header.aseq - 1));
        }
        self.part.unsigned += self.signers.iter_mut().map(|s| core::mem::take(&mut s.unsigned)).sum::<u64>();
        true
    }

    /// The events after the one with number `trusted`, of an epoch or of all: in
    /// a part those that were asked for.
    pub(super) fn disputed(&self, trusted: u64, epoch: Option<u64>) -> Option<Span> {
        let mut span = None::<Span>;
        for e in self.part.asked.iter().filter(|e| e.aseq > trusted && epoch.is_none_or(|epoch| epoch == e.signer)) {
            let found = span.get_or_insert(Span { first: e.aseq, last: e.aseq, first_leaf: e.leaf, last_leaf: e.leaf, count: 0 });
            (found.last, found.last_leaf, found.count) = (e.aseq, e.leaf, found.count + 1);
        }
        span.or_else(|| self.trail.after(trusted, epoch))
    }
}

impl Ledger {
    /// A walk over a part of a log: leaves with proofs in the tree of `size`
    /// leaves with this `root`, from leaf 0 on, in order. After that leaf the
    /// checkpoint that says so is to be offered ([`Ledger::checkpoint`]).
    #[must_use]
    pub fn part(trust: Trust, size: u64, root: Hash) -> Self {
        let mut ledger = Self::new(trust);
        ledger.part = Some(Part {
            size,
            root,
            next: 0,
            chained: false,
            taken: 0,
            unattributed: 0,
            missing_links: Vec::new(),
            keyless: BTreeMap::new(),
        });
        ledger.confirm(size, root);
        ledger
    }

    /// Takes a leaf of a part: its index, whether it was asked for or only
    /// supports others, its data, what is stored of its body, and the proof that
    /// it is in the tree (RFC 9162 section 2.1.3). A supporting leaf may do
    /// without, if the next leaf of its actor names it as the one before.
    /// Returns what [`Ledger::leaf`] does.
    pub fn shown(&mut self, index: u64, asked: bool, data: &[u8], stored: Stored<'_>, path: Option<&[Hash]>) -> (Hash, Option<Kind>) {
        self.here = index;
        let leaf_hash = hash::leaf(data);
        let leaf = Leaf::decode(data);
        let Some(part) = &mut self.part else { return (leaf_hash, None) };
        let in_order = index >= part.next && index < part.size;
        let late = part.taken == 0 && index != 0;
        // Of a leaf that cannot be read nothing else is asked.
        let proven = match (&leaf, path) {
            (Err(_), _) => Some(true),
            (Ok(_), path) => path.map(|path| merkle::includes(&part.root, part.size, index, &leaf_hash, path)),
        };
        part.next = index.saturating_add(1);
        part.taken += 1;
        part.chained = proven.is_none() && !asked;
        if !in_order {
            self.fault(fault("bundle.order", "is not above the one before it, or not below the size of the checkpoint"));
        }
        if late {
            self.late = true;
            self.fault(fault("log.genesis", "a part begins with leaf 0, and this one does not"));
        }
        if proven == Some(false) || (proven.is_none() && asked) {
            self.fault(fault("proof.invalid", "its proof does not lead to the root of the checkpoint"));
        }
        (leaf_hash, self.take(leaf, &leaf_hash, stored, asked))
    }

    /// Joins an event to the last one of its actor that was shown.
    pub(super) fn link(&mut self, at: usize, header: &Header, asked: bool) {
        let index = self.here;
        let (Some(actor), Some(part)) = (self.actors.get_mut(at), &mut self.part) else { return };
        let mut unproven = actor.part.chained.take().filter(|_| actor.next.is_some_and(|next| header.aseq > next));
        let follows = actor.follows(header);
        if !header.kind.brings_key() {
            part.keyless.insert(name(at, header.aseq), 0);
        }
        if asked {
            let digest = actor.digest;
            part.missing_links.extend(actor.part.gaps.drain(..).map(|(from, to)| MissingLink { actor: digest, from, to }));
        }
        if part.chained && header.kind.brings_key() {
            unproven = Some(index);
        } else if part.chained {
            actor.part.chained = Some(index);
        }
        if !follows {
            self.fault(fault("chain.broken", UNCHAINED));
        }
        if let Some(at) = unproven {
            self.fault_at(at, UNPROVEN);
        }
    }

    /// Notes an event that was asked for, after it was judged.
    pub(super) fn note_asked(&mut self, at: usize, header: &Header) {
        if let Some(actor) = self.actors.get_mut(at) {
            actor.part.asked.push(Asked { aseq: header.aseq, leaf: self.here, signer: header.signer });
        }
    }

    /// Whether an event of an actor was shown that brings no key.
    pub(super) fn brings_no_key(&self, actor: usize, aseq: u64) -> bool {
        self.part.as_ref().is_some_and(|part| part.keyless.contains_key(&name(actor, aseq)))
    }

    /// Ends the links between events: one that waits for the next event of its
    /// actor has no proof.
    pub(super) fn end_links(&mut self) {
        let alone: Vec<u64> = self.actors.iter().filter_map(|actor| actor.part.chained).collect();
        alone.into_iter().for_each(|at| self.fault_at(at, UNPROVEN));
    }

    /// Counts an event of a part that was asked for and that no key speaks for.
    pub(super) fn count_unattributed(&mut self, asked: bool) {
        if let Some(part) = &mut self.part {
            part.unattributed += u64::from(asked);
        }
    }

    /// Goes on without the key that speaks for an event of a part.
    pub(super) fn unattributed(&mut self, header: &Header, asked: bool) -> Result<(), Fault> {
        self.count_unattributed(asked);
        if header.kind.brings_key() && header.signer != header.aseq { Err(fault("signer.unknown", BROUGHT)) } else { Ok(()) }
    }
}
