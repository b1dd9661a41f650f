//! What each process knows, and how many repeats are accounted for.

use engine_purity::{
    api::{CallKind, InstancePhase},
    engine::{
        Mono,
        outcome::{CallOutcome, Refusal},
        settings::PATIENCE,
        state::{Live, Seen},
    },
};

use super::{Judge, rank};
use crate::{
    Model,
    configuration::{Mistake, PowerOffFirst},
    facts::{Alive, Facts},
    world::{Call, CallState, Look, Object, Process, World},
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
            let open = row.filter(|row| rank(row.phase) < rank(InstancePhase::Failed));
            let off =
                open.is_some_and(|row| row.powered_off_at.is_some()) && self.configuration.soak().is_some();
            known.off = if off { known.off.or(Some(now)) } else { None };
        }
    }

    /// What the answer to a look tells a process.
    pub fn heard_of_look(&self, world: &mut World, p: usize, look: &Look, sent: Mono) {
        let Look { ids, seen, right, servers, failed, wall, .. } = look;
        for (n, position) in ids.iter().enumerate() {
            let (right, server, wall) = (right[n], servers[n], *wall);
            let alive = match seen[n] {
                Seen::Live(state) => Some(Alive { sent, state, right, server, wall }),
                _ => None,
            };
            self.heard_of_state(world, p, *position, (&seen[n], alive), failed[n], sent);
        }
    }

    /// What a read of one instance tells a process.
    fn heard_of_state(
        &self,
        world: &mut World,
        p: usize,
        position: usize,
        (seen, alive): (&Seen, Option<Alive>),
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
            // An answer that comes late says nothing of what was read since.
            (_, Some((first, last))) if sent < first => Some((first, last)),
            _ => None,
        };
        match seen {
            Seen::ShuttingDown | Seen::Terminated => known.base = known.base.max(Some(sent)),
            Seen::Live(live) => {
                let newest = known.live_sent() <= Some(sent);
                if newest {
                    known.live = alive;
                }
                if self.configuration.mistake == Some(Mistake::FirstServer) {
                    known.first_server = known.first_server.or(alive.map(|alive| alive.server));
                }
                let on = matches!(live, Live::Running | Live::Pending);
                known.wanted |= on && newest && known.off.is_some_and(|off| sent > off);
                let still_on = facts.off_accepted.is_some_and(|end| sent > end + settle * PATIENCE);
                facts.requests.power_off.justified |= on && (still_on || facts.powered_on);
                if *live == Live::Error && failed {
                    known.error = known.error.max(Some(sent));
                }
                let counts = known.base.is_some_and(|base| {
                    (*live == Live::Error && failed && sent > base + settle)
                        || sent > base + settle * PATIENCE
                });
                facts.requests.delete.justified |= counts;
            }
            Seen::NotFound | Seen::Other(_) | Seen::Unreadable => {}
        }
    }

    /// What the end of a call tells a process, and how many repeats it accounts for.
    pub fn heard_of_call(&self, world: &mut World, c: usize, reply: &CallOutcome) {
        let World { calls, processes, facts, now, uid, .. } = world;
        let Call { kind, owner: Some(p), ids, state, uid: of, accounted, .. } = &calls[c] else { return };
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
            let settled = Some(end + self.settings.settle);
            let (effect, listed) = match reply {
                CallOutcome::Accepted { ids, .. } => (true, ids.contains(&id)),
                CallOutcome::Unknown { .. } => (true, false),
                CallOutcome::Refused { .. } | CallOutcome::NotSent(_) => (false, false),
            };
            match kind {
                CallKind::Delete => {
                    known.own_settled =
                        if effect { known.own_settled.max(settled) } else { known.own_settled };
                    if listed {
                        known.base = known.base.max(Some(end));
                        known.heard |= of == uid;
                    }
                }
                CallKind::PowerOff if effect => {
                    known.own_off_end = known.own_off_end.max(Some(end));
                    known.own_off_settled = known.own_off_settled.max(settled);
                }
                CallKind::PowerOff => {}
            }
            if of != uid {
                continue;
            }
            let facts = &mut facts[*position];
            if effect {
                facts.may_have_had(*kind, end, self.settings.settle);
            }
            if listed && *kind == CallKind::PowerOff {
                facts.off_accepted = facts.off_accepted.max(Some(end));
            }
            let requests = facts.requests.of_mut(*kind);
            requests.allowed += u8::from(!listed && !accounted);
            let named = matches!(reply, CallOutcome::Refused { refusal: Refusal::Conflict(named), .. } if named.contains(&id));
            // Where the cloud refuses to delete what is running, it is powered off instead (P7).
            let leads_on =
                *kind == CallKind::Delete && self.configuration.power_off == Some(PowerOffFirst::IfRefused);
            requests.used += u8::from(matches!(reply, CallOutcome::Accepted { .. }) || (named && !leads_on));
        }
    }

    /// Attempts: calls that use one are at most 1 + backoffLimitPerInstance, but for outcomes that a crash lost.
    pub fn judge_attempts(&self, world: &World, judge: &mut Judge) {
        for (position, facts) in world.facts.iter().enumerate() {
            let most = 1 + self.configuration.backoff_limit;
            for (property, kind) in [("S8", CallKind::Delete), ("P8", CallKind::PowerOff)] {
                let used = facts.requests.of(kind).used;
                judge.require(u32::from(used) <= most, property, || {
                    format!("id {position} used {used} attempts of the kind {kind:?}")
                });
            }
        }
    }

    /// A request that had passed its last check when its process was stopped may be repeated by another.
    pub fn judge_stop(&self, world: &mut World, p: usize) {
        let World { calls, facts, uid, .. } = world;
        let own = |call: &&mut Call| call.owner == Some(p) && call.uid == *uid;
        for call in calls.iter_mut().filter(own).filter(|call| !matches!(call.state, CallState::Waiting)) {
            call.accounted = true;
            for position in &call.ids {
                facts[*position].requests.of_mut(call.kind).allowed += 1;
            }
        }
    }

    /// A crash accounts for a repeat of each id whose call left and whose outcome no version holds.
    pub fn judge_crash(&self, world: &mut World, p: usize) {
        let World { calls, processes, facts, uid, .. } = world;
        for (position, known) in processes[p].known.iter().enumerate() {
            if let Some(kind) = known.kind.filter(|_| known.call > 0) {
                let requests = facts[position].requests.of_mut(kind);
                requests.allowed += 1;
                // The attempt that it used is never recorded.
                requests.used = requests.used.saturating_sub(u8::from(known.call == 2));
            }
        }
        for call in calls.iter().filter(|call| call.owner == Some(p) && call.uid == *uid) {
            let (CallState::Wire { left } | CallState::Answered { left, .. }) = call.state else { continue };
            for position in &call.ids {
                let end = left + self.settings.request_timeout;
                facts[*position].may_have_had(call.kind, end, self.settings.settle);
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
                ever_powered_on: facts.ever_powered_on,
                ..Facts::default()
            };
        }
    }
}
