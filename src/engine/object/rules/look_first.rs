//! The *look first* rule: an id goes into a delete call only after a fresh read showed its instance
//! alive.
//!
//! A read is fresh if it was sent less than a minute ago, after the object allowed calls, and late
//! enough after the last call that names the id. Deleting bare metal cannot be undone: every doubt
//! means another read.

use std::time::Duration;

use super::facts::{Facts, RowFacts};
use crate::{
    api::FailureReason,
    engine::{
        account::call_history::Ended,
        object::state::ledger::{Progress, Row},
        outcome::Effect,
        settings::{INTENT_LIFE, LOOK_LIFE, PATIENCE, Settings},
        state::{Live, Seen},
        time::Mono,
    },
};

/// A look must be younger than this when a wave is decided, so that it is still younger than
/// [`LOOK_LIFE`] when the last call of the wave leaves.
const LOOK_LIFE_AT_DECISION: Duration = Duration::from_secs(50);
const _: () = assert!(LOOK_LIFE_AT_DECISION.as_secs() + INTENT_LIFE.as_secs() < LOOK_LIFE.as_secs());

/// Whether an id may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The id may be sent: a fresh look showed this state.
    Send {
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
    /// A call that names the id is in flight.
    Busy,
    /// A batch that named the id was refused, and waits until another refused batch is resolved.
    Held,
    /// The newest read shows the instance shutting down, terminated or not found.
    OnItsWay,
    /// The newest read brought no state that allows sending.
    Unusable,
    /// The attempts of the id are used up.
    Spent(FailureReason),
    /// The id has ended.
    Ended,
}

/// The verdict on one row.
#[must_use]
pub fn verdict(row_facts: &RowFacts<'_>, facts: &Facts<'_>) -> Verdict {
    let RowFacts { row, observation, calls, .. } = *row_facts;
    let Facts { spec, memory, settings, .. } = *facts;
    let now = facts.now.mono;
    if row.progress.ended() {
        return Verdict::Ended;
    }
    if calls.in_flight {
        return Verdict::Busy;
    }
    if memory.bisection.holds(row.id) {
        return Verdict::Held;
    }
    let refused = memory.refused.get(&row.id);
    if let Some(refused) = refused.filter(|refused| refused.until > now) {
        return Verdict::Settling { until: refused.until };
    }
    let proof_from = proof_from(row_facts, settings);
    if let Some(until) = proof_from.filter(|until| *until > now) {
        return Verdict::Settling { until };
    }
    let fresh = |sent: Mono| {
        sent > memory.gate
            && now - sent < LOOK_LIFE_AT_DECISION
            && proof_from.is_none_or(|needed| sent > needed)
            && refused.is_none_or(|refused| sent > refused.at)
            && calls.last_call.not_found.is_none_or(|at| sent >= at)
    };
    match &observation.last {
        Some((seen, sent)) if fresh(*sent) => match seen {
            Seen::Live(_) if memory.bisection.too_often_unknown(row.id) => {
                Verdict::Spent(FailureReason::OutcomeUnknown)
            }
            Seen::Live(_) if row.attempts > spec.backoff_limit && refused.is_some() => {
                Verdict::Spent(FailureReason::Conflict)
            }
            Seen::Live(_) if row.attempts > spec.backoff_limit => Verdict::Spent(spent(row)),
            Seen::Live(live) => Verdict::Send { live: *live, sent: *sent },
            Seen::ShuttingDown | Seen::Terminated | Seen::NotFound => Verdict::OnItsWay,
            Seen::Other(_) | Seen::Unreadable => Verdict::Unusable,
        },
        _ if memory.waits_alone(row.id).is_some() => Verdict::Unreadable,
        _ => Verdict::Look,
    }
}

/// Why a row is given up whose attempts are used up. Only a deletion that was accepted can have failed at the cloud.
fn spent(row: &Row) -> FailureReason {
    match &row.progress {
        Progress::Accepted { .. } => FailureReason::InstanceError,
        _ => FailureReason::NotAccepted,
    }
}

/// The moment after which a read must be sent to allow a call; none if no call is known.
fn proof_from(row_facts: &RowFacts<'_>, settings: &Settings) -> Option<Mono> {
    let RowFacts { row, observation, calls, .. } = *row_facts;
    let on_its_way = calls.last_call.on_its_way;
    let now_error = observation.last.as_ref().filter(|(seen, _)| *seen == Seen::Live(Live::Error));
    let patience = settings.settle * PATIENCE;
    let after_call = |call: Ended| {
        let Ended { at: ended, effect, before } = call;
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
    // A read showed the instance shutting down, so some call was accepted, from whichever process.
    let after_shutting_down = on_its_way.map(|at| {
        let error_came_after = now_error.is_some_and(|(_, sent)| *sent > at);
        at + if error_came_after { settings.settle } else { patience }
    });
    // Anyone who may write a status there can claim a call: its word is waited for no longer than that.
    let after_claim = calls.last_call.claimed_elsewhere.map(|first| first + settings.settle);
    let after_calls = calls.ends(row).into_iter().flatten().map(after_call);
    after_calls.chain(after_shutting_down).chain(after_claim).max()
}

#[cfg(test)]
mod tests;
