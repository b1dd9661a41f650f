//! `hold` and `release`.

use std::time::{Duration, Instant};

use harness::{Manifest, until};
use serde_json::{Value, json};

use crate::support::{id, idel, same, set_status, stage, status};

fn hold_of(object: &Value) -> &Value {
    &object["metadata"]["annotations"]["clouddc.dev/hold"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_set_and_taken_away_under_a_manager_of_its_own() {
    let stage = stage("hold").await;
    stage.apply(&Manifest::new("retire", &[id(1)])).unwrap();
    let held = idel(&stage, &["hold", "retire", "--reason", "power works"]).good();
    assert_eq!(same(&stage, &held), "NS/retire held\n");
    assert_eq!(hold_of(&stage.get("retire")), "power works");
    let managers = stage.kubectl(&["get", "idel", "retire", "-o", "json", "--show-managed-fields"]).unwrap();
    let object: Value = serde_json::from_str(&managers).unwrap();
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["manager"] == "idel-hold" && entry["operation"] == "Apply"));

    // Applied again from git, it stays held.
    stage.apply(&Manifest::new("retire", &[id(1)])).unwrap();
    assert_eq!(hold_of(&stage.get("retire")), "power works");
    assert_eq!(idel(&stage, &["hold", "retire", "--reason", "longer"]).code, 0);
    assert_eq!(hold_of(&stage.get("retire")), "longer");

    assert_eq!(same(&stage, &idel(&stage, &["release", "retire"]).good()), "NS/retire released\n");
    assert_eq!(hold_of(&stage.get("retire")), &Value::Null);
    let said = idel(&stage, &["release", "retire"]);
    assert_eq!((said.code, said.err.as_str()), (0, "no object is held\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_someone_else_is_left_as_it_is() {
    let stage = stage("hold-other").await;
    stage.apply(&Manifest::new("retire", &[id(1)])).unwrap();
    stage
        .kubectl(&["annotate", "--field-manager=night-shift", "idel", "retire", "clouddc.dev/hold=fire"])
        .unwrap();
    let said = idel(&stage, &["hold", "retire", "--reason", "mine"]).good();
    assert_eq!(same(&stage, &said), "NS/retire is held already, by night-shift: fire\n");
    assert_eq!(hold_of(&stage.get("retire")), "fire");
    // Another person may release it.
    assert_eq!(idel(&stage, &["release", "retire"]).code, 0);
    assert_eq!(hold_of(&stage.get("retire")), &Value::Null);

    let git = ["annotate", "--field-manager=kustomize-controller", "idel", "retire", "clouddc.dev/hold=git"];
    stage.kubectl(&git).unwrap();
    let (code, err) = idel(&stage, &["release", "retire"]).failure();
    let expected = "error: NS/retire is held by git (kustomize-controller); remove the annotation clouddc.dev/hold there and commit\n";
    assert_eq!((code, same(&stage, &err).as_str()), (1, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_objects_are_held_at_once_and_those_that_have_ended_are_left_out() {
    let stage = stage("hold-all").await;
    let list: Vec<Value> = (0..101).map(|n| Manifest::new(&format!("retire-{n}"), &[id(n)]).value).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": list});
    let created = stage.kubectl_in(&["create", "-f", "-"], &list.to_string()).unwrap();
    assert!(created.status.success(), "{}", created.stderr);
    set_status(&stage, "retire-100", &status(1, "Succeeded", "AllTerminated", ""));
    let started = Instant::now();
    let said = idel(&stage, &["hold", "--all", "--reason", "stop"]).good();
    let took = started.elapsed();
    println!("figure: kubectl idel hold --all of 100 objects took {} ms", took.as_millis());
    assert_eq!(said.lines().count(), 100);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(hold_of(&stage.get("retire-100")), &Value::Null);
    assert_eq!(idel(&stage, &["release", "--all"]).good().lines().count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_deletion_sends_nothing_until_it_is_released() {
    let stage = stage("hold-run").await;
    let ids = stage.cloud.ids(harness::PROJECT, 3);
    stage.apply(&Manifest::new("retire", &ids).with("dryRun", true)).unwrap();
    let _controller = stage.controller(&[]).unwrap();
    stage.wait_reason("retire", "Planned");
    idel(&stage, &["hold", "retire", "--reason", "wait"]).good();
    assert_eq!(idel(&stage, &["start", "retire", "--yes"]).code, 0);
    stage.wait_reason("retire", "Suspended");
    assert!(stage.calls().is_empty());
    idel(&stage, &["release", "retire"]).good();
    stage.wait_finished("retire");
    until("one call", || (stage.calls().len() == 1).then_some(()));
}
