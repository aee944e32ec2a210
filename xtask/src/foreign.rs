//! Examinations by programs of others: what is missing is installed at its
//! pinned version, what cannot run here is named with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The instruments that PyPI has, pinned.
const PYPI: [&str; 2] = ["agent-memory-integrity==0.6.3", "agent-evidence-vectors==0.27.0"];

/// The edits of a database that each adapter must see refused.
const EDITS: usize = 9;

/// How one examination went.
enum Outcome {
    Passed,
    Failed(String),
    /// It cannot run on this machine, and why.
    Skipped(String),
}

/// Runs a program; its standard output where it succeeds, shown as it came.
fn output(command: &mut Command) -> Result<String, String> {
    eprintln!("$ {command:?}");
    let done = command.stderr(Stdio::inherit()).output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    print!("{text}");
    if done.status.success() { Ok(text) } else { Err(format!("{:?}: {}", command.get_program(), done.status)) }
}

/// Whether a program is there at all.
fn is_here(program: &str, version: &str) -> bool {
    Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn passed(done: Result<String, String>) -> Outcome {
    done.map_or_else(Outcome::Failed, |_| Outcome::Passed)
}

struct Bench {
    root: PathBuf,
    /// The command line.
    mirrordna: PathBuf,
    /// The verifier as `agent-evidence-vectors` calls it.
    evidence: PathBuf,
    /// The example that publishes a log as static files.
    publish: PathBuf,
}

impl Bench {
    /// Builds the programs that are examined.
    fn new() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.to_owned();
        let built = super::cargo(&["build", "--locked", "--package", "mirrordna-cli"])
            && super::cargo(&["build", "--locked", "--package", "mirrordna-examples", "--example", "publish"])
            && super::cargo(&[
                "build",
                "--locked",
                "--manifest-path",
                "testing/interop/Cargo.toml",
                "--target-dir",
                "target/interop",
                "--bin",
                "evidence",
            ]);
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let (mirrordna, publish) = (target.join("debug/mirrordna"), target.join("debug/examples/publish"));
        let evidence = root.join("target/interop/debug/evidence");
        built.then_some(Self { root, mirrordna, evidence, publish })
    }

    /// A Python environment of its own with the pinned instruments.
    fn python(&self) -> Result<PathBuf, Outcome> {
        let venv = self.root.join("target/foreign/venv");
        let python = venv.join("bin/python");
        if !is_here("python3", "--version") {
            return Err(Outcome::Skipped("there is no python3".to_owned()));
        }
        let made = || {
            if !python.is_file() {
                output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            }
            let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            output(Command::new(&python).args(quiet).args(PYPI))
        };
        made().map_err(|why| Outcome::Skipped(format!("{} cannot be installed: {why}", PYPI.join(", "))))?;
        Ok(python)
    }

    fn tampering(&self, adapter: &str) -> Outcome {
        let python = match self.python() {
            Ok(python) => python,
            Err(outcome) => return outcome,
        };
        let mut command = Command::new(python);
        command.args(["-B", "-m", "agmi.check", "--adapter", &format!("agmi_adapter:{adapter}")]);
        command.env("PYTHONPATH", self.root.join("integrations")).env("MIRRORDNA_BIN", &self.mirrordna);
        match output(&mut command) {
            // The program is content with edits that could not be judged.
            Ok(text) if text.lines().filter(|l| l.ends_with("  REJECTED")).count() == EDITS => Outcome::Passed,
            Ok(_) => Outcome::Failed(format!("not all of {EDITS} edits were refused")),
            Err(why) => Outcome::Failed(why),
        }
    }

    fn evidence(&self) -> Outcome {
        match self.python() {
            Ok(python) => {
                let script = self.root.join("integrations/evidence_vectors.py");
                passed(output(Command::new(python).arg("-B").arg(script).env("EVIDENCE_BIN", &self.evidence)))
            }
            Err(outcome) => outcome,
        }
    }

    fn go(&self) -> Outcome {
        if !is_here("go", "version") {
            return Outcome::Skipped("there is no go".to_owned());
        }
        let folder = self.root.join("testing/foreign/go");
        if let Err(why) = output(Command::new("go").args(["mod", "download"]).current_dir(&folder)) {
            return Outcome::Skipped(format!("its modules cannot be fetched: {why}"));
        }
        let test = ["test", "-count=1", "-v", "./..."];
        let mut command = Command::new("go");
        command.args(test).current_dir(&folder);
        command.env("MIRRORDNA_BIN", &self.mirrordna).env("EVIDENCE_BIN", &self.evidence).env("PUBLISH_BIN", &self.publish);
        passed(output(&mut command))
    }

    fn node(&self) -> Outcome {
        if !is_here("node", "--version") {
            return Outcome::Skipped("there is no node".to_owned());
        }
        let folder = self.root.join("testing/foreign/node");
        passed(output(Command::new("node").args(["--test", "."]).current_dir(folder).env("MIRRORDNA_BIN", &self.mirrordna)))
    }
}

/// Runs all of them; with `CI=true` one that cannot run is a failure.
pub(crate) fn examine() -> bool {
    let Some(bench) = Bench::new() else { return false };
    let must_run = std::env::var_os("CI").is_some_and(|v| v == "true");
    let examinations: [(&str, &dyn Fn() -> Outcome); 5] = [
        ("agent-memory-integrity, rows edited", &|| bench.tampering("Adapter")),
        ("agent-memory-integrity, all repaired that needs no key", &|| bench.tampering("Repairing")),
        ("agent-evidence-vectors", &|| bench.evidence()),
        ("verifiers in Go: x/mod/sumdb, Tessera", &|| bench.go()),
        ("did:webvh resolver in JavaScript", &|| bench.node()),
    ];
    let outcomes = examinations.map(|(name, run)| (name, run()));
    let (mut good, mut bad, mut skipped) = (0, 0, 0);
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Passed => {
                good += 1;
                println!("passed   {name}");
            }
            Outcome::Skipped(why) if !must_run => {
                skipped += 1;
                println!("skipped  {name}: {why}");
            }
            Outcome::Skipped(why) | Outcome::Failed(why) => {
                bad += 1;
                println!("FAILED   {name}: {why}");
            }
        }
    }
    println!("{good} passed, {bad} failed, {skipped} skipped");
    bad == 0
}
