//! Walks one log from leaf 0 and accounts for everything in it.
//!
//! The ledger owns the rules: chains, signers, epochs, seals, bodies and
//! erasures. It takes leaves in order, keeps state per actor (not per event)
//! and ends in a [`Report`]. It never decides on the basis of something the
//! store claims about itself: stores hand over bytes, nothing else.

use crate::body::{Adopted, PublicBody, epoch_certificate};
use crate::did::DidLog;
use crate::hash::{self, Hash, NONE};
use crate::merkle::Frontier;
use crate::note::{self, Checkpoint, Note};
use crate::{Kind, Leaf, Malformed, Problem, PublicKey};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// More problems than this are counted, not listed.
pub const MAX_PROBLEMS: usize = 256;

/// What a verification concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything checked is as it was signed, by a key the caller trusts.
    Intact,
    /// Something was changed, removed, added or reordered.
    Altered,
    /// Consistent in itself, but nothing the caller trusts vouches for it.
    Unproven,
}

impl Verdict {
    /// The word that interfaces print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Altered => "altered",
            Self::Unproven => "unproven",
        }
    }
}

/// The log keys a caller accepts as given from elsewhere than the log itself.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    fingerprints: BTreeSet<Hash>,
}

impl Trust {
    /// Trusts nothing: the best verdict is [`Verdict::Unproven`].
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Also trusts the log key with this fingerprint (SHA-256 of the key).
    #[must_use]
    pub fn and(mut self, fingerprint: Hash) -> Self {
        self.fingerprints.insert(fingerprint);
        self
    }

    fn accepts(&self, key: &PublicKey) -> bool {
        self.fingerprints.contains(&key.fingerprint())
    }
}

/// What the caller found of the body of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// The stored bytes: of a public body the template, of a private one the
    /// commitment and ciphertext.
    Bytes(&'a [u8]),
    /// So many bytes are stored, which the caller did not read. That they are
    /// there, and how many, is checked; what they are is not. A public body is
    /// to be read always: the keys of actors stand in them.
    Unread(u64),
    /// Nothing is stored.
    Nothing,
}

/// Counts of bodies of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bodies {
    /// Present and matching their commitment.
    pub present: u64,
    /// Present, and not read.
    pub unread: u64,
    /// Absent, and an erase event says so.
    pub erased: u64,
    /// Absent without an erase event: tampering.
    pub missing: u64,
}

/// The outcome of a walk over one log.
#[derive(Debug, Clone)]
pub struct Report {
    /// The conclusion.
    pub verdict: Verdict,
    /// Log id, once a leaf was read.
    pub log: Option<[u8; 16]>,
    /// Number of leaves.
    pub size: u64,
    /// Root over all leaves (RFC 6962, section 2.1).
    pub root: Hash,
    /// Fingerprint (SHA-256) of the log key that the genesis names: what a
    /// stranger compares with what the owner told them by another way.
    pub log_key: Option<Hash>,
    /// Number of actors with a chain.
    pub identities: u64,
    /// Accounting of bodies.
    pub bodies: Bodies,
    /// Events no later signature of their own signer covers.
    pub unsigned: u64,
    /// Size of the newest valid checkpoint that was offered.
    pub checkpoint: Option<u64>,
    /// The log that this one goes on from.
    pub adopted: Option<Adopted>,
    /// Findings, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Findings beyond the listed ones.
    pub unlisted: u64,
}

const OTHER_LENGTH: &str = "the stored body has another length than the header says";

/// The length of what is stored of a body.
const fn stored_length(header: &crate::Header) -> Option<u64> {
    // A private row has a commitment and a tag around its body.
    header.length.checked_add(if header.kind.is_public() { 0 } else { 48 })
}

struct Signer {
    key: PublicKey,
    /// An epoch's key, which may leave events for a later signature. An
    /// identity's own key signs each event that names it.
    epoch: bool,
    /// Milliseconds; identity keys do not expire.
    not_after: u64,
    ended: bool,
    /// Events that name this signer since its last signature.
    unsigned: u64,
}

struct Actor {
    did: DidLog,
    next: u64,
    last: Hash,
    signers: BTreeMap<u64, Signer>,
}

