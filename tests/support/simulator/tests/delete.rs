//! DeleteInstances and what follows.

mod common;

use std::time::Duration;

use clouddc_simulator::{EndTime, Options, Vocabulary};
use common::{P, start};
use serde_json::json;

const TAKES: Duration = Duration::from_secs(1_000);

fn slow() -> Options {
    Options { end: EndTime::Fixed(TAKES), ..Options::default() }
}

#[tokio::test]
async fn accepted_instances_shut_down_and_end() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 50);
    let reply = client.delete(&ids).await;
    assert_eq!((reply.status, reply.ids()), (202, ids.clone()));
    let under_way = json!({"state": "shutting-down", "operation_state": "uninstall-processing"});
    assert_eq!(client.show(&ids[0]).await.json(), under_way);
    sim.advance(TAKES);
    let over = json!({"state": "terminated", "operation_state": "uninstall-succeed"});
    assert_eq!(client.show(&ids[49]).await.json(), over);
}

#[tokio::test]
async fn requests_that_are_refused_change_nothing() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 51);
    let upper = ids[0].to_uppercase();
    for (body, refusal) in [
        (json!({}), (400, "iMetal.0002")),
        (json!({"instance_id_set": null}), (400, "iMetal.0002")),
        (json!({"instance_id_set": []}), (400, "iMetal.0002")),
        (json!({"instance_id_set": ids}), (400, "iMetal.0001")),
        (json!({"instance_id_set": [ids[0], "no-uuid"]}), (400, "iMetal.0001")),
        (json!({"instance_id_set": [ids[0], upper]}), (400, "iMetal.0001")),
        (json!({"instance_id_set": ids[0]}), (400, "iMetal.0001")),
        (json!([ids[0]]), (400, "iMetal.0001")),
    ] {
        let reply = client.post_delete(&body.to_string()).await.unwrap();
        assert_eq!(reply.refusal(), (refusal.0, refusal.1.to_owned()), "{body}");
    }
    assert_eq!(client.post_delete("{").await.unwrap().refusal(), (400, "iMetal.0001".to_owned()));
    assert!(sim.instances(P).iter().all(|(_, status)| status.state == "running"));
    assert!(sim.delete_calls().iter().all(|call| !call.applied && call.applied_ids.is_empty()));
}

#[tokio::test]
async fn unknown_ids_refuse_the_whole_call_and_are_named() {
    let (sim, client) = start(slow()).await;
    let (known, unknown) = (sim.ids(P, 2), sim.fresh_ids(2));
    sim.add_instances("project-b", [unknown[1].clone()]);
    sim.set_state(P, &known[1], "terminated");
    let reply = client.delete(&[known.clone(), unknown.clone()].concat()).await;
    assert_eq!(reply.refusal(), (404, "iMetal.0200".to_owned()));
    let message = format!("Instances not found: [{}, {}]", unknown[0], unknown[1]);
    assert_eq!(reply.json()["error_msg"], message);
    assert_eq!(sim.state(P, &known[0]).as_deref(), Some("running"));
}

#[tokio::test]
async fn only_some_states_lead_to_shutting_down() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 2);
    for state in ["pending", "running", "stopped", "error", "failed"] {
        sim.set_state(P, &ids[0], state);
        assert_eq!(client.delete(&ids[..1]).await.status, 202, "{state}");
    }
    for state in ["shutting-down", "terminated", "teminated", "reinstalling", "never-heard-of"] {
        sim.set_state(P, &ids[0], state);
        let reply = client.delete(&ids).await;
        assert_eq!(reply.refusal(), (400, "iMetal.0201".to_owned()), "{state}");
        let message = reply.json()["error_msg"].as_str().unwrap().to_owned();
        assert!(message.starts_with("In") && message.contains(&ids[0]) && !message.contains(&ids[1]));
        assert_eq!(sim.state(P, &ids[1]).as_deref(), Some("running"));
    }
}

#[tokio::test]
async fn running_and_error_may_be_kept_from_deletion() {
    let options = Options { running_deletable: false, error_deletable: false, ..slow() };
    let (sim, client) = start(options).await;
    let ids = sim.ids(P, 1);
    for (state, status) in [("running", 400), ("error", 400), ("stopped", 202)] {
        sim.set_state(P, &ids[0], state);
        assert_eq!(client.delete(&ids).await.status, status, "{state}");
    }
}

#[tokio::test]
async fn an_id_given_twice_is_accepted_once() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    assert_eq!(client.delete(&[ids[0].clone(), ids[0].clone()]).await.ids(), ids);
}

#[tokio::test]
async fn a_deletion_fails_as_often_as_told_and_may_be_retried() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 1);
    assert!(sim.fail_deletions(P, &ids[0], 2));
    for _ in 0..2 {
        assert_eq!(client.delete(&ids).await.status, 202);
        sim.advance(TAKES);
        let status = client.show(&ids[0]).await.json();
        assert_eq!(
            (&status["state"], &status["operation_state"]),
            (&json!("error"), &json!("uninstall-failed"))
        );
        assert_eq!(status["error"]["error_type"], "delete_instance_error");
        assert!(status["error"]["error_code"].is_string() && status["error"]["error_msg"].is_string());
    }
    assert_eq!(client.delete(&ids).await.status, 202);
    assert_eq!(client.show(&ids[0]).await.json().get("error"), None);
    sim.advance(TAKES);
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("terminated"));
}

