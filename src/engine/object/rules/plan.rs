//! The *plan* rule: what a deletion would do, for objects with `dryRun: true`.

use super::{
    check::{Check, check},
    facts::{Facts, RowFacts},
    record::confirmed_not_found,
};
use crate::{
    api::{FailureReason, PlanStatus, PlanVerdict, PlannedInstance},
    engine::{
        id::InstanceId,
        instance_facts::shown,
        object::state::{
            guards::Bar,
            ledger::{Ledger, count},
            observations::Observation,
            spec::PowerOff,
            unreadable::Unreadable,
        },
        state::{Live, Seen, StateText},
        time::Mono,
    },
};

/// Most instances that a plan lists.
const ROWS: usize = 1_000;
/// Most characters of what is said about one of them.
const DETAIL: usize = 128;

/// How far the plan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planning {
    /// These ids were not looked at since the object had this spec.
    Look(Vec<InstanceId>),
    /// Looks are under way.
    Asked,
    /// Looks did not read some ids, or have to confirm that they are not found. They are looked at again at this moment.
    Wait(Mono),
    /// Every id was looked at.
    Done(PlanStatus),
}

/// What is known of one id.
enum Known {
    /// It needs a look.
    Look,
    /// A look at it is under way.
    Asked,
    /// It is looked at again at this moment.
    At(Mono),
    /// What would be done about it: nothing special, or a verdict with what is said about it.
    Planned(Option<(PlanVerdict, Option<String>)>),
}

/// Makes the plan from looks that were sent after `since`, the moment at which this process first
/// saw the present spec, and from the guards. Of an id that looks have not read for `--settle`, although they read others,
/// the plan says that nothing is known.
#[must_use]
pub fn plan(ledger: &Ledger, facts: &Facts<'_>, since: Mono) -> Planning {
    let (mut look, mut asked, mut wait) = (Vec::new(), false, None::<Mono>);
    let mut rows = Vec::new();
    for position in 0..ledger.rows.len() {
        let Some(row) = facts.row(ledger, position) else { continue };
        match known(&row, facts, since) {
            Known::Look => look.push(row.row.id),
            Known::Asked => asked = true,
            Known::At(at) => wait = Some(wait.map_or(at, |wait| wait.min(at))),
            Known::Planned(verdict) => rows.push(planned(row.row.id, row.observation, verdict)),
        }
    }
    match (look.is_empty(), asked, wait) {
        (false, ..) => Planning::Look(look),
        (true, true, _) => Planning::Asked,
        (true, false, Some(at)) => Planning::Wait(at),
        (true, false, None) => Planning::Done(summed_up(rows, facts)),
    }
}

fn known(row: &RowFacts<'_>, facts: &Facts<'_>, since: Mono) -> Known {
    let Facts { memory, now, settings, .. } = *facts;
    let RowFacts { row: of_id, observation, .. } = *row;
    let given_up = |unreadable: &Unreadable| now.mono - unreadable.since >= settings.settle;
    let unreadable = || Known::Planned(Some((PlanVerdict::Unreadable, None)));
    let verdict = |verdict| Known::Planned(Some((verdict, None)));
    match &observation.last {
        _ if observation.asked.is_some() => Known::Asked,
        Some((seen, read)) if read.sent > since => match seen {
            Seen::Live(_) => Known::Planned(judged(of_id.id, observation, facts)),
            Seen::ShuttingDown => verdict(PlanVerdict::OnItsWay),
            Seen::Terminated => verdict(PlanVerdict::Terminated),
            Seen::NotFound if confirmed_not_found(row, settings) => verdict(PlanVerdict::NotFound),
            Seen::NotFound => match observation.not_found_since() {
                Some(first) if now.mono < first.answered + settings.settle => {
                    Known::At(first.answered + settings.settle)
                }
                Some(_) | None => Known::Look,
            },
            Seen::Other(_) | Seen::Unreadable => unreadable(),
        },
        _ => match memory.waits_alone(of_id.id) {
            Some(of_id) if given_up(of_id) => unreadable(),
            Some(of_id) if of_id.retry_at > now.mono => Known::At(of_id.retry_at),
            Some(_) | None => Known::Look,
        },
    }
}

fn judged(
    id: InstanceId,
    observation: &Observation,
    facts: &Facts<'_>,
) -> Option<(PlanVerdict, Option<String>)> {
    match check(id, observation, facts) {
        Check::Passes => None,
        Check::Unknown(fact) => Some((PlanVerdict::FactsUnknown, Some(format!("its {fact} was not read")))),
        Check::Fails(FailureReason::Protected, why) => Some((PlanVerdict::Protected, Some(why))),
        Check::Fails(_, why) => Some((PlanVerdict::NotAsExpected, Some(why))),
    }
}

