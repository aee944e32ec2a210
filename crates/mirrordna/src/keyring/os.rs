//! The keyring of the operating system as a provider: the Secret Service of a
//! Linux desktop, the Keychain of macOS, or whatever store the program set.

use super::provider::{KeyProvider, fails, unwrap_under, wrap_under};
use crate::system::SystemEntropy;
use keyring_core::{Entry, Error as StoreError};
use mirrordna_core::{Error, Result};
use zeroize::Zeroizing;

/// The entries' service; their users are the ids of databases.
const SERVICE: &str = "mirrordna";

/// A random key of 32 bytes in the system's keyring, one for each database, under
/// service `mirrordna` and the database's id. It wraps the key of the keyring.
///
/// The store is the default one of the crate `keyring-core`, which the program
/// sets (`keyring_core::set_default_store`), with the crate for its platform; the
/// command line with feature `os-keyring` does. A rotation of the keyring keeps
/// the entry: until it is removed, older copies of the keyring open by it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsKeyring;

/// An error of the store, without what it may quote.
fn failed(doing: &str, e: StoreError) -> Error {
    let why = match &e {
        StoreError::NoEntry => "it has no entry for this database",
        StoreError::NoDefaultStore => "this program has set no store",
        StoreError::NoStorageAccess(_) => "it is locked, or not running",
        _ => "it fails",
    };
    // The others may carry bytes of an entry.
    let cause = matches!(e, StoreError::NoStorageAccess(_) | StoreError::PlatformFailure(_)).then(|| e.to_string());
    let error = fails(format!("the system's keyring cannot {doing} the key: {why}"));
    match cause {
        Some(cause) => error.caused_by(std::io::Error::other(cause)),
        None => error,
    }
}

fn entry(database: &[u8; 16]) -> Result<Entry> {
    Entry::new(SERVICE, &super::hex(database)).map_err(|e| failed("name", e))
}

fn key_in(secret: Vec<u8>) -> Result<Zeroizing<[u8; 32]>> {
    let secret = Zeroizing::new(secret);
    let key = <[u8; 32]>::try_from(secret.as_slice()).map(Zeroizing::new);
    key.map_err(|_| fails("the entry of this database in the system's keyring is not a key of 32 bytes"))
}

impl KeyProvider for OsKeyring {
    fn name(&self) -> &str {
        "os-keyring"
    }

    fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>> {
        let entry = entry(database)?;
        let own = match entry.get_secret() {
            Ok(secret) => key_in(secret)?,
            Err(StoreError::NoEntry) => {
                let new = Zeroizing::new(mirrordna_core::random::<32>(&SystemEntropy)?);
                entry.set_secret(&*new).map_err(|e| failed("keep", e))?;
                new
            }
            Err(e) => return Err(failed("look for", e)),
        };
        wrap_under(&own, database, key)
    }

    fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let own = entry(database)?.get_secret().map_err(|e| failed("give", e)).and_then(key_in)?;
        unwrap_under(&own, database, wrapped)
            .ok_or_else(|| fails("the system's keyring holds another key than the one that wrapped the keyring's"))
    }
}
