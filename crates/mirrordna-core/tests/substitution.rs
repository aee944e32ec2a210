//! What is valid in one place, put into another: leaves, numbers, signatures,
//! bodies, secrets and keys. Each is refused, and by a reason of its own.
//!
//! Here one key does every job, which the protocol never allows: so that what
//! refuses a signature is the message that it was made over, and not that some
//! other key happens to be asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ed25519_dalek::VerifyingKey;
use mirrordna_core::cipher::{Binding, Secret, commits, open, seal};
use mirrordna_core::identity::{Created, IdentityType, create};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::leaf_data;
use mirrordna_core::verify::body::{PublicBody, epoch_certificate};
use mirrordna_core::verify::cosignature::{Cosignature, message};
use mirrordna_core::verify::did::DidLog;
use mirrordna_core::verify::hash::{NONE, private_body, public_body, sha256};
use mirrordna_core::verify::leaf::encode_signed;
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::verify::multibase::{decode_z, encode_z};
use mirrordna_core::verify::note::{Checkpoint, Note, assemble, base64, key_id, origin, verifier_key};
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::verify::vkey::{KeyType, VerifierKey};
use mirrordna_core::verify::{Ledger, Trust, leaf};
use mirrordna_core::{Code, Entropy, Hash, Header, Kind, Leaf, PublicKey, Result};
use std::collections::BTreeMap;

const LOG: [u8; 16] = [9; 16];
const SEED: [u8; 32] = [7; 32];

/// The key of everything.
fn key() -> SecretKey {
    SecretKey::from_seed(&SEED)
}

/// Randomness that is the seed of that key, always; identities differ by their times.
struct Always;

impl Entropy for Always {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.fill(SEED[0]);
        Ok(())
    }
}

fn made(kind: IdentityType, second: u64) -> Created {
    create(kind, 1_770_000_000_000 + second * 1000, &Always).unwrap()
}

/// A log whose leaves are made right and then exchanged.
struct World {
    log: [u8; 16],
    ledger: Ledger,
    /// Next number and last leaf of each actor.
    heads: BTreeMap<Hash, (u64, Hash)>,
    ada: Created,
    ben: Created,
}

impl World {
    /// Genesis, two identities, an epoch of each: leaves 0 to 4.
    fn of(log: [u8; 16]) -> Self {
        let (system, ada, ben) = (made(IdentityType::System, 0), made(IdentityType::Agent, 1), made(IdentityType::Agent, 2));
        let ledger = Ledger::new(Trust::none().and(key().public().fingerprint()));
        let mut world = Self { log, ledger, heads: BTreeMap::new(), ada, ben };
        let log_key = key().public().to_bytes();
        let genesis = PublicBody::Genesis { did_log: &system.did_log, log_key, database: [2; 16], tenant: [3; 32] }.encode();
        world.enter(&system, Kind::LOG_GENESIS, &genesis);
        for created in [made(IdentityType::Agent, 1), made(IdentityType::Agent, 2)] {
            let entry = PublicBody::Entry { did_log: &created.did_log }.encode();
            world.enter(&created, Kind::IDENTITY_ENTRY, &entry);
        }
        for actor in [world.ada.digest, world.ben.digest] {
            let body = world.epoch_of(&actor);
            let header = world.next(actor, Kind::EPOCH_OPEN, Some(&body));
            world.put(&leaf_data(&header, Some(&key())), Some(&body));
        }
        world
    }

    fn enter(&mut self, created: &Created, kind: Kind, body: &[u8]) {
        self.heads.insert(created.digest, (0, sha256(&[created.did_log.strip_suffix(b"\n").unwrap()])));
        let header = self.next(created.digest, kind, Some(body));
        self.put(&leaf_data(&header, Some(&key())), Some(body));
    }

    fn epoch_of(&self, actor: &Hash) -> Vec<u8> {
        let certificate = key().sign_bytes(&epoch_certificate(&self.log, actor, &key().public().to_bytes(), 1, 10_000));
        epoch(certificate)
    }

    /// The header that an actor's next event has.
    fn next(&self, actor: Hash, kind: Kind, body: Option<&[u8]>) -> Header {
        let (aseq, prev) = self.heads[&actor];
        Header {
            log: self.log,
            actor,
            aseq,
            prev,
            signer: if kind.brings_key() { aseq } else { 1 },
            time: 1_000,
            kind,
            session: [0; 16],
            body: body.map_or(NONE, |b| if kind.is_public() { public_body(b) } else { private_body(b) }),
            length: body.map_or(0, |b| b.len() as u64 - if kind.is_public() { 0 } else { 48 }),
            refs: Vec::new(),
        }
    }

