//! One function per command.

use crate::args::{Args, IdentityCommand, Import, Kind, Recall, Remember, SessionCommand, SnapshotCommand, TimelineCommand, Verify};
use crate::config::Settings;
use crate::output::{Output, Progress, Tone};
use clap::CommandFactory;
use mirrordna::import::Format;
use mirrordna::{Code, Engine, Error, Identity, IdentityType, NewIdentity, NewSession, Result, StoreUrl, VerifyReport};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write, stdin, stdout};
use std::path::Path;

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

pub(crate) fn init(settings: &Settings, out: &mut Output) -> Result<u8> {
    if let Some(path) = StoreUrl::parse(&settings.store)?.path().filter(|p| p.exists()) {
        return Err(Error::new(Code::AlreadyExists, format!("{} exists already", path.display()))
            .with_hint("It can be used as it is; or choose another path with --store."));
    }
    let engine = settings.builder().open()?;
    describe_new(&engine, out)?;
    engine.close()?;
    Ok(0)
}

/// Says what was created and what to do with it.
pub(crate) fn describe_new(engine: &Engine, out: &mut Output) -> Result<()> {
    let show = |p: Option<std::path::PathBuf>| p.map(|p| p.display().to_string());
    let (keyring, recovery) = (show(engine.keyring_path()), show(engine.recovery_path()));
    if out.json {
        return out.value(&json!({
            "store": engine.location(), "database": engine.database_id(), "fingerprint": engine.fingerprint(),
            "keyring": keyring, "recovery": recovery, "passphrase": engine.has_passphrase(),
        }));
    }
    out.line(format!("created      {}", engine.location()));
    out.line(format!("keyring      {}", keyring.unwrap_or_default()));
    out.line(format!("recovery     {}", recovery.unwrap_or_default()));
    out.line(format!("fingerprint  {}", engine.fingerprint()));
    out.line("");
    out.line("Back up the keyring: without it the database can be verified, but not read.");
    out.line("Move the recovery file to another device: whoever has it can take an identity over.");
    if engine.has_passphrase() == Some(false) {
        let notice =
            out.tone(Tone::Notice, "No passphrase protects the keyring; set MIRRORDNA_PASSPHRASE before `init` for one that does.");
        out.line(notice);
    }
    Ok(())
}

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

pub(crate) fn remember(settings: &Settings, args: Remember, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    let text = match args.text.as_str() {
        "-" => {
            let mut text = String::new();
            let read = stdin().lock().take(mirrordna::limits::PAYLOAD as u64 + 1).read_to_string(&mut text);
            read.map_err(|e| Error::new(Code::InputInvalid, "standard input is no UTF-8 text").caused_by(e))?;
            text
        }
        _ => args.text,
    };
    let memories = match &args.session {
        Some(session) => engine.sessions().resume(session)?.memories(),
        None => agent(&engine, args.identity.as_deref())?.memories(),
    };
    let mut add = memories.add(text).tier(args.tier.parse()?);
    for tag in args.tag {
        add = add.tag(tag);
    }
    if let Some(subject) = args.subject {
        add = add.subject(subject);
    }
    let written = add.send()?;
    if out.json {
        out.value(&engine.memories().get(&written.id)?)?;
    } else {
        out.line(written.id);
    }
    drop(memories);
    engine.close()?;
    Ok(0)
}

pub(crate) fn recall(settings: &Settings, args: Recall, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    let memories = match &args.identity {
        Some(name) => engine.identities().find(name)?.memories(),
        None => engine.memories(),
    };
    let hits = memories.search(args.query).limit(args.limit).run()?;
    if out.json {
        let hits: Vec<_> = hits
            .iter()
            .map(|h| {
                json!({
                    "id": h.record.id, "score": h.score, "text": h.record.content, "timestamp": h.record.timestamp,
                    "session": h.record.session, "identity": h.record.agent,
                    "speaker": h.record.speaker, "source_id": h.record.source_id, "source_ns": h.record.source_ns,
                })
            })
            .collect();
        out.value(&json!({ "hits": hits }))?;
    } else if hits.is_empty() {
        out.line("nothing found");
    } else {
        for (n, hit) in hits.iter().enumerate() {
            let day = hit.record.timestamp.get(..10).unwrap_or_default();
            let who = hit.record.speaker.as_ref().map(|s| format!("{s}: ")).unwrap_or_default();
            let id = out.tone(Tone::Dim, &hit.record.id);
            out.line(format!("{:>2}  {:>6.2}  {day}  {who}{}  {id}", n + 1, hit.score, one_line(&hit.record.content, 120)));
        }
    }
    Ok(0)
}

