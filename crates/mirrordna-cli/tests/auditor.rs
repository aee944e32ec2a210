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

/// A laptop's log, adopted by a server; then what the server hands out, judged by
/// both verifiers: all of it, one event of the laptop, and either with a byte
/// altered in the middle.
const ADOPTED: &str = r#"
set -eu
export MIRRORDNA_KEYS=$PWD/laptop-keys
mirrordna --store laptop.db identity create agent --name Ada > /dev/null
mirrordna --store laptop.db remember "the first harbour" > /dev/null
mirrordna --store laptop.db export laptop.mdna
export MIRRORDNA_KEYS=$PWD/keys
mirrordna identity create agent --name Bob > /dev/null
mirrordna adopt laptop.mdna --keys-from laptop-keys
mirrordna remember "the second harbour" --identity Ada > /dev/null
mirrordna export --audit kit --disclose --json > exported.json
key=$(sed -n 's/.*"fingerprints":\["\([0-9a-f]*\)".*/\1/p' exported.json)
first=$(mirrordna adopt --list | cut -f 2)
mirrordna prove $((first + 3)) --linked --disclose --out moved.mdna-proof > /dev/null
judge() { # FILE STATUS
  for by in "mirrordna verify" "python3 kit/verify.py"; do
    status=0; $by "$1" --key "$key" > said 2>&1 || status=$?
    echo "$by $1: $status"; test "$status" = "$2" || { cat said; exit 9; }
  done
}
for file in kit/*.mdna-bundle moved.mdna-proof; do
  judge "$file" 0
  size=$(stat -c %s "$file")
  cp "$file" altered
  at=$((size / 2))
  byte=$(dd if="$file" bs=1 skip=$at count=1 status=none | od -An -tu1)
  printf "$(printf '\\%03o' $(((byte + 1) % 256)))" | dd of=altered bs=1 seek=$at conv=notrunc status=none
  judge altered 1
done
"#;

#[test]
fn an_adopted_log_is_judged_alike_by_both_verifiers() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_mirrordna")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let done = Command::new("bash")
        .args(["-c", ADOPTED])
        .current_dir(dir.path())
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", dir.path().to_str().unwrap()), ("PYTHONDONTWRITEBYTECODE", "1")])
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}");
    assert_eq!(said.matches(": 0\n").count() + said.matches(": 1\n").count(), 8, "{said}");
}
