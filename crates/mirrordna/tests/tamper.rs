//! Whoever edits the database file by hand is found out: every column of every
//! table, rows added, deleted, duplicated and swapped, and the whole log
//! re-signed with other keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Builder, Code, IdentityType, VerifyReport, Witness};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use std::path::Path;

/// Verifies a copy of the fixture after `edit`.
fn after(place: &Place, edit: impl FnOnce(&Connection)) -> VerifyReport {
    edited(place, edit).verify().unwrap()
}

/// A copy of the fixture after `edit`.
fn edited(place: &Place, edit: impl FnOnce(&Connection)) -> Builder {
    let copy = place.copied("copy.db");
    let db = Connection::open(&copy).unwrap();
    edit(&db);
    drop(db);
    place.at(&copy).witness(Witness::Off)
}

fn columns(db: &Connection, table: &str) -> Vec<String> {
    let mut s = db.prepare(&format!("PRAGMA table_info({table})")).unwrap();
    s.query_map([], |r| r.get(1)).unwrap().map(Result::unwrap).collect()
}

fn tables(db: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'cache!_%' ESCAPE '!' ORDER BY name";
    db.prepare(sql).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

fn changed(value: &Value) -> Vec<Value> {
    match value {
        Value::Integer(n) => vec![Value::Integer(n + 1), Value::Integer(n + (1 << 39)), Value::Integer(-n - 1)],
        Value::Blob(b) => {
            let mut flipped = b.clone();
            if let Some(byte) = flipped.get_mut(b.len() / 2) {
                *byte ^= 0x10;
            }
            let mut longer = b.clone();
            longer.push(0);
            vec![Value::Blob(flipped), Value::Blob(longer), Value::Blob(b[..b.len().saturating_sub(1)].to_vec()), Value::Blob(Vec::new())]
        }
        Value::Text(t) => vec![Value::Text(t.replacen('1', "2", 1)), Value::Text(format!("{t} ")), Value::Text(String::new())],
        Value::Null => vec![Value::Integer(1), Value::Blob(vec![0; 40])],
        other @ Value::Real(_) => panic!("no column holds {other:?}"),
    }
}

#[test]
fn every_column_of_every_table_is_evidence() {
    let place = Place::written();
    let db = Connection::open(place.path()).unwrap();
    let all = tables(&db);
    assert_eq!(all, ["event", "head", "log", "subject", "tile"]);
    let mut edits = 0;
    for table in &all {
        // The one table without rowid is keyed by its actor here.
        let key = if table == "head" { "actor" } else { "rowid" };
        let rows: Vec<Value> = db
            .prepare(&format!("SELECT {key} FROM {table} ORDER BY {key}"))
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut sample: Vec<usize> = vec![0, 1, rows.len() / 2, rows.len().saturating_sub(2), rows.len() - 1];
        sample.retain(|i| *i < rows.len());
        sample.dedup();
        for column in columns(&db, table) {
            for row in sample.iter().map(|i| &rows[*i]) {
                let old: Value = db.query_row(&format!("SELECT {column} FROM {table} WHERE {key} = ?1"), [row], |r| r.get(0)).unwrap();
                for new in changed(&old).into_iter().filter(|n| *n != old) {
                    let mut took_effect = false;
                    let report = after(&place, |db| {
                        let done = db.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2"), params![new, row]);
                        took_effect = done.is_ok();
                    });
                    edits += i32::from(took_effect);
                    // An edit that a constraint refuses did not happen.
                    let expected = if took_effect { "altered" } else { "intact" };
                    assert_eq!(report.verdict, expected, "{table}.{column} row {row:?}: {old:?} -> {new:?}");
                    assert_eq!(took_effect, !report.problems.is_empty());
                }
            }
        }
    }
    assert!(edits > 150, "{edits} edits took effect");
}

#[test]
fn rows_added_deleted_swapped_and_duplicated_are_found() {
    let place = Place::written();
    let edits = [
        "DELETE FROM event WHERE pos = (SELECT max(pos) FROM event)",
        "DELETE FROM event WHERE pos = (SELECT min(pos) FROM event)",
        "DELETE FROM event WHERE pos = (1 << 40) + 7",
        "UPDATE event SET body = NULL WHERE pos = (1 << 40) + 7",
        "UPDATE event SET secret = NULL WHERE pos = (1 << 40) + 7",
        "UPDATE event SET subject = NULL, secret = NULL WHERE pos = (1 << 40) + 7",
        "UPDATE event SET body = NULL, subject = NULL, secret = NULL WHERE pos = (1 << 40) + 7",
        "DELETE FROM subject WHERE n = 2",
        "DELETE FROM head WHERE last = 0",
        "DELETE FROM tile",
        "DELETE FROM log WHERE n = 1",
        "DELETE FROM log",
        "INSERT INTO event SELECT (SELECT max(pos) + 1 FROM event), leaf, body, subject, secret FROM event WHERE pos = (1 << 40) + 7",
        "INSERT INTO event SELECT (7 << 40), leaf, body, subject, secret FROM event WHERE pos = (1 << 40) + 7",
        "INSERT INTO event VALUES((1 << 40) + 900, x'00', NULL, NULL, NULL)",
        "INSERT INTO event VALUES((1 << 40) - 1, x'00', NULL, NULL, NULL)",
        "INSERT INTO event VALUES(-1, x'00', NULL, NULL, NULL)",
        "INSERT INTO event VALUES(9223372036854775807, x'00', NULL, NULL, NULL)",
        "INSERT INTO head(log, actor, last) VALUES(1, randomblob(32), 3)",
        "INSERT INTO subject(log, tag, key) VALUES(1, randomblob(32), randomblob(40))",
        "INSERT INTO tile VALUES((1 << 43) + 5, zeroblob(8192))",
        "INSERT INTO tile VALUES((1 << 43) + (7 << 40), zeroblob(8192))",
        "INSERT INTO tile VALUES((1 << 43) + (2 << 40) + (1 << 40) - 1, zeroblob(8192))",
        "INSERT INTO log SELECT 9, randomblob(16), size, time, frontier, checkpoint, signed_frontier, successor FROM log WHERE n = 1",
        "UPDATE event SET pos = 1 WHERE pos = (1 << 40) + 7; UPDATE event SET pos = (1 << 40) + 7 WHERE pos = (1 << 40) + 8;
         UPDATE event SET pos = (1 << 40) + 8 WHERE pos = 1",
        "UPDATE event SET leaf = (SELECT leaf FROM event WHERE pos = (1 << 40) + 8) WHERE pos = (1 << 40) + 9",
        "UPDATE event SET body = (SELECT body FROM event WHERE pos = (1 << 40) + 8) WHERE pos = (1 << 40) + 9",
        "UPDATE event SET secret = (SELECT secret FROM event WHERE pos = (1 << 40) + 8) WHERE pos = (1 << 40) + 9",
        "UPDATE event SET leaf = (SELECT leaf FROM event WHERE pos = (2 << 40) + 7), body = (SELECT body FROM event WHERE pos = (2 << 40) + 7),
         subject = (SELECT subject FROM event WHERE pos = (2 << 40) + 7), secret = (SELECT secret FROM event WHERE pos = (2 << 40) + 7)
         WHERE pos = (1 << 40) + 7",
        "DROP INDEX subject_tag",
        "DROP TABLE tile",
        "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event WHERE pos = new.pos; END",
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'subject_tag'",
    ];
    for edit in edits {
        let report = after(&place, |db| db.execute_batch(edit).unwrap_or_else(|e| panic!("{edit}: {e}")));
        assert_eq!(report.verdict, "altered", "{edit}: {report:#?}");
    }
    // The last events of a log, cut off cleanly, its row set back to match:
    // without an older checkpoint elsewhere this is seen by its own checkpoint.
    let cut = "DELETE FROM event WHERE pos >= (1 << 40) + 250 AND pos < (2 << 40); UPDATE log SET size = 250 WHERE n = 1";
    assert_eq!(after(&place, |db| db.execute_batch(cut).unwrap()).verdict, "altered");
}

#[test]
fn headers_alone_tell_what_they_can_and_say_what_they_cannot() {
    let place = Place::written();
    let everything = place.verify();
    let intact = place.builder().headers_only().verify().unwrap();
    let private = everything.bodies.present - intact.bodies.present;
    assert!((intact.verdict, intact.problems.len()) == ("intact", 0) && private > 260);
    assert_eq!((intact.bodies.unread, intact.bodies.missing, intact.bodies.locked), (Some(private), 0, 0));
    assert_eq!(everything.bodies.unread, None);
    assert_eq!((intact.head.as_str(), intact.events), (everything.head.as_str(), everything.events));
    assert_eq!((intact.unsigned, intact.checkpointed, &intact.freshness), (0, everything.checkpointed, &everything.freshness));

    let headers = |edit: &str| {
        let report = edited(&place, |db| db.execute_batch(edit).unwrap_or_else(|e| panic!("{edit}: {e}"))).headers_only().verify().unwrap();
        (report.verdict, report.problems.iter().map(|p| p.code.clone()).collect::<Vec<_>>())
    };
    // What stands in the last fifty bytes of a header: session, commitment, length.
    let flip = |offset: usize| {
        format!(
            "UPDATE event SET leaf = CAST(substr(leaf, 1, {offset}) || CASE substr(leaf, {offset} + 1, 1) WHEN x'00' THEN x'01' ELSE x'00' END
             || substr(leaf, {offset} + 2) AS BLOB) WHERE pos = (1 << 40) + 9"
        )
    };
    let signed = "(SELECT max(pos) FROM event WHERE pos < (2 << 40) AND substr(leaf, 1, 1) = x'd2')";
    let found = [
        // An altered leaf.
        (flip(130), "chain.broken"),
        // A cut tail, and the row set back to match.
        (
            "DELETE FROM event WHERE pos >= (1 << 40) + 250 AND pos < (2 << 40); UPDATE log SET size = 250 WHERE n = 1".to_owned(),
            "log.truncated",
        ),
        // Two rows in each other's place.
        (
            "UPDATE event SET pos = 1 WHERE pos = (1 << 40) + 20; UPDATE event SET pos = (1 << 40) + 20 WHERE pos = (1 << 40) + 21;
             UPDATE event SET pos = (1 << 40) + 21 WHERE pos = 1"
                .to_owned(),
            "chain.broken",
        ),
        // A forged signature: the last byte of a signed leaf.
        (
            format!("UPDATE event SET leaf = CAST(substr(leaf, 1, length(leaf) - 1) || x'77' AS BLOB) WHERE pos = {signed}"),
            "signature.invalid",
        ),
        // A body that is gone, one of another length, one without its secret.
        ("UPDATE event SET body = NULL, subject = NULL, secret = NULL WHERE pos = (1 << 40) + 12".to_owned(), "body.missing"),
        ("UPDATE event SET body = CAST(body || x'00' AS BLOB) WHERE pos = (1 << 40) + 12".to_owned(), "body.altered"),
        ("UPDATE event SET subject = NULL, secret = NULL WHERE pos = (1 << 40) + 12".to_owned(), "secret.missing"),
        ("UPDATE event SET body = NULL WHERE pos = (1 << 40) + 12".to_owned(), "secret.stray"),
        // Public bodies are read: the keys of actors stand in them.
        ("UPDATE event SET body = zeroblob(length(body)) WHERE pos = (1 << 40)".to_owned(), "body.altered"),
        ("UPDATE event SET body = NULL WHERE pos = (1 << 40) + 1".to_owned(), "body.missing"),
        ("UPDATE event SET subject = 1, secret = zeroblob(40) WHERE pos = (1 << 40) + 1".to_owned(), "secret.stray"),
        // Rows beside the leaves.
        ("UPDATE tile SET data = zeroblob(8192)".to_owned(), "tile.altered"),
        ("UPDATE head SET last = last - 1 WHERE last > 100".to_owned(), "head.altered"),
        ("UPDATE log SET frontier = CAST(frontier || x'00' AS BLOB)".to_owned(), "log.row"),
        ("INSERT INTO event VALUES((1 << 40) + 900, x'00', NULL, NULL, NULL)".to_owned(), "store.stray_row"),
    ];
    for (edit, code) in found {
        let (verdict, codes) = headers(&edit);
        assert!(verdict == "altered" && codes.iter().any(|c| c == code), "{edit}: {verdict}, {codes:?}");
    }

    // What nobody read is not called intact, and not called missing: unread.
    for edit in [
        "UPDATE event SET body = zeroblob(length(body)) WHERE pos = (1 << 40) + 12",
        "UPDATE event SET secret = zeroblob(40) WHERE pos = (1 << 40) + 12",
        "UPDATE subject SET key = zeroblob(40)",
        "DROP INDEX subject_tag",
    ] {
        let copy = || edited(&place, |db| db.execute_batch(edit).unwrap());
        let report = copy().headers_only().verify().unwrap();
        assert_eq!((report.verdict, report.bodies), ("intact", intact.bodies), "{edit}");
        assert_eq!(copy().verify().unwrap().verdict, "altered", "{edit}");
    }
}