    fn put(&mut self, data: &[u8], stored: Option<&[u8]>) {
        self.ledger.leaf(data, stored.map_or(Stored::Nothing, Stored::Bytes));
        if let Ok(Leaf { header, .. }) = Leaf::decode(data) {
            self.heads.insert(header.actor, (header.aseq + 1, leaf::hash(data)));
        }
    }

    /// A seal of Ada, as she would sign it.
    fn seal(&self) -> Vec<u8> {
        leaf_data(&self.next(self.ada.digest, Kind::SEAL, None), Some(&key()))
    }

    fn codes(self) -> Vec<&'static str> {
        self.ledger.finish().problems.iter().map(|p| p.code).collect()
    }
}

fn epoch(certificate: [u8; 64]) -> Vec<u8> {
    PublicBody::EpochOpen { key: key().public().to_bytes(), version: 1, not_after: 10_000, certificate, ends: Vec::new() }.encode()
}

/// What is found after one more leaf.
fn after(step: impl FnOnce(&mut World)) -> Vec<&'static str> {
    let mut world = World::of(LOG);
    step(&mut world);
    world.codes()
}

#[test]
fn one_key_for_all_would_make_a_good_log() {
    assert_eq!(after(|_| ()), [""; 0]);
    assert_eq!(
        after(|w| {
            let seal = w.seal();
            w.put(&seal, None);
        }),
        [""; 0]
    );
}

#[test]
fn a_leaf_is_of_one_log() {
    let other = World::of([8; 16]);
    // Byte for byte, with its valid signature; and under this log's id, which the signature does not cover.
    assert_eq!(after(|w| w.put(&other.seal(), None)), ["leaf.wrong_log", "chain.broken"]);
    let moved = |w: &mut World| {
        let theirs = other.seal();
        let (id, signature) = Leaf::decode(&theirs).unwrap().signature.unwrap();
        let header = w.next(w.ada.digest, Kind::SEAL, None).encode();
        w.put(&encode_signed(&header, &id, &signature), None);
    };
    assert_eq!(after(moved), ["signature.invalid"]);
    // An epoch certified for another log brings no key here.
    let certified = |w: &mut World| {
        let body = other.epoch_of(&w.ada.digest);
        let header = w.next(w.ada.digest, Kind::EPOCH_OPEN, Some(&body));
        w.put(&leaf_data(&header, Some(&key())), Some(&body));
    };
    assert_eq!(after(certified)[0], "epoch.uncertified");
    // Nor does a checkpoint of another log speak for this one.
    let text = Checkpoint { origin: &origin(&other.log), size: 5, root: World::of(LOG).ledger.frontier().root() }.text();
    let note = assemble(&text, &origin(&other.log), key().public(), &key().sign_bytes(text.as_bytes()));
    assert_eq!(after(|w| w.ledger.checkpoint(note.as_bytes())), ["checkpoint.invalid"]);
}

