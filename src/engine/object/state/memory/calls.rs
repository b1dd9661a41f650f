//! The course of a call of this process, from its claim to its record.

use std::{collections::BTreeSet, time::Duration};

use super::{CallEnd, CallState, CalledId, Memory, OwnCall, Refusals, RefusedId};
use crate::{
    api::CallKind,
    engine::{
        backoff::backoff,
        id::InstanceId,
        object::state::{
            bisection::{Finding, RefusedAlone},
            blocker::blocker,
            ledger::Ledger,
            wave::{Member, Wave},
        },
        outcome::{CallOutcome, CloudMessage, Refusal, Trouble, Unsent},
        settings::{BATCH_SIZE, Settings},
        time::{Mono, Now},
    },
};

impl Memory {
    /// A number for the next batch: above every number in the record, and above those of all calls
    /// of this process that may have left. A record that was set back shows some of them no more.
    #[must_use]
    pub fn next_batch(&self, ledger: &Ledger) -> u32 {
        let made = self.calls.iter().rev().find(|(_, call)| call.may_have_left()).map(|(number, _)| *number);
        ledger.next_batch().max(made.unwrap_or(0).max(self.made).saturating_add(1))
    }

    /// Forgets recorded calls, and batches of other processes, that no open row names: no rule asks for them. An object that is
    /// refused every few minutes for weeks needs no more memory than on its first day. A wave is forgotten as a whole.
    pub(in crate::engine::object) fn forget_calls(&mut self, ledger: &Ledger) {
        let open = ledger.rows.iter().filter(|row| !row.progress.ended());
        let named: BTreeSet<u32> = open.filter_map(|row| row.progress.batch()).collect();
        let recorded = |call: &OwnCall| matches!(call.state, CallState::Recorded { .. });
        let unrecorded = self.calls.values().filter(|call| !recorded(call)).map(|call| call.claim.clone());
        let open_waves: BTreeSet<String> = unrecorded.collect();
        let Self { calls, made, foreign, .. } = self;
        calls.retain(|number, call| {
            let kept = open_waves.contains(&call.claim) || named.contains(number);
            if !kept && call.may_have_left() {
                *made = (*made).max(*number);
            }
            kept
        });
        foreign.retain(|number, _| named.contains(number));
    }

    /// Notes the calls of a wave, before its intent is written.
    pub fn claimed(&mut self, wave: &Wave) {
        for batch in &wave.batches {
            let called = |member: &Member| {
                let Member { id, attempts, or_powers_off, .. } = *member;
                CalledId { id, attempts, or_powers_off }
            };
            let ids = batch.members.iter().map(called).collect();
            let (kind, claim) = (batch.kind, wave.claim.clone());
            let call = OwnCall { kind, claim, ids, state: CallState::InFlight };
            self.calls.insert(batch.number, call);
        }
    }

    /// Notes that the calls of a wave are not made. Where its intent is stored all the same, the
    /// record is told, so that nobody waits for these calls.
    pub fn unsent(&mut self, wave: &Wave, why: Unsent, at: Mono) {
        for batch in &wave.batches {
            if let Some(call) = self.calls.get_mut(&batch.number) {
                call.state = CallState::Ended { at, outcome: CallOutcome::NotSent(why) };
            }
        }
    }

    /// Notes how a call ended, and what follows for its ids and for the object's next call.
    pub fn call_ended(&mut self, number: u32, end: &CallEnd<'_>) {
        let CallEnd { outcome, evidence, now, .. } = *end;
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.state = CallState::Ended { at: now.mono, outcome: outcome.clone() };
        let (called, claim, kind) = (call.ids.clone(), call.claim.clone(), call.kind);
        let ids: Vec<InstanceId> = called.iter().map(|called| called.id).collect();
        if !matches!(outcome, CallOutcome::NotSent(_) | CallOutcome::Refused { refusal: Refusal::Whole, .. })
        {
            let refused = &mut self.refusals.of_mut(kind).ids;
            refused.retain(|id, _| !ids.contains(id));
        }
        let found = match outcome {
            CallOutcome::Accepted { ids: returned, .. } => {
                // The outcome of another call of the same wave is no older than this one.
                let stands = |other: &OwnCall| other.claim == claim && other.blocks_others();
                if !self.calls.values().any(stands) {
                    self.call_trouble = None;
                }
                self.refusals.of_mut(kind).bisection.accepted(returned, ids.len(), evidence)
            }
            CallOutcome::Unknown { trouble, message, .. } => {
                self.refusals.of_mut(kind).bisection.unknown(&ids, evidence);
                self.trouble(*trouble, message.clone(), end);
                Finding::Open
            }
            CallOutcome::Refused { refusal, trouble, message } => {
                self.call_refused((kind, &called), refusal, (*trouble, message), end)
            }
            CallOutcome::NotSent(_) => Finding::Open,
        };
        let message = match outcome {
            CallOutcome::Refused { message, .. } => Some(message),
            CallOutcome::Accepted { .. } | CallOutcome::Unknown { .. } | CallOutcome::NotSent(_) => None,
        };
        self.found(kind, found, message, now, end.settings);
    }

