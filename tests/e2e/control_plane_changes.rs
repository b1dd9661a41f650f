//! An administrator removes something that a running controller needs, and restores it.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, Stage, until};

use crate::support::{assert_succeeded, binary, count, each_once, instances, options, sizes};

const SOON: Duration = Duration::from_mins(1);

fn admin(stage: &Stage, arguments: &[&str]) -> String {
    stage.control_plane.kubectl(arguments).ok().unwrap()
}

/// A stage on its own control plane, and ids for three calls. Tests hold the first call at the cloud while they act.
async fn in_the_middle(name: &str) -> (Stage, Vec<String>) {
    let stage = Stage::alone(name, binary(), options()).await.unwrap();
    let ids = instances(&stage, 120);
    (stage, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_removed_stops_all_and_one_that_comes_back_sends_nothing_twice() {
    let (stage, ids) = in_the_middle("nodefinition").await;
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "1m"]).unwrap();
    let manifest = Manifest::new("retire", &ids);
    stage.apply(&manifest).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    admin(&stage, &["delete", "crd", "instancedeletions.clouddc.dev"]);
    gate.release();
    until("the watch fails", || controller.log().contains("the watch failed").then_some(()));
    assert_eq!(sizes(&stage.calls()), [50], "no object, no call");
    admin(&stage, &["apply", "-k", &harness::cluster_wide()]);
    admin(
        &stage,
        &["wait", "--for=condition=Established", "crd/instancedeletions.clouddc.dev", "--timeout=60s"],
    );
    stage.apply(&manifest).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_taken_away_stop_calls_and_lose_no_outcome() {
    let (stage, ids) = in_the_middle("norights").await;
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "1m"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    admin(&stage, &["delete", "clusterrolebinding", "instance-deletion-controller"]);
    gate.release();
    until("it is refused", || controller.log().contains("forbidden").then_some(()));
    assert_eq!(sizes(&stage.calls()), [50]);
    assert_eq!(count(&stage.get("retire"), "Submitted"), 50, "the outcome could not be written");
    admin(&stage, &["apply", "-k", &harness::cluster_wide()]);
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
    assert!(!controller.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_always_fails_and_one_without_a_secret_delay_no_other() {
    let options = Options { end: EndTime::Fixed(Duration::from_millis(200)), ..options() };
    let stage = Stage::new("others", binary(), options).await.unwrap();
    let _controller = stage.controller(&[]).unwrap();
    let [bad, good] = [instances(&stage, 50), instances(&stage, 120)];
    stage.cloud.script(Fault::on(Operation::DeleteInstances).with_id(&bad[0]).reply_error(
        500,
        "iMetal.0099",
        "no",
    ));
    stage.apply(&Manifest::new("bad", &bad)).unwrap();
    let mut without = Manifest::new("without", &instances(&stage, 1));
    without.value["spec"]["credentialsSecretRef"]["name"] = "nowhere".into();
    stage.apply(&without).unwrap();
    stage.wait_reason("bad", "CloudUnreachable");
    stage.wait_reason("without", "SecretNotFound");
    stage.apply(&Manifest::new("good", &good)).unwrap();
    assert_succeeded(&stage.wait_finished("good"), 120);
    assert_eq!(harness::condition(&stage.get("bad"), "Finished").0, "False", "it goes on trying");
}
