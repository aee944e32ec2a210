//! `doctor`: what to mend.

use super::verify_store;
use crate::config::Settings;
use crate::output::{Output, Tone};
use mirrordna::{Engine, Result};
use serde_json::json;
use std::path::Path;

/// One finding of the doctor.
#[derive(serde::Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    says: String,
    advice: Option<&'static str>,
}

pub(crate) fn doctor(settings: &Settings, out: &mut Output) -> Result<u8> {
    let mut checks: Vec<Check> = Vec::new();
    let mut add = |name, ok, says: String, advice| checks.push(Check { name, ok, says, advice: (!ok).then_some(advice) });
    let report = verify_store(settings, &[])?;
    add("database", report.ok, format!("{}, {} events", report.verdict, report.events), "Run `mirrordna verify` for the findings.");
    add(
        "head witness",
        report.freshness == "current",
        report.freshness.clone(),
        "Without a witness an older copy of the database cannot be recognised; set MIRRORDNA_STATE to a folder that can be written.",
    );
    match settings.builder().read_only().open() {
        Err(e) => add("opening", false, e.to_string(), "The message says what to do."),
        Ok(engine) => {
            let keyring = engine.keyring_path();
            let shown = keyring.as_ref().map_or_else(|| "not on this machine".to_owned(), |p| p.display().to_string());
            add(
                "keyring",
                keyring.is_some(),
                shown,
                "Bring the keyring of this database, or set MIRRORDNA_KEYS; without it nothing can be read or written.",
            );
            if let Some(protected) = engine.has_passphrase() {
                let says = if protected { "protects the keyring" } else { "none" };
                add(
                    "passphrase",
                    protected,
                    says.to_owned(),
                    "Whoever can read the keyring file has the keys. Make the next database with MIRRORDNA_PASSPHRASE set.",
                );
            }
            if let Some(recovery) = engine.recovery_path() {
                let beside = recovery.exists();
                let says = if beside { format!("still at {}", recovery.display()) } else { "moved away".to_owned() };
                add("recovery keys", !beside, says, "Move the file to another device: theft of this machine includes it until then.");
            }
            let (same, folder) = beside(&engine, keyring.as_deref());
            add("keys elsewhere", !same, folder, "The keyring lies beside the database; who copies the folder has both.");
        }
    }
    if out.json {
        out.value(&json!({ "checks": checks }))?;
    } else {
        for check in &checks {
            let mark = if check.ok { out.tone(Tone::Good, "ok  ") } else { out.tone(Tone::Notice, "look") };
            out.line(format!("{mark}  {:<14}  {}", check.name, check.says));
            if let Some(advice) = check.advice {
                out.line(format!("                      {advice}"));
            }
        }
    }
    Ok(u8::from(!report.ok))
}

/// Whether the keyring lies in the folder of the database.
fn beside(engine: &Engine, keyring: Option<&Path>) -> (bool, String) {
    let folder = |p: &Path| p.parent().and_then(|f| std::fs::canonicalize(if f.as_os_str().is_empty() { Path::new(".") } else { f }).ok());
    let (own, keys) = (folder(Path::new(&engine.location())), keyring.and_then(folder));
    let same = own.is_some() && own == keys;
    (same, if same { "no".to_owned() } else { "yes".to_owned() })
}
