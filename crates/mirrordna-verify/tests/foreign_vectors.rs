//! Test vectors that other implementations published, with the number of
//! accepted and refused ones pinned. They are read from the corpus, never
//! copied into this repository.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use mirrordna_verify::hash::{Hash, leaf, sha256};
use mirrordna_verify::json::Json;
use mirrordna_verify::merkle::{Frontier, extends, includes, root_of};
use mirrordna_verify::note::{Checkpoint, Note, SignatureLine, base64, from_base64, key_id, verifier_key};
use mirrordna_verify::{Policy, PublicKey, multibase};
use serde_json::Value;
use std::path::{Path, PathBuf};

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

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn str_of<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no text {key} in {of}"))
}

/// All files below `dir`, in a stable order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// A digest as a reader of proofs must take it: base64 of 32 bytes.
fn digest(of: &Value) -> Option<Hash> {
    from_base64(of.as_str()?)?.try_into().ok()
}

fn digests(of: &Value) -> Option<Vec<Hash>> {
    // An absent proof is written as null by the program that made the vectors.
    of.as_array().map_or(Some(Vec::new()), |items| items.iter().map(digest).collect())
}

/// The only proof that is good elsewhere and refused here: both trees have one
/// leaf and the same "root", which is 12 bytes long.
const SHORT_ROOT: &str = "consistency/additional/sizes-are-equal-one-and-proof-is-empty.json";

/// How a set of proofs was judged.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// Refused by the form alone: a root, leaf or path element is not 32 bytes.
    malformed: usize,
}

impl Tally {
    /// Judges every file below `dir`; `check` gives `None` for a malformed one.
    fn of(dir: &Path, check: impl Fn(&Value) -> Option<bool>) -> Self {
        let mut tally = Self::default();
        for path in files(dir) {
            let case = json(&path);
            let verdict = check(&case);
            let want = !case["wantErr"].as_bool().unwrap() && !path.ends_with(SHORT_ROOT);
            assert_eq!(verdict.unwrap_or(false), want, "{}", path.display());
            match verdict {
                Some(true) => tally.accepted += 1,
                Some(false) => tally.refused += 1,
                None => tally.malformed += 1,
            }
        }
        tally
    }
}

#[test]
fn merkle_inclusion_proofs_are_judged_as_elsewhere() {
    let Some(dir) = vectors("merkle-rfc6962") else { return };
    let tally = Tally::of(&dir.join("testdata/inclusion"), |c| {
        let (index, size) = (c["leafIdx"].as_u64()?, c["treeSize"].as_u64()?);
        Some(includes(&digest(&c["root"])?, size, index, &digest(&c["leafHash"])?, &digests(&c["proof"])?))
    });
    assert_eq!(tally, Tally { accepted: 6, refused: 66, malformed: 26 });
}

#[test]
fn merkle_consistency_proofs_are_judged_as_elsewhere() {
    let Some(dir) = vectors("merkle-rfc6962") else { return };
    let dir = dir.join("testdata/consistency");
    let check = |c: &Value| {
        let (size1, size2) = (c["size1"].as_u64()?, c["size2"].as_u64()?);
        Some(extends(size1, &digest(&c["root1"])?, size2, &digest(&c["root2"])?, &digests(&c["proof"])?))
    };
    assert_eq!(Tally::of(&dir, check), Tally { accepted: 5, refused: 66, malformed: 27 });

    let mut short = json(dir.parent().unwrap().join(SHORT_ROOT));
    assert_eq!(from_base64(str_of(&short, "root1")).unwrap().len(), 12);
    assert_eq!(check(&short), None);
    for root in ["root1", "root2"] {
        short[root] = Value::from(base64(&[7; 32]));
    }
    assert_eq!(check(&short), Some(true));

    // Elsewhere a proof from the empty tree is refused as useless; here every tree extends it.
    // The vector for it is refused all the same, because its second root is 12 bytes long.
    let mut empty = json(dir.join("additional/size1-is-zero-and-size2-is-not-zero.json"));
    assert_eq!(check(&empty), None);
    empty["root2"] = Value::from(base64(&[7; 32]));
    assert_eq!(check(&empty), Some(true));
}

