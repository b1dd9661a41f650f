//! What one outcome or one read makes of one row.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::engine::{
    Mono, Now, ReadTime,
    id::InstanceId,
    object::{
        state::memory::RefusedId,
        tests::case::{Case, MICRO, just_before, then},
    },
    outcome::{CloudMessage, Trouble, Unsent},
};

const NOW: Now = Now { mono: Mono::START, wall: Timestamp::UNIX_EPOCH };

impl Case {
    fn outcomes(&mut self) -> Vec<u32> {
        outcomes(&mut self.ledger, &self.memory)
    }

    fn observations(&mut self) -> bool {
        self.judge(NOW, observations)
    }

    fn row(&self) -> &Row {
        &self.ledger.rows[0]
    }
}

fn submitted() -> Progress {
    Progress::Submitted { batch: 7 }
}

fn accepted(resent: bool) -> Progress {
    Progress::Accepted { batch: Some(7), resent }
}

fn ended(outcome: CallOutcome) -> CallState {
    CallState::Ended { at: then(), outcome }
}

fn returned(n: u128) -> CallOutcome {
    CallOutcome::Accepted {
        ids: vec![InstanceId::from_u128(n)],
        foreign: 0,
        message: CloudMessage::default(),
    }
}

fn unknown() -> CallOutcome {
    CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage::default(),
    }
}

fn refused(refusal: Refusal) -> CallOutcome {
    CallOutcome::Refused { refusal, trouble: Trouble::RequestRefused, message: CloudMessage::default() }
}

#[test]
fn an_outcome_moves_its_row_and_counts_what_used_an_attempt() {
    let id = InstanceId::from_u128(1);
    let table = [
        (submitted(), returned(1), accepted(false), 1),
        (submitted(), returned(2), submitted(), 1),
        (accepted(true), returned(1), accepted(false), 1),
        (accepted(true), returned(2), accepted(false), 1),
        (submitted(), unknown(), submitted(), 0),
        (accepted(true), unknown(), accepted(true), 0),
        (submitted(), refused(Refusal::Conflict(vec![id])), submitted(), 1),
        (accepted(true), refused(Refusal::Conflict(vec![id])), accepted(false), 1),
        (submitted(), refused(Refusal::Conflict(vec![])), submitted(), 0),
        (submitted(), refused(Refusal::Missing(vec![id])), submitted(), 0),
        (accepted(true), refused(Refusal::Whole), accepted(false), 0),
        (accepted(true), CallOutcome::NotSent(Unsent::TooLate), accepted(false), 0),
    ];
    for (progress, outcome, expected, attempts) in table {
        let mut case = Case::new(progress.clone()).own(ended(outcome.clone()));
        for _ in 0..2 {
            assert_eq!(case.outcomes(), [7]);
            let row = case.row();
            assert_eq!((&row.progress, row.attempts), (&expected, attempts), "{progress:?} {outcome:?}");
        }
    }
}

#[test]
fn an_outcome_concerns_the_rows_that_its_batch_still_names() {
    let mut later = Case::new(Progress::Submitted { batch: 8 }).own(ended(returned(1)));
    later.outcomes();
    assert_eq!(later.row().attempts, 0, "another call names it by now");
    let done = Progress::Terminated { batch: Some(7), ended_at: None };
    let mut done_case = Case::new(done.clone()).own(ended(returned(1)));
    done_case.outcomes();
    assert_eq!((&done_case.row().progress, done_case.row().attempts), (&done, 0));
}

#[test]
fn an_outcome_whose_intent_the_record_lost_is_merged_as_far_as_it_was_accepted() {
    for claim in ["another's", ""] {
        let mut case = Case::new(Progress::Pending).own(ended(returned(1)));
        case.ledger.batches[0].claim = claim.into();
        case.outcomes();
        assert_eq!(case.row().progress, Progress::Accepted { batch: None, resent: false }, "{claim:?}");
        assert_eq!(case.ledger.batches[0].returned, None, "it is not this call's row");
    }
    let mut case = Case::new(Progress::Pending).own(ended(returned(2)));
    case.ledger.batches.clear();
    case.outcomes();
    assert_eq!(case.row().progress, Progress::Pending);
    let mut same_claim = Case::new(submitted()).own(ended(returned(1)));
    same_claim.ledger.batches[0].number = 6;
    same_claim.outcomes();
    assert_eq!(same_claim.ledger.batches[0].returned, None, "another batch of the same wave");
}

#[test]
fn a_read_speaks_about_a_call_only_if_it_was_sent_after_its_end() {
    let shutting = |progress: Progress, sent| {
        let mut case = Case::new(progress).own(ended(unknown())).read(Seen::ShuttingDown, sent);
        let moved = case.observations();
        (moved, case.row().progress.clone(), case.row().attempts)
    };
    let after = then() + MICRO;
    for sent in [just_before(then()), then()] {
        assert_eq!(shutting(submitted(), sent), (true, accepted(false), 0), "on its way, by whichever call");
        assert_eq!(shutting(accepted(true), sent), (false, accepted(true), 0), "it was on its way before");
    }
    assert_eq!(shutting(submitted(), after), (true, accepted(false), 1), "the call took effect");
    assert_eq!(shutting(accepted(true), after), (true, accepted(false), 1));
    assert_eq!(shutting(accepted(false), after), (false, accepted(false), 0), "counted already");
    // Never called: nothing used an attempt.
    let mut case = Case::pending().read(Seen::ShuttingDown, after);
    assert!(case.observations());
    assert_eq!(case.row().attempts, 0);
    // The call of another object is in flight: its end is not known yet.
    let mut case = Case::new(submitted()).own(ended(unknown())).read(Seen::ShuttingDown, after);
    assert!(case.call_history.claim(&[(case.id(), Live::Running)]));
    assert!(case.observations());
    assert_eq!((case.row().progress.clone(), case.row().attempts), (accepted(false), 0));
}

