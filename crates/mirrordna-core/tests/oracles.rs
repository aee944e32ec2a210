//! The protocol's own encoders and checks against independent implementations
//! of the same standards: COSE, CBOR, JCS and RFC 6962 trees.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ciborium::Value as Cbor;
use coset::iana::Algorithm as Iana;
use coset::{Algorithm, CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use mirrordna_core::body::{Body, Media, field};
use mirrordna_core::canon::{Value, padme};
use mirrordna_core::identity::{IdentityType, create};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::proof::{Tiles, consistency, inclusion};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::cbor::Reader;
use mirrordna_core::verify::json::Json;
use mirrordna_core::verify::leaf::{SEAL_AAD, encode_signed, signed_bytes};
use mirrordna_core::verify::merkle::{Frontier, extends, includes, root_of};
use mirrordna_core::verify::{hash, leaf};
use mirrordna_core::{Entropy, Hash, Header, Kind, Leaf, PublicKey, Result};
use proptest::prelude::*;
use sha2::Sha256;
use std::sync::atomic::{AtomicU8, Ordering};

/// Randomness that repeats: every call gives the next byte, over and over.
struct Counter(AtomicU8);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

prop_compose! {
    fn header()(log in any::<[u8; 16]>(), actor in any::<Hash>(), aseq in any::<u64>(), prev in any::<Hash>(), time in any::<u64>(),
                kind in 0u64..300, session in any::<[u8; 16]>(), body in any::<Hash>(), length in any::<u64>(),
                refs in prop::collection::vec(any::<Hash>(), 0..30)) -> Header {
        Header { log, actor, aseq, prev, signer: aseq / 3, time, kind: Kind(kind), session, body, length, refs }
    }
}

fn signed(header: &Header, key: &SecretKey) -> (Vec<u8>, Vec<u8>) {
    let bytes = header.encode();
    let id = key.public().id();
    let signature = key.sign_bytes(&signed_bytes(&bytes, &id));
    (encode_signed(&bytes, &id, &signature), bytes)
}

/// Checks a COSE signature with this crate's key type.
fn check(key: &PublicKey) -> impl Fn(&[u8], &[u8]) -> std::result::Result<(), &'static str> {
    move |signature, data| {
        let signature = signature.try_into().map_err(|_| "no 64 bytes")?;
        key.verifies(data, &signature).then_some(()).ok_or("does not verify")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_signed_leaf_is_a_cose_sign1(header in header(), seed in any::<[u8; 32]>()) {
        let key = SecretKey::from_seed(&seed);
        let (data, bytes) = signed(&header, &key);
        let cose = CoseSign1::from_tagged_slice(&data).unwrap();
        prop_assert_eq!(&cose.protected.header.alg, &Some(Algorithm::Assigned(Iana::Ed25519)));
        prop_assert_eq!(Iana::Ed25519 as i64, -19);
        prop_assert_eq!(&cose.protected.header.key_id, &key.public().id());
        prop_assert!(cose.unprotected.is_empty());
        prop_assert_eq!(cose.payload.as_deref(), Some(&*bytes));
        prop_assert_eq!(cose.tbs_data(SEAL_AAD), signed_bytes(&bytes, &key.public().id()));
        prop_assert_eq!(cose.verify_signature(SEAL_AAD, check(key.public())), Ok(()));
        // The domain string is part of what is signed.
        prop_assert!(cose.verify_signature(b"", check(key.public())).is_err());
        prop_assert_eq!(cose.to_tagged_vec().unwrap(), data);
    }

    #[test]
    fn a_cose_sign1_of_the_one_shape_is_a_leaf(header in header(), seed in any::<[u8; 32]>()) {
        let key = SecretKey::from_seed(&seed);
        let protected = HeaderBuilder::new().algorithm(Iana::Ed25519).key_id(key.public().id().to_vec()).build();
        let cose = CoseSign1Builder::new().protected(protected).payload(header.encode())
            .create_signature(SEAL_AAD, |data| key.sign_bytes(data).to_vec()).build();
        let data = cose.to_tagged_vec().unwrap();
        prop_assert_eq!(&data, &signed(&header, &key).0);
        let leaf = Leaf::decode(&data).unwrap();
        prop_assert_eq!(&leaf.header, &header);
        let (id, signature) = leaf.signature.unwrap();
        prop_assert!(key.public().verifies(&signed_bytes(leaf.header_bytes, &id), &signature));
    }
}

#[test]
fn other_shapes_of_cose_are_no_leaves() {
    let key = SecretKey::from_seed(&[7; 32]);
    let header = Header {
        log: [1; 16],
        actor: [2; 32],
        aseq: 3,
        prev: [4; 32],
        signer: 1,
        time: 5,
        kind: Kind::SEAL,
        session: [0; 16],
        body: hash::NONE,
        length: 0,
        refs: Vec::new(),
    };
    let id = key.public().id().to_vec();
    let protected = || HeaderBuilder::new().algorithm(Iana::Ed25519).key_id(id.clone());
    let build = |p: HeaderBuilder| CoseSign1Builder::new().protected(p.build()).payload(header.encode());
    let sign = |b: CoseSign1Builder| b.create_signature(SEAL_AAD, |data| key.sign_bytes(data).to_vec()).build();
    assert!(Leaf::decode(&sign(build(protected())).to_tagged_vec().unwrap()).is_ok());
    let other_alg = HeaderBuilder::new().algorithm(Iana::EdDSA).key_id(id.clone());
    let no_alg = HeaderBuilder::new().key_id(id.clone());
    let long_id = HeaderBuilder::new().algorithm(Iana::Ed25519).key_id([&id[..], &[0]].concat());
    let more = protected().content_type("application/cbor".into());
    let unprotected = HeaderBuilder::new().key_id(id.clone()).build();
    for cose in [
        sign(build(other_alg)),
        sign(build(no_alg)),
        sign(build(long_id)),
        sign(build(more)),
        sign(build(protected()).unprotected(unprotected)),
        CoseSign1 { payload: None, ..sign(build(protected())) },
        CoseSign1 { signature: vec![0; 65], ..sign(build(protected())) },
    ] {
        let data = cose.clone().to_tagged_vec().unwrap();
        assert!(CoseSign1::from_tagged_slice(&data).is_ok());
        assert!(Leaf::decode(&data).is_err(), "{cose:?}");
    }
    use coset::CborSerializable as _;
    assert!(Leaf::decode(&sign(build(protected())).to_vec().unwrap()).is_err(), "untagged");
}

/// Reads one item with the oracle and gives back what follows it.
fn oracle(mut bytes: &[u8]) -> (Cbor, &[u8]) {
    let value = ciborium::from_reader(&mut bytes).unwrap();
    (value, bytes)
}

fn written(value: &Cbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn raw(bytes: &[u8]) -> Cbor {
    Cbor::Bytes(bytes.to_vec())
}

fn map(fields: impl IntoIterator<Item = (u64, Cbor)>) -> Cbor {
    Cbor::Map(fields.into_iter().map(|(n, v)| (n.into(), v)).collect())
}

/// The same value for the oracle.
fn foreign(value: &Value) -> Cbor {
    match value {
        Value::Int(v) => (*v).into(),
        Value::Bytes(v) => raw(v),
        Value::Text(v) => v.as_str().into(),
        Value::List(items) => Cbor::Array(items.iter().map(foreign).collect()),
        Value::Bool(v) => (*v).into(),
        Value::Null => Cbor::Null,
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-300i64..300).prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ".{0,20}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 16, 5, |inner| prop::collection::vec(inner, 0..5).prop_map(Value::List))
}

proptest! {
    #[test]
    fn headers_read_the_same_elsewhere(h in header()) {
        let bytes = h.encode();
        let refs = Cbor::Array(h.refs.iter().map(|r| raw(r)).collect());
        let expected = Cbor::Array(vec![
            "mdna.ev1".into(), raw(&h.log), raw(&h.actor), h.aseq.into(), raw(&h.prev), h.signer.into(), h.time.into(),
            h.kind.0.into(), raw(&h.session), raw(&h.body), h.length.into(), refs,
        ]);
        prop_assert_eq!(written(&expected), &*bytes);
        prop_assert_eq!(oracle(&bytes), (expected, &[][..]));
    }

    #[test]
    fn public_bodies_read_the_same_elsewhere(n in any::<[u64; 5]>(), h in any::<[Hash; 2]>(), text in prop::collection::vec(any::<u8>(), 0..300),
                                             ends in prop::collection::vec(any::<u64>(), 0..5), certificate in prop::collection::vec(any::<u8>(), 64)) {
        let database = [n[0] as u8; 16];
        let certificate = <[u8; 64]>::try_from(certificate).unwrap();
        let listed = Cbor::Array(ends.iter().map(|e| (*e).into()).collect());
        let cases = [
            (PublicBody::Genesis { did_log: &text, log_key: h[0], database, tenant: h[1] },
             vec![raw(&text), raw(&h[0]), raw(&database), raw(&h[1])]),
            (PublicBody::Entry { did_log: &text }, vec![raw(&text)]),
            (PublicBody::EpochOpen { key: h[0], version: n[0], not_after: n[1], certificate, ends: ends.clone() },
             vec![raw(&h[0]), n[0].into(), n[1].into(), raw(&certificate), listed.clone()]),
            (PublicBody::EpochClose, vec![]),
            (PublicBody::Erase { reason: n[0], count: n[1], positions: ends.clone(), records: &h[0], once: &database, subjects: &h[1] },
             vec![n[0].into(), n[1].into(), listed.clone(), raw(&h[0]), raw(&database), raw(&h[1])]),
            (PublicBody::EraseDone { count: n[0], positions: ends.clone() }, vec![n[0].into(), listed.clone()]),
            (PublicBody::ImportOpen { source: h[0], bytes: n[0], format: n[1] }, vec![raw(&h[0]), n[0].into(), n[1].into()]),
            (PublicBody::Import { source: h[0], kept: n[0], repaired: n[1], refused: n[2], events: n[3] },
             vec![raw(&h[0]), n[0].into(), n[1].into(), n[2].into(), n[3].into()]),
        ];
        for (body, fields) in cases {
            let expected = map((0..).zip(std::iter::once(1.into()).chain(fields)));
            let bytes = body.encode();
            prop_assert_eq!(oracle(&bytes), (expected.clone(), &[][..]));
            let foreign = written(&expected);
            prop_assert_eq!(PublicBody::decode(body.kind(), &foreign).unwrap(), Some(body));
        }
    }

    #[test]
    fn private_bodies_read_the_same_elsewhere(schema in 0u64..300, fields in prop::collection::btree_map(2u64..40, value(), 0..8),
                                              payload in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), named in any::<bool>()) {
        let mut body = Body::new(schema, "mem_x");
        let mut expected = std::collections::BTreeMap::from([(0, schema.into()), (field::ID, "mem_x".into())]);
        for (n, v) in fields.into_iter().filter(|(n, _)| *n != field::PAYLOAD) {
            expected.insert(n, foreign(&v));
            body.set(n, v);
        }
        if let Some(bytes) = payload {
            let media: Cbor = if named { "image/png".into() } else { 50.into() };
            expected.insert(field::PAYLOAD, Cbor::Array(vec![media, raw(&bytes)]));
            body = body.with_payload(if named { Media::Named("image/png".into()) } else { Media::JSON }, bytes);
        }
        let expected = map(expected);
        let bytes = body.encode_padded().unwrap();
        let (read, padding) = oracle(&bytes);
        prop_assert_eq!(&read, &expected);
        prop_assert!(padding.iter().all(|b| *b == 0));
        let mut foreign = written(&expected);
        foreign.resize(padme(foreign.len()), 0);
        prop_assert_eq!(&foreign, &*bytes);
        prop_assert_eq!(Body::decode_padded(&foreign).unwrap(), body);
    }
}

/// Encodes like a careless but correct writer: item number `at` gets a longer
/// head (`wide`, if there is one) or else an indefinite length.
struct Careless {
    out: Vec<u8>,
    at: usize,
    wide: bool,
    done: bool,
}

impl Careless {
    fn head(&mut self, major: u8, n: u64) {
        let careless = self.at == 0 && self.wide && n <= u64::from(u32::MAX);
        self.at = self.at.wrapping_sub(1);
        self.done |= careless;
        let m = major << 5;
        let short = match n {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 4,
            _ => 8,
        };
        match if careless { (short * 2).max(1) } else { short } {
            0 => self.out.push(m | n as u8),
            1 => self.out.extend_from_slice(&[m | 24, n as u8]),
            2 => self.out.extend_from_slice(&[&[m | 25][..], &(n as u16).to_be_bytes()].concat()),
            4 => self.out.extend_from_slice(&[&[m | 26][..], &(n as u32).to_be_bytes()].concat()),
            _ => self.out.extend_from_slice(&[&[m | 27][..], &n.to_be_bytes()].concat()),
        }
    }

    /// Whether the item at hand is written with an indefinite length.
    fn open(&mut self, major: u8) -> bool {
        let open = self.at == 0 && !self.wide;
        if open {
            self.at = usize::MAX;
            self.done = true;
            self.out.push(major << 5 | 31);
        }
        open
    }

    fn string(&mut self, major: u8, bytes: &[u8]) {
        let open = self.open(major);
        self.head(major, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        if open {
            self.out.push(0xff);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Int(v) if *v < 0 => self.head(1, !*v as u64),
            Value::Int(v) => self.head(0, *v as u64),
            Value::Bytes(v) => self.string(2, v),
            Value::Text(v) => self.string(3, v.as_bytes()),
            Value::List(items) => {
                let open = self.open(4);
                if !open {
                    self.head(4, items.len() as u64);
                }
                items.iter().for_each(|i| self.value(i));
                if open {
                    self.out.push(0xff);
                }
            }
            Value::Bool(v) => self.out.push(if *v { 0xf5 } else { 0xf4 }),
            Value::Null => self.out.push(0xf6),
        }
    }
}

/// Reads one value that fills `bytes`.
fn ours(bytes: &[u8]) -> Option<Value> {
    let mut r = Reader::new(bytes);
    let value = Value::decode(&mut r).ok()?;
    r.end().ok()?;
    Some(value)
}

/// Random values of the whole of CBOR, maps with any keys in any order included.
fn any_cbor() -> impl Strategy<Value = Cbor> {
    let leaf = prop_oneof![
        value().prop_map(|v| foreign(&v)),
        any::<u64>().prop_map(Cbor::from),
        any::<f64>().prop_map(Cbor::from),
        (-5i64..5).prop_map(Cbor::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Cbor::Array),
            prop::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Cbor::Map),
            (6u64..40, inner).prop_map(|(n, v)| Cbor::Tag(n, Box::new(v))),
        ]
    })
}

