//! Objects that are worked on for weeks: their memory and their status do not grow with time.

use super::*;

/// What is kept of the object and its ids, in the process and in the record.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    entries: usize,
    histories: usize,
    watched: usize,
    status_bytes: usize,
}

fn kept(world: &mut World) -> Kept {
    world.call_history.sweep(world.now, &SETTINGS);
    Kept {
        entries: world.memory.as_ref().unwrap().entries(),
        histories: world.call_history.entries(),
        watched: world.schedule.entries(),
        status_bytes: serde_json::to_string(&world.status).unwrap().len(),
    }
}

/// Lets time pass, with every call and every look answered so. Returns the number of calls.
fn live(world: &mut World, time: Duration, mut answer: impl FnMut(&mut World, &Batch)) -> usize {
    let (until, before) = (world.now + time, world.calls.len());
    while world.now < until {
        match world.run() {
            (Some(wave), _) => wave.batches.iter().for_each(|batch| answer(world, batch)),
            (None, Some(wake)) => world.now = wake,
            (None, None) => panic!("it has ended"),
        }
    }
    world.calls.len() - before
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn x24_what_is_kept_of_an_object_that_is_refused_for_a_week_stays_as_it_is_after_a_day() {
    let mut world = World::new(3);
    let answer = |world: &mut World, batch: &Batch| world.end(batch, &refused(Trouble::Forbidden));
    let calls = live(&mut world, DAY, answer);
    let first = kept(&mut world);
    world.looked.clear();
    let later = live(&mut world, 6 * DAY, answer);
    let last = kept(&mut world);
    println!(
        "figure: refused for a week: {calls} calls and {first:?} after a day, {later} more and {last:?} at the end"
    );
    let looks = world.looked.len();
    assert!(
        looks <= 3 * later,
        "each id is looked at once for each call: {looks} for {later} calls of three"
    );
    assert!(later > 5 * calls && calls > 100, "it was tried all the time: {calls}, then {later}");
    // Numbers of batches have more digits, up to 128 times.
    assert!(last.status_bytes < first.status_bytes + 1_000, "{first:?} {last:?}");
    assert_eq!(Kept { status_bytes: first.status_bytes, ..last }, first);
}

#[test]
fn x24_what_is_kept_of_an_object_whose_ids_fall_to_error_again_and_again_does_not_grow() {
    let mut world = World::new(20);
    world.spec.backoff_limit = 1_000_000;
    let answer = |world: &mut World, batch: &Batch| {
        let ids = batch.ids();
        for id in &ids {
            world.cloud.insert(*id, Seen::Live(Live::Error));
        }
        world.end(batch, &CallOutcome::Accepted { ids, foreign: 0, message: CloudMessage::default() });
    };
    let calls = live(&mut world, DAY, answer);
    let first = kept(&mut world);
    let later = live(&mut world, 6 * DAY, answer);
    let last = kept(&mut world);
    println!(
        "figure: ids that fall to error for a week: {calls} calls and {first:?} after a day, {later} more and {last:?} at the end"
    );
    assert!(later > 4 * calls && calls > 10, "it was tried all the time: {calls}, then {later}");
    assert!(last.entries <= first.entries + 4 && last.histories <= first.histories && last.watched <= 100);
}
