//! `verify` and its report.

use crate::args::Verify;
use crate::config::Settings;
use crate::output::{Output, Tone};
use mirrordna::{Code, Error, Result, VerifyReport};

/// A fingerprint: 64 hex digits.
fn fingerprint(text: &str) -> Result<[u8; 32]> {
    let digits: Vec<u8> = text.trim().bytes().filter_map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
    let bad = || Error::new(Code::InputInvalid, format!("'{text}' is no fingerprint: 64 hex digits, as `mirrordna init` prints it"));
    if digits.len() != 64 || text.trim().len() != 64 {
        return Err(bad());
    }
    let mut out = [0; 32];
    for (o, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *o = pair[0] << 4 | pair[1];
    }
    Ok(out)
}

pub(crate) fn verify(settings: &Settings, args: Verify, out: &mut Output) -> Result<u8> {
    let mut keys = args.key.iter().map(|k| fingerprint(k)).collect::<Result<Vec<_>>>()?;
    if let Some(policy) = &args.policy {
        let text = std::fs::read_to_string(policy)
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("cannot read the policy {}", policy.display())).caused_by(e))?;
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                keys.push(
                    fingerprint(line)
                        .map_err(|e| Error::new(Code::ConfigInvalid, format!("{} line {}", policy.display(), n + 1)).caused_by(e))?,
                );
            }
        }
    }
    let target = args.target.as_ref().map_or_else(|| settings.clone(), |t| settings.at(t));
    let report = verify_store(&target, &keys)?;
    show_report(&report, out)?;
    Ok(match report.verdict {
        "intact" => 0,
        "altered" => 1,
        _ => 3,
    })
}

pub(crate) fn verify_store(settings: &Settings, keys: &[[u8; 32]]) -> Result<VerifyReport> {
    keys.iter().fold(settings.builder(), |builder, key| builder.trust(*key)).verify()
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
    let head = report.head.get(..8).unwrap_or_default();
    let b = &report.bodies;
    out.line(format!(
        "{verdict}   {} events · {} identities · head {head}… · freshness {}",
        report.events, report.identities, report.freshness
    ));
    let mut parts = vec![format!("{} bodies readable", b.present)];
    for (n, what) in [(b.locked, "locked"), (b.erased, "erased"), (b.missing, "missing"), (report.unsigned, "events unsigned")] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    out.line(format!("         {}", parts.join(" · ")));
    for p in report.problems.iter().take(20) {
        let line = out.tone(Tone::Bad, format!("  {}  {}: {}", p.code, p.place, p.message));
        out.line(line);
    }
    let more = report.problems.len().saturating_sub(20) as u64 + report.unlisted;
    if more > 0 {
        out.line(format!("  … and {more} more"));
    }
    if report.verdict == "unproven" {
        out.line("  Nothing that is trusted here vouches for this log. Its key has fingerprint");
        out.line(format!("  {}", report.log_key.as_deref().unwrap_or("(none)")));
        out.line("  Compare it with what the owner told you, and pass it with --key.");
    }
    Ok(())
}
