//! Governors: the rate at which one identity may be called at one endpoint and project. All Secrets that hold the identity
//! share its governor.
//!
//! Accounts own the governors, and a governor leaves with its last account. When a Secret is rotated, the new identity goes on
//! with the governor of the old one, unless it has one already: a temporary key that is renewed every hour, and that the cloud
//! has slowed down, does not begin at full speed every hour.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use crate::{
    clock::Clock,
    cloud::{Endpoint, Identity, ReadRate},
    controller::api_server::key::Key,
    engine::{
        Mono, Settings,
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

/// How long the name of an identity is kept that no account has: calls that it authorized may still end.
const NAMED_FOR: Duration = Duration::from_mins(5);

/// A governor by the name of one of its identities.
struct Named {
    governor: Weak<Governor>,
    used: Mono,
}

/// All governors of the process.
pub struct Governors {
    clock: Clock,
    settings: Settings,
    delete_rate: f64,
    read_rate: f64,
    by_identity: Mutex<HashMap<Whose, Named>>,
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
        let all = self.all();
        let now = self.clock.mono();
        let ceiling = |lowest| Granted { lowest, slowed: 0 };
        let (mut delete, mut read) = (ceiling(self.delete_rate), ceiling(self.read_rate));
        for governor in &all {
            delete.add(lock(&governor.deletes).rate.in_force(now));
            read.add(governor.reads.rate().in_force(now));
        }
        InForce { identities: all.len(), delete, read }
    }

    /// Returns the governor of an identity. If it has none, it takes over the one of its predecessor, or a new one.
    fn of(
        &self,
        endpoint: &Endpoint,
        project: &str,
        identity: &Identity,
        predecessor: Option<&Arc<Governor>>,
    ) -> Arc<Governor> {
        let now = self.clock.mono();
        let new = || {
            let delete_queue = DeleteQueue::new(self.settings.request_timeout);
            let deletes = Deletes { rate: Rate::new(self.delete_rate, now), delete_queue };
            let reads = Arc::new(ReadRate::new(Rate::new(self.read_rate, now)));
            Arc::new(Governor { reads, deletes: Mutex::new(deletes) })
        };
        let whose = (endpoint.clone(), project.to_owned(), identity.clone());
        let by_identity = &mut *lock(&self.by_identity);
        let known = by_identity.get(&whose).and_then(|named| named.governor.upgrade());
        let governor = known.or_else(|| predecessor.cloned()).unwrap_or_else(new);
        by_identity.insert(whose, Named { governor: Arc::downgrade(&governor), used: now });
        governor
    }

    /// The number of names of identities, and of objects in the queues of their governors.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let queued = self.all().iter().map(|governor| lock(&governor.deletes).delete_queue.entries()).sum();
        (lock(&self.by_identity).len(), queued)
    }

    /// Each governor once, whatever names it has.
    fn all(&self) -> Vec<Arc<Governor>> {
        let mut all: Vec<_> =
            lock(&self.by_identity).values().filter_map(|named| named.governor.upgrade()).collect();
        all.sort_by_key(Arc::as_ptr);
        all.dedup_by(|one, other| Arc::ptr_eq(one, other));
        all
    }

    /// Forgets the names of identities whose governor has left, or that no account has had for a while.
    pub fn sweep(&self, now: Mono) {
        lock(&self.by_identity)
            .retain(|_, named| named.governor.strong_count() > 0 && now - named.used < NAMED_FOR);
    }
}

/// The governor of one account: that of the identity that its Secret holds.
pub struct Pace {
    governors: Arc<Governors>,
    endpoint: Endpoint,
    project: String,
    present: Mutex<(Identity, Arc<Governor>)>,
    /// Objects of the account that its governor's delete queue may hold.
    queued: Mutex<HashSet<Key>>,
}

impl Pace {
    /// The pace of an account whose Secret holds this identity.
    pub fn new(governors: Arc<Governors>, endpoint: Endpoint, project: String, identity: Identity) -> Self {
        let present = governors.of(&endpoint, &project, &identity, None);
        let (present, queued) = (Mutex::new((identity, present)), Mutex::default());
        Self { governors, endpoint, project, present, queued }
    }

    /// The governor of the identity that the Secret holds now.
    pub fn present(&self, identity: &Identity) -> Arc<Governor> {
        let present = &mut *lock(&self.present);
        if present.0 == *identity {
            return present.1.clone();
        }
        let governor = self.governors.of(&self.endpoint, &self.project, identity, Some(&present.1));
        if !Arc::ptr_eq(&governor, &present.1) {
            // The objects ask again at their next pass. Their old places would hold up others.
            let Deletes { rate, delete_queue } = &mut *lock(&present.1.deletes);
            lock(&self.queued).drain().for_each(|key| delete_queue.forget(&key, rate));
        }
        *present = (identity.clone(), governor.clone());
        governor
    }

    /// The governor of an identity that a credential of the Secret has or had.
    pub fn of(&self, identity: &Identity) -> Arc<Governor> {
        let (held, present) = lock(&self.present).clone();
        if held == *identity {
            return present;
        }
        self.governors.of(&self.endpoint, &self.project, identity, Some(&present))
    }

