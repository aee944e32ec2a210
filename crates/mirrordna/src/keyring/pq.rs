//! The secret of which logs have their ML-DSA-44 keys: one for a database, so
//! that tenants and forks that come later sign a second time, too.

use super::{Keyring, NewKey, Place, Role, owner};
use mirrordna_core::cipher::Secret;
use mirrordna_core::{Entropy, Hash, Result};
use zeroize::Zeroizing;

/// What keeps the seeds apart from everything else that the secret could make.
const LABEL: &str = "mdna.v1.pq";

impl Keyring {
    /// The seed of a log's ML-DSA-44 key; `None` where there is none, and of logs
    /// of others. Whether there is one is looked up anew each time, since other
    /// processes may make it.
    ///
    /// # Errors
    /// `keyring.invalid` where its slot was altered, `store.io`.
    pub(crate) fn pq_seed(&self, log: &[u8; 16]) -> Result<Option<Zeroizing<Hash>>> {
        // Taken away while the database is open: then nobody signs by it.
        if matches!(self.place, Place::File(_)) && self.file_state().is_none() {
            return Ok(None);
        }
        if !self.has_slot(Role::Pq, &owner(&self.database))? || !self.has_slot(Role::Tags, &owner(log))? {
            return Ok(None);
        }
        let secret = self.secret(Role::Pq, &owner(&self.database))?;
        Ok(secret.map(|secret| Zeroizing::new(secret.tag(LABEL, &[log]))))
    }

    /// Adds the secret, where there is none; whether it did. Whoever calls this
    /// keeps others from doing the same meanwhile.
    ///
    /// # Errors
    /// `store.io`.
    pub(crate) fn add_pq_secret(&self, entropy: &dyn Entropy) -> Result<bool> {
        if self.has_slot(Role::Pq, &owner(&self.database))? {
            return Ok(false);
        }
        let key = Zeroizing::new(*Secret::generate(entropy)?.expose());
        self.add(vec![NewKey { role: Role::Pq, owner: owner(&self.database), key }], &[], entropy)?;
        Ok(true)
    }
}
