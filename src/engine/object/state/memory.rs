//! What this process has seen of one object: reads of its instances, its own calls, and what stands in its way.
//!
//! It is lost with the process, and every rule holds without it: an empty memory only makes the engine look again and
//! wait longer.

mod calls;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    bisection::{Bisection, Refused},
    blocker::{Blocker, blocker},
    deadlines::Deadlines,
    ledger::{Ledger, Progress},
    observations::{Observation, Observations},
    spec::DeletionSpec,
};
use crate::{
    api::InstanceDeletionStatus,
    engine::{
        account::{
            call_history::{CallHistory, Ended},
            outage::Evidence,
        },
        id::InstanceId,
        object::rules::{look_first, poll},
        outcome::{CallOutcome, CloudMessage, Effect, LookFailure},
        settings::{INTENT_LIFE, READ_SIZE, Settings},
        state::Seen,
        time::{Mono, Now},
    },
};

/// A delete call of this process for this object, from the moment at which its intent was first written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnCall {
    /// The claim that its intent was stored with.
    pub claim: String,
    /// Its ids, each with the attempts that were recorded before it; none once its outcome is recorded.
    pub ids: Vec<(InstanceId, u32)>,
    /// How far it is.
    pub state: CallState,
}

impl OwnCall {
    /// Whether its outcome stands in the way of other calls too.
    #[must_use]
    pub fn blocks_others(&self) -> bool {
        match &self.state {
            CallState::NotSent | CallState::InFlight => false,
            CallState::Ended { outcome, .. } | CallState::Recorded { outcome, .. } => outcome.blocks_others(),
        }
    }

    /// Attempts of an id that were recorded before this call.
    #[must_use]
    pub fn attempts_before(&self, id: InstanceId) -> Option<u32> {
        self.ids.iter().find(|(named, _)| *named == id).map(|(_, attempts)| *attempts)
    }
}

/// How far a call of this process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallState {
    /// Its intent may be stored; the request was never sent, and won't be.
    NotSent,
    /// The request may be on the wire.
    InFlight,
    /// It ended, and no acknowledged write holds its outcome.
    Ended {
        /// When.
        at: Mono,
        /// With what.
        outcome: CallOutcome,
    },
    /// It ended, and an acknowledged write holds its outcome: the record says what it came to for each of its ids.
    Recorded {
        /// When it ended.
        at: Mono,
        /// What it came to, without its ids and texts.
        outcome: CallOutcome,
    },
}

/// A refusal that concerned one id: its state is read, and after a backoff it may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefusedId {
    /// When the refused call ended: only a read sent after that says what is so now.
    pub at: Mono,
    /// Not sent again before this.
    pub until: Mono,
    /// For an id that the service did not know: the attempts before, of which one is used if it reads alive.
    pub missing: Option<u32>,
    /// What the cloud said.
    pub message: CloudMessage,
}

/// What came of a call that ended, for [`Memory::call_ended`].
#[derive(Clone, Copy, Debug)]
pub struct CallEnd<'a> {
    /// What it came to.
    pub outcome: &'a CallOutcome,
    /// resourceVersion of the Secret that was used.
    pub secret_version: &'a str,
    /// For how long the account makes no call, counted from `now`, where a 429 closed it; `None` if it is open.
    pub closed_for: Option<Duration>,
    /// Calls that the account had accepted, this one included.
    pub evidence: Evidence,
    /// When it ended.
    pub now: &'a Now,
    /// Flags.
    pub settings: &'a Settings,
    /// For the jitter of backoffs.
    pub random: u64,
}

/// How a look ended, for [`Memory::look_answered`].
#[derive(Clone, Debug)]
pub struct LookEnd<'a> {
    /// Why not all was read, if so.
    pub failure: Option<LookFailure>,
    /// When.
    pub now: &'a Now,
    /// Flags.
    pub settings: &'a Settings,
    /// For the jitter of backoffs.
    pub random: u64,
}

