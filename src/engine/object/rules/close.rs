//! The *close* rule: how the rows of an object end once `activeDeadlineSeconds` or `notAfter` has
//! passed.

use super::{
    batch::Candidates,
    facts::{Facts, RowFacts},
    look_first::spent,
};
use crate::{
    api::FailureReason,
    engine::{
        id::InstanceId,
        object::state::ledger::{Ledger, Progress, Row},
        outcome::CloudMessage,
        state::Seen,
        time::Mono,
    },
};

/// The last look of an object whose deadline has passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastLook {
    /// Ids to look at a last time.
    pub look: Vec<InstanceId>,
    /// Number of instances whose last look is still to come.
    pub waiting: usize,
}

/// Ends every open row of an object, once each id was looked at a last time and the clock has
/// [confirmed](super::super::state::deadlines::Passed) that the deadline has passed. The last look is
/// one that was asked for at `since` or later, when the clock said so. One that cannot be made, or
/// has brought nothing after `--request-timeout`, counts as made. Returns none once the rows have
/// ended.
pub fn at_deadline(ledger: &mut Ledger, facts: &Facts<'_>, since: Mono) -> Option<LastLook> {
    let Facts { memory, now, settings, .. } = *facts;
    let mut last = LastLook::default();
    let mut open = Vec::new();
    let confirmed = memory.deadlines.passed().is_some_and(|passed| passed.confirmed);
    for RowFacts { position, row, observation, .. } in facts.open_rows(ledger) {
        open.push(position);
        let looked = observation.last.as_ref().is_some_and(|(_, read)| read.sent > since);
        let failed = observation.missed.is_some_and(|asked| asked >= since) && observation.asked.is_none();
        let bound = |asked: Mono| asked.max(since) + settings.request_timeout;
        let lost = observation.asked.is_some_and(|asked| now.mono >= bound(asked));
        if looked || failed || lost {
            continue;
        }
        last.waiting += 1;
        if observation.asked.is_none() {
            last.look.push(row.id);
        }
    }
    // The reply to a call in flight is recorded before the end.
    if last.waiting > 0 || memory.calls_in_flight() || !confirmed {
        return Some(last);
    }
    for position in open {
        ledger.fail(position, FailureReason::DeadlineExceeded, None, now);
    }
    None
}

/// Ends the rows of an object with too many failures: those that no delete call named and that are not being powered
/// off, and those that would be sent again now.
/// Returns whether a row ended.
pub fn after_failures(ledger: &mut Ledger, facts: &Facts<'_>, candidates: &mut Candidates) -> bool {
    let again = candidates.ready.drain(..).map(|ready| ready.position);
    let waits = |row: &Row| matches!(row.progress, Progress::Pending | Progress::PoweredOff { .. });
    let unnamed = ledger.rows.iter().enumerate().filter(|(_, row)| waits(row));
    let ends: Vec<usize> = again.chain(unnamed.map(|(position, _)| position)).collect();
    for position in &ends {
        let Some(row) = ledger.rows.get(*position) else { continue };
        let reason = match row.progress {
            Progress::Pending | Progress::PoweringOff { .. } | Progress::PoweredOff { .. } => {
                FailureReason::NotSent
            }
            _ => spent(row),
        };
        ledger.fail(*position, reason, None, facts.now);
    }
    (candidates.look, candidates.held) = (Vec::new(), Vec::new());
    !ends.is_empty()
}

/// Ends the rows of an object whose list is not what its author says: the rows that `differ`, and all others. Returns what a
/// person is told of the first of them.
pub fn not_as_expected(ledger: &mut Ledger, facts: &Facts<'_>, differ: &[(usize, String)]) -> String {
    /// Most instances that the message names.
    const NAMED: usize = 3;
    let mut named = Vec::new();
    for (position, why) in differ {
        let message = CloudMessage { text: why.clone(), ..CloudMessage::default() };
        ledger.fail(*position, FailureReason::NotAsExpected, Some(&message), facts.now);
        if let Some(row) = ledger.rows.get(*position).filter(|_| named.len() < NAMED) {
            named.push(format!("{} ({why})", row.id));
        }
    }
    for position in 0..ledger.rows.len() {
        ledger.fail(position, FailureReason::NotSent, None, facts.now);
    }
    named.join(", ")
}

