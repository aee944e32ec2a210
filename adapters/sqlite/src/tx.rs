//! The port's transactions over one SQLite connection.

use crate::error::from_sqlite;
use mirrordna_core::cipher::Wrapped;
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::{EventRow, LogNumber, LogRow, Outline, Outlined, ReadTx, Row, SubjectRow, WriteTx};
use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, params};
use std::ops::Range;
use std::path::Path;

/// Logs a database can hold: positions and tile ids must fit 63 bits.
const MAX_LOGS: LogNumber = 1 << 20;
/// Leaves a log can hold: the lower 40 bits of a position.
const INDEX_BITS: u32 = 40;

pub(crate) struct Tx<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) path: &'a Path,
    /// The statement that stores an event, from its first use on: a batch looks
    /// it up once.
    insert: Option<CachedStatement<'a>>,
}

fn pos(log: LogNumber, index: u64) -> i64 {
    (i64::from(log % MAX_LOGS) << INDEX_BITS) | (index.min((1 << INDEX_BITS) - 1)) as i64
}

fn tile_id(log: LogNumber, level: u8, number: u64) -> i64 {
    (i64::from(log % MAX_LOGS) << 43) | (i64::from(level & 7) << 40) | number as i64
}

fn cache_id(log: LogNumber, segment: u32, block: u32) -> i64 {
    (i64::from(log % MAX_LOGS) << 43) | (i64::from(segment % (1 << 23)) << 20) | i64::from(block % (1 << 20))
}

/// A stored number that may not be negative.
fn unsigned(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::new(Code::Altered, "a stored number is negative"))
}

impl<'a> Tx<'a> {
    pub(crate) const fn new(db: &'a Connection, path: &'a Path) -> Self {
        Self { db, path, insert: None }
    }
}

impl Tx<'_> {
    fn err(&self, e: rusqlite::Error) -> Error {
        from_sqlite(self.path, "cannot read or write", e)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        self.db.prepare_cached(sql).map_err(|e| self.err(e))
    }

    fn one<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>> {
        self.prepare(sql)?.query_row(params, |r| r.get(0)).optional().map_err(|e| self.err(e))
    }

    fn run(&self, sql: &str, params: impl Params) -> Result<()> {
        self.prepare(sql)?.execute(params).map(drop).map_err(|e| self.err(e))
    }

    fn log_rows(&self, sql: &str, params: impl Params) -> Result<Vec<LogRow>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params).map_err(|e| self.err(e))?;
        let mut out = Vec::new();
        while let Some(row) = rows.next().map_err(|e| self.err(e))? {
            let get = || -> rusqlite::Result<_> {
                Ok((
                    row.get::<_, u32>(0)?,
                    row.get::<_, Vec<u8>>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                ))
            };
            let (number, id, size, time, frontier, checkpoint, signed_frontier, successor) = get().map_err(|e| self.err(e))?;
            let id = id.try_into().map_err(|_| Error::new(Code::Altered, format!("log {number} has an id that is not 16 bytes")))?;
            out.push(LogRow { number, id, size: unsigned(size)?, time: unsigned(time)?, frontier, checkpoint, signed_frontier, successor });
        }
        Ok(out)
    }
}

const LOGS: &str = "SELECT n, id, size, time, frontier, checkpoint, signed_frontier, successor FROM log ORDER BY n";
const LOG: &str = "SELECT n, id, size, time, frontier, checkpoint, signed_frontier, successor FROM log WHERE n = ?1";

