//! When something is due, what blocks, and what a decision holds. Whole courses of an object are in `scenario`.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::*;
use crate::engine::{
    account::outage::Evidence,
    object::{
        report::status::tests::ready,
        state::{
            memory::{CallState, Observed, OwnCall},
            spec::{
                Meta,
                tests::{meta, spec_of},
            },
        },
        tests::case::{Case, MICRO, just_before, then},
    },
    outcome::Trouble,
    state::{Live, Seen, StateText},
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

/// A case of `n` ids whose object has been seen since long.
fn case_of(n: u128) -> Case {
    let spec = spec_of(n);
    let ledger = Ledger::read(&spec.ids, &InstanceDeletionStatus::default());
    let memory = Memory::new(&spec, Mono::START);
    Case { spec, ledger, memory, ..Case::pending() }
}

struct Asked {
    status: InstanceDeletionStatus,
    turn: Option<PermitAnswer>,
    may_start: bool,
    now: Now,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            status: InstanceDeletionStatus::default(),
            turn: Some(PermitAnswer::Now(4)),
            may_start: true,
            now: now(),
        }
    }
}

fn decided(case: &mut Case, asked: &Asked) -> Decision {
    let Asked { status, turn, may_start, now } = asked;
    let ledger = Ledger::read(&case.spec.ids, status);
    let (evidence, settings) = (Evidence::default(), &case.settings);
    let observed = Observed { spec: &case.spec, status, ledger: &ledger, evidence, now, settings };
    case.memory.observe(&observed, &mut case.call_history);
    decide(&Input {
        spec: &case.spec,
        status,
        other_bytes: 0,
        memory: &case.memory,
        call_history: &case.call_history,
        turn: *turn,
        batch_size: 50,
        may_start: *may_start,
        claim: "claim",
        now,
        settings: &case.settings,
    })
}

#[test]
fn what_blocks_does_so_until_its_time() {
    assert_eq!(blocked(None, then()), None);
    assert_eq!(blocked(Some(&blocker(then() + MICRO)), then()), Some(then() + MICRO));
    assert_eq!(blocked(Some(&blocker(then())), then()), None);
    assert_eq!(blocked(Some(&blocker(just_before(then()))), then()), None);
}

