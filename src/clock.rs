//! The clock of the process: read at the edge, and passed to the engine.

use std::{fmt, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::engine::{Mono, Now};

/// Reads both clocks. One for the process: moments of different clocks can't be compared.
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
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self::with_wall(Timestamp::now)
    }

    /// A clock that starts now, with a wall clock of one's own: in a simulation it jumps.
    #[must_use]
    pub fn with_wall(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { start: Instant::now(), wall: Arc::new(wall) }
    }

    /// The moment on the monotonic clock.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono::at(self.start.elapsed())
    }

    /// The moment on the wall clock: for records that people read and for times that others state.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        (self.wall)()
    }

    /// The moment on both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: self.wall() }
    }

    /// The moment as tokio counts it, to sleep until it.
    #[must_use]
    pub fn instant(&self, moment: Mono) -> Instant {
        self.start + moment.since_start()
    }
}
