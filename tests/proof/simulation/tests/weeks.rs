//! Nothing that a process keeps grows with time.

use std::time::Duration;

use simulation::weeks::{Kept, run};

const OBJECTS: usize = 10_000;
const TIME: Duration = Duration::from_hours(3 * 7 * 24);

#[test]
fn x24_ten_thousand_objects_that_come_and_go_in_three_weeks_leave_nothing_behind() {
    let course = run(OBJECTS, TIME);
    let (first, last) = (course.days.first().unwrap(), course.days.last().unwrap());
    let rows =
        [("before", &course.before), ("first day", first), ("last day", last), ("after", &course.after)];
    for (when, Kept { sizes, tasks }) in rows {
        let sizes: Vec<_> = sizes.named().iter().map(|(kind, size)| format!("{kind} {size}")).collect();
        println!("figure: weeks: {when}: {}, tasks {tasks}", sizes.join(", "));
    }
    assert_eq!((course.succeeded, course.days.len()), (OBJECTS, 21));
    // Objects that are worked on make it larger than before they came, and it is about the same on every day.
    let sum = |kept: &Kept| kept.sizes.named().iter().map(|(_, size)| size).sum::<usize>();
    assert!(sum(first) > 3 * sum(&course.before), "{first:?}");
    for (day, kept) in course.days.iter().enumerate() {
        for ((kind, size), (_, at_first)) in kept.sizes.named().into_iter().zip(first.sizes.named()) {
            assert!(size <= 2 * at_first + 8, "{kind} on day {day}: {size}, and {at_first} on the first");
        }
        assert!(kept.tasks <= 2 * first.tasks, "{day}: {kept:?}");
    }
    assert_eq!(course.after, course.before, "the one that waits, and nothing else");
}
