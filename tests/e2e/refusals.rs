//! Delete calls that the cloud refuses because of some ids: the other ids are deleted, and no good id fails.

use std::time::Duration;

use clouddc_simulator::{Fault, Operation, Stage as Moment};
use harness::{Manifest, PROJECT, Stage, condition};
use serde_json::json;

use crate::{
    cloud_front::Front,
    support::{assert_succeeded, count, instances, named, phase_of, sizes, stage},
};

const SOON: Duration = Duration::from_mins(1);

/// Ids whose instances another client changes between the look and the call.
async fn changed_after_the_look(stage: &Stage, ids: &[String], change: impl Fn(&str)) {
    let gate = stage.cloud.script(Fault::on(Operation::ListInstances).times(1).hold(Moment::AfterEffect));
    stage.apply(&Manifest::new("retire", ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    for id in &ids[..3] {
        change(id);
    }
    gate.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_a_400_that_names_ids_in_another_state_holds_up_no_other() {
    let stage = stage("state400").await;
    let ids = instances(&stage, 20);
    let _controller = stage.controller(&[]).unwrap();
    changed_after_the_look(&stage, &ids, |id| stage.cloud.set_state(PROJECT, id, "shutting-down")).await;
    stage.wait("retire", "all on their way or gone", |o| {
        count(o, "Accepted") == 3 && count(o, "Terminated") == 17
    });
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [20, 17], "the named ones are on their way: they are looked at, not sent");
    assert_eq!((calls[0].status, calls[0].error_code.as_deref()), (Some(400), Some("iMetal.0201")));
    for id in &ids[..3] {
        stage.cloud.set_state(PROJECT, id, "terminated");
    }
    assert_succeeded(&stage.wait_finished("retire"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_the_one_bad_id_of_fifty_is_found_in_thirteen_calls() {
    let stage = stage("bad400").await;
    let ids = instances(&stage, 50);
    let bad = &ids[31];
    let fault = Fault::on(Operation::DeleteInstances).with_id(bad);
    stage.cloud.script(fault.reply_error(400, "iMetal.0001", "request parameter invalid/unsupported"));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 0)).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!((count(&object, "Terminated"), phase_of(&object, bad)), (49, "Failed"));
    let failure = &object["status"]["failures"][0];
    assert_eq!((&failure["reason"], &failure["code"]), (&json!("Conflict"), &json!("iMetal.0001")));
    let calls = stage.calls();
    assert!(calls.len() <= 13, "{:?}", sizes(&calls));
    assert_eq!(stage.cloud.state(PROJECT, bad).unwrap(), "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn x17_an_id_that_reads_alive_is_sent_again_whatever_code_refuses_it() {
    for (name, named) in [("unnamed", false), ("named", true)] {
        let stage = stage(&format!("code-{name}")).await;
        let ids = instances(&stage, 20);
        let message = if named { format!("not now: [{}]", ids[4]) } else { "not now".to_owned() };
        let fault = Fault::on(Operation::DeleteInstances).with_id(&ids[4]);
        let fault = stage.cloud.script(fault.reply_error(400, "iMetal.0203", &message));
        let _controller = stage.controller(&[]).unwrap();
        stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 40)).unwrap();
        stage.wait("retire", "it is tried again alone", |object| {
            let row = &object["status"]["instances"][4];
            row["attempts"].as_u64() >= Some(2) && count(object, "Terminated") == 19
        });
        fault.remove();
        assert_succeeded(&stage.wait_finished("retire"), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x17_an_id_that_no_look_reads_is_named_and_never_sent() {
    let stage = stage("no-look").await;
    let ids = instances(&stage, 50);
    let unread = &ids[31];
    let gaps = stage.cloud.script(Fault::on(Operation::ListInstances).omit_id(unread));
    let blank = Fault::on(Operation::ShowInstanceStatus).with_id(unread).reply_json(200, &json!({}));
    let blank = stage.cloud.script(blank);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "StateUnknown");
    assert!(condition(&object, "Ready").2.contains(unread.as_str()), "{}", condition(&object, "Ready").2);
    stage.wait("retire", "all others are gone", |object| count(object, "Terminated") == 49);
    assert!(!named(&stage.calls()).contains_key(unread));
    gaps.remove();
    blank.remove();
    assert_succeeded(&stage.wait_finished("retire"), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_a_request_that_is_refused_for_every_id_marks_none() {
    let stage = stage("all400").await;
    let ids = instances(&stage, 8);
    let fault = Fault::on(Operation::DeleteInstances);
    let fault = stage.cloud.script(fault.reply_error(400, "iMetal.0001", "request parameter invalid"));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_reason("retire", "RequestRefused");
    fault.wait_hit(15, SOON).await.unwrap();
    assert_eq!(object["status"]["phase"], "Deleting");
    assert!(condition(&object, "Ready").2.contains("iMetal.0001"), "{}", condition(&object, "Ready").2);
    // By now each id was refused alone, and the controller tries again at a slow rate. It has marked none of them.
    fault.wait_hit(17, SOON).await.unwrap();
    assert_eq!(count(&stage.get("retire"), "Failed"), 0);
    fault.remove();
    assert_succeeded(&stage.wait_finished("retire"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_a_batch_size_that_the_cloud_does_not_take_is_not_tried_for_ever() {
    let stage = stage("toomany").await;
    let ids = instances(&stage, 200);
    let front = Front::plain(&stage, None).await;
    front.refuse_above(20);
    let endpoint = format!("ap-southeast-3=http://{}", front.address);
    let _controller = stage.controller(&["--endpoint", &endpoint, "--parallel-calls", "1"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 200);
    let calls = stage.calls();
    crate::support::each_once(&calls, &ids);
    assert!(sizes(&calls).iter().all(|size| *size <= 20), "{:?}", sizes(&calls));
    assert!(calls.len() <= 20, "{:?}", sizes(&calls));
    assert!(front.refused() <= 8, "{} refusals: the smaller size is remembered", front.refused());
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_a_404_that_names_a_missing_id_holds_up_no_other() {
    let stage = stage("missing404").await;
    let ids = instances(&stage, 20);
    let _controller = stage.controller(&[]).unwrap();
    changed_after_the_look(&stage, &ids, |id| stage.cloud.remove(PROJECT, id)).await;
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 20);
    assert_eq!((count(&object, "NotFound"), count(&object, "Terminated")), (3, 17));
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [20, 17], "a missing id is not sent again");
    assert_eq!((calls[0].status, calls[0].error_code.as_deref()), (Some(404), Some("iMetal.0200")));
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_a_409_leads_to_a_look_and_what_is_on_its_way_is_not_sent_again() {
    let stage = stage("conflict").await;
    let ids = instances(&stage, 20);
    let refusal = Fault::on(Operation::DeleteInstances).times(1);
    stage.cloud.script(refusal.reply_error(409, "iMetal.0201", "state conflict"));
    let _controller = stage.controller(&[]).unwrap();
    changed_after_the_look(&stage, &ids, |id| stage.cloud.set_state(PROJECT, id, "shutting-down")).await;
    stage.wait("retire", "all on their way or gone", |o| {
        count(o, "Accepted") == 3 && count(o, "Terminated") == 17
    });
    let named = named(&stage.calls());
    assert!(ids[..3].iter().all(|id| named[id] == 1) && ids[3..].iter().all(|id| named[id] == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_a_409_that_does_not_end_is_a_failure_after_the_limit() {
    let stage = stage("locked").await;
    let ids = instances(&stage, 3);
    let fault = Fault::on(Operation::DeleteInstances).with_id(&ids[1]);
    stage.cloud.script(fault.reply_error(409, "iMetal.0201", &format!("locked: [{}]", ids[1])));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids).with("backoffLimitPerInstance", 2)).unwrap();
    let object = stage.wait_finished("retire");
    assert_eq!(object["status"]["phase"], "Failed");
    assert_eq!(object["status"]["failures"][0]["reason"], "Conflict");
    assert_eq!((count(&object, "Terminated"), phase_of(&object, &ids[1])), (2, "Failed"));
    assert_eq!(named(&stage.calls())[&ids[1]], 3, "one call and two more");
}
