//! The next step once nothing fails any more, for property L1.

use engine_purity::engine::state::{Live, Seen};

use crate::{
    Model,
    actions::Action,
    api_server::Arrival,
    cloud::Outcome,
    world::{CallState, Step, World},
};

impl Model {
    /// The next step when nothing fails. Stopped processes go on, and instances end when nothing else can happen.
    pub(crate) fn fair(&self, world: &World) -> Option<Action> {
        for (p, process) in world.processes.iter().enumerate() {
            if !process.up {
                return Some(Action::Restart(p));
            }
            if process.stopped {
                return Some(Action::Continue(p));
            }
        }
        match &world.object {
            None => return Some(Action::DeleteOrCreate),
            Some(object) if object.suspend => return Some(Action::Suspend(false)),
            Some(object) if object.limit.is_some() => return Some(Action::RemoveLimit),
            Some(_) if world.guard.held.is_some() => return Some(Action::Hold(false)),
            Some(_) => {}
        }
        if !world.writes.is_empty() {
            return Some(Action::Arrive(0, Arrival::Answered));
        }
        for (c, call) in world.calls.iter().enumerate() {
            match &call.state {
                CallState::Waiting => return Some(Action::Leave(c)),
                CallState::Answered { .. } if call.owner.is_some() => return Some(Action::Reply(c)),
                CallState::Wire { left } if *left + self.settings.request_timeout <= world.now => {
                    return call.owner.map(|_| Action::ReplyLost(c));
                }
                CallState::Wire { .. } => {
                    let quiet = self.without_faults(world, c);
                    return Some(Action::Deliver(c, quiet));
                }
                CallState::Answered { .. } => {}
            }
        }
        for (p, process) in world.processes.iter().enumerate() {
            match &process.step {
                Step::Idle if Self::runnable(world, process) => {
                    return Some(Action::Reconcile { process: p, denied: false });
                }
                Step::Idle => {}
                Step::HasRead(_) => return Some(Action::Decide { process: p, denied: false }),
                Step::Writing(writing) if writing.sent.is_none() => return Some(Action::Send(p)),
                Step::Writing(_) => return Some(Action::Answered(p)),
            }
            if let Some(look) = process.looks.first() {
                let read = look.seen.is_empty();
                return Some(if read { Action::Sample(p, 0, 0) } else { Action::LookAnswered(p, 0) });
            }
        }
        let ending = |instance: &crate::world::Instance| instance.state == Seen::ShuttingDown;
        if let Some(i) = world.instances.iter().position(ending) {
            return Some(Action::Terminates(i));
        }
        if let Some(i) = world.instances.iter().position(|instance| instance.powering_off) {
            return Some(Action::IsOff(i));
        }
        let boots = |instance: &crate::world::Instance| instance.state == Seen::Live(Live::Pending);
        if let Some(i) = world.instances.iter().position(boots) {
            return Some(Action::Boots(i));
        }
        Some(
            world
                .processes
                .iter()
                .position(|process| Self::scheduled(process, world.now))
                .map_or(Action::Tick, Action::ScheduledLook),
        )
    }

    fn without_faults(&self, world: &World, c: usize) -> Outcome {
        let mut quiet = world.clone();
        quiet.budget = crate::configuration::Budget::default();
        self.outcomes(&quiet, c).into_iter().next().unwrap_or(Outcome::Accepts { applied: 0, listed: 0 })
    }
}
