//! Each rule of the ledger, broken once by somebody who holds the keys: the
//! leaf is well formed and signed, and only the rule can tell.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use mirrordna_core::identity::{Change, Created, IdentityType, committed, create, extend};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::timeline::leaf_data;
use mirrordna_core::verify::body::{Adopted, PublicBody, epoch_certificate};
use mirrordna_core::verify::hash::{NONE, public_body, sha256};
use mirrordna_core::verify::ledger::{MAX_DISPUTED, MAX_PROBLEMS, Stored};
use mirrordna_core::verify::note::{Checkpoint, assemble, origin};
use mirrordna_core::verify::{Disputed, Ledger, Report, Trust, Verdict, leaf};
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
    let erase = PublicBody::Erase { reason: 1, count: 0, positions: Vec::new(), records: &[], once: &[], subjects: &[] }.encode();
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
    for wrong in [Adopted { log: LOG, ..sound }, Adopted { cause: 0, ..sound }, Adopted { cause: 4, ..sound }] {
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
fn logs_of_others_are_brought_in_once_each_by_the_logs_own_actor() {
    let one = Adopted { log: [8; 16], size: 5, root: [7; 32], cause: Adopted::IMPORTED };
    let another = Adopted { log: [5; 16], ..one };
    // Anywhere after the genesis, beside one that it goes on from.
    let mut walk = Walk::founded();
    walk.adopt(Adopted { log: [6; 16], cause: Adopted::FORKED, ..one });
    walk.enter();
    walk.adopt(one);
    walk.adopt(another);
    let report = walk.finish();
    assert_eq!(
        (codes(&report), &report.imported[..], report.adopted.map(|a| a.log)),
        (vec![], &[(3, one), (4, another)][..], Some([6; 16]))
    );
    for again in [one, Adopted { size: 9, ..one }, Adopted { log: LOG, ..one }] {
        let mut walk = Walk::begun();
        walk.adopt(one);
        walk.adopt(again);
        let report = walk.finish();
        let imported: Vec<Adopted> = report.imported.iter().map(|(_, adopted)| *adopted).collect();
        assert_eq!((codes(&report), imported), (vec!["log.adopted"], vec![one]));
    }
    let by_another = PublicBody::Adopt(one).encode();
    assert_eq!(after(|w| w.public(Kind::LOG_ADOPT, &by_another, |_| ())), ["log.adopted"]);
    let mut walk = Walk::begun();
    for n in 0..=Adopted::MAX_IMPORTED as u128 {
        walk.adopt(Adopted { log: (n + 100).to_be_bytes(), ..one });
    }
    let report = walk.finish();
    assert_eq!((codes(&report), report.imported.len()), (vec!["log.adopted"], Adopted::MAX_IMPORTED));
}

#[test]
fn public_bodies_are_to_be_read() {
    let unread = |w: &mut Walk, kind, body: &[u8]| {
        let header = next(w, true, kind, Some(body));
        let data = leaf_data(&header, Some(&SecretKey::from_seed(&[101; 32])));
        w.ledger.leaf(&data, Stored::Unread(body.len() as u64));
    };
    let erase = PublicBody::Erase { reason: 1, count: 0, positions: Vec::new(), records: &[], once: &[], subjects: &[] }.encode();
    assert_eq!(after(|w| unread(w, Kind::ERASE, &erase)), ["body.missing"]);
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

/// The next actor keys of the agent: seeds 150, 151, ...
fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// The agent's DID log with one more version, by a key that the last commits to;
/// it names actor key `actor` and commits to `next`.
fn version(log: &[u8], by: &SecretKey, actor: u8, next: &[&SecretKey]) -> Vec<u8> {
    let next = next.iter().map(|k| committed(k.public()).0).collect();
    extend(log, &Change::Keys { actor: key(actor).public(), next }, by, 1_770_000_000_000).unwrap()
}

/// The agent's first version and its second, by the update key.
fn rotated(walk: &Walk) -> Vec<u8> {
    version(&walk.agent.did_log, &walk.agent.next_update, 150, &[&key(151), &walk.agent.recovery])
}

impl Walk {
    /// A leaf of the agent that brings a DID log, signed by a key of seed `by`.
    fn bring(&mut self, body: &PublicBody<'_>, by: u8, edit: impl FnOnce(&mut Header)) {
        let bytes = body.encode();
        let mut header = next(self, true, body.kind(), Some(&bytes));
        edit(&mut header);
        self.put(&header, Some(&key(by)), Some(&bytes));
    }

    /// A public body of the agent, signed by its actor key in force.
    fn by_actor(&mut self, body: &PublicBody<'_>, seed: u8, signer: u64) {
        self.bring(body, seed, |h| h.signer = signer);
    }

    /// An epoch of the agent, with epoch key of seed 101, by an actor key.
    fn epoch(&mut self, version: u64, by: &SecretKey) {
        let body = epoch_open(self, version, by);
        let header = next(self, true, Kind::EPOCH_OPEN, Some(&body));
        self.put(&header, Some(&key(101)), Some(&body));
    }

    /// A seal of the agent by the epoch that began at `signer`.
    fn seal_by(&mut self, signer: u64) {
        self.seal(|h| h.signer = signer);
    }
}

/// Epoch; first and last aseq, first and last leaf, how many, and by which leaf.
fn disputed(report: &Report) -> Vec<(Option<u64>, [u64; 6])> {
    let of = |d: &Disputed| (d.epoch, [d.first, d.last, d.first_leaf, d.last_leaf, d.count, d.by]);
    report.disputed.iter().map(of).collect()
}

#[test]
fn a_rotation_ends_every_signer_before_it() {
    // Leaves 0 to 2: genesis, entry, epoch; the agent's chain is one behind.
    let entry = |w: &mut Walk| {
        let log = rotated(w);
        w.bring(&PublicBody::Entry { did_log: &log }, 150, |_| ());
    };
    assert_eq!(after(entry), [""; 0]);
    let went_on = |w: &mut Walk| {
        entry(w);
        w.seal(|_| ());
    };
    assert_eq!(after(went_on), ["signer.ended"]);
    // The old actor key speaks no more, directly or by a certificate.
    let old = |w: &mut Walk, version| {
        entry(w);
        let own = SecretKey::from_seed(&w.agent.actor.seed());
        w.epoch(version, &own);
    };
    assert_eq!(after(|w| old(w, 1)), ["epoch.uncertified"]);
    assert_eq!(after(|w| old(w, 2)), ["epoch.uncertified"]);
    let fresh = |w: &mut Walk| {
        entry(w);
        w.epoch(2, &key(150));
        w.seal_by(3);
    };
    assert_eq!(after(fresh), [""; 0]);
    // By the first actor key of the version, and nobody else.
    let by_another = |w: &mut Walk| {
        let log = rotated(w);
        w.bring(&PublicBody::Entry { did_log: &log }, 151, |_| ());
    };
    assert_eq!(after(by_another), ["signature.invalid"]);
    // One that derives from the same version comes too late, whatever key made it.
    let again = |w: &mut Walk| {
        entry(w);
        let log = version(&w.agent.did_log, &w.agent.recovery, 152, &[&key(153)]);
        w.bring(&PublicBody::Recover { did_log: &log, trusted: 0 }, 152, |_| ());
    };
    assert_eq!(after(again)[0], "identity.forked");
}

/// An event of the agent that waits for a later signature of the epoch `signer`.
fn unsigned(w: &mut Walk, signer: u64) {
    let header = Header { signer, ..next(w, true, Kind::EVENT, None) };
    w.put(&header, None, None);
}

/// The agent's second version, by a rotation.
fn rotate(w: &mut Walk) {
    let log = rotated(w);
    w.bring(&PublicBody::Entry { did_log: &log }, 150, |_| ());
}

fn close(w: &mut Walk, edit: impl FnOnce(&mut Header)) {
    w.public(Kind::EPOCH_CLOSE, &PublicBody::EpochClose.encode(), edit);
}

#[test]
fn an_epoch_that_was_rotated_away_may_still_seal_what_it_wrote() {
    let left = |steps: &dyn Fn(&mut Walk)| {
        let mut walk = Walk::begun();
        steps(&mut walk);
        let report = walk.finish();
        (codes(&report), report.unsigned)
    };
    // The agent's 2 is under its epoch 1, and unsigned; 3 is the rotation.
    let late = |w: &mut Walk| {
        unsigned(w, 1);
        rotate(w);
    };
    let fine = (vec![], 0);
    assert_eq!(left(&late), (vec![], 1));
    for kind in [Kind::SEAL, Kind::EPOCH_CLOSE] {
        let last = |w: &mut Walk| {
            late(w);
            if kind == Kind::SEAL { w.seal(|_| ()) } else { close(w, |_| ()) }
        };
        assert_eq!(left(&last), fine, "{kind:?}");
        // That was its last word.
        for again in [Kind::SEAL, Kind::EPOCH_CLOSE] {
            let found = left(&|w| {
                last(w);
                if again == Kind::SEAL { w.seal(|_| ()) } else { close(w, |_| ()) }
            });
            assert_eq!(found.0, ["signer.ended"], "{kind:?} {again:?}");
        }
    }
    // Also when the new epoch has spoken, and after another rotation.
    let twice = |w: &mut Walk| {
        late(w);
        w.epoch(2, &key(150));
        w.seal_by(4);
        let log = version(&rotated(w), &key(151), 160, &[&key(161)]);
        w.bring(&PublicBody::Entry { did_log: &log }, 160, |_| ());
        w.seal(|_| ());
    };
    assert_eq!(left(&twice), fine);
    // Nothing else, and nothing in it; not by another key; not when its time is over.
    type Act = fn(&mut Walk);
    let (event, refs, session): (Act, Act, Act) =
        (|w| unsigned(w, 1), |w| w.seal(|h| h.refs = vec![[7; 32]]), |w| w.seal(|h| h.session = [7; 16]));
    for (step, code) in [
        (event, "signer.ended"),
        (refs, "signer.ended"),
        (session, "signer.ended"),
        (|w| close(w, |h| h.refs = vec![[7; 32]]), "signer.ended"),
        (|w| w.seal(|h| h.time = 10_001), "signer.ended"),
        (|w| w.seal(|h| h.kind = Kind::EVENT), "signer.ended"),
        (
            |w| {
                let header = next(w, true, Kind::SEAL, None);
                w.put(&header, Some(&key(102)), None);
            },
            "signature.invalid",
        ),
        (
            |w| {
                let header = next(w, true, Kind::SEAL, None);
                w.put(&header, None, None);
            },
            "signature.missing",
        ),
    ] {
        let found = left(&|w| {
            late(w);
            step(w);
        });
        assert_eq!(found.0, [code]);
        assert!(found.1 > 0, "what was refused seals nothing");
    }
    // An epoch that had signed all it wrote has nothing to say; nor has one that had ended.
    let sealed = |w: &mut Walk| {
        unsigned(w, 1);
        w.seal(|_| ());
        rotate(w);
        w.seal(|_| ());
    };
    assert_eq!(left(&sealed).0, ["signer.ended"]);
    let ended = |w: &mut Walk| {
        unsigned(w, 1);
        let own = SecretKey::from_seed(&w.agent.actor.seed());
        let key = w.epoch.public().to_bytes();
        let certificate = own.sign_bytes(&epoch_certificate(&LOG, &w.agent.digest, &key, 1, 10_000));
        let body = PublicBody::EpochOpen { key, version: 1, not_after: 10_000, certificate, ends: vec![1] }.encode();
        w.public(Kind::EPOCH_OPEN, &body, |_| ());
        rotate(w);
        w.seal(|_| ());
    };
    assert_eq!(left(&ended).0, ["signer.ended"]);
    // After a recovery, a revocation or the end of the identity it is silent.
    let recover = |w: &mut Walk| {
        unsigned(w, 1);
        let log = version(&w.agent.did_log, &w.agent.recovery, 152, &[&key(153), &key(154)]);
        w.bring(&PublicBody::Recover { did_log: &log, trusted: 0 }, 152, |_| ());
        w.seal(|_| ());
    };
    assert_eq!(left(&recover).0, ["signer.ended"]);
    let recover_later = |w: &mut Walk| {
        late(w);
        let log = version(&rotated(w), &w.agent.recovery, 152, &[&key(153), &key(154)]);
        w.bring(&PublicBody::Recover { did_log: &log, trusted: 0 }, 152, |_| ());
        w.seal(|_| ());
    };
    assert_eq!(left(&recover_later).0, ["signer.ended"]);
    let revoke = |w: &mut Walk| {
        late(w);
        w.by_actor(&PublicBody::EpochRevoke { epoch: 1, trusted: 0 }, 150, 3);
        w.seal(|_| ());
    };
    assert_eq!(left(&revoke).0, ["signer.ended"]);
    let deactivate = |w: &mut Walk| {
        unsigned(w, 1);
        let log = extend(&w.agent.did_log, &Change::Deactivate, &w.agent.next_update, 0).unwrap();
        w.bring(&PublicBody::Entry { did_log: &log }, 51, |_| ());
        w.seal(|_| ());
    };
    assert_eq!(left(&deactivate).0, ["identity.revoked"]);
}

#[test]
fn a_recovery_disputes_exactly_what_its_actor_does_not_stand_by() {
    let recovered = |trusted, steps: &dyn Fn(&mut Walk)| {
        let mut walk = Walk::begun();
        // Leaves 3 to 6: the agent's 2, the system's, the agent's 3 and 4.
        walk.seal(|_| ());
        let header = Header { signer: 0, ..next(&walk, false, Kind::SEAL, None) };
        let seed = *walk.system.actor.seed();
        walk.put(&header, Some(&SecretKey::from_seed(&seed)), None);
        walk.seal(|_| ());
        walk.seal(|_| ());
        let log = version(&walk.agent.did_log, &walk.agent.recovery, 152, &[&key(153), &key(154)]);
        walk.bring(&PublicBody::Recover { did_log: &log, trusted }, 152, |_| ());
        steps(&mut walk);
        walk.finish()
    };
    let nothing = |_: &mut Walk| ();
    let report = recovered(2, &nothing);
    assert_eq!((codes(&report), disputed(&report)), (vec![], vec![(None, [3, 4, 5, 6, 2, 7])]));
    assert_eq!((report.disputed[0].actor, report.disputed[0].label.as_str()), (made(IdentityType::Agent, 50).digest, "agt"));
    let report = recovered(0, &nothing);
    assert_eq!((codes(&report), disputed(&report)), (vec![], vec![(None, [1, 4, 2, 6, 4, 7])]));
    let report = recovered(4, &nothing);
    assert_eq!((codes(&report), disputed(&report)), (vec![], vec![]), "nothing is disputed");
    for trusted in [5, 6, u64::MAX] {
        let report = recovered(trusted, &nothing);
        assert_eq!((codes(&report), disputed(&report)), (vec!["dispute.invalid"], vec![]), "{trusted}");
    }
    // Whoever has the keys of before says nothing more.
    assert_eq!(codes(&recovered(2, &|w| w.seal(|_| ()))), ["signer.ended"]);
    let on = recovered(2, &|w| {
        w.epoch(2, &key(152));
        w.seal_by(6);
    });
    assert_eq!((codes(&on), disputed(&on).len()), (vec![], 1));
    // Nobody is recovered who was not there.
    let mut walk = Walk::founded();
    let log = rotated(&walk);
    walk.bring(&PublicBody::Recover { did_log: &log, trusted: 0 }, 150, |_| ());
    assert_eq!(codes(&walk.finish()), ["chain.unknown_actor"]);
}

#[test]
fn a_revoked_epoch_ends_and_only_its_own_events_are_disputed() {
    let mut walk = Walk::begun();
    let own = SecretKey::from_seed(&walk.agent.actor.seed());
    walk.epoch(1, &own);
    for signer in [1, 2, 1, 2, 1] {
        walk.seal_by(signer);
    }
    // aseq 3 to 7 at leaves 4 to 8.
    let revoke = |epoch, trusted| PublicBody::EpochRevoke { epoch, trusted };
    let actor = 51;
    assert_eq!(key(actor).public(), own.public());
    walk.by_actor(&revoke(1, 3), actor, 0);
    walk.seal_by(2);
    let codes_of = |mut walk: Walk, step: &dyn Fn(&mut Walk)| {
        step(&mut walk);
        let report = walk.finish();
        (codes(&report), disputed(&report))
    };
    let found = codes_of(walk, &|_| ());
    assert_eq!(found, (vec![], vec![(Some(1), [5, 7, 6, 8, 2, 9])]));
    // Leaves 0 to 2 and a step.
    for (step, code) in [
        (
            &(|w: &mut Walk| {
                w.by_actor(&revoke(1, 1), 51, 0);
                w.seal_by(1);
            }) as &dyn Fn(&mut Walk),
            "signer.ended",
        ),
        (&|w: &mut Walk| w.by_actor(&revoke(0, 1), 51, 0), "epoch.unknown"),
        (&|w: &mut Walk| w.by_actor(&revoke(9, 1), 51, 0), "epoch.unknown"),
        (&|w: &mut Walk| w.by_actor(&revoke(1, 2), 51, 0), "dispute.invalid"),
        // An epoch ends no other one, not itself even.
        (&|w: &mut Walk| w.by_actor(&revoke(1, 1), 101, 1), "signer.unknown"),
        (&|w: &mut Walk| w.by_actor(&revoke(1, 1), 77, 0), "signature.invalid"),
        (
            &|w: &mut Walk| {
                let body = revoke(1, 1).encode();
                let header = Header { signer: 0, ..next(w, true, Kind::EPOCH_REVOKE, Some(&body)) };
                w.put(&header, None, Some(&body));
            },
            "signature.missing",
        ),
    ] {
        assert_eq!(codes_of(Walk::begun(), step), (vec![code], vec![]));
    }
}

#[test]
fn a_revoked_identity_is_heard_no_more() {
    let ended = |step: &dyn Fn(&mut Walk)| {
        after(|w| {
            let log = extend(&w.agent.did_log, &Change::Deactivate, &w.agent.next_update, 0).unwrap();
            w.bring(&PublicBody::Entry { did_log: &log }, 51, |_| ());
            step(w);
        })
    };
    assert_eq!(ended(&|_| ()), [""; 0]);
    assert_eq!(ended(&|w| w.seal(|_| ())), ["identity.revoked"]);
    assert_eq!(ended(&|w| w.by_actor(&PublicBody::EpochRevoke { epoch: 1, trusted: 0 }, 51, 2)), ["identity.revoked"]);
    let own = |w: &Walk| SecretKey::from_seed(&w.agent.actor.seed());
    assert_eq!(ended(&|w| w.epoch(2, &own(w))), ["identity.revoked"]);
    // Not by another version either, which would not verify anyway.
    let log = |w: &Walk| version(&w.agent.did_log, &w.agent.recovery, 150, &[&key(151)]);
    assert_eq!(ended(&|w| w.bring(&PublicBody::Entry { did_log: &log(w) }, 150, |_| ()))[0], "identity.revoked");
    assert_eq!(ended(&|w| w.bring(&PublicBody::Recover { did_log: &log(w), trusted: 0 }, 150, |_| ()))[0], "identity.revoked");
    // And it begins nothing.
    let mut walk = Walk::founded();
    let log = extend(&walk.agent.did_log, &Change::Deactivate, &walk.agent.next_update, 0).unwrap();
    walk.bring(&PublicBody::Entry { did_log: &log }, 51, |_| ());
    assert_eq!(codes(&walk.finish())[0], "identity.revoked");
}

#[test]
fn ranges_beyond_the_limit_are_counted() {
    let mut walk = Walk::begun();
    walk.seal(|_| ());
    for _ in 0..MAX_DISPUTED + 10 {
        walk.by_actor(&PublicBody::EpochRevoke { epoch: 1, trusted: 1 }, 51, 0);
    }
    let report = walk.finish();
    assert_eq!((codes(&report), report.disputed.len(), report.unlisted_disputes), (vec![], MAX_DISPUTED, 10));
}

#[test]
fn bodies_are_those_that_headers_commit_to() {
    let erase = PublicBody::Erase { reason: 1, count: 0, positions: Vec::new(), records: &[], once: &[], subjects: &[] }.encode();
    let other = PublicBody::Erase { reason: 2, count: 0, positions: Vec::new(), records: &[], once: &[], subjects: &[] }.encode();
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
