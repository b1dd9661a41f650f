//! What calls came to and what reads showed, merged forward into the record (design §3, rules 4 to 6; properties S4 to S7).

use super::look_first;
use crate::{
    api::{BatchStatus, FailureReason, NotFoundPolicy},
    engine::{
        account::call_history::CallHistory,
        object::state::{
            ledger::{Ledger, Progress, Row, count},
            memory::{CallState, Memory, OwnCall},
            spec::DeletionSpec,
        },
        outcome::{CallOutcome, Refusal},
        settings::Settings,
        state::{Live, Seen, StateText},
        time::Now,
    },
};

/// Enters the outcomes of this process's calls that no acknowledged write holds yet. Returns their batch numbers.
///
/// Entering an outcome twice changes nothing (a write that was applied and whose reply was lost, K2).
pub fn outcomes(ledger: &mut Ledger, memory: &Memory, now: &Now) -> Vec<u32> {
    let mut entered = Vec::new();
    for (number, call) in &memory.calls {
        let CallState::Ended { outcome, .. } = &call.state else { continue };
        entered.push(*number);
        enter(ledger, *number, call, outcome);
    }
    if !memory.bisection.verdicts().is_empty() {
        verdicts(ledger, memory, now);
    }
    entered
}

/// Enters ids that refusals showed to be bad.
fn verdicts(ledger: &mut Ledger, memory: &Memory, now: &Now) {
    for position in 0..ledger.rows.len() {
        let Some(row) = ledger.rows.get(position) else { continue };
        let verdict = memory.bisection.verdicts().get(&row.id);
        if let Some((reason, message)) = verdict {
            ledger.fail(position, *reason, Some(message), now);
        }
    }
}

fn enter(ledger: &mut Ledger, number: u32, call: &OwnCall, outcome: &CallOutcome) {
    let mine = |b: &&mut BatchStatus| b.number == number && b.claim == call.claim;
    let Some(batch) = ledger.batches.iter_mut().rev().find(mine) else {
        // The record lost the intent (a restored etcd) or holds another process's under this number: what the cloud
        // accepted is merged, everything else is left alone.
        if let CallOutcome::Accepted { ids, .. } = outcome {
            ledger.rows.iter_mut().filter(|r| ids.contains(&r.id)).for_each(accept);
        }
        return;
    };
    if let CallOutcome::Accepted { ids, .. } = outcome {
        batch.returned = Some(count(ids.len()));
    }
    if let Some(request_id) = outcome.message().and_then(|message| message.request_id.as_ref()) {
        batch.request_id = Some(request_id.clone());
    }
    let named = |row: &Row| row.progress.batch() == Some(number) && !row.progress.ended();
    for row in ledger.rows.iter_mut().filter(|r| named(r)) {
        // Counted from what was recorded before the call, so that entering an outcome twice counts it once.
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
            CallOutcome::NotSent => {
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
pub fn observations(
    ledger: &mut Ledger,
    spec: &DeletionSpec,
    memory: &Memory,
    call_history: &CallHistory,
    now: &Now,
    settings: &Settings,
) -> bool {
    let mut moved = false;
    for position in 0..ledger.rows.len() {
        let Some(row) = ledger.rows.get(position).filter(|r| !r.progress.ended()) else { continue };
        let Some((seen, sent)) = &memory.observation(position).last else { continue };
        let batch = row.progress.batch();
        let ended = look_first::last_end(row, ledger, memory, call_history);
        // A read speaks about a call only if it was sent after the call ended.
        let after_call = !look_first::in_flight(row, ledger, memory, call_history)
            && ended.is_none_or(|ended| *sent > ended);
        let progress = match seen {
            Seen::Terminated => Some(Progress::Terminated { batch, ended_at: Some(now.time()) }),
            Seen::NotFound if confirmed_not_found(position, row, ledger, memory, call_history, settings) => {
                let never_known = matches!(row.progress, Progress::Pending);
                if never_known && spec.not_found_policy == NotFoundPolicy::Fail {
                    ledger.fail(position, FailureReason::NotFound, None, now);
                    moved = true;
                    continue;
                }
                Some(Progress::NotFound { batch, ended_at: Some(now.time()) })
            }
            Seen::ShuttingDown => match row.progress {
                Progress::Accepted { resent: true, .. } if !after_call => None,
                Progress::Accepted { resent: false, .. } => None,
                _ => Some(Progress::Accepted { batch, resent: false }),
            },
            _ => None,
        };
        let (seen, sent_after_call) = (seen.clone(), after_call);
        // An id that the service did not know and that reads alive was refused for its state: that uses an attempt.
        let refused = memory.refused.get(&row.id).filter(|refused| *sent > refused.at);
        let alive_again = refused.and_then(|r| r.missing).filter(|_| matches!(seen, Seen::Live(_)));
        let Some(row) = ledger.rows.get_mut(position) else { continue };
        if let Some(progress) = progress {
            let unknown =
                matches!(row.progress, Progress::Submitted { .. } | Progress::Accepted { resent: true, .. });
            // A call of unknown outcome took effect, and so used an attempt.
            if unknown && sent_after_call {
                row.attempts += 1;
            }
            row.progress = progress;
            moved = true;
        }
        if let Some(before) = alive_again.filter(|before| row.attempts <= *before) {
            row.attempts = before + 1;
            moved = true;
        }
        row.cloud_state = cloud_state(row, &seen);
    }
    moved
}

/// Two not-found reads in a row, settle apart, both after the last call that names the id ended (design §3,
/// *notFoundPolicy*; property S6).
fn confirmed_not_found(
    position: usize,
    row: &Row,
    ledger: &Ledger,
    memory: &Memory,
    call_history: &CallHistory,
    settings: &Settings,
) -> bool {
    let observation = memory.observation(position);
    let (Some((_, last)), Some(since)) = (&observation.last, observation.not_found_since()) else {
        return false;
    };
    !look_first::in_flight(row, ledger, memory, call_history)
        && *last - since >= settings.settle
        && look_first::last_end(row, ledger, memory, call_history).is_none_or(|ended| since > ended)
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
