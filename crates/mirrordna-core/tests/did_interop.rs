//! DID logs against a second implementation of did:webvh 1.0 that shares no
//! code with the first: it parses with `serde_json`, canonicalises with
//! `serde_jcs` and has its own base58. It reads what we write, and it writes
//! what we must accept or refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use mirrordna_core::identity::{Change, Created, IdentityType, committed, create, extend};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::{Entropy, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Base conversion by long division, most significant digit first.
fn convert(digits: &[u8], from: u32, to: u32) -> Vec<u8> {
    let zeros = digits.iter().take_while(|d| **d == 0).count();
    let mut number = digits[zeros..].to_vec();
    let mut out = Vec::new();
    while !number.is_empty() {
        let (mut rest, mut quotient) = (0, Vec::new());
        for d in number {
            let value = rest * from + u32::from(d);
            rest = value % to;
            if !quotient.is_empty() || value >= to {
                quotient.push((value / to) as u8);
            }
        }
        out.push(rest as u8);
        number = quotient;
    }
    out.extend(std::iter::repeat_n(0, zeros));
    out.reverse();
    out
}

fn base58(bytes: &[u8]) -> String {
    convert(bytes, 256, 58).into_iter().map(|d| ALPHABET.as_bytes()[usize::from(d)] as char).collect()
}

fn unbase58(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| ALPHABET.find(c).map(|at| at as u8)).collect();
    Some(convert(&digits?, 58, 256))
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn multihash(bytes: &[u8]) -> String {
    base58(&[&[0x12, 0x20], &sha(bytes)[..]].concat())
}

fn jcs(value: &Value) -> String {
    serde_jcs::to_string(value).unwrap()
}

fn multikey(key: &SigningKey) -> String {
    format!("z{}", base58(&[&[0xed, 0x01], &key.verifying_key().to_bytes()[..]].concat()))
}

fn strings(of: &Value) -> Option<Vec<&str>> {
    of.as_array()?.iter().map(Value::as_str).collect()
}

/// Hash of an entry that stands after `before` (a version id, or the SCID).
fn entry_hash(entry: &Value, before: &str) -> String {
    let mut entry = entry.clone();
    entry.as_object_mut().unwrap().remove("proof");
    entry["versionId"] = before.into();
    multihash(jcs(&entry).as_bytes())
}

/// What the proof of an entry signs.
fn signed(entry: &Value, proof: &Value) -> Vec<u8> {
    let (mut entry, mut config) = (entry.clone(), proof.clone());
    entry.as_object_mut().unwrap().remove("proof");
    config.as_object_mut().unwrap().remove("proofValue");
    [sha(jcs(&config).as_bytes()), sha(jcs(&entry).as_bytes())].concat()
}

/// Whether a time has the one form `2026-02-02T02:40:00Z`, in which order of text is order of time.
fn is_time(text: &str) -> bool {
    let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    form == "0000-00-00T00:00:00Z"
}

