//! Erasure: content is destroyed, its events stay.
//!
//! This module **owns** what an erasure is asked for and what it answers;
//! `view::erase` finds what it takes, `commit` destroys it, and the store purges
//! what is left besides its rows. [`Holds`] forbid it, [`Retention`] asks for it
//! by age, [`Consents`] say what a person agreed to, and a [`Receipt`] shows
//! what was done.

pub(crate) mod access;
mod consents;
mod holds;
mod receipt;
mod resolve;
mod retention;
pub(crate) mod settle;

pub use access::{Disclosed, Erasing};
pub use consents::{Consent, Consents};
pub use holds::{Hold, Holds, OnWhat};
pub use receipt::Receipt;
pub use retention::{Applied, Policy, Retention};

use crate::engine::{Engine, Tenant};
use crate::view::{Plan, Target, View, What};
use mirrordna_core::body::schema;
use mirrordna_core::erasure::Reason;
use mirrordna_core::{Code, Error, Result};
use mirrordna_storage::ReadTx;
use serde::Serialize;
use std::collections::BTreeMap;

/// An erasure about to run: of a subject, a session, a record, or several.
///
/// ```
/// use mirrordna::{Code, Engine, IdentityType, Reason};
///
/// let engine = Engine::open("memory:")?; // or "./mirrordna.db"
/// let agent = engine.identities().create(IdentityType::Agent)?;
/// let id = agent.memories().add("Sam lives in Lyon").subject("Sam").send()?.id;
///
/// // What would go, without doing it.
/// let would = engine.erase().subject("Sam").dry_run().run()?;
/// assert_eq!((would.events, would.state), (1, None));
///
/// let done = engine.erase().subject("Sam").reason(Reason::Subject).run()?;
/// assert_eq!(done.events, 1);
/// assert_eq!(engine.memories().get(&id).unwrap_err().code(), Code::Erased);
/// assert!(engine.memories().list(0, 10)?.is_empty());
///
/// // The history is as provable as before, and says what was erased.
/// let report = engine.verify()?;
/// assert!(report.is_intact());
/// assert_eq!(report.bodies.erased, 1);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is erased before `run`"]
pub struct Erase {
    tenant: Tenant,
    what: Vec<What>,
    actors: Vec<String>,
    reason: Reason,
    dry_run: bool,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// Nothing of it is left in any file of the store.
    Done,
    /// The rows are gone, and no read answers from them. Somebody who reads an
    /// older state keeps remains in the write-ahead log; the service thread
    /// tries again, and an `erase.done` event will say that they are gone.
    Pending,
}

/// What an erasure took, or would take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Erasure {
    /// `None` where nothing was to be erased any more, and of a dry run.
    pub state: Option<ErasureState>,
    /// Why.
    pub reason: Reason,
    /// Events whose content is destroyed: bodies and parts.
    pub events: u64,
    /// Bodies among them.
    pub bodies: u64,
    /// Parts of large payloads among them.
    pub parts: u64,
    /// Bytes of content, as padded before encryption.
    pub bytes: u64,
    /// Events that were asked for and had been erased before.
    pub already: u64,
    /// Subjects of whom nothing is left, so that their keys were destroyed.
    pub subjects: u64,
    /// Events by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Events by what their bodies are.
    pub schemas: BTreeMap<String, u64>,
    /// The `erase` events that say so: leaf hashes, hex.
    pub erase_events: Vec<String>,
    /// What proves it to others.
    #[serde(skip)]
    pub receipt: Option<Receipt>,
}

impl Erasure {
    fn of(plan: &Plan, reason: Reason) -> Self {
        let mut out = Self { reason, already: plan.already, subjects: plan.subjects.len() as u64, ..Self::default() };
        for target in &plan.targets {
            out.events += 1;
            out.bytes += target.bytes;
            let part = target.schema == schema::PART;
            *if part { &mut out.parts } else { &mut out.bodies } += 1;
            let kind = target.kind.name().map_or_else(|| format!("kind-{}", target.kind.0), str::to_owned);
            *out.kinds.entry(kind).or_default() += 1;
            let schema = schema::name(target.schema).map_or_else(|| format!("schema-{}", target.schema), str::to_owned);
            *out.schemas.entry(schema).or_default() += 1;
        }
        out
    }
}

impl Erase {
    /// All that is about a subject, whoever wrote it: the name or id that was
    /// given as the subject of what was written; of what was written in a
    /// session, its user.
    pub fn subject(mut self, name: impl Into<String>) -> Self {
        self.what.push(What::Subject(name.into()));
        self
    }

