//! What people may do: the roles that `deploy/base` has for them, as the real authorizer reads them.

use harness::{Stage, until};
use serde_json::json;

use crate::support::stage;

const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];

/// What a user with this role in the stage's namespace may do with InstanceDeletions there.
fn may(stage: &Stage, role: &str) -> Vec<&'static str> {
    let allowed = |verb: &&str| {
        let user = format!("--as={role}");
        let can = ["auth", "can-i", verb, "instancedeletions.clouddc.dev", &user];
        stage.kubectl(&can).is_ok_and(|answer| answer.trim() == "yes")
    };
    VERBS.into_iter().filter(allowed).collect()
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
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_read_and_nobody_deletes_who_was_not_told_to() {
    let stage = stage("people").await;
    for role in ["view", "edit", "admin", "instance-deletion-deleter"] {
        bind(&stage, role);
        // The cluster's roles take up what is added to them, and the authorizer a new binding, a moment later.
        until(role, || may(&stage, role).contains(&"watch").then_some(()));
    }
    for role in ["view", "edit", "admin"] {
        assert_eq!(may(&stage, role), ["get", "list", "watch"], "{role}");
    }
    assert_eq!(may(&stage, "instance-deletion-deleter"), VERBS);
    let secrets = ["auth", "can-i", "get", "secrets", "--as=instance-deletion-deleter"];
    assert!(stage.kubectl(&secrets).is_err(), "credentials are used and not read");
    let status = ["auth", "can-i", "update", "instancedeletions/status", "--as=instance-deletion-deleter"];
    assert!(stage.kubectl(&status).is_err(), "the record is the controller's");
}
