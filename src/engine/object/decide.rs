//! The next step of one object.

use std::time::Duration;

use super::{
    report::{
        events,
        events::Event,
        status,
        status::{Hindrance, Stage, Stuck},
    },
    rules::{
        batch, close,
        plan::{Planning, plan},
        poll, record, write_ahead,
    },
    state::{
        blocker::Blocker,
        deadlines::Cutoff,
        ledger::{Ledger, Progress},
        memory::Memory,
        spec::{DeletionSpec, Meta},
        wave::Wave,
    },
};
use crate::{
    api::InstanceDeletionStatus,
    engine::{
        account::{
            call_history::CallHistory,
            delete_queue::{PermitAnswer, Want},
            schedule::Watch,
        },
        id::InstanceId,
        outcome::CloudMessage,
        settings::{PATIENCE, STORED_LIMIT, Settings},
        time::{Mono, Now},
    },
};

/// Everything that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The spec, read live.
    pub spec: &'a DeletionSpec,
    /// The status of the same read.
    pub status: &'a InstanceDeletionStatus,
    /// Bytes that the stored object takes besides its status.
    pub other_bytes: usize,
    /// What this process has seen of the object, after [`Memory::observe`] of this read.
    pub memory: &'a Memory,
    /// What this process knows of calls at the object's endpoint and project.
    pub call_history: &'a CallHistory,
    /// What the governor said to this object; none if it was not asked.
    pub turn: Option<PermitAnswer>,
    /// Most ids in one call: [`crate::engine::settings::BATCH_SIZE`], or what the endpoint was found to accept.
    pub batch_size: usize,
    /// False while the process drains: outcomes are recorded, and nothing new is started.
    pub may_start: bool,
    /// A random token, used if this decision submits a wave.
    pub claim: &'a str,
    /// The moment of the decision.
    pub now: &'a Now,
    /// Flags.
    pub settings: &'a Settings,
}

/// What to do: write, then `next` and `look`, then decide again at `wake` or when something is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to store by compare-and-swap; none if the stored one says it all.
    pub write: Option<InstanceDeletionStatus>,
    /// Batches whose outcome the record holds once that write is acknowledged (or now, if there is none to make).
    pub records: Vec<u32>,
    /// Whether the write holds ends found by looking.
    pub holds_ends: bool,
    /// What follows the acknowledged write.
    pub next: Next,
    /// Ids to look at.
    pub look: Vec<InstanceId>,
    /// Whether that is the regular look, after which the next one is due `poll_min` later.
    pub regular: bool,
    /// What the account's schedule looks at from now on.
    pub watch: Watch,
    /// When to decide again, if nothing is heard before. None: the object has come to rest until someone edits it.
    pub wake: Option<Mono>,
    /// What to tell in events, once the write is acknowledged.
    pub events: Vec<Event>,
}

impl Decision {
    /// What is left of a decision whose wave can't be made: nothing is written, so nothing counts as recorded or is told.
    #[must_use]
    pub fn without_its_wave(self, again: Mono) -> Self {
        Self { wake: Some(again), look: self.look, regular: self.regular, watch: self.watch, ..rest() }
    }
}

/// What follows the write of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Make these calls; the acknowledged write holds their intent.
    Submit(Wave),
    /// Ask the governor, and decide again with what it says; no intent is stored.
    AskPermit(Want),
    /// Delete the object itself, if it is still the one that was read: its time after the end is over.
    Delete,
    /// Nothing.
    Wait,
}

