//! What a walk concludes: verdicts, counts and findings, and whom the caller
//! trusts.
//!
//! This file **owns** the words and figures of a report, and no rule.

use crate::body::Adopted;
use crate::hash::Hash;
use crate::trail::Disputed;
use crate::{Problem, PublicKey};
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
    fingerprints: Vec<Hash>,
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
        self.fingerprints.push(fingerprint);
        self
    }

    pub(super) fn accepts(&self, key: &PublicKey) -> bool {
        self.fingerprints.contains(&key.fingerprint())
    }
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
    /// Fingerprint (SHA-256) of the log's newest key: what a stranger compares
    /// with what the owner told them by another way.
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
    /// Logs of other databases that were brought into this one: the leaf that names
    /// one, and what it says.
    pub imported: Vec<(u64, Adopted)>,
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
