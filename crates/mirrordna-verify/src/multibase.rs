//! Base58btc (Bitcoin alphabet), bare and with the multibase prefix `z`, and
//! the SHA-256 multihash form that did:webvh uses.

use crate::hash::Hash;
use alloc::string::String;
use alloc::vec::Vec;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Base58btc of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len() * 138 / 100 + 1);
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for d in &mut digits {
            carry += u32::from(*d) << 8;
            *d = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    // Leading zero bytes leave no digits of their own: each is written as '1'.
    let ones = core::iter::repeat_n('1', zeros);
    ones.chain(digits.iter().rev().map(|d| char::from(ALPHABET[usize::from(*d)]))).collect()
}

/// Decodes base58btc into exactly `len` bytes; `None` otherwise, so that the
/// quadratic work is bounded.
#[must_use]
pub fn decode(text: &str, len: usize) -> Option<Vec<u8>> {
    if text.len() > len * 138 / 100 + 2 {
        return None;
    }
    let zeros = text.bytes().take_while(|b| *b == b'1').count();
    let mut bytes: Vec<u8> = Vec::with_capacity(len);
    for c in text.bytes() {
        let mut carry = ALPHABET.iter().position(|a| *a == c)? as u32;
        for b in &mut bytes {
            carry += u32::from(*b) * 58;
            *b = carry as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry as u8);
            carry >>= 8;
        }
    }
    bytes.extend(core::iter::repeat_n(0, zeros));
    bytes.reverse();
    (bytes.len() == len).then_some(bytes)
}

/// Multibase base58btc: `z` and the digits.
#[must_use]
pub fn encode_z(bytes: &[u8]) -> String {
    let mut out = String::from("z");
    out.push_str(&encode(bytes));
    out
}

/// Decodes multibase base58btc into exactly `len` bytes.
#[must_use]
pub fn decode_z(text: &str, len: usize) -> Option<Vec<u8>> {
    decode(text.strip_prefix('z')?, len)
}

/// SHA-256 multihash (0x12 0x20 digest) in base58btc: `Qm…`.
#[must_use]
pub fn multihash(digest: &Hash) -> String {
    let mut raw = [0u8; 34];
    raw[..2].copy_from_slice(&[0x12, 0x20]);
    raw[2..].copy_from_slice(digest);
    encode(&raw)
}

/// The digest of a SHA-256 multihash; `None` for any other text.
#[must_use]
pub fn digest_of(multihash: &str) -> Option<Hash> {
    let raw = decode(multihash, 34)?;
    raw.strip_prefix(&[0x12, 0x20])?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(encode(b"hello world"), "StV1DL6CwTryKyV");
        assert_eq!(encode(&[0, 0, 1]), "112");
        assert_eq!(decode("112", 3).unwrap(), [0, 0, 1]);
        assert_eq!(decode("0", 1), None);
    }

    proptest! {
        #[test]
        fn round_trips(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&bytes), bytes.len()), Some(bytes));
        }
        #[test]
        fn never_panics(text in ".{0,60}") {
            let _ = decode_z(&text, 34);
        }
    }
}
