//! What all imports share: the source's keyed tag, the counts, the events
//! before and after, and the search for what an earlier run brought.

use super::ImportReport;
use crate::commit::{Item, Job, Speaker};
use crate::engine::Tenant;
use crate::log::Epoch;
use crate::view::Content as Stored;
use mirrordna_core::body::{Body, field};
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::{Code, Error, Hash, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// The import of one file.
pub(super) struct Intake<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) file: &'a Path,
    pub(super) report: &'a mut ImportReport,
    pub(super) bytes: u64,
    source: Hash,
    format: u64,
    opened: bool,
    pub(super) kept: u64,
    pub(super) repaired: u64,
    pub(super) refused: u64,
    pub(super) events: u64,
}

pub(super) fn unreadable(file: &Path, e: std::io::Error) -> Error {
    Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e)
}

/// SHA-256 and length of a file.
fn digest(file: &Path) -> std::io::Result<(Hash, u64)> {
    let (mut file, mut state, mut buffer, mut length) = (File::open(file)?, Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((state.finalize().into(), length)),
            n => {
                state.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
}

/// The bytes that tell two imports of one id apart: the record as it came,
/// where it was kept, else its payload.
pub(super) fn original(body: &Body) -> &[u8] {
    let kept = body.get(field::ORIGINAL).and_then(|v| v.as_bytes());
    kept.or_else(|| body.payload.as_ref().map(|p| p.bytes.as_slice())).unwrap_or_default()
}

/// What an earlier run, or an earlier record, brought under a tag.
pub(super) enum Earlier {
    /// Nothing.
    None,
    /// The same payload.
    Same,
    /// Another payload.
    Other,
    /// Something that was erased since.
    Erased,
}

impl<'a> Intake<'a> {
    pub(super) fn new(tenant: &'a Tenant, file: &'a Path, format: u64, report: &'a mut ImportReport) -> Result<Self> {
        let (digest, bytes) = digest(file).map_err(|e| unreadable(file, e))?;
        // Keyed: a bare digest of a guessable file would give its content away.
        let source = tenant.log.tag_key()?.tag("mdna.v1.import", &[&digest]);
        Ok(Self { tenant, file, report, bytes, source, format, opened: false, kept: 0, repaired: 0, refused: 0, events: 0 })
    }

    pub(super) fn note(&mut self, line: u64, reason: &'static str, message: String) {
        self.report.note(self.file, line, reason, message);
    }

    pub(super) fn refuse(&mut self, line: u64, reason: &'static str, message: String) {
        self.refused += 1;
        self.note(line, reason, message);
    }

    /// What is there under each tag, compared with the originals to come.
    pub(super) fn earlier(&self, wanted: &[([u8; 16], &[u8])]) -> Result<Vec<Earlier>> {
        self.tenant.view(|view, tx| {
            let mut here: HashMap<[u8; 16], &[u8]> = HashMap::new();
            let mut out = Vec::with_capacity(wanted.len());
            for (tag, payload) in wanted {
                let same = |known: &[u8]| if known == *payload { Earlier::Same } else { Earlier::Other };
                let known = match view.once(tx, &self.tenant.log, tag)? {
                    Some(placed) => match view.event(tx, &self.tenant.log, placed.index)?.map(|e| e.content) {
                        Some(Stored::Private(body)) => same(original(&body)),
                        _ => Earlier::Erased,
                    },
                    None => here.get(tag).map_or(Earlier::None, |known| same(known)),
                };
                here.entry(*tag).or_insert(payload);
                out.push(known);
            }
            Ok(out)
        })
    }

    /// Counts and explains a record that an earlier one stands in the way of;
    /// returns whether it is to be appended.
    pub(super) fn admit(&mut self, line: u64, earlier: &Earlier) -> bool {
        let (reason, why) = match earlier {
            Earlier::None => return true,
            Earlier::Same => return false,
            Earlier::Other => ("id_conflict", "its id was imported before with other content"),
            Earlier::Erased => ("erased", "it was imported before and its content was erased"),
        };
        self.refuse(line, reason, why.to_owned());
        false
    }

    /// The event that says an import began, before the first that it appends.
    pub(super) fn open(&mut self) -> Result<Option<Item>> {
        if std::mem::replace(&mut self.opened, true) {
            return Ok(None);
        }
        self.system_item(Draft::public(&PublicBody::ImportOpen { source: self.source, bytes: self.bytes, format: self.format })).map(Some)
    }

    /// An event by the log's system actor.
    pub(super) fn system_item(&self, draft: Draft) -> Result<Item> {
        let Tenant { inner, log } = self.tenant;
        Ok(Item { actor: log.system, speaker: Speaker::Epoch(inner.epoch(log, &log.system)?), draft, once: None })
    }

    /// Appends and counts, with the `epoch.open` events this brings about.
    pub(super) fn append(&mut self, items: Vec<Item>, checkpoint: bool) -> Result<()> {
        let epochs = |items: &[Item]| {
            let mut of: Vec<Arc<Epoch>> = Vec::new();
            for item in items {
                if let Speaker::Epoch(epoch) = &item.speaker
                    && !of.iter().any(|e| Arc::ptr_eq(e, epoch))
                {
                    of.push(epoch.clone());
                }
            }
            of
        };
        let open: Vec<_> = epochs(&items).into_iter().filter(|e| e.opened().is_some()).collect();
        let (job, placed) = self.tenant.inner.commit(Job { log: self.tenant.log.clone(), items, checkpoint });
        self.events += placed?.iter().filter(|p| !p.existed).count() as u64;
        let used = job.map(|job| epochs(&job.items)).unwrap_or_default();
        self.events += used.iter().filter(|e| e.opened().is_some() && !open.iter().any(|o| Arc::ptr_eq(o, e))).count() as u64;
        Ok(())
    }

    /// The event that says it ended, if this run appended anything or an
    /// earlier run did and was stopped; then the counts go into the report.
    pub(super) fn finish(mut self) -> Result<()> {
        let source = self.source;
        let pending = self.tenant.view(|view, tx| view.import_pending(tx, &self.tenant.log, &source))?;
        if self.opened || pending {
            let (kept, repaired, refused, events) = (self.kept, self.repaired, self.refused, self.events);
            let body = PublicBody::Import { source, kept, repaired, refused, events };
            let item = self.system_item(Draft::public(&body))?;
            self.append(vec![item], true)?;
        }
        self.report.kept += self.kept;
        self.report.repaired += self.repaired;
        self.report.refused += self.refused;
        self.report.events += self.events;
        Ok(())
    }
}
