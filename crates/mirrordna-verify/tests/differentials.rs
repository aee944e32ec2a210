//! One meaning, many spellings: what other parsers of the same standards read
//! as equal, and this crate must read in one form only. Each hostile form is
//! first shown to be one that another implementation takes, where there is one,
//! then refused here with its own reason, without a panic.
//!
//! Notes are compared with Go's parser in `testing/foreign/go`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ciborium::Value as Cbor;
use coset::{CoseSign1, TaggedCborSerializable as _};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use mirrordna_verify::body::PublicBody;
use mirrordna_verify::cbor::Reader;
use mirrordna_verify::did::DidLog;
use mirrordna_verify::hash::{Hash, leaf, node, sha256};
use mirrordna_verify::json::Json;
use mirrordna_verify::leaf::encode_signed;
use mirrordna_verify::merkle::{extends, includes};
use mirrordna_verify::note::{Checkpoint, Note, base64};
use mirrordna_verify::policy::Policy;
use mirrordna_verify::tlog_proof::TlogProof;
use mirrordna_verify::vkey::VerifierKey;
use mirrordna_verify::{Header, Kind, Leaf, Malformed};
use sha2::Sha256;
use std::collections::BTreeMap;

// --- CBOR -----------------------------------------------------------------------

/// Another spelling of a head: its argument in this many bytes more than needed, or no length at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Longer(u8),
    Indefinite,
}

/// Where the heads of the items in `bytes` begin, those of chunks and members included.
fn heads(bytes: &[u8]) -> Vec<usize> {
    fn item(bytes: &[u8], mut at: usize, out: &mut Vec<usize>) -> usize {
        out.push(at);
        let (major, info) = (bytes[at] >> 5, bytes[at] & 31);
        at += 1;
        let size = if info < 24 { 0 } else { 1 << (info - 24) };
        let argument = if info < 24 { u64::from(info) } else { bytes[at..at + size].iter().fold(0, |v, b| v << 8 | u64::from(*b)) };
        at += size;
        match major {
            2 | 3 => at + argument as usize,
            4..=6 => (0..argument * if major == 5 { 2 } else { 1 })
                .take(if major == 6 { 1 } else { usize::MAX })
                .fold(at, |at, _| item(bytes, at, out)),
            _ => at,
        }
    }
    let mut out = Vec::new();
    let end = item(bytes, 0, &mut out);
    assert_eq!(end, bytes.len());
    out
}

/// `bytes` with the head at `at` spelled otherwise; `None` where it cannot be.
fn respelled(bytes: &[u8], at: usize, spelling: Spelling) -> Option<Vec<u8>> {
    let (major, info) = (bytes[at] >> 5, bytes[at] & 31);
    let size = if info < 24 { 0 } else { 1 << (info - 24) };
    let argument = if info < 24 { u64::from(info) } else { bytes[at + 1..at + 1 + size].iter().fold(0, |v, b| v << 8 | u64::from(*b)) };
    let body = &bytes[at + 1 + size..];
    let mut out = bytes[..at].to_vec();
    match spelling {
        Spelling::Longer(by) => {
            let info = if info < 24 { 23 + by } else { info + by };
            if info > 27 {
                return None;
            }
            out.push(major << 5 | info);
            out.extend_from_slice(&argument.to_be_bytes()[8 - (1 << (info - 24))..]);
            out.extend_from_slice(body);
        }
        Spelling::Indefinite => {
            let end = match major {
                2 | 3 => at + 1 + size + argument as usize,
                4 | 5 => {
                    // The end of the last member is where the next item of the whole begins.
                    let members = argument * if major == 5 { 2 } else { 1 };
                    let mut end = at + 1 + size;
                    for _ in 0..members {
                        end += heads_length(&bytes[end..]);
                    }
                    end
                }
                _ => return None,
            };
            out.push(major << 5 | 31);
            if matches!(major, 2 | 3) {
                // One chunk, as it stood.
                out.extend_from_slice(&bytes[at..end]);
            } else {
                out.extend_from_slice(&bytes[at + 1 + size..end]);
            }
            out.push(0xff);
            out.extend_from_slice(&bytes[end..]);
        }
    }
    Some(out)
}

