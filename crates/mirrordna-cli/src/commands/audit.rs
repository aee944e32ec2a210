//! `export --audit`: a folder that an auditor can judge by themselves.

use super::verify::{read_policy, show_problems};
use super::{count, open, open_to_read, write_new};
use crate::args::{self, Export};
use crate::config::Settings;
use crate::output::{Output, Progress, Unit};
use mirrordna::proof::{self, Bodies, BundleReport, Policy, Under};
use mirrordna::{Code, Error, Result, input};
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

/// Under which checkpoint the arguments ask for a bundle.
pub(super) fn under(args: &args::Under) -> Result<Under> {
    if args.witnessed {
        return Ok(Under::Witnessed(args.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default()));
    }
    let read = |path: &std::path::PathBuf| input::text(path, "a checkpoint", input::TEXT, Code::ImportUnreadable);
    let notes = args.checkpoint.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(if notes.is_empty() { Under::Newest } else { Under::Checkpoints(notes) })
}

/// Says what a bundle leaves out because its checkpoint is an older one.
pub(super) fn say_later(later: u64, out: &mut Output) {
    if later > 0 {
        out.line(format!("not in it    {}, after that checkpoint", count(later, "later event", "later events")));
    }
}

pub(super) fn audit(settings: &Settings, args: &Export, folder: &Path, out: &mut Output) -> Result<u8> {
    let engine = match open(settings) {
        Err(e) if settings.as_of || matches!(e.code(), Code::StoreReadOnly | Code::KeyMissing) => open_to_read(settings, out)?,
        opened => opened?,
    };
    let under = under(&args.under)?;
    let failed = |e| Error::new(Code::StoreIo, format!("cannot make {}", folder.display())).caused_by(e);
    std::fs::create_dir(folder).map_err(failed)?;
    let bodies = match (args.disclose, args.withhold) {
        (true, _) => Bodies::Disclosed,
        (_, true) => Bodies::Withheld,
        _ => Bodies::Sealed,
    };
    let mut progress = Progress::new("exporting", Unit::Events, out);
    let written =
        write_new(&folder.join(BUNDLE), |target| engine.audit_under(bodies, &under, target, &mut |done, of| progress.update(done, of)));
    // A folder without a bundle would only be in the way of the next attempt.
    let bundled = written.inspect_err(|_| drop(std::fs::remove_dir(folder)))?;
    drop(progress);
    for (name, text) in BESIDE {
        write_new(&folder.join(name), |target| target.write_all(text.as_bytes()).map_err(failed))?;
    }
    // What is handed out is judged first, as its reader will.
    let file = File::open(folder.join(BUNDLE)).map_err(failed)?;
    let judged = proof::judge(&mut BufReader::with_capacity(1 << 20, file), Policy::default(), &[], &mut |_| {})?;
    let report = BundleReport::from(&judged);
    // A log that was adopted has the verdict of the one that names it; its own key
    // is not for this owner to vouch for.
    let adopted = |id: &String| report.logs.iter().any(|log| log.imported.contains(id));
    let keys: Vec<&str> = report.logs.iter().filter(|log| !adopted(&log.log)).filter_map(|log| log.log_key.as_deref()).collect();
    if out.json {
        out.value(&json!({"folder": folder.display().to_string(), "bundled": bundled, "fingerprints": keys, "problems": report.problems}))?;
        return Ok(u8::from(!report.problems.is_empty()));
    }
    let (events, logs) = (count(bundled.events, "event", "events"), count(bundled.logs, "log", "logs"));
    out.line(format!("exported     {events} of {logs}, {} bytes, to {}", bundled.bytes, folder.display()));
    say_later(bundled.later, out);
    for key in keys {
        out.line(format!("fingerprint  {key}"));
    }
    show_problems(&report.problems, report.unlisted, out);
    out.remark("Tell the auditor the fingerprint by another way than this folder.");
    Ok(u8::from(!report.problems.is_empty()))
}
