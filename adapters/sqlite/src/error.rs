//! SQLite's errors as the project's.

use mirrordna_core::{Code, Error};
use rusqlite::ErrorCode;
use std::path::Path;

/// Translates an error of SQLite on the database at `path`.
pub(crate) fn from_sqlite(path: &Path, doing: &str, e: rusqlite::Error) -> Error {
    let code = match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Code::StoreFull,
        Some(ErrorCode::ReadOnly) => Code::StoreReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Code::StoreInUse,
        Some(ErrorCode::NotADatabase) => Code::StoreNotDatabase,
        Some(ErrorCode::DatabaseCorrupt) => Code::Altered,
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::PermissionDenied) => Code::StoreIo,
        _ if matches!(e, rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..)) => Code::Altered,
        _ => Code::StoreIo,
    };
    Error::new(code, format!("{doing} the database at {}", path.display())).caused_by(e)
}
