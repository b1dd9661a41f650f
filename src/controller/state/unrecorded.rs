//! Outcomes of calls whose object is gone.

use super::objects::Tracked;
use crate::engine::object::state::memory::CallState;

/// The outcome of a call whose object is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct UnrecordedOutcome {
    /// uid of the object.
    pub uid: String,
    /// Batch number of the call.
    pub batch: u32,
    /// Its ids.
    pub ids: Vec<String>,
    /// How it ended, in words.
    pub outcome: String,
}

/// Outcomes that no write holds.
pub fn unrecorded_outcomes(tracked: &Tracked) -> Vec<UnrecordedOutcome> {
    let Some(memory) = &tracked.memory else { return Vec::new() };
    let ended = memory.calls.iter().filter_map(|(number, call)| match &call.state {
        CallState::Ended { outcome, .. } => Some((number, call, outcome.to_string())),
        // A call in flight is told when it ends.
        CallState::InFlight | CallState::Recorded { .. } | CallState::NotSent => None,
    });
    ended
        .map(|(number, call, outcome)| UnrecordedOutcome {
            uid: tracked.uid.clone(),
            batch: *number,
            ids: call.ids.iter().map(|(id, _)| id.to_string()).collect(),
            outcome,
        })
        .collect()
}
