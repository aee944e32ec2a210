//! Bundles: what an auditor is given, judged with nothing but a policy
//! (`spec/PROTOCOL.md` chapter 16).
//!
//! [`Judge`] takes the bytes of one as they come, in pieces of any length, and
//! keeps one frame and the state of the ledgers: a million events need no more
//! memory than a thousand. [`Builder`] makes one.
//!
//! This module **owns** the file's form and what its sections mean for each
//! other; what a leaf must be is the [`Ledger`]'s business.

mod build;

pub use build::{Builder, Item};

use crate::body::{Adopted, PublicBody};
use crate::cbor::{Reader, Type};
use crate::hash::Hash;
use crate::ledger::{MAX_PROBLEMS, Stored};
use crate::note::{self, Checkpoint, Note};
use crate::policy::{Cosigned, Policy};
use crate::{Kind, Ledger, Malformed, Problem, Report, Trust, Verdict};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// The first line of every bundle.
pub const MAGIC: &[u8] = b"mirrordna bundle v1\n";
/// The longest frame, bytes.
pub const MAX_FRAME: usize = 2 << 20;
/// The longest label of a section, bytes.
pub const MAX_LABEL: usize = 512;

/// The most hashes of a proof: two for each level of a tree of 2^63 leaves.
const MAX_HASHES: usize = 126;

pub(crate) mod tag {
    pub(crate) const SECTION: u64 = 0;
    pub(crate) const EVENT: u64 = 1;
    pub(crate) const CHECKPOINT: u64 = 2;
    pub(crate) const LAST: u64 = 9;
}

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("bundle", why)
}

/// How much of a log a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All leaves up to its checkpoint.
    Whole,
    /// Some of them, each with its proof.
    Part,
}

impl Scope {
    /// The word that interfaces print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Part => "part",
        }
    }
}

/// An event of a bundle, borrowed while it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Number of its section in the file, from 0.
    pub section: usize,
    /// Id of its log.
    pub log: &'a [u8; 16],
    /// Index of the leaf.
    pub index: u64,
    /// Whether it was asked for, or only supports others.
    pub asked: bool,
    /// Leaf hash.
    pub hash: Hash,
    /// Leaf data; not necessarily well-formed.
    pub leaf: &'a [u8],
    /// What the bundle holds of its body.
    pub body: Stored<'a>,
}

/// Until when, and since when, something is proven to exist; seconds since
/// 1970-01-01 UTC. `None` is "no proof of time".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// It is not older: something signed then is part of what it follows.
    pub not_before: Option<u64>,
    /// It is not younger: somebody trusted saw a tree then that contains it.
    pub not_after: Option<u64>,
}

/// The time bounds of all leaves of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// Leaves from this index on are not older than this time; both ascend.
    pub not_before: Vec<(u64, u64)>,
    /// Leaves below this size are not younger than this time; both ascend.
    pub not_after: Vec<(u64, u64)>,
}

impl Times {
    /// The bounds of the leaf at an index.
    #[must_use]
    pub fn of(&self, index: u64) -> Bounds {
        Bounds {
            not_before: self.not_before.iter().take_while(|(from, _)| *from <= index).map(|(_, time)| *time).max(),
            not_after: self.not_after.iter().filter(|(size, _)| *size > index).map(|(_, time)| *time).min(),
        }
    }
}

/// Whether a section is as new as what the auditor kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// A kept checkpoint is the section's own, or one before it.
    Current,
    /// It has so many leaves less than a kept checkpoint says.
    Behind(u64),
    /// It contradicts a kept checkpoint.
    Forked,
    /// Nothing that was kept says anything about it.
    Unproven,
}

/// What was found of one section.
#[derive(Debug, Clone)]
pub struct LogJudgement {
    /// Id of the log, as the section names it.
    pub log: [u8; 16],
    /// The label that its maker gave it: evidence of nothing.
    pub label: String,
    /// How much of the log the section holds.
    pub scope: Scope,
    /// The verdict of the section.
    pub verdict: Verdict,
    /// What the walk accounted for.
    pub report: Report,
    /// As new as what was kept?
    pub freshness: Freshness,
    /// Whether the checkpoint has the quorum of witnesses that the policy asks
    /// for; `None` where it asks for none.
    pub quorum: Option<bool>,
    /// Leaves below this size have it, by the largest checkpoint that does: 0
    /// where none has it, `None` where the policy asks for none.
    pub witnessed: Option<u64>,
    /// What is proven of the time of its events.
    pub times: Times,
}

