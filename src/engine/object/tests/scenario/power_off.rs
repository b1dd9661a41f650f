//! Power off first: `spec.powerOff`.

use InstancePhase::{Accepted, PoweredOff, PoweringOff, Submitted, Terminated};

use super::*;
use crate::{
    api::{DeletionGuardSpec, FailureReason, GuardHold, Protected, ProtectedInstance},
    engine::object::state::spec::PowerOff,
};

const SOAK: Duration = Duration::from_hours(72);
const PATIENCE_OVER: Duration = Duration::from_mins(6);

fn powering(n: usize, power_off: PowerOff) -> World {
    let mut world = World::new(n);
    world.spec.power_off = Some(power_off);
    world
}

fn always(n: usize, soak: Duration) -> World {
    powering(n, PowerOff::Always { soak })
}

/// A world in which all instances are off since now.
fn soaking(n: usize) -> World {
    let mut world = always(n, SOAK);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(world.status.phase, Some(Phase::Soaking));
    world
}

fn calls(world: &World, kind: CallKind) -> usize {
    world.calls.iter().filter(|call| call.kind == kind).count()
}

fn named_in(world: &World, kind: CallKind, id: InstanceId) -> usize {
    world.calls.iter().filter(|call| call.kind == kind && call.ids().contains(&id)).count()
}

fn reason(world: &World, position: usize) -> Option<FailureReason> {
    world.status.instances.get(position).and_then(|row| row.reason)
}

/// The phases that the writes have shown of a row, each once in a row.
fn phases(world: &World, position: usize) -> Vec<InstancePhase> {
    let mut phases: Vec<_> =
        world.writes.iter().filter_map(|write| write.instances.get(position)).map(|row| row.phase).collect();
    phases.dedup();
    phases
}

fn state_refusal(refusal: Refusal) -> CallOutcome {
    let message = CloudMessage { code: Some("iMetal.0201".into()), ..CloudMessage::default() };
    CallOutcome::Refused { refusal, trouble: Trouble::RequestRefused, message }
}

/// Answers a wave as a cloud that deletes nothing which runs, and says so like this.
fn refuse_running(world: &mut World, wave: &Wave, refusal: fn(Vec<InstanceId>) -> Refusal) {
    for batch in &wave.batches {
        let runs = |id: &InstanceId| world.cloud.get(id) == Some(&Seen::Live(Live::Running));
        let running: Vec<_> = batch.ids().into_iter().filter(runs).collect();
        if batch.kind == CallKind::Delete && !running.is_empty() {
            world.end(batch, &state_refusal(refusal(running)));
        } else {
            let one = Wave { batches: vec![batch.clone()], ..wave.clone() };
            world.accept(&one);
        }
    }
}

fn run_refusing(world: &mut World, cutoff: Duration, refusal: fn(Vec<InstanceId>) -> Refusal) {
    let until = world.now + cutoff;
    while world.now < until {
        match world.run() {
            (Some(wave), _) => refuse_running(world, &wave, refusal),
            (None, Some(wake)) => world.now = wake,
            (None, None) => return,
        }
    }
}

#[test]
fn p1_a_call_names_the_server_of_the_read_on_which_it_rests() {
    let mut world = always(2, Duration::ZERO);
    (world.stays_on, world.parallel) = (true, 1);
    let first = world.id(0);
    world.servers.insert(first, "old");
    let (wave, _) = world.run();
    let servers = |wave: &Wave| -> Vec<String> {
        wave.batches.iter().flat_map(Batch::servers).map(|(_, server)| server.to_string()).collect()
    };
    let wave = wave.unwrap();
    assert_eq!(servers(&wave), ["old".to_owned(), format!("on-{}", world.id(1))]);
    world.accept(&wave);
    // Another instance has its server by now.
    world.servers.insert(first, "new");
    let mut again = None;
    while again.is_none() {
        let (wave, wake) = world.run();
        again = wave;
        world.now = if again.is_some() { world.now } else { wake.unwrap() };
    }
    assert_eq!(servers(&again.unwrap())[0], "new", "none is kept");
}

