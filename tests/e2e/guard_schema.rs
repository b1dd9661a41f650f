//! What the schema of a DeletionGuard refuses, by each way to apply one.

use harness::Stage;
use serde_json::{Value, json};

use crate::support::stage;

const ID: &str = "0198170e-4ca7-7ee4-89a7-fa631843920b";

/// Specs that are refused, and what kubectl says of each. Server-side apply words errors of types and unknown fields in its own way.
fn bad() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let protects = |id: &str| json!({"protected": {"instances": [{"id": id, "reason": "database"}]}});
    let at_least = "a guard needs at least one of hold, maxInstanceIDs, allowedRegions";
    vec![
        ("an upper-case id", protects(&ID.to_uppercase()), "should match", "should match"),
        ("an id with a space", protects(&format!("{ID} ")), "Too long", "Too long"),
        ("an empty id", protects(""), "should match", "should match"),
        (
            "an instance without a reason",
            json!({"protected": {"instances": [{"id": ID}]}}),
            "reason: Required value",
            "reason: Required value",
        ),
        (
            "an empty reason",
            json!({"hold": {"reason": ""}}),
            "should be at least 1 chars",
            "should be at least 1 chars",
        ),
        ("a hold without a reason", json!({"hold": {}}), "reason: Required value", "reason: Required value"),
        (
            "an instance twice",
            json!({"protected": {"instances": [{"id": ID, "reason": "a"}, {"id": ID, "reason": "b"}]}}),
            "Duplicate value",
            "duplicate entries",
        ),
        (
            "a misspelt key",
            json!({"maxInstanceIds": 5}),
            "unknown field \"spec.maxInstanceIds\"",
            "field not declared in schema",
        ),
        (
            "a misspelt key within",
            json!({"protected": {"instance": []}}),
            "unknown field \"spec.protected.instance\"",
            "field not declared in schema",
        ),
        ("a number as text", json!({"maxInstanceIDs": "5"}), "must be of type integer", "expected numeric"),
        (
            "more than an object can list",
            json!({"maxInstanceIDs": 5_001}),
            "less than or equal to 5000",
            "less than or equal to 5000",
        ),
        ("nothing", json!({}), at_least, at_least),
        ("a selector alone", json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}), at_least, at_least),
        (
            "no region",
            json!({"allowedRegions": []}),
            "should have at least 1 items",
            "should have at least 1 items",
        ),
        (
            "nothing protected",
            json!({"protected": {}}),
            "should have at least 1 properties",
            "should have at least 1 properties",
        ),
    ]
}

fn bad_selectors() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let requires = |operator: &str, values: Value| {
        let mut requirement = json!({"key": "tier", "operator": operator});
        if !values.is_null() {
            requirement["values"] = values;
        }
        json!({"maxInstanceIDs": 1, "namespaceSelector": {"matchExpressions": [requirement]}})
    };
    let values = "In and NotIn need values; Exists and DoesNotExist have none";
    vec![
        ("an unknown operator", requires("Is", json!(["a"])), "Unsupported value", "Unsupported value"),
        ("In without values", requires("In", Value::Null), values, values),
        ("NotIn with no value", requires("NotIn", json!([])), values, values),
        ("Exists with values", requires("Exists", json!(["a"])), values, values),
    ]
}

fn applied(stage: &Stage, spec: &Value, how: &[&str]) -> Result<String, String> {
    let guard = json!({"apiVersion": "clouddc.dev/v1alpha1", "kind": "DeletionGuard",
                       "metadata": {"name": stage.namespace}, "spec": spec});
    let output = stage.kubectl_in(&[&["apply", "-f", "-"], how].concat(), &guard.to_string()).unwrap();
    if output.status.success() { Ok(output.stdout) } else { Err(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_or_empty_guard_is_refused_by_apply_on_both_sides() {
    let stage = stage("misspelt").await;
    for (name, spec, by_client, by_server) in [bad(), bad_selectors()].concat() {
        for (how, words) in [(&[][..], by_client), (&["--server-side"], by_server)] {
            let said = applied(&stage, &spec, how).expect_err(name);
            assert!(said.contains(words), "{name} {how:?}: {said}");
        }
    }
    let found = stage.control_plane.kubectl(&["get", "deletionguard", &stage.namespace]).run().unwrap();
    assert!(found.stderr.contains("NotFound"), "{}", found.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_guard_is_stored_as_written_and_printed() {
    let stage = stage("example-guard").await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/deletionguard.yaml");
    let example: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut spec = example["spec"].clone();
    spec["hold"] = json!({"reason": "change freeze"});
    // No other test's namespace.
    spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
    applied(&stage, &spec, &[]).unwrap();
    let stored = stage.kubectl(&["get", "idg", &stage.namespace, "-o", "json"]).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&stored).unwrap()["spec"],
        spec,
        "no default, and nothing pruned"
    );
    let table = stage.kubectl(&["get", "idg", &stage.namespace]).unwrap();
    let row = table.lines().nth(1).unwrap();
    assert!(row.contains("change freeze") && row.contains("200"), "{table}");
    assert!(
        stage.kubectl(&["get", "clouddc", "-o", "name"]).unwrap().contains("deletionguard"),
        "the category"
    );
    stage.kubectl(&["delete", "idg", &stage.namespace]).unwrap();
}
