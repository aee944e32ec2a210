//! Going on from a state that this machine has seen longer, or otherwise.
//!
//! A database that was rolled back, or restored from an older backup, cannot
//! simply be appended to: its actors would say other things at places where
//! they already spoke. So a fork leaves its logs as they are, for good, and
//! begins new ones that name them: log id, size and root, the cause, and why
//! their owner accepts them. Whatever was in the old logs is read through the
//! new ones; actors come over with their first event.

use crate::builder::{Builder, Fingerprint};
use crate::commit::{Item, Job, Speaker, append_to_new};
use crate::engine::{Inner, New, last_line, make_log, position};
use crate::file;
use crate::identities::newest;
use crate::import::Progress;
use crate::keyring::hex;
use crate::log::{Foreign, Genesis, Log, State, genesis, lock};
use crate::url::StoreUrl;
use crate::view::{IdentityEvent, Said};
use crate::witness::Freshness;
use mirrordna_core::timeline::{Draft, NewEvent, PREFIX};
use mirrordna_core::verify::body::{Adopted, PublicBody};
use mirrordna_core::{Code, Error, Hash, Kind, Result, canon, limits};
use mirrordna_storage::{LogRow, ReadTx, WriteTx};
use serde::Serialize;
use std::sync::Arc;

/// Type of the event that says why a log goes on from another one.
const EVENT_TYPE: &str = "log.adopted";

/// A log that goes on from one that was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// Id of the new log, hex.
    pub log: String,
    /// Id of the log that was left, hex.
    pub adopted: String,
    /// Number of its events.
    pub events: u64,
    /// Root over them (RFC 6962), hex.
    pub head: String,
    /// `rolled_back` where this machine had seen more of it, `forked` where it
    /// had seen it otherwise.
    pub cause: &'static str,
    /// Fingerprint of the key that signs the new log's checkpoints: what an
    /// auditor must be told by another way than the database.
    pub log_key: String,
}

impl Builder {
    /// Goes on from a database that this machine has seen longer
    /// (`log.rolled_back`) or otherwise (`log.forked`): as it is found, nothing
    /// of it is changed. Logs of which that is not so stay as they are.
    ///
    /// `accept_head` is the number of events that the database holds, as
    /// [`VerifyReport::events`](crate::VerifyReport) says it, so that nobody
    /// accepts another state than the one they looked at; `reason` is recorded
    /// in the new logs, encrypted.
    ///
    /// ```
    /// use mirrordna::{Code, Engine, IdentityType, Keys, Witness};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("m.db");
    /// # let path = path.to_str().unwrap();
    /// let builder = || Engine::builder(path).keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Folder(dir.path().join("state")));
    /// let engine = builder().open()?;
    /// let agent = engine.identities().create(IdentityType::Agent)?;
    /// agent.memories().add("in the backup").send()?;
    /// let mut backup = Vec::new();
    /// engine.export(&mut backup)?;
    /// agent.memories().add("after it").send()?;
    /// engine.close()?;
    ///
    /// // The disk is lost, the backup is not.
    /// std::fs::remove_file(path).unwrap();
    /// # for end in ["-wal", "-shm"] { let _ = std::fs::remove_file(format!("{path}{end}")); }
    /// builder().restore(&mut backup.as_slice())?;
    /// assert_eq!(builder().open().unwrap_err().code(), Code::RolledBack);
    ///
    /// let events = builder().verify()?.events;
    /// builder().fork(events, "the disk was lost; this is the newest backup")?;
    /// let engine = builder().open()?;
    /// let agent = engine.identities().get(agent.id())?;
    /// agent.memories().add("life goes on").send()?;
    /// assert_eq!(engine.memories().count()?, 2);
    /// assert!(engine.verify()?.is_intact());
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    ///
    /// # Errors
    /// `input.invalid` where the database holds another number of events, no
    /// reason is given, or nothing was rolled back or forked; `log.altered`
    /// where it does not verify; `key.missing` without its keyring;
    /// `store.in_use` where it is open in this process; `store.*`.
    pub fn fork(self, accept_head: u64, reason: &str) -> Result<Vec<Fork>> {
        self.fork_with(accept_head, reason, &mut |_, _| {})
    }

