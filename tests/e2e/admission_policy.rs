//! The policies of `deploy/policy` on the real API server: what a guard refuses, what it admits, and that nothing else refuses it.
//!
//! All tests share the guards. So each guard here selects the namespace of its test, or protects ids that no other test names.

use std::hash::{DefaultHasher, Hash, Hasher};

use control_plane::ControlPlane;
use harness::{Manifest, Stage, until};
use serde_json::{Value, json};

use crate::support::{binary, options, stage};

const HOLD: &str = "clouddc.dev/hold";
const ALLOW: &str = "clouddc.dev/allow-protected";

/// Creates an object with `--dry-run=server`, and returns what kubectl says.
fn tried(stage: &Stage, manifest: &Manifest) -> Result<String, String> {
    let output = stage.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &manifest.text()).unwrap();
    if output.status.success() { Ok(output.stderr) } else { Err(output.stderr) }
}

/// Ids that no other test names.
fn own_ids(stage: &Stage, n: usize) -> Vec<String> {
    let digits = |salt: usize, n: usize| {
        let mut hasher = DefaultHasher::new();
        (&stage.namespace, salt, n).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let id = |n| {
        let hex = digits(0, n) + &digits(1, n);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    };
    (0..n).map(id).collect()
}

fn annotated(manifest: &Manifest, annotation: &str, value: &str) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.value["metadata"]["annotations"] = json!({annotation: value});
    manifest
}

/// Creates or replaces a guard.
fn guard(control_plane: &ControlPlane, name: &str, spec: &Value) {
    let guard = json!({"apiVersion": "clouddc.dev/v1alpha1", "kind": "DeletionGuard",
                       "metadata": {"name": name}, "spec": spec});
    // On the server's side: the annotation of the other way would hold a large guard twice.
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    control_plane.kubectl(&apply).stdin(guard.to_string()).ok().unwrap();
}

/// A guard of the test's own namespace, under the namespace's name.
fn own_guard(stage: &Stage, mut spec: Value) {
    let own = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
    spec["namespaceSelector"] = own;
    guard(stage.control_plane, &stage.namespace, &spec);
}

fn without_guard(control_plane: &ControlPlane, name: &str) {
    control_plane.kubectl(&["delete", "deletionguard", name]).ok().unwrap();
}

/// Waits for the API server, which learns of changed guards and policies with a delay.
fn refused(stage: &Stage, manifest: &Manifest, why: &str) -> String {
    until(why, || tried(stage, manifest).err().filter(|said| said.contains(why)))
}

fn admitted(stage: &Stage, manifest: &Manifest) {
    until("admitted", || tried(stage, manifest).inspect_err(|said| println!("{said}")).ok());
}

