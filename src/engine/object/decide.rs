//! The next step of one object.
//!
//! A decision has two halves. [`prepare`] takes note of a live read, enters outcomes and
//! observations into the record, and finds out which delete calls the object wants. The caller then
//! asks the account's delete queue for a permit. [`Prepared::conclude`] turns the answer into the
//! [`Decision`].

mod decision;
mod draft;
mod rest;
mod stage;

pub use self::{
    decision::{Decision, Input, Next},
    rest::{confirmed_deletion, decide_invalid, finished},
};

use self::draft::Draft;
use super::{
    report::{
        events, status,
        status::{Hindrance, Stage},
    },
    rules::{
        batch,
        batch::{Candidates, Ready},
        close,
        facts::Facts,
        last_call::CallFacts,
        observe::{self, LiveRead, observe},
        plan::{Planning, plan},
        poll,
        poll::Due,
        record, write_ahead,
    },
    state::{
        blocker::{Blocker, closed},
        deadlines::{Cutoff, Passed},
        ledger::Ledger,
        memory::Memory,
    },
};
use crate::{
    api::Phase,
    engine::{
        account::{
            call_history::CallHistory,
            delete_queue::{PermitAnswer, Want},
        },
        outcome::CloudMessage,
        settings::STORED_LIMIT,
        time::Mono,
    },
};

/// The first half of a decision: everything that does not depend on the permit.
#[derive(Debug)]
pub struct Prepared<'a> {
    memory: &'a mut Memory,
    calls: Vec<CallFacts>,
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
    Plan,
    /// The clock says since this moment that `activeDeadlineSeconds` has passed: look a last time,
    /// then end.
    LastLook(Mono),
    /// Every id has ended; this deadline had passed before.
    Ended(Option<Cutoff>),
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
    batches: Vec<Vec<Ready>>,
    /// The calls that the object asks a permit for.
    want: Option<Want>,
    batch_size: usize,
}

/// Prepares the next step of an object with a valid spec: takes note of the live read in `memory`
/// and `call_history`, and finds out which calls the object wants.
pub fn prepare<'a>(input: Input<'a>, memory: &'a mut Memory, call_history: &mut CallHistory) -> Prepared<'a> {
    let Input { spec, status, evidence, now, cloud_time, settings, .. } = input;
    let mut ledger = Ledger::read(&spec.ids, status);
    let calls = observe(
        &LiveRead { spec, status, ledger: &ledger, evidence, now, cloud_time, settings },
        memory,
        call_history,
    );

    let records = record::outcomes(&mut ledger, memory);
    let outcomes = ledger.clone();
    let facts = Facts { spec, memory, calls: &calls, now, settings };
    let moved = record::observations(&mut ledger, &facts);

    let events = events::outcomes(memory, &records);
    let mut draft = Draft { input, outcomes, ledger, moved, records, events };
    let course = course(&mut draft, &facts);
    Prepared { memory, calls, draft, course }
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
        return Course::Plan;
    }
    match facts.memory.deadlines.passed() {
        Some(Passed { cutoff: Cutoff::Deadline, said: Some(since), .. }) => Course::LastLook(since),
        passed => work(draft, facts, passed),
    }
}

/// Ends the rows whose attempts or time are used up, and lines up the ids of the next calls.
fn work(draft: &mut Draft<'_>, facts: &Facts<'_>, passed: Option<Passed>) -> Course {
    let Facts { spec, memory, now, settings, .. } = *facts;
    let batch_size = draft.input.batch_size;
    let cutoff = passed.map(|passed| passed.cutoff);
    let mut candidates = if cutoff.is_some() || spec.allows_calls() {
        batch::candidates(&draft.ledger, facts, batch_size)
    } else {
        Candidates::default()
    };
    for (position, reason) in candidates.spent.drain(..) {
        let message = refusal_of(memory, &draft.ledger, position);
        draft.ledger.fail(position, reason, message, now);
        draft.moved = true;
    }
    if passed.is_some_and(|passed| passed.cutoff == Cutoff::NotAfter && passed.confirmed) {
        draft.moved |= close::after_not_after(&mut draft.ledger, facts, &mut candidates);
    }
    if draft.ledger.ended() {
        return Course::Ended(cutoff);
    }

    let blocked = Blocked::of(memory, now.mono);
    let doubted = passed.is_some_and(|passed| passed.said.is_none());
    if blocked.look.is_some() || doubted || (cutoff.is_none() && blocked.call.is_some()) {
        // Ids next in line are looked at just before their call or their end, not while it must wait.
        candidates.look.clear();
    }
    let calling = draft.input.may_start && cutoff.is_none() && blocked.call.is_none() && spec.allows_calls();
    let (mut batches, mut want) = (Vec::new(), None);
    if calling {
        let parts = memory.bisection.parts();
        if !memory.calls_in_flight() {
            batches = batch::wave(&candidates, &parts, batch_size, settings.parallel_calls);
        }
        let calls = candidates.calls(&parts, batch_size).min(settings.parallel_calls);
        want = Some(Want { calls, ready: batches.len() }).filter(|want| want.calls > 0);
    }
    Course::Work(Box::new(OpenWork { passed, candidates, batches, want, batch_size }))
}

