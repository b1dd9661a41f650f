//! The operations of the API that the controller uses: DeleteInstances, ListInstances, ShowInstanceStatus, and the token of
//! IAM.

mod call;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use reqwest::{
    Method, Request, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::Instant;
use tracing::debug;

use self::call::{Access, Caller, message_of, no_url, trouble_of};
pub use self::call::{FailedRead, Sent};
use super::{
    bodies::DeleteRequest,
    classify,
    credential::{Credential, Fingerprint, Identity, Login, Owner, Secret, encoded},
    endpoint::Endpoint,
    guarded_body::GuardedBody,
    http::{ClientError, ClientOptions, Http},
    metrics::{self, CloudMetrics, Operation},
    transport::{BoundedTransport, ExchangeError, FailedExchange, HttpTransport},
};
use crate::{
    clock::Clock,
    engine::{
        InstanceId,
        outcome::{CallOutcome, CloudMessage, Refusal, Trouble, Unsent},
        settings::{BATCH_SIZE, READ_SIZE},
        state::Seen,
    },
    leadership::DepartureGuard,
};

/// Rows of a page, the documented maximum. It is always sent: without it 100 ids may be answered by 10 rows (the vendor's page
/// names two defaults).
const LIMIT: &str = "1000";
/// Bound on the bytes of a reply, whatever the cloud sends. The largest reply known is far below it.
const REPLY_CAP: usize = 1 << 20;
/// Bound on the bytes of a list: 100 rows may carry 32 KiB of user data each.
const LIST_CAP: usize = 4 << 20;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The state of each requested id that the page shows.
    pub rows: Vec<(InstanceId, Seen)>,
    /// The marker of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Why IAM gave no token.
pub(super) struct NoToken {
    /// What stands in the way.
    pub trouble: Trouble,
    /// What IAM or the transport said.
    pub message: CloudMessage,
    /// IAM refused the password, now or lately.
    pub wrong_password: bool,
}

/// Client of the CloudDC API.
pub struct Client {
    caller: Caller,
    metrics: CloudMetrics,
}

impl Client {
    /// A client over HTTP.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Ok(Self::over(Http::new(options)?, options.request_timeout, Clock::start()))
    }

    /// The number of users and keys whose last attempts are remembered.
    #[must_use]
    pub fn credentials(&self) -> usize {
        self.caller.attempts.entries()
    }

    /// A client over another transport: a simulation's.
    #[must_use]
    pub fn over(transport: impl HttpTransport, request_timeout: Duration, clock: Clock) -> Self {
        let caller = Caller::new(BoundedTransport::new(transport, request_timeout), clock);
        Self { caller, metrics: CloudMetrics::default() }
    }

    /// The counters of this client and its readers.
    #[must_use]
    pub fn metrics(&self) -> &CloudMetrics {
        &self.metrics
    }

    /// The time at an endpoint, by the `Date` of a reply in the last ten minutes; none without such a reply.
    #[must_use]
    pub fn told_time(&self, endpoint: &Endpoint) -> Option<Timestamp> {
        self.caller.told_time(endpoint)
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
        let reply = self.delete(Access { endpoint, project, credential }, ids, departure).await;
        self.metrics.called(Operation::DeleteInstances, reply.label(), started.elapsed());
        reply
    }

