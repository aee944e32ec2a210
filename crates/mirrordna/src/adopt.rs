//! Adopting a log of another database: its events are kept as they are, closed,
//! and an event of this tenant's log names them.
//!
//! The export is first made a database beside this one and verified there, as a
//! restore does. Then all of it comes over in one transaction with the event that
//! names it: whoever is stopped before leaves nothing. Where the keyring of the
//! other database is given, the keys of subjects are wrapped anew under this one,
//! and the keys of its identities come along: they go on here with their next
//! event, which refers to their last one there.

use crate::backup;
use crate::commit::{Item, Job, Speaker, put_tiles};
use crate::engine::{Inner, Tenant};
use crate::file::Making;
use crate::identities::{newest, owner_of};
use crate::import::Progress;
use crate::keyring::provider::{KeyProvider, Unlock};
use crate::keyring::{Found, Keyring, Keys, NewKey, Role, hex, owner};
use crate::log::{Foreign, Log, genesis};
use crate::proof::signed_size;
use crate::url::StoreUrl;
use crate::verify::{Outside, REPORT_EVERY, Scope};
use crate::view::Said;
use mirrordna_core::timeline::{Draft, Tree};
use mirrordna_core::verify::body::{Adopted, PublicBody};
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::verify::multibase::digest_of;
use mirrordna_core::verify::{Policy, leaf};
use mirrordna_core::{Code, Error, Hash, Leaf, Result};
use mirrordna_storage::{LogRow, MemoryStore, Outlined, ReadTx, Store, SubjectRow, WriteTx};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// How often an adoption begins again because the epoch that signs it ended.
const AGAIN: u32 = 8;

/// How a log is adopted.
#[derive(Clone, Default)]
pub struct AdoptOptions {
    keys: Option<Keys>,
    unlock: Unlock,
    log: Option<String>,
}

impl fmt::Debug for AdoptOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdoptOptions").field("keys", &self.keys).field("log", &self.log).finish_non_exhaustive()
    }
}

impl AdoptOptions {
    /// Where the keyring of the other database is. With it contents can be read
    /// and identities go on here; without it they stay locked.
    #[must_use]
    pub fn keys_from(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The passphrase of that keyring; without one, and without a provider, what
    /// the environment gives for one's own is tried.
    #[must_use]
    pub fn passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.unlock.passphrase = Some(Zeroizing::new(passphrase.into()));
        self
    }

    /// What holds the key of that keyring.
    #[must_use]
    pub fn key_provider(mut self, provider: impl KeyProvider + 'static) -> Self {
        self.unlock.provider = Some(Arc::new(provider));
        self
    }

    /// Which log, by its id or the beginning of it (hex), of an export that holds
    /// those of several tenants.
    #[must_use]
    pub fn log(mut self, id: impl Into<String>) -> Self {
        self.log = Some(id.into());
        self
    }
}

/// What was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adoption {
    /// Id of the log, hex.
    pub log: String,
    /// Root over its events (RFC 6962), hex.
    pub head: String,
    /// Fingerprint of the key that signed its checkpoints, hex.
    pub log_key: String,
    /// Logs that came: with those that it goes on from and had adopted itself.
    pub logs: u64,
    /// Their events.
    pub events: u64,
    /// Position of its first event in this tenant's timeline.
    pub first_position: u64,
    /// Position of the event that names it.
    pub named_at: u64,
    /// Contents that the export still held though they had been erased, by it or
    /// here: they did not come.
    pub refused: u64,
    /// Identities whose keys came, so that they can go on here.
    pub identities: u64,
    /// Whether its contents can be read here.
    pub readable: bool,
    /// It was here already: no event was added.
    pub existed: bool,
}

