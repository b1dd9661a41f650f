//! Random numbers of the process: read at the edge, and passed to the engine.

use std::{fmt, sync::Arc};

/// Where random numbers come from.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Random").finish()
    }
}

impl Random {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self::from_source(|| getrandom::u64().ok())
    }

    /// Another source: in a simulation a seeded one.
    #[must_use]
    pub fn from_source(source: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// A claim that no other process and no other wave has; none if there are no random numbers.
    #[must_use]
    pub fn claim(&self) -> Option<String> {
        (self.0)().map(|random| format!("{random:016x}"))
    }

    /// Randomness for jitter, where none is no harm.
    #[must_use]
    pub fn jitter(&self) -> u64 {
        (self.0)().unwrap_or(0)
    }
}
