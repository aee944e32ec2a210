//! Witnesses of others, and what they say coming back into the log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::peer::{Answer, PeerWitness};
use mirrordna::proof::{self, Bodies, Policy};
use mirrordna::{Code, Engine, IdentityType, Tenant, Witness};
use std::path::Path;
use std::process::Command;

fn remember(engine: &Engine, count: usize) {
    let agent = match engine.identities().list().unwrap().pop() {
        Some(agent) => agent,
        None => engine.identities().create(IdentityType::Agent).unwrap(),
    };
    (0..count).for_each(|i| drop(agent.memories().add(format!("memory {i}")).send().unwrap()));
}

fn ask(witness: &PeerWitness) -> impl FnMut(&str) -> mirrordna::Result<Answer> + '_ {
    |request| witness.add_checkpoint(request.as_bytes())
}

/// Knows this witness, and asks for none.
fn policy_for(witness: &PeerWitness) -> Policy {
    Policy::default().and_witness(witness.verifier_key())
}

fn cosign(log: &Tenant, witness: &PeerWitness) -> mirrordna::Result<String> {
    log.cosign(&log.checkpoint()?, &policy_for(witness), &mut ask(witness))
}

fn witness_of(folder: &Path, log: &Tenant) -> PeerWitness {
    let witness = PeerWitness::init(folder, "witness.example/ada").unwrap();
    witness.trust(&log.verifier_key()).unwrap();
    witness
}

#[test]
fn a_growing_log_is_cosigned_and_anchored_and_its_times_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    let log = engine.main();
    let witness = witness_of(dir.path(), &log);
    let policy = policy_for(&witness);
    let mut anchored = Vec::new();
    for _ in 0..3 {
        remember(&engine, 5);
        let note = cosign(&log, &witness).unwrap();
        assert_eq!(note.matches('\u{2014}').count(), 2, "{note}");
        anchored.push(log.anchor(&note, &policy).unwrap().index);
    }
    let again = cosign(&log, &witness).unwrap();
    assert_eq!(cosign(&log, &witness).unwrap().lines().next(), again.lines().next(), "the same checkpoint twice");
    assert!(engine.verify().unwrap().is_intact());
    let seen = witness.seen().unwrap();
    assert_eq!((seen.len(), seen[0].size), (1, log.checkpoint().unwrap().lines().nth(1).unwrap().parse().unwrap()));

    // A stranger with the witness's key learns between which times events were.
    let mut bundle = Vec::new();
    engine.audit(Bodies::Withheld, &mut bundle, &mut |_, _| {}).unwrap();
    let text = format!("log {}\nwitness w {}\nquorum none\n", log.verifier_key(), witness.verifier_key());
    let judged = proof::judge(&mut bundle.as_slice(), Policy::parse(&text).unwrap(), &[], &mut |_| {}).unwrap();
    assert_eq!(judged.verdict.name(), "intact", "{judged:#?}");
    let times = &judged.logs[0].times;
    assert_eq!((times.not_before.first().map(|(from, _)| *from), times.not_after.len()), (Some(anchored[0]), 3), "{times:?}");
    assert!(anchored.iter().all(|at| times.of(*at).not_before.is_some() && times.of(at - 1).not_after.is_some()));
    assert_eq!(times.of(anchored[0] - 1).not_before, None);
}

#[test]
fn the_answers_are_those_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    let stranger = Engine::open("memory:").unwrap();
    let log = engine.main();
    let witness = PeerWitness::init(dir.path(), "witness.example/ada").unwrap();
    let status = |request: &str| witness.add_checkpoint(request.as_bytes()).unwrap().status;
    let first = log.witness_request(&log.checkpoint().unwrap(), 0).unwrap();
    assert_eq!(status(&first), 404);
    assert_eq!(status("old 0\n"), 400);
    witness.trust(&log.verifier_key()).unwrap();
    witness.trust(&log.verifier_key()).unwrap();
    let forged = first.replace(first.split('\u{2014}').nth(1).unwrap().split(' ').nth(2).unwrap(), &"A".repeat(91).clone());
    assert_eq!(status(&forged), 400, "no base64");
    let by_another = {
        let theirs = stranger.main().checkpoint().unwrap();
        let line = theirs.lines().last().unwrap();
        format!("{}{line}\n", &first[..first.find('\u{2014}').unwrap()])
    };
    assert_eq!(status(&by_another), 403);
    let answer = witness.add_checkpoint(first.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.content_type), (200, "text/plain; charset=utf-8"));
    assert!(answer.body.starts_with("\u{2014} witness.example/ada ") && answer.body.ends_with('\n'));
    remember(&engine, 3);
    let note = log.checkpoint().unwrap();
    let conflict = witness.add_checkpoint(log.witness_request(&note, 0).unwrap().as_bytes()).unwrap();
    assert_eq!((conflict.status, conflict.content_type, conflict.body.as_str()), (409, "text/x.tlog.size", "1\n"));
    let request = log.witness_request(&note, 1).unwrap();
    let proof = request.lines().nth(1).unwrap();
    assert_eq!(status(&request.replacen(&format!("{proof}\n"), "", 1)), 422);
    assert_eq!(status(&request), 200);
}

