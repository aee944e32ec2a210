//! `spec/vectors/`: made by this code, frozen, and read by others.
//!
//! The generator has a fixed clock and fixed randomness; a test fails where it
//! no longer makes what stands in the files. `cargo xtask vectors` writes them
//! anew. The other tests start from the files, not from the code, and decode
//! them with implementations that are not ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ciborium::Value as Cbor;
use coset::{CoseSign1, TaggedCborSerializable};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use mirrordna_core::body::{Body, Media, field, schema};
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::identity::{Created, IdentityType, create};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::proof::{Tiles, consistency, inclusion};
use mirrordna_core::timeline::{Draft, DraftBody, NewEvent, Place, Tree, leaf_data};
use mirrordna_core::verify::body::{PublicBody, epoch_certificate};
use mirrordna_core::verify::cbor::Writer;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::leaf::SEAL_AAD;
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::verify::note::{Checkpoint, Note, assemble, origin, verifier_key};
use mirrordna_core::verify::{Ledger, Report, Trust, Verdict, leaf};
use mirrordna_core::{Entropy, Hash, Kind, PublicKey, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds at leaf 0; each leaf comes 10 ms after the one before.
const START: u64 = 1_770_000_000_000;

/// Block n is SHA-256("mdna.vectors" || n), n as u64be, from 0; a request takes
/// whole blocks and cuts the last.
struct Stream(AtomicU64);

impl Entropy for Stream {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        for part in out.chunks_mut(32) {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            part.copy_from_slice(&sha256(&[b"mdna.vectors", &n.to_be_bytes()])[..part.len()]);
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap().as_bytes();
    text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hash_of(value: &Value) -> Hash {
    unhex(value).try_into().unwrap()
}

/// An actor while the log is made.
struct Chain {
    created: Created,
    epoch: SecretKey,
    next: u64,
    last: Hash,
    signer: u64,
}

impl Chain {
    fn new(kind: IdentityType, entropy: &Stream) -> Self {
        let created = create(kind, START, entropy).unwrap();
        let line = created.did_log.strip_suffix(b"\n").unwrap();
        let last = sha256(&[line]);
        Self { created, epoch: SecretKey::generate(entropy).unwrap(), next: 0, last, signer: 0 }
    }

    fn open(&self, log: &[u8; 16]) -> PublicBody<'static> {
        let (key, not_after) = (self.epoch.public().to_bytes(), START + 86_400_000);
        let certificate = self.created.actor.sign_bytes(&epoch_certificate(log, &self.created.digest, &key, 1, not_after));
        PublicBody::EpochOpen { key, version: 1, not_after, certificate, ends: Vec::new() }
    }
}

/// Who signs a leaf.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Actor,
    Epoch,
    Nobody,
}

struct Log {
    id: [u8; 16],
    database: [u8; 16],
    key: SecretKey,
    store: Secret,
    subject: (Hash, Secret),
    tree: Tree,
    hashes: Vec<Hash>,
    events: Vec<Value>,
    frames: Vec<Vec<u8>>,
    frontiers: Vec<Vec<u8>>,
    time: u64,
}

impl Log {
    fn push(&mut self, chain: &mut Chain, draft: &Draft, by: By) -> Hash {
        let index = self.tree.size();
        self.time = START + 10 * index;
        let aseq = chain.next;
        if draft.kind.brings_key() {
            chain.signer = aseq;
        }
        let place = Place { log: self.id, actor: chain.created.digest, aseq, prev: chain.last, signer: chain.signer, time: self.time };
        let header = draft.place(&place);
        let key = match by {
            By::Actor => Some(&chain.created.actor),
            By::Epoch => Some(&chain.epoch),
            By::Nobody => None,
        };
        let data = leaf_data(&header, key);
        let hash = leaf::hash(&data);
        let erased = header.kind == Kind::RECORD_PUT && header.session == [0; 16];
        let stored = draft.row().filter(|_| !erased);
        let mut event = json!({
            "index": index,
            "header": {
                "log": hex(&header.log), "actor": hex(&header.actor), "aseq": header.aseq, "prev": hex(&header.prev),
                "signer": header.signer, "time": header.time, "kind": header.kind.0, "session": hex(&header.session),
                "body": hex(&header.body), "length": header.length, "refs": header.refs.iter().map(|r| hex(r)).collect::<Vec<_>>(),
            },
            "header_bytes": hex(&header.encode()),
            "signed_by": key.map(|k| hex(&k.public().to_bytes())),
            "leaf": hex(&data),
            "leaf_hash": hex(&hash),
            "stored": stored.map(hex),
        });
        let mut w = Writer::default();
        w.array(7).uint(2).uint(1).uint(index).bytes(&data);
        match stored {
            Some(row) => w.bytes(row),
            None => w.null(),
        };
        match &draft.body {
            DraftBody::Private(sealed) if !erased => {
                let wrapped = self.subject.1.wrap(&sealed.secret);
                event["private"] = json!({
                    "secret": hex(sealed.secret.expose()), "wrapped": hex(&wrapped),
                    "padded": hex(&cipher::open(&sealed.secret, Binding { log: &self.id, actor: &header.actor, kind: header.kind }, &sealed.row).unwrap()),
                });
                w.uint(1).bytes(&wrapped);
            }
            _ => drop(w.null().null()),
        }
        self.frames.push(w.into_bytes());
        self.events.push(event);
        self.tree.push(hash);
        self.hashes.push(hash);
        self.frontiers.push(self.tree.frontier().to_bytes());
        chain.last = hash;
        chain.next += 1;
        hash
    }

    fn checkpoint(&self, size: u64) -> String {
        let name = origin(&self.id);
        let root = mirrordna_core::verify::merkle::root_of(&self.hashes[..size as usize]);
        let text = Checkpoint { origin: &name, size, root }.text();
        assemble(&text, &name, self.key.public(), &self.key.sign_bytes(text.as_bytes()))
    }
}

/// The log of the vectors and everything beside it.
fn make() -> Vec<(&'static str, Value)> {
    let entropy = Stream(AtomicU64::new(0));
    let mut system = Chain::new(IdentityType::System, &entropy);
    let mut agent = Chain::new(IdentityType::Agent, &entropy);
    let subject = (sha256(&[b"a subject's tag"]), Secret::generate(&entropy).unwrap());
    let mut log = Log {
        id: mirrordna_core::random(&entropy).unwrap(),
        database: mirrordna_core::random(&entropy).unwrap(),
        key: SecretKey::generate(&entropy).unwrap(),
        store: Secret::generate(&entropy).unwrap(),
        subject,
        tree: Tree::default(),
        hashes: Vec::new(),
        events: Vec::new(),
        frames: Vec::new(),
        frontiers: Vec::new(),
        time: START,
    };
    let id = log.id;
    let tenant = log.store.tag("mdna.v1.tenant", &[b"default"]);
    let did_log = system.created.did_log.clone();
    let genesis = PublicBody::Genesis { did_log: &did_log, log_key: log.key.public().to_bytes(), database: log.database, tenant };
    log.push(&mut system, &Draft::public(&genesis), By::Actor);
    let did_log = agent.created.did_log.clone();
    log.push(&mut agent, &Draft::public(&PublicBody::Entry { did_log: &did_log }), By::Actor);
    let open = agent.open(&id);
    log.push(&mut agent, &Draft::public(&open), By::Epoch);
    let session = [7; 16];
    let actor = agent.created.digest;
    let private = |kind, body: &Body, tag: Hash| Draft::private(kind, &id, &actor, body, tag, &entropy).unwrap();
    let memory = Body::new(schema::MEMORY, "mem_01kfznakw0000000000000000a")
        .with(field::SUBJECT, Some("usr_ada"))
        .with(field::OCCURRED_AT, Some(-1))
        .with(6, Some(1))
        .with_payload(Media::TEXT, "Prefers trains to planes — really.".as_bytes());
    let tag = log.subject.0;
    let put = log.push(&mut agent, &private(Kind::RECORD_PUT, &memory, tag).in_session(session), By::Nobody);
    let patch = Body::new(schema::MEMORY, memory.id()).with(6, Some(2)).with_payload(Media::Named("text/markdown".into()), *b"*trains*");
    log.push(&mut agent, &private(Kind::RECORD_PATCH, &patch, tag).in_session(session), By::Nobody);
    let event = NewEvent { event_type: "booking.requested".into(), payload: Some(r#"{"from":"Basel"}"#.into()), ..NewEvent::default() };
    let event = private(Kind::EVENT, &event.into_body("evt_01kfznakw0000000000000000b").unwrap(), tag);
    log.push(&mut agent, &event.in_session(session).referring_to(vec![put]).unwrap(), By::Nobody);
    let forgotten = Body::new(schema::MEMORY, "mem_01kfznakw0000000000000000c").with_payload(Media::JSON, *b"{\"forget\":true}");
    let forgotten = log.push(&mut agent, &private(Kind::RECORD_PUT, &forgotten, tag), By::Nobody);
    log.push(&mut agent, &Draft::empty(Kind::SEAL), By::Epoch);
    let open = system.open(&id);
    log.push(&mut system, &Draft::public(&open), By::Epoch);
    let erase = PublicBody::Erase { reason: 1, count: 1, positions: vec![6], records: &[0xc4; 16], once: &[], subjects: &[] };
    log.push(&mut system, &Draft::public(&erase).referring_to(vec![forgotten]).unwrap(), By::Epoch);
    let source = log.store.tag("mdna.v1.import", &[b"source"]);
    log.push(&mut system, &Draft::public(&PublicBody::ImportOpen { source, bytes: 4_096, format: 1 }), By::Nobody);
    let import = PublicBody::Import { source, kept: 0, repaired: 0, refused: 24, events: 2 };
    log.push(&mut system, &Draft::public(&import), By::Nobody);
    log.push(&mut agent, &Draft::public(&PublicBody::EpochClose), By::Epoch);
    log.push(&mut system, &Draft::public(&PublicBody::EpochClose), By::Epoch);

    let size = log.tree.size();
    let (early, newest) = (log.checkpoint(8), log.checkpoint(size));
    let export = export(&log, &newest);
    let dids: Vec<Value> = [&system, &agent]
        .iter()
        .map(|c| {
            let seeds = [("actor", &c.created.actor), ("next_update", &c.created.next_update), ("recovery", &c.created.recovery)];
            let seeds: Map<String, Value> = seeds.iter().map(|(n, k)| ((*n).to_owned(), hex(&*k.seed()).into())).collect();
            json!({"id": c.created.id, "digest": hex(&c.created.digest), "did_log": String::from_utf8(c.created.did_log.clone()).unwrap(),
                   "seeds": seeds, "actor_key": hex(&c.created.actor.public().to_bytes())})
        })
        .collect();
    vec![
        ("did_logs", json!(dids)),
        (
            "log",
            json!({"id": hex(&id), "database": hex(&log.database), "log_key": hex(&log.key.public().to_bytes()), "log_seed": hex(&*log.key.seed()),
                   "verifier_key": verifier_key(&origin(&id), log.key.public()), "store_key": hex(log.store.expose()),
                   "subject_tag": hex(&log.subject.0), "subject_key": hex(log.subject.1.expose()),
                   "checkpoints": [early, newest], "events": log.events,
                   "verdict": {"with_the_log_key_trusted": "intact", "without": "unproven", "size": size, "root": hex(&log.tree.frontier().root())}}),
        ),
        ("proofs", proofs()),
        ("export", json!({"hex": hex(&export)})),
    ]
}

/// The log as an export file: PROTOCOL.md, chapter 12.
fn export(log: &Log, checkpoint: &str) -> Vec<u8> {
    let mut magic = Writer::default();
    magic.text("mdna.bk1");
    let mut row = Writer::default();
    let edge = log.frontiers.last().unwrap();
    row.array(9).uint(0).uint(1).bytes(&log.id).uint(log.tree.size()).uint(log.time).bytes(edge).text(checkpoint).bytes(edge).null();
    let mut subject = Writer::default();
    let wrapped = log.store.subject_wrapping(&log.id, &log.subject.0).wrap(&log.subject.1);
    subject.array(5).uint(1).uint(1).uint(1).bytes(&log.subject.0).bytes(&wrapped);
    let mut out = Vec::new();
    let frames = [magic, row, subject].map(Writer::into_bytes).into_iter().chain(log.frames.iter().cloned());
    let put = |out: &mut Vec<u8>, frame: &[u8]| {
        out.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        out.extend_from_slice(frame);
    };
    frames.for_each(|f| put(&mut out, &f));
    let mut end = Writer::default();
    end.array(3).uint(9).uint(log.frames.len() as u64).bytes(&sha256(&[&out]));
    put(&mut out, &end.into_bytes());
    out
}

struct Leaves(Vec<Hash>);

impl Tiles for Leaves {
    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>> {
        let from = number as usize * 256;
        Ok(self.0.get(from..from + 256).filter(|_| level == 0).map(<[Hash]>::to_vec))
    }

    fn leaves(&self, from: u64, to: u64) -> Result<Vec<Hash>> {
        Ok(self.0[from as usize..to as usize].to_vec())
    }
}

/// Trees over leaf data u64be(0), u64be(1), …
fn proofs() -> Value {
    let hexes = |proof: Vec<Hash>| proof.iter().map(|h| hex(h)).collect::<Vec<_>>();
    let root = |tiles: &Leaves, n: u64| hex(&mirrordna_core::verify::merkle::root_of(&tiles.0[..n as usize]));
    let tiles = Leaves((0u64..600).map(|i| leaf::hash(&i.to_be_bytes())).collect());
    let (mut included, mut extended) = (Vec::new(), Vec::new());
    for (index, size) in [(0u64, 1u64), (0, 2), (5, 7), (6, 7), (255, 256), (256, 257), (300, 511), (599, 600)] {
        let proof = inclusion(&tiles, index, size).unwrap();
        included.push(json!({"index": index, "size": size, "root": root(&tiles, size), "proof": hexes(proof)}));
    }
    for (from, to) in [(1u64, 1u64), (1, 2), (3, 7), (4, 7), (6, 8), (255, 257), (256, 600), (599, 600)] {
        let proof = consistency(&tiles, from, to).unwrap();
        extended.push(json!({"from": from, "to": to, "from_root": root(&tiles, from), "to_root": root(&tiles, to), "proof": hexes(proof)}));
    }
    json!({"inclusion": included, "consistency": extended})
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(format!("{name}.json"))
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

#[test]
fn what_the_code_makes_is_what_stands_in_the_files() {
    let made = make();
    let row = unhex(&made[1].1["events"][3]["stored"]);
    let secret = Secret::from_bytes(hash_of(&made[1].1["events"][3]["private"]["secret"]));
    let gcm = Hash::try_from(&row[..32]).unwrap() == hkdf(secret.expose(), b"mdna.v1.commit");
    if !gcm {
        eprintln!("skipped: this machine has no AES instructions, so bodies are sealed with the other cipher than in the files");
        return;
    }
    for (name, value) in made {
        let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
        if std::env::var_os("MIRRORDNA_VECTORS").is_some_and(|v| v == "write") {
            std::fs::write(path(name), &text).unwrap();
        }
        assert!(std::fs::read_to_string(path(name)).is_ok_and(|t| t == text), "spec/vectors/{name}.json: the code makes something else");
    }
}

/// HKDF-Expand to 32 bytes, from RFC 5869 section 2.3 by hand.
fn hkdf(secret: &[u8; 32], info: &[u8]) -> Hash {
    let pad = |byte: u8| secret.iter().map(|b| b ^ byte).chain([byte; 32]).collect::<Vec<u8>>();
    let inner = Sha256::digest([&pad(0x36)[..], info, &[1]].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).into()
}

fn cbor(bytes: &[u8]) -> (Cbor, usize) {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).unwrap();
    (value, rest.len())
}

fn walk(events: &[Value], checkpoints: &[Value], trust: Trust) -> Report {
    let mut ledger = Ledger::new(trust);
    for event in events {
        let (data, stored) = (unhex(&event["leaf"]), event["stored"].as_str().map(|_| unhex(&event["stored"])));
        ledger.leaf(&data, stored.as_deref().map_or(Stored::Nothing, Stored::Bytes));
        if event["index"] == 0 {
            checkpoints.iter().for_each(|c| ledger.checkpoint(c.as_str().unwrap().as_bytes()));
        }
    }
    ledger.finish()
}

#[test]
fn the_log_verifies_and_is_unproven_without_its_key() {
    let log = read("log");
    let (events, checkpoints) = (log["events"].as_array().unwrap(), log["checkpoints"].as_array().unwrap());
    let trust = || Trust::none().and(sha256(&[&unhex(&log["log_key"])]));
    let report = walk(events, checkpoints, trust());
    assert_eq!((report.verdict, report.problems.as_slice()), (Verdict::Intact, &[][..]));
    assert_eq!((report.size, hex(&report.root).into()), (events.len() as u64, log["verdict"]["root"].clone()));
    assert_eq!((report.bodies.erased, report.bodies.missing, report.unsigned), (1, 0, 0));
    assert_eq!(walk(events, checkpoints, Trust::none()).verdict, Verdict::Unproven);
    // One byte of any leaf or stored body is noticed.
    for at in 0..events.len() {
        for part in ["leaf", "stored"].into_iter().filter(|p| events[at][*p].is_string()) {
            let mut changed = events.clone();
            let mut bytes = unhex(&changed[at][part]);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            changed[at][part] = hex(&bytes).into();
            assert_eq!(walk(&changed, checkpoints, trust()).verdict, Verdict::Altered, "{part} of {at}");
        }
    }
}

#[test]
fn headers_and_leaves_are_cbor_and_cose() {
    let log = read("log");
    let mut signed = 0;
    for event in log["events"].as_array().unwrap() {
        let header = &event["header"];
        let bytes = |name: &str| Cbor::Bytes(unhex(&header[name]));
        let number = |name: &str| Cbor::from(header[name].as_u64().unwrap());
        let refs = header["refs"].as_array().unwrap().iter().map(|r| Cbor::Bytes(unhex(r))).collect();
        let fields = vec![
            Cbor::from("mdna.ev1"),
            bytes("log"),
            bytes("actor"),
            number("aseq"),
            bytes("prev"),
            number("signer"),
            number("time"),
            number("kind"),
            bytes("session"),
            bytes("body"),
            number("length"),
            Cbor::Array(refs),
        ];
        let header_bytes = unhex(&event["header_bytes"]);
        assert_eq!(cbor(&header_bytes), (Cbor::Array(fields), 0));
        let data = unhex(&event["leaf"]);
        assert_eq!(Sha256::digest([&[0], &data[..]].concat()).to_vec(), unhex(&event["leaf_hash"]));
        if event["signed_by"].is_null() {
            assert_eq!(data, header_bytes);
            continue;
        }
        signed += 1;
        let key = PublicKey::new(&hash_of(&event["signed_by"])).unwrap();
        let cose = CoseSign1::from_tagged_slice(&data).unwrap();
        assert_eq!((cose.payload.as_deref(), &cose.protected.header.key_id[..]), (Some(&header_bytes[..]), &key.id()[..]));
        let check = |signature: &[u8], data: &[u8]| key.verifies(data, signature.try_into().unwrap()).then_some(()).ok_or("invalid");
        assert_eq!(cose.verify_signature(SEAL_AAD, check), Ok(()));
        assert_eq!(cose.to_tagged_vec().unwrap(), data);
    }
    assert_eq!(signed, 8);
}

#[test]
fn bodies_are_cbor_and_open_with_their_secrets() {
    let log = read("log");
    let (mut public, mut private) = (0, 0);
    for event in log["events"].as_array().unwrap().iter().filter(|e| e["stored"].is_string()) {
        let (header, row) = (&event["header"], unhex(&event["stored"]));
        if event["private"].is_null() {
            public += 1;
            assert_eq!(Sha256::digest([b"mdna.v1.public", &row[..]].concat()).to_vec(), unhex(&header["body"]));
            let (Cbor::Map(fields), 0) = cbor(&row) else { panic!("{event}") };
            assert_eq!(fields[0], (0.into(), 1.into()));
            continue;
        }
        private += 1;
        assert_eq!(Sha256::digest([b"mdna.v1.body", &row[..]].concat()).to_vec(), unhex(&header["body"]));
        let secret = hash_of(&event["private"]["secret"]);
        assert_eq!(row[..32], hkdf(&secret, b"mdna.v1.commit"));
        let key = Secret::from_bytes(hash_of(&log["subject_key"]));
        assert_eq!(key.unwrap(&unhex(&event["private"]["wrapped"])).unwrap().expose(), &secret);
        let (id, actor) = (<[u8; 16]>::try_from(unhex(&log["id"])).unwrap(), hash_of(&header["actor"]));
        let binding = Binding { log: &id, actor: &actor, kind: Kind(header["kind"].as_u64().unwrap()) };
        let padded = cipher::open(&Secret::from_bytes(secret), binding, &row).unwrap();
        assert_eq!(padded[..], unhex(&event["private"]["padded"]));
        assert_eq!(padded.len() as u64, header["length"].as_u64().unwrap());
        let (Cbor::Map(fields), padding) = cbor(&padded) else { panic!("{event}") };
        assert!(padded[padded.len() - padding..].iter().all(|b| *b == 0));
        let keys: Vec<i128> = fields.iter().map(|(k, _)| k.as_integer().unwrap().into()).collect();
        assert!(keys.starts_with(&[0, 1]) && keys.is_sorted() && keys.contains(&15), "{keys:?}");
    }
    assert_eq!((public, private), (9, 3));
}

#[test]
fn did_logs_are_canonical_json() {
    for did in read("did_logs").as_array().unwrap() {
        let line = did["did_log"].as_str().unwrap().strip_suffix('\n').unwrap();
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(serde_jcs::to_string(&entry).unwrap(), line);
        let id = entry["state"]["id"].as_str().unwrap();
        assert!(did["id"].as_str().unwrap().ends_with(&hex(&unhex(&did["digest"])[..16])) && id.starts_with("did:webvh:Qm"));
        let actor = SecretKey::from_seed(&hash_of(&did["seeds"]["actor"]));
        assert_eq!(hex(&actor.public().to_bytes()), did["actor_key"].as_str().unwrap());
        assert_eq!(entry["state"]["verificationMethod"][0]["publicKeyMultibase"], actor.public().multikey());
    }
}

#[test]
fn checkpoints_are_notes_by_the_log_key() {
    let log = read("log");
    let key = PublicKey::new(&hash_of(&log["log_key"])).unwrap();
    let name = format!("local.invalid/log/{}", log["id"].as_str().unwrap());
    assert_eq!(log["verifier_key"], verifier_key(&name, &key));
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let events = log["events"].as_array().unwrap();
    let mut next = 0;
    for checkpoint in log["checkpoints"].as_array().unwrap() {
        let note = Note::parse(checkpoint.as_str().unwrap().as_bytes()).unwrap();
        assert!(note.signed_by(&name, &key));
        let read = Checkpoint::parse(note.text).unwrap();
        for event in &events[next..read.size as usize] {
            theirs.push(unhex(&event["leaf"]));
        }
        next = read.size as usize;
        assert_eq!(read.root, <Hash>::from(*theirs.root().as_bytes()), "{}", read.size);
    }
    assert_eq!(next, events.len());
}

#[test]
fn proofs_check_elsewhere() {
    let file = read("proofs");
    let root = |value: &Value, n: &Value| RootHash::<Sha256>::new(hash_of(value).into(), n.as_u64().unwrap());
    let digests = |case: &Value| case["proof"].as_array().unwrap().iter().map(|h| hash_of(h).into()).collect::<Vec<_>>();
    let (included, extended) = (file["inclusion"].as_array().unwrap(), file["consistency"].as_array().unwrap());
    for case in included {
        let index = case["index"].as_u64().unwrap();
        let proof = InclusionProof::<Sha256>::from_digests(&digests(case));
        let root = root(&case["root"], &case["size"]);
        assert!(root.verify_inclusion(&index.to_be_bytes(), index, &proof).is_ok(), "{case}");
        assert!(root.verify_inclusion(&[0; 8], index + 1, &proof).is_err(), "{case}");
    }
    for case in extended {
        let proof = ConsistencyProof::<Sha256>::from_digests(&digests(case));
        let (from, to) = (root(&case["from_root"], &case["from"]), root(&case["to_root"], &case["to"]));
        assert!(to.verify_consistency(&from, &proof).is_ok(), "{case}");
    }
    assert_eq!((included.len(), extended.len()), (8, 8));
}
