//! The *look first* rule: an id goes into a delete call only after a fresh read showed its instance
//! alive.
//!
//! A read is fresh if it was sent less than a minute ago, after the object allowed calls, and late
//! enough after the last call that names the id. Deleting bare metal cannot be undone: every doubt
//! means another read.

use std::time::Duration;

use super::{
    check::{Check, check},
    facts::{Facts, RowFacts},
    power_off::{self, Step},
};
use crate::{
    api::{CallKind, FailureReason},
    engine::{
        account::call_history::Ended,
        object::state::ledger::{Progress, Row},
        outcome::Effect,
        settings::{INTENT_LIFE, LOOK_LIFE, PATIENCE, Settings},
        state::{Live, Seen},
        time::{Mono, ReadTime},
    },
};

/// A look must be younger than this when a wave is decided, so that it is still younger than
/// [`LOOK_LIFE`] when the last call of the wave leaves.
pub const LOOK_LIFE_AT_DECISION: Duration = Duration::from_secs(50);
const _: () = assert!(LOOK_LIFE_AT_DECISION.as_secs() + INTENT_LIFE.as_secs() < LOOK_LIFE.as_secs());

/// Whether an id may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The id may be sent in a call of this kind: a fresh look showed this state.
    Send {
        /// What the call asks for.
        kind: CallKind,
        /// The state that the look showed.
        live: Live,
        /// When that look was sent.
        sent: Mono,
    },
    /// The id needs a look first.
    Look,
    /// The last look did not read the id, though it read others: it waits for its own next look.
    Unreadable,
    /// A call that may have named the id ended lately: no read before this moment allows another
    /// call.
    Settling {
        /// The first moment at which a read may allow a call.
        until: Mono,
    },
    /// The instance is off, and is to stay so until this moment before it may be deleted.
    Soaking {
        /// The end of its soak.
        until: Mono,
    },
    /// A call that names the id is in flight.
    Busy,
    /// A batch that named the id was refused, and waits until another refused batch is resolved.
    Held,
    /// The newest read shows the instance shutting down, terminated or not found.
    OnItsWay,
    /// The newest read brought no state that allows sending.
    Unusable,
    /// `spec.expect` or a guard asks for a fact that the newest read did not show: this one.
    FactsUnknown(&'static str),
    /// The id is given up: its attempts are used up, or it must not be sent.
    Spent(FailureReason),
    /// The id has ended.
    Ended,
}

/// The verdict on one row.
#[must_use]
pub fn verdict(row_facts: &RowFacts<'_>, facts: &Facts<'_>) -> Verdict {
    let RowFacts { row, observation, calls, .. } = *row_facts;
    let Facts { memory, settings, .. } = *facts;
    let now = facts.now.mono;
    if row.progress.ended() {
        return Verdict::Ended;
    }
    if calls.in_flight {
        return Verdict::Busy;
    }
    if let Some(until) = power_off::soaks_until(row_facts, facts) {
        return Verdict::Soaking { until };
    }
    let step = match &observation.last {
        Some((Seen::Live(live), _)) => power_off::step(row_facts, *live, facts),
        _ => Step::Call(CallKind::Delete),
    };
    let kind = step.kind();
    let refusals = memory.refusals.of(kind);
    if refusals.bisection.holds(row.id) {
        return Verdict::Held;
    }
    let refused = refusals.ids.get(&row.id);
    if let Some(refused) = refused.filter(|refused| refused.until > now) {
        return Verdict::Settling { until: refused.until };
    }
    let soaked = power_off::soaked_since(row_facts, facts).filter(|_| kind == CallKind::Delete);
    let proof_from = proof_from(row_facts, kind, settings).max(soaked);
    if let Some(until) = proof_from.filter(|until| *until > now) {
        return Verdict::Settling { until };
    }
    // Also one that is powered off since its deletion was refused has to be read after that refusal.
    let refusals = memory.refusals.each().map(|refusals| refusals.ids.get(&row.id));
    let fresh = |sent: Mono| {
        sent > memory.gate
            && now - sent < LOOK_LIFE_AT_DECISION
            && proof_from.is_none_or(|needed| sent > needed)
            && refusals.iter().flatten().all(|refused| sent > refused.at)
            && calls.last_call.not_found.is_none_or(|at| sent >= at)
    };
    match &observation.last {
        Some((seen, ReadTime { sent, .. })) if fresh(*sent) => match seen {
            Seen::Live(live) => alive(row_facts, step, (*live, *sent), facts),
            Seen::ShuttingDown | Seen::Terminated | Seen::NotFound => Verdict::OnItsWay,
            Seen::Other(_) | Seen::Unreadable => Verdict::Unusable,
        },
        _ if memory.waits_alone(row.id).is_some() => Verdict::Unreadable,
        _ => Verdict::Look,
    }
}

