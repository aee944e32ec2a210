//! Logs of the program: to standard error, as `LOG_LEVEL` and `LOG_FORMAT` say.
//! The library itself never sets up a logger.

use mirrordna::{Code, Error, Result};
use std::io::stderr;
use tracing::Level;

/// Sets up logging: nothing but warnings unless `LOG_LEVEL` says more.
pub(crate) fn start() -> Result<()> {
    let env = |name: &str, default: &str| std::env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_owned());
    let (level, format) = (env("LOG_LEVEL", "warn"), env("LOG_FORMAT", "text"));
    let wrong = |name: &str, value: &str, known: &str| Error::new(Code::ConfigInvalid, format!("{name} = '{value}' is none of {known}"));
    let level = match level.as_str() {
        "off" => return Ok(()),
        "error" => Level::ERROR,
        "warn" => Level::WARN,
        "info" => Level::INFO,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        other => return Err(wrong("LOG_LEVEL", other, "off, error, warn, info, debug, trace")),
    };
    let lines = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level).with_ansi(false);
    match format.as_str() {
        "text" => lines.init(),
        "json" => lines.json().flatten_event(true).init(),
        other => return Err(wrong("LOG_FORMAT", other, "text, json")),
    }
    Ok(())
}
