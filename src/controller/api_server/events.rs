//! Events, told beside the work: bounded, and without harm when they can't be told.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::debug;

use super::Key;
use crate::{
    api::{CONTROLLER_NAME, InstanceDeletion},
    controller::metrics::{EventResult, Metrics},
    engine::object::report::events::Event,
};

/// Events that may wait to be told; further ones are dropped.
const QUEUE: usize = 256;
/// kube keeps every event for six minutes, some KB each, to count repetitions of it. So many are kept at most.
const KEPT: usize = 100;
const DEADLINE: Duration = Duration::from_secs(5);
/// The API server refuses a longer note.
const NOTE: usize = 1000;

/// Where to tell events.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(ObjectReference, Event)>,
    metrics: Metrics,
}

impl Events {
    /// Starts the task that tells events.
    #[must_use]
    pub fn start(client: Client, metrics: Metrics) -> Self {
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
                let told = tokio::time::timeout(DEADLINE, recorder.publish(&event, &object)).await;
                counted.told(if matches!(told, Ok(Ok(()))) {
                    EventResult::Stored
                } else {
                    EventResult::Failed
                });
                match told {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(reason = event.reason, %error, "an event was not told"),
                    Err(_) => debug!(reason = event.reason, "an event was not told in time"),
                }
            }
        });
        Self { queue, metrics }
    }

    /// Tells something about an object, if there is room.
    pub fn tell(&self, key: &Key, uid: &str, event: Event) {
        let object = ObjectReference {
            api_version: Some(InstanceDeletion::api_version(&()).into_owned()),
            kind: Some(InstanceDeletion::kind(&()).into_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        if self.queue.try_send((object, event)).is_err() {
            self.metrics.told(EventResult::Dropped);
            debug!(namespace = key.namespace, name = key.name, "an event was dropped: too many wait");
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
