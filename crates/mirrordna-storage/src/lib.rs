//! The port between the engine and whatever keeps its rows.
//!
//! This crate **owns** the [`Store`] trait, an in-memory store and the
//! conformance [`kit`] that every adapter passes. It **never** interprets what
//! is stored: leaves, bodies and wrapped secrets are bytes here, and no row is
//! trusted because a store returned it.
//!
//! The port is blocking and small. A write is one closure run inside one
//! exclusive, durable transaction, so that the engine reads heads and appends
//! leaves under the same lock; there is no second way to write.

#[cfg(feature = "files")]
pub mod files;
pub mod kit;
mod memory;

pub use memory::MemoryStore;

use mirrordna_core::cipher::Wrapped;
use mirrordna_core::{Hash, Result};
use std::fmt;
use std::ops::Range;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Make a new database; it must not exist.
    Create,
    /// Open an existing database for reading and writing.
    Write,
    /// Open an existing database for reading.
    Read,
}

/// Local number of a log in its store, from 1.
pub type LogNumber = u32;

/// The one mutable row of a log. Everything in it is recomputed or checked by
/// signature when the log is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Local number.
    pub number: LogNumber,
    /// The log's id: field 1 of its headers.
    pub id: [u8; 16],
    /// Number of leaves.
    pub size: u64,
    /// Header time of the last leaf, milliseconds.
    pub time: u64,
    /// Right edge of the tree: 32 bytes per perfect subtree, largest first.
    pub frontier: Vec<u8>,
    /// Newest signed checkpoint, a C2SP note.
    pub checkpoint: String,
    /// Right edge of the tree that the checkpoint signs.
    pub signed_frontier: Vec<u8>,
    /// The log that goes on from this one, which then takes no more leaves.
    pub successor: Option<LogNumber>,
}

/// One event as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventRow {
    /// Leaf data: the header, or COSE_Sign1 over it.
    pub leaf: Vec<u8>,
    /// Stored body: the bytes of a public one, commitment and ciphertext of a
    /// private one; `None` where the event has none, or it was erased.
    pub body: Option<Vec<u8>>,
    /// Subject number and wrapped secret of a private body.
    pub secret: Option<(u64, Vec<u8>)>,
}

/// A subject's wrapped key: whoever destroys it makes all that was written
/// about that subject unreadable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRow {
    /// Local number.
    pub number: u64,
    /// Log it belongs to.
    pub log: LogNumber,
    /// Keyed tag of the subject's name.
    pub tag: Vec<u8>,
    /// The wrapped key.
    pub key: Vec<u8>,
}

/// One event, borrowed during a scan.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Index of the leaf.
    pub index: u64,
    /// Leaf data.
    pub leaf: &'a [u8],
    /// Stored body.
    pub body: Option<&'a [u8]>,
    /// Subject number and wrapped secret.
    pub secret: Option<(u64, &'a [u8])>,
}

/// What a scan that leaves private bodies unread says of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlined<'a> {
    /// There is none.
    Absent,
    /// The bytes of one without a secret beside it, as public ones are.
    Clear(&'a [u8]),
    /// The length of one with a secret beside it.
    Sealed(u64),
}

/// One event without its private body, borrowed during a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline<'a> {
    /// Index of the leaf.
    pub index: u64,
    /// Leaf data.
    pub leaf: &'a [u8],
    /// What there is of a body.
    pub body: Outlined<'a>,
    /// Whether a subject and a wrapped secret are there.
    pub secret: bool,
}

/// Reads of one consistent state.
pub trait ReadTx {
    /// All logs, by number.
    ///
    /// # Errors
    /// As every method here: when the store cannot be read.
    fn logs(&self) -> Result<Vec<LogRow>>;

    /// One log.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn log(&self, number: LogNumber) -> Result<Option<LogRow>>;

    /// Index of an actor's last leaf in a log.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn head(&self, log: LogNumber, actor: &Hash) -> Result<Option<u64>>;

