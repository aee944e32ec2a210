//! The event header: twelve fields that name an event, its place in its
//! actor's chain and what it commits to. No field holds free text, so a header
//! never has to be forgotten.

use crate::Malformed;
use crate::cbor::{Reader, Writer};
use crate::hash::Hash;
use alloc::vec::Vec;

/// First field of every header: the protocol and its version, which fixes the
/// hash algorithm too.
pub const DOMAIN: &str = "mdna.ev1";

/// The most references one header may carry.
pub const MAX_REFS: usize = 1_024;

/// What an event is. The numbers stand in `spec/bodies.yaml` and are never
/// reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u64);

impl Kind {
    /// Leaf 0 of a log, by its system actor.
    pub const LOG_GENESIS: Self = Self(1);
    /// The log ends here; a successor adopted it.
    pub const LOG_CLOSE: Self = Self(2);
    /// An outside observation of a checkpoint.
    pub const ANCHOR: Self = Self(3);
    /// An import began.
    pub const IMPORT_OPEN: Self = Self(4);
    /// An import ended, with its counts.
    pub const IMPORT: Self = Self(5);
    /// Leaf 1 of a log that goes on where another was left: it names that log.
    pub const LOG_ADOPT: Self = Self(6);
    /// The log's checkpoints are signed by another key, by the bridge that the
    /// next leaf holds.
    pub const LOG_KEY: Self = Self(7);
    /// A signature over the actor's chain so far, without a body.
    pub const SEAL: Self = Self(8);
    /// A process starts to sign for an actor.
    pub const EPOCH_OPEN: Self = Self(9);
    /// That process stopped.
    pub const EPOCH_CLOSE: Self = Self(10);
    /// The actor's DID log so far: first event of an actor, and each rotation.
    pub const IDENTITY_ENTRY: Self = Self(11);
    /// Contents were destroyed.
    pub const ERASE: Self = Self(12);
    /// A pending erasure reached every copy the engine owns.
    pub const ERASE_DONE: Self = Self(13);
    /// The actor's DID log so far, by whoever held a key that was committed
    /// before: what the actor said last is disputed.
    pub const IDENTITY_RECOVER: Self = Self(14);
    /// The actor's own key ends one of its epochs.
    pub const EPOCH_REVOKE: Self = Self(15);
    /// A record is created or replaced.
    pub const RECORD_PUT: Self = Self(16);
    /// Fields of a record change.
    pub const RECORD_PATCH: Self = Self(17);
    /// A record is put out of ordinary view.
    pub const RECORD_ARCHIVE: Self = Self(18);
    /// Two records are related.
    pub const RECORD_LINK: Self = Self(19);
    /// Something the host application says happened.
    pub const EVENT: Self = Self(20);
    /// A piece of a large body, which names it.
    pub const PART: Self = Self(21);

    const NAMES: [(Self, &'static str); 21] = [
        (Self::LOG_GENESIS, "log.genesis"),
        (Self::LOG_CLOSE, "log.close"),
        (Self::ANCHOR, "anchor"),
        (Self::IMPORT_OPEN, "import.open"),
        (Self::IMPORT, "import"),
        (Self::LOG_ADOPT, "log.adopt"),
        (Self::LOG_KEY, "log.key"),
        (Self::SEAL, "seal"),
        (Self::EPOCH_OPEN, "epoch.open"),
        (Self::EPOCH_CLOSE, "epoch.close"),
        (Self::IDENTITY_ENTRY, "identity.entry"),
        (Self::ERASE, "erase"),
        (Self::ERASE_DONE, "erase.done"),
        (Self::IDENTITY_RECOVER, "identity.recover"),
        (Self::EPOCH_REVOKE, "epoch.revoke"),
        (Self::RECORD_PUT, "record.put"),
        (Self::RECORD_PATCH, "record.patch"),
        (Self::RECORD_ARCHIVE, "record.archive"),
        (Self::RECORD_LINK, "record.link"),
        (Self::EVENT, "event"),
        (Self::PART, "part"),
    ];

    /// The dotted name, or `None` for a number this version does not know.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(k, _)| *k == self).map(|(_, n)| *n)
    }

    /// Whether the body is public: a fixed template without caller text, in
    /// clear, which can never be erased.
    #[must_use]
    pub const fn is_public(self) -> bool {
        self.0 < 16
    }

    /// Whether a leaf of this kind is refused without a signature.
    #[must_use]
    pub const fn must_be_signed(self) -> bool {
        matches!(
            self,
            Self::LOG_GENESIS
                | Self::LOG_CLOSE
                | Self::LOG_ADOPT
                | Self::LOG_KEY
                | Self::SEAL
                | Self::EPOCH_OPEN
                | Self::EPOCH_CLOSE
                | Self::IDENTITY_ENTRY
                | Self::ERASE
                | Self::ERASE_DONE
                | Self::IDENTITY_RECOVER
                | Self::EPOCH_REVOKE
        )
    }

