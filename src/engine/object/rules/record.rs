//! The *record* rule: outcomes of calls and states that reads showed go into the record, which only
//! moves forward.

use super::{
    facts::{Facts, RowFacts},
    power_off::{self, powers_off},
};
use crate::{
    api::{BatchStatus, CallKind, FailureReason, NotFoundPolicy},
    engine::{
        object::state::{
            ledger::{Ledger, Progress, Row, count},
            memory::{CallState, Memory, OwnCall},
            observations::Found,
        },
        outcome::{CallOutcome, Refusal},
        settings::Settings,
        state::{Live, Seen, StateText},
        time::Mono,
    },
};

/// Enters the outcomes of this process's calls that no acknowledged write holds yet. Returns their
/// batch numbers.
///
/// Entering an outcome twice changes nothing: a write may have been applied although its reply was
/// lost.
pub fn outcomes(ledger: &mut Ledger, memory: &Memory) -> Vec<u32> {
    let mut entered = Vec::new();
    for (number, call) in &memory.calls {
        let CallState::Ended { outcome, .. } = &call.state else { continue };
        entered.push(*number);
        enter(ledger, *number, call, outcome);
    }
    entered
}

fn enter(ledger: &mut Ledger, number: u32, call: &OwnCall, outcome: &CallOutcome) {
    let mine = |b: &&mut BatchStatus| b.number == number && b.claim == call.claim;
    let Some(batch) = ledger.batches.iter_mut().rev().find(mine) else {
        // The record lost the intent (a restored etcd) or holds another process's under this
        // number: what the cloud accepted is merged, everything else is left alone.
        if let (CallKind::Delete, CallOutcome::Accepted { ids, .. }) = (call.kind, outcome) {
            ledger.rows.iter_mut().filter(|r| ids.contains(&r.id)).for_each(accept);
        }
        return;
    };
    if let CallOutcome::Accepted { ids, .. } = outcome {
        batch.returned = Some(count(ids.len()));
    }
    if outcome.had_no_effect() {
        batch.no_effect = Some(true);
    }
    if let Some(request_id) = outcome.message().and_then(|message| message.request_id.as_ref()) {
        batch.request_id = Some(request_id.clone());
    }
    let named = |row: &Row| row.progress.batch() == Some(number) && !row.progress.ended();
    for row in ledger.rows.iter_mut().filter(|r| named(r)) {
        // Counted from what was recorded before the call.
        let called = call.called(row.id);
        let use_attempt = |row: &mut Row| {
            if let Some(called) = called {
                row.use_attempt(call.kind, called.attempts);
            }
        };
        match outcome {
            CallOutcome::Accepted { ids, .. } => {
                // A 2xx uses an attempt of each id that it was asked for, returned or left out.
                use_attempt(row);
                if call.kind == CallKind::Delete && ids.contains(&row.id) {
                    accept(row);
                } else if let Progress::Accepted { resent, .. } = &mut row.progress {
                    *resent = false;
                }
            }
            CallOutcome::Refused { refusal, .. } => {
                let named = matches!(refusal, Refusal::Conflict(ids) if ids.contains(&row.id));
                if named && !called.is_some_and(|called| called.or_powers_off) {
                    use_attempt(row);
                }
                if let Progress::Accepted { resent, .. } = &mut row.progress {
                    *resent = false;
                }
            }
            CallOutcome::NotSent(_) => {
                if let Progress::Accepted { resent, .. } = &mut row.progress {
                    *resent = false;
                }
            }
            CallOutcome::Unknown { .. } => {}
        }
    }
}

fn accept(row: &mut Row) {
    row.progress = match row.progress {
        Progress::Pending | Progress::PoweringOff { .. } | Progress::PoweredOff { .. } => {
            Progress::Accepted { batch: None, resent: false }
        }
        Progress::Submitted { batch } => Progress::Accepted { batch: Some(batch), resent: false },
        Progress::Accepted { batch, .. } => Progress::Accepted { batch, resent: false },
        ref ended => ended.clone(),
    };
}