fn planned(
    id: InstanceId,
    observation: &Observation,
    verdict: Option<(PlanVerdict, Option<String>)>,
) -> PlannedInstance {
    let facts = observation.facts.as_deref();
    let state = match &observation.last {
        Some((Seen::Unreadable | Seen::NotFound, _)) | None => None,
        Some((seen, _)) => Some(StateText::new(&seen.to_string()).as_str().to_owned()),
    };
    let (verdict, detail) = verdict.unzip();
    PlannedInstance {
        id: id.to_string(),
        name: facts.and_then(|facts| facts.name.as_deref()).map(shown),
        server_id: facts.and_then(|facts| facts.server_id.as_ref()).map(ToString::to_string),
        state,
        verdict,
        detail: detail.flatten().map(|detail| detail.chars().take(DETAIL).collect()),
    }
}

/// The plan with these rows: counted, and those that need attention first.
fn summed_up(mut rows: Vec<PlannedInstance>, facts: &Facts<'_>) -> PlanStatus {
    let of = |verdict| count(rows.iter().filter(|row| row.verdict == verdict).count());
    let mut plan = PlanStatus {
        total: count(rows.len()),
        to_delete: of(None),
        to_power_off: count(rows.iter().filter(|row| to_power_off(row, facts)).count()),
        on_their_way: of(Some(PlanVerdict::OnItsWay)),
        terminated: of(Some(PlanVerdict::Terminated)),
        not_found: of(Some(PlanVerdict::NotFound)),
        unreadable: of(Some(PlanVerdict::Unreadable)) + of(Some(PlanVerdict::FactsUnknown)),
        not_as_expected: of(Some(PlanVerdict::NotAsExpected)),
        protected: of(Some(PlanVerdict::Protected)),
        message: None,
        instances: Vec::new(),
    };
    // Sorting is stable: rows of one kind stay in the order of the spec.
    rows.sort_by_key(|row| attention(row.verdict));
    plan.message = Some(message(&plan, &rows, facts));
    rows.truncate(ROWS);
    plan.instances = rows;
    plan
}

/// Whether an instance of a plan would be powered off before it is deleted.
fn to_power_off(row: &PlannedInstance, facts: &Facts<'_>) -> bool {
    let running = Seen::Live(Live::Running).to_string();
    facts.spec.soak().is_some() && row.verdict.is_none() && row.state == Some(running)
}

/// The order of a plan's rows: what a reviewer has to look at comes first.
fn attention(verdict: Option<PlanVerdict>) -> u8 {
    match verdict {
        Some(PlanVerdict::NotAsExpected) => 0,
        Some(PlanVerdict::Protected) => 1,
        Some(PlanVerdict::FactsUnknown) => 2,
        Some(PlanVerdict::Unreadable) => 3,
        Some(PlanVerdict::NotFound) => 4,
        None => 5,
        Some(PlanVerdict::OnItsWay) => 6,
        Some(PlanVerdict::Terminated) => 7,
    }
}

/// What a plan says of powering off.
fn power_off(plan: &PlanStatus, facts: &Facts<'_>) -> String {
    let off_first = plan.to_power_off;
    match facts.spec.power_off {
        None => String::new(),
        Some(PowerOff::IfRefused) => {
            "; running ones are powered off first if the cloud refuses to delete them".to_owned()
        }
        Some(PowerOff::Always { soak }) if soak.is_zero() => {
            format!("; {off_first} of them run and would be powered off first")
        }
        Some(PowerOff::Always { soak }) => {
            let over = facts.now.time_at(facts.now.mono + soak).0;
            let soak = soak.as_secs();
            format!(
                "; {off_first} of them run and would be powered off first, and each is deleted after {soak} s off, not before {over}"
            )
        }
    }
}

fn message(plan: &PlanStatus, rows: &[PlannedInstance], facts: &Facts<'_>) -> String {
    let others = format!(
        "{} on their way, {} terminated, {} not found, {} unreadable",
        plan.on_their_way, plan.terminated, plan.not_found, plan.unreadable
    );
    let first = rows.first().map(|row| format!("{} ({})", row.id, row.detail.as_deref().unwrap_or_default()));
    let mut message = match (plan.not_as_expected, first) {
        (differ @ 1.., Some(first)) => format!(
            "Would delete nothing of {} instances, since {differ} are not as spec.expect says, such as {first}; {others}",
            plan.total
        ),
        _ => format!("Would delete {} of {} instances ({others})", plan.to_delete, plan.total),
    };
    message += &power_off(plan, facts);
    if plan.protected > 0 {
        message += &format!("; {} are protected and would not be sent", plan.protected);
    }
    let limit = facts.spec.limit();
    if limit < rows.len() {
        message += &format!("; the first {limit} of the list at first, by spec.rollout.limit");
    }
    match facts.bar {
        Some(Bar::Held { guard, reason }) => {
            message += &format!("; nothing is sent while DeletionGuard {guard} holds: {reason}");
        }
        Some(Bar::Refused { guard, why }) => {
            message += &format!("; DeletionGuard {guard} does not admit the object: {why}");
        }
        None => {}
    }
    message
}

#[cfg(test)]
mod tests;
