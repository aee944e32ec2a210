//! `export --audit`: a folder that an auditor can judge by themselves.

use super::verify::show_problems;
use super::{count, open, open_to_read, write_new};
use crate::args::Export;
use crate::config::Settings;
use crate::output::{Output, Progress, Unit};
use mirrordna::proof::{self, Bodies, BundleReport, Policy};
use mirrordna::{Code, Error, Result};
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// What stands in a kit beside the bundle: what it is in words, this verifier in
/// a page (made by `cargo xtask page`), and one that shares no code with it.
const BESIDE: [(&str, &str); 3] = [
    ("README.txt", include_str!("../../kit/README.txt")),
    ("verify.html", include_str!("../../kit/verify.html")),
    ("verify.py", include_str!("../../../../verifiers/python/mirrordna_verify.py")),
];
/// The bundle in a kit.
const BUNDLE: &str = "history.mdna-bundle";

pub(super) fn audit(settings: &Settings, args: &Export, folder: &Path, out: &mut Output) -> Result<u8> {
    let engine = match open(settings) {
        Err(e) if settings.as_of || matches!(e.code(), Code::StoreReadOnly | Code::KeyMissing) => open_to_read(settings, out)?,
        opened => opened?,
    };
    let failed = |e| Error::new(Code::StoreIo, format!("cannot make {}", folder.display())).caused_by(e);
    std::fs::create_dir(folder).map_err(failed)?;
    let bodies = match (args.disclose, args.withhold) {
        (true, _) => Bodies::Disclosed,
        (_, true) => Bodies::Withheld,
        _ => Bodies::Sealed,
    };
    let mut progress = Progress::new("exporting", Unit::Events, out);
    let bundled = write_new(&folder.join(BUNDLE), |target| engine.audit(bodies, target, &mut |done, of| progress.update(done, of)))?;
    drop(progress);
    for (name, text) in BESIDE {
        write_new(&folder.join(name), |target| target.write_all(text.as_bytes()).map_err(failed))?;
    }
    // What is handed out is judged first, as its reader will.
    let file = File::open(folder.join(BUNDLE)).map_err(failed)?;
    let judged = proof::judge(&mut BufReader::with_capacity(1 << 20, file), Policy::default(), &[], &mut |_| {})?;
    let report = BundleReport::from(&judged);
    let keys: Vec<&str> = report.logs.iter().filter_map(|log| log.log_key.as_deref()).collect();
    if out.json {
        out.value(&json!({"folder": folder.display().to_string(), "bundled": bundled, "fingerprints": keys, "problems": report.problems}))?;
        return Ok(u8::from(!report.problems.is_empty()));
    }
    let (events, logs) = (count(bundled.events, "event", "events"), count(bundled.logs, "log", "logs"));
    out.line(format!("exported     {events} of {logs}, {} bytes, to {}", bundled.bytes, folder.display()));
    for key in keys {
        out.line(format!("fingerprint  {key}"));
    }
    show_problems(&report.problems, report.unlisted, out);
    out.remark("Tell the auditor the fingerprint by another way than this folder.");
    Ok(u8::from(!report.problems.is_empty()))
}
