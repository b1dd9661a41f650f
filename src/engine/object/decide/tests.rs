//! When something is due, what blocks, and what a decision holds. Whole courses of an object are in
//! `scenario`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::*;
use crate::{
    api::{EventReason, InstanceDeletionStatus},
    engine::{
        Now, Settings,
        account::schedule::Watch,
        by_kind::ByKind,
        object::{
            report::status::tests::ready,
            state::{
                ledger::Progress,
                memory::{CallState, LookEnd, OwnCall},
                spec::{Meta, tests::meta},
            },
            tests::case::{Case, MICRO, case_of, just_before, then},
        },
        settings::{PATIENCE, SECRET_REREAD},
        state::{Live, Seen, StateText},
    },
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

struct Asked {
    status: InstanceDeletionStatus,
    permit: Option<PermitAnswer>,
    may_start: bool,
    guards: Option<GuardsRead>,
    now: Now,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            status: InstanceDeletionStatus::default(),
            permit: Some(PermitAnswer::Now(4)),
            may_start: true,
            guards: Some(GuardsRead { guards: Arc::default(), at: now().mono }),
            now: now(),
        }
    }
}

fn prepared<'a>(case: &'a mut Case, asked: &'a Asked) -> Prepared<'a> {
    let Case { spec, memory, call_history, settings, .. } = case;
    let input = Input {
        spec,
        status: &asked.status,
        other_bytes: 0,
        guards: asked.guards.as_ref(),
        evidence: ByKind::default(),
        batch_size: 50,
        may_start: asked.may_start,
        claim: "claim",
        now: &asked.now,
        cloud_time: None,
        settings,
    };
    prepare(input, memory, call_history)
}

fn wanted(case: &mut Case, asked: &Asked) -> Option<Want> {
    prepared(case, asked).wants()
}

fn decided(case: &mut Case, asked: &Asked) -> Decision {
    prepared(case, asked).conclude(asked.permit)
}

#[test]
fn what_blocks_does_so_until_its_time() {
    assert_eq!(blocked_until(None, then()), None);
    assert_eq!(blocked_until(Some(&blocker(then() + MICRO)), then()), Some(then() + MICRO));
    assert_eq!(blocked_until(Some(&blocker(then())), then()), None);
    assert_eq!(blocked_until(Some(&blocker(just_before(then()))), then()), None);
}

#[test]
fn the_earliest_of_what_is_due_counts() {
    let mut due = Due::default();
    due.wake_at(then());
    due.wake_at(then() + SECOND);
    assert_eq!(due.next, Some(then()));
    due.wake_at(just_before(then()));
    assert_eq!(due.next, Some(just_before(then())));
}

#[test]
fn a_trouble_blocks_what_it_is_about_and_ends_when_it_said() {
    let soon = then() + Duration::from_secs(7);
    // Looking is blocked, and with it everything.
    let mut case = case_of(1);
    case.memory.look_trouble = Some(blocker(soon));
    let decision = decided(&mut case, &Asked::default());
    assert_eq!((decision.look.len(), decision.wake, decision.next), (0, Some(soon), Next::Wait));
    // Calling is blocked: ids next in line are looked at just before their call.
    let mut case = case_of(1);
    case.memory.call_trouble = Some(blocker(soon));
    let decision = decided(&mut case, &Asked::default());
    assert_eq!((decision.look.len(), decision.wake, decision.next), (0, Some(soon), Next::Wait));
    // Neither, once its time has come.
    for trouble in [true, false] {
        let mut case = case_of(1);
        let slot = if trouble { &mut case.memory.look_trouble } else { &mut case.memory.call_trouble };
        *slot = Some(blocker(then()));
        assert_eq!(decided(&mut case, &Asked::default()).look, case.spec.ids);
    }
    // After notAfter nothing is called, and what blocks calling keeps nobody from looking.
    let mut case = case_of(1);
    case.spec.not_after = Some(now().wall);
    case.memory.call_trouble = Some(blocker(soon));
    assert_eq!(decided(&mut case, &Asked::default()).look, case.spec.ids);
}

