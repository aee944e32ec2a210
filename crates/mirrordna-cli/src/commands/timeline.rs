//! `timeline …`: appending and showing events.

use super::{one_line, open};
use crate::args::TimelineCommand;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::Result;

pub(crate) fn timeline(settings: &Settings, command: TimelineCommand, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    match command {
        TimelineCommand::Append { event_type, payload, identity } => {
            let actor = engine.identities().find(&identity)?;
            let placed = actor.timeline().append_json(&event_type, payload.as_deref(), None)?;
            if out.json {
                out.value(&engine.timeline().get(placed.index)?)?;
            } else {
                out.line(format!("leaf {}", placed.index));
            }
            drop(actor);
            engine.close()?;
        }
        TimelineCommand::List { identity, from, limit } => {
            let timeline = match &identity {
                Some(name) => engine.identities().find(name)?.timeline(),
                None => engine.timeline(),
            };
            let (mut next, mut left) = (from, limit.unwrap_or(usize::MAX));
            while left > 0 {
                let page = timeline.list(next, left.min(1_000))?;
                let Some(last) = page.last() else { break };
                next = last.leaf + 1;
                left -= page.len();
                for event in &page {
                    if out.json {
                        out.value(event)?;
                    } else {
                        show_event(event, out);
                    }
                }
            }
        }
        TimelineCommand::Show { leaf } => {
            let event = engine.timeline().get(leaf)?;
            if out.json {
                out.value(&event)?;
            } else {
                let text = serde_json::to_value(&event).unwrap_or_default();
                let rows: Vec<Vec<String>> = text
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| vec![k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)])
                    .collect();
                out.table(&rows);
            }
        }
    }
    Ok(0)
}

fn show_event(event: &mirrordna::TimelineEvent, out: &mut Output) {
    let what = event.event_type.as_deref().or(event.record.as_deref()).unwrap_or_default();
    let text = event.payload.as_deref().map(|p| one_line(p, 70)).unwrap_or_default();
    let mark = if event.signed { "signed" } else { "" };
    let actor: String = event.actor.chars().take(17).collect();
    out.line(format!("{:>6}  {:<24}  {:<15}  {:<6}  {actor}  {what}  {text}", event.leaf, event.time, event.kind, mark).trim_end());
}
