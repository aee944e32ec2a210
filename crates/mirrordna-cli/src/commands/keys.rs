//! `keys …`: protecting the keyring.

use crate::args::KeysCommand;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::{Code, Error, Result};
use serde_json::json;

pub(crate) fn keys(settings: &Settings, command: &KeysCommand, out: &mut Output) -> Result<u8> {
    match command {
        KeysCommand::Passphrase => {
            settings.builder_to_write()?.set_passphrase(&new_passphrase()?)?;
            if out.json {
                out.value(&json!({ "passphrase": true }))?;
            } else {
                out.line("the keyring opens by the new passphrase only");
                out.remark("Give it in MIRRORDNA_PASSPHRASE or MIRRORDNA_PASSPHRASE_FILE from now on. Whoever loses it loses the keys.");
            }
        }
    }
    Ok(0)
}

/// The new passphrase, read as the present one is.
fn new_passphrase() -> Result<String> {
    if let Some(text) = std::env::var("MIRRORDNA_NEW_PASSPHRASE").ok().filter(|t| !t.is_empty()) {
        return Ok(text);
    }
    let Some(path) = std::env::var_os("MIRRORDNA_NEW_PASSPHRASE_FILE").filter(|p| !p.is_empty()) else {
        return Err(Error::new(Code::ConfigInvalid, "no new passphrase is given")
            .with_hint("Set MIRRORDNA_NEW_PASSPHRASE, or MIRRORDNA_NEW_PASSPHRASE_FILE to a file that holds it."));
    };
    let text = std::fs::read_to_string(&path).map_err(|e| {
        let file = std::path::Path::new(&path).display().to_string();
        Error::new(Code::ConfigInvalid, format!("MIRRORDNA_NEW_PASSPHRASE_FILE: cannot read {file}")).caused_by(e)
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
