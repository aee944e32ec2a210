//! The keyring: one append-only file per database, outside of it.
//!
//! This module **owns** the file's form, its encryption and its durability. It
//! **never** returns a private key to a caller of the SDK. Each key is a slot
//! encrypted under the keyring key, which is wrapped by a passphrase
//! (Argon2id, once per open) or, without one, stands in the file: then the
//! file's mode 0600 is all that protects it, and `doctor` says so.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use mirrordna_core::cipher::Secret;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::verify::note::{base64, from_base64};
use mirrordna_core::{Code, Entropy, Error, Hash, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

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
    /// The keyring file of a database, or `None` for keys in memory.
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
                (Some(keys), ..) if keys.is_file() || keys.extension().is_some_and(|e| e == "keys") => return Ok(Some(keys)),
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
        Ok(Some(folder.join(name)))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
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
    let text = std::fs::read_to_string(&path).map_err(|e| {
        Error::new(Code::ConfigInvalid, format!("MIRRORDNA_PASSPHRASE_FILE: cannot read {}", Path::new(&path).display())).caused_by(e)
    })?;
    Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())))
}

#[derive(Serialize, Deserialize)]
struct Head {
    mdna_keyring: u32,
    database: String,
    /// Base64 of the keyring key: only in keyrings without a passphrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    argon2id: Option<Argon>,
    /// A known text under the keyring key: tells a wrong passphrase.
    nonce: String,
    check: String,
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

const VERSION: u32 = 1;
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
type Slots = HashMap<(Role, Hash), Zeroizing<[u8; 32]>>;

/// The keys of one database, opened.
pub(crate) struct Keyring {
    path: Option<PathBuf>,
    database: [u8; 16],
    kek: Zeroizing<[u8; 32]>,
    has_passphrase: bool,
    keys: Mutex<Slots>,
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
    let nonce: [u8; 24] = mirrordna_core::random(entropy)?;
    let mut buffer = Zeroizing::new(text.to_vec());
    let tag = XChaCha20Poly1305::new(kek.into())
        .encrypt_inout_detached(&nonce.into(), aad, buffer.as_mut_slice().into())
        .map_err(|_| Error::new(Code::Bug, "the AEAD refused to encrypt a key"))?;
    buffer.extend_from_slice(&tag);
    Ok((base64(&nonce), base64(&buffer)))
}

fn open(kek: &[u8; 32], aad: &[u8], nonce: &str, sealed: &str) -> Option<Zeroizing<[u8; 32]>> {
    let nonce: [u8; 24] = from_base64(nonce)?.try_into().ok()?;
    let raw: [u8; 48] = from_base64(sealed)?.try_into().ok()?;
    let (text, tag) = raw.split_at(32);
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(text);
    let tag: [u8; 16] = tag.try_into().ok()?;
    XChaCha20Poly1305::new(kek.into()).decrypt_inout_detached(&nonce.into(), aad, out.as_mut_slice().into(), &tag.into()).ok()?;
    Some(out)
}

impl Role {
    const fn label(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Update => "update",
            Self::Log => "log",
            Self::Store => "store",
            Self::Tags => "tags",
        }
    }
}

impl Keyring {
    /// A keyring for a new database, with its head on disk.
    pub(crate) fn create(keys: &Keys, database: [u8; 16], passphrase: Option<&str>, entropy: &dyn Entropy) -> Result<Self> {
        let path = keys.path(&database)?;
        let (kek, argon2id) = match passphrase {
            None => (Zeroizing::new(mirrordna_core::random::<32>(entropy)?), None),
            Some(passphrase) => {
                let salt = base64(&mirrordna_core::random::<16>(entropy)?);
                let argon = Argon { memory_kib: 64 * 1024, passes: 3, lanes: 1, salt };
                (derive(passphrase, &argon)?, Some(argon))
            }
        };
        let (nonce, check) = seal(&kek, &aad(&database, "check", &owner(&database)), CHECK, entropy)?;
        let key = argon2id.is_none().then(|| base64(&*kek));
        let head = Head { mdna_keyring: VERSION, database: hex(&database), key, argon2id, nonce, check };
        if let Some(path) = &path {
            let folder = path.parent().unwrap_or(Path::new("."));
            create_private_folder(folder)?;
            let mut file = private_file(path, true)?;
            let line = Zeroizing::new(json_line(&head)?);
            file.write_all(&line).and_then(|()| file.sync_all()).map_err(|e| io(path, "cannot write the keyring", e))?;
            sync_folder(folder)?;
        }
        Ok(Self { path, database, kek, has_passphrase: passphrase.is_some(), keys: Mutex::default() })
    }

