//! Helpers of several modules.

use std::{collections::HashMap, path::Path, time::Duration};

use clouddc_simulator::{EndTime, Entry, Options};
use harness::{PROJECT, Stage};
use serde_json::{Value, json};

/// Instances end this long after their deletion was accepted.
pub const END: Duration = Duration::from_millis(500);

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_instance-deletion-controller"))
}

pub fn options() -> Options {
    Options { end: EndTime::Fixed(END), ..Options::default() }
}

/// A stage whose instances end soon after their deletion.
pub async fn stage(name: &str) -> Stage {
    Stage::new(name, binary(), options()).await.unwrap()
}

/// A stage with other options.
pub async fn stage_with(name: &str, options: Options) -> Stage {
    Stage::new(name, binary(), options).await.unwrap()
}

/// The minor version of the API server's Kubernetes, such as 37.
pub fn minor_version(stage: &Stage) -> u32 {
    let version = stage.kubectl(&["version", "-o", "json"]).unwrap();
    let version: Value = serde_json::from_str(&version).unwrap();
    let minor = version["serverVersion"]["minor"].as_str().unwrap_or_default();
    // Some vendors write 30+.
    minor.trim_end_matches('+').parse().unwrap()
}

/// Lets anything into these parts of an InstanceDeletion, as the schema of another version may have.
pub fn loosen_schema(stage: &Stage, parts: &[&str]) {
    let name = "instancedeletions.clouddc.dev";
    let crd: Value =
        serde_json::from_str(&stage.kubectl(&["get", "crd", name, "-o", "json"]).unwrap()).unwrap();
    let mut patch: Vec<Value> = parts
        .iter()
        .map(|part| {
            let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}");
            let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            json!({"op": "replace", "path": path, "value": anything})
        })
        .collect();
    // A field that can be selected by must be in the schema. Kubernetes 1.30 has left this out.
    if crd["spec"]["versions"][0].get("selectableFields").is_some() {
        patch.push(json!({"op": "remove", "path": "/spec/versions/0/selectableFields"}));
    }
    let patch = Value::from(patch).to_string();
    stage.kubectl(&["patch", "crd", name, "--type=json", "-p", &patch]).unwrap();
}

/// `n` running instances.
pub fn instances(stage: &Stage, n: usize) -> Vec<String> {
    stage.cloud.ids(PROJECT, n)
}

/// In how many of these calls each id is.
pub fn named(calls: &[Entry]) -> HashMap<String, usize> {
    let mut named = HashMap::new();
    for id in calls.iter().flat_map(|call| &call.ids) {
        *named.entry(id.clone()).or_default() += 1;
    }
    named
}

/// Sizes of the calls, in order.
pub fn sizes(calls: &[Entry]) -> Vec<usize> {
    calls.iter().map(|call| call.ids.len()).collect()
}

/// Asserts that each of these ids, and no other, is in exactly one call.
pub fn each_once(calls: &[Entry], ids: &[String]) {
    let named = named(calls);
    assert_eq!(named.len(), ids.len(), "ids in calls");
    assert!(ids.iter().all(|id| named.get(id) == Some(&1)), "each id in one call");
}

/// Asserts that no row counts an attempt: an unknown outcome and a call that was not sent use none.
pub fn no_attempt_beyond_the_first(object: &Value) {
    let rows = object["status"]["instances"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["attempts"].is_null()), "it uses no attempt");
}

/// Phase of the instance in the status; empty if it has no row.
pub fn phase_of<'a>(object: &'a Value, id: &str) -> &'a str {
    let rows = object["status"]["instances"].as_array();
    let row = rows.and_then(|rows| rows.iter().find(|row| row["id"] == id));
    row.and_then(|row| row["phase"].as_str()).unwrap_or_default()
}

/// Number of rows in a phase.
pub fn count(object: &Value, phase: &str) -> usize {
    let rows = object["status"]["instances"].as_array();
    rows.map_or(0, |rows| rows.iter().filter(|row| row["phase"] == phase).count())
}

/// Asserts that the object succeeded, by its phase, conditions, counts and rows.
pub fn assert_succeeded(object: &Value, n: usize) {
    assert_eq!(object["status"]["phase"], "Succeeded", "{:#}", object["status"]["conditions"]);
    assert_eq!(object["status"]["progress"], format!("{n}/{n}"));
    assert_eq!(harness::condition(object, "Ready").0, "True");
    assert_eq!(harness::condition(object, "Finished").0, "True");
}

fn rank(phase: &str) -> u8 {
    match phase {
        "" | "Pending" => 0,
        "PoweringOff" => 1,
        "PoweredOff" => 2,
        "Submitted" => 3,
        "Accepted" => 4,
        _ => 5,
    }
}

/// Asserts that rows only go forward from version to version, and that final records do not change.
pub fn assert_monotone(versions: &[Value]) {
    assert!(versions.len() > 1, "the history was recorded");
    let rows = |v: &Value| v["status"]["instances"].as_array().cloned().unwrap_or_default();
    for pair in versions.windows(2) {
        let (before, after) = (rows(&pair[0]), rows(&pair[1]));
        assert!(before.len() <= after.len(), "rows are never taken away");
        for (before, after) in before.iter().zip(&after) {
            let rank = |row: &Value| rank(row["phase"].as_str().unwrap_or_default());
            let same_end = rank(before) < 5 || before["phase"] == after["phase"];
            assert!(rank(before) <= rank(after) && same_end, "{before} {after}");
        }
    }
}
