//! `snapshot …`: capturing, comparing and restoring the state of an agent.

use super::{Names, OrSee, agent, count, open, open_to_read, short_time};
use crate::args::SnapshotCommand;
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Tone};
use mirrordna::{Comparison, Engine, Result};
use serde_json::json;

pub(crate) fn snapshot(settings: &Settings, command: SnapshotCommand, out: &mut Output) -> Result<u8> {
    match command {
        SnapshotCommand::Capture { identity, metadata } => {
            let engine = open(settings)?;
            let agent = agent(&engine, identity.as_deref())?;
            let snapshot = engine.snapshots().capture(&agent, metadata.as_deref())?;
            if out.json {
                out.value(&snapshot.document)?;
            } else {
                out.line(&snapshot.id);
            }
            drop(agent);
            engine.close()?;
        }
        SnapshotCommand::List => {
            let engine = open_to_read(settings, out)?;
            let all = engine.snapshots().list(None)?;
            if out.json {
                let documents: Vec<_> = all.into_iter().map(|s| s.document).collect();
                out.value(&json!({ "snapshots": documents }))?;
            } else {
                let mut names = Names::new(&engine, out);
                let rows = all.into_iter().map(|s| {
                    let time = short_time(s.document["timestamp"].as_str().unwrap_or_default(), out);
                    vec![s.id.into(), time.into(), s.size.to_string().into(), names.of(&s.agent).into()]
                });
                let rows = rows.collect();
                let columns = [("SNAPSHOT", Fit::Whole), ("CAPTURED (UTC)", Fit::Whole), ("EVENTS", Fit::Number), ("AGENT", Fit::Cut)];
                out.table(&columns, rows, "no snapshots yet: mirrordna snapshot capture");
            }
        }
        SnapshotCommand::Show { snapshot, yaml } => {
            let snapshot = open_to_read(settings, out)?.snapshots().get(&snapshot).or_see("snapshot list")?;
            if out.json {
                out.value(&snapshot.document)?;
            } else {
                out.line(if yaml { snapshot.to_yaml() } else { snapshot.to_json() }.trim_end());
            }
        }
        SnapshotCommand::Compare { first, second } => {
            let engine = open_to_read(settings, out)?;
            let found = engine.snapshots().compare(&first, &second).or_see("snapshot list")?;
            if out.json {
                out.value(&found)?;
            } else {
                show_comparison(&engine, found, out);
            }
        }
        SnapshotCommand::Restore { snapshot } => {
            let engine = open(settings)?;
            let done = engine.snapshots().restore(&snapshot).or_see("snapshot list")?;
            if out.json {
                out.value(&done)?;
            } else {
                let put = count(done.put, "memory", "memories");
                out.line(format!("{put} put back, {} archived, {} unchanged", done.archived, done.unchanged));
            }
            engine.close()?;
        }
    }
    Ok(0)
}

fn show_comparison(engine: &Engine, found: Comparison, out: &mut Output) {
    if found == Comparison::default() {
        return out.line("no difference");
    }
    out.line(format!("sections that differ: {}", found.changed_sections.join(", ")));
    let lists = [("added", Tone::Good, found.added), ("changed", Tone::Notice, found.changed), ("removed", Tone::Bad, found.removed)];
    let memories = lists.into_iter().flat_map(|(what, tone, ids)| ids.into_iter().map(move |id| (what, tone, id)));
    let rows = memories.map(|(what, tone, id)| {
        // As it is now; the snapshots only name it.
        let text = engine.memories().get(&id).map(|m| m.content).unwrap_or_default();
        vec![Cell::toned(tone, what), id.into(), text.into()]
    });
    out.table(&[("CHANGE", Fit::Whole), ("MEMORY", Fit::Whole), ("TEXT", Fit::Cut)], rows.collect(), "the memories are the same");
}
