//! `keys …`: protecting the keyring.

use super::{count, open_to_read};
use crate::args::KeysCommand;
use crate::config::Settings;
use crate::output::{Fit, Output, Progress, Unit};
use mirrordna::{Code, Error, FileKey, LogKey, NewProtection, Result, Zeroizing, input, provider_named};
use serde_json::json;
use std::sync::Arc;

pub(crate) fn keys(settings: &Settings, command: &KeysCommand, out: &mut Output) -> Result<u8> {
    match command {
        KeysCommand::Passphrase => {
            settings.builder_to_write()?.rotate_keys(&NewProtection::Passphrase(new_passphrase()?))?;
            if out.json {
                out.value(&json!({ "passphrase": true }))?;
            } else {
                out.line("the keyring opens by the new passphrase only");
                out.remark("Give it in MIRRORDNA_PASSPHRASE or MIRRORDNA_PASSPHRASE_FILE from now on. Whoever loses it loses the keys.");
            }
        }
        KeysCommand::Pq => second_key(settings, out)?,
        KeysCommand::List => list(settings, out)?,
        KeysCommand::Rotate { store_key: true, .. } => rotate_store_key(settings, out)?,
        KeysCommand::Rotate { log: true, .. } => rotate_log_key(settings, out)?,
        KeysCommand::Rotate { to, .. } => {
            settings.builder_to_write()?.rotate_keys(&protection(to.as_deref())?)?;
            if out.json {
                out.value(&json!({ "rotated": "keyring", "to": to }))?;
            } else {
                out.line("the keyring has a new key, and every key in it is encrypted under that one");
                out.remark("Older copies of the keyring still open by what opened them: destroy them.");
            }
        }
    }
    Ok(0)
}

fn second_key(settings: &Settings, out: &mut Output) -> Result<()> {
    let engine = settings.builder_to_write()?.create(false).open()?;
    let made = engine.add_pq_key()?;
    let key = engine.main().pq_verifier_key()?;
    engine.close()?;
    if out.json {
        return out.value(&json!({ "made": made, "pq_verifier_key": key }));
    }
    out.line(key.ok_or_else(|| Error::new(Code::Bug, "the key that was made is not in the keyring"))?);
    if made {
        out.remark("Checkpoints that leave are signed by this key, too, from now on. Back up the keyring.");
    } else {
        out.remark("There is such a key already; nothing changed.");
    }
    out.remark("Nothing that is handed out names it: give it to whom you want to rely on it, for a policy's line `log KEY`.");
    Ok(())
}

fn rotate_store_key(settings: &Settings, out: &mut Output) -> Result<()> {
    let engine = settings.builder_to_write()?.create(false).open()?;
    let mut progress = Progress::new("wrapping keys", Unit::Keys, out);
    let done = engine.rotate_store_key_with(&mut |done, of| progress.update(done, of))?;
    drop(progress);
    engine.close()?;
    if out.json {
        return out.value(&done);
    }
    let keys = count(done.rewrapped, "key of a subject is", "keys of subjects are");
    out.line(format!("{keys} wrapped anew, by store key {}", done.store_key));
    if done.completed {
        out.remark("That completed an earlier rotation. Run it once more for another key.");
    }
    out.remark("Back up the keyring: without the new store key in it nothing can be read.");
    Ok(())
}

/// Which keys have signed the log's checkpoints.
fn list(settings: &Settings, out: &mut Output) -> Result<()> {
    let keys = open_to_read(settings, out)?.main().log_keys()?;
    if out.json {
        return out.value(&json!({ "items": keys }));
    }
    let columns = [("SINCE", Fit::Number), ("LEAF", Fit::Number), ("FINGERPRINT", Fit::Whole), ("STATE", Fit::Whole)];
    let state = |in_force| if in_force { "in force" } else { "replaced" };
    let row = |key: &LogKey| {
        vec![key.since.to_string().into(), key.leaf.to_string().into(), key.fingerprint.clone().into(), state(key.in_force).into()]
    };
    out.table(&columns, keys.iter().map(row).collect(), "");
    Ok(())
}

fn rotate_log_key(settings: &Settings, out: &mut Output) -> Result<()> {
    let engine = settings.builder_to_write()?.create(false).open()?;
    let rotated = engine.main().rotate_log_key()?;
    engine.close()?;
    if out.json {
        return out.value(&rotated);
    }
    out.line(format!("from size {} on the log's checkpoints are signed by another key:", rotated.key.since));
    out.line(format!("  {}", rotated.key.fingerprint));
    out.remark("Give this fingerprint to whoever is to check the log from now on; who has the old one needs nothing.");
    out.remark(format!("Witnesses refuse the log until they know it: mirrordna witness trust DIR '{}'", rotated.key.verifier_key));
    out.remark("Back up the keyring: without the new key in it nobody signs for the log.");
    Ok(())
}

/// What is to protect the keyring.
fn protection(to: Option<&str>) -> Result<NewProtection> {
    match to {
        None => Ok(NewProtection::Same),
        Some("passphrase") => Ok(NewProtection::Passphrase(new_passphrase()?)),
        Some("file") => match std::env::var_os("MIRRORDNA_NEW_KEK_FILE").filter(|p| !p.is_empty()) {
            Some(file) => Ok(NewProtection::Provider(Arc::new(FileKey::new(file)))),
            None => provider_named("file").map(NewProtection::Provider),
        },
        Some(name) => provider_named(name).map(NewProtection::Provider),
    }
}

/// The new passphrase, read as the present one is.
fn new_passphrase() -> Result<Zeroizing<String>> {
    if let Some(text) = std::env::var("MIRRORDNA_NEW_PASSPHRASE").ok().filter(|t| !t.is_empty()) {
        return Ok(Zeroizing::new(text));
    }
    let Some(path) = std::env::var_os("MIRRORDNA_NEW_PASSPHRASE_FILE").filter(|p| !p.is_empty()) else {
        return Err(Error::new(Code::ConfigInvalid, "no new passphrase is given")
            .with_hint("Set MIRRORDNA_NEW_PASSPHRASE, or MIRRORDNA_NEW_PASSPHRASE_FILE to a file that holds it."));
    };
    let what = "what MIRRORDNA_NEW_PASSPHRASE_FILE names";
    let text = input::text(std::path::Path::new(&path), what, input::TEXT, Code::ConfigInvalid).map(Zeroizing::new)?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}
