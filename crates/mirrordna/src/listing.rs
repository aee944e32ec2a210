//! Listings of records, a page at a time.

use crate::engine::Tenant;
use crate::view::{self, Content, View};
use mirrordna_core::record::Record;
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits};
use mirrordna_storage::ReadTx;

/// Some of a list, and where it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// In order of writing.
    pub items: Vec<T>,
    /// The id to go on after ([`Listing::after`]); `None` where nothing follows.
    pub next: Option<String>,
}

/// A listing about to run: of memories, sessions or records, in order of
/// writing.
///
/// What is appended meanwhile comes at the end, so whoever goes on after an id
/// meets every record once, while positions shift as soon as one before them is
/// archived.
///
/// ```
/// # use mirrordna::{Engine, IdentityType};
/// # let engine = Engine::open("memory:")?;
/// # let agent = engine.identities().create(IdentityType::Agent)?;
/// for text in ["one", "two", "three"] {
///     agent.memories().add(text).send()?;
/// }
/// let first = engine.memories().listing().limit(2).run()?;
/// let next = first.next.expect("there is a third");
/// let second = engine.memories().listing().limit(2).after(next).run()?;
/// assert_eq!((second.items[0].content.as_str(), second.next), ("three", None));
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is listed before `run`"]
pub struct Listing<T> {
    tenant: Tenant,
    of: Of,
    read: fn(&Record, &str) -> T,
    after: Option<String>,
    offset: usize,
    limit: usize,
    archived: bool,
}

/// What is listed.
#[derive(Debug, Clone)]
pub(crate) struct Of {
    pub(crate) schema: u64,
    pub(crate) prefix: &'static str,
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<String>,
}

impl<T> Listing<T> {
    pub(crate) fn new(tenant: Tenant, of: Of, read: fn(&Record, &str) -> T) -> Self {
        Self { tenant, of, read, after: None, offset: 0, limit: limits::RESULTS, archived: false }
    }

    /// Only what was written after the record with this id, which may be
    /// archived by now, or of another agent or session.
    pub fn after(mut self, id: impl Into<String>) -> Self {
        self.after = Some(id.into());
        self
    }

    /// Leaves away this many at the beginning.
    pub const fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// At most this many, and never more than [`limits::RESULTS`], which is also
    /// what holds if nothing is said.
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = if limit < limits::RESULTS { limit } else { limits::RESULTS };
        self
    }

    /// With the archived ones.
    pub const fn archived(mut self) -> Self {
        self.archived = true;
        self
    }

    /// The page.
    ///
    /// # Errors
    /// `id.invalid` and `record.not_found` for the id to go on after;
    /// `key.missing` where contents are locked; `store.*` where the log cannot
    /// be read, `log.altered` where its evidence does not hold.
    pub fn run(self) -> Result<Page<T>> {
        self.tenant.log.readable()?;
        if let Some(id) = &self.after {
            mirrordna_core::id::check(id, self.of.prefix)?;
        }
        let session = self.of.session.as_deref().map(|s| self.tenant.log.session_tag(s)).transpose()?;
        // One more, to see whether anything follows.
        let wanted = self.limit + 1;
        let mut found = self.tenant.view(|view, tx| match &self.after {
            Some(id) => self.from(view, tx, id, session, wanted),
            None => {
                let page = view::Page { actor: self.of.actor, session, archived: self.archived, offset: self.offset, limit: wanted };
                view.records(tx, &self.tenant.log, self.of.schema, &page)
            }
        })?;
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let last = found.last().map(|(record, _)| record.body.id().to_owned());
        let next = if more { last.or(self.after) } else { None };
        Ok(Page { items: found.iter().map(|(record, agent)| (self.read)(record, agent)).collect(), next })
    }

    /// Goes on at the leaf after that of a record, through the events of the
    /// session or of the log.
    fn from(&self, view: &View, tx: &dyn ReadTx, id: &str, session: Option<[u8; 16]>, wanted: usize) -> Result<Vec<(Record, String)>> {
        let (log, schema) = (&self.tenant.log, self.of.schema);
        let Some((last, _)) = view.record(tx, log, schema, id)? else {
            return Err(Error::new(Code::NotFound, format!("there is no {id} to go on after")).with_hint("List from the beginning again."));
        };
        let agent = match &self.of.actor {
            Some(digest) => Some(view.actor(tx, log, digest)?.map(|a| a.id).unwrap_or_default()),
            None => None,
        };
        let (mut skip, mut out) = (self.offset, Vec::new());
        view.events(tx, log, (session, None), last.created + 1, &mut |event| {
            let body = match event.content {
                Content::Private(body) if event.header.kind == Kind::RECORD_PUT && body.schema == schema => body,
                _ => return Ok(true),
            };
            // A later put of the same record is no record of its own.
            let found = view.record(tx, log, schema, body.id())?.filter(|(r, _)| r.created == event.index);
            let Some((record, by)) = found.filter(|(r, by)| (self.archived || !r.archived) && agent.as_ref().is_none_or(|a| a == by))
            else {
                return Ok(true);
            };
            match skip.checked_sub(1) {
                Some(left) => skip = left,
                None => out.push((record, by)),
            }
            Ok(out.len() < wanted)
        })?;
        Ok(out)
    }
}
