//! The *record* rule: outcomes of calls and states that reads showed go into the record, which only
//! moves forward.

use super::facts::{Facts, RowFacts};
use crate::{
    api::{BatchStatus, FailureReason, NotFoundPolicy},
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
        if let CallOutcome::Accepted { ids, .. } = outcome {
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
        // Counted from what was recorded before the call, so that entering an outcome twice counts
        // it once.
        let used = call.attempts_before(row.id).map_or(row.attempts, |before| row.attempts.max(before + 1));
        match outcome {
            CallOutcome::Accepted { ids, .. } => {
                // A 2xx uses an attempt of each id that it was asked for, returned or left out.
                row.attempts = used;
                if ids.contains(&row.id) {
                    accept(row);
                } else if let Progress::Accepted { resent, .. } = &mut row.progress {
                    *resent = false;
                }
            }
            CallOutcome::Refused { refusal, .. } => {
                if matches!(refusal, Refusal::Conflict(ids) if ids.contains(&row.id)) {
                    row.attempts = used;
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
        Progress::Pending => Progress::Accepted { batch: None, resent: false },
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
        let Some((seen, sent)) = &row_facts.observation.last else { continue };
        let shown = shown(&row_facts, seen, *sent, facts);
        let alive_again = alive_again(row_facts.row, seen, *sent, facts.memory);
        let (seen, found) = (seen.clone(), row_facts.observation.found);
        if matches!(shown, Shown::NeverKnown) {
            ledger.fail(position, FailureReason::NotFound, None, facts.now);
            moved = true;
            continue;
        }
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
        if let Some(before) = alive_again.filter(|before| row.attempts <= *before) {
            row.attempts = before + 1;
            moved = true;
        }
        row.cloud_state = cloud_state(row, &seen);
    }
    moved
}

/// What the newest read means for one row.
enum Shown {
    /// Nothing that the record does not say.
    Nothing,
    /// The instance is not found, no call named it, and the spec calls that a failure.
    NeverKnown,
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
        Seen::Terminated => Progress::Terminated { batch, ended_at },
        Seen::NotFound if confirmed_not_found(row_facts, facts.settings) => {
            let never_known = matches!(row.progress, Progress::Pending);
            if never_known && facts.spec.not_found_policy == NotFoundPolicy::Fail {
                return Shown::NeverKnown;
            }
            Progress::NotFound { batch, ended_at }
        }
        Seen::ShuttingDown => match row.progress {
            Progress::Accepted { resent: true, .. } if !after_call => return Shown::Nothing,
            Progress::Accepted { resent: false, .. } => return Shown::Nothing,
            _ => Progress::Accepted { batch, resent: false },
        },
        _ => return Shown::Nothing,
    };
    let unknown =
        matches!(row.progress, Progress::Submitted { .. } | Progress::Accepted { resent: true, .. });
    Shown::Progress { progress, used_attempt: unknown && after_call }
}

/// The attempts before a call that was refused without a word about the state of the id, if the id
/// now reads alive. The cloud then refused it for its state, which uses an attempt.
fn alive_again(row: &Row, seen: &Seen, sent: Mono, memory: &Memory) -> Option<u32> {
    let refused = memory.refused.get(&row.id).filter(|refused| sent > refused.at)?;
    refused.unexplained.filter(|_| matches!(seen, Seen::Live(_)))
}

/// Whether the instance is gone: two not-found reads in a row, `--settle` apart, both after the
/// last call that names the id ended.
fn confirmed_not_found(row_facts: &RowFacts<'_>, settings: &Settings) -> bool {
    let RowFacts { observation, calls, .. } = *row_facts;
    let (Some((_, last)), Some(since)) = (&observation.last, observation.not_found_since()) else {
        return false;
    };
    !calls.in_flight && *last - since >= settings.settle && calls.last_end().is_none_or(|ended| since > ended)
}

/// The last state of an instance that no call named and that is not found any more; none if the
/// cloud never knew it.
fn known_as(row: &Row, found: Option<Found>) -> Option<StateText> {
    // After a restart no read is known, and the row tells.
    let on_its_way = matches!(row.progress, Progress::Accepted { .. });
    let recorded = on_its_way.then_some(Found::ShuttingDown);
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
