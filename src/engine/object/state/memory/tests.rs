//! What is remembered, and for how long it counts.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::api::InstanceDeletionStatus;
use crate::engine::{
    object::{
        state::ledger::Progress,
        tests::case::{Case, MICRO, closed_for, just_before, then},
    },
    outcome::{Effect, Refusal, Trouble, Unsent},
    state::{Live, StateText},
};

fn at(mono: Mono) -> Now {
    Now { mono, wall: Timestamp::UNIX_EPOCH + mono.since_start() }
}

/// The call of batch 7 ended then, at an account without other calls.
fn end(case: &mut Case, outcome: &CallOutcome) {
    let (now, evidence, settings) = (at(then()), Evidence::default(), &case.settings);
    let closed_for = closed_for(outcome);
    let end = CallEnd { outcome, secret_version: "1", closed_for, evidence, now: &now, settings, random: 0 };
    case.memory.call_ended(7, &end);
}

#[test]
fn an_outcome_is_unrecorded_until_the_write_that_holds_it_is_acknowledged() {
    let outcome = CallOutcome::Accepted { ids: vec![], foreign: 0, message: CloudMessage::default() };
    let mut case = Case::new(Progress::Submitted { batch: 7 }).own(CallState::InFlight);
    assert!(case.memory.calls_in_flight() && !case.memory.unrecorded());
    let end = CallEnd {
        outcome: &outcome,
        secret_version: "1",
        closed_for: None,
        evidence: Evidence::default(),
        now: &at(then()),
        settings: &Settings::default(),
        random: 0,
    };
    case.memory.call_ended(7, &end);
    assert!(!case.memory.calls_in_flight() && case.memory.unrecorded());
    case.memory.recorded(&[6]);
    assert!(case.memory.unrecorded(), "another batch");
    case.memory.recorded(&[7]);
    assert!(!case.memory.unrecorded());
}

#[test]
fn a_recorded_call_keeps_its_outcome_and_no_ids() {
    let message = CloudMessage::default;
    let unknown =
        CallOutcome::Unknown { trouble: Trouble::CloudUnreachable, unavailable: false, message: message() };
    let refused =
        |refusal| CallOutcome::Refused { refusal, trouble: Trouble::RequestRefused, message: message() };
    let id = Case::pending().id();
    let table = [
        (CallOutcome::Accepted { ids: vec![id], foreign: 0, message: message() }, false),
        (unknown, true),
        (refused(Refusal::Whole), true),
        (refused(Refusal::Conflict(vec![id])), false),
        (refused(Refusal::Unnamed), false),
        (CallOutcome::NotSent(Unsent::TooLate), false),
    ];
    for (outcome, blocks) in table {
        let mut case = Case::new(Progress::Submitted { batch: 7 }).own(CallState::InFlight);
        end(&mut case, &outcome);
        assert_eq!(case.memory.calls[&7].blocks_others(), blocks, "{outcome:?}");
        case.memory.recorded(&[7]);
        let call = &case.memory.calls[&7];
        assert_eq!(call.state, CallState::Recorded { at: then(), outcome: outcome.without_details() });
        assert_eq!((call.blocks_others(), call.ids.is_empty()), (blocks, true), "{outcome:?}");
    }
}

#[test]
fn a_recorded_call_is_forgotten_once_no_open_row_names_it() {
    let refused = || CallOutcome::Refused {
        refusal: Refusal::Whole,
        trouble: Trouble::Forbidden,
        message: CloudMessage::default(),
    };
    let recorded = |outcome| CallState::Recorded { at: then(), outcome };
    let ended = || CallState::Ended { at: then(), outcome: refused() };
    let unsent = || CallOutcome::NotSent(Unsent::TooLate);
    let accepted = || Progress::Accepted { batch: Some(7), resent: false };
    let over = || Progress::Terminated { batch: Some(7), ended_at: None };
    // What the row says, how far the call is, whether it is kept, and the number of the next batch.
    let table = [
        (Progress::Pending, recorded(refused()), false, 8),
        (Progress::Pending, recorded(unsent()), false, 1),
        (Progress::Pending, ended(), true, 8),
        (Progress::Pending, CallState::InFlight, true, 8),
        (Progress::Submitted { batch: 7 }, recorded(refused()), true, 8),
        (accepted(), recorded(refused()), true, 8),
        (over(), recorded(refused()), false, 8),
        (Progress::Submitted { batch: 8 }, recorded(refused()), false, 9),
    ];
    for (progress, state, kept, next) in table {
        let mut case = Case::new(progress.clone()).own(state.clone());
        case.ledger.batches.clear();
        case.memory.observe_foreign(3, None, then());
        case.memory.forget_calls(&case.ledger);
        let what = format!("{progress:?} {state:?}");
        assert_eq!(case.memory.calls.contains_key(&7), kept, "{what}");
        assert_eq!(case.memory.next_batch(&case.ledger), next, "{what}");
        assert_eq!(case.memory.entries(), usize::from(kept), "the other process's batch is named by no row");
    }
    // What one call of a wave came to says something about the others.
    let mut case = Case::pending().own(recorded(refused()));
    let other = OwnCall {
        kind: CallKind::Delete,
        claim: "mine".into(),
        ids: vec![CalledId::first(case.id())],
        state: CallState::InFlight,
    };
    case.memory.calls.insert(8, other);
    case.memory.forget_calls(&case.ledger);
    assert_eq!(case.memory.calls.len(), 2);
}

