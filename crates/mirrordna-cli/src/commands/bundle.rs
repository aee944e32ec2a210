//! `verify` of a bundle.

use super::backup::Counted;
use super::count;
use super::tiles::KEPT;
use super::verify::{exit_status, show_problems};
use crate::args::Verify;
use crate::output::{Output, Progress, Tone, Unit, cut, one_line};
use mirrordna::proof::{self, BundleReport, Policy, SectionReport};
use mirrordna::{Code, Error, Result, TimelineEvent, input};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Files in a kit beyond which it is taken for something else.
const KIT: usize = 1_000;

/// The bundle that a target names: a file that begins like one, or the one in
/// the folder of an auditor's kit.
pub(super) fn find(target: &str) -> Result<Option<PathBuf>> {
    let path = Path::new(target);
    let begins = |path: &Path| {
        let mut start = vec![0; proof::MAGIC.len()];
        // Not before it is known to be a plain file: a pipe would wait.
        path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == proof::MAGIC
    };
    let named = |path: &Path| path.extension().is_some_and(|end| end == "mdna-bundle" || end == "mdna-proof");
    if path.is_dir() {
        return in_kit(path, named);
    }
    Ok((begins(path) || named(path)).then(|| path.to_owned()))
}

/// The one bundle in a folder. Of several nobody could tell which one a verdict
/// is about, and what a link leads to was not handed out with the folder.
fn in_kit(folder: &Path, named: impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
    let failed = |e| Error::new(Code::ImportUnreadable, format!("cannot read {}", folder.display())).caused_by(e);
    let refused = |why: &str| Error::new(Code::InputInvalid, format!("{} {why}", folder.display()));
    let mut found = None;
    for (n, entry) in std::fs::read_dir(folder).map_err(failed)?.enumerate() {
        if n == KIT {
            return Err(refused(&format!("holds more than {KIT} files: it is no kit")).with_hint("Name the bundle itself."));
        }
        let path = entry.map_err(failed)?.path();
        if !named(&path) {
            continue;
        }
        if path.is_symlink() {
            let error = refused(&format!("holds a symbolic link in place of a bundle: {}", path.display()));
            return Err(error.with_hint("A link is not followed. Name the file that it leads to, if that is what you were given."));
        }
        if found.replace(path).is_some() {
            return Err(refused("holds more than one bundle").with_hint("Name the one that is to be judged."));
        }
    }
    Ok(found)
}

pub(super) fn verify(file: &Path, args: &Verify, policy: Policy, out: &mut Output) -> Result<u8> {
    let failed = |e| Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e);
    let kept = |path: &PathBuf| input::read(path, KEPT, input::TEXT, Code::ImportUnreadable);
    let kept = args.kept.iter().map(kept).collect::<Result<Vec<_>>>()?;
    let source = input::open(file, "a bundle", Code::ImportUnreadable)?;
    let total = source.metadata().map_err(failed)?.len();
    let mut events = Vec::new();
    let mut reader = proof::Reader::default();
    let judged = {
        let mut progress = Progress::new("verifying", Unit::Bytes, out);
        let mut tell = |done| progress.update(done, total);
        let mut source = Counted::new(source, &mut tell);
        let judged = proof::judge(&mut BufReader::with_capacity(1 << 20, &mut source), policy, &kept, &mut |event| {
            let read = reader.event(event);
            if args.events && event.asked {
                events.extend(read);
            }
        });
        judged.map_err(|e| match e.code() {
            Code::BundleUnknown => Error::new(Code::BundleUnknown, format!("{} is no bundle", file.display())).caused_by(e),
            _ => e,
        })?
    };
    let report = BundleReport::from(&judged);
    if out.json {
        let mut value = json!(report);
        if args.events {
            value["events"] = json!(events);
        }
        out.value(&value)?;
    } else {
        show(&report, &events, out);
    }
    Ok(exit_status(report.verdict))
}

