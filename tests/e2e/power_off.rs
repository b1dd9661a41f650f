//! Power off first: `spec.powerOff` against a cloud whose servers have power.

use std::{collections::HashMap, time::Duration};

use clouddc_simulator::{EndTime, Entry, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, PROJECT, Stage, condition, until};
use serde_json::{Value, json};

use crate::{
    checks::Guard,
    support::{
        assert_monotone, assert_succeeded, count, each_once, instances, options, phase_of, sizes, stage,
        stage_with,
    },
};

/// Long enough for a test to do something in the middle of it.
const SOAK: Duration = Duration::from_secs(12);

fn always(ids: &[String], soak: Duration) -> Manifest {
    Manifest::new("retire", ids).with("powerOff", json!({"when": "Always", "soakSeconds": soak.as_secs()}))
}

fn if_refused(ids: &[String]) -> Manifest {
    Manifest::new("retire", ids).with("powerOff", json!({"when": "IfRefused"}))
}

fn row<'a>(object: &'a Value, id: &str) -> &'a Value {
    let rows = object["status"]["instances"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == id).unwrap()
}

/// When a delete call that named each id arrived, in milliseconds of the cloud.
fn deleted_at(stage: &Stage) -> HashMap<String, u64> {
    let of_call = |call: Entry| call.ids.into_iter().map(move |id| (id, call.received_ms));
    stage.calls().into_iter().flat_map(of_call).collect()
}

/// When each instance went off, in milliseconds of the cloud.
fn off_at(stage: &Stage) -> HashMap<String, u64> {
    let courses = stage.cloud.power_courses(PROJECT).into_iter();
    let off = courses.filter_map(|course| Some((course.instance?, course.changed?)));
    off.map(|(id, at)| (id, u64::try_from(at.as_millis()).unwrap())).collect()
}

/// Asserts that each of these ids was off for the soak before it was deleted.
fn assert_soaked(stage: &Stage, ids: &[String], soak: Duration) {
    let (off, deleted) = (off_at(stage), deleted_at(stage));
    // The record of it has whole seconds.
    let least = u64::try_from(soak.as_millis()).unwrap() - 1_000;
    for id in ids {
        let (off, deleted) = (off[id], deleted[id]);
        assert!(deleted >= off + least, "{id} was off from {off} ms, and deleted at {deleted} ms");
    }
}

