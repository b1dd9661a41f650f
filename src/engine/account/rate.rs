//! How fast one account is called (design §3, *Governor*): a token bucket whose rate is cut by refusals and climbs again, and
//! the distance that granted calls keep from each other when they leave.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use crate::engine::time::Mono;

/// The slowest pace: one call in ten seconds.
const SLOWEST: f64 = 0.1;
/// A tenth of a second's calls, at least one, may be granted together: enough for a wave of parallel calls at a high rate.
const TOGETHER_SECONDS: f64 = 0.1;
/// What this time brings beyond that is kept for whoever comes late for its turn, so that nothing of the rate is lost. It
/// is no burst at the cloud: calls that are granted together [leave](Rate::departure) one after the other.
const LATE_SECONDS: f64 = 0.9;
/// A token that sums of fractions have brought this near to one is one.
const WHOLE: f64 = 1.0 - 1e-9;

/// A call is over after this. Of some no outcome is told here, since it says nothing about the pace.
const OVER: Duration = Duration::from_mins(1);
/// Calls go out at this share of a limit that the cloud states: they are spread evenly, and the cloud's windows begin when
/// they like.
const SHARE: f64 = 0.97;
/// A stated limit is believed so long, and nobody waits longer for its window to end: it may be raised, and then nobody says so.
pub const STATED: Duration = Duration::from_hours(1);
/// Of so many calls it is remembered when they left. Of a limit above that, no window is known to be filled by them.
const REMEMBERED: usize = 1024;

/// A granted call is held back no longer than this to keep its distance: what lies between a grant and its call seldom
/// takes longer, and a call must leave soon after its intent.
const HELD_BACK: Duration = Duration::from_secs(1);

/// What is left of the rate after a refusal, after a second one that came before so many calls were accepted, and after each
/// that follows: an unknown limit is come down to in few steps, and left by small ones.
const CUTS: [f64; 3] = [0.95, 0.85, 0.75];
const SETTLED: u32 = 20;
/// What was accepted before is come back to fast up to this share of the rate that was refused.
const SAFE: f64 = 0.9;

/// By how much of itself the rate climbs in a second.
mod climb {
    /// Up to where the last refusal leaves no doubt.
    pub const FAST: f64 = 0.10;
    /// From there to nine tenths of what was refused.
    pub const STEADY: f64 = 0.01;
    /// Most calls are made just below what was refused last: the slower it is come near to, the fewer are refused.
    pub const NEAR: f64 = 0.001;
    /// Where nothing was refused lately.
    pub const BEYOND: f64 = 0.002;
}

fn together(rate: f64) -> f64 {
    (rate * TOGETHER_SECONDS).max(1.0)
}

/// What a refusal says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
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

impl Refusal {
    /// 429 that says no more than that.
    pub const UNEXPLAINED: Self = Self::TooManyRequests { retry_after: None, limit: None };
}

/// A limit that a refusal states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many calls are granted
    pub calls: u32,
    /// in each window of this length.
    pub window: Duration,
}

/// The pace of one kind of call at one account.
#[derive(Clone, Debug)]
pub struct Rate {
    ceiling: f64,
    rate: f64,
    tokens: f64,
    updated: Mono,
    /// The rate in force when the present run of refusals began.
    before_refusals: Option<f64>,
    refused_in_a_row: u32,
    /// First refusals that came close after one another.
    cuts: usize,
    /// Calls accepted since the last cut.
    accepted: u32,
    /// Seconds for which the rate was used since then and has not climbed yet: what nobody uses proves nothing.
    used: f64,
    /// When the calls were granted of which no outcome was told yet, the oldest first.
    under_way: VecDeque<Mono>,
    /// When the rate was last cut.
    cut: Option<Mono>,
    /// When the last [`REMEMBERED`] calls left, the oldest first; the last one may be about to.
    left: VecDeque<Mono>,
    closed_until: Mono,
    /// The rate that a limit stated by the cloud allows, and until when it is believed.
    stated: Option<(f64, Mono)>,
}

