//! `/healthz` and `/readyz`.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Registry;

/// Longest time for which `/readyz` waits until the process is ready. It is below the probe's timeout (5 s in the manifests) and
/// the life of a connection, by more than a loaded node needs.
const HOLD: Duration = Duration::from_secs(3);
/// Requests of `/readyz` that wait at once. The kubelet sends one at a time; further ones are answered at once.
const HELD: usize = 8;

/// Whether the process is ready, and if not, why.
#[derive(Debug)]
pub struct Health {
    unready: watch::Sender<Option<&'static str>>,
    held: Semaphore,
}

impl Health {
    /// A process that is not ready, for this reason.
    #[must_use]
    pub fn unready(why: &'static str) -> Arc<Self> {
        Arc::new(Self { unready: watch::Sender::new(Some(why)), held: Semaphore::new(HELD) })
    }

    /// Sets the process ready (`None`) or not ready for a reason.
    pub fn set(&self, unready: Option<&'static str>) {
        self.unready.send_replace(unready);
    }

    /// Registers the gauge `ready`: 1 while `/readyz` answers 200.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    fn get(&self) -> Option<&'static str> {
        *self.unready.borrow()
    }

    /// Waits until the process is ready, at most [`HOLD`], unless too many requests wait already.
    async fn becomes_ready(&self) {
        let Ok(_held) = self.held.try_acquire() else { return };
        let mut unready = self.unready.subscribe();
        // Nothing is lost if it is not ready in time: the caller asks again.
        let _ = timeout(HOLD, unready.wait_for(Option::is_none)).await;
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
/// first list until `stop` is cancelled; before, it waits a little for that, so that no probe of a usual start fails. Both are served during the drain: a process that records its last calls is alive.
pub fn probes(health: Arc<Health>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((health, stop))
}

async fn ready(State((health, stop)): State<(Arc<Health>, CancellationToken)>) -> (StatusCode, String) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = health.becomes_ready() => {}
    }
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
    use tokio::time::{Instant, sleep};
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

    #[tokio::test(start_paused = true)]
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

    #[tokio::test(start_paused = true)]
    async fn a_probe_waits_for_the_first_list_a_while() {
        let health = Health::unready("waiting for the first list");
        let router = probes(health.clone(), CancellationToken::new());
        let started = Instant::now();
        let listed = async {
            sleep(HOLD / 2).await;
            // Another reason is no reason to answer.
            health.set(Some("leads; waiting for the first list"));
            sleep(HOLD / 4).await;
            health.set(None);
        };
        let (answer, ()) = tokio::join!(asked(&router, "/readyz"), listed);
        assert_eq!((answer.0, started.elapsed()), (200, HOLD * 3 / 4));
        health.set(Some("the watch is lost"));
        let started = Instant::now();
        assert_eq!(asked(&router, "/readyz").await.0, 503);
        assert_eq!(started.elapsed(), HOLD);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_probes_wait_at_once() {
        let health = Health::unready("waiting for the first list");
        let router = probes(health.clone(), CancellationToken::new());
        let started = Instant::now();
        let ask = || async { (asked(&router, "/readyz").await.0, started.elapsed()) };
        let answers = futures::future::join_all((0..HELD + 2).map(|_| ask())).await;
        let at_once = answers.iter().filter(|answer| **answer == (503, Duration::ZERO)).count();
        let held = answers.iter().filter(|answer| **answer == (503, HOLD)).count();
        assert_eq!((at_once, held), (2, HELD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_answers_the_probes_that_wait() {
        let (health, stop) = (Health::unready("waiting for the first list"), CancellationToken::new());
        let router = probes(health, stop.clone());
        let started = Instant::now();
        let stops = async {
            sleep(HOLD / 3).await;
            stop.cancel();
        };
        let (answer, ()) = tokio::join!(asked(&router, "/readyz"), stops);
        assert_eq!((answer, started.elapsed()), ((503, "stopping\n".to_owned()), HOLD / 3));
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
