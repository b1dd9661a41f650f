//! *Outcomes of a delete call*, row by row: what follows for the ids of the call and for all others.

use super::*;
use crate::{api::FailureReason, engine::object::state::ledger::count};

pub(super) fn message(code: &str) -> CloudMessage {
    CloudMessage {
        request_id: Some("r".into()),
        code: Some(code.into()),
        text: "said the cloud".into(),
        ..CloudMessage::default()
    }
}

pub(super) fn refusal(refusal: Refusal, code: &str) -> CallOutcome {
    CallOutcome::Refused { refusal, trouble: Trouble::RequestRefused, message: message(code) }
}

pub(super) fn members(batch: &Batch) -> Vec<InstanceId> {
    batch.ids()
}

pub(super) fn reason(world: &World, position: usize) -> Option<FailureReason> {
    world.status.instances.get(position).and_then(|row| row.reason)
}

/// Runs on, with each call answered by `answer`; none: accepted.
pub(super) fn run_with(
    world: &mut World,
    cutoff: Duration,
    answer: impl Fn(&[InstanceId]) -> Option<CallOutcome>,
) {
    let until = world.now + cutoff;
    while world.now < until {
        let (wave, wake) = world.run();
        let Some(wave) = wave else {
            match wake {
                Some(at) => world.now = at,
                None => return,
            }
            continue;
        };
        for batch in &wave.batches {
            let ids = members(batch);
            let outcome = answer(&ids).unwrap_or_else(|| {
                for id in &ids {
                    world.cloud.insert(*id, Seen::Terminated);
                }
                CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() }
            });
            world.end(batch, &outcome);
        }
    }
}

#[test]
fn c01_one_unnamed_bad_id_of_50_costs_at_most_13_calls_at_each_position() {
    for bad in 0..50 {
        let mut world = World::new(50);
        world.spec.backoff_limit = 0;
        let culprit = world.id(bad);
        run_with(&mut world, Duration::from_mins(30), |ids| {
            ids.contains(&culprit).then(|| refusal(Refusal::Unnamed, "iMetal.0001"))
        });
        assert!(world.calls.len() <= 13, "{} calls for position {bad}", world.calls.len());
        assert_eq!(reason(&world, bad), Some(FailureReason::Conflict));
        assert_eq!(world.status.summary.unwrap().terminated, 49);
        assert_eq!(world.status.phase, Some(Phase::Failed));
        let failure = &world.status.failures[0];
        assert_eq!((failure.code.as_deref(), failure.count), (Some("iMetal.0001"), 1));
        for position in (0..50).filter(|p| *p != bad) {
            let id = world.id(position);
            let accepted = world.calls.iter().rposition(|b| members(b).contains(&id)).unwrap();
            assert!(!members(&world.calls[accepted]).contains(&culprit), "accepted in its last call");
        }
    }
}

#[test]
fn c01_two_and_three_bad_ids_end_correctly_and_other_batches_go_on() {
    for bad in [vec![0, 49], vec![10, 11, 12], vec![3, 57, 119]] {
        let mut world = World::new(120);
        let culprits: Vec<_> = bad.iter().map(|p| world.id(*p)).collect();
        run_with(&mut world, Duration::from_hours(1), |ids| {
            ids.iter().any(|id| culprits.contains(id)).then(|| refusal(Refusal::Unnamed, "iMetal.0001"))
        });
        let summary = world.status.summary.unwrap();
        assert_eq!((summary.terminated, summary.failed), (120 - count(bad.len()), count(bad.len())));
        assert!(bad.iter().all(|p| reason(&world, *p) == Some(FailureReason::Conflict)), "{bad:?}");
        for position in bad {
            let alone = world.calls.iter().filter(|call| members(call) == [world.id(position)]);
            assert_eq!(alone.count(), 6, "once and five attempts more");
            assert_eq!(world.status.instances[position].attempts, Some(6));
        }
    }
}

