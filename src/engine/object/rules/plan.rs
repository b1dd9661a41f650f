//! The *plan* rule: what a deletion would do, for objects with `dryRun: true`.

use crate::{
    api::PlanStatus,
    engine::{
        id::InstanceId,
        object::state::{ledger::count, memory::Memory, spec::DeletionSpec},
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
    /// Every id was looked at.
    Done(PlanStatus),
}

/// Makes the plan from looks that were sent after `since`, the moment at which this process first
/// saw the present spec.
#[must_use]
pub fn plan(spec: &DeletionSpec, memory: &Memory, since: Mono) -> Planning {
    let mut look = Vec::new();
    let mut asked = false;
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
            _ => look.push(*id),
        }
    }
    match (asked, look.is_empty()) {
        (_, false) => Planning::Look(look),
        (true, true) => Planning::Asked,
        (false, true) => Planning::Done(plan),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        object::{
            state::spec::tests::spec_of,
            tests::case::{Case, MICRO, then},
        },
        state::{Live, StateText},
    };

    fn seen(states: &[Seen], sent: Mono) -> (DeletionSpec, Memory) {
        let spec = spec_of(states.len() as u128);
        let mut memory = Memory::new(&spec, Mono::START);
        for (id, seen) in spec.ids.iter().zip(states) {
            memory.saw(*id, seen.clone(), sent);
        }
        (spec, memory)
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
        let (spec, memory) = seen(&states, then() + MICRO);
        let expected = PlanStatus {
            total: 11,
            to_delete: 4,
            on_their_way: 3,
            gone: 2,
            unknown: 2,
            ids: [0, 3, 7, 8].map(|n: usize| spec.ids[n].to_string()).to_vec(),
        };
        assert_eq!(plan(&spec, &memory, then()), Planning::Done(expected));
    }

    #[test]
    fn the_first_twenty_are_named() {
        let (spec, memory) = seen(&vec![Seen::Live(Live::Running); 21], then() + MICRO);
        let Planning::Done(plan) = plan(&spec, &memory, then()) else { panic!("it is not done") };
        assert_eq!(
            (plan.to_delete, plan.ids.len(), plan.ids[19].clone()),
            (21, 20, spec.ids[19].to_string())
        );
    }

    #[test]
    fn only_looks_that_were_sent_after_the_spec_was_seen_count() {
        let look = |sent: Mono| {
            let case = Case::pending().seen(Live::Running, sent);
            plan(&case.spec, &case.memory, then())
        };
        assert_eq!(look(then()), Planning::Look(spec_of(1).ids));
        assert!(matches!(look(then() + MICRO), Planning::Done(_)));
        let (spec, mut memory) = seen(&[Seen::Terminated, Seen::Terminated], then() + MICRO);
        memory.asked(&spec.ids[..1], then());
        assert_eq!(plan(&spec, &memory, then()), Planning::Asked, "one look is under way");
        let (spec, mut memory) = seen(&[Seen::Terminated, Seen::Terminated], then());
        memory.asked(&spec.ids[..1], then());
        assert_eq!(plan(&spec, &memory, then()), Planning::Look(vec![spec.ids[1]]));
    }
}
