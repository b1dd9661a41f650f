//! The HTTP client: TLS roots, no redirects, no retries, and a cap on each reply.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use reqwest::{
    Certificate, Request,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue},
    redirect::Policy,
};

use super::{
    credential::Secret,
    guarded_body::TooLate,
    reply_body::{NoRoom, ReplyRoom},
    transport::{ExchangeError, HttpReply, HttpTransport},
};

/// Bound on the time to connect. It is below any sensible total deadline, so that a timeout while connecting is known as one
/// that sent nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// Settings of the HTTP client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Total time for one call, from connecting to the last byte of the reply.
    pub request_timeout: Duration,
    /// A PEM file of further root certificates.
    pub ca_file: Option<PathBuf>,
    /// User-Agent.
    pub user_agent: String,
    /// Ignore `HTTPS_PROXY` and similar variables.
    pub no_proxy: bool,
}

/// Why the HTTP client could not be made.
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

/// The HTTP client.
pub struct Http {
    client: reqwest::Client,
    room: ReplyRoom,
}

impl Http {
    /// Makes the client.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        // This client decompresses nothing, so the cap on the bytes read bounds what a reply may become. The header asks
        // proxies not to compress; a reply that is compressed all the same does not parse as JSON.
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
        Ok(Self { client, room: ReplyRoom::default() })
    }
}

impl HttpTransport for Http {
    fn exchange<'a>(
        &'a self,
        request: Request,
        cap: usize,
        request_id: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        exchange(&self.client, request, (cap, &self.room), request_id).boxed()
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request,
    (cap, room): (usize, &ReplyRoom),
    noted: &OnceLock<String>,
) -> Result<HttpReply, ExchangeError> {
    let mut response = client.execute(request).await.map_err(|e| error_of(&e))?;
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
    // A header may announce any length, so nothing is reserved for it.
    let mut body = room.body();
    while let Some(chunk) = response.chunk().await.map_err(|e| ExchangeError::Unknown(chain(&e)))? {
        if body.len() + chunk.len() > cap {
            return Err(ExchangeError::TooLarge);
        }
        body.extend(&chunk).map_err(|NoRoom| ExchangeError::NoRoom)?;
    }
    Ok(HttpReply { status, content_type, retry_after, request_id, date, subject_token, body })
}

fn error_of(error: &reqwest::Error) -> ExchangeError {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::tests::options;

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
}
