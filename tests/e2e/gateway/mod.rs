//! A gateway between the controller and the API server, in which tests cause faults.
//!
//! It speaks HTTP to the controller and TLS to the real server, forwards the controller's own credentials, and records
//! the requests. It runs in the runtime of its test and ends with it.

mod asked;
mod rules;
mod stream;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use asked::{
    Asked, events, gets, guard_reads, guard_watches, intents, lists, outcomes, secrets, status_writes,
    watches,
};
use axum::body::{Body, to_bytes};
use harness::{Controller, Stage};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rules::{Active, Then};
pub use rules::{Rule, RuleHandle};
pub use stream::Watching;
use tokio::{net::TcpListener, sync::watch};

/// Limit of a request body; that of the API server.
const LARGEST: usize = 8 << 20;

/// The gateway.
pub struct Gateway {
    /// Kubeconfig for the controller: it leads to the gateway.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    /// The administrator's token, for writes by another client.
    admin: String,
    http: reqwest::Client,
    rules: Mutex<Vec<Arc<Active>>>,
    passed: Mutex<Vec<Asked>>,
    watching: watch::Sender<Watching>,
}

/// An error that makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

impl Gateway {
    /// Starts a gateway for the controller of this stage.
    pub async fn start(stage: &Stage) -> Self {
        let text = std::fs::read_to_string(stage.kubeconfig()).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cluster = &mut config["clusters"][0]["cluster"];
        let authority = std::fs::read(cluster["certificate-authority"].as_str().unwrap()).unwrap();
        let upstream = cluster["server"].as_str().unwrap().to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&authority).unwrap())
            .http1_only()
            .no_proxy()
            .retry(reqwest::retry::never())
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        *cluster = serde_json::json!({"server": format!("http://{address}")});
        let kubeconfig =
            stage.control_plane.folder().join(format!("gateway-{}-{}", stage.namespace, address.port()));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let admin = std::fs::read_to_string(stage.control_plane.kubeconfig()).unwrap();
        let admin: serde_json::Value = serde_json::from_str(&admin).unwrap();
        let admin = admin["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        let shared = Arc::new(Shared {
            upstream,
            admin,
            http,
            rules: Mutex::default(),
            passed: Mutex::default(),
            watching: watch::Sender::new(Watching::Pass),
        });
        let served = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let shared = served.clone();
                let service = service_fn(move |request| respond(shared.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { kubeconfig, shared }
    }

    /// Adds a rule. Of several rules that match a request, the first one applies.
    pub fn script(&self, rule: Rule) -> RuleHandle {
        let active = Arc::new(Active::new(rule));
        self.shared.rules.lock().unwrap().push(active.clone());
        RuleHandle(active)
    }

    /// Sets how watch streams behave, open ones and later ones.
    pub fn watching(&self, watching: Watching) {
        self.shared.watching.send_replace(watching);
    }

    /// The requests so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.passed.lock().unwrap().clone()
    }

    /// The number of requests of this kind so far.
    pub fn count(&self, kind: impl Fn(&Asked) -> bool) -> usize {
        self.asked().iter().filter(|asked| kind(asked)).count()
    }
}

impl Shared {
    /// Records a request and finds its rule, under one lock: rules count requests in the order of the record.
    fn meet(&self, mut asked: Asked) -> Option<Arc<Active>> {
        let mut passed = self.passed.lock().unwrap();
        asked.compare(&passed);
        let met = self.rules.lock().unwrap().iter().find(|rule| rule.meets(&asked)).cloned();
        asked.met = met.is_some();
        passed.push(asked);
        met
    }

    async fn forward(&self, parts: &hyper::http::request::Parts, body: &[u8]) -> Option<reqwest::Response> {
        let url = format!("{}{}", self.upstream, parts.uri);
        let mut headers = parts.headers.clone();
        headers.remove("host");
        let request = self.http.request(parts.method.clone(), url).headers(headers).body(body.to_vec());
        request.send().await.ok()
    }

    async fn annotate(&self, path: &str) -> Option<()> {
        static TIMES: AtomicUsize = AtomicUsize::new(0);
        let value = TIMES.fetch_add(1, Ordering::SeqCst).to_string();
        let patch = serde_json::json!({"metadata": {"annotations": {"disturbed": value}}});
        let url = format!("{}{}", self.upstream, path.trim_end_matches("/status"));
        let request = self.http.patch(url).bearer_auth(&self.admin).body(patch.to_string());
        let answer = request.header("Content-Type", "application/merge-patch+json").send().await.ok()?;
        answer.status().is_success().then_some(())
    }
}

async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST).await.map_err(|_| Closed)?;
    let asked = Asked::new(&parts, &body);
    let watch = watches(&asked);
    let Some(rule) = shared.meet(asked) else {
        let answer = shared.forward(&parts, &body).await.ok_or(Closed)?;
        return Ok(pass(&shared, answer, watch));
    };
    if rule.disturbs() {
        shared.annotate(parts.uri.path()).await.ok_or(Closed)?;
    }
    let mut answer = None;
    for _ in 0..rule.forwards() {
        let fresh = shared.forward(&parts, &body).await.ok_or(Closed)?;
        let (head, text) = (fresh.status(), fresh.bytes().await.map_err(|_| Closed)?);
        answer = Some((head, text));
    }
    rule.hit();
    match rule.then() {
        Then::Drop => Err(Closed),
        Then::Hang => std::future::pending::<Result<_, Closed>>().await,
        Then::Hold => {
            rule.held().await;
            whole(answer)
        }
        Then::Pass => whole(answer),
        Then::Reply { status, headers, body } => {
            let mut builder = Response::builder().status(*status).header("Content-Type", "application/json");
            for (name, value) in headers {
                builder = builder.header(*name, value);
            }
            builder.body(Body::from(body.clone())).map_err(|_| Closed)
        }
    }
}

fn whole(answer: Option<(reqwest::StatusCode, bytes::Bytes)>) -> Result<Response<Body>, Closed> {
    let (status, text) = answer.ok_or(Closed)?;
    let builder = Response::builder().status(status).header("Content-Type", "application/json");
    builder.body(Body::from(text)).map_err(|_| Closed)
}

fn pass(shared: &Shared, answer: reqwest::Response, watch: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for (name, value) in answer.headers() {
        // hyper frames the body anew on this side.
        if name != "content-length" && name != "transfer-encoding" {
            response.headers_mut().insert(name, value.clone());
        }
    }
    *response.body_mut() = if watch && answer.status().is_success() {
        stream::watched(answer, shared.watching.subscribe())
    } else {
        let chunks = futures::stream::unfold(answer, |mut answer| async move {
            let chunk = answer.chunk().await.transpose()?;
            Some((chunk, answer))
        });
        Body::from_stream(chunks)
    };
    response
}

/// A stage with a gateway, and a controller behind it.
pub async fn behind_gateway(name: &str, flags: &[&str]) -> (Stage, Gateway, Controller) {
    let stage = crate::support::stage(name).await;
    let gateway = Gateway::start(&stage).await;
    // Faults of the API server are tested here: no reply of the cloud counts as lost because the machine is busy.
    let flags = [&["--request-timeout", "20s"], flags].concat();
    let controller = stage.controller_through(&gateway.kubeconfig, &flags).unwrap();
    (stage, gateway, controller)
}
