//! Importing chats.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

mod common;

use common::{Place, corpus};
use mirrordna::entities::{AgentDna, AgentLink, GlyphtrailEntry, VaultConfig, VaultEntry};
use mirrordna::import::{Format, ImportReport, import};
use mirrordna::{Code, Engine, Entity, IdentityType, NewIdentity};
use std::path::{Path, PathBuf};

fn run(engine: &Engine, path: &Path) -> ImportReport {
    import(&engine.main(), &[PathBuf::from(path)], Format::Chat, &mut |_, _| {}).unwrap()
}

#[test]
fn a_real_chat_is_kept_whole_and_a_second_run_appends_nothing() {
    let Some(corpus) = corpus() else { return };
    let place = Place::new();
    let engine = place.open();
    let file = corpus.join("recall/locomo_dev/corpus.jsonl");
    let first = run(&engine, &file);
    assert_eq!((first.files, first.kept, first.repaired, first.refused, first.assumed_utc), (1, 2960, 0, 0, 2960));
    // The service thread may seal in between; nothing else may come.
    let events = || engine.timeline().list(0, 9_999).unwrap().into_iter().filter(|e| e.kind != "seal").count();
    let before = events();
    assert_eq!(before as u64, 1 + first.events, "the report counts what was appended");
    let second = run(&engine, &file);
    assert_eq!((second.kept, second.refused, second.events), (2960, 0, 0));
    assert_eq!(events(), before);
    assert_eq!(engine.memories().count().unwrap(), 2960);
    let agent = engine.identities().find("conv-26").unwrap();
    let hits = agent.memories().search("When did Caroline go to the LGBTQ support group?").limit(10).run().unwrap();
    assert!(hits.iter().any(|h| h.record.source_id.as_deref() == Some("conv-26/D1:3")), "{hits:#?}");
    assert!(hits.iter().all(|h| h.record.agent == agent.id()));
    // Five conversations: an agent with keys and an asserted user each.
    let all = engine.identities().list().unwrap();
    let users: Vec<_> = all.iter().filter(|i| i.identity_type() == mirrordna::IdentityType::User).collect();
    assert_eq!((all.len(), users.len()), (10, 5));
    assert!(users.iter().any(|u| Some(u.id()) == hits[0].record.user.as_deref()));
    assert!(users.iter().all(|u| u.memories().add("x").send().is_err()), "nobody holds their keys");
    engine.close().unwrap();
    let report = place.verify();
    assert!(report.is_intact() && report.unsigned == 0, "{report:#?}");
}

