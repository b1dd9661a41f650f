//! The next step of one object.
//!
//! A decision has two halves. [`prepare`] takes note of a live read, enters outcomes and
//! observations into the record, and finds out which calls the object wants. The caller then
//! asks the account's delete queue for a permit. [`Prepared::conclude`] turns the answer into the
//! [`Decision`].

mod decision;
mod draft;
mod rest;
mod stage;

pub use self::{
    decision::{Decision, GuardsRead, Input, Next},
    rest::{confirmed_deletion, decide_invalid, finished},
};

use self::draft::Draft;
use super::{
    report::{
        events,
        stage::{Hindrance, Stage},
        status,
    },
    rules::{
        batch,
        batch::{Apart, Candidates, Lot, Reach},
        check::{Check, check},
        close,
        facts::Facts,
        last_call::CallFacts,
        observe::{self, LiveRead, observe},
        plan::{Planning, plan},
        poll,
        poll::Due,
        power_off, record, rollout,
        whole_list::{WholeList, whole_list},
        write_ahead,
    },
    state::{
        blocker::{Blocker, closed},
        deadlines::{Cutoff, Passed},
        guards::Bar,
        ledger::{Ledger, Row},
        memory::Memory,
    },
};
use crate::{
    api::{CallKind, FailureReason, Phase},
    engine::{
        account::{
            call_history::CallHistory,
            delete_queue::{PermitAnswer, Want},
        },
        id::InstanceId,
        outcome::{CloudMessage, Trouble},
        settings::STORED_LIMIT,
        time::Mono,
    },
};

/// The first half of a decision: everything that does not depend on the permit.
#[derive(Debug)]
pub struct Prepared<'a> {
    memory: &'a mut Memory,
    calls: Vec<CallFacts>,
    bar: Option<Bar>,
    draft: Draft<'a>,
    course: Course,
}

/// What the spec, the deadlines and the record ask for.
#[derive(Debug)]
enum Course {
    /// The object is at its end, by its own status.
    Finished,
    /// The object is being deleted: outcomes are recorded, and nothing else is done.
    Leaving,
    /// `dryRun`: make a plan.
    Plan(Planning),
    /// `dryRun`, and the plan is there.
    PlanIsThere,
    /// The clock says since this moment that `activeDeadlineSeconds` has passed: look a last time,
    /// then end.
    LastLook(Mono),
    /// Every id has ended; this deadline had passed before.
    Ended(Option<Cutoff>),
    /// Every id has ended, since these instances are not what `spec.expect` says.
    NotAsExpected(String),
    /// The first `spec.rollout.limit` ids have ended: rest.
    LimitReached,
    /// Look, and send what may be sent.
    Work(Box<OpenWork>),
}

/// The looks and calls that an object is ready for.
#[derive(Debug)]
struct OpenWork {
    /// The deadline that has passed, if so.
    passed: Option<Passed>,
    candidates: Candidates,
    /// The batches that may be sent now, with a permit.
    batches: Vec<Lot>,
    /// The calls that the object asks a permit for.
    want: Option<Want>,
    /// What the guards say of the object has to be asked.
    asks_guards: bool,
    batch_size: usize,
}

/// Prepares the next step of an object with a valid spec: takes note of the live read in `memory`
/// and `call_history`, and finds out which calls the object wants.
pub fn prepare<'a>(input: Input<'a>, memory: &'a mut Memory, call_history: &mut CallHistory) -> Prepared<'a> {
    let Input { spec, status, guards, evidence, now, cloud_time, settings, .. } = input;
    let guards = guards.map(|read| &read.guards);
    let mut ledger = Ledger::read(&spec.ids, status);
    let calls = observe(
        &LiveRead { spec, status, ledger: &ledger, guards, evidence, now, cloud_time, settings },
        memory,
        call_history,
    );

    memory.undecided = !spec.dry_run && ledger.rows.iter().any(Row::undecided);
    let records = record::outcomes(&mut ledger, memory);
    let outcomes = ledger.clone();
    let bar = memory.bar(spec);
    let facts = Facts { spec, memory, calls: &calls, bar: bar.as_ref(), now, settings };
    let moved = record::observations(&mut ledger, &facts);
    power_off::note(&ledger, spec, now, cloud_time, memory);
    let facts = Facts { spec, memory, calls: &calls, bar: bar.as_ref(), now, settings };

    let events = events::outcomes(memory, &records);
    let mut draft = Draft { input, outcomes, ledger, moved, records, events };
    let course = course(&mut draft, &facts);
    Prepared { memory, calls, bar, draft, course }
}