#[test]
fn two_histories_of_a_log_never_both_get_a_cosignature() {
    let place = Place::new();
    let open = || place.builder().witness(Witness::Off).open().unwrap();
    let engine = open();
    remember(&engine, 20);
    engine.close().unwrap();
    let copy = place.dir.path().join("copy.db");
    std::fs::copy(place.path(), &copy).unwrap();

    let engine = open();
    remember(&engine, 2);
    let witness = witness_of(&place.dir.path().join("witness"), &engine.main());
    let shown = cosign(&engine.main(), &witness).unwrap();
    engine.close().unwrap();
    // The copy goes on otherwise, as long, then longer.
    let other = place.at(&copy).witness(Witness::Off).open().unwrap();
    remember(&other, 2);
    let log = other.main();
    let hidden = log.checkpoint().unwrap();
    assert_eq!((hidden.lines().next(), hidden.lines().nth(1)), (shown.lines().next(), shown.lines().nth(1)), "one origin, one size");
    let size: u64 = shown.lines().nth(1).unwrap().parse().unwrap();
    let status = |note: &str, old| witness.add_checkpoint(log.witness_request(note, old).unwrap().as_bytes()).unwrap().status;
    assert_eq!((status(&hidden, 0), status(&hidden, size)), (409, 409));
    let error = cosign(&log, &witness).unwrap_err();
    assert_eq!(error.code(), Code::Forked, "{error}");
    remember(&other, 3);
    let longer = log.checkpoint().unwrap();
    assert_eq!((status(&longer, 0), status(&longer, size)), (409, 422));
    assert_eq!(cosign(&log, &witness).unwrap_err().code(), Code::Forked);

    // The two checkpoints alone are evidence.
    let policy = Policy::parse(&format!("log {}\n", log.verifier_key())).unwrap();
    let found = mirrordna::peer::equivocation(shown.as_bytes(), hidden.as_bytes(), &policy).unwrap().unwrap();
    assert_eq!((found.size, found.root_a == found.root_b), (size, false));
    assert_eq!(mirrordna::peer::equivocation(shown.as_bytes(), longer.as_bytes(), &policy), Ok(None));
    // And neither goes into the other's log.
    assert_eq!(log.anchor(&shown, &policy_for(&witness)).unwrap_err().code(), Code::Forked);
}

