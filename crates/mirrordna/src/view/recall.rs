//! The recall index of a view: in memory, made of the memories at the first
//! search, then kept up with what changes.

use super::index::{Key, last_number, space};
use super::{Short, View, short};
use crate::log::Log;
use mirrordna_core::body::schema;
use mirrordna_core::memory::Memory;
use mirrordna_core::{Hash, Result};
use mirrordna_storage::ReadTx;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone, Copy)]
struct Doc {
    record: u64,
    actor: Short,
    session: Short,
}

#[derive(Debug, Default)]
pub(super) struct Recall {
    index: mirrordna_recall::Index,
    docs: Vec<Doc>,
    /// Record -> its current document.
    current: HashMap<u64, u32>,
    /// Whether all memories of the log were once read.
    loaded: bool,
    /// Adopted timelines whose memories were read.
    foreign: usize,
    /// Memories that changed since.
    changes: Vec<u64>,
    /// Documents that were erased since.
    gone: HashSet<u32>,
}

impl Recall {
    /// Takes note that a memory is new or has changed.
    pub(super) fn changed(&mut self, record: u64) {
        if self.loaded {
            self.changes.push(record);
        }
    }

    /// Lets go of a memory that was erased: of its words too.
    pub(super) fn forget(&mut self, record: u64) {
        self.gone.extend(self.current.remove(&record));
    }
}

/// Filters of a search.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<String>,
}

impl View {
    /// Indexes what changed since the last search.
    fn index_memories(&mut self, tx: &dyn ReadTx, log: &Log) -> Result<()> {
        let mut changes = std::mem::take(&mut self.recall.changes);
        if !self.recall.loaded {
            let all = Key::new(space::SCHEMA).schema(schema::MEMORY as u16);
            self.scan(tx, log, all, 0, &mut |key, _| {
                changes.push(last_number(key));
                Ok(true)
            })?;
        }
        for (view, foreign) in self.adopted(log).skip(self.recall.foreign) {
            let all = Key::new(space::SCHEMA).schema(schema::MEMORY as u16);
            view.scan(tx, &foreign.log, all, 0, &mut |key, _| {
                changes.push(last_number(key));
                Ok(true)
            })?;
        }
        self.recall.foreign = self.foreign.len();
        // Only the newest state of a record counts.
        changes.sort_unstable();
        changes.dedup();
        let mut current = Vec::with_capacity(changes.len());
        for record in changes {
            let Some(entry) = self.entry(tx, log, record)?.filter(|e| !e.erased) else { continue };
            let state = self.fold_entry(tx, log, (record, entry), u64::MAX)?.filter(|r| !r.archived);
            current.push((record, entry, state));
        }
        let recall = &mut self.recall;
        recall.loaded = true;
        let gone = std::mem::take(&mut recall.gone);
        if !gone.is_empty() {
            recall.index.forget(&gone);
        }
        for (record, entry, state) in current {
            if let Some(old) = recall.current.remove(&record) {
                recall.index.remove(old);
            }
            let Some(state) = state else { continue };
            let memory = Memory::from_record(&state, "");
            let text = match &memory.speaker {
                Some(speaker) => format!("{speaker}: {}", memory.content),
                None => memory.content,
            };
            let doc = recall.docs.len() as u32;
            recall.index.add(doc, &text);
            recall.docs.push(Doc { record, actor: entry.actor, session: entry.session });
            recall.current.insert(record, doc);
        }
        Ok(())
    }

    /// The best memories for a query, best first, with their scores.
    pub(crate) fn search(&mut self, tx: &dyn ReadTx, log: &Log, query: &str, limit: usize, scope: &Scope) -> Result<Vec<(Memory, f64)>> {
        self.index_memories(tx, log)?;
        let actor = scope.actor.map(|digest| short(&digest));
        let session = scope.session.as_deref().map(|s| log.session_tag(s)).transpose()?;
        let docs = &self.recall.docs;
        let in_scope = |d: u32| {
            let doc = &docs[d as usize];
            actor.is_none_or(|a| doc.actor == a) && session.is_none_or(|s| doc.session == s)
        };
        let hits = self.recall.index.search(query, limit, &in_scope);
        let mut out = Vec::with_capacity(hits.len());
        for hit in hits {
            let doc = docs[hit.doc as usize];
            if let Some(record) = self.fold_record(tx, log, doc.record, u64::MAX)? {
                out.push((Memory::from_record(&record, &self.agent_of(tx, log, &record, &doc.actor)?), hit.score));
            }
        }
        Ok(out)
    }
}
