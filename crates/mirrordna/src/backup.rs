//! Exporting a whole database and restoring it into an empty one, with the
//! same log ids, leaves, roots and records.
//!
//! An export is a sequence of frames, each a big-endian 32-bit length and a
//! deterministic CBOR item: the magic as text, then an array each for logs,
//! subjects and events, then one with a SHA-256 over everything before it. Contents and their wrapped secrets are
//! exported as they are stored; keys are not: whoever restores needs the keyring
//! of the database to read it, and nothing to verify it.
//!
//! ```
//! # use mirrordna::{Engine, IdentityType, Keys, Witness};
//! # let dir = tempfile::tempdir().unwrap();
//! # let (old, new) = (dir.path().join("m.db"), dir.path().join("restored.db"));
//! # let open = |p: &std::path::Path| Engine::builder(p.to_str().unwrap()).keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off);
//! # let engine = open(&old).open()?;
//! let agent = engine.identities().create(IdentityType::Agent)?;
//! let memory = agent.memories().add("Prefers trains to planes").send()?;
//!
//! let mut file = Vec::new(); // or a std::fs::File
//! let exported = engine.export(&mut file)?;
//! let restored = open(&new).restore(&mut file.as_slice())?;
//! assert_eq!(exported, restored);
//! assert_eq!(open(&new).open()?.memories().get(&memory.id)?.content, "Prefers trains to planes");
//! # Ok::<(), mirrordna::Error>(())
//! ```

use crate::builder::Builder;
use crate::commit::Job;
use crate::engine::Engine;
use crate::import::Progress;
use crate::input;
use crate::verify::{Finding, Outside, REPORT_EVERY, Scope, VerifyReport};
use mirrordna_core::timeline::Tree;
use mirrordna_core::verify::Policy;
use mirrordna_core::verify::cbor::{Reader, Type, Writer};
use mirrordna_core::verify::leaf;
use mirrordna_core::{Code, Error, Hash, Leaf, Result, limits};
use mirrordna_storage::{EventRow, LogRow, MemoryStore, Store, SubjectRow, WriteTx};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, Write};
use std::path::Path;

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
            w.array(9).uint(tag::LOG).uint(u64::from(row.number)).bytes(&row.id).uint(row.size).uint(row.time);
            w.bytes(&row.frontier).text(&row.checkpoint).bytes(&row.signed_frontier);
            match row.successor {
                Some(number) => w.uint(u64::from(number)),
                None => w.null(),
            };
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

