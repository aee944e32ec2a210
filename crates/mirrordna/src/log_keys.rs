//! The keys that sign a log's checkpoints: which of them is in force, and how
//! the next one is taken into use (`spec/PROTOCOL.md` 7.4).
//!
//! This module **owns** what of that a process knows. It believes a key by the
//! bridge that leads to it from the genesis's, never by the row that names it:
//! a checkpoint's fourth line only says where to look.

use crate::builder::{Durability, Fingerprint};
use crate::engine::{Inner, Tenant};
use crate::keyring::{Keyring, NewKey, Role, hex};
use crate::log::{Log, lock, missing};
use crate::witness::StoreTiles;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::proof::inclusion;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::merkle::{Frontier, includes};
use mirrordna_core::verify::note::{self, Checkpoint, Note};
use mirrordna_core::verify::{LogKeys, Policy, hash, leaf};
use mirrordna_core::{Code, Error, Hash, Kind, Leaf, PublicKey, Result};
use mirrordna_storage::{LogNumber, LogRow, ReadTx};
use serde::Serialize;
use std::sync::Arc;

/// Begins the line of a checkpoint that names the leaf which brought its key.
const HINT: &str = "log.key ";

/// How often others may be ahead of a rotation.
const AHEAD: usize = 8;

/// A key of a log's checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogKey {
    /// Size of the log from which it signs the checkpoints.
    pub since: u64,
    /// Index of the leaf that brought it.
    pub leaf: u64,
    /// Its fingerprint, 64 hex digits.
    pub fingerprint: String,
    /// As C2SP tools and policies name it: `<origin>+<key id>+<key>`.
    pub verifier_key: String,
    /// It signs now.
    pub in_force: bool,
}

/// What a rotation of a log's key did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogKeyRotation {
    /// Id of the log, 32 hex digits.
    pub log: String,
    /// Fingerprint of the key that signed its checkpoints so far.
    pub before: String,
    /// The key that signs them now.
    pub key: LogKey,
    /// The checkpoint that both keys signed. Witnesses that cosign it, and
    /// policies that name the old key, find the new one by it.
    pub bridge: String,
}

/// What a process knows of the keys of a log.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) keys: LogKeys,
    /// The private half of the newest, where it is here.
    signing: Option<Arc<SecretKey>>,
}

/// The owner of the slot of a key that this leaf of the log brought.
pub(crate) fn owner(log: &[u8; 16], leaf: u64) -> Hash {
    let mut out = crate::keyring::owner(log);
    out[24..].copy_from_slice(&leaf.to_be_bytes());
    out
}

/// The leaf that brought the key of a checkpoint, as its text says.
pub(crate) fn hint(checkpoint: &str) -> u64 {
    let line = checkpoint.split('\n').take_while(|line| !line.is_empty()).nth(3);
    line.and_then(|line| line.strip_prefix(HINT)?.parse().ok()).unwrap_or(0)
}

/// The text of a checkpoint, by the key that this leaf brought.
pub(crate) fn text(origin: &str, frontier: &Frontier, leaf: u64) -> String {
    let text = Checkpoint { origin, size: frontier.size(), root: frontier.root() }.text();
    if leaf == 0 { text } else { format!("{text}{HINT}{leaf}\n") }
}

/// The leaf that brought a key which is in force from this size on.
pub(crate) const fn brought(since: u64) -> u64 {
    since.saturating_sub(2)
}

/// The key that the leaf at an index brings, and the leaf's hash. Who speaks for
/// that event is for a verification to judge: what counts is the bridge.
fn key_at(tx: &dyn ReadTx, log: LogNumber, index: u64) -> Result<Option<([u8; 32], Hash)>> {
    let Some(event) = tx.event(log, index)? else { return Ok(None) };
    let header = Leaf::decode(&event.leaf)?.header;
    let body = event.body.filter(|body| header.kind == Kind::LOG_KEY && hash::public_body(body) == header.body);
    Ok(match body.as_deref().map(|body| PublicBody::decode(Kind::LOG_KEY, body)).transpose()?.flatten() {
        Some(PublicBody::LogKey { key }) => Some((key, leaf::hash(&event.leaf))),
        _ => None,
    })
}

