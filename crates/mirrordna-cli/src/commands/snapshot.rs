//! `snapshot …`: capturing, comparing and restoring the state of an agent.

use super::{agent, open};
use crate::args::SnapshotCommand;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::Result;
use serde_json::json;

pub(crate) fn snapshot(settings: &Settings, command: SnapshotCommand, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    match command {
        SnapshotCommand::Capture { identity, metadata } => {
            let agent = agent(&engine, identity.as_deref())?;
            let snapshot = engine.snapshots().capture(&agent, metadata.as_deref())?;
            if out.json {
                out.value(&snapshot.document)?;
            } else {
                out.line(&snapshot.id);
            }
        }
        SnapshotCommand::List => {
            let all = engine.snapshots().list(None)?;
            if out.json {
                let documents: Vec<_> = all.into_iter().map(|s| s.document).collect();
                out.value(&json!({ "snapshots": documents }))?;
            } else {
                let rows: Vec<Vec<String>> = all.into_iter().map(|s| vec![s.id, s.size.to_string(), s.agent]).collect();
                out.table(&rows);
            }
        }
        SnapshotCommand::Show { snapshot, yaml } => {
            let snapshot = engine.snapshots().get(&snapshot)?;
            out.line(if yaml { snapshot.to_yaml() } else { snapshot.to_json() }.trim_end());
        }
        SnapshotCommand::Compare { first, second } => {
            let found = engine.snapshots().compare(&first, &second)?;
            if out.json {
                out.value(&found)?;
            } else {
                out.line(format!("sections  {}", found.changed_sections.join(", ")));
                for (mark, list) in [("+", found.added), ("~", found.changed), ("-", found.removed)] {
                    list.iter().for_each(|id| out.line(format!("{mark} {id}")));
                }
            }
        }
        SnapshotCommand::Restore { snapshot } => {
            let done = engine.snapshots().restore(&snapshot)?;
            if out.json {
                out.value(&done)?;
            } else {
                out.line(format!("{} put back, {} archived, {} unchanged", done.put, done.archived, done.unchanged));
            }
        }
    }
    engine.close()?;
    Ok(0)
}
