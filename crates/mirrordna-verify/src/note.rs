//! C2SP signed notes and checkpoints (`signed-note`, `tlog-checkpoint`).

use crate::hash::Hash;
use crate::vkey::{self, KeyType, VerifierKey};
use crate::{Malformed, PublicKey};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The most signature lines a note may carry.
const MAX_SIGNATURES: usize = 16;
/// The longest note that is read.
const MAX_NOTE: usize = 64 * 1024;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("signed note", why)
}

/// Standard base64 with padding (RFC 4648 section 4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = u32::from(chunk[0]) << 16 | u32::from(*chunk.get(1).unwrap_or(&0)) << 8 | u32::from(*chunk.get(2).unwrap_or(&0));
        for i in 0..4 {
            out.push(if i <= chunk.len() { char::from(BASE64[(n >> (18 - 6 * i)) as usize & 63]) } else { '=' });
        }
    }
    out
}

/// Reads standard base64: padding required, unused bits zero, nothing else.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (quads, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    for (i, quad) in quads.iter().enumerate() {
        let pads = quad.iter().rev().take_while(|b| **b == b'=').count();
        if pads > 2 || (pads > 0 && i + 1 != quads.len()) {
            return None;
        }
        let mut n = 0u32;
        for b in &quad[..4 - pads] {
            n = n << 6 | BASE64.iter().position(|c| c == b)? as u32;
        }
        n <<= 6 * pads;
        let bytes = n.to_be_bytes();
        if bytes[4 - pads..].iter().any(|b| *b != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..4 - pads]);
    }
    Some(out)
}

/// The 4-byte key id of a log's Ed25519 key.
#[must_use]
pub fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    vkey::key_id(KeyType::Log, name, key)
}

/// The verifier key of a log: `name+hexid+base64(type || key)`.
#[must_use]
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    VerifierKey { name: name.to_string(), kind: KeyType::Log, key: key.clone().into() }.to_string()
}

/// One signature line of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine<'a> {
    /// Name of the key.
    pub name: &'a str,
    /// Key id.
    pub id: [u8; 4],
    /// What follows the id: for Ed25519 the 64 bytes of the signature.
    pub signature: Vec<u8>,
}

impl fmt::Display for SignatureLine<'_> {
    /// The line as it stands in a note, without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&signature_line(self.name, self.id, &self.signature))
    }
}

/// A parsed, not yet verified note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    /// The signed text, with its final newline.
    pub text: &'a str,
    /// The signature lines.
    pub signatures: Vec<SignatureLine<'a>>,
}

impl<'a> Note<'a> {
    /// Parses a note strictly.
    ///
    /// # Errors
    /// If the bytes are no well-formed note.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_NOTE {
            return Err(bad("is longer than 64 KiB"));
        }
        let all = core::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
        if all.chars().any(|c| c != '\n' && c.is_control()) {
            return Err(bad("holds a control character"));
        }
        let split = all.rfind("\n\n").ok_or(bad("has no empty line before its signatures"))?;
        let (text, rest) = (&all[..=split], &all[split + 2..]);
        let rest = rest.strip_suffix('\n').ok_or(bad("does not end with a newline"))?;
        let signatures = rest.split('\n').map(read_signature_line).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(bad("has more than 16 signatures"));
        }
        Ok(Self { text, signatures })
    }

    /// Whether a line by `name` with this key is present and valid. A line with
    /// that name and key id but a wrong signature makes the answer `false`.
    #[must_use]
    pub fn signed_by(&self, name: &str, key: &PublicKey) -> bool {
        self.signature_by(name, key) == Some(true)
    }

    /// Whether the first line with this name and key's id is valid; `None`
    /// where there is none.
    #[must_use]
    pub fn signature_by(&self, name: &str, key: &PublicKey) -> Option<bool> {
        let id = key_id(name, key);
        let line = self.signatures.iter().find(|s| s.name == name && s.id == id)?;
        Some(<&[u8; 64]>::try_from(line.signature.as_slice()).is_ok_and(|sig| key.verifies(self.text.as_bytes(), sig)))
    }
}

/// A decimal number without sign and leading zero.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Reads one signature line, without its newline.
fn read_signature_line(line: &str) -> Result<SignatureLine<'_>, Malformed> {
    let body = line.strip_prefix("\u{2014} ").ok_or(bad("has a line that is no signature after the empty line"))?;
    let (name, data) = body.split_once(' ').ok_or(bad("has a signature line without a signature"))?;
    if !vkey::is_key_name(name) {
        return Err(bad("has a signature line with a bad key name"));
    }
    let raw = from_base64(data).ok_or(bad("has a signature that is not base64"))?;
    let (id, signature) = raw.split_first_chunk::<4>().ok_or(bad("has a signature without a key id"))?;
    if signature.is_empty() {
        return Err(bad("has an empty signature"));
    }
    Ok(SignatureLine { name, id: *id, signature: signature.to_vec() })
}

/// The signed text of a checkpoint (`tlog-checkpoint`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint<'a> {
    /// Which log.
    pub origin: &'a str,
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

impl<'a> Checkpoint<'a> {
    /// Reads the text of a note as a checkpoint; extension lines are allowed
    /// and ignored.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("checkpoint", why);
        let mut lines = text.strip_suffix('\n').ok_or(bad("does not end with a newline"))?.split('\n');
        let origin = lines.next().filter(|o| !o.is_empty()).ok_or(bad("has no origin"))?;
        let size = lines.next().ok_or(bad("has no size"))?;
        let size = decimal(size).ok_or(bad("has a size that is no plain decimal number below 2^64"))?;
        let root = lines.next().and_then(from_base64).ok_or(bad("has no root in base64"))?;
        let root = Hash::try_from(root).map_err(|_| bad("has a root that is not 32 bytes"))?;
        if lines.any(str::is_empty) {
            return Err(bad("has an empty extension line"));
        }
        Ok(Self { origin, size, root })
    }

    /// The text to sign.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root))
    }
}

/// The origin line of a mirrordna log: a reserved name, so that it never
/// resolves, and the log's id.
#[must_use]
pub fn origin(log: &[u8; 16]) -> String {
    format!("local.invalid/log/{:032x}", u128::from_be_bytes(*log))
}

/// A signature line without its newline: what stands under a note's text.
#[must_use]
pub fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    let mut raw = id.to_vec();
    raw.extend_from_slice(signature);
    format!("\u{2014} {name} {}", base64(&raw))
}

/// A note of `text` with one Ed25519 signature line.
#[must_use]
pub fn assemble(text: &str, name: &str, key: &PublicKey, signature: &[u8; 64]) -> String {
    format!("{text}\n{}\n", signature_line(name, key_id(name, key), signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn base64_round_trips(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
        }

        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Note::parse(&bytes);
            if let Ok(text) = core::str::from_utf8(&bytes) {
                let _ = Checkpoint::parse(text);
            }
        }
    }

    #[test]
    fn base64_is_strict() {
        for text in ["AA", "AA=", "AB==", "A===", "AA==AA==", "A-==", "AAB="] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}
