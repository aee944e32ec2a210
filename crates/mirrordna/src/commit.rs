//! Group commit by leader and followers.
//!
//! Callers queue jobs. The first one becomes the leader and commits everything
//! that is queued in one transaction; the others park and are handed their
//! results. No thread hop for a single caller, no timer: while one commit
//! syncs, the next group forms by itself.

mod log_key;

use crate::keyring::hex;
use crate::log::{Edge, Epoch, Head, Log, State, Term, lock};
use crate::view::{Plan, Target, View};
use mirrordna_core::cipher::{Secret, Wrapped};
use mirrordna_core::erasure::Reason;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::{Draft, DraftBody, Place, TILE, leaf_data};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::{leaf, merkle};
use mirrordna_core::{Clock, Code, Entropy, Error, Hash, Header, Kind, Leaf, Result, limits};
use mirrordna_storage::{LogRow, ReadTx, Store, SubjectRow, WriteTx};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;

/// Every how many events of an actor one is signed.
const SIGN_EVERY: u64 = 64;

/// Whose key speaks for an event.
#[derive(Clone)]
pub(crate) enum Speaker {
    /// An epoch of this process.
    Epoch(Arc<Epoch>),
    /// The actor key itself, for the actor's first event in the log, which brings
    /// it; with the SHA-256 of the last line of the DID log. Where the actor has
    /// events already, nothing is appended.
    Entry(Arc<SecretKey>, Hash),
    /// The actor key, for an event after the one that brought it, which has this
    /// `aseq`.
    Actor(Arc<SecretKey>, u64),
    /// The actor key of a version that the event itself brings, for an actor who
    /// has a chain.
    Version(Arc<SecretKey>),
}

/// One event to append.
pub(crate) struct Item {
    pub(crate) actor: Hash,
    pub(crate) speaker: Speaker,
    pub(crate) draft: Draft,
    /// If an event with this tag exists already, it is the result.
    pub(crate) once: Option<[u8; 16]>,
}

/// An event in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its position in the tenant's timeline: the index of the leaf in its log;
    /// after a fork, plus the events of the logs before that one.
    pub index: u64,
    /// Leaf hash: the event's name in proofs and references.
    pub leaf: Hash,
    /// Header time, milliseconds.
    pub time: u64,
    /// An earlier append with the same idempotency key was found; nothing was
    /// appended.
    pub existed: bool,
}

/// Events of one log that are committed together or not at all.
pub(crate) struct Job {
    pub(crate) log: Arc<Log>,
    pub(crate) items: Vec<Item>,
    /// Also sign a checkpoint over the result.
    pub(crate) checkpoint: bool,
}

type Outcome = Result<Vec<Appended>>;

/// Finds what is to be erased.
pub(crate) type Planning<'a> = &'a mut dyn FnMut(&mut View, &dyn ReadTx) -> Result<Plan>;

/// A job and its outcome. The job goes back to whoever made it: to free the
/// memory of another thread is to wait for that thread's allocations.
type Done = (Job, Outcome);

/// What those who joined a group wait for.
#[derive(Default)]
struct Signals {
    /// The first of them: that it leads.
    lead: OnceLock<()>,
    /// The others: what became of each job, in the order in which they joined.
    done: OnceLock<Vec<Mutex<Option<Done>>>>,
}

/// Jobs that are committed together.
struct Group {
    jobs: Vec<Job>,
    events: usize,
    bytes: usize,
    signals: Arc<Signals>,
}

#[derive(Default)]
struct Queue {
    groups: VecDeque<Group>,
    /// Somebody commits, or was told to.
    led: bool,
}

impl Queue {
    /// Puts a job into the last group that is waiting or, where it does not
    /// fit, into a new one; returns its place there.
    fn join(&mut self, job: Job, bytes: usize) -> (Arc<Signals>, usize) {
        let events = job.items.len();
        let fits = |g: &&mut Group| g.events + events <= limits::BATCH_EVENTS && g.bytes + bytes <= limits::BATCH_BYTES;
        if let Some(group) = self.groups.back_mut().filter(fits) {
            group.events += events;
            group.bytes += bytes;
            group.jobs.push(job);
            return (group.signals.clone(), group.jobs.len() - 1);
        }
        let signals = Arc::<Signals>::default();
        self.groups.push_back(Group { jobs: vec![job], events, bytes, signals: signals.clone() });
        (signals, 0)
    }
}

