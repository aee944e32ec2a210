//! Witnessing for others: whoever runs this watches that the logs it knows only
//! ever grow, and cosigns what they publish (C2SP `tlog-witness`). Two histories
//! of one log then never both get its cosignature.
//!
//! A witness is a folder: `key`, its own key, used for nothing else; `policy`,
//! the logs that it knows; `state`, the largest checkpoint of each that it has
//! cosigned. The state is on the disk before an answer leaves, under a lock that
//! all processes share, so that neither a kill nor a second process makes it
//! contradict itself. What it cannot know is that somebody put an older state
//! back: keep the folder out of backups that are restored as a whole.
//!
//! Not to be taken for the head witness of this machine
//! ([`Witness`](crate::Witness)), which nobody else believes.

pub use mirrordna_core::verify::equivocation::{Equivocation, equivocation};
pub use mirrordna_core::verify::note::{Checkpoint, Note};
pub use mirrordna_core::verify::tlog_proof::TlogProof;
pub use mirrordna_core::verify::tlog_witness::MAX_REQUEST;
pub use mirrordna_core::verify::vkey::VerifierKey;

use crate::input;
use crate::keyring::hex;
use crate::system::{SystemClock, SystemEntropy};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::verify::cosignature::{Cosignature, judge, message};
use mirrordna_core::verify::note::{base64, from_base64};
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::verify::tlog_witness::{AddCheckpoint, Refusal};
use mirrordna_core::verify::vkey::{KeyType, is_key_name};
use mirrordna_core::{Clock, Code, Error, Result};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The witness's key: a signer key in the form of Go's `sumdb/note`.
const KEY: &str = "key";
/// The logs that it knows, a policy.
const POLICY: &str = "policy";
/// What it has cosigned.
const STATE: &str = "state";
/// First line of the state.
const STATE_MAGIC: &str = "mirrordna witness state v1";
/// The longest state that is read.
const MAX_STATE: u64 = 256 << 20;

/// What a witness answers to a request; status and body are those of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 with cosignature lines, 409 with the size that was cosigned, or
    /// another 4xx with a sentence.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body, ending with a newline.
    pub body: String,
}

/// The largest checkpoint of a log that a witness has cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which log.
    pub origin: String,
    /// Its size.
    pub size: u64,
    /// Its root, hex.
    pub root: String,
    /// When it was cosigned last, seconds since 1970.
    pub time: u64,
    /// The checkpoint with the log's signatures and the cosignature.
    pub note: String,
}

/// A witness for logs of others.
///
/// ```
/// # use mirrordna::{Engine, peer::PeerWitness, proof::Policy};
/// # let dir = tempfile::tempdir().unwrap();
/// # let folder = dir.path().join("witness");
/// let witness = PeerWitness::init(&folder, "witness.example/ada")?;
/// let engine = Engine::open("memory:")?;
/// witness.trust(&engine.main().verifier_key())?;
///
/// // The log's side, where `ask` may as well go over a network.
/// let (log, policy) = (engine.main(), Policy::default().and_witness(witness.verifier_key()));
/// let checkpoint = log.checkpoint()?;
/// let cosigned = log.cosign(&checkpoint, &policy, &mut |request| witness.add_checkpoint(request.as_bytes()))?;
/// log.anchor(&cosigned, &policy)?;
/// assert!(engine.verify()?.is_intact());
/// # Ok::<(), mirrordna::Error>(())
/// ```
pub struct PeerWitness {
    folder: PathBuf,
    name: String,
    key: SecretKey,
}

impl std::fmt::Debug for PeerWitness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerWitness({})", self.name)
    }
}

