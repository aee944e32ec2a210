//! Foreign bytes through the doors of the engine: imports, an export to be
//! restored, a keyring file.

use crate::decoders::{Counter, name};
use mirrordna::import::{Format, ImportReport, import};
use mirrordna::{Clock, Code, Engine, Error, IdentityType, Keys, Witness};
use mirrordna_core::body::{Body, schema};
use mirrordna_core::verify::cbor::{Reader, Writer};
use mirrordna_core::verify::note::base64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, LazyLock};

/// Time that stands still, so that an input always does the same.
struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        1_770_000_000_000
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

/// An engine in memory, and inputs until it is replaced by a new one.
struct Importer {
    engine: Engine,
    folder: tempfile::TempDir,
    left: usize,
}

impl Importer {
    fn new(left: usize) -> Self {
        Self { engine: Engine::open("memory:").expect("a store in memory opens"), folder: folder(), left }
    }
}

thread_local! {
    static IMPORTER: RefCell<Option<Importer>> = const { RefCell::new(None) };
}

/// Imports `bytes` twice: every record is accounted for, the second run appends
/// nothing, and the log still verifies.
fn twice(name: &str, bytes: &[u8], format: Format) -> Option<ImportReport> {
    IMPORTER.with_borrow_mut(|slot| {
        // Records of these keep their ids: what came before is in the way of
        // what comes with the same.
        let kept = matches!(format, Format::Ledger | Format::Subject);
        let importer = slot.get_or_insert_with(|| Importer::new(if kept { 4 } else { 200 }));
        let file = importer.folder.path().join(name);
        fs::write(&file, bytes).expect("a file can be written");
        let run = || import(&importer.engine.main(), std::slice::from_ref(&file), format, &mut |_, _| {});
        let reports = run().and_then(|first| Ok((first, run()?)));
        importer.left -= 1;
        let verified = importer.left > 0 || importer.engine.verify().is_ok_and(|r| r.is_intact());
        let read = if importer.left == 0 { read(&importer.engine) } else { Ok(()) };
        fs::remove_file(&file).expect("the file is there");
        if importer.left == 0 {
            *slot = None;
        }
        assert!(verified, "the log does not verify after imports");
        read.expect("what was imported can be read");
        let (first, second) = reports.map_err(|e| assert_ne!(e.code(), Code::Bug, "{e}")).ok()?;
        assert_eq!(second.events, 0, "a second run appends nothing: {first:#?} {second:#?}");
        let counts = |r: &ImportReport| (r.kept, r.repaired, r.refused);
        assert_eq!(counts(&first), counts(&second), "{first:#?} {second:#?}");
        Some(first)
    })
}

/// Reads what there is of every kind.
fn read(engine: &Engine) -> Result<(), Error> {
    engine.memories().list(0, 1000)?;
    engine.sessions().list(None)?;
    engine.identities().list()?;
    engine.timeline().list(0, 1000).map(drop)
}

/// Chat turns: each line that is not empty is kept, repaired or refused.
pub fn import_chat(data: &[u8]) -> bool {
    let Some(report) = twice("chat.jsonl", data, Format::Chat) else { return false };
    let text = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let empty = |line: &&[u8]| std::str::from_utf8(line).is_ok_and(|l| l.trim().is_empty());
    let lines = text.split(|b| *b == b'\n').filter(|l| !empty(l)).count() as u64;
    assert_eq!(report.kept + report.repaired + report.refused, lines, "{report:#?}");
    report.kept > 0
}

/// Upstream's files, whose name the first byte chooses.
pub fn import_upstream(data: &[u8]) -> bool {
    let Some((first, bytes)) = data.split_first() else { return false };
    twice(name(*first), bytes, Format::Upstream).is_some_and(|r| r.kept + r.repaired > 0)
}

/// Conversations of a ChatGPT export: each is refused as a whole, or each of its
/// messages is kept, repaired or refused.
pub fn import_chatgpt(data: &[u8]) -> bool {
    let Some(report) = twice("conversations.json", data, Format::ChatGpt) else { return false };
    let judged = report.kept + report.repaired + report.refused;
    let text = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Array(conversations)) => {
            let said: Vec<u64> = conversations.iter().map(messages).collect();
            let (least, most) = said.iter().fold((0, 0), |(least, most), n| (least + 1.min(*n), most + 1.max(*n)));
            assert!((least..=most).contains(&judged), "{judged} of {least} to {most}: {report:#?}");
        }
        Ok(_) => assert_eq!((judged, report.refused), (1, 1), "{report:#?}"),
        // Only numbers that do not fit, and depth counted from the array on,
        // are refused there and not here.
        Err(e) => {
            let limit = ["number out of range", "recursion limit"].iter().any(|why| e.to_string().contains(why));
            assert!(limit || report.refused > 0, "{e}: {report:#?}");
        }
    }
    report.kept > 0
}

