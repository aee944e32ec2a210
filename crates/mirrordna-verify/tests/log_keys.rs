//! `spec/vectors/log_keys.jsonl`: bundles of a log whose checkpoints got other
//! keys, good and altered in every way, and what a verifier says of each. The
//! log is that of `log.json`, on which its system actor goes on.
//!
//! `MIRRORDNA_BLESS=1` writes the file anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use ed25519_dalek::{Signer as _, SigningKey};
use mirrordna_verify::body::PublicBody;
use mirrordna_verify::bundle::{Builder, Freshness, Item, Judge, Judgement, Scope};
use mirrordna_verify::hash::{self, Hash};
use mirrordna_verify::ledger::Stored;
use mirrordna_verify::merkle::root_of;
use mirrordna_verify::note::{self, Checkpoint, base64};
use mirrordna_verify::{Header, Kind, Policy, PublicKey, leaf};
use serde_json::{Value, json};
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::new(&key.verifying_key().to_bytes()).unwrap()
}

fn fingerprint(key: &SigningKey) -> String {
    hex(&public(key).fingerprint())
}

/// RFC 9162 section 2.1.3.1.
fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    let (mut path, other) = if index < split { (inclusion(index, left), right) } else { (inclusion(index - split, right), left) };
    path.push(root_of(other));
    path
}

