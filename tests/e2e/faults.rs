//! Faults of the cloud and of the process between a call and the record of its outcome.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options, RateLimit, Stage as Moment};
use harness::Manifest;

use crate::support::{
    assert_succeeded, count, each_once, instances, named, options, phase_of, sizes, stage, stage_with,
};

const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn c14_of_a_partial_202_only_the_rest_is_sent_once_more() {
    let stage = stage("partial").await;
    let ids = instances(&stage, 50);
    stage.cloud.script(Fault::on(Operation::DeleteInstances).return_first(47).times(1));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 50);
    let calls = stage.calls();
    assert_eq!(sizes(&calls), [50, 3]);
    let named = named(&calls);
    assert!(calls[0].returned_ids.iter().all(|id| named[id] == 1), "the 47 are never sent again");
    assert!(calls[1].ids.iter().all(|id| named[id] == 2));
    // Between the two calls the controller read the states of the three ids.
    let looked = stage.cloud.log().into_iter().any(|entry| {
        entry.operation == Operation::ListInstances
            && entry.received_ms > calls[0].finished_ms.unwrap()
            && entry.received_ms < calls[1].received_ms
            && calls[1].ids.iter().all(|id| entry.ids.contains(id))
    });
    assert!(looked);
}

/// SIGKILL after the cloud applied the n-th call and before the status says so.
async fn killed_after_call(n: u64) {
    let stage = stage_with(&format!("killed{n}"), Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 120);
    let fault = Fault::on(Operation::DeleteInstances).skip(n).times(1).hold(Moment::AfterEffect);
    let gate = stage.cloud.script(fault);
    let flags = ["--parallel-calls", "1"];
    let controller = stage.controller(&flags).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    gate.wait_held(1, SOON).await.unwrap();
    controller.kill();
    gate.release();
    let size = if n == 2 { 20 } else { 50 };
    assert_eq!(count(&stage.get("retire"), "Submitted"), size, "the status says so no more than this");
    let _again = stage.controller(&flags).unwrap();
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 120);
    each_once(&stage.calls(), &ids);
    assert_eq!(sizes(&stage.calls()), [50, 50, 20]);
    for id in &ids {
        stage.cloud.set_state(harness::PROJECT, id, "terminated");
    }
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_killed_after_the_first_call() {
    killed_after_call(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_killed_after_the_second_call() {
    killed_after_call(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_killed_after_the_last_call() {
    killed_after_call(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_a_reply_dropped_by_the_network_is_no_reason_to_send_again() {
    for n in 0..3 {
        let stage = stage(&format!("dropped{n}")).await;
        let ids = instances(&stage, 120);
        let fault = Fault::on(Operation::DeleteInstances).skip(n).times(1);
        let fault = stage.cloud.script(fault.drop_connection(Moment::AfterEffect));
        let _controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
        stage.apply(&Manifest::new("retire", &ids)).unwrap();
        assert_succeeded(&stage.wait_finished("retire"), 120);
        assert_eq!(fault.times_hit(), 1);
        each_once(&stage.calls(), &ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_a_list_that_shows_the_old_state_for_a_while_is_no_reason_to_send_again() {
    let lag = Duration::from_secs(3);
    let options = Options { visibility_lag: lag, end: EndTime::Fixed(Duration::from_secs(4)), ..options() };
    let stage = stage_with("lag", options).await;
    let ids = instances(&stage, 120);
    stage
        .cloud
        .script(Fault::on(Operation::DeleteInstances).skip(1).times(1).drop_connection(Moment::AfterEffect));
    let _controller = stage.controller(&["--settle", "4s"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 120);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_a_throttled_batch_stays_whole_and_goes_out_later() {
    let stage = stage("throttled").await;
    let ids = instances(&stage, 60);
    let refusal =
        Fault::on(Operation::DeleteInstances).times(2).reply_error(429, "iMetal.0005", "Too many requests");
    stage.cloud.script(refusal.header("Retry-After", "1"));
    let _controller = stage.controller(&["--parallel-calls", "1"]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait("retire", "says Throttled", |object| object["status"]["phase"] == "Throttled");
    assert_succeeded(&stage.wait_finished("retire"), 60);
    assert_eq!(sizes(&stage.calls()), [50, 50, 50, 10]);
    assert_eq!(stage.calls()[0].ids, stage.calls()[2].ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn c07_a_limited_account_gets_everything_deleted() {
    let limit = RateLimit::bucket(2, Duration::from_secs(1));
    let stage = stage_with("limited", Options { delete_limit: Some(limit), ..options() }).await;
    let ids = instances(&stage, 300);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    assert_succeeded(&stage.wait_finished("retire"), 300);
    let accepted: Vec<_> = stage.calls().into_iter().filter(|call| call.status == Some(202)).collect();
    each_once(&accepted, &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_a_wrong_address_is_not_gone() {
    let stage = stage("address").await;
    let ids = instances(&stage, 3);
    let nothing_here = r#"{"error_code":"APIGW.0101","error_msg":"The API does not exist"}"#;
    for operation in [Operation::ListInstances, Operation::ShowInstanceStatus] {
        stage.cloud.script(Fault::on(operation).times(3).reply(404, "application/json", nothing_here));
    }
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait_reason("retire", "EndpointMisconfigured");
    stage.cloud.clear_faults();
    assert_succeeded(&stage.wait_finished("retire"), 3);
    each_once(&stage.calls(), &ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_a_failed_deletion_is_sent_again() {
    let stage = stage("error").await;
    let ids = instances(&stage, 3);
    assert!(stage.cloud.fail_deletions(harness::PROJECT, &ids[1], 2));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 3);
    let named = named(&stage.calls());
    assert_eq!((named[&ids[0]], named[&ids[1]], named[&ids[2]]), (1, 3, 1));
    let row = &object["status"]["instances"][1];
    assert_eq!(row["attempts"], 3, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_an_instance_that_vanishes_after_acceptance_is_gone_after_two_reads() {
    let options = Options { vanish_after: Some(Duration::ZERO), ..options() };
    let stage = stage_with("vanish", options).await;
    let ids = instances(&stage, 60);
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, 60);
    each_once(&stage.calls(), &ids);
    assert_eq!(object["status"]["summary"]["notFound"], 60);
    let reads = |entry: &&clouddc_simulator::Entry| {
        entry.operation == Operation::ShowInstanceStatus
            && entry.status == Some(404)
            && entry.ids[0] == ids[0]
    };
    let log = stage.cloud.log();
    let reads: Vec<_> = log.iter().filter(reads).collect();
    assert!(reads.last().unwrap().received_ms - reads[0].received_ms >= 1000, "--settle apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_that_a_list_omits_an_id_proves_nothing() {
    let stage = stage_with("omitted", Options { end: EndTime::Never, ..options() }).await;
    let ids = instances(&stage, 10);
    stage.cloud.script(Fault::on(Operation::ListInstances).omit_id(&ids[4]));
    let _controller = stage.controller(&[]).unwrap();
    stage.apply(&Manifest::new("retire", &ids)).unwrap();
    stage.wait("retire", "all accepted", |object| count(object, "Accepted") == 10);
    let shown = |n| {
        move |log: &[clouddc_simulator::Entry]| {
            log.iter().filter(|e| e.operation == Operation::ShowInstanceStatus).count() >= n
        }
    };
    stage.cloud.wait_log(shown(6), SOON).await.unwrap();
    assert_eq!(phase_of(&stage.get("retire"), &ids[4]), "Accepted");
    each_once(&stage.calls(), &ids);
}
