//! The keyring: one append-only file per database, outside of it.
//!
//! This module **owns** the file's form, its encryption and its durability. It
//! **never** returns a private key to a caller of the SDK. Each key is a slot
//! encrypted under the keyring key. That one is derived from a passphrase
//! (Argon2id, once per open), or wrapped by a [`provider`], or, without either,
//! stands in the file: then the file's mode 0600 is all that protects it, and
//! `doctor` says so. A slot is found ([`slots`]) and opened when its key is
//! asked for, and the key is not kept here.

mod forget;
mod group;
#[cfg(feature = "os-keyring")]
pub(crate) mod os;
#[cfg(feature = "pq")]
mod pq;
pub(crate) mod provider;
mod reseal;
mod slots;
mod store_keys;
#[cfg(feature = "vault")]
pub(crate) mod vault;

use crate::input;
use crate::log::lock;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
pub(crate) use group::extend;
use group::{Appender, Lines};
use mirrordna_core::cipher::Secret;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::verify::note::{base64, from_base64};
use mirrordna_core::{Code, Entropy, Error, Hash, Result};
use provider::{KeyProvider, Unlock};
pub use reseal::NewProtection;
use serde::{Deserialize, Serialize};
use slots::Slots;
use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store_keys::StoreKeys;
pub(crate) use store_keys::generation_of;
use zeroize::{Zeroize, Zeroizing};

/// What a key is for; roles never share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Signs an actor's identity entries and epoch certificates.
    Actor,
    /// Signs the next version of a DID log.
    Update,
    /// Signs a log's checkpoints.
    Log,
    /// Wraps the keys of subjects of a database.
    Store,
    /// Makes keyed tags of a log: subjects, idempotency keys, tenants.
    Tags,
    /// Makes the ML-DSA-44 keys of a database's logs.
    Pq,
}

/// Where the keys of a database are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keys {
    /// `$MIRRORDNA_KEYS` (a folder, or a file), else
    /// `$XDG_DATA_HOME/mirrordna/keys/`, else `~/.local/share/mirrordna/keys/`.
    #[default]
    Default,
    /// `<database id>.keys` in this folder.
    Folder(PathBuf),
    /// In memory: gone with the process.
    Memory,
}

impl Keys {
    /// The keyring file of a database, by an absolute path, or `None` for keys in
    /// memory.
    ///
    /// # Errors
    /// `key.missing` where no folder for keys can be found.
    pub fn path(&self, database: &[u8; 16]) -> Result<Option<PathBuf>> {
        let name = format!("{}.keys", hex(database));
        let env = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = match self {
            Self::Memory => return Ok(None),
            Self::Folder(folder) => folder.clone(),
            Self::Default => match (env("MIRRORDNA_KEYS"), env("XDG_DATA_HOME"), env("HOME")) {
                (Some(keys), ..) if keys.is_file() || keys.extension().is_some_and(|e| e == "keys") => return settled(keys),
                (Some(keys), ..) => keys,
                (_, Some(data), _) => data.join("mirrordna/keys"),
                (_, _, Some(home)) => home.join(".local/share/mirrordna/keys"),
                _ => {
                    return Err(Error::new(
                        Code::KeyMissing,
                        "there is no place for the keyring: neither MIRRORDNA_KEYS, XDG_DATA_HOME nor HOME is set",
                    )
                    .with_hint("Set MIRRORDNA_KEYS to a folder outside the database's."));
                }
            },
        };
        settled(folder.join(name))
    }
}

/// The path from the working folder as it is now: the keyring is read and
/// appended to as long as the database is open, wherever the host goes.
fn settled(path: PathBuf) -> Result<Option<PathBuf>> {
    let whole = std::path::absolute(&path).map_err(|e| {
        Error::new(Code::KeyMissing, format!("the keyring {} has a relative path, and the working folder cannot be found", path.display()))
            .caused_by(e)
            .with_hint("Set MIRRORDNA_KEYS to an absolute path, or change to a folder that is there.")
    })?;
    Ok(Some(whole))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

/// The passphrase from `MIRRORDNA_PASSPHRASE` or the file that
/// `MIRRORDNA_PASSPHRASE_FILE` names.
///
/// # Errors
/// `config.invalid` if that file cannot be read.
pub fn passphrase_from_env() -> Result<Option<Zeroizing<String>>> {
    if let Some(text) = std::env::var("MIRRORDNA_PASSPHRASE").ok().filter(|t| !t.is_empty()) {
        return Ok(Some(Zeroizing::new(text)));
    }
    let Some(path) = std::env::var_os("MIRRORDNA_PASSPHRASE_FILE").filter(|p| !p.is_empty()) else { return Ok(None) };
    let text = input::text(Path::new(&path), "what MIRRORDNA_PASSPHRASE_FILE names", input::TEXT, Code::ConfigInvalid);
    let text = Zeroizing::new(text?);
    Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())))
}

#[derive(Serialize, Deserialize)]
struct Head {
    mdna_keyring: u32,
    database: String,
    /// Base64 of the keyring key: only in keyrings that nothing protects.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argon2id: Option<Argon>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Held>,
    /// A known text under the keyring key: tells a wrong passphrase.
    nonce: String,
    check: String,
}

