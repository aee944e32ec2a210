//! Records of upstream's entities: one manager for all of them. An entity is a
//! schema number and a type; what it means is in its document.

use crate::commit::Appended;
use crate::engine::{Engine, Tenant};
use crate::identities::{Identities, Identity};
use crate::listing::{Listing, Of};
use crate::memories::{Step, Written, steps};
use crate::view::Query;
use mirrordna_core::body::{Body, Media, field, schema};
use mirrordna_core::canon::{Value as Field, check_document, check_name};
use mirrordna_core::record::Record;
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits, time};
use mirrordna_upstream::Profile;
use mirrordna_upstream::entities::{
    self, AgentDna, AgentLink, Citation, GlyphtrailEntry, Invalid, Reflection, Seal, Typed, VaultConfig, VaultEntry,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::marker::PhantomData;

/// An entity that the engine keeps as records.
pub trait Entity: Typed {
    /// Number of its schema in `spec/bodies.yaml`.
    const NUMBER: u64;
    /// Prefix of its ids.
    const PREFIX: &'static str;

    /// The record before this one in its lineage.
    fn predecessor(&self) -> Option<&str> {
        None
    }
}

macro_rules! entities {
    ($($type:ident = $number:ident, $prefix:literal $(, $predecessor:ident)?;)*) => {
        $(impl Entity for $type {
            const NUMBER: u64 = schema::$number;
            const PREFIX: &'static str = $prefix;
            $(fn predecessor(&self) -> Option<&str> {
                self.$predecessor.as_deref()
            })?
        })*
    };
}

entities! {
    Citation = CITATION, "mc", predecessor;
    VaultConfig = VAULT_CONFIG, "vault";
    VaultEntry = VAULT_ENTRY, "entry";
    AgentDna = AGENT_DNA, "dna";
    Reflection = REFLECTION, "refl";
    GlyphtrailEntry = GLYPHTRAIL_ENTRY, "glyph", predecessor;
    AgentLink = AGENT_LINK, "link";
}

/// Records of one entity, of a tenant or of an agent, depending on where the
/// handle came from.
///
/// A citation, its successor, and the check of its checksum:
///
/// ```
/// use mirrordna::entities::Citation;
/// use mirrordna::{Engine, IdentityType};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("mirrordna.db");
/// # let engine = Engine::builder(path.to_str().unwrap()).keys(mirrordna::Keys::Folder(dir.path().join("keys"))).open()?;
/// # if false {
/// let engine = Engine::open("./mirrordna.db")?;
/// # }
/// let agent = engine.identities().create(IdentityType::Agent)?;
/// let citations = agent.citations();
/// let new = Citation { version: "1.0.0".into(), vault_id: "vault_of_the_harbour_office".into(), ..Citation::default() };
/// let first = citations.add(&new)?;
/// let second = citations.add(&Citation { version: "1.1.0".into(), predecessor: Some(first.id.clone()), ..new })?;
///
/// let lineage = citations.lineage(&second.id)?;
/// assert_eq!(lineage.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), [first.id.as_str(), second.id.as_str()]);
/// assert!(citations.verify(&second.id)?.ok);
/// assert_eq!(citations.get(&second.id)?.read()?.version, "1.1.0");
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Records<T> {
    tenant: Tenant,
    actor: Option<Hash>,
    subject: Option<String>,
    profile: Profile,
    entity: PhantomData<fn() -> T>,
}

/// A record of an entity as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stored<T> {
    /// Record id.
    pub id: String,
    /// Display id of the actor that wrote it first.
    pub agent: String,
    /// Whose data this is, where that was said.
    pub subject: Option<String>,
    /// The document, verbatim.
    pub document: String,
    /// When it was first written, RFC 3339.
    pub created_at: String,
    /// Id it had where it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// Vault it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ns: Option<String>,
    /// Put out of ordinary view.
    pub archived: bool,
    /// Number of its events.
    pub version: u64,
    /// Leaf of its last event.
    pub leaf: u64,
    #[serde(skip)]
    entity: PhantomData<fn() -> T>,
}

