//! Identities: creating, finding and describing agents and users ([`life`] is
//! what becomes of them later, [`history`] what they were, [`keys`] with which
//! keys).

mod history;
mod keys;
mod life;
pub(crate) use life::unchanged;
#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests;

pub use history::{DisputedRange, IdentityHistory, IdentityVersion};
pub use keys::RecoveryKeys;
pub(crate) use keys::{newest, owner_of};

use crate::commit::{Item, Job, Speaker};
use crate::engine::{Engine, Tenant, identity_keys, last_line, recovery_of};
use crate::listing::Page;
use crate::log::{Force, lock};
use crate::memories::Memories;
use crate::timeline::Timeline;
use crate::view::Actor;
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::canon::{Value, check_json, check_name};
use mirrordna_core::identity::{self, IdentityType};
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits, time};
use serde::Serialize;
use std::sync::{Arc, OnceLock};

const TYPE: u64 = 6;
const NAME: u64 = 7;
const DESCRIPTION: u64 = 8;

/// What a caller says of a new identity, besides its type.
#[derive(Debug, Clone, Default)]
pub struct NewIdentity {
    /// Name for people.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Caller's JSON, kept verbatim.
    pub metadata: Option<String>,
    /// Conversation it was imported from.
    pub source_ns: Option<String>,
}

/// An identity of a tenant. The handle can be cloned and used from any thread.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) tenant: Tenant,
    pub(crate) digest: Hash,
    id: String,
    kind: IdentityType,
}

impl Identity {
    /// Display id: `mdna_agt_…`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Agent, user or system.
    #[must_use]
    pub const fn identity_type(&self) -> IdentityType {
        self.kind
    }

    /// Memories of this agent.
    #[must_use]
    pub fn memories(&self) -> Memories {
        Memories { actor: Some(self.digest), ..self.tenant.memories() }
    }

    /// Timeline of this actor.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        Timeline { actor: Some(self.digest), ..self.tenant.timeline() }
    }

    /// Name, description and metadata, as they stand; without them where
    /// contents are locked, because the keyring of the database is not here, and where they were
    /// erased.
    ///
    /// # Errors
    /// `store.*` where the log cannot be read, `log.altered` where its evidence
    /// does not hold.
    pub fn profile(&self) -> Result<Profile> {
        self.tenant.view(|view, tx| {
            let found = match view.record(tx, &self.tenant.log, schema::PROFILE, &self.id) {
                // Who it is stays, what it was called is gone.
                Err(e) if e.code() == Code::Erased => None,
                found => found?,
            };
            let body = found.as_ref().map(|(r, _)| &r.body);
            let text = |n| body.and_then(|b| b.text(n)).map(str::to_owned);
            Ok(Profile {
                id: self.id.clone(),
                identity_type: self.kind,
                name: text(NAME),
                description: text(DESCRIPTION),
                metadata: body.and_then(Body::metadata).map(str::to_owned),
                source_ns: text(field::SOURCE_NS),
                created_at: found.as_ref().map(|(r, _)| time::rfc3339(i64::try_from(r.created_at).unwrap_or(i64::MAX))),
            })
        })
    }
}

/// What is known of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Profile {
    /// Display id.
    pub id: String,
    /// Agent, user or system.
    pub identity_type: IdentityType,
    /// Name for people.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Caller's JSON, verbatim.
    pub metadata: Option<String>,
    /// Conversation it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ns: Option<String>,
    /// When it was created, RFC 3339.
    pub created_at: Option<String>,
}

/// The identities of a tenant.
///
/// ```
/// # use mirrordna::{Engine, IdentityType, NewIdentity};
/// # let engine = Engine::open("memory:")?;
/// let new = NewIdentity { name: Some("Ada".into()), ..NewIdentity::default() };
/// let ada = engine.identities().create_with(IdentityType::Agent, new)?;
/// assert!(ada.id().starts_with("mdna_agt_"));
/// assert_eq!(engine.identities().find("Ada")?.id(), ada.id());
/// assert_eq!(ada.profile()?.name.as_deref(), Some("Ada"));
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Identities {
    pub(crate) tenant: Tenant,
}

impl Identities {
    /// Creates an identity.
    ///
    /// # Errors
    /// As [`Identities::create_with`].
    pub fn create(&self, kind: IdentityType) -> Result<Identity> {
        self.create_with(kind, NewIdentity::default())
    }