/// The verdict on an instance that a look which counts showed alive.
fn alive(row_facts: &RowFacts<'_>, step: Step, (live, sent): (Live, Mono), facts: &Facts<'_>) -> Verdict {
    let RowFacts { row, observation, .. } = *row_facts;
    let kind = match step {
        Step::Call(kind) => kind,
        Step::Wait => return Verdict::Unusable,
        Step::Wanted => return Verdict::Spent(FailureReason::PoweredOnAgain),
    };
    if let Some(reason) = used_up(row, kind, facts) {
        return Verdict::Spent(reason);
    }
    match check(row.id, observation, facts) {
        Check::Passes if power_off::lacks_server(row_facts, live, facts) => Verdict::FactsUnknown("server"),
        Check::Passes => Verdict::Send { kind, live, sent },
        Check::Unknown(fact) => Verdict::FactsUnknown(fact),
        Check::Fails(reason, _) => Verdict::Spent(reason),
    }
}

/// Why a row is given up whose attempts at a call of this kind are used up, if they are.
fn used_up(row: &Row, kind: CallKind, facts: &Facts<'_>) -> Option<FailureReason> {
    let refusals = facts.memory.refusals.of(kind);
    let unknown = refusals.bisection.too_often_unknown(row.id);
    let used_up = row.used(kind) > facts.spec.backoff_limit;
    match kind {
        CallKind::PowerOff => (unknown || used_up).then_some(FailureReason::PowerOffFailed),
        CallKind::Delete if unknown => Some(FailureReason::OutcomeUnknown),
        CallKind::Delete if !used_up => None,
        CallKind::Delete if refusals.ids.contains_key(&row.id) => Some(FailureReason::Conflict),
        CallKind::Delete => Some(spent(row)),
    }
}

/// Why a row is given up whose attempts are used up. Only a deletion that was accepted can have failed at the cloud.
#[must_use]
pub fn spent(row: &Row) -> FailureReason {
    match &row.progress {
        Progress::Accepted { .. } => FailureReason::InstanceError,
        _ => FailureReason::NotAccepted,
    }
}

/// The moment after which a read must be sent to allow a call of this kind; none if no call is known.
fn proof_from(row_facts: &RowFacts<'_>, kind: CallKind, settings: &Settings) -> Option<Mono> {
    let RowFacts { row, observation, calls, .. } = *row_facts;
    let on_its_way = calls.last_call.on_its_way;
    let now_error = observation.last.as_ref().filter(|(seen, _)| *seen == Seen::Live(Live::Error));
    let patience = settings.settle * PATIENCE;
    let after_call = |call: Ended| {
        let Ended { at: ended, effect, before } = call;
        let on_its_way_since = on_its_way.is_some_and(|at| at > ended);
        let was_fine = before.is_some_and(|before| before != Live::Error);
        let error_came_after =
            now_error.is_some_and(|(_, read)| read.sent > ended) && (was_fine || on_its_way_since);
        match effect {
            Effect::Unknown => ended + settings.settle,
            Effect::Accepted if error_came_after => ended + settings.settle,
            Effect::Accepted => ended + patience,
        }
    };
    // A read showed the instance shutting down, so some call was accepted, from whichever process.
    let after_shutting_down = on_its_way.map(|at| {
        let error_came_after = now_error.is_some_and(|(_, read)| read.sent > at);
        at + if error_came_after { settings.settle } else { patience }
    });
    // Anyone who may write a status there can claim a call: its word is waited for no longer than that.
    let after_claim = calls.last_call.claimed_elsewhere.map(|first| first + settings.settle);
    // Whether an instance is off is seen at once; that it still runs may change for a while.
    let after_power_off = |Ended { at, effect, .. }: Ended| match (kind, effect) {
        (CallKind::Delete, _) => at,
        (CallKind::PowerOff, Effect::Unknown) => at + settings.settle,
        (CallKind::PowerOff, Effect::Accepted) => at + patience,
    };
    let after_power_offs = calls.power_offs().into_iter().flatten().map(after_power_off);
    let after_calls = calls.ends(row).into_iter().flatten().map(after_call).chain(after_power_offs);
    after_calls.chain(after_shutting_down).chain(after_claim).max()
}

#[cfg(test)]
mod tests;
