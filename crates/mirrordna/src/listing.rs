//! Listings of records, a page at a time.

use crate::engine::Tenant;
use crate::view::Query;
use mirrordna_core::record::Record;
use mirrordna_core::{Code, Error, Hash, Result, limits};

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
        let (log, schema) = (&self.tenant.log, self.of.schema);
        let mut found = self.tenant.view(|view, tx| {
            let from = match &self.after {
                None => 0,
                Some(id) => {
                    let last = view.record(tx, log, schema, id)?.ok_or_else(|| {
                        Error::new(Code::NotFound, format!("there is no {id} to go on after")).with_hint("List from the beginning again.")
                    })?;
                    last.0.created + 1
                }
            };
            let query = Query { actor: self.of.actor, session, archived: self.archived, from, offset: self.offset, limit: wanted };
            view.records(tx, log, schema, &query)
        })?;
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let last = found.last().map(|(record, _)| record.body.id().to_owned());
        let next = if more { last.or(self.after) } else { None };
        Ok(Page { items: found.iter().map(|(record, agent)| (self.read)(record, agent)).collect(), next })
    }
}
