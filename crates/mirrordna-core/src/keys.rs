//! Ed25519 signing keys.

use crate::{Entropy, PublicKey, Result};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

/// A signing key in this process. It is wiped when dropped and never printed.
pub struct SecretKey {
    key: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// A new random key.
    ///
    /// # Errors
    /// If the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        let seed = Zeroizing::new(crate::random::<32>(entropy)?);
        Ok(Self::from_seed(&seed))
    }

    /// The key with this seed (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::from(&key);
        Self { key, public }
    }

    /// The seed, for a keyring that stores it encrypted.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({})", self.public.multikey())
    }
}