/// The value in the subset that bodies use, or `None` outside of it.
fn in_subset(value: &Cbor) -> Option<Value> {
    Some(match value {
        Cbor::Integer(v) => Value::Int(i64::try_from(*v).ok()?),
        Cbor::Bytes(v) => Value::Bytes(v.clone()),
        Cbor::Text(v) => Value::Text(v.clone()),
        Cbor::Bool(v) => Value::Bool(*v),
        Cbor::Null => Value::Null,
        Cbor::Array(items) => Value::List(items.iter().map(in_subset).collect::<Option<_>>()?),
        _ => return None,
    })
}

proptest! {
    #[test]
    fn only_one_encoding_of_a_value_is_read(value in value(), at in 0usize..6, wide in any::<bool>()) {
        let mut w = Careless { out: Vec::new(), at, wide, done: false };
        w.value(&value);
        // It is CBOR, and the same value: only its form differs.
        prop_assert_eq!(oracle(&w.out), (foreign(&value), &[][..]));
        prop_assert_eq!(w.done, w.out != written(&foreign(&value)));
        prop_assert_eq!(ours(&w.out), (!w.done).then_some(value));
        prop_assert_eq!(Reader::new(&w.out).skip().is_err(), w.done);
    }

    #[test]
    fn values_outside_the_subset_are_refused(value in any_cbor()) {
        prop_assert_eq!(ours(&written(&value)), in_subset(&value));
    }

    #[test]
    fn bodies_with_fields_in_another_order_are_refused(fields in prop::collection::vec((prop_oneof![Just(0u64), 1..6u64], value()), 0..5)) {
        let mut fields: Vec<_> = fields.iter().map(|(n, v)| (*n, foreign(v))).collect();
        let head = (0, Cbor::from(3));
        if fields.len() % 4 != 1 {
            fields.insert(0, head);
        }
        let mut bytes = written(&map(fields.clone()));
        bytes.resize(padme(bytes.len()), 0);
        let schema = fields.first().is_some_and(|(n, v)| *n == 0 && v.as_integer().is_some_and(|i| u64::try_from(i).is_ok()));
        let ordered = fields.windows(2).all(|w| w[0].0 < w[1].0);
        prop_assert_eq!(Body::decode_padded(&bytes).is_ok(), schema && ordered);
    }
}

