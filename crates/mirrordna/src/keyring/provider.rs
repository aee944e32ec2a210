//! Who holds the key that protects a keyring.
//!
//! A provider wraps the keyring key, 32 bytes, once: when a keyring is made or
//! rotated. It unwraps it once per open. What comes out of the wrapping stands in
//! the head of the keyring in clear, beside the provider's name; the key itself
//! never does. Signing keys stay slots of the keyring: no provider signs.

use super::{Guard, open_bytes, passphrase_from_env, seal_bytes};
use crate::input;
use crate::system::SystemEntropy;
use mirrordna_core::verify::note::from_base64;
use mirrordna_core::{Code, Error, Result};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Longest name of a provider, bytes.
const NAME: usize = 32;
/// Longest wrapped key, bytes: it stands in the first line of the keyring.
const WRAPPED: usize = 512;

/// Holds the key that protects a keyring, outside of it: in a file elsewhere, in
/// the system's keyring, in a vault, or wherever the host keeps it.
///
/// Both calls may block; they are made while a database is created, opened or
/// rotated, never during an append.
pub trait KeyProvider: fmt::Debug + Send + Sync {
    /// Its name in the head of a keyring: 1 to 32 of `a-z`, `0-9` and `-`. A
    /// keyring is opened only by a provider with the name that wrapped its key.
    fn name(&self) -> &str;

    /// Wraps a key, bound to a database (its id) if the provider can do that.
    /// What is returned, at most 512 bytes, is stored in clear.
    ///
    /// # Errors
    /// `key.provider` where the provider cannot be reached or refuses.
    fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>>;

    /// Gives back the key that [`KeyProvider::wrap`] wrapped for this database.
    ///
    /// # Errors
    /// `key.provider` where the provider cannot be reached, refuses, or did not
    /// wrap this.
    fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>>;
}

/// `key.provider` with a message.
pub(super) fn fails(message: impl Into<String>) -> Error {
    Error::new(Code::KeyProvider, message.into())
}

/// Wraps a key, holding the provider to what its trait says.
pub(super) fn wrap(provider: &dyn KeyProvider, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>> {
    let name = provider.name();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > NAME || !name.bytes().all(plain) {
        return Err(Error::new(Code::InputInvalid, format!("the name of a key provider is 1 to {NAME} of a-z, 0-9 and -")));
    }
    let wrapped = provider.wrap(database, key)?;
    if wrapped.len() > WRAPPED {
        return Err(fails(format!("{name} wrapped a key into {} bytes; {WRAPPED} are the most", wrapped.len())));
    }
    // A provider that hands the key back would put it into a file in clear.
    if wrapped.windows(key.len()).any(|w| w == key) {
        return Err(fails(format!("{name} did not wrap the key")));
    }
    Ok(wrapped)
}

/// The error for a keyring whose provider was not given.
pub(super) fn needed(keyring: &Path, name: &str) -> Error {
    let hint = match name {
        FileKey::NAME => "Set MIRRORDNA_KEK_FILE to the file that holds its key.".to_owned(),
        "vault-transit" => {
            "Set MIRRORDNA_KEY_PROVIDER=vault-transit, MIRRORDNA_VAULT_KEY, VAULT_ADDR and VAULT_TOKEN or VAULT_TOKEN_FILE.".to_owned()
        }
        "os-keyring" => "Set MIRRORDNA_KEY_PROVIDER=os-keyring, in a build that has it.".to_owned(),
        other => format!("Open the database by a program that brings the provider '{other}'."),
    };
    fails(format!("the key of {} is held by the provider '{name}', which was not given", keyring.display())).with_hint(hint)
}

/// What opens a keyring, as the host or the environment gave it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unlock {
    pub(crate) passphrase: Option<Zeroizing<String>>,
    pub(crate) provider: Option<Arc<dyn KeyProvider>>,
}

impl Unlock {
    /// What the environment gives.
    ///
    /// # Errors
    /// `config.invalid` where it names what cannot be used.
    pub(crate) fn from_env() -> Result<Self> {
        Ok(Self { passphrase: passphrase_from_env()?, provider: provider_from_env()? })
    }

    pub(crate) fn passphrase(&self) -> Option<&str> {
        self.passphrase.as_deref().map(String::as_str)
    }

    pub(crate) fn provider(&self) -> Option<&dyn KeyProvider> {
        self.provider.as_deref()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.passphrase.is_none() && self.provider.is_none()
    }

    /// What a new keyring is protected by.
    pub(super) fn guard(&self) -> Result<Guard<'_>> {
        match (self.passphrase(), self.provider()) {
            (Some(_), Some(provider)) => {
                let message = format!(
                    "a new keyring is protected in one way, and both a passphrase and the provider '{}' are given",
                    provider.name()
                );
                Err(Error::new(Code::ConfigInvalid, message)
                    .with_hint("Take one of MIRRORDNA_PASSPHRASE and MIRRORDNA_KEY_PROVIDER or MIRRORDNA_KEK_FILE away."))
            }
            (Some(passphrase), None) => Ok(Guard::Passphrase(passphrase)),
            (None, Some(provider)) => Ok(Guard::Provider(provider)),
            (None, None) => Ok(Guard::Nothing),
        }
    }
}

