//! Making a bundle: bytes to append to a file, in the order of the calls.

use super::{MAGIC, MAX_FRAME, MAX_LABEL, Scope, bad, tag};
use crate::Malformed;
use crate::cbor::Writer;
use crate::hash::Hash;
use crate::ledger::Stored;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// An event to be put into a bundle.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Index of the leaf.
    pub index: u64,
    /// Whether it was asked for, or only supports others.
    pub asked: bool,
    /// Leaf data.
    pub leaf: &'a [u8],
    /// What is handed out of its body.
    pub body: Stored<'a>,
    /// In a part, the proof that it is in the tree.
    pub path: Option<&'a [Hash]>,
}

/// Makes a bundle. Each call returns what is to be appended to the file.
///
/// It checks lengths only: what makes sense to put where stands in
/// `spec/PROTOCOL.md` 16.1, and [`super::Judge`] knows it.
pub struct Builder {
    digest: Sha256,
    events: u64,
}

impl Builder {
    /// Begins a bundle.
    #[must_use]
    pub fn new() -> (Self, Vec<u8>) {
        let mut digest = Sha256::new();
        digest.update(MAGIC);
        (Self { digest, events: 0 }, MAGIC.to_vec())
    }

    fn frame(&mut self, w: Writer) -> Result<Vec<u8>, Malformed> {
        let frame = w.into_bytes();
        if frame.len() > MAX_FRAME {
            return Err(bad("would have a frame beyond 2 MiB"));
        }
        let mut out = Vec::with_capacity(4 + frame.len());
        out.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        out.extend_from_slice(&frame);
        self.digest.update(&out);
        Ok(out)
    }

    /// Begins the section of a log: its id, how much of it follows, the
    /// checkpoint, and a label for people.
    ///
    /// # Errors
    /// If the label is longer than [`MAX_LABEL`], or the frame than [`MAX_FRAME`].
    pub fn section(&mut self, log: &[u8; 16], scope: Scope, checkpoint: &str, label: &str) -> Result<Vec<u8>, Malformed> {
        if label.len() > MAX_LABEL {
            return Err(bad("would have a label beyond 512 bytes"));
        }
        let mut w = Writer::with_capacity(512);
        let scope = match scope {
            Scope::Whole => 0,
            Scope::Part => 1,
        };
        w.array(5).uint(tag::SECTION).bytes(log).uint(scope).text(checkpoint).text(label);
        self.frame(w)
    }

    /// Adds a further checkpoint of the log, below the section's own; in a part
    /// with the proof that it is a prefix of that.
    ///
    /// # Errors
    /// If the frame is longer than [`MAX_FRAME`].
    pub fn checkpoint(&mut self, checkpoint: &str, proof: Option<&[Hash]>) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::with_capacity(1024);
        w.array(3).uint(tag::CHECKPOINT).text(checkpoint);
        optional(&mut w, proof.map(<[Hash]>::concat).as_deref());
        self.frame(w)
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If the frame is longer than [`MAX_FRAME`].
    pub fn event(&mut self, item: Item<'_>) -> Result<Vec<u8>, Malformed> {
        let mut w = Writer::with_capacity(512 + item.leaf.len());
        w.array(7).uint(tag::EVENT).uint(item.index).uint(u64::from(!item.asked)).bytes(item.leaf);
        let secret = match item.body {
            Stored::Nothing => {
                w.null();
                None
            }
            Stored::Unread(length) => {
                w.uint(length);
                None
            }
            Stored::Bytes(row) => {
                w.bytes(row);
                None
            }
            Stored::Opened(row, secret) => {
                w.bytes(row);
                Some(secret.as_slice())
            }
        };
        optional(&mut w, secret);
        optional(&mut w, item.path.map(<[Hash]>::concat).as_deref());
        self.events += 1;
        self.frame(w)
    }

    /// Ends the bundle.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let digest: Hash = self.digest.finalize().into();
        let mut w = Writer::with_capacity(64);
        w.array(3).uint(tag::LAST).uint(self.events).bytes(&digest);
        let frame = w.into_bytes();
        let mut out = (frame.len() as u32).to_be_bytes().to_vec();
        out.extend_from_slice(&frame);
        out
    }
}

fn optional(w: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => w.bytes(bytes),
        None => w.null(),
    };
}
