//! The engine: one open database, its keyring, its committer and its service
//! thread.

use crate::builder::{Builder, Durability, Fingerprint, SealPolicy};
use crate::commit::{Appended, Committer, Item, Job, Speaker, write_genesis};
use crate::identities::Identities;
use crate::keyring::{Keyring, Keys, NewKey, NewRecovery, Role, hex, owner};
use crate::log::{Epoch, Genesis, Log, adopts, genesis, lock, tenant_of};
use crate::memories::Memories;
use crate::sessions::Sessions;
use crate::snapshots::Snapshots;
use crate::system::{Drawn, SystemClock, SystemEntropy};
use crate::timeline::Timeline;

use crate::verify::{Scope, VerifyReport};
use crate::view::{FOLD, Saving, View};
use crate::witness::{self, Freshness, Remembered, Witness};
use mirrordna_core::body::{Body, field};
use mirrordna_core::cipher::Secret;
use mirrordna_core::identity::{self, IdentityType};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::{Adopted, PublicBody, epoch_certificate};
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::{Clock, Code, Entropy, Error, Hash, Kind, Result, limits};
use mirrordna_storage::{LogRow, ReadTx, Store, WriteTx};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The tenant of those who name none.
pub const DEFAULT_TENANT: &str = "default";
/// How long an epoch key may speak, milliseconds.
const EPOCH_LIFE: u64 = 24 * 60 * 60 * 1000;
/// How often the service thread looks for something to seal or sign.
const SERVICE: Duration = Duration::from_millis(1000);
/// How often the head witness is synced.
const WITNESS_SYNC: Duration = Duration::from_secs(10);

/// How often a reader begins again because others were ahead of the state that
/// it read. A log that became shorter is so every time.
const OVERTAKEN: u32 = 64;

