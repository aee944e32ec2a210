//! The port's transactions over one SQLite connection.

use crate::error::from_sqlite;
use mirrordna_core::cipher::Wrapped;
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::{LogNumber, LogRow, ReadTx, Row, SecretRow, SubjectRow, WriteTx};
use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, params};
use std::ops::Range;
use std::path::Path;

/// Leaves a log can hold: the lower 40 bits of a position.
const INDEX_BITS: u32 = 40;

pub(crate) struct Tx<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) path: &'a Path,
}

fn pos(log: LogNumber, index: u64) -> i64 {
    (i64::from(log) << INDEX_BITS) | (index.min((1 << INDEX_BITS) - 1)) as i64
}

fn tile_id(log: LogNumber, level: u8, number: u64) -> i64 {
    (i64::from(log) << 43) | (i64::from(level & 7) << 40) | number as i64
}

/// A stored number that may not be negative.
fn unsigned(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::new(Code::Altered, "a stored number is negative"))
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
                Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
            };
            let (number, id, size, time, frontier, checkpoint, signed_frontier) = get().map_err(|e| self.err(e))?;
            let id = id.try_into().map_err(|_| Error::new(Code::Altered, format!("log {number} has an id that is not 16 bytes")))?;
            out.push(LogRow { number, id, size: unsigned(size)?, time: unsigned(time)?, frontier, checkpoint, signed_frontier });
        }
        Ok(out)
    }
}

const LOG: &str = "SELECT n, id, size, time, frontier, checkpoint, signed_frontier FROM log";

