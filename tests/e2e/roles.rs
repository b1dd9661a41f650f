//! The role of `deploy/base` is sufficient and minimal: without any one of its verbs, something fails.

use std::path::PathBuf;

use control_plane::ControlPlane;
use harness::{Manifest, Stage, condition, until};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, instances, stage};

/// Resources of the cluster: what is granted on them by a Role counts for nothing.
const OF_THE_CLUSTER: [&str; 2] = ["deletionguards", "namespaces"];

/// A further ServiceAccount with the rules of `deploy/base`, except one verb of one resource.
fn account_without(stage: &Stage, resource: &str, verb: &str) -> PathBuf {
    let control_plane = stage.control_plane;
    let rules = rules(control_plane);
    assert!(
        rules.iter().any(|r| has(r, "resources", resource) && has(r, "verbs", verb)),
        "deploy/base grants {verb} on {resource}"
    );
    let rules: Vec<Value> = rules
        .into_iter()
        .map(|mut rule| {
            if has(&rule, "resources", resource) {
                rule["verbs"].as_array_mut().unwrap().retain(|v| v != verb);
            }
            rule
        })
        .filter(|rule| !rule["verbs"].as_array().unwrap().is_empty())
        .collect();
    let of_the_cluster =
        |rule: &Value| OF_THE_CLUSTER.iter().any(|resource| has(rule, "resources", resource));
    let (wide, rules): (Vec<Value>, Vec<Value>) = rules.into_iter().partition(of_the_cluster);
    let meta = json!({"name": "lesser", "namespace": stage.namespace});
    let wide_meta = json!({"name": format!("lesser-{}", stage.namespace)});
    let subject = json!({"kind": "ServiceAccount", "name": "lesser", "namespace": stage.namespace});
    for object in [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": wide_meta, "rules": wide}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": wide_meta, "subjects": [subject],
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": wide_meta["name"]}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta, "subjects": [subject],
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lesser"}}),
    ] {
        let output = stage.kubectl_in(&["apply", "-f", "-"], &object.to_string()).unwrap();
        assert!(output.status.success(), "{}", output.stderr);
    }
    let kubeconfig = control_plane.service_account_kubeconfig(&stage.namespace, "lesser").unwrap();
    // The authorizer learns of a new role with a delay.
    let probe = if (resource, verb) == ("secrets", "get") {
        ["list", "instancedeletions"]
    } else {
        ["get", "secrets"]
    };
    let wide = if resource == "namespaces" { ["list", "deletionguards"] } else { ["get", "namespaces"] };
    until("the roles are in force", || {
        let may = |what: [&str; 2]| {
            let can = ["auth", "can-i", what[0], what[1], "-n", &stage.namespace];
            control_plane.kubectl_as(&kubeconfig, &can).run().is_ok_and(|answer| answer.status.success())
        };
        (may(probe) && may(wide)).then_some(())
    });
    kubeconfig
}

fn has(rule: &Value, list: &str, what: &str) -> bool {
    rule[list].as_array().is_some_and(|all| all.iter().any(|v| v == what))
}

