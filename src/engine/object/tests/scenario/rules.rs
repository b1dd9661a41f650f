//! Calls without an outcome, with a part of one, or with another claim, and the end of the object.

use super::*;
use crate::engine::object::state::memory::CallState;

#[test]
fn c14_ids_left_out_of_a_202_are_looked_at_after_settle_and_sent_once_more() {
    let mut world = World::new(50);
    let (wave, _) = world.run();
    let batch = wave.unwrap().batches[0].clone();
    let returned: Vec<_> = batch.ids()[..47].to_vec();
    for id in &returned {
        world.cloud.insert(*id, Seen::ShuttingDown);
    }
    world.end(&batch, &CallOutcome::Accepted { ids: returned, foreign: 0, message: CloudMessage::default() });
    let ended = world.now;
    let mut again = None;
    while again.is_none() {
        let (wave, wake) = world.run();
        again = wave;
        world.now = if again.is_some() { world.now } else { wake.unwrap() };
    }
    assert!(world.now - ended > SETTINGS.settle);
    let again = again.unwrap();
    assert_eq!(again.batches[0].members.len(), 3);
    assert_eq!(world.status.batches[0].returned, Some(47));
    assert_eq!(world.status.instances[49].attempts, Some(1));
    world.accept(&again);
    world.run();
    assert!((0..47).all(|p| world.named(world.id(p)) == 1));
    assert!((47..50).all(|p| world.named(world.id(p)) == 2));
    assert_eq!(world.status.instances[49].attempts, Some(2));
}

#[test]
fn c11_an_unknown_outcome_that_had_its_effect_is_never_sent_again() {
    let mut world = World::new(50);
    let (wave, _) = world.run();
    let batch = wave.unwrap().batches[0].clone();
    world.end(&batch, &unknown());
    // The list shows the old state for a while.
    world.run();
    assert_eq!(world.phase(0), InstancePhase::Submitted);
    world.pass(Duration::from_secs(20));
    world.run();
    for seen in world.cloud.values_mut() {
        *seen = Seen::ShuttingDown;
    }
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.phase(0), InstancePhase::Accepted);
    world.finish_all();
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
}

#[test]
fn c08_an_unknown_outcome_without_effect_is_sent_again_only_after_settle() {
    let mut world = World::new(50);
    let (wave, _) = world.run();
    world.end(&wave.unwrap().batches[0].clone(), &unknown());
    let ended = world.now;
    loop {
        let (wave, wake) = world.run();
        if wave.is_some() {
            break;
        }
        world.now = wake.unwrap();
    }
    assert!(world.now - ended > SETTINGS.settle);
    assert_eq!(world.status.instances[0].attempts, None, "no attempt is used by an unknown outcome");
}

#[test]
fn r01_after_a_restart_a_submitted_batch_is_settled_before_anything_is_sent() {
    let mut world = World::new(120);
    let (wave, _) = world.run();
    // Killed after the cloud applied the first two calls, before any outcome was recorded.
    for batch in &wave.unwrap().batches[..2] {
        for id in &batch.ids() {
            world.cloud.insert(*id, Seen::ShuttingDown);
        }
    }
    world.restart();
    let restarted = world.now;
    let mut resent = None;
    while resent.is_none() {
        let (wave, wake) = world.run();
        resent = wave;
        world.now = if resent.is_some() { world.now } else { wake.unwrap() };
    }
    // The other process's call may have left 5 s after its write and taken its whole time.
    assert!(world.now - restarted > Duration::from_secs(5 + 30 + 30));
    assert_eq!(resent.unwrap().batches[0].members.len(), 20);
    assert!((0..100).all(|p| world.named(world.id(p)) == 1 && world.phase(p) == InstancePhase::Accepted));
}

#[test]
fn k02_an_equal_intent_with_another_claim_is_another_processes() {
    let mut world = World::new(10);
    let (wave, _) = world.run();
    // The write was lost, and another process stored the same intent.
    let number = wave.unwrap().batches[0].number;
    world.status.batches[0].claim = "another".into();
    let call = world.memory.as_mut().unwrap().calls.get_mut(&number).unwrap();
    call.state = CallState::Ended { at: world.now, outcome: CallOutcome::NotSent(Unsent::Unacknowledged) };
    let ids = world.spec.ids.clone();
    world.call_history.release(CallKind::Delete, &ids, world.now, |_| None);
    let (none, _) = world.run();
    assert_eq!(none, None);
    world.pass(Duration::from_secs(35));
    assert_eq!(world.run().0, None, "settle has not passed since that call may have ended");
}

#[test]
fn k01_an_intent_that_was_stored_and_never_sent_needs_no_wait() {
    let mut world = World::new(10);
    let (wave, _) = world.run();
    world.memory.as_mut().unwrap().unsent(&wave.unwrap(), Unsent::Unacknowledged, world.now);
    let ids = world.spec.ids.clone();
    world.call_history.release(CallKind::Delete, &ids, world.now, |_| None);
    let (wave, _) = world.run();
    assert_eq!(wave.unwrap().batches[0].members.len(), 10);
}

