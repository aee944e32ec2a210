//! The decoders of evidence and of the upstream file forms: pure functions.

use crate::memory::bounded;
use mirrordna_core::body::Body;
use mirrordna_core::identity::{Created, IdentityType, create};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::json::Json;
use mirrordna_core::verify::leaf::encode_signed;
use mirrordna_core::verify::multibase::{encode_z, multihash};
use mirrordna_core::verify::note::{Checkpoint, Note, base64};
use mirrordna_core::{Code, Entropy, Header, Kind, Leaf, Result};
use mirrordna_upstream::entities::{self, Citation};
use mirrordna_upstream::{Profile, Verdict, read_config, read_file, yaml};
use serde_json::{Value, json as value};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Randomness that repeats: every call gives the next byte, over and over.
pub(crate) struct Counter(pub(crate) AtomicU8);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

/// An event header has one encoding.
pub fn header(data: &[u8]) -> bool {
    let Ok(header) = bounded(data, 4, 1024, || Header::decode(data)) else { return false };
    assert_eq!(header.encode(), data);
    assert!(header.signer <= header.aseq);
    true
}

/// A leaf has one encoding, and so has the header in it.
pub fn leaf(data: &[u8]) -> bool {
    let Ok(leaf) = bounded(data, 4, 1024, || Leaf::decode(data)) else { return false };
    assert_eq!(leaf.header.encode(), leaf.header_bytes);
    let again = match &leaf.signature {
        None => leaf.header_bytes.to_vec(),
        Some((id, signature)) => encode_signed(leaf.header_bytes, id, signature),
    };
    assert_eq!(again, data);
    true
}

/// A public body has one encoding; the first byte is its kind.
pub fn public_body(data: &[u8]) -> bool {
    let Some((kind, bytes)) = data.split_first() else { return false };
    let kind = Kind(u64::from(*kind));
    let Ok(Some(body)) = bounded(bytes, 16, 1024, || PublicBody::decode(kind, bytes)) else { return false };
    assert_eq!(body.kind(), kind);
    assert_eq!(body.encode(), bytes);
    true
}

/// A private body has one encoding, its padding included.
pub fn private_body(data: &[u8]) -> bool {
    let Ok(body) = bounded(data, 80, 4096, || Body::decode_padded(data)) else { return false };
    match body.encode_padded() {
        Ok(again) => assert_eq!(&again[..], data),
        Err(e) => assert_eq!(e.code(), Code::LimitExceeded),
    }
    assert!(body.fields().is_sorted_by(|a, b| a.0 < b.0));
    true
}

/// A signed note is the text of its parts, and so is a checkpoint.
pub fn note(data: &[u8]) -> bool {
    let Ok(note) = bounded(data, 32, 4096, || Note::parse(data)) else { return false };
    let mut again = format!("{}\n", note.text);
    for line in &note.signatures {
        again += &format!("\u{2014} {} {}\n", line.name, base64(&[&line.id[..], &line.signature].concat()));
    }
    assert_eq!(again.as_bytes(), data);
    if let Ok(checkpoint) = Checkpoint::parse(note.text) {
        let rest = note.text.strip_prefix(&checkpoint.text()).expect("a checkpoint begins with its own text");
        assert!(rest.is_empty() || rest.ends_with('\n'));
    }
    true
}

/// The strict JSON reader agrees with serde_json on what it accepts, and its
/// canonical form is what serde_jcs writes.
pub fn json(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let canonical = bounded(data, 160, 4096, || Json::parse_canonical(text).map(drop)).is_ok();
    let Ok(own) = bounded(data, 160, 4096, || Json::parse(text)) else {
        assert!(!canonical, "canonical, but no JSON");
        return false;
    };
    assert_eq!(own.raw, text.trim_matches([' ', '\t', '\r', '\n']));
    match serde_json::from_str::<Value>(text) {
        Ok(theirs) if canonical => assert_eq!(serde_jcs::to_string(&theirs).expect("JSON can be written"), text),
        Ok(_) => {}
        // Numbers stay text here: their size is no business of the reader.
        Err(e) => assert!(!canonical && e.to_string().contains("number out of range"), "only we accept it: {e}"),
    }
    true
}

static FIRST: LazyLock<Created> =
    LazyLock::new(|| create(IdentityType::Agent, 1_770_000_000_000, &Counter(AtomicU8::new(1))).expect("an identity can be made"));

/// A DID log is accepted in one form only: without its last line it is that of
/// the version before, and no byte can be added.
pub fn did_log(data: &[u8]) -> bool {
    let Ok(log) = bounded(data, 200, 1 << 16, || DidLog::verify(data)) else { return false };
    let text = std::str::from_utf8(data).expect("it was read as text");
    let lines: Vec<&str> = text.strip_suffix('\n').expect("it ends with a newline").split('\n').collect();
    assert_eq!(log.versions.len(), lines.len());
    for (line, version) in lines.iter().zip(&log.versions) {
        Json::parse_canonical(line).expect("each line is canonical");
        assert_eq!(version.line, sha256(&[line.as_bytes()]));
    }
    if let Some((last, before)) = lines.split_last() {
        let shorter: String = before.iter().map(|l| format!("{l}\n")).collect();
        assert!(before.is_empty() || DidLog::verify(shorter.as_bytes()).is_ok_and(|l| log.versions.starts_with(&l.versions)));
        assert!(DidLog::verify(format!("{text}{last}\n").as_bytes()).is_err(), "a repeated line is no version");
    }
    true
}

