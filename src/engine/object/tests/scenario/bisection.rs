//! Batches that the cloud refuses without names: the ends of ids at fault, of ids that cannot be
//! judged, and of all others.

use super::{
    outcomes::{members, reason, refusal, run_with},
    *,
};
use crate::api::FailureReason;

#[test]
fn x17_an_id_that_is_refused_for_no_stated_reason_and_then_no_more_is_deleted() {
    for refusals in [1, 3, 8] {
        let mut world = World::new(120);
        let locked = world.id(7);
        let left = std::cell::Cell::new(refusals);
        run_with(&mut world, Duration::from_mins(30), |ids| {
            let refuses = ids.contains(&locked) && left.get() > 0;
            left.set(left.get() - usize::from(refuses));
            refuses.then(|| refusal(Refusal::Unnamed, "iMetal.0203"))
        });
        assert_eq!(world.status.phase, Some(Phase::Succeeded), "{refusals}");
    }
}

type Answer<'a> = &'a dyn Fn(Vec<InstanceId>) -> CallOutcome;

#[test]
fn x17_an_id_that_is_refused_for_no_stated_reason_while_it_is_on_its_way_is_accepted() {
    let unnamed = |_| refusal(Refusal::Unnamed, "iMetal.0203");
    let named = |ids: Vec<_>| refusal(Refusal::Conflict(ids), "iMetal.0203");
    let answers: [(&str, Answer<'_>); 2] = [("unnamed", &unnamed), ("named", &named)];
    for (name, answer) in answers {
        for others in [0, 4] {
            let mut world = World::new(1 + others);
            world.spec.backoff_limit = 1;
            let id = world.id(0);
            let (wave, _) = world.run();
            let ids = world.spec.ids.clone();
            world.end(
                &wave.unwrap().batches[0],
                &CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() },
            );
            (1..=others).for_each(|p| drop(world.cloud.insert(world.id(p), Seen::Terminated)));
            let again = loop {
                match world.run() {
                    (Some(wave), _) => break wave,
                    (None, wake) => world.now = wake.unwrap(),
                }
            };
            // By now the cloud has begun, and refuses a further deletion with a code of its own.
            world.cloud.insert(id, Seen::ShuttingDown);
            world.end(&again.batches[0], &answer(vec![id]));
            world.run_to_rest(Duration::from_mins(10));
            assert_eq!((world.calls.len(), world.phase(0)), (2, InstancePhase::Accepted), "{name} {others}");
            world.finish_all();
            world.run_to_rest(Duration::from_hours(1));
            assert_eq!(world.status.phase, Some(Phase::Succeeded), "{name} {others}");
        }
    }
}

#[test]
fn x17_an_id_that_is_refused_alone_for_hours_holds_up_nothing_and_ends_in_conflict() {
    let mut world = World::new(1_000);
    world.spec.backoff_limit = 20;
    let locked = world.id(500);
    let started = world.now;
    run_with(&mut world, Duration::from_hours(6), |ids| {
        ids.contains(&locked).then(|| refusal(Refusal::Unnamed, "iMetal.0001"))
    });
    let last = world.status.instances.iter().enumerate().filter(|(position, _)| *position != 500);
    let last = last.filter_map(|(_, row)| row.ended_at.as_ref().map(|at| at.0)).max().unwrap();
    let first = world.status.start_time.as_ref().unwrap().0;
    assert!(last.duration_since(first).as_secs() < 60, "the others: {}", last.duration_since(first));
    assert_eq!(reason(&world, 500), Some(FailureReason::Conflict), "no call was accepted for half an hour");
    assert!(world.now - started > Duration::from_mins(30));
    let alone = world.calls.iter().filter(|call| members(call) == [locked]).count();
    assert_eq!(alone, 21, "once and twenty attempts more");
    assert_eq!(world.calls.len(), 20 + 12 + 20);
    assert_ne!(world.ready().0, "RequestRefused");
}

/// An id of a refused batch that cannot be judged, for as long as the test wants.
#[derive(Clone, Debug)]
enum Unjudged {
    None,
    Reads(Seen),
    Unread,
}

impl World {
    /// The call of the first batch is refused, and then the id at position 3 cannot be judged.
    fn cannot_judge(&mut self, unjudged: &Unjudged) {
        let id = self.id(3);
        match unjudged {
            Unjudged::None => {}
            Unjudged::Reads(seen) => drop(self.cloud.insert(id, seen.clone())),
            Unjudged::Unread => drop(self.unreadable.insert(id)),
        }
    }

    /// Calls so far, ids that have ended, and ids that have not.
    fn counts(&self) -> (usize, u32, u32) {
        let summary = self.status.summary.unwrap();
        let ended = summary.terminated + summary.not_found + summary.failed;
        (self.calls.len(), ended, summary.total - ended)
    }
}

/// The cloud refuses both batches, each for one id. An id of the first cannot be judged for `time`.
fn refused_with(unjudged: &Unjudged, time: Duration) -> World {
    let mut world = World::new(60);
    world.spec.backoff_limit = 0;
    let culprits = [world.id(30), world.id(55)];
    let refuse = |ids: &[InstanceId]| {
        ids.iter().any(|id| culprits.contains(id)).then(|| refusal(Refusal::Unnamed, "iMetal.0001"))
    };
    let (wave, _) = world.run();
    for batch in &wave.unwrap().batches {
        world.end(batch, &refuse(&batch.ids()).unwrap());
    }
    world.cannot_judge(unjudged);
    // Halves are sent when their looks are too old.
    world.pass(Duration::from_mins(1));
    run_with(&mut world, time, refuse);
    world
}

#[test]
fn x19_an_id_that_cannot_be_judged_for_a_day_holds_up_no_other() {
    let day = Duration::from_hours(24);
    let control = refused_with(&Unjudged::None, day).counts();
    println!("figure: without it: {} calls, {} ids ended, {} open", control.0, control.1, control.2);
    assert_eq!((control.1, control.2), (60, 0));
    let cases = [
        (Unjudged::Reads(Seen::from_state("reinstalling")), day),
        (Unjudged::Reads(Seen::Unreadable), Duration::from_hours(1)),
        (Unjudged::Unread, Duration::from_hours(1)),
    ];
    for (unjudged, time) in cases {
        let mut world = refused_with(&unjudged, time);
        let (calls, ended, open) = world.counts();
        println!("figure: {unjudged:?} for {time:?}: {calls} calls, {ended} ids ended, {open} open");
        assert_eq!((ended, open), (59, 1), "{unjudged:?}");
        assert!((control.0 - 1..=control.0).contains(&calls), "{unjudged:?}: {calls}");
        assert_eq!(world.ready().0, "StateUnknown", "{unjudged:?}");
        // It is over, and the id is sent alone.
        let id = world.id(3);
        world.unreadable.clear();
        world.cloud.insert(id, Seen::Live(Live::Running));
        run_with(&mut world, Duration::from_hours(1), |_| None);
        assert_eq!(members(world.calls.last().unwrap()), [id]);
        assert_eq!(world.counts(), (calls + 1, 60, 0), "{unjudged:?}");
    }
}

#[test]
fn x19_an_id_that_can_be_judged_again_is_judged_by_itself() {
    let mut world = refused_with(&Unjudged::Reads(Seen::from_state("reinstalling")), Duration::from_hours(1));
    let id = world.id(3);
    world.cloud.insert(id, Seen::Live(Live::Running));
    run_with(&mut world, Duration::from_hours(1), |ids| {
        ids.contains(&id).then(|| refusal(Refusal::Unnamed, "iMetal.0001"))
    });
    assert_eq!(reason(&world, 3), Some(FailureReason::Conflict), "calls of its batch were accepted long ago");
    assert_eq!(world.status.phase, Some(Phase::Failed));
}

/// Runs an object of `n` ids at a cloud that refuses some of its calls without names.
fn calls_where(n: usize, refuses: impl Fn(usize, usize) -> bool) -> World {
    let mut world = World::new(n);
    let made = std::cell::Cell::new(0);
    run_with(&mut world, Duration::from_mins(30), |ids| {
        made.set(made.get() + 1);
        refuses(made.get(), ids.len()).then(|| refusal(Refusal::Unnamed, "iMetal.0001"))
    });
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
    world
}

#[test]
fn c02_a_smaller_size_is_learned_from_full_batches_that_were_too_large() {
    let world = calls_where(5_000, |_, size| size > 20);
    println!("figure: 5,000 ids, 20 in a call: {} calls", world.calls.len());
    assert_eq!(world.batch_size.in_force(world.now), 13);
    // Four batches are in the first wave. Two of them are halved; the others are sent again whole.
    assert!(world.calls.len() <= 4_900_usize.div_ceil(13) + 2 * 7 + 8, "{}", world.calls.len());
}

#[test]
fn x16_batches_that_were_refused_for_a_passing_reason_leave_the_others_full() {
    // Calls that the cloud refuses, and the further calls that they cost.
    for (refused, cost) in [(1, 2), (4, 5)] {
        let world = calls_where(5_000, |call, _| call <= refused);
        println!("figure: 5,000 ids, the first {refused} calls refused: {} calls", world.calls.len());
        assert_eq!(world.calls.len(), 100 + cost, "{refused}");
        assert_eq!(world.batch_size, BatchSize::default());
    }
    let world = calls_where(2, |call, _| call == 1);
    assert_eq!(world.calls.iter().map(|call| call.members.len()).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(world.batch_size, BatchSize::default());
}
