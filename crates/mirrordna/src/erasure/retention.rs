//! Retention: how old records may become, and erasing those that are older.

use super::holds::Standing;
use super::{Erasure, ErasureState};
use crate::commit::Appended;
use crate::engine::{Engine, Tenant};
use crate::view::{Query, View, What};
use mirrordna_core::body::schema;
use mirrordna_core::erasure::Reason;
use mirrordna_core::memory::Tier;
use mirrordna_core::record::Record;
use mirrordna_core::{Code, Error, Kind, Result, time};
use mirrordna_storage::ReadTx;
use serde::Serialize;

/// Prefix of the ids of policies.
const PREFIX: &str = "ret";
/// Events that are erased in one transaction.
const BATCH: usize = 8_192;

const SCHEMA: u64 = 6;
const TIER: u64 = 7;
const AGE: u64 = 8;

/// A retention policy as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Policy {
    /// Record id.
    pub id: String,
    /// What it is about, by the name of the schema: `memory`, `session`,
    /// `event`, …
    pub schema: String,
    /// Only memories of this tier.
    pub tier: Option<Tier>,
    /// How old they may become since they last changed, milliseconds.
    pub max_age_ms: u64,
    /// When it was set, RFC 3339.
    pub set_at: String,
}

/// What applying the policies did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Applied {
    /// What was erased under each policy, or would be.
    pub policies: Vec<Enforced>,
    /// Events that were old enough, and stay because of a legal hold.
    pub held: u64,
}

/// What a policy had erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Enforced {
    /// The policy.
    pub policy: Policy,
    /// What was erased.
    pub erased: Erasure,
}

fn read(record: &Record) -> Option<Policy> {
    let body = &record.body;
    let number = u64::try_from(body.int(SCHEMA)?).ok()?;
    Some(Policy {
        id: body.id().to_owned(),
        schema: schema::name(number)?.to_owned(),
        tier: body.int(TIER).and_then(Tier::from_number),
        max_age_ms: u64::try_from(body.int(AGE)?).ok()?,
        set_at: time::rfc3339(i64::try_from(record.updated_at).unwrap_or(i64::MAX)),
    })
}

/// The retention policies of a tenant. Nothing happens by itself: whoever runs
/// the agent applies them, daily for example.
///
/// ```
/// # use mirrordna::{Engine, IdentityType, Tier};
/// # use std::time::Duration;
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// agent.memories().add("the ticket is in the drawer").tier(Tier::ShortTerm).send()?;
/// let retention = engine.retention();
/// retention.set("memory", Some(Tier::ShortTerm), Duration::from_secs(30 * 86_400))?;
/// assert_eq!(retention.apply(false)?.policies[0].erased.events, 0);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Retention {
    tenant: Tenant,
}

impl Retention {
    /// Sets how old records of a kind may become since they last changed; of
    /// memories, those of one tier where it is named. It takes the place of an
    /// earlier policy about the same.
    ///
    /// # Errors
    /// `input.invalid` for a name that is no schema, one whose records are not
    /// to be erased by age (parts go with what they are part of; holds and
    /// policies are ended by name), and a tier of other than memories;
    /// `key.missing`, `store.*`.
    pub fn set(&self, schema: &str, tier: Option<Tier>, max_age: std::time::Duration) -> Result<Policy> {
        let none = || Error::new(Code::InputInvalid, format!("'{schema}' is nothing that a retention policy can be about"));
        let number = schema::number(schema).ok_or_else(none)?;
        if matches!(number, schema::PART | schema::HOLD | schema::RETENTION | schema::PROFILE) {
            return Err(none());
        }
        if tier.is_some() && number != schema::MEMORY {
            return Err(Error::new(Code::InputInvalid, "only memories have a tier"));
        }
        let earlier = self.list()?.into_iter().find(|p| p.schema == schema && p.tier == tier);
        let id = earlier.map_or_else(|| self.tenant.new_id(PREFIX), |p| Ok(p.id))?;
        let body = self
            .tenant
            .own_body(schema::RETENTION, &id)?
            .with(SCHEMA, i64::try_from(number).ok())
            .with(TIER, tier.map(Tier::number))
            .with(AGE, Some(i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX)));
        self.tenant.append(&self.tenant.log.system, Kind::RECORD_PUT, &body, None)?;
        self.get(&id)
    }

    /// Ends a policy.
    ///
    /// # Errors
    /// `record.not_found`, `key.missing`, `store.*`.
    pub fn remove(&self, id: &str) -> Result<Appended> {
        self.get(id)?;
        let body = self.tenant.own_body(schema::RETENTION, id)?;
        self.tenant.append(&self.tenant.log.system, Kind::RECORD_ARCHIVE, &body, None)
    }

    /// The policy with this id.
    ///
    /// # Errors
    /// `id.invalid`, `record.not_found`, `key.missing`.
    pub fn get(&self, id: &str) -> Result<Policy> {
        mirrordna_core::id::check(id, PREFIX)?;
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, schema::RETENTION, id))?;
        let policy = found.filter(|(record, _)| !record.archived).and_then(|(record, _)| read(&record));
        policy.ok_or_else(|| Error::new(Code::NotFound, format!("there is no retention policy {id}")))
    }

    /// The policies that are in force, in the order in which they were set.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn list(&self) -> Result<Vec<Policy>> {
        self.tenant.log.readable()?;
        let query = Query { actor: None, session: None, archived: false, from: 0, offset: 0, limit: usize::MAX };
        let found = self.tenant.view(|view, tx| view.records(tx, &self.tenant.log, schema::RETENTION, &query))?;
        Ok(found.iter().filter_map(|(record, _)| read(record)).collect())
    }

    /// Erases what is older than its policy allows, with reason
    /// [`Reason::Ttl`]; legal holds win. A dry run erases nothing.
    ///
    /// Both are found by their kind, oldest first: of events those are read that
    /// are due, those that a hold keeps, and one more; of records those that were
    /// created before the age.
    ///
    /// # Errors
    /// `key.missing`, `store.*`. What was erased before an error stays so.
    pub fn apply(&self, dry_run: bool) -> Result<Applied> {
        let mut applied = Applied::default();
        let now = self.tenant.inner.clock.now_ms();
        for policy in self.list()? {
            let before = now.saturating_sub(policy.max_age_ms);
            let old = self.tenant.view(|view, tx| self.older(view, tx, &policy, before))?;
            let mut erased = Erasure { reason: Reason::Ttl, ..Erasure::default() };
            for some in old.chunks(BATCH) {
                let mut held = 0;
                let log = &self.tenant.log;
                let done = self.tenant.erase_planned(Reason::Ttl, dry_run, &mut |view, tx| {
                    // As it stands now: it may have changed, or be held, since.
                    let standing = Standing::load(view, tx, log)?;
                    held = 0;
                    let mut free = Vec::with_capacity(some.len());
                    for at in some {
                        let of_one = view.erasing(tx, log, &[What::Events(vec![*at])])?;
                        let of_one = of_one.targets;
                        if of_one.iter().any(|target| standing.on(target).is_some()) {
                            held += of_one.len() as u64;
                        } else {
                            free.push(*at);
                        }
                    }
                    view.erasing(tx, log, &[What::Events(free)])
                })?;
                applied.held += held;
                erased.add(done);
            }
            applied.policies.push(Enforced { policy, erased });
        }
        Ok(applied)
    }

    /// Positions of the events that created what a policy is about and that did
    /// not change since a time.
    fn older(&self, view: &View, tx: &dyn ReadTx, policy: &Policy, before: u64) -> Result<Vec<u64>> {
        let log = &self.tenant.log;
        let Some(number) = schema::number(&policy.schema) else { return Ok(Vec::new()) };
        if matches!(number, schema::EVENT | schema::TOOL_CALL | schema::EVIDENCE) {
            return view.events_before(tx, log, number, before);
        }
        let mut out = Vec::new();
        view.each_record(tx, log, number, &mut |record| {
            if record.created_at >= before {
                return Ok(false);
            }
            let in_tier = policy.tier.is_none_or(|tier| record.body.int(TIER_OF_MEMORY).and_then(Tier::from_number) == Some(tier));
            if in_tier && record.updated_at < before {
                out.push(record.created);
            }
            Ok(true)
        })?;
        Ok(out)
    }
}