/// A variable of the environment that is not empty.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The provider that `MIRRORDNA_KEY_PROVIDER` names (`file`, `os-keyring`,
/// `vault-transit`; the last two where the build has them), or the file that
/// `MIRRORDNA_KEK_FILE` names. `vault-transit` takes the name of its key from
/// `MIRRORDNA_VAULT_KEY`, the mount from `MIRRORDNA_VAULT_MOUNT` (`transit`), the
/// address from `VAULT_ADDR` and the token from `VAULT_TOKEN` or the file that
/// `VAULT_TOKEN_FILE` names.
///
/// # Errors
/// `config.invalid` for a name that is unknown or not in this build, or where
/// what it needs is not set.
pub fn provider_from_env() -> Result<Option<Arc<dyn KeyProvider>>> {
    let file = std::env::var_os("MIRRORDNA_KEK_FILE").filter(|v| !v.is_empty());
    match (env("MIRRORDNA_KEY_PROVIDER").as_deref(), file) {
        (None, None) => Ok(None),
        (None | Some(FileKey::NAME), Some(file)) => Ok(Some(Arc::new(FileKey::new(file)))),
        (Some(name), _) => provider_named(name).map(Some),
    }
}

/// A provider by its name, set up by the environment; see [`provider_from_env`].
///
/// # Errors
/// `config.invalid`.
pub fn provider_named(name: &str) -> Result<Arc<dyn KeyProvider>> {
    match name {
        FileKey::NAME => Ok(Arc::new(FileKey::new(required("MIRRORDNA_KEK_FILE", name)?))),
        #[cfg(feature = "os-keyring")]
        "os-keyring" => Ok(Arc::new(super::os::OsKeyring)),
        #[cfg(feature = "vault")]
        "vault-transit" => {
            let vault = super::vault::VaultTransit::new(&required("VAULT_ADDR", name)?, &required("MIRRORDNA_VAULT_KEY", name)?)?;
            let vault = vault.mount(&env("MIRRORDNA_VAULT_MOUNT").unwrap_or_else(|| "transit".to_owned()))?;
            Ok(Arc::new(match std::env::var_os("VAULT_TOKEN_FILE").filter(|v| !v.is_empty()) {
                Some(file) => vault.token_file(file),
                None => vault.token(required("VAULT_TOKEN", name)?),
            }))
        }
        other => {
            let known = [(FileKey::NAME, true), ("os-keyring", cfg!(feature = "os-keyring")), ("vault-transit", cfg!(feature = "vault"))];
            let known: Vec<&str> = known.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect();
            Err(Error::new(Code::ConfigInvalid, format!("key provider '{other}' is none of {}, which this build has", known.join(", "))))
        }
    }
}

/// A variable that a provider cannot do without.
fn required(variable: &str, provider: &str) -> Result<String> {
    env(variable)
        .ok_or_else(|| Error::new(Code::ConfigInvalid, format!("the key provider '{provider}' needs {variable}, which is not set")))
}

/// A secret on the first line of a file.
#[cfg(feature = "vault")]
pub(super) fn secret_of_file(path: &Path) -> Result<Zeroizing<String>> {
    let text = input::text(path, "a secret", input::TEXT, Code::KeyProvider).map(Zeroizing::new)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Wraps under a key of 32 bytes: nonce, then ciphertext and tag.
pub(super) fn wrap_under(key: &[u8; 32], database: &[u8; 16], kek: &[u8; 32]) -> Result<Vec<u8>> {
    let (nonce, sealed) = seal_bytes(key, &context(database), kek, &SystemEntropy)?;
    Ok([&nonce[..], &sealed].concat())
}

/// What [`wrap_under`] wrapped; `None` where that was not under this key.
pub(super) fn unwrap_under(key: &[u8; 32], database: &[u8; 16], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (nonce, sealed) = wrapped.split_first_chunk::<24>()?;
    open_bytes(key, &context(database), nonce, sealed.try_into().ok()?)
}

fn context(database: &[u8; 16]) -> [u8; 24] {
    let mut out = [0; 24];
    out[..8].copy_from_slice(b"mdna.kk1");
    out[8..].copy_from_slice(database);
    out
}

/// A key in a file that only its owner may read: 32 random bytes, or their
/// base64 on one line. It is read when a keyring is opened, and not kept.
///
/// ```
/// use mirrordna::{Code, Engine, FileKey, Keys, Protection, Witness};
/// # use std::os::unix::fs::OpenOptionsExt;
/// # let dir = tempfile::tempdir().unwrap();
/// # let (db, key) = (dir.path().join("m.db"), dir.path().join("kek"));
/// # let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key).unwrap();
/// # std::io::Write::write_all(&mut file, &[7; 32]).unwrap();
/// let builder = || Engine::builder(db.to_str().unwrap()).keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off);
/// let engine = builder().key_provider(FileKey::new(&key)).open()?;
/// assert_eq!(engine.key_protection(), Some(Protection::Provider("file".into())));
/// engine.close()?;
/// assert_eq!(builder().open().unwrap_err().code(), Code::KeyProvider);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileKey {
    path: PathBuf,
}

