//! `identity …`: creating and showing identities.

use super::{OrSee, open_to_read, short_time, tell_more};
use crate::args::{IdentityCommand, Kind};
use crate::config::Settings;
use crate::output::{Fit, Output};
use mirrordna::{Identity, IdentityType, NewIdentity, Result};
use serde_json::json;

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
    }
    Ok(0)
}