impl ReadTx for Tx<'_> {
    fn logs(&self) -> Result<Vec<LogRow>> {
        self.log_rows(LOGS, [])
    }

    fn log(&self, number: LogNumber) -> Result<Option<LogRow>> {
        Ok(self.log_rows(LOG, [number])?.pop())
    }

    fn head(&self, log: LogNumber, actor: &Hash) -> Result<Option<u64>> {
        let sql = "SELECT last FROM head WHERE log = ?1 AND actor = ?2";
        self.one::<i64>(sql, params![log, actor])?.map(unsigned).transpose()
    }

    fn heads(&self, log: LogNumber, each: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut statement = self.prepare("SELECT actor, last FROM head WHERE log = ?1")?;
        let mut rows = statement.query([log]).map_err(|e| self.err(e))?;
        while let Some(row) = rows.next().map_err(|e| self.err(e))? {
            let last = row.get(1).map_err(|e| self.err(e))?;
            each(blob(row.get_ref(0))?.unwrap_or_default(), unsigned(last)?)?;
        }
        Ok(())
    }

    fn leaf(&self, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>> {
        self.one("SELECT leaf FROM event WHERE pos = ?1", [pos(log, index)])
    }

    fn event(&self, log: LogNumber, index: u64) -> Result<Option<EventRow>> {
        let mut statement = self.prepare("SELECT leaf, body, subject, secret FROM event WHERE pos = ?1")?;
        let read = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get::<_, Option<i64>>(2)?, r.get(3)?));
        let row = statement.query_row([pos(log, index)], read).optional().map_err(|e| self.err(e))?;
        row.map(|(leaf, body, subject, secret)| Ok(EventRow { leaf, body, secret: paired(subject, secret)? })).transpose()
    }

    fn scan(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut statement =
            self.prepare("SELECT pos, leaf, body, subject, secret FROM event WHERE pos >= ?1 AND pos <= ?2 ORDER BY pos")?;
        let bounds = [pos(log, range.start), pos(log, range.end - 1)];
        let mut rows = statement.query(bounds).map_err(|e| self.err(e))?;
        while let Some(row) = rows.next().map_err(|e| self.err(e))? {
            let at: i64 = row.get(0).map_err(|e| self.err(e))?;
            let subject: Option<i64> = row.get(3).map_err(|e| self.err(e))?;
            let secret = paired(subject, blob(row.get_ref(4))?)?;
            each(Row {
                index: unsigned(at)? & ((1 << INDEX_BITS) - 1),
                leaf: blob(row.get_ref(1))?.unwrap_or_default(),
                body: blob(row.get_ref(2))?,
                secret,
            })?;
        }
        Ok(())
    }

    fn outline(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Outline<'_>) -> Result<()>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        // Of a blob's length SQLite reads the row's header only.
        let mut statement = self.prepare(
            "SELECT pos, leaf, CASE WHEN subject IS NULL THEN body ELSE length(body) END, (subject IS NULL) + (secret IS NULL)
             FROM event WHERE pos >= ?1 AND pos <= ?2 ORDER BY pos",
        )?;
        let bounds = [pos(log, range.start), pos(log, range.end - 1)];
        let mut rows = statement.query(bounds).map_err(|e| self.err(e))?;
        while let Some(row) = rows.next().map_err(|e| self.err(e))? {
            let at: i64 = row.get(0).map_err(|e| self.err(e))?;
            let absent: i64 = row.get(3).map_err(|e| self.err(e))?;
            let secret = paired((absent < 2).then_some(0), (absent < 1).then_some(()))?.is_some();
            let body = match row.get_ref(2) {
                Ok(ValueRef::Integer(length)) if secret => Outlined::Sealed(unsigned(length)?),
                other => blob(other)?.map_or(Outlined::Absent, Outlined::Clear),
            };
            let leaf = blob(row.get_ref(1))?.unwrap_or_default();
            each(Outline { index: unsigned(at)? & ((1 << INDEX_BITS) - 1), leaf, body, secret })?;
        }
        Ok(())
    }

    fn subject(&self, log: LogNumber, tag: &Hash) -> Result<Option<SubjectRow>> {
        let mut found = None;
        self.subject_rows(
            "SELECT n, log, tag, key FROM subject INDEXED BY subject_tag WHERE log = ?1 AND tag = ?2",
            params![log, tag],
            &mut |row| {
                found = Some(row);
                Ok(())
            },
        )?;
        Ok(found)
    }

    fn subjects(&self, each: &mut dyn FnMut(SubjectRow) -> Result<()>) -> Result<()> {
        self.subject_rows("SELECT n, log, tag, key FROM subject ORDER BY n", [], each)
    }

    fn subject_numbered(&self, number: u64) -> Result<Option<SubjectRow>> {
        let mut found = None;
        self.subject_rows("SELECT n, log, tag, key FROM subject WHERE n = ?1", [number as i64], &mut |row| {
            found = Some(row);
            Ok(())
        })?;
        Ok(found)
    }

    fn cache(&self, log: LogNumber, segment: u32, block: u32) -> Result<Option<Vec<u8>>> {
        match self.db.prepare_cached("SELECT data FROM cache_segment WHERE id = ?1") {
            Ok(mut statement) => {
                let found = statement.query_row([cache_id(log, segment, block)], |r| r.get(0)).optional();
                found.map_err(|e| self.err(e))
            }
            // Derived tables may be dropped.
            Err(_) if !self.has_cache()? => Ok(None),
            Err(e) => Err(self.err(e)),
        }
    }

    fn tile(&self, log: LogNumber, level: u8, number: u64) -> Result<Option<Vec<u8>>> {
        self.one("SELECT data FROM tile WHERE id = ?1", [tile_id(log, level, number)])
    }

    fn strays(&self) -> Result<Vec<String>> {
        let mut out = self.stray_events()?;
        for (what, sql) in [
            ("subject", "SELECT n FROM subject WHERE log NOT IN (SELECT n FROM log)"),
            ("head", "SELECT log FROM head WHERE log NOT IN (SELECT n FROM log)"),
            (
                "tile",
                "SELECT id FROM tile WHERE length(data) <> 8192 OR
                 (id & 1099511627775) >= coalesce((SELECT size FROM log WHERE n = tile.id >> 43), 0) >> (8 * (1 + (id >> 40 & 7)))",
            ),
        ] {
            let mut statement = self.prepare(sql)?;
            let mut rows = statement.query([]).map_err(|e| self.err(e))?;
            while let Some(row) = rows.next().map_err(|e| self.err(e))? {
                let key: i64 = row.get(0).map_err(|e| self.err(e))?;
                out.push(format!("table {what} row {key}"));
            }
        }
        Ok(out)
    }
}

