//! A record that was edited by hand, restored from a backup, or written by nobody this version knows (faults X1 to X4, X10).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::{
    api::{BatchStatus, FailureReason, InstanceStatus},
    engine::settings::PATIENCE,
};

/// A few ids in flight, and the record as it was before and after their acceptance.
fn accepted(n: usize) -> (World, InstanceDeletionStatus) {
    let mut world = World::new(n);
    let before = world.status.clone();
    world.run_to_rest(Duration::from_secs(20));
    assert_eq!(world.phase(0), InstancePhase::Accepted);
    (world, before)
}

#[test]
fn x01_a_record_that_was_wiped_or_set_back_sends_nothing_that_is_on_its_way() {
    for restart in [false, true] {
        let (mut world, before) = accepted(60);
        let sent = world.calls.len();
        world.status = before;
        if restart {
            world.restart();
        }
        world.run_to_rest(Duration::from_mins(20));
        assert_eq!(world.calls.len(), sent, "restarted: {restart}");
        assert_eq!(world.phase(0), InstancePhase::Accepted, "a look shows it");
        world.finish_all();
        world.run_to_rest(Duration::from_mins(5));
        assert_eq!(world.status.phase, Some(Phase::Succeeded));
    }
}

#[test]
fn x01_a_record_that_was_set_back_to_its_intent_is_as_patient_as_before() {
    let mut world = World::new(60);
    let (wave, _) = world.run();
    let intent = world.status.clone();
    for batch in &wave.unwrap().batches {
        let ids = batch.ids();
        world.end(batch, &CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() });
    }
    let sent = world.calls.len();
    world.run();
    assert_eq!(world.phase(0), InstancePhase::Accepted);
    world.status = intent;
    // The cloud shows the state of before for as long as it can be.
    world.run_to_rest(SETTINGS.settle * (PATIENCE - 1));
    assert_eq!(world.calls.len(), sent, "the outcome is recorded no more, and known still");
}

/// The next wave, once its ids were looked at.
fn next_wave(world: &mut World) -> Wave {
    for _ in 0..10 {
        world.pass(Duration::from_millis(1));
        let decision = world.decide(SETTINGS.parallel_calls);
        if let Next::Submit(wave) = decision.next {
            return wave;
        }
        world.look(&decision.look, decision.regular);
    }
    panic!("no wave");
}

#[test]
fn x01_an_outcome_is_recorded_also_if_the_record_was_set_back_before() {
    for (accepted_first, conflict) in [(true, true), (true, false), (false, true)] {
        let mut world = World::new(250);
        let before = world.status.clone();
        let (wave, _) = world.run();
        let wave = wave.unwrap();
        world.run();
        let end_all = |world: &mut World| {
            for batch in &wave.batches {
                let ids = batch.ids();
                world
                    .end(batch, &CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() });
            }
        };
        if accepted_first {
            end_all(&mut world);
        }
        world.status = before;
        if accepted_first {
            // The rest of the spec goes into a wave of its own, whose write also holds the outcomes.
            let next = next_wave(&mut world);
            let memory = world.memory.as_mut().unwrap();
            memory.claimed(&next);
            if conflict {
                memory.unsent(&next, Unsent::Unacknowledged, world.now);
            }
            let made: Vec<_> = wave.batches.iter().map(|batch| batch.number).collect();
            assert!(next.batches.iter().all(|batch| !made.contains(&batch.number)), "{next:?}");
        } else {
            end_all(&mut world);
        }
        let write = world.decide(0).write.unwrap();
        assert_eq!(write.summary.unwrap().accepted, 200, "{accepted_first} {conflict}");
    }
}

#[test]
fn x02_rows_of_other_ids_name_nothing_that_is_sent() {
    let (mut world, _) = accepted(3);
    let mut rows = world.status.instances.clone();
    rows.reverse();
    let foreign = InstanceStatus { id: InstanceId::from_u128(900).to_string(), ..rows[0].clone() };
    let garbled = InstanceStatus { id: "not an id".into(), ..rows[0].clone() };
    let mut pending = foreign.clone();
    pending.phase = InstancePhase::Pending;
    rows.extend([foreign, garbled, rows[0].clone(), pending]);
    world.status.instances = rows;
    world.cloud.insert(InstanceId::from_u128(900), Seen::Live(Live::Running));
    world.finish_all();
    world.run_to_rest(Duration::from_mins(5));
    assert_eq!(world.calls.len(), 1);
    assert!(!world.looked.contains(&InstanceId::from_u128(900)), "nor is it looked at");
    let ids: Vec<_> = world.status.instances.iter().map(|row| row.id.clone()).collect();
    assert_eq!(
        ids,
        world.spec.ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "the spec's ids, in order"
    );
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
}

