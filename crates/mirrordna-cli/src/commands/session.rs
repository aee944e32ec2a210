//! `session …`: starting, ending and showing sessions.

use super::{Names, OrSee, open, open_to_read, paged, short_time, tell_more};
use crate::args::SessionCommand;
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Tone};
use mirrordna::{Engine, NewSession, Result, Session};
use serde_json::json;

pub(crate) fn session(settings: &Settings, command: SessionCommand, out: &mut Output) -> Result<u8> {
    match command {
        SessionCommand::Start { agent, user, parent } => {
            let engine = open(settings)?;
            let (agent, user) =
                (engine.identities().find(&agent).or_see("identity list")?, engine.identities().find(&user).or_see("identity list")?);
            let new = NewSession { user: Some(user.id().to_owned()), parent, ..NewSession::default() };
            let session = engine.sessions().start_with(&agent, new)?;
            if out.json {
                out.value(&engine.sessions().get(session.id())?)?;
            } else {
                out.line(session.id());
            }
            drop((agent, user, session));
            engine.close()?;
        }
        SessionCommand::End { session, final_state } => {
            let engine = open(settings)?;
            engine.sessions().resume(&session).or_see("session list")?.end_with(final_state.as_deref())?;
            if out.json {
                out.value(&engine.sessions().get(&session)?)?;
            } else {
                out.line(format!("{session} ended"));
            }
            engine.close()?;
        }
        SessionCommand::List { agent, paging } => {
            let engine = open_to_read(settings, out)?;
            let agent = agent.map(|a| engine.identities().find(&a).or_see("identity list")).transpose()?;
            let sessions = engine.sessions();
            let (all, next) = paged(paging, |after, limit| {
                let listing = sessions.listing(agent.as_ref()).limit(limit);
                match after {
                    Some(id) => listing.after(id).run().or_see("session list"),
                    None => listing.run(),
                }
            })?;
            if out.json {
                out.value(&json!({ "sessions": all, "next": next }))?;
            } else {
                show(&engine, all, out)?;
            }
            tell_more(next.as_deref(), out);
        }
        SessionCommand::Show { session } => {
            let engine = open_to_read(settings, out)?;
            show(&engine, engine.sessions().lineage(&session).or_see("session list")?, out)?;
        }
    }
    Ok(0)
}

fn show(engine: &Engine, sessions: Vec<Session>, out: &mut Output) -> Result<()> {
    if out.json {
        return out.value(&json!({ "sessions": sessions }));
    }
    let mut names = Names::new(engine, out);
    let rows = sessions.into_iter().map(|s| {
        let ended = match s.ended_at {
            Some(at) => short_time(&at, out).into(),
            None => Cell::toned(Tone::Good, "open"),
        };
        let user = s.user.map(|u| names.of(&u)).unwrap_or_default();
        vec![s.id.into(), short_time(&s.started_at, out).into(), ended, names.of(&s.agent).into(), user.into()]
    });
    let rows = rows.collect();
    let columns = [("SESSION", Fit::Whole), ("STARTED (UTC)", Fit::Whole), ("ENDED", Fit::Whole), ("AGENT", Fit::Cut), ("USER", Fit::Cut)];
    out.table(&columns, rows, "no sessions yet: mirrordna session start --agent AGENT --user USER");
    Ok(())
}