#[test]
fn a_database_signed_with_other_keys_is_unproven() {
    let (place, stranger) = (Place::written(), Place::written());
    let report = place.at(&stranger.path()).verify().unwrap();
    assert_eq!((report.verdict, report.problems.len()), ("unproven", 0));
}

#[test]
fn a_log_that_was_cut_below_its_checkpoint_is_not_read() {
    let place = Place::new();
    let short = place.dir.path().join("short.db");
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.memories().add("kept").send().unwrap();
    drop(agent);
    engine.close().unwrap();
    std::fs::copy(place.path(), &short).unwrap();
    let engine = place.open();
    engine.identities().list().unwrap().remove(0).memories().add("cut off").send().unwrap();
    engine.close().unwrap();
    // All is as it was when the log was shorter, but for what signs more of it.
    let cut = |db: &Connection| {
        let sql = format!(
            "ATTACH '{}' AS short; DELETE FROM event WHERE pos NOT IN (SELECT pos FROM short.event); DELETE FROM head;
             INSERT INTO head SELECT * FROM short.head; UPDATE log SET (size, time, frontier) = (SELECT size, time, frontier FROM short.log)",
            short.display()
        );
        db.execute_batch(&sql).unwrap();
    };
    assert_eq!(after(&place, cut).verdict, "altered");
    let opened = edited(&place, cut).open().and_then(|engine| engine.memories().count());
    assert_eq!(opened.unwrap_err().code(), Code::Altered);
    let opened = edited(&place, cut).read_only().open().and_then(|engine| engine.memories().count());
    assert_eq!(opened.unwrap_err().code(), Code::Altered);
}

