//! What the schedule is measured with, and what it must reach.

use std::time::Duration;

use crate::{random::Distribution, run::Fleet};

/// Bounds that the means over all seeds must keep (the worst ratio: over all seeds and objects).
#[derive(Clone, Copy, Debug)]
pub struct Musts {
    /// Of reads over the least.
    pub reads: f64,
    /// Of the mean ratio of an object's end as seen to its end.
    pub mean_ratio: f64,
    /// Of the worst.
    pub worst_ratio: f64,
    /// Of seconds from an instance's end to its answer.
    pub late: f64,
}

/// A measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// How deletions end, in words.
    pub ends: &'static str,
    /// What is deleted.
    pub fleet: Fleet,
    /// What it must reach, if anything.
    pub musts: Option<Musts>,
}

const MEDIAN: Distribution = log_normal(10, 0.5);

const fn log_normal(minutes: u64, sigma: f64) -> Distribution {
    Distribution::LogNormal { median: Duration::from_mins(minutes), sigma }
}

const fn fleet(objects: usize, instances: usize, ends: Distribution) -> Fleet {
    Fleet { objects, instances, ends, apart: Duration::ZERO }
}

const fn musts(reads: f64, mean_ratio: f64, late: f64) -> Musts {
    Musts { reads, mean_ratio, worst_ratio: 1.12, late }
}

const ANY: f64 = f64::INFINITY;

/// Those of the table of requirements.
pub const REQUIRED: [Measured; 6] = [
    Measured { ends: LOG_NORMAL, fleet: fleet(10, 1_000, MEDIAN), musts: Some(musts(5.5, 1.03, 70.0)) },
    Measured { ends: LOG_NORMAL, fleet: fleet(100, 100, MEDIAN), musts: Some(musts(5.5, 1.03, ANY)) },
    Measured { ends: LOG_NORMAL, fleet: fleet(1, 1_000, MEDIAN), musts: Some(musts(10.0, 1.03, ANY)) },
    Measured { ends: LOG_NORMAL, fleet: fleet(1_000, 1, MEDIAN), musts: Some(musts(45.0, 1.06, ANY)) },
    Measured { ends: LOG_NORMAL, fleet: fleet(1, 50, MEDIAN), musts: Some(musts(60.0, 1.03, ANY)) },
    Measured {
        ends: "log-normal, median 1 min, sigma 0.5",
        fleet: fleet(10, 1_000, log_normal(1, 0.5)),
        musts: Some(musts(2.5, 1.03, ANY)),
    },
];

const LOG_NORMAL: &str = "log-normal, median 10 min, sigma 0.5";

/// Fleets of other distributions, sizes and beginnings.
#[must_use]
pub fn others() -> Vec<Measured> {
    const STUCK: Distribution = Distribution::Fixed(Duration::from_hours(6));
    let minutes = Duration::from_mins;
    let ends = [
        ("all after 10 min", Distribution::Fixed(minutes(10))),
        ("uniform, 5 to 15 min", Distribution::Uniform(minutes(5), minutes(15))),
        ("log-normal, median 10 min, sigma 1", log_normal(10, 1.0)),
        ("log-normal, median 2 h, sigma 0.3", log_normal(120, 0.3)),
        ("as the first; one in a hundred after 6 h", Distribution::Mixed(&MEDIAN, 0.01, &STUCK)),
    ];
    let sizes = [(10, 1_000), (1, 1_000), (1_000, 1), (1, 50)];
    let simple = ends.into_iter().flat_map(|(ends, distribution)| {
        let measured = move |(objects, instances)| Measured {
            ends,
            fleet: fleet(objects, instances, distribution),
            musts: None,
        };
        sizes.into_iter().map(measured)
    });
    let apart = |objects, instances, apart| Fleet { apart, ..fleet(objects, instances, MEDIAN) };
    let one = Measured { ends: LOG_NORMAL, fleet: fleet(1, 1, MEDIAN), musts: None };
    let late = [
        ("as the first; one object every 10 min", apart(20, 100, minutes(10))),
        ("as the first; one object every minute", apart(200, 1, minutes(1))),
    ];
    let late = late.into_iter().map(|(ends, fleet)| Measured { ends, fleet, musts: None });
    std::iter::once(one).chain(simple).chain(late).collect()
}