fn show(report: &BundleReport, events: &[TimelineEvent], out: &mut Output) {
    let tone = match report.verdict {
        "intact" => Tone::Good,
        "altered" => Tone::Bad,
        _ => Tone::Notice,
    };
    let verdict = out.tone(tone, report.verdict);
    let of = |f: &dyn Fn(&SectionReport) -> u64| report.logs.iter().map(f).sum::<u64>();
    let (logs, events_in) = (count(report.logs.len() as u64, "log", "logs"), count(of(&|l| l.events), "event", "events"));
    out.line(format!("{verdict}   {events_in} of {logs}"));
    let mut parts = vec![format!("{} here", count(of(&|l| l.bodies.present), "body", "bodies"))];
    for (n, what) in [
        (of(&|l| l.bodies.disclosed), "readable"),
        (of(&|l| l.bodies.withheld), "withheld"),
        (of(&|l| l.bodies.erased), "erased"),
        (of(&|l| l.bodies.missing), "missing"),
        (of(&|l| l.unsigned), "events unsigned"),
        (of(&|l| l.unattributed), "events not shown to be their actor's"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    out.line(format!("         {}", parts.join(" · ")));
    for log in &report.logs {
        let head = log.head.get(..8).unwrap_or_default();
        let scope = if log.scope == "whole" { "whole log" } else { "part of log" };
        let short = log.log.get(..8).unwrap_or_default();
        let mut line = format!("{} {scope} {short}…  {} leaves · head {head}… · freshness {}", log.verdict, log.size, log.freshness);
        if let Some(quorum) = log.quorum {
            line.push_str(if quorum { " · witnessed" } else { " · not witnessed" });
        }
        if let (Some(false), Some(up_to @ 1..)) = (log.quorum, log.witnessed) {
            line.push_str(&format!(" after the first {up_to}"));
        }
        out.line(line);
        if !log.label.is_empty() {
            out.line(format!("         its maker calls it: {}", one_line(&log.label)));
        }
        for missing in &log.missing_links {
            let actor = missing.actor.get(..8).unwrap_or_default();
            out.line(format!("         left out: events {} to {} of actor {actor}…", missing.from, missing.to));
        }
        for d in &log.disputed {
            let (events, actor) = (count(d.count, "event", "events"), d.actor.get(..8).unwrap_or_default());
            out.line(format!("         disputed: {events} of actor {actor}…, numbers {} to {}; by leaf {}", d.first, d.last, d.by));
        }
        for (bound, word) in [(log.times.not_before.last(), "from leaf"), (log.times.not_after.first(), "below leaf")] {
            if let Some(bound) = bound {
                let than = if word == "from leaf" { "not older than" } else { "not younger than" };
                out.line(format!("         {word} {}: {than} {}", bound.leaf, bound.time));
            }
        }
    }
    show_problems(&report.problems, report.unlisted, out);
    if !events.is_empty() {
        out.line("");
    }
    for event in events {
        let name = event.event_type.as_deref().unwrap_or(&event.kind);
        let payload = event.payload.as_deref().map(|p| cut(&one_line(p), 100)).unwrap_or_default();
        let actor: String = event.actor.chars().take(17).collect();
        out.line(format!("{}  {}  {actor}  {name}  {payload}", event.leaf, event.time));
    }
    advise(report, out);
}

/// What to do next.
fn advise(report: &BundleReport, out: &mut Output) {
    if report.verdict == "altered" {
        out.line("");
        out.line("This is not what was signed. Keep the file as it is, and ask for another.");
        return;
    }
    let strangers: Vec<&SectionReport> = report.logs.iter().filter(|log| log.verdict == "unproven").collect();
    if let Some(log) = strangers.iter().find(|log| log.quorum == Some(false)) {
        out.line("");
        out.line(format!(
            "The witnesses that the policy asks for have not signed the checkpoint of log {}….",
            log.log.get(..8).unwrap_or_default()
        ));
        if let Some(up_to @ 1..) = log.witnessed {
            out.line(format!("They have signed the first {up_to} of its {} leaves: what comes after is not witnessed.", log.size));
        }
    } else if let Some(log) = strangers.iter().find(|log| log.unattributed > 0) {
        let (events, of) = (count(log.unattributed, "event", "events"), log.log.get(..8).unwrap_or_default());
        out.line("");
        out.line(format!("Of log {of}… {events} cannot be shown to be their actor's: the file lacks their key, or no"));
        out.line("signature of that key came after them. They are in the log; who wrote them is not proven.");
    } else if !strangers.is_empty() {
        out.line("");
        out.line("Nothing is wrong in itself, but nobody that is trusted here vouches for it.");
        for log in strangers {
            out.line(format!("  log {}…  key {}", log.log.get(..8).unwrap_or_default(), log.log_key.as_deref().unwrap_or("(none)")));
        }
        out.line("Compare the key with what the owner told you by another way, then pass it with --key.");
    } else if report.logs.iter().all(|log| log.freshness == "unproven") {
        out.line("");
        out.line("Whether newer events exist is not proven: compare with a checkpoint that you kept (--kept).");
    }
}
