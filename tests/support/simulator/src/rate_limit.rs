//! Throttling. CloudDC publishes no numbers; how the gateway counts is not documented either, hence the choices.

use std::{
    collections::{HashMap, VecDeque},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{durations, durations::parse_duration, errors::ApiError};

/// A limit, and how its refusals look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How requests are counted.
    pub kind: RateKind,
    /// Whether refused requests count too (seen at CCE, a sibling service). A fixed window does not notice.
    #[serde(default)]
    pub count_refusals: bool,
    /// Body of the 429.
    #[serde(default)]
    pub body: ThrottleBody,
    /// Header `Retry-After` (documented nowhere for this service).
    #[serde(default)]
    pub retry_after: RetryAfter,
}

/// How requests are counted. As text: `bucket:20/1s`, `fixed:10/1m`, `sliding:10/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateKind {
    /// `limit` at once, refilled evenly with `limit` in each `time`.
    Bucket {
        /// Capacity and refill.
        limit: u32,
        /// Time of a whole refill.
        #[serde(with = "durations::text")]
        time: Duration,
    },
    /// `limit` in a window that begins with the first request after the previous window.
    Fixed {
        /// Requests in a window.
        limit: u32,
        /// Length of the window.
        #[serde(with = "durations::text")]
        time: Duration,
    },
    /// `limit` in the `time` before each request.
    Sliding {
        /// Requests in a window.
        limit: u32,
        /// Length of the window.
        #[serde(with = "durations::text")]
        time: Duration,
    },
}

/// Body of a 429: the operation pages, the error table and the gateway each say something else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleBody {
    /// `{"error_code":"iMetal.0005", …}`
    #[default]
    Imetal,
    /// `{"error_code":"APIGW.0308", …}` with `limit:N,time:1 minute` in the message.
    Apigw,
    /// A JSON string.
    JsonString,
    /// Text.
    PlainText,
}

/// Header `Retry-After` of a 429.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// No such header.
    #[default]
    Absent,
    /// The seconds after which a request would be let through, rounded up.
    Exact,
    /// Always the same number of seconds.
    Seconds(u64),
}

impl RateLimit {
    /// Refusals do not count, body `iMetal.0005`, no `Retry-After`.
    #[must_use]
    pub fn new(kind: RateKind) -> Self {
        Self { kind, count_refusals: false, body: ThrottleBody::Imetal, retry_after: RetryAfter::Absent }
    }

    /// [`RateKind::Bucket`]
    #[must_use]
    pub fn bucket(limit: u32, time: Duration) -> Self {
        Self::new(RateKind::Bucket { limit, time })
    }

    /// [`RateKind::Fixed`]
    #[must_use]
    pub fn fixed(limit: u32, time: Duration) -> Self {
        Self::new(RateKind::Fixed { limit, time })
    }

    /// [`RateKind::Sliding`]
    #[must_use]
    pub fn sliding(limit: u32, time: Duration) -> Self {
        Self::new(RateKind::Sliding { limit, time })
    }

    /// Refused requests count too.
    #[must_use]
    pub fn count_refusals(mut self) -> Self {
        self.count_refusals = true;
        self
    }

    /// Body of the 429.
    #[must_use]
    pub fn body(mut self, body: ThrottleBody) -> Self {
        self.body = body;
        self
    }

    /// Header `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, retry_after: RetryAfter) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The 429 for a request that would have been let through after `wait`.
    pub(crate) fn refusal(&self, wait: Duration) -> ApiError {
        let (limit, time) = self.kind.parts();
        let error = match self.body {
            ThrottleBody::Imetal => ApiError::new(429, "iMetal.0005", "Too many requests"),
            ThrottleBody::Apigw => {
                let time = match time.as_secs().max(1) {
                    s if s % 60 == 0 => format!("{} minute", s / 60),
                    s => format!("{s} second"),
                };
                let policy = "The throttling threshold has been reached: policy user over ratelimit";
                ApiError::new(429, "APIGW.0308", format!("{policy},limit:{limit},time:{time}"))
            }
            ThrottleBody::JsonString => ApiError::raw(429, "application/json", "\"Too many requests\""),
            ThrottleBody::PlainText => ApiError::raw(429, "text/plain", "Too many requests"),
        };
        match self.retry_after {
            RetryAfter::Absent => error,
            RetryAfter::Seconds(seconds) => error.header("Retry-After", seconds),
            RetryAfter::Exact => {
                error.header("Retry-After", wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            }
        }
    }
}

impl RateKind {
    fn parts(self) -> (u32, Duration) {
        match self {
            Self::Bucket { limit, time } | Self::Fixed { limit, time } | Self::Sliding { limit, time } => {
                (limit, time)
            }
        }
    }
}

impl FromStr for RateKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(kind, rest)| Some((kind, rest.split_once('/')?)));
        let Some((kind, (limit, time))) = parts else {
            return Err(format!("'{text}' is no rate such as bucket:20/1s or fixed:10/1m"));
        };
        let limit = limit.parse().map_err(|_| format!("'{limit}' is no number of requests"))?;
        let time = parse_duration(time)?;
        if limit == 0 || time.is_zero() {
            return Err(format!("'{text}' would let nothing through"));
        }
        match kind {
            "bucket" => Ok(Self::Bucket { limit, time }),
            "fixed" => Ok(Self::Fixed { limit, time }),
            "sliding" => Ok(Self::Sliding { limit, time }),
            _ => Err(format!("'{kind}' is none of bucket, fixed, sliding")),
        }
    }
}

/// What has been counted, per token and class.
#[derive(Debug, Default)]
pub(crate) struct Limiter(HashMap<(String, Class), Counter>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Deletes and changes of power.
    Delete,
    Read,
}

