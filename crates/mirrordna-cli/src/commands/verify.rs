//! `verify` and its report.

use super::{bundle, count, span, tiles};
use crate::args::Verify;
use crate::config::Settings;
use crate::output::{Output, Progress, Tone, Unit, one_line};
use mirrordna::peer::VerifierKey;
use mirrordna::proof::Policy;
use mirrordna::{Builder, Code, Error, Finding, Fingerprint, Result, VerifyReport, input};
use std::path::Path;

/// Problems that are shown; `--json` lists more.
const SHOWN: usize = 20;

pub(crate) fn verify(settings: &Settings, args: Verify, out: &mut Output) -> Result<u8> {
    let policy = policy(&args)?;
    if let Some(bundle) = args.target.as_deref().map(bundle::find).transpose()?.flatten() {
        return bundle::verify(&bundle, &args, policy, out);
    }
    if let Some(folder) = args.target.as_deref().and_then(tiles::find) {
        return tiles::verify_tiles(&folder, &policy, out);
    }
    if let Some(file) = args.target.as_deref().and_then(tiles::file) {
        return tiles::verify_file(&file, &args.kept, &policy, out);
    }
    if args.events {
        return Err(Error::new(Code::InputInvalid, "--events is for bundles; this is none")
            .with_hint("Make one with `mirrordna prove` or `mirrordna export --audit DIR`."));
    }
    let target = args.target.as_ref().map_or_else(|| settings.clone(), |t| settings.at(t));
    let mut builder = target.builder().policy(policy);
    for path in &args.kept {
        builder = builder.keep(input::text(path, tiles::KEPT, input::TEXT, Code::ImportUnreadable)?);
    }
    let report = verify_store(if args.headers { builder.headers_only() } else { builder }, out)?;
    show_report(&report, out)?;
    Ok(exit_status(report.verdict))
}

/// Whom the arguments say to trust.
fn policy(args: &Verify) -> Result<Policy> {
    let mut policy = args.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
    for key in &args.key {
        // The key itself, where a fingerprint finds none to compare with.
        policy = match VerifierKey::parse(key) {
            Ok(key) => policy.and_log(key),
            Err(e) if key.contains('+') => {
                return Err(Error::new(Code::InputInvalid, format!("'{}…' is no key of a log", key.chars().take(60).collect::<String>()))
                    .caused_by(e));
            }
            Err(_) => policy.and(*key.parse::<Fingerprint>()?.as_bytes()),
        };
    }
    Ok(policy)
}

/// A policy file.
pub(super) fn read_policy(file: &Path) -> Result<Policy> {
    let text = input::text(file, "a policy", input::TEXT, Code::PolicyInvalid)?;
    Policy::parse(&text).map_err(|e| Error::new(Code::PolicyInvalid, format!("{}: {e}", file.display())))
}

/// The exit status that tells a verdict.
pub(crate) fn exit_status(verdict: &str) -> u8 {
    match verdict {
        "intact" => 0,
        "altered" => 1,
        _ => 3,
    }
}

/// Verifies what a builder points to, telling how far it is.
pub(crate) fn verify_store(builder: Builder, out: &Output) -> Result<VerifyReport> {
    let mut progress = Progress::new("verifying", Unit::Events, out);
    builder.verify_with(&mut |done, of| progress.update(done, of))
}

pub(crate) fn show_report(report: &VerifyReport, out: &mut Output) -> Result<()> {
    if out.json {
        return out.value(report);
    }
    let tone = match report.verdict {
        "intact" => Tone::Good,
        "altered" => Tone::Bad,
        _ => Tone::Notice,
    };
    let verdict = out.tone(tone, report.verdict);
    let (events, identities) = (count(report.events, "event", "events"), count(report.identities, "identity", "identities"));
    let head = report.head.get(..8).map(|h| format!(" · head {h}…")).unwrap_or_default();
    out.line(format!("{verdict}   {events} · {identities}{head} · freshness {}", report.freshness));
    let b = &report.bodies;
    let mut parts = vec![match b.unread {
        None => format!("{} readable", count(b.present, "body", "bodies")),
        Some(n) => format!("{} not read · {} public", count(n, "body", "bodies"), b.present),
    }];
    for (n, what) in [
        (b.locked, "locked"),
        (b.erased, "erased"),
        (b.missing, "missing"),
        (report.unsigned, "events unsigned"),
        (report.closed, if report.closed == 1 { "log closed" } else { "logs closed" }),
    ] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    out.line(format!("         {}", parts.join(" · ")));
    if let Some(witnessed) = report.witnessed {
        let after = report.events.saturating_sub(witnessed);
        out.line(format!("         {witnessed} events witnessed · {after} after the checkpoint that the witnesses signed"));
    }
    if b.unread.is_some() {
        out.line("         Headers, chains, trees and signatures only: whether the bodies that were\n         not read are what was written is unknown. Without --headers they are read.");
    }
    for d in report.disputed.iter().take(SHOWN) {
        let word = out.tone(Tone::Notice, "disputed");
        let of = d.epoch.map(|epoch| format!(" (epoch {epoch})")).unwrap_or_default();
        let (events, log) = (count(d.count, "event", "events"), d.log.get(..8).unwrap_or_default());
        out.line(format!("{word} {events} of {}{of}", d.actor));
        let (leaves, numbers) = (span("leaf", d.first_leaf, d.last_leaf), span("number", d.first, d.last));
        out.line(format!("         log {log}… {leaves}, {numbers}; by leaf {}", d.by));
    }
    let more = report.disputed.len().saturating_sub(SHOWN) as u64 + report.unlisted_disputes;
    if more > 0 {
        out.line(format!("         … and {more} more ranges; --json lists up to {}", report.disputed.len()));
    }
    show_problems(&report.problems, report.unlisted, out);
    advise(report, out);
    Ok(())
}

