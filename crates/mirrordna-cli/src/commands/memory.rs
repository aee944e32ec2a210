//! `remember`, `recall` and `memory …`.

use super::{Names, OrSee, agent, open, open_to_read, pages, short_time, tell_more};
use crate::args::{MemoryCommand, Paging, Recall, Remember, UpdateMemory};
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Table, Tone, cut, one_line};
use mirrordna::{Code, Content, Engine, Error, Hit, Memories, Memory, MemoryPatch, Result, Step, limits};
use serde_json::json;
use std::io::{Read, stdin};

pub(crate) fn remember(settings: &Settings, args: Remember, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    let text = text(args.text)?;
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

/// The text, or what standard input holds where it is `-`.
fn text(argument: String) -> Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut bytes = Vec::new();
    let read = stdin().lock().take(limits::PAYLOAD as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::new(Code::StoreIo, "standard input cannot be read").caused_by(e))?;
    if bytes.len() > limits::PAYLOAD {
        return Err(Error::new(Code::LimitExceeded, format!("standard input is longer than {} bytes", limits::PAYLOAD)));
    }
    String::from_utf8(bytes).map_err(|e| Error::new(Code::InputInvalid, "standard input is no UTF-8 text").caused_by(e))
}

pub(crate) fn memory(settings: &Settings, command: MemoryCommand, out: &mut Output) -> Result<u8> {
    match command {
        MemoryCommand::List { identity, session, offset, paging, archived } => {
            let engine = open_to_read(settings, out)?;
            let memories = match (identity, session) {
                (Some(name), _) => engine.identities().find(&name).or_see("identity list")?.memories(),
                (None, Some(session)) => engine.sessions().memories(&session).or_see("session list")?,
                (None, None) => engine.memories(),
            };
            list(&memories, Wanted { offset, archived, paging }, out)?;
        }
        MemoryCommand::Show { memory } => {
            let engine = open_to_read(settings, out)?;
            show(&engine, &memory, out)?;
        }
        MemoryCommand::History { memory } => {
            let steps = open_to_read(settings, out)?.memories().history(&memory).or_see("memory list")?;
            if out.json {
                out.value(&json!({ "history": steps }))?;
            } else {
                let rows = steps.into_iter().map(|step| {
                    let Step { leaf, time, kind, content } = step;
                    vec![leaf.to_string().into(), short_time(&time, out).into(), kind.into(), content.unwrap_or_default().into()]
                });
                let rows = rows.collect();
                let columns = [("LEAF", Fit::Number), ("TIME (UTC)", Fit::Whole), ("KIND", Fit::Whole), ("TEXT", Fit::Cut)];
                out.table(&columns, rows, "");
            }
        }
        MemoryCommand::Update(UpdateMemory { memory, text: new, tier, tag, no_tags, metadata }) => {
            let patch = MemoryPatch {
                content: new.map(text).transpose()?.map(Content::Text),
                tier: tier.map(|t| t.parse()).transpose()?,
                tags: (no_tags || !tag.is_empty()).then_some(tag),
                metadata,
            };
            let engine = open(settings)?;
            engine.memories().update(&memory, patch).or_see("memory list")?;
            changed(engine, &memory, "updated", out)?;
        }
        MemoryCommand::Archive { memory } => {
            let engine = open(settings)?;
            engine.memories().archive(&memory).or_see("memory list")?;
            changed(engine, &memory, "archived", out)?;
        }
    }
    Ok(0)
}

/// Which memories of a scope.
struct Wanted {
    offset: usize,
    archived: bool,
    paging: Paging,
}

fn list(memories: &Memories, wanted: Wanted, out: &mut Output) -> Result<()> {
    let Wanted { offset, archived, paging } = wanted;
    let columns: &[(&str, Fit)] = match out.terminal() {
        Some(_) => &[("MEMORY", Fit::Whole), ("TIME (UTC)", Fit::Whole), ("TEXT", Fit::Cut)],
        None => &[("", Fit::Whole); 6],
    };
    let (mut table, mut all) = (Table::new(columns), Vec::new());
    // What is left away is left away once.
    let (mut skip, mut shown, at_start) = (offset, 0, offset == 0 && paging.after.is_none());
    let page = |after: Option<String>, limit: usize| {
        let listing = memories.listing().limit(limit).offset(std::mem::take(&mut skip));
        let listing = if archived { listing.archived() } else { listing };
        match after {
            Some(id) => listing.after(id).run().or_see("memory list"),
            None => listing.run(),
        }
    };
    let next = pages(paging, page, |items| {
        shown += items.len();
        if out.json {
            all.extend(items);
            return true;
        }
        let row = |m: Memory| -> Vec<Cell> {
            let time = short_time(&m.timestamp, out).into();
            if out.terminal().is_some() {
                // `memory show` has the rest; the text needs the room.
                return vec![m.id.into(), time, said(m.speaker.as_deref(), &m.content).into()];
            }
            vec![m.id.into(), time, m.tier.name().into(), m.agent.into(), m.speaker.unwrap_or_default().into(), m.content.into()]
        };
        let rows = items.into_iter().map(row).collect();
        table.rows(rows, out);
        out.is_open()
    })?;
    if out.json {
        out.value(&json!({ "memories": all, "next": next }))?;
    } else if shown == 0 && out.terminal().is_some() {
        out.remark(if at_start { "no memories yet: mirrordna remember TEXT" } else { "there are no memories that far" });
    }
    tell_more(next.as_deref(), out);
    Ok(())
}

/// A text with who said it.
fn said(speaker: Option<&str>, text: &str) -> String {
    speaker.map_or_else(|| text.to_owned(), |speaker| format!("{speaker}: {text}"))
}

fn show(engine: &Engine, id: &str, out: &mut Output) -> Result<()> {
    let memory = engine.memories().get(id).or_see("memory list")?;
    if out.json {
        return out.value(&memory);
    }
    let mut names = Names::new(engine, out);
    let user = memory.user.map(|id| names.of(&id));
    let pairs = [
        ("id", Some(memory.id)),
        ("text", Some(memory.content)),
        ("tier", Some(memory.tier.name().to_owned())),
        ("tags", (!memory.tags.is_empty()).then(|| memory.tags.join(", "))),
        ("time", Some(memory.timestamp)),
        ("agent", Some(names.of(&memory.agent))),
        ("session", memory.session),
        ("user", user),
        ("subject", memory.subject),
        ("speaker", memory.speaker),
        ("role", memory.role),
        ("metadata", memory.metadata),
        ("source id", memory.source_id),
        ("source", memory.source_ns),
        ("archived", memory.archived.then(|| "yes".to_owned())),
        ("version", Some(memory.version.to_string())),
        ("leaf", Some(memory.leaf.to_string())),
    ];
    let pairs: Vec<(&str, String)> = pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    out.pairs(&pairs);
    Ok(())
}

/// What became of a memory.
fn changed(engine: Engine, id: &str, what: &str, out: &mut Output) -> Result<()> {
    if out.json {
        out.value(&engine.memories().get(id)?)?;
    } else {
        out.line(format!("{id} {what}"));
    }
    engine.close()
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
    let text = one_line(&said(hit.record.speaker.as_deref(), &hit.record.content));
    out.line(format!("{n:>2}  {}", cut(&text, terminal.saturating_sub(4))));
    let place = out.tone(Tone::Dim, format!("{:.2}  {when}  {}", hit.score, hit.record.id));
    out.line(format!("    {place}"));
}
