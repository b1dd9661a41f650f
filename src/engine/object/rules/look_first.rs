//! The rule *look first*: whether an id may be named in a delete call (design §3, rules 1, 3 and 5; property S17).

use std::time::Duration;

use crate::{
    api::FailureReason,
    engine::{
        account::call_history::{CallHistory, Ended},
        object::state::{
            ledger::{Ledger, Progress, Row},
            memory::{CallState, Memory},
            observations::Observation,
            spec::DeletionSpec,
        },
        outcome::Effect,
        settings::{INTENT_LIFE, LOOK_LIFE, PATIENCE, Settings},
        state::{Live, Seen},
        time::Mono,
    },
};

/// A look must be younger than this when a wave is decided, so that it is still younger than [`LOOK_LIFE`] when the last
/// call of the wave leaves.
const LOOK_LIFE_AT_DECISION: Duration = Duration::from_secs(50);
const _: () = assert!(LOOK_LIFE_AT_DECISION.as_secs() + INTENT_LIFE.as_secs() < LOOK_LIFE.as_secs());

/// Whether an id may be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be sent: a fresh look showed this state.
    Send {
        /// The state that the look showed.
        live: Live,
        /// When that look was sent.
        sent: Mono,
    },
    /// It needs a look first.
    Look,
    /// A call that may have named it ended lately: no read before this moment allows another.
    Settling {
        /// The first moment at which a read may allow it.
        until: Mono,
    },
    /// A call that names it is being made.
    Busy,
    /// A batch that named it was refused, and another is taken apart first.
    Held,
    /// The newest read shows it shutting down, terminated or not found.
    OnItsWay,
    /// The newest read brought no state that allows sending.
    Unusable,
    /// Its attempts are used up.
    Spent(FailureReason),
    /// It has its end.
    Ended,
}

/// The verdict on one row.
#[must_use]
pub fn verdict(
    position: usize,
    spec: &DeletionSpec,
    ledger: &Ledger,
    memory: &Memory,
    call_history: &CallHistory,
    now: Mono,
    settings: &Settings,
) -> Verdict {
    let Some(row) = ledger.rows.get(position).filter(|r| !r.progress.ended()) else { return Verdict::Ended };
    let last_call = call_history.get(row.id);
    let own = own_call(row, ledger, memory);
    if last_call.in_flight.is_some() || matches!(own, Own::InFlight) {
        return Verdict::Busy;
    }
    let observation = memory.observation(position);
    let calls = [last_call.ended, own.ended()];
    if memory.bisection.holds(row.id) {
        return Verdict::Held;
    }
    let refused = memory.refused.get(&row.id);
    if let Some(refused) = refused.filter(|refused| refused.until > now) {
        return Verdict::Settling { until: refused.until };
    }
    let proof_from = proof_from(&calls, last_call.on_its_way, observation, settings);
    if let Some(until) = proof_from.filter(|until| *until > now) {
        return Verdict::Settling { until };
    }
    let fresh = |sent: Mono| {
        sent > memory.gate
            && now - sent < LOOK_LIFE_AT_DECISION
            && proof_from.is_none_or(|needed| sent > needed)
            && refused.is_none_or(|refused| sent > refused.at)
            && last_call.not_found.is_none_or(|at| sent >= at)
    };
    match &observation.last {
        Some((seen, sent)) if fresh(*sent) => match seen {
            Seen::Live(_) if memory.bisection.lost(row.id) => Verdict::Spent(FailureReason::OutcomeUnknown),
            Seen::Live(_) if row.attempts > spec.backoff_limit && refused.is_some() => {
                Verdict::Spent(FailureReason::Conflict)
            }
            Seen::Live(live) if row.attempts > spec.backoff_limit => Verdict::Spent(spent(row, *live)),
            Seen::Live(live) => Verdict::Send { live: *live, sent: *sent },
            Seen::ShuttingDown | Seen::Terminated | Seen::NotFound => Verdict::OnItsWay,
            Seen::Other(_) | Seen::Unreadable => Verdict::Unusable,
        },
        _ => Verdict::Look,
    }
}

fn spent(row: &Row, live: Live) -> FailureReason {
    match (&row.progress, live) {
        (_, Live::Error) | (Progress::Accepted { .. }, _) => FailureReason::InstanceError,
        _ => FailureReason::NotAccepted,
    }
}

/// The moment after which a read must be sent to allow a call; none if no call is known.
fn proof_from(
    calls: &[Option<Ended>],
    on_its_way: Option<Mono>,
    observation: &Observation,
    settings: &Settings,
) -> Option<Mono> {
    let now_error = observation.last.as_ref().filter(|(seen, _)| *seen == Seen::Live(Live::Error));
    let patience = settings.settle * PATIENCE;
    let after_call = |call: &Ended| {
        let Ended { at: ended, effect, before } = *call;
        let on_its_way_since = on_its_way.is_some_and(|at| at > ended);
        let was_fine = before.is_some_and(|before| before != Live::Error);
        let error_came_after =
            now_error.is_some_and(|(_, sent)| *sent > ended) && (was_fine || on_its_way_since);
        match effect {
            Effect::Unknown => ended + settings.settle,
            Effect::Accepted if error_came_after => ended + settings.settle,
            Effect::Accepted => ended + patience,
        }
    };
    // Shutting down was seen, so some call was accepted, whoever made it.
    let after_sight = on_its_way.map(|at| {
        let error_came_after = now_error.is_some_and(|(_, sent)| *sent > at);
        at + if error_came_after { settings.settle } else { patience }
    });
    calls.iter().flatten().map(after_call).chain(after_sight).max()
}

/// What the batch on a row says about the last call that named it.
enum Own {
    /// No call named it, or none that can have had an effect.
    None,
    InFlight,
    Ended(Ended),
}

impl Own {
    fn ended(&self) -> Option<Ended> {
        match self {
            Self::Ended(ended) => Some(*ended),
            Self::None | Self::InFlight => None,
        }
    }
}

fn own_call(row: &Row, ledger: &Ledger, memory: &Memory) -> Own {
    let Some(number) = row.progress.batch() else { return Own::None };
    if let Some(call) = memory.own(number, ledger) {
        let (at, told) = match &call.state {
            CallState::NotSent => return Own::None,
            CallState::InFlight => return Own::InFlight,
            CallState::Ended { at, outcome } | CallState::Recorded { at, outcome } => {
                (*at, outcome.effect(row.id))
            }
        };
        let Some(told) = told else { return Own::None };
        // The record holds the outcome, or a read that came after it.
        let accepted = matches!(row.progress, Progress::Accepted { resent: false, .. });
        let effect = if accepted { Effect::Accepted } else { told };
        return Own::Ended(Ended { at, effect, before: None });
    }
    // Another process stored it: once the object was observed, the marks hold what is known of that call.
    if memory.foreign_end(number, ledger).is_some() { Own::None } else { Own::InFlight }
}

/// When the last call that names a row ended, or will have ended; none if no call is known.
#[must_use]
pub fn last_end(row: &Row, ledger: &Ledger, memory: &Memory, call_history: &CallHistory) -> Option<Mono> {
    let own = own_call(row, ledger, memory).ended();
    [own, call_history.get(row.id).ended].into_iter().flatten().map(|e| e.at).max()
}

/// Whether a call that names the row may still be on its way.
#[must_use]
pub fn in_flight(row: &Row, ledger: &Ledger, memory: &Memory, call_history: &CallHistory) -> bool {
    call_history.get(row.id).in_flight.is_some() || matches!(own_call(row, ledger, memory), Own::InFlight)
}

#[cfg(test)]
mod tests;
