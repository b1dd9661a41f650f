//! Instances stay off for a time, and somebody who powers one on again keeps it.

use super::*;

#[test]
fn p5_an_instance_is_deleted_when_it_has_been_off_for_the_soak_and_is_off() {
    let mut world = soaking(3);
    let at = world.status.instances[0].powered_off_at.as_ref().unwrap().0;
    let due = world.status.next_action_time.as_ref().unwrap().0;
    assert_eq!(due, at + SOAK);
    let left = |world: &World| Duration::try_from(due.duration_since(world.wall())).unwrap_or_default();
    while left(&world) > Duration::from_secs(1) {
        let (wave, wake) = world.run();
        assert!(wave.is_none(), "{:?} before", left(&world));
        world.now = wake.unwrap().min(world.now + left(&world));
    }
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.status.summary.unwrap().accepted, 3);
    assert_eq!((calls(&world, CallKind::PowerOff), calls(&world, CallKind::Delete)), (1, 1));
    assert!(world.writes.len() < 12, "{} writes in three days", world.writes.len());
}

#[test]
fn p5_the_soak_begins_with_the_read_that_shows_it_off_however_long_ago_the_call_was() {
    let mut world = always(1, SOAK);
    world.stays_on = true;
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.run_to_rest(Duration::from_mins(2));
    assert_eq!(world.phase(0), InstancePhase::PoweringOff);
    // The record has whole seconds.
    let went_off = world.wall() - Duration::from_secs(1);
    world.cloud.insert(world.id(0), Seen::Live(Live::Stopped));
    world.run_to_rest(Duration::from_mins(2));
    let off_since = world.status.instances[0].powered_off_at.as_ref().unwrap().0;
    assert!(off_since > went_off, "{off_since}, and it went off after {went_off}");
    assert_eq!(world.status.next_action_time.as_ref().unwrap().0, off_since + SOAK);
}

#[test]
fn p5_each_instance_has_its_own_time() {
    let mut world = always(2, SOAK);
    let late = world.id(1);
    world.cloud.insert(late, Seen::Other(crate::engine::state::StateText::new("moving")));
    world.run_to_rest(Duration::from_mins(3));
    world.pass(Duration::from_hours(10));
    world.cloud.insert(late, Seen::Live(Live::Running));
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(world.status.summary.unwrap().powered_off, 2);
    world.pass(SOAK.saturating_sub(Duration::from_hours(9)));
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!((world.phase(0), world.phase(1)), (InstancePhase::Accepted, InstancePhase::PoweredOff));
}

#[test]
fn p5_a_wall_clock_that_jumps_forward_shortens_no_soak() {
    let mut world = soaking(1);
    world.slept = SOAK * 2;
    world.run_to_rest(Duration::from_hours(1));
    assert_eq!(world.phase(0), InstancePhase::PoweredOff);
    // A process that starts now has only the record, and the cloud says what time it is.
    let told = world.wall() - SOAK * 2;
    world.cloud_time = Some(told);
    world.restart();
    world.run();
    assert_eq!(world.phase(0), InstancePhase::PoweredOff);
    world.cloud_time = None;
    world.restart();
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(world.phase(0), InstancePhase::Accepted, "nothing contradicts it");
}

#[test]
fn p5_a_restart_goes_by_the_record() {
    let mut world = soaking(1);
    let at = world.status.instances[0].powered_off_at.clone();
    world.pass(SOAK / 2);
    world.restart();
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!((world.phase(0), &world.status.instances[0].powered_off_at), (InstancePhase::PoweredOff, &at));
    world.pass(SOAK / 2);
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(world.phase(0), InstancePhase::Accepted);
}

/// Runs until a wave is submitted.
fn next_wave(world: &mut World) -> Wave {
    loop {
        match world.run() {
            (Some(wave), _) => return wave,
            (None, wake) => world.now = wake.unwrap(),
        }
    }
}

#[test]
fn p5_an_error_while_it_is_off_may_pass_and_ends_the_instance_when_it_would_be_deleted() {
    for (recovers, reason_then, deleted) in [(true, None, 1), (false, Some(FailureReason::InstanceError), 0)]
    {
        let mut world = soaking(1);
        let id = world.id(0);
        world.cloud.insert(id, Seen::Live(Live::Error));
        world.run_to_rest(Duration::from_mins(10));
        assert_eq!((reason(&world, 0), world.phase(0)), (None, InstancePhase::PoweredOff), "it may recover");
        world.spec.suspend = true;
        world.pass(SOAK);
        world.run_to_rest(Duration::from_mins(10));
        assert_eq!(reason(&world, 0), None, "nothing would be deleted now");
        if recovers {
            world.cloud.insert(id, Seen::Live(Live::Stopped));
        }
        world.spec.suspend = false;
        world.run_to_rest(Duration::from_mins(10));
        assert_eq!((reason(&world, 0), calls(&world, CallKind::Delete)), (reason_then, deleted));
    }
}

#[test]
fn p5_a_delete_call_rests_on_a_read_after_the_end_of_the_soak() {
    let mut world = soaking(1);
    let left = world.status.next_action_time.as_ref().unwrap().0.duration_since(world.wall());
    let over = world.now + Duration::try_from(left).unwrap();
    world.now = Mono::at(over.since_start().saturating_sub(Duration::from_secs(20)));
    world.look(&[world.id(0)], false);
    let wave = next_wave(&mut world);
    assert!(wave.look_sent >= over, "{:?} before", over - wave.look_sent);
    assert!(world.now - over < SETTINGS.poll_min, "at once");
}

