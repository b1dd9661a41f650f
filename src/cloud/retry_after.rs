//! How long the cloud asks to wait.

use std::time::Duration;

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};

/// A longer wait is nonsense or an attack.
const LONGEST: Duration = Duration::from_hours(1);

/// Reads `Retry-After` (seconds or a date, RFC 9110 section 10.2.3), else the window in a message of the gateway such as
/// `policy user over ratelimit,limit:10,time:1 minute`. Nonsense is nothing.
#[must_use]
pub fn retry_after(header: Option<&str>, message: &str, now: Timestamp) -> Option<Duration> {
    let wait =
        header.and_then(|text| seconds(text).or_else(|| date(text, now))).or_else(|| window(message))?;
    Some(wait.min(LONGEST))
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse::<u64>().ok().map(Duration::from_secs)
}

/// The date of a header (RFC 9110 section 5.6.7).
#[must_use]
pub fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

fn date(text: &str, now: Timestamp) -> Option<Duration> {
    let at = http_date(text)?;
    u64::try_from(at.as_second() - now.as_second()).ok().map(Duration::from_secs)
}

fn window(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("limit:")?;
    let (_, rest) = rest.split_once("time:")?;
    let mut words = rest.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let unit: String = words.next()?.chars().take_while(char::is_ascii_alphabetic).collect();
    let unit = match unit.trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_seconds_dates_windows_and_nonsense() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let message =
            "The throttling threshold has been reached: policy user over ratelimit,limit:10,time:1 minute";
        let table = [
            (Some("7"), "", Some(7)),
            (Some(" 7 "), message, Some(7)),
            (Some("Tue, 24 Nov 2026 12:00:30 GMT"), "", Some(30)),
            (Some("Tue, 24 Nov 2026 11:00:00 GMT"), "", None),
            (Some("-1"), "", None),
            (Some("soon"), "", None),
            (Some("soon"), message, Some(60)),
            (Some("99999999999"), "", Some(3600)),
            (None, message, Some(60)),
            (None, "limit:5,time:30 seconds", Some(30)),
            (None, "limit:5,time:1 fortnight", None),
            (None, "limit:,time:", None),
            (None, "", None),
        ];
        for (header, message, expected) in table {
            let wait = retry_after(header, message, now);
            assert_eq!(wait, expected.map(Duration::from_secs), "{header:?} {message:?}");
        }
    }
}
