//! Power off first: `spec.powerOff`.

mod if_refused;
mod soak;

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
