//! Each moment of the rule, to the microsecond.

use super::*;
use crate::engine::{
    id::InstanceId,
    object::{
        rules::last_call::{CallFacts, gather},
        state::memory::{CallState, RefusedId},
        tests::case::{Case, MICRO, at, just_before, then},
    },
    outcome::{CallOutcome, CloudMessage, Refusal, Trouble, Unsent},
};

impl Case {
    fn verdict(&self, now: Mono) -> Verdict {
        self.clone().judge(at(now), |ledger, facts| verdict(&facts.row(ledger, 0).unwrap(), facts))
    }

    /// From when on a read allows another call; none if it does at once.
    fn settling_until(&self) -> Option<Duration> {
        match self.verdict(then()) {
            Verdict::Settling { until } => Some(until - then()),
            Verdict::Look | Verdict::Send { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    fn calls(&self) -> CallFacts {
        gather(&self.ledger, &self.memory, &self.call_history, &self.spec.meta.namespace)[0]
    }

    fn last_end(&self) -> Option<Mono> {
        self.calls().last_end()
    }

    fn flies(&self) -> bool {
        self.calls().in_flight
    }
}

const fn send(live: Live, sent: Mono) -> Verdict {
    Verdict::Send { kind: CallKind::Delete, live, sent }
}

#[test]
fn a_look_counts_if_it_was_sent_after_the_gate_and_less_than_its_life_ago() {
    let mut case = Case::pending().seen(Live::Running, then());
    assert_eq!(case.verdict(then()), send(Live::Running, then()));
    let dies = then() + LOOK_LIFE_AT_DECISION;
    assert_eq!(case.verdict(just_before(dies)), send(Live::Running, then()));
    assert_eq!(case.verdict(dies), Verdict::Look);
    case.memory.gate = then();
    assert_eq!(case.verdict(then()), Verdict::Look, "sent at the very moment of the gate");
    case = case.seen(Live::Stopped, then() + MICRO);
    assert_eq!(case.verdict(then() + MICRO), send(Live::Stopped, then() + MICRO));
}

#[test]
fn after_an_unknown_outcome_a_read_counts_when_it_was_sent_after_settle() {
    let case = || Case::pending().ended(Effect::Unknown, Live::Running);
    let settled = then() + Settings::default().settle;
    let before = just_before(settled);
    assert_eq!(case().seen(Live::Running, before).verdict(before), Verdict::Settling { until: settled });
    assert_eq!(case().seen(Live::Running, settled).verdict(settled), Verdict::Look);
    let after = settled + MICRO;
    assert_eq!(case().seen(Live::Running, after).verdict(after), send(Live::Running, after));
}

#[test]
fn after_an_acceptance_only_an_error_that_came_after_it_shortens_the_wait() {
    let (settle, patience) = (Settings::default().settle, Settings::default().settle * PATIENCE);
    let after = then() + MICRO;
    let accepted = |before| Case::pending().ended(Effect::Accepted, before);
    // Before the call, after it, when that read was sent; whether it was seen shutting down; how
    // long to wait.
    let table = [
        (Live::Running, Live::Running, after, None, patience),
        (Live::Running, Live::Error, after, None, settle),
        (Live::Stopped, Live::Error, after, None, settle),
        (Live::Running, Live::Error, then(), None, patience),
        (Live::Error, Live::Error, after, None, patience),
        (Live::Error, Live::Error, after, Some(after), settle + MICRO),
        (Live::Error, Live::Error, after + MICRO, Some(after), settle + MICRO),
        (Live::Error, Live::Error, after, Some(then()), patience),
        (Live::Error, Live::Running, after, None, patience),
    ];
    for (before, now, sent, on_its_way, expected) in table {
        let mut case = accepted(before);
        if let Some(at) = on_its_way {
            case = case.last_call(&Seen::ShuttingDown, at);
        }
        let case = case.seen(now, sent);
        let waits = case.settling_until();
        // A read on its way at the moment of the error makes the wait one of patience from there.
        let expected = match on_its_way {
            Some(at) if sent == at => patience + (at - then()),
            _ => expected,
        };
        assert_eq!(waits, Some(expected), "{before:?} {now:?} {sent:?} {on_its_way:?}");
    }
}

#[test]
fn a_read_that_shows_it_shutting_down_is_an_acceptance_by_some_process() {
    let (settle, patience) = (Settings::default().settle, Settings::default().settle * PATIENCE);
    let table = [
        (Live::Running, then() + MICRO, patience),
        (Live::Error, then() + MICRO, settle),
        (Live::Error, then(), patience),
    ];
    for (live, sent, expected) in table {
        let case = Case::pending().last_call(&Seen::ShuttingDown, then()).seen(live, sent);
        assert_eq!(case.settling_until(), Some(expected), "{live:?} {sent:?}");
    }
}

#[test]
fn a_refused_id_waits_for_its_backoff_and_for_a_read_after_the_refusal() {
    let until = then() + Duration::from_secs(9);
    let mut case = Case::pending();
    let refused = RefusedId { at: then(), until, unexplained: None, message: CloudMessage::default() };
    case.memory.refusals.delete.ids.insert(case.id(), refused);
    let before = just_before(until);
    let mut case = case.seen(Live::Running, then());
    assert_eq!(case.verdict(before), Verdict::Settling { until });
    assert_eq!(case.verdict(until), Verdict::Look, "the look was sent at the moment of the refusal");
    case = case.seen(Live::Running, then() + MICRO);
    assert_eq!(case.verdict(until), send(Live::Running, then() + MICRO));
    case.ledger.rows[0].attempts = case.spec.backoff_limit;
    assert_eq!(case.verdict(until), send(Live::Running, then() + MICRO), "one attempt is left");
    case.ledger.rows[0].attempts += 1;
    assert_eq!(case.verdict(until), Verdict::Spent(FailureReason::Conflict));
    case.memory.refusals.delete.ids.clear();
    assert_eq!(case.verdict(until), Verdict::Spent(FailureReason::NotAccepted));
}

#[test]
fn an_id_whose_attempts_are_used_up_has_failed_at_the_cloud_only_if_it_was_accepted() {
    let table = [
        (Progress::Pending, Live::Running, FailureReason::NotAccepted),
        // It was in error before the first call, and every reply left it out.
        (Progress::Pending, Live::Error, FailureReason::NotAccepted),
        (Progress::Submitted { batch: 7 }, Live::Error, FailureReason::NotAccepted),
        (accepted(false), Live::Error, FailureReason::InstanceError),
        (accepted(false), Live::Running, FailureReason::InstanceError),
    ];
    for (progress, live, reason) in table {
        let state = CallState::Recorded { at: just_before(then()), outcome: refused_whole() };
        let mut case = Case::new(progress.clone()).own(state).seen(live, then() + MICRO);
        case.ledger.rows[0].attempts = case.spec.backoff_limit + 1;
        assert_eq!(case.verdict(then() + MICRO), Verdict::Spent(reason), "{progress:?} {live:?}");
    }
}

fn refused_whole() -> CallOutcome {
    CallOutcome::Refused {
        refusal: Refusal::Whole,
        trouble: Trouble::RequestRefused,
        message: CloudMessage::default(),
    }
}

fn accepted(resent: bool) -> Progress {
    Progress::Accepted { batch: Some(7), resent }
}

#[test]
fn what_ones_own_call_came_to_says_how_long_to_wait() {
    let (settle, patience) = (Settings::default().settle, Settings::default().settle * PATIENCE);
    let submitted = || Progress::Submitted { batch: 7 };
    let ended = |outcome| CallState::Ended { at: then(), outcome };
    let recorded =
        |outcome: CallOutcome| CallState::Recorded { at: then(), outcome: outcome.without_details() };
    let returned = |n: u128| CallOutcome::Accepted {
        ids: vec![InstanceId::from_u128(n)],
        foreign: 0,
        message: CloudMessage::default(),
    };
    let unknown = || CallOutcome::Unknown {
        trouble: Trouble::CloudUnreachable,
        unavailable: false,
        message: CloudMessage::default(),
    };
    let refused = || CallOutcome::Refused {
        refusal: Refusal::Whole,
        trouble: Trouble::RequestRefused,
        message: CloudMessage::default(),
    };
    let table = [
        (submitted(), ended(returned(1)), Some(patience)),
        (submitted(), ended(returned(2)), Some(settle)),
        (submitted(), ended(unknown()), Some(settle)),
        (accepted(true), ended(unknown()), Some(settle)),
        (accepted(true), ended(returned(1)), Some(patience)),
        (accepted(true), ended(returned(2)), Some(settle)),
        // The record says that the call, or a read after it, brought the acceptance.
        (accepted(false), ended(unknown()), Some(patience)),
        (accepted(false), ended(returned(2)), Some(patience)),
        (submitted(), ended(refused()), None),
        (submitted(), ended(CallOutcome::NotSent(Unsent::TooLate)), None),
        // Once it is recorded, the record says which of its ids it brought the acceptance.
        (accepted(false), recorded(returned(1)), Some(patience)),
        (accepted(false), recorded(unknown()), Some(patience)),
        (submitted(), recorded(returned(1)), Some(settle)),
        (submitted(), recorded(unknown()), Some(settle)),
        (accepted(true), recorded(returned(1)), Some(settle)),
        (submitted(), recorded(refused()), None),
        (submitted(), recorded(CallOutcome::NotSent(Unsent::TooLate)), None),
    ];
    for (progress, state, expected) in table {
        let case = Case::new(progress.clone()).own(state.clone());
        assert_eq!(case.settling_until(), expected, "{progress:?} {state:?}");
        assert_eq!(case.last_end(), expected.map(|_| then()), "{progress:?} {state:?}");
    }
    let running = Case::new(submitted()).own(CallState::InFlight);
    assert_eq!(running.verdict(then()), Verdict::Busy);
}

#[test]
fn a_batch_that_another_process_stored_is_over_when_its_call_must_have_ended() {
    let settings = Settings::default();
    let whole = INTENT_LIFE + settings.request_timeout;
    let patience = settings.settle * PATIENCE;
    let submitted = Progress::Submitted { batch: 7 };
    let table = [
        (submitted.clone(), None, whole + settings.settle),
        (submitted, Some(0), settings.settle),
        (accepted(true), None, whole + patience),
        (accepted(false), Some(1), patience),
    ];
    for (progress, returned, expected) in table {
        let mut case = Case::new(progress.clone()).batch("another's", returned);
        case.observe(then());
        assert_eq!(case.settling_until(), Some(expected), "{progress:?} {returned:?}");
    }
    let unseen = Case::new(Progress::Submitted { batch: 7 }).batch("another's", None);
    assert_eq!(unseen.verdict(then()), Verdict::Busy, "not observed: it may be running");
}

#[test]
fn the_end_of_another_process_s_call_is_fixed_when_its_intent_is_seen() {
    let settle = Settings::default().settle;
    let whole = INTENT_LIFE + Settings::default().request_timeout;
    let mut case = Case::new(Progress::Submitted { batch: 7 }).batch("another's", None);
    case.observe(then());
    for passed in [20, 60] {
        case = case.batch("another's", Some(0));
        case.observe(then() + Duration::from_secs(passed));
        assert_eq!(
            case.last_end(),
            Some(then() + whole),
            "an outcome may be recorded long after it was known"
        );
    }
    assert_eq!(case.settling_until(), Some(whole + settle));
    case.ledger.rows[0].progress = accepted(false);
    case.observe(then() + Duration::from_mins(1));
    assert_eq!(case.settling_until(), Some(whole + settle * PATIENCE));
}

#[test]
fn what_a_record_says_of_others_calls_is_known_to_every_object_that_names_the_id() {
    let settings = Settings::default();
    let whole = INTENT_LIFE + settings.request_timeout;
    let patience = settings.settle * PATIENCE;
    let table = [
        (Progress::Submitted { batch: 7 }, None, Some(whole + settings.settle)),
        (Progress::Submitted { batch: 7 }, Some(0), Some(settings.settle)),
        (accepted(false), Some(1), Some(patience)),
        (accepted(true), None, Some(whole + patience)),
        (Progress::Accepted { batch: None, resent: false }, None, Some(patience)),
        (Progress::Pending, None, None),
        (Progress::Terminated { batch: Some(7), ended_at: None }, Some(1), None),
    ];
    for (progress, returned, expected) in table {
        let mut first = Case::new(progress.clone()).batch("another's", returned);
        first.observe(then());
        // Again, later: it is not heard of anew.
        first.observe(then() + Duration::from_secs(10));
        let other = Case { call_history: first.call_history, ..Case::pending() };
        assert_eq!(other.settling_until(), expected, "{progress:?} {returned:?}");
    }
}

#[test]
fn a_call_of_this_process_is_not_heard_of_from_the_record() {
    let ended = CallState::Recorded { at: then(), outcome: CallOutcome::NotSent(Unsent::TooLate) };
    let mut case = Case::new(Progress::Submitted { batch: 7 }).own(ended);
    case.observe(then() + MICRO);
    assert_eq!(case.settling_until(), None, "it was never sent");
}

#[test]
fn the_last_end_is_the_latest_and_any_call_in_flight_counts() {
    let returned = CallOutcome::Accepted { ids: Vec::new(), foreign: 0, message: CloudMessage::default() };
    let ended = |at| CallState::Recorded { at, outcome: returned.clone() };
    let earlier = Mono::at(Duration::from_secs(10));
    let later = then() + MICRO;
    let own = |at| Case::new(Progress::Submitted { batch: 7 }).own(ended(at));
    assert_eq!(Case::pending().last_end(), None);
    assert_eq!(own(earlier).last_end(), Some(earlier));
    assert_eq!(own(earlier).ended(Effect::Unknown, Live::Running).last_end(), Some(then()));
    assert_eq!(own(later).ended(Effect::Unknown, Live::Running).last_end(), Some(later));
    assert!(!Case::pending().flies() && !own(earlier).flies());
    let mut claimed = Case::pending();
    assert!(claimed.call_history.claim(&[(claimed.spec.ids[0], Live::Running)]));
    assert!(claimed.flies(), "a call of another object");
    assert_eq!(claimed.verdict(then()), Verdict::Busy);
    assert!(Case::new(Progress::Submitted { batch: 7 }).own(CallState::InFlight).flies());
}

#[test]
fn a_later_read_of_another_object_that_did_not_find_it_makes_a_look_stale() {
    let before = just_before(then());
    let found = |sent| Case::pending().last_call(&Seen::NotFound, then()).seen(Live::Running, sent);
    assert_eq!(found(before).verdict(then()), Verdict::Look);
    let (now, sent) = (then(), then());
    assert_eq!(found(sent).verdict(now), send(Live::Running, sent), "one 404 is no proof of anything");
    let gone = Case::pending().last_call(&Seen::Terminated, then()).seen(Live::Running, before);
    assert!(matches!(gone.verdict(then()), Verdict::Settling { .. }));
}

#[test]
fn a_call_that_another_namespace_claims_is_waited_for_one_settle_and_no_longer() {
    let (settings, hostile) = (Settings::default(), "hostile".into());
    for effect in [Effect::Unknown, Effect::Accepted] {
        let mut case = Case::pending();
        // Someone there writes another batch into a status, again and again.
        for renewals in 0..100 {
            let now = then() + settings.settle * renewals;
            let forged = Ended { at: now + INTENT_LIFE + settings.request_timeout, effect, before: None };
            case.call_history.heard_call(case.id(), &hostile, (CallKind::Delete, forged), now, &settings);
            case.call_history.heard_on_its_way(case.id(), &hostile, now);
        }
        let until = then() + settings.settle;
        assert_eq!(case.verdict(then()), Verdict::Settling { until }, "{effect:?}");
        let after = until + MICRO;
        assert_eq!(case.seen(Live::Running, after).verdict(after), send(Live::Running, after), "{effect:?}");
    }
}
