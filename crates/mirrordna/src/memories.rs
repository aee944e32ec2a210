//! Memories: add, get, search, list, update, archive, history.

use crate::commit::Appended;
use crate::engine::Tenant;
use crate::listing::{Listing, Of};
use crate::view::{Content as Stored, Query, Scope};
use mirrordna_core::body::{field, schema};
use mirrordna_core::canon::Value;
use mirrordna_core::memory::{Content, Memory, MemoryPatch, NewMemory, PREFIX, Tier};
use mirrordna_core::{Code, Error, Hash, Kind, Result, limits, time};
use serde::Serialize;

/// Memories of a tenant, of an agent, or of a session, depending on where the
/// handle came from. Adding needs to know whose memory it is: an agent's or a
/// session's handle does, the tenant's reads and changes.
///
/// ```
/// use mirrordna::{Content, Engine, IdentityType, MemoryPatch, Tier};
///
/// let engine = Engine::open("memory:")?; // or "./mirrordna.db"
/// let agent = engine.identities().create(IdentityType::Agent)?;
/// let memories = agent.memories();
/// let id = memories.add("Prefers trains to planes").tier(Tier::LongTerm).tag("travel").send()?.id;
/// assert_eq!(memories.search("which train?").limit(3).run()?[0].record.id, id);
///
/// let content = Some(Content::Text("Prefers night trains".into()));
/// memories.update(&id, MemoryPatch { content, ..MemoryPatch::default() })?;
/// memories.archive(&id)?;
/// assert!(memories.list(0, 10)?.is_empty());
/// assert_eq!(memories.get(&id)?.content, "Prefers night trains");
/// assert_eq!(memories.history(&id)?[0].content.as_deref(), Some("Prefers trains to planes"));
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Memories {
    pub(crate) tenant: Tenant,
    pub(crate) actor: Option<Hash>,
    pub(crate) session: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) user: Option<String>,
}

/// A memory that was written: its id and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Record id.
    pub id: String,
    /// Where its event is.
    pub event: Appended,
}

/// A memory about to be added.
#[derive(Debug)]
#[must_use = "nothing is written before `send`"]
pub struct Add {
    memories: Memories,
    new: NewMemory,
    once: Option<String>,
}

impl Add {
    /// Its tier; episodic if nothing is said.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.new.tier = tier;
        self
    }

    /// A label; at most [`limits::TAGS`] of at most [`limits::NAME`] bytes.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.new.tags.push(tag.into());
        self
    }

    /// Who said it.
    pub fn speaker(mut self, speaker: impl Into<String>) -> Self {
        self.new.speaker = Some(speaker.into());
        self
    }

    /// Role of the speaker.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.new.role = Some(role.into());
        self
    }

    /// Whose data it is; the session's user if nothing is said.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.new.subject = Some(subject.into());
        self
    }

    /// JSON metadata, kept verbatim.
    pub fn metadata(mut self, json: impl Into<String>) -> Self {
        self.new.metadata = Some(json.into());
        self
    }

    /// When it happened, milliseconds since 1970-01-01 UTC.
    pub fn occurred_at(mut self, ms: i64) -> Self {
        self.new.occurred_at = Some(ms);
        self
    }

    /// A key of the caller: a second append with the same key appends nothing
    /// and returns the first result.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.once = Some(key.into());
        self
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// `input.invalid`, `json.invalid`, `limit.exceeded`, `key.missing`, `store.*`.
    pub fn send(self) -> Result<Written> {
        let Self { memories, mut new, once } = self;
        let actor = memories.actor()?;
        new.session = memories.session.clone();
        new.user = memories.user.clone();
        new.subject = new.subject.or_else(|| memories.subject.clone());
        let once = once.map(|key| memories.tenant.log.once_tag(&["memory", &key])).transpose()?;
        let entropy = memories.tenant.inner.draw(1)?;
        let id = memories.tenant.new_id_with(PREFIX, &entropy)?;
        let mut body = new.into_body(&id)?;
        if let Some(tag) = once {
            body.set(field::DEDUPE, Value::Bytes(tag.to_vec()));
        }
        let event = memories.tenant.append_with(&actor, Kind::RECORD_PUT, &body, once, &entropy)?;
        let id = if event.existed { memories.id_at(event.index)? } else { id };
        Ok(Written { id, event })
    }
}

