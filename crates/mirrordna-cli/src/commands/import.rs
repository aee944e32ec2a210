//! `import`: chats and vaults.

use super::count;
use crate::args::Import;
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Progress, Tone, Unit};
use mirrordna::import::Format;
use mirrordna::{Code, Error, Result};

/// Repairs, refusals and skipped files that are shown; `--json` lists a thousand.
const SHOWN: usize = 20;

pub(crate) fn import(settings: &Settings, args: Import, out: &mut Output) -> Result<u8> {
    let format: Format = args.format.parse()?;
    // A path that is mistyped must not leave a database behind.
    let plan = mirrordna::import::plan(&args.paths, format)?;
    let total = plan.iter().filter_map(|s| std::fs::metadata(&s.file).ok()).map(|m| m.len()).sum();
    let engine = settings.builder_to_write()?.open()?;
    let mut progress = Progress::new("importing", Unit::Bytes, out);
    // Each file is counted from its beginning.
    let (mut before, mut last) = (0, (0, 0));
    let report = mirrordna::import::import(&engine.main(), &args.paths, format, &mut |done, of| {
        if done < last.0 || of != last.1 {
            before += last.1;
        }
        last = (done, of);
        progress.update(before + done, total);
    })?;
    drop(progress);
    engine.close()?;
    if out.json {
        out.value(&report)?;
    } else {
        let utc = if report.assumed_utc > 0 { format!(" ({} without time zone, read as UTC)", report.assumed_utc) } else { String::new() };
        out.line(format!("kept {}{utc}, repaired {}, refused {}", report.kept, report.repaired, report.refused));
        let again = if report.events == 0 && report.kept > 0 { ": all of it was here" } else { "" };
        let skipped = if report.skipped > 0 { format!(" ({} skipped)", report.skipped) } else { String::new() };
        out.line(format!("{}{skipped}, {}{again}", count(report.files, "file", "files"), count(report.events, "event", "events")));
        let notes = report.notes.iter().take(SHOWN).map(|note| {
            let place = if note.line > 0 { format!("{}:{}", note.file, note.line) } else { note.file.clone() };
            vec![place.into(), Cell::toned(Tone::Notice, note.reason), note.message.as_str().into()]
        });
        let columns = [("WHERE", Fit::Whole), ("REASON", Fit::Whole), ("WHAT", Fit::Cut)];
        out.table(&columns, notes.collect(), "");
        let more = report.notes.len().saturating_sub(SHOWN);
        if more > 0 {
            out.line(format!("… and {more} more; --json lists them"));
        }
    }
    if args.strict && report.refused > 0 {
        return Err(Error::new(Code::ImportRefused, format!("{} refused", count(report.refused, "record was", "records were"))));
    }
    Ok(0)
}
