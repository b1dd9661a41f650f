//! The stage that a status reports: where an object stands, what it waits for, and which ids are
//! stuck.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::InstanceDeletionStatus,
    engine::{
        object::{
            report::{
                status::{Hindrance, Stage},
                stuck::Stuck,
            },
            rules::facts::{Facts, RowFacts},
            state::{
                blocker::Blocker,
                deadlines::Passed,
                ledger::{Ledger, Progress},
            },
        },
        outcome::CloudMessage,
        settings::{PATIENCE, Settings},
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
    let open = |p: &Progress| matches!(p, Progress::Pending | Progress::Submitted { .. });
    let undecided = || ledger.rows.iter().filter(|row| open(&row.progress));
    if let Some(Passed { cutoff, said, .. }) = passed {
        let blocker = facts.memory.look_trouble.clone();
        return Stage::Closing { cutoff, waiting: undecided().count(), doubted: said.is_none(), blocker };
    }
    if facts.spec.suspend {
        return suspended(outcomes, facts);
    }
    let calling = || facts.memory.call_trouble.as_ref().filter(|_| undecided().next().is_some());
    let trouble = facts.memory.look_trouble.as_ref().or_else(calling);
    Stage::Deleting(trouble.cloned().map(Hindrance::Trouble).or_else(|| state_unknown(ledger, facts)))
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

/// Ids that are open for longer than `--stuck-after`. They all wait since the object's start; a
/// suspended object waits for its user.
pub(super) fn stuck(ledger: &Ledger, started: Option<&Time>, facts: &Facts<'_>) -> Option<Stuck> {
    let Facts { spec, memory, now, settings, .. } = *facts;
    let after = settings.stuck_after;
    let open_for = Duration::try_from(now.wall.duration_since(started?.0)).unwrap_or_default();
    let resumed_lately = memory.suspended_at.is_some_and(|at| now.mono - at < after);
    if spec.suspend || spec.dry_run || spec.meta.leaving || open_for < after || resumed_lately {
        return None;
    }
    let open: Vec<_> = facts.open_rows(ledger).collect();
    let accepted = |row: &&RowFacts<'_>| matches!(row.row.progress, Progress::Accepted { .. });
    let first = open.iter().find(accepted).or_else(|| open.first())?;
    let seen = first.observation.last.as_ref();
    let seen = seen.map_or_else(|| "not read yet".to_owned(), |(seen, _)| seen.to_string());
    let example = format!("{} ({seen})", first.row.id);
    Some(Stuck { count: open.len(), accepted: open.iter().filter(accepted).count(), example, after })
}

/// `nextActionTime`, for waits longer than `--poll-max`. It stays until the wait is over, so that
/// it is written once.
pub(super) fn long_wait(
    stage: &Stage,
    before: &InstanceDeletionStatus,
    now: &Now,
    settings: &Settings,
) -> Option<Time> {
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
        Stage::Deleting(None | Some(Hindrance::StateUnknown { .. } | Hindrance::StatusTooLarge { .. }))
        | Stage::Planned(_)
        | Stage::Ended(_) => None,
    }
}

#[cfg(test)]
mod tests;
