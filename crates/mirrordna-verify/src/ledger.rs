//! Walks one log from leaf 0 and accounts for everything in it.
//!
//! The ledger owns the rules: chains, signers, epochs, seals, bodies and
//! erasures. It takes leaves in order, keeps state per actor (not per event)
//! and ends in a [`Report`]. It never decides on the basis of something the
//! store claims about itself: stores hand over bytes, nothing else.
//!
//! A ledger is of a whole log, whose leaves lead to the root, or of a part of
//! one ([`Ledger::part`]), each of whose leaves brings its own proof.
//!
//! This file **owns** the walk itself: the order in which the rules are asked,
//! and those that are about the log as such. The others stand by subject:
//!
//! | file | owns |
//! |---|---|
//! | `actors` | chains, identities, epochs and seals: who may say what |
//! | `bodies` | bodies, their absence, and erasures |
//! | `checkpoints` | roots that were signed, the keys that sign them, and anchors |
//! | `part` | what only a part of a history needs |
//! | `report` | verdicts, findings and figures; trust |

mod actors;
mod bodies;
mod checkpoints;
mod part;
mod report;

pub use bodies::Stored;
pub use report::{Bodies, MAX_DISPUTED, MAX_PROBLEMS, MissingLink, Report, Trust, Verdict};

use crate::body::{Adopted, PublicBody};
use crate::hash::{self, Hash};
use crate::log_keys::LogKeys;
use crate::merkle::Frontier;
use crate::trail::Disputed;
use crate::{Header, Kind, Leaf, Malformed, Problem, PublicKey};
use actors::Actor;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use checkpoints::Offered;
use part::Part;

/// A rule that a leaf breaks: its code, and why.
#[derive(Debug)]
struct Fault {
    code: &'static str,
    why: Malformed,
}

const fn fault(code: &'static str, why: &'static str) -> Fault {
    Fault { code, why: Malformed::new("", why) }
}

/// The state of a walk through one log.
pub struct Ledger {
    trust: Trust,
    abandoned: bool,
    /// It was said that a part does not begin with leaf 0.
    late: bool,
    log: Option<[u8; 16]>,
    keys: LogKeys,
    /// The actor of the genesis.
    system: Option<Hash>,
    /// Database and tenant, by the genesis.
    owner: Option<([u8; 16], Hash)>,
    frontier: Frontier,
    part: Option<Part>,
    /// Index of the leaf that is looked at, or of the next one.
    here: u64,
    time: u64,
    actors: Vec<Actor>,
    /// Where each actor stands in that list. This, and what follows, are maps of
    /// one type: the verifier as a WebAssembly module has code for one.
    names: BTreeMap<Hash, u64>,
    /// The actor whose event was the last.
    speaking: usize,
    /// Leaf hash -> index of events whose body is absent.
    absent: BTreeMap<Hash, u64>,
    /// Leaf hashes that erase events refer to; the numbers mean nothing.
    erased: BTreeMap<Hash, u64>,
    bodies: Bodies,
    /// Checkpoints offered for sizes not reached yet, the largest first. In a
    /// part all of them: which key was in force shows only at its end.
    expected: Vec<(u64, Offered)>,
    /// Sizes and roots that the leaves led to, or a proof, the smallest first.
    confirmed: Vec<(u64, Hash)>,
    checkpoint: Option<u64>,
    adopted: Option<Adopted>,
    imported: Vec<(u64, Adopted)>,
    disputed: Vec<Disputed>,
    unlisted_disputes: u64,
    problems: Vec<Problem>,
    unlisted: u64,
}

