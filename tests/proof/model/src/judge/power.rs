//! Which servers may be powered off, and what may be deleted that was powered off first: rules P1 to P8.

use engine_purity::{
    api::{CallKind, FailureReason, InstanceDeletionStatus, InstancePhase, InstanceStatus},
    engine::{object::state::wave::Wave, settings::LOOK_LIFE, state::Live},
};

use super::{ENDED, Judge, rank};
use crate::{
    Model,
    configuration::PowerOffFirst,
    facts::{Alive, Known},
    world::{Call, Stored, World},
};

impl Model {
    /// P1, P5, P6, P7 and P8 of a wave that a process is about to claim, with the version that holds its intent.
    pub fn judge_power(&self, world: &World, p: usize, wave: &Wave, after: &Stored, judge: &mut Judge) {
        for batch in &wave.batches {
            let servers = self.servers(&world.processes[p], batch);
            for (n, position) in self.positions(&batch.ids()).into_iter().enumerate() {
                let known = &world.processes[p].known[position];
                // Without a read the wave breaks another rule.
                let Some(alive) = known.live else { continue };
                let row = Self::row(&after.status, position);
                match batch.kind {
                    CallKind::PowerOff => {
                        self.judge_power_off(world, position, alive, servers.get(n), judge);
                    }
                    CallKind::Delete => self.judge_delete(world, (position, row), alive, judge),
                }
            }
        }
    }

    /// P1 and P7 of an id that is about to be powered off.
    fn judge_power_off(
        &self,
        world: &World,
        position: usize,
        alive: Alive,
        server: Option<&u8>,
        judge: &mut Judge,
    ) {
        judge.require(alive.state == Live::Running && server == Some(&alive.server), "P1", || {
            format!("id {position}: server {server:?} is named, and the newest read showed {alive:?}")
        });
        let asked_for = match self.configuration.power_off {
            None => false,
            Some(PowerOffFirst::IfRefused) => world.facts[position].refused,
            Some(PowerOffFirst::Always { .. }) => true,
        };
        judge.require(asked_for, "P7", || format!("id {position}: its deletion was not refused"));
    }

    /// P5 and P8 of an id that is about to be deleted.
    fn judge_delete(
        &self,
        world: &World,
        (position, row): (usize, Option<&InstanceStatus>),
        alive: Alive,
        judge: &mut Judge,
    ) {
        let Some(soak) = self.configuration.soak() else { return };
        judge.require(alive.state != Live::Running, "P8", || format!("id {position} is running"));
        if alive.state != Live::Stopped {
            return;
        }
        let since = row.and_then(|row| row.powered_off_at.as_ref()).map(|at| self.ticks(at));
        let over = since.is_some_and(|since| since + soak <= world.wall);
        judge.require(over, "P5", || {
            format!("id {position}: off since tick {since:?}, and it is tick {} now", world.wall)
        });
        let read = soak == 0 || since.is_some_and(|since| since + soak <= alive.wall);
        judge.require(read, "P5", || {
            format!("id {position}: off since tick {since:?}, and read last at tick {}", alive.wall)
        });
    }

    /// P4 to P6 of a row of a version that a process is about to write.
    pub fn judge_off(
        &self,
        world: &World,
        p: usize,
        (position, before, after): (usize, &InstanceDeletionStatus, &InstanceDeletionStatus),
        judge: &mut Judge,
    ) {
        let Some(new) = Self::row(after, position) else { return };
        let old = Self::row(before, position);
        let was = old.and_then(|row| row.powered_off_at.as_ref());
        let known = &world.processes[p].known[position];
        match (was, &new.powered_off_at) {
            (None, Some(at)) => {
                // A read that allows no call is not kept.
                let stopped = known.live.is_none_or(|alive| alive.state == Live::Stopped);
                judge.require(stopped && self.ticks(at) == world.wall, "P4", || {
                    format!("id {position}: off since tick {}, by {:?}", self.ticks(at), known.live)
                });
            }
            (Some(was), Some(is)) => {
                judge.require(was == is, "P5", || {
                    format!("id {position}: off since {was:?}, then since {is:?}")
                });
            }
            (Some(_), None) => {
                let again = new.phase == InstancePhase::PoweringOff && self.configuration.soak().is_none();
                let ended = rank(new.phase) == ENDED;
                judge.require(again || ended, "P6", || {
                    format!("id {position}: {new:?} forgets that it is off")
                });
            }
            (None, None) => {}
        }
        let off = new.phase != InstancePhase::PoweredOff || new.powered_off_at.is_some();
        judge.require(off, "P3", || format!("id {position}: off since when?"));
        let was_off = old.is_some_and(|row| row.phase == InstancePhase::PoweredOff);
        let still_open = rank(new.phase) < rank(InstancePhase::Accepted);
        judge.require(!(known.wanted && was_off && still_open), "P6", || {
            format!("id {position}: the record does not say that someone powered it on again")
        });
        if vetoed(new) && !old.is_some_and(vetoed) {
            let wanted = known.wanted || world.facts[position].ever_powered_on;
            judge.require(wanted, "P6", || format!("id {position}: nobody powered it on"));
        }
    }

    /// P1 of a request that is about to leave: each server that it names carries an instance of the spec, or has carried another
    /// one for less than a minute.
    pub(super) fn judge_servers(world: &World, call: &Call, judge: &mut Judge) {
        for server in &call.servers {
            let since =
                world.foreign.iter().find(|foreign| foreign.server == *server).map(|foreign| foreign.since);
            judge.require(since.is_none_or(|since| world.now - since < LOOK_LIFE), "P1", || {
                format!("server {server} carries an instance that the spec does not name, since {since:?}")
            });
        }
        let names = call.kind == CallKind::PowerOff;
        judge.require(call.servers.len() == if names { call.ids.len() } else { 0 }, "P1", || {
            format!("{:?} for {:?}", call.servers, call.ids)
        });
    }

    /// P6 of a request that is about to leave.
    pub(super) fn judge_wanted(world: &World, p: usize, call: &Call, judge: &mut Judge) {
        for position in &call.ids {
            let wanted = world.processes[p].known.get(*position).is_some_and(|known: &Known| known.wanted);
            judge
                .require(!wanted, "P6", || format!("id {position} was read on since it was recorded as off"));
            let stored = world.object.as_ref().filter(|object| object.uid == call.uid);
            let row = stored.and_then(|object| Self::row(&object.stored.status, *position));
            judge.require(!row.is_some_and(vetoed), "P6", || format!("id {position}: {row:?}"));
        }
    }
}

/// Whether a row ended since someone powered its instance on again.
fn vetoed(row: &InstanceStatus) -> bool {
    row.phase == InstancePhase::Failed && row.reason == Some(FailureReason::PoweredOnAgain)
}
