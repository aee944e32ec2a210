//! One log of a database in this process: its keys, its right edge, who signs
//! in it.
//!
//! What is in memory is a checked cache. Every commit compares it with the
//! log's row under the store's lock, and what other processes appended in
//! between is hashed onto the own right edge, never taken from the row.

use crate::checks::holds;
use crate::keyring::{Keyring, Role, owner};
use crate::log_keys::{self, Held};
use crate::view::{Plan, View};
use crate::witness::{Freshness, Slot};
use mirrordna_core::cipher::Secret;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::{TILE, Tree};
use mirrordna_core::verify::body::{Adopted, PublicBody};
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::verify::note::{self, Checkpoint, Note};
use mirrordna_core::verify::{LogKeys, did::DidLog, leaf};
use mirrordna_core::{Code, Error, Hash, Header, Kind, Leaf, PublicKey, Result, limits};
use mirrordna_storage::{LogNumber, LogRow, ReadTx, WriteTx};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Positions of an adopted log's events begin at a multiple of this: the first
/// one's at this, the second one's at twice this.
pub(crate) const WINDOW: u64 = 1 << 44;
/// Heads kept in memory before the cache starts over.
const HEADS: usize = 65_536;
/// Keys of subjects kept in memory before the cache starts over.
const SUBJECTS: usize = 65_536;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of an actor's chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Number of the next event.
    pub(crate) next: u64,
    /// Leaf hash of the last.
    pub(crate) last: Hash,
    /// Its index.
    pub(crate) index: u64,
}

/// The right edge of a log, as this process knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    pub(crate) tree: Tree,
    pub(crate) time: u64,
    /// Size of the newest checkpoint in the store.
    pub(crate) signed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// `None` until first used.
    pub(crate) edge: Option<Edge>,
    pub(crate) heads: HashMap<Hash, Head>,
    /// Tag of a subject -> its number and key.
    pub(crate) subjects: HashMap<Hash, (u64, Secret)>,
    /// The newest checkpoint that this process signed and has not yet shown to
    /// the head witness.
    pub(crate) released: Option<String>,
    /// What changed who speaks for an actor, in the leaves from here on.
    pub(crate) changes: Changes,
}

/// Leaves, seen by commits of this process, after which a key of before speaks
/// no more.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Nothing is known of the leaves below this one.
    from: u64,
    /// Actor -> the leaf with its newest version.
    versions: HashMap<Hash, u64>,
    /// Actor -> the leaf with its newest version that was no rotation: after a
    /// recovery, or its end, no epoch of before has a last word.
    silenced: HashMap<Hash, u64>,
    /// Actor and `aseq` of epochs that were revoked.
    epochs: HashSet<(Hash, u64)>,
}

