//! Every small configuration holds in every state.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use model::{Model, configuration::Configuration, configurations, explore::Search};

fn holds(name: &str) {
    let model = Model::new(configurations::find(name).unwrap()).unwrap();
    let report = Search::new(&model).run(usize::MAX, |_, _| {});
    println!("figure: {report}");
    assert!(report.complete, "{report}");
}

macro_rules! configurations {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            holds($name);
        })*

        #[test]
        fn each_small_configuration_has_its_test() {
            let tested = [$($name),*];
            let small = configurations::small();
            let names: Vec<_> = small.iter().map(|Configuration { name, .. }| *name).collect();
            assert_eq!(names, tested);
        }
    };
}

configurations! {
    one_process: "one-process",
    one_process_slow: "one-process-slow",
    fine_steps: "fine-steps",
    fine_time: "fine-time",
    partial_replies: "partial-replies",
    two_processes: "two-processes",
    paused: "paused",
    suspend: "suspend",
    re_created: "re-created",
    crash_and_re_created: "crash-and-re-created",
    not_after: "not-after",
    deadline: "deadline",
    refusals: "refusals",
    one_bad_id_of_three: "one-bad-id-of-three",
    every_id_bad: "every-id-bad",
    gone: "gone",
    gone_under_fail: "gone-under-fail",
    one_call_at_a_time: "one-call-at-a-time",
    deleted_outside: "deleted-outside",
    accepted_without_effect: "accepted-without-effect",
    denied_and_spurious: "denied-and-spurious",
    guarded: "guarded",
    expected: "expected",
    limited: "limited",
    one_in_flight: "one-in-flight",
    no_failure_allowed: "no-failure-allowed",
    off_first: "off-first",
    off_first_lost_call: "off-first-lost-call",
    off_first_failures: "off-first-failures",
    off_first_refusals: "off-first-refusals",
    off_first_two: "off-first-two",
    off_first_never_ran: "off-first-never-ran",
    off_first_outside: "off-first-outside",
    off_first_other_servers: "off-first-other-servers",
    off_first_moves: "off-first-moves",
    soak: "soak",
    soak_crash: "soak-crash",
    soak_medium_time: "soak-medium-time",
    soak_fine_steps: "soak-fine-steps",
    soak_suspend: "soak-suspend",
    soak_re_created: "soak-re-created",
    soak_two: "soak-two",
    soak_not_after: "soak-not-after",
    soak_deadline: "soak-deadline",
    soak_guarded: "soak-guarded",
    if_refused: "if-refused",
    if_refused_lost_call: "if-refused-lost-call",
    if_refused_power_on: "if-refused-power-on",
    if_refused_unnamed: "if-refused-unnamed",
    if_refused_conflict: "if-refused-conflict",
    if_refused_silent: "if-refused-silent",
    if_refused_suspend: "if-refused-suspend",
    if_refused_outside: "if-refused-outside",
    refused: "refused",
}
