//! Under which checkpoint a bundle is made.

use super::whole::{anchored, signed_size};
use crate::checkpoint::of_log;
use crate::keyring::Keyring;
use mirrordna_core::verify::leaf;
use mirrordna_core::verify::note::{self, Checkpoint, Note};
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::{Code, Error, Hash, Kind, Leaf, Result};
use mirrordna_storage::{LogRow, Outlined, ReadTx};
use std::collections::{BTreeMap, HashSet};

/// Under which checkpoint of its log a bundle is made. A log that was left has
/// its last one always: the log that goes on from it names that tree.
#[derive(Debug, Clone, Default)]
pub enum Under {
    /// The newest, which no witness has seen yet.
    #[default]
    Newest,
    /// The largest that `anchor` events brought back with the quorum that the
    /// policy asks for; where it asks for none, with any witness's line. Lines of
    /// several anchors of one checkpoint are put together.
    Witnessed(Policy),
    /// These, as `mirrordna checkpoint` printed them, one for each log at most;
    /// each is taken as it is, lines of witnesses included, and signed by the log's
    /// ML-DSA-44 key, too, where there is one. Other logs have their newest.
    Checkpoints(Vec<String>),
}

/// The checkpoint of a section.
pub(super) struct Chosen {
    pub(super) note: String,
    /// Leaves that it covers.
    pub(super) size: u64,
}

impl Under {
    /// The checkpoint of a log.
    pub(super) fn choose(&self, tx: &dyn ReadTx, row: &LogRow, keyring: Option<&Keyring>) -> Result<Chosen> {
        let newest = signed_size(row)?;
        let last = || Ok(Chosen { note: crate::pq::released(keyring, &row.id, row.checkpoint.clone())?, size: newest });
        // A history that ends there lacks what the bridge leads to.
        let keys = crate::log::genesis(tx, row)?.keys;
        let bridges = |size: u64| keys.all().iter().skip(1).any(|(since, _)| *since == size + 1);
        let note = match self {
            Self::Witnessed(policy) if row.successor.is_none() => {
                let witnessed =
                    |note: &String| Note::parse(note.as_bytes()).is_ok_and(|n| n.signatures.len() > 1 && policy.cosigned(&n).quorum);
                let usable = |(size, note): &(u64, String)| witnessed(note) && !bridges(*size);
                anchored(tx, row, newest)?.into_iter().rev().find(usable).map(|(_, note)| note).ok_or_else(|| {
                    let why = format!("log {} records no checkpoint with the cosignatures that are asked for", row.number);
                    Error::new(Code::NotFound, why)
                        .with_hint("Have it cosigned first: mirrordna checkpoint --witness URL --policy FILE --anchor")
                })?
            }
            Self::Checkpoints(notes) => match Self::of(notes, row)? {
                Some(note) => note.clone(),
                None => return last(),
            },
            _ => return last(),
        };
        let origin = note::origin(&row.id);
        let (size, _) = of_log(tx, row, &|size, note| keys.sign(&origin, size, note), &note)?;
        if bridges(size) {
            let message = format!("the checkpoint of {size} events is the bridge to another key of log {}", row.number);
            return Err(Error::new(Code::InputInvalid, message).with_hint("Take one from before it, or from after it."));
        }
        if row.successor.is_some() && size != newest {
            let message = format!("log {} was left with {} events, this checkpoint covers {size}", row.number, newest);
            return Err(Error::new(Code::InputInvalid, message));
        }
        Ok(Chosen { note: crate::pq::released(keyring, &row.id, note)?, size })
    }

    /// The one of several notes that names a log.
    fn of<'a>(notes: &'a [String], row: &LogRow) -> Result<Option<&'a String>> {
        let origin = note::origin(&row.id);
        let mut named = notes.iter().filter(|text| origin_of(text) == Some(&origin));
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err(Error::new(Code::InputInvalid, format!("two checkpoints of log {} are given", row.number))),
            (one, _) => Ok(one),
        }
    }

    /// Refuses checkpoints that are of none of the logs.
    ///
    /// # Errors
    /// `anchor.invalid`
    pub(super) fn fits<'a>(&self, logs: impl Iterator<Item = &'a [u8; 16]>) -> Result<()> {
        let Self::Checkpoints(notes) = self else { return Ok(()) };
        let origins: Vec<String> = logs.map(note::origin).collect();
        for text in notes {
            let note = Note::parse(text.as_bytes()).map_err(|e| invalid("is no note").caused_by(e))?;
            let checkpoint = Checkpoint::parse(note.text).map_err(|e| invalid("is malformed").caused_by(e))?;
            if !origins.iter().any(|origin| *origin == checkpoint.origin) {
                return Err(invalid("is of another log"));
            }
        }
        Ok(())
    }
}

fn invalid(why: &str) -> Error {
    Error::new(Code::AnchorInvalid, format!("the checkpoint {why}"))
}

/// The first line of a checkpoint.
fn origin_of(text: &str) -> Option<&str> {
    text.split('\n').next()
}

/// What was erased by events after the checkpoints would be missing without a
/// reason under them.
///
/// # Errors
/// `input.invalid` where that is so.
pub(super) fn erased_later(tx: &dyn ReadTx, logs: &[(LogRow, Chosen)]) -> Result<()> {
    let mut later: HashSet<Hash> = HashSet::new();
    for (row, chosen) in logs {
        tx.outline(row.number, chosen.size..row.size, &mut |event| {
            later.extend(erases(event.leaf).into_iter().flatten());
            Ok(())
        })?;
    }
    if later.is_empty() {
        return Ok(());
    }
    let mut gone: BTreeMap<Hash, (u64, u64)> = BTreeMap::new();
    for (row, chosen) in logs {
        tx.outline(row.number, 0..chosen.size, &mut |event| {
            let hash = leaf::hash(event.leaf);
            if matches!(event.body, Outlined::Absent) && later.contains(&hash) {
                gone.insert(hash, (event.index, chosen.size));
            }
            for erased in erases(event.leaf).into_iter().flatten() {
                gone.remove(&erased);
            }
            Ok(())
        })?;
    }
    gone.values().next().map_or(Ok(()), |(index, size)| Err(erased(*index, *size)))
}

/// An event that an erasure after the checkpoint took.
pub(super) fn erased(index: u64, size: u64) -> Error {
    Error::new(
        Code::InputInvalid,
        format!("the content of event {index} was erased after the checkpoint of {size} events: under it, it would be missing"),
    )
    .with_hint("Take a newer checkpoint: have the log cosigned again, or leave the choice out.")
}

/// The leaf hashes that an erase event names; `None` for another event.
fn erases(data: &[u8]) -> Option<Vec<Hash>> {
    Leaf::decode(data).ok().filter(|leaf| leaf.header.kind == Kind::ERASE).map(|leaf| leaf.header.refs)
}
