//! Requests signed with an access key, over HTTP.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use clouddc_simulator::{AccessKey, Fault, Operation, Options, Projects, RateLimit, Simulator};
use common::{
    Client, P, PATIENCE, Reply,
    sign::{authorization, hash},
    start,
};
use serde_json::json;

const JSON: &str = "application/json;charset=utf-8";
const FAIL: &str = "Incorrect IAM authentication information: verify aksk signature fail";

/// What a client signs, and with what.
#[derive(Clone)]
struct Signing<'a> {
    key: (&'a str, &'a str),
    /// Unix seconds.
    at: u64,
    security_token: Option<&'a str>,
    content_type: &'a str,
    payload: Option<&'a str>,
}

impl Signing<'_> {
    fn now(key: (&'static str, &'static str)) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self { key, at, security_token: None, content_type: JSON, payload: None }
    }

    async fn send(&self, client: &Client, method: &str, path: &str, body: Option<&str>) -> Reply {
        let date = sdk_date(self.at);
        let host = client.url.strip_prefix("http://").unwrap();
        let mut headers =
            vec![("content-type", self.content_type), ("host", host), ("x-sdk-date", date.as_str())];
        headers.extend(self.security_token.map(|token| ("x-security-token", token)));
        let payload = self.payload.map_or_else(|| hash(body.unwrap_or_default()), str::to_owned);
        let signature = authorization(self.key, method, path, &headers, &payload);
        headers.retain(|(name, _)| *name != "host");
        headers.push(("authorization", &signature));
        client.send(method, path, &headers, body.map(str::to_owned)).await.unwrap()
    }

    async fn list(&self, client: &Client) -> Reply {
        self.send(client, "GET", &format!("/v1/{P}/instances?limit=1000"), None).await
    }

    async fn delete(&self, client: &Client, ids: &[String]) -> Reply {
        let body = json!({"instance_id_set": ids}).to_string();
        self.send(client, "POST", &format!("/v1/{P}/instances/batch-delete"), Some(&body)).await
    }
}

/// `20260101T010203Z`; a tool's work, not the simulator's.
fn sdk_date(at: u64) -> String {
    let format = ["-u", "-d", &format!("@{at}"), "+%Y%m%dT%H%M%SZ"];
    let output = std::process::Command::new("date").args(format).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn options() -> Options {
    let temporary = AccessKey::new("temporary", "TEMP", "temp-secret", Projects::All);
    let access_keys = vec![
        AccessKey::new("keyed", "AK", "key-secret", Projects::All),
        temporary.with_security_token("sec+/=="),
    ];
    Options { access_keys, ..Options::default() }
}

const KEY: (&str, &str) = ("AK", "key-secret");
const TEMPORARY: (&str, &str) = ("TEMP", "temp-secret");

fn message(reply: &Reply) -> String {
    reply.json()["error_msg"].as_str().unwrap().to_owned()
}

async fn cloud() -> (Simulator, Client) {
    start(options()).await
}

#[tokio::test]
async fn signed_requests_are_carried_out_and_logged_by_label() {
    let (sim, client) = cloud().await;
    let ids = sim.ids(P, 2);
    let signing = Signing::now(KEY);
    assert_eq!(signing.list(&client).await.ids(), ids);
    let status = format!("/v1/{P}/instances/{}/status", ids[0]);
    assert_eq!(signing.send(&client, "GET", &status, None).await.json()["state"], "running");
    assert_eq!(signing.delete(&client, &ids).await.status, 202);
    assert_eq!(sim.state(P, &ids[1]).as_deref(), Some("shutting-down"));
    let log = sim.log();
    assert!(log.iter().all(|entry| entry.token.as_deref() == Some("keyed")));
    let shown = format!("{log:?}");
    assert!(!shown.contains("key-secret") && !shown.contains("Signature"), "{shown}");
}

#[tokio::test]
async fn a_wrong_signature_changes_nothing() {
    let (sim, client) = cloud().await;
    let ids = sim.ids(P, 1);
    let forged = Signing::now(("AK", "another-secret"));
    let reply = forged.delete(&client, &ids).await;
    assert_eq!(reply.refusal(), (401, "APIGW.0301".to_owned()));
    assert_eq!(message(&reply), FAIL);
    let other_body = Signing { payload: Some(&hash("{}")), ..Signing::now(KEY) };
    assert_eq!(message(&other_body.delete(&client, &ids).await), FAIL);
    let unknown = Signing::now(("NOBODY", "key-secret")).list(&client).await;
    assert_eq!(unknown.refusal(), (401, "APIGW.0301".to_owned()));
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("running"));
    let labels: Vec<_> = sim.log().into_iter().map(|entry| entry.token).collect();
    let keyed = Some("keyed".to_owned());
    assert_eq!(labels, [keyed.clone(), keyed, None], "who a request claims to come from");
}