impl Rate {
    /// A pace of at most `ceiling` calls per second.
    #[must_use]
    pub fn new(ceiling: f64, now: Mono) -> Self {
        Self {
            ceiling,
            rate: ceiling,
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
        together(self.rate) + self.rate * LATE_SECONDS
    }

    fn advance(&mut self, now: Mono) {
        let elapsed = (now - self.updated).as_secs_f64();
        self.updated = now;
        while self.under_way.front().is_some_and(|granted| *granted + OVER < now) {
            self.under_way.pop_front();
        }
        self.rate = self.climbed(elapsed).min(self.most(now));
        self.tokens = (self.tokens + self.rate * elapsed).min(self.capacity());
    }

    /// The rate after so many further seconds.
    fn climbed(&mut self, elapsed: f64) -> f64 {
        let refused = self.before_refusals.unwrap_or(self.ceiling);
        let fast_until = refused * self.left_by_cuts().min(SAFE);
        if self.rate < fast_until {
            return (self.rate * (1.0 + climb::FAST * elapsed)).min(fast_until);
        }
        let proved = elapsed.min(self.used);
        self.used -= proved;
        let (speed, until) = match self.rate {
            rate if rate < refused * SAFE => (climb::STEADY, refused * SAFE),
            rate if rate < refused => (climb::NEAR, f64::INFINITY),
            _ => (climb::BEYOND, f64::INFINITY),
        };
        (self.rate * (1.0 + speed * proved)).min(until)
    }

    /// What the last refusal left of the rate, if it was the first in a row.
    fn left_by_cuts(&self) -> f64 {
        let [first, .., last] = CUTS;
        self.cuts.checked_sub(1).map_or(first, |earlier| CUTS.get(earlier).copied().unwrap_or(last))
    }

    /// The rate that is not exceeded now.
    fn most(&self, now: Mono) -> f64 {
        let stated = self.stated.filter(|(_, until)| now < *until);
        stated.map_or(self.ceiling, |(rate, _)| rate.min(self.ceiling))
    }

    /// Takes up to `most` calls that may be made now. What others have left for coming late goes to whoever asks next, and
    /// not all at once.
    pub fn take(&mut self, most: usize, now: Mono) -> usize {
        self.advance(now);
        if now < self.closed_until {
            return 0;
        }
        let (mut taken, mut left) = (0, together(self.rate));
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
        let wait = missing / self.rate.max(SLOWEST);
        // A call due at a fraction of a microsecond must be due when its time has come.
        (now + Duration::from_secs_f64(wait.min(1e6)) + Duration::from_micros(1)).max(self.closed_until)
    }

    /// How many calls are due within this time, if nothing changes.
    pub fn within(&mut self, time: Duration, now: Mono) -> usize {
        self.advance(now);
        let interval = Duration::from_secs_f64(1.0 / self.rate.max(SLOWEST));
        usize::try_from(time.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// When a granted call leaves that is ready now: as far from the one before as the pace says. Between a grant and its call
    /// lie a Secret and an intent, which take the API server longer at one time than at another; without this, two calls
    /// granted a second apart would meet the cloud within less, and be refused.
    pub fn departure(&mut self, now: Mono) -> Mono {
        self.advance(now);
        let apart = Duration::from_secs_f64(1.0 / self.rate.max(SLOWEST));
        let at = self.left.back().map_or(now, |left| (*left + apart).clamp(now, now + HELD_BACK));
        if self.left.len() == REMEMBERED {
            self.left.pop_front();
        }
        self.left.push_back(at);
        at
    }

    /// Calls per second in force now, and whether that is less than the ceiling or nothing at all may be called. Whoever asks
    /// changes nothing.
    #[must_use]
    pub fn in_force(&self, now: Mono) -> (f64, bool) {
        let mut rate = self.clone();
        rate.advance(now);
        (rate.rate, rate.rate < rate.ceiling || rate.closed(now).is_some())
    }

    /// For how long no call may be made, since the cloud asks so; none if calls may be made.
    #[must_use]
    pub fn closed(&self, now: Mono) -> Option<Duration> {
        Some(self.closed_until - now).filter(|left| !left.is_zero())
    }

    /// Gives back calls that were taken and not made.
    pub fn give_back(&mut self, calls: usize) {
        self.tokens = (self.tokens + f64::from(u32::try_from(calls).unwrap_or(0))).min(self.capacity());
        self.under_way.truncate(self.under_way.len().saturating_sub(calls));
    }

    /// Notes that a call was not refused for its pace.
    pub fn accepted(&mut self) {
        if !self.heard_before() {
            self.refused_in_a_row = 0;
            self.accepted = self.accepted.saturating_add(1);
            self.used += 1.0 / self.rate.max(SLOWEST);
        }
    }

    /// Notes that a call is over and says nothing about the pace.
    pub fn over(&mut self) {
        self.heard_before();
    }

    /// Notes that a call was refused for its pace.
    pub fn refused(&mut self, refusal: Refusal, now: Mono) {
        self.advance(now);
        self.close(refusal, now);
        if !self.heard_before() {
            self.cut(refusal, now);
        }
        if let Refusal::TooManyRequests { limit: Some(limit), .. } = refusal {
            self.keep_to(limit, now);
        }
    }

    /// Closes the gate for as long as the cloud asks, else until the window of the limit that it states is over.
    fn close(&mut self, refusal: Refusal, now: Mono) {
        let until = match refusal {
            Refusal::TooManyRequests { retry_after: Some(wait), .. } => now + wait,
            Refusal::TooManyRequests { limit: Some(limit), .. } => self.window_over(limit, now),
            Refusal::TooManyRequests { .. } | Refusal::Unavailable => return,
        };
        self.closed_until = self.closed_until.max(until);
    }

    /// When the window is over that a refusal speaks of. If the calls made here fill it, that is its length after the first of
    /// them, whether it slides or not. If they don't, others use the same limit, and nothing is known but its length.
    fn window_over(&self, limit: Limit, now: Mono) -> Mono {
        let last_but = usize::try_from(limit.calls).unwrap_or(usize::MAX).checked_sub(1);
        let first = last_but.and_then(|last_but| self.left.iter().rev().nth(last_but));
        let over = first.map(|first| *first + limit.window).filter(|over| *over > now);
        over.unwrap_or(now + limit.window).min(now + STATED)
    }

    fn cut(&mut self, refusal: Refusal, now: Mono) {
        let first = self.refused_in_a_row == 0;
        if first {
            self.before_refusals = Some(self.rate);
            self.cuts = if self.accepted < SETTLED { self.cuts + 1 } else { 1 };
        }
        self.refused_in_a_row += 1;
        (self.accepted, self.used) = (0, 0.0);
        let factor = if refusal == Refusal::Unavailable || !first { 0.5 } else { self.left_by_cuts() };
        self.rate = (self.rate * factor).max(SLOWEST.min(self.ceiling));
        self.tokens = 0.0;
        self.cut = Some(now);
    }

    /// For an hour, calls are spread so that no window holds more.
    fn keep_to(&mut self, limit: Limit, now: Mono) {
        let rate = f64::from(limit.calls) / limit.window.as_secs_f64() * SHARE;
        self.stated = rate.is_finite().then_some((rate.max(SLOWEST), now + STATED));
        self.rate = self.rate.min(self.most(now));
    }

    /// Whether a call of which the outcome is told now was under way already when the rate was last cut: it says of the rate
    /// before what was heard by then. Outcomes are taken to come in the order in which their calls were granted; which of two
    /// calls it was that was refused makes no difference.
    fn heard_before(&mut self) -> bool {
        let granted = self.under_way.pop_front();
        granted.zip(self.cut).is_some_and(|(granted, cut)| granted <= cut)
    }
}
