//! Everything that can be scripted to go wrong.

mod common;

use std::time::Duration;

use clouddc_simulator::{Delivery, EndTime, Entry, Fault, Operation, Options, Projects, Stage};
use common::{P, PATIENCE, ids_query, start};

const DELETE: Operation = Operation::DeleteInstances;
const LIST: Operation = Operation::ListInstances;

fn slow() -> Options {
    Options { end: EndTime::Never, ..Options::default() }
}

#[tokio::test]
async fn a_connection_dropped_before_the_effect_changes_nothing() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    sim.script(Fault::on(DELETE).times(1).named("cut").drop_connection(Stage::BeforeEffect));
    assert!(client.try_delete(&ids).await.is_err());
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("running"));
    let call = sim.delete_calls().remove(0);
    assert_eq!((call.status, call.applied, call.delivery), (None, false, Delivery::Dropped));
    assert_eq!((call.fault.as_deref(), call.effect_ms), (Some("cut"), None));
    assert_eq!(client.delete(&ids).await.status, 202, "only once");
}

#[tokio::test]
async fn a_connection_dropped_after_the_effect_loses_only_the_reply() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 2);
    sim.script(Fault::on(DELETE).drop_connection(Stage::AfterEffect));
    assert!(client.try_delete(&ids).await.is_err());
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("shutting-down"));
    let call = sim.delete_calls().remove(0);
    assert_eq!((call.status, call.delivery), (Some(202), Delivery::Dropped));
    assert_eq!((call.applied_ids, call.applied), (ids, true));
}

#[tokio::test]
async fn requests_wait_at_a_gate_until_released() {
    for (stage, meanwhile) in [(Stage::BeforeEffect, "running"), (Stage::AfterEffect, "shutting-down")] {
        let (sim, client) = start(slow()).await;
        let ids = sim.ids(P, 2);
        let gate = sim.script(Fault::on(DELETE).hold(stage));
        let test = async {
            gate.wait_held(2, PATIENCE).await.unwrap();
            assert_eq!((gate.times_hit(), gate.held()), (2, 2));
            assert_eq!(sim.state(P, &ids[0]).as_deref(), Some(meanwhile));
            assert!(sim.delete_calls().iter().all(|call| call.delivery == Delivery::Pending));
            assert_eq!(client.list("").await.status, 200, "others pass");
            gate.release_some(1);
            sim.wait_calls(DELETE, 1, PATIENCE).await.unwrap();
            assert_eq!(gate.held(), 1);
            gate.release();
        };
        let (one, other, ()) = tokio::join!(client.delete(&ids[..1]), client.delete(&ids[1..]), test);
        assert_eq!((one.status, other.status), (202, 202));
        sim.set_state(P, &ids[0], "running");
        assert_eq!(client.delete(&ids[..1]).await.status, 202, "the gate stays open");
    }
}

#[tokio::test]
async fn what_a_client_asked_for_is_done_though_it_has_gone() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    let gate = sim.script(Fault::on(DELETE).hold(Stage::BeforeEffect));
    tokio::select! {
        _ = client.try_delete(&ids) => unreachable!("the gate is closed"),
        held = gate.wait_held(1, PATIENCE) => held.unwrap(),
    }
    let gone = |entries: &[Entry]| entries[0].delivery == Delivery::ClientGone;
    let entries = sim.wait_log(gone, PATIENCE).await.unwrap();
    assert!(!entries[0].finished() && !entries[0].applied);
    sim.clear_faults();
    let calls = sim.wait_calls(DELETE, 1, PATIENCE).await.unwrap();
    assert_eq!((calls[0].applied, calls[0].delivery), (true, Delivery::ClientGone));
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("shutting-down"));
}

#[tokio::test]
async fn delays_come_before_or_after_the_effect() {
    let delay = Duration::from_millis(30);
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 2);
    sim.script(Fault::on(DELETE).times(1).delay_before(delay));
    sim.script(Fault::on(DELETE).times(1).delay_after(delay));
    client.delete(&ids[..1]).await;
    client.delete(&ids[1..]).await;
    let calls = sim.delete_calls();
    let times = |n: usize| (calls[n].received_ms, calls[n].effect_ms.unwrap(), calls[n].finished_ms.unwrap());
    let ((received, effect, _), (_, late_effect, finished)) = (times(0), times(1));
    assert!(effect >= received + 30 && finished >= late_effect + 30);
}

#[tokio::test]
async fn a_canned_reply_comes_with_or_without_the_effect() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    let overload = Fault::on(DELETE).times(1).reply_error(503, "APIGW.0613", "IAM is down");
    sim.script(overload.header("Retry-After", "3"));
    sim.script(Fault::on(DELETE).times(1).reply(502, "text/html", "<html>").apply_effect());
    let reply = client.delete(&ids).await;
    assert_eq!(reply.refusal(), (503, "APIGW.0613".to_owned()));
    assert_eq!(reply.header("Retry-After"), Some("3"));
    assert!(reply.header("X-Request-Id").is_some());
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("running"));
    let reply = client.delete(&ids).await;
    assert_eq!((reply.status, reply.text.as_str()), (502, "<html>"));
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("shutting-down"));
    let calls = sim.delete_calls();
    assert_eq!((calls[0].applied, calls[1].applied, calls[1].status), (false, true, Some(502)));
}

