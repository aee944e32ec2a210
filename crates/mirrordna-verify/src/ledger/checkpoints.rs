//! Signed checkpoints, and what cites them: the roots that a log was said to
//! have at some size, held against the leaves that are there.

use super::Ledger;
use crate::body::PublicBody;
use crate::hash::Hash;
use crate::note::{self, Checkpoint, Note};
use crate::{Malformed, merkle};
use alloc::borrow::ToOwned;
use alloc::format;

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
        let (Some(log), Some(key)) = (self.log, &self.log_key) else {
            return Err(bad("is offered before the log's genesis was read"));
        };
        let origin = note::origin(&log);
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text)?;
        if checkpoint.origin != origin {
            return Err(bad("names another log"));
        }
        if !note.signed_by(&origin, key) {
            return Err(bad("is not signed by the log's key"));
        }
        let (size, root) = (checkpoint.size, checkpoint.root);
        if let Some(part) = &self.part {
            if !merkle::extends(size, &root, part.size, &part.root, proof) {
                return Err(bad("is of another tree than the one that the proofs lead to"));
            }
            self.confirm(size, root);
            self.checkpoint = self.checkpoint.max(Some(size));
            return Ok(());
        }
        if size < self.size() {
            return Err(bad("is offered too late: its size was passed"));
        }
        let at = self.expected.partition_point(|(larger, _)| *larger > size);
        self.expected.insert(at, (size, root));
        self.compare_roots();
        Ok(())
    }

    /// Compares the tree with what it was expected to be at its size.
    pub(super) fn compare_roots(&mut self) {
        let size = self.size();
        while let Some((_, root)) = self.expected.pop_if(|(expected, _)| *expected == size) {
            if root == self.frontier.root() {
                self.confirm(size, root);
                self.checkpoint = self.checkpoint.max(Some(size));
            } else {
                let message = "the leaves have another root than the one that was signed".to_owned();
                self.problem("log.forked", format!("checkpoint of size {size}"), message);
            }
        }
    }

    /// Says which checkpoints the log did not reach, at the end.
    pub(super) fn end_expectations(&mut self) {
        while let Some((size, _)) = self.expected.pop() {
            self.expected.retain(|(other, _)| *other != size);
            let message = "the log is shorter than a checkpoint it signed".to_owned();
            self.problem("log.truncated", format!("checkpoint of size {size}"), message);
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