/// A memory found by a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Its score, higher is better, without unit. It depends on what else there
    /// is in the scope: compare it within one answer only.
    pub score: f64,
    /// The memory.
    pub record: Memory,
}

/// A search about to run.
#[derive(Debug)]
#[must_use = "nothing is searched before `run`"]
pub struct Search {
    memories: Memories,
    query: String,
    limit: usize,
}

impl Search {
    /// At most this many hits; 10 if nothing is said.
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The hits, best first.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*` where the log cannot
    /// be read, `log.altered` where its evidence does not hold.
    pub fn run(self) -> Result<Vec<Hit>> {
        let Self { memories, query, limit } = self;
        memories.tenant.log.readable()?;
        let scope = Scope { actor: memories.actor, session: memories.session.clone() };
        let limit = limit.min(limits::RESULTS);
        let found = memories.tenant.view(|view, tx| view.search(tx, &memories.tenant.log, &query, limit, &scope))?;
        Ok(found.into_iter().map(|(record, score)| Hit { score, record }).collect())
    }
}

/// One step in the life of a memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Leaf of the event.
    pub leaf: u64,
    /// Header time, RFC 3339.
    pub time: String,
    /// `record.put`, `record.patch` or `record.archive`.
    pub kind: &'static str,
    /// Content that this event brought, where it did and where it is readable.
    pub content: Option<String>,
}

impl Memories {
    fn actor(&self) -> Result<Hash> {
        self.actor.ok_or_else(|| {
            Error::new(Code::InputInvalid, "a memory belongs to an agent")
                .with_hint("Write through an agent's or a session's memories: agent.memories().add(…).")
        })
    }

    /// Adds a text.
    pub fn add(&self, text: impl Into<String>) -> Add {
        self.adding(Content::Text(text.into()))
    }

    /// Adds a JSON document.
    pub fn add_json(&self, json: impl Into<String>) -> Add {
        self.adding(Content::Json(json.into()))
    }

    /// Adds many memories in one atomic, durable commit: all of them or none.
    /// Session, user and subject are those of this handle where a memory names
    /// none.
    ///
    /// # Errors
    /// `limit.exceeded` for more than a batch holds; as [`Add::send`] otherwise.
    pub fn add_all(&self, new: Vec<NewMemory>) -> Result<Vec<Written>> {
        let actor = self.actor()?;
        let (inner, log) = (&self.tenant.inner, &self.tenant.log);
        let entropy = inner.draw(new.len())?;
        let mut ids = Vec::with_capacity(new.len());
        let mut drafts = Vec::with_capacity(new.len());
        for mut memory in new {
            memory.session = memory.session.or_else(|| self.session.clone());
            memory.user = memory.user.or_else(|| self.user.clone());
            memory.subject = memory.subject.or_else(|| self.subject.clone());
            let id = self.tenant.new_id_with(PREFIX, &entropy)?;
            drafts.push((inner.draft_with(log, &actor, Kind::RECORD_PUT, &memory.into_body(&id)?, &entropy)?, None));
            ids.push(id);
        }
        let placed = inner.append(log, &actor, drafts)?;
        Ok(ids.into_iter().zip(placed).map(|(id, event)| Written { id, event }).collect())
    }

    fn adding(&self, content: Content) -> Add {
        self.add_new(NewMemory { content, ..NewMemory::default() }, None)
    }

    pub(crate) fn add_new(&self, new: NewMemory, once: Option<String>) -> Add {
        Add { memories: self.clone(), new, once }
    }

    /// Searches the memories of this scope by words, archived ones left out.
    /// No model is asked: the same memories give the same answer.
    pub fn search(&self, query: impl Into<String>) -> Search {
        Search { memories: self.clone(), query: query.into(), limit: 10 }
    }

    /// The memory with this id.
    ///
    /// # Errors
    /// `id.invalid`; `record.not_found`; `key.missing` where contents are
    /// locked, because the keyring of the database is not here.
    pub fn get(&self, id: &str) -> Result<Memory> {
        mirrordna_core::id::check(id, PREFIX)?;
        self.tenant.log.readable()?;
        let found = self.tenant.view(|view, tx| view.record(tx, &self.tenant.log, schema::MEMORY, id))?;
        let (record, agent) = found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no memory {id}")))?;
        Ok(Memory::from_record(&record, &agent))
    }

    /// Memories of this scope in order of writing, a page at a time; archived
    /// ones are left out.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*` where the log cannot
    /// be read, `log.altered` where its evidence does not hold.
    pub fn list(&self, offset: usize, limit: usize) -> Result<Vec<Memory>> {
        self.tenant.log.readable()?;
        let session = self.session.as_deref().map(|s| self.tenant.log.session_tag(s)).transpose()?;
        let page = Query { actor: self.actor, session, archived: false, from: 0, offset, limit: limit.min(limits::RESULTS) };
        let found = self.tenant.view(|view, tx| view.records(tx, &self.tenant.log, schema::MEMORY, &page))?;
        Ok(found.iter().map(|(r, a)| Memory::from_record(r, a)).collect())
    }

