//! Going on from a database that was rolled back or went another way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::entities::Citation;
use mirrordna::import::{Format, ImportReport, import};
use mirrordna::{
    Basis, Code, Content, Engine, Fingerprint, Fork, Identity, IdentityType, Keys, MemoryPatch, NewIdentity, NewMemory, Witness,
};
use rusqlite::Connection;
use serde_json::json;
use std::path::{Path, PathBuf};

/// A closed database is one file.
fn copy(from: &Path, to: &Path) {
    for end in ["-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{end}", to.display()));
    }
    std::fs::copy(from, to).unwrap();
}

fn agent(engine: &Engine) -> Identity {
    engine.identities().list().unwrap().into_iter().find(|i| i.id().starts_with("mdna_agt_")).unwrap()
}

fn say(place: &Place, text: &str) {
    let engine = place.open();
    agent(&engine).memories().add(text).send().unwrap();
    engine.close().unwrap();
}

/// A database with one agent, kept aside; then a memory that the copy lacks.
fn rolled_back() -> (Place, PathBuf) {
    let place = Place::new();
    let engine = place.open();
    engine.identities().create(IdentityType::Agent).unwrap();
    engine.close().unwrap();
    say(&place, "kept");
    let newer = lose(&place, "lost");
    (place, newer)
}

/// Puts an older state back in place; returns where the newer one is.
fn lose(place: &Place, text: &str) -> PathBuf {
    let (old, newer) = (place.dir.path().join("old.db"), place.dir.path().join("newer.db"));
    copy(&place.path(), &old);
    say(place, text);
    copy(&place.path(), &newer);
    copy(&old, &place.path());
    newer
}

fn fork(place: &Place) -> Vec<Fork> {
    let events = place.verify().events;
    let forks = place.builder().fork(events, "the disk was lost").unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.freshness.as_str()), ("intact", "current"), "{report:#?}");
    forks
}

fn texts(engine: &Engine) -> Vec<String> {
    engine.memories().list(0, 100).unwrap().into_iter().map(|m| m.content).collect()
}

#[test]
fn a_rolled_back_database_goes_on_where_it_was_left() {
    let (place, _) = rolled_back();
    let before = place.verify();
    assert_eq!(place.builder().open().unwrap_err().code(), Code::RolledBack);

    let forks = fork(&place);
    assert_eq!((forks.len(), forks[0].events, forks[0].cause), (1, before.events, "rolled_back"));
    assert_eq!((&forks[0].head, before.log_key.as_ref() == Some(&forks[0].log_key)), (&before.head, false));
    let report = place.verify();
    assert_eq!((report.closed, report.identities, report.log_key.as_ref()), (1, before.identities, Some(&forks[0].log_key)));

    let logs: Vec<_> = report.logs.iter().map(|l| (l.verdict, l.events, l.freshness.as_str(), l.adopted.as_ref())).collect();
    let (old, new) =
        (("intact", before.events, "closed", None), ("intact", report.events - before.events, "current", Some(&report.logs[0].log)));
    assert_eq!(logs, [old, new]);

    let engine = place.open();
    assert_eq!(texts(&engine), ["kept"]);
    let ada = agent(&engine);
    let new = ada.memories().add("life goes on").send().unwrap();
    assert_eq!(texts(&engine), ["kept", "life goes on"]);
    // Positions go on too, and each event is where it says.
    let timeline = engine.timeline().list(0, 1000).unwrap();
    assert!(timeline.iter().enumerate().all(|(at, event)| event.leaf == at as u64 && engine.timeline().get(event.leaf).unwrap() == *event));
    assert_eq!(timeline.len() as u64, engine.timeline().len().unwrap());
    assert!(timeline.windows(2).all(|pair| pair[0].time <= pair[1].time));
    let kinds: Vec<&str> = timeline[before.events as usize..].iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds[..5], ["log.genesis", "log.adopt", "event", "identity.entry", "epoch.open"]);
    let why: serde_json::Value = serde_json::from_str(timeline[before.events as usize + 2].payload.as_ref().unwrap()).unwrap();
    assert_eq!((&why["reason"], &why["size"]), (&json!("the disk was lost"), &json!(before.events)));
    assert_eq!(engine.memories().history(&new.id).unwrap().len(), 1);
    drop(ada);
    engine.close().unwrap();
    let report = place.verify();
    assert_eq!((report.verdict, report.identities, report.freshness.as_str()), ("intact", before.identities, "current"), "{report:#?}");
}

