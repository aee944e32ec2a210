//! Ed25519 public keys and the one rule by which signatures are judged.
//!
//! The rule is RFC 8032 without cofactor, with canonical `A` and `R`, small
//! order refused (`verify_strict`), and keys checked to be free of torsion when
//! they are registered. Batch verification never decides: it accepts signatures
//! that single verification refuses.

use crate::hash::{Hash, sha256};
use crate::multibase;
use alloc::string::String;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};

/// Multicodec prefix of an Ed25519 public key (varint 0xed).
const ED25519_PUB: [u8; 2] = [0xed, 0x01];

/// A checked Ed25519 public key (RFC 8032): what was not checked is no key here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl From<&SigningKey> for PublicKey {
    /// The public half of a private key. It is a multiple of the base point,
    /// hence canonical and free of torsion: there is nothing to check.
    fn from(key: &SigningKey) -> Self {
        Self(key.verifying_key())
    }
}

impl PublicKey {
    /// Registers a key: canonical, not of small order, free of torsion.
    /// `None` if it is not such a key.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        // Decompression reduces; only the canonical encoding survives this.
        let canonical = key.to_edwards().compress().to_bytes() == *bytes;
        (canonical && !key.is_weak() && key.to_edwards().is_torsion_free()).then_some(Self(key))
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Key id: the first 8 bytes of SHA-256 over the key.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let h = sha256(&[self.0.as_bytes()]);
        let mut id = [0; 8];
        id.copy_from_slice(&h[..8]);
        id
    }

    /// The fingerprint people compare: SHA-256 over the key.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        sha256(&[self.0.as_bytes()])
    }

    /// Whether `signature` over `message` is valid under the strict rule.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }

    /// Multikey form (`z6Mk…`), as DID documents write it.
    #[must_use]
    pub fn multikey(&self) -> String {
        let mut raw = [0u8; 34];
        raw[..2].copy_from_slice(&ED25519_PUB);
        raw[2..].copy_from_slice(self.0.as_bytes());
        multibase::encode_z(&raw)
    }

    /// Reads the multikey form. `None` if it is not an acceptable Ed25519 key.
    #[must_use]
    pub fn from_multikey(text: &str) -> Option<Self> {
        let raw = multibase::decode_z(text, 34)?;
        let key: &[u8; 32] = raw.strip_prefix(&ED25519_PUB)?.try_into().ok()?;
        Self::new(key)
    }
}
