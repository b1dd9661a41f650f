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
}
