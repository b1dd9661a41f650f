//! Each moment of the rule, to the microsecond.

use super::*;
use crate::{
    api::{BatchStatus, InstanceDeletionStatus},
    engine::{
        account::health::Evidence,
        id::InstanceId,
        object::{
            job::tests::job_of,
            memory::{Observed, OwnCall, RefusedId},
        },
        reply::{Note, Refusal, Trouble},
        time::Now,
    },
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

const MICRO: Duration = Duration::from_micros(1);

/// When the last call ended, or what else the case turns on happened.
fn then() -> Mono {
    Mono::at(Duration::from_secs(1000))
}

fn just_before(moment: Mono) -> Mono {
    Mono::at(moment.since_start().saturating_sub(MICRO))
}

/// One row, and what is known of it.
struct Case {
    job: Job,
    ledger: Ledger,
    memory: Memory,
    marks: Marks,
    settings: Settings,
}

impl Case {
    fn new(progress: Progress) -> Self {
        let job = job_of(1);
        let mut ledger = Ledger::read(&job.ids, &InstanceDeletionStatus::default());
        ledger.rows[0].progress = progress;
        let memory = Memory::new(&job, Mono::START);
        Self { job, ledger, memory, marks: Marks::default(), settings: Settings::default() }
    }

    fn pending() -> Self {
        Self::new(Progress::Pending)
    }

    fn id(&self) -> InstanceId {
        self.job.ids[0]
    }

    fn seen(mut self, live: Live, sent: Mono) -> Self {
        self.memory.saw(self.job.ids[0], Seen::Live(live), sent);
        self
    }

    /// A call of some object of this process ended.
    fn ended(mut self, effect: Effect, before: Live) -> Self {
        let id = self.id();
        assert!(self.marks.claim(&[(id, before)]));
        self.marks.release(&[id], then(), |_| Some(effect));
        self
    }

    fn on_its_way(mut self, at: Mono) -> Self {
        self.marks.saw(self.job.ids[0], &Seen::ShuttingDown, at);
        self
    }

    /// The row's batch is a call of this process.
    fn own(mut self, state: CallState) -> Self {
        let call = OwnCall { claim: "mine".into(), ids: vec![(self.id(), 0)], state };
        self.memory.calls.insert(7, call);
        self.batch("mine", None)
    }

    fn batch(mut self, claim: &str, returned: Option<u32>) -> Self {
        self.ledger.batches = vec![BatchStatus {
            number: 7,
            size: 1,
            returned,
            claim: claim.into(),
            submitted_at: Time(Timestamp::UNIX_EPOCH),
            request_id: None,
        }];
        self
    }

    fn verdict(&self, now: Mono) -> Verdict {
        verdict(0, &self.job, &self.ledger, &self.memory, &self.marks, now, &self.settings)
    }

    /// From when on a read allows another call; none if it does at once.
    fn settling_until(&self) -> Option<Duration> {
        match self.verdict(then()) {
            Verdict::Settling { until } => Some(until - then()),
            Verdict::Look | Verdict::Send { .. } => None,
            other => panic!("{other:?}"),
        }
    }
}

const fn send(live: Live, sent: Mono) -> Verdict {
    Verdict::Send { live, sent }
}

#[test]
fn a_look_counts_if_it_was_sent_after_the_gate_and_less_than_its_life_ago() {
    let mut case = Case::pending().seen(Live::Running, then());
    assert_eq!(case.verdict(then()), send(Live::Running, then()));
    let dies = then() + LOOK_LIFE_AT_DECISION;
    assert_eq!(case.verdict(just_before(dies)), send(Live::Running, then()));
    assert_eq!(case.verdict(dies), Verdict::Look);
    case.memory.gate = then();
    assert_eq!(case.verdict(then()), Verdict::Look, "sent at the very moment of the gate");
    case = case.seen(Live::Stopped, then() + MICRO);
    assert_eq!(case.verdict(then() + MICRO), send(Live::Stopped, then() + MICRO));
}

#[test]
fn after_an_unknown_outcome_a_read_counts_when_it_was_sent_after_settle() {
    let case = || Case::pending().ended(Effect::Unknown, Live::Running);
    let settled = then() + Settings::default().settle;
    let before = just_before(settled);
    assert_eq!(case().seen(Live::Running, before).verdict(before), Verdict::Settling { until: settled });
    assert_eq!(case().seen(Live::Running, settled).verdict(settled), Verdict::Look);
    let after = settled + MICRO;
    assert_eq!(case().seen(Live::Running, after).verdict(after), send(Live::Running, after));
}

#[test]
fn after_an_acceptance_only_an_error_that_came_after_it_shortens_the_wait() {
    let (settle, patience) = (Settings::default().settle, Settings::default().settle * PATIENCE);
    let after = then() + MICRO;
    let accepted = |before| Case::pending().ended(Effect::Accepted, before);
    // Before the call, after it, when that read was sent; whether it was seen shutting down; how long to wait.
    let table = [
        (Live::Running, Live::Running, after, None, patience),
        (Live::Running, Live::Error, after, None, settle),
        (Live::Stopped, Live::Error, after, None, settle),
        (Live::Running, Live::Error, then(), None, patience),
        (Live::Error, Live::Error, after, None, patience),
        (Live::Error, Live::Error, after, Some(after), settle + MICRO),
        (Live::Error, Live::Error, after + MICRO, Some(after), settle + MICRO),
        (Live::Error, Live::Error, after, Some(then()), patience),
        (Live::Error, Live::Running, after, None, patience),
    ];
    for (before, now, sent, on_its_way, expected) in table {
        let mut case = accepted(before);
        if let Some(at) = on_its_way {
            case = case.on_its_way(at);
        }
        let case = case.seen(now, sent);
        let waits = case.settling_until();
        // A sighting on its way at the moment of the error makes the wait one of patience from there.
        let expected = match on_its_way {
            Some(at) if sent == at => patience + (at - then()),
            _ => expected,
        };
        assert_eq!(waits, Some(expected), "{before:?} {now:?} {sent:?} {on_its_way:?}");
    }
}

#[test]
fn a_sight_of_it_shutting_down_is_an_acceptance_by_whomever() {
    let (settle, patience) = (Settings::default().settle, Settings::default().settle * PATIENCE);
    let table = [
        (Live::Running, then() + MICRO, patience),
        (Live::Error, then() + MICRO, settle),
        (Live::Error, then(), patience),
    ];
    for (live, sent, expected) in table {
        let case = Case::pending().on_its_way(then()).seen(live, sent);
        assert_eq!(case.settling_until(), Some(expected), "{live:?} {sent:?}");
    }
}

#[test]
fn a_refused_id_waits_for_its_backoff_and_for_a_read_after_the_refusal() {
    let until = then() + Duration::from_secs(9);
    let mut case = Case::pending();
    let refused = RefusedId { at: then(), until, missing: None, note: Note::default() };
    case.memory.refused.insert(case.id(), refused);
    let before = just_before(until);
    let mut case = case.seen(Live::Running, then());
    assert_eq!(case.verdict(before), Verdict::Settling { until });
    assert_eq!(case.verdict(until), Verdict::Look, "the look was sent at the moment of the refusal");
    case = case.seen(Live::Running, then() + MICRO);
    assert_eq!(case.verdict(until), send(Live::Running, then() + MICRO));
    case.ledger.rows[0].attempts = case.job.backoff_limit;
    assert_eq!(case.verdict(until), send(Live::Running, then() + MICRO), "one attempt is left");
    case.ledger.rows[0].attempts += 1;
    assert_eq!(case.verdict(until), Verdict::Spent(FailureReason::Conflict));
    case.memory.refused.clear();
    assert_eq!(case.verdict(until), Verdict::Spent(FailureReason::NotAccepted));
}

fn accepted(resent: bool) -> Progress {
    Progress::Accepted { batch: Some(7), resent }
}

#[test]
fn what_ones_own_call_came_to_says_how_long_to_wait() {
    let (settle, patience) = (Settings::default().settle, Settings::default().settle * PATIENCE);
    let submitted = || Progress::Submitted { batch: 7 };
    let ended = |reply| CallState::Ended { at: then(), reply, recorded: true };
    let returned =
        |n: u128| Reply::Accepted { ids: vec![InstanceId::from_u128(n)], foreign: 0, note: Note::default() };
    let unknown =
        || Reply::Unknown { trouble: Trouble::CloudUnreachable, unavailable: false, note: Note::default() };
    let refused = || Reply::Refused {
        refusal: Refusal::Whole,
        trouble: Trouble::RequestRefused,
        note: Note::default(),
    };
    let table = [
        (submitted(), ended(returned(1)), Some(patience)),
        (submitted(), ended(returned(2)), Some(settle)),
        (submitted(), ended(unknown()), Some(settle)),
        (accepted(true), ended(unknown()), Some(settle)),
        (accepted(true), ended(returned(1)), Some(patience)),
        (accepted(true), ended(returned(2)), Some(settle)),
        // The record says that the call, or a read after it, brought the acceptance.
        (accepted(false), ended(unknown()), Some(patience)),
        (accepted(false), ended(returned(2)), Some(patience)),
        (submitted(), ended(refused()), None),
        (submitted(), ended(Reply::TooLate), None),
        (submitted(), CallState::NotSent, None),
    ];
    for (progress, state, expected) in table {
        let case = Case::new(progress.clone()).own(state.clone());
        assert_eq!(case.settling_until(), expected, "{progress:?} {state:?}");
        let end = last_end(&case.ledger.rows[0], &case.ledger, &case.memory, &case.marks, &case.settings);
        assert_eq!(end, expected.map(|_| then()), "{progress:?} {state:?}");
    }
    let running = Case::new(submitted()).own(CallState::InFlight);
    assert_eq!(running.verdict(then()), Verdict::Busy);
}

#[test]
fn a_batch_that_another_process_stored_is_over_when_its_call_must_have_ended() {
    let settings = Settings::default();
    let whole = INTENT_LIFE + settings.request_timeout;
    let patience = settings.settle * PATIENCE;
    let submitted = Progress::Submitted { batch: 7 };
    let table = [
        (submitted.clone(), None, whole + settings.settle),
        (submitted, Some(0), settings.settle),
        (accepted(true), None, whole + patience),
        (accepted(false), Some(1), patience),
    ];
    for (progress, returned, expected) in table {
        let mut case = Case::new(progress.clone()).batch("another's", returned);
        let status = InstanceDeletionStatus::default();
        let now = Now { mono: then(), wall: Timestamp::UNIX_EPOCH };
        case.memory.observe(&Observed {
            job: &case.job,
            status: &status,
            ledger: &case.ledger,
            marks: &case.marks,
            evidence: Evidence::default(),
            now: &now,
            settings: &case.settings,
        });
        assert_eq!(case.settling_until(), Some(expected), "{progress:?} {returned:?}");
    }
    let unseen = Case::new(Progress::Submitted { batch: 7 }).batch("another's", None);
    assert_eq!(unseen.verdict(then()), Verdict::Busy, "not observed: it may be running");
}

#[test]
fn the_last_end_is_the_latest_and_any_call_in_flight_counts() {
    let ended = |at| CallState::Ended {
        at,
        reply: Reply::Accepted { ids: vec![], foreign: 0, note: Note::default() },
        recorded: true,
    };
    let earlier = Mono::at(Duration::from_secs(10));
    let later = then() + MICRO;
    let ends =
        |case: &Case| last_end(&case.ledger.rows[0], &case.ledger, &case.memory, &case.marks, &case.settings);
    let flies = |case: &Case| {
        in_flight(&case.ledger.rows[0], &case.ledger, &case.memory, &case.marks, &case.settings)
    };
    let own = |at| Case::new(Progress::Submitted { batch: 7 }).own(ended(at));
    assert_eq!(ends(&Case::pending()), None);
    assert_eq!(ends(&own(earlier)), Some(earlier));
    assert_eq!(ends(&own(earlier).ended(Effect::Unknown, Live::Running)), Some(then()));
    assert_eq!(ends(&own(later).ended(Effect::Unknown, Live::Running)), Some(later));
    assert!(!flies(&Case::pending()) && !flies(&own(earlier)));
    let mut claimed = Case::pending();
    assert!(claimed.marks.claim(&[(claimed.job.ids[0], Live::Running)]));
    assert!(flies(&claimed), "a call of another object");
    assert_eq!(claimed.verdict(then()), Verdict::Busy);
    assert!(flies(&Case::new(Progress::Submitted { batch: 7 }).own(CallState::InFlight)));
}
