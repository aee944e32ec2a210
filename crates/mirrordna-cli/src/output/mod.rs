//! Where words go: results to standard output, errors to standard error, JSON
//! where it was asked for, colour and progress only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use mirrordna::{Error, Result};
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

/// The two streams of a command.
pub(crate) struct Output {
    /// Print JSON.
    pub(crate) json: bool,
    colour: bool,
}

/// A colour with a meaning.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Worth a look.
    Notice,
    /// Less important.
    Dim,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { json, colour }
    }

    /// A line of text. A closed pipe (`| head`) ends the program quietly.
    pub(crate) fn line(&mut self, text: impl Display) {
        if writeln!(stdout().lock(), "{text}").is_err() {
            std::process::exit(0);
        }
    }

    /// A value as one line of JSON.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<()> {
        let text =
            serde_json::to_string(value).map_err(|e| Error::new(mirrordna::Code::Bug, "a result does not serialise").caused_by(e))?;
        self.line(text);
        Ok(())
    }

    /// Text in a tone, where there is colour.
    pub(crate) fn tone(&self, tone: Tone, text: impl Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Notice => "33",
            Tone::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Columns aligned to their widest cell.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> =
            (0..columns).map(|c| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0)).collect();
        for row in rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(t, w)| format!("{t:<w$}")).collect();
            self.line(cells.join("  ").trim_end());
        }
    }

    /// Reports an error and returns the exit status that goes with it.
    pub(crate) fn error(&mut self, e: &Error) -> u8 {
        let text = if self.json {
            let code = format!("MDNA-{}", e.code().number());
            let full = e.to_string();
            let message = full.split_once(": ").map_or(full.as_str(), |(_, m)| m);
            serde_json::json!({"error": {"code": code, "name": e.code().name(), "message": message, "hint": e.hint()}}).to_string()
        } else {
            format!("{e}\n  {}", e.hint())
        };
        // Nothing can be done about a closed standard error.
        let _closed = writeln!(stderr().lock(), "{text}");
        e.code().exit_status()
    }
}

/// A progress bar that shows itself after a second, on a terminal only.
pub(crate) struct Progress {
    started: Instant,
    bar: Option<ProgressBar>,
    wanted: bool,
    label: &'static str,
}

impl Progress {
    pub(crate) fn new(label: &'static str, out: &Output) -> Self {
        Self { started: Instant::now(), bar: None, wanted: !out.json && stderr().is_terminal(), label }
    }

    pub(crate) fn update(&mut self, done: u64, total: u64) {
        if self.wanted && self.bar.is_none() && self.started.elapsed() > Duration::from_secs(1) {
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}");
            self.bar =
                Some(ProgressBar::new(total).with_message(self.label).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
