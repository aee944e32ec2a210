//! One event: its leaf checked against the hash that the fold saw, its body
//! against the commitment in its header.

use super::{TILES, View};
use crate::checks::{VERIFIES, holds};
use crate::log::{Log, lock};
use mirrordna_core::body::Body;
use mirrordna_core::cipher::{self, Binding, Secret};
use mirrordna_core::timeline::TILE;
use mirrordna_core::verify::{hash, leaf};
use mirrordna_core::{Code, Error, Hash, Header, Kind, Leaf, Result};
use mirrordna_storage::{ReadTx, Row};

#[cfg(test)]
thread_local! {
    /// Rows that this thread read one by one, for tests of how many it takes.
    pub(crate) static READ: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A verified event with its content, as far as it can be read here.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Its position: the events of the logs before its own are counted too.
    pub(crate) index: u64,
    pub(crate) hash: Hash,
    pub(crate) header: Header,
    pub(crate) signed: bool,
    pub(crate) content: Content,
}

/// What is there of an event's body.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// The event has no body.
    None,
    /// A public template, as stored.
    Public(Vec<u8>),
    /// A decrypted body.
    Private(Body),
    /// Present, but its key is not here.
    Locked,
    /// Destroyed.
    Erased,
}

impl View {
    /// Leaf hash of the event at a position, as the fold saw it; `None` beyond
    /// the end.
    pub(crate) fn leaf_hash(&self, tx: &dyn ReadTx, log: &Log, index: u64) -> Result<Option<Hash>> {
        if let Some((view, log)) = self.foreign_at(log, index).or_else(|| self.before(log, index)) {
            return view.leaf_hash(tx, log, index);
        }
        if index >= self.size() {
            return Ok(None);
        }
        let index = index - self.base;
        if let Some(at) = index.checked_sub(self.index.covered()) {
            return Ok(self.tail.get(at as usize).copied());
        }
        let (number, at) = (index / TILE, (index % TILE) as usize);
        let of = |tile: &[Hash]| tile.get(at).copied();
        let mut tiles = self.tiles.borrow_mut();
        if let Some((_, tile)) = tiles.get(&(number % TILES)).filter(|(n, _)| *n == number) {
            return Ok(of(tile));
        }
        let altered = || Error::new(Code::Altered, format!("log {}: tile {number} is not the hashes of its leaves", log.number));
        let tile = tx.tile(log.number, 0, number)?.ok_or_else(altered)?;
        if self.tile_digest(tx, log, number)? != Some(hash::sha256(&[&tile])) {
            return Err(altered());
        }
        let (hashes, _) = tile.as_chunks::<32>();
        let found = of(hashes);
        tiles.insert(number % TILES, (number, hashes.into()));
        Ok(found)
    }

    /// Reads and checks one event; a payload in parts is put together.
    pub(crate) fn event(&self, tx: &dyn ReadTx, log: &Log, index: u64) -> Result<Option<Event>> {
        if let Some((view, log)) = self.foreign_at(log, index) {
            return view.event(tx, log, index);
        }
        let Some(mut event) = self.bare_event(tx, log, index)? else { return Ok(None) };
        if let Content::Private(body) = &mut event.content {
            self.join(tx, log, body)?;
        }
        Ok(Some(event))
    }

    /// Puts a payload together that is in parts.
    pub(super) fn join(&self, tx: &dyn ReadTx, log: &Log, body: &mut Body) -> Result<()> {
        let Some(parts) = body.parts()? else { return Ok(()) };
        let altered = |at: u64, why: &str| Error::new(Code::Altered, format!("log {} leaf {at}: {why}", log.number));
        let mut payload = Some(Vec::new());
        for part in parts {
            let position = log.position_of(part.index).unwrap_or(u64::MAX);
            let found = self.bare_event(tx, log, position)?.filter(|e| holds(|| e.hash == part.leaf) && e.header.kind == Kind::PART);
            let found = found.ok_or_else(|| altered(part.index, "is not the part that a body names"))?;
            match found.content {
                Content::Private(Body { payload: Some(piece), .. }) => payload.iter_mut().for_each(|p| p.extend_from_slice(&piece.bytes)),
                _ => payload = None,
            }
        }
        body.restore_payload(payload)
    }

