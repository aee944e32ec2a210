//! Valid inputs to begin with, made by the encoders themselves, and the words
//! that mean something to a decoder of text.

use crate::decoders::{Counter, number};
use crate::engine::{ORIGINAL, subject_exports};
use crate::evidence::{VECTORS, add_checkpoints, cosigned_notes, policies, tlog_proofs};
use crate::returned::{ERASED, stamps};
use mirrordna_core::body::{Body, Media, field};
use mirrordna_core::identity::{IdentityType, create};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::leaf_data;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::note::{Checkpoint, assemble};
use mirrordna_core::{Header, Kind};
use mirrordna_upstream::entities::{self, Citation};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU8;

fn sample(refs: usize) -> Header {
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

fn did(kind: IdentityType) -> Vec<u8> {
    create(kind, 1_770_000_000_000, &Counter(AtomicU8::new(1))).map(|c| c.did_log).expect("an identity can be made")
}

fn public_bodies() -> Vec<Vec<u8>> {
    let log = did(IdentityType::System);
    let bodies = [
        PublicBody::Genesis { did_log: &log, log_key: [1; 32], database: [2; 16], tenant: [3; 32] },
        PublicBody::Entry { did_log: b"line\n" },
        PublicBody::Recover { did_log: b"line\n", trusted: 300 },
        PublicBody::EpochRevoke { epoch: 3, trusted: 300 },
        PublicBody::EpochOpen { key: [1; 32], version: 1, not_after: 1 << 40, certificate: [4; 64], ends: vec![3, 300] },
        PublicBody::EpochClose,
        PublicBody::Erase { reason: 1, count: 24, positions: vec![1, 300], records: &[1; 16], once: &[2; 32], subjects: &[3; 16] },
        PublicBody::EraseDone { count: 24, positions: vec![2] },
        PublicBody::ImportOpen { source: [1; 32], bytes: 1 << 20, format: 1 },
        PublicBody::Import { source: [1; 32], kept: 256, repaired: 1, refused: 0, events: 257 },
    ];
    bodies.iter().map(|b| [&[b.kind().0 as u8], &b.encode()[..]].concat()).collect()
}

fn private_bodies() -> Vec<Vec<u8>> {
    let plain = Body::new(3, "mem_x").with(field::OCCURRED_AT, Some(1_770_000_000_000)).with(field::SUBJECT, Some("person 1"));
    let full = plain.clone().with_payload(Media::Named("image/png".into()), [7; 60]).with(field::USER, Some("u"));
    let text = plain.clone().with_payload(Media::TEXT, *b"Prefers trains to planes").with(6, Some(-4));
    [plain, full, text].iter().map(|b| b.encode_padded().expect("it is short").to_vec()).collect()
}

fn notes() -> Vec<Vec<u8>> {
    let key = SecretKey::from_seed(&[7; 32]);
    let checkpoint = Checkpoint { origin: "local.invalid/log/00", size: 20_852_163, root: [9; 32] }.text();
    let note = |text: &str| assemble(text, "local.invalid/log/00", key.public(), &key.sign_bytes(text.as_bytes()));
    let one = note(&checkpoint);
    let line = one.rsplit_once("\n\n").map(|(_, l)| l.to_owned()).unwrap_or_default();
    let two = format!("{one}{}", line.replacen("log/00", "witness", 1));
    [one, two, note(&format!("{checkpoint}extension line\n"))].map(String::into_bytes).into()
}

const CHAT: [&str; 5] = [
    r#"{"speaker":"Ada","text":"The boathouse is booked","timestamp":"2026-01-01T10:00:00Z","session":"s1","id":"1","ns":"c1"}"#,
    "{\"role\":\"assistant\",\"content\":\"Noted.\",\"timestamp\":1770000000}\n{\"role\":\"user\",\"text\":\"x\",\"deep\":{\"a\":[1.5e3,null]}}\n",
    "\u{feff}{\"speaker\":\"Sam\",\"text\":\"first\",\"id\":\"1\"}\n\n{\"speaker\":\"Sam\",\"text\":\"other\",\"id\":\"1\"}\n[1]\n",
    "{\"text\":\"who?\",\"timestamp\":\"last tuesday\"}\n{\"text\":7}\n{\"text\":\"torn",
    "{\"speaker\":\"Sam\",\"text\":\"\\ud83d\\ude00\",\"timestamp\":\"2026-01-01 10:00:00.5+01:00\",\"n\":NaN}\n",
];

const UPSTREAM: [(&str, &str); 10] = [
    ("sessions.json", r#"{"sess_1":{"session_id":"sess_1","parent_session_id":"sess_2","started_at":"2026-01-01T00:00:00Z"},"sess_2":{}}"#),
    (
        "memories.json",
        r#"{"mem_1":{"memory_id":"mem_1","tier":"episodic","content":"x","created_at":"2026-01-01T00:00:00Z","tags":["a"]}}"#,
    ),
    (
        "identities.json",
        r#"{"mdna_agt_1":{"identity_id":"mdna_agt_1","identity_type":"agent","public_key":"AA==","private_key":"x","created_at":""}}"#,
    ),
    (
        "timeline.json",
        r#"{"timeline_id":"t","event_count":2,"events":[{"id":"evt_1","payload":{"x":NaN,"y":"\ud800\udc00"},"tags":[1e5]},{}]}"#,
    ),
    (
        "x.json",
        r#"{"snapshot_id":"s","checksum":"","timestamp":"2026-01-01","version":1,"identity_state":{"a":-0.0},"continuity_state":null}"#,
    ),
    (
        "snapshot.yaml",
        "snapshot_id: s\nchecksum: ''\nidentity_state:\n  9: &a [1, 12:30:45, 017, .inf, !!set {x}]\n  10: *a\n<<: {y: 2026-01-15}\n",
    ),
    (
        "citation.yml",
        "id: mc_1\nversion: \"1.0 \\u4E16\"\nvault_id: >-\n  folded\n  text\nchecksum: |\n  x\n# comment\n? key\n: - 1\n  - {a: b}\n",
    ),
    ("notes.md", "---\ntitle: \"Doc v1.2\"\nchecksum_sha256: 00\n---\nbody\n"),
    ("x.checksum.json", r#"{"algorithm":"sha256","hash":"00"}"#),
    ("x.json", r#"{"vault_id":"v","glyphsig":"g","version":"1","checksum_sha256":""}"#),
];

/// A forked conversation, one without a text, damaged trees, a torn array.
const CHATGPT: [&str; 7] = [
    r#"[{"title":"Ferries","create_time":1770000000.25,"conversation_id":"c1","current_node":"a","mapping":{
        "r":{"id":"r","parent":null,"message":null},
        "q":{"id":"q","parent":"r","message":{"id":"mq","author":{"role":"user","name":null},"create_time":1770000001,
            "content":{"content_type":"text","parts":["When does the ferry leave?"]},"metadata":{}}},
        "a":{"id":"a","parent":"q","message":{"id":"ma","author":{"role":"assistant"},"create_time":1770000002.5,
            "content":{"content_type":"text","parts":["At nine.","Or at noon."]}}},
        "b":{"id":"b","parent":"q","message":{"id":"mb","author":{"role":"assistant"},"create_time":null,
            "content":{"content_type":"text","parts":["At ten."]}}}}}]"#,
    r#"[{"id":"c2","mapping":{"n":{"message":{"author":{"role":"tool"},"create_time":"last tuesday",
        "content":{"content_type":"code","language":"x","text":"print(1)"}}}}},
        {"id":"c3","current_node":"n","mapping":{"n":{"message":{"author":{"role":"user"},
        "content":{"content_type":"multimodal_text","parts":[{"asset_pointer":"file:1"},"a quay"]}}}}}]"#,
    r#"[{"id":"x","mapping":{"a":{"parent":"b"},"b":{"parent":"a"}}},{"id":"y","mapping":{"a":{"parent":"none"}}},
        {"id":"z","current_node":"q","mapping":{}},{"mapping":{}},{"id":"w"},7]"#,
    r#"[{"id":"t","mapping":{"a":{"message":{"id":"1","author":{"role":"user"},"content":{"parts":["x"]}}},
        "b":{"message":{"id":"1","author":{"role":"user"},"content":{"parts":["y"]}}}}}]"#,
    "\u{feff}[ ]\n",
    r#"[{"id":"c","mapping":{"a":{"message":{"author":{},"content":[]}}}},,{"id":"d"#,
    r#"{"mapping":{}}"#,
];