/// Decides the next step of an object with a valid spec.
#[must_use]
pub fn decide(input: &Input<'_>) -> Decision {
    let Input { spec, status, memory, now, settings, .. } = *input;
    if status::is_finished(status) {
        return finished(&spec.meta, status, spec.ttl, now);
    }
    let mut ledger = Ledger::read(&spec.ids, status);
    let records = record::outcomes(&mut ledger, memory, now);
    let outcome_only = ledger.clone();
    let mut moved = record::observations(&mut ledger, spec, memory, input.call_history, now, settings);
    let events = events::outcomes(memory, &records);
    let draft = Draft { input, outcome_only, records, events };

    if spec.meta.leaving {
        let stage = draft.stage_of_suspended();
        return draft.close(&ledger, moved, &stage, Next::Wait, Looking::nothing());
    }
    if spec.dry_run {
        return draft.planning(&ledger);
    }
    let cutoff = memory.deadlines.passed();
    if let Some((Cutoff::Deadline, since)) = cutoff {
        return draft.at_deadline(ledger, moved, since);
    }
    let cutoff = cutoff.map(|(cutoff, _)| cutoff);
    let mut queue = if cutoff.is_some() || spec.allows_calls() {
        batch::queue(spec, &ledger, memory, input.call_history, (now.mono, input.batch_size), settings)
    } else {
        batch::Queue::default()
    };
    for (position, reason) in queue.spent.drain(..) {
        ledger.fail(position, reason, spent_note(memory, &ledger, position), now);
        moved = true;
    }
    if cutoff.is_some() {
        moved |= close::after_not_after(&mut ledger, memory, &mut queue, now);
    }
    if ledger.ended() {
        return draft.close(&ledger, moved, &Stage::Ended(cutoff), Next::Wait, Looking::nothing());
    }
    let blocked_look = blocked(memory.look_trouble.as_ref(), now.mono);
    let blocked_call = blocked(memory.call_trouble.as_ref(), now.mono).or(blocked_look);
    if blocked_look.is_some() || (cutoff.is_none() && blocked_call.is_some()) {
        // Ids next in line are looked at just before their call, not while it can't be made.
        queue.look.clear();
    }
    let calling = input.may_start && cutoff.is_none() && blocked_call.is_none() && spec.allows_calls();
    let parts = memory.bisection.parts();
    let wave = if calling && !memory.calls_in_flight() {
        batch::wave(&queue, parts, input.batch_size, settings.parallel_calls)
    } else {
        Vec::new()
    };
    let calls = batch::calls(&queue, parts, input.batch_size).min(settings.parallel_calls);
    let want = Some(Want { calls, ready: wave.len() }).filter(|want| calling && want.calls > 0);
    if calling {
        let permitted = match input.turn {
            Some(PermitAnswer::Now(calls) | PermitAnswer::Soon { calls, .. }) => calls,
            Some(PermitAnswer::Later(_) | PermitAnswer::Closed(_)) | None => 0,
        };
        batch::look_no_further(&mut queue, parts, permitted, (input.batch_size, settings.parallel_calls));
    }
    let mut looking = Looking::nothing();
    if blocked_look.is_none() && input.may_start {
        let started = status.start_time.as_ref().map(|time| time.0);
        let requested = status::look_requested(&spec.meta, status);
        let due = poll::due(spec, &ledger, memory, &queue, (now, started, requested), settings);
        looking = Looking { ids: due.ids, regular: due.regular, watch: due.watch, next: due.next };
    }
    for until in [blocked_look, blocked_call].into_iter().flatten() {
        looking.wake_at(until);
    }
    looking.wake_at_some(memory.deadlines.next(now.mono));
    let mut stage = draft.stage(&ledger, cutoff);
    let permitted = match (want, input.turn) {
        (None, _) => 0,
        (Some(want), None) => return draft.close(&ledger, moved, &stage, Next::AskPermit(want), looking),
        (Some(_), Some(PermitAnswer::Now(calls))) => calls,
        (Some(_), Some(turn)) => {
            looking.wake_at_some(turn.asks_again(now.mono));
            0
        }
    };
    if permitted == 0 || wave.is_empty() {
        return draft.close(&ledger, moved, &stage, Next::Wait, looking);
    }
    let unsent = ledger.clone();
    let batches = wave.into_iter().take(permitted).collect();
    let wave = write_ahead::intend(&mut ledger, batches, input.claim, &now.time());
    let bytes = draft.largest(&ledger, &stage);
    if bytes >= STORED_LIMIT {
        stage = Stage::Deleting(Some(Hindrance::StatusTooLarge { bytes }));
        looking.wake_at(now.mono + settings.retry_max);
        return draft.close(&unsent, moved, &stage, Next::Wait, looking);
    }
    draft.close(&ledger, true, &stage, Next::Submit(wave), looking)
}

