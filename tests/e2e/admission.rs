//! What the API server refuses and admits, and how kubectl sees the object.

use harness::{Manifest, Stage, condition};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, instances, minor_version, stage};

const ID: &str = "0198170e-4ca7-7ee4-89a7-fa631843920b";
const UUID: &str = "each of instanceIDs must be a lower-case UUID";

type Edit = fn(&mut Value);

fn bad_limits() -> Vec<(&'static str, Edit, &'static str)> {
    vec![
        (
            "a policy that is none",
            |v| v["spec"]["notFoundPolicy"] = json!("Ignore"),
            r#"supported values: "Succeed", "Fail""#,
        ),
        (
            "a limit below none",
            |v| v["spec"]["backoffLimitPerInstance"] = json!(-1),
            "should be greater than or equal to 0",
        ),
        (
            "a limit beyond reason",
            |v| v["spec"]["backoffLimitPerInstance"] = json!(101),
            "should be less than or equal to 100",
        ),
        (
            "a deadline of nothing",
            |v| v["spec"]["activeDeadlineSeconds"] = json!(0),
            "should be greater than or equal to 1",
        ),
        ("a day as moment", |v| v["spec"]["notAfter"] = json!("2026-12-01"), "spec.notAfter"),
        (
            "an offset of days",
            |v| v["spec"]["notAfter"] = json!("2026-12-01T00:00:00+99:99"),
            "spec.notAfter",
        ),
        (
            "text behind a moment",
            |v| v["spec"]["notAfter"] = json!("2026-12-01T00:00:00ZTomorrow"),
            "spec.notAfter",
        ),
        (
            "a negative time to live",
            |v| v["spec"]["ttlSecondsAfterFinished"] = json!(-1),
            "should be greater than or equal to 0",
        ),
    ]
}

fn bad_power_off() -> Vec<(&'static str, Edit, &'static str)> {
    vec![
        (
            "an unknown moment to power off",
            |v| v["spec"]["powerOff"] = json!({"when": "Sometimes"}),
            r#"supported values: "IfRefused", "Always""#,
        ),
        ("a power-off without a when", |v| v["spec"]["powerOff"] = json!({}), "spec.powerOff.when: Required"),
        (
            "a soak without a when",
            |v| v["spec"]["powerOff"] = json!({"when": null, "soakSeconds": 60}),
            // Server-side apply drops the null, the other way does not.
            "spec.powerOff.when: ",
        ),
        (
            "a soak of what is only powered off if it must be",
            |v| v["spec"]["powerOff"] = json!({"when": "IfRefused", "soakSeconds": 0}),
            "powerOff.soakSeconds needs when: Always",
        ),
        (
            "a soak below none",
            |v| v["spec"]["powerOff"] = json!({"when": "Always", "soakSeconds": -1}),
            "should be greater than or equal to 0",
        ),
        (
            "a soak above ninety days",
            |v| v["spec"]["powerOff"] = json!({"when": "Always", "soakSeconds": 7_776_001}),
            "should be less than or equal to 7776000",
        ),
        (
            "a soak in days",
            |v| v["spec"]["powerOff"] = json!({"when": "Always", "soakSeconds": "3d"}),
            "must be of type integer",
        ),
        (
            "a power-off in one word",
            |v| v["spec"]["powerOff"] = json!("Always"),
            "spec.powerOff in body must be of type object",
        ),
        (
            "an unknown field of the power-off",
            |v| v["spec"]["powerOff"] = json!({"when": "Always", "soak": "3d"}),
            "unknown field",
        ),
    ]
}

fn bad_ids() -> Vec<(&'static str, Edit, &'static str)> {
    vec![
        ("empty ids", |v| v["spec"]["instanceIDs"] = json!([]), "instanceIDs"),
        (
            "an empty id",
            |v| v["spec"]["instanceIDs"] = json!([""]),
            "an empty id often comes from an undefined variable",
        ),
        ("one empty id of two", |v| v["spec"]["instanceIDs"] = json!([ID, ""]), UUID),
        ("an upper-case id", |v| v["spec"]["instanceIDs"] = json!([ID.to_uppercase()]), UUID),
        ("a padded id", |v| v["spec"]["instanceIDs"] = json!([format!(" {ID}")]), UUID),
        ("an id with a line break", |v| v["spec"]["instanceIDs"] = json!([format!("{ID}\n")]), UUID),
        ("an id in braces", |v| v["spec"]["instanceIDs"] = json!([format!("{{{ID}}}")]), UUID),
        ("an id without hyphens", |v| v["spec"]["instanceIDs"] = json!([ID.replace('-', "")]), UUID),
        ("an id too short", |v| v["spec"]["instanceIDs"] = json!([ID[1..]]), UUID),
        (
            "two ids in one",
            |v| v["spec"]["instanceIDs"] = json!([format!("{ID},{ID}")]),
            "instanceIDs[0]: Too long",
        ),
        ("a path as id", |v| v["spec"]["instanceIDs"] = json!(["../../physicalservers/power-state"]), UUID),
        ("an id with a query", |v| v["spec"]["instanceIDs"] = json!([format!("{ID}?x=1")]), UUID),
        ("a number as id", |v| v["spec"]["instanceIDs"] = json!([7]), "must be of type string"),
        ("ids as one string", |v| v["spec"]["instanceIDs"] = json!(ID), "must be of type array"),
        (
            "too many ids",
            |v| v["spec"]["instanceIDs"] = json!(vec![ID; 5001]),
            "must have at most 5000 items",
        ),
    ]
}

