//! The cloud accounts that objects use: what is shared between objects, and with whom.
//!
//! Marks of calls are shared by everyone who names the same endpoint and project, since the instances are the same.
//! Credentials, pace and answers to looks are shared only by objects that name the same Secret.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::info;

use super::{
    api_server::{ApiServer, Key},
    secrets::SecretSource,
};
use crate::{
    clock::Clock,
    cloud::{Client, CredentialSource, Endpoint, Endpoints, Iam, Reader, Reading},
    engine::{
        Settings,
        account::{
            health::{Evidence, Health, PROBE_WAIT},
            pace::{Pace, Refusal},
            permits::{Answer, Permits},
        },
        object::{job::Job, marks::Marks, memory::Memory},
        reply::{Reply, Trouble},
        settings::BATCH_SIZE,
        time::Mono,
    },
};

/// What the objects of one endpoint, project and Secret share.
pub struct Account {
    /// Where calls go.
    pub endpoint: Endpoint,
    /// The project of its instances.
    pub project: String,
    /// Calls at this endpoint and project, whatever Secret they used.
    pub marks: Arc<Mutex<Marks>>,
    /// Looks.
    pub reader: Reader,
    /// The Secret.
    pub credentials: Arc<dyn CredentialSource>,
    governor: Mutex<Governor>,
}

struct Governor {
    pace: Pace,
    permits: Permits<Key>,
    health: Health,
}

impl Account {
    /// Delete calls granted to an object that it has not made.
    pub fn held(&self, key: &Key, now: Mono) -> usize {
        let Governor { permits, health, .. } = &mut *lock(&self.governor);
        permits.held(key, now).min(self.allowed(health))
    }

    /// While the cloud answers no read, that read is the probe.
    fn allowed(&self, health: &Health) -> usize {
        if self.reader.silent() { 0 } else { health.allowed() }
    }

    /// Asks for delete calls for an object.
    pub fn ask(&self, key: &Key, want: usize, now: Mono) -> Answer {
        let Governor { pace, permits, health } = &mut *lock(&self.governor);
        match (self.allowed(health), permits.ask(key, want, pace, now)) {
            (0, Answer::Granted(_)) => Answer::AskAgain(now + PROBE_WAIT),
            (allowed, Answer::Granted(calls)) => Answer::Granted(calls.min(allowed)),
            (_, again @ Answer::AskAgain(_)) => again,
        }
    }

    /// Counts calls as on their way from the decision to make them on, so that no two objects probe a silent cloud while each
    /// is still writing its intent. False, and nothing is done, if so many may not be made any more.
    pub fn begin(&self, calls: usize) -> bool {
        let health = &mut lock(&self.governor).health;
        let may = self.allowed(health) >= calls;
        if may {
            health.started(calls);
        }
        may
    }

    /// Takes back what was begun: none of these calls will be made.
    pub fn abandon(&self, calls: usize) {
        lock(&self.governor).health.abandoned(calls);
    }

    /// Notes that an object makes this many of the calls granted to it.
    pub fn use_up(&self, key: &Key, calls: usize) {
        let Governor { pace, permits, .. } = &mut *lock(&self.governor);
        permits.use_up(key, calls, pace);
    }

    /// Forgets the turn of an object.
    pub fn forget(&self, key: &Key) {
        let Governor { pace, permits, .. } = &mut *lock(&self.governor);
        permits.forget(key, pace);
    }

    /// Takes note of how a delete call ended. Returns what the account's calls say about its requests by now.
    pub fn ended(&self, reply: &Reply, now: Mono) -> Evidence {
        let Governor { pace, health, .. } = &mut *lock(&self.governor);
        health.ended(reply, now);
        match reply {
            Reply::Accepted { .. } => pace.accepted(),
            Reply::Refused { trouble: Trouble::Throttled { retry_after }, .. } => {
                pace.refused(Refusal::TooManyRequests, *retry_after, now);
            }
            Reply::Unknown { unavailable: true, .. } => pace.refused(Refusal::Unavailable, None, now),
            Reply::Unknown { .. } | Reply::Refused { .. } | Reply::TooLate => {}
        }
        health.evidence()
    }

    /// What the account's calls say about its requests.
    pub fn evidence(&self) -> Evidence {
        lock(&self.governor).health.evidence()
    }
}

/// Locks, also after a panic in another holder: every update of the shared state is complete at each await and return.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    delete_rate: f64,
    read_rate: f64,
    marks: Mutex<HashMap<MarksKey, Arc<Mutex<Marks>>>>,
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
        (delete_rate, read_rate): (f64, f64),
    ) -> Self {
        let (marks, by_key, batch_sizes) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { api, client, endpoints, clock, settings, delete_rate, read_rate, marks, by_key, batch_sizes }
    }

    /// Most ids in one call to this account's endpoint.
    #[must_use]
    pub fn batch_size(&self, account: &Account) -> usize {
        lock(&self.batch_sizes).get(&account.endpoint).copied().unwrap_or(BATCH_SIZE)
    }

    /// Remembers a batch size that an object found to be accepted where a larger one was refused (fault C2).
    pub fn learn(&self, account: &Account, memory: &mut Memory) {
        if let Some(size) = memory.isolation.take_learned() {
            info!(endpoint = %account.endpoint, size, "the endpoint accepts smaller batches only");
            lock(&self.batch_sizes).insert(account.endpoint.clone(), size);
        }
    }

    /// The client for calls.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The account of an object in this namespace.
    pub fn of(&self, namespace: &str, job: &Job) -> Result<Arc<Account>, crate::cloud::EndpointError> {
        let endpoint = self.endpoints.of(&job.region)?;
        let key = (endpoint.clone(), job.project.clone(), namespace.to_owned(), job.secret.clone());
        if let Some(account) = lock(&self.by_key).get(&key) {
            return Ok(account.clone());
        }
        let marks = lock(&self.marks).entry((endpoint.clone(), job.project.clone())).or_default().clone();
        let iam = Iam::new(self.client.clone(), self.endpoints.iam(&job.region)?, job.project.clone());
        let credentials: Arc<dyn CredentialSource> =
            Arc::new(SecretSource::new(self.api.clone(), namespace.to_owned(), job.secret.clone(), iam));
        let mut accounts = lock(&self.by_key);
        let account = accounts.entry(key).or_insert_with(|| {
            let seen_by_all = marks.clone();
            let reader = Reader::spawn(
                self.client.clone(),
                endpoint.clone(),
                job.project.clone(),
                credentials.clone(),
                self.read_rate,
                self.clock.clone(),
                Arc::new(move |reading: &Reading| {
                    lock(&seen_by_all).saw(reading.id, &reading.seen, reading.sent);
                }),
            );
            let governor = Mutex::new(Governor {
                pace: Pace::new(self.delete_rate, self.clock.mono()),
                permits: Permits::new(self.settings.request_timeout),
                health: Health::default(),
            });
            Arc::new(Account { endpoint, project: job.project.clone(), marks, reader, credentials, governor })
        });
        Ok(account.clone())
    }
}
