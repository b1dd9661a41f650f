//! Objects at their end, and objects with an invalid spec.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::{
    api::{InstancePhase, Phase},
    engine::{
        object::{
            state::{ledger::Progress, memory::CallState, spec::tests::meta},
            tests::case::{Case, then},
        },
        outcome::{CallOutcome, CloudMessage},
    },
};

fn now() -> Now {
    Now { mono: then(), wall: Timestamp::from_second(1_800_000_000).unwrap() }
}

#[test]
fn an_invalid_spec_is_said_once() {
    let said = decide_invalid("it is odd", &meta(2), &InstanceDeletionStatus::default(), None, &now());
    let status = said.write.clone().unwrap();
    let events = said.events.clone();
    assert_eq!(events.iter().map(|event| event.reason).collect::<Vec<_>>(), ["InvalidSpec"]);
    assert_eq!(said, Decision { write: said.write.clone(), events, ..Decision::rest() });
    assert!(status::is_finished(&status));
    assert_eq!(decide_invalid("it is odd", &meta(2), &status, None, &now()), Decision::rest());
}

/// The status of an object whose one id is in a call of this process.
fn working(case: &Case) -> InstanceDeletionStatus {
    let mut status = status::tests::ready("Deleting");
    case.ledger.write(&mut status);
    status
}

#[test]
fn s05_an_edit_that_makes_the_spec_invalid_ends_no_bookkeeping() {
    let accepted = CallOutcome::Accepted {
        ids: vec![Case::pending().id()],
        foreign: 0,
        message: CloudMessage::default(),
    };
    let mut case = Case::new(Progress::Submitted { batch: 7 }).own(CallState::InFlight);
    let status = working(&case);
    let decide = |case: &Case, status: &InstanceDeletionStatus| {
        decide_invalid("it is odd", &meta(2), status, Some(&case.memory), &now())
    };
    let waits = decide(&case, &status);
    assert_eq!((waits.write, waits.wake.is_some()), (None, true), "its call is in flight");
    case = case.own(CallState::Ended { at: then(), outcome: accepted });
    let said = decide(&case, &status);
    let reasons: Vec<_> = said.events.iter().map(|event| event.reason).collect();
    assert_eq!((said.records, reasons), (vec![7], vec!["BatchAccepted", "InvalidSpec"]));
    let written = said.write.unwrap();
    assert_eq!(written.instances[0].phase, InstancePhase::Accepted);
    assert_eq!(written.summary.as_ref().unwrap().accepted, 1);
    assert!(!status::is_finished(&written) && written.completion_time.is_none());
    assert_eq!(written.phase, Some(Phase::Deleting));
    let conditions: Vec<_> =
        written.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
    assert_eq!(
        conditions,
        [
            ("Ready", "False", "InvalidSpec"),
            ("Reconciling", "True", "InvalidSpec"),
            ("Finished", "False", "NotFinished")
        ]
    );
    case.memory.recorded(&[7]);
    let again = decide(&case, &written);
    assert_eq!(again, Decision { wake: again.wake, ..Decision::rest() }, "it is said once");
    assert!(again.wake.is_some());
}

#[test]
fn a_finished_object_says_that_an_edit_was_seen_and_goes_when_its_time_is_over() {
    let status = status::invalid_spec("x", None, &meta(2), &InstanceDeletionStatus::default(), &now());
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    let at = |seconds| Now { mono: then(), wall: now().wall + Duration::from_secs(seconds) };
    assert_eq!(finished(&meta(2), &status, None, &now()), Decision::rest());
    let edited = finished(&meta(3), &status, ttl(9), &now());
    assert_eq!((edited.write, edited.wake), (Some(status::observed(&status, &meta(3))), Some(then())));
    assert_eq!(finished(&meta(3), &status, None, &now()).wake, None);
    let wakes = |seconds, passed| finished(&meta(2), &status, ttl(seconds), &at(passed)).wake;
    assert_eq!(wakes(9, 0), Some(then() + Duration::from_secs(9)));
    assert_eq!(wakes(9, 8), Some(then() + Duration::from_secs(1)));
    assert_eq!(wakes(86_400, 0), Some(then() + LONGEST_SLEEP));
    for passed in [9, 10] {
        assert_eq!(
            finished(&meta(2), &status, ttl(9), &at(passed)),
            Decision { next: Next::Delete, ..Decision::rest() }
        );
    }
}

#[test]
fn x07_a_clock_that_jumps_forward_once_deletes_no_finished_object() {
    let (delete, waits) = (Decision { next: Next::Delete, ..Decision::rest() }, Decision::rest());
    let at = |seconds| Now { mono: then() + Duration::from_secs(seconds), wall: now().wall };
    let mut since = None;
    // What each reading says, seconds after the first, and whether the object is deleted.
    for (says_over, seconds, deleted) in
        [(true, 0, false), (false, 9, false), (true, 12, false), (true, 21, false), (true, 22, true)]
    {
        let says = if says_over { delete.clone() } else { waits.clone() };
        let decision = confirmed_deletion(says, &mut since, &at(seconds));
        assert_eq!(decision.next == Next::Delete, deleted, "{seconds}");
        let again = (says_over && !deleted).then(|| since.unwrap() + Duration::from_secs(10));
        assert_eq!(decision.wake, again, "{seconds}");
    }
}