    /// Creates an identity with a name, description or metadata. Its keys are
    /// on disk before its first event is.
    ///
    /// # Errors
    /// `input.invalid`, `json.invalid`, `limit.exceeded` for what is said of
    /// it; `key.missing` without a keyring; `store.*`.
    pub fn create_with(&self, kind: IdentityType, new: NewIdentity) -> Result<Identity> {
        self.create_once(kind, &new, None)
    }

    /// The same; the profile carries an idempotency tag.
    pub(crate) fn create_once(&self, kind: IdentityType, new: &NewIdentity, once: Option<[u8; 16]>) -> Result<Identity> {
        if kind == IdentityType::System {
            return Err(Error::new(Code::InputInvalid, "a system identity is made by the engine, one per log"));
        }
        let Tenant { inner, log } = &self.tenant;
        let keyring = inner.keyring.as_ref().ok_or_else(|| crate::log::missing("a new identity needs the keyring"))?;
        let named = |value: &Option<String>, what: &str| value.as_deref().map(|v| check_name(v, what).map(Value::from)).transpose();
        let metadata = new.metadata.as_deref().map(|m| check_json(m, "metadata")).transpose()?;
        let made = identity::create(kind, inner.clock.now_ms(), &*inner.entropy)?;
        let profile = Body::new(schema::PROFILE, &made.id)
            .with(field::SUBJECT, Some(made.id.as_str()))
            .with(field::DEDUPE, once.map(|t| Value::Bytes(t.to_vec())))
            .with(TYPE, Some(kind.name()))
            .with(NAME, named(&new.name, "the name")?)
            .with(DESCRIPTION, named(&new.description, "the description")?)
            .with(field::METADATA, metadata.map(|m| Value::Bytes(m.into())))
            .with(field::SOURCE_NS, named(&new.source_ns, "the namespace")?);
        let profile = inner.draft(log, &made.digest, Kind::RECORD_PUT, &profile)?;
        keyring.add(identity_keys(&made), &[recovery_of(&made)], &*inner.entropy)?;
        let (named, key) = (made.actor.public().clone(), Arc::new(made.actor));
        let entry = Draft::public(&PublicBody::Entry { did_log: &made.did_log });
        let items = vec![
            Item { actor: made.digest, speaker: Speaker::Entry(key.clone(), last_line(&made.did_log)), draft: entry, once: None },
            Item { actor: made.digest, speaker: Speaker::Actor(key, 0), draft: profile, once: None },
        ];
        let placed = inner.committer.append(Job { log: log.clone(), items, checkpoint: false })?;
        if let Some(entry) = placed.first() {
            // Nobody needs to read the log for what was just written.
            let as_of = (entry.index - log.base).saturating_add(1);
            let force = Force { version: 1, key: named, aseq: 0, revoked: false, as_of };
            lock(&log.forces).insert(made.digest, force);
        }
        Ok(Identity { tenant: self.tenant.clone(), digest: made.digest, id: made.id, kind })
    }

    /// The identity with this id.
    ///
    /// # Errors
    /// `id.invalid` for text that is no identity id, `record.not_found`.
    pub fn get(&self, id: &str) -> Result<Identity> {
        mirrordna_core::id::check(id, "mdna")?;
        let found = self.tenant.view(|view, tx| view.actor_named(tx, &self.tenant.log, id))?;
        let found = found.filter(|a| !a.is_engine()).map(|a| self.identity(a));
        found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no identity {id}")))
    }

