//! Requests to the API server, by what is asked and what it came to.

use std::time::Duration;

use crate::{
    controller::api_server::requests::Failure,
    metrics::{Counters, Durations, Labels, Registry, Unit, counters, durations, observe},
};

/// A request that this process makes by itself; kube's watches and events are counted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiCall {
    /// An object, with quorum.
    Object,
    /// That a status be stored.
    Status,
    /// That a finished object be deleted.
    Deletion,
    /// A Secret.
    Secret,
}

impl ApiCall {
    const ALL: [Self; 4] = [Self::Object, Self::Status, Self::Deletion, Self::Secret];

    fn labels(self) -> Labels<2> {
        let (verb, resource) = match self {
            Self::Object => ("get", "instancedeletions"),
            Self::Status => ("update", "instancedeletions/status"),
            Self::Deletion => ("delete", "instancedeletions"),
            Self::Secret => ("get", "secrets"),
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

/// Counted by whoever talks to the API server.
#[derive(Clone, Debug)]
pub struct Requests {
    requests: Counters<3>,
    took: Durations<2>,
}

fn labels(asked: ApiCall, result: &'static str) -> Labels<3> {
    let [verb, resource] = asked.labels();
    [verb, resource, ("result", result)]
}

impl Default for Requests {
    fn default() -> Self {
        let rows = ApiCall::ALL.into_iter().flat_map(|asked| RESULTS.map(|result| labels(asked, result)));
        Self { requests: counters(rows), took: durations(ApiCall::ALL.map(ApiCall::labels)) }
    }
}

impl Requests {
    /// Under `api_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("api");
        registry.register("requests", "Requests to the API server", self.requests.clone());
        let took = "How long requests to the API server took";
        registry.register_with_unit("request_duration", took, Unit::Seconds, self.took.clone());
    }

    /// A request is over.
    pub fn answered(&self, asked: ApiCall, answer: &Result<String, Failure>, took: Duration) {
        self.requests.get_or_create(&labels(asked, result(answer))).inc();
        observe(&self.took.get_or_create(&asked.labels()), took);
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::{
        controller::Unavailable,
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
        let requests = Requests::default();
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
