//! The stage that a status reports: where an object stands, what it waits for, and which ids are
//! stuck.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    api::InstanceDeletionStatus,
    engine::{
        object::{
            report::{
                stage::{Hindrance, Stage},
                stuck::Stuck,
            },
            rules::{
                check::{Check, check},
                facts::{Facts, RowFacts},
                power_off::{lacks_server, soaks_until},
            },
            state::{
                blocker::Blocker,
                deadlines::Passed,
                guards::Bar,
                ledger::{Ledger, Progress},
            },
        },
        outcome::{CloudMessage, Trouble},
        settings::{PATIENCE, Settings},
        state::Seen,
        time::Now,
    },
};

/// The stage of an object that is suspended, or about to be deleted. A trouble with looks matters
/// only where something is looked at: ids that a call may have named, and none of an object that is
/// about to be deleted.
pub(super) fn suspended(outcomes: &Ledger, facts: &Facts<'_>) -> Stage {
    if facts.spec.meta.leaving {
        return Stage::Suspended(None);
    }
    let named = |p: &Progress| matches!(p, Progress::Submitted { .. } | Progress::Accepted { .. });
    let looking = outcomes.rows.iter().any(|row| named(&row.progress));
    Stage::Suspended(facts.memory.look_trouble.clone().filter(|_| looking))
}

/// The stage of an object with ids that have not ended. `outcomes` is its record without what looks
/// showed, `passed` the deadline that has passed.
pub(super) fn working(
    outcomes: &Ledger,
    ledger: &Ledger,
    facts: &Facts<'_>,
    passed: Option<Passed>,
) -> Stage {
    let undecided = || ledger.rows.iter().filter(|row| row.undecided());
    if let Some(Passed { cutoff, said, .. }) = passed {
        let blocker = facts.memory.look_trouble.clone();
        return Stage::Closing { cutoff, waiting: undecided().count(), doubted: said.is_none(), blocker };
    }
    if facts.spec.suspend {
        return suspended(outcomes, facts);
    }
    // What was read of them before says nothing while they can't be read.
    let unreadable =
        facts.memory.call_trouble.as_ref().is_some_and(|b| b.trouble == Trouble::GuardUnreadable);
    match facts.bar.filter(|_| !unreadable && undecided().next().is_some()) {
        Some(Bar::Held { guard, reason }) => {
            return Stage::Held { guard: guard.clone(), reason: reason.clone() };
        }
        Some(Bar::Refused { guard, why }) => {
            let (guard, why) = (guard.clone(), why.clone());
            return Stage::Deleting(Some(Hindrance::GuardRefused { guard, why }));
        }
        None => {}
    }
    let calling = || facts.memory.call_trouble.as_ref().filter(|_| undecided().next().is_some());
    let trouble = facts.memory.look_trouble.as_ref().or_else(calling);
    let hindrance = trouble.cloned().map(Hindrance::Trouble);
    let hindrance = hindrance.or_else(|| facts_unknown(ledger, facts));
    let hindrance = hindrance.or_else(|| state_unknown(ledger, facts));
    match soaking(ledger, facts).filter(|_| hindrance.is_none()) {
        Some(first) => Stage::Soaking(first),
        None => Stage::Deleting(hindrance),
    }
}

/// When the first id has been off for long enough, by the wall clock, if every open id waits for that.
fn soaking(ledger: &Ledger, facts: &Facts<'_>) -> Option<Time> {
    let soak = facts.spec.soak()?;
    let open = facts.open_rows(ledger).take_while(|row| row.position < facts.spec.limit());
    let over = |row: RowFacts<'_>| {
        soaks_until(&row, facts)?;
        row.row.powered_off_at.as_ref()?.0.checked_add(soak).ok()
    };
    let all: Vec<Timestamp> = open.map(over).collect::<Option<_>>()?;
    all.into_iter().min().map(Time)
}

/// Ids that were read since the object allows calls, and not with the facts that a check asks for.
fn facts_unknown(ledger: &Ledger, facts: &Facts<'_>) -> Option<Hindrance> {
    let (mut count, mut first) = (0, None);
    for row in facts.open_rows(ledger).filter(|row| row.row.undecided()) {
        let Some((Seen::Live(live), read)) = &row.observation.last else { continue };
        let fact = match check(row.row.id, row.observation, facts) {
            Check::Unknown(fact) => Some(fact),
            Check::Passes if lacks_server(&row, *live, facts) => Some("server"),
            Check::Passes | Check::Fails(..) => None,
        };
        if let Some(fact) = fact.filter(|_| read.sent > facts.memory.gate) {
            count += 1;
            first = first.or(Some((row.row.id, fact)));
        }
    }
    first.map(|(id, fact)| Hindrance::FactsUnknown { count, named: format!("the {fact} of {id}") })
}

/// Most ids of unknown state that a message names: enough to ask the vendor about, and few enough for
/// a message.
const NAMED: usize = 5;
/// Most characters of the cloud's message about one of them.
const SAID: usize = 80;