#[test]
fn copies_in_which_the_old_log_goes_on_are_refused_from_then_on() {
    let (place, newer) = rolled_back();
    let older = place.dir.path().join("before the fork.db");
    copy(&place.path(), &older);
    fork(&place);
    say(&place, "after the fork");
    let forked = place.dir.path().join("forked.db");
    copy(&place.path(), &forked);
    for old in [&older, &newer] {
        copy(old, &place.path());
        let error = place.builder().open().unwrap_err();
        assert!(error.code() == Code::Forked && error.message().contains("ends at a fork"), "{error}");
        let report = place.verify();
        assert_eq!((report.verdict, report.freshness.as_str()), ("altered", "forked"));
        assert_eq!(report.problems[0].code, "log.forked");
    }
    // Who means it goes on from there instead; then the other one is refused.
    fork(&place);
    assert_eq!(texts(&place.open()), ["kept", "lost"]);
    copy(&forked, &place.path());
    assert_eq!(place.builder().open().unwrap_err().code(), Code::Forked);
    assert_eq!(place.verify().problems[0].code, "log.forked");
    let engine = place.builder().as_of().open().unwrap();
    assert_eq!((texts(&engine), engine.freshness()), (vec!["kept".to_owned(), "after the fork".to_owned()], "forked".to_owned()));
    assert_eq!(engine.timeline().basis(0).unwrap(), Basis::FirstUse);
    engine.close().unwrap();
    // Nor is that the end of it: whoever means the first fork after all says so.
    fork(&place);
    say(&place, "after all");
    assert_eq!(texts(&place.open()), ["kept", "after the fork", "after all"]);
}

#[test]
fn a_fork_that_was_not_noted_is_noted_when_it_is_opened() {
    let (place, newer) = rolled_back();
    let noted = |fork: &Fork| place.dir.path().join("state").join(&fork.adopted);
    let witness = std::fs::read_dir(place.dir.path().join("state")).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&witness).unwrap();
    let forks = fork(&place);
    assert_eq!(noted(&forks[0]), witness);
    // Power was lost after the commit.
    std::fs::write(&witness, &before).unwrap();
    place.builder().read_only().open().unwrap().close().unwrap();
    assert_eq!(std::fs::read(&witness).unwrap(), before);
    place.open().close().unwrap();
    copy(&newer, &place.path());
    assert_eq!(place.builder().open().unwrap_err().code(), Code::Forked);
}

#[test]
fn a_log_that_is_there_twice_is_found() {
    let (place, _) = rolled_back();
    let new: Fingerprint = fork(&place)[0].log_key.parse().unwrap();
    say(&place, "new");
    let double = |from: u32, to: u32, successor: &str| {
        let sql = format!(
            "INSERT INTO log SELECT {to}, id, size, time, frontier, checkpoint, signed_frontier, {successor} FROM log WHERE n = {from};
             INSERT INTO event SELECT pos + (({to} - {from}) << 40), leaf, body, subject, secret FROM event WHERE pos >> 40 = {from};
             INSERT INTO head SELECT {to}, actor, last FROM head WHERE log = {from};"
        );
        Connection::open(place.path()).unwrap().execute_batch(&sql).unwrap();
        let stranger = Engine::builder(place.path().to_str().unwrap()).keys(Keys::Folder("/nowhere".into())).witness(Witness::Off);
        for report in [stranger.trust(new).verify().unwrap(), place.builder().headers_only().verify().unwrap()] {
            assert_eq!(report.verdict, "altered", "{from} as {to}: {report:#?}");
        }
    };
    let sound = place.dir.path().join("sound.db");
    copy(&place.path(), &sound);
    double(1, 3, "successor");
    copy(&sound, &place.path());
    double(2, 3, "NULL");
}