/// Decides about an object whose stored spec the schema refuses: say so, and send nothing.
#[must_use]
pub fn decide_invalid(why: &str, meta: &Meta, status: &InstanceDeletionStatus, now: &Now) -> Decision {
    if status::is_finished(status) {
        return finished(meta, status, None, now);
    }
    let write = status::invalid_spec(why, meta, status, now);
    Decision { events: vec![events::invalid_spec(why)], write: Some(write), ..rest() }
}

/// What is left to do for an object at its end: to say that a spec edit or a request to look was seen, and to delete it when `ttl` after its
/// completion is over.
#[must_use]
pub fn finished(meta: &Meta, status: &InstanceDeletionStatus, ttl: Option<Duration>, now: &Now) -> Decision {
    if status.observed_generation != Some(meta.generation) || status::look_requested(meta, status) {
        let wake = ttl.map(|_| now.mono);
        return Decision { write: Some(status::observed(status, meta)), wake, ..rest() };
    }
    let ended = status.completion_time.as_ref().map(|time| time.0);
    let Some(delete_at) = ended.zip(ttl).and_then(|(ended, ttl)| ended.checked_add(ttl).ok()) else {
        return rest();
    };
    match Duration::try_from(delete_at.duration_since(now.wall)) {
        Ok(left) if !left.is_zero() => Decision { wake: Some(now.mono + left.min(LONGEST_SLEEP)), ..rest() },
        Ok(_) | Err(_) => Decision { next: Next::Delete, ..rest() },
    }
}

/// The wall clock may be set meanwhile: it is looked at again after this at the latest.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// What the cloud said about an id whose attempts are used up.
fn spent_note<'a>(memory: &'a Memory, ledger: &Ledger, position: usize) -> Option<&'a CloudMessage> {
    ledger.rows.get(position).and_then(|row| memory.refused.get(&row.id)).map(|refused| &refused.message)
}

fn rest() -> Decision {
    Decision {
        write: None,
        records: Vec::new(),
        holds_ends: false,
        next: Next::Wait,
        look: Vec::new(),
        regular: false,
        watch: Watch::default(),
        wake: None,
        events: Vec::new(),
    }
}

fn blocked(blocker: Option<&Blocker>, now: Mono) -> Option<Mono> {
    blocker.map(|s| s.retry_at).filter(|retry_at| *retry_at > now)
}

/// What is looked at, and when something is due.
struct Looking {
    ids: Vec<InstanceId>,
    regular: bool,
    watch: Watch,
    next: Option<Mono>,
}

impl Looking {
    fn nothing() -> Self {
        Self { ids: Vec::new(), regular: false, watch: Watch::default(), next: None }
    }

    fn wake_at(&mut self, at: Mono) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    fn wake_at_some(&mut self, at: Option<Mono>) {
        if let Some(at) = at {
            self.wake_at(at);
        }
    }
}

struct Draft<'a> {
    input: &'a Input<'a>,
    /// The record with outcomes of calls, and without what reads showed.
    outcome_only: Ledger,
    records: Vec<u32>,
    events: Vec<Event>,
}

