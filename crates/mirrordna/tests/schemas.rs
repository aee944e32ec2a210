//! The JSON Schemas in `spec/schemas`: made from the Rust types, judged by another implementation of JSON Schema.
//!
//! `cargo xtask schemas` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

mod common;

use common::{Place, corpus};
use jsonschema::Validator;
use mirrordna::{IdentityType, NewCall, NewIdentity, NewSession, Outcome};
use mirrordna_upstream::entities::{
    AgentDna, AgentLink, Citation, Event, GlyphtrailEntry, Reflection, Snapshot, Typed, VaultConfig, VaultEntry, json_schema, validate,
};
use mirrordna_upstream::{Code, Profile, json};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/schemas")
}

/// An entity of upstream's in both profiles.
fn entity<T: Typed + JsonSchema>(into: &mut BTreeMap<String, Value>) {
    into.insert(format!("{}.strict", T::NAME), json_schema::<T>(Profile::Strict));
    into.insert(format!("{}.compat", T::NAME), json_schema::<T>(Profile::Compat));
}

/// What the interfaces print of a record.
fn printed<T: JsonSchema>(name: &str, into: &mut BTreeMap<String, Value>) {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    into.insert(name.to_owned(), settings.into_generator().into_root_schema_for::<T>().to_value());
}

fn all() -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    entity::<Citation>(&mut all);
    entity::<VaultConfig>(&mut all);
    entity::<VaultEntry>(&mut all);
    entity::<AgentDna>(&mut all);
    entity::<Reflection>(&mut all);
    entity::<GlyphtrailEntry>(&mut all);
    entity::<AgentLink>(&mut all);
    entity::<Event>(&mut all);
    entity::<Snapshot>(&mut all);
    printed::<mirrordna::Profile>("identity", &mut all);
    printed::<mirrordna::Session>("session", &mut all);
    printed::<mirrordna::Memory>("memory", &mut all);
    printed::<mirrordna::TimelineEvent>("event", &mut all);
    printed::<mirrordna::ToolCall>("tool_call", &mut all);
    printed::<mirrordna::ToolCitation>("tool_citation", &mut all);
    printed::<mirrordna::EvidenceChain>("evidence_chain", &mut all);
    printed::<mirrordna::StatedEvidence>("stated_evidence", &mut all);
    all
}

fn validator(name: &str) -> Validator {
    let text = fs::read_to_string(folder().join(format!("{name}.schema.json"))).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

#[test]
fn the_files_are_what_the_types_say() {
    let write = std::env::var_os("MIRRORDNA_WRITE_SCHEMAS").is_some();
    let mut expected: Vec<String> = Vec::new();
    for (name, schema) in all() {
        let (file, text) = (format!("{name}.schema.json"), format!("{schema:#}\n"));
        if write {
            fs::create_dir_all(folder()).unwrap();
            fs::write(folder().join(&file), &text).unwrap();
        }
        let stored = fs::read_to_string(folder().join(&file)).unwrap_or_default();
        assert_eq!(stored, text, "{file} has drifted: cargo xtask schemas");
        assert!(!text.contains("x-null") && !text.contains("x-compat"), "{file} holds a note of ours");
        expected.push(file);
    }
    let mut stored: Vec<String> = fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected, "nothing else lies there");
}

