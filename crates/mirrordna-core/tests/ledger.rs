//! Each rule of the ledger, broken once by somebody who holds the keys: the
//! leaf is well formed and signed, and only the rule can tell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::identity::{Created, IdentityType, create};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::leaf_data;
use mirrordna_core::verify::body::{Adopted, PublicBody, epoch_certificate};
use mirrordna_core::verify::hash::{NONE, public_body, sha256};
use mirrordna_core::verify::ledger::{MAX_PROBLEMS, Stored};
use mirrordna_core::verify::note::{Checkpoint, assemble, origin};
use mirrordna_core::verify::{Ledger, Report, Trust, Verdict, leaf};
use mirrordna_core::{Entropy, Hash, Header, Kind, Result};
use std::sync::atomic::{AtomicU8, Ordering};

const LOG: [u8; 16] = [9; 16];

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

/// A walk with its writer: leaves are made right and then edited.
struct Walk {
    ledger: Ledger,
    key: SecretKey,
    system: Created,
    agent: Created,
    epoch: SecretKey,
    /// Leaf data and stored body of each leaf.
    leaves: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    heads: [(u64, Hash); 2],
}

/// The header that an actor's next event would have.
fn next(walk: &Walk, agent: bool, kind: Kind, body: Option<&[u8]>) -> Header {
    let (aseq, prev) = walk.heads[usize::from(agent)];
    let actor = if agent { walk.agent.digest } else { walk.system.digest };
    Header {
        log: LOG,
        actor,
        aseq,
        prev,
        signer: if kind.brings_key() { aseq } else { u64::from(agent) },
        time: 1_000 + walk.leaves.len() as u64,
        kind,
        session: [0; 16],
        body: body.map_or(NONE, public_body),
        length: body.map_or(0, |b| b.len() as u64),
        refs: Vec::new(),
    }
}

fn epoch_open(walk: &Walk, version: u64, by: &SecretKey) -> Vec<u8> {
    let (key, not_after) = (walk.epoch.public().to_bytes(), 10_000);
    let certificate = by.sign_bytes(&epoch_certificate(&LOG, &walk.agent.digest, &key, version, not_after));
    PublicBody::EpochOpen { key, version, not_after, certificate, ends: Vec::new() }.encode()
}

fn line_hash(created: &Created) -> Hash {
    sha256(&[created.did_log.strip_suffix(b"\n").unwrap()])
}

impl Walk {
    fn start() -> Self {
        let (system, agent) = (made(IdentityType::System, 1), made(IdentityType::Agent, 50));
        let heads = [(0, line_hash(&system)), (0, line_hash(&agent))];
        let (key, epoch) = (SecretKey::from_seed(&[100; 32]), SecretKey::from_seed(&[101; 32]));
        let ledger = Ledger::new(Trust::none().and(key.public().fingerprint()));
        Self { ledger, key, system, agent, epoch, leaves: Vec::new(), heads }
    }

    /// The genesis alone.
    fn founded() -> Self {
        let mut walk = Self::start();
        let genesis = walk.genesis(walk.key.public().to_bytes());
        let header = next(&walk, false, Kind::LOG_GENESIS, Some(&genesis));
        let seed = *walk.system.actor.seed();
        walk.put(&header, Some(&SecretKey::from_seed(&seed)), Some(&genesis));
        walk
    }

    /// Genesis, the agent's entry and its epoch: leaves 0 to 2.
    fn begun() -> Self {
        let mut walk = Self::founded();
        walk.enter();
        let body = epoch_open(&walk, 1, &walk.agent.actor);
        let header = next(&walk, true, Kind::EPOCH_OPEN, Some(&body));
        walk.put(&header, Some(&SecretKey::from_seed(&[101; 32])), Some(&body));
        walk
    }

    fn genesis(&self, log_key: [u8; 32]) -> Vec<u8> {
        PublicBody::Genesis { did_log: &self.system.did_log, log_key, database: [2; 16], tenant: [3; 32] }.encode()
    }

