//! Whatever the bytes are, reading them ends in a report: no panic, no unbounded work, no lost damage.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use mirrordna_upstream::{Profile, Verdict, json, read_config, read_file, yaml};

struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

const NAMES: &[&str] = &[
    "memories.json",
    "sessions.json",
    "identities.json",
    "timeline.json",
    "snapshot.yaml",
    "citation.yml",
    "notes.md",
    "x.json",
    "x.checksum.json",
    "x",
];

const SEEDS: &[&str] = &[
    r#"{"sess_1":{"session_id":"sess_1","parent_session_id":"sess_2","started_at":"2026-01-01T00:00:00Z"},"sess_2":{}}"#,
    r#"{"timeline_id":"t","event_count":2,"events":[{"id":"evt_1","payload":{"x":NaN,"y":"\ud800\udc00"},"tags":[1e5]},{}]}"#,
    r#"{"snapshot_id":"s","checksum":"","timestamp":"2026-01-01","version":1,"identity_state":{"a":-0.0},"continuity_state":null}"#,
    "snapshot_id: s\nchecksum: ''\nidentity_state:\n  9: &a [1, 12:30:45, 017, .inf, !!set {x}]\n  10: *a\n<<: {y: 2026-01-15}\n",
    "id: mc_1\nversion: \"1.0 \\u4E16\"\nvault_id: >-\n  folded\n  text\nchecksum: |\n  x\n# comment\n? key\n: - 1\n  - {a: b}\n",
    "---\ntitle: \"Doc v1.2\"\nchecksum_sha256: 00\n---\nbody\n",
    r#"{"algorithm":"sha256","hash":"00"}"#,
    r#"{"vault_id":"v","glyphsig":"g","version":"1","checksum_sha256":""}"#,
];

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u",
    "d83c",
    "NaN",
    "Infinity",
    "-",
    "1e",
    "0x",
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
    "\n",
    "\t",
    "\r",
    " ",
    "\u{feff}",
    "\u{1f30d}",
    "null",
    "'",
    "#",
    "---\n",
    "...\n",
    "=",
    "~",
    "@",
    "`",
    "\0",
    "\u{2028}",
];

fn exercise(name: &str, bytes: &[u8]) {
    for profile in [Profile::Compat, Profile::Strict] {
        let report = read_file(name, bytes, profile);
        for record in &report.records {
            let (text, left) = json::write(&record.fields);
            assert!(left.is_empty());
            assert_eq!(json::write(&json::parse(text.as_bytes()).expect("what is written is valid").value).0, text);
        }
        let broken = json::parse(bytes).is_err() && name.ends_with(".json");
        let refused = report.records.iter().any(|record| matches!(record.verdict, Verdict::Refused(_)));
        assert!(!broken || refused, "damage went unreported in {name}");
        read_config(name, bytes, bytes, profile);
    }
    let _ = yaml::parse(bytes);
}

#[test]
fn random_bytes() {
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let length = random.below(60);
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        exercise(NAMES[random.below(NAMES.len())], &bytes);
    }
}

#[test]
fn random_tokens() {
    let mut random = XorShift(0xd1b5_4a32_d192_ed03);
    for _ in 0..20_000 {
        let text: String = (0..random.below(30)).map(|_| TOKENS[random.below(TOKENS.len())]).collect();
        exercise(NAMES[random.below(NAMES.len())], text.as_bytes());
    }
}

#[test]
fn damaged_files() {
    let mut random = XorShift(0x2545_f491_4f6c_dd1d);
    for _ in 0..20_000 {
        let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
                2 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
                _ => drop(bytes.splice(at..(at + random.below(8)).min(bytes.len()), [])),
            }
        }
        exercise(NAMES[random.below(NAMES.len())], &bytes);
    }
}