/// Call ledgers: a list whose digests Python made, one record, lines, what is
/// refused.
const LEDGERS: [&str; 6] = [
    r#"[{"call_id":"9b2c","timestamp":1771500000.25,"endpoint":"/risk/findings",
        "args":{"finding":"é","n":[1.0,2,null,true],"b":{"z":1,"a":2}},
        "args_hash":"18c10d438921aaf4779a2356786cefa83514b037bf471451aba7ce370f22e408",
        "response":{"total":3,"items":["x","y","z"],"score":0.1},
        "response_hash":"062b265a6af6404927b903d9fffc3e39ed80d6380998e04f7dd213e871a2506a","response_status":"success",
        "latency_ms":41.6,"args_redacted":{"finding":"***"},"response_summary":{"total":3},"request_id":"req-9","user_id":"sam",
        "tenant_id":"acme"},
        {"call_id":"77aa","timestamp":1771500001,"endpoint":"/risk/details",
        "args_hash":"4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b","args_redacted":{"id":"10","limit":5},
        "response_status":"error","latency_ms":7,"request_id":"req-9","user_id":null,"attempt_of":"9b2c"}]"#,
    r#"{"call_id":"x","endpoint":"/x","request_id":"r","response_status":"timeout","timestamp":"2026-01-01T10:00:00Z",
        "args_hash":"4A11185F4A9AF0EDB705BD326F30206016707BD9347EDE0E4D9D79033BFC680B","response_summary":NaN,"latency_ms":1e15}"#,
    "{\"call_id\":\"1\",\"endpoint\":\"/x\",\"request_id\":\"r\",\"response_status\":\"success\",\"args_hash\":\"\
     4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b\"}\n\n{\"call_id\":\"2\"}\n{\"call_id\":\"1\",\"endpo",
    r#"{"calls":[{"call_id":"a","endpoint":"/x","request_id":"r","response_status":"success",
        "args_hash":"4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b"},
        {"call_id":"a","endpoint":"/y","request_id":"r","response_status":"success",
        "args_hash":"4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b"},
        {"call_id":"a","endpoint":"/x","request_id":"r","response_status":"success",
        "args_hash":"4a11185f4a9af0edb705bd326f30206016707bd9347ede0e4d9d79033bfc680b"},7],"ledger":[]}"#,
    r#"[{"call_id":"changed","endpoint":"/x","args":{"password":"hunter3"},"response_status":"timeout","request_id":"r",
        "args_hash":"0f6713a0c5bcd7d053a697e2d75f8d259a22e12e8c15328d4a42709ed2a109b0","timestamp":"soon"},
        {"call_id":"","args_hash":null},{"call_id":7}]"#,
    r#"{"entries":{}}"#,
];