#[test]
fn x03_absurd_numbers_stop_nothing_and_stay_within_the_schema() {
    let mut world = World::new(3);
    let row = |phase, batch, attempts| InstanceStatus {
        power_offs: None,
        powered_off_at: None,
        id: String::new(),
        phase,
        batch: Some(batch),
        attempts: Some(attempts),
        resent: None,
        cloud_state: None,
        reason: None,
        ended_at: None,
    };
    world.status.instances = vec![
        InstanceStatus { id: world.id(0).to_string(), ..row(InstancePhase::Submitted, u32::MAX, 0) },
        InstanceStatus { id: world.id(1).to_string(), ..row(InstancePhase::Pending, 7, 0) },
        InstanceStatus { id: world.id(2).to_string(), ..row(InstancePhase::Submitted, 1, u32::MAX) },
    ];
    world.status.batches = vec![BatchStatus {
        kind: None,
        number: u32::MAX,
        size: u32::MAX,
        returned: None,
        no_effect: None,
        claim: "x".into(),
        submitted_at: Time(Timestamp::UNIX_EPOCH),
        request_id: None,
    }];
    world.run_to_rest(Duration::from_mins(10));
    assert!(world.status.batches.iter().all(|b| b.number < 1000), "{:?}", world.status.batches);
    assert_eq!(world.phase(0), InstancePhase::Accepted, "sent when it had settled");
    assert_eq!(
        world.status.instances[2].reason,
        Some(FailureReason::NotAccepted),
        "its attempts are used up"
    );
}

#[test]
fn x04_a_forged_end_ends_the_work_and_sends_nothing() {
    let (mut world, _) = accepted(3);
    world.status.instances[1].phase = InstancePhase::Terminated;
    world.cloud.insert(world.id(1), Seen::Live(Live::Running));
    world.restart();
    world.run_to_rest(Duration::from_mins(20));
    assert_eq!(world.named(world.id(1)), 1, "an end is never opened again");
    for condition in &mut world.status.conditions {
        if condition.type_ == "Finished" {
            condition.status = "True".into();
        }
    }
    let looked = world.looked.len();
    world.cloud.insert(world.id(0), Seen::Live(Live::Error));
    world.run_to_rest(Duration::from_mins(20));
    assert_eq!((world.calls.len(), world.looked.len()), (1, looked));
}

#[test]
fn x10_an_instance_that_shows_alive_after_its_end_is_left_alone() {
    let mut world = World::new(2);
    world.run_to_rest(Duration::from_secs(20));
    world.cloud.insert(world.id(0), Seen::Terminated);
    world.run_to_rest(Duration::from_mins(1));
    assert_eq!(world.phase(0), InstancePhase::Terminated);
    world.cloud.insert(world.id(0), Seen::Live(Live::Running));
    world.run_to_rest(Duration::from_mins(30));
    assert_eq!((world.phase(0), world.named(world.id(0))), (InstancePhase::Terminated, 1));
}

/// A small generator: these tests must be the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn small(&mut self, n: u64) -> u32 {
        u32::try_from(self.below(n)).unwrap()
    }

    fn some<T>(&mut self, value: T) -> Option<T> {
        (self.below(2) == 0).then_some(value)
    }
}

const PHASES: [InstancePhase; 6] = [
    InstancePhase::Pending,
    InstancePhase::Submitted,
    InstancePhase::Accepted,
    InstancePhase::Terminated,
    InstancePhase::NotFound,
    InstancePhase::Failed,
];

fn any_status(random: &mut Random, ids: u128) -> InstanceDeletionStatus {
    let rows = random.below(8);
    let mut status = InstanceDeletionStatus::default();
    for _ in 0..rows {
        let id = InstanceId::from_u128(u128::from(random.below(8)) % (ids + 3) + 1).to_string();
        let phase = PHASES[usize::try_from(random.below(6)).unwrap()];
        let (batch, attempts) = (random.small(9), random.small(9));
        status.instances.push(InstanceStatus {
            power_offs: None,
            powered_off_at: None,
            id,
            phase,
            batch: random.some(batch),
            attempts: random.some(attempts),
            resent: random.some(true),
            cloud_state: random.some("melting".into()),
            reason: random.some(FailureReason::Conflict),
            ended_at: None,
        });
    }
    for _ in 0..random.below(4) {
        let number = random.small(9);
        let claim = format!("claim-{}", random.below(4));
        let returned = random.small(3);
        status.batches.push(BatchStatus {
            kind: None,
            number,
            size: 1,
            returned: random.some(returned),
            no_effect: None,
            claim,
            submitted_at: Time(Timestamp::UNIX_EPOCH),
            request_id: None,
        });
    }
    status
}

#[test]
fn x02_whatever_the_record_says_no_call_names_more_than_the_spec() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut calls = 0;
    for case in 0..150 {
        let mut world = World::new(4);
        world.status = any_status(&mut random, 4);
        let ended: Vec<InstanceId> = Ledger::read(&world.spec.ids, &world.status)
            .rows
            .iter()
            .filter(|row| row.progress.ended())
            .map(|row| row.id)
            .collect();
        world.run_to_rest(Duration::from_mins(10));
        world.finish_all();
        world.run_to_rest(Duration::from_mins(5));
        for batch in &world.calls {
            calls += 1;
            let ids = batch.ids();
            assert!(ids.iter().all(|id| world.spec.ids.contains(id)), "{case}: S1");
            let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), ids.len(), "{case}: S2");
            assert!(ids.iter().all(|id| !ended.contains(id)), "{case}: an end is an end");
        }
        assert!(
            crate::engine::object::report::status::is_finished(&world.status),
            "{case}: it comes to its end"
        );
    }
    assert!(calls > 80, "{calls}: the cases are not all closed");
}