#[test]
fn an_honest_older_copy_elsewhere_still_lags_and_no_more() {
    let (place, newer) = rolled_back();
    let (older, genesis) = (place.dir.path().join("as it was left.db"), place.dir.path().join("old.db"));
    copy(&place.path(), &older);
    let events = place.verify().events;
    fork(&place);
    for copy in [&older, &genesis] {
        let report = place.at(copy).verify().unwrap();
        assert_eq!((report.verdict, report.freshness, report.problems.len()), ("intact", "behind 3".to_owned(), 0));
    }
    assert_eq!(place.at(&older).verify().unwrap().events, events);
    // What was lost is another history than the one that goes on.
    let report = place.at(&newer).verify().unwrap();
    assert_eq!((report.verdict, report.freshness.as_str(), report.problems[0].code.as_str()), ("altered", "forked", "log.forked"));
    // Nobody writes to any of them.
    assert!([&older, &newer].iter().all(|copy| place.at(copy).open().unwrap_err().code() == Code::Forked));
}

#[test]
fn what_was_not_looked_at_is_not_accepted() {
    let (place, _) = rolled_back();
    let events = place.verify().events;
    let refused = |builder: mirrordna::Builder, head: u64, reason: &str| builder.fork(head, reason).unwrap_err();
    let error = refused(place.builder(), events + 1, "why not");
    assert!(error.code() == Code::InputInvalid && error.message().contains(&format!("holds {events} events")), "{error}");
    assert_eq!(refused(place.builder(), events, "  ").code(), Code::InputInvalid);
    assert_eq!(refused(place.builder().keys(Keys::Folder(place.dir.path().join("none"))), events, "x").code(), Code::KeyMissing);
    let error = refused(place.builder().witness(Witness::Off), events, "x");
    assert!(error.code() == Code::InputInvalid && error.message().contains("nothing"), "{error}");
    let engine = place.builder().as_of().open().unwrap();
    assert_eq!(refused(place.builder(), events, "x").code(), Code::StoreInUse);
    engine.close().unwrap();
    assert_eq!(refused(Engine::builder("memory:"), 1, "x").code(), Code::StoreUrl);
    assert_eq!(place.verify().events, events);
    fork(&place);
    let error = refused(place.builder(), place.verify().events, "again");
    assert!(error.code() == Code::InputInvalid && error.message().contains("nothing"), "{error}");
    // What was altered does not become right by a fork.
    let (place, _) = rolled_back();
    Connection::open(place.path()).unwrap().execute("UPDATE event SET body = zeroblob(400) WHERE body IS NOT NULL", []).unwrap();
    assert_eq!(refused(place.builder(), place.verify().events, "x").code(), Code::Altered);
}

#[test]
fn other_databases_can_be_opened_while_one_is_verified_for_a_fork() {
    let place = Place::new();
    let engine = place.open();
    let ada = engine.identities().create(IdentityType::Agent).unwrap();
    for _ in 0..5 {
        let memory = |n: usize| NewMemory { content: Content::Text(format!("memory {n}")), ..NewMemory::default() };
        ada.memories().add_all((0..1_000).map(memory).collect()).unwrap();
    }
    drop(ada);
    engine.close().unwrap();
    lose(&place, "lost");
    let mut opened = 0;
    let mut progress = |_, _| {
        drop(Place::new().open());
        opened += 1;
    };
    place.builder().fork_with(place.verify().events, "the disk was lost", &mut progress).unwrap();
    assert!(opened > 0);
}

#[test]
fn every_tenant_that_was_rolled_back_goes_on() {
    let place = Place::new();
    let names = ["default", "acme", "other"];
    let each = |text: &str| {
        let engine = place.open();
        for tenant in names.map(|name| engine.tenant(name).unwrap()) {
            let agent = match tenant.identities().list().unwrap().pop() {
                Some(agent) => agent,
                None => tenant.identities().create(IdentityType::Agent).unwrap(),
            };
            agent.memories().add(text).send().unwrap();
        }
        engine.close().unwrap();
    };
    each("kept");
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    each("lost");
    copy(&old, &place.path());
    assert_eq!(fork(&place).len(), 3);
    each("new");
    let engine = place.open();
    for tenant in names.map(|name| engine.tenant(name).unwrap()) {
        let texts: Vec<String> = tenant.memories().list(0, 9).unwrap().into_iter().map(|m| m.content).collect();
        assert_eq!((texts, tenant.freshness()), (vec!["kept".to_owned(), "new".to_owned()], "current".to_owned()));
    }
    drop(engine);
    let report = place.verify();
    assert_eq!((report.verdict, report.closed, report.identities), ("intact", 3, 3), "{report:#?}");
}