#[test]
fn ed25519_edge_cases_are_judged_by_the_strict_rule() {
    let Some(dir) = vectors("ed25519-cctv") else { return };
    let cases = json(dir.join("ed25519/ed25519vectors.json"));
    let cases = cases.as_array().unwrap();
    let (mut strict, mut registered, mut accepted) = (0, 0, Vec::new());
    for case in cases {
        let key: [u8; 32] = hex(str_of(case, "key")).try_into().unwrap();
        let signature: [u8; 64] = hex(str_of(case, "sig")).try_into().unwrap();
        let message = str_of(case, "msg").as_bytes();
        let lax = VerifyingKey::from_bytes(&key).ok();
        strict += usize::from(lax.is_some_and(|k| k.verify_strict(message, &Signature::from_bytes(&signature)).is_ok()));
        let Some(key) = PublicKey::new(&key) else { continue };
        registered += 1;
        if key.verifies(message, &signature) {
            accepted.push(case["number"].as_u64().unwrap());
        }
    }
    assert_eq!((cases.len(), strict, registered), (914, 43, 28));
    // The ordinary signature. Not 304, whose R is of small order and which a lax verifier accepts.
    assert_eq!(accepted, [305]);
}

#[test]
fn wycheproof_ed25519_is_judged_as_published() {
    let Some(dir) = vectors("wycheproof") else { return };
    let file = json(dir.join("testvectors_v1/ed25519_test.json"));
    let (mut valid, mut invalid) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key = PublicKey::new(&hex(str_of(&group["publicKey"], "pk")).try_into().unwrap()).unwrap();
        for case in group["tests"].as_array().unwrap() {
            let signature = <[u8; 64]>::try_from(hex(str_of(case, "sig")));
            let ours = signature.is_ok_and(|s| key.verifies(&hex(str_of(case, "msg")), &s));
            assert_eq!(ours, str_of(case, "result") == "valid", "tcId {}", case["tcId"]);
            if ours { valid += 1 } else { invalid += 1 }
        }
    }
    assert_eq!((valid, invalid), (88, 63));
}

/// Reads `name+hash+base64(type || key)`; the text must be the only form of its key.
fn note_key(text: &str) -> Option<(&str, PublicKey)> {
    let mut parts = text.splitn(3, '+');
    let (name, _id, key) = (parts.next()?, parts.next()?, parts.next()?);
    let raw = from_base64(key)?;
    let key = PublicKey::new(raw.strip_prefix(&[1])?.try_into().ok()?)?;
    (verifier_key(name, &key) == text).then_some((name, key))
}

/// String literals of a foreign test suite that are UTF-8.
fn literals(dir: &Path) -> Vec<String> {
    let all = json(dir.join("literals.json"));
    all.as_array().unwrap().iter().filter_map(|l| l["text"].as_str().map(str::to_owned)).collect()
}

/// Writes a parsed note again, in the only form it can have.
fn rewritten(note: &Note<'_>) -> String {
    let line = |s: &SignatureLine<'_>| format!("\u{2014} {} {}\n", s.name, base64(&[&s.id[..], &s.signature].concat()));
    note.text.to_owned() + "\n" + &note.signatures.iter().map(line).collect::<String>()
}