/// Field of a memory's body that holds its tier.
const TIER_OF_MEMORY: u64 = 6;

impl Erasure {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bodies += other.bodies;
        self.parts += other.parts;
        self.bytes += other.bytes;
        self.already += other.already;
        self.subjects += other.subjects;
        other.kinds.into_iter().for_each(|(k, n)| *self.kinds.entry(k).or_default() += n);
        other.schemas.into_iter().for_each(|(k, n)| *self.schemas.entry(k).or_default() += n);
        self.erase_events.extend(other.erase_events);
        self.state = match (self.state, other.state) {
            (Some(ErasureState::Pending), _) | (_, Some(ErasureState::Pending)) => Some(ErasureState::Pending),
            (own, other) => other.or(own),
        };
    }
}

impl Tenant {
    /// Retention policies.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention { tenant: self.clone() }
    }
}

impl Engine {
    /// Retention policies of the default tenant.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.main().retention()
    }
}

#[cfg(test)]
#[cfg(feature = "memory")]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::view::READ;
    use crate::{Clock, Engine, IdentityType, SealPolicy};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    struct Set(AtomicU64);

    impl Clock for Set {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// Rows read by applying a policy about events: where some are due, and
    /// where none is any more.
    fn rows_read(before: usize, due: usize, young: usize) -> (u64, u64) {
        const DAY: u64 = 86_400_000;
        let clock = Arc::new(Set(AtomicU64::new(1_770_000_000_000)));
        // Each event is signed at once: the service thread has none to sign in between.
        let engine = Engine::builder("memory:").clock(clock.clone()).seals(SealPolicy::EveryEvent).open().unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        let timeline = agent.timeline();
        let append = |n: usize| {
            (0..n).for_each(|_| {
                timeline.append_json("tick", None, None).unwrap();
            });
        };
        let later = |days: u64| {
            clock.0.fetch_add(days * DAY, Ordering::Relaxed);
        };
        let retention = engine.retention();
        retention.set("event", None, Duration::from_millis(30 * DAY)).unwrap();
        let apply = || {
            // What was appended since is folded before.
            assert_eq!(engine.timeline().len().unwrap(), engine.timeline().len().unwrap());
            let read = READ.get();
            let erased = retention.apply(false).unwrap().policies[0].erased.events;
            (erased, READ.get() - read)
        };
        append(before);
        later(31);
        assert_eq!(apply().0, before as u64);
        append(due);
        later(31);
        append(young);
        let (erased, read) = apply();
        assert_eq!(erased, due as u64);
        let (erased, again) = apply();
        assert_eq!(erased, 0);
        (read, again)
    }

    #[test]
    fn what_is_read_grows_with_what_is_due_alone() {
        let (few, none) = rows_read(10, 20, 30);
        let (same, still_none) = rows_read(600, 20, 700);
        assert_eq!((few, none), (same, still_none), "not with what was erased before, nor with what is young");
        let (more, _) = rows_read(10, 200, 30);
        assert!(more > few && (more - few) <= 180 * (few / 20 + 1), "{few} and {more}");
        assert!(none <= 8, "{none}: the policy, and the first event that is young");
    }
}
