//! Which key is worked on next, with the semantics of client-go's workqueue, as a pure state machine.
//!
//! - A key that is added while it waits is not added twice.
//! - A key is run by one worker at a time. One that is added while it runs waits again as soon as that run is done.
//! - No key is lost: each `add` is followed by a run that starts after it.
//!
//! Keys wait in two FIFO queues. A key whose object has calls to make comes before all others, and one worker is kept free of
//! the others: when ten thousand objects are to be read after a start, or hundreds of instances end at once, an object with
//! calls to make waits for none of them.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use crate::engine::Mono;

/// Keys that run at once. An object of 5,000 ids takes some MB while it is decided upon.
pub const WORKERS: usize = 4;
/// Keys of [`Priority::Rest`] that run at once.
const REST_AT_ONCE: usize = WORKERS - 1;

/// In which of the two queues a key waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Its object makes no calls now.
    Rest,
    /// Its object has calls to make, or the outcome of one to record.
    Calls,
}

impl Priority {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Rest, Self::Calls];

    /// As a label of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Calls => "calls",
        }
    }
}

/// A key that is to be run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started<K> {
    /// The key.
    pub key: K,
    /// The queue that it waited in.
    pub priority: Priority,
    /// When it was first added since its last run started.
    pub added: Mono,
}

/// What was asked for a key by one or more calls of [`WorkQueue::add`].
#[derive(Clone, Copy, Debug)]
struct Request {
    priority: Priority,
    added: Mono,
}

#[derive(Debug)]
struct Running {
    priority: Priority,
    /// The key was added while it runs.
    again: Option<Request>,
}

/// The queue. `K` names an object.
#[derive(Debug)]
pub struct WorkQueue<K> {
    /// Each waiting key once, with its place in the queue of its priority.
    waiting: HashMap<K, (Request, u64)>,
    calls: BTreeMap<u64, K>,
    rest: BTreeMap<u64, K>,
    /// The last place given.
    last: u64,
    running: HashMap<K, Running>,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            calls: BTreeMap::new(),
            rest: BTreeMap::new(),
            last: 0,
            running: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// Has a key run soon. A key that waits already keeps its place, unless it has calls to make now and had none before: then
    /// it goes to the end of the queue of those. `since` is when it was asked for.
    pub fn add(&mut self, key: &K, priority: Priority, since: Mono) {
        let request = Request { priority, added: since };
        if let Some(running) = self.running.get_mut(key) {
            let again = running.again.get_or_insert(request);
            again.priority = again.priority.max(priority);
            return;
        }
        match self.waiting.get(key) {
            None => self.enqueue(key.clone(), request),
            Some(&(before, place)) if before.priority < priority => {
                self.queue(before.priority).remove(&place);
                self.enqueue(key.clone(), Request { priority, ..before });
            }
            Some(_) => {}
        }
    }

    /// Takes the next key to run, if a worker is free for it. The caller calls [`done`](Self::done) when its pass has ended.
    pub fn start(&mut self) -> Option<Started<K>> {
        if self.running.len() >= WORKERS {
            return None;
        }
        let rest = self.running.values().filter(|running| running.priority == Priority::Rest).count();
        let first = self.calls.pop_first();
        let (_, key) = first.or_else(|| if rest < REST_AT_ONCE { self.rest.pop_first() } else { None })?;
        let (Request { priority, added }, _) = self.waiting.remove(&key)?;
        self.running.insert(key.clone(), Running { priority, again: None });
        Some(Started { key, priority, added })
    }

    /// Notes that the run of a key is over. Returns whether the key waits again, because it was added meanwhile.
    pub fn done(&mut self, key: &K) -> bool {
        let again = self.running.remove(key).and_then(|running| running.again);
        if let Some(request) = again {
            self.enqueue(key.clone(), request);
        }
        again.is_some()
    }

    /// How many keys wait in this queue. A key that was added while it runs does not count.
    #[must_use]
    pub fn depth(&self, priority: Priority) -> usize {
        match priority {
            Priority::Rest => self.rest.len(),
            Priority::Calls => self.calls.len(),
        }
    }

    fn enqueue(&mut self, key: K, request: Request) {
        self.last += 1;
        let place = self.last;
        self.queue(request.priority).insert(place, key.clone());
        self.waiting.insert(key, (request, place));
    }

    fn queue(&mut self, priority: Priority) -> &mut BTreeMap<u64, K> {
        match priority {
            Priority::Rest => &mut self.rest,
            Priority::Calls => &mut self.calls,
        }
    }
}

#[cfg(test)]
mod tests;