/// The keyring key as its provider wrapped it.
#[derive(Serialize, Deserialize)]
struct Held {
    name: String,
    wrapped: String,
}

#[derive(Serialize, Deserialize)]
struct Argon {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    role: Role,
    owner: String,
    nonce: String,
    sealed: String,
}

#[derive(Serialize)]
struct Recovery<'a> {
    identity: &'a str,
    recovery_seed: &'a str,
}

const VERSION: u32 = 1;
/// Bytes read when a keyring is opened: its head, and the slots of the database
/// and of its first log.
const BEGINNING: usize = 4_096;
const CHECK: &[u8; 32] = b"mirrordna keyring, version one..";

/// A key to be stored.
pub(crate) struct NewKey {
    pub(crate) role: Role,
    pub(crate) owner: Hash,
    pub(crate) key: Zeroizing<[u8; 32]>,
}

/// A recovery key to be written to the file that the user moves away.
pub(crate) struct NewRecovery {
    pub(crate) identity: String,
    pub(crate) seed: Zeroizing<[u8; 32]>,
}

/// Keys by what they are for and whose they are.
type InMemory = HashMap<(Role, Hash), Zeroizing<[u8; 32]>>;

/// What protects the key of a keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// Nothing but the mode of its file: whoever reads that has the keys.
    None,
    /// A passphrase.
    Passphrase,
    /// A provider of this name.
    Provider(String),
    /// The keys are in memory and in no file.
    Memory,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Passphrase => f.write_str("passphrase"),
            Self::Provider(name) => f.write_str(name),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// What became of the search for a keyring.
pub(crate) enum Found {
    /// It is here, and opens.
    Open(Arc<Keyring>),
    /// It is here; what opens it was not given.
    Locked(Error),
    /// It is not here, or there is no place for one.
    Absent,
}

/// Where the keys of an open keyring are.
enum Place {
    Memory(Mutex<InMemory>),
    File(Slots),
}

/// The keys of one database, opened.
pub(crate) struct Keyring {
    path: Option<PathBuf>,
    database: [u8; 16],
    kek: Zeroizing<[u8; 32]>,
    protection: Protection,
    place: Place,
    store_keys: StoreKeys,
    appender: Appender,
    /// Slots that were decrypted.
    #[cfg(test)]
    opened: std::sync::atomic::AtomicU64,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({})", self.path.as_deref().map_or_else(|| "memory".into(), |p| p.display().to_string()))
    }
}

/// The owner of keys that belong to a log or a database.
pub(crate) fn owner(id: &[u8; 16]) -> Hash {
    let mut out = [0; 32];
    out[..16].copy_from_slice(id);
    out
}

fn derive(passphrase: &str, argon: &Argon) -> Result<Zeroizing<[u8; 32]>> {
    let refuse = |why: &str| Error::new(Code::KeyringInvalid, format!("the keyring's Argon2id parameters are {why}"));
    // A foreign file must not make us allocate or compute without bound.
    if argon.memory_kib > 1 << 21 || argon.passes > 64 || argon.lanes > 16 {
        return Err(refuse("beyond every sensible value"));
    }
    let params = argon2::Params::new(argon.memory_kib, argon.passes, argon.lanes, Some(32)).map_err(|_| refuse("not acceptable"))?;
    let salt = from_base64(&argon.salt).ok_or_else(|| refuse("without a salt"))?;
    let mut out = Zeroizing::new([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &salt, out.as_mut())
        .map_err(|_| refuse("not acceptable"))?;
    Ok(out)
}

fn aad(database: &[u8; 16], label: &str, owner: &Hash) -> Vec<u8> {
    [b"mdna.kr1".as_slice(), database, label.as_bytes(), owner].concat()
}

fn seal(kek: &[u8; 32], aad: &[u8], text: &[u8; 32], entropy: &dyn Entropy) -> Result<(String, String)> {
    let (nonce, sealed) = seal_bytes(kek, aad, text, entropy)?;
    Ok((base64(&nonce), base64(&sealed)))
}

/// Nonce, then ciphertext and tag.
fn seal_bytes(kek: &[u8; 32], aad: &[u8], text: &[u8; 32], entropy: &dyn Entropy) -> Result<([u8; 24], [u8; 48])> {
    let nonce: [u8; 24] = mirrordna_core::random(entropy)?;
    let mut buffer = Zeroizing::new(*text);
    let tag = XChaCha20Poly1305::new(kek.into())
        .encrypt_inout_detached(&nonce.into(), aad, buffer.as_mut_slice().into())
        .map_err(|_| Error::new(Code::Bug, "the AEAD refused to encrypt a key"))?;
    let mut sealed = [0; 48];
    sealed[..32].copy_from_slice(&*buffer);
    sealed[32..].copy_from_slice(&tag);
    Ok((nonce, sealed))
}

fn open(kek: &[u8; 32], aad: &[u8], nonce: &str, sealed: &str) -> Option<Zeroizing<[u8; 32]>> {
    let nonce: [u8; 24] = from_base64(nonce)?.try_into().ok()?;
    let raw: [u8; 48] = from_base64(sealed)?.try_into().ok()?;
    open_bytes(kek, aad, &nonce, &raw)
}

fn open_bytes(kek: &[u8; 32], aad: &[u8], nonce: &[u8; 24], sealed: &[u8; 48]) -> Option<Zeroizing<[u8; 32]>> {
    let (text, tag) = sealed.split_at(32);
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(text);
    let tag: [u8; 16] = tag.try_into().ok()?;
    XChaCha20Poly1305::new(kek.into()).decrypt_inout_detached(&(*nonce).into(), aad, out.as_mut_slice().into(), &tag.into()).ok()?;
    Some(out)
}

impl Role {
    const ALL: [Self; 6] = [Self::Actor, Self::Update, Self::Log, Self::Store, Self::Tags, Self::Pq];

    const fn label(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Update => "update",
            Self::Log => "log",
            Self::Store => "store",
            Self::Tags => "tags",
            Self::Pq => "pq",
        }
    }
}

