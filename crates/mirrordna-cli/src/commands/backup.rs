//! `export` and `restore` of a whole database.

use super::{count, open_to_read, short_time, write_new};
use crate::args::Export;
use crate::config::Settings;
use crate::output::{Output, Progress, Unit};
use mirrordna::{Code, Error, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

pub(crate) fn export(settings: &Settings, args: &Export, out: &mut Output) -> Result<u8> {
    if args.audit.is_none() && (args.under.witnessed || !args.under.checkpoint.is_empty()) {
        return Err(Error::new(Code::InputInvalid, "--checkpoint and --witnessed choose the checkpoint of a bundle: they go with --audit"));
    }
    if let Some(folder) = &args.tiles {
        return super::tiles::export(settings, folder, out);
    }
    let file = match (&args.audit, &args.file) {
        (Some(folder), _) => return super::audit::audit(settings, args, folder, out),
        (None, Some(file)) => file,
        (None, None) => return Err(Error::new(Code::InputInvalid, "an export needs a file, or --audit a folder")),
    };
    let engine = open_to_read(settings, out)?;
    if let Some(subject) = &args.subject {
        let done = write_new(file, |target| engine.export_subject(subject, target))?;
        if out.json {
            out.value(&done)?;
        } else {
            out.line(format!("exported {} about '{subject}', {} bytes", count(done.events, "event", "events"), done.bytes));
            for by in &done.erasures {
                let events = count(by.events, "event", "events");
                out.line(format!("erased at {}, reason {}: {events}, by leaf {}", short_time(&by.time, out), by.reason.name(), by.leaf));
            }
            if done.events == 0 {
                out.remark(format!("all that was about '{subject}' is erased; the file says when, with receipts"));
            }
        }
        return Ok(0);
    }
    let mut progress = Progress::new("exporting", Unit::Events, out);
    let moved = write_new(file, |target| engine.export_with(target, &mut |done, of| progress.update(done, of)))?;
    drop(progress);
    show_moved("exported", &moved, out)
}

/// A reader that tells how much was read.
pub(super) struct Counted<'a, R> {
    inner: R,
    done: u64,
    tell: &'a mut dyn FnMut(u64),
}

impl<'a, R> Counted<'a, R> {
    pub(super) fn new(inner: R, tell: &'a mut dyn FnMut(u64)) -> Self {
        Self { inner, done: 0, tell }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        (self.tell)(self.done);
        Ok(n)
    }
}

pub(crate) fn restore(settings: &Settings, file: &Path, out: &mut Output) -> Result<u8> {
    let failed = |e| Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e);
    let source = File::open(file).map_err(failed)?;
    let total = source.metadata().map_err(failed)?.len();
    let mut progress = Progress::new("restoring", Unit::Bytes, out);
    let mut tell = |done| progress.update(done, total);
    let source = Counted::new(source, &mut tell);
    let moved = settings.builder_to_write()?.restore(&mut BufReader::with_capacity(1 << 20, source))?;
    drop(progress);
    show_moved("restored", &moved, out)
}

fn show_moved(what: &str, moved: &mirrordna::backup::Moved, out: &mut Output) -> Result<u8> {
    if out.json {
        out.value(moved)?;
    } else {
        let (events, logs) = (count(moved.events, "event", "events"), count(moved.logs, "log", "logs"));
        out.line(format!("{what} {events} of {logs}, {} bytes", moved.bytes));
    }
    Ok(0)
}
