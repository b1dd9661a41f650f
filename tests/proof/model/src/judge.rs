//! The properties, checked with the model's knowledge: what the cloud did and answered, and what the API server stored.

mod knowledge;
mod power;
mod requests;

use engine_purity::{
    api::{InstanceDeletionStatus, InstancePhase, InstanceStatus},
    engine::{
        object::{decide::Decision, report::status::is_finished},
        settings::BATCH_ROWS,
    },
};

use crate::{
    Model,
    world::{Object, Stored, World},
};

/// A property that doesn't hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub property: &'static str,
    /// What is wrong.
    pub detail: String,
}

/// Collects what is wrong with one step.
#[derive(Debug, Default)]
pub struct Judge {
    /// Found so far.
    pub violations: Vec<Violation>,
}

impl Judge {
    pub(crate) fn require(&mut self, holds: bool, property: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation { property, detail: detail() });
        }
    }

    /// L8 at the decision about an object at its end.
    pub fn at_rest(&mut self, object: &Object, decision: &Decision) {
        let edited = object.stored.status.observed_generation != Some(object.generation);
        self.require(decision.look.is_empty(), "L8", || "a look after the end".to_owned());
        self.require(edited || decision.write.is_none(), "L8", || "a write after the end".to_owned());
    }

    /// S7 and L8 at the moment at which a version is stored.
    pub fn stored(&mut self, object: &Object, after: &Stored) {
        let (before, after) = (&object.stored.status, &after.status);
        if is_finished(before) {
            let edited = before.observed_generation != Some(object.generation);
            self.require(edited, "L8", || "a version after the end without an edit".to_owned());
        }
        monotone(before, after, self);
    }
}

/// The rank of an end.
pub(crate) const ENDED: u8 = 5;

pub(crate) fn rank(phase: InstancePhase) -> u8 {
    match phase {
        InstancePhase::Pending => 0,
        InstancePhase::PoweringOff => 1,
        InstancePhase::PoweredOff => 2,
        InstancePhase::Submitted => 3,
        InstancePhase::Accepted => 4,
        InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed => ENDED,
    }
}

/// S7 of one row.
fn forward(old: &InstanceStatus, new: &InstanceStatus) -> bool {
    let ended = rank(old.phase) == ENDED;
    let same_end = (old.phase, old.reason, &old.ended_at) == (new.phase, new.reason, &new.ended_at);
    // A further call, under a higher number, may power off an instance whose deletion is not known to be accepted.
    let again = new.phase == InstancePhase::PoweringOff
        && old.batch < new.batch
        && rank(old.phase) < rank(InstancePhase::Accepted);
    // Someone else deletes what a call of the object powered off.
    let outside = new.phase == InstancePhase::Accepted
        && matches!(old.phase, InstancePhase::PoweringOff | InstancePhase::PoweredOff)
        && new.batch.is_none();
    (rank(old.phase) <= rank(new.phase) || again)
        && (!ended || same_end)
        && (old.batch <= new.batch || outside)
}

fn monotone(before: &InstanceDeletionStatus, after: &InstanceDeletionStatus, judge: &mut Judge) {
    for old in &before.instances {
        let new = after.instances.iter().find(|row| row.id == old.id);
        let forward = new.is_some_and(|new| forward(old, new));
        judge.require(forward, "S7", || format!("{old:?} became {new:?}"));
    }
    let highest = |status: &InstanceDeletionStatus| status.batches.iter().map(|batch| batch.number).max();
    let grows = highest(before) <= highest(after);
    judge.require(grows, "S7", || format!("batch numbers fell to {:?}", highest(after)));
    let dropped = (before.batches.len() + 1).saturating_sub(BATCH_ROWS);
    for old in before.batches.iter().skip(dropped) {
        let kept = after.batches.iter().any(|new| {
            new.number == old.number
                && new.claim == old.claim
                && new.kind == old.kind
                && (old.returned.is_none() || new.returned == old.returned)
        });
        judge.require(kept, "S7", || format!("batch {} was lost or changed", old.number));
    }
    judge.require(!is_finished(before) || is_finished(after), "S7", || "the end was taken back".to_owned());
    let start = before.start_time.is_none() || before.start_time == after.start_time;
    judge.require(start, "S7", || "startTime changed".to_owned());
}

