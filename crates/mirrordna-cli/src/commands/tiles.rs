//! Logs as C2SP files: folders of tiles, checkpoints and tlog-proofs.

use super::verify::{exit_status, show_problems};
use super::{count, open_to_read};
use crate::config::Settings;
use crate::output::{Output, Tone};
use mirrordna::peer::{Checkpoint, Note, TlogProof, equivocation};
use mirrordna::proof::Policy;
use mirrordna::{Code, Error, Finding, Result, input, tiles};
use serde_json::json;
use std::path::{Path, PathBuf};

/// First line of a tlog-proof.
const PROOF: &[u8] = b"c2sp.org/tlog-proof@v1\n";
/// The longest file that is read to see what it is.
const MAX_FILE: u64 = 128 * 1024;

/// What `--kept` names.
pub(super) const KEPT: &str = "a checkpoint that was kept";

/// `export --tiles`.
pub(super) fn export(settings: &Settings, folder: &Path, out: &mut Output) -> Result<u8> {
    let engine = open_to_read(settings, out)?;
    let exported = engine.export_tiles(folder)?;
    if out.json {
        out.value(&exported)?;
    } else {
        let (leaves, files) = (count(exported.size, "leaf", "leaves"), count(exported.files, "file", "files"));
        out.line(format!("{leaves} of {} · {files} written, {} bytes", exported.origin, exported.bytes));
    }
    Ok(0)
}

/// The folder of tiles that a target names.
pub(super) fn find(target: &str) -> Option<PathBuf> {
    let folder = Path::new(target);
    (folder.join("checkpoint").is_file() && folder.join("tile").is_dir()).then(|| folder.to_owned())
}

/// `verify` of a folder of tiles.
pub(super) fn verify_tiles(folder: &Path, policy: &Policy, out: &mut Output) -> Result<u8> {
    let report = tiles::verify(folder, policy)?;
    if out.json {
        out.value(&report)?;
        return Ok(exit_status(report.verdict));
    }
    let verdict = verdict(report.verdict, out);
    let cosigned = if report.cosigned.is_empty() { String::new() } else { format!(" · cosigned {} times", report.cosigned.len()) };
    out.line(format!("{verdict}   {} of {}{cosigned}", count(report.size, "leaf", "leaves"), report.origin));
    show_problems(&report.problems, report.unlisted, out);
    if report.stopped {
        out.line("… and more: nothing further was looked at");
    }
    if report.verdict == "unproven" {
        advise(report.signed, out);
    }
    Ok(exit_status(report.verdict))
}

/// What a target is that is judged as a small text file.
pub(super) enum File {
    /// A tlog-proof.
    Proof(Vec<u8>),
    /// A checkpoint.
    Checkpoint(Vec<u8>),
}

/// The proof or checkpoint that a target names, by its content.
pub(super) fn file(target: &str) -> Option<File> {
    let path = Path::new(target);
    if !path.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_FILE) {
        return None;
    }
    let bytes = input::read(path, "a proof", MAX_FILE, Code::ImportUnreadable).ok()?;
    if bytes.starts_with(PROOF) {
        return Some(File::Proof(bytes));
    }
    let checkpoint = Note::parse(&bytes).is_ok_and(|note| Checkpoint::parse(note.text).is_ok());
    checkpoint.then_some(File::Checkpoint(bytes))
}

/// `verify` of a tlog-proof or a checkpoint, the latter against others that were
/// kept.
pub(super) fn verify_file(file: &File, kept: &[PathBuf], policy: &Policy, out: &mut Output) -> Result<u8> {
    match file {
        File::Proof(bytes) => verify_proof(bytes, policy, out),
        File::Checkpoint(bytes) => verify_checkpoint(bytes, kept, policy, out),
    }
}