/// Ids that for ten times `--settle` had no state that allows sending or ending, and ids that looks
/// have not read for `--settle`.
fn state_unknown(ledger: &Ledger, facts: &Facts<'_>) -> Option<Hindrance> {
    let (mut count, mut named) = (0, Vec::new());
    for row in facts.open_rows(ledger) {
        if let Some(why) = unknown_state(&row, facts) {
            count += 1;
            if named.len() < NAMED {
                named.push(format!("{} ({why})", row.row.id));
            }
        }
    }
    (count > 0).then(|| Hindrance::StateUnknown { count, named: named.join(", ") })
}

/// Why the state of an instance is unknown, if it has been so for long enough to tell a person.
fn unknown_state(row: &RowFacts<'_>, facts: &Facts<'_>) -> Option<String> {
    let Facts { memory, now, settings, .. } = *facts;
    if let Some(unreadable) = memory.waits_alone(row.row.id) {
        let CloudMessage { code, text, .. } = &*unreadable.message;
        let said = format!("{} {text}", code.as_deref().unwrap_or_default());
        let said: String = said.trim().chars().take(SAID).collect();
        return (now.mono - unreadable.since >= settings.settle).then(|| format!("its read fails: {said}"));
    }
    let since = row.observation.unusable_since()?;
    let seen = row.observation.last.as_ref().map_or_else(String::new, |(seen, _)| seen.to_string());
    (now.mono - since >= settings.settle * PATIENCE).then_some(seen)
}

/// Ids that are open for longer than `--stuck-after`. They all wait since the object's start, or since the end of their soak; an
/// object that is suspended or held waits for its user.
pub(super) fn stuck(ledger: &Ledger, started: Option<&Time>, facts: &Facts<'_>) -> Option<Stuck> {
    let Facts { spec, memory, now, settings, .. } = *facts;
    let after = settings.stuck_after;
    let open_for = |since: Timestamp| Duration::try_from(now.wall.duration_since(since)).unwrap_or_default();
    let started = started?.0;
    let resumed_lately = memory.suspended_at.is_some_and(|at| now.mono - at < after);
    let stopped = spec.suspend || spec.dry_run || spec.meta.leaving || facts.bar.is_some();
    if stopped || open_for(started) < after || resumed_lately {
        return None;
    }
    let soaked = |row: &RowFacts<'_>| {
        let off_since = row.row.powered_off_at.as_ref().map(|at| at.0);
        off_since.zip(spec.soak()).and_then(|(at, soak)| at.checked_add(soak).ok())
    };
    let long_open = |row: &RowFacts<'_>| soaked(row).is_none_or(|over| open_for(over) >= after);
    let open: Vec<_> = facts.open_rows(ledger).filter(long_open).collect();
    let accepted = |row: &&RowFacts<'_>| matches!(row.row.progress, Progress::Accepted { .. });
    let first = open.iter().find(accepted).or_else(|| open.first())?;
    let seen = first.observation.last.as_ref();
    let seen = seen.map_or_else(|| "not read yet".to_owned(), |(seen, _)| seen.to_string());
    let example = format!("{} ({seen})", first.row.id);
    Some(Stuck { count: open.len(), accepted: open.iter().filter(accepted).count(), example, after })
}

/// `nextActionTime`, for waits longer than `--poll-max`, and for the end of the first soak. It stays until the wait is over, so
/// that it is written once.
pub(super) fn long_wait(
    stage: &Stage,
    before: &InstanceDeletionStatus,
    now: &Now,
    settings: &Settings,
) -> Option<Time> {
    if let Stage::Soaking(first) = stage {
        return Some(first.clone());
    }
    let retry_time = &blocker_of(stage)?.retry_time;
    let said = before.next_action_time.as_ref() == Some(retry_time);
    let left = Duration::try_from(retry_time.0.duration_since(now.wall)).unwrap_or_default();
    (left > settings.poll_max || (said && !left.is_zero())).then(|| retry_time.clone())
}

fn blocker_of(stage: &Stage) -> Option<&Blocker> {
    match stage {
        Stage::Planning(blocker) | Stage::Suspended(blocker) | Stage::Closing { blocker, .. } => {
            blocker.as_ref()
        }
        Stage::Deleting(Some(Hindrance::Trouble(blocker))) => Some(blocker),
        Stage::Deleting(
            None
            | Some(
                Hindrance::StateUnknown { .. }
                | Hindrance::FactsUnknown { .. }
                | Hindrance::GuardRefused { .. }
                | Hindrance::StatusTooLarge { .. },
            ),
        )
        | Stage::Soaking(_)
        | Stage::Planned(_)
        | Stage::Held { .. }
        | Stage::LimitReached
        | Stage::NotAsExpected(_)
        | Stage::Ended(_) => None,
    }
}

#[cfg(test)]
mod tests;