/// A second version whose hash and signature are right, whatever else it says:
/// only then do the rules of rotation decide.
pub fn did_rotation(data: &[u8]) -> bool {
    let Ok(Value::Object(mut entry)) = serde_json::from_slice::<Value>(data) else { return false };
    let first = std::str::from_utf8(&FIRST.did_log).expect("a DID log is text");
    let before: Value = serde_json::from_str(first).expect("a DID log is JSON");
    let proof = entry.remove("proof");
    let number = match entry.get("versionId").and_then(Value::as_str).and_then(|v| v.split_once('-')) {
        Some((number, _)) => number.to_owned(),
        None => "2".to_owned(),
    };
    entry.insert("versionId".into(), before["versionId"].clone());
    let canonical = |value: &Value| serde_jcs::to_string(value).ok();
    let Some(hashed) = canonical(&Value::Object(entry.clone())) else { return false };
    let version = format!("{number}-{}", multihash(&sha256(&[hashed.as_bytes()])));
    entry.insert("versionId".into(), version.into());
    let key = FIRST.next_update.public().multikey();
    let mut config = match proof {
        Some(Value::Object(config)) => config,
        _ => match value!({"created": entry.get("versionTime"), "cryptosuite": "eddsa-jcs-2022", "proofPurpose": "assertionMethod",
                           "type": "DataIntegrityProof", "verificationMethod": format!("did:key:{key}#{key}")})
        {
            Value::Object(config) => config,
            _ => return false,
        },
    };
    config.remove("proofValue");
    let (Some(options), Some(document)) = (canonical(&Value::Object(config.clone())), canonical(&Value::Object(entry.clone()))) else {
        return false;
    };
    let signature = FIRST.next_update.sign_bytes(&[sha256(&[options.as_bytes()]), sha256(&[document.as_bytes()])].concat());
    config.insert("proofValue".into(), encode_z(&signature).into());
    entry.insert("proof".into(), value!([config]));
    let Some(line) = canonical(&Value::Object(entry)) else { return false };
    let log = format!("{first}{line}\n");
    let Ok(read) = DidLog::verify(log.as_bytes()) else { return false };
    assert_eq!((read.digest, read.label.as_str(), read.versions.len()), (FIRST.digest, "agt", 2));
    assert!(!read.versions[1].next_key_hashes.is_empty(), "every version commits to a next key");
    did_log(log.as_bytes())
}

const NAMES: [&str; 10] = [
    "memories.json",
    "sessions.json",
    "identities.json",
    "timeline.json",
    "snapshot.yaml",
    "citation.yml",
    "notes.md",
    "x.json",
    "x.checksum.json",
    "reflections.json",
];

/// The name that the first byte of an input chooses.
pub(crate) fn name(byte: u8) -> &'static str {
    NAMES[usize::from(byte) % NAMES.len()]
}

/// Number of the name in [`name`].
pub(crate) fn number(name: &str) -> u8 {
    NAMES.iter().position(|n| *n == name).expect("one of the names") as u8
}

/// Upstream's files are read into records that strict JSON can express, the
/// same each time, and damage is reported. The first byte chooses a name.
pub fn upstream_read(data: &[u8]) -> bool {
    let Some((first, bytes)) = data.split_first() else { return false };
    let name = name(*first);
    // An alias in YAML may copy up to a fixed number of nodes.
    let fixed = if name.ends_with(".json") { 1 << 16 } else { 512 << 20 };
    let mut accepted = false;
    for profile in [Profile::Compat, Profile::Strict] {
        let report = bounded(bytes, 400, fixed, || read_file(name, bytes, profile));
        for record in &report.records {
            let (text, repairs) = mirrordna_upstream::json::write(&record.fields);
            assert!(repairs.is_empty(), "a record is expressible as it is: {repairs:?}");
            let again = mirrordna_upstream::json::parse(text.as_bytes()).expect("what is written is valid");
            assert_eq!(mirrordna_upstream::json::write(&again.value).0, text);
            Json::parse(&text).expect("the strict reader accepts it");
        }
        assert_eq!(read_file(name, bytes, profile), report);
        accepted |= report.records.iter().any(|r| !matches!(r.verdict, Verdict::Refused(_)));
        let broken = name.ends_with(".json") && mirrordna_upstream::json::parse(bytes).is_err();
        assert!(!broken || report.records.iter().any(|r| matches!(r.verdict, Verdict::Refused(_))), "damage went unreported");
        let _ = read_config(name, bytes, bytes, profile);
    }
    let _ = yaml::parse(bytes);
    accepted
}

/// A master citation: whose types fit is written and read again as it is, the
/// strict profile accepts nothing that the other refuses, and no stated
/// checksum that does not fit is accepted by either.
pub fn citation(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let fits = bounded(data, 400, 1 << 16, || entities::parse::<Citation>(text));
    let judged = [Profile::Strict, Profile::Compat].map(|p| bounded(data, 400, 1 << 16, || entities::validate::<Citation>(text, p)));
    if let Ok(citation) = &fits {
        let again = serde_json::to_string(citation).expect("a citation can be written");
        assert_eq!(entities::parse::<Citation>(&again).as_ref(), Ok(citation));
        Json::parse(&again).expect("the strict reader accepts what is written");
    }
    let [strict, compat] = &judged;
    assert!(strict.is_err() || compat.is_ok(), "only the strict profile accepts it: {compat:?}");
    for invalid in judged.iter().filter_map(|j| j.as_ref().err()) {
        assert!(!invalid.violations.is_empty(), "refused without a reason");
    }
    if compat.is_ok() {
        assert_eq!(&fits, compat, "one text, one citation");
        let seal = entities::seal::<Citation>(text).expect("it was read before").expect("a citation has a checksum");
        assert!(seal.stated.is_none() || seal.fits(), "{seal:?}");
    }
    compat.is_ok()
}
