//! The walk through one log: the ledger judges its leaves, and every other row
//! is held against what they lead to.

use super::cosigned::Others;
use super::{DisputedEvents, Outside, REPORT_EVERY, Scope, Totals, Walked, problem};
use crate::keyring::{Keyring, Role, hex, owner};
use crate::log::genesis;
use crate::log_keys;
use crate::witness::{Freshness, Remembered};
use mirrordna_core::cipher::{self, Secret, Wrapped};
use mirrordna_core::timeline::TILE;
use mirrordna_core::verify::ledger::Stored;
use mirrordna_core::verify::note::{self, Checkpoint, Note};
use mirrordna_core::verify::{Ledger, Problem, Trust, Verdict, leaf, merkle};
use mirrordna_core::{Hash, Kind, Leaf, Result};
use mirrordna_storage::{LogRow, Outlined, ReadTx};
use std::collections::{HashMap, HashSet};

/// Events with which a log goes on from another one.
const FORK: u64 = 3;
/// Secrets that are unwrapped together, those of one subject side by side.
const SECRETS: usize = 512;

/// The keys of subjects, as far as the keyring unwraps them.
#[derive(Default)]
pub(crate) struct Subjects {
    keys: HashMap<(u32, u64), Secret>,
    readable: bool,
    /// Adopted logs whose keys are not in the keyring.
    locked: HashSet<u32>,
}

impl Subjects {
    pub(crate) fn load(tx: &dyn ReadTx, keyring: Option<&Keyring>, logs: &[LogRow], problems: &mut Vec<Problem>) -> Result<Self> {
        let mut keys = HashMap::new();
        let Some(keyring) = keyring.filter(|k| k.store_key(0).is_ok_and(|key| key.is_some())) else {
            return Ok(Self { keys, readable: false, locked: HashSet::new() });
        };
        let mut locked = HashSet::new();
        for row in logs.iter().filter(|row| row.successor.is_some()) {
            // Of another database, and its keys did not come with it.
            let foreign = genesis(tx, row).is_ok_and(|genesis| genesis.database != *keyring.database());
            if foreign && keyring.secret(Role::Tags, &owner(&row.id))?.is_none() {
                locked.insert(row.number);
            }
        }
        let ids: HashMap<u32, [u8; 16]> = logs.iter().map(|l| (l.number, l.id)).collect();
        tx.subjects(&mut |row| {
            let tag = Hash::try_from(row.tag.as_slice()).ok();
            if locked.contains(&row.log) {
                return Ok(());
            }
            let key = ids.get(&row.log).zip(tag).map(|(id, tag)| keyring.unwrap_subject(id, &tag, &row.key)).transpose();
            let why = match key.map(Option::flatten) {
                Ok(Some(key)) => {
                    keys.insert((row.log, row.number), key);
                    return Ok(());
                }
                Ok(None) => "its key does not unwrap for its tag".to_owned(),
                // Whether the keyring is too old or the row was altered, what it
                // guards cannot be checked, and nobody is told that it was.
                Err(e) => e.message().to_owned(),
            };
            problems.push(problem("subject.altered", &format!("table subject row {}", row.number), &why));
            Ok(())
        })?;
        Ok(Self { keys, readable: true, locked })
    }

    /// The secret of a body, where the keyring opens it.
    pub(crate) fn secret(&self, log: u32, subject: u64, wrapped: &[u8]) -> Option<Secret> {
        self.keys.get(&(log, subject))?.unwrap(wrapped)
    }
}

/// A secret that was not opened yet, and what its body says of it.
struct Closed {
    index: u64,
    subject: u64,
    wrapped: Wrapped,
    commitment: Hash,
}

/// The walk through one log.
pub(super) struct LogWalk<'a> {
    row: &'a LogRow,
    subjects: &'a Subjects,
    outside: Outside<'a>,
    /// Checkpoints that others have seen.
    others: Option<Others>,
    ledger: Ledger,
    /// Per level, the hashes of the tile that is filling up.
    tiles: Vec<Vec<Hash>>,
    locked: u64,
    closed: Vec<Closed>,
    /// What this machine has seen of the log, and where the database is now.
    seen: Option<(Remembered, [u8; 16])>,
    freshness: Freshness,
    /// Its leaves are those that it had when it was left.
    as_left: bool,
    /// The size that the row's checkpoint claims, if it can be read, and the
    /// tree at that size.
    signed: Option<u64>,
    signed_frontier: Option<Vec<u8>>,
}