    /// Opens the keyring of a database; `None` if there is no file.
    pub(crate) fn open(keys: &Keys, database: [u8; 16], passphrase: Option<&str>) -> Result<Option<Self>> {
        let path = match keys.path(&database) {
            Ok(Some(path)) => path,
            // Without a place for keys, nothing can be opened, but all that
            // needs no key still can be read.
            Ok(None) | Err(_) => return Ok(None),
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(&path, "cannot read the keyring", e)),
        };
        let refuse = |why: &str| Error::new(Code::KeyringInvalid, format!("{} {why}", path.display()));
        let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let head: Head = serde_json::from_slice(first).map_err(|_| refuse("is no keyring"))?;
        if head.mdna_keyring != VERSION {
            return Err(refuse("is of another version of the keyring"));
        }
        if head.database != hex(&database) {
            return Err(refuse("is the keyring of another database"));
        }
        let (kek, has_passphrase) = match (&head.key, &head.argon2id, passphrase) {
            (Some(key), None, _) => {
                let raw = from_base64(key).and_then(|k| <[u8; 32]>::try_from(k).ok()).ok_or_else(|| refuse("has a damaged key"))?;
                (Zeroizing::new(raw), false)
            }
            (None, Some(argon), Some(passphrase)) => (derive(passphrase, argon)?, true),
            (None, Some(_), None) => return Err(Error::new(Code::KeyPassphrase, format!("{} needs a passphrase", path.display()))),
            _ => return Err(refuse("has neither or both of a key and a passphrase")),
        };
        let check = open(&kek, &aad(&database, "check", &owner(&database)), &head.nonce, &head.check);
        if check.is_none_or(|c| *c != *CHECK) {
            let why = if has_passphrase { Code::KeyPassphrase } else { Code::KeyringInvalid };
            return Err(Error::new(why, format!("{} does not open with this passphrase or key", path.display())));
        }
        let keyring = Self { path: Some(path), database, kek, has_passphrase, keys: Mutex::default() };
        keyring.reread()?;
        Ok(Some(keyring))
    }

    /// Reads slots that other processes may have added.
    fn reread(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut bytes = Zeroizing::new(Vec::new());
        let mut file = File::open(path).map_err(|e| io(path, "cannot read the keyring", e))?;
        file.read_to_end(&mut bytes).map_err(|e| io(path, "cannot read the keyring", e))?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // A line that a crash cut short is no slot; its key was never published.
        for line in bytes.split(|b| *b == b'\n').skip(1) {
            let Ok(slot) = serde_json::from_slice::<Slot>(line) else { continue };
            let Some(owner) = unhex(&slot.owner) else { continue };
            let aad = aad(&self.database, slot.role.label(), &owner);
            if let Some(key) = open(&self.kek, &aad, &slot.nonce, &slot.sealed) {
                keys.insert((slot.role, owner), key);
            }
        }
        Ok(())
    }

    /// Adds keys, durably, before anything that uses them is published.
    pub(crate) fn add(&self, new: Vec<NewKey>, recovery: &[NewRecovery], entropy: &dyn Entropy) -> Result<()> {
        if let Some(path) = &self.path {
            let mut lines = Zeroizing::new(Vec::new());
            for k in &new {
                let (nonce, sealed) = seal(&self.kek, &aad(&self.database, k.role.label(), &k.owner), &k.key, entropy)?;
                lines.extend(json_line(&Slot { role: k.role, owner: hex(&k.owner), nonce, sealed })?);
            }
            if !recovery.is_empty() {
                let path = self.recovery_path().unwrap_or_else(|| path.clone());
                let mut text = Zeroizing::new(Vec::new());
                for r in recovery {
                    text.extend(json_line(&serde_json::json!({"identity": r.identity, "recovery_seed": base64(&*r.seed)}))?);
                }
                append(&path, &text)?;
            }
            append(path, &lines)?;
        }
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.extend(new.into_iter().map(|k| ((k.role, k.owner), k.key)));
        Ok(())
    }

    fn get(&self, role: Role, owner: &Hash) -> Option<Zeroizing<[u8; 32]>> {
        let look = || self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&(role, *owner)).cloned();
        look().or_else(|| self.reread().ok().and_then(|()| look()))
    }

    /// A signing key.
    pub(crate) fn signing(&self, role: Role, owner: &Hash) -> Option<SecretKey> {
        self.get(role, owner).map(|seed| SecretKey::from_seed(&seed))
    }

    /// A symmetric key.
    pub(crate) fn secret(&self, role: Role, owner: &Hash) -> Option<Secret> {
        self.get(role, owner).map(|k| Secret::from_bytes(*k))
    }

    /// The file, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The file with recovery keys, which the user is told to move away.
    pub(crate) fn recovery_path(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|p| p.with_extension("recovery"))
    }

    /// Whether a passphrase protects the keys.
    pub(crate) const fn has_passphrase(&self) -> bool {
        self.has_passphrase
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

fn json_line(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).map_err(|e| Error::new(Code::Bug, "a keyring line does not serialise").caused_by(e))?;
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

/// Appends lines under an exclusive lock and syncs them.
fn append(path: &Path, lines: &[u8]) -> Result<()> {
    let err = |e| io(path, "cannot append to", e);
    let mut file = private_file(path, false)?;
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
    file.unlock().map_err(err)
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

    fn key(byte: u8) -> NewKey {
        NewKey { role: Role::Actor, owner: [byte; 32], key: Zeroizing::new([byte; 32]) }
    }

    #[test]
    fn keys_survive_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::Folder(dir.path().join("deep/keys"));
        for passphrase in [None, Some("correct horse")] {
            let db = [passphrase.map_or(1, |_| 2); 16];
            let ring = Keyring::create(&keys, db, passphrase, &SystemEntropy).unwrap();
            ring.add(vec![key(5)], &[], &SystemEntropy).unwrap();
            let path = ring.path().unwrap().to_owned();
            let other = Keyring::open(&keys, db, passphrase).unwrap().unwrap();
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"role\":\"act").unwrap();
            ring.add(vec![key(6)], &[NewRecovery { identity: "x".into(), seed: Zeroizing::new([1; 32]) }], &SystemEntropy).unwrap();
            let again = Keyring::open(&keys, db, passphrase).unwrap().unwrap();
            for ring in [&other, &again] {
                assert!(ring.signing(Role::Actor, &[5; 32]).is_some() && ring.signing(Role::Actor, &[6; 32]).is_some());
                assert!(ring.signing(Role::Log, &[5; 32]).is_none());
            }
            assert!(ring.recovery_path().unwrap().exists());
            #[cfg(unix)]
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
        }
        assert_eq!(Keyring::open(&keys, [2; 16], None).unwrap_err().code(), Code::KeyPassphrase);
        assert_eq!(Keyring::open(&keys, [2; 16], Some("wrong")).unwrap_err().code(), Code::KeyPassphrase);
        assert!(Keyring::open(&keys, [3; 16], None).unwrap().is_none());
    }

    #[test]
    fn debug_and_files_hold_no_key_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::create(&Keys::Folder(dir.path().into()), [1; 16], Some("p"), &SystemEntropy).unwrap();
        ring.add(vec![key(0x41)], &[], &SystemEntropy).unwrap();
        let text = std::fs::read_to_string(ring.path().unwrap()).unwrap();
        assert!(!text.contains(&base64(&[0x41; 32])) && !format!("{ring:?}").contains("AAAA"));
    }
}
