//! Makes one call: waits for its turn, reads the credential, sends the request, and tells the rate how it ended.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    call::{Call, Cause, FailedCall, Fetched, ReadRequest},
    look::{Reading, own_failure},
    read_rate::{RateOf, ReadRate},
};
use crate::{
    clock::Clock,
    cloud::{
        client::{Client, FailedRead, Page, Sent, Shown},
        credential::{Credential, CredentialProblem, CredentialSource},
        endpoint::Endpoint,
    },
    engine::{
        Mono, ReadTime,
        account::{
            outage::Contact,
            rate::{Rate, SlowDown},
        },
        outcome::{LookFailure, Trouble},
    },
    lock::lock,
};

/// How long credentials that may not list are not tried again: the permission may be granted at any time. Others are tried
/// at once.
const LIST_AGAIN: Duration = Duration::from_mins(5);

/// Makes the calls of one reader.
pub struct Fetcher {
    client: Arc<Client>,
    endpoint: Endpoint,
    project: String,
    source: Arc<dyn CredentialSource>,
    rate_of: RateOf,
    /// The version of the credential that may not list, and when listing is tried again.
    no_list: Mutex<Option<(String, Mono)>>,
    clock: Clock,
}

impl Fetcher {
    /// A fetcher that has made no call.
    pub fn new(
        client: Arc<Client>,
        endpoint: Endpoint,
        project: String,
        source: Arc<dyn CredentialSource>,
        rate_of: RateOf,
        clock: Clock,
    ) -> Self {
        Self { client, endpoint, project, source, rate_of, no_list: Mutex::default(), clock }
    }

    /// Waits until one call of the present identity is granted. Returns the rate that it counts against, or the wait that
    /// the cloud asks for if that is long.
    pub async fn turn(&self) -> Result<Arc<ReadRate>, Duration> {
        let rate = (self.rate_of)(&self.source.identity());
        rate.turn(&self.clock).await?;
        Ok(rate)
    }

    /// Makes a granted call, once.
    pub async fn make(&self, call: &Call, granted: Arc<ReadRate>) -> Result<Fetched, FailedCall> {
        let (credential, rate) = self.authorized(granted).await?;
        if matches!(call.request, ReadRequest::List { .. }) && self.may_not_list(&credential) {
            rate.rate().give_back(1);
            let secret_version = Some(credential.version);
            let failure = own_failure(Trouble::Forbidden, "listing was forbidden earlier");
            // As if it had been refused now: single instances may be readable.
            let failed = FailedCall::not_sent(LookFailure { secret_version, ..failure });
            return Err(FailedCall { cause: Cause::Ids, ..failed });
        }
        let sent = rate.leave(&self.clock).await;
        self.client.metrics().read_waited(call.ready.elapsed());
        let (endpoint, project) = (&self.endpoint, self.project.as_str());
        let page = match &call.request {
            ReadRequest::List { ids, markers, .. } => {
                let marker = markers.last().map(String::as_str);
                self.client.list_page(endpoint, project, &credential, ids, marker).await
            }
            ReadRequest::Show(id) => {
                let seen = self.client.show_instance_status(endpoint, project, &credential, *id).await;
                seen.map(|seen| Page { rows: vec![Shown { id: *id, seen, facts: None }], next: None })
            }
        };
        let Page { rows, next } = page.map_err(|error| self.failed(error, call, &credential, &rate))?;
        rate.rate().accepted();
        let read = ReadTime { sent, answered: self.clock.mono() };
        let reading = |Shown { id, seen, facts }| Reading { id, seen, read, facts };
        let readings = rows.into_iter().map(reading).collect();
        Ok(Fetched { readings, next })
    }

    /// Reads the credential, after the call was granted, so that a rotation takes effect at the next call. A credential of
    /// another identity waits for a turn of that one.
    async fn authorized(&self, granted: Arc<ReadRate>) -> Result<(Credential, Arc<ReadRate>), FailedCall> {
        let mut rate = granted;
        loop {
            let credential = self.source.read().await.map_err(|problem| {
                rate.rate().give_back(1);
                let CredentialProblem { trouble, message, version } = problem;
                FailedCall::not_sent(LookFailure { trouble, message, secret_version: version })
            })?;
            let own = (self.rate_of)(&credential.identity);
            if Arc::ptr_eq(&own, &rate) {
                return Ok((credential, rate));
            }
            rate.rate().give_back(1);
            own.turn(&self.clock).await.map_err(FailedCall::closed)?;
            rate = own;
        }
    }

    /// Whether this credential was refused a list lately. Asking each time would waste a call each time.
    fn may_not_list(&self, credential: &Credential) -> bool {
        let no_list = lock(&self.no_list);
        let now = self.clock.mono();
        no_list.as_ref().is_some_and(|(version, until)| *version == credential.version && now < *until)
    }

    /// Notes how a call failed.
    fn failed(&self, error: FailedRead, call: &Call, credential: &Credential, rate: &ReadRate) -> FailedCall {
        let now = self.clock.mono();
        let renewed = !call.renewed
            && error.sent == Sent::Yes
            && error.trouble == Trouble::CredentialsRejected
            && (error.clock_set || self.source.refused(credential));
        if error.trouble == Trouble::Forbidden && matches!(call.request, ReadRequest::List { .. }) {
            *lock(&self.no_list) = Some((credential.version.clone(), now + LIST_AGAIN));
        }
        let secret_version = Some(credential.version.clone());
        if error.sent == Sent::NotTried {
            rate.rate().give_back(1);
            let FailedRead { trouble, message, .. } = error;
            return FailedCall::not_sent(LookFailure { trouble, message, secret_version });
        }
        let trouble = slow_down(&mut rate.rate(), &error, now);
        let FailedRead { message, too_large, sent, .. } = error;
        // A reply above its cap is an answer.
        let contact = if too_large { Contact::Answered } else { Contact::of_trouble(trouble) };
        let cause = match sent {
            Sent::Yes if too_large => Cause::ReplySize,
            Sent::Yes if trouble.may_be_of_one_instance() => Cause::Ids,
            Sent::Yes | Sent::NoConnection | Sent::NotTried => Cause::Other,
        };
        let failure = LookFailure { trouble, message, secret_version };
        FailedCall { failure, contact, cause, renewed }
    }
}

/// Tells the rate how a call failed. Returns the trouble, which for a refused rate states when calls may go on.
fn slow_down(rate: &mut Rate, error: &FailedRead, now: Mono) -> Trouble {
    match error.trouble {
        Trouble::Throttled { retry_after } => {
            let limit = error.message.limit.as_deref().copied();
            rate.refused(SlowDown::TooManyRequests { retry_after, limit }, now);
            Trouble::Throttled { retry_after: rate.closed(now) }
        }
        trouble => {
            if error.unavailable {
                rate.refused(SlowDown::Unavailable, now);
            } else {
                rate.over();
            }
            trouble
        }
    }
}
