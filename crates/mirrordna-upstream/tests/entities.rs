//! The typed entities against what upstream's own validator and loaders said of the corpus.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::PathBuf;

use mirrordna_upstream::entities::{
    AgentDna, AgentLink, Citation, Event, EventType, GlyphtrailEntry, Reflection, Typed, VaultConfig, VaultEntry, parse, seal, validate,
};
use mirrordna_upstream::{Code, Profile, json};

fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("MIRRORDNA_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    if root.is_dir() {
        return Some(root.join("upstream"));
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "the corpus is absent: {}", root.display());
    eprintln!("ignored: no corpus at {}", root.display());
    None
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Without fields that are null: in a type they are the same as absent ones.
fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        other => other,
    }
}

/// Validates a case of a published schema; a checksum that does not fit is no matter of the schema.
fn judge<T: Typed>(text: &str, profile: Profile) -> bool {
    match validate::<T>(text, profile) {
        Ok(entity) => {
            assert_eq!(serde_json::to_value(&entity).unwrap(), without_nulls(value(text)), "nothing is lost");
            true
        }
        Err(invalid) => invalid.violations.iter().all(|v| v.code == Code::ChecksumMismatch),
    }
}

#[test]
fn the_published_schemas_agree_case_by_case() {
    let Some(root) = corpus() else { return };
    let cases = json::parse(&fs::read(root.join("python/vectors/schema_cases.json")).unwrap()).unwrap().value;
    let mirrordna_upstream::Value::Array(cases) = cases.get("cases").unwrap().clone() else { panic!("no list") };
    let (mut checked, mut valid, mut compat) = (0, 0, 0);
    for case in &cases {
        let (text, replaced) = json::write(case.get("data").unwrap());
        let judge = match case.get("schema").and_then(|s| s.as_str()).unwrap() {
            "master_citation" => judge::<Citation>,
            "vault_entry" => judge::<VaultEntry>,
            "agent" => judge::<AgentDna>,
            "agent_link" => judge::<AgentLink>,
            "glyphtrail_entry" => judge::<GlyphtrailEntry>,
            "timeline_event" => judge::<Event>,
            _ => continue,
        };
        assert!(replaced.is_empty());
        let expected = case.get("is_valid") == Some(&mirrordna_upstream::Value::Bool(true));
        assert_eq!(judge(&text, Profile::Strict), expected, "{text}");
        let lenient = judge(&text, Profile::Compat);
        assert!(lenient || !expected, "what is strict is compatible: {text}");
        checked += 1;
        valid += usize::from(expected);
        compat += usize::from(lenient);
    }
    println!("{checked} cases, {valid} strict, {compat} compat");
    assert_eq!((checked, valid), (151, 25));
    assert!(compat > valid);
}

#[test]
fn citations_are_sealed_as_upstream_seals_them() {
    let Some(root) = corpus() else { return };
    let expected = value(&fs::read_to_string(root.join("expected.json")).unwrap());
    let (mut seen, mut fitting) = (0, 0);
    for (name, case) in expected["citations"].as_object().unwrap() {
        let Ok(text) = fs::read_to_string(root.join(name)) else { continue };
        if !name.ends_with(".json") {
            continue;
        }
        let strict = validate::<Citation>(&text, Profile::Strict);
        assert_eq!(strict.is_ok(), case["verify"]["valid"] == true, "{name}: {strict:?}");
        seen += 1;
        if let Ok(citation) = strict {
            let seal = seal::<Citation>(&text).unwrap().unwrap();
            assert!(seal.fits() && seal.stated.as_ref() == Some(&citation.checksum), "{name}");
            fitting += 1;
        } else if name.contains("flip") || name.contains("tampered") || name.contains("added_null") {
            assert!(!seal::<Citation>(&text).unwrap().unwrap().fits(), "{name}");
            for profile in [Profile::Strict, Profile::Compat] {
                let invalid = validate::<Citation>(&text, profile).unwrap_err();
                let found: Vec<_> = invalid.violations.iter().map(|v| (v.path.as_str(), v.code)).collect();
                assert_eq!(found, [("/checksum", Code::ChecksumMismatch)], "{name}");
                assert!(invalid.to_string().contains("Checksum mismatch"), "{invalid}");
            }
        }
    }
    assert_eq!((seen, fitting), (25, 9));
}

