//! `citation …`: making, showing and checking master citations.

use super::{OrSee, agent, open, open_to_read, paged, short_time, tell_more};
use crate::args::Paging;
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Tone};
use clap::Subcommand;
use mirrordna::entities::{Citation, Members};
use mirrordna::{ChecksumReport, Code, Error, Result, Stored};
use serde_json::{Value, json};

const NONE_YET: &str = "no citations yet: mirrordna citation create VERSION";

/// `citation …`
#[derive(Debug, Subcommand)]
pub(crate) enum CitationCommand {
    /// Make a citation: what a vault commits an agent to, in a chain of versions.
    #[command(
        after_help = "Examples:\n  mirrordna citation create 1.0.0\n  mirrordna citation create 1.1.0 --predecessor mc_01m7yn5m709aah46zbayenk3kn --tag reviewed\n  mirrordna citation create 1.0.0 --identity Ada --vault vault_of_the_harbour_office --json"
    )]
    Create(Create),
    /// Show a citation.
    #[command(after_help = "Examples:\n  mirrordna citation show mc_01m7yn5m709aah46zbayenk3kn --json")]
    Show {
        /// Its id, or the id it had where it was imported from.
        citation: String,
    },
    /// Show all citations, oldest first.
    #[command(
        after_help = "Examples:\n  mirrordna citation list\n  mirrordna citation list --identity Ada --json\n  mirrordna citation list --limit 100 --after \"$next\" --json | jq -r '.next // empty'"
    )]
    List {
        /// Only those that this agent wrote: id or name.
        #[arg(long)]
        identity: Option<String>,
        #[command(flatten)]
        paging: Paging,
        /// With the archived ones.
        #[arg(long)]
        archived: bool,
    },
    /// Show a citation and those it follows, oldest first.
    #[command(after_help = "Examples:\n  mirrordna citation lineage mc_01m7yn5m709aah46zbayenk3kn")]
    Lineage {
        /// Its id.
        citation: String,
    },
    /// Check that checksums are those of the content: exit status 0 if all are, 1 if not.
    #[command(
        after_help = "Examples:\n  mirrordna citation verify\n  mirrordna citation verify mc_01m7yn5m709aah46zbayenk3kn --json\n\nAnybody can compute a checksum anew; what proves that nothing was altered is `mirrordna verify`."
    )]
    Verify {
        /// Its id; by default all citations are checked.
        citation: Option<String>,
    },
}

/// `citation create …`
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its version, three numbers with dots.
    version: String,
    /// The agent that makes it: id or name; may be left away where there is one.
    #[arg(long)]
    identity: Option<String>,
    /// The vault it belongs to, vault_ and 16 or more of a-z, 0-9 and _; by default one named after this database.
    #[arg(long)]
    vault: Option<String>,
    /// The citation before it.
    #[arg(long, value_name = "ID")]
    predecessor: Option<String>,
    /// The identity it speaks for; by default the agent.
    #[arg(long, value_name = "ID")]
    identity_ref: Option<String>,
    /// The constitution it refers to.
    #[arg(long, value_name = "REF")]
    constitutional_ref: Option<String>,
    /// A label; may be repeated.
    #[arg(long)]
    tag: Vec<String>,
    /// A JSON object with what else is to be said.
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