impl Changes {
    /// Takes note of an event; `body` is what is stored of it.
    pub(crate) fn note(&mut self, header: &Header, index: u64, body: Option<&[u8]>) -> Result<()> {
        match header.kind {
            // With its first event an actor changes nothing.
            Kind::IDENTITY_ENTRY | Kind::IDENTITY_RECOVER if header.aseq > 0 => {
                self.versions.insert(header.actor, index);
                let rotates = |log: &[u8]| DidLog::verify(log).is_ok_and(|did| did.latest().is_some_and(|v| !v.deactivated));
                let body = PublicBody::decode(header.kind, body.unwrap_or_default())?;
                if !matches!(body, Some(PublicBody::Entry { did_log }) if rotates(did_log)) {
                    self.silenced.insert(header.actor, index);
                }
            }
            Kind::EPOCH_REVOKE => {
                if let Some(PublicBody::EpochRevoke { epoch, .. }) = PublicBody::decode(header.kind, body.unwrap_or_default())? {
                    self.epochs.insert((header.actor, epoch));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What an epoch may still say.
    pub(crate) fn term(&self, epoch: &Epoch) -> Term {
        let since = |of: &HashMap<Hash, u64>| of.get(&epoch.actor).is_some_and(|at| *at >= epoch.as_of);
        let revoked = || !self.epochs.is_empty() && epoch.opened().is_some_and(|aseq| self.epochs.contains(&(epoch.actor, aseq)));
        if epoch.as_of < self.from || since(&self.silenced) || revoked() {
            Term::Ended
        } else if since(&self.versions) {
            if epoch.has_unsigned() { Term::Late } else { Term::Ended }
        } else {
            Term::Open
        }
    }
}

/// What an epoch may still say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Term {
    /// Anything.
    Open,
    /// Its actor has another key by now. It may sign once more what it has
    /// written: by a seal, or by its close.
    Late,
    /// Nothing: by a rotation that found it with nothing unsigned, by a recovery,
    /// a revocation, or by something that cannot be excluded.
    Ended,
}

/// What speaks for an actor, as far as a process has read its log.
#[derive(Debug, Clone)]
pub(crate) struct Force {
    /// Version of the DID log.
    pub(crate) version: u64,
    /// The actor key that it names.
    pub(crate) key: PublicKey,
    /// `aseq` of the event that brought it.
    pub(crate) aseq: u64,
    /// It was the last one: nobody speaks for the actor any more.
    pub(crate) revoked: bool,
    /// Number of leaves of the log that were read.
    pub(crate) as_of: u64,
}

/// A key that speaks for an actor in this process.
pub(crate) struct Epoch {
    pub(crate) actor: Hash,
    pub(crate) key: SecretKey,
    pub(crate) version: u64,
    pub(crate) not_after: u64,
    pub(crate) certificate: [u8; 64],
    /// Number of leaves of the log that were read before its key was certified.
    pub(crate) as_of: u64,
    /// `aseq` of its `epoch.open` plus one; 0 while there is none.
    opened: AtomicU64,
    /// Its `epoch.close` is committed: it may say nothing more.
    closed: AtomicBool,
    /// Index and hash of the leaves that no signature of this epoch covers yet.
    pub(crate) unsigned: Mutex<Vec<(u64, Hash)>>,
}

impl Epoch {
    pub(crate) fn new(actor: Hash, key: SecretKey, force: &Force, not_after: u64, certificate: [u8; 64]) -> Self {
        Self {
            actor,
            key,
            version: force.version,
            not_after,
            certificate,
            as_of: force.as_of,
            opened: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            unsigned: Mutex::default(),
        }
    }

    pub(crate) fn opened(&self) -> Option<u64> {
        self.opened.load(Ordering::Acquire).checked_sub(1)
    }

    pub(crate) fn set_opened(&self, aseq: u64) {
        self.opened.store(aseq + 1, Ordering::Release);
    }

    /// Whether it has written what no signature of it covers.
    pub(crate) fn has_unsigned(&self) -> bool {
        !lock(&self.unsigned).is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Epoch({:?})", self.key)
    }
}

/// Keys of subjects that were unwrapped, by their number.
#[derive(Debug, Default)]
pub(crate) struct SubjectKeys(HashMap<u64, Secret>);

impl SubjectKeys {
    pub(crate) fn get(&self, number: u64) -> Option<&Secret> {
        self.0.get(&number)
    }

    pub(crate) fn keep(&mut self, number: u64, key: Secret) -> &Secret {
        if self.0.len() >= SUBJECTS {
            self.0.clear();
        }
        self.0.entry(number).insert_entry(key).into_mut()
    }

    /// Others may have erased subjects since.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A log of the open database.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) number: LogNumber,
    pub(crate) id: [u8; 16],
    pub(crate) database: [u8; 16],
    pub(crate) tenant: Hash,
    pub(crate) system: Hash,
    /// The key the genesis names for checkpoints.
    pub(crate) first_key: PublicKey,
    /// That key and the later ones, and the private half of the newest.
    pub(crate) held: Mutex<Held>,
    /// Key of the keyed tags.
    pub(crate) tags: Option<Secret>,
    /// The keyring, where it is open.
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// The same, where its store key is there: it wraps subjects' keys.
    pub(crate) store: Option<Arc<Keyring>>,
    /// Why the keyring, though it is here, was not opened.
    pub(crate) locked: Option<Arc<Error>>,
    /// What it says it goes on from, and that log.
    pub(crate) adopted: Option<Adopted>,
    pub(crate) before: Option<Arc<Log>>,
    /// Position of its first event: those of the logs before it come first.
    pub(crate) base: u64,
    /// Position at which its timeline begins: 0, or where that was adopted a
    /// multiple of [`WINDOW`]. What its own events say of positions counts from
    /// there.
    pub(crate) origin: u64,
    /// The first of the timelines that were adopted into this one.
    foreign: OnceLock<Box<Foreign>>,
    /// The log that went on from this one when it was opened.
    pub(crate) successor: Option<LogNumber>,
    /// Whoever wrote the leaves below this one is gone.
    pub(crate) left_behind: u64,
    pub(crate) state: Mutex<State>,
    /// Header time of the last event that is known, milliseconds; 0 before the
    /// log was first used. Beside the state, which a commit holds locked while
    /// it syncs: who prepares the next event must not wait for that.
    pub(crate) last_time: AtomicU64,
    pub(crate) epochs: Mutex<HashMap<Hash, Arc<Epoch>>>,
    /// Epochs of this process that a rotation ended elsewhere, and that have
    /// their last word to say.
    pub(crate) late: Mutex<Vec<Arc<Epoch>>>,
    /// What speaks for actors, where that was looked up; a commit finds out what
    /// is out of date.
    pub(crate) forces: Mutex<HashMap<Hash, Force>>,
    /// Keys of subjects by number, for reading.
    pub(crate) subjects: Mutex<SubjectKeys>,
    pub(crate) view: Mutex<View>,
    /// The keyring or the head witness knows its key.
    pub(crate) vouched: bool,
    /// How it stood to the head witness when it was opened.
    pub(crate) freshness: Freshness,
    /// Set when evidence contradicted what this process wrote.
    pub(crate) poisoned: AtomicBool,
    /// An erasure was read since the service thread last looked: whoever made it
    /// may be gone before it was settled.
    pub(crate) erased: AtomicBool,
    /// The longest state that was read here: its size and root.
    pub(crate) seen: Mutex<(u64, Hash)>,
    /// Its head witness, as far as this process has written or checked it.
    pub(crate) slots: Mutex<[Slot; 2]>,
    /// The checkpoint that was checked last.
    pinned: Mutex<Option<Pinned>>,
}

/// A checkpoint whose signature was checked, and the tree beside it, whose root
/// it signs: the same bytes need no second look.
#[derive(Debug)]
struct Pinned {
    note: String,
    edge: Vec<u8>,
    frontier: Frontier,
}

/// A log of another database that was adopted, over those before it there. They
/// are only ever added, so that who reads one need not hold a lock.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) log: Log,
    /// Position of the event that names it.
    pub(crate) named_at: u64,
    next: OnceLock<Box<Foreign>>,
}

/// What a genesis says, checked.
pub(crate) struct Genesis {
    pub(crate) database: [u8; 16],
    pub(crate) tenant: Hash,
    pub(crate) system: Hash,
    /// The key of its checkpoints, and those that later leaves brought.
    pub(crate) key: PublicKey,
    pub(crate) keys: LogKeys,
    /// The log that it goes on from, by leaf 1.
    pub(crate) adopted: Option<Adopted>,
}

/// The tag of a log's tenant, as its first leaf says. Nothing is checked: this
/// is for finding a log among many, which is then read by [`genesis`].
pub(crate) fn tenant_of(tx: &dyn ReadTx, log: LogNumber) -> Result<Option<Hash>> {
    let body = tx.event(log, 0)?.and_then(|event| event.body);
    Ok(match body.as_deref().map(|body| PublicBody::decode(Kind::LOG_GENESIS, body)).transpose()?.flatten() {
        Some(PublicBody::Genesis { tenant, .. }) => Some(tenant),
        _ => None,
    })
}

/// What the second leaf of a log says it goes on from. Nothing is checked: this
/// is for finding a log, which is then read by [`genesis`].
pub(crate) fn adopts(tx: &dyn ReadTx, log: LogNumber) -> Result<Option<Adopted>> {
    let Some(data) = tx.leaf(log, 1)? else { return Ok(None) };
    if Leaf::decode(&data)?.header.kind != Kind::LOG_ADOPT {
        return Ok(None);
    }
    let body = tx.event(log, 1)?.and_then(|event| event.body);
    match body.as_deref().map(|body| PublicBody::decode(Kind::LOG_ADOPT, body)).transpose()?.flatten() {
        // A log of another database may have been adopted that early.
        Some(PublicBody::Adopt(adopted)) => Ok(Some(adopted).filter(|adopted| adopted.cause != Adopted::IMPORTED)),
        _ => Err(Error::new(Code::Altered, format!("log {log} does not say what it goes on from"))),
    }
}

/// Reads and checks leaf 0 of a log, and leaf 1 where that names another log.
pub(crate) fn genesis(tx: &dyn ReadTx, row: &LogRow) -> Result<Genesis> {
    let place = |why: &str| Error::new(Code::Altered, format!("log {}: {why}", row.number));
    let event = tx.event(row.number, 0)?.ok_or_else(|| place("has no genesis"))?;
    let body = event.body.ok_or_else(|| place("has a genesis without body"))?;
    let leaf = Leaf::decode(&event.leaf)?;
    let public = PublicBody::decode(leaf.header.kind, &body)?;
    let Some(PublicBody::Genesis { did_log, log_key, database, tenant }) = public else {
        return Err(place("does not begin with a genesis"));
    };
    let did = DidLog::verify(did_log)?;
    let commits = mirrordna_core::verify::hash::public_body(&body) == leaf.header.body;
    let own = did.digest == leaf.header.actor && leaf.header.log == row.id && commits;
    let actor = did.versions.first().and_then(|v| v.actor_keys.first());
    let signed = |leaf: &Leaf<'_>| match (&leaf.signature, actor) {
        (Some((id, signature)), Some(key)) => *id == key.id() && key.verifies(&leaf::signed_bytes(leaf.header_bytes, id), signature),
        _ => false,
    };
    let key = PublicKey::new(&log_key).filter(|_| own && signed(&leaf));
    let key = key.ok_or_else(|| place("has a genesis that does not verify"))?;
    let adopted = adopts(tx, row.number)?;
    if let Some(adopted) = adopted {
        let data = tx.leaf(row.number, 1)?.unwrap_or_default();
        let second = Leaf::decode(&data)?;
        let commits = mirrordna_core::verify::hash::public_body(&PublicBody::Adopt(adopted).encode()) == second.header.body;
        if !(commits && second.header.actor == did.digest && second.header.log == row.id && signed(&second)) {
            return Err(place("has a second leaf that does not verify"));
        }
    }
    let keys = log_keys::read(tx, row, &key)?;
    Ok(Genesis { database, tenant, system: did.digest, key, keys, adopted })
}

/// A log of another database that was adopted by the event of log `heir` which
/// says so, over those before it there; `into` is the log at whose positions it
/// is read. Where its key for tags did not come with it, nothing of it opens.
pub(crate) fn foreign(tx: &dyn ReadTx, into: &Log, heir: LogNumber, named: &Adopted, origin: u64) -> Result<Log> {
    let rows = tx.logs()?;
    let (mut heir, mut next, mut found) = (heir, Some(*named), Vec::new());
    while let Some(adopted) = next {
        if found.len() > limits::FORKS {
            let message = format!("log {heir} goes on from more than {} others", limits::FORKS);
            return Err(Error::new(Code::LimitExceeded, message));
        }
        let row = rows.iter().find(|row| row.id == adopted.log && row.successor == Some(heir) && row.size == adopted.size);
        let row = row.filter(|row| Frontier::from_bytes(row.size, &row.frontier).is_ok_and(|f| f.root() == adopted.root));
        let row = row.ok_or_else(|| {
            let id = crate::keyring::hex(&adopted.log);
            Error::new(Code::Altered, format!("log {heir} names log {id}, which is not as it was adopted"))
        })?;
        let genesis = genesis(tx, row)?;
        next = genesis.adopted;
        found.push((row.number, row.id, genesis, heir));
        heir = row.number;
    }
    let mut before: Option<Log> = None;
    for (number, id, genesis, heir) in found.into_iter().rev() {
        let mut one = Log::new(number, id, genesis, into.store.as_ref())?;
        if one.tags.is_none() {
            one.store = None;
        }
        one.locked.clone_from(&into.locked);
        (one.successor, one.origin, one.base) = (Some(heir), origin, origin);
        if let (Some(earlier), Some(adopted)) = (before, one.adopted) {
            one.base = earlier.base.saturating_add(adopted.size);
            one.before = Some(Arc::new(earlier));
        }
        before = Some(one);
    }
    before.ok_or_else(|| Error::new(Code::Bug, "an adopted log was not looked for"))
}

impl Log {
    /// A log whose genesis was read.
    pub(crate) fn new(number: LogNumber, id: [u8; 16], genesis: Genesis, keyring: Option<&Arc<Keyring>>) -> Result<Self> {
        let own = owner(&id);
        let held = Held::new(&id, number, genesis.keys, keyring)?;
        Ok(Self {
            vouched: held.signs(),
            number,
            id,
            database: genesis.database,
            tenant: genesis.tenant,
            system: genesis.system,
            first_key: genesis.key,
            held: Mutex::new(held),
            keyring: keyring.cloned(),
            tags: keyring.map(|k| k.secret(Role::Tags, &own)).transpose()?.flatten(),
            store: keyring.map(|k| Ok::<_, Error>(k.store_key(0)?.map(|_| k.clone()))).transpose()?.flatten(),
            locked: None,
            adopted: genesis.adopted,
            before: None,
            base: 0,
            origin: 0,
            foreign: OnceLock::new(),
            successor: None,
            left_behind: 0,
            state: Mutex::default(),
            last_time: AtomicU64::new(0),
            epochs: Mutex::default(),
            late: Mutex::default(),
            forces: Mutex::default(),
            subjects: Mutex::default(),
            view: Mutex::default(),
            freshness: Freshness::Unproven,
            poisoned: AtomicBool::new(false),
            erased: AtomicBool::new(false),
            seen: Mutex::default(),
            slots: Mutex::default(),
            pinned: Mutex::default(),
        })
    }