#[test]
fn c07_a_throttled_batch_stays_whole_and_uses_no_attempt() {
    let mut world = World::new(60);
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    let retry_after = Some(Duration::from_secs(7));
    for batch in &wave.batches {
        world.end(batch, &refused(Trouble::Throttled { retry_after }));
    }
    let throttled = world.now;
    let (none, wake) = world.run();
    assert_eq!(none, None);
    assert_eq!(world.status.phase, Some(Phase::Throttled));
    assert!(wake.unwrap() - throttled <= Duration::from_secs(7));
    world.pass(Duration::from_secs(8));
    let (again, _) = world.run();
    let sizes: Vec<_> = again.unwrap().batches.iter().map(|b| b.members.len()).collect();
    assert_eq!(sizes, [50, 10]);
    assert!(world.status.instances.iter().all(|r| r.attempts.is_none()));
}

#[test]
fn a_refusal_without_a_rule_marks_no_id_and_retries_slowly() {
    for trouble in [
        Trouble::CredentialsRejected,
        Trouble::Forbidden,
        Trouble::EndpointMisconfigured,
        Trouble::RequestRefused,
    ] {
        let mut world = World::new(50);
        let (wave, _) = world.run();
        world.end(&wave.unwrap().batches[0].clone(), &refused(trouble));
        let (none, _) = world.run();
        assert_eq!(none, None);
        assert_eq!(world.ready().0, trouble.reason().as_str());
        assert_eq!(world.status.phase, Some(Phase::Deleting));
        assert!(
            world.status.instances.iter().all(|r| r.phase == InstancePhase::Submitted && r.reason.is_none())
        );
        world.pass(Duration::from_secs(299));
        assert_eq!(world.run().0, None, "{trouble:?}");
        world.pass(Duration::from_secs(2));
        assert_eq!(world.run().0.unwrap().batches[0].members.len(), 50, "{trouble:?}");
    }
}

#[test]
fn two_objects_never_both_send_an_id() {
    let mut first = World::new(50);
    let (wave, _) = first.run();
    let wave = wave.unwrap();
    let mut second = World::new(50);
    second.now = first.now;
    second.call_history = first.call_history.clone();
    assert_eq!(second.run().0, None, "in flight for the first");
    first.accept(&wave);
    // The list shows the old state for a while: the second object's read comes after the first one's call.
    second.call_history = first.call_history.clone();
    second.pass(Duration::from_secs(6));
    second.run_to_rest(Duration::from_mins(1));
    assert!(second.calls.is_empty(), "accepted for the first");
    second.cloud = first.cloud.clone();
    second.run_to_rest(Duration::from_mins(1));
    assert_eq!(second.phase(0), InstancePhase::Accepted);
    second.finish_all();
    second.run_to_rest(Duration::from_mins(1));
    assert_eq!(second.ready().0, "AllTerminated");
    assert!(second.calls.is_empty());
}

#[test]
fn l08_after_the_end_nothing_happens_across_a_restart() {
    let mut world = World::new(5);
    world.run_to_rest(Duration::from_secs(30));
    world.finish_all();
    world.run_to_rest(Duration::from_mins(1));
    let (writes, looked) = (world.writes.len(), world.looked.len());
    world.restart();
    world.cloud.values_mut().for_each(|seen| *seen = Seen::Live(Live::Running));
    world.run_to_rest(Duration::from_hours(1));
    assert_eq!((world.writes.len(), world.looked.len(), world.calls.len()), (writes, looked, 1));
    world.spec.meta.generation = 2;
    world.run_to_rest(Duration::from_hours(1));
    assert_eq!(world.writes.len(), writes + 1, "one write for a spec edit");
    assert_eq!(world.status.observed_generation, Some(2));
}

#[test]
fn a_plan_looks_once_writes_no_rows_and_is_silent() {
    let mut world = World::new(30);
    world.spec.dry_run = true;
    let (on_its_way, terminated) = (world.id(0), world.id(1));
    world.cloud.insert(on_its_way, Seen::ShuttingDown);
    world.cloud.insert(terminated, Seen::Terminated);
    world.run_to_rest(Duration::from_mins(10));
    let plan = world.status.plan.clone().unwrap();
    assert_eq!((plan.total, plan.to_delete, plan.on_their_way, plan.terminated), (30, 28, 1, 1));
    assert_eq!(plan.instances.len(), 30);
    assert!(world.status.instances.is_empty());
    assert_eq!(world.status.start_time, None);
    assert_eq!((world.looked.len(), world.writes.len()), (30, 2));
    // Started: the looks of the plan don't count.
    world.spec.dry_run = false;
    world.spec.meta.generation = 2;
    world.cloud.insert(world.spec.ids[2], Seen::Terminated);
    let (wave, _) = world.run();
    assert_eq!(wave.unwrap().batches[0].members.len(), 27);
    assert_eq!(world.status.plan, None);
}

