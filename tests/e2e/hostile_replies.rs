//! Replies that a sound cloud never sends: the outcome of a call is then unknown, a read tells nothing, and the controller's
//! memory stays small.

use std::time::Duration;

use clouddc_simulator::{EndTime, Entry, Operation};
use harness::{Controller, Manifest, Stage, condition};
use serde_json::{Value, json};

use crate::{
    cloud_front::{Front, Of, Spoilt},
    support::{assert_succeeded, each_once, instances, no_attempt_beyond_the_first, stage},
};

/// A deflate block of half a MiB that expands to half a GiB of spaces.
fn bomb() -> Vec<u8> {
    let head =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xec\xc1\x81\x00\x00\x00\x00\x80\x20\x95\xfd\x29\x17\xa9\x0a";
    [head.to_vec(), vec![0; 1 << 19]].concat()
}

fn other(status: u16, headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Spoilt {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Spoilt::Other(status, headers, body.into())
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// For each name: the reply, the reason of `Ready` after a read with this reply, and a part of its message.
fn replies(elsewhere: &Front) -> Vec<(&'static str, Spoilt, &'static str, &'static str)> {
    const UNREACHABLE: &str = "CloudUnreachable";
    const MISCONFIGURED: &str = "EndpointMisconfigured";
    let no_list = "a body that lists no instances";
    let location = format!("http://{}/v1", elsewhere.address);
    vec![
        ("drip", Spoilt::Trickle, UNREACHABLE, "no answer within"),
        ("endless", Spoilt::Endless, UNREACHABLE, "the reply is larger than"),
        (
            "bomb",
            other(202, &[JSON, ("Content-Encoding", "gzip")], bomb()),
            UNREACHABLE,
            "a body that is no text",
        ),
        ("text", other(202, &[("Content-Type", "text/plain")], r#"{"instances":[]}"#), UNREACHABLE, no_list),
        ("shape", other(202, &[JSON], r#"{"instances":"none"}"#), UNREACHABLE, no_list),
        (
            "latin",
            other(202, &[JSON], &b"{\"instances\":[{\"id\":\"\xff\"}]}"[..]),
            UNREACHABLE,
            "a body that is no text",
        ),
        (
            "page",
            other(202, &[("Content-Type", "text/html")], "<html>Welcome</html>"),
            MISCONFIGURED,
            "an HTML page",
        ),
        ("elsewhere", other(307, &[("Location", &location)], ""), MISCONFIGURED, "HTTP 307"),
    ]
}

/// Eight times the cap of a list reply, and far less than the replies without a cap.
const ROOM: u64 = 32 << 20;

/// A stage whose controller reaches the cloud through a front, and has completed one deletion without a fault.
async fn warmed_up(name: &str) -> (Stage, Front, Controller) {
    let stage = stage(name).await;
    let front = Front::plain(&stage, None).await;
    let endpoint = format!("ap-southeast-3=http://{}", front.address);
    let flags = ["--endpoint", &endpoint, "--parallel-calls", "1", "--request-timeout", "1s"];
    let controller = stage.controller(&flags).unwrap();
    let ids = instances(&stage, 60);
    stage.apply(&Manifest::new("warm", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("warm"), 60);
    (stage, front, controller)
}

fn calls_for(stage: &Stage, ids: &[String]) -> Vec<Entry> {
    stage.calls().into_iter().filter(|call| call.ids.iter().any(|id| ids.contains(id))).collect()
}

/// The batch of the first call in the status.
fn first_batch(object: &Value) -> &Value {
    object["status"]["batches"].as_array().unwrap().iter().find(|batch| batch["number"] == 1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_of_a_call_with_a_hostile_reply_nothing_is_believed_and_nothing_is_sent_again() {
    let (stage, front, controller) = warmed_up("hostilecalls").await;
    let elsewhere = Front::plain(&stage, None).await;
    let before = controller.peak_memory().unwrap();
    for (name, reply, ..) in replies(&elsewhere) {
        let ids = instances(&stage, 60);
        front.spoil(Of::Changes, 1, reply);
        stage.apply(&Manifest::new(name, &ids)).unwrap();
        let object = stage.wait_finished(name);
        assert_succeeded(&object, 60);
        let calls = calls_for(&stage, &ids);
        each_once(&calls, &ids);
        no_attempt_beyond_the_first(&object);
        let batch = first_batch(&object);
        assert!(batch["returned"].is_null(), "{name}: {batch}");
        assert_eq!(batch["requestID"], calls[0].request_id, "{name}: the head of the reply told it");
    }
    let peak = controller.peak_memory().unwrap();
    assert!(before > 0 && peak - before < ROOM, "from {before} to {peak} bytes");
    assert_eq!(elsewhere.requests(), 0, "nothing is sent to another host");
}

#[tokio::test(flavor = "multi_thread")]
async fn x29_of_a_power_off_with_a_hostile_reply_nothing_is_believed_and_nothing_is_sent_again() {
    let (stage, front, _controller) = warmed_up("hostilepower").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(300)));
    let elsewhere = Front::plain(&stage, None).await;
    for (name, reply, ..) in replies(&elsewhere) {
        let ids = instances(&stage, 60);
        front.spoil(Of::Changes, 1, reply);
        stage.apply(&Manifest::new(name, &ids).with("powerOff", json!({"when": "Always"}))).unwrap();
        let object = stage.wait_finished(name);
        assert_succeeded(&object, 60);
        assert!(ids.iter().all(|id| stage.powered().get(id) == Some(&1)), "{name}: each once");
        each_once(&calls_for(&stage, &ids), &ids);
        let batch = first_batch(&object);
        assert_eq!(batch["kind"], "PowerOff", "{name}");
        assert!(batch["returned"].is_null(), "{name}: {batch}");
    }
    assert_eq!(elsewhere.requests(), 0, "nothing is sent to another host");
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_read_with_a_hostile_reply_says_nothing_and_why() {
    let (stage, front, controller) = warmed_up("hostilereads").await;
    let elsewhere = Front::plain(&stage, None).await;
    let before = controller.peak_memory().unwrap();
    for (name, reply, reason, text) in replies(&elsewhere) {
        let ids = instances(&stage, 3);
        front.spoil(Of::Reads, usize::MAX, reply);
        stage.apply(&Manifest::new(name, &ids)).unwrap();
        let object = stage.wait_reason(name, reason);
        let message = condition(&object, "Ready").2;
        assert!(message.contains(text) && message.contains(", request "), "{name}: {message}");
        assert!(calls_for(&stage, &ids).is_empty(), "{name}: nothing is sent without a look");
        front.spoil(Of::Reads, 0, Spoilt::Trickle);
        let object = stage.wait_finished(name);
        assert_succeeded(&object, 3);
        each_once(&calls_for(&stage, &ids), &ids);
    }
    let peak = controller.peak_memory().unwrap();
    assert!(before > 0 && peak - before < ROOM, "from {before} to {peak} bytes");
    assert_eq!(elsewhere.requests(), 0, "nothing is sent to another host");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_says_which_version_makes_it_and_asks_for_plain_bodies() {
    let (stage, front, _controller) = warmed_up("useragent").await;
    let of = |operation| stage.cloud.calls(operation).len();
    assert!(of(Operation::DeleteInstances) > 0 && of(Operation::ListInstances) > 0);
    let agent = concat!("instance-deletion-controller/", env!("CARGO_PKG_VERSION"));
    assert_eq!(front.values("user-agent").into_iter().collect::<Vec<_>>(), [agent]);
    assert_eq!(front.values("accept-encoding").into_iter().collect::<Vec<_>>(), ["identity"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_the_cloud_is_in_the_record_and_in_what_a_refusal_says() {
    let (stage, _front, _controller) = warmed_up("requestid").await;
    let log = stage.calls();
    let object = stage.get("warm");
    let batches = object["status"]["batches"].as_array().unwrap();
    for call in &log {
        let recorded =
            batches.iter().any(|b| b["requestID"] == call.request_id && b["size"] == call.ids.len());
        assert!(recorded, "{} is in {batches:?}", call.request_id);
    }
    let refusal = clouddc_simulator::Fault::on(Operation::DeleteInstances).named("no");
    stage.cloud.script(refusal.reply_error(403, "iMetal.0004", "Insufficient permissions"));
    let ids = instances(&stage, 3);
    stage.apply(&Manifest::new("refused", &ids)).unwrap();
    let message = condition(&stage.wait_reason("refused", "Forbidden"), "Ready").2;
    let refused = stage.calls();
    let ids = refused.iter().filter(|call| call.fault.as_deref() == Some("no")).map(|call| &call.request_id);
    assert!(ids.clone().any(|id| message.contains(&format!("request {id}"))), "{message}");
}