impl PeerWitness {
    /// Makes a witness with a new key in a folder that has none yet. The name
    /// stands in its cosignatures: a URL without scheme, by convention.
    ///
    /// # Errors
    /// `input.invalid` for a name with white space or a plus, `store.in_use` if
    /// the folder is a witness already, `store.*`.
    pub fn init(folder: impl AsRef<Path>, name: &str) -> Result<Self> {
        let folder = folder.as_ref();
        if !is_key_name(name) || name.len() > mirrordna_core::limits::NAME {
            let message = "the name of a witness is not empty, holds no white space and no plus, and is not too long";
            return Err(Error::new(Code::InputInvalid, message).with_hint("Use a URL without its scheme, such as witness.example/ada."));
        }
        let key = SecretKey::generate(&SystemEntropy)?;
        std::fs::create_dir_all(folder).map_err(|e| io("make the folder", folder, e))?;
        // The key comes last: without it the folder is no witness yet, and what
        // an interrupted attempt left is made anew.
        let place = folder.join(KEY);
        if place.exists() {
            return Err(Error::new(Code::StoreInUse, format!("{} is a witness already", folder.display())));
        }
        replace(folder, STATE, format!("{STATE_MAGIC}\n").as_bytes())?;
        replace(folder, POLICY, b"# The logs that are cosigned: log <verifier key>\n")?;
        let id = VerifierKey { name: name.to_owned(), kind: KeyType::Witness, key: key.public().clone().into() }.id();
        let mut raw = Zeroizing::new(vec![KeyType::Witness.byte()]);
        raw.extend_from_slice(&*key.seed());
        let text = Zeroizing::new(format!("PRIVATE+KEY+{name}+{}+{}\n", hex(&id), base64(&raw)));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&place).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|e| io("write", &place, e))?;
        sync_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), key })
    }

    /// The witness in a folder.
    ///
    /// # Errors
    /// `store.not_found` if there is none, `witness.invalid` if its files are
    /// damaged, `store.io`.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let place = folder.join(KEY);
        if std::fs::metadata(&place).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            let error = Error::new(Code::StoreNotFound, format!("there is no witness in {}", folder.display()));
            return Err(error.with_hint("Make one with `mirrordna witness init`."));
        }
        let text = Zeroizing::new(input::text(&place, "the key of a witness", input::TEXT, Code::WitnessInvalid)?);
        let (name, key) = read_key(text.trim_end()).ok_or_else(|| damaged(&place, "is no key of a witness"))?;
        let witness = Self { folder: folder.to_owned(), name, key };
        witness.policy()?;
        witness.state()?;
        Ok(witness)
    }

    /// The witness's key as a policy names it; its text is
    /// `<name>+<key id>+<key>`.
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), kind: KeyType::Witness, key: self.key.public().clone().into() }
    }

    /// Cosigns a log from now on, by the key that signs its checkpoints.
    ///
    /// # Errors
    /// `input.invalid` if it is no log's key; `store.*`.
    pub fn trust(&self, verifier_key: &str) -> Result<()> {
        let bad = |e| Error::new(Code::InputInvalid, "this is no verifier key of a log").caused_by(e);
        let key = VerifierKey::parse(verifier_key.trim()).map_err(bad)?;
        let _lock = self.lock()?;
        if self.policy()?.logs(&key.name).any(|known| *known == key) {
            return Ok(());
        }
        let place = self.folder.join(POLICY);
        let mut text = input::text(&place, "the policy of a witness", input::TEXT, Code::WitnessInvalid)?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += &format!("log {key}\n");
        Policy::parse(&text).map_err(|e| Error::new(Code::InputInvalid, "this key cannot be trusted here").caused_by(e))?;
        replace(&self.folder, POLICY, text.as_bytes())
    }

    /// Answers a request of C2SP `tlog-witness`, `add-checkpoint`.
    ///
    /// # Errors
    /// `store.*` or `witness.invalid` where the witness's own files cannot be
    /// read or written; nothing is cosigned then.
    pub fn add_checkpoint(&self, request: &[u8]) -> Result<Answer> {
        match self.cosign(request, SystemClock.now_ms() / 1000) {
            Ok(Ok(line)) => Ok(Answer { status: 200, content_type: "text/plain; charset=utf-8", body: line + "\n" }),
            Ok(Err(Refusal::Conflict { size })) => Ok(Answer { status: 409, content_type: "text/x.tlog.size", body: format!("{size}\n") }),
            Ok(Err(refusal)) => {
                Ok(Answer { status: refusal.status(), content_type: "text/plain; charset=utf-8", body: format!("{refusal}\n") })
            }
            Err(e) => Err(e),
        }
    }

    /// The line that cosigns a request's checkpoint, or why there is none.
    fn cosign(&self, request: &[u8], now: u64) -> Result<Result<String, Refusal>> {
        let request = match AddCheckpoint::parse(request) {
            Ok(request) => request,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let lock = self.lock()?;
        if let Err(refusal) = request.is_signed(&self.policy()?) {
            return Ok(Err(refusal));
        }
        let mut state = self.state()?;
        let origin = request.checkpoint.origin;
        let latest = state.get(origin).map(|note| self.read_seen(note)).transpose()?;
        if let Err(refusal) = request.extends(latest.as_ref().map(|seen| (seen.size, seen.root))) {
            return Ok(Err(refusal));
        }
        // A clock that went back makes no earlier cosignature than the last.
        let time = now.max(latest.map_or(0, |seen| seen.time));
        let signature = self.key.sign_bytes(message(time, request.note.text).as_bytes());
        let line = Cosignature { time, signature }.line(&self.name, self.key.public());
        let policy = self.policy()?;
        let known = |line: &&mirrordna_core::verify::note::SignatureLine<'_>| {
            policy.logs(origin).any(|key| line.name == origin && line.id == key.id())
        };
        let signatures: String = request.note.signatures.iter().filter(known).map(|s| s.to_string() + "\n").collect();
        state.insert(origin.to_owned(), format!("{}\n{signatures}{line}\n", request.note.text));
        self.keep(&state)?;
        drop(lock);
        Ok(Ok(line))
    }

    /// What it has cosigned, by origin.
    ///
    /// # Errors
    /// `witness.invalid`, `store.io`.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        let seen = |(origin, note): (String, String)| {
            let read = self.read_seen(&note)?;
            Ok(Seen { origin, size: read.size, root: hex(&read.root), time: read.time, note })
        };
        self.state()?.into_iter().map(seen).collect()
    }

    /// Excludes all others who would cosign with this key, until dropped.
    fn lock(&self) -> Result<File> {
        let place = self.folder.join(KEY);
        let file = File::open(&place).and_then(|file| file.lock().map(|()| file));
        file.map_err(|e| io("lock", &place, e))
    }

    fn policy(&self) -> Result<Policy> {
        let place = self.folder.join(POLICY);
        let text = input::text(&place, "the policy of a witness", input::TEXT, Code::WitnessInvalid)?;
        Policy::parse(&text).map_err(|e| damaged(&place, "is no policy").caused_by(e))
    }

    /// The notes that were cosigned, by origin. A state that is gone is not an
    /// empty one: what was cosigned before would be forgotten.
    fn state(&self) -> Result<BTreeMap<String, String>> {
        let place = self.folder.join(STATE);
        let bad = || damaged(&place, "is no state of a witness");
        let text = input::text(&place, "the state of a witness", MAX_STATE, Code::WitnessInvalid)?;
        let mut rest = text.strip_prefix(STATE_MAGIC).and_then(|rest| rest.strip_prefix('\n')).ok_or_else(bad)?;
        let mut notes = BTreeMap::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_once('\n').ok_or_else(bad)?;
            let length: usize = length.parse().map_err(|_| bad())?;
            let (note, after) = after.split_at_checked(length).ok_or_else(bad)?;
            let origin = note.lines().next().ok_or_else(bad)?.to_owned();
            if notes.insert(origin, note.to_owned()).is_some() {
                return Err(bad());
            }
            rest = after;
        }
        Ok(notes)
    }

    fn keep(&self, state: &BTreeMap<String, String>) -> Result<()> {
        let notes: String = state.values().map(|note| format!("{}\n{note}", note.len())).collect();
        replace(&self.folder, STATE, format!("{STATE_MAGIC}\n{notes}").as_bytes())
    }

    /// Reads a note of the state, which must have the witness's own line.
    fn read_seen(&self, note: &str) -> Result<Read> {
        let place = self.folder.join(STATE);
        let bad = || damaged(&place, "holds a checkpoint that this witness has not cosigned");
        let note = Note::parse(note.as_bytes()).map_err(|e| bad().caused_by(e))?;
        let checkpoint = Checkpoint::parse(note.text).map_err(|e| bad().caused_by(e))?;
        let key = self.verifier_key();
        let time = note.signatures.iter().find_map(|line| judge(line, note.text, &key)?.ok()).ok_or_else(bad)?;
        Ok(Read { size: checkpoint.size, root: checkpoint.root, time })
    }
}

