//! Outcomes of calls whose object is gone: no status can hold them, so they go to the log and to an event.

use tracing::warn;

use crate::{
    api::{CallKind, EventReason},
    controller::api_server::{events::Events, key::Key},
    engine::object::{
        report::events::{Event, operation},
        state::memory::{CallState, Memory},
    },
};

/// The outcome of a call that no status holds.
#[derive(Debug, PartialEq, Eq)]
pub struct UnrecordedOutcome {
    /// uid of the object.
    pub uid: String,
    /// What the call asked for.
    pub kind: CallKind,
    /// Batch number of the call.
    pub batch: u32,
    /// Ids that the call named.
    pub ids: Vec<String>,
    /// How the call ended, for people.
    pub outcome: String,
}

impl UnrecordedOutcome {
    /// The outcomes of an object's calls that no acknowledged write holds. Calls in flight are not among them.
    pub fn all(uid: &str, memory: &Memory) -> Vec<Self> {
        let ended = memory.calls.iter().filter_map(|(number, call)| match &call.state {
            CallState::Ended { outcome, .. } => Some(Self {
                uid: uid.to_owned(),
                kind: call.kind,
                batch: *number,
                ids: call.ids.iter().map(|called| called.id.to_string()).collect(),
                outcome: outcome.to_string(),
            }),
            CallState::InFlight | CallState::Recorded { .. } => None,
        });
        ended.collect()
    }

    /// Writes the outcome to the log and publishes an event about the object. `why` says why no status holds it.
    pub fn publish(self, events: &Events, key: &Key, why: &str) {
        let Self { uid, kind, batch, ids, outcome } = self;
        warn!(
            namespace = key.namespace,
            name = key.name,
            uid,
            batch,
            ids = ids.join(","),
            outcome,
            operation = operation(kind),
            "{why}; this outcome of a call is recorded here only"
        );
        let note =
            format!("No status holds this, since {why}: batch {batch} ({} instances) {outcome}", ids.len());
        let action = format!("{}-{batch}", operation(kind));
        events.publish(key, &uid, Event::new(EventReason::RecordedAfterDeletion, action, note));
    }
}
