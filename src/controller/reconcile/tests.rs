use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::{
    clock::{Clock, Deadline},
    cloud::{Client, ClientOptions, Endpoints, ExchangeError, HttpReply, HttpTransport, Secret},
    controller::{ApiServer, Context, Options, WriteError},
    engine::{InstanceId, Settings, object::state::wave::Wave},
    leadership::{Leadership, LeadershipSetter},
    random::Random,
    scope::Scope,
};

const OBJECT: &str = r#"{"apiVersion":"clouddc.dev/v1alpha1","kind":"InstanceDeletion","metadata":{"name":"retire","namespace":"fleet","uid":"u","resourceVersion":"7","generation":1},"spec":{},"status":{"observedGeneration":-1}}"#;

fn key() -> Key {
    Key { namespace: "fleet".into(), name: "retire".into() }
}

/// A controller before an API server that answers everything with one object, and how often it was asked.
fn controller(leadership: Leadership, scope: &Scope) -> (Arc<Context>, Arc<AtomicUsize>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let service = tower::service_fn(move |_: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, std::convert::Infallible>(Response::new(Body::from(OBJECT.as_bytes().to_vec()))) }
    });
    let cloud = Client::new(&ClientOptions {
        request_timeout: Duration::from_secs(1),
        ca_file: None,
        user_agent: "test".to_owned(),
        no_proxy: true,
    });
    let options = Options {
        settings: Settings::default(),
        rates: (1.0, 1.0),
        endpoints: Endpoints::default(),
        secret_type: None,
        clock: Clock::start(),
        random: Random::system(),
        leadership,
    };
    let api = ApiServer::new(kube::Client::new(service, "default"));
    let (context, _added) = Context::new(api, Arc::new(cloud.unwrap()), options, scope);
    (context, asked)
}

#[tokio::test]
async fn r06_a_process_that_does_not_lead_reads_writes_and_deletes_nothing() {
    let (setter, leadership) = LeadershipSetter::new();
    let (context, asked) = controller(leadership, &Scope::default());
    let term = || Deadline::after(Duration::from_mins(1), &context.clock);

    assert!(reconcile(&context, &key()).await.is_some(), "it comes back");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "not even a read");
    let now = context.clock.mono();
    let wave = Wave { claim: String::new(), batches: Vec::new(), look_sent: now, guards_read: now };
    setter.until(term());
    let live = context.api.read(&key()).await.unwrap().unwrap();
    context.api.write_status(&live, &live.status).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let departure = context.departure_guard(&wave);
    assert!(departure.allows());
    // Lost between the read and the write, or between the write and the call.
    setter.end();
    assert!(!departure.allows());
    let refused = [
        context.api.write_status(&live, &live.status).await,
        context.api.write_intent(&live, &live.status).await.map(drop),
        context.api.delete(&live).await,
    ];
    assert!(refused.iter().all(|done| matches!(done, Err(WriteError::Unavailable(_)))), "{refused:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    setter.until(term());
    reconcile(&context, &key()).await;
    assert!(asked.load(Ordering::SeqCst) > 2, "it goes on when it leads again");
}

#[tokio::test]
async fn s13_an_object_of_another_shard_is_read_and_left_alone() {
    for (selector, written) in [("", true), ("team!=fleet", true), ("team=fleet", false)] {
        let scope = Scope::new(Vec::new(), selector.parse().unwrap());
        let (context, asked) = controller(Leadership::always(), &scope);
        reconcile(&context, &key()).await;
        // Its spec is none, which is written.
        assert_eq!(asked.load(Ordering::SeqCst) > 1, written, "{selector}");
        assert!(asked.load(Ordering::SeqCst) > 0);
    }
}

/// An IAM that answers once, with a token that lives for ten seconds, and then never; and a CloudDC where all is running.
struct HangingIam(Arc<AtomicUsize>);

impl HttpTransport for HangingIam {
    fn exchange<'a>(
        &'a self,
        request: reqwest::Request,
        _: usize,
        _: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        let url = request.url().clone();
        let reply = |status, subject_token, body: serde_json::Value| HttpReply {
            status,
            content_type: Some("application/json".to_owned()),
            retry_after: None,
            request_id: None,
            date: None,
            subject_token,
            body: body.to_string().into_bytes().into(),
        };
        let asks_iam = url.path().ends_with("/auth/tokens");
        let hangs = asks_iam && self.0.fetch_add(1, Ordering::SeqCst) > 0;
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            if asks_iam {
                let life = json!({"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:10Z"});
                let token = Secret::parse(b"token-of-iam").ok();
                return Ok(reply(StatusCode::CREATED, token, json!({"token": life})));
            }
            let ids = url.query_pairs().find(|(name, _)| name == "instance_id");
            let ids = ids.map(|(_, ids)| ids.into_owned()).unwrap_or_default();
            let rows = ids.split(',').map(|id| json!({"id": id, "state": "running"})).collect::<Vec<_>>();
            Ok(reply(StatusCode::OK, None, json!({"instances": rows})))
        }
        .boxed()
    }
}

