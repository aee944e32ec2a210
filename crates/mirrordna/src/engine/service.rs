//! The service thread: it seals, signs checkpoints, keeps what views have folded
//! and shows the head witness what is durable. It never answers appends.

use super::Inner;
use crate::builder::Durability;
use crate::commit::{Item, Job, Speaker};
use crate::log::{Epoch, Log, lock};
use crate::witness::{self, Left};
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::{Adopted, PublicBody};
use mirrordna_core::{Code, Error, Kind, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How often the service thread looks for something to seal or sign.
const SERVICE: Duration = Duration::from_millis(1000);
/// How often the head witness is synced.
const WITNESS_SYNC: Duration = Duration::from_secs(10);

impl Inner {
    /// Shows the newest checkpoint to the head witness; `sync` brings what it
    /// remembers to the disk, so that power loss takes little of it.
    pub(crate) fn remember(&self, log: &Log, sync: bool) {
        let Some((folder, place)) = &self.witness else { return };
        let released = lock(&log.state).released.take();
        if let Some(note) = released {
            // A witness that cannot be written lags; that is all.
            if let Err(e) = witness::remember(folder, log, place, &note, sync) {
                tracing::warn!(folder = %folder.display(), error = %e, "the head witness cannot be written");
            }
        }
    }

    /// Ends the witness of the log that another one goes on from.
    pub(crate) fn end_witness(&self, heir: &Log) {
        self.end_witness_of(&heir.id, heir.adopted);
    }

    pub(super) fn end_witness_of(&self, heir: &[u8; 16], adopted: Option<Adopted>) {
        let (Some((folder, place)), Some(adopted)) = (&self.witness, adopted) else { return };
        let left = Left { successor: *heir, size: adopted.size, root: adopted.root, place: *place };
        // It lags then; it still refuses what is shorter than it has seen.
        if let Err(e) = witness::end(folder, &adopted.log, &left) {
            tracing::warn!(folder = %folder.display(), error = %e, "the old log's witness cannot be ended");
        }
    }

    pub(super) fn start_service(self: &Arc<Self>) -> Result<()> {
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let run = move || {
            loop {
                let guard = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (stopped, _) = stop.1.wait_timeout_while(guard, SERVICE, |s| !*s).unwrap_or_else(PoisonError::into_inner);
                if *stopped {
                    return;
                }
                drop(stopped);
                let Some(inner) = weak.upgrade() else { return };
                // What fails here fails again, with an error, at the next append.
                // Whoever still holds a log that was left is told there alone.
                if let Err(e) = inner.tend()
                    && !matches!(e.code(), Code::StoreClosed | Code::LogClosed)
                {
                    tracing::warn!(error = %e, "sealing or maintenance failed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("mirrordna".into()).spawn(run);
        let thread = thread.map_err(|e| Error::new(Code::StoreIo, "cannot start the service thread").caused_by(e))?;
        *lock(&self.service) = Some(thread);
        Ok(())
    }

    /// Seals what is unsealed and signs checkpoints.
    pub(crate) fn tend(&self) -> Result<()> {
        let logs: Vec<Arc<Log>> = lock(&self.logs).values().cloned().collect();
        for log in &logs {
            let now = self.time(log);
            let items: Vec<Item> = log.unsealed(now).into_iter().map(|e| seal(&e, Kind::SEAL)).collect();
            let behind = lock(&log.state).edge.as_ref().is_some_and(|e| e.signed < e.tree.size());
            if behind || !items.is_empty() {
                self.committer.append(Job { log: log.clone(), items, checkpoint: true })?;
            }
        }
        self.save_views(&logs)?;
        self.settle_all(&logs)?;
        self.release(&logs)
    }

    /// Keeps what the views have folded in the store, where it spares the next
    /// process the work.
    pub(super) fn save_views(&self, logs: &[Arc<Log>]) -> Result<()> {
        for log in logs {
            let worth = lock(&log.view).is_worth_saving();
            if worth {
                self.step_by_step(log, &mut |view, tx| view.save(tx, log))?;
            }
        }
        Ok(())
    }

    /// Shows the witness what has become safe from power loss.
    pub(crate) fn release(&self, logs: &[Arc<Log>]) -> Result<()> {
        if self.store.maintain()? || self.durability == Durability::Full {
            let mut synced = lock(&self.witness_synced);
            let sync = synced.elapsed() >= WITNESS_SYNC;
            if sync {
                *synced = Instant::now();
            }
            logs.iter().for_each(|log| self.remember(log, sync));
        }
        Ok(())
    }

    /// Waits for the service thread.
    pub(crate) fn end_service(&self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        let thread = lock(&self.service).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }

    /// Ends the epochs of this process and signs a last checkpoint.
    pub(super) fn close(&self) -> Result<()> {
        if self.read_only || self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        tracing::info!(location = %self.store.location(), "closing");
        self.end_service();
        let logs: Vec<Arc<Log>> = lock(&self.logs).values().cloned().collect();
        for log in &logs {
            // An epoch whose time is over has ended by that.
            let now = self.time(log);
            let mut open: Vec<Arc<Epoch>> = lock(&log.epochs).drain().map(|(_, e)| e).filter(|e| e.opened().is_some()).collect();
            open.append(&mut lock(&log.late));
            open.retain(|e| now < e.not_after);
            let mut chunks = open.chunks(mirrordna_core::limits::BATCH_EVENTS / 2).peekable();
            while let Some(chunk) = chunks.next() {
                let items = chunk.iter().map(close_item).collect();
                self.committer.append(Job { log: log.clone(), items, checkpoint: chunks.peek().is_none() })?;
            }
            let behind = lock(&log.state).edge.as_ref().is_some_and(|e| e.signed < e.tree.size());
            if behind {
                self.committer.append(Job { log: log.clone(), items: Vec::new(), checkpoint: true })?;
            }
        }
        self.save_views(&logs)?;
        self.release(&logs)
    }
}

fn seal(epoch: &Arc<Epoch>, kind: Kind) -> Item {
    Item { actor: epoch.actor, speaker: Speaker::Epoch(epoch.clone()), draft: Draft::empty(kind), once: None }
}

fn close_item(epoch: &Arc<Epoch>) -> Item {
    Item { draft: Draft::public(&PublicBody::EpochClose), ..seal(epoch, Kind::EPOCH_CLOSE) }
}
