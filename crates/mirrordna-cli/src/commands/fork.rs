//! `fork`: going on from a state that this machine has seen newer.

use super::count;
use crate::args::Fork;
use crate::config::Settings;
use crate::output::{Output, Progress, Unit};
use mirrordna::Result;

pub(crate) fn fork(settings: &Settings, args: &Fork, out: &mut Output) -> Result<u8> {
    let mut progress = Progress::new("verifying", Unit::Events, out);
    let forks = settings.builder_to_write()?.fork_with(args.accept_head, &args.reason, &mut |done, of| progress.update(done, of))?;
    drop(progress);
    if out.json {
        out.value(&serde_json::json!({"forks": forks}))?;
        return Ok(0);
    }
    for fork in &forks {
        let why = if fork.cause == "forked" { "another history was seen here" } else { "a newer state was seen here" };
        out.line(format!("log {} was closed at {} ({why})", fork.adopted, count(fork.events, "event", "events")));
        out.line(format!("log {} goes on from it; its key has fingerprint", fork.log));
        out.line(format!("  {}", fork.log_key));
    }
    out.line("Tell the fingerprint to those who verify: it is another key than before.");
    Ok(0)
}