    /// The agent's identity entry.
    fn enter(&mut self) {
        let body = PublicBody::Entry { did_log: &self.agent.did_log }.encode();
        let header = next(self, true, Kind::IDENTITY_ENTRY, Some(&body));
        let seed = *self.agent.actor.seed();
        self.put(&header, Some(&SecretKey::from_seed(&seed)), Some(&body));
    }

    fn put(&mut self, header: &Header, by: Option<&SecretKey>, stored: Option<&[u8]>) {
        let data = leaf_data(header, by);
        self.ledger.leaf(&data, stored.map_or(Stored::Nothing, Stored::Bytes));
        let agent = header.actor == self.agent.digest;
        self.heads[usize::from(agent)] = (header.aseq + 1, leaf::hash(&data));
        self.leaves.push((data, stored.map(<[u8]>::to_vec)));
    }

    /// The log's own actor says what the log goes on from.
    fn adopt(&mut self, adopted: Adopted) {
        let body = PublicBody::Adopt(adopted).encode();
        let header = next(self, false, Kind::LOG_ADOPT, Some(&body));
        let seed = *self.system.actor.seed();
        self.put(&header, Some(&SecretKey::from_seed(&seed)), Some(&body));
    }

    /// A seal of the agent, edited and then signed by its epoch.
    fn seal(&mut self, edit: impl FnOnce(&mut Header)) {
        let mut header = next(self, true, Kind::SEAL, None);
        edit(&mut header);
        self.put(&header, Some(&SecretKey::from_seed(&[101; 32])), None);
    }

    /// A public body of the agent, signed by its epoch.
    fn public(&mut self, kind: Kind, body: &[u8], edit: impl FnOnce(&mut Header)) {
        let mut header = next(self, true, kind, Some(body));
        edit(&mut header);
        self.put(&header, Some(&SecretKey::from_seed(&[101; 32])), Some(body));
    }

    fn note(&self, origin: &str, size: u64, root: Hash, key: &SecretKey) -> String {
        let text = Checkpoint { origin, size, root }.text();
        assemble(&text, origin, key.public(), &key.sign_bytes(text.as_bytes()))
    }

    fn finish(self) -> Report {
        self.ledger.finish()
    }
}

/// Codes of what a walk finds.
fn codes(report: &Report) -> Vec<&'static str> {
    report.problems.iter().map(|p| p.code).collect()
}

/// Codes of what is found after a good beginning and one more step.
fn after(step: impl FnOnce(&mut Walk)) -> Vec<&'static str> {
    let mut walk = Walk::begun();
    step(&mut walk);
    let report = walk.finish();
    assert_eq!(report.verdict == Verdict::Altered, !report.problems.is_empty());
    codes(&report)
}

#[test]
fn a_good_log_has_no_findings() {
    assert_eq!(after(|w| w.seal(|_| ())), [""; 0]);
    let erase = PublicBody::Erase { reason: 1, count: 0, positions: Vec::new(), records: &[], once: &[] }.encode();
    assert_eq!(after(|w| w.public(Kind::ERASE, &erase, |_| ())), [""; 0]);
    assert_eq!(after(|w| w.public(Kind::EPOCH_CLOSE, &PublicBody::EpochClose.encode(), |_| ())), [""; 0]);
}

#[test]
fn only_the_second_leaf_names_a_log_before() {
    let sound = Adopted { log: [8; 16], size: 5, root: [7; 32], cause: Adopted::FORKED };
    let of = |mut walk: Walk, adopted: Adopted| {
        walk.adopt(adopted);
        let report = walk.finish();
        (codes(&report), report.adopted)
    };
    assert_eq!(of(Walk::founded(), sound), (vec![], Some(sound)));
    for wrong in [Adopted { log: LOG, ..sound }, Adopted { cause: 0, ..sound }, Adopted { cause: 3, ..sound }] {
        assert_eq!(of(Walk::founded(), wrong), (vec!["log.adopted"], None));
    }
    assert_eq!(of(Walk::begun(), sound), (vec!["log.adopted"], None));
    let by_another = PublicBody::Adopt(sound).encode();
    assert_eq!(after(|w| w.public(Kind::LOG_ADOPT, &by_another, |_| ())), ["log.adopted"]);
    let mut twice = Walk::founded();
    twice.adopt(sound);
    assert_eq!(of(twice, Adopted { size: 6, ..sound }), (vec!["log.adopted"], Some(sound)));
}