#[test]
fn a_look_is_open_from_when_it_was_asked_for_until_it_is_answered() {
    let mut case = Case::pending();
    let id = case.id();
    case.memory.looking(&[id], false, then(), &Settings::default());
    assert_eq!(case.memory.observation(0).asked, Some(then()));
    let next = case.memory.next_poll;
    let now = Now { mono: then(), wall: k8s_openapi::jiff::Timestamp::UNIX_EPOCH };
    let settings = &Settings::default();
    case.memory.look_answered(&[id], LookEnd { failure: None, now: &now, settings, random: 0 });
    assert_eq!(case.memory.observation(0).asked, None);
    case.memory.looking(&[id], true, then(), &Settings::default());
    assert_eq!((next, case.memory.next_poll), (Mono::START, then() + Settings::default().poll_min));
}

#[test]
fn the_newest_read_counts() {
    let last = |case: &Case| case.memory.observation(0).last.clone().unwrap();
    let case = Case::pending().seen(Live::Running, then()).seen(Live::Stopped, just_before(then()));
    assert_eq!(last(&case), (Seen::Live(Live::Running), then().into()), "an older one came late");
    let case = case.seen(Live::Error, then());
    assert_eq!(last(&case).0, Seen::Live(Live::Error), "of two sent at once, the one that came last");
}

#[test]
fn an_object_read_after_a_sleep_has_its_gate_closed() {
    for (gained, closed) in [(0, false), (5, false), (6, true)] {
        let mut case = Case::pending();
        case.observe_at(at(then()));
        let gate = case.memory.gate;
        let mut later = at(then() + Duration::from_secs(10));
        later.wall += Duration::from_secs(gained);
        case.observe_at(later);
        assert_eq!(case.memory.gate > gate, closed, "{gained} s");
    }
    let mut set_back = Case::pending();
    set_back.observe_at(at(then()));
    let gate = set_back.memory.gate;
    set_back.observe_at(Now { mono: then() + MICRO, wall: Timestamp::UNIX_EPOCH });
    assert_eq!(set_back.memory.gate, gate, "a wall clock that is set back says nothing");
}

#[test]
fn a_generation_is_planned_from_when_it_was_first_seen() {
    let mut case = Case::pending();
    case.observe_at(at(then()));
    assert_eq!(case.memory.planning_since(), Mono::START);
    case.spec.meta.generation += 1;
    case.observe_at(at(then() + MICRO));
    assert_eq!(case.memory.planning_since(), then() + MICRO);
    assert_eq!(case.memory.gate, then() + MICRO);
}

#[test]
fn a_not_found_series_counts_from_its_first_read_after_the_last_call() {
    let unknown = CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage::default(),
    };
    let ended = || CallState::Ended { at: then(), outcome: unknown.clone() };
    let series = |reads: &[Mono]| {
        let mut case = Case::new(Progress::Submitted { batch: 7 }).own(ended());
        for sent in reads {
            case = case.read(Seen::NotFound, *sent);
        }
        case.observe_at(at(then() + Duration::from_mins(1)));
        case.memory.observation(0).not_found_since().map(|read| read.sent)
    };
    let after = then() + MICRO;
    assert_eq!(series(&[after]), Some(after));
    assert_eq!(series(&[just_before(then()), after]), Some(after), "the one before the end does not count");
    assert_eq!(series(&[then(), after]), Some(after));
    assert_eq!(series(&[then()]), None, "none after the end yet");
    assert_eq!(series(&[after, after + MICRO]), Some(after), "not the last one");
}