impl Ledger {
    /// A walk that accepts `trust` as given from outside.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            abandoned: false,
            late: false,
            log: None,
            keys: LogKeys::default(),
            system: None,
            owner: None,
            frontier: Frontier::new(),
            part: None,
            here: 0,
            time: 0,
            actors: Vec::new(),
            names: BTreeMap::new(),
            speaking: 0,
            absent: BTreeMap::new(),
            erased: BTreeMap::new(),
            bodies: Bodies::default(),
            expected: Vec::new(),
            confirmed: Vec::new(),
            checkpoint: None,
            adopted: None,
            imported: Vec::new(),
            disputed: Vec::new(),
            unlisted_disputes: 0,
            problems: Vec::new(),
            unlisted: 0,
        }
    }

    /// The same walk, over a log whose id is known beforehand: leaves of another
    /// one are findings from the first on.
    #[must_use]
    pub const fn of(mut self, log: [u8; 16]) -> Self {
        self.log = Some(log);
        self
    }

    /// Number of leaves: those taken so far, or those of the tree that a part is
    /// of.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match &self.part {
            Some(part) => part.size,
            None => self.frontier.size(),
        }
    }

    /// Log id, once a leaf was read.
    #[must_use]
    pub const fn log(&self) -> Option<[u8; 16]> {
        self.log
    }

    /// The tree over the leaves taken so far.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The keys that sign the log's checkpoints, as far as it was read.
    #[must_use]
    pub const fn log_keys(&self) -> &LogKeys {
        &self.keys
    }

    /// The database and the keyed tag of the tenant that the genesis names.
    #[must_use]
    pub const fn owner(&self) -> Option<([u8; 16], Hash)> {
        self.owner
    }

    /// The root over the leaves taken so far, or that a part is of.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.part.as_ref().map_or_else(|| self.frontier.root(), |part| part.root)
    }

    /// The caller trusts some of the log's keys. Call it when all was read.
    pub fn vouch(&mut self, trusts: &dyn Fn(&PublicKey) -> bool) {
        let trusted = self.keys.all().iter().map(|(_, key)| key).filter(|key| trusts(key));
        self.trust = trusted.fold(core::mem::take(&mut self.trust), |trust, key| trust.and(key.fingerprint()));
    }

    /// The caller cannot go on, and says so itself: what only the end of the log
    /// would have shown is no finding.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// The log that this one goes on from, once its second leaf was read.
    #[must_use]
    pub const fn adopted(&self) -> Option<&Adopted> {
        self.adopted.as_ref()
    }

    /// That log, and those of other databases that were brought into this one.
    pub fn named_logs(&self) -> impl Iterator<Item = &Adopted> {
        self.adopted.iter().chain(self.imported.iter().map(|(_, log)| log))
    }

    /// Claimed time of the last leaf, milliseconds.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.time
    }

    /// Records a finding of the caller, so that it counts for the verdict.
    pub fn problem(&mut self, code: &'static str, place: String, message: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { code, place, message });
        } else {
            self.unlisted += 1;
        }
    }

    /// Records what is wrong with the leaf that is looked at.
    fn fault(&mut self, found: Fault) {
        self.fault_at(self.here, found);
    }

    fn fault_at(&mut self, leaf: u64, found: Fault) {
        self.problem(found.code, format!("leaf {leaf}"), found.why.sentence());
    }

    /// Takes the next leaf and what is stored of its body. Returns the leaf's
    /// hash and, unless it is malformed, its kind.
    pub fn leaf(&mut self, data: &[u8], stored: Stored<'_>) -> (Hash, Option<Kind>) {
        self.here = self.frontier.size();
        let leaf_hash = hash::leaf(data);
        let kind = self.take(Leaf::decode(data), &leaf_hash, stored, true);
        self.frontier.push(leaf_hash);
        self.here = self.frontier.size();
        self.compare_roots();
        (leaf_hash, kind)
    }

    /// Asks everything of a leaf. Returns its kind, unless it is malformed.
    fn take(&mut self, leaf: Result<Leaf<'_>, Malformed>, leaf_hash: &Hash, stored: Stored<'_>, asked: bool) -> Option<Kind> {
        let waiting = self.keys.waiting();
        let kind = match leaf {
            Ok(leaf) => {
                self.event(&leaf, leaf_hash, stored, asked);
                Some(leaf.header.kind)
            }
            Err(why) => {
                self.fault(Fault { code: "leaf.malformed", why });
                None
            }
        };
        self.bridged(waiting);
        kind
    }

    fn event(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, stored: Stored<'_>, asked: bool) {
        let header = &leaf.header;
        let log = *self.log.get_or_insert(header.log);
        if header.log != log {
            self.fault(fault("leaf.wrong_log", "belongs to another log"));
        }
        if header.time < self.time {
            self.fault(fault("leaf.time_decreases", "has an earlier time than the leaf before it"));
        }
        self.time = self.time.max(header.time);
        if (self.here == 0) != (header.kind == Kind::LOG_GENESIS) {
            self.fault(fault("log.genesis", "leaf 0, and no other, must be the genesis"));
        }
        let body = self.body(leaf, leaf_hash, stored, asked).filter(|_| header.kind.is_public());
        let public = body.and_then(|body| match PublicBody::decode(header.kind, body) {
            Ok(decoded) => decoded,
            Err(why) => {
                self.fault(Fault { code: "body.malformed", why });
                None
            }
        });
        if let Err(found) = self.chain(leaf, leaf_hash, public.as_ref(), asked) {
            self.fault(found);
        }
        self.note(header, asked);
        if let Some(said) = &public
            && let Err(found) = self.said(header, said)
        {
            self.fault(found);
        }
    }

    /// What a public body says of the log itself.
    fn said(&mut self, header: &Header, public: &PublicBody<'_>) -> Result<(), Fault> {
        match public {
            PublicBody::Genesis { log_key, database, tenant, .. } => {
                self.system.get_or_insert(header.actor);
                self.owner.get_or_insert((*database, *tenant));
                let key = PublicKey::new(log_key).ok_or(fault("log.genesis", "names an unacceptable log key"))?;
                self.keys.begin(key);
            }
            PublicBody::Adopt(adopted) => {
                let own = self.system == Some(header.actor);
                let placed = match adopted.cause {
                    Adopted::ROLLED_BACK | Adopted::FORKED => own && self.here == 1 && header.aseq == 1,
                    Adopted::IMPORTED => own && self.imported.len() < Adopted::MAX_IMPORTED,
                    _ => false,
                };
                if !placed || self.log == Some(adopted.log) || self.named_logs().any(|named| named.log == adopted.log) {
                    return Err(fault("log.adopted", "names another log where, or as, none may be named"));
                }
                if adopted.cause == Adopted::IMPORTED {
                    self.imported.push((self.here, *adopted));
                } else {
                    self.adopted = Some(*adopted);
                }
            }
            PublicBody::LogKey { key } => return self.bring_key(header, key),
            PublicBody::Anchor { kind: PublicBody::BRIDGE, note, token: b"" } if self.keys.waiting().is_some() => self.bridge(note),
            PublicBody::Anchor { kind, note, token } => {
                self.anchor(*kind, note, token).map_err(|why| Fault { code: "anchor.invalid", why })?;
            }
            PublicBody::Erase { count, positions, .. } | PublicBody::EraseDone { count, positions } => {
                if header.kind == Kind::ERASE {
                    self.erased_later(&header.refs);
                }
                let named = header.refs.len();
                if *count != named as u64 || positions.len() != named {
                    return Err(fault("erase.count", "counts other events than it refers to"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the walk.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.account_for_absences();
        if !self.abandoned {
            self.end_links();
        }
        self.end_checkpoints();
        if self.keys.newest().is_none() && !self.abandoned && !self.late {
            self.fault_at(0, fault("log.genesis", "the log has no readable genesis"));
        }
        let trusted = self.checkpoint.is_some_and(|size| self.keys.trusted(size, &|key| self.trust.accepts(key)));
        let part = self.part.as_ref();
        let unsigned: u64 = self.actors.iter().map(Actor::unsigned).sum();
        let unattributed = part.map_or(0, |p| p.unattributed + unsigned);
        let verdict = if !self.problems.is_empty() {
            Verdict::Altered
        } else if trusted && unattributed == 0 {
            Verdict::Intact
        } else {
            Verdict::Unproven
        };
        Report {
            verdict,
            log: self.log,
            size: self.size(),
            taken: part.map_or(self.frontier.size(), |p| p.taken),
            root: part.map_or_else(|| self.frontier.root(), |p| p.root),
            log_key: self.keys.newest().map(PublicKey::fingerprint),
            identities: self.actors.iter().filter(|actor| actor.did.is_some() && Some(actor.digest) != self.system).count() as u64,
            bodies: self.bodies,
            unsigned,
            unattributed,
            missing_links: self.part.map(|p| p.missing_links).unwrap_or_default(),
            checkpoint: self.checkpoint,
            adopted: self.adopted,
            imported: self.imported,
            disputed: self.disputed,
            unlisted_disputes: self.unlisted_disputes,
            problems: self.problems,
            unlisted: self.unlisted,
        }
    }
}
