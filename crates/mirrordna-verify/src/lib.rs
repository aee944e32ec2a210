//! The offline verifier of mirrordna: everything a stranger needs to decide
//! whether a log was altered, and nothing else.
//!
//! This crate **owns** the byte formats that evidence consists of (event
//! header, signed leaf, Merkle tree, signed note, DID log, public bodies) and
//! the [`ledger`] that walks a log and accounts for every leaf. It **never**
//! reads a clock, a file or the network, never holds a private key, and never
//! re-encodes what it was given: hashes and signatures are checked over the
//! stored bytes.
//!
//! It is `no_std` (it needs `alloc`) and depends on `sha2` and `ed25519-dalek`
//! only; with feature `pq` on `ml-dsa`, too.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod body;
pub mod bundle;
pub mod cbor;
pub mod cosignature;
pub mod did;
pub mod equivocation;
pub mod hash;
pub mod header;
pub mod json;
pub mod key;
pub mod leaf;
pub mod ledger;
pub mod log_keys;
pub mod merkle;
pub mod multibase;
pub mod note;
pub mod policy;
#[cfg(feature = "pq")]
pub mod pq;
pub mod tlog_proof;
pub mod tlog_witness;
pub mod vkey;

mod problem;
#[cfg(test)]
mod sample;
mod trail;

pub use header::{Header, Kind};
pub use key::PublicKey;
pub use leaf::Leaf;
pub use ledger::{Ledger, Report, Trust, Verdict};
pub use log_keys::LogKeys;
pub use policy::{Cosigned, Policy, PolicyError};
pub use problem::{Malformed, Problem};
pub use trail::Disputed;
