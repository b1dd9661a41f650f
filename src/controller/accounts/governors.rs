//! Governors: the rate at which one identity may be called at one endpoint and project. All Secrets that hold the identity
//! share its governor.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{
    clock::Clock,
    cloud::{Endpoint, Identity, ReadRate},
    controller::api_server::key::Key,
    engine::{
        Settings,
        account::{delete_queue::DeleteQueue, rate::Rate},
    },
    lock::lock,
};

/// The governor of one endpoint, project and identity. Deletes and reads have separate budgets.
pub struct Governor {
    /// The budget for reads.
    pub reads: Arc<ReadRate>,
    /// The budget for deletes.
    pub deletes: Mutex<Deletes>,
}

/// A summary of all governors at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InForce {
    /// Number of governors.
    pub identities: usize,
    /// Delete calls.
    pub delete: Granted,
    /// Reads.
    pub read: Granted,
}

/// The rates that governors grant to one kind of call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Granted {
    /// The lowest rate, in calls per second. Without a governor: the ceiling.
    pub lowest: f64,
    /// Number of governors whose rate is below the ceiling.
    pub slowed: usize,
}

impl Granted {
    fn add(&mut self, (rate, slowed): (f64, bool)) {
        self.lowest = self.lowest.min(rate);
        self.slowed += usize::from(slowed);
    }
}

/// The budget for deletes, and the queue of objects that wait for it.
pub struct Deletes {
    /// The rate.
    pub rate: Rate,
    /// The objects that wait for a call, by key.
    pub delete_queue: DeleteQueue<Key>,
}

type Whose = (Endpoint, String, Identity);

/// All governors of the process.
pub struct Governors {
    clock: Clock,
    settings: Settings,
    delete_rate: f64,
    read_rate: f64,
    by_identity: Mutex<HashMap<Whose, Arc<Governor>>>,
}

impl Governors {
    /// Creates an empty set. Each governor gets these ceilings, in calls per second.
    #[must_use]
    pub fn new(clock: Clock, settings: Settings, (delete_rate, read_rate): (f64, f64)) -> Self {
        Self { clock, settings, delete_rate, read_rate, by_identity: Mutex::default() }
    }

    /// Summarizes all governors. Locks each for a moment and changes none.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        let all: Vec<_> = lock(&self.by_identity).values().cloned().collect();
        let now = self.clock.mono();
        let ceiling = |lowest| Granted { lowest, slowed: 0 };
        let (mut delete, mut read) = (ceiling(self.delete_rate), ceiling(self.read_rate));
        for governor in &all {
            delete.add(lock(&governor.deletes).rate.in_force(now));
            read.add(governor.reads.rate().in_force(now));
        }
        InForce { identities: all.len(), delete, read }
    }

    /// Returns the governor of an identity; creates it if there is none.
    #[must_use]
    pub fn of(&self, endpoint: &Endpoint, project: &str, identity: &Identity) -> Arc<Governor> {
        let whose = (endpoint.clone(), project.to_owned(), identity.clone());
        let new = || {
            let now = self.clock.mono();
            let delete_queue = DeleteQueue::new(self.settings.request_timeout);
            let deletes = Deletes { rate: Rate::new(self.delete_rate, now), delete_queue };
            let reads = Arc::new(ReadRate::new(Rate::new(self.read_rate, now)));
            Arc::new(Governor { reads, deletes: Mutex::new(deletes) })
        };
        lock(&self.by_identity).entry(whose).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_one_identity_share_a_governor_and_places_do_not() {
        let one = Endpoint::parse("https://one.example", false).unwrap();
        let two = Endpoint::parse("https://two.example", false).unwrap();
        let governors = Governors::new(Clock::start(), Settings::default(), (2.0, 10.0));
        let secret = |name| Identity::of_secret("fleet", name);
        let first = governors.of(&one, "p", &secret("a"));
        assert!(Arc::ptr_eq(&first, &governors.of(&one, "p", &secret("a"))));
        let others = [
            governors.of(&one, "p", &secret("b")),
            governors.of(&one, "q", &secret("a")),
            governors.of(&two, "p", &secret("a")),
        ];
        assert!(others.iter().all(|other| !Arc::ptr_eq(&first, other)));
        assert_eq!(lock(&first.deletes).rate.take(9, Clock::start().mono()), 1);
        assert_eq!(first.reads.rate().take(9, Clock::start().mono()), 1, "a budget of its own");
    }
}
