//! What only a part of a history needs: leaves that come with proofs, gaps
//! between them, and events whose key or signature is not in the part.

use super::Ledger;
use super::actors::{Actor, BROUGHT, UNCHAINED, UNKNOWN};
use super::bodies::Stored;
use super::report::{MissingLink, Trust};
use crate::hash::{self, Hash};
use crate::trail::Span;
use crate::{Header, Kind, Leaf, Problem, merkle};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

pub(super) const UNPROVEN: &str = "has no proof, and no event after it that names it";

/// What a part needs to know of an actor besides.
#[derive(Default)]
pub(super) struct ActorPart {
    /// Events shown that bring no key.
    pub(super) keyless: BTreeSet<u64>,
    /// Leaf and signer of the events that were asked for.
    pub(super) shown: BTreeMap<u64, (u64, u64)>,
    /// Gaps after the last event that was asked for.
    pub(super) gaps: Vec<(u64, u64)>,
    /// Events that were asked for, and that no signature can reach any more.
    pub(super) unsigned: u64,
    /// The last event, if it has no proof but the one after it.
    pub(super) chained: Option<u64>,
}

/// What a ledger of a part knows besides.
pub(super) struct Part {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// The index after that of the last leaf taken.
    pub(super) next: u64,
    /// The leaf that is looked at has no proof but the one after it.
    pub(super) chained: bool,
    pub(super) taken: u64,
    pub(super) unattributed: u64,
    pub(super) missing_links: Vec<MissingLink>,
}

impl Actor {
    /// Whether an event of a part may stand after the last one that was shown;
    /// what lies between is noted as a gap, which no signature reaches across.
    pub(super) fn follows(&mut self, next: u64, header: &Header) -> bool {
        if header.aseq <= next {
            return header.aseq == next && header.prev == self.last;
        }
        if !self.part.shown.is_empty() {
            self.part.gaps.push((next, header.aseq - 1));
        }
        self.part.unsigned += self.signers.values_mut().map(|s| core::mem::take(&mut s.unsigned)).sum::<u64>();
        true
    }

    /// The events after the one with number `trusted`, of an epoch or of all: in
    /// a part those that were asked for.
    pub(super) fn disputed(&self, trusted: u64, epoch: Option<u64>) -> Option<Span> {
        let mut of = self.part.shown.range(trusted.checked_add(1)?..).filter(|(_, (_, signer))| epoch.is_none_or(|e| e == *signer));
        let Some((&first, &(first_leaf, _))) = of.next() else { return self.trail.after(trusted, epoch) };
        let mut span = Span { first, last: first, first_leaf, last_leaf: first_leaf, count: 1 };
        for (&last, &(last_leaf, _)) in of {
            span = Span { last, last_leaf, count: span.count + 1, ..span };
        }
        Some(span)
    }

    /// Notes an event of a part.
    pub(super) fn note(&mut self, header: &Header, asked: bool, part: &mut Part) {
        if !header.kind.brings_key() {
            self.part.keyless.insert(header.aseq);
        }
        if asked {
            let actor = header.actor;
            part.missing_links.extend(self.part.gaps.drain(..).map(|(from, to)| MissingLink { actor, from, to }));
        }
    }
}

impl Ledger {
    /// A walk over a part of a log: leaves with proofs in the tree of `size`
    /// leaves with this `root`, from leaf 0 on, in order. After that leaf the
    /// checkpoint that says so is to be offered ([`Ledger::checkpoint`]).
    #[must_use]
    pub fn part(trust: Trust, size: u64, root: Hash) -> Self {
        let part = Part { size, root, next: 0, chained: false, taken: 0, unattributed: 0, missing_links: Vec::new() };
        let mut ledger = Self { part: Some(part), ..Self::new(trust) };
        ledger.confirmed.insert(size, root);
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
        let Some(part) = &mut self.part else { return (leaf_hash, None) };
        let in_order = index >= part.next && index < part.size;
        let late = part.taken == 0 && index != 0;
        // Of a leaf that cannot be read nothing else is asked.
        let proven = match (Leaf::decode(data), path) {
            (Err(_), _) => Some(true),
            (Ok(_), path) => path.map(|path| merkle::includes(&part.root, part.size, index, &leaf_hash, path)),
        };
        part.next = index.saturating_add(1);
        part.taken += 1;
        part.chained = proven.is_none() && !asked;
        if !in_order {
            let p = self.at("bundle.order", "is not above the one before it, or not below the size of the checkpoint");
            self.note_problem(p);
        }
        if late {
            let p = self.at("log.genesis", "a part begins with leaf 0, and this one does not");
            self.late = true;
            self.note_problem(p);
        }
        if proven == Some(false) || (proven.is_none() && asked) {
            let p = self.at("proof.invalid", "its proof does not lead to the root of the checkpoint");
            self.note_problem(p);
        }
        self.read(data, stored, asked)
    }

    /// Counts an event that a finding leaves without a sound key.
    pub(super) fn unattributed_by(&mut self, p: &Problem, actor: &Hash, asked: bool) {
        let keyless = matches!(p.code, "identity.invalid" | "identity.forked" | "epoch.uncertified");
        let over = self.actors.get(actor).is_some_and(|actor| actor.revoked);
        if !over && (keyless || (p.code == "signer.unknown" && p.message == UNKNOWN)) {
            self.part.iter_mut().for_each(|part| part.unattributed += u64::from(asked));
        }
    }

    /// Ends the links between events: one that waits for the next event of its
    /// actor has no proof.
    pub(super) fn end_links(&mut self) {
        let alone: Vec<u64> = self.actors.values().filter_map(|actor| actor.part.chained).collect();
        for at in alone {
            self.problem("proof.invalid", format!("leaf {at}"), UNPROVEN.to_owned());
        }
    }

    /// Goes on without the key that speaks for an event of a part.
    pub(super) fn unattributed(&mut self, header: &Header, asked: bool, in_place: bool) -> Result<(), Problem> {
        if let Some(part) = &mut self.part {
            part.unattributed += u64::from(asked);
        }
        if header.kind.brings_key() && header.signer != header.aseq {
            return Err(self.at("signer.unknown", BROUGHT));
        }
        if in_place { Ok(()) } else { Err(self.at("chain.broken", UNCHAINED)) }
    }
}