/// An object whose first status is stored: nothing waits for its first look.
fn written() -> Asked {
    Asked { status: ready("Deleting"), ..Asked::default() }
}

#[test]
fn a_deadline_to_come_is_a_time_to_wake() {
    let mut case = case_of(1);
    case.spec.not_after = Some(now().wall + Duration::from_secs(40));
    assert_eq!(decided(&mut case, &written()).wake, Some(then() + Duration::from_secs(40)));
    let mut case = case_of(1);
    case.spec.suspend = true;
    assert_eq!(
        decided(&mut case, &Asked::default()).wake,
        Some(then() + case.settings.poll_max),
        "at the latest"
    );
}

#[test]
fn an_object_that_waits_for_its_secret_is_decided_again_within_15_s() {
    let secret = [
        (Trouble::SecretNotFound, true),
        (Trouble::SecretForbidden, true),
        (Trouble::SecretInvalid, true),
        (Trouble::CredentialsRejected, true),
        (Trouble::Forbidden, true),
        (Trouble::EndpointMisconfigured, false),
        (Trouble::RequestRefused, false),
    ];
    for (trouble, waits) in secret {
        for (of_look, dry_run, suspend) in
            [(true, false, false), (false, false, false), (true, true, false), (true, false, true)]
        {
            let mut case = case_of(1);
            assert_eq!(case.settings, Settings::default());
            (case.spec.dry_run, case.spec.suspend) = (dry_run, suspend);
            let long = Some(Blocker { trouble, ..blocker(then() + case.settings.retry_max) });
            let memory = &mut case.memory;
            *(if of_look { &mut memory.look_trouble } else { &mut memory.call_trouble }) = long;
            let wake = decided(&mut case, &written()).wake;
            let expected = if waits { SECRET_REREAD } else { case.settings.poll_max };
            assert_eq!(wake, Some(then() + expected), "{trouble:?} {of_look} {dry_run} {suspend}");
        }
    }
}

#[test]
fn s13_an_object_stops_its_calls_once_it_allows_none() {
    type Change = fn(&mut Case);
    let table: [(Change, bool); 6] = [
        (|_| (), false),
        (|case| case.spec.suspend = true, true),
        (|case| case.spec.dry_run = true, true),
        (|case| case.spec.meta.leaving = true, true),
        (|case| case.spec.not_after = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH), true),
        (|case| case.spec.not_after = Some(k8s_openapi::jiff::Timestamp::MAX), false),
    ];
    for (n, (change, stops)) in table.into_iter().enumerate() {
        let mut case = Case::pending();
        change(&mut case);
        assert_eq!(prepared(&mut case, &Asked::default()).stops_calls(), stops, "{n}");
    }
}

#[test]
fn a_draining_process_starts_nothing() {
    for (dry_run, cutoff) in [(false, None), (true, None), (false, Some(1))] {
        let mut case = case_of(1);
        (case.spec.dry_run, case.spec.active_deadline) = (dry_run, cutoff.map(Duration::from_secs));
        let started = Time(now().wall - Duration::from_secs(2));
        let status =
            InstanceDeletionStatus { start_time: Some(started), ..InstanceDeletionStatus::default() };
        let asked = |may_start| Asked { status: status.clone(), may_start, ..Asked::default() };
        let draining = decided(&mut case, &asked(false));
        assert_eq!((draining.look.len(), draining.next), (0, Next::Wait), "{dry_run} {cutoff:?}");
        assert_eq!(decided(&mut case, &asked(true)).look, case.spec.ids, "{dry_run} {cutoff:?}");
    }
    let mut case = case_of(1).seen(Live::Running, just_before(then()));
    let ready = Asked { may_start: false, ..Asked::default() };
    assert_eq!(decided(&mut case, &ready).next, Next::Wait);
    assert!(matches!(decided(&mut case, &Asked::default()).next, Next::Submit(_)));
}

