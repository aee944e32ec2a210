//! The keys that sign a log's checkpoints, each from a size of the log on
//! (`spec/PROTOCOL.md` 7.4).
//!
//! The genesis brings the first one. A `log.key` brings another, which counts
//! from the leaf after it on, if that one is the *bridge*: a checkpoint over
//! the tree that ends with the `log.key`, signed by the old key and the new.

use crate::PublicKey;
use crate::hash::Hash;
use crate::note::{Checkpoint, Note};
use alloc::vec::Vec;

/// The keys of one log, as far as its leaves were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogKeys {
    /// The size from which a key is in force, and the key; both ascend.
    keys: Vec<(u64, PublicKey)>,
    /// The leaf that brought a key whose bridge was not read yet.
    waiting: Option<(u64, PublicKey)>,
}

impl LogKeys {
    /// Takes the key of the genesis, unless there is one.
    pub fn begin(&mut self, key: PublicKey) {
        if self.keys.is_empty() {
            self.keys.push((1, key));
        }
    }

    /// Takes the key that the leaf at an index brings. Returns whether it is one
    /// that the log may have: it registers, and the log never had it.
    pub fn bring(&mut self, leaf: u64, key: &[u8; 32]) -> bool {
        let new = PublicKey::new(key).filter(|key| self.keys.iter().all(|(_, k)| k != key));
        self.waiting = new.map(|key| (leaf, key));
        self.waiting.is_some()
    }

    /// Whether a key waits for its bridge: index of the leaf that brought it.
    #[must_use]
    pub fn waiting(&self) -> Option<u64> {
        self.waiting.as_ref().map(|(leaf, _)| *leaf)
    }

    /// Takes the checkpoint that is to bridge to the key which waits. `root` is
    /// that of the tree which ends with the leaf that brought it. Returns whether
    /// the key counts now.
    pub fn bridge(&mut self, origin: &str, root: &Hash, note: &[u8]) -> bool {
        let Ok(note) = Note::parse(note) else { return false };
        let Ok(checkpoint) = Checkpoint::parse(note.text) else { return false };
        let size = checkpoint.size;
        let holds = self.waiting().is_some_and(|leaf| size.checked_sub(1) == Some(leaf))
            && checkpoint.origin == origin
            && checkpoint.root == *root
            && self.sign(origin, size, &note);
        if holds && let Some((_, key)) = self.waiting.take() {
            self.keys.push((size.saturating_add(1), key));
        }
        holds
    }

    /// Lets go of a key that waits for a bridge, but for that of leaf `at`.
    pub fn give_up(&mut self, at: u64) {
        self.waiting = self.waiting.take().filter(|(leaf, _)| *leaf == at);
    }

    /// Whether a checkpoint of this size is signed as it must be: by the key in
    /// force and, where it is the bridge to another one, by that too.
    #[must_use]
    pub fn sign(&self, origin: &str, size: u64, note: &Note<'_>) -> bool {
        let signed = |key: &PublicKey| note.signed_by(origin, key);
        let last = size.checked_sub(1);
        self.in_force(size).is_some_and(signed)
            && self.keys.iter().skip(1).all(|(from, key)| from - 1 != size || signed(key))
            && self.waiting.as_ref().is_none_or(|(leaf, key)| Some(*leaf) != last || signed(key))
    }

    /// The key in force at a size.
    #[must_use]
    pub fn in_force(&self, size: u64) -> Option<&PublicKey> {
        self.keys.get(self.number(size)).map(|(_, key)| key)
    }

    /// The newest key.
    #[must_use]
    pub fn newest(&self) -> Option<&PublicKey> {
        self.keys.last().map(|(_, key)| key)
    }

    /// Each key and the size from which it is in force, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[(u64, PublicKey)] {
        &self.keys
    }

    /// Number of the key in force at a size.
    fn number(&self, size: u64) -> usize {
        self.keys.iter().rposition(|(from, _)| *from <= size).unwrap_or(0)
    }

    /// Whether trust in one of these keys extends to a checkpoint of this size:
    /// every bridge is the earlier key's signature over the later one.
    #[must_use]
    pub fn trusted(&self, size: u64, trusts: &dyn Fn(&PublicKey) -> bool) -> bool {
        self.keys.iter().take(self.number(size) + 1).any(|(_, key)| trusts(key))
    }
}
