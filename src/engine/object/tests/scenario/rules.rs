//! The rules one by one: look first, write ahead, outcome unknown, not found, the end.

use std::collections::HashSet;

use super::*;
use crate::{api::NotFoundPolicy, engine::object::state::memory::CallState};

#[test]
fn i03_fault_free_each_id_is_sent_once_in_full_batches() {
    for (n, expected) in [(1, 1), (50, 1), (51, 2), (120, 3), (451, 10)] {
        let mut world = World::new(n);
        world.run_to_rest(Duration::from_mins(1));
        world.finish_all();
        world.run_to_rest(Duration::from_mins(1));
        assert_eq!(world.calls.len(), expected, "{n} ids");
        assert!(world.spec.ids.iter().all(|id| world.named(*id) == 1), "{n} ids");
        assert_eq!(world.status.phase, Some(Phase::Succeeded), "{n} ids");
        assert_eq!(world.status.progress, Some(format!("{n}/{n}")));
        let sizes: Vec<_> = world.calls.iter().map(|b| b.members.len()).collect();
        assert!(sizes[..sizes.len() - 1].iter().all(|s| *s == 50), "{sizes:?}");
    }
}

#[test]
fn writes_are_few() {
    let mut world = World::new(120);
    world.run_to_rest(Duration::from_secs(30));
    // The intent, with the first status, and the outcome.
    assert_eq!(world.writes.len(), 2);
    world.finish_all();
    world.run_to_rest(Duration::from_mins(1));
    // What the scouts have found, and the rest.
    assert_eq!(world.writes.len(), 4);
}

/// Sizes of the looks that an object of `n` ids makes before and between its waves of one call, each answered at once.
fn looks_of(n: usize) -> (Vec<usize>, usize) {
    let mut world = World::new(n);
    world.parallel = 1;
    let mut looks = Vec::new();
    let mut writes = 0;
    while world.status.summary.is_none_or(|summary| summary.accepted < summary.total) {
        let before: HashSet<_> = world.looked.iter().copied().collect();
        let (wave, wake) = world.run();
        // While the call runs, the looks for the next ones are made.
        if wave.is_some() {
            let (none, _) = world.run();
            assert_eq!(none, None);
        }
        let looked = world.looked.iter().filter(|id| !before.contains(id)).collect::<HashSet<_>>().len();
        looks.extend((looked > 0).then_some(looked));
        match wave {
            Some(wave) => world.accept(&wave),
            None => world.now = wake.unwrap(),
        }
        writes = world.writes.len();
    }
    (looks, writes)
}

#[test]
fn looks_are_whole_reads_ahead_of_their_calls_and_writes_are_few() {
    for (n, expected) in [
        (1, &[1][..]),
        (50, &[50]),
        (120, &[120]),
        (150, &[150]),
        (199, &[199]),
        (200, &[200]),
        (500, &[200, 100, 100, 100]),
        (520, &[200, 100, 100, 120]),
    ] {
        let (looks, writes) = looks_of(n);
        assert_eq!(looks, expected, "{n}");
        // The first intent, then each outcome with the next intent.
        assert!(writes <= n.div_ceil(50) + 1, "{n}: {writes} writes");
    }
}

#[test]
fn a_look_that_was_asked_for_is_waited_for_and_none_is_asked_beyond_what_is_next() {
    let mut world = World::new(1000);
    let first = world.decide(4);
    assert_eq!(first.look.len(), 200, "a wave of four");
    let now = world.now;
    world.memory.as_mut().unwrap().looking(&first.look, first.regular, now, &SETTINGS);
    assert_eq!(first.write, None, "the first status waits for the first look");
    world.pass(Duration::from_millis(1));
    assert!(world.decide(4).look.is_empty());
    world.look(&first.look, first.regular);
    assert!(world.decide(4).look.is_empty(), "what is ready is enough");
}

#[test]
fn accepted_ids_are_looked_at_by_the_schedule_alone() {
    let mut world = World::new(20);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.run();
    let looked = world.looked.len();
    world.pass(SETTINGS.poll_min.mul_f64(0.5));
    world.run();
    assert_eq!(world.looked.len(), looked);
    world.pass(SETTINGS.poll_min);
    world.run();
    assert_eq!(world.looked.len(), looked + 20);
}

#[test]
fn the_next_wave_waits_for_the_record_of_this_one() {
    let mut world = World::new(450);
    let (first, _) = world.run();
    let first = first.unwrap();
    assert_eq!(first.batches.len(), 4);
    let (none, _) = world.run();
    assert_eq!(none, None, "calls of the first wave are in flight");
    assert!(world.looked.contains(&world.id(399)), "the next ids are looked at meanwhile");
    world.accept(&first);
    let (second, _) = world.run();
    assert_eq!(second.unwrap().batches.len(), 4);
    let accepted = world.status.instances.iter().filter(|r| r.phase == InstancePhase::Accepted).count();
    assert_eq!(accepted, 200, "one write holds the outcome of the first wave and the intent of the second");
}