/// Resolves a log; the error names the rule that is broken. Returns the SCID.
fn resolve(log: &str) -> std::result::Result<String, &'static str> {
    let (mut before, mut committed, mut scid, mut time) = (String::new(), Vec::new(), String::new(), String::new());
    let mut ended = false;
    for (n, line) in log.lines().enumerate() {
        let entry: Value = serde_json::from_str(line).map_err(|_| "json")?;
        let parameters = &entry["parameters"];
        let version = entry["versionId"].as_str().ok_or("version")?;
        let (number, hash) = version.split_once('-').ok_or("version")?;
        if number != (n + 1).to_string() {
            return Err("number");
        }
        if n == 0 {
            scid = parameters["scid"].as_str().ok_or("scid")?.to_owned();
            before.clone_from(&scid);
            let mut genesis = entry.clone();
            genesis["versionId"] = "{SCID}".into();
            genesis.as_object_mut().unwrap().remove("proof");
            let genesis: Value = serde_json::from_str(&genesis.to_string().replace(&scid, "{SCID}")).map_err(|_| "json")?;
            if multihash(jcs(&genesis).as_bytes()) != scid {
                return Err("scid");
            }
        }
        if entry_hash(&entry, &before) != hash {
            return Err("hash");
        }
        if ended {
            return Err("ended");
        }
        let method = &parameters["method"];
        if method != "did:webvh:1.0" && !(n > 0 && method.is_null()) {
            return Err("method");
        }
        let when = entry["versionTime"].as_str().filter(|t| is_time(t)).ok_or("time")?;
        if when <= time.as_str() {
            return Err("time");
        }
        let keys = strings(&parameters["updateKeys"]).ok_or("keys")?;
        if n > 0 && !keys.iter().all(|k| committed.contains(&multihash(k.as_bytes()))) {
            return Err("pre-rotation");
        }
        let [proof] = &entry["proof"].as_array().ok_or("proof")?[..] else { return Err("proof") };
        let method = proof["verificationMethod"].as_str().ok_or("proof")?;
        let key = method.split('#').nth(1).filter(|k| keys.contains(k)).ok_or("signer")?;
        let raw = unbase58(key.strip_prefix('z').ok_or("signer")?).ok_or("signer")?;
        let raw: &[u8; 32] = raw.strip_prefix(&[0xed, 0x01]).and_then(|k| k.try_into().ok()).ok_or("signer")?;
        let key = VerifyingKey::from_bytes(raw).map_err(|_| "signer")?;
        let value = proof["proofValue"].as_str().and_then(|v| unbase58(v.strip_prefix('z')?)).ok_or("proof")?;
        let value = Signature::from_slice(&value).map_err(|_| "proof")?;
        key.verify_strict(&signed(&entry, proof), &value).map_err(|_| "signature")?;
        ended = match &parameters["deactivated"] {
            Value::Null => false,
            Value::Bool(true) if n > 0 => true,
            _ => return Err("deactivated"),
        };
        committed = strings(&parameters["nextKeyHashes"]).ok_or("keys")?.into_iter().map(str::to_owned).collect();
        before = version.to_owned();
        time = when.to_owned();
    }
    Ok(scid)
}

/// Randomness that repeats: every call gives the next byte, over and over.
struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

fn made(kind: IdentityType, first: u8) -> Created {
    create(kind, 1_770_000_000_000, &Counter(AtomicU8::new(first))).unwrap()
}

fn text_of(created: &Created) -> &str {
    std::str::from_utf8(&created.did_log).unwrap()
}

/// A log by the second implementation: each entry an edit of the one before.
struct Log {
    text: String,
    last: Value,
    /// Signs the next entry; its hash is committed.
    next: SigningKey,
    /// Seed of the key after that.
    seed: u8,
}

impl Log {
    /// Continues a log that the product made.
    fn after(created: &Created) -> Self {
        let text = text_of(created).to_owned();
        let last = serde_json::from_str(&text).unwrap();
        Self { text, last, next: SigningKey::from_bytes(&created.next_update.seed()), seed: 200 }
    }

    /// The next entry, not yet signed: rotates to the committed key and commits to another.
    fn draft(&mut self) -> Value {
        self.seed += 1;
        let after = SigningKey::from_bytes(&[self.seed; 32]);
        let mut entry = self.last.clone();
        entry.as_object_mut().unwrap().remove("proof");
        let commitment = multihash(multikey(&after).as_bytes());
        entry["parameters"] = json!({"updateKeys": [multikey(&self.next)], "nextKeyHashes": [commitment]});
        let second = self.seed - 200;
        entry["versionTime"] = format!("2026-03-01T00:00:{second:02}Z").into();
        entry
    }