#[test]
fn public_bodies_are_to_be_read() {
    let unread = |w: &mut Walk, kind, body: &[u8]| {
        let header = next(w, true, kind, Some(body));
        let data = leaf_data(&header, Some(&SecretKey::from_seed(&[101; 32])));
        w.ledger.leaf(&data, Stored::Unread(body.len() as u64));
    };
    let erase = PublicBody::Erase { reason: 1, count: 0, positions: Vec::new(), records: &[], once: &[] }.encode();
    assert_eq!(after(|w| unread(w, Kind::ERASE, &erase)), ["body.altered"]);
}

#[test]
fn places_in_the_log_and_in_the_chain() {
    assert_eq!(after(|w| w.seal(|h| h.log = [8; 16])), ["leaf.wrong_log"]);
    assert_eq!(after(|w| w.seal(|h| h.time = 1)), ["leaf.time_decreases"]);
    assert_eq!(after(|w| w.seal(|h| h.aseq += 1)), ["chain.broken"]);
    assert_eq!(after(|w| w.seal(|h| h.prev = [1; 32])), ["chain.broken"]);
    assert_eq!(after(|w| w.seal(|h| h.actor = [1; 32])), ["chain.unknown_actor"]);
    assert_eq!(after(|w| _ = w.ledger.leaf(b"\x8c no header", Stored::Nothing)), ["leaf.malformed"]);
    let genesis = |w: &mut Walk| {
        let body = w.genesis([1; 32]);
        w.public(Kind::LOG_GENESIS, &body, |_| ());
    };
    assert_eq!(after(genesis)[0], "log.genesis");
}

#[test]
fn signers_speak_only_while_and_where_they_may() {
    assert_eq!(after(|w| w.seal(|h| h.signer = 2)), ["signer.unknown"]);
    assert_eq!(after(|w| w.seal(|h| h.time = 10_001)), ["signer.ended"]);
    let closed = |w: &mut Walk| {
        w.public(Kind::EPOCH_CLOSE, &PublicBody::EpochClose.encode(), |_| ());
        w.seal(|_| ());
    };
    assert_eq!(after(closed), ["signer.ended"]);
    let unsigned = |w: &mut Walk| {
        let header = next(w, true, Kind::SEAL, None);
        w.put(&header, None, None);
    };
    assert_eq!(after(unsigned), ["signature.missing"]);
    let by_another = |w: &mut Walk| {
        let header = next(w, true, Kind::SEAL, None);
        w.put(&header, Some(&SecretKey::from_seed(&[77; 32])), None);
    };
    assert_eq!(after(by_another), ["signature.invalid"]);
    // The identity's own key signs each event that names it.
    let bare = |w: &mut Walk| {
        let mut header = next(w, true, Kind::EVENT, None);
        header.signer = 0;
        w.put(&header, None, None);
    };
    assert_eq!(after(bare), ["signature.missing"]);
}

