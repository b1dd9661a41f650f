//! Who may call: tokens, access keys and users. None of their secrets is ever shown.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, done, not_found};
use crate::{access_keys::AccessKey, durations, projects::Projects, tokens::Token, users::User};

pub(super) async fn tokens(State(shared): App) -> Json<Value> {
    let state = shared.state();
    let shown = |token: &Token| json!({"label": token.label, "projects": token.projects});
    Json(json!({"tokens": state.tokens.iter().map(shown).collect::<Vec<_>>()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    label: String,
    value: String,
    projects: Option<Vec<String>>,
}

pub(super) async fn add_token(State(shared): App, Json(new): Json<NewToken>) -> StatusCode {
    let projects = new.projects.map_or(Projects::All, Projects::Only);
    shared.state().tokens.add(Token::new(new.label, new.value, projects));
    StatusCode::CREATED
}

pub(super) async fn revoke_token(State(shared): App, Path(label): Path<String>) -> Response {
    done(shared.state().tokens.revoke(|token| token.label == label) > 0, "token")
}

pub(super) async fn access_keys(State(shared): App) -> Json<Value> {
    let shown = |key: &AccessKey| {
        let AccessKey { label, id, security_token, projects, .. } = key;
        json!({"label": label, "id": id, "temporary": security_token.is_some(), "projects": projects})
    };
    Json(json!({"access_keys": shared.state().access_keys.all().iter().map(shown).collect::<Vec<_>>()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccessKey {
    label: String,
    id: String,
    secret: String,
    security_token: Option<String>,
    projects: Option<Vec<String>>,
}

pub(super) async fn add_access_key(State(shared): App, Json(new): Json<NewAccessKey>) -> StatusCode {
    let NewAccessKey { label, id, secret, security_token, projects } = new;
    let projects = projects.map_or(Projects::All, Projects::Only);
    shared.state().access_keys.add(AccessKey { label, id, secret, security_token, projects });
    StatusCode::CREATED
}

pub(super) async fn revoke_access_key(State(shared): App, Path(label): Path<String>) -> Response {
    done(shared.state().access_keys.revoke(|key| key.label == label) > 0, "access key")
}

pub(super) async fn users(State(shared): App) -> Json<Value> {
    let shown = |user: &User| json!({"name": user.name, "domain": user.domain, "projects": user.projects});
    Json(json!({"users": shared.state().users.iter().map(shown).collect::<Vec<_>>()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    name: String,
    password: String,
    domain: String,
    projects: Option<Vec<String>>,
}

pub(super) async fn add_user(State(shared): App, Json(new): Json<NewUser>) -> StatusCode {
    let NewUser { name, password, domain, projects } = new;
    let projects = projects.map_or(Projects::All, Projects::Only);
    shared.state().users.add(User { name, password, domain, projects });
    StatusCode::CREATED
}

pub(super) async fn remove_user(State(shared): App, Path(name): Path<String>) -> Response {
    done(shared.state().remove_user(&name, shared.clock.now()) > 0, "user")
}

pub(super) async fn revoke_user_tokens(State(shared): App, Path(name): Path<String>) -> Response {
    let mut state = shared.state();
    if !state.users.knows(&name) {
        return not_found("user");
    }
    let revoked = state.issued.revoke(&name, shared.clock.now());
    Json(json!({"revoked": revoked})).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenLife {
    #[serde(with = "durations::text")]
    life: Duration,
}

pub(super) async fn set_token_life(State(shared): App, Json(new): Json<TokenLife>) -> StatusCode {
    shared.state().token_life = new.life;
    StatusCode::NO_CONTENT
}
