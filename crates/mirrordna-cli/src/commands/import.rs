//! `import`: chats and vaults.

use crate::args::Import;
use crate::config::Settings;
use crate::output::{Output, Progress, Tone};
use mirrordna::import::Format;
use mirrordna::{Code, Error, Result};

pub(crate) fn import(settings: &Settings, args: Import, out: &mut Output) -> Result<u8> {
    let format: Format = args.format.parse()?;
    // A path that is mistyped must not leave a database behind.
    mirrordna::import::plan(&args.paths, format)?;
    let engine = settings.builder().open()?;
    let mut progress = Progress::new("importing", out);
    let report = mirrordna::import::import(&engine.main(), &args.paths, format, &mut |done, total| progress.update(done, total))?;
    progress.finish();
    engine.close()?;
    if out.json {
        out.value(&report)?;
    } else {
        let utc = if report.assumed_utc > 0 { format!(" ({} without time zone, read as UTC)", report.assumed_utc) } else { String::new() };
        out.line(format!("kept {}{utc}, repaired {}, refused {}", report.kept, report.repaired, report.refused));
        out.line(format!("{} files, {} events", report.files, report.events));
        for note in report.notes.iter().take(20) {
            let line = out.tone(Tone::Notice, format!("  {}:{}  {}  {}", note.file, note.line, note.reason, note.message));
            out.line(line);
        }
        if report.notes.len() > 20 {
            out.line(format!("  … and {} more; --json lists them", report.notes.len() - 20));
        }
    }
    if args.strict && report.refused > 0 {
        return Err(Error::new(Code::ImportRefused, format!("{} records were refused", report.refused)));
    }
    Ok(0)
}