#[test]
fn the_earliest_of_what_is_due_counts() {
    let mut looking = Looking::nothing();
    looking.wake_at_some(None);
    assert_eq!(looking.next, None);
    looking.wake_at_some(Some(then()));
    looking.wake_at(then() + SECOND);
    assert_eq!(looking.next, Some(then()));
    looking.wake_at(just_before(then()));
    assert_eq!(looking.next, Some(just_before(then())));
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

#[test]
fn a_limit_to_come_is_a_time_to_wake() {
    let mut case = case_of(1);
    case.spec.not_after = Some(now().wall + Duration::from_secs(40));
    assert_eq!(decided(&mut case, &Asked::default()).wake, Some(then() + Duration::from_secs(40)));
    let mut case = case_of(1);
    case.spec.suspend = true;
    assert_eq!(
        decided(&mut case, &Asked::default()).wake,
        Some(then() + case.settings.poll_max),
        "at the latest"
    );
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
    for (turn, looks, wake) in table {
        let decision = decided(&mut case_of(1_000), &Asked { turn, ..Asked::default() });
        assert_eq!((decision.look.len(), decision.wake), (looks, Some(wake)), "{turn:?}");
        let want = Want { calls: 4, ready: 0 };
        assert_eq!(decision.next, turn.map_or(Next::AskPermit(want), |_| Next::Wait), "{turn:?}");
    }
    // What is ready needs no look, and what it is permitted is sent.
    let mut case = case_of(120);
    for id in case.spec.ids.iter().take(110) {
        case.memory.saw(*id, Seen::Live(Live::Running), just_before(then()));
    }
    let mut decide = |turn| decided(&mut case, &Asked { turn, ..Asked::default() });
    assert_eq!(decide(None).next, Next::AskPermit(Want { calls: 3, ready: 2 }), "the rest is not yet");
    for (turn, looks) in
        [(PermitAnswer::Soon { calls: 2, at: None }, 0), (PermitAnswer::Soon { calls: 3, at: None }, 10)]
    {
        let decision = decide(Some(turn));
        assert_eq!((decision.look.len(), decision.next), (looks, Next::Wait), "{turn:?}");
    }
    let Next::Submit(wave) = decide(Some(PermitAnswer::Now(1))).next else { panic!("it is permitted") };
    assert_eq!(wave.batches.len(), 1);
    // While its calls are on their way it waits in line for the next ones.
    let call = OwnCall { claim: "mine".into(), ids: vec![], state: CallState::InFlight };
    case.memory.calls.insert(7, call);
    let next = decided(&mut case, &Asked { turn: None, ..Asked::default() }).next;
    assert_eq!(next, Next::AskPermit(Want { calls: 3, ready: 0 }));
}

#[test]
fn whoever_wants_no_call_asks_for_none() {
    let unasked = Asked { turn: None, ..Asked::default() };
    let on_its_way = case_of(1).read(Seen::ShuttingDown, just_before(then()));
    let mut suspended = case_of(1);
    suspended.spec.suspend = true;
    let mut blocked = case_of(1);
    blocked.memory.call_trouble = Some(blocker(then() + SECOND));
    for mut case in [on_its_way, suspended, blocked] {
        assert_eq!(decided(&mut case, &unasked).next, Next::Wait);
    }
    let draining = Asked { turn: None, may_start: false, ..Asked::default() };
    assert_eq!(decided(&mut case_of(1), &draining).next, Next::Wait);
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
    assert_eq!(decided(&mut case, &again), rest());
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
    let what = "2 instances are in a state that allows neither sending nor ending, such as";
    assert!(message.contains(&format!("{what} {} (reinstalling)", case.spec.ids[1])), "{message}");
}

#[test]
fn l07_ids_are_open_for_long_by_the_wall_clock_since_the_start_and_since_the_last_suspension() {
    let after = Settings::default().stuck_after;
    let said = |open_for: Duration, suspended: Option<Duration>, edit: &dyn Fn(&mut DeletionSpec)| {
        let mut case = case_of(3).read(Seen::Live(Live::Stopped), then());
        edit(&mut case.spec);
        case.memory.suspended_at = suspended.map(|ago| Mono::at(then().since_start().saturating_sub(ago)));
        let started = Time(now().wall - open_for);
        let mut status = ready("Deleting");
        (status.start_time, status.observed_generation) = (Some(started), Some(1));
        let now = now();
        let input = Input {
            spec: &case.spec,
            status: &status,
            other_bytes: 0,
            memory: &case.memory,
            call_history: &case.call_history,
            turn: None,
            batch_size: 50,
            may_start: true,
            claim: "claim",
            now: &now,
            settings: &Settings { stuck_after: after.min(Duration::from_mins(10)), ..case.settings },
        };
        let draft =
            Draft { input: &input, outcome_only: case.ledger.clone(), records: vec![], events: vec![] };
        draft.stuck(&case.ledger).map(|stuck| (stuck.count, stuck.example))
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
fn a_wave_that_can_not_be_made_leaves_the_looks_alone() {
    let case = case_of(1);
    let watch = Watch { others: 1, ..Watch::default() };
    let decision = Decision {
        write: Some(InstanceDeletionStatus::default()),
        records: vec![1],
        holds_ends: true,
        next: Next::AskPermit(Want { calls: 1, ready: 1 }),
        look: case.spec.ids.clone(),
        regular: true,
        watch: watch.clone(),
        wake: None,
        events: vec![events::invalid_spec("x")],
    };
    let left = Decision { look: case.spec.ids, regular: true, watch, wake: Some(then()), ..rest() };
    assert_eq!(decision.without_its_wave(then()), left);
}

#[test]
fn an_invalid_spec_is_said_once() {
    let said = decide_invalid("it is odd", &meta(2), &InstanceDeletionStatus::default(), &now());
    let status = said.write.clone().unwrap();
    assert_eq!(
        said,
        Decision { write: said.write.clone(), events: vec![events::invalid_spec("it is odd")], ..rest() }
    );
    assert_eq!(decide_invalid("it is odd", &meta(2), &status, &now()), rest());
}

#[test]
fn a_finished_object_says_that_an_edit_was_seen_and_goes_when_its_time_is_over() {
    let status = status::invalid_spec("x", &meta(2), &InstanceDeletionStatus::default(), &now());
    let ttl = |seconds| Some(Duration::from_secs(seconds));
    let at = |seconds| Now { mono: then(), wall: now().wall + Duration::from_secs(seconds) };
    assert_eq!(finished(&meta(2), &status, None, &now()), rest());
    let edited = finished(&meta(3), &status, ttl(9), &now());
    assert_eq!((edited.write, edited.wake), (Some(status::observed(&status, &meta(3))), Some(then())));
    assert_eq!(finished(&meta(3), &status, None, &now()).wake, None);
    let wakes = |seconds, passed| finished(&meta(2), &status, ttl(seconds), &at(passed)).wake;
    assert_eq!(wakes(9, 0), Some(then() + Duration::from_secs(9)));
    assert_eq!(wakes(9, 8), Some(then() + SECOND));
    assert_eq!(wakes(86_400, 0), Some(then() + LONGEST_SLEEP));
    for passed in [9, 10] {
        assert_eq!(
            finished(&meta(2), &status, ttl(9), &at(passed)),
            Decision { next: Next::Delete, ..rest() }
        );
    }
}

#[test]
fn a_request_to_look_is_answered_by_one_look_and_one_write() {
    let mut case = case_of(1);
    let status = {
        let submits = decided(&mut case_of(1).seen(Live::Running, just_before(then())), &Asked::default());
        submits.write.unwrap()
    };
    let mut decide = |requested: Option<&str>, status: &InstanceDeletionStatus| {
        case.spec.meta.requested_at = requested.map(str::to_owned);
        case.memory.next_poll = then() + SECOND;
        decided(&mut case, &Asked { status: status.clone(), ..Asked::default() })
    };
    assert!(decide(None, &status).look.is_empty(), "not yet");
    let looks = decide(Some("first"), &status);
    assert_eq!(looks.look.len(), 1);
    let status = looks.write.unwrap();
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("first"));
    let after = decide(Some("first"), &status);
    assert_eq!((after.look.len(), after.write), (0, None), "once");
    let removed = decide(None, &status);
    assert_eq!(
        (removed.look.len(), removed.write),
        (0, None),
        "an annotation that is taken away asks for nothing"
    );
    assert!(!decide(Some("second"), &status).look.is_empty());
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
    assert_eq!(planning.last_handled_reconcile_at.as_deref(), Some("now"));

    let end = ready("AllTerminated");
    let ended = InstanceDeletionStatus { observed_generation: Some(1), ..end };
    let request = Meta { requested_at: Some("now".into()), ..meta(1) };
    let seen = finished(&request, &ended, None, &now());
    let echo = InstanceDeletionStatus { last_handled_reconcile_at: Some("now".into()), ..ended };
    assert_eq!(seen, Decision { write: Some(echo.clone()), ..rest() });
    assert_eq!(finished(&request, &echo, None, &now()), rest(), "once");
    assert_eq!(finished(&meta(1), &echo, None, &now()), rest());
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
        Stage::Closing { cutoff: Cutoff::NotAfter, waiting: 0, blocker: Some(blocker(far)) },
    ] {
        assert_eq!(wait(&stage, &nothing), Some(now().time_at(far)), "{stage:?}");
    }
    assert_eq!(wait(&Stage::Deleting(None), &nothing), None);
}

#[test]
fn each_part_of_the_surface_is_worth_a_write() {
    let status = ready("Deleting");
    assert!(!surface_differs(&status, &status.clone()));
    let time = || Some(now().time());
    let edits: [&dyn Fn(&mut InstanceDeletionStatus); 6] = [
        &|s| s.observed_generation = Some(9),
        &|s| s.phase = Some(crate::api::Phase::Throttled),
        &|s| s.start_time = time(),
        &|s| s.next_action_time = time(),
        &|s| s.last_handled_reconcile_at = Some("now".into()),
        &|s| s.conditions[0].message = "another".into(),
    ];
    for edit in edits {
        let mut edited = status.clone();
        edit(&mut edited);
        assert!(surface_differs(&status, &edited) && surface_differs(&edited, &status));
    }
    let mut rows = status.clone();
    rows.progress = Some("1/2".into());
    assert!(!surface_differs(&status, &rows), "the record is compared by what moved it");
}

/// Two rows that a call accepted, stored as they are, and a second later one of them is read as terminated.
fn one_of_two_ended() -> (Case, Asked) {
    let mut case = case_of(2);
    let row = |n: usize| crate::api::InstanceStatus {
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
    let plain = decided(&mut case_of(1), &Asked::default());
    assert!(plain.write.is_some() && !plain.holds_ends);
}

#[test]
fn an_outcome_is_recorded_with_its_wave_or_with_whatever_is_written_before() {
    let (mut case, mut asked) = one_of_two_ended();
    let call =
        |state| crate::engine::object::state::memory::OwnCall { claim: "lost".into(), ids: vec![], state };
    let too_late = CallState::Ended { at: then(), outcome: crate::engine::outcome::CallOutcome::NotSent };
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
fn room_is_left_for_an_end_of_each_open_row_and_a_reply_to_each_batch() {
    let mut case = case_of(3).batch("mine", None);
    case.ledger.rows[0].progress = Progress::Terminated { batch: Some(7), ended_at: None };
    let (now, status) = (now(), InstanceDeletionStatus::default());
    let input = Input {
        spec: &case.spec,
        status: &status,
        other_bytes: 1_000_000,
        memory: &case.memory,
        call_history: &case.call_history,
        turn: None,
        batch_size: 50,
        may_start: true,
        claim: "claim",
        now: &now,
        settings: &case.settings,
    };
    let draft = Draft { input: &input, outcome_only: case.ledger.clone(), records: vec![], events: vec![] };
    let stage = Stage::Deleting(None);
    let written = status::status(&case.spec, &case.ledger, &stage, &status, &now, (None, None));
    let written = serde_json::to_vec(&written).unwrap().len();
    let room = 2 * 64 + 96 + 16 * 1024;
    assert_eq!(draft.largest(&case.ledger, &stage), written + room + 1_000_000);
}
