use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::*;
use crate::{
    api::{FailureStatus, InstanceStatus, Phase},
    metrics::testing::{sample, scraped},
};

fn scrape(metrics: &ControllerMetrics) -> String {
    scraped(|registry| metrics.register(registry))
}

fn is(metrics: &ControllerMetrics, name: &str, value: f64) {
    let scrape = scrape(metrics);
    assert!((sample(&scrape, name) - value).abs() < 1e-9, "{name} is not {value}: {scrape}");
}

fn at(seconds: u64) -> Mono {
    Mono::at(Duration::from_secs(seconds))
}

#[test]
fn every_row_is_there_from_the_start_and_no_other_comes() {
    let metrics = ControllerMetrics::default();
    let before = scrape(&metrics);
    assert!(before.lines().filter(|l| l.contains("_total")).all(|l| l.ends_with(" 0")), "{before}");
    for result in Reconciled::ALL {
        metrics.reconciled(result, Duration::ZERO);
    }
    for result in WaveResult::ALL {
        metrics.waved(result);
    }
    for turn in [
        PermitAnswer::Now(1),
        PermitAnswer::Soon { calls: 1, at: None },
        PermitAnswer::Later(at(1)),
        PermitAnswer::Closed(Duration::ZERO),
    ] {
        metrics.asked(&mut None, &turn, at(0));
    }
    for phase in crate::api::Phase::ALL {
        let mut status = finished(phase);
        if phase == Phase::Failed {
            (status.failures, status.instances) = given_up();
        }
        metrics.stored(&InstanceDeletionStatus::default(), &status);
        metrics.stored(&status, &status);
    }
    metrics.watch_restarted();
    metrics.watch_failed();
    let after = scrape(&metrics);
    assert_eq!(after.lines().count(), before.lines().count(), "{after}");
    assert!(after.lines().filter(|l| l.contains("_total")).all(|l| l.ends_with(" 1")), "{after}");
}

#[test]
fn a_wait_for_a_turn_is_counted_from_the_first_question_to_the_permit() {
    let (metrics, mut since) = (ControllerMetrics::default(), None);
    metrics.asked(&mut since, &PermitAnswer::Later(at(9)), at(10));
    metrics.asked(&mut since, &PermitAnswer::Soon { calls: 1, at: None }, at(12));
    is(&metrics, "cloud_delete_wait_seconds_count", 0.0);
    metrics.asked(&mut since, &PermitAnswer::Now(1), at(17));
    is(&metrics, "cloud_delete_wait_seconds_sum", 7.0);
    metrics.asked(&mut since, &PermitAnswer::Now(1), at(30));
    is(&metrics, "cloud_delete_wait_seconds_sum", 7.0);
    is(&metrics, "cloud_delete_wait_seconds_count", 2.0);
}

/// A failure of each reason, and one instance that is left off, one that is on, and one that is gone.
fn given_up() -> (Vec<FailureStatus>, Vec<InstanceStatus>) {
    let failure = |reason| FailureStatus { reason, code: None, message: None, count: 1 };
    let row = |phase, off_at: Option<i64>| {
        let off_at = off_at.map(|second| Timestamp::from_second(second).unwrap().to_string());
        let row = serde_json::json!({"id": "", "phase": phase, "poweredOffAt": off_at});
        serde_json::from_value(row).unwrap()
    };
    let rows = vec![row("Failed", Some(5)), row("Failed", None), row("Terminated", Some(5))];
    (FailureReason::ALL.map(failure).into(), rows)
}

fn finished(phase: Phase) -> InstanceDeletionStatus {
    let condition = Condition {
        type_: "Finished".into(),
        status: "True".into(),
        reason: String::new(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    InstanceDeletionStatus {
        phase: Some(phase),
        conditions: vec![condition],
        ..InstanceDeletionStatus::default()
    }
}

#[test]
fn an_end_is_counted_when_it_is_stored_and_once() {
    let metrics = ControllerMetrics::default();
    let (open, ended) = (InstanceDeletionStatus::default(), finished(Phase::Failed));
    metrics.stored(&open, &open);
    is(&metrics, r#"objects_finished_total{phase="Failed"}"#, 0.0);
    metrics.stored(&open, &ended);
    metrics.stored(&ended, &ended);
    is(&metrics, r#"objects_finished_total{phase="Failed"}"#, 1.0);
}
