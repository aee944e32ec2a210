//! Cosignatures of witnesses over checkpoints: C2SP `tlog-cosignature`,
//! `cosignature/v1` (Ed25519, signature type 0x04); those by ML-DSA-44 stand in
//! `pq`.
//!
//! A cosignature says: at this time, the largest consistent tree that the
//! witness has seen of the log with this origin has this size and root.

use crate::note::{SignatureLine, signature_line};
use crate::vkey::{KeyType, NoteKey, VerifierKey};
use crate::{Malformed, PublicKey};
use alloc::format;
use alloc::string::String;

/// The latest time that a cosignature may state (`tlog-cosignature`, format).
pub(crate) const MAX_TIME: u64 = i64::MAX as u64;

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("cosignature", why)
}

pub(crate) const LATE: Malformed = bad("has a time beyond 2^63 - 1 seconds");

/// What a witness signs: a header line, the time, and the checkpoint's text
/// with its final newline. `time` is in seconds since 1970.
#[must_use]
pub fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A cosignature as it stands in a signature line after the key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// When it was made, by the witness's clock: seconds since 1970, below 2^63.
    pub time: u64,
    /// Ed25519 over [`message`].
    pub signature: [u8; 64],
}

impl Cosignature {
    /// Reads the 72 bytes `u64be(time) || signature`.
    ///
    /// # Errors
    /// If the length is another one or the time is 2^63 or later.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (time, signature) = bytes.split_first_chunk::<8>().ok_or(bad("is shorter than its time"))?;
        let signature = signature.try_into().map_err(|_| bad("is not 72 bytes"))?;
        let time = u64::from_be_bytes(*time);
        if time > MAX_TIME {
            return Err(LATE);
        }
        Ok(Self { time, signature })
    }

    /// The bytes that [`Cosignature::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 72] {
        let mut out = [0; 72];
        out[..8].copy_from_slice(&self.time.to_be_bytes());
        out[8..].copy_from_slice(&self.signature);
        out
    }

    /// Whether `key` made this cosignature over the checkpoint with `text`.
    #[must_use]
    pub fn verifies(&self, text: &str, key: &PublicKey) -> bool {
        self.time <= MAX_TIME && key.verifies(message(self.time, text).as_bytes(), &self.signature)
    }

    /// The signature line, without its newline, by the witness `name`.
    #[must_use]
    pub fn line(&self, name: &str, key: &PublicKey) -> String {
        signature_line(name, crate::vkey::key_id(KeyType::Witness, name, key), &self.to_bytes())
    }
}

/// Judges one signature line of a checkpoint's note: `None` if it is not by
/// `witness`, else its time if it is valid over `text`, or what is wrong. The
/// time 0 of a line by ML-DSA-44 states none.
#[must_use]
pub fn judge(line: &SignatureLine<'_>, text: &str, witness: &VerifierKey) -> Option<Result<u64, Malformed>> {
    if line.name != witness.name || line.id != witness.id() {
        return None;
    }
    // Without the feature there is one kind of key.
    #[cfg_attr(not(feature = "pq"), allow(clippy::infallible_destructuring_match))]
    let key = match &witness.key {
        NoteKey::Ed25519(key) => key,
        #[cfg(feature = "pq")]
        NoteKey::MlDsa44(key) => return Some(crate::pq::judge(line, text, key)),
    };
    Some(Cosignature::parse(&line.signature).and_then(|c| match c.verifies(text, key) {
        true => Ok(c.time),
        false => Err(bad("does not verify")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Note;
    use alloc::string::ToString;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    const TEXT: &str = "example.com/log\n1\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n";

    fn made(seed: u8, time: u64, text: &str) -> (VerifierKey, Cosignature) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = VerifierKey { name: "witness.example/w1".to_string(), kind: KeyType::Witness, key: PublicKey::from(&secret).into() };
        (key, Cosignature { time, signature: secret.sign(message(time, text).as_bytes()).to_bytes() })
    }

    #[test]
    fn a_line_is_judged_by_name_id_time_and_text() {
        let (witness, cosignature) = made(1, 1_679_315_147, TEXT);
        let note = format!("{TEXT}\n{}\n", cosignature.line(&witness.name, witness.key.ed25519().unwrap()));
        let note = Note::parse(note.as_bytes()).unwrap();
        let line = &note.signatures[0];
        assert_eq!(judge(line, note.text, &witness), Some(Ok(1_679_315_147)));
        assert!(judge(line, "example.com/log\n2\n", &witness).unwrap().is_err());

        let as_log = VerifierKey { kind: KeyType::Log, ..witness.clone() };
        assert_eq!(judge(line, note.text, &as_log), None, "the type is part of the key id");
        let (other, _) = made(2, 0, TEXT);
        assert_eq!(judge(line, note.text, &other), None);

        let mut later = line.clone();
        later.signature[7] ^= 1;
        assert!(judge(&later, note.text, &witness).unwrap().is_err(), "the time is signed");
    }

    #[test]
    fn other_lengths_and_times_are_refused() {
        let (_, cosignature) = made(1, 7, TEXT);
        let bytes = cosignature.to_bytes();
        assert_eq!(Cosignature::parse(&bytes), Ok(cosignature));
        for length in (0..72).chain([73, 80]) {
            let mut cut = bytes.to_vec();
            cut.resize(length, 0);
            assert!(Cosignature::parse(&cut).is_err(), "{length}");
        }
        let (witness, far) = made(1, 1 << 63, TEXT);
        assert!(Cosignature::parse(&far.to_bytes()).is_err());
        assert!(!far.verifies(TEXT, witness.key.ed25519().unwrap()));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..72, flip in 1u8..=255) {
            let (witness, cosignature) = made(3, 1_700_000_000, TEXT);
            let mut bytes = cosignature.to_bytes();
            bytes[at] ^= flip;
            prop_assert!(Cosignature::parse(&bytes).map_or(true, |c| !c.verifies(TEXT, witness.key.ed25519().unwrap())));
        }
    }
}
