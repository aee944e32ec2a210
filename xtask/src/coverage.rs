//! Line coverage of the engine crates, with rustc's own instrumentation.
//!
//! Two choices keep it cheap. Only workspace members are instrumented: the
//! task names itself as `RUSTC_WORKSPACE_WRAPPER` and adds the flag, so that
//! every dependency of an ordinary build is used again as it is. And the
//! profiles are read by the tools of the LLVM that rustc was built with, from
//! wherever they are: rustup's component, or Debian's package of that major
//! version (`llvm-22` for Rust 1.95).

use crate::run;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Percent of the engine crates' lines that tests must reach.
const LEAST: f64 = 90.0;

/// The engine crates: a name for the table, and where the sources lie.
const CRATES: [(&str, &str); 9] = [
    ("verify", "crates/mirrordna-verify/src/"),
    ("core", "crates/mirrordna-core/src/"),
    ("storage", "crates/mirrordna-storage/src/"),
    ("storage-sqlite", "adapters/sqlite/src/"),
    ("storage-redb", "adapters/redb/src/"),
    ("recall", "crates/mirrordna-recall/src/"),
    ("upstream", "crates/mirrordna-upstream/src/"),
    ("mirrordna", "crates/mirrordna/src/"),
    ("cli", "crates/mirrordna-cli/src/"),
];

/// Set for the compilers that [`measure`] starts.
const MARK: &str = "MIRRORDNA_COVERAGE";

/// Runs as the compiler wrapper if this process was started as one.
pub(crate) fn wrapper() -> Option<ExitCode> {
    std::env::var_os(MARK)?;
    let mut args = std::env::args_os().skip(1);
    let rustc = args.next().filter(|a| Path::new(a).file_stem().is_some_and(|s| s == "rustc" || s == "clippy-driver"))?;
    let status = Command::new(rustc).args(args).arg("-Cinstrument-coverage").status();
    Some(match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("rustc cannot be run: {e}");
            ExitCode::FAILURE
        }
    })
}

/// Builds with instrumentation, runs every test, prints the table. `false`
/// below [`LEAST`] percent, or if a test fails.
pub(crate) fn measure(list_missing: bool) -> bool {
    match try_measure(list_missing) {
        Ok(enough) => enough,
        Err(why) => {
            eprintln!("coverage: {why}");
            false
        }
    }
}

fn try_measure(list_missing: bool) -> Result<bool, String> {
    let tools = Tools::find()?;
    let root = std::env::current_dir().map_err(|e| e.to_string())?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let profiles = target.join("coverage");
    match fs::remove_dir_all(&profiles) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.to_string()),
        _ => fs::create_dir_all(&profiles).map_err(|e| e.to_string())?,
    }
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    // Processes of one binary share four files and merge into them on exit.
    let pattern = profiles.join("%4m.profraw");
    let env =
        [(MARK, OsString::from("1")), ("RUSTC_WORKSPACE_WRAPPER", own.into_os_string()), ("LLVM_PROFILE_FILE", pattern.into_os_string())];
    let env: Vec<(&str, &str)> = env.iter().filter_map(|(k, v)| Some((*k, v.to_str()?))).collect();
    let tests = ["test", "--workspace", "--exclude", "xtask", "--exclude", "mirrordna-benches", "--lib", "--bins", "--tests", "--locked"];
    let built = Command::new("cargo").args(tests).args(["--no-run", "--message-format=json"]).envs(env.iter().copied()).output();
    let built = built.map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !built.status.success() {
        return Err(format!("the instrumented build failed:\n{}", String::from_utf8_lossy(&built.stderr)));
    }
    let objects = executables(&String::from_utf8_lossy(&built.stdout));
    if !run("cargo", &tests, &env) {
        return Err("a test failed".into());
    }
    let merged = profiles.join("all.profdata");
    let raw = profiles_in(&profiles).map_err(|e| e.to_string())?;
    let mut merge = Command::new(&tools.profdata);
    merge.args(["merge", "--sparse", "--failure-mode=all", "-o"]).arg(&merged).args(raw);
    output(&mut merge)?;
    let mut export = Command::new(&tools.cov);
    export.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged);
    for object in &objects {
        export.arg("--object").arg(object);
    }
    let lines = read_lcov(&output(&mut export)?, &root);
    Ok(report(&lines, list_missing))
}

