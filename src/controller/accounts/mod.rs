//! The cloud accounts that objects use: what is shared between objects, and with whom.
//!
//! Marks of calls are shared by everyone who names the same endpoint and project, since the instances are the same.
//! Credentials and answers to looks are shared only by objects that name the same Secret; the pace by all whose credentials are
//! one identity's.

pub mod governors;
pub mod rate_gauges;
pub mod schedule;
mod secrets;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::info;

use self::{
    governors::{Deletes, Governor, Governors},
    schedule::Scheduled,
    secrets::SecretSource,
};
use crate::{
    clock::Clock,
    cloud::{Client, CredentialSource, Endpoint, Endpoints, Iam, Identity, RateOf, Reader, stated_limit},
    controller::api_server::{key::Key, requests::ApiServer},
    engine::{
        Settings,
        account::{
            call_history::CallHistory,
            delete_queue::{PermitAnswer, Want},
            outage::{DeleteCalls, Evidence, PROBE_WAIT},
            rate::SlowDown,
        },
        object::state::{memory::Memory, spec::DeletionSpec},
        outcome::{CallOutcome, Trouble},
        settings::BATCH_SIZE,
        time::Mono,
    },
    lock::lock,
};

/// What the objects of one endpoint, project and Secret share.
pub struct Account {
    /// Where calls go.
    pub endpoint: Endpoint,
    /// The project of its instances.
    pub project: String,
    /// Calls at this endpoint and project, whatever Secret they used.
    pub call_history: Arc<Mutex<CallHistory>>,
    /// Looks.
    pub reader: Reader,
    /// When to look at what is on its way.
    pub schedule: Scheduled,
    /// The Secret.
    pub credentials: Arc<dyn CredentialSource>,
    governors: Arc<Governors>,
    delete_calls: Mutex<DeleteCalls>,
}

impl Account {
    /// The governor of whoever calls here.
    fn governor(&self) -> Arc<Governor> {
        self.governors.of(&self.endpoint, &self.project, &self.credentials.identity())
    }

    /// Delete calls granted to an object that it has not made.
    pub fn held(&self, key: &Key, now: Mono) -> usize {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.held(key, rate, now).min(self.allowed(&lock(&self.delete_calls)))
    }

    /// While the cloud answers no read, that read is the probe.
    fn allowed(&self, delete_calls: &DeleteCalls) -> usize {
        if self.reader.silent() { 0 } else { delete_calls.allowed() }
    }

    /// Asks for delete calls for an object.
    pub fn ask(&self, key: &Key, want: Want, now: Mono) -> PermitAnswer {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        match (self.allowed(&lock(&self.delete_calls)), delete_queue.ask(key, want, rate, now)) {
            (0, PermitAnswer::Now(calls)) => PermitAnswer::Soon { calls, at: Some(now + PROBE_WAIT) },
            (allowed, PermitAnswer::Now(calls)) => PermitAnswer::Now(calls.min(allowed)),
            (_, turn @ (PermitAnswer::Soon { .. } | PermitAnswer::Later(_) | PermitAnswer::Closed(_))) => {
                turn
            }
        }
    }

    /// When an object goes on that waits for its turn to call, and is near it.
    pub fn goes_on(&self, key: &Key) -> Option<Mono> {
        lock(&self.governor().deletes).delete_queue.goes_on(key)
    }

    /// Objects whose turn has come near, for whoever wakes them.
    pub fn called(&self, now: Mono) -> Vec<Key> {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.called(rate, now)
    }

    /// Counts calls as on their way from the decision to make them on, so that no two objects probe a silent cloud while each
    /// is still writing its intent. False, and nothing is done, if so many may not be made any more.
    pub fn begin(&self, calls: usize) -> bool {
        let delete_calls = &mut lock(&self.delete_calls);
        let may = self.allowed(delete_calls) >= calls;
        if may {
            delete_calls.started(calls);
        }
        may
    }

    /// Takes back what was begun: none of these calls will be made.
    pub fn abandon(&self, calls: usize) {
        lock(&self.delete_calls).abandoned(calls);
    }

    /// Notes that an object makes this many of the calls granted to it.
    pub fn use_up(&self, key: &Key, calls: usize) {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.use_up(key, calls, rate);
    }

    /// Forgets the turn of an object.
    pub fn forget(&self, key: &Key) {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.forget(key, rate);
    }

    /// Forgets an object that has its end, or calls elsewhere from now on.
    pub fn leave(&self, key: &Key) {
        self.forget(key);
        self.schedule.forget(key);
    }

    /// When a granted call of this identity leaves that is ready now.
    pub fn departure(&self, identity: &Identity, now: Mono) -> Mono {
        let governor = self.governors.of(&self.endpoint, &self.project, identity);
        let rate = &mut lock(&governor.deletes).rate;
        rate.departure(now)
    }

