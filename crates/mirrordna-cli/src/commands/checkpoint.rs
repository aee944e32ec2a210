//! `checkpoint`: what a log signs, on its way to witnesses and back.

use super::verify::read_policy;
use super::{open, open_to_read, write_new};
use crate::config::Settings;
use crate::http;
use crate::output::Output;
use clap::ValueHint;
use mirrordna::peer::{Checkpoint, Note, PeerWitness, VerifierKey};
use mirrordna::proof::Policy;
use mirrordna::{Code, Error, Result, input};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What a key that is printed has nothing to do with.
const WORK: [&str; 9] = ["of", "witness", "policy", "witness_key", "request", "lines", "anchor", "timestamp_request", "timestamp_response"];

/// What `checkpoint` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CheckpointArgs {
    /// Print the key that signs the log's checkpoints, as C2SP tools and policies
    /// name it.
    #[arg(long, conflicts_with_all = WORK)]
    vkey: bool,
    /// Print the ML-DSA-44 key that signs them, too, after `keys pq`.
    #[arg(long, conflicts_with_all = WORK, conflicts_with = "vkey")]
    pq_vkey: bool,
    /// An earlier checkpoint of this log instead of the newest.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    of: Option<PathBuf>,
    /// Have this witness cosign it: http://HOST[:PORT][/PREFIX], or the folder of
    /// a witness on this machine; may be repeated.
    #[arg(long, value_name = "URL|DIR")]
    witness: Vec<String>,
    /// Policy that names the keys of witnesses.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    policy: Option<PathBuf>,
    /// Key of a witness, as `witness init` prints it; may be repeated.
    #[arg(long, value_name = "KEY")]
    witness_key: Vec<String>,
    /// Print what to send to a witness that has cosigned OLD leaves of this log (0
    /// for none), instead of the checkpoint.
    #[arg(long, value_name = "OLD", conflicts_with_all = ["witness", "lines", "anchor"])]
    request: Option<u64>,
    /// Add the lines with which witnesses answered.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    lines: Option<PathBuf>,
    /// Record the cosignatures in the log.
    #[arg(long)]
    anchor: bool,
    /// Write a request for a time-stamp (RFC 3161) of it to this new file; with
    /// --timestamp-response, the request that was answered.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    timestamp_request: Option<PathBuf>,
    /// Record the answer of a time-stamping authority in the log.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "timestamp_request")]
    timestamp_response: Option<PathBuf>,
}