#[test]
fn a_stranger_who_trusts_the_new_key_trusts_what_it_goes_on_from() {
    let (place, _) = rolled_back();
    let old: Fingerprint = place.verify().log_key.unwrap().parse().unwrap();
    let new: Fingerprint = fork(&place)[0].log_key.parse().unwrap();
    let stranger = || Engine::builder(place.path().to_str().unwrap()).keys(Keys::Folder("/nowhere".into())).witness(Witness::Off);
    assert_eq!(stranger().verify().unwrap().verdict, "unproven");
    assert_eq!(stranger().trust(old).verify().unwrap().verdict, "unproven");
    assert_eq!(stranger().trust(new).verify().unwrap().verdict, "intact");
    let engine = stranger().read_only().open().unwrap();
    assert!(engine.timeline().list(0, 1000).unwrap().iter().any(|e| e.kind == "log.adopt"));
}

#[test]
fn whoever_has_the_old_log_open_writes_no_more_to_it() {
    // The same file for one who keeps no witness, in another process.
    let (place, _) = rolled_back();
    let child = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(child);
    child.args(["--exact", "a_writer_in_another_process", "--ignored", "--nocapture"]);
    child.env("MDNA_TEST_PLACE", place.dir.path()).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut until = |word: &str| while !lines.next().expect("the child ended").unwrap().contains(word) {};
    until("ready");
    // The writer appended once; its events are looked at like any others.
    let events = place.verify().events;
    place.builder().fork(events, "the disk was lost").unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    until("log.closed");
    assert!(child.wait().unwrap().success());
    let report = place.verify();
    assert_eq!((report.verdict, report.closed), ("intact", 1), "{report:#?}");
}

#[test]
#[ignore = "started by another test"]
#[allow(clippy::print_stdout)]
fn a_writer_in_another_process() {
    let dir = PathBuf::from(std::env::var_os("MDNA_TEST_PLACE").expect("it is started by another test"));
    let builder = Engine::builder(dir.join("m.db").to_str().unwrap()).keys(Keys::Folder(dir.join("keys"))).witness(Witness::Off);
    let engine = builder.open().unwrap();
    let ada = agent(&engine);
    ada.memories().add("by one without a witness").send().unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let error = ada.memories().add("too late").send().unwrap_err();
    // What it could still read does not go on: that is no answer either.
    assert_eq!(engine.memories().count().unwrap_err().code(), Code::LogClosed);
    assert_eq!(engine.timeline().follow(0).wait(std::time::Duration::ZERO).unwrap_err().code(), Code::LogClosed);
    println!("{} {error}", error.code().name());
    assert_eq!(error.code(), Code::LogClosed);
}

#[test]
fn rows_that_say_otherwise_are_found() {
    let (place, _) = rolled_back();
    fork(&place);
    say(&place, "new");
    let sound = place.dir.path().join("sound.db");
    copy(&place.path(), &sound);
    let edits = [
        "UPDATE log SET successor = NULL",
        "UPDATE log SET successor = 1 WHERE n = 2",
        "UPDATE log SET successor = 7 WHERE n = 1",
        "UPDATE log SET id = zeroblob(16) WHERE n = 1",
        "DELETE FROM log WHERE n = 1",
        "DELETE FROM log WHERE n = 2",
        "DELETE FROM event WHERE pos = 2 * (1 << 40) + 1",
        "UPDATE event SET body = (SELECT body FROM event WHERE pos = 2 * (1 << 40)) WHERE pos = 2 * (1 << 40) + 1",
    ];
    for edit in edits {
        copy(&sound, &place.path());
        assert!(Connection::open(place.path()).unwrap().execute(edit, []).unwrap() > 0);
        let report = place.builder().witness(Witness::Off).verify().unwrap();
        assert_eq!(report.verdict, "altered", "{edit}: {report:#?}");
        let opened = place.builder().witness(Witness::Off).open().and_then(|engine| engine.memories().count());
        assert_eq!(opened.expect_err(edit).code(), Code::Altered, "{edit}");
    }
}

