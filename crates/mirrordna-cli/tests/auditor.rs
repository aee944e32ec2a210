//! The auditor's guide is what happens: its commands run, in their order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

/// The shell blocks of a guide, one after the other.
fn script(guide: &str) -> String {
    let mut script = String::from("set -eu\n");
    let mut inside = false;
    for line in guide.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

#[test]
fn the_auditors_guide_runs() {
    let dir = tempfile::tempdir().unwrap();
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md")).unwrap();
    let script = script(&guide);
    assert!(script.lines().count() > 15, "the guide has its commands");
    let folder = Path::new(env!("CARGO_BIN_EXE_mirrordna")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let done = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", dir.path().to_str().unwrap()), ("PYTHONDONTWRITEBYTECODE", "1")])
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    assert!(said.contains("  The boathouse has a new lock"), "the disclosed content is shown: {said}");
}