/// Whether a record's checksum is that of its content. It is upstream's
/// checksum, which anybody can compute anew: what proves the record is the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChecksumReport {
    /// Record id.
    pub id: String,
    /// Whether the two are the same.
    pub ok: bool,
    /// The checksum that the document states.
    pub stated: Option<String>,
    /// The checksum of its content, where upstream defines one.
    pub computed: Option<String>,
}

fn invalid(e: &Invalid) -> Error {
    Error::new(Code::InputInvalid, e.to_string())
}

impl<T: Entity> Stored<T> {
    fn from_record(record: &Record, agent: String) -> Self {
        let b = &record.body;
        let text = |n| b.text(n).map(str::to_owned);
        Self {
            id: b.id().to_owned(),
            agent,
            subject: text(field::SUBJECT),
            document: b.payload_text().unwrap_or_default().to_owned(),
            created_at: time::rfc3339(i64::try_from(record.created_at).unwrap_or(i64::MAX)),
            source_id: text(field::SOURCE_ID),
            source_ns: text(field::SOURCE_NS),
            archived: record.archived,
            version: record.version,
            leaf: record.updated,
            entity: PhantomData,
        }
    }

    /// The entity itself.
    ///
    /// # Errors
    /// `input.invalid` for a record that was imported although its fields have
    /// other types than the entity's; its document is readable all the same.
    pub fn read(&self) -> Result<T> {
        entities::parse(&self.document).map_err(|e| invalid(&e))
    }
}

impl<T: Entity> Records<T> {
    pub(crate) fn new(tenant: Tenant, actor: Option<Hash>) -> Self {
        Self { tenant, actor, subject: None, profile: Profile::Strict, entity: PhantomData }
    }

    /// The same, accepting what upstream's code and tests accept besides its
    /// published schemas: short ids, nulls, unknown fields.
    #[must_use]
    pub fn compat(mut self) -> Self {
        self.profile = Profile::Compat;
        self
    }

    /// The same, where what is added is somebody's data; if nothing is said, a
    /// record is a subject of its own.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds an entity. A blank id, time or checksum is filled in.
    ///
    /// # Errors
    /// As [`Records::add_json`].
    pub fn add(&self, entity: &T) -> Result<Written> {
        self.add_json(&self.complete(entity, None)?)
    }

    /// Adds a document, which is kept byte for byte.
    ///
    /// # Errors
    /// `json.invalid`, `limit.exceeded`; `input.invalid` for what the profile
    /// refuses, naming field and reason, and for a checksum that does not fit;
    /// `record.exists` for an id that is taken; `record.lineage` where the
    /// predecessor does not exist; `key.missing`, `store.*`.
    pub fn add_json(&self, document: &str) -> Result<Written> {
        let actor = self.actor.ok_or_else(|| {
            Error::new(Code::InputInvalid, format!("a record ({}) belongs to an agent", T::NAME))
                .with_hint("Write through an identity: agent.records::<…>().add(…).")
        })?;
        let entity = self.check(document)?;
        let (id, given) = match own_id::<T>(document) {
            Some(id) => (id, true),
            None => (self.tenant.new_id(T::PREFIX)?, false),
        };
        mirrordna_core::id::check(&id, T::PREFIX)?;
        let exists = || Error::new(Code::AlreadyExists, format!("there is a record {id} already"));
        if given && self.find(&id)?.is_some() {
            return Err(exists());
        }
        self.check_lineage(&id, &entity)?;
        let mut body = Body::new(T::NUMBER, &id).with_payload(Media::JSON, document);
        if let Some(subject) = &self.subject {
            body.set(field::SUBJECT, check_name(subject, "the subject")?.into());
        }
        // Two processes that add one id: the commit decides.
        let once = given.then(|| self.tenant.log.once_tag(&["record", T::NAME, &id])).transpose()?;
        if let Some(tag) = once {
            body.set(field::DEDUPE, Field::Bytes(tag.to_vec()));
        }
        let event = self.tenant.append(&actor, Kind::RECORD_PUT, &body, once)?;
        if event.existed { Err(exists()) } else { Ok(Written { id, event }) }
    }

