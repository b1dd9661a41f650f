//! What may be sent, and when: `spec.expect`, guards and `spec.rollout`.

use super::*;
use crate::{
    api::{DeletionGuardSpec, Expect, FailureReason, GuardHold, Protected, ProtectedInstance, Rollout},
    engine::object::state::expectation::Expectation,
};

fn expecting(n: usize) -> World {
    let mut world = World::new(n);
    let expect = Expect { name: Some("rack-12*".into()), ..Expect::default() };
    world.spec.expectation = Some(Expectation::from(&expect));
    world
}

fn rolling(n: usize, rollout: Rollout) -> World {
    let mut world = World::new(n);
    world.spec.rollout = Some(rollout);
    world
}

fn guard(spec: DeletionGuardSpec) -> Vec<Guard> {
    vec![Guard { name: "g".into(), spec }]
}

fn holding() -> Vec<Guard> {
    let hold = Some(GuardHold { reason: "change freeze".into() });
    guard(DeletionGuardSpec { hold, ..DeletionGuardSpec::default() })
}

fn protecting(id: InstanceId) -> Vec<Guard> {
    let instance = ProtectedInstance { id: id.to_string(), reason: "billing".into() };
    let protected = Some(Protected { instances: Some(vec![instance]), ..Protected::default() });
    guard(DeletionGuardSpec { protected, ..DeletionGuardSpec::default() })
}

fn protecting_names(pattern: &str) -> Vec<Guard> {
    let protected = Some(Protected { names: Some(vec![pattern.into()]), ..Protected::default() });
    guard(DeletionGuardSpec { protected, ..DeletionGuardSpec::default() })
}

fn reason(world: &World, position: usize) -> Option<FailureReason> {
    world.status.instances.get(position).and_then(|row| row.reason)
}

fn sent(world: &World) -> usize {
    world.calls.iter().map(|batch| batch.members.len()).sum()
}

/// Ends what is on its way, and runs on.
fn go_on(world: &mut World) {
    world.finish_all();
    world.run_to_rest(Duration::from_mins(10));
}

#[test]
fn e1_the_whole_list_is_read_before_the_first_call() {
    let mut world = expecting(450);
    let (wave, _) = world.run();
    assert_eq!(wave.unwrap().batches.len(), 4);
    assert_eq!(world.looked.len(), 450, "each once: what the rule reads, the call rests on");
    let mut without = World::new(450);
    without.run();
    assert_eq!(without.looked.len(), 200, "one wave");
}

#[test]
fn e2_one_wrong_instance_means_that_nothing_is_sent() {
    let mut world = expecting(120);
    let (wrong, gone, going) = (world.id(110), world.id(3), world.id(4));
    world.names.insert(wrong, "db-7".into());
    world.cloud.insert(gone, Seen::Terminated);
    world.cloud.insert(going, Seen::ShuttingDown);
    world.names.insert(going, "db-8".into());
    let (wave, wake) = world.run();
    assert!(wave.is_none() && wake.is_none() && world.calls.is_empty());
    let (ready, message) = world.ready();
    assert_eq!(ready, "NotAsExpected");
    let expected = format!(
        "1 of 120 instances are not as spec.expect says: {wrong} (its name is db-7, expected rack-12*); "
    );
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(reason(&world, 110), Some(FailureReason::NotAsExpected));
    assert_eq!((world.phase(3), reason(&world, 3)), (InstancePhase::Terminated, None));
    assert_eq!(reason(&world, 4), Some(FailureReason::NotSent), "someone else's deletion is not followed");
    assert_eq!(world.status.summary.unwrap().failed, 119);
    assert_eq!(world.status.phase, Some(Phase::Failed));
}

#[test]
fn e3_one_that_stops_matching_after_the_first_call_ends_alone() {
    let mut world = expecting(450);
    let (wave, _) = world.run();
    let changed = world.id(440);
    world.names.insert(changed, "db-7".into());
    world.accept(&wave.unwrap());
    // So long that what was read is too old for a call.
    world.pass(Duration::from_mins(2));
    world.run_to_rest(Duration::from_mins(5));
    go_on(&mut world);
    assert_eq!(reason(&world, 440), Some(FailureReason::NotAsExpected));
    assert_eq!((sent(&world), world.named(changed)), (449, 0));
    assert_eq!(world.ready().0, "Failed");
    let said = world.status.failures[0].message.as_deref();
    assert_eq!(said, Some("its name is db-7, expected rack-12*"));
}

