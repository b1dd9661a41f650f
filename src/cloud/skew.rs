//! The difference between this machine's clock and the cloud's, and what time it is there.
//!
//! The gateway refuses a signature whose date is off by more than 15 minutes (vendor: API Request Signing Guide, *AK/SK Signing
//! Algorithm*). The `Date` of the refusal is the gateway's own time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::{endpoint::Endpoint, retry_after::http_date};
use crate::engine::Mono;

/// Differences below this are not the reason for a refused signature, and are ignored.
const NOTABLE: SignedDuration = SignedDuration::from_mins(5);

/// How long the `Date` of a reply tells the time, on this machine's monotonic clock.
const DATE_LIFE: Duration = Duration::from_mins(10);

/// How far the clock of each endpoint is ahead of this machine's.
#[derive(Default)]
pub struct Skew {
    ahead: Mutex<HashMap<Endpoint, SignedDuration>>,
    /// The `Date` of the last reply with one, and when it came.
    dates: Mutex<HashMap<Endpoint, (Timestamp, Mono)>>,
}

impl Skew {
    /// The time at an endpoint, by this machine's `wall` clock and the known difference.
    pub fn time(&self, endpoint: &Endpoint, wall: Timestamp) -> Timestamp {
        wall.checked_add(self.ahead(endpoint)).unwrap_or(wall)
    }

    /// Notes the `Date` of a reply.
    pub fn saw(&self, endpoint: &Endpoint, date: Option<&str>, now: Mono) {
        if let Some(said) = date.and_then(http_date) {
            self.dates.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone(), (said, now));
        }
    }

    /// The time at an endpoint by the `Date` of its last reply; none if that is long ago.
    pub fn told(&self, endpoint: &Endpoint, now: Mono) -> Option<Timestamp> {
        let (said, at) = *self.dates.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint)?;
        let since = now - at;
        (since < DATE_LIFE).then(|| said.checked_add(since).unwrap_or(said))
    }

    fn ahead(&self, endpoint: &Endpoint) -> SignedDuration {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.get(endpoint).copied().unwrap_or_default()
    }

    /// Whether the `Date` of a refusal shows that the time in use was wrong.
    pub fn explains(&self, endpoint: &Endpoint, date: Option<&str>, wall: Timestamp) -> bool {
        self.off(endpoint, date, wall).is_some()
    }

    /// How far the cloud's clock is ahead by this `Date`, if that differs notably from the time in use.
    fn off(&self, endpoint: &Endpoint, date: Option<&str>, wall: Timestamp) -> Option<SignedDuration> {
        let ahead = date.and_then(http_date)?.duration_since(wall);
        ((ahead - self.ahead(endpoint)).abs() >= NOTABLE).then_some(ahead)
    }

    /// Learns from the `Date` of a refusal. Returns whether the time in use was wrong.
    pub fn learn(&self, endpoint: &Endpoint, date: Option<&str>, wall: Timestamp) -> bool {
        let Some(ahead) = self.off(endpoint, date, wall) else { return false };
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone(), ahead);
        warn!(
            %endpoint, seconds = ahead.as_secs(),
            "local clock differs from the cloud's; signing with the cloud's time. Set this machine's clock"
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x07_the_date_of_a_reply_tells_the_time_for_ten_minutes() {
        let one = Endpoint::parse("https://one.example", false).unwrap();
        let other = Endpoint::parse("https://other.example", false).unwrap();
        let at = |seconds| Mono::at(Duration::from_secs(seconds));
        let skew = Skew::default();
        assert_eq!(skew.told(&one, at(0)), None);
        skew.saw(&one, Some("Thu, 01 Jan 2026 01:00:00 GMT"), at(100));
        for nonsense in [None, Some("yesterday")] {
            skew.saw(&one, nonsense, at(101));
        }
        let told = |seconds| skew.told(&one, at(seconds)).map(|time| time.to_string());
        assert_eq!(told(100).as_deref(), Some("2026-01-01T01:00:00Z"));
        assert_eq!(told(699).as_deref(), Some("2026-01-01T01:09:59Z"));
        assert_eq!((told(700), skew.told(&other, at(100))), (None, None));
    }

    #[test]
    fn c03_a_refusal_s_date_sets_the_clock_if_it_is_far_off() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let endpoint = Endpoint::parse("https://one.example", false).unwrap();
        let other = Endpoint::parse("https://other.example", false).unwrap();
        let wall = at("2026-01-01T00:00:00Z");
        let skew = Skew::default();
        for nonsense in [None, Some(""), Some("yesterday"), Some("Thu, 01 Jan 2026 00:04:59 GMT")] {
            assert!(!skew.learn(&endpoint, nonsense, wall), "{nonsense:?}");
            assert_eq!(skew.time(&endpoint, wall), wall);
        }
        assert!(skew.learn(&endpoint, Some("Thu, 01 Jan 2026 01:00:00 GMT"), wall));
        assert_eq!(skew.time(&endpoint, wall), at("2026-01-01T01:00:00Z"));
        assert_eq!(skew.time(&other, wall), wall, "each endpoint has its own clock");
        assert!(!skew.learn(&endpoint, Some("Thu, 01 Jan 2026 01:00:02 GMT"), wall), "no need");
        assert!(skew.learn(&endpoint, Some("Wed, 31 Dec 2025 23:59:59 GMT"), wall), "it was set meanwhile");
        assert_eq!(skew.time(&endpoint, wall), at("2025-12-31T23:59:59Z"));
    }
}