pub(crate) fn citation(settings: &Settings, command: CitationCommand, out: &mut Output) -> Result<u8> {
    let engine = if matches!(command, CitationCommand::Create(_)) { open(settings)? } else { open_to_read(settings, out)? };
    let citations = engine.citations();
    let mut status = 0;
    match command {
        CitationCommand::Create(new) => {
            let agent = agent(&engine, new.identity.as_deref())?;
            let metadata = new.metadata.as_deref().map(serde_json::from_str::<Members>).transpose();
            let metadata = metadata.map_err(|e| Error::new(Code::JsonInvalid, "the metadata is no JSON object").caused_by(e))?;
            let written = agent.citations().add(&Citation {
                version: new.version,
                vault_id: new.vault.unwrap_or_else(|| format!("vault_{}", engine.database_id())),
                predecessor: new.predecessor,
                identity_ref: Some(new.identity_ref.unwrap_or_else(|| agent.id().to_owned())),
                constitutional_ref: new.constitutional_ref,
                tags: (!new.tag.is_empty()).then_some(new.tag),
                metadata,
                ..Citation::default()
            })?;
            if out.json {
                out.value(&shown(&citations.get(&written.id)?))?;
            } else {
                out.line(written.id);
            }
        }
        CitationCommand::Show { citation } => {
            let stored = citations.get(&citation).or_see("citation list")?;
            if out.json {
                out.value(&shown(&stored))?;
            } else {
                for (name, value) in [("id", &stored.id), ("agent", &stored.agent), ("written", &stored.created_at)] {
                    out.line(format!("{name:<8}  {value}"));
                }
                out.line(format!("{:#}", document(&stored)));
            }
        }
        CitationCommand::List { identity, paging, archived } => {
            let citations = match identity {
                Some(name) => engine.identities().find(&name).or_see("identity list")?.citations(),
                None => citations.clone(),
            };
            let (all, next) = paged(paging, |after, limit| {
                let listing = citations.listing().limit(limit);
                let listing = if archived { listing.archived() } else { listing };
                match after {
                    Some(id) => listing.after(id).run().or_see("citation list"),
                    None => listing.run(),
                }
            })?;
            if out.json {
                out.value(&json!({ "citations": all.iter().map(shown).collect::<Vec<_>>(), "next": next }))?;
            } else {
                show_all(&all, out)?;
            }
            tell_more(next.as_deref(), out);
        }
        CitationCommand::Lineage { citation } => show_all(&citations.lineage(&citation).or_see("citation list")?, out)?,
        CitationCommand::Verify { citation } => {
            let ids = match citation {
                Some(id) => vec![id],
                None => {
                    let (mut ids, mut page) = (Vec::new(), citations.listing().run()?);
                    loop {
                        ids.extend(page.items.into_iter().map(|c| c.id));
                        match page.next {
                            Some(next) => page = citations.listing().after(next).run()?,
                            None => break ids,
                        }
                    }
                }
            };
            let reports = ids.iter().map(|id| citations.verify(id).or_see("citation list")).collect::<Result<Vec<ChecksumReport>>>()?;
            let ok = reports.iter().all(|r| r.ok);
            status = u8::from(!ok);
            if out.json {
                out.value(&json!({ "ok": ok, "citations": reports }))?;
            } else {
                let rows = reports.into_iter().map(|report| {
                    let fits = if report.ok { Cell::toned(Tone::Good, "fits") } else { Cell::toned(Tone::Bad, "does not fit") };
                    let text = |sum: Option<String>| Cell::from(sum.unwrap_or_else(|| "none".into()));
                    vec![report.id.into(), fits, text(report.stated), text(report.computed)]
                });
                let columns = [("CITATION", Fit::Whole), ("CHECKSUM", Fit::Whole), ("STATED", Fit::Cut), ("COMPUTED", Fit::Cut)];
                out.table(&columns, rows.collect(), NONE_YET);
            }
        }
    }
    drop(citations);
    engine.close()?;
    Ok(status)
}

fn document(stored: &Stored<Citation>) -> Value {
    serde_json::from_str(&stored.document).unwrap_or_default()
}

/// A record with its document as JSON instead of as text.
fn shown(stored: &Stored<Citation>) -> Value {
    let mut value = serde_json::to_value(stored).unwrap_or_default();
    if let Some(slot) = value.get_mut("document") {
        *slot = document(stored);
    }
    value
}

fn show_all(all: &[Stored<Citation>], out: &mut Output) -> Result<()> {
    if out.json {
        return out.value(&json!({ "citations": all.iter().map(shown).collect::<Vec<_>>() }));
    }
    let rows = all.iter().map(|stored| {
        let document = document(stored);
        let member = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        vec![stored.id.clone().into(), member("version").into(), short_time(&member("created_at"), out).into(), member("vault_id").into()]
    });
    let rows = rows.collect();
    let columns = [("CITATION", Fit::Whole), ("VERSION", Fit::Whole), ("CREATED (UTC)", Fit::Whole), ("VAULT", Fit::Cut)];
    out.table(&columns, rows, NONE_YET);
    Ok(())
}