    /// `key.missing`, unless the keys for tags and subjects are here.
    pub(crate) fn tag_key(&self) -> Result<&Secret> {
        let message = || format!("the keyring of database {} is not here", crate::keyring::hex(&self.database));
        self.tags.as_ref().ok_or_else(|| without(&self.locked, &message()))
    }

    /// Tag of a subject's name.
    pub(crate) fn subject_tag(&self, name: &str) -> Result<Hash> {
        Ok(self.tag_key()?.tag("mdna.v1.subject", &[name.as_bytes()]))
    }

    /// Idempotency tag of something with a name of its own elsewhere.
    pub(crate) fn once_tag(&self, parts: &[&str]) -> Result<[u8; 16]> {
        let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
        let tag = self.tag_key()?.tag("mdna.v1.once", &parts);
        let mut out = [0; 16];
        out.copy_from_slice(&tag[..16]);
        Ok(out)
    }

    /// Whether contents can be read here. Without the store key of the log an
    /// empty answer would be a wrong one.
    ///
    /// # Errors
    /// `key.missing`; `key.passphrase` or `key.provider` where the keyring is here
    /// and what opens it was not given.
    pub(crate) fn readable(&self) -> Result<()> {
        match self.store {
            Some(_) => Ok(()),
            None => Err(without(&self.locked, "the keyring of this database is not here: contents are locked")),
        }
    }