/// S16.
fn visible(object: &Object, status: &InstanceDeletionStatus, judge: &mut Judge) {
    let observed = status.observed_generation == Some(object.generation);
    judge.require(observed, "S16", || "observedGeneration is not the generation that was read".to_owned());
    let of = |name: &str| status.conditions.iter().find(|c| c.type_ == name);
    let is_true = |name: &str| of(name).is_some_and(|c| c.status == "True");
    judge.require(of("Ready").is_some() && of("Finished").is_some(), "S16", || {
        "no Ready or Finished".to_owned()
    });
    judge.require(!(is_true("Reconciling") && is_true("Stalled")), "S16", || {
        "Reconciling and Stalled".to_owned()
    });
    let bad_end = is_finished(status) && !is_true("Ready");
    judge.require(is_true("Stalled") == bad_end, "S16", || "Stalled is not a bad end".to_owned());
    for condition in &status.conditions {
        let message = &condition.message;
        let printable =
            message.len() <= 1024 && !message.is_empty() && !message.chars().any(char::is_control);
        judge.require(printable && !condition.reason.is_empty(), "S16", || format!("{condition:?}"));
    }
}

impl Model {
    pub(crate) fn row(status: &InstanceDeletionStatus, position: usize) -> Option<&InstanceStatus> {
        status.instances.get(position)
    }

    /// S4 to S7 and S16 of a version that a process is about to write over the one it read.
    pub fn judge_version(&self, world: &World, p: usize, before: &Object, after: &Stored, judge: &mut Judge) {
        let (process, status) = (&world.processes[p], &after.status);
        visible(before, status, judge);
        monotone(&before.stored.status, status, judge);
        let total = self.configuration.ids;
        let mut counts = [0_u32; 8];
        for (position, facts) in world.facts.iter().enumerate() {
            let phase = Self::row(status, position).map_or(InstancePhase::Pending, |row| row.phase);
            let was =
                Self::row(&before.stored.status, position).map_or(InstancePhase::Pending, |row| row.phase);
            let known = &process.known[position];
            counts[phase as usize] += 1;
            let heard = known.heard && process.uid == before.uid;
            judge.require(!heard || rank(phase) >= rank(InstancePhase::Accepted), "S5", || {
                format!("id {position}: a reply listed it, and its row says {phase:?}")
            });
            self.judge_off(world, p, (position, &before.stored.status, status), judge);
            if was == phase {
                continue;
            }
            let accepted = phase != InstancePhase::Accepted || facts.listed || facts.shutting_down;
            judge.require(accepted, "S4", || format!("id {position}: nobody said that it is accepted"));
            let gone = phase != InstancePhase::Terminated || facts.terminated;
            judge.require(gone, "S6", || format!("id {position}: nobody said that it is terminated"));
            if phase == InstancePhase::NotFound {
                let twice = known.missing.is_some_and(|(first, last)| {
                    last - first >= self.settings.settle && facts.end.is_none_or(|end| first > end)
                });
                judge.require(twice, "S6", || format!("id {position}: not found by {:?}", known.missing));
                let row = Self::row(&before.stored.status, position);
                let known_before = rank(was) >= 1 || row.is_some_and(|row| row.batch.is_some());
                let policy = !self.configuration.fail_not_found || known_before || facts.shutting_down;
                judge.require(policy, "S6", || format!("id {position}: NotFound under notFoundPolicy Fail"));
            }
        }
        if let Some(summary) = &status.summary {
            let said = [
                summary.pending,
                summary.powering_off,
                summary.powered_off,
                summary.submitted,
                summary.accepted,
                summary.terminated,
                summary.not_found,
                summary.failed,
            ];
            let right = said == counts && summary.total as usize == total;
            judge.require(right, "S6", || format!("counters {said:?}, rows {counts:?}"));
        }
        let finished = status.conditions.iter().find(|c| c.type_ == "Finished" && c.status == "True");
        if let Some(finished) = finished {
            let gone = counts[InstancePhase::Terminated as usize] + counts[InstancePhase::NotFound as usize];
            let succeeded = finished.reason == "Succeeded" || finished.reason == "NothingFound";
            judge.require(!succeeded || gone as usize == total, "S6", || {
                "Succeeded, and not all are gone".to_owned()
            });
            let failed = counts[InstancePhase::Failed as usize];
            judge.require((gone + failed) as usize == total, "S6", || {
                "Finished, and rows are open".to_owned()
            });
            let existed = world.facts.iter().any(|facts| facts.existed);
            judge.require(finished.reason != "Succeeded" || existed, "S6", || {
                "nothing was ever known".to_owned()
            });
            let mut rows = before.stored.status.instances.iter();
            let on_its_way = rows.any(|row| row.phase == InstancePhase::Accepted);
            judge.require(finished.reason != "NothingFound" || !on_its_way, "S6", || {
                "nothing was found, and an instance was on its way".to_owned()
            });
        }
    }
}
