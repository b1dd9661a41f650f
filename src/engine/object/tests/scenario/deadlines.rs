//! notAfter, activeDeadlineSeconds, ttlSecondsAfterFinished, --stuck-after and notFoundPolicy on whole objects.

use super::*;
use crate::{
    api::{FailureReason, NotFoundPolicy},
    engine::object::decide::finished,
};

fn reasons(world: &World) -> Vec<Option<FailureReason>> {
    world.status.instances.iter().map(|row| row.reason).collect()
}

/// `notAfter` passes now, or the deadline does.
fn expire(world: &mut World) {
    world.spec.not_after = Some(world.wall());
}

fn exceed(world: &mut World) {
    let start = world.status.start_time.as_ref().unwrap().0;
    let life = Duration::try_from(world.wall().duration_since(start)).unwrap();
    world.spec.active_deadline = Some(life);
}

#[test]
fn s13_nothing_is_sent_after_not_after_whatever_the_history() {
    let mut world = World::new(60);
    expire(&mut world);
    world.run_to_rest(Duration::from_mins(5));
    assert!(world.calls.is_empty());
    assert_eq!(world.status.phase, Some(Phase::Expired));
    assert_eq!(world.ready().0, "Expired");
    assert!(reasons(&world).iter().all(|r| *r == Some(FailureReason::Expired)));
    assert!(world.looked.len() >= 60, "each is looked at first");
}

#[test]
fn not_after_follows_what_is_on_its_way_and_ends_the_rest() {
    let mut world = World::new(450);
    let (wave, _) = world.run();
    expire(&mut world);
    world.spec.meta.generation = 2;
    world.accept(&wave.unwrap());
    world.cloud.insert(world.id(440), Seen::Terminated);
    world.cloud.insert(world.id(441), Seen::ShuttingDown);
    world.cloud.insert(world.id(442), Seen::Other(crate::engine::state::StateText::new("melting")));
    world.cloud.remove(&world.id(443));
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.calls.len(), 4, "no new call");
    assert_eq!(world.phase(0), InstancePhase::Accepted, "a reply in flight is recorded and its id followed");
    assert_eq!(world.phase(440), InstancePhase::Terminated);
    assert_eq!(world.phase(441), InstancePhase::Accepted);
    assert_eq!(reasons(&world)[442], Some(FailureReason::Expired));
    assert_eq!(world.phase(443), InstancePhase::NotFound);
    assert_eq!(reasons(&world)[300], Some(FailureReason::Expired));
    assert_eq!(world.status.phase, Some(Phase::Deleting));
    world.cloud.insert(world.id(1), Seen::Live(Live::Error));
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(reasons(&world)[1], Some(FailureReason::Expired), "one that falls to error is not sent again");
    world.finish_all();
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.status.phase, Some(Phase::Expired));
    assert_eq!(world.calls.len(), 4);
}

#[test]
fn not_after_of_what_is_gone_succeeds() {
    let mut world = World::new(3);
    world.finish_all();
    expire(&mut world);
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
    let mut world = World::new(3);
    world.cloud.clear();
    world.spec.suspend = true;
    expire(&mut world);
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.ready().0, "NothingFound", "also while suspended");
}

#[test]
fn not_after_waits_for_a_read_and_says_so() {
    let mut world = World::new(3);
    world.blind = true;
    expire(&mut world);
    world.run_to_rest(Duration::from_mins(30));
    assert_eq!(world.status.phase, Some(Phase::Deleting));
    assert!(world.ready().1.contains("notAfter has passed"), "{}", world.ready().1);
    assert!(world.ready().1.contains("waiting for a look at 3"), "{}", world.ready().1);
    world.blind = false;
    world.run_to_rest(Duration::from_mins(30));
    assert_eq!(world.status.phase, Some(Phase::Expired));
}

#[test]
fn a_submitted_id_is_settled_before_it_expires() {
    let mut world = World::new(1);
    let (wave, _) = world.run();
    world.end(&wave.unwrap().batches[0], &unknown());
    expire(&mut world);
    world.spec.meta.generation = 2;
    world.run_to_rest(SETTINGS.settle.mul_f64(0.9));
    assert_eq!(world.phase(0), InstancePhase::Submitted, "no read before that is a proof");
    world.cloud.insert(world.id(0), Seen::ShuttingDown);
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.phase(0), InstancePhase::Accepted);
}