    /// The 16 bytes that stand for a session in headers.
    pub(crate) fn session_tag(&self, id: &str) -> Result<[u8; 16]> {
        match mirrordna_core::id::raw(id, mirrordna_core::session::PREFIX) {
            Some(raw) => Ok(raw),
            None => self.once_tag(&["session", id]),
        }
    }

    /// Checks the row's checkpoint and returns the tree it signs.
    pub(crate) fn signed_frontier(&self, tx: &dyn ReadTx, row: &LogRow) -> Result<Frontier> {
        self.learn_keys(tx, row)?;
        let bad = |why: &str| Error::new(Code::Altered, format!("log {}: its checkpoint {why}", row.number));
        let mut pinned = lock(&self.pinned);
        if let Some(known) = pinned.as_ref().filter(|p| p.note == row.checkpoint && p.edge == row.signed_frontier) {
            let short = known.frontier.size() > row.size;
            return if short { Err(bad("signs more events than there are")) } else { Ok(known.frontier.clone()) };
        }
        let note = Note::parse(row.checkpoint.as_bytes()).map_err(|e| bad("is malformed").caused_by(e))?;
        let checkpoint = Checkpoint::parse(note.text).map_err(|e| bad("is malformed").caused_by(e))?;
        let origin = note::origin(&self.id);
        if checkpoint.origin != origin || !holds(|| self.signs(checkpoint.size, &note)) {
            return Err(bad("is not signed by the log's key"));
        }
        if checkpoint.size > row.size {
            return Err(bad("signs more events than there are"));
        }
        let frontier =
            Frontier::from_bytes(checkpoint.size, &row.signed_frontier).map_err(|e| bad("has another tree beside it").caused_by(e))?;
        if !holds(|| frontier.root() == checkpoint.root) {
            return Err(bad("has another tree beside it"));
        }
        *pinned = Some(Pinned { note: row.checkpoint.clone(), edge: row.signed_frontier.clone(), frontier: frontier.clone() });
        Ok(frontier)
    }

