//! Which requests may leave: properties S1 to S3, S8, S13 and S17, and two rules of the protocol: look first, and no blind
//! repeat.

use engine_purity::{
    api::{CallKind, InstancePhase},
    engine::{
        Mono,
        object::state::wave::Wave,
        settings::{INTENT_LIFE, LOOK_LIFE, PATIENCE},
    },
};

use super::{ENDED, Judge, rank};
use crate::{
    Model,
    facts::Requests,
    world::{Call, CallState, Object, Process, Stored, World},
};

impl Model {
    /// S2 and S17 of a wave that a process is about to claim.
    pub fn judge_wave(&self, world: &World, p: usize, wave: &Wave, judge: &mut Judge) {
        for batch in &wave.batches {
            let ids = self.positions(&batch.ids());
            if batch.kind == CallKind::Delete {
                self.judge_knowledge(&world.processes[p], &ids, judge);
            }
            Self::judge_look_first(world, p, &ids, judge);
            self.judge_expected(&world.processes[p], &ids, judge);
        }
    }

    /// E1: before the first call every id was read, and whatever is alive is as expected.
    pub fn judge_whole_list(&self, process: &Process, before: &Object, judge: &mut Judge) {
        let named = before.stored.status.instances.iter().any(|row| row.batch.is_some());
        if !self.configuration.expect || named {
            return;
        }
        let ended =
            |position| Self::row(&before.stored.status, position).is_some_and(|r| rank(r.phase) == ENDED);
        for (position, known) in process.known.iter().enumerate().filter(|(n, _)| !ended(*n)) {
            let read = known.live_sent().max(known.going) > process.closed_at;
            let fine = known.live.is_some_and(|alive| alive.right) || known.going > known.live_sent();
            judge.require(read && fine, "E1", || format!("id {position}: {known:?}"));
        }
    }

    /// E3: the newest read showed each id as expected.
    fn judge_expected(&self, process: &Process, ids: &[usize], judge: &mut Judge) {
        for position in ids {
            let live = process.known.get(*position).and_then(|known| known.live);
            let right = live.is_some_and(|alive| alive.right);
            judge.require(right || !self.configuration.expect, "E3", || format!("id {position}"));
        }
    }

    /// R4: an intent puts no more instances on their way than allowed.
    pub fn judge_room(&self, after: &Stored, judge: &mut Judge) {
        let takes_room = |phase| {
            matches!(phase, InstancePhase::PoweringOff | InstancePhase::Submitted | InstancePhase::Accepted)
        };
        let on_their_way = after.status.instances.iter().filter(|row| takes_room(row.phase)).count();
        let most = self.configuration.max_in_flight.map_or(usize::MAX, usize::from);
        judge.require(on_their_way <= most, "R4", || format!("{on_their_way} on their way"));
    }

    /// G7, and R1 and R5 of the read that the request rests on.
    fn judge_guards(&self, world: &World, call: &Call, judge: &mut Judge) {
        let late = |since: Option<Mono>| since.is_some_and(|since| world.now - since > INTENT_LIFE);
        judge.require(!late(world.guard.held), "G7", || "a guard holds".to_owned());
        let protected = call.ids.iter().any(|position| late(world.guard.protected[*position]));
        judge.require(!protected, "G7", || format!("one of {:?} is protected", call.ids));
        let Object { limit, stored, .. } = &call.based_on;
        let limit = limit.map_or(usize::MAX, usize::from);
        judge.require(call.ids.iter().all(|position| *position < limit), "R1", || {
            format!("ids {:?} beyond the limit {limit}", call.ids)
        });
        let failed = stored.status.summary.map_or(0, |summary| summary.failed);
        let most = self.configuration.max_failed.map_or(u32::MAX, u32::from);
        judge.require(failed <= most, "R5", || format!("{failed} had failed"));
    }

    /// S17: what the process knows allows to name these ids.
    fn judge_knowledge(&self, process: &Process, ids: &[usize], judge: &mut Judge) {
        let settle = self.settings.settle;
        for position in ids {
            let Some(known) = process.known.get(*position) else { continue };
            let Some(base) = known.base else { continue };
            let failed = known.error.is_some_and(|sent| sent > base + settle);
            let alive = known.live_sent().is_some_and(|sent| sent > base + settle * PATIENCE);
            judge.require(failed || alive, "S17", || {
                format!("id {position} is known to be accepted, and no read that counts says otherwise")
            });
        }
    }