#[tokio::test]
async fn each_attempt_draws_its_own_ending_time() {
    let end = EndTime::Uniform { min: TAKES, max: TAKES * 1_000 };
    let (sim, client) = start(Options { end, ..Options::default() }).await;
    let ids = sim.ids(P, 1);
    assert!(sim.fail_deletions(P, &ids[0], 1));
    let mut steps = Vec::new();
    for _ in 0..2 {
        client.delete(&ids).await;
        let mut taken = 0;
        while sim.state(P, &ids[0]).as_deref() == Some("shutting-down") {
            sim.advance(TAKES);
            taken += 1;
        }
        steps.push(taken);
    }
    assert!(steps.iter().all(|taken| (1..=1_000).contains(taken)) && steps[0] != steps[1], "{steps:?}");
}

#[tokio::test]
async fn a_state_set_by_hand_ends_what_was_under_way() {
    let (sim, client) = start(Options { visibility_lag: TAKES, ..slow() }).await;
    let ids = sim.ids(P, 1);
    client.delete(&ids).await;
    sim.set_state(P, &ids[0], "stopped");
    assert_eq!(client.show(&ids[0]).await.json()["state"], "stopped");
    sim.advance(TAKES);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "stopped");
}

#[tokio::test]
async fn ending_times_may_differ_by_id() {
    let (sim, client) = start(slow()).await;
    let ids = sim.ids(P, 3);
    assert!(sim.set_end_of(P, &ids[0], EndTime::Never));
    assert!(sim.set_end_of(P, &ids[1], EndTime::Fixed(Duration::ZERO)));
    assert!(!sim.set_end_of(P, "unknown", EndTime::Never));
    client.delete(&ids).await;
    let states = || sim.instances(P).into_iter().map(|(_, status)| status.state).collect::<Vec<_>>();
    assert_eq!(states(), ["shutting-down", "terminated", "shutting-down"]);
    sim.advance(TAKES);
    assert_eq!(states(), ["shutting-down", "terminated", "terminated"]);
}

#[tokio::test]
async fn the_course_of_a_deletion_is_told() {
    let (sim, client) = start(Options { vanish_after: Some(TAKES), ..slow() }).await;
    let ids = sim.ids(P, 3);
    assert!(sim.set_end_of(P, &ids[1], EndTime::Never));
    assert_eq!(sim.courses(P).len(), 0, "nothing was accepted");
    client.delete(&ids[..2]).await;
    let (told, call) = (sim.courses(P), sim.delete_calls().remove(0));
    assert_eq!(told.len(), 2, "the third was in no call");
    let accepted = told[&ids[0]].accepted.as_millis();
    assert!((call.received_ms.into()..=call.finished_ms.unwrap().into()).contains(&accepted));
    assert_eq!(told[&ids[0]].ends, Some(told[&ids[0]].accepted + TAKES));
    assert_eq!(told[&ids[1]].ends, None);
    sim.advance(TAKES);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "terminated");
    assert_eq!(sim.courses(P), told, "what is over stays told");
    sim.advance(TAKES);
    assert_eq!(client.show(&ids[0]).await.status, 404);
    assert_eq!(sim.courses(P), told, "also when the instance has vanished");
    sim.set_state(P, &ids[1], "running");
    assert_eq!(sim.courses(P).len(), 1, "a state set by hand ends what was under way");
}

#[tokio::test]
async fn a_terminated_instance_vanishes_after_the_time_given() {
    let options = Options { vanish_after: Some(TAKES), ..slow() };
    let (sim, client) = start(options).await;
    let ids = sim.ids(P, 2);
    client.delete(&ids[..1]).await;
    sim.advance(TAKES);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "terminated");
    sim.advance(TAKES);
    assert_eq!(client.show(&ids[0]).await.refusal(), (404, "iMetal.0200".to_owned()));
    assert_eq!(client.list(&common::ids_query(&ids)).await.ids(), ids[1..]);
    assert_eq!(client.delete(&ids).await.refusal(), (404, "iMetal.0200".to_owned()));
    assert_eq!(sim.state(P, &ids[0]), None);
}

#[tokio::test]
async fn reads_may_lag_behind() {
    let lag = TAKES / 2;
    let (sim, client) = start(Options { visibility_lag: lag, ..slow() }).await;
    let ids = sim.ids(P, 1);
    sim.set_state(P, &ids[0], "stopped");
    assert_eq!(client.delete(&ids).await.status, 202);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "stopped");
    assert_eq!(client.list("limit=10").await.json()["instances"][0]["state"], "stopped");
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("shutting-down"), "the truth is known to the test");
    assert_eq!(client.delete(&ids).await.refusal().1, "iMetal.0201", "and to the service");
    sim.advance(lag);
    assert_eq!(client.show(&ids[0]).await.json()["state"], "shutting-down");
}

#[tokio::test]
async fn old_names_of_states() {
    let (sim, client) = start(Options { vocabulary: Vocabulary::Old, ..slow() }).await;
    let ids = sim.ids(P, 2);
    assert!(sim.fail_deletions(P, &ids[1], 1));
    client.delete(&ids).await;
    assert_eq!(client.show(&ids[0]).await.json(), json!({"state": "shutting-down"}));
    sim.advance(TAKES);
    assert_eq!(client.show(&ids[0]).await.json(), json!({"state": "teminated"}));
    assert_eq!(client.show(&ids[1]).await.json()["state"], "failed");
}
