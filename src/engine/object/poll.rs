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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::object::{
        case::{Case, MICRO, just_before, then},
        limits::Limit,
    };

    const SUBMITTED: Progress = Progress::Submitted { batch: 7 };
    const ACCEPTED: Progress = Progress::Accepted { batch: None, resent: false };

    fn ask(case: &Case, queue: &Queue, now: Mono) -> Due {
        due(&case.job, &case.ledger, &case.memory, queue, now, &case.settings)
    }

    fn nothing(next: Option<Mono>) -> Due {
        Due { next, ..Due::default() }
    }

    /// A case whose next regular look is due at this moment.
    fn polled(progress: Progress, next_poll: Mono) -> Case {
        let mut case = Case::new(progress);
        case.memory.next_poll = next_poll;
        case
    }

    #[test]
    fn the_regular_look_is_at_what_a_call_may_have_named() {
        let poll_min = Case::pending().settings.poll_min;
        for progress in [SUBMITTED, ACCEPTED] {
            let case = polled(progress.clone(), then());
            let early = just_before(then());
            assert_eq!(ask(&case, &Queue::default(), early), nothing(Some(then())), "{progress:?}");
            let expected = Due { ids: vec![case.id()], regular: true, next: Some(then() + poll_min) };
            assert_eq!(ask(&case, &Queue::default(), then()), expected, "{progress:?}");
        }
        let over = polled(Progress::Terminated { batch: None, ended_at: None }, then());
        assert_eq!(ask(&over, &Queue::default(), then()), nothing(None));
        let pending = polled(Progress::Pending, then());
        assert_eq!(
            ask(&pending, &Queue::default(), then()),
            nothing(None),
            "it is next in line, or it waits"
        );
    }

    #[test]
    fn a_pending_id_that_waits_is_looked_at_with_the_others() {
        let waits =
            [Queue { held: vec![0], ..Queue::default() }, Queue { unusable: vec![0], ..Queue::default() }];
        for queue in waits {
            let case = polled(Progress::Pending, then());
            let look = ask(&case, &queue, then());
            assert_eq!((look.ids, look.regular), (vec![case.id()], true), "{queue:?}");
            let other = polled(Progress::Pending, then() + MICRO);
            assert_eq!(ask(&other, &queue, then()), nothing(Some(then() + MICRO)), "{queue:?}");
        }
        let queue = Queue { held: vec![1], ..Queue::default() };
        assert_eq!(
            ask(&polled(Progress::Pending, then()), &queue, then()),
            nothing(None),
            "it is another that waits"
        );
    }

    #[test]
    fn the_second_not_found_read_is_made_when_it_can_count() {
        let settle = Case::pending().settings.settle;
        let later = then() + Duration::from_hours(1);
        for progress in [Progress::Pending, SUBMITTED, ACCEPTED] {
            let pending = progress == Progress::Pending;
            let case = polled(progress, later).read(Seen::NotFound, then());
            assert_eq!(ask(&case, &Queue::default(), then()), nothing(Some(then() + settle)));
            let due = ask(&case, &Queue::default(), then() + settle);
            // With the others, for what is looked at regularly anyway.
            let (expected, next) = if pending { (vec![case.id()], None) } else { (vec![], Some(later)) };
            assert_eq!((due.ids, due.regular, due.next), (expected, false, next));
        }
    }

    #[test]
    fn a_not_found_read_that_no_longer_counts_is_made_again() {
        let mut case = polled(Progress::Pending, then() + MICRO).read(Seen::NotFound, just_before(then()));
        case.marks.saw(case.id(), &Seen::ShuttingDown, then());
        case.observe(then());
        assert_eq!(ask(&case, &Queue::default(), then()), nothing(Some(then() + MICRO)));
        let due = ask(&case, &Queue::default(), then() + MICRO);
        assert_eq!((due.ids, due.regular), (vec![case.id()], true));
    }

    #[test]
    fn a_look_that_was_asked_for_is_waited_for_unless_it_is_lost() {
        let lost = then() + Case::pending().settings.request_timeout * 10;
        let mut case = polled(ACCEPTED, Mono::START);
        case.memory.asked(&case.job.ids, then());
        assert_eq!(ask(&case, &Queue::default(), then()), nothing(Some(lost)));
        assert_eq!(ask(&case, &Queue::default(), just_before(lost)), nothing(Some(lost)));
        assert_eq!(ask(&case, &Queue::default(), lost).ids, [case.id()]);
    }

    #[test]
    fn of_a_suspended_object_only_what_a_call_may_have_named_is_looked_at() {
        let queue = Queue { held: vec![0], ..Queue::default() };
        let mut case = polled(Progress::Pending, then());
        case.job.suspend = true;
        assert_eq!(ask(&case, &queue, then()), nothing(None));
        case.job.not_after = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        case.observe(then());
        assert_eq!(case.memory.limits.passed().map(|(limit, _)| limit), Some(Limit::NotAfter));
        assert_eq!(
            ask(&case, &queue, then()).ids,
            [case.id()],
            "a limit that has passed has everything looked at"
        );
        let mut accepted = polled(ACCEPTED, then());
        accepted.job.suspend = true;
        assert_eq!(ask(&accepted, &Queue::default(), then()).ids, [accepted.id()]);
    }

    #[test]
    fn ids_next_in_line_are_looked_at_at_once_and_each_once() {
        let case = polled(ACCEPTED, then());
        let other = InstanceId::from_u128(9);
        let queue = Queue { look: vec![case.id(), other], ..Queue::default() };
        let due = ask(&case, &queue, then());
        assert_eq!((due.ids, due.regular), (vec![case.id(), other], true));
        let early = ask(&case, &queue, just_before(then()));
        assert_eq!((early.ids, early.regular), (vec![case.id(), other], false), "no regular one");
    }

    #[test]
    fn what_is_held_is_a_time_to_wake() {
        let case = polled(ACCEPTED, then());
        for (until, next) in [(then() + MICRO, then() + MICRO), (just_before(then()), then())] {
            let queue = Queue { held_until: Some(until), ..Queue::default() };
            assert_eq!(ask(&case, &queue, then()).next, Some(next));
        }
    }
}