/// What is to protect a new keyring key.
enum Guard<'a> {
    Nothing,
    Passphrase(&'a str),
    Provider(&'a dyn KeyProvider),
}

impl Guard<'_> {
    fn protection(&self) -> Protection {
        match self {
            Guard::Nothing => Protection::None,
            Guard::Passphrase(_) => Protection::Passphrase,
            Guard::Provider(provider) => Protection::Provider(provider.name().to_owned()),
        }
    }
}

/// A new keyring key and the line that stands for it.
fn new_head(database: &[u8; 16], guard: &Guard<'_>, entropy: &dyn Entropy) -> Result<(Zeroizing<[u8; 32]>, Head)> {
    let mut head = Head {
        mdna_keyring: VERSION,
        database: hex(database),
        key: None,
        argon2id: None,
        provider: None,
        nonce: String::new(),
        check: String::new(),
    };
    let kek = match guard {
        Guard::Passphrase(passphrase) => {
            let salt = base64(&mirrordna_core::random::<16>(entropy)?);
            let argon = Argon { memory_kib: 64 * 1024, passes: 3, lanes: 1, salt };
            let kek = derive(passphrase, &argon)?;
            head.argon2id = Some(argon);
            kek
        }
        Guard::Nothing | Guard::Provider(_) => Zeroizing::new(mirrordna_core::random::<32>(entropy)?),
    };
    match guard {
        Guard::Nothing => head.key = Some(base64(&*kek)),
        Guard::Passphrase(_) => {}
        Guard::Provider(provider) => {
            let wrapped = provider::wrap(*provider, database, &kek)?;
            head.provider = Some(Held { name: provider.name().to_owned(), wrapped: base64(&wrapped) });
        }
    }
    (head.nonce, head.check) = seal(&kek, &aad(database, "check", &owner(database)), CHECK, entropy)?;
    Ok((kek, head))
}

impl Keyring {
    /// A keyring for a new database, with its head on disk.
    pub(crate) fn create(keys: &Keys, database: [u8; 16], unlock: &Unlock, entropy: &dyn Entropy) -> Result<Self> {
        let path = keys.path(&database)?;
        let guard = unlock.guard()?;
        let Some(path) = path else {
            let kek = Zeroizing::new(mirrordna_core::random::<32>(entropy)?);
            return Ok(Self::of(None, database, kek, Protection::Memory, Place::Memory(Mutex::default())));
        };
        let (kek, mut head) = new_head(&database, &guard, entropy)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        create_private_folder(folder)?;
        let mut file = private_file(&path, true)?;
        let line = json_line(&head)?;
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(|e| io(&path, "cannot write the keyring", e))?;
        sync_folder(folder)?;
        head.key.zeroize();
        let place = Place::File(Slots::new(&path, &[]));
        Ok(Self::of(Some(path), database, kek, guard.protection(), place))
    }

