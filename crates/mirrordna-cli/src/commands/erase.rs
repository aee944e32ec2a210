//! `erase`, `hold …`, `retention …` and `consent …`: destroying content, and
//! what forbids or asks for it.

use super::{OrSee, count, open, open_to_read, short_time, write_new};
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Tone};
use clap::{ArgGroup, Subcommand, ValueHint};
use mirrordna::erasure::{Applied, Consent, Hold, Policy};
use mirrordna::{Code, Erasure, ErasureState, Error, OnWhat, Reason, Receipt, Result, Tier, input, limits};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `erase …`
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").required(true).args(["subject", "user", "actor", "session", "id", "replay", "settle"])))]
pub(crate) struct Erase {
    /// All that is about this subject; of tool calls also those that name no
    /// subject, but this user.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// The tool calls that this user asked for, whoever they are about.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// All that is about this identity, by its id or name, its profile too; its
    /// chain stays.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// All events of this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// What has this id: a record with its history, an event (evt_…), both events
    /// of a tool call; by the name of an identity its profile.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// What this receipt says was erased, once more: for a database that was
    /// restored from an older copy.
    #[arg(long, value_name = "RECEIPT", value_hint = ValueHint::FilePath)]
    replay: Option<PathBuf>,
    /// Purge what is left of erasures that are pending; an error while a reader
    /// of an older state stands in the way.
    #[arg(long, conflicts_with_all = ["dry_run", "receipt"])]
    settle: bool,
    /// Erase nothing; say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Write the receipt to this file, which must not exist.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "dry_run")]
    receipt: Option<PathBuf>,
    /// Why: caller, subject, ttl or prune.
    #[arg(long, default_value = "caller", conflicts_with = "replay")]
    reason: String,
}

pub(crate) fn erase(settings: &Settings, command: &Erase, out: &mut Output) -> Result<u8> {
    let engine = if command.dry_run { open_to_read(settings, out)? } else { open(settings)? };
    if command.settle {
        if engine.settle_erasures()? == ErasureState::Pending {
            return Err(Error::new(Code::ErasurePending, "somebody reads a state from before an erasure"));
        }
        show_one(&json!({ "state": ErasureState::Done }), "done", out)?;
        engine.close()?;
        return Ok(0);
    }
    if command.receipt.as_ref().is_some_and(|file| file.exists()) {
        let message = format!("{} exists already", command.receipt.as_deref().unwrap_or(Path::new("")).display());
        return Err(Error::new(Code::StoreIo, message).with_hint("Nothing was erased. Name another file for the receipt."));
    }
    let mut erase = engine.erase().reason(command.reason.parse::<Reason>()?);
    if command.dry_run {
        erase = erase.dry_run();
    }
    let run = |erase: mirrordna::Erase| match &command.replay {
        Some(file) => {
            let text = input::text(file, "a receipt", limits::PAYLOAD as u64, Code::ImportUnreadable)?;
            erase.replay(&Receipt::from_json(&text)?)
        }
        None => {
            let erase = command.subject.iter().fold(erase, |erase, name| erase.subject(name));
            let erase = command.user.iter().fold(erase, |erase, name| erase.user(name));
            let erase = command.actor.iter().fold(erase, |erase, id| erase.actor(id));
            let erase = command.session.iter().fold(erase, |erase, id| erase.session(id));
            command.id.iter().fold(erase, |erase, id| erase.id(id)).run()
        }
    };
    let done = match &command.receipt {
        None => run(erase)?,
        // Nothing is erased before there is a place for what says so.
        Some(file) => {
            let failed = |e| Error::new(Code::StoreIo, format!("cannot write {}", file.display())).caused_by(e);
            let done = write_new(file, |target| {
                let done = run(erase)?;
                let receipt = done.receipt.as_ref().map(Receipt::to_json).unwrap_or_default();
                target.write_all(receipt.as_bytes()).map_err(failed)?;
                Ok(done)
            })?;
            if done.receipt.is_none() {
                std::fs::remove_file(file).map_err(failed)?;
                out.remark(format!("nothing was left to erase; {} was not written", file.display()));
            }
            done
        }
    };
    if out.json {
        out.value(&done)?;
    } else {
        tell(&done, command.dry_run, out);
    }
    engine.close()?;
    Ok(0)
}

