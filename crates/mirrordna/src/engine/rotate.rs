//! A new store key for a database that is in use.

use super::Inner;
use crate::import::Progress;
use crate::keyring::{Keyring, Role, generation_of, owner};
use crate::log::missing;
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::{SubjectRow, WriteTx};
use std::collections::{HashMap, HashSet};

/// Subjects' keys that are wrapped anew in one transaction.
const BATCH: usize = 1_000;

/// What a rotation of the store key did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StoreKeyRotation {
    /// Number of the store key that all keys of subjects are wrapped by now.
    pub store_key: u32,
    /// Keys of subjects that were wrapped anew.
    pub rewrapped: u64,
    /// An earlier rotation that was cut short was completed; no other key was
    /// made.
    pub completed: bool,
}

impl Inner {
    /// Wraps the keys of all subjects by a new store key, or completes the
    /// rotation that was cut short. Others may go on reading and writing: they
    /// find the new key in the keyring when they come across it.
    pub(crate) fn rotate_store_key(&self, progress: Progress<'_>) -> Result<StoreKeyRotation> {
        let keyring =
            self.keyring.as_deref().ok_or_else(|| crate::log::without(&self.locked, "the keyring of this database is not here"))?;
        let mut newest = keyring.newest_store_key()?;
        let (mut left, highest) = self.subjects_not_under(keyring, newest)?;
        if highest > newest {
            // Its next key would bear the number of one that is in use.
            let message = format!("keys of subjects are wrapped by store key {highest}; the keyring on this machine goes to {newest}");
            let hint = "Bring the keyring as it was after the last `mirrordna keys rotate --store-key`.";
            return Err(missing(&message).with_hint(hint));
        }
        let completed = newest > 0 && !left.is_empty();
        if !completed {
            // Whoever creates a subject looks for the newest key inside its own
            // transaction, and so before this one or after it.
            self.store.write(&mut |_| {
                newest = keyring.add_store_key(&*self.entropy)?;
                Ok(())
            })?;
            left = self.subjects_not_under(keyring, newest)?.0;
        }
        let mut rewrapped = 0;
        while !left.is_empty() {
            let total = rewrapped + left.len() as u64;
            for some in left.chunks(BATCH) {
                let mut done = 0;
                self.store.write(&mut |tx| {
                    done = self.rewrap(tx, keyring, some, newest)?;
                    Ok(())
                })?;
                rewrapped += done;
                progress(rewrapped, total);
            }
            left = self.subjects_not_under(keyring, newest)?.0;
        }
        // The old wrappings are not to stay in the write-ahead log.
        self.store.maintain()?;
        tracing::info!(location = %self.store.location(), store_key = newest, rewrapped, completed, "the store key was rotated");
        Ok(StoreKeyRotation { store_key: newest, rewrapped, completed })
    }

    /// Numbers of the subjects whose keys an older store key wraps, and the
    /// highest number of a store key that wraps any.
    fn subjects_not_under(&self, keyring: &Keyring, generation: u32) -> Result<(Vec<u64>, u32)> {
        let (mut left, mut highest) = (Vec::new(), 0);
        self.store.read(&mut |tx| {
            left.clear();
            // Of an adopted log whose keys did not come another database's store
            // key wraps them.
            let mut others = HashSet::new();
            for row in tx.logs()?.iter().filter(|row| row.successor.is_some()) {
                if keyring.secret(Role::Tags, &owner(&row.id))?.is_none() {
                    others.insert(row.number);
                }
            }
            tx.subjects(&mut |row| {
                if others.contains(&row.log) {
                    return Ok(());
                }
                let own = generation_of(&row.key);
                highest = highest.max(own.unwrap_or(0));
                // What a later rotation reached is past this one.
                if own < Some(generation) {
                    left.push(row.number);
                }
                Ok(())
            })
        })?;
        Ok((left, highest))
    }

    fn rewrap(&self, tx: &mut dyn WriteTx, keyring: &Keyring, numbers: &[u64], generation: u32) -> Result<u64> {
        let ids: HashMap<u32, [u8; 16]> = tx.logs()?.into_iter().map(|row| (row.number, row.id)).collect();
        let mut done = 0;
        for number in numbers {
            // It may have been erased, or another process is at a rotation too.
            let Some(row) = tx.subject_numbered(*number)?.filter(|row| generation_of(&row.key) < Some(generation)) else { continue };
            let SubjectRow { log, tag, key, .. } = row;
            let altered = || Error::new(Code::Altered, format!("the key of subject {number} does not unwrap for its tag"));
            let (id, tag) = ids.get(&log).zip(Hash::try_from(tag.as_slice()).ok()).ok_or_else(altered)?;
            let key = keyring.unwrap_subject(id, &tag, &key)?.ok_or_else(altered)?;
            let wrapped = keyring.wrap_subject(id, &tag, &key)?;
            if generation_of(&wrapped) < Some(generation) {
                return Err(missing("the keyring lost the new store key while it was taken into use"));
            }
            tx.rewrap_subject(*number, &wrapped)?;
            done += 1;
        }
        Ok(done)
    }
}