    /// Opens the keyring of a database, where it is here.
    pub(crate) fn open(keys: &Keys, database: [u8; 16], unlock: &Unlock) -> Result<Found> {
        let path = match keys.path(&database) {
            Ok(Some(path)) => path,
            // Without a place for keys, nothing can be opened, but all that
            // needs no key still can be read.
            Ok(None) | Err(_) => return Ok(Found::Absent),
        };
        let mut bytes = Zeroizing::new(vec![0; BEGINNING]);
        match File::open(&path).and_then(|mut file| read_full(&mut file, &mut bytes)) {
            Ok(read) => bytes.truncate(read),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Absent),
            // Another user's: to this one the keys are not here.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                let message = format!("the keyring {} may not be read by this user", path.display());
                return Ok(Found::Locked(Error::new(Code::KeyMissing, message).caused_by(e)));
            }
            Err(e) => return Err(io(&path, "cannot read the keyring", e)),
        }
        let refuse = |why: &str| Error::new(Code::KeyringInvalid, format!("{} {why}", path.display()));
        let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let mut head: Head = serde_json::from_slice(first).map_err(|_| refuse("is no keyring"))?;
        if head.mdna_keyring != VERSION {
            return Err(refuse("is of another version of the keyring"));
        }
        if head.database != hex(&database) {
            return Err(refuse("is the keyring of another database"));
        }
        let (kek, protection) = match (&head.key, &head.argon2id, &head.provider) {
            (Some(key), None, None) => {
                let raw = from_base64(key).map(Zeroizing::new);
                let raw = raw.and_then(|k| <[u8; 32]>::try_from(k.as_slice()).ok()).ok_or_else(|| refuse("has a damaged key"))?;
                (Zeroizing::new(raw), Protection::None)
            }
            (None, Some(argon), None) => match unlock.passphrase() {
                Some(passphrase) => (derive(passphrase, argon)?, Protection::Passphrase),
                None => return Ok(Found::Locked(Error::new(Code::KeyPassphrase, format!("{} needs a passphrase", path.display())))),
            },
            (None, None, Some(held)) => match unlock.provider().filter(|p| p.name() == held.name) {
                Some(provider) => {
                    let wrapped = from_base64(&held.wrapped).ok_or_else(|| refuse("has a damaged key"))?;
                    (provider.unwrap(&database, &wrapped)?, Protection::Provider(held.name.clone()))
                }
                None => return Ok(Found::Locked(provider::needed(&path, &held.name))),
            },
            _ => return Err(refuse("says otherwise than in one way what protects its key")),
        };
        head.key.zeroize();
        let check = open(&kek, &aad(&database, "check", &owner(&database)), &head.nonce, &head.check);
        if check.is_none_or(|c| *c != *CHECK) {
            let why = match protection {
                Protection::Passphrase => Code::KeyPassphrase,
                Protection::Provider(_) => Code::KeyProvider,
                Protection::None | Protection::Memory => Code::KeyringInvalid,
            };
            return Err(Error::new(why, format!("{} does not open with this passphrase or key", path.display())));
        }
        let place = Place::File(Slots::new(&path, &bytes));
        Ok(Found::Open(Arc::new(Self::of(Some(path), database, kek, protection, place))))
    }

    fn of(path: Option<PathBuf>, database: [u8; 16], kek: Zeroizing<[u8; 32]>, protection: Protection, place: Place) -> Self {
        Self {
            path,
            database,
            kek,
            protection,
            place,
            store_keys: StoreKeys::default(),
            appender: Appender::default(),
            #[cfg(test)]
            opened: Default::default(),
        }
    }

    /// Adds keys, durably, before anything that uses them is published. Threads
    /// that add at the same time share the syncs.
    pub(crate) fn add(&self, new: Vec<NewKey>, recovery: &[NewRecovery], entropy: &dyn Entropy) -> Result<()> {
        let (path, slots) = match (&self.path, &self.place) {
            (Some(path), Place::File(slots)) => (path, slots),
            (_, Place::Memory(held)) => {
                lock(held).extend(new.into_iter().map(|k| ((k.role, k.owner), k.key)));
                return Ok(());
            }
            (None, Place::File(_)) => return Err(Error::new(Code::Bug, "a keyring file without a place")),
        };
        let mut lines = Lines::default();
        for k in &new {
            let (nonce, sealed) = seal(&self.kek, &aad(&self.database, k.role.label(), &k.owner), &k.key, entropy)?;
            extend(&mut lines.keyring, &json_line(&Slot { role: k.role, owner: hex(&k.owner), nonce, sealed })?);
        }
        for r in recovery {
            let seed = Zeroizing::new(base64(&*r.seed));
            extend(&mut lines.recovery, &json_line(&Recovery { identity: &r.identity, recovery_seed: &seed })?);
        }
        self.appender.append(&lines, &|lines| {
            // Before the recovery file is touched: no keys are made for a keyring
            // that is gone.
            let keyring = own_file(path)?;
            if !lines.recovery.is_empty() {
                let recovery = self.recovery_path().unwrap_or_else(|| path.clone());
                append(&recovery, private_file(&recovery, false)?, &lines.recovery)?;
            }
            slots.grew(append(path, keyring, &lines.keyring)?)
        })
    }

    fn get(&self, role: Role, owner: &Hash) -> Result<Option<Zeroizing<[u8; 32]>>> {
        let slots = match &self.place {
            Place::Memory(held) => return Ok(lock(held).get(&(role, *owner)).cloned()),
            Place::File(slots) => slots,
        };
        let mut altered = None;
        // Where something else stands than the index says, all slots are read:
        // then what is found is there.
        for _ in 0..2 {
            let Some(at) = slots.find(role, owner)? else { break };
            let line = slots.line(at)?;
            // A key that was destroyed while this process had the keyring open.
            altered = Some(at).filter(|_| !line.is_empty() && line.iter().any(|b| *b != b' '));
            if slots::name(&line) == Some((role, *owner)) {
                let slot = serde_json::from_slice::<Slot>(&line).ok();
                let key = slot.and_then(|s| open(&self.kek, &aad(&self.database, role.label(), owner), &s.nonce, &s.sealed));
                #[cfg(test)]
                self.opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                return key.map(Some).ok_or_else(|| self.altered(role, owner, at));
            }
            slots.misled()?;
        }
        match altered {
            Some(at) => Err(self.altered(role, owner, at)),
            None => Ok(None),
        }
    }

    /// A slot was found, and does not open.
    fn altered(&self, role: Role, owner: &Hash, at: u64) -> Error {
        let path = self.path.as_deref().unwrap_or(Path::new("the keyring")).display();
        let message =
            format!("{path}: the slot of the {} key of {} at byte {at} was altered or cut short", role.label(), hex(&owner[..16]));
        let hint = "Restore the keyring from its backup, and keep the lines that were added since. Its other keys still work.";
        Error::new(Code::KeyringInvalid, message).with_hint(hint)
    }

    /// A signing key; `None` where there is no slot for it.
    ///
    /// # Errors
    /// `keyring.invalid` where its slot was altered, `store.io`.
    pub(crate) fn signing(&self, role: Role, owner: &Hash) -> Result<Option<SecretKey>> {
        Ok(self.get(role, owner)?.map(|seed| SecretKey::from_seed(&seed)))
    }

    /// A symmetric key; `None` where there is no slot for it.
    ///
    /// # Errors
    /// As [`Keyring::signing`].
    pub(crate) fn secret(&self, role: Role, owner: &Hash) -> Result<Option<Secret>> {
        Ok(self.get(role, owner)?.map(|k| Secret::from_bytes(*k)))
    }

    /// Id of the database whose keys these are.
    pub(crate) const fn database(&self) -> &[u8; 16] {
        &self.database
    }

    /// The file, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The file with recovery keys, which the user is told to move away.
    pub(crate) fn recovery_path(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|p| p.with_extension("recovery"))
    }

    /// What protects the keys.
    pub(crate) const fn protection(&self) -> &Protection {
        &self.protection
    }
}

