//! Verification of a whole database: each log walked by the ledger, and every
//! other row held against what the walk recomputed.
//!
//! This module **owns** how the logs of a database are held against each other;
//! [`walk`] goes through one of them, [`report`] is what is said at the end.

mod cosigned;
mod report;
mod walk;

pub(crate) use report::unreadable;
pub use report::{BodyCounts, DisputedEvents, Finding, LogReport, VerifyReport};

use crate::import::Progress;
use crate::keyring::{Keyring, hex};
use crate::witness::{self, Freshness, Remembered};
use mirrordna_core::verify::body::Adopted;
use mirrordna_core::verify::{Policy, Problem, Verdict};
use mirrordna_core::{Hash, Result};
use mirrordna_storage::Store;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use walk::LogWalk;
pub(crate) use walk::Subjects;

/// Events between two reports of progress.
pub(crate) const REPORT_EVERY: u64 = 4_096;

/// How much of a database a verification looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything.
    #[default]
    Everything,
    /// Headers, trees and signatures: no private body, no secret, no subject's
    /// key, and not how the store lays its rows down.
    Headers,
}

/// What is known from elsewhere than the machine that the database is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside<'a> {
    /// Log keys that are accepted besides those of the keyring, and the witnesses
    /// that are asked for.
    pub(crate) policy: &'a Policy,
    /// Checkpoints that were kept.
    pub(crate) kept: &'a [String],
}

/// Verifies the database in a store; `witness` is the folder of the
/// head witness and the place of the database; `progress` is told of events.
pub(crate) fn database(
    store: &dyn Store,
    keyring: Option<&Keyring>,
    outside: Outside<'_>,
    witness: Option<(&Path, [u8; 16])>,
    scope: Scope,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let mut findings: Vec<Problem> = Vec::new();
    let mut add = |code, place: &str, message: String| findings.push(Problem { code, place: place.to_owned(), message });
    if scope == Scope::Everything {
        for line in store.check()? {
            add("store.damaged", "database", line);
        }
    }
    // Witnesses are read before the state that is walked: what others add in
    // between can only make the walked state longer.
    let mut seen: HashMap<[u8; 16], (Remembered, [u8; 16])> = HashMap::new();
    if let Some((folder, place)) = witness {
        let listed = store.read(&mut |tx| {
            seen = tx.logs()?.iter().filter_map(|row| Some((row.id, (witness::read(folder, &row.id)?, place)))).collect();
            Ok(())
        });
        if listed.is_err() {
            seen.clear();
        }
    }
    let mut totals = Totals::default();
    let walked = store.read(&mut |tx| {
        totals = Totals::default();
        let logs = tx.logs()?;
        if logs.is_empty() {
            totals.problems.push(problem("log.genesis", "database", "the database holds no log"));
        }
        for stray in tx.strays()? {
            totals.problems.push(problem("store.stray_row", &stray, "belongs to no leaf or log"));
        }
        let subjects = match scope {
            Scope::Everything => Subjects::load(tx, keyring, &logs, &mut totals.problems)?,
            Scope::Headers => Subjects::default(),
        };
        totals.bodies.unread = (scope == Scope::Headers).then_some(0);
        let total = logs.iter().map(|row| row.size).fold(0, u64::saturating_add);
        for row in &logs {
            let seen = seen.get(&row.id).cloned();
            let walk = LogWalk::new(row, keyring, &subjects, outside, seen);
            walk.run(tx, scope, &mut totals, &mut |done| progress(done, total))?;
        }
        totals.conclude();
        Ok(())
    });
    if let Err(e) = walked {
        // A row that cannot even be read is a finding, not a failure to verify.
        add("store.unreadable", "database", e.to_string());
    }
    findings.append(&mut totals.problems);
    let verdict = if !findings.is_empty() { Verdict::Altered } else { totals.verdict.unwrap_or(Verdict::Unproven) };
    Ok(VerifyReport {
        verdict: verdict.name(),
        ok: verdict == Verdict::Intact,
        events: totals.events,
        closed: totals.closed,
        identities: totals.identities,
        bodies: totals.bodies,
        unsigned: totals.unsigned,
        checkpointed: totals.checkpointed,
        witnessed: totals.witnessed,
        freshness: totals.freshness.unwrap_or(Freshness::Unproven).to_string(),
        head: totals.head.map(|h| hex(&h)).unwrap_or_default(),
        log_key: totals.log_key.map(|h| hex(&h)),
        logs: totals.reports,
        disputed: totals.disputed,
        unlisted_disputes: totals.unlisted_disputes,
        problems: findings.iter().map(Finding::from).collect(),
        unlisted: totals.unlisted,
    })
}