fn course(draft: &mut Draft<'_>, facts: &Facts<'_>) -> Course {
    let spec = facts.spec;
    if status::is_finished(draft.input.status) {
        return Course::Finished;
    }
    if spec.meta.leaving {
        return Course::Leaving;
    }
    if spec.dry_run {
        let status = draft.input.status;
        let planned = status.phase == Some(Phase::Planned);
        let seen = status.observed_generation == Some(spec.meta.generation);
        if planned && seen && !status::look_requested(&spec.meta, status) {
            return Course::PlanIsThere;
        }
        return Course::Plan(plan(&draft.ledger, facts, facts.memory.planning_since()));
    }
    match facts.memory.deadlines.passed() {
        Some(Passed { cutoff: Cutoff::Deadline, said: Some(since), .. }) => Course::LastLook(since),
        passed => work(draft, facts, passed),
    }
}

/// Ends the rows that are given up, and lines up the ids of the next calls.
fn work(draft: &mut Draft<'_>, facts: &Facts<'_>, passed: Option<Passed>) -> Course {
    let Facts { memory, now, settings, .. } = *facts;
    let batch_size = draft.input.batch_size;
    let mut passed = passed.or_else(|| rollout::too_many_failures(&draft.ledger, facts));
    if passed.is_none() && facts.allow_calls() {
        match whole_list(&draft.ledger, facts) {
            WholeList::Passes => {}
            WholeList::Waits(look) => return waits_for_list(draft, facts, look),
            WholeList::Differs(rows) => {
                draft.moved = true;
                return Course::NotAsExpected(close::not_as_expected(&mut draft.ledger, facts, &rows));
            }
        }
    }
    let mut candidates = line_up(draft, facts, passed);
    if passed.is_none() {
        passed = rollout::too_many_failures(&draft.ledger, facts);
        if passed.is_some() {
            candidates = line_up(draft, facts, passed);
        }
    }
    draft.moved |= end_rest(draft, facts, passed, &mut candidates);
    let cutoff = passed.map(|passed| passed.cutoff);
    if draft.ledger.ended() {
        return Course::Ended(cutoff);
    }
    if cutoff.is_none() && facts.allow_calls() && rollout::limit_reached(&draft.ledger, facts) {
        return Course::LimitReached;
    }

    let blocked = Blocked::of(memory, now.mono);
    let doubted = passed.is_some_and(|passed| passed.said.is_none());
    if blocked.look.is_some() || doubted || (cutoff.is_none() && blocked.call.is_some()) {
        // Ids next in line are looked at just before their call or their end, not while it must wait.
        candidates.look.clear();
    }
    let may_call = may_call(draft, facts, cutoff);
    let (mut batches, mut want) = (Vec::new(), None);
    if may_call && facts.bar.is_none() {
        let apart = Apart::of(memory);
        if !memory.calls_in_flight() {
            batches = batch::wave(&candidates, &apart, batch_size, settings.parallel_calls);
        }
        let calls = candidates.calls(&apart, batch_size).min(settings.parallel_calls);
        want = Some(Want { calls, ready: batches.len() }).filter(|want| want.calls > 0);
    }
    let unknown = memory.guards_unknown() && draft.ledger.rows.iter().any(Row::undecided);
    let asks_guards = may_call && (facts.bar.is_some() || unknown);
    Course::Work(Box::new(OpenWork { passed, candidates, batches, want, asks_guards, batch_size }))
}

/// Whether the object may make calls, as far as anything but the guards says.
fn may_call(draft: &Draft<'_>, facts: &Facts<'_>, cutoff: Option<Cutoff>) -> bool {
    let blocked = Blocked::of(facts.memory, facts.now.mono);
    draft.input.may_start && cutoff.is_none() && blocked.call.is_none() && facts.spec.allows_calls()
}

/// The work of an object whose whole list must be read before its first call.
fn waits_for_list(draft: &Draft<'_>, facts: &Facts<'_>, look: Vec<InstanceId>) -> Course {
    let blocked = Blocked::of(facts.memory, facts.now.mono);
    let look = if blocked.call.is_some() { Vec::new() } else { look };
    let candidates = Candidates { look, ..Candidates::default() };
    let asks_guards = may_call(draft, facts, None) && facts.memory.guards_unknown();
    let (batches, batch_size) = (Vec::new(), draft.input.batch_size);
    Course::Work(Box::new(OpenWork {
        passed: None,
        candidates,
        batches,
        want: None,
        asks_guards,
        batch_size,
    }))
}