    /// A log whose first entry is by this implementation: that of `created` with another update key.
    /// With `forged`, the SCID stays that of `created`.
    fn first(created: &Created, forged: bool) -> Self {
        let key = SigningKey::from_bytes(&[200; 32]);
        let mut entry: Value = serde_json::from_str(text_of(created)).unwrap();
        entry.as_object_mut().unwrap().remove("proof");
        entry["parameters"]["updateKeys"] = json!([multikey(&key)]);
        let old = entry["parameters"]["scid"].as_str().unwrap().to_owned();
        let blank = |entry: &Value, with: &str| serde_json::from_str::<Value>(&entry.to_string().replace(&old, with)).unwrap();
        let mut genesis = blank(&entry, "{SCID}");
        genesis["versionId"] = "{SCID}".into();
        let scid = if forged { old.clone() } else { multihash(jcs(&genesis).as_bytes()) };
        let mut log = Self { text: String::new(), last: json!({"versionId": scid}), next: key, seed: 200 };
        log.push(blank(&entry, &scid), "1", |_| ());
        log
    }

    /// Signs `entry` as version `number` (with its hash, unless `number` brings one) and appends it;
    /// the proof is edited before it is signed.
    fn push(&mut self, mut entry: Value, number: &str, edit: impl FnOnce(&mut Value)) {
        let hash = entry_hash(&entry, self.last["versionId"].as_str().unwrap());
        let version = if number.contains('-') { number.to_owned() } else { format!("{number}-{hash}") };
        entry["versionId"] = version.into();
        let key = multikey(&self.next);
        let mut proof = json!({
            "created": entry["versionTime"], "cryptosuite": "eddsa-jcs-2022", "proofPurpose": "assertionMethod",
            "type": "DataIntegrityProof", "verificationMethod": format!("did:key:{key}#{key}"),
        });
        edit(&mut proof);
        let signature = self.next.sign(&signed(&entry, &proof)).to_bytes();
        proof["proofValue"] = format!("z{}", base58(&signature)).into();
        entry["proof"] = json!([proof]);
        self.text = format!("{}{}\n", self.text, jcs(&entry));
        self.last = entry;
        self.next = SigningKey::from_bytes(&[self.seed; 32]);
    }
}

/// What both implementations say of a log: ours with its reason, theirs with theirs.
fn both(log: &str) -> (std::result::Result<(), &'static str>, std::result::Result<(), &'static str>) {
    (DidLog::verify(log.as_bytes()).map(drop).map_err(|e| e.why), resolve(log).map(drop))
}

#[test]
fn base58_of_the_second_implementation_is_right() {
    assert_eq!(base58(b"hello world"), "StV1DL6CwTryKyV");
    assert_eq!(base58(&[0, 0, 1]), "112");
    assert_eq!(unbase58("112").unwrap(), [0, 0, 1]);
}

#[test]
fn logs_resolve_elsewhere_from_files() {
    // The layout of the public test suites, so that other resolvers can be pointed at the folder.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("did");
    for (kind, first) in [(IdentityType::Agent, 1), (IdentityType::User, 50), (IdentityType::System, 100)] {
        let created = made(kind, first);
        let mut rotated = Log::after(&created);
        for number in 2..=5 {
            let entry = rotated.draft();
            rotated.push(entry, &number.to_string(), |_| ());
        }
        for (case, text) in [("created", text_of(&created)), ("rotated", &rotated.text)] {
            let dir = root.join(format!("{case}-{}", kind.label())).join("mirrordna");
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("did.jsonl"), text).unwrap();
            let text = std::fs::read_to_string(dir.join("did.jsonl")).unwrap();
            let scid = resolve(&text).unwrap();
            assert_eq!(unbase58(&scid).unwrap()[2..], created.digest);
            let log = DidLog::verify(text.as_bytes()).unwrap();
            assert_eq!((log.digest, log.versions.len()), (created.digest, text.lines().count()));
        }
    }
}

#[test]
fn one_changed_byte_is_noticed_by_both() {
    let mut log = Log::after(&made(IdentityType::Agent, 1));
    let entry = log.draft();
    log.push(entry, "2", |_| ());
    assert_eq!(both(&log.text), (Ok(()), Ok(())));
    for i in (0..log.text.len()).step_by(7) {
        let mut bytes = log.text.clone().into_bytes();
        bytes[i] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let (ours, theirs) = both(&changed);
        assert!(ours.is_err(), "byte {i}");
        // The second implementation does not ask for canonical text, only for the same values.
        assert!(theirs.is_err() || changed.lines().any(|l| jcs(&serde_json::from_str(l).unwrap()) != l), "byte {i}");
    }
}