#[derive(Debug)]
struct Counter {
    /// Times of counted requests: of the current window, or of the sliding one.
    times: VecDeque<Duration>,
    level: f64,
    at: Duration,
}

impl Limiter {
    /// Lets the request through, or says after which time one would be.
    pub(crate) fn take(
        &mut self,
        token: &str,
        class: Class,
        limit: &RateLimit,
        now: Duration,
    ) -> Result<(), Duration> {
        let (full, time) = limit.kind.parts();
        if full == 0 {
            return Err(time);
        }
        let key = (token.to_owned(), class);
        let counter =
            self.0.entry(key).or_insert(Counter { times: VecDeque::new(), level: full.into(), at: now });
        if let RateKind::Bucket { .. } = limit.kind {
            return counter.take_from_bucket(f64::from(full), time, limit.count_refusals, now);
        }
        let begin = counter.times.front().copied().unwrap_or(now);
        match limit.kind {
            RateKind::Fixed { .. } if now >= begin + time => counter.times.clear(),
            RateKind::Sliding { .. } => counter.times.retain(|at| now < *at + time),
            _ => {}
        }
        let allowed = counter.times.len() < full as usize;
        if allowed || (limit.count_refusals && matches!(limit.kind, RateKind::Sliding { .. })) {
            counter.times.push_back(now);
        }
        if allowed {
            return Ok(());
        }
        let oldest_that_matters = counter.times.len().saturating_sub(full as usize);
        let oldest = counter.times.get(oldest_that_matters).copied().unwrap_or(now);
        Err((oldest + time).saturating_sub(now))
    }
}

impl Counter {
    fn take_from_bucket(
        &mut self,
        full: f64,
        time: Duration,
        count_refusals: bool,
        now: Duration,
    ) -> Result<(), Duration> {
        let refill = now.saturating_sub(self.at).as_secs_f64() / time.as_secs_f64() * full;
        self.level = (self.level + refill).min(full);
        self.at = now;
        // The refill of many small steps adds up to a hair less than one.
        if self.level + 1e-9 >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        if count_refusals {
            self.level = 0.0;
        }
        Err(time.mul_f64((1.0 - self.level) / full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// At each time one request: whether it is let through, else after how long one would be.
    fn run(limit: &RateLimit, steps: &[(u64, Result<(), u64>)]) {
        let mut limiter = Limiter::default();
        for (at, expected) in steps {
            let got = limiter.take("token", Class::Delete, limit, MS(*at));
            assert_eq!(got, expected.map_err(MS), "{:?} at {at}", limit.kind);
        }
    }

    #[test]
    fn a_bucket_refills_evenly() {
        let limit = RateLimit::bucket(2, MS(1_000));
        run(
            &limit,
            &[(0, Ok(())), (0, Ok(())), (0, Err(500)), (250, Err(250)), (500, Ok(())), (600, Err(400))],
        );
        run(&limit, &[(0, Ok(())), (0, Ok(())), (9_000, Ok(())), (9_000, Ok(())), (9_000, Err(500))]);
        let counting = limit.count_refusals();
        run(&counting, &[(0, Ok(())), (0, Ok(())), (250, Err(500)), (500, Err(500)), (1_000, Ok(()))]);
    }

    #[test]
    fn a_fixed_window_begins_with_its_first_request() {
        let limit = RateLimit::fixed(2, MS(1_000));
        let steps = [(300, Ok(())), (1_200, Ok(())), (1_250, Err(50)), (1_300, Ok(())), (1_400, Ok(()))];
        run(&limit, &steps);
        run(&limit.count_refusals(), &steps);
    }

    #[test]
    fn a_sliding_window_looks_back() {
        let limit = RateLimit::sliding(2, MS(1_000));
        run(&limit, &[(0, Ok(())), (900, Ok(())), (950, Err(50)), (1_000, Ok(())), (1_100, Err(800))]);
        let counting = limit.count_refusals();
        run(&counting, &[(0, Ok(())), (900, Ok(())), (950, Err(950)), (1_000, Err(950)), (2_000, Ok(()))]);
    }

    #[test]
    fn nothing_passes_a_limit_of_zero() {
        for limit in [RateLimit::bucket(0, MS(9)), RateLimit::fixed(0, MS(9)), RateLimit::sliding(0, MS(9))] {
            run(&limit, &[(0, Err(9)), (1_000, Err(9))]);
        }
    }

    #[test]
    fn tokens_and_classes_are_counted_apart() {
        let (limit, mut limiter) = (RateLimit::fixed(1, MS(1_000)), Limiter::default());
        assert!(limiter.take("a", Class::Delete, &limit, MS(0)).is_ok());
        assert!(limiter.take("a", Class::Read, &limit, MS(0)).is_ok());
        assert!(limiter.take("b", Class::Delete, &limit, MS(0)).is_ok());
        assert!(limiter.take("a", Class::Delete, &limit, MS(0)).is_err());
    }

    #[test]
    fn rates_are_read_from_text() {
        let minute = Duration::from_mins(1);
        assert_eq!("fixed:10/1m".parse(), Ok(RateKind::Fixed { limit: 10, time: minute }));
        assert_eq!("sliding:10/60s".parse(), Ok(RateKind::Sliding { limit: 10, time: minute }));
        assert_eq!("bucket:5/100ms".parse(), Ok(RateKind::Bucket { limit: 5, time: MS(100) }));
        for bad in ["", "10/1m", "fixed:1m", "fixed:0/1m", "fixed:1/0s", "leaky:1/1s", "fixed:x/1s"] {
            assert!(bad.parse::<RateKind>().is_err(), "{bad}");
        }
    }
}
