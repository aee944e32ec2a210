//! `timeline …`: appending, showing, following and exporting events.

use super::{Names, OrSee, count, open, open_to_read, write_new};
use crate::args::{Scope, TimelineCommand};
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Progress, Table, Tone, Unit};
use mirrordna::{Code, Engine, Error, Result, Timeline, TimelineEvent};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Events that are held at a time.
const PAGE: usize = 1_000;
/// Events that `tail` begins with.
const TAIL: usize = 10;
/// How long a follower sleeps at most; only the end of the process ends it.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(crate) fn timeline(settings: &Settings, command: TimelineCommand, out: &mut Output) -> Result<u8> {
    match command {
        TimelineCommand::Append { event_type, payload, identity, subject } => {
            let engine = open(settings)?;
            let actor = engine.identities().find(&identity).or_see("identity list")?;
            let timeline = subject.iter().fold(actor.timeline(), |timeline, subject| timeline.about(subject));
            let placed = timeline.append_json(&event_type, payload.as_deref(), None)?;
            drop(timeline);
            if out.json {
                out.value(&engine.timeline().get(placed.index)?)?;
            } else {
                out.line(format!("leaf {}", placed.index));
            }
            drop(actor);
            engine.close()?;
        }
        TimelineCommand::List { scope, limit } => {
            let engine = open_to_read(settings, out)?;
            let (timeline, from) = reach(&engine, &scope)?;
            let mut listing = Listing::new(&engine, out);
            walk(&timeline, from, limit, &mut |page| {
                listing.show(&page, out)?;
                Ok(out.is_open())
            })?;
        }
        TimelineCommand::Show { leaf } => {
            let timeline = open_to_read(settings, out)?.timeline();
            let event = timeline.get(leaf).or_see("timeline list")?;
            let event = Shown { event, basis: timeline.basis(leaf)?.name() };
            if out.json {
                out.value(&event)?;
            } else {
                let members = serde_json::to_value(&event).unwrap_or_default();
                let members = members.as_object().into_iter().flatten();
                let pairs: Vec<(&str, String)> =
                    members.map(|(k, v)| (k.as_str(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect();
                out.pairs(&pairs);
            }
        }
        TimelineCommand::Tail { scope, limit } => {
            let engine = open_to_read(settings, out)?;
            tail(&engine, &scope, limit, out)?;
        }
        TimelineCommand::Export { file, scope, limit } => {
            let engine = open_to_read(settings, out)?;
            let (timeline, from) = reach(&engine, &scope)?;
            let Some(file) = file else {
                walk(&timeline, from, limit, &mut |page| {
                    page.iter().try_for_each(|event| out.value(event))?;
                    Ok(out.is_open())
                })?;
                return Ok(0);
            };
            let (mut events, mut bytes, end) = (0, 0, engine.timeline().len()?);
            let mut progress = Progress::new("exporting", Unit::Events, out);
            write_new(&file, |target| {
                walk(&timeline, from, limit, &mut |page| {
                    for event in &page {
                        let line = out.json_line(event)?;
                        let written = writeln!(target, "{line}");
                        written.map_err(|e| Error::new(Code::StoreIo, format!("cannot write {}", file.display())).caused_by(e))?;
                        bytes += line.len() as u64 + 1;
                        progress.update(event.leaf - from, end - from);
                    }
                    events += page.len() as u64;
                    Ok(true)
                })
            })?;
            drop(progress);
            if out.json {
                out.value(&json!({"events": events, "bytes": bytes, "file": file}))?;
            } else {
                out.line(format!("exported {}, {bytes} bytes", count(events, "event", "events")));
            }
        }
    }
    Ok(0)
}

/// The timeline of a scope and the leaf at which it begins.
fn reach(engine: &Engine, scope: &Scope) -> Result<(Timeline, u64)> {
    let timeline = match &scope.identity {
        Some(name) => engine.identities().find(name).or_see("identity list")?.timeline(),
        None => engine.timeline(),
    };
    let from = match &scope.since {
        Some(since) => timeline.first_at(time(since)?)?,
        None => scope.from.unwrap_or(0),
    };
    Ok((timeline, from))
}

/// A point in time, or how long ago it was, in milliseconds since 1970.
fn time(text: &str) -> Result<i64> {
    let unit = |c| {
        Some(match c {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        })
    };
    let ago = text.chars().last().and_then(unit).and_then(|ms: i64| text[..text.len() - 1].parse::<u32>().ok().map(|n| i64::from(n) * ms));
    if let Some(ago) = ago {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        return Ok(i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(ago));
    }
    mirrordna::time::parse(text)
        .map(|t| t.ms)
        .map_err(|e| e.with_hint("Write 2026-03-02, 2026-03-02T09:30:00Z, or how long ago: 90s, 15m, 2h, 7d."))
}

/// Reads pages of events until there are no more, or `each` returns false.
fn walk(timeline: &Timeline, from: u64, limit: Option<usize>, each: &mut dyn FnMut(Vec<TimelineEvent>) -> Result<bool>) -> Result<()> {
    let (mut next, mut left) = (from, limit.unwrap_or(usize::MAX));
    while left > 0 {
        let page = timeline.list(next, left.min(PAGE))?;
        let Some(last) = page.last() else { break };
        next = last.leaf + 1;
        left -= page.len();
        if !each(page)? {
            break;
        }
    }
    Ok(())
}

/// The leaf of the `n`-th event from the end of a scope that begins at `from`.
fn before_end(timeline: &Timeline, from: u64, n: usize) -> Result<u64> {
    let end = timeline.len()?;
    let mut window = n as u64;
    loop {
        // Twice as far back until enough of the scope's events lie there.
        let start = end.saturating_sub(window).max(from);
        let mut leaves = Vec::new();
        walk(timeline, start, None, &mut |page| {
            leaves.extend(page.iter().map(|e| e.leaf));
            Ok(true)
        })?;
        if leaves.len() >= n || start <= from {
            return Ok(leaves.len().checked_sub(n).map_or(start, |skip| leaves.get(skip).copied().unwrap_or(end)));
        }
        window = window.saturating_mul(2);
    }
}

fn tail(engine: &Engine, scope: &Scope, limit: Option<usize>, out: &mut Output) -> Result<()> {
    let (timeline, from) = reach(engine, scope)?;
    let bounded = scope.from.is_some() || scope.since.is_some();
    let start = match limit.or((!bounded).then_some(TAIL)) {
        Some(n) => before_end(&timeline, from, n)?,
        None => from,
    };
    let mut follow = timeline.follow(start);
    let mut listing = Listing::new(engine, out);
    while out.is_open() {
        listing.show(&follow.wait(PATIENCE)?, out)?;
        out.flush();
    }
    Ok(())
}

/// One event, and what vouches for it.
#[derive(serde::Serialize)]
struct Shown {
    #[serde(flatten)]
    event: TimelineEvent,
    basis: &'static str,
}

/// Events one a line: JSON, a table for people, or tab-separated cells.
struct Listing<'a> {
    names: Names<'a>,
    table: Table,
}

impl<'a> Listing<'a> {
    fn new(engine: &'a Engine, out: &Output) -> Self {
        let columns: &[(&str, Fit)] = match out.terminal() {
            Some(_) => &[("LEAF", Fit::Number), ("TIME (UTC)", Fit::Whole), ("KIND", Fit::Whole), ("ACTOR", Fit::Cut), ("WHAT", Fit::Cut)],
            None => &[("", Fit::Whole); 8],
        };
        Self { names: Names::new(engine, out), table: Table::new(columns) }
    }

    fn show(&mut self, events: &[TimelineEvent], out: &mut Output) -> Result<()> {
        if out.json {
            return events.iter().try_for_each(|event| out.value(event));
        }
        let rows = events.iter().map(|e| if out.terminal().is_some() { self.for_people(e) } else { complete(e) }).collect();
        self.table.rows(rows, out);
        Ok(())
    }

    fn for_people(&mut self, event: &TimelineEvent) -> Vec<Cell> {
        // An application's event says its own name; a record's event what the
        // record says, or which one it is.
        let what = match (&event.event_type, &event.payload) {
            (Some(name), Some(payload)) => format!("{name} {payload}"),
            (Some(name), None) => name.clone(),
            (None, Some(payload)) => payload.clone(),
            (None, None) => event.record.clone().unwrap_or_default(),
        };
        // What the engine needs for its proofs is of less interest.
        let own = !matches!(event.kind.split('.').next(), Some("record" | "event"));
        let kind = if own { Cell::toned(Tone::Dim, &event.kind) } else { event.kind.as_str().into() };
        vec![
            event.leaf.to_string().into(),
            event.time.get(..19).unwrap_or_default().replace('T', " ").into(),
            kind,
            self.names.of(&event.actor).into(),
            what.into(),
        ]
    }
}

/// What a script may want of an event without reading JSON; always eight cells.
fn complete(event: &TimelineEvent) -> Vec<Cell> {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    vec![
        event.leaf.to_string().into(),
        event.time.clone().into(),
        event.kind.clone().into(),
        if event.signed { "signed" } else { "" }.into(),
        event.actor.clone().into(),
        text(&event.record).into(),
        text(&event.event_type).into(),
        text(&event.payload).into(),
    ]
}