/// Version 2 of an identity, changed by `edit` and then signed properly.
fn second(edit: impl FnOnce(&mut Value), number: &str, proof: impl FnOnce(&mut Value)) -> String {
    let mut log = Log::after(&made(IdentityType::Agent, 1));
    let mut entry = log.draft();
    edit(&mut entry);
    log.push(entry, number, proof);
    log.text
}

#[test]
fn a_rotation_that_breaks_a_rule_is_refused_by_both() {
    let stranger = SigningKey::from_bytes(&[99; 32]);
    let stolen = {
        let mut log = Log::after(&made(IdentityType::Agent, 1));
        log.next = stranger.clone();
        let entry = log.draft();
        log.push(entry, "2", |_| ());
        log.text
    };
    let twice = {
        let mut log = Log::after(&made(IdentityType::Agent, 1));
        let entry = log.draft();
        log.push(entry, "2", |_| ());
        let last = log.text.lines().last().unwrap().to_owned();
        format!("{}{last}\n", log.text)
    };
    // The hash of an entry that stands after the SCID, as only the first one does.
    let beside = {
        let mut log = Log::after(&made(IdentityType::Agent, 1));
        let entry = log.draft();
        format!("2-{}", entry_hash(&entry, log.last["parameters"]["scid"].as_str().unwrap()))
    };
    let cases = [
        (stolen, "uses an update key that the version before did not commit to", "pre-rotation"),
        (twice, "has version numbers that are not consecutive", "number"),
        (second(|_| (), "3", |_| ()), "has version numbers that are not consecutive", "number"),
        (second(|_| (), &beside, |_| ()), "has an entry whose hash does not match", "hash"),
        (
            second(|e| e["parameters"]["updateKeys"] = json!([multikey(&SigningKey::from_bytes(&[4; 32]))]), "2", |_| ()),
            "is signed by a key that is no update key of it",
            "signer",
        ),
        (
            second(|_| (), "2", |p| p["verificationMethod"] = format!("did:key:{0}#{0}", multikey(&stranger)).into()),
            "is signed by a key that is no update key of it",
            "signer",
        ),
    ];
    for (log, ours, theirs) in &cases {
        assert_eq!(both(log), (Err(*ours), Err(*theirs)), "{log}");
    }
    // The recovery key is committed as well and may rotate just as the next update key.
    let created = made(IdentityType::Agent, 1);
    let mut log = Log::after(&created);
    log.next = SigningKey::from_bytes(&created.recovery.seed());
    let entry = log.draft();
    log.push(entry, "2", |_| ());
    assert_eq!(both(&log.text), (Ok(()), Ok(())));
}