#[test]
fn e4_a_restart_asks_for_the_whole_list_as_long_as_no_row_names_a_batch() {
    let mut world = expecting(300);
    world.blind = true;
    world.run();
    world.restart();
    world.blind = false;
    let wrong = world.id(299);
    world.names.insert(wrong, "db-7".into());
    world.pass(Duration::from_mins(1));
    world.run();
    assert_eq!((world.ready().0.as_str(), world.calls.len()), ("NotAsExpected", 0));

    let mut world = expecting(300);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.restart();
    let wrong = world.id(299);
    world.names.insert(wrong, "db-7".into());
    world.pass(Duration::from_mins(2));
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(reason(&world, 299), Some(FailureReason::NotAsExpected));
    let others = world.spec.ids.iter().filter(|id| world.named(**id) > 0).count();
    assert_eq!((others, world.named(wrong)), (299, 0), "the others go on");
}

#[test]
fn e1_what_was_read_before_the_object_was_closed_to_calls_counts_no_more() {
    let mut world = expecting(2);
    world.parallel = 0;
    world.decide(0);
    world.run();
    assert_eq!(world.looked.len(), 2);
    let wrong = world.id(0);
    world.names.insert(wrong, "db-7".into());
    world.guards = holding();
    assert!(world.memory.as_mut().unwrap().guards_changed());
    world.run();
    assert_eq!(world.ready().0, "Held");
    world.guards = Vec::new();
    assert!(world.memory.as_mut().unwrap().guards_changed());
    world.parallel = SETTINGS.parallel_calls;
    world.run();
    assert_eq!((world.ready().0.as_str(), world.calls.len()), ("NotAsExpected", 0));
}

#[test]
fn f2_an_id_whose_facts_are_unknown_waits_and_is_named() {
    let mut world = expecting(3);
    let odd = world.id(1);
    world.names.remove(&odd);
    let (wave, wake) = world.run();
    assert!(wave.is_none() && wake.is_some());
    let (ready, message) = world.ready();
    assert_eq!(ready, "FactsUnknown");
    assert!(message.contains("1 instances are not sent") && message.contains(&odd.to_string()));
    world.pass(Duration::from_mins(2));
    world.names.insert(odd, "rack-12-2".into());
    let (wave, _) = world.run();
    assert_eq!(wave.unwrap().batches[0].members.len(), 3);
}

#[test]
fn f2_behind_a_guard_only_the_unknown_one_waits() {
    let mut world = World::new(3);
    world.guards = protecting_names("db-*");
    let odd = world.id(1);
    world.names.remove(&odd);
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    assert_eq!(wave.batches[0].members.len(), 2);
    world.accept(&wave);
    world.run();
    assert_eq!(world.ready().0, "FactsUnknown");
    assert_eq!(world.named(odd), 0);
}

#[test]
fn f2_where_no_fact_can_be_read_the_line_does_not_move_on_through_the_whole_list() {
    let mut world = World::new(5_000);
    world.guards = protecting_names("db-*");
    world.names.clear();
    world.run();
    assert!(world.looked.len() <= 300, "{} reads", world.looked.len());
}

#[test]
fn g4_a_protected_id_ends_when_it_would_be_sent_and_does_not_come_back() {
    let mut world = World::new(3);
    let kept = world.id(1);
    world.guards = protecting(kept);
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    assert_eq!(wave.batches[0].members.len(), 2, "the others go on");
    assert_eq!(reason(&world, 1), Some(FailureReason::Protected));
    world.accept(&wave);
    world.guards = Vec::new();
    go_on(&mut world);
    assert_eq!((world.ready().0.as_str(), world.named(kept)), ("Failed", 0));
    assert_eq!(world.status.failures[0].message.as_deref(), Some("guard g: billing"));
}

