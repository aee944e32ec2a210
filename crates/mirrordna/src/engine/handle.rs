//! The handles that a host holds: an engine, and what belongs to one tenant.

use super::{Open, StoreKeyRotation};
use crate::builder::{Builder, Durability, Fingerprint, SealPolicy};
use crate::commit::{Appended, Job};
use crate::identities::Identities;
use crate::import::Progress;
use crate::keyring::provider::Unlock;
use crate::keyring::{Keys, Protection, hex};
use crate::log::Log;
use crate::memories::Memories;
use crate::sessions::Sessions;
use crate::snapshots::Snapshots;
use crate::system::{SystemClock, SystemEntropy};
use crate::timeline::Timeline;
use crate::verify::{Outside, Scope, VerifyReport};
use crate::view::View;
use crate::witness::Witness;
use mirrordna_core::body::Body;
use mirrordna_core::verify::Policy;
use mirrordna_core::{Code, Entropy, Error, Hash, Kind, Result};
use mirrordna_storage::ReadTx;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open database. Clones share it; it closes with the last of them.
///
/// ```
/// use mirrordna::{Engine, IdentityType};
///
/// let engine = Engine::open("memory:")?; // or "./mirrordna.db"
/// let agent = engine.identities().create(IdentityType::Agent)?;
/// agent.memories().add("Prefers trains to planes").send()?;
/// assert!(engine.verify()?.is_intact());
///
/// // A tenant has a log of its own: no handle of another reaches it.
/// let acme = engine.tenant("acme")?;
/// acme.identities().create(IdentityType::Agent)?.memories().add("for acme only").send()?;
/// assert_eq!((engine.memories().count()?, acme.memories().count()?), (1, 1));
/// assert!(engine.memories().search("acme").run()?.is_empty());
/// engine.close()?;
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Open>,
}

