//! A decision but for its next step: the record so far, and whether it is worth a write.

use super::{
    decision::{Decision, Input, Next},
    rest::LONGEST_SLEEP,
    stage,
};
use crate::{
    api::{InstanceDeletionStatus, PlanStatus},
    engine::{
        object::{
            report::{events, events::Event, stage::Stage, status, status::Remarks, stuck::Stuck},
            rules::{facts::Facts, first_write, poll::Due},
            state::ledger::Ledger,
        },
        settings::{SECRET_REREAD, STORED_LIMIT},
    },
};

/// The record of an object in the course of one decision.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub input: Input<'a>,
    /// The record with the outcomes of calls, and without what looks showed.
    pub outcomes: Ledger,
    /// The record with both.
    pub ledger: Ledger,
    /// Whether a row of `ledger` moved beyond `outcomes`.
    pub moved: bool,
    /// Batches whose outcome was entered.
    pub records: Vec<u32>,
    /// Events about those outcomes.
    pub events: Vec<Event>,
}

impl Draft<'_> {
    /// The decision with this next step and these looks. It writes a status only where the stored
    /// one is no longer right.
    pub fn into_decision(self, facts: &Facts<'_>, stage: &Stage, next: Next, mut due: Due) -> Decision {
        let Self { input, outcomes, ledger, moved, records, events } = self;
        let (before, memory) = (input.status, facts.memory);
        let Facts { spec, now, settings, .. } = *facts;
        let ended = matches!(stage, Stage::Ended(_) | Stage::NotAsExpected(_));
        let rests = ended || matches!(stage, Stage::LimitReached);
        let stuck = if rests { None } else { stage::stuck(&ledger, before.start_time.as_ref(), facts) };
        let long_wait = stage::long_wait(stage, before, now, settings);
        let look_outstanding = due.outstanding;
        let remarks = Remarks { next_action: long_wait.as_ref(), stuck: stuck.as_ref(), look_outstanding };
        let render = |ledger: &Ledger| InstanceDeletionStatus {
            passed: memory.deadlines.record(),
            ..status::status(spec, ledger, stage, before, now, remarks)
        };

        let plain = render(&outcomes);
        let must = matches!(next, Next::Submit(_))
            || ended
            || is_news(&plain, before)
            || (!records.is_empty() && plain != *before && !memory.calls_in_flight());
        // Ends that looks found are written together, at most once in twice `--poll-min`.
        let ends_due = memory.ends_written.map(|at| at + settings.poll_min * 2).filter(|due| *due > now.mono);
        let write = match (moved, ends_due) {
            (true, Some(at)) if !must => {
                due.wake_at(at);
                None
            }
            (true, _) => Some(render(&ledger)),
            (false, _) => must.then_some(plain),
        };
        let says_only_that_it_began = matches!((stage, &next), (Stage::Deleting(None), Next::Wait));
        let may_wait = says_only_that_it_began && !moved && records.is_empty();
        let first_look = first_write::waits_until(before, &ledger, memory, !due.ids.is_empty(), now.mono);
        let write = match first_look.filter(|_| may_wait) {
            Some(until) => {
                due.wake_at(until);
                None
            }
            None => write,
        };
        // An outcome that comes before those of its wave waits for them: one write holds them all.
        let waits = write.is_none() && memory.calls_in_flight();
        let (records, mut events) = if waits { (Vec::new(), Vec::new()) } else { (records, events) };
        if let Some(write) = &write {
            events.extend(events::turning_point(before, write));
            events.extend(events::powered_on_again(&outcomes, &ledger).filter(|_| moved));
            events.extend(stuck.filter(|_| !Stuck::is_said(before)).map(|stuck| events::stuck(&stuck)));
        }
        let wake = if ended {
            spec.ttl.map(|ttl| now.mono + ttl.min(LONGEST_SLEEP))
        } else {
            // Whatever the rules have missed, the object is read again.
            let longest = if memory.waits_for_secret() { SECRET_REREAD } else { settings.poll_max };
            due.wake_at(now.mono + longest.min(settings.poll_max));
            due.next
        };
        let holds_ends = moved && write.is_some();
        let Due { ids: look, regular, watch, .. } = due;
        Decision { write, records, holds_ends, next, look, regular, watch, wake, events }
    }

    /// Leaves rows out of a plan that would not fit into the API server's store: names may be long, and so may what is said
    /// about them.
    pub fn shorten(&self, plan: &mut PlanStatus) {
        /// Everything in the status but the plan.
        const REST: usize = 16 * 1024;
        let bytes = |plan: &PlanStatus| {
            let plan = serde_json::to_vec(plan).map_or(usize::MAX, |bytes| bytes.len());
            plan.saturating_add(self.input.other_bytes).saturating_add(REST)
        };
        while !plan.instances.is_empty() && bytes(plan) >= STORED_LIMIT {
            plan.instances.truncate(plan.instances.len() / 2);
        }
    }

    /// Bytes that the object may take once every open row of this record has ended.
    pub fn largest_bytes(&self, ledger: &Ledger, stage: &Stage) -> usize {
        // An end adds a reason and a time to a row; a reply adds a request id to a batch.
        const ROW: usize = 64;
        // What a row may say of being powered off: how often that was tried, and since when it is off.
        const OFF: usize = 56;
        const BATCH: usize = 96;
        const MESSAGES: usize = 16 * 1024;
        let Input { spec, status: before, now, other_bytes, .. } = self.input;
        let status = status::status(spec, ledger, stage, before, now, Remarks::default());
        let written = serde_json::to_vec(&status).map_or(usize::MAX, |bytes| bytes.len());
        let open = ledger.rows.iter().filter(|row| !row.progress.ended()).count();
        let row = if spec.power_off.is_some() { ROW + OFF } else { ROW };
        let growth = open * row + ledger.batches.len() * BATCH + MESSAGES;
        written.saturating_add(growth).saturating_add(other_bytes)
    }
}

/// Whether people or tools would read something else in the status. The rows are not compared:
/// `Draft::moved` tells of them.
fn is_news(status: &InstanceDeletionStatus, before: &InstanceDeletionStatus) -> bool {
    status.observed_generation != before.observed_generation
        || status.phase != before.phase
        || status.start_time != before.start_time
        || status.passed != before.passed
        || status.plan != before.plan
        || status.next_action_time != before.next_action_time
        || status.last_handled_reconcile_at != before.last_handled_reconcile_at
        || status.conditions != before.conditions
}

#[cfg(test)]
mod tests;
