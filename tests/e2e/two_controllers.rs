//! Two controllers that both believe they lead work on one object from its creation to its end.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use control_plane::Signal;
use harness::{Controller, Manifest, PROJECT, Stage};

use crate::{
    gateway::{Gateway, Rule, intents},
    support::{assert_monotone, assert_succeeded, count, each_once, instances, options, stage, stage_with},
};

const SOON: Duration = Duration::from_mins(1);

fn sent(controller: &Controller) -> usize {
    controller.log().matches("sending a delete call").count()
}

/// Waits until the object ends, and until both have worked on another object. Neither writes the first one again.
fn both_settle(stage: &Stage, ids: &[String], history: &harness::History) {
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, ids.len());
    let other = instances(stage, 1);
    stage.apply(&Manifest::new("other", &other)).unwrap();
    stage.wait_finished("other");
    assert_eq!(stage.get("retire")["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    each_once(&stage.calls(), &[ids, &other].concat());
    assert_monotone(&history.of("retire"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_two_that_start_at_the_same_moment_share_the_work() {
    let stage = stage("together").await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 320);
    // The first call is held until the other controller has called too. Slow replies keep both busy for a while.
    let first = Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect);
    let gate = stage.cloud.script(first);
    let delay = Duration::from_millis(150);
    stage.cloud.script(Fault::on(Operation::DeleteInstances).delay_before(delay).delay_after(delay));
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let flags = ["--parallel-calls", "1", "--request-timeout", "20s"];
    let (one, two) = std::thread::scope(|scope| {
        let start = || stage.controller(&flags).unwrap();
        let (one, two) = (scope.spawn(start), scope.spawn(start));
        (one.join().unwrap(), two.join().unwrap())
    });
    stage.cloud.wait_calls(Operation::DeleteInstances, 3, SOON).await.unwrap();
    gate.release();
    both_settle(&stage, &ids, &history);
    assert!(sent(&one) > 0 && sent(&two) > 0, "both have called");
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_one_is_stopped_for_a_minute_while_its_call_runs() {
    let stage = stage_with("stoppedcall", Options { end: EndTime::Never, ..options() }).await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 120);
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let flags = ["--parallel-calls", "1"];
    let mut stopped = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    stopped.stop().unwrap();
    let stopped_at = std::time::Instant::now();
    let other = stage.controller(&flags).unwrap();
    // The other controller sends the remaining calls, and sees by looks that the call of the stopped one took effect.
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 120);
    each_once(&stage.calls(), &ids);
    gate.release();
    // After this minute the looks and the intent of the stopped controller are too old.
    tokio::time::sleep(Duration::from_mins(1).saturating_sub(stopped_at.elapsed())).await;
    stopped.signal(Signal::CONT).unwrap();
    stage.cloud.set_end(EndTime::Fixed(Duration::ZERO));
    for id in &ids {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    both_settle(&stage, &ids, &history);
    assert!(sent(&stopped) > 0 && sent(&other) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_one_is_stopped_between_its_intent_and_its_call() {
    let stage = stage("stoppedintent").await;
    let history = stage.history().unwrap();
    let ids = instances(&stage, 120);
    let gateway = Gateway::start(&stage).await;
    let flags = ["--parallel-calls", "1"];
    let second = gateway.script(Rule::on(intents).skip(1).times(1).hold());
    let mut stopped = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    second.wait_hits(1);
    stopped.stop().unwrap();
    // The answer waits in the socket of the stopped process.
    second.release();
    let other = stage.controller(&flags).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    let calls = stage.calls().len();
    stopped.signal(Signal::CONT).unwrap();
    both_settle(&stage, &ids, &history);
    assert_eq!(stage.calls().len(), calls + 1, "the intent of the stopped one was never sent");
    assert!(sent(&stopped) > 0 && sent(&other) > 0);
}