#[test]
fn epochs_need_a_certificate_by_the_key_in_force() {
    let by = |seed: Option<[u8; 32]>, version| {
        after(|w| {
            let own = *w.agent.actor.seed();
            let body = epoch_open(w, version, &SecretKey::from_seed(&seed.unwrap_or(own)));
            w.public(Kind::EPOCH_OPEN, &body, |_| ());
        })
    };
    assert_eq!(by(None, 1), [""; 0]);
    assert_eq!(by(Some([77; 32]), 1), ["epoch.uncertified"]);
    assert_eq!(by(None, 2), ["epoch.uncertified"]);
    // It speaks for itself: another signer cannot bring it.
    let by_the_first = |w: &mut Walk| {
        let body = epoch_open(w, 1, &w.agent.actor);
        w.public(Kind::EPOCH_OPEN, &body, |h| h.signer = 1);
    };
    assert_eq!(after(by_the_first), ["signer.unknown"]);
    // An epoch that another lists as gone says nothing any more.
    let listed = |w: &mut Walk| {
        let key = w.epoch.public().to_bytes();
        let certificate = w.agent.actor.sign_bytes(&epoch_certificate(&LOG, &w.agent.digest, &key, 1, 10_000));
        let body = PublicBody::EpochOpen { key, version: 1, not_after: 10_000, certificate, ends: vec![1, 40] }.encode();
        w.public(Kind::EPOCH_OPEN, &body, |_| ());
        w.seal(|_| ());
    };
    assert_eq!(after(listed), ["signer.ended"]);
}

#[test]
fn identities_enter_once_and_as_themselves() {
    assert_eq!(after(Walk::enter)[0], "identity.forked");
    let entry = |did_log: &[u8], agent: bool| {
        after(|w| {
            let body = PublicBody::Entry { did_log }.encode();
            let header = next(w, agent, Kind::IDENTITY_ENTRY, Some(&body));
            w.put(&header, Some(&SecretKey::from_seed(&[101; 32])), Some(&body));
        })
    };
    assert_eq!(entry(b"{}\n", true), ["identity.invalid"]);
    assert_eq!(entry(&made(IdentityType::Agent, 120).did_log, true), ["identity.invalid"], "another identity than the actor");
    assert_eq!(entry(&made(IdentityType::System, 1).did_log, false), ["identity.invalid"], "a system identity enters by a genesis only");
}

#[test]
fn bodies_are_those_that_headers_commit_to() {
    let erase = PublicBody::Erase { reason: 1, count: 0, positions: Vec::new(), records: &[], once: &[] }.encode();
    let other = PublicBody::Erase { reason: 2, count: 0, positions: Vec::new(), records: &[], once: &[] }.encode();
    let stored = |kind, body: Option<&[u8]>, stored: Option<&[u8]>, edit: fn(&mut Header)| {
        after(|w| {
            let mut header = next(w, true, kind, body);
            edit(&mut header);
            w.put(&header, Some(&SecretKey::from_seed(&[101; 32])), stored);
        })
    };
    assert_eq!(stored(Kind::ERASE, Some(&erase), Some(&other), |_| ()), ["body.altered"]);
    assert_eq!(stored(Kind::ERASE, Some(&erase), Some(&erase), |h| h.length += 1), ["body.altered"]);
    assert_eq!(stored(Kind::ERASE, Some(&erase), None, |_| ()), ["body.missing"]);
    assert_eq!(stored(Kind::ERASE, None, None, |_| ()), ["body.altered"], "this kind has a body");
    assert_eq!(stored(Kind::SEAL, None, None, |h| h.length = 1), ["body.altered"]);
    assert_eq!(stored(Kind::SEAL, None, Some(b"x"), |_| ()), ["body.altered"]);
    assert_eq!(stored(Kind::SEAL, Some(&erase), Some(&erase), |_| ()), ["body.altered"], "a seal has none");
    assert_eq!(stored(Kind::ERASE, Some(b"\xa0"), Some(b"\xa0"), |_| ()), ["body.malformed"]);
    assert_eq!(stored(Kind::EVENT, Some(b"row"), None, |_| ()), ["body.missing"], "nothing says that it was erased");
    assert_eq!(stored(Kind::ERASE, Some(&erase), Some(&erase), |h| h.refs = vec![[1; 32]]), ["erase.count"]);
}

