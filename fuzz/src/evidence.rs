//! What auditors and witnesses are handed: bundles, policies, proofs, requests
//! and cosignatures.
//!
//! No input can be signed by a key whose seed only this file uses; so whatever
//! is found intact says what the seeds say.

use crate::memory::bounded;
use mirrordna_core::Hash;
use mirrordna_core::keys::SecretKey;
use mirrordna_core::proof;
use mirrordna_core::verify::bundle::{Freshness, Judge, Judgement, Scope};
use mirrordna_core::verify::cosignature::{self, Cosignature};
use mirrordna_core::verify::hash::{leaf as leaf_hash, node};
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::verify::merkle::root_of;
use mirrordna_core::verify::note::{Checkpoint, Note, assemble, from_base64, signature_line};
use mirrordna_core::verify::tlog_proof::TlogProof;
use mirrordna_core::verify::tlog_witness::{AddCheckpoint, Refusal};
use mirrordna_core::verify::vkey::{KeyType, VerifierKey};
use mirrordna_core::verify::{Policy, Verdict};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Cases of `spec/vectors/bundles.jsonl` that are intact and short, the first
/// the whole log with its contents.
const CASES: [&str; 9] = [
    "whole, contents disclosed",
    "whole",
    "whole, private bodies withheld",
    "whole, with a checkpoint on the way",
    "witnessed by two of three",
    "part, disclosed",
    "part, with a checkpoint on the way",
    "part, an erased event and its erasure",
    "part, nothing but the genesis",
];

/// An event as a bundle shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    section: usize,
    log: [u8; 16],
    index: u64,
    asked: bool,
    hash: Hash,
    leaf: Vec<u8>,
    body: Option<Vec<u8>>,
    secret: Option<[u8; 32]>,
    unread: Option<u64>,
}

/// The bundles of the vectors, who is trusted, and the log that they are of.
pub(crate) struct Vectors {
    pub(crate) bundles: Vec<Vec<u8>>,
    trusted: Policy,
    /// A checkpoint of the log that was kept.
    kept: String,
    /// Of each leaf its data, its body and its secret, as far as they are known.
    log: BTreeMap<u64, Shown>,
}

pub(crate) static VECTORS: LazyLock<Vectors> = LazyLock::new(|| {
    let lines = include_str!("../../spec/vectors/bundles.jsonl").lines();
    let cases: Vec<Value> = lines.map(|l| serde_json::from_str(l).expect("a vector is JSON")).collect();
    let case = |name: &str| cases.iter().find(|c| c["name"] == name).expect("a case of the vectors");
    let text = |value: &Value| value.as_str().expect("a member is text").to_owned();
    let bundles = CASES.map(|name| from_base64(&text(&case(name)["bundle"])).expect("a bundle is base64")).to_vec();
    // Who is trusted as a log, and three witnesses whom no quorum asks for.
    let trusted = Policy::parse(&text(&case("witnessed, without a quorum to ask for")["policy"])).expect("a policy of the vectors");
    let kept = text(&case("kept, an earlier one")["kept"][0]);
    let mut vectors = Vectors { bundles, trusted, kept, log: BTreeMap::new() };
    let mut log: BTreeMap<u64, Shown> = BTreeMap::new();
    for bundle in &vectors.bundles {
        for event in judged(&vectors, vectors.trusted.clone(), [bundle.as_slice()]).1 {
            let known = log.entry(event.index).or_insert_with(|| event.clone());
            known.body = known.body.take().or(event.body);
            known.secret = known.secret.or(event.secret);
        }
    }
    vectors.log = log;
    vectors
});

type Judged = (Option<Judgement>, Vec<Shown>);

/// What is made of a file that comes in these pieces.
fn judged<'a>(vectors: &Vectors, policy: Policy, pieces: impl IntoIterator<Item = &'a [u8]>) -> Judged {
    let mut judge = Judge::new(policy);
    judge.keep(vectors.kept.as_bytes()).expect("it is a checkpoint");
    let mut events = Vec::new();
    for piece in pieces {
        let fed = judge.feed(piece, &mut |event| {
            let (body, secret, unread) = match event.body {
                Stored::Nothing => (None, None, None),
                Stored::Unread(length) => (None, None, Some(length)),
                Stored::Bytes(body) => (Some(body.to_vec()), None, None),
                Stored::Opened(body, secret) => (Some(body.to_vec()), Some(*secret), None),
            };
            let (section, log, leaf) = (event.section, *event.log, event.leaf.to_vec());
            events.push(Shown { section, log, index: event.index, asked: event.asked, hash: event.hash, leaf, body, secret, unread });
        });
        if fed.is_err() {
            return (None, events);
        }
    }
    (judge.finish().ok(), events)
}

