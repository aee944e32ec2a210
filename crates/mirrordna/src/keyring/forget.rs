//! Destroying a key whose time is over.

use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;

impl Keyring {
    /// Writes over every slot of a name, durably. Offsets of other slots stay as
    /// they are, so whoever has the keyring open still finds them.
    pub(crate) fn forget(&self, role: Role, owner: &Hash) -> Result<()> {
        let path = match (&self.path, &self.place) {
            (Some(path), Place::File(_)) => path,
            (_, Place::Memory(held)) => {
                lock(held).remove(&(role, *owner));
                return Ok(());
            }
            (None, Place::File(_)) => return Err(Error::new(Code::Bug, "a keyring file without a place")),
        };
        let err = |e| io(path, "cannot destroy a key in", e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(err)?;
        file.lock().map_err(err)?;
        let (mut lines, mut line, mut at) = (BufReader::with_capacity(1 << 16, &file), Vec::new(), 0);
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line).map_err(err)?;
            if length == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if slots::name(text) == Some((role, *owner)) {
                file.write_all_at(&vec![b' '; text.len()], at).map_err(err)?;
            }
            at += length as u64;
        }
        file.sync_data().map_err(err)?;
        // It says that the slot is there.
        let _derived = std::fs::remove_file(path.with_extension("index"));
        file.unlock().map_err(err)
    }
}
