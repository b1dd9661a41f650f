//! notAfter, activeDeadlineSeconds, ttlSecondsAfterFinished, backoffLimitPerInstance and --stuck-after.

use clouddc_simulator::{EndTime, Fault, Operation, Options, Stage as Moment};
use harness::{Manifest, PROJECT, condition, until};
use serde_json::json;

use crate::support::{assert_succeeded, count, each_once, instances, options, sizes, stage, stage_with};

const PAST: &str = "2026-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn s13_nothing_is_sent_for_an_object_whose_not_after_has_passed() {
    let stage = stage("not-after").await;
    let ids = instances(&stage, 60);
    stage.cloud.set_state(PROJECT, &ids[1], "terminated");
    stage.apply(&Manifest::new("retire", &ids).with("notAfter", PAST)).unwrap();
    let _controller = stage.controller(&[]).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(object["status"]["phase"], "Expired");
    let (_, reason, message) = condition(&object, "Finished");
    assert_eq!(reason, "Expired");
    assert!(message.contains("59 of 60 instances were not gone when notAfter had passed"), "{message}");
    assert_eq!((count(&object, "Failed"), count(&object, "Terminated")), (59, 1));
    assert_eq!(object["status"]["failures"], json!([{"reason": "Expired", "count": 59}]));
    assert!(stage.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_after_lets_what_is_on_its_way_end() {
    let stage = stage_with("on-its-way", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 3);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 3);
    stage.patch("retire", &json!({"notAfter": PAST})).unwrap();
    stage.wait("retire", "it says so", |o| condition(o, "Ready").2.contains("notAfter has passed"));
    for id in &ids {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    assert_succeeded(&stage.wait_finished("retire"), 3);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_ends_an_object_that_the_cloud_does_not_also_while_suspended() {
    let stage = stage_with("deadline", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 3);
    let _controller = stage.controller(&[]).unwrap();
    let manifest = Manifest::new("retire", &ids).with("activeDeadlineSeconds", 2);
    stage.apply(&manifest).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(object["status"]["phase"], "DeadlineExceeded");
    assert!(condition(&object, "Ready").2.contains("may still end at the cloud"));
    assert_eq!(object["status"]["failures"], json!([{"reason": "DeadlineExceeded", "count": 3}]));
    let calls = stage.calls().len();
    // Raising the limit opens no finished object again.
    stage.patch("retire", &json!({"activeDeadlineSeconds": 86400})).unwrap();
    let seen = stage.wait("retire", "the edit is observed", |o| {
        o["status"]["observedGeneration"] == o["metadata"]["generation"]
    });
    assert_eq!(seen["status"]["phase"], "DeadlineExceeded");
    assert_eq!(stage.calls().len(), calls);

    let ids = instances(&stage, 3);
    let held = stage.cloud.script(Fault::on(Operation::DeleteInstances).hold(Moment::BeforeEffect));
    stage.apply(&Manifest::new("paused", &ids).with("activeDeadlineSeconds", 4)).unwrap();
    held.wait_hit(1, std::time::Duration::from_mins(1)).await.unwrap();
    stage.patch("paused", &json!({"suspend": true})).unwrap();
    held.remove();
    let object = stage.wait_finished("paused");
    assert_eq!(object["status"]["phase"], "DeadlineExceeded", "also while suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_object_is_deleted_when_its_time_is_over_and_others_stay() {
    let stage = stage("ttl").await;
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("stays", &instances(&stage, 1))).unwrap();
    stage.apply(&Manifest::new("goes", &instances(&stage, 1)).with("ttlSecondsAfterFinished", 1)).unwrap();
    stage
        .apply(
            &Manifest::new("fails", &instances(&stage, 1))
                .with("ttlSecondsAfterFinished", 1)
                .with("notAfter", PAST),
        )
        .unwrap();
    for name in ["goes", "fails"] {
        until("it is gone", || stage.kubectl(&["get", "idel", name]).is_err().then_some(()));
    }
    assert_succeeded(&stage.wait_finished("stays"), 1);
    // A time set on a finished object counts from its end.
    stage.patch("stays", &json!({"ttlSecondsAfterFinished": 0})).unwrap();
    until("it is gone", || stage.kubectl(&["get", "idel", "stays"]).is_err().then_some(()));
    assert_eq!(stage.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_an_instance_whose_deletion_fails_is_deleted_again_up_to_the_limit() {
    let stage = stage("again").await;
    let ids = instances(&stage, 2);
    assert!(stage.cloud.fail_deletions(PROJECT, &ids[0], 1));
    assert!(stage.cloud.fail_deletions(PROJECT, &ids[1], 9));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 2)).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(object["status"]["failures"], json!([{"reason": "InstanceError", "count": 1}]));
    let named = crate::support::named(&stage.calls());
    assert_eq!((named[&ids[0]], named[&ids[1]]), (2, 3));
    assert_eq!(object["status"]["instances"][1]["attempts"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_the_policy_says_what_an_unknown_id_is() {
    let stage = stage("unknown-id").await;
    let mut ids = instances(&stage, 2);
    ids.extend(stage.cloud.fresh_ids(1));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("strict", &ids).with("notFoundPolicy", "Fail")).unwrap();
    let object = stage.wait_finished("strict");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(object["status"]["failures"], json!([{"reason": "NotFound", "count": 1}]));
    assert_eq!(count(&object, "Terminated"), 2);
    assert_eq!(sizes(&stage.calls()), [2], "an unknown id is not sent");
    // The same ids with the default policy: all count as gone.
    stage.apply(&Manifest::new("lenient", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("lenient"), 3);
    assert_eq!(stage.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_an_instance_open_for_long_is_named_and_the_others_end() {
    let stage = stage("stuck").await;
    let ids = instances(&stage, 3);
    assert!(stage.cloud.set_end_of(PROJECT, &ids[1], EndTime::Never));
    let _controller = stage.controller(&["--stuck-after", "2s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait("retire", "it is named", |o| condition(o, "Ready").2.contains(&ids[1]));
    let message = condition(&object, "Ready").2;
    assert!(
        message.contains("1 instances open for more than 2 s") && message.contains("(shutting-down)"),
        "{message}"
    );
    assert_eq!(count(&stage.get("retire"), "Terminated"), 2);
    until("one event says so", || {
        let all =
            stage.kubectl(&["get", "events.events.k8s.io", "-o", "jsonpath={.items[*].reason}"]).ok()?;
        (all.split_whitespace().filter(|reason| *reason == "Stuck").count() == 1).then_some(())
    });
    stage.cloud.set_state(PROJECT, &ids[1], "terminated");
    assert_succeeded(&stage.wait_finished("retire"), 3);
}