#[test]
fn rows_of_forked_tenants_cannot_be_exchanged() {
    let place = Place::new();
    let names = ["default", "acme"];
    let each = |text: &str| {
        let engine = place.open();
        for tenant in names.map(|name| engine.tenant(name).unwrap()) {
            let known = tenant.identities().list().unwrap().pop();
            let agent = known.unwrap_or_else(|| tenant.identities().create(IdentityType::Agent).unwrap());
            agent.memories().add(text).send().unwrap();
        }
        engine.close().unwrap();
    };
    each("kept");
    let old = place.dir.path().join("old.db");
    copy(&place.path(), &old);
    each("lost");
    copy(&old, &place.path());
    assert_eq!(fork(&place).len(), 2);
    each("new");
    let sound = place.dir.path().join("sound.db");
    copy(&place.path(), &sound);
    // Of the two that were left (1, 2) and the two that go on from them (3, 4).
    for (a, b) in [(1, 2), (3, 4), (1, 3), (1, 4)] {
        for column in ["n", "id", "size", "time", "frontier", "checkpoint", "signed_frontier", "successor"] {
            copy(&sound, &place.path());
            let db = Connection::open(place.path()).unwrap();
            let exchange = match column {
                "n" => format!(
                    "UPDATE log SET n = -n WHERE n = {a}; UPDATE log SET n = {a} WHERE n = {b}; UPDATE log SET n = {b} WHERE n = -{a}"
                ),
                _ => format!(
                    "UPDATE log SET {column} = new.value FROM (SELECT n, {column} AS value FROM log WHERE n IN ({a}, {b})) AS new
                     WHERE log.n IN ({a}, {b}) AND new.n <> log.n"
                ),
            };
            let of = |n: i64| -> rusqlite::types::Value {
                db.query_row(&format!("SELECT {column} FROM log WHERE n = {n}"), [], |row| row.get(0)).unwrap()
            };
            let same = of(a) == of(b) && column != "n";
            db.execute_batch(&exchange).unwrap();
            drop(db);
            let builder = || place.builder().witness(Witness::Off);
            let verdict = builder().verify().unwrap().verdict;
            assert_eq!(verdict, if same { "intact" } else { "altered" }, "{column} of {a} and {b}");
            for name in names {
                let read = |tenant: mirrordna::Tenant| tenant.memories().list(0, 9);
                // Whoever answers at all answers as before.
                match builder().read_only().open().and_then(|engine| engine.tenant(name)).and_then(read) {
                    Ok(found) => {
                        let texts: Vec<&str> = found.iter().map(|m| m.content.as_str()).collect();
                        assert_eq!(texts, ["kept", "new"], "{column} of {a} and {b}, {name}");
                    }
                    Err(e) => assert!([Code::Altered, Code::Forked].contains(&e.code()), "{column} of {a} and {b}, {name}: {e}"),
                }
            }
        }
    }
}

