//! The configurations. Each states which faults can occur, and how often at most.

use engine_purity::engine::state::Live;

use crate::configuration::{Budget, Configuration, PowerOffFirst, RefusesRunning};

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
    guard_edits: 0,
    renames: 0,
    power_ons: 0,
    power_offs: 0,
    power_failures: 0,
    breaks: 0,
    reassigned: 0,
    moves: 0,
};

/// Each running instance is powered off and deleted at once.
const OFF: Option<PowerOffFirst> = Some(PowerOffFirst::Always { soak: 0 });
/// Each running instance is powered off, and stays off for a while.
const SOAK: Option<PowerOffFirst> = Some(PowerOffFirst::Always { soak: 1 });
/// For so long that reads in between are not fresh at the end of it.
const LONG_SOAK: Option<PowerOffFirst> = Some(PowerOffFirst::Always { soak: 3 });
/// What is running is powered off if its deletion is refused.
const IF_REFUSED: Option<PowerOffFirst> = Some(PowerOffFirst::IfRefused);

/// The configurations that `make test` explores.
#[must_use]
pub fn small() -> Vec<Configuration> {
    let mut all = small_without_power();
    all.extend(small_powered_off_first());
    all.extend(small_that_soak());
    all.extend(small_powered_off_if_refused());
    all
}

#[expect(clippy::too_many_lines, reason = "a table: one entry for each configuration")]
fn small_without_power() -> Vec<Configuration> {
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
        Configuration { name: "guarded", budget: Budget { guard_edits: 2, slow: 1, ..NONE }, ..base() },
        Configuration {
            name: "expected",
            ids: 2,
            expect: true,
            budget: Budget { renames: 1, ..NONE },
            ..base()
        },
        Configuration { name: "limited", ids: 2, limit: Some(1), ..base() },
        Configuration {
            name: "one-in-flight",
            ids: 2,
            max_in_flight: Some(1),
            budget: Budget { lost_calls: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "no-failure-allowed",
            ids: 2,
            batch_size: 1,
            backoff_limit: 0,
            max_failed: Some(0),
            budget: Budget { failures: 1, ..NONE },
            ..base()
        },
    ]
}

/// With `powerOff.when: Always` and no soak.
fn small_powered_off_first() -> Vec<Configuration> {
    let off = || Configuration { power_off: OFF, ..Configuration::default() };
    vec![
        Configuration { name: "off-first", budget: Budget { crashes: 1, ..NONE }, ..off() },
        Configuration {
            name: "off-first-lost-call",
            budget: Budget { lost_calls: 1, hollow: 1, ..NONE },
            ..off()
        },
        Configuration {
            name: "off-first-failures",
            budget: Budget { power_failures: 2, slow: 1, ..NONE },
            ..off()
        },
        Configuration { name: "off-first-refusals", budget: Budget { refusals: 2, ..NONE }, ..off() },
        Configuration {
            name: "off-first-two",
            ids: 2,
            whole_looks: true,
            starts: &[Live::Running, Live::Stopped],
            budget: Budget { power_failures: 1, ..NONE },
            ..off()
        },
        Configuration { name: "off-first-never-ran", ids: 2, starts: &[Live::Pending, Live::Error], ..off() },
        Configuration {
            name: "off-first-outside",
            budget: Budget { outside: 1, failures: 1, power_ons: 1, ..NONE },
            ..off()
        },
        Configuration {
            name: "off-first-other-servers",
            vanish: true,
            budget: Budget { outside: 1, reassigned: 1, ..NONE },
            ..off()
        },
        Configuration { name: "off-first-moves", budget: Budget { moves: 1, ..NONE }, ..off() },
    ]
}

