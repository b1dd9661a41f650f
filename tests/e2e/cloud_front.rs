//! A front of the simulated cloud: what the simulator can't do to a connection, done between it and the controller.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::{Body, to_bytes};
use harness::Stage;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// See the module.
pub struct Front {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    slow: AtomicUsize,
    most: AtomicUsize,
    refused: AtomicUsize,
    requests: AtomicUsize,
}

impl Front {
    /// In the clear, at this address or one that is free.
    pub async fn plain(stage: &Stage, address: Option<SocketAddr>) -> Self {
        Self::start(stage, address, None).await
    }

    /// With TLS.
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
            slow: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            refused: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let served = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, shared) = (tls.clone(), served.clone());
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

    /// Closes the port; what runs over open connections goes on.
    pub async fn close(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// The replies to the next delete calls come byte by byte, and never to their end.
    pub fn trickle(&self, replies: usize) {
        self.shared.slow.store(replies, Ordering::SeqCst);
    }

    /// Delete calls of more ids are refused, without a word about which.
    pub fn refuse_above(&self, ids: usize) {
        self.shared.most.store(ids, Ordering::SeqCst);
    }

    /// How many were.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// How many requests came through.
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
    let body = to_bytes(Body::new(body), 1 << 20).await?;
    let mut headers = parts.headers;
    headers.remove("host");
    let delete = parts.method == "POST";
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
    // Each request has a connection of its own, so that a closed port is closed for the next one.
    let builder = Response::builder().status(answer.status()).header("Connection", "close");
    let builder = builder.header("Content-Type", "application/json");
    let text = answer.bytes().await.map_err(axum::Error::new)?;
    let fewer = |n: usize| n.checked_sub(1);
    let slow = delete && shared.slow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
    builder.body(if slow { trickling(text) } else { Body::from(text) }).map_err(axum::Error::new)
}

fn trickling(text: bytes::Bytes) -> Body {
    Body::from_stream(futures::stream::unfold(text, |mut text| async move {
        // Often enough for any limit of idleness.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let byte = if text.len() > 1 { text.split_to(1) } else { bytes::Bytes::new() };
        Some((Ok::<_, std::io::Error>(byte), text))
    }))
}