#[test]
fn a_body_that_was_not_read_is_neither_present_nor_missing() {
    let unread = |kind, body: Option<&[u8]>, length| {
        let mut walk = Walk::begun();
        let data = leaf_data(&next(&walk, true, kind, body), Some(&SecretKey::from_seed(&[101; 32])));
        walk.ledger.leaf(&data, Stored::Unread(length));
        walk.finish()
    };
    // Around a private body stand its commitment and tag.
    let report = unread(Kind::EVENT, Some(b"row"), 3 + 48);
    assert_eq!((codes(&report), report.bodies.unread), (vec![], 1));
    assert_eq!((report.bodies.present, report.bodies.missing, report.bodies.erased), (3, 0, 0));
    for (kind, body, length) in
        [(Kind::EVENT, Some(&b"row"[..]), 3), (Kind::EVENT, None, 51), (Kind::SEAL, None, 0), (Kind::SEAL, Some(b"row"), 3)]
    {
        let report = unread(kind, body, length);
        assert_eq!((codes(&report), report.bodies.unread), (vec!["body.altered"], 0), "{kind:?} {length}");
    }
    // A public body has to be read: whoever leaves a genesis unread learns no key.
    let walk = Walk::begun();
    let mut ledger = Ledger::new(Trust::none());
    for (data, body) in &walk.leaves {
        ledger.leaf(data, body.as_ref().map_or(Stored::Nothing, |b| Stored::Unread(b.len() as u64)));
    }
    let report = ledger.finish();
    assert_eq!((codes(&report).pop(), report.bodies.unread), (Some("log.genesis"), 0));
}

#[test]
fn checkpoints_bind_the_log() {
    let name = origin(&LOG);
    let offer = |make: &dyn Fn(&Walk) -> String| {
        after(|w| {
            let note = make(w);
            w.ledger.checkpoint(note.as_bytes());
        })
    };
    let root = |w: &Walk| w.ledger.frontier().root();
    assert_eq!(offer(&|w| w.note(&name, 3, root(w), &w.key)), [""; 0]);
    assert_eq!(offer(&|w| w.note(&name, 3, [1; 32], &w.key)), ["log.forked"]);
    assert_eq!(offer(&|w| w.note(&name, 4, root(w), &w.key)), ["log.truncated"]);
    assert_eq!(offer(&|w| w.note(&name, 2, root(w), &w.key)), ["checkpoint.invalid"], "its size was passed");
    assert_eq!(offer(&|w| w.note(&name, 3, root(w), &w.epoch)), ["checkpoint.invalid"], "another key");
    assert_eq!(offer(&|w| w.note(&origin(&[8; 16]), 3, root(w), &w.key)), ["checkpoint.invalid"], "another log");
    assert_eq!(offer(&|_| "no note".to_owned()), ["checkpoint.invalid"]);
    let mut early = Walk::start();
    early.ledger.checkpoint(b"a note before the genesis");
    assert_eq!(codes(&early.finish()), ["checkpoint.invalid", "log.genesis"]);
    // Trust makes the difference between intact and unproven, and nothing else does.
    let mut walk = Walk::begun();
    let note = walk.note(&name, 3, root(&walk), &walk.key);
    walk.ledger.checkpoint(note.as_bytes());
    let report = walk.finish();
    assert_eq!((report.verdict, report.checkpoint), (Verdict::Intact, Some(3)));
}

#[test]
fn a_log_key_must_be_a_key() {
    let mut walk = Walk::start();
    let genesis = walk.genesis([2; 32]);
    let header = next(&walk, false, Kind::LOG_GENESIS, Some(&genesis));
    let seed = *walk.system.actor.seed();
    walk.put(&header, Some(&SecretKey::from_seed(&seed)), Some(&genesis));
    assert_eq!(codes(&walk.finish()), ["log.genesis", "log.genesis"]);
}

#[test]
fn findings_beyond_the_limit_are_counted() {
    let mut walk = Walk::begun();
    (0..MAX_PROBLEMS + 10).for_each(|_| _ = walk.ledger.leaf(b"x", Stored::Nothing));
    let report = walk.finish();
    assert_eq!((report.problems.len(), report.unlisted), (MAX_PROBLEMS, 10));
    assert_eq!(report.problems[0].to_string(), format!("leaf.malformed at leaf 3: {}", report.problems[0].message));
}
