//! Faults between the controller and the API server.

use std::time::Duration;

use clouddc_simulator::{EndTime, Options};
use harness::{Controller, Manifest, Stage};
use serde_json::Value;

use crate::{
    gateway::{Gateway, Rule, gets, intents, outcomes, secrets, status_writes},
    support::{assert_succeeded, each_once, instances, options, sizes, stage, stage_with},
};

/// A stage with a gateway, and a controller behind it.
async fn behind_gateway(name: &str, flags: &[&str]) -> (Stage, Gateway, Controller) {
    let stage = stage(name).await;
    let gateway = Gateway::start(&stage).await;
    let controller = stage.controller_through(&gateway.kubeconfig, flags).unwrap();
    (stage, gateway, controller)
}

/// 120 ids to their end: three calls, each id in one, and nowhere counted twice.
fn one_call_each(stage: &Stage, ids: &[String]) {
    stage.apply(&Manifest::new("retire", ids)).unwrap();
    let object = stage.wait_finished("retire");
    assert_succeeded(&object, ids.len());
    each_once(&stage.calls(), ids);
    no_attempt_counted_twice(&object);
}

fn no_attempt_counted_twice(object: &Value) {
    let rows = object["status"]["instances"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["attempts"].is_null()), "attempts of more than one are written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn k02_the_reply_to_the_write_of_an_intent_is_lost() {
    let (stage, gateway, _controller) = behind_gateway("intentlost", &[]).await;
    let lost = gateway.script(Rule::on(intents).times(1).close());
    let ids = instances(&stage, 120);
    one_call_each(&stage, &ids);
    assert_eq!(lost.hits(), 1);
}