/// Citations: sealed, without a checksum, with a wrong one, with what the
/// schema does not name, damaged.
fn citations() -> Vec<Vec<u8>> {
    let open = r#"{"id":"mc_0123456789abcdef","version":"1.0.0","vault_id":"vault_of_the_harbour_office","created_at":"2026-01-01T00:00:00Z","predecessor":null,"tags":["harbour"],"metadata":{"berths":[12,1.5e3,null],"name":"\u00e9"},"checksum":"CHECKSUM"}"#;
    let seal = entities::seal::<Citation>(open).ok().flatten().expect("a citation has a checksum");
    let sum = seal.computed.expect("it can be computed");
    let others = [
        open.replace("CHECKSUM", &"0".repeat(64)),
        open.replace(",\"checksum\":\"CHECKSUM\"", ""),
        r#"{"id":"mc_1","version":"1.0","vault_id":"vault_main","created_at":"2026-01-01"}"#.to_owned(),
        r#"{"id":"mc_0123456789abcdef","id":"mc_2","version":1,"vault_id":null,"created_at":NaN,"metadata":"x","note":"\ud800"}"#
            .to_owned(),
        "[]".to_owned(),
        r#"{"id":"mc_"#.to_owned(),
    ];
    std::iter::once(open.replace("CHECKSUM", &sum)).chain(others).map(String::into_bytes).collect()
}

/// A second DID entry, without hash and proof: `did_rotation` adds them.
fn rotation() -> Vec<u8> {
    let first = String::from_utf8(did(IdentityType::Agent)).expect("a DID log is text");
    let made = create(IdentityType::Agent, 1_770_000_000_000, &Counter(AtomicU8::new(1))).expect("an identity can be made");
    let mut entry: serde_json::Value = serde_json::from_str(&first).expect("a DID log is JSON");
    let next = entry["parameters"]["nextKeyHashes"].clone();
    entry["parameters"] = serde_json::json!({"updateKeys": [made.next_update.public().multikey()], "nextKeyHashes": next});
    entry["versionTime"] = "2026-03-01T00:00:01Z".into();
    let entry = entry.as_object_mut().expect("it is an object");
    entry.remove("proof");
    entry.remove("versionId");
    serde_json::to_vec(entry).expect("it can be written")
}

