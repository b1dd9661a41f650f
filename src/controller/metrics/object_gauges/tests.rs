use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::*;
use crate::{
    api::Summary,
    metrics::testing::{sample, scraped},
};

const CREATED: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: None,
        last_transition_time: Time(at(0)),
    }
}

fn status(phase: Phase, reason: &str) -> InstanceDeletionStatus {
    InstanceDeletionStatus {
        phase: Some(phase),
        summary: Some(Summary {
            total: 36,
            pending: 1,
            powering_off: 2,
            powered_off: 3,
            submitted: 4,
            accepted: 5,
            terminated: 6,
            not_found: 7,
            failed: 8,
        }),
        conditions: vec![condition("Ready", "False", reason, "")],
        ..InstanceDeletionStatus::default()
    }
}

fn object_gauges() -> ObjectGauges {
    ObjectGauges::new(Clock::with_wall(|| at(CREATED + 100)))
}

fn scrape(object_gauges: &ObjectGauges) -> String {
    scraped(|registry| object_gauges.register(registry))
}

fn is(scrape: &str, name: &str, value: f64) {
    assert!((sample(scrape, name) - value).abs() < f64::EPSILON, "{name} is not {value}: {scrape}");
}

#[test]
fn each_reason_that_stands_in_the_way_is_counted() {
    let hindered = |reason: &ReadyReason| reason.kind() == ReasonKind::Hindered;
    for reason in ReadyReason::ALL.into_iter().filter(hindered) {
        let (object_gauges, mut counted) = (object_gauges(), None);
        object_gauges
            .enter(&mut counted, ObjectRow::of(&status(Phase::Deleting, reason.as_str()), None, None));
        let scrape = scrape(&object_gauges);
        is(&scrape, &format!("objects_hindered{{reason=\"{reason}\"}}"), 1.0);
        assert_eq!(
            scrape.lines().filter(|l| l.starts_with("objects_hindered{") && l.ends_with(" 1")).count(),
            1
        );
    }
    for reason in ReadyReason::ALL.into_iter().filter(|reason| !hindered(reason)) {
        assert_eq!(ObjectRow::of(&status(Phase::Deleting, reason.as_str()), None, None).hindrance, None);
    }
}

