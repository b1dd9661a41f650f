//! Keys that are to be worked on later, as client-go's `AddAfter`: at most one moment for each key.

use std::{collections::HashMap, hash::Hash, time::Duration};

use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

/// Longest delay. A pass a day does no harm, and [`DelayQueue`] panics if it is asked for more than two years.
const LONGEST: Duration = Duration::from_hours(24);

/// Delayed keys. `K` names an object.
pub struct Delays<K> {
    queue: DelayQueue<K>,
    entries: HashMap<K, delay_queue::Key>,
}

impl<K: Clone + Eq + Hash> Delays<K> {
    /// None yet.
    pub fn new() -> Self {
        Self { queue: DelayQueue::new(), entries: HashMap::new() }
    }

    /// Replaces the moment of a key; none: the key has no moment any more.
    pub fn replace(&mut self, key: &K, at: Option<Instant>) {
        let at = at.map(|at| at.min(Instant::now() + LONGEST));
        match (self.entries.get(key), at) {
            (Some(entry), Some(at)) => self.queue.reset_at(entry, at),
            (None, Some(at)) => {
                self.entries.insert(key.clone(), self.queue.insert_at(key.clone(), at));
            }
            (_, None) => {
                if let Some(entry) = self.entries.remove(key) {
                    self.queue.remove(&entry);
                }
            }
        }
    }

    /// Brings the moment of a key forward to `at`, if it has none or a later one.
    pub fn no_later_than(&mut self, key: &K, at: Instant) {
        let sooner = self.entries.get(key).is_none_or(|entry| at < self.queue.deadline(entry));
        if sooner {
            self.replace(key, Some(at));
        }
    }

    /// Waits for the next key whose moment has come. None at once if no key is delayed.
    pub async fn next(&mut self) -> Option<K> {
        let key = self.queue.next().await?.into_inner();
        self.entries.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_moment() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut delays = Delays::new();
        delays.replace(&"replaced", Some(after(1)));
        delays.replace(&"replaced", Some(after(5)));
        delays.replace(&"cancelled", Some(after(2)));
        delays.replace(&"cancelled", None);
        delays.replace(&"none", None);
        delays.no_later_than(&"sooner", after(9));
        delays.no_later_than(&"sooner", after(3));
        delays.no_later_than(&"sooner", after(4));
        delays.replace(&"past", Some(start));
        delays.replace(&"far", Some(start + Duration::from_hours(100_000)));
        let mut told = Vec::new();
        while let Some(key) = delays.next().await {
            told.push((key, start.elapsed().as_secs()));
        }
        assert_eq!(told, [("past", 0), ("sooner", 3), ("replaced", 5), ("far", 24 * 3600)]);
        delays.no_later_than(&"past", after(24 * 3600 + 1));
        assert_eq!(delays.next().await, Some("past"), "a key that was told may be delayed again");
    }
}