fn soaking(object: &Value) -> bool {
    object["status"]["phase"] == "Soaking"
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_each_machine_is_off_for_the_soak_before_it_is_deleted() {
    let stage =
        stage_with("soak", Options { power_end: EndTime::Fixed(Duration::from_millis(300)), ..options() })
            .await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 120);
    for id in &ids[110..] {
        assert!(stage.cloud.power_off(PROJECT, id));
    }
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&always(&ids, SOAK)).unwrap();
    let object = stage.wait("retire", "all soak", soaking);
    assert_eq!(
        (&object["status"]["summary"]["poweredOff"], count(&object, "PoweredOff")),
        (&json!(120), 120)
    );
    let (_, reason, message) = condition(&object, "Ready");
    assert_eq!(reason, "Soaking");
    assert!(message.contains("120 powered off; each is deleted when it has been off for 12 s"), "{message}");
    assert_eq!(condition(&object, "Reconciling").1, "Soaking");
    assert!(object["status"]["nextActionTime"].is_string());
    assert!(row(&object, &ids[0])["poweredOffAt"].is_string());
    assert_eq!(
        (row(&object, &ids[0])["batch"].is_null(), row(&object, &ids[119])["batch"].is_null()),
        (false, true)
    );
    assert_eq!(object["status"]["batches"][0]["kind"], "PowerOff");
    assert!(stage.calls().is_empty());
    assert_succeeded(&stage.wait_finished("retire"), 120);
    assert_soaked(&stage, &ids[..110], SOAK);
    each_once(&stage.calls(), &ids);
    // The calls of a wave leave in no order.
    let sorted = |calls: &[Entry]| {
        let mut sizes = sizes(calls);
        sizes.sort_unstable();
        sizes
    };
    assert_eq!((sorted(&stage.power_calls()), sorted(&stage.calls())), (vec![10, 50, 50], vec![20, 50, 50]));
    assert!(ids[..110].iter().all(|id| stage.powered().get(id) == Some(&1)));
    assert!(ids[110..].iter().all(|id| !stage.powered().contains_key(id)), "what is off is not powered off");
    assert_monotone(&history.of("retire"));
    let rows = stage.get("retire")["status"]["instances"].to_string();
    assert!(!rows.contains("poweredOffAt"), "what is gone says no more since when it was off");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_operator_who_powers_a_machine_on_again_keeps_it() {
    let stage = stage("veto").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(200)));
    let ids = instances(&stage, 5);
    let _controller = stage.controller(&["--poll-max", "1s"]).unwrap();
    stage.apply(&always(&ids, SOAK)).unwrap();
    stage.wait("retire", "all soak", soaking);
    assert!(stage.cloud.power_on(PROJECT, &ids[3]));
    let object = stage.wait("retire", "the veto", |object| phase_of(object, &ids[3]) == "Failed");
    assert_eq!(row(&object, &ids[3])["reason"], "PoweredOnAgain");
    assert!(soaking(&object), "the others go on");
    // Off again: it stays vetoed.
    assert!(stage.cloud.power_off(PROJECT, &ids[3]));
    let object = stage.wait_finished("retire");
    assert_eq!((condition(&object, "Ready").1.as_str(), count(&object, "Terminated")), ("Failed", 4));
    let others: Vec<String> = ids.iter().filter(|id| **id != ids[3]).cloned().collect();
    each_once(&stage.calls(), &others);
    assert_eq!(stage.power(&ids[3]).0, "stopped");
    let told = until("the event", || {
        let events = stage.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).unwrap();
        let events: Value = serde_json::from_str(&events).unwrap();
        let events = events["items"].as_array().unwrap().clone();
        events.into_iter().find(|event| event["reason"] == "PoweredOnAgain")
    });
    assert_eq!(told["type"], "Warning");
    assert!(told["note"].as_str().unwrap().contains(&ids[3]), "{told}");
}

