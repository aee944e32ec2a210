//! ML-DSA-44: Google's vectors, another implementation as signer and as
//! verifier, and lines that are not what they say.

#![cfg(feature = "pq")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ed25519_dalek::{Signer as _, SigningKey};
use fips204::ml_dsa_44;
use fips204::traits::{KeyGen as _, SerDes as _, Signer as _, Verifier as _};
use mirrordna_verify::cosignature::{self, Cosignature, judge};
use mirrordna_verify::note::{Checkpoint, Note, base64, signature_line, verifier_key};
use mirrordna_verify::pq::{self, MlDsaKey};
use mirrordna_verify::tlog_proof::TlogProof;
use mirrordna_verify::vkey::{KeyType, NoteKey, VerifierKey};
use mirrordna_verify::{Policy, PublicKey, Verdict, equivocation};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const ORIGIN: &str = "example.com/log";
const AT: Checkpoint<'_> = Checkpoint { origin: ORIGIN, size: 3, root: [7; 32] };

/// What FIPS 204 makes of a seed, by the other implementation.
fn secret(seed: u8) -> ml_dsa_44::PrivateKey {
    ml_dsa_44::KG::keygen_from_seed(&[seed; 32]).1
}

fn key(name: &str, seed: u8) -> VerifierKey {
    let bytes = secret(seed).get_public_key().into_bytes();
    VerifierKey { name: name.to_owned(), kind: KeyType::MlDsa44, key: NoteKey::MlDsa44(MlDsaKey::new(&bytes).unwrap()) }
}

/// The line with which a seed's key signs a checkpoint.
fn line_at(name: &str, seed: u8, time: u64, at: &Checkpoint<'_>) -> String {
    let message = pq::message(name, time, at).unwrap();
    let signature = secret(seed).try_sign_with_seed(&[0; 32], &message, b"").unwrap();
    signature_line(name, key(name, seed).id(), &pq::line(time, &signature))
}

fn line(name: &str, seed: u8, time: u64) -> String {
    line_at(name, seed, time, &AT)
}

fn note(lines: &[String]) -> String {
    format!("{}\n{}", AT.text(), lines.iter().map(|l| format!("{l}\n")).collect::<String>())
}