impl Draft<'_> {
    fn planning(self, ledger: &Ledger) -> Decision {
        let Input { memory, status, now, spec, .. } = *self.input;
        let planned = status.phase == Some(crate::api::Phase::Planned);
        let seen = status.observed_generation == Some(spec.meta.generation);
        if planned && seen && !status::look_requested(&spec.meta, status) {
            return rest();
        }
        let mut looking = Looking::nothing();
        let stage = match plan(spec, memory, memory.planning_since()) {
            Planning::Done(plan) => Stage::Planned(plan),
            Planning::Asked => Stage::Planning(memory.look_trouble.clone()),
            Planning::Look(ids) => {
                match blocked(memory.look_trouble.as_ref(), now.mono) {
                    Some(until) => looking.wake_at(until),
                    None if self.input.may_start => looking.ids = ids,
                    None => {}
                }
                Stage::Planning(memory.look_trouble.clone())
            }
        };
        // A plan is no record: dryRun writes no rows.
        let mut decision = self.close(ledger, false, &stage, Next::Wait, looking);
        if matches!(stage, Stage::Planned(_)) {
            decision.wake = None;
        }
        decision
    }

    /// The deadline passed at `since`: one last look, then the end.
    fn at_deadline(self, mut ledger: Ledger, moved: bool, since: Mono) -> Decision {
        let Input { memory, now, settings, may_start, .. } = *self.input;
        let Some(last) = close::at_deadline(&mut ledger, memory, since, now, settings) else {
            let stage = Stage::Ended(Some(Cutoff::Deadline));
            return self.close(&ledger, true, &stage, Next::Wait, Looking::nothing());
        };
        let mut looking = Looking::nothing();
        if may_start {
            looking.ids = last.look;
        }
        looking.wake_at((since + settings.request_timeout).max(now.mono + settings.retry_min));
        let blocker = memory.look_trouble.clone();
        let stage = Stage::Closing { cutoff: Cutoff::Deadline, waiting: last.waiting, blocker };
        self.close(&ledger, moved, &stage, Next::Wait, looking)
    }

    /// What stands in the way of looking matters only where something is looked at: ids that a call may have named.
    fn stage_of_suspended(&self) -> Stage {
        let named = |p: &Progress| matches!(p, Progress::Submitted { .. } | Progress::Accepted { .. });
        let looking = self.outcome_only.rows.iter().any(|row| named(&row.progress));
        Stage::Suspended(self.input.memory.look_trouble.clone().filter(|_| looking))
    }

    fn stage(&self, ledger: &Ledger, cutoff: Option<Cutoff>) -> Stage {
        let Input { spec, memory, now, settings, .. } = *self.input;
        if let Some(cutoff) = cutoff {
            let undecided = |p: &Progress| matches!(p, Progress::Pending | Progress::Submitted { .. });
            let waiting = ledger.rows.iter().filter(|row| undecided(&row.progress)).count();
            return Stage::Closing { cutoff, waiting, blocker: memory.look_trouble.clone() };
        }
        if spec.suspend {
            return self.stage_of_suspended();
        }
        let to_send =
            ledger.rows.iter().any(|r| matches!(r.progress, Progress::Pending | Progress::Submitted { .. }));
        let trouble = memory.look_trouble.as_ref().or(memory.call_trouble.as_ref().filter(|_| to_send));
        if let Some(blocker) = trouble {
            return Stage::Deleting(Some(Hindrance::Trouble(blocker.clone())));
        }
        let patience = settings.settle * PATIENCE;
        let mut stuck = (0..ledger.rows.len()).filter(|&p| {
            let observation = memory.observation(p);
            let open = ledger.rows.get(p).is_some_and(|r| !r.progress.ended());
            open && observation.unusable_since().is_some_and(|since| now.mono - since >= patience)
        });
        let Some(first) = stuck.next() else { return Stage::Deleting(None) };
        let seen = memory.observation(first).last.as_ref().map_or_else(String::new, |(s, _)| s.to_string());
        let id = ledger.rows.get(first).map_or_else(String::new, |r| r.id.to_string());
        Stage::Deleting(Some(Hindrance::StateUnknown {
            count: 1 + stuck.count(),
            example: format!("{id} ({seen})"),
        }))
    }

    /// Ids that are open for longer than `--stuck-after`. They all wait since the object's start; a suspended object waits
    /// for its user.
    fn stuck(&self, ledger: &Ledger) -> Option<Stuck> {
        let Input { spec, status, memory, now, settings, .. } = *self.input;
        let after = settings.stuck_after;
        let started = status.start_time.as_ref().map(|time| time.0)?;
        let open_for = Duration::try_from(now.wall.duration_since(started)).unwrap_or_default();
        let resumed_lately = memory.suspended_at.is_some_and(|at| now.mono - at < after);
        if spec.suspend || spec.dry_run || spec.meta.leaving || open_for < after || resumed_lately {
            return None;
        }
        let mut open = ledger.rows.iter().enumerate().filter(|(_, row)| !row.progress.ended());
        let (position, first) = open.next()?;
        let seen = memory.observation(position).last.as_ref();
        let seen = seen.map_or_else(|| "not read yet".to_owned(), |(seen, _)| seen.to_string());
        Some(Stuck { count: 1 + open.count(), example: format!("{} ({seen})", first.id), after })
    }

    /// Bytes that the object may take once every open row of this record has its end.
    fn largest(&self, ledger: &Ledger, stage: &Stage) -> usize {
        // An end adds a reason and a time to a row; a reply adds a request id to a batch.
        const ROW: usize = 64;
        const BATCH: usize = 96;
        const MESSAGES: usize = 16 * 1024;
        let status =
            status::status(self.input.spec, ledger, stage, self.input.status, self.input.now, (None, None));
        let written = serde_json::to_vec(&status).map_or(usize::MAX, |bytes| bytes.len());
        let open = ledger.rows.iter().filter(|r| !r.progress.ended()).count();
        let growth = open * ROW + ledger.batches.len() * BATCH + MESSAGES;
        written.saturating_add(growth).saturating_add(self.input.other_bytes)
    }

    fn close(self, ledger: &Ledger, moved: bool, stage: &Stage, next: Next, looking: Looking) -> Decision {
        let Input { spec, status: before, memory, now, settings, .. } = *self.input;
        let mut wake = looking.next;
        let mut wake_at = |at: Mono| wake = Some(wake.map_or(at, |w: Mono| w.min(at)));
        let long_wait = long_wait(stage, before, now, settings);
        let ended = matches!(stage, Stage::Ended(_));
        let stuck = if ended { None } else { self.stuck(ledger) };
        let surface_of = |ledger: &Ledger| {
            status::status(spec, ledger, stage, before, now, (long_wait.as_ref(), stuck.as_ref()))
        };
        let submits = matches!(next, Next::Submit(_));

        let plain = surface_of(&self.outcome_only);
        let must = submits
            || ended
            || surface_differs(&plain, before)
            || (!self.records.is_empty() && plain != *before && !memory.calls_in_flight());
        let ends_due = memory.ends_written.map(|at| at + settings.poll_min * 2).filter(|due| *due > now.mono);
        let write = match (moved, ends_due) {
            (true, Some(due)) if !must => {
                wake_at(due);
                None
            }
            (true, _) => Some(surface_of(ledger)),
            (false, _) => must.then_some(plain),
        };
        // An outcome that comes before those of its wave waits for them: one write holds them all.
        let waits = write.is_none() && memory.calls_in_flight();
        let (records, mut events) =
            if waits { (Vec::new(), Vec::new()) } else { (self.records, self.events) };
        if let Some(write) = &write {
            events.extend(events::turning_point(before, write));
            events.extend(stuck.filter(|_| !Stuck::is_said(before)).map(|stuck| events::stuck(&stuck)));
        }
        if ended {
            wake = spec.ttl.map(|ttl| now.mono + ttl.min(LONGEST_SLEEP));
        } else {
            // No wait without an end: whatever was forgotten above, the object is read again.
            wake_at(now.mono + settings.poll_max);
        }
        Decision {
            holds_ends: moved && write.is_some(),
            write,
            records,
            next,
            look: looking.ids,
            regular: looking.regular,
            watch: looking.watch,
            wake,
            events,
        }
    }
}

