//! Faults of the API server's answers to reads and writes.

use std::time::Duration;

use clouddc_simulator::{Fault, Operation, Stage as Moment};
use harness::{Manifest, Stage, condition, until};

use crate::{
    gateway::{Rule, behind_gateway, events, gets, intents, outcomes, secrets, status_writes},
    support::{assert_succeeded, each_once, instances},
};

/// Deletes these ids, and asserts that each is in one call and that no attempt is counted twice.
fn each_in_one_call(stage: &Stage, ids: &[String]) {
    stage.apply(&Manifest::new("retire", ids)).unwrap();
    ends_with_one_call_each(stage, ids);
}

fn ends_with_one_call_each(stage: &Stage, ids: &[String]) {
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, ids.len());
    each_once(&stage.calls(), ids);
    let rows = object["status"]["instances"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["attempts"].is_null()), "only attempts above one are written");
    // No call without a stored intent, and no outcome is lost.
    let batches = object["status"]["batches"].as_array().unwrap();
    let returned: u64 = batches.iter().filter_map(|batch| batch["returned"].as_u64()).sum();
    assert_eq!(returned, ids.len() as u64, "{batches:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn k01_another_writer_comes_first_three_times_out_of_four() {
    let (stage, gateway, _controller) = behind_gateway("conflicts", &["--parallel-calls", "1"]).await;
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let often = move |asked: &_| {
        status_writes(asked) && turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 4 != 3
    };
    let conflicts = gateway.script(Rule::on(often).disturb());
    let ids = instances(&stage, 120);
    each_in_one_call(&stage, &ids);
    assert!(conflicts.hits() >= 9, "{} conflicts", conflicts.hits());
}