#[test]
fn a_did_line_is_its_own_canonical_form() {
    for (kind, first) in [(IdentityType::Agent, 1), (IdentityType::User, 50), (IdentityType::System, 100)] {
        let made = create(kind, 1_770_000_000_000, &Counter(AtomicU8::new(first))).unwrap();
        let line = std::str::from_utf8(&made.did_log).unwrap().strip_suffix('\n').unwrap();
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(serde_jcs::to_string(&value).unwrap(), line);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as J;
    let leaf = prop_oneof![
        Just(J::Null),
        any::<bool>().prop_map(J::from),
        any::<i64>().prop_map(J::from),
        (-1000i64..1000).prop_map(J::from),
        any::<f64>().prop_map(J::from),
        ".{0,8}".prop_map(J::from),
        "[\\x00-\\x22\\\\é]{0,4}".prop_map(J::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(J::from),
            prop::collection::vec(("[a-cA-C\"\\\\\\x01]{0,2}|é", inner), 0..4).prop_map(|m| J::Object(m.into_iter().collect())),
        ]
    })
}

/// Whether a value stays inside what our canonical form allows: ASCII keys, whole numbers within 2^53.
fn plain(value: &serde_json::Value) -> bool {
    use serde_json::Value as J;
    match value {
        J::Number(n) => n.as_i64().is_some_and(|v| v.unsigned_abs() < 1 << 53),
        J::Array(items) => items.iter().all(plain),
        J::Object(members) => members.iter().all(|(k, v)| k.is_ascii() && plain(v)),
        _ => true,
    }
}