/// `nextActionTime`, for waits longer than `poll_max`. It stays until the wait is over, so that it is written once.
fn long_wait(
    stage: &Stage,
    before: &InstanceDeletionStatus,
    now: &Now,
    settings: &Settings,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    let (Stage::Planning(Some(blocker))
    | Stage::Suspended(Some(blocker))
    | Stage::Closing { blocker: Some(blocker), .. }
    | Stage::Deleting(Some(Hindrance::Trouble(blocker)))) = stage
    else {
        return None;
    };
    let said = before.next_action_time.as_ref() == Some(&blocker.retry_time);
    let left = Duration::try_from(blocker.retry_time.0.duration_since(now.wall)).unwrap_or_default();
    (left > settings.poll_max || (said && !left.is_zero())).then(|| blocker.retry_time.clone())
}

/// Whether people or tools would read something else; the record itself is compared by what moved it.
fn surface_differs(a: &InstanceDeletionStatus, b: &InstanceDeletionStatus) -> bool {
    a.observed_generation != b.observed_generation
        || a.phase != b.phase
        || a.start_time != b.start_time
        || a.plan != b.plan
        || a.next_action_time != b.next_action_time
        || a.last_handled_reconcile_at != b.last_handled_reconcile_at
        || a.conditions != b.conditions
}

#[cfg(test)]
mod tests;
