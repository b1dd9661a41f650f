//! The first step of a decision: this process takes note of a live read of the object.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use super::{
    facts::Facts,
    last_call::{self, CallFacts},
    look_first::{Verdict, verdict},
};
use crate::{
    api::InstanceDeletionStatus,
    engine::{
        account::{
            call_history::{CallHistory, Ended},
            outage::Evidence,
        },
        id::InstanceId,
        object::state::{
            ledger::{Ledger, Progress},
            memory::Memory,
            spec::DeletionSpec,
        },
        outcome::Effect,
        settings::{INTENT_LIFE, Settings},
        state::Seen,
        time::{Mono, Now},
    },
};

/// A live read of an object.
#[derive(Clone, Copy, Debug)]
pub struct LiveRead<'a> {
    /// The spec.
    pub spec: &'a DeletionSpec,
    /// The status.
    pub status: &'a InstanceDeletionStatus,
    /// The record in that status.
    pub ledger: &'a Ledger,
    /// The calls that the account has had accepted.
    pub evidence: Evidence,
    /// The moment of the read.
    pub now: &'a Now,
    /// The time that the cloud told lately, if it did.
    pub cloud_time: Option<Timestamp>,
    /// Flags of the process.
    pub settings: &'a Settings,
}

/// Takes note of a live read in what this process knows of the object, and of the calls at its
/// endpoint and project. Returns the calls that name each row, for the rules that follow.
pub fn observe(read: &LiveRead<'_>, memory: &mut Memory, call_history: &mut CallHistory) -> Vec<CallFacts> {
    let LiveRead { spec, ledger, now, .. } = *read;
    observe_clocks(read, memory);
    observe_spec(spec, memory, now.mono);
    learn_calls(read, memory, call_history);
    memory.forget_calls(ledger);
    forget_unreadable(ledger, memory);
    let calls = last_call::gather(ledger, memory, call_history, &spec.meta.namespace);
    count_not_found(&calls, memory);
    observe_bisection(read, &calls, memory);
    calls
}

/// Notes which deadlines have passed, and whether the machine slept.
fn observe_clocks(read: &LiveRead<'_>, memory: &mut Memory) {
    let LiveRead { spec, status, now, cloud_time, .. } = *read;
    if memory.deadlines.observe(spec, status, now, cloud_time) {
        // Looks made before the deadline do not count as the last look at what is left.
        memory.gate = now.mono;
        memory.refused.clear();
        memory.bisection.stop();
    }
    if memory.machine_slept(now) {
        // The monotonic clock stood still: a look that seems fresh may be hours old.
        memory.gate = now.mono;
    }
    if spec.suspend {
        memory.suspended_at = Some(now.mono);
    }
}

/// Takes ids that have ended, or that a look showed shutting down, out of the bisection, and those
/// that cannot be sent for a while.
fn observe_bisection(read: &LiveRead<'_>, calls: &[CallFacts], memory: &mut Memory) {
    let LiveRead { spec, ledger, evidence, now, settings, .. } = *read;
    if !memory.bisection.active() {
        return;
    }
    let facts = Facts { spec, memory, calls, now, settings };
    let open = facts.open_rows(ledger);
    let open = open.filter(|row| !matches!(row.observation.last, Some((Seen::ShuttingDown, _))));
    let open = open.map(|row| row.row.id).collect();
    let unsendable = unsendable(ledger, &facts);
    let finding = memory.bisection.observe(&open, evidence);
    memory.found(finding, None, now, settings);
    // While something blocks the whole object, it is not up to an id.
    if memory.look_trouble.is_none() && memory.call_trouble.is_none() {
        let patience = bisection_patience(settings);
        let finding = memory.bisection.leave_out(&unsendable, patience, evidence, now.mono);
        memory.found(finding, None, now, settings);
    }
}

/// For how long a bisection waits for an id that cannot be sent. A call of unknown outcome, and the
/// backoff of a small batch, take half of that.
#[must_use]
pub fn bisection_patience(settings: &Settings) -> Duration {
    settings.settle * 2
}