/// The length of the item that `bytes` begin with, by the other reader.
fn heads_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let _: Cbor = ciborium::from_reader(&mut rest).unwrap();
    bytes.len() - rest.len()
}

fn oracle(mut bytes: &[u8]) -> Option<Cbor> {
    let value = ciborium::from_reader(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

fn header() -> Header {
    Header {
        log: [1; 16],
        actor: [2; 32],
        aseq: 700,
        prev: [3; 32],
        signer: 3,
        time: 1_770_000_000_000,
        kind: Kind::RECORD_PUT,
        session: [4; 16],
        body: [5; 32],
        length: 320,
        refs: vec![[6; 32], [7; 32]],
    }
}

/// Every other spelling of `bytes`, head by head, each read as the same value by the other reader.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let value = oracle(bytes).unwrap();
    let all = [Spelling::Longer(1), Spelling::Longer(2), Spelling::Longer(3), Spelling::Longer(4), Spelling::Indefinite];
    let mut out = Vec::new();
    for at in heads(bytes) {
        for other in all.iter().filter_map(|s| respelled(bytes, at, *s)) {
            assert_eq!(oracle(&other).as_ref(), Some(&value), "{at}: {other:02x?}");
            out.push(other);
        }
    }
    out
}

#[test]
fn a_header_has_no_other_spelling() {
    let bytes = header().encode();
    let others = spellings(&bytes);
    let mut why = BTreeMap::<&str, usize>::new();
    for other in &others {
        *why.entry(Header::decode(other).unwrap_err().why).or_default() += 1;
    }
    // Fifteen heads, each with up to four longer forms; ten of them could go without a length.
    assert_eq!(why, BTreeMap::from([("indefinite length", 10), ("integer not in its shortest form", 47)]));
    // Neither have the bytes of a leaf, whose outside is COSE.
    let signed = encode_signed(&bytes, &[8; 8], &[9; 64]);
    let mut refused = 0;
    for other in spellings(&signed) {
        assert!(Leaf::decode(&other).is_err(), "{other:02x?}");
        refused += 1;
        // That another reader of COSE takes them is the point: the signature would still be valid.
        let (theirs, ours) = (CoseSign1::from_tagged_slice(&other), CoseSign1::from_tagged_slice(&signed).unwrap());
        assert_eq!(theirs.map(|c| (c.payload, c.signature)).ok(), Some((ours.payload, ours.signature)));
    }
    assert_eq!(refused, 27);
}

#[test]
fn a_header_has_twelve_items_of_its_types_and_ends_there() {
    let written = |value: &Cbor| {
        let mut out = Vec::new();
        ciborium::into_writer(value, &mut out).unwrap();
        out
    };
    let Cbor::Array(fields) = oracle(&header().encode()).unwrap() else { panic!("no array") };
    let with = |edit: &dyn Fn(&mut Vec<Cbor>)| {
        let mut fields = fields.clone();
        edit(&mut fields);
        Header::decode(&written(&Cbor::Array(fields))).map_err(|e| e.why)
    };
    assert_eq!(with(&|_| ()), Ok(header()));
    type Edit = fn(&mut Vec<Cbor>);
    let edits: [(Edit, &str); 14] = [
        (|f| f.push(Cbor::Integer(0.into())), "does not have twelve fields"),
        (|f| _ = f.pop(), "does not have twelve fields"),
        (|f| f.clear(), "does not have twelve fields"),
        (|f| f[0] = "mdna.ev2".into(), "is of another protocol version"),
        (|f| f[0] = Cbor::Bytes(b"mdna.ev1".to_vec()), "expected a text string"),
        (|f| f[1] = Cbor::Bytes(vec![1; 15]), "byte string of another length"),
        (|f| f[1] = Cbor::Bytes(vec![1; 17]), "byte string of another length"),
        (|f| f[3] = Cbor::Integer((-1).into()), "expected an unsigned integer"),
        (|f| f[3] = Cbor::Float(700.0), "expected an unsigned integer"),
        (|f| f[3] = Cbor::Tag(2, Box::new(Cbor::Bytes(vec![1]))), "expected an unsigned integer"),
        (|f| f[6] = Cbor::Null, "expected an unsigned integer"),
        (|f| f[5] = Cbor::Integer(701.into()), "names a signer that comes after it"),
        (|f| f[11] = Cbor::Map(vec![]), "expected an array"),
        (|f| f[11] = Cbor::Array(vec![Cbor::Bytes(vec![0; 32]); 1025]), "has more than 1,024 references"),
    ];
    for (edit, why) in edits {
        assert_eq!(with(&edit), Err(why));
    }
    // What follows the array, or is missing of it.
    let bytes = header().encode();
    for tail in [&b"\0"[..], b"\xf6", b"\xff", &bytes] {
        assert_eq!(Header::decode(&[&bytes[..], tail].concat()).unwrap_err().why, "bytes after the end");
    }
    for end in 0..bytes.len() {
        assert!(Header::decode(&bytes[..end]).is_err() && Leaf::decode(&bytes[..end]).is_err(), "{end}");
    }
    // Lengths that no memory has are refused by what remains, not by trying.
    for lie in ["9b7fffffffffffffff", "9bffffffffffffffff", "5bffffffffffffffff", "7b8000000000000000", "bbffffffffffffffff"] {
        let bytes: Vec<u8> = (0..lie.len()).step_by(2).map(|i| u8::from_str_radix(&lie[i..i + 2], 16).unwrap()).collect();
        assert!(Header::decode(&bytes).is_err() && Leaf::decode(&bytes).is_err(), "{lie}");
        assert!(Reader::new(&bytes).skip().is_err(), "{lie}");
    }
}

#[test]
fn a_public_body_has_no_other_spelling() {
    let body = PublicBody::EpochOpen { key: [1; 32], version: 1, not_after: 1_770_000_000_000, certificate: [2; 64], ends: vec![4, 300] };
    let bytes = body.encode();
    assert!(PublicBody::decode(Kind::EPOCH_OPEN, &bytes).is_ok());
    let others = spellings(&bytes);
    assert_eq!(others.len(), 56);
    for other in others {
        assert!(PublicBody::decode(Kind::EPOCH_OPEN, &other).is_err(), "{other:02x?}");
    }
    // Keys twice, out of order, of another type: maps that other readers take.
    let Cbor::Map(fields) = oracle(&bytes).unwrap() else { panic!("no map") };
    let reordered = |order: &[usize]| {
        let mut out = Vec::new();
        ciborium::into_writer(&Cbor::Map(order.iter().map(|i| fields[*i].clone()).collect()), &mut out).unwrap();
        assert!(oracle(&out).is_some());
        PublicBody::decode(Kind::EPOCH_OPEN, &out).map(drop).map_err(|e| e.why)
    };
    assert_eq!(reordered(&[0, 1, 2, 3, 4, 5]), Ok(()));
    for order in [&[0, 1, 2, 3, 4][..], &[0, 1, 2, 3, 4, 5, 5], &[0, 0, 2, 3, 4, 5], &[1, 0, 2, 3, 4, 5], &[0, 1, 2, 3, 5, 4], &[]] {
        assert!(reordered(order).is_err(), "{order:?}");
    }
}

// --- JSON -----------------------------------------------------------------------

#[test]
fn a_key_that_stands_twice_is_refused_however_it_is_spelled() {
    for text in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"b":0,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"x":[{"a":{"k":1,"k":2}}]}"#,
        r#"{"é":1,"\u00e9":2}"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        // Another reader keeps the last one, silently.
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
        assert_eq!(Json::parse(text).unwrap_err().why, "object with a duplicate key", "{text}");
        assert!(Json::check(text).is_err() && Json::parse_canonical(text).is_err(), "{text}");
    }
    // In an identity: the line is not canonical, whatever it says the second time.
    let log = r#"{"parameters":{},"parameters":{},"proof":[],"state":{},"versionId":"1-a","versionTime":"2026-01-01T00:00:00Z"}"#;
    assert!(DidLog::verify(format!("{log}\n").as_bytes()).is_err());
}

