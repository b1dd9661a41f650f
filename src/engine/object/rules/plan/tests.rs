use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    api::Expect,
    engine::{
        instance_facts::InstanceFacts,
        object::{
            state::{expectation::Expectation, spec::tests::spec_of},
            tests::case::{Case, MICRO, at, case_of, just_before, then},
        },
        settings::Settings,
        state::Live,
        time::ReadTime,
    },
};

fn seen(states: &[Seen], sent: Mono) -> Case {
    let mut case = case_of(states.len() as u128);
    for (id, seen) in case.spec.ids.iter().zip(states) {
        case.memory.saw(*id, seen.clone(), sent);
    }
    case
}

fn planned_at(case: &Case, since: Mono, now: Mono) -> Planning {
    case.clone().judge(at(now), |ledger, facts| plan(ledger, facts, since))
}

fn planned(case: &Case, since: Mono) -> Planning {
    planned_at(case, since, then())
}

fn done(planning: Planning) -> PlanStatus {
    let Planning::Done(plan) = planning else { panic!("{planning:?}") };
    plan
}

fn live(live: Live) -> Seen {
    Seen::Live(live)
}

#[test]
fn each_state_is_counted_as_what_would_be_done_about_it() {
    let states = [
        live(Live::Running),
        Seen::ShuttingDown,
        Seen::Terminated,
        live(Live::Error),
        Seen::Other(StateText::new("odd")),
        Seen::Unreadable,
        live(Live::Stopped),
        live(Live::Pending),
        Seen::ShuttingDown,
        Seen::ShuttingDown,
    ];
    let plan = done(planned(&seen(&states, then() + MICRO), then()));
    let counts = [plan.total, plan.to_delete, plan.on_their_way, plan.terminated, plan.unreadable];
    assert_eq!(counts, [10, 4, 3, 1, 2]);
    assert_eq!((plan.not_found, plan.not_as_expected, plan.protected), (0, 0, 0));
    let expected = "Would delete 4 of 10 instances (3 on their way, 1 terminated, 0 not found, 2 unreadable)";
    assert_eq!(plan.message.as_deref(), Some(expected));
    let states: Vec<_> = plan.instances.iter().map(|row| row.state.as_deref().unwrap_or("-")).collect();
    let way = "shutting-down";
    assert_eq!(
        states,
        ["odd", "-", "running", "error", "stopped", "pending", way, way, way, "terminated"],
        "what needs attention comes first, then what would be deleted"
    );
}

#[test]
fn an_id_that_is_not_found_is_read_twice() {
    let settle = Settings::default().settle;
    let read = |sent: Mono| ReadTime { sent, answered: sent + MICRO };
    let first = then() + MICRO;
    let mut case = case_of(1);
    let id = case.id();
    case.memory.saw(id, Seen::NotFound, read(first));
    let second = first + MICRO + settle;
    assert_eq!(planned_at(&case, then(), just_before(second)), Planning::Wait(second));
    assert_eq!(planned_at(&case, then(), second), Planning::Look(vec![id]));
    case.memory.saw(id, Seen::NotFound, read(second));
    let plan = done(planned_at(&case, then(), second));
    assert_eq!((plan.not_found, plan.instances[0].verdict), (1, Some(PlanVerdict::NotFound)));
}

#[test]
fn e5_a_plan_counts_and_names_what_is_not_as_expected_and_is_made_all_the_same() {
    let mut case = case_of(3);
    let expect = Expect { name: Some("rack-12-*".into()), ..Expect::default() };
    case.spec.expectation = Some(Expectation::from(&expect));
    let spec = case.spec.clone();
    case.memory.judge_by(None, &spec, then());
    for (id, name) in case.spec.ids.iter().zip(["rack-12-1", "db-7", ""]) {
        let facts = InstanceFacts {
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            server_id: crate::engine::id::ServerId::parse("server").ok(),
            ..InstanceFacts::default()
        };
        case.memory.saw_facts(*id, live(Live::Running), (then() + MICRO).into(), Some(&Arc::new(facts)));
    }
    let plan = done(planned(&case, then()));
    assert_eq!((plan.to_delete, plan.not_as_expected, plan.unreadable), (1, 1, 1));
    let row = |n: usize| {
        let PlannedInstance { name, verdict, detail, .. } = plan.instances[n].clone();
        (name, verdict, detail)
    };
    let text = |text: &str| Some(text.to_owned());
    let differs = text("its name is db-7, expected rack-12-*");
    assert_eq!(row(0), (text("db-7"), Some(PlanVerdict::NotAsExpected), differs));
    assert_eq!(row(1), (None, Some(PlanVerdict::FactsUnknown), text("its name was not read")));
    assert_eq!(row(2), (text("rack-12-1"), None, None));
    let message = plan.message.unwrap();
    assert!(message.starts_with("Would delete nothing of 3 instances, since 1 are not as"), "{message}");
}

#[test]
fn a_plan_lists_a_thousand_instances_and_counts_all() {
    let plan = done(planned(&seen(&vec![live(Live::Running); 1_001], then() + MICRO), then()));
    assert_eq!((plan.to_delete, plan.instances.len()), (1_001, 1_000));
}

#[test]
fn only_looks_that_were_sent_after_the_spec_was_seen_count() {
    let look = |sent: Mono| planned(&Case::pending().seen(Live::Running, sent), then());
    assert_eq!(look(then()), Planning::Look(spec_of(1).ids));
    assert!(matches!(look(then() + MICRO), Planning::Done(_)));
    let asked = |sent: Mono| {
        let mut case = seen(&[Seen::Terminated, Seen::Terminated], sent);
        case.memory.asked(&case.spec.ids[..1], then());
        planned(&case, then())
    };
    assert_eq!(asked(then() + MICRO), Planning::Asked, "one look is under way");
    assert_eq!(asked(then()), Planning::Look(vec![spec_of(2).ids[1]]));
    let later = then() + Duration::from_mins(1);
    assert_eq!(asked(later), Planning::Asked);
}