impl Tenant {
    /// Adopts a log of another database from an export of that
    /// ([`Engine::export`](crate::Engine::export)): it is verified, and kept as it
    /// is, closed. Its records, sessions, memories and identities are read as
    /// this tenant's own are; where both have one id or name, this tenant's own
    /// counts. Nothing of it can be changed any more, but be erased.
    ///
    /// With the keyring of the other database ([`AdoptOptions::keys_from`]) its
    /// contents can be read, and its identities move: each goes on in this log
    /// with its next event. Without it contents stay locked; adopting the same
    /// export again, with the keys, opens them, from the next opening of the
    /// database on.
    ///
    /// Contents that were erased there stay erased, even where the export still
    /// has them.
    ///
    /// ```
    /// use mirrordna::{AdoptOptions, Engine, IdentityType, Keys, Witness};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let open = |name: &str| {
    ///     let path = dir.path().join(name).join("m.db");
    ///     Engine::builder(path.to_str().unwrap()).keys(Keys::Folder(dir.path().join(name))).witness(Witness::Off).open()
    /// };
    /// let laptop = open("laptop")?;
    /// let agent = laptop.identities().create(IdentityType::Agent)?;
    /// agent.memories().add("Prefers trains to planes").send()?;
    /// let mut export = Vec::new();
    /// laptop.export(&mut export)?;
    ///
    /// let server = open("server")?;
    /// let options = AdoptOptions::default().keys_from(Keys::Folder(dir.path().join("laptop")));
    /// let adopted = server.main().adopt(&mut export.as_slice(), &options)?;
    /// assert!(adopted.readable && adopted.identities == 1);
    ///
    /// let agent = server.identities().get(agent.id())?;
    /// assert_eq!(agent.memories().search("trains").run()?.len(), 1);
    /// agent.memories().add("Moved to the server").send()?;
    /// assert!(server.verify()?.is_intact());
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `export.invalid`, `log.altered` where the export does not hold;
    /// `input.invalid` for an export of this database itself, of several tenants
    /// where none was chosen, or one that was taken before its last events were
    /// signed; `log.closed` for a log that is here, as it was earlier; `log.forked`
    /// for one that is here otherwise, or with an identity that is here otherwise;
    /// `key.missing`, `key.passphrase`, `key.provider` for the keyrings;
    /// `store.*`.
    pub fn adopt(&self, export: &mut dyn Read, options: &AdoptOptions) -> Result<Adoption> {
        self.adopt_with(export, options, &mut |_, _| {})
    }

    /// The same, telling `progress` now and then how much was done, of how much:
    /// twice the events of the export, to verify them and to bring them over.
    ///
    /// # Errors
    /// As [`Tenant::adopt`].
    pub fn adopt_with(&self, export: &mut dyn Read, options: &AdoptOptions, progress: Progress<'_>) -> Result<Adoption> {
        let Self { inner, log } = self;
        inner.writable()?;
        let keyring = inner.keyring.as_deref().ok_or_else(|| crate::log::missing("a log is adopted with the keyring of this database"))?;
        let staged = Staged::new(inner)?;
        let loaded = backup::load(&*staged.store, export)?;
        if let Some(damage) = loaded.damage {
            return Err(damage);
        }
        let other = staged.keyring(options)?;
        let twice = loaded.moved.events.saturating_mul(2);
        let (policy, scope) = (Policy::default(), Scope::Everything);
        let report = crate::verify::database(
            &*staged.store,
            other.as_deref(),
            Outside { policy: &policy, kept: &[] },
            None,
            scope,
            &mut |done, _| progress(done, twice),
        )?;
        if let Some(first) = report.problems.first() {
            let message = format!("the export was altered: {} at {}: {}", first.code, first.place, first.message);
            return Err(
                Error::new(Code::Altered, message).with_hint("`mirrordna verify FILE` lists all that was altered. Take another copy.")
            );
        }
        let coming = staged.choose(options.log.as_deref())?;
        self.view(|_, _| Ok(()))?;
        let known = self.known(&*staged.store, &coming)?;
        let mut arrival = Arrival {
            inner,
            log,
            keyring,
            other: other.as_deref(),
            coming: &coming,
            keys: BTreeMap::new(),
            opened: HashSet::new(),
            identities: 0,
            erased: HashSet::new(),
        };
        arrival.look(self, &*staged.store, known)?;
        let mut refused = 0;
        if known {
            arrival.unlock(&*staged.store)?;
        } else {
            refused = arrival.come(&*staged.store, &mut |done| progress(loaded.moved.events + done, twice))?;
        }
        let (identities, opened) = (arrival.identities, arrival.opened.contains(&coming.top.id));
        self.view(|_, _| Ok(()))?;
        let here = log.foreign().find(|foreign| foreign.log.id == coming.top.id);
        let here = here.ok_or_else(|| Error::new(Code::Bug, "a log that was adopted is not there"))?;
        tracing::info!(log = %hex(&coming.top.id), events = coming.events, existed = known, "adopted");
        Ok(Adoption {
            log: hex(&coming.top.id),
            head: hex(&coming.root),
            log_key: hex(&here.log.key().fingerprint()),
            logs: coming.rows.len() as u64,
            events: coming.events,
            first_position: here.log.origin,
            named_at: here.named_at,
            refused,
            identities,
            readable: here.log.store.is_some() || opened,
            existed: known,
        })
    }