#[test]
fn the_deadline_looks_a_last_time_and_ends_the_object_also_while_suspended() {
    for suspend in [false, true] {
        let mut world = World::new(60);
        let (wave, _) = world.run();
        world.accept(&wave.unwrap());
        world.run();
        world.spec.suspend = suspend;
        world.cloud.insert(world.id(7), Seen::Terminated);
        exceed(&mut world);
        world.spec.meta.generation = 2;
        world.run_to_rest(Duration::from_mins(2));
        assert_eq!(world.status.phase, Some(Phase::DeadlineExceeded), "{suspend}");
        assert_eq!(world.phase(7), InstancePhase::Terminated, "{suspend}: seen by the last look");
        assert_eq!(reasons(&world)[8], Some(FailureReason::DeadlineExceeded), "{suspend}");
        assert!(world.ready().1.contains("may still end at the cloud"), "{}", world.ready().1);
        assert_eq!(world.calls.len(), 2, "{suspend}");
    }
}

#[test]
fn the_deadline_counts_from_the_first_start_also_over_a_suspension() {
    let mut world = World::new(1);
    world.run();
    let started = world.status.start_time.clone();
    assert!(started.is_some());
    for suspend in [true, false] {
        world.spec.suspend = suspend;
        world.spec.meta.generation += 1;
        world.pass(Duration::from_mins(1));
        world.run();
        assert_eq!(world.status.start_time, started, "suspend: {suspend}");
    }
}

#[test]
fn a_last_look_that_brings_nothing_counts_as_made() {
    let mut world = World::new(3);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.run();
    exceed(&mut world);
    world.spec.meta.generation = 2;
    // The look is asked for, and never answered.
    world.pass(Duration::from_millis(1));
    let decision = world.decide(0);
    assert_eq!(decision.look.len(), 3);
    let now = world.now;
    world.memory.as_mut().unwrap().looking(&decision.look, decision.regular, now, &SETTINGS);
    world.status = decision.write.unwrap();
    world.pass(SETTINGS.request_timeout.mul_f64(0.99));
    let confirmed = world.decide(0).write.unwrap();
    assert!(confirmed.passed.is_some() && confirmed.completion_time.is_none(), "still waiting");
    world.status = confirmed;
    world.pass(SETTINGS.request_timeout.mul_f64(0.01));
    let write = world.decide(0).write.unwrap();
    assert_eq!(write.phase, Some(Phase::DeadlineExceeded));
}

#[test]
fn a_reply_in_flight_is_recorded_before_the_deadline_ends_the_object() {
    let mut world = World::new(3);
    let (wave, _) = world.run();
    exceed(&mut world);
    world.spec.meta.generation = 2;
    world.run_to_rest(Duration::from_secs(20));
    assert_eq!(world.phase(0), InstancePhase::Submitted);
    world.finish_all();
    world.end(
        &wave.unwrap().batches[0],
        &CallOutcome::Accepted { ids: world.spec.ids.clone(), foreign: 0, message: CloudMessage::default() },
    );
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.status.batches[0].returned, Some(3));
}

#[test]
fn no_spec_edit_opens_an_ended_object_again() {
    let mut world = World::new(3);
    expire(&mut world);
    world.run_to_rest(Duration::from_mins(5));
    world.spec.not_after = None;
    world.spec.meta.generation = 2;
    world.restart();
    world.run_to_rest(Duration::from_mins(5));
    assert!(world.calls.is_empty());
    assert_eq!(world.status.phase, Some(Phase::Expired));
    assert_eq!(world.status.observed_generation, Some(2));
}