/// Subject and secret are both there or both not.
fn paired<T>(subject: Option<i64>, secret: Option<T>) -> Result<Option<(u64, T)>> {
    match (subject, secret) {
        (Some(subject), Some(secret)) => Ok(Some((unsigned(subject)?, secret))),
        (None, None) => Ok(None),
        _ => Err(Error::new(Code::Altered, "an event has a subject without a secret, or a secret without a subject")),
    }
}

/// A blob column, borrowed from the statement; `None` for NULL.
fn blob(value: rusqlite::Result<ValueRef<'_>>) -> Result<Option<&[u8]>> {
    match value {
        Ok(ValueRef::Blob(bytes)) => Ok(Some(bytes)),
        Ok(ValueRef::Null) => Ok(None),
        _ => Err(Error::new(Code::Altered, "a column that holds bytes holds something else")),
    }
}

impl Tx<'_> {
    fn has_cache(&self) -> Result<bool> {
        Ok(self.one::<i64>("SELECT 1 FROM sqlite_schema WHERE name = 'cache_segment'", [])?.is_some())
    }

    /// Events beyond the size of their log, or of no log. Where the logs end is
    /// looked at, and nothing else: a look at every event would cost a tenth of
    /// its verification.
    fn stray_events(&self) -> Result<Vec<String>> {
        let mut statement = self.prepare("SELECT n, size FROM log ORDER BY n")?;
        let known = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?));
        let logs: Vec<(i64, i64)> =
            statement.query_map([], known).and_then(Iterator::collect::<rusqlite::Result<_>>).map_err(|e| self.err(e))?;
        // No position is of a log beyond what fits into one.
        let places = 0..=i64::MAX >> INDEX_BITS;
        let logs = logs.into_iter().filter(|(n, size)| places.contains(n) && *size > 0);
        let taken = logs.map(|(n, size)| (n << INDEX_BITS, (n << INDEX_BITS) + (size.min(1 << INDEX_BITS) - 1)));
        let mut statement = self.prepare("SELECT pos FROM event WHERE pos >= ?1 AND pos <= ?2")?;
        let (mut out, mut next) = (Vec::new(), Some(i64::MIN));
        for (first, last) in taken.chain([(i64::MAX, i64::MAX)]) {
            let Some(from) = next else { break };
            // At the end there is no log whose first event is left out.
            let until = if first == i64::MAX { first } else { first - 1 };
            let mut rows = statement.query([from, until]).map_err(|e| self.err(e))?;
            while let Some(row) = rows.next().map_err(|e| self.err(e))? {
                let pos: i64 = row.get(0).map_err(|e| self.err(e))?;
                out.push(format!("table event row {pos}"));
            }
            next = last.checked_add(1);
        }
        Ok(out)
    }

    fn subject_rows(&self, sql: &str, params: impl Params, each: &mut dyn FnMut(SubjectRow) -> Result<()>) -> Result<()> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params).map_err(|e| self.err(e))?;
        while let Some(row) = rows.next().map_err(|e| self.err(e))? {
            let get =
                || -> rusqlite::Result<(i64, LogNumber, Vec<u8>, Vec<u8>)> { Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)) };
            let (number, log, tag, key) = get().map_err(|e| self.err(e))?;
            each(SubjectRow { number: unsigned(number)?, log, tag, key })?;
        }
        Ok(())
    }
}

