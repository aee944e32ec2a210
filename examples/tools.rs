//! An agent whose answers cite the calls of tools that they rest on: what is
//! recorded before and after a call, what a reader of the answer checks, and
//! the file that an auditor gets.
#![allow(clippy::print_stdout)]

use mirrordna::proof::{self, Policy};
use mirrordna::{Engine, IdentityType, Keys, NewCall, Outcome};

/// A tool that is down the first time.
fn port_scan(address: &str, attempt: u32) -> Result<String, String> {
    if attempt == 1 { Err("the scanner is busy".to_owned()) } else { Ok(format!(r#"{{"address":"{address}","open":[22,443]}}"#)) }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agent.db");
    let engine = Engine::builder(path.to_string_lossy()).keys(Keys::Folder(folder.path().join("keys"))).open()?;
    let agent = engine.identities().create(IdentityType::Agent)?;

    // One request of the host, two attempts. The log keeps digests of arguments
    // and response, and of the contents what the host chooses.
    let request = "req-2026-0017";
    let args = r#"{"address":"10.0.0.7","token":"s3cret"}"#;
    let new = NewCall::new("scanner/ports", request).args(args).redacted(r#"{"address":"10.0.0.7","token":"***"}"#);
    let mut call = agent.tools().requested(new)?;
    let mut attempt = 1;
    let ended = loop {
        match port_scan("10.0.0.7", attempt) {
            Ok(response) => break call.completed(Outcome::success(&response).summary(r#"{"open":2}"#))?,
            Err(why) => call.failed(why)?,
        };
        call = call.retry()?;
        attempt += 1;
    };
    println!("attempt {attempt}: {} of {}", ended.endpoint, ended.attempt_of.as_deref().unwrap_or("nothing"));

    // The answer cites the call. Whoever reads it checks the citation against
    // the log, for the request that was asked.
    let cited = serde_json::to_string(&engine.tools().citation(&ended.call_id)?)?;
    let read = serde_json::from_str(&cited)?;
    println!("the citation holds: {}", engine.tools().verify_citation(&read, request).is_ok());
    let refused = engine.tools().verify_citation(&read, "req-2026-0018");
    println!("for another request: {}", refused.err().map_or("it holds", |e| e.code().name()));

    // The calls behind a finding as one file, for somebody who has nothing else
    // but the fingerprint of the log's key.
    let calls: Vec<String> = engine.tools().listing().request(request).run()?.items.into_iter().map(|c| c.call_id).collect();
    let mut file = Vec::new();
    let (chain, bundled) = agent.evidence().finding("F-7").calls(calls).write(&mut file)?;
    println!("{} calls, complete: {}, {} events proven", chain.call_ids.len(), chain.chain_complete, bundled.disclosed);
    let policy = Policy::default().and(*engine.fingerprint().as_bytes());
    println!("the auditor finds it {}", proof::judge(&mut file.as_slice(), policy, &[], &mut |_| {})?.verdict.name());
    Ok(())
}
