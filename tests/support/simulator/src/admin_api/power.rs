//! The power of servers: who switches it by hand, how calls go, and what they did.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, done, not_found};
use crate::{clock::millis, options::EndTime, power::PowerCourse};

pub(super) async fn power(State(shared): App, Path((project, id)): Path<(String, String)>) -> Response {
    let power = shared.state().world.power(&project, &id, shared.clock.now());
    let Some(power) = power else { return not_found("instance") };
    let mut shown = json!({"server_id": power.server, "power_state": power.state()});
    if let Some(operation_state) = power.operation_state {
        shown["operation_state"] = json!(operation_state);
    }
    Json(shown).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PowerState {
    On,
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    power_state: PowerState,
}

pub(super) async fn switch(
    State(shared): App,
    Path((project, id)): Path<(String, String)>,
    Json(Switch { power_state }): Json<Switch>,
) -> Response {
    let on = match power_state {
        PowerState::On => true,
        PowerState::Off => false,
    };
    let found = shared.state().world.switch(&project, &id, on, shared.clock.now());
    done(found, "running or stopped instance")
}

fn shown(course: &PowerCourse) -> Value {
    let PowerCourse { action, server, instance, accepted, ends, fails, changed } = course;
    json!({
        "action": action,
        "server_id": server,
        "instance_id": instance,
        "accepted_ms": millis(*accepted),
        "ends_ms": ends.map(millis),
        "fails": fails,
        "changed_ms": changed.map(millis),
    })
}

pub(super) async fn courses(State(shared): App, Path(project): Path<String>) -> Json<Value> {
    let courses = shared.state().world.power_courses(&project, shared.clock.now());
    Json(json!({"courses": courses.iter().map(shown).collect::<Vec<_>>()}))
}

pub(super) async fn set_end(State(shared): App, Json(end): Json<EndTime>) -> StatusCode {
    shared.state().world.rules.power_end = end;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusals {
    running: Option<bool>,
    error: Option<bool>,
    named: Option<bool>,
}

/// Which states a deletion is refused for, and whether that names the instances. What is left out stays as it is.
pub(super) async fn set_refusals(State(shared): App, Json(new): Json<Refusals>) -> StatusCode {
    let mut state = shared.state();
    let rules = &mut state.world.rules;
    rules.running_deletable = new.running.map_or(rules.running_deletable, |refused| !refused);
    rules.error_deletable = new.error.map_or(rules.error_deletable, |refused| !refused);
    rules.refusals_named = new.named.unwrap_or(rules.refusals_named);
    StatusCode::NO_CONTENT
}
