//! Sessions: starting, continuing and ending conversations.

use crate::engine::Tenant;
use crate::identities::{Identities, Identity};
use crate::listing::{Listing, Of};
use crate::memories::Memories;
use crate::timeline::Timeline;
use crate::tools::Tools;
use mirrordna_core::body::schema;
use mirrordna_core::identity::IdentityType;
use mirrordna_core::session::{NewSession, PREFIX, Session, end_body};
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits};
use std::collections::HashSet;

/// The sessions of a tenant.
///
/// ```
/// # use mirrordna::{Code, Engine, IdentityType};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// # let user = engine.identities().create(IdentityType::User)?;
/// let sessions = engine.sessions();
/// let monday = sessions.start(&agent, &user)?;
/// monday.memories().add("Prefers trains to planes").send()?;
///
/// // Later, or in another process: go on with it, or begin one that continues it.
/// let tuesday = sessions.continue_from(&sessions.resume(monday.id())?)?;
/// let lineage = sessions.lineage(tuesday.id())?;
/// assert_eq!(lineage.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), [monday.id(), tuesday.id()]);
///
/// let id = monday.id().to_owned();
/// monday.end_with(Some(r#"{"booked":true}"#))?;
/// assert_eq!(sessions.resume(&id).unwrap_err().code(), Code::SessionEnded);
/// assert_eq!(sessions.memories(&id)?.list(0, 10)?.len(), 1);
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sessions {
    pub(crate) tenant: Tenant,
}

/// A session in use: what is written through it carries its id, its user and
/// its subject.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    tenant: Tenant,
    agent: Hash,
    id: String,
    user: Option<String>,
    subject: Option<String>,
}

impl Sessions {
    /// Starts a session between an agent and a user.
    ///
    /// # Errors
    /// `input.invalid` where the two are not an agent and a user,
    /// `key.missing` without the agent's key, `store.*`.
    pub fn start(&self, agent: &Identity, user: &Identity) -> Result<SessionHandle> {
        if user.identity_type() != IdentityType::User {
            return Err(Error::new(Code::InputInvalid, format!("{} is no user", user.id())));
        }
        self.start_with(agent, NewSession { user: Some(user.id().to_owned()), ..NewSession::default() })
    }

    /// Starts a session that continues an earlier one, with its agent and user.
    ///
    /// # Errors
    /// As [`Sessions::start_with`].
    pub fn continue_from(&self, earlier: &SessionHandle) -> Result<SessionHandle> {
        let agent = Identities { tenant: self.tenant.clone() }.by_digest(&earlier.agent)?;
        let new = NewSession {
            user: earlier.user.clone(),
            subject: earlier.subject.clone(),
            parent: Some(earlier.id.clone()),
            ..NewSession::default()
        };
        self.start_with(&agent, new)
    }

    /// Starts a session with all that can be said of it.
    ///
    /// # Errors
    /// `session.lineage` where the parent does not exist or is not of this
    /// agent; `input.invalid`, `json.invalid`, `key.missing`, `store.*`.
    pub fn start_with(&self, agent: &Identity, mut new: NewSession) -> Result<SessionHandle> {
        if agent.identity_type() != IdentityType::Agent {
            return Err(Error::new(Code::InputInvalid, format!("{} is no agent", agent.id())));
        }
        if let Some(parent) = &new.parent {
            let found = self
                .get(parent)
                .map_err(|e| Error::new(Code::LineageInvalid, format!("the parent session {parent} does not exist")).caused_by(e))?;
            if found.agent != agent.id() {
                return Err(Error::new(Code::LineageInvalid, format!("the parent session {parent} is of another agent, {}", found.agent)));
            }
        }
        new.subject = new.subject.or_else(|| new.user.clone());
        let id = self.tenant.new_id(PREFIX)?;
        let handle = SessionHandle {
            tenant: self.tenant.clone(),
            agent: agent.digest,
            id: id.clone(),
            user: new.user.clone(),
            subject: new.subject.clone(),
        };
        self.tenant.append(&agent.digest, Kind::RECORD_PUT, &new.into_body(&id)?, None)?;
        Ok(handle)
    }

    /// Goes on with a session, also from another process.
    ///
    /// # Errors
    /// `record.not_found`, `session.ended`.
    pub fn resume(&self, id: &str) -> Result<SessionHandle> {
        let session = self.get(id)?;
        if let Some(at) = session.ended_at {
            return Err(Error::new(Code::SessionEnded, format!("session {id} ended at {at}")));
        }
        let agent = Identities { tenant: self.tenant.clone() }.get(&session.agent)?;
        Ok(SessionHandle { tenant: self.tenant.clone(), agent: agent.digest, id: session.id, user: session.user, subject: session.subject })
    }

