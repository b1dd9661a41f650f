//! What every reconcile shares.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, mpsc, watch};

use super::objects::{Objects, Tracked};
use crate::{
    api::InstanceDeletionStatus,
    clock::{Clock, Deadline},
    cloud::{Client, Endpoints},
    controller::{
        accounts::{Account, Accounts, rate_gauges::RateGauges},
        api_server::{events::Events, key::Key, reads::LiveObject, requests::ApiServer},
        metrics::{Metrics, ObjectGauges, ObjectRow},
        queue::QueueMetrics,
    },
    engine::{
        Mono, Settings,
        settings::{INTENT_LIFE, LOOK_LIFE},
    },
    leadership::{DepartureGuard, Leadership},
    metrics::Registry,
    random::Random,
    scope::Scope,
};

/// What the process was started with.
pub struct Options {
    /// For decisions.
    pub settings: Settings,
    /// `--delete-rate` and `--read-rate`.
    pub rates: (f64, f64),
    /// Where regions are.
    pub endpoints: Endpoints,
    /// The clock of the process.
    pub clock: Clock,
    /// For claims and jitter.
    pub random: Random,
    /// Whether this process leads.
    pub leadership: Leadership,
}

/// What every reconcile shares.
pub struct Context {
    pub(in crate::controller) api: ApiServer,
    pub(in crate::controller) accounts: Accounts,
    pub(in crate::controller) objects: Objects,
    pub(in crate::controller) events: Events,
    pub(in crate::controller) metrics: Metrics,
    pub(in crate::controller) queue_metrics: QueueMetrics,
    object_gauges: ObjectGauges,
    pub(in crate::controller) clock: Clock,
    pub(in crate::controller) random: Random,
    pub(in crate::controller) settings: Settings,
    pub(in crate::controller) leadership: Leadership,
    pub(in crate::controller) scope: Scope,
    /// Something was heard for some object; for the drain.
    pub(in crate::controller) progress: Notify,
    /// The API server was found to hold older data than before; for the watches.
    pub(in crate::controller) relist: watch::Sender<()>,
    draining: AtomicBool,
    /// Into the work queue.
    added: mpsc::UnboundedSender<(Key, Mono)>,
}

impl Context {
    /// Makes the context, and the keys of objects that are to be worked on soon, each with the moment at which that
    /// was asked for.
    #[must_use]
    pub fn new(
        api: ApiServer,
        client: Arc<Client>,
        options: Options,
        scope: &Scope,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<(Key, Mono)>) {
        let Options { settings, rates, endpoints, clock, random, leadership } = options;
        let api = api.while_leading(leadership.clone());
        let (added, keys) = mpsc::unbounded_channel();
        let events = Events::start(api.client().clone());
        let accounts = Accounts::new(api.clone(), client, endpoints, clock.clone(), settings, rates);
        let context = Self {
            api,
            accounts,
            objects: Objects::default(),
            events,
            metrics: Metrics::default(),
            queue_metrics: QueueMetrics::default(),
            object_gauges: ObjectGauges::new(clock.clone()),
            clock,
            random,
            settings,
            leadership,
            scope: scope.clone(),
            progress: Notify::new(),
            relist: watch::Sender::default(),
            draining: AtomicBool::new(false),
            added,
        };
        (Arc::new(context), keys)
    }

    /// All that the controller and its clients count.
    pub fn register(&self, registry: &mut Registry) {
        self.object_gauges.register(registry);
        self.metrics.register(registry);
        self.queue_metrics.register(registry);
        self.events.register(registry);
        self.api.metrics().register(registry);
        self.accounts.client().metrics().register(registry);
        RateGauges(self.accounts.governors().clone()).register(registry);
    }

    /// Counts an object by its status, until it is gone.
    pub(in crate::controller) fn count(
        &self,
        tracked: &mut Tracked,
        live: &LiveObject,
        status: &InstanceDeletionStatus,
    ) {
        if !tracked.gone {
            self.object_gauges.enter(&mut tracked.counted, ObjectRow::of(status, live.created));
        }
    }

    /// Adds an object to the work queue. May be called under any lock.
    pub(in crate::controller) fn enqueue(&self, key: Key) {
        // A queue that has ended works no more, and the process ends with it.
        let _ = self.added.send((key, self.clock.mono()));
    }

    /// Has an object decided upon soon, since something was heard for it.
    pub(in crate::controller) fn wake(&self, key: &Key) {
        self.enqueue(key.clone());
        self.progress.notify_waiters();
    }

    /// Has the objects decided upon whose turn to call at this account has come near. Called whenever a turn was given,
    /// taken or left.
    pub(in crate::controller) fn call_next(&self, account: &Account) {
        for key in account.called(self.clock.mono()) {
            self.wake(&key);
        }
    }

    /// Guards the calls of a wave whose intent is written now and whose oldest look was sent at `look_sent`.
    pub(in crate::controller) fn departure_guard(&self, look_sent: Mono) -> DepartureGuard {
        let leave_by = Deadline::after(INTENT_LIFE, &self.clock).no_later_than(look_sent + LOOK_LIFE);
        DepartureGuard::new(leave_by, &self.leadership)
    }

    /// Whether nothing new is started any more.
    pub(in crate::controller) fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Starts nothing new from now on.
    pub(in crate::controller) fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }
}