#[test]
fn c01_a_batch_in_which_every_id_is_refused_stops_all_splitting_and_marks_nothing() {
    let mut world = World::new(120);
    run_with(&mut world, Duration::from_mins(4), |_| Some(refusal(Refusal::Unnamed, "iMetal.0001")));
    // The first wave of three; one of them is taken apart.
    assert_eq!(world.calls.len(), 3 + 98);
    assert_eq!(world.ready().0, "RequestRefused");
    assert_eq!(world.status.summary.unwrap().failed, 0);
    run_with(&mut world, Duration::from_mins(8), |_| Some(refusal(Refusal::Unnamed, "iMetal.0001")));
    assert!(world.calls[101..].iter().all(|b| b.members.len() >= 20), "slowly, and whole");
    assert!(world.calls.len() <= 101 + 6);
    run_with(&mut world, Duration::from_mins(30), |_| None);
    assert_eq!(world.status.phase, Some(Phase::Succeeded), "the request was mended");
}

#[test]
fn c06_a_named_conflict_is_retried_up_to_the_limit_and_delays_no_other() {
    let mut world = World::new(50);
    world.spec.backoff_limit = 2;
    let locked = world.id(3);
    run_with(&mut world, Duration::from_hours(1), |ids| {
        ids.contains(&locked).then(|| refusal(Refusal::Conflict(vec![locked]), "iMetal.0201"))
    });
    assert_eq!(world.named(locked), 3, "once and two attempts more");
    assert_eq!(world.calls[1].members.len(), 49, "the rest at once");
    let row = &world.status.instances[3];
    assert_eq!((row.attempts, row.reason), (Some(3), Some(FailureReason::Conflict)));
    assert_eq!(world.status.failures[0].code.as_deref(), Some("iMetal.0201"));
    assert_eq!(world.status.summary.unwrap().terminated, 49);
}

#[test]
fn c06_a_conflict_of_an_id_on_its_way_is_its_acceptance() {
    let mut world = World::new(1);
    let (wave, _) = world.run();
    world.cloud.insert(world.id(0), Seen::ShuttingDown);
    world.end(&wave.unwrap().batches[0], &refusal(Refusal::Conflict(vec![world.id(0)]), "iMetal.0201"));
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!((world.calls.len(), world.phase(0)), (1, InstancePhase::Accepted));
}

#[test]
fn c06_an_unnamed_conflict_of_a_batch_uses_no_attempt_until_an_id_is_alone() {
    let mut world = World::new(50);
    world.spec.backoff_limit = 0;
    let locked = world.id(20);
    run_with(&mut world, Duration::from_hours(1), |ids| {
        ids.contains(&locked).then(|| match ids {
            [alone] => refusal(Refusal::Conflict(vec![*alone]), "iMetal.0201"),
            _ => refusal(Refusal::UnnamedConflict, "iMetal.0201"),
        })
    });
    assert!(world.calls.len() <= 13, "{}", world.calls.len());
    assert_eq!(world.status.summary.unwrap().terminated, 49);
    assert_eq!(reason(&world, 20), Some(FailureReason::Conflict));
}

#[test]
fn c05_missing_ids_are_confirmed_by_two_reads_and_the_rest_goes_at_once() {
    let mut world = World::new(50);
    let missing = world.id(9);
    let (wave, _) = world.run();
    world.cloud.remove(&missing);
    world.end(&wave.unwrap().batches[0], &refusal(Refusal::Missing(vec![missing]), "iMetal.0200"));
    run_with(&mut world, Duration::from_mins(5), |_| None);
    assert_eq!(world.calls.len(), 2);
    assert_eq!(world.calls[1].members.len(), 49);
    assert_eq!(world.phase(9), InstancePhase::NotFound);
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
}

#[test]
fn c05_a_missing_id_that_reads_alive_uses_an_attempt_once_and_is_sent_again() {
    let mut world = World::new(1);
    world.spec.backoff_limit = 1;
    let id = world.id(0);
    run_with(&mut world, Duration::from_mins(30), |_| {
        Some(refusal(Refusal::Missing(vec![id]), "iMetal.0200"))
    });
    assert_eq!(world.calls.len(), 2);
    let row = &world.status.instances[0];
    assert_eq!((row.attempts, row.reason), (Some(2), Some(FailureReason::Conflict)));
}

#[test]
fn k02_a_refusal_entered_twice_uses_one_attempt() {
    let mut world = World::new(1);
    let (wave, _) = world.run();
    let id = world.id(0);
    world.end(&wave.unwrap().batches[0], &refusal(Refusal::Conflict(vec![id]), "iMetal.0201"));
    for _ in 0..3 {
        // The write is applied, its reply is lost: the outcome stays unrecorded in memory.
        if let Some(write) = world.decide(0).write {
            world.status = write;
        }
    }
    assert_eq!(world.status.instances[0].attempts, Some(1));
}

