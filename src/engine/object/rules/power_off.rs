//! The *power off* rule: which instances are powered off before they are deleted, and for how long they stay off.
//!
//! With `when: Always` a running instance is powered off, stays off for the soak, and is deleted only if it still is off then.
//! Somebody who powers it on again vetoes its deletion. With `when: IfRefused` that is done, without a soak, where the cloud
//! refuses to delete what is running.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::facts::{Facts, RowFacts};
use crate::{
    api::{CallKind, FailureReason},
    engine::{
        object::state::{
            ledger::{Ledger, Progress, Row},
            memory::Memory,
            spec::{DeletionSpec, PowerOff},
        },
        settings::{CLOUD_BEHIND, PATIENCE},
        state::Live,
        time::{Mono, Now},
    },
};

/// What may be done next about an instance that a read showed alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This call.
    Call(CallKind),
    /// Nothing, as long as reads show this: it is neither off nor to be powered off.
    Wait,
    /// Nothing any more: someone powered it on again.
    Wanted,
}

impl Step {
    /// The kind of call whose course matters for it.
    #[must_use]
    pub fn kind(self) -> CallKind {
        match self {
            Self::Call(kind) => kind,
            Self::Wait | Self::Wanted => CallKind::Delete,
        }
    }
}

/// What may be done next about an instance that a read showed like this. Once a deadline has passed nothing is done any more:
/// the row ends as soon as a call of any kind would be allowed.
#[must_use]
pub fn step(row_facts: &RowFacts<'_>, live: Live, facts: &Facts<'_>) -> Step {
    if facts.memory.deadlines.passed().is_some() {
        return Step::Call(CallKind::Delete);
    }
    match facts.spec.power_off {
        None => Step::Call(CallKind::Delete),
        Some(PowerOff::IfRefused) => if_refused(row_facts, live, facts),
        Some(PowerOff::Always { .. }) => always(row_facts, live),
    }
}

fn if_refused(row_facts: &RowFacts<'_>, live: Live, facts: &Facts<'_>) -> Step {
    let row = row_facts.row;
    let refused = facts.memory.refusals.delete.ids.contains_key(&row.id) && powers_off(row, live, facts.spec);
    match (&row.progress, live) {
        (Progress::PoweringOff { .. } | Progress::PoweredOff { .. }, Live::Running) => {
            Step::Call(CallKind::PowerOff)
        }
        // The record says so first.
        (Progress::PoweringOff { .. }, Live::Stopped) => Step::Wait,
        _ if refused => Step::Call(CallKind::PowerOff),
        _ => Step::Call(CallKind::Delete),
    }
}

/// Whether an instance that a read showed like this is to be powered off, and the read did not name its server.
#[must_use]
pub fn lacks_server(row_facts: &RowFacts<'_>, live: Live, facts: &Facts<'_>) -> bool {
    let of_instance = row_facts.observation.facts.as_ref();
    step(row_facts, live, facts) == Step::Call(CallKind::PowerOff)
        && of_instance.and_then(|facts| facts.server_id.as_ref()).is_none()
}

/// Whether an instance that a look showed like this is powered off, and uses no attempt, if the cloud refuses its deletion for
/// its state.
#[must_use]
pub fn powers_off(row: &Row, live: Live, spec: &DeletionSpec) -> bool {
    spec.power_off == Some(PowerOff::IfRefused)
        && live == Live::Running
        && row.power_offs <= spec.backoff_limit
        && !matches!(row.progress, Progress::Accepted { .. })
}

fn always(row_facts: &RowFacts<'_>, live: Live) -> Step {
    let RowFacts { row, observation, .. } = *row_facts;
    let was_off = row.powered_off_at.is_some();
    if was_off && observation.off.as_ref().is_some_and(|off| off.powered_on) {
        return Step::Wanted;
    }
    match (&row.progress, live) {
        (_, Live::Running | Live::Pending) if was_off => Step::Wanted,
        // Nothing is deleted that is still running.
        (Progress::Accepted { .. }, Live::Running) => Step::Wait,
        (_, Live::Running) => Step::Call(CallKind::PowerOff),
        // The record says first since when it is off. An instance that was powered off and fell to an error may be on, and ends
        // in it.
        (Progress::Pending | Progress::PoweringOff { .. }, Live::Stopped)
        | (Progress::PoweringOff { .. }, Live::Pending)
        | (Progress::PoweredOff { .. }, Live::Error) => Step::Wait,
        (_, Live::Stopped) if !was_off => Step::Wait,
        (_, Live::Pending | Live::Stopped | Live::Error) => Step::Call(CallKind::Delete),
    }
}

/// Whether a look at the instance of this row may come to a call that powers it off.
#[must_use]
pub fn may_be_powered_off(row: &Row, facts: &Facts<'_>) -> bool {
    match facts.spec.power_off {
        None => false,
        Some(PowerOff::Always { .. }) => row.powered_off_at.is_none(),
        Some(PowerOff::IfRefused) => {
            matches!(row.progress, Progress::PoweringOff { .. })
                || facts.memory.refusals.delete.ids.contains_key(&row.id)
        }
    }
}

