//! Several controllers, each with some of the objects and a lease of its own.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use harness::{Controller, Manifest, PROJECT, Stage, until};
use serde_json::json;

use crate::{
    gateway::{Gateway, Watching},
    leader::{lease, replica, wait_leads},
    process::http_get,
    support::{assert_succeeded, count, each_once, instances, options, stage, stage_with},
};

const SOON: Duration = Duration::from_mins(1);

fn labelled(name: &str, ids: &[String], team: &str) -> Manifest {
    let mut manifest = Manifest::new(name, ids);
    manifest.value["metadata"]["labels"] = json!({"team": team});
    manifest
}

fn label(stage: &Stage, name: &str, team: &str) {
    stage.kubectl(&["label", "--overwrite", "idel", name, &format!("team={team}")]).unwrap();
}

/// Names of the objects that a controller has sent calls for, in order, with repetitions.
fn called_for(controller: &Controller) -> Vec<String> {
    let log = controller.log();
    let calls = log.lines().filter(|line| line.contains("sending a delete call"));
    let name = |line: &str| Some(line.split_once(" name=\"")?.1.split('"').next()?.to_owned());
    calls.filter_map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_work_side_by_side_each_on_its_own() {
    let stage = stage("shards").await;
    let (a, b) =
        (replica(&stage, &["--selector", "team=a"]), replica(&stage, &["--selector", "team notin (a)"]));
    wait_leads(&a);
    wait_leads(&b);
    let (held, other) = (lease(&stage, &a), lease(&stage, &b));
    assert_ne!(held["metadata"]["name"], other["metadata"]["name"]);
    assert_ne!(held["spec"]["holderIdentity"], other["spec"]["holderIdentity"]);
    let (of_a, of_b, of_none) = (instances(&stage, 120), instances(&stage, 60), instances(&stage, 1));
    stage.apply(&labelled("retire-a", &of_a, "a")).unwrap();
    stage.apply(&labelled("retire-b", &of_b, "b")).unwrap();
    stage.apply(&Manifest::new("retire-none", &of_none)).unwrap();
    assert_succeeded(&stage.wait_finished("retire-a"), 120);
    assert_succeeded(&stage.wait_finished("retire-b"), 60);
    assert_succeeded(&stage.wait_finished("retire-none"), 1);
    each_once(&stage.calls(), &[of_a, of_b, of_none].concat());
    assert_eq!(called_for(&a), ["retire-a"; 3]);
    let mut of_b = called_for(&b);
    of_b.sort();
    assert_eq!(of_b, ["retire-b", "retire-b", "retire-none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_moves_to_another_shard_in_the_middle_of_a_call_is_recorded_and_left() {
    let stage = stage("moved").await;
    let flags = |selector| ["--selector", selector, "--request-timeout", "60s"];
    let a = replica(&stage, &flags("team=a"));
    let b = replica(&stage, &flags("team=b"));
    wait_leads(&a);
    wait_leads(&b);
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    stage.apply(&labelled("retire", &ids, "a")).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    label(&stage, "retire", "b");
    // The other controller begins with ids that are not in that call.
    until("the other has called", || (!called_for(&b).is_empty()).then_some(()));
    gate.release();
    until("it is left", || a.log().contains("the labels no longer match").then_some(()));
    assert_eq!(
        stage.get("retire")["status"]["batches"][0]["returned"],
        50,
        "the one that called has recorded it"
    );
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
    assert_eq!(called_for(&a).len(), 1, "{}", a.log());
    // A drain has nothing to wait for.
    assert_eq!(a.terminate(Duration::from_secs(20)).unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_labels_are_read_live_before_each_call() {
    let stage = stage("unheardlabel").await;
    let gateway = Gateway::start(&stage).await;
    let flags = ["--selector", "team=a", "--request-timeout", "60s", "--parallel-calls", "1"];
    let controller = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    stage.apply(&labelled("retire", &ids, "a")).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    // From now on the watch delivers no events.
    gateway.watching(Watching::Stall);
    label(&stage, "retire", "b");
    gate.release();
    until("it is left", || controller.log().contains("the labels no longer match").then_some(()));
    assert_eq!(stage.get("retire")["status"]["batches"][0]["returned"], 50);
    assert_eq!(stage.calls().len(), 1);
    assert_eq!(controller.terminate(Duration::from_secs(20)).unwrap(), Some(0));
    assert_eq!(stage.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn k09_an_object_that_leaves_a_shard_and_comes_back_is_worked_on_again() {
    let stage = stage_with("returned", Options { end: EndTime::Never, ..options() }).await;
    let controller = stage.controller(&["--selector", "team=a"]).unwrap();
    let counts = |line: &str| {
        let metrics = http_get(controller.metrics(), "/metrics");
        metrics
            .lines()
            .any(|other| other == format!("instance_deletion_objects{{phase=\"Deleting\"}} {line}"))
    };
    let ids = instances(&stage, 2);
    stage.apply(&labelled("retire", &ids, "a")).unwrap();
    stage.wait("retire", "all are accepted", |object| count(object, "Accepted") == 2);
    // More than once: the second time, it is known that it has been away.
    for _ in 0..2 {
        label(&stage, "retire", "b");
        until("it is left", || counts("0").then_some(()));
        label(&stage, "retire", "a");
        until("it is worked on again", || counts("1").then_some(()));
    }
    label(&stage, "retire", "b");
    until("it is left", || counts("0").then_some(()));
    for id in &ids {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    label(&stage, "retire", "a");
    assert_succeeded(&stage.wait_finished("retire"), 2);
    each_once(&stage.calls(), &ids);
}