/// What was found of a bundle.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The verdict over everything.
    pub verdict: Verdict,
    /// Each section.
    pub logs: Vec<LogJudgement>,
    /// All findings, those of sections with the log in their place.
    pub problems: Vec<Problem>,
    /// Findings beyond the listed ones.
    pub unlisted: u64,
}

/// A checkpoint of a section, and what witnesses say of it.
struct Named {
    text: String,
    /// Proves that it is a prefix of the section's own.
    proof: Option<Vec<Hash>>,
    size: u64,
    root: Hash,
    cosigned: Cosigned,
    /// What lines by ML-DSA-44 keys of its log in the policy are worth.
    #[cfg(feature = "pq")]
    signed: Vec<bool>,
}

impl Named {
    fn read(policy: &Policy, text: &str, proof: Option<Vec<Hash>>) -> Result<Self, Malformed> {
        let note = Note::parse(text.as_bytes())?;
        let Checkpoint { size, root, .. } = Checkpoint::parse(note.text)?;
        #[cfg(feature = "pq")]
        let signed = policy.signed_by_ml_dsa(&note);
        Ok(Self {
            text: text.to_owned(),
            proof,
            size,
            root,
            cosigned: policy.cosigned(&note),
            #[cfg(feature = "pq")]
            signed,
        })
    }
}

struct Section {
    log: [u8; 16],
    label: String,
    scope: Scope,
    /// The section's own checkpoint, then the further ones.
    checkpoints: Vec<Named>,
    ledger: Ledger,
    /// Leaves taken.
    events: u64,
    /// Checkpoints of this log that were kept elsewhere.
    kept: Vec<Kept>,
    times: Times,
}

/// A log that goes on from another one, or brought it in: what it says of that, what became of
/// it, and whose it is.
#[derive(Clone, Copy)]
struct Heir {
    adopted: Adopted,
    verdict: Verdict,
    owner: Option<([u8; 16], Hash)>,
}

#[derive(PartialEq, Eq)]
enum State {
    /// Before the first line is complete.
    Beginning,
    Frames,
    /// After the last frame.
    Over,
    /// A frame could not be read: nothing after it is.
    Lost,
}

/// A checkpoint that the auditor kept.
#[derive(Clone)]
struct Kept {
    text: String,
    size: u64,
    root: Hash,
    origin: String,
}

/// Judges one bundle.
///
/// ```
/// use mirrordna_verify::bundle::Judge;
/// use mirrordna_verify::policy::Policy;
///
/// let mut judge = Judge::new(Policy::default());
/// assert!(judge.feed(b"something else entirely", &mut |_| {}).is_err());
/// ```
pub struct Judge {
    policy: Policy,
    kept: Vec<Kept>,
    buffer: Vec<u8>,
    digest: Sha256,
    state: State,
    sections: Vec<Section>,
    /// The logs of all sections, and those that they name.
    logs: BTreeSet<[u8; 16]>,
    named: BTreeSet<[u8; 16]>,
    events: u64,
    problems: Vec<Problem>,
    unlisted: u64,
}