fn verify_proof(bytes: &[u8], policy: &Policy, out: &mut Output) -> Result<u8> {
    let malformed = |e| Error::new(Code::AnchorInvalid, "this is no tlog-proof").caused_by(e);
    let proof = TlogProof::parse(bytes).map_err(malformed)?;
    let leaf = proof.extra.as_deref().ok_or_else(|| {
        let error = Error::new(Code::InputInvalid, "the proof does not say of what: it has no extra data");
        error.with_hint("One that mirrordna wrote has the leaf's data there.")
    })?;
    let judged = proof.judge(policy, leaf);
    let problems: Vec<Finding> =
        judged.problems.into_iter().map(|p| Finding { code: p.code.to_owned(), place: p.place, message: p.message }).collect();
    let name = judged.verdict.name();
    let (origin, size) = (proof.checkpoint.origin, proof.checkpoint.size);
    if out.json {
        let times: Vec<u64> = judged.cosigned.times.iter().map(|(_, time)| *time).filter(|time| *time > 0).collect();
        out.value(&json!({"verdict": name, "origin": origin, "leaf": proof.index, "size": size, "signed": judged.signed,
            "quorum": judged.cosigned.quorum, "cosigned": times, "not_after": judged.cosigned.not_after, "problems": problems}))?;
        return Ok(exit_status(name));
    }
    let verdict = verdict(name, out);
    out.line(format!("{verdict}   leaf {} of the {} of {origin}", proof.index, count(size, "leaf", "leaves")));
    show_problems(&problems, 0, out);
    if name == "unproven" {
        advise(judged.signed, out);
    }
    Ok(exit_status(name))
}

fn verify_checkpoint(bytes: &[u8], kept: &[PathBuf], policy: &Policy, out: &mut Output) -> Result<u8> {
    let malformed = |e| Error::new(Code::AnchorInvalid, "this is no checkpoint").caused_by(e);
    let note = Note::parse(bytes).map_err(malformed)?;
    let checkpoint = Checkpoint::parse(note.text).map_err(malformed)?;
    let signatures: Vec<bool> = policy.logs(checkpoint.origin).filter_map(|key| key.signs(&note)).collect();
    let cosigned = policy.cosigned(&note);
    let place = || format!("checkpoint of size {}", checkpoint.size);
    let finding = |code: &str, message: String| Finding { code: code.to_owned(), place: place(), message };
    let mut problems: Vec<Finding> =
        cosigned.invalid.iter().map(|name| finding("cosignature.invalid", format!("the cosignature of {name} does not verify"))).collect();
    if signatures.contains(&false) {
        problems.push(finding("checkpoint.invalid", "a signature by a key of the policy does not verify".to_owned()));
    }
    let signed = signatures.contains(&true);
    if !kept.is_empty() && !signed {
        let error = Error::new(Code::PolicyInvalid, "to compare checkpoints, the key of their log must be known");
        return Err(error.with_hint("Name it with --key KEY, as `mirrordna checkpoint --vkey` prints it, or in a policy: `log KEY`."));
    }
    for path in kept {
        let other = input::read(path, KEPT, input::TEXT, Code::ImportUnreadable)?;
        let unusable = |e| Error::new(Code::PolicyInvalid, format!("{} cannot be compared", path.display())).caused_by(e);
        if let Some(found) = equivocation(bytes, &other, policy).map_err(unusable)? {
            let message =
                format!("the log's key signed another root of size {} in {}: it showed two histories", found.size, path.display());
            problems.push(finding("log.forked", message));
        }
    }
    let name = match (problems.is_empty(), signed && cosigned.quorum) {
        (false, _) => "altered",
        (true, true) => "intact",
        (true, false) => "unproven",
    };
    if out.json {
        let times: Vec<u64> = cosigned.times.iter().map(|(_, time)| *time).filter(|time| *time > 0).collect();
        out.value(&json!({"verdict": name, "origin": checkpoint.origin, "size": checkpoint.size, "signed": signed,
            "quorum": cosigned.quorum, "cosigned": times, "problems": problems}))?;
        return Ok(exit_status(name));
    }
    let verdict = verdict(name, out);
    out.line(format!("{verdict}   checkpoint over {} of {}", count(checkpoint.size, "leaf", "leaves"), checkpoint.origin));
    show_problems(&problems, 0, out);
    if name == "unproven" {
        advise(signed, out);
    }
    Ok(exit_status(name))
}

fn verdict(name: &str, out: &Output) -> String {
    let tone = match name {
        "intact" => Tone::Good,
        "altered" => Tone::Bad,
        _ => Tone::Notice,
    };
    out.tone(tone, name)
}

/// What is missing where nothing is wrong.
fn advise(signed: bool, out: &mut Output) {
    out.line("");
    out.line(if signed {
        "The witnesses that the policy asks for have not cosigned it."
    } else {
        "No key that is trusted here signed it. Name the log's key with --key KEY, as\n`mirrordna checkpoint --vkey` prints it: the file holds no key, so that its\nfingerprint is not enough."
    });
}