/// The queue of one store.
pub(crate) struct Committer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Sign every event instead of every 64th.
    sign_all: bool,
    queue: Mutex<Queue>,
}

impl Committer {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, sign_all: bool) -> Self {
        Self { store, clock, entropy, sign_all, queue: Mutex::default() }
    }

    /// Appends the items of a job, durably, in one commit with whoever else is
    /// waiting.
    pub(crate) fn append(&self, job: Job) -> Outcome {
        self.submit(job).1
    }

    /// The same; the job comes back, unless it was lost on the way, so that what
    /// could not be placed can be tried again.
    pub(crate) fn submit(&self, job: Job) -> (Option<Job>, Outcome) {
        let rows: usize = job.items.iter().filter_map(|i| i.draft.row()).map(<[u8]>::len).sum();
        if job.items.len() > limits::BATCH_EVENTS || rows > limits::BATCH_BYTES {
            let message = format!(
                "a batch of {} events and {rows} bytes; the limits are {} and {}",
                job.items.len(),
                limits::BATCH_EVENTS,
                limits::BATCH_BYTES
            );
            return (Some(job), Err(Error::new(Code::LimitExceeded, message)));
        }
        let (signals, place, leads) = {
            let mut queue = lock(&self.queue);
            let (signals, place) = queue.join(job, rows);
            (signals, place, !std::mem::replace(&mut queue.led, true))
        };
        if leads {
            return self.lead();
        }
        if place == 0 {
            signals.lead.wait();
            self.gather();
            return self.lead();
        }
        match signals.done.wait().get(place).and_then(|done| lock(done).take()) {
            Some((job, outcome)) => (Some(job), outcome),
            None => (None, Err(Error::new(Code::Bug, "a commit left a job without an outcome"))),
        }
    }

    /// Commits the group at the front of the queue, whose first job is the
    /// caller's, and hands the lead on; returns that job and its outcome.
    fn lead(&self) -> (Option<Job>, Outcome) {
        let Some(group) = lock(&self.queue).groups.pop_front() else {
            return (None, Err(Error::new(Code::Bug, "a group was committed by another than its first")));
        };
        let outcomes = self.commit(&group.jobs);
        let mut done = group.jobs.into_iter().zip(outcomes);
        let own = match done.next() {
            Some((job, outcome)) => (Some(job), outcome),
            None => (None, Err(Error::new(Code::Bug, "a group without a job"))),
        };
        if done.len() > 0 {
            // One wake for all of the group: nobody else waits for this.
            let others = std::iter::once(Mutex::default()).chain(done.map(|d| Mutex::new(Some(d))));
            let _first = group.signals.done.set(others.collect());
        }
        self.hand_on();
        own
    }

    /// Callers that were just answered are about to come back: lets those that
    /// can run join the group at the front, as long as any do. A sync for half
    /// of them costs what one for all does.
    fn gather(&self) {
        let mut seen = 0;
        loop {
            let now = lock(&self.queue).groups.front().map_or(0, |g| g.jobs.len());
            if now <= seen {
                return;
            }
            seen = now;
            thread::yield_now();
        }
    }

    /// Lets the first of the next group lead.
    fn hand_on(&self) {
        let next = {
            let mut queue = lock(&self.queue);
            queue.led = !queue.groups.is_empty();
            queue.groups.front().map(|next| next.signals.clone())
        };
        if let Some(next) = next {
            let _first = next.lead.set(());
        }
    }

    fn commit(&self, jobs: &[Job]) -> Vec<Outcome> {
        let all: Vec<&Job> = jobs.iter().collect();
        match self.transact(&all) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(first) if jobs.len() == 1 => vec![Err(first)],
            // One bad job must not fail the others: each is tried alone.
            Err(_) => jobs.iter().map(|job| self.transact(&[job]).map(|mut o| o.pop().unwrap_or_default())).collect(),
        }
    }

    /// Erases what `plan` finds in the state that it is shown: the bodies and
    /// their secrets, the keys of subjects of whom nothing is left, and the
    /// `erase` events that say so, in one transaction. `epoch` speaks for the
    /// log's own actor. The plan is made inside the transaction, so that no
    /// process can add what would be missed, or erase the same.
    pub(crate) fn erase(&self, log: &Arc<Log>, epoch: &Arc<Epoch>, reason: Reason, plan: Planning<'_>) -> Result<(Plan, Vec<Appended>)> {
        let mut state = lock(&log.state);
        let mut done = None;
        self.store.write(&mut |tx| {
            if log.poisoned.load(Ordering::Acquire) {
                let message = format!("log {} refuses writes: its evidence was altered while it was open", log.number);
                return Err(Error::new(Code::Altered, message));
            }
            let row = log.refresh(tx, &mut state)?;
            let plan = {
                let mut view = lock(&log.view);
                view.catch_up(tx, log)?;
                let plan = view.surely(tx, log, &mut |view| plan(view, tx))?;
                view.strike_parts(tx, log, &plan)?;
                plan
            };
            let mut staged = Staged::new(log, row, &state, self.clock.now_ms(), self.sign_all);
            log.destroy(tx, &plan)?;
            let mut placed = Vec::new();
            for some in plan.targets.chunks(limits::REFS) {
                let item =
                    Item { actor: epoch.actor, speaker: Speaker::Epoch(epoch.clone()), draft: erase_draft(reason, some)?, once: None };
                placed.push(staged.append(tx, &state, &item, &*self.entropy)?);
            }
            if let Some(last) = placed.last() {
                staged.write_row(tx)?;
                crate::erasure::settle::note(tx, log.number, last.index + 1)?;
            }
            done = Some((staged, plan, placed));
            Ok(())
        })?;
        let Some((staged, plan, placed)) = done else { return Err(Error::new(Code::Bug, "a write returned nothing")) };
        if !placed.is_empty() {
            staged.install(&mut state);
            // Keys of subjects that are gone must not be used again.
            state.subjects.clear();
            lock(&log.subjects).clear();
        }
        Ok((plan, placed))
    }

    fn transact(&self, jobs: &[&Job]) -> Result<Vec<Vec<Appended>>> {
        let logs: BTreeMap<u32, Arc<Log>> = jobs.iter().map(|j| (j.log.number, j.log.clone())).collect();
        let mut outcomes = Vec::new();
        self.transaction(&logs, &mut |tx, staging| {
            outcomes.clear();
            for (number, log) in &logs {
                let once = jobs.iter().any(|j| j.log.number == *number && j.items.iter().any(|i| i.once.is_some()));
                if once {
                    lock(&log.view).catch_up(tx, log)?;
                }
            }
            jobs.iter().try_for_each(|job| staging.append(tx, job).map(|placed| outcomes.push(placed)))
        })?;
        for (job, placed) in jobs.iter().zip(&outcomes) {
            trace_events(job, placed);
        }
        Ok(outcomes)
    }

    /// Appends to several logs in one commit, by itself: the jobs are made from
    /// what `make` finds in the transaction, where nobody else can write.
    pub(crate) fn append_made(&self, logs: &[Arc<Log>], make: Make<'_>) -> Result<Vec<Vec<Appended>>> {
        let logs: BTreeMap<u32, Arc<Log>> = logs.iter().map(|log| (log.number, log.clone())).collect();
        let (mut jobs, mut outcomes) = (Vec::new(), Vec::new());
        self.transaction(&logs, &mut |tx, staging| {
            outcomes.clear();
            jobs = make(tx)?;
            jobs.iter().try_for_each(|job| staging.append(tx, job).map(|placed| outcomes.push(placed)))
        })?;
        for (job, placed) in jobs.iter().zip(&outcomes) {
            trace_events(job, placed);
        }
        Ok(outcomes)
    }

    /// Runs `work` in one transaction over logs that agree with the store.
    fn transaction(&self, logs: &BTreeMap<u32, Arc<Log>>, work: Work<'_>) -> Result<()> {
        if let Some(log) = logs.values().find(|log| log.poisoned.load(Ordering::Acquire)) {
            return Err(Error::new(
                Code::Altered,
                format!("log {} refuses writes: its evidence was altered while it was open", log.number),
            ));
        }
        // Whoever takes several of these locks takes them by number, so they
        // cannot deadlock.
        let mut states: BTreeMap<u32, _> = logs.iter().map(|(n, log)| (*n, lock(&log.state))).collect();
        let mut staged: BTreeMap<u32, Staged<'_>> = BTreeMap::new();
        let (clock, entropy, sign_all) = (&*self.clock, &*self.entropy, self.sign_all);
        self.store.write(&mut |tx| {
            staged.clear();
            for (number, log) in logs {
                let Some(state) = states.get_mut(number) else { continue };
                let row = log.refresh(tx, state)?;
                staged.insert(*number, Staged::new(log, row, state, clock.now_ms(), sign_all));
            }
            let mut staging = Staging { states: &states, staged: &mut staged, entropy };
            work(tx, &mut staging)?;
            staged.values_mut().try_for_each(|s| s.write_row(tx))
        })?;
        for (number, staged) in staged {
            if let Some(state) = states.get_mut(&number) {
                staged.install(state);
            }
        }
        Ok(())
    }
}