/// What this process has seen of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    observations: Observations,
    generation: i64,
    requested_at: Option<String>,
    /// Since when both are as they are.
    asked_since: Mono,
    /// Looks sent before this don't count for a call: the object was closed to calls then, or not known.
    pub gate: Mono,
    /// Calls of this process, by batch number.
    pub calls: BTreeMap<u32, OwnCall>,
    /// Batches that another process stored: their claim, and when their call is over.
    foreign: BTreeMap<u32, (Option<String>, Mono)>,
    /// What stands in the way of looking.
    pub look_trouble: Option<Blocker>,
    /// Accepted ids that the last look at them did not read, at most [`READ_SIZE`].
    unread: BTreeSet<InstanceId>,
    /// What stands in the way of calling.
    pub call_trouble: Option<Blocker>,
    /// When the next look at the instances on their way is due.
    pub next_poll: Mono,
    /// When ends found by looking were last written.
    pub ends_written: Option<Mono>,
    /// Refusals that concerned one id each.
    pub refused: BTreeMap<InstanceId, RefusedId>,
    /// Batches that are taken apart to find bad ids.
    pub bisection: Bisection,
    /// Moments after which no new call is made.
    pub deadlines: Deadlines,
    /// Seconds by which the wall clock was ahead of the monotonic one when the object was read last.
    wall_ahead: i64,
    /// When the object was last seen suspended; it may be stuck only for as long as it is not.
    pub suspended_at: Option<Mono>,
}

impl Memory {
    /// The memory of an object that this process sees for the first time.
    #[must_use]
    pub fn new(spec: &DeletionSpec, now: Mono) -> Self {
        Self {
            observations: Observations::new(&spec.ids),
            generation: spec.meta.generation,
            requested_at: spec.meta.requested_at.clone(),
            asked_since: now,
            gate: now,
            calls: BTreeMap::new(),
            foreign: BTreeMap::new(),
            look_trouble: None,
            unread: BTreeSet::new(),
            call_trouble: None,
            next_poll: now,
            ends_written: None,
            refused: BTreeMap::new(),
            bisection: Bisection::default(),
            deadlines: Deadlines::default(),
            suspended_at: None,
            wall_ahead: i64::MAX,
        }
    }

    /// Takes note of a live read of the object, before it is decided upon. The marks are those of its endpoint and project.
    pub fn observe(&mut self, read: &Observed<'_>, call_history: &mut CallHistory) {
        let Observed { spec, status, ledger, evidence, now, settings } = *read;
        let (wall, now) = (now, now.mono);
        if self.deadlines.observe(spec, status.start_time.as_ref(), wall) {
            // What was seen before is no look at what is left.
            self.gate = now;
            self.refused.clear();
            self.bisection.stop();
        }
        let ahead = wall_ahead(wall);
        if ahead.saturating_sub(self.wall_ahead) > SLEPT {
            // The machine slept, and its monotonic clock stood still: a look that seems fresh may be hours old.
            self.gate = now;
        }
        self.wall_ahead = ahead;
        if spec.suspend {
            self.suspended_at = Some(now);
        }
        if self.bisection.active() {
            let on_its_way = |position: usize| {
                matches!(self.observations.at(position).last, Some((Seen::ShuttingDown, _)))
            };
            let rows = ledger.rows.iter().enumerate();
            let open = rows.filter(|(position, row)| !row.progress.ended() && !on_its_way(*position));
            let open = open.map(|(_, row)| row.id).collect();
            if self.bisection.observe(&open, evidence) == Refused::Request {
                self.request_found_bad(None, wall, settings);
            }
        }
        if !self.observations.are_of(&spec.ids) {
            self.observations = Observations::new(&spec.ids);
            self.gate = now;
        }
        // Once a limit has passed no call is made any more, and the looks after that decide how the rest ends.
        let closed = !spec.allows_calls() && self.deadlines.passed().is_none();
        if closed || spec.meta.generation != self.generation {
            self.gate = now;
        }
        let requested_at = &spec.meta.requested_at;
        if spec.meta.generation != self.generation || *requested_at != self.requested_at {
            (self.generation, self.requested_at) = (spec.meta.generation, requested_at.clone());
            self.asked_since = now;
        }
        self.learn(ledger, call_history, now, settings);
        if !self.unread.is_empty() {
            let mut left = BTreeSet::new();
            for (position, row) in ledger.rows.iter().enumerate() {
                if self.unread.contains(&row.id) && poll::on_schedule(row, self.observations.at(position)) {
                    left.insert(row.id);
                }
            }
            self.unread = left;
        }
        for (position, row) in ledger.rows.iter().enumerate() {
            let Some(since) = self.observations.at(position).not_found_since() else { continue };
            let ended = look_first::last_end(row, ledger, self, call_history);
            let Some(observation) = self.observations.at_mut(position) else { continue };
            let last = observation.last.as_ref().map(|(_, sent)| *sent);
            // Other objects read it too, and other calls named it: the series is as long as the shortest of both views.
            let unbroken = call_history.get(row.id).missing_since.map(|missing| missing.max(since));
            // It counts from its first read after the last call ended.
            let counts = |at: &Mono| ended.is_none_or(|ended| *at > ended);
            let counted = unbroken
                .and_then(|since| Some(since).filter(counts).or(last.filter(counts)))
                .filter(|since| last.is_some_and(|last| *since <= last));
            observation.correct_not_found(counted);
        }
    }