    /// All actors of a log with the index of their last leaf, in any order.
    ///
    /// # Errors
    /// When the store cannot be read, or what `each` returns.
    fn heads(&self, log: LogNumber, each: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()>;

    /// Leaf data.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn leaf(&self, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>>;

    /// One event.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn event(&self, log: LogNumber, index: u64) -> Result<Option<EventRow>>;

    /// The leaves of a range that exist, in order, with bodies and secrets.
    ///
    /// # Errors
    /// When the store cannot be read, or what `each` returns.
    fn scan(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()>;

    /// The leaves of a range that exist, in order, without their private bodies
    /// and secrets: what need not be read of the rows is not.
    ///
    /// # Errors
    /// When the store cannot be read, or what `each` returns.
    fn outline(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Outline<'_>) -> Result<()>) -> Result<()> {
        self.scan(log, range, &mut |row| {
            let body = match row.body {
                None => Outlined::Absent,
                Some(bytes) if row.secret.is_some() => Outlined::Sealed(bytes.len() as u64),
                Some(bytes) => Outlined::Clear(bytes),
            };
            each(Outline { index: row.index, leaf: row.leaf, body, secret: row.secret.is_some() })
        })
    }

    /// A subject by the tag of its name.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn subject(&self, log: LogNumber, tag: &Hash) -> Result<Option<SubjectRow>>;

    /// A subject by its number.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn subject_numbered(&self, number: u64) -> Result<Option<SubjectRow>>;

    /// All subjects of all logs, by number.
    ///
    /// # Errors
    /// When the store cannot be read, or what `each` returns.
    fn subjects(&self, each: &mut dyn FnMut(SubjectRow) -> Result<()>) -> Result<()>;

    /// The 256 hashes of a full tile (C2SP tlog-tiles).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn tile(&self, log: LogNumber, level: u8, number: u64) -> Result<Option<Vec<u8>>>;

    /// A block of derived data, as [`WriteTx::put_cache`] kept it. Derived data
    /// may be gone at any time.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn cache(&self, log: LogNumber, segment: u32, block: u32) -> Result<Option<Vec<u8>>>;

    /// Rows that belong to nothing: events and tiles beyond the size of their
    /// log, rows of unknown logs. Each as a place for a report.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn strays(&self) -> Result<Vec<String>>;
}

/// Writes inside one exclusive transaction; reads see them.
pub trait WriteTx: ReadTx {
    /// Inserts or replaces the row of a log.
    ///
    /// # Errors
    /// As every method here: when the store cannot be written.
    fn put_log(&mut self, row: &LogRow) -> Result<()>;

    /// Sets the index of an actor's last leaf.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn put_head(&mut self, log: LogNumber, actor: &Hash, index: u64) -> Result<()>;

    /// Adds an event; its index must be free. A secret is a subject's number
    /// and the secret wrapped under that subject's key.
    ///
    /// # Errors
    /// When the index is taken or the store cannot be written.
    fn put_event(&mut self, log: LogNumber, index: u64, leaf: &[u8], body: Option<&[u8]>, secret: Option<(u64, &Wrapped)>) -> Result<()>;

    /// Adds a subject and returns its number; number 0 asks for a fresh one.
    ///
    /// # Errors
    /// When the tag or number is taken or the store cannot be written.
    fn put_subject(&mut self, row: &SubjectRow) -> Result<u64>;

    /// Replaces the wrapped key of a subject; one that is not there stays so.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn rewrap_subject(&mut self, number: u64, key: &[u8]) -> Result<()>;

    /// Adds a full tile.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn put_tile(&mut self, log: LogNumber, level: u8, number: u64, hashes: &[u8]) -> Result<()>;

    /// Keeps a block of derived data, replacing an earlier one. Segments are
    /// below 2^23, blocks below 2^20.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn put_cache(&mut self, log: LogNumber, segment: u32, block: u32, data: &[u8]) -> Result<()>;

    /// Drops the derived data of a log, except that of some segments.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn drop_cache(&mut self, log: LogNumber, keep: &[u32]) -> Result<()>;

    /// Destroys the body of an event and its secret; the leaf stays.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn erase_body(&mut self, log: LogNumber, index: u64) -> Result<()>;

    /// Destroys a subject's key.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn delete_subject(&mut self, number: u64) -> Result<()>;
}

/// A place that keeps logs. An adapter is right when it passes the [`kit`].
pub trait Store: Send + Sync + fmt::Debug {
    /// Runs `work` on one consistent state.
    ///
    /// # Errors
    /// What `work` returns, or when the store cannot be read.
    fn read(&self, work: &mut dyn FnMut(&dyn ReadTx) -> Result<()>) -> Result<()>;

    /// Runs `work` in one exclusive transaction. `Ok` means that everything
    /// it wrote is durable; after `Err` none of it is there, unless the code
    /// is `store.poisoned` or `store.replaced`: then the outcome is open and
    /// the store refuses further writes.
    ///
    /// # Errors
    /// What `work` returns, or when the store cannot be written.
    fn write(&self, work: &mut dyn FnMut(&mut dyn WriteTx) -> Result<()>) -> Result<()>;

    /// Physical findings of the store itself (page structure, indexes).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn check(&self) -> Result<Vec<String>>;

    /// Housekeeping that the engine calls when it is idle. Returns whether
    /// everything committed so far would survive power loss.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn maintain(&self) -> Result<bool>;

    /// Destroys what was erased wherever the store still keeps it besides its
    /// rows: in a write-ahead log, in pages that are free. Returns whether all
    /// of it is gone; where somebody reads an older state just now, it is not.
    /// A store that keeps no such copies has nothing to do.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn purge(&self) -> Result<bool>;

    /// The same for who is about to write, and must not wait for readers.
    ///
    /// # Errors
    /// As [`Store::purge`].
    fn purge_now(&self) -> Result<bool> {
        self.purge()
    }

    /// The sizes that logs had when this store was opened, if nobody else had
    /// it open then: whoever wrote what is below them is gone. Empty otherwise.
    fn left_behind(&self) -> Vec<(LogNumber, u64)>;

    /// Removes a database whose creation failed half-way: one without a log,
    /// which nobody else has open. Returns whether it is gone; after that the
    /// store can only be dropped.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn discard(&self) -> Result<bool> {
        Ok(false)
    }

    /// Where the store is, for messages.
    fn location(&self) -> String;
}
