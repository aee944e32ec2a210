//! Encryption of private bodies and wrapping of their secrets.
//!
//! Each private body has a random 32-byte secret `r`, used for nothing else.
//! The stored row is `HKDF(r, label) || AEAD(HKDF(r, "mdna.v1.seal"), body)`;
//! the first part commits to `r` (AES-GCM and ChaCha20-Poly1305 do not) and
//! its label names the AEAD. `r` is stored wrapped under its subject's key,
//! which is stored wrapped under the store key: destroying a secret, or a
//! subject's key, is what erasure means.

use crate::{Code, Entropy, Error, Hash, Kind, Result};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_kw::KwAes256;
use aes_kw::aes::Aes256;
use aes_kw::aes::cipher::{Array, BlockCipherDecrypt};
use chacha20poly1305::XChaCha20Poly1305;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use mirrordna_verify::hash::{COMMIT_AES_GCM, COMMIT_XCHACHA};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A wrapped 32-byte secret: AES-256 key wrap, RFC 3394.
pub type Wrapped = [u8; 40];

/// Bytes that a row has beyond its padded body: commitment and tag.
pub const OVERHEAD: usize = 32 + 16;

/// How many secrets are unwrapped side by side: a multiple of the blocks that
/// hardware AES takes at once.
const TOGETHER: usize = 64;
/// Fewer than this are unwrapped one after the other.
const FEW: usize = 6;

const SEAL: &[u8] = b"mdna.v1.seal";

cpufeatures::new!(aes_hardware, "aes");

/// A 32-byte secret that is wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A new random secret.
    ///
    /// # Errors
    /// If the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        Ok(Self(crate::random(entropy)?))
    }

    /// A secret from bytes that came out of a keyring.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a keyring that stores them encrypted.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What derives keys from this secret. Secrets are uniform already, so
    /// RFC 5869 section 3.3 lets the extract step be skipped.
    fn expander(&self) -> Hkdf<Sha256> {
        #[allow(clippy::expect_used)]
        Hkdf::<Sha256>::from_prk(&self.0).expect("32 bytes are long enough for a PRK")
    }

    /// A key for wrapping the secrets of one subject in one log.
    #[must_use]
    pub fn subject_wrapping(&self, log: &[u8; 16], subject: &Hash) -> Self {
        Self(*expand(&self.expander(), &[b"mdna.v1.wrap", log, subject]))
    }

    /// Wraps another secret under this one.
    #[must_use]
    pub fn wrap(&self, secret: &Self) -> Wrapped {
        let mut out = [0; 40];
        // The lengths are fixed and right for RFC 3394.
        let _infallible = KwAes256::new(&self.0.into()).wrap_key(&secret.0, &mut out);
        out
    }

    /// Unwraps a secret; `None` if the bytes were not wrapped under this one.
    #[must_use]
    pub fn unwrap(&self, wrapped: &[u8]) -> Option<Self> {
        Self::unwrapped(&KwAes256::new(&self.0.into()), wrapped)
    }

    fn unwrapped(key: &KwAes256, wrapped: &[u8]) -> Option<Self> {
        let mut out = Zeroizing::new([0; 32]);
        key.unwrap_key(wrapped, out.as_mut()).ok()?;
        Some(Self(*out))
    }

    /// Unwraps many secrets that were wrapped under this one, in less time than
    /// one after the other: the steps of an unwrapping wait for each other,
    /// those of several do not.
    #[must_use]
    pub fn unwrap_all(&self, wrapped: &[Wrapped]) -> Vec<Option<Self>> {
        let mut out = Vec::with_capacity(wrapped.len());
        for some in wrapped.chunks(TOGETHER) {
            if some.len() < FEW {
                let key = KwAes256::new(&self.0.into());
                out.extend(some.iter().map(|w| Self::unwrapped(&key, w)));
            } else {
                unwrap_together(&Aes256::new(&self.0.into()), some, &mut out);
            }
        }
        out
    }

    /// Keyed tag over `parts` (HMAC-SHA-256, each part with its length).
    #[must_use]
    pub fn tag(&self, label: &str, parts: &[&[u8]]) -> Hash {
        self.mac(label, parts).finalize().into_bytes().into()
    }

    /// Whether a tag is the one over `parts`; compared in constant time.
    #[must_use]
    pub fn tagged(&self, label: &str, parts: &[&[u8]], tag: &Hash) -> bool {
        self.mac(label, parts).verify_slice(tag).is_ok()
    }

    fn mac(&self, label: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        #[allow(clippy::expect_used)]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(label.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// Unwraps up to [`TOGETHER`] secrets side by side: RFC 3394, section 2.2.2,
/// with its register A and one of its registers R in each block.
fn unwrap_together(key: &Aes256, wrapped: &[Wrapped], out: &mut Vec<Option<Secret>>) {
    const IV: [u8; 8] = [0xa6; 8];
    let mut blocks = [Array::from([0u8; 16]); TOGETHER];
    let mut registers = Zeroizing::new([[[0u8; 8]; 4]; TOGETHER]);
    for ((block, registers), wrapped) in blocks.iter_mut().zip(registers.iter_mut()).zip(wrapped) {
        let (words, _) = wrapped.as_chunks::<8>();
        block[..8].copy_from_slice(&words[0]);
        registers.copy_from_slice(&words[1..]);
    }
    for t in (1..=24u8).rev() {
        let at = usize::from((t - 1) % 4);
        for (block, registers) in blocks.iter_mut().zip(registers.iter()) {
            // The step's number, as 64 bits in big-endian, is below 256.
            block[7] ^= t;
            block[8..].copy_from_slice(&registers[at]);
        }
        key.decrypt_blocks(&mut blocks);
        for (block, registers) in blocks.iter().zip(registers.iter_mut()) {
            registers[at].copy_from_slice(&block[8..]);
        }
    }
    for ((block, registers), _) in blocks.iter_mut().zip(registers.iter()).zip(wrapped) {
        let mut secret = Secret([0; 32]);
        secret.0.copy_from_slice(registers.as_flattened());
        out.push((block[..8] == IV).then_some(secret));
        block.as_mut_slice().zeroize();
    }
}

/// One derived key of 32 bytes.
fn expand(from: &Hkdf<Sha256>, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    // 32 bytes are not too long for an output.
    let _infallible = from.expand_multi_info(info, out.as_mut());
    out
}

/// What a body is bound to besides its secret.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// Log of the event.
    pub log: &'a [u8; 16],
    /// Actor of the event.
    pub actor: &'a Hash,
    /// Kind of the event.
    pub kind: Kind,
}

