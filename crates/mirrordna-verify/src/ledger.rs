//! Walks one log from leaf 0 and accounts for everything in it.
//!
//! The ledger owns the rules: chains, signers, epochs, seals, bodies and
//! erasures. It takes leaves in order, keeps state per actor (not per event)
//! and ends in a [`Report`]. It never decides on the basis of something the
//! store claims about itself: stores hand over bytes, nothing else.
//!
//! A ledger is of a whole log, whose leaves lead to the root, or of a part of
//! one ([`Ledger::part`]), each of whose leaves brings its own proof.

use crate::body::{Adopted, PublicBody, epoch_certificate};
use crate::did::DidLog;
use crate::hash::{self, Hash, NONE};
use crate::merkle::{self, Frontier};
use crate::note::{self, Checkpoint, Note};
use crate::trail::{Disputed, Span, Trail};
use crate::{Kind, Leaf, Malformed, Problem, PublicKey};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// More problems than this are counted, not listed.
pub const MAX_PROBLEMS: usize = 256;
/// More disputed ranges than this are counted, not listed: to find one is to go
/// through its actor's chain.
pub const MAX_DISPUTED: usize = 256;

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
    /// The stored bytes of a private body, and the secret that opens it.
    Opened(&'a [u8], &'a [u8; 32]),
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
    /// Of those present, the ones whose secret is disclosed.
    pub disclosed: u64,
    /// Present, and not read, or not handed out.
    pub unread: u64,
    /// Absent, and an erase event says so.
    pub erased: u64,
    /// Absent without an erase event: tampering.
    pub missing: u64,
}

/// Events of an actor that lie between others which were asked for, and were
/// left out of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingLink {
    /// SCID digest of the actor.
    pub actor: Hash,
    /// Number in its chain of the first event left out.
    pub from: u64,
    /// And of the last one.
    pub to: u64,
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
    /// Number of leaves that were taken: of a whole log its size.
    pub taken: u64,
    /// Root over all leaves (RFC 6962, section 2.1); of a part the one that its
    /// checkpoint names.
    pub root: Hash,
    /// Fingerprint (SHA-256) of the log key that the genesis names: what a
    /// stranger compares with what the owner told them by another way.
    pub log_key: Option<Hash>,
    /// Number of actors with a chain, without the log's own.
    pub identities: u64,
    /// Accounting of bodies.
    pub bodies: Bodies,
    /// Events no later signature of their own signer covers.
    pub unsigned: u64,
    /// Events of a part that were asked for and that nothing in it shows to be
    /// their actor's: it lacks the key, or the signature.
    pub unattributed: u64,
    /// What a part leaves out between events that were asked for.
    pub missing_links: Vec<MissingLink>,
    /// Size of the newest valid checkpoint that was offered.
    pub checkpoint: Option<u64>,
    /// The log that this one goes on from.
    pub adopted: Option<Adopted>,
    /// Ranges of events that their actors no longer stand by, at most
    /// [`MAX_DISPUTED`], in the order in which that was said. They are no
    /// findings: nothing was altered.
    pub disputed: Vec<Disputed>,
    /// Recoveries and revocations beyond those that are listed.
    pub unlisted_disputes: u64,
    /// Findings, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Findings beyond the listed ones.
    pub unlisted: u64,
}

const UNPROVEN: &str = "has no proof, and no event after it that names it";
const UNKNOWN: &str = "its signer field names no key of this actor";
const BROUGHT: &str = "an event that brings a key must be signed by it";
const UNCHAINED: &str = "does not follow its actor's previous event";
const OTHER_LENGTH: &str = "the stored body has another length than the header says";

/// The length of what is stored of a body.
const fn stored_length(header: &crate::Header) -> Option<u64> {
    // A private row has a commitment and a tag around its body.
    header.length.checked_add(if header.kind.is_public() { 0 } else { 48 })
}