#[test]
fn an_open_engine_refuses_altered_rows_on_read() {
    let place = Place::written();
    let alter = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let engine = place.open();
    let id = engine.memories().list(0, 1).unwrap()[0].id.clone();
    alter(&place.path(), "UPDATE event SET body = zeroblob(length(body)) WHERE pos < (2 << 40)");
    assert_eq!(engine.memories().get(&id).unwrap_err().code(), Code::Altered);
    drop(engine);
    let place = Place::written();
    alter(&place.path(), "UPDATE event SET leaf = (SELECT leaf FROM event WHERE pos = (1 << 40) + 8) WHERE pos = (1 << 40) + 9");
    let engine = place.open();
    assert!(matches!(engine.memories().list(0, 10).unwrap_err().code(), Code::Altered | Code::Forked));
}

#[test]
fn an_event_put_behind_the_last_one_is_refused_by_readers_and_writers() {
    let place = Place::written();
    for gap in [1, 100] {
        let insert =
            format!("INSERT INTO event SELECT (SELECT max(pos) + {gap} FROM event), leaf, body, subject, secret FROM event LIMIT 1");
        let engine = edited(&place, |db| db.execute_batch(&insert).unwrap()).open().unwrap();
        // It stands behind the log of the second tenant; the first one has nothing to do with it.
        assert_eq!(engine.memories().count().unwrap(), 5);
        let other = engine.tenant("other").unwrap();
        assert_eq!(other.memories().count().unwrap_err().code(), Code::Altered, "{gap}");
        let created = other.identities().create(IdentityType::Agent);
        assert_eq!(created.unwrap_err().code(), Code::Altered, "{gap}");
        drop((other, engine));

        // Beneath an engine that is open: what it reads is not that event, and it writes none beside it.
        let engine = edited(&place, |_| ()).open().unwrap();
        let other = engine.tenant("other").unwrap();
        assert_eq!(other.memories().count().unwrap(), 5);
        Connection::open(place.dir.path().join("copy.db")).unwrap().execute_batch(&insert).unwrap();
        assert_eq!(other.memories().count().unwrap(), 5);
        let created = other.identities().create(IdentityType::Agent);
        assert_eq!(created.unwrap_err().code(), Code::Altered, "{gap}");
    }
}