fn problem(code: &'static str, place: &str, message: &str) -> Problem {
    Problem { code, place: place.to_owned(), message: message.to_owned() }
}

/// What the walk through a log found.
struct Walked {
    number: u32,
    id: [u8; 16],
    verdict: Verdict,
    size: u64,
    root: Hash,
    log_key: Option<Hash>,
    checkpointed: u64,
    /// Up to which size the quorum holds that is asked for.
    witnessed: Option<u64>,
    freshness: Freshness,
    /// The log that it goes on from, by its second leaf.
    adopted: Option<Adopted>,
    /// The logs of other databases that it adopted.
    imported: Vec<(u64, Adopted)>,
    /// Database and tenant, by its first leaf; of logs that were not left and go
    /// on from none, nothing.
    owner: Option<([u8; 16], Hash)>,
    /// The log that goes on from it, by its row.
    successor: Option<u32>,
    /// The same by the head witness.
    ended: Option<[u8; 16]>,
    /// The actors of a log that was left or goes on from one; of others, nothing.
    actors: HashSet<Hash>,
}

#[derive(Default)]
struct Totals {
    logs: Vec<Walked>,
    reports: Vec<LogReport>,
    disputed: Vec<DisputedEvents>,
    unlisted_disputes: u64,
    closed: u64,
    verdict: Option<Verdict>,
    events: u64,
    identities: u64,
    bodies: BodyCounts,
    unsigned: u64,
    checkpointed: u64,
    witnessed: Option<u64>,
    head: Option<Hash>,
    log_key: Option<Hash>,
    freshness: Option<Freshness>,
    problems: Vec<Problem>,
    unlisted: u64,
}

