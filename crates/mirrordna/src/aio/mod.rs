//! The async twin of the engine, for any executor.
//!
//! ```
//! use mirrordna::aio::Engine;
//! use mirrordna::{IdentityType, NewMemory, Content};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let builder = mirrordna::Engine::builder(dir.path().join("m.db").to_str().unwrap()).keys(mirrordna::Keys::Folder(dir.path().join("keys")));
//! # pollster::block_on(async {
//! # if false {
//! let engine = Engine::open("./mirrordna.db").await?;
//! # }
//! # let engine = Engine::open_with(builder).await?;
//! let agent = engine.identities().create(IdentityType::Agent).await?;
//! let new = NewMemory { content: Content::Text("Prefers trains to planes".into()), ..NewMemory::default() };
//! agent.memories().add(new, Some("request-17")).await?;
//! let hits = agent.memories().search("train?", 5).await?;
//! assert_eq!(hits.len(), 1);
//! // Everything else of the blocking engine:
//! let report = engine.run(|engine| engine.verify()).await?;
//! assert!(report.is_intact());
//! engine.close().await?;
//! # Ok::<(), mirrordna::Error>(())
//! # }).unwrap();
//! ```
//!
//! A call is queued at its first poll and done by one of a few threads that
//! belong to the engine; there is no global runtime, and no future of the
//! caller is ever blocked on. While the queue is full, calls wait their turn
//! (back-pressure). Appends that run at the same time share one commit, at most
//! as many as there are threads: see [`Options`].
//!
//! **Cancellation.** A future that is dropped before its first poll, or while
//! the queue was full, has done nothing. One that is dropped later has an
//! **unknown outcome**: the call is done all the same, and nobody hears how it
//! went. Whoever must know appends with an idempotency key and tries again: the
//! first result is returned, and nothing is appended twice.

mod pool;

use crate::builder::Builder;
use crate::commit::Appended;
use crate::memories::{Hit, Step, Written};
use crate::timeline::TimelineEvent;
use crate::verify::VerifyReport;
use crate::{Identities, Memories, SessionHandle, Sessions, Timeline};
use mirrordna_core::Result;
use mirrordna_core::identity::IdentityType;
use mirrordna_core::memory::{Content, Memory, MemoryPatch, NewMemory};
use mirrordna_core::session::{NewSession, Session};
use pool::Pool;
use std::sync::Arc;

/// Threads and queue of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that do the work; 2 if nothing is said. Many concurrent appends
    /// are faster with more, because more of them share one sync.
    pub threads: usize,
    /// Calls that may be queued before others wait; 1,024 if nothing is said.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 2, queue: 1_024 }
    }
}

/// A handle of the blocking engine whose calls are awaited. Clones share the
/// engine and its threads.
#[derive(Debug, Clone)]
pub struct Handle<T> {
    sync: T,
    pool: Arc<Pool>,
}

/// An open database.
pub type Engine = Handle<crate::Engine>;
/// One identity.
pub type Identity = Handle<crate::Identity>;

impl<T: Clone + Send + Sync + 'static> Handle<T> {
    /// Runs any calls of the blocking handle on one of the engine's threads.
    ///
    /// # Errors
    /// What `work` returns; `internal.bug` where it panics.
    pub async fn run<O: Send + 'static>(&self, work: impl FnOnce(&T) -> Result<O> + Send + 'static) -> Result<O> {
        let sync = self.sync.clone();
        self.pool.run(move || work(&sync)).await
    }

    /// The blocking handle.
    #[must_use]
    pub const fn blocking(&self) -> &T {
        &self.sync
    }

    fn with<U>(&self, sync: U) -> Handle<U> {
        Handle { sync, pool: self.pool.clone() }
    }
}

