//! Legal holds: what they are on is not erased while they stand.

use crate::commit::Appended;
use crate::engine::{Engine, Tenant};
use crate::log::Log;
use crate::view::{Plan, Query, View, What};
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::canon::check_name;
use mirrordna_core::record::Record;
use mirrordna_core::{Code, Error, Kind, Result, limits, time};
use mirrordna_storage::ReadTx;
use serde::Serialize;
use std::collections::HashMap;

/// Prefix of the ids of holds.
const PREFIX: &str = "hold";

const ON: u64 = 6;
const NAME: u64 = 7;
const REASON: u64 = 8;

/// What a hold is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "on", content = "name")]
pub enum OnWhat {
    /// All that is about a subject, and the calls of tools that a user of this
    /// name asked for.
    Subject(String),
    /// All events of a session.
    Session(String),
    /// What has an id: all events of a record, an event, all events of a call of
    /// a tool; by the name of an identity its profile.
    Record(String),
}

impl OnWhat {
    fn what(&self) -> What {
        match self.clone() {
            Self::Subject(name) => What::Subject(name),
            Self::Session(id) => What::Session(id),
            Self::Record(id) => What::Id(id),
        }
    }

    fn from_what(what: What) -> Option<Self> {
        match what {
            What::Subject(name) => Some(Self::Subject(name)),
            What::Session(id) => Some(Self::Session(id)),
            What::Id(id) => Some(Self::Record(id)),
            What::User(_) | What::Events(_) => None,
        }
    }

    const fn number(&self) -> i64 {
        match self {
            Self::Subject(_) => 0,
            Self::Session(_) => 1,
            Self::Record(_) => 2,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Subject(name) | Self::Session(name) | Self::Record(name) => name,
        }
    }

    fn from_body(body: &Body) -> Option<Self> {
        let name = body.text(NAME)?.to_owned();
        match body.int(ON)? {
            0 => Some(Self::Subject(name)),
            1 => Some(Self::Session(name)),
            2 => Some(Self::Record(name)),
            _ => None,
        }
    }
}

/// A hold as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Hold {
    /// Record id.
    pub id: String,
    /// What it is on.
    #[serde(flatten)]
    pub on: OnWhat,
    /// Why.
    pub reason: String,
    /// When it was placed, RFC 3339.
    pub placed_at: String,
    /// When it was released, RFC 3339.
    pub released_at: Option<String>,
}

fn rfc3339(ms: u64) -> String {
    time::rfc3339(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn read(record: &Record) -> Option<Hold> {
    Some(Hold {
        id: record.body.id().to_owned(),
        on: OnWhat::from_body(&record.body)?,
        reason: record.body.text(REASON).unwrap_or_default().to_owned(),
        placed_at: rfc3339(record.created_at),
        released_at: record.archived.then(|| rfc3339(record.updated_at)),
    })
}

/// The legal holds of a tenant.
///
/// ```
/// # use mirrordna::{Code, Engine, IdentityType, OnWhat};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// agent.memories().add("Sam asked for a refund").subject("Sam").send()?;
/// let hold = engine.holds().place(OnWhat::Subject("Sam".into()), "case 17 at the court of Lyon")?;
///
/// let refused = engine.erase().subject("Sam").run().unwrap_err();
/// assert_eq!(refused.code(), Code::ErasureHeld);
/// assert!(refused.message().contains("case 17"));
///
/// engine.holds().release(&hold.id)?;
/// assert_eq!(engine.erase().subject("Sam").run()?.events, 1);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Holds {
    tenant: Tenant,
}

impl Holds {
    /// Places a hold on what is there. Where nothing has the name itself, the
    /// identity with that name is meant.
    ///
    /// # Errors
    /// `record.not_found` where there is nothing of it: see
    /// [`Holds::place_future`]; `body.erased` where all of it was erased;
    /// `input.invalid` for a name or reason that is empty or too long, and where
    /// several identities have the name; `key.missing`, `store.*`.
    pub fn place(&self, on: OnWhat, reason: &str) -> Result<Hold> {
        check_name(on.name(), "what the hold is on")?;
        self.tenant.log.readable()?;
        if let OnWhat::Subject(name) = &on
            && self.tenant.lives(&What::User(name.clone()))? == Some(true)
        {
            return self.put(&on, reason);
        }
        let nothing = |e: Error| match &on {
            OnWhat::Subject(_) if matches!(e.code(), Code::NotFound | Code::Erased) => {
                e.with_hint("Nothing is held. A subject that may come later can be held beforehand: `mirrordna hold place --future`.")
            }
            _ => e,
        };
        let what = self.tenant.meant(on.what()).map_err(nothing)?;
        if self.tenant.lives(&what)? != Some(true) {
            return Err(nothing(Error::new(Code::Erased, format!("all there was of {what} is erased"))));
        }
        let on = OnWhat::from_what(what).ok_or_else(|| Error::new(Code::Bug, "a hold on what nothing can be held by"))?;
        self.put(&on, reason)
    }

    /// Places a hold on a subject of whom there need not be anything yet.
    ///
    /// # Errors
    /// `input.invalid` for a name or reason that is empty or too long, and where
    /// several identities have the name; `key.missing`, `store.*`.
    pub fn place_future(&self, subject: &str, reason: &str) -> Result<Hold> {
        check_name(subject, "what the hold is on")?;
        self.tenant.log.readable()?;
        self.put(&OnWhat::Subject(self.tenant.subject_meant(subject)?), reason)
    }

    fn put(&self, on: &OnWhat, reason: &str) -> Result<Hold> {
        let id = self.tenant.new_id(PREFIX)?;
        let body = self
            .tenant
            .own_body(schema::HOLD, &id)?
            .with(ON, Some(on.number()))
            .with(NAME, Some(check_name(on.name(), "what the hold is on")?))
            .with(REASON, Some(check_name(reason, "the reason")?));
        self.tenant.append(&self.tenant.log.system, Kind::RECORD_PUT, &body, None)?;
        self.get(&id)
    }

    /// Ends a hold; it stays readable by its id.
    ///
    /// # Errors
    /// `record.not_found`; `input.invalid` where it was released before;
    /// `key.missing`, `store.*`.
    pub fn release(&self, id: &str) -> Result<Appended> {
        if let Some(at) = self.get(id)?.released_at {
            return Err(Error::new(Code::InputInvalid, format!("the hold {id} was released at {at}")));
        }
        let body = self.tenant.own_body(schema::HOLD, id)?;
        self.tenant.append(&self.tenant.log.system, Kind::RECORD_ARCHIVE, &body, None)
    }

    /// The hold with this id.
    ///
    /// # Errors
    /// `id.invalid`, `record.not_found`, `key.missing`.
    pub fn get(&self, id: &str) -> Result<Hold> {
        mirrordna_core::id::check(id, PREFIX)?;
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, schema::HOLD, id))?;
        let hold = found.and_then(|(record, _)| read(&record));
        hold.ok_or_else(|| Error::new(Code::NotFound, format!("there is no hold {id}")))
    }

    /// Holds in the order in which they were placed; those that were released
    /// too where that is asked for.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn list(&self, released: bool) -> Result<Vec<Hold>> {
        self.tenant.log.readable()?;
        self.tenant.view(|view, tx| all(view, tx, &self.tenant.log, released))
    }
}