impl Totals {
    /// Holds the logs against each other, and concludes from all of them.
    fn conclude(&mut self) {
        let logs = std::mem::take(&mut self.logs);
        let mut numbers: HashMap<[u8; 16], u32> = HashMap::new();
        let mut heirs: HashMap<[u8; 16], Vec<(usize, u64, Adopted)>> = HashMap::new();
        for (at, log) in logs.iter().enumerate() {
            numbers.entry(log.id).or_insert(log.number);
            // What it goes on from it says in its second leaf.
            for (leaf, adopted) in log.adopted.iter().map(|adopted| (1, *adopted)).chain(log.imported.iter().copied()) {
                heirs.entry(adopted.log).or_default().push((at, leaf, adopted));
            }
        }
        let heir_of =
            |log: &Walked| heirs.get(&log.id)?.first().and_then(|(at, leaf, as_left)| Some((*at, logs.get(*at)?, (*leaf, *as_left))));
        let mut verdicts: Vec<Verdict> = logs.iter().map(|log| log.verdict).collect();
        let mut witnessed: Vec<Option<u64>> = logs.iter().map(|log| log.witnessed).collect();
        // The log whose tree names a log's root, and the leaf there that does.
        let mut named: Vec<Option<(usize, u64)>> = vec![None; logs.len()];
        let mut found = |at: &Walked, code, message: String| {
            self.problems.push(Problem { code, place: format!("log {}", at.number), message });
        };
        for (at, log) in logs.iter().enumerate() {
            let first = |id: &[u8; 16]| numbers.get(id).copied();
            if first(&log.id) != Some(log.number) {
                found(log, "log.row", "another log has its id".to_owned());
            }
            let heir = heir_of(log);
            if heirs.get(&log.id).is_some_and(|heirs| heirs.len() > 1) {
                found(log, "log.adopted", "two logs say that they go on from it".to_owned());
            }
            if log.adopted.is_some_and(|a| first(&a.log).is_none_or(|number| number >= log.number)) {
                found(log, "log.adopted", "the log that it goes on from is not there".to_owned());
            }
            for (_, missing) in log.imported.iter().filter(|(_, a)| first(&a.log).is_none()) {
                found(log, "log.adopted", format!("log {}, which it adopted, is not there", hex(&missing.log)));
            }
            if heir.map(|(_, l, _)| l.number) != log.successor {
                let said = |n: Option<u32>| n.map_or_else(|| "none".to_owned(), |n| format!("log {n}"));
                let (row, leaf) = (said(log.successor), said(heir.map(|(_, l, _)| l.number)));
                found(log, "log.row", format!("its row says that {row} goes on from it, by their leaves it is {leaf}"));
            }
            let Some((heir_at, heir, (leaf, as_left))) = heir else { continue };
            let imported = as_left.cause == Adopted::IMPORTED;
            self.closed += 1;
            if !imported && log.owner != heir.owner {
                found(log, "log.adopted", format!("is of another tenant than log {}", heir.number));
            } else if as_left.size != log.size || as_left.root != log.root {
                found(log, "log.adopted", format!("is not as log {} says that it was left", heir.number));
            } else {
                named[at] = Some((heir_at, leaf));
            }
            // One that was adopted goes on elsewhere as it likes.
            if !imported && log.ended.is_some_and(|id| id != heir.id) {
                self.freshness = Some(Freshness::Forked);
                found(log, "log.forked", "this machine has seen another log go on from it".to_owned());
            }
        }
        // Whoever vouches for the log that names its root vouches for it, and who
        // has seen that leaf has seen it: so heirs first. Altered rows may lead in a
        // circle.
        let mut seen = vec![false; logs.len()];
        for mut at in 0..logs.len() {
            let mut path = Vec::new();
            while !std::mem::replace(&mut seen[at], true) {
                path.extend(named[at].map(|(heir, leaf)| (at, heir, leaf)));
                at = named[at].map_or(at, |(heir, _)| heir);
            }
            for (at, heir, leaf) in path.into_iter().rev() {
                if witnessed[heir].is_some_and(|size| size > leaf) {
                    witnessed[at] = Some(logs[at].size);
                }
                if verdicts[at] == Verdict::Unproven && witnessed[at] != Some(0) {
                    verdicts[at] = verdicts[heir];
                }
            }
        }
        for (log, verdict) in logs.iter().zip(&mut verdicts) {
            if self.problems.iter().any(|p| p.place == format!("log {}", log.number)) {
                *verdict = Verdict::Altered;
            }
        }
        // The first log that is not current says it for all.
        for log in logs.iter().filter(|log| log.successor.is_none()) {
            if self.freshness.is_none_or(|f| f == Freshness::Current) {
                self.freshness = Some(log.freshness);
            }
        }
        // Who came over to another log is one identity; the engine's own are none.
        let forked: Vec<&HashSet<Hash>> = logs.iter().map(|log| &log.actors).filter(|actors| !actors.is_empty()).collect();
        let distinct: HashSet<&Hash> = forked.iter().copied().flatten().collect();
        self.identities += distinct.len().saturating_sub(forked.len()) as u64;
        let mut last = logs.first();
        while let Some((_, next, _)) = last.and_then(|log| heir_of(log).filter(|(_, next, _)| next.number > log.number)) {
            last = Some(next);
        }
        self.head = last.map(|log| log.root);
        self.log_key = last.and_then(|log| log.log_key);
        self.witnessed = witnessed.iter().copied().sum();
        let reported = logs.iter().zip(&verdicts).zip(witnessed).map(|((log, verdict), witnessed)| LogReport {
            log: hex(&log.id),
            verdict: verdict.name(),
            events: log.size,
            checkpointed: log.checkpointed,
            witnessed,
            head: hex(&log.root),
            log_key: log.log_key.map(|key| hex(&key)),
            freshness: if log.successor.is_some() { "closed".to_owned() } else { log.freshness.to_string() },
            adopted: log.adopted.map(|adopted| hex(&adopted.log)),
            imported: log.imported.iter().map(|(_, adopted)| hex(&adopted.log)).collect(),
        });
        self.reports = reported.collect();
        self.verdict = verdicts.into_iter().reduce(|a, b| match (a, b) {
            (a, b) if a == b => a,
            (Verdict::Altered, _) | (_, Verdict::Altered) => Verdict::Altered,
            _ => Verdict::Unproven,
        });
    }
}
