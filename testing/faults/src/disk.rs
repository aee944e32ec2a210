//! What the running system does to the files of a folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

/// Number of a file: names come and go, files keep theirs.
pub(crate) type FileNo = usize;

/// One thing that was done to a file or a name.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A name for a new, empty file.
    Create { name: String, file: FileNo },
    /// Bytes at an offset.
    Write { file: FileNo, at: u64, data: Arc<[u8]> },
    /// A new length.
    Truncate { file: FileNo, len: u64 },
    /// Everything written to the file is durable; the folder too, if so said.
    Sync { file: FileNo, folder: bool },
    /// A sync that failed: what it should have made durable counts as clean.
    FailedSync { file: FileNo },
    /// A name is gone; the folder was synced, if so said.
    Delete { name: String, folder: bool },
}

/// What goes wrong at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Power fails: this operation and everything after it, reads included,
    /// fail with an I/O error.
    PowerLoss,
    /// One operation fails with an I/O error; later ones succeed. Of a write
    /// the first half reaches the file; after a sync nothing of what it should
    /// have made durable may be counted on.
    Once,
    /// One write fails for want of space; its first half reaches the file.
    FullOnce,
    /// Every write fails for want of space until [`Disk::heal`].
    Full,
}

/// What a fault does to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    /// Half of a write is done, then it fails so.
    Fail(Failure),
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Io,
    Full,
}

/// Contents of the small files that stand in watched folders, by folder and
/// file name.
pub(crate) type Companions = BTreeMap<(String, String), Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    base: BTreeMap<String, Vec<u8>>,
    names: BTreeMap<String, FileNo>,
    next: FileNo,
    /// How often each file is open.
    handles: BTreeMap<FileNo, usize>,
    /// Files whose next sync also syncs the folder.
    fresh: BTreeSet<FileNo>,
    trace: Vec<Op>,
    watched: Vec<PathBuf>,
    companions: Vec<(usize, Companions)>,
    plan: Option<(usize, Fault)>,
    struck: Option<String>,
    dead: bool,
    full: bool,
}

/// A folder whose database files are watched.
#[derive(Debug)]
pub struct Disk {
    state: Mutex<State>,
}

/// Everything that was done, and what was there before.
#[derive(Debug, Clone)]
pub struct Trace {
    pub(crate) base: BTreeMap<String, Vec<u8>>,
    pub(crate) ops: Vec<Op>,
    pub(crate) companions: Vec<(usize, Companions)>,
}

impl Trace {
    /// Number of points at which power can fail: one before the end of each
    /// operation, and one after the last.
    #[must_use]
    pub fn points(&self) -> usize {
        self.ops.len() + 1
    }

    /// How many operations of each sort there are, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for op in &self.ops {
            *counts.entry(op.word()).or_default() += 1;
        }
        counts.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
    }

    /// What happens at a point, in words.
    #[must_use]
    pub fn describe(&self, point: usize) -> String {
        match self.ops.get(point) {
            Some(Op::Write { file, at, data }) => format!("write of {} bytes at {at} of file {file}", data.len()),
            Some(op) => format!("{op:?}"),
            None => "the end".to_owned(),
        }
    }
}

impl Op {
    const fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "creations",
            Self::Write { .. } => "writes",
            Self::Truncate { .. } => "truncations",
            Self::Sync { .. } => "syncs",
            Self::FailedSync { .. } => "failed syncs",
            Self::Delete { .. } => "deletions",
        }
    }
}

fn mounted() -> MutexGuard<'static, HashMap<PathBuf, Weak<Disk>>> {
    static MOUNTED: OnceLock<Mutex<HashMap<PathBuf, Weak<Disk>>>> = OnceLock::new();
    MOUNTED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Modification time of a write-ahead log that nobody but SQLite wrote.
fn untouched() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