impl ReadTx for Tx<'_> {
    fn logs(&self) -> Result<Vec<LogRow>> {
        self.log_rows(&format!("{LOG} ORDER BY n"), [])
    }

    fn log(&self, number: LogNumber) -> Result<Option<LogRow>> {
        Ok(self.log_rows(&format!("{LOG} WHERE n = ?1"), [number])?.pop())
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
        self.one("SELECT data FROM leaf WHERE pos = ?1", [pos(log, index)])
    }

    fn body(&self, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>> {
        self.one("SELECT data FROM body WHERE pos = ?1", [pos(log, index)])
    }

    fn secret(&self, log: LogNumber, index: u64) -> Result<Option<SecretRow>> {
        let mut statement = self.prepare("SELECT subject, wrapped FROM secret WHERE pos = ?1")?;
        let row = statement.query_row([pos(log, index)], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?))).optional();
        let row = row.map_err(|e| self.err(e))?;
        row.map(|(subject, wrapped)| Ok(SecretRow { subject: unsigned(subject)?, wrapped })).transpose()
    }

    fn scan(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut statement = self.prepare(
            "SELECT leaf.pos, leaf.data, body.data, secret.subject, secret.wrapped
             FROM leaf LEFT JOIN body ON body.pos = leaf.pos LEFT JOIN secret ON secret.pos = leaf.pos
             WHERE leaf.pos >= ?1 AND leaf.pos <= ?2 ORDER BY leaf.pos",
        )?;
        let bounds = [pos(log, range.start), pos(log, range.end - 1)];
        let mut rows = statement.query(bounds).map_err(|e| self.err(e))?;
        while let Some(row) = rows.next().map_err(|e| self.err(e))? {
            let at: i64 = row.get(0).map_err(|e| self.err(e))?;
            let subject: Option<i64> = row.get(3).map_err(|e| self.err(e))?;
            let secret = match (subject, blob(row.get_ref(4))?) {
                (Some(subject), Some(wrapped)) => Some((unsigned(subject)?, wrapped)),
                _ => None,
            };
            each(Row {
                index: unsigned(at)? & ((1 << INDEX_BITS) - 1),
                leaf: blob(row.get_ref(1))?.unwrap_or_default(),
                body: blob(row.get_ref(2))?,
                secret,
            })?;
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

    fn tile(&self, log: LogNumber, level: u8, number: u64) -> Result<Option<Vec<u8>>> {
        self.one("SELECT data FROM tile WHERE id = ?1", [tile_id(log, level, number)])
    }

    fn strays(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for (what, sql) in [
            ("leaf", "SELECT pos FROM leaf WHERE (pos & 1099511627775) >= coalesce((SELECT size FROM log WHERE n = leaf.pos >> 40), 0)"),
            ("body", "SELECT pos FROM body WHERE NOT EXISTS (SELECT 1 FROM leaf WHERE leaf.pos = body.pos)"),
            ("secret", "SELECT pos FROM secret WHERE NOT EXISTS (SELECT 1 FROM body WHERE body.pos = secret.pos)"),
            ("subject", "SELECT n FROM subject WHERE log NOT IN (SELECT n FROM log)"),
            ("head", "SELECT log FROM head WHERE log NOT IN (SELECT n FROM log)"),
            (
                "tile",
                "SELECT id FROM tile WHERE length(data) <> 8192 OR
                 ((id & 1099511627775) + 1) << (8 * (1 + (id >> 40 & 7))) > coalesce((SELECT size FROM log WHERE n = tile.id >> 43), 0)",
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

/// A blob column, borrowed from the statement; `None` for NULL.
fn blob(value: rusqlite::Result<ValueRef<'_>>) -> Result<Option<&[u8]>> {
    match value {
        Ok(ValueRef::Blob(bytes)) => Ok(Some(bytes)),
        Ok(ValueRef::Null) => Ok(None),
        _ => Err(Error::new(Code::Altered, "a column that holds bytes holds something else")),
    }
}

impl Tx<'_> {
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
        self.run(
            "INSERT INTO log(n, id, size, time, frontier, checkpoint, signed_frontier) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT(n) DO UPDATE SET size = ?3, time = ?4, frontier = ?5, checkpoint = ?6, signed_frontier = ?7",
            params![row.number, row.id, row.size as i64, row.time as i64, row.frontier, row.checkpoint, row.signed_frontier],
        )
    }

    fn put_head(&mut self, log: LogNumber, actor: &Hash, index: u64) -> Result<()> {
        self.run(
            "INSERT INTO head(log, actor, last) VALUES(?1, ?2, ?3) ON CONFLICT(log, actor) DO UPDATE SET last = ?3",
            params![log, actor, index as i64],
        )
    }

    fn put_leaf(&mut self, log: LogNumber, index: u64, data: &[u8]) -> Result<()> {
        self.run("INSERT INTO leaf(pos, data) VALUES(?1, ?2)", params![pos(log, index), data])
    }

    fn put_body(&mut self, log: LogNumber, index: u64, data: &[u8]) -> Result<()> {
        self.run("INSERT INTO body(pos, data) VALUES(?1, ?2)", params![pos(log, index), data])
    }

    fn put_secret(&mut self, log: LogNumber, index: u64, subject: u64, wrapped: &Wrapped) -> Result<()> {
        self.run("INSERT INTO secret(pos, subject, wrapped) VALUES(?1, ?2, ?3)", params![pos(log, index), subject as i64, wrapped])
    }

    fn put_subject(&mut self, log: LogNumber, tag: &Hash, key: &Wrapped) -> Result<u64> {
        self.run("INSERT INTO subject(log, tag, key) VALUES(?1, ?2, ?3)", params![log, tag, key])?;
        unsigned(self.db.last_insert_rowid())
    }

    fn put_tile(&mut self, log: LogNumber, level: u8, number: u64, hashes: &[u8]) -> Result<()> {
        self.run("INSERT INTO tile(id, data) VALUES(?1, ?2)", params![tile_id(log, level, number), hashes])
    }

    fn delete_body(&mut self, log: LogNumber, index: u64) -> Result<()> {
        self.run("DELETE FROM secret WHERE pos = ?1", [pos(log, index)])?;
        self.run("DELETE FROM body WHERE pos = ?1", [pos(log, index)])
    }

    fn delete_subject(&mut self, number: u64) -> Result<()> {
        self.run("DELETE FROM subject WHERE n = ?1", [number as i64])
    }
}
