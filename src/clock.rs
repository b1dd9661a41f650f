//! The clock of the process: read at the edge, and passed to the engine.

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::engine::{Mono, Now};

/// Reads both clocks. One for the process: moments of different clocks can't be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The moment on the monotonic clock.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono::at(self.start.elapsed())
    }

    /// The moment on both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Timestamp::now() }
    }

    /// The moment as tokio counts it, to sleep until it.
    #[must_use]
    pub fn instant(&self, moment: Mono) -> Instant {
        self.start + moment.since_start()
    }
}