    /// The identity with this id, id prefix (at least 12 characters) or exact
    /// name or namespace.
    ///
    /// # Errors
    /// `record.not_found`, or `input.invalid` where several fit.
    pub fn find(&self, text: &str) -> Result<Identity> {
        if let Ok(whole) = self.get(text) {
            return Ok(whole);
        }
        let mut hits: Vec<Identity> = match text.starts_with("mdna_") && text.len() >= 12 {
            true => self.list()?.into_iter().filter(|i| i.id.starts_with(text)).collect(),
            false => Vec::new(),
        };
        if hits.is_empty() {
            for id in self.tenant.view(|view, tx| view.named(tx, &self.tenant.log, text))? {
                let identity = self.get(&id)?;
                let profile = identity.profile()?;
                // Of an imported conversation the agent is meant.
                let ns = identity.kind == IdentityType::Agent && profile.source_ns.as_deref() == Some(text);
                if profile.name.as_deref() == Some(text) || ns {
                    hits.push(identity);
                }
            }
        }
        match hits.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Error::new(Code::NotFound, format!("there is no identity '{text}'"))),
            many => Err(Error::new(Code::InputInvalid, format!("'{text}' fits {} identities", many.len()))
                .with_hint("Use the whole id; `mirrordna identity list` shows them.")),
        }
    }

    fn identity(&self, actor: Actor) -> Identity {
        Identity { tenant: self.tenant.clone(), digest: actor.digest, id: actor.id, kind: actor.kind }
    }

    /// The identity with this SCID digest.
    pub(crate) fn by_digest(&self, digest: &Hash) -> Result<Identity> {
        let found = self.tenant.view(|view, tx| view.actor(tx, &self.tenant.log, digest))?;
        found.map(|a| self.identity(a)).ok_or_else(|| Error::new(Code::NotFound, "there is no such identity"))
    }

    /// All identities, oldest first, without the engine's own.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn list(&self) -> Result<Vec<Identity>> {
        self.some(None, usize::MAX)
    }

    /// At most so many identities, after one or from the first on.
    fn some(&self, after: Option<&Hash>, limit: usize) -> Result<Vec<Identity>> {
        let found = self.tenant.view(|view, tx| {
            let mut found = Vec::new();
            view.actors(tx, &self.tenant.log, after, &mut |actor| {
                if !actor.is_engine() {
                    found.push(actor);
                }
                Ok(found.len() < limit)
            })?;
            Ok(found)
        })?;
        Ok(found.into_iter().map(|a| self.identity(a)).collect())
    }

    /// The same, a page at a time: at most `limit` that came after the identity
    /// with an id.
    ///
    /// # Errors
    /// `record.not_found` for the id to go on after; where the log cannot be
    /// read.
    pub fn list_after(&self, after: Option<&str>, limit: usize) -> Result<Page<Identity>> {
        let gone = |id: &str| {
            Error::new(Code::NotFound, format!("there is no identity {id} to go on after")).with_hint("List from the beginning again.")
        };
        let digest = match after {
            None => None,
            Some(id) => {
                let found = self.tenant.view(|view, tx| view.actor_named(tx, &self.tenant.log, id))?;
                Some(found.ok_or_else(|| gone(id))?.digest)
            }
        };
        // One more, to see whether anything follows.
        let mut items = self.some(digest.as_ref(), limit.saturating_add(1))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|i| i.id.clone()).or_else(|| after.map(str::to_owned));
        Ok(Page { items, next: last.filter(|_| more) })
    }

    /// The identity whose profile carries an idempotency tag.
    pub(crate) fn by_once(&self, tag: &[u8; 16]) -> Result<Option<Identity>> {
        self.tenant.view(|view, tx| {
            let log = &self.tenant.log;
            let Some(earlier) = view.once(tx, log, tag)? else { return Ok(None) };
            let Some(event) = view.event(tx, log, earlier.index)? else { return Ok(None) };
            Ok(view.actor(tx, log, &event.header.actor)?.map(|a| self.identity(a)))
        })
    }
}

/// The identity manager of the default store: without arguments it opens
/// `MIRRORDNA_STORE`, else `./mirrordna.db`, at its first call.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = mirrordna::Engine::builder(dir.path().join("m.db").to_str().unwrap()).keys(mirrordna::Keys::Folder(dir.path().join("keys"))).open().unwrap();
/// use mirrordna::IdentityManager;
///
/// # let manager = IdentityManager::of(&engine);
/// # if false {
/// let manager = IdentityManager::new();
/// # }
/// let identity = manager.create_identity("agent")?;
/// assert!(identity.id().starts_with("mdna_agt_"));
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct IdentityManager {
    engine: OnceLock<Engine>,
}

impl IdentityManager {
    /// A manager of the default store, opened at the first call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A manager of an open engine.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        Self { engine: OnceLock::from(engine.clone()) }
    }

    fn identities(&self) -> Result<Identities> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.identities());
        }
        let engine = Engine::open(crate::url::default_store())?;
        Ok(self.engine.get_or_init(|| engine).identities())
    }

    /// Creates an identity of type `user` or `agent`.
    ///
    /// # Errors
    /// As [`Identities::create_with`], and where the store cannot be opened.
    pub fn create_identity(&self, identity_type: &str) -> Result<Identity> {
        self.identities()?.create(identity_type.parse()?)
    }

    /// The identity with this id.
    ///
    /// # Errors
    /// As [`Identities::get`].
    pub fn get_identity(&self, id: &str) -> Result<Identity> {
        self.identities()?.get(id)
    }

    /// All identities, oldest first.
    ///
    /// # Errors
    /// Where the store cannot be opened or read.
    pub fn list_identities(&self) -> Result<Vec<Identity>> {
        let mut all = self.identities()?.list()?;
        all.truncate(limits::RESULTS);
        Ok(all)
    }
}
