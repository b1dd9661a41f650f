//! Carries out a step.

use engine_purity::{
    api::CallKind,
    engine::state::{Live, Seen},
};

use crate::{
    Model,
    actions::Action,
    api_server::Arrival,
    canonical::canonical,
    cloud::Outcome,
    judge::Judge,
    world::{Step, World},
};

impl Model {
    /// The state after a step, in canonical form.
    #[must_use]
    pub fn apply(&self, world: &World, action: Action, judge: &mut Judge) -> World {
        let mut next = world.clone();
        self.carry(&mut next, action, judge);
        if !self.configuration.fine {
            self.scheduled_looks(&mut next);
        }
        self.judge_attempts(&next, judge);
        canonical(&mut next, &self.configuration);
        next
    }

    #[expect(clippy::too_many_lines, reason = "one line for each action")]
    fn carry(&self, world: &mut World, action: Action, judge: &mut Judge) {
        match action {
            Action::Read(p) => self.read(world, p),
            Action::Decide { process, denied } => {
                world.budget.denied -= u8::from(denied);
                self.decide(world, process, denied, judge);
            }
            Action::Send(p) => self.send(world, p),
            Action::Reconcile { process, denied } => {
                world.budget.denied -= u8::from(denied);
                self.read(world, process);
                self.decide(world, process, denied, judge);
                if matches!(world.processes[process].step, Step::Writing(_)) {
                    self.send(world, process);
                }
            }
            Action::Arrive(w, how) => {
                world.budget.lost_writes -= u8::from(how != Arrival::Answered);
                let owner = world.writes[w].owner;
                self.arrive(world, w, how, judge);
                if let Some(p) = owner.filter(|p| !self.configuration.fine && !world.processes[*p].stopped) {
                    self.answered(world, p);
                }
            }
            Action::WriteTimesOut(w) => {
                world.budget.lost_writes -= 1;
                Self::time_out(world, w);
            }
            Action::Answered(p) => self.answered(world, p),
            Action::Leave(c) => self.leave(world, c, judge),
            Action::Deliver(c, outcome) => {
                self.spend(world, c, outcome);
                self.deliver(world, c, outcome);
            }
            Action::Reply(c) => self.end(world, c, false),
            Action::ReplyLost(c) => {
                world.budget.lost_calls = world.budget.lost_calls.saturating_sub(1);
                self.end(world, c, true);
            }
            Action::ScheduledLook(p) => self.scheduled_look(world, p),
            Action::SendLook(p, l) => self.send_look(world, p, l),
            Action::Sample(p, l, old) => {
                self.sample(world, p, l, old);
                if self.configuration.whole_looks && !world.processes[p].stopped {
                    self.look_answered(world, p, l, false);
                }
            }
            Action::LookAnswered(p, l) => self.look_answered(world, p, l, false),
            Action::LookFails(p, l) => {
                world.budget.failed_looks -= 1;
                self.look_answered(world, p, l, true);
            }
            Action::Crash(p) => {
                world.budget.crashes -= 1;
                self.crash(world, p);
            }
            Action::Restart(p) => (world.processes[p].up, world.processes[p].woken) = (true, true),
            Action::Stop(p) => {
                world.budget.stops -= 1;
                self.judge_stop(world, p);
                world.processes[p].stopped = true;
            }
            Action::Continue(p) => world.processes[p].stopped = false,
            Action::Spurious(p) => {
                world.budget.spurious -= 1;
                world.processes[p].woken = true;
            }
            Action::Terminates(i) => world.instances[i].state = Seen::Terminated,
            Action::Vanishes(i) => world.instances[i].state = Seen::NotFound,
            Action::Boots(i) => world.instances[i].state = Seen::Live(Live::Running),
            Action::IsOff(i) => {
                let instance = &mut world.instances[i];
                (instance.state, instance.powering_off) = (Seen::Live(Live::Stopped), false);
            }
            Action::StaysOn(i) => {
                world.budget.power_failures -= 1;
                world.instances[i].powering_off = false;
            }
            Action::Breaks(i) => {
                world.budget.breaks -= 1;
                let instance = &mut world.instances[i];
                (instance.state, instance.powering_off) = (Seen::Live(Live::Error), false);
            }
            Action::PoweredOn(i) => {
                world.budget.power_ons -= 1;
                world.instances[i].state = Seen::Live(Live::Running);
                (world.facts[i].powered_on, world.facts[i].ever_powered_on) = (true, true);
            }
            Action::PoweredOff(i) => {
                world.budget.power_offs -= 1;
                world.instances[i].state = Seen::Live(Live::Stopped);
            }
            Action::Reassigned(i) => {
                world.budget.reassigned -= 1;
                self.reassign(world, i);
            }
            Action::Moved(i) => {
                world.budget.moves -= 1;
                self.move_on(world, i);
            }
            Action::DeletionFails(i) => {
                world.budget.failures -= 1;
                let instance = &mut world.instances[i];
                (instance.state, instance.failed) = (Seen::Live(Live::Error), true);
            }
            Action::DeletedOutside(i) => {
                world.budget.outside -= 1;
                let instance = &mut world.instances[i];
                (instance.state, instance.powering_off) = (Seen::ShuttingDown, false);
            }
            Action::Suspend(value) => {
                world.budget.edits = world.budget.edits.saturating_sub(1);
                self.edit(world, |object| object.suspend = value);
            }
            Action::RemoveLimit => self.edit(world, |object| object.limit = None),
            Action::Hold(holds) => {
                world.budget.guard_edits = world.budget.guard_edits.saturating_sub(1);
                let now = self.clock(world).mono;
                world.guard.held = holds.then_some(now);
                Self::guard_changed(world);
            }
            Action::Protect(i) => {
                world.budget.guard_edits -= 1;
                world.guard.protected[i] = Some(self.clock(world).mono);
                Self::guard_changed(world);
            }
            Action::Rename(i) => {
                world.budget.renames -= 1;
                world.instances[i].right = false;
            }
            Action::DeleteOrCreate => {
                if world.object.is_some() {
                    world.budget.recreations -= 1;
                }
                self.replace(world);
            }
            Action::WallJumps => {
                world.budget.wall_jumps -= 1;
                world.wall = 0;
            }
            Action::Tick => {
                world.budget.pauses -= u8::from(Self::busy(world)).min(world.budget.pauses);
                world.budget.slow -= u8::from(Self::waits_for_cloud(world)).min(world.budget.slow);
                self.tick(world);
            }
        }
    }

    /// Takes the faults of a delivery from the budget.
    fn spend(&self, world: &mut World, c: usize, outcome: Outcome) {
        let call = &world.calls[c];
        let all = (1_u8 << call.ids.len()) - 1;
        let bad = call.kind == CallKind::Delete && call.ids.iter().any(|id| world.instances[*id].bad);
        if (bad && outcome == Outcome::Unnamed) || self.refuses_running(world, call) == Some(outcome) {
            return;
        }
        let budget = &mut world.budget;
        match outcome {
            Outcome::Accepts { applied, listed } if listed == all => budget.hollow -= u8::from(applied == 0),
            Outcome::Accepts { .. } => budget.partial -= 1,
            Outcome::Fails { .. } => budget.lost_calls -= 1,
            Outcome::Missing(_) => {}
            Outcome::Conflict(_)
            | Outcome::UnnamedConflict
            | Outcome::Unnamed
            | Outcome::UnnamedState
            | Outcome::Throttled => budget.refusals -= 1,
        }
    }
}