impl Judge {
    /// A judge that trusts what the policy says.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            kept: Vec::new(),
            buffer: Vec::new(),
            digest: Sha256::new(),
            state: State::Beginning,
            sections: Vec::new(),
            logs: BTreeSet::new(),
            named: BTreeSet::new(),
            events: 0,
            problems: Vec::new(),
            unlisted: 0,
        }
    }

    /// Also holds logs against a checkpoint that was kept elsewhere. Call it
    /// before the first [`Judge::feed`].
    ///
    /// # Errors
    /// If it is no checkpoint.
    pub fn keep(&mut self, note: &[u8]) -> Result<(), Malformed> {
        let parsed = Note::parse(note)?;
        let Checkpoint { origin, size, root } = Checkpoint::parse(parsed.text)?;
        let origin = origin.to_owned();
        let text = String::from_utf8_lossy(note).into_owned();
        self.kept.push(Kept { text, size, root, origin });
        Ok(())
    }

    /// Takes the next bytes of the file, in pieces of any length; `each` is
    /// shown the events as they are judged.
    ///
    /// # Errors
    /// If the file is no bundle at all, by its first line. Everything that is
    /// wrong with one that is comes with the judgement.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(&Event<'_>)) -> Result<(), Malformed> {
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        if self.state == State::Beginning {
            let known = buffer.len().min(MAGIC.len());
            if buffer[..known] != MAGIC[..known] {
                return Err(bad("does not begin with the line 'mirrordna bundle v1'"));
            }
            if known == MAGIC.len() {
                at = known;
                self.digest.update(MAGIC);
                self.state = State::Frames;
            }
        }
        while self.state == State::Frames {
            let Some((head, rest)) = buffer[at..].split_first_chunk::<4>() else { break };
            let length = u32::from_be_bytes(*head) as usize;
            if length > MAX_FRAME {
                self.lose(bad("has a frame beyond 2 MiB"));
                break;
            }
            let Some(frame) = rest.get(..length) else { break };
            if let Err(e) = self.frame(frame, each) {
                self.lose(e);
            }
            if self.state == State::Frames {
                self.digest.update(head);
                self.digest.update(frame);
            }
            at += 4 + length;
        }
        buffer.drain(..at);
        if self.state == State::Over && !buffer.is_empty() {
            self.state = State::Lost;
            self.problem("bundle.trailing", "file", "has bytes after its last frame".to_owned());
        }
        if self.state == State::Lost {
            buffer = Vec::new();
        }
        self.buffer = buffer;
        Ok(())
    }

    fn problem(&mut self, code: &'static str, place: &str, message: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { code, place: place.to_owned(), message });
        } else {
            self.unlisted += 1;
        }
    }

    fn lose(&mut self, e: Malformed) {
        let place = format!("frame after {} events", self.events);
        self.problem("bundle.malformed", &place, e.why.to_owned());
        self.state = State::Lost;
        if let Some(section) = self.sections.last_mut() {
            section.ledger.abandon();
        }
    }

    fn frame(&mut self, frame: &[u8], each: &mut dyn FnMut(&Event<'_>)) -> Result<(), Malformed> {
        let mut r = Reader::new(frame);
        let (items, tag) = (r.array()?, r.uint()?);
        match (tag, items) {
            (tag::SECTION, 5) => self.section(r),
            (tag::CHECKPOINT, 3) => self.further(r),
            (tag::EVENT, 7) => self.event(r, each),
            (tag::LAST, 3) => {
                let (events, digest): (u64, Hash) = (r.uint()?, r.array_of()?);
                r.end()?;
                let own: Hash = self.digest.clone().finalize().into();
                if self.sections.is_empty() {
                    return Err(bad("has no section"));
                }
                self.state = State::Over;
                if events != self.events || digest != own {
                    self.problem(
                        "bundle.truncated",
                        "last frame",
                        "counts other events, or is of other bytes, than stand before it".to_owned(),
                    );
                }
                Ok(())
            }
            _ => Err(bad("has a frame of no known form")),
        }
    }

    fn section(&mut self, mut r: Reader<'_>) -> Result<(), Malformed> {
        let log: [u8; 16] = r.array_of()?;
        let scope = match r.uint()? {
            0 => Scope::Whole,
            1 => Scope::Part,
            _ => return Err(bad("has a section of no known scope")),
        };
        let (checkpoint, label) = (r.text()?, r.text()?);
        r.end()?;
        if label.len() > MAX_LABEL {
            return Err(bad("has a label beyond 512 bytes"));
        }
        // What the section before names is known by now.
        self.named.extend(self.sections.iter().next_back().into_iter().flat_map(|s| s.ledger.named_logs()).map(|before| before.log));
        if !self.logs.insert(log) {
            return Err(bad("has two sections of one log"));
        }
        if self.named.contains(&log) {
            return Err(bad("has a log after the one that goes on from it"));
        }
        let own = Named::read(&self.policy, checkpoint, None)?;
        let ledger = match scope {
            Scope::Whole => Ledger::new(Trust::none()).of(log),
            Scope::Part => Ledger::part(Trust::none(), own.size, own.root).of(log),
        };
        self.sections.push(Section {
            log,
            label: label.to_owned(),
            scope,
            checkpoints: Vec::from([own]),
            ledger,
            events: 0,
            kept: Vec::new(),
            times: Times::default(),
        });
        Ok(())
    }

    fn further(&mut self, mut r: Reader<'_>) -> Result<(), Malformed> {
        let text = r.text()?;
        let proof = optional(&mut r)?.map(hashes).transpose()?;
        r.end()?;
        let Some(section) = self.sections.last_mut().filter(|s| s.events == 0) else {
            return Err(bad("has a checkpoint that follows no section"));
        };
        if proof.is_some() != (section.scope == Scope::Part) {
            return Err(bad("has a checkpoint with a proof in a whole section, or without one in a part"));
        }
        let further = Named::read(&self.policy, text, proof)?;
        let above = |n: &Named| further.size > n.size;
        let below_own = section.checkpoints.first().is_some_and(|own| further.size < own.size);
        if !below_own || !section.checkpoints.iter().skip(1).all(above) {
            return Err(bad("has further checkpoints out of their order"));
        }
        section.checkpoints.push(further);
        Ok(())
    }

    fn event(&mut self, mut r: Reader<'_>, each: &mut dyn FnMut(&Event<'_>)) -> Result<(), Malformed> {
        let index = r.uint()?;
        let asked = match r.uint()? {
            0 => true,
            1 => false,
            _ => return Err(bad("has an event in no known role")),
        };
        let leaf = r.bytes()?;
        let body = match r.peek()? {
            Type::Uint => Stored::Unread(r.uint()?),
            _ => optional(&mut r)?.map_or(Stored::Nothing, Stored::Bytes),
        };
        let secret = optional(&mut r)?;
        let path = optional(&mut r)?.map(hashes).transpose()?;
        r.end()?;
        let at = self.sections.len().wrapping_sub(1);
        let Some(section) = self.sections.last_mut() else { return Err(bad("has an event before its section")) };
        let whole = section.scope == Scope::Whole;
        if whole && (path.is_some() || !asked || index != section.events) {
            return Err(bad("has an event of a whole section out of its order, in another role, or with a proof"));
        }
        let secret = match secret.map(<&[u8; 32]>::try_from) {
            None => None,
            Some(Ok(secret)) => Some(secret),
            Some(Err(_)) => return Err(bad("has a secret that is not 32 bytes")),
        };
        let stored = match (body, secret) {
            (Stored::Bytes(row), Some(secret)) => Stored::Opened(row, secret),
            _ => body,
        };
        section.events += 1;
        self.events += 1;
        let ledger = &mut section.ledger;
        if secret.is_some() && !matches!(stored, Stored::Opened(..)) {
            ledger.problem("secret.altered", format!("leaf {index}"), "discloses a secret of a body that is not here".to_owned());
        }
        let (hash, kind) = match section.scope {
            Scope::Whole => ledger.leaf(leaf, stored),
            Scope::Part => ledger.shown(index, asked, leaf, stored, path.as_deref()),
        };
        if section.events == 1 {
            section.offer(&self.kept);
        }
        if let (Some(Kind::ANCHOR), Stored::Bytes(body)) = (kind, body) {
            section.anchor(&self.policy, index, body);
        }
        each(&Event { section: at, log: &section.log, index, asked, hash, leaf, body: stored });
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If it ended before its first line.
    pub fn finish(mut self) -> Result<Judgement, Malformed> {
        match self.state {
            State::Beginning => return Err(bad("ends before its first line does")),
            State::Frames => self.problem("bundle.truncated", "file", "ends before its last frame".to_owned()),
            State::Over | State::Lost => {}
        }
        let Self { policy, kept, sections, problems, unlisted, .. } = self;
        let mut all = Judgement { verdict: Verdict::Unproven, logs: Vec::new(), problems, unlisted };
        // Later logs go on from earlier ones, so these are judged after them.
        let mut heirs: Vec<Heir> = Vec::new();
        let mut erased: Vec<([u8; 16], Rc<[Hash]>)> = Vec::new();
        for mut section in sections.into_iter().rev() {
            erased.iter().filter(|(log, _)| *log == section.log).for_each(|(_, refs)| section.ledger.erased_later(&**refs));
            let refs: Rc<[Hash]> = section.ledger.erased().copied().collect();
            erased.extend(section.ledger.named_logs().map(|before| (before.log, Rc::clone(&refs))));
            let owner = section.ledger.owner();
            section.count_kept(&policy, &kept);
            let judged = section.judge(&policy, &heirs, &mut all);
            let named = judged.report.adopted.iter().chain(judged.report.imported.iter().map(|(_, log)| log));
            heirs.extend(named.map(|adopted| Heir { adopted: *adopted, verdict: judged.verdict, owner }));
            all.logs.push(judged);
        }
        all.logs.reverse();
        all.verdict = if !all.problems.is_empty() {
            Verdict::Altered
        } else if !all.logs.is_empty() && all.logs.iter().all(|log| log.verdict == Verdict::Intact) {
            Verdict::Intact
        } else {
            Verdict::Unproven
        };
        Ok(all)
    }
}

