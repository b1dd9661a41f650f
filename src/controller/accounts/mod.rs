//! The cloud accounts that objects use, and what objects share.
//!
//! - The call history is shared by all objects of one endpoint and project, since they name the same instances.
//! - Credentials and looks are shared by objects that name the same Secret.
//! - The governor is shared by all Secrets that hold credentials of one identity.

pub mod governors;
pub mod rate_gauges;
pub mod schedule;
mod secrets;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tracing::{info, warn};

use self::{
    governors::{Deletes, Governor, Governors, Pace},
    schedule::AccountSchedule,
    secrets::{NoCredentials, SecretSource},
};
use crate::{
    api::CallKind,
    clock::Clock,
    cloud::{Client, CredentialSource, Endpoint, Endpoints, Iam, Identity, RateOf, Reader},
    controller::{
        api_server::{key::Key, requests::ApiServer},
        metrics::sizes::Sizes,
    },
    engine::{
        Settings,
        account::{
            batch_size::{BatchSize, SizeChange},
            call_history::CallHistory,
            delete_queue::{PermitAnswer, Want},
            outage::{AccountCalls, Evidence, PROBE_WAIT},
            rate::SlowDown,
        },
        by_kind::ByKind,
        object::state::{memory::Memory, spec::DeletionSpec},
        outcome::{CallOutcome, Trouble},
        time::Mono,
    },
    lock::lock,
};

/// The account of one endpoint, project and Secret, shared by all objects that name them.
pub struct Account {
    /// The endpoint that is called.
    pub endpoint: Endpoint,
    /// The project of the instances.
    pub project: String,
    /// Calls at this endpoint and project, of every Secret.
    pub call_history: Arc<Mutex<CallHistory>>,
    /// Carries out looks.
    pub reader: Reader,
    /// Says when accepted instances are looked at.
    pub schedule: AccountSchedule,
    /// Reads the Secret.
    pub credentials: Arc<dyn CredentialSource>,
    pace: Arc<Pace>,
    calls: Mutex<AccountCalls>,
    batch_size: Mutex<BatchSize>,
}

impl Account {
    /// The most ids in one call of this account.
    pub fn batch_size(&self, now: Mono) -> usize {
        lock(&self.batch_size).in_force(now)
    }

    /// Takes note of a batch of an object that was found too large.
    pub fn learn(&self, memory: &mut Memory, now: Mono) {
        if let Some(too_large) = memory.refusals.delete.bisection.take_too_large() {
            self.say(lock(&self.batch_size).too_large(too_large, now));
        }
    }

    fn say(&self, change: Option<SizeChange>) {
        let (endpoint, project) = (&self.endpoint, &self.project);
        match change {
            Some(SizeChange::Smaller(most)) => warn!(
                %endpoint, project, most,
                "the cloud refuses delete calls of more instances, though it accepts each of them; this account sends smaller calls for an hour"
            ),
            Some(SizeChange::Full) => {
                info!(%endpoint, project, "the cloud accepts larger delete calls again; this account sends full ones");
            }
            None => {}
        }
    }

    /// The governor of the identity that the Secret held when it was last read.
    fn governor(&self) -> Arc<Governor> {
        self.pace.present(&self.credentials.identity())
    }

    /// The number of calls that were granted to an object and not made yet.
    pub fn held(&self, key: &Key, now: Mono) -> usize {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.held(key, rate, now).min(self.allowed(&lock(&self.calls)))
    }

    /// The number of calls that an outage allows: none while a read probes a silent cloud.
    fn allowed(&self, calls: &AccountCalls) -> usize {
        if self.reader.silent() { 0 } else { calls.allowed() }
    }

    /// Asks the delete queue for calls of an object.
    pub fn ask(&self, key: &Key, want: Want, now: Mono) -> PermitAnswer {
        let governor = self.governor();
        self.pace.queued(key);
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        match (self.allowed(&lock(&self.calls)), delete_queue.ask(key, want, rate, now)) {
            (0, PermitAnswer::Now(calls)) => PermitAnswer::Soon { calls, at: Some(now + PROBE_WAIT) },
            (allowed, PermitAnswer::Now(calls)) => PermitAnswer::Now(calls.min(allowed)),
            (_, turn @ (PermitAnswer::Soon { .. } | PermitAnswer::Later(_) | PermitAnswer::Closed(_))) => {
                turn
            }
        }
    }

    /// When an object near the head of the delete queue may go on; `None` if it is not near it.
    pub fn goes_on(&self, key: &Key) -> Option<Mono> {
        lock(&self.governor().deletes).delete_queue.goes_on(key)
    }

    /// Takes the objects that have come near the head of the delete queue. The caller wakes them.
    pub fn called(&self, now: Mono) -> Vec<Key> {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.called(rate, now)
    }

    /// Counts calls from the decision to make them, so that no two objects probe a silent cloud while both still write
    /// their intents. Returns false and changes nothing if the outage allows fewer calls.
    pub fn begin(&self, calls: usize) -> bool {
        let account = &mut lock(&self.calls);
        let may = self.allowed(account) >= calls;
        if may {
            account.started(calls);
        }
        may
    }