const LOCKED: &str =
    "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden.";

#[tokio::test]
async fn more_than_five_failures_in_a_row_lock_a_key_for_five_minutes() {
    let (sim, client) = cloud().await;
    let (good, forged) = (Signing::now(KEY), Signing::now(("AK", "another-secret")));
    let old = Signing { at: good.at - 3_600, ..good.clone() };
    for _ in 0..5 {
        assert_eq!(message(&forged.list(&client).await), FAIL);
    }
    assert_eq!(good.list(&client).await.status, 200, "five are not more than five");
    for signing in [&forged, &forged, &forged, &old, &old, &old] {
        let reply = signing.list(&client).await;
        assert_eq!(reply.refusal(), (401, "APIGW.0301".to_owned()));
        assert_ne!(message(&reply), LOCKED, "a right one began the count anew");
    }
    let ids = sim.ids(P, 1);
    for _ in 0..2 {
        let reply = good.delete(&client, &ids).await;
        assert_eq!((reply.refusal(), message(&reply).as_str()), ((401, "APIGW.0301".to_owned()), LOCKED));
    }
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("running"));
    let other = Signing { security_token: Some("sec+/=="), ..Signing::now(TEMPORARY) };
    assert_eq!(other.list(&client).await.status, 200, "another key is not locked");
    assert_eq!(client.list("").await.status, 200, "nor is a token");
    let minute = std::time::Duration::from_mins(1);
    sim.advance(4 * minute);
    assert_eq!(message(&forged.list(&client).await), LOCKED);
    sim.advance(minute);
    for _ in 0..5 {
        assert_eq!(message(&forged.list(&client).await), FAIL, "what came before the lock is over");
    }
    assert_eq!(good.delete(&client, &ids).await.status, 202);
}

#[tokio::test]
async fn what_names_no_key_locks_none_and_a_new_key_is_not_locked() {
    let (sim, client) = cloud().await;
    let malformed = [("Authorization", "SDK-HMAC-SHA256 Access=AK")];
    for _ in 0..6 {
        client.send("GET", &format!("/v1/{P}/instances"), &malformed, None).await.unwrap();
        Signing::now(("NOBODY", "key-secret")).list(&client).await;
    }
    assert_eq!(Signing::now(KEY).list(&client).await.status, 200);
    sim.add_access_key(AccessKey::new("new", "NOBODY", "key-secret", Projects::All));
    assert_eq!(Signing::now(("NOBODY", "key-secret")).list(&client).await.status, 200);
    for _ in 0..6 {
        Signing::now(("AK", "another-secret")).list(&client).await;
    }
    assert_eq!(message(&Signing::now(KEY).list(&client).await), LOCKED);
    sim.add_access_key(AccessKey::new("keyed", "AK", "key-secret", Projects::All));
    assert_eq!(Signing::now(KEY).list(&client).await.status, 200);
}