/// Enters what reads have shown. Returns whether a row moved forward.
pub fn observations(ledger: &mut Ledger, facts: &Facts<'_>) -> bool {
    let mut moved = false;
    for position in 0..ledger.rows.len() {
        let Some(row_facts) = facts.row(ledger, position).filter(|f| !f.row.progress.ended()) else {
            continue;
        };
        let Some((seen, read)) = &row_facts.observation.last else { continue };
        let shown = shown(&row_facts, seen, read.sent, facts);
        let refused_alive = refused_alive(&row_facts, seen, read.sent, facts);
        let (seen, found) = (seen.clone(), row_facts.observation.found);
        if let Shown::End(reason) = shown {
            ledger.fail(position, reason, None, facts.now);
            moved = true;
            continue;
        }
        let is_off = matches!(shown, Shown::Off);
        let Some(row) = ledger.rows.get_mut(position) else { continue };
        if let Shown::Progress { progress, used_attempt } = shown {
            row.attempts += u32::from(used_attempt);
            moved = true;
            if matches!(progress, Progress::NotFound { batch: None, .. }) {
                row.cloud_state = known_as(row, found);
                row.progress = progress;
                continue;
            }
            row.progress = progress;
        }
        if is_off {
            if !matches!(row.progress, Progress::Submitted { .. } | Progress::Accepted { .. }) {
                row.progress = Progress::PoweredOff { batch: row.progress.batch() };
            }
            row.powered_off_at = Some(facts.now.time());
            moved = true;
        }
        for (kind, before) in refused_alive.into_iter().flatten() {
            moved |= row.used(kind) <= before;
            row.use_attempt(kind, before);
        }
        row.cloud_state = cloud_state(row, &seen);
    }
    moved
}

/// What the newest read means for one row.
enum Shown {
    /// Nothing that the record does not say.
    Nothing,
    /// The row is given up.
    End(FailureReason),
    /// The instance is off.
    Off,
    /// The row moves forward.
    Progress {
        /// To this.
        progress: Progress,
        /// The read shows that a call of unknown outcome took effect, and so used an attempt.
        used_attempt: bool,
    },
}

fn shown(row_facts: &RowFacts<'_>, seen: &Seen, sent: Mono, facts: &Facts<'_>) -> Shown {
    let RowFacts { row, calls, .. } = *row_facts;
    let batch = row.progress.batch();
    let ended_at = Some(facts.now.time());
    // A read says something about a call only if it was sent after the call ended.
    let after_call = !calls.in_flight && calls.last_end().is_none_or(|ended| sent > ended);
    let progress = match seen {
        Seen::Live(live) => return shown_alive(row_facts, *live, (sent, after_call), facts),
        Seen::Terminated => Progress::Terminated { batch, ended_at },
        Seen::NotFound if confirmed_not_found(row_facts, facts.settings) => {
            let never_known = matches!(row.progress, Progress::Pending);
            if never_known && facts.spec.not_found_policy == NotFoundPolicy::Fail {
                return Shown::End(FailureReason::NotFound);
            }
            Progress::NotFound { batch, ended_at }
        }
        Seen::ShuttingDown => match row.progress {
            Progress::Accepted { resent: true, .. } if !after_call => return Shown::Nothing,
            Progress::Accepted { resent: false, .. } => return Shown::Nothing,
            // The batch that powered it off did not delete it.
            Progress::PoweringOff { .. } | Progress::PoweredOff { .. } => {
                Progress::Accepted { batch: None, resent: false }
            }
            _ => Progress::Accepted { batch, resent: false },
        },
        Seen::NotFound | Seen::Other(_) | Seen::Unreadable => return Shown::Nothing,
    };
    let unknown =
        matches!(row.progress, Progress::Submitted { .. } | Progress::Accepted { resent: true, .. });
    Shown::Progress { progress, used_attempt: unknown && after_call }
}

