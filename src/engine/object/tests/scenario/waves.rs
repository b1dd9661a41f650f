//! Waves without a refusal: which ids are looked at before them, which looks count, and which writes they take.

use std::collections::HashSet;

use super::*;

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