async fn refused(name: &str, refusals_named: bool) {
    let options = Options { running_deletable: false, refusals_named, ..options() };
    let stage = stage_with(name, options).await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(200)));
    let ids = instances(&stage, 10);
    for id in &ids[4..7] {
        assert!(stage.cloud.power_off(PROJECT, id));
    }
    for id in &ids[7..] {
        stage.cloud.set_state(PROJECT, id, "error");
    }
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&if_refused(&ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 10);
    let running: Vec<String> = ids[..4].to_vec();
    let powered = stage.powered();
    assert_eq!(powered.len(), 4, "{powered:?}");
    assert!(running.iter().all(|id| powered.get(id) == Some(&1)));
    let rows = object["status"]["instances"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["attempts"].is_null()), "a refusal for the state uses no attempt");
    let accepted: Vec<Entry> = stage.calls().into_iter().filter(|call| call.applied).collect();
    each_once(&accepted, &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_mixed_list_is_deleted_where_the_cloud_refuses_running_instances() {
    refused("refusedrunning", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_also_if_the_refusal_names_none() {
    refused("refusedunnamed", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_without_power_off_they_end_in_conflict() {
    let stage = stage_with("refusedplain", Options { running_deletable: false, ..options() }).await;
    let ids = instances(&stage, 2);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 1)).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(row(&object, &ids[0])["reason"], "Conflict");
    assert!(stage.power_calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_machine_that_does_not_go_off_is_not_deleted() {
    let stage = stage("stays-on").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(200)));
    let ids = instances(&stage, 3);
    assert!(stage.cloud.fail_power_offs(PROJECT, &ids[1], 10));
    assert!(stage.cloud.fail_power_offs(PROJECT, &ids[2], 1));
    let _controller = stage.controller(&["--settle", "300ms"]).unwrap();
    stage.apply(&always(&ids, Duration::ZERO).with("backoffLimitPerInstance", 1)).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(row(&object, &ids[1])["reason"], "PowerOffFailed");
    assert_eq!((phase_of(&object, &ids[0]), phase_of(&object, &ids[2])), ("Terminated", "Terminated"));
    let powered = stage.powered();
    assert_eq!(ids.iter().map(|id| powered[id]).collect::<Vec<_>>(), [1, 2, 2]);
    assert_eq!(stage.power(&ids[1]).0, "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_killed_between_a_power_off_and_its_record() {
    let stage = stage("off-killed").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(200)));
    let history = stage.history().unwrap();
    let ids = instances(&stage, 60);
    let gate =
        stage.cloud.script(Fault::on(Operation::ChangeServerPowerState).times(1).hold(Moment::AfterEffect));
    let controller = stage.controller(&[]).unwrap();
    stage.apply(&always(&ids, SOAK)).unwrap();
    gate.wait_held(1, Duration::from_mins(1)).await.unwrap();
    controller.kill();
    gate.release();
    let object = stage.get("retire");
    assert!(count(&object, "PoweringOff") >= 50, "the intent is stored: {}", object["status"]["summary"]);
    let _again = stage.controller(&[]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    each_once(&stage.calls(), &ids);
    assert_soaked(&stage, &ids, SOAK);
    assert_monotone(&history.of("retire"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_two_objects_that_name_one_machine_make_one_call_at_a_time() {
    let stage = stage("off-two").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(500)));
    let ids = instances(&stage, 20);
    let _controller = stage.controller(&[]).unwrap();
    let gate =
        stage.cloud.script(Fault::on(Operation::ChangeServerPowerState).times(1).hold(Moment::AfterEffect));
    stage.apply(&always(&ids, Duration::from_secs(3))).unwrap();
    gate.wait_held(1, Duration::from_mins(1)).await.unwrap();
    let other = Manifest::new("other", &ids[10..]);
    stage.apply(&other.with("powerOff", json!({"when": "Always"}))).unwrap();
    stage.wait("other", "it waits", |object| !object["status"]["conditions"].is_null());
    assert!(stage.calls().is_empty(), "a call that names them is in flight");
    gate.release();
    assert_succeeded(&stage.wait_finished("other"), 10);
    assert_succeeded(&stage.wait_finished("retire"), 20);
    each_once(&stage.calls(), &ids);
    assert!(stage.powered().values().all(|times| *times == 1), "{:?}", stage.powered());
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_suspend_hold_and_a_restart_in_the_middle_of_a_soak() {
    let stage = stage("off-stopped").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(200)));
    let ids = instances(&stage, 3);
    let controller = stage.controller(&[]).unwrap();
    stage.apply(&always(&ids, SOAK)).unwrap();
    let object = stage.wait("retire", "all soak", soaking);
    let since = row(&object, &ids[0])["poweredOffAt"].clone();
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    let object = stage.wait_reason("retire", "Suspended");
    assert!(condition(&object, "Ready").2.contains("3 powered off"), "{object}");
    controller.kill();
    let _again = stage.controller(&[]).unwrap();
    stage.patch("retire", &json!({"suspend": false})).unwrap();
    let guard = Guard::new(&stage, "freeze", &json!({"hold": {"reason": "change freeze"}}));
    let object = stage.wait_reason("retire", "Held");
    assert_eq!(row(&object, &ids[0])["poweredOffAt"], since, "nothing of it begins again");
    let over = off_at(&stage).values().max().unwrap() + u64::try_from(SOAK.as_millis()).unwrap() + 1_500;
    // While it is held, looks tell the time.
    let last = || stage.cloud.log().into_iter().map(|entry| entry.received_ms).max();
    until("the soak is over", || (last() > Some(over)).then_some(()));
    assert!(stage.calls().is_empty());
    drop(guard);
    assert_succeeded(&stage.wait_finished("retire"), 3);
    assert_soaked(&stage, &ids, SOAK);
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_not_after_in_the_middle_of_a_soak_leaves_machines_off_and_says_so() {
    let stage = stage("off-expired").await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_millis(200)));
    let ids = instances(&stage, 3);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&always(&ids, Duration::from_hours(72))).unwrap();
    stage.wait("retire", "all soak", soaking);
    let now = stage.kubectl(&["get", "namespace", "default", "-o", "jsonpath={.metadata.creationTimestamp}"]);
    stage.patch("retire", &json!({"notAfter": now.unwrap()})).unwrap();
    let object = stage.wait_finished("retire");
    let (_, reason, message) = condition(&object, "Ready");
    assert_eq!(reason, "Expired");
    assert!(message.contains("3 instances were powered off and are left so"), "{message}");
    assert!(stage.calls().is_empty());
    assert!(ids.iter().all(|id| stage.power(id) == ("stopped".to_owned(), "off")));
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_plan_says_what_would_be_powered_off_and_nothing_is() {
    let stage = stage("off-plan").await;
    let ids = instances(&stage, 4);
    assert!(stage.cloud.power_off(PROJECT, &ids[0]));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&always(&ids, SOAK).with("dryRun", true)).unwrap();
    let object = stage.wait_reason("retire", "Planned");
    let plan = &object["status"]["plan"];
    assert_eq!((&plan["toDelete"], &plan["toPowerOff"]), (&json!(4), &json!(3)));
    let message = plan["message"].as_str().unwrap();
    assert!(message.contains("3 of them run and would be powered off first"), "{message}");
    assert!(stage.power_calls().is_empty() && stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_where_listing_is_forbidden_nothing_that_runs_is_touched() {
    let stage = stage("off-blind").await;
    let ids = instances(&stage, 2);
    let _forbidden = stage.cloud.script(Fault::on(Operation::ListInstances).reply_error(
        403,
        "iMetal.0004",
        "Insufficient permissions",
    ));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&always(&ids, Duration::ZERO)).unwrap();
    let object = stage.wait_reason("retire", "FactsUnknown");
    assert!(condition(&object, "Ready").2.contains("the server of"), "{object}");
    assert!(stage.power_calls().is_empty() && stage.calls().is_empty());
}

/// Calls that power off, calls that delete, reads of the cloud, and versions of the object.
async fn cost(name: &str, manifest: fn(&[String]) -> Manifest) -> [usize; 4] {
    let stage = stage_with(name, Options { end: EndTime::Fixed(Duration::from_secs(20)), ..options() }).await;
    stage.cloud.set_power_end(EndTime::Fixed(Duration::from_secs(8)));
    let history = stage.history().unwrap();
    let ids = instances(&stage, 1_000);
    let _controller = stage.controller_by_default(&["--delete-rate", "200"]).unwrap();
    stage.apply(&manifest(&ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1_000);
    each_once(&stage.calls(), &ids);
    let reads =
        [Operation::ListInstances, Operation::ShowInstanceStatus].map(|read| stage.cloud.calls(read).len());
    [stage.power_calls().len(), stage.calls().len(), reads.iter().sum(), history.of("retire").len()]
}

#[tokio::test(flavor = "multi_thread")]
async fn l02_powering_off_first_takes_as_few_calls_as_there_can_be() {
    let without = cost("off-cost-without", |ids| Manifest::new("retire", ids)).await;
    let with = cost("off-cost-with", |ids| always(ids, Duration::ZERO)).await;
    for (what, [offs, deletes, reads, versions]) in
        [("without powerOff", without), ("powered off first", with)]
    {
        println!(
            "figure: 1,000 ids {what}: {offs} power-off calls, {deletes} delete calls, {reads} reads, {versions} versions"
        );
    }
    assert_eq!((without[..2].to_vec(), with[..2].to_vec()), (vec![0, 20], vec![20, 20]));
    assert!(with[2] <= 3 * without[2] && with[3] <= 3 * without[3], "{with:?}, {without:?}");
}
