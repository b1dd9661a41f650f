use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    api::Expect,
    engine::{
        instance_facts::InstanceFacts,
        object::{
            state::{expectation::Expectation, ledger::Progress},
            tests::case::{Case, MICRO, at, case_of, just_before, then},
        },
        state::{Live, StateText},
    },
};

fn case(n: u128) -> Case {
    let mut case = case_of(n);
    let expect = Expect { name: Some("a*".into()), ..Expect::default() };
    case.spec.expectation = Some(Expectation::from(&expect));
    let spec = case.spec.clone();
    case.memory.judge_by(None, &spec, just_before(then()));
    case
}

fn read(case: &mut Case, position: usize, seen: Seen, name: Option<&str>, sent: Mono) {
    let facts =
        name.map(|name| Arc::new(InstanceFacts { name: Some(name.into()), ..InstanceFacts::default() }));
    case.memory.saw_facts(case.spec.ids[position], seen, sent.into(), facts.as_ref());
}

fn judged(case: &Case, now: Mono) -> WholeList {
    case.clone().judge(at(now), |ledger, facts| whole_list(ledger, facts))
}

fn running() -> Seen {
    Seen::Live(Live::Running)
}

#[test]
fn e1_nothing_passes_before_every_id_was_read_and_every_live_one_matches() {
    let mut case = case(3);
    let ids = case.spec.ids.clone();
    assert_eq!(judged(&case, then()), WholeList::Waits(ids.clone()));
    read(&mut case, 0, running(), Some("ab"), then());
    read(&mut case, 1, Seen::ShuttingDown, None, then());
    assert_eq!(judged(&case, then()), WholeList::Waits(vec![ids[2]]));
    case.memory.asked(&ids[2..], then());
    assert_eq!(judged(&case, then()), WholeList::Waits(vec![]), "its look is under way");
    case.memory.observations.answered(&ids[2..]);
    read(&mut case, 2, Seen::NotFound, None, then());
    assert_eq!(judged(&case, then()), WholeList::Passes);
    assert_eq!(judged(&case, then() + Duration::from_hours(1)), WholeList::Passes, "each call looks again");
    let mut without = case.clone();
    without.spec.expectation = None;
    assert_eq!(judged(&without, then()), WholeList::Passes);
    case.memory.gate = then();
    assert_eq!(judged(&case, then()), WholeList::Waits(ids), "it was closed to calls since");
}

#[test]
fn e2_whatever_is_neither_on_its_way_nor_gone_must_match() {
    let other = || Seen::Other(StateText::new("odd"));
    let table = [
        (running(), Some("xy"), true),
        (Seen::Live(Live::Error), Some("xy"), true),
        (other(), Some("xy"), true),
        (Seen::Unreadable, Some("xy"), true),
        (running(), Some("ab"), false),
        (Seen::ShuttingDown, Some("xy"), false),
        (Seen::Terminated, Some("xy"), false),
        (Seen::NotFound, None, false),
    ];
    for (seen, name, differs) in table {
        let mut case = case(2);
        read(&mut case, 0, running(), Some("ab"), then());
        read(&mut case, 1, seen.clone(), name, then());
        let expected = if differs {
            WholeList::Differs(vec![(1, "its name is xy, expected a*".into())])
        } else {
            WholeList::Passes
        };
        assert_eq!(judged(&case, then()), expected, "{seen} {name:?}");
    }
}

#[test]
fn e2_what_differs_is_told_once_no_look_is_under_way() {
    let mut case = case(3);
    read(&mut case, 0, running(), Some("xy"), then());
    case.memory.asked(&case.spec.ids[1..2], then());
    assert_eq!(judged(&case, then()), WholeList::Waits(vec![case.spec.ids[2]]));
    case.memory.observations.answered(&case.spec.ids[1..2]);
    assert!(matches!(judged(&case, then()), WholeList::Differs(rows) if rows.len() == 1));
}

#[test]
fn e4_once_a_row_names_a_batch_each_call_is_judged_by_itself() {
    let mut case = case(2);
    read(&mut case, 0, running(), Some("xy"), then());
    read(&mut case, 1, running(), Some("xy"), then());
    for (progress, passes) in [
        (Progress::Pending, false),
        (Progress::Accepted { batch: None, resent: false }, false),
        (Progress::Submitted { batch: 1 }, true),
        (
            Progress::Failed { batch: Some(1), reason: crate::api::FailureReason::Conflict, ended_at: None },
            true,
        ),
    ] {
        case.ledger.rows[0].progress = progress.clone();
        assert_eq!(judged(&case, then()) == WholeList::Passes, passes, "{progress:?}");
    }
}

#[test]
fn f2_unknown_facts_are_read_again_when_the_read_is_old() {
    let mut case = case(1);
    read(&mut case, 0, running(), None, then());
    let old = then() + LOOK_LIFE_AT_DECISION;
    assert_eq!(judged(&case, just_before(old)), WholeList::Waits(vec![]));
    assert_eq!(judged(&case, old), WholeList::Waits(case.spec.ids.clone()));
    read(&mut case, 0, running(), Some("ab"), old + MICRO);
    assert_eq!(judged(&case, old), WholeList::Passes);
}

#[test]
fn f2_facts_of_an_earlier_read_are_no_facts_of_a_later_one() {
    let mut case = case(1);
    read(&mut case, 0, running(), Some("ab"), then());
    assert_eq!(judged(&case, then()), WholeList::Passes);
    read(&mut case, 0, running(), None, then() + MICRO);
    assert_eq!(judged(&case, then() + MICRO), WholeList::Waits(vec![]));
}
