//! A day in the life of an engine on a disk that is watched, what it was
//! promised, and how that is checked on what a loss of power left.

#![allow(dead_code)]

use mirrordna::{Clock, Code, Engine, Entropy, Error, IdentityType, Keys, MemoryPatch, NewMemory, Result, SealPolicy, Witness};
use mirrordna_testing_faults::{Disk, Image, install};
use mirrordna_verify::note::{Checkpoint, Note};
use mirrordna_verify::{leaf, merkle};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A database, its keyring and its witness in one folder.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
}

/// The same time and the same randomness in every run.
pub(crate) struct Fixed(AtomicU64);

impl Fixed {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed)))
    }
}

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        1_770_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        for chunk in out.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl Place {
    pub(crate) fn new(root: &Path) -> Self {
        for folder in ["db", "keys", "state"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        Self { root: root.to_owned() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.join("db/m.db")
    }

    /// Its disk, with what stands beside it watched.
    pub(crate) fn mount(&self) -> Arc<Disk> {
        install();
        let disk = Disk::mount(&self.root.join("db")).unwrap();
        disk.watch(&self.root.join("keys"));
        disk.watch(&self.root.join("state"));
        disk
    }

    pub(crate) fn builder(&self) -> mirrordna::Builder {
        let builder = Engine::builder(self.path().to_str().unwrap());
        builder.keys(Keys::Folder(self.root.join("keys"))).witness(Witness::Folder(self.root.join("state")))
    }

    /// Folds the write-ahead log back as another user of the file would.
    pub(crate) fn fold(&self) -> rusqlite::Result<()> {
        let db = Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// The checkpoint in the log's row, and all leaves.
    pub(crate) fn log(&self) -> rusqlite::Result<(Head, Vec<[u8; 32]>)> {
        let db = Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let note: String = db.query_row("SELECT checkpoint FROM log WHERE n = 1", [], |r| r.get(0))?;
        let mut statement = db.prepare("SELECT leaf FROM event ORDER BY pos")?;
        let leaves = statement.query_map([], |r| r.get::<_, Vec<u8>>(0))?;
        let leaves = leaves.map(|l| l.map(|l| leaf::hash(&l))).collect::<rusqlite::Result<_>>()?;
        Ok((head(note.as_bytes()).unwrap(), leaves))
    }

    fn row_head(&self) -> rusqlite::Result<Head> {
        let db = Connection::open_with_flags(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let note: String = db.query_row("SELECT checkpoint FROM log WHERE n = 1", [], |r| r.get(0))?;
        Ok(head(note.as_bytes()).unwrap())
    }
}

/// A signed size and root.
pub(crate) type Head = (u64, [u8; 32]);

fn head(note: &[u8]) -> Option<Head> {
    let note = Note::parse(note).ok()?;
    let checkpoint = Checkpoint::parse(note.text).ok()?;
    Some((checkpoint.size, checkpoint.root))
}

/// The heads in a witness file: two slots of 512 bytes.
pub(crate) fn witnessed(image: &Image) -> Vec<Head> {
    let slots = image.companions().filter(|(folder, _)| *folder == "state").flat_map(|(_, bytes)| bytes.chunks(512));
    slots.filter_map(|slot| head(slot.get(58..58 + usize::from(u16::from_be_bytes([slot[56], slot[57]])))?)).collect()
}

/// Something that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    Identity(String),
    Session(String),
    Memory { id: String, text: String, index: u64, leaf: [u8; 32] },
    Event { index: u64, leaf: [u8; 32] },
}

/// What was acknowledged and released, each with the number of operations that
/// the disk had seen by then.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) opened: Option<usize>,
    pub(crate) claims: Vec<(usize, Claim)>,
    pub(crate) released: Vec<(usize, Head)>,
    /// Also look at the log's row after each step.
    pub(crate) look: bool,
}

/// A run that notes what it is told.
pub(crate) struct Run<'a> {
    pub(crate) place: &'a Place,
    pub(crate) disk: &'a Disk,
    pub(crate) history: &'a Mutex<History>,
    seed: AtomicU64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(place: &'a Place, disk: &'a Disk, history: &'a Mutex<History>) -> Self {
        Self { place, disk, history, seed: AtomicU64::new(1) }
    }

    fn claim(&self, claim: Claim) {
        let point = self.disk.points();
        let mut history = self.history.lock().unwrap();
        history.claims.push((point, claim));
        if history.look
            && let Ok(head) = self.place.row_head()
            && history.released.last().is_none_or(|(_, last)| *last != head)
        {
            history.released.push((point, head));
        }
    }

    pub(crate) fn open(&self, seals: SealPolicy) -> Result<Engine> {
        let seed = self.seed.fetch_add(1_000_000, Ordering::Relaxed);
        let engine = self.place.builder().clock(Fixed::new(seed)).entropy(Fixed::new(seed << 32)).seals(seals).open()?;
        self.history.lock().unwrap().opened.get_or_insert(self.disk.points());
        Ok(engine)
    }

    pub(crate) fn remember(&self, memories: &mirrordna::Memories, text: String) -> Result<String> {
        let written = memories.add(text.clone()).send()?;
        self.claim(Claim::Memory { id: written.id.clone(), text, index: written.event.index, leaf: written.event.leaf });
        Ok(written.id)
    }

    fn batch(&self, memories: &mirrordna::Memories, texts: Vec<String>) -> Result<()> {
        let new = texts.iter().map(|t| NewMemory { content: mirrordna::Content::Text(t.clone()), ..NewMemory::default() }).collect();
        for (written, text) in memories.add_all(new)?.into_iter().zip(texts) {
            self.claim(Claim::Memory { id: written.id, text, index: written.event.index, leaf: written.event.leaf });
        }
        Ok(())
    }

    fn capture(&self, engine: &Engine, agent: &mirrordna::Identity) -> Result<()> {
        let snapshot = engine.snapshots().capture(agent, None)?;
        let head = head(snapshot.checkpoint.as_bytes()).unwrap();
        self.history.lock().unwrap().released.push((self.disk.points(), head));
        Ok(())
    }

    /// Three lives of an engine: about 50 events per unit of scale, signed
    /// checkpoints on demand and at each close, folds of the write-ahead log
    /// while it is used and when it is given up.
    pub(crate) fn day(&self, scale: usize) -> Result<()> {
        {
            let engine = self.open(SealPolicy::Bounded)?;
            let agent = engine.identities().create(IdentityType::Agent)?;
            self.claim(Claim::Identity(agent.id().to_owned()));
            let user = engine.identities().create(IdentityType::User)?;
            self.claim(Claim::Identity(user.id().to_owned()));
            let session = engine.sessions().start(&agent, &user)?;
            self.claim(Claim::Session(session.id().to_owned()));
            for i in 0..5 * scale {
                self.remember(&session.memories(), format!("first life, memory {i}"))?;
            }
            self.capture(&engine, &agent)?;
            for i in 0..3 * scale {
                let event = session.timeline().append("step.taken", &serde_json::json!({ "n": i }))?;
                self.claim(Claim::Event { index: event.index, leaf: event.leaf });
            }
            session.end()?;
            engine.close()?;
        }
        {
            let engine = self.open(SealPolicy::Bounded)?;
            let agent = engine.identities().list()?.remove(0);
            let memories = agent.memories();
            self.batch(&memories, (0..10 * scale).map(|i| format!("second life, batch {i}")).collect())?;
            let _blocked_folds_later = self.place.fold();
            for i in 0..4 * scale {
                self.remember(&memories, format!("second life, memory {i} over a folded log"))?;
            }
            let changing = memories.add("before").send()?;
            self.claim(Claim::Event { index: changing.event.index, leaf: changing.event.leaf });
            let id = changing.id;
            let patch = MemoryPatch { content: Some(mirrordna::Content::Text("after".into())), ..MemoryPatch::default() };
            let event = memories.update(&id, patch)?;
            self.claim(Claim::Event { index: event.index, leaf: event.leaf });
            let event = memories.archive(&id)?;
            self.claim(Claim::Event { index: event.index, leaf: event.leaf });
            let _blocked_folds_later = self.place.fold();
            self.capture(&engine, &agent)?;
            for i in 0..4 * scale {
                self.remember(&memories, format!("second life, memory {i} over another folded log"))?;
            }
        }
        let engine = self.open(SealPolicy::EveryEvent)?;
        let other = engine.identities().create(IdentityType::Agent)?;
        self.claim(Claim::Identity(other.id().to_owned()));
        for i in 0..5 * scale {
            self.remember(&other.memories(), format!("third life, memory {i}"))?;
            if i % scale == 0 {
                self.capture(&engine, &other)?;
            }
        }
        self.batch(&other.memories(), (0..10 * scale).map(|i| format!("third life, batch {i}")).collect())?;
        let _blocked_folds_later = self.place.fold();
        for i in 0..3 * scale {
            self.remember(&other.memories(), format!("third life, late memory {i}"))?;
        }
        drop(other);
        engine.close()
    }
}

/// Everything that must hold of a database after whatever happened to it: what
/// was acknowledged is there, nothing is altered, every head that was ever
/// signed is one of the leaves that are there, and writing goes on.
pub(crate) fn check(place: &Place, claims: &[Claim], released: &[Head]) -> std::result::Result<(), String> {
    let say = |what: &'static str| move |e: Error| format!("{what}: {e}");
    let engine = place.builder().clock(Fixed::new(1 << 40)).open().map_err(say("opening"))?;
    let report = engine.verify().map_err(say("verifying"))?;
    if !report.is_intact() {
        return Err(format!("not intact: {report:#?}"));
    }
    if !matches!(report.freshness.as_str(), "current" | "unproven") {
        return Err(format!("freshness {}", report.freshness));
    }
    let identities = engine.identities().list().map_err(say("listing"))?;
    let memories = engine.memories().list(0, 10_000).map_err(say("listing"))?;
    let (before, leaves) = place.log().map_err(|e| e.to_string())?;
    for claim in claims {
        let kept = match claim {
            Claim::Identity(id) => identities.iter().any(|i| i.id() == id),
            Claim::Session(id) => engine.sessions().get(id).is_ok(),
            Claim::Memory { id, text, index, leaf } => {
                memories.iter().any(|m| m.id == *id && m.text() == text) && leaves.get(*index as usize) == Some(leaf)
            }
            Claim::Event { index, leaf } => leaves.get(*index as usize) == Some(leaf),
        };
        if !kept {
            return Err(format!("{claim:?} was acknowledged and is not there; {} leaves are", leaves.len()));
        }
    }
    // An agent that is there can go on; if there is none, one can be made.
    let agent = match identities.into_iter().find(|i| i.identity_type() == IdentityType::Agent) {
        Some(agent) => agent,
        None => engine.identities().create(IdentityType::Agent).map_err(say("creating"))?,
    };
    let written = agent.memories().add("life goes on").send().map_err(say("appending"))?;
    drop(agent);
    engine.close().map_err(say("closing"))?;
    let report = place.builder().verify().map_err(say("verifying the closed file"))?;
    if !report.is_intact() || report.unsigned > claims.len() as u64 + 200 {
        return Err(format!("not intact after going on: {report:#?}"));
    }
    let (after, longer) = place.log().map_err(|e| e.to_string())?;
    if longer.get(written.event.index as usize) != Some(&written.event.leaf) || !longer.starts_with(&leaves) {
        return Err("going on rewrote history".into());
    }
    for (size, root) in released.iter().chain([&before, &after]) {
        if longer.get(..*size as usize).map(merkle::root_of) != Some(*root) {
            return Err(format!("a head of size {size} was signed that is not this log's"));
        }
    }
    Ok(())
}

/// What may be said of a database whose creation was interrupted.
pub(crate) fn unborn(code: Code) -> bool {
    matches!(code, Code::StoreNotDatabase | Code::StoreNotFound)
}