#[test]
fn a_number_is_of_one_chain() {
    // Ben's place, by a leaf that Ada signed: hers but for the actor.
    let renamed = |w: &mut World| {
        let ada = w.seal();
        let (id, signature) = Leaf::decode(&ada).unwrap().signature.unwrap();
        let header = Header { actor: w.ben.digest, ..w.next(w.ada.digest, Kind::SEAL, None) };
        w.put(&encode_signed(&header.encode(), &id, &signature), None);
    };
    assert_eq!(after(renamed), ["signature.invalid"]);
    // Ada's own, at the number and after the leaf that are next in Ben's chain.
    let numbered = |w: &mut World| {
        let place = w.next(w.ben.digest, Kind::SEAL, None);
        let header = Header { actor: w.ada.digest, ..place };
        w.put(&leaf_data(&header, Some(&key())), None);
    };
    assert_eq!(after(numbered), ["chain.broken"]);
    // A number that was taken, once more; and one that nobody has reached.
    let again = |by: fn(u64) -> u64| {
        after(|w| {
            let header = w.next(w.ada.digest, Kind::SEAL, None);
            w.put(&leaf_data(&Header { aseq: by(header.aseq), ..header }, Some(&key())), None);
        })
    };
    assert_eq!(again(|n| n - 1), ["chain.broken"]);
    assert_eq!(again(|n| n + 1), ["chain.broken"]);
    // Of somebody who never came here.
    let stranger = |w: &mut World| {
        let header = Header { actor: [1; 32], ..w.next(w.ada.digest, Kind::SEAL, None) };
        w.put(&leaf_data(&header, Some(&key())), None);
    };
    assert_eq!(after(stranger), ["chain.unknown_actor"]);
    // One identity's log does not bring another's key, and none enters twice.
    let entered = |of: fn(&World) -> Vec<u8>| {
        after(|w| {
            let body = PublicBody::Entry { did_log: &of(w) }.encode();
            let header = w.next(w.ada.digest, Kind::IDENTITY_ENTRY, Some(&body));
            w.put(&leaf_data(&header, Some(&key())), Some(&body));
        })
    };
    assert_eq!(entered(|w| w.ben.did_log.clone())[0], "identity.invalid");
    assert_eq!(entered(|w| w.ada.did_log.clone())[0], "identity.forked");
    // An epoch certified for Ben is none of Ada's.
    let certified = |w: &mut World| {
        let body = w.epoch_of(&w.ben.digest);
        let header = w.next(w.ada.digest, Kind::EPOCH_OPEN, Some(&body));
        w.put(&leaf_data(&header, Some(&key())), Some(&body));
    };
    assert_eq!(after(certified)[0], "epoch.uncertified");
}

#[test]
fn an_epoch_says_nothing_after_its_end() {
    let closed = |then: fn(&World) -> Header| {
        after(|w| {
            let body = PublicBody::EpochClose.encode();
            let header = w.next(w.ada.digest, Kind::EPOCH_CLOSE, Some(&body));
            w.put(&leaf_data(&header, Some(&key())), Some(&body));
            let header = then(w);
            w.put(&leaf_data(&header, Some(&key())), None);
        })
    };
    assert_eq!(closed(|w| w.next(w.ada.digest, Kind::SEAL, None)), ["signer.ended"]);
    // Named by no event that brought a key, or after its time: nothing. The actor key, here the same, ends by neither.
    assert_eq!(closed(|w| Header { signer: 0, ..w.next(w.ada.digest, Kind::SEAL, None) }), [""; 0], "the actor key itself may sign");
    assert_eq!(closed(|w| Header { signer: 2, ..w.next(w.ada.digest, Kind::SEAL, None) }), ["signer.unknown"]);
    assert_eq!(closed(|w| Header { time: 10_001, signer: 1, ..w.next(w.ada.digest, Kind::SEAL, None) }), ["signer.ended"]);
    // Ben's epoch goes on.
    assert_eq!(closed(|w| w.next(w.ben.digest, Kind::SEAL, None)), [""; 0]);
}

