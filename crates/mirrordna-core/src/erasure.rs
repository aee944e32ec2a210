//! Erasure: why content was destroyed. The rest of it is an event like any
//! other: the template of kind `erase` is `mirrordna_verify::body`'s.

use crate::{Code, Error, Result};
use serde::Serialize;
use std::str::FromStr;

/// Why content was erased: field 1 of the `erase` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Whoever runs the agent decided so.
    #[default]
    Caller,
    /// The person whose data it is asked for it.
    Subject,
    /// It was older than a retention policy allows.
    Ttl,
    /// It was no longer needed.
    Prune,
}

impl Reason {
    const ALL: [Self; 4] = [Self::Caller, Self::Subject, Self::Ttl, Self::Prune];

    /// The word that interfaces use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Subject => "subject",
            Self::Ttl => "ttl",
            Self::Prune => "prune",
        }
    }

    /// The number in the event.
    #[must_use]
    pub fn number(self) -> u64 {
        Self::ALL.iter().position(|r| *r == self).map_or(0, |n| n as u64)
    }

    /// The reason with a number; `None` for one that this version does not know.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl FromStr for Reason {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|r| r.name() == s).ok_or_else(|| {
            let shown: String = s.chars().take(40).collect();
            Error::new(Code::InputInvalid, format!("reason '{shown}' is none of caller, subject, ttl, prune"))
        })
    }
}