impl Engine {
    /// Opens the database at a path or URL, creating it if it is missing.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(url: impl AsRef<str>) -> Result<Self> {
        Self::builder(url).open()
    }

    /// How to open a database with other than the default options.
    pub fn builder(url: impl AsRef<str>) -> Builder {
        Builder {
            url: url.as_ref().to_owned(),
            keys: Keys::Default,
            witness: Witness::Default,
            policy: Policy::default(),
            kept: Vec::new(),
            scope: Scope::Everything,
            unlock: Unlock::default(),
            profile: None,
            create: true,
            read_only: false,
            as_of: false,
            durability: Durability::Full,
            seals: SealPolicy::Bounded,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// What belongs to one tenant. The handle is the only way to its data.
    ///
    /// # Errors
    /// `key.missing` without the keyring, or where its log cannot be created.
    pub fn tenant(&self, name: &str) -> Result<Tenant> {
        Ok(Tenant { inner: self.inner.clone(), log: self.inner.log_of(name)? })
    }

    fn default_tenant(&self) -> Tenant {
        // Set before an engine is handed out.
        let log = self.inner.default.get().cloned();
        #[allow(clippy::expect_used)]
        let log = log.expect("an open engine has its default log");
        Tenant { inner: self.inner.clone(), log }
    }

    /// Identities of the default tenant.
    #[must_use]
    pub fn identities(&self) -> Identities {
        self.default_tenant().identities()
    }

    /// Sessions of the default tenant.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        self.default_tenant().sessions()
    }

    /// Memories of the default tenant.
    #[must_use]
    pub fn memories(&self) -> Memories {
        self.default_tenant().memories()
    }

    /// Timeline of the default tenant.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.default_tenant().timeline()
    }

    /// Snapshots of the default tenant.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.default_tenant().snapshots()
    }

    /// The default tenant itself.
    #[must_use]
    pub fn main(&self) -> Tenant {
        self.default_tenant()
    }

    /// Checks everything: every leaf, body, secret, signature and row.
    ///
    /// # Errors
    /// Only where the store cannot be read at all; what was altered is in the
    /// report.
    pub fn verify(&self) -> Result<VerifyReport> {
        let witness = self.inner.witness.as_ref().map(|(folder, place)| (folder.as_path(), *place));
        crate::verify::database(
            &*self.inner.store,
            self.inner.keyring.as_deref(),
            Outside { policy: &Policy::default(), kept: &[] },
            witness,
            Scope::Everything,
            &mut |_, _| {},
        )
    }

    /// Id of the database, 32 hex digits; it names the keyring file.
    #[must_use]
    pub fn database_id(&self) -> String {
        hex(&self.inner.database)
    }

    /// The keyring file, where there is one.
    #[must_use]
    pub fn keyring_path(&self) -> Option<PathBuf> {
        self.inner.keyring.as_ref().and_then(|k| k.path().map(Path::to_owned))
    }

    /// The file with recovery keys, to be moved to another place.
    #[must_use]
    pub fn recovery_path(&self) -> Option<PathBuf> {
        self.inner.keyring.as_ref().and_then(|k| k.recovery_path())
    }

    /// Whether a passphrase protects the keyring; `None` without a keyring.
    #[must_use]
    pub fn has_passphrase(&self) -> Option<bool> {
        self.key_protection().map(|protection| protection == Protection::Passphrase)
    }

    /// What protects the key of the keyring; `None` without a keyring.
    #[must_use]
    pub fn key_protection(&self) -> Option<Protection> {
        self.inner.keyring.as_ref().map(|k| k.protection().clone())
    }

    /// Why contents are locked though the keyring is here: what opens it was not
    /// given. Only an engine that was opened for reading can be so.
    #[must_use]
    pub fn locked(&self) -> Option<&Error> {
        self.inner.locked.as_deref()
    }

    /// Makes a new store key and wraps the keys of all subjects by it, a part in
    /// each transaction: the price is that of the subjects, not of what was
    /// written about them. No event, body or proof changes. Other threads and
    /// processes may go on reading and writing. Where it is cut short, what was
    /// not reached still opens by the old key, and the next call completes it.
    /// The old key stays in the keyring, for older copies of the database.
    ///
    /// ```
    /// # use mirrordna::{Engine, IdentityType};
    /// let engine = Engine::open("memory:")?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// let memory = agent.memories().add("Prefers trains to planes").send()?;
    /// let rotated = engine.rotate_store_key()?;
    /// assert!(rotated.store_key == 1 && rotated.rewrapped > 0 && !rotated.completed);
    /// assert_eq!(engine.memories().get(&memory.id)?.content, "Prefers trains to planes");
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `key.missing` without the keyring, `log.altered` where a subject's key
    /// does not unwrap, `store.*`.
    pub fn rotate_store_key(&self) -> Result<StoreKeyRotation> {
        self.rotate_store_key_with(&mut |_, _| {})
    }

    /// The same, telling `progress` how many keys were wrapped anew, of how many.
    ///
    /// # Errors
    /// As [`Engine::rotate_store_key`].
    pub fn rotate_store_key_with(&self, progress: Progress<'_>) -> Result<StoreKeyRotation> {
        if self.inner.is_closed() {
            return Err(Error::new(Code::StoreClosed, format!("the database at {} was closed", self.location())));
        }
        self.inner.rotate_store_key(progress)
    }

    /// The folder of the head witness; `None` where there is none.
    #[must_use]
    pub fn witness_folder(&self) -> Option<PathBuf> {
        self.inner.witness.as_ref().map(|(folder, _)| folder.clone())
    }

    /// Files of this database that others than their owner may read or write
    /// though they should not: each with its mode. Keys are for their owner
    /// alone; the database and the folder of the head witness may be read by
    /// others, not written.
    #[must_use]
    pub fn lax_files(&self) -> Vec<(PathBuf, u32)> {
        let database = (self.key_protection() != Some(Protection::Memory)).then(|| self.location());
        crate::production::lax_files(self.inner.keyring.as_deref(), database.as_deref(), self.witness_folder().as_deref())
    }

    /// Where the database is.
    #[must_use]
    pub fn location(&self) -> String {
        self.inner.store.location()
    }

    /// Fingerprint of the key that signs checkpoints of the default tenant's
    /// log: what an auditor must be told by another way than the database.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.default_tenant().log.key().fingerprint().into()
    }

    /// How the default tenant's log stood, when it was opened, to what this
    /// machine has seen of it: `current`, `behind N` events, `forked`, or
    /// `unproven` where nothing was seen, as of a new one. An engine that was
    /// not opened with [`Builder::as_of`] is never behind or forked.
    #[must_use]
    pub fn freshness(&self) -> String {
        self.main().freshness()
    }

    /// Signs what is unsigned and lets go of the database. Dropping the last
    /// handle does the same, without telling of errors.
    ///
    /// # Errors
    /// If the last signatures cannot be written; what was acknowledged before
    /// is safe.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

