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

/// A resourceVersion, which is a number that grows (Kubernetes API concepts, *Resource versions*). None of a server that counts
/// in another way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision(Option<u64>);

impl Revision {
    /// Reads one.
    #[must_use]
    pub fn parse(resource_version: &str) -> Self {
        Self(resource_version.parse().ok())
    }

    /// Whether this was read of a server that held older data than when the other was read.
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
    /// The newest that was read of it; a finished object, of which nothing else is kept, knows it too.
    pub revision: Revision,
    /// None before its spec was first read.
    pub memory: Option<Memory>,
    /// Reads and writes at the API server that failed in a row.
    pub failures: u32,
    /// Where it called last, to give up its turn when it is gone.
    pub account: Option<Arc<Account>>,
    /// When it first asked for its turn to call, if it waits for it.
    pub turn_asked: Option<Mono>,
    /// It is counted among all objects as long as this is here.
    pub counted: Option<Counted>,
    /// The object is gone: what its calls come to from now on is told elsewhere.
    pub gone: bool,
}

impl Tracked {
    /// Whether a call is in flight, or an outcome is in no acknowledged write.
    pub fn busy(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.calls_in_flight() || memory.unrecorded())
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

/// All objects.
#[derive(Default)]
pub struct Objects {
    by_key: Mutex<HashMap<Key, Arc<Mutex<Tracked>>>>,
}

impl Objects {
    /// What is known of the object with this key; something empty if nothing is.
    pub fn get(&self, key: &Key) -> Arc<Mutex<Tracked>> {
        lock(&self.by_key).entry(key.clone()).or_default().clone()
    }

    /// What is known of the object, if anything.
    pub fn find(&self, key: &Key) -> Option<Arc<Mutex<Tracked>>> {
        lock(&self.by_key).get(key).cloned()
    }

    /// All that anything is known of.
    pub fn keys(&self) -> Vec<Key> {
        lock(&self.by_key).keys().cloned().collect()
    }

    /// Forgets an object that is gone. What its calls came to, if no write holds it, is returned to be told elsewhere.
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

    /// Forgets an object that is left to another process, unless a call is in flight or an outcome that no write holds.
    /// Returns whether nothing of it is left.
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

    /// Keys of objects with a call in flight or an outcome that no write holds.
    pub fn unfinished(&self) -> Vec<Key> {
        let all: Vec<_> = lock(&self.by_key).iter().map(|(k, t)| (k.clone(), t.clone())).collect();
        all.into_iter().filter(|(_, tracked)| lock(tracked).busy()).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
