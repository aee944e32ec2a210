//! Checkpoints of a log that others have seen: those that anchors brought back
//! into it, and those that were kept elsewhere.

use super::Outside;
use crate::proof::anchored;
use crate::witness::Freshness;
use mirrordna_core::verify::Ledger;
use mirrordna_core::verify::note::{self, Checkpoint, Note};
use mirrordna_core::verify::policy::{Cosigned, Policy};
use mirrordna_core::{Hash, Result};
use mirrordna_storage::{LogRow, ReadTx};
use std::collections::BTreeMap;

/// One of them.
struct Seen {
    text: String,
    size: u64,
    root: Hash,
    kept: bool,
}

/// The checkpoints that the walk through a log is held against.
pub(super) struct Others {
    origin: String,
    number: u32,
    seen: Vec<Seen>,
}

impl Others {
    /// Those of the log in a row; of anchors only where a quorum is asked for.
    pub(super) fn of(tx: &dyn ReadTx, row: &LogRow, outside: &Outside<'_>) -> Result<Self> {
        let mut all = Self { origin: note::origin(&row.id), number: row.number, seen: Vec::new() };
        if outside.policy.asks_for_quorum() {
            anchored(tx, row, row.size)?.into_values().for_each(|text| all.take(text, false));
        }
        outside.kept.iter().for_each(|text| all.take(text.clone(), true));
        Ok(all)
    }

    fn take(&mut self, text: String, kept: bool) {
        let Ok(note) = Note::parse(text.as_bytes()) else { return };
        let Ok(Checkpoint { origin, size, root }) = Checkpoint::parse(note.text) else { return };
        if origin == self.origin && size > 0 {
            self.seen.push(Seen { text, size, root, kept });
        }
    }

    fn problem(&self, ledger: &mut Ledger, code: &'static str, message: String) {
        ledger.problem(code, format!("log {} checkpoint", self.number), message);
    }

    /// Has the ledger compare them, once it knows the log; which key signs at
    /// their sizes it learns from the leaves.
    pub(super) fn offer(&self, row: &LogRow, ledger: &mut Ledger) {
        for seen in self.seen.iter().filter(|seen| seen.size <= row.size) {
            ledger.kept(seen.size, seen.root, seen.text.as_bytes());
        }
    }

    /// What kept ones say of the log's freshness, and up to which size the
    /// quorum of the policy holds; `None` where it asks for none.
    pub(super) fn judge(self, policy: &Policy, ledger: &mut Ledger, freshness: &mut Freshness) -> Option<u64> {
        let size = ledger.size();
        let signed = |seen: &Seen, ledger: &Ledger| ledger.signed(seen.size, seen.text.as_bytes());
        if self.seen.iter().any(|seen| seen.kept && seen.size <= size && !signed(seen, ledger)) {
            self.problem(ledger, "log.forked", "another key has signed the checkpoint that was kept".to_owned());
            *freshness = Freshness::Forked;
        }
        let kept = || self.seen.iter().filter(|seen| seen.kept);
        if kept().any(|seen| seen.size <= size && ledger.confirmed(seen.size) != Some(&seen.root)) {
            *freshness = Freshness::Forked;
        } else if let Some(longest) = kept().map(|seen| seen.size).max().filter(|longest| *longest > size) {
            self.problem(ledger, "log.rolled_back", format!("has {size} events, and a checkpoint of {longest} was kept"));
            *freshness = Freshness::Behind(longest - size);
        } else if kept().next().is_some() && *freshness == Freshness::Unproven {
            *freshness = Freshness::Current;
        }
        let mut cosigned: BTreeMap<u64, Cosigned> = BTreeMap::new();
        for seen in self.seen.iter().filter(|seen| ledger.confirmed(seen.size) == Some(&seen.root) && signed(seen, ledger)) {
            let Ok(note) = Note::parse(seen.text.as_bytes()) else { continue };
            let found = cosigned.entry(seen.size).or_default();
            let invalid = found.invalid.len();
            policy.count(&note, found);
            if seen.kept {
                // The auditor's own file is not the database's fault.
                found.invalid.truncate(invalid);
            }
        }
        for (size, witness) in cosigned.iter().flat_map(|(size, found)| found.invalid.iter().map(move |w| (size, w))) {
            self.problem(
                ledger,
                "cosignature.invalid",
                format!("the line of witness {witness} in the anchor of {size} events does not verify"),
            );
        }
        let witnessed = cosigned.iter().rev().find(|(_, found)| found.quorum).map_or(0, |(size, _)| *size);
        policy.asks_for_quorum().then_some(witnessed)
    }
}
