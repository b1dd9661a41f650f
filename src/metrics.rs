//! Metric families whose labels are closed lists, for all components.
//!
//! Each component has a small struct with a `register` function. No label holds a name, a namespace or an id, so ten thousand
//! objects cost as many series as ten. Every row of a closed list exists from the start with the value 0, so that Prometheus
//! sees its first increase.

use std::time::Duration;

pub use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Label names and values of one row.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Counters with `N` labels.
pub type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// Histograms with `N` labels, in seconds.
pub type Durations<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Buckets in seconds for one request: from a local reply to the longest sensible deadline.
const QUICK: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// Buckets in seconds for waits: from none to an hour at the slowest rate.
const SLOW: [f64; 10] = [0.01, 0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// Makes counters with these rows.
pub fn counters<const N: usize>(rows: impl IntoIterator<Item = Labels<N>>) -> Counters<N> {
    let counters = Counters::default();
    for row in rows {
        drop(counters.get_or_create(&row));
    }
    counters
}

/// Makes histograms of request durations with these rows.
pub fn durations<const N: usize>(rows: impl IntoIterator<Item = Labels<N>>) -> Durations<N> {
    let durations = Durations::new_with_constructor(quick as fn() -> Histogram);
    for row in rows {
        drop(durations.get_or_create(&row));
    }
    durations
}

/// Makes a histogram for something quick.
#[must_use]
pub fn quick() -> Histogram {
    Histogram::new(QUICK)
}

/// Makes a histogram for waits, which may be long.
#[must_use]
pub fn slow() -> Histogram {
    Histogram::new(SLOW)
}

/// Observes a duration.
pub fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}

#[cfg(test)]
pub(crate) mod testing {
    //! Scrapes of a registry, for tests.

    use super::Registry;

    /// Scrapes what a component registers.
    pub fn scraped(register: impl FnOnce(&mut Registry)) -> String {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// The value of a sample, by its name and labels as the scrape writes them.
    pub fn sample(scrape: &str, name: &str) -> f64 {
        let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {scrape}")).parse().unwrap()
    }
}
