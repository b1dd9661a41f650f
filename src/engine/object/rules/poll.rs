//! The poll rule: which instances an object looks at itself, and when, and which it leaves to its account's schedule
//! (design §3, rule 6 and *Reading states*).

use std::{collections::HashSet, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::batch::Queue;
use crate::engine::{
    account::schedule::{OnItsWay, Watch},
    id::InstanceId,
    object::state::{
        ledger::{Ledger, Progress, Row},
        memory::Memory,
        observations::Observation,
        spec::DeletionSpec,
    },
    settings::Settings,
    state::Seen,
    time::{Mono, Now},
};

/// What is due for a look, and when the next look is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Ids to look at now.
    pub ids: Vec<InstanceId>,
    /// Whether the regular look is among them.
    pub regular: bool,
    /// What the account's schedule looks at.
    pub watch: Watch,
    /// When something is due next; none if nothing is looked at any more, or by the schedule alone.
    pub next: Option<Mono>,
}

/// Leaves ids whose deletion was accepted to the account's schedule. Looks every `poll_min` at those that a call may have
/// named otherwise (`Submitted`, or `Accepted` with a further attempt of unknown outcome), until each has its end; at ids
/// that wait for their second not-found read when that can count; and at the ids next in line for a call, at once.
///
/// Where a look is `requested`, all that a call may have named is looked at, at once.
///
/// Of a suspended object only ids that a call may have named are looked at.
#[must_use]
pub fn due(
    spec: &DeletionSpec,
    ledger: &Ledger,
    memory: &Memory,
    queue: &Queue,
    (now, started, requested): (&Now, Option<Timestamp>, bool),
    settings: &Settings,
) -> Due {
    let (wall, now) = (now.wall, now.mono);
    let mut due = Due { regular: requested || now >= memory.next_poll, ..Due::default() };
    let mut later = |at: Mono| due.next = Some(due.next.map_or(at, |next: Mono| next.min(at)));
    let waiting: HashSet<usize> = queue.held.iter().chain(&queue.unusable).copied().collect();
    let mut regular = Vec::new();
    for (position, row) in ledger.rows.iter().enumerate().filter(|(_, row)| !row.progress.ended()) {
        let observation = memory.observation(position);
        // The reader answers every look. Should an answer be lost all the same, the look is asked for again.
        let lost = observation.asked.map(|asked| asked + settings.request_timeout * 10);
        let asked = lost.is_some_and(|lost| now < lost);
        if let Some(lost) = lost.filter(|_| asked) {
            later(lost);
        }
        if on_schedule(row, observation) && !memory.unread(row.id) {
            let age = age(row, ledger, started, wall);
            due.watch.on_their_way.push(OnItsWay { id: row.id, age, asked: asked || requested });
            due.ids.extend(Some(row.id).filter(|_| requested && !asked));
            continue;
        }
        due.watch.others += 1;
        if asked {
            continue;
        }
        let confirm_at = observation.not_found_since().map(|since| since + settings.settle);
        match row.progress {
            // A limit that has passed has every open id looked at, also of a suspended object.
            Progress::Pending if spec.suspend && memory.deadlines.passed().is_none() => {}
            Progress::Pending => match confirm_at {
                Some(at) if now < at => later(at),
                Some(_) => due.ids.push(row.id),
                None if waiting.contains(&position) || broken(observation) => regular.push(row.id),
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

/// Whether the deletion of an id was accepted, and nothing but what comes of it is waited for.
#[must_use]
pub fn on_schedule(row: &Row, observation: &Observation) -> bool {
    let missing = matches!(observation.last, Some((Seen::NotFound, _)));
    matches!(row.progress, Progress::Accepted { resent: false, .. }) && !missing
}

/// The time since an id was accepted, as far as the record tells: since its call was written down, or since the object was
/// started if that is not known. Only the times of looks depend on it, so it may go by the wall clock.
fn age(row: &Row, ledger: &Ledger, started: Option<Timestamp>, wall: Timestamp) -> Duration {
    let batch = row.progress.batch().and_then(|number| ledger.batch(number));
    let since = batch.map(|batch| batch.submitted_at.0).or(started);
    since.and_then(|since| Duration::try_from(wall.duration_since(since)).ok()).unwrap_or_default()
}

/// Not found, by a read that no longer counts: a call or a read of another object came between.
fn broken(observation: &Observation) -> bool {
    observation.not_found_since().is_none() && matches!(observation.last, Some((Seen::NotFound, _)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        object::{
            state::{deadlines::Cutoff, memory::LookEnd},
            tests::case::{Case, MICRO, just_before, then},
        },
        outcome::{CloudMessage, LookFailure, Trouble},
        state::Live,
    };

    const SUBMITTED: Progress = Progress::Submitted { batch: 7 };
    const ACCEPTED: Progress = Progress::Accepted { batch: None, resent: false };

    fn ask(case: &Case, queue: &Queue, mono: Mono) -> Due {
        let now = Now { mono, wall: Timestamp::UNIX_EPOCH + mono.since_start() };
        due(&case.spec, &case.ledger, &case.memory, queue, (&now, None, false), &case.settings)
    }

    #[test]
    fn a_requested_look_is_at_all_that_a_call_may_have_named_and_is_not_under_way() {
        let later = then() + MICRO;
        let looked = |case: &Case| {
            let now = Now { mono: then(), wall: Timestamp::UNIX_EPOCH };
            let (now, queue) = ((&now, None, true), Queue::default());
            due(&case.spec, &case.ledger, &case.memory, &queue, now, &case.settings)
        };
        for (progress, looks) in [(SUBMITTED, true), (ACCEPTED, true), (Progress::Pending, false)] {
            let mut case = polled(progress.clone(), later);
            let due = looked(&case);
            assert_eq!(!due.ids.is_empty(), looks, "{progress:?}");
            assert!(due.watch.on_their_way.iter().all(|one| one.asked), "the schedule looks at it no more");
            case.memory.asked(&case.spec.ids, then());
            assert!(looked(&case).ids.is_empty(), "{progress:?} is being looked at");
        }
    }

    /// Of one id nothing is looked at now.
    fn nothing(next: Option<Mono>) -> Due {
        Due { next, watch: others(1), ..Due::default() }
    }

    fn others(others: usize) -> Watch {
        Watch { others, ..Watch::default() }
    }

    fn read_before(seen: Seen) -> Case {
        polled(ACCEPTED, then()).read(seen, Mono::at(Duration::from_mins(15)))
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
        let resent = Progress::Accepted { batch: Some(7), resent: true };
        for case in [polled(SUBMITTED, then()), polled(resent, then())] {
            let early = just_before(then());
            assert_eq!(ask(&case, &Queue::default(), early), nothing(Some(then())), "{:?}", case.ledger);
            let (ids, next) = (vec![case.id()], Some(then() + poll_min));
            let expected = Due { ids, regular: true, watch: others(1), next };
            assert_eq!(ask(&case, &Queue::default(), then()), expected, "{:?}", case.ledger);
        }
        let over = polled(Progress::Terminated { batch: None, ended_at: None }, then());
        assert_eq!(ask(&over, &Queue::default(), then()), Due::default());
        let pending = polled(Progress::Pending, then());
        assert_eq!(
            ask(&pending, &Queue::default(), then()),
            nothing(None),
            "it is next in line, or it waits"
        );
    }

    #[test]
    fn what_is_accepted_is_left_to_the_schedule() {
        let age = then().since_start();
        let seen = [Seen::ShuttingDown, Seen::Live(Live::Running), Seen::Live(Live::Error), Seen::Unreadable];
        for case in [polled(ACCEPTED, Mono::START)].into_iter().chain(seen.map(read_before)) {
            let mut due = ask(&case, &Queue::default(), then());
            assert_eq!(
                due.watch.on_their_way.pop(),
                Some(OnItsWay { id: case.id(), age: Duration::ZERO, asked: false })
            );
            assert_eq!(due, Due::default(), "nothing is known of when it was accepted");
        }
        let accepted = Progress::Accepted { batch: Some(7), resent: false };
        let mut case = polled(accepted, Mono::START).batch("mine", Some(1));
        let ages = |case: &Case, started: Option<Timestamp>, at: Mono| {
            let now = Now { mono: at, wall: Timestamp::UNIX_EPOCH + at.since_start() };
            let queue = Queue::default();
            let now = (&now, started, false);
            let due = due(&case.spec, &case.ledger, &case.memory, &queue, now, &case.settings);
            due.watch.on_their_way.iter().map(|one| one.age).collect::<Vec<_>>()
        };
        let started = Some(Timestamp::UNIX_EPOCH + age / 2);
        assert_eq!(ages(&case, started, then()), [age], "since its batch");
        case.ledger.batches.clear();
        assert_eq!(ages(&case, started, then()), [age / 2], "since the object's start");
        let ahead = Some(Timestamp::UNIX_EPOCH + age * 2);
        assert_eq!(ages(&case, ahead, then()), [Duration::ZERO], "the wall clock was set back");
    }

    #[test]
    fn what_the_schedule_could_not_read_is_looked_at_until_the_trouble_is_over() {
        let mut case = polled(ACCEPTED, Mono::START);
        let (id, settings) = (case.id(), case.settings);
        let answer = |case: &mut Case, at: Mono, trouble: bool| {
            case.memory.asked(&[id], at);
            let trouble = trouble.then_some(Trouble::CloudUnreachable);
            let failure = trouble.map(|trouble| LookFailure {
                trouble,
                message: CloudMessage::default(),
                secret_version: None,
            });
            let now = Now { mono: at, wall: Timestamp::UNIX_EPOCH };
            case.memory.look_answered(&[id], LookEnd { failure, now: &now, settings: &settings, random: 0 });
        };
        answer(&mut case, then(), true);
        let due = ask(&case, &Queue::default(), then());
        assert_eq!((due.ids, due.watch), (vec![id], others(1)));
        case.memory.saw(id, Seen::ShuttingDown, then() + MICRO);
        answer(&mut case, then() + MICRO, false);
        assert_eq!(case.memory.look_trouble, None);
        assert_eq!(ask(&case, &Queue::default(), then() + MICRO).watch.on_their_way.len(), 1);
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
        case.call_history.saw(case.id(), &Seen::ShuttingDown, then());
        case.observe(then());
        assert_eq!(ask(&case, &Queue::default(), then()), nothing(Some(then() + MICRO)));
        let due = ask(&case, &Queue::default(), then() + MICRO);
        assert_eq!((due.ids, due.regular), (vec![case.id()], true));
    }

    #[test]
    fn a_look_that_was_asked_for_is_waited_for_unless_it_is_lost() {
        let lost = then() + Case::pending().settings.request_timeout * 10;
        let mut case = polled(SUBMITTED, Mono::START);
        case.memory.asked(&case.spec.ids, then());
        assert_eq!(ask(&case, &Queue::default(), then()), nothing(Some(lost)));
        assert_eq!(ask(&case, &Queue::default(), just_before(lost)), nothing(Some(lost)));
        assert_eq!(ask(&case, &Queue::default(), lost).ids, [case.id()]);
        let mut scheduled = polled(ACCEPTED, Mono::START);
        scheduled.memory.asked(&scheduled.spec.ids, then());
        for (now, asked) in [(just_before(lost), true), (lost, false)] {
            let due = ask(&scheduled, &Queue::default(), now);
            assert_eq!(due.watch.on_their_way.iter().map(|one| one.asked).collect::<Vec<_>>(), [asked]);
            assert_eq!(due.next, Some(lost).filter(|_| asked));
        }
    }

    #[test]
    fn of_a_suspended_object_only_what_a_call_may_have_named_is_looked_at() {
        let queue = Queue { held: vec![0], ..Queue::default() };
        let mut case = polled(Progress::Pending, then());
        case.spec.suspend = true;
        assert_eq!(ask(&case, &queue, then()), nothing(None));
        case.spec.not_after = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        case.observe(then());
        assert_eq!(case.memory.deadlines.passed().map(|(cutoff, _)| cutoff), Some(Cutoff::NotAfter));
        assert_eq!(
            ask(&case, &queue, then()).ids,
            [case.id()],
            "a limit that has passed has everything looked at"
        );
        let mut submitted = polled(SUBMITTED, then());
        submitted.spec.suspend = true;
        assert_eq!(ask(&submitted, &Queue::default(), then()).ids, [submitted.id()]);
        let mut accepted = polled(ACCEPTED, then());
        accepted.spec.suspend = true;
        assert_eq!(ask(&accepted, &Queue::default(), then()).watch.on_their_way.len(), 1);
    }

    #[test]
    fn ids_next_in_line_are_looked_at_at_once_and_each_once() {
        let case = polled(SUBMITTED, then());
        let other = InstanceId::from_u128(9);
        let queue = Queue { look: vec![case.id(), other], ..Queue::default() };
        let due = ask(&case, &queue, then());
        assert_eq!((due.ids, due.regular), (vec![case.id(), other], true));
        let early = ask(&case, &queue, just_before(then()));
        assert_eq!((early.ids, early.regular), (vec![case.id(), other], false), "no regular one");
    }

    #[test]
    fn what_is_held_is_a_time_to_wake() {
        let case = polled(SUBMITTED, then());
        for (until, next) in [(then() + MICRO, then() + MICRO), (just_before(then()), then())] {
            let queue = Queue { held_until: Some(until), ..Queue::default() };
            assert_eq!(ask(&case, &queue, then()).next, Some(next));
        }
    }
}