#[test]
fn a_not_found_series_is_broken_by_whatever_happens_to_the_id_in_this_process() {
    let (before, after) = (just_before(then()), then() + Duration::from_mins(5));
    let series = |happens: &dyn Fn(&mut Case)| {
        let mut case = Case::pending().read(Seen::NotFound, before);
        happens(&mut case);
        // Much later than what is known of calls is kept, and not observed in between.
        case.call_history.sweep(after, &case.settings);
        let mut once = case.clone();
        once.observe_at(at(after));
        let mut twice = case.read(Seen::NotFound, after);
        twice.observe_at(at(after));
        [once, twice].map(|case| case.memory.observation(0).not_found_since().map(|read| read.sent))
    };
    let call = |effect: Option<Effect>| {
        move |case: &mut Case| {
            let id = case.id();
            assert!(case.call_history.claim(&[(id, Live::Running)]));
            case.call_history.release(CallKind::Delete, &[id], then(), |_| effect);
        }
    };
    assert_eq!(series(&|_| ()), [Some(before); 2]);
    for effect in [None, Some(Effect::Unknown), Some(Effect::Accepted)] {
        assert_eq!(series(&call(effect)), [None, Some(after)], "a call of another object: {effect:?}");
    }
    for seen in
        [Seen::Live(Live::Running), Seen::ShuttingDown, Seen::Other(StateText::new("odd")), Seen::Unreadable]
    {
        let read = |sent: Mono| {
            let seen = seen.clone();
            move |case: &mut Case| case.call_history.saw(case.id(), &seen, sent)
        };
        assert_eq!(series(&read(then())), [None, Some(after)], "a read of another object: {seen:?}");
        assert_eq!(series(&read(before)), [None, Some(after)], "at the same time");
        assert_eq!(series(&read(just_before(before))), [Some(before); 2], "an older read that came late");
    }
}

#[test]
fn a_not_found_series_lasts_for_a_round_of_reads_of_many_hours() {
    let day = Duration::from_hours(24);
    for (later, kept) in [(just_before(then() + day), true), (then() + day, false)] {
        let mut case = Case::pending().read(Seen::NotFound, then());
        case.call_history.sweep(later, &case.settings);
        case.observe_at(at(later));
        assert_eq!(case.memory.observation(0).not_found_since().is_some(), kept, "{later:?}");
    }
}

#[test]
fn an_unnamed_conflict_waits_the_longer_the_smaller_its_call_was() {
    let waits = |n: u128| {
        let ids: Vec<_> = (1..=n).map(|i| CalledId::first(InstanceId::from_u128(i))).collect();
        let call = OwnCall { kind: CallKind::Delete, claim: "mine".into(), ids, state: CallState::InFlight };
        let mut case = Case::pending();
        case.memory.calls.insert(7, call);
        let refusal = Refusal::UnnamedConflict;
        let outcome = CallOutcome::Refused {
            refusal,
            trouble: Trouble::RequestRefused,
            message: CloudMessage::default(),
        };
        end(&mut case, &outcome);
        let refused = &case.memory.refusals.delete.ids[&InstanceId::from_u128(1)];
        assert_eq!((refused.at, refused.unexplained), (then(), None));
        (refused.until - then()).as_millis()
    };
    assert_eq!([50, 25, 12, 6, 3, 2].map(waits), [500, 1000, 2000, 4000, 8000, 8000]);
}

#[test]
fn what_was_refused_of_an_id_is_over_with_its_next_outcome() {
    let refused =
        || RefusedId { at: then(), until: then(), unexplained: None, message: CloudMessage::default() };
    let whole = CallOutcome::Refused {
        refusal: Refusal::Whole,
        trouble: Trouble::Throttled { retry_after: None },
        message: CloudMessage::default(),
    };
    let unknown = CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage::default(),
    };
    let table = [
        (CallOutcome::Accepted { ids: vec![], foreign: 0, message: CloudMessage::default() }, false),
        (unknown, false),
        (whole, true),
        (CallOutcome::NotSent(Unsent::TooLate), true),
    ];
    for (outcome, kept) in table {
        let mut case = Case::new(Progress::Submitted { batch: 7 }).own(CallState::InFlight);
        let id = case.id();
        case.memory.refusals.delete.ids.insert(id, refused());
        end(&mut case, &outcome);
        assert_eq!(case.memory.refusals.delete.ids.contains_key(&id), kept, "{outcome:?}");
    }
}