/// Makes jobs from what a transaction finds.
type Make<'a> = &'a mut dyn FnMut(&mut dyn WriteTx) -> Result<Vec<Job>>;
/// Appends jobs in a transaction.
type Work<'a> = &'a mut dyn FnMut(&mut dyn WriteTx, &mut Staging<'_, '_>) -> Result<()>;

/// The logs of a transaction that is under way.
struct Staging<'a, 'l> {
    states: &'a BTreeMap<u32, MutexGuard<'l, State>>,
    staged: &'a mut BTreeMap<u32, Staged<'l>>,
    entropy: &'a dyn Entropy,
}

impl Staging<'_, '_> {
    fn append(&mut self, tx: &mut dyn WriteTx, job: &Job) -> Result<Vec<Appended>> {
        let (Some(staged), Some(state)) = (self.staged.get_mut(&job.log.number), self.states.get(&job.log.number)) else {
            return Err(Error::new(Code::Bug, "a job for a log that the transaction does not have"));
        };
        let placed = job.items.iter().map(|item| staged.append(tx, state, item, self.entropy)).collect::<Result<Vec<_>>>()?;
        staged.checkpoint |= job.checkpoint;
        Ok(placed)
    }
}

/// The event that says what was erased.
fn erase_draft(reason: Reason, targets: &[Target]) -> Result<Draft> {
    let records: Vec<u8> = targets.iter().flat_map(|t| &t.records).flatten().copied().collect();
    let once: Vec<u8> = targets.iter().filter_map(|t| t.once).flatten().collect();
    let emptied: BTreeSet<[u8; 16]> = targets.iter().flat_map(|t| t.emptied.iter().copied()).collect();
    let subjects: Vec<u8> = emptied.into_iter().flatten().collect();
    let positions = targets.iter().map(|t| t.position).collect();
    let count = targets.len() as u64;
    let body = PublicBody::Erase { reason: reason.number(), count, positions, records: &records, once: &once, subjects: &subjects };
    Draft::public(&body).referring_to(targets.iter().map(|t| t.leaf).collect())
}

