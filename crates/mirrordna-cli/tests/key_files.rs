//! What the system is asked to make durable before a key is published.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::process::Command;

/// The system calls of one `init` that make files and sync them, in order.
fn traced(root: &std::path::Path) -> Option<Vec<String>> {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=openat,mkdir,fsync,fdatasync"]).arg(env!("CARGO_BIN_EXE_mirrordna")).args(["init", "--json"]);
    command.env("MIRRORDNA_KEYS", root.join("deep/keys")).env("MIRRORDNA_STATE", "off").env("MIRRORDNA_STORE", root.join("m.db"));
    let out = command.output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stderr).lines().map(str::to_owned).collect())
}

#[test]
fn the_names_of_new_key_files_and_folders_are_durable_before_the_log_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let Some(calls) = traced(&root) else {
        eprintln!("skipped: no strace, or it may not trace");
        return;
    };
    let nth = |from: usize, what: &dyn Fn(&str) -> bool| calls[from..].iter().position(|c| what(c)).map(|n| from + n);
    let synced = |call: &str, path: &str| call.contains("sync(") && call.contains(&format!("<{}/{path}>", root.display()));
    for name in [".keys", ".recovery"] {
        let made = nth(0, &|c| c.contains("O_CREAT") && c.contains(&format!("{name}\""))).unwrap();
        let folder = nth(made, &|c| synced(c, "deep/keys")).unwrap_or_else(|| panic!("the folder of {name} is not synced: {calls:#?}"));
        let published = nth(folder, &|c| synced(c, "m.db-wal"));
        assert!(published.is_some(), "{name}: {calls:#?}");
    }
    let made = nth(0, &|c| c.contains("mkdir(") && c.contains("deep/keys\"") && c.contains(") = 0")).unwrap();
    for above in ["deep", ""] {
        let path = root.join(above);
        let path = path.to_string_lossy();
        let synced = format!("<{}>)", path.trim_end_matches('/'));
        assert!(nth(made, &|c| c.contains("fsync(") && c.contains(&synced)).is_some(), "{above}: {calls:#?}");
    }
}