/// Writes `corpus/TARGET/seed-*` and `corpus/TARGET.dict`, before libFuzzer
/// looks for them. The decoder must accept the first.
pub fn plant(target: &str, decoder: impl Fn(&[u8]) -> bool) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folder = corpus.join(target);
    let (inputs, words) = seeds(target);
    assert!(inputs.first().is_some_and(|i| decoder(i)), "the first seed of {target} is not accepted");
    let quoted = |word: &str| word.bytes().map(|b| format!("\\x{b:02x}")).collect::<String>();
    // Without a line it would be refused as empty.
    let dictionary: String = std::iter::once("# words\n".to_owned()).chain(words.iter().map(|w| format!("\"{}\"\n", quoted(w)))).collect();
    let inputs = inputs.iter().enumerate().map(|(i, input)| (folder.join(format!("seed-{i}")), input.as_slice()));
    let files = inputs.chain([(corpus.join(format!("{target}.dict")), dictionary.as_bytes())]);
    fs::create_dir_all(&folder).expect("the corpus can be made");
    for (path, bytes) in files {
        fs::write(path, bytes).expect("the corpus can be written");
    }
}

/// Inputs and words for a target.
fn seeds(target: &str) -> (Vec<Vec<u8>>, &'static [&'static str]) {
    let chat = || CHAT.iter().map(|c| c.as_bytes().to_vec()).collect();
    let upstream = || UPSTREAM.iter().map(|(name, text)| [&[number(name)], text.as_bytes()].concat()).collect();
    let key = SecretKey::from_seed(&[7; 32]);
    match target {
        "header" => (vec![sample(0).encode(), sample(3).encode()], &[]),
        "leaf" => (vec![sample(0).encode(), leaf_data(&sample(0), Some(&key)), leaf_data(&sample(3), Some(&key))], &[]),
        "public_body" => (public_bodies(), &[]),
        "private_body" => (private_bodies(), &[]),
        "note" => (notes(), &["\u{2014} ", "\n\n", "+", "="]),
        "json" => ([did(IdentityType::Agent).trim_ascii_end().to_vec()].into_iter().chain(CHAT.map(Vec::from)).collect(), JSON_WORDS),
        "did_log" => (vec![did(IdentityType::Agent), did(IdentityType::User)], DID_WORDS),
        "did_rotation" => (vec![rotation()], DID_WORDS),
        "import_chat" => (chat(), CHAT_WORDS),
        "import_chatgpt" => (CHATGPT.map(Vec::from).into(), CHATGPT_WORDS),
        "citation" => (citations(), CITATION_WORDS),
        "upstream_read" | "import_upstream" => (upstream(), UPSTREAM_WORDS),
        "bundle" => (VECTORS.bundles.clone(), BUNDLE_WORDS),
        "policy" => (policies(), POLICY_WORDS),
        "cosignatures" => (cosigned_notes(), NOTE_WORDS),
        "tlog_proof" => (tlog_proofs(), NOTE_WORDS),
        "add_checkpoint" => (add_checkpoints(), NOTE_WORDS),
        "receipt" => (ERASED.receipts.clone(), RECEIPT_WORDS),
        "timestamp" => (stamps(), &[]),
        "import_ledger" => (LEDGERS.map(Vec::from).into(), LEDGER_WORDS),
        "import_subject" => (subject_exports(), SUBJECT_WORDS),
        "restore" => (vec![ORIGINAL.export.clone()], &["mdna.bk1"]),
        "keyring" => {
            (vec![ORIGINAL.keyring.clone()], &["actor", "update", "log", "store", "tags", "argon2id", "key", "check", "nonce", "sealed"])
        }
        _ => (Vec::new(), &[]),
    }
}

const JSON_WORDS: &[&str] =
    &["true", "false", "null", "\\u0000", "\\ud83d\\ude00", "1e9", "-0", "9007199254740993", "{}", "[]", "\u{feff}"];
/// The first line, and heads of frames: of a section, a checkpoint, an event, the last.
const BUNDLE_WORDS: &[&str] =
    &["mirrordna bundle v1\n", "\u{0}\u{0}\u{1}", "local.invalid/log/", "mdna.ev1", "mdna.bd1", "\u{2014} ", "\n\n", "{", "}\n"];