/// One line per event at level debug; the request id is the event's own name.
fn trace_events(job: &Job, placed: &[Appended]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for (item, event) in job.items.iter().zip(placed) {
        tracing::debug!(
            request_id = %hex(&event.leaf),
            log = job.log.number,
            leaf = event.index,
            kind = item.draft.kind.name().unwrap_or("unknown"),
            existed = event.existed,
            "appended"
        );
    }
}

/// A log's state while a transaction is under way; installed if it commits.
struct Staged<'a> {
    log: &'a Log,
    /// The log's row as it was found.
    row: LogRow,
    edge: Edge,
    heads: HashMap<Hash, Head>,
    subjects: HashMap<Hash, (u64, Secret)>,
    once: HashMap<[u8; 16], Appended>,
    /// Epochs opened in this transaction, with their `aseq`.
    opened: Vec<(Arc<Epoch>, u64)>,
    /// Epochs that ended in it.
    closed: Vec<Arc<Epoch>>,
    /// Events that change who speaks for an actor, with their bodies.
    changes: Vec<(Header, u64, Vec<u8>)>,
    /// Per epoch: unsigned leaves that were added, and whether a signature
    /// covered the earlier ones.
    unsigned: Vec<(Arc<Epoch>, u64, Hash, bool)>,
    now: u64,
    sign_all: bool,
    checkpoint: bool,
    released: Option<String>,
}