    /// Look first: a read less than a minute old showed the instance alive. The process sent it after it last saw calls closed,
    /// and has no later read that shows another state.
    fn judge_look_first(world: &World, p: usize, ids: &[usize], judge: &mut Judge) {
        let process = &world.processes[p];
        for position in ids {
            let Some(known) = process.known.get(*position) else { continue };
            let looked = known.live_sent().is_some_and(|sent| {
                Some(sent) > process.closed_at && known.going < Some(sent) && world.now - sent < LOOK_LIFE
            });
            judge.require(looked, "look first", || {
                format!(
                    "id {position}: alive at {:?}, going at {:?}, closed at {:?}",
                    known.live_sent(),
                    known.going,
                    process.closed_at
                )
            });
        }
    }

    /// S1, S2, S3, S8, S13, L8 and no blind repeat, of a request that is about to leave.
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
        self.judge_guards(world, &call, judge);
        Self::judge_servers(world, &call, judge);
        Self::judge_wanted(world, p, &call, judge);
        Self::judge_write_ahead(&call, judge);
        let in_time = now - call.intent_sent <= INTENT_LIFE;
        judge.require(in_time, "S13", || format!("{:?} after its intent", now - call.intent_sent));
        let busy = world.calls.iter().enumerate().any(|(other, open)| {
            let named = open.ids.iter().any(|id| ids.contains(id));
            other != c && named && open.owner == Some(p) && !matches!(open.state, CallState::Waiting)
        });
        let open = world.calls.iter().filter(|open| {
            open.owner == Some(p) && open.uid == call.uid && !matches!(open.state, CallState::Waiting)
        });
        let parallel = open.count() < self.configuration.parallel_calls;
        judge.require(parallel, "S12", || "more calls in flight than --parallel-calls".to_owned());
        judge.require(!busy, "one call at a time", || format!("ids {ids:?} are in two calls of one process"));
        for position in ids {
            self.judge_no_blind_repeat(world, p, &call, *position, judge);
            let known = &mut world.processes[p].known[*position];
            (known.call, known.kind) = (1, Some(call.kind));
            if call.uid != world.uid {
                continue;
            }
            let facts = &mut world.facts[*position];
            facts.powered_on &= call.kind == CallKind::Delete;
            let Requests { allowed, justified, .. } = facts.requests.of_mut(call.kind);
            *allowed += u8::from(std::mem::take(justified));
            judge.require(*allowed > 0, "S8", || {
                format!("id {position} is in one more {:?} request than is accounted for", call.kind)
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

    fn judge_write_ahead(call: &Call, judge: &mut Judge) {
        let written = call.intent.as_ref().is_some_and(|version| {
            let batch = version.status.batches.iter().find(|b| b.number == call.number);
            let claimed = batch.is_some_and(|batch| batch.claim == call.claim);
            let of_kind = |phase| match call.kind {
                CallKind::Delete => matches!(phase, InstancePhase::Submitted | InstancePhase::Accepted),
                CallKind::PowerOff => phase == InstancePhase::PoweringOff,
            };
            let rows = call.ids.iter().all(|position| {
                let row = Self::row(&version.status, *position);
                row.is_some_and(|row| of_kind(row.phase) && row.batch == Some(call.number))
            });
            claimed && batch.is_some_and(|batch| batch.kind.unwrap_or(CallKind::Delete) == call.kind) && rows
        });
        judge.require(written, "S3", || {
            format!("batch {} with claim {} was not acknowledged", call.number, call.claim)
        });
    }

    /// No blind repeat: every earlier call with this id has ended, and a read sent at least `settle` later shows it alive.
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
        // That an instance is off is seen at once. A read proves that it still runs only some time after a call.
        let settles = |kind| kind == CallKind::Delete || call.kind == CallKind::PowerOff;
        let open = others.filter_map(|open| match open.state {
            CallState::Waiting => None,
            CallState::Wire { left } | CallState::Answered { left, .. } => {
                let end = left + self.settings.request_timeout;
                Some(if settles(open.kind) { end + self.settings.settle } else { end })
            }
        });
        let (known, facts) = (&world.processes[p].known[position], &world.facts[position]);
        let of_power_offs = [facts.off_settled, known.own_off_settled].into_iter().flatten();
        let of_power_offs = of_power_offs.filter(|_| settles(CallKind::PowerOff));
        let ends = [facts.settled, known.own_settled, known.own_off_end, facts.end].into_iter().flatten();
        let end = open.chain(ends).chain(of_power_offs).max();
        let proved = end.is_none_or(|end| known.live_sent().is_some_and(|sent| sent > end));
        judge.require(proved, "no blind repeat", || {
            format!("id {position}: no read before {end:?} is a proof, alive at {:?}", known.live_sent())
        });
    }
}
