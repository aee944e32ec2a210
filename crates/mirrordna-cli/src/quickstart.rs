//! `quickstart`: the main job once, on the bundled sample conversation.

use crate::commands::{describe_new, show_report, verify_store};
use crate::config::Settings;
use crate::output::{Output, Tone, cut, one_line};
use mirrordna::import::{Format, import};
use mirrordna::{Code, Error, IdentityType, NewIdentity, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The sample, written for this project.
const SAMPLE: &str = include_str!("../sample/conversation.jsonl");
/// Questions that the sample answers.
const QUESTIONS: [&str; 3] = include!("../sample/questions.in");

fn io(path: &Path, e: std::io::Error) -> Error {
    Error::new(Code::StoreIo, format!("cannot use {}", path.display())).caused_by(e)
}

/// A folder that does not exist yet.
fn fresh_folder() -> PathBuf {
    let base = PathBuf::from("mirrordna-quickstart");
    let mut candidates = std::iter::once(base.clone()).chain((2..).map(|n| base.with_file_name(format!("mirrordna-quickstart-{n}"))));
    candidates.find(|p| !p.exists()).unwrap_or(base)
}

pub(crate) fn run(settings: &Settings, folder: Option<PathBuf>, out: &mut Output) -> Result<u8> {
    let folder = folder.unwrap_or_else(fresh_folder);
    std::fs::create_dir_all(&folder).map_err(|e| io(&folder, e))?;
    let path = folder.join("mirrordna.db");
    if path.exists() {
        return Err(Error::new(Code::AlreadyExists, format!("{} exists already", path.display())).with_hint("Name another folder."));
    }
    let sample = folder.join("conversation.jsonl");
    std::fs::write(&sample, SAMPLE).map_err(|e| io(&sample, e))?;
    let step = |out: &mut Output, text: &str| {
        if !out.json {
            let text = out.tone(Tone::Dim, format!("\n— {text}"));
            out.line(text);
        }
    };

    step(out, "create a database, an agent and a user");
    let engine = settings.at(&path.to_string_lossy()).builder().open()?;
    describe_new(&engine, out)?;
    let named = |name: &str| NewIdentity { name: Some(name.into()), ..NewIdentity::default() };
    let agent = engine.identities().create_with(IdentityType::Agent, named("Quickstart agent"))?;
    let user = engine.identities().create_with(IdentityType::User, named("You"))?;
    let session = engine.sessions().start(&agent, &user)?;
    session.memories().add("The quickstart was run here").send()?;
    session.end()?;
    if out.json {
        out.value(&json!({"agent": agent.id(), "user": user.id()}))?;
    } else {
        out.line(format!("agent        {}\nuser         {}", agent.id(), user.id()));
    }

    step(out, "import a conversation");
    let report = import(&engine.main(), std::slice::from_ref(&sample), Format::Chat, &mut |_, _| {})?;
    if out.json {
        out.value(&report)?;
    } else {
        out.line(format!("kept {}, repaired {}, refused {} ({} events)", report.kept, report.repaired, report.refused, report.events));
    }

    step(out, "recall");
    for question in QUESTIONS {
        let hits = engine.memories().search(question).limit(1).run()?;
        let answer = hits.first().map(|h| (h.record.speaker.clone().unwrap_or_default(), h.record.content.clone()));
        if out.json {
            out.value(&json!({"question": question, "answer": answer.map(|a| a.1)}))?;
        } else {
            let (who, text) = answer.unwrap_or_default();
            out.line(format!("? {question}\n  {who}: {}", cut(&one_line(&text), 150)));
        }
    }

    step(out, "take a snapshot");
    let snapshot = engine.snapshots().capture(&agent, None)?;
    if out.json {
        out.value(&snapshot.document)?;
    } else {
        out.line(format!("{} of {} events, signed", snapshot.id, snapshot.size));
    }
    drop((agent, user));
    engine.close()?;

    step(out, "verify");
    let intact = verify_store(settings.at(&path.to_string_lossy()).builder(), out)?;
    show_report(&intact, out)?;

    step(out, "change one byte of a copy, verify that");
    let copy = folder.join("altered-copy.db");
    let (at, old, new) = copy_with_one_byte_changed(&path, &copy)?;
    if !out.json {
        out.line(format!("byte {at} of {} is now {new:#04x} instead of {old:#04x}", copy.display()));
    }
    let altered = verify_store(settings.at(&copy.to_string_lossy()).builder(), out)?;
    show_report(&altered, out)?;

    if intact.verdict == "intact" && altered.verdict == "altered" {
        if !out.json {
            out.line(format!("\nThe database stays in {}. Try: mirrordna --store {} timeline list", folder.display(), path.display()));
        }
        return Ok(0);
    }
    Err(Error::new(Code::Bug, "the quickstart did not find what it should have found"))
}

/// Copies a closed database and changes one byte inside a stored event.
fn copy_with_one_byte_changed(from: &Path, to: &Path) -> Result<(usize, u8, u8)> {
    let mut bytes = std::fs::read(from).map_err(|e| io(from, e))?;
    // Headers begin with their protocol version; the actor follows 26 bytes on.
    let marker = b"mdna.ev1";
    let headers: Vec<usize> = bytes.windows(marker.len()).enumerate().filter(|(_, w)| w == marker).map(|(i, _)| i).collect();
    let at = headers.get(headers.len() / 2).map(|i| i + 40);
    let byte = at.and_then(|at| bytes.get_mut(at)).ok_or_else(|| Error::new(Code::Bug, "the database holds no event"))?;
    let old = *byte;
    *byte ^= 0x01;
    let new = *byte;
    std::fs::write(to, &bytes).map_err(|e| io(to, e))?;
    Ok((at.unwrap_or_default(), old, new))
}
