//! What was typed, and what is said where it cannot be understood.

use crate::args::{Args, Color};
use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use mirrordna::Code;
use serde_json::json;
use std::ffi::OsString;
use std::io::{Write, stderr};

/// Exit status of a usage error.
const WRONG_USAGE: u8 = 2;

/// Reads the arguments; where they only ask for help or cannot be understood,
/// answers and returns the exit status.
pub(crate) fn parse() -> Result<Args, u8> {
    let (json, color) = wanted(std::env::args_os().skip(1));
    let choice = match color {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    let matches = Args::command().color(choice).try_get_matches();
    matches.and_then(|m| Args::from_arg_matches(&m)).map_err(|e| refuse(&e, json))
}

/// `--json` and `--color`, which count also where the rest cannot be read.
fn wanted(args: impl Iterator<Item = OsString>) -> (bool, Color) {
    let (mut json, mut color) = (false, Color::Auto);
    let args: Vec<OsString> = args.take_while(|a| a != "--").collect();
    for (arg, next) in args.iter().zip(args.iter().skip(1).map(Some).chain([None])) {
        json |= arg == "--json";
        let value = match arg.to_str().and_then(|a| a.strip_prefix("--color")) {
            Some("") => next.and_then(|n| n.to_str()),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        color = match value {
            Some("always") => Color::Always,
            Some("never") => Color::Never,
            _ => color,
        };
    }
    (json, color)
}

fn refuse(e: &clap::Error, json: bool) -> u8 {
    let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // Nothing can be done about closed streams.
    if asked || !json {
        let _closed = e.print();
        return if asked { 0 } else { WRONG_USAGE };
    }
    let (message, hint) = sentence(e);
    let code = Code::InputInvalid;
    let error = json!({"code": format!("MDNA-{}", code.number()), "name": code.name(), "message": message, "hint": hint});
    let _closed = writeln!(stderr().lock(), "{}", json!({ "error": error }));
    WRONG_USAGE
}

/// What was wrong and what to do, a sentence each.
fn sentence(e: &clap::Error) -> (String, String) {
    let text = e.render().to_string();
    let hint = |usage: &str| format!("{usage}; --help shows examples.");
    if matches!(e.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        return ("a command is missing".to_owned(), hint("Name a command"));
    }
    let said = text.lines().take_while(|l| !l.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    let message = said.strip_prefix("error: ").unwrap_or(&said).to_owned();
    let line = |start: &str| text.lines().find_map(|l| l.trim().strip_prefix(start)).map(str::trim);
    let advice = match (line("tip:"), line("Usage:")) {
        (Some(tip), _) => format!("Tip: {tip}"),
        (None, Some(usage)) => format!("Usage: {usage}"),
        (None, None) => "Correct the named argument".to_owned(),
    };
    (message, hint(&advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_colour_are_found_before_the_rest_is_read() {
        let of = |args: &[&str]| wanted(args.iter().map(OsString::from));
        assert_eq!(of(&["bogus", "--json"]), (true, Color::Auto));
        assert_eq!(of(&["--color", "never", "x"]), (false, Color::Never));
        assert_eq!(of(&["--color=always"]), (false, Color::Always));
        assert_eq!(of(&["remember", "--", "--json", "--color=never"]), (false, Color::Auto));
    }

    #[test]
    fn a_usage_error_is_one_sentence_and_what_to_do() {
        let said = |args: &[&str]| sentence(&Args::command().try_get_matches_from(args).unwrap_err());
        let (message, hint) = said(&["mirrordna", "remember"]);
        assert_eq!(message, "the following required arguments were not provided: <TEXT>");
        assert_eq!(hint, "Usage: mirrordna remember <TEXT>; --help shows examples.");
        let (message, hint) = said(&["mirrordna", "verfy"]);
        assert_eq!(message, "unrecognized subcommand 'verfy'");
        assert!(hint.starts_with("Tip: ") && hint.contains("'verify'"), "{hint}");
        assert_eq!(said(&["mirrordna"]).0, "a command is missing");
        assert!(said(&["mirrordna", "timeline", "show", "x"]).0.starts_with("invalid value 'x' for '<LEAF>'"));
    }
}