impl Engine {
    /// Opens the database at a path or URL, creating it if it is missing.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn open(url: impl AsRef<str>) -> Result<Self> {
        Self::open_with(crate::Engine::builder(url)).await
    }

    /// Opens a database as its builder says.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn open_with(builder: Builder) -> Result<Self> {
        Self::open_with_options(builder, Options::default()).await
    }

    /// The same with another number of threads or another queue.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn open_with_options(builder: Builder, options: Options) -> Result<Self> {
        let pool = Arc::new(Pool::new(options.threads, options.queue)?);
        let sync = pool.run(move || builder.open()).await?;
        Ok(Self { sync, pool })
    }

    /// Identities of the default tenant.
    #[must_use]
    pub fn identities(&self) -> Handle<Identities> {
        self.with(self.sync.identities())
    }

    /// Sessions of the default tenant.
    #[must_use]
    pub fn sessions(&self) -> Handle<Sessions> {
        self.with(self.sync.sessions())
    }

    /// Memories of the default tenant.
    #[must_use]
    pub fn memories(&self) -> Handle<Memories> {
        self.with(self.sync.memories())
    }

    /// Timeline of the default tenant.
    #[must_use]
    pub fn timeline(&self) -> Handle<Timeline> {
        self.with(self.sync.timeline())
    }

    /// What belongs to one tenant; [`Handle::run`] reaches it.
    ///
    /// # Errors
    /// As [`crate::Engine::tenant`].
    pub async fn tenant(&self, name: &str) -> Result<Handle<crate::Tenant>> {
        let name = name.to_owned();
        Ok(self.with(self.run(move |engine| engine.tenant(&name)).await?))
    }

    /// Checks everything.
    ///
    /// # Errors
    /// As [`crate::Engine::verify`].
    pub async fn verify(&self) -> Result<VerifyReport> {
        self.run(crate::Engine::verify).await
    }

    /// Signs what is unsigned and lets go of the database. Dropping the last
    /// handle does the same, and blocks while it does.
    ///
    /// # Errors
    /// As [`crate::Engine::close`].
    pub async fn close(self) -> Result<()> {
        self.run(|engine| engine.clone().close()).await
    }
}

impl Handle<Identities> {
    /// Creates an identity.
    ///
    /// # Errors
    /// As [`Identities::create_with`].
    pub async fn create(&self, kind: IdentityType) -> Result<Identity> {
        Ok(self.with(self.run(move |i| i.create(kind)).await?))
    }

    /// The identity with this id.
    ///
    /// # Errors
    /// As [`Identities::get`].
    pub async fn get(&self, id: &str) -> Result<Identity> {
        let id = id.to_owned();
        Ok(self.with(self.run(move |i| i.get(&id)).await?))
    }

    /// All identities, oldest first.
    ///
    /// # Errors
    /// As [`Identities::list`].
    pub async fn list(&self) -> Result<Vec<Identity>> {
        let all = self.run(Identities::list).await?;
        Ok(all.into_iter().map(|identity| self.with(identity)).collect())
    }
}

impl Identity {
    /// Display id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.sync.id()
    }

    /// Its memories.
    #[must_use]
    pub fn memories(&self) -> Handle<Memories> {
        self.with(self.sync.memories())
    }

    /// Its timeline.
    #[must_use]
    pub fn timeline(&self) -> Handle<Timeline> {
        self.with(self.sync.timeline())
    }
}

impl Handle<Sessions> {
    /// Starts a session between an agent and a user.
    ///
    /// # Errors
    /// As [`Sessions::start`].
    pub async fn start(&self, agent: &Identity, user: &Identity) -> Result<Handle<SessionHandle>> {
        let (agent, user) = (agent.sync.clone(), user.sync.clone());
        Ok(self.with(self.run(move |s| s.start(&agent, &user)).await?))
    }

    /// Starts a session with all that can be said of it.
    ///
    /// # Errors
    /// As [`Sessions::start_with`].
    pub async fn start_with(&self, agent: &Identity, new: NewSession) -> Result<Handle<SessionHandle>> {
        let agent = agent.sync.clone();
        Ok(self.with(self.run(move |s| s.start_with(&agent, new)).await?))
    }

    /// Goes on with a session.
    ///
    /// # Errors
    /// As [`Sessions::resume`].
    pub async fn resume(&self, id: &str) -> Result<Handle<SessionHandle>> {
        let id = id.to_owned();
        Ok(self.with(self.run(move |s| s.resume(&id)).await?))
    }

    /// The session with this id.
    ///
    /// # Errors
    /// As [`Sessions::get`].
    pub async fn get(&self, id: &str) -> Result<Session> {
        let id = id.to_owned();
        self.run(move |s| s.get(&id)).await
    }
}