#[test]
fn g3_what_is_protected_while_the_object_waits_is_not_sent() {
    let mut world = World::new(450);
    let (wave, _) = world.run();
    let last = world.id(449);
    world.guards = protecting(last);
    world.accept(&wave.unwrap());
    world.run_to_rest(Duration::from_mins(10));
    go_on(&mut world);
    assert_eq!((sent(&world), world.named(last)), (449, 0));
    assert_eq!(reason(&world, 449), Some(FailureReason::Protected));
}

#[test]
fn g3_names_are_judged_by_the_read_that_the_call_rests_on() {
    let mut world = World::new(450);
    let (wave, _) = world.run();
    world.guards = protecting_names("db-*");
    let renamed = world.id(449);
    world.names.insert(renamed, "db-7".into());
    world.accept(&wave.unwrap());
    world.run_to_rest(Duration::from_mins(10));
    go_on(&mut world);
    assert_eq!((sent(&world), world.named(renamed)), (449, 0));
}

#[test]
fn g2_an_object_may_delete_what_its_annotation_allows() {
    let mut world = World::new(2);
    let kept = world.id(1);
    world.guards = protecting(kept);
    world.spec.meta.allowed = crate::engine::object::state::spec::allowed(&format!(" {kept} ,x"));
    let (wave, _) = world.run();
    assert_eq!(wave.unwrap().batches[0].members.len(), 2);
}

#[test]
fn g5_a_hold_stops_everything_and_lets_go() {
    let mut world = World::new(450);
    world.guards = holding();
    let (wave, wake) = world.run();
    assert!(wave.is_none() && wake.is_some() && world.looked.is_empty(), "as a suspended object");
    let (ready, message) = world.ready();
    assert_eq!((ready.as_str(), world.status.phase), ("Held", Some(Phase::Suspended)));
    assert!(message.ends_with("no new call while DeletionGuard g holds: change freeze"), "{message}");
    assert_eq!(world.status.start_time, None, "its deadline does not run");
    world.guards = Vec::new();
    world.pass(Duration::from_secs(1));
    let (wave, _) = world.run();
    world.guards = holding();
    world.accept(&wave.unwrap());
    world.run();
    assert_eq!((world.ready().0.as_str(), sent(&world)), ("Held", 200), "in the middle too");
    for id in world.spec.ids.iter().take(200) {
        world.cloud.insert(*id, Seen::Terminated);
    }
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(world.status.summary.unwrap().terminated, 200, "what is on its way is followed");
    world.guards = Vec::new();
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(sent(&world), 450);
}

#[test]
fn g3_an_object_that_a_guard_does_not_admit_waits() {
    let mut world = World::new(3);
    world.guards = guard(DeletionGuardSpec { max_instance_ids: Some(2), ..DeletionGuardSpec::default() });
    let (wave, wake) = world.run();
    assert!(wave.is_none() && wake.is_some());
    let (ready, message) = world.ready();
    assert_eq!(ready, "GuardRefused");
    assert!(message.contains("DeletionGuard g does not admit the object: it lists 3 instances"), "{message}");
    world.guards = guard(DeletionGuardSpec { max_instance_ids: Some(3), ..DeletionGuardSpec::default() });
    world.pass(Duration::from_mins(2));
    assert!(world.run().0.is_some());
}

#[test]
fn r2_the_object_rests_at_its_limit_and_goes_on_when_it_is_raised() {
    let mut world = rolling(300, Rollout { limit: Some(5), ..Rollout::default() });
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    assert_eq!(wave.batches.iter().map(|b| b.members.len()).collect::<Vec<_>>(), [5]);
    assert_eq!(world.looked.len(), 5, "what may not be sent is not looked at");
    world.accept(&wave);
    for id in world.spec.ids.iter().take(5) {
        world.cloud.insert(*id, Seen::Terminated);
    }
    world.run_to_rest(Duration::from_mins(5));
    let (ready, message) = world.ready();
    assert_eq!((ready.as_str(), world.status.phase), ("LimitReached", Some(Phase::LimitReached)));
    assert!(message.contains("the first 5 ids have their ends; raise spec.rollout.limit"), "{message}");
    let types: Vec<_> = world.status.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types, ["Ready", "Finished"], "neither Reconciling nor Stalled");
    let (looked, writes) = (world.looked.len(), world.writes.len());
    world.pass(Duration::from_hours(30));
    assert_eq!(world.run(), (None, None), "silence");
    assert_eq!((world.looked.len(), world.writes.len()), (looked, writes));
    world.spec.rollout = Some(Rollout { limit: Some(100), ..Rollout::default() });
    world.spec.meta.generation += 1;
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(sent(&world), 100);
    world.spec.rollout = None;
    world.spec.meta.generation += 1;
    world.run_to_rest(Duration::from_mins(5));
    go_on(&mut world);
    assert_eq!((sent(&world), world.ready().0.as_str()), (300, "AllTerminated"));
}

