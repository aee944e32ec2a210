//! One entry for local work and CI alike: `cargo xtask <task>`.

mod coverage;
mod foreign;
mod fuzz;
mod other;
mod page;
mod sanitize;

use std::process::{Command, ExitCode};

const HELP: &str = "cargo xtask TASK

  test      everything that must hold before a commit: format, lints, tests, docs
  lint      format and clippy only
  weight    prove that the smallest builds need no C compiler, and that no build or test here needs tokio
  schemas   write the JSON Schemas of spec/schemas anew, from the Rust types
  vectors   write spec/vectors/ anew
  foreign   examinations by programs of others, in Python, Go and JavaScript; installs what is missing
  interop   checks by other implementations, and under tokio, that are too heavy for every build
  page      write the page of the auditor's kit anew; `page check` compares it with its sources instead, and
            drives it in a browser
  unverified
            reads by the build as it is and by one that leaves out checks, which is built for this alone
  targets   the verifier for machines without an operating system
  sanitize  the verifier's tests with every access to memory checked (AddressSanitizer, of the toolchain here)
  fuzz      every decoder of foreign bytes for 3 s; `fuzz SECONDS TARGET...` for longer or fewer
  deep      what is too long for every commit: each byte of a file changed once, power lost and writes
            failed at every point of a day's work, a million identities and ten million events,
            ten minutes of each fuzz target
  coverage  line coverage of the engine crates, at least 90 %; `coverage --missing` lists the lines
";

fn run(program: &str, args: &[&str], env: &[(&str, &str)]) -> bool {
    eprintln!("$ {program} {}", args.join(" "));
    let status = Command::new(program).args(args).envs(env.iter().copied()).status();
    match status {
        Ok(status) if status.success() => true,
        Ok(status) => {
            eprintln!("{program} failed: {status}");
            false
        }
        Err(e) => {
            eprintln!("{program} cannot be run: {e}");
            false
        }
    }
}

/// The triple that rustc builds for by itself.
fn host() -> Option<String> {
    let about = Command::new("rustc").arg("-vV").output().ok()?;
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    about.lines().find_map(|l| l.strip_prefix("host: ")).map(str::to_owned)
}

fn cargo(args: &[&str]) -> bool {
    run("cargo", args, &[])
}

fn lint() -> bool {
    cargo(&["fmt", "--all", "--check"])
        && cargo(&["clippy", "--workspace", "--features", "mirrordna-cli/pq", "--all-targets", "--locked", "--", "-D", "warnings"])
}

fn test() -> bool {
    lint()
        // The library's tests have every light feature, and so second signatures;
        // the command line's own test of them asks for the same.
        && cargo(&["test", "--workspace", "--features", "mirrordna-cli/pq", "--locked"])
        && run("cargo", &["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])
        && weight()
}

/// The builds that need no C compiler.
const LIGHT: [&str; 2] = ["memory", "redb"];

/// They must not compile C, tokio or SQLite; nothing in the workspace, tests
/// included, may compile tokio or TLS.
fn weight() -> bool {
    // As it is built here: TLS to a vault (`vault-tls`) and the system's keyring of
    // the command line are for those who ask for them.
    let tree = Command::new("cargo").args(["tree", "--workspace", "--locked", "--prefix", "none"]).output();
    let Ok(output) = tree else { return false };
    let tree = String::from_utf8_lossy(&output.stdout);
    let found: Vec<&str> =
        ["tokio v", "rustls v", "aws-lc", "openssl"].into_iter().filter(|b| tree.lines().any(|l| l.starts_with(b))).collect();
    eprintln!("the whole workspace: {} lines of its tree, banned ones found: {found:?}", tree.lines().count());
    if !output.status.success() || !found.is_empty() {
        return false;
    }
    LIGHT.into_iter().all(|feature| {
        let smallest = ["--package", "mirrordna", "--no-default-features", "--features", feature, "--locked"];
        let tree = Command::new("cargo").arg("tree").args(smallest).args(["--edges", "normal,build", "--prefix", "none"]).output();
        let Ok(output) = tree else { return false };
        let tree = String::from_utf8_lossy(&output.stdout);
        let banned = ["tokio", "cc v", "libsqlite3-sys", "aws-lc", "ring v", "openssl"];
        let found: Vec<&str> = banned.into_iter().filter(|b| tree.lines().any(|l| l.starts_with(b))).collect();
        eprintln!("smallest build with {feature}: {} crates, banned ones found: {found:?}", tree.lines().count());
        let mut clippy = vec!["clippy"];
        clippy.extend(smallest);
        clippy.extend(["--", "-D", "warnings"]);
        output.status.success() && found.is_empty() && cargo(&clippy)
    })
}

fn deep() -> bool {
    run(
        "cargo",
        &["test", "--release", "--locked", "--package", "mirrordna", "--test", "flips", "--", "--nocapture"],
        &[("MIRRORDNA_FLIPS", "all")],
    ) && cargo(&["test", "--release", "--locked", "--package", "mirrordna-testing-faults", "--", "--ignored", "--nocapture"])
        && cargo(&["run", "--release", "--locked", "--package", "mirrordna-benches", "--bin", "figures", "--", "deep"])
}

/// Builds the figures twice, the second time without the checks of reads, and
/// compares the two.
fn unverified() -> bool {
    let build = ["build", "--release", "--locked", "--package", "mirrordna-benches", "--bin", "figures"];
    let apart = [&build[..], &["--target-dir", "target/unverified"]].concat();
    cargo(&build)
        && run("cargo", &apart, &[("RUSTFLAGS", "--cfg mirrordna_unverified")])
        && run("target/release/figures", &["unverified"], &[])
}

fn main() -> ExitCode {
    if let Some(code) = coverage::wrapper() {
        return code;
    }
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "test" => test(),
        "lint" => lint(),
        "weight" => weight(),
        "schemas" => {
            run("cargo", &["test", "--locked", "--package", "mirrordna", "--test", "schemas"], &[("MIRRORDNA_WRITE_SCHEMAS", "1")])
        }
        "vectors" => {
            let one = "what_the_code_makes_is_what_stands_in_the_files";
            let args = ["test", "--locked", "--package", "mirrordna-core", "--test", "vectors", "--", "--exact", one];
            run("cargo", &args, &[("MIRRORDNA_VECTORS", "write")])
        }
        "interop" => cargo(&["test", "--locked", "--manifest-path", "testing/interop/Cargo.toml", "--target-dir", "target/interop"]),
        "foreign" => foreign::examine(),
        "page" if std::env::args().nth(2).as_deref() == Some("check") => page::check(),
        "page" => page::write(),
        "unverified" => unverified(),
        "targets" => other::bare(),
        "sanitize" => sanitize::sanitize(),
        "fuzz" => {
            let args: Vec<String> = std::env::args().skip(2).collect();
            let (seconds, named) = match args.split_first() {
                Some((first, rest)) => (first.parse().ok(), rest),
                None => (Some(3), args.as_slice()),
            };
            seconds.is_some_and(|seconds| fuzz::fuzz(seconds, named))
        }
        "deep" => deep() && fuzz::fuzz(600, &[]),
        "coverage" => coverage::measure(std::env::args().any(|a| a == "--missing")),
        _ => {
            eprint!("{HELP}");
            task.is_empty() || task == "help"
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
