//! What a controller finds when it starts, and a quota that other clients use up.

use clouddc_simulator::{Entry, Fault, Operation, Stage as Moment};
use harness::{Manifest, condition, until};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Rule, Watching, behind_gateway, lists},
    support::{assert_succeeded, each_once, instances, options, sizes, stage, stage_with},
};

#[tokio::test(flavor = "multi_thread")]
async fn k10_a_list_that_was_overtaken_starts_nothing() {
    let stage = stage_with("overtaken", options()).await;
    let gateway = Gateway::start(&stage).await;
    let ids = instances(&stage, 3);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.apply(&Manifest::new("gone", &instances(&stage, 3))).unwrap();
    // The answer to the list holds the state of now and is delivered after the state has changed.
    let held = gateway.script(Rule::on(lists).times(1).hold());
    let _controller = stage.controller_through(&gateway.kubeconfig, &[]).unwrap();
    held.wait_hits(1);
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.kubectl(&["delete", "idel", "gone"]).unwrap();
    held.release();
    stage.wait_reason("retire", "Suspended");
    assert!(stage.calls().is_empty());
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 3);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k11_own_writes_that_the_watch_never_tells_are_built_upon() {
    let flags = ["--parallel-calls", "1", "--request-timeout", "60s"];
    let (stage, gateway, _controller) = behind_gateway("untold", &flags).await;
    let ids = instances(&stage, 120);
    let fault = Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect);
    let gate = stage.cloud.script(fault);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, std::time::Duration::from_mins(1)).await.unwrap();
    gateway.watching(Watching::Stall);
    gate.release();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
    assert_eq!(sizes(&stage.calls()), [50, 50, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn k24_many_objects_at_the_start_all_end_and_none_is_worked_on_twice() {
    let stage = stage("many").await;
    let ids = instances(&stage, 200);
    let objects: Vec<Value> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| Manifest::new(&format!("retire-{n}"), std::slice::from_ref(id)).value)
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let output = stage.kubectl_in(&["create", "-f", "-"], &list).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    let controller = stage.controller(&[]).unwrap();
    let phases = "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}";
    until("all have succeeded", || {
        let phases = stage.kubectl(&["get", "idel", "-o", phases]).ok()?;
        (phases.lines().filter(|phase| *phase == "Succeeded").count() == 200).then_some(())
    });
    each_once(&stage.calls(), &ids);
    let reads = |e: &Entry| e.operation != Operation::DeleteInstances;
    let reads = stage.cloud.log().into_iter().filter(reads).count();
    assert!(reads < 200, "{reads} reads: they are shared by objects");
    // After a restart the controller finds all objects finished and calls nothing.
    controller.kill();
    let requests = stage.cloud.log().len();
    let again = stage.controller(&[]).unwrap();
    until("it is ready", || again.log().contains("ready").then_some(()));
    stage.apply(&Manifest::new("last", &instances(&stage, 1)).with("suspend", true)).unwrap();
    stage.wait_reason("last", "Suspended");
    assert_eq!(stage.cloud.log().len(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn c28_a_quota_that_others_use_up_is_waited_for_and_said() {
    let stage = stage("quota").await;
    let ids = instances(&stage, 60);
    let fault = Fault::on(Operation::DeleteInstances).reply_error(429, "APIGW.0308", "throttled");
    let quota = stage.cloud.script(fault.header("retry-after", "1"));
    let _controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "Throttled");
    assert_eq!(object["status"]["phase"], "Throttled");
    until("it was refused again and again", || (quota.times_hit() >= 4).then_some(()));
    // An object that was suspended meanwhile sends nothing more.
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait_reason("retire", "Suspended");
    let refused = stage.calls().len();
    quota.remove();
    stage.wait("retire", "the regular look", |o| condition(o, "Ready").1 == "Suspended");
    assert_eq!(stage.calls().len(), refused);
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    let calls = stage.calls();
    each_once(&calls[refused..], &ids);
    assert!(calls[..refused].iter().all(|call| call.ids.len() == 50), "a refused batch stays whole");
    let attempts = |row: &Value| row.get("attempts").is_some();
    assert!(!object["status"]["instances"].as_array().unwrap().iter().any(attempts), "no attempt is used");
}
