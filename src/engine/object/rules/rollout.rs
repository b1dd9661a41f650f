//! The *rollout* rule: how fast a deletion may spread, and when it stops by itself.

use super::facts::Facts;
use crate::engine::object::state::{
    deadlines::{Cutoff, Passed},
    ledger::{Ledger, Progress, Row},
};

/// Whether an instance is on its way, be it off or gone, or may be: a further call for it takes no more room. One that is off and
/// waits takes none.
#[must_use]
pub fn takes_room(row: &Row) -> bool {
    matches!(
        row.progress,
        Progress::PoweringOff { .. } | Progress::Submitted { .. } | Progress::Accepted { .. }
    )
}

/// How many more ids may be sent before `maxInFlight` of them are on their way.
#[must_use]
pub fn room(ledger: &Ledger, facts: &Facts<'_>) -> usize {
    let most = facts.spec.rollout.and_then(|rollout| rollout.max_in_flight);
    let Some(most) = most.and_then(|most| usize::try_from(most).ok()) else { return usize::MAX };
    most.saturating_sub(ledger.rows.iter().filter(|row| takes_room(row)).count())
}

/// Whether the first `limit` ids have their ends, and others have none: the object rests. One beyond the limit that a call of
/// this object named, before the limit was lowered, is followed to its end first.
#[must_use]
pub fn limit_reached(ledger: &Ledger, facts: &Facts<'_>) -> bool {
    let limit = facts.spec.limit();
    let (first, rest) = ledger.rows.split_at(limit.min(ledger.rows.len()));
    let follows = |row: &Row| !row.progress.ended() && row.progress.batch().is_some();
    first.iter().all(|row| row.progress.ended())
        && rest.iter().any(|row| !row.progress.ended())
        && !rest.iter().any(follows)
}

/// Says that more ids have failed than `maxFailed` allows, if so.
#[must_use]
pub fn too_many_failures(ledger: &Ledger, facts: &Facts<'_>) -> Option<Passed> {
    let most = facts.spec.rollout.and_then(|rollout| rollout.max_failed)?;
    let failed = ledger.rows.iter().filter(|row| matches!(row.progress, Progress::Failed { .. })).count();
    let too_many = u32::try_from(failed).unwrap_or(u32::MAX) > most;
    let (cutoff, said) = (Cutoff::MaxFailed, Some(facts.now.mono));
    too_many.then_some(Passed { cutoff, said, confirmed: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{FailureReason, Rollout},
        engine::object::tests::case::{at, case_of, then},
    };

    fn pending() -> Progress {
        Progress::Pending
    }

    fn submitted() -> Progress {
        Progress::Submitted { batch: 1 }
    }

    fn accepted(batch: Option<u32>) -> Progress {
        Progress::Accepted { batch, resent: false }
    }

    fn terminated() -> Progress {
        Progress::Terminated { batch: Some(1), ended_at: None }
    }

    fn failed() -> Progress {
        Progress::Failed { batch: None, reason: FailureReason::Conflict, ended_at: None }
    }

    fn judge<T>(rollout: Rollout, rows: &[Progress], rule: fn(&Ledger, &Facts<'_>) -> T) -> T {
        let mut case = case_of(rows.len() as u128);
        case.spec.rollout = Some(rollout);
        for (row, progress) in case.ledger.rows.iter_mut().zip(rows) {
            row.progress = progress.clone();
        }
        case.judge(at(then()), |ledger, facts| rule(ledger, facts))
    }

    #[test]
    fn r2_the_object_rests_when_the_first_ids_have_their_ends() {
        let reached =
            |rows: &[Progress]| judge(Rollout { limit: Some(2), ..Rollout::default() }, rows, limit_reached);
        let table = [
            (vec![terminated(), failed(), pending()], true),
            (vec![terminated(), failed(), pending(), pending()], true),
            (vec![terminated(), accepted(Some(1)), pending()], false),
            (vec![terminated(), submitted(), pending()], false),
            (vec![terminated(), pending(), pending()], false),
            (vec![terminated(), terminated(), terminated()], false),
            (vec![terminated(), terminated()], false),
            (vec![terminated()], false),
            (vec![terminated(), terminated(), accepted(None)], true),
            (vec![terminated(), terminated(), accepted(Some(2))], false),
            (vec![terminated(), terminated(), submitted(), pending()], false),
        ];
        for (rows, rests) in table {
            assert_eq!(reached(&rows), rests, "{rows:?}");
        }
    }

    #[test]
    fn r4_whatever_may_be_on_its_way_takes_room() {
        let left = |most, rows: &[Progress]| {
            judge(Rollout { max_in_flight: most, ..Rollout::default() }, rows, room)
        };
        let rows = [pending(), submitted(), accepted(None), accepted(Some(1)), terminated(), failed()];
        assert_eq!(left(None, &rows), usize::MAX);
        assert_eq!(left(Some(5), &rows), 2);
        assert_eq!(left(Some(3), &rows), 0);
        assert_eq!(left(Some(1), &rows), 0, "lowered meanwhile");
    }

    #[test]
    fn r5_more_failures_than_allowed_end_new_calls() {
        let over = |most, rows: &[Progress]| {
            let passed = judge(Rollout { max_failed: most, ..Rollout::default() }, rows, too_many_failures);
            passed.map(|passed| (passed.cutoff, passed.confirmed))
        };
        let rows = [failed(), failed(), pending()];
        assert_eq!(over(None, &rows), None);
        assert_eq!(over(Some(2), &rows), None);
        assert_eq!(over(Some(1), &rows), Some((Cutoff::MaxFailed, true)));
        assert_eq!(over(Some(0), &rows[2..]), None);
    }
}