impl<'a> LogWalk<'a> {
    pub(super) fn new(
        row: &'a LogRow,
        keyring: Option<&Keyring>,
        subjects: &'a Subjects,
        outside: Outside<'a>,
        seen: Option<(Remembered, [u8; 16])>,
    ) -> Self {
        let slot = log_keys::owner(&row.id, log_keys::hint(&row.checkpoint));
        let own = keyring.and_then(|k| k.signing(Role::Log, &slot).ok()?).map(|k| k.public().fingerprint());
        let pinned = seen.as_ref().and_then(|(seen, _)| seen.head()).map(|head| head.key.fingerprint());
        let trust = own.into_iter().chain(pinned).fold(Trust::none(), Trust::and);
        let freshness = if seen.is_some() { Freshness::Forked } else { Freshness::Unproven };
        Self {
            row,
            subjects,
            outside,
            others: None,
            ledger: Ledger::new(trust),
            tiles: Vec::new(),
            locked: 0,
            closed: Vec::new(),
            seen,
            freshness,
            as_left: false,
            signed: signed_size(row),
            signed_frontier: None,
        }
    }

    fn place(&self, what: &str) -> String {
        format!("log {} {what}", self.row.number)
    }

    pub(super) fn run(mut self, tx: &dyn ReadTx, scope: Scope, totals: &mut Totals, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let (number, before) = (self.row.number, totals.events);
        self.others = Some(Others::of(tx, self.row, &self.outside)?);
        let mut report = |walk: &Self| {
            if walk.ledger.size().is_multiple_of(REPORT_EVERY) {
                progress(before + walk.ledger.size());
            }
        };
        let walked = match scope {
            Scope::Everything => tx.scan(number, 0..u64::MAX, &mut |found| {
                let stored = found.body.map_or(Stored::Nothing, Stored::Bytes);
                let kind = self.leaf(tx, found.index, found.leaf, stored)?;
                self.secret(found.index, kind, found.body, found.secret);
                report(&self);
                Ok(())
            }),
            Scope::Headers => tx.outline(number, 0..u64::MAX, &mut |found| {
                let stored = match found.body {
                    Outlined::Absent => Stored::Nothing,
                    Outlined::Clear(bytes) => Stored::Bytes(bytes),
                    Outlined::Sealed(length) => Stored::Unread(length),
                };
                let kind = self.leaf(tx, found.index, found.leaf, stored)?;
                self.secret_beside(found.index, kind, stored != Stored::Nothing, found.secret);
                report(&self);
                Ok(())
            }),
        };
        self.open_secrets();
        walked.or_else(|e| self.unreadable(&e))?;
        if self.signed_frontier.as_ref().is_some_and(|f| *f != self.row.signed_frontier) {
            let place = self.place("row");
            self.ledger.problem("log.row", place, "the tree beside the checkpoint is not the one it signs".to_owned());
        }
        self.row_matches();
        self.heads(tx)?;
        // Whoever goes on from a log may erase what stands in it.
        if self.row.successor.is_some() && self.ledger.lacks_bodies() {
            self.erased_later(tx)?;
        }
        // What was left is held against what its successor says, not against
        // what had been seen before.
        if self.row.successor.is_none() {
            self.compare_with_seen();
        }
        let forked = self.row.successor.is_some() || self.ledger.named_logs().next().is_some();
        let owner = forked.then(|| genesis(tx, self.row).ok()).flatten().map(|g| (g.database, g.tenant));
        self.finish(owner, totals);
        Ok(())
    }

    /// Takes the erasures of the logs that go on from this one.
    fn erased_later(&mut self, tx: &dyn ReadTx) -> Result<()> {
        let (mut next, mut passed) = (self.row.successor, HashSet::from([self.row.number]));
        while let Some(number) = next.filter(|number| passed.insert(*number)) {
            tx.outline(number, 0..u64::MAX, &mut |event| {
                if let Ok(leaf) = Leaf::decode(event.leaf)
                    && leaf.header.kind == Kind::ERASE
                {
                    self.ledger.erased_later(&leaf.header.refs);
                }
                Ok(())
            })?;
            next = tx.log(number)?.and_then(|row| row.successor);
        }
        Ok(())
    }

