//! Which requests may leave: properties S1 to S3, S8, S13 and S17, and two rules of the protocol: look first, and no blind
//! repeat.

use engine_purity::engine::{
    object::state::wave::Wave,
    settings::{INTENT_LIFE, LOOK_LIFE, PATIENCE},
};

use super::{Judge, rank};
use crate::{
    Model,
    facts::Facts,
    world::{Call, CallState, Object, Process, World},
};

impl Model {
    /// S2 and S17 of a wave that a process is about to claim.
    pub fn judge_wave(&self, world: &World, p: usize, wave: &Wave, judge: &mut Judge) {
        for batch in &wave.batches {
            let ids = self.positions(&batch.ids());
            self.judge_knowledge(&world.processes[p], &ids, judge);
            Self::judge_look_first(world, p, &ids, judge);
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

    /// Look first: a read less than a minute old showed the instance alive. The process sent it after it last saw calls closed,
    /// and has no later read that shows another state.
    fn judge_look_first(world: &World, p: usize, ids: &[usize], judge: &mut Judge) {
        let process = &world.processes[p];
        for position in ids {
            let Some(known) = process.known.get(*position) else { continue };
            let looked = known.live.is_some_and(|sent| {
                Some(sent) > process.closed_at && known.going < Some(sent) && world.now - sent < LOOK_LIFE
            });
            judge.require(looked, "look first", || {
                format!(
                    "id {position}: alive at {:?}, going at {:?}, closed at {:?}",
                    known.live, known.going, process.closed_at
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

    fn judge_write_ahead(call: &Call, judge: &mut Judge) {
        let written = call.intent.as_ref().is_some_and(|version| {
            let batch = version.status.batches.iter().find(|b| b.number == call.number);
            let claimed = batch.is_some_and(|batch| batch.claim == call.claim);
            let rows = call.ids.iter().all(|position| {
                let row = Self::row(&version.status, *position);
                row.is_some_and(|row| rank(row.phase) >= 1 && row.batch == Some(call.number))
            });
            claimed && rows
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
        let open = others.filter_map(|open| match open.state {
            CallState::Waiting => None,
            CallState::Wire { left } | CallState::Answered { left, .. } => {
                Some(left + self.settings.request_timeout + self.settings.settle)
            }
        });
        let known = &world.processes[p].known[position];
        let end = open.chain(world.facts[position].settled).chain(known.own_settled).max();
        let proved = end.is_none_or(|end| known.live.is_some_and(|sent| sent > end));
        judge.require(proved, "no blind repeat", || {
            format!("id {position}: no read before {end:?} is a proof, alive at {:?}", known.live)
        });
    }
}
