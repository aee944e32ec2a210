//! Which keys an identity has, and under which names the keyring keeps them.

use crate::keyring::{Keyring, NewKey, NewRecovery, Role, extend};
use crate::view::{IdentityEvent, Said};
use mirrordna_core::identity::committed;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::verify::did::{DidLog, Version};
use mirrordna_core::verify::multibase::digest_of;
use mirrordna_core::verify::note::from_base64;
use mirrordna_core::{Code, Entropy, Error, Hash, PublicKey, Result};
use serde::Deserialize;
use std::io::Read;
use zeroize::Zeroizing;

/// Bytes of a recovery file that are read at once.
const PIECE: usize = 4_096;
/// A recovery file has a line of about 120 bytes for each identity.
const LONGEST: usize = 1 << 28;

/// The newest event that brought a DID log, with that log verified. Each of the
/// earlier ones must be the beginning of it.
pub(crate) fn newest(events: &[IdentityEvent]) -> Result<Option<(&IdentityEvent, DidLog)>> {
    let brought = |event: &IdentityEvent| matches!(event.what, Said::Brought { .. });
    let Some(newest) = events.iter().rev().find(|e| brought(e)) else { return Ok(None) };
    let Said::Brought { did_log, .. } = &newest.what else { return Ok(None) };
    let altered = |why: &str| Error::new(Code::Altered, format!("the identity that the event at {} brings {why}", newest.position));
    let continues = |event: &IdentityEvent| !matches!(&event.what, Said::Brought { did_log: earlier, .. } if !did_log.starts_with(earlier));
    if !events.iter().all(continues) {
        return Err(altered("does not continue the one known before"));
    }
    let did = DidLog::verify(did_log).map_err(|e| altered("does not verify").caused_by(e))?;
    Ok(Some((newest, did)))
}

/// The owner under which the keyring keeps an actor key. The first one of an
/// identity is named by it, later ones by themselves: so the key that is in
/// force is found also where keys were made for a version that never came.
pub(crate) fn owner_of(actor: &Hash, version: u64, key: &PublicKey) -> Hash {
    if version == 1 { *actor } else { key.fingerprint() }
}

/// The update key here that a version commits to for the next one.
pub(super) fn update_key(keyring: &Keyring, actor: &Hash, latest: &Version) -> Result<Option<SecretKey>> {
    let owners = match latest.number {
        1 => vec![*actor],
        _ => latest.next_key_hashes.iter().filter_map(|hash| digest_of(hash)).collect(),
    };
    for owner in owners {
        if let Some(key) = keyring.signing(Role::Update, &owner)?
            && latest.next_key_hashes.contains(&committed(key.public()).0)
        {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The keys of a version to come.
pub(super) struct NextKeys {
    pub(super) actor: SecretKey,
    update: SecretKey,
    /// A new recovery key, where the old one is used up.
    recovery: Option<SecretKey>,
}

impl NextKeys {
    pub(super) fn generate(recovery: bool, entropy: &dyn Entropy) -> Result<Self> {
        let recovery = recovery.then(|| SecretKey::generate(entropy)).transpose()?;
        Ok(Self { actor: SecretKey::generate(entropy)?, update: SecretKey::generate(entropy)?, recovery })
    }

    /// What the version commits to: its own next keys, and what of the version
    /// before stays committed.
    pub(super) fn commitments(&self, kept: impl Iterator<Item = String>) -> Vec<String> {
        let own = [Some(&self.update), self.recovery.as_ref()].into_iter().flatten().map(|key| committed(key.public()).0);
        own.chain(kept).collect()
    }

    /// Brings them to the disk.
    pub(super) fn keep(&self, keyring: &Keyring, id: &str, entropy: &dyn Entropy) -> Result<()> {
        let new = vec![
            NewKey { role: Role::Actor, owner: self.actor.public().fingerprint(), key: self.actor.seed() },
            NewKey { role: Role::Update, owner: committed(self.update.public()).1, key: self.update.seed() },
        ];
        let recovery: Vec<NewRecovery> =
            self.recovery.iter().map(|key| NewRecovery { identity: id.to_owned(), seed: key.seed() }).collect();
        keyring.add(new, &recovery, entropy)
    }
}

/// Recovery keys that were kept elsewhere, from a recovery file. They are wiped
/// when dropped and never printed.
///
/// ```
/// let keys = mirrordna::RecoveryKeys::parse(r#"{"identity":"mdna_agt_00","recovery_seed":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#)?;
/// assert_eq!(format!("{keys:?}"), "RecoveryKeys(1)");
/// # Ok::<(), mirrordna::Error>(())
/// ```
pub struct RecoveryKeys(Vec<(String, Zeroizing<[u8; 32]>)>);

#[derive(Deserialize)]
struct Line {
    identity: String,
    recovery_seed: String,
}

impl RecoveryKeys {
    /// Reads a recovery file, or what [`RecoveryKeys::parse`] takes from
    /// somewhere else, to its end.
    ///
    /// # Errors
    /// As [`RecoveryKeys::parse`]; `key.missing` where it cannot be read.
    pub fn read(mut from: impl Read) -> Result<Self> {
        let mut text = Zeroizing::new(Vec::with_capacity(PIECE));
        loop {
            // No copy of a seed stays behind where the text grows.
            let mut piece = Zeroizing::new([0; PIECE]);
            let read = from.read(piece.as_mut());
            let read = read.map_err(|e| Error::new(Code::KeyMissing, "cannot read the recovery key").caused_by(e))?;
            if read == 0 {
                break;
            }
            if text.len() + read > LONGEST {
                return Err(Error::new(Code::KeyringInvalid, "what should be a recovery file is longer than 256 MiB"));
            }
            extend(&mut text, piece.get(..read).unwrap_or_default());
        }
        let text = std::str::from_utf8(&text).map_err(|_| Error::new(Code::KeyringInvalid, "a recovery file is text"))?;
        Self::parse(text)
    }

    /// Reads the lines of a recovery file: all of it, or only those of the
    /// identity in question.
    ///
    /// # Errors
    /// `keyring.invalid` for a line that is not one of such a file.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bad = || {
                Error::new(Code::KeyringInvalid, format!("line {} is not a line of a recovery file", n + 1))
                    .with_hint("Pass the .recovery file that was written beside the keyring when the identity was created.")
            };
            let line: Line = serde_json::from_str(line).map_err(|_| bad())?;
            let text = Zeroizing::new(line.recovery_seed);
            let raw = from_base64(&text).map(Zeroizing::new).ok_or_else(bad)?;
            let mut seed = Zeroizing::new([0; 32]);
            if raw.len() != seed.len() {
                return Err(bad());
            }
            seed.copy_from_slice(&raw);
            keys.push((line.identity, seed));
        }
        Ok(Self(keys))
    }

    /// The key of an identity that a version commits to.
    pub(super) fn of(&self, id: &str, latest: &Version) -> Option<SecretKey> {
        let own = self.0.iter().filter(|(identity, _)| identity == id).map(|(_, seed)| SecretKey::from_seed(seed));
        own.into_iter().find(|key| latest.next_key_hashes.contains(&committed(key.public()).0))
    }
}

impl std::fmt::Debug for RecoveryKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecoveryKeys({})", self.0.len())
    }
}
