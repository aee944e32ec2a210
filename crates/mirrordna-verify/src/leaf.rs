//! Leaf data: the bytes that the tree hashes.
//!
//! An unsigned leaf is the header itself (first byte `0x8c`). A signed leaf is
//! a tagged COSE_Sign1 (RFC 9052 section 4.2, first byte `0xd2`) of one shape:
//! protected `{1: -19, 4: key id}` (Ed25519, RFC 9864), no unprotected header,
//! the event header as payload. The signature lies inside the leaf, so
//! inclusion in the tree proves that it existed then.

use crate::cbor::{Reader, Writer};
use crate::hash::{self, Hash};
use crate::{Header, Malformed};
use alloc::vec::Vec;

/// External associated data of every event signature.
pub const SEAL_AAD: &[u8] = b"mdna.seal.v1";

/// The largest leaf: a signed header with 1,024 references, below the 65,535
/// bytes that a tlog-tiles entry may have.
pub const MAX_LEAF: usize = 36_000;

/// COSE algorithm number of Ed25519 (RFC 9864).
const ALG_ED25519: i64 = -19;
const COSE_SIGN1: u64 = 18;

/// A decoded leaf, the data of one event in the tree: the header's 162 bytes or,
/// where the event is signed, a COSE_Sign1 (RFC 9052) over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The header's own bytes, which a signature covers.
    pub header_bytes: &'a [u8],
    /// The decoded header.
    pub header: Header,
    /// Key id and signature, for a signed leaf.
    pub signature: Option<([u8; 8], [u8; 64])>,
}

impl<'a> Leaf<'a> {
    /// Reads leaf data.
    ///
    /// # Errors
    /// If the bytes are neither a header nor a COSE_Sign1 of the one shape.
    pub fn decode(data: &'a [u8]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("leaf", why);
        if data.len() > MAX_LEAF {
            return Err(bad("is too long"));
        }
        if data.first() == Some(&0x8c) {
            return Ok(Self { header_bytes: data, header: Header::decode(data)?, signature: None });
        }
        let mut r = Reader::new(data);
        if r.tag()? != COSE_SIGN1 || r.array()? != 4 {
            return Err(bad("is neither a header nor a COSE_Sign1"));
        }
        let protected = r.bytes()?;
        if r.map()? != 0 {
            return Err(bad("has an unprotected header"));
        }
        let header_bytes = r.bytes()?;
        let signature = r.array_of()?;
        r.end()?;
        let key_id = read_protected(protected)?;
        Ok(Self { header_bytes, header: Header::decode(header_bytes)?, signature: Some((key_id, signature)) })
    }
}

fn read_protected(bytes: &[u8]) -> Result<[u8; 8], Malformed> {
    let bad = || Malformed::new("leaf", "has another protected header than Ed25519 and an 8-byte key id");
    let mut r = Reader::new(bytes);
    let shape = r.map() == Ok(2) && r.uint() == Ok(1) && r.int() == Ok(ALG_ED25519) && r.uint() == Ok(4);
    let key_id = r.array_of().ok().filter(|_| shape && r.end().is_ok());
    key_id.ok_or_else(bad)
}

fn protected(key_id: &[u8; 8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(13);
    w.map(2).uint(1).int(ALG_ED25519).uint(4).bytes(key_id);
    w.into_bytes()
}

/// The bytes that a leaf's signature covers: COSE `Sig_structure` (RFC 9052
/// section 4.4) with [`SEAL_AAD`].
#[must_use]
pub fn signed_bytes(header_bytes: &[u8], key_id: &[u8; 8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(64 + header_bytes.len());
    w.array(4).text("Signature1").bytes(&protected(key_id)).bytes(SEAL_AAD).bytes(header_bytes);
    w.into_bytes()
}

/// Leaf data of a signed header: COSE_Sign1 (RFC 9052) with Ed25519 (RFC 9864).
#[must_use]
pub fn encode_signed(header_bytes: &[u8], key_id: &[u8; 8], signature: &[u8; 64]) -> Vec<u8> {
    let mut w = Writer::with_capacity(90 + header_bytes.len());
    w.tag(COSE_SIGN1).array(4).bytes(&protected(key_id)).map(0).bytes(header_bytes).bytes(signature);
    w.into_bytes()
}

/// Hash of leaf data: SHA-256 of a zero byte and the data (RFC 6962, 2.1).
#[must_use]
pub fn hash(data: &[u8]) -> Hash {
    hash::leaf(data)
}
