//! How fast one account is called: a token bucket whose rate each refusal cuts and accepted calls raise again, and the
//! distance that granted calls keep from each other when they leave.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use crate::engine::{outcome::Limit, time::Mono};

/// The lowest rate: one call in ten seconds.
const SLOWEST: f64 = 0.1;
/// The calls of this many seconds, at least one call, may be granted together: enough for a wave of parallel calls at a high
/// rate.
const TOGETHER_SECONDS: f64 = 0.1;
/// The bucket holds the calls of this many further seconds for objects that come late for their turn, so that none of the
/// rate is lost. The cloud sees no burst: calls that are granted together [leave](Rate::departure) one after the other.
const LATE_SECONDS: f64 = 0.9;
/// This much of a token counts as a whole one, since sums of fractions are not exact.
const WHOLE: f64 = 1.0 - 1e-9;

/// A call counts as over after this, as some calls are never reported as over.
const OVER: Duration = Duration::from_mins(1);
/// Calls go out at this share of a limit that the cloud states, evenly spread, since nobody knows when the cloud's windows
/// begin.
const SHARE: f64 = 0.97;
/// How long a stated limit counts, and the longest wait for its window to end: the cloud may raise it and not say so.
pub const STATED: Duration = Duration::from_hours(1);
/// How many departures are remembered. A limit above this is never known to be filled by this process's own calls.
const REMEMBERED: usize = 1024;

/// The longest delay of a granted call for the sake of its distance to the one before. The time between a grant and its call
/// seldom varies by more, and a call must leave soon after its intent.
const HELD_BACK: Duration = Duration::from_secs(1);

/// The share of the rate that is left after a first refusal, after a second one that follows before [`SETTLED`] calls were
/// accepted, and after each further one: cut hard when searching for a limit, gently once near it.
const CUTS: [f64; 3] = [0.95, 0.85, 0.75];
/// After this many accepted calls the rate counts as near the limit.
const SETTLED: u32 = 20;
/// Up to this share of the refused rate, the rate climbs fast or steadily; from there on slowly.
const SAFE: f64 = 0.9;

/// By which share of itself the rate climbs in a second.
mod climb {
    /// Up to the rate that the last cut left: that much was accepted before.
    pub const FAST: f64 = 0.10;
    /// From there to nine tenths of the refused rate.
    pub const STEADY: f64 = 0.01;
    /// From there to the refused rate. Most calls are made here: the slower the climb, the fewer refusals.
    pub const NEAR: f64 = 0.001;
    /// Above the rate that was refused last.
    pub const BEYOND: f64 = 0.002;
}

fn together(rate: f64) -> f64 {
    (rate * TOGETHER_SECONDS).max(1.0)
}

/// A refusal that asks to call more slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowDown {
    /// 429.
    TooManyRequests {
        /// How long the cloud asks to wait.
        retry_after: Option<Duration>,
        /// The limit that it states.
        limit: Option<Limit>,
    },
    /// 503.
    Unavailable,
}

impl SlowDown {
    /// 429 that says no more than that.
    pub const UNEXPLAINED: Self = Self::TooManyRequests { retry_after: None, limit: None };
}

/// The rate of one kind of call at one account.
#[derive(Clone, Debug)]
pub struct Rate {
    ceiling: f64,
    /// Calls per second at present.
    per_second: f64,
    tokens: f64,
    updated: Mono,
    /// The rate in force when the present run of refusals began.
    before_refusals: Option<f64>,
    refused_in_a_row: u32,
    /// How many first refusals came close after one another.
    cuts: usize,
    /// Calls accepted since the last cut.
    accepted: u32,
    /// Seconds in which the rate was used since the last cut and for which it has not climbed yet. A rate that nobody uses
    /// proves nothing, so it does not climb.
    used: f64,
    /// When the calls whose outcome is still to come were granted, the oldest first.
    under_way: VecDeque<Mono>,
    /// When the rate was last cut.
    cut: Option<Mono>,
    /// When the last [`REMEMBERED`] calls left, the oldest first; the last one may be about to leave.
    left: VecDeque<Mono>,
    closed_until: Mono,
    /// The rate that a limit stated by the cloud allows, and until when it counts.
    stated: Option<(f64, Mono)>,
}