#[test]
fn an_object_takes_its_place_first_and_looks_when_its_turn_is_near() {
    let soon = then() + SECOND;
    // What the governor said, what is looked at, when it is decided again at the latest.
    let last = then() + Case::pending().settings.poll_max;
    let table = [
        (None, 0, last),
        (Some(PermitAnswer::Later(soon)), 0, soon),
        (Some(PermitAnswer::Soon { calls: 1, at: None }), 50, last),
        (Some(PermitAnswer::Soon { calls: 3, at: Some(soon) }), 150, soon),
        (Some(PermitAnswer::Soon { calls: 4, at: None }), 200, last),
        (Some(PermitAnswer::Now(1)), 50, last),
    ];
    for (permit, looks, wake) in table {
        let asked = Asked { permit, ..written() };
        let mut case = case_of(1_000);
        assert_eq!(wanted(&mut case, &asked), Some(Want { calls: 4, ready: 0 }), "{permit:?}");
        let decision = decided(&mut case, &asked);
        assert_eq!((decision.look.len(), decision.wake), (looks, Some(wake)), "{permit:?}");
        assert_eq!(decision.next, Next::Wait, "{permit:?}");
    }
    // What is ready needs no look, and what it is permitted is sent.
    let mut case = case_of(120);
    for id in case.spec.ids.iter().take(110) {
        case.memory.saw(*id, Seen::Live(Live::Running), just_before(then()));
    }
    let wants = wanted(&mut case, &Asked::default());
    assert_eq!(wants, Some(Want { calls: 3, ready: 2 }), "the rest is not yet");
    let mut decide = |permit| decided(&mut case, &Asked { permit, ..Asked::default() });
    for (permit, looks) in
        [(PermitAnswer::Soon { calls: 2, at: None }, 0), (PermitAnswer::Soon { calls: 3, at: None }, 10)]
    {
        let decision = decide(Some(permit));
        assert_eq!((decision.look.len(), decision.next), (looks, Next::Wait), "{permit:?}");
    }
    let Next::Submit(wave) = decide(Some(PermitAnswer::Now(1))).next else { panic!("it is permitted") };
    assert_eq!(wave.batches.len(), 1);
    // While its calls are on their way it waits in line for the next ones.
    let call =
        OwnCall { kind: CallKind::Delete, claim: "mine".into(), ids: vec![], state: CallState::InFlight };
    case.memory.calls.insert(7, call);
    assert_eq!(wanted(&mut case, &Asked::default()), Some(Want { calls: 3, ready: 0 }));
}

#[test]
fn an_object_that_wants_no_call_asks_for_none() {
    let on_its_way = case_of(1).read(Seen::ShuttingDown, just_before(then()));
    let mut suspended = case_of(1);
    suspended.spec.suspend = true;
    let mut blocked = case_of(1);
    blocked.memory.call_trouble = Some(blocker(then() + SECOND));
    for mut case in [on_its_way, suspended, blocked] {
        assert_eq!(wanted(&mut case, &Asked::default()), None);
        assert_eq!(decided(&mut case, &Asked::default()).next, Next::Wait);
    }
    let draining = Asked { may_start: false, ..Asked::default() };
    assert_eq!(wanted(&mut case_of(1), &draining), None);
}

#[test]
fn a_plan_is_made_once_for_each_generation() {
    let mut case = case_of(1);
    case.spec.dry_run = true;
    let look = decided(&mut case, &Asked::default());
    assert_eq!((look.look, look.next), (case.spec.ids.clone(), Next::Wait));
    case.memory.look_trouble = Some(blocker(then() + SECOND));
    let blocked = decided(&mut case, &Asked::default());
    assert_eq!((blocked.look.len(), blocked.wake), (0, Some(then() + SECOND)));
    case.memory.look_trouble = None;
    let mut case = case.seen(Live::Running, then());
    let planned = decided(&mut case, &Asked::default());
    let status = planned.write.unwrap();
    assert_eq!((status.phase, planned.wake), (Some(crate::api::Phase::Planned), None));
    let again = Asked { status, ..Asked::default() };
    assert_eq!(decided(&mut case, &again), Decision::rest());
    case.spec.meta.generation += 1;
    let later = Asked { now: Now { mono: then() + SECOND, wall: now().wall }, ..again };
    assert_eq!(decided(&mut case, &later).look, case.spec.ids, "a spec edit is planned anew");
}

