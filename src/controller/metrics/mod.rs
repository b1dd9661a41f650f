//! Metrics of reconciles, waves and watches, and gauges of objects. The client of the API server, the
//! accounts and the work queue have metrics of their own.

mod object_gauges;
pub mod sizes;

use std::time::Duration;

use self::object_gauges::failed;
pub use self::object_gauges::{Counted, ObjectGauges, ObjectRow, Soak};
use crate::{
    api::{FailureReason, InstanceDeletionStatus, InstancePhase, Phase},
    engine::{Mono, account::delete_queue::PermitAnswer, object::report::status::is_finished},
    metrics::{Counter, Counters, Histogram, Registry, Unit, counters, observe, quick, slow},
};

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// Nothing to do until someone edits the object.
    Settled,
    /// The object waits for a moment, a call or a look.
    Waiting,
    /// The object has more to do, and other objects come first.
    Again,
    /// The API server failed.
    Failed,
    /// It panicked.
    Panicked,
}

impl Reconciled {
    const ALL: [Self; 5] = [Self::Settled, Self::Waiting, Self::Again, Self::Failed, Self::Panicked];

    fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Waiting => "waiting",
            Self::Again => "again",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
        }
    }
}

/// What came of a wave of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveResult {
    /// Its intent was stored, and its calls were started.
    Sent,
    /// Another call names one of its ids, or a silent cloud allows no further call.
    Taken,
    /// No credentials could be read.
    NoCredential,
    /// The object changed after it was read.
    Conflict,
    /// The API server did not store its intent.
    NotStored,
}

impl WaveResult {
    const ALL: [Self; 5] = [Self::Sent, Self::Taken, Self::NoCredential, Self::Conflict, Self::NotStored];

    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Taken => "taken",
            Self::NoCredential => "no_credential",
            Self::Conflict => "conflict",
            Self::NotStored => "not_stored",
        }
    }
}

const ANSWERS: [&str; 4] = ["now", "soon", "later", "closed"];

fn answer(turn: &PermitAnswer) -> &'static str {
    match turn {
        PermitAnswer::Now(_) => "now",
        PermitAnswer::Soon { .. } => "soon",
        PermitAnswer::Later(_) => "later",
        PermitAnswer::Closed(_) => "closed",
    }
}

/// Counters of reconciles, waves, permits and watches.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    reconciles: Counters<1>,
    reconcile_took: Histogram,
    waves: Counters<1>,
    turns: Counters<1>,
    delete_wait: Histogram,
    finished: Counters<1>,
    given_up: Counters<1>,
    left_off: Counter,
    watch_restarts: Counter,
    watch_failures: Counter,
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        let ends = Phase::ALL.into_iter().filter(|phase| phase.is_end());
        Self {
            reconciles: counters(Reconciled::ALL.map(|result| [("result", result.name())])),
            reconcile_took: quick(),
            waves: counters(WaveResult::ALL.map(|result| [("result", result.name())])),
            turns: counters(ANSWERS.map(|answer| [("answer", answer)])),
            delete_wait: slow(),
            finished: counters(ends.map(|phase| [("phase", phase.as_str())])),
            given_up: counters(FailureReason::ALL.map(|reason| [("reason", reason.as_str())])),
            left_off: Counter::default(),
            watch_restarts: Counter::default(),
            watch_failures: Counter::default(),
        }
    }
}

impl ControllerMetrics {
    /// Registers them without a further prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("reconciles", "Reconciles by how they ended", self.reconciles.clone());
        let took = "How long reconciles took";
        registry.register_with_unit("reconcile_duration", took, Unit::Seconds, self.reconcile_took.clone());
        registry.register("waves", "Waves of calls by what came of them", self.waves.clone());
        let turns = "Answers to objects that asked for their turn to call";
        registry.register("turns", turns, self.turns.clone());
        let wait = "How long objects waited for their turn to call, from when they first asked";
        registry.register_with_unit("cloud_delete_wait", wait, Unit::Seconds, self.delete_wait.clone());
        let finished = "Objects that this process brought to their end, by phase";
        registry.register("objects_finished", finished, self.finished.clone());
        let given_up = "Instances that this process gave up, by why";
        registry.register("instances_given_up", given_up, self.given_up.clone());
        let left_off =
            "Instances that were powered off, and off when this process brought their object to its end";
        registry.register("instances_left_off", left_off, self.left_off.clone());
        let restarts = "Watches that listed anew after their first list";
        registry.register("watch_restarts", restarts, self.watch_restarts.clone());
        registry.register("watch_failures", "Errors of watches", self.watch_failures.clone());
    }

    /// Counts a reconcile.
    pub fn reconciled(&self, result: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&[("result", result.name())]).inc();
        observe(&self.reconcile_took, took);
    }

    /// Counts a wave.
    pub fn waved(&self, result: WaveResult) {
        self.waves.get_or_create(&[("result", result.name())]).inc();
    }

    /// Counts the answer of a delete queue. `since` is when the object first asked; a permit clears it and enters the wait.
    pub fn asked(&self, since: &mut Option<Mono>, said: &PermitAnswer, now: Mono) {
        self.turns.get_or_create(&[("answer", answer(said))]).inc();
        match said {
            PermitAnswer::Now(_) => observe(&self.delete_wait, now - since.take().unwrap_or(now)),
            PermitAnswer::Soon { .. } | PermitAnswer::Later(_) | PermitAnswer::Closed(_) => {
                since.get_or_insert(now);
            }
        }
    }

    /// Counts the end of an object, if this stored status is its first with an end, and the instances that it newly gives up.
    pub fn stored(&self, before: &InstanceDeletionStatus, status: &InstanceDeletionStatus) {
        for reason in FailureReason::ALL {
            let new = failed(status, reason).saturating_sub(failed(before, reason));
            if let Some(counter) = self.given_up.get(&[("reason", reason.as_str())]) {
                counter.inc_by(new.into());
            }
        }
        if is_finished(status) && !is_finished(before) {
            self.left_off.inc_by(left_off(status));
            let label = status.phase.map(|phase| [("phase", phase.as_str())]);
            if let Some(counter) = label.and_then(|label| self.finished.get(&label)) {
                counter.inc();
            }
        }
    }

    /// Counts a watch that listed again.
    pub fn watch_restarted(&self) {
        self.watch_restarts.inc();
    }

    /// Counts an error of a watch.
    pub fn watch_failed(&self) {
        self.watch_failures.inc();
    }
}

/// Number of instances that were off when they were given up.
fn left_off(status: &InstanceDeletionStatus) -> u64 {
    let given_up = status.instances.iter().filter(|row| row.phase == InstancePhase::Failed);
    u64::try_from(given_up.filter(|row| row.powered_off_at.is_some()).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
