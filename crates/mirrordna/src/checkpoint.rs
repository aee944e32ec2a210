//! Checkpoints on their way out and back: to witnesses that cosign them, to
//! time-stamping authorities, and as `anchor` events into the log, where they
//! bound the times of events from both sides (`spec/PROTOCOL.md` 16.4, 17.4).

use crate::commit::Appended;
use crate::engine::Tenant;
use crate::peer::Answer;
use crate::timestamp;
use crate::witness::StoreTiles;
use mirrordna_core::proof::{consistency, tlog_proof};
use mirrordna_core::timeline::Draft;
use mirrordna_core::verify::body::PublicBody;
use mirrordna_core::verify::cosignature::judge;
use mirrordna_core::verify::merkle::extends;
use mirrordna_core::verify::note::{self, Checkpoint, Note, SignatureLine};
use mirrordna_core::verify::policy::Policy;
use mirrordna_core::verify::tlog_witness::AddCheckpoint;
use mirrordna_core::{Code, Error, Hash, Result};
use mirrordna_storage::{LogRow, ReadTx};

/// How often a witness may say that it knows another size.
const ATTEMPTS: usize = 4;

impl Tenant {
    /// What a witness is asked that has cosigned `old` leaves of this log, or
    /// none: the `checkpoint` with a proof that it extends them (C2SP
    /// `tlog-witness`, `add-checkpoint`).
    ///
    /// # Errors
    /// `anchor.invalid` if it is no checkpoint of this log, `input.invalid` if
    /// `old` is larger, `store.*`.
    pub fn witness_request(&self, checkpoint: &str, old: u64) -> Result<String> {
        let (size, _) = self.own_checkpoint(checkpoint)?;
        let mut proof = Vec::new();
        self.inner.store.read(&mut |tx| {
            proof = consistency(&StoreTiles { tx, log: self.log.number }, old, size)?;
            Ok(())
        })?;
        Ok(AddCheckpoint::text(old, &proof, checkpoint))
    }

    /// Has a witness cosign a checkpoint of this log; `ask` hands it a request
    /// and returns its answer. Returns the checkpoint with the witness's valid
    /// lines added; lines of witnesses that the policy does not name are not
    /// taken.
    ///
    /// # Errors
    /// `log.rolled_back` if the witness has seen the log longer, `log.forked` if
    /// it has seen another history of it, `witness.refused` if it does not know
    /// the log or answers with nothing that the policy's keys verify; what `ask`
    /// returns.
    pub fn cosign(&self, checkpoint: &str, policy: &Policy, ask: &mut dyn FnMut(&str) -> Result<Answer>) -> Result<String> {
        let (size, _) = self.own_checkpoint(checkpoint)?;
        let forked = |message: String| {
            let hint = "Somebody rewrote this log, or it goes on in two places. Keep both histories; they are the evidence.";
            Error::new(Code::Forked, message).with_hint(hint)
        };
        let mut old = 0;
        for _ in 0..ATTEMPTS {
            let answer = ask(&self.witness_request(checkpoint, old)?)?;
            match answer.status {
                200 => return self.with_lines(checkpoint, &answer.body, policy),
                409 => {
                    let known = answer.body.trim_end().parse::<u64>();
                    let known = known.map_err(|_| refused("names no size that it has cosigned", &answer))?;
                    if known > size {
                        let message = format!("the witness has cosigned {known} leaves of this log; this checkpoint has {size}");
                        return Err(Error::new(Code::RolledBack, message));
                    }
                    if known == old && known == size {
                        return Err(forked(format!("the witness has cosigned another history of this log, of {size} leaves too")));
                    }
                    old = known;
                }
                422 => return Err(forked(format!("the {old} leaves that the witness has cosigned are not the first of this log"))),
                404 | 403 => {
                    let hint = "Whoever runs the witness makes it known with `mirrordna witness trust DIR KEY`; `mirrordna checkpoint --vkey` prints the key.";
                    return Err(refused("does not know this log or its key", &answer).with_hint(hint));
                }
                _ => return Err(refused("did not cosign", &answer)),
            }
        }
        Err(Error::new(Code::WitnessRefused, "the witness goes on naming other sizes: others ask it at the same time"))
    }