#[test]
fn ids_in_an_odd_state_for_long_are_counted_and_named() {
    let mut case = case_of(3);
    for id in &case.spec.ids[1..] {
        let odd = Seen::Other(StateText::new("reinstalling"));
        case.call_history.saw(*id, &odd, then());
        case.memory.saw(*id, odd, then());
    }
    let patience = case.settings.settle * PATIENCE;
    let at = |case: &mut Case, after: Duration| {
        let later = Now { mono: then() + after, wall: now().wall };
        let decision = decided(case, &Asked { now: later, ..Asked::default() });
        let ready = decision.write.unwrap().conditions.swap_remove(0);
        (ready.reason, ready.message)
    };
    assert_eq!(at(&mut case, patience.saturating_sub(MICRO)).0, "Deleting");
    let (reason, message) = at(&mut case, patience);
    assert_eq!(reason, "StateUnknown");
    let what = "2 instances can't be read or are in a state that allows neither sending nor ending, such as";
    assert!(message.contains(&format!("{what} {} (reinstalling)", case.spec.ids[1])), "{message}");
}

#[test]
fn a_wave_that_can_not_be_made_leaves_the_looks_alone() {
    let case = case_of(1);
    let watch = Watch { others: 1, ..Watch::default() };
    let decision = Decision {
        write: Some(InstanceDeletionStatus::default()),
        records: vec![1],
        holds_ends: true,
        next: Next::Delete,
        look: case.spec.ids.clone(),
        regular: true,
        watch: watch.clone(),
        wake: None,
        events: vec![events::Event::new(EventReason::Stuck, "Look".to_owned(), String::new())],
    };
    let left = Decision { look: case.spec.ids, regular: true, watch, wake: Some(then()), ..Decision::rest() };
    assert_eq!(decision.without_its_wave(then()), left);
}

#[test]
fn a_request_to_look_is_answered_by_one_look_and_one_write_once_it_was_made() {
    let mut case = case_of(1);
    let status = {
        let submits = decided(&mut case_of(1).seen(Live::Running, just_before(then())), &Asked::default());
        submits.write.unwrap()
    };
    let decide = |case: &mut Case, requested: Option<&str>, status: &InstanceDeletionStatus| {
        case.spec.meta.requested_at = requested.map(str::to_owned);
        case.memory.next_poll = then() + SECOND;
        decided(case, &Asked { status: status.clone(), ..Asked::default() })
    };
    assert!(decide(&mut case, None, &status).look.is_empty(), "not yet");
    let looks = decide(&mut case, Some("first"), &status);
    assert_eq!((looks.look.len(), looks.write), (1, None), "it is to be made");
    case.memory.asked(&[case.id()], then());
    let waits = decide(&mut case, Some("first"), &status);
    assert_eq!((waits.look.len(), waits.write), (0, None), "it is under way");
    let settings = case.settings;
    let answered = LookEnd { failure: None, now: &now(), settings: &settings, random: 0 };
    let mut case = case.seen(Live::Running, then() + MICRO);
    case.memory.look_answered(&[case.id()], answered);
    let status = decide(&mut case, Some("first"), &status).write.unwrap();
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("first"));
    let after = decide(&mut case, Some("first"), &status);
    assert_eq!((after.look.len(), after.write), (0, None), "once");
    let removed = decide(&mut case, None, &status);
    assert_eq!(
        (removed.look.len(), removed.write),
        (0, None),
        "an annotation that is taken away asks for nothing"
    );
    let now = Now { mono: then() + SECOND, wall: now().wall };
    case.spec.meta.requested_at = Some("second".into());
    assert!(!decided(&mut case, &Asked { status, now, ..Asked::default() }).look.is_empty());
}

