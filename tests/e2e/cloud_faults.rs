//! Replies of the cloud that tell nothing about the outcome of a call, or that can't be true.
//!
//! The right outcome is about ids: an id that the call reached is never sent again. An id that it did not reach is looked
//! at first and then sent once more.

use std::time::Duration;

use clouddc_simulator::{EndTime, Entry, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, PROJECT, Stage, condition};
use serde_json::{Value, json};

use crate::{
    cloud_front::{Front, Of, Spoilt},
    support::{
        assert_succeeded, count, each_once, instances, named, no_attempt_beyond_the_first, options, sizes,
        stage, stage_with,
    },
};

const SOON: Duration = Duration::from_mins(1);

fn on_delete() -> Fault {
    Fault::on(Operation::DeleteInstances).times(1)
}

/// Asserts that between two calls with the same id, a look at it began after the first call ended.
fn looked_at_before_each_repeat(log: &[Entry]) {
    let calls: Vec<_> = log.iter().filter(|e| e.operation == Operation::DeleteInstances).collect();
    for (number, later) in calls.iter().enumerate() {
        for earlier in &calls[..number] {
            for id in later.ids.iter().filter(|id| earlier.ids.contains(id)) {
                let ended = earlier.finished_ms.unwrap();
                let look = |e: &&Entry| {
                    e.operation != Operation::DeleteInstances
                        && e.received_ms >= ended
                        && e.received_ms <= later.received_ms
                        && e.ids.contains(id)
                };
                assert!(log.iter().find(look).is_some(), "{id} was sent again without a look");
            }
        }
    }
}

