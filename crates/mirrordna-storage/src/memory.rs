//! A store in memory: for tests, for throw-away agents, and as the plain
//! statement of what the port means.

use crate::{EventRow, LogNumber, LogRow, ReadTx, Row, Store, SubjectRow, WriteTx};
use mirrordna_core::cipher::Wrapped;
use mirrordna_core::{Code, Error, Hash, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
struct State {
    logs: BTreeMap<LogNumber, LogRow>,
    heads: BTreeMap<(LogNumber, Hash), u64>,
    events: BTreeMap<(LogNumber, u64), EventRow>,
    subjects: BTreeMap<u64, SubjectRow>,
    /// Number of the subject with a tag.
    tags: BTreeMap<(LogNumber, Vec<u8>), u64>,
    tiles: BTreeMap<(LogNumber, u8, u64), Vec<u8>>,
    cache: BTreeMap<(LogNumber, u32, u32), Vec<u8>>,
}

/// How to take one change back.
type Undo = Box<dyn FnOnce(&mut State)>;

struct Tx<'a> {
    state: &'a mut State,
    undo: Vec<Undo>,
}

/// Keeps everything in memory; nothing survives the process.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Store for MemoryStore {
    fn read(&self, work: &mut dyn FnMut(&dyn ReadTx) -> Result<()>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(&Tx { state: &mut state, undo: Vec::new() })
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn WriteTx) -> Result<()>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tx = Tx { state: &mut state, undo: Vec::new() };
        let outcome = work(&mut tx);
        if outcome.is_err() {
            for undo in tx.undo.into_iter().rev() {
                undo(tx.state);
            }
        }
        outcome
    }

    fn check(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn maintain(&self) -> Result<bool> {
        Ok(true)
    }

    /// What was taken out of a map is gone with it.
    fn purge(&self) -> Result<bool> {
        Ok(true)
    }

    fn left_behind(&self) -> Vec<(LogNumber, u64)> {
        Vec::new()
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

impl ReadTx for Tx<'_> {
    fn logs(&self) -> Result<Vec<LogRow>> {
        Ok(self.state.logs.values().cloned().collect())
    }

    fn log(&self, number: LogNumber) -> Result<Option<LogRow>> {
        Ok(self.state.logs.get(&number).cloned())
    }

    fn head(&self, log: LogNumber, actor: &Hash) -> Result<Option<u64>> {
        Ok(self.state.heads.get(&(log, *actor)).copied())
    }

    fn heads(&self, log: LogNumber, each: &mut dyn FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut own = self.state.heads.iter().filter(|((l, _), _)| *l == log);
        own.try_for_each(|((_, actor), index)| each(actor, *index))
    }

    fn leaf(&self, log: LogNumber, index: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.state.events.get(&(log, index)).map(|e| e.leaf.clone()))
    }

    fn event(&self, log: LogNumber, index: u64) -> Result<Option<EventRow>> {
        Ok(self.state.events.get(&(log, index)).cloned())
    }

    fn scan(&self, log: LogNumber, range: Range<u64>, each: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        for ((_, index), event) in self.state.events.range((log, range.start)..(log, range.end.max(range.start))) {
            let secret = event.secret.as_ref().map(|(subject, wrapped)| (*subject, wrapped.as_slice()));
            each(Row { index: *index, leaf: &event.leaf, body: event.body.as_deref(), secret })?;
        }
        Ok(())
    }

    fn subject(&self, log: LogNumber, tag: &Hash) -> Result<Option<SubjectRow>> {
        let number = self.state.tags.get(&(log, tag.to_vec()));
        Ok(number.and_then(|n| self.state.subjects.get(n)).cloned())
    }

    fn subject_numbered(&self, number: u64) -> Result<Option<SubjectRow>> {
        Ok(self.state.subjects.get(&number).cloned())
    }

    fn cache(&self, log: LogNumber, segment: u32, block: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.state.cache.get(&(log, segment, block)).cloned())
    }

    fn subjects(&self, each: &mut dyn FnMut(SubjectRow) -> Result<()>) -> Result<()> {
        self.state.subjects.values().cloned().try_for_each(each)
    }

    fn tile(&self, log: LogNumber, level: u8, number: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.state.tiles.get(&(log, level, number)).cloned())
    }

    fn strays(&self) -> Result<Vec<String>> {
        let s = &self.state;
        let beyond = |log: &LogNumber, end: u64| s.logs.get(log).is_none_or(|row| end > row.size);
        let events = s.events.keys().filter(|(log, index)| beyond(log, index + 1)).map(|k| format!("event {k:?}"));
        let tiles = s.tiles.keys().filter(|(log, level, n)| beyond(log, (n + 1) << (8 * (u32::from(*level) + 1))));
        Ok(events.chain(tiles.map(|k| format!("tile {k:?}"))).collect())
    }
}

