//! ML-DSA-44 signing keys, for second signatures of checkpoints.

use crate::{Code, Error, Result};
use mirrordna_verify::note::{Checkpoint, signature_line};
use mirrordna_verify::pq::{self, MlDsaKey};
use mirrordna_verify::vkey::{KeyType, NoteKey, VerifierKey};
use ml_dsa::{Keypair as _, MlDsa44, SigningKey};

/// The key by which a log signs its checkpoints a second time. It is wiped when
/// dropped and never printed.
pub struct LogKey {
    key: SigningKey<MlDsa44>,
    public: VerifierKey,
}

impl LogKey {
    /// The key with this seed (FIPS 204, algorithm 6), for the log with this
    /// origin.
    ///
    /// # Errors
    /// If the public half is not encoded as expected, which is a bug.
    pub fn from_seed(seed: &[u8; 32], origin: &str) -> Result<Self> {
        let key = SigningKey::from_seed(seed.into());
        let public =
            MlDsaKey::new(&key.verifying_key().encode()).ok_or_else(|| Error::new(Code::Bug, "an ML-DSA-44 key of another size"))?;
        Ok(Self { key, public: VerifierKey { name: origin.to_owned(), kind: KeyType::MlDsa44, key: NoteKey::MlDsa44(public) } })
    }

    /// The public half, as policies name it.
    #[must_use]
    pub const fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The line that signs a checkpoint, without its newline. It states no time,
    /// and it is the same for the same checkpoint (the deterministic variant of
    /// FIPS 204, algorithm 2): what was published needs no second version.
    ///
    /// # Errors
    /// `input.invalid` for an origin that is too long to be signed.
    pub fn line(&self, checkpoint: &Checkpoint<'_>) -> Result<String> {
        let message = pq::message(&self.public.name, 0, checkpoint);
        let message = message.ok_or_else(|| Error::new(Code::InputInvalid, "the origin of the checkpoint is too long to be signed"))?;
        let failed = |_| Error::new(Code::Bug, "ML-DSA-44 found no signature");
        let signature = self.key.expanded_key().sign_deterministic(&message, b"").map_err(failed)?.encode();
        let signature = signature.as_slice().try_into().map_err(|_| Error::new(Code::Bug, "an ML-DSA-44 signature of another size"))?;
        Ok(signature_line(&self.public.name, self.public.id(), &pq::line(0, signature)))
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogKey({:?})", self.public.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrordna_verify::note::Note;

    /// What another implementation makes of the same seed.
    #[test]
    fn a_line_is_the_one_of_the_vectors() {
        let vector: serde_json::Value = serde_json::from_str(include_str!("../../../spec/vectors/second_signatures.json")).unwrap();
        let note = vector["checkpoint"].as_str().unwrap();
        let parsed = Note::parse(note.as_bytes()).unwrap();
        let checkpoint = Checkpoint::parse(parsed.text).unwrap();
        let key = LogKey::from_seed(&[6; 32], checkpoint.origin).unwrap();
        assert_eq!(vector["pq_verifier_key"], key.public().to_string().as_str());
        assert_eq!(note.lines().nth(5), Some(key.line(&checkpoint).unwrap().as_str()));
        assert!(LogKey::from_seed(&[6; 32], &"o".repeat(256)).unwrap().line(&checkpoint).is_err());
        assert!(!format!("{key:?}").contains("0606"), "{key:?}");
    }
}
