//! `identity …`: creating and showing identities, and what becomes of them.

use super::{OrSee, count, open, open_to_read, short_time, span, tell_more};
use crate::args::{IdentityCommand, Kind, RecoverySource};
use crate::config::Settings;
use crate::output::{Fit, Output, Tone};
use mirrordna::{
    Code, Engine, Error, Identity, IdentityHistory, IdentityType, IdentityVersion, NewIdentity, RecoveryKeys, Result, input, limits,
};
use serde_json::json;
use std::io::stdin;

pub(crate) fn identity(settings: &Settings, command: IdentityCommand, out: &mut Output) -> Result<u8> {
    match command {
        IdentityCommand::Create { kind, name, description, metadata } => {
            let engine = settings.builder_to_write()?.open()?;
            let kind = match kind {
                Kind::Agent => IdentityType::Agent,
                Kind::User => IdentityType::User,
            };
            let new = NewIdentity { name, description, metadata, source_ns: None };
            let identity = engine.identities().create_with(kind, new)?;
            let (keyring, recovery) = (engine.keyring_path(), engine.recovery_path());
            if out.json {
                out.value(&identity.profile()?)?;
            } else {
                out.line(identity.id());
                if let (Some(keyring), Some(recovery)) = (keyring, recovery) {
                    out.remark(format!("  key in {}", keyring.display()));
                    out.remark(format!("  recovery key in {}: move it to another device", recovery.display()));
                }
            }
            drop(identity);
            engine.close()?;
        }
        IdentityCommand::List { paging } => {
            let engine = open_to_read(settings, out)?;
            let page = engine.identities().list_after(paging.after.as_deref(), paging.limit.unwrap_or(usize::MAX));
            let page = page.or_see("identity list")?;
            let profiles = page.items.iter().map(Identity::profile).collect::<Result<Vec<_>>>()?;
            if out.json {
                out.value(&json!({ "identities": profiles, "next": page.next }))?;
            } else {
                let rows = profiles.into_iter().map(|p| {
                    let created = short_time(&p.created_at.unwrap_or_default(), out);
                    vec![p.id.into(), p.identity_type.name().into(), created.into(), p.name.unwrap_or_default().into()]
                });
                let columns = [("IDENTITY", Fit::Whole), ("TYPE", Fit::Whole), ("CREATED (UTC)", Fit::Whole), ("NAME", Fit::Cut)];
                let rows = rows.collect();
                out.table(&columns, rows, "no identities yet: mirrordna identity create agent --name NAME");
            }
            tell_more(page.next.as_deref(), out);
        }
        IdentityCommand::Show { identity } => {
            let engine = open_to_read(settings, out)?;
            let profile = engine.identities().find(&identity).or_see("identity list")?.profile()?;
            if out.json {
                out.value(&profile)?;
            } else {
                let mut pairs = vec![("id", profile.id), ("type", profile.identity_type.name().to_owned())];
                for (name, value) in [
                    ("name", profile.name),
                    ("description", profile.description),
                    ("namespace", profile.source_ns),
                    ("created", profile.created_at),
                    ("metadata", profile.metadata),
                ] {
                    pairs.extend(value.map(|v| (name, v)));
                }
                out.pairs(&pairs);
            }
        }
        IdentityCommand::Rotate { identity } => {
            let engine = open(settings)?;
            let identity = engine.identities().find(&identity).or_see("identity list")?;
            changed(&identity, &identity.rotate()?, out)?;
            close(identity, engine)?;
        }
        IdentityCommand::Recover { identity, source, last_trusted } => {
            let keys = recovery_keys(&source)?;
            let engine = open(settings)?;
            let identity = engine.identities().find(&identity).or_see("identity list")?;
            let version = identity.recover(&keys, last_trusted)?;
            changed(&identity, &version, out)?;
            if !out.json {
                tell_disputed(&identity.history()?, Some(version.position), out);
                if let Some(file) = engine.recovery_path() {
                    out.remark(format!("  the recovery key is used up; the new one is in {}: move it to another device", file.display()));
                }
            }
            close(identity, engine)?;
        }
        IdentityCommand::Revoke { identity, reason, epoch, last_trusted } => {
            let engine = open(settings)?;
            let identity = engine.identities().find(&identity).or_see("identity list")?;
            if let Some(reason) = reason {
                changed(&identity, &identity.revoke(&reason)?, out)?;
            } else if let Some(epoch) = epoch {
                identity.revoke_epoch(epoch, last_trusted)?;
                let history = identity.history()?;
                if out.json {
                    out.value(&json!({ "id": identity.id(), "epoch": epoch, "disputed": history.disputed }))?;
                } else {
                    out.line(format!("epoch {epoch} of {} is ended", identity.id()));
                    tell_disputed(&history, None, out);
                }
            }
            close(identity, engine)?;
        }
        IdentityCommand::Log { identity, at, did } => {
            let engine = open_to_read(settings, out)?;
            let identity = engine.identities().find(&identity).or_see("identity list")?;
            let at = at.unwrap_or(u64::MAX);
            if did {
                out.raw(identity.did_log_at(at)?.as_bytes());
                return Ok(0);
            }
            let history = identity.history_at(at)?;
            if out.json {
                out.value(&history)?;
            } else {
                let rows = history.versions.iter().map(|v| {
                    let time = short_time(&v.time, out);
                    let key = v.keys.first().cloned().unwrap_or_default();
                    vec![v.version.to_string().into(), v.what.into(), v.position.to_string().into(), time.into(), key.into()]
                });
                let columns = [
                    ("VERSION", Fit::Whole),
                    ("WHAT", Fit::Whole),
                    ("POSITION", Fit::Whole),
                    ("TIME (UTC)", Fit::Whole),
                    ("KEY", Fit::Cut),
                ];
                let rows = rows.collect();
                out.table(&columns, rows, "no versions: it was imported without keys");
                tell_disputed(&history, None, out);
            }
        }
    }
    Ok(0)
}