    /// Takes back [`Self::begin`] for calls that will not be made.
    pub fn abandon(&self, calls: usize) {
        lock(&self.calls).abandoned(calls);
    }

    /// Notes that an object makes this many of its granted calls.
    pub fn use_up(&self, key: &Key, calls: usize) {
        let governor = self.governor();
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.use_up(key, calls, rate);
    }

    /// Removes an object from the delete queue.
    pub fn forget(&self, key: &Key) {
        let governor = self.governor();
        self.pace.left(key);
        let Deletes { rate, delete_queue } = &mut *lock(&governor.deletes);
        delete_queue.forget(key, rate);
    }

    /// Forgets an object that has ended, or that uses another account from now on.
    pub fn leave(&self, key: &Key) {
        self.forget(key);
        self.schedule.forget(key);
    }

    /// When a granted call of this identity may leave, if it is ready now.
    pub fn departure(&self, identity: &Identity, now: Mono) -> Mono {
        let governor = self.pace.of(identity);
        let rate = &mut lock(&governor.deletes).rate;
        rate.departure(now)
    }

    /// Enters how a call of this kind and identity ended. Returns what the account's calls of the kind say about such requests by
    /// now, and, after a 429, for how long the account makes no call.
    pub fn ended(
        &self,
        kind: CallKind,
        identity: &Identity,
        outcome: &CallOutcome,
        now: Mono,
    ) -> (Evidence, Option<Duration>) {
        let governor = self.pace.of(identity);
        let rate = &mut lock(&governor.deletes).rate;
        let mut closed_for = None;
        match outcome {
            CallOutcome::Accepted { .. } => rate.accepted(),
            CallOutcome::Refused { trouble: Trouble::Throttled { retry_after }, message, .. } => {
                let (retry_after, limit) = (*retry_after, message.limit.as_deref().copied());
                rate.refused(SlowDown::TooManyRequests { retry_after, limit }, now);
                closed_for = rate.closed(now);
            }
            CallOutcome::Unknown { unavailable: true, .. } => rate.refused(SlowDown::Unavailable, now),
            CallOutcome::Unknown { .. } | CallOutcome::Refused { .. } | CallOutcome::NotSent(_) => {
                rate.over();
            }
        }
        if let (CallKind::Delete, CallOutcome::Accepted { ids, .. }) = (kind, outcome) {
            self.say(lock(&self.batch_size).accepted(ids.len(), now));
        }
        let calls = &mut lock(&self.calls);
        calls.ended(kind, outcome, now);
        (*calls.evidence().of(kind), closed_for)
    }

    /// What the account's calls have shown about its requests.
    pub fn evidence(&self) -> ByKind<Evidence> {
        lock(&self.calls).evidence()
    }
}

type MarksKey = (Endpoint, String);
type AccountKey = (Endpoint, String, String, String);

/// Most accounts at once, with a task and some kB each. Objects beyond them wait.
const MOST: usize = 2_000;
/// Most accounts that the objects of one namespace use at once, so that no namespace takes all of them.
const MOST_OF_NAMESPACE: usize = 500;
/// An account that no object has used for so long is dropped, with its token, its reader and its pace.
const UNUSED_FOR: Duration = Duration::from_mins(5);
/// How often accounts that are not used are looked for.
pub const SWEPT_EVERY: Duration = Duration::from_mins(1);

struct Kept {
    account: Arc<Account>,
    unused_since: Option<Mono>,
}

/// The accounts that objects use.
pub struct Accounts {
    api: ApiServer,
    client: Arc<Client>,
    endpoints: Endpoints,
    /// `--secret-type`.
    secret_type: Option<String>,
    clock: Clock,
    settings: Settings,
    governors: Arc<Governors>,
    call_history: Mutex<HashMap<MarksKey, Arc<Mutex<CallHistory>>>>,
    by_key: Mutex<HashMap<AccountKey, Kept>>,
    /// The account of all objects beyond [`MOST`]. It has no credentials.
    surplus: OnceLock<Arc<Account>>,
}

impl Accounts {
    /// Creates an empty set. `secret_type` is the type that a Secret must have.
    #[must_use]
    pub fn new(
        api: ApiServer,
        client: Arc<Client>,
        (endpoints, secret_type): (Endpoints, Option<String>),
        clock: Clock,
        settings: Settings,
        rates: (f64, f64),
    ) -> Self {
        let (call_history, by_key) = (Mutex::default(), Mutex::default());
        let governors = Arc::new(Governors::new(clock.clone(), settings, rates));
        Self {
            api,
            client,
            endpoints,
            secret_type,
            clock,
            settings,
            governors,
            call_history,
            by_key,
            surplus: OnceLock::new(),
        }
    }

    /// The most ids in one call of the account that may name fewest; that of a full call if there is no account.
    #[must_use]
    pub fn lowest_batch_size(&self) -> usize {
        let now = self.clock.mono();
        let sizes = lock(&self.by_key).values().map(|kept| kept.account.batch_size(now)).min();
        sizes.unwrap_or_else(|| BatchSize::default().in_force(now))
    }

    /// The governors.
    #[must_use]
    pub fn governors(&self) -> &Arc<Governors> {
        &self.governors
    }

