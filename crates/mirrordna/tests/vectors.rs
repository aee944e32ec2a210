//! The export in `spec/vectors/` is restored, verified and exported again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use serde_json::Value;

fn read(name: &str) -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/");
    serde_json::from_str(&std::fs::read_to_string(format!("{file}{name}.json")).unwrap()).unwrap()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap().as_bytes();
    text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_export_of_the_vectors_comes_back_as_it_was() {
    let place = Place::new();
    let (export, log) = (unhex(&read("export")["hex"]), read("log"));
    let moved = place.builder().restore(&mut export.as_slice()).unwrap();
    assert_eq!((moved.logs, moved.events, moved.bytes), (1, log["events"].as_array().unwrap().len() as u64, export.len() as u64));
    // Nobody here vouches for the log's key until its fingerprint is given.
    let unproven = place.verify();
    assert_eq!((unproven.verdict, &unproven.head), ("unproven", &log["verdict"]["root"].as_str().unwrap().to_owned()), "{unproven:#?}");
    let fingerprint = mirrordna_core::verify::hash::sha256(&[&unhex(&log["log_key"])]);
    let intact = place.builder().trust(fingerprint.into()).verify().unwrap();
    assert_eq!((intact.verdict, intact.bodies.erased, intact.bodies.missing), ("intact", 1, 0), "{intact:#?}");
    let engine = place.builder().read_only().open().unwrap();
    let mut again = Vec::new();
    engine.export(&mut again).unwrap();
    assert!(again == export, "the engine exports other bytes");
}
