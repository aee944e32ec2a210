//! What a raw edit of the file can do to those who go on working with it, not
//! knowing: a reader is refused or told what it was told before, and a writer is
//! refused or adds to the log what leaves the edit to be found, and nothing that
//! could not be repaired.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{Builder, Code, Witness};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

fn copy(place: &Place) -> Builder {
    place.at(&place.dir.path().join("copy.db")).witness(Witness::Off)
}

/// A copy of the database after an edit; `None` if that did not take effect.
fn edited(place: &Place, edit: &dyn Fn(&Connection) -> rusqlite::Result<()>) -> Option<Builder> {
    let db = Connection::open(place.copied("copy.db")).unwrap();
    edit(&db).ok()?;
    Some(copy(place))
}

/// All that readers ask for.
fn answers(builder: Builder) -> mirrordna::Result<String> {
    let engine = builder.read_only().open()?;
    let mut out = Vec::new();
    for tenant in ["default", "other"] {
        let tenant = engine.tenant(tenant)?;
        for identity in tenant.identities().list()? {
            out.push(format!("{:?} {:?}", identity.id(), identity.profile()?));
        }
        out.push(format!("{:?}", tenant.sessions().list(None)?));
        out.push(format!("{:?}", tenant.memories().list(0, 100)?));
        out.push(format!("{:?}", tenant.memories().search("memory number 2").run()?));
        out.push(format!("{:?}", tenant.timeline().list(0, 1000)?));
        out.push(format!("{:?}", tenant.memories().count()?));
    }
    Ok(out.join("\n"))
}

/// Codes of what verification finds.
fn findings(builder: Builder) -> BTreeSet<String> {
    builder.verify().unwrap().problems.into_iter().map(|p| p.code).collect()
}

/// Appends to both tenants, as identities that are there.
fn appended(builder: Builder) -> mirrordna::Result<()> {
    let engine = builder.open()?;
    for tenant in ["default", "other"] {
        let agent = engine.tenant(tenant)?.identities().list()?.remove(0);
        agent.memories().add("one more").subject("person 2").send()?;
        agent.timeline().append("tick", &serde_json::json!(0))?;
    }
    engine.close()
}

fn changed(value: &Value) -> Vec<Value> {
    match value {
        Value::Integer(n) => vec![Value::Integer(n + 1), Value::Integer(n - 1)],
        Value::Blob(b) => {
            let mut flipped = b.clone();
            if let Some(byte) = flipped.get_mut(b.len() / 2) {
                *byte ^= 0x10;
            }
            vec![Value::Blob(flipped), Value::Blob(Vec::new())]
        }
        Value::Text(t) => vec![Value::Text(t.replacen('1', "2", 1)), Value::Text(String::new())],
        Value::Null => vec![Value::Integer(1), Value::Blob(vec![0; 40])],
        other @ Value::Real(_) => panic!("no column holds {other:?}"),
    }
}

/// The code of a refusal, which must be one that speaks of evidence.
fn refusal<T>(done: mirrordna::Result<T>, what: &str) -> Option<T> {
    let refused = |e: mirrordna::Error| assert!(matches!(e.code(), Code::Altered | Code::Forked | Code::RolledBack), "{what}: {e}");
    done.map_err(refused).ok()
}

#[test]
fn no_edit_changes_an_answer_or_is_built_upon() {
    let place = Place::written();
    let told = answers(edited(&place, &|_| Ok(())).unwrap()).unwrap();
    let db = Connection::open(place.path()).unwrap();
    // Per column: whether some edit of it was refused to readers, and whether one was not.
    let (mut readers, mut writers, mut edits) = (BTreeMap::<String, [bool; 2]>::new(), [0, 0], 0);
    for table in ["event", "head", "log", "subject", "tile"] {
        let key = if table == "head" { "actor" } else { "rowid" };
        let mut list = db.prepare(&format!("SELECT {key} FROM {table} ORDER BY {key}")).unwrap();
        let rows: Vec<Value> = list.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        let mut sample = vec![0, 1, 7, rows.len() - 1];
        sample.retain(|i| *i < rows.len());
        sample.dedup();
        let mut info = db.prepare(&format!("PRAGMA table_info({table})")).unwrap();
        let columns: Vec<String> = info.query_map([], |r| r.get(1)).unwrap().map(Result::unwrap).collect();
        for column in columns {
            for row in sample.iter().map(|i| &rows[*i]) {
                let old: Value = db.query_row(&format!("SELECT {column} FROM {table} WHERE {key} = ?1"), [row], |r| r.get(0)).unwrap();
                for new in changed(&old).into_iter().filter(|n| *n != old) {
                    let what = format!("{table}.{column} of {row:?} to {new:?}");
                    let edit = |db: &Connection| {
                        db.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2"), params![new, row]).map(drop)
                    };
                    // A constraint may refuse it.
                    let Some(builder) = edited(&place, &edit) else { continue };
                    edits += 1;
                    let answered = refusal(answers(builder), &what);
                    if let Some(now) = &answered {
                        assert!(*now == told, "{what} changes what readers are told");
                    }
                    readers.entry(format!("{table}.{column}")).or_default()[usize::from(answered.is_some())] = true;

                    let before = findings(edited(&place, &edit).unwrap());
                    assert!(!before.is_empty(), "{what}");
                    let added = refusal(appended(edited(&place, &edit).unwrap()), &what);
                    writers[usize::from(added.is_some())] += 1;
                    assert_eq!(findings(copy(&place)), before, "{what}: what is found after something was added");
                }
            }
        }
    }
    let indifferent: Vec<&str> = readers.iter().filter(|(_, seen)| seen[1]).map(|(column, _)| &**column).collect();
    // No answer comes from these: writers need heads, tiles are for proofs, and of the time only the next event is told.
    assert_eq!(indifferent, ["head.actor", "head.last", "head.log", "log.time", "tile.data", "tile.id"]);
    assert!(readers.values().all(|seen| seen[0] != seen[1]), "{readers:?}");
    // How many heads are of somebody who writes here depends on their digests.
    assert!(edits > 100 && writers[0] > 80 && writers[1] > 3, "{edits} edits, writers refused and not: {writers:?}");
}