/// The bridge in the anchor at an index.
pub(crate) fn bridge_at(tx: &dyn ReadTx, log: LogNumber, index: u64) -> Result<Option<String>> {
    let Some(event) = tx.event(log, index)? else { return Ok(None) };
    let header = Leaf::decode(&event.leaf)?.header;
    let body = event.body.filter(|body| header.kind == Kind::ANCHOR && hash::public_body(body) == header.body);
    Ok(match body.as_deref().map(|body| PublicBody::decode(Kind::ANCHOR, body)).transpose()?.flatten() {
        Some(PublicBody::Anchor { kind: PublicBody::BRIDGE, note, .. }) => String::from_utf8(note.to_vec()).ok(),
        _ => None,
    })
}

/// The keys of a log, from the one of its genesis to that of its newest
/// checkpoint, each by its bridge.
pub(crate) fn read(tx: &dyn ReadTx, row: &LogRow, first: &PublicKey) -> Result<LogKeys> {
    let bad = || Error::new(Code::Altered, format!("log {}: no bridge leads to the key of its checkpoint", row.number));
    let mut bridges: Vec<(u64, String)> = Vec::new();
    let mut leaf = hint(&row.checkpoint);
    while leaf > 0 {
        if leaf >= row.size || bridges.last().is_some_and(|(above, _)| leaf >= *above) {
            return Err(bad());
        }
        let bridge = bridge_at(tx, row.number, leaf + 1)?.ok_or_else(bad)?;
        let before = hint(&bridge);
        bridges.push((leaf, bridge));
        leaf = before;
    }
    let mut keys = LogKeys::default();
    keys.begin(first.clone());
    let origin = note::origin(&row.id);
    for (leaf, bridge) in bridges.iter().rev() {
        let (key, own) = key_at(tx, row.number, *leaf)?.ok_or_else(bad)?;
        let note = Note::parse(bridge.as_bytes())?;
        let root = Checkpoint::parse(note.text)?.root;
        // The tree that both keys signed ends with that leaf.
        let path = inclusion(&StoreTiles { tx, log: row.number }, *leaf, leaf + 1)?;
        let holds = includes(&root, leaf + 1, *leaf, &own, &path);
        if !(holds && keys.bring(*leaf, &key) && keys.bridge(&origin, &root, bridge.as_bytes())) {
            return Err(bad());
        }
    }
    Ok(keys)
}

impl Held {
    /// What is known of a log that was just opened.
    pub(crate) fn new(log: &[u8; 16], number: LogNumber, keys: LogKeys, keyring: Option<&Arc<Keyring>>) -> Result<Self> {
        let signing = signing(log, &keys, keyring)?;
        // The genesis and the slot were made at once; a later slot may be of a
        // rotation that came to nothing, or was made elsewhere.
        let other = keys.all().len() == 1 && signing.as_ref().is_some_and(|s| Some(s.public()) != keys.newest());
        if other {
            return Err(Error::new(Code::Altered, format!("log {number} names another checkpoint key than this machine's keyring")));
        }
        Ok(Self { signing: signing.filter(|s| Some(s.public()) == keys.newest()), keys })
    }
}

impl Held {
    /// The leaf that brought the newest key.
    fn newest(&self) -> u64 {
        self.keys.all().last().map_or(0, |(since, _)| brought(*since))
    }

    /// Whether the newest key can sign here.
    pub(crate) const fn signs(&self) -> bool {
        self.signing.is_some()
    }
}

/// The private half of the newest key, where the keyring has one.
fn signing(log: &[u8; 16], keys: &LogKeys, keyring: Option<&Arc<Keyring>>) -> Result<Option<Arc<SecretKey>>> {
    let (Some(keyring), Some((since, _))) = (keyring, keys.all().last()) else { return Ok(None) };
    Ok(keyring.signing(Role::Log, &owner(log, brought(*since)))?.map(Arc::new))
}

impl Log {
    /// The private half of the key in force, where it is here.
    pub(crate) fn signing(&self) -> Option<Arc<SecretKey>> {
        lock(&self.held).signing.clone()
    }

    /// The key that signs the newest checkpoints.
    pub(crate) fn key(&self) -> PublicKey {
        lock(&self.held).keys.newest().unwrap_or(&self.first_key).clone()
    }

    /// The key in force at a size.
    pub(crate) fn key_at(&self, size: u64) -> PublicKey {
        lock(&self.held).keys.in_force(size).unwrap_or(&self.first_key).clone()
    }

    /// Whether a checkpoint of this log is signed as one of its size must be.
    pub(crate) fn signs(&self, size: u64, note: &Note<'_>) -> bool {
        lock(&self.held).keys.sign(&note::origin(&self.id), size, note)
    }

