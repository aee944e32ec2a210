//! What production demands of a database's surroundings.

use crate::keyring::provider::Unlock;
use crate::keyring::{Keyring, Protection};
use crate::witness::Witness;
use mirrordna_core::{Code, Error, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Mode bits that let others read or write, and those that let them write.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// A refusal, and what to set.
pub(crate) fn refuse(what: &str, hint: impl Into<String>) -> Error {
    Error::new(Code::ConfigInvalid, format!("the profile production refuses to start: {what}")).with_hint(hint.into())
}

/// What can be said before anything is made or opened. Whoever only reads may do
/// without keys.
pub(crate) fn before(witness: &Witness, unlock: &Unlock, read_only: bool) -> Result<()> {
    if unlock.is_empty() && !read_only {
        return Err(refuse(
            "neither a passphrase nor a key provider is given",
            "Set MIRRORDNA_PASSPHRASE_FILE, MIRRORDNA_KEK_FILE or MIRRORDNA_KEY_PROVIDER.",
        ));
    }
    if witness.folder().is_none() {
        return Err(refuse(
            "without a head witness an older copy of the database passes for the newest",
            "Set MIRRORDNA_STATE to a folder outside the database's that outlives the process.",
        ));
    }
    Ok(())
}

/// What can be said when the keyring is open. `database` is where the file is.
pub(crate) fn opened(keyring: Option<&Keyring>, database: Option<&str>, witness: Option<&Path>) -> Result<()> {
    if let Some(path) = keyring.filter(|k| *k.protection() == Protection::None).and_then(Keyring::path) {
        return Err(refuse(
            &format!("the key of {} stands in it in clear", path.display()),
            "Run `mirrordna keys passphrase`, or `mirrordna keys rotate --to file` with MIRRORDNA_KEK_FILE, outside the profile.",
        ));
    }
    match lax_files(keyring, database, witness).first() {
        None => Ok(()),
        Some((path, mode)) => {
            let wanted =
                if keyring.is_some_and(|k| k.path() == Some(path) || k.recovery_path().as_ref() == Some(path)) { "600" } else { "go-w" };
            Err(refuse(&format!("{} has mode {mode:03o}", path.display()), format!("Run `chmod {wanted} {}`.", path.display())))
        }
    }
}

/// Files with a mode that is too lax, with that mode.
pub(crate) fn lax_files(keyring: Option<&Keyring>, database: Option<&str>, witness: Option<&Path>) -> Vec<(PathBuf, u32)> {
    let keys = keyring.and_then(Keyring::path).map(Path::to_owned);
    let recovery = keyring.and_then(Keyring::recovery_path);
    let folder = keys.as_ref().and_then(|k| k.parent()).map(Path::to_owned);
    let own = [
        (keys, OTHERS),
        (recovery, OTHERS),
        (folder, OTHERS_WRITE),
        (database.map(PathBuf::from), OTHERS_WRITE),
        (witness.map(Path::to_owned), OTHERS_WRITE),
    ];
    let mode = |path: &Path| std::fs::metadata(path).map(|m| m.permissions().mode()).ok();
    own.into_iter()
        .filter_map(|(path, denied)| {
            let path = path?;
            // In a folder like /tmp only its owner can replace a file.
            let mode = mode(&path).filter(|m| m & denied != 0 && m & 0o1000 == 0)?;
            Some((path, mode & 0o777))
        })
        .collect()
}
