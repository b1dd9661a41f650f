//! Counters of the client: calls by operation and outcome, their duration, and how long reads wait before they are sent.

use std::time::Duration;

use crate::metrics::{
    Counters, Durations, Histogram, Labels, Registry, Unit, counters, durations, observe, slow,
};

/// Operation of a call; the label `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A delete call for up to 50 ids.
    DeleteInstances,
    /// A call that powers off up to 50 servers.
    ChangeServerPowerState,
    /// A list of up to 100 ids; each page is a call.
    ListInstances,
    /// A read of one id.
    ShowInstanceStatus,
    /// A request for a token of IAM.
    CreateToken,
}

impl Operation {
    const ALL: [Self; 5] = [
        Self::DeleteInstances,
        Self::ChangeServerPowerState,
        Self::ListInstances,
        Self::ShowInstanceStatus,
        Self::CreateToken,
    ];

    /// The vendor's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeleteInstances => "DeleteInstances",
            Self::ChangeServerPowerState => "ChangeServerPowerState",
            Self::ListInstances => "ListInstances",
            Self::ShowInstanceStatus => "ShowInstanceStatus",
            Self::CreateToken => "CreateToken",
        }
    }
}

/// Values of the label `outcome`: those of [`CallOutcome`] and [`Trouble`], and the two below.
///
/// [`CallOutcome`]: crate::engine::outcome::CallOutcome
/// [`Trouble`]: crate::engine::outcome::Trouble
const OUTCOMES: [&str; 10] = [
    OK,
    "throttled",
    "unauthorised",
    "forbidden",
    "refused",
    "misconfigured",
    "unreachable",
    "unknown",
    "too_late",
    TOO_LARGE,
];

/// A read or a request for a token that was answered.
pub const OK: &str = "ok";

/// A read whose reply exceeds its cap.
pub const TOO_LARGE: &str = "too_large";

/// The counters of a client and its readers.
#[derive(Clone, Debug)]
pub struct CloudMetrics {
    calls: Counters<2>,
    took: Durations<1>,
    read_wait: Histogram,
}

fn operation(operation: Operation) -> (&'static str, &'static str) {
    ("operation", operation.name())
}

fn labels(of: Operation, outcome: &'static str) -> Labels<2> {
    [operation(of), ("outcome", outcome)]
}

impl Default for CloudMetrics {
    fn default() -> Self {
        let rows = Operation::ALL.into_iter().flat_map(|of| OUTCOMES.map(|outcome| labels(of, outcome)));
        let took = durations(Operation::ALL.map(|of| [operation(of)]));
        Self { calls: counters(rows), took, read_wait: slow() }
    }
}

impl CloudMetrics {
    /// Registers the counters under `cloud_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cloud");
        registry.register("calls", "Calls to the cloud", self.calls.clone());
        let took = "How long calls to the cloud took, also those that failed";
        registry.register_with_unit("call_duration", took, Unit::Seconds, self.took.clone());
        let wait = "How long reads waited for their turn and their credentials";
        registry.register_with_unit("read_wait", wait, Unit::Seconds, self.read_wait.clone());
    }

    /// Counts a call that is over by its outcome: [`OK`], [`TOO_LARGE`], or the label of a `CallOutcome` or a `Trouble`.
    pub fn called(&self, of: Operation, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&labels(of, outcome)).inc();
        observe(&self.took.get_or_create(&[operation(of)]), took);
    }

    /// Counts the wait of a read that is sent now.
    pub fn read_waited(&self, wait: Duration) {
        observe(&self.read_wait, wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::outcome::{CallOutcome, CloudMessage, Refusal, Trouble, Unsent},
        metrics::testing::{sample, scraped},
    };

    #[test]
    fn each_outcome_has_a_row_from_the_start() {
        let metrics = CloudMetrics::default();
        let text = scraped(|registry| metrics.register(registry));
        assert_eq!(text.matches("\ncloud_calls_total{").count(), 5 * 10);
        assert!(text.lines().filter(|l| l.starts_with("cloud_calls_total")).all(|l| l.ends_with(" 0")));
        for of in Operation::ALL {
            for outcome in OUTCOMES {
                metrics.called(of, outcome, Duration::from_secs(1));
            }
        }
        let again = scraped(|registry| metrics.register(registry));
        assert_eq!(again.lines().count(), text.lines().count(), "no row that was not there");
        assert!(again.lines().filter(|l| l.starts_with("cloud_calls_total")).all(|l| l.ends_with(" 1")));
        let took = r#"cloud_call_duration_seconds_sum{operation="ListInstances"}"#;
        assert!((sample(&again, took) - 10.0).abs() < f64::EPSILON);
    }

    #[test]
    fn each_outcome_is_counted_under_a_label_that_is_there_from_the_start() {
        let message = CloudMessage::default;
        let refused = |trouble| CallOutcome::Refused { refusal: Refusal::Whole, trouble, message: message() };
        let unknown = |trouble| CallOutcome::Unknown { trouble, unavailable: false, message: message() };
        let table = [
            (CallOutcome::Accepted { ids: Vec::new(), foreign: 0, message: message() }, "ok"),
            (unknown(Trouble::CloudUnreachable), "unknown"),
            (unknown(Trouble::EndpointMisconfigured), "unknown"),
            (refused(Trouble::CloudUnreachable), "unreachable"),
            (refused(Trouble::Throttled { retry_after: None }), "throttled"),
            (refused(Trouble::CredentialsRejected), "unauthorised"),
            (refused(Trouble::Forbidden), "forbidden"),
            (refused(Trouble::RequestRefused), "refused"),
            (refused(Trouble::EndpointMisconfigured), "misconfigured"),
            (CallOutcome::NotSent(Unsent::TooLate), "too_late"),
        ];
        for (outcome, label) in table {
            assert_eq!(outcome.label(), label, "{outcome:?}");
            assert!(OUTCOMES.contains(&label), "{label}");
        }
    }
}