#[test]
fn an_object_is_counted_once_whatever_it_goes_through_and_until_it_is_gone() {
    let (object_gauges, mut counted) = (object_gauges(), None);
    let empty = scrape(&object_gauges);
    assert!(empty.lines().filter(|l| !l.starts_with('#')).all(|l| l.ends_with(" 0")), "{empty}");
    object_gauges.enter(&mut counted, ObjectRow::of(&InstanceDeletionStatus::default(), Some(CREATED), None));
    is(&scrape(&object_gauges), r#"objects{phase="Pending"}"#, 1.0);
    let mut throttled = status(Phase::Throttled, "Throttled");
    throttled.start_time = Some(Time(at(CREATED + 30)));
    for _ in 0..2 {
        object_gauges.enter(&mut counted, ObjectRow::of(&throttled, Some(CREATED), None));
        let scrape = scrape(&object_gauges);
        is(&scrape, r#"objects{phase="Throttled"}"#, 1.0);
        is(&scrape, r#"objects{phase="Pending"}"#, 0.0);
        is(&scrape, r#"objects_hindered{reason="Throttled"}"#, 1.0);
        for (phase, n) in InstancePhase::ALL.into_iter().zip((1..).map(f64::from)) {
            is(&scrape, &format!("instances{{phase=\"{phase}\"}}"), n);
        }
        is(&scrape, "oldest_unfinished_age_seconds", 70.0);
    }
    let mut ended = status(Phase::Failed, "Failed");
    ended.conditions.push(condition("Finished", "True", "Failed", ""));
    object_gauges.enter(&mut counted, ObjectRow::of(&ended, Some(CREATED), None));
    let text = scrape(&object_gauges);
    is(&text, r#"objects{phase="Failed"}"#, 1.0);
    is(&text, r#"instances{phase="Terminated"}"#, 6.0);
    is(&text, "oldest_unfinished_age_seconds", 0.0);
    drop(counted);
    assert_eq!(scrape(&object_gauges), empty, "nothing is left of it");
}

#[test]
fn the_oldest_is_the_oldest_that_is_expected_to_go_on() {
    let object_gauges = object_gauges();
    let (mut old, mut older, mut waits) = (None, None, None);
    object_gauges
        .enter(&mut old, ObjectRow::of(&status(Phase::Deleting, "Deleting"), Some(CREATED + 50), None));
    object_gauges
        .enter(&mut older, ObjectRow::of(&status(Phase::Planning, "Planning"), Some(CREATED + 10), None));
    for phase in [Phase::Suspended, Phase::Planned, Phase::Soaking, Phase::Succeeded] {
        object_gauges.enter(&mut waits, ObjectRow::of(&status(phase, ""), Some(CREATED), None));
        is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 90.0);
    }
    let mut same = None;
    object_gauges
        .enter(&mut same, ObjectRow::of(&status(Phase::Deleting, "Deleting"), Some(CREATED + 10), None));
    drop(older);
    is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 90.0);
    drop(same);
    is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 50.0);
    object_gauges
        .enter(&mut old, ObjectRow::of(&status(Phase::Deleting, "Deleting"), Some(CREATED + 900), None));
    is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 0.0);
}

/// A row of an instance in this phase, off since this moment.
fn row(phase: InstancePhase, off_at: Option<i64>) -> InstanceStatus {
    InstanceStatus {
        id: String::new(),
        phase,
        batch: None,
        attempts: None,
        power_offs: None,
        powered_off_at: off_at.map(|seconds| Time(at(seconds))),
        resent: None,
        cloud_state: None,
        reason: None,
        ended_at: None,
    }
}

#[test]
fn after_a_soak_an_object_is_as_old_as_the_time_since_its_end() {
    use InstancePhase::{Accepted, Pending, PoweredOff, Terminated};
    // The clock of the gauges says CREATED + 100, and the objects started at CREATED.
    let soak = |limit| Some(Soak { seconds: 60, limit });
    let (off_at, off_later) = (Some(CREATED + 10), Some(CREATED + 90));
    let table: [(&str, Option<Soak>, Vec<InstanceStatus>, f64); 8] = [
        ("no soak", None, vec![row(PoweredOff, off_at)], 100.0),
        ("no row yet", soak(9), vec![], 100.0),
        ("not off yet", soak(9), vec![row(Pending, None), row(PoweredOff, off_at)], 100.0),
        ("beyond the limit", soak(1), vec![row(PoweredOff, off_at), row(Pending, None)], 30.0),
        ("soak over", soak(9), vec![row(PoweredOff, off_at), row(PoweredOff, off_later)], 30.0),
        ("on its way since", soak(9), vec![row(Accepted, off_at)], 30.0),
        ("ends count no more", soak(9), vec![row(Terminated, None), row(PoweredOff, off_at)], 30.0),
        ("all still soak", soak(9), vec![row(PoweredOff, off_later)], 0.0),
    ];
    for (what, soak, instances, age) in table {
        let (object_gauges, mut counted) = (object_gauges(), None);
        let status = InstanceDeletionStatus {
            start_time: Some(Time(at(CREATED))),
            instances,
            ..status(Phase::Deleting, "Deleting")
        };
        object_gauges.enter(&mut counted, ObjectRow::of(&status, None, soak));
        let scrape = scrape(&object_gauges);
        let name = "oldest_unfinished_age_seconds";
        assert!((sample(&scrape, name) - age).abs() < f64::EPSILON, "{what}: {scrape}");
    }
}

#[test]
fn the_first_end_of_a_soak_is_told_while_an_object_waits_for_one() {
    let object_gauges = object_gauges();
    let name = "first_soak_end_timestamp_seconds";
    let soaks = |phase, end| {
        let status =
            InstanceDeletionStatus { next_action_time: Some(Time(at(end))), ..status(phase, "Soaking") };
        ObjectRow::of(&status, Some(CREATED), None)
    };
    let (mut one, mut other, mut waits) = (None, None, None);
    is(&scrape(&object_gauges), name, 0.0);
    object_gauges.enter(&mut one, soaks(Phase::Soaking, 9_000));
    object_gauges.enter(&mut other, soaks(Phase::Soaking, 8_000));
    // It waits for something else.
    object_gauges.enter(&mut waits, soaks(Phase::Throttled, 7_000));
    is(&scrape(&object_gauges), name, 8_000.0);
    object_gauges.enter(&mut other, soaks(Phase::Deleting, 8_000));
    is(&scrape(&object_gauges), name, 9_000.0);
    drop(one);
    is(&scrape(&object_gauges), name, 0.0);
}

#[test]
fn instances_that_were_given_up_are_counted_by_reason() {
    let object_gauges = object_gauges();
    let failures = |rows: &[(FailureReason, u32)]| {
        let failure =
            |&(reason, count): &_| crate::api::FailureStatus { reason, code: None, message: None, count };
        let failures = rows.iter().map(failure).collect();
        ObjectRow::of(&InstanceDeletionStatus { failures, ..status(Phase::Failed, "Failed") }, None, None)
    };
    let (mut one, mut other) = (None, None);
    let vetoed = FailureReason::PoweredOnAgain;
    object_gauges.enter(&mut one, failures(&[(vetoed, 2), (FailureReason::Conflict, 1), (vetoed, 1)]));
    object_gauges.enter(&mut other, failures(&[(vetoed, 4)]));
    is(&scrape(&object_gauges), r#"instances_failed{reason="PoweredOnAgain"}"#, 7.0);
    is(&scrape(&object_gauges), r#"instances_failed{reason="Conflict"}"#, 1.0);
    drop(one);
    is(&scrape(&object_gauges), r#"instances_failed{reason="PoweredOnAgain"}"#, 4.0);
    is(&scrape(&object_gauges), r#"instances_failed{reason="Conflict"}"#, 0.0);
}

#[test]
fn an_object_whose_instances_stay_open_is_stuck_while_it_goes_on() {
    for (phase, stuck) in [(Phase::Deleting, true), (Phase::Suspended, false)] {
        let mut said = status(phase, "Deleting");
        said.conditions =
            vec![condition("Ready", "False", "Deleting", "1 instances open for more than 3600 s")];
        assert_eq!(ObjectRow::of(&said, None, None).stuck, stuck, "{phase:?}");
    }
}