impl Tx<'_> {
    fn insert<K: Clone + Ord + 'static, V: 'static>(&mut self, map: fn(&mut State) -> &mut BTreeMap<K, V>, key: K, value: V) {
        let old = map(self.state).insert(key.clone(), value);
        self.undo.push(Box::new(move |state| {
            match old {
                Some(old) => map(state).insert(key, old),
                None => map(state).remove(&key),
            };
        }));
    }

    fn remove<K: Clone + Ord + 'static, V: 'static>(&mut self, map: fn(&mut State) -> &mut BTreeMap<K, V>, key: K) {
        if let Some(old) = map(self.state).remove(&key) {
            self.undo.push(Box::new(move |state| drop(map(state).insert(key, old))));
        }
    }
}

impl WriteTx for Tx<'_> {
    fn put_log(&mut self, row: &LogRow) -> Result<()> {
        self.insert(|s| &mut s.logs, row.number, row.clone());
        Ok(())
    }

    fn put_head(&mut self, log: LogNumber, actor: &Hash, index: u64) -> Result<()> {
        self.insert(|s| &mut s.heads, (log, *actor), index);
        Ok(())
    }

    fn put_event(&mut self, log: LogNumber, index: u64, leaf: &[u8], body: Option<&[u8]>, secret: Option<(u64, &Wrapped)>) -> Result<()> {
        if self.state.events.contains_key(&(log, index)) {
            return Err(Error::new(Code::Bug, "an event is there already"));
        }
        let secret = secret.map(|(subject, wrapped)| (subject, wrapped.to_vec()));
        let row = EventRow { leaf: leaf.to_vec(), body: body.map(<[u8]>::to_vec), secret };
        self.insert(|s| &mut s.events, (log, index), row);
        Ok(())
    }

    fn put_subject(&mut self, row: &SubjectRow) -> Result<u64> {
        let number = match row.number {
            0 => self.state.subjects.last_key_value().map_or(1, |(n, _)| n + 1),
            n => n,
        };
        let tag = (row.log, row.tag.clone());
        if self.state.subjects.contains_key(&number) || self.state.tags.contains_key(&tag) {
            return Err(Error::new(Code::Bug, "a subject is there already"));
        }
        self.insert(|s| &mut s.tags, tag, number);
        self.insert(|s| &mut s.subjects, number, SubjectRow { number, ..row.clone() });
        Ok(number)
    }

    fn rewrap_subject(&mut self, number: u64, key: &[u8]) -> Result<()> {
        if let Some(row) = self.state.subjects.get(&number).cloned() {
            self.insert(|s| &mut s.subjects, number, SubjectRow { key: key.to_vec(), ..row });
        }
        Ok(())
    }

    fn put_tile(&mut self, log: LogNumber, level: u8, number: u64, hashes: &[u8]) -> Result<()> {
        self.insert(|s| &mut s.tiles, (log, level, number), hashes.to_vec());
        Ok(())
    }

    fn put_cache(&mut self, log: LogNumber, segment: u32, block: u32, data: &[u8]) -> Result<()> {
        self.insert(|s| &mut s.cache, (log, segment, block), data.to_vec());
        Ok(())
    }

    fn drop_cache(&mut self, log: LogNumber, keep: &[u32]) -> Result<()> {
        let own = self.state.cache.range((log, 0, 0)..(log + 1, 0, 0)).map(|(k, _)| *k);
        let gone: Vec<_> = own.filter(|(_, segment, _)| !keep.contains(segment)).collect();
        gone.into_iter().for_each(|key| self.remove(|s| &mut s.cache, key));
        Ok(())
    }

    fn erase_body(&mut self, log: LogNumber, index: u64) -> Result<()> {
        if let Some(old) = self.state.events.get(&(log, index)).cloned() {
            self.insert(|s| &mut s.events, (log, index), EventRow { body: None, secret: None, ..old });
        }
        Ok(())
    }

    fn delete_subject(&mut self, number: u64) -> Result<()> {
        if let Some(row) = self.state.subjects.get(&number) {
            let tag = (row.log, row.tag.clone());
            self.remove(|s| &mut s.tags, tag);
        }
        self.remove(|s| &mut s.subjects, number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn passes_the_kit() {
        crate::kit::run(&mut || Box::new(super::MemoryStore::new()));
    }
}