/// Signatures that the one key made, each valid in its place.
fn signatures() -> [(&'static str, [u8; 64]); 5] {
    let world = World::of(LOG);
    let seal = world.seal();
    let line = String::from_utf8(world.ada.did_log.clone()).unwrap();
    let proof = line.split("\"proofValue\":\"").nth(1).unwrap().split('"').next().unwrap();
    let text = checkpoint_text(&world);
    [
        ("leaf", Leaf::decode(&seal).unwrap().signature.unwrap().1),
        ("certificate", key().sign_bytes(&epoch_certificate(&LOG, &world.ada.digest, &key().public().to_bytes(), 1, 10_000))),
        ("identity", decode_z(proof, 64).unwrap().try_into().unwrap()),
        ("checkpoint", key().sign_bytes(text.as_bytes())),
        ("cosignature", key().sign_bytes(message(1, &text).as_bytes())),
    ]
}

fn checkpoint_text(world: &World) -> String {
    Checkpoint { origin: &origin(&LOG), size: 5, root: world.ledger.frontier().root() }.text()
}

/// What the place of `of` says of a signature.
fn in_place_of(of: &str, signature: [u8; 64]) -> Vec<&'static str> {
    let world = World::of(LOG);
    let text = checkpoint_text(&world);
    match of {
        "leaf" => after(|w| {
            let header = w.next(w.ada.digest, Kind::SEAL, None).encode();
            w.put(&encode_signed(&header, &key().public().id(), &signature), None);
        }),
        "certificate" => after(|w| {
            let body = epoch(signature);
            let header = w.next(w.ada.digest, Kind::EPOCH_OPEN, Some(&body));
            w.put(&leaf_data(&header, Some(&key())), Some(&body));
        })
        .into_iter()
        .take(1)
        .collect(),
        "identity" => {
            let line = String::from_utf8(world.ada.did_log).unwrap();
            let (before, rest) = line.split_once("\"proofValue\":\"").unwrap();
            let (_, rest) = rest.split_once('"').unwrap();
            let line = format!("{before}\"proofValue\":\"{}\"{rest}", encode_z(&signature));
            DidLog::verify(line.as_bytes()).err().map(|e| e.why).into_iter().collect()
        }
        "checkpoint" => {
            let note = assemble(&text, &origin(&LOG), key().public(), &signature);
            after(|w| w.ledger.checkpoint(note.as_bytes()))
        }
        "cosignature" => {
            let witness = VerifierKey { name: "witness".to_owned(), kind: KeyType::Witness, key: key().public().clone().into() };
            let policy = Policy::parse(&format!("witness w {witness}\nquorum w\n")).unwrap();
            let line = Cosignature { time: 1, signature }.line("witness", key().public());
            let note = format!("{text}\n{line}\n");
            let cosigned = policy.cosigned(&Note::parse(note.as_bytes()).unwrap());
            assert_eq!(cosigned.quorum, cosigned.invalid.is_empty());
            cosigned.invalid.iter().map(|_| "cosignature.invalid").collect()
        }
        _ => panic!("{of}"),
    }
}

