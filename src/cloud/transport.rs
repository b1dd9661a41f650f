//! One HTTP exchange: a total deadline, a cap on the reply, no redirects, and the last check before a call leaves.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http_body::{Body, Frame, SizeHint};
use reqwest::{
    Certificate, Request,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue},
    redirect::Policy,
};
use tokio::time::{Instant, timeout_at};

pub use super::classify::HttpReply;
use super::credential::Secret;
use crate::leadership::DepartureGuard;

/// Below the least sensible total deadline, so that a timeout while connecting is known as one that sent nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// How to talk to the cloud.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Total time for one call.
    pub request_timeout: Duration,
    /// Further roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// User-Agent.
    pub user_agent: String,
    /// Ignore HTTPS_PROXY and its like.
    pub no_proxy: bool,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `--ca-file`.
    #[error("{file} can't be used as --ca-file: {why}")]
    Roots {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// TLS or proxy settings.
    #[error("the HTTP client can't be made: {0}")]
    Client(String),
}

/// Why nothing, or not everything, was heard.
#[derive(Debug)]
pub enum ExchangeError {
    /// No connection: nothing was sent.
    NotSent(String),
    /// It was too late to send.
    TooLate,
    /// It may have been sent.
    Unknown(String),
    /// The reply is larger than its cap.
    TooLarge,
}

/// An exchange that brought no whole reply.
#[derive(Debug)]
pub struct FailedExchange {
    /// Why.
    pub lost: ExchangeError,
    /// `X-Request-Id`, if a reply began: the vendor finds the call by it.
    pub request_id: Option<String>,
}

impl From<ExchangeError> for FailedExchange {
    /// No reply began.
    fn from(lost: ExchangeError) -> Self {
        Self { lost, request_id: None }
    }
}

/// One HTTP exchange without a deadline: the boundary between this process and the cloud.
///
/// The body of a request is to be polled at the moment at which the request leaves and not before: it refuses to leave
/// when it is too late ([`ExchangeError::TooLate`]).
pub trait HttpTransport: Send + Sync + 'static {
    /// Sends a request, once, and reads the reply to at most `cap` bytes.
    fn exchange(&self, request: Request, cap: usize) -> BoxFuture<'_, Result<HttpReply, ExchangeError>>;

    /// The same. A wire on which a reply may begin and not end notes its `X-Request-Id` as soon as it is there.
    fn exchange_noting<'a>(
        &'a self,
        request: Request,
        cap: usize,
        _request_id: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        self.exchange(request, cap)
    }
}

/// Exchanges, each within a total deadline.
pub struct Transport {
    wire: Box<dyn HttpTransport>,
    total: Duration,
}

impl Transport {
    /// Exchanges over this, each within `total`.
    pub fn new(wire: impl HttpTransport, total: Duration) -> Self {
        Self { wire: Box::new(wire), total }
    }

    /// Sends a request and reads the reply to at most `cap` bytes.
    pub async fn exchange(&self, request: Request, cap: usize) -> Result<HttpReply, FailedExchange> {
        let deadline = Instant::now() + self.total;
        let request_id = OnceLock::new();
        let exchange = self.wire.exchange_noting(request, cap, &request_id);
        let late =
            |_| Err(ExchangeError::Unknown(format!("no answer within {} s", self.total.as_secs_f32())));
        let heard = timeout_at(deadline, exchange).await.unwrap_or_else(late);
        heard.map_err(|lost| FailedExchange { lost, request_id: request_id.into_inner() })
    }
}

/// The HTTP client.
pub struct Http {
    client: reqwest::Client,
}

impl Http {
    /// Makes the client.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        // Nothing here expands a body, so the cap on what is read is the cap on what it may become. Without this header
        // a proxy may encode a reply; one that does all the same sent no JSON.
        let identity = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT.min(options.request_timeout / 2))
            .http1_only()
            .user_agent(&options.user_agent)
            .default_headers(identity);
        if options.no_proxy {
            builder = builder.no_proxy();
        }
        if let Some(file) = &options.ca_file {
            let roots = |why: String| ClientError::Roots { file: file.clone(), why };
            let pem = std::fs::read(file).map_err(|e| roots(e.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| roots(e.to_string()))?;
            if certificates.is_empty() {
                return Err(roots("it holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|e| ClientError::Client(chain(&e)))?;
        Ok(Self { client })
    }
}

impl HttpTransport for Http {
    fn exchange(&self, request: Request, cap: usize) -> BoxFuture<'_, Result<HttpReply, ExchangeError>> {
        async move { exchange(&self.client, request, cap, &OnceLock::new()).await }.boxed()
    }

    fn exchange_noting<'a>(
        &'a self,
        request: Request,
        cap: usize,
        request_id: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        exchange(&self.client, request, cap, request_id).boxed()
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request,
    cap: usize,
    noted: &OnceLock<String>,
) -> Result<HttpReply, ExchangeError> {
    let mut response = client.execute(request).await.map_err(|e| lost(&e))?;
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, retry_after) = (header("content-type"), header("retry-after"));
    let (request_id, date) = (header("x-request-id"), header("date"));
    if let Some(request_id) = &request_id {
        noted.get_or_init(|| request_id.clone());
    }
    let subject_token = response.headers().get("x-subject-token");
    let subject_token = subject_token.and_then(|token| Secret::parse(token.as_bytes()).ok());
    let status = response.status();
    // What a header announces is no reason to reserve more than the cap.
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(announced.unwrap_or_default().min(cap));
    while let Some(chunk) = response.chunk().await.map_err(|e| ExchangeError::Unknown(chain(&e)))? {
        if body.len() + chunk.len() > cap {
            return Err(ExchangeError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpReply { status, content_type, retry_after, request_id, date, subject_token, body })
}

fn lost(error: &reqwest::Error) -> ExchangeError {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<TooLate>() {
            return ExchangeError::TooLate;
        }
        source = cause.source();
    }
    // Only a failure to connect proves that nothing was sent.
    if error.is_connect() {
        ExchangeError::NotSent(chain(error))
    } else {
        ExchangeError::Unknown(chain(error))
    }
}

/// An error with its causes, without the URL.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text += ": ";
        }
        text += &cause.to_string();
        next = cause.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}

