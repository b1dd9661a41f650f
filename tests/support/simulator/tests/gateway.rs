//! Path, token, headers, throttling.

mod common;

use std::time::Duration;

use clouddc_simulator::{
    Operation, Options, Projects, RateLimit, RetryAfter, ThrottleBody, UnauthorizedCode,
};
use common::{P, PATIENCE, start};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn every_reply_has_a_request_id_of_its_own() {
    let (sim, client) = start(Options::default()).await;
    let ids = sim.ids(P, 1);
    let replies = [
        client.delete(&ids).await,
        client.show(&ids[0]).await,
        client.list("").await,
        client.get("/nowhere").await,
        client.with_token("wrong").list("").await,
    ];
    let request_ids: Vec<_> = replies.iter().map(|reply| reply.header("X-Request-Id").unwrap()).collect();
    let logged: Vec<_> = sim.log().into_iter().map(|entry| entry.request_id).collect();
    assert_eq!(request_ids, logged);
    let distinct: std::collections::HashSet<_> = request_ids.iter().collect();
    assert_eq!(distinct.len(), 5);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_not_published() {
    let (sim, client) = start(Options::default()).await;
    let ids = sim.ids(P, 1);
    for (method, path) in [
        ("GET", "/".to_owned()),
        ("GET", "/v2/project-a/instances".to_owned()),
        ("GET", format!("/v1/{P}/instances/{}", ids[0])),
        ("GET", format!("/v1/{P}/instances/batch-delete")),
        ("PUT", format!("/v1/{P}/instances")),
    ] {
        let reply = client.send(method, &path, &[("X-Auth-Token", "value")], None).await.unwrap();
        assert_eq!(reply.refusal(), (404, "APIGW.0101".to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn tokens_are_checked_by_value_and_project() {
    let (sim, client) = start(Options::default()).await;
    sim.add_token("narrow", "narrow-value", Projects::Only(vec!["project-b".to_owned()]));
    let ids = sim.ids(P, 1);
    let path = format!("/v1/{P}/instances");
    let missing = client.send("GET", &path, &[], None).await.unwrap();
    assert_eq!(missing.refusal(), (401, "iMetal.0003".to_owned()));
    assert_eq!(client.with_token("wrong").delete(&ids).await.refusal(), (401, "iMetal.0003".to_owned()));
    let narrow = client.with_token("narrow-value");
    assert_eq!(narrow.delete(&ids).await.refusal(), (403, "iMetal.0004".to_owned()));
    assert_eq!(narrow.get("/v1/project-b/instances").await.status, 200);
    assert_eq!(sim.state(P, &ids[0]).as_deref(), Some("running"));
    sim.revoke_token("value");
    assert_eq!(client.list("").await.status, 401);
    let labels: Vec<_> = sim.log().into_iter().map(|entry| entry.token).collect();
    let narrow = Some("narrow".to_owned());
    assert_eq!(labels, [None, None, narrow.clone(), narrow, None], "labels, never values");
}

#[tokio::test]
async fn the_code_of_a_401_may_be_the_gateways() {
    for (unauthorized, code) in
        [(UnauthorizedCode::Apigw0301, "APIGW.0301"), (UnauthorizedCode::Apigw0307, "APIGW.0307")]
    {
        let (_sim, client) = start(Options { unauthorized, ..Options::default() }).await;
        assert_eq!(client.with_token("wrong").list("").await.refusal(), (401, code.to_owned()));
    }
}

#[tokio::test]
async fn a_post_needs_a_content_type() {
    let (_sim, client) = start(Options::default()).await;
    let path = format!("/v1/{P}/instances/batch-delete");
    let reply =
        client.send("POST", &path, &[("X-Auth-Token", "value")], Some("{}".to_owned())).await.unwrap();
    assert_eq!(reply.refusal(), (400, "APIGW.0106".to_owned()));
}

#[tokio::test]
async fn a_body_above_12_mb_is_refused() {
    let (sim, client) = start(Options::default()).await;
    // The client need not get to read the reply: the connection closes while it still sends.
    drop(client.post_delete(&" ".repeat(12 * 1024 * 1024 + 1)).await);
    let calls = sim.wait_calls(Operation::DeleteInstances, 1, PATIENCE).await.unwrap();
    assert_eq!((calls[0].status, calls[0].error_code.as_deref()), (Some(413), Some("APIGW.0201")));
}

#[tokio::test]
async fn deletes_and_reads_are_throttled_apart_and_per_token() {
    let limit = RateLimit::fixed(2, MINUTE);
    let options =
        Options { delete_limit: Some(limit.clone()), read_limit: Some(limit), ..Options::default() };
    let (sim, client) = start(options).await;
    sim.add_token("second", "second", Projects::All);
    let ids = sim.ids(P, 3);
    assert_eq!(client.delete(&ids[..1]).await.status, 202);
    assert_eq!(client.delete(&ids[1..2]).await.status, 202);
    assert_eq!(client.delete(&ids[2..]).await.refusal(), (429, "iMetal.0005".to_owned()));
    assert_eq!(sim.state(P, &ids[2]).as_deref(), Some("running"));
    assert_eq!((client.list("").await.status, client.show(&ids[0]).await.status), (200, 200));
    assert_eq!(client.list("").await.status, 429);
    assert_eq!(client.with_token("second").delete(&ids[2..]).await.status, 202);
    sim.advance(MINUTE);
    assert_eq!(client.list("").await.status, 200);
    sim.set_limits(None, None);
    for _ in 0..5 {
        assert_eq!(client.list("").await.status, 200);
    }
}

#[tokio::test]
async fn bodies_and_retry_after_of_a_429() {
    let policy = "The throttling threshold has been reached: policy user over ratelimit";
    for (body, text) in [
        (
            ThrottleBody::Imetal,
            "{\"error_code\":\"iMetal.0005\",\"error_msg\":\"Too many requests\"}".to_owned(),
        ),
        (
            ThrottleBody::Apigw,
            format!("{{\"error_code\":\"APIGW.0308\",\"error_msg\":\"{policy},limit:1,time:1 minute\"}}"),
        ),
        (ThrottleBody::JsonString, "\"Too many requests\"".to_owned()),
        (ThrottleBody::PlainText, "Too many requests".to_owned()),
    ] {
        let limit = RateLimit::fixed(1, MINUTE).body(body).retry_after(RetryAfter::Seconds(7));
        let (_sim, client) = start(Options { read_limit: Some(limit), ..Options::default() }).await;
        client.list("").await;
        let reply = client.list("").await;
        assert_eq!((reply.status, reply.header("Retry-After")), (429, Some("7")));
        assert_eq!(reply.text, text);
    }
    let plain = RateLimit::fixed(1, MINUTE);
    let (sim, client) = start(Options { read_limit: Some(plain.clone()), ..Options::default() }).await;
    client.list("").await;
    assert_eq!(client.list("").await.header("Retry-After"), None);
    sim.set_limits(None, Some(plain.retry_after(RetryAfter::Exact)));
    assert_eq!(client.list("").await.status, 200, "counting begins anew");
    let reply = client.list("").await;
    let seconds: u64 = reply.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    sim.advance(Duration::from_secs(seconds));
    assert_eq!(client.list("").await.status, 200, "what Retry-After promises holds");
}
