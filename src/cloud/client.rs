//! The operations of the API that the controller uses: DeleteInstances, ChangeServerPowerState, ListInstances,
//! ShowInstanceStatus, and the token of IAM.

mod call;
mod inventory;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
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
pub use self::inventory::{Inventory, InventoryError, InventoryInstance, InventoryServer, Wanted};
use super::{
    change::Change,
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
        InstanceId, ServerId,
        instance_facts::InstanceFacts,
        outcome::{CallOutcome, CloudMessage, Refusal, Trouble, Unsent},
        settings::READ_SIZE,
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
    /// Each requested instance that the page shows.
    pub rows: Vec<Shown>,
    /// The marker of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// What a reply shows of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The instance.
    pub id: InstanceId,
    /// What is said about its state.
    pub seen: Seen,
    /// Its facts; none from ShowInstanceStatus.
    pub facts: Option<Arc<InstanceFacts>>,
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
        self.change(Access { endpoint, project, credential }, &Change::delete(ids), departure).await
    }

    /// ChangeServerPowerState with `power off` for 1 to 50 distinct instances, each with the server that it is on. The outcome
    /// names the instances. The request leaves while `departure` allows it, or not at all.
    pub async fn power_off(
        &self,
        endpoint: &Endpoint,
        project: &str,
        credential: &Credential,
        servers: &[(InstanceId, ServerId)],
        departure: DepartureGuard,
    ) -> CallOutcome {
        self.change(Access { endpoint, project, credential }, &Change::power_off(servers), departure).await
    }

    /// Makes a call that changes instances, and counts it.
    async fn change(&self, access: Access<'_>, change: &Change, departure: DepartureGuard) -> CallOutcome {
        let started = Instant::now();
        let outcome = self.try_change(access, change, departure).await;
        self.metrics.called(change.operation(), outcome.label(), started.elapsed());
        outcome
    }

    async fn try_change(
        &self,
        access: Access<'_>,
        change: &Change,
        departure: DepartureGuard,
    ) -> CallOutcome {
        let body = match change.body() {
            Ok(body) => body,
            Err(text) => {
                let message = CloudMessage { text, ..CloudMessage::default() };
                return CallOutcome::Refused {
                    refusal: Refusal::Whole,
                    trouble: Trouble::RequestRefused,
                    message,
                };
            }
        };
        let request = self.caller.request_of(change.method(), access, change.path(), &body);
        let request = request.map(|mut request| {
            *request.body_mut() = Some(reqwest::Body::wrap(GuardedBody::new(body, departure)));
            request
        });
        let redact = |text: &str| self.caller.redact(access, text);
        let (name, size) = (change.operation().name(), change.ids().len());
        match self.caller.exchange(name, size, request, access, REPLY_CAP).await {
            Ok(response) => {
                self.caller.set_clock(access, &response);
                classify::changed(&response, change, &redact, self.caller.clock.wall())
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
            .filter_map(|(spelled, row)| Some((InstanceId::parse_reply(spelled).ok()?, row)))
            .filter(|(id, _)| asked.contains(id))
            .map(|(id, row)| (id, (classify::seen(row, &redact), row.facts())))
            .collect();
        let next = page.next_marker().map(str::to_owned);
        let shown = |(id, (seen, facts))| Shown { id, seen, facts: Some(Arc::new(facts)) };
        Ok(Page { rows: rows.into_iter().map(shown).collect(), next })
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
