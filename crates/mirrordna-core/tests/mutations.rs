//! Valid inputs with bytes changed: no reader panics, and whatever it still
//! accepts has only one form.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::body::{Body, Media, field};
use mirrordna_core::identity::{Change, IdentityType, committed, create, extend};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::json::{Json, Value};
use mirrordna_core::verify::leaf::{encode_signed, signed_bytes};
use mirrordna_core::verify::note::{Checkpoint, Note, assemble, base64};
use mirrordna_core::{Entropy, Header, Kind, Leaf, Result};
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// One edit of a byte string.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, u8),
    /// Copies a range to another place.
    Copy(Index, u8, Index),
    Cut(Index),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let n = bytes.len();
        if n == 0 {
            return;
        }
        let range = |at: &Index, len: &u8| at.index(n)..(at.index(n) + usize::from(*len)).min(n);
        match self {
            Self::Set(at, byte) => bytes[at.index(n)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(n)] ^= 1 << bit,
            Self::Insert(at, new) => drop(bytes.splice(at.index(n)..at.index(n), new.iter().copied())),
            Self::Delete(at, len) => drop(bytes.drain(range(at, len))),
            Self::Copy(from, len, to) => {
                let part = bytes[range(from, len)].to_vec();
                drop(bytes.splice(to.index(n)..to.index(n), part));
            }
            Self::Cut(at) => bytes.truncate(at.index(n)),
        }
    }
}

/// Bytes that mean something to one of the readers.
const TELLING: &[u8] =
    b"\0\x17\x18\x19\x1b\x40\x58\x5f\x80\x8c\x8d\x9f\xa0\xd2\xd8\xf6\xff\n\r -+=\"\\{}[]:,01289azAZ/.eEunt\x7f\xe2\x80\x94";

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let byte = || prop_oneof![any::<u8>(), prop::sample::select(TELLING)];
    let at = any::<Index>;
    let edit = prop_oneof![
        4 => (at(), byte()).prop_map(|(at, b)| Edit::Set(at, b)),
        4 => (at(), 0u8..8).prop_map(|(at, b)| Edit::Flip(at, b)),
        2 => (at(), prop::collection::vec(byte(), 1..5)).prop_map(|(at, b)| Edit::Insert(at, b)),
        2 => (at(), 1u8..40).prop_map(|(at, n)| Edit::Delete(at, n)),
        2 => (at(), 1u8..80, at()).prop_map(|(from, n, to)| Edit::Copy(from, n, to)),
        1 => at().prop_map(Edit::Cut),
    ];
    prop::collection::vec(edit, 1..4)
}

fn mutated(valid: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    edits.iter().for_each(|e| e.apply(&mut bytes));
    bytes
}

fn pick<'a>(from: &'a [Vec<u8>], which: &Index) -> &'a [u8] {
    &from[which.index(from.len())]
}

/// Randomness that repeats: every call gives the next byte, over and over.
struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

fn header(refs: usize) -> Header {
    Header {
        log: [1; 16],
        actor: [2; 32],
        aseq: 300,
        prev: [3; 32],
        signer: 24,
        time: 1_770_000_000_000,
        kind: Kind::RECORD_PUT,
        session: [4; 16],
        body: [5; 32],
        length: 320,
        refs: (0..refs).map(|i| [i as u8; 32]).collect(),
    }
}

/// Valid leaves: bare and signed, without and with references.
static LEAVES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let key = SecretKey::from_seed(&[7; 32]);
    let signed = |refs| {
        let bytes = header(refs).encode();
        let id = key.public().id();
        encode_signed(&bytes, &id, &key.sign_bytes(&signed_bytes(&bytes, &id)))
    };
    vec![header(0).encode(), header(30).encode(), signed(0), signed(30)]
});

