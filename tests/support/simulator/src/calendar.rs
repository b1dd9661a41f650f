//! Points in time as the cloud writes and reads them (civil-from-days, proleptic Gregorian).

const SECONDS_OF_DAY: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2025-07-17T03:24:30Z`, as ListInstances shows times.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    format!("{}Z", date_and_time(unix_ms / 1_000))
}

/// `2026-01-01T00:00:00.000000Z`, as IAM shows times.
pub(crate) fn rfc3339_micros(unix_ms: u64) -> String {
    format!("{}.{:03}000Z", date_and_time(unix_ms / 1_000), unix_ms % 1_000)
}

/// `Thu, 01 Jan 2026 00:00:00 GMT`, as the header `Date` has it.
pub(crate) fn http_date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (year, month, day) = civil(seconds / SECONDS_OF_DAY);
    let weekday = named(&WEEKDAYS, seconds / SECONDS_OF_DAY % 7);
    format!("{weekday}, {day:02} {} {year:04} {} GMT", named(&MONTHS, month - 1), time_of_day(seconds))
}

/// Reads `20260101T010203Z`, as `X-Sdk-Date` has it, into Unix seconds.
pub(crate) fn read_sdk_date(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes.get(8) != Some(&b'T') || bytes.get(15) != Some(&b'Z') {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0_u64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        })
    };
    let days = days(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    let seconds = days * SECONDS_OF_DAY + number(9, 11)? * 3_600 + number(11, 13)? * 60 + number(13, 15)?;
    // What is no date, such as the 31st of February, is written otherwise.
    (sdk_date(seconds) == text).then_some(seconds)
}

/// `20260101T010203Z`
fn sdk_date(seconds: u64) -> String {
    format!("{}Z", date_and_time(seconds)).replace(['-', ':'], "")
}

fn date_and_time(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / SECONDS_OF_DAY);
    format!("{year:04}-{month:02}-{day:02}T{}", time_of_day(seconds))
}

fn time_of_day(seconds: u64) -> String {
    let rest = seconds % SECONDS_OF_DAY;
    format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn named<'a>(names: &[&'a str], at: u64) -> &'a str {
    usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
}

/// Year, month from 1, day from 1 of a day after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`]; none before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = ((153 * month_from_march + 2) / 5 + day).checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_752_722_670_999), "2025-07-17T03:24:30Z");
        assert_eq!(rfc3339(1_767_225_599_000), "2025-12-31T23:59:59Z");
        assert_eq!(rfc3339_micros(1_767_225_600_042), "2026-01-01T00:00:00.042000Z");
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(1_767_225_600_000), "Thu, 01 Jan 2026 00:00:00 GMT");
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for seconds in [0, 951_782_400, 1_752_722_670, 1_767_225_599, 1_767_225_600, 4_102_444_799] {
            assert_eq!(read_sdk_date(&sdk_date(seconds)), Some(seconds));
        }
        assert_eq!(read_sdk_date("20260101T010203Z"), Some(1_767_229_323));
        for bad in [
            "",
            "20260101T010203",
            "20260101T010203z",
            "2026-01-01T01:02Z",
            "20260231T010203Z",
            "20261301T010203Z",
            "20260100T010203Z",
            "20260001T010203Z",
            "20260101T240000Z",
            "20260101T016003Z",
            "2026010+T010203Z",
            "19691231T235959Z",
            "00000101T000000Z",
        ] {
            assert_eq!(read_sdk_date(bad), None, "{bad}");
        }
    }
}
