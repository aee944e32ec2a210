//! Views of logs that were adopted from other databases.

use super::index::{Key, last_number, space};
use super::{Actor, Short, View, short};
use crate::log::{Foreign, Log, WINDOW, foreign};
use mirrordna_core::verify::body::Adopted;
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::ReadTx;

/// An adopted log as the event at a position names it.
type Named = (u64, Adopted);

impl View {
    /// The timelines that were adopted, each with its view.
    pub(super) fn adopted<'a>(&'a self, log: &'a Log) -> impl Iterator<Item = (&'a Self, &'a Foreign)> {
        self.foreign.iter().zip(log.foreign())
    }

    /// Those whose contents can be read.
    pub(super) fn readable<'a>(&'a self, log: &'a Log) -> impl Iterator<Item = (&'a Self, &'a Foreign)> {
        self.adopted(log).filter(|(_, foreign)| foreign.log.tags.is_some())
    }

    /// The one that has a position, and its newest log.
    pub(super) fn foreign_at<'a>(&'a self, log: &'a Log, position: u64) -> Option<(&'a Self, &'a Log)> {
        let nth = usize::try_from((position / WINDOW).checked_sub(1)?).ok()?;
        Some((self.foreign.get(nth)?, &log.foreign_at(position)?.log))
    }

    /// The position after the last event of the timeline that has a position.
    pub(crate) fn end_at(&self, log: &Log, position: u64) -> u64 {
        self.foreign_at(log, position).map_or_else(|| self.size(), |(view, _)| view.size())
    }

    /// Makes and brings on the views of what was adopted, so many leaves at once;
    /// returns whether that was all.
    pub(super) fn catch_up_foreign(&mut self, tx: &dyn ReadTx, log: &Log, leaves: u64) -> Result<bool> {
        // Of logs before another one, and of adopted ones, the log at the top
        // reads what they had adopted.
        if log.successor.is_some() || self.settled {
            return Ok(true);
        }
        let mut nth = 0;
        for named in self.names(tx, log)? {
            if !self.catch_up_named(tx, log, &named, &mut nth, leaves)? {
                return Ok(false);
            }
        }
        self.settled = true;
        Ok(true)
    }

    /// Brings on the view of an adopted log, then those of what its own timeline
    /// had adopted. Their order follows from the events alone.
    fn catch_up_named(&mut self, tx: &dyn ReadTx, log: &Log, named: &Named, nth: &mut usize, leaves: u64) -> Result<bool> {
        let (named_at, adopted) = named;
        if log.foreign().any(|known| known.log.id == adopted.log && known.named_at != *named_at) {
            // It came by two ways, of which the first one counts.
            return Ok(true);
        }
        let at = *nth;
        if log.foreign().nth(at).is_none() {
            let by = log.at(*named_at).0;
            let origin = (at as u64 + 1).saturating_mul(WINDOW);
            log.add_foreign(foreign(tx, log, by.number, adopted, origin)?, *named_at)?;
        }
        let Some(known) = log.foreign().nth(at).filter(|known| known.log.id == adopted.log) else {
            return Err(Error::new(Code::Altered, format!("log {}: names other logs than it did", log.number)));
        };
        if self.foreign.len() <= at {
            self.foreign.push(Self::default());
        }
        let Some(view) = self.foreign.get_mut(at) else { return Ok(true) };
        if !view.catch_up_own(tx, &known.log, leaves)? {
            return Ok(false);
        }
        view.keyless = known.log.tags.is_none();
        let nested = view.names(tx, &known.log)?;
        *nth += 1;
        for named in nested {
            if !self.catch_up_named(tx, log, &named, nth, leaves)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The logs that were adopted into a log and those before it, as their events
    /// name them.
    fn names(&self, tx: &dyn ReadTx, log: &Log) -> Result<Vec<Named>> {
        let mut found = Vec::new();
        self.scan(tx, log, Key::new(space::FOREIGN), 0, &mut |key, value| {
            let altered = || Error::new(Code::Altered, format!("log {}: what it adopted is malformed", log.number));
            let (id, rest) = value.split_first_chunk().ok_or_else(altered)?;
            let (size, root) = rest.split_first_chunk().ok_or_else(altered)?;
            let root = Hash::try_from(root).map_err(|_| altered())?;
            let adopted = Adopted { log: *id, size: u64::from_be_bytes(*size), root, cause: Adopted::IMPORTED };
            found.push((last_number(key), adopted));
            Ok(true)
        })?;
        Ok(found)
    }

    /// Whether an event of an adopted log was erased here.
    pub(super) fn is_gone(&self, tx: &dyn ReadTx, log: &Log, position: u64) -> Result<bool> {
        let said = self.get(tx, log, Key::new(space::GONE).number(position))?;
        match said {
            // The position only helps; what is erased is what has the leaf hash.
            Some(leaf) => Ok(self.leaf_hash(tx, log, position)?.is_some_and(|own| own[..] == leaf[..])),
            None => Ok(false),
        }
    }

    /// Whether a record may be changed.
    ///
    /// # Errors
    /// `log.closed` for one of an adopted log; what has no record is for others to
    /// say.
    pub(crate) fn changeable(&self, tx: &dyn ReadTx, log: &Log, id: &str) -> Result<()> {
        match self.numbered(tx, log, id) {
            Ok(Some((record, _))) if record >= WINDOW => {
                let of_it = crate::keyring::hex(&log.at(record).0.id);
                let e = Error::new(Code::LogClosed, format!("{id} is of log {of_it}, which was adopted and is closed: it stays as it is"));
                Err(e.with_hint("Add a new record instead; erasing this one is possible."))
            }
            _ => Ok(()),
        }
    }

    /// How many records of a schema their own index counts that were erased here.
    pub(super) fn gone_records(&self, tx: &dyn ReadTx, log: &Log, schema: u16) -> Result<u64> {
        let (mut erased, mut count) = (Vec::new(), 0);
        self.scan(tx, log, Key::new(space::GONE), 0, &mut |key, _| {
            erased.push(last_number(key));
            Ok(true)
        })?;
        for position in erased {
            let Some((view, of_it)) = self.foreign_at(log, position) else { continue };
            let entry = view.entry(tx, of_it, position)?.filter(|entry| entry.schema == schema && !entry.erased);
            count += u64::from(entry.is_some() && self.is_gone(tx, log, position)?);
        }
        Ok(count)
    }

    /// Actors in the order of their appearance, those of this timeline first,
    /// after one or from the first on, until `each` returns false.
    pub(crate) fn actors(
        &self,
        tx: &dyn ReadTx,
        log: &Log,
        after: Option<&Hash>,
        each: &mut dyn FnMut(Actor) -> Result<bool>,
    ) -> Result<()> {
        let mut after: Option<Short> = after.map(|digest| short(digest));
        let mut more = true;
        let tops: Vec<(&Self, &Log)> = std::iter::once((self, log)).chain(self.adopted(log).map(|(view, f)| (view, &f.log))).collect();
        for (nth, (view, of_it)) in tops.iter().enumerate() {
            let known =
                |key: &Short, view: &Self, log: &Log| view.get(tx, log, Key::new(space::ACTOR).bytes(key)).map(|found| found.is_some());
            // Whoever came over is listed where they are first found.
            match &after {
                Some(key) if !known(key, view, of_it)? => continue,
                _ => {}
            }
            let passed = after.take();
            view.own_actors(tx, of_it, passed, &mut |actor| {
                let key = short(&actor.digest);
                for (view, log) in tops.iter().take(nth) {
                    if known(&key, view, log)? {
                        return Ok(true);
                    }
                }
                more = each(actor)?;
                Ok(more)
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }
}
