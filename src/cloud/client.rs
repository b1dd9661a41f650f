//! The three operations.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use reqwest::{
    Method, Request, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::Instant;
use tracing::debug;

use super::{
    bodies::DeleteRequest,
    classify,
    classify::{HttpReply, printable},
    credential::{Authorization, Credential, RedactionList, Secret, Signed, encoded},
    endpoint::Endpoint,
    metrics::{self, CloudMetrics, Operation},
    skew::Skew,
    transport::{
        ClientError, ClientOptions, ExchangeError, FailedExchange, GuardedBody, Http, HttpTransport,
        Transport,
    },
};
use crate::{
    clock::Clock,
    engine::{
        InstanceId,
        outcome::{CallOutcome, CloudMessage, Refusal, Trouble},
        settings::{BATCH_SIZE, READ_SIZE},
        state::Seen,
    },
    leadership::DepartureGuard,
};

/// Always sent: without it 100 ids may be answered by 10 rows (the page contradicts itself on the default).
const LIMIT: &str = "1000";
const REPLY_CAP: usize = 1 << 20;
/// 100 rows may carry 32 KiB of user data each.
const LIST_CAP: usize = 4 << 20;

/// Why a read brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What was heard.
    pub message: CloudMessage,
    /// The reply was larger than its cap: fewer ids may fit.
    pub too_large: bool,
    /// HTTP 503: the account should be called more slowly.
    pub unavailable: bool,
    /// The clock that requests are signed by was wrong and has been set: the same request may succeed now.
    pub clock_set: bool,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What it says of ids that were asked for, each once.
    pub rows: Vec<(InstanceId, Seen)>,
    /// Where the next page is, if there is one.
    pub next: Option<String>,
}

/// The CloudDC API.
pub struct Client {
    transport: Transport,
    clock: Clock,
    skew: Skew,
    metrics: CloudMetrics,
    known: RedactionList,
}

