//! The port's transactions over redb's tables.
//!
//! Keys are fixed-width big-endian numbers, so that rows lie in the order of
//! the log; values are deterministic CBOR arrays, so that a row has one
//! spelling and a damaged one is an error.

use crate::error::from_redb;
use mirrordna_core::cipher::Wrapped;
use mirrordna_core::verify::Malformed;
use mirrordna_core::verify::cbor::{Reader, Type, Writer};
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::{EventRow, LogNumber, LogRow, ReadTx, Row, SubjectRow, WriteTx};
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Logs a database can hold, as in the SQLite adapter.
const MAX_LOGS: LogNumber = 1 << 20;

type Bytes = &'static [u8];
pub(crate) type Definition = TableDefinition<'static, Bytes, Bytes>;

/// `format` -> the store format.
pub(crate) const META: Definition = TableDefinition::new("mirrordna");
/// Log number -> its row.
const LOG: Definition = TableDefinition::new("log");
/// Log number, actor -> index of the actor's last leaf.
const HEAD: Definition = TableDefinition::new("head");
/// Log number, leaf index -> leaf, body, subject, secret.
const EVENT: Definition = TableDefinition::new("event");
/// Subject number -> log, tag, wrapped key.
const SUBJECT: Definition = TableDefinition::new("subject");
/// Log number, tag -> subject number. Derived from `subject`.
const SUBJECT_TAG: Definition = TableDefinition::new("cache_subject_tag");
/// Log number, segment, block -> a block of derived data.
const SEGMENT: Definition = TableDefinition::new("cache_segment");
/// Log number, level, number -> 256 hashes.
const TILE: Definition = TableDefinition::new("tile");

/// Table, key: rows that were erased, or stood beside what was, since the file
/// was last purged.
const ERASED: Definition = TableDefinition::new("cache_erased");

/// The tables of store format 1, without derived ones.
pub(crate) const EVIDENCE: [&str; 6] = ["event", "head", "log", "mirrordna", "subject", "tile"];

/// The tables, opened in one transaction.
pub(crate) struct Tx<'a, T> {
    path: &'a Path,
    log: T,
    head: T,
    event: T,
    subject: T,
    subject_tag: T,
    tile: T,
    segment: T,
    /// What goes into [`ERASED`] before the commit.
    erased: Vec<Vec<u8>>,
    /// Derived data was dropped.
    dropped: bool,
}

impl<'a, T> Tx<'a, T> {
    fn open(path: &'a Path, open: impl Fn(Definition) -> Result<T, TableError>) -> Result<Self> {
        let table = |definition| open(definition).map_err(|e| from_redb(path, "cannot open a table of", e));
        Ok(Self {
            path,
            log: table(LOG)?,
            head: table(HEAD)?,
            event: table(EVENT)?,
            subject: table(SUBJECT)?,
            subject_tag: table(SUBJECT_TAG)?,
            tile: table(TILE)?,
            segment: table(SEGMENT)?,
            erased: Vec::new(),
            dropped: false,
        })
    }

    fn err(&self, e: redb::StorageError) -> Error {
        from_redb(self.path, "cannot read or write", e)
    }
}

pub(crate) fn reading<'a>(path: &'a Path, tx: &ReadTransaction) -> Result<Tx<'a, redb::ReadOnlyTable<Bytes, Bytes>>> {
    Tx::open(path, |definition| tx.open_table(definition))
}

/// Creates the tables that are missing, which are all or none.
pub(crate) fn writing<'a, 't>(path: &'a Path, tx: &'t WriteTransaction) -> Result<Tx<'a, Table<'t, Bytes, Bytes>>> {
    Tx::open(path, |definition| tx.open_table(definition))
}

fn key2<const N: usize>(log: LogNumber, rest: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    key[..4].copy_from_slice(&log.to_be_bytes());
    key[4..].copy_from_slice(rest);
    key
}

fn event_key(log: LogNumber, index: u64) -> [u8; 12] {
    key2(log, &index.to_be_bytes())
}

