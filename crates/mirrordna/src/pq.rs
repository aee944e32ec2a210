//! Second signatures, by ML-DSA-44, under checkpoints that leave (feature `pq`).
//!
//! This module **owns** when they are made: at release, never in a commit. What
//! is stored and what the head witness remembers has the line by Ed25519 alone.
//! Without the feature there is nothing to release but that.

use crate::engine::{Engine, Tenant};
use crate::keyring::Keyring;
use mirrordna_core::{Code, Entropy, Error, Result};

/// A checkpoint of a log as it leaves: with the line by the log's ML-DSA-44 key
/// at its end, where the keyring has one.
#[cfg(feature = "pq")]
pub(crate) fn released(keyring: Option<&Keyring>, log: &[u8; 16], note: String) -> Result<String> {
    use mirrordna_core::verify::note::{Checkpoint, Note};
    let Some(key) = key(keyring, log)? else { return Ok(note) };
    let parsed = Note::parse(note.as_bytes())?;
    let line = key.line(&Checkpoint::parse(parsed.text)?)?;
    if key.public().signs(&parsed) == Some(true) {
        return Ok(note);
    }
    let twice = format!("{note}{line}\n");
    Note::parse(twice.as_bytes()).map_err(|e| {
        let error = Error::new(Code::LimitExceeded, "the checkpoint has no room for the line by the log's ML-DSA-44 key").caused_by(e);
        error.with_hint("Take one with fewer lines: 16 are the limit, the log's own included.")
    })?;
    Ok(twice)
}

#[cfg(not(feature = "pq"))]
#[allow(clippy::unnecessary_wraps, reason = "so that callers need not know the feature")]
pub(crate) fn released(_: Option<&Keyring>, _: &[u8; 16], note: String) -> Result<String> {
    Ok(note)
}

#[cfg(feature = "pq")]
fn key(keyring: Option<&Keyring>, log: &[u8; 16]) -> Result<Option<mirrordna_core::pq::LogKey>> {
    let seed = keyring.map(|keyring| keyring.pq_seed(log)).transpose()?.flatten();
    seed.map(|seed| mirrordna_core::pq::LogKey::from_seed(&seed, &mirrordna_core::verify::note::origin(log))).transpose()
}

#[cfg(feature = "pq")]
fn add_secret(keyring: &Keyring, entropy: &dyn Entropy) -> Result<bool> {
    keyring.add_pq_secret(entropy)
}

#[cfg(not(feature = "pq"))]
fn add_secret(_: &Keyring, _: &dyn Entropy) -> Result<bool> {
    let error = Error::new(Code::ConfigInvalid, "this program was built without pq: it does not sign by ML-DSA-44");
    Err(error.with_hint("Build it with feature `pq`."))
}

impl Engine {
    /// Makes the secret of which every log of this database, later ones too, has
    /// an ML-DSA-44 key (FIPS 204): from now on checkpoints that leave are signed
    /// by it as well. Returns whether there was none before; what there is stays.
    /// It lies in the keyring, and cannot be made again from anything else.
    ///
    /// ```
    /// # use mirrordna::Engine;
    /// let engine = Engine::open("memory:")?;
    /// # #[cfg(feature = "pq")] {
    /// assert!(engine.add_pq_key()?);
    /// let key = engine.main().pq_verifier_key()?.unwrap();
    /// assert_eq!(engine.main().checkpoint()?.matches("\u{2014} ").count(), 2);
    /// # }
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `config.invalid` where this was built without feature `pq`, `key.missing`
    /// without the keyring, `store.*`.
    pub fn add_pq_key(&self) -> Result<bool> {
        let inner = &self.inner;
        if inner.is_closed() {
            return Err(Error::new(Code::StoreClosed, format!("the database at {} was closed", self.location())));
        }
        let keyring = inner.keyring.as_deref();
        let keyring = keyring.ok_or_else(|| crate::log::without(&inner.locked, "the keyring of this database is not here"))?;
        let mut made = false;
        // Two processes must not make two.
        inner.store.write(&mut |_| {
            made = add_secret(keyring, &*inner.entropy)?;
            Ok(())
        })?;
        Ok(made)
    }
}

impl Tenant {
    /// The log's ML-DSA-44 key as C2SP tools and policies name it
    /// (`signed-note`, type 0x06), some 1,800 characters; `None` where the
    /// keyring has none or this was built without feature `pq`. Nothing in the
    /// log names it: whoever is to rely on it must get it another way.
    ///
    /// # Errors
    /// `keyring.invalid` where its slot was altered, `store.io`.
    pub fn pq_verifier_key(&self) -> Result<Option<String>> {
        #[cfg(feature = "pq")]
        let key = key(self.inner.keyring.as_deref(), &self.log.id)?.map(|key| key.public().to_string());
        #[cfg(not(feature = "pq"))]
        let key = None;
        Ok(key)
    }

    /// A checkpoint of this log as it leaves.
    pub(crate) fn released(&self, note: String) -> Result<String> {
        released(self.inner.keyring.as_deref(), &self.log.id, note)
    }
}
