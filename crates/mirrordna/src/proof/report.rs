//! A judgement as interfaces print it.

use super::{Freshness, Judgement, LogJudgement};
use crate::keyring::hex;
use crate::verify::Finding;
use mirrordna_core::time;
use mirrordna_core::verify::Disputed;
use serde::Serialize;

/// What was found of a bundle, for JSON: the same keys in every language and
/// verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct BundleReport {
    /// `intact`, `altered` or `unproven`.
    pub verdict: &'static str,
    /// Each section.
    pub logs: Vec<SectionReport>,
    /// What was found; empty unless altered.
    pub problems: Vec<Finding>,
    /// Findings beyond those listed.
    pub unlisted: u64,
}

/// What was found of one section of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SectionReport {
    /// Id of the log, hex.
    pub log: String,
    /// `whole` or `part`.
    pub scope: &'static str,
    /// What its maker says that it is about: evidence of nothing.
    pub label: String,
    /// `intact`, `altered` or `unproven`.
    pub verdict: &'static str,
    /// Leaves that the checkpoint covers.
    pub size: u64,
    /// Events in the section, supporting ones too.
    pub events: u64,
    /// Root over the leaves, hex.
    pub head: String,
    /// Fingerprint of the key that signs the checkpoints, hex.
    pub log_key: Option<String>,
    /// Identities with a chain, without the log's own.
    pub identities: u64,
    /// Accounting of bodies.
    pub bodies: SectionBodies,
    /// Events that no later signature of their own signer covers.
    pub unsigned: u64,
    /// Events of a part that were asked for and that nothing in it shows to be
    /// their actor's: it lacks the key, or the signature.
    pub unattributed: u64,
    /// Whether nothing was left out between the events that were asked for.
    pub chain_complete: bool,
    /// What was left out.
    pub missing_links: Vec<MissingLinkReport>,
    /// `current`, `behind N`, `forked` or `unproven`, by checkpoints that were
    /// kept.
    pub freshness: String,
    /// Whether the checkpoint has the quorum of witnesses that the policy asks
    /// for; `null` where it asks for none.
    pub quorum: Option<bool>,
    /// Events below this size have it, by the largest checkpoint that does; 0
    /// where none has it, `null` where the policy asks for none.
    pub witnessed: Option<u64>,
    /// Id of the log that this one goes on from, hex.
    pub adopted: Option<String>,
    /// Ids of the logs of other databases that were adopted into this one, hex.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<String>,
    /// Events that their actors say may be somebody else's.
    pub disputed: Vec<DisputedReport>,
    /// What is proven of time.
    pub times: TimesReport,
}

/// Accounting of the bodies of a section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SectionBodies {
    /// In the section, and matching their commitment.
    pub present: u64,
    /// Of those, the ones whose secret is disclosed.
    pub disclosed: u64,
    /// Not handed out.
    pub withheld: u64,
    /// Absent, and an erase event says so.
    pub erased: u64,
    /// Absent without an erase event.
    pub missing: u64,
}

/// Events of an actor that were left out between others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MissingLinkReport {
    /// SCID digest of the actor, hex.
    pub actor: String,
    /// Number in its chain of the first event left out.
    pub from: u64,
    /// And of the last one.
    pub to: u64,
}

/// Events that their actor says may be somebody else's: a recovery of its
/// identity, or the end of an epoch, names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct DisputedReport {
    /// SCID digest of the actor, hex.
    pub actor: String,
    /// Only those of this epoch, by its number in the chain.
    pub epoch: Option<u64>,
    /// Number in the chain of the first one.
    pub first: u64,
    /// And of the last one.
    pub last: u64,
    /// Leaf index of the first one.
    pub first_leaf: u64,
    /// And of the last one.
    pub last_leaf: u64,
    /// How many there are; in a part, of those that were asked for.
    pub count: u64,
    /// Leaf index of the event that disputes them.
    pub by: u64,
}

impl From<&Disputed> for DisputedReport {
    fn from(d: &Disputed) -> Self {
        let (first, last, first_leaf, last_leaf) = (d.first, d.last, d.first_leaf, d.last_leaf);
        Self { actor: hex(&d.actor), epoch: d.epoch, first, last, first_leaf, last_leaf, count: d.count, by: d.by }
    }
}

/// What witnesses prove of the time of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct TimesReport {
    /// From each of these leaves on, events are not older than the time.
    pub not_before: Vec<TimeBound>,
    /// Below each of these leaves, events are not younger than the time.
    pub not_after: Vec<TimeBound>,
}

/// A bound of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct TimeBound {
    /// Index of a leaf.
    pub leaf: u64,
    /// RFC 3339, UTC.
    pub time: String,
}

/// Seconds since 1970 as text.
fn seconds(seconds: u64) -> String {
    let ms = i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX);
    time::rfc3339(ms)
}

fn bounds(list: &[(u64, u64)]) -> Vec<TimeBound> {
    list.iter().map(|(leaf, at)| TimeBound { leaf: *leaf, time: seconds(*at) }).collect()
}

impl From<&Judgement> for BundleReport {
    fn from(judged: &Judgement) -> Self {
        Self {
            verdict: judged.verdict.name(),
            logs: judged.logs.iter().map(SectionReport::from).collect(),
            problems: judged.problems.iter().map(Finding::from).collect(),
            unlisted: judged.unlisted,
        }
    }
}

impl From<&LogJudgement> for SectionReport {
    fn from(judged: &LogJudgement) -> Self {
        let report = &judged.report;
        let missing_links = report.missing_links.iter().map(|m| MissingLinkReport { actor: hex(&m.actor), from: m.from, to: m.to });
        Self {
            log: hex(&judged.log),
            scope: judged.scope.name(),
            label: judged.label.clone(),
            verdict: judged.verdict.name(),
            size: report.size,
            events: report.taken,
            head: hex(&report.root),
            log_key: report.log_key.as_ref().map(|key| hex(key)),
            identities: report.identities,
            bodies: SectionBodies {
                present: report.bodies.present,
                disclosed: report.bodies.disclosed,
                withheld: report.bodies.unread,
                erased: report.bodies.erased,
                missing: report.bodies.missing,
            },
            unsigned: report.unsigned,
            unattributed: report.unattributed,
            chain_complete: report.missing_links.is_empty(),
            missing_links: missing_links.collect(),
            freshness: match judged.freshness {
                Freshness::Current => "current".to_owned(),
                Freshness::Behind(events) => format!("behind {events}"),
                Freshness::Forked => "forked".to_owned(),
                Freshness::Unproven => "unproven".to_owned(),
            },
            quorum: judged.quorum,
            witnessed: judged.witnessed,
            adopted: report.adopted.map(|adopted| hex(&adopted.log)),
            imported: report.imported.iter().map(|(_, adopted)| hex(&adopted.log)).collect(),
            disputed: report.disputed.iter().map(DisputedReport::from).collect(),
            times: TimesReport { not_before: bounds(&judged.times.not_before), not_after: bounds(&judged.times.not_after) },
        }
    }
}
