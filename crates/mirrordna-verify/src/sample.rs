//! A log that tests sign for: its keys are numbered.

use crate::hash::Hash;
use crate::note::{Checkpoint, assemble, verifier_key};
use crate::{Policy, PublicKey};
use alloc::format;
use alloc::string::String;
use ed25519_dalek::{Signer, SigningKey};

pub(crate) const ORIGIN: &str = "example.com/log";

/// A checkpoint signed by a key.
pub(crate) fn checkpoint(seed: u8, size: u64, root: Hash) -> String {
    let secret = SigningKey::from_bytes(&[seed; 32]);
    let text = Checkpoint { origin: ORIGIN, size, root }.text();
    assemble(&text, ORIGIN, &PublicKey::from(&secret), &secret.sign(text.as_bytes()).to_bytes())
}

/// A key as a policy names it.
pub(crate) fn vkey(seed: u8) -> String {
    verifier_key(ORIGIN, &PublicKey::from(&SigningKey::from_bytes(&[seed; 32])))
}

/// A policy that trusts some keys.
pub(crate) fn trusting(seeds: &[u8]) -> Policy {
    Policy::parse(&seeds.iter().map(|seed| format!("log {}\n", vkey(*seed))).collect::<String>()).unwrap()
}