    /// The calls of tools that a user asked for, whoever's data they are.
    /// [`Erase::subject`] reaches those that name no other subject.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.what.push(What::User(name.into()));
        self
    }

    /// All that is about an identity of this tenant, by its id or its name; its
    /// profile too. Its chain stays, as does what it wrote about others.
    pub fn actor(mut self, id: impl Into<String>) -> Self {
        self.actors.push(id.into());
        self
    }

    /// All events of a session, and its own record.
    pub fn session(mut self, id: impl Into<String>) -> Self {
        self.what.push(What::Session(id.into()));
        self
    }

    /// What has this id: all events of a record, that is what it is and was; an
    /// event, `evt_…`; both events of a call of a tool. By the name of an identity
    /// its profile.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.what.push(What::Id(id.into()));
        self
    }

    /// The same as [`Erase::id`].
    pub fn record(self, id: impl Into<String>) -> Self {
        self.id(id)
    }

    /// Why; [`Reason::Caller`] if nothing is said.
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    /// Erases nothing, and says what would go.
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Erases it: first of all the key of a subject that goes as a whole, then
    /// bodies and their secrets, in one transaction with the events that say so.
    /// What was erased before is passed over and counted.
    ///
    /// # Errors
    /// `record.not_found` where there is nothing of what was asked for, and
    /// never was; `erasure.held` where a legal hold forbids it; `input.invalid`
    /// where the subject is an identity and was not asked for as one;
    /// `key.missing`, `store.*`. After an error nothing was erased.
    pub fn run(self) -> Result<Erasure> {
        let Self { tenant, what: asked, actors, reason, dry_run } = self;
        tenant.log.readable()?;
        let mut what = Vec::with_capacity(asked.len() + actors.len());
        for named in asked {
            let meant = tenant.meant(named)?;
            match &meant {
                What::Subject(name) if tenant.view(|view, tx| view.actor_named(tx, &tenant.log, name))?.is_some() => {
                    return Err(Error::new(Code::InputInvalid, format!("'{name}' is an identity: its profile would go too"))
                        .with_hint("Ask for it as one: erase().actor(ID), `mirrordna erase --actor ID`."));
                }
                _ => what.push(meant),
            }
        }
        for name in actors {
            let identity = tenant.identity_called(&name)?;
            let identity = identity.ok_or_else(|| Error::new(Code::NotFound, format!("there is no identity '{name}'")))?;
            what.push(What::Subject(identity.id().to_owned()));
        }
        if what.is_empty() {
            return Err(Error::new(Code::InputInvalid, "an erasure needs to know of what")
                .with_hint("Name a subject, a session or a record: erase().subject(NAME).run()."));
        }
        tenant.erase_planned(reason, dry_run, &mut |view, tx| {
            let plan = view.erasing(tx, &tenant.log, &what)?;
            holds::refuse(view, tx, &tenant.log, &plan)?;
            Ok(plan)
        })
    }

    /// Erases again what a receipt says was erased: after an older copy of the
    /// database was restored, which does not know of it. Leaves that this copy
    /// never had are passed over.
    ///
    /// # Errors
    /// `erasure.receipt` where the receipt does not hold or is of another
    /// database; else as [`Erase::run`].
    pub fn replay(self, receipt: &Receipt) -> Result<Erasure> {
        let Self { tenant, dry_run, .. } = self;
        let said = receipt.verify(&tenant.log)?;
        let reason = said.reason;
        tenant.erase_planned(reason, dry_run, &mut |view, tx| {
            let mut here = Vec::new();
            for (position, leaf) in &said.erased {
                if view.leaf_hash(tx, &tenant.log, *position)? == Some(*leaf) {
                    here.push(*position);
                }
            }
            let plan = view.erasing(tx, &tenant.log, &[What::Events(here)])?;
            holds::refuse(view, tx, &tenant.log, &plan)?;
            Ok(plan)
        })
    }
}

/// Finds what is to be erased.
type Planning<'a> = &'a mut dyn FnMut(&mut View, &dyn ReadTx) -> Result<Plan>;

impl Tenant {
    /// Erases content; the events stay, and say that it was erased.
    pub fn erase(&self) -> Erase {
        Erase { tenant: self.clone(), what: Vec::new(), actors: Vec::new(), reason: Reason::default(), dry_run: false }
    }

