//! Opening: how a database is asked for.

use crate::engine::{Engine, Inner};
use crate::file;
use crate::import::Progress;
use crate::keyring::provider::{KeyProvider, Unlock};
use crate::keyring::{Keys, NewProtection};
use crate::url::StoreUrl;
use crate::verify::{Scope, VerifyReport};
use crate::witness::Witness;
use mirrordna_core::verify::Policy;
use mirrordna_core::{Clock, Code, Entropy, Error, Result};
use mirrordna_storage::MemoryStore;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// When an append counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives power loss (one sync per commit).
    #[default]
    Full,
    /// It survives a crash of the process, not power loss.
    Normal,
}

/// Which events are signed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SealPolicy {
    /// A signature every 64 events and one second after the last, which covers
    /// all events before it.
    #[default]
    Bounded,
    /// A signature on every event.
    EveryEvent,
}

/// What is demanded before a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Deployment {
    /// Nothing.
    #[default]
    Development,
    /// That a passphrase or a provider protects the keyring, that there is a
    /// place for the head witness, and that no file's mode is lax. What is not
    /// so is `config.invalid`, which names what to set.
    Production,
}

impl FromStr for Deployment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "development" => Ok(Self::Development),
            "production" => Ok(Self::Production),
            other => {
                let shown: String = other.chars().take(80).collect();
                Err(Error::new(Code::ConfigInvalid, format!("profile = '{shown}' is none of development, production")))
            }
        }
    }
}

