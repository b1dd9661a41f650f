use super::*;
use crate::engine::object::tests::case::{MICRO, just_before, then};

fn id() -> InstanceId {
    InstanceId::from_u128(1)
}

fn fleet() -> Arc<str> {
    "fleet".into()
}

fn is_empty(calls: &CallHistory) -> bool {
    calls.by_id.is_empty() && calls.claims.is_empty()
}

fn ended(at: Mono, effect: Effect, before: Option<Live>) -> Ended {
    Ended { at, effect, before }
}

#[test]
fn s17_an_id_is_in_one_call_at_a_time_whatever_object_names_it() {
    let other = InstanceId::from_u128(2);
    let mut calls = CallHistory::default();
    assert!(calls.claim(&[(id(), Live::Running)]));
    assert!(!calls.claim(&[(other, Live::Running), (id(), Live::Stopped)]));
    assert_eq!(calls.get(id(), "fleet").in_flight, Some(Live::Running), "as the first claimed it");
    assert_eq!(calls.get(other, "fleet"), LastCall::default(), "all or none");
    calls.release(CallKind::Delete, &[id()], then(), |_| None);
    assert!(calls.claim(&[(other, Live::Running), (id(), Live::Stopped)]));
}

#[test]
fn s17_what_comes_in_between_decision_and_departure_stops_the_call() {
    type Heard = fn(&mut CallHistory, Ended, &Settings);
    let settings = Settings::default();
    let heard = |effect| ended(then(), effect, None);
    let table: [(Heard, bool); 9] = [
        (|calls, _, _| calls.saw(id(), &Seen::ShuttingDown, then()), false),
        (|calls, _, _| calls.saw(id(), &Seen::Terminated, then()), false),
        (|calls, _, _| calls.saw(id(), &Seen::NotFound, then()), false),
        (|calls, _, _| calls.heard_on_its_way(id(), &fleet(), then()), false),
        (
            |calls, heard, settings| {
                calls.heard_call(id(), &fleet(), (CallKind::Delete, heard), then(), settings);
            },
            false,
        ),
        (|calls, _, _| calls.saw(id(), &Seen::Live(Live::Running), then()), true),
        (|calls, _, _| calls.saw(id(), &Seen::Unreadable, then()), true),
        (|calls, _, _| calls.saw(InstanceId::from_u128(2), &Seen::Terminated, then()), true),
        (|_, _, _| {}, true),
    ];
    for (n, (hear, leaves)) in table.into_iter().enumerate() {
        let mut calls = CallHistory::default();
        hear(&mut calls, heard(Effect::Unknown), &settings);
        assert!(calls.claim(&[(id(), Live::Running)]));
        assert!(calls.may_leave(&[id()], &fleet()), "{n}: the decision knew it");
        let mut calls = CallHistory::default();
        assert!(calls.claim(&[(id(), Live::Running)]));
        hear(&mut calls, heard(Effect::Unknown), &settings);
        assert_eq!(calls.may_leave(&[id()], &fleet()), leaves, "{n}");
        calls.release(CallKind::Delete, &[id()], then(), |_| None);
        assert!(calls.may_leave(&[id()], &fleet()), "{n}: it was about that call");
    }
    let mut calls = CallHistory::default();
    calls.heard_call(id(), &fleet(), (CallKind::Delete, heard(Effect::Unknown)), then(), &settings);
    assert!(calls.claim(&[(id(), Live::Running)]));
    calls.heard_call(id(), &fleet(), (CallKind::Delete, heard(Effect::Unknown)), then(), &settings);
    assert!(calls.may_leave(&[id()], &fleet()), "the record of another object says it again");
    calls.heard_call(id(), &fleet(), (CallKind::Delete, heard(Effect::Accepted)), then(), &settings);
    assert!(!calls.may_leave(&[id()], &fleet()));
    assert!(calls.may_leave(&[id()], &Arc::from("elsewhere")), "no namespace stops calls of another");
    calls.release(CallKind::Delete, &[id()], then(), |_| None);
    assert!(calls.may_leave(&[id()], &fleet()));
}

#[test]
fn histories_that_say_the_same_are_one_state() {
    let digest = |calls: &CallHistory| {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(calls, &mut hasher);
        std::hash::Hasher::finish(&hasher)
    };
    let mut calls = CallHistory::default();
    let nothing = digest(&calls);
    assert!(calls.claim(&[(id(), Live::Running)]));
    assert_ne!(digest(&calls), nothing);
    calls.release(CallKind::Delete, &[id()], then(), |_| None);
    assert_eq!(digest(&calls), nothing, "nothing is known of it");
    calls.saw(id(), &Seen::ShuttingDown, then());
    assert_ne!(digest(&calls), nothing);
}

#[test]
fn it_is_swept_once_in_settle() {
    let settings = Settings::default();
    let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
    let read = Mono::at(then().since_start().saturating_sub(life));
    let swept = |at: Mono| {
        let mut calls = CallHistory { swept: then(), ..CallHistory::default() };
        calls.saw(id(), &Seen::ShuttingDown, read);
        calls.sweep(at, &settings);
        is_empty(&calls)
    };
    assert!(!swept(then()), "just done");
    assert!(!swept(just_before(then() + settings.settle)));
    assert!(swept(then() + settings.settle));
    assert!(swept(then() + settings.settle + MICRO));
}

