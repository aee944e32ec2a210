//! The commit that gives a log another key for its checkpoints.

use super::{Committer, Item, Speaker, Staged};
use crate::log::{Log, lock};
use crate::log_keys::{NewLogKey, no_key};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, PublicKey, Result};
use mirrordna_storage::WriteTx;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Makes the key that the leaf at an index is to bring; it is on the disk then.
type Make<'a> = &'a mut dyn FnMut(u64) -> Result<Arc<SecretKey>>;

impl Committer {
    /// Appends the event that brings a key, the bridge to it and, after both, a
    /// checkpoint by that key. `speaker` is the actor key of the log's own actor,
    /// which the event `aseq` of it brought. Returns the key before, and the new
    /// one. `key.expired` where that actor has another key by now.
    pub(crate) fn rotate_log_key(
        &self,
        log: &Arc<Log>,
        speaker: &Arc<SecretKey>,
        aseq: u64,
        make: Make<'_>,
    ) -> Result<(PublicKey, NewLogKey)> {
        let mut state = lock(&log.state);
        let mut done = None;
        self.store.write(&mut |tx| {
            if log.poisoned.load(Ordering::Acquire) {
                let message = format!("log {} refuses writes: its evidence was altered while it was open", log.number);
                return Err(Error::new(Code::Altered, message));
            }
            let row = log.refresh(tx, &mut state)?;
            crate::identities::unchanged(log, &*tx, &log.system, |event, _| event.header.aseq == aseq)?;
            let old = log.signing().ok_or_else(no_key)?;
            let mut staged = Staged::new(log, row, &state, self.clock.now_ms(), self.sign_all);
            let leaf = staged.edge.tree.size();
            let new = make(leaf)?;
            let say = |staged: &mut Staged<'_>, tx: &mut dyn WriteTx, body: &PublicBody<'_>| {
                let item =
                    Item { actor: log.system, speaker: Speaker::Actor(speaker.clone(), aseq), draft: Draft::public(body), once: None };
                staged.append(tx, &state, &item, &*self.entropy).map(drop)
            };
            say(&mut staged, tx, &PublicBody::LogKey { key: new.public().to_bytes() })?;
            let new = NewLogKey::bridged(log, &old, new, staged.edge.tree.frontier());
            say(&mut staged, tx, &PublicBody::Anchor { kind: PublicBody::BRIDGE, note: new.bridge.as_bytes(), token: b"" })?;
            staged.row.checkpoint = log.sign_by(&new.key, new.leaf, staged.edge.tree.frontier());
            staged.row.signed_frontier = staged.edge.tree.frontier().to_bytes();
            staged.edge.signed = staged.edge.tree.size();
            staged.released = Some(staged.row.checkpoint.clone());
            staged.write_row(tx)?;
            done = Some((staged, old.public().clone(), new));
            Ok(())
        })?;
        let Some((staged, before, new)) = done else { return Err(Error::new(Code::Bug, "a write returned nothing")) };
        log.take_key(&new);
        staged.install(&mut state);
        Ok((before, new))
    }
}
