//! The DID logs of `spec/vectors/` by didwebvh-rs, an implementation of
//! did:webvh 1.0 by others.

use didwebvh_rs::prelude::*;
use serde_json::Value;

/// The DID logs of the vectors.
fn logs() -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/did_logs.json");
    let dids: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    dids.iter().map(|d| d["did_log"].as_str().unwrap().to_owned()).collect()
}

/// What it says of a log: the number of valid versions and the SCID.
fn judge(log: &str) -> Result<(usize, String), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), log).unwrap();
    let mut state = DIDWebVHState::default();
    state.load_log_entries_from_file(file.path().to_str().unwrap()).map_err(|e| e.to_string())?;
    state.validate().and_then(|report| report.assert_complete()).map_err(|e| e.to_string())?;
    Ok((state.log_entries().len(), state.scid().to_owned()))
}

#[test]
fn our_did_logs_are_valid_elsewhere() {
    let logs = logs();
    assert_eq!(logs.len(), 2);
    for log in logs {
        let entry: Value = serde_json::from_str(&log).unwrap();
        let scid = entry["parameters"]["scid"].as_str().unwrap().to_owned();
        assert_eq!(judge(&log), Ok((1, scid)));
    }
}

#[test]
fn changed_did_logs_are_refused_elsewhere_too() {
    let log = &logs()[0];
    let entry: Value = serde_json::from_str(log).unwrap();
    for pointer in ["/parameters/scid", "/parameters/updateKeys/0", "/versionId", "/versionTime", "/proof/0/proofValue", "/state/id"] {
        let old = entry.pointer(pointer).unwrap().as_str().unwrap();
        // The last character but one: in base58 the change is in the number.
        let at = old.len() - 2;
        let other = if &old[at..=at] == "3" { "4" } else { "3" };
        let new = format!("{}{other}{}", &old[..at], &old[at + 1..]);
        let mut changed = entry.clone();
        *changed.pointer_mut(pointer).unwrap() = new.into();
        assert!(judge(&format!("{changed}\n")).is_err(), "{pointer}");
    }
}
