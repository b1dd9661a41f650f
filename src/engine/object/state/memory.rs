//! The memory of this process about one object: reads of its instances, its own calls, and what
//! stands in its way.
//!
//! The memory ends with the process. Every rule holds without it: an empty memory only makes the
//! engine look again and wait longer.

mod calls;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    bisection::Bisection,
    blocker::{Blocker, blocker},
    deadlines::Deadlines,
    guards::{Bar, Guards},
    ledger::Ledger,
    observations::{Answered, Observation, Observations},
    spec::DeletionSpec,
    unreadable::{Missed, Unreadable, UnreadableIds},
};
use crate::{
    api::{BatchStatus, CallKind},
    engine::{
        account::outage::Evidence,
        by_kind::ByKind,
        id::InstanceId,
        instance_facts::InstanceFacts,
        outcome::{CallOutcome, CloudMessage, LookFailure, Trouble},
        settings::Settings,
        state::Seen,
        time::{Mono, Now, ReadTime},
    },
};

/// A call of this process for this object, from the first write of its intent on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnCall {
    /// What it asks for.
    pub kind: CallKind,
    /// The claim with which its intent was stored.
    pub claim: String,
    /// Its ids; empty once its outcome is recorded.
    pub ids: Vec<CalledId>,
    /// How far the call is.
    pub state: CallState,
}

/// An id of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CalledId {
    /// The id.
    pub id: InstanceId,
    /// Attempts of this kind that were recorded before the call.
    pub attempts: u32,
    /// If the cloud refuses its deletion for its state, it is powered off, and no attempt is used.
    pub or_powers_off: bool,
}

#[cfg(test)]
impl CalledId {
    /// An id that no call named before.
    #[must_use]
    pub fn first(id: InstanceId) -> Self {
        Self { id, attempts: 0, or_powers_off: false }
    }
}

impl OwnCall {
    /// Whether its outcome stands in the way of other calls too.
    #[must_use]
    pub fn blocks_others(&self) -> bool {
        match &self.state {
            CallState::InFlight => false,
            CallState::Ended { outcome, .. } | CallState::Recorded { outcome, .. } => outcome.blocks_others(),
        }
    }

    /// Whether its request may have left: its number is not used again.
    #[must_use]
    pub fn may_have_left(&self) -> bool {
        match &self.state {
            CallState::InFlight => true,
            CallState::Ended { outcome, .. } | CallState::Recorded { outcome, .. } => {
                !matches!(outcome, CallOutcome::NotSent(_))
            }
        }
    }

    /// What is known of one of its ids.
    #[must_use]
    pub fn called(&self, id: InstanceId) -> Option<&CalledId> {
        self.ids.iter().find(|called| called.id == id)
    }
}

/// How far a call of this process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallState {
    /// Its intent is being written, or the request may be on the wire.
    InFlight,
    /// The call ended, and no acknowledged write holds its outcome.
    Ended {
        /// When it ended.
        at: Mono,
        /// The outcome.
        outcome: CallOutcome,
    },
    /// The call ended, and an acknowledged write holds its outcome for each of its ids.
    Recorded {
        /// When it ended.
        at: Mono,
        /// What it came to, without its ids and texts.
        outcome: CallOutcome,
    },
}

/// A refusal that concerned one id. The id may be sent again after a backoff, and after a read of
/// its state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefusedId {
    /// When the refused call ended. Only a read sent after that shows the state since.
    pub at: Mono,
    /// The id is not sent again before this.
    pub until: Mono,
    /// If the cloud did not say that the state is at fault: the attempts of that kind before the call. One more is used if the
    /// id then reads alive.
    pub unexplained: Option<u32>,
    /// What the cloud said.
    pub message: CloudMessage,
}

/// What refusals of one kind of call have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Refusals {
    /// Refusals that concerned one id each.
    pub ids: BTreeMap<InstanceId, RefusedId>,
    /// The search for the ids of refused batches that the cloud refuses.
    pub bisection: Bisection,
}

/// How a call ended, for [`Memory::call_ended`].
#[derive(Clone, Copy, Debug)]
pub struct CallEnd<'a> {
    /// What it came to.
    pub outcome: &'a CallOutcome,
    /// resourceVersion of the Secret that was used.
    pub secret_version: &'a str,
    /// For how long the account makes no call, counted from `now`, where a 429 closed it; `None` if
    /// it is open.
    pub closed_for: Option<Duration>,
    /// The calls of this kind that the account has had accepted, this one included.
    pub evidence: Evidence,
    /// When the call ended.
    pub now: &'a Now,
    /// Flags of the process.
    pub settings: &'a Settings,
    /// For the jitter of backoffs.
    pub random: u64,
}

