//! What a log asks a witness, and what a witness must answer: C2SP
//! `tlog-witness`, `add-checkpoint`. The rules are pure; who answers keeps what
//! it has seen, and a key.

use crate::hash::Hash;
use crate::note::{Checkpoint, Note, base64, decimal};
use crate::policy::Policy;
use crate::tlog_proof::hashes;
use crate::{Malformed, merkle};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The longest request that is read: a note, 63 hashes, and some.
pub const MAX_REQUEST: usize = 72 * 1024;

const fn bad(why: &'static str) -> Refusal {
    Refusal::Malformed(Malformed::new("add-checkpoint request", why))
}

/// A request to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint<'a> {
    /// The size of the largest checkpoint that the witness is thought to know;
    /// 0 for none.
    pub old: u64,
    /// Consistency proof from there (RFC 9162 section 2.1.4).
    pub proof: Vec<Hash>,
    /// The checkpoint's note.
    pub note: Note<'a>,
    /// What it says.
    pub checkpoint: Checkpoint<'a>,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request has another form, or names an old size above the new one.
    Malformed(Malformed),
    /// No key of the policy signed the checkpoint.
    UnknownSigner,
    /// The policy names no key for the origin.
    UnknownLog,
    /// The witness has cosigned another size than the request says, or another
    /// root at the same size.
    Conflict {
        /// The size that it has cosigned.
        size: u64,
    },
    /// The proof does not lead from the root that was cosigned to the new one.
    Inconsistent,
}

impl Refusal {
    /// The HTTP status that says so.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::UnknownSigner => 403,
            Self::UnknownLog => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(e) => e.fmt(f),
            Self::UnknownSigner => f.write_str("no key that is known here signed the checkpoint"),
            Self::UnknownLog => f.write_str("the checkpoint is of a log that is not known here"),
            Self::Conflict { size } => write!(f, "{size} is the size of the checkpoint that was cosigned"),
            Self::Inconsistent => f.write_str("the proof does not show that the checkpoint extends the one that was cosigned"),
        }
    }
}

impl<'a> AddCheckpoint<'a> {
    /// The text of a request: the `note` with a consistency proof from `old`.
    #[must_use]
    pub fn text(old: u64, proof: &[Hash], note: &str) -> String {
        let proof: String = proof.iter().map(|hash| base64(hash) + "\n").collect();
        format!("old {old}\n{proof}\n{note}")
    }