impl<'a> Staged<'a> {
    fn new(log: &'a Log, row: LogRow, state: &State, now: u64, sign_all: bool) -> Self {
        Self {
            log,
            row,
            edge: state.edge.clone().unwrap_or_default(),
            heads: HashMap::new(),
            subjects: HashMap::new(),
            once: HashMap::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            changes: Vec::new(),
            unsigned: Vec::new(),
            now,
            sign_all,
            checkpoint: false,
            released: None,
        }
    }

    fn append(&mut self, tx: &mut dyn WriteTx, state: &State, item: &Item, entropy: &dyn Entropy) -> Result<Appended> {
        if let Some(tag) = &item.once {
            let earlier = match self.once.get(tag) {
                Some(earlier) => Some(*earlier),
                None => lock(&self.log.view).surely(tx, self.log, &mut |view| view.once(tx, self.log, tag))?,
            };
            if let Some(earlier) = earlier {
                return Ok(Appended { existed: true, ..earlier });
            }
        }
        if let Speaker::Epoch(epoch) = &item.speaker {
            let mut term = state.changes.term(epoch);
            if term == Term::Late && self.is_over(epoch) {
                term = Term::Ended;
            }
            if term != Term::Open {
                self.log.forget(epoch, term);
            }
            match (item.draft.kind, term) {
                (_, Term::Open) => {}
                (Kind::SEAL | Kind::EPOCH_CLOSE, Term::Late) => return self.last_word(tx, state, epoch, item, entropy),
                // What was not signed by then stays so, and there is nothing to end.
                (Kind::SEAL | Kind::EPOCH_CLOSE, Term::Ended) => {
                    let index = self.log.base + self.edge.tree.size();
                    return Ok(Appended { index, leaf: [0; 32], time: self.edge.time, existed: true });
                }
                _ => return Err(Error::new(Code::KeyExpired, "the actor's epoch was ended elsewhere before the event could be placed")),
            }
        }
        if let Speaker::Epoch(epoch) = &item.speaker
            && epoch.opened().is_none()
            && !self.opened.iter().any(|(e, _)| Arc::ptr_eq(e, epoch))
        {
            self.open_epoch(tx, state, epoch, entropy)?;
        }
        let head = match self.heads.get(&item.actor) {
            Some(head) => Some(*head),
            // Nobody spoke before as an identity that was just made; where one
            // enters after a fork, its draft refers to what it said before.
            None if matches!(item.speaker, Speaker::Entry(..)) && item.draft.refs.is_empty() => self.log.head(tx, state, &item.actor)?,
            None => self.log.last_head(tx, state, &item.actor)?,
        };
        if let (Speaker::Entry(..), Some(head)) = (&item.speaker, head) {
            // Another thread or process brought the actor here first.
            return Ok(Appended { index: self.log.base + head.index, leaf: head.last, time: self.edge.time, existed: true });
        }
        let placed = self.place(tx, state, item, head, entropy)?;
        if let Some(tag) = item.once {
            self.once.insert(tag, placed);
        }
        Ok(placed)
    }

    /// Whether an epoch has had its last word, in this transaction or before, or
    /// its time is over.
    fn is_over(&self, epoch: &Arc<Epoch>) -> bool {
        epoch.is_closed() || self.closed.iter().any(|c| Arc::ptr_eq(c, epoch)) || self.edge.time.max(self.now) > epoch.not_after
    }

    /// Lets an epoch that a rotation ended sign what it had written.
    fn last_word(
        &mut self,
        tx: &mut dyn WriteTx,
        state: &State,
        epoch: &Arc<Epoch>,
        item: &Item,
        entropy: &dyn Entropy,
    ) -> Result<Appended> {
        let head = match self.heads.get(&epoch.actor) {
            Some(head) => Some(*head),
            None => self.log.last_head(tx, state, &epoch.actor)?,
        };
        let placed = self.place(tx, state, item, head, entropy)?;
        if !self.closed.iter().any(|c| Arc::ptr_eq(c, epoch)) {
            self.closed.push(epoch.clone());
        }
        Ok(placed)
    }