/// Writes a part of what a view has made.
type Step<'a> = &'a mut dyn FnMut(&View, &mut dyn WriteTx) -> Result<Option<Saving>>;

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) committer: Committer,
    pub(crate) keyring: Option<Keyring>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) read_only: bool,
    /// Old states are read too.
    pub(crate) as_of: bool,
    database: [u8; 16],
    durability: Durability,
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
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.store.location())
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
        let passphrase = builder.the_passphrase()?;
        let Builder { keys, witness, read_only, as_of, durability, seals, clock, entropy, .. } = builder;
        let passphrase = passphrase.as_deref().map(String::as_str);
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
                    let keyring = Keyring::create(&keys, database, passphrase, &*entropy)?;
                    let key = Zeroizing::new(*Secret::generate(&*entropy)?.expose());
                    keyring.add(vec![NewKey { role: Role::Store, owner: owner(&database), key }], &[], &*entropy)?;
                    let tag = tenant_tag(&keyring, &database, DEFAULT_TENANT)?;
                    let log = make_log(tx, &keyring, New { database, tenant: tag, tags: None }, clock.now_ms(), &*entropy)?.0;
                    created = Some((database, keyring, log));
                }
                Ok(())
            })?;
        }
        let (database, keyring, created) = match (created, found) {
            (Some((database, keyring, log)), _) => (database, Some(keyring), Some(log)),
            (None, Some(database)) => (database, Keyring::open(&keys, database, passphrase)?, None),
            (None, None) => return Err(Error::new(Code::Bug, "a write returned nothing")),
        };
        let left_behind = store.left_behind().into_iter().collect();
        let committer = Committer::new(store.clone(), clock.clone(), entropy.clone(), seals == SealPolicy::EveryEvent);
        let inner = Open(Arc::new(Self {
            store,
            committer,
            keyring,
            clock,
            entropy,
            read_only,
            as_of,
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
        }));
        let is_new = created.is_some();
        let log = match created {
            Some(log) => inner.publish(log)?,
            None => inner.first_log()?,
        };
        inner.default.get_or_init(|| log);
        tracing::info!(location = %inner.store.location(), created = is_new, keys = inner.keyring.is_some(), read_only, "opened");
        if !read_only {
            inner.0.start_service()?;
        }
        Ok(Arc::new(inner))
    }

    /// The log of the default tenant: the first one, or what goes on from it.
    fn first_log(&self) -> Result<Arc<Log>> {
        let mut found = None;
        self.store.read(&mut |tx| {
            let rows = tx.logs()?;
            let first = rows.first().ok_or_else(|| Error::new(Code::Altered, "the database lost its log"))?;
            let row = last_from(tx, &rows, first)?;
            found = Some((row.number, row.id, genesis(tx, row)?));
            Ok(())
        })?;
        let (number, id, genesis) = found.ok_or_else(|| Error::new(Code::Bug, "a read returned nothing"))?;
        let log = Arc::new(self.existing_log(number, id, genesis)?);
        lock(&self.logs).insert(log.tenant, log.clone());
        Ok(log)
    }

    /// A log of the store, held against what this machine has seen of it.
    pub(crate) fn existing_log(&self, number: u32, id: [u8; 16], genesis: Genesis) -> Result<Log> {
        let adopted = genesis.adopted;
        let mut log = Log::new(number, id, genesis, self.keyring.as_ref())?;
        if let Some(adopted) = adopted {
            let before = self.log_before(&log, adopted)?;
            // This machine has seen another log go on from one of them.
            log.freshness = before.freshness;
            log.base = position(before.base, adopted.size)?;
            log.before = Some(Arc::new(before));
        }
        log.left_behind = self.left_behind.get(&number).copied().unwrap_or(0);
        // Read before the database: what others add in between can then only
        // make the database longer than the witness, never shorter.
        let Some(seen) = self.witness.as_ref().and_then(|(folder, _)| witness::read(folder, &id)) else { return Ok(log) };
        // Where it knows another key, what is found is forked.
        log.vouched = true;
        let mut freshness = Freshness::Unproven;
        self.store.read(&mut |tx| {
            let row = tx.log(number)?.ok_or_else(|| Error::new(Code::Altered, format!("log {number} is gone")))?;
            let signed = log.signed_frontier(&row)?;
            freshness = witness::compare(tx, &row, &log.key, (signed.size(), signed.root()), &seen)?;
            match witness::refuse(freshness, &self.store.location(), &row, &seen).filter(|_| !self.as_of) {
                Some(refusal) => Err(refusal),
                None => Ok(()),
            }
        })?;
        if log.freshness != Freshness::Forked {
            log.freshness = freshness;
        }
        Ok(log)
    }

    /// The log that another one goes on from, as that one says it was left, over
    /// those before it. It is forked where this machine has seen another log go
    /// on from one of them.
    fn log_before(&self, log: &Log, adopted: Adopted) -> Result<Log> {
        let mut found: Vec<(u32, [u8; 16], Genesis)> = Vec::new();
        self.store.read(&mut |tx| {
            found.clear();
            let rows = tx.logs()?;
            let (mut heir, mut next) = (log.number, Some(adopted));
            while let Some(adopted) = next {
                if found.len() == limits::FORKS {
                    let message = format!("log {} goes on from more than {} others", log.number, limits::FORKS);
                    return Err(Error::new(Code::LimitExceeded, message));
                }
                let row = rows.iter().find(|row| row.id == adopted.log && row.number < heir);
                let left = row.filter(|row| row.size == adopted.size && row.successor == Some(heir));
                let left = left.filter(|row| Frontier::from_bytes(row.size, &row.frontier).is_ok_and(|f| f.root() == adopted.root));
                let row = left.ok_or_else(|| {
                    Error::new(Code::Altered, format!("log {heir} goes on from log {}, which is not as it was left", hex(&adopted.log)))
                })?;
                let genesis = genesis(tx, row)?;
                if genesis.tenant != log.tenant || genesis.database != log.database {
                    return Err(Error::new(Code::Altered, format!("log {heir} goes on from a log of another tenant")));
                }
                (heir, next) = (row.number, genesis.adopted);
                found.push((row.number, row.id, genesis));
            }
            Ok(())
        })?;
        let heirs = std::iter::once((log.number, log.id)).chain(found.iter().map(|(number, id, _)| (*number, *id)));
        let heirs: Vec<(u32, [u8; 16])> = heirs.collect();
        let mut before: Option<Log> = None;
        for ((number, id, genesis), (heir, heir_id)) in found.into_iter().zip(heirs).rev() {
            let adopted = genesis.adopted;
            let mut one = Log::new(number, id, genesis, self.keyring.as_ref())?;
            one.successor = Some(heir);
            if let (Some(before), Some(adopted)) = (before, adopted) {
                one.freshness = before.freshness;
                one.base = position(before.base, adopted.size)?;
                one.before = Some(Arc::new(before));
            }
            if let Some((folder, place)) = &self.witness {
                match witness::read(folder, &id) {
                    Some(Remembered::Ended(other)) if other != heir_id => {
                        if !self.as_of {
                            let (location, heir, other) = (self.store.location(), hex(&heir_id), hex(&other));
                            let message =
                                format!("the database at {location} goes on as log {heir}, this machine has seen it go on as log {other}");
                            return Err(Error::new(Code::Forked, message));
                        }
                        one.freshness = Freshness::Forked;
                    }
                    // Whoever forked it here was stopped before that was noted.
                    // That it was its owner is sure where the key is.
                    Some(Remembered::Head(seen)) if seen.place == *place && log.signing.is_some() && !self.as_of && !self.read_only => {
                        if let Err(e) = witness::end(folder, &id, &heir_id) {
                            tracing::warn!(folder = %folder.display(), error = %e, "the old log's witness cannot be ended");
                        }
                    }
                    _ => {}
                }
            }
            before = Some(one);
        }
        before.ok_or_else(|| Error::new(Code::Bug, "a log before another one was not looked for"))
    }

    /// Shows the newest checkpoint to the head witness; `sync` brings what it
    /// remembers to the disk, so that power loss takes little of it.
    pub(crate) fn remember(&self, log: &Log, sync: bool) {
        let Some((folder, place)) = &self.witness else { return };
        let released = lock(&log.state).released.take();
        if let Some(note) = released {
            // A witness that cannot be written lags; that is all.
            if let Err(e) = witness::remember(folder, log, place, &note, sync) {
                tracing::warn!(folder = %folder.display(), error = %e, "the head witness cannot be written");
            }
        }
    }

    pub(crate) fn log_of(&self, tenant: &str) -> Result<Arc<Log>> {
        if let (DEFAULT_TENANT, Some(log)) = (tenant, self.default.get()) {
            return Ok(log.clone());
        }
        mirrordna_core::canon::check_name(tenant, "the tenant")?;
        let keyring =
            self.keyring.as_ref().ok_or_else(|| crate::log::missing("tenants are named by a key of the keyring, which is not here"))?;
        let tag = tenant_tag(keyring, &self.database, tenant)?;
        if let Some(log) = lock(&self.logs).get(&tag) {
            return Ok(log.clone());
        }
        let mut found = None;
        self.store.read(&mut |tx| {
            found = log_tagged(tx, &tag)?;
            Ok(())
        })?;
        let mut created = None;
        if found.is_none() {
            // Another process, or another thread, may be making it too.
            self.store.write(&mut |tx| {
                found = log_tagged(tx, &tag)?;
                if found.is_none() {
                    let new = New { database: self.database, tenant: tag, tags: None };
                    created = Some(make_log(tx, keyring, new, self.clock.now_ms(), &*self.entropy)?.0);
                }
                Ok(())
            })?;
        }
        match (created, found) {
            (Some(log), _) => self.publish(log),
            (None, Some((number, id, genesis))) => {
                let log = Arc::new(self.existing_log(number, id, genesis)?);
                Ok(lock(&self.logs).entry(tag).or_insert(log).clone())
            }
            (None, None) => Err(Error::new(Code::Bug, "a write returned nothing")),
        }
    }

    /// Hands out a log that was just made, unless another thread came first.
    fn publish(&self, log: Log) -> Result<Arc<Log>> {
        let log = Arc::new(log);
        self.store.read(&mut |tx| {
            lock(&log.state).released = tx.log(log.number)?.map(|row| row.checkpoint);
            Ok(())
        })?;
        self.remember(&log, false);
        Ok(lock(&self.logs).entry(log.tenant).or_insert(log).clone())
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
    fn time(&self, log: &Log) -> u64 {
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
        if log.before.is_some() {
            crate::fork::enter(self, log, actor)?;
        }
        // Others must not wait while a long keyring is searched.
        let key = self.keyring.as_ref().map(|k| k.signing(Role::Actor, actor)).transpose()?.flatten();
        let key =
            key.ok_or_else(|| crate::log::missing("this machine's keyring has no key for the actor; only who holds it can write for it"))?;
        let mut epochs = lock(&log.epochs);
        if let Some(epoch) = epochs.get(actor).filter(|e| now < e.not_after) {
            return Ok(epoch.clone());
        }
        let epoch_key = SecretKey::generate(&*self.entropy)?;
        let not_after = now.saturating_add(EPOCH_LIFE);
        let message = epoch_certificate(&log.id, actor, &epoch_key.public().to_bytes(), 1, not_after);
        let epoch = Arc::new(Epoch::new(*actor, epoch_key, 1, not_after, key.sign_bytes(&message)));
        epochs.insert(*actor, epoch.clone());
        Ok(epoch)
    }

    /// Encrypts a body for an actor's event. A large payload is appended here,
    /// in parts; the draft then names them.
    pub(crate) fn draft(&self, log: &Arc<Log>, actor: &Hash, kind: Kind, body: &Body) -> Result<Draft> {
        self.draft_with(log, actor, kind, body, &*self.entropy)
    }

    /// The same with randomness that was drawn for it: see [`Inner::draw`].
    pub(crate) fn draft_with(&self, log: &Arc<Log>, actor: &Hash, kind: Kind, body: &Body, entropy: &dyn Entropy) -> Result<Draft> {
        let subject = body.text(field::SUBJECT).or_else(|| body.text(field::SESSION)).unwrap_or_else(|| body.id());
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
        let attempt = |drafts: Vec<(Draft, Option<[u8; 16]>)>| {
            let epoch = self.epoch(log, actor)?;
            let item = |(draft, once)| Item { actor: *actor, speaker: Speaker::Epoch(epoch.clone()), draft, once };
            let items = drafts.into_iter().map(item).collect();
            self.committer.append(Job { log: log.clone(), items, checkpoint: false })
        };
        // The time of an event is settled in its commit; only there can an
        // epoch turn out to be over. The next one is opened with that time.
        if log.last_time.load(Ordering::Acquire) > 0 && self.fresh_epoch(log, actor) {
            return attempt(drafts);
        }
        match attempt(drafts.clone()) {
            Err(e) if e.code() == Code::KeyExpired => attempt(drafts),
            done => done,
        }
    }

    /// Whether the actor's epoch has an hour left: then nothing can end it
    /// before the commit, and the drafts need not be kept for a second try.
    fn fresh_epoch(&self, log: &Log, actor: &Hash) -> bool {
        let now = self.time(log);
        lock(&log.epochs).get(actor).is_some_and(|e| now.saturating_add(3_600_000) < e.not_after)
    }

    fn start_service(self: &Arc<Self>) -> Result<()> {
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let run = move || {
            loop {
                let guard = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (stopped, _) = stop.1.wait_timeout_while(guard, SERVICE, |s| !*s).unwrap_or_else(PoisonError::into_inner);
                if *stopped {
                    return;
                }
                drop(stopped);
                let Some(inner) = weak.upgrade() else { return };
                // What fails here fails again, with an error, at the next append.
                if let Err(e) = inner.tend()
                    && e.code() != Code::StoreClosed
                {
                    tracing::warn!(error = %e, "sealing or maintenance failed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("mirrordna".into()).spawn(run);
        let thread = thread.map_err(|e| Error::new(Code::StoreIo, "cannot start the service thread").caused_by(e))?;
        *lock(&self.service) = Some(thread);
        Ok(())
    }

    /// Seals what is unsealed and signs checkpoints.
    fn tend(&self) -> Result<()> {
        let logs: Vec<Arc<Log>> = lock(&self.logs).values().cloned().collect();
        for log in &logs {
            let now = self.time(log);
            let stale: Vec<Arc<Epoch>> =
                lock(&log.epochs).values().filter(|e| now < e.not_after && !lock(&e.unsigned).is_empty()).cloned().collect();
            let items: Vec<Item> = stale.into_iter().map(|e| seal(&e, Kind::SEAL)).collect();
            let behind = lock(&log.state).edge.as_ref().is_some_and(|e| e.signed < e.tree.size());
            if behind || !items.is_empty() {
                self.committer.append(Job { log: log.clone(), items, checkpoint: true })?;
            }
        }
        self.save_views(&logs)?;
        self.release(&logs)
    }

    /// Keeps what the views have folded in the store, where it spares the next
    /// process the work.
    fn save_views(&self, logs: &[Arc<Log>]) -> Result<()> {
        for log in logs {
            let worth = lock(&log.view).is_worth_saving();
            if worth {
                self.step_by_step(log, &mut |view, tx| view.save(tx, log))?;
            }
        }
        Ok(())
    }

    /// Shows the witness what has become safe from power loss.
    fn release(&self, logs: &[Arc<Log>]) -> Result<()> {
        if self.store.maintain()? || self.durability == Durability::Full {
            let mut synced = lock(&self.witness_synced);
            let sync = synced.elapsed() >= WITNESS_SYNC;
            if sync {
                *synced = Instant::now();
            }
            logs.iter().for_each(|log| self.remember(log, sync));
        }
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits for the service thread.
    fn end_service(&self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        let thread = lock(&self.service).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }

    /// Ends the epochs of this process and signs a last checkpoint.
    fn close(&self) -> Result<()> {
        if self.read_only || self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        tracing::info!(location = %self.store.location(), "closing");
        self.end_service();
        let logs: Vec<Arc<Log>> = lock(&self.logs).values().cloned().collect();
        for log in &logs {
            // An epoch whose time is over has ended by that.
            let now = self.time(log);
            let open: Vec<Arc<Epoch>> =
                lock(&log.epochs).drain().map(|(_, e)| e).filter(|e| e.opened().is_some() && now < e.not_after).collect();
            let mut chunks = open.chunks(mirrordna_core::limits::BATCH_EVENTS / 2).peekable();
            while let Some(chunk) = chunks.next() {
                let items = chunk.iter().map(close_item).collect();
                self.committer.append(Job { log: log.clone(), items, checkpoint: chunks.peek().is_none() })?;
            }
            let behind = lock(&log.state).edge.as_ref().is_some_and(|e| e.signed < e.tree.size());
            if behind {
                self.committer.append(Job { log: log.clone(), items: Vec::new(), checkpoint: true })?;
            }
        }
        self.save_views(&logs)?;
        self.release(&logs)
    }
}

fn seal(epoch: &Arc<Epoch>, kind: Kind) -> Item {
    Item { actor: epoch.actor, speaker: Speaker::Epoch(epoch.clone()), draft: Draft::empty(kind), once: None }
}

fn close_item(epoch: &Arc<Epoch>) -> Item {
    Item { draft: Draft::public(&PublicBody::EpochClose), ..seal(epoch, Kind::EPOCH_CLOSE) }
}

/// Id of the database that a store holds, if it holds one.
fn database_of(tx: &dyn ReadTx) -> Result<Option<[u8; 16]>> {
    tx.logs()?.first().map(|first| genesis(tx, first).map(|g| g.database)).transpose()
}

/// The last of the logs that go on from each other, the first of which is
/// `first`.
fn last_from<'a>(tx: &dyn ReadTx, rows: &'a [LogRow], first: &'a LogRow) -> Result<&'a LogRow> {
    let mut heirs: HashMap<[u8; 16], &LogRow> = HashMap::new();
    for row in rows {
        if let Some(adopted) = adopts(tx, row.number)? {
            heirs.entry(adopted.log).or_insert(row);
        }
    }
    let mut last = first;
    while let Some(next) = heirs.get(&last.id).filter(|next| next.number > last.number) {
        last = next;
    }
    match last.successor {
        None => Ok(last),
        Some(number) => Err(Error::new(Code::Altered, format!("log {} names log {number}, which does not go on from it", last.number))),
    }
}

/// The log of a tenant, by the tag of its name: the last of those that go on
/// from each other.
fn log_tagged(tx: &dyn ReadTx, tag: &Hash) -> Result<Option<(u32, [u8; 16], Genesis)>> {
    let rows = tx.logs()?;
    for row in &rows {
        if tenant_of(tx, row.number)? == Some(*tag) {
            let last = last_from(tx, &rows, row)?;
            return Ok(Some((last.number, last.id, genesis(tx, last)?)));
        }
    }
    // That there is none must not rest on what nobody checked.
    rows.iter().try_for_each(|row| genesis(tx, row).map(drop))?;
    Ok(None)
}

/// A position so many events after another one.
pub(crate) fn position(base: u64, events: u64) -> Result<u64> {
    base.checked_add(events).ok_or_else(|| Error::new(Code::Altered, "the logs before another one cannot be so long"))
}

/// Tag of a tenant's name; the same for all logs of a database.
fn tenant_tag(keyring: &Keyring, database: &[u8; 16], name: &str) -> Result<Hash> {
    let store = keyring.secret(Role::Store, &owner(database))?;
    let store = store.ok_or_else(|| crate::log::missing("the keyring lacks the store key"))?;
    Ok(store.tag("mdna.v1.tenant", &[name.as_bytes()]))
}

/// What a log is made for.
pub(crate) struct New<'a> {
    pub(crate) database: [u8; 16],
    pub(crate) tenant: Hash,
    /// The key of the keyed tags, where it goes on from another log.
    pub(crate) tags: Option<&'a Secret>,
}

/// Makes a log with its system actor, whose key it returns too; the keys are
/// durable before the transaction that publishes them commits.
pub(crate) fn make_log(
    tx: &mut dyn WriteTx,
    keyring: &Keyring,
    new: New<'_>,
    now: u64,
    entropy: &dyn Entropy,
) -> Result<(Log, Arc<SecretKey>)> {
    let New { database, tenant, tags } = new;
    let id: [u8; 16] = mirrordna_core::random(entropy)?;
    let system = identity::create(IdentityType::System, now, entropy)?;
    let log_key = SecretKey::generate(entropy)?;
    let tags = Zeroizing::new(*tags.map_or_else(|| Secret::generate(entropy), |tags| Ok(tags.clone()))?.expose());
    let draft = Draft::public(&PublicBody::Genesis { did_log: &system.did_log, log_key: log_key.public().to_bytes(), database, tenant });
    let mut new = identity_keys(&system);
    new.push(NewKey { role: Role::Log, owner: owner(&id), key: log_key.seed() });
    new.push(NewKey { role: Role::Tags, owner: owner(&id), key: tags });
    keyring.add(new, &[recovery_of(&system)], entropy)?;
    let line = last_line(&system.did_log);
    let genesis = Genesis { database, tenant, system: system.digest, key: log_key.public().clone(), adopted: None };
    let actor = Arc::new(SecretKey::from_seed(&system.actor.seed()));
    let item = Item { actor: system.digest, speaker: Speaker::Entry(actor.clone(), line), draft, once: None };
    let number = tx.logs()?.last().map_or(1, |r| r.number + 1);
    let log = Log::new(number, id, genesis, Some(keyring))?;
    write_genesis(tx, &log, &item, now)?;
    Ok((log, actor))
}

/// SHA-256 of the last line of a DID log, without its newline.
pub(crate) fn last_line(did_log: &[u8]) -> Hash {
    let text = did_log.strip_suffix(b"\n").unwrap_or(did_log);
    let line = text.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    sha256(&[line])
}

pub(crate) fn identity_keys(made: &identity::Created) -> Vec<NewKey> {
    vec![
        NewKey { role: Role::Actor, owner: made.digest, key: made.actor.seed() },
        NewKey { role: Role::Update, owner: made.digest, key: made.next_update.seed() },
    ]
}

pub(crate) fn recovery_of(made: &identity::Created) -> NewRecovery {
    NewRecovery { identity: made.id.clone(), seed: made.recovery.seed() }
}

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
            trusted: Vec::new(),
            scope: Scope::Everything,
            passphrase: None,
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
        crate::verify::database(&*self.inner.store, self.inner.keyring.as_ref(), &[], witness, Scope::Everything, &mut |_, _| {})
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
        self.inner.keyring.as_ref().and_then(Keyring::recovery_path)
    }

    /// Whether a passphrase protects the keyring; `None` without a keyring.
    #[must_use]
    pub fn has_passphrase(&self) -> Option<bool> {
        self.inner.keyring.as_ref().map(Keyring::has_passphrase)
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
        self.default_tenant().log.key.fingerprint().into()
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

    /// Signs a checkpoint over everything that is there, and returns it.
    pub(crate) fn sign_head(&self) -> Result<String> {
        if self.log.signing.is_none() {
            return Err(crate::log::missing("this machine's keyring has no key for the log's checkpoints"));
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

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;
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