/// Until when an instance has to stay off before it may be deleted; none if it need not, or has been off for long enough.
#[must_use]
pub fn soaks_until(row_facts: &RowFacts<'_>, facts: &Facts<'_>) -> Option<Mono> {
    let RowFacts { row, observation, .. } = *row_facts;
    let soak = facts.spec.soak()?;
    if !waits_off(row) || facts.memory.deadlines.passed().is_some() {
        return None;
    }
    let known = observation.off.as_ref().map(|off| off.soaked_at);
    let until = known.unwrap_or_else(|| soaked_at(row, soak, facts.now, None));
    Some(until).filter(|until| *until > facts.now.mono)
}

/// The end of the soak of an instance. It counts as off for all that time only by a read that was sent after it.
#[must_use]
pub fn soaked_since(row_facts: &RowFacts<'_>, facts: &Facts<'_>) -> Option<Mono> {
    let asked_for = facts.spec.soak().is_some_and(|soak| !soak.is_zero());
    let waits = asked_for && waits_off(row_facts.row) && facts.memory.deadlines.passed().is_none();
    row_facts.observation.off.as_ref().filter(|_| waits).map(|off| off.soaked_at)
}

/// How an instance that was powered off ends by a read, sent at `sent`, that shows it like this; none if it goes on waiting.
#[must_use]
pub fn end_of_one_off(
    row_facts: &RowFacts<'_>,
    live: Live,
    sent: Mono,
    facts: &Facts<'_>,
) -> Option<FailureReason> {
    let RowFacts { row, observation, calls, .. } = *row_facts;
    let off = observation.off.as_ref()?;
    if !matches!(row.progress, Progress::PoweredOff { .. }) || calls.in_flight {
        return None;
    }
    if off.powered_on {
        return Some(FailureReason::PoweredOnAgain);
    }
    // Nobody can tell whether one in an error is still off. It may recover until it would be deleted.
    let would_be_deleted = sent >= off.soaked_at
        && sent > facts.memory.gate
        && facts.allow_calls()
        && facts.memory.deadlines.passed().is_none();
    (live == Live::Error && would_be_deleted).then_some(FailureReason::InstanceError)
}

/// Whether the row is one of an instance that is to stay off until it is gone.
fn waits_off(row: &Row) -> bool {
    row.powered_off_at.is_some() && !row.progress.ended()
}

/// When the instance of this row will have been off for `soak`, as far as the clocks say now. The cloud's time counts where it
/// is far behind.
fn soaked_at(row: &Row, soak: Duration, now: &Now, cloud_time: Option<Timestamp>) -> Mono {
    // A clock that was ahead when it was recorded makes nobody wait who asked for no wait.
    let off_since = row.powered_off_at.as_ref().filter(|_| !soak.is_zero());
    let Some(over) = off_since.and_then(|at| at.0.checked_add(soak).ok()) else {
        return now.mono + soak;
    };
    let by_cloud = cloud_time.and_then(|time| time.checked_add(CLOUD_BEHIND).ok());
    let wall = by_cloud.map_or(now.wall, |time| time.min(now.wall));
    now.mono + Duration::try_from(over.duration_since(wall)).unwrap_or_default()
}

/// Takes note of the instances that are off, so that later reads tell who powers one on again.
pub fn note(
    ledger: &Ledger,
    spec: &DeletionSpec,
    now: &Now,
    cloud_time: Option<Timestamp>,
    memory: &mut Memory,
) {
    let Some(soak) = spec.soak() else { return };
    for (position, row) in ledger.rows.iter().enumerate().filter(|(_, row)| waits_off(row)) {
        memory.is_off(position, soaked_at(row, soak, now, cloud_time), now.mono);
    }
}

/// Whether a call that powers the instance off is being made, or ended not long ago.
fn goes_off(row_facts: &RowFacts<'_>, facts: &Facts<'_>) -> bool {
    let lately = |at: Mono| at + facts.settings.settle * PATIENCE > facts.now.mono;
    let RowFacts { calls, .. } = row_facts;
    calls.in_flight || calls.power_offs().into_iter().flatten().any(|ended| lately(ended.at))
}