impl Binding<'_> {
    fn aad(&self) -> [u8; 64] {
        let mut out = [0; 64];
        out[..8].copy_from_slice(b"mdna.bd1");
        out[8..24].copy_from_slice(self.log);
        out[24..56].copy_from_slice(self.actor);
        out[56..].copy_from_slice(&self.kind.0.to_be_bytes());
        out
    }
}

/// Encrypts `body` (already padded) into a stored row.
///
/// # Errors
/// `internal.bug` if the AEAD refuses, which it does only for absurd lengths.
pub fn seal(secret: &Secret, binding: Binding<'_>, body: &[u8]) -> Result<Vec<u8>> {
    seal_with(secret, binding, body, aes_hardware::get())
}

fn seal_with(secret: &Secret, binding: Binding<'_>, body: &[u8], gcm: bool) -> Result<Vec<u8>> {
    let keys = secret.expander();
    let key = expand(&keys, &[SEAL]);
    let mut row = Vec::with_capacity(body.len() + OVERHEAD);
    row.extend_from_slice(&*expand(&keys, &[if gcm { COMMIT_AES_GCM } else { COMMIT_XCHACHA }]));
    row.extend_from_slice(body);
    let text = &mut row[32..];
    let tag: Result<[u8; 16], _> = if gcm {
        Aes256Gcm::new((&*key).into()).encrypt_inout_detached(&[0; 12].into(), &binding.aad(), text.into()).map(Into::into)
    } else {
        XChaCha20Poly1305::new((&*key).into()).encrypt_inout_detached(&[0; 24].into(), &binding.aad(), text.into()).map(Into::into)
    };
    row.extend_from_slice(&tag.map_err(|_| Error::new(Code::Bug, "the AEAD refused to encrypt a body"))?);
    Ok(row)
}