struct Read {
    size: u64,
    root: mirrordna_core::Hash,
    time: u64,
}

/// Reads `PRIVATE+KEY+<name>+<id>+<base64 of type and seed>`.
fn read_key(text: &str) -> Option<(String, SecretKey)> {
    let mut parts = text.strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
    let (name, id, data) = (parts.next()?, parts.next()?, parts.next()?);
    let raw = Zeroizing::new(from_base64(data)?);
    let seed = Zeroizing::new(<[u8; 32]>::try_from(raw.strip_prefix(&[KeyType::Witness.byte()])?).ok()?);
    let key = SecretKey::from_seed(&seed);
    let public = VerifierKey { name: name.to_owned(), kind: KeyType::Witness, key: key.public().clone().into() };
    (is_key_name(name) && hex(&public.id()) == id).then(|| (name.to_owned(), key))
}

/// Puts a file in the place of another, durably: whoever reads it reads either.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (temporary, place) = (folder.join(format!("{name}.new")), folder.join(name));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&temporary, &place)).map_err(|e| io("write", &place, e))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io("sync", folder, e))
}

fn damaged(place: &Path, why: &str) -> Error {
    Error::new(Code::WitnessInvalid, format!("{} {why}", place.display()))
}

fn io(doing: &str, path: &Path, e: std::io::Error) -> Error {
    Error::new(Code::StoreIo, format!("cannot {doing} {}", path.display())).caused_by(e)
}
