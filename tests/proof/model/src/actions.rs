//! What can happen next.

use engine_purity::{
    api::CallKind,
    engine::state::{Live, Seen},
};

use crate::{
    Model,
    api_server::Arrival,
    canonical::canonical,
    cloud::Outcome,
    facts::Facts,
    world::{Call, CallState, Guard, Process, Step, World},
};

/// One step. Numbers are positions in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A process reads the object.
    Read(usize),
    /// It decides; another object of its account may get in the way of its wave.
    Decide {
        /// The process.
        process: usize,
        /// Whether one does.
        denied: bool,
    },
    /// It sends its write.
    Send(usize),
    /// Read, decision and the sending of the write in one.
    Reconcile {
        /// The process.
        process: usize,
        /// Whether another object gets in the way.
        denied: bool,
    },
    /// A write meets the API server.
    Arrive(usize, Arrival),
    /// A process gives up a write that is still on its way.
    WriteTimesOut(usize),
    /// A process goes on with the answer to its write.
    Answered(usize),
    /// A call passes its last check, or is too late.
    Leave(usize),
    /// A call meets the cloud.
    Deliver(usize, Outcome),
    /// Its process hears the reply.
    Reply(usize),
    /// Its process hears nothing any more.
    ReplyLost(usize),
    /// The account's schedule looks at what a process has on it.
    ScheduledLook(usize),
    /// A read is sent: process, look.
    SendLook(usize, usize),
    /// A read is made; bits say which ids lag behind.
    Sample(usize, usize, u8),
    /// Its answer arrives.
    LookAnswered(usize, usize),
    /// It fails.
    LookFails(usize, usize),
    /// A process is killed.
    Crash(usize),
    /// And started again.
    Restart(usize),
    /// A process is stopped for any time.
    Stop(usize),
    /// And goes on.
    Continue(usize),
    /// A process reads without a cause.
    Spurious(usize),
    /// An instance is terminated.
    Terminates(usize),
    /// An instance is gone.
    Vanishes(usize),
    /// Its deletion fails.
    DeletionFails(usize),
    /// Someone else deletes it.
    DeletedOutside(usize),
    /// An instance comes up.
    Boots(usize),
    /// An instance is off, as an accepted call asked.
    IsOff(usize),
    /// It stays on all the same.
    StaysOn(usize),
    /// An instance falls to an error.
    Breaks(usize),
    /// A person powers an instance on.
    PoweredOn(usize),
    /// A person powers an instance off.
    PoweredOff(usize),
    /// The server of an instance that has ended carries another one.
    Reassigned(usize),
    /// An instance goes on with another server, and its old one carries another instance.
    Moved(usize),
    /// The user sets or clears `spec.suspend`.
    Suspend(bool),
    /// The user removes `spec.rollout.limit`.
    RemoveLimit,
    /// Someone has the guard hold everything, or let go.
    Hold(bool),
    /// Someone has the guard protect an instance.
    Protect(usize),
    /// Someone gives an instance another name.
    Rename(usize),
    /// The user deletes the object, or creates it anew.
    DeleteOrCreate,
    /// The wall clock jumps back to its start.
    WallJumps,
    /// Time passes.
    Tick,
}

impl Model {
    /// The first state: the object is there, every process has just started.
    #[must_use]
    pub fn start(&self) -> World {
        let mut world = World {
            now: engine_purity::engine::Mono::START,
            wall: 0,
            object: None,
            uid: 0,
            instances: self.instances(),
            foreign: Vec::new(),
            processes: (0..self.configuration.processes).map(|_| self.process()).collect(),
            writes: Vec::new(),
            calls: Vec::new(),
            guard: Guard { held: None, protected: vec![None; self.configuration.ids] },
            budget: self.configuration.budget,
            facts: vec![Facts::default(); self.configuration.ids],
        };
        self.replace(&mut world);
        canonical(&mut world, &self.configuration);
        world
    }