    /// The logs of other databases that were adopted into this tenant's, in the
    /// order in which they came.
    ///
    /// # Errors
    /// `store.*` where the log cannot be read, `log.altered` where its evidence
    /// does not hold.
    pub fn adopted(&self) -> Result<Vec<AdoptedLog>> {
        self.view(|_, _| Ok(()))?;
        let told = |foreign: &Foreign| {
            let mut root = Hash::default();
            let mut size = 0;
            self.inner.store.read(&mut |tx| {
                let row = foreign.log.row(tx)?;
                (size, root) = (row.size, Frontier::from_bytes(row.size, &row.frontier)?.root());
                Ok(())
            })?;
            Ok(AdoptedLog {
                log: hex(&foreign.log.id),
                events: size,
                head: hex(&root),
                log_key: hex(&foreign.log.key().fingerprint()),
                first_position: foreign.log.origin,
                named_at: foreign.named_at,
                readable: foreign.log.store.is_some(),
            })
        };
        self.log.foreign().map(told).collect()
    }

    /// Whether the log is one that this tenant adopted already, as it is.
    fn known(&self, staged: &dyn Store, coming: &Coming) -> Result<bool> {
        let mut here = Vec::new();
        self.inner.store.read(&mut |tx| {
            here = tx.logs()?;
            Ok(())
        })?;
        let id = hex(&coming.top.id);
        let own = |id: &[u8; 16]| std::iter::successors(Some(&*self.log), |log| log.before.as_deref()).any(|log| log.id == *id);
        if coming.database == self.inner.database || coming.rows.iter().any(|row| own(&row.id)) {
            let e = Error::new(Code::InputInvalid, "the export holds logs of this database itself: there is nothing to adopt in it");
            return Err(e.with_hint("`mirrordna restore` makes a new database of it, `mirrordna fork` goes on from an older state."));
        }
        let adopted = self.log.foreign().any(|foreign| foreign.log.id == coming.top.id);
        let Some(row) = here.iter().find(|row| row.id == coming.top.id).filter(|_| adopted) else {
            if let Some(row) = here.iter().find(|row| coming.rows.iter().any(|one| one.id == row.id)) {
                let e = Error::new(Code::LogClosed, format!("log {} is in this database already, and closed", hex(&row.id)));
                return Err(
                    e.with_hint("What was adopted cannot be adopted once more: not with what came after it, and not by another tenant.")
                );
            }
            return Ok(false);
        };
        let ours = Frontier::from_bytes(row.size, &row.frontier)?.root();
        let (shorter, same) = match coming.top.size.cmp(&row.size) {
            std::cmp::Ordering::Equal => (row.size, coming.root == ours),
            std::cmp::Ordering::Less => (coming.top.size, root_at(&*self.inner.store, row.number, coming.top.size)? == coming.root),
            std::cmp::Ordering::Greater => (row.size, root_at(staged, coming.top.number, row.size)? == ours),
        };
        if !same {
            let message = format!("log {id} has another history in the export than as it was adopted: their first {shorter} events differ");
            let e = Error::new(Code::Forked, message);
            return Err(e.with_hint("Both are signed by its key. Keep both files: they show that whoever holds that key told two stories."));
        }
        if coming.top.size > row.size {
            let message = format!("log {id} was adopted with {} events and is closed; the export has {}", row.size, coming.top.size);
            let e = Error::new(Code::LogClosed, message);
            return Err(e.with_hint("Its actors go on here. What they said there since stays in the other database."));
        }
        Ok(true)
    }
}