/// An API server with a Secret that holds a login, and objects that keep their status.
async fn stored(
    objects: &Mutex<HashMap<String, (u64, serde_json::Value)>>,
    request: Request<Body>,
) -> serde_json::Value {
    let path = request.uri().path().to_owned();
    if path.contains("/secrets/") {
        let login = json!({"username": "dQ==", "password": "cA==", "domainName": "ZA=="});
        return json!({"metadata": {"name": "login", "resourceVersion": "1"}, "data": login});
    }
    if path.ends_with("/deletionguards") {
        return json!({"items": []});
    }
    let writes = request.method() == http::Method::PUT;
    let body = request.into_body().collect_bytes().await.unwrap();
    let name = path.trim_end_matches("/status").rsplit('/').next().unwrap().to_owned();
    let mut objects = lock(objects);
    let (version, status) = objects.entry(name.clone()).or_insert((1, json!({"observedGeneration": -1})));
    if writes {
        *version += 1;
        *status = serde_json::from_slice::<serde_json::Value>(&body).unwrap()["status"].clone();
    }
    let n: u128 = name.trim_start_matches('o').parse().unwrap();
    json!({
        "apiVersion": "clouddc.dev/v1alpha1",
        "kind": "InstanceDeletion",
        "metadata": {
            "name": name, "namespace": "fleet", "uid": format!("u-{n}"),
            "resourceVersion": version.to_string(), "generation": 1,
        },
        "spec": {
            "region": "r", "projectID": "0".repeat(32), "credentialsSecretRef": {"name": "login"},
            "instanceIDs": [InstanceId::from_u128(n).to_string()],
        },
        "status": status,
    })
}

#[tokio::test(start_paused = true)]
async fn x22_no_worker_waits_for_an_iam_that_hangs() {
    let objects = Arc::<Mutex<HashMap<_, _>>>::default();
    let service = tower::service_fn(move |request: Request<Body>| {
        let objects = objects.clone();
        async move {
            let answer = stored(&objects, request).await.to_string();
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(answer.into_bytes())))
        }
    });
    let (clock, asked) = (Clock::start(), Arc::new(AtomicUsize::new(0)));
    let cloud = Client::over(HangingIam(asked.clone()), Duration::from_secs(30), clock.clone());
    let options = Options {
        settings: Settings::default(),
        rates: (1000.0, 1000.0),
        endpoints: Endpoints::default(),
        secret_type: None,
        clock,
        random: Random::system(),
        leadership: Leadership::always(),
    };
    let api = ApiServer::new(kube::Client::new(service, "default"));
    let (context, mut added) = Context::new(api, Arc::new(cloud), options, &Scope::default());
    let key = |n: usize| Key { namespace: "fleet".into(), name: format!("o{n}") };
    let pass = async |n: usize| {
        let started = Instant::now();
        reconcile(&context, &key(n)).await;
        assert!(started.elapsed().is_zero(), "a worker waited {:?}", started.elapsed());
    };
    for n in 1..=4 {
        pass(n).await;
    }
    // Meanwhile the instances are looked at with the token, and it ends.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    while added.try_recv().is_ok() {}
    for _ in 0..20 {
        for n in 1..=4 {
            pass(n).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one request for all of them is under way");
    while added.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut woken: Vec<_> = std::iter::from_fn(|| added.try_recv().ok()).map(|(key, _)| key.name).collect();
    woken.sort();
    woken.dedup();
    assert_eq!(woken, ["o1", "o2", "o3", "o4"], "each when IAM had failed");
}

#[tokio::test(start_paused = true)]
async fn g7_no_call_leaves_long_after_its_guards_were_read() {
    let (context, _) = controller(Leadership::always(), &Scope::default());
    let read = context.clock.mono();
    tokio::time::advance(Duration::from_secs(4)).await;
    let now = context.clock.mono();
    let wave = Wave { claim: String::new(), batches: Vec::new(), look_sent: now, guards_read: read };
    let departure = context.departure_guard(&wave);
    assert!(departure.allows());
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert!(!departure.allows(), "the intent is a second old, and the guards are five");
}

#[tokio::test]
async fn g6_a_guard_that_cannot_be_decoded_is_no_guard_to_go_by() {
    let read = async |spec: serde_json::Value| {
        let answer = json!({"items": [{"metadata": {"name": "g"}, "spec": spec}]}).to_string();
        let service = tower::service_fn(move |_: Request<Body>| {
            let answer = answer.clone();
            async move { Ok::<_, std::convert::Infallible>(Response::new(Body::from(answer.into_bytes()))) }
        });
        ApiServer::new(kube::Client::new(service, "default")).read_guards("fleet").await
    };
    assert!(read(json!({"maxInstanceIDs": 5})).await.is_ok());
    for spec in [
        json!({"maxInstanceIDs": "five"}),
        json!({"hold": "now"}),
        json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
        json!({"protected": {"instances": [{"id": "NO-ID", "reason": "r"}]}}),
    ] {
        assert!(read(spec.clone()).await.is_err(), "{spec}");
    }
    assert!(read(json!(null)).await.is_err());
}
