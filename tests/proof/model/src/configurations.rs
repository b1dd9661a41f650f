//! The configurations. Each states which faults can occur, and how often at most.

use crate::configuration::{Budget, Configuration};

const NONE: Budget = Budget {
    crashes: 0,
    stops: 0,
    pauses: 0,
    lost_writes: 0,
    lost_calls: 0,
    partial: 0,
    hollow: 0,
    refusals: 0,
    failed_looks: 0,
    slow: 0,
    failures: 0,
    outside: 0,
    edits: 0,
    recreations: 0,
    spurious: 0,
    denied: 0,
    wall_jumps: 0,
};

/// The configurations that `make test` explores.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a table: one entry for each configuration")]
pub fn small() -> Vec<Configuration> {
    let base = Configuration::default;
    vec![
        Configuration {
            name: "one-process",
            budget: Budget { crashes: 1, lost_writes: 1, lost_calls: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "one-process-slow",
            budget: Budget { lost_calls: 1, slow: 1, failures: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "fine-steps",
            fine: true,
            budget: Budget { crashes: 1, slow: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "fine-time",
            tick: 5,
            settle: 5,
            budget: Budget { lost_calls: 1, failures: 1, ..NONE },
            ..base()
        },
        Configuration { name: "partial-replies", ids: 2, budget: Budget { partial: 1, ..NONE }, ..base() },
        Configuration { name: "two-processes", processes: 2, whole_looks: true, ..base() },
        Configuration { name: "paused", budget: Budget { pauses: 2, crashes: 1, ..NONE }, ..base() },
        Configuration { name: "suspend", budget: Budget { edits: 2, slow: 1, ..NONE }, ..base() },
        Configuration {
            name: "re-created",
            budget: Budget { recreations: 1, lost_calls: 1, ..NONE },
            ..base()
        },
        // A process that has just started knows of earlier calls from the status only, and the object is deleted.
        Configuration {
            name: "crash-and-re-created",
            budget: Budget { recreations: 1, crashes: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "not-after",
            not_after: Some(2),
            budget: Budget { lost_calls: 1, failures: 1, wall_jumps: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "deadline",
            deadline: Some(2),
            budget: Budget { crashes: 1, lost_calls: 1, failures: 1, ..NONE },
            ..base()
        },
        Configuration { name: "refusals", budget: Budget { refusals: 3, ..NONE }, ..base() },
        Configuration { name: "one-bad-id-of-three", ids: 3, batch_size: 3, bad: &[1], ..base() },
        Configuration {
            name: "every-id-bad",
            ids: 2,
            bad: &[0, 1],
            most_batches: 6,
            liveness: false,
            ..base()
        },
        Configuration {
            name: "gone",
            vanish: true,
            budget: Budget { outside: 1, lost_calls: 1, failed_looks: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "gone-under-fail",
            vanish: true,
            fail_not_found: true,
            budget: Budget { outside: 1, crashes: 1, ..NONE },
            ..base()
        },
        Configuration { name: "one-call-at-a-time", ids: 2, batch_size: 1, ..base() },
        Configuration {
            name: "deleted-outside",
            budget: Budget { outside: 1, failures: 1, slow: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "accepted-without-effect",
            budget: Budget { hollow: 2, slow: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "denied-and-spurious",
            budget: Budget { denied: 1, spurious: 1, lost_calls: 1, ..NONE },
            ..base()
        },
    ]
}

/// The configurations that only `make explore` explores.
#[must_use]
pub fn large() -> Vec<Configuration> {
    let mut all = large_with_one_process();
    all.extend(large_with_two_processes());
    all
}

fn large_with_one_process() -> Vec<Configuration> {
    let base = Configuration::default;
    vec![
        Configuration {
            name: "one-process-all-faults",
            budget: Budget { crashes: 1, lost_writes: 1, lost_calls: 1, slow: 1, failures: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-ids-crash",
            ids: 2,
            budget: Budget { crashes: 1, lost_calls: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "suspend-slow-outside",
            budget: Budget { edits: 2, slow: 1, outside: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "three-ids-partial",
            ids: 3,
            parallel_calls: 2,
            budget: Budget { partial: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "fine-time-crash",
            tick: 5,
            settle: 5,
            budget: Budget { crashes: 1, lost_calls: 1, ..NONE },
            ..base()
        },
    ]
}

#[expect(clippy::too_many_lines, reason = "a table: one entry for each configuration")]
fn large_with_two_processes() -> Vec<Configuration> {
    let base = Configuration::default;
    vec![
        Configuration {
            name: "two-processes-medium-time",
            tick: 20,
            processes: 2,
            whole_looks: true,
            ..base()
        },
        Configuration { name: "two-processes-two-ids", ids: 2, processes: 2, whole_looks: true, ..base() },
        Configuration {
            name: "two-crashes-two-lost-calls",
            backoff_limit: 2,
            budget: Budget { crashes: 2, lost_calls: 2, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-crash-and-lost-call",
            processes: 2,
            whole_looks: true,
            budget: Budget { crashes: 1, lost_calls: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-crash",
            processes: 2,
            whole_looks: true,
            budget: Budget { crashes: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-lost-call",
            processes: 2,
            whole_looks: true,
            budget: Budget { lost_calls: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-lost-write",
            processes: 2,
            whole_looks: true,
            budget: Budget { lost_writes: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-failure",
            processes: 2,
            whole_looks: true,
            budget: Budget { failures: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-paused",
            processes: 2,
            whole_looks: true,
            budget: Budget { pauses: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-one-stopped",
            stops_in_hand: true,
            processes: 2,
            whole_looks: true,
            budget: Budget { stops: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-one-stopped-anywhere",
            processes: 2,
            whole_looks: true,
            budget: Budget { stops: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "two-processes-two-ids-one-stopped",
            stops_in_hand: true,
            ids: 2,
            processes: 2,
            whole_looks: true,
            budget: Budget { stops: 1, ..NONE },
            ..base()
        },
    ]
}

/// The configuration of this name.
#[must_use]
pub fn find(name: &str) -> Option<Configuration> {
    small().into_iter().chain(large()).find(|configuration| configuration.name == name)
}
