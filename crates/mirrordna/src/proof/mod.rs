//! What an auditor is given: bundles, each one file that is judged with nothing
//! but a policy (`spec/PROTOCOL.md` chapter 16).
//!
//! This module **owns** what goes into a bundle: `whole` takes all of a
//! database's history, `part` named events and what proves them. It **never**
//! judges: that is `mirrordna-verify`'s business, and [`judge`] only hands it a
//! file.
//!
//! ```
//! # use mirrordna::{Engine, IdentityType};
//! use mirrordna::proof;
//!
//! # let engine = Engine::open("memory:")?;
//! let agent = engine.identities().create(IdentityType::Agent)?;
//! let booked = agent.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"}))?;
//!
//! let mut file = Vec::new(); // or a std::fs::File
//! engine.main().prove(&[booked.index]).disclose().write(&mut file)?;
//!
//! // Elsewhere, with the fingerprint from the owner, and nothing else.
//! let policy = proof::Policy::default().and(*engine.fingerprint().as_bytes());
//! let judged = proof::judge(&mut file.as_slice(), policy, &[], &mut |_| {})?;
//! assert_eq!(judged.verdict.name(), "intact");
//! # Ok::<(), mirrordna::Error>(())
//! ```

mod part;
mod read;
mod report;
mod under;
mod whole;

pub use mirrordna_core::verify::bundle::{Bounds, Event, Freshness, Judgement, LogJudgement, MAGIC, Scope, Times};
pub use mirrordna_core::verify::policy::Policy;
pub use part::Prove;
pub use read::Reader;
pub use report::{BundleReport, DisputedReport, MissingLinkReport, SectionBodies, SectionReport, TimeBound, TimesReport};
pub use under::Under;
pub use whole::Bodies;
pub(crate) use whole::{anchored, join, noted, signed_size};

use crate::engine::Engine;
use crate::import::Progress;
use mirrordna_core::verify::bundle::Judge;
use mirrordna_core::{Code, Error, Result};
use serde::Serialize;
use std::io::{ErrorKind, Read, Write};

/// What was written into a bundle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bundled {
    /// Logs, each a section.
    pub logs: u64,
    /// Events, supporting ones too.
    pub events: u64,
    /// Bodies whose secret is disclosed.
    pub disclosed: u64,
    /// Length of the bundle, bytes.
    pub bytes: u64,
    /// Events of these logs that come after the checkpoints: the bundle says
    /// nothing of them.
    pub later: u64,
}

/// Where a bundle goes, and what went there.
struct Sink<'a> {
    out: &'a mut dyn Write,
    bundled: Bundled,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bundled.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| Error::new(Code::StoreIo, "cannot write the bundle").caused_by(e))
    }
}

impl Engine {
    /// Writes a bundle of everything: all logs, up to what is signed. What is
    /// not signed yet is signed before, where this process may. `progress` is
    /// told of events.
    ///
    /// # Errors
    /// `store.*` where it cannot be read, or `out` not written; `log.altered`
    /// where a checkpoint is malformed.
    pub fn audit(&self, bodies: Bodies, out: &mut dyn Write, progress: Progress<'_>) -> Result<Bundled> {
        self.audit_under(bodies, &Under::Newest, out, progress)
    }

    /// The same under checkpoints that witnesses have cosigned: each log up to
    /// its own, with the note as it is, so that an auditor sees a quorum of them
    /// satisfied. [`Bundled::later`] counts the events that came after.
    ///
    /// # Errors
    /// As [`Engine::audit`]; `anchor.invalid`, `log.rolled_back` and `log.forked`
    /// for a checkpoint that is of none of the logs, of more than a log has, or
    /// contradicts it; `record.not_found` where a log records none that is as
    /// asked for; `input.invalid` where contents that it covers were erased
    /// after it, or two are given for one log.
    pub fn audit_under(&self, bodies: Bodies, under: &Under, out: &mut dyn Write, progress: Progress<'_>) -> Result<Bundled> {
        if bodies == Bodies::Disclosed && self.inner.keyring.is_none() {
            return Err(crate::log::missing("what cannot be read here cannot be disclosed"));
        }
        if !self.inner.read_only {
            self.inner.tend()?;
        }
        whole::write(&*self.inner.store, self.inner.keyring.as_deref(), (bodies, under), out, progress)
    }
}

/// Judges a bundle that is read from `file`. `kept` are checkpoints of its logs
/// that were kept elsewhere; `each` is shown the events as they are judged.
///
/// # Errors
/// `bundle.unknown` if it is none, `policy.invalid` if something that was kept
/// is no checkpoint, `store.io` if it cannot be read. What is wrong with the
/// evidence is in the judgement.
pub fn judge(file: &mut dyn Read, policy: Policy, kept: &[Vec<u8>], each: &mut dyn FnMut(&Event<'_>)) -> Result<Judgement> {
    let unknown = |e| Error::new(Code::BundleUnknown, "this is no bundle").caused_by(e);
    let mut judge = Judge::new(policy);
    for note in kept {
        judge.keep(note).map_err(|e| Error::new(Code::PolicyInvalid, "what was kept is no checkpoint").caused_by(e))?;
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => judge.feed(buffer.get(..n).unwrap_or_default(), each).map_err(unknown)?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(Code::StoreIo, "cannot read the bundle").caused_by(e)),
        }
    }
    judge.finish().map_err(unknown)
}
