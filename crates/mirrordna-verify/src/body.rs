//! Public bodies: fixed templates in clear, without caller text, that a
//! verifier must understand without any key. Each is a deterministic CBOR map
//! `{0: schema, 1..: fields}`; `spec/bodies.yaml` lists them.

use crate::cbor::{Reader, Writer};
use crate::hash::Hash;
use crate::{Kind, Malformed};
use alloc::vec::Vec;

/// Schema number of every public body of protocol v1.
const SCHEMA: u64 = 1;

const fn bad(why: &'static str) -> Malformed {
    Malformed::new("public body", why)
}

/// A decoded public body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicBody<'a> {
    /// `log.adopt`
    Adopt(Adopted),
    /// `log.genesis`
    Genesis {
        /// DID log of the system actor: one line.
        did_log: &'a [u8],
        /// Public key that signs the log's checkpoints.
        log_key: [u8; 32],
        /// The database the log was made in.
        database: [u8; 16],
        /// HMAC of the tenant's name under a key outside the log.
        tenant: Hash,
    },
    /// `log.key`
    LogKey {
        /// Public key that signs the log's checkpoints from the leaf after next on.
        key: [u8; 32],
    },
    /// `anchor`
    Anchor {
        /// What the checkpoint is here for: [`PublicBody::COSIGNED`],
        /// [`PublicBody::TIME_STAMPED`] or [`PublicBody::BRIDGE`].
        kind: u64,
        /// A checkpoint of this log, with the cosignatures of witnesses.
        note: &'a [u8],
        /// Of a time-stamp the token (RFC 3161); otherwise empty.
        token: &'a [u8],
    },
    /// `identity.entry`
    Entry {
        /// The actor's whole DID log so far.
        did_log: &'a [u8],
    },
    /// `identity.recover`
    Recover {
        /// The actor's whole DID log so far.
        did_log: &'a [u8],
        /// `aseq` of the last event that the actor still stands by.
        trusted: u64,
    },
    /// `epoch.open`
    EpochOpen {
        /// The key that will sign.
        key: [u8; 32],
        /// Version of the DID log whose actor key signed the certificate.
        version: u64,
        /// Last millisecond at which the key speaks.
        not_after: u64,
        /// Signature of the actor key over [`epoch_certificate`].
        certificate: [u8; 64],
        /// Epochs (by `aseq`) of processes that are proven to be gone.
        ends: Vec<u64>,
    },
    /// `epoch.close`
    EpochClose,
    /// `epoch.revoke`
    EpochRevoke {
        /// `aseq` of the epoch that ends.
        epoch: u64,
        /// `aseq` of the last event up to which the epoch is trusted.
        trusted: u64,
    },
    /// `erase`
    Erase {
        /// Why.
        reason: u64,
        /// How many events lost their content; the header's refs name them.
        count: u64,
        /// Their positions, in the order of the refs: they spare a reader the
        /// search. What decides is the leaf hash.
        positions: Vec<u64>,
        /// Keyed tags of the ids of records that are gone with them, 16 bytes
        /// each: whoever asks for one by its id is told that it was erased.
        records: &'a [u8],
        /// Their idempotency tags, 16 bytes each: a second append, or import,
        /// under one of them is told that the first was erased.
        once: &'a [u8],
        /// Keyed tags of subjects of whom nothing is left, 16 bytes each.
        subjects: &'a [u8],
    },
    /// `erase.done`
    EraseDone {
        /// How many `erase` events it speaks of; the header's refs name them.
        count: u64,
        /// Their positions, in the order of the refs.
        positions: Vec<u64>,
    },
    /// `import.open`
    ImportOpen {
        /// Keyed tag of the source.
        source: Hash,
        /// Length of the source in bytes.
        bytes: u64,
        /// Format number.
        format: u64,
    },
    /// `import`
    Import {
        /// Keyed tag of the source.
        source: Hash,
        /// Records kept as they were.
        kept: u64,
        /// Records kept after a repair.
        repaired: u64,
        /// Records refused.
        refused: u64,
        /// Events appended.
        events: u64,
    },
}

/// A log that another one goes on from: its state then, which is its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Its id.
    pub log: [u8; 16],
    /// Number of its leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// [`Adopted::ROLLED_BACK`], [`Adopted::FORKED`] or [`Adopted::IMPORTED`].
    pub cause: u64,
}

impl Adopted {
    /// It had fewer leaves than its owner had seen.
    pub const ROLLED_BACK: u64 = 1;
    /// It had other leaves than its owner had seen.
    pub const FORKED: u64 = 2;
    /// It is of another database and was brought here, to be read: the log that
    /// names it had begun by itself.
    pub const IMPORTED: u64 = 3;
    /// So many may be brought into one log.
    pub const MAX_IMPORTED: usize = 256;
}

/// The bytes an actor key signs to let an epoch key speak for it.
#[must_use]
pub fn epoch_certificate(log: &[u8; 16], actor: &Hash, key: &[u8; 32], version: u64, not_after: u64) -> Vec<u8> {
    let mut w = Writer::with_capacity(128);
    w.array(6).text("mdna.v1.epoch").bytes(log).bytes(actor).bytes(key).uint(version).uint(not_after);
    w.into_bytes()
}

