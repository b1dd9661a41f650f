//! The poll rule: which instances are looked at, and when (design §3, rule 6).

use std::collections::HashSet;

use super::{
    batch::Queue,
    job::Job,
    ledger::{Ledger, Progress},
    memory::Memory,
    sightings::Sighting,
};
use crate::engine::{id::InstanceId, settings::Settings, state::Seen, time::Mono};

/// What is due for a look, and when the next look is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Ids to look at now.
    pub ids: Vec<InstanceId>,
    /// Whether the regular look at everything open is among them.
    pub regular: bool,
    /// When something is due next; none if nothing is looked at any more.
    pub next: Option<Mono>,
}

/// Looks at ids that a call may have named (`Submitted`, `Accepted`) every `poll_min`, until each has its end; at ids that
/// wait for their second not-found read when that can count; and at the ids next in line for a call, at once.
///
/// Of a suspended object only ids that a call may have named are looked at.
#[must_use]
pub fn due(
    job: &Job,
    ledger: &Ledger,
    memory: &Memory,
    queue: &Queue,
    now: Mono,
    settings: &Settings,
) -> Due {
    let mut due = Due { regular: now >= memory.next_poll, ..Due::default() };
    let mut later = |at: Mono| due.next = Some(due.next.map_or(at, |next: Mono| next.min(at)));
    let waiting: HashSet<usize> = queue.held.iter().chain(&queue.unusable).copied().collect();
    let mut regular = Vec::new();
    for (position, row) in ledger.rows.iter().enumerate() {
        let sighting = memory.sighting(position);
        if row.progress.ended() {
            continue;
        }
        if let Some(asked) = sighting.asked {
            // The reader answers every look. Should an answer be lost all the same, the look is asked for again.
            let lost = asked + settings.request_timeout * 10;
            if now < lost {
                later(lost);
                continue;
            }
        }
        let confirm_at = sighting.not_found_since.map(|since| since + settings.settle);
        match row.progress {
            // A limit that has passed has every open id looked at, also of a suspended object.
            Progress::Pending if job.suspend && memory.limits.passed().is_none() => {}
            Progress::Pending => match confirm_at {
                Some(at) if now < at => later(at),
                Some(_) => due.ids.push(row.id),
                None if waiting.contains(&position) || broken(sighting) => regular.push(row.id),
                None => {}
            },
            _ => match confirm_at {
                Some(at) if now < at => later(at),
                _ => regular.push(row.id),
            },
        }
    }
    if !regular.is_empty() {
        if due.regular {
            due.ids.append(&mut regular);
            later(now + settings.poll_min);
        } else {
            later(memory.next_poll);
        }
    }
    let already: HashSet<InstanceId> = due.ids.iter().copied().collect();
    due.regular &= !already.is_empty();
    due.ids.extend(queue.look.iter().filter(|id| !already.contains(id)));
    if let Some(at) = queue.held_until {
        later(at.max(now));
    }
    due
}

/// Not found, by a read that no longer counts: a call or a read of another object came between.
fn broken(sighting: &Sighting) -> bool {
    sighting.not_found_since.is_none() && matches!(sighting.last, Some((Seen::NotFound, _)))
}