impl Rate {
    /// A rate of at most `ceiling` calls per second.
    #[must_use]
    pub fn new(ceiling: f64, now: Mono) -> Self {
        Self {
            ceiling,
            per_second: ceiling,
            tokens: together(ceiling),
            updated: now,
            before_refusals: None,
            refused_in_a_row: 0,
            cuts: 0,
            accepted: 0,
            used: 0.0,
            under_way: VecDeque::new(),
            cut: None,
            left: VecDeque::new(),
            closed_until: Mono::START,
            stated: None,
        }
    }

    fn capacity(&self) -> f64 {
        together(self.per_second) + self.per_second * LATE_SECONDS
    }

    fn advance(&mut self, now: Mono) {
        let elapsed = (now - self.updated).as_secs_f64();
        self.updated = now;
        while self.under_way.front().is_some_and(|granted| *granted + OVER < now) {
            self.under_way.pop_front();
        }
        self.per_second = self.climbed(elapsed).min(self.most(now));
        self.tokens = (self.tokens + self.per_second * elapsed).min(self.capacity());
    }

    /// The rate after this many further seconds.
    fn climbed(&mut self, elapsed: f64) -> f64 {
        let refused = self.before_refusals.unwrap_or(self.ceiling);
        let fast_until = refused * self.left_by_cuts().min(SAFE);
        if self.per_second < fast_until {
            return (self.per_second * (1.0 + climb::FAST * elapsed)).min(fast_until);
        }
        let proved = elapsed.min(self.used);
        self.used -= proved;
        let (speed, until) = match self.per_second {
            rate if rate < refused * SAFE => (climb::STEADY, refused * SAFE),
            rate if rate < refused => (climb::NEAR, f64::INFINITY),
            _ => (climb::BEYOND, f64::INFINITY),
        };
        (self.per_second * (1.0 + speed * proved)).min(until)
    }

    /// The share of the rate that the last first refusal left.
    fn left_by_cuts(&self) -> f64 {
        let [first, .., last] = CUTS;
        self.cuts.checked_sub(1).map_or(first, |earlier| CUTS.get(earlier).copied().unwrap_or(last))
    }

    /// The highest rate that is allowed now.
    fn most(&self, now: Mono) -> f64 {
        let stated = self.stated.filter(|(_, until)| now < *until);
        stated.map_or(self.ceiling, |(rate, _)| rate.min(self.ceiling))
    }

    /// Takes up to `most` calls that may be made now. Tokens that late objects have left go to the next that ask, no more than
    /// may be granted together to each.
    pub fn take(&mut self, most: usize, now: Mono) -> usize {
        self.advance(now);
        if now < self.closed_until {
            return 0;
        }
        let (mut taken, mut left) = (0, together(self.per_second));
        while taken < most && left >= WHOLE && self.tokens >= WHOLE {
            (self.tokens, left) = ((self.tokens - 1.0).max(0.0), left - 1.0);
            self.under_way.push_back(now);
            taken += 1;
        }
        taken
    }

    /// When `calls` further calls will be due, if nothing changes.
    pub fn due(&mut self, calls: usize, now: Mono) -> Mono {
        self.advance(now);
        let calls = f64::from(u32::try_from(calls).unwrap_or(u32::MAX));
        let missing = calls - self.tokens;
        if missing <= 1.0 - WHOLE {
            return self.closed_until.max(now);
        }
        let wait = missing / self.per_second.max(SLOWEST);
        // A call due at a fraction of a microsecond must be due when its time has come.
        (now + Duration::from_secs_f64(wait.min(1e6)) + Duration::from_micros(1)).max(self.closed_until)
    }

