//! What people mean by a name or an id: one answer for erasing, holding,
//! consenting and exporting.
//!
//! A subject, a session, an event, a call and a record go by the name or id that
//! they were written under. An identity also goes by its name: what is asked for
//! under the name of an identity, and is nothing else, is the identity.

use crate::engine::Tenant;
use crate::identities::{Identities, Identity};
use crate::view::What;
use mirrordna_core::{Code, Error, Result};

impl Tenant {
    /// The identity with an id, the beginning of one, or a name.
    ///
    /// # Errors
    /// `input.invalid` where several fit.
    pub(super) fn identity_called(&self, text: &str) -> Result<Option<Identity>> {
        match (Identities { tenant: self.clone() }).find(text) {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.code() == Code::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether something is there, and was not erased as a whole; `None` where
    /// it never was.
    pub(super) fn lives(&self, what: &What) -> Result<Option<bool>> {
        match self.view(|view, tx| view.lives(tx, &self.log, what.clone())) {
            Ok(lives) => Ok(Some(lives)),
            Err(e) if e.code() == Code::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What is asked for; where there is nothing under the name itself, the
    /// identity with that name.
    ///
    /// # Errors
    /// `record.not_found`, naming what was looked for; `input.invalid` where
    /// several identities have the name; `key.missing`.
    pub(super) fn meant(&self, what: What) -> Result<What> {
        if self.lives(&what)?.is_some() {
            return Ok(what);
        }
        let id = |name: &str| Ok::<_, Error>(self.identity_called(name)?.map(|identity| identity.id().to_owned()));
        let identity = match &what {
            What::Subject(name) => id(name)?.map(What::Subject),
            What::User(name) => id(name)?.map(What::User),
            What::Id(name) => id(name)?.map(What::Id),
            What::Session(_) | What::Events(_) => None,
        };
        match identity {
            Some(identity) if self.lives(&identity)?.is_some() => Ok(identity),
            _ => Err(what.absent()),
        }
    }

    /// The subject that is meant by a name; the name itself where there is
    /// nothing of either yet.
    pub(super) fn subject_meant(&self, name: &str) -> Result<String> {
        match self.meant(What::Subject(name.to_owned())) {
            Ok(What::Subject(meant)) => Ok(meant),
            Err(e) if e.code() != Code::NotFound => Err(e),
            _ => Ok(name.to_owned()),
        }
    }
}