pub(crate) fn unhex(text: &str) -> Option<Hash> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != 32 {
        return None;
    }
    let mut out = [0; 32];
    for (o, p) in out.iter_mut().zip(pairs) {
        let digit = |b: u8| char::from(b).to_digit(16);
        *o = (digit(p[0])? << 4 | digit(p[1])?) as u8;
    }
    Some(out)
}

/// A line of a keyring or a recovery file. No line is longer than what it has
/// room for from the beginning: growing would leave copies of a key behind.
fn json_line(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(slots::LONGEST));
    serde_json::to_writer(&mut *line, value).map_err(|e| Error::new(Code::Bug, "a keyring line does not serialise").caused_by(e))?;
    line.push(b'\n');
    Ok(line)
}

fn io(path: &Path, doing: &str, e: std::io::Error) -> Error {
    use std::io::ErrorKind;
    let code = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::StoreFull,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Code::StoreReadOnly,
        _ => Code::StoreIo,
    };
    Error::new(code, format!("{doing} {}", path.display()))
        .caused_by(e)
        .with_hint("Set MIRRORDNA_KEYS to a folder that can be written, outside the database's.")
}

fn create_private_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists()).collect();
    builder.create(folder).map_err(|e| io(folder, "cannot create the keyring's folder", e))?;
    // The name of a new folder is data of the one above.
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_folder)
}

fn private_file(path: &Path, new: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).create_new(new);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|e| io(path, "cannot open", e))
}

/// The keyring that this process opened, to append to it. It is never made here:
/// without its first line nobody could open it, and what was appended would be
/// lost with the keys that it is to hold.
fn own_file(path: &Path) -> Result<File> {
    let gone = |why: &str| {
        let message = format!("the keyring {} {why} since the database was opened", path.display());
        Error::new(Code::StoreIo, message).with_hint("Put the keyring back where it was, or restore it from its backup; then try again.")
    };
    match OpenOptions::new().append(true).open(path) {
        Ok(file) if file.metadata().map_err(|e| io(path, "cannot read", e))?.len() == 0 => Err(gone("was emptied")),
        Ok(file) => Ok(file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(gone("was removed").caused_by(e)),
        Err(e) => Err(io(path, "cannot open", e)),
    }
}

/// Fills a buffer as far as the file goes.
fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..])? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

/// Appends lines under an exclusive lock and syncs them; returns the length
/// that the file has then.
fn append(path: &Path, mut file: File, lines: &[u8]) -> Result<u64> {
    let err = |e| io(path, "cannot append to", e);
    file.lock().map_err(err)?;
    // The name of a new file is data of its folder, and must be durable before
    // its first line counts. A file that holds something went through here
    // before, so nobody can be killed between the two and leave them apart.
    if file.metadata().map_err(err)?.len() == 0 {
        sync_folder(path.parent().unwrap_or(Path::new(".")))?;
    }
    // A line that a crash cut short must not swallow the next one.
    let mut text = Zeroizing::new(Vec::with_capacity(lines.len() + 1));
    if !ends_with_newline(path).map_err(err)? {
        text.push(b'\n');
    }
    text.extend_from_slice(lines);
    file.write_all(&text).and_then(|()| file.sync_data()).map_err(err)?;
    let length = file.metadata().map_err(err)?.len();
    file.unlock().map_err(err)?;
    Ok(length)
}

