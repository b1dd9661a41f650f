//! How an object ends whose limit has passed (design §3, *notAfter* and *activeDeadlineSeconds*).

use super::batch::Queue;
use crate::{
    api::FailureReason,
    engine::{
        id::InstanceId,
        object::state::{
            ledger::{Ledger, Progress},
            memory::Memory,
        },
        settings::Settings,
        state::Seen,
        time::{Mono, Now},
    },
};

/// How far the end of an object is whose deadline has passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastLook {
    /// Ids to look at a last time.
    pub look: Vec<InstanceId>,
    /// Instances of which that look is still to come.
    pub waiting: usize,
}

/// Ends every open row of an object whose deadline passed at `since`, once each was looked at a last time. A look that
/// can't be made, or has brought nothing after `--request-timeout`, counts as made. None: the rows have their end.
pub fn at_deadline(
    ledger: &mut Ledger,
    memory: &Memory,
    since: Mono,
    now: &Now,
    settings: &Settings,
) -> Option<LastLook> {
    let open: Vec<usize> = ledger
        .rows
        .iter()
        .enumerate()
        .filter(|(_, row)| !row.progress.ended())
        .map(|(position, _)| position)
        .collect();
    let mut last = LastLook::default();
    let given_up = now.mono >= since + settings.request_timeout;
    for position in &open {
        let observation = memory.observation(*position);
        let looked = observation.last.as_ref().is_some_and(|(_, sent)| *sent > since);
        let failed = memory.look_trouble.is_some() && observation.asked.is_none();
        if looked || failed || given_up {
            continue;
        }
        last.waiting += 1;
        if let Some(row) = ledger.rows.get(*position).filter(|_| observation.asked.is_none()) {
            last.look.push(row.id);
        }
    }
    // The reply to a call in flight is recorded before the end.
    if last.waiting > 0 || memory.calls_in_flight() {
        return Some(last);
    }
    for position in open {
        ledger.fail(position, FailureReason::DeadlineExceeded, None, now);
    }
    None
}

/// Ends the rows that would be sent now, had `notAfter` not passed: a look that counts showed them alive. Returns
/// whether there were any.
pub fn after_not_after(ledger: &mut Ledger, memory: &Memory, queue: &mut Queue, now: &Now) -> bool {
    let before = queue.ready.len() + queue.unusable.len();
    for ready in queue.ready.drain(..) {
        ledger.fail(ready.position, FailureReason::Expired, None, now);
    }
    queue.unusable.retain(|position| {
        // A state without a name for it is a state all the same: neither gone nor on its way.
        let read = matches!(memory.observation(*position).last, Some((Seen::Other(_), _)));
        let accepted =
            ledger.rows.get(*position).is_some_and(|r| matches!(r.progress, Progress::Accepted { .. }));
        if read && !accepted {
            ledger.fail(*position, FailureReason::Expired, None, now);
        }
        !read || accepted
    });
    queue.ready.len() + queue.unusable.len() < before
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::{
        object::{
            rules::batch::Ready,
            tests::case::{Case, MICRO, just_before, then},
        },
        state::{Live, StateText},
    };

    fn now() -> Now {
        let wall = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        Now { mono: then() + Duration::from_secs(5), wall }
    }

    #[test]
    fn the_last_look_is_one_that_was_sent_after_the_deadline() {
        let at_deadline = |sent: Mono| {
            let mut case = Case::pending().seen(Live::Running, sent);
            at_deadline(&mut case.ledger, &case.memory, then(), &now(), &case.settings)
        };
        let waits = |case: &Case| Some(LastLook { look: vec![case.id()], waiting: 1 });
        assert_eq!(at_deadline(just_before(then())), waits(&Case::pending()));
        assert_eq!(at_deadline(then()), waits(&Case::pending()));
        assert_eq!(at_deadline(then() + MICRO), None, "the row has its end");
    }

    /// Whether the row ends, whether it stays in its queue, and what is said.
    fn after(progress: Progress, seen: Option<Seen>) -> (bool, bool, bool) {
        let mut case = Case::new(progress);
        let mut queue = Queue::default();
        match seen {
            Some(Seen::Live(live)) => {
                queue.ready.push(Ready { position: 0, id: case.id(), live, look_sent: then() });
            }
            Some(seen) => {
                queue.unusable.push(0);
                case = case.read(seen, then());
            }
            None => queue.unusable.push(0),
        }
        let said = after_not_after(&mut case.ledger, &case.memory, &mut queue, &now());
        (case.ledger.rows[0].progress.ended(), !queue.ready.is_empty() || !queue.unusable.is_empty(), said)
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
        let nothing = after_not_after(
            &mut Case::pending().ledger,
            &Case::pending().memory,
            &mut Queue::default(),
            &now(),
        );
        assert!(!nothing);
    }
}