/// How to open a database.
///
/// ```
/// use mirrordna::{Code, Engine, IdentityType, Keys, Witness};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("m.db");
/// # let path = path.to_str().unwrap();
/// let open = |passphrase: &str| {
///     let builder = Engine::builder(path).keys(Keys::Folder(dir.path().join("keys")));
///     builder.witness(Witness::Folder(dir.path().join("state"))).passphrase(passphrase).open()
/// };
/// let engine = open("open sesame")?;
/// engine.identities().create(IdentityType::Agent)?;
/// engine.close()?;
/// assert_eq!(open("open barley").unwrap_err().code(), Code::KeyPassphrase);
/// # Ok::<(), mirrordna::Error>(())
/// ```
pub struct Builder {
    pub(crate) url: String,
    pub(crate) keys: Keys,
    pub(crate) witness: Witness,
    pub(crate) policy: Policy,
    pub(crate) kept: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) unlock: Unlock,
    pub(crate) profile: Option<Deployment>,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) as_of: bool,
    pub(crate) durability: Durability,
    pub(crate) seals: SealPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("url", &self.url).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Builder {
    /// Where the keyring is kept.
    #[must_use]
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// Where the head witness is kept.
    #[must_use]
    pub fn witness(mut self, witness: Witness) -> Self {
        self.witness = witness;
        self
    }

    /// For [`Builder::verify`]: also trusts the log key with this fingerprint
    /// (SHA-256 of the key), which was learned by another way than the database.
    #[must_use]
    pub fn trust(mut self, fingerprint: Fingerprint) -> Self {
        self.policy = self.policy.and(fingerprint.0);
        self
    }

    /// Trusts the log keys that a policy names, and those
    /// that [`Builder::trust`] is told after it. Where it asks for a quorum of
    /// witnesses, each log needs a checkpoint that has it: one that anchors
    /// brought back into the log, or that [`Builder::keep`] was given. Up to which
    /// size it holds is in the report ([`LogReport::witnessed`]); what comes after
    /// is no less intact for that, only not witnessed yet.
    ///
    /// An engine that is opened with a policy reads all the same, and says which
    /// events a quorum has seen: [`Timeline::basis`] and [`Tenant::witnessed`].
    ///
    /// [`Timeline::basis`]: crate::Timeline::basis
    /// [`Tenant::witnessed`]: crate::Tenant::witnessed
    /// [`LogReport::witnessed`]: crate::LogReport::witnessed
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// For [`Builder::verify`]: also holds the log that it names against a
    /// checkpoint that was kept elsewhere. One that the log contradicts is
    /// `log.forked`, one that it is shorter than `log.rolled_back`; its
    /// cosignatures count toward the quorum of the policy.
    #[must_use]
    pub fn keep(mut self, checkpoint: impl Into<String>) -> Self {
        self.kept.push(checkpoint.into());
        self
    }

    /// For [`Builder::verify`]: reads no private body. Checked are every header,
    /// each actor's chain, the trees and their stored tiles, every signature,
    /// checkpoint and public body, heads, log rows, the head witness, and that
    /// bodies, as long as they should be, and secrets are there, or erased.
    /// Not checked is what only a reader of everything can know: whether a
    /// private body is the one that was written, whether its secret and its
    /// subject's key open it, and whether the file is sound in itself (pages,
    /// indexes). The verdict speaks of what was checked, and
    /// [`BodyCounts::unread`](crate::BodyCounts) counts what was not.
    #[must_use]
    pub const fn headers_only(mut self) -> Self {
        self.scope = Scope::Headers;
        self
    }

    /// Verifies the database without opening an engine and without changing
    /// anything. What is trusted: the keyring and the head witness of this
    /// machine, where they know the database, and [`Builder::trust`].
    ///
    /// A file that [`Engine::export`] wrote is told by its content and verified
    /// alike. The database that it holds is built in memory for that, which takes
    /// somewhat more memory than the file is long.
    ///
    /// # Errors
    /// Where there is neither a database nor an export, or it cannot be read at
    /// all; what was altered is in the report.
    pub fn verify(self) -> Result<VerifyReport> {
        self.verify_with(&mut |_, _| {})
    }

    /// The same, telling `progress` now and then how many events were walked,
    /// of how many.
    ///
    /// # Errors
    /// As [`Builder::verify`].
    pub fn verify_with(self, progress: Progress<'_>) -> Result<VerifyReport> {
        match StoreUrl::parse(&self.url)? {
            StoreUrl::Memory => Err(Error::new(Code::StoreUrl, "a store in memory ends with its process; there is nothing to verify")),
            url => file::verify(&url, &self, progress),
        }
    }

    /// Gives the keyring of a database a passphrase, or another one. The one it
    /// has is taken as for opening. Nobody may have the database open. Whoever is
    /// killed meanwhile leaves the keyring as it was; older copies of it still
    /// open by what opened them.
    ///
    /// ```
    /// # use mirrordna::{Code, Engine, Keys, Witness};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("m.db");
    /// # let builder = || Engine::builder(path.to_str().unwrap()).keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off);
    /// builder().open()?.close()?;
    /// builder().set_passphrase("open sesame")?;
    /// assert_eq!(builder().open().unwrap_err().code(), Code::KeyPassphrase);
    /// assert_eq!(builder().passphrase("open sesame").open()?.has_passphrase(), Some(true));
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::rotate_keys`].
    pub fn set_passphrase(self, new: &str) -> Result<()> {
        self.rotate_keys(&NewProtection::Passphrase(Zeroizing::new(new.to_owned())))
    }

    /// Makes a new keyring key and encrypts every key of the keyring under it,
    /// protected as is said. What protects it now is taken as for opening.
    /// Nobody may have the database open. Whoever is killed meanwhile leaves the
    /// keyring as it was, or as it is to be. Older copies of the keyring still
    /// open by what opened them; what the keys are is not changed: for the key
    /// that wraps contents see [`Engine::rotate_store_key`].
    ///
    /// # Errors
    /// `input.invalid` for an empty passphrase, `key.passphrase` and
    /// `key.provider` where what opens the keyring now is missing or wrong,
    /// `key.missing` without the keyring, `store.in_use`, `store.*`.
    pub fn rotate_keys(self, to: &NewProtection) -> Result<()> {
        if matches!(to, NewProtection::Passphrase(new) if new.is_empty()) {
            return Err(Error::new(Code::InputInvalid, "the new passphrase is empty"));
        }
        match StoreUrl::parse(&self.url)? {
            StoreUrl::Memory => Err(Error::new(Code::StoreUrl, "the keys of a store in memory are nowhere to be protected")),
            url => file::rotate_keys(&url, &self, to),
        }
    }

    /// The passphrase of the keyring; otherwise `MIRRORDNA_PASSPHRASE` or
    /// `MIRRORDNA_PASSPHRASE_FILE` is taken.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.unlock.passphrase = Some(Zeroizing::new(passphrase.into()));
        self
    }

    /// Who holds the key of the keyring; otherwise [`provider_from_env`] says it.
    ///
    /// [`provider_from_env`]: crate::provider_from_env
    #[must_use]
    pub fn key_provider(mut self, provider: impl KeyProvider + 'static) -> Self {
        self.unlock.provider = Some(Arc::new(provider));
        self
    }

    /// What is demanded before the database is opened; otherwise
    /// `MIRRORDNA_PROFILE` says it, `development` or `production`.
    ///
    /// ```
    /// use mirrordna::{Code, Deployment, Engine};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("m.db");
    /// # let path = path.to_str().unwrap();
    /// let refused = Engine::builder(path).profile(Deployment::Production).open().unwrap_err();
    /// assert_eq!(refused.code(), Code::ConfigInvalid);
    /// assert!(refused.hint().contains("MIRRORDNA_"));
    /// ```
    #[must_use]
    pub const fn profile(mut self, profile: Deployment) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Whether what production demands is demanded.
    pub(crate) fn is_production(&self) -> Result<bool> {
        let named = std::env::var("MIRRORDNA_PROFILE").ok().filter(|v| !v.is_empty());
        let profile = match (self.profile, named) {
            (Some(profile), _) => profile,
            (None, Some(named)) => named.parse()?,
            (None, None) => Deployment::default(),
        };
        Ok(profile == Deployment::Production)
    }

    /// Whether a missing database is created (it is by default).
    #[must_use]
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only; nothing is created or written.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self.create = false;
        self
    }

    /// Opens for reading only, as of the state in which the database is found:
    /// also where this machine has seen it longer (`log.rolled_back`) or
    /// otherwise (`log.forked`), which [`Builder::open`] refuses.
    /// [`Engine::freshness`] says what of it is old.
    #[must_use]
    pub const fn as_of(mut self) -> Self {
        self.as_of = true;
        self.read_only()
    }

    /// When an append counts as durable.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Which events are signed one by one.
    #[must_use]
    pub const fn seals(mut self, seals: SealPolicy) -> Self {
        self.seals = seals;
        self
    }

    /// A database to be made where this builder points to.
    pub(crate) fn making(&self) -> Result<file::Making> {
        match StoreUrl::parse(&self.url)? {
            StoreUrl::Memory => Err(Error::new(Code::StoreUrl, "a store in memory would be gone as soon as it is restored")),
            url => file::Making::begin(&url),
        }
    }

    /// What was given to open the keyring, else what the environment gives.
    pub(crate) fn the_unlock(&self) -> Result<Unlock> {
        if self.unlock.is_empty() { Unlock::from_env() } else { Ok(self.unlock.clone()) }
    }

    /// Another clock, for tests and replays.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness, for tests and replays. Whoever can predict
    /// it can forge every key.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Opens the database.
    ///
    /// # Errors
    /// Codes `store.*` where it cannot be opened, `key.*` and `keyring.*` for
    /// the keyring, `log.*` where its evidence does not hold.
    pub fn open(self) -> Result<Engine> {
        let url = StoreUrl::parse(&self.url)?;
        match url {
            StoreUrl::Memory if self.is_production()? => {
                Err(crate::production::refuse("a store in memory keeps nothing", "Set MIRRORDNA_STORE or --store to a file."))
            }
            StoreUrl::Memory => {
                let inner = Inner::open(Arc::new(MemoryStore::new()), None, Builder { keys: Keys::Memory, ..self })?;
                Ok(Engine { inner })
            }
            url => file::open(&url, self),
        }
    }
}

/// SHA-256 of a log's checkpoint key: what an auditor is told by another way
/// than the database. Its text is 64 hex digits.
///
/// ```
/// # use mirrordna::{Code, Engine, Fingerprint};
/// # let engine = Engine::open("memory:")?;
/// let told = engine.fingerprint().to_string();
/// let trusted: Fingerprint = told.parse()?;
/// assert_eq!(trusted, engine.fingerprint());
/// assert_eq!("the usual one".parse::<Fingerprint>().unwrap_err().code(), Code::InputInvalid);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Fingerprint {
    /// SHA-256 of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let shown: String = text.chars().take(80).collect();
        let bad = || Error::new(Code::InputInvalid, format!("'{shown}' is no fingerprint: 64 hex digits, as `mirrordna init` prints it"));
        crate::keyring::unhex(text).map(Self).ok_or_else(bad)
    }
}