/// Whether a secret is the one that a stored row was sealed under.
fn opens(row: &[u8], secret: &[u8; 32]) -> bool {
    [hash::COMMIT_AES_GCM, hash::COMMIT_XCHACHA].iter().any(|label| row.starts_with(&hash::hkdf_expand(secret, label)))
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

#[derive(Default)]
struct Actor {
    /// Unknown only in a part.
    did: Option<DidLog>,
    /// The number that its next event must have; unknown only in a part, before
    /// its first event.
    next: Option<u64>,
    last: Hash,
    signers: BTreeMap<u64, Signer>,
    part: ActorPart,
    trail: Trail,
    /// Its identity has ended: nothing more is valid.
    revoked: bool,
}

/// What a part needs to know of an actor besides.
#[derive(Default)]
struct ActorPart {
    /// Events shown that bring no key.
    keyless: BTreeSet<u64>,
    /// Leaf and signer of the events that were asked for.
    shown: BTreeMap<u64, (u64, u64)>,
    /// Gaps after the last event that was asked for.
    gaps: Vec<(u64, u64)>,
    /// Events that were asked for, and that no signature can reach any more.
    unsigned: u64,
    /// The last event, if it has no proof but the one after it.
    chained: Option<u64>,
}

/// What a ledger of a part knows besides.
struct Part {
    size: u64,
    root: Hash,
    /// The index after that of the last leaf taken.
    next: u64,
    /// The leaf that is looked at has no proof but the one after it.
    chained: bool,
    taken: u64,
    unattributed: u64,
    missing_links: Vec<MissingLink>,
}

impl Actor {
    /// Whether an event of a part may stand after the last one that was shown;
    /// what lies between is noted as a gap, which no signature reaches across.
    fn follows(&mut self, next: u64, header: &crate::Header) -> bool {
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
    fn disputed(&self, trusted: u64, epoch: Option<u64>) -> Option<Span> {
        let mut of = self.part.shown.range(trusted.checked_add(1)?..).filter(|(_, (_, signer))| epoch.is_none_or(|e| e == *signer));
        let Some((&first, &(first_leaf, _))) = of.next() else { return self.trail.after(trusted, epoch) };
        let mut span = Span { first, last: first, first_leaf, last_leaf: first_leaf, count: 1 };
        for (&last, &(last_leaf, _)) in of {
            span = Span { last, last_leaf, count: span.count + 1, ..span };
        }
        Some(span)
    }

    /// Notes an event of a part.
    fn note(&mut self, header: &crate::Header, asked: bool, part: &mut Part) {
        if !header.kind.brings_key() {
            self.part.keyless.insert(header.aseq);
        }
        if asked {
            let actor = header.actor;
            part.missing_links.extend(self.part.gaps.drain(..).map(|(from, to)| MissingLink { actor, from, to }));
        }
    }
}

/// The state of a walk through one log.
pub struct Ledger {
    trust: Trust,
    vouched: bool,
    abandoned: bool,
    /// It was said that a part does not begin with leaf 0.
    late: bool,
    log: Option<[u8; 16]>,
    log_key: Option<PublicKey>,
    /// The actor of the genesis.
    system: Option<Hash>,
    /// Database and tenant, by the genesis.
    owner: Option<([u8; 16], Hash)>,
    frontier: Frontier,
    part: Option<Part>,
    /// Index of the leaf that is looked at, or of the next one.
    here: u64,
    time: u64,
    actors: BTreeMap<Hash, Actor>,
    /// Leaf hash -> index of events whose body is absent.
    absent: BTreeMap<Hash, u64>,
    erased: BTreeSet<Hash>,
    bodies: Bodies,
    /// Checkpoints offered for sizes not reached yet; empty once they are.
    expected: BTreeMap<u64, Vec<Hash>>,
    /// Sizes and roots that the leaves led to, or a proof.
    confirmed: BTreeMap<u64, Hash>,
    checkpoint: Option<u64>,
    adopted: Option<Adopted>,
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
            vouched: false,
            abandoned: false,
            late: false,
            log: None,
            log_key: None,
            system: None,
            owner: None,
            frontier: Frontier::new(),
            part: None,
            here: 0,
            time: 0,
            actors: BTreeMap::new(),
            absent: BTreeMap::new(),
            erased: BTreeSet::new(),
            bodies: Bodies::default(),
            expected: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            checkpoint: None,
            adopted: None,
            disputed: Vec::new(),
            unlisted_disputes: 0,
            problems: Vec::new(),
            unlisted: 0,
        }
    }

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

    /// The last leaf hash of an actor's chain so far, and the number that its
    /// next event must have.
    #[must_use]
    pub fn head(&self, actor: &Hash) -> Option<(Hash, u64)> {
        self.actors.get(actor).and_then(|a| Some((a.last, a.next?)))
    }

    /// The key that signs the log's checkpoints, once its genesis was read.
    #[must_use]
    pub const fn log_key(&self) -> Option<&PublicKey> {
        self.log_key.as_ref()
    }

    /// The database and the keyed tag of the tenant that the genesis names.
    #[must_use]
    pub const fn owner(&self) -> Option<([u8; 16], Hash)> {
        self.owner
    }

    /// The root at a size whose checkpoint was confirmed.
    #[must_use]
    pub fn confirmed(&self, size: u64) -> Option<&Hash> {
        self.confirmed.get(&size)
    }

    /// The root over the leaves taken so far, or that a part is of.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.part.as_ref().map_or_else(|| self.frontier.root(), |part| part.root)
    }

    /// The caller has found the log's key to be one that is trusted.
    pub const fn vouch(&mut self) {
        self.vouched = true;
    }

    /// Leaf hashes that erase events have named so far.
    #[must_use]
    pub const fn erased(&self) -> &BTreeSet<Hash> {
        &self.erased
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
        Problem { code, place: format!("leaf {}", self.here), message: message.to_owned() }
    }

    fn note_problem(&mut self, p: Problem) {
        self.problem(p.code, p.place, p.message);
    }

    /// Offers a checkpoint note. Call it after leaf 0 was taken; its root is
    /// compared when the walk reaches its size, in a part at once.
    pub fn checkpoint(&mut self, bytes: &[u8]) {
        self.checkpoint_with(bytes, None);
    }

    /// The same with, in a part, the proof that the tree of the checkpoint is a
    /// prefix of that of the part.
    pub fn checkpoint_with(&mut self, bytes: &[u8], proof: Option<&[Hash]>) {
        if let Err(message) = self.take_checkpoint(bytes, proof.unwrap_or_default()) {
            self.problem("checkpoint.invalid", "checkpoint".to_owned(), message);
        }
    }

    fn take_checkpoint(&mut self, bytes: &[u8], proof: &[Hash]) -> Result<(), String> {
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
        let (size, root) = (checkpoint.size, checkpoint.root);
        if let Some(part) = &self.part {
            if !merkle::extends(size, &root, part.size, &part.root, proof) {
                return Err("is of another tree than the one that the proofs lead to".to_owned());
            }
            self.confirmed.insert(size, root);
            self.checkpoint = self.checkpoint.max(Some(size));
            return Ok(());
        }
        if size < self.size() {
            return Err("is offered too late: its size was passed".to_owned());
        }
        self.expected.entry(size).or_default().push(root);
        self.compare_roots();
        Ok(())
    }

    fn compare_roots(&mut self) {
        let size = self.size();
        let Some(roots) = self.expected.get_mut(&size).map(core::mem::take) else { return };
        let own = self.frontier.root();
        for root in roots {
            if root == own {
                self.confirmed.insert(size, root);
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
        self.here = self.frontier.size();
        let (leaf_hash, kind) = self.read(data, stored, true);
        self.frontier.push(leaf_hash);
        self.here = self.frontier.size();
        self.compare_roots();
        (leaf_hash, kind)
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

    fn read(&mut self, data: &[u8], stored: Stored<'_>, asked: bool) -> (Hash, Option<Kind>) {
        let leaf_hash = hash::leaf(data);
        match Leaf::decode(data) {
            Ok(leaf) => {
                self.event(&leaf, &leaf_hash, stored, asked);
                (leaf_hash, Some(leaf.header.kind))
            }
            Err(e) => {
                let p = self.at("leaf.malformed", &e.to_string());
                self.note_problem(p);
                (leaf_hash, None)
            }
        }
    }

    fn event(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, stored: Stored<'_>, asked: bool) {
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
        if (self.here == 0) != (header.kind == Kind::LOG_GENESIS) {
            let p = self.at("log.genesis", "leaf 0, and no other, must be the genesis");
            self.note_problem(p);
        }
        let body = self.body(leaf, leaf_hash, stored, asked);
        let public = match body.filter(|_| header.kind.is_public()).map(|b| PublicBody::decode(header.kind, b)) {
            Some(Err(e)) => {
                let p = self.at("body.malformed", &e.to_string());
                self.note_problem(p);
                None
            }
            Some(Ok(decoded)) => decoded,
            None => None,
        };
        if let Err(p) = self.chain(leaf, leaf_hash, public.as_ref(), asked) {
            // What was not attributed for want of a sound key is not counted yet.
            let keyless = matches!(p.code, "identity.invalid" | "identity.forked" | "epoch.uncertified");
            let over = self.actors.get(&header.actor).is_some_and(|actor| actor.revoked);
            if !over && (keyless || (p.code == "signer.unknown" && p.message == UNKNOWN)) {
                self.part.iter_mut().for_each(|part| part.unattributed += u64::from(asked));
            }
            self.note_problem(p);
        }
        let index = self.here;
        let whole = self.part.is_none();
        if let Some(actor) = self.actors.get_mut(&header.actor) {
            if whole {
                actor.trail.push(index, header.signer);
            } else if asked {
                actor.part.shown.insert(header.aseq, (index, header.signer));
            }
        }
        if let Some(PublicBody::Genesis { log_key, database, tenant, .. }) = &public {
            self.system.get_or_insert(header.actor);
            self.owner.get_or_insert((*database, *tenant));
            match PublicKey::new(log_key) {
                Some(key) => drop(self.log_key.get_or_insert(key)),
                None => {
                    let p = self.at("log.genesis", "names an unacceptable log key");
                    self.note_problem(p);
                }
            }
        }
        if let Some(PublicBody::Adopt(adopted)) = &public {
            // By the log's own actor: the first leaf is its, so is the second.
            let own = self.here == 1 && header.aseq == 1 && self.actors.len() == 1;
            if own && adopted.log != log && matches!(adopted.cause, Adopted::ROLLED_BACK | Adopted::FORKED) {
                self.adopted = Some(*adopted);
            } else {
                let p = self.at("log.adopted", "only leaf 1, by the log's own actor, names another log that this one goes on from");
                self.note_problem(p);
            }
        }
        if let Some(PublicBody::Anchor { kind, note, token }) = &public
            && let Err(why) = self.anchor(*kind, note, token)
        {
            let p = self.at("anchor.invalid", &why);
            self.note_problem(p);
        }
        if let Some(PublicBody::Erase { count, positions, .. } | PublicBody::EraseDone { count, positions }) = &public {
            let named = header.refs.len();
            if *count != named as u64 || positions.len() != named {
                let p = self.at("erase.count", "counts other events than it refers to");
                self.note_problem(p);
            }
        }
        if header.kind == Kind::ERASE && public.is_some() {
            self.erased.extend(header.refs.iter().copied());
        }
    }

    /// Checks that an anchor is about a checkpoint of this log which came before
    /// it. What the observers say is for those to judge who know them.
    fn anchor(&self, kind: u64, note: &[u8], token: &[u8]) -> Result<(), String> {
        let note = Note::parse(note).map_err(|e| e.to_string())?;
        let checkpoint = Checkpoint::parse(note.text).map_err(|e| e.to_string())?;
        let known = match kind {
            PublicBody::COSIGNED => token.is_empty(),
            PublicBody::TIME_STAMPED => !token.is_empty(),
            _ => false,
        };
        if !known {
            return Err("is of no known kind, or has a token where its kind has none".to_owned());
        }
        if self.log.is_some_and(|log| checkpoint.origin != note::origin(&log)) {
            return Err("is about another log".to_owned());
        }
        if checkpoint.size > self.here {
            return Err("is about a tree that contains it".to_owned());
        }
        if self.confirmed(checkpoint.size).is_some_and(|root| *root != checkpoint.root) {
            return Err("is about another tree than this one".to_owned());
        }
        Ok(())
    }

    /// Checks what is stored against the commitment; returns matching bytes.
    fn body<'a>(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, stored: Stored<'a>, asked: bool) -> Option<&'a [u8]> {
        let header = &leaf.header;
        let opened = matches!(stored, Stored::Opened(row, secret) if !header.kind.is_public() && opens(row, secret));
        if matches!(stored, Stored::Opened(..)) && !opened {
            let p = self.at("secret.altered", "the disclosed secret is not the one that the body is sealed under");
            self.note_problem(p);
        }
        let problem = match (stored, header.body == NONE) {
            (Stored::Nothing, true) if header.length == 0 && (header.kind == Kind::SEAL || !header.kind.is_public()) => return None,
            (Stored::Nothing, true) => self.at("body.altered", "has no body, but its kind or length says that there is one"),
            (Stored::Bytes(_) | Stored::Opened(..) | Stored::Unread(_), true) => {
                self.at("body.altered", "has a body where its header commits to none")
            }
            (Stored::Nothing, false) => {
                if header.kind.is_public() {
                    self.bodies.missing += 1;
                    self.at("body.missing", "a public body is absent; public bodies are never erased")
                } else {
                    // Whether a supporting event has its body is not asked.
                    if asked {
                        self.absent.insert(*leaf_hash, self.here);
                    }
                    return None;
                }
            }
            (Stored::Unread(_), false) if header.kind == Kind::SEAL => self.at("body.altered", "a seal has a body"),
            (Stored::Unread(_), false) if header.kind.is_judged() => {
                self.bodies.missing += 1;
                self.at("body.missing", "what its public body says has to be known, and it is not here")
            }
            (Stored::Unread(length), false) if Some(length) != stored_length(header) => self.at("body.altered", OTHER_LENGTH),
            (Stored::Unread(_), false) => {
                self.bodies.unread += 1;
                return None;
            }
            (Stored::Bytes(bytes) | Stored::Opened(bytes, _), false) => {
                let commitment = if header.kind.is_public() { hash::public_body(bytes) } else { hash::private_body(bytes) };
                if header.kind == Kind::SEAL {
                    self.at("body.altered", "a seal has a body")
                } else if commitment != header.body {
                    self.at("body.altered", "the stored body is not the one the header commits to")
                } else if stored_length(header) != Some(bytes.len() as u64) {
                    self.at("body.altered", OTHER_LENGTH)
                } else {
                    self.bodies.present += 1;
                    self.bodies.disclosed += u64::from(opened);
                    return Some(bytes);
                }
            }
        };
        self.note_problem(problem);
        None
    }

    /// Checks the actor's chain, the signer and the signature.
    fn chain(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, public: Option<&PublicBody<'_>>, asked: bool) -> Result<(), Problem> {
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

    /// Goes on without the key that speaks for an event of a part.
    fn unattributed(&mut self, header: &crate::Header, asked: bool, in_place: bool) -> Result<(), Problem> {
        if let Some(part) = &mut self.part {
            part.unattributed += u64::from(asked);
        }
        if header.kind.brings_key() && header.signer != header.aseq {
            return Err(self.at("signer.unknown", BROUGHT));
        }
        if in_place { Ok(()) } else { Err(self.at("chain.broken", UNCHAINED)) }
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

    /// Whether bodies are absent that no erase event of this log speaks of.
    #[must_use]
    pub fn lacks_bodies(&self) -> bool {
        self.absent.keys().any(|leaf| !self.erased.contains(leaf))
    }

    /// Takes what an erase event in a log that goes on from this one refers to.
    pub fn erased_later<'a>(&mut self, refs: impl IntoIterator<Item = &'a Hash>) {
        self.erased.extend(refs);
    }

    /// Ends the walk.
    #[must_use]
    pub fn finish(mut self) -> Report {
        if self.abandoned {
            self.expected.clear();
            self.actors.values_mut().for_each(|actor| actor.part.chained = None);
        }
        for (hash, index) in core::mem::take(&mut self.absent) {
            if self.erased.contains(&hash) {
                self.bodies.erased += 1;
            } else if !self.abandoned {
                self.bodies.missing += 1;
                self.problem("body.missing", format!("leaf {index}"), "its body is absent and no erase event says so".to_owned());
            }
        }
        let alone: Vec<u64> = self.actors.values().filter_map(|actor| actor.part.chained).collect();
        for at in alone {
            self.problem("proof.invalid", format!("leaf {at}"), UNPROVEN.to_owned());
        }
        for (size, _) in core::mem::take(&mut self.expected).into_iter().filter(|(_, roots)| !roots.is_empty()) {
            self.problem(
                "log.truncated",
                format!("checkpoint of size {size}"),
                "the log is shorter than a checkpoint it signed".to_owned(),
            );
        }
        if self.log_key.is_none() && !self.abandoned && !self.late {
            self.problem("log.genesis", "leaf 0".to_owned(), "the log has no readable genesis".to_owned());
        }
        let trusted = self.vouched || self.log_key.as_ref().is_some_and(|k| self.trust.accepts(k));
        let part = self.part.as_ref();
        let unsigned: u64 = self.actors.values().map(|a| a.part.unsigned + a.signers.values().map(|s| s.unsigned).sum::<u64>()).sum();
        let unattributed = part.map_or(0, |p| p.unattributed + unsigned);
        let verdict = if !self.problems.is_empty() {
            Verdict::Altered
        } else if trusted && self.checkpoint.is_some() && unattributed == 0 {
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
            log_key: self.log_key.as_ref().map(PublicKey::fingerprint),
            identities: self.actors.iter().filter(|(digest, actor)| actor.did.is_some() && Some(*digest) != self.system.as_ref()).count()
                as u64,
            bodies: self.bodies,
            unsigned,
            unattributed,
            missing_links: self.part.map(|p| p.missing_links).unwrap_or_default(),
            checkpoint: self.checkpoint,
            adopted: self.adopted,
            disputed: self.disputed,
            unlisted_disputes: self.unlisted_disputes,
            problems: self.problems,
            unlisted: self.unlisted,
        }
    }
}