#[test]
fn of_many_who_ask_at_once_one_history_wins() {
    let place = Place::new();
    let open = || place.builder().witness(Witness::Off).open().unwrap();
    let engine = open();
    remember(&engine, 1);
    let witness = witness_of(&place.dir.path().join("witness"), &engine.main());
    engine.close().unwrap();
    let requests: Vec<String> = (0..6)
        .map(|i| {
            let copy = place.dir.path().join(format!("{i}.db"));
            std::fs::copy(place.path(), &copy).unwrap();
            let engine = place.at(&copy).witness(Witness::Off).open().unwrap();
            remember(&engine, 1);
            engine.main().witness_request(&engine.main().checkpoint().unwrap(), 0).unwrap()
        })
        .collect();
    let folder = place.dir.path().join("witness");
    let barrier = std::sync::Barrier::new(requests.len());
    let statuses: Vec<u16> = std::thread::scope(|s| {
        let answer = |request: &String| {
            // Each with its own handle, as other processes would.
            let witness = PeerWitness::open(&folder).unwrap();
            barrier.wait();
            witness.add_checkpoint(request.as_bytes()).unwrap().status
        };
        let threads: Vec<_> = requests.iter().map(|r| s.spawn(move || answer(r))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|s| [200, 409].contains(s)));
    assert_eq!(witness.seen().unwrap().len(), 1);
}

#[test]
fn a_log_that_was_set_back_learns_it_from_its_witness() {
    let place = Place::new();
    let open = || place.builder().witness(Witness::Off).open().unwrap();
    let engine = open();
    remember(&engine, 1);
    engine.close().unwrap();
    let old = place.dir.path().join("old.db");
    std::fs::copy(place.path(), &old).unwrap();
    let engine = open();
    remember(&engine, 9);
    let witness = witness_of(&place.dir.path().join("witness"), &engine.main());
    let note = cosign(&engine.main(), &witness).unwrap();
    engine.close().unwrap();
    let engine = place.at(&old).witness(Witness::Off).open().unwrap();
    assert_eq!(cosign(&engine.main(), &witness).unwrap_err().code(), Code::RolledBack);
    let policy = policy_for(&witness);
    assert_eq!(engine.main().anchor(&note, &policy).unwrap_err().code(), Code::RolledBack);
}

#[test]
fn a_witness_without_its_state_does_not_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("w");
    let engine = Engine::open("memory:").unwrap();
    let witness = witness_of(&folder, &engine.main());
    assert_eq!(PeerWitness::init(&folder, "again").unwrap_err().code(), Code::StoreInUse);
    cosign(&engine.main(), &witness).unwrap();
    let state = std::fs::read_to_string(folder.join("state")).unwrap();
    let request = engine.main().witness_request(&engine.main().checkpoint().unwrap(), 0).unwrap();
    let refuses = |what: &str| {
        let e = witness.add_checkpoint(request.as_bytes()).unwrap_err();
        assert!(matches!(e.code(), Code::WitnessInvalid | Code::StoreIo), "{what}: {e}");
    };
    std::fs::remove_file(folder.join("state")).unwrap();
    refuses("no state");
    assert!(PeerWitness::open(&folder).is_err());
    for (what, text) in [
        ("empty", String::new()),
        ("cut", state[..state.len() - 1].to_owned()),
        ("twice", format!("{state}{}", state.split_once('\n').unwrap().1)),
        ("another witness's", state.replace("witness.example/ada", "witness.example/bob")),
        ("another size", state.replacen("\n1\n", "\n0\n", 1)),
    ] {
        std::fs::write(folder.join("state"), text).unwrap();
        refuses(what);
    }
    std::fs::write(folder.join("state"), &state).unwrap();
    assert_eq!(PeerWitness::open(&folder).unwrap().add_checkpoint(request.as_bytes()).unwrap().status, 409);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(folder.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let key = std::fs::read_to_string(folder.join("key")).unwrap();
    std::fs::write(folder.join("key"), key.replace("+ada", "+bob").replace("/ada", "/bob")).unwrap();
    assert_eq!(PeerWitness::open(&folder).unwrap_err().code(), Code::WitnessInvalid, "the id is that of name and key");
    for name in ["", "a b", "a+b", "a\nb"] {
        assert_eq!(PeerWitness::init(dir.path().join("x"), name).unwrap_err().code(), Code::InputInvalid);
    }
}

#[test]
fn only_what_fits_becomes_an_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, other) = (Engine::open("memory:").unwrap(), Engine::open("memory:").unwrap());
    let log = engine.main();
    let witness = witness_of(dir.path(), &log);
    let policy = policy_for(&witness);
    let before = engine.timeline().len().unwrap();
    let plain = log.checkpoint().unwrap();
    let refused = |note: &str, policy: &Policy| log.anchor(note, policy).unwrap_err().code();
    assert_eq!(refused(&plain, &policy), Code::AnchorInvalid, "nobody has cosigned it");
    assert_eq!(refused("anything", &policy), Code::AnchorInvalid);
    assert_eq!(refused(&other.main().checkpoint().unwrap(), &policy), Code::AnchorInvalid);
    let cosigned = cosign(&log, &witness).unwrap();
    assert_eq!(refused(&cosigned, &Policy::default()), Code::AnchorInvalid, "by nobody who is known");
    let strangers = log.with_lines(&plain, "\u{2014} somebody.example AAAAAAAA\n", &policy).unwrap_err();
    assert_eq!(strangers.code(), Code::WitnessRefused);
    assert_eq!(log.with_lines(&plain, "no line", &policy).unwrap_err().code(), Code::WitnessRefused);
    // Lines of strangers are left out of what is recorded.
    let crowded = format!("{cosigned}\u{2014} somebody.example AAAAAAAA\n");
    let at = log.anchor(&crowded, &policy).unwrap().index;
    assert!(at >= before);
    assert!(engine.verify().unwrap().is_intact());
}

