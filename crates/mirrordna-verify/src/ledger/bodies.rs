//! Bodies and erasures: what is stored of an event against what its header
//! commits to, and which absences an erase event explains.

use super::{Ledger, fault};
use crate::hash::{self, Hash, NONE};
use crate::{Header, Kind, Leaf};

/// What the caller found of the body of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// The stored bytes: of a public body the template, of a private one the
    /// commitment and ciphertext.
    Bytes(&'a [u8]),
    /// The stored bytes of a private body, and the secret that opens it.
    Opened(&'a [u8], &'a [u8; 32]),
    /// So many bytes are stored, which the caller did not read. That they are
    /// there, and how many, is checked; what they are is not. A public body is
    /// to be read always: the keys of actors stand in them.
    Unread(u64),
    /// Nothing is stored.
    Nothing,
}

const OTHER_LENGTH: &str = "the stored body has another length than the header says";

/// The length of what is stored of a body.
const fn stored_length(header: &Header) -> Option<u64> {
    // A private row has a commitment and a tag around its body.
    header.length.checked_add(if header.kind.is_public() { 0 } else { 48 })
}

/// Whether a secret is the one that a stored row was sealed under.
fn opens(row: &[u8], secret: &[u8; 32]) -> bool {
    [hash::COMMIT_AES_GCM, hash::COMMIT_XCHACHA].iter().any(|label| row.starts_with(&hash::hkdf_expand(secret, label)))
}

impl Ledger {
    /// Checks what is stored against the commitment; returns matching bytes.
    pub(super) fn body<'a>(&mut self, leaf: &Leaf<'_>, leaf_hash: &Hash, stored: Stored<'a>, asked: bool) -> Option<&'a [u8]> {
        let header = &leaf.header;
        let opened = matches!(stored, Stored::Opened(row, secret) if !header.kind.is_public() && opens(row, secret));
        if matches!(stored, Stored::Opened(..)) && !opened {
            self.fault(fault("secret.altered", "the disclosed secret is not the one that the body is sealed under"));
        }
        let found = match (stored, header.body == NONE) {
            (Stored::Nothing, true) if header.length == 0 && (header.kind == Kind::SEAL || !header.kind.is_public()) => return None,
            (Stored::Nothing, true) => fault("body.altered", "has no body, but its kind or length says that there is one"),
            (Stored::Bytes(_) | Stored::Opened(..) | Stored::Unread(_), true) => {
                fault("body.altered", "has a body where its header commits to none")
            }
            (Stored::Nothing, false) => {
                if header.kind.is_public() {
                    self.bodies.missing += 1;
                    fault("body.missing", "a public body is absent; public bodies are never erased")
                } else {
                    // Whether a supporting event has its body is not asked.
                    if asked {
                        self.absent.insert(*leaf_hash, self.here);
                    }
                    return None;
                }
            }
            (Stored::Unread(_), false) if header.kind == Kind::SEAL => fault("body.altered", "a seal has a body"),
            (Stored::Unread(_), false) if header.kind.is_judged() => {
                self.bodies.missing += 1;
                fault("body.missing", "what its public body says has to be known, and it is not here")
            }
            (Stored::Unread(length), false) if Some(length) != stored_length(header) => fault("body.altered", OTHER_LENGTH),
            (Stored::Unread(_), false) => {
                self.bodies.unread += 1;
                return None;
            }
            (Stored::Bytes(bytes) | Stored::Opened(bytes, _), false) => {
                let commitment = if header.kind.is_public() { hash::public_body(bytes) } else { hash::private_body(bytes) };
                if header.kind == Kind::SEAL {
                    fault("body.altered", "a seal has a body")
                } else if commitment != header.body {
                    fault("body.altered", "the stored body is not the one the header commits to")
                } else if stored_length(header) != Some(bytes.len() as u64) {
                    fault("body.altered", OTHER_LENGTH)
                } else {
                    self.bodies.present += 1;
                    self.bodies.disclosed += u64::from(opened);
                    return Some(bytes);
                }
            }
        };
        self.fault(found);
        None
    }

    /// Takes what an erase event of this log refers to, or of one that goes on
    /// from it.
    pub fn erased_later<'a>(&mut self, refs: impl IntoIterator<Item = &'a Hash>) {
        self.erased.extend(refs.into_iter().map(|leaf| (*leaf, 0)));
    }

    /// Tells absences that an erase event explains from others, at the end.
    pub(super) fn account_for_absences(&mut self) {
        for (hash, index) in core::mem::take(&mut self.absent) {
            if self.erased.contains_key(&hash) {
                self.bodies.erased += 1;
            } else if !self.abandoned {
                self.bodies.missing += 1;
                self.fault_at(index, fault("body.missing", "its body is absent and no erase event says so"));
            }
        }
    }

    /// Leaf hashes that erase events have named so far.
    pub fn erased(&self) -> impl Iterator<Item = &Hash> {
        self.erased.keys()
    }

    /// Whether bodies are absent that no erase event of this log speaks of.
    #[must_use]
    pub fn lacks_bodies(&self) -> bool {
        self.absent.keys().any(|leaf| !self.erased.contains_key(leaf))
    }
}