#[test]
fn the_peter_neumann_note_opens_and_malformed_ones_do_not() {
    let Some(dir) = vectors("note-gomod") else { return };
    let all = literals(&dir);
    assert_eq!(all.len(), 87);
    let starting = |prefix: &str| all.iter().find(|l| l.starts_with(prefix)).unwrap().as_str();
    let whole = all.iter().find(|l| l.starts_with("If you think") && l.contains("\u{2014} PeterNeumann")).unwrap();
    let (text, peter_line) = whole.split_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let enoch_line = starting("\u{2014} EnochRoot");
    let (peter, peter_key) = note_key(starting("PeterNeumann+c74f20a3")).unwrap();
    let (enoch, enoch_key) = note_key(starting("EnochRoot+")).unwrap();

    let note = Note::parse(whole.as_bytes()).unwrap();
    assert_eq!(note.text, text);
    assert_eq!(&rewritten(&note), whole);
    assert!(note.signed_by(peter, &peter_key));
    assert!(!note.signed_by(enoch, &enoch_key) && !note.signed_by(enoch, &peter_key) && !note.signed_by(peter, &enoch_key));
    let both = format!("{text}\n{peter_line}{enoch_line}");
    let both = Note::parse(both.as_bytes()).unwrap();
    assert!(both.signed_by(peter, &peter_key) && both.signed_by(enoch, &enoch_key));

    // Signatures that are well formed but wrong: too long by three bytes, of another text, by another name.
    let parts = ["rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n", "2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ="];
    assert!(parts.iter().all(|p| all.iter().any(|l| l == p)));
    for (name, key, wrong) in [
        (enoch, &enoch_key, format!("{text}\n\u{2014} {enoch} {}ABCD{}\n", parts[0], parts[1])),
        (peter, &peter_key, format!("x{text}\n{peter_line}")),
        (peter, &peter_key, format!("{text}\n{}", peter_line.replacen(peter, "Peter", 1))),
    ] {
        assert!(!Note::parse(wrong.as_bytes()).unwrap().signed_by(name, key), "{wrong}");
    }

    let bad_name = starting("\u{2014} Bad Name");
    let many = |n| format!("{text}\n{}", peter_line.repeat(n));
    let malformed: [(&str, Vec<u8>); 13] = [
        ("has no empty line before its signatures", text.clone().into()),
        ("does not end with a newline", format!("{text}\n").into()),
        ("has a line that is no signature after the empty line", format!("{text}\nx\n").into()),
        ("has no empty line before its signatures", format!("{text}{peter_line}").into()),
        ("does not end with a newline", whole.trim_end().into()),
        ("holds a control character", format!("\u{1}{whole}").into()),
        ("holds a control character", whole.replacen('\n', "\r\n", 1).into()),
        ("is not UTF-8", [&[0xff], whole.as_bytes()].concat()),
        ("has a signature that is not base64", format!("{text}\n{bad_name}\n").into()),
        ("has a line that is no signature after the empty line", format!("{whole}Unexpected line.\n").into()),
        ("has a signature line with a bad key name", whole.replacen("\u{2014} P", "\u{2014} +P", 1).into()),
        ("has a signature without a key id", format!("{text}\n\u{2014} {peter} AAAA\n").into()),
        ("has more than 16 signatures", many(17).into()),
    ];
    for (why, bytes) in &malformed {
        assert_eq!(Note::parse(bytes).unwrap_err().why, *why, "{}", String::from_utf8_lossy(bytes));
    }
    assert!(Note::parse(many(16).as_bytes()).is_ok());

    // Of all literals exactly the one note is a note; of all keys the two bad ones stay out.
    assert_eq!(all.iter().filter(|l| Note::parse(l.as_bytes()).is_ok()).count(), 1);
    let keys: Vec<_> = all.iter().filter(|l| l.split('+').nth(1).is_some_and(|id| id.len() == 8 && !l.contains(' '))).collect();
    let (good, bad): (Vec<&String>, Vec<_>) = keys.into_iter().partition(|l| note_key(l).is_some());
    assert_eq!((good.len(), bad.len()), (8, 2), "{bad:?}");
    for l in &all {
        let _ = Checkpoint::parse(l);
        let _ = Json::parse(l);
    }
}

/// What a witness signs at `time`: `cosignature/v1` of C2SP `tlog-cosignature`.
fn cosigned(time: u64, checkpoint: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{checkpoint}").into_bytes()
}

/// An OpenSSH public key line: two strings with lengths, the second is the key.
fn ssh_key(line: &str) -> PublicKey {
    let raw = from_base64(line.strip_prefix("ssh-ed25519 ").unwrap()).unwrap();
    let key = raw.strip_prefix(b"\0\0\0\x0bssh-ed25519\0\0\0\x20").unwrap();
    PublicKey::new(key.try_into().unwrap()).unwrap()
}

