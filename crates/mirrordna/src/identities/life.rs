//! Rotation, recovery and revocation: new versions of an identity, and the end
//! of its epochs.
//!
//! A new version goes into every open log of the database in which the actor
//! has a chain, in one commit: there is no log in which a key of before goes on
//! speaking. Its keys are on the disk before. What is written is made inside the
//! transaction, from what stands there: of two processes that change an identity
//! at once, the second begins again with what the first one left.
//!
//! What holds against whom. A thief of the actor key and of epoch keys can write
//! as the actor until its next version, and cannot make one: that takes a key
//! which only the version before names, by its hash. A thief who has the current
//! update key too can make it. To the protocol the update key and the recovery
//! key are equal, both stand for "the next version", and whichever is used first
//! in the log decides: a recovery overrules such a thief as long as the newest
//! version in the log is still the one that commits to the recovery key. After
//! a version by the thief, which commits to keys of the thief, it comes too
//! late; then a new identity is needed.

use super::history::{IdentityVersion, latest};
use super::keys::{NextKeys, RecoveryKeys, update_key};
use super::{Identities, Identity, newest, owner_of};
use crate::commit::{Item, Job, Speaker};
use crate::engine::{Inner, last_line};
use crate::keyring::{Keyring, Role};
use crate::log::{Epoch, Log, State, WINDOW, genesis, lock};
use crate::view::{IdentityEvent, Said, View};
use mirrordna_core::canon::check_name;
use mirrordna_core::identity::{Change, extend};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::{Draft, NewEvent, PREFIX};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, Hash, Kind, Result};
use mirrordna_storage::ReadTx;
use std::sync::Arc;

/// Type of the event that says why an identity ended.
const REVOKED: &str = "identity.revoked";
/// How often a change begins again because others were ahead of it.
const AHEAD: u32 = 64;

/// How far the time of a rotation may lie ahead of the clock, milliseconds:
/// versions ascend by a second, and other resolvers refuse one that is to come.
const LEAD: u64 = 10_000;