/// Says what version an identity has now.
fn changed(identity: &Identity, version: &IdentityVersion, out: &mut Output) -> Result<()> {
    if out.json {
        return out.value(&json!({ "id": identity.id(), "changed": version }));
    }
    let key = version.keys.first().cloned().unwrap_or_default();
    out.pairs(&[
        ("id", identity.id().to_owned()),
        ("version", format!("{} ({})", version.version, version.what)),
        ("position", version.position.to_string()),
        ("key", key),
    ]);
    Ok(())
}

/// Says to people what an identity no longer stands by: all of it, or what one
/// event disputes.
fn tell_disputed(history: &IdentityHistory, by: Option<u64>, out: &mut Output) {
    for range in history.disputed.iter().filter(|d| by.is_none_or(|by| by == d.by)) {
        let word = out.tone(Tone::Notice, "disputed");
        let of = range.epoch.map(|epoch| format!(" of epoch {epoch}")).unwrap_or_default();
        let events = count(range.count, "event", "events");
        let (numbers, positions) = (span("number", range.first, range.last), span("position", range.first_position, range.last_position));
        out.line(format!("{word}  {events}{of}, {numbers}, at {positions}, by the event at {}", range.by));
    }
}

fn recovery_keys(source: &RecoverySource) -> Result<RecoveryKeys> {
    let Some(path) = &source.recovery_file else { return RecoveryKeys::read(stdin().lock()) };
    let file = input::open(path, "the recovery file", Code::KeyMissing)
        .map_err(|e| e.with_hint("Name the file that was moved away when the identity was created."))?;
    // Before a byte of it is in memory.
    if file.metadata().is_ok_and(|meta| meta.len() > limits::PAYLOAD as u64) {
        let message = format!("{} has more than {} bytes, the limit of a recovery file", path.display(), limits::PAYLOAD);
        return Err(Error::new(Code::LimitExceeded, message));
    }
    RecoveryKeys::read(file)
}

fn close(identity: Identity, engine: Engine) -> Result<()> {
    drop(identity);
    engine.close()
}
