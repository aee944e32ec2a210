//! What a verification says.

use crate::keyring::hex;
use mirrordna_core::identity::{IdentityType, display_id};
use mirrordna_core::verify::{Disputed, Problem, Verdict};
use serde::Serialize;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Finding {
    /// Stable dotted name.
    pub code: String,
    /// Log, leaf, or table and row.
    #[serde(rename = "where")]
    pub place: String,
    /// What was found.
    pub message: String,
}

impl From<&Problem> for Finding {
    fn from(p: &Problem) -> Self {
        Self { code: p.code.to_owned(), place: p.place.clone(), message: p.message.clone() }
    }
}

/// Accounting of bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BodyCounts {
    /// Stored, matching their commitment, and readable here; public ones, which
    /// need no key, are among them.
    pub present: u64,
    /// Stored and matching, but their key is not here.
    pub locked: u64,
    /// Absent, and an erase event says so.
    pub erased: u64,
    /// Absent without an erase event.
    pub missing: u64,
    /// Stored, and not read: what they are, and whether they open, is unknown.
    /// `None`, and left out of JSON, where every body was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
}

/// Events that their actor no longer stands by: it recovered its identity, or
/// revoked an epoch, because they may be by a thief of its keys. They are as they
/// were signed, so this is no finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisputedEvents {
    /// Id of their log, hex.
    pub log: String,
    /// Display id of the actor.
    pub actor: String,
    /// Only those of this epoch (by number in the actor's chain); all of the
    /// actor's in the range where there is none.
    pub epoch: Option<u64>,
    /// Number of the first one in the actor's chain, from 0.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Leaf index of the first one.
    pub first_leaf: u64,
    /// Leaf index of the last one.
    pub last_leaf: u64,
    /// How many there are.
    pub count: u64,
    /// Leaf index of the event that disputes them.
    pub by: u64,
}

impl DisputedEvents {
    pub(crate) fn of(log: &[u8; 16], d: &Disputed) -> Self {
        Self {
            log: hex(log),
            actor: IdentityType::from_label(&d.label).map_or_else(|| hex(&d.actor), |kind| display_id(kind, &d.actor)),
            epoch: d.epoch,
            first: d.first,
            last: d.last,
            first_leaf: d.first_leaf,
            last_leaf: d.last_leaf,
            count: d.count,
            by: d.by,
        }
    }
}

/// What was found of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its id, hex.
    pub log: String,
    /// `intact`, `altered` or `unproven`.
    pub verdict: &'static str,
    /// Number of its events.
    pub events: u64,
    /// How many of them its newest checkpoint covers.
    pub checkpointed: u64,
    /// How many of them the newest checkpoint covers that has the quorum of
    /// witnesses which the policy asks for, by anchors in the log and by what was
    /// kept; those after it are not witnessed. `None`, and left out of JSON, where
    /// the policy asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<u64>,
    /// Root over its leaves, hex.
    pub head: String,
    /// Fingerprint of the key that signs its checkpoints, hex.
    pub log_key: Option<String>,
    /// `current`, `behind N`, `unproven` or `forked`, by this machine's head
    /// witness; `closed` where another log goes on from it.
    pub freshness: String,
    /// Id of the log that it goes on from, hex.
    pub adopted: Option<String>,
    /// Ids of the logs of other databases that were adopted into it, hex.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<String>,
}

/// The outcome of a verification.
///
/// ```
/// use mirrordna::{Engine, IdentityType, Keys, Witness};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("m.db");
/// # let path = path.to_str().unwrap();
/// # let keys = || Keys::Folder(dir.path().join("keys"));
/// # let engine = Engine::builder(path).keys(keys()).witness(Witness::Off).open()?;
/// engine.identities().create(IdentityType::Agent)?.memories().add("for the agent only").send()?;
/// let report = engine.verify()?;
/// assert!(report.is_intact());
/// engine.close()?;
///
/// // A stranger has the file, and no keys: nothing is wrong, and nobody whom
/// // they trust vouches for it.
/// let theirs = || Engine::builder(path).keys(Keys::Folder("/nowhere".into())).witness(Witness::Off);
/// let report = theirs().verify()?;
/// assert_eq!((report.verdict, report.problems.len()), ("unproven", 0));
/// assert_eq!(report.bodies.locked, 2); // the agent's profile and its memory
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// `intact`, `altered` or `unproven`.
    pub verdict: &'static str,
    /// Whether the verdict is `intact`.
    pub ok: bool,
    /// Number of events in all logs.
    pub events: u64,
    /// Logs that a fork closed: others go on from them.
    pub closed: u64,
    /// Number of identities with a chain, without the engine's own.
    pub identities: u64,
    /// Accounting of bodies.
    pub bodies: BodyCounts,
    /// Events that no later signature of their own signer covers.
    pub unsigned: u64,
    /// Events that signed checkpoints cover.
    pub checkpointed: u64,
    /// Events that checkpoints cover which have the quorum of witnesses that the
    /// policy asks for; `None`, and left out of JSON, where it asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<u64>,
    /// `current`, `behind N`, `unproven` or `forked`, by this machine's head
    /// witness.
    pub freshness: String,
    /// Root over the first log, hex; after a fork, over the log that goes on from
    /// it.
    pub head: String,
    /// Fingerprint of that log's checkpoint key, hex.
    pub log_key: Option<String>,
    /// Each log by itself, oldest first.
    pub logs: Vec<LogReport>,
    /// Events that their actors no longer stand by; at most 256 ranges a log.
    pub disputed: Vec<DisputedEvents>,
    /// Recoveries and revocations whose ranges are not listed.
    pub unlisted_disputes: u64,
    /// What was found; empty unless altered.
    pub problems: Vec<Finding>,
    /// Findings beyond those listed.
    pub unlisted: u64,
}

impl VerifyReport {
    /// Whether everything is as it was signed, by a key that is trusted here.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.ok
    }

    /// Puts a finding before the others; with it the verdict is `altered`.
    pub(crate) fn add(&mut self, finding: Finding) {
        (self.verdict, self.ok) = (Verdict::Altered.name(), false);
        self.problems.insert(0, finding);
    }
}

/// The report of a database that is damaged beyond opening.
pub(crate) fn unreadable(e: &mirrordna_core::Error) -> VerifyReport {
    VerifyReport {
        verdict: Verdict::Altered.name(),
        ok: false,
        events: 0,
        closed: 0,
        identities: 0,
        bodies: BodyCounts::default(),
        unsigned: 0,
        checkpointed: 0,
        witnessed: None,
        freshness: "unproven".to_owned(),
        head: String::new(),
        log_key: None,
        logs: Vec::new(),
        disputed: Vec::new(),
        unlisted_disputes: 0,
        problems: vec![Finding { code: "store.unreadable".to_owned(), place: "database".to_owned(), message: e.to_string() }],
        unlisted: 0,
    }
}