    /// The same, telling `progress` now and then how many events were verified,
    /// of how many.
    ///
    /// # Errors
    /// As [`Builder::fork`].
    pub fn fork_with(self, accept_head: u64, reason: &str, progress: Progress<'_>) -> Result<Vec<Fork>> {
        if reason.trim().is_empty() {
            let e = Error::new(Code::InputInvalid, "a fork needs a reason: it is what an auditor reads");
            return Err(e.with_hint("Say in a few words why this state is right, for example \"restored the backup of 3 May\"."));
        }
        canon::check_name(reason, "the reason")?;
        match StoreUrl::parse(&self.url)? {
            StoreUrl::Memory => Err(Error::new(Code::StoreUrl, "a store in memory cannot be rolled back")),
            url => file::fork(&url, self, progress, &mut |inner| fork(inner, accept_head, reason)),
        }
    }
}

/// Leaves every log that this machine has seen longer or otherwise.
fn fork(inner: &Inner, accept_head: u64, reason: &str) -> Result<Vec<Fork>> {
    let mut rows = Vec::new();
    inner.store.read(&mut |tx| {
        rows.clear();
        for row in tx.logs()?.into_iter().filter(|row| row.successor.is_none()) {
            let genesis = genesis(tx, &row)?;
            rows.push((row.number, row.id, genesis));
        }
        Ok(())
    })?;
    let open = |(number, id, genesis): (u32, [u8; 16], Genesis)| inner.existing_log(number, id, genesis);
    let logs = rows.into_iter().map(open).collect::<Result<Vec<Log>>>()?;
    // A copy from before a rotation of the log's key cannot go on either: what
    // signed it is gone.
    let ends = |log: &&Log| matches!(log.freshness, Freshness::Behind(_) | Freshness::Forked) || log.signing().is_none();
    let left: Vec<&Log> = logs.iter().filter(ends).collect();
    if left.is_empty() {
        let message = format!("nothing at {} was rolled back or forked: it is as this machine has seen it", inner.store.location());
        return Err(Error::new(Code::InputInvalid, message).with_hint("Open it as usual; a fork is only for a database that is refused."));
    }
    let mut made = Vec::new();
    inner.store.write(&mut |tx| {
        made.clear();
        let total = tx.logs()?.iter().map(|row| row.size).fold(0, u64::saturating_add);
        if total != accept_head {
            let message = format!("the database at {} holds {total} events, not {accept_head}", inner.store.location());
            return Err(Error::new(Code::InputInvalid, message).with_hint("`mirrordna verify` shows what it holds; accept that number."));
        }
        for old in &left {
            made.push(go_on(inner, tx, old, reason)?);
        }
        Ok(())
    })?;
    for (old, (_, new)) in left.iter().zip(&made) {
        inner.remember(new, true);
        // Those before it too: this machine may have seen them go on elsewhere.
        let (mut heir, mut left) = (new, Some(*old));
        while let Some(log) = left {
            inner.end_witness(heir);
            (heir, left) = (log, log.before.as_deref());
        }
    }
    tracing::info!(location = %inner.store.location(), logs = made.len(), "forked");
    Ok(made.into_iter().map(|(fork, _)| fork).collect())
}

