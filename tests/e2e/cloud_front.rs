//! A proxy in front of the simulated cloud, for faults of a connection that the simulator can't cause.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, to_bytes};
use harness::Stage;
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// The proxy.
pub struct Front {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    tls: Mutex<Option<TlsAcceptor>>,
    spoiling: Mutex<Option<Spoiling>>,
    most: AtomicUsize,
    refused: AtomicUsize,
    cutting: Mutex<Option<(usize, Cut)>>,
    cuts: AtomicUsize,
    requests: AtomicUsize,
    /// Headers of the requests so far.
    heads: Mutex<Vec<HeaderMap>>,
}

/// Which replies are replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Replies to calls that delete or power off.
    Changes,
    /// Replies to reads.
    Reads,
}

/// What the controller receives in place of the reply to a request that took effect.
#[derive(Clone)]
pub enum Spoilt {
    /// The reply byte by byte, and never its end.
    Trickle,
    /// Spaces without an end.
    Endless,
    /// A reply of this status, with these headers and this body.
    Other(u16, Vec<(&'static str, String)>, Vec<u8>),
}

/// What happens to a request whose request line is too long. It does not reach the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A reply of this status, with a page for people.
    Reply(u16),
    /// The connection is closed without a reply.
    Close,
    /// Nothing, for as long as anyone waits.
    Hang,
}

struct Spoiling {
    of: Of,
    left: usize,
    how: Spoilt,
}

impl Front {
    /// A proxy without TLS, at this address or at a free one.
    pub async fn plain(stage: &Stage, address: Option<SocketAddr>) -> Self {
        Self::start(stage, address, None).await
    }

    /// A proxy with TLS.
    pub async fn tls(stage: &Stage, config: rustls::ServerConfig) -> Self {
        Self::start(stage, None, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(stage: &Stage, address: Option<SocketAddr>, tls: Option<TlsAcceptor>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shared = Arc::new(Shared {
            upstream: stage.cloud.url().to_owned(),
            http: reqwest::Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap(),
            tls: Mutex::new(tls),
            spoiling: Mutex::new(None),
            most: AtomicUsize::new(usize::MAX),
            refused: AtomicUsize::new(0),
            cutting: Mutex::new(None),
            cuts: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            heads: Mutex::new(Vec::new()),
        });
        let served = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = served.clone();
                let tls = shared.tls.lock().unwrap().clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared, accepting }
    }

    /// Closes the port. Open connections stay open.
    pub async fn close(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// Replaces the next `n` replies of one kind, and none of the other kind.
    pub fn spoil(&self, of: Of, replies: usize, how: Spoilt) {
        *self.shared.spoiling.lock().unwrap() = Some(Spoiling { of, left: replies, how });
    }

    /// Uses another certificate for new connections.
    pub fn certify(&self, config: rustls::ServerConfig) {
        *self.shared.tls.lock().unwrap() = Some(TlsAcceptor::from(Arc::new(config)));
    }

    /// All values of a header in the requests so far.
    pub fn values(&self, header: &str) -> BTreeSet<String> {
        let heads = self.shared.heads.lock().unwrap();
        let value = |head: &HeaderMap| head.get(header).map(|value| value.to_str().unwrap().to_owned());
        heads.iter().map(|head| value(head).unwrap_or_default()).collect()
    }

    /// Refuses delete calls with more than `n` ids, without naming an id.
    pub fn refuse_above(&self, ids: usize) {
        self.shared.most.store(ids, Ordering::SeqCst);
    }

    /// Cuts off requests with a request line of more than `bytes` bytes.
    pub fn cut_above(&self, bytes: usize, how: Cut) {
        *self.shared.cutting.lock().unwrap() = Some((bytes, how));
        self.shared.cuts.store(0, Ordering::SeqCst);
    }

    /// How many requests were cut off for that.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many delete calls were refused for that.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Number of requests that were forwarded.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| respond(shared.clone(), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, axum::Error> {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let line = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri).len();
    let cutting = *shared.cutting.lock().unwrap();
    if let Some((_, how)) = cutting.filter(|(most, _)| line > *most) {
        shared.cuts.fetch_add(1, Ordering::SeqCst);
        return cut(how).await;
    }
    let body = to_bytes(Body::new(body), 1 << 20).await?;
    let mut headers = parts.headers;
    shared.heads.lock().unwrap().push(headers.clone());
    headers.remove("host");
    let changes = parts.method != "GET";
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let ids = asked["instance_id_set"].as_array().map_or(0, Vec::len);
    if ids > shared.most.load(Ordering::SeqCst) {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        let text = r#"{"error_code":"iMetal.0001","error_msg":"instance_id_set: too many ids"}"#;
        let builder = Response::builder().status(400).header("Content-Type", "application/json");
        return builder.body(Body::from(text)).map_err(axum::Error::new);
    }
    let request = shared.http.request(parts.method, format!("{}{}", shared.upstream, parts.uri));
    let answer = request.headers(headers).body(body).send().await.map_err(axum::Error::new)?;
    // Each request has a connection of its own: after the port is closed, the next request fails.
    let builder = Response::builder().header("Connection", "close");
    let builder = match answer.headers().get("x-request-id") {
        Some(id) => builder.header("X-Request-Id", id),
        None => builder,
    };
    let (status, json) = (answer.status(), ("Content-Type", "application/json".to_owned()));
    let text = answer.bytes().await.map_err(axum::Error::new)?;
    let (status, headers, body) = match shared.spoilt(if changes { Of::Changes } else { Of::Reads }) {
        None => (status.as_u16(), vec![json], Body::from(text)),
        Some(Spoilt::Trickle) => (status.as_u16(), vec![json], trickling(text)),
        Some(Spoilt::Endless) => (status.as_u16(), vec![json], endless()),
        Some(Spoilt::Other(status, headers, body)) => (status, headers, Body::from(body)),
    };
    let builder = headers.into_iter().fold(builder.status(status), |b, (name, value)| b.header(name, value));
    builder.body(body).map_err(axum::Error::new)
}

async fn cut(how: Cut) -> Result<Response<Body>, axum::Error> {
    match how {
        Cut::Reply(status) => {
            let builder = Response::builder().status(status).header("Connection", "close");
            let page = builder.header("Content-Type", "text/html").body(Body::from("<html>too long</html>"));
            page.map_err(axum::Error::new)
        }
        // A service that fails closes its connection.
        Cut::Close => Err(axum::Error::new(std::io::Error::other("cut off"))),
        Cut::Hang => std::future::pending().await,
    }
}

impl Shared {
    fn spoilt(&self, of: Of) -> Option<Spoilt> {
        let mut spoiling = self.spoiling.lock().unwrap();
        let spoiling = spoiling.as_mut().filter(|spoiling| spoiling.of == of)?;
        spoiling.left = spoiling.left.checked_sub(1)?;
        Some(spoiling.how.clone())
    }
}

fn endless() -> Body {
    let spaces = bytes::Bytes::from(vec![b' '; 1 << 16]);
    Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(spaces.clone())))
}

fn trickling(text: bytes::Bytes) -> Body {
    Body::from_stream(futures::stream::unfold(text, |mut text| async move {
        // Often enough that no idle timeout fires.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let byte = if text.len() > 1 { text.split_to(1) } else { bytes::Bytes::new() };
        Some((Ok::<_, std::io::Error>(byte), text))
    }))
}