fn tell(done: &Erasure, dry_run: bool, out: &mut Output) {
    let what = if dry_run { "would erase" } else { "erased" };
    let mut line = format!("{what} {}", count(done.events, "event", "events"));
    if !done.schemas.is_empty() {
        let of: Vec<String> = done.schemas.iter().map(|(schema, n)| format!("{schema} {n}")).collect();
        line.push_str(&format!(" ({}), {} bytes", of.join(", "), done.bytes));
    }
    out.line(line);
    if done.already > 0 {
        out.line(format!("{} erased before", count(done.already, "event was", "events were")));
    }
    if done.state == Some(ErasureState::Pending) {
        out.remark(
            "pending: somebody reads an older state just now, so remains are still in the write-ahead log; \
             whoever writes next, opens the database or runs `mirrordna erase --settle` empties it",
        );
    }
}

/// `hold …`
#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Forbid that something is erased.
    #[command(
        group(ArgGroup::new("what").required(true).args(["subject", "session", "id"])),
        after_help = "Examples:\n  mirrordna hold place --subject Sam --reason \"case 17 at the court of Lyon\"\n  mirrordna hold place --id mem_01jt… --reason audit --json | jq -r .id\n  mirrordna hold place --subject Ann --future --reason \"announced claim\""
    )]
    Place {
        /// All that is about this subject.
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        /// All events of this session.
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// What has this id: a record, an event, a tool call; by the name of an
        /// identity its profile.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// The subject may come later: there need be nothing of it yet.
        #[arg(long, conflicts_with_all = ["session", "id"])]
        future: bool,
        /// Why; whoever tries to erase it is told.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a hold.
    #[command(after_help = "Examples:\n  mirrordna hold release hold_01jt…")]
    Release {
        /// Its id.
        hold: String,
    },
    /// Show the holds that stand.
    #[command(after_help = "Examples:\n  mirrordna hold list\n  mirrordna hold list --released --json | jq '.holds | length'")]
    List {
        /// With those that were released.
        #[arg(long)]
        released: bool,
    },
}

pub(crate) fn hold(settings: &Settings, command: HoldCommand, out: &mut Output) -> Result<u8> {
    match command {
        HoldCommand::Place { subject, session, id, future, reason } => {
            let on = subject.map(OnWhat::Subject).or(session.map(OnWhat::Session)).or(id.map(OnWhat::Record));
            let on = on.ok_or_else(|| Error::new(Code::InputInvalid, "a hold needs to be on something"))?;
            let engine = open(settings)?;
            let hold = match on {
                OnWhat::Subject(name) if future => engine.holds().place_future(&name, &reason)?,
                on => engine.holds().place(on, &reason)?,
            };
            show_one(&hold, &hold.id, out)?;
            engine.close()?;
        }
        HoldCommand::Release { hold } => {
            let engine = open(settings)?;
            engine.holds().release(&hold).or_see("hold list --released")?;
            show_one(&engine.holds().get(&hold)?, &format!("{hold} released"), out)?;
            engine.close()?;
        }
        HoldCommand::List { released } => {
            let holds = open_to_read(settings, out)?.holds().list(released)?;
            if out.json {
                out.value(&json!({ "holds": holds }))?;
            } else {
                show_holds(holds, out);
            }
        }
    }
    Ok(0)
}

fn show_one(value: &impl serde::Serialize, line: &str, out: &mut Output) -> Result<()> {
    if out.json {
        out.value(value)?;
    } else {
        out.line(line);
    }
    Ok(())
}

