//! The simulator's time: real time, plus what a test has skipped; and its wall clock, which a test may set wrong.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    started_at: SystemTime,
    skipped_ms: AtomicU64,
    offset_seconds: AtomicI64,
}

/// When a request is carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Time since the start, skipped time included.
    pub(crate) now: Duration,
    /// The cloud's wall clock, in Unix milliseconds.
    pub(crate) unix_ms: u64,
}

impl Clock {
    pub(crate) fn new(offset_seconds: i64) -> Self {
        Self {
            start: Instant::now(),
            started_at: SystemTime::now(),
            skipped_ms: AtomicU64::new(0),
            offset_seconds: AtomicI64::new(offset_seconds),
        }
    }

    /// Time since the start, skipped time included: what decides when deletions and tokens end and rates recover.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed() + Duration::from_millis(self.skipped_ms.load(Ordering::SeqCst))
    }

    /// Milliseconds really passed since the start: what the log shows.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        millis(self.start.elapsed())
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.skipped_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Wall clock at the start, in Unix milliseconds.
    pub(crate) fn started_unix_ms(&self) -> u64 {
        millis(self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub(crate) fn set_offset(&self, seconds: i64) {
        self.offset_seconds.store(seconds, Ordering::SeqCst);
    }

    pub(crate) fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::SeqCst)
    }

    /// The cloud's wall clock in Unix milliseconds. Skipped time does not move it: clients do not skip along, and
    /// every skip would be a clock skew to them.
    pub(crate) fn unix_ms(&self) -> u64 {
        set_off(self.started_unix_ms() + self.elapsed_ms(), self.offset_seconds())
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.now(), unix_ms: self.unix_ms() }
    }
}

/// A wall clock that is `seconds` off.
pub(crate) fn set_off(unix_ms: u64, seconds: i64) -> u64 {
    unix_ms.saturating_add_signed(seconds.saturating_mul(1_000))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
