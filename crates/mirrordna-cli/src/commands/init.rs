//! `init`: a new database and its keyring.

use crate::config::Settings;
use crate::output::{Output, Tone};
use mirrordna::{Code, Engine, Error, Protection, Result, StoreUrl};
use serde_json::json;

pub(crate) fn init(settings: &Settings, out: &mut Output) -> Result<u8> {
    if let Some(path) = StoreUrl::parse(&settings.store)?.path().filter(|p| p.exists()) {
        return Err(Error::new(Code::AlreadyExists, format!("{} exists already", path.display()))
            .with_hint("It can be used as it is; or choose another path with --store."));
    }
    let engine = settings.builder_to_write()?.open()?;
    describe_new(&engine, out)?;
    engine.close()?;
    Ok(0)
}

/// Says what was created and what to do with it.
pub(crate) fn describe_new(engine: &Engine, out: &mut Output) -> Result<()> {
    let show = |p: Option<std::path::PathBuf>| p.map(|p| p.display().to_string());
    let (keyring, recovery) = (show(engine.keyring_path()), show(engine.recovery_path()));
    if out.json {
        return out.value(&json!({
            "store": engine.location(), "database": engine.database_id(), "fingerprint": engine.fingerprint().to_string(),
            "keyring": keyring, "recovery": recovery, "passphrase": engine.has_passphrase(),
        }));
    }
    out.line(format!("created      {}", engine.location()));
    out.line(format!("keyring      {}", keyring.unwrap_or_default()));
    out.line(format!("recovery     {}", recovery.unwrap_or_default()));
    out.line(format!("fingerprint  {}", engine.fingerprint()));
    out.line("");
    out.line("Back up the keyring: without it the database can be verified, but not read.");
    out.line("Move the recovery file to another device: whoever has it can take an identity over.");
    if engine.key_protection() == Some(Protection::None) {
        let notice =
            out.tone(Tone::Notice, "No passphrase protects the keyring; set MIRRORDNA_PASSPHRASE before `init` for one that does.");
        out.line(notice);
    }
    Ok(())
}
