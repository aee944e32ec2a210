//! The engine: one open database, its keyring, its committer and its service
//! thread.
//!
//! This module **owns** what is open and how drafts, epochs and views meet the
//! committer; [`logs`] finds and makes logs, [`service`] does what nobody waits
//! for, [`handle`] is what a host holds. It **never** interprets records.

mod handle;
mod logs;
mod rotate;
mod service;

pub use handle::{Engine, Tenant};
pub(crate) use logs::{New, identity_keys, last_line, make_log, position, recovery_of};
pub use rotate::StoreKeyRotation;

use crate::builder::{Builder, Durability, SealPolicy};
use crate::checks::{VERIFIES, may_write};
use crate::commit::{Appended, Committer, Item, Job, Speaker};
use crate::identities;
use crate::keyring::{Found, Keyring, NewKey, Role, owner};
use crate::log::{Epoch, Force, Log, lock};
use crate::system::Drawn;
use crate::view::{FOLD, Saving, View};
use logs::{database_of, tenant_tag};
use mirrordna_core::body::{Body, field};
use mirrordna_core::cipher::Secret;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::epoch_certificate;
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::{Clock, Code, Entropy, Error, Hash, Kind, Result};
use mirrordna_storage::{ReadTx, Store, WriteTx};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;
use zeroize::Zeroizing;

/// The tenant of those who name none.
pub const DEFAULT_TENANT: &str = "default";
/// How long an epoch key may speak, milliseconds.
const EPOCH_LIFE: u64 = 24 * 60 * 60 * 1000;
/// Actors of a log of which it is kept in memory what speaks for them.
const FORCES: usize = 65_536;
/// How often a reader begins again because others were ahead of the state that
/// it read. A log that became shorter is so every time.
const OVERTAKEN: u32 = 64;

/// Writes a part of what a view has made.
type Step<'a> = &'a mut dyn FnMut(&View, &mut dyn WriteTx) -> Result<Option<Saving>>;

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) committer: Committer,
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// Why the keyring, though it is here, was not opened.
    pub(crate) locked: Option<Arc<Error>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) read_only: bool,
    /// Old states are read too.
    pub(crate) as_of: bool,
    /// As the store was asked for.
    pub(crate) url: String,
    pub(crate) database: [u8; 16],
    /// Whom reads are held against besides.
    pub(crate) policy: Policy,
    pub(crate) durability: Durability,
    /// Sizes below which every writer of a log is gone.
    left_behind: HashMap<u32, u64>,
    /// Folder of the head witness, and the short name of the database's place.
    pub(crate) witness: Option<(PathBuf, [u8; 16])>,
    /// When what the witness remembers was last synced.
    witness_synced: Mutex<Instant>,
    /// Logs by the keyed tag of their tenant.
    logs: Mutex<HashMap<Hash, Arc<Log>>>,
    default: OnceLock<Arc<Log>>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    service: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
    /// Something of an erasure may be left: a reader stood in the way.
    pub(crate) unpurged: AtomicBool,
    /// Held by who purges and says so: once is enough.
    pub(crate) purging: Mutex<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unverified = if VERIFIES { "" } else { ", unverified" };
        write!(f, "Engine({}{unverified})", self.store.location())
    }
}

/// The engine as its handles share it: the last of them closes it before it is
/// gone. The service thread holds no handle, so whoever drops the last one
/// finds the database closed and its files let go, even while that thread was
/// at work.
#[derive(Debug)]
pub(crate) struct Open(Arc<Inner>);

impl Deref for Open {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // `Engine::close` reports; a drop has nobody to report to, and what was
        // acknowledged is durable either way.
        if let Err(e) = self.close() {
            tracing::warn!(error = %e, "the last signatures could not be written");
        }
        self.end_service();
    }
}

