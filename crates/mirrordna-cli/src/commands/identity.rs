//! `identity …`: creating and showing identities.

use super::open;
use crate::args::{IdentityCommand, Kind};
use crate::config::Settings;
use crate::output::Output;
use mirrordna::{Identity, IdentityType, NewIdentity, Result};
use serde_json::json;

pub(crate) fn identity(settings: &Settings, command: IdentityCommand, out: &mut Output) -> Result<u8> {
    match command {
        IdentityCommand::Create { kind, name, description, metadata } => {
            let engine = settings.builder().open()?;
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
                    out.line(format!("  key in {}", keyring.display()));
                    out.line(format!("  recovery key in {}: move it to another device", recovery.display()));
                }
            }
            drop(identity);
            engine.close()?;
        }
        IdentityCommand::List => {
            let engine = open(settings)?;
            let profiles = engine.identities().list()?.iter().map(Identity::profile).collect::<Result<Vec<_>>>()?;
            if out.json {
                out.value(&json!({ "identities": profiles }))?;
            } else {
                let rows: Vec<Vec<String>> = profiles
                    .into_iter()
                    .map(|p| vec![p.id, p.identity_type.name().to_owned(), p.name.unwrap_or_default(), p.created_at.unwrap_or_default()])
                    .collect();
                out.table(&rows);
            }
        }
        IdentityCommand::Show { identity } => {
            let engine = open(settings)?;
            let profile = engine.identities().find(&identity)?.profile()?;
            if out.json {
                out.value(&profile)?;
            } else {
                let mut rows = vec![vec!["id".into(), profile.id], vec!["type".into(), profile.identity_type.name().into()]];
                for (name, value) in [
                    ("name", profile.name),
                    ("description", profile.description),
                    ("namespace", profile.source_ns),
                    ("created", profile.created_at),
                    ("metadata", profile.metadata),
                ] {
                    rows.extend(value.map(|v| vec![name.to_owned(), v]));
                }
                out.table(&rows);
            }
        }
    }
    Ok(0)
}
