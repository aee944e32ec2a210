//! Signed checkpoints, and what cites them: the roots that a log was said to
//! have at some size, held against the leaves that are there.

use super::{Fault, Ledger, fault};
use crate::body::PublicBody;
use crate::hash::Hash;
use crate::note::{self, Checkpoint, Note};
use crate::{Header, Malformed, merkle};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;

const TOO_LATE: Malformed = bad("is offered too late: its size was passed");

/// A checkpoint that was offered.
pub(super) struct Offered {
    root: Hash,
    note: Vec<u8>,
    /// The caller judges who signed it.
    kept: bool,
}

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("", why)
}

impl Ledger {
    /// The root at a size whose checkpoint was confirmed.
    #[must_use]
    pub fn confirmed(&self, size: u64) -> Option<&Hash> {
        let at = self.confirmed.binary_search_by_key(&size, |(size, _)| *size).ok()?;
        self.confirmed.get(at).map(|(_, root)| root)
    }

    pub(super) fn confirm(&mut self, size: u64, root: Hash) {
        if let Err(at) = self.confirmed.binary_search_by_key(&size, |(size, _)| *size) {
            self.confirmed.insert(at, (size, root));
        }
    }

    /// Offers a checkpoint note. Call it after leaf 0 was taken; its root is
    /// compared when the walk reaches its size, in a part at once.
    pub fn checkpoint(&mut self, bytes: &[u8]) {
        self.checkpoint_with(bytes, None);
    }

    /// The same with, in a part, the proof that the tree of the checkpoint is a
    /// prefix of that of the part.
    pub fn checkpoint_with(&mut self, bytes: &[u8], proof: Option<&[Hash]>) {
        if let Err(why) = self.take_checkpoint(bytes, proof.unwrap_or_default()) {
            self.problem("checkpoint.invalid", "checkpoint".to_owned(), why.sentence());
        }
    }

