//! Reads that end an id, or show it alive again: not found, gone, in error, in an unknown state.

use super::*;
use crate::api::NotFoundPolicy;

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
