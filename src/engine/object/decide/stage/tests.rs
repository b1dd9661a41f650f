//! Which ids are stuck, and which waits are said.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::engine::object::state::deadlines::Cutoff;
use crate::engine::{
    Mono,
    object::{
        state::spec::{DeletionSpec, tests::spec_of},
        tests::case::{MICRO, case_of, then},
    },
    outcome::{CloudMessage, Trouble},
    state::{Live, Seen},
};

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Now {
    Now { mono: then(), wall: Timestamp::from_second(1_800_000_000).unwrap() }
}

fn blocker(retry_at: Mono) -> Blocker {
    Blocker {
        trouble: Trouble::CloudUnreachable,
        message: CloudMessage::default(),
        failures: 0,
        retry_at,
        retry_time: now().time_at(retry_at),
        secret_version: None,
    }
}

#[test]
fn l07_ids_are_open_for_long_by_the_wall_clock_since_the_start_and_since_the_last_suspension() {
    let after = Settings::default().stuck_after;
    let said = |open_for: Duration, suspended: Option<Duration>, edit: &dyn Fn(&mut DeletionSpec)| {
        let mut case = case_of(3).read(Seen::Live(Live::Stopped), then());
        edit(&mut case.spec);
        case.memory.suspended_at = suspended.map(|ago| Mono::at(then().since_start().saturating_sub(ago)));
        let started = Time(now().wall - open_for);
        case.settings.stuck_after = after.min(Duration::from_mins(10));
        let stuck = case.judge(now(), |ledger, facts| stuck(ledger, Some(&started), facts));
        stuck.map(|stuck| (stuck.count, stuck.example))
    };
    let cutoff = Duration::from_mins(10);
    let example = format!("{} (stopped)", spec_of(3).ids[0]);
    let nothing: &dyn Fn(&mut DeletionSpec) = &|_| ();
    assert_eq!(said(cutoff, None, nothing), Some((3, example)));
    assert_eq!(said(cutoff.saturating_sub(SECOND), None, nothing), None);
    assert!(said(cutoff, Some(cutoff), nothing).is_some());
    assert_eq!(said(cutoff, Some(cutoff.saturating_sub(MICRO)), nothing), None, "resumed lately");
    let edits: [&dyn Fn(&mut DeletionSpec); 3] =
        [&|spec| spec.suspend = true, &|spec| spec.dry_run = true, &|spec| spec.meta.leaving = true];
    for edit in edits {
        assert_eq!(said(cutoff, None, edit), None);
    }
}

#[test]
fn an_accepted_id_is_the_example_of_those_that_are_open_for_long() {
    let said = |accepted: &[usize]| {
        let mut case = case_of(3);
        for position in accepted {
            case.ledger.rows[*position].progress = Progress::Accepted { batch: None, resent: false };
        }
        let started = Time(now().wall - case.settings.stuck_after);
        let stuck = case.judge(now(), |ledger, facts| stuck(ledger, Some(&started), facts)).unwrap();
        (stuck.count, stuck.accepted, stuck.example)
    };
    let example = |position: usize| format!("{} (not read yet)", spec_of(3).ids[position]);
    assert_eq!(said(&[]), (3, 0, example(0)));
    assert_eq!(said(&[2]), (3, 1, example(2)));
    assert_eq!(said(&[0, 1, 2]), (3, 3, example(0)));
}

#[test]
fn an_object_that_is_being_deleted_does_not_name_what_stands_in_the_way_of_looks() {
    for (leaving, blocked) in [(false, true), (true, false)] {
        let mut case = case_of(1);
        case.spec.meta.leaving = leaving;
        case.ledger.rows[0].progress = Progress::Accepted { batch: None, resent: false };
        case.memory.look_trouble = Some(blocker(then()));
        let stage = case.judge(now(), |ledger, facts| suspended(ledger, facts));
        assert_eq!(matches!(stage, Stage::Suspended(Some(_))), blocked, "{stage:?}");
    }
}

#[test]
fn a_long_wait_is_said_and_stays_said_until_it_is_over() {
    let settings = Settings::default();
    let stage = |retry_at| Stage::Deleting(Some(Hindrance::Trouble(blocker(retry_at))));
    let nothing = InstanceDeletionStatus::default();
    let wait = |stage: &Stage, before: &InstanceDeletionStatus| long_wait(stage, before, &now(), &settings);
    // Times for people are whole seconds.
    let far = then() + settings.poll_max + SECOND;
    let said = |at: Mono| InstanceDeletionStatus {
        next_action_time: Some(now().time_at(at)),
        ..InstanceDeletionStatus::default()
    };
    assert_eq!(wait(&stage(far), &nothing), Some(now().time_at(far)));
    assert_eq!(wait(&stage(then() + settings.poll_max), &nothing), None);
    let near = then() + SECOND;
    assert_eq!(wait(&stage(near), &said(near)), Some(now().time_at(near)), "it was far when it was said");
    assert_eq!(wait(&stage(near), &said(far)), None);
    assert_eq!(wait(&stage(then()), &said(then())), None);
    for stage in [
        Stage::Planning(Some(blocker(far))),
        Stage::Suspended(Some(blocker(far))),
        Stage::Closing { cutoff: Cutoff::NotAfter, waiting: 0, doubted: false, blocker: Some(blocker(far)) },
    ] {
        assert_eq!(wait(&stage, &nothing), Some(now().time_at(far)), "{stage:?}");
    }
    assert_eq!(wait(&Stage::Deleting(None), &nothing), None);
}
