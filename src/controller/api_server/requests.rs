//! One request to the API server: with a deadline, counted, and with a bounded text for a failure.

use std::time::Duration;

use kube::{
    Client, Resource,
    client::Body,
    core::{Request, Status},
};
use tokio::time::Instant;

use super::{
    failure::{Failure, Unavailable},
    request_metrics::{ApiCall, RequestMetrics},
};
use crate::{api::InstanceDeletion, leadership::Leadership, text::bounded};

/// Bounds one request: kube has no response timeout of its own for ordinary calls.
const DEADLINE: Duration = Duration::from_secs(10);

/// The API server. Clones share one client.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    pub(super) leadership: Leadership,
    metrics: RequestMetrics,
}

impl ApiServer {
    /// Sends its requests through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, metrics: RequestMetrics::default(), leadership: Leadership::always() }
    }

    /// Writes and deletes only while this process leads.
    #[must_use]
    pub fn while_leading(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Counters of its requests.
    pub(in crate::controller) fn metrics(&self) -> &RequestMetrics {
        &self.metrics
    }

    /// Sends a request and counts it. Returns the body of a success.
    pub(super) async fn text(
        &self,
        call: ApiCall,
        request: http::Request<Vec<u8>>,
    ) -> Result<String, Failure> {
        let started = Instant::now();
        let answer = tokio::time::timeout(DEADLINE, exchange(&self.client, request)).await;
        let answer = answer.unwrap_or_else(|_| {
            let why = format!("no answer within {} s", DEADLINE.as_secs());
            Err(Failure::Unavailable(Unavailable::new(&why)))
        });
        self.metrics.answered(call, &answer, started.elapsed());
        answer
    }
}

/// Requests for the InstanceDeletions of a namespace.
pub(super) fn instance_deletions(namespace: &str) -> Request {
    Request::new(InstanceDeletion::url_path(&(), Some(namespace)))
}

/// Sends a request by kube's client, but reads the answer here: kube drops the header `Retry-After`, and logs the whole body
/// of an answer that it can't decode.
async fn exchange(client: &Client, request: http::Request<Vec<u8>>) -> Result<String, Failure> {
    let lost = |error: kube::Error| Failure::Unavailable(Unavailable::new(&error));
    let response = client.send(request.map(Body::from)).await.map_err(lost)?;
    let (parts, body) = response.into_parts();
    let bytes = body.collect_bytes().await.map_err(lost)?;
    if parts.status.is_success() {
        let not_text = |e: std::string::FromUtf8Error| Failure::Unavailable(Unavailable::new(&e));
        return String::from_utf8(bytes.into()).map_err(not_text);
    }
    let seconds = parts.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let status: Option<Status> = serde_json::from_slice(&bytes).ok();
    if let Some(status) = status.filter(|s| seconds.is_none() && s.code == parts.status.as_u16()) {
        return Err(Failure::Refused(status.boxed()));
    }
    let why = format!("HTTP {}: {}", parts.status.as_u16(), String::from_utf8_lossy(&bytes).trim());
    let retry_after = seconds.map(Duration::from_secs);
    Err(Failure::Unavailable(Unavailable { why: bounded(&why), retry_after }))
}