impl Section {
    /// Offers all checkpoints, once the log's key is known.
    fn offer(&mut self, kept: &[Kept]) {
        for named in &self.checkpoints {
            self.ledger.checkpoint_with(named.text.as_bytes(), named.proof.as_deref());
        }
        let origin = note::origin(&self.log);
        let own = self.size();
        for kept in kept.iter().filter(|k| k.origin == origin) {
            self.kept.push(kept.clone());
            if kept.size <= own && self.scope == Scope::Whole {
                self.ledger.kept(kept.size, kept.root, kept.text.as_bytes());
            }
        }
    }

    /// Counts the lines of witnesses on checkpoints that were kept elsewhere. One
    /// that another key has signed is a finding; a bad line in the auditor's own
    /// file is none of the bundle's.
    fn count_kept(&mut self, policy: &Policy, kept: &[Kept]) {
        let origin = note::origin(&self.log);
        for &Kept { ref text, size, root, .. } in kept.iter().filter(|k| k.origin == origin) {
            let Ok(note) = Note::parse(text.as_bytes()) else { continue };
            let at = self.checkpoints.iter().position(|n| n.size == size && n.root == root).unwrap_or_else(|| {
                self.checkpoints.push(Named {
                    text: String::new(),
                    proof: None,
                    size,
                    root,
                    cosigned: Cosigned::default(),
                    #[cfg(feature = "pq")]
                    signed: Vec::new(),
                });
                self.checkpoints.len() - 1
            });
            let cosigned = &mut self.checkpoints[at].cosigned;
            let invalid = cosigned.invalid.len();
            policy.count(&note, cosigned);
            cosigned.invalid.truncate(invalid);
            #[cfg(feature = "pq")]
            self.checkpoints[at].signed.extend(policy.signed_by_ml_dsa(&note).into_iter().filter(|valid| *valid));
        }
    }