#[test]
fn the_object_is_deleted_when_its_time_after_the_end_is_over() {
    let mut world = World::new(1);
    world.spec.ttl = Some(Duration::from_secs(100));
    world.finish_all();
    while world.status.completion_time.is_none() {
        let (_, wake) = world.run();
        if world.status.completion_time.is_some() {
            let ahead = wake.unwrap() - world.now;
            assert!((99..=100).contains(&ahead.as_secs()), "it wakes for it: {ahead:?}");
        }
    }
    let ended = world.status.completion_time.clone().unwrap().0;
    let at = |seconds: u64| Now { mono: world.now, wall: ended + Duration::from_secs(seconds) };
    let ttl = Some(Duration::from_secs(100));
    let decide = |ttl, now: Now| {
        finished(&crate::engine::object::state::spec::tests::meta(1), &world.status, ttl, &now)
    };
    assert_eq!(decide(None, at(1_000_000)).wake, None, "never, unless asked for");
    assert_eq!(decide(ttl, at(99)).next, Next::Wait);
    assert_eq!(decide(ttl, at(99)).wake, Some(world.now + Duration::from_secs(1)));
    assert_eq!(decide(ttl, at(100)).next, Next::Delete);
    let edited = finished(&crate::engine::object::state::spec::tests::meta(2), &world.status, ttl, &at(100));
    assert!(edited.write.is_some() && edited.next == Next::Wait, "first the generation is observed");
    assert_eq!(edited.wake, Some(world.now));
}

#[test]
fn l07_an_id_open_for_long_is_named_in_the_message_and_in_one_event() {
    let mut world = World::new(2);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.cloud.insert(world.id(1), Seen::Terminated);
    world.run_to_rest(Duration::from_mins(55));
    assert!(!world.ready().1.contains("open for more"), "{}", world.ready().1);
    world.run_to_rest(Duration::from_mins(10));
    let message = world.ready().1;
    assert!(message.contains("1 instances open for more than 3600 s, such as 00000000"), "{message}");
    assert!(message.contains("(shutting-down)"), "{message}");
    world.run_to_rest(Duration::from_hours(1));
    assert_eq!(world.told.iter().filter(|e| e.reason == "Stuck").count(), 1);
    world.restart();
    world.run_to_rest(Duration::from_hours(1));
    assert_eq!(world.told.iter().filter(|e| e.reason == "Stuck").count(), 1, "also across a restart");
}

#[test]
fn l07_a_suspended_object_waits_for_its_user() {
    let mut world = World::new(2);
    world.run();
    world.spec.suspend = true;
    world.spec.meta.generation = 2;
    world.run_to_rest(Duration::from_hours(3));
    assert!(!world.ready().1.contains("open for more"), "{}", world.ready().1);
    world.spec.suspend = false;
    world.spec.meta.generation = 3;
    world.blind = true;
    world.run_to_rest(Duration::from_mins(50));
    assert!(!world.ready().1.contains("open for more"), "{}", world.ready().1);
    world.run_to_rest(Duration::from_mins(20));
    assert!(world.ready().1.contains("open for more"), "{}", world.ready().1);
}

#[test]
fn t04_an_id_the_cloud_never_knew_ends_by_the_policy() {
    for (policy, phase, end) in [
        (NotFoundPolicy::Succeed, Phase::Succeeded, InstancePhase::NotFound),
        (NotFoundPolicy::Fail, Phase::Failed, InstancePhase::Failed),
    ] {
        let mut world = World::new(3);
        world.spec.not_found_policy = policy;
        world.cloud.remove(&world.id(1));
        world.run_to_rest(Duration::from_secs(20));
        world.finish_all();
        world.run_to_rest(Duration::from_mins(5));
        assert_eq!(world.phase(1), end);
        assert_eq!(world.status.phase, Some(phase));
        assert_eq!(world.named(world.id(1)), 0);
    }
}

#[test]
fn t03_an_accepted_id_that_disappears_is_gone_under_both_policies() {
    for policy in [NotFoundPolicy::Succeed, NotFoundPolicy::Fail] {
        let mut world = World::new(2);
        world.spec.not_found_policy = policy;
        world.run_to_rest(Duration::from_secs(10));
        world.cloud.clear();
        world.run_to_rest(Duration::from_mins(5));
        assert_eq!(world.status.phase, Some(Phase::Succeeded), "{policy:?}");
        assert_eq!(world.phase(0), InstancePhase::NotFound);
    }
}

/// An object without a read so far whose `notAfter` or deadline has passed, as it says.
fn closed(n: usize, cutoff: fn(&mut World)) -> World {
    let mut world = World::new(n);
    world.slept = Duration::from_hours(2);
    world.blind = true;
    world.run();
    cutoff(&mut world);
    world.pass(Duration::from_secs(90));
    world.run();
    assert!(world.ready().1.contains("has passed and no new call is made"), "{}", world.ready().1);
    world
}

