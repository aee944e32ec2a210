//! Which store a text names. There is one resolver for the SDK, the command
//! line and every language.

use mirrordna_core::{Code, Error, Result};
use std::path::{Path, PathBuf};

/// A store that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite database file.
    Sqlite(PathBuf),
    /// A redb database file.
    Redb(PathBuf),
    /// A store in memory, new each time.
    Memory,
}

/// The store that is used where none is named: `MIRRORDNA_STORE`, else
/// `./mirrordna.db`.
#[must_use]
pub fn default_store() -> String {
    std::env::var("MIRRORDNA_STORE").ok().filter(|v| !v.is_empty()).unwrap_or_else(|| "./mirrordna.db".to_owned())
}

impl StoreUrl {
    /// Reads a path, `sqlite:PATH`, `sqlite:///ABSOLUTE`, the same with `redb:`,
    /// or `memory:`.
    ///
    /// # Errors
    /// `store.url`, showing the right spelling.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str, hint: String| Err(Error::new(Code::StoreUrl, format!("'{text}' {why}")).with_hint(hint));
        if text.is_empty() {
            return refuse("names no store", "Use a path, sqlite:PATH or sqlite:///ABSOLUTE.".into());
        }
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        for (scheme, store) in [("sqlite", Self::Sqlite as fn(PathBuf) -> Self), ("redb", Self::Redb)] {
            let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':')) else { continue };
            let path = match rest.strip_prefix("//") {
                None => rest,
                Some(absolute) if absolute.starts_with('/') => absolute,
                Some(relative) => {
                    return refuse("has a host where a path belongs", format!("Write {scheme}:{relative} or {scheme}:///{relative}."));
                }
            };
            if path.is_empty() {
                return refuse("names no file", format!("Write {scheme}:PATH."));
            }
            return Ok(store(path.into()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "postgres" | "postgresql" => refuse(
                    "needs the PostgreSQL adapter, which this build does not have",
                    "Use a path for the embedded SQLite store.".into(),
                ),
                "sqlite3" | "file" => refuse("has another scheme than sqlite", format!("Write sqlite:{rest}.")),
                _ => refuse("has a scheme that is not known", "Use a path, sqlite:PATH or sqlite:///ABSOLUTE.".into()),
            };
        }
        Ok(Self::Sqlite(PathBuf::from(text)))
    }

    /// The file, for a store that is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) | Self::Redb(path) => Some(path),
            Self::Memory => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let path = |p: &str| Ok(StoreUrl::Sqlite(p.into()));
        let parse = |t: &str| StoreUrl::parse(t).map_err(|e| e.hint().to_owned());
        assert_eq!(parse("./a.db"), path("./a.db"));
        assert_eq!(parse("sqlite:a.db"), path("a.db"));
        assert_eq!(parse("sqlite:///x/a.db"), path("/x/a.db"));
        assert_eq!(parse("sqlite://a.db"), Err("Write sqlite:a.db or sqlite:///a.db.".into()));
        assert_eq!(parse("file:///x/a.db"), Err("Write sqlite:/x/a.db.".into()));
        assert_eq!(parse("redb:a.redb"), Ok(StoreUrl::Redb("a.redb".into())));
        assert_eq!(parse("redb:///x/a"), Ok(StoreUrl::Redb("/x/a".into())));
        assert_eq!(parse("redb://a"), Err("Write redb:a or redb:///a.".into()));
        assert_eq!(parse("redb:"), Err("Write redb:PATH.".into()));
        assert!(parse("postgres://h/db").is_err() && parse("").is_err() && parse("ftp://x").is_err());
    }
}
