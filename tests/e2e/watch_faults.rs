//! Faults of the watch: events that are lost, repeated or late change how long a deletion takes, and nothing else.

use std::time::{Duration, Instant};

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, Stage, until};
use serde_json::json;

use crate::{
    gateway::{Gateway, Rule, Watching, behind_gateway, gets, lists, watches},
    support::{assert_succeeded, count, each_once, instances, options, sizes, stage_with},
};

const SOON: Duration = Duration::from_mins(1);

/// Creates a further object of one id, and waits until it has succeeded.
fn a_new_object_ends(stage: &Stage, name: &str) {
    let ids = instances(stage, 1);
    stage.apply(&Manifest::new(name, &ids)).unwrap();
    assert_succeeded(&stage.wait_finished(name), 1);
}

/// An object with a call that the cloud holds: its deletion is under way while the watch fails.
async fn working(stage: &Stage, ids: &[String]) -> clouddc_simulator::FaultHandle {
    let fault = Fault::on(Operation::DeleteInstances).with_id(&ids[0]).times(1).hold(Moment::AfterEffect);
    let gate = stage.cloud.script(fault);
    stage.apply(&Manifest::new("retire", ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    gate
}

#[tokio::test(flavor = "multi_thread")]
async fn k07_410_in_the_stream_causes_a_new_list_and_no_call() {
    let flags = ["--parallel-calls", "1", "--request-timeout", "60s"];
    let (stage, gateway, _controller) = behind_gateway("gone", &flags).await;
    let ids = instances(&stage, 120);
    a_new_object_ends(&stage, "before");
    let gate = working(&stage, &ids).await;
    let (listed, calls) = (gateway.count(lists), stage.calls().len());
    gateway.watching(Watching::Gone);
    until("it lists again", || (gateway.count(lists) >= listed + 2).then_some(()));
    gateway.watching(Watching::Pass);
    a_new_object_ends(&stage, "after");
    assert_eq!(stage.calls().len(), calls + 1, "only the new object's");
    gate.release();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    assert_eq!(sizes(&stage.calls()), [1, 50, 1, 50, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn k07_410_to_the_watch_request_causes_a_new_list_and_no_call() {
    let stage = stage_with("gonehttp", options()).await;
    let gateway = Gateway::start(&stage).await;
    let gone = gateway.script(Rule::on(watches).unsent().times(2).fail(410, &[]));
    let ids = instances(&stage, 60);
    // A finished object, and one that an earlier process left unfinished.
    let first = stage.controller_through(&gateway.kubeconfig, &[]).unwrap();
    a_new_object_ends(&stage, "before");
    first.kill();
    let again = gateway.script(Rule::on(watches).unsent().times(2).fail(410, &[]));
    let _second = stage.controller_through(&gateway.kubeconfig, &[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 60);
    again.wait_hits(2);
    assert_eq!(gone.hits(), 2);
    assert!(gateway.count(lists) >= 6, "each 410 led to a list");
    let mut sizes = sizes(&stage.calls());
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 10, 50]);
}

#[tokio::test(flavor = "multi_thread")]
async fn k08_a_working_object_does_not_depend_on_the_watch() {
    let flags = ["--parallel-calls", "1", "--request-timeout", "60s"];
    let (stage, gateway, _controller) = behind_gateway("stalledwork", &flags).await;
    let ids = instances(&stage, 120);
    let gate = working(&stage, &ids).await;
    gateway.watching(Watching::Stall);
    stage.patch("retire", &json!({"suspend": true})).unwrap();
    gate.release();
    stage.wait_reason("retire", "Suspended");
    stage.wait("retire", "the first batch is gone", |object| count(object, "Terminated") == 50);
    assert_eq!(sizes(&stage.calls()), [50], "its own live read came before the next call");
}

#[tokio::test(flavor = "multi_thread")]
async fn k08_a_new_object_is_found_although_the_watch_is_silent() {
    let (stage, gateway, _controller) = behind_gateway("stallednew", &[]).await;
    a_new_object_ends(&stage, "before");
    gateway.watching(Watching::Stall);
    let ids = instances(&stage, 1);
    let stalled = Instant::now();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    // The controller gives up the silent stream before this wait ends. kube alone would wait five minutes.
    assert_succeeded(&stage.wait_finished("retire"), 1);
    println!("found {} s after the watch fell silent", stalled.elapsed().as_secs());
}

#[tokio::test(flavor = "multi_thread")]
async fn k08_a_watch_whose_answer_never_begins_is_opened_again() {
    let stage = stage_with("unbegun", options()).await;
    let gateway = Gateway::start(&stage).await;
    let silent = gateway.script(Rule::on(watches).unsent().times(1).hang());
    let _controller = stage.controller_through(&gateway.kubeconfig, &[]).unwrap();
    silent.wait_hits(1);
    let started = Instant::now();
    a_new_object_ends(&stage, "retire");
    // The next full list would come ten minutes later.
    println!("found {} s after the watch was asked for", started.elapsed().as_secs());
}

#[tokio::test(flavor = "multi_thread")]
async fn k09_an_event_that_is_lost_is_made_up_for_by_the_next_list() {
    let (stage, gateway, _controller) = behind_gateway("lost", &[]).await;
    a_new_object_ends(&stage, "before");
    gateway.watching(Watching::Lose);
    let ids = instances(&stage, 60);
    let manifest = Manifest::new("retire", &ids);
    stage.apply(&manifest.clone().with("suspend", true)).unwrap();
    stage.apply(&manifest.with("suspend", false)).unwrap();
    // Deleted and created again, without any event of the watch.
    let brief = Manifest::new("brief", &instances(&stage, 1));
    stage.apply(&brief).unwrap();
    stage.kubectl(&["delete", "idel", "brief"]).unwrap();
    let listed = gateway.count(lists);
    gateway.watching(Watching::Gone);
    until("it lists again", || (gateway.count(lists) > listed).then_some(()));
    gateway.watching(Watching::Pass);
    assert_succeeded(&stage.wait_finished("retire"), 60);
    let calls = stage.calls();
    each_once(&calls[1..], &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k09_events_that_come_twice_cause_nothing() {
    let stage = stage_with("twice", Options { end: EndTime::Never, ..options() }).await;
    let gateway = Gateway::start(&stage).await;
    gateway.watching(Watching::Twice);
    let _controller = stage.controller_through(&gateway.kubeconfig, &["--parallel-calls", "1"]).unwrap();
    let ids = instances(&stage, 120);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    for turn in 0..10 {
        stage.kubectl(&["annotate", "idel", "retire", "--overwrite", &format!("turn={turn}")]).unwrap();
    }
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 120);
    assert_eq!(sizes(&stage.calls()), [50, 50, 20]);
    each_once(&stage.calls(), &ids);
    for id in &ids {
        stage.cloud.set_state(harness::PROJECT, id, "terminated");
    }
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k09_an_object_that_is_deleted_and_made_again_is_worked_on_again() {
    let (stage, gateway, _controller) = behind_gateway("madeagain", &[]).await;
    let first = Manifest::new("retire", &instances(&stage, 1));
    stage.apply(&first).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
    stage.kubectl(&["delete", "idel", "retire"]).unwrap();
    stage.apply(&first).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 1);
    assert_eq!(stage.calls().len(), 1, "its instance is gone already");
    // And the watch tells nothing of it: the next list shows an object of the same name and generation.
    gateway.watching(Watching::Lose);
    let ids = instances(&stage, 1);
    stage.kubectl(&["delete", "idel", "retire"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let listed = gateway.count(lists);
    gateway.watching(Watching::Gone);
    until("it lists again", || (gateway.count(lists) > listed).then_some(()));
    gateway.watching(Watching::Pass);
    assert_succeeded(&stage.wait_finished("retire"), 1);
    each_once(&stage.calls()[1..], &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn k09_a_list_that_shows_nothing_new_causes_no_read() {
    let (stage, gateway, _controller) = behind_gateway("nothingnew", &[]).await;
    a_new_object_ends(&stage, "first");
    a_new_object_ends(&stage, "second");
    let read = || gateway.count(|asked| gets(asked) && asked.path.ends_with("/first"));
    let (reads, listed) = (read(), gateway.count(lists));
    gateway.watching(Watching::Gone);
    until("it lists again", || (gateway.count(lists) >= listed + 2).then_some(()));
    gateway.watching(Watching::Pass);
    a_new_object_ends(&stage, "third");
    assert_eq!(read(), reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn k08_a_list_that_brings_nothing_is_made_again() {
    let stage = stage_with("silentlist", options()).await;
    let gateway = Gateway::start(&stage).await;
    let silent = gateway.script(Rule::on(lists).unsent().times(1).hang());
    let controller = stage.controller_through(&gateway.kubeconfig, &[]).unwrap();
    silent.wait_hits(1);
    let started = Instant::now();
    a_new_object_ends(&stage, "retire");
    assert!(controller.log().contains("the list brought nothing for 30 s"), "{}", controller.log());
    println!("found {} s after the list fell silent", started.elapsed().as_secs());
}