/// What is to become of an identity.
enum Plan<'a> {
    Rotate,
    /// With a key from elsewhere; up to which position of the timeline the actor
    /// is to be trusted.
    Recover(&'a RecoveryKeys, Option<u64>),
    /// For a reason.
    Revoke(&'a str),
}

impl Identities {
    /// Brings an identity of another tenant of the same database into this one:
    /// it gets a chain in this tenant's log, which refers to its last event
    /// there. Its profile and records stay where they are; its keys are the same,
    /// so a rotation is one for both.
    ///
    /// ```
    /// # use mirrordna::{Engine, IdentityType};
    /// # let engine = Engine::open("memory:")?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// let acme = engine.tenant("acme")?;
    /// let there = acme.identities().adopt(&agent)?;
    /// there.memories().add("for acme").send()?;
    /// assert_eq!((agent.id(), agent.memories().count()?), (there.id(), 0));
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `input.invalid` for one of another database; `key.missing` without its
    /// key; `identity.revoked`; `store.*`.
    pub fn adopt(&self, identity: &Identity) -> Result<Identity> {
        let (inner, from, to, actor) = (&self.tenant.inner, &identity.tenant.log, &self.tenant.log, &identity.digest);
        if !Arc::ptr_eq(inner, &identity.tenant.inner) {
            let e = Error::new(Code::InputInvalid, format!("{} is of another database", identity.id));
            return Err(e.with_hint("Its keys are in the keyring of that database; export and restore move a whole database."));
        }
        inner.writable()?;
        for _ in 0..AHEAD {
            // Where it was before a fork, it comes back by that.
            crate::fork::enter(inner, to, actor)?;
            let events = inner.view(from, &mut |view, tx| view.identity_events(tx, from, actor, u64::MAX))?;
            let (_, key) = inner.speaking(from, actor)?;
            let Some((IdentityEvent { what: Said::Brought { did_log, .. }, .. }, _)) = newest(&events)? else {
                return Err(crate::log::missing(&format!("{} was imported without keys", identity.id)));
            };
            let key = Arc::new(key);
            let done = inner.committer.append_made(&[from.clone(), to.clone()], &mut |tx| {
                unchanged(from, &*tx, actor, |_, newest| newest == did_log)?;
                let last = from.head(&*tx, &State::default(), actor)?;
                if tx.head(to.number, actor)?.is_some() {
                    return Ok(Vec::new());
                }
                let draft = Draft::public(&PublicBody::Entry { did_log }).referring_to(last.map(|head| head.last).into_iter().collect())?;
                let item = Item { actor: *actor, speaker: Speaker::Entry(key.clone(), last_line(did_log)), draft, once: None };
                Ok(vec![Job { log: to.clone(), items: vec![item], checkpoint: false }])
            });
            match done {
                Err(e) if e.code() == Code::KeyExpired => drop(lock(&from.forces).remove(actor)),
                done => return done.map(|_| Identity { tenant: self.tenant.clone(), ..identity.clone() }),
            }
        }
        Err(overtaken())
    }
}

impl Identity {
    /// Gives the identity another key. What was written before stays as it was;
    /// from here on only the new key, and epochs that it certifies, speak for it,
    /// in every log of this database. Other processes that write as this identity
    /// notice at their next write, sign what they had not signed yet by the key
    /// that they had, and go on with the new one, if their keyring has it.
    ///
    /// The recovery key stays what it was.
    ///
    /// # Errors
    /// `key.missing` where the update key is not in this machine's keyring;
    /// `limit.exceeded` after more than ten changes within a second, or where the
    /// clock went back; `identity.revoked`; `store.*`.
    pub fn rotate(&self) -> Result<IdentityVersion> {
        self.change(&Plan::Rotate)
    }

    /// Takes the identity back from whoever has its keys, with the recovery key
    /// that was moved away when it was created. Its other keys are dead from
    /// here on, and the recovery key is used up: a new one is in the recovery
    /// file afterwards.
    ///
    /// `last_trusted` is the position, in this tenant's timeline, of the last
    /// event that its owner stands by; `None` where nothing was stolen and keys
    /// were only lost. All events of the actor from there to the recovery are
    /// disputed, which every verification says ([`VerifyReport::disputed`]); in
    /// other logs of the database, those that are later by the time of their
    /// headers. That is a claim of whoever wrote them: where a thief may have set
    /// a clock back, look at what the other tenants' histories say and name an
    /// earlier position. Events of a log that was left by a fork are never
    /// disputed: whoever went on from it has accepted it as it was found.
    ///
    /// [`VerifyReport::disputed`]: crate::VerifyReport::disputed
    ///
    /// # Errors
    /// `key.missing` where no key is one that the newest version commits to: it
    /// was used up, or somebody made a version since; `input.invalid` for a
    /// position before the identity was known; `identity.revoked`; `store.*`.
    pub fn recover(&self, keys: &RecoveryKeys, last_trusted: Option<u64>) -> Result<IdentityVersion> {
        self.change(&Plan::Recover(keys, last_trusted))
    }

    /// Ends the identity, for good: nobody writes as it any more, anywhere in
    /// this database. What it wrote stays and can be read. The reason is kept,
    /// encrypted, in an event before.
    ///
    /// ```
    /// # use mirrordna::{Code, Engine, IdentityType};
    /// # let engine = Engine::open("memory:")?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// agent.memories().add("stays").send()?;
    /// assert!(agent.revoke("the project ended")?.revoked);
    /// assert_eq!(agent.memories().add("too late").send().unwrap_err().code(), Code::IdentityRevoked);
    /// assert_eq!(agent.memories().count()?, 1);
    /// assert!(engine.verify()?.is_intact());
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `input.invalid` without a reason; `key.missing` where the actor key or
    /// the update key is not in this machine's keyring; `identity.revoked`;
    /// `store.*`.
    pub fn revoke(&self, reason: &str) -> Result<IdentityVersion> {
        if reason.trim().is_empty() {
            let e = Error::new(Code::InputInvalid, "a revocation needs a reason: it is what an auditor reads");
            return Err(e.with_hint("Say in a few words why, for example \"the project ended\"."));
        }
        check_name(reason, "the reason")?;
        self.change(&Plan::Revoke(reason))
    }

    /// Ends one epoch of this identity whose key was stolen, by the identity's
    /// own key. The process that has it goes on with a new one.
    ///
    /// `epoch` is the number, in the actor's chain, of the `epoch.open` event.
    /// `last_trusted` is the number of the last event up to which the epoch is
    /// trusted: those of it after that are disputed, as by [`Identity::recover`].
    ///
    /// # Errors
    /// `input.invalid` where that event opened no epoch of this identity in the
    /// newest log of this tenant; `key.missing`; `identity.revoked`; `store.*`.
    pub fn revoke_epoch(&self, epoch: u64, last_trusted: Option<u64>) -> Result<()> {
        let (inner, log) = (&self.tenant.inner, &self.tenant.log);
        inner.writable()?;
        for _ in 0..AHEAD {
            let (force, key) = inner.speaking(log, &self.digest)?;
            self.check_epoch(epoch)?;
            let key = Arc::new(key);
            let done = inner.committer.append_made(std::slice::from_ref(log), &mut |tx| {
                unchanged(log, &*tx, &self.digest, |event, _| event.header.aseq == force.aseq)?;
                let next = log.head(&*tx, &State::default(), &self.digest)?.map_or(0, |head| head.next);
                let trusted = last_trusted.unwrap_or(u64::MAX).min(next.saturating_sub(1));
                let draft = Draft::public(&PublicBody::EpochRevoke { epoch, trusted });
                let item = Item { actor: self.digest, speaker: Speaker::Actor(key.clone(), force.aseq), draft, once: None };
                Ok(vec![Job { log: log.clone(), items: vec![item], checkpoint: true }])
            });
            match done {
                Err(e) if e.code() == Code::KeyExpired => drop(lock(&log.forces).remove(&self.digest)),
                done => return done.map(drop),
            }
        }
        Err(overtaken())
    }

    /// Whether a number in this actor's chain is that of an `epoch.open`.
    fn check_epoch(&self, epoch: u64) -> Result<()> {
        let log = &self.tenant.log;
        let opened = self.tenant.view(|view, tx| {
            let chain = view.chain(tx, log, &self.digest, 0)?;
            let own = chain.into_iter().filter(|p| *p >= log.base).nth(usize::try_from(epoch).unwrap_or(usize::MAX));
            let event = own.map(|position| view.bare_event(tx, log, position)).transpose()?.flatten();
            Ok(event.is_some_and(|e| e.header.kind == Kind::EPOCH_OPEN && e.header.aseq == epoch))
        })?;
        if opened {
            return Ok(());
        }
        let message = format!("event {epoch} of {} opened no epoch", self.id);
        Err(Error::new(Code::InputInvalid, message).with_hint("`mirrordna timeline list --identity ID` shows the epoch.open events."))
    }

    fn change(&self, plan: &Plan<'_>) -> Result<IdentityVersion> {
        let inner = &self.tenant.inner;
        inner.writable()?;
        let keyring = inner
            .keyring
            .as_ref()
            .ok_or_else(|| crate::log::missing("an identity is changed with keys of the keyring, which is not here"))?;
        for _ in 0..AHEAD {
            match self.attempt(keyring, plan) {
                Err(e) if e.code() == Code::KeyExpired => {}
                Err(e) => return Err(e),
                Ok(version) => {
                    let history = self.history()?;
                    let found = history.versions.into_iter().find(|v| v.version == version);
                    return found.ok_or_else(|| Error::new(Code::Bug, "a version that was just written is not there"));
                }
            }
        }
        Err(overtaken())
    }

    /// Makes and writes the next version; returns its number. `key.expired`
    /// where others were ahead.
    fn attempt(&self, keyring: &Keyring, plan: &Plan<'_>) -> Result<u64> {
        let (inner, home, actor) = (&self.tenant.inner, &self.tenant.log, &self.digest);
        let logs = inner.logs_of_actor(home, actor)?;
        let events = inner.view(home, &mut |view, tx| view.identity_events(tx, home, actor, u64::MAX))?;
        let Some((IdentityEvent { what: Said::Brought { did_log, .. }, .. }, did)) = newest(&events)? else {
            let e = Error::new(Code::KeyMissing, format!("{} was imported without keys: nobody can change it", self.id));
            return Err(e.with_hint("Only an identity that was created has keys to rotate, recover or revoke."));
        };
        let before = latest(&did)?;
        if before.deactivated {
            return Err(Error::new(Code::IdentityRevoked, format!("{} was revoked: it has ended", self.id)));
        }
        let now = inner.clock.now_ms();
        if matches!(plan, Plan::Rotate) {
            self.check_lead(before, now)?;
        }
        let (speaker, after) = match plan {
            Plan::Rotate | Plan::Recover(..) => {
                let recovered = match plan {
                    Plan::Recover(keys, _) => Some(keys.of(&self.id, before).ok_or_else(|| self.no_recovery_key(before.number))?),
                    _ => None,
                };
                let next = NextKeys::generate(recovered.is_some(), &*inner.entropy)?;
                let by = match recovered {
                    Some(key) => key,
                    None => self.update_key(keyring, before)?,
                };
                // The recovery key stays committed until it is used.
                let used = mirrordna_core::identity::committed(by.public()).0;
                let rotates = matches!(plan, Plan::Rotate);
                let kept = before.next_key_hashes.iter().filter(|hash| rotates && **hash != used).cloned();
                let change = Change::Keys { actor: next.actor.public(), next: next.commitments(kept) };
                let after = extend(did_log, &change, &by, now)?;
                next.keep(keyring, &self.id, &*inner.entropy)?;
                (next.actor, after)
            }
            Plan::Revoke(_) => {
                let key = self.actor_key(keyring, before)?;
                let by = self.update_key(keyring, before)?;
                (key, extend(did_log, &Change::Deactivate, &by, now)?)
            }
        };
        let reason = match plan {
            Plan::Revoke(reason) => Some(self.reason(reason)?),
            _ => None,
        };
        if let Plan::Recover(_, None) = plan {
            // Nothing was stolen: what this process wrote is to be signed.
            logs.iter().try_for_each(|there| seal_own(inner, &there.log, actor))?;
        }
        let speaker = Arc::new(speaker);
        let item = |speaker, draft| Item { actor: *actor, speaker, draft, once: None };
        let all: Vec<Arc<Log>> = logs.iter().map(|there| there.log.clone()).collect();
        inner.committer.append_made(&all, &mut |tx| {
            inner.are_all_logs_of(&*tx, &logs, actor)?;
            let trusted = match plan {
                Plan::Recover(_, Some(position)) => Some(last_trusted(home, &*tx, actor, *position)?),
                _ => None,
            };
            let mut jobs = Vec::with_capacity(logs.len());
            for There { log, comes_from } in &logs {
                let found = unchanged(log, &*tx, actor, |_, newest| newest == did_log)?;
                let (mut items, aseq) = (Vec::new(), if comes_from.is_some() { 0 } else { found });
                if let (Some(last), Plan::Revoke(_)) = (comes_from, plan) {
                    // An identity that has ended enters no log: it ends there too.
                    let draft = Draft::public(&PublicBody::Entry { did_log }).referring_to(vec![*last])?;
                    items.push(item(Speaker::Entry(speaker.clone(), last_line(did_log)), draft));
                }
                if let Some(draft) = reason.clone().filter(|_| log.number == home.number) {
                    items.push(item(Speaker::Actor(speaker.clone(), aseq), draft));
                }
                if !matches!(plan, Plan::Recover(..)) {
                    // What is not signed yet is signed by that.
                    let close = |epoch| item(Speaker::Epoch(epoch), Draft::public(&PublicBody::EpochClose));
                    items.extend(own_epochs(inner, log, actor).into_iter().map(close));
                }
                items.push(match (plan, comes_from) {
                    (Plan::Rotate | Plan::Recover(..), Some(last)) => {
                        let draft = Draft::public(&PublicBody::Entry { did_log: &after }).referring_to(vec![*last])?;
                        item(Speaker::Entry(speaker.clone(), last_line(&after)), draft)
                    }
                    (Plan::Recover(..), None) => {
                        let trusted = match &trusted {
                            Some(trusted) => trusted.in_log(log, home, &*tx, actor)?,
                            None => log.head(&*tx, &State::default(), actor)?.map_or(0, |head| head.next.saturating_sub(1)),
                        };
                        item(Speaker::Version(speaker.clone()), Draft::public(&PublicBody::Recover { did_log: &after, trusted }))
                    }
                    (Plan::Rotate, None) | (Plan::Revoke(_), _) => {
                        item(Speaker::Version(speaker.clone()), Draft::public(&PublicBody::Entry { did_log: &after }))
                    }
                });
                jobs.push(Job { log: log.clone(), items, checkpoint: true });
            }
            Ok(jobs)
        })?;
        for log in &all {
            lock(&log.epochs).remove(actor);
            lock(&log.forces).remove(actor);
        }
        Ok(before.number + 1)
    }

    /// Refuses a rotation that other resolvers would not accept for a while: the
    /// next one, or the clock, is soon there. Taking an identity back, and ending
    /// it, cannot wait; in the log the position decides.
    fn check_lead(&self, before: &mirrordna_core::verify::did::Version, now: u64) -> Result<()> {
        let next = u64::try_from(mirrordna_core::time::parse(&before.time)?.ms).unwrap_or(0).saturating_add(1_000);
        let lead = next.saturating_sub(now);
        if lead <= LEAD {
            return Ok(());
        }
        let message = format!(
            "version {} of {} would be dated {} s ahead of the clock, the limit is {} s: other resolvers refuse what is to come",
            before.number + 1,
            self.id,
            lead.div_ceil(1_000),
            LEAD / 1_000
        );
        Err(Error::new(Code::LimitExceeded, message).with_hint("Wait a moment and rotate then; where the clock went back, set it right."))
    }

    fn update_key(&self, keyring: &Keyring, before: &mirrordna_core::verify::did::Version) -> Result<SecretKey> {
        update_key(keyring, &self.digest, before)?.ok_or_else(|| {
            crate::log::missing(&format!("this machine's keyring has no key for the next version of {}", self.id))
                .with_hint("Bring the keyring that was used last, or recover the identity: `mirrordna identity recover`.")
        })
    }

    fn actor_key(&self, keyring: &Keyring, before: &mirrordna_core::verify::did::Version) -> Result<SecretKey> {
        let missing = || {
            crate::log::missing(&format!("this machine's keyring has no key for {}", self.id))
                .with_hint("Bring the keyring that was used last, or recover the identity first: `mirrordna identity recover`.")
        };
        let named = before.actor_keys.first().ok_or_else(missing)?;
        let key = keyring.signing(Role::Actor, &owner_of(&self.digest, before.number, named))?;
        key.filter(|key| key.public() == named).ok_or_else(missing)
    }

    fn no_recovery_key(&self, version: u64) -> Error {
        crate::log::missing(&format!("there is no recovery key of {} that its version {version} commits to", self.id))
            .with_hint("Pass the newest recovery file. If somebody else made a version of it, the recovery key comes too late: create another identity.")
    }

    /// The event that says why the identity ends.
    fn reason(&self, reason: &str) -> Result<Draft> {
        let inner = &self.tenant.inner;
        let payload = serde_json::json!({ "reason": reason }).to_string();
        let event = NewEvent { event_type: REVOKED.to_owned(), payload: Some(payload), session: None, subject: None, occurred_at: None };
        let body = event.into_body(&self.tenant.new_id(PREFIX)?)?;
        inner.draft(&self.tenant.log, &self.digest, Kind::EVENT, &body)
    }
}

fn overtaken() -> Error {
    Error::new(Code::StoreInUse, "other processes changed the identity again and again")
}

/// The epochs of this process for an actor that may still speak: the open one,
/// and those that have a last word to say.
fn own_epochs(inner: &Inner, log: &Log, actor: &Hash) -> Vec<Arc<Epoch>> {
    let now = inner.time(log);
    let mut own: Vec<Arc<Epoch>> = lock(&log.late).iter().filter(|e| e.actor == *actor).cloned().collect();
    own.extend(lock(&log.epochs).get(actor).cloned());
    own.retain(|e| e.opened().is_some() && !e.is_closed() && now < e.not_after);
    own
}

/// Inside a transaction: the newest identity event of an actor in a log, which
/// must be as it was found before. Returns the `aseq` of the one whose key is in
/// force.
pub(crate) fn unchanged(log: &Log, tx: &dyn ReadTx, actor: &Hash, same: impl Fn(&IdentityEvent, &[u8]) -> bool) -> Result<u64> {
    let mut view = lock(&log.view);
    view.catch_up(tx, log)?;
    let events = view.surely(tx, log, &mut |view: &mut View| view.identity_events(tx, log, actor, u64::MAX))?;
    let newest = events.iter().rev().find_map(|event| match &event.what {
        Said::Brought { did_log, .. } => Some((event, did_log)),
        Said::Revoked { .. } => None,
    });
    match newest {
        Some((event, did_log)) if same(event, did_log) => Ok(event.header.aseq),
        _ => Err(Error::new(Code::KeyExpired, "the identity was changed elsewhere in between")),
    }
}

/// The last event that an actor stands by.
struct LastTrusted {
    aseq: u64,
    time: u64,
}

/// Finds the last event of an actor at or before a position of the timeline.
fn last_trusted(home: &Log, tx: &dyn ReadTx, actor: &Hash, position: u64) -> Result<LastTrusted> {
    let mut view = lock(&home.view);
    view.catch_up(tx, home)?;
    view.surely(tx, home, &mut |view: &mut View| {
        let mut last = view.chain(tx, home, actor, position)?.into_iter().take_while(|p| *p <= position).last();
        if last.is_none() {
            // Whoever came over spoke in the log that was adopted before.
            for foreign in home.foreign().filter(|foreign| foreign.named_at < position) {
                last = last.max(view.chain(tx, home, actor, foreign.log.origin)?.pop());
            }
        }
        let event = last.map(|p| view.bare_event(tx, home, p)).transpose()?.flatten();
        let event = event
            .ok_or_else(|| Error::new(Code::InputInvalid, format!("the identity has no event at position {position} or before it")))?;
        // Of a log before this one nothing is disputed here, but all of this one.
        let aseq = if event.index < home.base || event.index >= WINDOW { 0 } else { event.header.aseq };
        Ok(LastTrusted { aseq, time: event.header.time })
    })
}

impl LastTrusted {
    /// The `aseq` of the actor's last trusted event in a log.
    fn in_log(&self, log: &Log, home: &Log, tx: &dyn ReadTx, actor: &Hash) -> Result<u64> {
        if log.number == home.number {
            return Ok(self.aseq);
        }
        let mut view = lock(&log.view);
        view.surely(tx, log, &mut |view: &mut View| {
            let own: Vec<u64> = view.chain(tx, log, actor, 0)?.into_iter().filter(|p| *p >= log.base).collect();
            let (mut from, mut to) = (0, own.len());
            while from < to {
                let middle = from + (to - from) / 2;
                let event = own.get(middle).map(|p| view.bare_event(tx, log, *p)).transpose()?.flatten();
                if event.is_some_and(|e| e.header.time <= self.time) { from = middle + 1 } else { to = middle }
            }
            Ok((from as u64).saturating_sub(1))
        })
    }
}

impl Inner {
    /// Whether this engine may write.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(Code::StoreClosed, format!("the database at {} was closed", self.store.location())));
        }
        if self.read_only {
            return Err(Error::new(Code::StoreReadOnly, format!("{} was opened to be read", self.store.location())));
        }
        Ok(())
    }

    /// The open logs in which an actor has a chain, or would have one with its
    /// next event.
    fn logs_of_actor(&self, home: &Arc<Log>, actor: &Hash) -> Result<Vec<There>> {
        let mut rows = Vec::new();
        self.store.read(&mut |tx| {
            rows.clear();
            for row in tx.logs()?.into_iter().filter(|row| row.successor.is_none()) {
                let genesis = genesis(tx, &row)?;
                rows.push((row.number, row.id, genesis));
            }
            Ok(())
        })?;
        let mut found = Vec::new();
        for (number, id, genesis) in rows {
            let log = if number == home.number { home.clone() } else { self.log_found(number, id, genesis)? };
            let mut at = None;
            // Of what was adopted only the view knows.
            self.view(&log, &mut |_, tx| {
                at = match tx.head(number, actor)? {
                    Some(_) => Some(None),
                    None => crate::fork::last_before(tx, &log, actor)?.map(Some),
                };
                Ok(())
            })?;
            if let Some(comes_from) = at {
                found.push(There { log, comes_from });
            }
        }
        Ok(found)
    }

    /// Whether an actor has a chain in those open logs in which it had one.
    fn are_all_logs_of(&self, tx: &dyn ReadTx, logs: &[There], actor: &Hash) -> Result<()> {
        for row in tx.logs()?.into_iter().filter(|row| row.successor.is_none()) {
            let had = logs.iter().any(|there| there.log.number == row.number && there.comes_from.is_none());
            if tx.head(row.number, actor)?.is_some() != had {
                return Err(Error::new(Code::KeyExpired, "the identity entered another log in between"));
            }
        }
        Ok(())
    }
}

/// An open log in which an actor has a chain.
struct There {
    log: Arc<Log>,
    /// Its last leaf in a log before, where it has none in this one yet.
    comes_from: Option<Hash>,
}

/// Signs what this process wrote as an actor.
fn seal_own(inner: &Inner, log: &Arc<Log>, actor: &Hash) -> Result<()> {
    let seal = |epoch| Item { actor: *actor, speaker: Speaker::Epoch(epoch), draft: Draft::empty(Kind::SEAL), once: None };
    let items: Vec<Item> = own_epochs(inner, log, actor).into_iter().filter(|epoch| epoch.has_unsigned()).map(seal).collect();
    if items.is_empty() {
        return Ok(());
    }
    inner.committer.append(Job { log: log.clone(), items, checkpoint: false }).map(drop)
}
