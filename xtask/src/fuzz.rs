//! Builds the fuzz targets with coverage feedback and runs each for a while,
//! with the toolchain that builds everything else: the flags are rustc's
//! stable ones, and libFuzzer comes with the crate that links it. There is no
//! address sanitizer, because no crate of ours holds `unsafe`.

use crate::{host, run};
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Lines of a target that failed which are shown.
const SHOWN: usize = 60;

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
        "-print_final_stats=1",
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
    let done = watch(Command::new(format!("target/fuzz/{host}/release/{target}")).args(options).env("TMPDIR", &place), target);
    let removed = fs::remove_dir_all(&scratch);
    if let Err(e) = &removed {
        eprintln!("{place}: {e}");
    }
    done && removed.is_ok()
}

/// Runs a target and tells in one line what it did; of one that failed, its last
/// lines.
fn watch(command: &mut Command, target: &str) -> bool {
    let began = Instant::now();
    let mut child = match command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(e) => {
            eprintln!("{target} cannot be run: {e}");
            return false;
        }
    };
    let (mut last, mut end) = (VecDeque::new(), End::default());
    if let Some(lines) = child.stderr.take() {
        // What a target was given need not be text.
        for line in BufReader::new(lines).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            end.hear(&line);
            last.push_back(line);
            if last.len() > SHOWN {
                last.pop_front();
            }
        }
    }
    match child.wait() {
        Ok(status) if status.success() => {
            eprintln!("{target}: {} in {} s", end.told(), began.elapsed().as_secs());
            true
        }
        Ok(status) => {
            last.iter().for_each(|line| eprintln!("{line}"));
            eprintln!("{target} failed: {status}; {}", end.told());
            false
        }
        Err(e) => {
            eprintln!("{target} cannot be waited for: {e}");
            false
        }
    }
}

/// What libFuzzer says at the end of a run
/// (llvm.org/docs/LibFuzzer.html, "Output").
#[derive(Debug, Default)]
struct End {
    executed: String,
    added: String,
    coverage: String,
    corpus: String,
}

impl End {
    fn hear(&mut self, line: &str) {
        let after = |name: &str| line.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
        if let Some(executed) = after("stat::number_of_executed_units:") {
            executed.clone_into(&mut self.executed);
        }
        if let Some(added) = after("stat::new_units_added:") {
            added.clone_into(&mut self.added);
        }
        // Of a status line: `#100 DONE cov: 5 ft: 9 corp: 3/17b ...`.
        if let (Some(coverage), Some(corpus)) = (after(" cov: "), after(" corp: ")) {
            coverage.clone_into(&mut self.coverage);
            corpus.clone_into(&mut self.corpus);
        }
    }

    fn told(&self) -> String {
        let said = |text: &str| if text.is_empty() { "?".to_owned() } else { text.to_owned() };
        let (executed, added) = (said(&self.executed), said(&self.added));
        let (coverage, corpus) = (said(&self.coverage), said(&self.corpus));
        format!("{executed} executions, coverage {coverage} edges, corpus {corpus} ({added} new)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_is_one_line() {
        let mut end = End::default();
        for line in [
            "INFO: Seed: 1",
            "#2\tINITED cov: 410 ft: 411 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#9012\tNEW    cov: 702 ft: 1890 corp: 88/21Kb lim: 92 exec/s: 3004 rss: 51Mb L: 92/92 MS: 1 EraseBytes-",
            "#262144\tDONE   cov: 733 ft: 2101 corp: 120/30Kb lim: 4096 exec/s: 87381 rss: 60Mb",
            "Done 262144 runs in 3 second(s)",
            "stat::number_of_executed_units: 262144",
            "stat::average_exec_per_sec:     87381",
            "stat::new_units_added:          119",
        ] {
            end.hear(line);
        }
        assert_eq!(end.told(), "262144 executions, coverage 733 edges, corpus 120/30Kb (119 new)");
        assert_eq!(End::default().told(), "? executions, coverage ? edges, corpus ? (? new)");
    }
}
