//! Deletions without faults, of one id to five thousand.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, PROJECT, condition, until};
use serde_json::Value;

use crate::support::{assert_succeeded, count, each_once, instances, options, sizes, stage, stage_with};

async fn delete(n: usize, expected: &[usize]) {
    let stage = stage(&format!("delete{n}")).await;
    let ids = instances(&stage, n);
    let history = stage.history().unwrap();
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, n);
    let calls = stage.calls();
    // The calls of a wave leave together, in any order.
    let mut sizes = sizes(&calls);
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(sizes, expected);
    each_once(&calls, &ids);
    let versions = until("the last version is seen", || {
        let versions = history.of("retire");
        let last = versions.last()?;
        (last["metadata"]["resourceVersion"] == object["metadata"]["resourceVersion"]).then_some(versions)
    });
    waves_are_recorded_before_the_next(&versions);
}

/// The version that stores the intent of a wave records every id that the cloud returned for an earlier wave as accepted.
/// Rows only go forward.
fn waves_are_recorded_before_the_next(versions: &[Value]) {
    let rank = |phase: &str| match phase {
        "" | "Pending" => 0,
        "Submitted" => 1,
        "Accepted" => 2,
        _ => 3,
    };
    let batches = |v: &Value| v["status"]["batches"].as_array().cloned().unwrap_or_default();
    let rows = |v: &Value| v["status"]["instances"].as_array().cloned().unwrap_or_default();
    for pair in versions.windows(2) {
        for (before, after) in rows(&pair[0]).iter().zip(&rows(&pair[1])) {
            let rank = |row: &Value| rank(row["phase"].as_str().unwrap());
            assert!(rank(before) <= rank(after), "{before} {after}");
        }
        let (before, after) = (batches(&pair[0]), batches(&pair[1]));
        if after.len() > before.len() {
            let (earlier, new) = after.split_at(before.len());
            let claim = &new[0]["claim"];
            assert!(new.iter().all(|b| b["claim"] == *claim), "one claim for a wave");
            assert!(earlier.iter().all(|b| b["returned"] == b["size"]), "{earlier:?}");
            assert!(earlier.iter().all(|b| b["claim"] != *claim));
            let numbers: Vec<_> = earlier.iter().map(|b| &b["number"]).collect();
            for row in rows(&pair[1]).iter().filter(|row| numbers.contains(&&row["batch"])) {
                assert!(rank(row["phase"].as_str().unwrap()) >= 2, "{row}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_is_one_call() {
    delete(1, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_ids_are_one_call() {
    delete(50, &[50]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_one_ids_are_two_calls() {
    delete(51, &[50, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_twenty_ids_are_three_calls() {
    let stage = stage("delete120").await;
    let ids = instances(&stage, 120);
    // One call at a time: the calls are in the order of the log.
    let _controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    assert_eq!(sizes(&stage.calls()), [50, 50, 20]);
    let sent: Vec<_> = stage.calls().into_iter().flat_map(|call| call.ids).collect();
    assert_eq!(sent, ids, "in the order of the spec");
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_the_intent_is_stored_before_the_call_and_returned_ids_before_the_next() {
    let stage = stage("ahead").await;
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).hold(Moment::BeforeEffect));
    let _controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "60s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    for (call, (named, accepted)) in [(50, 0), (50, 50), (20, 100)].into_iter().enumerate() {
        gate.wait_hit(call as u64 + 1, Duration::from_mins(1)).await.unwrap();
        gate.wait_held(1, Duration::from_mins(1)).await.unwrap();
        let object = stage.get("retire");
        assert_eq!(count(&object, "Submitted"), named, "call {call} is held: its ids are submitted");
        assert_eq!(count(&object, "Accepted") + count(&object, "Terminated"), accepted);
        let held = stage.calls().pop().unwrap();
        let rows = object["status"]["instances"].as_array().unwrap();
        for row in rows.iter().filter(|row| row["phase"] == "Submitted") {
            assert!(held.ids.iter().any(|id| row["id"] == **id));
            assert_eq!(row["batch"], call + 1);
        }
        gate.release_some(1);
    }
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_ids_applied_client_side_stay_below_one_mebibyte() {
    let stage = stage("delete5000").await;
    let ids = instances(&stage, 5000);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 5000);
    let calls = stage.calls();
    assert_eq!(calls.len(), 100);
    assert!(sizes(&calls).iter().all(|size| *size == 50));
    each_once(&calls, &ids);
    let applied = &object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert!(applied.as_str().unwrap().len() > 5000 * 38, "applied client-side");
    let stored = stage.kubectl(&["get", "--raw", &path(&stage, "retire")]).unwrap().len();
    println!("the finished object of 5000 ids takes {stored} bytes");
    assert!(stored < 1_048_576, "{stored}");
}

fn path(stage: &harness::Stage, name: &str) -> String {
    format!("/apis/clouddc.dev/v1alpha1/namespaces/{}/instancedeletions/{name}", stage.namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_found_is_said_and_nothing_is_sent() {
    let stage = stage("nothing").await;
    let ids = stage.cloud.fresh_ids(60);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    let (status, reason, message) = condition(&object, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "NothingFound"));
    assert!(message.starts_with("None of 60 ids is known in project"), "{message}");
    assert!(stage.calls().is_empty());
    let events = until("the warning is told", || {
        let events = stage.kubectl(&["get", "events", "-o", "json"]).ok()?;
        events.contains("NothingFound").then_some(events)
    });
    assert!(events.contains("Check region and project"));
}

#[tokio::test(flavor = "multi_thread")]
async fn x18_what_was_seen_on_its_way_and_is_gone_was_known_also_to_a_successor() {
    let stage = stage_with("seen", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 3);
    for id in &ids {
        stage.cloud.set_state(PROJECT, id, "shutting-down");
    }
    let controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait("retire", "all seen on their way", |object| count(object, "Accepted") == 3);
    drop(controller);
    for id in &ids {
        stage.cloud.remove(PROJECT, id);
    }
    let _successor = stage.controller(&[]).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(count(&object, "NotFound"), 3);
    assert_eq!(condition(&object, "Ready").1, "AllTerminated");
    let message = condition(&object, "Ready").2;
    assert_eq!(message, "All 3 instances are gone, 3 of them not found at the cloud");
    assert!(stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_objects_that_name_the_same_ids_send_each_once() {
    let stage = stage("twins").await;
    let ids = instances(&stage, 50);
    let _controller = stage.controller(&[]).unwrap();
    let both = format!("{}\n{}", Manifest::new("first", &ids).text(), Manifest::new("second", &ids).text());
    let applied = stage.kubectl_in(&["apply", "-f", "-"], &both).unwrap();
    assert!(applied.status.success(), "{}", applied.stderr);
    assert_succeeded(&stage.wait_finished("first"), 50);
    assert_succeeded(&stage.wait_finished("second"), 50);
    each_once(&stage.calls(), &ids);
}

/// Number of status writes until 500 instances are accepted, with this many parallel calls.
async fn writes_until_accepted(parallel: &str) -> usize {
    let stage = stage_with(&format!("writes-{parallel}"), Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 500);
    // Calls take as long as at a real cloud.
    let slow = Fault::on(Operation::DeleteInstances).delay_before(Duration::from_millis(400));
    let _ = stage.cloud.script(slow);
    let history = stage.history().unwrap();
    let _controller = stage.controller(&["--parallel-calls", parallel]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let accepted = stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 500);
    each_once(&stage.calls(), &ids);
    let version = &accepted["metadata"]["resourceVersion"];
    let versions = until("the watch has told it", || {
        let versions = history.of("retire");
        versions.iter().any(|v| v["metadata"]["resourceVersion"] == *version).then_some(versions)
    });
    // The first version is the user's. It is counted in place of the last one.
    versions.iter().take_while(|v| v["metadata"]["resourceVersion"] != *version).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_the_status_are_few_and_fewer_with_parallel_calls() {
    let (one, four) = (writes_until_accepted("1").await, writes_until_accepted("4").await);
    assert!(one <= 500 / 50 + 2, "{one} writes for 10 calls");
    assert!(four < one, "{four} writes with four calls at once, {one} with one");
    println!("figure: writes of the status for 500 ids: {one} with one call at a time, {four} with four");
}