#[test]
fn no_event_is_placed_by_a_row_that_was_altered() {
    let place = Place::written();
    for edit in [
        // A head set back would have its actor sign a second event of one number.
        "UPDATE head SET last = 6 WHERE log = 1 AND last > 100",
        "DELETE FROM head WHERE log = 1 AND last > 100",
        // A clock set forward or back would be signed as the time of what comes.
        "UPDATE log SET time = time + 1 WHERE n = 1",
        "UPDATE log SET time = time - 1 WHERE n = 1",
    ] {
        let before = after(&place, |db| db.execute_batch(edit).unwrap());
        let engine = edited(&place, |db| db.execute_batch(edit).unwrap()).open().unwrap();
        // Nothing that is read depends on these rows.
        let agent = engine.identities().list().unwrap().remove(0);
        let appended = agent.timeline().append("tick", &serde_json::json!(0));
        assert_eq!(appended.unwrap_err().code(), Code::Altered, "{edit}");
        drop((agent, engine));
        let now = place.at(&place.dir.path().join("copy.db")).witness(Witness::Off).verify().unwrap();
        assert_eq!((now.events, now.verdict), (before.events, "altered"), "{edit}");
    }
}

#[test]
fn who_holds_no_key_cannot_add_an_event_in_an_identitys_name() {
    use mirrordna_core::verify::{Ledger, Trust, ledger::Stored};
    use mirrordna_core::{Header, Kind, Leaf};
    let place = Place::written();
    let db = Connection::open(place.path()).unwrap();
    let mut rows = db.prepare("SELECT leaf, body FROM event WHERE pos < (2 << 40) ORDER BY pos").unwrap();
    let events: Vec<(Vec<u8>, Option<Vec<u8>>)> = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
    let mut ledger = Ledger::new(Trust::none());
    for (leaf, body) in &events {
        ledger.leaf(leaf, body.as_deref().map_or(Stored::Nothing, Stored::Bytes));
    }
    // An unsigned event that names the identity's own key as its signer.
    let last = Leaf::decode(&events.last().unwrap().0).unwrap().header;
    let (prev, aseq) = ledger.head(&last.actor).unwrap();
    let forged = Header { aseq, prev, signer: 0, kind: Kind::EVENT, body: [0; 32], length: 0, refs: Vec::new(), ..last };
    ledger.leaf(&forged.encode(), Stored::Nothing);
    let report = ledger.finish();
    assert_eq!(report.problems.iter().map(|p| p.code).collect::<Vec<_>>(), ["signature.missing"]);
}

