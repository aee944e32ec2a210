//! ML-DSA-44 (FIPS 204) signatures of checkpoints, by logs and by witnesses:
//! C2SP `tlog-cosignature`, `subtree/v1`, signature type 0x06.
//!
//! Whoever makes such a line, log or witness, signs the same thing: its own
//! name, the log's origin, size and root, and a time, or none. The text of the
//! checkpoint is not signed as such, so that extension lines are covered by
//! nothing here.

use crate::cosignature::MAX_TIME;
use crate::hash::sha256;
use crate::note::{Checkpoint, SignatureLine};
use crate::{Malformed, cosignature};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use ml_dsa::{EncodedVerifyingKey, MlDsa44, Signature, VerifyingKey};

/// Bytes of a public key (FIPS 204, table 2).
pub const KEY: usize = 1312;
/// Bytes of a signature (FIPS 204, table 2).
pub const SIGNATURE: usize = 2420;

/// What stands before everything that is signed, so that it is nothing else.
const LABEL: &[u8; 12] = b"subtree/v1\n\0";

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("ML-DSA-44 cosignature", why)
}

/// An ML-DSA-44 public key. Every string of 1,312 bytes is one.
#[derive(Clone, PartialEq, Eq)]
pub struct MlDsaKey(Box<[u8; KEY]>);

impl fmt::Debug for MlDsaKey {
    /// The beginning of the key's SHA-256 in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = sha256(&[&self.0[..]]);
        write!(f, "MlDsaKey({:02x}{:02x}{:02x}{:02x})", h[0], h[1], h[2], h[3])
    }
}

impl MlDsaKey {
    /// The key of these bytes (FIPS 204, `pkEncode`); `None` for another number
    /// of them.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        <[u8; KEY]>::try_from(bytes).ok().map(|bytes| Self(Box::new(bytes)))
    }

    /// The bytes that [`MlDsaKey::new`] takes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Whether `signature` over `message` is valid: ML-DSA.Verify with the empty
    /// context (FIPS 204, algorithm 3).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = EncodedVerifyingKey::<MlDsa44>::try_from(&self.0[..]) else { return false };
        // Decoding refuses another length, hints that are not canonical, and a
        // response that is too long.
        let Ok(signature) = Signature::<MlDsa44>::try_from(signature) else { return false };
        VerifyingKey::<MlDsa44>::decode(&key).verify_with_context(message, b"", &signature)
    }
}

/// What `name` signs of a checkpoint: the `cosigned_message` of all its leaves.
/// `time` is in seconds since 1970; 0 states none. `None` where a name or an
/// origin is empty or longer than 255 bytes: no such thing can be signed.
#[must_use]
pub fn message(name: &str, time: u64, checkpoint: &Checkpoint<'_>) -> Option<Vec<u8>> {
    let mut out = LABEL.to_vec();
    let mut short = |text: &str, then: &[&[u8]]| {
        let length = u8::try_from(text.len()).ok().filter(|n| *n > 0)?;
        out.push(length);
        out.extend_from_slice(text.as_bytes());
        then.iter().for_each(|bytes| out.extend_from_slice(bytes));
        Some(())
    };
    short(name, &[&time.to_be_bytes()])?;
    short(checkpoint.origin, &[&[0; 8], &checkpoint.size.to_be_bytes(), &checkpoint.root])?;
    Some(out)
}

/// What follows the key id in a signature line.
#[must_use]
pub fn line(time: u64, signature: &[u8; SIGNATURE]) -> Vec<u8> {
    [&time.to_be_bytes()[..], signature].concat()
}

/// The time that a line by `key`, whose name and id it has, states over the
/// checkpoint with `text`; 0 for none.
pub(crate) fn judge(line: &SignatureLine<'_>, text: &str, key: &MlDsaKey) -> Result<u64, Malformed> {
    let (time, signature) = line.signature.split_first_chunk::<8>().ok_or(bad("is shorter than its time"))?;
    let time = u64::from_be_bytes(*time);
    if time > MAX_TIME {
        return Err(cosignature::LATE);
    }
    let message = message(line.name, time, &Checkpoint::parse(text)?).ok_or(bad("has a name that is too long to be signed"))?;
    if key.verifies(&message, signature) { Ok(time) } else { Err(bad("does not verify")) }
}
