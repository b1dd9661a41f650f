//! What docs/how-to/recover-from-a-disaster.md says of a restored etcd and of a cluster that moved.

use harness::{Manifest, condition, until};
use serde_json::{Value, json};

use super::{cluster, deployment, grant, install, run, stage, start};
use crate::support::{assert_succeeded, each_once, instances, sizes};

const NAME: &str = "instance-deletion-controller";

/// Restores an object from a backup: with the same name and its status of that time.
fn restore(stage: &harness::Stage, backup: &Value) {
    let name = backup["metadata"]["name"].as_str().unwrap();
    stage.kubectl(&["delete", "idel", name]).unwrap();
    let mut object = backup.clone();
    for own in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        object["metadata"].as_object_mut().unwrap().remove(own);
    }
    let put = |arguments: &[&str], object: &Value| {
        let output = stage.kubectl_in(arguments, &object.to_string()).unwrap();
        assert!(output.status.success(), "{}", output.stderr);
    };
    put(&["create", "-f", "-"], &object);
    put(&["replace", "--subresource=status", "-f", "-"], &object);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_nothing_is_sent_until_the_guard_that_holds_all_is_deleted_and_nothing_twice() {
    let (control_plane, _ends) = cluster();
    install(control_plane, "kubectl apply -k deploy/base");
    let deployment_then = deployment(control_plane, NAME);
    let namespace = control_plane.create_namespace("restored").unwrap();
    let stage = stage(control_plane, &namespace, &deployment_then).await;
    grant(control_plane, &namespace);
    let ended = instances(&stage, 60);
    let stopped = instances(&stage, 2);
    stage.apply(&Manifest::new("ended", &ended).with("suspend", true)).unwrap();
    stage.apply(&Manifest::new("stopped", &stopped).with("suspend", true)).unwrap();
    let controller = start(&stage, &deployment_then);
    let backups = ["ended", "stopped"].map(|name| {
        stage.wait_reason(name, "Suspended");
        let mut backup = stage.get(name);
        // As if it had not been suspended at the time of the backup.
        backup["spec"]["suspend"] = json!(false);
        backup
    });
    stage.patch("ended", &json!({"suspend": false})).unwrap();
    assert_succeeded(&stage.wait_finished("ended"), 60);
    controller.kill();

    // The objects are restored, past every policy. One guard holds them before anybody has looked.
    for backup in &backups {
        restore(&stage, backup);
    }
    run(control_plane, "kubectl apply -f deploy/examples/stop-everything.yaml");
    let controller = start(&stage, &deployment_then);
    for name in ["ended", "stopped"] {
        let message = condition(&stage.wait_reason(name, "Held"), "Ready").2;
        assert!(
            message.contains("stop-everything") && message.contains("ask it before you delete"),
            "{message}"
        );
    }
    let mut before = sizes(&stage.calls());
    // The calls of one wave leave in no order.
    before.sort_unstable();
    assert_eq!(before, [10, 50], "nothing but the calls of before");
    // What git applies meanwhile is refused.
    let new = Manifest::new("new", &stopped).text();
    until("a new object is refused", || {
        let tried = stage.kubectl_in(&["create", "--dry-run=server", "-f", "-"], &new).unwrap();
        tried.stderr.contains("DeletionGuard stop-everything holds all deletions").then_some(())
    });
    // The administrator deletes one object and releases the rest.
    stage.kubectl(&["delete", "idel", "stopped"]).unwrap();
    run(control_plane, "kubectl delete -f deploy/examples/stop-everything.yaml");
    assert_eq!(condition(&stage.wait_finished("ended"), "Finished").0, "True");
    each_once(&stage.calls(), &ended);
    controller.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_new_cluster_what_is_gone_counts_and_only_the_rest_is_deleted() {
    let ((old, _old), (new, _new)) = (cluster(), cluster());
    install(old, "kubectl apply -k deploy/base");
    install(new, "kubectl apply -k deploy/base");
    let account = deployment(old, NAME);
    let namespace = old.create_namespace("moved").unwrap();
    let first = stage(old, &namespace, &account).await;
    grant(old, &namespace);
    let ids = instances(&first, 60);
    let controller = start(&first, &account);
    first.apply(&Manifest::new("retire", &ids[..50])).unwrap();
    assert_succeeded(&first.wait_finished("retire"), 50);
    controller.kill();
    // The manifest from git with ten more ids and without a status, on the same cloud.
    let namespace = new.create_namespace("moved").unwrap();
    let second = stage(new, &namespace, &deployment(new, NAME)).await;
    grant(new, &namespace);
    let endpoint = format!("ap-southeast-3={}", first.cloud.url());
    let controller = second.controller(&["--endpoint", &endpoint]).unwrap();
    second.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = second.wait_finished("retire");
    assert_succeeded(&object, 60);
    assert_eq!(sizes(&first.calls()), [50, 10]);
    each_once(&first.calls(), &ids);
    assert!(second.calls().is_empty());
    controller.kill();
}