#[test]
fn an_outcome_waits_for_those_of_its_wave_and_is_recorded_with_them() {
    let mut world = World::new(200);
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    let writes = world.writes.len();
    for (ended, batch) in wave.batches.iter().enumerate() {
        world.run();
        assert_eq!(world.writes.len(), writes, "{ended} of 4 have ended");
        world.end(
            batch,
            &CallOutcome::Accepted { ids: batch.ids(), foreign: 0, message: CloudMessage::default() },
        );
    }
    world.run();
    assert_eq!(world.writes.len(), writes + 1);
    assert_eq!(world.status.summary.unwrap().accepted, 200);
    assert_eq!(world.told.iter().filter(|e| e.reason == "BatchAccepted").count(), 4, "each is told once");
}

#[test]
fn s13_no_call_while_suspended_planned_or_leaving_and_what_was_in_flight_is_recorded() {
    type Close = fn(&mut DeletionSpec);
    let closes: [Close; 2] = [|j| j.suspend = true, |j| j.meta.leaving = true];
    for close in closes {
        let mut world = World::new(60);
        close(&mut world.spec);
        world.run_to_rest(Duration::from_mins(5));
        assert!(world.calls.is_empty());

        let mut world = World::new(260);
        let (wave, _) = world.run();
        close(&mut world.spec);
        world.spec.meta.generation = 2;
        world.accept(&wave.unwrap());
        world.run_to_rest(Duration::from_mins(5));
        assert_eq!(world.calls.len(), 4);
        assert_eq!(world.phase(0), InstancePhase::Accepted);
        assert_eq!(world.phase(259), InstancePhase::Pending);
    }
}

#[test]
fn i05_resumed_ids_are_looked_at_again() {
    let mut world = World::new(20);
    let before = world.decide(0);
    world.look(&before.look, before.regular);
    world.spec.suspend = true;
    world.spec.meta.generation = 2;
    world.run();
    // Half of them are deleted by hand meanwhile.
    for position in 0..10 {
        let gone = if position % 2 == 0 { Seen::ShuttingDown } else { Seen::Terminated };
        world.cloud.insert(world.id(position), gone);
    }
    world.spec.suspend = false;
    world.spec.meta.generation = 3;
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    assert_eq!(wave.batches.len(), 1);
    assert_eq!(wave.batches[0].members.len(), 10);
    assert!((0..10).all(|p| world.named(world.id(p)) == 0));
}

#[test]
fn s01_a_look_is_fresh_or_made_again() {
    let mut world = World::new(3);
    let first = world.decide(0);
    world.look(&first.look, first.regular);
    world.pass(Duration::from_secs(51));
    world.blind = true;
    let stale = world.decide(4);
    assert!(matches!(stale.next, Next::Wait), "{:?}", stale.next);
    assert_eq!(stale.look.len(), 3);
}

#[test]
fn x06_a_look_from_before_the_machine_slept_does_not_count() {
    let mut world = World::new(20);
    let before = world.decide(0);
    world.look(&before.look, before.regular);
    // The monotonic clock stood still meanwhile.
    world.slept += Duration::from_hours(1);
    assert!(matches!(world.decide(4).next, Next::Wait));
    let (wave, _) = world.run();
    assert_eq!(world.looked.len(), 40, "each is looked at again");
    assert_eq!(wave.unwrap().batches[0].members.len(), 20);
}

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
    world.call_history.release(&ids, world.now, |_| None);
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
    world.call_history.release(&ids, world.now, |_| None);
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
fn t03_not_found_needs_two_reads_settle_apart() {
    let mut world = World::new(2);
    let gone = world.id(0);
    world.cloud.remove(&gone);
    let (wave, _) = world.run();
    assert_eq!(wave.as_ref().unwrap().batches[0].members.len(), 1, "an id not found is not sent");
    world.accept(&wave.unwrap());
    let (_, wake) = world.run();
    assert_eq!(world.phase(0), InstancePhase::Pending);
    // Seen again between: the series starts anew.
    world.now = wake.unwrap();
    world.run();
    let first = world.looked.iter().filter(|id| **id == gone).count();
    world.pass(SETTINGS.settle);
    world.run();
    assert_eq!(world.phase(0), InstancePhase::NotFound);
    assert_eq!(world.looked.iter().filter(|id| **id == gone).count(), first + 1);
    world.finish_all();
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.ready().0, "AllTerminated");
    assert_eq!(world.status.summary.unwrap().not_found, 1);
}

#[test]
fn one_not_found_read_between_others_proves_nothing() {
    let mut world = World::new(1);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    let id = world.id(0);
    for seen in [Seen::NotFound, Seen::ShuttingDown, Seen::NotFound] {
        world.cloud.insert(id, seen);
        world.pass(Duration::from_secs(31));
        world.run();
        assert_eq!(world.phase(0), InstancePhase::Accepted);
    }
    world.pass(Duration::from_secs(31));
    world.run();
    assert_eq!(world.phase(0), InstancePhase::NotFound);
}

#[test]
fn nothing_found_succeeds_with_a_warning_and_no_call() {
    let mut world = World::new(150);
    world.cloud.clear();
    world.run_to_rest(Duration::from_mins(2));
    assert!(world.calls.is_empty());
    let (reason, message) = world.ready();
    assert_eq!(reason, "NothingFound");
    assert!(message.starts_with("None of 150 ids is known in project 0123"), "{message}");
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
}