    fn unreadable(&mut self, e: &mirrordna_core::Error) -> Result<()> {
        let place = self.place(&format!("leaf {}", self.ledger.size()));
        self.ledger.problem("leaf.unreadable", place, e.to_string());
        Ok(())
    }

    /// Takes the next leaf; returns its kind, unless it is malformed.
    fn leaf(&mut self, tx: &dyn ReadTx, index: u64, data: &[u8], stored: Stored<'_>) -> Result<Option<Kind>> {
        if index != self.ledger.size() {
            let gap = format!("leaves {} to {} are not there", self.ledger.size(), index.saturating_sub(1));
            let place = self.place("leaves");
            self.ledger.problem("leaf.missing", place, gap);
            return Err(mirrordna_core::Error::new(mirrordna_core::Code::Altered, "a leaf is missing"));
        }
        // The tree has the tile's root in its hands just now.
        let fills = (index + 1).is_multiple_of(TILE);
        let root = fills.then(|| self.ledger.frontier().completed_by(&leaf::hash(data), TILE.ilog2())).flatten();
        let (hash, kind) = self.ledger.leaf(data, stored);
        if index == 0 {
            self.ledger.checkpoint(self.row.checkpoint.as_bytes());
            if let Some(others) = &mut self.others {
                others.offer(self.row, &mut self.ledger);
            }
        }
        if let Some((Remembered::Ended(left), _)) = &self.seen {
            self.as_left = left.size == self.ledger.size() && left.root == self.ledger.frontier().root();
        }
        let head = self.seen.as_ref().and_then(|(seen, _)| seen.head()).filter(|head| head.size == self.ledger.size());
        if head.is_some_and(|head| head.root == self.ledger.frontier().root()) {
            self.freshness = Freshness::Current;
        }
        if Some(self.ledger.size()) == self.signed {
            self.signed_frontier = Some(self.ledger.frontier().to_bytes());
        }
        self.tile(tx, hash, root)?;
        Ok(kind)
    }

    /// Checks that a secret is there where a private body is, and nowhere else;
    /// returns whether both are.
    fn secret_beside(&mut self, index: u64, kind: Option<Kind>, body: bool, secret: bool) -> bool {
        let private = kind.is_some_and(|k| !k.is_public());
        let (code, message) = match (private, body, secret) {
            (true, true, true) => return true,
            (true, true, false) => ("secret.missing", "its body is there, but not the secret that opens it"),
            (false, _, true) | (true, false, true) => ("secret.stray", "has a secret, but no private body"),
            (false, _, false) | (true, false, false) => return false,
        };
        self.secret_problem(index, code, message);
        false
    }

    /// Checks that the secret beside a private body is the body's own.
    fn secret(&mut self, index: u64, kind: Option<Kind>, body: Option<&[u8]>, secret: Option<(u64, &[u8])>) {
        if !self.secret_beside(index, kind, body.is_some(), secret.is_some()) {
            return;
        }
        let (Some(body), Some((subject, wrapped))) = (body, secret) else { return };
        if !self.subjects.readable || self.subjects.locked.contains(&self.row.number) {
            self.locked += 1;
            return;
        }
        match (wrapped.try_into(), body.first_chunk()) {
            (Ok(wrapped), Some(commitment)) => self.closed.push(Closed { index, subject, wrapped, commitment: *commitment }),
            _ => self.secret_altered(index),
        }
        if self.closed.len() >= SECRETS {
            self.open_secrets();
        }
    }