    /// The log's row as it is now.
    ///
    /// # Errors
    /// `log.closed` where another log went on from it since it was opened: what
    /// it still says is not what is.
    pub(crate) fn row(&self, tx: &dyn ReadTx) -> Result<LogRow> {
        let row = tx.log(self.number)?.ok_or_else(|| Error::new(Code::Altered, format!("log {} is gone", self.number)))?;
        match (row.successor, self.successor) {
            (now, then) if now == then => Ok(row),
            (Some(now), None) => Err(Error::new(Code::LogClosed, format!("log {} was left; log {now} goes on from it", self.number))),
            _ => Err(Error::new(Code::Altered, format!("log {} no longer names the log that goes on from it", self.number))),
        }
    }

    /// Checks that no event stands behind the last one: nobody would read it,
    /// but the next event might want its place.
    pub(crate) fn ends(&self, tx: &dyn ReadTx, row: &LogRow) -> Result<()> {
        tx.scan(self.number, row.size..u64::MAX, &mut |stray| {
            Err(Error::new(Code::Altered, format!("log {} has {} events, and one at {}", self.number, row.size, stray.index)))
        })
    }

    /// Makes `state` agree with the store, checking everything that is new;
    /// returns the log's row.
    pub(crate) fn refresh(&self, tx: &dyn ReadTx, state: &mut State) -> Result<LogRow> {
        let row = self.row(tx)?;
        self.ends(tx, &row)?;
        // What can be read again need not all be kept.
        if state.heads.len() > HEADS {
            state.heads.clear();
        }
        if state.subjects.len() > SUBJECTS {
            state.subjects.clear();
        }
        let known = state.edge.as_ref();
        if known.is_some_and(|e| e.tree.size() == row.size && e.tree.frontier().to_bytes() == row.frontier) {
            return Ok(row);
        }
        let mut edge = match known {
            Some(edge) => edge.clone(),
            None => {
                let edge = self.first_edge(tx, &row)?;
                state.changes = Changes { from: edge.tree.size(), ..Changes::default() };
                edge
            }
        };
        // Whoever only read so far has seen it no shorter and no otherwise.
        let (seen, root) = *lock(&self.seen);
        let longest = edge.tree.size().max(seen);
        if row.size < longest {
            return Err(Error::new(
                Code::RolledBack,
                format!("log {} has {} events in the store, this process has seen {longest}", self.number, row.size),
            ));
        }
        let from = edge.tree.size();
        let mut forked = from == seen && seen > 0 && edge.tree.frontier().root() != root;
        let mut next = from;
        tx.scan(self.number, from..row.size, &mut |found| {
            if found.index != next {
                return Err(Error::new(Code::Altered, format!("log {} lacks leaf {next}", self.number)));
            }
            next += 1;
            let header = Leaf::decode(found.leaf)?.header;
            let hash = leaf::hash(found.leaf);
            edge.tree.push(hash);
            state.changes.note(&header, found.index, found.body)?;
            forked |= edge.tree.size() == seen && edge.tree.frontier().root() != root;
            if let Some(head) = state.heads.get_mut(&header.actor) {
                *head = Head { next: header.aseq + 1, last: hash, index: found.index };
            }
            Ok(())
        })?;
        if forked {
            return Err(Error::new(Code::Forked, format!("log {} has other events in the store than this process has seen", self.number)));
        }
        let last = row.size.checked_sub(1).map(|index| tx.leaf(self.number, index)).transpose()?.flatten();
        edge.time = last.map(|data| Leaf::decode(&data).map(|leaf| leaf.header.time)).transpose()?.unwrap_or_default();
        if edge.time != row.time {
            return Err(Error::new(Code::Altered, format!("log {}: its row has another time than its last event", self.number)));
        }
        if edge.tree.size() != row.size || edge.tree.frontier().to_bytes() != row.frontier {
            return Err(Error::new(Code::Forked, format!("log {}: its leaves do not lead to the tree its row claims", self.number)));
        }
        self.remember(tx)?;
        // Others may have erased subjects.
        state.subjects.clear();
        edge.signed = self.signed_frontier(tx, &row)?.size();
        self.last_time.fetch_max(edge.time, Ordering::AcqRel);
        state.edge = Some(edge);
        Ok(row)
    }

