//! `session …`: starting, ending and showing sessions.

use super::open;
use crate::args::SessionCommand;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::{NewSession, Result};
use serde_json::json;

pub(crate) fn session(settings: &Settings, command: SessionCommand, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    match command {
        SessionCommand::Start { agent, user, parent } => {
            let (agent, user) = (engine.identities().find(&agent)?, engine.identities().find(&user)?);
            let new = NewSession { user: Some(user.id().to_owned()), parent, ..NewSession::default() };
            let session = engine.sessions().start_with(&agent, new)?;
            if out.json {
                out.value(&engine.sessions().get(session.id())?)?;
            } else {
                out.line(session.id());
            }
        }
        SessionCommand::End { session, final_state } => {
            engine.sessions().resume(&session)?.end_with(final_state.as_deref())?;
            if out.json {
                out.value(&engine.sessions().get(&session)?)?;
            } else {
                out.line(format!("{session} ended"));
            }
        }
        SessionCommand::List { agent } => {
            let agent = agent.map(|a| engine.identities().find(&a)).transpose()?;
            let sessions = engine.sessions().list(agent.as_ref())?;
            show_sessions(sessions, out)?;
        }
        SessionCommand::Show { session } => show_sessions(engine.sessions().lineage(&session)?, out)?,
    }
    engine.close()?;
    Ok(0)
}

fn show_sessions(sessions: Vec<mirrordna::Session>, out: &mut Output) -> Result<()> {
    if out.json {
        return out.value(&json!({ "sessions": sessions }));
    }
    let rows: Vec<Vec<String>> = sessions
        .into_iter()
        .map(|s| vec![s.id, s.started_at, s.ended_at.unwrap_or_else(|| "open".into()), s.agent, s.user.unwrap_or_default()])
        .collect();
    out.table(&rows);
    Ok(())
}
