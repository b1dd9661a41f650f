//! What the client counts: calls by operation and outcome, how long they take, and how long reads wait for their turn.

use std::time::Duration;

use crate::{
    engine::reply::{Reply, Trouble},
    metrics::{Counters, Durations, Histogram, Labels, Registry, Unit, counters, durations, observe, slow},
};

/// A call to the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Up to 50 ids.
    DeleteInstances,
    /// Up to 100 ids; each page is a call.
    ListInstances,
    /// One id.
    ShowInstanceStatus,
    /// A token of IAM.
    CreateToken,
}

impl Operation {
    const ALL: [Self; 4] =
        [Self::DeleteInstances, Self::ListInstances, Self::ShowInstanceStatus, Self::CreateToken];

    fn name(self) -> &'static str {
        match self {
            Self::DeleteInstances => "DeleteInstances",
            Self::ListInstances => "ListInstances",
            Self::ShowInstanceStatus => "ShowInstanceStatus",
            Self::CreateToken => "CreateToken",
        }
    }
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for: of a delete call, that at least one id was accepted; of a look at one id also that it is not known.
    Ok,
    /// 429.
    Throttled,
    /// 401; of IAM also that it does not know the user.
    Unauthorised,
    /// 403.
    Forbidden,
    /// Refused for what it asks.
    Refused,
    /// What answered is not this API.
    Misconfigured,
    /// Nothing was learnt and nothing was done: no connection; of a read also a timeout, a reset or a 5xx.
    Unreachable,
    /// A delete call that may have had its effect: a timeout, a reset, a 5xx, a reply that can't be read.
    Unknown,
    /// A delete call that was not sent, too late after its intent.
    TooLate,
    /// A reply above its cap.
    TooLarge,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::Throttled,
        Self::Unauthorised,
        Self::Forbidden,
        Self::Refused,
        Self::Misconfigured,
        Self::Unreachable,
        Self::Unknown,
        Self::TooLate,
        Self::TooLarge,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
            Self::TooLate => "too_late",
            Self::TooLarge => "too_large",
        }
    }

    /// Of a delete call.
    pub fn of_reply(reply: &Reply) -> Self {
        match reply {
            Reply::Accepted { .. } => Self::Ok,
            Reply::Unknown { .. } => Self::Unknown,
            Reply::Refused { trouble, .. } => Self::of_trouble(*trouble),
            Reply::TooLate => Self::TooLate,
        }
    }

    /// Of anything else that failed.
    pub fn of_trouble(trouble: Trouble) -> Self {
        match trouble {
            Trouble::CredentialsRejected => Self::Unauthorised,
            Trouble::Forbidden => Self::Forbidden,
            Trouble::Throttled { .. } => Self::Throttled,
            Trouble::CloudUnreachable => Self::Unreachable,
            Trouble::EndpointMisconfigured => Self::Misconfigured,
            // No call is made without a credential: the first three never come here.
            Trouble::SecretNotFound
            | Trouble::SecretForbidden
            | Trouble::SecretInvalid
            | Trouble::RequestRefused => Self::Refused,
        }
    }
}

/// Counted by the client and by readers.
#[derive(Clone, Debug)]
pub struct CloudMetrics {
    calls: Counters<2>,
    took: Durations<1>,
    read_wait: Histogram,
}

fn operation(operation: Operation) -> (&'static str, &'static str) {
    ("operation", operation.name())
}

fn labels(of: Operation, outcome: Outcome) -> Labels<2> {
    [operation(of), ("outcome", outcome.name())]
}

impl Default for CloudMetrics {
    fn default() -> Self {
        let rows = Operation::ALL.into_iter().flat_map(|of| Outcome::ALL.map(|outcome| labels(of, outcome)));
        let took = durations(Operation::ALL.map(|of| [operation(of)]));
        Self { calls: counters(rows), took, read_wait: slow() }
    }
}

impl CloudMetrics {
    /// Under `cloud_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cloud");
        registry.register("calls", "Calls to the cloud", self.calls.clone());
        let took = "How long calls to the cloud took, also those that failed";
        registry.register_with_unit("call_duration", took, Unit::Seconds, self.took.clone());
        let wait = "How long reads waited for their turn and their credentials";
        registry.register_with_unit("read_wait", wait, Unit::Seconds, self.read_wait.clone());
    }

    /// A call is over.
    pub fn called(&self, of: Operation, outcome: Outcome, took: Duration) {
        self.calls.get_or_create(&labels(of, outcome)).inc();
        observe(&self.took.get_or_create(&[operation(of)]), took);
    }

    /// A read goes out that waited so long.
    pub fn read_waited(&self, wait: Duration) {
        observe(&self.read_wait, wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::reply::{CloudMessage, Refusal},
        metrics::testing::{sample, scraped},
    };

    #[test]
    fn each_outcome_has_a_row_from_the_start() {
        let metrics = CloudMetrics::default();
        let text = scraped(|registry| metrics.register(registry));
        assert_eq!(text.matches("\ncloud_calls_total{").count(), 4 * 10);
        assert!(text.lines().filter(|l| l.starts_with("cloud_calls_total")).all(|l| l.ends_with(" 0")));
        for of in Operation::ALL {
            for outcome in Outcome::ALL {
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
    fn replies_are_counted_by_what_they_mean() {
        let message = CloudMessage::default;
        let refused = |trouble| Reply::Refused { refusal: Refusal::Whole, trouble, message: message() };
        let unknown = |trouble| Reply::Unknown { trouble, unavailable: false, message: message() };
        let table = [
            (Reply::Accepted { ids: Vec::new(), foreign: 0, message: message() }, Outcome::Ok),
            (unknown(Trouble::CloudUnreachable), Outcome::Unknown),
            (unknown(Trouble::EndpointMisconfigured), Outcome::Unknown),
            (refused(Trouble::CloudUnreachable), Outcome::Unreachable),
            (refused(Trouble::Throttled { retry_after: None }), Outcome::Throttled),
            (refused(Trouble::CredentialsRejected), Outcome::Unauthorised),
            (refused(Trouble::Forbidden), Outcome::Forbidden),
            (refused(Trouble::RequestRefused), Outcome::Refused),
            (refused(Trouble::EndpointMisconfigured), Outcome::Misconfigured),
            (Reply::TooLate, Outcome::TooLate),
        ];
        for (reply, outcome) in table {
            assert_eq!(Outcome::of_reply(&reply), outcome, "{reply:?}");
        }
    }
}