impl<'a> PublicBody<'a> {
    /// An anchor by witnesses: their lines stand in its note.
    pub const COSIGNED: u64 = 1;
    /// An anchor by a time-stamping authority.
    pub const TIME_STAMPED: u64 = 2;
    /// An anchor that bridges to the key which the leaf before it brings.
    pub const BRIDGE: u64 = 3;

    /// The kind whose body this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Genesis { .. } => Kind::LOG_GENESIS,
            Self::Adopt(_) => Kind::LOG_ADOPT,
            Self::LogKey { .. } => Kind::LOG_KEY,
            Self::Anchor { .. } => Kind::ANCHOR,
            Self::Entry { .. } => Kind::IDENTITY_ENTRY,
            Self::Recover { .. } => Kind::IDENTITY_RECOVER,
            Self::EpochRevoke { .. } => Kind::EPOCH_REVOKE,
            Self::EpochOpen { .. } => Kind::EPOCH_OPEN,
            Self::EpochClose => Kind::EPOCH_CLOSE,
            Self::Erase { .. } => Kind::ERASE,
            Self::EraseDone { .. } => Kind::ERASE_DONE,
            Self::ImportOpen { .. } => Kind::IMPORT_OPEN,
            Self::Import { .. } => Kind::IMPORT,
        }
    }

    /// The only byte form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        let start = |w: &mut Writer, fields: usize| {
            w.map(fields + 1).uint(0).uint(SCHEMA);
        };
        match self {
            Self::Genesis { did_log, log_key, database, tenant } => {
                start(&mut w, 4);
                w.uint(1).bytes(did_log).uint(2).bytes(log_key).uint(3).bytes(database).uint(4).bytes(tenant);
            }
            Self::Adopt(Adopted { log, size, root, cause }) => {
                start(&mut w, 4);
                w.uint(1).bytes(log).uint(2).uint(*size).uint(3).bytes(root).uint(4).uint(*cause);
            }
            Self::LogKey { key } => {
                start(&mut w, 1);
                w.uint(1).bytes(key);
            }
            Self::Anchor { kind, note, token } => {
                start(&mut w, 3);
                w.uint(1).uint(*kind).uint(2).bytes(note).uint(3).bytes(token);
            }
            Self::Entry { did_log } => {
                start(&mut w, 1);
                w.uint(1).bytes(did_log);
            }
            Self::EpochOpen { key, version, not_after, certificate, ends } => {
                start(&mut w, 5);
                w.uint(1).bytes(key).uint(2).uint(*version).uint(3).uint(*not_after).uint(4).bytes(certificate);
                w.uint(5);
                put_list(&mut w, ends);
            }
            Self::EpochClose => start(&mut w, 0),
            Self::Recover { did_log, trusted } => {
                start(&mut w, 2);
                w.uint(1).bytes(did_log).uint(2).uint(*trusted);
            }
            Self::EpochRevoke { epoch, trusted } => {
                start(&mut w, 2);
                w.uint(1).uint(*epoch).uint(2).uint(*trusted);
            }
            Self::Erase { reason, count, positions, records, once, subjects } => {
                start(&mut w, 6);
                w.uint(1).uint(*reason).uint(2).uint(*count).uint(3);
                put_list(&mut w, positions);
                w.uint(4).bytes(records).uint(5).bytes(once).uint(6).bytes(subjects);
            }
            Self::EraseDone { count, positions } => {
                start(&mut w, 2);
                w.uint(1).uint(*count).uint(2);
                put_list(&mut w, positions);
            }
            Self::ImportOpen { source, bytes, format } => {
                start(&mut w, 3);
                w.uint(1).bytes(source).uint(2).uint(*bytes).uint(3).uint(*format);
            }
            Self::Import { source, kept, repaired, refused, events } => {
                start(&mut w, 5);
                w.uint(1).bytes(source).uint(2).uint(*kept).uint(3).uint(*repaired);
                w.uint(4).uint(*refused).uint(5).uint(*events);
            }
        }
        w.into_bytes()
    }

    /// Reads the body of an event of `kind`; `None` for a kind whose template
    /// this version does not know.
    ///
    /// # Errors
    /// If the bytes are not of the kind's template.
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut r = Fields { reader: Reader::new(bytes), left: 0, last: None };
        r.left = r.reader.map()?;
        if r.field(0)?.uint()? != SCHEMA {
            return Err(bad("is of an unknown schema"));
        }
        let body = match kind {
            Kind::LOG_GENESIS => Self::Genesis {
                did_log: r.field(1)?.bytes()?,
                log_key: r.field(2)?.array_of()?,
                database: r.field(3)?.array_of()?,
                tenant: r.field(4)?.array_of()?,
            },
            Kind::LOG_ADOPT => Self::Adopt(Adopted {
                log: r.field(1)?.array_of()?,
                size: r.field(2)?.uint()?,
                root: r.field(3)?.array_of()?,
                cause: r.field(4)?.uint()?,
            }),
            Kind::LOG_KEY => Self::LogKey { key: r.field(1)?.array_of()? },
            Kind::ANCHOR => Self::Anchor { kind: r.field(1)?.uint()?, note: r.field(2)?.bytes()?, token: r.field(3)?.bytes()? },
            Kind::IDENTITY_ENTRY => Self::Entry { did_log: r.field(1)?.bytes()? },
            Kind::EPOCH_OPEN => Self::EpochOpen {
                key: r.field(1)?.array_of()?,
                version: r.field(2)?.uint()?,
                not_after: r.field(3)?.uint()?,
                certificate: r.field(4)?.array_of()?,
                ends: r.list(5)?,
            },
            Kind::EPOCH_CLOSE => Self::EpochClose,
            Kind::ERASE => Self::Erase {
                reason: r.field(1)?.uint()?,
                count: r.field(2)?.uint()?,
                positions: r.list(3)?,
                records: r.tags(4)?,
                once: r.tags(5)?,
                subjects: r.tags(6)?,
            },
            Kind::ERASE_DONE => Self::EraseDone { count: r.field(1)?.uint()?, positions: r.list(2)? },
            Kind::IDENTITY_RECOVER => Self::Recover { did_log: r.field(1)?.bytes()?, trusted: r.field(2)?.uint()? },
            Kind::EPOCH_REVOKE => Self::EpochRevoke { epoch: r.field(1)?.uint()?, trusted: r.field(2)?.uint()? },
            Kind::IMPORT_OPEN => {
                Self::ImportOpen { source: r.field(1)?.array_of()?, bytes: r.field(2)?.uint()?, format: r.field(3)?.uint()? }
            }
            Kind::IMPORT => Self::Import {
                source: r.field(1)?.array_of()?,
                kept: r.field(2)?.uint()?,
                repaired: r.field(3)?.uint()?,
                refused: r.field(4)?.uint()?,
                events: r.field(5)?.uint()?,
            },
            _ => return Ok(None),
        };
        if r.left != 0 {
            return Err(bad("has fields its template does not have"));
        }
        r.reader.end()?;
        Ok(Some(body))
    }
}

