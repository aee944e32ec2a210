//! Transcripts of every command: `tests/transcripts/*.txt`, as a person would
//! have typed them. Each file is one shell history in an empty folder with an
//! empty home. `MIRRORDNA_BLESS=1 cargo test -p mirrordna-cli --test transcripts`
//! writes what the commands say now; read the difference before you commit it.
//!
//! `$ command` runs in `sh`; what follows is its output, `! ` before a line of
//! standard error, `[14]` for an exit status that is not 0. `80$ command` runs
//! on a terminal of 80 columns, where `␛` stands for an escape. A line that
//! begins with `# ` is a comment. What differs between runs has a placeholder:
//! `<time>`, `<n>`, and names such as `<mem-1>` and `<hash-2>`, numbered as they
//! appear, which later commands can use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Prefixes of record ids.
const RECORDS: [&str; 9] = ["mem", "sess", "snap", "evt", "mc", "call", "hold", "ret", "cons"];

/// Values that were seen, by placeholder and the other way round.
#[derive(Default)]
struct Names {
    of_value: HashMap<String, String>,
    of_name: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl Names {
    fn placeholder(&mut self, class: &str, value: &str) -> String {
        if let Some(name) = self.of_value.get(value) {
            return name.clone();
        }
        let n = self.counts.entry(class.to_owned()).or_default();
        *n += 1;
        let name = format!("<{class}-{n}>");
        self.of_value.insert(value.to_owned(), name.clone());
        self.of_name.insert(name.clone(), value.to_owned());
        name
    }

    /// The command with the values that its placeholders stand for.
    fn fill(&self, command: &str) -> String {
        self.of_name.iter().fold(command.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The output with placeholders for what differs between runs.
    fn hide(&mut self, text: &str, here: &Path) -> String {
        let text = text.replace(&*here.to_string_lossy(), "<here>").replace(env!("CARGO_PKG_VERSION"), "<version>");
        let (mut out, mut rest) = (String::new(), text.as_str());
        while let Some(c) = rest.chars().next() {
            let inside_word = out.ends_with(|p: char| p.is_ascii_alphanumeric() || p == '_');
            let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(rest, |end| &rest[..end]);
            let (taken, shown) = match times(rest) {
                Some(n) => (n, "<time>".to_owned()),
                None if inside_word || word.is_empty() => (c.len_utf8(), c.to_string()),
                None => (word.len(), self.word(word, &rest[word.len()..], &out)),
            };
            out.push_str(&shown);
            rest = &rest[taken..];
        }
        out
    }

    fn word(&mut self, word: &str, after: &str, before: &str) -> String {
        let hex = |t: &str| t.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        let parts: Vec<&str> = word.split('_').collect();
        match parts[..] {
            ["mdna", class, id] if id.len() == 32 && hex(id) => self.placeholder(class, word),
            ["mdna", class, id] if hex(id) && id.len() > 3 => format!("<{class}>"),
            ["vault", id] if id.len() == 32 && hex(id) => self.placeholder("vault", word),
            ["vault", id] if hex(id) && after.starts_with('…') => "<vault>".to_owned(),
            [class, id] if RECORDS.contains(&class) && id.len() == 26 => self.placeholder(class, word),
            [class, id] if RECORDS.contains(&class) && id.len() > 3 && after.starts_with('…') => format!("<{class}>"),
            [key] if key.len() == 48 && key.starts_with("z6Mk") => self.placeholder("key", word),
            [key] if key.starts_with("z6Mk") && after.starts_with('…') => "<key>".to_owned(),
            [digits] if hex(digits) && digits.len() == 64 => self.placeholder("hash", word),
            [digits] if hex(digits) && digits.len() == 32 => self.placeholder("id", word),
            [digits] if hex(digits) && digits.len() > 3 && after.starts_with('…') => "<hex>".to_owned(),
            [n] if n.parse::<u64>().is_ok() && (after.starts_with(" bytes") || before.ends_with("\"bytes\":")) => "<n>".to_owned(),
            _ => word.to_owned(),
        }
    }
}

/// Length of the time at the beginning of a text.
fn times(text: &str) -> Option<usize> {
    let is = |form: &str| {
        let mut chars = text.chars();
        form.chars().all(|f| chars.next().is_some_and(|c| if f == '9' { c.is_ascii_digit() } else { c == f }))
    };
    let forms = ["9999-99-99T99:99:99.999Z", "9999-99-99 99:99:99", "9999-99-99 99:99"];
    forms.into_iter().find(|form| is(form)).map(str::len)
}

struct Place(tempfile::TempDir);

impl Place {
    /// A folder whose path is as long on every machine, whatever TMPDIR says:
    /// tables are as wide as the paths that stand in them.
    fn new() -> Self {
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    fn shell(&self, command: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_mirrordna"));
        let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .current_dir(self.0.path())
            .env_clear()
            .envs(profile())
            .env("PATH", path)
            .env("HOME", self.0.path().join("home"));
        // Every event signed: a slow machine adds no seals of its own.
        shell.env("MIRRORDNA_SEALS", "every-event").env("LC_ALL", "C.UTF-8").env("TERM", "xterm");
        shell
    }

    fn piped(&self, command: &str) -> String {
        let done = self.shell(command).stdin(Stdio::null()).output().unwrap();
        let mut text = String::from_utf8(done.stdout).unwrap();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for line in String::from_utf8(done.stderr).unwrap().lines() {
            text.push_str(format!("! {line}").trim_end());
            text.push('\n');
        }
        let text = text.replace('\x1b', "␛");
        match done.status.code() {
            Some(0) => text,
            Some(status) => format!("{text}[{status}]\n"),
            None => format!("{text}[signal]\n"),
        }
    }

    /// The command on a terminal of its own.
    fn terminal(&self, command: &str, columns: u16) -> String {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        tcsetwinsize(&ours, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let stdio = || Stdio::from(theirs.try_clone().unwrap());
        let mut child = self.shell(command).stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        drop(theirs);
        let (mut ours, mut bytes, mut chunk) = (File::from(ours), Vec::new(), [0; 4096]);
        // The read fails as soon as nobody holds the other side.
        while let Ok(n @ 1..) = ours.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..n]);
        }
        let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n").replace('\x1b', "␛");
        match child.wait().unwrap().code().unwrap() {
            0 => text,
            status => format!("{text}[{status}]\n"),
        }
    }
}

/// The terminal's columns, if it is one, and the command.
fn typed(line: &str) -> Option<(Option<u16>, &str)> {
    let (before, command) = line.split_once("$ ")?;
    if before.is_empty() {
        return Some((None, command));
    }
    Some((Some(before.parse().ok()?), command))
}

/// The file as it would be written now.
fn replay(text: &str) -> String {
    let (place, mut names, mut out) = (Place::new(), Names::default(), String::new());
    let here = place.0.path().canonicalize().unwrap();
    for line in text.lines() {
        if line.starts_with("# ") {
            out.push_str(&format!(
                "{}{line}\n",
                if out.ends_with("\n\n") || out.is_empty() || out.lines().last().is_some_and(|l| l.starts_with("# ")) { "" } else { "\n" }
            ));
        } else if let Some((columns, command)) = typed(line) {
            if !out.lines().last().is_none_or(|l| l.starts_with("# ")) {
                out.push('\n');
            }
            let filled = names.fill(command);
            let said = match columns {
                None => place.piped(&filled),
                Some(columns) => place.terminal(&filled, columns),
            };
            let said = names.hide(&said, &here);
            assert!(
                said.lines().all(|l| typed(l).is_none() && !l.starts_with("# ")),
                "output that looks like a command: {command}: {said}"
            );
            out.push_str(format!("{line}\n{said}").trim_end());
            out.push('\n');
        }
    }
    out
}

#[test]
fn every_command_says_what_its_transcript_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut differing = Vec::new();
    let mut commands = String::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let now = replay(&expected);
        commands.push_str(&expected);
        if std::env::var_os("MIRRORDNA_BLESS").is_some() {
            std::fs::write(&file, &now).unwrap();
        } else if now != expected {
            let line = now.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
            let of = |t: &str| t.lines().nth(line).unwrap_or("(ends)").to_owned();
            differing.push(format!("{}:{}\n  was  {}\n  now  {}", file.display(), line + 1, of(&expected), of(&now)));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    // Whatever --help lists has a transcript.
    let help = Place::new().piped("mirrordna --help");
    let listed = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    for name in listed.filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help") {
        assert!(commands.contains(&format!("$ mirrordna {name}")), "no transcript of {name}");
    }
}

/// Where a measured process is to write its profile: not beside the database.
fn profile() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file))
}