fn all(view: &View, tx: &dyn ReadTx, log: &Log, released: bool) -> Result<Vec<Hold>> {
    let query = Query { actor: None, session: None, archived: released, from: 0, offset: 0, limit: usize::MAX };
    let found = view.records(tx, log, schema::HOLD, &query)?;
    Ok(found.iter().filter_map(|(record, _)| read(record)).collect())
}

/// The holds that stand, to be held against what is to be erased.
pub(super) struct Standing(HashMap<OnWhat, Hold>);

impl Standing {
    pub(super) fn load(view: &View, tx: &dyn ReadTx, log: &Log) -> Result<Self> {
        Ok(Self(all(view, tx, log, false)?.into_iter().map(|hold| (hold.on.clone(), hold)).collect()))
    }

    /// The hold that forbids to erase an event, if there is one. That includes
    /// the hold itself.
    pub(super) fn on(&self, target: &super::Target) -> Option<&Hold> {
        if self.0.is_empty() {
            return None;
        }
        if target.schema == schema::HOLD {
            return self.0.values().find(|hold| hold.id == target.id);
        }
        let of_session = || self.0.get(&OnWhat::Session(target.session.clone()?));
        let of_user = || self.0.get(&OnWhat::Subject(target.user.clone()?));
        let of_record = || self.0.get(&OnWhat::Record(target.id.clone()));
        let of_call = || self.0.get(&OnWhat::Record(target.call.clone()?));
        self.0.get(&OnWhat::Subject(target.subject.clone())).or_else(of_user).or_else(of_session).or_else(of_record).or_else(of_call)
    }
}

/// Refuses a plan that a hold stands in the way of.
pub(super) fn refuse(view: &View, tx: &dyn ReadTx, log: &Log, plan: &Plan) -> Result<()> {
    let standing = Standing::load(view, tx, log)?;
    match plan.targets.iter().find_map(|target| standing.on(target)) {
        None => Ok(()),
        Some(hold) => {
            let message = format!("the hold {} on {} forbids it: {}", hold.id, hold.on.what(), hold.reason);
            Err(Error::new(Code::ErasureHeld, message))
        }
    }
}

impl Tenant {
    /// Legal holds.
    #[must_use]
    pub fn holds(&self) -> Holds {
        Holds { tenant: self.clone() }
    }

    /// A body of a record that is the engine's own: its subject is the log's
    /// system actor, so that it goes with nobody's data.
    pub(super) fn own_body(&self, schema: u64, id: &str) -> Result<Body> {
        let system = self.view(|view, tx| view.actor(tx, &self.log, &self.log.system))?;
        let system = system.ok_or_else(|| Error::new(Code::Altered, "the log does not know its own actor"))?;
        let body = Body::new(schema, id).with(field::SUBJECT, Some(system.id.as_str()));
        debug_assert!(system.id.len() <= limits::NAME);
        Ok(body)
    }
}

impl Engine {
    /// Legal holds of the default tenant.
    #[must_use]
    pub fn holds(&self) -> Holds {
        self.main().holds()
    }
}
