//! Waits that the cloud asks for, and rate limits that it states.

use std::time::Duration;

use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};

use crate::engine::outcome::Limit;

/// Bound on a wait that the cloud asks for: it may end earlier than announced, and one call an hour costs nothing.
const LONGEST: Duration = Duration::from_hours(1);
/// Bound above which a stated wait or window is taken for nonsense and ignored.
const SENSIBLE: Duration = Duration::from_hours(24);

/// Parses `Retry-After`: seconds or a date (RFC 9110 section 10.2.3). Returns `None` for nonsense. `now` is the time by the
/// sender's clock.
#[must_use]
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    sensible(seconds(header).or_else(|| date(header, now))?)
}

/// Parses the limit in a message of the gateway such as `policy user over ratelimit,limit:10,time:1 minute`. Returns `None` for
/// nonsense.
#[must_use]
pub fn stated_limit(message: &str) -> Option<Limit> {
    let (_, rest) = message.split_once("limit:")?;
    let (calls, rest) = rest.split_once(',')?;
    Some(Limit { calls: calls.trim().parse().ok()?, window: window(rest)? })
}

fn sensible(wait: Duration) -> Option<Duration> {
    (wait <= SENSIBLE).then_some(wait.min(LONGEST))
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse::<u64>().ok().map(Duration::from_secs)
}

/// Parses the date of a header (RFC 9110 section 5.6.7).
#[must_use]
pub fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

fn date(text: &str, now: Timestamp) -> Option<Duration> {
    let at = http_date(text)?;
    u64::try_from(at.as_second() - now.as_second()).ok().map(Duration::from_secs)
}

fn window(rest: &str) -> Option<Duration> {
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
    Some(Duration::from_secs(number.checked_mul(unit)?)).filter(|window| *window <= SENSIBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c07_seconds_dates_and_nonsense() {
        let now: Timestamp = "2026-11-24T12:00:00.9Z".parse().unwrap();
        let table = [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("3601", Some(3600)),
            ("86400", Some(3600)),
            ("86401", None),
            ("99999999999", None),
            ("1000000000000000000", None),
            ("99999999999999999999", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("7, 8", None),
            ("", None),
            ("soon", None),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", None),
            ("Tue, 24 Nov 2026 15:00:00 GMT", Some(3600)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ];
        for (header, expected) in table {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header:?}");
        }
    }

    #[test]
    fn c07_a_limit_is_read_from_the_message() {
        let table = [
            (
                "The throttling threshold has been reached: policy user over ratelimit,limit:10,time:1 minute",
                Some((10, 60)),
            ),
            ("limit:5, time:30 seconds", Some((5, 30))),
            ("limit:5,time:2 hours", Some((5, 7200))),
            ("limit:5,time:24 hours", Some((5, 86_400))),
            ("limit:0,time:0 seconds", Some((0, 0))),
            ("limit:5,time:25 hours", None),
            ("limit:5,time:18446744073709551615 hours", None),
            ("limit:XX,time:1 minute", None),
            ("limit:-1,time:1 minute", None),
            ("limit:4294967296,time:1 minute", None),
            ("limit:,time:", None),
            ("limit:5", None),
            ("limit:5,time:1 fortnight", None),
            ("time:1 minute", None),
            ("", None),
        ];
        for (message, expected) in table {
            let limit = expected.map(|(calls, s)| Limit { calls, window: Duration::from_secs(s) });
            assert_eq!(stated_limit(message), limit, "{message:?}");
        }
    }
}