/// What it means for the row that a read, sent after each call ended or not, shows its instance alive.
fn shown_alive(
    row_facts: &RowFacts<'_>,
    live: Live,
    (sent, after_call): (Mono, bool),
    facts: &Facts<'_>,
) -> Shown {
    let row = row_facts.row;
    if let Some(reason) = power_off::end_of_one_off(row_facts, live, sent, facts) {
        return Shown::End(reason);
    }
    let found_off = match row.progress {
        Progress::PoweringOff { .. } => true,
        // Nobody knows for how long it has been off. What the object will not delete is not recorded.
        _ => {
            facts.spec.soak().is_some()
                && row.powered_off_at.is_none()
                && sent > facts.memory.gate
                && facts.allow_calls()
                && facts.memory.deadlines.passed().is_none()
        }
    };
    if live == Live::Stopped && found_off && after_call { Shown::Off } else { Shown::Nothing }
}

/// The attempts of each kind before a call that was refused without a word about the state of the id, if the id
/// now reads alive. The cloud then refused it for its state, which uses an attempt, unless that leads to another call.
fn refused_alive(
    row_facts: &RowFacts<'_>,
    seen: &Seen,
    sent: Mono,
    facts: &Facts<'_>,
) -> [Option<(CallKind, u32)>; 2] {
    let row = row_facts.row;
    let Seen::Live(live) = *seen else { return [None, None] };
    let off_first = matches!(row.progress, Progress::PoweringOff { .. } | Progress::PoweredOff { .. });
    let attempts = |kind: CallKind, counts: bool| {
        let refused = facts.memory.refusals.of(kind).ids.get(&row.id).filter(|refused| sent > refused.at)?;
        refused.unexplained.filter(|_| counts).map(|before| (kind, before))
    };
    [
        attempts(CallKind::Delete, !off_first && !powers_off(row, live, facts.spec)),
        attempts(CallKind::PowerOff, live == Live::Running),
    ]
}

/// Whether the instance is gone: two not-found reads in a row, both sent after the last call that names the id ended, the
/// second `--settle` after the answer of the first. The cloud may have looked at any moment between a read's request and
/// its answer, so only that is sure to lie between the two.
#[must_use]
pub fn confirmed_not_found(row_facts: &RowFacts<'_>, settings: &Settings) -> bool {
    let RowFacts { observation, calls, .. } = *row_facts;
    let (Some((_, last)), Some(since)) = (&observation.last, observation.not_found_since()) else {
        return false;
    };
    let apart = last.sent - since.answered;
    !calls.in_flight && apart >= settings.settle && calls.last_end().is_none_or(|ended| since.sent > ended)
}

/// The last state of an instance that no call named and that is not found any more; none if the
/// cloud never knew it.
fn known_as(row: &Row, found: Option<Found>) -> Option<StateText> {
    // After a restart no read is known, and the row tells.
    let on_its_way = matches!(row.progress, Progress::Accepted { .. });
    let off = matches!(row.progress, Progress::PoweredOff { .. });
    let recorded = on_its_way.then_some(Found::ShuttingDown);
    let recorded = recorded.or(off.then_some(Found::Alive(Live::Stopped)));
    found.or(recorded).map(Found::state).or_else(|| row.cloud_state.clone())
}

/// The state worth a place in the row: one that the progress doesn't imply.
fn cloud_state(row: &Row, seen: &Seen) -> Option<StateText> {
    let implied = match row.progress {
        Progress::Accepted { .. } => matches!(seen, Seen::ShuttingDown | Seen::Unreadable | Seen::NotFound),
        _ => !matches!(seen, Seen::Other(_) | Seen::Live(Live::Error)),
    };
    (!implied && !row.progress.ended()).then(|| StateText::new(&seen.to_string()))
}

#[cfg(test)]
mod tests;
