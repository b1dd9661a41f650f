//! Stores events. One that repeats is counted in the first one, as kube's own recorder does it; unlike that one, this recorder
//! also stores events of objects with long names, and its memory is bounded.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event as Stored, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{api::CONTROLLER_NAME, engine::object::report::events::Event};

/// Longest name of an object (RFC 1123 subdomain).
const NAME: usize = 253;
/// Most bytes of a note (API reference, *Event*), with room for its last character.
const NOTE: usize = 1000;
/// How long a repeated event is counted in the first one; `kubectl` and others take a series for over after six minutes.
const SERIES: Duration = Duration::from_mins(6);
/// Most events that are remembered for that.
const KEPT: usize = 100;

/// What makes two events of an object equal, whatever their notes say.
type Kind = (String, &'static str, String);

/// An event that is stored.
struct Series {
    name: String,
    count: i32,
    last: Instant,
}

/// Stores events by one client.
pub struct Recorder {
    client: Client,
    /// Who reports: the name of the Pod.
    instance: String,
    kept: HashMap<Kind, Series>,
}

impl Recorder {
    /// A recorder that has stored nothing.
    pub fn new(client: Client) -> Self {
        let instance = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
        let instance = instance.unwrap_or_else(|| CONTROLLER_NAME.to_owned());
        // The API server takes at most 128 characters of it.
        Self { client, instance: instance.chars().take(128).collect(), kept: HashMap::new() }
    }

    /// Stores an event about an object, or counts it in an equal one.
    pub async fn publish(&mut self, event: &Event, object: &ObjectReference) -> Result<(), kube::Error> {
        let (now, wall) = (Instant::now(), Timestamp::now());
        self.kept.retain(|_, series| now - series.last < SERIES);
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let api: Api<Stored> = Api::namespaced(self.client.clone(), namespace);
        let kind = (object.uid.clone().unwrap_or_default(), event.reason, event.action.clone());
        if let Some(series) = self.kept.get_mut(&kind) {
            series.count = series.count.saturating_add(1);
            series.last = now;
            let series_now = EventSeries { count: series.count, last_observed_time: MicroTime(wall) };
            let patch = Patch::Merge(json!({ "series": series_now }));
            return api.patch(&series.name, &PatchParams::default(), &patch).await.map(drop);
        }
        let stored = self.event(event, object, wall);
        let name = stored.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &stored).await?;
        if self.kept.len() < KEPT {
            self.kept.insert(kind, Series { name, count: 1, last: now });
        }
        Ok(())
    }

    fn event(&self, event: &Event, object: &ObjectReference, wall: Timestamp) -> Stored {
        let name = name(object.name.as_deref().unwrap_or(CONTROLLER_NAME), wall);
        let metadata =
            ObjectMeta { namespace: object.namespace.clone(), name: Some(name), ..ObjectMeta::default() };
        Stored {
            metadata,
            action: Some(event.action.clone()),
            reason: Some(event.reason.to_owned()),
            note: Some(event.note.chars().take(NOTE).collect()),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(object.clone()),
            event_time: Some(MicroTime(wall)),
            reporting_controller: Some(CONTROLLER_NAME.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Stored::default()
        }
    }
}

/// The name of an event: the object's, shortened if it is long, and the time.
fn name(object: &str, wall: Timestamp) -> String {
    let time = format!(".{:x}", wall.as_nanosecond());
    let most = NAME.saturating_sub(time.len());
    let object: String = object.chars().take(most).collect();
    // A label of a name ends with a letter or a digit.
    format!("{}{time}", object.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_is_as_long_as_a_name_may_be() {
        let wall = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(name("retire", wall), "retire.18fae27693b40000");
        let long = name(&"a".repeat(253), wall);
        assert_eq!(long, format!("{}.18fae27693b40000", "a".repeat(236)));
        assert_eq!(long.len(), NAME);
        for end in ["-", ".", "-.-"] {
            let cut = format!("{}{end}b", "a".repeat(236 - end.len()));
            assert_eq!(name(&cut, wall), format!("{}.18fae27693b40000", "a".repeat(236 - end.len())));
        }
    }
}
