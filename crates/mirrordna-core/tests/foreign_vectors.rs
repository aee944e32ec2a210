//! Canonical JSON and identities as others published them: the test data of
//! RFC 8785, and did:webvh logs by five implementations. Read from the corpus,
//! never copied into this repository; counts are pinned. What needs no second
//! implementation beside it stands in the verifier's own `foreign_vectors`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::jcs;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::hash::sha256;
use mirrordna_core::verify::json::Json;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// A folder of the corpus, or `None` where there is no corpus. With `CI=true`
/// an absent corpus is a failure.
fn vectors(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("MIRRORDNA_CORPUS").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if root.is_dir() {
        return Some(root.join("vectors").join(name));
    }
    assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI needs the corpus at {}", root.display());
    eprintln!("skipped: no corpus at {}", root.display());
    None
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_official_pairs_of_canonical_json_are_told_apart() {
    let Some(dir) = vectors("jcs") else { return };
    let read = |folder: &str, file: &str| std::fs::read_to_string(dir.join("testdata").join(folder).join(file)).unwrap();
    // The protocol's form is narrower: ASCII keys, integers. Every pair is read, and each output that lies
    // outside is refused by that rule; no input is canonical.
    let (key, number) = ("key not ASCII or not in canonical order", "number that is no integer within 2^53");
    let pairs =
        [("arrays", None), ("french", Some(key)), ("structures", None), ("unicode", None), ("values", Some(number)), ("weird", Some(key))];
    for (name, refused) in pairs {
        let (input, output) = (read("input", &format!("{name}.json")), read("output", &format!("{name}.json")));
        let outhex: String = read("outhex", &format!("{name}.txt")).split_whitespace().collect();
        assert_eq!(hex(output.as_bytes()), outhex, "{name}");
        let value: Value = serde_json::from_str(&input).unwrap();
        assert_eq!(serde_jcs::to_string(&value).unwrap(), output, "{name}: the second implementation");
        assert_eq!(jcs::canonical(&input).unwrap(), output, "{name}: our own");
        assert!(Json::parse(&input).is_ok() && Json::parse(&output).is_ok(), "{name}");
        assert_eq!(Json::parse_canonical(&output).err().map(|e| e.why), refused, "{name}");
        assert!(Json::parse_canonical(&input).is_err(), "{name}");
    }
}

/// The published sequence of doubles, without end.
fn doubles(fixed: &[u64]) -> impl Iterator<Item = f64> {
    let mut block = [0u8; 32];
    let hashed = std::iter::from_fn(move || {
        block = sha256(&[&block]);
        let (quarters, _) = block.as_chunks::<8>();
        Some([0, 1, 2, 3].map(|i| u64::from_le_bytes(quarters[i])))
    });
    let hashed = hashed.flatten().filter(|bits| {
        let value = f64::from_bits(*bits);
        value.is_finite() && value != 0.0
    });
    let steps = (0..2000).map(|i| 0x0010_0000_0000_0000 + i);
    fixed.iter().copied().chain(steps).chain(hashed).map(f64::from_bits)
}

#[test]
fn a_million_numbers_are_read_and_the_integers_among_them_known() {
    let Some(dir) = vectors("jcs") else { return };
    let rules: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("testdata/es6_numbers.json")).unwrap()).unwrap();
    let fixed: Vec<u64> =
        rules["static_u64"].as_array().unwrap().iter().map(|v| u64::from_str_radix(v.as_str().unwrap(), 16).unwrap()).collect();
    let published: BTreeMap<u64, &str> = rules["sha256_of_first_lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["lines"].as_u64().unwrap(), c["sha256"].as_str().unwrap()))
        .collect();
    let (mut text, mut canonical, mut compared) = (String::new(), 0, 0);
    for (value, line) in doubles(&fixed).zip(1u64..).take_while(|(_, line)| *line <= 1_000_000) {
        let number = serde_jcs::to_string(&value).unwrap();
        // From 17 digits, as others print it: our own finds the shortest.
        assert_eq!(jcs::canonical(&format!("{value:.16e}")).unwrap(), number);
        writeln!(text, "{:x},{number}", value.to_bits()).unwrap();
        assert!(Json::parse(&number).is_ok(), "{number}");
        let narrow = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
        assert_eq!(Json::parse_canonical(&number).is_ok(), narrow, "{number}");
        canonical += u64::from(narrow);
        if let Some(digest) = published.get(&line) {
            // Only then are these the numbers, and the texts, that ECMAScript makes.
            assert_eq!(hex(&sha256(&[text.as_bytes()])), *digest, "{line} lines");
            compared += 1;
        }
    }
    assert_eq!((compared, canonical), (4, 939));
}

#[test]
fn logs_of_other_did_webvh_implementations_are_none_of_ours() {
    let Some(dir) = vectors("didwebvh") else { return };
    // The reader takes the profile of chapter 2 and nothing else: no witnesses, no web location, pre-rotation
    // always. It says of each foreign log which rule of its own it breaks, and never accepts one. So that this
    // is more than a matter of text, the lines are brought into canonical form, over which they are signed.
    let (mut good, mut bad) = (BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new());
    for scenario in std::fs::read_dir(dir.join("vectors")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        let negative = scenario.file_name().unwrap().to_str().unwrap().starts_with("negative-");
        for maker in std::fs::read_dir(&scenario).unwrap().map(|e| e.unwrap().path().join("did.jsonl")).filter(|p| p.is_file()) {
            let log = std::fs::read_to_string(&maker).unwrap();
            assert!(DidLog::verify(log.as_bytes()).is_err(), "{}", maker.display());
            let lines = log.lines().map(|l| serde_jcs::to_string(&serde_json::from_str::<Value>(l).unwrap()).unwrap() + "\n");
            let why = DidLog::verify(lines.collect::<String>().as_bytes()).expect_err(&maker.display().to_string()).why;
            *if negative { &mut bad } else { &mut good }.entry(why).or_default() += 1;
        }
    }
    // The empty ones are about web locations, which stand in no log.
    let place = "has a document whose id is not did:webvh:<SCID>:local.invalid:<agt|usr|sys>";
    assert_eq!(good, BTreeMap::from([(place, 64)]));
    assert_eq!(bad, BTreeMap::from([(place, 11), ("does not end with a newline", 5)]));
}