#[test]
fn a_request_to_look_has_a_plan_made_anew_and_opens_no_end() {
    let mut case = case_of(1).seen(Live::Running, then());
    case.spec.dry_run = true;
    let planned = decided(&mut case, &Asked::default()).write.unwrap();
    assert_eq!(planned.phase, Some(crate::api::Phase::Planned));
    case.spec.meta.requested_at = Some("now".into());
    let later = Now { mono: then() + SECOND, wall: now().wall };
    let again = decided(&mut case, &Asked { status: planned, now: later, ..Asked::default() });
    assert_eq!(again.look, case.spec.ids);
    let planning = again.write.unwrap();
    assert_eq!(planning.phase, Some(crate::api::Phase::Planning));
    assert_eq!(planning.last_handled_reconcile_at, None, "nothing was looked at for it");
    let mut case = case.seen(Live::Running, later.mono + MICRO);
    let anew = decided(&mut case, &Asked { status: planning, now: later, ..Asked::default() }).write.unwrap();
    assert_eq!(anew.phase, Some(crate::api::Phase::Planned));
    assert_eq!(anew.last_handled_reconcile_at.as_deref(), Some("now"));

    let end = ready("AllTerminated");
    let ended = InstanceDeletionStatus { observed_generation: Some(1), ..end };
    let request = Meta { requested_at: Some("now".into()), ..meta(1) };
    let seen = finished(&request, &ended, None, &now());
    let echo = InstanceDeletionStatus { last_handled_reconcile_at: Some("now".into()), ..ended };
    assert_eq!(seen, Decision { write: Some(echo.clone()), ..Decision::rest() });
    assert_eq!(finished(&request, &echo, None, &now()), Decision::rest(), "once");
    assert_eq!(finished(&meta(1), &echo, None, &now()), Decision::rest());
}

/// Two rows that a call accepted, stored as they are, and a second later one of them is read as
/// terminated.
fn one_of_two_ended() -> (Case, Asked) {
    let mut case = case_of(2);
    let row = |n: usize| crate::api::InstanceStatus {
        power_offs: None,
        powered_off_at: None,
        id: case.spec.ids[n].to_string(),
        phase: crate::api::InstancePhase::Accepted,
        batch: None,
        attempts: Some(1),
        resent: None,
        cloud_state: None,
        reason: None,
        ended_at: None,
    };
    let mut status = InstanceDeletionStatus { instances: vec![row(0), row(1)], ..Default::default() };
    for n in 0..2 {
        case.memory.saw(case.spec.ids[n], Seen::ShuttingDown, then());
    }
    status = decided(&mut case, &Asked { status, ..Asked::default() }).write.unwrap();
    let asked = Asked { status, ..Asked::default() };
    assert_eq!(decided(&mut case, &asked).write, None, "it is stored");
    case.memory.saw(case.spec.ids[0], Seen::Terminated, then() + SECOND);
    (case, asked)
}

#[test]
fn ends_are_written_together_at_most_once_in_twice_poll_min() {
    let at = |after: Duration| Now { mono: then() + after, wall: now().wall };
    let twice = Settings::default().poll_min * 2;
    let (mut case, mut asked) = one_of_two_ended();
    assert!(decided(&mut case, &asked).write.is_some(), "the first at once");
    case.memory.ends_written = Some(then());
    asked.now = at(twice.saturating_sub(MICRO));
    let early = decided(&mut case, &asked);
    assert_eq!((early.write, early.holds_ends, early.wake), (None, false, Some(then() + twice)));
    asked.now = at(twice);
    let due = decided(&mut case, &asked);
    assert!(due.holds_ends && due.write.unwrap().summary.unwrap().terminated == 1);
    // Something else is worth a write, and takes the end along.
    asked.now = at(SECOND);
    asked.status.observed_generation = None;
    let along = decided(&mut case, &asked);
    assert!(along.holds_ends && along.write.unwrap().summary.unwrap().terminated == 1);
    // A write without an end says so.
    let plain = decided(&mut case_of(1), &written());
    assert!(plain.write.is_some() && !plain.holds_ends);
}