/// How a look ended, for [`Memory::look_answered`].
#[derive(Clone, Debug)]
pub struct LookEnd<'a> {
    /// Why the look did not read all its ids, if so.
    pub failure: Option<LookFailure>,
    /// When it ended.
    pub now: &'a Now,
    /// Flags of the process.
    pub settings: &'a Settings,
    /// For the jitter of backoffs.
    pub random: u64,
}

/// The memory of this process about one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    /// What reads have shown of each instance.
    pub(in crate::engine::object) observations: Observations,
    /// Generation of the spec that this process saw last.
    pub(in crate::engine::object) generation: i64,
    /// The request for a read that this process saw last.
    pub(in crate::engine::object) requested_at: Option<String>,
    /// When this process first saw both of them.
    pub(in crate::engine::object) asked_since: Mono,
    /// Looks sent before this do not count for a call: the object allowed no calls then, or this
    /// process did not know it.
    pub gate: Mono,
    /// Calls of this process, by batch number: those that are not recorded, and those that an open row names.
    pub calls: BTreeMap<u32, OwnCall>,
    /// The highest number of the calls that may have left and are in `calls` no more.
    made: u32,
    /// Batches that another process stored and an open row names: their claim, and when their call is over at the latest.
    foreign: BTreeMap<u32, (Option<String>, Mono)>,
    /// What stands in the way of looks.
    pub look_trouble: Option<Blocker>,
    /// Ids that the last look at them did not read.
    pub(in crate::engine::object) unreadable: UnreadableIds,
    /// What stands in the way of calls.
    pub call_trouble: Option<Blocker>,
    /// When the next regular look is due.
    pub next_poll: Mono,
    /// When the last write that holds ends found by looks was acknowledged.
    pub ends_written: Option<Mono>,
    /// What refusals have shown.
    pub refusals: ByKind<Refusals>,
    /// The moments after which no new call is made.
    pub deadlines: Deadlines,
    /// The guards that were read last. No call rests on them: those are read again for each wave.
    guards: Option<Arc<Guards>>,
    /// A guard has changed since.
    guards_changed: bool,
    /// By the last read of the object, an id may still have to be sent.
    pub(in crate::engine::object) undecided: bool,
    /// Seconds by which the wall clock was ahead of the monotonic clock at the last read of the
    /// object.
    wall_ahead: i64,
    /// When the object was last seen suspended. Its ids count as stuck only after a time without
    /// suspension.
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
            made: 0,
            foreign: BTreeMap::new(),
            look_trouble: None,
            unreadable: UnreadableIds::default(),
            call_trouble: None,
            next_poll: now,
            ends_written: None,
            refusals: ByKind::default(),
            deadlines: Deadlines::default(),
            guards: None,
            guards_changed: false,
            undecided: true,
            suspended_at: None,
            wall_ahead: i64::MAX,
        }
    }

    /// The number of entries that come and go, of everything that is kept beside the observations. However long the object
    /// waits, they stay few.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Self { calls, foreign, unreadable, refusals, .. } = self;
        let refusals = refusals.each().map(|Refusals { ids, bisection }| ids.len() + bisection.entries());
        calls.len() + foreign.len() + unreadable.len() + refusals.into_iter().sum::<usize>()
    }

    /// Starts over with empty observations if the ids of the object are others than before.
    pub(in crate::engine::object) fn keep_observations_of(&mut self, ids: &[InstanceId], now: Mono) {
        if !self.observations.are_of(ids) {
            self.observations = self.observations.of_others(ids);
            self.gate = now;
        }
    }

    /// Compares the clocks with those of the previous read: whether the machine slept in between.
    pub(in crate::engine::object) fn machine_slept(&mut self, now: &Now) -> bool {
        let ahead = wall_ahead(now);
        let slept = ahead.saturating_sub(self.wall_ahead) > SLEPT;
        self.wall_ahead = ahead;
        slept
    }

    /// The call of this process that stored the batch with this number, if the stored claim is its
    /// own.
    #[must_use]
    pub fn own(&self, number: u32, ledger: &Ledger) -> Option<&OwnCall> {
        let call = self.calls.get(&number)?;
        // The status keeps the newest 128 batch rows. An older batch was this process's own when
        // its outcome was recorded.
        let mine = ledger.batch(number).is_none_or(|stored| stored.claim == call.claim);
        mine.then_some(call)
    }

    /// When the call of a batch that another process stored is over; none if this process has not
    /// observed the batch.
    #[must_use]
    pub fn foreign_end(&self, number: u32, ledger: &Ledger) -> Option<Mono> {
        let (claim, end) = self.foreign.get(&number)?;
        let stored = ledger.batch(number).map(|b| b.claim.as_str());
        (claim.as_deref() == stored).then_some(*end)
    }

    /// Notes a batch that another process stored, and when its call is over.
    pub(in crate::engine::object) fn observe_foreign(
        &mut self,
        number: u32,
        stored: Option<&BatchStatus>,
        end: Mono,
    ) {
        self.foreign.insert(number, (stored.map(|batch| batch.claim.clone()), end));
    }

    /// Notes that the record says of the row at this position that it is on its way. Returns
    /// whether that is new.
    pub(in crate::engine::object) fn is_first_record(&mut self, position: usize) -> bool {
        self.observations.is_first_record(position)
    }

    /// What reads have shown of the row at this position.
    #[must_use]
    pub fn observation(&self, position: usize) -> &Observation {
        self.observations.at(position)
    }

    /// Notes that the row at this position is taken for powered off, and when it will have been off for long enough.
    pub(in crate::engine::object) fn is_off(&mut self, position: usize, soaked_at: Mono, now: Mono) {
        self.observations.is_off(position, soaked_at, now);
    }

    /// Notes that a look at these ids was asked for.
    pub fn asked(&mut self, ids: &[InstanceId], now: Mono) {
        self.observations.asked(ids, now);
    }

    /// Notes what a read showed of one instance that told no facts.
    pub fn saw(&mut self, id: InstanceId, seen: Seen, read: impl Into<ReadTime>) {
        self.saw_facts(id, seen, read.into(), None);
    }

    /// Notes what a read showed of one instance, with its facts if it told any. A read that was sent before the newest changes
    /// nothing.
    pub fn saw_facts(
        &mut self,
        id: InstanceId,
        seen: Seen,
        read: ReadTime,
        facts: Option<&Arc<InstanceFacts>>,
    ) {
        self.observations.saw(id, seen, read, facts);
    }

    /// Takes note of the guards that a decision goes by, and of what checks ask for. Earlier looks do not count for a call once
    /// facts are asked for that they did not keep.
    pub(in crate::engine::object) fn judge_by(
        &mut self,
        guards: Option<&Arc<Guards>>,
        spec: &DeletionSpec,
        now: Mono,
    ) {
        if let Some(guards) = guards {
            self.guards = Some(guards.clone());
            self.guards_changed = false;
            let unreadable = |blocker: &Blocker| blocker.trouble == Trouble::GuardUnreadable;
            self.call_trouble = self.call_trouble.take().filter(|blocker| !unreadable(blocker));
        }
        let guarded = self.guards.as_ref().is_some_and(|guards| guards.need_facts());
        let asked_for = spec.expectation.is_some() || spec.power_off.is_some() || spec.dry_run;
        if self.observations.keep_facts(guarded || asked_for) {
            self.gate = now;
        }
    }

    /// The memory of an object of whose namespace these guards were read lately, for another object.
    #[must_use]
    pub fn with_guards(self, guards: Option<Arc<Guards>>) -> Self {
        Self { guards, ..self }
    }

    /// Notes that a guard has changed since they were read. Returns whether that may matter: an id may still have to be sent.
    pub fn guards_changed(&mut self) -> bool {
        self.guards_changed = true;
        self.undecided
    }

    /// The guards that were read last.
    #[must_use]
    pub fn guards(&self) -> Option<&Guards> {
        self.guards.as_deref()
    }

    /// Whether the guards that were read last may be others by now, so that what they say of the whole object has to be asked.
    #[must_use]
    pub fn guards_unknown(&self) -> bool {
        self.guards.is_none() || self.guards_changed
    }

    /// Why the guards that were read last let no new call leave, if so.
    #[must_use]
    pub fn bar(&self, spec: &DeletionSpec) -> Option<Bar> {
        self.guards.as_ref().and_then(|guards| guards.bars(spec))
    }

    /// Notes the end of a look; [`Self::saw`] has noted its readings before.
    ///
    /// A look that read nothing blocks the object, and so does one that an account's trouble cut off.
    /// Ids that a look missed while it read others are unreadable: they wait for their own next look,
    /// and block nothing.
    pub fn look_answered(&mut self, ids: &[InstanceId], end: LookEnd<'_>) {
        let Answered { read, missed } = self.observations.answered(ids);
        let LookEnd { failure, now, settings, random } = end;
        self.unreadable.read(&read);
        let Some(LookFailure { trouble, message, secret_version }) = failure else {
            return self.reads_go_on(&read, now.mono);
        };
        let each = Missed { message: &message, now: now.mono, settings, random };
        let of_instances = trouble.may_be_of_one_instance();
        if of_instances && !read.is_empty() {
            self.unreadable.missed(&missed, each);
            return self.reads_go_on(&read, now.mono);
        }
        // That ids can't be read which could not be read before says nothing about others.
        let known = of_instances && self.look_trouble.is_none() && self.unreadable.hold_all(&missed);
        self.unreadable.nothing_read(&missed, each);
        if !known {
            let before = self.look_trouble.as_ref();
            self.look_trouble =
                Some(blocker(trouble, message, before, secret_version, now, settings, random));
        }
    }

    /// Ends the trouble of looks, if one has read something.
    fn reads_go_on(&mut self, read: &[InstanceId], now: Mono) {
        if !read.is_empty() && self.look_trouble.take().is_some() {
            self.unreadable.start_over(now);
        }
    }

    /// Whether a reading of an id on its way may lead to another decision. To be asked before
    /// [`Self::saw`] notes the reading.
    #[must_use]
    pub fn is_news(&self, id: InstanceId, seen: &Seen) -> bool {
        self.observations.is_news(id, seen)
    }

    /// What is known of an id that looks do not read.
    #[must_use]
    pub fn unreadable(&self, id: InstanceId) -> Option<&Unreadable> {
        self.unreadable.get(id)
    }

    /// What is known of an id that looks do not read although they read others: it waits for its own
    /// next look. While looks read nothing, all ids wait together.
    #[must_use]
    pub fn waits_alone(&self, id: InstanceId) -> Option<&Unreadable> {
        if self.look_trouble.is_some() { None } else { self.unreadable.get(id) }
    }

    /// Splits ids to look at into those that can be read, as far as is known, and the unreadable
    /// ones: they are looked at apart, since such a look may take long.
    #[must_use]
    pub fn readable(&self, ids: Vec<InstanceId>) -> (Vec<InstanceId>, Vec<InstanceId>) {
        ids.into_iter().partition(|id| self.waits_alone(*id).is_none())
    }

    /// When this process first saw the present generation and request of the object. A plan rests
    /// on looks sent after that.
    #[must_use]
    pub fn planning_since(&self) -> Mono {
        self.asked_since
    }

    /// Notes that a look was asked for, and whether it is the regular one.
    pub fn looking(&mut self, ids: &[InstanceId], regular: bool, now: Mono, settings: &Settings) {
        self.asked(ids, now);
        if regular {
            self.next_poll = now + settings.poll_min;
        }
    }
}