#[test]
fn the_life_of_an_identity_resolves_elsewhere() {
    let created = made(IdentityType::Agent, 1);
    let key = |n: u8| SecretKey::from_seed(&[n; 32]);
    let next = |log: &[u8], by: &SecretKey, n: u8, committed_to: [&SecretKey; 2]| {
        let next = committed_to.map(|k| committed(k.public()).0).to_vec();
        extend(log, &Change::Keys { actor: key(n).public(), next }, by, 1_770_000_000_000).unwrap()
    };
    let rotated = next(&created.did_log, &created.next_update, 100, [&key(101), &created.recovery]);
    let again = next(&rotated, &key(101), 102, [&key(103), &created.recovery]);
    let recovered = next(&again, &created.recovery, 104, [&key(105), &key(106)]);
    let revoked = extend(&recovered, &Change::Deactivate, &key(105), 1_770_000_000_000).unwrap();
    for log in [&rotated, &again, &recovered, &revoked] {
        let text = std::str::from_utf8(log).unwrap();
        assert_eq!(unbase58(&resolve(text).unwrap()).unwrap()[2..], created.digest);
        assert!(text.lines().all(|l| jcs(&serde_json::from_str(l).unwrap()) == l), "in canonical form");
    }
    let last: Value = serde_json::from_str(std::str::from_utf8(&revoked).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!((&last["parameters"]["deactivated"], &last["parameters"]["nextKeyHashes"]), (&json!(true), &json!([])));
    // The document says who it is, and with which key: the newest, and unchanged at the end.
    assert_eq!(last["state"]["verificationMethod"][0]["publicKeyMultibase"], key(104).public().multikey());
    // A version that goes on after the end is refused by both, whoever signs it.
    for by in [105, 106, 104] {
        let mut log = Log::after(&created);
        (log.text, log.last) = (String::from_utf8(revoked.clone()).unwrap(), last.clone());
        log.next = SigningKey::from_bytes(&[by; 32]);
        let mut entry = log.draft();
        entry["versionTime"] = "2026-04-01T00:00:00Z".into();
        log.push(entry, "6", |_| ());
        assert_eq!(both(&log.text), (Err("goes on after it was deactivated"), Err("ended")), "{by}");
    }
}

#[test]
fn an_end_is_said_in_one_way() {
    let end = |deactivated: Value, next: Value| {
        both(&second(
            |e| {
                e["parameters"]["deactivated"] = deactivated;
                e["parameters"]["nextKeyHashes"] = next;
            },
            "2",
            |_| (),
        ))
    };
    assert_eq!(end(json!(true), json!([])), (Ok(()), Ok(())));
    let form = "has a deactivated that is not true, or in its first version";
    for deactivated in [json!(false), json!("true"), json!(1), json!([true])] {
        let (ours, theirs) = end(deactivated.clone(), json!([]));
        assert_eq!((ours, theirs), (Err(form), Err("deactivated")), "{deactivated}");
    }
    // The specification leaves it open whether keys are committed to; here it is not.
    assert_eq!(end(json!(true), json!([multihash(b"x")])), (Err("commits to a version after it is deactivated"), Ok(())));
}

#[test]
fn a_first_entry_must_match_its_scid() {
    let created = made(IdentityType::User, 1);
    assert_eq!(both(&Log::first(&created, false).text), (Ok(()), Ok(())));
    let forged = Log::first(&created, true).text;
    assert!(forged.contains(&format!("did:webvh:{}:", resolve(text_of(&created)).unwrap())));
    assert_eq!(both(&forged), (Err("has a SCID that does not match its first entry"), Err("scid")));
}

#[test]
fn the_method_does_not_change() {
    let with = |method: &str| both(&second(|e| e["parameters"]["method"] = method.into(), "2", |_| ()));
    assert_eq!(with("did:webvh:1.0"), (Ok(()), Ok(())));
    assert_eq!(with("did:webvh:9.9"), (Err("changes its method"), Err("method")));
}

#[test]
fn version_numbers_have_one_form() {
    for number in ["+2", "02", "2 ", ""] {
        let (ours, theirs) = both(&second(|_| (), number, |_| ()));
        assert_eq!((ours, theirs), (Err("has a malformed versionId"), Err("number")), "{number}");
    }
}

#[test]
fn times_are_texts_that_ascend() {
    let form = "has a versionTime that is no time in UTC with whole seconds";
    for (time, why) in [
        (json!({"versionId": "x"}), "has no versionTime"),
        (json!(1), "has no versionTime"),
        (json!("yesterday"), form),
        (json!("2026-03-01T00:00:00+00:00"), form),
        (json!("2026-03-01T00:00:00.5Z"), form),
        // The time of version 1, and one before it.
        (json!("2026-02-02T02:40:00Z"), "has times that do not ascend"),
        (json!("2026-02-02T02:39:59Z"), "has times that do not ascend"),
    ] {
        let changed = second(|e| e["versionTime"] = time.clone(), "2", |_| ());
        assert_eq!(both(&changed), (Err(why), Err("time")), "{time}");
    }
    assert_eq!(both(&second(|e| e["versionTime"] = "2026-02-02T02:40:01Z".into(), "2", |_| ())), (Ok(()), Ok(())));
}

#[test]
fn the_hash_is_taken_over_the_entrys_own_version_id() {
    // A second "versionId" deeper in the entry must not be the one that is replaced; after the entry's own
    // there is none, because times are texts.
    let mut log = Log::after(&made(IdentityType::Agent, 1));
    let mut entry = log.draft();
    entry["state"]["versionId"] = log.last["versionId"].clone();
    log.push(entry, "2", |_| ());
    assert_eq!(both(&log.text), (Ok(()), Ok(())));
}

#[test]
fn a_proof_is_hashed_as_its_canonical_form() {
    // Members beyond the known ones are signed too; a key that needs escapes must not read as another member.
    let escapes = "has a proof with a key that needs escapes";
    for (key, want) in [("nonce", Ok(())), ("a\"b", Err(escapes)), ("a\\b", Err(escapes)), ("a\",\"b", Err(escapes))] {
        assert_eq!(both(&second(|_| (), "2", |p| p[key] = "v".into())), (want, Ok(())), "{key}");
    }
    // Signed over the text that a careless concatenation would make of it.
    let mut log = Log::after(&made(IdentityType::Agent, 1));
    let entry = log.draft();
    let signer = log.next.clone();
    log.push(entry, "2", |p| p["a\"b"] = "v".into());
    let mut last = log.last.clone();
    let mut proof = last["proof"][0].clone();
    proof.as_object_mut().unwrap().remove("proofValue");
    let careless = jcs(&proof).replacen("a\\\"b", "a\"b", 1);
    let mut unproven = last.clone();
    unproven.as_object_mut().unwrap().remove("proof");
    let message = [sha(careless.as_bytes()), sha(jcs(&unproven).as_bytes())].concat();
    last["proof"][0]["proofValue"] = format!("z{}", base58(&signer.sign(&message).to_bytes())).into();
    let first = log.text.lines().next().unwrap();
    assert_eq!(both(&format!("{first}\n{}\n", jcs(&last))), (Err(escapes), Err("signature")));
}

/// The folder with test data, or `None` where it is absent. With `CI=true` an
/// absent folder is a failure.
fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("MIRRORDNA_CORPUS").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI needs the corpus at {}", root.display());
    eprintln!("skipped: no corpus at {}", root.display());
    None
}