#[test]
fn a_view_that_is_of_something_else_is_found() {
    let place = Place::written();
    let report = after(&place, |db| {
        db.execute_batch("PRAGMA writable_schema = 1; UPDATE sqlite_schema SET tbl_name = CAST(tbl_name AS BLOB) WHERE name = 'actors'")
            .unwrap();
    });
    assert_eq!((report.verdict, report.problems[0].code.as_str()), ("altered", "store.damaged"), "{report:#?}");
}

#[test]
fn a_tenant_whose_log_was_hidden_is_not_made_anew() {
    let place = Place::written();
    let db = Connection::open(place.path()).unwrap();
    // The tag is the last field of the genesis of the second log.
    let body: Vec<u8> = db.query_row("SELECT body FROM event WHERE pos = 2 << 40", [], |r| r.get(0)).unwrap();
    let mut hidden = body.clone();
    *hidden.last_mut().unwrap() ^= 1;
    db.execute("UPDATE event SET body = ?1 WHERE pos = 2 << 40", [&hidden]).unwrap();
    let engine = place.open();
    assert_eq!(engine.tenant("other").unwrap_err().code(), Code::Altered);
    assert_eq!(engine.tenant("a third one").unwrap_err().code(), Code::Altered);
    db.execute("UPDATE event SET body = ?1 WHERE pos = 2 << 40", [&body]).unwrap();
    assert_eq!(engine.tenant("other").unwrap().memories().count().unwrap(), 5);
}