    /// How many calls will be due within this time, if nothing changes.
    pub fn within(&mut self, time: Duration, now: Mono) -> usize {
        self.advance(now);
        let interval = Duration::from_secs_f64(1.0 / self.per_second.max(SLOWEST));
        usize::try_from(time.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// When a granted call that is ready now leaves: as far after the call before as the rate says. Between a grant and its
    /// call lie the read of a Secret and the write of an intent, whose durations vary; without this distance, two calls
    /// granted a second apart could reach the cloud within less, and be refused.
    pub fn departure(&mut self, now: Mono) -> Mono {
        self.advance(now);
        let apart = Duration::from_secs_f64(1.0 / self.per_second.max(SLOWEST));
        let at = self.left.back().map_or(now, |left| (*left + apart).clamp(now, now + HELD_BACK));
        if self.left.len() == REMEMBERED {
            self.left.pop_front();
        }
        self.left.push_back(at);
        at
    }

    /// Calls per second in force now, and whether the account is limited: below its ceiling, or closed.
    #[must_use]
    pub fn in_force(&self, now: Mono) -> (f64, bool) {
        let mut rate = self.clone();
        rate.advance(now);
        (rate.per_second, rate.per_second < rate.ceiling || rate.closed(now).is_some())
    }

    /// For how long the cloud asks to make no call; `None` if calls may be made.
    #[must_use]
    pub fn closed(&self, now: Mono) -> Option<Duration> {
        Some(self.closed_until - now).filter(|left| !left.is_zero())
    }

    /// Gives back calls that were taken and not made.
    pub fn give_back(&mut self, calls: usize) {
        self.tokens = (self.tokens + f64::from(u32::try_from(calls).unwrap_or(0))).min(self.capacity());
        self.under_way.truncate(self.under_way.len().saturating_sub(calls));
    }

    /// Enters that a call was answered and not refused for its rate.
    pub fn accepted(&mut self) {
        if !self.heard_before() {
            self.refused_in_a_row = 0;
            self.accepted = self.accepted.saturating_add(1);
            self.used += 1.0 / self.per_second.max(SLOWEST);
        }
    }

    /// Enters that a call is over and says nothing about the rate.
    pub fn over(&mut self) {
        self.heard_before();
    }

    /// Enters that a call was refused for its rate.
    pub fn refused(&mut self, refusal: SlowDown, now: Mono) {
        self.advance(now);
        self.close(refusal, now);
        if !self.heard_before() {
            self.cut(refusal, now);
        }
        if let SlowDown::TooManyRequests { limit: Some(limit), .. } = refusal {
            self.keep_to(limit, now);
        }
    }

    /// Closes the gate for as long as the cloud asks, else until the window of the limit that it states is over.
    fn close(&mut self, refusal: SlowDown, now: Mono) {
        let until = match refusal {
            SlowDown::TooManyRequests { retry_after: Some(wait), .. } => now + wait,
            SlowDown::TooManyRequests { limit: Some(limit), .. } => self.window_over(limit, now),
            SlowDown::TooManyRequests { .. } | SlowDown::Unavailable => return,
        };
        self.closed_until = self.closed_until.max(until);
    }

    /// Waits out a stated rate-limit window, counted from its first call if this process's own calls fill it, whether the
    /// window slides or not. If they don't, others use the same limit, and only the window's length is known.
    fn window_over(&self, limit: Limit, now: Mono) -> Mono {
        let last_but = usize::try_from(limit.calls).unwrap_or(usize::MAX).checked_sub(1);
        let first = last_but.and_then(|last_but| self.left.iter().rev().nth(last_but));
        let over = first.map(|first| *first + limit.window).filter(|over| *over > now);
        over.unwrap_or(now + limit.window).min(now + STATED)
    }

    fn cut(&mut self, refusal: SlowDown, now: Mono) {
        let first = self.refused_in_a_row == 0;
        if first {
            self.before_refusals = Some(self.per_second);
            self.cuts = if self.accepted < SETTLED { self.cuts + 1 } else { 1 };
        }
        self.refused_in_a_row += 1;
        (self.accepted, self.used) = (0, 0.0);
        let factor = if refusal == SlowDown::Unavailable || !first { 0.5 } else { self.left_by_cuts() };
        self.per_second = (self.per_second * factor).max(SLOWEST.min(self.ceiling));
        self.tokens = 0.0;
        self.cut = Some(now);
    }

    /// Spreads calls for an hour so that no window holds more than the stated limit.
    fn keep_to(&mut self, limit: Limit, now: Mono) {
        let rate = f64::from(limit.calls) / limit.window.as_secs_f64() * SHARE;
        self.stated = rate.is_finite().then_some((rate.max(SLOWEST), now + STATED));
        self.per_second = self.per_second.min(self.most(now));
    }

    /// Whether the call whose outcome comes now was granted before the last cut: then it says nothing about the present rate.
    /// Outcomes are taken to come in the order of the grants; which of two calls was refused makes no difference.
    fn heard_before(&mut self) -> bool {
        let granted = self.under_way.pop_front();
        granted.zip(self.cut).is_some_and(|(granted, cut)| granted <= cut)
    }
}
