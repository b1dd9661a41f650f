//! How fast one account is called (design §3, *Governor*): a token bucket whose rate is cut by refusals and climbs again.

use std::time::Duration;

use crate::engine::time::Mono;

/// The slowest pace: one call in ten seconds.
const SLOWEST: f64 = 0.1;
/// The bucket holds a tenth of a second's calls, at least one: enough for a wave of parallel calls at a high rate, and
/// hardly more than the rate in any one second.
const BURST_SECONDS: f64 = 0.1;
/// A token that sums of fractions have brought this near to one is one.
const WHOLE: f64 = 1.0 - 1e-9;

/// What a refusal says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 429.
    TooManyRequests,
    /// 503.
    Unavailable,
}

/// The pace of one kind of call at one account.
#[derive(Clone, Debug)]
pub struct Pace {
    ceiling: f64,
    rate: f64,
    tokens: f64,
    updated: Mono,
    /// The rate in force when the present run of refusals began; it climbs fast up to nine tenths of that.
    before_refusals: Option<f64>,
    refused_in_a_row: u32,
    closed_until: Mono,
}

impl Pace {
    /// A pace of at most `ceiling` calls per second.
    #[must_use]
    pub fn new(ceiling: f64, now: Mono) -> Self {
        let mut pace = Self {
            ceiling,
            rate: ceiling,
            tokens: 0.0,
            updated: now,
            before_refusals: None,
            refused_in_a_row: 0,
            closed_until: Mono::START,
        };
        pace.tokens = pace.capacity();
        pace
    }

    fn capacity(&self) -> f64 {
        (self.rate * BURST_SECONDS).max(1.0)
    }

    fn advance(&mut self, now: Mono) {
        let elapsed = (now - self.updated).as_secs_f64();
        self.updated = now;
        let fast_until = self.before_refusals.map_or(self.ceiling, |before| before * 0.9);
        self.rate = if self.rate < fast_until {
            (self.rate * (1.0 + 0.10 * elapsed)).min(fast_until)
        } else {
            (self.rate * (1.0 + 0.002 * elapsed)).min(self.ceiling)
        };
        self.tokens = (self.tokens + self.rate * elapsed).min(self.capacity());
    }

    /// Takes up to `most` calls that may be made now.
    pub fn take(&mut self, most: usize, now: Mono) -> usize {
        self.advance(now);
        if now < self.closed_until {
            return 0;
        }
        let mut taken = 0;
        while taken < most && self.tokens >= WHOLE {
            self.tokens = (self.tokens - 1.0).max(0.0);
            taken += 1;
        }
        taken
    }

    /// When `calls` further calls will be due, if nothing changes.
    #[must_use]
    pub fn due(&self, calls: usize, now: Mono) -> Mono {
        let calls = f64::from(u32::try_from(calls).unwrap_or(u32::MAX));
        let wait = ((calls - self.tokens) / self.rate.max(SLOWEST)).max(0.0);
        // A call due at a fraction of a microsecond must be due when its time has come.
        let due = self.updated + Duration::from_secs_f64(wait.min(1e6)) + Duration::from_micros(1);
        due.max(self.closed_until).max(now)
    }

    /// Gives back calls that were taken and not made.
    pub fn give_back(&mut self, calls: usize) {
        self.tokens = (self.tokens + f64::from(u32::try_from(calls).unwrap_or(0))).min(self.capacity());
    }

    /// Notes that a call was not refused for its pace.
    pub fn accepted(&mut self) {
        self.refused_in_a_row = 0;
    }