/// With `powerOff.when: Always` and a soak.
fn small_that_soak() -> Vec<Configuration> {
    let soak = || Configuration { power_off: SOAK, ..Configuration::default() };
    vec![
        Configuration {
            name: "soak",
            budget: Budget { power_ons: 1, power_offs: 1, lost_calls: 1, ..NONE },
            ..soak()
        },
        Configuration { name: "soak-crash", budget: Budget { power_ons: 1, crashes: 1, ..NONE }, ..soak() },
        Configuration {
            name: "soak-medium-time",
            tick: 20,
            power_off: LONG_SOAK,
            budget: Budget { power_ons: 1, spurious: 1, denied: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-fine-steps",
            fine: true,
            budget: Budget { power_ons: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-suspend",
            power_off: Some(PowerOffFirst::Always { soak: 2 }),
            budget: Budget { edits: 2, ..NONE },
            ..soak()
        },
        Configuration { name: "soak-re-created", budget: Budget { recreations: 1, ..NONE }, ..soak() },
        Configuration {
            name: "soak-two",
            ids: 2,
            whole_looks: true,
            starts: &[Live::Running, Live::Stopped],
            budget: Budget { power_ons: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-not-after",
            not_after: Some(3),
            budget: Budget { power_ons: 1, wall_jumps: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-deadline",
            deadline: Some(3),
            budget: Budget { power_ons: 1, wall_jumps: 1, ..NONE },
            ..soak()
        },
        Configuration { name: "soak-guarded", budget: Budget { guard_edits: 1, ..NONE }, ..soak() },
    ]
}

/// With `powerOff.when: IfRefused`.
fn small_powered_off_if_refused() -> Vec<Configuration> {
    let named = || Configuration {
        power_off: IF_REFUSED,
        refuses_running: Some(RefusesRunning::Named),
        ..Configuration::default()
    };
    let one_runs =
        || Configuration { ids: 2, whole_looks: true, starts: &[Live::Running, Live::Stopped], ..named() };
    vec![
        Configuration { name: "if-refused", budget: Budget { crashes: 1, ..NONE }, ..named() },
        Configuration {
            name: "if-refused-lost-call",
            budget: Budget { lost_calls: 1, hollow: 1, ..NONE },
            ..named()
        },
        Configuration {
            name: "if-refused-power-on",
            budget: Budget { power_ons: 1, power_failures: 1, slow: 1, ..NONE },
            ..named()
        },
        Configuration {
            name: "if-refused-unnamed",
            refuses_running: Some(RefusesRunning::Unnamed),
            ..one_runs()
        },
        Configuration {
            name: "if-refused-conflict",
            refuses_running: Some(RefusesRunning::UnnamedConflict),
            ..one_runs()
        },
        Configuration {
            name: "if-refused-silent",
            refuses_running: Some(RefusesRunning::Silent),
            ..one_runs()
        },
        Configuration { name: "if-refused-suspend", budget: Budget { edits: 2, ..NONE }, ..named() },
        Configuration {
            name: "if-refused-outside",
            budget: Budget { outside: 1, failures: 1, ..NONE },
            ..named()
        },
        Configuration {
            name: "refused",
            power_off: None,
            budget: Budget { power_offs: 1, power_ons: 1, ..NONE },
            ..named()
        },
    ]
}

/// The configurations that only `make explore` explores.
#[must_use]
pub fn large() -> Vec<Configuration> {
    let mut all = large_with_one_process();
    all.extend(large_powered_off());
    all.extend(large_powered_off_with_two_processes());
    all.extend(large_with_two_processes());
    all
}

#[expect(clippy::too_many_lines, reason = "a table: one entry for each configuration")]
fn large_powered_off() -> Vec<Configuration> {
    let off = || Configuration { power_off: OFF, ..Configuration::default() };
    let soak = || Configuration { power_off: SOAK, ..Configuration::default() };
    let refused = || Configuration {
        power_off: IF_REFUSED,
        refuses_running: Some(RefusesRunning::Named),
        ..Configuration::default()
    };
    vec![
        Configuration {
            name: "off-first-crash-and-lost-call",
            budget: Budget { crashes: 1, lost_calls: 1, power_failures: 1, ..NONE },
            ..off()
        },
        Configuration {
            name: "off-first-two-failures",
            ids: 2,
            budget: Budget { power_failures: 1, partial: 1, ..NONE },
            ..off()
        },
        Configuration {
            name: "off-first-other-servers-stopped",
            vanish: true,
            budget: Budget { outside: 1, reassigned: 1, moves: 1, slow: 1, stops: 1, ..NONE },
            ..off()
        },
        Configuration {
            name: "soak-crash-and-lost-call",
            budget: Budget { crashes: 1, lost_calls: 1, power_ons: 1, power_offs: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-crash-and-suspend",
            power_off: Some(PowerOffFirst::Always { soak: 2 }),
            budget: Budget { crashes: 1, edits: 2, power_ons: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-crash-and-medium-time",
            tick: 20,
            power_off: LONG_SOAK,
            budget: Budget { power_ons: 1, crashes: 1, slow: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-two-crash",
            ids: 2,
            whole_looks: true,
            starts: &[Live::Running, Live::Stopped],
            budget: Budget { crashes: 1, power_ons: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-re-created-power-on",
            budget: Budget { recreations: 1, power_ons: 1, lost_calls: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-not-after-crash",
            not_after: Some(3),
            budget: Budget { power_ons: 1, crashes: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "soak-guarded-slow",
            budget: Budget { guard_edits: 2, slow: 1, ..NONE },
            ..soak()
        },
        Configuration {
            name: "if-refused-crash-and-lost-call",
            budget: Budget { crashes: 1, lost_calls: 1, power_ons: 1, ..NONE },
            ..refused()
        },
        Configuration {
            name: "if-refused-two-crash",
            ids: 2,
            starts: &[Live::Running, Live::Stopped],
            refuses_running: Some(RefusesRunning::UnnamedConflict),
            budget: Budget { crashes: 1, ..NONE },
            ..refused()
        },
    ]
}

fn large_powered_off_with_two_processes() -> Vec<Configuration> {
    let two = || Configuration { processes: 2, whole_looks: true, ..Configuration::default() };
    vec![
        Configuration { name: "off-first-two-processes", power_off: OFF, ..two() },
        Configuration {
            name: "soak-two-processes",
            power_off: SOAK,
            budget: Budget { power_ons: 1, ..NONE },
            ..two()
        },
        Configuration {
            name: "if-refused-two-processes",
            power_off: IF_REFUSED,
            refuses_running: Some(RefusesRunning::Named),
            ..two()
        },
    ]
}

fn large_with_one_process() -> Vec<Configuration> {
    let base = Configuration::default;
    vec![
        Configuration {
            name: "guarded-and-crash",
            budget: Budget { guard_edits: 2, slow: 1, crashes: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "expected-and-crash",
            ids: 2,
            expect: true,
            budget: Budget { renames: 1, crashes: 1, outside: 1, ..NONE },
            ..base()
        },
        Configuration {
            name: "limited-and-crash",
            ids: 2,
            limit: Some(1),
            budget: Budget { lost_calls: 1, crashes: 1, ..NONE },
            ..base()
        },
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