fn show_holds(holds: Vec<Hold>, out: &mut Output) {
    let rows = holds.into_iter().map(|hold| {
        let on = match hold.on {
            OnWhat::Subject(name) => format!("subject {name}"),
            OnWhat::Session(id) | OnWhat::Record(id) => id,
        };
        let state = match hold.released_at {
            Some(at) => short_time(&at, out).into(),
            None => Cell::toned(Tone::Good, "stands"),
        };
        vec![hold.id.into(), short_time(&hold.placed_at, out).into(), state, on.into(), hold.reason.into()]
    });
    let rows = rows.collect();
    let columns = [("HOLD", Fit::Whole), ("PLACED (UTC)", Fit::Whole), ("RELEASED", Fit::Whole), ("ON", Fit::Cut), ("REASON", Fit::Cut)];
    out.table(&columns, rows, "no holds");
}

/// `retention …`
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Set how old records of a kind may become since they last changed.
    #[command(
        after_help = "Examples:\n  mirrordna retention set memory --tier short_term --max-age 30d\n  mirrordna retention set event --max-age 365d\n  mirrordna retention set session --max-age 180d"
    )]
    Set {
        /// What it is about: memory, session, event, snapshot, citation, consent, …
        kind: String,
        /// Only memories of this tier.
        #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(["short_term", "long_term", "episodic"]))]
        tier: Option<String>,
        /// How old: 90s, 15m, 2h, 30d.
        #[arg(long, value_name = "AGE", value_parser = age)]
        max_age: Duration,
    },
    /// End a policy.
    #[command(after_help = "Examples:\n  mirrordna retention remove ret_01jt…")]
    Remove {
        /// Its id.
        policy: String,
    },
    /// Show the policies in force.
    #[command(after_help = "Examples:\n  mirrordna retention list\n  mirrordna retention list --json | jq -r '.policies[].schema'")]
    List,
    /// Erase what is older than its policy allows; legal holds win.
    #[command(
        after_help = "Examples:\n  mirrordna retention apply --dry-run\n  mirrordna retention apply --json | jq '.policies[].erased.events'"
    )]
    Apply {
        /// Erase nothing; say what would go.
        #[arg(long)]
        dry_run: bool,
    },
}

/// An age such as `30d`.
fn age(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("'{text}' is no age: 90s, 15m, 2h, 30d");
    let split = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|s| *s < u64::MAX / 1_000).map(Duration::from_secs).ok_or_else(wrong)
}