    /// The size that the section speaks of.
    fn size(&self) -> u64 {
        self.checkpoints.first().map_or(0, |own| own.size)
    }

    /// Takes the time that an anchor proves of what comes after it.
    fn anchor(&mut self, policy: &Policy, index: u64, body: &[u8]) {
        let Ok(Some(PublicBody::Anchor { note, .. })) = PublicBody::decode(Kind::ANCHOR, body) else { return };
        let Ok(note) = Note::parse(note) else { return };
        let Ok(Checkpoint { size, root, .. }) = Checkpoint::parse(note.text) else { return };
        let cosigned = policy.cosigned(&note);
        for witness in &cosigned.invalid {
            let message = format!("the line of witness {witness} in the anchor does not verify");
            self.ledger.problem("cosignature.invalid", format!("leaf {index}"), message);
        }
        if size > index || self.ledger.confirmed(size) != Some(&root) {
            return;
        }
        let newest = self.times.not_before.last().map(|(_, time)| *time);
        if let Some(time) = cosigned.not_before.filter(|time| newest.is_none_or(|newest| *time > newest)) {
            self.times.not_before.push((index, time));
        }
    }

    /// Whether the section is as new as what was kept.
    fn freshness(&mut self) -> Freshness {
        let own = self.size();
        // What this part of the log's history does not reach, a later key may
        // have signed.
        if self.kept.iter().any(|kept| kept.size <= own && !self.ledger.signed(kept.size, kept.text.as_bytes())) {
            self.ledger.problem("log.forked", "checkpoint".to_owned(), "another key has signed the checkpoint that was kept".to_owned());
            return Freshness::Forked;
        }
        if let Some(longest) = self.kept.iter().map(|kept| kept.size).max().filter(|size| *size > own) {
            let message = format!("ends at {own}, and a checkpoint of {longest} was kept");
            self.ledger.problem("log.rolled_back", "checkpoint".to_owned(), message);
            return Freshness::Behind(longest - own);
        }
        let mut freshness = Freshness::Unproven;
        for Kept { size, root, .. } in core::mem::take(&mut self.kept) {
            match self.ledger.confirmed(size) {
                Some(own) if *own == root => freshness = Freshness::Current,
                None if self.scope == Scope::Part => {}
                other => {
                    if other.is_some() && self.scope == Scope::Part {
                        let message = format!("has another root at {size} than the checkpoint that was kept");
                        self.ledger.problem("log.forked", "checkpoint".to_owned(), message);
                    }
                    return Freshness::Forked;
                }
            }
        }
        freshness
    }