#[test]
fn x18_what_was_seen_on_its_way_and_is_gone_was_known() {
    for policy in [NotFoundPolicy::Succeed, NotFoundPolicy::Fail] {
        for restarted in [false, true] {
            let mut world = World::new(2);
            world.spec.not_found_policy = policy;
            world.cloud.values_mut().for_each(|seen| *seen = Seen::ShuttingDown);
            world.run_to_rest(Duration::from_secs(30));
            world.cloud.clear();
            if restarted {
                world.restart();
            }
            world.run_to_rest(Duration::from_mins(30));
            let all_gone = "All 2 instances are gone, 2 of them not found at the cloud";
            assert_eq!(world.ready(), ("AllTerminated".to_owned(), all_gone.to_owned()), "{policy:?}");
            assert!(world.told.iter().all(|event| event.reason != "NothingFound"), "{policy:?}");
            assert_eq!(world.status.instances[0].cloud_state.as_deref(), Some("shutting-down"));
        }
    }
}

#[test]
fn x18_what_was_seen_alive_and_is_gone_before_a_call_was_known() {
    for (policy, reason) in [(NotFoundPolicy::Succeed, "AllTerminated"), (NotFoundPolicy::Fail, "Failed")] {
        for seen in [Seen::Live(Live::Stopped), Seen::from_state("reinstalling")] {
            let mut world = World::new(2);
            world.spec.not_found_policy = policy;
            let gone = world.id(0);
            world.cloud.remove(&world.id(1));
            world.cloud.insert(gone, seen.clone());
            // The object waits for its turn for longer than a look counts.
            let decision = world.decide(0);
            world.look(&decision.look, decision.regular);
            world.cloud.clear();
            world.pass(Duration::from_mins(1));
            world.run_to_rest(Duration::from_mins(30));
            assert!(world.calls.is_empty());
            assert_eq!(world.ready().0, reason, "{seen:?}");
            let state = if seen == Seen::Live(Live::Stopped) { "stopped" } else { "other" };
            let expected = (policy == NotFoundPolicy::Succeed).then_some(state);
            assert_eq!(world.status.instances[0].cloud_state.as_deref(), expected);
            assert_eq!(world.status.instances[1].cloud_state, None, "no read ever found it");
        }
    }
}

#[test]
fn t01_an_error_after_acceptance_is_sent_again_up_to_the_limit() {
    let mut world = World::new(1);
    let id = world.id(0);
    for _ in 0..400 {
        let (wave, wake) = world.run();
        match (wave, wake) {
            (Some(wave), _) => {
                world.accept(&wave);
                world.run();
                world.pass(SETTINGS.poll_min);
                world.run();
                world.cloud.insert(id, Seen::Live(Live::Error));
            }
            (None, Some(wake)) => world.now = wake,
            (None, None) => break,
        }
    }
    assert_eq!(world.named(id), 6, "one attempt and five more");
    assert_eq!(world.status.phase, Some(Phase::Failed));
    assert_eq!(world.status.failures[0].reason, crate::api::FailureReason::InstanceError);
}

#[test]
fn t08_a_live_state_after_acceptance_is_sent_again_after_ten_times_settle() {
    let mut world = World::new(1);
    let id = world.id(0);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.cloud.insert(id, Seen::Live(Live::Running));
    let accepted = world.now;
    loop {
        let (wave, wake) = world.run();
        if wave.is_some() {
            break;
        }
        assert_eq!(world.phase(0), InstancePhase::Accepted, "no regress");
        world.now = wake.unwrap();
    }
    assert!(world.now - accepted > SETTINGS.settle * 10);
    assert_eq!(world.phase(0), InstancePhase::Accepted);
    assert_eq!(world.status.instances[0].resent, Some(true));
    assert_eq!(world.status.instances[0].batch, Some(2));
}

#[test]
fn t07_an_id_in_an_unknown_state_is_not_sent_and_is_named() {
    let mut world = World::new(3);
    let id = world.id(1);
    world.cloud.insert(id, Seen::from_state("quarantined"));
    let (wave, _) = world.run();
    assert_eq!(wave.as_ref().unwrap().batches[0].members.len(), 2);
    world.accept(&wave.unwrap());
    world.run_to_rest(Duration::from_secs(301));
    assert_eq!(world.ready().0, "StateUnknown");
    assert!(world.ready().1.contains(&format!("{id} (quarantined)")), "{}", world.ready().1);
    world.cloud.insert(id, Seen::Live(Live::Stopped));
    world.run_to_rest(Duration::from_secs(20));
    assert_eq!(world.named(id), 1);
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
    assert_eq!((plan.total, plan.to_delete, plan.on_their_way, plan.gone), (30, 28, 1, 1));
    assert_eq!(plan.ids.len(), 20);
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
}

#[test]
fn s07_a_row_never_goes_back() {
    let order = |phase| match phase {
        InstancePhase::Pending => 0,
        InstancePhase::Submitted => 1,
        InstancePhase::Accepted => 2,
        InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed => 3,
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