fn as_age(ms: u64) -> String {
    let seconds = ms / 1_000;
    [(86_400, "d"), (3_600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

pub(crate) fn retention(settings: &Settings, command: RetentionCommand, out: &mut Output) -> Result<u8> {
    match command {
        RetentionCommand::Set { kind, tier, max_age } => {
            let engine = open(settings)?;
            let tier = tier.map(|tier| tier.parse::<Tier>()).transpose()?;
            let policy = engine.retention().set(&kind, tier, max_age)?;
            show_one(&policy, &policy.id, out)?;
            engine.close()?;
        }
        RetentionCommand::Remove { policy } => {
            let engine = open(settings)?;
            engine.retention().remove(&policy).or_see("retention list")?;
            show_one(&json!({ "id": policy, "removed": true }), &format!("{policy} removed"), out)?;
            engine.close()?;
        }
        RetentionCommand::List => {
            let policies = open_to_read(settings, out)?.retention().list()?;
            if out.json {
                out.value(&json!({ "policies": policies }))?;
            } else {
                show_policies(policies, out);
            }
        }
        RetentionCommand::Apply { dry_run } => {
            let engine = if dry_run { open_to_read(settings, out)? } else { open(settings)? };
            let applied = engine.retention().apply(dry_run)?;
            if out.json {
                out.value(&applied)?;
            } else {
                tell_applied(&applied, dry_run, out);
            }
            engine.close()?;
        }
    }
    Ok(0)
}

fn about(policy: &Policy) -> String {
    policy.tier.map_or_else(|| policy.schema.clone(), |tier| format!("{} {}", policy.schema, tier.name()))
}

fn show_policies(policies: Vec<Policy>, out: &mut Output) {
    let row = |p: Policy| vec![p.id.clone().into(), about(&p).into(), as_age(p.max_age_ms).into(), short_time(&p.set_at, out).into()];
    let rows = policies.into_iter().map(row).collect();
    let columns = [("POLICY", Fit::Whole), ("ABOUT", Fit::Whole), ("MAX AGE", Fit::Whole), ("SET (UTC)", Fit::Whole)];
    out.table(&columns, rows, "no retention policies: mirrordna retention set memory --tier short_term --max-age 30d");
}

fn tell_applied(applied: &Applied, dry_run: bool, out: &mut Output) {
    for enforced in &applied.policies {
        let what = if dry_run { "would erase" } else { "erased" };
        let events = count(enforced.erased.events, "event", "events");
        out.line(format!("{}, older than {}: {what} {events}", about(&enforced.policy), as_age(enforced.policy.max_age_ms)));
    }
    if applied.policies.is_empty() {
        out.line("no retention policies: nothing to do");
    }
    if applied.held > 0 {
        let (events, stay) = (count(applied.held, "event", "events"), if applied.held == 1 { "stays" } else { "stay" });
        out.line(format!("{events} {stay} because of a legal hold"));
    }
}

/// `consent …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConsentCommand {
    /// Record that somebody consents to a purpose.
    #[command(after_help = "Examples:\n  mirrordna consent give Sam \"remember preferences\" --basis \"settings page of 3 May\"")]
    Give {
        /// Who: the subject of what is remembered.
        subject: String,
        /// What for.
        purpose: String,
        /// On what basis, or in what words.
        #[arg(long, value_name = "TEXT")]
        basis: Option<String>,
    },
    /// Record that a consent was withdrawn; nothing is erased by that.
    #[command(after_help = "Examples:\n  mirrordna consent withdraw cons_01jt…")]
    Withdraw {
        /// Its id.
        consent: String,
    },
    /// Show consents, oldest first.
    #[command(
        after_help = "Examples:\n  mirrordna consent list\n  mirrordna consent list --subject Sam --json | jq '.consents[] | select(.withdrawn_at == null)'"
    )]
    List {
        /// Only of this subject.
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
    },
}

pub(crate) fn consent(settings: &Settings, command: ConsentCommand, out: &mut Output) -> Result<u8> {
    match command {
        ConsentCommand::Give { subject, purpose, basis } => {
            let engine = open(settings)?;
            let consent = engine.consents().give(&subject, &purpose, basis.as_deref())?;
            show_one(&consent, &consent.id, out)?;
            engine.close()?;
        }
        ConsentCommand::Withdraw { consent } => {
            let engine = open(settings)?;
            engine.consents().withdraw(&consent).or_see("consent list")?;
            show_one(&engine.consents().get(&consent)?, &format!("{consent} withdrawn"), out)?;
            engine.close()?;
        }
        ConsentCommand::List { subject } => {
            let consents = open_to_read(settings, out)?.consents().list(subject.as_deref())?;
            if out.json {
                out.value(&json!({ "consents": consents }))?;
            } else {
                show_consents(consents, out);
            }
        }
    }
    Ok(0)
}

fn show_consents(consents: Vec<Consent>, out: &mut Output) {
    let rows = consents.into_iter().map(|c| {
        let state = match c.withdrawn_at {
            Some(at) => short_time(&at, out).into(),
            None => Cell::toned(Tone::Good, "stands"),
        };
        vec![c.id.into(), short_time(&c.given_at, out).into(), state, c.subject.into(), c.purpose.into()]
    });
    let rows = rows.collect();
    let columns =
        [("CONSENT", Fit::Whole), ("GIVEN (UTC)", Fit::Whole), ("WITHDRAWN", Fit::Whole), ("SUBJECT", Fit::Cut), ("PURPOSE", Fit::Cut)];
    out.table(&columns, rows, "no consents: mirrordna consent give SUBJECT PURPOSE");
}