/// Ends the rows that would be sent now, had `notAfter` not passed: a look that counts showed them
/// alive. Returns whether a row ended.
pub fn after_not_after(ledger: &mut Ledger, facts: &Facts<'_>, candidates: &mut Candidates) -> bool {
    let before = candidates.ready.len() + candidates.unusable.len();
    for ready in candidates.ready.drain(..) {
        ledger.fail(ready.position, FailureReason::Expired, None, facts.now);
    }
    candidates.unusable.retain(|position| {
        let Some(RowFacts { row, observation, .. }) = facts.row(ledger, *position) else { return true };
        // A state that this version does not know is a state all the same: neither gone nor on its
        // way.
        let read = matches!(observation.last, Some((Seen::Other(_), _)));
        let accepted = matches!(row.progress, Progress::Accepted { .. });
        if read && !accepted {
            ledger.fail(*position, FailureReason::Expired, None, facts.now);
        }
        !read || accepted
    });
    candidates.ready.len() + candidates.unusable.len() < before
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;
    use crate::{
        api::InstanceDeletionStatus,
        engine::{
            Now, Settings,
            object::{
                rules::batch::Ready,
                state::memory::LookEnd,
                tests::case::{Case, MICRO, just_before, then},
            },
            outcome::{CloudMessage, LookFailure, Trouble},
            state::{Live, StateText},
        },
    };

    fn now() -> Now {
        let wall = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        Now { mono: then() + Duration::from_secs(5), wall }
    }

    /// The clock has said for some time that the deadline has passed.
    fn confirmed(mut case: Case) -> Case {
        let start_time = Some(Time(Timestamp::UNIX_EPOCH));
        let status = InstanceDeletionStatus { start_time, ..InstanceDeletionStatus::default() };
        case.spec.active_deadline = Some(Duration::ZERO);
        for mono in [Mono::START, then()] {
            let now = Now { mono, ..now() };
            case.memory.deadlines.observe(&case.spec, &status, &now, None);
        }
        case
    }

    #[test]
    fn x07_nothing_ends_before_the_clock_has_confirmed_the_deadline() {
        let looked = || Case::pending().seen(Live::Running, then() + MICRO);
        let judge = |mut case: Case| case.judge(now(), |ledger, facts| at_deadline(ledger, facts, then()));
        assert_eq!(judge(looked()), Some(LastLook::default()));
        assert_eq!(judge(confirmed(looked())), None);
    }

    #[test]
    fn only_a_look_that_was_asked_for_after_the_deadline_counts_as_made_if_it_brought_nothing() {
        let waits = |look: Vec<InstanceId>| Some(LastLook { look, waiting: 1 });
        let id = Case::pending().id();
        let timeout = Settings::default().request_timeout;
        // When a look was asked for, whether it was answered without the id, when that is judged.
        let table = [
            (just_before(then()), true, then(), waits(vec![id])),
            (then(), true, then(), None),
            (then() + MICRO, true, then() + MICRO, None),
            (just_before(then()), false, just_before(then() + timeout), waits(vec![])),
            (just_before(then()), false, then() + timeout, None),
            (then() + MICRO, false, then() + timeout, waits(vec![])),
            (then() + MICRO, false, then() + MICRO + timeout, None),
        ];
        for (asked, answered, mono, expected) in table {
            let mut case = confirmed(Case::pending());
            case.memory.asked(&[id], asked);
            if answered {
                let trouble = Trouble::CloudUnreachable;
                let message = CloudMessage::default();
                let failure = Some(LookFailure { trouble, message, secret_version: None });
                let (now, settings) = (&now(), &case.settings.clone());
                case.memory.look_answered(&[id], LookEnd { failure, now, settings, random: 0 });
            }
            let now = Now { mono, ..now() };
            let last = case.judge(now, |ledger, facts| at_deadline(ledger, facts, then()));
            assert_eq!(last, expected, "{asked:?} {answered} {mono:?}");
        }
    }

    #[test]
    fn the_last_look_is_one_that_was_sent_after_the_deadline() {
        let at_deadline = |sent: Mono| {
            let mut case = confirmed(Case::pending().seen(Live::Running, sent));
            case.judge(now(), |ledger, facts| at_deadline(ledger, facts, then()))
        };
        let waits = |case: &Case| Some(LastLook { look: vec![case.id()], waiting: 1 });
        assert_eq!(at_deadline(just_before(then())), waits(&Case::pending()));
        assert_eq!(at_deadline(then()), waits(&Case::pending()));
        assert_eq!(at_deadline(then() + MICRO), None, "the row has its end");
    }

    /// Whether the row ends, whether it stays in its candidates, and what is said.
    fn after(progress: Progress, seen: Option<Seen>) -> (bool, bool, bool) {
        let mut case = Case::new(progress);
        let mut candidates = Candidates::default();
        match seen {
            Some(Seen::Live(live)) => {
                candidates.ready.push(Ready {
                    kind: crate::api::CallKind::Delete,
                    position: 0,
                    id: case.id(),
                    live,
                    look_sent: then(),
                    server: None,
                    or_powers_off: false,
                });
            }
            Some(seen) => {
                candidates.unusable.push(0);
                case = case.read(seen, then());
            }
            None => candidates.unusable.push(0),
        }
        let said = case.judge(now(), |ledger, facts| after_not_after(ledger, facts, &mut candidates));
        (
            case.ledger.rows[0].progress.ended(),
            !candidates.ready.is_empty() || !candidates.unusable.is_empty(),
            said,
        )
    }

    #[test]
    fn after_not_after_a_row_ends_whose_state_is_known_and_not_on_its_way() {
        let (ends, stays) = ((true, false, true), (false, true, false));
        let accepted = || Progress::Accepted { batch: None, resent: false };
        let odd = || Some(Seen::Other(StateText::new("reinstalling")));
        let table = [
            (Progress::Pending, Some(Seen::Live(Live::Running)), ends),
            (accepted(), Some(Seen::Live(Live::Error)), ends),
            (Progress::Submitted { batch: 7 }, odd(), ends),
            (Progress::Pending, odd(), ends),
            (accepted(), odd(), stays),
            (Progress::Pending, Some(Seen::Unreadable), stays),
            (Progress::Pending, None, stays),
        ];
        for (progress, seen, expected) in table {
            assert_eq!(after(progress.clone(), seen.clone()), expected, "{progress:?} {seen:?}");
        }
        let nothing = Case::pending()
            .judge(now(), |ledger, facts| after_not_after(ledger, facts, &mut Candidates::default()));
        assert!(!nothing);
    }
}