#[test]
fn a_signature_is_of_one_protocol() {
    let reasons = [
        ("leaf", "signature.invalid"),
        ("certificate", "epoch.uncertified"),
        ("identity", "has an entry whose signature does not verify"),
        ("checkpoint", "checkpoint.invalid"),
        ("cosignature", "cosignature.invalid"),
    ];
    let mut refused = 0;
    for (of, reason) in reasons {
        for (from, signature) in signatures() {
            let found = in_place_of(of, signature);
            if of == from {
                assert_eq!(found, [""; 0], "{of}");
            } else {
                assert_eq!(found, [reason], "{from} in place of {of}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 20);
    // A cosignature's line does not pass for the log's, and the log's not for a witness's, though key and name are one.
    let (name, text) = (origin(&LOG), checkpoint_text(&World::of(LOG)));
    let line = Cosignature { time: 1, signature: key().sign_bytes(message(1, &text).as_bytes()) }.line(&name, key().public());
    assert!(!Note::parse(format!("{text}\n{line}\n").as_bytes()).unwrap().signed_by(&name, key().public()));
    let own = assemble(&text, &name, key().public(), &key().sign_bytes(text.as_bytes()));
    let as_witness = VerifierKey { name: name.clone(), kind: KeyType::Witness, key: key().public().clone().into() };
    let policy = Policy::parse(&format!("witness w {as_witness}\nquorum w\n")).unwrap();
    let cosigned = policy.cosigned(&Note::parse(own.as_bytes()).unwrap());
    assert!(!cosigned.quorum && cosigned.times.is_empty());
    assert_ne!(key_id(&name, key().public()), as_witness.id());
}

#[test]
fn a_proof_is_over_its_own_fields() {
    let line = String::from_utf8(made(IdentityType::Agent, 1).did_log).unwrap();
    let other = String::from_utf8(made(IdentityType::Agent, 2).did_log).unwrap();
    let why = |text: String| DidLog::verify(text.as_bytes()).map(drop).map_err(|e| e.why);
    assert_eq!(why(line.clone()), Ok(()));
    let part = |of: &str, name: &str| of.split(&format!("\"{name}\":\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let unsigned = Err("has an entry whose signature does not verify");
    // The whole proof of another identity of the same key, and each of its fields.
    let proof = |of: &str| format!("\"proof\":[{{{}}}]", of.split("\"proof\":[{").nth(1).unwrap().split("}]").next().unwrap());
    assert_eq!(why(line.replace(&proof(&line), &proof(&other))), unsigned);
    assert_eq!(why(line.replace(&part(&line, "proofValue"), &part(&other, "proofValue"))), unsigned);
    assert_eq!(why(line.replace(&format!("\"created\":\"{}\"", part(&line, "created")), "\"created\":\"2026-02-02T02:40:09Z\"")), unsigned);
    // Other words for what the proof is for, of what it is, and by whom.
    let form = Err("has a proof of another type, suite or purpose");
    for (field, value) in [
        ("assertionMethod", "authentication"),
        ("eddsa-jcs-2022", "eddsa-rdfc-2022"),
        ("eddsa-jcs-2022", "eddsa-2022"),
        ("DataIntegrityProof", "Ed25519Signature2020"),
    ] {
        assert_eq!(why(line.replacen(&format!(":\"{field}\""), &format!(":\"{value}\""), 1)), form, "{value}");
    }
    let stranger = SecretKey::from_seed(&[8; 32]);
    let own = key().public().multikey();
    let by_another = line.replace(&format!("did:key:{own}#{own}"), &format!("did:key:{0}#{0}", stranger.public().multikey()));
    assert_eq!(why(by_another), Err("is signed by a key that is no update key of it"));
    let fragment = line.replace(&format!("did:key:{own}#{own}"), &format!("did:key:{own}#{}", stranger.public().multikey()));
    assert_eq!(why(fragment), Err("has a proof by something that is no did:key"));
    // The two halves of what is signed, exchanged: a valid signature, over something else.
    let document = line.trim_end().replacen(&format!("{},", proof(&line)), "", 1);
    let config = format!("{{{}}}", proof(&line).trim_start_matches("\"proof\":[{").trim_end_matches("}]"));
    let config = config.replacen(&format!("\"proofValue\":\"{}\",", part(&line, "proofValue")), "", 1);
    let halves = [sha256(&[config.as_bytes()]), sha256(&[document.as_bytes()])];
    let signed = |message: &[u8]| line.replace(&part(&line, "proofValue"), &encode_z(&key().sign_bytes(message)));
    assert_eq!(signed(&halves.concat()), line, "Ed25519 is deterministic: this is the message");
    assert_eq!(why(signed(&[halves[1], halves[0]].concat())), unsigned);
    assert_eq!(why(signed(&halves[1])), unsigned);
    assert_eq!(why(signed(document.as_bytes())), unsigned);
}

#[test]
fn a_body_is_of_one_event_and_one_secret() {
    let (secret, other) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
    let (ada, ben) = (made(IdentityType::Agent, 1).digest, made(IdentityType::Agent, 2).digest);
    let binding = |log, actor, kind| Binding { log, actor, kind };
    let row = seal(&secret, binding(&LOG, &ada, Kind::EVENT), b"what was said").unwrap();
    let refused = |secret: &Secret, binding: Binding<'_>, row: &[u8]| {
        let error = open(secret, binding, row).unwrap_err();
        assert_eq!(error.code(), Code::Altered);
        error.to_string()
    };
    assert_eq!(&**open(&secret, binding(&LOG, &ada, Kind::EVENT), &row).unwrap(), b"what was said");
    // Under another r the row is not what it commits to, whatever it would decrypt to.
    assert!(!commits(&other, &row));
    assert!(refused(&other, binding(&LOG, &ada, Kind::EVENT), &row).contains("not the one its row commits to"));
    let theirs = seal(&other, binding(&LOG, &ada, Kind::EVENT), b"what was not said").unwrap();
    let spliced = [&row[..32], &theirs[32..]].concat();
    assert!(refused(&secret, binding(&LOG, &ada, Kind::EVENT), &spliced).contains("does not decrypt"));
    assert!(refused(&other, binding(&LOG, &ada, Kind::EVENT), &spliced).contains("not the one its row commits to"));
    // In another log, of another actor, of another kind.
    for wrong in [binding(&[8; 16], &ada, Kind::EVENT), binding(&LOG, &ben, Kind::EVENT), binding(&LOG, &ada, Kind::RECORD_PUT)] {
        assert!(refused(&secret, wrong, &row).contains("does not decrypt for the event"));
    }
    for short in 0..row.len() {
        assert_eq!(open(&secret, binding(&LOG, &ada, Kind::EVENT), &row[..short]).unwrap_err().code(), Code::Altered, "{short}");
    }
    // Two events of one actor exchange their rows: no key is needed to see it.
    let mut world = World::of(LOG);
    let rows = [row, theirs];
    for (commitment, stored) in [(&rows[0], &rows[1]), (&rows[1], &rows[0])] {
        let header = world.next(ada, Kind::EVENT, Some(commitment));
        world.put(&leaf_data(&header, Some(&key())), Some(stored));
    }
    assert_eq!(world.codes(), ["body.altered", "body.altered"]);
    // A private row under a public kind, and the reverse: their commitments are of different domains.
    let body = PublicBody::EpochClose.encode();
    let crossed = after(|w| {
        let header = Header { body: private_body(&body), ..w.next(w.ada.digest, Kind::EPOCH_CLOSE, Some(&body)) };
        w.put(&leaf_data(&header, Some(&key())), Some(&body));
    });
    assert_eq!(crossed[0], "body.altered");
}

/// The eight points of small order, and encodings of them that are not reduced.
fn of_small_order() -> Vec<[u8; 32]> {
    let hex = |text: &str| -> [u8; 32] {
        let bytes: Vec<u8> = (0..64).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        // 1 with the sign bit, p, p with the sign bit, p + 1, p + 1 with the sign bit, p - 1 with the sign bit.
        "0100000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ]
    .map(hex)
    .to_vec()
}

#[test]
fn keys_with_torsion_register_nowhere() {
    let points = of_small_order();
    // An honest key plus each of the seven points that are not neutral: of the right order but for a cofactor.
    let honest = VerifyingKey::from_bytes(&key().public().to_bytes()).unwrap().to_edwards();
    let mixed = points[1..8].iter().map(|p| (honest + VerifyingKey::from_bytes(p).unwrap().to_edwards()).compress().to_bytes());
    let bad: Vec<[u8; 32]> = points.iter().copied().chain(mixed).collect();
    assert_eq!(bad.len(), 21);
    // Other libraries take the mixed ones for keys, and verify signatures under them.
    assert!(bad[14..].iter().all(|k| VerifyingKey::from_bytes(k).is_ok_and(|k| !k.is_weak())));
    for bytes in bad {
        assert_eq!(PublicKey::new(&bytes), None, "{bytes:02x?}");
        // As a log's key, in the genesis.
        let system = made(IdentityType::System, 0);
        let genesis = PublicBody::Genesis { did_log: &system.did_log, log_key: bytes, database: [2; 16], tenant: [3; 32] }.encode();
        let mut world = World { ledger: Ledger::new(Trust::none()), heads: BTreeMap::new(), ..World::of(LOG) };
        world.enter(&system, Kind::LOG_GENESIS, &genesis);
        assert_eq!(world.codes()[0], "log.genesis");
        // As an epoch's, certified by the actor as it should be.
        let epoch = |w: &mut World| {
            let certificate = key().sign_bytes(&epoch_certificate(&LOG, &w.ada.digest, &bytes, 1, 10_000));
            let body = PublicBody::EpochOpen { key: bytes, version: 1, not_after: 10_000, certificate, ends: Vec::new() }.encode();
            let header = w.next(w.ada.digest, Kind::EPOCH_OPEN, Some(&body));
            w.put(&leaf_data(&header, Some(&key())), Some(&body));
        };
        assert_eq!(after(epoch)[0], "epoch.uncertified");
        // As an identity's, and as that of a log or a witness in a policy.
        let multikey = encode_z(&[&[0xed, 0x01][..], &bytes].concat());
        assert_eq!(PublicKey::from_multikey(&multikey), None);
        let line = String::from_utf8(made(IdentityType::Agent, 1).did_log).unwrap();
        let key_of = |line: &str| line.split("\"publicKeyMultibase\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let weak =
            line.replace(&format!("\"publicKeyMultibase\":\"{}\"", key_of(&line)), &format!("\"publicKeyMultibase\":\"{multikey}\""));
        assert_eq!(DidLog::verify(weak.as_bytes()).unwrap_err().why, "has an unacceptable key");
        for kind in [1, 4] {
            let raw = [&[kind], &bytes[..]].concat();
            let id = sha256(&[b"name\n", &raw]);
            let vkey = format!("name+{:02x}{:02x}{:02x}{:02x}+{}", id[0], id[1], id[2], id[3], base64(&raw));
            assert!(VerifierKey::parse(&vkey).is_err(), "{vkey}");
        }
    }
    assert!(VerifierKey::parse(&verifier_key("name", key().public())).is_ok());
}
