//! Exporting a whole database and restoring it into an empty one, with the
//! same log ids, leaves, roots and records.
//!
//! An export is a sequence of frames, each a big-endian 32-bit length and a
//! deterministic CBOR item: the magic as text, then an array each for logs,
//! subjects and events, then one with a SHA-256 over everything before it. Contents and their wrapped secrets are
//! exported as they are stored; keys are not: whoever restores needs the keyring
//! of the database to read it, and nothing to verify it.

use crate::builder::Builder;
use crate::engine::Engine;
use crate::import::Progress;
use crate::verify::REPORT_EVERY;
use mirrordna_core::timeline::Tree;
use mirrordna_core::verify::cbor::{Reader, Type, Writer};
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::verify::{Ledger, Trust, Verdict, leaf};
use mirrordna_core::{Code, Error, Hash, Result, limits};
use mirrordna_storage::{EventRow, LogRow, Store, SubjectRow, WriteTx};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// First frame of every export.
const MAGIC: &str = "mdna.bk1";
/// No frame is longer: a leaf and a body, padded, with their limits.
const MAX_FRAME: usize = 2 * limits::PART;
/// Events per transaction of a restore.
const BATCH: usize = 2_000;

mod tag {
    pub(super) const LOG: u64 = 0;
    pub(super) const SUBJECT: u64 = 1;
    pub(super) const EVENT: u64 = 2;
    pub(super) const END: u64 = 9;
}

/// What an export or a restore moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// Logs.
    pub logs: u64,
    /// Events.
    pub events: u64,
    /// Bytes of the export.
    pub bytes: u64,
}

struct Sink<'a> {
    out: &'a mut dyn Write,
    digest: Sha256,
    moved: Moved,
}

impl Sink<'_> {
    fn frame(&mut self, frame: Writer) -> Result<()> {
        let bytes = frame.into_bytes();
        if bytes.len() > MAX_FRAME {
            return Err(mirrordna_core::canon::too_long("a frame of the export", bytes.len(), MAX_FRAME));
        }
        let length = (bytes.len() as u32).to_be_bytes();
        self.digest.update(length);
        self.digest.update(&bytes);
        self.moved.bytes += 4 + bytes.len() as u64;
        let written = self.out.write_all(&length).and_then(|()| self.out.write_all(&bytes));
        written.map_err(|e| Error::new(Code::StoreIo, "cannot write the export").caused_by(e))
    }
}

fn optional(w: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => w.bytes(bytes),
        None => w.null(),
    };
}

pub(crate) fn export(store: &dyn Store, out: &mut dyn Write, progress: Progress<'_>) -> Result<Moved> {
    let mut sink = Sink { out, digest: Sha256::new(), moved: Moved::default() };
    store.read(&mut |tx| {
        let mut w = Writer::default();
        w.text(MAGIC);
        sink.frame(w)?;
        let logs = tx.logs()?;
        for row in &logs {
            let mut w = Writer::default();
            w.array(8).uint(tag::LOG).uint(u64::from(row.number)).bytes(&row.id).uint(row.size).uint(row.time);
            w.bytes(&row.frontier).text(&row.checkpoint).bytes(&row.signed_frontier);
            sink.frame(w)?;
            sink.moved.logs += 1;
        }
        tx.subjects(&mut |row| {
            let mut w = Writer::default();
            w.array(5).uint(tag::SUBJECT).uint(row.number).uint(u64::from(row.log)).bytes(&row.tag).bytes(&row.key);
            sink.frame(w)
        })?;
        let total = logs.iter().map(|row| row.size).fold(0, u64::saturating_add);
        for row in &logs {
            tx.scan(row.number, 0..row.size, &mut |event| {
                if sink.moved.events.is_multiple_of(REPORT_EVERY) {
                    progress(sink.moved.events, total);
                }
                let mut w = Writer::with_capacity(512);
                w.array(7).uint(tag::EVENT).uint(u64::from(row.number)).uint(event.index).bytes(event.leaf);
                optional(&mut w, event.body);
                match event.secret {
                    Some((subject, wrapped)) => w.uint(subject).bytes(wrapped),
                    None => w.null().null(),
                };
                sink.moved.events += 1;
                sink.frame(w)
            })?;
        }
        Ok(())
    })?;
    let digest: Hash = sink.digest.clone().finalize().into();
    let mut w = Writer::default();
    w.array(3).uint(tag::END).uint(sink.moved.events).bytes(&digest);
    sink.frame(w)?;
    Ok(sink.moved)
}