    /// The edge at the checkpoint, so that only leaves after it must be hashed.
    fn first_edge(&self, tx: &dyn ReadTx, row: &LogRow) -> Result<Edge> {
        let frontier = self.signed_frontier(tx, row)?;
        let size = frontier.size();
        let start = size / TILE * TILE;
        let mut tail = Vec::new();
        tx.scan(self.number, start..size, &mut |found| {
            tail.push(leaf::hash(found.leaf));
            Ok(())
        })?;
        Ok(Edge { tree: Tree::resume(frontier, tail)?, time: 0, signed: size })
    }

    /// Lets go of an epoch that may say nothing more, and of what was known of
    /// its actor. One that has a last word to say is kept for that.
    pub(crate) fn forget(&self, epoch: &Arc<Epoch>, term: Term) {
        let mut late = lock(&self.late);
        late.retain(|e| !Arc::ptr_eq(e, epoch));
        if term == Term::Late {
            late.push(epoch.clone());
        }
        drop(late);
        let mut epochs = lock(&self.epochs);
        if epochs.get(&epoch.actor).is_some_and(|e| Arc::ptr_eq(e, epoch)) {
            epochs.remove(&epoch.actor);
        }
        drop(epochs);
        lock(&self.forces).remove(&epoch.actor);
    }

