//! redb's errors as the project's.

use mirrordna_core::{Code, Error};
use mirrordna_storage::files::io_code;
use std::path::Path;

/// Translates an error of redb on the database at `path`.
pub(crate) fn from_redb(path: &Path, doing: &str, e: impl Into<redb::Error>) -> Error {
    use redb::Error as E;
    let e = e.into();
    let code = match &e {
        E::Io(io) => io_code(io),
        E::DatabaseAlreadyOpen | E::LockProtocolMismatch => {
            return Error::new(Code::StoreInUse, format!("{doing} the database at {}: it is open already", path.display()))
                .with_hint("A redb database belongs to one process at a time: close the other one, or use SQLite.")
                .caused_by(e);
        }
        // redb stops after a failure whose outcome it cannot know.
        E::PreviousIo | E::LockPoisoned(_) | E::DatabaseClosed | E::TransactionPoisoned => Code::StorePoisoned,
        E::UpgradeRequired(_) => Code::StoreNotDatabase,
        E::ValueTooLarge(_) => Code::LimitExceeded,
        E::Corrupted(_)
        | E::RepairAborted
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TableDoesNotExist(_)
        | E::TypeDefinitionChanged { .. } => Code::Altered,
        _ => Code::StoreIo,
    };
    Error::new(code, format!("{doing} the database at {}", path.display())).caused_by(e)
}
