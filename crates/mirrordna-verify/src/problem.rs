//! What can be wrong with evidence, as values a program can match on.

use alloc::string::String;
use core::fmt;

/// Foreign bytes that do not have the form the protocol prescribes.
///
/// `what` names the structure and `why` the rule that was broken, so that the
/// message is useful without the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The structure that was being read, for example `event header`.
    pub what: &'static str,
    /// The rule that the bytes break.
    pub why: &'static str,
}

impl Malformed {
    /// A new refusal of `what` because of `why`.
    #[must_use]
    pub const fn new(what: &'static str, why: &'static str) -> Self {
        Self { what, why }
    }

    /// Both as one text; the rule alone where no structure is named.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut sentence = String::from(self.what);
        if !sentence.is_empty() {
            sentence.push_str(": ");
        }
        sentence.push_str(self.why);
        sentence
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())
    }
}

impl core::error::Error for Malformed {}

/// One finding of a verification: a stable code, where, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable dotted name, listed in `spec/PROTOCOL.md` chapter 9, for example
    /// `body.altered`.
    pub code: &'static str,
    /// Where: `log 1 leaf 17`, `identity mdna_agt_…`, a table and row.
    pub place: String,
    /// What was found, in plain words.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.code, self.place, self.message)
    }
}