impl Inner {
    pub(crate) fn open(store: Arc<dyn Store>, place: Option<[u8; 16]>, builder: Builder) -> Result<Arc<Open>> {
        let unlock = builder.the_unlock()?;
        let production = builder.is_production()?;
        if !builder.read_only {
            may_write()?;
        }
        let Builder { url, keys, witness, policy, read_only, as_of, durability, seals, clock, entropy, .. } = builder;
        if production {
            crate::production::before(&witness, &unlock, read_only)?;
        }
        let mut found = None;
        store.read(&mut |tx| {
            found = database_of(tx)?;
            Ok(())
        })?;
        let mut created = None;
        if found.is_none() {
            if read_only {
                return Err(Error::new(Code::StoreNotDatabase, format!("{} holds no log yet", store.location())));
            }
            // Inside the transaction, so that of several processes that create
            // one database at once only the first makes an id, keys and a log;
            // the others open what it made.
            store.write(&mut |tx| {
                found = database_of(tx)?;
                if found.is_none() {
                    let database = mirrordna_core::random(&*entropy)?;
                    let keyring = Arc::new(Keyring::create(&keys, database, &unlock, &*entropy)?);
                    let key = Zeroizing::new(*Secret::generate(&*entropy)?.expose());
                    keyring.add(vec![NewKey { role: Role::Store, owner: owner(&database), key }], &[], &*entropy)?;
                    let tag = tenant_tag(&keyring, DEFAULT_TENANT)?;
                    let log = make_log(tx, &keyring, New { database, tenant: tag, tags: None }, clock.now_ms(), &*entropy)?.0;
                    created = Some((database, keyring, log));
                }
                Ok(())
            })?;
        }
        let mut locked = None;
        let (database, keyring, created) = match (created, found) {
            (Some((database, keyring, log)), _) => (database, Some(keyring), Some(log)),
            (None, Some(database)) => match Keyring::open(&keys, database, &unlock)? {
                Found::Open(keyring) => (database, Some(keyring), None),
                // What needs no key still can be read.
                Found::Locked(why) if read_only => {
                    locked = Some(Arc::new(why));
                    (database, None, None)
                }
                Found::Locked(why) => return Err(why),
                Found::Absent => (database, None, None),
            },
            (None, None) => return Err(Error::new(Code::Bug, "a write returned nothing")),
        };
        if production {
            crate::production::opened(
                keyring.as_deref(),
                place.is_some().then(|| store.location()).as_deref(),
                witness.folder().as_deref(),
            )?;
        }
        let left_behind = store.left_behind().into_iter().collect();
        let committer = Committer::new(store.clone(), clock.clone(), entropy.clone(), seals == SealPolicy::EveryEvent);
        let inner = Open(Arc::new(Self {
            store,
            committer,
            keyring,
            locked,
            clock,
            entropy,
            read_only,
            as_of,
            url,
            policy,
            database,
            durability,
            left_behind,
            // A host that changes its working folder does not move them.
            witness: place.and_then(|place| Some((std::path::absolute(witness.folder()?).ok()?, place))),
            witness_synced: Mutex::new(Instant::now()),
            logs: Mutex::default(),
            default: OnceLock::new(),
            stop: Arc::default(),
            service: Mutex::default(),
            closed: AtomicBool::new(false),
            unpurged: AtomicBool::new(false),
            purging: Mutex::default(),
        }));
        let is_new = created.is_some();
        let log = match created {
            Some(log) => inner.publish(log)?,
            None => inner.first_log()?,
        };
        inner.default.get_or_init(|| log);
        tracing::info!(location = %inner.store.location(), created = is_new, keys = inner.keyring.is_some(), read_only, "opened");
        if !read_only && !as_of {
            // Who cannot say so yet, or purge, opens it all the same.
            if let Err(e) = inner.settle_noted() {
                tracing::warn!(error = %e, "what is left of an erasure could not be settled yet");
                inner.unpurged.store(true, Ordering::Release);
            }
        }
        if !read_only {
            inner.0.start_service()?;
        }
        Ok(Arc::new(inner))
    }

    /// Runs `work` on a view that is caught up with the store.
    pub(crate) fn view<T>(&self, log: &Log, work: &mut dyn FnMut(&mut View, &dyn ReadTx) -> Result<T>) -> Result<T> {
        // A long log is folded in steps, and what each of them made goes into
        // the store. Who may not write there keeps it all in memory.
        let mut leaves = if self.read_only { u64::MAX } else { FOLD };
        let mut overtaken = 0;
        loop {
            let mut out = None;
            let read = self.store.read(&mut |tx| {
                let mut view = lock(&log.view);
                if view.catch_up_by(tx, log, leaves)? {
                    out = Some(view.surely(tx, log, &mut |view| work(view, tx))?);
                }
                Ok(())
            });
            match read {
                // The state that was read may be older than the view: another
                // thread brought that on while this one waited for it.
                Err(e) if e.code() == Code::RolledBack && overtaken < OVERTAKEN => {
                    overtaken += 1;
                    continue;
                }
                read => read?,
            }
            if let Some(out) = out {
                return Ok(out);
            }
            if let Err(e) = self.step_by_step(log, &mut |view, tx| view.spill(tx, log).map(Some)) {
                tracing::warn!(log = log.number, error = %e, "a long fold stays in memory");
                leaves = u64::MAX;
            }
        }
    }