#[test]
fn an_outcome_is_recorded_with_its_wave_or_with_whatever_is_written_before() {
    let (mut case, mut asked) = one_of_two_ended();
    let call = |state| crate::engine::object::state::memory::OwnCall {
        kind: CallKind::Delete,
        claim: "lost".into(),
        ids: vec![],
        state,
    };
    let too_late = CallState::Ended {
        at: then(),
        outcome: crate::engine::outcome::CallOutcome::NotSent(crate::engine::outcome::Unsent::TooLate),
    };
    case.memory.calls.insert(8, call(too_late));
    case.memory.calls.insert(9, call(CallState::InFlight));
    let with_the_end = decided(&mut case, &asked);
    assert_eq!((with_the_end.records, with_the_end.write.is_some()), (vec![8], true));
    case.memory.ends_written = Some(then());
    asked.now = Now { mono: then() + SECOND, wall: now().wall };
    let waits = decided(&mut case, &asked);
    assert_eq!((waits.records, waits.write), (vec![], None), "its wave is still out");
    case.memory.calls.remove(&9);
    let alone = decided(&mut case, &asked);
    assert_eq!((alone.records, alone.write), (vec![8], None), "there is nothing to write of it");
}

#[test]
fn g3_nothing_is_submitted_without_guards_that_this_pass_has_read() {
    let mut case = case_of(1).seen(Live::Running, then());
    let without = Asked { guards: None, ..Asked::default() };
    assert!(prepared(&mut case, &without).asks_guards(Some(PermitAnswer::Now(1))));
    assert_eq!(decided(&mut case, &without).next, Next::Wait);
    let with = Asked::default();
    assert!(!prepared(&mut case, &with).asks_guards(Some(PermitAnswer::Now(1))));
    let Next::Submit(wave) = decided(&mut case, &with).next else { panic!("it is ready") };
    assert_eq!(wave.guards_read, now().mono);
    assert!(prepared(&mut case, &without).asks_guards(Some(PermitAnswer::Now(1))), "for each wave anew");
    for waits in [None, Some(PermitAnswer::Soon { calls: 1, at: None }), Some(PermitAnswer::Now(0))] {
        assert!(!prepared(&mut case, &without).asks_guards(waits), "not before it is permitted: {waits:?}");
    }
    let draining = Asked { may_start: false, guards: None, ..Asked::default() };
    assert!(!prepared(&mut case, &draining).asks_guards(Some(PermitAnswer::Now(1))));
}

/// A status with the rows of the case.
fn stored(case: &Case) -> InstanceDeletionStatus {
    let mut status = InstanceDeletionStatus::default();
    case.ledger.write(&mut status);
    status
}

#[test]
fn guards_are_asked_where_something_depends_on_them() {
    let asks = |case: &mut Case| {
        let without = Asked { guards: None, ..Asked::default() };
        prepared(case, &without).asks_guards(Some(PermitAnswer::Now(1)))
    };
    assert!(asks(&mut case_of(1)), "an object that nothing is known of may be held");
    let mut known = case_of(1);
    let _ = decided(&mut known, &Asked::default());
    assert!(!asks(&mut known), "its look comes first");
    assert!(known.memory.guards_changed());
    assert!(asks(&mut known));
    let mut accepted = Case::new(Progress::Accepted { batch: None, resent: false });
    let without = Asked { guards: None, status: stored(&accepted), ..Asked::default() };
    assert!(
        !prepared(&mut accepted, &without).asks_guards(Some(PermitAnswer::Now(1))),
        "nothing may have to be sent"
    );
    let mut suspended = case_of(1);
    suspended.spec.suspend = true;
    assert!(!asks(&mut suspended));
    let mut blocked = case_of(1).seen(Live::Running, then());
    blocked.memory.call_trouble = Some(blocker(then() + SECOND));
    assert!(!asks(&mut blocked));
}

