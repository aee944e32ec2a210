//! Settling: what erasures left besides the rows is purged, and an `erase.done`
//! event says so.
//!
//! Where a reader of an older state stands in the way, the erasure is pending,
//! and who comes next tries again: the service thread every second, each write,
//! a backup, [`Engine::settle_erasures`], and whoever opens the database. For the
//! last of these a note stands beside the derived data, so that opening one
//! without pending erasures reads no log.

use super::ErasureState;
use crate::commit::{Item, Job, Speaker};
use crate::engine::{Engine, Inner};
use crate::log::{Log, genesis, lock};
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, Hash, Result, limits};
use mirrordna_storage::{LogNumber, ReadTx, WriteTx};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};

/// Where the note is: at the first log, beside the manifest of its index, which
/// nothing else drops.
const NOTE: (LogNumber, u32, u32) = (1, 0, 1);
/// A log's number, and the position after its newest erasure.
const ENTRY: usize = 12;

/// Logs with erasures of which something may be left, by number, each with the
/// position after the newest one.
fn noted(tx: &dyn ReadTx) -> Result<BTreeMap<LogNumber, u64>> {
    let bytes = tx.cache(NOTE.0, NOTE.1, NOTE.2)?.unwrap_or_default();
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    let entry = |e: &[u8; ENTRY]| {
        let (number, end) = e.split_first_chunk::<4>()?;
        Some((LogNumber::from_be_bytes(*number), u64::from_be_bytes(end.try_into().ok()?)))
    };
    Ok(entries.iter().filter_map(entry).collect())
}

fn write_note(tx: &mut dyn WriteTx, noted: &BTreeMap<LogNumber, u64>) -> Result<()> {
    let bytes: Vec<u8> = noted.iter().flat_map(|(number, end)| [&number.to_be_bytes()[..], &end.to_be_bytes()].concat()).collect();
    tx.put_cache(NOTE.0, NOTE.1, NOTE.2, &bytes)
}

/// Notes that something may be left of erasures of a log before a position, in
/// their own transaction.
pub(crate) fn note(tx: &mut dyn WriteTx, log: LogNumber, end: u64) -> Result<()> {
    let mut noted = noted(tx)?;
    noted.insert(log, end);
    write_note(tx, &noted)
}

/// Takes back what was noted of a log, and those before it, up to a position.
fn take_back(tx: &mut dyn WriteTx, log: &Log, end: u64) -> Result<()> {
    let mut noted = noted(tx)?;
    let before = noted.len();
    for log in std::iter::successors(Some(log), |log| log.before.as_deref()) {
        if noted.get(&log.number).is_some_and(|noted| *noted <= end) {
            noted.remove(&log.number);
        }
    }
    if noted.len() < before { write_note(tx, &noted) } else { Ok(()) }
}

impl Inner {
    /// Purges the store of what erasures of a log left besides its rows, and says
    /// so in the log; returns whether nothing is left.
    pub(crate) fn settle_erasures(&self, log: &Arc<Log>) -> Result<bool> {
        let alone = lock(&self.purging);
        self.settle(log, true, &alone)
    }

    fn settle(&self, log: &Arc<Log>, wait: bool, _alone: &MutexGuard<'_, ()>) -> Result<bool> {
        let (pending, end) = self.view(log, &mut |view, tx| Ok((view.pending_erasures(tx, log)?, view.size())))?;
        if pending.is_empty() {
            return Ok(true);
        }
        if !(if wait { self.store.purge()? } else { self.store.purge_now()? }) {
            self.unpurged.store(true, Ordering::Release);
            return Ok(false);
        }
        let epoch = self.epoch(log, &log.system)?;
        self.committer.append_made(std::slice::from_ref(log), &mut |tx| {
            take_back(tx, log, end)?;
            let mut items = Vec::new();
            for some in pending.chunks(limits::REFS) {
                let (positions, refs): (Vec<u64>, Vec<Hash>) = some.iter().copied().unzip();
                let draft = Draft::public(&PublicBody::EraseDone { count: some.len() as u64, positions }).referring_to(refs)?;
                items.push(Item { actor: log.system, speaker: Speaker::Epoch(epoch.clone()), draft, once: None });
            }
            Ok(vec![Job { log: log.clone(), items, checkpoint: true }])
        })?;
        Ok(true)
    }

