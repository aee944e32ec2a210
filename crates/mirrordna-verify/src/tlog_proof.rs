//! C2SP `tlog-proof` files: one text that shows, without a network, that a log
//! holds a leaf and who has seen that.

use crate::hash::{self, Hash};
use crate::ledger::Verdict;
use crate::merkle;
use crate::note::{Checkpoint, Note, from_base64};
use crate::policy::{Cosigned, Policy};
use crate::{Malformed, Problem};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// First line of every such file.
pub const MAGIC: &str = "c2sp.org/tlog-proof@v1";
/// The longest file that is read: a note, a leaf as extra data, and a path.
const MAX_FILE: usize = 128 * 1024;
/// The most hashes of a path.
const MAX_PATH: usize = 63;

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("tlog-proof", why)
}

/// A parsed proof. Nothing in it is checked yet, and the extra data never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof<'a> {
    /// What whoever made the file added; covered by nothing. A proof that
    /// mirrordna writes has the leaf's data here.
    pub extra: Option<Vec<u8>>,
    /// Index of the leaf, from 0.
    pub index: u64,
    /// From the leaf's sibling up to the root's child (RFC 9162 section 2.1.3).
    pub path: Vec<Hash>,
    /// The checkpoint's note, with all signature lines.
    pub note: Note<'a>,
    /// What the note says.
    pub checkpoint: Checkpoint<'a>,
}

/// What a policy makes of a proof.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// `Intact`: the leaf is in the log that the policy trusts, and seen by the
    /// witnesses that it asks for. `Unproven`: nothing is wrong, but the policy
    /// knows no key of the log, or misses witnesses.
    pub verdict: Verdict,
    /// What is wrong: `proof.invalid`, `checkpoint.invalid`, `cosignature.invalid`.
    pub problems: Vec<Problem>,
    /// Whether a key that the policy trusts signed the checkpoint.
    pub signed: bool,
    /// What the policy's witnesses say.
    pub cosigned: Cosigned,
}

impl<'a> TlogProof<'a> {
    /// Reads a file strictly.
    ///
    /// # Errors
    /// If it is longer than 128 KiB or not of the form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_FILE {
            return Err(bad("is longer than 128 KiB"));
        }
        let text = core::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(bad("has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(MAGIC) {
            return Err(bad("does not begin with its first line"));
        }
        let extra = lines.peek().and_then(|line| line.strip_prefix("extra "));
        if extra.is_some() {
            lines.next();
        }
        let extra = extra.map(|data| from_base64(data).ok_or(bad("has extra data that is not base64"))).transpose()?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(bad("has no index"))?;
        let index = crate::note::decimal(index).ok_or(bad("has an index that is no plain decimal number"))?;
        let path = hashes(lines).ok_or(bad("has a path of more than 63 lines, or a line in it that is no hash"))?;
        let note = Note::parse(note.as_bytes())?;
        let checkpoint = Checkpoint::parse(note.text)?;
        Ok(Self { extra, index, path, note, checkpoint })
    }

    /// Judges whether `leaf`, the leaf's data, is in the log.
    ///
    /// A log key that the policy names by its fingerprint only cannot be used:
    /// the file does not say what the key is.
    #[must_use]
    pub fn judge(&self, policy: &Policy, leaf: &[u8]) -> Judgement {
        let mut problems = Vec::new();
        let mut problem = |code, message: String| {
            problems.push(Problem { code, place: format!("leaf {}", self.index), message });
        };
        let Checkpoint { origin, size, root } = &self.checkpoint;
        if !merkle::includes(root, *size, self.index, &hash::leaf(leaf), &self.path) {
            problem("proof.invalid", format!("the path does not lead from this leaf to the root of the checkpoint of {size} leaves"));
        }
        let signatures: Vec<bool> = policy.logs(origin).filter_map(|key| key.signs(&self.note)).collect();
        if signatures.contains(&false) {
            problem("checkpoint.invalid", "a signature by a key of the policy does not verify".to_owned());
        }
        let cosigned = policy.cosigned(&self.note);
        for witness in &cosigned.invalid {
            problem("cosignature.invalid", format!("the cosignature of {witness} does not verify"));
        }
        let signed = signatures.contains(&true);
        let verdict = match (problems.is_empty(), signed && cosigned.quorum) {
            (false, _) => Verdict::Altered,
            (true, true) => Verdict::Intact,
            (true, false) => Verdict::Unproven,
        };
        Judgement { verdict, problems, signed, cosigned }
    }
}

