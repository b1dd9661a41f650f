//! One HTTP exchange with the cloud: what it brings, how it fails, and its total deadline.

use std::{sync::OnceLock, time::Duration};

use futures::future::BoxFuture;
use reqwest::{Request, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::{
    credential::{NotTried, Secret},
    reply_body::ReplyBody,
};

/// An HTTP reply, read whole. It has no Debug, since a reply of IAM holds a token.
pub struct HttpReply {
    /// HTTP status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `X-Request-Id`.
    pub request_id: Option<String>,
    /// `Date`.
    pub date: Option<String>,
    /// `X-Subject-Token`: only IAM sends one.
    pub subject_token: Option<Secret>,
    /// The body, read whole.
    pub body: ReplyBody,
}

/// Why an exchange brought no whole reply.
#[derive(Debug)]
pub enum ExchangeError {
    /// The cloud refused the credential lately, so nothing was sent.
    NotTried(NotTried),
    /// There was no connection, so nothing was sent.
    NotSent(String),
    /// No host has this name, so nothing was sent.
    NoSuchHost(String),
    /// It was too late to send, so nothing was sent.
    TooLate,
    /// The request may have been sent.
    Unknown(String),
    /// The reply is larger than its cap.
    TooLarge,
    /// The replies to other calls take all of the memory for replies.
    NoRoom,
}

/// An exchange that brought no whole reply.
#[derive(Debug)]
pub struct FailedExchange {
    /// Why.
    pub error: ExchangeError,
    /// `X-Request-Id`, if a reply began: the vendor's support finds the call by it.
    pub request_id: Option<String>,
}

impl From<ExchangeError> for FailedExchange {
    /// A failure before any reply.
    fn from(error: ExchangeError) -> Self {
        Self { error, request_id: None }
    }
}

/// One HTTP exchange without a deadline: the boundary between this process and the cloud.
pub trait HttpTransport: Send + Sync + 'static {
    /// Sends a request, once, and reads the reply to at most `cap` bytes. Sets `request_id` to the reply's `X-Request-Id`
    /// as soon as its head is read, since the body may never end.
    ///
    /// The implementation polls the body of the request when the request leaves and not before: the body refuses to leave
    /// when it is too late ([`ExchangeError::TooLate`]).
    fn exchange<'a>(
        &'a self,
        request: Request,
        cap: usize,
        request_id: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>>;
}

/// A transport that ends each exchange within a total deadline.
pub struct BoundedTransport {
    transport: Box<dyn HttpTransport>,
    /// From the start of the exchange to the last byte of the reply.
    total: Duration,
}

impl BoundedTransport {
    /// Bounds the exchanges of `transport` by `total`.
    pub fn new(transport: impl HttpTransport, total: Duration) -> Self {
        Self { transport: Box::new(transport), total }
    }

    /// Sends a request and reads the reply to at most `cap` bytes.
    pub async fn exchange(&self, request: Request, cap: usize) -> Result<HttpReply, FailedExchange> {
        let deadline = Instant::now() + self.total;
        let request_id = OnceLock::new();
        let exchange = self.transport.exchange(request, cap, &request_id);
        let late =
            |_| Err(ExchangeError::Unknown(format!("no answer within {} s", self.total.as_secs_f32())));
        let reply = timeout_at(deadline, exchange).await.unwrap_or_else(late);
        reply.map_err(|error| FailedExchange { error, request_id: request_id.into_inner() })
    }
}
