//! Suspects: instances whose own read failed lately. Each is read by itself, so that it spoils no list.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::engine::InstanceId;

/// How long an instance is read by itself after its own read failed. Its objects look at it again within `--retry-max`;
/// each further failure begins the time anew.
const SUSPECT_FOR: Duration = Duration::from_hours(1);
/// Bound on the suspects of one reader, for its memory. Where more instances can't be read, lists find the others anew.
const MOST: usize = 1_000;

/// The suspects of one reader, each with the moment at which it is one no longer.
#[derive(Default)]
pub struct Suspects(BTreeMap<InstanceId, Instant>);

impl Suspects {
    /// Notes that the read of this instance alone failed.
    pub fn add(&mut self, id: InstanceId, now: Instant) {
        if self.0.len() >= MOST && !self.0.contains_key(&id) {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() < MOST || self.0.contains_key(&id) {
            self.0.insert(id, now + SUSPECT_FOR);
        }
    }

    /// Notes that this instance was read.
    pub fn clear(&mut self, id: InstanceId) {
        self.0.remove(&id);
    }

    /// Whether an instance is to be read by itself.
    pub fn has(&self, id: InstanceId, now: Instant) -> bool {
        self.0.get(&id).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_is_suspected_until_it_is_read_or_an_hour_is_over_and_no_more_than_a_bound_are() {
        let (mut suspects, now, id) = (Suspects::default(), Instant::now(), InstanceId::from_u128);
        suspects.add(id(1), now);
        suspects.add(id(2), now);
        suspects.clear(id(1));
        assert_eq!([1, 2, 3].map(|n| suspects.has(id(n), now)), [false, true, false]);
        assert!(!suspects.has(id(2), now + SUSPECT_FOR));
        (0..2_000).for_each(|n| suspects.add(id(n), now));
        assert_eq!(suspects.0.len(), MOST);
        suspects.add(id(2_000), now + SUSPECT_FOR);
        assert_eq!(suspects.0.len(), 1, "those that are over make room");
    }
}