#[test]
fn every_agent_of_the_corpus_has_dna_that_reads() {
    let Some(root) = corpus() else { return };
    let mut seen = 0;
    for vault in ["python/vault_basic", "python/vault_unicode", "python/vault_large"] {
        let Ok(text) = fs::read_to_string(root.join(vault).join("data/agent_dna.json")) else { continue };
        for (id, record) in value(&text).as_object().unwrap() {
            let dna = validate::<AgentDna>(&record.to_string(), Profile::Strict).unwrap();
            assert_eq!((&dna.agent_dna_id, dna.extra.len()), (id, 0));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn profiles_differ_where_upstream_differs_from_its_schemas() {
    let both = |text: &str| {
        let codes = |profile| match validate::<VaultConfig>(text, profile) {
            Ok(_) => vec![],
            Err(e) => e.violations.iter().map(|v| (v.path.clone(), v.code)).collect::<Vec<_>>(),
        };
        (codes(Profile::Strict), codes(Profile::Compat))
    };
    let missing = |path: &str| (path.to_owned(), Code::MissingField);
    // The form that upstream's own tests load.
    let storage = r#"{"vault_id":"vault_t","version":"1.0.0","created_at":"2025-11-14T10:00:00Z","storage":{"type":"filesystem"}}"#;
    assert_eq!(both(storage), (vec![missing("/name"), missing("/path")], vec![]));
    assert_eq!(parse::<VaultConfig>(storage).unwrap().extra["storage"]["type"], "filesystem");
    let neither = r#"{"vault_id":"vault_t","created_at":"2025-11-14T10:00:00Z"}"#;
    assert_eq!(both(neither).1, [missing("/name"), missing("/path")]);

    let link = r#"{"agent_id":"mdna_agt_test","agent_name":"","mirrordna_identity_id":"x","version":null,"mood":1}"#;
    let strict = validate::<AgentLink>(link, Profile::Strict).unwrap_err();
    assert_eq!(
        strict.violations.iter().map(|v| (v.path.as_str(), v.code.as_str())).collect::<Vec<_>>(),
        [("/agent_id", "pattern_mismatch"), ("/agent_name", "too_short"), ("/version", "wrong_type"), ("/mood", "unknown_field")]
    );
    assert_eq!(
        strict.to_string(),
        "agent_link: /agent_id (pattern_mismatch): An id here starts with mdna_agt_ and goes on for 12 or more of a-z, 0-9 and _. \
         /agent_name (too_short): The text needs 1 or more characters. /version (wrong_type): Expected a string, found null. And 1 more."
    );
    assert_eq!(validate::<AgentLink>(link, Profile::Compat).unwrap().extra["mood"], 1);
}

#[test]
fn reflections_and_counts_read_in_both_spellings() {
    let reflection = r#"{"reflection_id":"refl_a_1","agent_id":"mdna_agt_a","reflection_type":"meta","timestamp":"t","context":{},
        "observation":"o","evaluation":null,"insights":["i"],"actions_taken":null,"metadata":null}"#;
    let read = validate::<Reflection>(reflection, Profile::Strict).unwrap();
    assert_eq!((read.reflection_type.as_str(), read.insights.as_deref()), ("meta", Some(&["i".to_owned()][..])));

    let entry = |size: &str| {
        format!(
            r#"{{"id":"entry_0123456789abcdef","vault_id":"vault_0123456789abcdef","path":"p","type":"artifact","created_at":"t",
            "checksum":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size_bytes":{size}}}"#
        )
    };
    for (size, read) in [("3", Some(3)), ("3.0", Some(3)), ("-1", None), ("2.5", None), ("true", None)] {
        let found = validate::<VaultEntry>(&entry(size), Profile::Strict);
        assert_eq!(found.as_ref().ok().and_then(|e| e.size_bytes), read, "{size}: {found:?}");
    }
    // JSON Schema allows it; the type does not, and says so.
    let huge = validate::<VaultEntry>(&entry("1e30"), Profile::Strict).unwrap_err();
    assert_eq!(huge.violations[0].code, Code::WrongType);
    let entry = parse::<VaultEntry>(&entry("3")).unwrap();
    assert!(entry.matches(b"abc") && !entry.matches(b"abd"));
}

#[test]
fn the_twelve_event_kinds_and_any_other() {
    for word in EventType::PUBLISHED {
        let kind = EventType::from(word);
        assert_eq!((kind.as_str(), matches!(kind, EventType::Custom(_))), (word, word == "custom"));
        assert_eq!(value(&serde_json::to_string(&kind).unwrap()), word);
    }
    let event = |word: &str| format!(r#"{{"id":"evt_20260101000000_0001","timestamp":"t","event_type":"{word}","actor":"a"}}"#);
    assert_eq!(validate::<Event>(&event("citation_created"), Profile::Strict).unwrap().event_type, EventType::CitationCreated);
    assert_eq!(validate::<Event>(&event("tea_made"), Profile::Strict).unwrap_err().violations[0].code, Code::NotInEnum);
    let custom = validate::<Event>(&event("tea_made"), Profile::Compat).unwrap().event_type;
    assert_eq!((custom.is_published(), custom), (false, EventType::Custom("tea_made".into())));
}

#[test]
fn what_is_no_json_says_where() {
    for (text, code) in [
        ("{\"id\":", Code::TruncatedFile),
        ("{\"id\" 1}", Code::UnparsableFile),
        ("\u{feff}{}", Code::ByteOrderMark),
        ("[]", Code::NotAnObject),
        (r#"{"metadata":{"x":NaN}}"#, Code::MissingField),
    ] {
        assert_eq!(validate::<Citation>(text, Profile::Strict).unwrap_err().violations[0].code, code, "{text}");
    }
    let nan = r#"{"agent_id":"mdna_agt_a","agent_name":"a","mirrordna_identity_id":"x","metadata":{"x":NaN}}"#;
    let invalid = validate::<AgentLink>(nan, Profile::Compat).unwrap_err();
    assert_eq!((invalid.violations[0].code, invalid.violations[0].path.as_str()), (Code::NonFiniteNumber, "/metadata/x"));
}