    /// The same for epochs of this actor that wait for that, before another one
    /// is opened.
    fn last_words(&mut self, tx: &mut dyn WriteTx, state: &State, actor: &Hash, entropy: &dyn Entropy) -> Result<()> {
        let late: Vec<_> = lock(&self.log.late).iter().filter(|e| e.actor == *actor).cloned().collect();
        for epoch in late {
            if state.changes.term(&epoch) == Term::Late && !self.is_over(&epoch) {
                let item = Item { actor: *actor, speaker: Speaker::Epoch(epoch.clone()), draft: Draft::empty(Kind::SEAL), once: None };
                self.last_word(tx, state, &epoch, &item, entropy)?;
            }
        }
        Ok(())
    }

    fn open_epoch(&mut self, tx: &mut dyn WriteTx, state: &State, epoch: &Arc<Epoch>, entropy: &dyn Entropy) -> Result<()> {
        self.last_words(tx, state, &epoch.actor, entropy)?;
        let head = match self.heads.get(&epoch.actor) {
            Some(head) => Some(*head),
            None => self.log.last_head(tx, state, &epoch.actor)?,
        };
        let aseq = head.map_or(0, |h| h.next);
        let ends = match head {
            Some(head) if head.index < self.log.left_behind => self.left_open(tx, head.index)?,
            _ => Vec::new(),
        };
        let body = PublicBody::EpochOpen {
            key: epoch.key.public().to_bytes(),
            version: epoch.version,
            not_after: epoch.not_after,
            certificate: epoch.certificate,
            ends,
        };
        self.opened.push((epoch.clone(), aseq));
        let item = Item { actor: epoch.actor, speaker: Speaker::Epoch(epoch.clone()), draft: Draft::public(&body), once: None };
        self.place(tx, state, &item, head, entropy).map(drop)
    }

    /// The epoch that a process which is gone left open, by the last event of
    /// its actor.
    fn left_open(&self, tx: &dyn WriteTx, index: u64) -> Result<Vec<u64>> {
        let leaf = tx.leaf(self.log.number, index)?;
        let header = leaf.map(|data| Leaf::decode(&data).map(|leaf| leaf.header)).transpose()?;
        Ok(header.filter(|h| h.kind != Kind::EPOCH_CLOSE).map(|h| h.signer).into_iter().collect())
    }

    fn place(&mut self, tx: &mut dyn WriteTx, state: &State, item: &Item, head: Option<Head>, entropy: &dyn Entropy) -> Result<Appended> {
        // Who took the epoch before the engine was closed may come after that.
        if matches!(&item.speaker, Speaker::Epoch(e) if e.is_closed() || self.closed.iter().any(|c| Arc::ptr_eq(c, e))) {
            return Err(Error::new(Code::StoreClosed, "the engine was closed before the event could be placed"));
        }
        let aseq = head.map_or(0, |h| h.next);
        let (signer, key) = match &item.speaker {
            Speaker::Epoch(epoch) => {
                let opened = epoch.opened().or_else(|| self.opened.iter().find(|(e, _)| Arc::ptr_eq(e, epoch)).map(|(_, a)| *a));
                (opened.unwrap_or(aseq), &epoch.key)
            }
            Speaker::Entry(key, _) | Speaker::Version(key) => (aseq, &**key),
            Speaker::Actor(key, signer) => (*signer, &**key),
        };
        let prev = match (head, &item.speaker) {
            (Some(head), _) => head.last,
            (None, Speaker::Entry(_, line)) => *line,
            (None, _) => return Err(Error::new(Code::Bug, "an actor without an identity entry tried to append")),
        };
        self.edge.time = self.edge.time.max(self.now);
        if matches!(&item.speaker, Speaker::Epoch(e) if self.edge.time > e.not_after) {
            return Err(Error::new(Code::KeyExpired, "the epoch of this actor ended before the event could be placed"));
        }
        let place = Place { log: self.log.id, actor: item.actor, aseq, prev, signer, time: self.edge.time };
        let header = item.draft.place(&place);
        let sign = self.sign_all
            || header.kind.must_be_signed()
            || item.draft.signed
            || !matches!(item.speaker, Speaker::Epoch(_))
            || aseq % SIGN_EVERY == SIGN_EVERY - 1;
        let data = leaf_data(&header, sign.then_some(key));
        let index = self.edge.tree.size();
        let hash = leaf::hash(&data);
        let secret = match &item.draft.body {
            DraftBody::Private(sealed) => Some(self.wrap(tx, state, &sealed.subject, &sealed.secret, entropy)?),
            DraftBody::None | DraftBody::Public(_) => None,
        };
        let secret = secret.as_ref().map(|(subject, wrapped)| (*subject, wrapped));
        tx.put_event(self.log.number, index, &data, item.draft.row(), secret)?;
        if let Some((number, tile)) = self.edge.tree.push(hash) {
            put_tiles(tx, self.log.number, number, &tile)?;
        }
        self.heads.insert(item.actor, Head { next: aseq + 1, last: hash, index });
        if matches!(header.kind, Kind::IDENTITY_ENTRY | Kind::IDENTITY_RECOVER | Kind::EPOCH_REVOKE) {
            self.changes.push((header.clone(), index, item.draft.row().unwrap_or_default().to_vec()));
        }
        if let Speaker::Epoch(epoch) = &item.speaker {
            self.unsigned.push((epoch.clone(), index, hash, sign));
            if header.kind == Kind::EPOCH_CLOSE {
                self.closed.push(epoch.clone());
            }
        }
        Ok(Appended { index: self.log.base + index, leaf: hash, time: self.edge.time, existed: false })
    }