/// RFC 9162 section 2.1.4.1.
fn consistency(size: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if size == leaves.len() {
        return if whole { Vec::new() } else { vec![root_of(leaves)] };
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    let (mut path, other) =
        if size <= split { (consistency(size, left, whole), right) } else { (consistency(size - split, right, false), left) };
    path.push(root_of(other));
    path
}

/// A log and what speaks for it.
#[derive(Clone)]
struct Log {
    id: [u8; 16],
    /// Of the system actor, and its next event.
    actor: Hash,
    speaker: SigningKey,
    aseq: u64,
    last: Hash,
    time: u64,
    /// Leaf data and body.
    leaves: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The genesis's key, and those that tests bring.
    keys: [SigningKey; 3],
}

impl Log {
    fn read() -> Self {
        let log = json("log.json");
        let events = log["events"].as_array().unwrap();
        let leaves = events.iter().map(|e| (unhex(&e["leaf"]), (!e["stored"].is_null()).then(|| unhex(&e["stored"]))));
        let leaves: Vec<_> = leaves.collect();
        let actor: Hash = unhex(&events[0]["header"]["actor"]).try_into().unwrap();
        let did = json("did_logs.json");
        let did = did.as_array().unwrap().iter().find(|d| d["digest"].as_str() == Some(hex(&actor).as_str())).unwrap();
        let seed = |v: &Value| SigningKey::from_bytes(&unhex(v).try_into().unwrap());
        let own = |e: &&Value| e["header"]["actor"] == events[0]["header"]["actor"];
        Self {
            id: unhex(&log["id"]).try_into().unwrap(),
            actor,
            speaker: seed(&did["seeds"]["actor"]),
            aseq: events.iter().filter(own).count() as u64,
            last: leaf::hash(&leaves.last().unwrap().0),
            time: 1_770_000_001_000,
            leaves,
            keys: [seed(&log["log_seed"]), SigningKey::from_bytes(&[21; 32]), SigningKey::from_bytes(&[22; 32])],
        }
    }

    fn size(&self) -> usize {
        self.leaves.len()
    }

    fn hashes(&self) -> Vec<Hash> {
        self.leaves.iter().map(|(data, _)| leaf::hash(data)).collect()
    }

    /// An event of the system actor, by its own key or by `by`.
    fn say_by(&mut self, by: &SigningKey, kind: Kind, body: &[u8]) {
        self.time += 1;
        let header = Header {
            log: self.id,
            actor: self.actor,
            aseq: self.aseq,
            prev: self.last,
            signer: 0,
            time: self.time,
            kind,
            session: [0; 16],
            body: hash::public_body(body),
            length: body.len() as u64,
            refs: Vec::new(),
        };
        let (bytes, id) = (header.encode(), public(by).id());
        let data = leaf::encode_signed(&bytes, &id, &by.sign(&leaf::signed_bytes(&bytes, &id)).to_bytes());
        self.aseq += 1;
        self.last = leaf::hash(&data);
        self.leaves.push((data, Some(body.to_vec())));
    }

    fn say(&mut self, body: &PublicBody<'_>) {
        let by = self.speaker.clone();
        self.say_by(&by, body.kind(), &body.encode());
    }

    /// Something of no weight.
    fn go_on(&mut self) {
        self.say(&PublicBody::EraseDone { count: 0, positions: Vec::new() });
    }

    fn text(&self, size: usize) -> String {
        Checkpoint { origin: &note::origin(&self.id), size: size as u64, root: root_of(&self.hashes()[..size]) }.text()
    }

    /// A checkpoint of the first leaves, with a line by each of these keys.
    fn signed(&self, size: usize, by: &[&SigningKey]) -> String {
        Self::note(&note::origin(&self.id), &self.text(size), by)
    }

    fn note(origin: &str, text: &str, by: &[&SigningKey]) -> String {
        let line = |key: &&SigningKey| {
            note::signature_line(origin, note::key_id(origin, &public(key)), &key.sign(text.as_bytes()).to_bytes()) + "\n"
        };
        format!("{text}\n{}", by.iter().map(line).collect::<String>())
    }

    fn bring(&mut self, key: &SigningKey) {
        self.say(&PublicBody::LogKey { key: key.verifying_key().to_bytes() });
    }

    fn bridge(&mut self, note: &str) {
        self.say(&PublicBody::Anchor { kind: PublicBody::BRIDGE, note: note.as_bytes(), token: b"" });
    }

    /// From one of its keys to another, as it should be.
    fn rotate(&mut self, from: usize, to: usize) {
        let [from, to] = [from, to].map(|n| self.keys[n].clone());
        self.bring(&to);
        let bridge = self.signed(self.size(), &[&from, &to]);
        self.bridge(&bridge);
    }

    /// Rotated once, with an event on both sides.
    fn rotated() -> Self {
        let mut log = Self::read();
        log.rotate(0, 1);
        log.go_on();
        log
    }

    fn whole(&self, checkpoint: &str) -> Vec<u8> {
        self.whole_with(checkpoint, &[])
    }

    fn whole_with(&self, checkpoint: &str, further: &[String]) -> Vec<u8> {
        let (mut builder, mut file) = Builder::new();
        file.extend(builder.section(&self.id, Scope::Whole, checkpoint, "").unwrap());
        for further in further {
            file.extend(builder.checkpoint(further, None).unwrap());
        }
        for (index, (leaf, body)) in self.leaves.iter().enumerate() {
            let body = body.as_deref().map_or(Stored::Nothing, Stored::Bytes);
            file.extend(builder.event(Item { index: index as u64, asked: true, leaf, body, path: None }).unwrap());
        }
        file.extend(builder.finish());
        file
    }

    /// A part: the genesis, what supports, the leaves asked for, further
    /// checkpoints with their proofs, all in the tree of `checkpoint`'s size.
    fn part(&self, size: usize, checkpoint: &str, support: &[usize], asked: &[usize], further: &[(usize, String)]) -> Vec<u8> {
        let hashes = &self.hashes()[..size];
        let (mut builder, mut file) = Builder::new();
        file.extend(builder.section(&self.id, Scope::Part, checkpoint, "").unwrap());
        for (at, note) in further {
            file.extend(builder.checkpoint(note, Some(&consistency(*at, hashes, true))).unwrap());
        }
        let mut shown: Vec<usize> = support.iter().chain(asked).copied().collect();
        shown.sort_unstable();
        for index in shown {
            let (leaf, body) = &self.leaves[index];
            let body = body.as_deref().map_or(Stored::Nothing, Stored::Bytes);
            let path = inclusion(index, hashes);
            let item = Item { index: index as u64, asked: asked.contains(&index), leaf, body, path: Some(&path) };
            file.extend(builder.event(item).unwrap());
        }
        file.extend(builder.finish());
        file
    }
}

struct Case {
    name: &'static str,
    bundle: Vec<u8>,
    policy: String,
    kept: Vec<String>,
}

#[allow(clippy::too_many_lines)]
fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let mut add = |name, bundle: Vec<u8>, trusted: &SigningKey, kept: &[String]| {
        all.push(Case { name, bundle, policy: fingerprint(trusted), kept: kept.to_vec() });
    };
    let log = Log::rotated();
    let [first, second, third] = &log.keys;
    // Leaf k brings the key, k + 1 bridges.
    let k = Log::read().size();
    let n = log.size();
    let good = log.whole(&log.signed(n, &[second]));
    add("good: one rotation, old key trusted", good.clone(), first, &[]);
    add("good: one rotation, new key trusted", good.clone(), second, &[]);
    add("one rotation, another key trusted", good.clone(), third, &[]);
    add(
        "good: up to the anchor",
        {
            let mut x = log.clone();
            x.leaves.truncate(k + 2);
            x.whole(&x.signed(k + 2, &[second]))
        },
        first,
        &[],
    );
    add("good: kept by the old key", good.clone(), second, &[log.signed(k, &[first])]);
    add("good: kept the bridge", good.clone(), second, &[log.signed(k + 1, &[first, second])]);
    add("kept the bridge by the old key alone", good.clone(), first, &[log.signed(k + 1, &[first])]);
    add("kept one by the new key from before it", good.clone(), first, &[log.signed(k, &[second])]);
    add("kept one by the old key from after it", good.clone(), first, &[log.signed(k + 2, &[first])]);
    add(
        "kept a later one by the new key",
        {
            let x = Log::read();
            x.whole(&x.signed(k, &[first]))
        },
        first,
        &[log.signed(n, &[second])],
    );
    add(
        "good: checkpoints on the way",
        log.whole_with(
            &log.signed(n, &[second]),
            &[log.signed(8, &[first]), log.signed(k + 1, &[first, second]), log.signed(k + 2, &[second])],
        ),
        second,
        &[],
    );
    add(
        "before the rotation, new key trusted",
        {
            let x = Log::read();
            x.whole(&x.signed(k, &[first]))
        },
        second,
        &[],
    );
    add("good: a line by a third key beside the new one's", log.whole(&log.signed(n, &[third, second])), first, &[]);
    add("by the old key after the bridge", log.whole(&log.signed(n, &[first])), first, &[]);
    add("good: by both keys after the bridge", log.whole(&log.signed(n, &[first, second])), first, &[]);
    add(
        "on the way by the old key after the bridge",
        log.whole_with(&log.signed(n, &[second]), &[log.signed(k + 2, &[first])]),
        first,
        &[],
    );
    add("on the way by the new key before the bridge", log.whole_with(&log.signed(n, &[second]), &[log.signed(k, &[second])]), first, &[]);
    add("on the way the bridge by one key", log.whole_with(&log.signed(n, &[second]), &[log.signed(k + 1, &[first])]), first, &[]);
    add("by a key that the log never had", log.whole(&log.signed(n, &[third])), third, &[]);
    add(
        "ends with the bridge",
        {
            let mut x = log.clone();
            x.leaves.truncate(k + 1);
            x.whole(&x.signed(k + 1, &[first, second]))
        },
        first,
        &[],
    );
    add(
        "ends before the bridge, by the old key",
        {
            let mut x = log.clone();
            x.leaves.truncate(k + 1);
            x.whole(&x.signed(k + 1, &[first]))
        },
        first,
        &[],
    );
    add(
        "checkpoint of a size that is not reached",
        log.whole(&{
            let mut x = log.clone();
            x.go_on();
            x.signed(n + 1, &[second])
        }),
        first,
        &[],
    );
    add(
        "checkpoint of a size that is not reached, by the old key",
        log.whole(&{
            let mut x = log.clone();
            x.go_on();
            x.signed(n + 1, &[first])
        }),
        first,
        &[],
    );

    // What stands in the leaves.
    let mut leaves = |name, alter: &dyn Fn(&mut Log)| {
        let mut x = Log::read();
        alter(&mut x);
        x.go_on();
        let bundle = x.whole(&x.signed(x.size(), &[&x.keys[1].clone()]));
        add(name, bundle, &x.keys[0].clone(), &[]);
    };
    let bridged = |x: &mut Log, note: &dyn Fn(&Log) -> String| {
        let new = x.keys[1].clone();
        x.bring(&new);
        let note = note(x);
        x.bridge(&note);
    };
    leaves("no anchor", &|x| {
        let new = x.keys[1].clone();
        x.bring(&new);
    });
    leaves("an event between", &|x| {
        let new = x.keys[1].clone();
        x.bring(&new);
        let note = x.signed(x.size(), &[&x.keys[0].clone(), &new]);
        x.go_on();
        x.bridge(&note);
    });
    leaves("another anchor in the bridge's place", &|x| {
        let new = x.keys[1].clone();
        x.bring(&new);
        let note = x.signed(x.size(), &[&x.keys[0].clone(), &new]);
        x.say(&PublicBody::Anchor { kind: PublicBody::COSIGNED, note: note.as_bytes(), token: b"" });
    });
    leaves("bridge with a token", &|x| {
        let new = x.keys[1].clone();
        x.bring(&new);
        let note = x.signed(x.size(), &[&x.keys[0].clone(), &new]);
        x.say(&PublicBody::Anchor { kind: PublicBody::BRIDGE, note: note.as_bytes(), token: b"t" });
    });
    leaves("bridge that is no note", &|x| bridged(x, &|_| "nothing\n".to_owned()));
    leaves("bridge by the old key alone", &|x| bridged(x, &|x| x.signed(x.size(), &[&x.keys[0]])));
    leaves("bridge by the new key alone", &|x| bridged(x, &|x| x.signed(x.size(), &[&x.keys[1]])));
    leaves("bridge by another key and the new one", &|x| bridged(x, &|x| x.signed(x.size(), &[&x.keys[2], &x.keys[1]])));
    leaves("bridge of the size before", &|x| bridged(x, &|x| x.signed(x.size() - 1, &[&x.keys[0], &x.keys[1]])));
    leaves("bridge of the size after", &|x| {
        bridged(x, &|x| {
            let mut later = x.clone();
            later.go_on();
            later.signed(x.size() + 1, &[&x.keys[0], &x.keys[1]])
        })
    });
    leaves("bridge of another root", &|x| {
        bridged(x, &|x| {
            let origin = note::origin(&x.id);
            Log::note(&origin, &Checkpoint { origin: &origin, size: x.size() as u64, root: [9; 32] }.text(), &[&x.keys[0], &x.keys[1]])
        })
    });
    leaves("bridge of another log", &|x| {
        bridged(x, &|x| {
            let origin = note::origin(&[7; 16]);
            let text = x.text(x.size()).replacen(&note::origin(&x.id), &origin, 1);
            Log::note(&origin, &text, &[&x.keys[0], &x.keys[1]])
        })
    });
    leaves("bridge where no key was brought", &|x| {
        let note = x.signed(x.size(), &[&x.keys[0].clone(), &x.keys[1].clone()]);
        x.bridge(&note);
        x.rotate(0, 1);
    });
    leaves("the key of the genesis again", &|x| {
        x.rotate(0, 0);
        x.rotate(0, 1);
    });
    leaves("a key that does not register", &|x| x.say(&PublicBody::LogKey { key: [0; 32] }));
    leaves("two keys, and the bridge to the second", &|x| {
        let other = x.keys[2].clone();
        x.bring(&other);
        x.rotate(0, 1);
    });
    leaves("signed by another key than the actor's", &|x| {
        let (thief, new) = (SigningKey::from_bytes(&[66; 32]), x.keys[1].clone());
        x.say_by(&thief, Kind::LOG_KEY, &PublicBody::LogKey { key: new.verifying_key().to_bytes() }.encode());
        let note = x.signed(x.size(), &[&x.keys[0].clone(), &new]);
        x.bridge(&note);
    });
    leaves("body of another form", &|x| {
        let by = x.speaker.clone();
        x.say_by(&by, Kind::LOG_KEY, &[0xa1, 0, 1]);
    });
    leaves("body is not there", &|x| {
        x.rotate(0, 1);
        let at = x.size() - 2;
        x.leaves[at].1 = None;
    });
    leaves("bridge is not there", &|x| {
        x.rotate(0, 1);
        let at = x.size() - 1;
        x.leaves[at].1 = None;
    });

    // Twice.
    let mut twice = Log::rotated();
    twice.rotate(1, 2);
    twice.go_on();
    let (m, end) = (n, twice.size());
    let whole = twice.whole(&twice.signed(end, &[third]));
    add("good: two rotations, first key trusted", whole.clone(), first, &[]);
    add("good: two rotations, second key trusted", whole.clone(), second, &[]);
    add("good: two rotations, third key trusted", whole.clone(), third, &[log.signed(n, &[second])]);
    add("two rotations, by the second key at the end", twice.whole(&twice.signed(end, &[second])), second, &[]);
    add(
        "two rotations, back to the first key",
        {
            let mut x = Log::rotated();
            x.rotate(1, 0);
            x.whole(&x.signed(x.size(), &[first]))
        },
        first,
        &[],
    );
    add(
        "two rotations, the second bridged by the first key",
        {
            let mut x = Log::rotated();
            x.rotate(0, 2);
            x.whole(&x.signed(x.size(), &[third]))
        },
        first,
        &[],
    );

    // Parts: the last event is asked for.
    let bridge = (k + 1, log.signed(k + 1, &[first, second]));
    let by_new = log.signed(n, &[second]);
    let part = |support: &[usize], further: &[(usize, String)]| log.part(n, &by_new, support, &[n - 1], further);
    let shown = [0, k, k + 1];
    add("good: part, old key trusted", part(&shown, std::slice::from_ref(&bridge)), first, &[]);
    add("good: part, new key trusted", part(&shown, std::slice::from_ref(&bridge)), second, &[]);
    add(
        "good: part, with one on the way by the old key",
        part(&shown, &[(8, log.signed(8, &[first])), bridge.clone()]),
        second,
        &[log.signed(8, &[first])],
    );
    add("part, another key trusted", part(&shown, std::slice::from_ref(&bridge)), third, &[]);
    add("part, without the rotation", part(&[0], std::slice::from_ref(&bridge)), first, &[]);
    add("part, without the anchor", part(&[0, k], std::slice::from_ref(&bridge)), first, &[]);
    add("part, without the event that brings the key", part(&[0, k + 1], std::slice::from_ref(&bridge)), first, &[]);
    add("part, without the proof of the bridge", part(&shown, &[]), first, &[]);
    add("part, the bridge's proof by the old key alone", part(&shown, &[(k + 1, log.signed(k + 1, &[first]))]), first, &[]);
    add("part, by the old key", log.part(n, &log.signed(n, &[first]), &shown, &[n - 1], std::slice::from_ref(&bridge)), first, &[]);
    add("good: part of before the rotation", log.part(k, &log.signed(k, &[first]), &[0, 8], &[k - 1], &[]), first, &[]);
    add("part of before the rotation, new key trusted", log.part(k, &log.signed(k, &[first]), &[0, 8], &[k - 1], &[]), second, &[]);
    add("part of before the rotation, by the new key", log.part(k, &log.signed(k, &[second]), &[0, 8], &[k - 1], &[]), second, &[]);
    add(
        "part on the way by the old key after the bridge",
        part(&shown, &[bridge.clone(), (k + 2, log.signed(k + 2, &[first]))]),
        first,
        &[],
    );
    // Whoever has only the files: a genuine checkpoint with a line of their own.
    let mut forged = Log::read();
    let thief = SigningKey::from_bytes(&[66; 32]);
    forged.leaves.truncate(k - 1);
    forged.say_by(&thief, Kind::LOG_KEY, &PublicBody::LogKey { key: thief.verifying_key().to_bytes() }.encode());
    let stolen = Log::read().signed(k, &[first]);
    let text = Log::read().text(k);
    let own = Log::note(&note::origin(&log.id), &text, &[&thief]);
    let stolen = format!("{stolen}{}", &own[text.len() + 1..]);
    forged.bridge(&stolen);
    forged.go_on();
    let size = forged.size();
    let by_thief = forged.signed(size, &[&thief]);
    add("part, a genuine checkpoint made into a bridge", forged.part(size, &by_thief, &[0, k - 1, k], &[size - 1], &[]), first, &[]);
    add(
        "part, a genuine checkpoint with its proof made into a bridge",
        forged.part(size, &by_thief, &[0, k - 1, k], &[size - 1], &[(k, stolen)]),
        first,
        &[],
    );
    let bridges = [(k + 1, twice.signed(k + 1, &[first, second])), (m + 1, twice.signed(m + 1, &[second, third]))];
    let part = |support: &[usize]| twice.part(end, &twice.signed(end, &[third]), support, &[end - 1], &bridges);
    for (name, key) in [
        ("good: part, two rotations, first key", first),
        ("good: part, two rotations, second key", second),
        ("good: part, two rotations, third key", third),
    ] {
        add(name, part(&[0, k, k + 1, m, m + 1]), key, &[]);
    }
    add("part, two rotations, without the first", part(&[0, m, m + 1]), first, &[]);
    all
}