    /// The call of this process that stored the batch with this number, if the stored claim is its own.
    #[must_use]
    pub fn own(&self, number: u32, ledger: &Ledger) -> Option<&OwnCall> {
        let call = self.calls.get(&number)?;
        // A row that the newest 128 no longer hold was ours when this process recorded it.
        let mine = ledger.batch(number).is_none_or(|stored| stored.claim == call.claim);
        mine.then_some(call)
    }

    /// When the call of this batch, which another process stored, is over; none for a batch that was not observed yet.
    #[must_use]
    pub fn foreign_end(&self, number: u32, ledger: &Ledger) -> Option<Mono> {
        let (claim, end) = self.foreign.get(&number)?;
        let stored = ledger.batch(number).map(|b| b.claim.as_str());
        (claim.as_deref() == stored).then_some(*end)
    }

    /// Tells the marks what the record says of calls that this process did not make: what the object knows, all that name
    /// these ids know, also after it is gone (property S17).
    fn learn(&mut self, ledger: &Ledger, call_history: &mut CallHistory, now: Mono, settings: &Settings) {
        for (position, row) in ledger.rows.iter().enumerate().filter(|(_, row)| !row.progress.ended()) {
            let accepted = matches!(row.progress, Progress::Accepted { .. });
            let Some(number) = row.progress.batch() else {
                if accepted && self.observations.is_first_record(position) {
                    call_history.heard_on_its_way(row.id, now);
                }
                continue;
            };
            if self.own(number, ledger).is_some() {
                continue;
            }
            let end = self.foreign_end(number, ledger).unwrap_or_else(|| {
                let stored = ledger.batch(number);
                // Its call is over when its outcome is recorded; else it may leave INTENT_LIFE after its write and take its
                // whole time.
                let over = stored.is_some_and(|batch| batch.returned.is_some());
                let end = if over { now } else { now + INTENT_LIFE + settings.request_timeout };
                self.foreign.insert(number, (stored.map(|batch| batch.claim.clone()), end));
                end
            });
            let effect = if accepted { Effect::Accepted } else { Effect::Unknown };
            call_history.heard_call(row.id, Ended { at: end, effect, before: None }, now, settings);
        }
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn observation(&self, position: usize) -> &Observation {
        self.observations.at(position)
    }

    /// Notes that a look at these ids was asked for.
    pub fn asked(&mut self, ids: &[InstanceId], now: Mono) {
        self.observations.asked(ids, now);
    }

    /// Notes what a read that was sent at `sent` showed of one instance. An older read than the newest changes nothing.
    pub fn saw(&mut self, id: InstanceId, seen: Seen, sent: Mono) {
        self.observations.saw(id, seen, sent);
    }

    /// Notes that a look has brought all it will bring: its readings were told by [`Self::saw`].
    ///
    /// A failure stands in the way of the object, also when others were read: it is over when what was not read is.
    pub fn look_answered(&mut self, ids: &[InstanceId], end: LookEnd<'_>) {
        let missed = self.observations.answered(ids);
        let LookEnd { failure, now, settings, random } = end;
        self.unread.retain(|id| !ids.contains(id) || missed.contains(id));
        match failure {
            Some(LookFailure { trouble, message, secret_version }) => {
                for id in missed {
                    if self.unread.len() < READ_SIZE {
                        self.unread.insert(id);
                    }
                }
                let before = self.look_trouble.as_ref();
                self.look_trouble =
                    Some(blocker(trouble, message, before, secret_version, now, settings, random));
            }
            None if self.unread.is_empty() => self.look_trouble = None,
            None => {}
        }
    }

    /// Whether what a look at ids on their way has shown may lead to another decision, before it is told by [`Self::saw`].
    #[must_use]
    pub fn is_news(&self, id: InstanceId, seen: &Seen) -> bool {
        self.observations.is_news(id, seen)
    }

    /// Whether an accepted id is to be read before a trouble is over.
    #[must_use]
    pub fn unread(&self, id: InstanceId) -> bool {
        self.look_trouble.is_some() && self.unread.contains(&id)
    }

    /// When this process first saw the object at its present generation and request: a plan rests on looks sent after that.
    #[must_use]
    pub fn planning_since(&self) -> Mono {
        self.asked_since
    }

    /// Notes that a look was asked for, the regular one or not.
    pub fn looking(&mut self, ids: &[InstanceId], regular: bool, now: Mono, settings: &Settings) {
        self.asked(ids, now);
        if regular {
            self.next_poll = now + settings.poll_min;
        }
    }
}

/// Seconds by which the wall clock may gain on the monotonic one before that is taken for a sleep of the machine.
const SLEPT: i64 = 5;

fn wall_ahead(now: &Now) -> i64 {
    let mono = i64::try_from(now.mono.since_start().as_secs()).unwrap_or(i64::MAX);
    now.wall.as_second().saturating_sub(mono)
}

/// For the model checker, which takes two states for one where only the time differs.
#[cfg(any(test, feature = "model"))]
impl Memory {
    /// Visits every moment of which a rule asks how long ago it was. Two memories whose moments lie equally far before now,
    /// and whose [`Memory::turning_points`] have the same order among them, are equal to every rule.
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        self.observations.moments(visit);
        for call in self.calls.values_mut() {
            match &mut call.state {
                CallState::Ended { at, .. } | CallState::Recorded { at, .. } => visit(at),
                CallState::NotSent | CallState::InFlight => {}
            }
        }
        self.foreign.values_mut().for_each(|(_, end)| visit(end));
        self.refused.values_mut().flat_map(|r| [&mut r.at, &mut r.until]).for_each(&mut *visit);
        let troubles = [&mut self.look_trouble, &mut self.call_trouble].into_iter().flatten();
        troubles.map(|blocker| &mut blocker.retry_at).for_each(&mut *visit);
        self.ends_written.iter_mut().chain(self.suspended_at.as_mut()).for_each(&mut *visit);
        visit(&mut self.next_poll);
        self.deadlines.moments(visit);
    }

    /// Visits the moments of which rules ask only whether a read was sent after them.
    pub fn turning_points(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        visit(&mut self.asked_since);
        visit(&mut self.gate);
    }
}

/// A live read of an object, for [`Memory::observe`].
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The spec.
    pub spec: &'a DeletionSpec,
    /// The status.
    pub status: &'a InstanceDeletionStatus,
    /// The record in it.
    pub ledger: &'a Ledger,
    /// Calls that the account had accepted.
    pub evidence: Evidence,
    /// When.
    pub now: &'a Now,
    /// Flags.
    pub settings: &'a Settings,
}

#[cfg(test)]
mod tests;