/// Every rule of the roles that `deploy/base` binds to the controller.
fn rules(control_plane: &ControlPlane) -> Vec<Value> {
    let read = |arguments: &[&str]| -> Value {
        let text = control_plane.kubectl(&[arguments, &["-n", "clouddc-system", "-o", "json"]].concat()).ok();
        serde_json::from_str(&text.unwrap()).unwrap()
    };
    let bindings = read(&["get", "clusterrolebindings,rolebindings"]);
    let ours = |b: &&Value| {
        b["subjects"]
            .as_array()
            .is_some_and(|s| s.iter().any(|s| s["name"] == "instance-deletion-controller"))
    };
    let roles = bindings["items"].as_array().unwrap().iter().filter(ours).map(|binding| {
        let name = |field: &str| binding["roleRef"][field].as_str().unwrap();
        read(&["get", &name("kind").to_lowercase(), name("name")])
    });
    roles.flat_map(|role| role["rules"].as_array().unwrap().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_has_no_verb_that_no_test_below_takes_away() {
    let stage = stage("verbs").await;
    let mut verbs: Vec<String> = rules(stage.control_plane)
        .iter()
        .flat_map(|rule| {
            let resources = rule["resources"].as_array().unwrap().clone();
            let verbs = rule["verbs"].as_array().unwrap().clone();
            resources.into_iter().flat_map(move |r| {
                let resource = r.as_str().unwrap().to_owned();
                verbs.clone().into_iter().map(move |v| format!("{} {resource}", v.as_str().unwrap()))
            })
        })
        .collect();
    verbs.sort();
    assert_eq!(
        verbs,
        [
            "create events",
            "create leases",
            "delete instancedeletions",
            "get instancedeletions",
            "get leases",
            "get namespaces",
            "get secrets",
            "list deletionguards",
            "list instancedeletions",
            "patch events",
            "update instancedeletions/status",
            "update leases",
            "watch deletionguards",
            "watch instancedeletions",
        ]
    );
}

/// Without this verb, an object that would succeed never gets its first call.
async fn nothing_works_without(resource: &str, verb: &str, log: &str) {
    let stage = stage(&format!("without-{verb}")).await;
    let ids = instances(&stage, 1);
    let lesser = account_without(&stage, resource, verb);
    let controller = stage.controller_as(&lesser).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    until("the refusal is in the log", || controller.log().contains(log).then_some(()));
    assert!(condition(&stage.get("retire"), "Ready").1.is_empty());
    assert!(stage.calls().is_empty());
    controller.kill();
    // With the whole role it does.
    let _controller = stage.controller(&[]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_get_on_instancedeletions_nothing_is_read_live() {
    nothing_works_without("instancedeletions", "get", "the object was not read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_list_on_instancedeletions_nothing_is_found() {
    nothing_works_without("instancedeletions", "list", "the watch failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_update_on_the_status_nothing_is_sent() {
    nothing_works_without("instancedeletions/status", "update", "the status was not written").await;
}

/// Without this verb no replica becomes the leader.
async fn nobody_leads_without(verb: &str) {
    let stage = stage(&format!("no-lease-{verb}")).await;
    let lesser = account_without(&stage, "leases", verb);
    let controller = stage.controller_through(&lesser, &["--leader-elect", "true"]).unwrap();
    stage.apply(&Manifest::new("retire", &instances(&stage, 1))).unwrap();
    until("the refusal is in the log", || {
        controller.log().contains("leases.coordination.k8s.io").then_some(())
    });
    assert!(condition(&stage.get("retire"), "Ready").1.is_empty());
    assert!(stage.calls().is_empty());
    assert_eq!(controller.terminate(std::time::Duration::from_secs(20)).unwrap(), Some(0));
    // With the whole role it does.
    let _controller = stage.controller(&["--leader-elect", "true"]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_get_on_leases_nobody_leads() {
    nobody_leads_without("get").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_create_on_leases_nobody_leads() {
    nobody_leads_without("create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_update_on_leases_a_leader_ends_and_takes_no_other_lease() {
    let stage = stage("no-lease-update").await;
    let lesser = account_without(&stage, "leases", "update");
    let flags = ["--leader-elect", "true"];
    let controller = stage.controller_through(&lesser, &flags).unwrap();
    let log = until("it ends", || {
        let log = controller.log();
        log.contains("could not be renewed in time").then_some(log)
    });
    assert!(log.contains("leases.coordination.k8s.io"), "{log}");
    assert_eq!(controller.wait_exit(std::time::Duration::from_secs(20)).unwrap(), Some(1));
    // The Lease exists, and its holder has ended.
    let next = stage.controller_through(&lesser, &flags).unwrap();
    until("the refusal is in the log", || next.log().contains("leads=false").then_some(()));
    assert!(stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_list_on_instancedeletions_the_lease_is_left_to_others() {
    let stage = stage("no-list").await;
    let lesser = account_without(&stage, "instancedeletions", "list");
    let controller = stage.controller_through(&lesser, &["--leader-elect", "true"]).unwrap();
    until("the refusal is in the log", || controller.log().contains("can't be listed").then_some(()));
    assert!(!stage.kubectl(&["get", "leases", "-o", "name"]).unwrap().contains("instance-deletion"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_watch_on_instancedeletions_edits_are_not_seen() {
    let stage = stage("without-watch").await;
    let lesser = account_without(&stage, "instancedeletions", "watch");
    let controller = stage.controller_as(&lesser).unwrap();
    until("the refusal is in the log", || controller.log().contains("the watch failed").then_some(()));
    assert!(controller.log().contains("forbidden"), "{}", controller.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_delete_on_instancedeletions_a_finished_object_stays() {
    let stage = stage("without-delete").await;
    let lesser = account_without(&stage, "instancedeletions", "delete");
    let controller = stage.controller_as(&lesser).unwrap();
    stage.apply(&Manifest::new("retire", &instances(&stage, 1)).with("ttlSecondsAfterFinished", 0)).unwrap();
    until("the refusal is in the log", || {
        controller.log().contains("the object was not deleted").then_some(())
    });
    assert_succeeded(&stage.get("retire"), 1);
    controller.kill();
    // With the whole role the object is deleted.
    let _controller = stage.controller(&[]).unwrap();
    until("the object is gone", || stage.kubectl(&["get", "idel", "retire"]).is_err().then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_get_on_secrets_the_object_says_so() {
    let stage = stage("without-secrets").await;
    let ids = instances(&stage, 1);
    let lesser = account_without(&stage, "secrets", "get");
    let _controller = stage.controller_as(&lesser).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let message = condition(&stage.wait_reason("retire", "SecretForbidden"), "Ready").2;
    assert!(message.contains("may not read Secret clouddc; grant"), "{message}");
    assert!(stage.calls().is_empty());
}

/// A guard of the stage's namespace.
fn guard(stage: &Stage, mut spec: Value) {
    spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
    let guard = json!({"apiVersion": "clouddc.dev/v1alpha1", "kind": "DeletionGuard",
                       "metadata": {"name": stage.namespace}, "spec": spec});
    let output = stage.kubectl_in(&["apply", "-f", "-"], &guard.to_string()).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
}

/// Without this verb the guards, or what they select by, can't be read, so that nothing is sent.
async fn no_guard_is_known_without(resource: &str, verb: &str, what: &str) {
    let stage = stage(&format!("no-{resource}")).await;
    guard(&stage, json!({"maxInstanceIDs": 5_000}));
    let lesser = account_without(&stage, resource, verb);
    let controller = stage.controller_as(&lesser).unwrap();
    stage.apply(&Manifest::new("retire", &instances(&stage, 1))).unwrap();
    let message = condition(&stage.wait_reason("retire", "GuardUnreadable"), "Ready").2;
    assert!(message.contains(what) && message.contains("grant the controller's ServiceAccount"), "{message}");
    assert!(stage.calls().is_empty());
    controller.kill();
    // With the whole role it does.
    let _controller = stage.controller(&[]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_list_on_deletionguards_nothing_is_sent() {
    no_guard_is_known_without("deletionguards", "list", "the guards can't be read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_get_on_namespaces_nothing_is_sent_where_a_guard_selects_by_labels() {
    no_guard_is_known_without("namespaces", "get", "the labels of the namespace").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_watch_on_deletionguards_the_log_says_so_and_the_guards_count_all_the_same() {
    let stage = stage("no-guard-watch").await;
    let lesser = account_without(&stage, "deletionguards", "watch");
    let controller = stage.controller_as(&lesser).unwrap();
    until("the refusal is in the log", || {
        controller.log().contains("the watch of the guards failed").then_some(())
    });
    let ids = instances(&stage, 2);
    stage.apply(&Manifest::new("retire", &ids).with("suspend", true)).unwrap();
    stage.wait_reason("retire", "Suspended");
    // By its name, which admission does not know.
    guard(&stage, json!({"protected": {"names": ["db-*"]}}));
    assert!(stage.cloud.change_facts(harness::PROJECT, &ids[0], |facts| "db-7".clone_into(&mut facts.name)));
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(object["status"]["instances"][0]["reason"], "Protected");
    assert_eq!(object["status"]["instances"][1]["phase"], "Terminated");
}

fn events(stage: &Stage, reason: &str) -> Vec<Value> {
    let all = stage.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    all["items"].as_array().unwrap().iter().filter(|e| e["reason"] == reason).cloned().collect()
}

/// Suspends an object twice: the first event counts the second time.
fn suspend_twice(stage: &Stage, name: &str) {
    for suspend in [true, false, true, false] {
        stage.patch(name, &json!({"suspend": suspend})).unwrap();
        stage.wait(name, "seen", |o| o["status"]["observedGeneration"] == o["metadata"]["generation"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_create_on_events_nothing_is_told_and_the_work_goes_on() {
    let stage = stage("without-create").await;
    let lesser = account_without(&stage, "events", "create");
    let controller = stage.controller_as(&lesser).unwrap();
    stage.apply(&Manifest::new("retire", &instances(&stage, 1))).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
    assert!(events(&stage, "Succeeded").is_empty());
    controller.kill();
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("again", &instances(&stage, 1))).unwrap();
    until("the end is told", || events(&stage, "Succeeded").pop());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_patch_on_events_a_repetition_is_not_counted() {
    let stage = stage("without-patch").await;
    // An object that waits, because the cloud refuses its project.
    stage.kubectl(&["delete", "secret", "clouddc"]).unwrap();
    let counted = |name: &str| {
        let of = |e: &Value| e["regarding"]["name"] == name;
        events(&stage, "Suspended").into_iter().find(of).map(|e| e["series"]["count"].clone())
    };
    let lesser = account_without(&stage, "events", "patch");
    let controller = stage.controller_as(&lesser).unwrap();
    stage.apply(&Manifest::new("lesser", &instances(&stage, 1))).unwrap();
    suspend_twice(&stage, "lesser");
    // Events are written in order: a later one exists.
    stage.apply(&Manifest::new("later", &instances(&stage, 1)).with("suspend", true)).unwrap();
    until("a later event is told", || counted("later"));
    assert_eq!(counted("lesser"), Some(Value::Null));
    controller.kill();
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("whole", &instances(&stage, 1))).unwrap();
    suspend_twice(&stage, "whole");
    until("the repetition is counted", || counted("whole").filter(|c| c.as_u64() >= Some(2)));
}