static NOTES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let key = SecretKey::from_seed(&[7; 32]);
    let checkpoint = Checkpoint { origin: "local.invalid/log/00", size: 20_852_163, root: [9; 32] }.text();
    let note = |text: &str| assemble(text, "local.invalid/log/00", key.public(), &key.sign_bytes(text.as_bytes()));
    let one = note(&checkpoint);
    let line = one.rsplit_once("\n\n").unwrap().1;
    let two = format!("{one}{}", line.replacen("log/00", "witness", 1));
    let long = note(&format!("{checkpoint}extension line\n"));
    [one, two, long].map(String::into_bytes).into()
});

/// DID logs of one version, and one of four.
static LOGS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let kinds = [IdentityType::Agent, IdentityType::System];
    let mut logs: Vec<Vec<u8>> = kinds.map(|kind| create(kind, 1_770_000_000_000, &Counter(AtomicU8::new(1))).unwrap().did_log).into();
    // A whole life: rotated, recovered, ended.
    let key = |n: u8| SecretKey::from_seed(&[n; 32]);
    let change = |n: u8| (key(n).public().clone(), [n + 1, n + 2].map(|n| committed(key(n).public()).0).to_vec());
    let mut life = logs[0].clone();
    for (by, n) in [(3, 100), (101, 110)] {
        let (actor, next) = change(n);
        life = extend(&life, &Change::Keys { actor: &actor, next }, &key(by), 1_770_000_000_000).unwrap();
    }
    logs.push(extend(&life, &Change::Deactivate, &key(112), 1_770_000_000_000).unwrap());
    logs
});

static BODIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let plain = Body::new(3, "mem_x").with(field::OCCURRED_AT, Some(1_770_000_000_000)).with(field::SUBJECT, Some("person 1"));
    let bare = plain.encode_padded().unwrap().to_vec();
    let full = plain.with_payload(Media::Named("image/png".into()), [7; 60]).with(field::USER, Some("u"));
    vec![bare, full.encode_padded().unwrap().to_vec()]
});

fn public_bodies() -> Vec<(Kind, Vec<u8>)> {
    let bodies = [
        PublicBody::Genesis { did_log: b"line\n", log_key: [1; 32], database: [2; 16], tenant: [3; 32] },
        PublicBody::EpochOpen { key: [1; 32], version: 1, not_after: 1 << 40, certificate: [4; 64], ends: vec![3, 300] },
        PublicBody::Erase { reason: 1, count: 24, positions: vec![1, 300], records: &[1; 16], once: &[2; 32], subjects: &[3; 16] },
        PublicBody::EraseDone { count: 24, positions: vec![2] },
        PublicBody::Recover { did_log: b"line\n", trusted: 300 },
        PublicBody::EpochRevoke { epoch: 3, trusted: 1 << 33 },
        PublicBody::Import { source: [1; 32], kept: 256, repaired: 1, refused: 0, events: 257 },
    ];
    bodies.map(|b| (b.kind(), b.encode())).into()
}