fn tagged_key(log: LogNumber, tag: &[u8]) -> Result<[u8; 36]> {
    if tag.len() == 32 { Ok(key2(log, tag)) } else { Err(Error::new(Code::Altered, "a tag is not 32 bytes")) }
}

fn tile_key(log: LogNumber, level: u8, number: u64) -> [u8; 13] {
    let mut rest = [level; 9];
    rest[1..].copy_from_slice(&number.to_be_bytes());
    key2(log, &rest)
}

fn block_key(log: LogNumber, segment: u32, block: u32) -> [u8; 12] {
    key2(log, [segment.to_be_bytes(), block.to_be_bytes()].as_flattened())
}

/// The log number and the rest of a key of `N` bytes.
fn split<const N: usize>(table: &str, key: &[u8]) -> Result<(LogNumber, [u8; N])> {
    let parts = key.split_at_checked(4).and_then(|(log, rest)| Some((log.try_into().ok()?, rest.try_into().ok()?)));
    let (log, rest) = parts.ok_or_else(|| Error::new(Code::Altered, format!("a key of table {table} has {} bytes", key.len())))?;
    Ok((LogNumber::from_be_bytes(log), rest))
}

fn number(table: &str, key: &[u8]) -> Result<u64> {
    let key = key.try_into().map_err(|_| Error::new(Code::Altered, format!("a key of table {table} has {} bytes", key.len())))?;
    Ok(u64::from_be_bytes(key))
}

/// Reads a value, all of it.
fn value<'a, T>(bytes: &'a [u8], fields: usize, read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>) -> Result<T> {
    let all = || -> Result<T, Malformed> {
        let mut r = Reader::new(bytes);
        let n = r.array()?;
        if n != fields {
            return Err(Malformed::new("row", "another number of fields"));
        }
        let out = read(&mut r)?;
        r.end()?;
        Ok(out)
    };
    all().map_err(|e| Error::new(Code::Altered, "a row cannot be read").caused_by(e))
}

fn optional<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    if r.peek()? == Type::Bytes { r.bytes().map(Some) } else { null(r).map(|()| None) }
}

fn null(r: &mut Reader<'_>) -> Result<(), Malformed> {
    if r.simple()?.is_none() { Ok(()) } else { Err(Malformed::new("row", "a truth value where nothing belongs")) }
}

fn log_row(number: LogNumber, bytes: &[u8]) -> Result<LogRow> {
    value(bytes, 7, |r| {
        Ok(LogRow {
            number,
            id: r.array_of()?,
            size: r.uint()?,
            time: r.uint()?,
            frontier: r.bytes()?.to_vec(),
            checkpoint: r.text()?.to_owned(),
            signed_frontier: r.bytes()?.to_vec(),
            successor: match r.peek()? {
                Type::Uint => Some(u32::try_from(r.uint()?).map_err(|_| Malformed::new("row", "a log number beyond the limit"))?),
                _ => null(r).map(|()| None)?,
            },
        })
    })
}

fn subject_row(number: u64, bytes: &[u8]) -> Result<SubjectRow> {
    value(bytes, 3, |r| {
        let log = LogNumber::try_from(r.uint()?).map_err(|_| Malformed::new("subject", "log number"))?;
        Ok(SubjectRow { number, log, tag: r.bytes()?.to_vec(), key: r.bytes()?.to_vec() })
    })
}

/// What [`subject_row`] reads.
fn subject_bytes(subject: &SubjectRow) -> Vec<u8> {
    row(3, 92, |w| {
        w.uint(u64::from(subject.log)).bytes(&subject.tag).bytes(&subject.key);
    })
}

/// Leaf, body, and subject with secret: both there or both not.
type EventParts<'a> = (&'a [u8], Option<&'a [u8]>, Option<(u64, &'a [u8])>);

fn event_parts(bytes: &[u8]) -> Result<EventParts<'_>> {
    value(bytes, 4, |r| {
        let (leaf, body) = (r.bytes()?, optional(r)?);
        let secret = match r.peek()? {
            Type::Uint => Some((r.uint()?, r.bytes()?)),
            _ => {
                null(r)?;
                null(r)?;
                None
            }
        };
        Ok((leaf, body, secret))
    })
}