impl Client {
    /// Makes the client.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Ok(Self::over(Http::new(options)?, options.request_timeout, Clock::start()))
    }

    /// A client over another wire than HTTP: a simulation's.
    #[must_use]
    pub fn over(wire: impl HttpTransport, request_timeout: Duration, clock: Clock) -> Self {
        let (skew, metrics, known) = Default::default();
        Self { transport: Transport::new(wire, request_timeout), clock, skew, metrics, known }
    }

    /// What is counted here.
    #[must_use]
    pub fn metrics(&self) -> &CloudMetrics {
        &self.metrics
    }

    /// DeleteInstances for 1 to 50 distinct ids. The request leaves while `departure` allows it, or not at all.
    pub async fn delete_instances(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        ids: &[InstanceId],
        departure: DepartureGuard,
    ) -> CallOutcome {
        let started = Instant::now();
        let reply = self.delete(Place { endpoint, project, credential }, ids, departure).await;
        self.metrics.called(Operation::DeleteInstances, reply.label(), started.elapsed());
        reply
    }

    async fn delete(&self, place: Place<'_>, ids: &[InstanceId], departure: DepartureGuard) -> CallOutcome {
        let distinct: HashSet<_> = ids.iter().collect();
        if ids.is_empty() || ids.len() > BATCH_SIZE || distinct.len() != ids.len() {
            // What an empty set means is not documented. No decision makes such a batch.
            let text = format!("a batch of {} ids ({} distinct) is never sent", ids.len(), distinct.len());
            let message = CloudMessage { text, ..CloudMessage::default() };
            return CallOutcome::Refused {
                refusal: Refusal::Whole,
                trouble: Trouble::RequestRefused,
                message,
            };
        }
        let body = DeleteRequest { instance_id_set: ids.iter().map(ToString::to_string).collect() };
        let Ok(body) = serde_json::to_vec(&body) else {
            let message =
                CloudMessage { text: "the request can't be encoded".to_owned(), ..CloudMessage::default() };
            return CallOutcome::Refused {
                refusal: Refusal::Whole,
                trouble: Trouble::RequestRefused,
                message,
            };
        };
        let request = self.request(Method::POST, place, "/batch-delete", &body).map(|mut request| {
            *request.body_mut() = Some(reqwest::Body::wrap(GuardedBody::new(body, departure)));
            request
        });
        let redact = |text: &str| self.known.redact(place.credential.secrets(), text);
        let unreachable = Trouble::CloudUnreachable;
        match self.exchange("DeleteInstances", ids.len(), request, place.credential, REPLY_CAP).await {
            Ok(heard) => {
                self.set_clock(place, &heard);
                classify::deleted(&heard, ids, &redact, self.clock.wall())
            }
            Err(missed) => {
                let message = message_of(&missed, &redact, REPLY_CAP);
                match missed.lost {
                    ExchangeError::TooLate => CallOutcome::NotSent,
                    ExchangeError::NotSent(_) => {
                        CallOutcome::Refused { refusal: Refusal::Whole, trouble: unreachable, message }
                    }
                    ExchangeError::Unknown(_) | ExchangeError::TooLarge => {
                        CallOutcome::Unknown { trouble: unreachable, unavailable: false, message }
                    }
                }
            }
        }
    }

    /// ShowInstanceStatus.
    pub async fn show_instance_status(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        id: InstanceId,
    ) -> Result<Seen, Failure> {
        let started = Instant::now();
        let seen = self.show(Place { endpoint, project, credential }, id).await;
        self.metrics.called(Operation::ShowInstanceStatus, read_outcome(&seen), started.elapsed());
        seen
    }

    async fn show(&self, place: Place<'_>, id: InstanceId) -> Result<Seen, Failure> {
        let request = self.request(Method::GET, place, &format!("/{id}/status"), b"");
        let heard = self.read("ShowInstanceStatus", 1, request, place.credential, REPLY_CAP).await?;
        let redact = |text: &str| self.known.redact(place.credential.secrets(), text);
        classify::shown(&heard, &redact).ok_or_else(|| {
            let (trouble, message) = classify::read_failed(&heard, &redact, self.clock.wall());
            self.refused(place, &heard, trouble, message)
        })
    }

    /// ListInstances for 1 to 100 ids: one page, the first or the one at a marker. An id that the list leaves out is not in
    /// the result: that says nothing about it.
    pub async fn list_page(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        ids: &[InstanceId],
        marker: Option<&str>,
    ) -> Result<Page, Failure> {
        let started = Instant::now();
        let page = self.list(Place { endpoint, project, credential }, ids, marker).await;
        self.metrics.called(Operation::ListInstances, read_outcome(&page), started.elapsed());
        page
    }

    async fn list(
        &self,
        place: Place<'_>,
        ids: &[InstanceId],
        marker: Option<&str>,
    ) -> Result<Page, Failure> {
        if ids.is_empty() || ids.len() > READ_SIZE {
            // A list without ids would be one of the whole project.
            let message = CloudMessage {
                text: format!("a list of {} ids is never asked for", ids.len()),
                ..CloudMessage::default()
            };
            return Err(Failure {
                trouble: Trouble::RequestRefused,
                message,
                too_large: false,
                unavailable: false,
                clock_set: false,
            });
        }
        let redact = |text: &str| self.known.redact(place.credential.secrets(), text);
        let joined = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
        let marker = marker.map(|marker| format!("&marker={}", encoded(marker))).unwrap_or_default();
        let path = format!("?instance_id={joined}&limit={LIMIT}{marker}");
        let request = self.request(Method::GET, place, &path, b"");
        let heard = self.read("ListInstances", ids.len(), request, place.credential, LIST_CAP).await?;
        let page = classify::listed(&heard, &redact, self.clock.wall())
            .map_err(|(trouble, message)| self.refused(place, &heard, trouble, message))?;
        let asked: HashSet<InstanceId> = ids.iter().copied().collect();
        // Of two rows of one instance the last one counts.
        let rows: BTreeMap<_, _> = page
            .rows()
            .filter_map(|(spelled, state)| Some((InstanceId::parse_reply(spelled).ok()?, state)))
            .filter(|(id, _)| asked.contains(id))
            .map(|(id, state)| (id, classify::seen(state, &redact)))
            .collect();
        let next = page.next_marker().map(str::to_owned);
        Ok(Page { rows: rows.into_iter().collect(), next })
    }

    /// Obtains a token of IAM for a password. Returns it with the body of the reply, which says how long it lives. `redact`
    /// takes out of a text what else the request holds.
    pub(super) async fn obtain_token(
        &self,
        endpoint: &Endpoint,
        password: &Secret,
        body: Vec<u8>,
        redact: &(dyn Fn(&str) -> String + Sync),
    ) -> Result<(Secret, Vec<u8>), (Trouble, CloudMessage)> {
        let started = Instant::now();
        self.known.learn([password]);
        let token = self.ask_iam(endpoint, body, &|text| redact(&self.known.redact([password], text))).await;
        let outcome = token.as_ref().err().map_or(metrics::OK, |(trouble, _)| trouble.label());
        self.metrics.called(Operation::CreateToken, outcome, started.elapsed());
        token
    }

    async fn ask_iam(
        &self,
        endpoint: &Endpoint,
        body: Vec<u8>,
        redact: &(dyn Fn(&str) -> String + Sync),
    ) -> Result<(Secret, Vec<u8>), (Trouble, CloudMessage)> {
        let unreachable =
            |missed: FailedExchange| (Trouble::CloudUnreachable, message_of(&missed, redact, REPLY_CAP));
        let url = Url::parse(&format!("{endpoint}/v3/auth/tokens?nocatalog=true"))
            .map_err(|_| unreachable(no_url().into()))?;
        let mut request = Request::new(Method::POST, url);
        let json = HeaderValue::from_static("application/json;charset=utf8");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(body.into());
        let heard = self.transport.exchange(request, REPLY_CAP).await.map_err(unreachable)?;
        debug!(
            operation = "KeystoneCreateUserTokenByPassword",
            status = heard.status.as_u16(),
            "call to IAM"
        );
        match heard.subject_token {
            Some(token) if heard.status.is_success() => Ok((token, heard.body)),
            _ => Err(classify::no_token(&heard, redact, self.clock.wall())),
        }
    }

    /// The clock of this process.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn refused(
        &self,
        place: Place<'_>,
        heard: &HttpReply,
        trouble: Trouble,
        message: CloudMessage,
    ) -> Failure {
        let unavailable = heard.status == StatusCode::SERVICE_UNAVAILABLE;
        Failure { trouble, message, too_large: false, unavailable, clock_set: self.set_clock(place, heard) }
    }

    /// Sets the clock that signatures are dated by, if a refusal shows that it is wrong.
    fn set_clock(&self, place: Place<'_>, heard: &HttpReply) -> bool {
        let signed = matches!(place.credential.authorization, Authorization::AccessKey(_));
        signed
            && heard.status == StatusCode::UNAUTHORIZED
            && self.skew.learn(place.endpoint, heard.date.as_deref(), self.clock.wall())
    }

    /// A request with all that belongs to it but its body.
    fn request(
        &self,
        method: Method,
        place: Place<'_>,
        path: &str,
        body: &[u8],
    ) -> Result<Request, ExchangeError> {
        let Place { endpoint, project, credential } = place;
        self.known.learn(credential.secrets());
        // Whoever calls has parsed the project; it can't become another path all the same.
        let url = format!("{endpoint}/v1/{}/instances{path}", encoded(project));
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

    async fn read(
        &self,
        operation: &str,
        ids: usize,
        request: Result<Request, ExchangeError>,
        credential: &Credential,
        cap: usize,
    ) -> Result<HttpReply, Failure> {
        self.exchange(operation, ids, request, credential, cap).await.map_err(|missed| Failure {
            trouble: Trouble::CloudUnreachable,
            message: message_of(&missed, &|text| self.known.redact(credential.secrets(), text), cap),
            too_large: matches!(missed.lost, ExchangeError::TooLarge),
            unavailable: false,
            clock_set: false,
        })
    }

    /// One exchange, told to the log. Of what the cloud sent only its request id is logged, and that redacted: a server
    /// may echo anything anywhere.
    async fn exchange(
        &self,
        operation: &str,
        ids: usize,
        request: Result<Request, ExchangeError>,
        credential: &Credential,
        cap: usize,
    ) -> Result<HttpReply, FailedExchange> {
        let started = Instant::now();
        let result = match request {
            Ok(request) => self.transport.exchange(request, cap).await,
            Err(lost) => Err(lost.into()),
        };
        let status = result.as_ref().ok().map(|heard| heard.status.as_u16());
        let request_id = match &result {
            Ok(heard) => heard.request_id.as_deref(),
            Err(missed) => missed.request_id.as_deref(),
        };
        let request_id = request_id.map(|id| printable(&self.known.redact(credential.secrets(), id), 64));
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        debug!(operation, ids, status, request_id, ms, "call to the cloud");
        result
    }
}

fn read_outcome<T>(read: &Result<T, Failure>) -> &'static str {
    match read {
        Ok(_) => metrics::OK,
        Err(failure) if failure.too_large => metrics::TOO_LARGE,
        Err(failure) => failure.trouble.label(),
    }
}

/// What is said of an exchange that brought no whole reply.
fn message_of(missed: &FailedExchange, redact: &dyn Fn(&str) -> String, cap: usize) -> CloudMessage {
    let text = match &missed.lost {
        ExchangeError::NotSent(why) | ExchangeError::Unknown(why) => why.clone(),
        ExchangeError::TooLate => "not sent: too late".to_owned(),
        ExchangeError::TooLarge => format!("the reply is larger than {} MiB", cap >> 20),
    };
    let request_id = missed.request_id.as_ref().map(|id| printable(&redact(id), 64));
    CloudMessage { request_id, code: None, text: printable(&redact(&text), 256) }
}

fn no_url() -> ExchangeError {
    ExchangeError::NotSent("the endpoint makes no URL".to_owned())
}

/// Where a request goes, and who asks.
#[derive(Clone, Copy)]
struct Place<'a> {
    endpoint: &'a Endpoint,
    project: &'a str,
    credential: &'a Credential,
}

#[cfg(test)]
mod tests;
