//! `export` and `restore` of a whole database.

use super::open;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::{Code, Error, Result};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

pub(crate) fn export(settings: &Settings, file: &Path, out: &mut Output) -> Result<u8> {
    let failed = |e| Error::new(Code::StoreIo, format!("cannot write {}", file.display())).caused_by(e);
    let engine = open(settings)?;
    let target = File::create_new(file).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(1 << 20, target);
    let done = engine.export(&mut writer).and_then(|moved| {
        let target = writer.into_inner().map_err(|e| failed(e.into_error()))?;
        target.sync_all().map_err(failed).map(|()| moved)
    });
    // Half an export must not be mistaken for one.
    let moved = done.inspect_err(|_| drop(std::fs::remove_file(file)))?;
    show_moved("exported", &moved, out)
}

pub(crate) fn restore(settings: &Settings, file: &Path, out: &mut Output) -> Result<u8> {
    let source =
        File::open(file).map_err(|e| Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e))?;
    let moved = settings.builder().restore(&mut BufReader::with_capacity(1 << 20, source))?;
    show_moved("restored", &moved, out)
}

fn show_moved(what: &str, moved: &mirrordna::backup::Moved, out: &mut Output) -> Result<u8> {
    if out.json {
        out.value(moved)?;
    } else {
        out.line(format!("{what} {} events of {} logs, {} bytes", moved.events, moved.logs, moved.bytes));
    }
    Ok(0)
}