    /// Before anything of ours is signed over leaves that others could have
    /// touched: they must be what we wrote.
    fn remember(&self, tx: &dyn ReadTx) -> Result<()> {
        let late = lock(&self.late).clone();
        for epoch in lock(&self.epochs).values().chain(&late) {
            for (index, hash) in lock(&epoch.unsigned).iter() {
                let stored = tx.leaf(self.number, *index)?;
                if stored.is_none_or(|data| leaf::hash(&data) != *hash) {
                    self.poisoned.store(true, Ordering::Release);
                    return Err(Error::new(Code::Altered, format!("log {}: leaf {index} is not what this process wrote", self.number)));
                }
            }
        }
        Ok(())
    }

    /// The epochs of this process that have something to sign, within their time.
    pub(crate) fn unsealed(&self, now: u64) -> Vec<Arc<Epoch>> {
        let mut late = lock(&self.late);
        late.retain(|e| now < e.not_after && e.has_unsigned());
        let open = lock(&self.epochs);
        open.values().filter(|e| now < e.not_after && e.has_unsigned()).chain(late.iter()).cloned().collect()
    }

    /// The log that has the event at a position, and its index there.
    pub(crate) fn at(&self, position: u64) -> (&Self, u64) {
        if let Some(foreign) = self.foreign_at(position) {
            return foreign.log.at(position);
        }
        match &self.before {
            Some(before) if position < self.base => before.at(position),
            _ => (self, position - self.base.min(position)),
        }
    }

    /// The timelines that were adopted into this one, as far as they were read.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Foreign> {
        std::iter::successors(self.foreign.get(), |foreign| foreign.next.get()).map(|foreign| &**foreign)
    }