    /// The same for all logs whose events this process has read, where something
    /// may be left: also of what others erased.
    pub(crate) fn settle_all(&self, logs: &[Arc<Log>]) -> Result<()> {
        let mut unpurged = self.unpurged.swap(false, Ordering::AcqRel);
        for log in logs {
            unpurged |= log.erased.swap(false, Ordering::AcqRel);
        }
        if !unpurged {
            return Ok(());
        }
        let all = || -> Result<bool> {
            let mut settled = self.settle_noted()?;
            for log in logs {
                // To read a whole log for this would cost more than it is worth.
                let read = lock(&log.view).is_whole();
                settled &= !read || self.settle_erasures(log)?;
            }
            Ok(settled)
        };
        let done = all();
        if !matches!(done, Ok(true)) {
            self.unpurged.store(true, Ordering::Release);
        }
        done.map(drop)
    }

    /// Tries once, before something is written, where an erasure is known to be
    /// pending. Nobody waits for it, and what fails is tried again later.
    pub(crate) fn settle_before_write(&self, log: &Arc<Log>) {
        // Where the log was not read yet, reading it is for the service thread.
        if !self.unpurged.load(Ordering::Acquire) || !lock(&log.view).is_whole() {
            return;
        }
        let alone = match self.purging.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        match self.settle(log, false, &alone) {
            // The other logs are for the service thread.
            Ok(_) => {}
            Err(e) => tracing::warn!(log = log.number, error = %e, "what is left of an erasure could not be purged yet"),
        }
    }

    /// Settles what was noted when it could not be, in whichever log.
    pub(crate) fn settle_noted(&self) -> Result<bool> {
        let mut left = BTreeMap::new();
        self.store.read(&mut |tx| {
            left = noted(tx)?;
            Ok(())
        })?;
        if left.is_empty() {
            return Ok(true);
        }
        // What is left goes, also where nobody here can say so.
        let mut settled = self.store.purge()?;
        if !settled {
            self.unpurged.store(true, Ordering::Release);
            return Ok(false);
        }
        let mut heirs = BTreeMap::new();
        self.store.read(&mut |tx| {
            heirs.clear();
            for (number, end) in &left {
                let mut row = tx.log(*number)?;
                while let Some((at, next)) = row.as_ref().and_then(|row| Some((row.number, row.successor?))).filter(|(at, next)| next > at)
                {
                    debug_assert!(at >= *number, "heirs come later");
                    row = tx.log(next)?;
                }
                if let Some(row) = row {
                    let (_, _, until) = heirs.entry(row.number).or_insert((row.id, genesis(tx, &row)?, 0));
                    *until = (*end).max(*until);
                }
            }
            Ok(())
        })?;
        for (number, (id, genesis, end)) in heirs {
            let log = self.log_found(number, id, genesis)?;
            if self.settle_erasures(&log)? {
                // Where another process said it meanwhile, the note may remain.
                self.store.write(&mut |tx| take_back(tx, &log, end))?;
            } else {
                settled = false;
            }
        }
        Ok(settled)
    }
}

impl Engine {
    /// Purges the store of what is left of erasures that were pending, in all
    /// tenants, and says so in their logs. The engine does it by itself, every
    /// second and before each write: this is for those who want to know now.
    ///
    /// # Errors
    /// `store.read_only` for an engine that only reads; `key.missing` without the
    /// keys of a log's own actor, `store.*`.
    pub fn settle_erasures(&self) -> Result<ErasureState> {
        if self.inner.read_only {
            return Err(Error::new(Code::StoreReadOnly, "an engine that only reads settles nothing"));
        }
        let mut settled = self.inner.settle_noted()?;
        for log in self.inner.open_logs() {
            settled &= self.inner.settle_erasures(&log)?;
        }
        if settled {
            self.inner.unpurged.store(false, Ordering::Release);
        }
        Ok(if settled { ErasureState::Done } else { ErasureState::Pending })
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::log::lock;
    use crate::{Engine, ErasureState, IdentityType, Keys, Witness};
    use rusqlite::{Connection, OpenFlags};

    #[test]
    fn what_could_not_be_settled_at_open_is_settled_by_the_service_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let open = || {
            let builder = Engine::builder(path.to_str().unwrap()).keys(Keys::Folder(dir.path().join("keys")));
            builder.witness(Witness::Off).open().unwrap()
        };
        let engine = open();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        agent.memories().add("Sam prefers trains").subject("Sam").send().unwrap();
        drop(agent);
        let reader = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap();
        assert_eq!(engine.erase().subject("Sam").run().unwrap().state, Some(ErasureState::Pending));
        engine.close().unwrap();
        let engine = open();
        assert!(!lock(&engine.main().log.view).is_whole(), "nothing was read that need not be");
        engine.inner.tend().unwrap();
        reader.execute_batch("COMMIT").unwrap();
        // What the thread does every second.
        engine.inner.tend().unwrap();
        let says = engine.timeline().list(0, 100).unwrap().iter().filter(|e| e.kind == "erase.done").count();
        assert_eq!(says, 1);
        assert!(engine.verify().unwrap().is_intact());
    }
}
