//! `adopt`: bringing a log of another database into this one.

use super::{count, open, open_to_read};
use crate::args::Adopt;
use crate::config::Settings;
use crate::output::{Output, Progress, Unit};
use mirrordna::{AdoptOptions, Code, Error, Keys, Result};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

pub(crate) fn adopt(settings: &Settings, args: &Adopt, out: &mut Output) -> Result<u8> {
    match &args.file {
        Some(file) => bring(settings, args, file, out),
        None => list(settings, out),
    }
}

fn bring(settings: &Settings, args: &Adopt, file: &Path, out: &mut Output) -> Result<u8> {
    let failed = |file: &Path, e| Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e);
    let source = File::open(file).map_err(|e| failed(file, e))?;
    let mut options = AdoptOptions::default();
    if let Some(place) = &args.keys_from {
        // A keyring is found by the id of its database, beside which it may lie.
        let folder = if place.is_file() { place.parent().unwrap_or(Path::new("")) } else { place };
        options = options.keys_from(Keys::Folder(folder.to_owned()));
    }
    if let Some(path) = &args.keys_from_passphrase_file {
        let text = mirrordna::Zeroizing::new(std::fs::read_to_string(path).map_err(|e| failed(path, e))?);
        options = options.passphrase(text.lines().next().unwrap_or_default());
    }
    if let Some(log) = &args.log {
        options = options.log(log);
    }
    let engine = open(settings)?;
    let mut progress = Progress::new("adopting", Unit::Events, out);
    let tell = &mut |done, of| progress.update(done, of);
    let adopted = engine.main().adopt_with(&mut BufReader::with_capacity(1 << 20, source), &options, tell)?;
    drop(progress);
    engine.close()?;
    if out.json {
        out.value(&adopted)?;
        return Ok(0);
    }
    let events = count(adopted.events, "event", "events");
    if adopted.existed {
        out.line(format!("log {} was here already, with {events}", adopted.log));
    } else {
        out.line(format!("adopted log {}: {events} of {}", adopted.log, count(adopted.logs, "log", "logs")));
        out.line(format!("  event {} names it; its first event is {}", adopted.named_at, adopted.first_position));
    }
    if adopted.refused > 0 {
        out.line(format!("  {} had been erased and did not come", count(adopted.refused, "content", "contents")));
    }
    if adopted.readable {
        out.line(format!("  {} can go on here", count(adopted.identities, "identity", "identities")));
    } else {
        out.line("  its contents are locked: adopt it again with --keys-from to open them");
    }
    Ok(0)
}

fn list(settings: &Settings, out: &mut Output) -> Result<u8> {
    let adopted = open_to_read(settings, out)?.main().adopted()?;
    if out.json {
        out.value(&serde_json::json!({"adopted": adopted}))?;
        return Ok(0);
    }
    for log in &adopted {
        let state = if log.readable { "readable" } else { "locked" };
        out.line(format!("{}\t{}\t{}\t{state}", log.log, log.first_position, count(log.events, "event", "events")));
    }
    Ok(0)
}
