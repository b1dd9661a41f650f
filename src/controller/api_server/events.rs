//! Publishes Kubernetes events from a task of its own. The queue is bounded, and nothing else depends on an event.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::debug;

use super::key::Key;
use crate::{
    api::{CONTROLLER_NAME, InstanceDeletion},
    engine::object::report::events::Event,
    metrics::{Counters, Registry, counters},
};

/// Most events that wait to be published; further ones are dropped.
const QUEUE: usize = 256;
/// Most events that one recorder publishes: kube keeps each for six minutes, some KB, to count its repetitions.
const KEPT: usize = 100;
/// Bounds one request: kube has no response timeout of its own.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most characters of a note. The API server refuses a note of more than 1,024 bytes.
const NOTE: usize = 1000;

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
        let instance = std::env::var("HOSTNAME").ok();
        let reporter = Reporter { controller: CONTROLLER_NAME.to_owned(), instance };
        let counted = metrics.clone();
        tokio::spawn(async move {
            let mut recorder = Recorder::new(client.clone(), reporter.clone());
            let mut kept = 0;
            while let Some((object, event)) = waiting.recv().await {
                if kept == KEPT {
                    recorder = Recorder::new(client.clone(), reporter.clone());
                    kept = 0;
                }
                kept += 1;
                let event = kube_event(event);
                match tokio::time::timeout(DEADLINE, recorder.publish(&event, &object)).await {
                    Ok(Ok(())) => {
                        counted.count(EventResult::Stored);
                        continue;
                    }
                    Ok(Err(error)) => {
                        debug!(reason = event.reason, %error, "event not stored; it is dropped");
                    }
                    Err(_) => debug!(reason = event.reason, "event not stored in time; it is dropped"),
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

fn kube_event(event: Event) -> KubeEvent {
    KubeEvent {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.to_owned(),
        note: Some(event.note.chars().take(NOTE).collect()),
        action: event.action,
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::scraped;

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
