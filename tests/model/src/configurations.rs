//! The list of configurations.

use crate::configuration::{Budget, Configuration};

/// Those that run with the other tests.
#[must_use]
pub fn small() -> Vec<Configuration> {
    vec![Configuration {
        name: "one-id-one-process",
        budget: Budget {
            crashes: 1,
            lost_writes: 1,
            lost_calls: 1,
            slow: 1,
            failures: 1,
            ..Budget::default()
        },
        ..Configuration::default()
    }]
}

/// The large ones.
#[must_use]
pub fn large() -> Vec<Configuration> {
    vec![]
}

/// The configuration of this name.
#[must_use]
pub fn find(name: &str) -> Option<Configuration> {
    small().into_iter().chain(large()).find(|configuration| configuration.name == name)
}