#[test]
fn p1_two_instances_with_one_server_are_not_in_one_call() {
    let mut world = always(2, Duration::ZERO);
    world.servers.insert(world.id(0), "same");
    world.servers.insert(world.id(1), "same");
    let (wave, _) = world.run();
    assert_eq!(wave.unwrap().batches[0].ids(), [world.id(0)]);
}

#[test]
fn p2_what_stops_a_delete_call_stops_this_call() {
    let hold =
        DeletionGuardSpec { hold: Some(GuardHold { reason: "no".into() }), ..DeletionGuardSpec::default() };
    let edits: [&dyn Fn(&mut World); 5] = [
        &|world| world.spec.suspend = true,
        &|world| world.spec.dry_run = true,
        &|world| world.spec.meta.leaving = true,
        &|world| world.guards = vec![Guard { name: "g".into(), spec: hold.clone() }],
        &|world| world.spec.not_after = Some(world.wall()),
    ];
    for edit in edits {
        let mut world = always(3, SOAK);
        edit(&mut world);
        world.run_to_rest(Duration::from_mins(30));
        assert!(world.calls.is_empty(), "{:?}", world.ready());
    }
    let mut world = always(3, SOAK);
    let instance = ProtectedInstance { id: world.id(1).to_string(), reason: "billing".into() };
    let protected = Some(Protected { instances: Some(vec![instance]), ..Protected::default() });
    let spec = DeletionGuardSpec { protected, ..DeletionGuardSpec::default() };
    world.guards = vec![Guard { name: "g".into(), spec }];
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!((reason(&world, 1), world.named(world.id(1))), (Some(FailureReason::Protected), 0));
    assert_eq!(world.status.summary.unwrap().powered_off, 2);
}

#[test]
fn p3_each_step_is_in_the_record_before_the_next() {
    let mut world = always(120, Duration::ZERO);
    world.run_to_rest(Duration::from_mins(3));
    world.finish_all();
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(
        phases(&world, 0),
        [PoweringOff, Submitted, Accepted, Terminated],
        "without a soak it is off and sent in one write"
    );
    assert_eq!(phases(&world, 119).last(), Some(&Terminated));
    let mut world = soaking(1);
    world.pass(SOAK);
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!(phases(&world, 0), [PoweringOff, PoweredOff, Submitted, Accepted]);
    let kinds: Vec<_> = world.status.batches.iter().map(|batch| (batch.number, batch.kind)).collect();
    assert_eq!(kinds, [(1, Some(CallKind::PowerOff)), (2, None)]);
    assert_eq!(world.status.instances[0].power_offs, Some(1));
}

#[test]
fn p3_after_an_unknown_outcome_the_call_is_made_again_if_reads_show_the_instance_on() {
    for on in [true, false] {
        let mut world = always(3, SOAK);
        let (wave, _) = world.run();
        let batch = wave.unwrap().batches[0].clone();
        world.end(&batch, &unknown());
        let ended = world.now;
        if !on {
            for id in batch.ids() {
                world.cloud.insert(id, Seen::Live(Live::Stopped));
            }
        }
        world.run_to_rest(Duration::from_mins(10));
        assert_eq!(calls(&world, CallKind::PowerOff), 1 + usize::from(on));
        assert_eq!(world.status.summary.unwrap().powered_off, 3);
        assert!(world.now - ended > SETTINGS.settle);
    }
}

