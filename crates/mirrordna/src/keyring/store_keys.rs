//! The store keys of a database, which wrap the keys of subjects: one from its
//! beginning, and another one for each rotation.
//!
//! A subject's wrapped key says by which generation it is wrapped. Old
//! generations stay in the keyring, so that older copies of the database still
//! open. Generation 0 also makes the tags of tenants, which no rotation changes.

use super::{Keyring, NewKey, Place, Role, owner};
use crate::log::{lock, missing};
use mirrordna_core::cipher::Secret;
use mirrordna_core::{Code, Entropy, Error, Hash, Result};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use zeroize::Zeroizing;

/// What an RFC 3394 wrapping of a key is long.
const WRAPPED: usize = 40;

/// The store keys that were asked for.
#[derive(Default)]
pub(super) struct StoreKeys {
    known: Mutex<HashMap<u32, Secret>>,
    newest: AtomicU32,
    /// What the keyring file was when the newest was looked for.
    looked: Mutex<Option<FileState>>,
}

/// Device, inode and length of a file that only grows or is replaced.
type FileState = (u64, u64, u64);

/// The owner of a generation's slot.
fn owner_of(database: &[u8; 16], generation: u32) -> Hash {
    let mut out = owner(database);
    out[28..].copy_from_slice(&generation.to_be_bytes());
    out
}

/// The wrapping and its generation; `None` for what is no wrapped key.
fn parts(stored: &[u8]) -> Option<(&[u8], u32)> {
    match stored.split_at_checked(WRAPPED)? {
        (wrapped, []) => Some((wrapped, 0)),
        (wrapped, generation) => Some((wrapped, u32::from_be_bytes(generation.try_into().ok()?))).filter(|(_, g)| *g > 0),
    }
}

/// The generation of the store key that a subject's key is wrapped by.
pub(crate) fn generation_of(stored: &[u8]) -> Option<u32> {
    parts(stored).map(|(_, generation)| generation)
}

impl Keyring {
    /// A store key; `None` where this keyring has none of that generation.
    ///
    /// # Errors
    /// `keyring.invalid` where its slot was altered, `store.io`.
    pub(crate) fn store_key(&self, generation: u32) -> Result<Option<Secret>> {
        if let Some(key) = lock(&self.store_keys.known).get(&generation) {
            return Ok(Some(key.clone()));
        }
        let key = self.secret(Role::Store, &owner_of(&self.database, generation))?;
        if let Some(key) = &key {
            lock(&self.store_keys.known).insert(generation, key.clone());
            self.store_keys.newest.fetch_max(generation, Ordering::AcqRel);
        }
        Ok(key)
    }

    /// The newest generation. What other processes added to the keyring is
    /// looked at, at the price of asking for the length of a file where there is
    /// nothing new.
    ///
    /// # Errors
    /// `store.io`.
    pub(crate) fn newest_store_key(&self) -> Result<u32> {
        // Before the search: what is added meanwhile is looked for next time.
        let state = self.file_state();
        let as_it_was = state.is_some() && *lock(&self.store_keys.looked) == state;
        // Who took the keyring away while the database is open gave nobody
        // another key either.
        let taken_away = state.is_none() && matches!(self.place, Place::File(_));
        let mut newest = self.store_keys.newest.load(Ordering::Acquire);
        if as_it_was || taken_away {
            return Ok(newest);
        }
        while let Some(next) = newest.checked_add(1)
            && self.has_slot(Role::Store, &owner_of(&self.database, next))?
        {
            newest = next;
        }
        let newest = self.store_keys.newest.fetch_max(newest, Ordering::AcqRel).max(newest);
        *lock(&self.store_keys.looked) = state;
        Ok(newest)
    }

    pub(super) fn file_state(&self) -> Option<FileState> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(self.path.as_ref()?).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.len()))
    }

    /// Whether there is a slot, as far as is known without reading all of them.
    pub(crate) fn has_slot(&self, role: Role, owner: &Hash) -> Result<bool> {
        match &self.place {
            Place::Memory(held) => Ok(lock(held).contains_key(&(role, *owner))),
            Place::File(slots) => Ok(slots.glance(role, owner)?.is_some()),
        }
    }

    /// Adds a store key of the next generation; returns its number. Whoever
    /// calls this keeps others from creating subjects meanwhile.
    pub(crate) fn add_store_key(&self, entropy: &dyn Entropy) -> Result<u32> {
        let beyond = || Error::new(Code::LimitExceeded, "the store key was rotated too often");
        let next = self.newest_store_key()?.checked_add(1).ok_or_else(beyond)?;
        let key = Zeroizing::new(*Secret::generate(entropy)?.expose());
        self.add(vec![NewKey { role: Role::Store, owner: owner_of(&self.database, next), key }], &[], entropy)?;
        Ok(next)
    }

    /// Wraps the key of a subject of a log under the newest store key.
    ///
    /// # Errors
    /// `key.missing` without it; as [`Keyring::newest_store_key`].
    pub(crate) fn wrap_subject(&self, log: &[u8; 16], tag: &Hash, key: &Secret) -> Result<Vec<u8>> {
        let generation = self.newest_store_key()?;
        let store = self.store_key(generation)?.ok_or_else(|| missing("the keyring lacks the store key"))?;
        let mut stored = store.subject_wrapping(log, tag).wrap(key).to_vec();
        if generation > 0 {
            stored.extend_from_slice(&generation.to_be_bytes());
        }
        Ok(stored)
    }

    /// Unwraps the key of a subject of a log; `None` where it is not what was
    /// wrapped for that subject.
    ///
    /// # Errors
    /// `key.missing` where this keyring has no store key of its generation.
    pub(crate) fn unwrap_subject(&self, log: &[u8; 16], tag: &Hash, stored: &[u8]) -> Result<Option<Secret>> {
        let Some((wrapped, generation)) = parts(stored) else { return Ok(None) };
        let Some(store) = self.store_key(generation)? else {
            let newest = self.newest_store_key()?;
            let message = format!("a subject's key is wrapped by store key {generation}; the keyring on this machine goes to {newest}");
            let hint = "Bring the keyring as it was after the last `mirrordna keys rotate --store-key`; or else the row was altered.";
            return Err(missing(&message).with_hint(hint));
        };
        Ok(store.subject_wrapping(log, tag).unwrap(wrapped))
    }
}
