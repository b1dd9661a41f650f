//! The clock of the process. The edge reads it and passes the time to the engine.

use std::{fmt, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::engine::{Mono, Now};

/// Reads the monotonic and the wall clock. A process has one: moments of two `Clock`s cannot be compared.
#[derive(Clone)]
pub struct Clock {
    start: Instant,
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Clock {
    /// Starts a clock with the system's wall clock.
    #[must_use]
    pub fn start() -> Self {
        Self::with_wall(Timestamp::now)
    }

    /// Starts a clock with another wall clock, such as a simulation's that jumps.
    #[must_use]
    pub fn with_wall(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { start: Instant::now(), wall: Arc::new(wall) }
    }

    /// The time on the monotonic clock, which starts at zero with this `Clock`.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono::at(self.start.elapsed())
    }

    /// The time on the wall clock: for records that people read, and to compare with times that others state.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        (self.wall)()
    }

    /// The time on both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: self.wall() }
    }

    /// Converts a moment to tokio's type, to sleep until it.
    #[must_use]
    pub fn instant(&self, moment: Mono) -> Instant {
        self.start + moment.since_start()
    }
}

/// A deadline on both clocks.
///
/// The monotonic clock may stand still while the machine sleeps (CLOCK_MONOTONIC of Linux does), and someone may set the wall
/// clock. The deadline is over as soon as either clock says so: starting again costs little.
#[derive(Clone, Debug)]
pub struct Deadline {
    mono: Instant,
    wall: Timestamp,
    clock: Clock,
}

impl Deadline {
    /// A deadline that is over `life` from now.
    #[must_use]
    pub fn after(life: Duration, clock: &Clock) -> Self {
        let wall = clock.wall();
        let wall = wall.checked_add(life).unwrap_or(wall);
        Self { mono: Instant::now() + life, wall, clock: clock.clone() }
    }

    /// Moves the deadline to `moment` if that is sooner.
    #[must_use]
    pub fn no_later_than(self, moment: Mono) -> Self {
        let mono = self.mono.min(self.clock.instant(moment));
        Self { mono, ..self }
    }

    /// Whether the deadline has passed on either clock.
    #[must_use]
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.mono || self.clock.wall() >= self.wall
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn x06_a_deadline_is_over_when_either_clock_says_so() {
        let wall = Arc::new(AtomicI64::new(1_800_000_000));
        let read = wall.clone();
        let clock =
            Clock::with_wall(move || Timestamp::from_second(read.load(Ordering::SeqCst)).unwrap_or_default());
        let life = Duration::from_secs(5);
        let deadline = Deadline::after(life, &clock);
        wall.fetch_sub(3600, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!deadline.is_over(), "a wall clock that was set back says nothing");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(deadline.is_over());
        let deadline = Deadline::after(life, &clock);
        wall.fetch_add(4, Ordering::SeqCst);
        assert!(!deadline.is_over());
        // The machine slept, and the monotonic clock stood still.
        wall.fetch_add(1, Ordering::SeqCst);
        assert!(deadline.is_over());
        let deadline = Deadline::after(life, &clock).no_later_than(clock.mono() + Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(deadline.is_over());
    }
}
