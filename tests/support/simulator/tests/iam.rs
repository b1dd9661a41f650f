//! Tokens from IAM.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use clouddc_simulator::{
    Fault, InMemoryCloud, InMemoryRequest, Operation, Options, Projects, Simulator, Stage, User,
};
use common::{Client, P, PATIENCE, Reply, start};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_hours(1);
const PASSWORD: &str = "pass-word";

fn body(name: &str, password: &str, domain: &str, scope: impl Into<Option<Value>>) -> Value {
    let user = json!({"name": name, "password": password, "domain": {"name": domain}});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    scope.into().map_or_else(
        || json!({"auth": {"identity": identity}}),
        |scope| json!({"auth": {"identity": identity, "scope": scope}}),
    )
}

fn by_id(id: &str) -> Value {
    json!({"project": {"id": id}})
}

async fn post(client: &Client, body: &Value) -> Reply {
    try_post(client, body).await.unwrap()
}

async fn try_post(client: &Client, body: &Value) -> Result<Reply, reqwest::Error> {
    let headers = [("Content-Type", "application/json;charset=utf8")];
    client.send("POST", "/v3/auth/tokens?nocatalog=true", &headers, Some(body.to_string())).await
}

async fn good(client: &Client) -> Client {
    let reply = post(client, &body("user", PASSWORD, "account", by_id(P))).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    client.with_token(reply.header("X-Subject-Token").unwrap())
}

/// Status, title and message, which are those of IAM.
fn error(reply: &Reply) -> (u16, String, String) {
    let error = reply.json()["error"].clone();
    assert_eq!(error["code"], reply.status);
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (reply.status, text("title"), text("message"))
}

fn unauthorized(message: &str) -> (u16, String, String) {
    (401, "Unauthorized".to_owned(), message.to_owned())
}

const WRONG: &str = "The username or password is wrong.";

fn options() -> Options {
    let only = Projects::Only(vec![P.to_owned(), "project-b".to_owned()]);
    let users = vec![
        User::new("user", PASSWORD, "account", only),
        User::new("second", PASSWORD, "account", Projects::All),
    ];
    let project_names = [("region-1".to_owned(), P.to_owned())].into();
    Options { users, project_names, ..Options::default() }
}

async fn cloud() -> (Simulator, Client) {
    start(options()).await
}

