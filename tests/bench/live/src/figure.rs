//! What is measured.

use std::collections::BTreeMap;

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Requests of DeleteInstances.
    DeleteCalls,
    /// Requests of ChangeServerPowerState.
    PowerCalls,
    /// Reads of ids of which none had been accepted: the look that precedes the calls.
    FirstReads,
    /// All other reads, as a multiple of what reads each id once, 100 a call.
    Reads,
    /// Writes of an object's status.
    Writes,
    /// Writes of Kubernetes events about an object.
    Events,
    /// From each end to the reply of the first read of that instance, in seconds.
    Lateness,
    /// The longest of these.
    Longest,
    /// From acceptance to when the last end of an object was seen, over how long that deletion took.
    LastEnd,
    /// From the start of the process to the end of all, in seconds.
    Wall,
    /// The same over the slowest deletion.
    WallRatio,
    /// Delete calls let through after the first minute, over those that the cloud grants.
    DeleteGoodput,
    /// Reads let through after the first minute, over those that the cloud grants.
    ReadGoodput,
    /// Share of 429 in delete calls after the first minute.
    DeleteRefusals,
    /// Share of 429 in reads after the first minute.
    ReadRefusals,
    /// Share of 429 in all requests, the first minute included.
    Refusals,
    /// Most memory resident at once, in MB of 1,000,000 bytes.
    PeakMemory,
    /// Processor time, in seconds.
    Processor,
}

impl Figure {
    /// All, in the order of a table.
    pub const ALL: [Self; 18] = [
        Self::DeleteCalls,
        Self::PowerCalls,
        Self::FirstReads,
        Self::Reads,
        Self::Writes,
        Self::Events,
        Self::Lateness,
        Self::Longest,
        Self::LastEnd,
        Self::Wall,
        Self::WallRatio,
        Self::DeleteGoodput,
        Self::ReadGoodput,
        Self::DeleteRefusals,
        Self::ReadRefusals,
        Self::Refusals,
        Self::PeakMemory,
        Self::Processor,
    ];

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::DeleteCalls => "delete calls",
            Self::PowerCalls => "calls that power off",
            Self::FirstReads => "reads before the calls",
            Self::Reads => "reads after that, as a multiple of ⌈N/100⌉",
            Self::Writes => "writes of status per object",
            Self::Events => "writes of events per object",
            Self::Lateness => "from an end to its first read, mean, s",
            Self::Longest => "from an end to its first read, longest, s",
            Self::LastEnd => "last end of an object seen ÷ its true duration",
            Self::Wall => "wall clock, s",
            Self::WallRatio => "wall clock ÷ slowest deletion",
            Self::DeleteGoodput => "delete calls let through ÷ granted, after 1 min",
            Self::ReadGoodput => "reads let through ÷ granted, after 1 min",
            Self::DeleteRefusals => "429 among delete calls, after 1 min, %",
            Self::ReadRefusals => "429 among reads, after 1 min, %",
            Self::Refusals => "429 among all requests, from the start, %",
            Self::PeakMemory => "peak memory, MB",
            Self::Processor => "processor time, s",
        }
    }

    /// Decimal places in which differences mean something.
    #[must_use]
    pub fn decimals(self) -> usize {
        match self {
            Self::DeleteCalls | Self::PowerCalls | Self::FirstReads | Self::Wall => 0,
            Self::LastEnd | Self::WallRatio | Self::DeleteGoodput | Self::ReadGoodput => 3,
            _ => 1,
        }
    }
}

/// The figures of one run, or their means.
pub type Sample = BTreeMap<Figure, f64>;

/// A count as a figure: none comes near 2^52.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of requests, bytes and milliseconds of minutes")]
pub fn number(count: usize) -> f64 {
    count as f64
}

/// The mean of some values; none of none.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / number(values.len()))
}
