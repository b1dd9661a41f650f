//! The HTTP client: TLS roots, no redirects, no retries, and a cap on each reply.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use reqwest::{
    Certificate, Request,
    dns::Resolve,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue},
    redirect::Policy,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    credential::Secret,
    dns::{Dns, NoSuchHost},
    guarded_body::TooLate,
    reply_body::{NoRoom, ReplyRoom},
    transport::{ExchangeError, HttpReply, HttpTransport},
};
use crate::{lock::lock, text::without_passwords};

/// Bound on the time to connect. It is below any sensible total deadline, so that a timeout while connecting is known as one
/// that sent nothing.
const CONNECT: Duration = Duration::from_secs(10);
/// Time between two reads of `--ca-file`. The kubelet takes a minute to update a mounted file, so this adds little.
const REREAD: Duration = Duration::from_secs(10);
/// Limit for such a read.
const READ: Duration = Duration::from_secs(1);

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

/// The HTTP client. It trusts what `--ca-file` holds now: the file of a mounted Secret or ConfigMap changes.
pub struct Http {
    options: ClientOptions,
    resolver: Arc<dyn Resolve>,
    current: Mutex<Current>,
    room: ReplyRoom,
}

/// The client in use.
struct Current {
    client: reqwest::Client,
    /// What `--ca-file` held when the client was made.
    pem: Vec<u8>,
    /// When the file was last read.
    read: Instant,
    /// Why it can't be used, as was logged last.
    told: Option<String>,
}

impl Http {
    /// Makes the client.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Self::resolving(options, Arc::new(Dns))
    }

    /// Makes a client that resolves host names in this way.
    pub(super) fn resolving(
        options: &ClientOptions,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ClientError> {
        let pem = match &options.ca_file {
            Some(file) => std::fs::read(file).map_err(|e| roots_error(file, &e))?,
            None => Vec::new(),
        };
        let client = client(options, &pem, resolver.clone())?;
        let current = Current { client, pem, read: Instant::now(), told: None };
        let (options, current) = (options.clone(), Mutex::new(current));
        Ok(Self { options, resolver, current, room: ReplyRoom::default() })
    }

    /// The client; a new one if `--ca-file` has changed. Connections of the one before end with their requests.
    async fn client(&self) -> reqwest::Client {
        let file = {
            let mut current = lock(&self.current);
            match &self.options.ca_file {
                Some(file) if current.read.elapsed() >= REREAD => {
                    current.read = Instant::now();
                    file.clone()
                }
                _ => return current.client.clone(),
            }
        };
        self.reread(file).await;
        lock(&self.current).client.clone()
    }

    /// Reads `--ca-file` again. If it can't be used, the certificates that were read before stay in use.
    async fn reread(&self, file: PathBuf) {
        let from = file.clone();
        // On a thread of its own, and bounded: a mount may hang.
        let pem = timeout(READ, spawn_blocking(move || std::fs::read(from))).await;
        let pem = match pem {
            Ok(Ok(pem)) => pem.map_err(|error| roots_error(&file, &error)),
            Ok(Err(_)) | Err(_) => Err(roots_error(&file, &"it was not read in time")),
        };
        let current = &mut *lock(&self.current);
        let made = match pem {
            Ok(pem) if pem == current.pem => Ok(None),
            Ok(pem) => client(&self.options, &pem, self.resolver.clone()).map(|client| Some((client, pem))),
            Err(error) => Err(error),
        };
        match made {
            Ok(changed) => {
                current.told = None;
                if let Some((client, pem)) = changed {
                    info!(file = %file.display(), "--ca-file has changed; its certificates are used from now on");
                    (current.client, current.pem) = (client, pem);
                }
            }
            Err(error) => {
                let error = error.to_string();
                if current.told.as_ref() != Some(&error) {
                    warn!(error, "the certificates that were read before stay in use");
                    current.told = Some(error);
                }
            }
        }
    }
}

fn roots_error(file: &Path, why: &dyn std::fmt::Display) -> ClientError {
    ClientError::Roots { file: file.to_owned(), why: why.to_string() }
}

/// A client that trusts the certificates of `--ca-file` too.
fn client(
    options: &ClientOptions,
    pem: &[u8],
    resolver: Arc<dyn Resolve>,
) -> Result<reqwest::Client, ClientError> {
    // This client decompresses nothing, so the cap on the bytes read bounds what a reply may become. The header asks
    // proxies not to compress; a reply that is compressed all the same does not parse as JSON.
    let identity = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    let mut builder = reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT.min(options.request_timeout / 2))
        .dns_resolver(resolver)
        .http1_only()
        .user_agent(&options.user_agent)
        .default_headers(identity);
    if options.no_proxy {
        builder = builder.no_proxy();
    }
    if let Some(file) = &options.ca_file {
        let certificates = Certificate::from_pem_bundle(pem).map_err(|e| roots_error(file, &e))?;
        if certificates.is_empty() {
            return Err(roots_error(file, &"it holds no certificate"));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|e| ClientError::Client(chain(&e)))
}

impl HttpTransport for Http {
    fn exchange<'a>(
        &'a self,
        request: Request,
        cap: usize,
        request_id: &'a OnceLock<String>,
    ) -> BoxFuture<'a, Result<HttpReply, ExchangeError>> {
        async move { exchange(&self.client().await, request, (cap, &self.room), request_id).await }.boxed()
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
        if let Some(NoSuchHost(host)) = cause.downcast_ref() {
            return ExchangeError::NoSuchHost(host.clone());
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

/// An error with its causes, without the URL and without the password of a proxy.
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
    if text.is_empty() { "the request failed".to_owned() } else { without_passwords(&text) }
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

    #[tokio::test]
    async fn further_roots_are_read_again_and_stay_in_use_when_the_file_is_broken() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("roots.pem");
        std::fs::write(&file, ROOT).unwrap();
        let http = Http::new(&ClientOptions { ca_file: Some(file.clone()), ..options(1) }).unwrap();
        let changed = format!("# changed\n{ROOT}");
        for (text, in_use) in [("", ROOT), ("roots", ROOT), (&changed, &changed), ("", &changed)] {
            std::fs::write(&file, text).unwrap();
            http.reread(file.clone()).await;
            let current = lock(&http.current);
            assert_eq!(String::from_utf8_lossy(&current.pem), in_use, "{text:?}");
            assert_eq!(current.told.is_some(), text != changed, "{text:?}: {:?}", current.told);
        }
        std::fs::remove_file(&file).unwrap();
        http.reread(file).await;
        assert_eq!(String::from_utf8_lossy(&lock(&http.current).pem), changed);
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