/// Pieces of lengths that the bytes themselves choose, none of them empty.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut state = data.iter().fold(data.len() as u64 | 1, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let mut rest = data;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let most = [1, 7, 64, 4096][(state >> 33) as usize % 4];
        let (piece, after) = rest.split_at_checked(((state >> 40) as usize % most) + 1).unwrap_or((rest, &[]));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// How a bundle is cut into pieces changes nothing, and what is judged is
/// bounded in memory. An intact one shows nothing that the log of the vectors
/// does not hold; cut or continued, it is intact no longer. Nothing is intact
/// for those who trust nobody.
pub fn bundle(data: &[u8]) -> bool {
    let vectors = &*VECTORS;
    let mut of_length = Judge::new(vectors.trusted.clone());
    let fed = bounded(data, 256, 1 << 20, || of_length.feed(data, &mut |_| {}));
    let finished = bounded(data, 256, 1 << 20, || of_length.finish());
    let (whole, events) = judged(vectors, vectors.trusted.clone(), [data]);
    let (parts, shown) = judged(vectors, vectors.trusted.clone(), pieces(data));
    assert_eq!(format!("{whole:?}"), format!("{parts:?}"), "the pieces changed the judgement");
    assert!(events == shown, "the pieces changed the events");
    let Some(whole) = whole else {
        assert!(fed.is_err() || finished.is_err());
        return false;
    };
    assert_eq!(whole.verdict == Verdict::Altered, !whole.problems.is_empty(), "{whole:?}");
    let stranger = judged(vectors, Policy::default(), [data]).0.expect("it is a bundle for everybody");
    assert_ne!(stranger.verdict, Verdict::Intact, "{stranger:?}");
    if whole.verdict != Verdict::Intact {
        return false;
    }
    for log in &whole.logs {
        assert!(log.scope == Scope::Part || log.freshness == Freshness::Current, "{log:?}");
    }
    for event in &events {
        let known = vectors.log.get(&event.index).expect("an intact bundle shows leaves of the log");
        assert_eq!((event.log, event.hash, &event.leaf), (known.log, known.hash, &known.leaf));
        assert!(event.body.is_none() || event.body == known.body, "{event:?}");
        assert!(event.secret.is_none() || event.secret == known.secret, "{event:?}");
    }
    let again = |bytes: &[u8]| judged(vectors, vectors.trusted.clone(), [bytes]).0.map(|j| j.verdict);
    assert_eq!(again(&[data, &[0]].concat()), Some(Verdict::Altered), "bytes after the end go unnoticed");
    assert_eq!(again(&data[..data.len() - 1]), Some(Verdict::Altered), "a missing byte goes unnoticed");
    true
}

const ORIGIN: &str = "example.com/log";
const NAMES: [&str; 3] = ["w1.example", "w2.example", "w3.example"];

fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn witness(number: usize) -> VerifierKey {
    VerifierKey { name: NAMES[number].to_owned(), kind: KeyType::Witness, key: secret(2 + number as u8).public().clone().into() }
}

fn log_key() -> VerifierKey {
    VerifierKey { name: ORIGIN.to_owned(), kind: KeyType::Log, key: secret(1).public().clone().into() }
}

/// The leaves of the log that the seeds speak of.
fn leaves() -> Vec<Hash> {
    (0..5u8).map(|i| leaf_hash(&[i])).collect()
}

/// A checkpoint of the first `size` leaves, signed, with a cosignature of each
/// witness in `times`.
fn checkpoint(size: usize, times: &[(usize, u64)]) -> String {
    let text = Checkpoint { origin: ORIGIN, size: size as u64, root: root_of(&leaves()[..size]) }.text();
    let mut note = assemble(&text, ORIGIN, secret(1).public(), &secret(1).sign_bytes(text.as_bytes()));
    for (number, time) in times {
        let signature = secret(2 + *number as u8).sign_bytes(cosignature::message(*time, &text).as_bytes());
        note += &Cosignature { time: *time, signature }.line(NAMES[*number], secret(2 + *number as u8).public());
        note.push('\n');
    }
    note
}

/// What each witness says in the seeds, and when.
const TIMES: [(usize, u64); 3] = [(0, 1_770_000_000), (1, 1_770_000_060), (2, 1_770_000_030)];

/// The leaf that the proofs of the seeds are of.
const LEAF: u64 = 2;

fn path() -> Vec<Hash> {
    let all = leaves();
    vec![all[3], node(&all[0], &all[1]), all[4]]
}