    /// A checkpoint with those of `lines`, signature lines, that are valid
    /// cosignatures by witnesses of the policy.
    ///
    /// # Errors
    /// `anchor.invalid` if it is no checkpoint of this log; `witness.refused` if
    /// no line is valid, or one by a known witness is not.
    pub fn with_lines(&self, checkpoint: &str, lines: &str, policy: &Policy) -> Result<String> {
        self.own_checkpoint(checkpoint)?;
        let whole = format!("{checkpoint}{lines}");
        let refused = |why: &str| Error::new(Code::WitnessRefused, format!("the lines of the witness {why}"));
        let note = Note::parse(whole.as_bytes()).map_err(|e| refused("are no signature lines").caused_by(e))?;
        let (kept, bad) = self.known_lines(&note, policy);
        if let Some(bad) = bad {
            return Err(refused(&format!("hold one by {bad} that does not verify for this checkpoint")));
        }
        let before = Note::parse(checkpoint.as_bytes()).map_err(|e| not_ours("is no note").caused_by(e))?;
        if kept.len() <= self.known_lines(&before, policy).0.len() {
            let hint = "Name its key in a policy: `witness NAME KEY`, and pass that with --policy.";
            return Err(refused("are by nobody whom the policy names as a witness").with_hint(hint));
        }
        self.released(rebuilt(note.text, &kept))
    }

    /// Records in the log that witnesses have seen it: an `anchor` event by the
    /// log's system actor. Of the note's lines those of the log and the valid
    /// ones of the policy's witnesses are kept.
    ///
    /// # Errors
    /// `anchor.invalid` if the note is no checkpoint of this log as it is, or
    /// has no valid cosignature; `key.missing`; `store.*`.
    pub fn anchor(&self, note: &str, policy: &Policy) -> Result<Appended> {
        self.own_checkpoint(note)?;
        let parsed = Note::parse(note.as_bytes()).map_err(|e| not_ours("is no note").caused_by(e))?;
        let cosigned = policy.cosigned(&parsed);
        // A line that states no time bounds none: it is no reason for an anchor.
        if cosigned.times.iter().all(|(_, time)| *time == 0) || !cosigned.invalid.is_empty() {
            return Err(not_ours("has no valid cosignature by a witness of the policy, or an invalid one"));
        }
        let (kept, _) = self.known_lines(&parsed, policy);
        let note = rebuilt(parsed.text, &kept);
        self.append_anchor(&PublicBody::Anchor { kind: PublicBody::COSIGNED, note: note.as_bytes(), token: b"" })
    }

    /// A request to a time-stamping authority (RFC 3161) for a checkpoint of
    /// this log, DER: the SHA-256 of its text and a random nonce.
    ///
    /// # Errors
    /// `anchor.invalid` if it is no checkpoint of this log.
    pub fn timestamp_request(&self, checkpoint: &str) -> Result<Vec<u8>> {
        self.own_checkpoint(checkpoint)?;
        let nonce: [u8; 8] = mirrordna_core::random(&*self.inner.entropy)?;
        Ok(timestamp::request(&imprint(checkpoint)?, u64::from_be_bytes(nonce)))
    }

    /// Records the authority's answer to a [`Tenant::timestamp_request`] as an
    /// `anchor` event. Checked are that it was granted, its imprint and its
    /// nonce; whose certificate signed it is not: `openssl ts -verify` does that.
    ///
    /// # Errors
    /// `anchor.invalid` if the answer is none to this request for this
    /// checkpoint; `key.missing`; `store.*`.
    pub fn anchor_timestamp(&self, checkpoint: &str, request: &[u8], response: &[u8]) -> Result<Appended> {
        self.own_checkpoint(checkpoint)?;
        let (asked, nonce) = timestamp::read_request(request)?;
        if asked != imprint(checkpoint)? {
            return Err(not_ours("is not the one that the time-stamp was asked for"));
        }
        let token = timestamp::read_response(response, &asked, nonce)?;
        let parsed = Note::parse(checkpoint.as_bytes()).map_err(|e| not_ours("is no note").caused_by(e))?;
        let note = rebuilt(parsed.text, &self.known_lines(&parsed, &Policy::default()).0);
        self.append_anchor(&PublicBody::Anchor { kind: PublicBody::TIME_STAMPED, note: note.as_bytes(), token })
    }

    /// A C2SP `tlog-proof` that leaf `index` is in the log, under a checkpoint
    /// of it; its extra data is the leaf.
    ///
    /// # Errors
    /// `anchor.invalid` if it is no checkpoint of this log, `input.invalid` if
    /// the leaf is not below its size, `store.*`.
    pub fn tlog_proof(&self, checkpoint: &str, index: u64) -> Result<String> {
        let (size, _) = self.own_checkpoint(checkpoint)?;
        let mut proof = String::new();
        self.inner.store.read(&mut |tx| {
            let path = mirrordna_core::proof::inclusion(&StoreTiles { tx, log: self.log.number }, index, size)?;
            let leaf = tx.leaf(self.log.number, index)?;
            let leaf = leaf.ok_or_else(|| Error::new(Code::Altered, format!("log {} lacks leaf {index}", self.log.number)))?;
            proof = tlog_proof(index, &path, checkpoint, Some(&leaf));
            Ok(())
        })?;
        Ok(proof)
    }

