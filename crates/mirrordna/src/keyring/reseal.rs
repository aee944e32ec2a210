//! Another key for a keyring that is there.

use super::*;

/// What is to protect a keyring from now on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum NewProtection {
    /// The passphrase or the provider that protects it now, or still nothing.
    #[default]
    Same,
    /// This passphrase.
    Passphrase(Zeroizing<String>),
    /// This provider.
    Provider(Arc<dyn KeyProvider>),
}

impl Keyring {
    /// Encrypts every key anew, under a new keyring key. Whoever is killed
    /// meanwhile leaves the keyring as it was. Nobody else may have the database
    /// open: what they add afterwards would be under the old key. `unlock` is
    /// what this one was opened by.
    pub(crate) fn reseal(&self, unlock: &Unlock, to: &NewProtection, entropy: &dyn Entropy) -> Result<()> {
        let path = self.path.as_ref().ok_or_else(|| Error::new(Code::KeyMissing, "keys in memory are in no keyring file"))?;
        let lacks = || Error::new(Code::Bug, "a keyring was opened without what opens it");
        let guard = match (to, &self.protection) {
            (NewProtection::Passphrase(passphrase), _) => Guard::Passphrase(passphrase),
            (NewProtection::Provider(provider), _) => Guard::Provider(&**provider),
            (NewProtection::Same, Protection::Passphrase) => Guard::Passphrase(unlock.passphrase().ok_or_else(lacks)?),
            (NewProtection::Same, Protection::Provider(_)) => Guard::Provider(unlock.provider().ok_or_else(lacks)?),
            (NewProtection::Same, Protection::None | Protection::Memory) => Guard::Nothing,
        };
        let unread = |e| io(path, "cannot read the keyring", e);
        let mut file = File::open(path).map_err(unread)?;
        file.lock().map_err(unread)?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes).map_err(unread)?;
        let (kek, mut head) = new_head(&self.database, &guard, entropy)?;
        let mut text = json_line(&head)?;
        head.key.zeroize();
        for line in bytes.split(|b| *b == b'\n').skip(1) {
            // A line that a crash cut short is no slot; its key was never published.
            let Ok(slot) = serde_json::from_slice::<Slot>(line) else { continue };
            let owner = unhex(&slot.owner);
            let key =
                owner.and_then(|o| Some((o, open(&self.kek, &aad(&self.database, slot.role.label(), &o), &slot.nonce, &slot.sealed)?)));
            match key {
                Some((owner, key)) => {
                    let (nonce, sealed) = seal(&kek, &aad(&self.database, slot.role.label(), &owner), &key, entropy)?;
                    extend(&mut text, &json_line(&Slot { nonce, sealed, ..slot })?);
                }
                // What does not open now is not ours to drop.
                None => extend(&mut text, &[line, b"\n"].concat()),
            }
        }
        let new = path.with_extension("keys.new");
        // Of one that was killed.
        let _absent = std::fs::remove_file(&new);
        let mut target = private_file(&new, true)?;
        let written = target.write_all(&text).and_then(|()| target.sync_all()).and_then(|()| std::fs::rename(&new, path));
        if let Err(e) = written {
            let _stays = std::fs::remove_file(&new);
            return Err(io(path, "cannot rewrite the keyring", e));
        }
        // It says where slots stood.
        let _derived = std::fs::remove_file(path.with_extension("index"));
        sync_folder(path.parent().unwrap_or(Path::new(".")))
    }
}