    /// Memories of a session, also of one that has ended: to read, search,
    /// update and archive them. New ones are added through a handle
    /// ([`Sessions::resume`]).
    ///
    /// # Errors
    /// `id.invalid`, `record.not_found`.
    pub fn memories(&self, id: &str) -> Result<Memories> {
        let Session { id, user, subject, .. } = self.get(id)?;
        Ok(Memories { tenant: self.tenant.clone(), actor: None, session: Some(id), subject, user })
    }

    /// Calls of tools in a session, also in one that has ended: to list and cite
    /// them, and to say how they ended. New ones are recorded through a handle
    /// ([`Sessions::resume`]).
    ///
    /// # Errors
    /// `id.invalid`, `record.not_found`.
    pub fn tools(&self, id: &str) -> Result<Tools> {
        let Session { id, user, subject, .. } = self.get(id)?;
        Ok(Tools { tenant: self.tenant.clone(), actor: None, session: Some(id), subject, user })
    }

    /// The session with this id.
    ///
    /// # Errors
    /// `id.invalid`; `record.not_found`; `key.missing` where contents are
    /// locked, because the keyring of the database is not here.
    pub fn get(&self, id: &str) -> Result<Session> {
        mirrordna_core::id::check(id, PREFIX)?;
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, schema::SESSION, id))?;
        let (record, agent) = found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no session {id}")))?;
        Ok(Session::from_record(&record, &agent))
    }

    /// Sessions, oldest first; of one agent where it is given.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn list(&self, agent: Option<&Identity>) -> Result<Vec<Session>> {
        self.tenant.log.readable()?;
        let page = crate::view::Query {
            actor: agent.map(|a| a.digest),
            session: None,
            archived: false,
            from: 0,
            offset: 0,
            limit: limits::RESULTS,
        };
        let found = self.tenant.view(|view, tx| view.records(tx, &self.tenant.log, schema::SESSION, &page))?;
        Ok(found.iter().map(|(r, a)| Session::from_record(r, a)).collect())
    }

    /// Sessions, oldest first, to be listed after an id; of one agent where it is
    /// given.
    pub fn listing(&self, agent: Option<&Identity>) -> Listing<Session> {
        let of = Of { schema: schema::SESSION, prefix: PREFIX, actor: agent.map(|a| a.digest), session: None };
        Listing::new(self.tenant.clone(), of, Session::from_record)
    }

    /// A session and those it continues, oldest first.
    ///
    /// # Errors
    /// `session.lineage` for a cycle or a missing parent.
    pub fn lineage(&self, id: &str) -> Result<Vec<Session>> {
        let mut chain = vec![self.get(id)?];
        let mut seen = HashSet::from([id.to_owned()]);
        while let Some(parent) = chain.last().and_then(|s| s.parent.clone()) {
            if !seen.insert(parent.clone()) || chain.len() >= limits::LINEAGE {
                return Err(Error::new(Code::LineageInvalid, format!("the parents of session {id} run in a circle at {parent}")));
            }
            let session = self
                .get(&parent)
                .map_err(|e| Error::new(Code::LineageInvalid, format!("the parent session {parent} does not exist")).caused_by(e))?;
            chain.push(session);
        }
        chain.reverse();
        Ok(chain)
    }
}

impl SessionHandle {
    /// Record id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Memories of this session.
    #[must_use]
    pub fn memories(&self) -> Memories {
        Memories {
            tenant: self.tenant.clone(),
            actor: Some(self.agent),
            session: Some(self.id.clone()),
            subject: self.subject.clone(),
            user: self.user.clone(),
        }
    }

    /// Timeline of this session.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        Timeline { tenant: self.tenant.clone(), actor: Some(self.agent), session: Some(self.id.clone()), subject: self.subject.clone() }
    }

    /// Calls of tools in this session.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools {
            tenant: self.tenant.clone(),
            actor: Some(self.agent),
            session: Some(self.id.clone()),
            subject: self.subject.clone(),
            user: self.user.clone(),
        }
    }

    /// Ends the session.
    ///
    /// # Errors
    /// As [`SessionHandle::end_with`].
    pub fn end(self) -> Result<()> {
        self.end_with(None)
    }

    /// Ends the session with a final state (JSON).
    ///
    /// # Errors
    /// `session.ended` where it has ended already, `json.invalid`, `store.*`.
    pub fn end_with(self, final_state: Option<&str>) -> Result<()> {
        let sessions = Sessions { tenant: self.tenant.clone() };
        sessions.resume(&self.id)?;
        let at = i64::try_from(self.tenant.inner.clock.now_ms()).unwrap_or(i64::MAX);
        let mut body = end_body(&self.id, at, final_state)?;
        if let Some(subject) = &self.subject {
            body.set(mirrordna_core::body::field::SUBJECT, subject.as_str().into());
        }
        self.tenant.append(&self.agent, Kind::RECORD_PATCH, &body, None).map(drop)
    }
}