/// Call ledgers: each record is kept, repaired or refused, and a call that came
/// in whole is one of the log.
pub fn import_ledger(data: &[u8]) -> bool {
    let Some(report) = twice("ledger.json", data, Format::Ledger) else { return false };
    let judged = report.kept + report.repaired + report.refused;
    match serde_json::from_slice::<Value>(data) {
        Ok(Value::Array(records)) => assert_eq!(judged, records.len() as u64, "{report:#?}"),
        Ok(Value::Object(one)) if one.contains_key("call_id") => assert_eq!(judged, 1, "{report:#?}"),
        // A list of records, or none.
        Ok(Value::Object(_)) => {}
        Ok(_) => assert_eq!((judged, report.refused), (1, 1), "{report:#?}"),
        // Lines, or what only upstream's reader takes, or damage.
        Err(_) => assert!(judged > 0, "{report:#?}"),
    }
    assert!(report.events == 0 || report.kept + report.repaired > 0, "{report:#?}");
    report.kept + report.repaired > 0
}

/// Exports of a subject: each line after the first is kept or refused.
pub fn import_subject(data: &[u8]) -> bool {
    let Some(report) = twice("sam.jsonl", data, Format::Subject) else { return false };
    let ended = data.strip_suffix(b"\n").unwrap_or(data);
    let lines = if data.is_empty() { 0 } else { ended.split(|b| *b == b'\n').count() as u64 - 1 };
    assert_eq!((report.kept + report.refused, report.repaired), (lines, 0), "{report:#?}");
    assert!(report.events == 0 || report.kept > 0, "{report:#?}");
    report.kept > 0
}

/// What an engine exports of a subject: memories, one of them changed and one
/// archived, and events.
pub(crate) fn subject_exports() -> Vec<Vec<u8>> {
    let made = || -> Result<Vec<u8>, Error> {
        let folder = folder();
        let engine = Original::builder(folder.path(), "subject.db").open()?;
        let agent = engine.identities().create(IdentityType::Agent)?;
        let memories = agent.memories();
        let ids: Vec<String> = ["trains", "planes", "ferries"]
            .iter()
            .map(|text| Ok(memories.add(*text).subject("Sam").send()?.id))
            .collect::<Result<_, Error>>()?;
        memories.archive(&ids[1])?;
        let mut out = Vec::new();
        engine.export_subject("Sam", &mut out)?;
        Ok(out)
    };
    let whole = made().expect("a subject can be exported");
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    let first = [lines[0], lines[1]].concat();
    let twice = [&whole[..], lines[1], lines[4]].concat();
    // What is archived comes before it is there.
    let turned = [lines[0], lines[4], lines[2], lines[4], b"\n", lines[3].trim_ascii_end()].concat();
    let named = String::from_utf8(first.clone()).expect("an export is text").replace("\"media\":0", "\"media\":\"text/x\"");
    let bytes = named.replace("\"text\":\"trains\"", "\"payload\":\"AAEC\"");
    // Two records with one id.
    let line = |n: u8, schema| {
        let body = base64(&Body::new(schema, "mem_x").encode_padded().expect("it is short"));
        json!({"hash": format!("{n:064}"), "kind": "record.put", "actor": "x", "body": body}).to_string()
    };
    let same = format!("{}\n{}\n", line(1, schema::MEMORY), line(2, schema::SESSION));
    let same = [lines[0], same.as_bytes()].concat();
    vec![whole.clone(), first, twice, turned, same, named.into_bytes(), bytes.into_bytes(), lines[0].to_vec()]
}

/// Messages in the tree of a conversation.
fn messages(conversation: &Value) -> u64 {
    let nodes = conversation.get("mapping").and_then(Value::as_object);
    nodes.into_iter().flatten().filter(|(_, node)| node.get("message").is_some_and(|m| !m.is_null())).count() as u64
}

/// A small database with its keyring, and an export of it.
pub(crate) struct Original {
    folder: tempfile::TempDir,
    pub(crate) export: Vec<u8>,
    pub(crate) keyring: Vec<u8>,
    keyring_path: PathBuf,
}

