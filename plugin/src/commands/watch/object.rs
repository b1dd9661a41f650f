//! The part of an object that `watch` needs. Of the long lists only numbers are kept: a hundred objects of a thousand ids fit into
//! a few megabytes.

use std::{collections::BTreeSet, fmt};

use instance_deletion_controller::api::{InstanceDeletion, Phase, Summary};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::core::ObjectMeta;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use crate::progress::View;

/// An `InstanceDeletion`, read in part.
#[derive(Clone, Debug, Deserialize, kube::Resource)]
#[resource(inherit = InstanceDeletion)]
pub struct Watched {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default, rename = "instanceIDs")]
    instance_ids: Length,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: Option<i64>,
    phase: Option<String>,
    summary: Option<Summary>,
    next_action_time: Option<Time>,
    conditions: Vec<Condition>,
    instances: OpenCalls,
}

/// The length of a list.
#[derive(Clone, Copy, Debug, Default)]
struct Length(u32);

/// How many calls name instances that have no end yet.
#[derive(Clone, Copy, Debug, Default)]
struct OpenCalls(u32);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counter;
        impl<'de> Visitor<'de> for Counter {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Length, A::Error> {
                let mut length = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                Ok(Length(length))
            }
        }
        deserializer.deserialize_seq(Counter)
    }
}

impl<'de> Deserialize<'de> for OpenCalls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Calls;
        impl<'de> Visitor<'de> for Calls {
            type Value = OpenCalls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of instances")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OpenCalls, A::Error> {
                let mut calls = BTreeSet::new();
                while let Some(row) = seq.next_element::<Row>()? {
                    if let ("Submitted" | "Accepted", Some(batch)) = (row.phase.as_str(), row.batch) {
                        calls.insert(batch);
                    }
                }
                Ok(OpenCalls(u32::try_from(calls.len()).unwrap_or(u32::MAX)))
            }
        }
        deserializer.deserialize_seq(Calls)
    }
}

#[derive(Deserialize)]
struct Row {
    phase: String,
    batch: Option<u32>,
}

impl Watched {
    /// What this version shows.
    pub fn view(&self) -> View {
        let status = &self.status;
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let summary = status.summary.unwrap_or_default();
        let total = if summary.total > 0 { summary.total } else { self.spec.instance_ids.0 };
        let wait = status.next_action_time.as_ref().map(|at| at.0.as_second() - Timestamp::now().as_second());
        View {
            phase: status.phase.as_deref().and_then(Phase::parse),
            stale: status.observed_generation < self.metadata.generation,
            total,
            gone: summary.terminated + summary.not_found,
            failed: summary.failed,
            on_their_way: summary.submitted + summary.accepted,
            calls: status.instances.0,
            powering_off: summary.powering_off,
            powered_off: summary.powered_off,
            reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
            message: ready.map(|ready| ready.message.clone()).unwrap_or_default(),
            goes_on_in: wait.and_then(|wait| u64::try_from(wait).ok()),
            deleted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_the_lists_only_numbers_are_kept() {
        let object = json!({
            "apiVersion": "clouddc.dev/v1alpha1", "kind": "InstanceDeletion",
            "metadata": {"name": "a", "namespace": "n", "generation": 2},
            "spec": {"region": "r", "instanceIDs": ["a", "b", "c"]},
            "status": {
                "observedGeneration": 2, "phase": "Deleting", "progress": "1/3",
                "summary": {"total": 3, "pending": 0, "submitted": 1, "accepted": 1, "terminated": 1, "notFound": 0, "failed": 0},
                "instances": [
                    {"id": "a", "phase": "Terminated", "batch": 1}, {"id": "b", "phase": "Accepted", "batch": 2},
                    {"id": "c", "phase": "Submitted", "batch": 3},
                ],
                "conditions": [{
                    "type": "Ready", "status": "False", "reason": "Deleting", "message": "m",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        });
        let watched: Watched = serde_json::from_value(object).unwrap();
        let expected = View {
            phase: Some(Phase::Deleting),
            total: 3,
            gone: 1,
            on_their_way: 2,
            calls: 2,
            reason: "Deleting".to_owned(),
            message: "m".to_owned(),
            ..View::default()
        };
        assert_eq!(watched.view(), expected);

        let new = json!({
            "metadata": {"name": "a", "generation": 1}, "spec": {"instanceIDs": ["a"]}, "status": {"observedGeneration": -1},
        });
        let view = serde_json::from_value::<Watched>(new).unwrap().view();
        assert_eq!((view.total, view.stale, view.phase), (1, true, None));
    }
}
