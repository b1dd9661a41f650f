//! Counts requests to the API server by what they ask for and how they end.

use std::time::Duration;

use super::failure::Failure;
use crate::metrics::{Counters, Durations, Labels, Registry, Unit, counters, durations, observe};

/// A kind of request that the controller makes with its own code. Watches and events go through kube and are not counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiCall {
    /// Read an object, with quorum.
    Object,
    /// Store a status.
    Status,
    /// Delete a finished object.
    Deletion,
    /// Read a Secret.
    Secret,
    /// Read all guards.
    Guards,
    /// Read a namespace, for its labels.
    Namespace,
}

impl ApiCall {
    const ALL: [Self; 6] =
        [Self::Object, Self::Status, Self::Deletion, Self::Secret, Self::Guards, Self::Namespace];

    fn labels(self) -> Labels<2> {
        let (verb, resource) = match self {
            Self::Object => ("get", "instancedeletions"),
            Self::Status => ("update", "instancedeletions/status"),
            Self::Deletion => ("delete", "instancedeletions"),
            Self::Secret => ("get", "secrets"),
            Self::Guards => ("list", "deletionguards"),
            Self::Namespace => ("get", "namespaces"),
        };
        [("verb", verb), ("resource", resource)]
    }
}

const RESULTS: [&str; 6] = ["ok", "conflict", "not_found", "forbidden", "refused", "unavailable"];

fn result(answer: &Result<String, Failure>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Failure::Refused(status)) if status.is_conflict() => "conflict",
        Err(Failure::Refused(status)) if status.is_not_found() => "not_found",
        Err(Failure::Refused(status)) if status.is_forbidden() => "forbidden",
        Err(Failure::Refused(_)) => "refused",
        Err(Failure::Unavailable(_)) => "unavailable",
    }
}

/// Counters and durations of requests to the API server.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    requests: Counters<3>,
    took: Durations<2>,
}

fn labels(call: ApiCall, result: &'static str) -> Labels<3> {
    let [verb, resource] = call.labels();
    [verb, resource, ("result", result)]
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let rows = ApiCall::ALL.into_iter().flat_map(|call| RESULTS.map(|result| labels(call, result)));
        Self { requests: counters(rows), took: durations(ApiCall::ALL.map(ApiCall::labels)) }
    }
}

impl RequestMetrics {
    /// Registers them with the prefix `api_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("api");
        registry.register("requests", "Requests to the API server", self.requests.clone());
        let took = "How long requests to the API server took";
        registry.register_with_unit("request_duration", took, Unit::Seconds, self.took.clone());
    }

    /// Counts a request that is over.
    pub fn answered(&self, call: ApiCall, answer: &Result<String, Failure>, took: Duration) {
        self.requests.get_or_create(&labels(call, result(answer))).inc();
        observe(&self.took.get_or_create(&call.labels()), took);
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::{
        controller::api_server::failure::Unavailable,
        metrics::testing::{sample, scraped},
    };

    #[test]
    fn answers_are_counted_by_what_they_mean() {
        let refused =
            |reason: &str, code| Err(Failure::Refused(Status::failure("", reason).with_code(code).boxed()));
        let table = [
            (Ok(String::new()), "ok"),
            (refused("Conflict", 409), "conflict"),
            (refused("NotFound", 404), "not_found"),
            (refused("Forbidden", 403), "forbidden"),
            (refused("Invalid", 422), "refused"),
            (Err(Failure::Unavailable(Unavailable::new(&"no answer"))), "unavailable"),
        ];
        let requests = RequestMetrics::default();
        let before = scraped(|registry| requests.register(registry)).lines().count();
        assert_eq!(table.len(), RESULTS.len());
        for (answer, expected) in table {
            requests.answered(ApiCall::Status, &answer, Duration::from_secs(2));
            let text = scraped(|registry| requests.register(registry));
            let name = format!(
                r#"api_requests_total{{verb="update",resource="instancedeletions/status",result="{expected}"}}"#
            );
            assert!((sample(&text, &name) - 1.0).abs() < f64::EPSILON, "{expected}");
            assert_eq!(text.lines().count(), before, "no row that was not there");
        }
    }
}
