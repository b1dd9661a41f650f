//! The rule of the pace, step by step.

mod goodput;

use super::*;

fn at(ms: u64) -> Mono {
    Mono::at(Duration::from_millis(ms))
}

fn asks(wait: Duration) -> SlowDown {
    SlowDown::TooManyRequests { retry_after: Some(wait), limit: None }
}

fn states(limit: Limit) -> SlowDown {
    SlowDown::TooManyRequests { retry_after: None, limit: Some(limit) }
}

#[test]
fn grants_its_rate_and_no_burst_beyond_a_tenth_of_a_second() {
    for (ceiling, burst) in [(2.0, 1), (10.0, 1), (100.0, 10)] {
        let mut limiter = Rate::new(ceiling, at(0));
        assert_eq!(limiter.take(1000, at(0)), burst, "{ceiling}");
        let later: usize = (1..=1000).map(|ms| limiter.take(1000, at(ms * 10))).sum();
        let expected = ceiling * 10.0;
        assert!(
            (f64::from(u32::try_from(later).unwrap()) - expected).abs() <= 1.0,
            "{later} in 10 s at {ceiling}/s"
        );
    }
}

#[test]
fn a_call_is_due_when_it_says() {
    let mut limiter = Rate::new(2.0, at(0));
    assert_eq!(limiter.take(1, at(0)), 1);
    let due = limiter.due(1, at(0));
    assert_eq!(limiter.take(1, Mono::at(due.since_start().mul_f64(0.99))), 0);
    assert_eq!(limiter.take(1, due), 1);
}

/// As if its rate had been used without a refusal for as long as time passes.
fn busy(limiter: &mut Rate) {
    limiter.used = f64::MAX;
}

#[test]
fn c07_refusals_cut_and_acceptance_climbs_to_nine_tenths_fast() {
    let mut limiter = Rate::new(10.0, at(0));
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    assert!((limiter.per_second - 9.5).abs() < 1e-9, "a twentieth");
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    assert!((limiter.per_second - 4.75).abs() < 1e-9, "a half, the second time in a row");
    limiter.accepted();
    busy(&mut limiter);
    for s in 1..=8 {
        limiter.advance(at(s * 1000));
    }
    assert!(
        (8.99..9.01).contains(&limiter.per_second),
        "{}: back to 0.9 of 10 at 10 % a second",
        limiter.per_second
    );
    limiter.advance(at(9000));
    assert!((9.005..9.3).contains(&limiter.per_second), "{}: then slowly, and beyond", limiter.per_second);
    limiter.refused(SlowDown::Unavailable, at(9000));
    assert!(limiter.per_second < 4.7, "503 halves at once: {}", limiter.per_second);
    for _ in 0..100 {
        limiter.refused(SlowDown::UNEXPLAINED, at(9000));
    }
    assert!((limiter.per_second - 0.1).abs() < 1e-9, "never below one call in ten seconds");
}

#[test]
fn c07_an_unknown_limit_is_come_down_to_in_few_steps() {
    // A twentieth, if so many calls were accepted before; more of it, the closer refusals come after one another.
    let mut limiter = Rate::new(2.0, at(0));
    for factor in [0.95, 0.85, 0.75, 0.75] {
        let before = limiter.per_second;
        limiter.refused(SlowDown::UNEXPLAINED, at(0));
        near(limiter.per_second, before * factor);
        (0..SETTLED - 1).for_each(|_| limiter.accepted());
    }
    limiter.accepted();
    let before = limiter.per_second;
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    near(limiter.per_second, before * 0.95);
}

#[test]
fn c07_what_the_last_of_several_cuts_took_too_much_is_come_back_to_soon() {
    let mut limiter = Rate::new(2.0, at(0));
    for _ in 0..3 {
        limiter.refused(SlowDown::UNEXPLAINED, at(0));
        limiter.accepted();
    }
    let refused = 2.0 * 0.95 * 0.85;
    near(limiter.per_second, refused * 0.75);
    busy(&mut limiter);
    limiter.advance(at(1_000));
    near(limiter.per_second, refused * 0.75 * 1.01);
    limiter.advance(at(60_000));
    near(limiter.per_second, refused * 0.9);
    limiter.advance(at(61_000));
    near(limiter.per_second, refused * 0.9 * 1.001);
}