proptest! {
    #[test]
    fn canonical_json_is_what_jcs_makes(value in any_json(), flip in any::<prop::sample::Index>(), byte in prop::sample::select(&b" 0-1eE\"\\un{}[],:aAz"[..])) {
        let canonical = serde_jcs::to_string(&value).unwrap();
        if plain(&value) {
            prop_assert!(Json::parse_canonical(&canonical).is_ok(), "{canonical}");
        }
        // Whatever is accepted is its own canonical form: the plain serialisation, and one changed byte.
        let mut changed = canonical.clone().into_bytes();
        let at = flip.index(changed.len());
        changed[at] = byte;
        let texts = [Some(value.to_string()), serde_json::to_string_pretty(&value).ok(), String::from_utf8(changed).ok()];
        for text in texts.into_iter().flatten().filter(|t| Json::parse_canonical(t).is_ok()) {
            let again: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_jcs::to_string(&again).unwrap(), text);
        }
    }
}

/// The hashes of tile levels 0 and 1, grown leaf by leaf as a store has them.
#[derive(Default)]
struct Memory([Vec<Hash>; 2]);

impl Memory {
    fn push(&mut self, leaf: Hash) {
        let mut carry = Some(leaf);
        for level in &mut self.0 {
            let Some(hash) = carry.take() else { return };
            level.push(hash);
            carry = level.len().is_multiple_of(256).then(|| root_of(&level[level.len() - 256..]));
        }
    }
}