/// A log of another database that was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct AdoptedLog {
    /// Its id, hex.
    pub log: String,
    /// Number of its events.
    pub events: u64,
    /// Root over them (RFC 6962), hex.
    pub head: String,
    /// Fingerprint of the key that signed its checkpoints, hex.
    pub log_key: String,
    /// Position of the first event of its timeline.
    pub first_position: u64,
    /// Position of the event that names it.
    pub named_at: u64,
    /// Whether its contents can be read here.
    pub readable: bool,
}

/// Root over the first leaves of a log.
fn root_at(store: &dyn Store, log: u32, size: u64) -> Result<Hash> {
    let mut tree = Frontier::default();
    store.read(&mut |tx| {
        tree = Frontier::default();
        tx.outline(log, 0..size, &mut |event| {
            tree.push(leaf::hash(event.leaf));
            Ok(())
        })
    })?;
    Ok(tree.root())
}

/// The export as a database of its own, beside the one that adopts.
struct Staged {
    store: Arc<dyn Store>,
    /// Removes its files when it is dropped, after the store.
    _making: Option<Making>,
}

impl Staged {
    fn new(inner: &Inner) -> Result<Self> {
        let beside = || PathBuf::from(format!("{}.adopting", inner.store.location()));
        let url = match StoreUrl::parse(&inner.url)? {
            StoreUrl::Memory => return Ok(Self { store: Arc::new(MemoryStore::new()), _making: None }),
            StoreUrl::Redb(_) => StoreUrl::Redb(beside()),
            StoreUrl::Sqlite(_) => StoreUrl::Sqlite(beside()),
        };
        let making = Making::begin(&url)?;
        Ok(Self { store: making.store()?, _making: Some(making) })
    }

    /// The keyring of the database that was exported, where it was given.
    fn keyring(&self, options: &AdoptOptions) -> Result<Option<Arc<Keyring>>> {
        let Some(keys) = &options.keys else { return Ok(None) };
        let mut database = None;
        self.store.read(&mut |tx| {
            database = tx.logs()?.first().map(|row| genesis(tx, row)).transpose()?.map(|genesis| genesis.database);
            Ok(())
        })?;
        let id = database.ok_or_else(|| Error::new(Code::ExportInvalid, "the export holds no log"))?;
        let unlock = if options.unlock.is_empty() { Unlock::from_env()? } else { options.unlock.clone() };
        match Keyring::open(keys, id, &unlock)? {
            Found::Open(keyring) => Ok(Some(keyring)),
            Found::Locked(why) => Err(why),
            Found::Absent => {
                let at = keys.path(&id).ok().flatten().map_or_else(|| "there".to_owned(), |path| path.display().to_string());
                Err(crate::log::missing(&format!("the keyring of database {} is not at {at}", hex(&id))))
            }
        }
    }

    /// The log to adopt, with those that it goes on from and had adopted.
    fn choose(&self, id: Option<&str>) -> Result<Coming> {
        let mut chosen = None;
        self.store.read(&mut |tx| {
            let all = tx.logs()?;
            let open: Vec<&LogRow> = all.iter().filter(|row| row.successor.is_none()).collect();
            let fits = |row: &&&LogRow| id.is_none_or(|id| hex(&row.id).starts_with(&id.to_ascii_lowercase()));
            let found: Vec<&LogRow> = open.iter().filter(fits).copied().collect();
            let [top] = found.as_slice() else {
                let ids: Vec<String> = open.iter().map(|row| hex(&row.id)).collect();
                let e = Error::new(Code::InputInvalid, format!("the export holds {} logs that could be meant", found.len()));
                return Err(e.with_hint(format!("Name one, `--log ID`: {}.", ids.join(", "))));
            };
            let genesis = genesis(tx, top)?;
            if signed_size(top)? != top.size {
                let e = Error::new(Code::InputInvalid, "the last events of the export are covered by no checkpoint of its log");
                return Err(e.with_hint("Export again where the keys of that database are: it is signed then."));
            }
            let mut numbers = BTreeSet::from([top.number]);
            while let Some(more) =
                all.iter().find(|row| row.successor.is_some_and(|n| numbers.contains(&n)) && !numbers.contains(&row.number))
            {
                numbers.insert(more.number);
            }
            let rows: Vec<LogRow> = all.iter().filter(|row| numbers.contains(&row.number)).cloned().collect();
            chosen = Some(Coming {
                root: Frontier::from_bytes(top.size, &top.frontier)?.root(),
                events: rows.iter().map(|row| row.size).sum(),
                top: (*top).clone(),
                rows,
                database: genesis.database,
            });
            Ok(())
        })?;
        chosen.ok_or_else(|| Error::new(Code::Bug, "a read returned nothing"))
    }
}

