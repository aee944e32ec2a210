//! Time as text: RFC 3339, as the engine prints it.

use alloc::format;
use alloc::string::String;

/// What the engine's calendar reaches, milliseconds since 1970: about the years
/// -9999 to 9999.
const CALENDAR: core::ops::RangeInclusive<i64> = -377_705_023_201_000..=253_402_207_200_999;

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(ms: i64) -> String {
    if !CALENDAR.contains(&ms) {
        return format!("{ms} ms");
    }
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    let (sign, year) = if year < 0 { ("-00", -year) } else { ("", year) };
    format!("{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

/// Seconds since 1970 as RFC 3339.
pub(crate) fn seconds(seconds: u64) -> String {
    rfc3339(i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000)).unwrap_or(i64::MAX))
}

/// The date in the proleptic Gregorian calendar of a number of days since
/// 1970-01-01.
///
/// Counts from a first of March, so that the leap day ends its year; 400 years
/// have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on months have 31, 30, 31, 30, 31 days, again and again.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_683_554_160_250, "2023-05-08T13:56:00.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_207_200_999, "9999-12-30T22:00:00.999Z"),
            (253_402_207_201_000, "253402207201000 ms"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
            (-377_705_023_201_000, "-009999-01-02T01:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
        assert_eq!(seconds(1_683_554_160), "2023-05-08T13:56:00.000Z");
        assert_eq!(seconds(u64::MAX), "9223372036854775807 ms");
    }
}