#[test]
fn an_id_that_has_ended_or_is_on_its_way_leaves_the_bisection() {
    let bisected = |progress: Progress, seen: Seen| {
        let mut case = Case::new(progress).read(seen, just_before(then()));
        let other = InstanceId::from_u128(9);
        case.memory.refusals.delete.bisection.halve(&[case.id(), other]);
        case.observe(then());
        case.memory.refusals.delete.bisection.parts().concat().contains(&case.id())
    };
    let ended = || Progress::Terminated { batch: None, ended_at: None };
    assert!(bisected(Progress::Pending, Seen::Live(Live::Running)));
    assert!(!bisected(Progress::Pending, Seen::ShuttingDown));
    assert!(!bisected(ended(), Seen::Live(Live::Running)));
}

#[test]
fn the_turning_points_are_when_looks_began_to_count() {
    let mut case = Case::pending();
    case.spec.suspend = true;
    case.spec.meta.generation += 1;
    case.observe(then());
    let mut visited = Vec::new();
    case.memory.turning_points(&mut |moment| visited.push(*moment));
    assert_eq!(visited, [case.memory.planning_since(), case.memory.gate]);
    assert_eq!(visited, [then(), then()]);
}

#[test]
fn other_ids_than_before_are_looked_at_anew() {
    let mut case = Case::pending().seen(Live::Running, just_before(then()));
    case.observe(just_before(then()));
    let gate = case.memory.gate;
    case.spec.ids = vec![InstanceId::from_u128(9)];
    case.observe(then());
    assert_eq!((case.memory.observation(0).last.as_ref(), case.memory.gate), (None, then()));
    assert!(gate < then());
}

#[test]
fn a_bad_request_stands_in_the_way_of_the_object() {
    let mut case = Case::pending();
    let call = OwnCall {
        kind: CallKind::Delete,
        claim: "mine".into(),
        ids: vec![CalledId::first(case.id())],
        state: CallState::InFlight,
    };
    case.memory.calls.insert(7, call);
    let said = CloudMessage { code: Some("iMetal.0001".into()), ..CloudMessage::default() };
    let outcome = CallOutcome::Refused {
        refusal: Refusal::Unnamed,
        trouble: Trouble::RequestRefused,
        message: said.clone(),
    };
    end(&mut case, &outcome);
    let blocker = case.memory.call_trouble.unwrap();
    assert_eq!((blocker.trouble, blocker.message), (Trouble::RequestRefused, said));
}

#[test]
fn of_an_id_on_its_way_it_is_news_that_it_is_not_any_more_or_is_again() {
    let running = Seen::Live(Live::Running);
    let table = [
        (None, Seen::ShuttingDown, false),
        (None, running.clone(), true),
        (None, Seen::Terminated, true),
        (Some(Seen::ShuttingDown), Seen::ShuttingDown, false),
        (Some(Seen::ShuttingDown), Seen::Terminated, true),
        (Some(Seen::ShuttingDown), Seen::NotFound, true),
        // A later read of the same state may allow what the earlier one did not.
        (Some(running.clone()), running.clone(), true),
        // Nothing is recorded of an id that shows at last what its accepted call has begun.
        (Some(running), Seen::ShuttingDown, false),
        (Some(Seen::Live(Live::Pending)), Seen::ShuttingDown, false),
        (Some(Seen::Live(Live::Stopped)), Seen::ShuttingDown, false),
        (Some(Seen::Live(Live::Error)), Seen::ShuttingDown, true),
        (Some(Seen::NotFound), Seen::ShuttingDown, true),
        (Some(Seen::Unreadable), Seen::ShuttingDown, true),
        (Some(Seen::Other(StateText::new("x"))), Seen::ShuttingDown, true),
    ];
    for (last, now, news) in table {
        let mut case = Case::new(Progress::Accepted { batch: None, resent: false });
        let id = case.id();
        if let Some(last) = &last {
            case.memory.saw(id, last.clone(), just_before(then()));
        }
        assert_eq!(case.memory.is_news(id, &now), news, "{last:?} {now:?}");
    }
}

