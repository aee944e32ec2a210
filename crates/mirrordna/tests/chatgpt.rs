//! Importing ChatGPT exports, whole and damaged. The files are made here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::Engine;
use mirrordna::import::{Format, ImportReport, Source, import, plan};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn run(engine: &Engine, path: &Path) -> ImportReport {
    import(&engine.main(), &[PathBuf::from(path)], Format::Auto, &mut |_, _| {}).unwrap()
}

/// A node with a text.
fn said(id: &str, parent: &str, role: &str, text: &str, time: f64) -> (String, Value) {
    let message = json!({
        "id": format!("m-{id}"), "author": {"role": role, "name": null, "metadata": {}}, "create_time": time,
        "content": {"content_type": "text", "parts": [text]}, "status": "finished_successfully", "end_turn": true,
        "weight": 1.0, "metadata": {"model_slug": "model-x"}, "recipient": "all", "channel": null,
    });
    (id.to_owned(), json!({"id": id, "parent": parent, "children": [], "message": message}))
}

fn root() -> (String, Value) {
    ("root".to_owned(), json!({"id": "root", "parent": null, "children": [], "message": null}))
}

fn conversation(id: &str, current: &str, nodes: Vec<(String, Value)>) -> Value {
    let mapping: serde_json::Map<String, Value> = nodes.into_iter().collect();
    json!({
        "title": format!("About {id}"), "create_time": 1_700_000_000.25, "update_time": 1_700_000_900.5, "mapping": mapping,
        "moderation_results": [], "current_node": current, "conversation_id": id, "id": id, "default_model_slug": "model-x",
    })
}

/// A conversation of one question and one answer.
fn small(id: &str) -> Value {
    let (q, a) = (format!("{id}-q"), format!("{id}-a"));
    let nodes = vec![root(), said(&q, "root", "user", &format!("what about {id}?"), 1.5), said(&a, &q, "assistant", "that is so", 2.5)];
    conversation(id, &a, nodes)
}

/// With an edited question: two branches from the root, one that forks again.
fn forked() -> Value {
    let nodes = vec![
        root(),
        said("s", "root", "system", "", 0.0),
        said("q1", "s", "user", "where shall we sail to?", 1_700_000_001.123),
        said("a1", "q1", "assistant", "to the island", 1_700_000_002.0),
        said("q2", "s", "user", "where shall we sail in May?", 1_700_000_003.0),
        said("a2", "q2", "assistant", "to the cape, by the ferry", 1_700_000_004.0),
        said("a2b", "q2", "assistant", "to the lagoon", 1_700_000_005.0),
        said("q3", "a2b", "user", "and back?", 1_700_000_006.0),
    ];
    conversation("c-fork", "a2", nodes)
}

fn write(place: &Place, name: &str, conversations: &[Value]) -> PathBuf {
    let path = place.dir.path().join(name);
    std::fs::write(&path, serde_json::to_vec(conversations).unwrap()).unwrap();
    path
}