#[test]
fn sigsum_checkpoints_and_signature_lines_parse_alike() {
    let Some(dir) = vectors("sigsum") else { return };
    let all = literals(&dir);
    assert_eq!(all.len(), 60);

    // Complete notes, and what their checkpoints say.
    let notes: Vec<_> = all.iter().filter_map(|l| Note::parse(l.as_bytes()).ok().map(|n| (l, n))).collect();
    let mut read = Vec::new();
    for (literal, note) in &notes {
        assert_eq!(&&rewritten(note), literal);
        if let Ok(checkpoint) = Checkpoint::parse(note.text) {
            assert_eq!(checkpoint.text(), note.text);
            read.push((checkpoint.origin, checkpoint.size));
        }
    }
    assert_eq!(read.iter().map(|r| r.1).collect::<Vec<_>>(), [10, 10, 30_055_305]);
    assert_eq!((read[0].0, read[2].0), ("example.org/log", "go.sum database tree"));
    // What remains has signature lines after an empty first line, as the suite's own tables cut them.
    assert_eq!(notes.len(), 3);

    // The Go checksum database signed its checkpoint with a key of the note format.
    let (name, key) = all.iter().find_map(|l| note_key(l)).unwrap();
    assert_eq!(key_id(name, &key), [0x03, 0x3d, 0xe0, 0xae]);
    assert_eq!(notes.iter().map(|(_, n)| n.signed_by(name, &key)).collect::<Vec<_>>(), [false, false, true]);
    let grown = notes[2].0.replacen("30055305", "30055306", 1);
    assert!(!Note::parse(grown.as_bytes()).unwrap().signed_by(name, &key));

    // Single signature lines, in the order of the tables. Sigsum wants 64 bytes in each; a note may hold
    // signatures of other types, so that a shorter one is read here and verifies under no key.
    let lines = all.iter().filter(|l| l.starts_with('\u{2014}')).map(|line| {
        let text = format!("a\n\n{line}\n");
        Note::parse(text.as_bytes()).map(|n| (n.signatures[0].name.to_owned(), n.signatures[0].signature.len())).map_err(|e| e.why)
    });
    let (log, log2) = (String::from("example.org/log"), String::from("example.org/log2"));
    let expected = [
        Ok((log2.clone(), 64)),
        Err("has a signature without a key id"),
        Err("has a signature that is not base64"),
        Ok((log.clone(), 64)),
        Ok((log2, 64)),
        Err("has a signature that is not base64"),
        Ok((log, 62)),
        Err("has a signature without a key id"),
        Err("has a signature line with a bad key name"),
    ];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    for l in &all {
        let _ = Checkpoint::parse(l);
    }
}

/// One `key=value` file of Sigsum: the first value of `key`.
fn field<'a>(proof: &'a str, key: &str) -> Option<&'a str> {
    proof.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn sigsum_tree_heads_verify_as_our_checkpoints() {
    let Some(dir) = vectors("sigsum") else { return };
    let all = literals(&dir);
    let keys: Vec<_> = all.iter().filter(|l| l.starts_with("ssh-ed25519 ")).map(|l| ssh_key(l)).collect();
    let key_of = |id: &str| keys.iter().find(|k| k.fingerprint() == *hex(id));
    let (mut heads, mut witnesses, mut unknown) = (0, 0, 0);
    for proof in all.iter().filter(|l| l.starts_with("version=")) {
        let log = field(proof, "log").unwrap();
        let Some(key) = key_of(log) else {
            unknown += 1;
            continue;
        };
        let root: Hash = hex(field(proof, "root_hash").unwrap()).try_into().unwrap();
        let origin = format!("sigsum.org/v1/tree/{log}");
        let checkpoint = Checkpoint { origin: &origin, size: field(proof, "size").unwrap().parse().unwrap(), root };
        let signed = checkpoint.text();
        let signature = hex(field(proof, "signature").unwrap()).try_into().unwrap();
        assert!(key.verifies(signed.as_bytes(), &signature), "{proof}");
        assert!(!key.verifies(&signed.as_bytes()[1..], &signature));
        heads += 1;
        if let Some(cosignature) = field(proof, "cosignature") {
            let [witness, time, signature] = *cosignature.split(' ').collect::<Vec<_>>() else { panic!("{proof}") };
            let (time, signature) = (time.parse().unwrap(), hex(signature).try_into().unwrap());
            let witness = key_of(witness).unwrap();
            assert!(witness.verifies(&cosigned(time, &signed), &signature));
            assert!(!witness.verifies(&cosigned(time + 1, &signed), &signature));
            witnesses += 1;
        }
    }
    // The log keys of the others stand in no literal.
    assert_eq!((heads, witnesses, unknown), (2, 1, 6));
}