    fn erase_planned(&self, reason: Reason, dry_run: bool, planning: Planning<'_>) -> Result<Erasure> {
        if dry_run {
            return self.view(&mut *planning).map(|plan| Erasure::of(&plan, reason));
        }
        let Self { inner, log } = self;
        // A long log is folded in steps before others have to wait for it.
        self.view(|_, _| Ok(()))?;
        let mut attempt = || inner.committer.erase(log, &inner.epoch(log, &log.system)?, reason, &mut *planning);
        let (plan, placed) = match attempt() {
            Err(e) if e.code() == Code::KeyExpired => attempt()?,
            done => done?,
        };
        let mut done = Erasure::of(&plan, reason);
        if placed.is_empty() {
            return Ok(done);
        }
        drop(plan);
        // It is committed: what fails from here on is tried again later.
        let settled = inner.settle_erasures(log).unwrap_or_else(|e| {
            tracing::warn!(log = log.number, error = %e, "what is left of an erasure could not be purged yet");
            false
        });
        let state = if settled { ErasureState::Done } else { ErasureState::Pending };
        done.state = Some(state);
        done.erase_events = placed.iter().map(|event| crate::keyring::hex(&event.leaf)).collect();
        self.sign_head()?;
        let positions: Vec<u64> = placed.iter().map(|event| event.index).collect();
        done.receipt = Receipt::of(self, &positions)?;
        Ok(done)
    }
}

impl Engine {
    /// Erases content of the default tenant.
    pub fn erase(&self) -> Erase {
        self.main().erase()
    }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::Inner;
    use crate::{IdentityType, Keys, Witness};
    use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};
    use std::sync::Arc;

    #[test]
    fn other_processes_forget_what_one_erased() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        // Past the registry of this process, as other processes would.
        let open = |mode| {
            let store = SqliteStore::open(&path, mode, Durability::Full).unwrap();
            let builder = Engine::builder("unused").keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off);
            Engine { inner: Inner::open(Arc::new(store), None, builder).unwrap() }
        };
        let one = open(Mode::Create);
        let agent = one.identities().create(IdentityType::Agent).unwrap();
        let id = agent.memories().add("Sam likes the harbour").subject("Sam").send().unwrap().id;
        let two = open(Mode::Write);
        let other = two.identities().get(agent.id()).unwrap();
        // Both have the subject's key, and the other one all that can be read.
        other.memories().add("Sam likes trains").subject("Sam").send().unwrap();
        assert_eq!(two.memories().search("harbour").run().unwrap().len(), 1);
        assert_eq!((two.memories().count().unwrap(), two.memories().list(0, 9).unwrap().len()), (2, 2));
        let done = one.erase().subject("Sam").run().unwrap();
        assert_eq!((done.events, done.state), (2, Some(ErasureState::Done)));
        assert_eq!(two.memories().get(&id).unwrap_err().code(), Code::Erased);
        assert!(two.memories().search("harbour").run().unwrap().is_empty());
        assert_eq!((two.memories().count().unwrap(), two.memories().list(0, 9).unwrap().len()), (0, 0));
        // It still had the key that is gone.
        let new = other.memories().add("another Sam").subject("Sam").send().unwrap().id;
        assert_eq!(one.memories().get(&new).unwrap().content, "another Sam");
        assert!(one.verify().unwrap().is_intact() && two.verify().unwrap().is_intact());
        // Both ask at once: each event goes once.
        let done =
            std::thread::scope(|s| [&one, &two].map(|e| s.spawn(|| e.erase().subject("Sam").run().unwrap())).map(|t| t.join().unwrap()));
        assert_eq!(done.iter().map(|d| d.events).sum::<u64>(), 1);
        assert!(one.verify().unwrap().is_intact());
    }

    #[test]
    fn what_an_erasure_reads_does_not_grow_with_the_log() {
        let rows_read = |others: usize| {
            let engine = Engine::open("memory:").unwrap();
            let agent = engine.identities().create(IdentityType::Agent).unwrap();
            let new = |i: usize| crate::NewMemory {
                content: crate::Content::Text(format!("memory {i}")),
                subject: Some(if i < 50 { "Sam" } else { "Ann" }.to_owned()),
                ..crate::NewMemory::default()
            };
            agent.memories().add_all((0..50 + others).map(new).collect()).unwrap();
            let call = agent.tools().requested(crate::NewCall::new("e", "r").user("Sam")).unwrap();
            call.completed(crate::Outcome::success("x")).unwrap();
            agent.timeline().about("Sam").append_json("visit.made", None, None).unwrap();
            engine.memories().count().unwrap();
            let read = crate::view::READ.get();
            let done = engine.erase().subject("Sam").run().unwrap();
            assert_eq!((done.events, done.state), (53, Some(ErasureState::Done)));
            crate::view::READ.get() - read
        };
        let few = rows_read(50);
        assert_eq!(few, rows_read(900));
        assert!(few < 53 * 4, "{few}");
    }
}
