//! Time as it is passed in.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// A moment on the monotonic clock of this process, in microseconds since a start that is the process's own.
///
/// Every rule of safety is counted with it, since the wall clock may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The start of the clock.
    pub const START: Self = Self(0);

    /// The moment that lies `since_start` after the start of the clock.
    #[must_use]
    pub fn at(since_start: Duration) -> Self {
        Self::START + since_start
    }

    /// Time from the start of the clock.
    #[must_use]
    pub fn since_start(self) -> Duration {
        self - Self::START
    }
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }
}

/// The time from `earlier` to `self`; zero if `earlier` is later.
impl Sub for Mono {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// When a read was made. The cloud looked at the instance at some moment between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadTime {
    /// The moment before the request was sent: what the read shows is not older.
    pub sent: Mono,
    /// The moment after its answer was received: what the read shows is not younger.
    pub answered: Mono,
}

/// A read that was answered in the moment in which it was sent.
impl From<Mono> for ReadTime {
    fn from(at: Mono) -> Self {
        Self { sent: at, answered: at }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The moment of a decision on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For every rule.
    pub mono: Mono,
    /// For records that people read.
    pub wall: Timestamp,
}

impl Now {
    /// The wall clock's time as the API server keeps it: whole seconds, so that what is written equals what is read back.
    #[must_use]
    pub fn time(&self) -> Time {
        Time(Timestamp::from_second(self.wall.as_second()).unwrap_or(self.wall))
    }

    /// The wall clock's time at a monotonic moment in the future.
    #[must_use]
    pub fn time_at(&self, moment: Mono) -> Time {
        let ahead = i64::try_from((moment - self.mono).as_secs()).unwrap_or(i64::MAX);
        let seconds = self.wall.as_second().saturating_add(ahead);
        Time(Timestamp::from_second(seconds).unwrap_or(self.wall))
    }
}