#[test]
fn canonical_text_has_no_other_spelling() {
    let text = r#"{"a":[0,-1,9007199254740991,true,null],"b":"\n\"\\é\u001f"}"#;
    assert_eq!(Json::parse_canonical(text).unwrap().raw, text);
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    for other in [
        r#" {"a":[0,-1,9007199254740991,true,null],"b":"\n\"\\é\u001f"}"#,
        r#"{"a": [0,-1,9007199254740991,true,null],"b":"\n\"\\é\u001f"}"#,
        r#"{"a":[0,-1,9007199254740991,true,null],"b":"\n\"\\é\u001f"}
"#,
        r#"{"b":"\n\"\\é\u001f","a":[0,-1,9007199254740991,true,null]}"#,
        r#"{"a":[0,-1,9007199254740991,true,null],"b":"\u000a\"\\é\u001f"}"#,
        r#"{"a":[0,-1,9007199254740991,true,null],"b":"\n\u0022\\é\u001f"}"#,
        r#"{"a":[0,-1,9007199254740991,true,null],"b":"\n\"\\\u00e9\u001f"}"#,
        r#"{"a":[0,-1,9007199254740991,true,null],"b":"\n\"\\é\u001F"}"#,
        r#"{"\u0061":[0,-1,9007199254740991,true,null],"b":"\n\"\\é\u001f"}"#,
    ] {
        assert_eq!(serde_json::from_str::<serde_json::Value>(other).unwrap(), value, "{other}");
        assert!(Json::parse_canonical(other).is_err(), "{other}");
    }
    // Numbers that other readers take for the same ones, or for others.
    for number in ["-0", "1.0", "1e0", "1E0", "10e-1", "0.0", "9007199254740992", "-9007199254740992", "1e400", "18446744073709551616"] {
        assert!(Json::parse(number).is_ok(), "{number}");
        assert_eq!(Json::parse_canonical(number).unwrap_err().why, "number that is no integer within 2^53", "{number}");
    }
    for broken in [
        "",
        "00",
        "01",
        "+1",
        "1.",
        ".1",
        "1e",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "'a'",
        "{a:1}",
        "[1,]",
        "{\"a\":1,}",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\x41\"",
        "\"\t\"",
        "nul",
        "true false",
        "\u{feff}1",
        "// 1",
        "[",
        "\"",
        "{\"a\"}",
        "{\"a\":}",
    ] {
        assert!(Json::parse(broken).is_err() && Json::check(broken).is_err(), "{broken:?}");
    }
}