/// Text on one line of at most `width` characters.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match flat.char_indices().nth(width) {
        Some((cut, _)) => format!("{}…", &flat[..cut]),
        None => flat,
    }
}

pub(crate) fn timeline(settings: &Settings, command: TimelineCommand, out: &mut Output) -> Result<u8> {
    let engine = open(settings)?;
    match command {
        TimelineCommand::Append { event_type, payload, identity } => {
            let actor = engine.identities().find(&identity)?;
            let placed = actor.timeline().append_json(&event_type, payload.as_deref(), None)?;
            if out.json {
                out.value(&engine.timeline().get(placed.index)?)?;
            } else {
                out.line(format!("leaf {}", placed.index));
            }
            drop(actor);
            engine.close()?;
        }
        TimelineCommand::List { identity, from, limit } => {
            let timeline = match &identity {
                Some(name) => engine.identities().find(name)?.timeline(),
                None => engine.timeline(),
            };
            let (mut next, mut left) = (from, limit.unwrap_or(usize::MAX));
            while left > 0 {
                let page = timeline.list(next, left.min(1_000))?;
                let Some(last) = page.last() else { break };
                next = last.leaf + 1;
                left -= page.len();
                for event in &page {
                    if out.json {
                        out.value(event)?;
                    } else {
                        show_event(event, out);
                    }
                }
            }
        }
        TimelineCommand::Show { leaf } => {
            let event = engine.timeline().get(leaf)?;
            if out.json {
                out.value(&event)?;
            } else {
                let text = serde_json::to_value(&event).unwrap_or_default();
                let rows: Vec<Vec<String>> = text
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| vec![k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)])
                    .collect();
                out.table(&rows);
            }
        }
    }
    Ok(0)
}

fn show_event(event: &mirrordna::TimelineEvent, out: &mut Output) {
    let what = event.event_type.as_deref().or(event.record.as_deref()).unwrap_or_default();
    let text = event.payload.as_deref().map(|p| one_line(p, 70)).unwrap_or_default();
    let mark = if event.signed { "signed" } else { "" };
    let actor: String = event.actor.chars().take(17).collect();
    out.line(format!("{:>6}  {:<24}  {:<15}  {:<6}  {actor}  {what}  {text}", event.leaf, event.time, event.kind, mark).trim_end());
}

pub(crate) fn import(settings: &Settings, args: Import, out: &mut Output) -> Result<u8> {
    let format: Format = args.format.parse()?;
    // A path that is mistyped must not leave a database behind.
    mirrordna::import::plan(&args.paths, format)?;
    let engine = settings.builder().open()?;
    let mut progress = Progress::new("importing", out);
    let report = mirrordna::import::import(&engine.main(), &args.paths, format, &mut |done, total| progress.update(done, total))?;
    progress.finish();
    engine.close()?;
    if out.json {
        out.value(&report)?;
    } else {
        let utc = if report.assumed_utc > 0 { format!(" ({} without time zone, read as UTC)", report.assumed_utc) } else { String::new() };
        out.line(format!("kept {}{utc}, repaired {}, refused {}", report.kept, report.repaired, report.refused));
        out.line(format!("{} files, {} events", report.files, report.events));
        for note in report.notes.iter().take(20) {
            let line = out.tone(Tone::Notice, format!("  {}:{}  {}  {}", note.file, note.line, note.reason, note.message));
            out.line(line);
        }
        if report.notes.len() > 20 {
            out.line(format!("  … and {} more; --json lists them", report.notes.len() - 20));
        }
    }
    if args.strict && report.refused > 0 {
        return Err(Error::new(Code::ImportRefused, format!("{} records were refused", report.refused)));
    }
    Ok(0)
}

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

