//! The admin interface: JSON over HTTP on a port of its own. The README lists the endpoints.

mod callers;
mod power;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    calendar::http_date,
    durations,
    facts::{Facts, RowFacts},
    fault_book::FaultHandle,
    faults::Fault,
    instance::{Status, StatusError},
    log::{Entry, Operation},
    options::EndTime,
    rate_limit::RateLimit,
    shared::Shared,
};

type App = State<Arc<Shared>>;

pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/projects", get(projects))
        .route("/projects/{project}/instances", get(instances).post(add_instances))
        .route("/projects/{project}/instances/{id}", get(instance).put(set_instance).delete(remove_instance))
        .route("/projects/{project}/instances/{id}/facts", get(facts).patch(change_facts))
        .route("/projects/{project}/instances/{id}/power", get(power::power).put(power::switch))
        .route("/projects/{project}/power", get(power::courses))
        .route("/tokens", get(callers::tokens).post(callers::add_token))
        .route("/tokens/{label}", delete(callers::revoke_token))
        .route("/access-keys", get(callers::access_keys).post(callers::add_access_key))
        .route("/access-keys/{label}", delete(callers::revoke_access_key))
        .route("/users", get(callers::users).post(callers::add_user))
        .route("/users/{name}", delete(callers::remove_user))
        .route("/users/{name}/tokens", delete(callers::revoke_user_tokens))
        .route("/token-life", put(callers::set_token_life))
        .route("/projects/{project}/name", put(name_project))
        .route("/clock", get(clock).put(set_clock))
        .route("/faults", get(faults).post(script).delete(clear_faults))
        .route("/faults/{fault}", get(fault).delete(remove_fault))
        .route("/faults/{fault}/release", post(release))
        .route("/log", get(log))
        .route("/end", put(set_end))
        .route("/power-end", put(power::set_end))
        .route("/refusals", put(power::set_refusals))
        .route("/visibility-lag", put(set_visibility_lag))
        .route("/lists", put(set_lists))
        .route("/limits", put(set_limits))
        .route("/advance", post(advance))
        .route("/reset", post(reset))
        .with_state(shared);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "the admin interface ended");
    }
}

fn not_found(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": format!("no such {what}")}))).into_response()
}

fn done(found: bool, what: &str) -> Response {
    if found { StatusCode::NO_CONTENT.into_response() } else { not_found(what) }
}

async fn projects(State(shared): App) -> Json<Value> {
    Json(json!({"projects": shared.state().world.projects()}))
}

fn with_id(id: &str, status: &Status) -> Value {
    let mut value = json!(status);
    value["id"] = json!(id);
    value
}