/// The logs that are to come.
struct Coming {
    top: LogRow,
    root: Hash,
    /// All of them, by number.
    rows: Vec<LogRow>,
    events: u64,
    database: [u8; 16],
}

/// Logs on their way into this database.
struct Arrival<'a> {
    inner: &'a Inner,
    log: &'a Arc<Log>,
    keyring: &'a Keyring,
    /// The keyring of the other database.
    other: Option<&'a Keyring>,
    coming: &'a Coming,
    /// Keys that come along: of tags, actors, and updates.
    keys: BTreeMap<(Hash, u8), NewKey>,
    /// Logs whose contents the other keyring opens.
    opened: HashSet<[u8; 16]>,
    identities: u64,
    /// Leaf hashes of what was erased, there or here.
    erased: HashSet<Hash>,
}

impl Arrival<'_> {
    /// Looks at what is to come: which keys of it are here, what was erased, and
    /// whether its identities are what this log knows of them.
    fn look(&mut self, tenant: &Tenant, staged: &dyn Store, known: bool) -> Result<()> {
        for row in &self.coming.rows {
            let tags = owner(&row.id);
            match self.other {
                Some(other) => {
                    if let Some(key) = other.secret(Role::Tags, &tags)? {
                        self.keep(Role::Tags, tags, Zeroizing::new(*key.expose()));
                        self.opened.insert(row.id);
                    }
                }
                None if !known && self.keyring.secret(Role::Tags, &tags)?.is_some() => {
                    let message = format!("keys of log {} came with an earlier adoption, which was stopped", hex(&row.id));
                    return Err(
                        crate::log::missing(&message).with_hint("Adopt it with the keyring of its database again: --keys-from PATH.")
                    );
                }
                None => {}
            }
        }
        let coming = self.coming;
        let mut erased = HashSet::new();
        let mut moved: HashSet<Hash> = HashSet::new();
        staged.read(&mut |tx| {
            for row in &coming.rows {
                tx.outline(row.number, 0..row.size, &mut |event| {
                    let header = Leaf::decode(event.leaf)?.header;
                    let Outlined::Clear(body) = event.body else { return Ok(()) };
                    match PublicBody::decode(header.kind, body)? {
                        Some(PublicBody::Erase { .. }) => erased.extend(header.refs.iter().copied()),
                        Some(PublicBody::Entry { did_log } | PublicBody::Recover { did_log, .. }) => {
                            if !known {
                                self.continues(tenant, &header.actor, did_log)?;
                            }
                            // What it brings last says whether the actor goes on.
                            if self.keys_of(&header.actor, did_log)? {
                                moved.insert(header.actor);
                            } else {
                                moved.remove(&header.actor);
                            }
                        }
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        self.identities = moved.len() as u64;
        tenant.view(|view, tx| {
            for position in view.erasures(tx, self.log, 0)? {
                erased.extend(view.bare_event(tx, self.log, position)?.into_iter().flat_map(|event| event.header.refs));
            }
            Ok(())
        })?;
        self.erased = erased;
        Ok(())
    }

    fn keep(&mut self, role: Role, owner: Hash, key: Zeroizing<[u8; 32]>) {
        self.keys.insert((owner, role as u8), NewKey { role, owner, key });
    }

    /// An identity that is known here must be known here at least as far as
    /// there: which key is in force must not depend on where one looks.
    fn continues(&self, tenant: &Tenant, actor: &Hash, theirs: &[u8]) -> Result<()> {
        let events = tenant.view(|view, tx| view.identity_events(tx, self.log, actor, u64::MAX))?;
        let Some((event, _)) = newest(&events)? else { return Ok(()) };
        let Said::Brought { did_log, .. } = &event.what else { return Ok(()) };
        if did_log.starts_with(theirs) {
            return Ok(());
        }
        let how =
            if theirs.starts_with(did_log) { "has versions there that this log does not know" } else { "went another way there than here" };
        let e = Error::new(Code::Forked, format!("identity {} {how}", hex(&actor[..16])));
        Err(e.with_hint("Adopt the log before the identity is changed in both, or leave it where it is."))
    }

    /// Takes the keys of an identity that the other keyring has; returns whether
    /// the one is there that speaks for it by this DID log.
    fn keys_of(&mut self, actor: &Hash, did_log: &[u8]) -> Result<bool> {
        let Some(other) = self.other else { return Ok(false) };
        let did = DidLog::verify(did_log)?;
        let mut here = false;
        for version in &did.versions {
            for key in &version.actor_keys {
                let name = owner_of(actor, version.number, key);
                if let Some(found) = other.signing(Role::Actor, &name)?.filter(|found| found.public() == key) {
                    here |= did.latest().is_some_and(|latest| latest.number == version.number && !latest.deactivated);
                    self.keep(Role::Actor, name, found.seed());
                }
            }
            let committed = version.next_key_hashes.iter().filter_map(|hash| digest_of(hash));
            for name in std::iter::once(*actor).filter(|_| version.number == 1).chain(committed) {
                if let Some(found) = other.signing(Role::Update, &name)? {
                    self.keep(Role::Update, name, found.seed());
                }
            }
        }
        Ok(here)
    }

    /// The key of a subject, under this database's store key where it opens.
    fn wrapped(&self, row: &LogRow, subject: &SubjectRow) -> Result<Vec<u8>> {
        let Some(other) = self.other.filter(|_| self.opened.contains(&row.id)) else {
            return Ok(subject.key.clone());
        };
        let altered = || Error::new(Code::Altered, format!("the key of subject {} of the export does not unwrap", subject.number));
        let tag = Hash::try_from(subject.tag.as_slice()).map_err(|_| altered())?;
        let key = other.unwrap_subject(&row.id, &tag, &subject.key)?.ok_or_else(altered)?;
        self.keyring.wrap_subject(&row.id, &tag, &key)
    }

    fn publish_keys(&mut self) -> Result<()> {
        let keys: Vec<NewKey> = std::mem::take(&mut self.keys).into_values().collect();
        if keys.is_empty() { Ok(()) } else { self.keyring.add(keys, &[], &*self.inner.entropy) }
    }

    /// Opens what was adopted without keys.
    fn unlock(&mut self, staged: &dyn Store) -> Result<()> {
        if self.other.is_none() {
            return Ok(());
        }
        self.inner.store.write(&mut |tx| {
            let here: HashMap<[u8; 16], u32> = tx.logs()?.into_iter().map(|row| (row.id, row.number)).collect();
            staged.read(&mut |theirs| {
                theirs.subjects(&mut |subject| {
                    let Some(row) = self.coming.rows.iter().find(|row| row.number == subject.log) else { return Ok(()) };
                    let own = here.get(&row.id).zip(Hash::try_from(subject.tag.as_slice()).ok());
                    // It may have been erased here since.
                    let own = own.map(|(log, tag)| tx.subject(*log, &tag)).transpose()?.flatten();
                    own.map_or(Ok(()), |own| tx.rewrap_subject(own.number, &self.wrapped(row, &subject)?))
                })
            })
        })?;
        self.publish_keys()
    }

    /// Brings the logs over, with the event that names them; returns how many
    /// contents were refused.
    fn come(&mut self, staged: &dyn Store, progress: &mut dyn FnMut(u64)) -> Result<u64> {
        let adopted = Adopted { log: self.coming.top.id, size: self.coming.top.size, root: self.coming.root, cause: Adopted::IMPORTED };
        let (inner, log) = (self.inner, self.log);
        for _ in 0..AGAIN {
            let epoch = inner.epoch(log, &log.system)?;
            let mut refused = 0;
            let done = inner.committer.append_made(std::slice::from_ref(log), &mut |tx| {
                // They are on the disk before anything that needs them.
                self.publish_keys()?;
                staged.read(&mut |theirs| {
                    refused = self.copy(theirs, tx, progress)?;
                    Ok(())
                })?;
                let draft = Draft::public(&PublicBody::Adopt(adopted));
                let item = Item { actor: log.system, speaker: Speaker::Epoch(epoch.clone()), draft, once: None };
                Ok(vec![Job { log: log.clone(), items: vec![item], checkpoint: true }])
            });
            match done {
                Err(e) if e.code() == Code::KeyExpired => {}
                done => return done.map(|_| refused),
            }
        }
        Err(Error::new(Code::StoreInUse, "other processes ended the epoch that signs again and again"))
    }

    fn copy(&self, theirs: &dyn ReadTx, tx: &mut dyn WriteTx, progress: &mut dyn FnMut(u64)) -> Result<u64> {
        let here = tx.logs()?;
        if let Some(row) = here.iter().find(|row| self.coming.rows.iter().any(|one| one.id == row.id)) {
            return Err(Error::new(Code::LogClosed, format!("log {} was adopted by another process in between", hex(&row.id))));
        }
        let last = here.last().map_or(0, |row| row.number);
        let numbers: HashMap<u32, u32> = self.coming.rows.iter().zip(last + 1..).map(|(row, number)| (row.number, number)).collect();
        let number = |of: u32| numbers.get(&of).copied().ok_or_else(|| Error::new(Code::Bug, "a log was not expected"));
        let rows: HashMap<u32, &LogRow> = self.coming.rows.iter().map(|row| (row.number, row)).collect();
        let mut subjects: HashMap<u64, u64> = HashMap::new();
        theirs.subjects(&mut |subject| {
            let Some(row) = rows.get(&subject.log) else { return Ok(()) };
            let key = self.wrapped(row, &subject)?;
            let made = tx.put_subject(&SubjectRow { number: 0, log: number(subject.log)?, tag: subject.tag, key })?;
            subjects.insert(subject.number, made);
            Ok(())
        })?;
        let (mut refused, mut done) = (0, 0);
        for row in &self.coming.rows {
            let own = number(row.number)?;
            let mut tree = Tree::default();
            theirs.scan(row.number, 0..row.size, &mut |event| {
                let hash = leaf::hash(event.leaf);
                let mut body = event.body;
                let mut secret = None;
                if let Some((subject, wrapped)) = event.secret {
                    if self.erased.contains(&hash) {
                        body = None;
                        refused += 1;
                    } else {
                        let lacks = || Error::new(Code::ExportInvalid, format!("leaf {} of the export lacks its subject", event.index));
                        let subject = subjects.get(&subject).ok_or_else(lacks)?;
                        secret = Some((*subject, wrapped.try_into().map_err(|_| lacks())?));
                    }
                }
                tx.put_event(own, event.index, event.leaf, body, secret)?;
                if let Some((at, tile)) = tree.push(hash) {
                    put_tiles(tx, own, at, &tile)?;
                }
                done += 1;
                if done % REPORT_EVERY == 0 {
                    progress(done);
                }
                Ok(())
            })?;
            theirs.heads(row.number, &mut |actor, last| match Hash::try_from(actor) {
                Ok(actor) => tx.put_head(own, &actor, last),
                Err(_) => Err(Error::new(Code::ExportInvalid, "the export has the head of no actor")),
            })?;
            let successor = row.successor.map_or(Ok(self.log.number), number)?;
            tx.put_log(&LogRow { number: own, successor: Some(successor), ..row.clone() })?;
        }
        Ok(refused)
    }
}