const POLICY_WORDS: &[&str] = &[
    "log ",
    "witness ",
    "group ",
    "quorum ",
    "none",
    "any",
    "all",
    " 0 ",
    " 1 ",
    " 2 ",
    "w1.example",
    "w2.example",
    "w3.example",
    "g",
    "#",
    "\t",
    "\n",
    "\r",
    "+",
    "https://",
];
const NOTE_WORDS: &[&str] = &[
    "\u{2014} ",
    "\n\n",
    "+",
    "=",
    "old ",
    "old 2",
    "index ",
    "extra ",
    "c2sp.org/tlog-proof@v1\n",
    "example.com/log\n",
    "w1.example",
    "w2.example",
    "18446744073709551615",
    "00",
];
const DID_WORDS: &[&str] = &[
    "parameters",
    "nextKeyHashes",
    "updateKeys",
    "portable",
    "deactivated",
    "witness",
    "ttl",
    "method",
    "did:webvh:1.0",
    "scid",
    "state",
    "id",
    "verificationMethod",
    "publicKeyMultibase",
    "versionId",
    "versionTime",
    "proof",
    "proofPurpose",
    "proofValue",
    "created",
    "cryptosuite",
    "{SCID}",
    "2-",
    "02-",
    "did:key:",
    "local.invalid",
    "2026-03-01T00:00:01Z",
    "\\u0061",
];
const CHAT_WORDS: &[&str] = &[
    "speaker",
    "role",
    "text",
    "content",
    "timestamp",
    "session",
    "\"id\"",
    "ns",
    "user",
    "assistant",
    "system",
    "tool",
    "null",
    "\\n",
    "}\n{",
    "2026-01-01T10:00:00",
    "1e300",
    "\\u0000",
    "\u{feff}",
    "\u{2028}",
];
const CHATGPT_WORDS: &[&str] = &[
    "mapping",
    "current_node",
    "conversation_id",
    "\"id\"",
    "parent",
    "message",
    "author",
    "role",
    "name",
    "content",
    "parts",
    "text",
    "create_time",
    "title",
    "node",
    "},{",
    "null",
    "1e300",
    "\\u0000",
    "\u{feff}",
];
const RECEIPT_WORDS: &[&str] = &[
    "format",
    "version",
    "log",
    "reason",
    "state",
    "erased",
    "already",
    "checkpoint",
    "events",
    "index",
    "leaf",
    "body",
    "proof",
    "mirrordna-erasure-receipt",
    "done",
    "pending",
    "subject",
    "null",
    "},{",
    "\\n",
    "\u{2014} ",
    "[]",
    "18446744073709551615",
];
const LEDGER_WORDS: &[&str] = &[
    "call_id",
    "timestamp",
    "endpoint",
    "args",
    "args_hash",
    "args_redacted",
    "response",
    "response_hash",
    "response_status",
    "response_summary",
    "latency_ms",
    "request_id",
    "user_id",
    "tenant_id",
    "attempt_of",
    "records",
    "calls",
    "ledger",
    "entries",
    "success",
    "error",
    "timeout",
    "null",
    "NaN",
    "-0.0",
    "1e400",
    "9007199254740993",
    "\\ud800",
    "},{",
    "}\n{",
    "2026-01-01T10:00:00",
];
const SUBJECT_WORDS: &[&str] = &[
    "mirrordna_subject_export",
    "log",
    "subject",
    "leaf",
    "hash",
    "time",
    "kind",
    "actor",
    "schema",
    "record",
    "session",
    "media",
    "text",
    "payload",
    "body",
    "record.put",
    "record.patch",
    "record.archive",
    "event",
    "null",
    "AAAA",
    "}\n{",
    "\\u0000",
    "text/plain",
];
const CITATION_WORDS: &[&str] = &[
    "mc_",
    "vault_",
    "version",
    "vault_id",
    "predecessor",
    "successor",
    "created_at",
    "updated_at",
    "checksum",
    "identity_ref",
    "constitutional_ref",
    "tags",
    "metadata",
    "null",
    "NaN",
    "Infinity",
    "-0.0",
    "1e400",
    "9007199254740993",
    "\\ud800",
    "\u{feff}",
];
const UPSTREAM_WORDS: &[&str] = &[
    "NaN",
    "Infinity",
    "\\ud800",
    "1e",
    "&a",
    "*a",
    "<<",
    "!!",
    "!",
    "%",
    "|",
    ">",
    "? ",
    "- ",
    "---\n",
    "...\n",
    "~",
    "@",
    "`",
    "\u{feff}",
    "session_id",
    "memory_id",
    "identity_id",
    "private_key",
    "snapshot_id",
    "checksum",
    "vault_id",
    "events",
    "payload",
    "algorithm",
    "sha256",
    "created_at",
    "2026-01-01",
    "12:30:45",
    "017",
    ".inf",
    "!!set",
];
