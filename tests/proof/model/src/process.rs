//! A controller that carries out decisions as `src/controller` does: a live read, a decision, a write by compare-and-swap, and
//! calls and looks beside it.

use std::{collections::BTreeMap, mem, sync::Arc};

use engine_purity::{
    api::{
        CallKind, DeletionGuardSpec, GuardHold, InstanceDeletionStatus, InstancePhase, Protected,
        ProtectedInstance,
    },
    engine::{
        Mono,
        account::delete_queue::PermitAnswer,
        object::{
            decide::{Decision, GuardsRead, Input, Next, finished, prepare},
            report::status::is_finished,
            state::{
                guards::{Guard, Guards},
                memory::Memory,
                spec::Meta,
                wave::{Batch, Member, Wave},
            },
        },
        outcome::Unsent,
        settings::{INTENT_LIFE, LOOK_LIFE},
    },
};

use crate::{
    Model,
    configuration::{Configuration, Mistake},
    judge::Judge,
    world::{Call, CallState, Process, Read, Step, Stored, World, Write, WriteAnswer, Writing},
};

impl Model {
    /// A process that has just started.
    #[must_use]
    pub fn process(&self) -> Process {
        Process {
            up: true,
            stopped: false,
            uid: 0,
            memory: None,
            call_history: engine_purity::engine::account::call_history::CallHistory::default(),
            account_calls: engine_purity::engine::account::outage::AccountCalls::default(),
            step: Step::Idle,
            due: None,
            woken: true,
            looks: Vec::new(),
            watch: Vec::new(),
            look_at: None,
            closed_at: None,
            generation: 0,
            known: vec![crate::facts::Known::default(); self.configuration.ids],
        }
    }

    /// Whether a process is about to read the object.
    #[must_use]
    pub fn runnable(world: &World, process: &Process) -> bool {
        matches!(process.step, Step::Idle)
            && (process.woken || process.due.is_some_and(|due| due <= world.now))
    }

    /// The live read.
    pub fn read(&self, world: &mut World, p: usize) {
        let now = self.clock(world).mono;
        let process = &mut world.processes[p];
        (process.woken, process.due) = (false, None);
        let Some(object) = world.object.clone() else {
            (process.memory, process.uid) = (None, 0);
            process.watch.clear();
            return;
        };
        if process.uid != object.uid {
            let known_ids_stay = self.configuration.mistake == Some(Mistake::UidIgnored);
            if !known_ids_stay {
                process.memory = None;
            }
            process.uid = object.uid;
            process.watch.clear();
            for known in &mut process.known {
                (known.heard, known.off, known.wanted) = (false, None, false);
            }
        }
        self.heard_of_record(&mut world.processes[p], &world.facts, &object, now);
        if object.suspend || object.leaving {
            let own = |call: &&mut Call| call.owner == Some(p) && call.uid == object.uid;
            world.calls.iter_mut().filter(own).for_each(|call| call.closed = true);
        }
        world.processes[p].step = Step::HasRead(Read { object, fresh: true });
    }

