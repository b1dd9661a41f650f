//! One call: the signed request, the exchange, and the message about one that failed.

use k8s_openapi::jiff::Timestamp;
use reqwest::{
    Method, Request, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::Instant;
use tracing::debug;

use crate::{
    clock::Clock,
    cloud::{
        classify::{printable, read_failed},
        credential::{
            Attempts, Authorization, Credential, Fingerprint, Owner, RedactionList, Signed, encoded,
        },
        endpoint::Endpoint,
        skew::Skew,
        transport::{BoundedTransport, ExchangeError, FailedExchange, HttpReply},
    },
    engine::outcome::{CloudMessage, Trouble},
};

/// Where a request goes, and with which credential.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// The API.
    pub endpoint: &'a Endpoint,
    /// The project of the instances.
    pub project: &'a str,
    /// What signs the request.
    pub credential: &'a Credential,
}

/// Whether a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was, as far as is known.
    Yes,
    /// It was not, because there was no connection.
    NoConnection,
    /// It was not, because the cloud refused its credential lately.
    NotTried,
}

/// Why a read brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRead {
    /// What stands in the way.
    pub trouble: Trouble,
    /// The cloud's message, or the client's own.
    pub message: CloudMessage,
    /// The reply was larger than its cap, or than the memory that is left for replies: fewer ids may fit.
    pub too_large: bool,
    /// The status was 503: the account should be called more slowly.
    pub unavailable: bool,
    /// Whether the request was sent.
    pub sent: Sent,
    /// The time that requests are signed with was wrong and has been corrected: the same request may succeed now.
    pub clock_set: bool,
}

/// Signs requests, exchanges them, and keeps secrets out of what is said about them.
pub struct Caller {
    /// The transport.
    pub transport: BoundedTransport,
    /// The clock of this process.
    pub clock: Clock,
    /// The secrets sent lately.
    pub redaction: RedactionList,
    /// The credentials tried lately.
    pub attempts: Attempts,
    skew: Skew,
}

impl Caller {
    /// A caller that has sent nothing.
    pub fn new(transport: BoundedTransport, clock: Clock) -> Self {
        let (redaction, skew) = Default::default();
        let attempts = Attempts::new(clock.clone());
        Self { transport, clock, redaction, attempts, skew }
    }

    /// Text without the secrets of this request and of those sent lately.
    pub fn redact(&self, access: Access<'_>, text: &str) -> String {
        self.redaction.redact(access.credential.secrets(), text)
    }

    /// A read that the cloud answered with a refusal.
    pub fn refused(
        &self,
        access: Access<'_>,
        response: &HttpReply,
        trouble: Trouble,
        message: CloudMessage,
    ) -> FailedRead {
        let unavailable = response.status == StatusCode::SERVICE_UNAVAILABLE;
        FailedRead {
            trouble,
            message,
            too_large: false,
            unavailable,
            sent: Sent::Yes,
            clock_set: self.set_clock(access, response),
        }
    }

    /// The time at an endpoint, by the `Date` of a reply in the last minutes.
    pub fn told_time(&self, endpoint: &Endpoint) -> Option<Timestamp> {
        self.skew.told(endpoint, self.clock.mono())
    }

    /// Corrects the time that requests are signed with, if a refusal shows that it is wrong. Returns whether it did.
    pub fn set_clock(&self, access: Access<'_>, response: &HttpReply) -> bool {
        let signed = matches!(access.credential.authorization, Authorization::AccessKey(_));
        signed
            && response.status == StatusCode::UNAUTHORIZED
            && self.skew.learn(access.endpoint, response.date.as_deref(), self.clock.wall())
    }

    /// A signed request for instances, complete but for its body.
    pub fn request(
        &self,
        method: Method,
        access: Access<'_>,
        path: &str,
        body: &[u8],
    ) -> Result<Request, ExchangeError> {
        self.request_of(method, access, &format!("/instances{path}"), body)
    }

    /// A signed request for a resource of the project, complete but for its body.
    pub fn request_of(
        &self,
        method: Method,
        access: Access<'_>,
        path: &str,
        body: &[u8],
    ) -> Result<Request, ExchangeError> {
        let Access { endpoint, project, credential } = access;
        self.redaction.learn(credential.secrets());
        // Callers pass a parsed project; encoding it makes sure that it can't become another path.
        let url = format!("{endpoint}/v1/{}{path}", encoded(project));
        let url = Url::parse(&url).map_err(|_| no_url())?;
        let mut request = Request::new(method, url);
        let json = HeaderValue::from_static("application/json;charset=utf-8");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let (method, url) = (request.method().clone(), request.url().clone());
        let signed = Signed { method: method.as_str(), url: &url, body };
        let at = self.skew.time(endpoint, self.clock.wall());
        credential
            .authorize(signed, request.headers_mut(), project, at)
            .map_err(|_| ExchangeError::NotSent("the credential makes no header".to_owned()))?;
        Ok(request)
    }