fn bad_manifests() -> Vec<(&'static str, Edit, &'static str)> {
    fn spec(v: &mut Value) -> &mut serde_json::Map<String, Value> {
        v["spec"].as_object_mut().unwrap()
    }
    vec![
        ("no spec", |v| drop(v.as_object_mut().unwrap().remove("spec")), "spec: Required value"),
        ("no region", |v| drop(spec(v).remove("region")), "spec.region: Required value"),
        ("no project", |v| drop(spec(v).remove("projectID")), "spec.projectID: Required value"),
        (
            "no secret",
            |v| drop(spec(v).remove("credentialsSecretRef")),
            "credentialsSecretRef: Required value",
        ),
        ("no ids", |v| drop(spec(v).remove("instanceIDs")), "spec.instanceIDs: Required value"),
        ("a URL as region", |v| v["spec"]["region"] = json!("https://evil.example"), "not a URL"),
        (
            "a host as region",
            |v| v["spec"]["region"] = json!("a.evil.example"),
            "region must be a region's name",
        ),
        ("an empty region", |v| v["spec"]["region"] = json!(""), "spec.region"),
        (
            "an upper-case region",
            |v| v["spec"]["region"] = json!("AP-Southeast-3"),
            "region must be a region's name",
        ),
        ("a long region", |v| v["spec"]["region"] = json!("a".repeat(64)), "spec.region: Too long"),
        (
            "a name as project",
            |v| v["spec"]["projectID"] = json!("ap-southeast-3"),
            "projectID must be 32 lower-case",
        ),
        (
            "an upper-case project",
            |v| v["spec"]["projectID"] = json!("A".repeat(32)),
            "projectID must be 32 lower-case",
        ),
        (
            "a path as project",
            |v| v["spec"]["projectID"] = json!("../../v2/x"),
            "projectID must be 32 lower-case",
        ),
        (
            "an empty secret name",
            |v| v["spec"]["credentialsSecretRef"]["name"] = json!(""),
            "must be the name of a Secret",
        ),
        (
            "a foreign secret",
            |v| v["spec"]["credentialsSecretRef"]["name"] = json!("other/secret"),
            "must be the name of a Secret",
        ),
        ("suspend as text", |v| v["spec"]["suspend"] = json!("yes"), "must be of type boolean"),
        ("an unknown field", |v| v["spec"]["notAfterwards"] = json!("2026-12-01T00:00:00Z"), "unknown field"),
        (
            "a later version's field",
            |v| v["spec"]["pauseUntil"] = json!("2026-12-01T00:00:00Z"),
            "unknown field",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_bad_manifests_are_refused_with_what_to_do() {
    let stage = stage("bad").await;
    let table = [bad_manifests(), bad_ids(), bad_limits(), bad_power_off()].concat();
    assert!(table.len() >= 25);
    for (name, edit, expected) in table {
        let mut manifest = Manifest::new("bad", &[ID.to_owned()]);
        edit(&mut manifest.value);
        for apply in [&["apply", "-f", "-"][..], &["apply", "--server-side", "-f", "-"]] {
            let output = stage.kubectl_in(apply, &manifest.text()).unwrap();
            assert!(!output.status.success(), "{name}: admitted by {apply:?}");
            // Server-side apply words errors of types and unknown fields in its own way.
            let typed = apply.contains(&"--server-side")
                && output.stderr.contains("failed to create typed patch object");
            assert!(output.stderr.contains(expected) || typed, "{name}: {}", output.stderr);
        }
    }
    assert!(stage.get("bad").is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn i04_what_must_not_change_does_not() {
    let stage = stage("immutable").await;
    let manifest = Manifest::new("retire", &[ID.to_owned()]).with("suspend", true);
    stage.apply(&manifest).unwrap();
    let other = "0198170e-4ca7-7ee4-89a7-fa6318439200";
    let table = [
        (json!({"region": "cn-east-3"}), "region is immutable; create a new InstanceDeletion"),
        (json!({"projectID": "f".repeat(32)}), "projectID is immutable; create a new InstanceDeletion"),
        (json!({"instanceIDs": [ID, other]}), "instanceIDs is immutable; create a new InstanceDeletion"),
        (json!({"instanceIDs": [other]}), "instanceIDs is immutable; create a new InstanceDeletion"),
        (json!({"dryRun": true}), "dryRun: true can only be set at creation; use suspend: true"),
    ];
    for (edit, expected) in table {
        let error = stage.patch("retire", &edit).unwrap_err().to_string();
        assert!(error.contains(expected), "{edit}: {error}");
    }
    let expected = "expect is immutable; create a new InstanceDeletion that expects something else";
    let error = stage.patch("retire", &json!({"expect": {"name": "rack-*"}})).unwrap_err().to_string();
    assert!(error.contains(expected), "added later: {error}");
    let expect = json!({"name": "rack-12-*", "tags": {"rack": "12"}});
    let expecting = Manifest::new("expecting", &[ID.to_owned()]).with("suspend", true).with("expect", expect);
    stage.apply(&expecting).unwrap();
    for edit in [
        json!({"expect": null}),
        json!({"expect": {"name": "rack-1*"}}),
        json!({"expect": {"tags": {"rack": null}}}),
        json!({"expect": {"createdBefore": "2026-06-01T00:00:00Z"}}),
    ] {
        let error = stage.patch("expecting", &edit).unwrap_err().to_string();
        assert!(error.contains(expected), "{edit}: {error}");
    }
    let off = "powerOff is immutable; create a new InstanceDeletion that powers off otherwise";
    let error = stage.patch("retire", &json!({"powerOff": {"when": "Always"}})).unwrap_err().to_string();
    assert!(error.contains(off), "added later: {error}");
    let power_off = json!({"when": "Always", "soakSeconds": 259_200});
    let soaking = Manifest::new("soaking", &[ID.to_owned()]).with("dryRun", true).with("powerOff", power_off);
    stage.apply(&soaking).unwrap();
    for edit in [
        json!({"powerOff": null}),
        json!({"powerOff": {"soakSeconds": 0}}),
        json!({"powerOff": {"soakSeconds": null}}),
        json!({"powerOff": {"when": "IfRefused", "soakSeconds": null}}),
    ] {
        let error = stage.patch("soaking", &edit).unwrap_err().to_string();
        assert!(error.contains(off), "{edit}: {error}");
    }
    stage.patch("soaking", &json!({"dryRun": false, "suspend": true})).unwrap();
    stage.patch("expecting", &json!({"notAfter": "2026-12-01T00:00:00Z"})).unwrap();
    stage.patch("retire", &json!({"credentialsSecretRef": {"name": "another"}})).unwrap();
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    stage.patch("retire", &json!({"dryRun": false})).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_only_rises_once_the_deletion_has_started() {
    let stage = stage("limit").await;
    let limit = |limit: u32| json!({"rollout": {"limit": limit}});
    let of = |name: &str| Manifest::new(name, &[ID.to_owned()]).with("suspend", true);
    stage.apply(&of("limited").with("rollout", json!({"limit": 5, "maxFailed": 1}))).unwrap();
    stage.apply(&of("whole").with("rollout", json!({"maxFailed": 1}))).unwrap();
    stage.apply(&of("without")).unwrap();
    let refused = |name: &str, edit: &Value| {
        let error = stage.patch(name, edit).unwrap_err().to_string();
        let why =
            "rollout.limit can only be raised or removed once the deletion has started; use suspend: true";
        assert!(error.contains(why), "{name} {edit}: {error}");
    };
    refused("limited", &limit(4));
    refused("whole", &limit(5_000));
    refused("without", &limit(1));
    for edit in [
        limit(5),
        limit(100),
        json!({"rollout": {"maxFailed": 0, "maxInFlight": 3}}),
        json!({"rollout": null}),
    ] {
        stage.patch("limited", &edit).unwrap_or_else(|error| panic!("{edit}: {error}"));
    }
    refused("limited", &limit(100));
    // A plan is changed at will, up to the edit that starts it.
    stage.apply(&Manifest::new("planned", &[ID.to_owned()]).with("dryRun", true)).unwrap();
    for edit in
        [limit(5), limit(2), json!({"rollout": null}), json!({"rollout": {"limit": 1}, "dryRun": false})]
    {
        stage.patch("planned", &edit).unwrap_or_else(|error| panic!("{edit}: {error}"));
    }
    stage.patch("planned", &limit(3)).unwrap();
    refused("planned", &limit(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_is_one_way() {
    let stage = stage("oneway").await;
    let manifest = Manifest::new("retire", &[ID.to_owned()]).with("dryRun", true);
    stage.apply(&manifest).unwrap();
    let without = Manifest::new("retire", &[ID.to_owned()]);
    let output = stage.kubectl_in(&["apply", "-f", "-"], &without.text()).unwrap();
    assert!(output.stderr.contains("write dryRun: false to start"), "{}", output.stderr);
    let error = stage.patch("retire", &json!({"dryRun": null})).unwrap_err().to_string();
    assert!(error.contains("write dryRun: false to start"), "{error}");
    stage.patch("retire", &json!({"dryRun": false})).unwrap();
    let error = stage.patch("retire", &json!({"dryRun": true})).unwrap_err().to_string();
    assert!(error.contains("use suspend: true"), "{error}");
    // After the start, the line may be removed.
    stage.patch("retire", &json!({"dryRun": null})).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_powered_off_and_for_how_long_is_admitted_as_it_was_written() {
    let stage = stage("off").await;
    let table = [
        json!({"when": "IfRefused"}),
        json!({"when": "Always"}),
        json!({"when": "Always", "soakSeconds": 0}),
        json!({"when": "Always", "soakSeconds": 7_776_000}),
    ];
    for (n, power_off) in table.into_iter().enumerate() {
        let name = format!("retire-{n}");
        let manifest = Manifest::new(&name, &[ID.to_owned()]).with("suspend", true);
        stage.apply(&manifest.with("powerOff", power_off.clone())).unwrap();
        assert_eq!(stage.get(&name)["spec"]["powerOff"], power_off, "without a default");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explicit_null_is_as_absent() {
    // The API server prunes a null before any rule of the schema sees it.
    let stage = stage("null").await;
    let manifest =
        Manifest::new("retire", &[ID.to_owned()]).with("dryRun", Value::Null).with("suspend", Value::Null);
    stage.apply(&manifest.with("powerOff", Value::Null)).unwrap();
    let spec = &stage.get("retire")["spec"];
    let absent = ["dryRun", "suspend", "powerOff"].iter().all(|field| spec.get(field).is_none());
    assert!(absent, "{spec}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_is_never_taken_for_finished() {
    let stage = stage("new").await;
    stage.apply(&Manifest::new("retire", &[ID.to_owned()])).unwrap();
    assert_eq!(stage.get("retire")["status"], json!({"observedGeneration": -1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_every_field() {
    let stage = stage("explain").await;
    let text = stage.kubectl(&["explain", "instancedeletion", "--recursive"]).unwrap();
    for field in [
        "instanceIDs",
        "expect",
        "rollout",
        "powerOff",
        "soakSeconds",
        "poweredOffAt",
        "dryRun",
        "suspend",
        "batches",
        "requestID",
        "observedGeneration",
    ] {
        assert!(text.contains(field), "{field}");
    }
    let text = stage.kubectl(&["explain", "deletionguard", "--recursive"]).unwrap();
    for field in ["namespaceSelector", "hold", "maxInstanceIDs", "protected", "requireRolloutAbove"] {
        assert!(text.contains(field), "{field}");
    }
    for (name, parts) in [("instancedeletions", &["spec", "status"][..]), ("deletionguards", &["spec"])] {
        let crd = stage.kubectl(&["get", "crd", &format!("{name}.clouddc.dev"), "-o", "json"]).unwrap();
        let crd: Value = serde_json::from_str(&crd).unwrap();
        let properties = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut missing = Vec::new();
        for part in parts {
            undescribed(part, &properties[part], &mut missing);
        }
        assert!(missing.is_empty(), "{name} without a description: {missing:?}");
        assert!(!properties["spec"].to_string().contains("\"default\""), "{name}");
    }
}

fn undescribed(path: &str, schema: &Value, missing: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) && !path.ends_with("[]") {
        missing.push(path.to_owned());
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        undescribed(&format!("{path}.{name}"), child, missing);
    }
    if schema["items"].is_object() {
        undescribed(&format!("{path}[]"), &schema["items"], missing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_diffs_waits_and_prints() {
    let stage = stage("kubectl").await;
    let ids = instances(&stage, 60);
    let manifest = Manifest::new("retire", &ids);
    let apply = ["apply", "--server-side", "-f", "-"];
    assert!(stage.kubectl_in(&apply, &manifest.text()).unwrap().status.success());
    let _controller = stage.controller(&[]).unwrap();
    stage.kubectl(&["wait", "--for=condition=Finished", "idel/retire", "--timeout=120s"]).unwrap();
    stage
        .kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "idel/retire", "--timeout=5s"])
        .unwrap();
    assert_succeeded(&stage.get("retire"), 60);
    let diff = stage.kubectl_in(&["diff", "--server-side", "-f", "-"], &manifest.text()).unwrap();
    assert!(diff.status.success() && diff.stdout.is_empty(), "{}{}", diff.stdout, diff.stderr);
    let table = stage.kubectl(&["get", "idel"]).unwrap();
    let [head, row] = &table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(head), ["NAME", "PHASE", "PROGRESS", "FAILED", "READY", "REASON", "AGE"]);
    assert_eq!(words(row)[..6], ["retire", "Succeeded", "60/60", "0", "True", "AllTerminated"]);
    let wide = stage.kubectl(&["get", "idel", "-o", "wide"]).unwrap();
    let head = wide.lines().next().unwrap();
    assert_eq!(words(head)[7..], ["REGION", "PROJECT", "NEXT", "MESSAGE"]);
    assert!(wide.contains("All 60 instances are gone"), "{wide}");
    let described = stage.kubectl(&["describe", "idel", "retire"]).unwrap();
    assert!(described.contains("All 60 instances are gone"), "{described}");
    assert!(stage.kubectl(&["get", "clouddc"]).unwrap().contains("retire"), "the category");

    let clientside = Manifest::new("clientside", &instances(&stage, 2));
    stage.apply(&clientside.clone().with("suspend", true)).unwrap();
    stage.wait_reason("clientside", "Suspended");
    finds_objects_by_their_phase(&stage);
    stage.apply(&clientside).unwrap();
    stage.wait_finished("clientside");
    let diff = stage.kubectl_in(&["diff", "-f", "-"], &clientside.text()).unwrap();
    assert!(diff.status.success() && diff.stdout.is_empty(), "{}{}", diff.stdout, diff.stderr);
    stage.kubectl(&["delete", "idel", "retire", "--timeout=5s"]).unwrap();
}

/// From Kubernetes 1.31 on. An older API server refuses to.
fn finds_objects_by_their_phase(stage: &Stage) {
    let old = minor_version(stage) < 31;
    for (phase, expected) in [("Succeeded", "retire\n"), ("Suspended", "clientside\n"), ("Deleting", "")] {
        let selector = format!("--field-selector=status.phase={phase}");
        let found = stage.kubectl(&[
            "get",
            "idel",
            &selector,
            "-o",
            "custom-columns=N:.metadata.name",
            "--no-headers",
        ]);
        match found {
            Ok(found) => assert!(!old && found == expected, "{phase}: {found}"),
            Err(error) => {
                assert!(old && error.to_string().contains("field label not supported"), "{phase}: {error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i01_repeated_ids_count_once_and_are_said() {
    let stage = stage("repeated").await;
    let mut ids = instances(&stage, 3);
    ids.push(ids[0].clone());
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 3);
    assert!(condition(&object, "Ready").2.contains("1 repeated ids in the spec count once"));
    assert_eq!(stage.calls()[0].ids, ids[..3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_manifests_are_admitted() {
    let stage = stage("example").await;
    for example in ["instancedeletion", "retire-with-a-soak"] {
        let file = format!("{}/deploy/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).unwrap();
        let output = stage.control_plane.kubectl(&["apply", "--dry-run=server", "-f", &file]).run().unwrap();
        // The namespace of the example need not exist; everything else must be right.
        assert!(output.status.success() || output.stderr.contains("namespaces"), "{text}: {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_gitops_tools_are_admitted_and_say_what_they_expect() {
    let stage = stage("examples").await;
    for file in ["flux/example/retire-rack-12", "argocd/example/repository"] {
        let file = format!("{}/deploy/{file}/instance-deletion.yaml", env!("CARGO_MANIFEST_DIR"));
        let tried = stage.kubectl(&["apply", "--dry-run=server", "-o", "json", "-f", &file]).unwrap();
        let object: Value = serde_json::from_str(&tried).unwrap();
        assert!(object["spec"]["expect"].is_object() && object["spec"]["rollout"]["limit"] == 5, "{object}");
    }
}
