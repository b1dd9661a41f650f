//! What this process knows of each object, by namespace and name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::unrecorded::UnrecordedOutcome;
use crate::{
    controller::{accounts::Account, api_server::key::Key, metrics::Counted},
    engine::{Mono, object::state::memory::Memory},
    lock::lock,
};

/// A resourceVersion as a number that grows (Kubernetes API concepts, *Resource versions*). It is empty for a server whose
/// versions are no numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision(Option<u64>);

impl Revision {
    /// Parses a resourceVersion.
    #[must_use]
    pub fn parse(resource_version: &str) -> Self {
        Self(resource_version.parse().ok())
    }

    /// Whether the server held older data when this one was read than when the other was.
    #[must_use]
    pub fn is_older_than(self, other: Self) -> bool {
        self.0.zip(other.0).is_some_and(|(this, other)| this < other)
    }
}

/// What this process knows of one object.
#[derive(Default)]
pub struct Tracked {
    /// uid of the object that `memory` is about.
    pub uid: String,
    /// The revision of the last read.
    pub revision: Revision,
    /// What this process has seen of it. `None` before its spec was first read, and after its end.
    pub memory: Option<Memory>,
    /// Reads and writes at the API server that failed in a row, for the backoff.
    pub failures: u32,
    /// The account that it used last. The object leaves the account's queues when it is gone.
    pub account: Option<Arc<Account>>,
    /// Since when it waits for a permit of the delete queue.
    pub turn_asked: Option<Mono>,
    /// A task wakes it when IAM has answered.
    pub token_awaited: bool,
    /// Since when the wall clock says that its `ttlSecondsAfterFinished` is over.
    pub over_since: Option<Mono>,
    /// Its row in the gauges of objects. Dropping it takes the object out.
    pub counted: Option<Counted>,
    /// The last read of the object allows no call. A call that waits for its place in the rate must not leave then.
    pub stopped: bool,
    /// The object is gone. Outcomes of its calls go to the log and to events.
    pub gone: bool,
}

impl Tracked {
    /// Whether a call is in flight, or an outcome is in no acknowledged write.
    pub fn busy(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.calls_in_flight() || memory.unrecorded())
    }

    /// Whether a call that an earlier pass decided may still leave, by the last read of the object. `uid` is that of the object
    /// for which the call was decided.
    pub fn lets_leave(&self, uid: &str) -> bool {
        !self.stopped && !self.gone && self.uid == uid
    }

    /// Outcomes that are in no acknowledged write.
    pub fn unrecorded(&self) -> Vec<UnrecordedOutcome> {
        self.memory.as_ref().map_or_else(Vec::new, |memory| UnrecordedOutcome::all(&self.uid, memory))
    }
}

/// An object with a valid spec, for the work that goes on beside its reconciles.
#[derive(Clone)]
pub struct ObjectHandle {
    /// Namespace and name.
    pub key: Key,
    /// uid: what comes of the work is dropped if the object is another one by then.
    pub uid: String,
    /// What this process knows of it.
    pub tracked: Arc<Mutex<Tracked>>,
    /// The cloud account that it uses.
    pub account: Arc<Account>,
}

/// What this process knows of all objects.
#[derive(Default)]
pub struct Objects {
    by_key: Mutex<HashMap<Key, Arc<Mutex<Tracked>>>>,
}

impl Objects {
    /// Returns what is known of the object. Enters an empty value if nothing is.
    pub fn get(&self, key: &Key) -> Arc<Mutex<Tracked>> {
        lock(&self.by_key).entry(key.clone()).or_default().clone()
    }

    /// Returns what is known of the object, if anything.
    pub fn find(&self, key: &Key) -> Option<Arc<Mutex<Tracked>>> {
        lock(&self.by_key).get(key).cloned()
    }

    /// The keys of all objects that anything is known of.
    pub fn keys(&self) -> Vec<Key> {
        lock(&self.by_key).keys().cloned().collect()
    }

    /// Notes for each object that is worked on that a guard has changed, and returns the keys of those for which it may
    /// matter.
    pub fn guards_changed(&self) -> Vec<Key> {
        let all: Vec<_> = lock(&self.by_key).iter().map(|(k, t)| (k.clone(), t.clone())).collect();
        let note =
            |tracked: &Mutex<Tracked>| lock(tracked).memory.as_mut().is_some_and(Memory::guards_changed);
        let mut keys: Vec<_> =
            all.into_iter().filter(|(_, tracked)| note(tracked)).map(|(key, _)| key).collect();
        // In an order that does not differ from run to run.
        keys.sort();
        keys
    }

    /// The number of objects, and of the entries that are kept of them.
    pub fn sizes(&self) -> (usize, usize) {
        let all: Vec<_> = lock(&self.by_key).values().cloned().collect();
        let entries =
            |tracked: &Arc<Mutex<Tracked>>| lock(tracked).memory.as_ref().map_or(0, Memory::entries);
        (all.len(), all.iter().map(entries).sum())
    }

    /// Forgets an object that is gone. Returns the outcomes of its calls that no acknowledged write holds.
    pub fn forget(&self, key: &Key) -> Vec<UnrecordedOutcome> {
        let removed = lock(&self.by_key).remove(key);
        removed
            .map(|tracked| {
                let mut tracked = lock(&tracked);
                tracked.gone = true;
                tracked.counted = None;
                if let Some(account) = tracked.account.take() {
                    account.leave(key);
                }
                tracked.unrecorded()
            })
            .unwrap_or_default()
    }

    /// Forgets an object that another process works on now, unless it is [busy](Tracked::busy). Returns whether it is
    /// forgotten.
    pub fn forget_idle(&self, key: &Key) -> bool {
        let mut by_key = lock(&self.by_key);
        let Some(tracked) = by_key.get(key).cloned() else { return true };
        let mut tracked = lock(&tracked);
        if tracked.busy() {
            return false;
        }
        by_key.remove(key);
        if let Some(account) = tracked.account.take() {
            account.leave(key);
        }
        true
    }

    /// The keys of all [busy](Tracked::busy) objects.
    pub fn unfinished(&self) -> Vec<Key> {
        let all: Vec<_> = lock(&self.by_key).iter().map(|(k, t)| (k.clone(), t.clone())).collect();
        all.into_iter().filter(|(_, tracked)| lock(tracked).busy()).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s13_a_call_leaves_only_for_the_object_that_it_was_decided_for_and_while_that_allows_calls() {
        let tracked = |stopped, gone| Tracked { uid: "u".to_owned(), stopped, gone, ..Tracked::default() };
        for (stopped, gone, uid, leaves) in [
            (false, false, "u", true),
            (true, false, "u", false),
            (false, true, "u", false),
            (false, false, "another", false),
        ] {
            assert_eq!(tracked(stopped, gone).lets_leave(uid), leaves, "{stopped} {gone} {uid}");
        }
    }

    #[test]
    fn only_a_smaller_number_is_older() {
        let table = [
            ("7", "8", true),
            ("9", "10", true),
            ("8", "8", false),
            ("9", "8", false),
            ("x", "8", false),
            ("8", "", false),
        ];
        for (this, other, older) in table {
            assert_eq!(Revision::parse(this).is_older_than(Revision::parse(other)), older, "{this} {other}");
        }
    }
}
