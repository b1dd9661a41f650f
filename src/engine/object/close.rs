//! How an object ends whose limit has passed (design §3, *notAfter* and *activeDeadlineSeconds*).

use super::{
    batch::Queue,
    ledger::{Ledger, Progress},
    memory::Memory,
};
use crate::{
    api::FailureReason,
    engine::{
        id::InstanceId,
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
        let sighting = memory.sighting(*position);
        let looked = sighting.last.as_ref().is_some_and(|(_, sent)| *sent > since);
        let failed = memory.look_trouble.is_some() && sighting.asked.is_none();
        if looked || failed || given_up {
            continue;
        }
        last.waiting += 1;
        if let Some(row) = ledger.rows.get(*position).filter(|_| sighting.asked.is_none()) {
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
        let read = matches!(memory.sighting(*position).last, Some((Seen::Other(_), _)));
        let accepted =
            ledger.rows.get(*position).is_some_and(|r| matches!(r.progress, Progress::Accepted { .. }));
        if read && !accepted {
            ledger.fail(*position, FailureReason::Expired, None, now);
        }
        !read || accepted
    });
    queue.ready.len() + queue.unusable.len() < before
}