#[tokio::test]
async fn a_partial_202_leaves_the_rest_alone_or_deletes_it_too() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 6);
    sim.script(Fault::on(DELETE).times(1).return_first(1));
    sim.script(Fault::on(DELETE).times(1).return_only([ids[3].clone()]).delete_rest());
    assert_eq!(client.delete(&ids[..2]).await.ids(), ids[..1]);
    assert_eq!(client.delete(&ids[2..4]).await.ids(), ids[3..4]);
    let states: Vec<_> = sim.instances(P).into_iter().map(|(_, status)| status.state == "running").collect();
    assert_eq!(states, [false, true, false, false, true, true]);
    assert_eq!(sim.delete_calls()[1].applied_ids, ids[2..4]);
    assert_eq!(sim.delete_calls()[1].returned_ids, ids[3..4]);
}

#[tokio::test]
async fn foreign_ids_are_added_and_own_ones_left_out() {
    let (sim, client) = start(slow()).await;
    let (ids, foreign) = (sim.ids(P, 3), sim.fresh_ids(1));
    sim.script(Fault::on(DELETE).add_id(&foreign[0]));
    sim.script(Fault::on(LIST).add_id(&foreign[0]).omit_id(&ids[1]));
    assert_eq!(client.delete(&ids[..1]).await.ids(), [&ids[..1], &foreign[..]].concat());
    let listed = client.list(&ids_query(&ids)).await;
    assert_eq!(listed.ids(), [&ids[..1], &ids[2..], &foreign[..]].concat());
    assert_eq!(sim.state(P, &foreign[0]), None);
}

#[tokio::test]
async fn a_page_may_be_repeated() {
    let (sim, client) = start(slow()).await;
    sim.ids(P, 20);
    let repeated = sim.script(Fault::on(LIST).repeat_page());
    let next = |reply: &common::Reply| reply.json()["page_info"]["next_marker"].as_str().unwrap().to_owned();
    let first = client.list("").await;
    let again = client.list(&format!("marker={}", next(&first))).await;
    assert_eq!((first.ids(), next(&first)), (again.ids(), next(&again)));
    repeated.remove();
    let second = client.list(&format!("marker={}", next(&again))).await;
    assert_ne!(next(&second), next(&first));
}

#[tokio::test]
async fn rows_between_two_pages_may_be_lost_or_repeated() {
    let (sim, client) = start(Options { page_rows: Some(4), ..slow() }).await;
    let ids = sim.ids(P, 10);
    let pages = async || {
        let (mut pages, mut query) = (Vec::new(), "limit=1000".to_owned());
        loop {
            let reply = client.list(&query).await;
            pages.push(reply.ids());
            let marker = reply.json()["page_info"]["next_marker"].as_str().map(str::to_owned);
            let Some(marker) = marker else { return pages };
            query = format!("limit=1000&marker={marker}");
        }
    };
    let lost = sim.script(Fault::on(LIST).times(1).lose_rows(2));
    assert_eq!(pages().await, [&ids[..4], &ids[6..]]);
    sim.script(Fault::on(LIST).times(1).repeat_rows(3));
    assert_eq!(pages().await, [&ids[..4], &ids[1..5], &ids[5..9], &ids[9..]]);
    // All the rest is lost: the next page is empty.
    sim.script(Fault::on(LIST).times(1).lose_rows(100));
    assert_eq!(pages().await, [&ids[..4], &[]]);
    assert_eq!(lost.times_hit(), 1);
}

#[tokio::test]
async fn faults_match_operation_project_token_and_ids() {
    let (sim, client) = start(slow()).await;
    sim.add_token("second", "second", Projects::All);
    let ids = sim.ids(P, 3);
    let teapot = |fault: Fault| sim.script(fault.reply_error(418, "x", "y"));
    let by_id = teapot(Fault::any().with_id(&ids[0]).with_id(&ids[1]));
    let by_token = teapot(Fault::any().with_token("second"));
    let by_project = teapot(Fault::any().in_project("project-b"));
    let by_operation = teapot(Fault::on(Operation::Other));
    assert_eq!(client.show(&ids[2]).await.status, 200);
    assert_eq!(client.show(&ids[1]).await.status, 418);
    assert_eq!(client.list(&ids_query(&ids)).await.status, 418);
    assert_eq!(client.delete(&ids[..1]).await.status, 418);
    assert_eq!(client.with_token("second").list("").await.status, 418);
    assert_eq!(client.get("/v1/project-b/instances").await.status, 418);
    assert_eq!(client.get("/nowhere").await.status, 418);
    let hits = [&by_id, &by_token, &by_project, &by_operation].map(clouddc_simulator::FaultHandle::times_hit);
    assert_eq!(hits, [3, 1, 1, 1]);
}

#[tokio::test]
async fn the_first_fault_that_neither_skips_nor_is_used_up_wins() {
    let (sim, client) = start(slow()).await;
    sim.script(Fault::on(LIST).skip(1).times(2).reply_error(500, "first", ""));
    let second = sim.script(Fault::on(LIST).reply_error(500, "second", ""));
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(client.list("").await.refusal().1);
    }
    assert_eq!(codes, ["second", "first", "first", "second"]);
    second.wait_hit(2, PATIENCE).await.unwrap();
    sim.clear_faults();
    assert_eq!(client.list("").await.status, 200);
    let late = second.wait_hit(3, Duration::ZERO).await.unwrap_err();
    assert!(late.to_string().contains("there are 2"), "{late}");
}

#[tokio::test]
async fn dropping_the_simulator_closes_everything() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    let gate = sim.script(Fault::on(DELETE).hold(Stage::AfterEffect));
    let (reply, ()) = tokio::join!(client.try_delete(&ids), async {
        gate.wait_held(1, PATIENCE).await.unwrap();
        drop(sim);
    });
    assert!(reply.is_err());
    assert!(client.try_delete(&ids).await.is_err());
}