fn ed25519(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn ed25519_line(seed: u8) -> String {
    let signature = ed25519(seed).sign(AT.text().as_bytes()).to_bytes();
    signature_line(ORIGIN, mirrordna_verify::note::key_id(ORIGIN, &PublicKey::from(&ed25519(seed))), &signature)
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn wycheproof_signatures_are_judged_as_they_should_be() {
    let root = std::env::var_os("MIRRORDNA_CORPUS").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI needs the corpus at {}", root.display());
        eprintln!("skipped: no corpus at {}", root.display());
        return;
    }
    let file = root.join("vectors/wycheproof/testvectors_v1/mldsa_44_verify_test.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (mut good, mut bad, mut no_key, mut elsewhere) = (0, 0, 0, 0);
    let mut flags: BTreeMap<String, usize> = BTreeMap::new();
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = MlDsaKey::new(&unhex(&group["publicKey"]));
        for case in group["tests"].as_array().unwrap() {
            let valid = case["result"] == "valid";
            let found = key.as_ref().map(|key| key.verifies(&unhex(&case["msg"]), &unhex(&case["sig"])));
            // Signatures for another context are none for the empty one.
            let context = case.get("ctx").is_some_and(|ctx| ctx != "");
            match found {
                None => no_key += 1,
                Some(found) if context => {
                    assert!(!found, "{case}");
                    elsewhere += 1;
                }
                Some(true) => good += 1,
                Some(false) => bad += 1,
            }
            assert_eq!(found == Some(true), valid && !context, "{}", case["tcId"]);
            for flag in case["flags"].as_array().unwrap() {
                *flags.entry(flag.as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!((good, bad, no_key, elsewhere), (75, 94, 4, 7), "{flags:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn two_implementations_agree(seed in any::<[u8; 32]>(), message in prop::collection::vec(any::<u8>(), 0..300), at in 0..pq::SIGNATURE, flip in 1u8..=255) {
        use ml_dsa::Keypair as _;
        let ours = ml_dsa::SigningKey::<ml_dsa::MlDsa44>::from_seed(&seed.into());
        let (public, theirs) = ml_dsa_44::KG::keygen_from_seed(&seed);
        let bytes = ours.verifying_key().encode();
        prop_assert_eq!(&bytes[..], &public.clone().into_bytes()[..]);

        let signature = ours.expanded_key().sign_deterministic(&message, b"").unwrap().encode();
        let mut signature: [u8; pq::SIGNATURE] = signature.as_slice().try_into().unwrap();
        prop_assert!(public.verify(&message, &signature, b""));
        prop_assert_eq!(signature, theirs.try_sign_with_seed(&[0; 32], &message, b"").unwrap());
        let key = MlDsaKey::new(&bytes).unwrap();
        prop_assert!(key.verifies(&message, &signature));
        signature[at] ^= flip;
        prop_assert_eq!(key.verifies(&message, &signature), public.verify(&message, &signature, b""));
        prop_assert!(!key.verifies(&message, &signature));
    }
}

/// `spec/vectors/second_signatures.json`, for other implementations: made by the
/// other one here. `MIRRORDNA_BLESS=1` writes it anew.
#[test]
fn the_vector_is_what_another_implementation_makes() {
    let (log, witness) = (key(ORIGIN, 6), key("witness.example/pq", 8));
    let at = Checkpoint { size: 14, ..AT };
    let first = ed25519(9).sign(at.text().as_bytes()).to_bytes();
    let first = signature_line(ORIGIN, mirrordna_verify::note::key_id(ORIGIN, &PublicKey::from(&ed25519(9))), &first);
    let (second, cosigned) = (line_at(ORIGIN, 6, 0, &at), line_at("witness.example/pq", 8, 1_770_000_000, &at));
    let made = serde_json::json!({
        "verifier_key": verifier_key(ORIGIN, &PublicKey::from(&ed25519(9))),
        "pq_seed": "06".repeat(32),
        "pq_verifier_key": log.to_string(),
        "pq_witness_seed": "08".repeat(32),
        "pq_witness_key": witness.to_string(),
        "time": 1_770_000_000,
        "checkpoint": format!("{}\n{first}\n{second}\n{cosigned}\n", at.text()),
    });
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/second_signatures.json");
    if std::env::var_os("MIRRORDNA_BLESS").is_some() {
        std::fs::write(&file, format!("{:#}\n", made)).unwrap();
    }
    let frozen: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(frozen, made);

    let note = made["checkpoint"].as_str().unwrap();
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(log.signs(&note), Some(true));
    assert_eq!(judge(&note.signatures[2], note.text, &witness), Some(Ok(1_770_000_000)));
}

/// The bytes of `tlog-cosignature`, written out.
#[test]
fn what_is_signed_is_a_cosigned_message() {
    let message = pq::message("w.example", 0x0102_0304, &AT).unwrap();
    let said = [
        &b"subtree/v1\n\0"[..],
        b"\x09w.example",
        &[0, 0, 0, 0, 1, 2, 3, 4],
        b"\x0fexample.com/log",
        &[0; 8],
        &[0, 0, 0, 0, 0, 0, 0, 3],
        &[7; 32],
    ];
    assert_eq!(message, said.concat());
    for (name, origin, is_one) in [(255, 255, true), (256, 1, false), (1, 256, false), (0, 1, false), (1, 0, false)] {
        let (name, origin) = ("n".repeat(name), "o".repeat(origin));
        assert_eq!(pq::message(&name, 0, &Checkpoint { origin: &origin, ..AT }).is_some(), is_one);
    }
}

#[test]
fn keys_have_one_form() {
    let vkey = key(ORIGIN, 1).to_string();
    assert_eq!(VerifierKey::parse(&vkey).unwrap().to_string(), vkey);
    let raw = [&[6][..], &secret(1).get_public_key().into_bytes()].concat();
    let (head, _) = vkey.rsplit_once('+').unwrap();
    for other in [
        format!("{head}+{}", base64(&raw[..raw.len() - 1])),
        format!("{head}+{}", base64(&[&raw[..], &[0]].concat())),
        format!("{head}+{}", base64(&[&[1], &raw[1..]].concat())),
        format!("{head}+{}", base64(&[&[4], &raw[1..]].concat())),
        format!("{head}+{}", base64(&raw[..33])),
        vkey.replace("example", "Example"),
        format!("{ORIGIN}+00000000+{}", base64(&raw)),
        // An Ed25519 key that says it is one of these.
        format!("{ORIGIN}+00000000+{}", base64(&[&[6][..], ed25519(1).verifying_key().as_bytes()].concat())),
    ] {
        assert!(VerifierKey::parse(&other).is_err(), "{other}");
        assert!(Policy::parse(&format!("log {other}\n")).is_err() && Policy::parse(&format!("witness w {other}\n")).is_err());
    }
}

/// A line counts by its name, id, time and what it is over; one that has name
/// and id and is something else is not ignored.
#[test]
fn nothing_else_passes_for_a_line() {
    let log = key(ORIGIN, 1);
    let id = log.id();
    let says = |line: String| log.signs(&Note::parse(note(&[line]).as_bytes()).unwrap());
    assert_eq!(says(line(ORIGIN, 1, 0)), Some(true));
    assert_eq!(says(line(ORIGIN, 1, 1_770_000_000)), Some(true), "with a time, too");

    // Somebody else's, or by another key of the log.
    assert_eq!(says(line("example.com/other", 1, 0)), None);
    assert_eq!(says(line(ORIGIN, 2, 0)), None);
    assert_eq!(says(ed25519_line(1)), None);
    let at = |at: &Checkpoint<'_>| line_at(ORIGIN, 1, 0, at);
    for other in [Checkpoint { size: 4, ..AT }, Checkpoint { root: [8; 32], ..AT }, Checkpoint { origin: "example.com/other", ..AT }] {
        assert_eq!(says(at(&other)), Some(false), "{other:?}");
    }
    let signature = |message: &[u8]| secret(1).try_sign_with_seed(&[0; 32], message, b"").unwrap();
    let message = pq::message(ORIGIN, 0, &AT).unwrap();
    let whole = pq::line(0, &signature(&message));
    let as_line = |bytes: &[u8]| signature_line(ORIGIN, id, bytes);
    for (bytes, what) in [
        (ed25519(1).sign(AT.text().as_bytes()).to_bytes().to_vec(), "an Ed25519 signature"),
        (
            Cosignature { time: 5, signature: ed25519(1).sign(cosignature::message(5, &AT.text()).as_bytes()).to_bytes() }
                .to_bytes()
                .to_vec(),
            "an Ed25519 cosignature",
        ),
        (whole[8..].to_vec(), "without a time"),
        (whole[..whole.len() - 1].to_vec(), "2,419 bytes"),
        ([&whole[..], &[0]].concat(), "2,421 bytes"),
        (whole[..8].to_vec(), "a time alone"),
        (whole[..5].to_vec(), "less than a time"),
        (pq::line(1, &signature(&message)), "another time than the one that was signed"),
        (pq::line(1 << 63, &signature(&pq::message(ORIGIN, 1 << 63, &AT).unwrap())), "a time beyond 2^63 - 1"),
        (pq::line(0, &signature(AT.text().as_bytes())), "the text"),
        (pq::line(0, &signature(cosignature::message(0, &AT.text()).as_bytes())), "the text as Ed25519 cosigns it"),
        (pq::line(0, &signature(&pq::message("w.example", 0, &AT).unwrap())), "under another name"),
        (pq::line(0, &secret(1).try_sign_with_seed(&[0; 32], &message, b"mirrordna").unwrap()), "for a context"),
        (pq::line(0, &secret(2).try_sign_with_seed(&[0; 32], &message, b"").unwrap()), "by another key"),
    ] {
        assert_eq!(says(as_line(&bytes)), Some(false), "{what}");
    }
    // Nor is one of these a signature of another type.
    let as_log = VerifierKey::parse(&verifier_key(ORIGIN, &PublicKey::from(&ed25519(1)))).unwrap();
    let crossed = Note::parse(note(&[signature_line(ORIGIN, as_log.id(), &whole)]).as_bytes()).unwrap().signatures[0].signature.len();
    assert_eq!(crossed, 8 + pq::SIGNATURE);
    assert_eq!(as_log.signs(&Note::parse(note(&[signature_line(ORIGIN, as_log.id(), &whole)]).as_bytes()).unwrap()), Some(false));
}

#[test]
fn the_order_of_lines_means_nothing_but_the_first_by_a_key_decides() {
    let (log, both) = (key(ORIGIN, 1), [ed25519_line(9), line(ORIGIN, 1, 0)]);
    let policy = Policy::parse(&format!("log {log}\nlog {}\n", verifier_key(ORIGIN, &PublicKey::from(&ed25519(9))))).unwrap();
    for lines in [both.clone(), [both[1].clone(), both[0].clone()]] {
        let text = note(&lines);
        let parsed = Note::parse(text.as_bytes()).unwrap();
        assert!(policy.logs(ORIGIN).all(|key| key.signs(&parsed) == Some(true)));
    }
    let (good, bad) = (line(ORIGIN, 1, 0), signature_line(ORIGIN, log.id(), &[0; 8 + pq::SIGNATURE]));
    for (lines, says) in [([good.clone(), bad.clone()], true), ([bad, good], false)] {
        assert_eq!(log.signs(&Note::parse(note(&lines).as_bytes()).unwrap()), Some(says));
    }
}

/// `tlog-policy`: any key of a log line will do, and a line by one of them that
/// does not verify is a finding.
#[test]
fn any_key_of_the_policy_will_do() {
    let (ed, ml) = (format!("log {}\n", verifier_key(ORIGIN, &PublicKey::from(&ed25519(9)))), format!("log {}\n", key(ORIGIN, 1)));
    let judged = |policy: &str, lines: &[String]| {
        let leaf = b"leaf";
        let at = Checkpoint { origin: ORIGIN, size: 1, root: mirrordna_verify::hash::leaf(leaf) };
        let text = at.text();
        let signed: Vec<String> = lines
            .iter()
            .map(|l| match l.as_str() {
                "ed" => {
                    signature_line(ORIGIN, VerifierKey::parse(ed[4..].trim()).unwrap().id(), &ed25519(9).sign(text.as_bytes()).to_bytes())
                }
                "ml" => line_at(ORIGIN, 1, 0, &at),
                "bad" => signature_line(ORIGIN, key(ORIGIN, 1).id(), &[1; 8 + pq::SIGNATURE]),
                _ => line_at(ORIGIN, 2, 0, &at),
            })
            .collect();
        let file = format!("c2sp.org/tlog-proof@v1\nindex 0\n\n{text}\n{}\n", signed.join("\n"));
        TlogProof::parse(file.as_bytes()).unwrap().judge(&Policy::parse(policy).unwrap(), leaf).verdict
    };
    let said = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    for (lines, by_ed, by_ml, by_both) in [
        (&["ed", "ml"][..], Verdict::Intact, Verdict::Intact, Verdict::Intact),
        (&["ml", "ed"], Verdict::Intact, Verdict::Intact, Verdict::Intact),
        (&["ed"], Verdict::Intact, Verdict::Unproven, Verdict::Intact),
        (&["ml"], Verdict::Unproven, Verdict::Intact, Verdict::Intact),
        (&["ed", "bad"], Verdict::Intact, Verdict::Altered, Verdict::Altered),
        (&["other"], Verdict::Unproven, Verdict::Unproven, Verdict::Unproven),
        (&["ed", "other"], Verdict::Intact, Verdict::Unproven, Verdict::Intact),
    ] {
        let lines = said(lines);
        let found = (judged(&ed, &lines), judged(&ml, &lines), judged(&format!("{ed}{ml}"), &lines));
        assert_eq!(found, (by_ed, by_ml, by_both), "{lines:?}");
    }
    // Where both are to be asked for, the log's second key is a cosigner of which
    // there is a quorum.
    let strict = format!("{ed}witness pq {}\nquorum pq\n", key(ORIGIN, 1));
    assert_eq!(judged(&strict, &said(&["ed", "ml"])), Verdict::Intact);
    assert_eq!(judged(&strict, &said(&["ed"])), Verdict::Unproven);
    assert_eq!(judged(&strict, &said(&["ml"])), Verdict::Unproven);
    assert_eq!(judged(&strict, &said(&["ed", "bad"])), Verdict::Altered);
}

/// A witness of either type; a line without a time counts, and bounds nothing.
#[test]
fn witnesses_may_have_such_keys() {
    let witness = |name: &str, seed| format!("witness {name} {}\n", key(&format!("{name}.example"), seed));
    let text = format!("{}{}group both all a b\nquorum both\n", witness("a", 1), witness("b", 2));
    let policy = Policy::parse(&text).unwrap();
    let cosigned = |lines: &[String]| policy.cosigned(&Note::parse(note(lines).as_bytes()).unwrap());
    let found = cosigned(&[line("a.example", 1, 50), line("b.example", 2, 70)]);
    assert_eq!((found.quorum, found.not_after, found.not_before), (true, Some(70), Some(50)));
    let found = cosigned(&[line("a.example", 1, 50), line("b.example", 2, 0)]);
    assert_eq!((found.quorum, found.not_after, found.not_before), (true, None, None));
    assert_eq!(found.times, [(0, 50), (1, 0)]);
    assert!(!cosigned(&[line("a.example", 1, 50)]).quorum);
    let bad = cosigned(&[line("a.example", 1, 50), line_at("b.example", 2, 70, &Checkpoint { size: 4, ..AT })]);
    assert!(!bad.quorum && bad.invalid == ["b.example"]);

    let parsed = note(&[line("a.example", 1, 50)]);
    let parsed = Note::parse(parsed.as_bytes()).unwrap();
    assert_eq!(judge(&parsed.signatures[0], parsed.text, &key("a.example", 1)), Some(Ok(50)));
    assert_eq!(judge(&parsed.signatures[0], parsed.text, &key("a.example", 2)), None);
    // Extension lines are covered by the text's signatures, not by these.
    let extended = format!("{}more\n\n{}\n", AT.text(), line("a.example", 1, 50));
    assert_eq!(policy.cosigned(&Note::parse(extended.as_bytes()).unwrap()).times, [(0, 50)]);

    for refused in [format!("log {}\nlog {}\n", key("a", 1), key("b", 1)), format!("{}{}", witness("a", 1), witness("b", 1))] {
        assert_eq!(Policy::parse(&refused).unwrap_err().line, 2, "one key, two names");
    }
    let log = Policy::default().and_log(key(ORIGIN, 1)).and_witness(key("a.example", 1)).and_witness(key("b.example", 1));
    assert!(log.logs(ORIGIN).count() == 1 && log.log_keys(ORIGIN).count() == 0 && log.witness(0).is_some() && log.witness(1).is_none());
}

#[test]
fn two_histories_are_evidence_by_such_lines_alone() {
    let other = Checkpoint { root: [8; 32], ..AT };
    let (a, b) = (note(&[line(ORIGIN, 1, 0)]), format!("{}\n{}\n", other.text(), line_at(ORIGIN, 1, 0, &other)));
    let policy = Policy::parse(&format!("log {}\n", key(ORIGIN, 1))).unwrap();
    let found = equivocation::equivocation(a.as_bytes(), b.as_bytes(), &policy).unwrap().unwrap();
    assert_eq!((found.size, found.root_a, found.root_b), (3, [7; 32], [8; 32]));
}

/// Sixteen such lines are a note, and a policy of 32 logs, 32 witnesses and 32
/// groups is one, as the specifications ask for.
#[test]
fn what_must_be_taken_fits() {
    let lines: Vec<String> = (1..=17).map(|seed| line(ORIGIN, seed, 0)).collect();
    assert!(lines.iter().all(|l| l.len() > 3_200));
    let whole = note(&lines[..16]);
    assert!(Note::parse(whole.as_bytes()).is_ok_and(|n| key(ORIGIN, 16).signs(&n) == Some(true)), "{} bytes", whole.len());
    assert!(Note::parse(note(&lines).as_bytes()).is_err());

    let mut policy = String::new();
    for seed in 0..32 {
        policy += &format!("log {}\n", key(&format!("local.invalid/log/{seed:032x}"), seed));
        policy += &format!("witness w{seed} {} https://witness.example/{seed}\n", key(&format!("witness.example/{seed}"), seed));
        policy += &format!("group g{seed} any w{seed}\n");
    }
    assert!(Policy::parse(&format!("{policy}quorum g31\n")).is_ok(), "{} bytes", policy.len());
}