#[test]
fn examples_of_the_specifications_parse() {
    let Some(dir) = vectors("c2sp-inline") else { return };
    let examples = |name: &str| -> Vec<String> {
        let file = text(dir.join(format!("{name}.examples.txt")));
        file.split("-----\n").filter(|e| !e.is_empty()).map(str::to_owned).collect()
    };
    let notes = examples("signed-note");
    let names: Vec<_> = notes.iter().map(|n| Note::parse(n.as_bytes()).unwrap().signatures[0].name.to_owned()).collect();
    assert_eq!(names, ["quasimodo.example/salvatore", "example.com/foo"]);
    // The poem has an empty line of its own: the signatures begin after the last one.
    assert!(Note::parse(notes[0].as_bytes()).unwrap().text.ends_with("\n\ned è subito sera.\n"));
    assert!(notes.iter().all(|n| rewritten(&Note::parse(n.as_bytes()).unwrap()) == *n));

    for (name, lengths) in [("tlog-checkpoint", vec![64]), ("tlog-cosignature", vec![64, 72])] {
        let [example] = &examples(name)[..] else { panic!("{name}: another number of examples") };
        let note = Note::parse(example.as_bytes()).unwrap();
        assert_eq!(note.signatures.iter().map(|s| s.signature.len()).collect::<Vec<_>>(), lengths, "{name}");
        let checkpoint = Checkpoint::parse(note.text).unwrap();
        assert_eq!((checkpoint.origin, checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!((checkpoint.text(), rewritten(&note)), (note.text.to_owned(), example.clone()));
    }

    // The proof's signatures are abridged with "[...]" and so are no base64: the four lines are
    // refused, the rest of the file is read without them.
    let [proof] = &examples("tlog-proof")[..] else { panic!("another number of proofs") };
    let (head, checkpoint) = proof.split_once("\n\n").unwrap();
    assert_eq!(Note::parse(checkpoint.as_bytes()).unwrap_err().why, "has a signature that is not base64");
    let (signed, lines) = checkpoint.split_at(checkpoint.find("\n\n").unwrap() + 1);
    assert_eq!(lines.lines().filter(|l| l.contains("[...]")).count(), 4);
    assert_eq!(Checkpoint::parse(signed).unwrap().text(), signed);
    let hashes: Vec<_> = head.lines().skip(3).map(|l| digest(&Value::from(l)).unwrap()).collect();
    assert_eq!(hashes.len(), 5);
    // The figures are for show: a path of five in a tree of 109,482 leaves is too short for leaf 73,894.
    let Checkpoint { size, root, .. } = Checkpoint::parse(signed).unwrap();
    assert!(!includes(&root, size, 73_894, &[0; 32], &hashes));

    // Grammars of policy files are neither notes nor checkpoints.
    let policies = examples("tlog-policy");
    assert_eq!(policies.len(), 6);
    assert!(policies.iter().all(|p| Note::parse(p.as_bytes()).is_err() && Checkpoint::parse(p).is_err()));
}

/// The only line of a note by a witness: name, time and signature of `cosignature/v1`.
fn cosignature<'n>(note: &'n Note<'_>, name: &str) -> (&'n SignatureLine<'n>, u64, [u8; 64]) {
    let line = note.signatures.iter().find(|s| s.name == name).unwrap();
    let (time, signature) = line.signature.split_first_chunk().unwrap();
    (line, u64::from_be_bytes(*time), signature.try_into().unwrap())
}

#[test]
fn the_root_of_a_real_tiled_log_is_recomputed_from_its_tiles() {
    let Some(dir) = vectors("tlog-tiles-sunlight") else { return };
    let data = dir.join("cmd/skylight/testdata");
    let log = data.join("witness/mirror/000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706");
    let tile = |path: &str| -> Vec<Hash> {
        let bytes = std::fs::read(log.join("tile").join(path)).unwrap();
        let (hashes, rest) = bytes.as_chunks::<32>();
        assert!(rest.is_empty(), "{path}");
        hashes.to_vec()
    };
    let raw = text(log.join("checkpoint"));
    let note = Note::parse(raw.as_bytes()).unwrap();
    assert_eq!(rewritten(&note), raw);
    let checkpoint = Checkpoint::parse(note.text).unwrap();
    assert_eq!(checkpoint.text(), note.text);
    let (full, partial) = (tile("0/000"), tile("0/001.p/44"));
    assert_eq!((full.len(), partial.len(), checkpoint.size), (256, 44, 300));
    let leaves = [full.clone(), partial].concat();
    assert_eq!(root_of(&leaves), checkpoint.root);
    assert_eq!(tile("1/000.p/1"), [root_of(&full)]);

    // The same from the upper tile: the frontier after 256 leaves is that one hash.
    let mut edge = Frontier::from_bytes(256, &tile("1/000.p/1").concat()).unwrap();
    leaves[256..].iter().for_each(|l| edge.push(*l));
    assert_eq!((edge.size(), edge.root()), (300, checkpoint.root));
    let mut swapped = leaves;
    swapped.swap(0, 299);
    assert_ne!(root_of(&swapped), checkpoint.root);

    // The mirror and both witnesses cosigned; their keys are of type 0x04, which our own lines are not.
    for (note, config, name) in [
        (log.join("checkpoint"), "witness/mirror/mirror.v0.json", "mirror.example.org"),
        (
            data.join("witness/000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706/checkpoint"),
            "witness/witness.v0.json",
            "witness.example.org",
        ),
        (
            data.join("witness2/88ad7a28caeb0b2aa890fdf0304c2fcaf59fca2ee140134ff8c1300bac493482/checkpoint"),
            "witness2/witness.v0.json",
            "witness2.example.org",
        ),
    ] {
        let raw = text(note);
        let note = Note::parse(raw.as_bytes()).unwrap();
        let config = json(data.join(config));
        let vkey = config["verifier_keys"][0].as_str().unwrap();
        let raw_key = from_base64(vkey.splitn(3, '+').nth(2).unwrap()).unwrap();
        let key = PublicKey::new(raw_key.strip_prefix(&[4]).unwrap().try_into().unwrap()).unwrap();
        let (line, time, signature) = cosignature(&note, name);
        assert_eq!(line.id, sha256(&[name.as_bytes(), b"\n", &raw_key])[..4], "{name}");
        assert!(key.verifies(&cosigned(time, note.text), &signature), "{name}");
        assert!(!key.verifies(note.text.as_bytes(), &signature), "{name}");
        let policy = Policy::parse(&format!("witness w {vkey}\nquorum w\n")).unwrap();
        assert_eq!(policy.witness(0).unwrap().to_string(), vkey);
        let found = policy.cosigned(&note);
        assert_eq!((found.quorum, &found.times[..], found.not_after), (true, &[(0, time)][..], Some(time)), "{name}");
        // A cosignature never counts as a signature of the log.
        assert!(!note.signed_by(name, &key), "{name}");
        assert_eq!(Checkpoint::parse(note.text).unwrap().size, 300);
    }

    // The log's own line is ECDSA over a CT tree head: read, but nothing that an Ed25519 key signed.
    // Its tiles are placeholders here, so that its root cannot be recomputed.
    let raw = text(data.join("tree/checkpoint"));
    assert_eq!(Note::parse(raw.as_bytes()).unwrap().signatures.len(), 1);
    assert!(Note::parse(text(data.join("witness/checkpoint")).as_bytes()).is_err());
}

#[test]
fn did_keys_of_ed25519_resolve_and_others_do_not() {
    let Some(dir) = vectors("did-key") else { return };
    let (mut resolved, mut refused) = (0, 0);
    let mut refuse = |multikey: &str| {
        assert_eq!(PublicKey::from_multikey(multikey), None, "{multikey}");
        refused += 1;
    };
    for path in files(&dir.join("test-vectors")) {
        let file = json(&path);
        let ed25519 = path.ends_with("ed25519-x25519.json");
        for (did, case) in file.as_object().unwrap().iter().filter(|(did, _)| did.starts_with("did:key:")) {
            let multikey = did.strip_prefix("did:key:").unwrap();
            if !ed25519 {
                refuse(multikey);
                continue;
            }
            let key = PublicKey::from_multikey(multikey).unwrap();
            let pair = &case["verificationKeyPair"];
            let listed = match pair["publicKeyBase58"].as_str() {
                Some(base58) => multibase::decode(base58, 32).unwrap(),
                None => base64url(str_of(&pair["publicKeyJwk"], "x")),
            };
            assert_eq!(key.to_bytes(), *listed);
            assert_eq!(key.multikey(), multikey);
            let seed: [u8; 32] = hex(str_of(case, "seed")).try_into().unwrap();
            assert_eq!(SigningKey::from_bytes(&seed).verifying_key().to_bytes(), key.to_bytes());
            // The key agreement key of the same document is X25519.
            for id in case["didDocument"]["keyAgreement"].as_array().unwrap() {
                refuse(id.as_str().unwrap().split_once('#').unwrap().1);
            }
            resolved += 1;
        }
    }
    assert_eq!((resolved, refused), (5, 26));
}

/// Base64 as JSON Web Keys write it: URL alphabet, no padding.
fn base64url(text: &str) -> Vec<u8> {
    let standard = text.replace('-', "+").replace('_', "/");
    from_base64(&format!("{standard:=<0$}", text.len().next_multiple_of(4))).unwrap()
}

#[test]
fn the_data_integrity_vector_is_reproduced_bit_for_bit() {
    let Some(dir) = vectors("vc-di-eddsa") else { return };
    let dir = dir.join("TestVectors");
    let of = |name: &str| text(dir.join("eddsa-jcs-2022").join(name));
    let (document, config) = (of("canonDocJCS.txt"), of("proofCanonJCS.txt"));
    for canonical in [&document, &config] {
        assert_eq!(Json::parse_canonical(canonical).unwrap().raw, canonical);
    }
    let combined = [sha256(&[config.as_bytes()]), sha256(&[document.as_bytes()])].concat();
    assert_eq!(combined, hex(of("combinedHashJCS.txt").trim()));
    assert_eq!(combined[..32], hex(of("proofHashJCS.txt").trim()));
    assert_eq!(combined[32..], hex(of("docHashJCS.txt").trim()));

    let pair = json(dir.join("keyPair.json"));
    let key = PublicKey::from_multikey(str_of(&pair, "publicKeyMultibase")).unwrap();
    // Multicodec 0x1300: an Ed25519 seed.
    let seed = multibase::decode_z(str_of(&pair, "privateKeyMultibase"), 34).unwrap();
    let seed: [u8; 32] = seed.strip_prefix(&[0x80, 0x26]).unwrap().try_into().unwrap();
    let signature = SigningKey::from_bytes(&seed).sign(&combined).to_bytes();
    assert_eq!(signature, *hex(of("sigHexJCS.txt").trim()));
    assert_eq!(multibase::encode_z(&signature), of("sigBTC58JCS.txt").trim());
    assert!(key.verifies(&combined, &signature));
    let swapped = [&combined[32..], &combined[..32]].concat();
    assert!(!key.verifies(&swapped, &signature));

    // The signed document carries that value, by that key.
    let proof = &json(dir.join("eddsa-jcs-2022/signedJCS.json"))["proof"];
    assert_eq!(multibase::decode_z(str_of(proof, "proofValue"), 64).unwrap(), signature);
    assert_eq!(str_of(proof, "verificationMethod"), format!("did:key:{0}#{0}", key.multikey()));
    // The other suites canonicalise RDF, which this crate does not; their keys are ordinary keys.
    let others = json(dir.join("proof-set-chain/multiKeyPairs.json"));
    let others = others.as_object().unwrap().values();
    assert_eq!(others.filter(|p| PublicKey::from_multikey(str_of(p, "publicKeyMultibase")).is_some()).count(), 4);
}

#[test]
fn the_empty_leaf_and_the_empty_tree_hash_as_published() {
    // These two constants appear in most of the vectors above.
    assert_eq!(base64(&root_of(&[])), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(hex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"), leaf(b""));
}
