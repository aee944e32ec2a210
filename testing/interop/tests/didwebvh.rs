//! The DID logs of `spec/vectors/` by didwebvh-rs, an implementation of
//! did:webvh 1.0 by others.

use didwebvh_rs::prelude::*;
use mirrordna::{Clock, Engine, IdentityType, Keys, RecoveryKeys, Witness};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A minute passes whenever it is asked, and none of it lies ahead: resolvers
/// refuse times to come.
#[derive(Debug)]
struct Past(AtomicU64);

impl Clock for Past {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(60_000, Ordering::Relaxed)
    }
}

#[test]
fn identities_stay_valid_elsewhere_all_their_life() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Engine::builder(dir.path().join("m.db").to_str().unwrap()).clock(Arc::new(Past(AtomicU64::new(1_700_000_000_000))));
    let engine = builder.keys(Keys::Folder(dir.path().join("keys"))).witness(Witness::Off).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let recovery = || RecoveryKeys::parse(&std::fs::read_to_string(engine.recovery_path().unwrap()).unwrap()).unwrap();
    let scid = |log: &str| -> String {
        let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        first["parameters"]["scid"].as_str().unwrap().to_owned()
    };
    let check = |versions: usize| {
        let log = agent.did_log().unwrap();
        assert_eq!(judge(&log), Ok((versions, scid(&log))), "{log}");
        log
    };
    check(1);
    agent.rotate().unwrap();
    check(2);
    agent.rotate().unwrap();
    check(3);
    agent.recover(&recovery(), None).unwrap();
    check(4);
    agent.rotate().unwrap();
    let before = check(5);
    agent.revoke("the end").unwrap();
    let log = check(6);
    // Nothing may follow, and nothing in between may be left out.
    let lines: Vec<&str> = log.lines().collect();
    assert!(judge(&format!("{log}{}\n", lines[5])).is_err());
    for missing in 0..5 {
        let rest: Vec<&str> = lines.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, l)| *l).collect();
        assert!(judge(&format!("{}\n", rest.join("\n"))).is_err(), "line {missing}");
    }
    assert_eq!(judge(&before).unwrap().0, 5);
}
