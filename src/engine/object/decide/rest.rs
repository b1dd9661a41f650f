//! Objects for which no id is worked on: those at their end, and those whose spec is invalid.

use std::time::Duration;

use super::decision::{Decision, Next};
use crate::{
    api::InstanceDeletionStatus,
    engine::{
        id::InstanceId,
        object::{
            report::{events, status},
            rules::record,
            state::{deadlines::AGREES, ledger::Ledger, memory::Memory, spec::Meta},
        },
        time::{Mono, Now},
    },
};

/// The wall clock may be set meanwhile: a finished object is decided upon again after this at the
/// latest.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// Lets a finished object be deleted only if two readings of the wall clock, [`AGREES`] apart, say that
/// its time is over: a clock that jumps forward once deletes nothing. `over_since` keeps the first.
#[must_use]
pub fn confirmed_deletion(decision: Decision, over_since: &mut Option<Mono>, now: &Now) -> Decision {
    if decision.next != Next::Delete {
        *over_since = None;
        return decision;
    }
    let at = *over_since.get_or_insert(now.mono) + AGREES;
    if now.mono >= at { decision } else { Decision { wake: Some(at), ..Decision::rest() } }
}

/// Decides about an object whose stored spec the schema refuses: its status says so, and nothing is
/// sent. An object that was never valid ends. One that was, and was edited, waits for another edit.
/// Until then the outcomes of its calls are recorded, by the ids of the record.
#[must_use]
pub fn decide_invalid(
    why: &str,
    meta: &Meta,
    status: &InstanceDeletionStatus,
    memory: Option<&Memory>,
    now: &Now,
) -> Decision {
    if status::is_finished(status) {
        return finished(meta, status, None, now);
    }
    let wake = Some(now.mono + LONGEST_SLEEP);
    if memory.is_some_and(Memory::calls_in_flight) {
        // One write stores the outcomes of a wave. The end of its last call wakes the object.
        return Decision { wake, ..Decision::rest() };
    }
    let ids: Vec<_> = status.instances.iter().filter_map(|row| InstanceId::parse(&row.id).ok()).collect();
    let mut ledger = Ledger::read(&ids, status);
    let records = memory.map(|memory| record::outcomes(&mut ledger, memory)).unwrap_or_default();
    let mut events = memory.map(|memory| events::outcomes(memory, &records)).unwrap_or_default();
    let entered = Some(&ledger).filter(|_| !records.is_empty());
    let write = status::invalid_spec(why, entered, meta, status, now);
    events.extend(events::turns_invalid(why, status, &write));
    let wake = wake.filter(|_| !status::is_finished(&write));
    let write = Some(write).filter(|write| write != status);
    Decision { write, records, wake, events, ..Decision::rest() }
}

/// Decides about an object at its end: its status says that a spec edit or a request to look was
/// seen, and the object is deleted `ttl` after its completion.
#[must_use]
pub fn finished(meta: &Meta, status: &InstanceDeletionStatus, ttl: Option<Duration>, now: &Now) -> Decision {
    if status.observed_generation != Some(meta.generation) || status::look_requested(meta, status) {
        let wake = ttl.map(|_| now.mono);
        return Decision { write: Some(status::observed(status, meta)), wake, ..Decision::rest() };
    }
    let ended = status.completion_time.as_ref().map(|time| time.0);
    let Some(delete_at) = ended.zip(ttl).and_then(|(ended, ttl)| ended.checked_add(ttl).ok()) else {
        return Decision::rest();
    };
    match Duration::try_from(delete_at.duration_since(now.wall)) {
        Ok(left) if !left.is_zero() => {
            Decision { wake: Some(now.mono + left.min(LONGEST_SLEEP)), ..Decision::rest() }
        }
        Ok(_) | Err(_) => Decision { next: Next::Delete, ..Decision::rest() },
    }
}

#[cfg(test)]
mod tests;