#[test]
fn c07_a_rate_that_nobody_uses_does_not_climb() {
    let mut limiter = Rate::new(2.0, at(0));
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    limiter.advance(at(3_600_000));
    near(limiter.per_second, 1.9);
    // Each accepted call proves the rate for as long as it keeps the next one waiting.
    limiter.accepted();
    limiter.advance(at(3_700_000));
    near(limiter.per_second, 1.9 * (1.0 + 0.001 / 1.9));
    // What a halving took and the refusals do not explain is come back to all the same.
    limiter.refused(SlowDown::Unavailable, at(3_700_000));
    let before = limiter.before_refusals.unwrap();
    limiter.advance(at(3_800_000));
    near(limiter.per_second, before * 0.85);
}

#[test]
fn retry_after_is_a_hard_gate() {
    let mut limiter = Rate::new(10.0, at(0));
    limiter.refused(asks(Duration::from_secs(7)), at(0));
    assert_eq!(limiter.take(1, at(6_999)), 0);
    assert!(limiter.due(1, at(10)) >= at(7000));
    assert_eq!(limiter.take(1, at(7_001)), 1);
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn calls_are_due_at_the_rate_and_less_what_has_gathered() {
    let micro = Duration::from_micros(1);
    let mut limiter = Rate::new(2.0, at(0));
    assert_eq!(limiter.due(1, at(0)), at(0), "a call that may be made now");
    assert_eq!(limiter.take(1, at(0)), 1);
    for (calls, ms) in [(1, 500), (2, 1000), (3, 1500)] {
        assert_eq!(limiter.due(calls, at(0)), at(ms) + micro, "{calls}");
    }
    assert_eq!(limiter.take(1, at(250)), 0, "half a call has gathered");
    assert_eq!(limiter.due(1, at(250)), at(500) + micro);
    assert_eq!(limiter.due(1, at(900)), at(900), "never in the past");
}

#[test]
fn what_is_given_back_may_be_taken_again_and_fills_no_more_than_the_bucket() {
    let mut limiter = Rate::new(40.0, at(0));
    assert_eq!(limiter.take(4, at(0)), 4);
    limiter.give_back(3);
    assert_eq!(limiter.take(9, at(0)), 3);
    limiter.give_back(100);
    assert_eq!(limiter.take(100, at(0)), 4, "a tenth of a second's calls");
    let all = |limiter: &mut Rate, now| (0..100).map(|_| limiter.take(100, now)).sum::<usize>();
    assert_eq!(all(&mut limiter, at(0)), 36, "and those of nine tenths, for who comes late");
    assert_eq!(all(&mut limiter, at(10_000)), 40, "nor does time fill it more");
}

#[test]
fn the_rate_climbs_by_a_tenth_a_second_then_by_a_thousandth_and_then_by_two() {
    let mut limiter = Rate::new(10.0, at(0));
    near(limiter.per_second, 10.0);
    limiter.advance(at(1000));
    near(limiter.per_second, 10.0);
    for _ in 0..3 {
        limiter.refused(SlowDown::Unavailable, at(1000));
    }
    near(limiter.per_second, 1.25);
    limiter.accepted();
    busy(&mut limiter);
    limiter.advance(at(3000));
    near(limiter.per_second, 1.5);
    limiter.advance(at(60_000));
    near(limiter.per_second, 9.0);
    limiter.advance(at(62_000));
    near(limiter.per_second, 9.0 * 1.002);
    limiter.advance(at(1_000_000));
    near(limiter.per_second, 10.0);
    limiter.advance(at(2_000_000));
    near(limiter.per_second, 10.0);
    // Beyond what was refused it climbs as it did before.
    let mut raised = Rate::new(10.0, at(0));
    (raised.per_second, raised.before_refusals) = (5.0, Some(5.0));
    busy(&mut raised);
    raised.advance(at(1000));
    near(raised.per_second, 5.0 * 1.002);
}

#[test]
fn a_refusal_after_an_acceptance_is_a_first_one_and_empties_the_bucket() {
    let mut limiter = Rate::new(10.0, at(0));
    for expected in [9.5, 9.5 * 0.85] {
        let before = limiter.per_second;
        limiter.refused(SlowDown::UNEXPLAINED, at(0));
        near(limiter.per_second, expected);
        near(limiter.tokens, 0.0);
        near(limiter.before_refusals.unwrap(), before);
        limiter.accepted();
    }
    let mut slow = Rate::new(0.05, at(0));
    slow.refused(SlowDown::Unavailable, at(0));
    near(slow.per_second, 0.05);
}

#[test]
fn a_gate_opens_at_its_time_and_a_shorter_one_does_not_open_it_sooner() {
    let mut limiter = Rate::new(10.0, at(0));
    limiter.refused(asks(Duration::from_secs(7)), at(0));
    limiter.refused(asks(Duration::from_secs(2)), at(0));
    assert_eq!(limiter.due(1, at(6_000)), at(7_000));
    assert_eq!(limiter.take(1, at(7_000)), 1);
}

#[test]
fn c07_refusals_of_calls_that_were_under_way_together_are_one() {
    let mut limiter = Rate::new(40.0, at(0));
    assert_eq!(limiter.take(4, at(0)), 4);
    let minute = Duration::from_mins(1);
    limiter.refused(SlowDown::UNEXPLAINED, at(500));
    near(limiter.per_second, 38.0);
    assert_eq!(limiter.take(1, at(600)), 1, "the first call at the new rate");
    let rate = limiter.per_second;
    limiter.refused(asks(minute), at(700));
    limiter.refused(SlowDown::Unavailable, at(700));
    near(limiter.per_second, rate);
    assert_eq!(limiter.due(1, at(700)), at(700) + minute, "its gate counts all the same");
    // The last one of the four was accepted, at the old rate: that ends no run of refusals at the new one.
    limiter.accepted();
    let rate = limiter.per_second;
    limiter.refused(SlowDown::UNEXPLAINED, at(700));
    near(limiter.per_second, rate / 2.0);
}

#[test]
fn a_call_whose_outcome_is_never_told_is_over_after_a_minute() {
    for (ms, factor) in [(60_000, 1.0), (60_001, 0.5)] {
        let mut limiter = Rate::new(20.0, at(0));
        assert_eq!(limiter.take(2, at(0)), 2);
        limiter.refused(SlowDown::UNEXPLAINED, at(0));
        limiter.advance(at(ms));
        let rate = limiter.per_second;
        limiter.refused(SlowDown::UNEXPLAINED, at(ms));
        near(limiter.per_second, rate * factor);
    }
}

#[test]
fn a_call_that_was_not_made_was_never_under_way() {
    let mut limiter = Rate::new(40.0, at(0));
    assert_eq!(limiter.take(4, at(0)), 4);
    limiter.give_back(3);
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    near(limiter.per_second, 40.0 * 0.95 * 0.5);
}

fn limit(calls: u32, seconds: u64) -> Limit {
    Limit { calls, window: Duration::from_secs(seconds) }
}

#[test]
fn a_limit_that_is_stated_is_kept_for_an_hour() {
    let hour = 3_600_000;
    let table = [
        (limit(60, 60), 0.97),
        (limit(600, 60), 1.9),
        (limit(1, 3600), 0.1),
        (limit(0, 60), 0.1),
        (limit(5, 0), 1.9),
        (limit(0, 0), 1.9),
    ];
    for (limit, rate) in table {
        let mut limiter = Rate::new(2.0, at(0));
        limiter.refused(states(limit), at(0));
        near(limiter.per_second, rate);
        busy(&mut limiter);
        for second in [60, 3_599] {
            limiter.advance(at(second * 1000));
            near(limiter.per_second, if rate < 1.9 { rate } else { 2.0 });
        }
        limiter.advance(at(hour));
        limiter.advance(at(hour + 1_000));
        assert!(limiter.per_second > rate || rate >= 1.9, "{limit:?}: it climbs again");
    }
    let mut limiter = Rate::new(10.0, at(0));
    limiter.refused(states(limit(300, 60)), at(0));
    near(limiter.per_second, 4.85);
    limiter.accepted();
    limiter.refused(SlowDown::UNEXPLAINED, at(0));
    near(limiter.per_second, 4.85 * 0.85);
    limiter.accepted();
    limiter.refused(states(limit(30, 60)), at(0));
    near(limiter.per_second, 0.485);
}

#[test]
fn c07_a_window_that_the_calls_made_here_fill_is_over_its_length_after_the_first_of_them() {
    const MINUTE: u64 = 60_000;
    // When calls left, the limit that is stated to the last of them, and when the next one may be made; milliseconds.
    let every_half_second: Vec<u64> = (0..=60).map(|n| n * 500).collect();
    let table: [(&[u64], Limit, u64); 8] = [
        // The first call of the window is the first of the sixty before the one that is refused, or came sooner.
        (&every_half_second, limit(60, 60), 500 + MINUTE),
        (&every_half_second[..=30], limit(30, 60), 500 + MINUTE),
        (&[0, 500, 1000], limit(2, 60), 500 + MINUTE),
        (&[0], limit(1, 60), MINUTE),
        // Too few calls: others use the same limit.
        (&every_half_second, limit(62, 60), 30_000 + MINUTE),
        (&[0, 70_000, 70_500], limit(3, 60), 70_500 + MINUTE),
        (&[0, 500], limit(0, 60), 500 + MINUTE),
        // No longer than an hour.
        (&[0, 500], limit(1, 10 * 3600), 500 + 60 * MINUTE),
    ];
    for (left, limit, opens) in table {
        let mut limiter = Rate::new(2.0, at(0));
        for ms in left {
            assert_eq!(limiter.departure(at(*ms)), at(*ms));
        }
        let now = at(*left.last().unwrap());
        limiter.refused(states(limit), now);
        assert_eq!(limiter.closed(now).map(|wait| now + wait), Some(at(opens)), "{limit:?} after {left:?}");
    }
    // What the cloud asks for counts for more than what follows from a limit.
    let mut limiter = Rate::new(2.0, at(0));
    let (_, retry_after) = (limiter.departure(at(0)), Some(Duration::from_secs(7)));
    limiter.refused(SlowDown::TooManyRequests { retry_after, limit: Some(limit(1, 60)) }, at(0));
    assert_eq!(limiter.closed(at(0)), retry_after);
}

#[test]
fn granted_calls_leave_as_far_apart_as_the_pace_says_whenever_they_are_ready() {
    // When each is ready, and when it leaves, at two calls a second; milliseconds.
    let table: [(&[u64], &[u64]); 5] = [
        (&[0, 500, 1000], &[0, 500, 1000]),
        (&[400, 510, 1000], &[400, 900, 1400]),
        (&[0, 900, 901], &[0, 900, 1400]),
        (&[0, 0, 0], &[0, 500, 1000]),
        // None is held back for longer than a second.
        (&[0, 0, 0, 0, 0], &[0, 500, 1000, 1000, 1000]),
    ];
    for (ready, departure) in table {
        let mut limiter = Rate::new(2.0, Mono::START);
        let left: Vec<_> = ready.iter().map(|ready| limiter.departure(at(*ready))).collect();
        assert_eq!(left, departure.iter().map(|ms| at(*ms)).collect::<Vec<_>>(), "{ready:?}");
    }
}

#[test]
fn what_is_in_force_is_told_without_a_change() {
    let mut limiter = Rate::new(10.0, at(0));
    assert_eq!(limiter.in_force(at(5000)), (10.0, false));
    limiter.refused(SlowDown::Unavailable, at(5000));
    let before = format!("{limiter:?}");
    let (rate, slowed) = limiter.in_force(at(6000));
    near(rate, 5.5);
    assert!(slowed);
    assert_eq!(format!("{limiter:?}"), before);
    let mut closed = Rate::new(0.1, at(0));
    closed.refused(asks(Duration::from_secs(3)), at(0));
    assert_eq!(closed.in_force(at(1000)), (0.1, true), "nothing may be called, at whatever rate");
    assert_eq!(closed.in_force(at(4000)), (0.1, false));
}