fn unreadable(e: std::io::Error) -> Error {
    Error::new(Code::StoreIo, "cannot read the export").caused_by(e)
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
        let cut = |e: std::io::Error| match e.kind() {
            ErrorKind::UnexpectedEof => damaged("ends early"),
            _ => unreadable(e),
        };
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
        (tag::LOG, 9) => Frame::Log(LogRow {
            number: small(r.uint()?)?,
            id: r.array_of()?,
            size: r.uint()?,
            time: r.uint()?,
            frontier: r.bytes()?.to_vec(),
            checkpoint: r.text()?.to_owned(),
            signed_frontier: r.bytes()?.to_vec(),
            successor: if r.peek()? == Type::Uint { Some(small(r.uint()?)?) } else { r.simple().map(|_| None)? },
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
    tree: Tree,
    /// Index of each actor's last leaf.
    heads: BTreeMap<Hash, u64>,
}

impl Returning {
    fn take(&mut self, tx: &mut dyn WriteTx, index: u64, event: &EventRow) -> Result<()> {
        if index != self.tree.size() {
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
        // A leaf that is malformed has no actor; verification names it.
        if let Ok(leaf) = Leaf::decode(&event.leaf) {
            self.heads.insert(leaf.header.actor, index);
        }
        match self.tree.push(leaf::hash(&event.leaf)) {
            Some((number, tile)) => crate::commit::put_tiles(tx, self.row.number, number, &tile),
            None => Ok(()),
        }
    }

    fn finish(&self, tx: &mut dyn WriteTx) -> Result<()> {
        self.heads.iter().try_for_each(|(actor, last)| tx.put_head(self.row.number, actor, *last))?;
        tx.put_log(&self.row)
    }
}

/// The frames of an export on their way into a store.
struct Loader<'a> {
    source: Source<'a>,
    logs: BTreeMap<u32, Returning>,
    subjects: HashSet<(u32, Vec<u8>)>,
    numbers: HashSet<u64>,
    events: u64,
    ended: bool,
}

impl Loader<'_> {
    /// Takes the next frame.
    fn step(&mut self, tx: &mut dyn WriteTx) -> Result<()> {
        let (bytes, before) = self.source.frame()?;
        match decode(&bytes).map_err(|e| damaged("holds a malformed frame").caused_by(e))? {
            Frame::Log(row) => {
                let log = Returning { row, tree: Tree::default(), heads: BTreeMap::new() };
                if self.logs.insert(log.row.number, log).is_some() {
                    return Err(damaged("holds a log twice"));
                }
            }
            Frame::Subject(row) => {
                if !self.logs.contains_key(&row.log) {
                    return Err(damaged("holds a subject of no log"));
                }
                if row.number == 0 || !self.numbers.insert(row.number) || !self.subjects.insert((row.log, row.tag.clone())) {
                    return Err(damaged("holds a subject twice"));
                }
                tx.put_subject(&row)?;
            }
            Frame::Event(log, index, event) => {
                let log = self.logs.get_mut(&log).ok_or_else(|| damaged("holds an event of no log"))?;
                log.take(tx, index, &event)?;
                self.events += 1;
            }
            Frame::End(count, digest) => {
                if count != self.events || digest != before {
                    return Err(damaged("is not whole: its digest does not match"));
                }
                if self.source.input.read(&mut [0]).map_err(unreadable)? != 0 {
                    return Err(damaged("goes on after its end"));
                }
                self.ended = true;
            }
        }
        Ok(())
    }
}

/// What came of reading an export into a store.
pub(crate) struct Loaded {
    pub(crate) moved: Moved,
    /// Why the file is no whole export; what stands before that was loaded.
    pub(crate) damage: Option<Error>,
}

/// Reads an export into a store that holds nothing. What it says is taken as it
/// is: to judge it is for who verifies the store.
pub(crate) fn load(store: &dyn Store, input: &mut dyn Read) -> Result<Loaded> {
    let mut source = Source { input, digest: Sha256::new(), bytes: 0 };
    let (first, _) = source.frame()?;
    if Reader::new(&first).text() != Ok(MAGIC) {
        return Err(damaged("does not begin as an export of this version"));
    }
    let mut loader = Loader { source, logs: BTreeMap::new(), subjects: HashSet::new(), numbers: HashSet::new(), events: 0, ended: false };
    let mut damage = None;
    while !loader.ended && damage.is_none() {
        store.write(&mut |tx| {
            for _ in 0..BATCH {
                match loader.step(tx) {
                    Err(e) if e.code() == Code::ExportInvalid => damage = Some(e),
                    done => done?,
                }
                if loader.ended || damage.is_some() {
                    // The rows come last: without them there is no log.
                    return loader.logs.values().try_for_each(|log| log.finish(tx));
                }
            }
            Ok(())
        })?;
    }
    let moved = Moved { logs: loader.logs.len() as u64, events: loader.events, bytes: loader.source.bytes };
    Ok(Loaded { moved, damage })
}

/// The file at `path`, if it begins as an export does. To be asked only of what
/// is no database: opening and closing a database beside SQLite cancels its
/// locks.
pub(crate) fn recognise(path: &Path) -> Option<File> {
    let mut w = Writer::default();
    w.text(MAGIC);
    let magic = w.into_bytes();
    let mut begins = vec![0; 4 + magic.len()];
    let mut file = input::open(path, "an export", Code::ImportUnreadable).ok()?;
    file.read_exact(&mut begins).ok()?;
    let (length, name) = begins.split_at(4);
    file.rewind().ok()?;
    (length == (magic.len() as u32).to_be_bytes() && name == magic).then_some(file)
}

/// Verifies an export as the database that it holds, which is built in memory.
pub(crate) fn verify(export: File, path: &Path, builder: &Builder, progress: Progress<'_>) -> Result<VerifyReport> {
    let store = MemoryStore::new();
    let loaded = load(&store, &mut BufReader::with_capacity(1 << 20, export))?;
    let mut report = crate::file::verify_store(&store, path, builder, progress)?;
    if let Some(e) = loaded.damage {
        report.add(Finding { code: e.code().name().to_owned(), place: "export".to_owned(), message: e.message().to_owned() });
    }
    Ok(report)
}

/// Restores an export into a store that holds nothing, and verifies that with
/// the keys that are here. The head witness is not asked: an export is older
/// than what it was taken of, and may well be restored for that.
fn restore(store: &dyn Store, input: &mut dyn Read, builder: &Builder) -> Result<Moved> {
    let loaded = load(store, input)?;
    if let Some(damage) = loaded.damage {
        return Err(damage);
    }
    let keyring = crate::file::keyring(store, builder)?;
    let outside = Outside { policy: &Policy::default(), kept: &[] };
    let report = crate::verify::database(store, keyring.as_deref(), outside, None, Scope::Everything, &mut |_, _| {})?;
    match report.problems.first() {
        Some(first) => {
            let message = format!("the export was altered: {} at {}: {}", first.code, first.place, first.message);
            Err(Error::new(Code::Altered, message).with_hint("`mirrordna verify FILE` lists all that was altered. Take another copy."))
        }
        None => Ok(loaded.moved),
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
        if !self.inner.read_only && !self.inner.is_closed() {
            // Whoever adopts the export asks that its log vouches for all of it,
            // and nobody signs there any more what is not signed now.
            self.inner.tend()?;
            for log in self.inner.open_logs().into_iter().filter(|log| log.signing().is_some()) {
                self.inner.committer.append(Job { log, items: Vec::new(), checkpoint: true })?;
            }
        }
        // What erasures left besides the rows is not in an export; that it is
        // gone ought to be. Where that cannot be said, the export is as good.
        if !self.inner.read_only {
            let _said_later = self.settle_erasures();
        }
        export(&*self.inner.store, out, progress)
    }
}

impl Builder {
    /// Restores an export into a new database: the same log ids, leaves, roots
    /// and records. It is made beside the place where it is to be, as
    /// `PATH.restoring`, verified there, with its keyring where that is here, and
    /// only then put in its place. What does not hold is removed again; what a
    /// killed process left, by the next restore into that place.
    ///
    /// # Errors
    /// `store.in_use` where the database exists or is being restored,
    /// `export.invalid`, `log.altered`, `key.passphrase`, `store.*`.
    pub fn restore(self, input: &mut dyn Read) -> Result<Moved> {
        let making = self.making()?;
        let store = making.store()?;
        let moved = restore(&*store, input, &self)?;
        drop(store);
        making.finish()?;
        Ok(moved)
    }
}
