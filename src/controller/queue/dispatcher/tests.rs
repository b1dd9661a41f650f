use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::*;
use crate::controller::queue::testing::Numbers;

type Key = &'static str;

/// What is scripted for the passes, and what they did.
#[derive(Clone)]
struct Script {
    clock: Clock,
    started: Instant,
    state: Arc<Mutex<State>>,
    /// A pass ends when it takes a permit.
    ends: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// Requeue delays of the coming passes over a key, in milliseconds.
    requeues: HashMap<Key, Vec<u64>>,
    calls_from: HashMap<Key, Mono>,
    panics: Vec<Key>,
    /// Key and start of each pass, in milliseconds since the start.
    passes: Vec<(Key, u128)>,
    running: Vec<Key>,
}

impl Work<Key> for Script {
    fn calls_from(&self, key: &Key) -> Option<Mono> {
        self.state.lock().unwrap().calls_from.get(key).copied()
    }

    fn pass(&self, key: Key) -> impl Future<Output = Option<Duration>> + Send + 'static {
        let script = self.clone();
        async move {
            let panics = {
                let mut state = script.state.lock().unwrap();
                assert!(!state.running.contains(&key), "{key} runs twice at once");
                state.running.push(key);
                state.passes.push((key, script.started.elapsed().as_millis()));
                let panics = state.panics.iter().position(|other| *other == key);
                panics.map(|index| state.panics.remove(index)).is_some()
            };
            script.ends.acquire().await.unwrap().forget();
            let mut state = script.state.lock().unwrap();
            state.running.retain(|other| *other != key);
            if panics {
                drop(state);
                panic!("scripted");
            }
            let requeues = state.requeues.get_mut(&key).filter(|requeues| !requeues.is_empty());
            requeues.map(|requeues| Duration::from_millis(requeues.remove(0)))
        }
    }
}

/// A dispatcher whose passes do as a script says.
struct Stage {
    script: Script,
    add: mpsc::UnboundedSender<(Key, Mono)>,
    dispatcher: Dispatcher<Key>,
    metrics: QueueMetrics,
}

impl Stage {
    fn new() -> Self {
        let (add, added) = mpsc::unbounded_channel();
        let (clock, metrics) = (Clock::start(), QueueMetrics::default());
        let script = Script {
            clock: clock.clone(),
            started: Instant::now(),
            state: Arc::default(),
            ends: Arc::new(Semaphore::new(0)),
        };
        Self { script, add, dispatcher: Dispatcher::new(added, clock, metrics.clone()), metrics }
    }

    /// Passes end as soon as they have begun.
    fn quick(self) -> Self {
        self.script.ends.add_permits(Semaphore::MAX_PERMITS);
        self
    }