pub(crate) fn policies() -> Vec<Vec<u8>> {
    let [a, b, c] = [0, 1, 2].map(|n| format!("witness {} {}\n", NAMES[n], witness(n)));
    let log = format!("log {}\n", log_key());
    let print = "3ab2ffebd4a3aab9ef464b5c59283d862018a3d2fac685be4ec3da516adc596d";
    [
        format!("{log}{a}{b}{c}group g 2 w1.example w2.example w3.example\nquorum g\n"),
        format!("# who is believed\n{print}\n\n{log}quorum none\n"),
        format!("{log}{a}{b}{c}group any any w1.example w2.example\ngroup all all any w3.example\nquorum all"),
        format!("{a}\t{b}quorum\tw1.example\n"),
        format!("log {} https://log.example/\nwitness x {} https://w1.example/\n", log_key(), witness(0)),
        String::new(),
    ]
    .map(String::into_bytes)
    .into()
}

pub(crate) fn cosigned_notes() -> Vec<Vec<u8>> {
    // The longest line that anybody makes is one by ML-DSA-44.
    let second = format!("{}{}\n", checkpoint(5, &TIMES), signature_line(ORIGIN, [6, 6, 6, 6], &[0xa5; 8 + 2420]));
    [checkpoint(5, &TIMES), checkpoint(5, &TIMES[..1]), checkpoint(3, &TIMES[1..]), checkpoint(0, &[]), second]
        .map(String::into_bytes)
        .into()
}

pub(crate) fn tlog_proofs() -> Vec<Vec<u8>> {
    let note = checkpoint(5, &TIMES);
    [
        proof::tlog_proof(LEAF, &path(), &note, Some(&[LEAF as u8])),
        proof::tlog_proof(LEAF, &path(), &note, None),
        proof::tlog_proof(0, &[], &checkpoint(1, &[]), Some(b"")),
    ]
    .map(String::into_bytes)
    .into()
}

pub(crate) fn add_checkpoints() -> Vec<Vec<u8>> {
    let all = leaves();
    let tail = [node(&all[2], &all[3]), all[4]];
    [
        AddCheckpoint::text(2, &tail, &checkpoint(5, &[])),
        AddCheckpoint::text(2, &[], &checkpoint(2, &[])),
        AddCheckpoint::text(0, &[], &checkpoint(5, &TIMES)),
        AddCheckpoint::text(2, &tail[..1], &checkpoint(4, &[])),
    ]
    .map(String::into_bytes)
    .into()
}

static STRICT: LazyLock<Policy> = LazyLock::new(|| {
    let text = policies().swap_remove(0);
    Policy::parse(std::str::from_utf8(&text).expect("a policy is text")).expect("a policy of the seeds")
});

/// A policy is read within bounds and to the same end with its last newline or
/// without it, and comments change nothing. Its keys are written as they were
/// read, and with fewer cosignatures nothing is proven that was not with more.
pub fn policy(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(policy) = bounded(data, 64, 4096, || Policy::parse(text)) else { return false };
    let said = format!("{policy:?}");
    assert!(text.len() <= 128 << 10 && text.split('\n').count() <= 1025);
    let more = format!("# first\n{}\n \t# last", text.strip_suffix('\n').unwrap_or(text));
    match Policy::parse(&more) {
        Ok(again) => assert_eq!(format!("{again:?}"), said, "a comment means something"),
        Err(e) => assert_eq!(e.line, 0, "a comment is refused: {e}"),
    }
    let witnesses = (0..).map_while(|n| policy.witness(n));
    for key in witnesses.chain([&log_key()]).map(ToString::to_string) {
        assert_eq!(VerifierKey::parse(&key).expect("what is written can be read").to_string(), key);
    }
    let mut before = None;
    for upto in 0..=TIMES.len() {
        let note = checkpoint(5, &TIMES[..upto]);
        let now = policy.cosigned(&Note::parse(note.as_bytes()).expect("a note of the seeds"));
        assert!(now.invalid.is_empty(), "every line of the seeds verifies: {now:?}");
        assert_eq!(now.quorum, !policy.asks_for_quorum() || now.not_after.is_some());
        assert_eq!(now.not_after.is_some(), now.not_before.is_some());
        for time in now.not_after.into_iter().chain(now.not_before) {
            assert!(now.times.iter().any(|(_, t)| *t == time), "a time that nobody stated");
        }
        if let Some(before) = before.replace(now.clone()) {
            assert!(!before.quorum || now.quorum, "{before:?} {now:?}");
            assert!(before.not_after.is_none_or(|t| now.not_after.is_some_and(|n| n <= t)), "{before:?} {now:?}");
            assert!(before.not_before.is_none_or(|t| now.not_before.is_some_and(|n| n >= t)), "{before:?} {now:?}");
        }
    }
    true
}

