//! Targets without an operating system: Debian's compiler for browsers carries
//! the sources of Rust's library, so that the ordinary cargo builds them anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The compiler, and what brings it.
const RUSTC: &str = "/usr/bin/rustc";
const PACKAGES: &str = "rustc-web rust-web-src";
/// Without a system; the first one without a unit for floats, too.
const BARE: [&str; 3] = ["thumbv7em-none-eabi", "thumbv7em-none-eabihf", "aarch64-unknown-none"];
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// A compiler that builds for other targets.
pub(crate) struct Compiler {
    linker: PathBuf,
    /// Its name and version.
    pub(crate) name: String,
}

fn told(program: &str, args: &[&str]) -> Option<String> {
    let done = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Whether what a machine lacks is an error: continuous integration installs it.
pub(crate) fn must_be_here() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Says that something was left out, and why. Whether that is all right.
pub(crate) fn skipped(what: &str, why: &str) -> bool {
    eprintln!("skipped: {what}, because {why}");
    !must_be_here()
}

impl Compiler {
    /// The one of this machine, or why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let lacking = |what: &str| format!("{what} (apt-get install {PACKAGES})");
        let name = told(RUSTC, &["--version"]).ok_or_else(|| lacking("there is no Debian rustc"))?;
        let sources = told(RUSTC, &["--print", "sysroot"]).map(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core"));
        if !sources.is_some_and(|core| core.is_dir()) {
            return Err(lacking("the sources of Rust's library are not here"));
        }
        // Debian's own wasm-ld is older than what the allocator asks of one.
        let host = super::host().ok_or("rustc does not say what it builds for")?;
        let root = told("rustc", &["--print", "sysroot"]).ok_or("there is no rustc")?;
        let linker = Path::new(&root).join("lib/rustlib").join(host).join("bin/rust-lld");
        if !linker.is_file() {
            return Err(format!("the toolchain has no {}", linker.display()));
        }
        Ok(Self { linker, name })
    }

    /// Builds with the sources of Rust's library. `flags` are the compiler's.
    pub(crate) fn cargo(&self, args: &[&str], targets: &[&str], flags: &[&str]) -> bool {
        let mut command = Command::new("cargo");
        command.args(args).args(["--locked", "--target-dir", "target/other"]);
        command.args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=optimize_for_size"]);
        targets.iter().for_each(|target| {
            command.args(["--target", target]);
        });
        command.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &self.linker);
        eprintln!("$ {command:?}");
        command.status().is_ok_and(|status| status.success())
    }
}

/// Builds the verifier for machines without an operating system.
pub(crate) fn bare() -> bool {
    match Compiler::find() {
        Ok(compiler) => compiler.cargo(&["build", "--release", "--package", "mirrordna-verify"], &BARE, &[]),
        Err(why) => skipped("bare-metal targets", &why),
    }
}
