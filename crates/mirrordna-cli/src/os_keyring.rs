//! The store of this platform behind the key provider `os-keyring`.

use crate::args::{Command, KeysCommand};
use mirrordna::{Code, Error, Result};

/// Connects to the system's keyring, where this command is to use it: others
/// must not wait for a desktop's bus, nor fail where there is none.
pub(crate) fn connect(command: &Command) -> Result<()> {
    let named = std::env::var_os("MIRRORDNA_KEY_PROVIDER").is_some_and(|name| name == "os-keyring");
    let asked = matches!(command, Command::Keys(KeysCommand::Rotate { to: Some(to), .. }) if to == "os-keyring");
    if !named && !asked {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    let store = zbus_secret_service_keyring_store::Store::new();
    #[cfg(target_os = "macos")]
    let store = apple_native_keyring_store::keychain::Store::new();
    match store {
        Ok(store) => {
            keyring_core::set_default_store(store);
            Ok(())
        }
        Err(e) => Err(Error::new(Code::KeyProvider, "the system's keyring does not answer")
            .caused_by(e)
            .with_hint("Log in to a desktop that runs one, or choose another provider: MIRRORDNA_KEY_PROVIDER.")),
    }
}