/// What belongs to one tenant: a log of its own.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub(crate) inner: Arc<Open>,
    pub(crate) log: Arc<Log>,
}

impl Tenant {
    /// Identities.
    #[must_use]
    pub fn identities(&self) -> Identities {
        Identities { tenant: self.clone() }
    }

    /// Sessions.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions { tenant: self.clone() }
    }

    /// Memories.
    #[must_use]
    pub fn memories(&self) -> Memories {
        Memories { tenant: self.clone(), actor: None, session: None, subject: None, user: None }
    }

    /// Snapshots.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots { tenant: self.clone() }
    }

    /// Timeline.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        Timeline { tenant: self.clone(), actor: None, session: None, subject: None }
    }

    /// How this tenant's log stood to what this machine has seen of it; see
    /// [`Engine::freshness`].
    #[must_use]
    pub fn freshness(&self) -> String {
        self.log.freshness.to_string()
    }

    /// The newest checkpoint, a C2SP signed note: whoever keeps it notices if
    /// the history before it is ever told otherwise. Where this process holds
    /// the key and something is not covered yet, it signs a new one. Where
    /// [`Engine::add_pq_key`] made one, it has a line by the ML-DSA-44 key, too.
    ///
    /// # Errors
    /// `store.*` where the log cannot be read, `log.altered` where it is gone.
    pub fn checkpoint(&self) -> Result<String> {
        if self.log.signing().is_some() && !self.inner.read_only {
            self.inner.tend()?;
            // What another process left unsigned is behind a checkpoint too.
            return self.released(self.sign_head()?);
        }
        let mut note = None;
        self.inner.store.read(&mut |tx| {
            note = tx.log(self.log.number)?.map(|row| row.checkpoint);
            Ok(())
        })?;
        self.released(note.ok_or_else(|| Error::new(Code::Altered, "the log is gone"))?)
    }

    /// Signs a checkpoint over everything that is there, and returns it as it is
    /// stored.
    pub(crate) fn sign_head(&self) -> Result<String> {
        if self.log.signing().is_none() {
            return Err(crate::log_keys::no_key());
        }
        self.inner.committer.append(Job { log: self.log.clone(), items: Vec::new(), checkpoint: true })?;
        let mut note = None;
        self.inner.store.read(&mut |tx| {
            note = tx.log(self.log.number)?.map(|row| row.checkpoint);
            Ok(())
        })?;
        note.ok_or_else(|| Error::new(Code::Altered, "the log is gone"))
    }

    pub(crate) fn new_id(&self, prefix: &str) -> Result<String> {
        self.new_id_with(prefix, &*self.inner.entropy)
    }

    pub(crate) fn new_id_with(&self, prefix: &str, entropy: &dyn Entropy) -> Result<String> {
        mirrordna_core::id::fresh(prefix, self.inner.clock.now_ms(), entropy)
    }

    pub(crate) fn view<T>(&self, mut work: impl FnMut(&mut View, &dyn ReadTx) -> Result<T>) -> Result<T> {
        self.inner.view(&self.log, &mut work)
    }

    /// Appends one private event.
    pub(crate) fn append(&self, actor: &Hash, kind: Kind, body: &Body, once: Option<[u8; 16]>) -> Result<Appended> {
        self.append_with(actor, kind, body, once, &*self.inner.entropy)
    }

    /// The same with randomness that was drawn for it.
    pub(crate) fn append_with(
        &self,
        actor: &Hash,
        kind: Kind,
        body: &Body,
        once: Option<[u8; 16]>,
        entropy: &dyn Entropy,
    ) -> Result<Appended> {
        let draft = self.inner.draft_with(&self.log, actor, kind, body, entropy)?;
        let placed = self.inner.append(&self.log, actor, vec![(draft, once)])?;
        placed.first().copied().ok_or_else(|| Error::new(Code::Bug, "an append returned nothing"))
    }
}
