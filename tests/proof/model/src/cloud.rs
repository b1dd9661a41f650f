//! The cloud: effects of calls, answers to reads, and ends of instances.

use engine_purity::{
    api::{BatchStatus, CallKind, InstancePhase, InstanceStatus},
    engine::{
        Mono, ReadTime,
        outcome::{CallOutcome, CloudMessage, Refusal, Trouble},
        state::{Live, Seen},
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    Model,
    configuration::{Configuration, RefusesRunning, WALL_START},
    judge::rank,
    world::{Call, CallState, Foreign, Instance, Old, Process, World},
};

/// The outcome of a call at the cloud. Positions are bits, counted from the first id of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 202 listing some, with an effect on some.
    Accepts {
        /// Ids whose deletion begins, or whose server is powered off.
        applied: u8,
        /// Ids that the reply lists.
        listed: u8,
    },
    /// 5xx.
    Fails {
        /// Ids on which the call has its effect all the same.
        applied: u8,
    },
    /// 404 naming these.
    Missing(u8),
    /// 409 naming these.
    Conflict(u8),
    /// 409 naming none.
    UnnamedConflict,
    /// 400 naming none.
    Unnamed,
    /// 400 naming none, with the code of a state.
    UnnamedState,
    /// 429.
    Throttled,
}