    /// Opens the secrets that wait for it.
    fn open_secrets(&mut self) {
        let mut closed = std::mem::take(&mut self.closed);
        closed.sort_by_key(|c| c.subject);
        let mut wrong = Vec::new();
        for of_one in closed.chunk_by(|a, b| a.subject == b.subject) {
            let key = of_one.first().and_then(|c| self.subjects.keys.get(&(self.row.number, c.subject)));
            let wrapped: Vec<Wrapped> = of_one.iter().map(|c| c.wrapped).collect();
            let opened = key.map_or_else(|| vec![None; wrapped.len()], |key| key.unwrap_all(&wrapped));
            let opens = |c: &Closed, r: &Option<Secret>| r.as_ref().is_some_and(|r| cipher::commits(r, &c.commitment));
            wrong.extend(of_one.iter().zip(&opened).filter(|(c, r)| !opens(c, r)).map(|(c, _)| c.index));
        }
        wrong.sort_unstable();
        wrong.into_iter().for_each(|index| self.secret_altered(index));
        closed.clear();
        self.closed = closed;
    }

    fn secret_altered(&mut self, index: u64) {
        self.secret_problem(index, "secret.altered", "its secret does not open its body");
    }

    fn secret_problem(&mut self, index: u64, code: &'static str, message: &str) {
        let place = self.place(&format!("leaf {index}"));
        self.ledger.problem(code, place, message.to_owned());
    }

    /// Compares the stored tiles of every level with the hashes as they fill
    /// up. `root` is that of the lowest one, where this leaf fills it.
    fn tile(&mut self, tx: &dyn ReadTx, hash: Hash, mut root: Option<Hash>) -> Result<()> {
        let (mut hash, mut count) = (hash, self.ledger.size());
        for level in 0..8u8 {
            let at = usize::from(level);
            if self.tiles.len() == at {
                self.tiles.push(Vec::new());
            }
            self.tiles[at].push(hash);
            if (self.tiles[at].len() as u64) < TILE {
                break;
            }
            let hashes = std::mem::take(&mut self.tiles[at]);
            count /= TILE;
            self.compare_tile(tx, level, count - 1, &hashes)?;
            hash = root.take().unwrap_or_else(|| merkle::root_of(&hashes));
        }
        Ok(())
    }

    fn compare_tile(&mut self, tx: &dyn ReadTx, level: u8, number: u64, hashes: &[Hash]) -> Result<()> {
        if tx.tile(self.row.number, level, number)?.is_none_or(|t| t != hashes.as_flattened()) {
            let place = self.place(&format!("tile {level}/{number}"));
            self.ledger.problem("tile.altered", place, "is not the hashes of its leaves".to_owned());
        }
        Ok(())
    }

    /// Shorter than this machine has seen it: at the place where it was seen,
    /// the newer one was replaced; elsewhere it is a copy that lags.
    fn compare_with_seen(&mut self) {
        let at = self.place("head");
        let (seen, place) = match &self.seen {
            None => return,
            Some((Remembered::Head(seen), place)) => (seen, place),
            Some((Remembered::Ended(left), place)) => {
                let (size, successor) = (self.ledger.size(), hex(&left.successor));
                // Elsewhere it is a copy that lags, as one of any log may.
                if left.place != *place && (size < left.size || self.as_left) {
                    self.freshness = Freshness::Behind((left.size - size).saturating_add(FORK));
                    return;
                }
                let message = format!("ends here, by what this machine has seen: log {successor} goes on from it, which is not there");
                self.ledger.problem("log.forked", at, message);
                return;
            }
        };
        let behind = seen.size.saturating_sub(self.ledger.size());
        let (own_place, message) =
            (seen.place == *place, format!("has {} events, this machine has seen {}", self.ledger.size(), seen.size));
        if behind > 0 {
            self.freshness = Freshness::Behind(behind);
            if own_place {
                self.ledger.problem("log.rolled_back", at, message);
            }
        } else if self.freshness == Freshness::Forked {
            self.ledger.problem("log.forked", at, "contradicts the head that this machine has seen".to_owned());
        }
    }

    fn row_matches(&mut self) {
        let (size, time) = (self.ledger.size(), self.ledger.time());
        let place = self.place("row");
        if self.row.size != size {
            self.ledger.problem("log.row", place.clone(), format!("says {} events, there are {size}", self.row.size));
        } else if self.row.frontier != self.ledger.frontier().to_bytes() {
            self.ledger.problem("log.row", place.clone(), "its tree is not that of the leaves".to_owned());
        }
        if self.ledger.log().is_some_and(|id| id != self.row.id) {
            self.ledger.problem("log.row", place.clone(), "its id is not that of its events".to_owned());
        }
        if self.row.time != time {
            self.ledger.problem("log.row", place, "its time is not that of the last event".to_owned());
        }
    }

