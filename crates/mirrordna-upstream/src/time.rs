//! Timestamps of both SDKs, and of hands that edited their files, as milliseconds since the epoch.
//!
//! Owns: reading ISO 8601 texts leniently and saying what was odd. Never: reads a clock, or rewrites a text.

/// A point in time read from a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whole milliseconds since 1970-01-01T00:00:00Z.
    pub millis: i64,
    /// Nanoseconds beyond `millis`; a finer fraction is cut off.
    pub nanos: u32,
    /// Whether the text names a zone; UTC is assumed where it does not.
    pub zone: bool,
    /// Whether the text has the form one of the SDKs writes: `YYYY-MM-DDTHH:MM:SS[.fff[fff]]Z`.
    pub usual: bool,
}

/// Reads `YYYY-MM-DD`, optionally followed by `T` or white space and `HH:MM[:SS[.fraction]]`, optionally followed by
/// `Z` or an offset. Months, days and hours may have one digit, as YAML 1.1 allows.
pub fn parse(text: &str) -> Option<Stamp> {
    let mut rest = text.trim();
    let year = digits(&mut rest, 4, 4)?;
    let month = after(&mut rest, &['-']).and_then(|()| digits(&mut rest, 1, 2))?;
    let day = after(&mut rest, &['-']).and_then(|()| digits(&mut rest, 1, 2))?;
    let days = days_from_civil(year, month, day)?;
    let (mut seconds, mut fraction, mut zone, mut offset) = (0, 0_i64, false, 0);
    let mut fraction_digits = 0;
    if !rest.is_empty() {
        after(&mut rest, &['T', 't', ' ', '\t'])?;
        rest = rest.trim_start();
        let hour = digits(&mut rest, 1, 2)?;
        let minute = after(&mut rest, &[':']).and_then(|()| digits(&mut rest, 2, 2))?;
        let second = if after(&mut rest, &[':']).is_some() { digits(&mut rest, 2, 2)? } else { 0 };
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        seconds = hour * 3600 + minute * 60 + second;
        if after(&mut rest, &['.', ',']).is_some() {
            fraction_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (shown, tail) = rest.split_at(fraction_digits);
            rest = tail;
            fraction = format!("{shown:0<9.9}").parse().unwrap_or(0);
        }
        rest = rest.trim_start();
        if after(&mut rest, &['Z', 'z']).is_some() {
            zone = true;
        } else if !rest.is_empty() {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            after(&mut rest, &['+', '-'])?;
            let hours = digits(&mut rest, 1, 2)?;
            let _ = after(&mut rest, &[':']);
            let minutes = if rest.is_empty() { 0 } else { digits(&mut rest, 2, 2)? };
            if hours > 23 || minutes > 59 {
                return None;
            }
            (zone, offset) = (true, sign * (hours * 3600 + minutes * 60));
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let usual = text.len() == 20 + if fraction_digits > 0 { fraction_digits + 1 } else { 0 }
        && matches!(fraction_digits, 0 | 3 | 6)
        && text.as_bytes().get(10) == Some(&b'T')
        && text.ends_with('Z')
        && !text.contains(',');
    let millis = (days * 86_400 + seconds - offset) * 1000 + fraction / 1_000_000;
    Some(Stamp { millis, nanos: (fraction % 1_000_000) as u32, zone, usual })
}

fn after(rest: &mut &str, marks: &[char]) -> Option<()> {
    *rest = rest.strip_prefix(marks)?;
    Some(())
}

fn digits(rest: &mut &str, least: usize, most: usize) -> Option<i64> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (shown, tail) = rest.split_at(count);
    *rest = tail;
    (count >= least).then(|| shown.parse().ok()).flatten()
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; `None` for a day that does not exist.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if year < 1 || !(1..=length).contains(&day) {
        return None;
    }
    let before = year - 1;
    let years = before * 365 + before / 4 - before / 100 + before / 400;
    let months: i64 = lengths.iter().take(month as usize - 1).sum();
    Some(years + months + day - 1 - 719_162)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_flavours_and_odd_ones() {
        let read = |text| parse(text).map(|s| (s.millis, s.zone, s.usual));
        assert_eq!(read("2026-11-21T03:55:02.569601Z"), Some((1_795_233_302_569, true, true)));
        assert_eq!(read("2026-11-21T03:59:56.882Z"), Some((1_795_233_596_882, true, true)));
        assert_eq!(read("1970-01-01T00:00:00Z"), Some((0, true, true)));
        assert_eq!(read("2000-02-29T12:00:00"), Some((951_825_600_000, false, false)));
        assert_eq!(read("1970-01-01 02:00:00.5+02:00"), Some((500, true, false)));
        assert_eq!(read("1969-12-31"), Some((-86_400_000, false, false)));
        assert_eq!(parse("1970-01-01T00:00:00.0015Z").map(|s| (s.millis, s.nanos)), Some((1, 500_000)));
        for bad in ["", "t", "not a date", "2026-02-29", "2026-13-01", "2026-01-01T24:00:00Z", "2026-01-01T10:00:00Zx", "é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