pub(crate) static ORIGINAL: LazyLock<Original> = LazyLock::new(|| Original::make().expect("a database can be made"));

impl Original {
    pub(crate) fn builder(folder: &Path, database: &str) -> mirrordna::Builder {
        let keys = Keys::Folder(folder.join("keys"));
        let builder = Engine::builder(folder.join(database).to_str().expect("the path is text"));
        builder.keys(keys).witness(Witness::Off).clock(Arc::new(Fixed)).entropy(Arc::new(Counter(AtomicU8::new(1))))
    }

    fn make() -> Result<Self, Error> {
        let folder = folder();
        let engine = Self::builder(folder.path(), "m.db").open()?;
        let agent = engine.identities().create(IdentityType::Agent)?;
        agent.memories().add("a memory").send()?;
        drop(agent);
        let mut export = Vec::new();
        engine.export(&mut export)?;
        engine.close()?;
        let mut files = fs::read_dir(folder.path().join("keys")).expect("the keys are there").flatten().map(|e| e.path());
        let keyring_path = files.find(|p| p.extension().is_some_and(|e| e == "keys")).expect("there is a keyring");
        let keyring = fs::read(&keyring_path).expect("the keyring can be read");
        Ok(Self { folder, export, keyring, keyring_path })
    }
}

/// An export with the length of each frame and the digest at its end set
/// right, so that the rules behind them are reached. The form of the input is
/// that of an export without the two.
fn whole(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64);
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let n = (u32::from_be_bytes(*length) as usize).min(after.len());
        let (frame, after) = after.split_at(n);
        let mut r = Reader::new(frame);
        let frame = if r.array() == Ok(3) && r.uint() == Ok(9) {
            let count = r.uint().unwrap_or_default();
            let digest: [u8; 32] = Sha256::digest(&out).into();
            let mut w = Writer::default();
            w.array(3).uint(9).uint(count).bytes(&digest);
            w.into_bytes()
        } else {
            frame.to_vec()
        };
        out.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        out.extend_from_slice(&frame);
        rest = after;
    }
    out
}

/// Whatever is restored verifies and exports to the same bytes; whatever is
/// not leaves no database behind.
pub fn restore(data: &[u8]) -> bool {
    let folder = ORIGINAL.folder.path();
    let mut accepted = false;
    for bytes in [data.to_vec(), whole(data)] {
        let database = folder.join("restored.db");
        let builder = || Original::builder(folder, "restored.db");
        match builder().restore(&mut bytes.as_slice()) {
            Err(e) => {
                assert_ne!(e.code(), Code::Bug, "{e}");
                assert!(!database.exists(), "a refused export left a database: {e}");
            }
            Ok(moved) => {
                accepted = true;
                assert_eq!(moved.bytes, bytes.len() as u64);
                let report = builder().verify().expect("a restored database can be verified");
                // Without the keyring a restore cannot see that a wrapped key is not
                // the one of its subject; verification with the keyring does.
                let by_key = |code: &str| matches!(code, "subject.altered" | "secret.altered");
                assert!(report.problems.iter().all(|p| by_key(&p.code)), "{report:#?}");
                assert_eq!(report.events, moved.events);
                let mut again = Vec::new();
                let engine = builder().read_only().open();
                if let Ok(engine) = engine {
                    engine.export(&mut again).expect("it can be exported");
                    assert_eq!(again, bytes, "an export comes back as it was");
                }
            }
        }
        for suffix in ["", "-wal", "-shm", ".lock", ".open"] {
            let _ = fs::remove_file(folder.join(format!("restored.db{suffix}")));
        }
    }
    accepted
}

/// A keyring file that is not ours is an error or a keyring; what it lacks is
/// missing, and the database is still read as far as that goes.
pub fn keyring(data: &[u8]) -> bool {
    let original = &*ORIGINAL;
    fs::write(&original.keyring_path, data).expect("the keyring can be written");
    let opened = Original::builder(original.folder.path(), "m.db").read_only().open();
    let engine = match opened {
        Ok(engine) => engine,
        Err(e) => {
            assert_ne!(e.code(), Code::Bug, "{e}");
            return false;
        }
    };
    let report = engine.verify().expect("an engine that opened can verify");
    assert_ne!(report.verdict, "altered", "a keyring alters nothing: {report:#?}");
    report.is_intact()
}