fn ends_with_newline(path: &Path) -> std::io::Result<bool> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last[0] == b'\n')
}

fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io(folder, "cannot sync", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemEntropy;

    fn unlock(passphrase: Option<&str>) -> Unlock {
        Unlock { passphrase: passphrase.map(|p| Zeroizing::new(p.to_owned())), provider: None }
    }

    fn open(keys: &Keys, database: [u8; 16], passphrase: Option<&str>) -> Result<Option<Arc<Keyring>>> {
        match Keyring::open(keys, database, &unlock(passphrase))? {
            Found::Open(ring) => Ok(Some(ring)),
            Found::Locked(e) => Err(e),
            Found::Absent => Ok(None),
        }
    }

    fn key(byte: u8) -> NewKey {
        NewKey { role: Role::Actor, owner: [byte; 32], key: Zeroizing::new([byte; 32]) }
    }

    #[test]
    fn a_keyring_that_is_gone_is_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::Folder(dir.path().to_owned());
        let ring = Keyring::create(&keys, [1; 16], &unlock(None), &SystemEntropy).unwrap();
        ring.add(vec![key(1)], &[], &SystemEntropy).unwrap();
        let (path, recovery) = (ring.path().unwrap().to_owned(), ring.recovery_path().unwrap());
        let new = || NewRecovery { identity: "mdna_agt_00".into(), seed: Zeroizing::new([2; 32]) };
        let away = dir.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        for emptied in [false, true] {
            if emptied {
                File::create_new(&path).unwrap();
            }
            let e = ring.add(vec![key(2)], &[new()], &SystemEntropy).unwrap_err();
            assert_eq!(e.code(), Code::StoreIo, "{e}");
            assert_eq!((path.exists(), recovery.exists()), (emptied, false));
        }
        // It is put back: everything goes on, and nothing was lost.
        std::fs::rename(&away, &path).unwrap();
        ring.add(vec![key(3)], &[new()], &SystemEntropy).unwrap();
        assert!(recovery.exists());
        let again = open(&keys, [1; 16], None).unwrap().unwrap();
        let there = |n: u8| again.get(Role::Actor, &[n; 32]).unwrap().is_some();
        assert_eq!([1, 2, 3].map(there), [true, false, true]);
    }

    #[test]
    fn keys_survive_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::Folder(dir.path().join("deep/keys"));
        for passphrase in [None, Some("correct horse")] {
            let db = [passphrase.map_or(1, |_| 2); 16];
            let ring = Keyring::create(&keys, db, &unlock(passphrase), &SystemEntropy).unwrap();
            ring.add(vec![key(5)], &[], &SystemEntropy).unwrap();
            let path = ring.path().unwrap().to_owned();
            let other = open(&keys, db, passphrase).unwrap().unwrap();
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"role\":\"act").unwrap();
            ring.add(vec![key(6)], &[NewRecovery { identity: "x".into(), seed: Zeroizing::new([1; 32]) }], &SystemEntropy).unwrap();
            let again = open(&keys, db, passphrase).unwrap().unwrap();
            for ring in [&other, &again] {
                assert!(ring.signing(Role::Actor, &[5; 32]).unwrap().is_some() && ring.signing(Role::Actor, &[6; 32]).unwrap().is_some());
                assert!(ring.signing(Role::Log, &[5; 32]).unwrap().is_none());
            }
            assert!(ring.recovery_path().unwrap().exists());
            #[cfg(unix)]
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        }
        assert_eq!(open(&keys, [2; 16], None).unwrap_err().code(), Code::KeyPassphrase);
        assert_eq!(open(&keys, [2; 16], Some("wrong")).unwrap_err().code(), Code::KeyPassphrase);
        assert!(open(&keys, [3; 16], None).unwrap().is_none());
    }

    /// Many identities' slots, as `add` writes them.
    fn many(ring: &Keyring, owners: std::ops::Range<u32>) {
        let new = |n: u32| [Role::Actor, Role::Update].map(|role| NewKey { role, owner: named(n), key: Zeroizing::new([n as u8; 32]) });
        for start in owners.clone().step_by(100) {
            ring.add((start..owners.end.min(start + 100)).flat_map(new).collect(), &[], &SystemEntropy).unwrap();
        }
    }

    fn named(n: u32) -> Hash {
        mirrordna_core::verify::hash::sha256(&[&n.to_be_bytes()])
    }

    fn has(ring: &Keyring, n: u32) -> bool {
        let keys = [Role::Actor, Role::Update].map(|role| ring.get(role, &named(n)).unwrap());
        assert!(keys.iter().flatten().all(|k| **k == [n as u8; 32]));
        keys.iter().all(Option::is_some)
    }

    fn read(ring: &Keyring) -> (u64, u64) {
        let Place::File(slots) = &ring.place else { panic!("a keyring in memory") };
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        (slots.read.load(relaxed), ring.opened.load(relaxed))
    }

    #[test]
    fn a_long_keyring_opens_by_its_head_and_finds_keys_by_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, db) = (Keys::Folder(dir.path().into()), [1; 16]);
        let ring = Keyring::create(&keys, db, &unlock(None), &SystemEntropy).unwrap();
        let store = NewKey { role: Role::Store, owner: owner(&db), key: Zeroizing::new([9; 32]) };
        ring.add(vec![store], &[], &SystemEntropy).unwrap();
        many(&ring, 0..3_000);
        let length = std::fs::metadata(ring.path().unwrap()).unwrap().len();
        let index = dir.path().join(format!("{}.index", hex(&db)));
        assert!(std::fs::metadata(&index).unwrap().len() > 0);

        let open = || self::open(&keys, db, None).unwrap().unwrap();
        let ring = open();
        assert!(ring.secret(Role::Store, &owner(&db)).unwrap().is_some());
        assert_eq!(read(&ring).1, 1, "only what was asked for is decrypted");
        assert!(read(&ring).0 < 4_096, "only the slot is read");
        for n in [0, 1, 1_500, 2_999] {
            assert!(has(&ring, n));
        }
        assert!(read(&ring).0 < length / 2 && read(&ring).1 == 9, "{:?} of {length}", read(&ring));
        // That a key is nowhere is known only when the index was compared.
        assert!(!has(&ring, 3_000));
        let compared = read(&ring).0;
        assert!(compared > length / 2 && !has(&ring, 3_001) && read(&ring).0 == compared, "once");
        // What others add later is found.
        many(&open(), 3_000..3_003);
        assert!((3_000..3_003).all(|n| has(&ring, n)));

        // Whatever becomes of the index, keys are found and none is invented.
        let whole = std::fs::read(&index).unwrap();
        let damaged = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let mut others = vec![0; whole.len()];
        others.copy_from_slice(&whole);
        others[..16 * 1_024].as_chunks_mut::<16>().0.sort_by_key(|e| e[15]);
        for bytes in
            [damaged(3), damaged(16 * 600 + 13), damaged(whole.len() - 1), vec![0; whole.len()], whole[..whole.len() / 2].to_vec(), others]
        {
            std::fs::write(&index, bytes).unwrap();
            let ring = open();
            assert!((0..3_003).step_by(47).all(|n| has(&ring, n)) && !has(&ring, 4_000));
        }
        // The next who adds enough writes it anew.
        std::fs::write(&index, vec![0; whole.len()]).unwrap();
        let ring = open();
        assert!(!has(&ring, 4_000));
        many(&ring, 4_000..5_600);
        assert!(std::fs::metadata(&index).unwrap().len() > whole.len() as u64);
        let ring = open();
        assert!((0..3_003).chain(4_000..5_600).step_by(47).all(|n| has(&ring, n)) && read(&ring).0 < length / 2);
        // A run that another process adds is compared too.
        let ring = open();
        assert!(!has(&ring, 6_000));
        let length = std::fs::metadata(ring.path().unwrap()).unwrap().len();
        let mut runs = std::fs::read(&index).unwrap();
        runs.extend_from_slice(&[vec![0; 16 * 1_024], b"mdna.ki1".to_vec(), length.to_be_bytes().to_vec()].concat());
        std::fs::write(&index, runs).unwrap();
        many(&ring, 6_000..6_900);
        assert!((0..3_003).chain(4_000..5_600).chain(6_000..6_900).step_by(47).all(|n| has(&ring, n)));
        // An index of another keyring is none of this one.
        std::fs::remove_file(ring.path().unwrap()).unwrap();
        let ring = Keyring::create(&keys, db, &unlock(None), &SystemEntropy).unwrap();
        many(&ring, 7_000..7_010);
        assert!(has(&ring, 7_009) && !has(&ring, 1));
    }

    #[test]
    fn a_newer_store_key_is_found_in_a_long_keyring_by_whoever_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, db) = (Keys::Folder(dir.path().into()), [1; 16]);
        let ring = Keyring::create(&keys, db, &unlock(None), &SystemEntropy).unwrap();
        let store = NewKey { role: Role::Store, owner: owner(&db), key: Zeroizing::new([9; 32]) };
        ring.add(vec![store], &[], &SystemEntropy).unwrap();
        many(&ring, 0..1_200);
        let other = open(&keys, db, None).unwrap().unwrap();
        assert_eq!((ring.newest_store_key().unwrap(), other.newest_store_key().unwrap()), (0, 0));
        assert_eq!(ring.add_store_key(&SystemEntropy).unwrap(), 1);
        // In what came after the last run of the index, then in a run.
        for more in [1_200..1_201, 1_201..2_600] {
            many(&ring, more);
            let again = open(&keys, db, None).unwrap().unwrap();
            for ring in [&ring, &other, &again] {
                assert_eq!(ring.newest_store_key().unwrap(), 1);
                assert!(ring.store_key(1).unwrap().is_some() && ring.store_key(2).unwrap().is_none());
            }
            assert!(read(&again).0 > 0);
        }
        let wrapped = other.wrap_subject(&db, &[3; 32], &Secret::from_bytes([4; 32])).unwrap();
        assert!(wrapped.len() == 44 && ring.unwrap_subject(&db, &[3; 32], &wrapped).unwrap() == Some(Secret::from_bytes([4; 32])));
        assert!(ring.unwrap_subject(&db, &[5; 32], &wrapped).unwrap().is_none());
        // An index that does not hold hides it from nobody.
        let index = dir.path().join(format!("{}.index", hex(&db)));
        let length = std::fs::metadata(&index).unwrap().len();
        std::fs::write(&index, vec![7; length as usize]).unwrap();
        let again = open(&keys, db, None).unwrap().unwrap();
        assert!(again.store_key(1).unwrap().is_some() && again.newest_store_key().unwrap() == 1);
    }

    #[test]
    fn an_altered_slot_is_named_when_its_key_is_needed_and_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, db) = (Keys::Folder(dir.path().into()), [1; 16]);
        let ring = Keyring::create(&keys, db, &unlock(None), &SystemEntropy).unwrap();
        many(&ring, 0..20);
        let path = ring.path().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().nth(9).unwrap();
        let (at, role) = (text.find(line).unwrap(), Role::Actor);
        assert_eq!(slots::name(line.as_bytes()), Some((role, named(4))));
        for position in (0..line.len()).step_by(5).chain([line.len() - 3]) {
            std::fs::write(path, &text).unwrap();
            let ring = open(&keys, db, None).unwrap().unwrap();
            assert!(has(&ring, 4));
            let mut bytes = text.clone().into_bytes();
            bytes[at + position] ^= 2;
            std::fs::write(path, bytes).unwrap();
            // One that knew where it was, and one that reads it as it is now.
            let again = open(&keys, db, None).unwrap().unwrap();
            for (known, knew) in [(&ring, true), (&again, false)] {
                match known.get(role, &named(4)) {
                    Err(e) => {
                        assert_eq!(e.code(), Code::KeyringInvalid);
                        assert!(e.message().contains(&format!("at byte {at}")) && e.hint().contains("backup"), "{e}");
                    }
                    // Where its name was altered nothing says that it was here.
                    Ok(found) => assert!(found.is_none() && position < 89 && !knew, "byte {position}"),
                }
                assert!((0..20).filter(|n| *n != 4).all(|n| has(known, n)), "byte {position}");
            }
        }
        // Cut short by a crash, and another one after it.
        std::fs::write(path, [&text[..at + 120], "\n", &text[at + line.len() + 1..]].concat()).unwrap();
        let again = open(&keys, db, None).unwrap().unwrap();
        assert_eq!(again.get(role, &named(4)).unwrap_err().code(), Code::KeyringInvalid);
        assert!((0..20).filter(|n| *n != 4).all(|n| has(&again, n)));
    }

    #[test]
    fn threads_that_add_at_once_share_syncs_and_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, db) = (Keys::Folder(dir.path().into()), [1; 16]);
        Keyring::create(&keys, db, &unlock(None), &SystemEntropy).unwrap();
        // Two keyrings stand for two processes.
        let rings = [0, 1].map(|_| open(&keys, db, None).unwrap().unwrap());
        std::thread::scope(|s| {
            for thread in 0..16u32 {
                let ring = &rings[thread as usize % 2];
                s.spawn(move || {
                    for n in thread * 100..thread * 100 + 30 {
                        let new =
                            [Role::Actor, Role::Update].map(|role| NewKey { role, owner: named(n), key: Zeroizing::new([n as u8; 32]) });
                        let recovery = NewRecovery { identity: format!("i{n}"), seed: Zeroizing::new([n as u8; 32]) };
                        ring.add(new.into(), &[recovery], &SystemEntropy).unwrap();
                        assert!(has(ring, n), "usable as soon as it is added");
                    }
                });
            }
        });
        let again = open(&keys, db, None).unwrap().unwrap();
        for ring in rings.iter().chain([&again]) {
            assert!((0..16).flat_map(|t| t * 100..t * 100 + 30).all(|n| has(ring, n)));
        }
        let recovery = std::fs::read_to_string(again.recovery_path().unwrap()).unwrap();
        assert_eq!(recovery.lines().count(), 16 * 30);
        assert!(recovery.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
        // Those who waited for a write that failed are told so too.
        std::fs::remove_dir_all(dir.path()).unwrap();
        std::thread::scope(|s| {
            let failing = (0..8).map(|n| {
                let ring = &rings[0];
                s.spawn(move || ring.add(vec![key(n)], &[], &SystemEntropy).unwrap_err())
            });
            let errors: Vec<_> = failing.collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect();
            assert!(errors.iter().all(|e| e.code() == Code::StoreIo && e.to_string().contains("was removed")), "{errors:?}");
        });
    }

    #[test]
    fn debug_and_files_hold_no_key_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::create(&Keys::Folder(dir.path().into()), [1; 16], &unlock(Some("p")), &SystemEntropy).unwrap();
        ring.add(vec![key(0x41)], &[], &SystemEntropy).unwrap();
        let text = std::fs::read_to_string(ring.path().unwrap()).unwrap();
        assert!(!text.contains(&base64(&[0x41; 32])) && !format!("{ring:?}").contains("AAAA"));
    }
}