async fn instances(State(shared): App, Path(project): Path<String>) -> Json<Value> {
    let all = shared.state().world.all(&project, shared.clock.now());
    let all: Vec<Value> = all.iter().map(|(id, status)| with_id(id, status)).collect();
    Json(json!({"instances": all}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewInstances {
    #[serde(default)]
    count: usize,
    #[serde(default)]
    ids: Vec<String>,
    state: Option<String>,
    /// A merge patch of the facts of each.
    #[serde(default)]
    facts: Option<Value>,
    /// Adds one, on the server of this instance, which is gone.
    #[serde(default)]
    on_server_of: Option<String>,
}

async fn add_instances(
    State(shared): App,
    Path(project): Path<String>,
    Json(new): Json<NewInstances>,
) -> Response {
    let (now, mut state) = (shared.clock.now(), shared.state());
    if let Some(Err(error)) = new.facts.as_ref().map(|patch| Facts::of(0, "", "").patched(patch)) {
        return unprocessable(&error);
    }
    let mut ids = new.ids;
    if let Some(gone) = &new.on_server_of {
        let id = state.world.fresh_id();
        if !state.world.reuse_server(&project, gone, &id, now) {
            return unprocessable("no such instance, or its server is not free");
        }
        if let Some(patch) = &new.facts {
            patch_facts(&mut state, &project, &id, patch, now);
        }
        return (StatusCode::CREATED, Json(json!({"ids": [id]}))).into_response();
    }
    ids.extend((0..new.count).map(|_| state.world.fresh_id()));
    for id in &ids {
        state.world.add(&project, id, Status::new(new.state.as_deref().unwrap_or("running")), now);
        if let Some(patch) = &new.facts {
            patch_facts(&mut state, &project, id, patch, now);
        }
    }
    (StatusCode::CREATED, Json(json!({"ids": ids}))).into_response()
}

async fn facts(State(shared): App, Path((project, id)): Path<(String, String)>) -> Response {
    let facts = shared.state().world.facts(&project, &id).cloned();
    facts.map_or_else(|| not_found("instance"), |facts| Json(facts).into_response())
}

async fn change_facts(
    State(shared): App,
    Path((project, id)): Path<(String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    let (now, mut state) = (shared.clock.now(), shared.state());
    patch_facts(&mut state, &project, &id, &patch, now)
}

fn patch_facts(
    state: &mut crate::shared::State,
    project: &str,
    id: &str,
    patch: &Value,
    now: Duration,
) -> Response {
    let Some(facts) = state.world.facts(project, id) else { return not_found("instance") };
    match facts.patched(patch) {
        Ok(facts) => done(state.world.set_facts(project, id, facts, now), "instance"),
        Err(error) => unprocessable(&error),
    }
}

fn unprocessable(error: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"error": error}))).into_response()
}