/// Lines up the ids of the next calls, or of the next ends, and ends those that are given up.
fn line_up(draft: &mut Draft<'_>, facts: &Facts<'_>, passed: Option<Passed>) -> Candidates {
    let batch_size = draft.input.batch_size;
    let mut candidates = match passed {
        Some(_) => batch::candidates(&draft.ledger, facts, batch_size, Reach::All),
        None if facts.allow_calls() => batch::candidates(&draft.ledger, facts, batch_size, Reach::Rollout),
        None => Candidates::default(),
    };
    for (position, reason) in candidates.spent.drain(..) {
        let message = why_given_up(facts, &draft.ledger, position, reason);
        draft.ledger.fail(position, reason, message.as_ref(), facts.now);
        draft.moved = true;
    }
    candidates
}

/// Ends the rows that must not be sent any more. Returns whether a row ended.
fn end_rest(
    draft: &mut Draft<'_>,
    facts: &Facts<'_>,
    passed: Option<Passed>,
    candidates: &mut Candidates,
) -> bool {
    match passed {
        Some(Passed { cutoff: Cutoff::NotAfter, confirmed: true, .. }) => {
            close::after_not_after(&mut draft.ledger, facts, candidates)
        }
        Some(Passed { cutoff: Cutoff::MaxFailed, .. }) => {
            close::after_failures(&mut draft.ledger, facts, candidates)
        }
        Some(Passed { cutoff: Cutoff::NotAfter | Cutoff::Deadline, .. }) | None => false,
    }
}

/// Why an id is given up, for a person: what a check says of it, or what the cloud said.
fn why_given_up(
    facts: &Facts<'_>,
    ledger: &Ledger,
    position: usize,
    reason: FailureReason,
) -> Option<CloudMessage> {
    let row = ledger.rows.get(position)?;
    match check(row.id, facts.memory.observation(position), facts) {
        Check::Fails(failed, why) if failed == reason => {
            Some(CloudMessage { text: why, ..CloudMessage::default() })
        }
        Check::Fails(..) | Check::Unknown(_) | Check::Passes => {
            let kind = match reason {
                FailureReason::PowerOffFailed => CallKind::PowerOff,
                _ => CallKind::Delete,
            };
            facts.memory.refusals.of(kind).ids.get(&row.id).map(|refused| refused.message.clone())
        }
    }
}

/// Until when troubles block looks and calls. What blocks looks blocks calls too.
struct Blocked {
    look: Option<Mono>,
    call: Option<Mono>,
}

impl Blocked {
    fn of(memory: &Memory, now: Mono) -> Self {
        let look = blocked_until(memory.look_trouble.as_ref(), now);
        Self { look, call: blocked_until(memory.call_trouble.as_ref(), now).or(look) }
    }
}

fn blocked_until(blocker: Option<&Blocker>, now: Mono) -> Option<Mono> {
    blocker.map(|blocker| blocker.retry_at).filter(|retry_at| *retry_at > now)
}

