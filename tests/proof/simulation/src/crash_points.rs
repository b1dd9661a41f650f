//! A process that dies right after each of its effects in turn.
//!
//! An effect is a message: a write, a delete call, a read, an event. Between two effects nothing outside the process changes,
//! so these are all the points at which it can die.

use std::time::Duration;

use clouddc_simulator::EndTime;
use instance_deletion_controller::controller::Key;
use serde_json::{Map, json};

use crate::{
    faults::{Channel, Faults, Kind},
    judge::Violation,
    plan::{Act, Course, NAMESPACES, ObjectPlan, Plan, UserAct, id_of},
    run::{Outcome, run},
};

/// A scenario without random faults.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The objects and instances, and what users do.
    pub plan: Plan,
    /// Which messages have a fault.
    pub script: Vec<(Channel, u64, Kind)>,
    /// Another end that is right if the process dies at certain moments.
    pub or: Option<&'static str>,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn scenario(name: &'static str, n: usize, change: impl FnOnce(&mut Plan)) -> Scenario {
    let mut plan = Plan::plain(1, n);
    // Longer waits would make longer runs without further points.
    plan.settings.poll_min = seconds(20);
    plan.cloud.end = EndTime::Fixed(seconds(45));
    change(&mut plan);
    Scenario { name, plan, script: Vec::new(), or: None }
}

impl Scenario {
    fn with(mut self, number: u64, kind: Kind) -> Self {
        self.script.push((Channel::Delete, number, kind));
        self
    }

    /// Runs the scenario. The process dies after this effect.
    #[must_use]
    pub fn run(&self, crash_after: Option<u64>, keep_trace: bool) -> Outcome {
        run(self.plan.clone(), Faults::scripted(&self.script), crash_after, keep_trace)
    }
}

fn second_object(plan: &Plan, ids: Vec<String>) -> ObjectPlan {
    let key = Key { namespace: NAMESPACES[0].to_owned(), name: "second".to_owned() };
    ObjectPlan { key, ids, created: plan.objects.first().map_or(seconds(1), |o| o.created), ..blank() }
}

fn blank() -> ObjectPlan {
    let key = Key { namespace: String::new(), name: String::new() };
    ObjectPlan { key, ids: Vec::new(), created: seconds(1), dry_run: false, further: Map::new() }
}

fn of_first(act: UserAct, at: u64) -> (Duration, Act) {
    (seconds(at), Act::User(0, act))
}

fn limited(name: &'static str, field: &'static str, value: serde_json::Value) -> Scenario {
    scenario(name, 3, |plan| {
        if let Some(object) = plan.objects.first_mut() {
            object.further.insert(field.to_owned(), value);
        }
    })
}

/// All scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("three batches, one after the other", 130, |plan| plan.settings.parallel_calls = 1),
        scenario("a wave of four", 151, |plan| plan.rates = (100.0, 100.0)),
        scenario("a partial reply", 6, |_| {}).with(1, Kind::DeletePartial),
        scenario("a partial reply with effect on all", 6, |_| {}).with(1, Kind::DeletePartialListed),
        scenario("a lost reply", 3, |_| {}).with(1, Kind::DeleteReplyLost),
        scenario("a refusal that names nobody", 4, |_| {}).with(1, Kind::Delete400),
        scenario("a refusal that calls ids unknown", 4, |_| {}).with(1, Kind::Delete404Named),
        scenario("an instance that falls to error", 2, |plan| {
            plan.courses = vec![(id_of(1, 0), Course::FallsToError(2))];
        }),
        scenario("suspended and resumed", 3, |plan| {
            plan.acts = vec![of_first(UserAct::Suspend, 2), of_first(UserAct::Resume, 60)];
            plan.chaos = seconds(70);
        }),
        scenario("deleted and created again", 3, |plan| {
            plan.acts = vec![of_first(UserAct::Recreate, 3)];
        }),
        scenario("two objects with the same ids", 3, |plan| {
            plan.objects.push(second_object(plan, (1..4).map(|n| id_of(1, n)).collect()));
        }),
        scenario("first a plan, then the deletion", 3, |plan| {
            if let Some(object) = plan.objects.first_mut() {
                object.dry_run = true;
            }
            plan.acts = vec![of_first(UserAct::Go, 30)];
            plan.chaos = seconds(40);
        }),
        scenario("ids that the cloud does not know", 3, |plan| {
            plan.courses = (0..2).map(|n| (id_of(1, n), Course::NotFound)).collect();
        }),
        Scenario {
            // If the process dies between intent and call, it is not known whether the call was made, and notAfter does not wait
            // for that.
            or: Some("Expired"),
            ..limited("notAfter", "notAfter", json!("2026-01-01T00:00:20Z"))
        },
        limited("a deadline", "activeDeadlineSeconds", json!(30)),
        limited("a TTL", "ttlSecondsAfterFinished", json!(60)),
    ]
}

/// The results of all crash points of a scenario.
#[derive(Debug)]
pub struct Points {
    /// Effects after which the process died.
    pub points: u64,
    /// Points at which a property did not hold, or the end was another one.
    pub failed: Vec<(u64, Vec<Violation>)>,
}

/// Kills the process after each effect that a run without a death has, and requires the same end and all properties.
#[must_use]
pub fn all_points(scenario: &Scenario) -> Points {
    let calm = scenario.run(None, false);
    let mut failed = Vec::new();
    if !calm.violations.is_empty() {
        failed.push((0, calm.violations.clone()));
    }
    for point in 1..=calm.effects {
        let outcome = scenario.run(Some(point), false);
        let mut violations = outcome.violations;
        let right = outcome.ends.iter().all(|(_, end)| scenario.or == Some(end.as_str()));
        if outcome.ends != calm.ends && !right {
            let what = format!("it ended as {:?}, and without a death as {:?}", outcome.ends, calm.ends);
            violations.push(Violation { property: "L3", what });
        }
        if !violations.is_empty() {
            failed.push((point, violations));
        }
    }
    Points { points: calm.effects, failed }
}