/// A guard, an object that it refuses, what it says, and an object that it admits.
type Rule = (&'static str, Value, Manifest, &'static [&'static str], Manifest);

fn rules(stage: &Stage) -> Vec<Rule> {
    let ids = own_ids(stage, 3);
    let of = |n: usize| Manifest::new("retire", &ids[..n]);
    vec![
        (
            "the number of ids",
            json!({"maxInstanceIDs": 2}),
            of(3),
            &["spec.instanceIDs lists 3 instances", "at most 2 (maxInstanceIDs of", "write several objects"],
            of(2),
        ),
        (
            "the region",
            json!({"allowedRegions": ["cn-east-3", "cn-north-4"]}),
            of(1),
            &[
                "spec.region is ap-southeast-3",
                "deletions are allowed in cn-east-3, cn-north-4 (allowedRegions of",
            ],
            of(1).with("region", "cn-north-4"),
        ),
        (
            "what is expected",
            json!({"requireExpect": true}),
            of(1),
            &["asks for spec.expect (requireExpect)", "create the object with what every listed instance is"],
            of(1).with("expect", json!({"name": "rack-12-*"})),
        ),
        (
            "a plan first",
            json!({"requireDryRun": true}),
            of(1).with("dryRun", false),
            &["asks for a plan first (requireDryRun)", "create the object with dryRun: true"],
            of(1).with("dryRun", true),
        ),
        (
            "a rollout of many",
            json!({"requireRolloutAbove": 1}),
            of(2),
            &["spec.instanceIDs lists 2 instances; above 1,", "asks for spec.rollout (requireRolloutAbove)"],
            of(2).with("rollout", json!({"limit": 1})),
        ),
        ("a rollout of many, and not of few", json!({"requireRolloutAbove": 2}), of(3), &["above 2,"], of(2)),
        (
            "a protected instance",
            json!({"protected": {"instances": [{"id": ids[2], "reason": "billing\ndatabase"}]}}),
            of(3),
            &[
                "1 of the instances are protected by",
                "(billing database)",
                "the annotation clouddc.dev/allow-protected",
            ],
            of(2),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_each_rule_of_a_guard_refuses_with_the_guards_name_and_what_to_do() {
    let stage = stage("rules").await;
    for (what, spec, bad, words, good) in rules(&stage) {
        own_guard(&stage, spec);
        let said = refused(&stage, &bad, words[0]);
        for word in words.iter().copied().chain([&*format!("DeletionGuard {}", stage.namespace)]) {
            assert!(said.contains(word), "{what}: {word} in {said}");
        }
        admitted(&stage, &good);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_a_hold_refuses_every_creation_until_it_is_gone() {
    let stage = stage("frozen").await;
    let plan = Manifest::new("retire", &own_ids(&stage, 1)).with("dryRun", true);
    let allowed = annotated(&plan, ALLOW, &own_ids(&stage, 1)[0]);
    own_guard(&stage, json!({"hold": {"reason": "change freeze\nuntil Monday"}}));
    for manifest in [&plan, &allowed] {
        let said = refused(&stage, manifest, "holds all deletions of namespace");
        let why = format!(
            "DeletionGuard {0} holds all deletions of namespace {0} (change freeze until Monday)",
            stage.namespace
        );
        assert!(said.contains(&why) && said.contains("try again when its hold is removed"), "{said}");
    }
    without_guard(stage.control_plane, &stage.namespace);
    admitted(&stage, &plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_a_protected_instance_is_refused_until_the_object_names_it() {
    let stage = stage("protected").await;
    let ids = own_ids(&stage, 3);
    let protected = json!([{"id": ids[1], "reason": "database"}, {"id": ids[2], "reason": "gateway"}]);
    own_guard(&stage, json!({"protected": {"instances": protected}}));
    let manifest = Manifest::new("retire", &ids);
    let said = refused(&stage, &manifest, "2 of the instances are protected");
    assert!(said.contains(&format!("{} (database)", ids[1])), "{said}");
    assert!(tried(&stage, &Manifest::new("retire", &ids[..1])).is_ok());
    let allows = |value: &str| annotated(&manifest, ALLOW, value);
    for value in ["true", &ids[1], "*", &format!("{} {}", ids[1], ids[2])] {
        assert!(tried(&stage, &allows(value)).is_err(), "{value}");
    }
    for between in [",", ", ", " , ", ",\n"] {
        let warnings = tried(&stage, &allows(&ids[1..].join(between))).unwrap();
        assert!(
            warnings.contains("Warning") && warnings.contains("protects are to be deleted"),
            "{between:?}: {warnings}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_of_two_guards_each_must_admit() {
    let stage = stage("both").await;
    let control_plane = stage.control_plane;
    let of = |n: usize| Manifest::new("retire", &own_ids(&stage, n));
    own_guard(&stage, json!({"maxInstanceIDs": 1}));
    let other = format!("{}-other", stage.namespace);
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
    guard(control_plane, &other, &json!({"namespaceSelector": selector, "requireExpect": true}));
    refused(&stage, &of(1), &format!("DeletionGuard {other} asks for spec.expect"));
    let expecting = |n: usize| of(n).with("expect", json!({"name": "rack-12-*"}));
    refused(&stage, &expecting(2), &format!("maxInstanceIDs of DeletionGuard {}", stage.namespace));
    admitted(&stage, &expecting(1));
    without_guard(control_plane, &stage.namespace);
    admitted(&stage, &expecting(2));
    assert!(tried(&stage, &of(2)).is_err(), "the other one applies");
}

/// Selectors, and whether they select a namespace with the labels tier=production and zone=a.
fn selectors() -> Vec<(Value, bool)> {
    let one = |key: &str, operator: &str, values: &[&str]| {
        let requirement = json!({"key": key, "operator": operator});
        let given = json!({"key": key, "operator": operator, "values": values});
        json!({"matchExpressions": [if values.is_empty() { requirement } else { given }]})
    };
    vec![
        (Value::Null, true),
        (json!({}), true),
        (json!({"matchLabels": {}}), true),
        (json!({"matchLabels": {"tier": "production"}}), true),
        (json!({"matchLabels": {"tier": "production", "zone": "a"}}), true),
        (json!({"matchLabels": {"tier": "test"}}), false),
        (json!({"matchLabels": {"tier": "production", "zone": "b"}}), false),
        (json!({"matchLabels": {"absent": "production"}}), false),
        (one("tier", "In", &["test", "production"]), true),
        (one("tier", "In", &["test"]), false),
        (one("absent", "In", &["production"]), false),
        (one("tier", "NotIn", &["test"]), true),
        (one("tier", "NotIn", &["test", "production"]), false),
        (one("absent", "NotIn", &["production"]), true),
        (one("tier", "Exists", &[]), true),
        (one("absent", "Exists", &[]), false),
        (one("absent", "DoesNotExist", &[]), true),
        (one("tier", "DoesNotExist", &[]), false),
        (
            json!({"matchLabels": {"tier": "production"},
                   "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}, {"key": "x", "operator": "DoesNotExist"}]}),
            true,
        ),
        (
            json!({"matchLabels": {"tier": "production"}, "matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}),
            false,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn g1_a_guard_applies_where_all_of_its_selector_matches_the_namespaces_labels() {
    let stage = stage("selected").await;
    let control_plane = stage.control_plane;
    let table = selectors();
    let ids = own_ids(&stage, table.len() + 1);
    let protecting = |id: &String| json!({"protected": {"instances": [{"id": id, "reason": "kept"}]}});
    let label = ["label", "namespace", &stage.namespace, "tier=production", "zone=a"];
    control_plane.kubectl(&label).ok().unwrap();
    for (n, (selector, _)) in table.iter().enumerate() {
        let mut spec = protecting(&ids[n]);
        if !selector.is_null() {
            spec["namespaceSelector"] = selector.clone();
        }
        guard(control_plane, &format!("{}-{n}", stage.namespace), &spec);
    }
    // The API server learns of guards and of labels in the order of their writes: when it knows the last, it knows all.
    let mut last = protecting(&ids[table.len()]);
    last["namespaceSelector"] = json!({"matchLabels": {"tier": "production"}});
    guard(control_plane, &format!("{}-last", stage.namespace), &last);
    refused(&stage, &Manifest::new("retire", &ids[table.len()..]), "are protected");
    for (n, (selector, applies)) in table.iter().enumerate() {
        let said = tried(&stage, &Manifest::new("retire", &ids[n..=n]));
        assert_eq!(said.is_err(), *applies, "{selector}: {said:?}");
        if let Err(said) = said {
            assert!(said.contains(&format!("DeletionGuard {}-{n},", stage.namespace)), "{selector}: {said}");
        }
    }
}

/// Objects that do not delete, each for another reason, and the edits that would start them.
fn stopped(ids: &[String]) -> Vec<(Manifest, Vec<Value>)> {
    let of = |name: &str| Manifest::new(name, ids);
    let spec = |spec: Value| json!({"spec": spec});
    vec![
        (of("planned").with("dryRun", true), vec![spec(json!({"dryRun": false}))]),
        (
            of("suspended").with("suspend", true),
            vec![spec(json!({"suspend": false})), spec(json!({"suspend": null}))],
        ),
        (
            annotated(&of("held"), HOLD, "x"),
            vec![
                json!({"metadata": {"annotations": {HOLD: null}}}),
                json!({"metadata": {"annotations": null}}),
            ],
        ),
        (
            of("limited").with("rollout", json!({"limit": 1, "maxInFlight": 5})),
            vec![
                spec(json!({"rollout": {"limit": 2}})),
                spec(json!({"rollout": {"limit": null}})),
                spec(json!({"rollout": null})),
                // It starts, whatever stopped it before.
                json!({"metadata": {"annotations": {"x": "y"}}, "spec": {"rollout": {"limit": 2}, "notFoundPolicy": "Fail"}}),
            ],
        ),
    ]
}

/// Edits that stop an object, or start nothing.
fn harmless() -> Vec<(&'static str, Value)> {
    let hold = json!({"annotations": {HOLD: "y"}});
    vec![
        ("running", json!({"metadata": {"annotations": {"note": "x"}, "labels": {"a": "b"}}})),
        ("running", json!({"spec": {"notAfter": "2026-01-01T00:00:00Z", "activeDeadlineSeconds": 5}})),
        ("running", json!({"spec": {"rollout": {"maxFailed": 0}}})),
        ("running", json!({"spec": {"credentialsSecretRef": {"name": "other"}}})),
        ("running", json!({"metadata": hold})),
        ("running", json!({"metadata": {"annotations": {HOLD: "another"}}})),
        ("running", json!({"spec": {"suspend": true}})),
        ("suspended", json!({"metadata": hold})),
        // What stops an object may do more: refused, it would not stop it either.
        ("limited", json!({"spec": {"suspend": true, "rollout": null}})),
        ("planned", json!({"metadata": hold, "spec": {"dryRun": false}})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_what_starts_is_judged_again_and_what_stops_is_not() {
    let stage = stage("starts").await;
    let ids = own_ids(&stage, 3);
    let stopped = stopped(&ids);
    let running = Manifest::new("running", &ids);
    for manifest in stopped.iter().map(|(manifest, _)| manifest).chain([&running]) {
        stage.apply(manifest).unwrap();
    }
    let patch = |name: &str, change: &Value| {
        let change = change.to_string();
        stage.kubectl(&["patch", "idel", name, "--type=merge", "--patch", &change])
    };
    // Only after all of them were there.
    own_guard(&stage, json!({"hold": {"reason": "change freeze"}}));
    refused(&stage, &Manifest::new("new", &ids), "holds all deletions");
    for (manifest, starts) in &stopped {
        let name = manifest.value["metadata"]["name"].as_str().unwrap();
        for start in starts {
            let error = patch(name, start).unwrap_err().to_string();
            assert!(error.contains("holds all deletions"), "{name} {start}: {error}");
        }
    }
    for (name, change) in harmless() {
        patch(name, &change).unwrap_or_else(|error| panic!("{name} {change}: {error}"));
    }
    // They are stopped by two things now: each is judged when it goes.
    for (name, start) in [
        ("running", json!({"spec": {"suspend": false}})),
        ("running", json!({"metadata": {"annotations": {HOLD: null}}})),
        ("limited", json!({"spec": {"suspend": false}})),
        ("planned", json!({"metadata": {"annotations": {HOLD: null}}})),
    ] {
        assert!(patch(name, &start).unwrap_err().to_string().contains("holds all"), "{name} {start}");
    }
    stage.kubectl(&["delete", "idel", "planned"]).unwrap();
    // Without the guard all of them start: nothing else refused it.
    without_guard(stage.control_plane, &stage.namespace);
    admitted(&stage, &Manifest::new("new", &ids));
    for (name, start) in [
        ("suspended", json!({"spec": {"suspend": false}})),
        ("held", json!({"metadata": {"annotations": {HOLD: null}}})),
        ("limited", json!({"spec": {"suspend": false}})),
    ] {
        patch(name, &start).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    stage.kubectl(&["delete", "idel", "--all"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g2_a_restart_is_judged_by_every_rule_but_for_the_plan_that_came_first() {
    let stage = stage("again").await;
    let ids = own_ids(&stage, 2);
    stage.apply(&Manifest::new("retire", &ids).with("suspend", true)).unwrap();
    let protected = json!({"instances": [{"id": ids[0], "reason": "database"}]});
    for (spec, why) in [
        (json!({"maxInstanceIDs": 1}), "one object may list at most 1"),
        (json!({"allowedRegions": ["cn-east-3"]}), "allowed in cn-east-3"),
        (json!({"requireExpect": true}), "asks for spec.expect"),
        (json!({"requireRolloutAbove": 1}), "asks for spec.rollout"),
        (json!({"protected": protected}), "are protected"),
    ] {
        own_guard(&stage, spec);
        until(why, || {
            let error = stage.patch("retire", &json!({"suspend": false})).err()?.to_string();
            error.contains(why).then_some(())
        });
    }
    own_guard(&stage, json!({"requireDryRun": true}));
    refused(&stage, &Manifest::new("new", &ids), "asks for a plan first");
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    stage.kubectl(&["delete", "idel", "retire"]).unwrap();
}

/// Policies share no text, and the warning must speak of the comparison that the refusal makes.
#[test]
fn what_is_warned_of_is_judged_by_the_expressions_of_what_is_refused() {
    let variables = |file: &str, policy: &str| -> serde_json::Map<String, Value> {
        let text = std::fs::read_to_string(harness::project().join("deploy/policy").join(file)).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let named = |o: &&Value| o["metadata"]["name"] == policy && o["spec"]["variables"].is_array();
        let found = objects.iter().find(named).unwrap()["spec"]["variables"].as_array().unwrap().clone();
        found.into_iter().map(|v| (v["name"].as_str().unwrap().to_owned(), v["expression"].clone())).collect()
    };
    let refuses = variables("guard.yaml", "instance-deletion-guard");
    let warns = variables("advice.yaml", "instance-deletion-guard-advice");
    let shared: Vec<_> = refuses.keys().filter(|name| warns.contains_key(*name)).collect();
    assert_eq!(shared, ["allowed", "applies", "comparable", "count", "guard", "kept", "labels"]);
    for name in shared {
        assert_eq!(refuses[name], warns[name], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_is_answered_with_warnings_of_what_is_easily_overlooked() {
    let stage = stage("warned").await;
    let ids = own_ids(&stage, 1);
    let absent = Manifest::new("retire", &ids);
    let said = tried(&stage, &absent).unwrap();
    // Once, however many guards there are.
    assert_eq!(said.matches("dryRun is absent").count(), 1, "{said}");
    for value in [true, false] {
        assert_eq!(tried(&stage, &absent.clone().with("dryRun", value)).unwrap(), "", "{value}");
    }
    let mut kept = absent.with("dryRun", false).with("ttlSecondsAfterFinished", 60);
    assert_eq!(tried(&stage, &kept).unwrap(), "", "by hand it is as one likes");
    kept.value["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "fleet"});
    let said = tried(&stage, &kept).unwrap();
    assert_eq!(said.matches("the next sync from git creates again").count(), 1, "{said}");
    let removed = "removes the record of instances that somebody powered on again";
    for (when, warned) in [("IfRefused", 0), ("Always", 1)] {
        let off = kept.clone().with("powerOff", json!({"when": when}));
        let said = tried(&stage, &off).unwrap();
        assert_eq!(said.matches(removed).count(), warned, "{when}: {said}");
    }
    let off = Manifest::new("retire", &ids).with("dryRun", true).with("powerOff", json!({"when": "Always"}));
    assert_eq!(tried(&stage, &off).unwrap(), "", "it stays");
}

/// On a control plane of its own, because it takes away what all objects share.
#[tokio::test(flavor = "multi_thread")]
async fn by_default_five_hundred_instances_are_the_most_and_without_a_guard_there_is_no_bound() {
    let stage = Stage::alone("cap", binary(), options()).await.unwrap();
    let control_plane = stage.control_plane;
    let all = own_ids(&stage, 5_000);
    let of = |n: usize| Manifest::new("retire", &all[..n]).with("dryRun", false);
    guard(control_plane, "default", &json!({"maxInstanceIDs": 500}));
    refused(&stage, &of(501), "one object may list at most 500 (maxInstanceIDs of DeletionGuard default)");
    let said = tried(&stage, &of(500)).unwrap();
    assert!(said.contains("near the most that one object may list (500"), "{said}");
    assert_eq!(tried(&stage, &of(400)).unwrap(), "");
    // The last guard lifts it, and what depends on no guard still warns.
    without_guard(control_plane, "default");
    admitted(&stage, &of(5_000));
    let said = tried(&stage, &Manifest::new("retire", &all[..1])).unwrap();
    assert!(said.contains("dryRun is absent"), "{said}");
    // Without the definition the policy can ask for no guard, so everything is refused, until it is back.
    control_plane.kubectl(&["delete", "crd", "deletionguards.clouddc.dev"]).ok().unwrap();
    control_plane.stop_api_server();
    control_plane.start_api_server().unwrap();
    refused(&stage, &of(1), "instance-deletion-guard");
    harness::install_definitions(control_plane).unwrap();
    admitted(&stage, &of(1));
    // Without this policy everything is admitted: nothing else refused it.
    guard(control_plane, "default", &json!({"maxInstanceIDs": 1}));
    refused(&stage, &of(2), "one object may list at most 1");
    let binding = ["delete", "validatingadmissionpolicybinding", "instance-deletion-guard"];
    control_plane.kubectl(&binding).ok().unwrap();
    admitted(&stage, &of(5_000));
}

/// An expression may cost 1,000,000, and the comparison of each id with each protected one would cost their product.
#[tokio::test(flavor = "multi_thread")]
async fn what_costs_too_much_to_compare_is_admitted_with_a_warning_and_what_fits_is_compared() {
    let stage = stage("cost").await;
    let ids = own_ids(&stage, 5_000);
    let of = |n: usize| Manifest::new("retire", &ids[..n]).with("dryRun", false);
    // The last ids of the list, so that each comparison runs to its end.
    let protect = |n: usize| {
        let rows = ids.iter().rev().take(n).rev();
        let rows: Vec<_> = rows.map(|id| json!({"id": id, "reason": "r".repeat(256)})).collect();
        own_guard(&stage, json!({"protected": {"instances": rows}}));
    };
    protect(168);
    refused(&stage, &of(5_000), "168 of the instances are protected");
    assert_eq!(tried(&stage, &of(4_000)).unwrap(), "");
    protect(1_000);
    until("the comparison is left to the controller", || {
        let said = tried(&stage, &of(5_000)).ok()?;
        said.contains("too many ids to compare here with the 1000 instances").then_some(())
    });
    let last = Manifest::new("retire", &ids[4_110..]).with("dryRun", false);
    refused(&stage, &last, "890 of the instances are protected");
    assert_eq!(tried(&stage, &of(890)).unwrap(), "");
    // So do the ids of the annotation: all of these are protected, and allowed.
    let some = &ids[4_560..];
    let allowed =
        annotated(&Manifest::new("retire", some).with("dryRun", false), ALLOW, &ids[4_000..].join(", "));
    assert!(tried(&stage, &allowed).unwrap().contains("protects are to be deleted"));
    // With the annotation it is too much, and is left to the controller too: refused for its cost it would name no guard.
    let long = annotated(
        &Manifest::new("retire", &ids[4_120..]).with("dryRun", false),
        ALLOW,
        &ids[4_000..].join(","),
    );
    assert!(tried(&stage, &long).unwrap().contains("too many ids to compare here"));
    let without_one = annotated(&allowed, ALLOW, &ids[4_000..4_999].join(", "));
    refused(
        &stage,
        &without_one,
        &format!(
            "1 of the instances are protected by DeletionGuard {}, such as {}",
            stage.namespace, ids[4_999]
        ),
    );
}