    fn append_anchor(&self, body: &PublicBody<'_>) -> Result<Appended> {
        let placed = self.inner.append(&self.log, &self.log.system, vec![(Draft::public(body), None)])?;
        placed.first().copied().ok_or_else(|| Error::new(Code::Bug, "an append returned nothing"))
    }

    /// Whether a checkpoint is of this log: signed by its key, and a state that
    /// the log has gone on from. Returns its size.
    ///
    /// # Errors
    /// `anchor.invalid` where it is something else, `log.rolled_back` where it
    /// covers more than is here, `log.forked` where it contradicts the log;
    /// `store.*`.
    pub fn check_checkpoint(&self, checkpoint: &str) -> Result<u64> {
        self.own_checkpoint(checkpoint).map(|(size, _)| size)
    }

    /// Size and root of a checkpoint of this log, signed by its key, which the
    /// log as it is extends.
    fn own_checkpoint(&self, text: &str) -> Result<(u64, Hash)> {
        let mut found = (0, Hash::default());
        self.inner.store.read(&mut |tx| {
            let row = self.log.row(tx)?;
            // Which key was in force then is known when all keys are.
            self.log.signed_frontier(tx, &row)?;
            found = of_log(tx, &row, &|size, note| self.log.signs(size, note), text)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// The lines of a note by the log and, valid ones, by witnesses of the
    /// policy; and the name of a known witness with a line that is not valid.
    fn known_lines<'n>(&self, note: &'n Note<'_>, policy: &Policy) -> (Vec<&'n SignatureLine<'n>>, Option<&'n str>) {
        let origin = note::origin(&self.log.id);
        let ids: Vec<[u8; 4]> = self.log.all_keys().iter().map(|key| note::key_id(&origin, key)).collect();
        let (mut kept, mut bad) = (Vec::new(), None);
        for line in &note.signatures {
            let by = (0..).map_while(|i| policy.witness(i)).find_map(|witness| judge(line, note.text, witness));
            match by {
                Some(Ok(_)) => kept.push(line),
                Some(Err(_)) => bad = Some(line.name),
                None if line.name == origin && ids.contains(&line.id) && !kept.iter().any(|l| l.id == line.id) => kept.push(line),
                None => {}
            }
        }
        (kept, bad)
    }
}

/// Size and root of a checkpoint of a log, signed by its key at that size, as
/// `signs` tells, which the newest one in the log's row extends.
///
/// # Errors
/// As [`Tenant::check_checkpoint`].
pub(crate) fn of_log(tx: &dyn ReadTx, row: &LogRow, signs: &dyn Fn(u64, &Note<'_>) -> bool, text: &str) -> Result<(u64, Hash)> {
    let note = Note::parse(text.as_bytes()).map_err(|e| not_ours("is no note").caused_by(e))?;
    let checkpoint = Checkpoint::parse(note.text).map_err(|e| not_ours("is malformed").caused_by(e))?;
    let origin = note::origin(&row.id);
    if checkpoint.origin != origin {
        return Err(not_ours("is of another log"));
    }
    if !signs(checkpoint.size, &note) {
        return Err(not_ours("is not signed by the log's key"));
    }
    let Checkpoint { size, root, .. } = checkpoint;
    let bad = |e| Error::new(Code::Altered, format!("log {}: its checkpoint is malformed", row.number)).caused_by(e);
    let newest = Note::parse(row.checkpoint.as_bytes()).map_err(bad)?;
    let newest = Checkpoint::parse(newest.text).map_err(bad)?;
    if size > newest.size {
        let message = format!("the checkpoint covers {size} leaves, the log's newest {}", newest.size);
        return Err(Error::new(Code::RolledBack, message));
    }
    let proof = consistency(&StoreTiles { tx, log: row.number }, size, newest.size)?;
    if extends(size, &root, newest.size, &newest.root, &proof) {
        return Ok((size, root));
    }
    Err(Error::new(Code::Forked, "the checkpoint contradicts the log: its key signed two histories"))
}

/// A note of a text with these lines.
pub(crate) fn rebuilt(text: &str, lines: &[&SignatureLine<'_>]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{text}\n{lines}")
}

/// SHA-256 of a checkpoint's text: what is time-stamped.
fn imprint(checkpoint: &str) -> Result<Hash> {
    let note = Note::parse(checkpoint.as_bytes()).map_err(|e| not_ours("is no note").caused_by(e))?;
    Ok(mirrordna_core::verify::hash::sha256(&[note.text.as_bytes()]))
}

fn not_ours(why: &str) -> Error {
    Error::new(Code::AnchorInvalid, format!("the checkpoint {why}"))
}

fn refused(what: &str, answer: &Answer) -> Error {
    let said: String = answer.body.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    Error::new(Code::WitnessRefused, format!("the witness {what}: {} {said}", answer.status))
}