    fn wrap(&mut self, tx: &mut dyn WriteTx, state: &State, tag: &Hash, secret: &Secret, entropy: &dyn Entropy) -> Result<(u64, Wrapped)> {
        if let Some((number, key)) = self.subjects.get(tag).or_else(|| state.subjects.get(tag)) {
            return Ok((*number, key.wrap(secret)));
        }
        let keyring = self.log.store.as_ref().ok_or_else(|| crate::log::missing("the keyring lacks the store key"))?;
        let entry = match tx.subject(self.log.number, tag)? {
            Some(row) => {
                let key = keyring.unwrap_subject(&self.log.id, tag, &row.key)?;
                (row.number, key.ok_or_else(|| Error::new(Code::Altered, format!("the key of subject {} does not unwrap", row.number)))?)
            }
            None => {
                let key = Secret::generate(entropy)?;
                // By the newest store key: whoever makes another one holds the
                // lock that this transaction holds now.
                let wrapped = keyring.wrap_subject(&self.log.id, tag, &key)?;
                let row = SubjectRow { number: 0, log: self.log.number, tag: tag.to_vec(), key: wrapped };
                (tx.put_subject(&row)?, key)
            }
        };
        let wrapped = (entry.0, entry.1.wrap(secret));
        self.subjects.insert(*tag, entry);
        Ok(wrapped)
    }

    /// Writes the log's row and the actors' heads.
    fn write_row(&mut self, tx: &mut dyn WriteTx) -> Result<()> {
        for (actor, head) in &self.heads {
            tx.put_head(self.log.number, actor, head.index)?;
        }
        let frontier = self.edge.tree.frontier();
        let row = &mut self.row;
        (row.size, row.time, row.frontier) = (frontier.size(), self.edge.time, frontier.to_bytes());
        if self.checkpoint
            && self.edge.signed != row.size
            && let Some(note) = self.log.sign_checkpoint(frontier)
        {
            row.checkpoint = note;
            row.signed_frontier.clone_from(&row.frontier);
            self.edge.signed = row.size;
            self.released = Some(row.checkpoint.clone());
        }
        tx.put_log(row)
    }

    fn install(self, state: &mut State) {
        self.log.last_time.fetch_max(self.edge.time, Ordering::AcqRel);
        state.edge = Some(self.edge);
        if self.released.is_some() {
            state.released = self.released;
        }
        state.heads.extend(self.heads);
        state.subjects.extend(self.subjects);
        for (epoch, aseq) in self.opened {
            epoch.set_opened(aseq);
        }
        self.closed.iter().for_each(|epoch| epoch.set_closed());
        for (header, index, body) in &self.changes {
            // What was just written decodes.
            let _noted = state.changes.note(header, *index, Some(body));
        }
        for (epoch, index, hash, signed) in self.unsigned {
            let mut list = lock(&epoch.unsigned);
            if signed {
                list.clear();
            } else {
                list.push((index, hash));
            }
        }
    }
}

