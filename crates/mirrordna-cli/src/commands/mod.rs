//! What each command does, a file per subject.

mod backup;
mod config;
mod doctor;
mod identity;
mod import;
mod init;
mod memory;
mod pages;
mod session;
mod snapshot;
mod timeline;
mod verify;

pub(crate) use backup::{export, restore};
pub(crate) use config::config;
pub(crate) use doctor::doctor;
pub(crate) use identity::identity;
pub(crate) use import::import;
pub(crate) use init::{describe_new, init};
pub(crate) use memory::{recall, remember};
pub(crate) use pages::{completions, man};
pub(crate) use session::session;
pub(crate) use snapshot::snapshot;
pub(crate) use timeline::timeline;
pub(crate) use verify::{show_report, verify, verify_store};

use crate::config::Settings;
use crate::output::Output;
use mirrordna::{Code, Engine, Error, Identity, IdentityType, Result};
use std::io::{Write, stdout};

/// Opens an existing database.
pub(crate) fn open(settings: &Settings) -> Result<Engine> {
    settings.builder().create(false).open()
}

/// The agent that is named, or the only one there is.
fn agent(engine: &Engine, named: Option<&str>) -> Result<Identity> {
    if let Some(name) = named {
        return engine.identities().find(name);
    }
    let mut agents: Vec<Identity> = engine.identities().list()?.into_iter().filter(|i| i.identity_type() == IdentityType::Agent).collect();
    match (agents.pop(), agents.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => {
            Err(Error::new(Code::NotFound, "the database has no agent yet").with_hint("mirrordna identity create agent --name NAME"))
        }
        (Some(_), more) => Err(Error::new(Code::InputInvalid, format!("the database has {} agents", more + 1))
            .with_hint("Name one with --identity; `mirrordna identity list` shows them.")),
    }
}

/// Text on one line of at most `width` characters.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match flat.char_indices().nth(width) {
        Some((cut, _)) => format!("{}…", &flat[..cut]),
        None => flat,
    }
}

fn raw(text: &[u8], _out: &mut Output) -> Result<u8> {
    // A closed pipe is the reader's choice.
    let _closed = stdout().lock().write_all(text);
    Ok(0)
}