    /// The same, with the names of its parts instead of a payload that is in
    /// parts.
    pub(crate) fn bare_event(&self, tx: &dyn ReadTx, log: &Log, index: u64) -> Result<Option<Event>> {
        if let Some((view, log)) = self.foreign_at(log, index).or_else(|| self.before(log, index)) {
            return view.bare_event(tx, log, index);
        }
        if index >= self.size() {
            return Ok(None);
        }
        let own = index - self.base;
        let altered = || Error::new(Code::Altered, format!("log {} leaf {own} is not the one that was signed", log.number));
        #[cfg(test)]
        READ.set(READ.get() + 1);
        let row = tx.event(log.number, own)?.ok_or_else(altered)?;
        let secret = row.secret.as_ref().map(|(subject, wrapped)| (*subject, wrapped.as_slice()));
        // In a build without checks an event has no hash: to name it would be to
        // check it.
        let hash = if VERIFIES { leaf::hash(&row.leaf) } else { hash::NONE };
        if VERIFIES && self.leaf_hash(tx, log, index)? != Some(hash) {
            return Err(altered());
        }
        let event = decode(tx, log, Row { index: own, leaf: &row.leaf, body: row.body.as_deref(), secret }, hash)?;
        Ok(Some(Event { index, ..event }))
    }
}

/// Decodes a row whose leaf hash is `hash`, checking the body against its
/// commitment.
pub(super) fn decode(tx: &dyn ReadTx, log: &Log, row: Row<'_>, hash: Hash) -> Result<Event> {
    let bad = |why: &str| Error::new(Code::Altered, format!("log {} leaf {}: {why}", log.number, row.index));
    let leaf = Leaf::decode(row.leaf).map_err(|e| bad("is malformed").caused_by(e))?;
    let header = leaf.header;
    if header.log != log.id {
        return Err(bad("belongs to another log"));
    }
    let content = match row.body {
        None if header.body == hash::NONE => Content::None,
        None if header.kind.is_public() => return Err(bad("lacks its public body")),
        None => Content::Erased,
        Some(bytes) if header.kind.is_public() => {
            if !holds(|| hash::public_body(bytes) == header.body) {
                return Err(bad("has another body than it commits to"));
            }
            Content::Public(bytes.to_vec())
        }
        Some(bytes) => {
            if !holds(|| hash::private_body(bytes) == header.body) {
                return Err(bad("has another body than it commits to"));
            }
            decrypt(tx, log, &header, row, bytes)?
        }
    };
    Ok(Event { index: row.index, hash, header, signed: leaf.signature.is_some(), content })
}

fn decrypt(tx: &dyn ReadTx, log: &Log, header: &Header, row: Row<'_>, bytes: &[u8]) -> Result<Content> {
    let bad = |why: &str| Error::new(Code::Altered, format!("log {} leaf {}: {why}", log.number, row.index));
    let (subject, wrapped) = row.secret.ok_or_else(|| bad("has a body, but not its secret"))?;
    let Some(secret) = secret_of(tx, log, row.index, subject, wrapped)? else { return Ok(Content::Locked) };
    let binding = Binding { log: &log.id, actor: &header.actor, kind: header.kind };
    let plain = cipher::open(&secret, binding, bytes)?;
    Ok(Content::Private(Body::decode_padded(&plain)?))
}

/// The secret of a body, where its keys are here.
pub(crate) fn secret_of(tx: &dyn ReadTx, log: &Log, index: u64, subject: u64, wrapped: &[u8]) -> Result<Option<Secret>> {
    let bad = |why: &str| Error::new(Code::Altered, format!("log {} leaf {index}: {why}", log.number));
    let Some(keyring) = &log.store else { return Ok(None) };
    let mut keys = lock(&log.subjects);
    let key = match keys.get(subject) {
        Some(key) => key,
        None => {
            let row = tx.subject_numbered(subject)?.filter(|s| s.log == log.number);
            let named = row.and_then(|s| Some((Hash::try_from(s.tag.as_slice()).ok()?, s.key)));
            let key = named.map(|(tag, key)| keyring.unwrap_subject(&log.id, &tag, &key)).transpose()?.flatten();
            keys.keep(subject, key.ok_or_else(|| bad("names a subject whose key is not stored"))?)
        }
    };
    key.unwrap(wrapped).map(Some).ok_or_else(|| bad("has a secret that does not unwrap"))
}