impl WriteTx for Tx<'_> {
    fn put_log(&mut self, row: &LogRow) -> Result<()> {
        if row.number == 0 || row.number >= MAX_LOGS {
            return Err(Error::new(Code::LimitExceeded, format!("log number {}, a database holds fewer than {MAX_LOGS}", row.number)));
        }
        self.run(
            "INSERT INTO log(n, id, size, time, frontier, checkpoint, signed_frontier, successor) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT(n) DO UPDATE SET size = ?3, time = ?4, frontier = ?5, checkpoint = ?6, signed_frontier = ?7, successor = ?8",
            params![row.number, row.id, row.size as i64, row.time as i64, row.frontier, row.checkpoint, row.signed_frontier, row.successor],
        )
    }

    fn put_head(&mut self, log: LogNumber, actor: &Hash, index: u64) -> Result<()> {
        self.run(
            "INSERT INTO head(log, actor, last) VALUES(?1, ?2, ?3) ON CONFLICT(log, actor) DO UPDATE SET last = ?3",
            params![log, actor, index as i64],
        )
    }

    fn put_event(&mut self, log: LogNumber, index: u64, leaf: &[u8], body: Option<&[u8]>, secret: Option<(u64, &Wrapped)>) -> Result<()> {
        let (subject, secret) = secret.map(|(s, w)| (s as i64, w)).unzip();
        let insert = match &mut self.insert {
            Some(insert) => insert,
            none => {
                let sql = "INSERT INTO event(pos, leaf, body, subject, secret) VALUES(?1, ?2, ?3, ?4, ?5)";
                none.insert(self.db.prepare_cached(sql).map_err(|e| from_sqlite(self.path, "cannot read or write", e))?)
            }
        };
        let done = insert.execute(params![pos(log, index), leaf, body, subject, secret]);
        done.map(drop).map_err(|e| self.err(e))
    }

    fn put_subject(&mut self, row: &SubjectRow) -> Result<u64> {
        let number = (row.number != 0).then_some(row.number as i64);
        self.run("INSERT INTO subject(n, log, tag, key) VALUES(?1, ?2, ?3, ?4)", params![number, row.log, row.tag, row.key])?;
        unsigned(self.db.last_insert_rowid())
    }

    fn rewrap_subject(&mut self, number: u64, key: &[u8]) -> Result<()> {
        self.run("UPDATE subject SET key = ?2 WHERE n = ?1", params![number as i64, key])
    }

    fn put_tile(&mut self, log: LogNumber, level: u8, number: u64, hashes: &[u8]) -> Result<()> {
        self.run("INSERT INTO tile(id, data) VALUES(?1, ?2)", params![tile_id(log, level, number), hashes])
    }

    fn put_cache(&mut self, log: LogNumber, segment: u32, block: u32, data: &[u8]) -> Result<()> {
        let sql = "INSERT INTO cache_segment(id, data) VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET data = ?2";
        if !self.has_cache()? {
            self.run("CREATE TABLE cache_segment(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT", [])?;
        }
        self.run(sql, params![cache_id(log, segment, block), data])
    }

    fn drop_cache(&mut self, log: LogNumber, keep: &[u32]) -> Result<()> {
        if !self.has_cache()? {
            return Ok(());
        }
        // From gap to gap: the number of segments is small, that of blocks is not.
        let mut keep: Vec<u32> = keep.iter().map(|s| s % (1 << 23)).collect();
        keep.sort_unstable();
        let mut next = 0;
        for segment in keep.into_iter().chain([1 << 23]) {
            let (low, high) = (cache_id(log, 0, 0) + (i64::from(next) << 20), cache_id(log, 0, 0) + (i64::from(segment) << 20));
            self.run("DELETE FROM cache_segment WHERE id >= ?1 AND id < ?2", [low, high])?;
            next = segment + 1;
        }
        Ok(())
    }

    fn erase_body(&mut self, log: LogNumber, index: u64) -> Result<()> {
        self.run("UPDATE event SET body = NULL, subject = NULL, secret = NULL WHERE pos = ?1", [pos(log, index)])
    }

    fn delete_subject(&mut self, number: u64) -> Result<()> {
        self.run("DELETE FROM subject WHERE n = ?1", [number as i64])
    }
}