fn damaged(why: &str) -> Error {
    Error::new(Code::ExportInvalid, format!("the export {why}"))
}

/// Reads frames, keeping the digest of those before.
struct Source<'a> {
    input: &'a mut dyn Read,
    digest: Sha256,
    bytes: u64,
}

impl Source<'_> {
    /// The next frame and the digest of everything before it.
    fn frame(&mut self) -> Result<(Vec<u8>, Hash)> {
        let before: Hash = self.digest.clone().finalize().into();
        let cut = |e: std::io::Error| damaged("ends early").caused_by(e);
        let mut length = [0; 4];
        self.input.read_exact(&mut length).map_err(cut)?;
        let n = u32::from_be_bytes(length) as usize;
        if n > MAX_FRAME {
            return Err(damaged("holds a frame beyond the limit, or is no export"));
        }
        let mut frame = vec![0; n];
        self.input.read_exact(&mut frame).map_err(cut)?;
        self.digest.update(length);
        self.digest.update(&frame);
        self.bytes += 4 + n as u64;
        Ok((frame, before))
    }
}

enum Frame {
    Log(LogRow),
    Subject(SubjectRow),
    Event(u32, u64, EventRow),
    End(u64, Hash),
}

fn read_optional(r: &mut Reader<'_>) -> Result<Option<Vec<u8>>> {
    Ok(match r.peek()? {
        Type::Simple => {
            r.simple()?;
            None
        }
        _ => Some(r.bytes()?.to_vec()),
    })
}

fn decode(bytes: &[u8]) -> Result<Frame> {
    let mut r = Reader::new(bytes);
    let fields = r.array()?;
    let small = |n: u64| u32::try_from(n).map_err(|_| damaged("numbers a log beyond the limit"));
    let frame = match (r.uint()?, fields) {
        (tag::LOG, 8) => Frame::Log(LogRow {
            number: small(r.uint()?)?,
            id: r.array_of()?,
            size: r.uint()?,
            time: r.uint()?,
            frontier: r.bytes()?.to_vec(),
            checkpoint: r.text()?.to_owned(),
            signed_frontier: r.bytes()?.to_vec(),
        }),
        (tag::SUBJECT, 5) => {
            Frame::Subject(SubjectRow { number: r.uint()?, log: small(r.uint()?)?, tag: r.bytes()?.to_vec(), key: r.bytes()?.to_vec() })
        }
        (tag::EVENT, 7) => {
            let (log, index, leaf, body) = (small(r.uint()?)?, r.uint()?, r.bytes()?.to_vec(), read_optional(&mut r)?);
            let subject = if r.peek()? == Type::Uint { Some(r.uint()?) } else { r.simple().map(|_| None)? };
            let secret = subject.zip(read_optional(&mut r)?);
            Frame::Event(log, index, EventRow { leaf, body, secret })
        }
        (tag::END, 3) => Frame::End(r.uint()?, r.array_of()?),
        _ => return Err(damaged("holds a frame of an unknown kind")),
    };
    r.end()?;
    Ok(frame)
}

/// A log while it comes back.
struct Returning {
    row: LogRow,
    ledger: Ledger,
    tree: Tree,
    /// The tree beside the checkpoint is the one that it signs.
    signed_matches: bool,
}

/// Restores an export into a store that holds nothing.
pub(crate) fn restore(store: &dyn Store, input: &mut dyn Read) -> Result<Moved> {
    let mut source = Source { input, digest: Sha256::new(), bytes: 0 };
    let (first, _) = source.frame()?;
    if Reader::new(&first).text() != Ok(MAGIC) {
        return Err(damaged("does not begin as an export of this version"));
    }
    let mut logs: BTreeMap<u32, Returning> = BTreeMap::new();
    let mut events = 0;
    let mut done = false;
    while !done {
        store.write(&mut |tx| {
            for _ in 0..BATCH {
                let (bytes, before) = source.frame()?;
                match decode(&bytes).map_err(|e| damaged("holds a malformed frame").caused_by(e))? {
                    Frame::Log(row) => {
                        let log = Returning { row, ledger: Ledger::new(Trust::none()), tree: Tree::default(), signed_matches: false };
                        if logs.insert(log.row.number, log).is_some() {
                            return Err(damaged("holds a log twice"));
                        }
                    }
                    Frame::Subject(row) if !logs.contains_key(&row.log) => return Err(damaged("holds a subject of no log")),
                    Frame::Subject(row) => drop(tx.put_subject(&row)?),
                    Frame::Event(log, index, event) => {
                        events += 1;
                        let log = logs.get_mut(&log).ok_or_else(|| damaged("holds an event of no log"))?;
                        log.take(tx, index, &event)?;
                    }
                    Frame::End(count, digest) => {
                        if count != events || digest != before {
                            return Err(damaged("is not whole: its digest does not match"));
                        }
                        if source.input.read(&mut [0]).unwrap_or(1) != 0 {
                            return Err(damaged("goes on after its end"));
                        }
                        // The rows come last: without them there is no log.
                        for (_, log) in std::mem::take(&mut logs) {
                            log.finish(tx)?;
                        }
                        done = true;
                        return Ok(());
                    }
                }
            }
            Ok(())
        })?;
    }
    let restored = store_logs(store)?;
    Ok(Moved { logs: restored, events, bytes: source.bytes })
}