#[test]
fn damaged_lines_are_named_and_the_rest_is_kept() {
    let place = Place::new();
    let engine = place.open();
    let file = place.dir.path().join("chat.jsonl");
    let lines: [&[u8]; 12] = [
        b"\xef\xbb\xbf{\"speaker\":\"Sam\",\"text\":\"first\",\"id\":\"1\",\"timestamp\":\"2026-01-01T00:00:00Z\"}",
        b"{\"speaker\":\"Sam\",\"text\":\"torn",
        b"{\"role\":\"assistant\",\"content\":\"second\",\"extra\":{\"deep\":[1.0,2]},\"n\":1e2}",
        b"{\"speaker\":\"Sam\",\"text\":\"bad \xff byte\"}",
        b"",
        b"{\"text\":\"who said this?\"}",
        b"{\"speaker\":\"Sam\",\"text\":\"third\",\"timestamp\":\"last tuesday\"}",
        b"{\"speaker\":\"Sam\",\"text\":7}",
        b"{\"speaker\":\"Sam\",\"text\":\"first\",\"id\":\"1\"}",
        b"{\"speaker\":\"Sam\",\"text\":\"other\",\"id\":\"1\"}",
        b"[1,2]",
        b"{\"speaker\":\"Sam\",\"text\":\"NaN\",\"x\":NaN}",
    ];
    std::fs::write(&file, lines.join(&b"\n"[..])).unwrap();
    let report = run(&engine, &file);
    assert_eq!((report.kept, report.repaired, report.refused), (3, 2, 6), "{report:#?}");
    let reasons: Vec<(u64, &str)> = report.notes.iter().map(|n| (n.line, n.reason)).collect();
    assert_eq!(
        reasons,
        [
            (2, "malformed_json"),
            (4, "not_utf8"),
            (6, "no_speaker"),
            (7, "bad_timestamp"),
            (8, "invalid_turn"),
            (11, "invalid_turn"),
            (12, "malformed_json"),
            (10, "id_conflict"),
        ]
    );
    let all = engine.memories().list(0, 100).unwrap();
    assert_eq!(all.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["first", "second", "who said this?", "third"]);
    assert_eq!(all[1].metadata.as_deref(), Some(r#"{"extra":{"deep":[1.0,2]},"n":1e2}"#), "verbatim");
    assert_eq!(all[3].metadata.as_deref(), Some(r#"{"timestamp":"last tuesday"}"#));
    assert_eq!(run(&engine, &file).events, 0);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_session_ends_with_its_last_message() {
    let place = Place::new();
    let engine = place.open();
    let file = place.dir.path().join("chat.jsonl");
    let turn = |session: &str, id: u32, at: &str| {
        let at = if at.is_empty() { String::new() } else { format!(r#","timestamp":"2026-01-01T{at}:00Z""#) };
        format!(r#"{{"speaker":"Sam","text":"turn {id}","session":"{session}","id":"{id}"{at}}}"#)
    };
    // Interleaved, out of order, partly and wholly without times.
    let mut lines = vec![
        turn("a", 1, "10:00"),
        turn("b", 2, "11:00"),
        turn("a", 3, "12:30"),
        turn("a", 4, "12:00"),
        turn("b", 5, ""),
        turn("c", 6, ""),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let before = engine.timeline().len().unwrap();
    let first = run(&engine, &file);
    assert_eq!((first.kept, first.refused), (6, 0), "{first:#?}");
    let appended = engine.timeline().list(before, 99).unwrap().into_iter().filter(|e| e.kind != "seal").count();
    assert_eq!(appended as u64, first.events, "the report counts what was appended");
    let ended = || -> Vec<Option<String>> {
        let mut sessions = engine.sessions().list(None).unwrap();
        sessions.sort_by_key(|s| s.source_id.clone());
        sessions.into_iter().map(|s| s.ended_at.map(|at| at[11..16].to_owned())).collect()
    };
    let at = |times: [Option<&str>; 3]| times.map(|t| t.map(str::to_owned)).to_vec();
    assert_eq!(ended(), at([Some("12:30"), Some("11:00"), None]));
    assert_eq!(run(&engine, &file).events, 0);
    let a = engine.sessions().list(None).unwrap().into_iter().find(|s| s.source_id.as_deref() == Some("a")).unwrap();
    assert_eq!(engine.sessions().resume(&a.id).unwrap_err().code(), Code::SessionEnded);

    // The file grows: the end moves, and moves once.
    lines.push(turn("b", 7, "14:00"));
    lines.push(turn("a", 8, "09:00"));
    std::fs::write(&file, lines.join("\n")).unwrap();
    assert_eq!(run(&engine, &file).kept, 8);
    assert_eq!(ended(), at([Some("12:30"), Some("14:00"), None]));
    assert_eq!(run(&engine, &file).events, 0);
    assert!(engine.verify().unwrap().is_intact());
}

fn upstream(engine: &Engine, path: &Path) -> ImportReport {
    import(&engine.main(), &[PathBuf::from(path)], Format::Auto, &mut |_, _| {}).unwrap()
}

#[test]
fn a_vault_of_the_python_sdk_is_there_by_its_old_ids() {
    let Some(corpus) = corpus() else { return };
    let place = Place::new();
    let engine = place.open();
    let vault = corpus.join("upstream/python/vault_basic/data");
    let report = upstream(&engine, &vault);
    assert_eq!(report.refused, 0, "{:#?}", report.notes);
    let read = |name: &str| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(&std::fs::read(vault.join(name)).unwrap()).unwrap()
    };
    for (id, old) in read("memories.json") {
        let memory = engine.memories().get(&id).unwrap();
        assert_eq!(memory.source_id.as_deref(), Some(id.as_str()));
        assert_eq!(memory.agent, old["source"]["agent_id"]);
        assert_eq!(memory.tier.name(), old["tier"]);
        match old["content"].as_str() {
            Some(text) => assert_eq!(memory.content, text),
            None => assert_eq!(serde_json::from_str::<serde_json::Value>(&memory.content).unwrap(), old["content"]),
        }
    }
    let sessions = read("sessions.json");
    for (id, old) in &sessions {
        let session = engine.sessions().get(id).unwrap();
        assert_eq!(session.parent.as_deref(), old["parent_session_id"].as_str());
        assert_eq!(session.ended_at.is_some(), old["ended_at"].is_string());
        // One session of the vault names a parent that never existed.
        let whole = std::iter::successors(Some(old), |s| sessions.get(s["parent_session_id"].as_str()?))
            .all(|s| s["parent_session_id"].as_str().is_none_or(|p| sessions.contains_key(p)));
        assert_eq!(engine.sessions().lineage(id).is_ok(), whole);
    }
    for (id, old) in read("identities.json") {
        let identity = engine.identities().get(&id).unwrap();
        assert_eq!(identity.profile().unwrap().name.as_deref(), old["metadata"]["name"].as_str());
        assert!(identity.memories().add("no key").send().is_err(), "an asserted identity cannot write");
    }
    assert_eq!(upstream(&engine, &vault).events, 0);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn everything_upstream_wrote_is_accounted_for() {
    let Some(corpus) = corpus() else { return };
    let place = Place::new();
    let engine = place.open();
    let report = upstream(&engine, &corpus.join("upstream"));
    println!(
        "{} files, kept {}, repaired {}, refused {}, events {}",
        report.files, report.kept, report.repaired, report.refused, report.events
    );
    assert!(report.kept > 3_000 && report.repaired > 0 && report.refused > 0);
    // The same identity with another key is a conflict, not the same again.
    assert!(report.notes.iter().any(|n| n.reason == "id_conflict" && n.file.contains("data_swapped_key")), "{:#?}", report.notes);
    // A key file is refused, and nothing of it is stored.
    assert!(report.notes.iter().any(|n| n.reason == "private_key_material"));
    let again = upstream(&engine, &corpus.join("upstream"));
    assert_eq!((again.events, again.kept, again.repaired, again.refused), (0, report.kept, report.repaired, report.refused));
    let engine_report = engine.verify().unwrap();
    assert!(engine_report.is_intact(), "{:#?}", engine_report.problems);
}

#[test]
fn entities_of_upstream_are_records_by_their_old_ids() {
    let Some(corpus) = corpus() else { return };
    let place = Place::new();
    let engine = place.open();
    let root = corpus.join("upstream/python");
    upstream(&engine, &root.join("citations"));
    upstream(&engine, &root.join("vault_configs/valid_full.json"));
    upstream(&engine, &root.join("vault_basic/data"));
    let citations = engine.citations();
    let chain = citations.lineage("mc_corpus_chain_000000003").unwrap();
    let ids: Vec<_> = chain.iter().map(|c| c.source_id.clone().unwrap()).collect();
    assert_eq!(ids, ["mc_corpus_chain_000000001", "mc_corpus_chain_000000002", "mc_corpus_chain_000000003"]);
    assert!(chain.iter().all(|c| c.id.starts_with("mc_") && citations.verify(&c.id).unwrap().ok));
    let text = std::fs::read_to_string(root.join("citations/chain_3.json")).unwrap();
    let (same, theirs): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&chain[2].document).unwrap(), serde_json::from_str(&text).unwrap());
    assert_eq!(same, theirs);
    // No other came in: a checksum that does not fit is refused, an id that is taken too.
    let all = citations.list(0, 1_000).unwrap();
    assert_eq!((all.len(), all.iter().filter(|c| citations.verify(&c.id).unwrap().ok).count()), (6, 6));

    let vault = engine.records::<VaultConfig>().get("vault_corpus_main_0001").unwrap();
    assert_eq!(vault.read().unwrap().name.as_deref(), Some("Main 世界"));
    let dna = engine.records::<AgentDna>();
    let listed = dna.list(0, 100).unwrap();
    assert!(!listed.is_empty() && listed.iter().all(|d| dna.get(d.source_id.as_ref().unwrap()).unwrap().id == d.id));

    // What was imported belongs to nobody here: who changes it says so.
    let old = chain[0].read().unwrap();
    assert_eq!(citations.update(&chain[0].id, &old).unwrap_err().code(), Code::InputInvalid);
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    agent.citations().update("mc_corpus_chain_000000001", &old).unwrap();
    assert_eq!(citations.get(&chain[0].id).unwrap().version, 2);
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn what_is_no_file_is_skipped_in_a_folder() {
    let place = Place::new();
    let folder = place.dir.path().join("vault");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("chat.jsonl"), br#"{"speaker":"Sam","text":"the boathouse is booked","id":"1"}"#).unwrap();
    // An editor's lock is a link to nothing.
    std::os::unix::fs::symlink("sam@host.1234", folder.join(".#chat.jsonl")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    for format in [Format::Auto, Format::Chat] {
        let report = import(&place.open().main(), std::slice::from_ref(&folder), format, &mut |_, _| {}).unwrap();
        assert_eq!((report.files, report.kept, report.skipped, report.refused), (1, 1, 2, 0), "{report:#?}");
    }
}

#[test]
fn links_in_a_folder_are_not_followed() {
    let place = Place::new();
    let (folder, outside) = (place.dir.path().join("chats"), place.dir.path().join("outside.jsonl"));
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    std::fs::write(folder.join("deep/chat.jsonl"), br#"{"speaker":"Sam","text":"the boathouse is booked","id":"1"}"#).unwrap();
    std::fs::write(&outside, br#"{"speaker":"Eve","text":"nobody meant to import this","id":"2"}"#).unwrap();
    // Two ways back in each folder: followed, they would be 2^32 folders.
    for way in ["one", "two"] {
        for from in ["", "deep"] {
            std::os::unix::fs::symlink(&folder, folder.join(from).join(way)).unwrap();
        }
    }
    std::os::unix::fs::symlink(&outside, folder.join("chat.jsonl")).unwrap();
    let engine = place.open();
    let report = import(&engine.main(), std::slice::from_ref(&folder), Format::Auto, &mut |_, _| {}).unwrap();
    assert_eq!((report.files, report.kept, report.skipped, report.refused), (1, 1, 5, 0), "{report:#?}");
    assert!(report.notes.iter().all(|n| n.reason == "skipped" && n.message.contains("symbolic link")), "{report:#?}");
    // What is named itself is read, wherever it lies.
    let named = [folder.join("chat.jsonl")];
    assert_eq!(import(&engine.main(), &named, Format::Auto, &mut |_, _| {}).unwrap().kept, 1);
}

#[test]
fn what_is_none_of_the_formats_is_skipped_in_a_folder_and_refused_by_name() {
    let place = Place::new();
    let engine = place.open();
    let vault = place.dir.path().join("vault");
    std::fs::create_dir_all(vault.join(".git")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(vault.join(name), bytes).unwrap();
    write("chat.jsonl", br#"{"speaker":"Sam","text":"the boathouse is booked","id":"1"}"#);
    write("memories.json", br#"{"mem_1":{"memory_id":"mem_1","tier":"episodic","content":"x","created_at":"2026-01-01T00:00:00Z"}}"#);
    // Damaged, and so perhaps one of ours: that is told.
    write("sessions.json", br#"{"sess_1":{"session_id":"#);
    write("empty.json", b"");
    write("identity.key", b"secret");
    // None of ours.
    write("README.md", b"# A vault\n\nSee elsewhere.\n");
    write("photo.jpg", b"\xff\xd8\xff\xe0 no text");
    write(".DS_Store", b"\x00\x00\x00\x01Bud1");
    write("package.json", br#"{"name":"x","version":"1.0.0"}"#);
    write(".git/HEAD", b"ref: refs/heads/main\n");
    let skipped = [".DS_Store", "README.md", "package.json", "photo.jpg", ".git/HEAD"];

    let report = upstream(&engine, &vault);
    assert_eq!((report.files, report.skipped), (5, 5), "{report:#?}");
    assert_eq!((report.kept + report.repaired, report.refused), (2, 3), "{report:#?}");
    let named = |reason: &str| -> Vec<String> {
        let found = report.notes.iter().filter(|n| n.reason == reason);
        found.map(|n| Path::new(&n.file).strip_prefix(&vault).unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(named("skipped"), skipped);
    assert!(report.notes.iter().rev().take(5).all(|n| n.reason == "skipped"), "what was refused comes first");
    assert_eq!((named("truncated_file"), named("empty_file")), (vec!["sessions.json".to_owned()], vec!["empty.json".to_owned()]));
    assert_eq!(named("private_key_material"), ["identity.key"]);
    let again = upstream(&engine, &vault);
    assert_eq!((again.events, again.skipped, again.refused), (0, 5, 3));

    // Whoever names a file wants to know why it does not come in.
    for name in skipped {
        let report = upstream(&engine, &vault.join(name));
        assert_eq!((report.files, report.refused, report.skipped), (1, 1, 0), "{name}");
        assert_eq!(report.notes[0].reason, "unknown_file", "{name}");
    }
    let e = import(&engine.main(), &[vault.join(".git")], Format::Auto, &mut |_, _| {}).unwrap_err();
    assert_eq!(e.code(), Code::ImportFormat);
    assert!(e.message().contains("the one file in it is no chat"), "{e}");
    assert!(engine.verify().unwrap().is_intact());
}

/// Valid documents of an entity from the corpus, as a collection of upstream's
/// storage: by id.
fn collection(corpus: &Path, schema: &str, prefix: &str) -> serde_json::Map<String, serde_json::Value> {
    let cases = std::fs::read_to_string(corpus.join("upstream/python/vectors/schema_cases.json")).unwrap().replace("NaN", "null");
    let cases: serde_json::Value = serde_json::from_str(&cases).unwrap();
    let fitting = cases["cases"].as_array().unwrap().iter().filter(|c| c["schema"] == schema && c["is_valid"] == true);
    let numbered = fitting.enumerate().map(|(n, case)| {
        let (id, mut data) = (format!("{prefix}_corpus_000000000{n:02}"), case["data"].clone());
        data["id"] = id.clone().into();
        (id, data)
    });
    numbered.collect()
}

#[test]
fn entries_trails_and_links_have_schemas_of_their_own() {
    fn all<T: Entity>(engine: &Engine, corpus: &Path, schema: &str, file: &str) {
        let documents = collection(corpus, schema, T::PREFIX);
        let dir = tempfile::tempdir().unwrap();
        let (many, one) = (dir.path().join(file), dir.path().join("single.json"));
        std::fs::write(&many, serde_json::to_string(&documents).unwrap()).unwrap();
        let mut single = documents.values().next().unwrap().clone();
        single["id"] = format!("{}_in_a_file_of_its_own", T::PREFIX).into();
        std::fs::write(&one, single.to_string()).unwrap();
        let report = upstream(engine, dir.path());
        assert_eq!((report.kept + report.repaired, report.refused), (documents.len() as u64 + 1, 0), "{schema}: {:#?}", report.notes);
        // Valid to upstream's schema, which checks no dates.
        assert!(report.notes.iter().all(|n| n.reason == "timestamp_unreadable"), "{:#?}", report.notes);
        assert_eq!(engine.records::<T>().count().unwrap(), documents.len() as u64 + 1);
        for (id, document) in documents.iter().chain([(&single["id"].as_str().unwrap().to_owned(), &single)]) {
            let stored = engine.records::<T>().get(id).unwrap();
            assert_eq!(stored.source_id.as_ref(), Some(id));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&stored.document).unwrap(), *document);
            stored.read().unwrap();
        }
        assert_eq!(upstream(engine, dir.path()).events, 0, "a second run appends nothing");
    }
    let Some(corpus) = corpus() else { return };
    let place = Place::new();
    let engine = place.open();
    all::<VaultEntry>(&engine, &corpus, "vault_entry", "vault_entries.json");
    all::<GlyphtrailEntry>(&engine, &corpus, "glyphtrail_entry", "glyphs.json");
    all::<AgentLink>(&engine, &corpus, "agent_link", "agent_links.json");
    assert!(engine.verify().unwrap().is_intact());
}

#[test]
fn a_vault_says_nothing_of_an_identity_that_is_here() {
    let place = Place::new();
    let engine = place.open();
    let named = NewIdentity { name: Some("Ada".into()), ..NewIdentity::default() };
    let (named, plain) = (engine.identities().create_with(IdentityType::Agent, named), engine.identities().create(IdentityType::Agent));
    let vault = place.dir.path().join("vault");
    std::fs::create_dir(&vault).unwrap();
    let entry = |id: &str| {
        format!(
            r#""{id}":{{"identity_id":"{id}","identity_type":"agent","public_key":"AA==","created_at":"2026-01-01T00:00:00Z",
                "metadata":{{"name":"Mallory"}}}}"#
        )
    };
    let ids = [named.unwrap().id().to_owned(), plain.unwrap().id().to_owned(), "mdna_agt_00112233445566778899aabbccddeeff".to_owned()];
    std::fs::write(vault.join("identities.json"), format!("{{{}}}", ids.each_ref().map(|id| entry(id)).join(","))).unwrap();
    for _ in 0..2 {
        let report = upstream(&engine, &vault);
        assert_eq!((report.kept + report.repaired, report.refused), (1, 2), "{report:#?}");
        assert!(report.notes.iter().filter(|n| n.reason == "id_conflict").count() == 2, "{report:#?}");
    }
    let names = ids.map(|id| engine.identities().get(&id).unwrap().profile().unwrap().name);
    assert_eq!(names, [Some("Ada".to_owned()), None, Some("Mallory".to_owned())]);
}