#[test]
fn the_fields_are_those_of_the_tables() {
    fn compare<T: Typed + JsonSchema>() {
        let schema = json_schema::<T>(Profile::Strict);
        let required: Vec<&str> = schema["required"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let listed: BTreeMap<&str, bool> =
            schema["properties"].as_object().unwrap().keys().map(|k| (k.as_str(), required.contains(&k.as_str()))).collect();
        // What upstream's loader of vault configs keeps besides what it needs.
        let more = if T::NAME == "vault_config" { vec![("entries", false), ("metadata", false)] } else { vec![] };
        assert_eq!(listed, T::SCHEMA.fields().chain(more).collect(), "{}", T::NAME);
    }
    compare::<Citation>();
    compare::<VaultConfig>();
    compare::<VaultEntry>();
    compare::<AgentDna>();
    compare::<Reflection>();
    compare::<GlyphtrailEntry>();
    compare::<AgentLink>();
    compare::<Event>();
    compare::<Snapshot>();
}

/// Whether our own reading takes the document, checksums aside.
fn taken<T: Typed>(text: &str) -> bool {
    validate::<T>(text, Profile::Compat).map_or_else(|e| e.violations.iter().all(|v| v.code == Code::ChecksumMismatch), |_| true)
}

#[test]
fn upstreams_verdicts_are_those_of_the_schemas() {
    let Some(corpus) = corpus() else { return };
    let file = fs::read(corpus.join("upstream/python/vectors/schema_cases.json")).unwrap();
    // By upstream's own reader: serde refuses what Python writes.
    let (text, _) = json::write(&json::parse(&file).unwrap().value);
    let cases: Value = serde_json::from_str(&text).unwrap();
    let (mut checked, mut compatible) = (0, 0);
    for case in cases["cases"].as_array().unwrap() {
        let name = case["schema"].as_str().unwrap();
        let taken = match name {
            "master_citation" => taken::<Citation>,
            "vault_entry" => taken::<VaultEntry>,
            "agent" => taken::<AgentDna>,
            "agent_link" => taken::<AgentLink>,
            "glyphtrail_entry" => taken::<GlyphtrailEntry>,
            "timeline_event" => taken::<Event>,
            _ => continue,
        };
        let (data, expected) = (&case["data"], case["is_valid"] == true);
        assert_eq!(validator(&format!("{name}.strict")).is_valid(data), expected, "{name} {}: {data}", case["name"]);
        let compat = validator(&format!("{name}.compat")).is_valid(data);
        assert_eq!(compat, taken(&data.to_string()), "{name} {}: {data}", case["name"]);
        checked += 1;
        compatible += usize::from(compat);
    }
    println!("{checked} cases agree, {compatible} compatible");
    assert_eq!(checked, 151);
}

#[test]
fn documents_of_the_corpus_fit() {
    let Some(corpus) = corpus() else { return };
    let root = corpus.join("upstream");
    let mut fit: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut judge = |name: &str, document: &Value| {
        let [strict, compat] = ["strict", "compat"].map(|p| validator(&format!("{name}.{p}")).is_valid(document));
        let counts = fit.entry(name.to_owned()).or_default();
        counts[0] += 1;
        counts[1] += usize::from(strict);
        counts[2] += usize::from(compat);
    };
    let load =
        |path: &Path| -> Option<Value> { serde_json::from_str(&json::write(&json::parse(&fs::read(path).ok()?).ok()?.value).0).ok() };
    for (folder, name) in [("citations", "master_citation"), ("vault_configs", "vault_config")] {
        for entry in fs::read_dir(root.join("python").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if let Some(document) = load(&path).filter(|_| path.extension().is_some_and(|e| e == "json")) {
                judge(name, &document);
            }
        }
    }
    for vault in ["vault_basic", "vault_unicode", "vault_large", "vault_search_horizon"] {
        let vault = root.join("python").join(vault);
        for dna in load(&vault.join("data/agent_dna.json")).iter().filter_map(Value::as_object).flatten() {
            judge("agent", dna.1);
        }
        for entry in fs::read_dir(vault.join("timelines")).into_iter().flatten() {
            let timeline = load(&entry.unwrap().path()).unwrap();
            timeline["events"].as_array().unwrap().iter().for_each(|event| judge("timeline_event", event));
        }
        for entry in fs::read_dir(vault.join("snapshots")).into_iter().flatten() {
            if let Some(document) = load(&entry.unwrap().path()) {
                judge("state_snapshot", &document);
            }
        }
    }
    // Documents, those that fit strict, those that fit compat. Python writes nulls into its events, against its schema.
    let fit: Vec<(&str, [usize; 3])> = fit.iter().map(|(name, counts)| (name.as_str(), *counts)).collect();
    assert_eq!(
        fit,
        [
            ("agent", [9, 9, 9]),
            ("master_citation", [23, 13, 16]),
            ("state_snapshot", [9, 9, 9]),
            ("timeline_event", [1011, 0, 1011]),
            ("vault_config", [4, 2, 3]),
        ]
    );
}

#[test]
fn what_the_engine_prints_fits() {
    let place = Place::new();
    let engine = place.open();
    let named = NewIdentity { name: Some("Ada".into()), metadata: Some("{}".into()), ..NewIdentity::default() };
    let agent = engine.identities().create_with(IdentityType::Agent, named).unwrap();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let first = engine.sessions().start(&agent, &user).unwrap();
    let new = NewSession { parent: Some(first.id().to_owned()), metadata: Some("{}".into()), ..NewSession::default() };
    let session = engine.sessions().start_with(&agent, new).unwrap();
    let memory = session.memories().add("Prefers trains").tag("travel").speaker("Sam").send().unwrap();
    let plain = agent.memories().add_json("{\"a\":1}").send().unwrap();
    let call = session.tools().requested(NewCall::new("weather/today", "req-1").redacted("{}")).unwrap();
    session.tools().requested(NewCall::new("weather/today", "req-1")).unwrap();
    call.completed(Outcome::success("clear").summary("{}")).unwrap();
    let mut proof = Vec::new();
    let (chain, _) = session.evidence().finding("f-1").calls([call.id(), "nobody's"]).write(&mut proof).unwrap();
    session.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"})).unwrap();
    let snapshot = engine.snapshots().capture(&agent, Some("{\"why\":\"test\"}")).unwrap();
    session.end().unwrap();

    let check = |name: &str, value: Value| {
        let schema = validator(name);
        let problems: Vec<String> = schema.iter_errors(&value).map(|e| format!("{} {e}", e.instance_path())).collect();
        assert!(problems.is_empty(), "{name}: {problems:?} in {value:#}");
        // The schema is no empty promise: it misses what is not there.
        let Value::Object(mut cut) = value else { panic!("no object") };
        let first = cut.keys().next().unwrap().clone();
        cut.remove(&first);
        assert!(!schema.is_valid(&Value::Object(cut)), "{name} does without {first}");
    };
    for identity in engine.identities().list().unwrap() {
        check("identity", serde_json::to_value(identity.profile().unwrap()).unwrap());
    }
    for session in engine.sessions().list(None).unwrap() {
        check("session", serde_json::to_value(session).unwrap());
    }
    for id in [memory.id, plain.id] {
        check("memory", serde_json::to_value(engine.memories().get(&id).unwrap()).unwrap());
    }
    for event in engine.timeline().list(0, 100).unwrap() {
        check("event", serde_json::to_value(event).unwrap());
    }
    for call in engine.tools().listing().run().unwrap().items {
        check("tool_call", serde_json::to_value(call).unwrap());
    }
    check("tool_citation", serde_json::to_value(engine.tools().citation(call.id()).unwrap()).unwrap());
    check("evidence_chain", serde_json::to_value(chain).unwrap());
    let read = mirrordna::read_evidence(&mut proof.as_slice(), mirrordna::proof::Policy::default()).unwrap();
    check("stated_evidence", serde_json::to_value(&read.statements[0]).unwrap());
    check("state_snapshot.strict", snapshot.document.clone());
    let read = validate::<Snapshot>(&snapshot.to_json(), Profile::Strict).unwrap();
    assert_eq!(read.snapshot_id, snapshot.id, "upstream's loader takes it, its checksum included");
}