impl Tiles for Memory {
    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>> {
        let from = number as usize * 256;
        Ok(self.0.get(usize::from(level)).and_then(|l| l.get(from..from + 256)).map(<[Hash]>::to_vec))
    }

    fn leaves(&self, from: u64, to: u64) -> Result<Vec<Hash>> {
        Ok(self.0[0][from as usize..to as usize].to_vec())
    }
}

/// Positions worth trying in `0..n`: both edges, around powers of two, and a few between.
fn samples(n: u64) -> Vec<u64> {
    let powers = (0..13).flat_map(|e| [(1u64 << e) - 1, 1 << e, (1 << e) + 1]);
    let mut all: Vec<u64> = powers.chain([0, n / 3, n / 2, n - 1, n.wrapping_sub(2)]).filter(|i| *i < n).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn trees_and_proofs_agree_with_another_implementation() {
    const LAST: u64 = 4_097;
    let sizes =
        |n: u64| n <= 40 || (n <= 300 && n.is_multiple_of(13)) || n == LAST || [n - 1, n, n + 1].iter().any(|m| m.is_power_of_two());
    let mut theirs = MemoryBackedTree::<Sha256, [u8; 8]>::new();
    let mut tiles = Memory::default();
    let mut roots: Vec<Hash> = vec![hash::sha256(&[])];
    let mut edge = Frontier::new();
    let digests = |proof: &[Hash]| proof.iter().map(|h| (*h).into()).collect::<Vec<_>>();
    let mut proofs = (0, 0);
    for n in 1..=LAST {
        let data = (n - 1).to_be_bytes();
        theirs.push(data);
        tiles.push(leaf::hash(&data));
        edge.push(leaf::hash(&data));
        let root = edge.root();
        roots.push(root);
        if !sizes(n) {
            continue;
        }
        let foreign = theirs.root();
        assert_eq!((<Hash>::from(*foreign.as_bytes()), foreign.num_leaves()), (root, n));
        for i in samples(n) {
            let made = inclusion(&tiles, i, n).unwrap();
            let data = i.to_be_bytes();
            let own = InclusionProof::<Sha256>::from_digests(&digests(&made));
            assert!(foreign.verify_inclusion(&data, i, &own).is_ok(), "{i} of {n}");
            let theirs = theirs.prove_inclusion(i as usize);
            assert_eq!(theirs.as_bytes(), made.concat(), "{i} of {n}");
            assert!(!includes(&root, n, i, &[9; 32], &made) && !includes(&[9; 32], n, i, &leaf::hash(&data), &made), "{i} of {n}");
            assert!(includes(&root, n, i, &leaf::hash(&data), theirs.as_bytes().as_chunks::<32>().0), "{i} of {n}");
            proofs.0 += 1;
        }
        for m in samples(n + 1).into_iter().filter(|m| *m > 0) {
            let made = consistency(&tiles, m, n).unwrap();
            let old = RootHash::<Sha256>::new(roots[m as usize].into(), m);
            let own = ConsistencyProof::<Sha256>::from_digests(&digests(&made));
            assert!(foreign.verify_consistency(&old, &own).is_ok(), "{m} to {n}");
            let theirs = theirs.prove_consistency((n - m) as usize);
            assert_eq!(theirs.as_bytes(), made.concat(), "{m} to {n}");
            assert!(extends(m, &roots[m as usize], n, &root, theirs.as_bytes().as_chunks::<32>().0), "{m} to {n}");
            let wrong = RootHash::<Sha256>::new([9; 32].into(), m);
            assert!(foreign.verify_consistency(&wrong, &own).is_err());
            assert!(!extends(m, &[9; 32], n, &root, &made) && !extends(m, &roots[m as usize], n, &[9; 32], &made), "{m} to {n}");
            proofs.1 += 1;
        }
    }
    assert_eq!(proofs, (1_528, 1_474));
}