fn store_logs(store: &dyn Store) -> Result<u64> {
    let mut n = 0;
    store.read(&mut |tx| {
        n = tx.logs()?.len() as u64;
        Ok(())
    })?;
    Ok(n)
}

impl Returning {
    fn take(&mut self, tx: &mut dyn WriteTx, index: u64, event: &EventRow) -> Result<()> {
        if index != self.ledger.size() {
            return Err(damaged("lacks an event"));
        }
        let secret = match &event.secret {
            Some((subject, wrapped)) => {
                let wrapped = wrapped.as_slice().try_into().map_err(|_| damaged("holds a secret of another length"))?;
                Some((*subject, wrapped))
            }
            None => None,
        };
        tx.put_event(self.row.number, index, &event.leaf, event.body.as_deref(), secret)?;
        self.ledger.leaf(&event.leaf, event.body.as_deref().map_or(Stored::Nothing, Stored::Bytes));
        if index == 0 {
            self.ledger.checkpoint(self.row.checkpoint.as_bytes());
        }
        let tile = self.tree.push(leaf::hash(&event.leaf));
        if self.tree.frontier().to_bytes() == self.row.signed_frontier {
            self.signed_matches |= Some(self.tree.size()) == crate::verify::signed_size(&self.row);
        }
        if let Some((number, tile)) = tile {
            crate::commit::put_tiles(tx, self.row.number, number, &tile)?;
        }
        Ok(())
    }

    fn finish(self, tx: &mut dyn WriteTx) -> Result<()> {
        let Self { row, ledger, tree, signed_matches } = self;
        let own = signed_matches && tree.size() == row.size && tree.frontier().to_bytes() == row.frontier && ledger.time() == row.time;
        let heads: Vec<Hash> = ledger.actors().copied().collect();
        let mut last: BTreeMap<Hash, u64> = BTreeMap::new();
        tx.scan(row.number, 0..row.size, &mut |event| {
            last.insert(mirrordna_core::Leaf::decode(event.leaf)?.header.actor, event.index);
            Ok(())
        })?;
        let report = ledger.finish();
        if !own || report.verdict == Verdict::Altered || report.log != Some(row.id) {
            let first = report.problems.first().map(ToString::to_string).unwrap_or_default();
            return Err(Error::new(Code::Altered, format!("the export of log {} was altered: {first}", row.number)));
        }
        for actor in heads {
            tx.put_head(row.number, &actor, last.get(&actor).copied().unwrap_or(0))?;
        }
        tx.put_log(&row)
    }
}

impl Engine {
    /// Writes the whole database to `out`: all logs with contents as they are
    /// stored, one consistent state. Keys are not in it.
    ///
    /// # Errors
    /// Where the store cannot be read or `out` cannot be written.
    pub fn export(&self, out: &mut dyn Write) -> Result<Moved> {
        self.export_with(out, &mut |_, _| {})
    }

    /// The same, telling `progress` now and then how many events were written,
    /// of how many.
    ///
    /// # Errors
    /// As [`Engine::export`].
    pub fn export_with(&self, out: &mut dyn Write, progress: Progress<'_>) -> Result<Moved> {
        export(&*self.inner.store, out, progress)
    }
}

impl Builder {
    /// Restores an export into a new database: the same log ids, leaves, roots
    /// and records. Everything is verified on the way; what does not hold is
    /// not restored.
    ///
    /// # Errors
    /// `store.in_use` where the database exists, `export.invalid`, `log.altered`,
    /// `store.*`.
    pub fn restore(self, input: &mut dyn Read) -> Result<Moved> {
        let store = self.new_store()?;
        let restored = restore(&*store, input);
        drop(store);
        if restored.is_err() {
            self.remove_store();
        }
        restored
    }
}