    /// Whether a policy trusts the key in force, or one before it that leads to
    /// it by bridges.
    pub(crate) fn trusted_by(&self, policy: &Policy) -> bool {
        let origin = note::origin(&self.id);
        lock(&self.held).keys.trusted(u64::MAX, &|key| policy.trusts(&origin, key))
    }

    /// Learns of the keys that others took into use since.
    pub(crate) fn learn_keys(&self, tx: &dyn ReadTx, row: &LogRow) -> Result<()> {
        let newest = lock(&self.held).newest();
        if hint(&row.checkpoint) <= newest {
            return Ok(());
        }
        let keys = read(tx, row, &self.first_key)?;
        if !keys.all().starts_with(lock(&self.held).keys.all()) {
            return Err(Error::new(Code::Forked, format!("log {} went on with another key than this process has seen", self.number)));
        }
        let signing = signing(&self.id, &keys, self.keyring.as_ref())?.filter(|s| Some(s.public()) == keys.newest());
        *lock(&self.held) = Held { keys, signing };
        Ok(())
    }

    /// Takes a key into use that was just committed.
    pub(crate) fn take_key(&self, new: &NewLogKey) {
        let mut held = lock(&self.held);
        let origin = note::origin(&self.id);
        if held.keys.bring(new.leaf, &new.key.public().to_bytes()) && held.keys.bridge(&origin, &new.root, new.bridge.as_bytes()) {
            held.signing = Some(new.key.clone());
        }
    }

    /// The note that signs a tree.
    pub(crate) fn sign_checkpoint(&self, frontier: &Frontier) -> Option<String> {
        let held = lock(&self.held);
        held.signing.as_ref().map(|key| self.sign_by(key, held.newest(), frontier))
    }

    /// The same by a key that a leaf brought.
    pub(crate) fn sign_by(&self, key: &SecretKey, leaf: u64, frontier: &Frontier) -> String {
        let origin = note::origin(&self.id);
        let text = text(&origin, frontier, leaf);
        note::assemble(&text, &origin, key.public(), &key.sign_bytes(text.as_bytes()))
    }

    /// All keys, the oldest first.
    pub(crate) fn all_keys(&self) -> Vec<PublicKey> {
        lock(&self.held).keys.all().iter().map(|(_, key)| key.clone()).collect()
    }

    /// The leaves that brought the keys after the genesis's.
    pub(crate) fn brought_keys(&self) -> Vec<u64> {
        lock(&self.held).keys.all().iter().skip(1).map(|(since, _)| brought(*since)).collect()
    }

    /// The keys, for people.
    fn key_list(&self) -> Vec<LogKey> {
        let held = lock(&self.held);
        let of = |(since, key): &(u64, PublicKey)| self.describe(*since, key, Some(key) == held.keys.newest());
        held.keys.all().iter().map(of).collect()
    }

    fn describe(&self, since: u64, key: &PublicKey, in_force: bool) -> LogKey {
        LogKey {
            since,
            leaf: brought(since),
            fingerprint: Fingerprint::from(key.fingerprint()).to_string(),
            verifier_key: note::verifier_key(&note::origin(&self.id), key),
            in_force,
        }
    }
}

/// A key on its way into use.
pub(crate) struct NewLogKey {
    pub(crate) key: Arc<SecretKey>,
    /// The leaf that brings it.
    pub(crate) leaf: u64,
    /// The root over the leaves up to that one, and the note by both keys.
    pub(crate) root: Hash,
    pub(crate) bridge: String,
}

impl NewLogKey {
    /// Makes the next key of a log whose tree ends with the leaf that brings it.
    pub(crate) fn bridged(log: &Log, old: &SecretKey, new: Arc<SecretKey>, frontier: &Frontier) -> Self {
        let before = lock(&log.held).newest();
        let leaf = frontier.size().saturating_sub(1);
        let origin = note::origin(&log.id);
        let first = log.sign_by(old, before, frontier);
        let text = text(&origin, frontier, before);
        let line = note::signature_line(&origin, note::key_id(&origin, new.public()), &new.sign_bytes(text.as_bytes()));
        Self { key: new, leaf, root: frontier.root(), bridge: format!("{first}{line}\n") }
    }
}