#[tokio::test(flavor = "multi_thread")]
async fn k02_the_reply_to_the_write_of_an_intent_is_lost() {
    let (stage, gateway, _controller) = behind_gateway("intentlost", &["--parallel-calls", "1"]).await;
    let first = gateway.script(Rule::on(intents).times(1).close());
    let third = gateway.script(Rule::on(intents).skip(1).times(1).close());
    let ids = instances(&stage, 120);
    each_in_one_call(&stage, &ids);
    assert_eq!((first.hits(), third.hits()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn k02_the_reply_to_the_write_of_an_outcome_is_lost() {
    let (stage, gateway, _controller) = behind_gateway("outcomelost", &["--parallel-calls", "1"]).await;
    let lost = gateway.script(Rule::on(outcomes).times(2).close());
    let ids = instances(&stage, 120);
    each_in_one_call(&stage, &ids);
    assert_eq!(lost.hits(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn k03_a_write_that_is_applied_and_answered_504() {
    let (stage, gateway, _controller) = behind_gateway("applied504", &["--parallel-calls", "1"]).await;
    let intent = gateway.script(Rule::on(intents).times(1).fail(504, &[]));
    let outcome = gateway.script(Rule::on(outcomes).times(1).fail(504, &[]));
    let ids = instances(&stage, 120);
    each_in_one_call(&stage, &ids);
    assert_eq!((intent.hits(), outcome.hits()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn k03_a_write_that_is_applied_and_answered_409_to_a_retry_below_the_client() {
    let (stage, gateway, _controller) = behind_gateway("applied409", &["--parallel-calls", "1"]).await;
    let intent = gateway.script(Rule::on(intents).times(1).twice());
    let outcome = gateway.script(Rule::on(outcomes).times(1).twice());
    let ids = instances(&stage, 120);
    each_in_one_call(&stage, &ids);
    assert_eq!((intent.hits(), outcome.hits()), (1, 1));
    let told = stage.kubectl(&["get", "events", "-o", "json"]).unwrap();
    assert!(!told.contains("\"Warning\""), "nothing to warn of: {told}");
}

/// Asserts that consecutive requests are at least this far apart.
fn apart(times: &[std::time::Instant], least: Duration) {
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= least, "{:?} apart", pair[1] - pair[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k04_an_api_server_that_throttles_writes_is_left_in_peace_as_long_as_it_says() {
    let (stage, gateway, _controller) = behind_gateway("throttledput", &[]).await;
    let throttled =
        gateway.script(Rule::on(status_writes).unsent().times(3).fail(429, &[("Retry-After", "2")]));
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    throttled.wait_hits(3);
    assert!(stage.calls().is_empty(), "no call while no record is possible");
    ends_with_one_call_each(&stage, &ids);
    let met: Vec<_> = gateway.asked().into_iter().filter(|a| a.met).map(|a| a.at).collect();
    apart(&met, Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn k04_an_api_server_that_throttles_reads_is_asked_less_and_less() {
    let (stage, gateway, _controller) =
        behind_gateway("throttledget", &["--retry-min", "200ms", "--retry-max", "1s"]).await;
    let throttled = gateway.script(Rule::on(gets).unsent().times(6).reply(429, &[], "Too many requests"));
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    throttled.wait_hits(6);
    assert!(stage.cloud.log().is_empty(), "what is not read is not worked on");
    ends_with_one_call_each(&stage, &ids);
    let met: Vec<_> = gateway.asked().into_iter().filter(|a| a.met).map(|a| a.at).collect();
    // With any jitter, the later waits are longer than the shortest possible one.
    apart(&met, Duration::from_millis(100));
    apart(&met[4..], Duration::from_millis(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn k05_no_call_before_its_intent_is_stored_whatever_the_api_server_answers() {
    let (stage, gateway, _controller) = behind_gateway("burst", &["--retry-max", "500ms"]).await;
    let mut rules = Vec::new();
    for code in [500, 502, 503] {
        rules.push(gateway.script(Rule::on(gets).unsent().times(2).fail(code, &[])));
    }
    let ids = instances(&stage, 60);
    for code in [500, 502, 503] {
        rules.push(gateway.script(Rule::on(intents).unsent().times(2).fail(code, &[])));
    }
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    for rule in &rules {
        until("refused or sent", || (rule.hits() >= 2 || !stage.calls().is_empty()).then_some(()));
        assert!(stage.calls().is_empty());
    }
    ends_with_one_call_each(&stage, &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k05_outcomes_are_kept_until_the_api_server_takes_them() {
    let (stage, gateway, _controller) = behind_gateway("kept", &["--retry-max", "500ms"]).await;
    // The second wave waits until the outcome of the first is stored.
    let refused = gateway.script(Rule::on(outcomes).unsent().times(5).fail(503, &[]));
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    refused.wait_hits(5);
    ends_with_one_call_each(&stage, &ids);
    let batches = stage.get("retire")["status"]["batches"].clone();
    assert_eq!((batches[0]["returned"].clone(), batches[1]["returned"].clone()), (50.into(), 10.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn k05_a_404_that_does_not_speak_of_the_object_does_not_mean_that_it_is_gone() {
    let (stage, gateway, _controller) = behind_gateway("notserved", &[]).await;
    let page = gateway.script(Rule::on(gets).unsent().times(1).reply(404, &[], "404 page not found\n"));
    let no_such_resource = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
        "message": "the server could not find the requested resource", "details": {}, "code": 404,
    });
    let no_such_resource = no_such_resource.to_string();
    let read = gateway.script(Rule::on(gets).unsent().skip(1).times(1).reply(404, &[], &no_such_resource));
    let write = gateway.script(Rule::on(outcomes).unsent().times(1).reply(404, &[], &no_such_resource));
    let ids = instances(&stage, 60);
    each_in_one_call(&stage, &ids);
    assert_eq!((page.hits(), read.hits(), write.hits()), (1, 1, 1));
    let batches = stage.get("retire")["status"]["batches"].clone();
    assert_eq!(batches[0]["returned"], 50, "the reply is not forgotten");
}

/// Requests of this kind are accepted and never answered: the client's deadline ends them.
async fn unanswered(name: &str, rule: Rule) {
    let (stage, gateway, _controller) = behind_gateway(name, &[]).await;
    let rule = gateway.script(rule.times(1).hang());
    let ids = instances(&stage, 60);
    each_in_one_call(&stage, &ids);
    assert_eq!(rule.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn k06_no_answer_to_the_write_of_an_intent() {
    unanswered("hangintent", Rule::on(intents)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k06_no_answer_to_the_write_of_an_outcome() {
    unanswered("hangoutcome", Rule::on(outcomes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k06_no_answer_to_a_read_of_the_object() {
    unanswered("hangget", Rule::on(gets).unsent()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k06_no_answer_to_a_read_of_the_secret() {
    unanswered("hangsecret", Rule::on(secrets).unsent()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k05_an_api_server_that_does_not_answer_for_a_secret_is_not_told_as_a_cloud_that_does_not() {
    let (stage, gateway, _controller) = behind_gateway("secretunanswered", &[]).await;
    let failing = gateway.script(Rule::on(secrets).unsent().times(6).fail(503, &[]));
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "ApiServerUnavailable");
    let message = condition(&object, "Ready").2;
    assert!(message.contains("the API server does not answer for Secret"), "{message}");
    assert!(stage.cloud.log().is_empty());
    failing.wait_hits(6);
    ends_with_one_call_each(&stage, &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k22_an_object_that_waits_for_reads_writes_nothing() {
    let (stage, gateway, _controller) = behind_gateway("waits", &[]).await;
    let fault = Fault::on(Operation::ListInstances).reply_error(503, "APIGW.0613", "down");
    let fault = stage.cloud.script(fault);
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait_reason("retire", "CloudUnreachable");
    let (writes, told) = (gateway.count(status_writes), gateway.count(events));
    let before = fault.times_hit();
    fault.wait_hit(before + 5, Duration::from_mins(1)).await.unwrap();
    assert!(gateway.count(status_writes) <= writes + 1, "{:?}", gateway.count(status_writes));
    assert!(gateway.count(events) <= told + 1);
    fault.remove();
    ends_with_one_call_each(&stage, &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k22_a_call_that_fails_again_and_again_costs_two_writes_and_no_more() {
    let (stage, gateway, _controller) = behind_gateway("failsoften", &["--settle", "200ms"]).await;
    // A different fault each time: reasons and messages change, and nothing else.
    for (number, status) in [500, 502, 503, 504, 500, 503].into_iter().enumerate() {
        let message = format!("trouble {number}");
        let fault =
            Fault::on(Operation::DeleteInstances).times(1).reply_error(status, "APIGW.0613", &message);
        stage.cloud.script(fault);
    }
    let ids = instances(&stage, 20);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    let calls = stage.calls().len();
    assert_eq!(calls, 7, "six that failed and one");
    // Writes: the first, an intent and an outcome for each call, the state that says what it waits for, and ends.
    let writes = gateway.count(status_writes);
    assert!(writes <= 3 * calls + 4, "{writes} writes for {calls} calls");
    assert!(gateway.count(events) <= 3 * calls + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn k22_conflicts_are_no_reason_for_events() {
    let (stage, gateway, _controller) = behind_gateway("quiet", &[]).await;
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let conflicts = gateway.script(Rule::on(status_writes).times(8).disturb());
    let ids = instances(&stage, 20);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, Duration::from_mins(1)).await.unwrap();
    gate.release();
    ends_with_one_call_each(&stage, &ids);
    assert_eq!(conflicts.hits(), 8);
    assert_eq!(condition(&stage.get("retire"), "Ready").0, "True");
    assert!(gateway.count(events) <= 4, "{} events", gateway.count(events));
}