pub(crate) fn checkpoint(settings: &Settings, args: &CheckpointArgs, out: &mut Output) -> Result<u8> {
    if args.vkey {
        let log = open_to_read(settings, out)?.main();
        let (key, second) = (log.verifier_key(), log.pq_verifier_key()?);
        if out.json {
            let mut keys = json!({ "verifier_key": key });
            if let (Some(second), Some(keys)) = (second, keys.as_object_mut()) {
                keys.insert("pq_verifier_key".to_owned(), second.into());
            }
            out.value(&keys)?;
        } else {
            // One line: it is put into policies and commands.
            out.line(key);
            if second.is_some() {
                out.remark("Checkpoints are signed by an ML-DSA-44 key, too: --pq-vkey prints that one.");
            }
        }
        return Ok(0);
    }
    if args.pq_vkey {
        let lacks = || {
            let error = Error::new(Code::KeyMissing, "this machine's keyring has no ML-DSA-44 key, or this program was built without pq");
            error.with_hint("`mirrordna keys pq` makes one, in a build with feature pq.")
        };
        let key = open_to_read(settings, out)?.main().pq_verifier_key()?.ok_or_else(lacks)?;
        if out.json {
            out.value(&json!({ "pq_verifier_key": key }))?;
        } else {
            out.line(key);
        }
        return Ok(0);
    }
    let mut policy = args.policy.as_deref().map(read_policy).transpose()?.unwrap_or_default();
    for key in &args.witness_key {
        let bad = |e| Error::new(Code::InputInvalid, format!("'{key}' is no key of a witness")).caused_by(e);
        policy = policy.and_witness(VerifierKey::parse(key).map_err(bad)?);
    }
    let engine = open(settings)?;
    let log = engine.main();
    let mut note = match &args.of {
        Some(file) => {
            let text = String::from_utf8(read(file, "a checkpoint")?);
            let text = text.map_err(|e| Error::new(Code::AnchorInvalid, "the checkpoint is not text").caused_by(e))?;
            log.check_checkpoint(&text)?;
            text
        }
        None => log.checkpoint()?,
    };
    if let Some(old) = args.request {
        out.raw(log.witness_request(&note, old)?.as_bytes());
        return Ok(0);
    }
    let mut anchors = Vec::new();
    match (&args.timestamp_request, &args.timestamp_response) {
        (Some(request), Some(response)) => anchors.push({
            let (request, response) = (read(request, "a request for a time-stamp")?, read(response, "a time-stamp")?);
            log.anchor_timestamp(&note, &request, &response)?.index
        }),
        (Some(request), None) => {
            let bytes = log.timestamp_request(&note)?;
            let failed = |e| Error::new(Code::StoreIo, format!("cannot write {}", request.display())).caused_by(e);
            write_new(request, |file| file.write_all(&bytes).map_err(failed))?;
        }
        _ => {}
    }
    if let Some(lines) = &args.lines {
        let lines = String::from_utf8(read(lines, "lines of witnesses")?)
            .map_err(|e| Error::new(Code::WitnessRefused, "the lines are not text").caused_by(e))?;
        note = log.with_lines(&note, &lines, &policy)?;
    }
    let mut refused = Vec::new();
    for place in &args.witness {
        let asked = if Path::new(place).is_dir() {
            let witness = PeerWitness::open(place)?;
            policy = policy.and_witness(witness.verifier_key());
            log.cosign(&note, &policy, &mut |request| witness.add_checkpoint(request.as_bytes()))
        } else {
            log.cosign(&note, &policy, &mut |request| http::post(place, request))
        };
        match asked {
            Ok(cosigned) => note = cosigned,
            // That is not one witness's trouble.
            Err(e) if matches!(e.code(), Code::Forked | Code::RolledBack | Code::InputInvalid) => return Err(e),
            Err(e) => refused.push(e),
        }
    }
    if refused.len() == args.witness.len()
        && let Some(first) = refused.pop()
    {
        return Err(first);
    }
    refused.iter().for_each(|e| out.remark(e));
    if args.anchor {
        anchors.push(log.anchor(&note, &policy)?.index);
    }
    show(&note, &policy, &anchors, out)?;
    // What was recorded is signed before anybody is told.
    engine.close()?;
    Ok(0)
}

fn show(note: &str, policy: &Policy, anchors: &[u64], out: &mut Output) -> Result<()> {
    if !out.json {
        out.raw(note.as_bytes());
        anchors.iter().for_each(|at| out.remark(format!("recorded as event {at}")));
        return Ok(());
    }
    let bug = |e| Error::new(Code::Bug, "a checkpoint of this log is malformed").caused_by(e);
    let parsed = Note::parse(note.as_bytes()).map_err(bug)?;
    let checkpoint = Checkpoint::parse(parsed.text).map_err(bug)?;
    let cosigned = policy.cosigned(&parsed).times;
    let name = |witness| policy.witness(witness).map(|w| w.name.clone());
    let cosigned: Vec<_> =
        cosigned.into_iter().map(|(witness, time)| json!({"witness": name(witness), "time": (time > 0).then_some(time)})).collect();
    out.value(&json!({"origin": checkpoint.origin, "size": checkpoint.size, "checkpoint": note, "cosigned": cosigned, "anchors": anchors}))
}

fn read(file: &Path, what: &str) -> Result<Vec<u8>> {
    input::read(file, what, input::TEXT, Code::ImportUnreadable)
}