pub(crate) fn export(settings: &Settings, file: &Path, out: &mut Output) -> Result<u8> {
    let failed = |e| Error::new(Code::StoreIo, format!("cannot write {}", file.display())).caused_by(e);
    let engine = open(settings)?;
    let target = File::create_new(file).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(1 << 20, target);
    let done = engine.export(&mut writer).and_then(|moved| {
        let target = writer.into_inner().map_err(|e| failed(e.into_error()))?;
        target.sync_all().map_err(failed).map(|()| moved)
    });
    // Half an export must not be mistaken for one.
    let moved = done.inspect_err(|_| drop(std::fs::remove_file(file)))?;
    show_moved("exported", &moved, out)
}

pub(crate) fn restore(settings: &Settings, file: &Path, out: &mut Output) -> Result<u8> {
    let source =
        File::open(file).map_err(|e| Error::new(Code::ImportUnreadable, format!("cannot read {}", file.display())).caused_by(e))?;
    let moved = settings.builder().restore(&mut BufReader::with_capacity(1 << 20, source))?;
    show_moved("restored", &moved, out)
}

fn show_moved(what: &str, moved: &mirrordna::backup::Moved, out: &mut Output) -> Result<u8> {
    if out.json {
        out.value(moved)?;
    } else {
        out.line(format!("{what} {} events of {} logs, {} bytes", moved.events, moved.logs, moved.bytes));
    }
    Ok(0)
}

/// A fingerprint: 64 hex digits.
fn fingerprint(text: &str) -> Result<[u8; 32]> {
    let digits: Vec<u8> = text.trim().bytes().filter_map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
    let bad = || Error::new(Code::InputInvalid, format!("'{text}' is no fingerprint: 64 hex digits, as `mirrordna init` prints it"));
    if digits.len() != 64 || text.trim().len() != 64 {
        return Err(bad());
    }
    let mut out = [0; 32];
    for (o, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *o = pair[0] << 4 | pair[1];
    }
    Ok(out)
}

pub(crate) fn verify(settings: &Settings, args: Verify, out: &mut Output) -> Result<u8> {
    let mut keys = args.key.iter().map(|k| fingerprint(k)).collect::<Result<Vec<_>>>()?;
    if let Some(policy) = &args.policy {
        let text = std::fs::read_to_string(policy)
            .map_err(|e| Error::new(Code::ConfigInvalid, format!("cannot read the policy {}", policy.display())).caused_by(e))?;
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                keys.push(
                    fingerprint(line)
                        .map_err(|e| Error::new(Code::ConfigInvalid, format!("{} line {}", policy.display(), n + 1)).caused_by(e))?,
                );
            }
        }
    }
    let target = args.target.as_ref().map_or_else(|| settings.clone(), |t| settings.at(t));
    let report = verify_store(&target, &keys)?;
    show_report(&report, out)?;
    Ok(match report.verdict {
        "intact" => 0,
        "altered" => 1,
        _ => 3,
    })
}

pub(crate) fn verify_store(settings: &Settings, keys: &[[u8; 32]]) -> Result<VerifyReport> {
    keys.iter().fold(settings.builder(), |builder, key| builder.trust(*key)).verify()
}

pub(crate) fn show_report(report: &VerifyReport, out: &mut Output) -> Result<()> {
    if out.json {
        return out.value(report);
    }
    let tone = match report.verdict {
        "intact" => Tone::Good,
        "altered" => Tone::Bad,
        _ => Tone::Notice,
    };
    let verdict = out.tone(tone, report.verdict);
    let head = report.head.get(..8).unwrap_or_default();
    let b = &report.bodies;
    out.line(format!(
        "{verdict}   {} events · {} identities · head {head}… · freshness {}",
        report.events, report.identities, report.freshness
    ));
    let mut parts = vec![format!("{} bodies readable", b.present)];
    for (n, what) in [(b.locked, "locked"), (b.erased, "erased"), (b.missing, "missing"), (report.unsigned, "events unsigned")] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    out.line(format!("         {}", parts.join(" · ")));
    for p in report.problems.iter().take(20) {
        let line = out.tone(Tone::Bad, format!("  {}  {}: {}", p.code, p.place, p.message));
        out.line(line);
    }
    let more = report.problems.len().saturating_sub(20) as u64 + report.unlisted;
    if more > 0 {
        out.line(format!("  … and {more} more"));
    }
    if report.verdict == "unproven" {
        out.line("  Nothing that is trusted here vouches for this log. Its key has fingerprint");
        out.line(format!("  {}", report.log_key.as_deref().unwrap_or("(none)")));
        out.line("  Compare it with what the owner told you, and pass it with --key.");
    }
    Ok(())
}

