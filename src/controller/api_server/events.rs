//! Publishes Kubernetes events from a task of its own. The queue is bounded, and nothing else depends on an event.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, error};

use super::{key::Key, recorder::Recorder};
use crate::{
    api::InstanceDeletion,
    engine::object::report::events::Event,
    metrics::{Counters, Registry, counters},
    supervise::{self, caught},
};

/// Most events that wait to be published; further ones are dropped.
const QUEUE: usize = 256;
/// Bounds one request: kube has no response timeout of its own.
const DEADLINE: Duration = Duration::from_secs(5);

/// How the publication of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventResult {
    /// The API server stored it.
    Stored,
    /// The API server did not take it.
    Failed,
    /// The queue was full.
    Dropped,
}

impl EventResult {
    const ALL: [Self; 3] = [Self::Stored, Self::Failed, Self::Dropped];

    fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Counters of events.
#[derive(Clone, Debug)]
struct EventMetrics(Counters<1>);

impl Default for EventMetrics {
    fn default() -> Self {
        Self(counters(EventResult::ALL.map(|result| [("result", result.name())])))
    }
}

impl EventMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("events", "Events by how their publication ended", self.0.clone());
    }

    fn count(&self, result: EventResult) {
        self.0.get_or_create(&[("result", result.name())]).inc();
    }
}

/// Queues events for publication. Clones share one queue.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(ObjectReference, Event)>,
    metrics: EventMetrics,
}

impl Events {
    /// Starts the task that publishes events.
    #[must_use]
    pub fn start(client: Client) -> Self {
        let metrics = EventMetrics::default();
        let (queue, mut waiting) = mpsc::channel::<(ObjectReference, Event)>(QUEUE);
        let counted = metrics.clone();
        supervise::task("events", async move {
            let mut recorder = Recorder::new(client);
            while let Some((object, event)) = waiting.recv().await {
                match caught(timeout(DEADLINE, recorder.publish(&event, &object))).await {
                    Some(Ok(Ok(()))) => {
                        counted.count(EventResult::Stored);
                        continue;
                    }
                    Some(Ok(Err(error))) => {
                        debug!(reason = event.reason, %error, "event not stored; it is dropped");
                    }
                    Some(Err(_)) => debug!(reason = event.reason, "event not stored in time; it is dropped"),
                    None => {
                        error!(reason = event.reason, "the publication of an event panicked; it is dropped");
                    }
                }
                counted.count(EventResult::Failed);
            }
        });
        Self { queue, metrics }
    }

    /// Registers the counters of events, without a further prefix.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Queues an event about an object. Drops it if the queue is full.
    pub fn publish(&self, key: &Key, uid: &str, event: Event) {
        let object = ObjectReference {
            api_version: Some(InstanceDeletion::api_version(&()).into_owned()),
            kind: Some(InstanceDeletion::kind(&()).into_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        if self.queue.try_send((object, event)).is_err() {
            self.metrics.count(EventResult::Dropped);
            debug!(
                namespace = key.namespace,
                name = key.name,
                "event dropped: too many wait to be published"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::{
        api::EventReason,
        metrics::testing::{sample, scraped},
    };

    #[tokio::test]
    async fn a_publication_that_panics_costs_its_event_and_no_other() {
        let asked = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |_: Request<Body>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(number > 0, "a bug");
                let stored = r#"{"metadata":{"name":"e"},"eventTime":null}"#;
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(stored.as_bytes().to_vec())))
            }
        });
        let events = Events::start(Client::new(service, "default"));
        let key = Key { namespace: "fleet".into(), name: "retire".into() };
        let told = |result: &str| {
            let text = scraped(|registry| events.register(registry));
            sample(&text, &format!("events_total{{result=\"{result}\"}}"))
        };
        for action in ["a", "b"] {
            events.publish(&key, "u", Event::new(EventReason::Stuck, action.to_owned(), "note".to_owned()));
        }
        while told("stored") + told("failed") < 2.0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((told("stored"), told("failed")), (1.0, 1.0));
    }

    #[test]
    fn every_result_is_a_row_from_the_start_and_no_other_comes() {
        let metrics = EventMetrics::default();
        let rows = |n: usize| {
            let text = scraped(|registry| metrics.register(registry));
            let rows: Vec<_> = text.lines().filter(|line| line.contains("_total{")).collect();
            assert_eq!(rows.len(), EventResult::ALL.len(), "{text}");
            assert!(rows.iter().all(|row| row.ends_with(&format!(" {n}"))), "{text}");
        };
        rows(0);
        for result in EventResult::ALL {
            metrics.count(result);
        }
        rows(1);
    }
}