#[test]
fn a_conversation_is_a_session_and_its_branches_follow_it() {
    let place = Place::new();
    let engine = place.open();
    let file = write(&place, "conversations.json", &[forked(), small("c-two")]);
    assert_eq!(plan(std::slice::from_ref(&file), Format::Auto).unwrap(), [Source { file: file.clone(), format: Format::ChatGpt }]);
    let first = run(&engine, &file);
    assert_eq!((first.files, first.kept, first.repaired, first.refused), (1, 9, 0, 0), "{first:#?}");
    let sessions = engine.sessions().list(None).unwrap();
    let by = |id: &str| sessions.iter().find(|s| s.source_id.as_deref() == Some(id)).unwrap();
    assert_eq!(sessions.len(), 4);
    let main = by("c-fork");
    assert_eq!((main.parent.as_deref(), main.started_at.as_str()), (None, "2023-11-14T22:13:20.250Z"));
    assert_eq!(main.ended_at.as_deref(), Some("2023-11-14T22:13:24.000Z"), "when its last message was said");
    assert!(sessions.iter().all(|s| s.ended_at.is_some()));
    let about: Value = serde_json::from_str(main.metadata.as_deref().unwrap()).unwrap();
    assert_eq!((&about["title"], &about["update_time"]), (&json!("About c-fork"), &json!(1_700_000_900.5)));
    for branch in ["c-fork#q1", "c-fork#a2b"] {
        assert_eq!(by(branch).parent.as_deref(), Some(main.id.as_str()), "{branch}");
        assert_eq!(engine.sessions().lineage(&by(branch).id).unwrap().len(), 2);
    }
    let memories = engine.memories().list(0, 100).unwrap();
    let texts = |session: &str| -> Vec<&str> {
        memories.iter().filter(|m| m.session.as_deref() == Some(&by(session).id)).map(|m| m.content.as_str()).collect()
    };
    assert_eq!(texts("c-fork")[1..], ["where shall we sail in May?", "to the cape, by the ferry"]);
    assert_eq!(texts("c-fork#q1"), ["where shall we sail to?", "to the island"]);
    assert_eq!(texts("c-fork#a2b"), ["to the lagoon", "and back?"]);
    let system = &memories[0];
    assert!(system.is_json && system.content.contains("\"parts\":[\"\"]"), "an empty message is kept as it is");
    let question = memories.iter().find(|m| m.content == "where shall we sail to?").unwrap();
    assert_eq!((question.role.as_deref(), question.timestamp.as_str()), (Some("user"), "2023-11-14T22:13:21.123Z"));
    assert_eq!(question.source_id.as_deref(), Some("m-q1"));
    let about: Value = serde_json::from_str(question.metadata.as_deref().unwrap()).unwrap();
    assert_eq!(about["metadata"]["model_slug"], "model-x");
    assert_eq!((&about["node"], &about["content"]), (&json!({"id": "q1", "parent": "s"}), &json!({"content_type": "text"})));
    let agent = engine.identities().find("chatgpt").unwrap();
    let hits = agent.memories().search("which ferry to the cape?").limit(1).run().unwrap();
    assert_eq!(hits[0].record.content, "to the cape, by the ferry");
    // Once more: nothing is appended, and the counts are the same.
    let second = run(&engine, &file);
    assert_eq!((second.kept, second.refused, second.events), (9, 0, 0));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_later_export_brings_only_what_is_new() {
    let place = Place::new();
    let engine = place.open();
    let all: Vec<Value> = (0..40).map(|i| small(&format!("c{i}"))).collect();
    let whole = serde_json::to_vec(&all).unwrap();
    let path = place.dir.path().join("conversations.json");
    // What a download that broke off, or a killed run, leaves behind.
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let first = run(&engine, &path);
    assert_eq!((first.refused, first.notes.last().unwrap().reason), (1, "truncated"));
    assert!(first.kept > 20 && first.kept < 60, "{}", first.kept);
    std::fs::write(&path, &whole).unwrap();
    let second = run(&engine, &path);
    assert_eq!((second.kept, second.refused), (80, 0));
    assert_eq!(engine.memories().count().unwrap(), 80);
    assert_eq!(engine.sessions().list(None).unwrap().len(), 40);
    // A conversation goes on: its old turns stay where they are.
    let mut grown = all.clone();
    let (id, node) = said("c7-more", "c7-a", "user", "one more thing", 9.0);
    grown[7]["mapping"][&id] = node;
    grown[7]["current_node"] = json!(id);
    let third = run(&engine, &write(&place, "later.json", &grown));
    assert_eq!((third.kept, third.refused), (81, 0));
    assert_eq!((engine.memories().count().unwrap(), engine.sessions().list(None).unwrap().len()), (81, 40));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn damage_is_refused_with_its_place_and_the_rest_is_kept() {
    let place = Place::new();
    let engine = place.open();
    let edited = |work: &dyn Fn(&mut Value)| {
        let mut value = small("bad");
        work(&mut value);
        value.to_string()
    };
    let mut looped = small("bad");
    looped["mapping"]["bad-q"]["parent"] = json!("bad-a");
    let twice = edited(&|v| v["mapping"]["bad-a"]["message"]["id"] = json!("m-bad-q"));
    let huge = edited(&|v| v["filler"] = json!("x".repeat(33 << 20)));
    let damaged: Vec<(String, &str)> = vec![
        (looped.to_string(), "cycle"),
        (edited(&|v| v["mapping"]["bad-a"]["parent"] = json!("nowhere")), "missing_parent"),
        (twice, "duplicate_id"),
        (edited(&|v| v["mapping"]["bad-a"]["parent"] = json!(7)), "invalid_node"),
        (edited(&|v| v["mapping"]["bad-a"] = json!([])), "invalid_node"),
        (edited(&|v| v["mapping"]["bad-a"]["message"] = json!("text")), "invalid_node"),
        (edited(&|v| v["mapping"] = json!([1])), "no_mapping"),
        (edited(&|v| v["current_node"] = json!("nowhere")), "missing_node"),
        (edited(&|v| v["current_node"] = json!({})), "invalid_conversation"),
        ("7".to_owned(), "invalid_conversation"),
        (edited(&|_| ()).replacen("\"bad\"", "7", 2), "no_id"),
        (edited(&|_| ()).replace("that is so", "half \\ud83d a pair"), "malformed_json"),
        (edited(&|_| ()).replace("\"bad-a\":{", "\"bad-q\":{"), "malformed_json"),
        (edited(&|_| ()).replace("that is so", "NaN\u{1}"), "malformed_json"),
        (format!("{}1{}", "[".repeat(200), "]".repeat(200)), "malformed_json"),
        (String::new(), "malformed_json"),
        (huge, "too_long"),
    ];
    let good = [small("one"), small("two")].map(|v| v.to_string());
    let elements: Vec<&str> =
        std::iter::once(good[0].as_str()).chain(damaged.iter().map(|(t, _)| t.as_str())).chain([good[1].as_str()]).collect();
    let path = place.dir.path().join("x.json");
    std::fs::write(&path, format!("[{}]", elements.join(",\n"))).unwrap();
    let report = run(&engine, &path);
    let found: Vec<(u64, &str)> = report.notes.iter().map(|n| (n.line, n.reason)).collect();
    let expected: Vec<(u64, &str)> = damaged.iter().enumerate().map(|(i, (_, reason))| (i as u64 + 2, *reason)).collect();
    assert_eq!(found, expected);
    assert_eq!((report.kept, report.repaired, report.refused), (4, 0, damaged.len() as u64));
    assert!(report.notes[0].message.contains("from byte"), "{}", report.notes[0].message);
    assert_eq!(run(&engine, &path).events, 0);

    std::fs::write(&path, b"[{\"mapping\": \"\xff\"}]").unwrap();
    assert_eq!(run(&engine, &path).notes[0].reason, "not_utf8");
    std::fs::write(&path, "{\"mapping\": {}}").unwrap();
    let forced = import(&engine.main(), std::slice::from_ref(&path), Format::ChatGpt, &mut |_, _| {}).unwrap();
    assert_eq!((forced.refused, forced.notes[0].reason), (1, "not_an_array"));
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn damaged_messages_are_refused_or_repaired_one_by_one() {
    let place = Place::new();
    let engine = place.open();
    let mut value = conversation(
        "c",
        "n6",
        vec![
            root(),
            said("n1", "root", "user", "kept", 1.0),
            said("n2", "n1", "user", "late", 1.0),
            said("n3", "n2", "user", &"x".repeat(65 << 10), 1.0),
            said("n4", "n3", "user", "nobody", 1.0),
            said("n5", "n4", "tool", "", 1.0),
            said("n6", "n5", "user", &"much ".repeat(8_000), 1.0),
        ],
    );
    let node = |id: &str| format!("/mapping/{id}/message");
    *value.pointer_mut(&format!("{}/create_time", node("n2"))).unwrap() = json!("some day");
    *value.pointer_mut(&format!("{}/author", node("n4"))).unwrap() = json!({});
    *value.pointer_mut(&format!("{}/content", node("n5"))).unwrap() =
        json!({"content_type": "multimodal_text", "parts": [{"asset_pointer": "file-service://x", "width": 4}, "a caption"]});
    *value.pointer_mut(&format!("{}/metadata", node("n6"))).unwrap() = json!({"citations": "y".repeat(80 << 10)});
    let report = run(&engine, &write(&place, "c.json", &[value]));
    assert_eq!((report.kept, report.repaired, report.refused), (3, 2, 1), "{report:#?}");
    let reasons: Vec<&str> = report.notes.iter().map(|n| n.reason).collect();
    assert_eq!(reasons, ["bad_timestamp", "invalid_message", "metadata_too_long"]);
    let all = engine.memories().list(0, 100).unwrap();
    assert_eq!(all.len(), 5);
    assert!(all[1].metadata.as_deref().unwrap().contains("\"create_time\":\"some day\""));
    assert_eq!(all[2].content.len(), 65 << 10, "a long text is kept, in parts");
    assert!(all[3].is_json && all[3].content.contains("file-service://x"));
    assert_eq!(all[3].role.as_deref(), Some("tool"));
    assert_eq!(all[4].metadata.as_deref(), Some(r#"{"node":{"id":"n6","parent":"n5"}}"#));
}

/// Long turns and many sessions fill a batch in other ways than many turns do.
#[test]
fn batches_stay_within_their_limits() {
    let place = Place::new();
    let engine = place.open();
    let chat = place.dir.path().join("long.jsonl");
    let text = "word ".repeat(12_000);
    let long: Vec<String> = (0..200).map(|i| json!({"role": "user", "text": format!("{i} {text}")}).to_string()).collect();
    std::fs::write(&chat, long.join("\n")).unwrap();
    let report = run(&engine, &chat);
    assert_eq!((report.kept, report.refused), (200, 0));
    let chat = place.dir.path().join("many.jsonl");
    let many: Vec<String> = (0..600)
        .map(|i| json!({"role": "user", "text": "hello", "ns": format!("ns{}", i % 3), "session": format!("s{i}")}).to_string())
        .collect();
    std::fs::write(&chat, many.join("\n")).unwrap();
    assert_eq!(run(&engine, &chat).kept, 600);
}