/// Stores a full tile and the tiles above it that it completes.
pub(crate) fn put_tiles(tx: &mut dyn WriteTx, log: u32, number: u64, hashes: &[u8]) -> Result<()> {
    tx.put_tile(log, 0, number, hashes)?;
    let (mut level, mut number) = (0u8, number);
    while (number + 1) % TILE == 0 {
        let mut above = Vec::with_capacity(8192);
        for n in number + 1 - TILE..=number {
            let tile = tx.tile(log, level, n)?.ok_or_else(|| Error::new(Code::Altered, format!("log {log} lacks tile {level}/{n}")))?;
            let (nodes, _) = tile.as_chunks::<32>();
            above.extend_from_slice(&merkle::root_of(nodes));
        }
        level += 1;
        number /= TILE;
        tx.put_tile(log, level, number, &above)?;
    }
    Ok(())
}

/// Writes the genesis of a new log: leaf 0, its head, its row with a first
/// checkpoint.
pub(crate) fn write_genesis(tx: &mut dyn WriteTx, log: &Log, item: &Item, now: u64) -> Result<()> {
    let Speaker::Entry(key, line) = &item.speaker else {
        return Err(Error::new(Code::Bug, "a genesis is signed by the actor key it brings"));
    };
    let place = Place { log: log.id, actor: item.actor, aseq: 0, prev: *line, signer: 0, time: now };
    let data = leaf_data(&item.draft.place(&place), Some(key));
    let mut tree = mirrordna_core::timeline::Tree::default();
    tree.push(leaf::hash(&data));
    let frontier = tree.frontier().to_bytes();
    let checkpoint = log.sign_checkpoint(tree.frontier()).ok_or_else(|| Error::new(Code::Bug, "a new log without its key"))?;
    debug_assert_eq!(item.draft.kind, Kind::LOG_GENESIS);
    tx.put_event(log.number, 0, &data, item.draft.row(), None)?;
    tx.put_head(log.number, &item.actor, 0)?;
    tx.put_log(&LogRow {
        number: log.number,
        id: log.id,
        size: 1,
        time: now,
        frontier: frontier.clone(),
        checkpoint,
        signed_frontier: frontier,
        successor: None,
    })
}

/// Appends to a log that the same transaction made, and signs a checkpoint.
pub(crate) fn append_to_new(tx: &mut dyn WriteTx, log: &Log, items: &[Item], now: u64, entropy: &dyn Entropy) -> Result<()> {
    let mut state = State::default();
    let row = log.refresh(tx, &mut state)?;
    let mut staged = Staged::new(log, row, &state, now, false);
    items.iter().try_for_each(|item| staged.append(tx, &state, item, entropy).map(drop))?;
    staged.checkpoint = true;
    staged.write_row(tx)?;
    staged.install(&mut lock(&log.state));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use mirrordna_core::identity::IdentityType;

    #[test]
    fn nothing_is_said_for_an_epoch_that_was_closed() {
        let engine = Engine::open("memory:").unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        agent.memories().add("in time").send().unwrap();
        // What the service thread, or another thread's append, does: it takes
        // the epoch, and gets to its commit only after the engine was closed.
        let log = engine.main().log;
        let epoch = lock(&log.epochs).values().next().unwrap().clone();
        let late = |engine: &Engine| {
            let item = Item { actor: epoch.actor, speaker: Speaker::Epoch(epoch.clone()), draft: Draft::empty(Kind::SEAL), once: None };
            engine.inner.committer.append(Job { log: log.clone(), items: vec![item], checkpoint: true })
        };
        late(&engine).unwrap();
        engine.clone().close().unwrap();
        let size = engine.verify().unwrap().events;
        assert_eq!(late(&engine).unwrap_err().code(), Code::StoreClosed);
        let report = engine.verify().unwrap();
        assert!(report.is_intact() && report.events == size, "{report:#?}");
    }
}
