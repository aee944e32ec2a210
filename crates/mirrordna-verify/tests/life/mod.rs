//! A log in which an identity lives: it is rotated, recovered, ended, and its
//! epochs are revoked. All keys are numbered, so that every byte is the same
//! each time.

use ed25519_dalek::{Signer as _, SigningKey};
use mirrordna_verify::body::{PublicBody, epoch_certificate};
use mirrordna_verify::hash::{Hash, NONE, public_body, sha256};
use mirrordna_verify::multibase::{digest_of, encode_z, multihash};
use mirrordna_verify::{Header, Kind, PublicKey, leaf};

const LOG: [u8; 16] = [0x1f; 16];
const NOT_AFTER: u64 = 1_770_086_400_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::new(&key.verifying_key().to_bytes()).unwrap()
}

fn multikey(seed: u8) -> String {
    public(&key(seed)).multikey()
}

fn committed(seeds: &[u8]) -> String {
    let mut hashes: Vec<String> = seeds.iter().map(|seed| format!("\"{}\"", multihash(&sha256(&[multikey(*seed).as_bytes()])))).collect();
    hashes.sort();
    hashes.join(",")
}

/// What a version of a DID log says.
pub(crate) struct Version {
    /// Seed of the key that signs it.
    pub(crate) by: u8,
    /// Seed of the actor key.
    pub(crate) actor: u8,
    /// Seeds of the keys for the next version; the identity ends where there are
    /// none.
    pub(crate) next: &'static [u8],
}