/// Makes the log that goes on from `old`.
fn go_on(inner: &Inner, tx: &mut dyn WriteTx, old: &Log, reason: &str) -> Result<(Fork, Log)> {
    let keyring = inner.keyring.as_ref().ok_or_else(|| crate::log::missing("a new log needs the keyring of the database"))?;
    if std::iter::successors(Some(old), |log| log.before.as_deref()).count() > limits::FORKS {
        let message = format!("log {} goes on from {} others, and no log may go on from more", old.number, limits::FORKS);
        return Err(Error::new(Code::LimitExceeded, message));
    }
    // Its newest leaves must lead to the tree that its row claims.
    let mut state = State::default();
    old.refresh(tx, &mut state)?;
    let row = tx.log(old.number)?.ok_or_else(|| Error::new(Code::Altered, format!("log {} is gone", old.number)))?;
    let root = state.edge.map(|edge| edge.tree.frontier().root()).unwrap_or_default();
    // Times do not go backwards over the logs of a timeline either.
    let now = inner.clock.now_ms().max(row.time);
    let new = New { database: old.database, tenant: old.tenant, tags: Some(old.tag_key()?) };
    let (mut new, key) = make_log(tx, keyring, new, now, &*inner.entropy)?;
    new.base = position(old.base, row.size)?;
    let (cause, name) = match old.freshness {
        Freshness::Behind(_) | Freshness::Current | Freshness::Unproven => (Adopted::ROLLED_BACK, "rolled_back"),
        Freshness::Forked => (Adopted::FORKED, "forked"),
    };
    let adopted = Adopted { log: old.id, size: row.size, root, cause };
    new.adopted = Some(adopted);
    let why = serde_json::json!({"reason": reason, "cause": name, "log": hex(&old.id), "size": row.size, "root": hex(&root)});
    let event =
        NewEvent { event_type: EVENT_TYPE.to_owned(), payload: Some(why.to_string()), session: None, subject: None, occurred_at: None };
    let id = mirrordna_core::id::fresh(PREFIX, now, &*inner.entropy)?;
    let (body, subject) = (event.into_body(&id)?, new.subject_tag(&id)?);
    let drafts =
        [Draft::public(&PublicBody::Adopt(adopted)), Draft::private(Kind::EVENT, &new.id, &new.system, &body, subject, &*inner.entropy)?];
    let item = |draft| Item { actor: new.system, speaker: Speaker::Actor(key.clone(), 0), draft, once: None };
    append_to_new(tx, &new, &drafts.map(item), now, &*inner.entropy)?;
    tx.put_log(&LogRow { successor: Some(new.number), ..row })?;
    let fork = Fork {
        log: hex(&new.id),
        adopted: hex(&old.id),
        events: adopted.size,
        head: hex(&root),
        cause: name,
        log_key: Fingerprint::from(new.key().fingerprint()).to_string(),
    };
    Ok((fork, new))
}

/// Brings an actor of the logs before into this one, where it has no event yet.
pub(crate) fn enter(inner: &Inner, log: &Arc<Log>, actor: &Hash) -> Result<()> {
    let mut here = false;
    inner.store.read(&mut |tx| {
        here = tx.head(log.number, actor)?.is_some();
        Ok(())
    })?;
    if here {
        return Ok(());
    }
    // Of what was adopted only the view knows.
    let Some(last) = inner.view(log, &mut |_, tx| last_before(tx, log, actor))? else { return Ok(()) };
    let events = inner.view(log, &mut |view, tx| view.identity_events(tx, log, actor, u64::MAX))?;
    // Without its key the actor stays outside, and so does one that has ended.
    let (_, key) = inner.speaking(log, actor)?;
    // In this log it speaks by its entry here.
    lock(&log.forces).remove(actor);
    let Some((IdentityEvent { what: Said::Brought { did_log, .. }, .. }, _)) = newest(&events)? else {
        return Err(Error::new(Code::Altered, format!("log {} lacks the identity of an actor", log.number)));
    };
    let draft = Draft::public(&PublicBody::Entry { did_log }).referring_to(vec![last])?;
    let item = Item { actor: *actor, speaker: Speaker::Entry(Arc::new(key), last_line(did_log)), draft, once: None };
    inner.committer.append(Job { log: log.clone(), items: vec![item], checkpoint: false }).map(drop)
}