/// The problems of a report, or the first of them.
pub(super) fn show_problems(problems: &[Finding], unlisted: u64, out: &mut Output) {
    if problems.is_empty() {
        return;
    }
    out.line("");
    for p in problems.iter().take(SHOWN) {
        show_problem(p, out);
    }
    let more = problems.len().saturating_sub(SHOWN) as u64 + unlisted;
    if more > 0 {
        out.line(format!("… and {more} more; --json lists up to {}", problems.len()));
    }
}

/// A problem by name and place, and what was found. For people it has two
/// lines: nothing of it may be cut.
fn show_problem(problem: &Finding, out: &mut Output) {
    if out.terminal().is_some() {
        let name = out.tone(Tone::Bad, &problem.code);
        out.line(format!("  {name}  {}", one_line(&problem.place)));
        out.line(format!("      {}", one_line(&problem.message)));
    } else {
        out.line(format!("{}\t{}\t{}", problem.code, one_line(&problem.place), one_line(&problem.message)));
    }
}

/// What to do next.
fn advise(report: &VerifyReport, out: &mut Output) {
    // Nothing is wrong in itself: it is not what this machine has seen.
    let not_as_seen = !report.problems.is_empty() && report.problems.iter().all(|p| p.code == "log.rolled_back" || p.code == "log.forked");
    let advice = if not_as_seen && report.problems.iter().any(|p| p.code == "log.rolled_back") {
        "This is an older copy in the place of a newer one. Find the newer one; until\nthen nothing is written here. Was it you? Then read it with --as-of."
    } else if not_as_seen {
        "This machine has seen another history of this database: somebody rewrote it, or\nit went on elsewhere. Keep both copies, and read this one with --as-of."
    } else if report.verdict == "altered" {
        "Do not write to it and keep it as it is: it is the evidence. Look at the problem\nwith the lowest leaf first: others may only follow from it. To go on, restore an\nexport (mirrordna --store NEW.db restore FILE) and verify that."
    } else if report.verdict == "unproven" && report.logs.iter().any(|log| log.witnessed == Some(0)) {
        "The witnesses that the policy asks for have signed no checkpoint of it that is\nrecorded here or was kept (--kept). `mirrordna checkpoint --witness URL --anchor`\nhas one signed and records that."
    } else if report.verdict == "unproven" {
        "Nothing that is trusted here vouches for this log. Its key has fingerprint"
    } else if report.freshness.starts_with("behind") {
        "This copy lags behind what this machine has seen; --as-of reads it."
    } else if !report.disputed.is_empty() {
        "Disputed: their owner took the identity back, or ended an epoch, and does not\nstand by these events. They are as they were signed; who signed them is open."
    } else if report.unsigned > 0 {
        "Unsigned events: their writer is still at work, or before it signed it was killed or\nits identity was recovered, or ended."
    } else {
        return;
    };
    out.line("");
    advice.lines().for_each(|line| out.line(line));
    if not_as_seen || (report.ok && report.freshness.starts_with("behind")) {
        out.line("If this is the state to go on from:");
        out.line(format!("  mirrordna fork --accept-head {} --reason TEXT", report.events));
    }
    if report.verdict == "unproven" {
        out.line(format!("  {}", report.log_key.as_deref().unwrap_or("(none)")));
        out.line("Compare it with what the owner told you by another way, then pass it with --key.");
    }
}