    /// Judges what was taken. `heirs` are the later sections that go on from
    /// some log.
    fn judge(mut self, policy: &Policy, heirs: &[Heir], all: &mut Judgement) -> LogJudgement {
        let mine = || heirs.iter().filter(|heir| heir.adopted.log == self.log);
        let (heir, heirs) = (mine().next().copied(), mine().count());
        let freshness = self.freshness();
        let origin = note::origin(&self.log);
        let size = self.size();
        let Self { log, label, scope, checkpoints, mut ledger, events, mut times, .. } = self;
        if scope == Scope::Whole && events > size {
            ledger.problem("bundle.tail", format!("leaf {size}"), "stands after what the checkpoint covers".to_owned());
        }
        for witness in checkpoints.iter().flat_map(|named| &named.cosigned.invalid) {
            ledger.problem("cosignature.invalid", "checkpoint".to_owned(), format!("the line of witness {witness} does not verify"));
        }
        #[cfg(feature = "pq")]
        if checkpoints.iter().any(|named| named.signed.contains(&false)) {
            ledger.problem("checkpoint.invalid", "checkpoint".to_owned(), "its line by ML-DSA-44 does not verify".to_owned());
        }
        ledger.vouch(&|key| policy.trusts(&origin, key));
        #[cfg(feature = "pq")]
        if checkpoints.first().is_some_and(|own| own.signed.contains(&true)) {
            ledger.vouch(&|_| true);
        }
        // A log whose quorum is there names this one's root.
        let by_heir = heir.is_some_and(|h| h.verdict == Verdict::Intact);
        let quorum = policy.asks_for_quorum().then(|| by_heir || checkpoints.first().is_some_and(|own| own.cosigned.quorum));
        let mut witnessed = quorum.map(|_| if by_heir { size } else { 0 });
        for named in checkpoints.iter().filter(|named| ledger.confirmed(named.size) == Some(&named.root)) {
            if let Some(time) = named.cosigned.not_after {
                times.not_after.push((named.size, time));
            }
            if named.cosigned.quorum {
                witnessed = witnessed.map(|w| w.max(named.size));
            }
        }
        times.not_after.sort_unstable();
        let (root, leaves) = (ledger.root(), ledger.size());
        if heirs > 1 {
            ledger.problem("log.adopted", "section".to_owned(), "two logs say that they go on from it".to_owned());
        }
        if heir.is_some_and(|h| h.adopted.cause != Adopted::IMPORTED && h.owner != ledger.owner()) {
            ledger.problem(
                "log.adopted",
                "section".to_owned(),
                "is of another database or tenant than the log that goes on from it".to_owned(),
            );
        }
        if heir.is_some_and(|h| h.adopted.size != leaves || h.adopted.root != root) {
            ledger.problem("log.adopted", "section".to_owned(), "is not as the log that goes on from it says that it was left".to_owned());
        }
        let reached = ledger.confirmed(size) == checkpoints.first().map(|own| &own.root);
        let mut report = ledger.finish();
        let mut verdict = report.verdict;
        if verdict == Verdict::Intact && !reached {
            verdict = Verdict::Unproven;
        }
        if let (Verdict::Unproven, Some(Heir { verdict: of_heir, .. }), 0) = (verdict, heir, report.unattributed) {
            verdict = of_heir;
        }
        if verdict == Verdict::Intact && quorum == Some(false) {
            verdict = Verdict::Unproven;
        }
        let name = origin.rsplit('/').next().unwrap_or_default();
        for p in core::mem::take(&mut report.problems) {
            all.take(Problem { place: format!("log {name} {}", p.place), ..p });
        }
        all.unlisted += report.unlisted;
        LogJudgement { log, label, scope, verdict, report, freshness, quorum, witnessed, times }
    }
}

impl Judgement {
    fn take(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.unlisted += 1;
        }
    }
}

/// The next item, or `None` for null.
fn optional<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match r.peek()? {
        Type::Simple => match r.simple()? {
            None => Ok(None),
            Some(_) => Err(bad("has a truth value where bytes belong")),
        },
        _ => r.bytes().map(Some),
    }
}

/// Hashes of a proof, one after the other.
fn hashes(bytes: &[u8]) -> Result<Vec<Hash>, Malformed> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() > MAX_HASHES {
        return Err(bad("has a proof that is no list of hashes, or too long a one"));
    }
    Ok(hashes.to_vec())
}