#[test]
fn g6_guards_that_cannot_be_read_stop_calls_and_not_looks() {
    let mut case = case_of(2).seen(Live::Running, then());
    case.ledger.rows[1].progress = Progress::Accepted { batch: None, resent: false };
    let unreadable = Blocker { trouble: Trouble::GuardUnreadable, ..blocker(then() + SECOND) };
    case.memory.call_trouble = Some(unreadable.clone());
    case.memory.next_poll = then();
    let without = Asked { guards: None, status: stored(&case), ..Asked::default() };
    let decision = decided(&mut case, &without);
    assert_eq!(decision.next, Next::Wait);
    assert_eq!(decision.watch.on_their_way.len(), 1, "what is on its way is looked at");
    let ready = decision.write.unwrap().conditions[0].clone();
    assert_eq!(ready.reason, "GuardUnreadable");
    assert!(decision.wake.is_some_and(|wake| wake <= then() + SECOND));
    // Once they are read, nothing stands in the way any more.
    case.memory.call_trouble = Some(unreadable);
    let with = Asked { status: stored(&case), ..Asked::default() };
    assert!(matches!(decided(&mut case, &with).next, Next::Submit(_)));
}

#[test]
fn a_plan_rests_on_the_guards_too() {
    let mut case = case_of(1);
    case.spec.dry_run = true;
    let _ = decided(&mut case, &Asked::default());
    let id = case.id();
    case.memory.saw(id, Seen::Live(Live::Running), now().mono + MICRO);
    let without = Asked { guards: None, ..Asked::default() };
    assert!(prepared(&mut case, &without).asks_guards(Some(PermitAnswer::Now(1))));
    let since = case.memory.planning_since();
    assert_eq!(prepared(&mut case, &without).guards_since(), Some(since), "a thousand plans need one read");
    assert_eq!(prepared(&mut case_of(1), &without).guards_since(), None, "a wave needs its own");
    assert_eq!(decided(&mut case, &without).write.unwrap().phase, Some(Phase::Planning));
    assert_eq!(decided(&mut case, &Asked::default()).write.unwrap().phase, Some(Phase::Planned));
}

#[test]
fn s13_a_bar_of_the_guards_stops_calls_that_wait() {
    use crate::{
        api::{DeletionGuardSpec, GuardHold},
        engine::object::state::guards::{Guard, Guards},
    };
    let mut case = case_of(1).seen(Live::Running, then());
    assert!(!prepared(&mut case, &Asked::default()).stops_calls());
    let hold = Some(GuardHold { reason: "freeze".into() });
    let spec = DeletionGuardSpec { hold, ..DeletionGuardSpec::default() };
    let guards = Guards::of(vec![Guard { name: "g".into(), spec }], &BTreeMap::new()).unwrap();
    let held = GuardsRead { guards: Arc::new(guards), at: now().mono };
    let asked = Asked { guards: Some(held), ..Asked::default() };
    assert!(prepared(&mut case, &asked).stops_calls());
    let said = |case: &mut Case, asked: &Asked| {
        let write = decided(case, asked).write.unwrap();
        write.conditions[0].reason.clone()
    };
    assert_eq!(said(&mut case, &asked), "Held");
    // What was read of them before says nothing while they can't be read.
    case.memory.call_trouble =
        Some(Blocker { trouble: Trouble::GuardUnreadable, ..blocker(now().mono + SECOND) });
    let without = Asked { guards: None, ..Asked::default() };
    assert!(prepared(&mut case, &without).stops_calls());
    assert_eq!(said(&mut case, &without), "GuardUnreadable");
}