#[test]
fn x07_a_moment_that_has_passed_opens_no_call_when_the_clock_is_set_back_and_the_spec_is_edited() {
    let not_after = |world: &mut World| world.spec.not_after = Some(world.wall() + Duration::from_mins(1));
    for cutoff in [not_after, exceed] {
        let mut world = closed(60, cutoff);
        world.slept = Duration::from_mins(90);
        world.spec.meta.generation += 1;
        world.spec.backoff_limit = 3;
        world.blind = false;
        world.run_to_rest(Duration::from_mins(6));
        assert!(world.calls.is_empty());
        let message = world.ready().1;
        assert!(message.contains("says now that it has not"), "{message}");
        assert_eq!(world.status.phase, Some(Phase::Deleting), "nor does anything end");
        // Another value of the field opens the object again.
        world.spec.meta.generation += 1;
        world.spec.not_after = world.spec.not_after.map(|_| world.wall() + LATER);
        world.spec.active_deadline = world.spec.active_deadline.map(|_| LATER * 24);
        world.run_to_rest(Duration::from_mins(1));
        assert_eq!(world.calls.len(), 2, "60 instances");
    }
}

#[test]
fn x07_a_clock_that_jumps_forward_once_ends_nothing() {
    let not_after = |world: &mut World| world.spec.not_after = Some(world.wall() + LATER * 24);
    let deadline = |world: &mut World| world.spec.active_deadline = Some(LATER * 24);
    for cutoff in [not_after, deadline] {
        for (accepted, jump) in [(true, LATER * 24 * 30), (false, LATER * 24 * 30), (false, LATER * 25)] {
            let mut world = World::new(60);
            cutoff(&mut world);
            world.parallel = 1;
            let (wave, _) = world.run();
            if accepted {
                world.accept(&wave.unwrap());
            } else {
                world.end(&wave.unwrap().batches[0], &refused(Trouble::Forbidden));
            }
            world.run();
            let calls = world.calls.len();
            world.slept = jump;
            world.run();
            assert_eq!(world.calls.len(), calls, "nothing is sent");
            world.slept = Duration::ZERO;
            world.run_to_rest(Duration::from_mins(20));
            assert_eq!(world.status.summary.as_ref().unwrap().failed, 0);
            assert_eq!(world.calls.len(), calls, "nor later, before a person has looked at it");
            world.finish_all();
            world.run_to_rest(Duration::from_mins(20));
            if accepted {
                assert_eq!(world.phase(0), InstancePhase::Terminated, "those on their way are followed");
            }
        }
    }
}

#[test]
fn a_look_that_failed_before_the_deadline_is_not_the_last_one() {
    for failed_before in [false, true] {
        let mut world = World::new(10);
        world.spec.active_deadline = Some(LATER);
        let (wave, _) = world.run();
        world.accept(&wave.unwrap());
        let moment = |second: u64| Mono::at(Duration::from_secs(1000 + second));
        while world.now < moment(3590) {
            let (_, wake) = world.run();
            world.now = wake.unwrap().min(moment(3590));
        }
        world.finish_all();
        if failed_before {
            world.now = moment(3599);
            world.blind = true;
            let ids = world.spec.ids.clone();
            world.look(&ids, false);
            world.blind = false;
        }
        world.now = moment(3601);
        world.run_to_rest(Duration::from_mins(2));
        assert_eq!(world.status.phase, Some(Phase::Succeeded), "{failed_before}");
    }
}

#[test]
fn x07_a_successor_whose_clock_is_behind_opens_nothing_either() {
    let mut world = World::new(60);
    (world.slept, world.blind) = (LATER, true);
    world.run();
    expire(&mut world);
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.status.phase, Some(Phase::Deleting), "it has read nothing");
    assert!(world.status.passed.as_ref().is_some_and(|passed| passed.not_after.is_some()));
    world.restart();
    (world.slept, world.blind) = (Duration::ZERO, false);
    world.run_to_rest(Duration::from_mins(10));
    assert!(world.calls.is_empty());
    assert!(world.ready().1.contains("says now that it has not"), "{}", world.ready().1);
    world.run_to_rest(LATER);
    assert_eq!(world.status.phase, Some(Phase::Expired), "its clock says so too");
}
