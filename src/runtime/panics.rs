//! Counts panics in all threads and tasks: nothing else tells of a task that panicked.

use std::panic;

use crate::metrics::{Counter, Registry};

/// The number of panics since [`Panics::count`].
#[derive(Clone, Debug, Default)]
pub struct Panics {
    counter: Counter,
}

impl Panics {
    /// Installs a hook that counts panics of all threads and then calls the previous hook.
    #[must_use]
    pub fn count() -> Self {
        let panics = Self::default();
        let (counter, before) = (panics.counter.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            counter.inc();
            before(info);
        }));
        panics
    }

    /// Registers the counter `panics`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("panics", "Panics, all of them caught: the process goes on", self.counter.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{sample, scraped};

    #[test]
    fn a_panic_that_is_caught_is_counted() {
        let panics = Panics::count();
        let counted = || sample(&scraped(|registry| panics.register(registry)), "panics_total");
        let before = counted();
        for _ in 0..3 {
            assert!(std::thread::spawn(|| panic!("counted")).join().is_err());
        }
        // Other tests may panic meanwhile.
        assert!(counted() >= before + 3.0);
    }
}