/// Whether `secret` is the one that the row commits to.
#[must_use]
pub fn commits(secret: &Secret, row: &[u8]) -> bool {
    algorithm(&secret.expander(), row).is_some()
}

fn algorithm(keys: &Hkdf<Sha256>, row: &[u8]) -> Option<bool> {
    let head = row.get(..32)?;
    if head == *expand(keys, &[COMMIT_AES_GCM]) {
        return Some(true);
    }
    (head == *expand(keys, &[COMMIT_XCHACHA])).then_some(false)
}

/// Decrypts a stored row into the padded body.
///
/// # Errors
/// `log.altered` if the row is not the one that was sealed under this secret
/// for this binding.
pub fn open(secret: &Secret, binding: Binding<'_>, row: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let refuse = |why: &'static str| Error::new(Code::Altered, why);
    let keys = secret.expander();
    let gcm = algorithm(&keys, row).ok_or_else(|| refuse("a body's secret is not the one its row commits to"))?;
    let cut = row.len().checked_sub(16).filter(|c| *c >= 32).ok_or_else(|| refuse("a body's row is too short"))?;
    let tag: [u8; 16] = row[cut..].try_into().map_err(|_| refuse("a body's row is too short"))?;
    let mut body = Zeroizing::new(row[32..cut].to_vec());
    let key = expand(&keys, &[SEAL]);
    let opened = if gcm {
        Aes256Gcm::new((&*key).into()).decrypt_inout_detached(&[0; 12].into(), &binding.aad(), body.as_mut_slice().into(), &tag.into())
    } else {
        XChaCha20Poly1305::new((&*key).into()).decrypt_inout_detached(
            &[0; 24].into(),
            &binding.aad(),
            body.as_mut_slice().into(),
            &tag.into(),
        )
    };
    opened.map_err(|_| refuse("a body does not decrypt for the event it is stored under"))?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BINDING: Binding<'static> = Binding { log: &[1; 16], actor: &[2; 32], kind: Kind::RECORD_PUT };

    proptest! {
        #[test]
        fn both_ciphers_round_trip_and_refuse_any_change(
            body in prop::collection::vec(any::<u8>(), 0..200), r in any::<[u8; 32]>(), gcm in any::<bool>(),
            at in any::<prop::sample::Index>(), mask in 1u8..)
        {
            let secret = Secret::from_bytes(r);
            let row = seal_with(&secret, BINDING, &body, gcm).unwrap();
            prop_assert_eq!(row.len(), body.len() + OVERHEAD);
            prop_assert_eq!(&*open(&secret, BINDING, &row).unwrap(), &body);
            let mut altered = row.clone();
            altered[at.index(row.len())] ^= mask;
            prop_assert!(open(&secret, BINDING, &altered).is_err());
            let other = Binding { kind: Kind::RECORD_PATCH, ..BINDING };
            prop_assert!(open(&secret, other, &row).is_err());
        }
    }

    proptest! {
        #[test]
        fn unwrapping_together_is_unwrapping_each(secrets in prop::collection::vec(any::<[u8; 32]>(), 0..150), key in any::<[u8; 32]>(),
                                                  at in any::<prop::sample::Index>(), byte in 0usize..40, mask in any::<u8>()) {
            let key = Secret::from_bytes(key);
            let mut wrapped: Vec<Wrapped> = secrets.iter().map(|s| key.wrap(&Secret::from_bytes(*s))).collect();
            if !wrapped.is_empty() {
                wrapped[at.index(secrets.len())][byte] ^= mask;
            }
            let each: Vec<_> = wrapped.iter().map(|w| key.unwrap(w)).collect();
            prop_assert_eq!(key.unwrap_all(&wrapped), each);
        }
    }

    #[test]
    fn wrapping_round_trips_and_refuses_other_keys() {
        let (store, r) = (Secret::from_bytes([7; 32]), Secret::from_bytes([8; 32]));
        let subject = store.subject_wrapping(&[1; 16], &[2; 32]);
        let wrapped = subject.wrap(&r);
        assert_eq!(subject.unwrap(&wrapped), Some(r));
        assert_eq!(store.unwrap(&wrapped), None);
        assert_eq!(subject.unwrap(&wrapped[..39]), None);
        assert_ne!(store.tag("a", &[b"bc"]), store.tag("a", &[b"b", b"c"]));
    }
}