    fn heads(&mut self, tx: &dyn ReadTx) -> Result<()> {
        let mut count = 0usize;
        let mut wrong = Vec::new();
        let number = self.row.number;
        tx.heads(number, &mut |actor, last| {
            count += 1;
            let head = Hash::try_from(actor).ok().and_then(|a| self.ledger.head(&a));
            let own = tx.leaf(number, last)?.map(|data| leaf::hash(&data));
            if head.is_none() || own != head.map(|h| h.0) {
                wrong.push(format!("the head of actor {} is not its last event", hex(actor)));
            }
            Ok(())
        })?;
        if count != self.ledger.actors().count() {
            wrong.push(format!("{count} actors have a head, {} have events", self.ledger.actors().count()));
        }
        for message in wrong {
            let place = self.place("heads");
            self.ledger.problem("head.altered", place, message);
        }
        Ok(())
    }

    fn finish(self, owner: Option<([u8; 16], Hash)>, totals: &mut Totals) {
        let number = self.row.number;
        let forked = self.row.successor.is_some() || self.ledger.named_logs().next().is_some();
        let actors = if forked { self.ledger.actors().copied().collect() } else { HashSet::new() };
        let ended = self.seen.and_then(|(seen, _)| match seen {
            Remembered::Ended(left) => Some(left.successor),
            Remembered::Head(_) => None,
        });
        let (mut ledger, mut freshness, policy) = (self.ledger, self.freshness, self.outside.policy);
        let witnessed = self.others.and_then(|others| others.judge(policy, &mut ledger, &mut freshness));
        // What a reader finds the key by: whoever signed it may have lied.
        let force = ledger.log_keys().all().iter().rev().find(|(since, _)| self.signed.is_some_and(|size| *since <= size));
        let named = log_keys::hint(&self.row.checkpoint);
        if force.is_some_and(|(since, _)| log_keys::brought(*since) != named)
            && self.signed.is_some_and(|size| ledger.confirmed(size).is_some())
        {
            let place = format!("log {number} row");
            ledger.problem("log.row", place, "its checkpoint names another leaf than the one that brought its key".to_owned());
        }
        let origin = note::origin(&self.row.id);
        ledger.vouch(&|key| policy.trusts(&origin, key));
        let report = ledger.finish();
        totals.events += report.size;
        if !forked {
            totals.identities += report.identities;
        }
        totals.bodies.present += report.bodies.present.saturating_sub(self.locked);
        totals.bodies.locked += self.locked;
        totals.bodies.unread = totals.bodies.unread.map(|n| n + report.bodies.unread);
        totals.bodies.erased += report.bodies.erased;
        totals.bodies.missing += report.bodies.missing;
        totals.unsigned += report.unsigned;
        totals.checkpointed += report.checkpoint.unwrap_or(0);
        totals.unlisted += report.unlisted;
        totals.disputed.extend(report.disputed.iter().map(|d| DisputedEvents::of(&self.row.id, d)));
        totals.unlisted_disputes += report.unlisted_disputes;
        totals.logs.push(Walked {
            number,
            id: self.row.id,
            verdict: match report.verdict {
                Verdict::Intact if witnessed == Some(0) => Verdict::Unproven,
                verdict => verdict,
            },
            size: report.size,
            root: report.root,
            log_key: report.log_key,
            checkpointed: report.checkpoint.unwrap_or(0),
            witnessed,
            freshness,
            adopted: report.adopted,
            imported: report.imported,
            owner,
            successor: self.row.successor,
            ended,
            actors,
        });
        let prefixed = report.problems.into_iter().map(|p| match p.place.starts_with("log ") {
            true => p,
            false => Problem { place: format!("log {number} {}", p.place), ..p },
        });
        totals.problems.extend(prefixed);
    }
}

/// The size a row's checkpoint claims, if it can be read.
fn signed_size(row: &LogRow) -> Option<u64> {
    let note = Note::parse(row.checkpoint.as_bytes()).ok()?;
    Some(Checkpoint::parse(note.text).ok()?.size)
}
