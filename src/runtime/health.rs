//! `/healthz` and `/readyz`, and the server for them and for `/metrics`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    connections::Bounded,
    metrics::{Metrics, scrape},
};
use crate::metrics::Registry;

/// Connections at once, and the life of each: a probe takes milliseconds, and several probers at once are rare.
const AT_ONCE: usize = 32;
const LIFE: Duration = Duration::from_secs(5);

/// Whether the process is ready, and if not, why.
#[derive(Debug)]
pub struct Health {
    unready: Mutex<Option<&'static str>>,
}

impl Health {
    /// A process that is not ready, for this reason.
    #[must_use]
    pub fn unready(why: &'static str) -> Arc<Self> {
        Arc::new(Self { unready: Mutex::new(Some(why)) })
    }

    /// Sets the process ready (`None`) or not ready for a reason.
    pub fn set(&self, unready: Option<&'static str>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = unready;
    }

    /// Registers the gauge `ready`: 1 while `/readyz` answers 200.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    fn get(&self) -> Option<&'static str> {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ready = ConstGauge::new(i64::from(self.get().is_none()));
        let help = "Whether every watch has its first list.";
        ready.encode(encoder.encode_descriptor("ready", help, None, ready.metric_type())?)
    }
}

/// Binds the address and serves it until the process ends. Returns the bound address and logs it.
///
/// `/healthz` answers 200 as long as the process schedules tasks at all. `/readyz` answers 200 from when every watch has its
/// first list until `stop` is cancelled. Both are served during the drain: a process that records its last calls is alive.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    info!("listening on {bound}");
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((health, stop))
        .route("/metrics", get(scrape).with_state(metrics));
    tokio::spawn(async move {
        // Errors concern single connections; the process continues.
        let _ = axum::serve(Bounded::new(listener, AT_ONCE, LIFE), router).await;
    });
    Ok(bound)
}

async fn ready(State((health, stop)): State<(Arc<Health>, CancellationToken)>) -> (StatusCode, String) {
    // Ask `stop` here: a first list that arrives late must not make a stopping process ready.
    let unready = if stop.is_cancelled() { Some("stopping") } else { health.get() };
    match unready {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    fn none() -> Arc<Metrics> {
        Metrics::new(|_| ())
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn ready_only_when_it_is() {
        let health = Health::unready("waiting for the first list");
        let stop = CancellationToken::new();
        let address =
            serve("127.0.0.1:0".parse().unwrap(), health.clone(), none(), stop.clone()).await.unwrap();
        let reply = get(address, "/healthz").await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("\r\n\r\nok\n"), "{reply}");
        let reply = get(address, "/readyz").await;
        assert!(
            reply.starts_with("HTTP/1.1 503") && reply.ends_with("waiting for the first list\n"),
            "{reply}"
        );
        health.set(None);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        health.set(Some("the watch is lost"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        for path in ["/metrics/x", "/", "/healthz/x"] {
            assert!(get(address, path).await.starts_with("HTTP/1.1 404"), "{path}");
        }
    }

    #[tokio::test]
    async fn metrics_are_there_and_say_whether_it_is_ready() {
        let health = Health::unready("waiting for the first list");
        let metrics = Metrics::new(|registry| health.register(registry));
        let stop = CancellationToken::new();
        let address = serve("127.0.0.1:0".parse().unwrap(), health.clone(), metrics, stop).await.unwrap();
        assert!(get(address, "/metrics").await.ends_with("instance_deletion_ready 0\n"));
        health.set(None);
        let reply = get(address, "/metrics").await;
        assert!(
            reply.starts_with("HTTP/1.1 200") && reply.ends_with("instance_deletion_ready 1\n"),
            "{reply}"
        );
    }

    #[tokio::test]
    async fn a_stopping_process_is_alive_and_not_ready() {
        let health = Health::unready("waiting for the first list");
        let stop = CancellationToken::new();
        let address =
            serve("127.0.0.1:0".parse().unwrap(), health.clone(), none(), stop.clone()).await.unwrap();
        stop.cancel();
        health.set(None);
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let reply = get(address, "/readyz").await;
        assert!(reply.starts_with("HTTP/1.1 503") && reply.ends_with("stopping\n"), "{reply}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let serve = |address| serve(address, Health::unready("x"), none(), CancellationToken::new());
        let taken = serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_eq!(serve(taken).await.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    }
}
