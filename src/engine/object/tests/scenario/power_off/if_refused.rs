//! Powered off where the cloud refuses to delete what runs.

use super::*;

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