#[test]
fn s14_nothing_is_sent_that_could_not_be_recorded() {
    let mut world = World::new(50);
    world.other_bytes = 1_355_000;
    assert_eq!(world.run().0, None);
    assert_eq!(world.ready().0, "StatusTooLarge");
    assert_eq!(world.phase(0), InstancePhase::Pending);
    world.other_bytes = 1_000_000;
    assert!(world.run().0.is_some());
}

#[test]
fn the_largest_status_fits() {
    let mut world = World::new(5000);
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.calls.len(), 100);
    let spec = 5000 * 39 + 5000 * 41 + 2000;
    world.finish_all();
    world.run_to_rest(Duration::from_mins(1));
    let fault_free = serde_json::to_vec(&world.status).unwrap().len();
    assert!(fault_free + spec < 1_048_576, "{fault_free}");
    // Every row at its longest.
    let ledger = Ledger::read(&world.spec.ids, &world.status);
    let mut largest = ledger.clone();
    for row in &mut largest.rows {
        row.attempts = 6;
        row.progress = Progress::Failed {
            batch: Some(600),
            reason: crate::api::FailureReason::DeadlineExceeded,
            ended_at: world.status.completion_time.clone(),
        };
    }
    while largest.batches.len() < 128 {
        let batch = largest.batches[0].clone();
        largest.push_batch(batch);
    }
    for batch in &mut largest.batches {
        batch.request_id = Some("r".repeat(64));
    }
    let mut status = world.status.clone();
    largest.write(&mut status);
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes + spec < crate::engine::settings::STORED_LIMIT, "{bytes}");
    // The same with instances that are left off, where no annotation repeats the spec.
    for row in &mut largest.rows {
        (row.power_offs, row.powered_off_at) = (6, world.status.completion_time.clone());
    }
    largest.write(&mut status);
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes + 5000 * 39 + 2000 < crate::engine::settings::STORED_LIMIT, "{bytes}");
}

#[test]
fn s14_an_object_that_powers_off_needs_room_for_what_it_says_of_that() {
    let sent = |power_off, other_bytes| {
        let mut world = World::new(50);
        (world.spec.power_off, world.other_bytes) = (power_off, other_bytes);
        world.run().0.is_some()
    };
    let soak = Duration::from_mins(1);
    let always = Some(crate::engine::object::state::spec::PowerOff::Always { soak });
    let (mut just_fits, mut too_large) = (1_300_000, crate::engine::settings::STORED_LIMIT);
    while too_large - just_fits > 1 {
        let between = just_fits.midpoint(too_large);
        *(if sent(None, between) { &mut just_fits } else { &mut too_large }) = between;
    }
    assert!(!sent(always, just_fits));
    assert!(sent(always, just_fits - 50 * 64), "a row says at most so much more");
}

#[test]
fn s07_a_row_never_goes_back() {
    let order = |phase| match phase {
        InstancePhase::Pending => 0,
        InstancePhase::PoweringOff => 1,
        InstancePhase::PoweredOff => 2,
        InstancePhase::Submitted => 3,
        InstancePhase::Accepted => 4,
        InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed => 5,
    };
    let mut world = World::new(120);
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    world.end(&wave.batches[0], &unknown());
    world.end(&wave.batches[1], &refused(Trouble::Forbidden));
    world.end(&wave.batches[2], &CallOutcome::NotSent(Unsent::TooLate));
    world.run_to_rest(Duration::from_secs(1000));
    world.finish_all();
    world.run_to_rest(Duration::from_secs(1000));
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
    for pair in world.writes.windows(2) {
        for (before, after) in pair[0].instances.iter().zip(&pair[1].instances) {
            assert!(order(before.phase) <= order(after.phase), "{before:?} {after:?}");
        }
    }
}

#[test]
fn a_wave_that_cannot_be_made_takes_no_outcome_with_it() {
    let mut world = World::new(300);
    let (first, _) = world.run();
    world.run();
    world.accept(&first.unwrap());
    let decision = world.decide(4);
    assert!(
        matches!(decision.next, Next::Submit(_)) && decision.records == [1, 2, 3, 4],
        "both in one write"
    );
    let left = decision.without_its_wave(world.now);
    assert_eq!((left.write, left.next, left.wake), (None, Next::Wait, Some(world.now)));
    assert!(left.records.is_empty() && left.events.is_empty() && !left.holds_ends, "nothing was written");
    assert_eq!(world.decide(4).records, [1, 2, 3, 4], "the outcome is recorded by the next write");
}