/// Seconds that the wall clock may gain on the monotonic clock between two reads. A larger gain
/// means that the machine slept; a smaller one may be a correction of the wall clock.
const SLEPT: i64 = 5;

fn wall_ahead(now: &Now) -> i64 {
    let mono = i64::try_from(now.mono.since_start().as_secs()).unwrap_or(i64::MAX);
    now.wall.as_second().saturating_sub(mono)
}

/// For the model checker, which takes two states for one where only the time differs.
#[cfg(any(test, feature = "model"))]
impl Memory {
    /// Visits every moment whose age a rule asks for. Two memories whose moments lie
    /// equally far before now, and whose [`Memory::turning_points`] have the same order among them,
    /// are equal to every rule.
    pub fn moments(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        self.observations.moments(visit);
        self.unreadable.moments(visit);
        for call in self.calls.values_mut() {
            match &mut call.state {
                CallState::Ended { at, .. } | CallState::Recorded { at, .. } => visit(at),
                CallState::InFlight => {}
            }
        }
        self.foreign.values_mut().for_each(|(_, end)| visit(end));
        for Refusals { ids, bisection } in self.refusals.each_mut() {
            ids.values_mut().flat_map(|r| [&mut r.at, &mut r.until]).for_each(&mut *visit);
            bisection.moments(visit);
        }
        let troubles = [&mut self.look_trouble, &mut self.call_trouble].into_iter().flatten();
        troubles.map(|blocker| &mut blocker.retry_at).for_each(&mut *visit);
        self.ends_written.iter_mut().chain(self.suspended_at.as_mut()).for_each(&mut *visit);
        visit(&mut self.next_poll);
        self.deadlines.moments(visit);
    }

    /// Visits the moments whose age no rule asks for, only whether a read was sent after them.
    pub fn turning_points(&mut self, visit: &mut impl FnMut(&mut Mono)) {
        visit(&mut self.asked_since);
        visit(&mut self.gate);
    }
}

#[cfg(test)]
mod tests;