    async fn delete(&self, access: Access<'_>, ids: &[InstanceId], departure: DepartureGuard) -> CallOutcome {
        let distinct: HashSet<_> = ids.iter().collect();
        if ids.is_empty() || ids.len() > BATCH_SIZE || distinct.len() != ids.len() {
            // The vendor does not document what an empty set means. No decision makes such a batch.
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
        let request = self.caller.request(Method::POST, access, "/batch-delete", &body).map(|mut request| {
            *request.body_mut() = Some(reqwest::Body::wrap(GuardedBody::new(body, departure)));
            request
        });
        let redact = |text: &str| self.caller.redact(access, text);
        match self.caller.exchange("DeleteInstances", ids.len(), request, access, REPLY_CAP).await {
            Ok(response) => {
                self.caller.set_clock(access, &response);
                classify::deleted(&response, ids, &redact, self.caller.clock.wall())
            }
            Err(failed) => {
                let (trouble, message) = (trouble_of(&failed), message_of(&failed, &redact, REPLY_CAP));
                match failed.error {
                    ExchangeError::TooLate => CallOutcome::NotSent(Unsent::TooLate),
                    ExchangeError::NotTried(_) | ExchangeError::NotSent(_) | ExchangeError::NoSuchHost(_) => {
                        CallOutcome::Refused { refusal: Refusal::Whole, trouble, message }
                    }
                    ExchangeError::Unknown(_) | ExchangeError::TooLarge | ExchangeError::NoRoom => {
                        CallOutcome::Unknown { trouble, unavailable: false, message }
                    }
                }
            }
        }
    }

    /// Counts a read, if it was sent.
    fn read_ended<T>(&self, of: Operation, read: &Result<T, FailedRead>, started: Instant) {
        if !read.as_ref().is_err_and(|failed| failed.sent == Sent::NotTried) {
            self.metrics.called(of, read_outcome(read), started.elapsed());
        }
    }

    /// ShowInstanceStatus for one id.
    pub async fn show_instance_status(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        id: InstanceId,
    ) -> Result<Seen, FailedRead> {
        let started = Instant::now();
        let seen = self.show(Access { endpoint, project, credential }, id).await;
        self.read_ended(Operation::ShowInstanceStatus, &seen, started);
        seen
    }

    async fn show(&self, access: Access<'_>, id: InstanceId) -> Result<Seen, FailedRead> {
        let request = self.caller.request(Method::GET, access, &format!("/{id}/status"), b"");
        let response = self.caller.read("ShowInstanceStatus", 1, request, access, REPLY_CAP).await?;
        let redact = |text: &str| self.caller.redact(access, text);
        classify::shown(&response, &redact).ok_or_else(|| {
            let (trouble, message) = classify::read_failed(&response, &redact, self.caller.clock.wall());
            self.caller.refused(access, &response, trouble, message)
        })
    }

    /// ListInstances for 1 to 100 ids: the first page, or the one at a marker. That a page leaves an id out says nothing
    /// about the instance.
    pub async fn list_page(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        ids: &[InstanceId],
        marker: Option<&str>,
    ) -> Result<Page, FailedRead> {
        let started = Instant::now();
        let page = self.list(Access { endpoint, project, credential }, ids, marker).await;
        self.read_ended(Operation::ListInstances, &page, started);
        page
    }

    async fn list(
        &self,
        access: Access<'_>,
        ids: &[InstanceId],
        marker: Option<&str>,
    ) -> Result<Page, FailedRead> {
        if ids.is_empty() || ids.len() > READ_SIZE {
            // A list without ids would be a list of the whole project.
            let message = CloudMessage {
                text: format!("a list of {} ids is never asked for", ids.len()),
                ..CloudMessage::default()
            };
            return Err(FailedRead {
                trouble: Trouble::RequestRefused,
                message,
                too_large: false,
                unavailable: false,
                sent: Sent::NotTried,
                clock_set: false,
            });
        }
        let redact = |text: &str| self.caller.redact(access, text);
        let joined = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
        let marker = marker.map(|marker| format!("&marker={}", encoded(marker))).unwrap_or_default();
        let path = format!("?instance_id={joined}&limit={LIMIT}{marker}");
        let request = self.caller.request(Method::GET, access, &path, b"");
        let response = self.caller.read("ListInstances", ids.len(), request, access, LIST_CAP).await?;
        let page = classify::listed(&response, &redact, self.caller.clock.wall())
            .map_err(|(trouble, message)| self.caller.refused(access, &response, trouble, message))?;
        let asked: HashSet<InstanceId> = ids.iter().copied().collect();
        // If an instance stands on a page twice, the last row counts.
        let rows: BTreeMap<_, _> = page
            .rows()
            .filter_map(|(spelled, state)| Some((InstanceId::parse_reply(spelled).ok()?, state)))
            .filter(|(id, _)| asked.contains(id))
            .map(|(id, state)| (id, classify::seen(state, &redact)))
            .collect();
        let next = page.next_marker().map(str::to_owned);
        Ok(Page { rows: rows.into_iter().collect(), next })
    }

    /// Obtains a token from IAM for a password, once it may be tried. Returns it with the body of the reply, which states its
    /// lifetime.
    pub(super) async fn obtain_token(
        &self,
        endpoint: &Endpoint,
        login: &Login,
        body: Vec<u8>,
    ) -> Result<(Secret, Vec<u8>), NoToken> {
        let Login { username, password, domain } = login;
        let owner = Owner::User(Identity::of_user(login));
        let attempt = self
            .caller
            .attempts
            .admit(owner, Fingerprint::of_login(login))
            .await
            .map_err(|why| NoToken { trouble: why.trouble, message: why.message, wrong_password: true })?;
        let started = Instant::now();
        self.caller.redaction.learn([password]);
        let redact =
            |text: &str| username.redact(&domain.redact(&self.caller.redaction.redact([password], text)));
        let token = self.ask_iam(endpoint, body, &redact).await;
        match &token {
            Ok(_) => attempt.accepted(),
            Err(NoToken { wrong_password: true, message, .. }) => attempt.refused(message.clone()),
            Err(NoToken {
                trouble: trouble @ (Trouble::CloudUnreachable | Trouble::Throttled { .. }),
                ..
            }) => {
                attempt.failed(*trouble);
            }
            // It is about this project, or the form of the request.
            Err(_) => drop(attempt),
        }
        let outcome = token.as_ref().err().map_or(metrics::OK, |failed| failed.trouble.label());
        self.metrics.called(Operation::CreateToken, outcome, started.elapsed());
        token
    }

    async fn ask_iam(
        &self,
        endpoint: &Endpoint,
        body: Vec<u8>,
        redact: &(dyn Fn(&str) -> String + Sync),
    ) -> Result<(Secret, Vec<u8>), NoToken> {
        let unreachable = |failed: FailedExchange| NoToken {
            trouble: trouble_of(&failed),
            message: message_of(&failed, redact, REPLY_CAP),
            wrong_password: false,
        };
        let url = Url::parse(&format!("{endpoint}/v3/auth/tokens?nocatalog=true"))
            .map_err(|_| unreachable(no_url().into()))?;
        let mut request = Request::new(Method::POST, url);
        let json = HeaderValue::from_static("application/json;charset=utf8");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(body.into());
        let response = self.caller.transport.exchange(request, REPLY_CAP).await.map_err(unreachable)?;
        debug!(
            operation = "KeystoneCreateUserTokenByPassword",
            status = response.status.as_u16(),
            "call to IAM"
        );
        match response.subject_token {
            Some(token) if response.status.is_success() => Ok((token, response.body.to_vec())),
            _ => {
                let wrong_password = classify::is_wrong_password(&response);
                let (trouble, message) = classify::no_token(&response, redact, self.caller.clock.wall());
                Err(NoToken { trouble, message, wrong_password })
            }
        }
    }

    /// The clock of this process.
    pub(super) fn clock(&self) -> &Clock {
        &self.caller.clock
    }
}

fn read_outcome<T>(read: &Result<T, FailedRead>) -> &'static str {
    match read {
        Ok(_) => metrics::OK,
        Err(failure) if failure.too_large => metrics::TOO_LARGE,
        Err(failure) => failure.trouble.label(),
    }
}

#[cfg(test)]
mod tests;