impl FileKey {
    const NAME: &str = "file";

    /// The key in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn key(&self) -> Result<Zeroizing<[u8; 32]>> {
        let shown = self.path.display();
        let unread = |e| fails(format!("cannot read the key file {shown}")).caused_by(e);
        let mut file = input::open(&self.path, "the key file", Code::KeyProvider)?;
        let metadata = file.metadata().map_err(unread)?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if !metadata.is_file() || mode & 0o077 != 0 {
            return Err(fails(format!("the key file {shown} has mode {mode:03o}: others may read or write it"))
                .with_hint("Make a new key (others may have read this one) in a file of mode 0600."));
        }
        // Longer than both forms: what does not fit is neither.
        let mut bytes = Zeroizing::new([0; 48]);
        let mut length = 0;
        while length < bytes.len() {
            match file.read(&mut bytes[length..]).map_err(unread)? {
                0 => break,
                n => length += n,
            }
        }
        let text = &bytes[..length];
        let raw = match <[u8; 32]>::try_from(text) {
            Ok(raw) => Some(Zeroizing::new(raw)),
            Err(_) => std::str::from_utf8(text)
                .ok()
                .and_then(|t| from_base64(t.trim_end_matches(['\r', '\n'])))
                .map(Zeroizing::new)
                .and_then(|raw| <[u8; 32]>::try_from(raw.as_slice()).ok().map(Zeroizing::new)),
        };
        raw.ok_or_else(|| {
            fails(format!("the key file {shown} holds neither 32 bytes nor the base64 of 32 bytes"))
                .with_hint("`head -c 32 /dev/urandom > FILE` makes one, after `umask 077`.")
        })
    }
}

impl KeyProvider for FileKey {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>> {
        wrap_under(&*self.key()?, database, key)
    }

    fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let refuse = || fails(format!("the key file {} holds another key than the one that wrapped the keyring's", self.path.display()));
        unwrap_under(&*self.key()?, database, wrapped).ok_or_else(refuse)
    }
}

/// A key that the host holds in memory and gives.
#[derive(Clone)]
pub struct MemoryKey {
    key: Zeroizing<[u8; 32]>,
}

impl MemoryKey {
    /// This key: 32 random bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key) }
    }
}

impl fmt::Debug for MemoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryKey(…)")
    }
}

impl KeyProvider for MemoryKey {
    fn name(&self) -> &str {
        "host-key"
    }

    fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>> {
        wrap_under(&self.key, database, key)
    }

    fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        unwrap_under(&self.key, database, wrapped)
            .ok_or_else(|| fails("the keyring's key was wrapped under another key than the host gave"))
    }
}

/// What a host's function fails with.
type HostError = Box<dyn std::error::Error + Send + Sync>;

/// Two functions of the host as a provider.
///
/// ```
/// use mirrordna::{HostKey, KeyProvider};
///
/// // As a service would that the host calls.
/// let mask = |database: &[u8; 16], key: &[u8]| key.iter().zip(database.iter().cycle()).map(|(k, d)| k ^ d ^ 0x5a).collect::<Vec<u8>>();
/// let provider = HostKey::new("kms", move |database, key| Ok(mask(database, key)), move |database, wrapped| {
///     Ok(mask(database, wrapped).try_into().map_err(|_| "not ours")?)
/// });
/// let wrapped = provider.wrap(&[1; 16], &[7; 32])?;
/// assert_eq!(*provider.unwrap(&[1; 16], &wrapped)?, [7; 32]);
/// # Ok::<(), mirrordna::Error>(())
/// ```
pub struct HostKey<W, U> {
    name: String,
    wrap: W,
    unwrap: U,
}

impl<W, U> HostKey<W, U>
where
    W: Fn(&[u8; 16], &[u8; 32]) -> Result<Vec<u8>, HostError> + Send + Sync,
    U: Fn(&[u8; 16], &[u8]) -> Result<[u8; 32], HostError> + Send + Sync,
{
    /// A provider of this name that wraps and unwraps by these functions, which
    /// get the id of the database and a key or what it was wrapped into.
    pub fn new(name: impl Into<String>, wrap: W, unwrap: U) -> Self {
        Self { name: name.into(), wrap, unwrap }
    }
}

impl<W, U> fmt::Debug for HostKey<W, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.name)
    }
}

/// An error of a host's function, with its text as the cause.
fn of_host(name: &str, e: HostError) -> Error {
    fails(format!("the key provider '{name}' fails")).caused_by(std::io::Error::other(e))
}

impl<W, U> KeyProvider for HostKey<W, U>
where
    W: Fn(&[u8; 16], &[u8; 32]) -> Result<Vec<u8>, HostError> + Send + Sync,
    U: Fn(&[u8; 16], &[u8]) -> Result<[u8; 32], HostError> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>> {
        (self.wrap)(database, key).map_err(|e| of_host(&self.name, e))
    }

    fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        (self.unwrap)(database, wrapped).map(Zeroizing::new).map_err(|e| of_host(&self.name, e))
    }
}
