//! The properties bite: each mistake in how decisions are carried out is found, and by the property that forbids it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use model::{
    Model,
    configuration::{Budget, Configuration, Mistake, PowerOffFirst},
    explore::Search,
};

/// Explores a configuration with a mistake. Returns the property that finds it.
fn found(mistake: impl Into<Option<Mistake>>, configuration: &Configuration) -> &'static str {
    let (name, mistake) = ("mistake", mistake.into());
    let configuration = Configuration { name, liveness: false, mistake, ..configuration.clone() };
    let model = Model::new(configuration).unwrap();
    let report = Search::new(&model).run(500_000, |_, _| {});
    let (violation, trace) =
        report.found.unwrap_or_else(|| panic!("{mistake:?} is not found: {:?}", report.states));
    println!(
        "figure: model: {mistake:?}: found by {} after {} states, in {} steps",
        violation.property,
        report.states,
        trace.len()
    );
    violation.property
}

fn one(budget: Budget) -> Configuration {
    Configuration { budget, ..Configuration::default() }
}

#[test]
fn a_call_without_an_acknowledged_intent() {
    let budget = Budget { lost_writes: 1, ..Budget::default() };
    assert_eq!(found(Mistake::NoAcknowledgement, &one(budget)), "S3");
}

#[test]
fn a_claim_that_nobody_compares() {
    let two = Configuration { processes: 2, ..Configuration::default() };
    assert_eq!(found(Mistake::ClaimIgnored, &two), "S3");
}

#[test]
fn a_call_that_leaves_late() {
    let budget = Budget { stops: 1, ..Budget::default() };
    assert_eq!(found(Mistake::LeavesLate, &one(budget)), "S13");
}

#[test]
fn a_read_dated_by_its_answer() {
    let budget = Budget { edits: 2, ..Budget::default() };
    assert_eq!(found(Mistake::LookDatedByAnswer, &one(budget)), "look first");
}

#[test]
fn marks_that_miss_the_end_of_a_call() {
    let budget = Budget { recreations: 1, ..Budget::default() };
    found(Mistake::MarksForget, &one(budget));
}

#[test]
fn a_lost_reply_taken_for_a_refused_connection() {
    let budget = Budget { lost_calls: 1, ..Budget::default() };
    let fine = Configuration { tick: 5, settle: 10, ..one(budget) };
    assert_eq!(found(Mistake::LostIsRefused, &fine), "look first");
}

#[test]
fn an_outcome_recorded_before_its_write_is_acknowledged() {
    let budget = Budget { lost_writes: 1, edits: 1, ..Budget::default() };
    assert_eq!(found(Mistake::RecordedWhenSent, &one(budget)), "S5");
}

#[test]
fn an_object_taken_for_an_earlier_one_of_its_name() {
    let budget = Budget { recreations: 1, ..Budget::default() };
    found(Mistake::UidIgnored, &one(budget));
}

/// Not a mistake: what the controller allows, and the statement of S13 read by the letter does not.
#[test]
fn a_request_may_leave_within_its_five_seconds_although_suspend_was_read_meanwhile() {
    let strict = Configuration { strict_gates: true, ..one(Budget { edits: 1, ..Budget::default() }) };
    assert_eq!(found(None, &strict), "S13, strictly");
}

#[test]
fn guards_that_are_read_once() {
    let budget = Budget { guard_edits: 1, slow: 1, ..Budget::default() };
    assert_eq!(found(Mistake::GuardsCached, &one(budget)), "G7");
}

#[test]
fn guards_that_were_read_too_long_ago() {
    let budget = Budget { guard_edits: 1, stops: 1, pauses: 2, ..Budget::default() };
    let fine = Configuration { fine: true, tick: 5, ..one(budget) };
    assert_eq!(found(Mistake::OldGuards, &fine), "G7");
}

#[test]
fn a_server_that_was_read_too_long_ago() {
    let moved = Configuration {
        power_off: Some(PowerOffFirst::Always { soak: 0 }),
        ..one(Budget { moves: 1, ..Budget::default() })
    };
    assert_eq!(found(Mistake::FirstServer, &moved), "P1");
}

#[test]
fn an_instance_that_counts_as_off_since_the_call() {
    let soak =
        Configuration { power_off: Some(PowerOffFirst::Always { soak: 1 }), ..Configuration::default() };
    assert_eq!(found(Mistake::OffSinceCall, &soak), "P4");
}
