use super::*;

const POLL_MIN: Duration = Duration::from_secs(5);
const POLL_MAX: Duration = Duration::from_mins(2);

/// A moment of the clock, in seconds.
fn at(seconds: u64) -> Mono {
    Mono::at(Duration::from_secs(seconds))
}

fn id(number: usize) -> InstanceId {
    InstanceId::from_u128(number as u128)
}

/// Instances on their way, of this age.
fn of_age(age: u64, ids: std::ops::Range<usize>) -> Watch {
    let one = |number| OnItsWay { id: id(number), age: Duration::from_secs(age), asked: false };
    Watch { on_their_way: ids.map(one).collect(), others: 0 }
}

fn schedule() -> Schedule<&'static str> {
    Schedule::new(&Settings { poll_min: POLL_MIN, poll_max: POLL_MAX, ..Settings::default() })
}

/// A schedule of objects whose instances were accepted at the start of the clock.
fn since_start(objects: &[(&'static str, usize)]) -> Schedule<&'static str> {
    let mut schedule = schedule();
    let mut next = 0;
    for (key, size) in objects {
        schedule.watch(key, &of_age(0, next..next + size), Mono::START);
        next += size;
    }
    schedule
}

fn size(looks: &Looks<&str>) -> usize {
    looks.values().map(Vec::len).sum()
}

/// Answers looks; the first so many of each object are over.
fn answer(schedule: &mut Schedule<&'static str>, looks: &Looks<&'static str>, ended: usize) {
    for (key, ids) in looks {
        schedule.answered(key, ids, &ids[..ended.min(ids.len())]);
    }
}

/// Takes and answers all reads that are due until this moment, with no instance ended: when, and how many.
fn idle_until(schedule: &mut Schedule<&'static str>, end: Mono) -> Vec<(u64, usize)> {
    let mut taken = Vec::new();
    while let Some(due) = schedule.next().filter(|due| *due <= end) {
        let looks = schedule.take(due, 1);
        answer(schedule, &looks, 0);
        taken.push((due.since_start().as_secs(), size(&looks)));
    }
    taken
}

#[test]
fn nothing_on_its_way_is_never_looked_at() {
    let mut empty = schedule();
    assert!(empty.is_empty());
    assert_eq!((empty.next(), size(&empty.take(at(9), 1))), (None, 0));
    let mut gone = since_start(&[("a", 3), ("b", 3)]);
    gone.forget(&"a");
    gone.watch(&"b", &Watch::default(), at(1));
    assert!(gone.is_empty());
    let mut cleared = since_start(&[("a", 2), ("b", 1)]);
    assert_eq!(cleared.clear(), BTreeMap::from([("a", vec![id(0), id(1)]), ("b", vec![id(2)])]));
    assert!(cleared.is_empty() && cleared.next().is_none());
    assert_eq!((gone.next(), size(&gone.take(at(9), 1))), (None, 0));
}

#[test]
fn scouts_are_a_call_each_time_the_age_has_grown_by_a_share_between_the_bounds() {
    let mut schedule = since_start(&[("a", 1_000)]);
    let taken = idle_until(&mut schedule, at(100_000));
    assert!(taken.iter().all(|(_, size)| *size == READ_SIZE));
    let times: Vec<u64> = taken.into_iter().map(|(at, _)| at).collect();
    assert_eq!(times[..8], [5, 10, 15, 20, 25, 30, 35, 40], "at least --poll-min apart");
    for pair in times.windows(2) {
        let expected = (pair[0] * 15 / 100).clamp(POLL_MIN.as_secs(), POLL_MAX.as_secs());
        assert!((pair[1] - pair[0]).abs_diff(expected) <= 1, "{pair:?}");
    }
}

#[test]
fn scouts_are_drawn_anew_each_time() {
    let mut schedule = since_start(&[("a", 1_000)]);
    let mut scouts = |now, random| {
        let looks = schedule.take(at(now), random);
        answer(&mut schedule, &looks, 0);
        looks["a"].clone()
    };
    let (first, second) = (scouts(5, 1), scouts(10, 2));
    let both = first.iter().filter(|id| second.contains(id)).count();
    assert!(both < 50, "{both} of {READ_SIZE} are the same");
}

#[test]
fn all_are_looked_at_when_scouts_have_ended_and_it_is_worth_it() {
    let mut schedule = since_start(&[("a", 1_000)]);
    idle_until(&mut schedule, at(14));
    let scouts = schedule.take(at(15), 1);
    answer(&mut schedule, &scouts, READ_SIZE);
    assert_eq!(schedule.next(), Some(at(20)), "all have ended, and twice twice --poll-min are over");
    let all = schedule.take(at(20), 2);
    assert_eq!(size(&all), 900, "all that are left");
    assert_eq!(schedule.next(), None, "nothing before they are answered");
    answer(&mut schedule, &all, 400);
    assert_eq!(schedule.next(), Some(at(25)), "the next scouts");
    assert_eq!(size(&schedule.take(at(25), 3)), READ_SIZE);
}

#[test]
fn an_account_of_one_call_or_less_is_looked_at_as_a_whole() {
    let mut schedule = since_start(&[("a", 60), ("b", 40)]);
    let looks = schedule.take(at(5), 1);
    assert_eq!((looks["a"].len(), looks["b"].len()), (60, 40));
    answer(&mut schedule, &looks, 20);
    assert_eq!(size(&schedule.take(at(10), 1)), 60, "what has ended is looked at no more");
}

#[test]
fn an_object_with_few_left_is_looked_at_more_often() {
    for (left, others, few) in [(5, 0, true), (6, 0, false), (5, 1, false), (4, 1, true)] {
        let mut schedule = schedule();
        schedule.watch(&"a", &Watch { others, ..of_age(1_000, 0..left) }, at(0));
        let looks = schedule.take(at(0), 1);
        answer(&mut schedule, &looks, 0);
        let step = if few { 30 } else { 120 };
        assert_eq!(schedule.next(), Some(at(step)), "{left} of {}", left + others);
    }
}

#[test]
fn more_finishers_than_fit_one_call_are_looked_at_less_often() {
    for (objects, step) in [(READ_SIZE, 30), (READ_SIZE + 1, 100)] {
        let mut schedule =
            Schedule::new(&Settings { poll_min: POLL_MIN, poll_max: POLL_MAX, ..Settings::default() });
        for object in 0..objects {
            schedule.watch(&object, &of_age(1_000, object..object + 1), at(0));
        }
        let looks = schedule.take(at(0), 1);
        assert_eq!(looks.len(), objects, "all are finishers");
        for (key, ids) in &looks {
            schedule.answered(key, ids, &[]);
        }
        assert_eq!(schedule.next(), Some(at(step)), "{objects}");
    }
}

#[test]
fn the_room_that_finishers_leave_in_a_call_is_filled_with_scouts() {
    let mut schedule = since_start(&[("few", 3), ("many", 1_000)]);
    let taken = idle_until(&mut schedule, at(1_000));
    assert!(taken.iter().all(|(_, size)| *size == READ_SIZE), "{taken:?}");
    let steps = taken.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    assert!(steps.is_some_and(|step| (27..=30).contains(&step)), "three in a hundred of the age: {steps:?}");
    let looks = schedule.take(schedule.next().unwrap(), 1);
    assert_eq!((looks["few"].len(), looks["many"].len()), (3, 97));
}

#[test]
fn what_is_asked_for_is_not_taken_again_until_it_is_answered() {
    let mut schedule = since_start(&[("a", 150)]);
    let first = schedule.take(at(5), 1)["a"].clone();
    let second = schedule.take(at(10), 1)["a"].clone();
    assert_eq!((first.len(), second.len()), (100, 50));
    assert!(second.iter().all(|id| !first.contains(id)));
    assert_eq!((schedule.next(), size(&schedule.take(at(99), 1))), (None, 0));
    schedule.answered(&"a", &first, &[]);
    assert!(schedule.next().is_some());
    assert_eq!(size(&schedule.take(at(99), 1)), 100);
}

#[test]
fn an_object_that_tells_again_keeps_the_pace() {
    let mut told_once = since_start(&[("a", 1_000)]);
    idle_until(&mut told_once, at(500));
    let mut told_again = told_once.clone();
    // Its wall clock is not quite the process's own.
    told_again.watch(&"a", &of_age(501, 0..1_000), at(500));
    assert_eq!(told_again.next(), told_once.next());
}

#[test]
fn what_is_asked_for_is_what_both_say() {
    let told = |asked: bool| {
        let mut watch = of_age(500, 0..4);
        for one in &mut watch.on_their_way {
            one.asked = asked;
        }
        watch
    };
    let mut schedule = schedule();
    schedule.watch(&"a", &told(true), at(500));
    assert_eq!(schedule.next(), None, "a look that the object had asked for itself");
    schedule.answered(&"a", &[id(1), id(2)], &[id(2)]);
    schedule.watch(&"a", &told(true), at(500));
    let looks = schedule.take(at(500), 1);
    assert_eq!(looks["a"], [id(1)], "decided before the answer came; of the ended one nothing was known");
    schedule.watch(&"a", &told(false), at(500));
    assert_eq!(size(&schedule.take(at(9_999), 1)), 4, "an answer that never came is waited for no longer");
}

#[test]
fn an_object_whose_last_instance_has_ended_is_forgotten() {
    let mut schedule = since_start(&[("a", 2)]);
    let looks = schedule.take(at(5), 1);
    answer(&mut schedule, &looks, 2);
    assert!(schedule.is_empty());
    schedule.answered(&"a", &[id(1)], &[id(1)]);
    assert!(schedule.is_empty(), "a late answer is no harm");
}

#[test]
fn one_that_came_before_the_process_started_is_looked_at_at_once() {
    let mut schedule = schedule();
    schedule.watch(&"a", &of_age(3_600, 0..1_000), at(1));
    assert!(schedule.next() <= Some(at(1)));
    assert_eq!(size(&schedule.take(at(1), 1)), READ_SIZE);
}

#[test]
fn one_that_comes_later_is_not_slowed_by_the_old_ones() {
    let mut schedule = schedule();
    schedule.watch(&"old", &of_age(36_000, 0..10_000), at(0));
    idle_until(&mut schedule, at(600));
    schedule.watch(&"new", &of_age(0, 10_000..10_050), at(600));
    let mut seen = Vec::new();
    while let Some(due) = schedule.next().filter(|due| *due <= at(700)) {
        let looks = schedule.take(due, 1);
        answer(&mut schedule, &looks, 0);
        seen.extend(looks.get("new").map(|ids| (due.since_start().as_secs(), ids.len())));
    }
    let whole: Vec<u64> = seen.iter().filter(|(_, size)| *size == 50).map(|(at, _)| *at).collect();
    assert_eq!(whole[..4], [605, 610, 615, 620], "{seen:?}");
}

#[test]
fn ages_that_have_become_about_the_same_are_looked_at_together() {
    let mut schedule = schedule();
    schedule.watch(&"old", &of_age(0, 0..20), at(0));
    schedule.watch(&"new", &of_age(0, 20..40), at(60));
    let calls = |schedule: &Schedule<&str>| schedule.age_groups.len();
    assert_eq!(calls(&schedule), 2);
    idle_until(&mut schedule, at(399));
    assert_eq!(calls(&schedule), 2);
    idle_until(&mut schedule, at(600));
    assert_eq!(calls(&schedule), 1, "60 s are no more than 15 in a hundred of 400 s");
    let looks = schedule.take(schedule.next().unwrap(), 1);
    assert_eq!((looks["old"].len(), looks["new"].len()), (20, 20));
}

#[test]
fn age_groups_stay_few_however_long_instances_keep_coming() {
    let mut schedule = Schedule::new(&Settings::default());
    for minute in 0..1_000 {
        schedule.watch(&minute, &of_age(0, minute..minute + 1), at(minute as u64 * 60));
        let looks = schedule.take(at(minute as u64 * 60 + 5), 1);
        for (key, ids) in &looks {
            schedule.answered(key, ids, &[]);
        }
    }
    assert!(schedule.age_groups.len() < 60, "{}", schedule.age_groups.len());
}

#[test]
fn x24_age_groups_do_not_become_more_for_as_long_as_instances_come() {
    let mut schedule = schedule();
    // One instance stays on its way, and another one ends every hour.
    let waits = |age: u64| of_age(age, 0..1);
    let mut most = Vec::new();
    for hour in 0..21 * 24 {
        let now = at(hour * 3600);
        schedule.watch(&"waits", &waits(hour * 3600), now);
        schedule.watch(&"comes", &of_age(0, 1..2), now);
        let _ = idle_until(&mut schedule, at(hour * 3600 + 600));
        schedule.forget(&"comes");
        let _ = idle_until(&mut schedule, at(hour * 3600 + 3_599));
        most.push(schedule.entries());
    }
    assert_eq!((most[1], most.last()), (2, Some(&2)), "one instance and its group: {most:?}");
}

#[test]
fn an_instance_that_comes_back_is_not_looked_at_again_at_once() {
    let mut schedule = since_start(&[("back", 1)]);
    let first = idle_until(&mut schedule, at(600));
    schedule.forget(&"back");
    let last = first.last().unwrap().0;
    schedule.watch(&"back", &of_age(last + 1, 0..1), at(last + 1));
    assert!(schedule.next().unwrap() > at(last + 1), "its group remembers the look before");
}
