//! Whether a read checks what it reads: in every build but the one that
//! measures what that costs.
//!
//! `RUSTFLAGS="--cfg mirrordna_unverified"` makes that one. It is no feature, so
//! that no dependency can switch it on; such a build opens databases for reading
//! only, and says what it is wherever it says its version. It leaves out what a
//! read of events that were folded before compares: leaf hashes, the tiles they
//! are from, commitments to bodies, blocks of the saved index, the signature of
//! the checkpoint. Folding, verification and decryption are as ever.

use mirrordna_core::{Code, Error, Result};

/// Whether this build checks what it reads against the signed tree. It is false
/// only in a build that was made to measure the checks
/// (`--cfg mirrordna_unverified`).
pub const VERIFIES: bool = cfg!(not(mirrordna_unverified));

/// Whether a check holds, in a build that has them.
#[inline(always)]
pub(crate) fn holds(check: impl FnOnce() -> bool) -> bool {
    !VERIFIES || check()
}

/// Refuses to write what would be believed elsewhere.
///
/// # Errors
/// `store.read_only` in a build without checks.
pub(crate) fn may_write() -> Result<()> {
    if VERIFIES {
        return Ok(());
    }
    let error = Error::new(Code::StoreReadOnly, "this build does not verify what it reads, and so writes nothing");
    Err(error.with_hint("It is for figures only. Build without --cfg mirrordna_unverified."))
}