    /// Reads a request strictly.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_REQUEST {
            return Err(bad("is longer than 72 KiB"));
        }
        let text = core::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(bad("has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old = old.ok_or(bad("does not begin with the old size"))?;
        let proof = hashes(lines).ok_or(bad("has a proof of more than 63 lines, or a line in it that is no hash"))?;
        let note = Note::parse(note.as_bytes()).map_err(Refusal::Malformed)?;
        let checkpoint = Checkpoint::parse(note.text).map_err(Refusal::Malformed)?;
        if old > checkpoint.size {
            return Err(bad("has an old size above that of its checkpoint"));
        }
        Ok(Self { old, proof, note, checkpoint })
    }

    /// Whether the signer of the checkpoint is one that the policy names for
    /// its origin.
    ///
    /// # Errors
    /// [`Refusal::UnknownLog`], [`Refusal::UnknownSigner`]; the latter also if
    /// any line by a known key does not verify.
    pub fn is_signed(&self, policy: &Policy) -> Result<(), Refusal> {
        let mut known = policy.logs(self.checkpoint.origin).peekable();
        if known.peek().is_none() {
            return Err(Refusal::UnknownLog);
        }
        let judged: Vec<bool> = known.filter_map(|key| key.signs(&self.note)).collect();
        if judged.contains(&true) && !judged.contains(&false) { Ok(()) } else { Err(Refusal::UnknownSigner) }
    }

    /// Whether the checkpoint may be cosigned by who has cosigned `latest`, size
    /// and root, of this origin.
    ///
    /// # Errors
    /// [`Refusal::Conflict`], [`Refusal::Inconsistent`].
    pub fn extends(&self, latest: Option<(u64, Hash)>) -> Result<(), Refusal> {
        let (size, root) = latest.unwrap_or_else(|| (0, merkle::root_of(&[])));
        let new = &self.checkpoint;
        if self.old != size {
            return Err(Refusal::Conflict { size });
        }
        if size == new.size && root != new.root {
            return Err(Refusal::Conflict { size });
        }
        if merkle::extends(size, &root, new.size, &new.root, &self.proof) { Ok(()) } else { Err(Refusal::Inconsistent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;
    use crate::merkle::root_of;
    use crate::sample::{checkpoint as note, trusting as policy};
    use alloc::borrow::ToOwned;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn leaves(n: u8) -> Vec<Hash> {
        (0..n).map(|i| hash::leaf(&[i])).collect()
    }

    #[test]
    fn a_request_is_written_and_read() {
        let text = AddCheckpoint::text(1, &[[7; 32], [8; 32]], &note(1, 3, [9; 32]));
        let read = AddCheckpoint::parse(text.as_bytes()).unwrap();
        assert_eq!((read.old, &read.proof[..], read.checkpoint.size), (1, &[[7; 32], [8; 32]][..], 3));
        let text = AddCheckpoint::text(0, &[], &note(1, 3, [9; 32]));
        assert!(text.starts_with("old 0\n\nexample.com/log\n3\n"));
        assert_eq!(AddCheckpoint::parse(text.as_bytes()).unwrap().proof.len(), 0);
    }

    #[test]
    fn other_forms_are_malformed() {
        let good = AddCheckpoint::text(1, &[[7; 32]], &note(1, 3, [9; 32]));
        let hash = base64(&[7; 32]);
        for (what, text) in [
            ("empty", String::new()),
            ("no old size", good.replacen("old 1\n", "", 1)),
            ("another word", good.replacen("old", "Old", 1)),
            ("two spaces", good.replacen("old ", "old  ", 1)),
            ("leading zero", good.replacen("old 1", "old 01", 1)),
            ("minus", good.replacen("old 1", "old -1", 1)),
            ("beyond the new size", good.replacen("old 1", "old 4", 1)),
            ("too large", good.replacen("old 1", "old 18446744073709551616", 1)),
            ("short hash", good.replacen(&hash, "AAAA", 1)),
            ("64 hashes", good.replacen(&hash, &alloc::vec![hash.as_str(); 64].join("\n"), 1)),
            ("no empty line", good.replacen("\n\n", "\n", 1)),
            ("no signature", good[..good.find("\u{2014}").unwrap()].to_owned()),
            ("a size that is none", good.replacen("\n3\n", "\nthree\n", 1)),
            ("carriage returns", good.replace('\n', "\r\n")),
            ("too long", good.clone() + &"x".repeat(MAX_REQUEST)),
        ] {
            let refused = AddCheckpoint::parse(text.as_bytes()).unwrap_err();
            assert_eq!(refused.status(), 400, "{what}");
            assert!(!refused.to_string().is_empty());
        }
    }

    #[test]
    fn only_known_signers_are_heard() {
        let text = AddCheckpoint::text(0, &[], &note(1, 3, [9; 32]));
        let request = AddCheckpoint::parse(text.as_bytes()).unwrap();
        let status = |seeds: &[u8]| request.is_signed(&policy(seeds)).map_or_else(|e| e.status(), |()| 200);
        assert_eq!((status(&[1]), status(&[2, 1]), status(&[2]), status(&[])), (200, 200, 403, 404));
        let at = text.rfind("\u{2014} ").unwrap() + 30;
        let bad = format!("{}{}{}", &text[..at], if &text[at..=at] == "A" { "B" } else { "A" }, &text[at + 1..]);
        assert_eq!(AddCheckpoint::parse(bad.as_bytes()).unwrap().is_signed(&policy(&[1])), Err(Refusal::UnknownSigner));
    }

    #[test]
    fn what_was_cosigned_is_never_contradicted() {
        let all = leaves(3);
        let (one, two, three) = (root_of(&all[..1]), root_of(&all[..2]), root_of(&all));
        let judged = |old, proof: &[Hash], size, root, latest| {
            let text = AddCheckpoint::text(old, proof, &note(1, size, root));
            AddCheckpoint::parse(text.as_bytes()).unwrap().extends(latest).map_or_else(|e| e.status(), |()| 200)
        };
        let known = Some((2, two));
        assert_eq!(judged(0, &[], 3, three, None), 200);
        assert_eq!(judged(0, &[one], 3, three, None), 422, "from nothing there is nothing to prove");
        assert_eq!(judged(0, &[], 0, root_of(&[]), None), 200);
        assert_eq!(judged(0, &[], 0, [1; 32], None), 409);
        assert_eq!(judged(2, &[all[2]], 3, three, known), 200);
        assert_eq!(judged(2, &[all[2]], 3, [1; 32], known), 422);
        assert_eq!(judged(2, &[], 3, three, known), 422);
        assert_eq!(judged(2, &[], 2, two, known), 200, "the same again");
        assert_eq!(judged(2, &[one], 2, two, known), 422);
        assert_eq!(judged(2, &[], 2, one, known), 409, "the same size, another root");
        assert_eq!(judged(1, &[all[1], all[2]], 3, three, known), 409);
        assert_eq!(judged(0, &[], 3, three, known), 409);
        assert_eq!(Refusal::Conflict { size: 2 }.to_string(), "2 is the size of the checkpoint that was cosigned");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = AddCheckpoint::text(1, &[[7; 32]], &note(1, 3, [9; 32])).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = AddCheckpoint::parse(&bytes);
            let _ = AddCheckpoint::parse(&bytes[..at]);
        }
    }
}
