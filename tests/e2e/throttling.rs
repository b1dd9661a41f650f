//! A cloud that throttles: the controller waits as long as the reply asks, and delays no other account.

use std::time::Duration;

use clouddc_simulator::{
    AccessKey, EndTime, Entry, Fault, Operation, Options, Projects, RateLimit, RetryAfter, Stage as Moment,
    ThrottleBody,
};
use harness::{Manifest, Stage, condition};
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::{Value, json};

use crate::support::{assert_succeeded, count, each_once, instances, options, sizes, stage, stage_with};

const SOON: Duration = Duration::from_mins(1);
const MESSAGE: &str =
    "The throttling threshold has been reached: policy user over ratelimit,limit:50,time:2 second";

fn refusal() -> Fault {
    Fault::on(Operation::DeleteInstances).reply_error(429, "iMetal.0005", "Too many requests")
}

fn text(content_type: &str, body: &str) -> Fault {
    Fault::on(Operation::DeleteInstances).reply(429, content_type, body)
}

fn date(at: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
}

/// Deletes 50 ids, with this refusal of the first call. Returns both calls.
fn refused_once(stage: &Stage, name: &str, fault: Fault) -> [Entry; 2] {
    let ids = instances(stage, 50);
    let before = stage.calls().len();
    stage.cloud.script(fault.times(1));
    stage.apply(&Manifest::new(name, &ids).with("backoffLimitPerInstance", 0)).unwrap();
    let object = stage.wait_finished(name);
    assert_succeeded(&object, 50);
    let rows = object["status"]["instances"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["attempts"].is_null()), "{name}: no attempt is used");
    let calls = stage.calls().split_off(before);
    assert_eq!(sizes(&calls), [50, 50], "{name}: the batch stays whole");
    assert!(calls.iter().all(|call| call.ids == ids), "{name}");
    assert_eq!((calls[0].status, calls[1].status), (Some(429), Some(202)), "{name}");
    calls.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_no_call_leaves_before_the_wait_that_was_asked_for_is_over() {
    let stage = stage("asked").await;
    let _controller = stage.controller(&["--retry-max", "1m"]).unwrap();
    let forms = [
        ("seconds", refusal().header("Retry-After", "2")),
        ("message", Fault::on(Operation::DeleteInstances).reply_error(429, "APIGW.0308", MESSAGE)),
        // The header is not valid, so the message counts.
        (
            "both",
            Fault::on(Operation::DeleteInstances)
                .reply_error(429, "APIGW.0308", MESSAGE)
                .header("Retry-After", "86401"),
        ),
        ("json-string", text("application/json", &json!(MESSAGE).to_string())),
        ("plain-text", text("text/plain", MESSAGE)),
    ];
    for (name, fault) in forms {
        let [refused, later] = refused_once(&stage, name, fault);
        let waited = later.received_ms - refused.finished_ms.unwrap();
        assert!(waited >= 2000, "{name}: {waited} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_no_call_leaves_before_the_date_that_was_asked_for() {
    let stage = stage("date").await;
    let _controller = stage.controller(&["--retry-max", "1m"]).unwrap();
    // The cloud's clock is right, an hour behind, an hour ahead. A date in a reply is of that clock.
    for (name, offset) in [("right", 0), ("slow", -3600), ("fast", 3600)] {
        stage.cloud.set_clock_offset(offset);
        let open = Timestamp::from_second(Timestamp::now().as_second() + 6).unwrap();
        let by_its_clock = Timestamp::from_second(open.as_second() + offset).unwrap();
        let [_, later] = refused_once(&stage, name, refusal().header("Retry-After", date(by_its_clock)));
        assert!(later.received_unix_ms >= u64::try_from(open.as_millisecond()).unwrap(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_a_refusal_without_a_wait_that_makes_sense_is_followed_by_another_try() {
    let stage = stage("nonsense").await;
    let _controller = stage.controller(&[]).unwrap();
    let forms = [
        ("absent", refusal()),
        ("negative", refusal().header("Retry-After", "-1")),
        ("absurd", refusal().header("Retry-After", "1000000000000000000")),
        ("no-number", refusal().header("Retry-After", "99999999999999999999")),
        ("year-9999", refusal().header("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")),
        ("past", refusal().header("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")),
        ("word", refusal().header("Retry-After", "soon")),
        ("empty", refusal().header("Retry-After", "")),
        ("string", text("application/json", "\"Too many requests\"")),
        ("plain", text("text/plain", "Too many requests")),
        ("page", text("text/html", "<html><body>429 Too Many Requests</body></html>")),
        ("nothing", text("application/json", "")),
        ("fortnight", text("text/plain", "limit:1,time:1 fortnight")),
        ("eternity", text("text/plain", "limit:1,time:99999999999 hours")),
    ];
    for (name, fault) in forms {
        refused_once(&stage, name, fault);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_a_limit_that_a_refusal_states_is_kept() {
    let limit = RateLimit::fixed(2, Duration::from_secs(10)).body(ThrottleBody::Apigw);
    let stage = stage_with("stated", Options { delete_limit: Some(limit), ..options() }).await;
    let ids = instances(&stage, 250);
    let _controller = stage.controller(&["--parallel-calls", "1", "--retry-max", "1m"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 250);
    let refused: Vec<_> = stage.calls().iter().map(|call| call.status == Some(429)).collect();
    assert_eq!(refused, [false, false, true, false, false, false], "one refusal tells");
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_a_window_that_the_controller_filled_is_waited_for_from_its_first_calls_on() {
    let window = Duration::from_secs(16);
    let limit = RateLimit::fixed(4, window).body(ThrottleBody::Apigw);
    let stage = stage_with("filled", Options { delete_limit: Some(limit), ..options() }).await;
    let ids = instances(&stage, 300);
    let flags = ["--parallel-calls", "1", "--retry-max", "1m", "--delete-rate", "0.5"];
    let _controller = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 300);
    let calls = stage.calls();
    let refused: Vec<_> = calls.iter().map(|call| call.status == Some(429)).collect();
    assert_eq!(refused, [false, false, false, false, true, false, false]);
    let after = |call: usize| Duration::from_millis(calls[5].received_ms - calls[call].received_ms);
    assert!(after(0) >= window, "{:?} after the first call", after(0));
    assert!(after(4) < window, "{:?} after the refusal, half a window of it for nothing", after(4));
}

fn unix(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<Timestamp>().unwrap().as_second()
}

#[tokio::test(flavor = "multi_thread")]
async fn c28_it_is_said_when_it_goes_on_and_suspended_meanwhile_nothing_is_sent_after() {
    let stage = stage("goeson").await;
    let ids = instances(&stage, 60);
    stage.cloud.script(refusal().header("Retry-After", "8").times(1));
    let flags = ["--poll-max", "1s", "--retry-max", "1m", "--parallel-calls", "1"];
    let _controller = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "Throttled");
    assert_eq!(object["status"]["phase"], "Throttled");
    let message = condition(&object, "Ready").2;
    assert!(message.contains("iMetal.0005") && message.contains("slows down and goes on"), "{message}");
    let next = unix(&object["status"]["nextActionTime"]);
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    stage.wait_reason("retire", "Suspended");
    assert_eq!(sizes(&stage.calls()), [50], "suspended before the gate opened");
    // The call of another object shows when calls are allowed again.
    let others = instances(&stage, 1);
    stage.apply(&Manifest::new("other", &others)).unwrap();
    assert_succeeded(&stage.wait_finished("other"), 1);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [50, 1]);
    let waited = calls[1].received_ms - calls[0].finished_ms.unwrap();
    assert!(waited >= 8000, "{waited} ms: the gate is the account's");
    let said = next - i64::try_from(calls[0].received_unix_ms / 1000).unwrap();
    assert!((7..=60).contains(&said), "nextActionTime lies {said} s after the call that was refused");
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [50, 1, 50, 10]);
    assert_eq!(calls[0].ids, calls[2].ids, "the batch is whole");
    each_once(&calls[1..], &[others, ids].concat());
    assert!(object["status"]["nextActionTime"].is_null());
}

fn secret(stage: &Stage, name: &str, data: &Value) {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let output = stage.kubectl_in(&["create", "-f", "-"], &secret.to_string()).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
}

fn of_secret(name: &str, ids: &[String], secret: &str) -> Manifest {
    Manifest::new(name, ids).with("credentialsSecretRef", json!({"name": secret}))
}

/// Number of delete calls with this token or key.
fn calls_of(stage: &Stage, label: &str) -> usize {
    stage.calls().iter().filter(|call| call.token.as_deref() == Some(label)).count()
}

/// Allows one call an hour for each user. A refusal says how many seconds remain.
fn one_an_hour() -> Options {
    let limit = RateLimit::fixed(1, Duration::from_hours(1)).retry_after(RetryAfter::Exact);
    Options { delete_limit: Some(limit), ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_a_throttled_account_slows_no_other_and_holds_no_place_that_another_needs() {
    let stage = stage_with("twousers", one_an_hour()).await;
    stage.cloud.add_token("second", "second-token", Projects::All);
    secret(&stage, "second", &json!({"token": "second-token"}));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("first", &instances(&stage, 60))).unwrap();
    stage.wait_reason("first", "Throttled");
    let refused = calls_of(&stage, "user");
    let goes_on = |name: &str| unix(&stage.wait_reason(name, "Throttled")["status"]["nextActionTime"]);
    let opens = goes_on("first");
    let last = stage.calls().pop().unwrap();
    let asked = opens - i64::try_from(last.received_unix_ms / 1000).unwrap();
    assert!((3_500..=3_601).contains(&asked), "it says when the gate opens: in {asked} s");
    // More objects than are loaded at once wait for the same account. None has stored an intent, and each says until when it waits.
    let waiting: Vec<_> = (0..12).map(|n| (format!("waits-{n}"), instances(&stage, 1))).collect();
    for (name, ids) in &waiting {
        stage.apply(&Manifest::new(name, ids)).unwrap();
    }
    for (name, _) in &waiting {
        let apart = goes_on(name) - opens;
        assert!(apart.abs() <= 1, "{name} says a time {apart} s from that of the object that was refused");
    }
    let ids = instances(&stage, 50);
    stage.apply(&of_secret("second", &ids, "second")).unwrap();
    assert_succeeded(&stage.wait_finished("second"), 50);
    assert_eq!((calls_of(&stage, "second"), calls_of(&stage, "user")), (1, refused));
    for (name, _) in &waiting {
        let object = stage.get(name);
        assert_eq!((count(&object, "Submitted"), &object["status"]["batches"]), (0, &Value::Null), "{name}");
    }
    let all: Vec<_> = waiting.iter().flat_map(|(_, ids)| ids.clone()).collect();
    let read = |entry: &Entry| entry.ids.iter().any(|id| all.contains(id));
    assert!(!stage.cloud.log().iter().any(read), "nobody looks while nobody may call");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_of_one_identity_share_its_budget() {
    const KEY: &str = "AKIDOFTHEFLEET000001";
    let stage = stage_with("onekey", one_an_hour()).await;
    stage.cloud.add_access_key(AccessKey::new("key", KEY, "sk-of-the-fleet", Projects::All));
    for name in ["one", "two"] {
        secret(&stage, name, &json!({"accessKeyID": KEY, "secretAccessKey": "sk-of-the-fleet"}));
    }
    let _controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
    stage.apply(&of_secret("one", &instances(&stage, 60), "one")).unwrap();
    stage.wait_reason("one", "Throttled");
    assert_eq!(calls_of(&stage, "key"), 2, "one granted, one refused");
    let ids = instances(&stage, 1);
    stage.apply(&of_secret("two", &ids, "two")).unwrap();
    stage.wait_reason("two", "Throttled");
    // An object of another account goes on meanwhile. Its end shows that time has passed.
    stage.apply(&Manifest::new("other", &instances(&stage, 1))).unwrap();
    assert_succeeded(&stage.wait_finished("other"), 1);
    assert_eq!(calls_of(&stage, "key"), 2, "nothing is sent with the other Secret of the key");
    assert_eq!(count(&stage.get("two"), "Submitted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_slow_account_take_turns() {
    let stage = stage_with("turns", Options { end: EndTime::Never, ..options() }).await;
    let objects = ["a", "b", "c"].map(|name| (name, instances(&stage, 200)));
    // The first call is held until each object has asked for a call: from then on all are in the queue.
    let held = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::BeforeEffect));
    let _controller = stage.controller(&["--delete-rate", "1", "--request-timeout", "60s"]).unwrap();
    for (name, ids) in &objects {
        stage.apply(&Manifest::new(name, ids)).unwrap();
    }
    let owner = |call: &Entry| objects.iter().position(|(_, ids)| ids.contains(&call.ids[0])).unwrap();
    let each_called = |log: &[Entry]| {
        let calls = log.iter().filter(|e| e.operation == Operation::DeleteInstances);
        calls.map(owner).collect::<std::collections::HashSet<_>>().len() == 3
    };
    stage.cloud.wait_log(each_called, SOON).await.unwrap();
    held.release();
    for (name, _) in &objects {
        stage.wait(name, "all accepted", |object| count(object, "Accepted") == 200);
    }
    let order: Vec<_> = stage.calls().iter().map(owner).collect();
    assert_eq!(order.len(), 12, "{order:?}");
    let made = |calls: &[usize], object| calls.iter().filter(|owner| **owner == object).count();
    let begun = (0..12).find(|n| (0..3).all(|object| order[..*n].contains(&object))).unwrap();
    for n in begun..12 {
        let waiting = (0..3).filter(|object| made(&order[..n], *object) < 4);
        for (object, other) in waiting.flat_map(|object| (0..3).map(move |other| (object, other))) {
            let calls = |object| made(&order[begun..n], object);
            assert!(calls(other) <= calls(object) + 1, "{other} passed {object} twice: {order:?}");
        }
    }
}
