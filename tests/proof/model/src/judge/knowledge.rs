//! What each process knows, and how many repeats are accounted for.

use engine_purity::{
    api::InstancePhase,
    engine::{
        Mono,
        outcome::{CallOutcome, Refusal},
        settings::PATIENCE,
        state::{Live, Seen},
    },
};

use super::Judge;
use crate::{
    Model,
    facts::Facts,
    world::{Call, CallState, Object, Process, World},
};

impl Model {
    /// What a live read of the record tells a process.
    pub fn heard_of_record(&self, process: &mut Process, facts: &[Facts], object: &Object, now: Mono) {
        if object.suspend || object.leaving || process.generation != object.generation {
            process.closed_at = Some(now);
        }
        process.generation = object.generation;
        for (position, known) in process.known.iter_mut().enumerate() {
            let row = Self::row(&object.stored.status, position);
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
    pub fn heard_of_call(&self, world: &mut World, c: usize, reply: &CallOutcome) {
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
            let id = self.spec.ids[*position];
            let known = &mut processes[*p].known[*position];
            known.call = 2;
            let (effect, listed) = match reply {
                CallOutcome::Accepted { ids, .. } => (true, ids.contains(&id)),
                CallOutcome::Unknown { .. } => (true, false),
                CallOutcome::Refused { .. } | CallOutcome::NotSent(_) => (false, false),
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
            let conflict = matches!(reply, CallOutcome::Refused { refusal: Refusal::Conflict(named), .. } if named.contains(&id));
            facts.used += u8::from(matches!(reply, CallOutcome::Accepted { .. }) || conflict);
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
                // The attempt that it used is never recorded.
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