// --- trees ------------------------------------------------------------------------

/// The root that a path leads to, by the definition of RFC 6962 section 2.1.1,
/// from the top down: no bit is looked at.
fn root_by_definition(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    let Some((last, below)) = path.split_last() else { return (size == 1).then_some(leaf) };
    if size < 2 {
        return None;
    }
    // The largest power of two below the size.
    let k = 1u64 << (63 - (size - 1).leading_zeros());
    Some(match index < k {
        true => node(&root_by_definition(index, k, leaf, below)?, last),
        false => node(last, &root_by_definition(index - k, size - k, leaf, below)?),
    })
}

/// How long the path of a leaf is.
fn depth(index: u64, size: u64) -> usize {
    if size < 2 {
        return 0;
    }
    let k = 1u64 << (63 - (size - 1).leading_zeros());
    1 + if index < k { depth(index, k) } else { depth(index - k, size - k) }
}

/// 0, 1, and three around each power of two.
fn sizes() -> Vec<u64> {
    let mut all: Vec<u64> = (1..64).flat_map(|e| [(1u64 << e) - 1, 1 << e, (1 << e) + 1]).chain([0, 1, u64::MAX]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn hash_of(n: u64) -> Hash {
    sha256(&[&n.to_be_bytes()])
}

#[test]
fn inclusion_in_trees_of_every_order_of_size() {
    let (mut proved, mut beyond) = (0, 0);
    for size in sizes() {
        let last = size.saturating_sub(1);
        let mut indexes = vec![0, 1, size / 2, last.saturating_sub(1), last];
        indexes.sort_unstable();
        indexes.dedup();
        for index in indexes.into_iter().filter(|i| *i < size) {
            let data = index.to_be_bytes();
            let length = depth(index, size);
            let path: Vec<Hash> = (0..length as u64).map(hash_of).collect();
            let root = root_by_definition(index, size, leaf(&data), &path).unwrap();
            // A path has at most 63 hashes: that is all that a log of 2^63 leaves needs.
            assert_eq!(includes(&root, size, index, &leaf(&data), &path), length <= 63, "{index} of {size}");
            if length > 63 {
                beyond += 1;
                continue;
            }
            // The other implementation numbers all nodes of a tree in 64 bits.
            if size <= 1 << 62 {
                let digests: Vec<_> = path.iter().map(|h| (*h).into()).collect();
                let theirs = RootHash::<Sha256>::new(root.into(), size);
                assert!(theirs.verify_inclusion(&data, index, &InclusionProof::from_digests(&digests)).is_ok(), "{index} of {size}");
            }
            proved += 1;
            let refused =
                |size: u64, index: u64, path: &[Hash]| assert!(!includes(&root, size, index, &leaf(&data), path), "{index} of {size}");
            refused(size, size, &path);
            refused(size, u64::MAX, &path);
            refused(0, index, &path);
            refused(size, index, &[&path[..], &[[0; 32]]].concat());
            refused(size, index, &[&path[..], &vec![[0; 32]; 64 - length]].concat());
            refused(size, index, &vec![[0; 32]; 64]);
            refused(size, index, &vec![[0; 32]; 100_000]);
            if let Some((_, shorter)) = path.split_first() {
                refused(size, index, shorter);
                refused(size, index, &path[..length - 1]);
                refused(size, index ^ 1, &path);
            }
        }
    }
    assert_eq!((proved, beyond), (927, 8));
    for index in [0, 1, u64::MAX] {
        assert!(!includes(&sha256(&[]), 0, index, &[0; 32], &[]));
    }
}

#[test]
fn consistency_of_trees_of_every_order_of_size() {
    // Two trees of one path: the old one is perfect, so that its root stands for its part of the new one.
    let mut proved = 0;
    for power in 0..63u32 {
        let old = 1u64 << power;
        let old_root = hash_of(u64::from(power));
        for new in [old + 1, old * 2 - 1, old.saturating_mul(2), old.saturating_mul(2) + u64::from(power < 62)] {
            if new <= old {
                continue;
            }
            // The old tree is the leaf 0 of a tree whose leaves are of its size.
            let length = depth(0, new) - power as usize;
            let path: Vec<Hash> = (1000..1000 + length as u64).map(hash_of).collect();
            let new_root = path.iter().fold(old_root, |left, right| node(&left, right));
            assert!(extends(old, &old_root, new, &new_root, &path), "{old} to {new}");
            proved += 1;
            if new <= 1 << 62 {
                let digests: Vec<_> = path.iter().map(|h| (*h).into()).collect();
                let (before, after) = (RootHash::<Sha256>::new(old_root.into(), old), RootHash::<Sha256>::new(new_root.into(), new));
                assert!(after.verify_consistency(&before, &ConsistencyProof::from_digests(&digests)).is_ok(), "{old} to {new}");
            }
            let refused = |old: u64, new: u64, path: &[Hash]| assert!(!extends(old, &old_root, new, &new_root, path), "{old} to {new}");
            refused(new, old, &path);
            refused(0, new, &path);
            refused(old, old, &path);
            refused(old, u64::MAX, &path[..0]);
            refused(old, new, &path[1..]);
            refused(old, new, &[&path[..], &[[0; 32]]].concat());
            refused(old, new, &vec![[0; 32]; 64]);
            refused(old, new, &vec![[0; 32]; 100_000]);
        }
    }
    assert_eq!(proved, 251);
    let empty = sha256(&[]);
    assert!(extends(0, &empty, 0, &empty, &[]) && extends(0, &empty, u64::MAX, &[1; 32], &[]));
    assert!(!extends(0, &[1; 32], 1, &[1; 32], &[]) && !extends(0, &empty, 1, &[1; 32], &[[2; 32]]));
    assert!(extends(u64::MAX, &[1; 32], u64::MAX, &[1; 32], &[]) && !extends(u64::MAX, &[1; 32], u64::MAX, &[2; 32], &[]));
}

// --- notes, checkpoints, proofs, keys, policies -------------------------------------

const NAME: &str = "example.com/log";

fn note(text: &str, lines: &[&str]) -> String {
    format!("{text}\n{}", lines.iter().map(|l| format!("{l}\n")).collect::<String>())
}

fn why<T>(parsed: Result<T, Malformed>) -> &'static str {
    parsed.map_or_else(|e| e.why, |_| "taken")
}

#[test]
fn notes_have_one_form() {
    let line = format!("\u{2014} {NAME} {}", base64(&[7; 68]));
    let good = note("text\n", &[&line]);
    assert_eq!(why(Note::parse(good.as_bytes())), "taken");
    assert_eq!(why(Note::parse(note("text\n", &vec![&*line; 16]).as_bytes())), "taken");
    let of = |data: String| note("text\n", &[&format!("\u{2014} {NAME} {data}")]);
    for (bytes, reason) in [
        (note("text\n", &vec![&*line; 17]).into_bytes(), "has more than 16 signatures"),
        (note("text\n", &vec![&*line; 600]).into_bytes(), "is longer than 64 KiB"),
        (b"text\n\xff\n\n\xe2\x80\x94 a AAAAAAA=\n".to_vec(), "is not UTF-8"),
        (note("te\0xt\n", &[&line]).into_bytes(), "holds a control character"),
        (note("te\txt\n", &[&line]).into_bytes(), "holds a control character"),
        (note("te\u{7f}xt\n", &[&line]).into_bytes(), "holds a control character"),
        (note("te\u{85}xt\n", &[&line]).into_bytes(), "holds a control character"),
        (note("te\u{9b}31mxt\n", &[&line]).into_bytes(), "holds a control character"),
        (good.replace('\n', "\r\n").into_bytes(), "holds a control character"),
        (good.trim_end().as_bytes().to_vec(), "does not end with a newline"),
        (format!("text\n{line}\n").into_bytes(), "has no empty line before its signatures"),
        (b"text\n\n".to_vec(), "does not end with a newline"),
        (b"".to_vec(), "has no empty line before its signatures"),
        (note("text\n", &["- a AAAAAAA="]).into_bytes(), "has a line that is no signature after the empty line"),
        (note("text\n", &[&line, "text"]).into_bytes(), "has a line that is no signature after the empty line"),
        (note("text\n", &["\u{2014} onlyname"]).into_bytes(), "has a signature line without a signature"),
        (note("text\n", &["\u{2014}  AAAAAAA="]).into_bytes(), "has a signature line with a bad key name"),
        (note("text\n", &["\u{2014} a+b AAAAAAA="]).into_bytes(), "has a signature line with a bad key name"),
        (note("text\n", &["\u{2014} a\u{a0}b AAAAAAA="]).into_bytes(), "has a signature line with a bad key name"),
        (of("AAAAAAA".to_owned()).into_bytes(), "has a signature that is not base64"),
        (of("AAAAAAB=".to_owned()).into_bytes(), "has a signature that is not base64"),
        (of("AAAA_AA=".to_owned()).into_bytes(), "has a signature that is not base64"),
        (of("AAAAAAA= ".to_owned()).into_bytes(), "has a signature that is not base64"),
        (of("AAAA".to_owned()).into_bytes(), "has a signature without a key id"),
        (of("AAAAAA==".to_owned()).into_bytes(), "has an empty signature"),
        ([good.as_bytes(), &vec![b'x'; 65_536]].concat(), "is longer than 64 KiB"),
    ] {
        assert_eq!(why(Note::parse(&bytes)), reason, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    // An id of another key, type or name is not a signature of this one.
    use ed25519_dalek::{Signer as _, SigningKey};
    let secret = SigningKey::from_bytes(&[3; 32]);
    let key = mirrordna_verify::PublicKey::from(&secret);
    let signed = |name: &str, id: [u8; 4]| {
        let raw = [&id[..], &secret.sign(b"text\n").to_bytes()].concat();
        note("text\n", &[&format!("\u{2014} {name} {}", base64(&raw))])
    };
    let id = mirrordna_verify::note::key_id(NAME, &key);
    assert!(Note::parse(signed(NAME, id).as_bytes()).unwrap().signed_by(NAME, &key));
    for (name, id) in [(NAME, [0; 4]), ("example.com/log2", id), ("example.com", id), (NAME, [id[3], id[2], id[1], id[0]])] {
        assert!(!Note::parse(signed(name, id).as_bytes()).unwrap().signed_by(NAME, &key), "{name} {id:?}");
    }
}

#[test]
fn checkpoints_have_one_form() {
    let root = base64(&[9; 32]);
    let of = |origin: &str, size: &str, root: &str, more: &str| {
        let text = format!("{origin}\n{size}\n{root}\n{more}");
        Checkpoint::parse(&text).map(|c| c.size).map_err(|e| e.why)
    };
    for size in sizes() {
        assert_eq!(of(NAME, &size.to_string(), &root, ""), Ok(size));
    }
    let number = Err("has a size that is no plain decimal number below 2^64");
    for size in [
        "",
        " 1",
        "1 ",
        "+1",
        "-1",
        "-0",
        "00",
        "01",
        "1.0",
        "1e3",
        "0x10",
        "１",
        "18446744073709551616",
        "99999999999999999999999",
        "\u{200b}1",
    ] {
        assert_eq!(of(NAME, size, &root, ""), number, "{size:?}");
    }
    for (root, reason) in [
        (base64(&[9; 31]), "has a root that is not 32 bytes"),
        (base64(&[9; 33]), "has a root that is not 32 bytes"),
        (String::new(), "has a root that is not 32 bytes"),
        (root.trim_end_matches('=').to_owned(), "has no root in base64"),
        (format!("{root} "), "has no root in base64"),
        (format!("{}x=", &root[..42]), "has no root in base64"),
    ] {
        assert_eq!(of(NAME, "1", &root, ""), Err(reason), "{root:?}");
    }
    assert_eq!(of("", "1", &root, ""), Err("has no origin"));
    assert_eq!(of(NAME, "1", &root, "extension\n"), Ok(1));
    assert_eq!(of(NAME, "1", &root, "\n"), Err("has an empty extension line"));
    assert_eq!(of(NAME, "1", &root, "no newline"), Err("does not end with a newline"));
    assert_eq!(Checkpoint::parse(&format!("{NAME}\n1")).unwrap_err().why, "does not end with a newline");
    assert_eq!(Checkpoint::parse(&format!("{NAME}\n")).unwrap_err().why, "has no size");
}

#[test]
fn proof_files_have_one_form() {
    let checkpoint = note(&format!("{NAME}\n2\n{}\n", base64(&[9; 32])), &[&format!("\u{2014} {NAME} {}", base64(&[7; 68]))]);
    let file = |head: &str| format!("{head}\n{checkpoint}");
    let hash = base64(&[8; 32]);
    let head = |index: &str, hashes: usize| format!("c2sp.org/tlog-proof@v1\nindex {index}\n{}", format!("{hash}\n").repeat(hashes));
    let parse = |text: &str| why(TlogProof::parse(text.as_bytes()));
    for hashes in [0, 1, 2, 62, 63] {
        assert_eq!(parse(&file(&head("1", hashes))), "taken", "{hashes}");
    }
    let path = "has a path of more than 63 lines, or a line in it that is no hash";
    for hashes in [64, 65, 1000] {
        assert_eq!(parse(&file(&head("1", hashes))), path, "{hashes}");
    }
    for index in ["0", "9223372036854775808", "18446744073709551615"] {
        assert_eq!(parse(&file(&head(index, 1))), "taken", "{index}");
    }
    for index in ["", "-1", "+1", "01", "1 ", "18446744073709551616", "0x1", "one"] {
        assert_eq!(parse(&file(&head(index, 1))), "has an index that is no plain decimal number", "{index:?}");
    }
    for (text, reason) in [
        (file(&head("1", 1)).replace("@v1", "@v2"), "does not begin with its first line"),
        (format!(" {}", file(&head("1", 1))), "does not begin with its first line"),
        (file(&head("1", 1)).replacen('\n', "\r\n", 1), "does not begin with its first line"),
        (file("c2sp.org/tlog-proof@v1\nextra ???\nindex 1\n"), "has extra data that is not base64"),
        (file("c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA\n"), path),
        (file(&format!("c2sp.org/tlog-proof@v1\nindex 1\n{}\n", base64(&[8; 31]))), path),
        (file(&format!("c2sp.org/tlog-proof@v1\nindex 1\n{}\n", "8".repeat(64))), path),
        (head("1", 1), "has no empty line before its checkpoint"),
        ("x".repeat(200_000), "is longer than 128 KiB"),
    ] {
        assert_eq!(parse(&text), reason, "{:?}", &text[..text.len().min(60)]);
    }
}

#[test]
fn keys_and_policies_have_one_form() {
    let key = mirrordna_verify::PublicKey::from(&ed25519_dalek::SigningKey::from_bytes(&[3; 32]));
    let vkey = mirrordna_verify::note::verifier_key(NAME, &key);
    assert!(VerifierKey::parse(&vkey).is_ok() && Policy::parse(&format!("log {vkey}\n")).is_ok());
    let parts: Vec<&str> = vkey.splitn(3, '+').collect();
    let raw = |kind: u8, key: &[u8]| base64(&[&[kind], key].concat());
    let id_of = |id: &str, data: &str| format!("{NAME}+{id}+{data}");
    for other in [
        vkey.replace("example", "Example"),
        id_of(&parts[1].to_uppercase(), parts[2]),
        id_of("00000000", parts[2]),
        id_of(&parts[1][..7], parts[2]),
        id_of(parts[1], &raw(2, &key.to_bytes())),
        id_of(parts[1], &raw(1, &key.to_bytes()[..31])),
        id_of(parts[1], parts[2].trim_end_matches('=')),
        // A key of small order, and one whose y is not reduced.
        id_of(parts[1], &raw(1, &[0; 32])),
        id_of(parts[1], &raw(1, &[0xff; 32])),
        format!("+{}+{}", parts[1], parts[2]),
        format!("{NAME}+{}", parts[1]),
        String::new(),
    ] {
        if other == vkey {
            continue;
        }
        assert!(VerifierKey::parse(&other).is_err(), "{other}");
        assert!(Policy::parse(&format!("log {other}\n")).is_err(), "{other}");
    }
    for text in [
        "log",
        "logs x",
        "witness w",
        "group g 1",
        "quorum",
        "quorum nobody",
        "\u{feff}quorum none",
        "quorum none\r\n",
        "group g 2 a\n",
        "quorum none\nquorum none\n",
    ] {
        assert!(Policy::parse(text).is_err(), "{text:?}");
    }
}