#[test]
fn attempts_add_up() {
    let mut case = Case::new(submitted()).own(ended(unknown())).read(Seen::ShuttingDown, then() + MICRO);
    case.ledger.rows[0].attempts = 2;
    case.observations();
    assert_eq!(case.row().attempts, 3);
}

#[test]
fn a_missing_id_that_reads_alive_after_its_refusal_used_an_attempt() {
    let run = |seen, sent, attempts| {
        let mut case = Case::new(submitted()).read(seen, sent);
        let refused =
            RefusedId { at: then(), until: then(), unexplained: Some(1), message: CloudMessage::default() };
        case.memory.refusals.delete.ids.insert(case.spec.ids[0], refused);
        case.ledger.rows[0].attempts = attempts;
        (case.observations(), case.row().attempts)
    };
    let after = then() + MICRO;
    let alive = || Seen::Live(Live::Running);
    assert_eq!(run(alive(), after, 1), (true, 2));
    assert_eq!(run(alive(), after, 2), (false, 2), "counted once");
    assert_eq!(run(alive(), then(), 1), (false, 1), "a read from before the end of the call");
    assert_eq!(run(Seen::NotFound, after, 1), (false, 1));
}

#[test]
fn not_found_twice_settle_apart_and_after_the_call_is_proof() {
    let run = |first: Mono, second: Mono| {
        let mut case = Case::new(submitted())
            .own(ended(unknown()))
            .read(Seen::NotFound, first)
            .read(Seen::NotFound, second);
        case.observe(second);
        case.observations();
        matches!(case.row().progress, Progress::NotFound { .. })
    };
    let settle = Settings::default().settle;
    let after = then() + MICRO;
    assert!(run(after, after + settle));
    assert!(!run(after, just_before(after + settle)));
    assert!(!run(then(), then() + settle), "the first was sent at the very end of the call");
    // The rule holds by itself, also for a memory that has not observed the end of the call yet.
    let mut unobserved = Case::new(submitted())
        .own(ended(unknown()))
        .read(Seen::NotFound, then())
        .read(Seen::NotFound, then() + settle);
    unobserved.observations();
    assert_eq!(unobserved.row().progress, submitted());
}

#[test]
fn s6_the_time_between_two_not_found_reads_is_counted_from_the_answer_of_the_first() {
    let settle = Settings::default().settle;
    let slow = ReadTime { sent: then(), answered: then() + Duration::from_secs(7) };
    let gone = |first: ReadTime, second: ReadTime| {
        let mut case = Case::pending().read(Seen::NotFound, first).read(Seen::NotFound, second);
        case.observe(second.answered);
        case.observations();
        matches!(case.row().progress, Progress::NotFound { .. })
    };
    let second = |sent: Mono| ReadTime { sent, answered: sent + Duration::from_mins(1) };
    assert!(gone(slow, second(slow.answered + settle)));
    assert!(!gone(slow, second(just_before(slow.answered + settle))));
    assert!(!gone(slow, second(slow.sent + settle)));
}

#[test]
fn s6_a_slow_read_that_was_sent_before_a_call_ended_begins_no_series() {
    let slow = ReadTime { sent: just_before(then()), answered: then() + Duration::from_secs(7) };
    let mut case = Case::new(submitted()).own(ended(unknown())).read(Seen::NotFound, slow);
    case.observe(slow.answered);
    assert_eq!(case.memory.observation(0).not_found_since(), None);
}

#[test]
fn a_row_shows_the_state_that_its_progress_does_not_imply() {
    let text = |text: &str| Some(StateText::new(text));
    let other = || Seen::Other(StateText::new("melting"));
    let table = [
        (Progress::Pending, Seen::Live(Live::Running), None),
        (Progress::Pending, Seen::Live(Live::Error), text("error")),
        (Progress::Pending, other(), text("melting")),
        (Progress::Pending, Seen::Unreadable, None),
        (submitted(), Seen::Live(Live::Stopped), None),
        (submitted(), other(), text("melting")),
        (accepted(false), Seen::ShuttingDown, None),
        (accepted(false), Seen::Unreadable, None),
        (accepted(false), Seen::Live(Live::Running), text("running")),
        (accepted(false), Seen::Live(Live::Error), text("error")),
        (accepted(false), other(), text("melting")),
        (accepted(false), Seen::Terminated, None),
    ];
    for (progress, seen, expected) in table {
        let mut case = Case::new(progress.clone()).read(seen.clone(), then());
        case.observations();
        assert_eq!(case.row().cloud_state, expected, "{progress:?} {seen:?}");
    }
}