impl Prepared<'_> {
    /// Whether the object allows no call now: it is suspended, only planned, being deleted, at its end, or past a deadline.
    /// Calls that an earlier pass decided and that have not left must not leave then either (S13).
    #[must_use]
    pub fn stops_calls(&self) -> bool {
        let Course::Work(work) = &self.course else { return true };
        work.passed.is_some() || self.bar.is_some() || !self.draft.input.spec.allows_calls()
    }

    /// Whether the guards have to be read before this decision is concluded with this answer: a permitted wave is to rest on
    /// them, a plan, or what the object says of them. The caller then prepares it anew, with the guards or with what stands in
    /// the way of reading them.
    #[must_use]
    pub fn asks_guards(&self, answer: Option<PermitAnswer>) -> bool {
        if self.draft.input.guards.is_some() {
            return false;
        }
        match &self.course {
            Course::Work(work) => {
                let permitted = matches!(answer, Some(PermitAnswer::Now(calls)) if calls > 0);
                work.asks_guards || (permitted && !work.batches.is_empty())
            }
            Course::Plan(Planning::Done(_)) => {
                self.draft.input.may_start && self.unreadable_guards().is_none()
            }
            Course::Plan(Planning::Look(_) | Planning::Asked | Planning::Wait(_))
            | Course::PlanIsThere
            | Course::Finished
            | Course::Leaving
            | Course::LastLook(_)
            | Course::Ended(_)
            | Course::NotAsExpected(_)
            | Course::LimitReached => false,
        }
    }

    /// For a plan, which sends nothing: guards that were read at this moment or later, for whichever object, will do. A wave
    /// rests on those that its own pass has read.
    #[must_use]
    pub fn guards_since(&self) -> Option<Mono> {
        matches!(self.course, Course::Plan(_)).then(|| self.memory.planning_since())
    }

    /// What stands in the way of reading the guards, until it is tried again.
    fn unreadable_guards(&self) -> Option<&Blocker> {
        let trouble = self.memory.call_trouble.as_ref();
        trouble.filter(|trouble| {
            trouble.trouble == Trouble::GuardUnreadable && trouble.retry_at > self.draft.input.now.mono
        })
    }

    /// The calls that the object wants, and so asks the account's delete queue for; none if
    /// it wants none.
    #[must_use]
    pub fn wants(&self) -> Option<Want> {
        match &self.course {
            Course::Work(work) => work.want,
            Course::Finished
            | Course::Leaving
            | Course::Plan(_)
            | Course::PlanIsThere
            | Course::LastLook(_)
            | Course::Ended(_)
            | Course::NotAsExpected(_)
            | Course::LimitReached => None,
        }
    }

    /// The second half of a decision. `answer` is what the account's delete queue said; none if it
    /// was not asked. An object that wants no call ignores it.
    #[must_use]
    pub fn conclude(self, answer: Option<PermitAnswer>) -> Decision {
        let answer = answer.filter(|_| self.wants().is_some());
        let guards_wait = self.unreadable_guards().cloned();
        let Self { memory, calls, bar, draft, course } = self;
        let Input { spec, status, now, settings, .. } = draft.input;
        if let Some(PermitAnswer::Closed(left)) = answer {
            memory.call_trouble = Some(closed(left, memory.call_trouble.as_ref(), now, settings));
        }
        let facts = Facts { spec, memory, calls: &calls, bar: bar.as_ref(), now, settings };
        match course {
            Course::Finished => finished(&spec.meta, status, spec.ttl, now),
            Course::Leaving => {
                let stage = stage::suspended(&draft.outcomes, &facts);
                let due = Due { outstanding: true, ..Due::default() };
                draft.into_decision(&facts, &stage, Next::Wait, due)
            }
            Course::Plan(planning) => conclude_plan(draft, &facts, planning, guards_wait),
            Course::PlanIsThere => Decision::rest(),
            Course::NotAsExpected(named) => {
                draft.into_decision(&facts, &Stage::NotAsExpected(named), Next::Wait, Due::default())
            }
            Course::LimitReached => {
                let wake = memory.deadlines.next(now.mono);
                let decision = draft.into_decision(&facts, &Stage::LimitReached, Next::Wait, Due::default());
                Decision { wake, ..decision }
            }
            Course::LastLook(since) => conclude_last_look(draft, &facts, since),
            Course::Ended(cutoff) => {
                draft.into_decision(&facts, &Stage::Ended(cutoff), Next::Wait, Due::default())
            }
            Course::Work(work) => conclude_work(draft, &facts, *work, answer),
        }
    }
}

/// Makes a plan, once for each generation and each request of a person, from looks at every id and the guards.
fn conclude_plan(
    mut draft: Draft<'_>,
    facts: &Facts<'_>,
    planning: Planning,
    guards_wait: Option<Blocker>,
) -> Decision {
    let memory = facts.memory;
    let Input { now, may_start, guards, .. } = draft.input;
    // dryRun writes no rows.
    draft.moved = false;
    let mut trouble = memory.look_trouble.clone();
    let mut due = Due::default();
    match planning {
        Planning::Done(mut plan) if guards.is_some() => {
            draft.shorten(&mut plan);
            let decision = draft.into_decision(facts, &Stage::Planned(plan), Next::Wait, due);
            return Decision { wake: None, ..decision };
        }
        Planning::Done(_) => {
            due.outstanding = true;
            if let Some(blocker) = &guards_wait {
                due.wake_at(blocker.retry_at);
            }
            trouble = trouble.or(guards_wait);
        }
        Planning::Asked => due.outstanding = true,
        Planning::Wait(at) => {
            due.outstanding = true;
            due.wake_at(at);
        }
        Planning::Look(ids) => {
            due.outstanding = true;
            match blocked_until(trouble.as_ref(), now.mono) {
                Some(until) => due.wake_at(until),
                None if may_start => due.ids = ids,
                None => {}
            }
        }
    }
    draft.into_decision(facts, &Stage::Planning(trouble), Next::Wait, due)
}