/// It was too late to send.
#[derive(Debug, thiserror::Error)]
#[error("too late after the write of the intent, or another process leads")]
struct TooLate;

/// A request body that is sent only while its [`DepartureGuard`] allows it.
///
/// The HTTP library polls it after the connection is there and before the head is flushed, so this is the last check
/// before anything of the request leaves. It can't be cloned, so nothing sends it twice.
pub struct GuardedBody {
    bytes: Option<Bytes>,
    departure: DepartureGuard,
}

impl GuardedBody {
    /// Wraps the body of one delete call.
    pub fn new(bytes: Vec<u8>, departure: DepartureGuard) -> Self {
        Self { bytes: Some(bytes.into()), departure }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some(bytes) = this.bytes.take() else { return Poll::Ready(None) };
        if !this.departure.allows() {
            return Poll::Ready(Some(Err(TooLate.into())));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::{
        clock::{Clock, Deadline},
        cloud::testing::options,
        leadership::Leadership,
    };

    /// A root that signs nothing; valid until 2126.
    const ROOT: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBkTCCATagAwIBAgIUPwl6gGWAGNoV7Cp4domnaucrPFwwCgYIKoZIzj0EAwIw\n\
FDESMBAGA1UEAwwJdGVzdCByb290MCAXDTI2MTEyNDEzMTYzOFoYDzIxMjYxMDMx\n\
MTMxNjM4WjAUMRIwEAYDVQQDDAl0ZXN0IHJvb3QwWTATBgcqhkjOPQIBBggqhkjO\n\
PQMBBwNCAAQTwogjAFLQKVV4qYxWMbtfE2fpHqP1uHZWB+uPyroU3WBzPM/jFinN\n\
uUlGAjI5uup7MblSPnouTBPJfvkmRJe+o2QwYjAdBgNVHQ4EFgQUcfaWCmsBmNZz\n\
NGN/T6cRODyT+LMwHwYDVR0jBBgwFoAUcfaWCmsBmNZzNGN/T6cRODyT+LMwDwYD\n\
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0kAMEYC\n\
IQCiW7qgNnRus+NMJSG4sYi9gIKqLiyyZ78HiWwOe7gKPQIhAPugQxryFubLoXhT\n\
c/29AKdAGWkFW+ZKFXqRLvr/GlAY\n\
-----END CERTIFICATE-----\n";

    fn with_roots(text: &str) -> Result<Http, ClientError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("roots.pem");
        std::fs::write(&file, text).unwrap();
        Http::new(&ClientOptions { ca_file: Some(file), ..options(1) })
    }

    #[test]
    fn further_roots_are_certificates_or_an_error_that_names_the_file() {
        assert!(with_roots(ROOT).is_ok());
        assert!(with_roots(&format!("# two\n{ROOT}{ROOT}")).is_ok());
        let broken = ROOT.replace("MII", "!!!");
        for text in ["", "roots", &broken] {
            let Err(ClientError::Roots { file, .. }) = with_roots(text) else { panic!("{text:?}") };
            assert!(file.ends_with("roots.pem"));
        }
        let missing = ClientOptions { ca_file: Some("/nowhere/roots.pem".into()), ..options(1) };
        assert!(matches!(Http::new(&missing), Err(ClientError::Roots { .. })));
    }

    fn poll(body: &mut GuardedBody) -> Option<Result<Bytes, String>> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let frame = frame.now_or_never().unwrap()?;
        Some(frame.map(|f| f.into_data().unwrap()).map_err(|e| e.to_string()))
    }

    #[test]
    fn s13_a_body_is_given_out_whole_and_in_time_or_not_at_all() {
        let clock = Clock::start();
        let within = |life| DepartureGuard::new(Deadline::after(life, &clock), &Leadership::always());
        let mut body = GuardedBody::new(b"body".to_vec(), within(Duration::from_mins(1)));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
        assert_eq!(poll(&mut body), Some(Ok(Bytes::from_static(b"body"))));
        assert_eq!((poll(&mut body), body.is_end_stream()), (None, true));
        let mut late = GuardedBody::new(b"body".to_vec(), within(Duration::ZERO));
        assert!(poll(&mut late).unwrap().is_err());
        assert_eq!(poll(&mut late), None, "a second poll brings nothing either");
    }
}