    /// Memories of this scope in order of writing, to be listed after an id, with
    /// archived ones, or both.
    pub fn listing(&self) -> Listing<Memory> {
        let of = Of { schema: schema::MEMORY, prefix: PREFIX, actor: self.actor, session: self.session.clone() };
        Listing::new(self.tenant.clone(), of, Memory::from_record)
    }

    /// Number of memories of the tenant, archived ones included.
    ///
    /// # Errors
    /// `key.missing` where contents are locked; `store.*`, `log.altered`.
    pub fn count(&self) -> Result<u64> {
        self.tenant.log.readable()?;
        self.tenant.view(|view, tx| view.count(tx, &self.tenant.log, schema::MEMORY))
    }

    /// Changes content, tier, tags or metadata; the old state stays in the
    /// history.
    ///
    /// # Errors
    /// `record.not_found`, `input.invalid`, `json.invalid`, `key.missing`, `store.*`.
    pub fn update(&self, id: &str, patch: MemoryPatch) -> Result<Appended> {
        self.change(id, Kind::RECORD_PATCH, patch)
    }

    /// Puts a memory out of lists and searches; it stays readable by its id, and
    /// nothing is erased.
    ///
    /// # Errors
    /// `record.not_found`, `key.missing`, `store.*`.
    pub fn archive(&self, id: &str) -> Result<Appended> {
        self.change(id, Kind::RECORD_ARCHIVE, MemoryPatch::default())
    }

    fn change(&self, id: &str, kind: Kind, patch: MemoryPatch) -> Result<Appended> {
        let old = self.get(id)?;
        let actor = crate::identities::Identities { tenant: self.tenant.clone() }.get(&old.agent)?.digest;
        let mut body = patch.into_body(id)?;
        for (number, value) in [(field::SUBJECT, &old.subject), (field::SESSION, &old.session)] {
            if let Some(value) = value {
                body.set(number, value.as_str().into());
            }
        }
        self.tenant.append(&actor, kind, &body, None)
    }

    /// All events of a memory, oldest first: what it said before each change.
    ///
    /// # Errors
    /// `id.invalid`, `record.not_found`, `key.missing`; `log.altered` where its
    /// evidence does not hold.
    pub fn history(&self, id: &str) -> Result<Vec<Step>> {
        self.get(id)?;
        steps(&self.tenant, id)
    }

    fn id_at(&self, index: u64) -> Result<String> {
        self.tenant.view(|view, tx| match view.event(tx, &self.tenant.log, index)?.map(|e| e.content) {
            Some(Stored::Private(body)) => Ok(body.id().to_owned()),
            _ => Err(Error::new(Code::Erased, "the first result of this idempotency key was erased")),
        })
    }
}

/// The events of a record, oldest first.
pub(crate) fn steps(tenant: &Tenant, id: &str) -> Result<Vec<Step>> {
    tenant.view(|view, tx| {
        let mut steps = Vec::new();
        for index in view.history(tx, &tenant.log, id)? {
            let Some(event) = view.event(tx, &tenant.log, index)? else { continue };
            let content = match &event.content {
                Stored::Private(body) => body.payload_text().map(str::to_owned),
                _ => None,
            };
            let at = i64::try_from(event.header.time).unwrap_or(i64::MAX);
            steps.push(Step { leaf: index, time: time::rfc3339(at), kind: event.header.kind.name().unwrap_or("unknown"), content });
        }
        Ok(steps)
    })
}