impl<T: ReadableTable<Bytes, Bytes>> Tx<'_, T> {
    fn get<O>(&self, table: &T, key: &[u8], read: impl FnOnce(&[u8]) -> Result<O>) -> Result<Option<O>> {
        table.get(key).map_err(|e| self.err(e))?.map(|found| read(found.value())).transpose()
    }

    fn each(&self, table: &T, range: Range<&[u8]>, mut work: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for entry in table.range::<&[u8]>(range).map_err(|e| self.err(e))? {
            let (key, value) = entry.map_err(|e| self.err(e))?;
            work(key.value(), value.value())?;
        }
        Ok(())
    }

    fn all(&self, table: &T, mut work: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for entry in table.iter().map_err(|e| self.err(e))? {
            let (key, value) = entry.map_err(|e| self.err(e))?;
            work(key.value(), value.value())?;
        }
        Ok(())
    }

    /// Whether the derived table says what the subjects say.
    pub(crate) fn index_agrees(&self) -> Result<bool> {
        let mut agrees = self.subject.len().map_err(|e| self.err(e))? == self.subject_tag.len().map_err(|e| self.err(e))?;
        self.all(&self.subject, |key, row| {
            let row = subject_row(number("subject", key)?, row)?;
            let named = self.get(&self.subject_tag, &tagged_key(row.log, &row.tag)?, |found| Ok(found == key))?;
            agrees &= named == Some(true);
            Ok(())
        })?;
        Ok(agrees)
    }
}

