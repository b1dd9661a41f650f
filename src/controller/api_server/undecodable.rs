//! An object that this version cannot decode, as after a rollback: what can be told of it, and on it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use crate::{api::ReadyReason, text::bounded};

/// An object whose metadata or status can't be decoded. Without the record nothing can be sent for it.
#[derive(Debug)]
pub struct Undecodable {
    /// Why, at most 256 characters.
    pub why: String,
    /// Empty if it is not there.
    pub uid: String,
    pub(super) resource_version: String,
    generation: Option<i64>,
    /// The status as it is stored.
    status: Map<String, Value>,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Undecodable {
    /// What the body of an answer tells all the same.
    pub fn of(why: &str, text: &str) -> Self {
        let object: Value = serde_json::from_str(text).unwrap_or_default();
        let meta = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        Self {
            why: bounded(why),
            uid: meta("uid"),
            resource_version: meta("resourceVersion"),
            generation: object["metadata"]["generation"].as_i64(),
            status: object["status"].as_object().cloned().unwrap_or_default(),
        }
    }

    /// What a person reads.
    pub fn message(&self) -> String {
        let advice = ReadyReason::Undecodable.advice();
        format!(
            "this version of the controller can't decode the object ({}); nothing is sent; {advice}",
            self.why
        )
    }

    /// The stored status, with a condition `Ready` that says so. `None` if it says so already, if the object has ended, or if
    /// it holds no conditions that could be changed.
    pub(super) fn told(&self, now: &Time) -> Option<Map<String, Value>> {
        let mut status = self.status.clone();
        let conditions = status.entry("conditions").or_insert_with(|| json!([])).as_array_mut()?;
        let is = |condition: &Value, type_: &str| condition["type"] == type_;
        if conditions.iter().any(|c| is(c, "Finished") && c["status"] == "True") {
            return None;
        }
        let before = conditions.iter().find(|c| is(c, "Ready"));
        let since = before.filter(|c| c["status"] == "False").map(|c| c["lastTransitionTime"].clone());
        let ready = json!({
            "type": "Ready",
            "status": "False",
            "reason": ReadyReason::Undecodable.as_str(),
            "message": self.message(),
            "observedGeneration": self.generation,
            "lastTransitionTime": since.unwrap_or_else(|| json!(now)),
        });
        if before == Some(&ready) {
            return None;
        }
        conditions.retain(|c| !is(c, "Ready"));
        conditions.insert(0, ready);
        Some(status)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn object(status: &Value) -> Undecodable {
        let text =
            json!({"metadata": {"uid": "u", "resourceVersion": "7", "generation": 3}, "status": status});
        Undecodable::of("unknown variant `Exploding`", &text.to_string())
    }

    fn now() -> Time {
        Time(Timestamp::from_second(1_800_000_000).unwrap())
    }

    #[test]
    fn it_is_said_once_and_all_else_is_left() {
        let row = json!({"id": "a", "phase": "Vanished"});
        let before =
            json!({"type": "Ready", "status": "False", "reason": "Deleting", "lastTransitionTime": "then"});
        let reconciling = json!({"type": "Reconciling", "status": "True"});
        let status = json!({"phase": "Exploding", "instances": [row], "conditions": [reconciling, before]});
        let told = object(&status).told(&now()).unwrap();
        assert_eq!((&told["phase"], &told["instances"]), (&status["phase"], &status["instances"]));
        let conditions = told["conditions"].as_array().unwrap();
        assert_eq!((conditions.len(), &conditions[1]), (2, &reconciling));
        let ready = &conditions[0];
        assert_eq!((&ready["reason"], &ready["lastTransitionTime"]), (&json!("Undecodable"), &json!("then")));
        assert!(ready["message"].as_str().unwrap().contains("Exploding"), "{ready}");
        assert_eq!(object(&Value::Object(told)).told(&now()), None, "said already");
    }

    #[test]
    fn it_is_said_on_an_object_without_conditions_and_not_on_one_that_ended() {
        let told = object(&json!({"phase": "Exploding"})).told(&now()).unwrap();
        assert_eq!(told["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:00Z");
        let ended = json!({"conditions": [{"type": "Finished", "status": "True"}]});
        assert_eq!(object(&ended).told(&now()), None);
        assert_eq!(object(&json!({"conditions": 3})).told(&now()), None);
        let bare = Undecodable::of("no object", "[");
        assert!(bare.uid.is_empty());
    }
}