/// What is done in a database, between the points where it is rolled back.
const WORK: [fn(&Engine); 9] = [
    |engine| {
        for name in ["ada", "bob"] {
            engine
                .identities()
                .create_with(IdentityType::Agent, NewIdentity { name: Some(name.into()), ..NewIdentity::default() })
                .unwrap();
        }
        engine.identities().create(IdentityType::User).unwrap();
    },
    |engine| {
        let ada = engine.identities().find("ada").unwrap();
        let user = engine.identities().list().unwrap().remove(2);
        let session = engine.sessions().start(&ada, &user).unwrap();
        session.memories().add("Prefers trains to planes").tag("travel").idempotency_key("one").send().unwrap();
        session.memories().add("Lives in Basel").send().unwrap();
        session.timeline().append("booking.requested", &json!({"to": "Lyon"})).unwrap();
        engine.identities().find("bob").unwrap().memories().add("x".repeat(70_000)).send().unwrap();
    },
    |engine| drop(engine.snapshots().capture(&engine.identities().find("ada").unwrap(), None).unwrap()),
    |engine| {
        let all = engine.memories().list(0, 10).unwrap();
        let patch = MemoryPatch { content: Some(Content::Text("Prefers night trains".into())), ..MemoryPatch::default() };
        engine.memories().update(&all[0].id, patch).unwrap();
        engine.memories().archive(&all[1].id).unwrap();
    },
    |engine| {
        let ada = engine.identities().find("ada").unwrap();
        // The same again, by its key, whichever log has it.
        let again = ada.memories().add("Prefers trains to planes").idempotency_key("one").send().unwrap();
        assert_eq!(again.id, engine.memories().list(0, 1).unwrap()[0].id);
        let first = engine.sessions().list(Some(&ada)).unwrap().remove(0);
        let first = engine.sessions().resume(&first.id).unwrap();
        let second = engine.sessions().continue_from(&first).unwrap();
        second.memories().add("Likes the window seat on trains").send().unwrap();
        first.end().unwrap();
        second.end().unwrap();
    },
    |engine| {
        // Too large for one event: it names the part that the first one wrote.
        engine.identities().find("bob").unwrap().memories().add("x".repeat(70_000)).send().unwrap();
    },
    |engine| drop(engine.snapshots().capture(&engine.identities().find("ada").unwrap(), None).unwrap()),
    |engine| {
        let snapshots = engine.snapshots().list(None).unwrap();
        engine.snapshots().restore(&snapshots[0].id).unwrap();
    },
    |engine| {
        let new = NewIdentity { name: Some("cyd".into()), ..NewIdentity::default() };
        let cyd = engine.identities().create_with(IdentityType::Agent, new).unwrap();
        cyd.memories().add("came last").send().unwrap();
    },
];

/// What it answers, without ids and times.
fn answers(engine: &Engine) -> Vec<String> {
    let mut out = Vec::new();
    let memories = engine.memories().list(0, 100).unwrap();
    out.push(format!("count {}", engine.memories().count().unwrap()));
    for m in &memories {
        let steps = engine.memories().history(&m.id).unwrap();
        let digest: u64 = m.content.bytes().map(u64::from).sum();
        out.push(format!("{} {digest} {} {} {:?}", m.content.len(), m.archived, steps.len(), m.tags));
    }
    for name in ["ada", "bob", "cyd"] {
        let one = engine.identities().find(name).unwrap();
        out.push(format!("{name} {:?} {}", one.profile().unwrap().name, one.memories().list(0, 100).unwrap().len()));
        let events = one.timeline().list(0, 1000).unwrap();
        let records = events.iter().filter(|e| !e.kind.starts_with("epoch") && e.kind != "identity.entry" && e.kind != "seal");
        out.push(format!("{:?}", records.map(|e| (&e.kind, &e.event_type, &e.body)).collect::<Vec<_>>()));
        for session in engine.sessions().list(Some(&one)).unwrap() {
            let lineage = engine.sessions().lineage(&session.id).unwrap().len();
            let within = engine.sessions().memories(&session.id).unwrap().list(0, 100).unwrap().len();
            out.push(format!("session {lineage} {within} {}", session.ended_at.is_some()));
        }
    }
    for query in ["trains", "window seat", "came last", "Basel"] {
        let hits = engine.memories().search(query).limit(9).run().unwrap();
        out.push(format!("{query} {:?}", hits.iter().map(|h| (h.record.text().len(), format!("{:.3}", h.score))).collect::<Vec<_>>()));
    }
    let snapshots = engine.snapshots().list(None).unwrap();
    let compared = engine.snapshots().compare(&snapshots[0].id, &snapshots[1].id).unwrap();
    out.push(format!("{:?} {} {} {}", compared.changed_sections, compared.added.len(), compared.changed.len(), compared.removed.len()));
    out
}