    /// Everything that can happen next, always in the same order.
    #[must_use]
    pub fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::with_capacity(32);
        for p in 0..world.processes.len() {
            self.of_process(world, p, &mut actions);
        }
        for (w, write) in world.writes.iter().enumerate() {
            actions.push(Action::Arrive(w, Arrival::Answered));
            if write.owner.is_some() && world.budget.lost_writes > 0 {
                actions.push(Action::Arrive(w, Arrival::AnswerLost));
                actions.push(Action::Arrive(w, Arrival::Lost));
                actions.push(Action::WriteTimesOut(w));
                if write.fresh {
                    actions.push(Action::Arrive(w, Arrival::ConflictAfterSuccess));
                }
            }
        }
        for c in 0..world.calls.len() {
            self.of_call(world, c, &mut actions);
        }
        self.of_cloud(world, &mut actions);
        Self::of_user(world, &mut actions);
        if self.may_tick(world) {
            actions.push(Action::Tick);
        }
        actions
    }

    fn of_process(&self, world: &World, p: usize, actions: &mut Vec<Action>) {
        let (process, budget) = (&world.processes[p], &world.budget);
        if !process.up {
            actions.push(Action::Restart(p));
            return;
        }
        if process.stopped {
            actions.push(Action::Continue(p));
            return;
        }
        let fine = self.configuration.fine;
        let denied = budget.denied > 0;
        match &process.step {
            Step::Idle if Self::runnable(world, process) => {
                if fine {
                    actions.push(Action::Read(p));
                } else {
                    actions.push(Action::Reconcile { process: p, denied: false });
                    if denied {
                        actions.push(Action::Reconcile { process: p, denied: true });
                    }
                }
            }
            Step::Idle if budget.spurious > 0 => actions.push(Action::Spurious(p)),
            Step::Idle => {}
            Step::HasRead(_) => {
                actions.push(Action::Decide { process: p, denied: false });
                if denied {
                    actions.push(Action::Decide { process: p, denied: true });
                }
            }
            Step::Writing(writing) if writing.sent.is_none() => actions.push(Action::Send(p)),
            Step::Writing(writing) if writing.answer.is_some() => actions.push(Action::Answered(p)),
            Step::Writing(_) => {}
        }
        if Self::scheduled(process, world.now) {
            actions.push(Action::ScheduledLook(p));
        }
        for (l, look) in process.looks.iter().enumerate() {
            if fine && look.sent.is_none() {
                actions.push(Action::SendLook(p, l));
            } else if look.seen.is_empty() {
                let lags = look.ids.iter().enumerate().filter(|(_, id)| world.instances[**id].old.is_some());
                let lags = lags.fold(0_u8, |mask, (bit, _)| mask | 1 << bit);
                (0..=lags)
                    .filter(|mask| mask & !lags == 0)
                    .for_each(|mask| actions.push(Action::Sample(p, l, mask)));
            } else {
                actions.push(Action::LookAnswered(p, l));
                if budget.failed_looks > 0 {
                    actions.push(Action::LookFails(p, l));
                }
            }
        }
        if budget.crashes > 0 {
            actions.push(Action::Crash(p));
        }
        if budget.stops > 0 && (!self.configuration.stops_in_hand || p == 0 && Self::has_something(world, p))
        {
            actions.push(Action::Stop(p));
        }
    }

    /// Whether the account's schedule is to look at what the process has on it.
    pub(crate) fn scheduled(process: &Process, now: engine_purity::engine::Mono) -> bool {
        !process.watch.is_empty() && process.look_at.is_none_or(|at| at <= now)
    }

    fn has_something(world: &World, p: usize) -> bool {
        let waits = |call: &Call| call.owner == Some(p) && matches!(call.state, CallState::Waiting);
        world.calls.iter().any(waits) || !matches!(world.processes[p].step, Step::Idle)
    }

    fn of_call(&self, world: &World, c: usize, actions: &mut Vec<Action>) {
        let call = &world.calls[c];
        let listening = call.owner.is_some_and(|p| !world.processes[p].stopped);
        let lost = world.budget.lost_calls > 0;
        match call.state {
            CallState::Waiting if listening => actions.push(Action::Leave(c)),
            CallState::Waiting => {}
            CallState::Wire { left } => {
                let over = left + self.settings.request_timeout <= world.now;
                if !over && call.number <= self.configuration.most_batches {
                    let outcomes = self.outcomes(world, c);
                    actions.extend(outcomes.into_iter().map(|outcome| Action::Deliver(c, outcome)));
                }
                if listening && (over || lost) {
                    actions.push(Action::ReplyLost(c));
                }
            }
            CallState::Answered { left, .. } if listening => {
                actions.push(Action::Reply(c));
                if lost || left + self.settings.request_timeout <= world.now {
                    actions.push(Action::ReplyLost(c));
                }
            }
            CallState::Answered { .. } => {}
        }
    }

    pub(crate) fn outcomes(&self, world: &World, c: usize) -> Vec<Outcome> {
        let Call { kind, ids, .. } = &world.calls[c];
        let budget = &world.budget;
        let mask = |is: &dyn Fn(usize) -> bool| {
            ids.iter().enumerate().filter(|(_, id)| is(**id)).fold(0_u8, |mask, (bit, _)| mask | 1 << bit)
        };
        let all = mask(&|_| true);
        let gone = mask(&|id| world.instances[id].state == Seen::NotFound);
        if mask(&|id| world.instances[id].bad) != 0 && *kind == CallKind::Delete {
            return vec![Outcome::Unnamed];
        }
        if let Some(refused) = self.refuses_running(world, &world.calls[c]) {
            let unanswered = Some(Outcome::Fails { applied: 0 }).filter(|_| budget.lost_calls > 0);
            return [refused].into_iter().chain(unanswered).collect();
        }
        if gone != 0 {
            return vec![Outcome::Missing(gone)];
        }
        let mut outcomes = vec![Outcome::Accepts { applied: all, listed: all }];
        if budget.lost_calls > 0 {
            outcomes.extend([Outcome::Fails { applied: all }, Outcome::Fails { applied: 0 }]);
            if all > 1 {
                outcomes.push(Outcome::Fails { applied: 1 });
            }
        }
        if budget.partial > 0 {
            for listed in 0..all {
                outcomes.push(Outcome::Accepts { applied: listed, listed });
                outcomes.push(Outcome::Accepts { applied: all, listed });
            }
        }
        if budget.hollow > 0 {
            outcomes.push(Outcome::Accepts { applied: 0, listed: all });
        }
        if budget.refusals > 0 {
            outcomes.extend((1..=all).map(Outcome::Conflict));
            outcomes.extend([Outcome::UnnamedConflict, Outcome::Unnamed, Outcome::Throttled]);
        }
        outcomes
    }

    fn of_cloud(&self, world: &World, actions: &mut Vec<Action>) {
        for (i, instance) in world.instances.iter().enumerate() {
            Self::of_power(world, i, actions);
            match instance.state {
                Seen::ShuttingDown => {
                    actions.push(Action::Terminates(i));
                    if self.configuration.vanish {
                        actions.push(Action::Vanishes(i));
                    }
                    if world.budget.failures > 0 {
                        actions.push(Action::DeletionFails(i));
                    }
                }
                Seen::Terminated if self.configuration.vanish => actions.push(Action::Vanishes(i)),
                Seen::Live(_) if world.budget.outside > 0 => actions.push(Action::DeletedOutside(i)),
                _ => {}
            }
        }
    }

    fn of_power(world: &World, i: usize, actions: &mut Vec<Action>) {
        let (instance, budget) = (&world.instances[i], &world.budget);
        let foreign = world.foreign.iter().any(|foreign| foreign.server == instance.server);
        match instance.state {
            Seen::Live(Live::Pending) => actions.push(Action::Boots(i)),
            Seen::Live(Live::Running) if instance.powering_off => {
                actions.push(Action::IsOff(i));
                if budget.power_failures > 0 {
                    actions.push(Action::StaysOn(i));
                }
            }
            Seen::Live(Live::Running) if budget.power_offs > 0 => actions.push(Action::PoweredOff(i)),
            Seen::Live(Live::Stopped) if budget.power_ons > 0 => actions.push(Action::PoweredOn(i)),
            Seen::Terminated | Seen::NotFound if budget.reassigned > 0 && !foreign => {
                actions.push(Action::Reassigned(i));
            }
            _ => {}
        }
        if matches!(instance.state, Seen::Live(_)) {
            if budget.breaks > 0 && instance.state != Seen::Live(Live::Error) {
                actions.push(Action::Breaks(i));
            }
            if budget.moves > 0 {
                actions.push(Action::Moved(i));
            }
        }
    }

    fn of_user(world: &World, actions: &mut Vec<Action>) {
        if let Some(object) = &world.object {
            if world.budget.edits > 0 {
                actions.push(Action::Suspend(!object.suspend));
            }
            if world.budget.recreations > 0 {
                actions.push(Action::DeleteOrCreate);
            }
            if object.limit.is_some() {
                actions.push(Action::RemoveLimit);
            }
        } else {
            actions.push(Action::DeleteOrCreate);
        }
        if world.budget.guard_edits > 0 {
            actions.push(Action::Hold(world.guard.held.is_none()));
            let free = world.guard.protected.iter().enumerate().filter(|(_, since)| since.is_none());
            actions.extend(free.map(|(position, _)| Action::Protect(position)));
        }
        if world.budget.renames > 0 {
            let right = world.instances.iter().enumerate().filter(|(_, instance)| instance.right);
            actions.extend(right.map(|(position, _)| Action::Rename(position)));
        }
        if world.budget.wall_jumps > 0 && world.wall > 0 {
            actions.push(Action::WallJumps);
        }
    }

    /// Time passes when every process that runs waits: for time, or (as often as the configuration says) for the cloud.
    fn may_tick(&self, world: &World) -> bool {
        if self.overdue(world) {
            return false;
        }
        let waits = world.budget.pauses > 0 || !Self::busy(world);
        waits && (world.budget.slow > 0 || !Self::waits_for_cloud(world))
    }

    /// Whether a process that runs has something to do.
    pub(crate) fn busy(world: &World) -> bool {
        let works = |process: &Process| {
            !matches!(process.step, Step::Idle)
                || Self::runnable(world, process)
                || Self::scheduled(process, world.now)
        };
        let listening = |owner: Option<usize>| owner.is_some_and(|p| !world.processes[p].stopped);
        let leaves = |call: &Call| listening(call.owner) && matches!(call.state, CallState::Waiting);
        world.processes.iter().any(|process| process.up && !process.stopped && works(process))
            || world.calls.iter().any(leaves)
    }

    pub(crate) fn waits_for_cloud(world: &World) -> bool {
        let listening = |owner: Option<usize>| owner.is_some_and(|p| !world.processes[p].stopped);
        world.calls.iter().any(|call| listening(call.owner))
            || world.processes.iter().any(|process| !process.stopped && !process.looks.is_empty())
    }
}