async fn instance(State(shared): App, Path((project, id)): Path<(String, String)>) -> Response {
    let status = shared.state().world.actual(&project, &id, shared.clock.now());
    status.map_or_else(|| not_found("instance"), |status| Json(with_id(&id, &status)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceChange {
    state: Option<String>,
    operation_state: Option<String>,
    error: Option<StatusError>,
    end: Option<EndTime>,
    fail_times: Option<u32>,
    power_end: Option<EndTime>,
    fail_power_offs: Option<u32>,
}

async fn set_instance(
    State(shared): App,
    Path((project, id)): Path<(String, String)>,
    Json(change): Json<InstanceChange>,
) -> Response {
    let (now, mut state) = (shared.clock.now(), shared.state());
    let InstanceChange { state: new_state, operation_state, error, end, fail_times, .. } = change;
    if new_state.is_none() && (operation_state.is_some() || error.is_some()) {
        return unprocessable("operation_state and error need a state");
    }
    if let Some(new_state) = new_state {
        let status = Status { state: new_state, operation_state, error };
        state.world.set(&project, &id, status, now);
    }
    let found = state.world.set_course(&project, &id, end, fail_times, now)
        && state.world.set_power_course(&project, &id, change.power_end, change.fail_power_offs, now);
    done(found, "instance")
}

async fn remove_instance(State(shared): App, Path((project, id)): Path<(String, String)>) -> Response {
    done(shared.state().world.remove(&project, &id), "instance")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectName {
    name: String,
}

async fn name_project(
    State(shared): App,
    Path(project): Path<String>,
    Json(new): Json<ProjectName>,
) -> StatusCode {
    shared.state().project_names.insert(new.name, project);
    StatusCode::NO_CONTENT
}

async fn clock(State(shared): App) -> Json<Value> {
    let clock = &shared.clock;
    Json(json!({"offset_seconds": clock.offset_seconds(), "date": http_date(clock.unix_ms())}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOffset {
    offset_seconds: i64,
}

async fn set_clock(State(shared): App, Json(new): Json<ClockOffset>) -> StatusCode {
    shared.clock.set_offset(new.offset_seconds);
    StatusCode::NO_CONTENT
}

async fn faults(State(shared): App) -> Json<Value> {
    let reports: Vec<_> = shared.state().faults.handles().iter().map(FaultHandle::report).collect();
    Json(json!({"faults": reports}))
}

async fn script(State(shared): App, Json(fault): Json<Fault>) -> (StatusCode, Json<Value>) {
    let handle = shared.state().faults.add(fault);
    (StatusCode::CREATED, Json(json!({"id": handle.id()})))
}

async fn clear_faults(State(shared): App) -> StatusCode {
    shared.state().faults.clear();
    StatusCode::NO_CONTENT
}

fn find_fault(shared: &Shared, id: u64) -> Option<FaultHandle> {
    shared.state().faults.handles().into_iter().find(|handle| handle.id() == id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultQuery {
    hits: Option<u64>,
    held: Option<u64>,
    #[serde(default, with = "durations::text")]
    timeout: Duration,
}

async fn fault(State(shared): App, Path(id): Path<u64>, Query(query): Query<FaultQuery>) -> Response {
    let Some(handle) = find_fault(&shared, id) else { return not_found("fault") };
    let hit = handle.wait_hit(query.hits.unwrap_or(0), query.timeout).await;
    let held = handle.wait_held(query.held.unwrap_or(0), query.timeout).await;
    let status = if hit.and(held).is_ok() { StatusCode::OK } else { StatusCode::REQUEST_TIMEOUT };
    (status, Json(handle.report())).into_response()
}

async fn remove_fault(State(shared): App, Path(id): Path<u64>) -> Response {
    let handle = find_fault(&shared, id);
    handle.iter().for_each(FaultHandle::remove);
    done(handle.is_some(), "fault")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseQuery {
    count: Option<usize>,
}

async fn release(State(shared): App, Path(id): Path<u64>, Query(query): Query<ReleaseQuery>) -> Response {
    let Some(handle) = find_fault(&shared, id) else { return not_found("fault") };
    match query.count {
        Some(count) => handle.release_some(count),
        None => handle.release(),
    }
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    #[serde(default)]
    after: u64,
    operation: Option<Operation>,
    #[serde(default)]
    finished: bool,
    #[serde(default)]
    at_least: usize,
    #[serde(default = "half_a_minute", with = "durations::text")]
    timeout: Duration,
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

async fn log(State(shared): App, Query(query): Query<LogQuery>) -> Response {
    let wanted = |entry: &&Entry| {
        entry.seq > query.after
            && query.operation.is_none_or(|operation| operation == entry.operation)
            && (!query.finished || entry.finished())
    };
    let enough = |entries: &[Entry]| entries.iter().filter(wanted).count() >= query.at_least;
    let (status, entries) = match shared.log.wait(enough, query.timeout).await {
        Ok(entries) => (StatusCode::OK, entries),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, shared.log.entries()),
    };
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| wanted(&entry)).collect();
    (status, Json(json!({"entries": entries}))).into_response()
}

async fn set_end(State(shared): App, Json(end): Json<EndTime>) -> StatusCode {
    shared.state().world.rules.end = end;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VisibilityLag {
    #[serde(with = "durations::text")]
    lag: Duration,
}

async fn set_visibility_lag(State(shared): App, Json(new): Json<VisibilityLag>) -> StatusCode {
    shared.state().world.rules.visibility_lag = new.lag;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    page_rows: Option<usize>,
    #[serde(default)]
    user_data_bytes: usize,
    #[serde(default)]
    row_facts: RowFacts,
}

async fn set_lists(State(shared): App, Json(lists): Json<Lists>) -> StatusCode {
    let mut state = shared.state();
    state.page_rows = lists.page_rows;
    state.world.rules.user_data_bytes = lists.user_data_bytes;
    state.world.rules.row_facts = lists.row_facts;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    delete: Option<RateLimit>,
    read: Option<RateLimit>,
}

async fn set_limits(State(shared): App, Json(limits): Json<Limits>) -> StatusCode {
    shared.state().set_limits(limits.delete, limits.read);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(with = "durations::text")]
    by: Duration,
}

async fn advance(State(shared): App, Json(advance): Json<Advance>) -> StatusCode {
    shared.clock.advance(advance.by);
    StatusCode::NO_CONTENT
}

async fn reset(State(shared): App) -> StatusCode {
    shared.reset();
    StatusCode::NO_CONTENT
}