#[test]
fn r2_a_resting_object_still_ends_at_its_deadline() {
    let mut world = rolling(3, Rollout { limit: Some(1), ..Rollout::default() });
    world.spec.active_deadline = Some(Duration::from_hours(2));
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    let first = world.id(0);
    world.cloud.insert(first, Seen::Terminated);
    world.run_to_rest(Duration::from_hours(3));
    assert_eq!(world.ready().0, "DeadlineExceeded");
    assert_eq!(sent(&world), 1);
}

#[test]
fn r4_no_more_are_on_their_way_than_allowed() {
    let mut world = rolling(120, Rollout { max_in_flight: Some(30), ..Rollout::default() });
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    assert_eq!(wave.batches.iter().map(|b| b.members.len()).collect::<Vec<_>>(), [30]);
    world.end(&wave.batches[0], &unknown());
    let (next, _) = world.run();
    assert!(next.is_none(), "an unknown outcome counts");
    world.pass(SETTINGS.settle * 2);
    let (again, _) = world.run();
    assert_eq!(again.as_ref().map(|wave| wave.batches[0].ids()), Some(wave.batches[0].ids()));
    world.accept(&again.unwrap());
    for position in 0..10 {
        let id = world.id(position);
        world.cloud.insert(id, Seen::Terminated);
    }
    world.pass(Duration::from_secs(10));
    let mut ten = None;
    while ten.is_none() {
        let (wave, wake) = world.run();
        ten = wave;
        world.now = wake.unwrap_or(world.now);
    }
    assert_eq!(ten.unwrap().batches.iter().map(|b| b.members.len()).collect::<Vec<_>>(), [10]);
}

#[test]
fn r5_too_many_failures_end_the_object_when_what_is_on_its_way_has_ended() {
    let mut world = rolling(450, Rollout { max_failed: Some(1), ..Rollout::default() });
    let kept = [world.id(0), world.id(200)];
    let instances = kept.map(|id| ProtectedInstance { id: id.to_string(), reason: "kept".into() });
    let protected = Some(Protected { instances: Some(instances[..1].to_vec()), ..Protected::default() });
    world.guards = guard(DeletionGuardSpec { protected, ..DeletionGuardSpec::default() });
    let (wave, _) = world.run();
    let wave = wave.unwrap();
    world.accept(&wave);
    assert_eq!(world.status.summary.unwrap().failed, 1, "as many as allowed");
    let protected = Some(Protected { instances: Some(instances.to_vec()), ..Protected::default() });
    world.guards = guard(DeletionGuardSpec { protected, ..DeletionGuardSpec::default() });
    let before = sent(&world);
    world.run_to_rest(Duration::from_mins(5));
    let summary = world.status.summary.unwrap();
    assert_eq!((sent(&world), summary.accepted, summary.pending), (before, 150, 0));
    assert_eq!(reason(&world, 449), Some(FailureReason::NotSent));
    assert_eq!(world.ready().0, "Deleting", "those on their way are followed");
    go_on(&mut world);
    let (ready, message) = world.ready();
    assert_eq!((ready.as_str(), world.status.phase), ("TooManyFailures", Some(Phase::Failed)));
    assert_eq!(world.status.summary.unwrap().terminated, 150);
    assert!(message.contains("more than rollout.maxFailed allows"), "{message}");
}