/// One finding of the doctor.
#[derive(serde::Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    says: String,
    advice: Option<&'static str>,
}

pub(crate) fn doctor(settings: &Settings, out: &mut Output) -> Result<u8> {
    let mut checks: Vec<Check> = Vec::new();
    let mut add = |name, ok, says: String, advice| checks.push(Check { name, ok, says, advice: (!ok).then_some(advice) });
    let report = verify_store(settings, &[])?;
    add("database", report.ok, format!("{}, {} events", report.verdict, report.events), "Run `mirrordna verify` for the findings.");
    add(
        "head witness",
        report.freshness == "current",
        report.freshness.clone(),
        "Without a witness an older copy of the database cannot be recognised; set MIRRORDNA_STATE to a folder that can be written.",
    );
    match settings.builder().read_only().open() {
        Err(e) => add("opening", false, e.to_string(), "The message says what to do."),
        Ok(engine) => {
            let keyring = engine.keyring_path();
            let shown = keyring.as_ref().map_or_else(|| "not on this machine".to_owned(), |p| p.display().to_string());
            add(
                "keyring",
                keyring.is_some(),
                shown,
                "Bring the keyring of this database, or set MIRRORDNA_KEYS; without it nothing can be read or written.",
            );
            if let Some(protected) = engine.has_passphrase() {
                let says = if protected { "protects the keyring" } else { "none" };
                add(
                    "passphrase",
                    protected,
                    says.to_owned(),
                    "Whoever can read the keyring file has the keys. Make the next database with MIRRORDNA_PASSPHRASE set.",
                );
            }
            if let Some(recovery) = engine.recovery_path() {
                let beside = recovery.exists();
                let says = if beside { format!("still at {}", recovery.display()) } else { "moved away".to_owned() };
                add("recovery keys", !beside, says, "Move the file to another device: theft of this machine includes it until then.");
            }
            let (same, folder) = beside(&engine, keyring.as_deref());
            add("keys elsewhere", !same, folder, "The keyring lies beside the database; who copies the folder has both.");
        }
    }
    if out.json {
        out.value(&json!({ "checks": checks }))?;
    } else {
        for check in &checks {
            let mark = if check.ok { out.tone(Tone::Good, "ok  ") } else { out.tone(Tone::Notice, "look") };
            out.line(format!("{mark}  {:<14}  {}", check.name, check.says));
            if let Some(advice) = check.advice {
                out.line(format!("                      {advice}"));
            }
        }
    }
    Ok(u8::from(!report.ok))
}

/// Whether the keyring lies in the folder of the database.
fn beside(engine: &Engine, keyring: Option<&Path>) -> (bool, String) {
    let folder = |p: &Path| p.parent().and_then(|f| std::fs::canonicalize(if f.as_os_str().is_empty() { Path::new(".") } else { f }).ok());
    let (own, keys) = (folder(Path::new(&engine.location())), keyring.and_then(folder));
    let same = own.is_some() && own == keys;
    (same, if same { "no".to_owned() } else { "yes".to_owned() })
}

pub(crate) fn config(settings: &Settings, out: &mut Output) -> Result<u8> {
    let shown = settings.effective();
    if out.json {
        let values: serde_json::Map<_, _> =
            shown.into_iter().map(|(k, v, from)| (k.to_owned(), json!({"value": v, "from": from}))).collect();
        out.value(&values)?;
    } else {
        let rows: Vec<Vec<String>> = shown.into_iter().map(|(k, v, from)| vec![k.to_owned(), v, format!("({from})")]).collect();
        out.table(&rows);
    }
    Ok(0)
}

pub(crate) fn completions(shell: clap_complete::Shell, out: &mut Output) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "mirrordna", &mut text);
    raw(&text, out)
}

pub(crate) fn man(out: &mut Output) -> Result<u8> {
    let mut text = Vec::new();
    let io = |e| Error::new(Code::Bug, "the manual page does not render").caused_by(e);
    clap_mangen::Man::new(Args::command()).render(&mut text).map_err(io)?;
    raw(&text, out)
}

fn raw(text: &[u8], _out: &mut Output) -> Result<u8> {
    // A closed pipe is the reader's choice.
    let _closed = stdout().lock().write_all(text);
    Ok(0)
}
