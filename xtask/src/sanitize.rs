//! The verifier's tests with every access to memory checked. Its crate forbids
//! `unsafe`; what it depends on for hashes and signatures does not.

use crate::{host, run};

/// Runs them under AddressSanitizer. The flag is rustc's, but not stable yet;
/// the runtime comes with the stable toolchain.
pub(crate) fn sanitize() -> bool {
    let Some(host) = host() else { return false };
    // With a target named, build scripts are not instrumented; the examples of the documentation stay outside.
    let args =
        ["test", "--locked", "--package", "mirrordna-verify", "--lib", "--tests", "--target", &host, "--target-dir", "target/sanitize"];
    run("cargo", &args, &[("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address")])
}