    /// The decision. `denied`: another object of the account claimed the ids of its wave first.
    pub fn decide(&self, world: &mut World, p: usize, denied: bool, judge: &mut Judge) {
        let Step::HasRead(read) = mem::replace(&mut world.processes[p].step, Step::Idle) else { return };
        let now = self.clock(world);
        let status = &read.object.stored.status;
        if is_finished(status) {
            world.processes[p].memory = None;
            world.processes[p].watch.clear();
            let meta = Meta { generation: read.object.generation, ..Meta::default() };
            let decision = finished(&meta, status, None, &now);
            judge.at_rest(&read.object, &decision);
            self.carry_out(world, p, read, decision, judge);
            return;
        }
        let mut spec = self.spec.clone();
        spec.meta.generation = read.object.generation;
        (spec.suspend, spec.meta.leaving) = (read.object.suspend, read.object.leaving);
        spec.rollout = self.configuration.rollout(read.object.limit);
        let cached = world.processes[p].memory.as_ref().and_then(Memory::guards).cloned();
        let cached = cached.filter(|_| self.configuration.mistake == Some(Mistake::GuardsCached));
        let guards = cached.map_or_else(|| Self::guards(world), Arc::new);
        let guards = GuardsRead { guards, at: now.mono };
        let claim = Self::fresh_claim(world, p);
        let process = &mut world.processes[p];
        let memory = process.memory.get_or_insert_with(|| Memory::new(&spec, now.mono));
        let input = Input {
            spec: &spec,
            status,
            other_bytes: 500,
            guards: Some(&guards),
            evidence: process.account_calls.evidence(),
            batch_size: self.configuration.batch_size,
            may_start: true,
            claim: &claim,
            now: &now,
            cloud_time: None,
            settings: &self.settings,
        };
        if guards.guards.bars(&spec).is_some() {
            process.closed_at = Some(now.mono);
        }
        let prepared = prepare(input, memory, &mut process.call_history);
        let calls = self.settings.parallel_calls;
        let answer = match calls.min(process.account_calls.allowed()) {
            0 => PermitAnswer::Soon { calls, at: Some(now.mono + self.configuration.tick()) },
            permitted => PermitAnswer::Now(permitted),
        };
        let mut decision = prepared.conclude(Some(answer));
        match &decision.next {
            Next::Submit(wave) if denied || !claim_wave(process, wave) => {
                decision = decision.without_its_wave(now.mono + self.configuration.tick());
            }
            Next::Submit(_) | Next::Delete | Next::Wait => {}
        }
        self.carry_out(world, p, read, decision, judge);
    }

    /// What the guard says now, as a process reads it.
    fn guards(world: &World) -> Arc<Guards> {
        let protected = world.guard.protected.iter().enumerate().filter(|(_, since)| since.is_some());
        let instances = protected.map(|(position, _)| ProtectedInstance {
            id: Configuration::id(position).to_string(),
            reason: "kept".to_owned(),
        });
        let spec = DeletionGuardSpec {
            hold: world.guard.held.map(|_| GuardHold { reason: "freeze".to_owned() }),
            protected: Some(Protected { instances: Some(instances.collect()), ..Protected::default() }),
            ..DeletionGuardSpec::default()
        };
        let guard = Guard { name: "guard".to_owned(), spec };
        Arc::new(Guards::of(vec![guard], &BTreeMap::new()).unwrap_or_default())
    }

    /// A claim that occurs nowhere in the state. It is as good as a random one, and keeps the state space finite.
    fn fresh_claim(world: &World, p: usize) -> String {
        let in_status = |stored: &Stored, claim: &str| stored.status.batches.iter().any(|b| b.claim == claim);
        let used = |claim: &str| {
            world.object.iter().any(|object| in_status(&object.stored, claim))
                || world.writes.iter().any(|write| in_status(&write.stored, claim))
                || world.calls.iter().any(|call| call.claim == claim)
                || world.processes.iter().any(|process| {
                    process.memory.iter().flat_map(|m| m.calls.values()).any(|call| call.claim == claim)
                        || match &process.step {
                            Step::Idle => false,
                            Step::HasRead(read) => in_status(&read.object.stored, claim),
                            Step::Writing(writing) => in_status(&writing.stored, claim),
                        }
                })
        };
        let mut number = 0_u32;
        loop {
            let claim = format!("{p}-{number}");
            if !used(&claim) {
                return claim;
            }
            number += 1;
        }
    }