/// Deletes 60 ids. The first call takes effect and gets this reply.
async fn with_effect(name: &str, reply: Fault) -> (Stage, Value) {
    let stage = stage(name).await;
    let ids = instances(&stage, 60);
    let fault = stage.cloud.script(reply.times(1).apply_effect());
    let _controller = stage.controller(&["--parallel-calls", "1", "--settle", "400ms"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    assert_eq!(fault.times_hit(), 1);
    each_once(&stage.calls(), &ids);
    no_attempt_beyond_the_first(&object);
    (stage, object)
}

/// Deletes 60 ids. The first call has no effect and gets this reply.
async fn without_effect(name: &str, reply: Fault) {
    let stage = stage(name).await;
    let ids = instances(&stage, 60);
    stage.cloud.script(reply.times(1));
    let _controller = stage.controller(&["--parallel-calls", "1", "--settle", "400ms"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    let named = named(&stage.calls());
    assert!(ids[..50].iter().all(|id| named[id] == 2) && ids[50..].iter().all(|id| named[id] == 1));
    looked_at_before_each_repeat(&stage.cloud.log());
    no_attempt_beyond_the_first(&object);
}

#[tokio::test(flavor = "multi_thread")]
async fn c08_500_after_the_effect() {
    with_effect("after500", on_delete().reply_error(500, "iMetal.0099", "Internal server error")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c08_500_before_the_effect() {
    without_effect("before500", on_delete().reply_error(500, "iMetal.0099", "Internal server error")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_502_503_504_after_the_effect() {
    for status in [502, 503, 504] {
        let reply = on_delete().reply(status, "text/html", "<html>gateway</html>");
        with_effect(&format!("after{status}"), reply).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_502_503_504_before_the_effect() {
    for status in [502, 503, 504] {
        without_effect(&format!("before{status}"), on_delete().reply_error(status, "APIGW.0613", "down"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c10_a_port_that_is_closed_just_before_the_call() {
    let stage = stage_with("refused", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 20);
    let mut front = Front::plain(&stage, None).await;
    let gate = stage.cloud.script(Fault::on(Operation::ListInstances).times(1).hold(Moment::AfterEffect));
    let endpoint = format!("ap-southeast-3=http://{}", front.address);
    let _controller = stage.controller(&["--endpoint", &endpoint]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    front.close().await;
    gate.release();
    let object = stage.wait_reason("retire", "CloudUnreachable");
    assert_eq!(count(&object, "Failed"), 0);
    assert!(stage.calls().is_empty());
    let _front = Front::plain(&stage, Some(front.address)).await;
    let object = stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 20);
    each_once(&stage.calls(), &ids);
    no_attempt_beyond_the_first(&object);
}

#[tokio::test(flavor = "multi_thread")]
async fn c12_a_reply_that_comes_after_the_deadline_is_nothing() {
    let stage = stage("late").await;
    let ids = instances(&stage, 60);
    let gate = stage.cloud.script(on_delete().hold(Moment::AfterEffect));
    let flags = ["--parallel-calls", "1", "--request-timeout", "1s", "--settle", "400ms"];
    let _controller = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    // The first call ends at its deadline without an answer, and the second is sent.
    stage
        .cloud
        .wait_log(|log| log.iter().filter(|e| e.ids.len() == 10 && e.applied).count() == 1, SOON)
        .await
        .unwrap();
    assert_eq!(gate.held(), 1, "still not answered");
    gate.release();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    each_once(&stage.calls(), &ids);
    no_attempt_beyond_the_first(&object);
}

#[tokio::test(flavor = "multi_thread")]
async fn c13_a_reply_that_comes_byte_by_byte_ends_with_the_deadline() {
    let stage = stage("trickle").await;
    let ids = instances(&stage, 60);
    let front = Front::plain(&stage, None).await;
    front.spoil(Of::Changes, 1, Spoilt::Trickle);
    let endpoint = format!("ap-southeast-3=http://{}", front.address);
    let flags = ["--endpoint", &endpoint, "--parallel-calls", "1", "--request-timeout", "1s"];
    let _controller = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    each_once(&stage.calls(), &ids);
    no_attempt_beyond_the_first(&object);
}

fn listed(ids: &[String]) -> Value {
    json!({"instances": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn c15_ids_that_nobody_asked_for_are_left_alone() {
    let stage = stage("foreign").await;
    let ids = instances(&stage, 20);
    let others = instances(&stage, 2);
    stage.cloud.script(on_delete().add_id(&others[0]).add_id(&others[1]));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    each_once(&stage.calls(), &ids);
    assert!(others.iter().all(|id| stage.cloud.state(PROJECT, id).unwrap() == "running"));
    assert!(stage.cloud.log().iter().all(|e| others.iter().all(|id| !e.ids.contains(id))), "nor read");
    harness::until("one warning", || {
        let events = stage.kubectl(&["get", "events", "-o", "json"]).ok()?;
        (events.matches("\"ForeignInstances\"").count() == 1).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn c16_ids_that_the_reply_lists_twice_count_once() {
    let stage = stage("double").await;
    let ids = instances(&stage, 20);
    let double = [&ids[..], &ids[..]].concat();
    stage.cloud.script(on_delete().reply_json(202, &listed(&double)).apply_effect());
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    each_once(&stage.calls(), &ids);
    assert_eq!(object["status"]["batches"][0]["returned"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn c17_ids_spelt_otherwise_are_found_by_a_look() {
    let stage = stage("spelling").await;
    let ids = instances(&stage, 20);
    let mut spelt: Vec<_> = ids[..10].iter().map(|id| id.to_uppercase()).collect();
    spelt.extend(ids[10..].iter().map(|id| format!(" {id} ")));
    stage.cloud.script(on_delete().reply_json(202, &listed(&spelt)).apply_effect());
    let _controller = stage.controller(&["--settle", "400ms"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    each_once(&stage.calls(), &ids);
    let rows = object["status"]["instances"].as_array().unwrap();
    assert!(rows.iter().zip(&ids).all(|(row, id)| row["id"] == **id), "as the spec spells them");
}

#[tokio::test(flavor = "multi_thread")]
async fn c18_a_202_without_a_body_is_no_acceptance() {
    let (_, object) = with_effect("empty", on_delete().reply(202, "application/json", "")).await;
    assert!(object["status"]["batches"][0]["returned"].is_null(), "nothing was returned");
    without_effect("emptynot", on_delete().reply(202, "application/json", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c19_a_202_that_is_cut_short_is_no_acceptance() {
    let cut = r#"{"instances":[{"id":"0198170e-4ca7-7ee4-89a7-fa6318439"#;
    let (_, object) = with_effect("cut", on_delete().reply(202, "application/json", cut)).await;
    assert!(object["status"]["batches"][0]["returned"].is_null());
    without_effect("cutnot", on_delete().reply(202, "application/json", cut)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c20_a_page_is_no_answer_whatever_its_status() {
    let page = "<html><body>Welcome to the proxy, token stage-token-0123456789</body></html>";
    for status in [200, 503] {
        let name = format!("page{status}");
        let (stage, object) = with_effect(&name, on_delete().reply(status, "text/html", page)).await;
        assert!(!object.to_string().contains("Welcome"), "no body in the status");
        let events = stage.kubectl(&["get", "events", "-o", "json"]).unwrap();
        assert!(!events.contains("Welcome") && !events.contains("stage-token"));
    }
    without_effect("pagenot", on_delete().reply(200, "text/html", page)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_401_to_a_call_uses_no_attempt() {
    let stage = stage("call401").await;
    let ids = instances(&stage, 20);
    stage.cloud.script(on_delete().reply_error(401, "APIGW.0307", "The token must be updated"));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 0)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    assert_eq!(sizes(&stage.calls()), [20, 20]);
    no_attempt_beyond_the_first(&object);
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_a_403_to_a_call_uses_no_attempt_and_is_tried_slowly() {
    let stage = stage("call403").await;
    let ids = instances(&stage, 20);
    let refusal = Fault::on(Operation::DeleteInstances).times(2);
    stage.cloud.script(refusal.reply_error(403, "iMetal.0004", "no permission"));
    let _controller = stage.controller(&["--retry-max", "2s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 0)).unwrap();
    stage.wait_reason("retire", "Forbidden");
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [20, 20, 20]);
    assert!(
        calls.windows(2).all(|pair| pair[1].received_ms - pair[0].received_ms >= 2000),
        "--retry-max apart"
    );
    no_attempt_beyond_the_first(&object);
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_whatever_retry_after_says_the_batch_stays_whole() {
    let stage = stage("retryafter").await;
    let ids = instances(&stage, 60);
    for value in ["-1", "soon", "Tue, 24 Nov 2020 12:00:00 GMT", "", "1"] {
        let refusal = on_delete().reply_error(429, "iMetal.0005", "Too many requests");
        stage.cloud.script(refusal.header("Retry-After", value));
    }
    let _controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 0)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [50, 50, 50, 50, 50, 50, 10]);
    assert!(calls[..6].iter().all(|call| call.ids == ids[..50]));
    assert!(calls[5].received_ms - calls[4].received_ms >= 1000, "as long as it asks for");
    no_attempt_beyond_the_first(&object);
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_an_absurd_wait_stops_calls_and_is_said() {
    let stage = stage("absurd").await;
    let ids = instances(&stage, 20);
    let refusal = on_delete().reply_error(429, "iMetal.0005", "Too many requests");
    stage.cloud.script(refusal.header("Retry-After", "99999999999999999999"));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    // A value that is not a number is ignored.
    assert_succeeded(&object, 20);
    assert_eq!(condition(&object, "Ready").0, "True");
    assert_eq!(sizes(&stage.calls()), [20, 20]);
}
