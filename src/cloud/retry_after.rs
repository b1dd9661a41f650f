//! How long the cloud asks to wait, and what limit it states.

use std::time::Duration;

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};

use crate::engine::account::pace::Limit;

/// Whoever asks for a longer wait is asked again after this.
const LONGEST: Duration = Duration::from_hours(1);
/// Whoever asks for more than this asks for nothing that makes sense.
const SENSIBLE: Duration = Duration::from_hours(24);

/// Reads `Retry-After` (seconds or a date, RFC 9110 section 10.2.3), else the window in a message of the gateway such as
/// `policy user over ratelimit,limit:10,time:1 minute`. Nonsense is nothing. `now` is the time by the clock that a date is
/// of.
#[must_use]
pub fn retry_after(header: Option<&str>, message: &str, now: Timestamp) -> Option<Duration> {
    let sensible = |wait: &Duration| *wait <= SENSIBLE;
    let header = header.and_then(|text| seconds(text).or_else(|| date(text, now))).filter(sensible);
    let wait = header.or_else(|| window(message).filter(sensible))?;
    Some(wait.min(LONGEST))
}

/// The limit in such a message.
#[must_use]
pub fn stated_limit(message: &str) -> Option<Limit> {
    let (_, rest) = message.split_once("limit:")?;
    let (calls, _) = rest.split_once(',')?;
    Some(Limit { calls: calls.trim().parse().ok()?, window: window(message)? })
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

    const MESSAGE: &str =
        "The throttling threshold has been reached: policy user over ratelimit,limit:10,time:1 minute";

    #[test]
    fn c07_seconds_dates_windows_and_nonsense() {
        let now: Timestamp = "2026-11-24T12:00:00.9Z".parse().unwrap();
        let table = [
            (Some("0"), MESSAGE, Some(0)),
            (Some("7"), "", Some(7)),
            (Some(" 7 "), MESSAGE, Some(7)),
            (Some("3601"), "", Some(3600)),
            (Some("86400"), "", Some(3600)),
            (Some("86401"), "", None),
            (Some("86401"), MESSAGE, Some(60)),
            (Some("99999999999"), "", None),
            (Some("1000000000000000000"), "", None),
            (Some("99999999999999999999"), "", None),
            (Some("-1"), "", None),
            (Some("1.5"), "", None),
            (Some("1e3"), "", None),
            (Some("7, 8"), "", None),
            (Some(""), "", None),
            (Some("soon"), "", None),
            (Some("soon"), MESSAGE, Some(60)),
            (Some("Tue, 24 Nov 2026 12:00:30 GMT"), "", Some(30)),
            (Some("Tue, 24 Nov 2026 11:00:00 GMT"), "", None),
            (Some("Tue, 24 Nov 2026 11:00:00 GMT"), MESSAGE, Some(60)),
            (Some("Tue, 24 Nov 2026 15:00:00 GMT"), "", Some(3600)),
            (Some("Fri, 31 Dec 9999 23:59:59 GMT"), "", None),
            (Some("Thu, 01 Jan 1970 00:00:00 GMT"), "", None),
            (None, MESSAGE, Some(60)),
            (None, "limit:5,time:30 seconds", Some(30)),
            (None, "limit:5,time:2 hours", Some(3600)),
            (None, "limit:5,time:30 hours", None),
            (None, "limit:5,time:18446744073709551615 hours", None),
            (None, "limit:5,time:1 fortnight", None),
            (None, "limit:,time:", None),
            (None, "time:1 minute", None),
            (None, "", None),
        ];
        for (header, message, expected) in table {
            let wait = retry_after(header, message, now);
            assert_eq!(wait, expected.map(Duration::from_secs), "{header:?} {message:?}");
        }
    }

    #[test]
    fn a_limit_is_read_from_the_message() {
        let table = [
            (MESSAGE, Some((10, 60))),
            ("limit:5, time:30 seconds", Some((5, 30))),
            ("limit:XX,time:1 minute", None),
            ("limit:-1,time:1 minute", None),
            ("limit:5", None),
            ("limit:5,time:1 fortnight", None),
            ("", None),
        ];
        for (message, expected) in table {
            let limit = expected.map(|(calls, s)| Limit { calls, window: Duration::from_secs(s) });
            assert_eq!(stated_limit(message), limit, "{message:?}");
        }
    }
}