impl Inner {
    /// Destroys the private halves of keys that a log no longer signs with, as
    /// long as the one that took their place is here. Whoever was killed after a
    /// rotation left one. `safe` says that the rotation is on the disk.
    pub(crate) fn forget_old_keys(&self, log: &Log, mut safe: bool) -> Result<()> {
        let Some(keyring) = self.keyring.as_ref().filter(|_| log.signing().is_some() && !self.read_only) else { return Ok(()) };
        let all: Vec<Hash> = lock(&log.held).keys.all().iter().map(|(since, _)| owner(&log.id, brought(*since))).collect();
        for owner in all.split_last().map_or(&[][..], |(_, old)| old) {
            if !keyring.has_slot(Role::Log, owner)? {
                continue;
            }
            // A loss of power that took the rotation back would leave no key.
            // Where that cannot be excluded now, the next opening does it.
            safe = safe || self.store.maintain()?;
            if !safe {
                tracing::warn!(log = log.number, "the key that was replaced stays in the keyring until the database is opened again");
                break;
            }
            keyring.forget(Role::Log, owner)?;
        }
        Ok(())
    }

    fn rotate_log_key(&self, log: &Arc<Log>) -> Result<LogKeyRotation> {
        if self.is_closed() {
            return Err(Error::new(Code::StoreClosed, format!("the database at {} was closed", self.store.location())));
        }
        let keyring = self.keyring.as_ref().ok_or_else(|| crate::log::without(&self.locked, "the keyring of this database is not here"))?;
        let mut done = Err(Error::new(Code::KeyExpired, "others change the log's own identity all the time"));
        for _ in 0..AHEAD {
            let (force, speaker) = self.speaking(log, &log.system)?;
            let speaker = Arc::new(speaker);
            let make = &mut |leaf| {
                let key = Arc::new(SecretKey::generate(&*self.entropy)?);
                // On the disk before the leaf that names it is.
                keyring.add(vec![NewKey { role: Role::Log, owner: owner(&log.id, leaf), key: key.seed() }], &[], &*self.entropy)?;
                Ok(key)
            };
            done = self.committer.rotate_log_key(log, &speaker, force.aseq, make);
            match &done {
                Err(e) if e.code() == Code::KeyExpired => drop(lock(&log.forces).remove(&log.system)),
                _ => break,
            }
        }
        let (before, new) = done?;
        self.release(std::slice::from_ref(log))?;
        self.forget_old_keys(log, self.durability == Durability::Full)?;
        tracing::info!(log = log.number, leaf = new.leaf, "the key of the log's checkpoints was rotated");
        Ok(LogKeyRotation {
            log: hex(&log.id),
            before: Fingerprint::from(before.fingerprint()).to_string(),
            key: log.describe(new.leaf + 2, new.key.public(), true),
            bridge: new.bridge,
        })
    }
}

impl Tenant {
    /// The keys that sign this log's checkpoints, the oldest first: which one is
    /// in force since which size.
    ///
    /// # Errors
    /// `store.*`; `log.altered` where no bridge leads to the key of the newest
    /// checkpoint.
    pub fn log_keys(&self) -> Result<Vec<LogKey>> {
        self.inner.store.read(&mut |tx| {
            let row = self.log.row(tx)?;
            self.log.learn_keys(tx, &row)
        })?;
        Ok(self.log.key_list())
    }

    /// Gives this tenant's log another key for its checkpoints, in one commit: an
    /// event that names the key, a checkpoint over it by both keys, and an event
    /// that holds this checkpoint. From there on the new key signs; the private
    /// half of the old one is destroyed. Whoever trusts the old key comes to trust
    /// the new one by what stands in the log; other processes go on with the new
    /// key at their next write.
    ///
    /// This is for keys that are old. One that was stolen goes on being trusted by
    /// whoever trusts it: leave the log then ([`Builder::fork`]).
    ///
    /// [`Builder::fork`]: crate::Builder::fork
    ///
    /// ```
    /// # use mirrordna::{Engine, IdentityType};
    /// let engine = Engine::open("memory:")?;
    /// let before = engine.fingerprint();
    /// let rotated = engine.main().rotate_log_key()?;
    /// assert_eq!(rotated.before, before.to_string());
    /// assert_eq!(rotated.key.fingerprint, engine.fingerprint().to_string());
    /// assert_eq!(engine.main().log_keys()?.len(), 2);
    /// assert!(engine.verify()?.is_intact());
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `key.missing` where the log's key, or that of its system actor, is not in
    /// this machine's keyring; `store.*`.
    pub fn rotate_log_key(&self) -> Result<LogKeyRotation> {
        self.inner.writable()?;
        self.inner.rotate_log_key(&self.log)
    }
}

/// Why nothing is signed here.
pub(crate) fn no_key() -> Error {
    let hint = "This copy of the database is older than the log's newest key. Go on from it with `mirrordna fork`, or use the newer copy.";
    missing("this machine's keyring has no key for the log's checkpoints").with_hint(hint)
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;
