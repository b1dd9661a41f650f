//! Instances that looks can't read, beside others that they can.

use super::*;

const DAY: Duration = Duration::from_hours(24);

/// How a day went by.
#[derive(Debug)]
struct Course {
    /// The time of the last call that named a further id.
    took: Duration,
    /// Number of ids that were named by a call.
    sent: usize,
    /// Delete calls.
    calls: usize,
    /// Status writes.
    writes: usize,
}

/// How long the cloud takes to delete an instance.
const DELETION: Duration = Duration::from_mins(15);

/// A day in the life of an object of `n` ids, from the moment at which its first wave was accepted. Each wave takes a
/// minute, as at an account of a low rate. From then on the ids at `unreadable` can't be read.
fn day(n: usize, unreadable: &[usize]) -> (World, Course) {
    let mut world = World::new(n);
    let (wave, _) = world.run();
    world.accept(&wave.unwrap());
    world.unreadable = unreadable.iter().map(|position| world.id(*position)).collect();
    let start = world.now;
    let mut named: HashSet<InstanceId> = world.calls.iter().flat_map(Batch::ids).collect();
    let mut took = Duration::ZERO;
    let mut accepted: HashMap<InstanceId, Mono> = named.iter().map(|id| (*id, start)).collect();
    while world.now - start < DAY {
        let (wave, wake) = world.run();
        let before = named.len();
        match (wave, wake) {
            (Some(wave), _) => {
                named.extend(wave.batches.iter().flat_map(Batch::ids));
                world.pass(Duration::from_mins(1));
                world.accept(&wave);
                let ids = wave.batches.iter().flat_map(Batch::ids);
                accepted.extend(ids.map(|id| (id, world.now)));
            }
            (None, Some(wake)) => world.now = wake,
            (None, None) => break,
        }
        accepted.retain(|id, at| {
            let over = world.now - *at >= DELETION;
            if over {
                world.cloud.insert(*id, Seen::Terminated);
            }
            !over
        });
        if named.len() > before {
            took = world.now - start;
        }
    }
    let course = Course { took, sent: named.len(), calls: world.calls.len(), writes: world.writes.len() };
    (world, course)
}

fn says(world: &World, position: usize) -> bool {
    let (reason, message) = world.ready();
    reason == "StateUnknown" && message.contains(&world.id(position).to_string())
}

#[test]
fn x13_an_accepted_id_that_can_not_be_read_delays_no_other_in_a_day() {
    let (_, control) = day(1_000, &[]);
    let (world, course) = day(1_000, &[7]);
    println!("figure: a day of 1,000 ids: {control:?}; with one that can't be read: {course:?}");
    assert_eq!((course.sent, control.sent), (1_000, 1_000));
    assert_eq!(course.calls, control.calls);
    assert!(course.took <= control.took + Duration::from_secs(5), "{course:?} beside {control:?}");
    assert!(says(&world, 7), "{:?}", world.ready());
    assert!(course.writes <= control.writes + 2, "{course:?} beside {control:?}");
    assert!(world.ready().1.contains("999 of 1000 terminated"), "{:?}", world.ready());
    let looks = world.looked.iter().filter(|id| **id == world.id(7)).count();
    let fewest = usize::try_from(DAY.as_secs() / SETTINGS.retry_max.as_secs()).unwrap();
    assert!((fewest..3 * fewest).contains(&looks), "{looks} looks at it in a day");
}

#[test]
fn x13_pending_ids_that_can_not_be_read_keep_no_other_from_being_sent() {
    for bad in [1, 49, 120] {
        let mut world = World::new(300);
        let unreadable: Vec<_> = (0..bad).map(|n| n * 2).collect();
        world.unreadable = unreadable.iter().map(|position| world.id(*position)).collect();
        world.run_to_rest(Duration::from_mins(2));
        let sent: HashSet<_> = world.calls.iter().flat_map(Batch::ids).collect();
        assert_eq!(sent.len(), 300 - bad, "{bad} that can't be read");
        assert!(says(&world, 0), "{:?}", world.ready());
        // They are sent once they can be read.
        world.unreadable.clear();
        world.run_to_rest(Duration::from_mins(2));
        let sent: HashSet<_> = world.calls.iter().flat_map(Batch::ids).collect();
        assert_eq!((sent.len(), world.ready().0.as_str()), (300, "Deleting"));
    }
}

#[test]
fn a_look_that_reads_nothing_is_an_outage_and_one_that_reads_others_is_not() {
    let mut world = World::new(3);
    world.blind = true;
    world.run();
    assert_eq!(world.ready().0, "CloudUnreachable");
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(world.ready().0, "CloudUnreachable", "however long it lasts");
    world.blind = false;
    world.unreadable = HashSet::from([world.id(1)]);
    world.run_to_rest(Duration::from_mins(10));
    assert_eq!(world.calls.iter().flat_map(Batch::ids).count(), 2);
    assert!(says(&world, 1), "{:?}", world.ready());
    // Outages and one id that can't be read, in turns: the status changes with each of them, not with each look.
    let writes = world.writes.len();
    for _ in 0..3 {
        world.blind = true;
        world.run_to_rest(Duration::from_mins(20));
        assert_eq!(world.ready().0, "CloudUnreachable");
        world.blind = false;
        world.run_to_rest(Duration::from_mins(20));
        assert!(says(&world, 1), "{:?}", world.ready());
    }
    let said = world.writes[writes..].iter().map(|status| status.conditions[0].reason.clone());
    let mut said: Vec<_> = said.collect();
    said.dedup();
    assert_eq!(said, ["CloudUnreachable", "Deleting", "StateUnknown"].repeat(3));
}

#[test]
fn the_last_id_of_an_object_is_named_if_it_can_not_be_read() {
    let mut world = World::new(60);
    world.run_to_rest(Duration::from_secs(20));
    world.unreadable = HashSet::from([world.id(59)]);
    world.finish_all();
    world.run_to_rest(Duration::from_hours(2));
    let (_, message) = world.ready();
    assert!(says(&world, 59) && message.contains("59 of 60 terminated"), "{message}");
    assert!(message.contains("HTTP 500"), "{message}");
    world.unreadable.clear();
    world.run_to_rest(SETTINGS.retry_max + SETTINGS.poll_min);
    assert_eq!(world.status.phase, Some(Phase::Succeeded));
}

#[test]
fn a_plan_counts_an_id_that_can_not_be_read_as_unknown() {
    let mut world = World::new(3);
    world.spec.dry_run = true;
    world.unreadable = HashSet::from([world.id(1)]);
    world.run_to_rest(SETTINGS.settle / 2);
    assert_eq!(world.status.phase, Some(Phase::Planning), "it may be over soon");
    world.run_to_rest(SETTINGS.settle * 2);
    let plan = world.status.plan.clone().unwrap();
    assert_eq!((plan.to_delete, plan.unreadable), (2, 1));
}
