//! Builds the fuzz targets with coverage feedback and runs each for a while,
//! with the toolchain that builds everything else: the flags are rustc's
//! stable ones, and libFuzzer comes with the crate that links it. There is no
//! address sanitizer, because no crate of ours holds `unsafe`.

use crate::{host, run};
use std::fs;
use std::path::Path;

/// What cargo-fuzz passes, without the sanitizer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs the targets named, or all, for `seconds` each. `false` at the first
/// finding; its input lies in `fuzz/artifacts/`.
pub(crate) fn fuzz(seconds: u32, named: &[String]) -> bool {
    let all = match targets() {
        Ok(all) => all,
        Err(e) => {
            eprintln!("fuzz/fuzz_targets cannot be read: {e}");
            return false;
        }
    };
    if let Some(unknown) = named.iter().find(|n| !all.contains(n)) {
        eprintln!("there is no fuzz target {unknown}: {}", all.join(", "));
        return false;
    }
    let Some(host) = host() else { return false };
    // With a target named, build scripts are not instrumented.
    let build = [
        "build",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--release",
        "--bins",
        "--locked",
        "--target",
        &host,
        "--target-dir",
        "target/fuzz",
    ];
    run("cargo", &build, &[("RUSTFLAGS", FLAGS)])
        && all.iter().filter(|t| named.is_empty() || named.contains(t)).all(|t| one(t, &host, seconds))
}

fn targets() -> std::io::Result<Vec<String>> {
    let files = fs::read_dir("fuzz/fuzz_targets")?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = files.iter().filter_map(|f| Some(f.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn one(target: &str, host: &str, seconds: u32) -> bool {
    let (corpus, found) = (format!("fuzz/corpus/{target}"), format!("fuzz/artifacts/{target}/"));
    let dictionary = format!("fuzz/corpus/{target}.dict");
    // libFuzzer wants the folders; the target writes its seeds and words by itself.
    if let Err(e) = fs::create_dir_all(&corpus).and_then(|()| fs::create_dir_all(&found)) {
        eprintln!("{corpus}: {e}");
        return false;
    }
    let options = [
        &corpus,
        &format!("-dict={dictionary}"),
        &format!("-artifact_prefix={found}"),
        &format!("-max_total_time={seconds}"),
        "-seed=1",
        "-rss_limit_mb=2048",
        "-timeout=25",
        "-verbosity=0",
    ];
    // A target ends without running destructors, and so leaves its folders: in
    // one of ours, in memory where there is some, since nothing has to be durable.
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let scratch = base.join(format!("mirrordna-fuzz-{}", std::process::id()));
    if let Err(e) = fs::create_dir_all(&scratch) {
        eprintln!("{}: {e}", scratch.display());
        return false;
    }
    let place = scratch.display().to_string();
    let done = run(&format!("target/fuzz/{host}/release/{target}"), &options, &[("TMPDIR", &place)]);
    let removed = fs::remove_dir_all(&scratch);
    if let Err(e) = &removed {
        eprintln!("{place}: {e}");
    }
    done && removed.is_ok()
}
