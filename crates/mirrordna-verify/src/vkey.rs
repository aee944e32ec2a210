//! Verifier keys: how a note's public key is written for people and files
//! (`signed-note`, section verifier keys): `name+hexid+base64(type || key)`.

use crate::hash::sha256;
use crate::note::{Note, base64, from_base64};
use crate::{Malformed, PublicKey};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("verifier key", why)
}

const OTHER_ID: Malformed = bad("has an id that does not belong to its name, type and key");

/// What a key signs: the signature type of `signed-note`, which is part of the
/// key id, so that one key cannot be taken for another's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// 0x01: plain Ed25519 over the text, as a log signs its checkpoints.
    Log,
    /// 0x04: Ed25519 with a time, as a witness cosigns (`cosignature/v1`).
    Witness,
    /// 0x06: ML-DSA-44 over size and root, with or without a time, by a log or a
    /// witness (`subtree/v1`).
    #[cfg(feature = "pq")]
    MlDsa44,
}

impl KeyType {
    /// The byte that stands for the type in key ids and verifier keys.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
            #[cfg(feature = "pq")]
            Self::MlDsa44 => 0x06,
        }
    }
}

/// The 4-byte key id of an Ed25519 key (`signed-note`, section signatures).
#[must_use]
pub fn key_id(kind: KeyType, name: &str, key: &PublicKey) -> [u8; 4] {
    id_of(kind, name, &key.to_bytes())
}

fn id_of(kind: KeyType, name: &str, key: &[u8]) -> [u8; 4] {
    let h = sha256(&[name.as_bytes(), b"\n", &[kind.byte()], key]);
    [h[0], h[1], h[2], h[3]]
}

/// Whether `name` may be the name of a note key: not empty, without white
/// space, control characters and plus.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

/// A public key that signs notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteKey {
    /// Of types 0x01 and 0x04.
    Ed25519(PublicKey),
    /// Of type 0x06.
    #[cfg(feature = "pq")]
    MlDsa44(crate::pq::MlDsaKey),
}

impl NoteKey {
    /// The key, if it is one of Ed25519.
    #[must_use]
    pub const fn ed25519(&self) -> Option<&PublicKey> {
        match self {
            Self::Ed25519(key) => Some(key),
            #[cfg(feature = "pq")]
            Self::MlDsa44(_) => None,
        }
    }
}

impl From<PublicKey> for NoteKey {
    fn from(key: PublicKey) -> Self {
        Self::Ed25519(key)
    }
}

/// A named key of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    /// The key's name; of a log, its origin.
    pub name: String,
    /// What the key signs.
    pub kind: KeyType,
    /// The key itself.
    pub key: NoteKey,
}

impl VerifierKey {
    /// Reads the text form strictly: the id must be that of name, type and key,
    /// in lower-case hex, and the key must register.
    ///
    /// # Errors
    /// If the text is no such key, or one of a type that is not supported.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("is not of the form name+id+key"));
        };
        if !is_key_name(name) {
            return Err(bad("has a name that is empty or holds white space"));
        }
        let raw = from_base64(data).ok_or(bad("has a key that is not base64"))?;
        let (kind, key) = raw.split_first().ok_or(bad("is empty"))?;
        let kind = match kind {
            0x01 => KeyType::Log,
            0x04 => KeyType::Witness,
            #[cfg(feature = "pq")]
            0x06 => {
                let key = crate::pq::MlDsaKey::new(key).ok_or(bad("has a key that is not 1,312 bytes"))?;
                let read = Self { name: name.to_string(), kind: KeyType::MlDsa44, key: NoteKey::MlDsa44(key) };
                return if id == hex(read.id()) { Ok(read) } else { Err(OTHER_ID) };
            }
            #[cfg(not(feature = "pq"))]
            0x06 => return Err(bad("is of type 6 (ML-DSA-44), and this was built without pq")),
            _ => return Err(bad("is of a type other than 1 (Ed25519), 4 (Ed25519 cosignature) and 6 (ML-DSA-44)")),
        };
        let key: &[u8; 32] = key.try_into().map_err(|_| bad("has a key that is not 32 bytes"))?;
        let key = PublicKey::new(key).ok_or(bad("has a key that is no acceptable Ed25519 key"))?;
        if id != hex(key_id(kind, name, &key)) {
            return Err(OTHER_ID);
        }
        Ok(Self { name: name.to_string(), kind, key: key.into() })
    }

    /// The key id that stands before this key's signatures.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        match &self.key {
            NoteKey::Ed25519(key) => key_id(self.kind, &self.name, key),
            #[cfg(feature = "pq")]
            NoteKey::MlDsa44(key) => id_of(self.kind, &self.name, key.as_bytes()),
        }
    }

    /// Whether the first line by this key under the text of a checkpoint is
    /// valid; `None` where there is none, and of a key that only witnesses have.
    #[must_use]
    pub fn signs(&self, note: &Note<'_>) -> Option<bool> {
        match (&self.key, self.kind) {
            (NoteKey::Ed25519(key), KeyType::Log) => note.signature_by(&self.name, key),
            #[cfg(feature = "pq")]
            (NoteKey::MlDsa44(_), _) => {
                note.signatures.iter().find_map(|l| crate::cosignature::judge(l, note.text, self)).map(|j| j.is_ok())
            }
            _ => None,
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut raw = alloc::vec![self.kind.byte()];
        match &self.key {
            NoteKey::Ed25519(key) => raw.extend_from_slice(&key.to_bytes()),
            #[cfg(feature = "pq")]
            NoteKey::MlDsa44(key) => raw.extend_from_slice(key.as_bytes()),
        }
        write!(f, "{}+{}+{}", self.name, hex(self.id()), base64(&raw))
    }
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    /// The key of Go's `sumdb/note` tests.
    const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn reads_and_prints_a_foreign_key() {
        let key = VerifierKey::parse(NEUMANN).unwrap();
        assert_eq!((key.name.as_str(), key.kind), ("PeterNeumann", KeyType::Log));
        assert_eq!(key.id(), [0xc7, 0x4f, 0x20, 0xa3]);
        assert_eq!(key.to_string(), NEUMANN);
    }

    #[test]
    fn refuses_what_is_not_exact() {
        for text in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+c74f20a3+",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
        ] {
            assert!(VerifierKey::parse(text).is_err(), "{text}");
        }
    }

    #[cfg(not(feature = "pq"))]
    #[test]
    fn a_key_of_type_6_asks_for_another_build() {
        for policy in ["log example.com/log+00000000+BgAA", "witness w w.example+00000000+BgAA"] {
            let error = crate::Policy::parse(policy).unwrap_err().to_string();
            assert_eq!(error, "policy line 1: is of type 6 (ML-DSA-44), and this was built without pq");
        }
    }

    proptest! {
        #[test]
        fn round_trips(seed in any::<[u8; 32]>(), name in "[a-z./0-9]{1,40}", witness in any::<bool>()) {
            let kind = if witness { KeyType::Witness } else { KeyType::Log };
            let key = VerifierKey { name, kind, key: PublicKey::from(&SigningKey::from_bytes(&seed)).into() };
            prop_assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key));
        }

        #[test]
        fn never_panics(text in "\\PC{0,120}") {
            let _ = VerifierKey::parse(&text);
        }
    }
}