    /// The record with this id, or with this id where it was imported from.
    ///
    /// # Errors
    /// `id.invalid`; `record.not_found`; `key.missing` where contents are
    /// locked, because the keyring of the database is not here.
    pub fn get(&self, id: &str) -> Result<Stored<T>> {
        mirrordna_core::id::check(id, T::PREFIX)?;
        self.find(id)?.ok_or_else(|| Error::new(Code::NotFound, format!("there is no record {id}")))
    }

    fn find(&self, id: &str) -> Result<Option<Stored<T>>> {
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, T::NUMBER, id))?;
        Ok(found.map(|(record, agent)| Stored::from_record(&record, agent)))
    }

    /// Records of this scope in order of writing, a page at a time; archived
    /// ones are left out.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*` where the log cannot
    /// be read, `log.altered` where its evidence does not hold.
    pub fn list(&self, offset: usize, limit: usize) -> Result<Vec<Stored<T>>> {
        self.tenant.log.readable()?;
        let page = Query { actor: self.actor, session: None, archived: false, from: 0, offset, limit: limit.min(limits::RESULTS) };
        let found = self.tenant.view(|view, tx| view.records(tx, &self.tenant.log, T::NUMBER, &page))?;
        Ok(found.into_iter().map(|(record, agent)| Stored::from_record(&record, agent)).collect())
    }

    /// Records of this scope in order of writing, to be listed after an id, with
    /// archived ones, or both.
    pub fn listing(&self) -> Listing<Stored<T>> {
        let of = Of { schema: T::NUMBER, prefix: T::PREFIX, actor: self.actor, session: None };
        Listing::new(self.tenant.clone(), of, |record, agent| Stored::from_record(record, agent.to_owned()))
    }

    /// Number of records of the tenant, archived ones included.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn count(&self) -> Result<u64> {
        self.tenant.log.readable()?;
        self.tenant.view(|view, tx| view.count(tx, &self.tenant.log, T::NUMBER))
    }

    /// Puts an entity in the place of what the record holds; its checksum is
    /// computed anew, and the old state stays in the history.
    ///
    /// # Errors
    /// As [`Records::update_json`].
    pub fn update(&self, id: &str, entity: &T) -> Result<Appended> {
        let old = self.get(id)?;
        self.change(&old, &self.complete(entity, Some(&old))?)
    }

    /// Puts a document in the place of the record's.
    ///
    /// # Errors
    /// `record.not_found`; `input.invalid` where it has another id; else as
    /// [`Records::add_json`].
    pub fn update_json(&self, id: &str, document: &str) -> Result<Appended> {
        self.change(&self.get(id)?, document)
    }

    fn change(&self, old: &Stored<T>, document: &str) -> Result<Appended> {
        let entity = self.check(document)?;
        if own_id::<T>(document) != own_id::<T>(&old.document) {
            return Err(Error::new(Code::InputInvalid, format!("the document has another id than the record {}", old.id)));
        }
        self.check_lineage(&old.id, &entity)?;
        let body = Body::new(T::NUMBER, &old.id).with_payload(Media::JSON, document);
        self.append(old, Kind::RECORD_PATCH, body)
    }

    /// Puts a record out of ordinary view; it stays readable by its id.
    ///
    /// # Errors
    /// `record.not_found`, `key.missing`, `store.*`.
    pub fn archive(&self, id: &str) -> Result<Appended> {
        let old = self.get(id)?;
        self.append(&old, Kind::RECORD_ARCHIVE, Body::new(T::NUMBER, &old.id))
    }

    fn append(&self, old: &Stored<T>, kind: Kind, mut body: Body) -> Result<Appended> {
        let actor = match self.actor {
            Some(actor) => actor,
            None => {
                let owner = Identities { tenant: self.tenant.clone() }.get(&old.agent).map_err(|e| {
                    Error::new(Code::InputInvalid, format!("the record {} was imported and belongs to no agent", old.id))
                        .with_hint("Say who changes it: agent.records::<…>().update(…).")
                        .caused_by(e)
                })?;
                owner.digest
            }
        };
        if let Some(subject) = &old.subject {
            body.set(field::SUBJECT, subject.as_str().into());
        }
        self.tenant.append(&actor, kind, &body, None)
    }

    /// All events of a record, oldest first.
    ///
    /// # Errors
    /// `record.not_found`, or where its evidence does not hold.
    pub fn history(&self, id: &str) -> Result<Vec<Step>> {
        steps(&self.tenant, &self.get(id)?.id)
    }

    /// A record and those it follows, oldest first; entities without lineage
    /// stand alone.
    ///
    /// # Errors
    /// `record.not_found`; `record.lineage` for a circle or a predecessor that
    /// does not exist.
    pub fn lineage(&self, id: &str) -> Result<Vec<Stored<T>>> {
        let last = self.get(id)?;
        let mut chain = self.ancestors(&last.id, &last.read()?)?;
        chain.reverse();
        chain.push(last);
        Ok(chain)
    }

    /// What precedes an entity, newest first.
    fn ancestors(&self, id: &str, entity: &T) -> Result<Vec<Stored<T>>> {
        let broken = |why: String| Error::new(Code::LineageBroken, format!("the lineage of {id} {why}"));
        let mut seen = HashSet::from([id.to_owned()]);
        let mut chain = Vec::new();
        let mut next = entity.predecessor().map(str::to_owned);
        while let Some(name) = next {
            let found = self.find(&name)?.ok_or_else(|| broken(format!("names {name}, which does not exist")))?;
            if !seen.insert(found.id.clone()) {
                return Err(broken(format!("runs in a circle at {name}")));
            }
            if chain.len() >= limits::LINEAGE {
                return Err(broken(format!("has more than {} records", limits::LINEAGE)));
            }
            next = found.read()?.predecessor().map(str::to_owned);
            chain.push(found);
        }
        Ok(chain)
    }

    /// Refuses a predecessor that does not exist or closes a circle.
    fn check_lineage(&self, id: &str, entity: &T) -> Result<()> {
        match entity.predecessor() {
            Some(own) if own == id => Err(Error::new(Code::LineageBroken, format!("{id} names itself as its predecessor"))),
            _ => self.ancestors(id, entity).map(drop),
        }
    }

    /// Whether the checksum of a record is that of its content.
    ///
    /// # Errors
    /// `record.not_found`; `input.invalid` for an entity whose content
    /// upstream computes no checksum of.
    pub fn verify(&self, id: &str) -> Result<ChecksumReport> {
        let stored = self.get(id)?;
        let seal = entities::seal::<T>(&stored.document).map_err(|e| invalid(&e))?;
        let seal: Seal = seal.ok_or_else(|| Error::new(Code::InputInvalid, format!("a record ({}) has no checksum", T::NAME)))?;
        Ok(ChecksumReport { id: stored.id, ok: seal.fits(), stated: seal.stated, computed: seal.computed.ok() })
    }

    fn check(&self, document: &str) -> Result<T> {
        check_document(document, "the document")?;
        entities::validate(document, self.profile).map_err(|e| invalid(&e))
    }

    /// The document of an entity, with what is blank filled in: the id (that of
    /// the record it replaces), the time and the checksum.
    fn complete(&self, entity: &T, old: Option<&Stored<T>>) -> Result<String> {
        let bug = |e| Error::new(Code::Bug, format!("{} does not serialise", T::NAME)).caused_by(e);
        let mut document = serde_json::to_value(entity).map_err(bug)?;
        if let Some(id) = T::ID_FIELD.and_then(|name| blank(&mut document, name)) {
            *id = match old.and_then(|old| own_id::<T>(&old.document)) {
                Some(same) => same.into(),
                None => self.tenant.new_id(T::PREFIX)?.into(),
            };
        }
        if let Some(at) = T::TIME_FIELD.and_then(|name| blank(&mut document, name)) {
            *at = time::rfc3339(i64::try_from(self.tenant.inner.clock.now_ms()).unwrap_or(i64::MAX)).into();
        }
        let text = document.to_string();
        let computed = entities::seal::<T>(&text).map_err(|e| invalid(&e))?.and_then(|seal| seal.computed.ok());
        let Some(computed) = computed else { return Ok(text) };
        match document.get_mut("checksum") {
            Some(checksum) if old.is_some() || checksum == "" => *checksum = computed.into(),
            _ => {}
        }
        Ok(document.to_string())
    }
}

