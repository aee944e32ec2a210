//! Which logs a database has, which of them goes on from which, and how a new
//! one is made.

use super::{DEFAULT_TENANT, Inner};
use crate::commit::{Item, Speaker, write_genesis};
use crate::keyring::{Keyring, NewKey, NewRecovery, Role, hex, owner};
use crate::log::{Genesis, Log, adopts, genesis, lock, tenant_of};
use crate::witness::{self, Freshness, Left, Remembered};
use mirrordna_core::cipher::Secret;
use mirrordna_core::identity::{self, IdentityType};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::LogKeys;
use mirrordna_core::verify::body::{Adopted, PublicBody};
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::merkle::Frontier;
use mirrordna_core::{Code, Entropy, Error, Hash, Result, limits};
use mirrordna_storage::{LogRow, ReadTx, WriteTx};
use std::collections::HashMap;
use std::sync::Arc;
use zeroize::Zeroizing;

impl Inner {
    /// The log of the default tenant: the first one, or what goes on from it.
    pub(super) fn first_log(&self) -> Result<Arc<Log>> {
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
        log.locked.clone_from(&self.locked);
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
        let Some(seen) = self.witness.as_ref().and_then(|(folder, _)| witness::read(folder, &id)) else {
            self.forget_old_keys(&log, false)?;
            return Ok(log);
        };
        // Where it knows another key, what is found is forked.
        log.vouched = true;
        let mut freshness = Freshness::Unproven;
        self.store.read(&mut |tx| {
            let row = tx.log(number)?.ok_or_else(|| Error::new(Code::Altered, format!("log {number} is gone")))?;
            let signed = log.signed_frontier(tx, &row)?;
            freshness = witness::compare(tx, &row, &log, (signed.size(), signed.root()), &seen)?;
            match witness::refuse(freshness, &self.store.location(), &row, &seen).filter(|_| !self.as_of) {
                Some(refusal) => Err(refusal),
                None => Ok(()),
            }
        })?;
        if log.freshness != Freshness::Forked {
            log.freshness = freshness;
        }
        if log.freshness == Freshness::Current {
            self.forget_old_keys(&log, false)?;
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
        let of_found = found.iter().map(|(number, id, genesis)| (*number, *id, genesis.adopted));
        let heirs: Vec<(u32, [u8; 16], Option<Adopted>)> = std::iter::once((log.number, log.id, log.adopted)).chain(of_found).collect();
        let mut before: Option<Log> = None;
        for ((number, id, genesis), (heir, heir_id, left)) in found.into_iter().zip(heirs).rev() {
            let adopted = genesis.adopted;
            let mut one = Log::new(number, id, genesis, self.keyring.as_ref())?;
            one.locked.clone_from(&self.locked);
            one.successor = Some(heir);
            if let (Some(before), Some(adopted)) = (before, adopted) {
                one.freshness = before.freshness;
                one.base = position(before.base, adopted.size)?;
                one.before = Some(Arc::new(before));
            }
            if let Some((folder, place)) = &self.witness {
                match witness::read(folder, &id) {
                    Some(Remembered::Ended(Left { successor: other, .. })) if other != heir_id => {
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
                    Some(Remembered::Head(seen)) if seen.place == *place && log.signing().is_some() && !self.as_of && !self.read_only => {
                        self.end_witness_of(&heir_id, left);
                    }
                    _ => {}
                }
            }
            before = Some(one);
        }
        before.ok_or_else(|| Error::new(Code::Bug, "a log before another one was not looked for"))
    }

    pub(crate) fn log_of(&self, tenant: &str) -> Result<Arc<Log>> {
        if let (DEFAULT_TENANT, Some(log)) = (tenant, self.default.get()) {
            return Ok(log.clone());
        }
        mirrordna_core::canon::check_name(tenant, "the tenant")?;
        let keyring = self
            .keyring
            .as_ref()
            .ok_or_else(|| crate::log::without(&self.locked, "tenants are named by a key of the keyring, which is not here"))?;
        let tag = tenant_tag(keyring, tenant)?;
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
            (None, Some((number, id, genesis))) => self.log_found(number, id, genesis),
            (None, None) => Err(Error::new(Code::Bug, "a write returned nothing")),
        }
    }

    /// A log that was found in the store, as all of this process share it.
    pub(crate) fn log_found(&self, number: u32, id: [u8; 16], genesis: Genesis) -> Result<Arc<Log>> {
        let tag = genesis.tenant;
        if let Some(log) = lock(&self.logs).get(&tag).filter(|log| log.number == number) {
            return Ok(log.clone());
        }
        let log = Arc::new(self.existing_log(number, id, genesis)?);
        Ok(lock(&self.logs).entry(tag).or_insert(log).clone())
    }

    /// Hands out a log that was just made, unless another thread came first.
    pub(super) fn publish(&self, log: Log) -> Result<Arc<Log>> {
        let log = Arc::new(log);
        self.store.read(&mut |tx| {
            lock(&log.state).released = tx.log(log.number)?.map(|row| row.checkpoint);
            Ok(())
        })?;
        self.remember(&log, false);
        Ok(lock(&self.logs).entry(log.tenant).or_insert(log).clone())
    }
}

/// Id of the database that a store holds, if it holds one.
pub(super) fn database_of(tx: &dyn ReadTx) -> Result<Option<[u8; 16]>> {
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
pub(super) fn tenant_tag(keyring: &Keyring, name: &str) -> Result<Hash> {
    // No rotation changes tenants' tags: their geneses say them.
    let store = keyring.store_key(0)?;
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
    keyring: &Arc<Keyring>,
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
    let key = log_key.public().clone();
    let mut keys = LogKeys::default();
    keys.begin(key.clone());
    let genesis = Genesis { database, tenant, system: system.digest, key, keys, adopted: None };
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
