//! The verifier in a page: built, compared with the one that is committed, and
//! driven in a browser.

use crate::other::{Compiler, WASM, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The page that every auditor's kit gets.
const COMMITTED: &str = "crates/mirrordna-cli/kit/verify.html";
const MODULE: &str = "mirrordna_verify_web.wasm";

/// Neither places in sources nor words for a panic: a trap is all that a page
/// can tell, and the module shall be the same wherever it is built. Of SHA-256 the
/// short form.
const FLAGS: [&str; 6] = [
    "-Zlocation-detail=none",
    "-Zfmt-debug=none",
    "-Zunstable-options",
    "-Cpanic=immediate-abort",
    "--cfg",
    "sha2_backend_soft=\"compact\"",
];

/// What the module may need of a browser.
const FEATURES: [&str; 4] = ["--enable-bulk-memory", "--enable-mutable-globals", "--enable-nontrapping-float-to-int", "--enable-sign-ext"];

fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    eprintln!("$ {command:?}");
    let done = command.output().map_err(|e| format!("{:?} cannot be run: {e}", command.get_program()))?;
    if done.status.success() { Ok(done.stdout) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn version(program: &str) -> Result<String, String> {
    let told = output(Command::new(program).arg("--version"))?;
    Ok(String::from_utf8_lossy(&told).trim().to_owned())
}

/// Why a page was not built.
enum Unbuilt {
    /// Something is missing here.
    Skipped(String),
    Failed(String),
}

/// Builds the page anew: its text.
fn build() -> Result<String, Unbuilt> {
    let compiler = Compiler::find().map_err(Unbuilt::Skipped)?;
    version("node").map_err(|_| Unbuilt::Skipped("there is no node (apt-get install nodejs)".to_owned()))?;
    let shrinker = version("wasm-opt").map_err(|_| Unbuilt::Skipped("there is no wasm-opt (apt-get install binaryen)".to_owned()))?;
    let args = ["build", "--release", "--manifest-path", "verifiers/web/Cargo.toml"];
    if !compiler.cargo(&args, &[WASM], &FLAGS) {
        return Err(Unbuilt::Failed("the module cannot be built".to_owned()));
    }
    let folder = Path::new("target/other").join(WASM).join("release");
    let small = folder.join("verify.wasm");
    let shrink = ["-Oz", "--strip-producers"];
    output(Command::new("wasm-opt").args(shrink).args(FEATURES).arg(folder.join(MODULE)).arg("-o").arg(&small)).map_err(Unbuilt::Failed)?;
    let toolchain = format!("{}, {shrinker}.", compiler.name);
    let page = output(Command::new("node").arg("verifiers/web/build.mjs").arg(&small).arg(&toolchain)).map_err(Unbuilt::Failed)?;
    eprintln!("the module has {} bytes, the page {}", std::fs::metadata(&small).map_or(0, |m| m.len()), page.len());
    String::from_utf8(page).map_err(|e| Unbuilt::Failed(e.to_string()))
}

/// A page without its module, and without what is said of that. Where the sources
/// lie goes into the names of a module's functions, and so into their order: only
/// in one place do the same sources make the same bytes.
fn around_the_module(page: &str) -> Option<String> {
    let cut = |page: &str, from: &str, to: &str| {
        let (before, rest) = page.split_once(from)?;
        let (_, after) = rest.split_once(to)?;
        Some(format!("{before}{after}"))
    };
    let page = cut(page, "<!-- Made by", "-->")?;
    let page = cut(&page, "<code id=\"module\">", "</code>")?;
    cut(&page, "<script id=\"wasm\"", "</script>")
}

/// Writes the page anew.
pub(crate) fn write() -> bool {
    match build() {
        Ok(page) => std::fs::write(COMMITTED, page).is_ok(),
        Err(Unbuilt::Skipped(why) | Unbuilt::Failed(why)) => {
            eprintln!("{COMMITTED} is as it was: {why}");
            false
        }
    }
}

/// Compares the page with what its sources make, and judges by it what the
/// command line makes, in Node and in a browser.
pub(crate) fn check() -> bool {
    let units = ["test", "--locked", "--manifest-path", "verifiers/web/Cargo.toml", "--target-dir", "target/other"];
    if !super::cargo(&units) || !super::cargo(&["build", "--locked", "--package", "mirrordna-cli"]) {
        return false;
    }
    let Ok(committed) = std::fs::read_to_string(COMMITTED) else { return false };
    let compared = match build() {
        Ok(page) if page == committed => {
            eprintln!("{COMMITTED} is what its sources make");
            true
        }
        Ok(page) if around_the_module(&page).is_some_and(|rest| around_the_module(&committed) == Some(rest)) => {
            eprintln!("{COMMITTED} has a module of other bytes than its sources make here: both are judged by what they do");
            let own = PathBuf::from("target/other/verify.html");
            std::fs::write(&own, page).is_ok() && examine(&own)
        }
        Ok(_) => {
            eprintln!("{COMMITTED} is not what its sources make: cargo xtask page");
            false
        }
        Err(Unbuilt::Failed(why)) => {
            eprintln!("{why}");
            false
        }
        Err(Unbuilt::Skipped(why)) => skipped("building verify.html anew", &why),
    };
    compared && examine(Path::new(COMMITTED))
}

/// Runs the tests of a page.
fn examine(page: &Path) -> bool {
    if version("node").is_err() {
        return skipped("the tests of verify.html", "there is no node (apt-get install nodejs)");
    }
    let Ok(page) = page.canonicalize() else { return false };
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let Ok(program) = folder.join("debug/mirrordna").canonicalize() else { return false };
    let test = |name: &str| {
        let mut command = Command::new("node");
        command.args(["--no-warnings", "--test", "--test-reporter=spec"]).arg(Path::new("verifiers/web/test").join(name));
        command.env("VERIFY_HTML", &page).env("MIRRORDNA_BIN", &program);
        eprintln!("$ {command:?}");
        command.status().is_ok_and(|status| status.success())
    };
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !test("wasm.test.mjs") {
        return false;
    }
    if !Path::new(&chromium).exists() {
        return skipped("driving verify.html in a browser", "there is no Chromium (apt-get install chromium)");
    }
    test("page.test.mjs")
}
