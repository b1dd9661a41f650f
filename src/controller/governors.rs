//! The governors: how fast an identity is called at one endpoint and project, whatever Secrets hold it (design §3,
//! *Governor*).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{accounts::lock, api_server::Key};
use crate::{
    clock::Clock,
    cloud::{Endpoint, Identity, ReadPace},
    engine::{
        Settings,
        account::{pace::Pace, permits::Permits},
    },
};

/// The governor of one endpoint, project and identity. Deletes and reads have a budget each.
pub struct Governor {
    /// For reads.
    pub reads: Arc<ReadPace>,
    /// For deletes.
    pub deletes: Mutex<Deletes>,
}

/// The budget for deletes, and whose turn it is.
pub struct Deletes {
    /// How fast.
    pub pace: Pace,
    /// Who.
    pub permits: Permits<Key>,
}

type Whose = (Endpoint, String, Identity);

/// All of them.
pub struct Governors {
    clock: Clock,
    settings: Settings,
    delete_rate: f64,
    read_rate: f64,
    by_identity: Mutex<HashMap<Whose, Arc<Governor>>>,
}

impl Governors {
    /// None yet; each with these ceilings, in calls per second.
    #[must_use]
    pub fn new(clock: Clock, settings: Settings, (delete_rate, read_rate): (f64, f64)) -> Self {
        Self { clock, settings, delete_rate, read_rate, by_identity: Mutex::default() }
    }

    /// The governor of an identity.
    #[must_use]
    pub fn of(&self, endpoint: &Endpoint, project: &str, identity: &Identity) -> Arc<Governor> {
        let whose = (endpoint.clone(), project.to_owned(), identity.clone());
        let new = || {
            let now = self.clock.mono();
            let permits = Permits::new(self.settings.request_timeout);
            let deletes = Deletes { pace: Pace::new(self.delete_rate, now), permits };
            let reads = Arc::new(ReadPace::new(Pace::new(self.read_rate, now)));
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
        assert_eq!(lock(&first.deletes).pace.take(9, Clock::start().mono()), 1);
        assert_eq!(first.reads.pace().take(9, Clock::start().mono()), 1, "a budget of its own");
    }
}