    /// The client that makes the calls.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Returns the account that an object in this namespace uses. Fails if its region has no endpoint.
    pub fn of(
        &self,
        namespace: &str,
        spec: &DeletionSpec,
    ) -> Result<Arc<Account>, crate::cloud::EndpointError> {
        let endpoint = self.endpoints.of(&spec.region)?;
        let key = (endpoint.clone(), spec.project.clone(), namespace.to_owned(), spec.secret.clone());
        let accounts = &mut *lock(&self.by_key);
        if let Some(kept) = accounts.get(&key) {
            return Ok(kept.account.clone());
        }
        if accounts.len() >= MOST {
            accounts.retain(|_, kept| Arc::strong_count(&kept.account) > 1);
        }
        let of_namespace = || accounts.keys().filter(|(_, _, other, _)| other == namespace).count();
        if accounts.len() >= MOST || of_namespace() >= MOST_OF_NAMESPACE {
            return Ok(self.surplus.get_or_init(|| self.surplus(endpoint)).clone());
        }
        let history =
            lock(&self.call_history).entry((endpoint.clone(), spec.project.clone())).or_default().clone();
        let credentials = self.credentials(namespace, spec)?;
        let account = self.account((endpoint, spec.project.clone()), history, credentials);
        accounts.insert(key, Kept { account: account.clone(), unused_since: None });
        Ok(account)
    }

    /// The account of objects that find no room: nothing is read or sent for them.
    fn surplus(&self, endpoint: Endpoint) -> Arc<Account> {
        warn!(
            most = MOST,
            of_namespace = MOST_OF_NAMESPACE,
            "unfinished objects name more Secrets and projects than are served at once; the rest wait"
        );
        let credentials = Arc::new(NoCredentials::new(Trouble::TooManyAccounts, "", ""));
        self.account((endpoint, String::new()), Arc::default(), credentials)
    }

    fn account(
        &self,
        (endpoint, project): (Endpoint, String),
        call_history: Arc<Mutex<CallHistory>>,
        credentials: Arc<dyn CredentialSource>,
    ) -> Arc<Account> {
        let identity = credentials.identity();
        let pace = Arc::new(Pace::new(self.governors.clone(), endpoint.clone(), project.clone(), identity));
        let reads = pace.clone();
        let rate_of: RateOf = Arc::new(move |identity| reads.of(identity).reads.clone());
        let reader = Reader::spawn(
            self.client.clone(),
            endpoint.clone(),
            project.clone(),
            credentials.clone(),
            rate_of,
            self.clock.clone(),
        );
        let (schedule, calls) = (AccountSchedule::new(&self.settings), Mutex::default());
        let batch_size = Mutex::default();
        Arc::new(Account {
            endpoint,
            project,
            call_history,
            reader,
            schedule,
            credentials,
            pace,
            calls,
            batch_size,
        })
    }

    /// How many entries are kept of accounts. Holds no account for longer than a moment: one that is held counts as used.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let of_accounts = |accounts: &HashMap<AccountKey, Kept>| {
            (accounts.len(), accounts.values().map(|kept| kept.account.schedule.entries()).sum())
        };
        let (accounts, scheduled) = of_accounts(&lock(&self.by_key));
        let (identities, queued) = self.governors.sizes();
        Sizes {
            accounts,
            identities,
            queued,
            call_history: lock(&self.call_history).values().map(|history| lock(history).entries()).sum(),
            scheduled,
            credentials: self.client.credentials(),
            ..Sizes::default()
        }
    }

    /// Drops the accounts that no object has used for a while, and what they alone needed. Called every [`SWEPT_EVERY`].
    pub fn sweep(&self) {
        let now = self.clock.mono();
        lock(&self.by_key).retain(|_, kept| {
            if Arc::strong_count(&kept.account) > 1 {
                kept.unused_since = None;
                kept.account.pace.keep();
                return true;
            }
            now - *kept.unused_since.get_or_insert(now) < UNUSED_FOR
        });
        self.governors.sweep(now);
        lock(&self.call_history).retain(|_, history| {
            let used = Arc::strong_count(history) > 1;
            let history = &mut *lock(history);
            history.sweep(now, &self.settings);
            used || !history.knows_no_call()
        });
    }

    /// The source of credentials for an object in this namespace. There are none for a region that may not be called.
    fn credentials(
        &self,
        namespace: &str,
        spec: &DeletionSpec,
    ) -> Result<Arc<dyn CredentialSource>, crate::cloud::EndpointError> {
        let iam = Iam::new(self.client.clone(), self.endpoints.iam(&spec.region)?, spec.project.clone());
        if !self.endpoints.allows(&spec.region) {
            return Ok(Arc::new(NoCredentials::new(Trouble::RegionNotAllowed, namespace, &spec.secret)));
        }
        Ok(Arc::new(SecretSource::new(
            self.api.clone(),
            (namespace.to_owned(), spec.secret.clone()),
            iam,
            self.clock.clone(),
            self.settings.retry_max,
            self.secret_type.clone(),
        )))
    }
}

#[cfg(test)]
mod tests;