/// The state of a walk through one log.
pub struct Ledger {
    trust: Trust,
    log: Option<[u8; 16]>,
    log_key: Option<PublicKey>,
    frontier: Frontier,
    time: u64,
    actors: BTreeMap<Hash, Actor>,
    /// Leaf hash -> index of events whose body is absent.
    absent: BTreeMap<Hash, u64>,
    erased: BTreeSet<Hash>,
    bodies: Bodies,
    /// Checkpoints offered for sizes not reached yet.
    expected: BTreeMap<u64, Vec<Hash>>,
    checkpoint: Option<u64>,
    adopted: Option<Adopted>,
    problems: Vec<Problem>,
    unlisted: u64,
}

impl Ledger {
    /// A walk that accepts `trust` as given from outside.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            log: None,
            log_key: None,
            frontier: Frontier::new(),
            time: 0,
            actors: BTreeMap::new(),
            absent: BTreeMap::new(),
            erased: BTreeSet::new(),
            bodies: Bodies::default(),
            expected: BTreeMap::new(),
            checkpoint: None,
            adopted: None,
            problems: Vec::new(),
            unlisted: 0,
        }
    }

    /// Number of leaves taken so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
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

    /// The last leaf hash and index of an actor's chain so far.
    #[must_use]
    pub fn head(&self, actor: &Hash) -> Option<(Hash, u64)> {
        self.actors.get(actor).map(|a| (a.last, a.next))
    }

    /// The log that this one goes on from, once its second leaf was read.
    #[must_use]
    pub const fn adopted(&self) -> Option<&Adopted> {
        self.adopted.as_ref()
    }

    /// All actors seen so far.
    pub fn actors(&self) -> impl Iterator<Item = &Hash> {
        self.actors.keys()
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

    fn at(&self, code: &'static str, message: &str) -> Problem {
        Problem { code, place: format!("leaf {}", self.size()), message: message.to_owned() }
    }

    fn note_problem(&mut self, p: Problem) {
        self.problem(p.code, p.place, p.message);
    }

    /// Offers a checkpoint note. Call it after leaf 0 was taken; its root is
    /// compared when the walk reaches its size.
    pub fn checkpoint(&mut self, bytes: &[u8]) {
        if let Err(message) = self.take_checkpoint(bytes) {
            self.problem("checkpoint.invalid", "checkpoint".to_owned(), message);
        }
    }

    fn take_checkpoint(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (Some(log), Some(key)) = (self.log, &self.log_key) else {
            return Err("is offered before the log's genesis was read".to_owned());
        };
        let origin = note::origin(&log);
        let note = Note::parse(bytes).map_err(|e| e.to_string())?;
        let checkpoint = Checkpoint::parse(note.text).map_err(|e| e.to_string())?;
        if checkpoint.origin != origin {
            return Err("names another log".to_owned());
        }
        if !note.signed_by(&origin, key) {
            return Err("is not signed by the log's key".to_owned());
        }
        let size = checkpoint.size;
        if size < self.size() {
            return Err("is offered too late: its size was passed".to_owned());
        }
        self.expected.entry(size).or_default().push(checkpoint.root);
        self.compare_roots();
        Ok(())
    }

    fn compare_roots(&mut self) {
        let size = self.size();
        let Some(roots) = self.expected.remove(&size) else { return };
        let own = self.frontier.root();
        for root in roots {
            if root == own {
                self.checkpoint = self.checkpoint.max(Some(size));
            } else {
                self.problem(
                    "log.forked",
                    format!("checkpoint of size {size}"),
                    "the leaves have another root than the one that was signed".to_owned(),
                );
            }
        }
    }

    /// Takes the next leaf and what is stored of its body. Returns the leaf's
    /// hash and, unless it is malformed, its kind.
    pub fn leaf(&mut self, data: &[u8], stored: Stored<'_>) -> (Hash, Option<Kind>) {
        let leaf_hash = hash::leaf(data);
        let kind = match Leaf::decode(data) {
            Ok(leaf) => {
                self.event(&leaf, &leaf_hash, stored);
                Some(leaf.header.kind)
            }
            Err(e) => {
                let p = self.at("leaf.malformed", &e.to_string());
                self.note_problem(p);
                None
            }
        };
        self.frontier.push(leaf_hash);
        self.compare_roots();
        (leaf_hash, kind)
    }

    fn event(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, stored: Stored<'_>) {
        let header = &leaf.header;
        let log = *self.log.get_or_insert(header.log);
        if header.log != log {
            let p = self.at("leaf.wrong_log", "belongs to another log");
            self.note_problem(p);
        }
        if header.time < self.time {
            let p = self.at("leaf.time_decreases", "has an earlier time than the leaf before it");
            self.note_problem(p);
        }
        self.time = self.time.max(header.time);
        if (self.size() == 0) != (header.kind == Kind::LOG_GENESIS) {
            let p = self.at("log.genesis", "leaf 0, and no other, must be the genesis");
            self.note_problem(p);
        }
        let body = self.body(leaf, leaf_hash, stored);
        let public = match body.filter(|_| header.kind.is_public()).map(|b| PublicBody::decode(header.kind, b)) {
            Some(Err(e)) => {
                let p = self.at("body.malformed", &e.to_string());
                self.note_problem(p);
                None
            }
            Some(Ok(decoded)) => decoded,
            None => None,
        };
        if let Err(p) = self.chain(leaf, leaf_hash, public.as_ref()) {
            self.note_problem(p);
        }
        if let Some(PublicBody::Genesis { log_key, .. }) = &public {
            match PublicKey::new(log_key) {
                Some(key) => self.log_key = Some(key),
                None => {
                    let p = self.at("log.genesis", "names an unacceptable log key");
                    self.note_problem(p);
                }
            }
        }
        if let Some(PublicBody::Adopt(adopted)) = &public {
            // By the log's own actor: the first leaf is its, so is the second.
            let own = self.size() == 1 && header.aseq == 1 && self.actors.len() == 1;
            if own && adopted.log != log && matches!(adopted.cause, Adopted::ROLLED_BACK | Adopted::FORKED) {
                self.adopted = Some(*adopted);
            } else {
                let p = self.at("log.adopted", "only leaf 1, by the log's own actor, names another log that this one goes on from");
                self.note_problem(p);
            }
        }
        if let Some(PublicBody::Erase { count, .. }) = &public {
            if *count != header.refs.len() as u64 {
                let p = self.at("erase.count", "counts other events than it refers to");
                self.note_problem(p);
            }
            self.erased.extend(header.refs.iter().copied());
        }
    }

    /// Checks what is stored against the commitment; returns matching bytes.
    fn body<'a>(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, stored: Stored<'a>) -> Option<&'a [u8]> {
        let header = &leaf.header;
        let problem = match (stored, header.body == NONE) {
            (Stored::Nothing, true) if header.length == 0 && (header.kind == Kind::SEAL || !header.kind.is_public()) => return None,
            (Stored::Nothing, true) => self.at("body.altered", "has no body, but its kind or length says that there is one"),
            (Stored::Bytes(_) | Stored::Unread(_), true) => self.at("body.altered", "has a body where its header commits to none"),
            (Stored::Nothing, false) => {
                if header.kind.is_public() {
                    self.bodies.missing += 1;
                    self.at("body.missing", "a public body is absent; public bodies are never erased")
                } else {
                    self.absent.insert(*leaf_hash, self.size());
                    return None;
                }
            }
            (Stored::Unread(_), false) if header.kind == Kind::SEAL => self.at("body.altered", "a seal has a body"),
            (Stored::Unread(_), false) if header.kind.is_public() => self.at("body.altered", "a public body was not read, and has to be"),
            (Stored::Unread(length), false) if Some(length) != stored_length(header) => self.at("body.altered", OTHER_LENGTH),
            (Stored::Unread(_), false) => {
                self.bodies.unread += 1;
                return None;
            }
            (Stored::Bytes(bytes), false) => {
                let commitment = if header.kind.is_public() { hash::public_body(bytes) } else { hash::private_body(bytes) };
                if header.kind == Kind::SEAL {
                    self.at("body.altered", "a seal has a body")
                } else if commitment != header.body {
                    self.at("body.altered", "the stored body is not the one the header commits to")
                } else if stored_length(header) != Some(bytes.len() as u64) {
                    self.at("body.altered", OTHER_LENGTH)
                } else {
                    self.bodies.present += 1;
                    return Some(bytes);
                }
            }
        };
        self.note_problem(problem);
        None
    }

    /// Checks the actor's chain, the signer and the signature.
    fn chain(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, public: Option<&PublicBody<'_>>) -> Result<(), Problem> {
        let header = &leaf.header;
        if let Some(PublicBody::Genesis { did_log, .. } | PublicBody::Entry { did_log }) = public {
            self.identity(header, did_log)?;
        }
        let index = self.size();
        let fail = |code, message: &str| Err(Problem { code, place: format!("leaf {index}"), message: message.to_owned() });
        let Some(actor) = self.actors.get_mut(&header.actor) else {
            return fail("chain.unknown_actor", "its actor has no identity entry in this log");
        };
        let in_place = header.aseq == actor.next && header.prev == actor.last;
        // Go on from what is there: one break is one finding.
        actor.next = header.aseq.saturating_add(1);
        actor.last = *leaf_hash;
        if let Some(PublicBody::EpochOpen { key, version, not_after, certificate, ends }) = public {
            let message = epoch_certificate(&header.log, &header.actor, key, *version, *not_after);
            let current = actor.did.latest().filter(|v| v.number == *version);
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
            return fail("signer.unknown", "its signer field names no key of this actor");
        };
        signer.unsigned += 1;
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
            return fail("signer.unknown", "an event that brings a key must be signed by it");
        }
        if !in_place {
            return fail("chain.broken", "does not follow its actor's previous event");
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
        let Some(key) = latest.actor_keys.first().cloned() else {
            return Err(self.at("identity.invalid", "the identity names no actor key"));
        };
        let signer = Signer { key, epoch: false, not_after: u64::MAX, ended: false, unsigned: 0 };
        match self.actors.get_mut(&header.actor) {
            None => {
                let first = Actor { next: 0, last: latest.line, signers: BTreeMap::from([(header.aseq, signer)]), did };
                self.actors.insert(header.actor, first);
            }
            Some(actor) => {
                if !did.versions.starts_with(&actor.did.versions) || did.versions.len() == actor.did.versions.len() {
                    return Err(self.at("identity.forked", "the DID log does not continue the one known before"));
                }
                // A new version ends what the older keys may still say.
                actor.signers.values_mut().for_each(|s| s.ended = true);
                actor.signers.insert(header.aseq, signer);
                actor.did = did;
            }
        }
        Ok(())
    }

    /// Ends the walk.
    #[must_use]
    pub fn finish(mut self) -> Report {
        for (hash, index) in core::mem::take(&mut self.absent) {
            if self.erased.contains(&hash) {
                self.bodies.erased += 1;
            } else {
                self.bodies.missing += 1;
                self.problem("body.missing", format!("leaf {index}"), "its body is absent and no erase event says so".to_owned());
            }
        }
        for (size, _) in core::mem::take(&mut self.expected) {
            self.problem(
                "log.truncated",
                format!("checkpoint of size {size}"),
                "the log is shorter than a checkpoint it signed".to_owned(),
            );
        }
        if self.log_key.is_none() {
            self.problem("log.genesis", "leaf 0".to_owned(), "the log has no readable genesis".to_owned());
        }
        let trusted = self.log_key.as_ref().is_some_and(|k| self.trust.accepts(k));
        let verdict = if !self.problems.is_empty() {
            Verdict::Altered
        } else if trusted && self.checkpoint.is_some() {
            Verdict::Intact
        } else {
            Verdict::Unproven
        };
        Report {
            verdict,
            log: self.log,
            size: self.frontier.size(),
            root: self.frontier.root(),
            log_key: self.log_key.as_ref().map(PublicKey::fingerprint),
            identities: self.actors.len() as u64,
            bodies: self.bodies,
            unsigned: self.actors.values().flat_map(|a| a.signers.values()).map(|s| s.unsigned).sum(),
            checkpoint: self.checkpoint,
            adopted: self.adopted,
            problems: self.problems,
            unlisted: self.unlisted,
        }
    }
}