#[test]
fn c08_an_id_left_unknown_five_times_alone_while_others_are_accepted_is_given_up() {
    let mut world = World::new(51);
    let lost = world.id(50);
    run_with(&mut world, Duration::from_hours(2), |ids| ids.contains(&lost).then(unknown));
    assert_eq!(
        reason(&world, 50),
        None,
        "nothing of the account was accepted in between: it may be an outage"
    );
    assert!(world.calls.len() > 7);
    let accepted = || CallOutcome::Accepted { ids: vec![], foreign: 0, message: CloudMessage::default() };
    for _ in 0..6 {
        // Another object of the account.
        world.delete_calls.ended(CallKind::Delete, &accepted(), world.now);
        let until = world.calls.len() + 1;
        while world.calls.len() < until && reason(&world, 50).is_none() {
            run_with(&mut world, Duration::from_secs(1), |ids| ids.contains(&lost).then(unknown));
        }
    }
    assert_eq!(reason(&world, 50), Some(FailureReason::OutcomeUnknown));
    assert_eq!(world.status.phase, Some(Phase::Failed));
}

#[test]
fn an_outage_fails_no_id() {
    for trouble in [Trouble::CloudUnreachable, Trouble::Throttled { retry_after: None }, Trouble::Forbidden] {
        let mut world = World::new(120);
        world.spec.backoff_limit = 0;
        run_with(&mut world, Duration::from_mins(10), |_| {
            Some(if trouble == Trouble::CloudUnreachable { unknown() } else { refused(trouble) })
        });
        assert_eq!(world.status.summary.unwrap().failed, 0, "{trouble:?}");
        run_with(&mut world, Duration::from_mins(30), |_| None);
        assert_eq!(world.status.phase, Some(Phase::Succeeded), "{trouble:?}");
        assert!(
            world.status.instances.iter().all(|row| row.attempts.is_none()),
            "{trouble:?}: no attempt used"
        );
    }
}

#[test]
fn c07_throttled_for_ten_minutes_it_says_so_and_suspended_then_it_sends_nothing_after() {
    let mut world = World::new(120);
    let end = world.now + Duration::from_mins(10);
    let mut waves = 0;
    while world.now < end {
        let (wave, wake) = world.run();
        let Some(wave) = wave else {
            world.now = wake.unwrap();
            continue;
        };
        waves += 1;
        assert_eq!(wave.batches.iter().map(|b| b.members.len()).collect::<Vec<_>>(), [50, 50, 20]);
        for batch in &wave.batches {
            world.end(batch, &refused(Trouble::Throttled { retry_after: None }));
        }
        world.run();
        assert_eq!((world.status.phase, world.ready().0.as_str()), (Some(Phase::Throttled), "Throttled"));
    }
    assert!(waves > 60, "as often as the slowest pace allows: {waves}");
    let calls = world.calls.len();
    world.spec.suspend = true;
    world.spec.meta.generation = 2;
    world.run_to_rest(Duration::from_mins(30));
    assert_eq!((world.calls.len(), world.status.phase), (calls, Some(Phase::Suspended)));
    assert!(world.status.instances.iter().all(|row| row.attempts.is_none()));
}

#[test]
fn c07_a_throttled_object_says_so_in_whatever_order_the_calls_of_its_wave_end() {
    for refused_first in [false, true] {
        let mut world = World::new(60);
        let (wave, _) = world.run();
        let batches = wave.unwrap().batches;
        let accepted =
            CallOutcome::Accepted { ids: batches[0].ids(), foreign: 0, message: CloudMessage::default() };
        let hour = Some(Duration::from_hours(1));
        let throttled = refused(Trouble::Throttled { retry_after: hour });
        let mut ends = [(&batches[0], accepted), (&batches[1], throttled)];
        if refused_first {
            ends.reverse();
        }
        for (batch, outcome) in &ends {
            world.end(batch, outcome);
        }
        world.run();
        assert_eq!(world.status.phase, Some(Phase::Throttled), "refused first: {refused_first}");
        assert!(world.status.next_action_time.is_some());
    }
}

