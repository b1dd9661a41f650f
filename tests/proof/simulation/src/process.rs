//! One process: the real controller, and a driver that plays the part of its watch and its work queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use instance_deletion_controller::{
    clock::Clock,
    cloud::{Client, Endpoints},
    controller::{ApiServer, Context, Key, Options, reconcile, sweep},
    engine::Mono,
    leadership::Leadership,
    random::Random as ControllerRandom,
    scope::Scope,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    api_wire,
    cloud_wire::CloudWire,
    random::Random,
    sim::{Handle, Life, Sim, runs},
    watching::{WatchEvent, list_again_and_again},
};

/// Starts a process with an empty memory.
pub fn start(sim: &Arc<Sim>) -> usize {
    let (life, lives) = watch::channel(Life::Running);
    let (events, watched) = mpsc::unbounded_channel();
    let wall_off = Arc::new(AtomicI64::new(0));
    let handle = Handle { life, wall_off: wall_off.clone(), events, driver: None, context: Weak::new() };
    let number = sim.enter(handle);
    let clock = {
        let sim = Arc::downgrade(sim);
        // Without a world nobody asks for the time any more.
        Clock::with_wall(move || {
            sim.upgrade().map(|sim| sim.wall(wall_off.load(Ordering::SeqCst))).unwrap_or_default()
        })
    };
    let numbers = Mutex::new(Random::new(sim.plan.seed, 1000 + number as u64));
    let random = ControllerRandom::from_source(move || {
        Some(numbers.lock().unwrap_or_else(PoisonError::into_inner).number())
    });
    let wire = CloudWire { sim: sim.clone(), process: number, life: lives.clone() };
    let cloud = Client::over(wire, sim.plan.settings.request_timeout, clock.clone());
    let api = ApiServer::new(api_wire::client(sim, number, &lives));
    let options = Options {
        settings: sim.plan.settings,
        rates: sim.plan.rates,
        endpoints: Endpoints::default(),
        secret_type: None,
        clock,
        random,
        // Two that both believe they lead must do no harm.
        leadership: Leadership::always(),
    };
    let (context, added) = Context::new(api, Arc::new(cloud), options, &Scope::default());
    let driver = Driver {
        context,
        life: lives,
        known: BTreeSet::new(),
        newest: BTreeMap::new(),
        matters: BTreeMap::new(),
        due: BTreeMap::new(),
        running: BTreeSet::new(),
        work: JoinSet::new(),
    };
    let listing = tokio::spawn(list_again_and_again(sim.clone(), number));
    let shared = Arc::downgrade(&driver.context);
    let task = tokio::spawn(async move {
        let context = driver.context.clone();
        tokio::select! {
            () = driver.drive(watched, added) => {}
            never = sweep(&context) => match never {},
        }
        listing.abort();
    });
    sim.with(|state| {
        if let Some(handle) = state.processes.get_mut(number) {
            (handle.driver, handle.context) = (Some(task.abort_handle()), shared);
        }
    });
    number
}

/// What the work queue does: at most one reconcile for a key at a time, again when its time comes or it is woken.
struct Driver {
    context: Arc<Context>,
    life: watch::Receiver<Life>,
    /// Keys that the watch has shown and not taken back.
    known: BTreeSet<Key>,
    /// resourceVersions that the watch has told of.
    newest: BTreeMap<Key, u64>,
    /// What the filter let through last.
    matters: BTreeMap<Key, String>,
    due: BTreeMap<Key, Instant>,
    running: BTreeSet<Key>,
    work: JoinSet<(Key, Option<Duration>)>,
}

impl Driver {
    async fn drive(
        mut self,
        mut watched: mpsc::UnboundedReceiver<WatchEvent>,
        mut added: mpsc::UnboundedReceiver<(Key, Mono)>,
    ) {
        loop {
            runs(&mut self.life).await;
            self.start_due();
            let next = self.due.iter().filter(|(key, _)| !self.running.contains(*key)).map(|(_, at)| *at);
            let next = next.min();
            tokio::select! {
                biased;
                Some(done) = self.work.join_next() => {
                    // A reconcile that panics is caught inside; this one was aborted.
                    let Ok((key, again)) = done else { continue };
                    self.running.remove(&key);
                    if let Some(after) = again {
                        self.want(key, Instant::now() + after);
                    }
                }
                Some(event) = watched.recv() => self.hear(event),
                Some((key, _)) = added.recv() => self.want(key, Instant::now()),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn hear(&mut self, event: WatchEvent) {
        let WatchEvent { key, gone, matter, revision } = event;
        // A watch may tell of the past again, but never that an object is gone which it has shown to be there since.
        let newest = self.newest.entry(key.clone()).or_default();
        let stale = revision < *newest;
        *newest = revision.max(*newest);
        if stale && (gone || !self.known.contains(&key)) {
            return;
        }
        if gone {
            self.known.remove(&key);
            self.matters.remove(&key);
            self.want(key, Instant::now());
            return;
        }
        self.known.insert(key.clone());
        if self.matters.insert(key.clone(), matter.clone()) != Some(matter) {
            self.want(key, Instant::now());
        }
    }

    fn want(&mut self, key: Key, at: Instant) {
        self.due.entry(key).and_modify(|due| *due = at.min(*due)).or_insert(at);
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let ready = |key: &Key, at: &Instant| *at <= now && !self.running.contains(key);
        let keys: Vec<Key> =
            self.due.iter().filter(|(key, at)| ready(key, at)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.due.remove(&key);
            self.running.insert(key.clone());
            let context = self.context.clone();
            self.work.spawn(async move {
                let again = reconcile(&context, &key).await;
                (key, again)
            });
        }
    }
}