    /// Notes that a call was refused for its pace, and how long the cloud asked to wait.
    pub fn refused(&mut self, refusal: Refusal, retry_after: Option<Duration>, now: Mono) {
        self.advance(now);
        if self.refused_in_a_row == 0 {
            self.before_refusals = Some(self.rate);
        }
        let first = self.refused_in_a_row == 0;
        self.refused_in_a_row += 1;
        let factor = if refusal == Refusal::Unavailable || !first { 0.5 } else { 0.9 };
        self.rate = (self.rate * factor).max(SLOWEST.min(self.ceiling));
        self.tokens = 0.0;
        if let Some(wait) = retry_after {
            self.closed_until = self.closed_until.max(now + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::at(Duration::from_millis(ms))
    }

    #[test]
    fn grants_its_rate_and_no_burst_beyond_a_tenth_of_a_second() {
        for (ceiling, burst) in [(2.0, 1), (10.0, 1), (100.0, 10)] {
            let mut pace = Pace::new(ceiling, at(0));
            assert_eq!(pace.take(1000, at(0)), burst, "{ceiling}");
            let later: usize = (1..=1000).map(|ms| pace.take(1000, at(ms * 10))).sum();
            let expected = ceiling * 10.0;
            assert!(
                (f64::from(u32::try_from(later).unwrap()) - expected).abs() <= 1.0,
                "{later} in 10 s at {ceiling}/s"
            );
        }
    }

    #[test]
    fn a_call_is_due_when_it_says() {
        let mut pace = Pace::new(2.0, at(0));
        assert_eq!(pace.take(1, at(0)), 1);
        let due = pace.due(1, at(0));
        assert_eq!(pace.take(1, Mono::at(due.since_start().mul_f64(0.99))), 0);
        assert_eq!(pace.take(1, due), 1);
    }

    #[test]
    fn c07_refusals_cut_and_acceptance_climbs_to_nine_tenths_fast() {
        let mut pace = Pace::new(10.0, at(0));
        pace.refused(Refusal::TooManyRequests, None, at(0));
        assert!((pace.rate - 9.0).abs() < 1e-9, "a tenth");
        pace.refused(Refusal::TooManyRequests, None, at(0));
        assert!((pace.rate - 4.5).abs() < 1e-9, "a half, the second time in a row");
        pace.accepted();
        for s in 1..=8 {
            pace.advance(at(s * 1000));
        }
        assert!((8.99..9.01).contains(&pace.rate), "{}: back to 0.9 of 10 at 10 % a second", pace.rate);
        pace.advance(at(9000));
        assert!((9.01..9.3).contains(&pace.rate), "{}: then slowly, and beyond", pace.rate);
        pace.refused(Refusal::Unavailable, None, at(9000));
        assert!(pace.rate < 4.7, "503 halves at once");
        for _ in 0..100 {
            pace.refused(Refusal::TooManyRequests, None, at(9000));
        }
        assert!((pace.rate - 0.1).abs() < 1e-9, "never below one call in ten seconds");
    }

    #[test]
    fn retry_after_is_a_hard_gate() {
        let mut pace = Pace::new(10.0, at(0));
        pace.refused(Refusal::TooManyRequests, Some(Duration::from_secs(7)), at(0));
        assert_eq!(pace.take(1, at(6_999)), 0);
        assert!(pace.due(1, at(10)) >= at(7000));
        assert_eq!(pace.take(1, at(7_001)), 1);
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn calls_are_due_at_the_rate_and_less_what_has_gathered() {
        let micro = Duration::from_micros(1);
        let mut pace = Pace::new(2.0, at(0));
        assert_eq!(pace.due(1, at(0)), at(0) + micro, "a call that may be made now");
        assert_eq!(pace.take(1, at(0)), 1);
        for (calls, ms) in [(1, 500), (2, 1000), (3, 1500)] {
            assert_eq!(pace.due(calls, at(0)), at(ms) + micro, "{calls}");
        }
        assert_eq!(pace.take(1, at(250)), 0, "half a call has gathered");
        assert_eq!(pace.due(1, at(250)), at(500) + micro);
        assert_eq!(pace.due(1, at(900)), at(900), "never in the past");
    }

    #[test]
    fn what_is_given_back_may_be_taken_again_and_fills_no_more_than_the_bucket() {
        let mut pace = Pace::new(40.0, at(0));
        assert_eq!(pace.take(4, at(0)), 4);
        pace.give_back(3);
        assert_eq!(pace.take(9, at(0)), 3);
        pace.give_back(100);
        assert_eq!(pace.take(100, at(0)), 4, "a tenth of a second's calls");
        assert_eq!(pace.take(100, at(10_000)), 4, "nor does time fill it more");
    }

    #[test]
    fn the_rate_climbs_by_a_tenth_a_second_and_then_by_two_thousandths() {
        let mut pace = Pace::new(10.0, at(0));
        near(pace.rate, 10.0);
        pace.advance(at(1000));
        near(pace.rate, 10.0);
        for _ in 0..3 {
            pace.refused(Refusal::Unavailable, None, at(1000));
        }
        near(pace.rate, 1.25);
        pace.accepted();
        pace.advance(at(3000));
        near(pace.rate, 1.5);
        pace.advance(at(60_000));
        near(pace.rate, 9.0);
        pace.advance(at(62_000));
        near(pace.rate, 9.0 * 1.004);
        pace.advance(at(1_000_000));
        near(pace.rate, 10.0);
        pace.advance(at(2_000_000));
        near(pace.rate, 10.0);
    }

    #[test]
    fn a_refusal_after_an_acceptance_is_a_first_one_and_empties_the_bucket() {
        let mut pace = Pace::new(10.0, at(0));
        for expected in [9.0, 8.1] {
            pace.refused(Refusal::TooManyRequests, None, at(0));
            near(pace.rate, expected);
            near(pace.tokens, 0.0);
            near(pace.before_refusals.unwrap(), expected / 0.9);
            pace.accepted();
        }
        let mut slow = Pace::new(0.05, at(0));
        slow.refused(Refusal::Unavailable, None, at(0));
        near(slow.rate, 0.05);
    }

    #[test]
    fn a_gate_opens_at_its_time_and_a_shorter_one_does_not_open_it_sooner() {
        let mut pace = Pace::new(10.0, at(0));
        pace.refused(Refusal::TooManyRequests, Some(Duration::from_secs(7)), at(0));
        pace.refused(Refusal::TooManyRequests, Some(Duration::from_secs(2)), at(0));
        assert_eq!(pace.due(1, at(6_000)), at(7_000));
        assert_eq!(pace.take(1, at(7_000)), 1);
    }
}

#[cfg(test)]
mod goodput;
