//! Consents: what a person agreed to, and that they withdrew it. They are data
//! about that person, and are erased with them.

use crate::commit::Appended;
use crate::engine::{Engine, Tenant};
use crate::view::Query;
use mirrordna_core::body::{Body, field, schema};
use mirrordna_core::canon::check_name;
use mirrordna_core::record::Record;
use mirrordna_core::{Code, Error, Kind, Result, limits, time};
use serde::Serialize;

/// Prefix of the ids of consents.
const PREFIX: &str = "cons";

const PURPOSE: u64 = 6;
const WITHDRAWN: u64 = 7;
const BASIS: u64 = 8;

/// A consent as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Consent {
    /// Record id.
    pub id: String,
    /// Who gave it.
    pub subject: String,
    /// What for.
    pub purpose: String,
    /// On what basis, or in what words.
    pub basis: Option<String>,
    /// When it was given, RFC 3339.
    pub given_at: String,
    /// When it was withdrawn, RFC 3339.
    pub withdrawn_at: Option<String>,
}

fn rfc3339(ms: u64) -> String {
    time::rfc3339(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn read(record: &Record) -> Consent {
    let text = |n| record.body.text(n).map(str::to_owned);
    Consent {
        id: record.body.id().to_owned(),
        subject: record.body.subject().to_owned(),
        purpose: text(PURPOSE).unwrap_or_default(),
        basis: text(BASIS),
        given_at: rfc3339(record.created_at),
        withdrawn_at: (record.body.int(WITHDRAWN) == Some(1)).then(|| rfc3339(record.updated_at)),
    }
}

/// The consents that people gave to a tenant.
///
/// ```
/// # use mirrordna::Engine;
/// # let engine = Engine::open("memory:")?;
/// let consents = engine.consents();
/// let given = consents.give("Sam", "remember preferences", Some("settings page of 3 May"))?;
/// assert!(consents.stands("Sam", "remember preferences")?);
/// consents.withdraw(&given.id)?;
/// assert!(!consents.stands("Sam", "remember preferences")?);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Consents {
    tenant: Tenant,
}

impl Consents {
    /// Records that a subject consents to a purpose. Where there is nothing of a
    /// subject of this name, the identity with that name is meant.
    ///
    /// # Errors
    /// `input.invalid` for a name that is empty or too long, and where several
    /// identities have it; `key.missing`,
    /// `store.*`.
    pub fn give(&self, subject: &str, purpose: &str, basis: Option<&str>) -> Result<Consent> {
        let subject = self.tenant.subject_meant(check_name(subject, "the subject")?)?;
        let id = self.tenant.new_id(PREFIX)?;
        let body = Body::new(schema::CONSENT, &id)
            .with(field::SUBJECT, Some(subject.as_str()))
            .with(PURPOSE, Some(check_name(purpose, "the purpose")?))
            .with(WITHDRAWN, Some(0))
            .with(BASIS, basis.map(|b| check_name(b, "the basis")).transpose()?);
        self.tenant.append(&self.tenant.log.system, Kind::RECORD_PUT, &body, None)?;
        self.get(&id)
    }

    /// Records that it was withdrawn. Nothing is erased by that.
    ///
    /// # Errors
    /// `record.not_found`; `input.invalid` where it was withdrawn before;
    /// `key.missing`, `store.*`.
    pub fn withdraw(&self, id: &str) -> Result<Appended> {
        let given = self.get(id)?;
        if let Some(at) = given.withdrawn_at {
            return Err(Error::new(Code::InputInvalid, format!("the consent {id} was withdrawn at {at}")));
        }
        let body = Body::new(schema::CONSENT, id).with(field::SUBJECT, Some(given.subject.as_str())).with(WITHDRAWN, Some(1));
        self.tenant.append(&self.tenant.log.system, Kind::RECORD_PATCH, &body, None)
    }

    /// The consent with this id.
    ///
    /// # Errors
    /// `id.invalid`, `record.not_found`, `body.erased`, `key.missing`.
    pub fn get(&self, id: &str) -> Result<Consent> {
        mirrordna_core::id::check(id, PREFIX)?;
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, schema::CONSENT, id))?;
        let (record, _) = found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no consent {id}")))?;
        Ok(read(&record))
    }

    /// Consents in the order in which they were given, at most
    /// [`limits::RESULTS`], of one subject where it is named.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn list(&self, subject: Option<&str>) -> Result<Vec<Consent>> {
        self.tenant.log.readable()?;
        let subject = subject.map(|name| self.tenant.subject_meant(name)).transpose()?;
        let query = Query { actor: None, session: None, archived: true, from: 0, offset: 0, limit: usize::MAX };
        let found = self.tenant.view(|view, tx| view.records(tx, &self.tenant.log, schema::CONSENT, &query))?;
        let all = found.iter().map(|(record, _)| read(record));
        Ok(all.filter(|c| subject.as_ref().is_none_or(|s| *s == c.subject)).take(limits::RESULTS).collect())
    }

    /// Whether a subject consents to a purpose: somebody recorded it, and nobody
    /// that it was withdrawn.
    ///
    /// # Errors
    /// As [`Consents::list`].
    pub fn stands(&self, subject: &str, purpose: &str) -> Result<bool> {
        Ok(self.list(Some(subject))?.iter().any(|c| c.purpose == purpose && c.withdrawn_at.is_none()))
    }
}

impl Tenant {
    /// Consents.
    #[must_use]
    pub fn consents(&self) -> Consents {
        Consents { tenant: self.clone() }
    }
}

impl Engine {
    /// Consents given to the default tenant.
    #[must_use]
    pub fn consents(&self) -> Consents {
        self.main().consents()
    }
}