/// The ids that a bisection waits for, and that cannot be sent now.
fn unsendable(ledger: &Ledger, facts: &Facts<'_>) -> BTreeSet<InstanceId> {
    let tested = facts.open_rows(ledger).filter(|row| facts.memory.bisection.tests(row.row.id));
    let cannot = tested.filter(|row| match verdict(row, facts) {
        Verdict::Send { .. } | Verdict::Held | Verdict::Spent(_) | Verdict::Ended => false,
        Verdict::Look => row.observation.is_missed(),
        Verdict::Busy => !row.calls.own_in_flight,
        Verdict::Settling { .. } | Verdict::OnItsWay | Verdict::Unusable | Verdict::Unreadable => true,
    });
    cannot.map(|row| row.row.id).collect()
}

/// Closes the gate for earlier looks while the spec allows no calls and when it changes, and notes
/// since when a plan must look.
fn observe_spec(spec: &DeletionSpec, memory: &mut Memory, now: Mono) {
    memory.keep_observations_of(&spec.ids, now);
    // Once a deadline has passed no call is made any more, and the looks after that decide how the
    // rest ends.
    let closed = !spec.allows_calls() && memory.deadlines.passed().is_none();
    if closed || spec.meta.generation != memory.generation {
        memory.gate = now;
    }
    let requested_at = &spec.meta.requested_at;
    if spec.meta.generation != memory.generation || *requested_at != memory.requested_at {
        (memory.generation, memory.requested_at) = (spec.meta.generation, requested_at.clone());
        memory.asked_since = now;
    }
}

/// Tells the call history what the record says of calls that this process did not make. What one
/// object knows, all objects that name these ids know, also after that object is gone.
fn learn_calls(read: &LiveRead<'_>, memory: &mut Memory, call_history: &mut CallHistory) {
    let LiveRead { spec, ledger, settings, .. } = *read;
    let (now, namespace) = (read.now.mono, &spec.meta.namespace);
    for (position, row) in ledger.rows.iter().enumerate().filter(|(_, row)| !row.progress.ended()) {
        let accepted = matches!(row.progress, Progress::Accepted { .. });
        let Some(number) = row.progress.batch() else {
            if accepted && memory.is_first_record(position) {
                call_history.heard_on_its_way(row.id, namespace, now);
            }
            continue;
        };
        if memory.own(number, ledger).is_some() || (!accepted && ledger.had_no_effect(number)) {
            continue;
        }
        let at = memory.foreign_end(number, ledger).unwrap_or_else(|| {
            let stored = ledger.batch(number);
            // A recorded outcome ends the call. Otherwise the call may leave INTENT_LIFE after its
            // intent was written, and take its whole time.
            let over = ledger.had_no_effect(number) || stored.is_some_and(|batch| batch.returned.is_some());
            let end = if over { now } else { now + INTENT_LIFE + settings.request_timeout };
            memory.observe_foreign(number, stored, end);
            end
        });
        let effect = if accepted { Effect::Accepted } else { Effect::Unknown };
        let heard = Ended { at, effect, before: None };
        call_history.heard_call(row.id, namespace, heard, now, settings);
    }
}

/// Forgets unreadable ids that have ended, and so are looked at no more.
fn forget_unreadable(ledger: &Ledger, memory: &mut Memory) {
    if memory.unreadable.is_empty() {
        return;
    }
    let open: HashSet<_> = ledger.rows.iter().filter(|row| !row.progress.ended()).map(|row| row.id).collect();
    memory.unreadable.retain(|id| open.contains(&id));
}

/// Counts each series of not-found reads from its first read after the last call ended. Other
/// objects read the ids too, and other calls name them: a series is as long as the shorter of both
/// views.
fn count_not_found(calls: &[CallFacts], memory: &mut Memory) {
    for (position, calls) in calls.iter().enumerate() {
        let Some(observation) = memory.observations.at_mut(position) else { continue };
        let Some(since) = observation.not_found_since() else { continue };
        let last = observation.last.as_ref().map(|(_, sent)| *sent);
        let unbroken = calls.last_call.missing_since.map(|missing| missing.max(since));
        let counts = |at: &Mono| calls.last_end().is_none_or(|ended| *at > ended);
        let counted = unbroken
            .and_then(|since| Some(since).filter(counts).or(last.filter(counts)))
            .filter(|since| last.is_some_and(|last| *since <= last));
        observation.correct_not_found(counted);
    }
}