impl<T: ReadableTable<Bytes, Bytes>> ReadTx for Tx<'_, T> {
    fn logs(&self) -> Result<Vec<LogRow>> {
        let mut out = Vec::new();
        self.all(&self.log, |key, row| {
            out.push(log_row(split::<0>("log", key)?.0, row)?);
            Ok(())
        })?;
        Ok(out)
    }

    fn log(&self, number: LogNumber) -> Result<Option<LogRow>> {
        self.get(&self.log, &number.to_be_bytes(), |row| log_row(number, row))
    }

    fn head(&self, log: LogNumber, actor: &Hash) -> Result<Option<u64>> {
        self.get(&self.head, &key2::<36>(log, actor), |row| value(row, 1, Reader::uint))
    }

    fn heads(&self, log: LogNumber, each: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let Some(next) = log.checked_add(1) else { return Ok(()) };
        self.each(&self.head, &log.to_be_bytes()..&next.to_be_bytes(), |key, row| {
            each(&split::<32>("head", key)?.1, value(row, 1, Reader::uint)?)
        })
    }

    fn leaf(&self, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>> {
        self.get(&self.event, &event_key(log, index), |row| Ok(event_parts(row)?.0.to_vec()))
    }

    fn event(&self, log: LogNumber, index: u64) -> Result<Option<EventRow>> {
        self.get(&self.event, &event_key(log, index), |row| {
            let (leaf, body, secret) = event_parts(row)?;
            let secret = secret.map(|(subject, wrapped)| (subject, wrapped.to_vec()));
            Ok(EventRow { leaf: leaf.to_vec(), body: body.map(<[u8]>::to_vec), secret })
        })
    }

    fn scan(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let (from, to) = (event_key(log, range.start), event_key(log, range.end));
        self.each(&self.event, &from[..]..&to[..], |key, row| {
            let index = u64::from_be_bytes(split("event", key)?.1);
            let (leaf, body, secret) = event_parts(row)?;
            each(Row { index, leaf, body, secret })
        })
    }

    fn subject(&self, log: LogNumber, tag: &Hash) -> Result<Option<SubjectRow>> {
        let Some(key) = self.get(&self.subject_tag, &key2::<36>(log, tag), |key| Ok(key.to_vec()))? else { return Ok(None) };
        let row = self.get(&self.subject, &key, |row| subject_row(number("subject", &key)?, row))?;
        // The derived table only says where to look.
        match row {
            Some(row) if row.log == log && row.tag == tag => Ok(Some(row)),
            _ => Err(Error::new(Code::Altered, "the tag of a subject leads to another one")),
        }
    }

    fn subjects(&self, each: &mut dyn FnMut(SubjectRow) -> Result<()>) -> Result<()> {
        self.all(&self.subject, |key, row| each(subject_row(number("subject", key)?, row)?))
    }

    fn tile(&self, log: LogNumber, level: u8, number: u64) -> Result<Option<Vec<u8>>> {
        self.get(&self.tile, &tile_key(log, level, number), |row| Ok(row.to_vec()))
    }

    fn subject_numbered(&self, wanted: u64) -> Result<Option<SubjectRow>> {
        self.get(&self.subject, &wanted.to_be_bytes(), |row| subject_row(wanted, row))
    }

    fn cache(&self, log: LogNumber, segment: u32, block: u32) -> Result<Option<Vec<u8>>> {
        self.get(&self.segment, &block_key(log, segment, block), |row| Ok(row.to_vec()))
    }

    fn strays(&self) -> Result<Vec<String>> {
        let sizes: BTreeMap<LogNumber, u64> = self.logs()?.into_iter().map(|row| (row.number, row.size)).collect();
        let mut out = Vec::new();
        // Only what lies between the logs' own ranges is read.
        let mut from = event_key(0, 0);
        for (log, size) in &sizes {
            let (first, end) = (event_key(*log, 0), event_key(*log, *size));
            self.each(&self.event, &from[..]..&first[..], |key, _| stray(&mut out, "event", key))?;
            from = end;
        }
        let rest = self.event.range::<&[u8]>(&from[..]..).map_err(|e| self.err(e))?;
        for entry in rest {
            stray(&mut out, "event", entry.map_err(|e| self.err(e))?.0.value())?;
        }
        self.all(&self.subject, |key, row| {
            let known = subject_row(number("subject", key)?, row).is_ok_and(|row| sizes.contains_key(&row.log));
            if known { Ok(()) } else { stray(&mut out, "subject", key) }
        })?;
        self.all(&self.head, |key, _| {
            let known = split::<32>("head", key).is_ok_and(|(log, _)| sizes.contains_key(&log));
            if known { Ok(()) } else { stray(&mut out, "head", key) }
        })?;
        self.all(&self.tile, |key, row| {
            let full = split::<9>("tile", key).is_ok_and(|(log, rest)| {
                let number = u64::from_be_bytes([rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7], rest[8]]);
                let width = 8 * (u32::from(rest[0]) + 1);
                sizes.get(&log).is_some_and(|size| number < size.checked_shr(width).unwrap_or(0)) && row.len() == 8192
            });
            if full { Ok(()) } else { stray(&mut out, "tile", key) }
        })?;
        Ok(out)
    }
}

fn stray(out: &mut Vec<String>, table: &str, key: &[u8]) -> Result<()> {
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    out.push(format!("table {table} row {hex}"));
    Ok(())
}

/// Encodes a value.
fn row(fields: usize, capacity: usize, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::with_capacity(capacity + 32);
    w.array(fields);
    write(&mut w);
    w.into_bytes()
}

fn event_row(leaf: &[u8], body: Option<&[u8]>, secret: Option<(u64, &[u8])>) -> Vec<u8> {
    row(4, leaf.len() + body.map_or(0, <[u8]>::len) + 40, |w| {
        w.bytes(leaf);
        match body {
            Some(body) => w.bytes(body),
            None => w.null(),
        };
        match secret {
            Some((subject, wrapped)) => w.uint(subject).bytes(wrapped),
            None => w.null().null(),
        };
    })
}

impl Tx<'_, Table<'_, Bytes, Bytes>> {
    fn put(path: &Path, table: &mut Table<'_, Bytes, Bytes>, key: &[u8], value: &[u8]) -> Result<()> {
        table.insert(key, value).map(drop).map_err(|e| from_redb(path, "cannot write", e))
    }