#[test]
fn foreign_logs_are_refused_for_what_they_are() {
    let Some(root) = corpus() else { return };
    let mut counts = std::collections::BTreeMap::new();
    for case in std::fs::read_dir(root.join("vectors/didwebvh/vectors")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        let negative = case.file_name().unwrap().to_str().unwrap().starts_with("negative");
        for by in std::fs::read_dir(&case).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
            let Ok(log) = std::fs::read_to_string(by.join("did.jsonl")) else { continue };
            let refused = |log: &str| DidLog::verify(log.as_bytes()).expect_err("a log of a host is none of ours").why;
            // As they stand, and in the form in which ours are written.
            let ours: String = log.lines().map(|l| jcs(&serde_json::from_str(l).unwrap()) + "\n").collect();
            *counts.entry((negative, refused(&log))).or_insert(0) += 1;
            *counts.entry((negative, refused(&ours))).or_insert(0) += 1;
        }
    }
    let host = "has a document whose id is not did:webvh:<SCID>:local.invalid:<agt|usr|sys>";
    let (order, newline) = ("key not ASCII or not in canonical order", "does not end with a newline");
    // 64 positive and 16 negative logs, each twice; five of those are empty.
    let expected = [
        ((false, newline), 12),
        ((false, host), 64),
        ((false, order), 39),
        ((false, "white space in canonical form"), 13),
        ((true, newline), 10),
        ((true, host), 11),
        ((true, order), 11),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}