    fn carry_out(&self, world: &mut World, p: usize, read: Read, decision: Decision, judge: &mut Judge) {
        let Decision { mut write, records, holds_ends, next, look, regular, watch, wake, events: _ } =
            decision;
        if self.configuration.mistake == Some(Mistake::OffSinceCall) {
            write.iter_mut().for_each(off_since_call);
        }
        let look = self.positions(&look);
        let free = watch.on_their_way.iter().filter(|one| !one.asked);
        let watch = self.positions(&free.map(|one| one.id).collect::<Vec<_>>());
        let wave = match next {
            Next::Submit(wave) => Some(wave),
            Next::Delete | Next::Wait => None,
        };
        let Some(write) = write else {
            Self::wrote(world, p, &records, holds_ends);
            self.look(world, p, look, regular);
            (world.processes[p].watch, world.processes[p].due) = (watch, wake);
            return;
        };
        let stored = Stored::new(write);
        self.judge_version(world, p, &read.object, &stored, judge);
        if let Some(wave) = &wave {
            self.judge_wave(world, p, wave, judge);
            self.judge_power(world, p, wave, &stored, judge);
            self.judge_whole_list(&world.processes[p], &read.object, judge);
            self.judge_room(&stored, judge);
        }
        let known = world.processes[p].known.iter().enumerate();
        let settles = known.filter(|(_, known)| known.call == 2).map(|(position, _)| position).collect();
        let wall = world.wall;
        let writing = Writing {
            read,
            stored,
            wave,
            records,
            holds_ends,
            look,
            regular,
            watch,
            wake,
            sent: None,
            answer: None,
            settles,
            wall,
        };
        world.processes[p].step = Step::Writing(Box::new(writing));
    }

    /// Sends the write.
    pub fn send(&self, world: &mut World, p: usize) {
        let now = self.clock(world).mono;
        let process = &mut world.processes[p];
        let base = process.known.iter().map(|known| known.base).collect();
        let Step::Writing(writing) = &mut process.step else { return };
        writing.sent = Some(now);
        let write = Write {
            owner: Some(p),
            uid: writing.read.object.uid,
            fresh: writing.read.fresh,
            stored: writing.stored.clone(),
            base,
            settles: writing.settles.clone(),
        };
        if self.configuration.mistake == Some(Mistake::RecordedWhenSent)
            && let Some(memory) = &mut process.memory
        {
            memory.recorded(&writing.records);
        }
        world.writes.push(write);
    }

    /// Goes on with the answer to its write.
    pub fn answered(&self, world: &mut World, p: usize) {
        let now = self.clock(world).mono;
        let Step::Writing(writing) = mem::replace(&mut world.processes[p].step, Step::Idle) else { return };
        let Writing {
            read,
            stored,
            wave,
            records,
            holds_ends,
            look,
            regular,
            watch,
            wake,
            sent,
            answer,
            wall,
            ..
        } = *writing;
        if !self.acknowledged(world, answer, wave.as_ref()) {
            if let Some(wave) = wave {
                let process = &mut world.processes[p];
                process.account_calls.abandoned(wave.batches.len());
                for batch in &wave.batches {
                    process.call_history.release(batch.kind, &batch.ids(), now, |_| None);
                }
                if let Some(memory) = &mut process.memory {
                    memory.unsent(&wave, Unsent::Unacknowledged, now);
                }
            }
            match answer {
                Some(WriteAnswer::Lost) => world.processes[p].due = Some(now + self.configuration.tick()),
                Some(WriteAnswer::Conflict | WriteAnswer::Stored) | None => world.processes[p].woken = true,
            }
            return;
        }
        Self::wrote(world, p, &records, holds_ends);
        let Some(wave) = wave else {
            self.look(world, p, look, regular);
            (world.processes[p].watch, world.processes[p].due) = (watch, wake);
            return;
        };
        world.processes[p].woken = true;
        let intent_sent = sent.unwrap_or(now);
        for batch in &wave.batches {
            world.calls.push(Call {
                kind: batch.kind,
                servers: self.servers(&world.processes[p], batch),
                serial: 0,
                owner: Some(p),
                uid: read.object.uid,
                number: batch.number,
                claim: wave.claim.clone(),
                ids: self.positions(&batch.ids()),
                intent_sent,
                leave_by: self.leave_by(intent_sent, &wave),
                intent: (answer == Some(WriteAnswer::Stored)).then(|| stored.clone()),
                based_on: read.object.clone(),
                wall,
                closed: false,
                accounted: false,
                ended: None,
                state: CallState::Waiting,
            });
        }
    }

