//! Random numbers. The edge draws them and passes them to the engine.

use std::{fmt, sync::Arc};

/// A source of random numbers.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Random").finish()
    }
}

impl Random {
    /// The operating system's source.
    #[must_use]
    pub fn system() -> Self {
        Self::from_source(|| getrandom::u64().ok())
    }

    /// Another source, such as a simulation's seeded one.
    #[must_use]
    pub fn from_source(source: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// A claim that no other process and no other wave has: 128 random bits in hexadecimal. `None` if the source fails.
    #[must_use]
    pub fn claim(&self) -> Option<String> {
        (self.0)().map(|random| format!("{random:016x}"))
    }

    /// A random number for jitter; 0 if the source fails, which does no harm there.
    #[must_use]
    pub fn jitter(&self) -> u64 {
        (self.0)().unwrap_or(0)
    }
}