#[test]
fn r02_a_call_that_certainly_had_no_effect_delays_no_successor() {
    let throttled = Trouble::Throttled { retry_after: None };
    let conflict = |id| CallOutcome::Refused {
        refusal: Refusal::Conflict(vec![id]),
        trouble: Trouble::RequestRefused,
        message: CloudMessage::default(),
    };
    for n in 0..4 {
        let mut world = World::new(20);
        let (wave, _) = world.run();
        let batch = &wave.unwrap().batches[0];
        let outcomes = [
            CallOutcome::NotSent(Unsent::Stopping),
            CallOutcome::NotSent(Unsent::TooLate),
            refused(throttled),
            conflict(world.id(3)),
        ];
        let outcome = &outcomes[n];
        world.end(batch, outcome);
        let decision = world.decide(0);
        world.status = decision.write.unwrap();
        assert_eq!(world.status.batches[0].no_effect, Some(true), "{outcome:?}");
        assert_eq!(world.phase(0), InstancePhase::Submitted, "a phase never goes back");
        world.restart();
        let restarted = world.now;
        let (wave, _) = world.run();
        assert_eq!(wave.unwrap().batches[0].members.len(), 20, "{outcome:?}");
        assert!(world.now - restarted < Duration::from_secs(1), "{outcome:?}");
    }
    for outcome in
        [unknown(), CallOutcome::Accepted { ids: vec![], foreign: 1, message: CloudMessage::default() }]
    {
        let mut world = World::new(20);
        let (wave, _) = world.run();
        world.end(&wave.unwrap().batches[0], &outcome);
        world.run();
        assert_eq!(world.status.batches[0].no_effect, None, "{outcome:?}");
        world.restart();
        assert_eq!(world.run().0, None, "{outcome:?}: it may have had its effect");
    }
}

#[test]
fn s17_a_further_attempt_that_was_not_sent_leaves_the_acceptance_before_it() {
    let mut world = World::new(1);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.run();
    world.cloud.insert(world.id(0), Seen::Live(Live::Running));
    let wave = loop {
        match world.run() {
            (Some(wave), _) => break wave,
            (None, wake) => world.now = wake.unwrap(),
        }
    };
    world.end(&wave.batches[0], &CallOutcome::NotSent(Unsent::Stopping));
    let decision = world.decide(0);
    world.status = decision.write.unwrap();
    world.restart();
    let restarted = world.now;
    let again = loop {
        match world.run() {
            (Some(wave), _) => break wave,
            (None, wake) => world.now = wake.unwrap(),
        }
    };
    assert_eq!(again.batches[0].members.len(), 1);
    assert!(world.now - restarted >= SETTINGS.settle * 10, "the record says that it was accepted");
}

#[test]
fn t01_an_error_after_acceptance_is_sent_again_after_settle_also_by_another_process() {
    for seen_shutting_down in [false, true] {
        for by_another_object in [false, true] {
            let mut world = World::new(1);
            let (wave, _) = world.run();
            world.accept(&wave.unwrap());
            let accepted = world.now;
            if seen_shutting_down {
                world.run();
                world.pass(SETTINGS.poll_min);
                world.run();
            }
            world.cloud.insert(world.id(0), Seen::Live(Live::Error));
            if by_another_object {
                // It names the same id, and knows of the call from the call history alone.
                (world.status, world.memory) = (InstanceDeletionStatus::default(), None);
            }
            loop {
                match world.run() {
                    (Some(_), _) => break,
                    (None, wake) => world.now = wake.unwrap(),
                }
            }
            let waited = world.now - accepted;
            let settle = SETTINGS.settle..SETTINGS.settle * 2;
            assert!(settle.contains(&waited), "{seen_shutting_down} {by_another_object}: {waited:?}");
        }
    }
}

#[test]
fn t08_an_instance_that_was_in_error_before_its_call_is_sent_again_after_patience() {
    let mut world = World::new(1);
    world.cloud.insert(world.id(0), Seen::Live(Live::Error));
    let (wave, _) = world.run();
    let ids = world.spec.ids.clone();
    world.end(
        &wave.unwrap().batches[0],
        &CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() },
    );
    let accepted = world.now;
    loop {
        match world.run() {
            (Some(_), _) => break,
            (None, wake) => world.now = wake.unwrap(),
        }
    }
    assert!(world.now - accepted >= SETTINGS.settle * 10, "it is the error of before");
}