impl Model {
    /// The cloud at the start: every instance runs, unless the configuration says otherwise.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        let Configuration { bad, starts, .. } = self.configuration;
        let one = |position: usize| Instance {
            state: Seen::Live(starts.get(position).copied().unwrap_or(Live::Running)),
            old: None,
            failed: false,
            bad: bad.contains(&position),
            right: true,
            server: u8::try_from(position).unwrap_or(u8::MAX),
            powering_off: false,
        };
        (0..self.configuration.ids).map(one).collect()
    }

    /// What the cloud answers to a delete call because of what is running, if it refuses that.
    pub(crate) fn refuses_running(&self, world: &World, call: &Call) -> Option<Outcome> {
        let running = |id: &usize| world.instances[*id].state == Seen::Live(Live::Running);
        let runs = call.ids.iter().enumerate().filter(|(_, id)| running(id));
        let runs = runs.fold(0_u8, |mask, (bit, _)| mask | 1 << bit);
        if call.kind != CallKind::Delete || runs == 0 {
            return None;
        }
        self.configuration.refuses_running.map(|how| match how {
            RefusesRunning::Named => Outcome::Conflict(runs),
            // The client knows which id such a refusal of one means.
            RefusesRunning::Unnamed | RefusesRunning::UnnamedConflict if call.ids.len() == 1 => {
                Outcome::Conflict(runs)
            }
            RefusesRunning::Unnamed => Outcome::UnnamedState,
            RefusesRunning::UnnamedConflict => Outcome::UnnamedConflict,
            RefusesRunning::Silent => Outcome::Unnamed,
        })
    }

    /// The server of an instance carries another one from now on.
    pub fn reassign(&self, world: &mut World, instance: usize) {
        let since = self.clock(world).mono;
        let server = world.instances[instance].server;
        world.foreign.push(Foreign { server, since });
    }

    /// An instance goes on with a server that no other has had.
    pub fn move_on(&self, world: &mut World, instance: usize) {
        self.reassign(world, instance);
        let used = world.instances.iter().map(|instance| instance.server);
        let used = used.chain(world.foreign.iter().map(|foreign| foreign.server)).max();
        world.instances[instance].server = used.map_or(0, |used| used + 1);
    }

    /// A call reaches the cloud.
    pub fn deliver(&self, world: &mut World, c: usize, outcome: Outcome) {
        let ids = world.calls[c].ids.clone();
        let named = |mask: u8| {
            let members = ids.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
            members.map(|(_, position)| *position).collect::<Vec<usize>>()
        };
        let engine_ids = |mask: u8| named(mask).into_iter().map(Configuration::id).collect::<Vec<_>>();
        let applied = match outcome {
            Outcome::Accepts { applied, .. } | Outcome::Fails { applied } => applied,
            _ => 0,
        };
        let Call { kind, uid, .. } = world.calls[c];
        take_effect(world, c, applied);
        if uid == world.uid && kind == CallKind::Delete {
            let refused = match outcome {
                Outcome::Missing(mask) | Outcome::Conflict(mask) => mask,
                Outcome::UnnamedConflict | Outcome::Unnamed | Outcome::UnnamedState => u8::MAX,
                Outcome::Accepts { .. } | Outcome::Fails { .. } | Outcome::Throttled => 0,
            };
            for position in named(refused) {
                world.facts[position].refused = true;
            }
        }
        let whole = |refusal: Refusal, trouble: Trouble| CallOutcome::Refused {
            refusal,
            trouble,
            message: CloudMessage::default(),
        };
        let form = Trouble::RequestRefused;
        let reply = match outcome {
            Outcome::Accepts { listed: 0, .. } | Outcome::Fails { .. } => unknown(),
            Outcome::Accepts { listed, .. } => {
                if uid == world.uid && kind == CallKind::Delete {
                    for position in named(listed) {
                        world.facts[position].listed = true;
                    }
                }
                CallOutcome::Accepted {
                    ids: engine_ids(listed),
                    foreign: 0,
                    message: CloudMessage::default(),
                }
            }
            Outcome::Missing(mask) => whole(Refusal::Missing(engine_ids(mask)), form),
            Outcome::Conflict(mask) => whole(Refusal::Conflict(engine_ids(mask)), form),
            Outcome::UnnamedConflict => whole(Refusal::UnnamedConflict, form),
            Outcome::Unnamed => whole(Refusal::Unnamed, form),
            Outcome::UnnamedState => whole(Refusal::UnnamedState, form),
            Outcome::Throttled => whole(Refusal::Whole, Trouble::Throttled { retry_after: None }),
        };
        if let CallState::Wire { left } = world.calls[c].state {
            world.calls[c].state = CallState::Answered { left, reply };
        }
        self.bury(world);
    }

    /// The process receives the reply of a call, or takes it for lost.
    pub fn end(&self, world: &mut World, c: usize, lost: bool) {
        let reply = match &world.calls[c].state {
            CallState::Answered { reply, .. } if !lost => reply.clone(),
            _ => unknown(),
        };
        self.heard_of_call(world, c, &reply);
        let reply = match self.configuration.mistake {
            Some(crate::configuration::Mistake::LostIsRefused) if lost => CallOutcome::Refused {
                refusal: Refusal::Whole,
                trouble: Trouble::CloudUnreachable,
                message: CloudMessage::default(),
            },
            _ => reply,
        };
        self.call_ended(world, c, &reply);
        let now = world.now;
        world.calls[c].owner = None;
        world.calls[c].ended = Some(now);
        self.bury(world);
    }

    /// Removes calls that no process waits for and that can have no further effect. From their end on, reads may lag behind them.
    pub fn bury(&self, world: &mut World) {
        let World { calls, instances, now, .. } = world;
        calls.retain(|call| {
            let (left, answered) = match call.state {
                CallState::Waiting => return true,
                CallState::Wire { left } => (left, false),
                CallState::Answered { left, .. } => (left, true),
            };
            let last = left + self.settings.request_timeout;
            let olds = instances.iter_mut().filter_map(|i| i.old.as_mut());
            for old in olds.filter(|old| old.call == call.serial && old.until.is_none() && last <= *now) {
                // Its process may be stopped. For the cloud the call is over.
                old.until = Some(last + self.settings.settle);
            }
            if call.owner.is_some() || !(answered || last <= *now) {
                return true;
            }
            let end = call.ended.map_or(last, |ended| ended.min(last));
            for instance in instances.iter_mut() {
                if let Some(old) = instance.old.as_mut().filter(|old| old.call == call.serial) {
                    old.until = Some(end + self.settings.settle);
                }
            }
            false
        });
    }

    /// A read is made. Bits of `old` say which ids show the state before the last call, where they may.
    pub fn sample(&self, world: &mut World, p: usize, look: usize, old: u8) {
        if world.processes[p].looks[look].sent.is_none() {
            self.send_look(world, p, look);
        }
        let now = world.now;
        let World { processes, instances, facts, .. } = world;
        let Process { looks, call_history, .. } = &mut processes[p];
        let look = &mut looks[look];
        for (bit, position) in look.ids.iter().enumerate() {
            let instance = &instances[*position];
            let lags = old >> bit & 1 == 1;
            let seen = match &instance.old {
                Some(old) if lags => old.state.clone(),
                _ => instance.state.clone(),
            };
            let facts = &mut facts[*position];
            facts.shutting_down |= seen == Seen::ShuttingDown;
            facts.terminated |= seen == Seen::Terminated;
            facts.existed |= seen != Seen::NotFound;
            if let Some(sent) = look.sent {
                // Every object of the account knows the read at once, before this object learns of it.
                call_history.saw(Configuration::id(*position), &seen, ReadTime { sent, answered: now });
            }
            look.seen.push(seen);
            look.right.push(instance.right);
            look.servers.push(instance.server);
            look.failed.push(instance.failed && !lags);
        }
    }

    /// A read is sent.
    pub fn send_look(&self, world: &mut World, p: usize, look: usize) {
        let now = self.clock(world).mono;
        let wall = self.wall_of_soaks(world);
        let look = &mut world.processes[p].looks[look];
        (look.sent, look.wall) = (Some(now), wall);
    }

    /// Whether a call or a look has taken all the time that it may.
    #[must_use]
    pub fn overdue(&self, world: &World) -> bool {
        let timeout = self.settings.request_timeout;
        let over = |since: Mono| since + timeout <= world.now;
        let running = |p: usize| !world.processes[p].stopped;
        world.calls.iter().any(|call| match call.state {
            CallState::Waiting => false,
            CallState::Wire { left } | CallState::Answered { left, .. } => {
                call.owner.is_some_and(running) && over(left)
            }
        }) || world.processes.iter().any(|process| {
            let late = |sent: Option<Mono>| sent.is_none_or(over);
            !process.stopped && process.looks.iter().any(|look| late(look.sent))
        })
    }

    /// Time passes.
    pub fn tick(&self, world: &mut World) {
        world.now = world.now + self.configuration.tick();
        // Beyond every limit no rule can tell the difference.
        let limits = if self.configuration.wall_moves() { WALL_END.max(self.deadline_of(world)) } else { 0 };
        let end = limits.max(self.soaks_end(world));
        if world.wall < end {
            world.wall += 1;
        }
        self.bury(world);
    }

    /// The wall clock, where a soak asks for it; else 0.
    pub(crate) fn wall_of_soaks(&self, world: &World) -> u8 {
        if self.configuration.soak().is_some_and(|soak| soak > 0) { world.wall } else { 0 }
    }

    /// A moment of the wall clock, in ticks from the start.
    pub(crate) fn ticks(&self, time: &Time) -> u8 {
        let ticks = (time.0.as_second() - WALL_START) / i64::from(self.configuration.tick);
        u8::try_from(ticks).unwrap_or(u8::MAX)
    }

    /// Until when a rule reads the wall clock for a soak, in ticks from the start: until each instance that is off was off for
    /// long enough, and for a while from each call on that powers one off.
    fn soaks_end(&self, world: &World) -> u8 {
        /// So long it can be told since when an instance is off: since a read, or since the call.
        const CALL: u8 = 2;
        let Some(soak) = self.configuration.soak().filter(|soak| *soak > 0) else { return 0 };
        let Some(status) = world.object.as_ref().map(|object| &object.stored.status) else { return 0 };
        let called = |row: &InstanceStatus| {
            let of_row = |batch: &&BatchStatus| Some(batch.number) == row.batch;
            status.batches.iter().find(of_row).map(|batch| self.ticks(&batch.submitted_at) + CALL)
        };
        let end = |row: &InstanceStatus| match row.phase {
            InstancePhase::PoweringOff => called(row),
            phase if rank(phase) == rank(InstancePhase::Failed) => None,
            _ => row.powered_off_at.as_ref().map(|at| self.ticks(at) + soak),
        };
        status.instances.iter().filter_map(end).max().unwrap_or(0)
    }

    /// When the wall clock reaches the deadline of the object, in ticks from the start; 0 without one. It counts from the
    /// first status of the object, which may come late.
    fn deadline_of(&self, world: &World) -> u8 {
        let started = world.object.as_ref().and_then(|object| object.stored.status.start_time.as_ref());
        let (Some(started), Some(life)) = (started, self.configuration.deadline) else { return 0 };
        self.ticks(started).saturating_add(life)
    }
}

/// A call has its effect on some of its ids.
fn take_effect(world: &mut World, c: usize, applied: u8) {
    let World { calls, instances, .. } = world;
    let Call { kind, serial, ids, servers, .. } = &calls[c];
    for (bit, position) in ids.iter().enumerate().filter(|(bit, _)| applied >> bit & 1 == 1) {
        let instance = &mut instances[*position];
        match kind {
            CallKind::Delete if matches!(instance.state, Seen::Live(_)) => {
                let state = std::mem::replace(&mut instance.state, Seen::ShuttingDown);
                instance.old = Some(Old { state, until: None, call: *serial });
                (instance.failed, instance.powering_off) = (false, false);
            }
            CallKind::Delete => {}
            // The call names a server, whatever runs there.
            CallKind::PowerOff => {
                let there = servers.get(bit) == Some(&instance.server);
                instance.powering_off |= there && instance.state == Seen::Live(Live::Running);
            }
        }
    }
}

/// Where the wall clock stands still.
const WALL_END: u8 = 12;

fn unknown() -> CallOutcome {
    CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage::default(),
    }
}
