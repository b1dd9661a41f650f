use std::time::Duration;

use super::{
    Priority::{Calls, Rest},
    *,
};
use crate::controller::queue::testing::Numbers;

/// A step of a table, with what is expected of it.
enum Step {
    Add(&'static str, Priority),
    /// Starts all that may run now: these, in this order.
    Starts(&'static [&'static str]),
    /// Ends a run; whether the key waits again.
    Done(&'static str, bool),
}
use Step::{Add, Done, Starts};

fn play(name: &str, steps: &[Step]) {
    let mut queue = WorkQueue::default();
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Add(key, priority) => queue.add(&key, priority, Mono::START),
            Starts(expected) => {
                let started: Vec<_> =
                    std::iter::from_fn(|| queue.start()).map(|started| started.key).collect();
                assert_eq!(started, expected, "{name}, step {number}");
            }
            Done(key, again) => assert_eq!(queue.done(&key), again, "{name}, step {number}"),
        }
    }
}

#[test]
fn keys_run_in_order_one_run_of_a_key_at_a_time() {
    play(
        "first come, first served",
        &[
            Add("a", Rest),
            Add("b", Rest),
            Add("a", Rest),
            Starts(&["a", "b"]),
            Done("a", false),
            Done("b", false),
            Starts(&[]),
        ],
    );
    play(
        "added while it runs",
        &[
            Add("a", Rest),
            Starts(&["a"]),
            Add("a", Rest),
            Add("a", Rest),
            Starts(&[]),
            Add("b", Rest),
            Done("a", true),
            Starts(&["b", "a"]),
            Done("a", false),
        ],
    );
    play(
        "added while it runs, with calls to make",
        &[
            Add("a", Rest),
            Add("b", Rest),
            Add("c", Rest),
            Add("d", Rest),
            Starts(&["a", "b", "c"]),
            Add("a", Rest),
            Add("a", Calls),
            Done("a", true),
            Starts(&["a", "d"]),
        ],
    );
    play("a run that nobody started", &[Done("a", false), Add("a", Rest), Done("a", false), Starts(&["a"])]);
}

#[test]
fn one_worker_is_left_for_keys_with_calls_to_make() {
    play(
        "three of four",
        &[
            Add("0", Rest),
            Add("1", Rest),
            Add("2", Rest),
            Add("3", Rest),
            Add("4", Rest),
            Add("5", Rest),
            Starts(&["0", "1", "2"]),
            Add("10", Calls),
            Starts(&["10"]),
            Add("11", Calls),
            Starts(&[]),
            Done("0", false),
            Starts(&["11"]),
            Done("1", false),
            Starts(&["3"]),
            Done("2", false),
            Done("3", false),
            Starts(&["4", "5"]),
        ],
    );
    play(
        "keys with calls to make may take all four",
        &[
            Add("0", Calls),
            Add("1", Calls),
            Add("2", Calls),
            Add("3", Calls),
            Add("4", Calls),
            Add("5", Rest),
            Starts(&["0", "1", "2", "3"]),
            Done("0", false),
            Starts(&["4"]),
            Done("1", false),
            Starts(&["5"]),
        ],
    );
}

#[test]
fn a_key_that_has_calls_to_make_now_moves_up() {
    play(
        "before all that make none, behind those that do",
        &[
            Add("0", Rest),
            Add("1", Rest),
            Add("2", Rest),
            Add("3", Calls),
            Add("2", Calls),
            Add("3", Calls),
            Add("2", Rest),
            Starts(&["3", "2", "0", "1"]),
        ],
    );
    play(
        "calls that are due while a key waits count",
        &[
            Add("0", Rest),
            Add("1", Rest),
            Add("2", Rest),
            Add("3", Rest),
            Add("10", Rest),
            Starts(&["0", "1", "2"]),
            Add("10", Calls),
            Starts(&["10"]),
        ],
    );
}

#[test]
fn a_wait_counts_from_the_first_add_since_the_last_start() {
    let mut queue = WorkQueue::default();
    let at = |seconds| Mono::START + Duration::from_secs(seconds);
    let waited = |queue: &mut WorkQueue<&str>| queue.start().map(|s| (s.priority, s.added));
    queue.add(&"a", Rest, at(1));
    queue.add(&"a", Rest, at(2));
    queue.add(&"a", Calls, at(3));
    assert_eq!((queue.depth(Rest), queue.depth(Calls)), (0, 1));
    assert_eq!(waited(&mut queue), Some((Calls, at(1))));
    queue.add(&"a", Calls, at(4));
    queue.add(&"a", Rest, at(5));
    assert_eq!((queue.depth(Rest), queue.depth(Calls)), (0, 0));
    queue.done(&"a");
    assert_eq!(waited(&mut queue), Some((Calls, at(4))));
}