    /// The one of them that has a position.
    pub(crate) fn foreign_at(&self, position: u64) -> Option<&Foreign> {
        let nth = usize::try_from((position / WINDOW).checked_sub(1)?).ok()?;
        self.foreign().nth(nth).filter(|_| self.origin == 0)
    }

    /// Adds one, as the last; whoever does holds this log's view.
    pub(crate) fn add_foreign(&self, log: Self, named_at: u64) -> Result<()> {
        let new = Box::new(Foreign { log, named_at, next: OnceLock::new() });
        let place = self.foreign().last().map_or(&self.foreign, |last| &last.next);
        place.set(new).map_err(|_| Error::new(Code::Bug, "two threads added an adopted log at once"))
    }

    /// Position, in the timeline of the tenant, of what an event of this log
    /// calls a position; `None` where that is in a log which its own timeline had
    /// adopted.
    pub(crate) const fn position_of(&self, said: u64) -> Option<u64> {
        match self.origin {
            0 => Some(said),
            origin if said < WINDOW => Some(origin + said),
            _ => None,
        }
    }

    /// Destroys bodies and secrets, first of all the keys of subjects that go
    /// as a whole, in this log and in those before it.
    pub(crate) fn destroy(&self, tx: &mut dyn WriteTx, plan: &Plan) -> Result<()> {
        for top in std::iter::once(self).chain(self.foreign().map(|foreign| &foreign.log)) {
            // Each database has a key of its own for the tags of subjects.
            let adopted = plan.foreign_subjects.iter().filter(|(log, _)| *log == top.number).map(|(_, tag)| tag);
            let tags: Vec<&Hash> = if top.origin == 0 { plan.subjects.iter().collect() } else { adopted.collect() };
            for log in std::iter::successors(Some(top), |log| log.before.as_deref()) {
                for tag in &tags {
                    if let Some(subject) = tx.subject(log.number, tag)? {
                        tx.delete_subject(subject.number)?;
                    }
                }
            }
        }
        for target in &plan.targets {
            let (log, index) = self.at(target.position);
            tx.erase_body(log.number, index)?;
        }
        Ok(())
    }

    /// The end of an actor's chain, as its row in the store says; `None` for an
    /// actor without one. The row may be an older one: see [`Log::last_head`].
    pub(crate) fn head(&self, tx: &dyn ReadTx, state: &State, actor: &Hash) -> Result<Option<Head>> {
        if let Some(head) = state.heads.get(actor) {
            return Ok(Some(*head));
        }
        let Some(index) = tx.head(self.number, actor)? else { return Ok(None) };
        let bad = || Error::new(Code::Altered, format!("log {}: an actor's last leaf is not its own", self.number));
        let data = tx.leaf(self.number, index)?.ok_or_else(bad)?;
        let header = Leaf::decode(&data)?.header;
        if header.actor != *actor || header.log != self.id {
            return Err(bad());
        }
        Ok(Some(Head { next: header.aseq + 1, last: leaf::hash(&data), index }))
    }

    /// The same, for an actor that is about to say more: after an older head it
    /// would sign a second event of one number. What this process did not write
    /// itself is held against the events.
    pub(crate) fn last_head(&self, tx: &dyn ReadTx, state: &State, actor: &Hash) -> Result<Option<Head>> {
        let head = self.head(tx, state, actor)?;
        if state.heads.contains_key(actor) {
            return Ok(head);
        }
        let from = self.base + head.map_or(0, |head| head.index + 1);
        let mut view = lock(&self.view);
        view.catch_up(tx, self)?;
        match view.surely(tx, self, &mut |view| view.has_event_from(tx, self, actor, from))? {
            false => Ok(head),
            true => Err(Error::new(Code::Altered, format!("log {}: an actor's head is not its last event", self.number))),
        }
    }
}

/// Why a key is not at hand: the keyring was not opened, or it is not here.
pub(crate) fn without(locked: &Option<Arc<Error>>, message: &str) -> Error {
    match locked {
        Some(why) => Error::new(why.code(), why.message().to_owned()).with_hint(why.hint().to_owned()),
        None => missing(message),
    }
}

/// `key.missing` with a message.
pub(crate) fn missing(message: &str) -> Error {
    Error::new(Code::KeyMissing, message.to_owned())
}
