//! Where words go: results to standard output, remarks and errors to standard
//! error, JSON where it was asked for; colour, headings, cut lines and progress
//! on a terminal only.

mod progress;
mod table;
mod text;

pub(crate) use progress::{Progress, Unit};
pub(crate) use table::{Cell, Fit, Table};
pub(crate) use text::{cut, one_line};

use crate::args::Color;
use mirrordna::{Code, Error, Result};
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, IsTerminal, Stdout, Write, stderr, stdout};

/// The two streams of a command.
pub(crate) struct Output {
    /// Print JSON.
    pub(crate) json: bool,
    colour: bool,
    colour_of_errors: bool,
    /// Columns of the terminal, where standard output is one.
    terminal: Option<usize>,
    sink: BufWriter<Stdout>,
    state: State,
    /// How old the state is that was asked for with --as-of.
    as_of: Option<String>,
}

/// What became of standard output.
enum State {
    Open,
    /// The reader has seen enough (`| head`).
    Closed,
    Failed(std::io::Error),
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy)]
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
    pub(crate) fn new(json: bool, color: Color) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let wanted = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !plain,
        };
        let width = || terminal_size::terminal_size_of(stdout()).map_or(80, |(w, _)| usize::from(w.0));
        Self {
            json,
            colour: wanted(stdout().is_terminal()),
            colour_of_errors: wanted(stderr().is_terminal()),
            terminal: stdout().is_terminal().then(width),
            sink: BufWriter::new(stdout()),
            state: State::Open,
            as_of: None,
        }
    }

    /// Columns of the terminal; nothing where output goes to a file or a pipe.
    pub(crate) fn terminal(&self) -> Option<usize> {
        self.terminal
    }

    /// Whether anybody still reads. Long listings ask.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// A line of text. Where nobody reads it, it goes nowhere: what the command
    /// does it does to its end.
    pub(crate) fn line(&mut self, text: impl Display) {
        if self.is_open() {
            let written = writeln!(self.sink, "{text}");
            self.keep(written);
            if self.terminal.is_some() {
                self.flush();
            }
        }
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if self.is_open() {
            let written = self.sink.write_all(bytes);
            self.keep(written);
        }
    }

    /// Hands over what is buffered.
    pub(crate) fn flush(&mut self) {
        if self.is_open() {
            let flushed = self.sink.flush();
            self.keep(flushed);
        }
    }

    fn keep(&mut self, written: std::io::Result<()>) {
        match written {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::BrokenPipe => self.state = State::Closed,
            Err(e) => self.state = State::Failed(e),
        }
    }

    /// A remark for people, beside the result: on standard error, so that
    /// `$(…)` gets the result alone; nowhere under `--json`.
    pub(crate) fn remark(&mut self, text: impl Display) {
        if !self.json {
            self.flush();
            // Nothing can be done about a closed standard error.
            let _closed = writeln!(stderr().lock(), "{text}");
        }
    }

    /// Has every object say how the state that it shows stands to the newest.
    pub(crate) fn mark_as_of(&mut self, freshness: String) {
        self.as_of = Some(freshness);
    }

    /// A value as one line of JSON.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<()> {
        let text = self.json_line(value)?;
        self.line(text);
        Ok(())
    }

    /// The text of such a line.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<String> {
        let mut text = serde_json::to_string(value).map_err(|e| Error::new(Code::Bug, "a result does not serialise").caused_by(e))?;
        if let Some(freshness) = &self.as_of
            && text.starts_with('{')
            && text.pop().is_some()
        {
            let comma = if text.len() > 1 { "," } else { "" };
            text.push_str(&format!("{comma}\"as_of\":{}}}", json!(freshness)));
        }
        Ok(text)
    }

    /// Text in a tone, where there is colour.
    pub(crate) fn tone(&self, tone: Tone, text: impl Display) -> String {
        if self.colour { painted(tone, text) } else { text.to_string() }
    }

    /// A whole table; on a terminal `nothing` is said where it has no rows.
    pub(crate) fn table(&mut self, columns: &[(&'static str, Fit)], rows: Vec<Vec<Cell>>, nothing: &str) {
        if rows.is_empty() && self.terminal.is_some() {
            self.remark(nothing);
        }
        Table::new(columns).rows(rows, self);
    }

    /// Names and values, one pair a line. Values are whole: this is where one
    /// looks for what a table has cut.
    pub(crate) fn pairs(&mut self, pairs: &[(&str, String)]) {
        let widest = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs {
            if self.terminal.is_some() {
                let name = self.tone(Tone::Dim, format!("{name:<widest$}"));
                let value = text::lines(value).replace('\n', &format!("\n{}", " ".repeat(widest + 2)));
                self.line(format!("{name}  {value}"));
            } else {
                self.line(format!("{name}\t{}", one_line(value)));
            }
        }
    }

    /// Reports an error and returns the exit status that goes with it.
    pub(crate) fn error(&mut self, e: &Error) -> u8 {
        self.flush();
        let (code, full) = (format!("MDNA-{}", e.code().number()), e.to_string());
        let (title, message) = full.split_once(": ").unwrap_or(("", &full));
        let text = if self.json {
            json!({"error": {"code": code, "name": e.code().name(), "message": message, "hint": e.hint()}}).to_string()
        } else {
            let title = if self.colour_of_errors { painted(Tone::Bad, title) } else { title.to_owned() };
            format!("{title}: {}\n  {}", text::lines(message), text::lines(e.hint()))
        };
        // Nothing can be done about a closed standard error.
        let _closed = writeln!(stderr().lock(), "{text}");
        e.code().exit_status()
    }

    /// Ends the output and returns the exit status of the command.
    pub(crate) fn finish(mut self, done: Result<u8>) -> u8 {
        self.flush();
        match (done, std::mem::replace(&mut self.state, State::Closed)) {
            (Err(e), _) => self.error(&e),
            (Ok(_), State::Failed(e)) => self.error(&Error::new(Code::StoreIo, "cannot write to standard output").caused_by(e)),
            (Ok(status), _) => status,
        }
    }
}

fn painted(tone: Tone, text: impl Display) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Notice => "33",
        Tone::Dim => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