/// A case of accepted ids, and how looks at them end.
struct Looks(Case);

impl Looks {
    fn at(n: u128) -> Self {
        let spec = crate::engine::object::state::spec::tests::spec_of(n);
        let mut ledger = Ledger::read(&spec.ids, &InstanceDeletionStatus::default());
        for row in &mut ledger.rows {
            row.progress = Progress::Accepted { batch: None, resent: false };
        }
        let memory = Memory::new(&spec, Mono::START);
        Self(Case { spec, ledger, memory, ..Case::pending() })
    }

    fn id(&self, n: usize) -> InstanceId {
        self.0.spec.ids[n]
    }

    /// A look at these ids that reads the first `read` of them.
    fn look(&mut self, ids: std::ops::Range<usize>, read: usize) {
        self.look_with(ids, read, Trouble::CloudUnreachable);
    }

    fn look_with(&mut self, ids: std::ops::Range<usize>, read: usize, trouble: Trouble) {
        let ids: Vec<_> = ids.map(|n| self.id(n)).collect();
        let memory = &mut self.0.memory;
        memory.asked(&ids, then());
        for id in &ids[..read] {
            memory.saw(*id, Seen::ShuttingDown, then() + MICRO);
        }
        let failure = LookFailure { trouble, message: CloudMessage::default(), secret_version: None };
        let failure = Some(failure).filter(|_| read < ids.len());
        let end = LookEnd { failure, now: &at(then()), settings: &self.0.settings, random: 0 };
        memory.look_answered(&ids, end);
    }

    fn unreadable(&self) -> Vec<usize> {
        (0..self.0.spec.ids.len()).filter(|n| self.0.memory.unreadable(self.id(*n)).is_some()).collect()
    }

    fn blocked(&self) -> bool {
        self.0.memory.look_trouble.is_some()
    }
}

#[test]
fn what_a_look_missed_while_it_read_others_blocks_nothing() {
    let mut looks = Looks::at(10);
    looks.look(0..5, 3);
    assert_eq!((looks.blocked(), looks.unreadable()), (false, vec![3, 4]));
    looks.look(3..5, 0);
    assert!(!looks.blocked(), "it was known that they can't be read");
    looks.look(5..6, 0);
    assert!(looks.blocked(), "of this one that was not known");
    assert_eq!(looks.0.memory.waits_alone(looks.id(3)), None, "all wait together");
    looks.look(3..5, 0);
    assert!(looks.blocked(), "nothing was read");
    looks.look(6..8, 1);
    assert_eq!((looks.blocked(), looks.unreadable()), (false, vec![3, 4, 5, 7]));
    looks.look(3..8, 5);
    assert_eq!((looks.blocked(), looks.unreadable()), (false, vec![]));
}

#[test]
fn what_cuts_off_an_account_s_reads_blocks_though_some_were_made() {
    for (trouble, blocks) in [
        (Trouble::CredentialsRejected, true),
        (Trouble::Throttled { retry_after: None }, true),
        (Trouble::SecretNotFound, true),
        (Trouble::Forbidden, false),
        (Trouble::RequestRefused, false),
        (Trouble::EndpointMisconfigured, false),
        (Trouble::CloudUnreachable, false),
    ] {
        let mut looks = Looks::at(3);
        looks.look_with(0..3, 1, trouble);
        assert_eq!((looks.blocked(), looks.unreadable()), (blocks, vec![1, 2]), "{trouble:?}");
        looks.look(0..1, 1);
        assert!(!looks.blocked(), "{trouble:?}");
    }
}

#[test]
fn of_an_outage_one_call_is_remembered() {
    let mut looks = Looks::at(300);
    looks.look(0..90, 0);
    looks.look(80..300, 0);
    assert_eq!(looks.unreadable().len(), crate::engine::settings::READ_SIZE);
    looks.look(0..100, 100);
    assert_eq!((looks.blocked(), looks.unreadable()), (false, vec![]));
}

#[test]
fn an_id_that_has_ended_is_forgotten() {
    let mut looks = Looks::at(3);
    looks.look(0..3, 1);
    looks.0.ledger.rows[1].progress = Progress::Terminated { batch: None, ended_at: None };
    looks.0.observe(then());
    assert_eq!(looks.unreadable(), [2]);
}
