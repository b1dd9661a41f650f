//! Objects for which no id is worked on: those at their end, and those whose spec is invalid.

use std::time::Duration;

use super::decision::{Decision, Next};
use crate::{
    api::InstanceDeletionStatus,
    engine::{
        object::{
            report::{events, status},
            state::spec::Meta,
        },
        time::Now,
    },
};

/// The wall clock may be set meanwhile: a finished object is decided upon again after this at the
/// latest.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// Decides about an object whose stored spec the schema refuses: its status says so, and nothing is
/// sent.
#[must_use]
pub fn decide_invalid(why: &str, meta: &Meta, status: &InstanceDeletionStatus, now: &Now) -> Decision {
    if status::is_finished(status) {
        return finished(meta, status, None, now);
    }
    let write = status::invalid_spec(why, meta, status, now);
    Decision { events: vec![events::invalid_spec(why)], write: Some(write), ..Decision::rest() }
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
