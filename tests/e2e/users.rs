//! Actions of users during and after a deletion: suspend, plan, apply again, delete, create again.

use std::time::Duration;

use clouddc_simulator::{EndTime, Entry, Fault, Operation, Options, Stage as Moment};
use control_plane::Signal;
use harness::{Manifest, PROJECT, condition, until};
use serde_json::json;

use crate::{
    gateway::{Gateway, Rule, intents},
    support::{assert_succeeded, count, each_once, instances, options, sizes, stage, stage_with},
};

const SOON: Duration = Duration::from_mins(1);

fn reads(log: &[Entry]) -> usize {
    log.iter().filter(|e| e.operation != Operation::DeleteInstances && e.finished_ms.is_some()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_looked_at_suspended_deleted_by_hand_resumed() {
    let stage = stage_with("byhand", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 20);
    // The look is held: the object is suspended between the look and the call.
    let gate = stage.cloud.script(Fault::on(Operation::ListInstances).times(1).hold(Moment::AfterEffect));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait_reason("retire", "Suspended");
    gate.release();
    for id in &ids[..10] {
        stage.cloud.set_state(PROJECT, id, "shutting-down");
    }
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 20);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [10]);
    assert!(ids[..10].iter().all(|id| !calls[0].ids.contains(id)), "none of those is in a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_an_intent_is_not_sent_after_the_process_was_stopped_for_a_minute() {
    let stage = stage("stopped").await;
    let ids = instances(&stage, 20);
    // The API server stores the intent. Its answer is held until the process is stopped.
    let gateway = Gateway::start(&stage).await;
    let intent = gateway.script(Rule::on(intents).times(1).hold());
    let mut controller = stage.controller_as(&gateway.kubeconfig).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    intent.wait_hits(1);
    assert_eq!(count(&stage.get("retire"), "Submitted"), 20);
    controller.stop().unwrap();
    assert!(stage.calls().is_empty(), "stopped before the answer came");
    intent.release();
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    controller.signal(Signal::CONT).unwrap();
    stage.wait_reason("retire", "Suspended");
    assert!(stage.calls().is_empty(), "no call after the stop");
    // After the end of the suspension the controller looks at the ids again and sends them.
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 20);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn l08_after_the_end_there_is_silence() {
    let stage = stage("silence").await;
    let ids = instances(&stage, 60);
    let controller = stage.controller(&[]).unwrap();
    let manifest = Manifest::new("retire", &ids);
    stage.apply(&manifest).unwrap();
    let object = stage.wait_finished("retire");
    let version = object["metadata"]["resourceVersion"].clone();
    let requests = stage.cloud.log().len();
    stage.apply(&manifest).unwrap();
    controller.kill();
    let again = stage.controller(&[]).unwrap();
    // Another object shows that the new process has listed objects and works.
    let proof = |name: &str| {
        let gone = stage.cloud.fresh_ids(1);
        stage.apply(&Manifest::new(name, &gone)).unwrap();
        stage.wait_finished(name);
        gone
    };
    let mut proofs = proof("proof-1");
    again.kill();
    let _third = stage.controller(&[]).unwrap();
    proofs.extend(proof("proof-2"));
    let log = stage.cloud.log();
    let others = log[requests..].iter().filter(|e| e.ids.iter().any(|id| ids.contains(id))).count();
    assert_eq!(others, 0, "no cloud call for the finished object");
    assert_eq!(stage.get("retire")["metadata"]["resourceVersion"], version, "no write");
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_object_re_created_sends_nothing() {
    let stage = stage("again").await;
    let ids = instances(&stage, 120);
    let _controller = stage.controller(&[]).unwrap();
    let manifest = Manifest::new("retire", &ids);
    stage.apply(&manifest).unwrap();
    let first = stage.wait_finished("retire");
    stage.kubectl(&["delete", "idel", "retire"]).unwrap();
    stage.apply(&manifest).unwrap();
    let second = stage.wait("retire", "another one, finished", |object| {
        object["metadata"]["uid"] != first["metadata"]["uid"] && condition(object, "Finished").0 == "True"
    });
    assert_succeeded(&second, 120);
    each_once(&stage.calls(), &ids);
    assert_eq!(stage.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn k12_an_object_re_created_while_its_call_is_running() {
    let stage = stage_with("recreated", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 10);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let controller = stage.controller(&["--request-timeout", "60s"]).unwrap();
    let manifest = Manifest::new("retire", &ids);
    stage.apply(&manifest).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    stage.kubectl(&["delete", "idel", "retire"]).unwrap();
    stage.apply(&manifest).unwrap();
    stage.wait("retire", "seen anew", |object| condition(object, "Ready").1 == "Deleting");
    gate.release();
    let object = stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 10);
    assert!(object["status"]["batches"].as_array().is_none(), "the reply belongs to the old object");
    each_once(&stage.calls(), &ids);
    until("the reply is in the log", || controller.log().contains("recorded here only").then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_from_the_start_nothing_is_sent() {
    let stage = stage("suspended").await;
    let ids = instances(&stage, 10);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("suspend", true)).unwrap();
    let object = stage.wait_reason("retire", "Suspended");
    assert!(object["status"]["startTime"].is_null());
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 10);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn i05_suspended_while_a_call_is_running_its_reply_is_recorded() {
    let stage = stage("inflight").await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let _controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "60s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait_reason("retire", "Suspended");
    gate.release();
    // Looks go on during a suspension.
    let object = stage.wait("retire", "the first batch is gone", |o| count(o, "Terminated") == 50);
    assert_eq!(object["status"]["batches"][0]["returned"], 50);
    assert_eq!(sizes(&stage.calls()), [50]);
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    assert_eq!(sizes(&stage.calls()), [50, 50, 20]);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn i05_suspended_between_two_waves() {
    let stage = stage_with("waves", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).skip(1).hold(Moment::BeforeEffect));
    let _controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "60s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait_reason("retire", "Suspended");
    gate.remove();
    gate.release();
    stage.wait("retire", "two batches accepted", |object| count(object, "Accepted") == 100);
    let before = stage.cloud.log().len();
    stage.cloud.wait_log(|log| reads(&log[before..]) >= 5, SOON).await.unwrap();
    assert_eq!(sizes(&stage.calls()), [50, 50]);
    assert_eq!(count(&stage.get("retire"), "Pending"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_plans_and_sends_nothing_whatever_happens() {
    let stage = stage("plan").await;
    let ids = instances(&stage, 120);
    stage.cloud.set_state(PROJECT, &ids[0], "shutting-down");
    stage.cloud.set_state(PROJECT, &ids[1], "terminated");
    stage.cloud.remove(PROJECT, &ids[2]);
    stage.cloud.set_state(PROJECT, &ids[3], "quarantined");
    stage.cloud.script(Fault::on(Operation::ListInstances).times(1).drop_connection(Moment::BeforeEffect));
    let controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("dryRun", true)).unwrap();
    let object = stage.wait("retire", "planned", |object| object["status"]["phase"] == "Planned");
    let mut plan = object["status"]["plan"].clone();
    let rows = plan["instances"].take();
    let verdicts: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["verdict"].as_str()).collect();
    assert_eq!(
        verdicts[..3],
        [Some("Unreadable"), Some("NotFound"), None],
        "what needs attention comes first"
    );
    assert_eq!(verdicts[117..], [None, Some("OnItsWay"), Some("Terminated")]);
    let message =
        "Would delete 116 of 120 instances (1 on their way, 1 terminated, 1 not found, 1 unreadable)";
    assert_eq!(
        plan,
        json!({
            "total": 120, "toDelete": 116, "onTheirWay": 1, "terminated": 1, "notFound": 1, "unreadable": 1,
            "notAsExpected": 0, "protected": 0, "message": message, "instances": null,
        })
    );
    assert!(object["status"]["instances"].is_null(), "a plan writes no rows");
    controller.kill();
    let controller = stage.controller(&[]).unwrap();
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait("retire", "seen", |o| o["status"]["observedGeneration"] == o["metadata"]["generation"]);
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    let object = stage.wait("retire", "seen again", |o| {
        o["status"]["observedGeneration"] == o["metadata"]["generation"] && o["status"]["phase"] == "Planned"
    });
    assert_eq!(condition(&object, "Finished").0, "False");
    controller.kill();
    assert!(stage.calls().is_empty());
    // A plan can be turned into a deletion, which deletes the planned ids.
    stage.cloud.set_state(PROJECT, &ids[0], "terminated");
    stage.cloud.set_state(PROJECT, &ids[3], "stopped");
    let _controller = stage.controller(&[]).unwrap();
    stage.patch("retire", &json!({"dryRun": false})).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_a_deletion_with_foreground_propagation_starts_nothing_more() {
    let stage = stage("leaving").await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let _controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "60s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    stage.kubectl(&["delete", "idel", "retire", "--cascade=foreground", "--wait=false"]).unwrap();
    assert!(stage.get("retire")["metadata"]["deletionTimestamp"].is_string());
    gate.release();
    stage.wait("retire", "the reply is recorded", |o| o["status"]["batches"][0]["returned"] == 50);
    // Another object is deleted to its end meanwhile.
    let others = instances(&stage, 1);
    stage.apply(&Manifest::new("other", &others)).unwrap();
    stage.wait_finished("other");
    assert_eq!(sizes(&stage.calls()), [50, 1]);
}