#[test]
fn a_forked_database_answers_like_one_that_never_was() {
    let plain = Place::new();
    let engine = plain.open();
    WORK.iter().for_each(|step| step(&engine));
    let expected = answers(&engine);
    drop(engine);
    // Between all steps, between every other, in one place only.
    for cuts in [0b1_1111_1110u32, 0b0_1010_1010, 0b0_0000_1000, 0b0_0010_0000] {
        let place = Place::new();
        let mut forks = 0;
        for (at, step) in WORK.iter().enumerate() {
            if cuts >> at & 1 == 1 {
                lose(&place, "lost");
                fork(&place);
                forks += 1;
            }
            let engine = place.open();
            step(&engine);
            engine.close().unwrap();
        }
        let engine = place.open();
        assert_eq!(answers(&engine), expected, "cuts {cuts:b}");
        let mut export = Vec::new();
        engine.export(&mut export).unwrap();
        engine.close().unwrap();
        let report = place.verify();
        assert_eq!((report.verdict, report.closed, report.identities), ("intact", forks, 4), "{report:#?}");
        // All of its logs come back from an export, for one who saw nothing of it.
        let restored = place.dir.path().join("restored.db");
        let there = || place.at(&restored).witness(Witness::Off);
        there().restore(&mut export.as_slice()).unwrap();
        assert_eq!((there().verify().unwrap().head, there().verify().unwrap().closed), (report.head, forks));
        assert_eq!(answers(&there().open().unwrap()), expected);
    }
}

/// Imports a chat of `turns` turns; `until` many bytes were read, if it is cut
/// short there.
fn import_chat(place: &Place, turns: usize, until: Option<u64>) -> Option<ImportReport> {
    let file = place.dir.path().join("chat.jsonl");
    let line = |n| format!("{{\"speaker\":\"Sam\",\"text\":\"turn number {n}\",\"id\":\"{n}\",\"timestamp\":\"2026-01-01T00:00:00Z\"}}\n");
    std::fs::write(&file, (0..turns).map(line).collect::<String>()).unwrap();
    let engine = place.open();
    let mut progress = |done, _| assert!(until.is_none_or(|until| done < until), "it is killed here");
    let mut run = || import(&engine.main(), std::slice::from_ref(&file), Format::Chat, &mut progress).unwrap();
    let report = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut run)).ok();
    engine.close().unwrap();
    report
}

#[test]
fn imports_and_lineages_go_on_over_a_fork() {
    let (place, _) = rolled_back();
    fork(&place);
    let citation = |engine: &Engine, predecessor: Option<&str>| {
        let new = Citation {
            version: "1.0.0".into(),
            vault_id: "vault_of_the_harbour_office".into(),
            predecessor: predecessor.map(str::to_owned),
            ..Citation::default()
        };
        agent(engine).citations().add(&new).unwrap().id
    };
    let first = citation(&place.open(), None);
    let early = agent(&place.open()).timeline().append("early", &json!({})).unwrap();
    assert!(import_chat(&place, 3_000, Some(1)).is_none(), "the first progress comes after the first batch");
    let there = place.open().memories().count().unwrap();
    assert!(there > 1 && there < 3_000, "{there}");
    lose(&place, "lost");
    fork(&place);
    // What was there is known again, the rest comes.
    let report = import_chat(&place, 3_000, None).unwrap();
    assert_eq!((report.kept, report.refused), (3_000, 0));
    assert_eq!(place.open().memories().count().unwrap(), 3_001);
    lose(&place, "lost");
    fork(&place);
    let report = import_chat(&place, 3_000, None).unwrap();
    assert_eq!((report.kept, report.refused, report.events), (3_000, 0, 0));

    let engine = place.open();
    let second = citation(&engine, Some(&first));
    let citations = engine.citations();
    let lineage: Vec<String> = citations.lineage(&second).unwrap().into_iter().map(|c| c.id).collect();
    assert!(lineage.contains(&first) && lineage.len() == 2, "{lineage:?}");
    let changed = Citation { tags: Some(vec!["ops".into()]), ..citations.get(&first).unwrap().read().unwrap() };
    citations.update(&first, &changed).unwrap();
    assert!(citations.verify(&first).unwrap().ok && citations.history(&first).unwrap().len() == 2);
    // A time is found in whichever log has it.
    let late = agent(&engine).timeline().append("late", &json!({})).unwrap();
    let timeline = engine.timeline().list(0, 9_999).unwrap();
    for placed in [early, late] {
        let (at, found) = (placed.index as usize, engine.timeline().first_at(placed.time as i64).unwrap() as usize);
        assert!(found <= at && timeline[found].time == timeline[at].time && timeline[found - 1].time < timeline[at].time);
    }
}