    fn take_checkpoint(&mut self, bytes: &[u8], proof: &[Hash]) -> Result<(), Malformed> {
        let Some(log) = self.log.filter(|_| self.keys.newest().is_some()) else {
            return Err(bad("is offered before the log's genesis was read"));
        };
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text)?;
        if checkpoint.origin != note::origin(&log) {
            return Err(bad("names another log"));
        }
        let (size, root) = (checkpoint.size, checkpoint.root);
        match &self.part {
            None if size < self.size() => return Err(TOO_LATE),
            Some(part) if !merkle::extends(size, &root, part.size, &part.root, proof) => {
                return Err(bad("is of another tree than the one that the proofs lead to"));
            }
            _ => {}
        }
        self.expect(size, root, bytes, false);
        self.compare_roots();
        Ok(())
    }

    fn expect(&mut self, size: u64, root: Hash, note: &[u8], kept: bool) {
        let at = self.expected.partition_point(|(larger, _)| *larger > size);
        self.expected.insert(at, (size, Offered { root, note: note.to_vec(), kept }));
    }

    /// Offers a checkpoint of a whole log that was kept elsewhere. That the log's
    /// key did not sign it is for the caller to say: it is none then.
    pub fn kept(&mut self, size: u64, root: Hash, note: &[u8]) {
        if size < self.size() {
            return self.problem("checkpoint.invalid", "checkpoint".to_owned(), TOO_LATE.sentence());
        }
        self.expect(size, root, note, true);
        self.compare_roots();
    }

    /// Whether a checkpoint of this log is signed as one of its size must be, by
    /// the keys that were read so far.
    #[must_use]
    pub fn signed(&self, size: u64, note: &[u8]) -> bool {
        let origin = self.log.map(|log| note::origin(&log)).unwrap_or_default();
        Note::parse(note).is_ok_and(|note| self.keys.sign(&origin, size, &note))
    }

    fn unsigned(&mut self, kept: bool) {
        if !kept {
            self.problem("checkpoint.invalid", "checkpoint".to_owned(), bad("is not signed by the log's key at its size").sentence());
        }
    }

    /// Compares the tree with what it was expected to be at its size.
    pub(super) fn compare_roots(&mut self) {
        if self.part.is_some() {
            let expected = core::mem::take(&mut self.expected);
            for (size, one) in expected.iter().rev() {
                if self.signed(*size, &one.note) {
                    self.confirm(*size, one.root);
                }
            }
            self.expected = expected;
            return;
        }
        let size = self.size();
        while let Some((_, Offered { root, note, kept })) = self.expected.pop_if(|(expected, _)| *expected == size) {
            if !self.signed(size, &note) {
                self.unsigned(kept);
            } else if root == self.frontier.root() {
                self.confirm(size, root);
                self.checkpoint = self.checkpoint.max(Some(size));
            } else {
                let message = "the leaves have another root than the one that was signed".to_owned();
                self.problem("log.forked", format!("checkpoint of size {size}"), message);
            }
        }
    }

    /// What the end of the log says of the checkpoints that were offered.
    pub(super) fn end_checkpoints(&mut self) {
        if let Some(leaf) = self.keys.waiting().filter(|_| !self.abandoned) {
            self.fault_at(leaf, fault("log.key", "the log ends before the bridge to its key"));
        }
        let mut truncated = None;
        while let Some((size, Offered { note, kept, .. })) = self.expected.pop() {
            let signed = self.signed(size, &note);
            if signed && self.part.is_some() {
                self.checkpoint = self.checkpoint.max(Some(size));
            } else if self.abandoned {
                // A leaf that was not read may have brought its key.
            } else if !signed {
                self.unsigned(kept);
            } else if truncated != Some(size) {
                truncated = Some(size);
                let message = "the log is shorter than a checkpoint it signed".to_owned();
                self.problem("log.truncated", format!("checkpoint of size {size}"), message);
            }
        }
    }

    /// Takes the key that an event brings, by the log's own actor; a part shows
    /// that it is.
    pub(super) fn bring_key(&mut self, header: &Header, key: &[u8; 32]) -> Result<(), Fault> {
        if self.system == Some(header.actor) && self.speaks(header) && self.keys.bring(self.here, key) {
            return Ok(());
        }
        Err(fault("log.key", "only the log's own actor brings a key for its checkpoints, and one that it never had"))
    }

    /// Takes the bridge to a key; what does not hold is for [`Ledger::bridged`].
    pub(super) fn bridge(&mut self, note: &[u8]) {
        // The tree before this leaf; of a part, as a checkpoint of that size is
        // proven to be.
        let offered = self.expected.iter().rev().find(|(size, _)| *size == self.here).map(|(_, one)| one.root);
        let root = if self.part.is_some() { offered } else { Some(self.frontier.root()) };
        let origin = self.log.map(|log| note::origin(&log)).unwrap_or_default();
        if root.is_some_and(|root| self.keys.bridge(&origin, &root, note)) && self.part.is_some() {
            self.compare_roots();
        }
    }

    /// After a leaf: it was the bridge to the key that waited before it.
    pub(super) fn bridged(&mut self, waiting: Option<u64>) {
        if let Some(leaf) = waiting
            && self.keys.all().last().is_none_or(|(since, _)| since.checked_sub(2) != Some(leaf))
        {
            self.fault(fault("log.key", "does not bridge to the key that the leaf before it brings"));
            self.keys.give_up(self.here);
        }
    }

    /// Checks that an anchor is about a checkpoint of this log which came before
    /// it. What the observers say is for those to judge who know them.
    pub(super) fn anchor(&self, kind: u64, note: &[u8], token: &[u8]) -> Result<(), Malformed> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text)?;
        let known = match kind {
            PublicBody::COSIGNED => token.is_empty(),
            PublicBody::TIME_STAMPED => !token.is_empty(),
            _ => false,
        };
        if !known {
            return Err(bad("is of no known kind, or has a token where its kind has none"));
        }
        if self.log.is_some_and(|log| checkpoint.origin != note::origin(&log)) {
            return Err(bad("is about another log"));
        }
        if checkpoint.size > self.here {
            return Err(bad("is about a tree that contains it"));
        }
        if self.confirmed(checkpoint.size).is_some_and(|root| *root != checkpoint.root) {
            return Err(bad("is about another tree than this one"));
        }
        Ok(())
    }
}
