//! Equivocation: a log key that signed two histories of one log.

use crate::Malformed;
use crate::hash::Hash;
use crate::note::{Checkpoint, Note};
use crate::policy::Policy;
use crate::vkey::VerifierKey;
use alloc::borrow::ToOwned;
use alloc::string::String;

/// Two checkpoints, each signed by a key of their log, of which at most one can
/// be of an append-only log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    /// Origin of the log.
    pub origin: String,
    /// The size that both have.
    pub size: u64,
    /// The root that the first says.
    pub root_a: Hash,
    /// The root that the second says.
    pub root_b: Hash,
}

/// Whether two checkpoints alone prove that a log's key signed two histories:
/// the same origin and size with different roots, both signed by the same key
/// that the policy trusts for it. `None` is no proof of innocence: checkpoints
/// of different sizes need a consistency proof.
///
/// # Errors
/// If one of them is no checkpoint, or is not signed by a key of the policy.
pub fn equivocation(a: &[u8], b: &[u8], policy: &Policy) -> Result<Option<Equivocation>, Malformed> {
    let read = |bytes| {
        let note = Note::parse(bytes)?;
        Ok((Checkpoint::parse(note.text)?, note))
    };
    let ((first, note_a), (second, note_b)) = (read(a)?, read(b)?);
    let by = |note: &Note<'_>, key: &VerifierKey| key.signs(note) == Some(true);
    let unsigned = |at: &Checkpoint<'_>, note: &Note<'_>| !policy.logs(at.origin).any(|key| by(note, key));
    if unsigned(&first, &note_a) || unsigned(&second, &note_b) {
        return Err(Malformed::new("checkpoint", "is not signed by a key that the policy names for its log"));
    }
    let same_key = policy.logs(first.origin).any(|key| by(&note_a, key) && by(&note_b, key));
    let two = first.origin == second.origin && first.size == second.size && first.root != second.root && same_key;
    Ok(two.then(|| Equivocation { origin: first.origin.to_owned(), size: first.size, root_a: first.root, root_b: second.root }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{checkpoint, trusting};

    #[test]
    fn two_roots_of_one_size_are_evidence() {
        let (a, b) = (checkpoint(1, 500, [1; 32]), checkpoint(1, 500, [2; 32]));
        let judged = |a: &String, b: &String, policy: &Policy| equivocation(a.as_bytes(), b.as_bytes(), policy);
        let found = judged(&a, &b, &trusting(&[1])).unwrap().unwrap();
        assert_eq!((found.size, found.root_a, found.root_b), (500, [1; 32], [2; 32]));
        assert_eq!(judged(&a, &a, &trusting(&[1])), Ok(None));
        assert_eq!(judged(&a, &checkpoint(1, 501, [2; 32]), &trusting(&[1])), Ok(None));
        assert!(judged(&a, &b, &trusting(&[2])).is_err() && judged(&a, &b, &Policy::default()).is_err());
        assert!(judged(&a, &checkpoint(2, 500, [2; 32]), &trusting(&[1])).is_err(), "anybody can sign another root");
        let both = trusting(&[1, 2]);
        assert_eq!(judged(&a, &checkpoint(2, 500, [2; 32]), &both), Ok(None), "two keys, two signers");
    }
}
