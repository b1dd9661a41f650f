//! One exchange with the API server: a deadline, bounded words for a failure, and how long the server asks to be left alone.

use std::{fmt, time::Duration};

use kube::{Client, client::Body, core::Status};

/// kube has no response timeout of its own for ordinary calls.
const DEADLINE: Duration = Duration::from_secs(10);

/// A request that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The API server refused it.
    Refused(Box<Status>),
    /// It was not answered as it should be: whether it had an effect is unknown.
    Unavailable(Unavailable),
}

/// The API server did not do what was asked, or nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Why, in bounded words.
    pub why: String,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Unavailable {
    /// Without a word from the server.
    pub fn new(why: &dyn fmt::Display) -> Self {
        Self { why: bounded(&why.to_string()), retry_after: None }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Failure {
    /// The API server says that no object of this name exists. Any other 404, such as that of a proxy or of a resource that
    /// is not served yet, says nothing about the object.
    pub fn is_gone(&self, name: &str) -> bool {
        matches!(self, Self::Refused(status)
            if status.is_not_found() && status.details.as_ref().is_some_and(|details| details.name == name))
    }

    /// What is not understood as a refusal of its own.
    pub fn unavailable(self) -> Unavailable {
        match self {
            Self::Refused(status) => {
                let retry_after = status.details.as_ref().map(|details| details.retry_after_seconds);
                let retry_after = retry_after.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
                Unavailable { why: bounded(&status.message), retry_after }
            }
            Self::Unavailable(unavailable) => unavailable,
        }
    }
}

/// The first characters: some bodies are pages.
pub fn bounded(text: &str) -> String {
    text.chars().take(256).collect()
}

/// Sends a request; the text of a success. Not kube's own, which drops the header Retry-After.
pub async fn text(client: &Client, request: http::Request<Vec<u8>>) -> Result<String, Failure> {
    let answer = tokio::time::timeout(DEADLINE, exchange(client, request)).await;
    answer.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", DEADLINE.as_secs());
        Err(Failure::Unavailable(Unavailable::new(&why)))
    })
}

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
