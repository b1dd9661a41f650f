//! The simulator's time: real time, plus what a test has skipped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    started_at: SystemTime,
    skipped_ms: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), started_at: SystemTime::now(), skipped_ms: AtomicU64::new(0) }
    }

    /// Time since the start, skipped time included: what decides when deletions end and rates recover.
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
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