/// Runs openssl, or says why it was not.
fn openssl(folder: &Path, args: &[&str]) -> Option<()> {
    let done = match Command::new("openssl").args(args).current_dir(folder).output() {
        Ok(done) => done,
        Err(e) => {
            assert!(std::env::var_os("CI").is_none_or(|v| v != "true"), "CI needs openssl: {e}");
            eprintln!("skipped: no openssl ({e})");
            return None;
        }
    };
    assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Some(())
}

const TSA: &str = "[ req ]
distinguished_name = name
x509_extensions = tsa
prompt = no
[ name ]
CN = Time stamps of a test
[ tsa ]
basicConstraints = critical,CA:true
extendedKeyUsage = critical,timeStamping
[ tsa_config ]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = no
";

#[test]
fn a_time_stamp_of_a_checkpoint_becomes_an_anchor() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("tsa.cnf"), TSA).unwrap();
    std::fs::write(folder.join("serial"), "01\n").unwrap();
    let rsa =
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-config", "tsa.cnf"];
    if openssl(folder, &rsa).is_none() {
        return;
    }
    let stamp = |request: &[u8]| {
        std::fs::write(folder.join("request.tsq"), request).unwrap();
        let args = ["ts", "-reply", "-config", "tsa.cnf", "-section", "tsa_config", "-queryfile", "request.tsq", "-inkey", "key.pem"];
        openssl(folder, &[&args[..], &["-signer", "cert.pem", "-out", "response.tsr"]].concat()).unwrap();
        std::fs::read(folder.join("response.tsr")).unwrap()
    };
    let engine = Engine::open("memory:").unwrap();
    let log = engine.main();
    remember(&engine, 3);
    let note = log.checkpoint().unwrap();
    let request = log.timestamp_request(&note).unwrap();
    let response = stamp(&request);
    // Others verify it: the checkpoint's text is what was stamped.
    std::fs::write(folder.join("text"), &note[..note.find("\n\n").unwrap() + 1]).unwrap();
    openssl(folder, &["ts", "-verify", "-data", "text", "-in", "response.tsr", "-CAfile", "cert.pem"]).unwrap();

    let code = |note: &str, request: &[u8], response: &[u8]| log.anchor_timestamp(note, request, response).unwrap_err().code();
    let other_request = log.timestamp_request(&note).unwrap();
    assert_ne!(request, other_request, "each has a nonce of its own");
    assert_eq!(code(&note, &other_request, &response), Code::AnchorInvalid, "another nonce");
    assert_eq!(code(&note, &request, &response[..response.len() - 1]), Code::AnchorInvalid);
    assert_eq!(code(&note, &request, &[&response[..], &[0]].concat()), Code::AnchorInvalid);
    assert_eq!(code(&note, &response, &response), Code::AnchorInvalid);
    let mut refused = response.clone();
    let status = refused.windows(3).position(|w| w == [2, 1, 0]).unwrap() + 2;
    refused[status] = 2;
    assert_eq!(code(&note, &request, &refused), Code::AnchorInvalid);
    remember(&engine, 1);
    let later = log.checkpoint().unwrap();
    assert_eq!(code(&later, &request, &response), Code::AnchorInvalid, "for another checkpoint");
    let other = Engine::open("memory:").unwrap().main();
    assert_eq!(other.anchor_timestamp(&note, &request, &response).unwrap_err().code(), Code::AnchorInvalid);
    assert_eq!(log.anchor_timestamp(&later, &log.timestamp_request(&later).unwrap(), &response).unwrap_err().code(), Code::AnchorInvalid);

    log.anchor_timestamp(&note, &request, &response).unwrap();
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_leaf_is_proven_by_a_text_file() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open("memory:").unwrap();
    let log = engine.main();
    remember(&engine, 300);
    let witness = witness_of(dir.path(), &log);
    let note = cosign(&log, &witness).unwrap();
    let policy = format!("log {}\nwitness w {}\nquorum w\n", log.verifier_key(), witness.verifier_key());
    for index in [0, 1, 255, 256, 300] {
        let file = log.tlog_proof(&note, index).unwrap();
        let proof = mirrordna::peer::TlogProof::parse(file.as_bytes()).unwrap();
        let leaf = proof.extra.clone().unwrap();
        assert_eq!(proof.index, index);
        let judged = proof.judge(&Policy::parse(&policy).unwrap(), &leaf);
        assert_eq!(judged.verdict.name(), "intact", "{judged:#?}");
    }
    assert_eq!(log.tlog_proof(&note, 100_000).unwrap_err().code(), Code::InputInvalid);
}