    /// Sends a read.
    pub async fn read(
        &self,
        operation: &str,
        ids: usize,
        request: Result<Request, ExchangeError>,
        access: Access<'_>,
        cap: usize,
    ) -> Result<HttpReply, FailedRead> {
        self.exchange(operation, ids, request, access, cap).await.map_err(|failed| FailedRead {
            trouble: trouble_of(&failed),
            message: message_of(&failed, &|text| self.redact(access, text), cap),
            too_large: matches!(failed.error, ExchangeError::TooLarge | ExchangeError::NoRoom),
            unavailable: false,
            sent: match failed.error {
                ExchangeError::NotTried(_) => Sent::NotTried,
                ExchangeError::NotSent(_) | ExchangeError::NoSuchHost(_) | ExchangeError::TooLate => {
                    Sent::NoConnection
                }
                ExchangeError::Unknown(_) | ExchangeError::TooLarge | ExchangeError::NoRoom => Sent::Yes,
            },
            clock_set: false,
        })
    }

    /// Sends a request once its key may be tried, and enters what the reply says about the key.
    async fn tried(
        &self,
        request: Request,
        access: Access<'_>,
        cap: usize,
    ) -> Result<HttpReply, FailedExchange> {
        let Authorization::AccessKey(key) = &access.credential.authorization else {
            return self.transport.exchange(request, cap).await;
        };
        let owner = Owner::Key(access.endpoint.clone(), access.credential.identity.clone());
        let attempt = self.attempts.admit(owner, Fingerprint::of_key(key)).await;
        let attempt = attempt.map_err(|why| FailedExchange::from(ExchangeError::NotTried(why)))?;
        let result = self.transport.exchange(request, cap).await;
        match &result {
            Ok(reply) if reply.status.is_success() => attempt.accepted(),
            Ok(reply) if reply.status == StatusCode::UNAUTHORIZED => {
                let wall = self.clock.wall();
                // A wrong clock says nothing about the key, and is corrected.
                if !self.skew.explains(access.endpoint, reply.date.as_deref(), wall) {
                    attempt.refused(read_failed(reply, &|text| self.redact(access, text), wall).1);
                }
            }
            // The service may still know the key: other calls go on.
            Ok(_) => drop(attempt),
            Err(FailedExchange { error: ExchangeError::NotSent(_) | ExchangeError::Unknown(_), .. }) => {
                attempt.failed(Trouble::CloudUnreachable);
            }
            Err(_) => drop(attempt),
        }
        result
    }

    /// Makes one exchange and logs it. Of the reply only the status and the redacted request id are logged: a server may
    /// echo a secret anywhere.
    pub async fn exchange(
        &self,
        operation: &str,
        ids: usize,
        request: Result<Request, ExchangeError>,
        access: Access<'_>,
        cap: usize,
    ) -> Result<HttpReply, FailedExchange> {
        let started = Instant::now();
        let result = match request {
            Ok(request) => self.tried(request, access, cap).await,
            Err(error) => Err(error.into()),
        };
        if let Ok(response) = &result {
            self.skew.saw(access.endpoint, response.date.as_deref(), self.clock.mono());
        }
        let status = result.as_ref().ok().map(|response| response.status.as_u16());
        let request_id = match &result {
            Ok(response) => response.request_id.as_deref(),
            Err(failed) => failed.request_id.as_deref(),
        };
        let request_id = request_id.map(|id| printable(&self.redact(access, id), 64));
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        debug!(operation, ids, status, request_id, ms, "call to the cloud");
        result
    }
}

/// What an exchange that brought no whole reply says about the cloud.
pub fn trouble_of(failed: &FailedExchange) -> Trouble {
    match &failed.error {
        ExchangeError::NotTried(why) => why.trouble,
        ExchangeError::NoSuchHost(_) => Trouble::EndpointMisconfigured,
        ExchangeError::NotSent(_)
        | ExchangeError::TooLate
        | ExchangeError::Unknown(_)
        | ExchangeError::TooLarge
        | ExchangeError::NoRoom => Trouble::CloudUnreachable,
    }
}

/// The message about an exchange that brought no whole reply.
pub fn message_of(failed: &FailedExchange, redact: &dyn Fn(&str) -> String, cap: usize) -> CloudMessage {
    let text = match &failed.error {
        ExchangeError::NotSent(why) | ExchangeError::Unknown(why) => why.clone(),
        ExchangeError::NotTried(why) => return why.message.clone(),
        ExchangeError::NoSuchHost(host) => format!("no host has the name {host}"),
        ExchangeError::TooLate => "not sent: too late".to_owned(),
        ExchangeError::NoRoom => "replies to other calls take all of the memory for replies".to_owned(),
        ExchangeError::TooLarge => format!("the reply is larger than {} MiB", cap >> 20),
    };
    let request_id = failed.request_id.as_ref().map(|id| printable(&redact(id), 64));
    CloudMessage { request_id, text: printable(&redact(&text), 256), ..CloudMessage::default() }
}

pub fn no_url() -> ExchangeError {
    ExchangeError::NotSent("the endpoint makes no URL".to_owned())
}