    /// Writes what a view has made to the store, a part in each transaction.
    fn step_by_step(&self, log: &Log, write: Step<'_>) -> Result<()> {
        let mut more = true;
        while more {
            let mut step = None;
            self.store.write(&mut |tx| {
                step = write(&lock(&log.view), tx)?;
                Ok(())
            })?;
            more = step.is_some_and(|step| lock(&log.view).saved(&step));
        }
        Ok(())
    }

    /// The time that the next event of a log will have, as far as is known.
    pub(crate) fn time(&self, log: &Log) -> u64 {
        self.clock.now_ms().max(log.last_time.load(Ordering::Acquire))
    }

    /// The key that speaks for an actor in this process, opened at its first use.
    pub(crate) fn epoch(&self, log: &Arc<Log>, actor: &Hash) -> Result<Arc<Epoch>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::StoreClosed, format!("the database at {} was closed", self.store.location())));
        }
        let now = self.time(log);
        if let Some(epoch) = lock(&log.epochs).get(actor).filter(|e| now < e.not_after) {
            return Ok(epoch.clone());
        }
        if log.keyring.is_some() && log.signing().is_none() {
            // What is added to an older copy would never be signed.
            return Err(crate::log_keys::no_key());
        }
        crate::fork::enter(self, log, actor)?;
        // Others must not wait while a long keyring is searched.
        let (force, key) = self.speaking(log, actor)?;
        let mut epochs = lock(&log.epochs);
        if let Some(epoch) = epochs.get(actor).filter(|e| now < e.not_after) {
            return Ok(epoch.clone());
        }
        let epoch_key = SecretKey::generate(&*self.entropy)?;
        let not_after = now.saturating_add(EPOCH_LIFE);
        let message = epoch_certificate(&log.id, actor, &epoch_key.public().to_bytes(), force.version, not_after);
        let epoch = Arc::new(Epoch::new(*actor, epoch_key, &force, not_after, key.sign_bytes(&message)));
        epochs.insert(*actor, epoch.clone());
        Ok(epoch)
    }

    /// What speaks for an actor in a log, as far as it was read; the next commit
    /// finds out whether it still does.
    pub(crate) fn force(&self, log: &Arc<Log>, actor: &Hash) -> Result<Force> {
        if let Some(known) = lock(&log.forces).get(actor) {
            return Ok(known.clone());
        }
        let (events, size) =
            self.view(log, &mut |view, tx| Ok((view.identity_events(tx, log, actor, u64::MAX)?, view.size() - log.base)))?;
        let newest = identities::newest(&events)?;
        let Some((event, did)) = newest else {
            return Err(crate::log::missing("the actor has no identity with keys in this log; nobody can write for it"));
        };
        let latest = did.latest().zip(did.latest().and_then(|v| v.actor_keys.first()));
        let (latest, key) = latest.ok_or_else(|| Error::new(Code::Altered, "an identity names no actor key"))?;
        let force = Force { version: latest.number, key: key.clone(), aseq: event.header.aseq, revoked: latest.deactivated, as_of: size };
        let mut forces = lock(&log.forces);
        if forces.len() >= FORCES {
            forces.clear();
        }
        forces.insert(*actor, force.clone());
        Ok(force)
    }

    /// The same with the actor's key.
    ///
    /// # Errors
    /// `identity.revoked`; `key.missing` where the key is not here.
    pub(crate) fn speaking(&self, log: &Arc<Log>, actor: &Hash) -> Result<(Force, SecretKey)> {
        let force = self.force(log, actor)?;
        if force.revoked {
            return Err(Error::new(Code::IdentityRevoked, "the identity was revoked: nobody writes as it any more"));
        }
        let owner = identities::owner_of(actor, force.version, &force.key);
        let key = self.keyring.as_ref().map(|k| k.signing(Role::Actor, &owner)).transpose()?.flatten();
        let key = key.filter(|key| *key.public() == force.key);
        let key =
            key.ok_or_else(|| crate::log::missing("this machine's keyring has no key for the actor; only who holds it can write for it"))?;
        Ok((force, key))
    }

    /// Encrypts a body for an actor's event. A large payload is appended here,
    /// in parts; the draft then names them.
    pub(crate) fn draft(&self, log: &Arc<Log>, actor: &Hash, kind: Kind, body: &Body) -> Result<Draft> {
        self.draft_with(log, actor, kind, body, &*self.entropy)
    }

    /// The same with randomness that was drawn for it: see [`Inner::draw`].
    pub(crate) fn draft_with(&self, log: &Arc<Log>, actor: &Hash, kind: Kind, body: &Body, entropy: &dyn Entropy) -> Result<Draft> {
        if matches!(kind, Kind::RECORD_PATCH | Kind::RECORD_ARCHIVE) && log.foreign().next().is_some() {
            self.view(log, &mut |view, tx| view.changeable(tx, log, body.id()))?;
        }
        let subject = body.subject();
        let tag = log.subject_tag(subject)?;
        if body.is_large() {
            let mut named = body.clone();
            let payload = named.take_payload()?;
            let parts = crate::parts::append(self, log, actor, subject, &payload)?;
            named.set_parts(&parts, payload.len());
            return self.draft_with(log, actor, kind, &named, entropy);
        }
        let draft = Draft::private(kind, &log.id, actor, body, tag, entropy)?;
        match body.text(field::SESSION) {
            Some(session) => Ok(draft.in_session(log.session_tag(session)?)),
            None => Ok(draft),
        }
    }

    /// Randomness for this many new records: an id and a secret each.
    pub(crate) fn draw(&self, records: usize) -> Result<Drawn<'_>> {
        const RECORD: usize = 10 + 32;
        Drawn::new(&*self.entropy, records.min(mirrordna_core::limits::BATCH_EVENTS) * RECORD)
    }

    /// Appends drafts of one actor in one commit.
    pub(crate) fn append(&self, log: &Arc<Log>, actor: &Hash, drafts: Vec<(Draft, Option<[u8; 16]>)>) -> Result<Vec<Appended>> {
        // What the commit must know of earlier events is learnt in steps before,
        // not all at once while nobody else can write.
        if drafts.iter().any(|(_, once)| once.is_some()) && lock(&log.view).size() == 0 {
            self.view(log, &mut |_, _| Ok(()))?;
        }
        let epoch = self.epoch(log, actor)?;
        let item = |(draft, once)| Item { actor: *actor, speaker: Speaker::Epoch(epoch.clone()), draft, once };
        let items = drafts.into_iter().map(item).collect();
        self.commit(Job { log: log.clone(), items, checkpoint: false }).1
    }

    /// Commits a job whose items were made for epochs of this process. Only in
    /// the commit an epoch can turn out to be over: its time is, or its actor
    /// has another key by now. Then the items are placed by the epoch after it.
    pub(crate) fn commit(&self, mut job: Job) -> (Option<Job>, Result<Vec<Appended>>) {
        self.settle_before_write(&job.log);
        for _ in 0..OVERTAKEN {
            match self.committer.submit(job) {
                (Some(back), Err(e)) if e.code() == Code::KeyExpired => job = back,
                done => return done,
            }
            for item in &mut job.items {
                if let Speaker::Epoch(epoch) = &mut item.speaker {
                    match self.epoch(&job.log, &item.actor) {
                        Ok(now) => *epoch = now,
                        Err(e) => return (Some(job), Err(e)),
                    }
                }
            }
        }
        self.committer.submit(job)
    }

    /// The logs that this process has opened.
    pub(crate) fn open_logs(&self) -> Vec<Arc<Log>> {
        lock(&self.logs).values().cloned().collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;
    use crate::keyring::Keys;
    use crate::system::SystemClock;
    use crate::witness::Witness;
    use mirrordna_core::identity::IdentityType;
    use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};
    use std::sync::{Barrier, mpsc};

    /// Runs `work` on as many threads at once as there are inputs.
    fn at_once<I: Send, O: Send>(inputs: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
        let barrier = Barrier::new(inputs.len());
        std::thread::scope(|s| {
            let start = |input| {
                let (barrier, work) = (&barrier, &work);
                s.spawn(move || {
                    barrier.wait();
                    work(input)
                })
            };
            let threads: Vec<_> = inputs.into_iter().map(start).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    /// Holds the service thread back, once, until it is let go.
    #[derive(Debug)]
    struct Gate {
        entered: mpsc::SyncSender<()>,
        leave: Mutex<mpsc::Receiver<()>>,
    }

    impl Clock for Gate {
        fn now_ms(&self) -> u64 {
            if std::thread::current().name() == Some("mirrordna") && self.entered.try_send(()).is_ok() {
                let _gone = lock(&self.leave).recv();
            }
            SystemClock.now_ms()
        }
    }

    #[test]
    fn a_dropped_engine_is_closed_also_while_its_service_thread_is_at_work() {
        let dir = tempfile::tempdir().unwrap();
        let (entered, at_work) = mpsc::sync_channel(1);
        let (let_go, leave) = mpsc::channel::<()>();
        let builder = Engine::builder(dir.path().join("m.db").to_str().unwrap()).keys(Keys::Folder(dir.path().join("keys")));
        let builder =
            builder.witness(Witness::Folder(dir.path().join("state"))).clock(Arc::new(Gate { entered, leave: Mutex::new(leave) }));
        let engine = builder.open().unwrap();
        let weak = Arc::downgrade(&engine.inner.0);
        at_work.recv().unwrap();
        let dropping = std::thread::spawn(move || drop(engine));
        while !dropping.is_finished() && weak.upgrade().is_some_and(|inner| !inner.is_closed()) {
            std::thread::yield_now();
        }
        assert!(!dropping.is_finished(), "the engine was dropped while its service thread was using it");
        drop(let_go);
        dropping.join().unwrap();
        assert!(weak.upgrade().is_none(), "somebody still holds the database");
        drop(dir);
    }

    #[test]
    fn whoever_comes_first_makes_the_database_and_its_tenants() {
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m.db");
            let keys = dir.path().join("keys");
            // Past the registry of this process, as other processes would.
            let engines = at_once(vec![(); 6], |()| {
                let store = match SqliteStore::open(&path, Mode::Create, Durability::Full) {
                    Err(e) if e.code() == Code::StoreInUse => SqliteStore::open(&path, Mode::Write, Durability::Full),
                    opened => opened,
                };
                let builder = Engine::builder("unused").keys(Keys::Folder(keys.clone())).witness(Witness::Off);
                Engine { inner: Inner::open(Arc::new(store.unwrap()), None, builder).unwrap() }
            });
            assert!(engines.iter().all(|e| e.database_id() == engines[0].database_id() && e.fingerprint() == engines[0].fingerprint()));
            assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 2, "one keyring and its recovery file");
            let asked = engines.iter().chain([&engines[0]; 3]).collect();
            let tenants = at_once(asked, |engine: &Engine| engine.tenant("acme").unwrap());
            assert!(tenants.iter().all(|t| t.log.id == tenants[0].log.id));
            assert!(tenants[6..].iter().all(|t| Arc::ptr_eq(&t.log, &tenants[0].log)), "one log, one state in a process");
            let append = |t: Tenant| t.identities().create(IdentityType::Agent).map(drop).unwrap();
            at_once(tenants, append);
            engines[0].inner.store.read(&mut |tx| tx.logs().map(|logs| assert_eq!(logs.len(), 2))).unwrap();
            assert_eq!(engines[0].tenant("acme").unwrap().identities().list().unwrap().len(), 9);
            assert!(engines[0].verify().unwrap().is_intact());
        }
    }

    #[test]
    fn keys_whose_commit_never_came_are_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let builder = || {
            let builder = Engine::builder(dir.path().join("m.db").to_str().unwrap());
            builder.keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off)
        };
        let engine = builder().open().unwrap();
        let first = engine.identities().create(IdentityType::Agent).unwrap().id().to_owned();
        let length = || std::fs::metadata(engine.keyring_path().unwrap()).unwrap().len();
        let before = length();
        // The keys are synced, and then the commit is refused.
        engine.main().log.poisoned.store(true, Ordering::Release);
        assert_eq!(engine.identities().create(IdentityType::Agent).unwrap_err().code(), Code::Altered);
        assert!(length() > before);
        assert!(engine.clone().close().is_err());
        drop(engine);

        let engine = builder().open().unwrap();
        let all = engine.identities().list().unwrap();
        assert_eq!(all.iter().map(|i| i.id()).collect::<Vec<_>>(), [&first]);
        all[0].memories().add("goes on").send().unwrap();
        engine.identities().create(IdentityType::Agent).unwrap().memories().add("too").send().unwrap();
        assert!(engine.verify().unwrap().is_intact());
    }
}
