//! Runs the work queue: takes keys in, starts a pass for each as soon as a worker is free, and keeps what a pass asks for.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
};
use tracing::error;

use super::{
    delays::Delays,
    metrics::QueueMetrics,
    work_queue::{Priority, Started, WorkQueue},
};
use crate::{clock::Clock, engine::Mono};

/// After a pass that ended without a result.
const AFTER_PANIC: Duration = Duration::from_mins(1);

/// What is done with the keys of the queue.
pub trait Work<K> {
    /// From when on the object has calls to make; none if it waits for something else. Asked whenever the key is added.
    fn calls_from(&self, key: &K) -> Option<Mono>;

    /// One pass over the object. Returns after which time the key is to be added again; `None` waits for a change.
    fn pass(&self, key: K) -> impl Future<Output = Option<Duration>> + Send + 'static;
}

/// See the module. `K` names an object.
pub struct Dispatcher<K> {
    added: mpsc::UnboundedReceiver<(K, Mono)>,
    queue: WorkQueue<K>,
    delays: Delays<K>,
    /// At most [`WORKERS`](super::work_queue::WORKERS), each a task: a pass holds up no other, and not this loop.
    passes: JoinSet<Option<Duration>>,
    running: HashMap<Id, K>,
    clock: Clock,
    metrics: QueueMetrics,
}

impl<K: Clone + Eq + Hash + std::fmt::Debug> Dispatcher<K> {
    /// Takes keys from `added`, each with the moment at which it was sent. Nothing happens before [`run`](Self::run).
    #[must_use]
    pub fn new(added: mpsc::UnboundedReceiver<(K, Mono)>, clock: Clock, metrics: QueueMetrics) -> Self {
        let (queue, delays) = (WorkQueue::default(), Delays::new());
        Self { added, queue, delays, passes: JoinSet::new(), running: HashMap::new(), clock, metrics }
    }

    /// Works until every sender of keys is dropped and no key waits or runs.
    pub async fn run(&mut self, work: &impl Work<K>) {
        loop {
            self.start_passes(work);
            for priority in Priority::ALL {
                self.metrics.depth(priority, self.queue.depth(priority));
            }
            tokio::select! {
                Some((key, sent)) = self.added.recv() => self.add(&key, sent, work),
                Some(key) = self.delays.next() => self.add(&key, self.clock.mono(), work),
                Some(ended) = self.passes.join_next_with_id() => self.ended(ended, work),
                else => return,
            }
        }
    }

    /// Aborts the passes that still run, and returns when none runs any more.
    pub async fn stop(mut self) {
        self.passes.shutdown().await;
    }

    fn start_passes(&mut self, work: &impl Work<K>) {
        while let Some(Started { key, priority, added }) = self.queue.start() {
            self.metrics.started(priority, self.clock.mono() - added);
            // The pass itself says when the next one is due.
            self.delays.replace(&key, None);
            let pass = self.passes.spawn(work.pass(key.clone()));
            self.running.insert(pass.id(), key);
        }
    }

    /// Adds a key that was asked for at `since`.
    fn add(&mut self, key: &K, since: Mono, work: &impl Work<K>) {
        let now = self.clock.mono();
        let calls = work.calls_from(key);
        let priority =
            if calls.is_some_and(|moment| moment <= now) { Priority::Calls } else { Priority::Rest };
        self.queue.add(key, priority, since);
        // A key that still waits then is added once more, and moves up.
        if let Some(moment) = calls.filter(|moment| *moment > now) {
            self.delays.no_later_than(key, self.clock.instant(moment));
        }
    }

    fn ended(&mut self, ended: Result<(Id, Option<Duration>), JoinError>, work: &impl Work<K>) {
        let (id, again) = match ended {
            Ok((id, again)) => (id, Ok(again)),
            Err(failed) => (failed.id(), Err(failed)),
        };
        let Some(key) = self.running.remove(&id) else { return };
        let again = again.unwrap_or_else(|failed| {
            error!(?key, error = %failed, "a pass ended without a result; retrying in {} s", AFTER_PANIC.as_secs());
            Some(AFTER_PANIC)
        });
        let later = again.filter(|after| !after.is_zero());
        self.delays.replace(&key, later.map(|after| self.clock.instant(self.clock.mono() + after)));
        // At once means behind all that wait: the pass gave its worker to the next in line.
        if self.queue.done(&key) || again == Some(Duration::ZERO) {
            self.add(&key, self.clock.mono(), work);
        }
    }
}

#[cfg(test)]
mod tests;
