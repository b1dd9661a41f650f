//! The context that all reconciles share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
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
        metrics::{
            ControllerMetrics, ObjectGauges, ObjectRow, Soak,
            sizes::{self, Sizes},
        },
        queue::QueueMetrics,
    },
    engine::{
        Mono, Settings,
        object::{
            decide::GuardsRead,
            state::{guards::Guards, wave::Wave},
        },
        settings::{INTENT_LIFE, LOOK_LIFE},
    },
    leadership::{DepartureGuard, Leadership},
    lock::lock,
    metrics::Registry,
    random::Random,
    scope::Scope,
};

/// The options that the process was started with.
pub struct Options {
    /// Settings of decisions.
    pub settings: Settings,
    /// `--delete-rate` and `--read-rate`, in calls per second.
    pub rates: (f64, f64),
    /// The endpoints of each region.
    pub endpoints: Endpoints,
    /// `--secret-type`.
    pub secret_type: Option<String>,
    /// The clock of the process.
    pub clock: Clock,
    /// The source of claims and jitter.
    pub random: Random,
    /// Whether this process leads.
    pub leadership: Leadership,
}

/// The context that all reconciles share.
pub struct Context {
    pub(in crate::controller) api: ApiServer,
    pub(in crate::controller) accounts: Arc<Accounts>,
    pub(in crate::controller) objects: Objects,
    pub(in crate::controller) events: Events,
    pub(in crate::controller) metrics: ControllerMetrics,
    pub(in crate::controller) queue_metrics: QueueMetrics,
    object_gauges: ObjectGauges,
    pub(in crate::controller) clock: Clock,
    pub(in crate::controller) random: Random,
    pub(in crate::controller) settings: Settings,
    pub(in crate::controller) leadership: Leadership,
    pub(in crate::controller) scope: Scope,
    /// Notified when a call or look of any object ends, for the drain.
    pub(in crate::controller) progress: Notify,
    /// Tells the watches to list again, since the API server holds older data than before.
    pub(in crate::controller) relist: watch::Sender<()>,
    /// By namespace. No call rests on them.
    last_guards: Mutex<HashMap<String, GuardsRead>>,
    draining: watch::Sender<bool>,
    /// Keys for the work queue, each with the moment at which its pass was asked for.
    added: mpsc::UnboundedSender<(Key, Mono)>,
}

impl Context {
    /// Creates the context. Returns with it the keys of objects that are to be worked on soon, each with the moment at which
    /// that was asked for.
    #[must_use]
    pub fn new(
        api: ApiServer,
        client: Arc<Client>,
        options: Options,
        scope: &Scope,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<(Key, Mono)>) {
        let Options { settings, rates, endpoints, secret_type, clock, random, leadership } = options;
        let api = api.while_leading(leadership.clone());
        let (added, keys) = mpsc::unbounded_channel();
        let events = Events::start(api.client().clone());
        let accounts =
            Accounts::new(api.clone(), client, (endpoints, secret_type), clock.clone(), settings, rates);
        let context = Self {
            api,
            accounts: Arc::new(accounts),
            objects: Objects::default(),
            events,
            metrics: ControllerMetrics::default(),
            queue_metrics: QueueMetrics::default(),
            object_gauges: ObjectGauges::new(clock.clone()),
            clock,
            random,
            settings,
            leadership,
            scope: scope.clone(),
            progress: Notify::new(),
            relist: watch::Sender::default(),
            last_guards: Mutex::default(),
            draining: watch::Sender::default(),
            added,
        };
        (Arc::new(context), keys)
    }

    /// Registers all metrics of the controller and its clients.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let context = Arc::downgrade(self);
        sizes::register(registry, move || {
            context.upgrade().map(|context| context.sizes()).unwrap_or_default()
        });
        self.object_gauges.register(registry);
        self.metrics.register(registry);
        self.queue_metrics.register(registry);
        self.events.register(registry);
        self.api.metrics().register(registry);
        self.accounts.client().metrics().register(registry);
        RateGauges(self.accounts.clone()).register(registry);
    }

    /// How many entries are kept now.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let (objects, object_entries) = self.objects.sizes();
        Sizes { objects, object_entries, ..self.accounts.sizes() }
    }

    /// Counts an object by its status, until it is gone.
    pub(in crate::controller) fn count(
        &self,
        tracked: &mut Tracked,
        live: &LiveObject,
        status: &InstanceDeletionStatus,
    ) {
        if !tracked.gone {
            let soak = live.spec.as_ref().ok().and_then(Soak::of);
            self.object_gauges.enter(&mut tracked.counted, ObjectRow::of(status, live.created, soak));
        }
    }

    /// Counts an object that this version can't decode, until it is gone.
    pub(in crate::controller) fn count_undecodable(&self, tracked: &mut Tracked) {
        if !tracked.gone {
            self.object_gauges.enter(&mut tracked.counted, ObjectRow::undecodable());
        }
    }

    /// Adds an object to the work queue. May be called under any lock.
    pub(in crate::controller) fn enqueue(&self, key: Key) {
        // Sending fails only after the queue has ended, and the process ends with the queue.
        let _ = self.added.send((key, self.clock.mono()));
    }

    /// Adds an object to the work queue because a call or look of it ended, and notifies the drain.
    pub(in crate::controller) fn wake(&self, key: &Key) {
        self.enqueue(key.clone());
        self.progress.notify_waiters();
    }

    /// Wakes the objects that have come near the head of the account's delete queue. Called whenever the queue may have
    /// moved.
    pub(in crate::controller) fn call_next(&self, account: &Account) {
        for key in account.called(self.clock.mono()) {
            self.wake(&key);
        }
    }

    /// Notes the guards of a namespace as they were read last, for objects that nothing is known of yet.
    pub(in crate::controller) fn note_guards(&self, namespace: &str, read: &GuardsRead) {
        lock(&self.last_guards).insert(namespace.to_owned(), read.clone());
    }

    /// The guards of a namespace as they were read last, if none has changed since as far as the watch has told.
    pub(in crate::controller) fn last_guards(&self, namespace: &str) -> Option<Arc<Guards>> {
        lock(&self.last_guards).get(namespace).map(|read| read.guards.clone())
    }

    /// The same, if they were read at this moment or later.
    pub(in crate::controller) fn guards_read_since(
        &self,
        namespace: &str,
        since: Mono,
    ) -> Option<GuardsRead> {
        lock(&self.last_guards).get(namespace).filter(|read| read.at >= since).cloned()
    }

    /// Has every object ask anew what the guards say of it. The watch of the guards calls it; a driver without
    /// [`run`](crate::controller::run) may.
    pub fn guards_changed(&self) {
        lock(&self.last_guards).clear();
        for key in self.objects.guards_changed() {
            self.enqueue(key);
        }
    }

    /// Guards the calls of a wave whose intent is written now. It rests on looks and guards that are as old as the wave says.
    pub(in crate::controller) fn departure_guard(&self, wave: &Wave) -> DepartureGuard {
        let leave_by = Deadline::after(INTENT_LIFE, &self.clock)
            .no_later_than(wave.look_sent + LOOK_LIFE)
            .no_later_than(wave.guards_read + INTENT_LIFE);
        DepartureGuard::new(leave_by, &self.leadership)
    }

    /// Whether the process drains: nothing new is started.
    pub(in crate::controller) fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits for the begin of the drain.
    pub(in crate::controller) async fn drain_begins(&self) {
        // This context holds the sender, so the channel stays open.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Begins the drain: nothing new is started from now on.
    pub(in crate::controller) fn start_draining(&self) {
        self.draining.send_replace(true);
    }
}