/// Of the lines under a note only those count that a witness has signed, with
/// the time that it stated; a cosignature has one encoding.
pub fn cosignatures(data: &[u8]) -> bool {
    let Ok(note) = bounded(data, 32, 4096, || Note::parse(data)) else { return false };
    for line in &note.signatures {
        if let Ok(read) = Cosignature::parse(&line.signature) {
            assert_eq!(read.to_bytes()[..], line.signature[..]);
        }
    }
    let cosigned = bounded(data, 64, 4096, || STRICT.cosigned(&note));
    assert!(cosigned.times.len() + cosigned.invalid.len() <= note.signatures.len());
    assert!(cosigned.invalid.iter().all(|name| NAMES.contains(&name.as_str())), "{cosigned:?}");
    assert_eq!(cosigned.quorum, cosigned.not_after.is_some(), "this policy asks for a quorum");
    if cosigned.times.is_empty() {
        return false;
    }
    let signed = cosigned_notes().into_iter().any(|seed| Note::parse(&seed).is_ok_and(|seed| seed.text == note.text));
    assert!(signed, "nobody cosigned this text");
    assert!(cosigned.times.iter().all(|said| TIMES.contains(said)), "a time that nobody stated: {cosigned:?}");
    let mut who: Vec<usize> = cosigned.times.iter().map(|(witness, _)| *witness).collect();
    who.sort_unstable();
    who.dedup();
    assert_eq!(cosigned.quorum, who.len() >= 2, "one witness, however often, is one: {cosigned:?}");
    true
}

/// A proof has one encoding, and it is intact for one leaf at one place only.
pub fn tlog_proof(data: &[u8]) -> bool {
    let Ok(read) = bounded(data, 32, 4096, || TlogProof::parse(data)) else { return false };
    let text = std::str::from_utf8(data).expect("it was read as text");
    let (_, note) = text.split_once("\n\n").expect("it was split there");
    assert_eq!(proof::tlog_proof(read.index, &read.path, note, read.extra.as_deref()), text);
    let judged = bounded(data, 64, 4096, || read.judge(&STRICT, &[LEAF as u8]));
    assert_eq!(judged.verdict == Verdict::Altered, !judged.problems.is_empty());
    assert!(judged.verdict != Verdict::Intact || judged.signed && judged.cosigned.quorum);
    assert_ne!(read.judge(&Policy::default(), &[LEAF as u8]).verdict, Verdict::Intact);
    if judged.verdict != Verdict::Intact {
        return false;
    }
    assert_eq!((read.index, read.path, read.checkpoint.size), (LEAF, path(), 5));
    true
}

/// A request has one encoding. What it extends it says of itself, and only a
/// checkpoint that the log signed is signed.
pub fn add_checkpoint(data: &[u8]) -> bool {
    let read = match bounded(data, 32, 4096, || AddCheckpoint::parse(data)) {
        Ok(read) => read,
        Err(refused) => {
            assert_eq!(refused.status(), 400);
            return false;
        }
    };
    let text = std::str::from_utf8(data).expect("it was read as text");
    let (_, note) = text.split_once("\n\n").expect("it was split there");
    assert_eq!(AddCheckpoint::text(read.old, &read.proof, note), text);
    let (old, new) = (root_of(&leaves()[..2]), &read.checkpoint);
    let extends = read.extends(Some((2, old)));
    match &extends {
        Ok(()) => {
            assert!(read.old == 2 && new.size >= 2);
            assert_eq!(new.size == 2, read.proof.is_empty());
            assert!(new.size > 2 || new.root == old, "two roots of one size");
        }
        Err(Refusal::Conflict { size }) => assert!(*size == 2 && (read.old != 2 || new.size == 2)),
        Err(refused) => assert_eq!((refused, read.old), (&Refusal::Inconsistent, 2)),
    }
    if read.extends(None).is_ok() {
        assert!(read.old == 0 && read.proof.is_empty(), "from nothing there is nothing to prove");
    }
    let signed = read.is_signed(&STRICT);
    match &signed {
        Ok(()) => assert!((0..=5).any(|size| checkpoint(size, &[]).starts_with(&format!("{}\n", read.note.text))), "nobody signed it"),
        Err(refused) => assert_eq!(refused.status(), if new.origin == ORIGIN { 403 } else { 404 }),
    }
    signed.is_ok() && extends.is_ok()
}
