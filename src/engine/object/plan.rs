//! What a deletion would do, for objects with `dryRun: true`.

use super::{job::Job, memory::Memory};
use crate::{
    api::PlanStatus,
    engine::{id::InstanceId, object::ledger::count, state::Seen, time::Mono},
};

/// Ids that the plan names, at most.
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

/// Makes the plan from looks that were sent after `since`, the moment at which this process first saw the spec as it is.
#[must_use]
pub fn plan(job: &Job, memory: &Memory, since: Mono) -> Planning {
    let mut look = Vec::new();
    let mut asked = false;
    let mut plan = PlanStatus {
        total: count(job.ids.len()),
        to_delete: 0,
        on_their_way: 0,
        gone: 0,
        unknown: 0,
        ids: vec![],
    };
    for (position, id) in job.ids.iter().enumerate() {
        let sighting = memory.sighting(position);
        match &sighting.last {
            _ if sighting.asked.is_some() => asked = true,
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