#[test]
fn p4_what_is_off_counts_from_that_read_on_and_what_cannot_be_powered_off_is_deleted_as_it_is() {
    let mut world = always(4, SOAK);
    world.cloud.insert(world.id(0), Seen::Live(Live::Stopped));
    world.cloud.insert(world.id(1), Seen::Live(Live::Pending));
    world.cloud.insert(world.id(2), Seen::Live(Live::Error));
    world.run_to_rest(Duration::from_mins(20));
    let row = |position: usize| &world.status.instances[position];
    assert_eq!((row(0).phase, row(0).batch), (InstancePhase::PoweredOff, None));
    assert!(row(0).powered_off_at.is_some());
    assert_eq!((world.phase(1), world.phase(2)), (InstancePhase::Accepted, InstancePhase::Accepted));
    assert_eq!((world.phase(3), row(3).batch.is_some()), (InstancePhase::PoweredOff, true));
    assert_eq!((calls(&world, CallKind::PowerOff), world.named(world.id(0))), (1, 0));
}

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
fn p6_whoever_powers_an_instance_on_again_has_vetoed_its_deletion() {
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
fn p6_without_a_soak_asked_for_it_is_powered_off_again() {
    let mut world = powering(1, PowerOff::IfRefused);
    let id = world.id(0);
    let mut again = 0;
    let until = world.now + Duration::from_hours(3);
    while world.now < until {
        match world.run() {
            (Some(wave), _) if wave.batches[0].kind == CallKind::PowerOff => {
                world.accept(&wave);
                again += 1;
            }
            (Some(wave), _) => {
                if again < 3 {
                    // Someone is faster.
                    world.cloud.insert(id, Seen::Live(Live::Running));
                }
                refuse_running(&mut world, &wave, Refusal::Conflict);
            }
            (None, Some(wake)) => world.now = wake,
            (None, None) => break,
        }
    }
    assert_eq!((again, world.phase(0)), (3, InstancePhase::Accepted));
}

#[test]
fn p7_what_the_cloud_refuses_to_delete_while_it_runs_is_powered_off_once_and_uses_no_attempt() {
    let named: fn(Vec<InstanceId>) -> Refusal = Refusal::Conflict;
    let unnamed: fn(Vec<InstanceId>) -> Refusal = |_| Refusal::UnnamedState;
    let conflict: fn(Vec<InstanceId>) -> Refusal = |_| Refusal::UnnamedConflict;
    for (how, refusal) in [named, unnamed, conflict].into_iter().enumerate() {
        let mut world = powering(50, PowerOff::IfRefused);
        for position in 30..40 {
            world.cloud.insert(world.id(position), Seen::Live(Live::Stopped));
        }
        for position in 40..50 {
            world.cloud.insert(world.id(position), Seen::Live(Live::Error));
        }
        run_refusing(&mut world, Duration::from_mins(10), refusal);
        assert_eq!(world.status.summary.unwrap().accepted, 50, "{how}: {:?}", world.ready());
        assert_eq!(calls(&world, CallKind::PowerOff), 1, "{how}");
        assert!(world.status.instances.iter().all(|row| row.attempts.is_none()), "{how}");
        let off = |row: &crate::api::InstanceStatus| row.power_offs == Some(1);
        assert_eq!(world.status.instances.iter().filter(|row| off(row)).count(), 30, "{how}");
        assert!(
            (3..=4).contains(&calls(&world, CallKind::Delete)),
            "{how}: {}",
            calls(&world, CallKind::Delete)
        );
    }
}

#[test]
fn p7_a_refusal_without_a_code_is_halved_as_without_power_off() {
    let mut world = powering(4, PowerOff::IfRefused);
    for position in 1..4 {
        world.cloud.insert(world.id(position), Seen::Live(Live::Stopped));
    }
    run_refusing(&mut world, Duration::from_mins(10), |_| Refusal::Unnamed);
    assert_eq!(world.status.summary.unwrap().accepted, 4, "{:?}", world.ready());
    assert_eq!(named_in(&world, CallKind::PowerOff, world.id(0)), 1);
    assert_eq!((1..4).map(|p| named_in(&world, CallKind::PowerOff, world.id(p))).sum::<usize>(), 0);
    assert_eq!(world.status.instances[0].attempts, None);
}

#[test]
fn p7_where_nothing_is_refused_nothing_is_powered_off() {
    let mut world = powering(60, PowerOff::IfRefused);
    world.run_to_rest(Duration::from_mins(3));
    assert_eq!((calls(&world, CallKind::PowerOff), calls(&world, CallKind::Delete)), (0, 2));
}

#[test]
fn p8_a_power_off_without_effect_is_repeated_and_then_given_up() {
    for power_off in [PowerOff::Always { soak: SOAK }, PowerOff::IfRefused] {
        let mut world = powering(2, power_off);
        (world.stays_on, world.spec.backoff_limit) = (true, 2);
        let started = world.now;
        run_refusing(&mut world, Duration::from_hours(2), Refusal::Conflict);
        let reasons = [reason(&world, 0), reason(&world, 1)];
        assert_eq!(reasons, [Some(FailureReason::PowerOffFailed); 2], "{power_off:?} {:?}", world.ready());
        assert_eq!(calls(&world, CallKind::PowerOff), 3, "{power_off:?}");
        assert!(world.now - started > PATIENCE_OVER, "each is waited for");
        assert!(!world.status.instances.iter().any(|row| row.phase == InstancePhase::Accepted));
    }
}

#[test]
fn p8_after_a_restart_too_an_accepted_power_off_has_its_time() {
    for (returned, waits) in [(1, PATIENCE_OVER.saturating_sub(Duration::from_mins(1))), (0, SETTINGS.settle)]
    {
        let mut world = always(1, SOAK);
        (world.stays_on, world.spec.backoff_limit) = (true, 0);
        let (wave, _) = world.run();
        world.accept(&wave.unwrap());
        world.run();
        world.status.batches[0].returned = Some(returned);
        world.restart();
        let started = world.now;
        while reason(&world, 0).is_none() {
            let (wave, wake) = world.run();
            assert!(wave.is_none(), "it has no further attempt");
            world.now = wake.unwrap_or(world.now);
        }
        assert_eq!(reason(&world, 0), Some(FailureReason::PowerOffFailed));
        let took = world.now - started;
        assert!(took > waits && took < waits + SETTINGS.poll_max, "{returned} returned, {took:?}");
    }
}

#[test]
fn l04_one_that_never_goes_off_keeps_no_other_waiting() {
    let odd = || Seen::Other(crate::engine::state::StateText::new("moving"));
    for unreadable in [false, true] {
        let mut world = always(2, Duration::ZERO);
        let (wave, _) = world.run();
        world.accept(&wave.unwrap());
        let stuck = world.id(1);
        if unreadable {
            world.unreadable.insert(stuck);
        } else {
            world.cloud.insert(stuck, odd());
        }
        world.run_to_rest(PATIENCE_OVER);
        let phases = (world.phase(0), world.phase(1));
        assert_eq!(phases, (InstancePhase::Accepted, InstancePhase::PoweringOff), "unreadable: {unreadable}");
    }
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
fn p11_a_plan_says_what_would_be_powered_off() {
    let mut world = always(5, SOAK);
    world.spec.dry_run = true;
    world.cloud.insert(world.id(0), Seen::Live(Live::Stopped));
    world.run_to_rest(Duration::from_mins(3));
    let plan = world.status.plan.clone().unwrap();
    assert_eq!((plan.to_delete, plan.to_power_off), (5, 4));
    let message = plan.message.unwrap();
    assert!(message.contains("4 of them run and would be powered off first"), "{message}");
    assert!(message.contains("259200 s"), "{message}");
    assert!(world.calls.is_empty());
}

#[test]
fn p12_where_servers_are_unknown_nothing_that_runs_is_touched() {
    let mut world = always(2, Duration::ZERO);
    world.names.remove(&world.id(0));
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(world.ready().0, "FactsUnknown");
    assert!(world.ready().1.contains(&format!("the server of {}", world.id(0))), "{:?}", world.ready());
    assert_eq!((world.named(world.id(0)), world.phase(1)), (0, InstancePhase::Accepted));
}

#[test]
fn l02_as_few_calls_as_ids_need() {
    // Running, stopped; calls that power off, and that delete.
    for (running, stopped, offs, deletes) in
        [(50, 0, 1, 1), (120, 30, 3, 3), (101, 10, 3, 3), (0, 60, 0, 2), (430, 20, 9, 9), (260, 0, 6, 6)]
    {
        for soak in [Duration::ZERO, Duration::from_hours(1)] {
            let mut world = always(running + stopped, soak);
            for position in (0..stopped).map(|n| n * (running + stopped) / stopped) {
                world.cloud.insert(world.id(position), Seen::Live(Live::Stopped));
            }
            world.run_to_rest(Duration::from_hours(2));
            world.finish_all();
            world.run_to_rest(Duration::from_mins(30));
            assert_eq!(world.status.phase, Some(Phase::Succeeded), "{running} {stopped} {soak:?}");
            let made = (calls(&world, CallKind::PowerOff), calls(&world, CallKind::Delete));
            assert_eq!(made, (offs, deletes), "{running} {stopped} {soak:?}");
        }
    }
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