/// The two tools, of the LLVM that rustc was built with: others refuse the
/// profiles or misread them.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, String> {
        let about = output(Command::new("rustc").arg("-vV"))?;
        let field = |name: &str| about.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap_or_default().to_owned();
        let (host, version) = (field("host:"), field("LLVM version:"));
        let major = version.split('.').next().unwrap_or_default();
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let component = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
        let find = |tool: &str| {
            let places = [component.join(tool), PathBuf::from(format!("{tool}-{major}")), PathBuf::from(tool)];
            let fits =
                |place: &PathBuf| output(Command::new(place).arg("--version")).is_ok_and(|v| v.contains(&format!("version {major}.")));
            places.into_iter().find(fits).ok_or_else(|| {
                format!("{tool} of LLVM {major} is not installed: `apt-get install llvm-{major}` or `rustup component add llvm-tools`")
            })
        };
        Ok(Self { profdata: find("llvm-profdata")?, cov: find("llvm-cov")? })
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{name} cannot be run: {e}"))?;
    if !out.status.success() {
        return Err(format!("{name} failed: {}", String::from_utf8_lossy(&out.stderr)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Paths of what cargo linked, from its JSON messages.
fn executables(messages: &str) -> Vec<PathBuf> {
    let paths = messages.lines().filter_map(|l| l.split_once(r#""executable":""#)?.1.split_once('"'));
    paths.map(|(path, _)| PathBuf::from(path)).collect()
}

fn profiles_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    Ok(paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "profraw")).collect())
}

/// How often each line of each file ran.
type Lines = BTreeMap<String, BTreeMap<usize, u64>>;

/// Reads `SF:` and `DA:` lines; lines of test modules do not count.
fn read_lcov(text: &str, root: &Path) -> Lines {
    let mut files = Lines::new();
    let mut current: Option<(String, std::ops::Range<usize>)> = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let inside = Path::new(path).strip_prefix(root).ok().and_then(Path::to_str);
            current = inside.filter(|p| CRATES.iter().any(|(_, at)| p.starts_with(at))).map(|p| (p.to_owned(), test_module(path)));
        } else if let (Some(rest), Some((file, tests))) = (line.strip_prefix("DA:"), &current) {
            let mut numbers = rest.split(',').map(|n| n.parse::<u64>().unwrap_or_default());
            let (number, count) = (numbers.next().unwrap_or_default() as usize, numbers.next().unwrap_or_default());
            if !tests.contains(&number) {
                *files.entry(file.clone()).or_default().entry(number).or_default() += count;
            }
        }
    }
    files
}

/// Line numbers of the file's `#[cfg(test)] mod tests { … }`.
fn test_module(path: &str) -> std::ops::Range<usize> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.windows(2).position(|w| w[0] == "#[cfg(test)]" && w[1].starts_with("mod ") && w[1].ends_with('{'));
    let Some(start) = start else { return 0..0 };
    let length = lines[start..].iter().position(|l| *l == "}").unwrap_or(lines.len() - start);
    start + 1..start + length + 2
}

fn report(files: &Lines, list_missing: bool) -> bool {
    let counts = |files: &mut dyn Iterator<Item = &BTreeMap<usize, u64>>| {
        files.fold((0usize, 0usize), |(all, hit), f| (all + f.len(), hit + f.values().filter(|c| **c > 0).count()))
    };
    let percent = |all: usize, hit: usize| 100.0 * hit as f64 / all.max(1) as f64;
    if list_missing {
        for (path, lines) in files {
            let (all, hit) = counts(&mut std::iter::once(lines));
            println!("{:>6.1} %  {path}: {}", percent(all, hit), missing(lines));
        }
    }
    println!("{:<16}{:>8}{:>9}{:>9}", "engine crate", "lines", "covered", "percent");
    for (name, at) in CRATES {
        let (all, hit) = counts(&mut files.iter().filter(|(p, _)| p.starts_with(at)).map(|(_, l)| l));
        println!("{name:<16}{all:>8}{hit:>9}{:>9.1}", percent(all, hit));
    }
    let (all, hit) = counts(&mut files.values());
    let total = percent(all, hit);
    println!("{:<16}{all:>8}{hit:>9}{total:>9.1}", "total");
    let enough = all > 0 && total >= LEAST;
    if !enough {
        eprintln!("coverage: {total:.1} % of the engine crates' lines, at least {LEAST} % are needed");
    }
    enough
}

/// Ranges of lines that never ran.
fn missing(lines: &BTreeMap<usize, u64>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut open = false;
    for (number, count) in lines {
        match ranges.last_mut().filter(|_| open) {
            Some((_, end)) if *count == 0 => *end = *number,
            None if *count == 0 => ranges.push((*number, *number)),
            _ => {}
        }
        open = *count == 0;
    }
    let text: Vec<String> = ranges.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    text.join(" ")
}