/// The members of a JSON value, written again from the raw text of their parts.
fn rebuilt(json: &Json<'_>) -> String {
    match &json.value {
        Value::Array(items) => format!("[{}]", items.iter().map(rebuilt).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let member = |(k, v): &(std::borrow::Cow<'_, str>, Json<'_>)| format!("{}:{}", serde_json::to_string(k).unwrap(), rebuilt(v));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::String(s) => serde_json::to_string(s).unwrap(),
        _ => json.raw.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn leaves(which in any::<Index>(), edits in edits()) {
        let bytes = mutated(pick(&LEAVES, &which), &edits);
        if let Ok(leaf) = Leaf::decode(&bytes) {
            prop_assert_eq!(&leaf.header.encode(), leaf.header_bytes);
            let again = leaf.signature.map_or_else(|| leaf.header.encode(), |(id, s)| encode_signed(leaf.header_bytes, &id, &s));
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn notes(which in any::<Index>(), edits in edits()) {
        let bytes = mutated(pick(&NOTES, &which), &edits);
        if let Ok(note) = Note::parse(&bytes) {
            let mut again = format!("{}\n", note.text);
            for s in &note.signatures {
                again += &format!("\u{2014} {} {}\n", s.name, base64(&[&s.id[..], &s.signature].concat()));
            }
            prop_assert_eq!(again.as_bytes(), &bytes);
            // A changed text is signed by nobody.
            let key = SecretKey::from_seed(&[7; 32]);
            let known = NOTES.iter().any(|n| Note::parse(n).unwrap().text == note.text);
            prop_assert!(known || !note.signed_by("local.invalid/log/00", key.public()));
        }
    }

    #[test]
    fn checkpoints(which in any::<Index>(), edits in edits()) {
        let text = Note::parse(pick(&NOTES, &which)).unwrap().text;
        let Ok(text) = String::from_utf8(mutated(text.as_bytes(), &edits)) else { return Ok(()) };
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            // Extension lines are allowed and not kept.
            let again = checkpoint.text();
            prop_assert!(text.starts_with(&again), "{text:?}");
            prop_assert!(text.len() == again.len() || !text[again.len()..].starts_with('\n'));
            prop_assert_eq!(Checkpoint::parse(&again).unwrap(), checkpoint);
        }
    }

    #[test]
    fn did_logs(which in any::<Index>(), edits in edits()) {
        let valid = pick(&LOGS, &which);
        let bytes = mutated(valid, &edits);
        // Everything in a log is signed: only the log itself is accepted, or what
        // it was some versions ago.
        let earlier = valid.starts_with(&bytes) && bytes.ends_with(b"\n");
        prop_assert_eq!(DidLog::verify(&bytes).is_ok(), earlier);
    }

    #[test]
    fn json(which in any::<Index>(), edits in edits()) {
        let bytes = mutated(pick(&LOGS, &which), &edits);
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(()) };
        let ours = Json::parse(text);
        let theirs = serde_json::from_str::<serde_json::Value>(text);
        match (&ours, &theirs) {
            (Ok(json), Ok(theirs)) => {
                let again: serde_json::Value = serde_json::from_str(&rebuilt(json)).unwrap();
                prop_assert_eq!(&again, theirs);
            }
            (Err(e), Ok(_)) => prop_assert_eq!(e.why, "object with a duplicate key"),
            (Ok(_), Err(e)) => prop_assert!(e.to_string().contains("number out of range"), "{e}"),
            (Err(_), Err(_)) => {}
        }
        // The canonical reader accepts less, and keeps the text as it is.
        let line = text.trim_end_matches('\n');
        if let Ok(json) = Json::parse_canonical(line) {
            prop_assert!(Json::parse(line).is_ok());
            prop_assert_eq!(rebuilt(&json), line);
        }
    }

    #[test]
    fn bodies(which in any::<Index>(), edits in edits()) {
        let bytes = mutated(pick(&BODIES, &which), &edits);
        if let Ok(body) = Body::decode_padded(&bytes) {
            prop_assert_eq!(&**body.encode_padded().unwrap(), &bytes);
        }
        let public = public_bodies();
        let (kind, valid) = which.get(&public);
        let bytes = mutated(valid, &edits);
        if let Ok(Some(body)) = PublicBody::decode(*kind, &bytes) {
            prop_assert_eq!(body.encode(), bytes);
        }
    }
}

#[test]
fn the_edits_start_from_valid_inputs() {
    assert!(LEAVES.iter().all(|l| Leaf::decode(l).is_ok()));
    assert!(NOTES.iter().all(|n| Note::parse(n).is_ok_and(|n| Checkpoint::parse(n.text).is_ok())));
    assert!(LOGS.iter().all(|l| DidLog::verify(l).is_ok()));
    assert!(BODIES.iter().all(|b| Body::decode_padded(b).is_ok()));
    assert!(public_bodies().iter().all(|(k, b)| PublicBody::decode(*k, b).is_ok()));
    // And they are what they always were: a change of a format shows here first.
    let all = [LEAVES.concat(), NOTES.concat(), LOGS[..2].concat(), LOGS[2].clone(), BODIES.concat()].map(|b| sha256(&[&b])[..4].to_vec());
    assert_eq!(all, [[156, 205, 147, 229], [158, 241, 23, 234], [13, 22, 32, 166], [230, 68, 115, 140], [84, 143, 229, 88]]);
}