/// client-go's workqueue (`util/workqueue/queue.go`), as naive as it can be written, with a second queue and the limit of runs.
#[derive(Default)]
struct Model {
    /// In client-go's terms: to be processed, waiting in a queue or not.
    dirty: Vec<(u8, Priority)>,
    processing: Vec<(u8, Priority)>,
    queue: Vec<(u8, Priority)>,
}

impl Model {
    fn add(&mut self, key: u8, priority: Priority) {
        let runs = self.processing.iter().any(|(other, _)| *other == key);
        let before = self.dirty.iter().find(|(other, _)| *other == key).map(|(_, before)| *before);
        if before.is_some_and(|before| before >= priority) {
            return;
        }
        self.dirty.retain(|(other, _)| *other != key);
        self.dirty.push((key, priority));
        if !runs {
            self.queue.retain(|(other, _)| *other != key);
            self.queue.push((key, priority));
        }
    }

    fn get(&mut self) -> Option<(u8, Priority)> {
        let rest = self.processing.iter().filter(|(_, priority)| *priority == Rest).count();
        let first = |priority| self.queue.iter().position(|(_, other)| *other == priority);
        let index = first(Calls).or_else(|| first(Rest).filter(|_| rest < 3));
        let item = self.queue.remove(index.filter(|_| self.processing.len() < 4)?);
        self.processing.push(item);
        self.dirty.retain(|(other, _)| *other != item.0);
        Some(item)
    }

    fn done(&mut self, key: u8) -> bool {
        self.processing.retain(|(other, _)| *other != key);
        let again = self.dirty.iter().find(|(other, _)| *other == key).copied();
        self.queue.extend(again);
        again.is_some()
    }
}

/// Whatever is added, taken and done in whatever order: the same keys start as in the model, and none is lost.
#[test]
fn it_does_what_client_go_does() {
    const STEPS: usize = 400;
    for seed in 1..=500 {
        let mut numbers = Numbers(seed);
        let keys = 1 + numbers.below(12);
        // From queues that are always empty to such that only grow.
        let adds = 1 + numbers.below(8);
        let (mut queue, mut model) = (WorkQueue::default(), Model::default());
        let mut running: Vec<u8> = Vec::new();
        let mut owed = [false; 12];
        for step in 0..STEPS {
            let draining = step >= STEPS - 60;
            match numbers.below(adds + 4) {
                0 | 1 => {
                    let started = queue.start();
                    assert_eq!(started.as_ref().map(|s| (s.key, s.priority)), model.get(), "seed {seed}");
                    if let Some(Started { key, .. }) = started {
                        assert!(!running.contains(&key), "seed {seed}: twice at once");
                        running.push(key);
                        owed[usize::from(key)] = false;
                    }
                }
                2 | 3 if !running.is_empty() => {
                    let key = running.swap_remove(numbers.below(running.len()));
                    assert_eq!(queue.done(&key), model.done(key), "seed {seed}");
                }
                _ if draining => {}
                _ => {
                    let key = u8::try_from(numbers.below(keys)).unwrap();
                    let priority = Priority::ALL[numbers.below(2)];
                    queue.add(&key, priority, Mono::START);
                    model.add(key, priority);
                    owed[usize::from(key)] = true;
                }
            }
            for priority in Priority::ALL {
                let waiting = model.queue.iter().filter(|(_, other)| *other == priority).count();
                assert_eq!(queue.depth(priority), waiting, "seed {seed}");
            }
        }
        // All that is still owed starts when nothing more is added.
        while let Some(key) = running.pop() {
            queue.done(&key);
            while let Some(Started { key, .. }) = queue.start() {
                owed[usize::from(key)] = false;
                running.push(key);
            }
        }
        while let Some(Started { key, .. }) = queue.start() {
            owed[usize::from(key)] = false;
            queue.done(&key);
        }
        assert_eq!(owed, [false; 12], "seed {seed}: lost");
    }
}