/// The clock says since `since` that `activeDeadlineSeconds` has passed: one last look, then the end.
fn conclude_last_look(mut draft: Draft<'_>, facts: &Facts<'_>, since: Mono) -> Decision {
    let Facts { memory, now, settings, .. } = *facts;
    let Some(last) = close::at_deadline(&mut draft.ledger, facts, since) else {
        draft.moved = true;
        return draft.into_decision(facts, &Stage::Ended(Some(Cutoff::Deadline)), Next::Wait, Due::default());
    };
    let mut due = Due { outstanding: last.waiting > 0, ..Due::default() };
    if draft.input.may_start {
        due.ids = last.look;
    }
    due.wake_at((since + settings.request_timeout).max(now.mono + settings.retry_min));
    memory.deadlines.next(now.mono).into_iter().for_each(|at| due.wake_at(at));
    let blocker = memory.look_trouble.clone();
    let (cutoff, waiting) = (Cutoff::Deadline, last.waiting);
    let stage = Stage::Closing { cutoff, waiting, doubted: false, blocker };
    draft.into_decision(facts, &stage, Next::Wait, due)
}

/// Looks as far as the permit allows, and submits the wave that it permits.
fn conclude_work(
    mut draft: Draft<'_>,
    facts: &Facts<'_>,
    mut work: OpenWork,
    answer: Option<PermitAnswer>,
) -> Decision {
    let Facts { memory, now, settings, .. } = *facts;
    let (looks, permitted) = match answer {
        Some(PermitAnswer::Now(calls)) => (calls, calls),
        Some(PermitAnswer::Soon { calls, .. }) => (calls, 0),
        Some(PermitAnswer::Later(_) | PermitAnswer::Closed(_)) | None => (0, 0),
    };
    if work.want.is_some() {
        let apart = Apart::of(memory);
        work.candidates.look_no_further(&apart, looks, (work.batch_size, settings.parallel_calls));
    }
    let mut due = looks_due(&draft, facts, &work);
    if let Some(at) = answer.and_then(|answer| answer.asks_again(now.mono)) {
        due.wake_at(at);
    }
    let stage = stage::working(&draft.outcomes, &draft.ledger, facts, work.passed);

    work.batches.truncate(permitted);
    let Some(guards) = draft.input.guards.filter(|_| !work.batches.is_empty()) else {
        return draft.into_decision(facts, &stage, Next::Wait, due);
    };
    let mut with_intent = draft.ledger.clone();
    let wave = write_ahead::intend(
        &mut with_intent,
        work.batches,
        (memory.next_batch(&draft.ledger), draft.input.claim),
        guards.at,
        &now.time(),
    );
    let bytes = draft.largest_bytes(&with_intent, &stage);
    if bytes >= STORED_LIMIT {
        due.wake_at(now.mono + settings.retry_max);
        let stage = Stage::Deleting(Some(Hindrance::StatusTooLarge { bytes }));
        return draft.into_decision(facts, &stage, Next::Wait, due);
    }
    (draft.ledger, draft.moved) = (with_intent, true);
    draft.into_decision(facts, &stage, Next::Submit(wave), due)
}

/// The looks that are due, unless a trouble blocks them, and when a trouble or a deadline changes
/// what is due.
fn looks_due(draft: &Draft<'_>, facts: &Facts<'_>, work: &OpenWork) -> Due {
    let Input { spec, status, now, may_start, .. } = draft.input;
    let memory = facts.memory;
    let blocked = Blocked::of(memory, now.mono);
    let mut due = Due { outstanding: true, ..Due::default() };
    if blocked.look.is_none() && may_start {
        let started = status.start_time.as_ref().map(|time| time.0);
        let requested = status::look_requested(&spec.meta, status);
        due = poll::due(&draft.ledger, facts, &work.candidates, started, requested);
    }
    let patience = observe::bisection_patience(facts.settings);
    let left_out = memory.refusals.each().map(|refusals| refusals.bisection.leaves_out_at(patience));
    let left_out = left_out.map(|at| at.filter(|at| *at > now.mono));
    let changes = [blocked.look, blocked.call, memory.deadlines.next(now.mono)];
    changes.into_iter().chain(left_out).flatten().for_each(|at| due.wake_at(at));
    due
}

#[cfg(test)]
mod tests;