/// What the cloud said about an id whose attempts are used up.
fn refusal_of<'a>(memory: &'a Memory, ledger: &Ledger, position: usize) -> Option<&'a CloudMessage> {
    ledger.rows.get(position).and_then(|row| memory.refused.get(&row.id)).map(|refused| &refused.message)
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
    /// The delete calls that the object wants, and so asks the account's delete queue for; none if
    /// it wants none.
    #[must_use]
    pub fn wants(&self) -> Option<Want> {
        match &self.course {
            Course::Work(work) => work.want,
            Course::Finished | Course::Leaving | Course::Plan | Course::LastLook(_) | Course::Ended(_) => {
                None
            }
        }
    }

    /// The second half of a decision. `answer` is what the account's delete queue said; none if it
    /// was not asked. An object that wants no call ignores it.
    #[must_use]
    pub fn conclude(self, answer: Option<PermitAnswer>) -> Decision {
        let answer = answer.filter(|_| self.wants().is_some());
        let Self { memory, calls, draft, course } = self;
        let Input { spec, status, now, settings, .. } = draft.input;
        if let Some(PermitAnswer::Closed(left)) = answer {
            memory.call_trouble = Some(closed(left, memory.call_trouble.as_ref(), now, settings));
        }
        let facts = Facts { spec, memory, calls: &calls, now, settings };
        match course {
            Course::Finished => finished(&spec.meta, status, spec.ttl, now),
            Course::Leaving => {
                let stage = stage::suspended(&draft.outcomes, &facts);
                let due = Due { outstanding: true, ..Due::default() };
                draft.into_decision(&facts, &stage, Next::Wait, due)
            }
            Course::Plan => conclude_plan(draft, &facts),
            Course::LastLook(since) => conclude_last_look(draft, &facts, since),
            Course::Ended(cutoff) => {
                draft.into_decision(&facts, &Stage::Ended(cutoff), Next::Wait, Due::default())
            }
            Course::Work(work) => conclude_work(draft, &facts, *work, answer),
        }
    }
}

/// Makes a plan, once for each generation and each request of a person, from looks at every id.
fn conclude_plan(mut draft: Draft<'_>, facts: &Facts<'_>) -> Decision {
    let memory = facts.memory;
    let Input { status, now, spec, may_start, .. } = draft.input;
    let planned = status.phase == Some(Phase::Planned);
    let seen = status.observed_generation == Some(spec.meta.generation);
    if planned && seen && !status::look_requested(&spec.meta, status) {
        return Decision::rest();
    }
    // dryRun writes no rows.
    draft.moved = false;
    let trouble = memory.look_trouble.clone();
    let mut due = Due::default();
    match plan(facts, memory.planning_since()) {
        Planning::Done(plan) => {
            let decision = draft.into_decision(facts, &Stage::Planned(plan), Next::Wait, due);
            return Decision { wake: None, ..decision };
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
        let parts = memory.bisection.parts();
        work.candidates.look_no_further(&parts, looks, (work.batch_size, settings.parallel_calls));
    }
    let mut due = looks_due(&draft, facts, &work);
    if let Some(at) = answer.and_then(|answer| answer.asks_again(now.mono)) {
        due.wake_at(at);
    }
    let stage = stage::working(&draft.outcomes, &draft.ledger, facts, work.passed);

    work.batches.truncate(permitted);
    if work.batches.is_empty() {
        return draft.into_decision(facts, &stage, Next::Wait, due);
    }
    let mut with_intent = draft.ledger.clone();
    let wave = write_ahead::intend(
        &mut with_intent,
        work.batches,
        (memory.next_batch(&draft.ledger), draft.input.claim),
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
    let left_out = memory.bisection.leaves_out_at(observe::bisection_patience(facts.settings));
    let left_out = left_out.filter(|at| *at > now.mono);
    let changes = [blocked.look, blocked.call, memory.deadlines.next(now.mono), left_out];
    changes.into_iter().flatten().for_each(|at| due.wake_at(at));
    due
}

#[cfg(test)]
mod tests;