#[test]
fn what_is_heard_of_others_calls_never_weakens_what_is_known() {
    let earlier = Mono::at(Duration::from_secs(990));
    let (unknown, accepted) = (Effect::Unknown, Effect::Accepted);
    let table = [
        (None, (then(), unknown), ended(then(), unknown, None)),
        (None, (then(), accepted), ended(then(), accepted, None)),
        (Some((then(), unknown)), (earlier, unknown), ended(then(), unknown, Some(Live::Running))),
        (Some((earlier, unknown)), (then(), unknown), ended(then(), unknown, Some(Live::Running))),
        (Some((then(), unknown)), (earlier, accepted), ended(then(), accepted, Some(Live::Running))),
        (Some((earlier, accepted)), (then(), unknown), ended(then(), accepted, Some(Live::Running))),
    ];
    for (own, (at, effect), expected) in table {
        let mut calls = CallHistory::default();
        if let Some((at, effect)) = own {
            assert!(calls.claim(&[(id(), Live::Running)]));
            calls.release(CallKind::Delete, &[id()], at, |_| Some(effect));
        }
        for _ in 0..2 {
            calls.heard_call(
                id(),
                &fleet(),
                (CallKind::Delete, ended(at, effect, None)),
                then(),
                &Settings::default(),
            );
            assert_eq!(calls.get(id(), "fleet").ended, Some(expected), "{own:?} {effect:?}");
        }
    }
}

#[test]
fn a_call_that_was_over_long_ago_is_not_heard_of() {
    let settings = Settings::default();
    let last = then() + settings.settle * PATIENCE;
    for (now, heard) in [(last, true), (last + MICRO, false)] {
        let mut calls = CallHistory::default();
        calls.heard_call(
            id(),
            &fleet(),
            (CallKind::Delete, ended(then(), Effect::Accepted, None)),
            now,
            &settings,
        );
        assert_eq!(calls.get(id(), "fleet").ended.is_some(), heard);
    }
}

type Happens<'a> = &'a dyn Fn(&mut CallHistory);

#[test]
fn a_call_is_kept_for_as_long_as_a_rule_may_ask_for_it() {
    let settings = Settings::default();
    let life = settings.settle * (PATIENCE + 1) + settings.request_timeout;
    let over = then() + life;
    let read = |seen: Seen| move |calls: &mut CallHistory| calls.saw(id(), &seen, then());
    let call = |calls: &mut CallHistory| {
        calls.heard_call(
            id(),
            &fleet(),
            (CallKind::Delete, ended(then(), Effect::Unknown, None)),
            then(),
            &settings,
        );
    };
    let flying = |calls: &mut CallHistory| {
        assert!(calls.claim(&[(id(), Live::Running)]));
    };
    let not_found_and_found = |calls: &mut CallHistory| {
        calls.saw(id(), &Seen::NotFound, then());
        calls.saw(id(), &Seen::Live(Live::Running), then() + MICRO);
    };
    let table: [(&str, Happens<'_>, bool); 6] = [
        ("a call that ended", &call, false),
        ("shutting down", &read(Seen::ShuttingDown), false),
        ("on its way by the record", &|calls| calls.heard_on_its_way(id(), &fleet(), then()), false),
        ("found again", &not_found_and_found, false),
        ("a series of not-found reads", &read(Seen::NotFound), true),
        ("a call being made", &flying, true),
    ];
    for (name, happens, longer) in table {
        for (now, kept) in [(just_before(then() + life), true), (over, longer)] {
            let mut calls = CallHistory::default();
            happens(&mut calls);
            calls.sweep(now, &settings);
            assert_eq!(!is_empty(&calls), kept, "{name}");
            let only_series = name.starts_with("a series") || name.starts_with("found");
            assert_eq!(calls.knows_no_call(), only_series || !kept, "{name}");
        }
    }
}

#[test]
fn x25_what_another_namespace_claims_counts_from_its_first_claim_and_is_not_renewed() {
    let settings = Settings::default();
    let mut calls = CallHistory::default();
    let mut now = then();
    for _ in 0..1_000 {
        calls.heard_call(
            id(),
            &fleet(),
            (CallKind::Delete, ended(now, Effect::Accepted, None)),
            now,
            &settings,
        );
        calls.heard_on_its_way(id(), &fleet(), now);
        calls.sweep(now, &settings);
        let own = calls.get(id(), "fleet");
        assert_eq!((own.ended.map(|call| call.at), own.on_its_way), (Some(now), Some(now)), "its own");
        let expected = LastCall { claimed_elsewhere: Some(then()), ..LastCall::default() };
        assert_eq!(calls.get(id(), "other"), expected);
        now = now + settings.settle;
    }
    assert_eq!(calls.get(InstanceId::from_u128(2), "other"), LastCall::default());
    // What this process did and saw itself, every namespace believes.
    assert!(calls.claim(&[(id(), Live::Running)]));
    calls.release(CallKind::Delete, &[id()], now, |_| Some(Effect::Accepted));
    assert_eq!(calls.get(id(), "other").ended.map(|call| call.at), Some(now));
}