/// Walks the numbered fields of a template.
struct Fields<'a> {
    reader: Reader<'a>,
    left: usize,
    last: Option<u64>,
}

impl<'a> Fields<'a> {
    fn field(&mut self, number: u64) -> Result<&mut Reader<'a>, Malformed> {
        if self.left == 0 || self.reader.key(&mut self.last)? != number {
            return Err(bad("lacks a field of its template"));
        }
        self.left -= 1;
        Ok(&mut self.reader)
    }

    fn list(&mut self, number: u64) -> Result<Vec<u64>, Malformed> {
        let list = self.field(number)?;
        let n = list.array()?;
        (0..n).map(|_| list.uint()).collect()
    }

    fn tags(&mut self, number: u64) -> Result<&'a [u8], Malformed> {
        let bytes = self.field(number)?.bytes()?;
        if bytes.len().is_multiple_of(16) { Ok(bytes) } else { Err(bad("holds a tag that is not 16 bytes")) }
    }
}

fn put_list(w: &mut Writer, numbers: &[u64]) {
    w.array(numbers.len());
    numbers.iter().for_each(|n| {
        w.uint(*n);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_template_round_trips() {
        let all = [
            PublicBody::Genesis { did_log: b"x\n", log_key: [1; 32], database: [2; 16], tenant: [3; 32] },
            PublicBody::Entry { did_log: b"{}\n" },
            PublicBody::Anchor { kind: PublicBody::COSIGNED, note: b"note\n", token: b"" },
            PublicBody::LogKey { key: [4; 32] },
            PublicBody::Adopt(Adopted { log: [5; 16], size: 7, root: [6; 32], cause: Adopted::ROLLED_BACK }),
            PublicBody::EpochOpen { key: [1; 32], version: 1, not_after: 9, certificate: [4; 64], ends: alloc::vec![3, 9] },
            PublicBody::EpochClose,
            PublicBody::Erase {
                reason: 1,
                count: 2,
                positions: alloc::vec![3, 70_000],
                records: &[8; 32],
                once: &[9; 16],
                subjects: &[7; 16],
            },
            PublicBody::EraseDone { count: 1, positions: alloc::vec![5] },
            PublicBody::Recover { did_log: b"{}\n", trusted: 4 },
            PublicBody::EpochRevoke { epoch: 2, trusted: 300 },
            PublicBody::ImportOpen { source: [7; 32], bytes: 10, format: 1 },
            PublicBody::Import { source: [7; 32], kept: 1, repaired: 2, refused: 3, events: 4 },
        ];
        for body in all {
            let bytes = body.encode();
            assert_eq!(PublicBody::decode(body.kind(), &bytes), Ok(Some(body.clone())));
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(PublicBody::decode(body.kind(), &longer).is_err());
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(kind in 0u64..24, bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = PublicBody::decode(Kind(kind), &bytes);
        }
    }
}
