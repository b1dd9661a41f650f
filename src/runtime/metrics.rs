//! `/metrics`: the registry of all components, in the format that the scraper asks for.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{prometheus_text, text},
    metrics::info::Info,
};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use tracing::warn;

use super::process;
use crate::{api::CONTROLLER_NAME, metrics::Registry};

/// Prefix of the metrics of this controller; those that every process has are without.
const PREFIX: &str = "instance_deletion";
/// Limit for one scrape. It takes about a millisecond; a blocked one fails well before Prometheus gives up (10 s).
const DEADLINE: Duration = Duration::from_secs(2);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// One scrape at a time: scrapers that come too often wait for each other only.
    turn: Arc<Semaphore>,
}

impl Metrics {
    /// Registers the figures of the process, the build information and what the components register.
    #[must_use]
    pub fn new(register: impl FnOnce(&mut Registry)) -> Arc<Self> {
        let mut registry = Registry::default();
        process::register(&mut registry);
        let own = registry.sub_registry_with_prefix(PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("name", CONTROLLER_NAME)]);
        own.register("build", "Which build this is", build);
        register(own);
        Arc::new(Self { registry, turn: Arc::new(Semaphore::new(1)) })
    }

    fn told(&self, open_metrics: bool) -> Result<String, std::fmt::Error> {
        let mut told = String::new();
        if open_metrics {
            text::encode(&mut told, &self.registry)?;
        } else {
            prometheus_text::encode(&mut told, &self.registry)?;
        }
        Ok(told)
    }
}

/// What answers scrapes.
pub fn scrapes(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(metrics)
}

/// Answers a scrape in OpenMetrics if the scraper accepts it, as Prometheus does, and in Prometheus' text format otherwise.
async fn scrape(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open_metrics = accepted.into_iter().any(|value| value.contains("application/openmetrics-text"));
    let told = timeout(DEADLINE, async {
        // `acquire` fails only on a closed semaphore, and nothing closes this one.
        let turn = metrics.turn.clone().acquire_owned().await.ok();
        // On a blocking thread: a collector may wait for a lock, and no reconcile may wait for the scrape.
        spawn_blocking(move || {
            let _until_it_is_told = turn;
            metrics.told(open_metrics)
        })
        .await
    });
    match told.await {
        Ok(Ok(Ok(told))) => {
            let form = if open_metrics { OPEN_METRICS } else { prometheus_text::CONTENT_TYPE };
            ([(CONTENT_TYPE, form)], told).into_response()
        }
        Ok(_) => {
            warn!("a scrape failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the scrape took too long; an earlier one may still be under way\n",
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::to_bytes;
    use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

    use super::*;
    use crate::metrics::{Counter, counters};

    async fn get(metrics: &Arc<Metrics>, accept: Option<&str>) -> (StatusCode, String, String) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        let response = scrape(State(metrics.clone()), headers).await;
        let form = response.headers().get(CONTENT_TYPE).map(|form| form.to_str().unwrap().to_owned());
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, form.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_client_that_accepts_open_metrics_gets_it_and_others_get_the_older_text() {
        let metrics = Metrics::new(|registry| {
            registry.register("calls", "Calls", counters([[("kind", "delete")]]));
            registry.register("restarts", "Restarts", Counter::<u64>::default());
        });
        // What Prometheus 3 sends, and what curl sends.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let (status, form, told) = get(&metrics, Some(prometheus)).await;
        assert_eq!((status, form.as_str()), (StatusCode::OK, OPEN_METRICS));
        let build = format!(
            r#"instance_deletion_build_info{{version="{}",name="{CONTROLLER_NAME}"}} 1"#,
            env!("CARGO_PKG_VERSION")
        );
        assert!(told.contains(&build), "{told}");
        assert!(told.contains("# TYPE instance_deletion_calls counter\n"), "{told}");
        assert!(told.ends_with("# EOF\n"), "{told}");
        for accept in [None, Some("*/*"), Some("text/plain")] {
            let (status, form, told) = get(&metrics, accept).await;
            assert_eq!((status, form.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
            assert!(told.contains("# TYPE instance_deletion_calls_total counter\n"), "{told}");
            assert!(told.contains("instance_deletion_calls_total{kind=\"delete\"} 0\n"), "{told}");
            assert!(!told.contains("# EOF"), "{told}");
        }
    }

    /// A row that waits for a lock which another holds.
    #[derive(Debug)]
    struct Waits(Arc<Mutex<()>>);

    impl Collector for Waits {
        fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            drop(self.0.lock().unwrap());
            Ok(())
        }
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "that is what the scrape waits for")]
    async fn a_scrape_that_waits_is_told_so_and_holds_up_nobody() {
        let lock = Arc::new(Mutex::new(()));
        let metrics = Metrics::new(|registry| registry.register_collector(Box::new(Waits(lock.clone()))));
        let held = lock.lock().unwrap();
        // On this one thread: were the scrape to wait on it, neither would end.
        let both = async { tokio::join!(get(&metrics, None), get(&metrics, None)) };
        let (first, second) = both.await;
        for (status, _, told) in [first, second] {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(told.contains("too long"), "{told}");
        }
        drop(held);
        assert_eq!(get(&metrics, None).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_row_that_panics_fails_the_scrape_and_not_the_next() {
        let lock = Arc::new(Mutex::new(()));
        let poison = lock.clone();
        let _ = std::thread::spawn(move || {
            let _held = poison.lock();
            panic!("poisoned");
        })
        .join();
        let metrics = Metrics::new(|registry| registry.register_collector(Box::new(Waits(lock.clone()))));
        assert_eq!(get(&metrics, None).await.0, StatusCode::INTERNAL_SERVER_ERROR);
        lock.clear_poison();
        assert_eq!(get(&metrics, None).await.0, StatusCode::OK);
    }
}
