//! SHA-256 and the domain-separated digests of the protocol.

use sha2::{Digest, Sha256};

/// A SHA-256 digest (FIPS 180-4), 32 bytes.
pub type Hash = [u8; 32];

/// The digest that stands for "no body" in a header.
pub const NONE: Hash = [0; 32];

/// SHA-256 over the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut state = Sha256::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().into()
}

/// RFC 6962 section 2.1 leaf hash: `SHA-256(0x00 || data)`.
#[must_use]
pub fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// RFC 6962 section 2.1 node hash: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// Commitment to the stored row of a private (encrypted) body.
#[must_use]
pub fn private_body(row: &[u8]) -> Hash {
    sha256(&[b"mdna.v1.body", row])
}

/// Commitment to the bytes of a public body.
#[must_use]
pub fn public_body(bytes: &[u8]) -> Hash {
    sha256(&[b"mdna.v1.public", bytes])
}

/// HKDF label of the commitment to a secret, of a row sealed with AES-256-GCM.
pub const COMMIT_AES_GCM: &[u8] = b"mdna.v1.commit";
/// The same, of a row sealed with XChaCha20-Poly1305.
pub const COMMIT_XCHACHA: &[u8] = b"mdna.v1.commit.xchacha";

/// HMAC-SHA-256 (RFC 2104) under a key of at most a block.
fn hmac(key: &Hash, message: &[u8]) -> Hash {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    sha256(&[&pad(0x5c), &sha256(&[&pad(0x36), message])])
}

/// HKDF-Expand (RFC 5869 section 2.3) to 32 bytes; the secret is uniform, and
/// serves as the pseudorandom key.
#[must_use]
pub fn hkdf_expand(secret: &Hash, info: &[u8]) -> Hash {
    let mut message = alloc::vec::Vec::with_capacity(info.len() + 1);
    message.extend_from_slice(info);
    message.push(1);
    hmac(secret, &message)
}
