use super::*;
use crate::engine::account::rate::SlowDown;

const KEEP: Duration = Duration::from_secs(30);
const MICRO: Duration = Duration::from_micros(1);

fn at(ms: u64) -> Mono {
    Mono::at(Duration::from_millis(ms))
}

/// Four calls, all of them looked at.
const READY: Want = Want { calls: 4, ready: 4 };
/// Four calls, none of them looked at.
const UNREADY: Want = Want { calls: 4, ready: 0 };

fn asks(wait: Duration) -> SlowDown {
    SlowDown::TooManyRequests { retry_after: Some(wait), limit: None }
}

type Queue = (DeleteQueue<&'static str>, Rate);

/// A queue at a pace whose first call was made.
fn queue(rate: f64) -> Queue {
    let (mut delete_queue, mut limiter) = (DeleteQueue::new(KEEP), Rate::new(rate, at(0)));
    assert!(matches!(delete_queue.ask(&"a", READY, &mut limiter, at(0)), PermitAnswer::Now(_)));
    delete_queue.use_up(&"a", 4, &mut limiter);
    (delete_queue, limiter)
}

fn ask((delete_queue, limiter): &mut Queue, key: &'static str, want: Want, now: Mono) -> PermitAnswer {
    delete_queue.ask(&key, want, limiter, now)
}

/// The moment at which an object that is ready is told to ask again.
fn again(queue: &mut Queue, key: &'static str, now: Mono) -> Mono {
    let turn = ask(queue, key, READY, now);
    let PermitAnswer::Soon { at: Some(again), .. } = turn else { panic!("{key}: {turn:?}") };
    again
}

#[test]
fn objects_take_turns() {
    let mut queue = queue(1.0);
    let b = again(&mut queue, "b", at(0));
    let a = again(&mut queue, "a", at(1));
    assert!(b < a);
    assert!(again(&mut queue, "a", b) > b, "no asking again and again while b has not come");
    assert_eq!(ask(&mut queue, "b", READY, b), PermitAnswer::Now(1));
    queue.0.use_up(&"b", 1, &mut queue.1);
    assert_eq!(ask(&mut queue, "a", READY, a), PermitAnswer::Now(1));
}

#[test]
fn a_lone_object_gets_a_wave_and_gives_back_what_it_does_not_use() {
    let (mut delete_queue, mut limiter) = (DeleteQueue::new(KEEP), Rate::new(40.0, at(0)));
    assert_eq!(delete_queue.ask(&"a", READY, &mut limiter, at(0)), PermitAnswer::Now(4));
    assert_eq!(delete_queue.held(&"a", &mut limiter, at(1)), 4);
    delete_queue.use_up(&"a", 1, &mut limiter);
    assert_eq!(delete_queue.ask(&"a", READY, &mut limiter, at(0)), PermitAnswer::Now(3));
}

#[test]
fn a_permit_that_is_not_used_passes_on() {
    let (mut delete_queue, mut limiter) = (DeleteQueue::new(KEEP), Rate::new(1.0, at(0)));
    assert_eq!(delete_queue.ask(&"a", READY, &mut limiter, at(0)), PermitAnswer::Now(1));
    assert_eq!(delete_queue.held(&"a", &mut limiter, at(29_999)), 1);
    assert_eq!(delete_queue.held(&"a", &mut limiter, at(30_000)), 0);
    assert_eq!(delete_queue.ask(&"b", READY, &mut limiter, at(30_000)), PermitAnswer::Now(1));
    assert_eq!(delete_queue.held(&"b", &mut limiter, at(30_000)), 1);
    assert_eq!(delete_queue.held(&"a", &mut limiter, at(30_000)), 0);
}

#[test]
fn a_permit_counts_no_more_once_the_cloud_asks_that_nobody_calls() {
    let (mut delete_queue, mut limiter) = (DeleteQueue::new(KEEP), Rate::new(40.0, at(0)));
    assert_eq!(delete_queue.ask(&"a", READY, &mut limiter, at(0)), PermitAnswer::Now(4));
    limiter.refused(asks(Duration::from_secs(5)), at(1));
    assert_eq!(delete_queue.held(&"a", &mut limiter, at(1)), 0);
    assert_eq!(delete_queue.held(&"a", &mut limiter, at(6_000)), 0, "it went back");
}

#[test]
fn all_that_wait_have_their_calls_while_a_turn_is_near() {
    // So many wait at this rate: each gets so many calls in a row.
    let table = [(1, 40.0, 4), (3, 40.0, 4), (100, 40.0, 4), (101, 40.0, 3), (400, 40.0, 1), (3, 1.0, 3)];
    for (waiting, rate, calls) in table {
        let (mut delete_queue, mut limiter) = (DeleteQueue::new(KEEP), Rate::new(rate, at(0)));
        assert!(matches!(delete_queue.ask(&1_000, READY, &mut limiter, at(0)), PermitAnswer::Now(_)));
        delete_queue.use_up(&1_000, 4, &mut limiter);
        for key in 0..waiting {
            delete_queue.ask(&key, READY, &mut limiter, at(0));
        }
        let turn = delete_queue.ask(&0, READY, &mut limiter, at(0));
        assert!(
            matches!(turn, PermitAnswer::Soon { calls: said, .. } if said == calls),
            "{waiting} {rate}: {turn:?}"
        );
        if rate > 1.0 {
            assert_eq!(
                delete_queue.ask(&0, READY, &mut limiter, at(1_000)),
                PermitAnswer::Now(calls),
                "{waiting}"
            );
        }
    }
}

#[test]
fn a_turn_is_told_by_the_place_in_the_queue() {
    let mut queue = queue(1.0);
    let turns = |queue: &mut Queue, now| ["b", "c", "d"].map(|key| again(queue, key, now));
    let expected = [1_000, 2_000, 3_000].map(|ms| at(ms) + MICRO);
    assert_eq!(turns(&mut queue, at(0)), expected);
    assert_eq!(turns(&mut queue, at(0)), expected, "asked again, each keeps its place");
    queue.0.forget(&"b", &mut queue.1);
    assert_eq!(again(&mut queue, "c", at(0)), at(1_000) + MICRO);
    // Its turn has come, and that of the one before it has not; half a call has gathered meanwhile.
    assert_eq!(again(&mut queue, "d", at(1_500)), at(2_000) + MICRO);
}

#[test]
fn an_object_near_its_turn_goes_on_at_once_and_a_ready_one_when_it_comes() {
    let mut queue = queue(0.1);
    assert_eq!(queue.0.goes_on(&"b"), None);
    assert_eq!(ask(&mut queue, "b", UNREADY, at(7)), PermitAnswer::Soon { calls: 1, at: None });
    assert!(matches!(ask(&mut queue, "c", UNREADY, at(7)), PermitAnswer::Later(_)));
    assert_eq!((queue.0.goes_on(&"b"), queue.0.goes_on(&"c")), (Some(at(7)), None));
    let turn = again(&mut queue, "b", at(8));
    assert!(turn > at(9_000));
    assert_eq!(queue.0.goes_on(&"b"), Some(turn));
    assert_eq!(ask(&mut queue, "b", READY, turn), PermitAnswer::Now(1));
    assert_eq!(queue.0.goes_on(&"b"), None);
}

#[test]
fn the_first_object_asks_again_when_its_call_is_due_and_no_later() {
    let mut queue = queue(40.0);
    assert_eq!(again(&mut queue, "first", at(0)), at(25) + MICRO);
    assert_eq!(again(&mut queue, "second", at(0)), at(100));
}

#[test]
fn a_ready_object_that_does_not_come_is_waited_for_a_second() {
    for (late, waits) in [(1_000, true), (1_001, false)] {
        let mut queue = queue(1.0);
        let turn = again(&mut queue, "first", at(0));
        let second = ask(&mut queue, "second", READY, turn + Duration::from_millis(late));
        assert_eq!(!matches!(second, PermitAnswer::Now(_)), waits, "{late}");
        // It keeps its place all the same.
        let third = turn + Duration::from_secs(90);
        assert_eq!(ask(&mut queue, "first", READY, third), PermitAnswer::Now(1));
    }
    let mut queue = queue(1.0);
    again(&mut queue, "gone", at(0));
    queue.0.forget(&"gone", &mut queue.1);
    assert_eq!(ask(&mut queue, "b", READY, at(1_001)), PermitAnswer::Now(1));
    queue.0.forget(&"b", &mut queue.1);
    assert_eq!(ask(&mut queue, "c", READY, at(1_001)), PermitAnswer::Now(1), "what it held went back");
}

#[test]
fn an_object_that_is_not_ready_lets_others_pass_and_keeps_its_place() {
    let mut queue = queue(1.0);
    let soon = PermitAnswer::Soon { calls: 4, at: None };
    assert_eq!(ask(&mut queue, "first", UNREADY, at(0)), soon);
    assert_eq!(ask(&mut queue, "second", READY, at(1_001)), PermitAnswer::Now(1));
    queue.0.use_up(&"second", 1, &mut queue.1);
    again(&mut queue, "second", at(1_001));
    assert_eq!(
        ask(&mut queue, "first", READY, at(2_002)),
        PermitAnswer::Now(1),
        "before one that came later"
    );
}

#[test]
fn nobody_looks_before_its_turn_is_near() {
    let names = ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
    let mut queue = queue(1.0);
    let said = |queue: &mut Queue, now| {
        names.map(|name| match ask(queue, name, UNREADY, now) {
            PermitAnswer::Soon { at: None, .. } => None,
            PermitAnswer::Later(at) => Some(at),
            turn => panic!("{turn:?}"),
        })
    };
    // The ninth turn is in nine seconds and the tenth in more than ten.
    let turns = said(&mut queue, at(0));
    assert!(turns[..9].iter().all(Option::is_none), "{turns:?}");
    let near = [0, 1_000, 2_000].map(|ms| Some(at(ms) + MICRO));
    assert_eq!(turns[9..], near, "they come when it is near");
    assert!(queue.0.called(&mut queue.1, at(0)).is_empty());
    // One that is ready takes its call, and another that lost interest leaves.
    assert_eq!(ask(&mut queue, "d", READY, at(1_000)), PermitAnswer::Now(1));
    queue.0.use_up(&"d", 1, &mut queue.1);
    assert_eq!(queue.0.called(&mut queue.1, at(1_000)), ["k"], "nine wait before the one after it");
    queue.0.forget(&"b", &mut queue.1);
    assert_eq!(queue.0.called(&mut queue.1, at(1_000)), ["l"]);
    assert!(queue.0.called(&mut queue.1, at(1_000)).is_empty(), "each is called once");
}

#[test]
fn an_object_that_does_not_get_ready_keeps_no_other_from_looking() {
    let mut queue = queue(0.1);
    let soon = PermitAnswer::Soon { calls: 1, at: None };
    let late = |queue: &mut Queue, ms| matches!(ask(queue, "third", UNREADY, at(ms)), PermitAnswer::Later(_));
    assert_eq!(ask(&mut queue, "first", UNREADY, at(1)), soon);
    assert!(matches!(ask(&mut queue, "second", UNREADY, at(1)), PermitAnswer::Later(_)));
    assert!(late(&mut queue, 1));
    assert_eq!(ask(&mut queue, "first", UNREADY, at(20_000)), soon, "asked again, it gets no more time");
    assert!(late(&mut queue, 30_001));
    assert_eq!(queue.0.called(&mut queue.1, at(30_002)), ["second", "third"]);
    assert_eq!(ask(&mut queue, "third", UNREADY, at(30_002)), soon);
}

#[test]
fn a_long_wait_that_the_cloud_asks_for_is_told() {
    for (seconds, told) in [(10, false), (11, true)] {
        let mut queue = queue(1.0);
        let wait = Duration::from_secs(seconds);
        queue.1.refused(asks(wait), at(0));
        for want in [READY, UNREADY] {
            let turn = ask(&mut queue, "b", want, at(0));
            assert_eq!(turn == PermitAnswer::Closed(wait), told, "{turn:?}");
        }
        assert_eq!(ask(&mut queue, "b", READY, at(12_000)), PermitAnswer::Now(1));
    }
    // An object that was told so is called when the wait is nearly over.
    let mut queue = queue(1.0);
    queue.1.refused(asks(Duration::from_mins(1)), at(0));
    assert!(matches!(ask(&mut queue, "b", UNREADY, at(0)), PermitAnswer::Closed(_)));
    assert!(queue.0.called(&mut queue.1, at(49_000)).is_empty());
    assert_eq!(queue.0.called(&mut queue.1, at(50_000)), ["b"]);
}

#[test]
fn an_object_asks_again_when_told() {
    let table = [
        (PermitAnswer::Now(1), None),
        (PermitAnswer::Soon { calls: 1, at: None }, None),
        (PermitAnswer::Soon { calls: 1, at: Some(at(7)) }, Some(at(7))),
        (PermitAnswer::Later(at(8)), Some(at(8))),
        (PermitAnswer::Closed(Duration::from_secs(9)), Some(at(9_001))),
    ];
    for (turn, again) in table {
        assert_eq!(turn.asks_again(at(1)), again, "{turn:?}");
    }
}

#[test]
fn an_object_that_waits_is_passed_by_each_other_at_most_once() {
    // Objects that always want four calls, each with calls of its own length; one asks late, and one comes late.
    let lasts = [0, 300, 1_200, 9_000, 40].map(Duration::from_millis);
    let late = [0, 40, 0, 0, 900].map(Duration::from_millis);
    let mut limiter = Rate::new(2.0, at(0));
    let mut delete_queue = DeleteQueue::new(KEEP);
    let mut asks = [at(0); 5];
    let mut passed = [[0; 5]; 5];
    let mut calls = [0; 5];
    while let Some(object) = (0..5).min_by_key(|object| asks[*object]).filter(|o| asks[*o] < at(600_000)) {
        let now = asks[object];
        match delete_queue.ask(&object, READY, &mut limiter, now) {
            PermitAnswer::Soon { at: None, .. } | PermitAnswer::Closed(_) => {
                panic!("it is ready, and nobody asked to wait")
            }
            PermitAnswer::Soon { at: Some(again), .. } | PermitAnswer::Later(again) => {
                asks[object] = again + late[object];
            }
            PermitAnswer::Now(granted) => {
                delete_queue.use_up(&object, granted, &mut limiter);
                calls[object] += granted;
                passed[object] = [0; 5];
                let waiting: Vec<_> = delete_queue.waiting.iter().map(|place| place.key).collect();
                for other in waiting {
                    passed[other][object] += granted;
                    assert_eq!(passed[other][object], 1, "{object} passed {other} again");
                }
                asks[object] = now + lasts[object];
            }
        }
    }
    // An object that asks again within a round has its call in every round.
    let most = calls.iter().max();
    assert!(calls.iter().enumerate().all(|(o, n)| o == 3 || Some(n + 2) >= most.copied()), "{calls:?}");
}
