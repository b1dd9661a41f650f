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
            total: 21,
            pending: 1,
            submitted: 2,
            accepted: 3,
            terminated: 4,
            not_found: 5,
            failed: 6,
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
        object_gauges.enter(&mut counted, ObjectRow::of(&status(Phase::Deleting, reason.as_str()), None));
        let scrape = scrape(&object_gauges);
        is(&scrape, &format!("objects_hindered{{reason=\"{reason}\"}}"), 1.0);
        assert_eq!(
            scrape.lines().filter(|l| l.starts_with("objects_hindered{") && l.ends_with(" 1")).count(),
            1
        );
    }
    for reason in ReadyReason::ALL.into_iter().filter(|reason| !hindered(reason)) {
        assert_eq!(ObjectRow::of(&status(Phase::Deleting, reason.as_str()), None).hindrance, None);
    }
}

#[test]
fn an_object_is_counted_once_whatever_it_goes_through_and_until_it_is_gone() {
    let (object_gauges, mut counted) = (object_gauges(), None);
    let empty = scrape(&object_gauges);
    assert!(empty.lines().filter(|l| !l.starts_with('#')).all(|l| l.ends_with(" 0")), "{empty}");
    object_gauges.enter(&mut counted, ObjectRow::of(&InstanceDeletionStatus::default(), Some(CREATED)));
    is(&scrape(&object_gauges), r#"objects{phase="Pending"}"#, 1.0);
    let mut throttled = status(Phase::Throttled, "Throttled");
    throttled.start_time = Some(Time(at(CREATED + 30)));
    for _ in 0..2 {
        object_gauges.enter(&mut counted, ObjectRow::of(&throttled, Some(CREATED)));
        let scrape = scrape(&object_gauges);
        is(&scrape, r#"objects{phase="Throttled"}"#, 1.0);
        is(&scrape, r#"objects{phase="Pending"}"#, 0.0);
        is(&scrape, r#"objects_hindered{reason="Throttled"}"#, 1.0);
        for (phase, n) in InstancePhase::ALL.into_iter().zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
            is(&scrape, &format!("instances{{phase=\"{phase}\"}}"), n);
        }
        is(&scrape, "oldest_unfinished_age_seconds", 70.0);
    }
    let mut ended = status(Phase::Failed, "Failed");
    ended.conditions.push(condition("Finished", "True", "Failed", ""));
    object_gauges.enter(&mut counted, ObjectRow::of(&ended, Some(CREATED)));
    let text = scrape(&object_gauges);
    is(&text, r#"objects{phase="Failed"}"#, 1.0);
    is(&text, r#"instances{phase="Terminated"}"#, 4.0);
    is(&text, "oldest_unfinished_age_seconds", 0.0);
    drop(counted);
    assert_eq!(scrape(&object_gauges), empty, "nothing is left of it");
}

#[test]
fn the_oldest_is_the_oldest_that_is_expected_to_go_on() {
    let object_gauges = object_gauges();
    let (mut old, mut older, mut waits) = (None, None, None);
    object_gauges.enter(&mut old, ObjectRow::of(&status(Phase::Deleting, "Deleting"), Some(CREATED + 50)));
    object_gauges.enter(&mut older, ObjectRow::of(&status(Phase::Planning, "Planning"), Some(CREATED + 10)));
    for phase in [Phase::Suspended, Phase::Planned, Phase::Succeeded] {
        object_gauges.enter(&mut waits, ObjectRow::of(&status(phase, ""), Some(CREATED)));
        is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 90.0);
    }
    let mut same = None;
    object_gauges.enter(&mut same, ObjectRow::of(&status(Phase::Deleting, "Deleting"), Some(CREATED + 10)));
    drop(older);
    is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 90.0);
    drop(same);
    is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 50.0);
    object_gauges.enter(&mut old, ObjectRow::of(&status(Phase::Deleting, "Deleting"), Some(CREATED + 900)));
    is(&scrape(&object_gauges), "oldest_unfinished_age_seconds", 0.0);
}

#[test]
fn an_object_whose_instances_stay_open_is_stuck_while_it_goes_on() {
    for (phase, stuck) in [(Phase::Deleting, true), (Phase::Suspended, false)] {
        let mut said = status(phase, "Deleting");
        said.conditions =
            vec![condition("Ready", "False", "Deleting", "1 instances open for more than 3600 s")];
        assert_eq!(ObjectRow::of(&said, None).stuck, stuck, "{phase:?}");
    }
}
