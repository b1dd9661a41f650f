//! The first step of a decision: this process takes note of a live read of the object.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use super::{
    facts::{Facts, RowFacts},
    last_call::{self, CallFacts},
    look_first::{Verdict, verdict},
};
use crate::{
    api::{BatchStatus, CallKind, InstanceDeletionStatus},
    engine::{
        account::{
            call_history::{CallHistory, Ended},
            outage::Evidence,
        },
        by_kind::ByKind,
        id::InstanceId,
        object::state::{
            guards::Guards,
            ledger::{Ledger, Progress},
            memory::Memory,
            spec::DeletionSpec,
        },
        outcome::Effect,
        settings::{INTENT_LIFE, Settings},
        state::{Live, Seen},
        time::{Mono, Now, ReadTime},
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
    /// The guards, if this pass has read them.
    pub guards: Option<&'a Arc<Guards>>,
    /// The calls that the account has had accepted.
    pub evidence: ByKind<Evidence>,
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
    memory.keep_observations_of(&spec.ids, now.mono);
    memory.judge_by(read.guards, spec, now.mono);
    observe_spec(spec, memory, now.mono);
    learn_calls(read, memory, call_history);
    memory.forget_calls(ledger);
    forget_unreadable(ledger, memory);
    let calls = last_call::gather(ledger, memory, call_history, &spec.meta.namespace);
    count_not_found(&calls, memory);
    observe_bisection(CallKind::Delete, read, &calls, memory);
    observe_bisection(CallKind::PowerOff, read, &calls, memory);
    calls
}

/// Notes which deadlines have passed, and whether the machine slept.
fn observe_clocks(read: &LiveRead<'_>, memory: &mut Memory) {
    let LiveRead { spec, status, now, cloud_time, .. } = *read;
    if memory.deadlines.observe(spec, status, now, cloud_time) {
        // Looks made before the deadline do not count as the last look at what is left.
        memory.gate = now.mono;
        memory.refusals = ByKind::default();
    }
    if memory.machine_slept(now) {
        // The monotonic clock stood still: a look that seems fresh may be hours old.
        memory.gate = now.mono;
    }
}

/// Takes ids to which calls of this kind are sent no more out of the bisection of that kind, and those that cannot be sent for
/// a while.
fn observe_bisection(kind: CallKind, read: &LiveRead<'_>, calls: &[CallFacts], memory: &mut Memory) {
    let LiveRead { spec, ledger, evidence, now, settings, .. } = *read;
    let evidence = *evidence.of(kind);
    if !memory.refusals.of(kind).bisection.active() {
        return;
    }
    let facts = Facts { spec, memory, calls, bar: None, now, settings };
    let open = facts.open_rows(ledger);
    let open = open.filter(|row| is_searched(kind, row)).map(|row| row.row.id).collect();
    let unsendable = unsendable(kind, ledger, &facts);
    let finding = memory.refusals.of_mut(kind).bisection.observe(&open, evidence);
    memory.found(kind, finding, None, now, settings);
    // While something blocks the whole object, it is not up to an id.
    if memory.look_trouble.is_none() && memory.call_trouble.is_none() {
        let patience = bisection_patience(settings);
        let bisection = &mut memory.refusals.of_mut(kind).bisection;
        let finding = bisection.leave_out(&unsendable, patience, evidence, now.mono);
        memory.found(kind, finding, None, now, settings);
    }
}

/// Whether a call of this kind may still be sent for a row. One that shuts down needs none, and one that is off, or is to be
/// powered off first, is no longer what was refused.
fn is_searched(kind: CallKind, row: &RowFacts<'_>) -> bool {
    let last = row.observation.last.as_ref().map(|(seen, _)| seen);
    let powering_off = matches!(row.row.progress, Progress::PoweringOff { .. });
    let powered_off = matches!(row.row.progress, Progress::PoweredOff { .. });
    match kind {
        _ if last == Some(&Seen::ShuttingDown) => false,
        CallKind::Delete => !powering_off && !powered_off,
        CallKind::PowerOff => powering_off && last != Some(&Seen::Live(Live::Stopped)),
    }
}

/// For how long a bisection waits for an id that cannot be sent. A call of unknown outcome, and the
/// backoff of a small batch, take half of that.
#[must_use]
pub fn bisection_patience(settings: &Settings) -> Duration {
    settings.settle * 2
}

/// The ids that a bisection waits for, and that cannot be sent now.
fn unsendable(kind: CallKind, ledger: &Ledger, facts: &Facts<'_>) -> BTreeSet<InstanceId> {
    let bisection = &facts.memory.refusals.of(kind).bisection;
    let tested = facts.open_rows(ledger).filter(|row| bisection.tests(row.row.id));
    let cannot = tested.filter(|row| match verdict(row, facts) {
        Verdict::Send { .. } | Verdict::Held | Verdict::Spent(_) | Verdict::Ended => false,
        Verdict::Look => row.observation.is_missed(),
        Verdict::Busy => !row.calls.own_in_flight,
        Verdict::Settling { .. }
        | Verdict::Soaking { .. }
        | Verdict::OnItsWay
        | Verdict::Unusable
        | Verdict::Unreadable
        | Verdict::FactsUnknown(_) => true,
    });
    cannot.map(|row| row.row.id).collect()
}

/// Closes the gate for earlier looks while the spec allows no calls and when it changes, and notes
/// since when a plan must look.
fn observe_spec(spec: &DeletionSpec, memory: &mut Memory, now: Mono) {
    // Once a deadline has passed no call is made any more, and the looks after that decide how the
    // rest ends.
    let barred = memory.bar(spec).is_some();
    if spec.suspend || barred {
        memory.suspended_at = Some(now);
    }
    let closed = (barred || !spec.allows_calls()) && memory.deadlines.passed().is_none();
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
        // That a row is powered off says that the call is over.
        let over = matches!(row.progress, Progress::PoweredOff { .. })
            || (!accepted && ledger.had_no_effect(number));
        if over || memory.own(number, ledger).is_some() {
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
        let kind = match row.progress {
            Progress::PoweringOff { .. } => CallKind::PowerOff,
            _ => CallKind::Delete,
        };
        // Its row does not say that a call was accepted which powers it off. The batch does, if no id was left out.
        let returned = |batch: &BatchStatus| batch.returned == Some(batch.size);
        let accepted = accepted || (kind == CallKind::PowerOff && ledger.batch(number).is_some_and(returned));
        let effect = if accepted { Effect::Accepted } else { Effect::Unknown };
        let heard = Ended { at, effect, before: None };
        call_history.heard_call(row.id, namespace, (kind, heard), now, settings);
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
        let last = observation.last.as_ref().map(|(_, read)| *read);
        let unbroken = calls.last_call.missing_since.map(|missing| missing.max(since));
        let counts = |read: &ReadTime| calls.last_end().is_none_or(|ended| read.sent > ended);
        let counted = unbroken
            .and_then(|since| Some(since).filter(counts).or(last.filter(counts)))
            .filter(|since| last.is_some_and(|last| since.sent <= last.sent));
        observation.correct_not_found(counted);
    }
}
