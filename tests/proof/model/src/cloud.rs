//! The cloud: effects of delete calls, answers to reads, and ends of instances.

use engine_purity::engine::{
    Mono,
    outcome::{CallOutcome, CloudMessage, Refusal, Trouble},
    state::{Live, Seen},
};

use crate::{
    Model,
    configuration::Configuration,
    configuration::WALL_START,
    world::{CallState, Instance, Old, Process, World},
};

/// The outcome of a delete call at the cloud. Positions are bits, counted from the first id of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 202 listing some, with an effect on some.
    Accepts {
        /// Ids of which the deletion begins.
        applied: u8,
        /// Ids that the reply lists.
        listed: u8,
    },
    /// 5xx.
    Fails {
        /// Ids of which the deletion begins all the same.
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
    /// 429.
    Throttled,
}

impl Model {
    /// The cloud at the start: every instance runs.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        let bad = self.configuration.bad;
        let one = |position| Instance {
            state: Seen::Live(Live::Running),
            old: None,
            failed: false,
            bad: bad.contains(&position),
        };
        (0..self.configuration.ids).map(one).collect()
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
        let (serial, uid) = (world.calls[c].serial, world.calls[c].uid);
        for position in named(applied) {
            let instance = &mut world.instances[position];
            if matches!(instance.state, Seen::Live(_)) {
                let state = std::mem::replace(&mut instance.state, Seen::ShuttingDown);
                instance.old = Some(Old { state, until: None, call: serial });
                instance.failed = false;
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
                if uid == world.uid {
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
                call_history.saw(Configuration::id(*position), &seen, sent);
            }
            look.seen.push(seen);
            look.failed.push(instance.failed && !lags);
        }
    }

    /// A read is sent.
    pub fn send_look(&self, world: &mut World, p: usize, look: usize) {
        let now = self.clock(world).mono;
        world.processes[p].looks[look].sent = Some(now);
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
        if self.configuration.wall_moves() {
            // Beyond every limit: no rule can tell the difference.
            world.wall = (world.wall + 1).min(WALL_END.max(self.deadline_of(world)));
        }
        self.bury(world);
    }

    /// When the wall clock reaches the deadline of the object, in ticks from the start; 0 without one. It counts from the
    /// first status of the object, which may come late.
    fn deadline_of(&self, world: &World) -> u8 {
        let started = world.object.as_ref().and_then(|object| object.stored.status.start_time.as_ref());
        let (Some(started), Some(life)) = (started, self.configuration.deadline) else { return 0 };
        let ticks = (started.0.as_second() - WALL_START) / i64::from(self.configuration.tick);
        u8::try_from(ticks + i64::from(life)).unwrap_or(u8::MAX)
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