/// The last leaf of an actor in the logs that a log goes on from, or that were
/// adopted.
pub(crate) fn last_before(tx: &dyn ReadTx, log: &Log, actor: &Hash) -> Result<Option<Hash>> {
    let chain = |top| std::iter::successors(top, |log: &&Log| log.before.as_deref());
    // Of several that were adopted the newest: whoever moved twice spoke there last.
    let mut adopted: Vec<&Foreign> = log.foreign().collect();
    adopted.sort_by_key(|foreign| std::cmp::Reverse(foreign.named_at));
    let before = chain(log.before.as_deref());
    for log in before.chain(adopted.into_iter().flat_map(|foreign| chain(Some(&foreign.log)))) {
        if let Some(head) = log.head(tx, &State::default(), actor)? {
            return Ok(Some(head.last));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use super::*;
    use crate::{Engine, IdentityType, Keys, Witness};
    use mirrordna_core::verify::merkle::Frontier;
    use mirrordna_storage::ReadTx;
    use mirrordna_storage_sqlite::{Durability, Mode, SqliteStore};

    fn builder(dir: &tempfile::TempDir) -> Builder {
        let path = dir.path().join("m.db");
        Engine::builder(path.to_str().unwrap()).keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off)
    }

    /// The newest log.
    fn newest(inner: &Inner) -> Log {
        let mut found = None;
        let read = &mut |tx: &dyn ReadTx| {
            let row = tx.logs()?.pop().unwrap();
            found = Some((row.number, row.id, genesis(tx, &row)?));
            Ok(())
        };
        inner.store.read(read).unwrap();
        let (number, id, genesis) = found.unwrap();
        inner.existing_log(number, id, genesis).unwrap()
    }

    /// Leaves the log of a database again and again.
    fn forks(engine: &Engine, mut old: Log, times: usize) -> Result<Log> {
        for _ in 0..times {
            let mut made = None;
            engine.inner.store.write(&mut |tx| {
                made = Some(go_on(&engine.inner, tx, &old, "again")?.1);
                Ok(())
            })?;
            let mut new = made.unwrap();
            new.before = Some(Arc::new(old));
            old = new;
        }
        Ok(old)
    }

    #[test]
    fn logs_that_go_on_from_each_other_have_a_limit_up_to_which_all_works() {
        let dir = tempfile::tempdir().unwrap();
        let engine = builder(&dir).open().unwrap();
        let agent = engine.identities().create(IdentityType::Agent).unwrap();
        agent.memories().add("in the first log").send().unwrap();
        let id = agent.id().to_owned();
        drop(agent);
        let last = forks(&engine, newest(&engine.inner), limits::FORKS).unwrap();
        assert_eq!(forks(&engine, last, 1).unwrap_err().code(), Code::LimitExceeded);
        drop(engine);
        let engine = builder(&dir).open().unwrap();
        let agent = engine.identities().get(&id).unwrap();
        agent.memories().add("in the last log").send().unwrap();
        let texts: Vec<String> = agent.memories().list(0, 9).unwrap().into_iter().map(|m| m.content).collect();
        assert_eq!(texts, ["in the first log", "in the last log"]);
        assert_eq!(engine.memories().search("first").run().unwrap().len(), 1);
        drop(agent);
        engine.close().unwrap();
        let report = builder(&dir).verify().unwrap();
        assert_eq!((report.verdict, report.closed), ("intact", limits::FORKS as u64), "{:?}", report.problems);
    }

    #[test]
    fn of_two_processes_that_fork_at_once_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("m.db"), dir.path().join("old.db"));
        let builder = || builder(&dir).witness(Witness::Folder(dir.path().join("state")));
        builder().open().unwrap().close().unwrap();
        std::fs::copy(&path, &old).unwrap();
        let engine = builder().open().unwrap();
        engine.identities().create(IdentityType::Agent).unwrap();
        engine.close().unwrap();
        for end in ["-wal", "-shm"] {
            let _absent = std::fs::remove_file(format!("{}{end}", path.display()));
        }
        std::fs::copy(&old, &path).unwrap();
        let events = builder().verify().unwrap().events;
        // Past the registry of this process, as other processes would.
        let open = || {
            let store = SqliteStore::open(&path, Mode::Write, Durability::Full).unwrap();
            Inner::open(Arc::new(store), Some(crate::witness::place_of(&path)), Builder { as_of: true, ..builder() }).unwrap()
        };
        let (opened, barrier) = ([open(), open(), open()], std::sync::Barrier::new(3));
        let forks = std::thread::scope(|s| {
            let (barrier, fork) = (&barrier, fork);
            let fork = move |inner: &Inner| {
                barrier.wait();
                fork(inner, events, "the disk was lost")
            };
            opened.each_ref().map(|inner| s.spawn(move || fork(inner))).map(|thread| thread.join().unwrap())
        });
        let codes: Vec<Code> = forks.iter().filter_map(|f| f.as_ref().err().map(Error::code)).collect();
        assert!(codes.len() == 2 && codes.iter().all(|c| [Code::InputInvalid, Code::LogClosed].contains(c)), "{forks:?}");
        drop(opened);
        let report = builder().verify().unwrap();
        assert_eq!((report.verdict, report.closed, report.freshness.as_str()), ("intact", 1, "current"), "{report:?}");
        assert_eq!(builder().open().unwrap().identities().list().unwrap().len(), 0);
    }

    /// A log that goes on from one as its maker says.
    fn adopting(engine: &Engine, tenant: Hash, adopted: Adopted, from: u32) -> Log {
        let inner = &engine.inner;
        let keyring = inner.keyring.as_ref().unwrap();
        let (mut made, database) = (None, engine.main().log.database);
        let write = &mut |tx: &mut dyn WriteTx| {
            let (log, key) = make_log(tx, keyring, New { database, tenant, tags: None }, inner.clock.now_ms(), &*inner.entropy)?;
            let draft = Draft::public(&PublicBody::Adopt(adopted));
            let item = Item { actor: log.system, speaker: Speaker::Actor(key, 0), draft, once: None };
            append_to_new(tx, &log, &[item], inner.clock.now_ms(), &*inner.entropy)?;
            let row = tx.log(from)?.unwrap();
            tx.put_log(&LogRow { successor: Some(log.number), ..row })?;
            made = Some(log);
            Ok(())
        };
        inner.store.write(write).unwrap();
        made.unwrap()
    }

    #[test]
    fn a_log_before_of_another_tenant_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let engine = builder(&dir).open().unwrap();
        let (first, mut of_first) = (newest(&engine.inner), None);
        engine
            .inner
            .store
            .read(&mut |tx| {
                let row = tx.logs()?.pop().unwrap();
                let root = Frontier::from_bytes(row.size, &row.frontier)?.root();
                of_first = Some(Adopted { log: row.id, size: row.size, root, cause: Adopted::FORKED });
                Ok(())
            })
            .unwrap();
        adopting(&engine, [9; 32], of_first.unwrap(), first.number);
        drop(first);
        drop(engine);
        assert_eq!(builder(&dir).open().unwrap_err().code(), Code::Altered);
        let report = builder(&dir).verify().unwrap();
        assert_eq!((report.verdict, report.problems[0].code.as_str()), ("altered", "log.adopted"), "{:?}", report.problems);
    }

    #[test]
    fn logs_before_that_claim_to_be_beyond_every_length_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let engine = builder(&dir).open().unwrap();
        let mut old = newest(&engine.inner);
        for _ in 0..3 {
            let size = i64::MAX as u64;
            let frontier = vec![7; 63 * 32];
            let root = Frontier::from_bytes(size, &frontier).unwrap().root();
            engine
                .inner
                .store
                .write(&mut |tx| {
                    let row = tx.log(old.number)?.unwrap();
                    tx.put_log(&LogRow { size, frontier: frontier.clone(), ..row })
                })
                .unwrap();
            let adopted = Adopted { log: old.id, size, root, cause: Adopted::FORKED };
            old = adopting(&engine, old.tenant, adopted, old.number);
        }
        drop(old);
        drop(engine);
        assert_eq!(builder(&dir).read_only().open().unwrap_err().code(), Code::Altered);
        assert_eq!(builder(&dir).verify().unwrap().verdict, "altered");
    }
}