impl Handle<SessionHandle> {
    /// Record id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.sync.id()
    }

    /// Memories of this session.
    #[must_use]
    pub fn memories(&self) -> Handle<Memories> {
        self.with(self.sync.memories())
    }

    /// Timeline of this session.
    #[must_use]
    pub fn timeline(&self) -> Handle<Timeline> {
        self.with(self.sync.timeline())
    }

    /// Ends the session.
    ///
    /// # Errors
    /// As [`SessionHandle::end_with`].
    pub async fn end(self) -> Result<()> {
        self.run(|s| s.clone().end()).await
    }
}

impl Handle<Memories> {
    /// Adds a memory, durably. With an idempotency key a second append returns
    /// the first result. Session, user and subject are those of this handle.
    ///
    /// # Errors
    /// As [`crate::Add::send`].
    pub async fn add(&self, new: NewMemory, idempotency_key: Option<&str>) -> Result<Written> {
        let key = idempotency_key.map(str::to_owned);
        self.run(move |m| m.add_new(new, key).send()).await
    }

    /// Adds a text.
    ///
    /// # Errors
    /// As [`crate::Add::send`].
    pub async fn add_text(&self, text: impl Into<String>, idempotency_key: Option<&str>) -> Result<Written> {
        self.add(NewMemory { content: Content::Text(text.into()), ..NewMemory::default() }, idempotency_key).await
    }

    /// The memory with this id.
    ///
    /// # Errors
    /// As [`Memories::get`].
    pub async fn get(&self, id: &str) -> Result<Memory> {
        let id = id.to_owned();
        self.run(move |m| m.get(&id)).await
    }

    /// Searches the memories of this scope.
    ///
    /// # Errors
    /// As [`crate::Search::run`].
    pub async fn search(&self, query: impl Into<String>, limit: usize) -> Result<Vec<Hit>> {
        let query = query.into();
        self.run(move |m| m.search(query).limit(limit).run()).await
    }

    /// Memories of this scope, a page at a time.
    ///
    /// # Errors
    /// As [`Memories::list`].
    pub async fn list(&self, offset: usize, limit: usize) -> Result<Vec<Memory>> {
        self.run(move |m| m.list(offset, limit)).await
    }

    /// Changes a memory.
    ///
    /// # Errors
    /// As [`Memories::update`].
    pub async fn update(&self, id: &str, patch: MemoryPatch) -> Result<Appended> {
        let id = id.to_owned();
        self.run(move |m| m.update(&id, patch)).await
    }

    /// Puts a memory out of ordinary view.
    ///
    /// # Errors
    /// As [`Memories::archive`].
    pub async fn archive(&self, id: &str) -> Result<Appended> {
        let id = id.to_owned();
        self.run(move |m| m.archive(&id)).await
    }

    /// All events of a memory, oldest first.
    ///
    /// # Errors
    /// As [`Memories::history`].
    pub async fn history(&self, id: &str) -> Result<Vec<Step>> {
        let id = id.to_owned();
        self.run(move |m| m.history(&id)).await
    }
}

impl Handle<Timeline> {
    /// Appends an application event, durably. With an idempotency key a second
    /// append returns the first result.
    ///
    /// # Errors
    /// As [`Timeline::append_json`].
    pub async fn append(&self, event_type: &str, payload: &serde_json::Value, idempotency_key: Option<&str>) -> Result<Appended> {
        let (event_type, payload, key) = (event_type.to_owned(), payload.to_string(), idempotency_key.map(str::to_owned));
        self.run(move |t| t.append_json(&event_type, Some(&payload), key.as_deref())).await
    }

    /// One event.
    ///
    /// # Errors
    /// As [`Timeline::get`].
    pub async fn get(&self, leaf: u64) -> Result<TimelineEvent> {
        self.run(move |t| t.get(leaf)).await
    }

    /// Events of this scope from a leaf on, at most `limit`.
    ///
    /// # Errors
    /// As [`Timeline::list`].
    pub async fn list(&self, from: u64, limit: usize) -> Result<Vec<TimelineEvent>> {
        self.run(move |t| t.list(from, limit)).await
    }
}