    /// Whether this kind brings the key that signs it (its signer field names
    /// itself).
    #[must_use]
    pub const fn brings_key(self) -> bool {
        matches!(self, Self::LOG_GENESIS | Self::EPOCH_OPEN | Self::IDENTITY_ENTRY | Self::IDENTITY_RECOVER)
    }

    /// Whether what a public body of this kind says decides over other events:
    /// it has to be at hand.
    #[must_use]
    pub const fn is_judged(self) -> bool {
        self.brings_key() || matches!(self, Self::LOG_ADOPT | Self::LOG_KEY | Self::ERASE | Self::EPOCH_REVOKE)
    }
}

/// One decoded event header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Log the event belongs to: 16 random bytes. Stops replay into another log.
    pub log: [u8; 16],
    /// SCID digest of the actor.
    pub actor: Hash,
    /// Number of the event in its (log, actor) chain, from 0.
    pub aseq: u64,
    /// Leaf hash of the actor's previous event; for `aseq` 0 the SHA-256 of
    /// the last line of its DID log.
    pub prev: Hash,
    /// `aseq` of the `epoch.open`, `identity.entry` or `identity.recover` whose
    /// key speaks for the event.
    pub signer: u64,
    /// Claimed time, milliseconds since 1970-01-01 UTC; never decreases in a log.
    pub time: u64,
    /// What the event is.
    pub kind: Kind,
    /// Session, or 16 zero bytes.
    pub session: [u8; 16],
    /// Commitment to the body, or [`crate::hash::NONE`].
    pub body: Hash,
    /// Length of the body in bytes (private bodies: padded).
    pub length: u64,
    /// Leaf hashes this event refers to.
    pub refs: Vec<Hash>,
}

impl Header {
    /// The only byte form of this header (162 bytes without references).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(166 + 34 * self.refs.len());
        w.array(12)
            .text(DOMAIN)
            .bytes(&self.log)
            .bytes(&self.actor)
            .uint(self.aseq)
            .bytes(&self.prev)
            .uint(self.signer)
            .uint(self.time)
            .uint(self.kind.0)
            .bytes(&self.session)
            .bytes(&self.body)
            .uint(self.length)
            .array(self.refs.len());
        for r in &self.refs {
            w.bytes(r);
        }
        w.into_bytes()
    }

    /// Reads a header that fills `bytes` exactly.
    ///
    /// # Errors
    /// If the bytes are not the one encoding of a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "event header";
        let bad = |why| Malformed::new(WHAT, why);
        let mut r = Reader::new(bytes);
        if r.array()? != 12 {
            return Err(bad("does not have twelve fields"));
        }
        if r.text()? != DOMAIN {
            return Err(bad("is of another protocol version"));
        }
        let header = Self {
            log: r.array_of()?,
            actor: r.array_of()?,
            aseq: r.uint()?,
            prev: r.array_of()?,
            signer: r.uint()?,
            time: r.uint()?,
            kind: Kind(r.uint()?),
            session: r.array_of()?,
            body: r.array_of()?,
            length: r.uint()?,
            refs: {
                let n = r.array()?;
                if n > MAX_REFS {
                    return Err(bad("has more than 1,024 references"));
                }
                (0..n).map(|_| r.array_of()).collect::<Result<_, _>>()?
            },
        };
        r.end()?;
        if header.signer > header.aseq {
            return Err(bad("names a signer that comes after it"));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Header {
        Header {
            log: [1; 16],
            actor: [2; 32],
            aseq: 7,
            prev: [3; 32],
            signer: 1,
            time: 1_770_000_000_000,
            kind: Kind::RECORD_PUT,
            session: [4; 16],
            body: [5; 32],
            length: 320,
            refs: Vec::new(),
        }
    }

    #[test]
    fn is_162_bytes_without_references() {
        assert_eq!(sample().encode().len(), 162);
    }

    #[test]
    fn refuses_a_thirteenth_field_and_trailing_bytes() {
        let mut bytes = sample().encode();
        bytes.push(0);
        assert_eq!(Header::decode(&bytes).unwrap_err().why, "bytes after the end");
        bytes[0] = 0x8d;
        assert_eq!(Header::decode(&bytes).unwrap_err().why, "does not have twelve fields");
    }

    proptest! {
        #[test]
        fn every_header_has_one_form(aseq in any::<u64>(), time in any::<u64>(), kind in any::<u64>(),
                                     length in any::<u64>(), body in any::<[u8; 32]>(), refs in prop::collection::vec(any::<[u8; 32]>(), 0..5)) {
            let h = Header { aseq, signer: aseq / 2, time, kind: Kind(kind), length, body, refs, ..sample() };
            let bytes = h.encode();
            prop_assert_eq!(&Header::decode(&bytes).unwrap(), &h);
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(flip in 0usize..162, mask in 1u8..) {
            let mut bytes = sample().encode();
            bytes[flip] ^= mask;
            if let Ok(h) = Header::decode(&bytes) {
                prop_assert_eq!(h.encode(), bytes);
            }
        }
    }
}