    /// Refuses a place that is taken.
    fn add(path: &Path, table: &mut Table<'_, Bytes, Bytes>, key: &[u8], value: &[u8], what: &'static str) -> Result<()> {
        let err = |e| from_redb(path, "cannot write", e);
        match table.entry(key).map_err(err)? {
            redb::Entry::Vacant(place) => place.insert(value).map(drop).map_err(err),
            redb::Entry::Occupied(_) => Err(Error::new(Code::Bug, what)),
        }
    }
}

/// Tables that a key in [`ERASED`] can be of.
const IN_EVENT: u8 = b'e';
const IN_SUBJECT: u8 = b's';
const IN_TAG: u8 = b't';
const IN_SEGMENT: u8 = b'c';

/// Writes the pages anew in which something was erased.
///
/// Within a transaction redb changes a page in place once it was copied: rows
/// after one that became shorter move up, and what they leave at the end of the
/// page stays there, in a page that is in use. A row that gets another length in
/// a later transaction has its page put together anew, of the rows alone.
pub(crate) fn renew_pages(path: &Path, tx: &WriteTransaction) -> Result<()> {
    let err = |e: redb::Error| from_redb(path, "cannot write to", e);
    let mut keys = Vec::new();
    for entry in tx.open_table(ERASED).map_err(|e| err(e.into()))?.iter().map_err(|e| err(e.into()))? {
        keys.push(entry.map_err(|e| err(e.into()))?.0.value().to_vec());
    }
    for (of, definition) in [(IN_EVENT, EVENT), (IN_SUBJECT, SUBJECT), (IN_TAG, SUBJECT_TAG), (IN_SEGMENT, SEGMENT)] {
        let mut table = tx.open_table(definition).map_err(|e| err(e.into()))?;
        let of_table = keys.iter().filter_map(|key| key.split_first().filter(|(first, _)| **first == of).map(|(_, key)| key));
        let mut own: Vec<Vec<u8>> = of_table.map(<[u8]>::to_vec).collect();
        if of == IN_SEGMENT && !own.is_empty() {
            own.clear();
            for entry in table.iter().map_err(|e| err(e.into()))? {
                own.push(entry.map_err(|e| err(e.into()))?.0.value().to_vec());
            }
        }
        for key in own {
            let value = table.get(&key[..]).map_err(|e| err(e.into()))?.map(|value| value.value().to_vec());
            let longer = [value.as_deref().unwrap_or_default(), &[0]].concat();
            table.insert(&key[..], &longer[..]).map_err(|e| err(e.into()))?;
            match value {
                Some(value) => table.insert(&key[..], &value[..]).map(drop),
                None => table.remove(&key[..]).map(drop),
            }
            .map_err(|e| err(e.into()))?;
        }
    }
    tx.delete_table(ERASED).map(drop).map_err(|e| err(e.into()))
}

/// Keeps for [`renew_pages`] what a transaction erased.
pub(crate) fn keep_erased(path: &Path, tx: &WriteTransaction, erased: &[Vec<u8>]) -> Result<()> {
    let err = |e: redb::Error| from_redb(path, "cannot write to", e);
    let mut table = tx.open_table(ERASED).map_err(|e| err(e.into()))?;
    erased.iter().try_for_each(|key| table.insert(&key[..], &[][..]).map(drop)).map_err(|e| err(e.into()))
}

impl<T> Tx<'_, T> {
    /// What was erased in this transaction.
    pub(crate) fn erased(mut self) -> Vec<Vec<u8>> {
        if self.dropped && !self.erased.is_empty() {
            self.erased.push(vec![IN_SEGMENT]);
        }
        self.erased
    }
}

impl WriteTx for Tx<'_, Table<'_, Bytes, Bytes>> {
    fn put_log(&mut self, log: &LogRow) -> Result<()> {
        if log.number == 0 || log.number >= MAX_LOGS {
            return Err(Error::new(Code::LimitExceeded, format!("log number {}, a database holds fewer than {MAX_LOGS}", log.number)));
        }
        let bytes = row(7, 64 + log.frontier.len() + log.checkpoint.len() + log.signed_frontier.len(), |w| {
            w.bytes(&log.id).uint(log.size).uint(log.time).bytes(&log.frontier).text(&log.checkpoint).bytes(&log.signed_frontier);
            match log.successor {
                Some(number) => w.uint(u64::from(number)),
                None => w.null(),
            };
        });
        Self::put(self.path, &mut self.log, &log.number.to_be_bytes(), &bytes)
    }

