//! What every component counts with: families of metrics whose labels are closed lists.
//!
//! Each component has a small struct of its own with `register`. No label ever holds a name, a namespace or an id: what is
//! counted costs the same for ten objects and for ten thousand. Every row of a closed list is there from the start, at 0, so
//! that its first increase is seen as one.

use std::time::Duration;

pub use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Names and values of the labels of one row.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Counters of `N` labels.
pub type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// Histograms of `N` labels, in seconds.
pub type Durations<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// From a local reply to the longest total deadline that makes sense for one request.
const QUICK: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// From no wait to an hour at the slowest pace.
const SLOW: [f64; 10] = [0.01, 0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// Counters with these rows.
pub fn counters<const N: usize>(rows: impl IntoIterator<Item = Labels<N>>) -> Counters<N> {
    let counters = Counters::default();
    for row in rows {
        drop(counters.get_or_create(&row));
    }
    counters
}

/// Histograms of how long requests take, with these rows.
pub fn durations<const N: usize>(rows: impl IntoIterator<Item = Labels<N>>) -> Durations<N> {
    let durations = Durations::new_with_constructor(quick as fn() -> Histogram);
    for row in rows {
        drop(durations.get_or_create(&row));
    }
    durations
}

/// A histogram of how long something quick takes.
#[must_use]
pub fn quick() -> Histogram {
    Histogram::new(QUICK)
}

/// A histogram of waits, which may be long.
#[must_use]
pub fn slow() -> Histogram {
    Histogram::new(SLOW)
}

/// Enters a duration.
pub fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}

#[cfg(test)]
pub(crate) mod testing {
    //! What a registry tells, for tests.

    use super::Registry;

    /// The scrape of what a component registers.
    pub fn scraped(register: impl FnOnce(&mut Registry)) -> String {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// The value of a sample, by its name and labels as they are written.
    pub fn sample(scrape: &str, name: &str) -> f64 {
        let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {scrape}")).parse().unwrap()
    }
}