    /// Enters how a delete call of this identity ended. Returns what the account's calls say about its requests by now, and,
    /// after a 429, for how long the account makes no call.
    pub fn ended(
        &self,
        identity: &Identity,
        outcome: &CallOutcome,
        now: Mono,
    ) -> (Evidence, Option<Duration>) {
        let governor = self.governors.of(&self.endpoint, &self.project, identity);
        let rate = &mut lock(&governor.deletes).rate;
        let mut closed_for = None;
        match outcome {
            CallOutcome::Accepted { .. } => rate.accepted(),
            CallOutcome::Refused { trouble: Trouble::Throttled { retry_after }, message, .. } => {
                let limit = stated_limit(&message.text);
                rate.refused(SlowDown::TooManyRequests { retry_after: *retry_after, limit }, now);
                closed_for = rate.closed(now);
            }
            CallOutcome::Unknown { unavailable: true, .. } => rate.refused(SlowDown::Unavailable, now),
            CallOutcome::Unknown { .. } | CallOutcome::Refused { .. } | CallOutcome::NotSent => rate.over(),
        }
        let delete_calls = &mut lock(&self.delete_calls);
        delete_calls.ended(outcome, now);
        (delete_calls.evidence(), closed_for)
    }

    /// What the account's calls say about its requests.
    pub fn evidence(&self) -> Evidence {
        lock(&self.delete_calls).evidence()
    }
}

type MarksKey = (Endpoint, String);
type AccountKey = (Endpoint, String, String, String);

/// All accounts that objects have named since the process started.
pub struct Accounts {
    api: ApiServer,
    client: Arc<Client>,
    endpoints: Endpoints,
    clock: Clock,
    settings: Settings,
    governors: Arc<Governors>,
    call_history: Mutex<HashMap<MarksKey, Arc<Mutex<CallHistory>>>>,
    by_key: Mutex<HashMap<AccountKey, Arc<Account>>>,
    /// Sizes that endpoints accept, where they refused 50.
    batch_sizes: Mutex<HashMap<Endpoint, usize>>,
}

impl Accounts {
    /// None yet.
    #[must_use]
    pub fn new(
        api: ApiServer,
        client: Arc<Client>,
        endpoints: Endpoints,
        clock: Clock,
        settings: Settings,
        rates: (f64, f64),
    ) -> Self {
        let (call_history, by_key, batch_sizes) = (Mutex::default(), Mutex::default(), Mutex::default());
        let governors = Arc::new(Governors::new(clock.clone(), settings, rates));
        Self { api, client, endpoints, clock, settings, governors, call_history, by_key, batch_sizes }
    }

    /// Most ids in one call to this account's endpoint.
    #[must_use]
    pub fn batch_size(&self, account: &Account) -> usize {
        lock(&self.batch_sizes).get(&account.endpoint).copied().unwrap_or(BATCH_SIZE)
    }

    /// Remembers a batch size that an object found to be accepted where a larger one was refused (fault C2).
    pub fn learn(&self, account: &Account, memory: &mut Memory) {
        if let Some(size) = memory.bisection.take_learned() {
            info!(endpoint = %account.endpoint, size, "the endpoint accepts smaller batches only");
            lock(&self.batch_sizes).insert(account.endpoint.clone(), size);
        }
    }

    /// How fast identities are called.
    #[must_use]
    pub fn governors(&self) -> &Arc<Governors> {
        &self.governors
    }

    /// The client for calls.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The account of an object in this namespace.
    pub fn of(
        &self,
        namespace: &str,
        spec: &DeletionSpec,
    ) -> Result<Arc<Account>, crate::cloud::EndpointError> {
        let endpoint = self.endpoints.of(&spec.region)?;
        let key = (endpoint.clone(), spec.project.clone(), namespace.to_owned(), spec.secret.clone());
        if let Some(account) = lock(&self.by_key).get(&key) {
            return Ok(account.clone());
        }
        let call_history =
            lock(&self.call_history).entry((endpoint.clone(), spec.project.clone())).or_default().clone();
        let iam = Iam::new(self.client.clone(), self.endpoints.iam(&spec.region)?, spec.project.clone());
        let credentials: Arc<dyn CredentialSource> = Arc::new(SecretSource::new(
            self.api.clone(),
            (namespace.to_owned(), spec.secret.clone()),
            iam,
            self.clock.clone(),
            self.settings.retry_max,
        ));
        let mut accounts = lock(&self.by_key);
        let account = accounts.entry(key).or_insert_with(|| {
            let (governors, at, project) = (self.governors.clone(), endpoint.clone(), spec.project.clone());
            let rate_of: RateOf =
                Arc::new(move |identity| governors.of(&at, &project, identity).reads.clone());
            let reader = Reader::spawn(
                self.client.clone(),
                endpoint.clone(),
                spec.project.clone(),
                credentials.clone(),
                rate_of,
                self.clock.clone(),
            );
            let (governors, delete_calls) = (self.governors.clone(), Mutex::default());
            let project = spec.project.clone();
            let schedule = Scheduled::new(&self.settings);
            Arc::new(Account {
                endpoint,
                project,
                call_history,
                reader,
                schedule,
                credentials,
                governors,
                delete_calls,
            })
        });
        Ok(account.clone())
    }
}
