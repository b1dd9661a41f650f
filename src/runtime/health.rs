//! `/healthz` and `/readyz`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Registry;

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

/// What answers probes.
///
/// `/healthz` answers 200 as long as the process schedules tasks at all. `/readyz` answers 200 from when every watch has its
/// first list until `stop` is cancelled. Both are served during the drain: a process that records its last calls is alive.
pub fn probes(health: Arc<Health>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((health, stop))
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
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;
    use crate::metrics::testing::{sample, scraped};

    async fn asked(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 10).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_only_when_it_is() {
        let health = Health::unready("waiting for the first list");
        let router = probes(health.clone(), CancellationToken::new());
        let told = || sample(&scraped(|registry| health.register(registry)), "ready").to_string();
        assert_eq!(asked(&router, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(asked(&router, "/readyz").await, (503, "waiting for the first list\n".to_owned()));
        assert_eq!(told(), "0");
        health.set(None);
        assert_eq!(asked(&router, "/readyz").await, (200, "ok\n".to_owned()));
        assert_eq!(told(), "1");
        health.set(Some("the watch is lost"));
        assert_eq!(asked(&router, "/readyz").await, (503, "the watch is lost\n".to_owned()));
        for path in ["/metrics", "/", "/healthz/x"] {
            assert_eq!(asked(&router, path).await.0, 404, "{path}");
        }
    }

    #[tokio::test]
    async fn a_stopping_process_is_alive_and_not_ready() {
        let (health, stop) = (Health::unready("waiting for the first list"), CancellationToken::new());
        let router = probes(health.clone(), stop.clone());
        stop.cancel();
        health.set(None);
        assert_eq!(asked(&router, "/healthz").await.0, 200);
        assert_eq!(asked(&router, "/readyz").await, (503, "stopping\n".to_owned()));
    }
}