    /// Keeps the name of the present identity for another while.
    pub fn keep(&self) {
        let (identity, governor) = lock(&self.present).clone();
        let _ = self.governors.of(&self.endpoint, &self.project, &identity, Some(&governor));
    }

    /// Notes that the delete queue may hold an object.
    pub fn queued(&self, key: &Key) {
        lock(&self.queued).insert(key.clone());
    }

    /// Notes that the delete queue holds an object no more.
    pub fn left(&self, key: &Key) {
        lock(&self.queued).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::account::{delete_queue::Want, rate::SlowDown};

    fn place(name: &str) -> Endpoint {
        Endpoint::parse(&format!("https://{name}.example"), false).unwrap()
    }

    fn identity(name: &str) -> Identity {
        Identity::of_secret("fleet", name)
    }

    fn all() -> Arc<Governors> {
        Arc::new(Governors::new(Clock::start(), Settings::default(), (2.0, 10.0)))
    }

    fn pace(governors: &Arc<Governors>, endpoint: &str, project: &str, name: &str) -> Pace {
        Pace::new(governors.clone(), place(endpoint), project.to_owned(), identity(name))
    }

    #[test]
    fn secrets_of_one_identity_share_a_governor_and_places_do_not() {
        let governors = all();
        let pace = |endpoint, project, name| pace(&governors, endpoint, project, name);
        let (one, same) = (pace("one", "p", "a"), pace("one", "p", "a"));
        let first = one.present(&identity("a"));
        assert!(Arc::ptr_eq(&first, &same.present(&identity("a"))));
        let others = [pace("one", "p", "b"), pace("one", "q", "a"), pace("two", "p", "a")];
        for (other, name) in others.iter().zip(["b", "a", "a"]) {
            assert!(!Arc::ptr_eq(&first, &other.present(&identity(name))));
        }
        assert_eq!(lock(&first.deletes).rate.take(9, Clock::start().mono()), 1);
        assert_eq!(first.reads.rate().take(9, Clock::start().mono()), 1, "a budget of its own");
        assert_eq!(governors.in_force().identities, 4);
    }

    #[test]
    fn the_pace_survives_a_rotation() {
        let governors = all();
        let pace = pace(&governors, "one", "p", "secret");
        let slowed = pace.present(&identity("key-0"));
        let now = Clock::start().mono();
        lock(&slowed.deletes).rate.refused(SlowDown::UNEXPLAINED, now);
        let rate = governors.in_force().delete.lowest;
        assert!(rate < 2.0);
        for hour in 1..50 {
            let key = identity(&format!("key-{hour}"));
            // A read may learn of the new key before a delete call does.
            assert!(Arc::ptr_eq(&slowed, &pace.of(&key)));
            assert!(Arc::ptr_eq(&slowed, &pace.present(&key)));
        }
        let in_force = governors.in_force();
        assert_eq!((in_force.identities, in_force.delete.slowed), (1, 1));
        assert!((in_force.delete.lowest - rate).abs() < f64::EPSILON);
        // A key that has a pace keeps it.
        let other = self::pace(&governors, "one", "p", "other");
        assert!(!Arc::ptr_eq(&slowed, &pace.present(&identity("other"))));
        assert!(Arc::ptr_eq(&other.present(&identity("other")), &pace.present(&identity("other"))));
    }

    #[tokio::test(start_paused = true)]
    async fn names_and_governors_leave_with_their_accounts() {
        let governors = all();
        let pace = pace(&governors, "one", "p", "secret");
        for hour in 0..50 {
            let _ = pace.present(&identity(&format!("key-{hour}")));
        }
        tokio::time::advance(NAMED_FOR).await;
        let last = pace.present(&identity("key-49"));
        pace.keep();
        governors.sweep(governors.clock.mono());
        assert_eq!(lock(&governors.by_identity).len(), 1, "the name that it has");
        drop((pace, last));
        governors.sweep(governors.clock.mono());
        assert!(lock(&governors.by_identity).is_empty());
    }

    #[test]
    fn an_object_leaves_the_queue_of_an_identity_that_its_secret_no_longer_holds() {
        let governors = all();
        let (old, new) = (pace(&governors, "one", "p", "old"), pace(&governors, "one", "p", "new"));
        let moved = pace(&governors, "one", "p", "old");
        let key = Key { namespace: "fleet".into(), name: "retire".into() };
        let now = Clock::start().mono();
        let behind = old.present(&identity("old"));
        {
            let Deletes { rate, delete_queue } = &mut *lock(&behind.deletes);
            let want = Want { calls: 1, ready: 0 };
            let _ = delete_queue.ask(&key, want, rate, now);
            moved.queued(&key);
            assert!(delete_queue.goes_on(&key).is_some());
        }
        let _ = (moved.present(&identity("new")), new.present(&identity("new")));
        assert!(lock(&behind.deletes).delete_queue.goes_on(&key).is_none());
    }
}