#[tokio::test]
async fn a_password_gets_a_token_for_a_project() {
    let (sim, client) = cloud().await;
    let ids = sim.ids(P, 1);
    // 2026-01-01, whenever this runs.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    sim.set_clock_offset(1_767_225_600_i64.checked_sub_unsigned(now).unwrap());
    for scope in [by_id(P), json!({"project": {"name": "region-1"}})] {
        let reply = post(&client, &body("user", PASSWORD, "account", scope)).await;
        assert_eq!(reply.status, 201);
        let token = reply.json()["token"].clone();
        let issued = token["issued_at"].as_str().unwrap();
        assert!(issued.starts_with("2026-01-01T00:0") && issued.len() == 27, "{issued}");
        let expires = token["expires_at"].as_str().unwrap();
        assert_eq!(expires, issued.replace("2026-01-01", "2026-01-02"));
        assert_eq!(token["project"], json!({"id": P, "name": "region-1"}));
        assert_eq!((&token["methods"], &token["roles"]), (&json!(["password"]), &json!([])));
        assert_eq!(token["catalog"], json!([]));
        assert_eq!(
            (&token["user"]["name"], &token["user"]["domain"]["name"]),
            (&json!("user"), &json!("account"))
        );
        assert!(token["user"]["id"].is_string() && token["user"]["domain"]["id"].is_string());
        let value = reply.header("X-Subject-Token").unwrap();
        assert!(!reply.text.contains(value));
        let user = client.with_token(value);
        assert_eq!(user.list("").await.ids(), ids);
        assert_eq!(user.get("/v1/project-b/instances").await.refusal(), (403, "iMetal.0004".to_owned()));
    }
    assert_eq!(good(&client).await.delete(&ids).await.status, 202);
    let headers = [("Content-Type", "application/json")];
    let asked = body("user", PASSWORD, "account", by_id(P)).to_string();
    let whole = client.send("POST", "/v3/auth/tokens", &headers, Some(asked)).await.unwrap();
    assert!(!whole.json()["token"]["catalog"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn wrong_names_passwords_domains_and_projects_are_refused() {
    let (_sim, client) = cloud().await;
    for (name, password, domain) in
        [("nobody", PASSWORD, "account"), ("user", "wrong", "account"), ("user", PASSWORD, "another")]
    {
        let reply = post(&client, &body(name, password, domain, by_id(P))).await;
        assert_eq!(error(&reply), unauthorized(WRONG));
        assert_eq!(reply.header("X-Subject-Token"), None);
    }
    for scope in [json!({"id": "project-c"}), json!({"name": "project-c"})] {
        let scope = Some(json!({"project": scope}));
        let reply = post(&client, &body("user", PASSWORD, "account", scope)).await;
        let message = "Could not find project: project-c".to_owned();
        assert_eq!(error(&reply), (404, "Not Found".to_owned(), message));
    }
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let (_sim, client) = cloud().await;
    let mut totp = body("user", PASSWORD, "account", by_id(P));
    totp["auth"]["identity"]["methods"] = json!(["totp"]);
    let mut nameless = body("user", PASSWORD, "account", by_id(P));
    nameless["auth"]["identity"]["password"]["user"]["name"] = Value::Null;
    let projectless = body("user", PASSWORD, "account", Some(json!({"project": {}})));
    for bad in [json!(null), json!({}), json!("x"), totp, nameless, projectless] {
        let reply = post(&client, &bad).await;
        assert_eq!((reply.status, error(&reply).1), (400, "Bad Request".to_owned()), "{bad}");
    }
    let plain = body("user", PASSWORD, "account", by_id(P)).to_string();
    let reply = client.send("POST", "/v3/auth/tokens", &[], Some(plain)).await.unwrap();
    assert_eq!(error(&reply).0, 400, "no Content-Type");
    let reply = client.get("/v3/auth/tokens").await;
    assert_eq!(reply.refusal(), (404, "APIGW.0101".to_owned()));
}

#[tokio::test]
async fn a_token_without_a_project_is_good_for_none() {
    let (_sim, client) = cloud().await;
    for scope in [None, Some(json!({"domain": {"name": "account"}}))] {
        let reply = post(&client, &body("second", PASSWORD, "account", scope)).await;
        assert_eq!((reply.status, &reply.json()["token"]["domain"]["name"]), (201, &json!("account")));
        assert!(reply.json()["token"].get("project").is_none());
        let user = client.with_token(reply.header("X-Subject-Token").unwrap());
        assert_eq!(user.list("").await.refusal(), (403, "iMetal.0004".to_owned()));
    }
}

#[tokio::test]
async fn wrong_passwords_lock_a_user_out_for_a_while() {
    let (sim, client) = cloud().await;
    let right = body("user", PASSWORD, "account", by_id(P));
    let before = good(&client).await;
    for _ in 0..5 {
        let reply = post(&client, &body("user", "wrong", "account", by_id(P))).await;
        assert_eq!(error(&reply), unauthorized(WRONG));
    }
    let locked = error(&post(&client, &right).await);
    assert_eq!(locked.0, 401);
    assert_ne!(locked.2, WRONG);
    assert_eq!(before.list("").await.status, 200, "issued tokens stay good");
    assert_eq!(post(&client, &body("second", PASSWORD, "account", by_id(P))).await.status, 201);
    sim.advance(Duration::from_mins(15));
    assert_eq!(post(&client, &right).await.status, 201);
}

#[tokio::test]
async fn tokens_end_and_are_revoked() {
    let (sim, client) = cloud().await;
    let must_be_updated = (401, "APIGW.0307".to_owned());
    let first = good(&client).await;
    sim.advance(23 * HOUR);
    let second = good(&client).await;
    assert_eq!(first.list("").await.status, 200, "a new token does not void the old one");
    sim.advance(HOUR);
    let ended = first.list("").await;
    assert_eq!(ended.refusal(), must_be_updated);
    assert!(ended.text.contains("The token must be updated"));
    assert_eq!(second.list("").await.status, 200);

    let other = post(&client, &body("second", PASSWORD, "account", by_id(P))).await;
    let other = client.with_token(other.header("X-Subject-Token").unwrap());
    assert_eq!((sim.revoke_user_tokens("user"), sim.revoke_user_tokens("nobody")), (1, 0));
    assert_eq!(second.list("").await.refusal(), must_be_updated);
    assert_eq!(other.list("").await.status, 200);
    assert_eq!(good(&client).await.list("").await.status, 200);
    assert_eq!(client.with_token("never-a-token").list("").await.refusal(), (401, "iMetal.0003".to_owned()));

    sim.set_token_life(Duration::from_mins(1));
    let short = good(&client).await;
    sim.advance(Duration::from_mins(1));
    assert_eq!(short.list("").await.refusal(), must_be_updated);
    sim.remove_user("second");
    assert_eq!(other.list("").await.refusal(), must_be_updated);
    sim.reset();
    assert_eq!(short.list("").await.refusal(), (401, "iMetal.0003".to_owned()), "forgotten");
    assert_ne!(good(&client).await.token, first.token, "never the same again");
}

#[tokio::test]
async fn tokens_are_logged_by_the_users_name_and_are_no_operation_of_clouddc() {
    let (sim, client) = cloud().await;
    let ids = sim.ids(P, 1);
    let user = good(&client).await;
    user.delete(&ids).await;
    post(&client, &body("user", "wrong-one", "account", by_id(P))).await;
    post(&client, &body("nobody", PASSWORD, "account", by_id(P))).await;
    let log = sim.log();
    let seen: Vec<_> =
        log.iter().map(|entry| (entry.operation, entry.token.as_deref(), entry.status)).collect();
    assert_eq!(
        seen,
        [
            (Operation::CreateToken, Some("user"), Some(201)),
            (Operation::DeleteInstances, Some("user"), Some(202)),
            (Operation::CreateToken, Some("user"), Some(401)),
            (Operation::CreateToken, None, Some(401)),
        ]
    );
    assert!(!log[0].applied && log[0].project.is_none());
    assert_eq!((sim.delete_calls().len(), sim.calls(Operation::Other).len()), (1, 0));
    let shown = format!("{log:?} {sim:?}") + &json!(log).to_string();
    for secret in [PASSWORD, "wrong-one", &user.token] {
        assert!(!shown.contains(secret));
    }
}

#[tokio::test]
async fn limits_are_the_users_and_not_a_tokens() {
    let (sim, client) = cloud().await;
    sim.set_limits(None, Some(clouddc_simulator::RateLimit::fixed(1, HOUR)));
    assert_eq!(good(&client).await.list("").await.status, 200);
    assert_eq!(good(&client).await.list("").await.status, 429);
}

#[tokio::test]
async fn faults_happen_to_iam_too() {
    let (sim, client) = cloud().await;
    let right = body("user", PASSWORD, "account", by_id(P));
    sim.script(Fault::on(Operation::CreateToken).times(1).reply_json(503, &json!({"error": {"code": 503}})));
    assert_eq!(post(&client, &right).await.status, 503);
    sim.script(Fault::on(Operation::CreateToken).times(1).drop_connection(Stage::AfterEffect));
    assert!(try_post(&client, &right).await.is_err());
    assert_eq!(sim.calls(Operation::CreateToken)[1].status, Some(201), "issued, but lost");
    let gate =
        sim.script(Fault::on(Operation::CreateToken).with_token("user").times(1).hold(Stage::BeforeEffect));
    let (reply, ()) = tokio::join!(post(&client, &right), async {
        gate.wait_held(1, PATIENCE).await.unwrap();
        gate.release();
    });
    assert_eq!(reply.status, 201);
    sim.script(Fault::on(Operation::DeleteInstances).reply_error(500, "iMetal.0099", "no"));
    assert_eq!(post(&client, &right).await.status, 201, "faults of another operation");
}

#[tokio::test]
async fn listing_is_forbidden_to_a_user_by_a_fault() {
    let (sim, client) = cloud().await;
    let ids = sim.ids(P, 1);
    let fault = Fault::on(Operation::ListInstances).with_token("user");
    sim.script(fault.reply_error(403, "iMetal.0004", "Insufficient permissions"));
    let user = good(&client).await;
    assert_eq!(user.list("").await.refusal(), (403, "iMetal.0004".to_owned()));
    assert_eq!((user.show(&ids[0]).await.status, user.delete(&ids).await.status), (200, 202));
    assert_eq!(client.list("").await.status, 200);
}

#[tokio::test]
async fn the_admin_interface_knows_users() {
    let (sim, client) = start(Options::default()).await;
    let admin = Client::new(sim.admin_url());
    let user = json!({"name": "user", "password": PASSWORD, "domain": "account", "projects": [P]});
    assert_eq!(admin.admin("POST", "/users", Some(user)).await.status, 201);
    assert_eq!(
        admin.admin("PUT", &format!("/projects/{P}/name"), Some(json!({"name": "n"}))).await.status,
        204
    );
    assert_eq!(admin.admin("PUT", "/token-life", Some(json!({"life": "10m"}))).await.status, 204);
    let named = body("user", PASSWORD, "account", Some(json!({"project": {"name": "n"}})));
    let reply = post(&client, &named).await;
    assert_eq!(reply.json()["token"]["project"], json!({"id": P, "name": "n"}));
    let first = client.with_token(reply.header("X-Subject-Token").unwrap());
    assert_eq!(first.list("").await.status, 200);
    sim.advance(Duration::from_mins(10));
    assert_eq!(first.list("").await.refusal(), (401, "APIGW.0307".to_owned()));

    let shown = admin.admin("GET", "/users", None).await;
    let expected = json!({"name": "user", "domain": "account", "projects": {"only": [P]}});
    assert_eq!(shown.json()["users"], json!([expected]));
    assert!(!shown.text.contains(PASSWORD));

    let second = good(&client).await;
    let revoked = admin.admin("DELETE", "/users/user/tokens", None).await;
    assert_eq!((revoked.status, revoked.json()), (200, json!({"revoked": 1})));
    assert_eq!(second.list("").await.refusal(), (401, "APIGW.0307".to_owned()));
    let log = admin.admin("GET", "/log?operation=CreateToken", None).await;
    assert_eq!(log.json()["entries"].as_array().unwrap().len(), 2);
    assert!(!log.text.contains(PASSWORD) && !log.text.contains(&second.token));
    assert_eq!(admin.admin("DELETE", "/users/user", None).await.status, 204);
    assert_eq!(admin.admin("DELETE", "/users/user", None).await.status, 404);
    assert_eq!(admin.admin("DELETE", "/users/user/tokens", None).await.status, 404);
    assert_eq!(post(&client, &named).await.status, 401);
}

#[test]
fn tokens_are_issued_without_sockets_too() {
    let mut cloud = InMemoryCloud::new(&options(), 1_767_225_600_000);
    let text = body("user", PASSWORD, "account", by_id(P)).to_string();
    let request =
        InMemoryRequest { method: "POST", uri: "/v3/auth/tokens", token: None, body: text.as_bytes() };
    let question = InMemoryCloud::question(&request).unwrap();
    assert_eq!(question.operation, Operation::CreateToken);
    let reply = cloud.answer(&question, None, HOUR);
    assert_eq!(reply.status, 201);
    let told: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(told["token"]["issued_at"], "2026-01-01T01:00:00.000000Z");
    assert_eq!(told["token"]["expires_at"], "2026-01-02T01:00:00.000000Z");
    let (_, value) = reply.headers.iter().find(|(name, _)| name == "X-Subject-Token").unwrap();
    let uri = format!("/v1/{P}/instances");
    let request = InMemoryRequest { method: "GET", uri: &uri, token: Some(value), body: b"" };
    let list = InMemoryCloud::question(&request).unwrap();
    assert_eq!(cloud.answer(&list, None, 24 * HOUR).status, 200);
    assert_eq!(cloud.answer(&list, None, 25 * HOUR).status, 401);
    let shown = format!("{request:?} {question:?} {list:?} {reply:?} {cloud:?}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(value), "{shown}");
}
