//! `remember` and `recall`.

use super::{OrSee, agent, open, open_to_read, short_time};
use crate::args::{Recall, Remember};
use crate::config::Settings;
use crate::output::{Fit, Output, Table, Tone, cut, one_line};
use mirrordna::{Code, Error, Hit, Result};
use serde_json::json;
use std::io::{Read, stdin};

pub(crate) fn remember(settings: &Settings, args: Remember, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    let text = match args.text.as_str() {
        "-" => {
            let mut text = String::new();
            let read = stdin().lock().take(mirrordna::limits::PAYLOAD as u64 + 1).read_to_string(&mut text);
            read.map_err(|e| Error::new(Code::InputInvalid, "standard input is no UTF-8 text").caused_by(e))?;
            text
        }
        _ => args.text,
    };
    let memories = match &args.session {
        Some(session) => engine.sessions().resume(session).or_see("session list")?.memories(),
        None => agent(&engine, args.identity.as_deref())?.memories(),
    };
    let mut add = memories.add(text).tier(args.tier.parse()?);
    for tag in args.tag {
        add = add.tag(tag);
    }
    if let Some(subject) = args.subject {
        add = add.subject(subject);
    }
    let written = add.send()?;
    if out.json {
        out.value(&engine.memories().get(&written.id)?)?;
    } else {
        out.line(written.id);
    }
    drop(memories);
    engine.close()?;
    Ok(0)
}

pub(crate) fn recall(settings: &Settings, args: Recall, out: &mut Output) -> Result<u8> {
    let engine = open_to_read(settings, out)?;
    let memories = match &args.identity {
        Some(name) => engine.identities().find(name).or_see("identity list")?.memories(),
        None => engine.memories(),
    };
    let hits = memories.search(args.query).limit(args.limit).run()?;
    if out.json {
        let hits: Vec<_> = hits
            .iter()
            .map(|h| {
                json!({
                    "id": h.record.id, "score": h.score, "text": h.record.content, "timestamp": h.record.timestamp,
                    "session": h.record.session, "identity": h.record.agent,
                    "speaker": h.record.speaker, "source_id": h.record.source_id, "source_ns": h.record.source_ns,
                })
            })
            .collect();
        out.value(&json!({ "hits": hits }))?;
    } else if let Some(terminal) = out.terminal() {
        if hits.is_empty() {
            out.remark("nothing found");
        }
        for (n, hit) in hits.iter().enumerate() {
            show_hit(n + 1, hit, terminal, out);
        }
    } else {
        let row = |h: Hit| {
            let speaker = h.record.speaker.unwrap_or_default();
            vec![format!("{:.2}", h.score).into(), h.record.timestamp.into(), h.record.id.into(), speaker.into(), h.record.content.into()]
        };
        Table::new(&[("", Fit::Whole); 5]).rows(hits.into_iter().map(row).collect(), out);
    }
    Ok(0)
}

/// A hit for people: what was said on one line, where it stands on the next.
fn show_hit(n: usize, hit: &Hit, terminal: usize, out: &mut Output) {
    let when = short_time(&hit.record.timestamp, out);
    let who = hit.record.speaker.as_ref().map(|s| format!("{s}: ")).unwrap_or_default();
    let text = one_line(&format!("{who}{}", hit.record.content));
    out.line(format!("{n:>2}  {}", cut(&text, terminal.saturating_sub(4))));
    let place = out.tone(Tone::Dim, format!("{:.2}  {when}  {}", hit.score, hit.record.id));
    out.line(format!("    {place}"));
}