    fn add(&self, keys: &[Key]) {
        let now = self.script.clock.mono();
        for key in keys {
            self.add.send((key, now)).unwrap();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.script.state.lock().unwrap()
    }

    fn calls_from(&self, key: Key, after: Duration) {
        let moment = self.script.clock.mono() + after;
        self.state().calls_from.insert(key, moment);
    }

    /// Runs for so long; then which passes began, and when.
    async fn passes(&mut self, time: Duration) -> Vec<(Key, u128)> {
        tokio::select! {
            () = self.dispatcher.run(&self.script) => {}
            () = sleep(time) => {}
        }
        std::mem::take(&mut self.state().passes)
    }

    async fn keys(&mut self, time: Duration) -> Vec<Key> {
        self.passes(time).await.into_iter().map(|(key, _)| key).collect()
    }
}

const SOON: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn a_requeue_replaces_the_one_before_and_a_wake_takes_nothing_away() {
    let mut stage = Stage::new().quick();
    stage.state().requeues.insert("a", vec![5000, 30_000]);
    stage.add(&["a"]);
    assert_eq!(stage.passes(Duration::from_secs(2)).await, [("a", 0)]);
    // Woken before its time: the second pass asks for a later one, and the five seconds are forgotten.
    stage.add(&["a"]);
    assert_eq!(stage.passes(LONG).await, [("a", 2000), ("a", 32_000)]);
    assert_eq!(stage.passes(LONG).await, [], "a pass that asks for nothing waits for a change");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_for_a_worker_keeps_its_requeue() {
    let mut stage = Stage::new();
    stage.state().requeues.insert("a", vec![1000]);
    stage.add(&["a"]);
    stage.script.ends.add_permits(1);
    assert_eq!(stage.keys(SOON).await, ["a"]);
    // Three others take all workers that it may have; its moment comes while it waits, and it runs once.
    stage.add(&["b", "c", "d", "a"]);
    assert_eq!(stage.keys(Duration::from_secs(5)).await, ["b", "c", "d"]);
    stage.script.ends.add_permits(9);
    assert_eq!(stage.keys(LONG).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_due_while_a_key_waits_count() {
    let mut stage = Stage::new();
    stage.calls_from("calls", Duration::from_secs(2));
    stage.add(&["0", "1", "2", "3", "calls"]);
    assert_eq!(stage.keys(Duration::from_secs(1)).await, ["0", "1", "2"]);
    assert_eq!(stage.passes(LONG).await, [("calls", 2000)], "it waits for none that makes no calls");
    let waits = |queue: &WorkQueue<Key>| Priority::ALL.map(|priority| queue.depth(priority));
    assert_eq!(waits(&stage.dispatcher.queue), [1, 0]);
    stage.script.ends.add_permits(9);
    assert_eq!(stage.keys(LONG).await, ["3"]);
}

#[tokio::test(start_paused = true)]
async fn again_at_once_is_behind_all_that_wait() {
    let mut stage = Stage::new();
    stage.state().requeues.insert("a", vec![0]);
    stage.add(&["a", "b", "c", "d", "e"]);
    assert_eq!(stage.keys(SOON).await, ["a", "b", "c"]);
    stage.script.ends.add_permits(9);
    assert_eq!(stage.keys(SOON).await, ["d", "e", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_is_made_again_and_harms_no_other() {
    let mut stage = Stage::new().quick();
    stage.state().panics.push("a");
    stage.add(&["a", "b"]);
    assert_eq!(stage.passes(LONG).await, [("a", 0), ("b", 0), ("a", 60_000)]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_can_add_a_key_and_nothing_waits() {
    let mut stage = Stage::new().quick();
    stage.state().requeues.insert("a", vec![7000]);
    stage.add(&["a"]);
    drop(std::mem::replace(&mut stage.add, mpsc::unbounded_channel().0));
    stage.dispatcher.run(&stage.script).await;
    assert_eq!(stage.state().passes, [("a", 0), ("a", 7000)]);
}

#[tokio::test(start_paused = true)]
async fn no_pass_runs_after_it_has_stopped() {
    let mut stage = Stage::new();
    stage.add(&["a", "b"]);
    assert_eq!(stage.keys(SOON).await, ["a", "b"]);
    let ends = stage.script.ends.clone();
    stage.dispatcher.stop().await;
    // Each pass holds the script.
    assert_eq!(Arc::strong_count(&ends), 2);
}

#[tokio::test(start_paused = true)]
async fn waits_are_measured_until_the_pass_begins() {
    use crate::metrics::testing::{sample, scraped};

    let mut stage = Stage::new();
    stage.add(&["0", "1", "2", "3"]);
    stage.keys(Duration::from_secs(3)).await;
    let scrape = scraped(|registry| stage.metrics.register(registry));
    assert!((sample(&scrape, r#"workqueue_depth{priority="rest"}"#) - 1.0).abs() < f64::EPSILON);
    stage.script.ends.add_permits(9);
    stage.keys(SOON).await;
    let scrape = scraped(|registry| stage.metrics.register(registry));
    let of = |name: &str| sample(&scrape, &format!(r#"{name}{{priority="rest"}}"#));
    assert!((of("workqueue_queue_duration_seconds_count") - 4.0).abs() < f64::EPSILON);
    assert!((of("workqueue_queue_duration_seconds_sum") - 3.0).abs() < 0.01, "{scrape}");
    assert!(of("workqueue_depth").abs() < f64::EPSILON);
}

/// Passes that take random times and ask for random requeues.
#[derive(Clone)]
struct Random {
    numbers: Arc<Mutex<Numbers>>,
    clock: Clock,
    /// Passes of each key that are still to come, at least.
    owed: Arc<Mutex<HashMap<Key, usize>>>,
    running: Arc<Mutex<Vec<Key>>>,
    most: Arc<Mutex<usize>>,
}

impl Random {
    fn below(&self, bound: usize) -> usize {
        self.numbers.lock().unwrap().below(bound)
    }

    fn millis(&self, bound: usize) -> Duration {
        Duration::from_millis(self.below(bound) as u64)
    }
}

impl Work<Key> for Random {
    fn calls_from(&self, _: &Key) -> Option<Mono> {
        (self.below(3) == 0).then(|| self.clock.mono() + self.millis(40))
    }

    fn pass(&self, key: Key) -> impl Future<Output = Option<Duration>> + Send + 'static {
        let this = self.clone();
        this.owed.lock().unwrap().remove(&key);
        async move {
            {
                let mut running = this.running.lock().unwrap();
                assert!(!running.contains(&key), "{key} runs twice at once");
                running.push(key);
                let mut most = this.most.lock().unwrap();
                *most = running.len().max(*most);
            }
            sleep(this.millis(30)).await;
            this.running.lock().unwrap().retain(|other| *other != key);
            let again = match this.below(8) {
                0 => Some(Duration::ZERO),
                1 | 2 => Some(this.millis(100)),
                _ => None,
            };
            if again.is_some() {
                *this.owed.lock().unwrap().entry(key).or_default() += 1;
            }
            again
        }
    }
}

/// Whatever is added and requeued in whatever order: no key is lost, none runs twice at once, four run at most.
#[tokio::test(start_paused = true)]
async fn each_add_and_each_requeue_is_followed_by_a_pass() {
    const KEYS: [Key; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut busiest = 0;
    for seed in 1..=200 {
        let (add, added) = mpsc::unbounded_channel();
        let clock = Clock::start();
        let work = Random {
            numbers: Arc::new(Mutex::new(Numbers(seed))),
            clock: clock.clone(),
            owed: Arc::default(),
            running: Arc::default(),
            most: Arc::default(),
        };
        let mut dispatcher = Dispatcher::new(added, clock.clone(), QueueMetrics::default());
        let adds = async {
            for _ in 0..200 {
                let key = KEYS[work.below(KEYS.len())];
                *work.owed.lock().unwrap().entry(key).or_default() += 1;
                add.send((key, clock.mono())).unwrap();
                sleep(work.millis(10)).await;
            }
            drop(add);
        };
        tokio::join!(dispatcher.run(&work), adds);
        assert!(work.owed.lock().unwrap().is_empty(), "seed {seed}: {:?}", work.owed);
        busiest = busiest.max(*work.most.lock().unwrap());
    }
    assert_eq!(busiest, 4);
}
