//! Events beside the reconcile: calls leave and end, and looks are answered.

use std::sync::Arc;

use engine_purity::engine::{
    ReadTime, ServerId,
    instance_facts::InstanceFacts,
    object::state::memory::{CallEnd, LookEnd},
    outcome::{CallOutcome, CloudMessage, LookFailure, Trouble, Unsent},
};

use crate::{
    Model,
    configuration::{Mistake, RIGHT},
    judge::Judge,
    world::{Call, CallState, Look, World},
};

impl Model {
    pub(crate) fn look(&self, world: &mut World, p: usize, ids: Vec<usize>, regular: bool) {
        if ids.is_empty() {
            return;
        }
        let now = self.clock(world).mono;
        let process = &mut world.processes[p];
        if let Some(memory) = &mut process.memory {
            let named: Vec<_> = ids.iter().map(|position| self.spec.ids[*position]).collect();
            memory.looking(&named, regular, now, &self.settings);
        }
        process.looks.push(Look::new(ids));
    }

    /// The account's schedule looks at what is on it.
    pub(crate) fn scheduled_look(&self, world: &mut World, p: usize) {
        let ids = std::mem::take(&mut world.processes[p].watch);
        world.processes[p].look_at = Some(world.now + self.settings.poll_min);
        self.look(world, p, ids, false);
    }

    /// Those that are due, of every process that runs.
    pub(crate) fn scheduled_looks(&self, world: &mut World) {
        for p in 0..world.processes.len() {
            let process = &world.processes[p];
            if process.up && !process.stopped && Self::scheduled(process, world.now) {
                self.scheduled_look(world, p);
            }
        }
    }

    /// Takes the answer to a look.
    pub fn look_answered(&self, world: &mut World, p: usize, look: usize, failed: bool) {
        let now = self.clock(world);
        let look = world.processes[p].looks.remove(look);
        let sent = look.sent.unwrap_or(now.mono);
        if !failed {
            self.heard_of_look(world, p, &look, sent);
        }
        let Look { ids, seen, right, servers, .. } = look;
        let by_answer = self.configuration.mistake == Some(Mistake::LookDatedByAnswer);
        let read = ReadTime { sent: if by_answer { now.mono } else { sent }, answered: now.mono };
        let process = &mut world.processes[p];
        process.woken = true;
        let Some(memory) = &mut process.memory else { return };
        let named: Vec<_> = ids.iter().map(|position| self.spec.ids[*position]).collect();
        process.call_history.sweep(now.mono, &self.settings);
        if !failed {
            for (((id, seen), right), server) in named.iter().zip(seen).zip(right).zip(servers) {
                let name = if right { RIGHT } else { "wrong" };
                let server_id = ServerId::parse(&server.to_string()).ok();
                let facts =
                    InstanceFacts { name: Some(name.to_owned()), server_id, ..InstanceFacts::default() };
                memory.saw_facts(*id, seen, read, Some(&Arc::new(facts)));
            }
        }
        let trouble = Trouble::CloudUnreachable;
        let failure =
            failed.then(|| LookFailure { trouble, message: CloudMessage::default(), secret_version: None });
        memory.look_answered(&named, LookEnd { failure, now: &now, settings: &self.settings, random: 0 });
    }

    /// The last check of a call: it leaves, or is too late.
    pub fn leave(&self, world: &mut World, c: usize, judge: &mut Judge) {
        let now = self.clock(world).mono;
        let late = now >= world.calls[c].leave_by;
        if late && self.configuration.mistake != Some(Mistake::LeavesLate) {
            self.call_ended(world, c, &CallOutcome::NotSent(Unsent::TooLate));
            world.calls.remove(c);
            return;
        }
        let Call { owner, ids, .. } = &world.calls[c];
        let ids: Vec<_> = ids.iter().map(|position| self.spec.ids[*position]).collect();
        if owner.is_some_and(|p| !world.processes[p].call_history.may_leave(&ids, &self.spec.meta.namespace))
        {
            self.call_ended(world, c, &CallOutcome::NotSent(Unsent::Overtaken));
            world.calls.remove(c);
            return;
        }
        self.judge_request(world, c, judge);
        let used = |serial: u8| {
            world.calls.iter().any(|call| call.serial == serial)
                || world.instances.iter().any(|i| i.old.as_ref().is_some_and(|old| old.call == serial))
        };
        let serial = (1..u8::MAX).find(|serial| !used(*serial)).unwrap_or(u8::MAX);
        let call = &mut world.calls[c];
        call.serial = serial;
        call.state = CallState::Wire { left: now };
    }

    /// Takes note of the end of a call.
    pub fn call_ended(&self, world: &mut World, c: usize, reply: &CallOutcome) {
        let now = self.clock(world);
        let Call { kind, owner: Some(p), uid, number, ids, .. } = world.calls[c].clone() else { return };
        let process = &mut world.processes[p];
        let named: Vec<_> = ids.iter().map(|position| self.spec.ids[*position]).collect();
        let forget = self.configuration.mistake == Some(Mistake::MarksForget);
        process.call_history.release(kind, &named, now.mono, |id| reply.effect(id).filter(|_| !forget));
        process.account_calls.ended(kind, reply, now.mono);
        if process.uid == uid
            && let Some(memory) = &mut process.memory
        {
            let evidence = *process.account_calls.evidence().of(kind);
            let end = CallEnd {
                outcome: reply,
                secret_version: "1",
                closed_for: None,
                evidence,
                now: &now,
                settings: &self.settings,
                random: 0,
            };
            memory.call_ended(number, &end);
            memory.refusals.delete.bisection.take_too_large();
            process.woken |= !memory.calls_in_flight();
        }
    }
}
