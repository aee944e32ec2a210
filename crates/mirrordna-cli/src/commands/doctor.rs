//! `doctor`: what to mend.

use super::verify::{exit_status, verify_store};
use super::{count, open_to_read};
use crate::config::Settings;
use crate::output::{Output, Tone};
use mirrordna::{Engine, Protection, Result};
use serde_json::json;
use std::path::Path;

/// One finding of the doctor.
#[derive(serde::Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    says: String,
    advice: Option<String>,
}

pub(crate) fn doctor(settings: &Settings, out: &mut Output) -> Result<u8> {
    let mut checks: Vec<Check> = Vec::new();
    let mut add = |name, ok, says: String, advice: &str| checks.push(Check { name, ok, says, advice: (!ok).then(|| advice.to_owned()) });
    let report = verify_store(settings.builder(), out)?;
    let says = format!("{}, {}", report.verdict, count(report.events, "event", "events"));
    add("database", report.ok, says, "Run `mirrordna verify` for the findings.");
    let advice = match settings.witness_folder() {
        None => "It is off: an older copy passes for the newest. Set MIRRORDNA_STATE to a folder.",
        Some(_) if report.freshness == "unproven" => {
            "This machine has not seen the database before: nothing says whether it is the newest copy."
        }
        Some(_) => "Run `mirrordna verify` for the findings.",
    };
    let off = if settings.witness_folder().is_none() { ", off" } else { "" };
    add("head witness", report.freshness == "current", format!("{}{off}", report.freshness), advice);
    match open_to_read(settings, out) {
        Err(e) => add("opening", false, e.to_string(), e.hint()),
        Ok(engine) => {
            let keyring = engine.keyring_path();
            match (engine.locked(), &keyring) {
                (Some(why), _) => add("keyring", false, why.to_string(), why.hint()),
                (None, Some(path)) => add("keyring", true, path.display().to_string(), ""),
                (None, None) => {
                    let advice = "Nothing can be read or written without it: bring it, or set MIRRORDNA_KEYS.";
                    add("keyring", false, "not on this machine".to_owned(), advice);
                }
            }
            match engine.key_protection() {
                Some(Protection::None) => {
                    let advice =
                        "Who reads the keyring has the keys: `mirrordna keys passphrase` sets a passphrase, `keys rotate --to` a provider.";
                    add("protection", false, "none: the keyring holds its key in clear".to_owned(), advice);
                }
                Some(protection) => add("protection", true, protection.to_string(), ""),
                None => {}
            }
            let lax = engine.lax_files();
            if keyring.is_some() || !lax.is_empty() {
                let says: Vec<String> = lax.iter().map(|(path, mode)| format!("{mode:03o} {}", path.display())).collect();
                let says = if lax.is_empty() { "of keys for their owner alone".to_owned() } else { says.join(", ") };
                add(
                    "file modes",
                    lax.is_empty(),
                    says,
                    "Others may read or change them: chmod 600 the keyring's files, and take write access from the rest.",
                );
            }
            if let Some(recovery) = engine.recovery_path() {
                let beside = recovery.exists();
                let says = if beside { format!("still at {}", recovery.display()) } else { "moved away".to_owned() };
                add("recovery keys", !beside, says, "Move the file to another device: until then, theft of this one includes it.");
            }
            if let Some(keyring) = &keyring {
                let same = beside(&engine, keyring);
                let says = if same { "beside the database" } else { "not beside the database" };
                add("keys elsewhere", !same, says.to_owned(), "Who copies the folder has both; set MIRRORDNA_KEYS to another one.");
            }
        }
    }
    if out.json {
        out.value(&json!({ "checks": checks }))?;
    } else {
        for check in &checks {
            let mark = if check.ok { out.tone(Tone::Good, "ok  ") } else { out.tone(Tone::Notice, "look") };
            out.line(format!("{mark}  {:<14}  {}", check.name, check.says));
            if let Some(advice) = &check.advice {
                out.line(format!("      {advice}"));
            }
        }
    }
    Ok(exit_status(report.verdict))
}

/// Whether the keyring lies in the folder of the database.
fn beside(engine: &Engine, keyring: &Path) -> bool {
    let folder = |p: &Path| p.parent().and_then(|f| std::fs::canonicalize(if f.as_os_str().is_empty() { Path::new(".") } else { f }).ok());
    let own = folder(Path::new(&engine.location()));
    own.is_some() && own == folder(keyring)
}
