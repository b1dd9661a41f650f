//! The scripted faults: which one a request meets, how often, and who waits at a gate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use crate::{
    faults::{Fault, Stage},
    log::{Operation, TimedOut},
};

/// Holds on to a scripted fault. Dropping the handle does not end the fault.
#[derive(Debug, Clone)]
pub struct FaultHandle(Arc<Active>);

/// How a scripted fault is doing.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// Number of the fault.
    pub id: u64,
    /// Requests it happened to.
    pub times_hit: u64,
    /// Requests that wait at its gate now.
    pub held: u64,
    /// What was scripted.
    pub fault: Fault,
}

#[derive(Debug)]
pub(crate) struct Active {
    id: u64,
    pub(crate) fault: Fault,
    skipped: watch::Sender<u64>,
    hits: watch::Sender<u64>,
    held: watch::Sender<u64>,
    /// A closed semaphore is an open gate.
    gate: Semaphore,
    removed: AtomicBool,
}

/// What faults are matched on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits<'a> {
    pub(crate) operation: Operation,
    pub(crate) project: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    pub(crate) ids: &'a [String],
}

#[derive(Debug, Default)]
pub(crate) struct FaultBook {
    faults: Vec<Arc<Active>>,
    given: u64,
}

impl FaultBook {
    pub(crate) fn add(&mut self, mut fault: Fault) -> FaultHandle {
        self.given += 1;
        if fault.name.is_empty() {
            fault.name = format!("fault-{}", self.given);
        }
        let active = Arc::new(Active {
            id: self.given,
            fault,
            skipped: watch::Sender::new(0),
            hits: watch::Sender::new(0),
            held: watch::Sender::new(0),
            gate: Semaphore::new(0),
            removed: AtomicBool::new(false),
        });
        self.faults.push(Arc::clone(&active));
        FaultHandle(active)
    }

    /// The fault this request meets, which counts it.
    pub(crate) fn meet(&mut self, traits: Traits<'_>) -> Option<Arc<Active>> {
        self.faults.retain(|active| !active.removed.load(Ordering::SeqCst));
        self.faults.iter().find(|active| active.meets(traits)).cloned()
    }

    pub(crate) fn handles(&self) -> Vec<FaultHandle> {
        let kept = self.faults.iter().filter(|active| !active.removed.load(Ordering::SeqCst));
        kept.cloned().map(FaultHandle).collect()
    }

    /// Requests that wait go on.
    pub(crate) fn clear(&mut self) {
        for active in self.faults.drain(..) {
            FaultHandle(active).remove();
        }
    }
}

impl Active {
    fn meets(&self, traits: Traits<'_>) -> bool {
        let Fault { operation, project, token, ids, skip, times, .. } = &self.fault;
        let wanted = operation.is_none_or(|one| one == traits.operation)
            && (project.is_none() || project.as_deref() == traits.project)
            && (token.is_none() || token.as_deref() == traits.token)
            && (ids.is_empty() || ids.iter().any(|id| traits.ids.contains(id)));
        if !wanted || times.is_some_and(|times| *self.hits.borrow() >= times) {
            return false;
        }
        if *self.skipped.borrow() < *skip {
            self.skipped.send_modify(|n| *n += 1);
            return false;
        }
        self.hits.send_modify(|n| *n += 1);
        true
    }

    /// Waits here if the fault delays or holds requests at this stage.
    pub(crate) async fn pass(&self, stage: Stage, delay: Duration) {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.fault.hold != Some(stage) {
            return;
        }
        self.held.send_modify(|n| *n += 1);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        self.held.send_modify(|n| *n -= 1);
    }
}

impl FaultHandle {
    /// Number of the fault, as in the admin interface.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Opens the gate for good: waiting calls go on, and none waits there any more.
    pub fn release(&self) {
        self.0.gate.close();
    }

    /// Lets `n` requests go on, of those that wait or will wait.
    pub fn release_some(&self, n: usize) {
        if !self.0.gate.is_closed() {
            self.0.gate.add_permits(n.min(Semaphore::MAX_PERMITS >> 1));
        }
    }

    /// Ends the fault; requests that wait go on.
    pub fn remove(&self) {
        self.0.removed.store(true, Ordering::SeqCst);
        self.release();
    }

    /// Requests it happened to. A request counts when it arrives, before any delay.
    #[must_use]
    pub fn times_hit(&self) -> u64 {
        *self.0.hits.borrow()
    }

    /// Requests that wait at the gate now.
    #[must_use]
    pub fn held(&self) -> u64 {
        *self.0.held.borrow()
    }

    /// Waits until it has happened to `n` requests.
    pub async fn wait_hit(&self, n: u64, timeout: Duration) -> Result<(), TimedOut> {
        at_least(&self.0.hits, n, timeout, "hits").await
    }

    /// Waits until `n` requests wait at the gate.
    pub async fn wait_held(&self, n: u64, timeout: Duration) -> Result<(), TimedOut> {
        at_least(&self.0.held, n, timeout, "held requests").await
    }

    /// How it is doing.
    #[must_use]
    pub fn report(&self) -> FaultReport {
        FaultReport {
            id: self.id(),
            times_hit: self.times_hit(),
            held: self.held(),
            fault: self.0.fault.clone(),
        }
    }
}

async fn at_least(count: &watch::Sender<u64>, n: u64, timeout: Duration, what: &str) -> Result<(), TimedOut> {
    let mut changes = count.subscribe();
    let reached = tokio::time::timeout(timeout, changes.wait_for(|count| *count >= n)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        _ => Err(TimedOut { what: format!("{n} {what}, there are {}", *count.borrow()), waited: timeout }),
    }
}
