//! Annotations that people and tools set on objects from git: a hold, and a request for a look.

use std::time::Duration;

use clouddc_simulator::{EndTime, Entry, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, condition};
use serde_json::Value;

use crate::support::{assert_succeeded, count, each_once, instances, options, stage, stage_with};

const SOON: Duration = Duration::from_mins(1);
const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

#[tokio::test(flavor = "multi_thread")]
async fn s13_a_held_object_sends_nothing_and_git_does_not_take_it_back() {
    let stage = stage("held").await;
    let ids = instances(&stage, 120);
    // The cloud keeps the first calls unanswered: the hold comes while they are under way.
    let gate = stage.cloud.script(Fault::on(Operation::DeleteInstances).times(1).hold(Moment::AfterEffect));
    let _controller = stage.controller(&["--parallel-calls", "1", "--request-timeout", "60s"]).unwrap();
    let manifest = Manifest::new("retire", &ids);
    stage.apply(&manifest).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    let by_hand = ["annotate", "--field-manager=hold", "idel", "--all"];
    stage.kubectl(&[&by_hand[..], &["clouddc.dev/hold=ask the night shift"]].concat()).unwrap();
    stage.wait_reason("retire", "Suspended");
    gate.release();
    let object = stage.wait("retire", "the reply recorded", |object| count(object, "Terminated") == 50);
    assert_eq!((stage.calls().len(), count(&object, "Pending")), (1, 70));
    assert!(condition(&object, "Ready").2.contains("while the annotation clouddc.dev/hold is there"));
    // The manifest from git is applied again; its spec does not suspend.
    stage.apply(&manifest.clone().with("suspend", false)).unwrap();
    let spec = stage.wait("retire", "observed", |object| {
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    });
    assert_eq!(spec["status"]["phase"], "Suspended");
    assert_eq!(stage.calls().len(), 1);
    stage.kubectl(&["annotate", "idel", "retire", "clouddc.dev/hold-"]).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn l08_a_request_to_look_is_answered_once_and_opens_no_end() {
    let stage = stage_with("request", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 60);
    // The intervals are longer than this test: no look comes by itself.
    let _controller = stage.controller(&["--poll-min", "10m", "--poll-max", "1h"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let reads = |log: &[Entry]| {
        let reads = log.iter().filter(|e| e.operation != Operation::DeleteInstances && e.finished());
        reads.filter(|e| e.ids.iter().any(|id| ids.contains(id))).count()
    };
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 60);
    let before = reads(&stage.cloud.log());
    let request = |at: &str| {
        stage
            .kubectl(&["annotate", "--overwrite", "idel", "retire", &format!("{REQUESTED_AT}={at}")])
            .unwrap();
        let handled = |object: &Value| object["status"]["lastHandledReconcileAt"] == at;
        stage.wait("retire", "the request handled", handled)
    };
    request("2026-11-25T00:00:00Z");
    stage.cloud.wait_log(|log| reads(log) > before, SOON).await.unwrap();
    for id in &ids {
        stage.cloud.set_state(harness::PROJECT, id, "terminated");
    }
    request("2026-11-25T00:01:00Z");
    assert_succeeded(&stage.wait_finished("retire"), 60);
    let (reads_of_all, calls) = (reads(&stage.cloud.log()), stage.calls().len());
    let object = request("2026-11-25T00:02:00Z");
    assert_succeeded(&object, 60);
    // Another object proves that the controller had time to do more.
    let gone = stage.cloud.fresh_ids(1);
    stage.apply(&Manifest::new("proof", &gone)).unwrap();
    stage.kubectl(&["wait", "--for=condition=Ready=false", "idel/proof", "--timeout=60s"]).unwrap();
    assert_eq!(stage.get("retire")["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    assert_eq!((reads(&stage.cloud.log()), stage.calls().len()), (reads_of_all, calls));
}
