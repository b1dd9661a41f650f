//! The properties, judged by what the model knows: what the cloud did, what it told whom, and what the API server stored.

use instance_deletion_controller::{
    api::{InstanceDeletionStatus, InstancePhase, InstanceStatus},
    engine::{
        Mono,
        object::{decide::Decision, surface::is_finished, write_ahead::Wave},
        reply::{Refusal, Reply},
        settings::{BATCH_ROWS, INTENT_LIFE, LOOK_LIFE, PATIENCE},
        state::{Live, Seen},
    },
};

use crate::{
    Model,
    world::{Call, CallState, Facts, Object, Process, Stored, World},
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

fn rank(phase: InstancePhase) -> u8 {
    match phase {
        InstancePhase::Pending => 0,
        InstancePhase::Submitted => 1,
        InstancePhase::Accepted => 2,
        InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed => 3,
    }
}

fn monotone(before: &InstanceDeletionStatus, after: &InstanceDeletionStatus, judge: &mut Judge) {
    for old in &before.instances {
        let new = after.instances.iter().find(|row| row.id == old.id);
        let forward = new.is_some_and(|new| {
            let ended = rank(old.phase) == 3;
            rank(old.phase) <= rank(new.phase)
                && (!ended
                    || (old.phase, old.reason, &old.ended_at) == (new.phase, new.reason, &new.ended_at))
                && old.batch <= new.batch
        });
        judge.require(forward, "S7", || format!("{old:?} became {new:?}"));
    }
    let dropped = (before.batches.len() + 1).saturating_sub(BATCH_ROWS);
    for old in before.batches.iter().skip(dropped) {
        let kept = after.batches.iter().any(|new| {
            new.number == old.number
                && new.claim == old.claim
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

impl Default for Facts {
    /// Of an id that nothing is known of.
    fn default() -> Self {
        Self {
            // The first request needs no account.
            allowed: 1,
            used: 0,
            listed: false,
            shutting_down: false,
            terminated: false,
            existed: false,
            end: None,
            settled: None,
            base: None,
            justified: false,
        }
    }
}

impl Model {
    fn row<'a>(&self, status: &'a InstanceDeletionStatus, position: usize) -> Option<&'a InstanceStatus> {
        status.instances.get(position)
    }

    /// S4 to S7 and S16 of a version that a process is about to write over the one it read.
    pub fn judge_version(&self, world: &World, p: usize, before: &Object, after: &Stored, judge: &mut Judge) {
        let (process, status) = (&world.processes[p], &after.status);
        visible(before, status, judge);
        monotone(&before.stored.status, status, judge);
        let total = self.configuration.ids;
        let mut counts = [0_u32; 6];
        for (position, facts) in world.facts.iter().enumerate() {
            let phase = self.row(status, position).map_or(InstancePhase::Pending, |row| row.phase);
            let was =
                self.row(&before.stored.status, position).map_or(InstancePhase::Pending, |row| row.phase);
            let known = &process.known[position];
            counts[phase as usize] += 1;
            let heard = known.heard && process.uid == before.uid;
            judge.require(!heard || rank(phase) >= 2, "S5", || {
                format!("id {position}: a reply listed it, and its row says {phase:?}")
            });
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
                let row = self.row(&before.stored.status, position);
                let known_before = rank(was) >= 1 || row.is_some_and(|row| row.batch.is_some());
                let policy = !self.configuration.fail_not_found || known_before || facts.shutting_down;
                judge.require(policy, "S6", || format!("id {position}: NotFound under notFoundPolicy Fail"));
            }
        }
        if let Some(summary) = &status.summary {
            let said = [
                summary.pending,
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
        }
    }

    /// S2 and S17 of a wave that a process is about to claim.
    pub fn judge_wave(&self, world: &World, p: usize, wave: &Wave, judge: &mut Judge) {
        for batch in &wave.batches {
            let ids = self.positions(&batch.ids());
            self.judge_knowledge(&world.processes[p], &ids, judge);
            self.judge_look_first(world, p, &ids, judge);
        }
    }

    /// S17: what the process knows allows to name these ids.
    fn judge_knowledge(&self, process: &Process, ids: &[usize], judge: &mut Judge) {
        let settle = self.settings.settle;
        for position in ids {
            let Some(known) = process.known.get(*position) else { continue };
            let Some(base) = known.base else { continue };
            let failed = known.error.is_some_and(|sent| sent > base + settle);
            let alive = known.live.is_some_and(|sent| sent > base + settle * PATIENCE);
            judge.require(failed || alive, "S17", || {
                format!("id {position} is known to be accepted, and no read that counts says otherwise")
            });
        }
    }

    /// Design §3, rule 1: a live state was read less than a minute ago, after the process last saw calls closed, and nothing
    /// else later.
    fn judge_look_first(&self, world: &World, p: usize, ids: &[usize], judge: &mut Judge) {
        let process = &world.processes[p];
        for position in ids {
            let Some(known) = process.known.get(*position) else { continue };
            let looked = known.live.is_some_and(|sent| {
                Some(sent) > process.closed_at && known.going < Some(sent) && world.now - sent < LOOK_LIFE
            });
            judge.require(looked, "rule 1", || {
                format!(
                    "id {position}: alive at {:?}, going at {:?}, closed at {:?}",
                    known.live, known.going, process.closed_at
                )
            });
        }
    }

    /// S1, S2, S3, S8, S13, L8 and rule 5 of a request that is about to leave.
    pub fn judge_request(&self, world: &mut World, c: usize, judge: &mut Judge) {
        let now = world.now;
        let call = world.calls[c].clone();
        let Some(p) = call.owner else { return };
        let ids = &call.ids;
        let distinct = ids.iter().enumerate().all(|(n, id)| !ids[..n].contains(id));
        let own = ids.iter().all(|position| *position < self.configuration.ids);
        let size = (1..=self.configuration.batch_size).contains(&ids.len());
        judge.require(own, "S1", || format!("ids {ids:?}"));
        judge.require(distinct && size, "S2", || format!("ids {ids:?}"));
        self.judge_gates(&call, judge);
        self.judge_write_ahead(&call, judge);
        let in_time = now - call.intent_sent <= INTENT_LIFE;
        judge.require(in_time, "S13", || format!("{:?} after its intent", now - call.intent_sent));
        let busy = world.calls.iter().enumerate().any(|(other, open)| {
            let named = open.ids.iter().any(|id| ids.contains(id));
            other != c && named && open.owner == Some(p) && !matches!(open.state, CallState::Waiting)
        });
        judge.require(!busy, "one call at a time", || format!("ids {ids:?} are in two calls of one process"));
        for position in ids {
            self.judge_no_blind_repeat(world, p, &call, *position, judge);
            let known = &mut world.processes[p].known[*position];
            known.call = 1;
            if call.uid != world.uid {
                continue;
            }
            let Facts { allowed, justified, .. } = &mut world.facts[*position];
            *allowed += u8::from(std::mem::take(justified));
            judge.require(*allowed > 0, "S8", || {
                format!("id {position} is in one more request than is accounted for")
            });
            *allowed = allowed.saturating_sub(1);
        }
    }

    fn judge_gates(&self, call: &Call, judge: &mut Judge) {
        let Object { suspend, leaving, uid, stored, .. } = &call.based_on;
        judge.require(!suspend && !leaving && *uid == call.uid, "S1", || {
            "the decision read closed calls".to_owned()
        });
        let open = !self.configuration.strict_gates || !call.closed;
        judge.require(open, "S13, strictly", || {
            "its process has read meanwhile that calls are closed".to_owned()
        });
        let not_after = self.configuration.not_after.is_none_or(|at| call.wall < at);
        judge.require(not_after, "S1", || "notAfter had passed at the decision".to_owned());
        let started = stored.status.start_time.as_ref().map(|t| t.0.as_second());
        let wall =
            crate::configuration::WALL_START + i64::from(call.wall) * i64::from(self.configuration.tick);
        let deadline = self.configuration.deadline.zip(started);
        let early = deadline.is_none_or(|(life, started)| {
            wall < started + i64::from(life) * i64::from(self.configuration.tick)
        });
        judge.require(early, "S1", || "the deadline had passed at the decision".to_owned());
    }

    fn judge_write_ahead(&self, call: &Call, judge: &mut Judge) {
        let written = call.intent.as_ref().is_some_and(|version| {
            let batch = version.status.batches.iter().find(|b| b.number == call.number);
            let claimed = batch.is_some_and(|batch| batch.claim == call.claim);
            let rows = call.ids.iter().all(|position| {
                let row = self.row(&version.status, *position);
                row.is_some_and(|row| rank(row.phase) >= 1 && row.batch == Some(call.number))
            });
            claimed && rows
        });
        judge.require(written, "S3", || {
            format!("batch {} with claim {} was not acknowledged", call.number, call.claim)
        });
    }

    /// Design §3, rule 5: every earlier call that names the id has ended, settle before a read that shows it alive.
    fn judge_no_blind_repeat(
        &self,
        world: &World,
        p: usize,
        call: &Call,
        position: usize,
        judge: &mut Judge,
    ) {
        if call.uid != world.uid {
            return;
        }
        let others = world.calls.iter().filter(|open| {
            open.uid == call.uid && open.ids.contains(&position) && open.owner.is_some_and(|owner| owner != p)
        });
        let open = others.filter_map(|open| match open.state {
            CallState::Waiting => None,
            CallState::Wire { left } | CallState::Answered { left, .. } => {
                Some(left + self.settings.request_timeout + self.settings.settle)
            }
        });
        let known = &world.processes[p].known[position];
        let end = open.chain(world.facts[position].settled).chain(known.own_settled).max();
        let proved = end.is_none_or(|end| known.live.is_some_and(|sent| sent > end));
        judge.require(proved, "rule 5", || {
            format!("id {position}: no read before {end:?} is a proof, alive at {:?}", known.live)
        });
    }

    /// What a live read of the record tells a process.
    pub fn heard_of_record(&self, process: &mut Process, facts: &[Facts], object: &Object, now: Mono) {
        if object.suspend || object.leaving || process.generation != object.generation {
            process.closed_at = Some(now);
        }
        process.generation = object.generation;
        for (position, known) in process.known.iter_mut().enumerate() {
            let row = self.row(&object.stored.status, position);
            if row.is_some_and(|row| row.phase == InstancePhase::Accepted) {
                known.base = known.base.max(facts[position].base);
            }
        }
    }

    /// What a read tells a process.
    pub fn heard_of_state(
        &self,
        world: &mut World,
        p: usize,
        position: usize,
        seen: &Seen,
        failed: bool,
        sent: Mono,
    ) {
        let settle = self.settings.settle;
        let facts = &mut world.facts[position];
        let known = &mut world.processes[p].known[position];
        if matches!(seen, Seen::ShuttingDown | Seen::Terminated | Seen::NotFound) {
            known.going = known.going.max(Some(sent));
        }
        known.missing = match (seen, known.missing) {
            (Seen::NotFound, Some((first, last))) if facts.end.is_none_or(|end| first > end) => {
                Some((first.min(sent), last.max(sent)))
            }
            (Seen::NotFound, _) => Some((sent, sent)),
            _ => None,
        };
        match seen {
            Seen::ShuttingDown | Seen::Terminated => known.base = known.base.max(Some(sent)),
            Seen::Live(live) => {
                known.live = known.live.max(Some(sent));
                if *live == Live::Error && failed {
                    known.error = known.error.max(Some(sent));
                }
                let counts = known.base.is_some_and(|base| {
                    (*live == Live::Error && failed && sent > base + settle)
                        || sent > base + settle * PATIENCE
                });
                facts.justified |= counts;
            }
            Seen::NotFound | Seen::Other(_) | Seen::Unreadable => {}
        }
    }

    /// What the end of a call tells a process, and how many repeats it accounts for.
    pub fn heard_of_call(&self, world: &mut World, c: usize, reply: &Reply) {
        let World { calls, processes, facts, now, uid, .. } = world;
        let Call { owner: Some(p), ids, state, uid: of, accounted, .. } = &calls[c] else { return };
        let end = match state {
            // It never left.
            CallState::Waiting => return,
            CallState::Wire { left } | CallState::Answered { left, .. } => {
                (*left + self.settings.request_timeout).min(*now)
            }
        };
        for position in ids {
            let id = self.job.ids[*position];
            let known = &mut processes[*p].known[*position];
            known.call = 2;
            let (effect, listed) = match reply {
                Reply::Accepted { ids, .. } => (true, ids.contains(&id)),
                Reply::Unknown { .. } => (true, false),
                Reply::Refused { .. } | Reply::TooLate => (false, false),
            };
            if effect {
                known.own_settled = known.own_settled.max(Some(end + self.settings.settle));
            }
            if listed {
                known.base = known.base.max(Some(end));
                known.heard |= of == uid;
            }
            if of != uid {
                continue;
            }
            let facts = &mut facts[*position];
            if effect {
                facts.end = facts.end.max(Some(end));
                facts.settled = facts.settled.max(Some(end + self.settings.settle));
            }
            if !listed && !accounted {
                facts.allowed += 1;
            }
            let conflict = matches!(reply, Reply::Refused { refusal: Refusal::Conflict(named), .. } if named.contains(&id));
            facts.used += u8::from(matches!(reply, Reply::Accepted { .. }) || conflict);
        }
    }

    /// Attempts: calls that use one are at most 1 + backoffLimitPerInstance, but for outcomes that a crash lost.
    pub fn judge_attempts(&self, world: &World, judge: &mut Judge) {
        for (position, facts) in world.facts.iter().enumerate() {
            let limit = u32::from(facts.used) <= 1 + self.configuration.backoff_limit;
            judge.require(limit, "S8", || format!("id {position} used {} attempts", facts.used));
        }
    }

    /// A request that had passed its last check when its process was stopped may be repeated by another.
    pub fn judge_stop(&self, world: &mut World, p: usize) {
        let World { calls, facts, uid, .. } = world;
        let own = |call: &&mut Call| call.owner == Some(p) && call.uid == *uid;
        for call in calls.iter_mut().filter(own).filter(|call| !matches!(call.state, CallState::Waiting)) {
            call.accounted = true;
            call.ids.iter().for_each(|position| facts[*position].allowed += 1);
        }
    }

    /// A crash accounts for a repeat of each id whose call left and whose outcome no version holds.
    pub fn judge_crash(&self, world: &mut World, p: usize) {
        let World { calls, processes, facts, uid, .. } = world;
        for (position, known) in processes[p].known.iter().enumerate() {
            if known.call > 0 {
                let facts = &mut facts[position];
                facts.allowed += 1;
                // Nobody will ever record the attempt that it used.
                facts.used = facts.used.saturating_sub(u8::from(known.call == 2));
            }
        }
        for call in calls.iter().filter(|call| call.owner == Some(p) && call.uid == *uid) {
            let (CallState::Wire { left } | CallState::Answered { left, .. }) = call.state else { continue };
            for position in &call.ids {
                let facts = &mut facts[*position];
                let end = left + self.settings.request_timeout;
                facts.end = facts.end.max(Some(end));
                facts.settled = facts.settled.max(Some(end + self.settings.settle));
            }
        }
    }

    /// What is counted for each object begins anew with a new one.
    pub fn judge_new_object(world: &mut World) {
        for facts in &mut world.facts {
            *facts = Facts {
                existed: facts.existed,
                shutting_down: facts.shutting_down,
                terminated: facts.terminated,
                ..Facts::default()
            };
        }
    }
}