#[tokio::test]
async fn a_malformed_header_is_told_apart_and_goes_before_a_token() {
    let (_sim, client) = cloud().await;
    for headers in [
        &[("Authorization", "Bearer abc")][..],
        &[("Authorization", "SDK-HMAC-SHA256 Access=AK")],
        &[("Authorization", "nonsense"), ("X-Auth-Token", "value")],
    ] {
        let reply = client.send("GET", &format!("/v1/{P}/instances"), headers, None).await.unwrap();
        assert_eq!(reply.refusal(), (401, "APIGW.0303".to_owned()), "{headers:?}");
    }
}

#[tokio::test]
async fn a_temporary_key_needs_its_signed_security_token() {
    let (_sim, client) = cloud().await;
    let good = Signing { security_token: Some("sec+/=="), ..Signing::now(TEMPORARY) };
    assert_eq!(good.list(&client).await.status, 200);
    for security_token in [None, Some("another")] {
        let reply = Signing { security_token, ..good.clone() }.list(&client).await;
        assert_eq!(reply.refusal(), (401, "APIGW.0301".to_owned()), "{security_token:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_need_not_be_signed() {
    let (sim, client) = cloud().await;
    let ids = sim.ids(P, 1);
    let unsigned =
        Signing { content_type: "text/plain", payload: Some("UNSIGNED-PAYLOAD"), ..Signing::now(KEY) };
    assert_eq!(unsigned.delete(&client, &ids).await.status, 202);
    let json = Signing { content_type: JSON, ..unsigned };
    assert_eq!(json.delete(&client, &ids).await.refusal(), (401, "APIGW.0301".to_owned()));
}

#[tokio::test]
async fn the_clock_rules_date_and_what_has_expired() {
    let (sim, client) = cloud().await;
    let signing = Signing::now(KEY);
    for offset in [-3_600, -910, 910, 86_400] {
        sim.set_clock_offset(offset);
        let reply = signing.list(&client).await;
        assert_eq!(reply.refusal(), (401, "APIGW.0301".to_owned()));
        assert_eq!(message(&reply), "Incorrect IAM authentication information: signature expired");
        // A client that trusts the reply's Date is let in.
        let date = reply.header("Date").unwrap();
        let parsed = ["-u", "-d", date, "+%s"];
        let output = std::process::Command::new("date").args(parsed).output().unwrap();
        let at: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let off = at.abs_diff(signing.at.saturating_add_signed(offset));
        assert!(off <= PATIENCE.as_secs(), "{date} is {off} s away");
        assert_eq!(Signing { at, ..signing.clone() }.list(&client).await.status, 200);
    }
    sim.set_clock_offset(600);
    assert_eq!(signing.list(&client).await.status, 200, "not more than 15 minutes");
    sim.set_clock_offset(0);
    sim.advance(std::time::Duration::from_hours(1));
    assert_eq!(signing.list(&client).await.status, 200, "skipped time is no skew");
    sim.set_clock_offset(86_400);
    sim.reset();
    assert_eq!(signing.list(&client).await.status, 200, "a reset sets the clock too");
}

#[tokio::test]
async fn every_reply_has_a_date_by_the_clock() {
    // 2000 is long ago, whenever this runs.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let offset = 951_782_400_i64.checked_sub_unsigned(now).unwrap();
    let (sim, client) = start(Options { clock_offset_seconds: offset, ..options() }).await;
    sim.script(Fault::on(Operation::ListInstances).times(1).reply_error(503, "APIGW.0613", "down"));
    let own = Fault::on(Operation::ListInstances).times(1).reply(200, "text/plain", "");
    sim.script(own.header("Date", "Thu, 01 Jan 1970 00:00:00 GMT"));
    let dates = [
        client.list("").await,
        client.list("").await,
        client.list("").await,
        client.get("/nowhere").await,
        client.with_token("wrong").list("").await,
    ]
    .map(|reply| reply.header("Date").unwrap().to_owned());
    assert_eq!(dates[1], "Thu, 01 Jan 1970 00:00:00 GMT", "a scripted reply may have another one");
    for at in [0, 2, 3, 4] {
        assert!(dates[at].starts_with("Tue, 29 Feb 2000 00:0"), "{}", dates[at]);
    }
}

#[tokio::test]
async fn keys_have_projects_limits_and_faults_of_their_own() {
    let (sim, client) = cloud().await;
    let only = Projects::Only(vec!["project-b".to_owned()]);
    sim.add_access_key(AccessKey::new("narrow", "NARROW", "narrow-secret", only));
    let narrow = Signing::now(("NARROW", "narrow-secret"));
    assert_eq!(narrow.list(&client).await.refusal(), (403, "iMetal.0004".to_owned()));
    assert_eq!(narrow.send(&client, "GET", "/v1/project-b/instances", None).await.status, 200);

    sim.set_limits(None, Some(RateLimit::fixed(1, PATIENCE * 10)));
    let signing = Signing::now(KEY);
    assert_eq!((signing.list(&client).await.status, signing.list(&client).await.status), (200, 429));
    assert_eq!(client.list("").await.status, 200, "another caller");
    sim.set_limits(None, None);

    let forbidden = Fault::on(Operation::ListInstances).with_token("keyed");
    sim.script(forbidden.reply_error(403, "iMetal.0004", "Insufficient permissions"));
    let ids = sim.ids(P, 1);
    assert_eq!(signing.list(&client).await.refusal(), (403, "iMetal.0004".to_owned()));
    let status = format!("/v1/{P}/instances/{}/status", ids[0]);
    assert_eq!(signing.send(&client, "GET", &status, None).await.status, 200);
    assert_eq!(signing.delete(&client, &ids).await.status, 202);
    assert_eq!(client.list("").await.status, 200, "others may");

    sim.revoke_access_key("AK");
    assert_eq!(signing.list(&client).await.refusal(), (401, "APIGW.0301".to_owned()));
}

#[tokio::test]
async fn the_admin_interface_knows_keys_and_the_clock() {
    let (sim, client) = start(Options::default()).await;
    let admin = Client::new(sim.admin_url());
    let key = json!({"label": "keyed", "id": "AK", "secret": "key-secret", "projects": [P]});
    assert_eq!(admin.admin("POST", "/access-keys", Some(key)).await.status, 201);
    let temporary = json!({"label": "t", "id": "TEMP", "secret": "temp-secret", "security_token": "tok"});
    assert_eq!(admin.admin("POST", "/access-keys", Some(temporary)).await.status, 201);
    let signing = Signing::now(KEY);
    assert_eq!(signing.list(&client).await.status, 200);
    let shown = admin.admin("GET", "/access-keys", None).await;
    let first = json!({"label": "keyed", "id": "AK", "temporary": false, "projects": {"only": [P]}});
    assert_eq!(shown.json()["access_keys"][0], first);
    assert_eq!(shown.json()["access_keys"][1]["temporary"], true);
    assert!(!shown.text.contains("secret") && !shown.text.contains("tok\""), "{}", shown.text);

    assert_eq!(admin.admin("PUT", "/clock", Some(json!({"offset_seconds": -1_000}))).await.status, 204);
    assert_eq!(signing.list(&client).await.status, 401);
    assert_eq!(admin.admin("GET", "/clock", None).await.json()["offset_seconds"], -1_000);
    assert_eq!(admin.admin("PUT", "/clock", Some(json!({"offset_seconds": 0}))).await.status, 204);
    assert_eq!(signing.list(&client).await.status, 200);

    assert_eq!(admin.admin("DELETE", "/access-keys/keyed", None).await.status, 204);
    assert_eq!(admin.admin("DELETE", "/access-keys/keyed", None).await.status, 404);
    assert_eq!(signing.list(&client).await.status, 401);
}