    /// Enters a finding of the bisection of calls of this kind. `message` is the cloud's message to the last call.
    pub(in crate::engine::object) fn found(
        &mut self,
        kind: CallKind,
        finding: Finding,
        message: Option<&CloudMessage>,
        now: &Now,
        settings: &Settings,
    ) {
        // A bad request is retried slowly, without jitter; ids that are sent alone are few.
        let random = 0;
        match finding {
            Finding::Open => {}
            Finding::BadRequest => {
                let message = message.cloned().unwrap_or_default();
                let before = self.call_trouble.as_ref();
                let blocker = blocker(Trouble::RequestRefused, message, before, None, now, settings, random);
                self.call_trouble = Some(blocker);
            }
            Finding::Conflicts(ids) => {
                for (id, RefusedAlone { attempts, message }) in ids {
                    let wait = backoff(attempts, settings.retry_min, settings.retry_max, random);
                    let (at, until) = (now.mono, now.mono + wait);
                    let refused = RefusedId { at, until, unexplained: Some(attempts), message };
                    self.refusals.of_mut(kind).ids.insert(id, refused);
                }
            }
        }
    }

    fn call_refused(
        &mut self,
        (kind, call): (CallKind, &[CalledId]),
        refusal: &Refusal,
        (trouble, message): (Trouble, &CloudMessage),
        end: &CallEnd<'_>,
    ) -> Finding {
        let CallEnd { evidence, now, settings, random, .. } = *end;
        if *refusal == Refusal::Whole {
            self.trouble(trouble, message.clone(), end);
            return Finding::Open;
        }
        // The API answered about the ids: nothing stands in the way of the object as a whole.
        self.call_trouble = None;
        let ids: Vec<InstanceId> = call.iter().map(|called| called.id).collect();
        let called = |id: &InstanceId| call.iter().find(|called| called.id == *id);
        let attempts = |id: &InstanceId| called(id).map_or(0, |called| called.attempts);
        // Those that are powered off now go on once a read shows them off, and not after a backoff.
        let powered_off: Vec<InstanceId> =
            call.iter().filter(|called| called.or_powers_off).map(|called| called.id).collect();
        let until = |id: &InstanceId, wait: Duration| {
            if powered_off.contains(id) { now.mono } else { now.mono + wait }
        };
        let wait = |failures| backoff(failures, settings.retry_min, settings.retry_max, random);
        let Refusals { ids: refused, bisection } = self.refusals.of_mut(kind);
        let mut enter = |id: InstanceId, until: Mono, unexplained: Option<u32>| {
            let message = message.clone();
            refused.insert(id, RefusedId { at: now.mono, until, unexplained, message });
        };
        match refusal {
            Refusal::Whole => Finding::Open,
            Refusal::UnnamedState | Refusal::UnnamedConflict if !powered_off.is_empty() => {
                // Those that run may be the ones at fault. The others of the call go on at once.
                for id in &powered_off {
                    enter(*id, now.mono, None);
                }
                Finding::Open
            }
            Refusal::Unnamed | Refusal::UnnamedState => {
                let recent = Mono::at(now.mono.since_start().saturating_sub(settings.retry_max));
                let attempts = ids.first().map_or(0, attempts);
                bisection.refused(&ids, (attempts, message), evidence, recent)
            }
            Refusal::UnnamedConflict => {
                bisection.halve(&ids);
                // The smaller the call was, the longer its ids wait: a lock on all of them may pass
                // meanwhile.
                let halvings = (BATCH_SIZE / ids.len().max(1)).max(1).ilog2();
                for id in &ids {
                    enter(*id, now.mono + wait(halvings), None);
                }
                Finding::Open
            }
            Refusal::Missing(named) | Refusal::Conflict(named) => {
                let missing = matches!(refusal, Refusal::Missing(_));
                for id in named {
                    let before = attempts(id);
                    enter(*id, until(id, wait(before)), missing.then_some(before));
                }
                bisection.named(named, evidence)
            }
        }
    }

    fn trouble(&mut self, trouble: Trouble, message: CloudMessage, end: &CallEnd<'_>) {
        // The account's gate may stay closed for longer than this one reply asked for.
        let trouble = match trouble {
            Trouble::Throttled { .. } => Trouble::Throttled { retry_after: end.closed_for },
            other => other,
        };
        let version = Some(end.secret_version.to_owned());
        let before = self.call_trouble.as_ref();
        self.call_trouble =
            Some(blocker(trouble, message, before, version, end.now, end.settings, end.random));
    }

    /// Whether the object waits until its Secret changes, or also for that.
    #[must_use]
    pub fn waits_for_secret(&self) -> bool {
        let troubles = [&self.look_trouble, &self.call_trouble];
        troubles.into_iter().flatten().any(|blocker| blocker.trouble.ends_with_the_secret())
    }

    /// Whether a call of this process is in flight.
    #[must_use]
    pub fn calls_in_flight(&self) -> bool {
        self.calls.values().any(|c| c.state == CallState::InFlight)
    }

    /// Whether a call has ended whose outcome no acknowledged write holds.
    #[must_use]
    pub fn unrecorded(&self) -> bool {
        self.calls.values().any(|c| matches!(c.state, CallState::Ended { .. }))
    }

    /// Notes that a write was acknowledged that holds the outcomes of these batches.
    pub fn recorded(&mut self, batches: &[u32]) {
        for number in batches {
            if let Some(call) = self.calls.get_mut(number)
                && let CallState::Ended { at, outcome } = &call.state
            {
                call.state = CallState::Recorded { at: *at, outcome: outcome.without_details() };
                call.ids = Vec::new();
            }
        }
    }
}