/// A member that is there and blank.
fn blank<'a>(document: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    document.get_mut(name).filter(|value| **value == "")
}

/// The id that a document has for itself.
fn own_id<T: Entity>(document: &str) -> Option<String> {
    let document: Value = serde_json::from_str(document).ok()?;
    document.get(T::ID_FIELD?)?.as_str().map(str::to_owned)
}

impl Tenant {
    /// Records of an entity.
    #[must_use]
    pub fn records<T: Entity>(&self) -> Records<T> {
        Records::new(self.clone(), None)
    }

    /// Master citations.
    #[must_use]
    pub fn citations(&self) -> Records<Citation> {
        self.records()
    }
}

impl Engine {
    /// Records of an entity in the default tenant.
    #[must_use]
    pub fn records<T: Entity>(&self) -> Records<T> {
        self.main().records()
    }

    /// Master citations of the default tenant.
    #[must_use]
    pub fn citations(&self) -> Records<Citation> {
        self.records()
    }
}

impl Identity {
    /// Records of an entity that this identity writes.
    #[must_use]
    pub fn records<T: Entity>(&self) -> Records<T> {
        Records::new(self.tenant.clone(), Some(self.digest))
    }

    /// Master citations that this identity writes.
    #[must_use]
    pub fn citations(&self) -> Records<Citation> {
        self.records()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::{IdentityType, Keys, Witness};

    #[test]
    fn what_another_writer_put_there_is_shown_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let keys = Keys::Folder(dir.path().join("keys"));
        let engine = Engine::builder(path.to_str().unwrap()).keys(keys).witness(Witness::Off).open().unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        let put = |id: &str, document: &str| {
            let body = Body::new(schema::CITATION, id).with_payload(Media::JSON, document);
            agent.tenant.append(&agent.digest, Kind::RECORD_PUT, &body, None).unwrap();
        };
        put("mc_a", r#"{"id":"mc_a","version":"1","vault_id":"v","created_at":"t","checksum":"00","predecessor":"mc_b"}"#);
        put("mc_b", r#"{"id":"mc_b","version":"1","vault_id":"v","created_at":"t","checksum":"","predecessor":"mc_a"}"#);
        put("mc_c", r#"{"id":"mc_c","version":1}"#);
        let citations = engine.citations();
        let report = citations.verify("mc_a").unwrap();
        assert_eq!((report.ok, report.stated.as_deref()), (false, Some("00")));
        assert_eq!(report.computed.unwrap().len(), 64);
        let circle = citations.lineage("mc_a").unwrap_err();
        assert_eq!(circle.code(), Code::LineageBroken);
        assert!(circle.message().contains("circle"), "{circle}");
        // A listing does not fail because one of its records is odd.
        let listed = citations.list(0, 10).unwrap();
        assert_eq!((listed.len(), listed[2].read().unwrap_err().code()), (3, Code::InputInvalid));
    }
}
