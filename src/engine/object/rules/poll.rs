//! The *poll* rule: which instances an object looks at itself, when, and which it leaves to its
//! account's schedule.

use std::{collections::HashSet, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::{
    batch::Candidates,
    facts::{Facts, RowFacts},
    rollout::too_many_failures,
};
use crate::engine::{
    account::schedule::{OnItsWay, Watch},
    id::InstanceId,
    object::state::{
        ledger::{Ledger, Progress, Row},
        observations::Observation,
    },
    state::Seen,
    time::Mono,
};

/// The looks that are due now, and when the next one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Ids to look at now.
    pub ids: Vec<InstanceId>,
    /// Whether the regular look is among them.
    pub regular: bool,
    /// Ids that the account's schedule looks at.
    pub watch: Watch,
    /// A person asked for a look at the ids, and it is not made yet.
    pub outstanding: bool,
    /// When something is due next; none if nothing is looked at any more, or by the schedule alone.
    pub next: Option<Mono>,
}

impl Due {
    /// Has something due at this moment at the latest.
    pub fn wake_at(&mut self, at: Mono) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// Which ids are due for a look.
///
/// - Ids whose deletion was accepted are left to the account's schedule. `started` is
///   `status.startTime`, for their age.
/// - Ids that a call may have named otherwise (`Submitted`, or `Accepted` with a further attempt of
///   unknown outcome) are due every `--poll-min` until they end. While this process makes that call
///   they are not: the end of the call wakes the object. Nor are they after a call that certainly
///   deleted nothing: an object that is refused for weeks would read them all the time.
/// - Instances that are off are due every `--poll-max`, also in a suspended object: somebody who powers one on again vetoes its
///   deletion.
/// - Ids that wait for their second not-found read are due when that read can count.
/// - Ids next in line for a call are due at once.
/// - Ids that looks could not read are due at their own next look, whatever else they wait for.
///
/// When a person `requested` a look, every id that a call may have named is due at once, until it was looked at. In a
/// suspended object only ids that a call may have named are due.
#[must_use]
pub fn due(
    ledger: &Ledger,
    facts: &Facts<'_>,
    candidates: &Candidates,
    started: Option<Timestamp>,
    requested: bool,
) -> Due {
    let Facts { memory, settings, .. } = *facts;
    let now = facts.now.mono;
    let mut due = Due { regular: now >= memory.next_poll, ..Due::default() };
    let waiting: HashSet<usize> = candidates.held.iter().chain(&candidates.unusable).copied().collect();
    let ends = memory.deadlines.passed().is_some() || too_many_failures(ledger, facts).is_some();
    let mut regular = Vec::new();
    for row_facts in facts.open_rows(ledger) {
        let RowFacts { position, row, observation, .. } = row_facts;
        // The reader answers every look. Should an answer be lost all the same, the look is asked
        // for again.
        let lost = observation.asked.map(|asked| asked + settings.request_timeout * 10);
        let looking = lost.filter(|lost| now < *lost);
        let requested = requested && !observation.answered_since(memory.planning_since());
        if let Some(lost) = looking {
            due.wake_at(lost);
        }
        if on_schedule(row, observation) && memory.unreadable(row.id).is_none() {
            let age = age(row, ledger, started, facts.now.wall);
            let asked = looking.is_some() || requested;
            due.outstanding |= requested;
            due.watch.on_their_way.push(OnItsWay { id: row.id, age, asked });
            due.ids.extend(Some(row.id).filter(|_| requested && looking.is_none()));
            continue;
        }
        due.watch.others += 1;
        if looking.is_some() {
            due.outstanding |= requested;
            continue;
        }
        if row_facts.calls.own_in_flight && !requested {
            continue;
        }
        let waits = waiting.contains(&position);
        match look_of(&row_facts, ledger, LookFor { waits, ends }, facts) {
            LookTime::Never => {}
            LookTime::Now => due.ids.push(row.id),
            LookTime::Own(at) if requested || at <= now => {
                due.outstanding |= requested;
                due.ids.push(row.id);
            }
            LookTime::At(at) | LookTime::Own(at) => due.wake_at(at),
            LookTime::Regular => {
                due.outstanding |= requested;
                due.regular |= requested;
                regular.push(row.id);
            }
        }
    }
    if due.outstanding && due.ids.is_empty() && regular.is_empty() {
        // The look under way was asked for before, and may wake nobody.
        due.wake_at(now + settings.poll_min);
    }
    if !regular.is_empty() {
        if due.regular {
            due.ids.append(&mut regular);
            due.wake_at(now + settings.poll_min);
        } else {
            due.wake_at(memory.next_poll);
        }
    }
    let already: HashSet<InstanceId> = due.ids.iter().copied().collect();
    due.regular &= !already.is_empty();
    due.ids.extend(candidates.look.iter().filter(|id| !already.contains(id)));
    if let Some(at) = candidates.held_until {
        due.wake_at(at.max(now));
    }
    due
}

/// When an object looks at one of its ids.
enum LookTime {
    Never,
    Now,
    At(Mono),
    /// At this moment, or when a person asks for a look.
    Own(Mono),
    /// With the regular look.
    Regular,
}

/// What a look at an id may lead to.
#[derive(Clone, Copy)]
struct LookFor {
    /// The id waits for a call, or has no usable state.
    waits: bool,
    /// No call is made any more, and every open id ends by a look: a deadline has passed, or too many ids have failed.
    ends: bool,
}

/// When the object looks at an id that is not on the schedule.
fn look_of(row_facts: &RowFacts<'_>, ledger: &Ledger, look: LookFor, facts: &Facts<'_>) -> LookTime {
    let RowFacts { row, observation, .. } = *row_facts;
    let confirm_at = observation.not_found_since().map(|since| since.answered + facts.settings.settle);
    // A call that certainly deleted nothing leaves nothing to look for.
    let pending = match row.progress {
        Progress::PoweringOff { batch } | Progress::Submitted { batch } => ledger.had_no_effect(batch),
        ref other => matches!(other, Progress::Pending | Progress::PoweredOff { .. }),
    };
    let stays_off = matches!(row.progress, Progress::PoweredOff { .. });
    // What ends is looked at in a suspended object too.
    let LookFor { waits, ends } = look;
    if pending && !stays_off && facts.spec.suspend && !ends {
        return LookTime::Never;
    }
    if let Some(unreadable) = facts.memory.waits_alone(row.id) {
        return LookTime::Own(unreadable.retry_at);
    }
    match confirm_at {
        None if stays_off => {
            let read = observation.last.as_ref().map(|(_, read)| read.sent);
            LookTime::Own(read.map_or(facts.now.mono, |sent| sent + facts.settings.poll_max))
        }
        Some(at) if facts.now.mono < at => LookTime::At(at),
        Some(_) if pending => LookTime::Now,
        None if pending && !waits && !ends && !broken(observation) => LookTime::Never,
        Some(_) | None => LookTime::Regular,
    }
}

/// Whether the account's schedule looks at an id: its deletion was accepted, and the object waits
/// for nothing but its end.
#[must_use]
pub fn on_schedule(row: &Row, observation: &Observation) -> bool {
    let missing = matches!(observation.last, Some((Seen::NotFound, _)));
    matches!(row.progress, Progress::Accepted { resent: false, .. }) && !missing
}

/// The time since an id was accepted, as far as the record tells: since the intent of its call was
/// stored, else since the object started. Only the times of looks depend on it, so the wall clock
/// will do.
fn age(row: &Row, ledger: &Ledger, started: Option<Timestamp>, wall: Timestamp) -> Duration {
    let batch = row.progress.batch().and_then(|number| ledger.batch(number));
    let since = batch.map(|batch| batch.submitted_at.0).or(started);
    since.and_then(|since| Duration::try_from(wall.duration_since(since)).ok()).unwrap_or_default()
}

/// Whether the newest read is a not-found read that no longer counts: a call, or a read of another
/// object, came between.
fn broken(observation: &Observation) -> bool {
    observation.not_found_since().is_none() && matches!(observation.last, Some((Seen::NotFound, _)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FailureReason, Rollout};
    use crate::engine::{
        Now,
        object::{
            state::{
                deadlines::Cutoff,
                memory::{CallState, LookEnd},
            },
            tests::case::{Case, MICRO, at, case_of, just_before, then},
        },
        outcome::{CallOutcome, CloudMessage, LookFailure, Trouble, Unsent},
        state::Live,
    };

    const SUBMITTED: Progress = Progress::Submitted { batch: 7 };
    const ACCEPTED: Progress = Progress::Accepted { batch: None, resent: false };

    fn ask(case: &Case, candidates: &Candidates, mono: Mono) -> Due {
        case.clone().judge(at(mono), |ledger, facts| due(ledger, facts, candidates, None, false))
    }

    #[test]
    fn a_requested_look_is_at_all_that_a_call_may_have_named_and_is_not_under_way() {
        let later = then() + MICRO;
        let looked = |case: &Case| {
            let candidates = Candidates::default();
            case.clone().judge(at(then()), |ledger, facts| due(ledger, facts, &candidates, None, true))
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
            assert_eq!(ask(&case, &Candidates::default(), early), nothing(Some(then())), "{:?}", case.ledger);
            let (ids, next) = (vec![case.id()], Some(then() + poll_min));
            let expected = Due { ids, regular: true, watch: others(1), next, ..Due::default() };
            assert_eq!(ask(&case, &Candidates::default(), then()), expected, "{:?}", case.ledger);
        }
        let over = polled(Progress::Terminated { batch: None, ended_at: None }, then());
        assert_eq!(ask(&over, &Candidates::default(), then()), Due::default());
        let pending = polled(Progress::Pending, then());
        assert_eq!(
            ask(&pending, &Candidates::default(), then()),
            nothing(None),
            "it is next in line, or it waits"
        );
    }

    #[test]
    fn an_id_whose_call_is_being_made_is_looked_at_only_on_request() {
        let resent = Progress::Accepted { batch: Some(7), resent: true };
        for progress in [SUBMITTED, resent] {
            let case = polled(progress.clone(), then()).own(CallState::InFlight);
            assert_eq!(ask(&case, &Candidates::default(), then()), nothing(None), "{progress:?}");
            let requested = case
                .clone()
                .judge(at(then()), |ledger, facts| due(ledger, facts, &Candidates::default(), None, true));
            assert_eq!(requested.ids, [case.id()], "{progress:?}");
            let ended = CallState::Ended { at: then(), outcome: CallOutcome::NotSent(Unsent::TooLate) };
            let ended = polled(progress.clone(), then()).own(ended);
            assert_eq!(ask(&ended, &Candidates::default(), then()).ids, [case.id()], "{progress:?}");
        }
    }

    #[test]
    fn what_is_accepted_is_left_to_the_schedule() {
        let age = then().since_start();
        let seen = [Seen::ShuttingDown, Seen::Live(Live::Running), Seen::Live(Live::Error), Seen::Unreadable];
        for case in [polled(ACCEPTED, Mono::START)].into_iter().chain(seen.map(read_before)) {
            let mut due = ask(&case, &Candidates::default(), then());
            assert_eq!(
                due.watch.on_their_way.pop(),
                Some(OnItsWay { id: case.id(), age: Duration::ZERO, asked: false })
            );
            assert_eq!(due, Due::default(), "nothing is known of when it was accepted");
        }
        let accepted = Progress::Accepted { batch: Some(7), resent: false };
        let mut case = polled(accepted, Mono::START).batch("mine", Some(1));
        let ages = |case: &Case, started: Option<Timestamp>, moment: Mono| {
            let candidates = Candidates::default();
            let due = case
                .clone()
                .judge(at(moment), |ledger, facts| due(ledger, facts, &candidates, started, false));
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
        let due = ask(&case, &Candidates::default(), then());
        assert_eq!((due.ids, due.watch), (vec![id], others(1)));
        case.memory.saw(id, Seen::ShuttingDown, then() + MICRO);
        answer(&mut case, then() + MICRO, false);
        assert_eq!(case.memory.look_trouble, None);
        assert_eq!(ask(&case, &Candidates::default(), then() + MICRO).watch.on_their_way.len(), 1);
    }

    #[test]
    fn a_pending_id_that_waits_is_looked_at_with_the_others() {
        let waits = [
            Candidates { held: vec![0], ..Candidates::default() },
            Candidates { unusable: vec![0], ..Candidates::default() },
        ];
        for candidates in waits {
            let case = polled(Progress::Pending, then());
            let look = ask(&case, &candidates, then());
            assert_eq!((look.ids, look.regular), (vec![case.id()], true), "{candidates:?}");
            let other = polled(Progress::Pending, then() + MICRO);
            assert_eq!(ask(&other, &candidates, then()), nothing(Some(then() + MICRO)), "{candidates:?}");
        }
        let candidates = Candidates { held: vec![1], ..Candidates::default() };
        assert_eq!(
            ask(&polled(Progress::Pending, then()), &candidates, then()),
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
            assert_eq!(ask(&case, &Candidates::default(), then()), nothing(Some(then() + settle)));
            let due = ask(&case, &Candidates::default(), then() + settle);
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
        assert_eq!(ask(&case, &Candidates::default(), then()), nothing(Some(then() + MICRO)));
        let due = ask(&case, &Candidates::default(), then() + MICRO);
        assert_eq!((due.ids, due.regular), (vec![case.id()], true));
    }

    #[test]
    fn a_look_that_was_asked_for_is_waited_for_unless_it_is_lost() {
        let lost = then() + Case::pending().settings.request_timeout * 10;
        let mut case = polled(SUBMITTED, Mono::START);
        case.memory.asked(&case.spec.ids, then());
        assert_eq!(ask(&case, &Candidates::default(), then()), nothing(Some(lost)));
        assert_eq!(ask(&case, &Candidates::default(), just_before(lost)), nothing(Some(lost)));
        assert_eq!(ask(&case, &Candidates::default(), lost).ids, [case.id()]);
        let mut scheduled = polled(ACCEPTED, Mono::START);
        scheduled.memory.asked(&scheduled.spec.ids, then());
        for (now, asked) in [(just_before(lost), true), (lost, false)] {
            let due = ask(&scheduled, &Candidates::default(), now);
            assert_eq!(due.watch.on_their_way.iter().map(|one| one.asked).collect::<Vec<_>>(), [asked]);
            assert_eq!(due.next, Some(lost).filter(|_| asked));
        }
    }

    #[test]
    fn of_a_suspended_object_only_what_a_call_may_have_named_is_looked_at() {
        let candidates = Candidates { held: vec![0], ..Candidates::default() };
        let mut case = polled(Progress::Pending, then());
        case.spec.suspend = true;
        assert_eq!(ask(&case, &candidates, then()), nothing(None));
        case.spec.not_after = Some(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        case.observe(then());
        assert_eq!(case.memory.deadlines.passed().map(|passed| passed.cutoff), Some(Cutoff::NotAfter));
        assert_eq!(
            ask(&case, &candidates, then()).ids,
            [case.id()],
            "once a deadline has passed every open id is looked at"
        );
        let mut submitted = polled(SUBMITTED, then());
        submitted.spec.suspend = true;
        assert_eq!(ask(&submitted, &Candidates::default(), then()).ids, [submitted.id()]);
        let mut accepted = polled(ACCEPTED, then());
        accepted.spec.suspend = true;
        assert_eq!(ask(&accepted, &Candidates::default(), then()).watch.on_their_way.len(), 1);
    }

    #[test]
    fn after_a_call_that_deleted_nothing_an_id_is_not_looked_at_until_it_is_in_line_again() {
        let looked = |no_effect| {
            let mut case = polled(SUBMITTED, then()).batch("mine", None);
            case.ledger.batches[0].no_effect = no_effect;
            !ask(&case, &Candidates::default(), then()).ids.is_empty()
        };
        assert_eq!((looked(None), looked(Some(true))), (true, false));
    }

    #[test]
    fn r5_what_too_many_failures_end_is_looked_at_after_a_call_that_deleted_nothing_too() {
        let looked = |most: Option<u32>| {
            let mut case = case_of(2);
            case.memory.next_poll = then();
            case.ledger.rows[0].progress = SUBMITTED;
            case.ledger.fail(1, FailureReason::Conflict, None, &at(then()));
            case = case.batch("mine", None);
            case.ledger.batches[0].no_effect = Some(true);
            case.spec.rollout = Some(Rollout { max_failed: most, ..Rollout::default() });
            !ask(&case, &Candidates::default(), then()).ids.is_empty()
        };
        assert_eq!((looked(None), looked(Some(1)), looked(Some(0))), (false, false, true));
    }

    #[test]
    fn ids_next_in_line_are_looked_at_at_once_and_each_once() {
        let case = polled(SUBMITTED, then());
        let other = InstanceId::from_u128(9);
        let candidates = Candidates { look: vec![case.id(), other], ..Candidates::default() };
        let due = ask(&case, &candidates, then());
        assert_eq!((due.ids, due.regular), (vec![case.id(), other], true));
        let early = ask(&case, &candidates, just_before(then()));
        assert_eq!((early.ids, early.regular), (vec![case.id(), other], false), "no regular one");
    }

    #[test]
    fn what_is_held_is_a_time_to_wake() {
        let case = polled(SUBMITTED, then());
        for (until, next) in [(then() + MICRO, then() + MICRO), (just_before(then()), then())] {
            let candidates = Candidates { held_until: Some(until), ..Candidates::default() };
            assert_eq!(ask(&case, &candidates, then()).next, Some(next));
        }
    }
}
