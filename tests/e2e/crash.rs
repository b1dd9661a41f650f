//! SIGKILL just before and just after the n-th status write takes effect. Then a second process goes on.

use clouddc_simulator::{Fault, Operation, Stage as Moment};
use control_plane::Signal;
use harness::Manifest;

use crate::{
    gateway::{Gateway, Rule, behind_gateway, outcomes, status_writes},
    support::{assert_monotone, assert_succeeded, each_once, instances, stage},
};

async fn killed(write: usize, before_it: bool) {
    let stage = stage(&format!("kill{write}{before_it}")).await;
    let history = stage.history().unwrap();
    let gateway = Gateway::start(&stage).await;
    let rule = Rule::on(status_writes).skip(write - 1).times(1).hang();
    let rule = gateway.script(if before_it { rule.unsent() } else { rule });
    let flags = ["--parallel-calls", "1", "--request-timeout", "1s", "--settle", "400ms"];
    let controller = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    let ids = instances(&stage, 120);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    rule.wait_hits(1);
    controller.kill();
    let _again = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
    assert_monotone(&history.of("retire"));
}

macro_rules! killed {
    ($($name:ident: $write:literal, $before:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            killed($write, $before).await;
        }
    )*};
}

// The first write says that work begins, the second is the intent of a wave, the third its outcome and the next intent.
killed! {
    r01_killed_before_the_first_write: 1, true;
    r01_killed_after_the_first_write: 1, false;
    r01_killed_before_the_first_intent: 2, true;
    r01_killed_after_the_first_intent: 2, false;
    r01_killed_before_the_first_outcome: 3, true;
    r01_killed_after_the_first_outcome: 3, false;
    r01_killed_before_a_later_write: 5, true;
    r01_killed_after_a_later_write: 5, false;
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_a_drain_waits_for_an_api_server_that_does_not_take_the_outcome_at_once() {
    let (stage, gateway, mut controller) = behind_gateway("drainrefused", &["--parallel-calls", "1"]).await;
    let refused = gateway.script(Rule::on(outcomes).unsent().times(4).fail(503, &[]));
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let ids = instances(&stage, 120);
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, std::time::Duration::from_mins(1)).await.unwrap();
    controller.signal(Signal::TERM).unwrap();
    harness::until("it drains", || controller.log().contains("draining").then_some(()));
    gate.release();
    assert_eq!(controller.wait_exit(std::time::Duration::from_mins(1)).unwrap(), Some(0));
    assert_eq!(refused.hits(), 4);
    assert_eq!(stage.get("retire")["status"]["batches"][0]["returned"], 50);
    assert_eq!(stage.calls().len(), 1, "no new call");
}
