//! Signed checkpoints, and what cites them: the roots that a log was said to
//! have at some size, held against the leaves that are there.

use super::Ledger;
use crate::body::PublicBody;
use crate::hash::Hash;
use crate::merkle;
use crate::note::{self, Checkpoint, Note};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

impl Ledger {
    /// The root at a size whose checkpoint was confirmed.
    #[must_use]
    pub fn confirmed(&self, size: u64) -> Option<&Hash> {
        self.confirmed.get(&size)
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

    pub(super) fn compare_roots(&mut self) {
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

    /// Checks that an anchor is about a checkpoint of this log which came before
    /// it. What the observers say is for those to judge who know them.
    pub(super) fn anchor(&self, kind: u64, note: &[u8], token: &[u8]) -> Result<(), String> {
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
}
