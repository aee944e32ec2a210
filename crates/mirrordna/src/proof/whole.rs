//! A bundle of everything: all logs of a database, up to what they have signed.

use super::under::{Under, erased_later};
use super::{Bundled, Sink};
use crate::checkpoint::rebuilt;
use crate::import::Progress;
use crate::keyring::Keyring;
use crate::verify::{REPORT_EVERY, Subjects};
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::bundle::{Builder, Item, Scope};
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::verify::note::{Checkpoint, Note};
use mirrordna_core::{Code, Error, Kind, Leaf, Result};
use mirrordna_storage::{LogRow, Outlined, ReadTx, Store};
use std::collections::BTreeMap;
use std::io::Write;

/// What of private bodies is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// Their rows, encrypted.
    Sealed,
    /// Their rows, and the secrets that open them.
    Disclosed,
    /// Their lengths.
    Withheld,
}

/// Writes a bundle of all logs in a store.
pub(super) fn write(
    store: &dyn Store,
    keyring: Option<&Keyring>,
    (bodies, under): (Bodies, &Under),
    out: &mut dyn Write,
    progress: Progress<'_>,
) -> Result<Bundled> {
    let mut sink = Sink { out, bundled: Bundled::default() };
    let (mut builder, begin) = Builder::new();
    sink.put(&begin)?;
    store.read(&mut |tx| {
        let logs = in_order(tx.logs()?);
        // What is wrong with a subject's key is for `verify` to tell.
        let subjects = match bodies {
            Bodies::Disclosed => Subjects::load(tx, keyring, &logs, &mut Vec::new())?,
            _ => Subjects::default(),
        };
        under.fits(logs.iter().map(|row| &row.id))?;
        let chosen = logs.into_iter().map(|row| under.choose(tx, &row, keyring).map(|chosen| (row, chosen))).collect::<Result<Vec<_>>>()?;
        erased_later(tx, &chosen)?;
        let total = chosen.iter().map(|(_, chosen)| chosen.size).fold(0, u64::saturating_add);
        for (row, chosen) in &chosen {
            let size = chosen.size;
            sink.bundled.later += row.size - size;
            sink.put(&builder.section(&row.id, Scope::Whole, &chosen.note, "")?)?;
            for (_, note) in anchored(tx, row, size)? {
                sink.put(&builder.checkpoint(&note, None)?)?;
            }
            sink.bundled.logs += 1;
            tx.scan(row.number, 0..size, &mut |event| {
                if sink.bundled.events.is_multiple_of(REPORT_EVERY) {
                    progress(sink.bundled.events, total);
                }
                let secret = event.secret.and_then(|(subject, wrapped)| subjects.secret(row.number, subject, wrapped));
                let body = match (event.body, &secret, bodies) {
                    (None, ..) => Stored::Nothing,
                    (Some(row), _, Bodies::Withheld) if event.secret.is_some() => Stored::Unread(row.len() as u64),
                    (Some(row), Some(secret), _) => {
                        sink.bundled.disclosed += 1;
                        Stored::Opened(row, secret.expose())
                    }
                    (Some(row), None, _) => Stored::Bytes(row),
                };
                sink.bundled.events += 1;
                sink.put(&builder.event(Item { index: event.index, asked: true, leaf: event.leaf, body, path: None })?)
            })?;
        }
        Ok(())
    })?;
    sink.put(&builder.finish())?;
    Ok(sink.bundled)
}

/// Logs in the order of a bundle: each before the one that goes on from it, or
/// adopted it.
fn in_order(logs: Vec<LogRow>) -> Vec<LogRow> {
    let heirs: BTreeMap<u32, Option<u32>> = logs.iter().map(|row| (row.number, row.successor)).collect();
    // How many logs come after one; rows that lead in a circle are altered.
    let after = |row: &LogRow| std::iter::successors(row.successor, |n| heirs.get(n).copied().flatten()).take(heirs.len()).count();
    let mut logs: Vec<(usize, LogRow)> = logs.into_iter().map(|row| (after(&row), row)).collect();
    logs.sort_by_key(|(after, row)| (std::cmp::Reverse(*after), row.number));
    logs.into_iter().map(|(_, row)| row).collect()
}

/// The size that a log's newest checkpoint names.
pub(crate) fn signed_size(row: &LogRow) -> Result<u64> {
    let bad = |e| Error::new(Code::Altered, format!("log {}: its checkpoint is malformed", row.number)).caused_by(e);
    let note = Note::parse(row.checkpoint.as_bytes()).map_err(bad)?;
    Ok(Checkpoint::parse(note.text).map_err(bad)?.size.min(row.size))
}

/// The checkpoints that anchors of a log speak of, below a size, by their own.
/// Lines that several anchors bring for one are put together.
pub(crate) fn anchored(tx: &dyn ReadTx, row: &LogRow, size: u64) -> Result<BTreeMap<u64, String>> {
    let mut notes = BTreeMap::new();
    tx.outline(row.number, 0..size, &mut |event| {
        let Outlined::Clear(body) = event.body else { return Ok(()) };
        if !Leaf::decode(event.leaf).is_ok_and(|leaf| leaf.header.kind == Kind::ANCHOR) {
            return Ok(());
        }
        if let Some((checkpointed, note)) = noted(body).filter(|(checkpointed, _)| *checkpointed < size) {
            join(&mut notes, checkpointed, note);
        }
        Ok(())
    })?;
    Ok(notes)
}

/// Adds a checkpoint to others, by their sizes; to one with the same text its
/// lines, as far as a note may have more.
pub(crate) fn join(notes: &mut BTreeMap<u64, String>, size: u64, note: String) {
    let joined = notes.get(&size).and_then(|known| {
        let (known, new) = (Note::parse(known.as_bytes()).ok()?, Note::parse(note.as_bytes()).ok()?);
        let mut lines: Vec<_> = known.signatures.iter().collect();
        lines.extend(new.signatures.iter().filter(|line| !known.signatures.contains(line)));
        let text = rebuilt(known.text, &lines);
        (known.text == new.text && Note::parse(text.as_bytes()).is_ok()).then_some(text)
    });
    notes.insert(size, joined.unwrap_or(note));
}

/// Size and text of the checkpoint in an anchor's body, unless that is a bridge,
/// which nobody outside has seen.
pub(crate) fn noted(body: &[u8]) -> Option<(u64, String)> {
    let PublicBody::Anchor { kind, note, .. } = PublicBody::decode(Kind::ANCHOR, body).ok()?? else { return None };
    if kind == PublicBody::BRIDGE {
        return None;
    }
    let text = std::str::from_utf8(note).ok()?;
    let checkpoint = Checkpoint::parse(Note::parse(note).ok()?.text).ok()?.size;
    Some((checkpoint, text.to_owned()))
}
