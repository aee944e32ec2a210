//! Time as text: RFC 3339 out, RFC 3339 and its common relatives in.

use crate::{Code, Error, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// RFC 3339 in UTC with milliseconds; all of one length, so that they sort.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |t| format!("{t:.3}"))
}

/// RFC 3339 in UTC with whole seconds (the form of a DID log's `versionTime`).
#[must_use]
pub fn rfc3339_seconds(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |t| format!("{t:.0}"))
}

/// A parsed time and whether its zone had to be assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Milliseconds since 1970-01-01 UTC.
    pub ms: i64,
    /// The text named no zone; UTC was assumed.
    pub assumed_utc: bool,
}

/// Reads a date and time: with offset or `Z`, or without zone (then UTC is
/// assumed and said so), or a date alone (midnight).
///
/// # Errors
/// `input.invalid` for anything else.
pub fn parse(text: &str) -> Result<Parsed> {
    if let Ok(t) = text.parse::<Timestamp>() {
        return Ok(Parsed { ms: t.as_millisecond(), assumed_utc: false });
    }
    let civil = text.parse::<DateTime>().ok();
    match civil.and_then(|c| c.to_zoned(TimeZone::UTC).ok()) {
        Some(z) => Ok(Parsed { ms: z.timestamp().as_millisecond(), assumed_utc: true }),
        None => {
            let shown: String = text.chars().take(40).collect();
            Err(Error::new(Code::InputInvalid, format!("'{shown}' is not a time like 2026-03-02T09:30:00Z")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_chats_write() {
        for (text, ms, assumed_utc) in [
            ("2023-05-08T13:56:00", 1_683_554_160_000, true),
            ("2023-05-08T13:56:00Z", 1_683_554_160_000, false),
            ("2023-05-08T15:56:00.250+02:00", 1_683_554_160_250, false),
            ("2023-05-08 13:56:00", 1_683_554_160_000, true),
            ("2023-05-08", 1_683_504_000_000, true),
        ] {
            assert_eq!(parse(text).unwrap(), Parsed { ms, assumed_utc }, "{text}");
        }
        assert!(parse("yesterday").is_err() && parse("").is_err());
        assert_eq!(rfc3339(1_683_554_160_250), "2023-05-08T13:56:00.250Z");
    }
}