#[test]
fn p6_powering_an_instance_on_again_vetoes_its_deletion() {
    for live in [Live::Running, Live::Pending] {
        let mut world = soaking(3);
        let wanted = world.id(1);
        world.cloud.insert(wanted, Seen::Live(live));
        world.run_to_rest(Duration::from_mins(10));
        assert_eq!(reason(&world, 1), Some(FailureReason::PoweredOnAgain), "within --poll-max");
        assert_eq!(world.status.instances[1].powered_off_at, None);
        let told: Vec<_> = world.told.iter().filter(|event| event.reason == "PoweredOnAgain").collect();
        assert!(told.len() == 1 && told[0].warning && told[0].note.contains(&wanted.to_string()), "{told:?}");
        world.cloud.insert(wanted, Seen::Live(Live::Stopped));
        world.restart();
        world.pass(SOAK);
        world.run_to_rest(Duration::from_mins(10));
        assert_eq!(named_in(&world, CallKind::Delete, wanted), 0, "whatever it is later");
        assert_eq!(world.status.summary.unwrap().accepted, 2);
    }
}

#[test]
fn p6_a_veto_that_one_read_showed_holds_before_it_is_written() {
    let mut world = soaking(1);
    let wanted = world.id(0);
    world.cloud.insert(wanted, Seen::Live(Live::Running));
    world.look(&[wanted], false);
    world.cloud.insert(wanted, Seen::Live(Live::Stopped));
    world.look(&[wanted], false);
    world.pass(SOAK);
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(
        (reason(&world, 0), calls(&world, CallKind::Delete)),
        (Some(FailureReason::PoweredOnAgain), 0)
    );
}

#[test]
fn x30_a_read_from_before_another_process_powered_it_off_is_no_veto() {
    let mut world = soaking(1);
    let (id, long_ago) = (world.id(0), world.now);
    world.restart();
    world.pass(Duration::from_secs(1));
    let _ = world.decide(0);
    let memory = world.memory.as_mut().unwrap();
    assert!(memory.observation(0).last.is_none() && memory.observation(0).off.is_some());
    memory.saw(id, Seen::Live(Live::Running), long_ago);
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(reason(&world, 0), None, "it was asked for before the record said that it is off");
    world.cloud.insert(id, Seen::Live(Live::Running));
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(reason(&world, 0), Some(FailureReason::PoweredOnAgain));
}

#[test]
fn p6_a_veto_after_a_delete_call_of_unknown_outcome_counts_too() {
    let mut world = soaking(1);
    world.pass(SOAK);
    let mut wave = None;
    while wave.is_none() {
        let (next, wake) = world.run();
        wave = next;
        world.now = if wave.is_some() { world.now } else { wake.unwrap() };
    }
    world.end(&wave.unwrap().batches[0], &unknown());
    world.cloud.insert(world.id(0), Seen::Live(Live::Running));
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(
        (reason(&world, 0), calls(&world, CallKind::Delete)),
        (Some(FailureReason::PoweredOnAgain), 1)
    );
}

#[test]
fn p9_a_stopped_object_says_what_it_leaves_off_and_the_soak_goes_on() {
    let mut world = soaking(3);
    world.spec.suspend = true;
    world.spec.meta.generation = 2;
    world.pass(SOAK * 2);
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(world.status.phase, Some(Phase::Suspended));
    assert!(world.ready().1.contains("3 powered off"), "{:?}", world.ready());
    assert_eq!(calls(&world, CallKind::Delete), 0);
    world.spec.suspend = false;
    world.spec.meta.generation = 3;
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.status.summary.unwrap().accepted, 3, "the soak was over long before");
}

#[test]
fn p9_a_suspended_object_sees_a_veto() {
    let mut world = soaking(2);
    world.spec.suspend = true;
    world.spec.meta.generation = 2;
    world.cloud.insert(world.id(0), Seen::Live(Live::Running));
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(reason(&world, 0), Some(FailureReason::PoweredOnAgain));
}

#[test]
fn p10_deadlines_end_a_soak_and_say_what_is_left_off() {
    let mut world = soaking(3);
    world.spec.not_after = Some(world.wall());
    world.spec.meta.generation = 2;
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(world.status.phase, Some(Phase::Expired));
    assert_eq!(reason(&world, 0), Some(FailureReason::Expired));
    assert!(world.ready().1.contains("3 instances were powered off and are left so"), "{:?}", world.ready());
    let mut world = soaking(3);
    world.spec.active_deadline = Some(Duration::from_mins(30));
    world.spec.meta.generation = 2;
    world.run_to_rest(Duration::from_hours(1));
    assert_eq!(world.status.phase, Some(Phase::DeadlineExceeded));
    assert!(world.ready().1.contains("3 instances were powered off and are left so"), "{:?}", world.ready());
    assert_eq!(calls(&world, CallKind::Delete), 0);
}

#[test]
fn an_object_that_soaks_is_not_stuck_and_looks_every_poll_max() {
    let mut world = soaking(100);
    let looked = world.looked.len();
    let day = Duration::from_hours(24);
    world.run_to_rest(day);
    assert_eq!(world.status.phase, Some(Phase::Soaking));
    assert!(!world.ready().1.contains("open for more than"), "{:?}", world.ready());
    let rounds = (world.looked.len() - looked) / 100;
    let most = usize::try_from(day.as_secs() / SETTINGS.poll_max.as_secs()).unwrap();
    assert!((most / 2..=most + 1).contains(&rounds), "{rounds} of {most}");
}