fn judge(case: &Case) -> Judgement {
    let mut judge = Judge::new(Policy::parse(&case.policy).unwrap());
    for kept in &case.kept {
        judge.keep(kept.as_bytes()).unwrap();
    }
    judge.feed(&case.bundle, &mut |_| {}).unwrap();
    judge.finish().unwrap()
}

fn expected(found: &Judgement) -> Value {
    let mut codes: Vec<&str> = found.problems.iter().map(|p| p.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let logs: Vec<Value> = found.logs.iter().map(|log| {
        let r = &log.report;
        let links = r.missing_links.iter().map(|m| json!({"actor": hex(&m.actor), "from": m.from, "to": m.to}));
        json!({
            "log": hex(&log.log), "scope": log.scope.name(), "verdict": log.verdict.name(), "size": r.size, "events": r.taken,
            "head": hex(&r.root), "log_key": r.log_key.map(|k| hex(&k)), "identities": r.identities,
            "bodies": {"present": r.bodies.present, "disclosed": r.bodies.disclosed, "withheld": r.bodies.unread, "erased": r.bodies.erased, "missing": r.bodies.missing},
            "unsigned": r.unsigned, "unattributed": r.unattributed, "chain_complete": r.missing_links.is_empty(),
            "missing_links": links.collect::<Vec<_>>(), "quorum": log.quorum, "witnessed": log.witnessed,
            "freshness": match log.freshness {
                Freshness::Current => "current".to_owned(),
                Freshness::Behind(n) => format!("behind {n}"),
                Freshness::Forked => "forked".to_owned(),
                Freshness::Unproven => "unproven".to_owned(),
            },
        })
    }).collect();
    json!({"verdict": found.verdict.name(), "codes": codes, "logs": logs})
}

#[test]
fn rotated_logs_are_judged_as_the_vectors_say() {
    let cases = cases();
    let mut names: Vec<_> = cases.iter().map(|c| c.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "each case has its name");
    let mut text = String::new();
    for case in &cases {
        let found = judge(case);
        let verdict = found.verdict.name();
        assert_eq!(case.name.starts_with("good: "), verdict == "intact", "{} is {verdict}: {:?}", case.name, found.problems);
        let line = json!({"name": case.name, "policy": case.policy, "kept": case.kept, "bundle": base64(&case.bundle), "expect": expected(&found)});
        text.push_str(&format!("{line}\n"));
    }
    let file = path("log_keys.jsonl");
    if std::env::var_os("MIRRORDNA_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