    /// The servers that a batch names.
    pub(crate) fn servers(&self, process: &Process, batch: &Batch) -> Vec<u8> {
        let of = |member: &Member| {
            let known = process.known.get(self.position(member.id));
            let first = known.and_then(|known| known.first_server);
            first.or_else(|| member.server.as_ref()?.as_str().parse().ok()).unwrap_or(u8::MAX)
        };
        let names = batch.kind == CallKind::PowerOff;
        batch.members.iter().filter(|_| names).map(of).collect()
    }

    /// When a call of a wave must have left.
    fn leave_by(&self, intent_sent: Mono, wave: &Wave) -> Mono {
        let old = self.configuration.mistake == Some(Mistake::OldGuards);
        let guards_read = if old { intent_sent } else { wave.guards_read };
        (intent_sent.min(guards_read) + INTENT_LIFE).min(wave.look_sent + LOOK_LIFE)
    }

    /// Whether a process takes its write for stored. Planted mistakes take other answers for success too.
    fn acknowledged(&self, world: &World, answer: Option<WriteAnswer>, wave: Option<&Wave>) -> bool {
        match (self.configuration.mistake, answer) {
            (_, Some(WriteAnswer::Stored)) => true,
            (Some(Mistake::NoAcknowledgement), _) => wave.is_some(),
            (Some(Mistake::ClaimIgnored), Some(WriteAnswer::Conflict)) => {
                let numbers: Vec<_> = wave.iter().flat_map(|w| &w.batches).map(|b| b.number).collect();
                let mut stored = world.object.iter().flat_map(|o| &o.stored.status.batches);
                stored.any(|batch| numbers.contains(&batch.number))
            }
            _ => false,
        }
    }

    fn wrote(world: &mut World, p: usize, records: &[u32], holds_ends: bool) {
        let now = world.now;
        if let Some(memory) = &mut world.processes[p].memory {
            memory.recorded(records);
            if holds_ends {
                memory.ends_written = Some(now);
            }
        }
    }

    /// Loses all that was only in this process. Messages that it has sent are still on their way.
    pub fn crash(&self, world: &mut World, p: usize) {
        self.judge_crash(world, p);
        world.processes[p] = Process { up: false, woken: false, ..self.process() };
        world.calls.retain(|call| call.owner != Some(p) || !matches!(call.state, CallState::Waiting));
        for call in &mut world.calls {
            call.owner = call.owner.filter(|owner| *owner != p);
        }
        for write in &mut world.writes {
            write.owner = write.owner.filter(|owner| *owner != p);
        }
        self.bury(world);
    }
}

/// A mistake: what is off counts as off since the call that powered it off.
fn off_since_call(status: &mut InstanceDeletionStatus) {
    let InstanceDeletionStatus { instances, batches, .. } = status;
    for row in instances.iter_mut().filter(|row| row.phase == InstancePhase::PoweredOff) {
        if let Some(batch) = batches.iter().find(|batch| Some(batch.number) == row.batch) {
            row.powered_off_at = Some(batch.submitted_at.clone());
        }
    }
}

fn claim_wave(process: &mut Process, wave: &Wave) -> bool {
    let ids: Vec<_> = wave.batches.iter().flat_map(|b| b.members.iter().map(|m| (m.id, m.live))).collect();
    let Some(memory) = &mut process.memory else { return false };
    if process.account_calls.allowed() < wave.batches.len() || !process.call_history.claim(&ids) {
        return false;
    }
    process.account_calls.started(wave.batches.len());
    memory.claimed(wave);
    true
}
