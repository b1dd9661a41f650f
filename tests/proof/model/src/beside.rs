//! Events beside the reconcile: calls leave and end, and looks are answered.

use engine_purity::engine::{
    object::state::memory::{CallEnd, LookEnd},
    outcome::{CallOutcome, CloudMessage, LookFailure, Trouble, Unsent},
};

use crate::{
    Model,
    configuration::Mistake,
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
        process.looks.push(Look { ids, sent: None, seen: Vec::new(), failed: Vec::new() });
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
        let Look { ids, sent, seen, failed: failures } = world.processes[p].looks.remove(look);
        let sent = sent.unwrap_or(now.mono);
        if !failed {
            for ((position, seen), failure) in ids.iter().zip(&seen).zip(failures) {
                self.heard_of_state(world, p, *position, seen, failure, sent);
            }
        }
        let by_answer = self.configuration.mistake == Some(Mistake::LookDatedByAnswer);
        let sent = if by_answer { now.mono } else { sent };
        let process = &mut world.processes[p];
        process.woken = true;
        let Some(memory) = &mut process.memory else { return };
        let named: Vec<_> = ids.iter().map(|position| self.spec.ids[*position]).collect();
        process.call_history.sweep(now.mono, &self.settings);
        if !failed {
            for (id, seen) in named.iter().zip(seen) {
                memory.saw(*id, seen, sent);
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
        let Call { owner: Some(p), uid, number, ids, .. } = world.calls[c].clone() else { return };
        let process = &mut world.processes[p];
        let named: Vec<_> = ids.iter().map(|position| self.spec.ids[*position]).collect();
        let forget = self.configuration.mistake == Some(Mistake::MarksForget);
        process.call_history.release(&named, now.mono, |id| reply.effect(id).filter(|_| !forget));
        process.delete_calls.ended(reply, now.mono);
        if process.uid == uid
            && let Some(memory) = &mut process.memory
        {
            let evidence = process.delete_calls.evidence();
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
            memory.bisection.take_too_large();
            process.woken |= !memory.calls_in_flight();
        }
    }
}
