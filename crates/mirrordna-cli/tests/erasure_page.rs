//! The page about erasing is what happens: its commands run, in their order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_commands_of_the_page_run() {
    let dir = tempfile::tempdir().unwrap();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/erasure.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script = format!("set -eu\n{}", blocks.collect::<String>());
    assert!(script.lines().count() > 30, "the page has its commands");
    let folder = Path::new(env!("CARGO_BIN_EXE_mirrordna")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(dir.path()).env_clear();
    command.envs([("PATH", path.as_str()), ("HOME", dir.path().to_str().unwrap())]);
    command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
    let done = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    for line in ["would erase 5 events (event 1, memory 2, tool.call 2)", "done\nsubject\n5\n", "all that was about 'Sam' is erased"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!dir.path().join("nobody.jsonl").exists());
    let after = std::fs::read_to_string(dir.path().join("sam-after.jsonl")).unwrap();
    assert!(!after.contains("Lyon") && after.contains("\"reason\":\"subject\""), "{after}");
}