/// Lines of base64, a hash each; `None` if one is not, or there are more than a
/// proof can need.
pub(crate) fn hashes<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Hash>> {
    let mut out = Vec::new();
    for line in lines {
        if out.len() == MAX_PATH {
            return None;
        }
        out.push(Hash::try_from(from_base64(line)?).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::{Cosignature, message};
    use crate::note::base64;
    use crate::sample::{checkpoint, trusting, vkey};
    use crate::vkey::{KeyType, VerifierKey};
    use crate::{PublicKey, hash::node};
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    /// The proof of leaf 1 of two, with extra data.
    fn file() -> String {
        let (left, right) = (hash::leaf(b"left"), hash::leaf(b"right"));
        let note = checkpoint(1, 2, node(&left, &right));
        format!("{MAGIC}\nextra {}\nindex 1\n{}\n\n{note}", base64(b"right"), base64(&left))
    }

    #[test]
    fn a_proof_is_read_and_judged() {
        let file = file();
        let proof = TlogProof::parse(file.as_bytes()).unwrap();
        assert_eq!((proof.index, proof.path.len(), proof.extra.as_deref()), (1, 1, Some(&b"right"[..])));
        let judged = |policy: &Policy, leaf: &[u8]| {
            let j = proof.judge(policy, leaf);
            (j.verdict, j.problems.iter().map(|p| p.code).collect::<Vec<_>>())
        };
        assert_eq!(judged(&trusting(&[1]), b"right"), (Verdict::Intact, Vec::new()));
        assert_eq!(judged(&trusting(&[2]), b"right"), (Verdict::Unproven, Vec::new()));
        assert_eq!(judged(&Policy::default(), b"right"), (Verdict::Unproven, Vec::new()));
        assert_eq!(judged(&trusting(&[1]), b"left"), (Verdict::Altered, alloc::vec!["proof.invalid"]));
    }

    #[test]
    fn a_bad_signature_of_a_known_key_is_a_finding() {
        let file = file();
        let at = file.rfind("\u{2014} ").unwrap() + 40;
        let flipped = if &file[at..=at] == "A" { "B" } else { "A" };
        let file = format!("{}{flipped}{}", &file[..at], &file[at + 1..]);
        let proof = TlogProof::parse(file.as_bytes()).unwrap();
        assert_eq!(proof.judge(&trusting(&[1]), b"right").problems[0].code, "checkpoint.invalid");
        assert_eq!(proof.judge(&trusting(&[2]), b"right").verdict, Verdict::Unproven, "of an unknown key it is ignored");
    }

    #[test]
    fn a_quorum_that_is_asked_for_must_be_there() {
        let secret = SigningKey::from_bytes(&[9; 32]);
        let witness = VerifierKey { name: "w.example".to_owned(), kind: KeyType::Witness, key: PublicKey::from(&secret).into() };
        let policy = Policy::parse(&format!("log {}\nwitness w {witness}\nquorum w\n", vkey(1))).unwrap();
        let file = file();
        let proof = TlogProof::parse(file.as_bytes()).unwrap();
        assert_eq!(proof.judge(&policy, b"right").verdict, Verdict::Unproven);

        let signature = secret.sign(message(77, proof.note.text).as_bytes()).to_bytes();
        let cosigned = format!("{file}{}\n", Cosignature { time: 77, signature }.line(&witness.name, witness.key.ed25519().unwrap()));
        let judged = TlogProof::parse(cosigned.as_bytes()).unwrap().judge(&policy, b"right");
        assert_eq!((judged.verdict, judged.cosigned.not_after), (Verdict::Intact, Some(77)));

        let wrong = format!("{file}{}\n", Cosignature { time: 78, signature }.line(&witness.name, witness.key.ed25519().unwrap()));
        let judged = TlogProof::parse(wrong.as_bytes()).unwrap().judge(&policy, b"right");
        assert_eq!((judged.verdict, judged.problems[0].code), (Verdict::Altered, "cosignature.invalid"));
    }

    #[test]
    fn other_forms_are_refused() {
        let file = file();
        let hash = base64(&[7; 32]);
        for (what, text) in [
            ("empty", String::new()),
            ("another version", file.replacen("@v1", "@v2", 1)),
            ("carriage returns", file.replace('\n', "\r\n")),
            ("no index", file.replacen("index 1\n", "", 1)),
            ("leading zero", file.replacen("index 1", "index 01", 1)),
            ("sign", file.replacen("index 1", "index +1", 1)),
            ("negative", file.replacen("index 1", "index -1", 1)),
            ("too large", file.replacen("index 1", "index 18446744073709551616", 1)),
            ("extra after index", file.replacen("index 1\n", "index 1\nextra AAAA\n", 1)),
            ("two extras", file.replacen("index 1\n", "extra AAAA\nindex 1\n", 1)),
            ("extra that is not base64", file.replacen("extra ", "extra !", 1)),
            ("64 hashes", file.replacen("index 1\n", &format!("index 1\n{}", format!("{hash}\n").repeat(63)), 1)),
            ("short hash", file.replacen("index 1\n", "index 1\nAAAA\n", 1)),
            ("no empty line", file.replacen("\n\n", "\n", 1)),
            ("no signature", file[..file.find("\u{2014}").unwrap()].to_owned()),
            ("something after it", format!("{file}x")),
            ("too long", format!("{file}{}", "x".repeat(MAX_FILE))),
        ] {
            assert!(TlogProof::parse(text.as_bytes()).is_err(), "{what}");
        }
        let most = file.replacen("index 1\n", &format!("index 1\n{}", format!("{hash}\n").repeat(62)), 1);
        assert_eq!(TlogProof::parse(most.as_bytes()).unwrap().path.len(), 63);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = file().into_bytes();
            let at = cut.index(bytes.len());
            bytes[at] = byte;
            if let Ok(proof) = TlogProof::parse(&bytes) {
                let _ = proof.judge(&trusting(&[1]), b"right");
            }
            let _ = TlogProof::parse(&bytes[..at]);
        }
    }
}