impl Disk {
    /// Watches the files of a folder from now on; what is there counts as
    /// durable.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn mount(folder: &Path) -> std::io::Result<Arc<Self>> {
        let folder = folder.canonicalize()?;
        let mut state = State::default();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = file_name(&path);
            // The index of the write-ahead log lives in memory.
            if path.is_file() && !name.ends_with("-shm") {
                state.base.insert(name, std::fs::read(&path)?);
            }
        }
        state.names = state.base.keys().cloned().zip(0..).collect();
        state.next = state.names.len();
        let disk = Arc::new(Self { state: Mutex::new(state) });
        mounted().insert(folder, Arc::downgrade(&disk));
        Ok(disk)
    }

    /// The disk that holds a path.
    pub(crate) fn of(path: &Path) -> Option<Arc<Self>> {
        mounted().get(path.parent()?)?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Also remembers, at each point, what stands in another folder: files
    /// that are written past SQLite, as durable as their writer would wish.
    pub fn watch(&self, folder: &Path) {
        self.lock().watched.push(folder.to_owned());
    }

    /// Number of operations so far.
    #[must_use]
    pub fn points(&self) -> usize {
        self.lock().trace.len()
    }

    /// Number of syncs so far.
    #[must_use]
    pub fn syncs(&self) -> usize {
        self.lock().trace.iter().filter(|op| matches!(op, Op::Sync { .. } | Op::FailedSync { .. })).count()
    }

    /// Lets a fault strike the first operation it can strike at or after a
    /// point.
    pub fn strike(&self, point: usize, fault: Fault) {
        let mut state = self.lock();
        state.plan = Some((point, fault));
        state.struck = None;
    }

    /// What the fault struck, if it did.
    #[must_use]
    pub fn struck(&self) -> Option<String> {
        self.lock().struck.clone()
    }

    /// Ends a fault that lasts.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.plan, state.full) = (None, false);
    }

    /// What was done so far.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let mut state = self.lock();
        state.look_around();
        Trace { base: state.base.clone(), ops: state.trace.clone(), companions: state.companions.clone() }
    }

    /// Whether power is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// A file was opened; `created` if it was not there before.
    pub(crate) fn opened(&self, path: &Path, created: bool, journal: bool) -> FileNo {
        let mut state = self.lock();
        let name = file_name(path);
        if let (false, Some(file)) = (created, state.names.get(&name).copied()) {
            let handles = state.handles.entry(file).or_default();
            *handles += 1;
            if *handles == 1 && journal {
                state.notice_rewrite(path, file);
            }
            return file;
        }
        state.look_around();
        let file = state.next;
        state.next += 1;
        state.names.insert(name.clone(), file);
        state.handles.insert(file, 1);
        if journal {
            state.fresh.insert(file);
        }
        state.trace.push(Op::Create { name, file });
        file
    }

    /// A file was closed.
    pub(crate) fn closed(&self, path: &Path, file: FileNo, journal: bool) {
        if let Some(handles) = self.lock().handles.get_mut(&file) {
            *handles -= 1;
        }
        if journal && let Ok(file) = std::fs::File::options().write(true).open(path) {
            // Should the time stay as it is, the file counts as written by
            // somebody else: the safe side for a test that must not pass.
            let _stays_marked_as_rewritten = file.set_modified(untouched());
        }
    }

    pub(crate) fn write(&self, file: FileNo, at: u64, data: &[u8]) -> Verdict {
        let mut state = self.lock();
        let verdict = state.judge(|| format!("write of {} bytes at {at} of file {file}", data.len()), true);
        let done = if verdict == Verdict::Go { data } else { &data[..data.len() / 2] };
        // Power that fails in a write may still let any part of it through.
        let done = if state.dead { data } else { done };
        state.trace.push(Op::Write { file, at, data: done.into() });
        verdict
    }

    pub(crate) fn truncate(&self, file: FileNo, len: u64) -> Verdict {
        let mut state = self.lock();
        let verdict = state.judge(|| format!("truncation of file {file} to {len}"), false);
        if verdict == Verdict::Go || state.dead {
            state.trace.push(Op::Truncate { file, len });
        }
        verdict
    }

    pub(crate) fn sync(&self, file: FileNo) -> Verdict {
        let mut state = self.lock();
        let verdict = state.judge(|| format!("sync of file {file}"), false);
        let op = match verdict {
            Verdict::Go => Op::Sync { file, folder: state.fresh.remove(&file) },
            Verdict::Fail(_) => Op::FailedSync { file },
        };
        state.trace.push(op);
        verdict
    }

    pub(crate) fn delete(&self, path: &Path, folder: bool) -> Verdict {
        let mut state = self.lock();
        let name = file_name(path);
        let verdict = state.judge(|| format!("deletion of {name}"), false);
        if verdict == Verdict::Go || state.dead {
            state.names.remove(&name);
            state.trace.push(Op::Delete { name, folder });
        }
        verdict
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        mounted().retain(|_, disk| disk.strong_count() > 0);
    }
}

impl State {
    /// What the plan has in store for the next operation.
    fn judge(&mut self, what: impl FnOnce() -> String, write: bool) -> Verdict {
        self.look_around();
        if self.dead {
            return Verdict::Fail(Failure::Io);
        }
        if let Some((point, fault)) = self.plan
            && self.trace.len() >= point
            && (write || !matches!(fault, Fault::Full | Fault::FullOnce))
        {
            self.plan = None;
            self.struck = Some(what());
            match fault {
                Fault::PowerLoss => self.dead = true,
                Fault::Once => return Verdict::Fail(Failure::Io),
                Fault::Full => self.full = true,
                Fault::FullOnce => return Verdict::Fail(Failure::Full),
            }
        }
        match (self.dead, self.full && write) {
            (true, _) => Verdict::Fail(Failure::Io),
            (_, true) => Verdict::Fail(Failure::Full),
            _ => Verdict::Go,
        }
    }

    /// Remembers what stands in the watched folders, if it changed.
    fn look_around(&mut self) {
        if self.dead || self.watched.is_empty() {
            return;
        }
        let mut now = Companions::new();
        for folder in &self.watched {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if let Ok(bytes) = std::fs::read(entry.path()) {
                    now.insert((file_name(folder), file_name(&entry.path())), bytes);
                }
            }
        }
        if self.companions.last().is_none_or(|(_, last)| *last != now) {
            self.companions.push((self.trace.len(), now));
        }
    }

    /// A write-ahead log that somebody wrote past SQLite while it was closed
    /// is dirty from end to end.
    fn notice_rewrite(&mut self, path: &Path, file: FileNo) {
        let failed = self.trace.iter().any(|op| matches!(op, Op::FailedSync { file: f } if *f == file));
        let touched = || std::fs::metadata(path).and_then(|m| m.modified()).is_ok_and(|t| t != untouched());
        if failed
            && touched()
            && let Ok(data) = std::fs::read(path)
        {
            self.trace.push(Op::Write { file, at: 0, data: data.into() });
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
