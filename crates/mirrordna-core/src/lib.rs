//! The pure protocol of mirrordna.
//!
//! This crate **owns** what an identity, an event, a body and a record are, how
//! bodies are encrypted and how records follow from events. It **never** does
//! I/O, reads a clock, draws randomness by itself or holds global state: time
//! and entropy come in through [`Clock`] and [`Entropy`].
//!
//! Modules are nouns: [`identity`], [`session`], [`memory`], [`timeline`],
//! [`erasure`], [`record`] (the fold), [`cipher`] and [`keys`] (secrets), [`canon`]
//! (canonical forms), [`error`], [`limits`].

pub mod body;
pub mod canon;
pub mod cipher;
pub mod erasure;
pub mod error;
pub mod id;
pub mod identity;
pub mod jcs;
pub mod keys;
pub mod limits;
pub mod memory;
#[cfg(feature = "pq")]
pub mod pq;
pub mod proof;
pub mod record;
pub mod session;
pub mod time;
pub mod timeline;
pub mod tool;

pub use error::{Code, Error, Result};
pub use mirrordna_verify as verify;
pub use mirrordna_verify::hash::Hash;
pub use mirrordna_verify::{Header, Kind, Leaf, PublicKey};

/// Where time comes from. It may go backwards: header times do not follow it
/// then, they are at least that of the log's last event.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
}

/// Where randomness comes from: keys, secrets and ids. It must be fit for
/// cryptography, such as the operating system's.
pub trait Entropy: Send + Sync {
    /// Fills `out` with bytes that nobody can predict.
    ///
    /// # Errors
    /// If the source of randomness fails; nothing may be created then.
    fn fill(&self, out: &mut [u8]) -> Result<()>;
}

/// `N` random bytes.
///
/// # Errors
/// If the source of randomness fails.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N]> {
    let mut out = [0; N];
    entropy.fill(&mut out)?;
    Ok(out)
}
