//! The *plan* rule: what a deletion would do, for objects with `dryRun: true`.

use super::facts::Facts;
use crate::{
    api::PlanStatus,
    engine::{
        id::InstanceId,
        object::state::{ledger::count, unreadable::Unreadable},
        state::Seen,
        time::Mono,
    },
};

/// Most ids that a plan names: enough for a person to recognize them, and a small status.
const IDS: usize = 20;

/// How far the plan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planning {
    /// These ids were not looked at since the object had this spec.
    Look(Vec<InstanceId>),
    /// Looks are under way.
    Asked,
    /// Looks did not read some ids. They are looked at again at this moment.
    Wait(Mono),
    /// Every id was looked at.
    Done(PlanStatus),
}

/// Makes the plan from looks that were sent after `since`, the moment at which this process first
/// saw the present spec. Of an id that looks have not read for `--settle`, although they read others,
/// the plan says that nothing is known.
#[must_use]
pub fn plan(facts: &Facts<'_>, since: Mono) -> Planning {
    let Facts { spec, memory, now, settings, .. } = *facts;
    let mut look = Vec::new();
    let mut asked = false;
    let mut wait: Option<Mono> = None;
    let given_up = |unreadable: &Unreadable| now.mono - unreadable.since >= settings.settle;
    let mut plan = PlanStatus {
        total: count(spec.ids.len()),
        to_delete: 0,
        on_their_way: 0,
        gone: 0,
        unknown: 0,
        ids: vec![],
    };
    for (position, id) in spec.ids.iter().enumerate() {
        let observation = memory.observation(position);
        match &observation.last {
            _ if observation.asked.is_some() => asked = true,
            Some((seen, sent)) if *sent > since => match seen {
                Seen::Live(_) => {
                    plan.to_delete += 1;
                    if plan.ids.len() < IDS {
                        plan.ids.push(id.to_string());
                    }
                }
                Seen::ShuttingDown => plan.on_their_way += 1,
                Seen::Terminated | Seen::NotFound => plan.gone += 1,
                Seen::Other(_) | Seen::Unreadable => plan.unknown += 1,
            },
            _ => match memory.waits_alone(*id) {
                Some(unreadable) if given_up(unreadable) => plan.unknown += 1,
                Some(unreadable) if unreadable.retry_at > now.mono => {
                    wait = Some(wait.map_or(unreadable.retry_at, |at| at.min(unreadable.retry_at)));
                }
                Some(_) | None => look.push(*id),
            },
        }
    }
    match (look.is_empty(), asked, wait) {
        (false, ..) => Planning::Look(look),
        (true, true, _) => Planning::Asked,
        (true, false, Some(at)) => Planning::Wait(at),
        (true, false, None) => Planning::Done(plan),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        object::{
            state::spec::tests::spec_of,
            tests::case::{Case, MICRO, at, case_of, then},
        },
        state::{Live, StateText},
    };

    fn seen(states: &[Seen], sent: Mono) -> Case {
        let mut case = case_of(states.len() as u128);
        for (id, seen) in case.spec.ids.iter().zip(states) {
            case.memory.saw(*id, seen.clone(), sent);
        }
        case
    }

    fn planned(mut case: Case, since: Mono) -> Planning {
        case.judge(at(then()), |_, facts| plan(facts, since))
    }

    #[test]
    fn each_state_is_counted_as_what_would_be_done_about_it() {
        let live = |live| Seen::Live(live);
        let states = [
            live(Live::Running),
            Seen::ShuttingDown,
            Seen::Terminated,
            live(Live::Error),
            Seen::NotFound,
            Seen::Other(StateText::new("odd")),
            Seen::Unreadable,
            live(Live::Stopped),
            live(Live::Pending),
            Seen::ShuttingDown,
            Seen::ShuttingDown,
        ];
        let case = seen(&states, then() + MICRO);
        let expected = PlanStatus {
            total: 11,
            to_delete: 4,
            on_their_way: 3,
            gone: 2,
            unknown: 2,
            ids: [0, 3, 7, 8].map(|n: usize| case.spec.ids[n].to_string()).to_vec(),
        };
        assert_eq!(planned(case, then()), Planning::Done(expected));
    }

    #[test]
    fn the_first_twenty_are_named() {
        let case = seen(&vec![Seen::Live(Live::Running); 21], then() + MICRO);
        let id = case.spec.ids[19].to_string();
        let Planning::Done(plan) = planned(case, then()) else { panic!("it is not done") };
        assert_eq!((plan.to_delete, plan.ids.len(), plan.ids[19].clone()), (21, 20, id));
    }

    #[test]
    fn only_looks_that_were_sent_after_the_spec_was_seen_count() {
        let look = |sent: Mono| {
            let case = Case::pending().seen(Live::Running, sent);
            planned(case, then())
        };
        assert_eq!(look(then()), Planning::Look(spec_of(1).ids));
        assert!(matches!(look(then() + MICRO), Planning::Done(_)));
        let asked = |sent: Mono| {
            let mut case = seen(&[Seen::Terminated, Seen::Terminated], sent);
            case.memory.asked(&case.spec.ids[..1], then());
            planned(case, then())
        };
        assert_eq!(asked(then() + MICRO), Planning::Asked, "one look is under way");
        assert_eq!(asked(then()), Planning::Look(vec![spec_of(2).ids[1]]));
    }
}