/// Whether the rest of a delete batch waits for instances that are to be off soon: fewer calls delete them all.
#[must_use]
pub fn others_come(ledger: &Ledger, facts: &Facts<'_>) -> bool {
    if facts.spec.soak().is_none() {
        return false;
    }
    let soon = facts.now.mono + facts.settings.settle * PATIENCE;
    let comes = |row: &RowFacts<'_>| match row.row.progress {
        // One that does not go off at the first attempt, or long after it, keeps nobody waiting.
        Progress::PoweringOff { .. } => row.row.power_offs <= 1 && goes_off(row, facts),
        _ => soaks_until(row, facts).is_some_and(|until| until <= soon),
    };
    facts.open_rows(ledger).take_while(|row| row.position < facts.spec.limit()).any(|row| comes(&row))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::engine::{
        object::{
            state::memory::RefusedId,
            tests::case::{Case, at, then},
        },
        outcome::CloudMessage,
    };

    const DELETE: Step = Step::Call(CallKind::Delete);
    const OFF: Step = Step::Call(CallKind::PowerOff);
    const WAIT: Step = Step::Wait;
    const WANTED: Step = Step::Wanted;
    const ALL: [Live; 4] = [Live::Pending, Live::Running, Live::Stopped, Live::Error];

    fn submitted() -> Progress {
        Progress::Submitted { batch: 7 }
    }

    fn accepted() -> Progress {
        Progress::Accepted { batch: Some(7), resent: false }
    }

    fn steps(case: &mut Case) -> [Step; 4] {
        ALL.map(|live| {
            case.judge(at(then()), |ledger, facts| step(&facts.row(ledger, 0).unwrap(), live, facts))
        })
    }

    #[test]
    fn p4_what_follows_from_each_state_with_always() {
        let soak = Duration::from_hours(1);
        // Progress, whether the row says since when it is off; for pending, running, stopped, error.
        for (progress, off, expected) in [
            (Progress::Pending, false, [DELETE, OFF, WAIT, DELETE]),
            (Progress::PoweringOff { batch: 7 }, false, [WAIT, OFF, WAIT, DELETE]),
            (Progress::PoweredOff { batch: Some(7) }, true, [WANTED, WANTED, DELETE, WAIT]),
            (submitted(), true, [WANTED, WANTED, DELETE, DELETE]),
            (submitted(), false, [DELETE, OFF, WAIT, DELETE]),
            (accepted(), true, [WANTED, WANTED, DELETE, DELETE]),
            (accepted(), false, [DELETE, WAIT, WAIT, DELETE]),
        ] {
            let mut case = Case::new(progress.clone());
            case.spec.power_off = Some(PowerOff::Always { soak });
            case.ledger.rows[0].powered_off_at = off.then_some(Time(Timestamp::UNIX_EPOCH));
            assert_eq!(steps(&mut case), expected, "{progress:?}, off: {off}");
            case.spec.power_off = None;
            assert_eq!(steps(&mut case), [DELETE; 4], "{progress:?} without power-off");
        }
    }

    #[test]
    fn p7_what_follows_from_each_state_if_refused() {
        let limit = Case::pending().spec.backoff_limit;
        for (progress, refused, used, expected) in [
            (Progress::Pending, false, 0, [DELETE; 4]),
            (submitted(), false, 0, [DELETE; 4]),
            (submitted(), true, 0, [DELETE, OFF, DELETE, DELETE]),
            (submitted(), true, limit, [DELETE, OFF, DELETE, DELETE]),
            (submitted(), true, limit + 1, [DELETE; 4]),
            (accepted(), true, 0, [DELETE; 4]),
            (Progress::PoweringOff { batch: 7 }, true, 1, [DELETE, OFF, WAIT, DELETE]),
            (Progress::PoweredOff { batch: Some(7) }, true, 1, [DELETE, OFF, DELETE, DELETE]),
        ] {
            let mut case = Case::new(progress.clone());
            case.spec.power_off = Some(PowerOff::IfRefused);
            case.ledger.rows[0].power_offs = used;
            if refused {
                let (unexplained, message) = (None, CloudMessage::default());
                let refused = RefusedId { at: then(), until: then(), unexplained, message };
                case.memory.refusals.delete.ids.insert(case.id(), refused);
            }
            assert_eq!(steps(&mut case), expected, "{progress:?}, refused: {refused}, used: {used}");
        }
    }

    #[test]
    fn p5_the_soak_ends_by_the_latest_clock() {
        let soak = Duration::from_hours(1);
        let mut row = Case::new(Progress::PoweredOff { batch: None }).ledger.rows.remove(0);
        let now = at(then());
        row.powered_off_at = Some(now.time());
        let over = |wall: Duration, cloud: Option<Duration>| {
            let later = Now { mono: then(), wall: now.wall + wall };
            soaked_at(&row, soak, &later, cloud.map(|cloud| now.wall + cloud)) - then()
        };
        let (minute, none) = (Duration::from_mins(1), Duration::ZERO);
        let short_of = |by: Duration| soak.saturating_sub(by);
        for (wall, cloud, left) in [
            (none, None, soak),
            (minute, None, short_of(minute)),
            (soak, None, none),
            (soak, Some(soak), none),
            (soak, Some(short_of(CLOUD_BEHIND)), none),
            (soak, Some(short_of(minute)), minute.saturating_sub(CLOUD_BEHIND)),
            (minute, Some(soak), short_of(minute)),
        ] {
            assert_eq!(over(wall, cloud), left, "{wall:?} {cloud:?}");
        }
        let none_asked = soaked_at(&row, Duration::ZERO, &Now { wall: now.wall - soak, ..now }, None);
        assert_eq!(none_asked, then(), "recorded by a clock that was ahead");
        row.powered_off_at = None;
        assert_eq!(soaked_at(&row, soak, &now, None), then() + soak);
    }
}