    fn put_head(&mut self, log: LogNumber, actor: &Hash, index: u64) -> Result<()> {
        let bytes = row(1, 9, |w| {
            w.uint(index);
        });
        Self::put(self.path, &mut self.head, &key2::<36>(log, actor), &bytes)
    }

    fn put_event(&mut self, log: LogNumber, index: u64, leaf: &[u8], body: Option<&[u8]>, secret: Option<(u64, &Wrapped)>) -> Result<()> {
        let bytes = event_row(leaf, body, secret.map(|(subject, wrapped)| (subject, &wrapped[..])));
        Self::add(self.path, &mut self.event, &event_key(log, index), &bytes, "an event is there already")
    }

    fn put_subject(&mut self, subject: &SubjectRow) -> Result<u64> {
        let number = match subject.number {
            0 => match self.subject.last().map_err(|e| self.err(e))? {
                Some((last, _)) => number("subject", last.value())? + 1,
                None => 1,
            },
            n => n,
        };
        let key = number.to_be_bytes();
        let bytes = subject_bytes(subject);
        let taken = "a subject is there already";
        Self::add(self.path, &mut self.subject_tag, &tagged_key(subject.log, &subject.tag)?, &key, taken)?;
        Self::add(self.path, &mut self.subject, &key, &bytes, taken)?;
        Ok(number)
    }

    fn rewrap_subject(&mut self, number: u64, key: &[u8]) -> Result<()> {
        let at = number.to_be_bytes();
        let Some(row) = self.get(&self.subject, &at, |row| subject_row(number, row))? else { return Ok(()) };
        Self::put(self.path, &mut self.subject, &at, &subject_bytes(&SubjectRow { key: key.to_vec(), ..row }))
    }

    fn put_tile(&mut self, log: LogNumber, level: u8, number: u64, hashes: &[u8]) -> Result<()> {
        Self::add(self.path, &mut self.tile, &tile_key(log, level, number), hashes, "a tile is there already")
    }

    fn put_cache(&mut self, log: LogNumber, segment: u32, block: u32, data: &[u8]) -> Result<()> {
        Self::put(self.path, &mut self.segment, &block_key(log, segment, block), data)
    }

    fn drop_cache(&mut self, log: LogNumber, keep: &[u32]) -> Result<()> {
        let (from, to) = (block_key(log, 0, 0), block_key(log, u32::MAX, u32::MAX));
        let path = self.path;
        self.dropped = true;
        let dropped = self.segment.retain_in::<&[u8], _>(&from[..]..=&to[..], |key, _| {
            let segment = key.get(4..8).and_then(|s| s.try_into().ok()).map(u32::from_be_bytes);
            segment.is_some_and(|segment| keep.contains(&segment))
        });
        dropped.map_err(|e| from_redb(path, "cannot write", e))
    }

    fn erase_body(&mut self, log: LogNumber, index: u64) -> Result<()> {
        let key = event_key(log, index);
        let erased = self.get(&self.event, &key, |row| Ok(event_row(event_parts(row)?.0, None, None)))?;
        self.erased.push([&[IN_EVENT][..], &key].concat());
        erased.map_or(Ok(()), |bytes| Self::put(self.path, &mut self.event, &key, &bytes))
    }

    fn delete_subject(&mut self, number: u64) -> Result<()> {
        let key = number.to_be_bytes();
        let Some(row) = self.get(&self.subject, &key, |row| subject_row(number, row))? else { return Ok(()) };
        let tag = tagged_key(row.log, &row.tag)?;
        self.erased.push([&[IN_SUBJECT][..], &key].concat());
        self.erased.push([&[IN_TAG][..], &tag].concat());
        let err = |e| from_redb(self.path, "cannot write", e);
        self.subject.remove(&key[..]).map(drop).map_err(err)?;
        self.subject_tag.remove(&tag[..]).map(drop).map_err(err)
    }
}