/// A DID log of these versions (chapter 2).
fn did_log(label: &str, versions: &[Version]) -> String {
    let (mut log, mut scid, mut before) = (String::new(), "{SCID}".to_owned(), String::new());
    for (n, version) in (1u32..).zip(versions) {
        let update = multikey(version.by);
        let next = committed(version.next);
        let parts = |scid: &str, id: &str| {
            let did = format!("did:webvh:{scid}:local.invalid:{label}");
            let parameters = match n {
                1 => format!(r#"{{"method":"did:webvh:1.0","nextKeyHashes":[{next}],"scid":"{scid}","updateKeys":["{update}"]}}"#),
                _ if next.is_empty() => format!(r#"{{"deactivated":true,"nextKeyHashes":[],"updateKeys":["{update}"]}}"#),
                _ => format!(r#"{{"nextKeyHashes":[{next}],"updateKeys":["{update}"]}}"#),
            };
            let method = format!(r#"{{"publicKeyMultibase":"{}"}}"#, multikey(version.actor));
            let state = format!(r#"{{"id":"{did}","verificationMethod":[{method}]}}"#);
            (parameters, format!(r#""state":{state},"versionId":"{id}","versionTime":"2026-02-0{n}T00:00:00Z"}}"#))
        };
        let whole = |scid: &str, id: &str| {
            let (parameters, rest) = parts(scid, id);
            format!(r#"{{"parameters":{parameters},{rest}"#)
        };
        if n == 1 {
            scid = multihash(&sha256(&[whole(&scid, &scid).as_bytes()]));
            before.clone_from(&scid);
        }
        let id = format!("{n}-{}", multihash(&sha256(&[whole(&scid, &before).as_bytes()])));
        let method = format!("did:key:{update}#{update}");
        let proof = |value: &str| {
            format!(
                r#"{{"cryptosuite":"eddsa-jcs-2022","proofPurpose":"assertionMethod",{value}"type":"DataIntegrityProof","verificationMethod":"{method}"}}"#
            )
        };
        let message = [sha256(&[proof("").as_bytes()]), sha256(&[whole(&scid, &id).as_bytes()])].concat();
        let signature = encode_z(&key(version.by).sign(&message).to_bytes());
        let (parameters, rest) = parts(&scid, &id);
        log += &format!("{{\"parameters\":{parameters},\"proof\":[{}],{rest}\n", proof(&format!(r#""proofValue":"{signature}","#)));
        before = id;
    }
    log
}

/// Somebody with a chain.
pub(crate) struct Being {
    label: &'static str,
    versions: Vec<Version>,
    digest: Hash,
    next: u64,
    last: Hash,
}

impl Being {
    fn new(label: &'static str, first: Version) -> Self {
        let mut being = Self { label, versions: vec![first], digest: NONE, next: 0, last: NONE };
        let log = being.log();
        let scid = log.split("\"scid\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        being.digest = digest_of(scid).unwrap();
        being.last = sha256(&[log.trim_end().as_bytes()]);
        being
    }

    fn log(&self) -> String {
        did_log(self.label, &self.versions)
    }

    fn actor(&self) -> u8 {
        self.versions.last().unwrap().actor
    }
}

/// A log, as it is written.
pub(crate) struct Life {
    pub(crate) id: [u8; 16],
    /// Signs checkpoints.
    pub(crate) key: SigningKey,
    /// Leaf data and public body of each leaf.
    pub(crate) leaves: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    agent: Being,
}

impl Life {
    /// Genesis 0, the agent's entry 1 (update key 21, actor key 20, next 22,
    /// recovery 23), its epoch 2 (key 40) at its number 1.
    pub(crate) fn new() -> Self {
        let system = Being::new("sys", Version { by: 11, actor: 10, next: &[12, 13] });
        let agent = Being::new("agt", Version { by: 21, actor: 20, next: &[22, 23] });
        let mut life = Self { id: LOG, key: key(1), leaves: Vec::new(), agent };
        let log = system.log();
        let log_key = public(&life.key).to_bytes();
        let body = PublicBody::Genesis { did_log: log.as_bytes(), log_key, database: [2; 16], tenant: [3; 32] };
        let header = life.header(&system, Kind::LOG_GENESIS, 0, Some(&body.encode()));
        life.put(&header, Some(10), Some(body.encode()));
        life.bring(|did_log| PublicBody::Entry { did_log });
        life.open(40);
        life
    }

    fn header(&self, of: &Being, kind: Kind, signer: u64, body: Option<&[u8]>) -> Header {
        Header {
            log: LOG,
            actor: of.digest,
            aseq: of.next,
            prev: of.last,
            signer,
            time: 1_770_000_000_000 + self.leaves.len() as u64,
            kind,
            session: [0; 16],
            body: body.map_or(NONE, public_body),
            length: body.map_or(0, |b| b.len() as u64),
            refs: Vec::new(),
        }
    }

    fn put(&mut self, header: &Header, by: Option<u8>, body: Option<Vec<u8>>) {
        let bytes = header.encode();
        let data = match by {
            Some(seed) => {
                let id = public(&key(seed)).id();
                leaf::encode_signed(&bytes, &id, &key(seed).sign(&leaf::signed_bytes(&bytes, &id)).to_bytes())
            }
            None => bytes,
        };
        if header.actor == self.agent.digest {
            (self.agent.next, self.agent.last) = (header.aseq + 1, leaf::hash(&data));
        }
        self.leaves.push((data, body));
    }

    /// An event of the agent, named for by its event `signer` and signed by a
    /// key, edited before.
    pub(crate) fn say(&mut self, kind: Kind, signer: u64, by: Option<u8>, body: Option<&PublicBody<'_>>, edit: impl FnOnce(&mut Header)) {
        let body = body.map(PublicBody::encode);
        let mut header = self.header(&self.agent, kind, signer, body.as_deref());
        edit(&mut header);
        self.put(&header, by, body);
    }

    /// An event of the agent that its epoch leaves to a later signature.
    pub(crate) fn act(&mut self, signer: u64) {
        self.say(Kind::EVENT, signer, None, None, |_| ());
    }

    /// A seal of the agent by one of its epochs.
    pub(crate) fn seal(&mut self, signer: u64, by: u8) {
        self.say(Kind::SEAL, signer, Some(by), None, |_| ());
    }

    fn bring<'a>(&mut self, body: impl for<'b> FnOnce(&'b [u8]) -> PublicBody<'b> + 'a) {
        let log = self.agent.log();
        let body = body(log.as_bytes());
        let (number, by) = (self.agent.next, self.agent.actor());
        let bytes = body.encode();
        let header = self.header(&self.agent, body.kind(), number, Some(&bytes));
        self.put(&header, Some(by), Some(bytes));
    }

    /// A further version, by a rotation (or the end, where nothing is next).
    pub(crate) fn rotate(&mut self, version: Version) {
        self.agent.versions.push(version);
        self.bring(|did_log| PublicBody::Entry { did_log });
    }

    /// A further version, by a recovery that trusts what came up to an event.
    pub(crate) fn recover(&mut self, version: Version, trusted: u64) {
        self.agent.versions.push(version);
        self.bring(|did_log| PublicBody::Recover { did_log, trusted });
    }

    /// An epoch of the agent with a key, certified by the actor key in force.
    pub(crate) fn open(&mut self, seed: u8) {
        self.open_by(seed, self.agent.actor());
    }

    /// The same, certified by another key.
    pub(crate) fn open_by(&mut self, seed: u8, by: u8) {
        let (key_bytes, version) = (public(&key(seed)).to_bytes(), self.agent.versions.len() as u64);
        let message = epoch_certificate(&LOG, &self.agent.digest, &key_bytes, version, NOT_AFTER);
        let certificate = key(by).sign(&message).to_bytes();
        let body = PublicBody::EpochOpen { key: key_bytes, version, not_after: NOT_AFTER, certificate, ends: Vec::new() };
        let number = self.agent.next;
        self.say(Kind::EPOCH_OPEN, number, Some(seed), Some(&body), |_| ());
    }

    /// The end of an epoch, said by the key that event `signer` brought.
    pub(crate) fn revoke(&mut self, epoch: u64, trusted: u64, signer: u64, by: u8) {
        self.say(Kind::EPOCH_REVOKE, signer, Some(by), Some(&PublicBody::EpochRevoke { epoch, trusted }), |_| ());
    }
}
