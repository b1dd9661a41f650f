//! The roles that `deploy/base` has for users.

use std::collections::BTreeSet;

use harness::{Stage, until};
use serde_json::{Value, json};

use crate::support::stage;

const READ: [&str; 3] = ["get", "list", "watch"];
const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// What a user with this role in the stage's namespace may do with InstanceDeletions there, by the real authorizer.
fn may(stage: &Stage, role: &str) -> Vec<&'static str> {
    let allowed = |verb: &&str| can(stage, role, &[verb, "instancedeletions.clouddc.dev"]);
    VERBS.into_iter().filter(allowed).collect()
}

fn can(stage: &Stage, user: &str, what: &[&str]) -> bool {
    let user = format!("--as={user}");
    let output = stage.kubectl_in(&[&["auth", "can-i", &user], what].concat(), "").unwrap();
    let said = output.stdout.trim();
    assert!(["yes", "no"].contains(&said), "{}", output.stderr);
    said == "yes"
}

fn bind(stage: &Stage, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}],
    });
    let output = stage.kubectl_in(&["create", "-f", "-"], &binding.to_string()).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    // The authorizer learns of it with a delay.
    until(role, || may(stage, role).contains(&"watch").then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_read_and_deleters_delete_and_learn_no_secret() {
    let stage = stage("people").await;
    for (role, verbs) in [("instance-deletion-viewer", &READ[..]), ("instance-deletion-deleter", &VERBS)] {
        bind(&stage, role);
        assert_eq!(may(&stage, role), verbs, "{role}");
        let status = ["update", "instancedeletions.clouddc.dev", "--subresource=status"];
        for what in [&["get", "secrets"][..], &status] {
            assert!(!can(&stage, role, what), "{role}: {what:?}");
        }
    }
}

/// The verbs on a resource of a role with those of all roles that are aggregated to it. The controller that aggregates
/// roles does not run here, so this follows the role's own selectors.
fn with_what_is_added(roles: &[Value], role: &Value, resource: &str) -> BTreeSet<String> {
    let mut verbs = BTreeSet::new();
    let has = |rule: &Value, list: &str, what: &str| {
        rule[list].as_array().is_some_and(|all| all.iter().any(|v| v == what || v == "*"))
    };
    for rule in role["rules"].as_array().into_iter().flatten() {
        if has(rule, "apiGroups", "clouddc.dev") && has(rule, "resources", resource) {
            verbs.extend(rule["verbs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()));
        }
    }
    for selector in role["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
        let labels = selector["matchLabels"].as_object().unwrap();
        let selected = |other: &&Value| labels.iter().all(|(k, v)| &other["metadata"]["labels"][k] == v);
        for other in roles.iter().filter(selected) {
            verbs.extend(with_what_is_added(roles, other, resource));
        }
    }
    verbs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_of_a_namespace_reads_and_an_editor_deletes_nothing() {
    let stage = stage("editors").await;
    let roles: Value =
        serde_json::from_str(&stage.kubectl(&["get", "clusterroles", "-o", "json"]).unwrap()).unwrap();
    let roles = roles["items"].as_array().unwrap();
    for name in ["view", "edit", "admin"] {
        let role = roles.iter().find(|role| role["metadata"]["name"] == name).unwrap();
        for resource in ["instancedeletions", "deletionguards"] {
            let verbs = with_what_is_added(roles, role, resource);
            assert_eq!(verbs, READ.map(str::to_owned).into(), "{name}: {resource}");
        }
    }
}

/// Guards are of the cluster: a RoleBinding grants nothing on them.
#[tokio::test(flavor = "multi_thread")]
async fn guards_are_written_by_whom_the_editors_role_is_bound_to_and_by_nobody_else() {
    let stage = stage("guards").await;
    let of_guards = |user: &str| -> Vec<&str> {
        let allowed = |verb: &&str| can(&stage, user, &[verb, "deletionguards.clouddc.dev"]);
        VERBS.into_iter().filter(allowed).collect()
    };
    let controller = "system:serviceaccount:clouddc-system:instance-deletion-controller";
    assert_eq!(of_guards(controller), ["list", "watch"]);
    assert!(of_guards("anybody").is_empty());
    bind(&stage, "instance-deletion-deleter");
    assert!(of_guards("instance-deletion-deleter").is_empty());
    let roles = ["deletion-guard-viewer", "deletion-guard-editor"];
    let bindings: Value = serde_json::from_str(
        &stage.kubectl(&["get", "clusterrolebindings,rolebindings", "-A", "-o", "json"]).unwrap(),
    )
    .unwrap();
    let bound = |binding: &Value| roles.iter().any(|role| binding["roleRef"]["name"] == *role);
    assert!(!bindings["items"].as_array().unwrap().iter().any(bound), "bound from the start");
    for (role, verbs) in roles.into_iter().zip([&READ[..], &VERBS]) {
        let user = format!("{}-{role}", stage.namespace);
        let binding = ["create", "clusterrolebinding", &user, "--clusterrole", role, "--user", &user];
        stage.kubectl(&binding).unwrap();
        until(role, || of_guards(&user).contains(&"watch").then_some(()));
        assert_eq!(of_guards(&user), verbs, "{role}");
        stage.kubectl(&["delete", "clusterrolebinding", &user]).unwrap();
    }
}
